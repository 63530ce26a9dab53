//! Task protection as the agent of a task's host asks for it, when a container does.

use crate::agent::Unavailable;
use crate::commands::{ProtectTasks, protectable};
use crate::handle::{Core, registered};
use longshore_ecs_api::ApiError;
use longshore_model::{InstanceId, TaskId, Timestamp};
use std::time::Duration;

/// How long a protection lasts when nothing is said (ECS).
pub(crate) const DEFAULT_MINUTES: i32 = 120;
/// How long it may last (ECS).
const MAX_MINUTES: i32 = 2880;

/// How long a protection of so many minutes lasts.
///
/// # Errors
/// `InvalidParameterException` for more or less than ECS takes.
pub(crate) fn minutes(minutes: i32) -> Result<Duration, ApiError> {
    if !(1..=MAX_MINUTES).contains(&minutes) {
        return Err(ApiError::invalid(format!("expiresInMinutes must be between 1 and {MAX_MINUTES}.")));
    }
    Ok(Duration::from_secs(u64::from(minutes.unsigned_abs()) * 60))
}

/// What a container wants of its task's protection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtectionChange {
    /// To know it.
    None,
    /// To be protected for so many minutes; for the default time when absent.
    Protect(Option<i32>),
    /// Not to be protected.
    Release,
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProtectionError {
    /// No such task on that instance.
    #[error("task {0} is not on this container instance")]
    NotAssigned(TaskId),
    /// The time is none that ECS takes.
    #[error("{0}")]
    Minutes(String),
    /// As ECS says that a task cannot be protected.
    #[error("{reason}: {detail}")]
    Refused {
        /// `TASK_NOT_VALID` or `DEPLOYMENT_BLOCKED`.
        reason: &'static str,
        /// For people.
        detail: &'static str,
    },
    /// It cannot be made durable now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Core {
    /// Changes the protection of a task, for the instance that it is on, and answers until when it is protected.
    ///
    /// # Errors
    /// See [`ProtectionError`].
    pub async fn task_protection(
        &self,
        instance: InstanceId,
        id: TaskId,
        change: ProtectionChange,
    ) -> Result<Option<Timestamp>, ProtectionError> {
        let state = self.snapshot();
        let not_assigned = || ProtectionError::NotAssigned(id);
        registered(&state, instance).ok_or_else(not_assigned)?;
        let found = state.task(id).filter(|task| task.instance == instance && task.is_live());
        let cluster = found.ok_or_else(not_assigned)?.cluster.clone();
        let refused = |why: crate::commands::NotProtected| ProtectionError::Refused {
            reason: why.reason(),
            detail: why.detail(),
        };
        let time = match change {
            ProtectionChange::None => {
                let now = self.inner().clock.now();
                let task = protectable(&state, &cluster, id).map_err(refused)?;
                return Ok(task.protected_until.filter(|until| now < *until));
            }
            ProtectionChange::Protect(given) => {
                let time = minutes(given.unwrap_or(DEFAULT_MINUTES));
                Some(time.map_err(|error| ProtectionError::Minutes(error.message))?)
            }
            ProtectionChange::Release => None,
        };
        let answers = self.submit(ProtectTasks { cluster, tasks: vec![id], time }).await?;
        let task = answers.into_iter().next().ok_or_else(not_assigned)?.map_err(refused)?;
        Ok(task.protected_until)
    }
}
