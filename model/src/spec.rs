//! What an agent is asked to run: a task definition with its overrides applied, and nothing left to decide.

use crate::id::{ClusterName, ContainerName, TaskId};
use crate::image::ImageDigest;
use crate::lifecycle::Lifecycle;
use crate::network::AwsvpcSpec;
use crate::volume::{MountPoint, VolumeSpec, VolumesFrom};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How a task's containers see the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NetworkMode {
    /// Docker's bridge, container ports published on host ports.
    #[serde(rename = "bridge")]
    Bridge,
    /// The host's own network.
    #[serde(rename = "host")]
    Host,
    /// Only `lo`.
    #[serde(rename = "none")]
    None,
    /// An interface and an address of the task's own.
    #[serde(rename = "awsvpc")]
    Awsvpc,
}

impl NetworkMode {
    /// The text that the ECS API carries.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::None => "none",
            Self::Awsvpc => "awsvpc",
        }
    }
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    #[serde(rename = "tcp")]
    Tcp,
    /// UDP.
    #[serde(rename = "udp")]
    Udp,
}

impl Protocol {
    /// `tcp` or `udp`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The host side of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HostPort {
    /// This port and no other; never 0.
    Fixed(u16),
    /// One that the agent chooses from its range.
    Dynamic,
}

/// A container port to publish (bridge), or to announce (host: the host port equals the container port); or a range of
/// them, whose host ports are as contiguous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortMapping {
    /// The port inside the container, the first of a range; never 0.
    pub container_port: u16,
    /// The port on the host, the first of a range.
    pub host_port: HostPort,
    /// The protocol.
    pub protocol: Protocol,
    /// How many ports: 1, or more for a range. Neither side goes beyond 65535.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u16,
}

/// The count of ports of records that were written before there were ranges.
pub(crate) const fn one() -> u16 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(crate) const fn is_one(count: &u16) -> bool {
    *count == 1
}

/// Whose processes a task's containers see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PidMode {
    /// The host's.
    Host,
    /// Those of the whole task.
    Task,
}

/// With whom a task's containers share memory and semaphores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IpcMode {
    /// With the host.
    Host,
    /// With each other.
    Task,
    /// With nobody, and without a `/dev/shm`.
    None,
}

/// Another container of the task that one reaches by name, in bridge mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Which container.
    pub container: ContainerName,
    /// The name that it has for this one.
    pub alias: String,
}

/// One environment variable. Its value may be a secret: `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

impl fmt::Debug for EnvVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=…", self.name)
    }
}

/// A resource limit of a container's processes (`setrlimit`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// As Docker names it: `nofile`, `nproc`, …
    pub name: String,
    /// The soft limit; -1 is unlimited.
    pub soft: i64,
    /// The hard limit; -1 is unlimited.
    pub hard: i64,
}

/// A host device put into a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The path on the host.
    pub host_path: String,
    /// The path in the container.
    pub container_path: String,
    /// Any of `r`, `w`, `m`, as Docker's `CgroupPermissions`.
    pub permissions: String,
}

/// An in-memory file system in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// An absolute path in the container.
    pub container_path: String,
    /// Its size in MiB.
    pub size_mib: u32,
    /// Mount options such as `noexec`.
    pub mount_options: Vec<String>,
}

/// What is particular to Linux in a container definition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LinuxParameters {
    /// Capabilities added to Docker's default set.
    pub cap_add: Vec<String>,
    /// Capabilities dropped from it.
    pub cap_drop: Vec<String>,
    /// Devices.
    pub devices: Vec<Device>,
    /// In-memory file systems.
    pub tmpfs: Vec<Tmpfs>,
    /// Whether an init process reaps zombies.
    pub init: bool,
    /// Size of `/dev/shm` in MiB, Docker's default when absent.
    pub shared_memory_mib: Option<u32>,
    /// Swap in MiB beyond memory; as much as memory, the engine's default, when absent.
    pub max_swap_mib: Option<u32>,
    /// 0 to 100, the kernel's default when absent.
    pub swappiness: Option<u8>,
}

/// Where a container's output goes. Options may hold secrets: `Debug` shows only their names.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// The engine's name of the driver, e.g. `json-file`.
    pub driver: String,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
}

impl fmt::Debug for LogConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.driver, self.options.keys().collect::<Vec<_>>())
    }
}

/// One container of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Unique in the task.
    pub name: ContainerName,
    /// The id of the container's ARN, a UUID chosen by the control plane.
    pub arn_id: String,
    /// The image as written in the definition.
    pub image: String,
    /// The digest that `image` was resolved to for other tasks started together with this one: it is to be this very
    /// image, whatever the tag means by now. Absent while that is not known, and where each task resolves it anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<ImageDigest>,
    /// The secret with the credentials that its registry wants, by name or ARN, as written in the definition. The agent
    /// asks the control plane for its value when it pulls; the value is never here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository_credentials: Option<String>,
    /// Whether the task ends with it.
    pub essential: bool,
    /// CPU units, 0 for the least share.
    pub cpu_units: u32,
    /// Hard limit in MiB.
    pub memory_mib: Option<u32>,
    /// Soft limit in MiB.
    pub memory_reservation_mib: Option<u32>,
    /// Replaces the image's entry point when present.
    pub entry_point: Option<Vec<String>>,
    /// Replaces the image's command when present.
    pub command: Option<Vec<String>>,
    /// Replaces the image's working directory when present.
    pub working_directory: Option<String>,
    /// Replaces the image's user when present.
    pub user: Option<String>,
    /// The hostname; not in mode `awsvpc`.
    pub hostname: Option<String>,
    /// Environment, overrides applied; later entries of one name are gone.
    pub environment: Vec<EnvVar>,
    /// Where more of it is read on the host, `file:///…`: the first file that has a variable counts, and
    /// `environment` more than any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment_files: Vec<String>,
    /// Ports.
    pub port_mappings: Vec<PortMapping>,
    /// Volumes put in.
    pub mount_points: Vec<MountPoint>,
    /// Containers of the task whose volumes it gets too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes_from: Vec<VolumesFrom>,
    /// Whether the root file system is read-only.
    pub readonly_root: bool,
    /// Whether it runs privileged.
    pub privileged: bool,
    /// Whether standard input stays open.
    pub interactive: bool,
    /// Whether it has a terminal.
    pub pseudo_terminal: bool,
    /// Whether it has only `lo`, whatever the task's mode (`disableNetworking`).
    pub disable_networking: bool,
    /// Resource limits.
    pub ulimits: Vec<Ulimit>,
    /// Linux parameters.
    pub linux: LinuxParameters,
    /// Labels of the definition.
    pub docker_labels: BTreeMap<String, String>,
    /// DNS servers.
    pub dns_servers: Vec<String>,
    /// DNS search domains.
    pub dns_search: Vec<String>,
    /// Extra `/etc/hosts` entries as `name:address`.
    pub extra_hosts: Vec<String>,
    /// Containers of the task that it reaches by name; bridge mode only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// Security options as Docker takes them.
    pub security_options: Vec<String>,
    /// Kernel parameters of the container's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Log driver; the engine's default when absent.
    pub log: Option<LogConfig>,
    /// Seconds between SIGTERM and SIGKILL; the agent's default when absent.
    pub stop_timeout_secs: Option<u32>,
    /// Ids of the GPUs that the control plane gave it.
    pub gpu_ids: Vec<String>,
    /// How it is looked after.
    #[serde(default)]
    pub lifecycle: Lifecycle,
}

impl ContainerSpec {
    /// An essential container that asks for nothing but its image, without an id.
    #[must_use]
    pub fn new(name: ContainerName, image: impl Into<String>) -> Self {
        Self {
            name,
            arn_id: String::new(),
            image: image.into(),
            image_digest: None,
            repository_credentials: None,
            essential: true,
            cpu_units: 0,
            memory_mib: None,
            memory_reservation_mib: None,
            entry_point: None,
            command: None,
            working_directory: None,
            user: None,
            hostname: None,
            environment: Vec::new(),
            environment_files: Vec::new(),
            port_mappings: Vec::new(),
            mount_points: Vec::new(),
            volumes_from: Vec::new(),
            readonly_root: false,
            privileged: false,
            interactive: false,
            pseudo_terminal: false,
            disable_networking: false,
            ulimits: Vec::new(),
            linux: LinuxParameters::default(),
            docker_labels: BTreeMap::new(),
            dns_servers: Vec::new(),
            dns_search: Vec::new(),
            extra_hosts: Vec::new(),
            links: Vec::new(),
            security_options: Vec::new(),
            sysctls: BTreeMap::new(),
            log: None,
            stop_timeout_secs: None,
            gpu_ids: Vec::new(),
            lifecycle: Lifecycle::default(),
        }
    }
}

/// Of a task that must not run twice: when its agent stops it by itself, because it does not hear the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// Milliseconds after the last word that the control plane certainly had from the agent.
    pub after_millis: u32,
    /// Milliseconds that all its containers together then have until SIGKILL; no stop of it takes longer.
    pub grace_millis: u32,
}

impl Fence {
    /// See [`Fence::after_millis`].
    #[must_use]
    pub const fn after(self) -> Duration {
        Duration::from_millis(self.after_millis as u64)
    }

    /// See [`Fence::grace_millis`].
    #[must_use]
    pub const fn grace(self) -> Duration {
        Duration::from_millis(self.grace_millis as u64)
    }
}

/// A task as an agent runs it. Never changes for one task id, but for the digests of images, which come to be known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The task.
    pub id: TaskId,
    /// Its ARN, for labels and metadata.
    pub arn: String,
    /// Its cluster's name.
    pub cluster: ClusterName,
    /// The task definition's family.
    pub family: String,
    /// The task definition's revision.
    pub revision: u32,
    /// The task's group (`family:NAME` or `service:NAME`).
    pub group: String,
    /// How its containers see the network.
    pub network_mode: NetworkMode,
    /// Its interface; present in mode `awsvpc` and only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awsvpc: Option<AwsvpcSpec>,
    /// Whose processes its containers see; each its own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_mode: Option<PidMode>,
    /// With whom its containers share memory; each with nobody, or as the engine is set, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipc_mode: Option<IpcMode>,
    /// Hard limit of all its containers together in CPU units, when given.
    pub cpu_units: Option<u32>,
    /// Hard limit of all its containers together in MiB, when given.
    pub memory_mib: Option<u32>,
    /// MiB that its containers may write in all: to their file systems, to volumes that live as long as the task, and
    /// as output that the host keeps. Absent for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ephemeral_storage_mib: Option<u32>,
    /// Containers, in the definition's order, names unique, at least one essential.
    pub containers: Vec<ContainerSpec>,
    /// Volumes, names unique.
    pub volumes: Vec<VolumeSpec>,
    /// Only its images are wanted on the host: nothing of it is made or run, and it is over once they are there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pull_only: bool,
    /// When it is to be stopped by an agent that is cut off; absent for tasks that go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// The launch type as requested, for metadata; empty when it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub launch_type: String,
    /// The task's tags when the host was told of it, for metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

impl TaskSpec {
    /// A task of the first revision of `family` and of its group, without an ARN, that asks for nothing but its
    /// containers.
    #[must_use]
    pub fn new(
        id: TaskId,
        cluster: ClusterName,
        family: &str,
        network_mode: NetworkMode,
        containers: Vec<ContainerSpec>,
    ) -> Self {
        Self {
            id,
            arn: String::new(),
            cluster,
            family: family.to_owned(),
            revision: 1,
            group: format!("family:{family}"),
            network_mode,
            awsvpc: None,
            pid_mode: None,
            ipc_mode: None,
            cpu_units: None,
            memory_mib: None,
            ephemeral_storage_mib: None,
            containers,
            volumes: Vec::new(),
            pull_only: false,
            fence: None,
            launch_type: String::new(),
            tags: BTreeMap::new(),
        }
    }
}
