//! How a container of a task looks to the engine. Pure: from a spec and what was resolved for it to the body of the
//! create call. Every field of [`ContainerSpec`] is honoured here or belongs to the agent's engine (`essential`,
//! `arn_id`, `lifecycle` but for the health check); what cannot be honoured is an error that names the field of the
//! task definition.

mod mounts;
mod namespaces;

use crate::labels::{self, PREFIX};
use crate::logs::{self, LogTarget};
use crate::reference::wanted_image;
use bollard::models::{
    ContainerCreateBody, DeviceMapping, DeviceRequest, HealthConfig, HostConfig, PortBinding, PortMap,
    ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use longshore_model::{ContainerSpec, HealthCheck, LinuxParameters, NetworkBinding, NetworkMode, TaskSpec};
use mounts::{bind, volumes_from};
use std::collections::{BTreeSet, HashMap};

const MIB: i64 = 1024 * 1024;

/// The least CPU shares that the kernel takes; ECS gives it to containers without CPU units.
const MIN_CPU_SHARES: i64 = 2;

/// What a container is made from.
#[derive(Debug, Clone, Copy)]
pub struct ContainerInput<'a> {
    /// Its task.
    pub task: &'a TaskSpec,
    /// Itself, one of the task's containers.
    pub container: &'a ContainerSpec,
    /// Bridge mode: the host ports to publish, every dynamic one resolved. A binding's `bind_ip` goes to the engine as
    /// it is: `0.0.0.0` publishes on IPv4 with one proxy process, the empty string on IPv4 and IPv6 with two.
    pub bindings: &'a [NetworkBinding],
    /// awsvpc mode: the container whose network this one joins.
    pub sandbox: Option<SandboxRef<'a>>,
    /// The task's cgroup, as the engine's cgroup driver names it; absent when the task has no limits of its own.
    pub cgroup_parent: Option<&'a str>,
    /// The value of the label `longshore.supervise`. Readable by everybody who may inspect: no secrets.
    pub supervise: &'a str,
}

/// The network of an awsvpc task, as its containers join it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SandboxRef<'a> {
    /// The engine's name or id of the sandbox.
    pub id: &'a str,
    /// The host's directory with the task's [`NETWORK_FILES`].
    pub files: &'a str,
}

/// Files that the engine writes for containers of its own networks and that an awsvpc task's containers get by bind
/// mounts instead: the name in the directory, and the path in the container.
pub const NETWORK_FILES: [(&str, &str); 3] =
    [("resolv.conf", "/etc/resolv.conf"), ("hosts", "/etc/hosts"), ("hostname", "/etc/hostname")];

/// Why a container cannot be described to the engine. Nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("container `{container}`: {field}: {problem}")]
pub struct ConfigError {
    /// The container.
    pub container: String,
    /// The field of the container definition.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl ConfigError {
    /// As ECS words a container's reason.
    #[must_use]
    pub fn ecs_reason(&self) -> String {
        format!("CannotCreateContainerError: {}: {}", self.field, self.problem)
    }
}

/// A container ready to be created. `Debug` shows neither environment nor label values.
#[derive(Clone, PartialEq)]
pub struct CreateContainer {
    name: String,
    body: ContainerCreateBody,
}

impl CreateContainer {
    pub(crate) fn new(name: String, body: ContainerCreateBody) -> Self {
        Self { name, body }
    }

    /// Its name in the engine.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The image that it is made from.
    #[must_use]
    pub fn image(&self) -> &str {
        self.body.image.as_deref().unwrap_or_default()
    }

    /// With a limit on what it may write to its own file system. Only for engines that take one
    /// ([`EngineInfo::storage_driver`](crate::EngineInfo::storage_driver)).
    #[must_use]
    pub fn with_storage_limit(mut self, mib: u32) -> Self {
        let host = self.body.host_config.get_or_insert_default();
        host.storage_opt = Some(HashMap::from([("size".to_owned(), format!("{mib}M"))]));
        self
    }

    pub(crate) fn body(&self) -> &ContainerCreateBody {
        &self.body
    }
}

impl std::fmt::Debug for CreateContainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreateContainer")
            .field("name", &self.name)
            .field("image", &self.image())
            .finish_non_exhaustive()
    }
}

/// How a container is attached to the network.
enum Attachment<'a> {
    /// Docker's default bridge, with these ports published.
    Bridge(&'a [NetworkBinding]),
    /// The host's own.
    Host,
    /// `lo` alone, made by the OCI runtime. Docker's network `none` gives the same and costs about twice the time.
    Loopback,
    /// `lo` alone by Docker's network `none`, which writes `/etc/hosts` and `/etc/resolv.conf`: only for containers
    /// that ask for entries in them.
    LoopbackWithFiles,
    /// Another container's.
    Join(SandboxRef<'a>),
}

/// Describes a container to the engine.
///
/// # Errors
/// When a field asks for what the engine cannot be told: a volume that the task has not, a path with a colon (the
/// engine separates by it), awsvpc without a sandbox, a label of ours.
pub fn container_config(input: &ContainerInput<'_>) -> Result<CreateContainer, ConfigError> {
    let ContainerInput { task, container, bindings, sandbox, cgroup_parent, supervise } = *input;
    let attachment = attachment(task, container, bindings, sandbox)?;
    let joins = matches!(attachment, Attachment::Join(_));
    let body = ContainerCreateBody {
        image: Some(wanted_image(container)),
        cmd: container.command.clone(),
        entrypoint: container.entry_point.clone(),
        env: Some(container.environment.iter().map(|v| format!("{}={}", v.name, v.value)).collect()),
        working_dir: container.working_directory.clone(),
        user: container.user.clone(),
        // The engine refuses a hostname for a container that joins another's network: that one has it.
        hostname: container.hostname.clone().filter(|_| !joins),
        tty: Some(container.pseudo_terminal),
        open_stdin: Some(container.interactive),
        labels: Some(all_labels(task, container, supervise)?),
        // Also how long the engine waits for this container when the engine itself is shut down.
        stop_timeout: container.stop_timeout_secs.map(i64::from),
        healthcheck: container.lifecycle.health_check.as_ref().map(health_check),
        network_disabled: matches!(attachment, Attachment::Loopback).then_some(true),
        exposed_ports: exposed_ports(&attachment),
        host_config: Some(host_config(task, container, &attachment, cgroup_parent)?),
        ..ContainerCreateBody::default()
    };
    Ok(CreateContainer { name: labels::container_name(task.id, &container.name), body })
}

fn host_config(
    task: &TaskSpec,
    container: &ContainerSpec,
    attachment: &Attachment<'_>,
    cgroup_parent: Option<&str>,
) -> Result<HostConfig, ConfigError> {
    let linux = &container.linux;
    let files = !matches!(attachment, Attachment::Join(_));
    Ok(HostConfig {
        cpu_shares: Some(i64::from(container.cpu_units).max(MIN_CPU_SHARES)),
        memory: container.memory_mib.map(mib),
        memory_reservation: container.memory_reservation_mib.map(mib),
        memory_swap: memory_swap(container)?,
        // ECS ignores swappiness unless swap is set.
        memory_swappiness: linux.swappiness.filter(|_| linux.max_swap_mib.is_some()).map(i64::from),
        cgroup_parent: cgroup_parent.map(str::to_owned),
        binds: some(binds(task, container, attachment)?),
        volumes_from: some(volumes_from(task, container)),
        links: some(links(task, container, attachment)),
        pid_mode: namespaces::pid(task),
        ipc_mode: namespaces::ipc(task),
        network_mode: Some(network_mode(attachment)),
        port_bindings: port_bindings(attachment),
        readonly_rootfs: Some(container.readonly_root),
        privileged: Some(container.privileged),
        ulimits: some(container.ulimits.iter().map(ulimit).collect()),
        cap_add: some(linux.cap_add.clone()),
        cap_drop: some(linux.cap_drop.clone()),
        devices: some(linux.devices.iter().map(device).collect()),
        tmpfs: tmpfs(linux),
        init: linux.init.then_some(true),
        shm_size: linux.shared_memory_mib.map(mib),
        sysctls: some_map(container.sysctls.iter()),
        dns: some(container.dns_servers.clone()).filter(|_| files),
        dns_search: some(container.dns_search.clone()).filter(|_| files),
        extra_hosts: some(container.extra_hosts.clone()).filter(|_| files),
        security_opt: some(container.security_options.iter().map(|o| security_option(o)).collect()),
        log_config: container.log.as_ref().map(logs::log_config),
        device_requests: gpus(container),
        runtime: container.docker_labels.get(labels::RUNTIME).cloned(),
        // A task runs at most once: whether something starts again is never the engine's decision.
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        auto_remove: Some(false),
        ..HostConfig::default()
    })
}

fn attachment<'a>(
    task: &TaskSpec,
    container: &ContainerSpec,
    bindings: &'a [NetworkBinding],
    sandbox: Option<SandboxRef<'a>>,
) -> Result<Attachment<'a>, ConfigError> {
    let loopback = || {
        if container.dns_servers.is_empty() && container.dns_search.is_empty() && container.extra_hosts.is_empty() {
            Attachment::Loopback
        } else {
            Attachment::LoopbackWithFiles
        }
    };
    if container.disable_networking {
        return Ok(loopback());
    }
    Ok(match task.network_mode {
        NetworkMode::Bridge => Attachment::Bridge(bindings),
        NetworkMode::Host => Attachment::Host,
        NetworkMode::None => loopback(),
        NetworkMode::Awsvpc => match sandbox {
            Some(sandbox) => Attachment::Join(sandbox),
            None => return Err(fault(container, "networkMode", "awsvpc needs a sandbox, and none was made")),
        },
    })
}

fn network_mode(attachment: &Attachment<'_>) -> String {
    match attachment {
        Attachment::Bridge(_) => "bridge".to_owned(),
        Attachment::Host => "host".to_owned(),
        // With NetworkDisabled the engine reads no mode; `none` keeps a default network of another name out.
        Attachment::Loopback | Attachment::LoopbackWithFiles => "none".to_owned(),
        Attachment::Join(sandbox) => format!("container:{}", sandbox.id),
    }
}

fn published<'a>(attachment: &Attachment<'a>) -> &'a [NetworkBinding] {
    match attachment {
        Attachment::Bridge(bindings) => bindings,
        Attachment::Host | Attachment::Loopback | Attachment::LoopbackWithFiles | Attachment::Join(_) => &[],
    }
}

/// Every port of a binding, as the engine names it in the container, and the host's.
fn ports(binding: &NetworkBinding) -> impl Iterator<Item = (String, u16)> {
    let side = |first: u16, i: u16| first.saturating_add(i);
    (0..binding.count).map(move |i| {
        let inside = format!("{}/{}", side(binding.container_port, i), binding.protocol);
        (inside, side(binding.host_port, i))
    })
}

fn exposed_ports(attachment: &Attachment<'_>) -> Option<Vec<String>> {
    // One container port may be published on several host ports.
    let ports: BTreeSet<String> = published(attachment).iter().flat_map(ports).map(|(port, _)| port).collect();
    some(ports.into_iter().collect())
}

fn port_bindings(attachment: &Attachment<'_>) -> Option<PortMap> {
    let mut map = PortMap::new();
    for binding in published(attachment) {
        for (inside, host_port) in ports(binding) {
            map.entry(inside)
                .or_default()
                .get_or_insert_default()
                .push(PortBinding { host_ip: Some(binding.bind_ip.clone()), host_port: Some(host_port.to_string()) });
        }
    }
    (!map.is_empty()).then_some(map)
}

/// Docker writes them into `/etc/hosts`, and follows a linked container that gets another address.
fn links(task: &TaskSpec, container: &ContainerSpec, attachment: &Attachment<'_>) -> Vec<String> {
    match attachment {
        Attachment::Bridge(_) => {
            let link = |link: &longshore_model::Link| {
                format!("{}:{}", labels::container_name(task.id, &link.container), link.alias)
            };
            container.links.iter().map(link).collect()
        }
        Attachment::Host | Attachment::Loopback | Attachment::LoopbackWithFiles | Attachment::Join(_) => Vec::new(),
    }
}

/// Docker's `MemorySwap` is memory and swap together; ECS's `maxSwap` is swap alone.
fn memory_swap(container: &ContainerSpec) -> Result<Option<i64>, ConfigError> {
    match (container.linux.max_swap_mib, container.memory_mib) {
        (None, _) => Ok(None),
        (Some(swap), Some(memory)) => Ok(Some(mib(memory) + mib(swap))),
        (Some(_), None) => {
            Err(fault(container, "linuxParameters.maxSwap", "needs `memory` in the same container definition"))
        }
    }
}

fn binds(task: &TaskSpec, container: &ContainerSpec, attachment: &Attachment<'_>) -> Result<Vec<String>, ConfigError> {
    let own = container.mount_points.iter().enumerate().map(|(i, mount)| bind(task, container, i, mount));
    let mut all = own.collect::<Result<Vec<String>, ConfigError>>()?;
    match attachment {
        Attachment::Join(sandbox) => {
            // What the definition mounts there itself counts more.
            let taken = |path: &str| container.mount_points.iter().any(|m| m.container_path == path);
            let files = NETWORK_FILES.iter().filter(|(_, path)| !taken(path));
            all.extend(files.map(|(name, path)| format!("{}/{name}:{path}:ro", sandbox.files)));
        }
        Attachment::Bridge(_) | Attachment::Host | Attachment::Loopback | Attachment::LoopbackWithFiles => {}
    }
    Ok(all)
}

/// The definition's labels and, over them, ours. The engine adds the image's, so all that are read back are set.
fn all_labels(
    task: &TaskSpec,
    container: &ContainerSpec,
    supervise: &str,
) -> Result<HashMap<String, String>, ConfigError> {
    // A label of ours in foreign hands would make the agent take a container for another one's.
    let families = [labels::RESTART, longshore_model::PROBE_LABELS];
    let theirs =
        |key: &str| labels::FROM_DEFINITION.contains(&key) || families.iter().any(|prefix| key.starts_with(prefix));
    if let Some(key) = container.docker_labels.keys().find(|k| k.starts_with(PREFIX) && !theirs(k)) {
        return Err(fault(
            container,
            "dockerLabels",
            &format!("`{key}`: keys that begin with `{PREFIX}` are reserved"),
        ));
    }
    let mut all: HashMap<String, String> =
        container.docker_labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    all.extend(labels::container_labels(task, &container.name, supervise));
    all.extend(LogTarget::labels(LogTarget::of(task, container).as_ref()));
    Ok(all)
}

fn health_check(check: &HealthCheck) -> HealthConfig {
    let nanos = |secs: u32| Some(i64::from(secs) * 1_000_000_000);
    if !check.is_check() {
        return HealthConfig { test: Some(check.command.clone()), ..HealthConfig::default() };
    }
    HealthConfig {
        test: Some(check.command.clone()),
        interval: nanos(check.interval_secs),
        timeout: nanos(check.timeout_secs),
        retries: Some(check.retries.into()),
        // The engine takes zero for "as the image has it".
        start_period: nanos(check.start_period_secs).map(|nanos| nanos.max(1_000_000)),
        ..HealthConfig::default()
    }
}

fn ulimit(limit: &longshore_model::Ulimit) -> ResourcesUlimits {
    ResourcesUlimits { name: Some(limit.name.clone()), soft: Some(limit.soft), hard: Some(limit.hard) }
}

fn device(device: &longshore_model::Device) -> DeviceMapping {
    let or = |text: &String, default: &str| Some(if text.is_empty() { default.to_owned() } else { text.clone() });
    DeviceMapping {
        path_on_host: Some(device.host_path.clone()),
        path_in_container: or(&device.container_path, &device.host_path),
        cgroup_permissions: or(&device.permissions, "rwm"),
    }
}

fn tmpfs(linux: &LinuxParameters) -> Option<HashMap<String, String>> {
    let mounts: HashMap<String, String> = linux
        .tmpfs
        .iter()
        .map(|t| {
            let mut options = t.mount_options.clone();
            options.push(format!("size={}m", t.size_mib));
            (t.container_path.clone(), options.join(","))
        })
        .collect();
    (!mounts.is_empty()).then_some(mounts)
}

/// ECS writes `label:type:x` and `apparmor:profile`; the engine wants `=` after the kind and keeps the old form only
/// out of kindness.
fn security_option(option: &str) -> String {
    match option.split_once(':') {
        Some((kind @ ("label" | "apparmor" | "seccomp"), value)) => format!("{kind}={value}"),
        Some(_) | None => option.to_owned(),
    }
}

/// GPUs by device request, as `docker run --gpus` does, and not by the runtime's name: it needs no configuration of
/// the engine.
fn gpus(container: &ContainerSpec) -> Option<Vec<DeviceRequest>> {
    (!container.gpu_ids.is_empty()).then(|| {
        vec![DeviceRequest {
            device_ids: Some(container.gpu_ids.clone()),
            capabilities: Some(vec![vec!["gpu".to_owned()]]),
            ..DeviceRequest::default()
        }]
    })
}

fn mib(n: u32) -> i64 {
    i64::from(n) * MIB
}

/// An empty list is left out: to the engine absent and empty are not always the same.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn some_map<'a>(entries: impl Iterator<Item = (&'a String, &'a String)>) -> Option<HashMap<String, String>> {
    let map: HashMap<String, String> = entries.map(|(k, v)| (k.clone(), v.clone())).collect();
    (!map.is_empty()).then_some(map)
}

fn fault(container: &ContainerSpec, field: &str, problem: &str) -> ConfigError {
    ConfigError { container: container.name.to_string(), field: field.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests;
