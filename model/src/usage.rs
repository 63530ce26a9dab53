//! What tasks and hosts use of CPU and memory, as an agent reads it of its host.

use crate::TaskId;

/// Tasks that one message tells of at most.
pub const MAX_TASK_USAGES: usize = 4096;

/// What the running containers of a task use together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskUsage {
    /// Which task.
    pub task: TaskId,
    /// CPU since the reading before, in units: 1024 are one core.
    pub cpu_units: u32,
    /// Memory now, in KiB, without what the kernel could drop at once.
    pub memory_kib: u64,
}

/// What a host uses, and its tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostUsage {
    /// CPU since the reading before, of everything on the host, in units.
    pub cpu_units: u32,
    /// Memory that is not available, in MiB.
    pub memory_mib: u32,
    /// Tasks that run, each once, at most [`MAX_TASK_USAGES`]. Without those that were only read once.
    pub tasks: Vec<TaskUsage>,
}
