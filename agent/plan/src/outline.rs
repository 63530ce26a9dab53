//! What it takes to supervise a task without its definition: no image, no environment, no secret.

use crate::interface::Interface;
use crate::ports::ResolvedPort;
use longshore_model::{
    ContainerName, ContainerSpec, Dependency, Fence, HostPort, IpcMode, NetworkMode, PidMode, PortMapping,
    RestartPolicy, TaskId, TaskSpec, VolumeSpec,
};
use serde::{Deserialize, Serialize};

/// The format of [`Supervise`]; one that is newer is not understood.
pub const SUPERVISE_FORMAT: u32 = 1;

/// The part of a definition that supervision needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// The task.
    pub id: TaskId,
    /// Its ARN.
    pub arn: String,
    /// Its cluster's name.
    pub cluster: String,
    /// The definition's family.
    pub family: String,
    /// The definition's revision.
    pub revision: u32,
    /// The task's group.
    pub group: String,
    /// How its containers see the network.
    pub network_mode: NetworkMode,
    /// Whether it has limits of its own, as opposed to those of its containers.
    pub limited: bool,
    /// Containers, in the definition's order.
    pub containers: Vec<OutlineContainer>,
    /// Names of the volumes that live as long as the task.
    pub volumes: Vec<String>,
    /// Names of the volumes of the host that outlive it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_volumes: Vec<String>,
    /// Whether its containers share a namespace that a container of the agent's holds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub namespaces: bool,
    /// Whether it is over once its images are here, and nothing of it is made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pull_only: bool,
    /// MiB of memory that it takes of what the host offers: its own limit, or the sum of what its containers reserve.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub memory_mib: u64,
    /// Ids of the GPUs that it was given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<String>,
    /// When it is stopped because the control plane is not heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// One container of an [`Outline`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutlineContainer {
    /// Its name.
    pub name: ContainerName,
    /// The id of its ARN.
    pub arn_id: String,
    /// Whether the task ends with it.
    pub essential: bool,
    /// Seconds between SIGTERM and SIGKILL, when it has its own.
    pub stop_timeout_secs: Option<u32>,
    /// Containers that must have come so far before it is started, and that stop after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Dependency>,
    /// Seconds from its start in which it must meet the conditions of what depends on it, when it has its own limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timeout_secs: Option<u32>,
    /// When it is started again after it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartPolicy>,
    /// The ports that it asks for on the host; empty where the network mode has none.
    pub ports: Vec<PortMapping>,
    /// Containers of the task that must have begun first, and that stop after it: those whose volumes it takes and
    /// those that it links.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<ContainerName>,
    /// Those of them that it links, which have to run whenever it is started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<ContainerName>,
}

/// The content of a container's label `longshore.supervise`: from the labels of its containers alone a task is
/// supervised again when the ledger is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervise {
    /// [`SUPERVISE_FORMAT`].
    pub v: u32,
    /// The whole task.
    pub task: Outline,
    /// The host ports of the container that carries the label.
    pub ports: Vec<ResolvedPort>,
    /// The task's interface, in mode `awsvpc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<Interface>,
}

/// Why a label could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// Not what we write.
    #[error("the label longshore.supervise is not readable")]
    Unreadable(#[source] serde_json::Error),
    /// Written by a later version.
    #[error("the label longshore.supervise has format {0}, and this agent knows {SUPERVISE_FORMAT}")]
    Format(u32),
}

impl Outline {
    /// The outline of `spec`.
    #[must_use]
    pub fn of(spec: &TaskSpec) -> Self {
        // awsvpc tasks have ports of their own, and `none` has nothing to reach.
        let uses_host_ports = match spec.network_mode {
            NetworkMode::Bridge | NetworkMode::Host => true,
            NetworkMode::None | NetworkMode::Awsvpc => false,
        };
        Self {
            id: spec.id,
            arn: spec.arn.clone(),
            cluster: spec.cluster.to_string(),
            family: spec.family.clone(),
            revision: spec.revision,
            group: spec.group.clone(),
            network_mode: spec.network_mode,
            limited: spec.cpu_units.is_some() || spec.memory_mib.is_some(),
            containers: spec
                .containers
                .iter()
                .map(|c| OutlineContainer {
                    name: c.name.clone(),
                    arn_id: c.arn_id.clone(),
                    essential: c.essential,
                    stop_timeout_secs: c.stop_timeout_secs,
                    depends_on: c.lifecycle.depends_on.clone(),
                    start_timeout_secs: c.lifecycle.start_timeout_secs,
                    restart: c.lifecycle.restart.clone(),
                    ports: if uses_host_ports && !c.disable_networking {
                        c.port_mappings.iter().map(|p| host_side(spec.network_mode, *p)).collect()
                    } else {
                        Vec::new()
                    },
                    after: after(c),
                    links: c.links.iter().map(|link| link.container.clone()).collect(),
                })
                .collect(),
            volumes: names(spec, VolumeSpec::lives_with_task),
            shared_volumes: names(spec, VolumeSpec::is_shared),
            namespaces: spec.pid_mode == Some(PidMode::Task) || spec.ipc_mode == Some(IpcMode::Task),
            pull_only: spec.pull_only,
            memory_mib: if spec.pull_only { 0 } else { memory(spec) },
            gpus: spec.containers.iter().flat_map(|c| c.gpu_ids.iter().cloned()).collect(),
            fence: spec.fence,
        }
    }
}

fn after(container: &ContainerSpec) -> Vec<ContainerName> {
    let sources = container.volumes_from.iter().map(|from| &from.container);
    let mut all: Vec<ContainerName> = Vec::new();
    for name in sources.chain(container.links.iter().map(|link| &link.container)) {
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    all
}

/// As the control plane counts it when it places a task.
fn memory(spec: &TaskSpec) -> u64 {
    let reserved = |c: &ContainerSpec| u64::from(c.memory_reservation_mib.or(c.memory_mib).unwrap_or(0));
    spec.memory_mib.map_or_else(|| spec.containers.iter().map(reserved).sum(), u64::from)
}

/// The volumes that `are` of a kind, by name.
fn names(spec: &TaskSpec, are: impl Fn(&VolumeSpec) -> bool) -> Vec<String> {
    spec.volumes.iter().filter(|v| are(v)).map(|v| v.name.clone()).collect()
}

/// On the host's own network a port is what it is.
fn host_side(mode: NetworkMode, mapping: PortMapping) -> PortMapping {
    match mode {
        NetworkMode::Host => PortMapping { host_port: HostPort::Fixed(mapping.container_port), ..mapping },
        NetworkMode::Bridge | NetworkMode::None | NetworkMode::Awsvpc => mapping,
    }
}

impl Supervise {
    /// The label's text.
    ///
    /// # Panics
    /// Never: the type has only keys and values that JSON can carry.
    #[must_use]
    pub fn to_label(&self) -> String {
        serde_json::to_string(self).expect("strings, numbers and lists only")
    }

    /// Reads a label.
    ///
    /// # Errors
    /// See [`SuperviseError`].
    pub fn from_label(text: &str) -> Result<Self, SuperviseError> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        let version: Version = serde_json::from_str(text).map_err(SuperviseError::Unreadable)?;
        if version.v != SUPERVISE_FORMAT {
            return Err(SuperviseError::Format(version.v));
        }
        serde_json::from_str(text).map_err(SuperviseError::Unreadable)
    }
}
