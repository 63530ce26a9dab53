//! What an agent says of its tasks.

use crate::id::{ContainerName, TaskId};
use crate::network::EniReport;
use crate::spec::Protocol;
use crate::state::{ContainerStatus, HealthStatus, StopCode, TaskStatus};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A container port as it is reachable on the host, or a contiguous range of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkBinding {
    /// The host address it is bound to, `0.0.0.0` for all.
    pub bind_ip: String,
    /// The port inside the container, the first of a range.
    pub container_port: u16,
    /// The port on the host, the first of a range.
    pub host_port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// How many ports: 1, or more for a range.
    #[serde(default = "crate::spec::one", skip_serializing_if = "crate::spec::is_one")]
    pub count: u16,
}

/// One container's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerReport {
    /// Which one.
    pub name: ContainerName,
    /// How far it is.
    pub status: ContainerStatus,
    /// The engine's id of it, once created.
    pub runtime_id: Option<String>,
    /// The digest of the image it was made from, `sha256:…`, where the image has one.
    pub image_digest: Option<String>,
    /// How it ended, when it ran and the engine knows.
    pub exit_code: Option<i32>,
    /// Why it did not run or how it ended, or what its restart policy did; at most 1024 characters, e.g.
    /// `CannotPullContainerError: …`.
    pub reason: Option<String>,
    /// Ports as they are on the host, once running.
    pub bindings: Vec<NetworkBinding>,
    /// What its health check says.
    pub health: HealthStatus,
    /// Whether it has a health check, of its definition or its image, as far as is known.
    #[serde(default)]
    pub has_check: bool,
    /// How often its restart policy started it again.
    #[serde(default)]
    pub restart_count: u32,
    /// What the engine left out of what the definition asks for when it made the container, in its words; each at most
    /// 1024 characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Why a task stops or stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopInfo {
    /// For programs. Absent when the agent only carries out the control plane's wish, which knows its own.
    pub code: Option<StopCode>,
    /// For people, in ECS's words, at most 1024 characters.
    pub reason: String,
}

/// The whole state of one task as its agent sees it. Replaces every earlier report of the task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskReport {
    /// Which task.
    pub task: TaskId,
    /// Rises with every report of this task; of two reports the higher one holds.
    pub version: u64,
    /// How far it is: `Pending`, `Running`, `Stopping`, `Deprovisioning` or `Stopped`.
    pub status: TaskStatus,
    /// Why it stops, once it does.
    pub stop: Option<StopInfo>,
    /// What it waits for on its way up or down, for people.
    pub waiting_for: Option<String>,
    /// First pull begun.
    pub pull_started_at: Option<Timestamp>,
    /// Last pull ended.
    pub pull_stopped_at: Option<Timestamp>,
    /// All containers running.
    pub started_at: Option<Timestamp>,
    /// Stop begun.
    pub stopping_at: Option<Timestamp>,
    /// The first essential container ended, or the last container when none did before.
    pub execution_stopped_at: Option<Timestamp>,
    /// Everything over and returned.
    pub stopped_at: Option<Timestamp>,
    /// Containers, in the definition's order.
    pub containers: Vec<ContainerReport>,
    /// Its interface, in mode `awsvpc`, from when it is wired; kept after it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eni: Option<EniReport>,
}

impl TaskReport {
    /// The report of a task of which there is nothing to say but how far it is: no times, no containers, no interface.
    #[must_use]
    pub const fn new(task: TaskId, version: u64, status: TaskStatus) -> Self {
        Self {
            task,
            version,
            status,
            stop: None,
            waiting_for: None,
            pull_started_at: None,
            pull_stopped_at: None,
            started_at: None,
            stopping_at: None,
            execution_stopped_at: None,
            stopped_at: None,
            containers: Vec::new(),
            eni: None,
        }
    }
}
