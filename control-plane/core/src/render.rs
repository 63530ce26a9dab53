//! From a task's record to what its agent runs: the definition with its overrides, and nothing left to decide. Pure.

mod volumes;

use crate::definition::restart;
use crate::needs::{container_override, fixed_host_port, is_udp, port_range, task_cpu, task_disk, task_memory};
use crate::records::{Definition, Task, TaskContainer};
use longshore_ecs_api::enums::{
    ContainerCondition as ApiCondition, DeviceCgroupPermission, IpcMode as ApiIpc, NetworkMode as ApiMode,
    PidMode as ApiPid,
};
use longshore_ecs_api::types::{
    self, ContainerDefinition, ContainerOverride, KeyValuePair, LinuxParameters as ApiLinux, TaskDefinition,
};
use longshore_model::arn::Resource;
use longshore_model::{
    AccountId, Arn, ContainerCondition, ContainerName, ContainerSpec, Dependency, Device, EnvVar, HealthCheck,
    HostPort, IpcMode, Lifecycle, Link, LinuxParameters, LogConfig, NetworkMode, PidMode, PortMapping, Protocol,
    TaskSpec, Tmpfs, Ulimit,
};
use std::collections::BTreeMap;
use volumes::{mount_point, volume, volumes_from};

/// What `task`'s agent is to run, but for the digests of images that come to be known. Never changes for one task.
#[must_use]
pub fn render(account: &AccountId, task: &Task, definition: &Definition) -> TaskSpec {
    let whole = whole(account, task, definition);
    if task.pull_only { only_images(whole) } else { whole }
}

/// What is left of a task of which only the images are wanted: nothing that its host would have to make or give.
fn only_images(whole: TaskSpec) -> TaskSpec {
    let bare = |c: ContainerSpec| ContainerSpec {
        environment: Vec::new(),
        environment_files: Vec::new(),
        port_mappings: Vec::new(),
        mount_points: Vec::new(),
        volumes_from: Vec::new(),
        links: Vec::new(),
        privileged: false,
        log: None,
        gpu_ids: Vec::new(),
        lifecycle: Lifecycle::default(),
        ..c
    };
    TaskSpec {
        network_mode: NetworkMode::None,
        awsvpc: None,
        pid_mode: None,
        ipc_mode: None,
        cpu_units: None,
        memory_mib: None,
        containers: whole.containers.into_iter().map(bare).collect(),
        volumes: Vec::new(),
        ..whole
    }
}

fn whole(account: &AccountId, task: &Task, definition: &Definition) -> TaskSpec {
    let body = &*definition.body;
    let overrides = task.overrides.as_deref();
    let mode = network_mode(body);
    let containers = body.container_definitions.as_deref().unwrap_or(&[]);
    let arn = Arn {
        region: task.cluster.region.clone(),
        account: account.clone(),
        resource: Resource::Task(task.cluster.name.clone(), task.id),
    };
    TaskSpec {
        id: task.id,
        arn: arn.to_string(),
        cluster: task.cluster.name.clone(),
        family: task.definition.family.to_string(),
        revision: task.definition.revision,
        group: task.group.to_string(),
        network_mode: mode,
        awsvpc: task.awsvpc.as_deref().cloned(),
        pid_mode: body.pid_mode.as_ref().and_then(pid_mode),
        ipc_mode: body.ipc_mode.as_ref().and_then(ipc_mode),
        cpu_units: task_cpu(body, overrides),
        memory_mib: task_memory(body, overrides),
        ephemeral_storage_mib: task_disk(body, overrides),
        containers: containers
            .iter()
            .zip(&task.containers)
            .filter_map(|(c, given)| container(mode, c, container_override(overrides, c), given))
            .collect(),
        volumes: body.volumes.iter().flatten().filter_map(volume).collect(),
        pull_only: task.pull_only,
        fence: task.fence,
        launch_type: task.launch_type.as_str().to_owned(),
        tags: task.tags.clone(),
    }
}

fn network_mode(body: &TaskDefinition) -> NetworkMode {
    match body.network_mode.as_ref() {
        Some(ApiMode::Host) => NetworkMode::Host,
        Some(ApiMode::None) => NetworkMode::None,
        Some(ApiMode::Awsvpc) => NetworkMode::Awsvpc,
        Some(ApiMode::Bridge | ApiMode::Other(_)) | None => NetworkMode::Bridge,
    }
}

fn pid_mode(mode: &ApiPid) -> Option<PidMode> {
    match mode {
        ApiPid::Host => Some(PidMode::Host),
        ApiPid::Task => Some(PidMode::Task),
        ApiPid::Other(_) => None,
    }
}

fn ipc_mode(mode: &ApiIpc) -> Option<IpcMode> {
    match mode {
        ApiIpc::Host => Some(IpcMode::Host),
        ApiIpc::Task => Some(IpcMode::Task),
        ApiIpc::None => Some(IpcMode::None),
        ApiIpc::Other(_) => None,
    }
}

/// `None` only for a name that validation would have refused.
fn container(
    mode: NetworkMode,
    c: &ContainerDefinition,
    over: Option<&ContainerOverride>,
    given: &TaskContainer,
) -> Option<ContainerSpec> {
    let ports = c.port_mappings.iter().flatten().filter_map(|p| port_mapping(mode, p));
    Some(ContainerSpec {
        name: ContainerName::new(c.name.as_deref()?).ok()?,
        arn_id: given.arn_id.to_string(),
        image: c.image.clone()?,
        image_digest: None,
        repository_credentials: c
            .repository_credentials
            .as_ref()
            .and_then(|r| some_text(r.credentials_parameter.as_ref())),
        essential: c.essential.unwrap_or(true),
        cpu_units: over.and_then(|o| o.cpu).or(c.cpu).map_or(0, unsigned),
        memory_mib: over.and_then(|o| o.memory).or(c.memory).map(unsigned),
        memory_reservation_mib: over.and_then(|o| o.memory_reservation).or(c.memory_reservation).map(unsigned),
        entry_point: some_list(c.entry_point.as_ref()),
        command: some_list(over.and_then(|o| o.command.as_ref()).or(c.command.as_ref())),
        working_directory: some_text(c.working_directory.as_ref()),
        user: some_text(c.user.as_ref()),
        hostname: some_text(c.hostname.as_ref()),
        environment: environment(c.environment.as_deref(), over.and_then(|o| o.environment.as_deref())),
        environment_files: environment_files(c, over),
        port_mappings: ports.collect(),
        mount_points: c.mount_points.iter().flatten().filter_map(mount_point).collect(),
        volumes_from: c.volumes_from.iter().flatten().filter_map(volumes_from).collect(),
        readonly_root: c.readonly_root_filesystem.unwrap_or(false),
        privileged: c.privileged.unwrap_or(false),
        interactive: c.interactive.unwrap_or(false),
        pseudo_terminal: c.pseudo_terminal.unwrap_or(false),
        disable_networking: c.disable_networking.unwrap_or(false),
        ulimits: c.ulimits.iter().flatten().filter_map(ulimit).collect(),
        linux: c.linux_parameters.as_ref().map(linux).unwrap_or_default(),
        docker_labels: c.docker_labels.clone().unwrap_or_default(),
        dns_servers: c.dns_servers.clone().unwrap_or_default(),
        dns_search: c.dns_search_domains.clone().unwrap_or_default(),
        extra_hosts: c.extra_hosts.iter().flatten().filter_map(extra_host).collect(),
        links: c.links.iter().flatten().filter_map(|l| link(l)).collect(),
        security_options: c.docker_security_options.clone().unwrap_or_default(),
        sysctls: c.system_controls.iter().flatten().filter_map(sysctl).collect(),
        log: c.log_configuration.as_ref().and_then(log),
        stop_timeout_secs: timeout(c.stop_timeout),
        gpu_ids: given.gpu_ids.clone(),
        lifecycle: lifecycle(c),
    })
}

/// The definition's variables, the override's in the place of those of the same name; of two with one name in
/// either list the later one counts, as it does for Docker.
fn environment(own: Option<&[KeyValuePair]>, over: Option<&[KeyValuePair]>) -> Vec<EnvVar> {
    let mut all: Vec<EnvVar> = Vec::new();
    let mut at: BTreeMap<&str, usize> = BTreeMap::new();
    for pair in own.into_iter().chain(over).flatten() {
        let Some(name) = pair.name.as_deref() else { continue };
        let var = EnvVar { name: name.to_owned(), value: pair.value.clone().unwrap_or_default() };
        match at.get(name) {
            Some(index) => all[*index] = var,
            None => {
                at.insert(name, all.len());
                all.push(var);
            }
        }
    }
    all
}

/// The files that variables come from: the override's in the place of the definition's.
fn environment_files(c: &ContainerDefinition, over: Option<&ContainerOverride>) -> Vec<String> {
    let over = over.and_then(|o| o.environment_files.as_ref()).filter(|files| !files.is_empty());
    over.or(c.environment_files.as_ref()).into_iter().flatten().filter_map(|f| f.value.clone()).collect()
}

fn port_mapping(mode: NetworkMode, p: &types::PortMapping) -> Option<PortMapping> {
    let port = || u16::try_from(p.container_port?).ok().filter(|port| *port != 0);
    let (container_port, count) = match p.container_port_range.as_deref().and_then(port_range) {
        Some((first, last)) => (first, last - first + 1),
        None => (port()?, 1),
    };
    let api_mode = match mode {
        NetworkMode::Bridge => ApiMode::Bridge,
        NetworkMode::Host => ApiMode::Host,
        NetworkMode::None => ApiMode::None,
        NetworkMode::Awsvpc => ApiMode::Awsvpc,
    };
    let host_port = match mode {
        // A task with an address of its own is reached at its own ports.
        NetworkMode::Awsvpc => HostPort::Fixed(container_port),
        NetworkMode::Bridge | NetworkMode::Host | NetworkMode::None => {
            fixed_host_port(&api_mode, p).map_or(HostPort::Dynamic, HostPort::Fixed)
        }
    };
    let protocol = if is_udp(p) { Protocol::Udp } else { Protocol::Tcp };
    Some(PortMapping { container_port, host_port, protocol, count })
}

fn ulimit(u: &types::Ulimit) -> Option<Ulimit> {
    Some(Ulimit {
        name: u.name.as_ref()?.as_str().to_owned(),
        soft: u.soft_limit.unwrap_or(0).into(),
        hard: u.hard_limit.unwrap_or(0).into(),
    })
}

fn linux(l: &ApiLinux) -> LinuxParameters {
    let capabilities = l.capabilities.as_ref();
    LinuxParameters {
        cap_add: capabilities.and_then(|c| c.add.clone()).unwrap_or_default(),
        cap_drop: capabilities.and_then(|c| c.drop.clone()).unwrap_or_default(),
        devices: l.devices.iter().flatten().filter_map(device).collect(),
        tmpfs: l.tmpfs.iter().flatten().filter_map(tmpfs).collect(),
        init: l.init_process_enabled.unwrap_or(false),
        shared_memory_mib: l.shared_memory_size.map(unsigned),
        max_swap_mib: l.max_swap.map(unsigned),
        swappiness: l.swappiness.and_then(|s| u8::try_from(s).ok()),
    }
}

fn device(d: &types::Device) -> Option<Device> {
    let host_path = d.host_path.clone()?;
    let letter = |permission: &DeviceCgroupPermission| match permission {
        DeviceCgroupPermission::Read => Some('r'),
        DeviceCgroupPermission::Write => Some('w'),
        DeviceCgroupPermission::Mknod => Some('m'),
        DeviceCgroupPermission::Other(_) => None,
    };
    let permissions = match d.permissions.as_deref() {
        // ECS's default is all of them.
        None | Some([]) => "rwm".to_owned(),
        Some(some) => some.iter().filter_map(letter).collect(),
    };
    Some(Device {
        container_path: some_text(d.container_path.as_ref()).unwrap_or_else(|| host_path.clone()),
        host_path,
        permissions,
    })
}

fn tmpfs(t: &types::Tmpfs) -> Option<Tmpfs> {
    Some(Tmpfs {
        container_path: t.container_path.clone()?,
        size_mib: t.size.map_or(0, unsigned),
        mount_options: t.mount_options.clone().unwrap_or_default(),
    })
}

fn extra_host(h: &types::HostEntry) -> Option<String> {
    Some(format!("{}:{}", h.hostname.as_deref()?, h.ip_address.as_deref()?))
}

/// `container` or `container:alias`.
fn link(link: &str) -> Option<Link> {
    let (container, alias) = link.split_once(':').unwrap_or((link, link));
    Some(Link { container: ContainerName::new(container).ok()?, alias: alias.to_owned() })
}

fn lifecycle(c: &ContainerDefinition) -> Lifecycle {
    Lifecycle {
        health_check: c.health_check.as_ref().map(health_check),
        depends_on: c.depends_on.iter().flatten().filter_map(dependency).collect(),
        start_timeout_secs: timeout(c.start_timeout),
        restart: restart::policy(c),
    }
}

fn dependency(d: &types::ContainerDependency) -> Option<Dependency> {
    let condition = match d.condition.as_ref()? {
        ApiCondition::Start => ContainerCondition::Start,
        ApiCondition::Complete => ContainerCondition::Complete,
        ApiCondition::Success => ContainerCondition::Success,
        ApiCondition::Healthy => ContainerCondition::Healthy,
        ApiCondition::Other(_) => return None,
    };
    Some(Dependency { container: ContainerName::new(d.container_name.as_deref()?).ok()?, condition })
}

fn health_check(check: &types::HealthCheck) -> HealthCheck {
    // Registration wrote the defaults out.
    let seconds = |value: Option<i32>| value.map_or(0, unsigned);
    HealthCheck {
        command: check.command.clone().unwrap_or_default(),
        interval_secs: seconds(check.interval),
        timeout_secs: seconds(check.timeout),
        retries: seconds(check.retries),
        start_period_secs: seconds(check.start_period),
    }
}

fn sysctl(s: &types::SystemControl) -> Option<(String, String)> {
    Some((s.namespace.clone()?, s.value.clone()?))
}

fn log(l: &types::LogConfiguration) -> Option<LogConfig> {
    let driver = l.log_driver.as_ref()?.as_str().to_owned();
    Some(LogConfig { driver, options: l.options.clone().unwrap_or_default() })
}

/// A container's own timeout. With zero it has none and takes the host's default, as for ECS's agent.
fn timeout(secs: Option<i32>) -> Option<u32> {
    secs.filter(|secs| *secs > 0).map(unsigned)
}

/// Validation refuses negative numbers; 0 stands in for one all the same.
fn unsigned(value: i32) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

fn some_list(list: Option<&Vec<String>>) -> Option<Vec<String>> {
    list.filter(|list| !list.is_empty()).cloned()
}

fn some_text(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(c: ContainerDefinition, over: Option<&ContainerOverride>) -> ContainerSpec {
        let c = ContainerDefinition { name: Some("app".to_owned()), image: Some("web:1".to_owned()), ..c };
        let given = TaskContainer { arn_id: uuid::Uuid::nil(), gpu_ids: Vec::new() };
        container(NetworkMode::Bridge, &c, over, &given).expect("it has a name and an image")
    }

    #[test]
    fn timeouts_of_zero_leave_the_hosts_default() {
        for (secs, expected) in [(None, None), (Some(-1), None), (Some(0), None), (Some(1), Some(1))] {
            let c = ContainerDefinition { stop_timeout: secs, start_timeout: secs, ..ContainerDefinition::default() };
            let spec = rendered(c, None);
            assert_eq!((spec.stop_timeout_secs, spec.lifecycle.start_timeout_secs), (expected, expected), "{secs:?}");
        }
    }

    #[test]
    fn an_overrides_environment_files_replace_the_definitions() {
        let files = |names: &[&str]| -> Option<Vec<types::EnvironmentFile>> {
            let file = |name: &&str| types::EnvironmentFile {
                value: Some((*name).to_owned()),
                ..types::EnvironmentFile::default()
            };
            Some(names.iter().map(file).collect())
        };
        for (given, expected) in
            [(None, ["a", "b"].as_slice()), (files(&[]), ["a", "b"].as_slice()), (files(&["c"]), ["c"].as_slice())]
        {
            let c = ContainerDefinition { environment_files: files(&["a", "b"]), ..ContainerDefinition::default() };
            let over = ContainerOverride { environment_files: given, ..ContainerOverride::default() };
            assert_eq!(rendered(c, Some(&over)).environment_files, expected);
        }
    }
}
