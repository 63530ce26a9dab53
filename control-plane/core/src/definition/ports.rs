//! Port mappings.

use super::checks::{at, at_most, duplicate, mistake};
use crate::needs::port_range;
use longshore_ecs_api::ApiError;
use longshore_ecs_api::enums::{ApplicationProtocol, NetworkMode, TransportProtocol};
use longshore_ecs_api::types::{ContainerDefinition, PortMapping};

/// Host ports that one task may reserve, and ranges that one container may have (ECS quotas).
const MAX_MAPPINGS: usize = 100;
const MAX_MAPPING_NAME: usize = 64;

/// One container's mappings.
pub(super) fn check(container: &ContainerDefinition, index: usize, mode: &NetworkMode) -> Result<(), ApiError> {
    let name = container.name.as_deref().unwrap_or_default();
    let mappings = container.port_mappings.as_deref().unwrap_or_default();
    at_most(container.port_mappings.as_ref(), MAX_MAPPINGS, || at(index, "portMappings"))?;
    match mode {
        NetworkMode::None if !mappings.is_empty() => {
            return Err(mistake(format!(
                "Port mappings are not allowed when networkMode=none, and container '{name}' has some."
            )));
        }
        NetworkMode::None | NetworkMode::Bridge | NetworkMode::Host | NetworkMode::Awsvpc | NetworkMode::Other(_) => {}
    }
    if container.disable_networking == Some(true) && !mappings.is_empty() {
        return Err(mistake(format!(
            "Port mappings are not allowed for container '{name}': disableNetworking is set."
        )));
    }
    for (i, mapping) in mappings.iter().enumerate() {
        let field = |field: &str| at(index, &format!("portMappings[{i}].{field}"));
        check_one(mapping, name, mode, field)?;
    }
    no_overlap(mappings, name)?;
    if let Some(twice) = duplicate(mappings.iter().filter_map(|m| m.name.as_deref())) {
        return Err(mistake(format!("The port mapping name '{twice}' is used more than once in container '{name}'.")));
    }
    Ok(())
}

fn check_one(
    mapping: &PortMapping,
    container: &str,
    mode: &NetworkMode,
    field: impl Fn(&str) -> String,
) -> Result<(), ApiError> {
    let wrong = |setting: &str| mistake(format!("Invalid '{setting}' setting for container '{container}'."));
    if matches!(mapping.protocol, Some(TransportProtocol::Other(_))) {
        return Err(wrong("protocol"));
    }
    if matches!(mapping.app_protocol, Some(ApplicationProtocol::Other(_))) {
        return Err(wrong("appProtocol"));
    }
    if let Some(name) = &mapping.name {
        let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > MAX_MAPPING_NAME || !name.bytes().all(lower) || name.starts_with('-') {
            return Err(mistake(format!(
                "{}: up to {MAX_MAPPING_NAME} lower-case letters, digits, hyphens and underscores are allowed, and a \
                 hyphen not as the first.",
                field("name")
            )));
        }
    }
    let matching = match mode {
        NetworkMode::Host | NetworkMode::Awsvpc => true,
        NetworkMode::Bridge | NetworkMode::None | NetworkMode::Other(_) => false,
    };
    if let Some(range) = &mapping.container_port_range {
        if mapping.container_port.is_some() || mapping.host_port.is_some() {
            return Err(mistake(format!(
                "{}: containerPort and hostPort cannot be given beside it.",
                field("containerPortRange")
            )));
        }
        if *mode == NetworkMode::Host {
            return Err(mistake(format!(
                "{} is only supported when networkMode=bridge or networkMode=awsvpc.",
                field("containerPortRange")
            )));
        }
        return if port_range(range).is_some() { Ok(()) } else { Err(wrong("containerPortRange")) };
    }
    if !mapping.container_port.is_some_and(|port| (1..=65535).contains(&port)) {
        return Err(wrong("containerPort"));
    }
    if !mapping.host_port.is_none_or(|port| (0..=65535).contains(&port)) {
        return Err(wrong("hostPort"));
    }
    if matching && mapping.host_port != mapping.container_port {
        return Err(mistake(format!(
            "When networkMode={}, the host ports and container ports in port mappings must match.",
            mode.as_str()
        )));
    }
    Ok(())
}

/// No port of the container is in a range and in another mapping of the same protocol too.
fn no_overlap(mappings: &[PortMapping], container: &str) -> Result<(), ApiError> {
    let ports = |mapping: &PortMapping| match mapping.container_port_range.as_deref() {
        Some(range) => port_range(range).map(|(first, last)| (i32::from(first), i32::from(last))),
        None => mapping.container_port.map(|port| (port, port)),
    };
    for (i, mapping) in mappings.iter().enumerate().filter(|(_, m)| m.container_port_range.is_some()) {
        let Some((first, last)) = ports(mapping) else { continue };
        let meets = |(j, other): (usize, &PortMapping)| {
            i != j
                && other.protocol == mapping.protocol
                && ports(other).is_some_and(|(from, to)| from <= last && first <= to)
        };
        if mappings.iter().enumerate().any(meets) {
            let range = mapping.container_port_range.as_deref().unwrap_or_default();
            return Err(mistake(format!(
                "The containerPortRange '{range}' of container '{container}' overlaps another of its port mappings."
            )));
        }
    }
    Ok(())
}

/// No host port is asked for twice in one task, by whichever of its containers.
pub(super) fn check_task(containers: &[ContainerDefinition]) -> Result<(), ApiError> {
    let fixed = containers.iter().flat_map(|c| c.port_mappings.as_deref().unwrap_or_default()).filter_map(|mapping| {
        let protocol = mapping.protocol.as_ref().unwrap_or(&TransportProtocol::Tcp);
        mapping.host_port.filter(|port| *port != 0).map(|port| (protocol.as_str().to_uppercase(), port))
    });
    let fixed: Vec<(String, i32)> = fixed.collect();
    if fixed.len() > MAX_MAPPINGS {
        return Err(mistake(format!("The task maps {} host ports, at most {MAX_MAPPINGS} are allowed.", fixed.len())));
    }
    match duplicate(fixed) {
        Some((protocol, port)) => {
            Err(mistake(format!("{protocol} host port '{port}' is mapped multiple times in task.")))
        }
        None => Ok(()),
    }
}
