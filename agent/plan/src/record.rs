//! What the ledger keeps of a task. Small and written often; the definition is kept beside it and written once.

use crate::interface::Interface;
use crate::outline::Outline;
use crate::ports::ResolvedPort;
use crate::room::Place;
use longshore_model::{ContainerName, HealthStatus, NetworkMode, StopCode, TaskId, TaskStatus, Timestamp};
use serde::{Deserialize, Serialize};

/// What the control plane wants of a task, as far as this agent has heard. Only moves down this list, but for the
/// last: a task that is back in the assignment is kept again, though it still stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// Found by its labels; nobody has said yet. What runs is kept, nothing is started.
    Unknown,
    /// It should run.
    Run,
    /// It should be stopped.
    Stop {
        /// Why, for people.
        reason: String,
    },
    /// It is not in the assignment any more: it should be stopped, and forgotten once nothing of it is left.
    Forget {
        /// Why it stops, if it still runs.
        reason: String,
    },
}

/// Something that a task needs beside its containers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ResourceKind {
    /// Its host ports, fixed and chosen. Returned as soon as every container has stopped.
    Ports,
    /// Its cgroup, the parent of its containers' own.
    Cgroup,
    /// Its network interface, in mode `awsvpc`. Returned as soon as every container has stopped.
    Interface,
    /// A container of the agent's that holds the namespaces which the task's containers share. Returned as soon as
    /// every container has stopped.
    Namespaces,
    /// A volume that lives as long as the task, by its name in the task.
    Volume(String),
    /// A volume of the host that outlives the task, by its name. Returning it leaves it as it is.
    SharedVolume(String),
}

/// How far a resource is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResourcePhase {
    /// To be made before any container is created. Making it again does no harm.
    Wanted,
    /// Made, and everything that needs it may go on.
    Ready,
    /// Returned, or never made. Final.
    Gone,
}

/// One resource of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceRecord {
    /// What it is.
    pub kind: ResourceKind,
    /// How far it is.
    pub phase: ResourcePhase,
}

/// How far a container is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Nothing is known to exist. Left when the image is here.
    Waiting,
    /// The image is here. Left when the container is created.
    Pulled,
    /// Created and never started. Left when its start is decided.
    Created {
        /// The engine's id.
        id: String,
    },
    /// A start is about to be asked for, was asked for, or is going on. Durable before it is asked for.
    Starting {
        /// The engine's id.
        id: String,
    },
    /// It never ran, since its host port was taken or the engine was confused about it; it is removed and made again.
    Discarding {
        /// The engine's id.
        id: String,
    },
    /// It runs.
    Running {
        /// The engine's id.
        id: String,
    },
    /// It ended, and its restart policy starts it again. Left when it runs, or when the task ends before.
    Restarting {
        /// How it ended.
        ended: Stopped,
        /// When it may be started.
        not_before: Timestamp,
        /// Whether the start is about to be asked for, or was. Durable before it is asked for.
        asked: bool,
    },
    /// It is over. Final.
    Stopped(Stopped),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// The engine's id, when it was created.
    pub id: Option<String>,
    /// Whether it ran at all.
    pub ran: bool,
    /// Its exit code, when it ran and the engine still knew; 143 when it did not run for what it depends on.
    pub exit_code: Option<i32>,
    /// Why, beyond the exit code.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
    /// Whether the engine may still have the container.
    pub remains: bool,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Its name.
    pub name: ContainerName,
    /// How far it is.
    pub phase: Phase,
    /// The digest of its image, where the image has one.
    pub image_digest: Option<String>,
    /// The host ports that it was given.
    pub ports: Vec<ResolvedPort>,
    /// How often it was made again, because somebody else had its ports or the engine was confused about it.
    pub remakes: u32,
    /// When it began to run.
    pub started_at: Option<Timestamp>,
    /// By how many milliseconds the clock was moved since then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub moved_millis: i64,
    /// What its health check last said; absent while none is known of.
    #[serde(default)]
    pub health: Option<HealthStatus>,
    /// What its restart policy has done.
    #[serde(default)]
    pub restarts: Restarts,
    /// What the engine left out of what was asked for when it made the container, in its words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(millis: &i64) -> bool {
    *millis == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_none(count: &u32) -> bool {
    *count == 0
}

/// What a restart policy has done for a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarts {
    /// How often it was started again.
    pub count: u32,
    /// How often in a row it ended before its period was over.
    pub soon: u32,
    /// How often in a row its start failed when it was to be started again.
    #[serde(default, skip_serializing_if = "is_none")]
    pub refused: u32,
    /// When it last began to run.
    pub began_at: Option<Timestamp>,
    /// By how many milliseconds the clock was moved since then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub moved_millis: i64,
    /// Its exit code before the last restart.
    pub exit_code: Option<i32>,
    /// It ran when the host went down: that it has ended since was not its own doing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub with_host: bool,
    /// It is being stopped for its health, to be started again. Durable before the stop is asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unhealthy: bool,
}

/// Why and since when a task stops. Decided once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// For programs; absent when the control plane asked for it and knows its own.
    pub code: Option<StopCode>,
    /// For people.
    pub reason: String,
    /// When it was decided.
    pub at: Timestamp,
}

/// When things happened to a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// First pull begun.
    pub pull_started_at: Option<Timestamp>,
    /// Last pull ended.
    pub pull_stopped_at: Option<Timestamp>,
    /// All containers running.
    pub started_at: Option<Timestamp>,
    /// The first essential container ended, or the last container when none did before.
    pub execution_stopped_at: Option<Timestamp>,
    /// Everything over.
    pub stopped_at: Option<Timestamp>,
    /// By how many milliseconds the clock was moved since then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub moved_millis: i64,
}

/// All that must survive of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Which task.
    pub id: TaskId,
    /// What is wanted of it.
    pub wish: Wish,
    /// Whether containers that are not there may be made. False for a task that the control plane knows to have
    /// started and this agent did not know.
    pub may_start: bool,
    /// When this agent first heard of it: who waits longest for a port gets it first.
    pub accepted_at: Timestamp,
    /// Whether it has what it needs of the host and no other task can have.
    #[serde(default)]
    pub place: Place,
    /// What it needs beside its containers.
    pub resources: Vec<ResourceRecord>,
    /// Its interface as it was made; kept after it is returned.
    #[serde(default)]
    pub interface: Option<Interface>,
    /// Its containers, in the definition's order.
    pub containers: Vec<ContainerRecord>,
    /// Why it stops, once it does.
    pub ending: Option<Ending>,
    /// When things happened.
    pub times: Times,
    /// The highest status ever derived: statuses only rise.
    pub reached: TaskStatus,
    /// The version of its latest report. Follows the clock, so that it rises even when the ledger is lost.
    pub version: u64,
}

impl TaskRecord {
    /// A task as it begins.
    #[must_use]
    pub fn new(outline: &Outline, wish: Wish, now: Timestamp) -> Self {
        let mut resources = Vec::new();
        let mut want = |kind| resources.push(ResourceRecord { kind, phase: ResourcePhase::Wanted });
        if outline.containers.iter().any(|c| !c.ports.is_empty()) {
            want(ResourceKind::Ports);
        }
        if outline.limited {
            want(ResourceKind::Cgroup);
        }
        // Only in mode awsvpc is anything provisioned, as ECS means it.
        let reached = match outline.network_mode {
            NetworkMode::Awsvpc => {
                want(ResourceKind::Interface);
                TaskStatus::Provisioning
            }
            NetworkMode::Bridge | NetworkMode::Host | NetworkMode::None => TaskStatus::Pending,
        };
        if outline.namespaces {
            want(ResourceKind::Namespaces);
        }
        outline.volumes.iter().for_each(|name| want(ResourceKind::Volume(name.clone())));
        outline.shared_volumes.iter().for_each(|name| want(ResourceKind::SharedVolume(name.clone())));
        Self {
            id: outline.id,
            wish,
            may_start: true,
            accepted_at: now,
            place: if outline.demand().is_nothing() { Place::Given } else { Place::Wanted },
            resources,
            interface: None,
            containers: outline
                .containers
                .iter()
                .map(|c| ContainerRecord {
                    name: c.name.clone(),
                    phase: Phase::Waiting,
                    image_digest: None,
                    ports: Vec::new(),
                    remakes: 0,
                    started_at: None,
                    moved_millis: 0,
                    health: None,
                    restarts: Restarts::default(),
                    warnings: Vec::new(),
                })
                .collect(),
            ending: None,
            times: Times::default(),
            reached,
            version: 0,
        }
    }

    /// Whether every container is over.
    #[must_use]
    pub fn all_stopped(&self) -> bool {
        self.containers.iter().all(|c| c.phase.is_stopped())
    }

    pub(crate) fn resource_mut(&mut self, kind: &ResourceKind) -> Option<&mut ResourceRecord> {
        self.resources.iter_mut().find(|r| r.kind == *kind)
    }
}

impl Phase {
    /// The engine's id of the container that this phase is about.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Waiting | Self::Pulled => None,
            Self::Created { id } | Self::Starting { id } | Self::Discarding { id } | Self::Running { id } => Some(id),
            Self::Stopped(stopped) | Self::Restarting { ended: stopped, .. } => stopped.id.as_deref(),
        }
    }

    /// Whether it is over.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        self.stopped().is_some()
    }

    /// How it ended, once it is over.
    #[must_use]
    pub const fn stopped(&self) -> Option<&Stopped> {
        match self {
            Self::Stopped(stopped) => Some(stopped),
            Self::Waiting
            | Self::Pulled
            | Self::Created { .. }
            | Self::Starting { .. }
            | Self::Discarding { .. }
            | Self::Running { .. }
            | Self::Restarting { .. } => None,
        }
    }

    /// Whether it has come up: it runs, or will again, or is over.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        match self {
            Self::Running { .. } | Self::Restarting { .. } | Self::Stopped(_) => true,
            Self::Waiting | Self::Pulled | Self::Created { .. } | Self::Starting { .. } | Self::Discarding { .. } => {
                false
            }
        }
    }

    /// Whether it runs.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }
}
