//! What a definition's parts say of each other: volumes, containers to start after, links.

use super::checks::{absolute, at, duplicate, given, is_name, mistake, without_colon};
use longshore_ecs_api::ApiError;
use longshore_ecs_api::enums::{ContainerCondition, NetworkMode};
use longshore_ecs_api::types::{ContainerDefinition, TaskDefinition};
use std::collections::BTreeMap;

pub(super) fn check(definition: &TaskDefinition, mode: &NetworkMode) -> Result<(), ApiError> {
    let containers = definition.container_definitions.as_deref().unwrap_or_default();
    if duplicate(containers.iter().filter_map(|c| c.name.as_deref())).is_some() {
        return Err(mistake("Container names must be unique within a Task Definition."));
    }
    let by_name: BTreeMap<&str, &ContainerDefinition> =
        containers.iter().filter_map(|c| Some((c.name.as_deref()?, c))).collect();
    for (index, container) in containers.iter().enumerate() {
        mount_points(container, index, definition)?;
        volumes_from(container, index, &by_name)?;
        depends_on(container, &by_name)?;
        links(container, index, &by_name, mode)?;
    }
    no_cycle(containers, depends_on_names, "Container dependencies should not have a cycle")?;
    no_cycle(containers, link_names, "Container links should not have a cycle")?;
    no_cycle(containers, volumes_from_names, "Container volumesFrom should not have a cycle")?;
    // Each alone is sound; together they can still make containers wait for each other.
    no_cycle(containers, all_names, "Container dependencies, links and volumesFrom together should not have a cycle")
}

fn mount_points(container: &ContainerDefinition, index: usize, definition: &TaskDefinition) -> Result<(), ApiError> {
    let mounts = container.mount_points.as_deref().unwrap_or_default();
    for (i, mount) in mounts.iter().enumerate() {
        let source = given(mount.source_volume.as_ref()).unwrap_or_default();
        if !definition.volumes.iter().flatten().any(|volume| volume.name.as_deref() == Some(source)) {
            return Err(mistake(format!("Unknown volume '{source}'.")));
        }
        let field = || at(index, &format!("mountPoints[{i}].containerPath"));
        absolute(mount.container_path.as_ref(), field)?;
        without_colon(mount.container_path.as_ref(), field)?;
    }
    let memory = container.linux_parameters.iter().flat_map(|linux| linux.tmpfs.iter().flatten());
    let paths = mounts.iter().filter_map(|m| m.container_path.as_deref());
    match duplicate(paths.chain(memory.filter_map(|t| t.container_path.as_deref()))) {
        Some(path) => Err(mistake(format!("{}: '{path}' is there more than once.", at(index, "mountPoints")))),
        None => Ok(()),
    }
}

fn volumes_from(
    container: &ContainerDefinition,
    index: usize,
    by_name: &BTreeMap<&str, &ContainerDefinition>,
) -> Result<(), ApiError> {
    for (i, from) in container.volumes_from.iter().flatten().enumerate() {
        let source = given(from.source_container.as_ref()).unwrap_or_default();
        if !by_name.contains_key(source) {
            return Err(mistake(format!(
                "{}: container '{source}' does not exist.",
                at(index, &format!("volumesFrom[{i}].sourceContainer"))
            )));
        }
    }
    Ok(())
}

fn depends_on(container: &ContainerDefinition, by_name: &BTreeMap<&str, &ContainerDefinition>) -> Result<(), ApiError> {
    let name = container.name.as_deref().unwrap_or_default();
    for dependency in container.depends_on.iter().flatten() {
        let on = given(dependency.container_name.as_ref()).unwrap_or_default();
        let Some(target) = by_name.get(on) else {
            return Err(mistake(format!("Cannot depend on container + '{on}' because it does not exist")));
        };
        match &dependency.condition {
            Some(ContainerCondition::Start) => {}
            Some(ContainerCondition::Complete | ContainerCondition::Success) => {
                if target.essential != Some(false) {
                    return Err(mistake(
                        "A dependency container with SUCCESS or COMPLETE condition cannot be an essential container",
                    ));
                }
            }
            Some(ContainerCondition::Healthy) => {
                let checks = target.health_check.as_ref().and_then(|check| check.command.as_ref()?.first());
                if checks.is_none_or(|kind| kind == "NONE") {
                    return Err(mistake(format!(
                        "Container '{name}' depends on container '{on}' being HEALTHY, which has no healthCheck."
                    )));
                }
            }
            None | Some(ContainerCondition::Other(_)) => {
                return Err(mistake(format!(
                    "The condition under which container '{name}' depends on container '{on}' must be one of [{}].",
                    ContainerCondition::ALL.iter().map(ContainerCondition::as_str).collect::<Vec<_>>().join(", ")
                )));
            }
        }
    }
    Ok(())
}

fn links(
    container: &ContainerDefinition,
    index: usize,
    by_name: &BTreeMap<&str, &ContainerDefinition>,
    mode: &NetworkMode,
) -> Result<(), ApiError> {
    for link in container.links.iter().flatten() {
        if *mode != NetworkMode::Bridge {
            return Err(mistake(format!("{} are only supported when networkMode=bridge.", at(index, "links"))));
        }
        let (target, alias) = link.split_once(':').unwrap_or((link, link));
        if !by_name.contains_key(target) {
            return Err(mistake(format!("{}: container '{target}' does not exist.", at(index, "links"))));
        }
        if !is_name(alias) {
            return Err(mistake(format!("{}: the alias '{alias}' contains invalid characters.", at(index, "links"))));
        }
        if container.disable_networking == Some(true) || by_name[target].disable_networking == Some(true) {
            let field = at(index, "links");
            return Err(mistake(format!("{field}: '{link}' needs a network, and disableNetworking is set.")));
        }
    }
    let aliases = container.links.iter().flatten().map(|link| link.split_once(':').map_or(link.as_str(), |(_, a)| a));
    match duplicate(aliases) {
        Some(alias) => Err(mistake(format!("{}: '{alias}' is there more than once.", at(index, "links")))),
        None => Ok(()),
    }
}

fn depends_on_names(container: &ContainerDefinition) -> Vec<&str> {
    container.depends_on.iter().flatten().filter_map(|d| d.container_name.as_deref()).collect()
}

fn link_names(container: &ContainerDefinition) -> Vec<&str> {
    container.links.iter().flatten().filter_map(|link| link.split(':').next()).collect()
}

fn volumes_from_names(container: &ContainerDefinition) -> Vec<&str> {
    container.volumes_from.iter().flatten().filter_map(|v| v.source_container.as_deref()).collect()
}

fn all_names(container: &ContainerDefinition) -> Vec<&str> {
    [depends_on_names, link_names, volumes_from_names].into_iter().flat_map(|names| names(container)).collect()
}

/// Takes away containers that refer to none that is left, until none is; whatever stays refers in a circle.
fn no_cycle(
    containers: &[ContainerDefinition],
    references: for<'a> fn(&'a ContainerDefinition) -> Vec<&'a str>,
    message: &str,
) -> Result<(), ApiError> {
    let mut left: BTreeMap<&str, Vec<&str>> =
        containers.iter().filter_map(|c| Some((c.name.as_deref()?, references(c)))).collect();
    loop {
        let before = left.len();
        let names: Vec<&str> = left.keys().copied().collect();
        left.retain(|_, to| to.iter().any(|name| names.contains(name)));
        if left.is_empty() {
            return Ok(());
        }
        if left.len() == before {
            return Err(mistake(message));
        }
    }
}
