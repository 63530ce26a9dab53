//! What an agent should run, as the control plane says it.

use crate::id::{Generation, TaskId};
use crate::spec::TaskSpec;
use crate::state::DesiredStatus;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One task of an assignment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedTask {
    /// What to run.
    pub spec: Arc<TaskSpec>,
    /// Whether it should run.
    pub desired: DesiredStatus,
    /// Whether a start is still possible. False once any report said that it had started: an agent that does
    /// not know such a task reports it stopped instead of running it twice.
    pub may_start: bool,
    /// Why it should stop, when it should; for people.
    pub stop_reason: String,
}

/// A step of an agent's desired state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assignment {
    /// Everything there is: a task that is not in it is to be stopped.
    Complete {
        /// The generation that it brings the agent to.
        generation: Generation,
        /// All tasks.
        tasks: Vec<AssignedTask>,
    },
    /// What changed since `base`. Usable only by an agent that is at `base`.
    Delta {
        /// The generation that it builds on.
        base: Generation,
        /// The generation that it brings the agent to.
        generation: Generation,
        /// New and changed tasks.
        tasks: Vec<AssignedTask>,
        /// Tasks that left the assignment: recorded as stopped and no longer wanted.
        removed: Vec<TaskId>,
    },
}

impl Assignment {
    /// The generation that it brings the agent to.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        match self {
            Self::Complete { generation, .. } | Self::Delta { generation, .. } => *generation,
        }
    }
}
