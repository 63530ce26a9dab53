//! What concerns a definition as a whole.

use super::checks::{MAX_NAME, at_most, given, is_name, mistake, range};
use super::size;
use longshore_ecs_api::ApiError;
use longshore_ecs_api::enums::{CPUArchitecture, Compatibility, IpcMode, NetworkMode, OSFamily, PidMode};
use longshore_ecs_api::types::{EphemeralStorage, TaskDefinition};
use longshore_sched::Constraint;
use std::ops::RangeInclusive;

const MAX_CONSTRAINTS: usize = 10;

/// GiB that a task's containers may write: ECS's limits for Fargate, and what hosts of one's own take.
const FARGATE_STORAGE: RangeInclusive<i32> = 21..=200;
const EPHEMERAL_STORAGE: RangeInclusive<i32> = 1..=MAX_STORAGE_GIB;
/// A disk of 64 TiB.
const MAX_STORAGE_GIB: i32 = 65_536;

/// The `sizeInGiB` of an override.
///
/// # Errors
/// `InvalidParameterException` that names the field.
pub(crate) fn check_storage_override(storage: &EphemeralStorage) -> Result<(), ApiError> {
    match storage.size_in_gi_b {
        Some(size) if EPHEMERAL_STORAGE.contains(&size) => Ok(()),
        Some(size) => Err(ApiError::invalid(format!(
            "overrides.ephemeralStorage.sizeInGiB: {size} must be between 1 and {MAX_STORAGE_GIB}."
        ))),
        None => Err(ApiError::invalid("overrides.ephemeralStorage.sizeInGiB should not be null.")),
    }
}

/// ECS's quota "Containers per task definition".
const MAX_CONTAINERS: usize = 10;

pub(super) fn check(definition: &TaskDefinition, mode: &NetworkMode) -> Result<(), ApiError> {
    match given(definition.family.as_ref()) {
        None => return Err(mistake("Family should not be null or empty.")),
        Some(family) if family.len() > MAX_NAME => {
            return Err(mistake(format!("Family should not be longer than {MAX_NAME} characters.")));
        }
        Some(family) if !is_name(family) => return Err(mistake("Family contains invalid characters.")),
        Some(_) => {}
    }
    let containers = definition.container_definitions.as_deref().unwrap_or_default();
    if containers.is_empty() {
        return Err(mistake("Container list cannot be empty."));
    }
    if containers.len() > MAX_CONTAINERS {
        return Err(mistake(format!(
            "containerDefinitions: {} are given, at most {MAX_CONTAINERS} are allowed.",
            containers.len()
        )));
    }
    if !containers.iter().any(|c| c.essential != Some(false)) {
        return Err(mistake("Invalid 'essential' setting. At least one container must be essential."));
    }
    if matches!(definition.pid_mode, Some(PidMode::Other(_))) {
        return Err(mistake("pidMode must be host or task."));
    }
    if matches!(definition.ipc_mode, Some(IpcMode::Other(_))) {
        return Err(mistake("ipcMode must be host, task or none."));
    }
    if let Some(storage) = &definition.ephemeral_storage {
        if storage.size_in_gi_b.is_none() {
            return Err(mistake("ephemeralStorage.sizeInGiB should not be null."));
        }
        let fargate = definition.requires_compatibilities.iter().flatten().any(|c| *c == Compatibility::Fargate);
        let bounds = if fargate { FARGATE_STORAGE } else { EPHEMERAL_STORAGE };
        range(storage.size_in_gi_b, bounds, || "ephemeralStorage.sizeInGiB".into())?;
    }
    if let Some(platform) = &definition.runtime_platform {
        if matches!(platform.cpu_architecture, Some(CPUArchitecture::Other(_))) {
            return Err(mistake("runtimePlatform.cpuArchitecture must be X86_64 or ARM64."));
        }
        if matches!(platform.operating_system_family, Some(OSFamily::Other(_))) {
            return Err(mistake("runtimePlatform.operatingSystemFamily is not a family that ECS knows."));
        }
    }
    if let Some(proxy) = &definition.proxy_configuration {
        let container = given(proxy.container_name.as_ref());
        if !containers.iter().any(|c| c.name.as_deref() == container && container.is_some()) {
            return Err(mistake("proxyConfiguration.containerName must be a container of the task definition."));
        }
        if *mode != NetworkMode::Awsvpc {
            return Err(mistake("proxyConfiguration is only supported when networkMode=awsvpc."));
        }
    }
    placement_constraints(definition)
}

fn placement_constraints(definition: &TaskDefinition) -> Result<(), ApiError> {
    at_most(definition.placement_constraints.as_ref(), MAX_CONSTRAINTS, || "placementConstraints".into())?;
    for (i, constraint) in definition.placement_constraints.iter().flatten().enumerate() {
        let kind = constraint.r#type.as_ref().map_or("", |kind| kind.as_str());
        let parsed = Constraint::parse(kind, constraint.expression.as_deref())
            .map_err(|error| ApiError::invalid(format!("placementConstraints[{i}].{error}")))?;
        match parsed {
            Constraint::MemberOf(_) => {}
            Constraint::DistinctInstance => {
                return Err(ApiError::invalid(format!(
                    "placementConstraints[{i}].type: a task definition can only have memberOf."
                )));
            }
        }
    }
    Ok(())
}

/// What `requiresCompatibilities` demands.
pub(super) fn check_compatibilities(definition: &TaskDefinition, mode: &NetworkMode) -> Result<(), ApiError> {
    for required in definition.requires_compatibilities.iter().flatten() {
        match required {
            Compatibility::Ec2 | Compatibility::External | Compatibility::ManagedInstances => {}
            Compatibility::Fargate => {
                if let Some(problem) = fargate_problem(definition, mode) {
                    return Err(mistake(problem));
                }
            }
            Compatibility::Other(_) => {
                return Err(mistake(format!(
                    "requiresCompatibilities must be of [{}].",
                    Compatibility::ALL.iter().map(Compatibility::as_str).collect::<Vec<_>>().join(", ")
                )));
            }
        }
    }
    Ok(())
}

/// The launch types that could run the definition.
pub(super) fn compatibilities(definition: &TaskDefinition, mode: &NetworkMode) -> Vec<Compatibility> {
    let mut all = vec![Compatibility::External, Compatibility::Ec2];
    if fargate_problem(definition, mode).is_none() {
        all.push(Compatibility::Fargate);
    }
    all
}

/// Why FARGATE cannot run the definition, if so.
fn fargate_problem(definition: &TaskDefinition, mode: &NetworkMode) -> Option<String> {
    if *mode != NetworkMode::Awsvpc {
        return Some("Fargate only supports network mode 'awsvpc'.".into());
    }
    let Some(cpu) = size::stored(definition.cpu.as_ref()) else {
        return Some("Fargate requires that 'cpu' be defined at the task level.".into());
    };
    let Some(memory) = size::stored(definition.memory.as_ref()) else {
        return Some("Fargate requires that 'memory' be defined at the task level.".into());
    };
    if !size::fargate_pair(cpu, memory) {
        return Some("No Fargate configuration exists for given values.".into());
    }
    if definition.pid_mode == Some(PidMode::Host) {
        return Some(
            "Tasks using the Fargate launch type do not support pidMode 'host'. The supported value for pidMode is \
             'task'."
                .into(),
        );
    }
    if definition.ipc_mode.is_some() {
        return Some("Tasks using the Fargate launch type do not support ipcMode.".into());
    }
    if definition.placement_constraints.iter().flatten().next().is_some() {
        return Some("Tasks using the Fargate launch type do not support placementConstraints.".into());
    }
    if definition.volumes.iter().flatten().any(|volume| volume.host.as_ref().is_some_and(|h| h.source_path.is_some())) {
        return Some("Tasks using the Fargate launch type do not support volumes with host.sourcePath.".into());
    }
    for container in definition.container_definitions.iter().flatten() {
        let name = container.name.as_deref().unwrap_or_default();
        if container.privileged == Some(true) {
            return Some(format!("Container '{name}': Fargate does not support 'privileged'."));
        }
        if container.stop_timeout.is_some_and(|secs| !(2..=120).contains(&secs)) {
            return Some(format!("Container '{name}': Fargate supports a 'stopTimeout' of 2 to 120 seconds."));
        }
    }
    None
}
