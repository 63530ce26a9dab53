//! The reconciler: one owner of the table of tasks, which plans, carries out, saves and publishes.
//!
//! Owns: what this agent knows of every task. Never: decides what a task needs (`longshore-plan` does, purely), or
//! speaks to Docker, the disk or the network itself (the [`drivers`] do). The session hands it assignments, Docker's
//! events and a slow timer wake it, and it publishes reports that the session sends.
//!
//! # Order of things
//! Saving comes before everything that a restart must not contradict: an assignment is acknowledged, a report is
//! published, a container is started, stopped to be started again, or removed, and what a task has is returned, only
//! after the record behind it is durable. All other steps go on while the disk works. A ledger that cannot be written
//! holds those, and the control plane is not told that an assignment is applied; everything else goes on. Tasks are
//! stopped, and reports are published unsaved, since an exit that nobody hears of is worse than one that is said twice.
//! An `awsvpc` task is then STOPPED before its interface is returned.

mod apply;
pub mod cgroups;
pub mod docker;
pub mod drivers;
pub mod efs;
pub mod environment;
pub mod execute;
mod hints;
pub mod images;
mod listing;
pub mod namespaces;
mod reconciler;
pub mod registries;
pub(crate) mod renamed;
mod saving;
pub mod status;
pub(crate) mod strays;
mod views;

pub use hints::{Hint, pump};
pub use reconciler::Reconciler;
pub use views::{TaskView, TaskViews};

use crate::config::PullBehavior;
use crate::ledger::Loaded;
use crate::metadata::Keyring;
use crate::ports::Ports;
use crate::session::{DesiredUpdate, ObservedReports};
use drivers::Drivers;
use longshore_model::{Generation, HostFacts};
use longshore_plan::Policy;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Hints that may wait. They carry no data that a listing would not bring, so whoever fills the queue (the event pump)
/// waits; Docker keeps the events meanwhile.
pub const HINT_QUEUE: usize = 256;

/// Questions for the status that may wait: people ask them.
pub const STATUS_QUEUE: usize = 8;

/// How the engine behaves.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The plan's numbers.
    pub policy: Policy,
    /// When images are pulled.
    pub pull_behavior: PullBehavior,
    /// How much goes on at once.
    pub limits: execute::Limits,
    /// Between two listings when nothing happens. Events bring changes at once; a listing finds what they missed. It
    /// costs Docker about 10 ms with 200 containers.
    pub relist: Duration,
    /// Names the places at which containers ask about themselves.
    pub keyring: Arc<Keyring>,
}

/// What reaches the engine.
#[derive(Debug)]
pub struct Inputs {
    /// Assignments, one in flight at a time.
    pub desired: mpsc::Receiver<DesiredUpdate>,
    /// Reasons to look at Docker.
    pub hints: mpsc::Receiver<Hint>,
    /// Questions for the status.
    pub status: mpsc::Receiver<oneshot::Sender<status::EngineStatus>>,
    /// What the host is and offers; absent until that is known.
    pub facts: watch::Receiver<Option<Arc<HostFacts>>>,
}

/// What the engine publishes.
#[derive(Debug)]
pub struct Outputs {
    /// The generation that is durably applied.
    pub saved: watch::Sender<Generation>,
    /// The latest report of every task.
    pub observed: watch::Sender<ObservedReports>,
    /// Every task.
    pub views: watch::Sender<TaskViews>,
}

/// Everything that an engine is made of.
pub struct Parts {
    /// Its numbers.
    pub config: EngineConfig,
    /// The host.
    pub drivers: Drivers,
    /// What the ledger had.
    pub loaded: Loaded,
    /// The host's ports.
    pub ports: Ports,
    /// What reaches it.
    pub inputs: Inputs,
    /// What it publishes.
    pub outputs: Outputs,
}

#[cfg(test)]
pub(crate) mod tests;
