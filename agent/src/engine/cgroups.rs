//! The engine's cgroup driver over `cgroup`. Which kind of cgroups the host has is known only once Docker answers, so
//! the real one is set then; until then tasks with limits wait.

use super::docker::chain;
use super::drivers::TaskCgroups;
use crate::cgroup::{CgroupError, Cgroups, TaskLimits};
use async_trait::async_trait;
use longshore_model::{TaskId, TaskSpec};
use longshore_plan::Failure;
use std::sync::OnceLock;

/// Task cgroups, once it is known how they are made here.
#[derive(Debug, Default)]
pub struct LateCgroups {
    real: OnceLock<Result<Cgroups, String>>,
}

impl LateCgroups {
    /// Sets how they are made, or why they cannot be. Only the first call counts.
    pub fn set(&self, cgroups: Result<Cgroups, String>) {
        // A second answer would be about the same host.
        let _ = self.real.set(cgroups);
    }

    fn get(&self) -> Result<&Cgroups, Failure> {
        match self.real.get() {
            Some(Ok(cgroups)) => Ok(cgroups),
            Some(Err(why)) => Err(Failure::Lasting(why.clone())),
            None => Err(Failure::Away("it is not known yet how the container engine makes cgroups".to_owned())),
        }
    }
}

fn failure(error: &CgroupError) -> Failure {
    match error {
        CgroupError::File { .. } | CgroupError::Differs { .. } => Failure::Lasting(chain(error)),
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
            None => Err(Failure::Away("it is not known yet how the container engine makes cgroups".to_owned())),
        }
    }

    async fn list(&self) -> Result<Vec<TaskId>, Failure> {
        match self.real.get() {
            Some(Ok(cgroups)) => cgroups.list().await.map_err(|e| failure(&e)),
            Some(Err(_)) => Ok(Vec::new()),
            None => Err(Failure::Away("it is not known yet how the container engine makes cgroups".to_owned())),
        }
    }
}
