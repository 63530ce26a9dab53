//! What a task takes of its host and asks of it: a definition with its overrides, as placement sees it. Pure.

use longshore_ecs_api::ApiError;
use longshore_ecs_api::enums::{NetworkMode, ResourceType, TransportProtocol};
use longshore_ecs_api::types::{
    ContainerDefinition, ContainerOverride, PortMapping, ResourceRequirement, TaskDefinition, TaskOverride,
};
use longshore_sched::Claim;

/// What placing a task of a definition takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Of the host, in sum.
    pub(crate) claim: Claim,
    /// GPUs of each container, in the definition's order; their sum is the claim's.
    pub(crate) gpus: Vec<u32>,
}

/// The override of a container, if there is one.
pub(crate) fn container_override<'a>(
    overrides: Option<&'a TaskOverride>,
    container: &ContainerDefinition,
) -> Option<&'a ContainerOverride> {
    let all = overrides?.container_overrides.as_deref()?;
    all.iter().find(|o| o.name == container.name)
}

/// What a task of `definition` with `overrides` needs.
///
/// # Errors
/// `ClientException` that names the field when the sums are more than can be counted.
pub(crate) fn needs(definition: &TaskDefinition, overrides: Option<&TaskOverride>) -> Result<Needs, ApiError> {
    let containers = definition.container_definitions.as_deref().unwrap_or(&[]);
    let with_override = || containers.iter().map(|c| (c, container_override(overrides, c)));
    let cpu_units = match task_cpu(definition, overrides) {
        Some(cpu) => cpu,
        None => sum("cpu", with_override().map(|(c, o)| o.and_then(|o| o.cpu).or(c.cpu)))?,
    };
    let memory_mib = match task_memory(definition, overrides) {
        Some(memory) => memory,
        None => sum("memory", with_override().map(|(c, o)| container_memory(c, o)))?,
    };
    let mode = definition.network_mode.as_ref().unwrap_or(&NetworkMode::Bridge);
    let ports = || containers.iter().flat_map(|c| c.port_mappings.iter().flatten());
    let of =
        |udp: bool| ports().filter(|p| is_udp(p) == udp).filter_map(|p| fixed_host_port(mode, p)).collect::<Vec<_>>();
    let interfaces = u32::from(*mode == NetworkMode::Awsvpc);
    let gpus: Vec<u32> = with_override().map(|(c, o)| container_gpus(c, o)).collect();
    let disk_mib = task_disk(definition, overrides).unwrap_or(0);
    let (tcp, udp) = (of(false), of(true));
    let claim = Claim { cpu_units, memory_mib, tcp, udp, gpus: gpus.iter().sum(), interfaces, disk_mib };
    Ok(Needs { claim, gpus })
}

/// The task's CPU limit in units, when it has one.
pub(crate) fn task_cpu(definition: &TaskDefinition, overrides: Option<&TaskOverride>) -> Option<u32> {
    number(overrides.and_then(|o| o.cpu.as_deref()).or(definition.cpu.as_deref()))
}

/// The task's memory limit in MiB, when it has one.
pub(crate) fn task_memory(definition: &TaskDefinition, overrides: Option<&TaskOverride>) -> Option<u32> {
    number(overrides.and_then(|o| o.memory.as_deref()).or(definition.memory.as_deref()))
}

/// MiB that the task's containers may write, when that is limited.
pub(crate) fn task_disk(definition: &TaskDefinition, overrides: Option<&TaskOverride>) -> Option<u32> {
    let storage = overrides.and_then(|o| o.ephemeral_storage.as_ref()).or(definition.ephemeral_storage.as_ref())?;
    u32::try_from(storage.size_in_gi_b?).ok()?.checked_mul(1024)
}

/// The host port that a mapping claims; `None` for one that the agent chooses or that claims none.
pub(crate) fn fixed_host_port(mode: &NetworkMode, mapping: &PortMapping) -> Option<u16> {
    let port = |port: Option<i32>| port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
    match mode {
        NetworkMode::Bridge => port(mapping.host_port),
        NetworkMode::Host => port(mapping.host_port).or_else(|| port(mapping.container_port)),
        NetworkMode::Awsvpc | NetworkMode::None | NetworkMode::Other(_) => None,
    }
}

/// The first and the last port of a `containerPortRange`, of which there are two at least.
pub(crate) fn port_range(text: &str) -> Option<(u16, u16)> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let (first, last) = text.split_once('-')?;
    Some((port(first)?, port(last)?)).filter(|(first, last)| first < last)
}

/// Whether a mapping is of UDP; TCP is the default.
pub(crate) fn is_udp(mapping: &PortMapping) -> bool {
    mapping.protocol == Some(TransportProtocol::Udp)
}

/// The GPUs that requirements ask for; an override's replace the definition's.
fn container_gpus(container: &ContainerDefinition, over: Option<&ContainerOverride>) -> u32 {
    let requirements = over.and_then(|o| o.resource_requirements.as_ref()).or(container.resource_requirements.as_ref());
    requirements.into_iter().flatten().filter_map(gpus).sum()
}

pub(crate) fn gpus(requirement: &ResourceRequirement) -> Option<u32> {
    match requirement.r#type.as_ref()? {
        ResourceType::Gpu => number(requirement.value.as_deref()),
        ResourceType::InferenceAccelerator | ResourceType::NeuronDevice | ResourceType::Other(_) => None,
    }
}

fn container_memory(container: &ContainerDefinition, over: Option<&ContainerOverride>) -> Option<i32> {
    let reservation = over.and_then(|o| o.memory_reservation).or(container.memory_reservation);
    reservation.or_else(|| over.and_then(|o| o.memory).or(container.memory))
}

fn number(text: Option<&str>) -> Option<u32> {
    text?.trim().parse().ok()
}

fn sum(field: &str, values: impl Iterator<Item = Option<i32>>) -> Result<u32, ApiError> {
    let sum: i64 = values.map(|value| i64::from(value.unwrap_or(0).max(0))).sum();
    u32::try_from(sum).map_err(|_| ApiError::client(format!("The sum of all container '{field}' values is too large.")))
}
