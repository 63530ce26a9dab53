//! Names of what a task leaves on a host, each derived from the task alone.

use longshore_model::{ContainerName, TaskId};

/// A container's name in the engine: `ls-<task id>-<container name>`.
#[must_use]
pub fn container(task: TaskId, container: &ContainerName) -> String {
    format!("ls-{task}-{container}")
}

/// A task-scoped volume's name in the engine: `ls-<task id>-<volume name>`.
#[must_use]
pub fn volume(task: TaskId, volume: &str) -> String {
    format!("ls-{task}-{volume}")
}
