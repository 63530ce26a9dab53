//! The engine's cgroup driver over `cgroup`. Which kind of cgroups the host has is known only once Docker answers, so
//! the real one is set then; until then tasks with limits wait.

use super::docker::chain;
use super::drivers::TaskCgroups;
use crate::cgroup::{CgroupError, Cgroups, HostTasks, TaskLimits};
use async_trait::async_trait;
use longshore_model::{TaskId, TaskSpec};
use longshore_net::TaskSockets;
use longshore_plan::Failure;
use std::sync::OnceLock;
use tokio::sync::watch;

/// Task cgroups, once it is known how they are made here.
#[derive(Debug)]
pub struct LateCgroups {
    real: OnceLock<Result<Real, String>>,
    sockets: watch::Sender<Option<TaskSockets>>,
}

#[derive(Debug)]
struct Real {
    cgroups: Cgroups,
    /// The parent of containers in mode `host` whose task has no cgroup.
    host_parent: Option<String>,
}

impl Default for LateCgroups {
    fn default() -> Self {
        Self { real: OnceLock::new(), sockets: watch::Sender::new(None) }
    }
}

impl LateCgroups {
    /// Sets how they are made, with what tells tasks on the host's network from the host itself; or why they cannot be.
    /// Only the first call counts.
    pub fn set(&self, cgroups: Result<(Cgroups, Option<HostTasks>), String>) {
        let sockets = cgroups.as_ref().ok().and_then(|(_, host_tasks)| Some(host_tasks.as_ref()?.sockets.clone()));
        let real = cgroups
            .map(|(cgroups, host_tasks)| Real { cgroups, host_parent: host_tasks.map(|host_tasks| host_tasks.parent) });
        // A second answer would be about the same host.
        if self.real.set(real).is_ok() {
            self.sockets.send_replace(sockets);
        }
    }

    /// What the sockets of tasks on the host's network are told by, once that is known.
    pub fn sockets(&self) -> watch::Receiver<Option<TaskSockets>> {
        self.sockets.subscribe()
    }

    fn get(&self) -> Result<&Cgroups, Failure> {
        match self.real.get() {
            Some(Ok(real)) => Ok(&real.cgroups),
            Some(Err(why)) => Err(Failure::Lasting(why.clone())),
            None => Err(not_yet()),
        }
    }
}

fn not_yet() -> Failure {
    Failure::Away("it is not known yet how the container engine makes cgroups".to_owned())
}

fn failure(error: &CgroupError) -> Failure {
    match error {
        CgroupError::File { .. } | CgroupError::Differs { .. } | CgroupError::Slice { .. } => {
            Failure::Lasting(chain(error))
        }
        CgroupError::Busy { .. } | CgroupError::Worker(_) => Failure::Passing(chain(error)),
    }
}

#[async_trait]
impl TaskCgroups for LateCgroups {
    async fn ensure(&self, spec: &TaskSpec) -> Result<Option<String>, Failure> {
        self.get()?.ensure(spec.id, TaskLimits::of(spec)).await.map_err(|e| failure(&e))
    }

    async fn remove(&self, task: TaskId) -> Result<(), Failure> {
        match self.real.get() {
            Some(Ok(real)) => real.cgroups.remove(task).await.map_err(|e| failure(&e)),
            // Where none can be made there is none to remove.
            Some(Err(_)) => Ok(()),
            None => Err(not_yet()),
        }
    }

    async fn list(&self) -> Result<Vec<TaskId>, Failure> {
        match self.real.get() {
            Some(Ok(real)) => real.cgroups.list().await.map_err(|e| failure(&e)),
            Some(Err(_)) => Ok(Vec::new()),
            None => Err(not_yet()),
        }
    }

    fn host_parent(&self) -> Result<Option<String>, Failure> {
        match self.real.get() {
            Some(Ok(real)) => Ok(real.host_parent.clone()),
            Some(Err(_)) => Ok(None),
            None => Err(not_yet()),
        }
    }
}
