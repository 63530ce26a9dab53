//! What a definition needs of its host beyond resources: `requiresAttributes`. Names are those of ECS's agent; our
//! agent offers the same for what it can do (its `host` module probes them), and placement wants every one of these
//! among them.

use super::container::{RUNTIME_LABEL, is_url};
use super::{logging, probe, restart};
use longshore_ecs_api::enums::{CPUArchitecture, NetworkMode};
use longshore_ecs_api::types::{Attribute, ContainerDefinition, EnvironmentFile, LinuxParameters, TaskDefinition};
use std::collections::BTreeMap;

const DOCKER_API: &str = "com.amazonaws.ecs.capability.docker-remote-api";
const LOG_DRIVER: &str = "com.amazonaws.ecs.capability.logging-driver";
const PRIVILEGED: &str = "com.amazonaws.ecs.capability.privileged-container";
const APPARMOR: &str = "com.amazonaws.ecs.capability.apparmor";
const SELINUX: &str = "com.amazonaws.ecs.capability.selinux";
/// Limits of a task as a whole.
pub(crate) const TASK_LIMITS: &str = "ecs.capability.task-cpu-mem-limit";
const ORDERING: &str = "ecs.capability.container-ordering";
const RESTART_POLICY: &str = "ecs.capability.container-restart-policy";
/// Ours: health probes by the agent.
const HEALTH_PROBES: &str = "longshore.health-probes";
/// Ours: limits on swap.
const SWAP_LIMIT: &str = "longshore.swap-limit";
/// Ours: a container's own swappiness.
const SWAPPINESS: &str = "longshore.swappiness";
/// Ours: events of several lines.
const MULTILINE: &str = "longshore.awslogs-multiline";
const HEALTH_CHECK: &str = "ecs.capability.container-health-check";
const TASK_ENI: &str = "ecs.capability.task-eni";
const PORT_RANGE: &str = "ecs.capability.container-port-range";
const SHARED_NAMESPACES: &str = "ecs.capability.pid-ipc-namespace-sharing";
/// Followed by the volume driver, whose colon before a tag is a full stop here.
const VOLUME_DRIVER: &str = "ecs.capability.docker-plugin";
/// Ours: the host reads environment files.
const ENVIRONMENT_FILES: &str = "longshore.environment-files";
/// Ours: the host fetches environment files.
const ENVIRONMENT_URLS: &str = "longshore.environment-urls";
/// Ours, followed by a file system's id: the host has something for it.
const FILE_SYSTEM: &str = "longshore.efs";
/// The agent asks for the credentials of a container's registry.
const REGISTRY_CREDENTIALS: &str = "ecs.capability.private-registry-authentication.secretsmanager";
const CPU_ARCHITECTURE: &str = "ecs.cpu-architecture";
const OS_TYPE: &str = "ecs.os-type";

/// The attributes, sorted by name, each once.
pub(super) fn required(definition: &TaskDefinition, mode: &NetworkMode) -> Vec<Attribute> {
    let mut names: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut need = |name: &str| {
        names.insert(name.to_owned(), None);
    };
    if definition.cpu.is_some() || definition.memory.is_some() {
        need(TASK_LIMITS);
    }
    if *mode == NetworkMode::Awsvpc {
        need(TASK_ENI);
    }
    if definition.pid_mode.is_some() || definition.ipc_mode.is_some() {
        need(SHARED_NAMESPACES);
    }
    for volume in definition.volumes.iter().flatten().filter_map(|v| v.docker_volume_configuration.as_ref()) {
        let driver = volume.driver.as_deref().filter(|driver| !driver.is_empty()).unwrap_or("local");
        need(&format!("{VOLUME_DRIVER}.{}", driver.replace(':', ".")));
    }
    for efs in definition.volumes.iter().flatten().filter_map(|v| v.efs_volume_configuration.as_ref()) {
        need(&format!("{FILE_SYSTEM}.{}", efs.file_system_id.as_deref().unwrap_or_default()));
    }
    for container in definition.container_definitions.iter().flatten() {
        if container.port_mappings.iter().flatten().any(|mapping| mapping.container_port_range.is_some()) {
            need(PORT_RANGE);
        }
        for name in for_environment_files(container.environment_files.as_ref()) {
            need(name);
        }
        if container.repository_credentials.is_some() {
            need(REGISTRY_CREDENTIALS);
        }
        for version in docker_api_versions(container) {
            need(&format!("{DOCKER_API}.{version}"));
        }
        if container.depends_on.iter().flatten().next().is_some() {
            need(ORDERING);
        }
        if restart::policy(container).is_some() {
            need(RESTART_POLICY);
        }
        if container.health_check.is_some() {
            need(HEALTH_CHECK);
        }
        if probe::of(container).is_some() {
            need(HEALTH_PROBES);
        }
        if container.privileged == Some(true) {
            need(PRIVILEGED);
        }
        if let Some(LinuxParameters { max_swap: Some(_), swappiness, .. }) = &container.linux_parameters {
            need(SWAP_LIMIT);
            // Without maxSwap it has no effect, as in ECS.
            if swappiness.is_some() {
                need(SWAPPINESS);
            }
        }
        if let Some(runtime) = container.docker_labels.as_ref().and_then(|labels| labels.get(RUNTIME_LABEL)) {
            need(&format!("{RUNTIME_LABEL}.{runtime}"));
        }
        if let Some(driver) = container.log_configuration.as_ref().and_then(|log| log.log_driver.as_ref()) {
            need(&format!("{LOG_DRIVER}.{driver}"));
        }
        if logging::joins_lines(container) {
            need(MULTILINE);
        }
        for option in container.docker_security_options.iter().flatten() {
            if option.starts_with("apparmor") {
                need(APPARMOR);
            } else if option.starts_with("label") {
                need(SELINUX);
            }
        }
    }
    if let Some(platform) = &definition.runtime_platform {
        let architecture = platform.cpu_architecture.as_ref().and_then(|architecture| match architecture {
            CPUArchitecture::X8664 => Some("x86_64"),
            CPUArchitecture::Arm64 => Some("arm64"),
            CPUArchitecture::Other(_) => None,
        });
        if let Some(architecture) = architecture {
            names.insert(CPU_ARCHITECTURE.into(), Some(architecture.into()));
        }
        if platform.operating_system_family.is_some() {
            // Only Linux passes validation.
            names.insert(OS_TYPE.into(), Some("linux".into()));
        }
    }
    names.into_iter().map(|(name, value)| Attribute { name: Some(name), value, ..Attribute::default() }).collect()
}

/// What a container's environment files need, a name for each file.
pub(crate) fn for_environment_files(files: Option<&Vec<EnvironmentFile>>) -> impl Iterator<Item = &'static str> {
    let sources = files.into_iter().flatten().filter_map(|file| file.value.as_deref());
    sources.map(|source| if is_url(source) { ENVIRONMENT_URLS } else { ENVIRONMENT_FILES })
}

/// The versions of Docker's API that brought what the container uses.
fn docker_api_versions(container: &ContainerDefinition) -> Vec<&'static str> {
    let mut versions = Vec::new();
    if container.log_configuration.is_some() || container.ulimits.as_ref().is_some_and(|list| !list.is_empty()) {
        versions.push("1.18");
    }
    if container.memory_reservation.is_some() {
        versions.push("1.21");
    }
    if let Some(linux) = &container.linux_parameters {
        let LinuxParameters { init_process_enabled, tmpfs, shared_memory_size, .. } = linux;
        if tmpfs.is_some() || shared_memory_size.is_some() {
            versions.push("1.22");
        }
        if init_process_enabled == &Some(true) {
            versions.push("1.25");
        }
    }
    if container.system_controls.as_ref().is_some_and(|list| !list.is_empty()) {
        versions.push("1.24");
    }
    versions
}
