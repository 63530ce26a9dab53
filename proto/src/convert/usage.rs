//! What a host and its tasks use.

use super::{Fault, FieldError, at_most, each, id, repeated};
use crate::v1;
use longshore_model::{HostUsage, MAX_TASK_USAGES, TaskUsage};

impl From<TaskUsage> for v1::TaskUsage {
    fn from(usage: TaskUsage) -> Self {
        Self { task: usage.task.to_string(), cpu_units: usage.cpu_units, memory_kib: usage.memory_kib }
    }
}

impl TryFrom<v1::TaskUsage> for TaskUsage {
    type Error = FieldError;

    fn try_from(usage: v1::TaskUsage) -> Result<Self, FieldError> {
        let v1::TaskUsage { task, cpu_units, memory_kib } = usage;
        Ok(Self { task: id("task", task.parse())?, cpu_units, memory_kib })
    }
}

impl From<HostUsage> for v1::HostUsage {
    fn from(usage: HostUsage) -> Self {
        let HostUsage { cpu_units, memory_mib, tasks } = usage;
        Self { cpu_units, memory_mib, tasks: tasks.into_iter().map(Into::into).collect() }
    }
}

impl TryFrom<v1::HostUsage> for HostUsage {
    type Error = FieldError;

    fn try_from(usage: v1::HostUsage) -> Result<Self, FieldError> {
        let v1::HostUsage { cpu_units, memory_mib, tasks } = usage;
        at_most("tasks", tasks.len(), MAX_TASK_USAGES)?;
        let tasks: Vec<TaskUsage> = each("tasks", tasks)?;
        if let Some(task) = repeated(tasks.iter().map(|usage| &usage.task)) {
            return Err(FieldError::new("tasks", Fault::Repeated(task)));
        }
        Ok(Self { cpu_units, memory_mib, tasks })
    }
}
