//! What hosts and tasks use, as attachments of a type that ECS does not have.

use crate::records::Task;
use longshore_ecs_api::types::{Attachment, KeyValuePair};
use longshore_model::{HostUsage, InstanceId, Timestamp};

/// The type of such an attachment. Its details are `cpuUnits` (1024 are one core), `memoryKib` and `readAt` (RFC 3339).
const USAGE: &str = "longshore.usage";

/// What a task uses; `None` for one that its host said nothing of.
pub(crate) fn task(task: &Task, at: Timestamp, host: &HostUsage) -> Option<Attachment> {
    let used = host.tasks.iter().find(|used| used.task == task.id)?;
    Some(attachment(task.id.to_string(), used.cpu_units, used.memory_kib, at))
}

/// What a host uses with everything on it.
pub(crate) fn host(id: InstanceId, at: Timestamp, host: &HostUsage) -> Attachment {
    attachment(id.to_string(), host.cpu_units, u64::from(host.memory_mib) * 1024, at)
}

fn attachment(id: String, cpu_units: u32, memory_kib: u64, at: Timestamp) -> Attachment {
    let detail = |name: &str, value: String| KeyValuePair { name: Some(name.to_owned()), value: Some(value) };
    Attachment {
        id: Some(id),
        r#type: Some(USAGE.to_owned()),
        status: Some("ATTACHED".to_owned()),
        details: Some(vec![
            detail("cpuUnits", cpu_units.to_string()),
            detail("memoryKib", memory_kib.to_string()),
            detail("readAt", at.to_string()),
        ]),
    }
}
