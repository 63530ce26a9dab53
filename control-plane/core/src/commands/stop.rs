//! Asking a task to stop.

use crate::change::Change;
use crate::command::{Command, Tx};
use crate::records::{Stop, Task};
use longshore_ecs_api::ApiError;
use longshore_model::{ClusterKey, DesiredStatus, StopCode, TaskId};
use std::sync::Arc;

/// Wants a task stopped. One that is stopping or stopped already keeps its first reason.
pub(crate) struct StopTask {
    pub(crate) cluster: ClusterKey,
    pub(crate) task: TaskId,
    pub(crate) stop: Stop,
}

impl Command for StopTask {
    const NAME: &'static str = "StopTask";
    type Reply = Arc<Task>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<Task>, ApiError> {
        let found = tx.state().task(self.task).filter(|task| task.cluster == self.cluster);
        let task = found.cloned().ok_or_else(not_found)?;
        match task.desired {
            DesiredStatus::Stopped => Ok(task),
            DesiredStatus::Running => {
                let before = task;
                let mut task = (*before).clone();
                task.desired = DesiredStatus::Stopped;
                task.stop.get_or_insert(self.stop);
                task.stopping_at.get_or_insert(tx.now);
                task.version += 1;
                task.note(Some(&before), tx.now);
                let task = Arc::new(task);
                tx.change(Change::Task(Arc::clone(&task)));
                Ok(task)
            }
        }
    }
}

/// ECS's words for a task that is not there.
pub(crate) fn not_found() -> ApiError {
    ApiError::invalid("The referenced task was not found.")
}

impl Stop {
    /// Somebody called StopTask.
    pub(crate) fn by_user(reason: Option<String>) -> Self {
        let reason = reason.filter(|text| !text.is_empty()).unwrap_or_else(|| "Task stopped by user".to_owned());
        Self { code: Some(StopCode::UserInitiated), reason }
    }
}
