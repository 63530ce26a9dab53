//! With whom a container shares its processes and its memory.

use crate::pause::pause_name;
use longshore_model::{IpcMode, PidMode, TaskSpec};

/// The engine's `PidMode`; absent for processes of the container's own.
pub(super) fn pid(task: &TaskSpec) -> Option<String> {
    Some(match task.pid_mode? {
        PidMode::Host => "host".to_owned(),
        PidMode::Task => of_task(task),
    })
}

/// The engine's `IpcMode`; absent for the engine's default.
pub(super) fn ipc(task: &TaskSpec) -> Option<String> {
    Some(match task.ipc_mode? {
        IpcMode::Host => "host".to_owned(),
        IpcMode::Task => of_task(task),
        IpcMode::None => "none".to_owned(),
    })
}

fn of_task(task: &TaskSpec) -> String {
    format!("container:{}", pause_name(task.id))
}
