//! The engine's cgroup driver over `cgroup`. Which kind of cgroups the host has is known only once Docker answers, so
//! the real one is set then; until then tasks with limits wait.

use super::docker::chain;
use super::drivers::TaskCgroups;
use crate::cgroup::{CgroupError, Cgroups, HostTasks, TaskLimits};
use async_trait::async_trait;
use longshore_model::{TaskId, TaskSpec};
use longshore_net::TaskSockets;
use longshore_plan::Failure;
use std::sync::{Mutex, OnceLock, PoisonError};
use tokio::sync::watch;

/// Task cgroups, once it is known how they are made here.
#[derive(Debug, Default)]
pub struct LateCgroups {
    real: OnceLock<Result<Cgroups, String>>,
    /// The parent of containers in mode `host` whose task has no cgroup.
    host_parent: OnceLock<String>,
    sockets: watch::Sender<TaskSockets>,
    /// Why such tasks cannot be told from the host, as it was said last.
    untold: Mutex<Option<String>>,
}

impl LateCgroups {
    /// Sets how they are made, or why they cannot be. Only the first call counts.
    pub fn set(&self, cgroups: Result<Cgroups, String>) {
        // A second answer would be about the same host.
        let _ = self.real.set(cgroups);
    }

    /// Sets what tells tasks on the host's network from the host itself, or why nothing does. What was found once stays.
    pub fn tell(&self, found: Result<HostTasks, String>) {
        match found {
            Ok(HostTasks { parent, sockets }) => {
                let _ = self.host_parent.set(parent);
                self.sockets.send_if_modified(|known| std::mem::replace(known, sockets.clone()) != sockets);
            }
            Err(why) if self.host_parent.get().is_none() => {
                self.sockets
                    .send_if_modified(|known| std::mem::replace(known, TaskSockets::Untold) != TaskSockets::Untold);
                let mut said = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
                if said.as_ref() != Some(&why) {
                    tracing::warn!(why, "tasks of mode `host` reach the host's cloud at link-local addresses");
                    *said = Some(why);
                }
            }
            Err(_) => {}
        }
    }

    /// What the sockets of tasks on the host's network are told by, once that is known.
    pub fn sockets(&self) -> watch::Receiver<TaskSockets> {
        self.sockets.subscribe()
    }

    fn get(&self) -> Result<&Cgroups, Failure> {
        match self.real.get() {
            Some(Ok(cgroups)) => Ok(cgroups),
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
            Some(Ok(cgroups)) => cgroups.remove(task).await.map_err(|e| failure(&e)),
            // Where none can be made there is none to remove.
            Some(Err(_)) => Ok(()),
            None => Err(not_yet()),
        }
    }

    async fn list(&self) -> Result<Vec<TaskId>, Failure> {
        match self.real.get() {
            Some(Ok(cgroups)) => cgroups.list().await.map_err(|e| failure(&e)),
            Some(Err(_)) => Ok(Vec::new()),
            None => Err(not_yet()),
        }
    }

    fn host_parent(&self) -> Result<Option<String>, Failure> {
        match self.real.get() {
            Some(_) => Ok(self.host_parent.get().cloned()),
            None => Err(not_yet()),
        }
    }
}
