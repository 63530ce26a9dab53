//! A task's own cgroup: the hard limit that all its containers share.
//!
//! Owns the directories `<parent>/<task id>` in the cgroup hierarchies (or, where systemd makes the engine's cgroups,
//! one slice file per task) and nothing else; containers' cgroups below them belong to the engine. Names derive from
//! the task's id, so what a crash left can be listed and removed without the ledger. Decides nothing: the agent's
//! `engine` says which task gets one and when it goes.
//!
//! A task gets a cgroup only when its definition has task-level `cpu` or `memory` (ECS gives every task one). Without
//! limits it would only add a level to the tree; the containers' own limits hold either way.
//!
//! Two agents on one machine (a lab) need different parents: each takes every task below its parent for its own.

mod hierarchy;
mod limits;
mod slice;
mod tree;

pub use hierarchy::Hierarchies;
pub use limits::TaskLimits;

use longshore_docker::{CgroupDriver, CgroupVersion};
use longshore_model::TaskId;
use longshore_net::TaskSockets;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a removal waits for the kernel to take the last process out.
const REMOVE_WAIT: Duration = Duration::from_secs(5);

/// Where systemd looks for units that live until the next boot.
const RUNTIME_UNITS: &str = "/run/systemd/system";

/// Why task cgroups cannot be used on this host.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The parent's name does not suit.
    #[error("task_cgroup_parent `{0}`: letters, digits, `_`, `.` and single `-` between them are allowed")]
    Parent(String),
    /// The container engine sets no limits itself (a rootless one without delegation).
    #[error("the container engine uses no cgroups, so tasks cannot be limited")]
    EngineHasNone,
    /// The list of mounts is unreadable.
    #[error("could not read {path}")]
    Mounts {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A controller that limits need is not there.
    #[error("the cgroup controller `{controller}` is not mounted or not enabled on this host")]
    NoController {
        /// Which one.
        controller: &'static str,
    },
}

/// Why a task's cgroup could not be made, checked, listed or removed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A file or directory of it could not be read, written, made or removed.
    #[error("could not {verb} {path}", path = path.display())]
    File {
        /// `make`, `write`, `read`, `list` or `remove`.
        verb: &'static str,
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A limit did not stick.
    #[error("wrote `{wanted}` to {path} and read back `{found}`", path = path.display())]
    Differs {
        /// The limit's file.
        path: PathBuf,
        /// What was written.
        wanted: String,
        /// What is there.
        found: String,
    },
    /// Something still runs in it.
    #[error("{path} is still in use by process {pids:?} after {waited:?}", path = path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
        /// Some of the processes.
        pids: Vec<u32>,
        /// How long the removal waited.
        waited: Duration,
    },
    /// systemd did not make the slice of all tasks.
    #[error("`systemctl start {unit}` did not make it: {why}")]
    Slice {
        /// The slice.
        unit: String,
        /// What it said.
        why: String,
    },
    /// The worker thread died.
    #[error("the worker thread for cgroups ended early")]
    Worker(#[source] tokio::task::JoinError),
}

impl CgroupError {
    /// As ECS words a task's reason when the task's resources cannot be made.
    #[must_use]
    pub fn ecs_reason(&self) -> String {
        let mut text = format!("ResourceInitializationError: unable to create the task's cgroup: {self}");
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            text.push_str(&format!(": {cause}"));
            next = cause.source();
        }
        text
    }
}

/// The class (`net_cls.classid`) of sockets of tasks, under v1: "LS", and 1.
const CLASS: u32 = 0x4c53_0001;

/// What containers that share the host's network are told by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostTasks {
    /// The `CgroupParent` of those whose task has no cgroup of its own: the parent of all tasks' cgroups.
    pub parent: String,
    /// What their sockets have in common, and no other socket has.
    pub sockets: TaskSockets,
}

/// The tasks' cgroups on this host. Cheap to clone. File work happens on tokio's blocking threads.
#[derive(Debug, Clone)]
pub struct Cgroups {
    backend: Arc<Backend>,
}

#[derive(Debug)]
enum Backend {
    /// The engine makes cgroups by itself, and so do we.
    Tree(tree::Tree),
    /// systemd makes them, from slice files that we write.
    Slices(slice::Slices),
}

impl Cgroups {
    /// Finds out how task cgroups are made here. `parent` is one name, `longshore` by default.
    ///
    /// # Errors
    /// When `parent` is no name, the engine has no cgroups, or a controller is missing.
    pub fn detect(parent: &str, driver: CgroupDriver, version: CgroupVersion) -> Result<Self, DetectError> {
        let hierarchies = Hierarchies::of_this_host(version)?;
        Self::with_hierarchies(parent, driver, hierarchies, Path::new(RUNTIME_UNITS))
    }

    /// As [`Cgroups::detect`], with the mounts and systemd's directory given.
    ///
    /// # Errors
    /// As [`Cgroups::detect`].
    pub fn with_hierarchies(
        parent: &str,
        driver: CgroupDriver,
        hierarchies: Hierarchies,
        units: &Path,
    ) -> Result<Self, DetectError> {
        hierarchies.require(&limits::CONTROLLERS)?;
        if !parent_is_valid(parent) {
            return Err(DetectError::Parent(parent.to_owned()));
        }
        let backend = match driver {
            CgroupDriver::Cgroupfs => Backend::Tree(tree::Tree::new(parent, hierarchies)),
            CgroupDriver::Systemd => Backend::Slices(slice::Slices::new(parent, hierarchies, units)),
            CgroupDriver::None => return Err(DetectError::EngineHasNone),
        };
        Ok(Self { backend: Arc::new(backend) })
    }

    /// Makes the task's cgroup with these limits, unless it is there with them already, and returns the `CgroupParent`
    /// for its containers; `None` when there is nothing to limit. Safe to repeat and to cut.
    ///
    /// # Errors
    /// When the kernel refuses, or reads back something else than was written.
    pub async fn ensure(&self, task: TaskId, limits: TaskLimits) -> Result<Option<String>, CgroupError> {
        if limits.is_none() {
            return Ok(None);
        }
        self.blocking(move |backend| match backend {
            Backend::Tree(tree) => tree.ensure(task, &limits),
            Backend::Slices(slices) => slices.ensure(task, &limits),
        })
        .await
        .map(Some)
    }

    /// Makes the cgroup that all tasks are below so that the kernel tells their sockets from the host's. `None` where it
    /// cannot: under v1 without `net_cls`, or when v2 is not at `/sys/fs/cgroup`. Safe to repeat.
    ///
    /// # Errors
    /// When the kernel refuses it, or systemd does not make the slice.
    pub async fn host_tasks(&self) -> Result<Option<HostTasks>, CgroupError> {
        self.blocking(|backend| match backend {
            Backend::Tree(tree) => tree.host_tasks(),
            Backend::Slices(slices) => slices.host_tasks(),
        })
        .await
    }

    /// Removes the task's cgroup if there is one. Waits some seconds for the last process to leave.
    ///
    /// # Errors
    /// When processes stay in it, or the kernel refuses.
    pub async fn remove(&self, task: TaskId) -> Result<(), CgroupError> {
        self.blocking(move |backend| match backend {
            Backend::Tree(tree) => tree.remove(task, REMOVE_WAIT),
            Backend::Slices(slices) => slices.remove(task, REMOVE_WAIT),
        })
        .await
    }

    /// The tasks that have a cgroup below our parent, whoever made it.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub async fn list(&self) -> Result<Vec<TaskId>, CgroupError> {
        self.blocking(|backend| match backend {
            Backend::Tree(tree) => tree.list(),
            Backend::Slices(slices) => slices.list(),
        })
        .await
    }

    /// Makes, checks and removes a cgroup with limits for no task: whether all of it works here.
    ///
    /// # Errors
    /// The first thing that did not work.
    pub async fn probe(&self) -> Result<(), CgroupError> {
        let nobody = TaskId::random();
        let limits = TaskLimits { cpu_units: Some(128), memory_mib: Some(64), cpu_shares: 128, pids: None };
        let made = self.ensure(nobody, limits).await;
        // Also after a failure: a half-made one must not stay.
        let removed = self.remove(nobody).await;
        made.map(drop).and(removed)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Backend) -> Result<T, CgroupError> + Send + 'static,
    ) -> Result<T, CgroupError> {
        let backend = Arc::clone(&self.backend);
        tokio::task::spawn_blocking(move || work(&backend)).await.map_err(CgroupError::Worker)?
    }
}

/// One path component; dashes only singly between other characters, since systemd takes them for levels.
fn parent_is_valid(parent: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
    !parent.is_empty()
        && parent != "."
        && parent != ".."
        && parent.split('-').all(|part| !part.is_empty() && part.chars().all(allowed))
}

#[cfg(test)]
mod tests;
