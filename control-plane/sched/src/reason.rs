//! Why a host was passed over: ECS's word for it, and the numbers behind it.

use crate::host::HostStatus;
use longshore_model::{Attribute, DiskStatus, Protocol};
use std::fmt;
use std::sync::Arc;

/// Too little of something that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// What the task needs.
    pub needs: u64,
    /// What no task holds.
    pub free: u64,
    /// How much of that is kept for others; see [`Kept`](crate::Kept).
    pub kept: u64,
    /// What the host offers.
    pub total: u64,
}

/// Who has a port that a task needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortHolder {
    /// The host: the port is among its reserved ones.
    Host,
    /// A task.
    Task,
}

/// Why a task cannot go to a host. Of several reasons the first in this order is given: what no waiting will
/// change comes before what another task's end may change, so the answer says what has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The host takes no tasks.
    Status(HostStatus),
    /// The agent is not connected.
    Disconnected,
    /// An attribute or capability is missing or has another value.
    Attribute {
        /// What the task requires.
        required: Attribute,
        /// The value that the host has under this name.
        found: Option<String>,
    },
    /// The `memberOf` expression does not hold.
    MemberOf {
        /// The expression.
        expression: Arc<str>,
    },
    /// The host already has a task of the group, and the tasks are to be on distinct hosts.
    DistinctInstance {
        /// The group.
        group: Arc<str>,
    },
    /// Too few CPU units.
    Cpu(Shortage),
    /// Too little memory.
    Memory(Shortage),
    /// The host's disk is short, whatever the task needs of it.
    DiskShort(Arc<DiskStatus>),
    /// Too little disk for what the task may write.
    Disk(Shortage),
    /// A fixed host port is taken.
    Port {
        /// The protocol.
        protocol: Protocol,
        /// The port.
        port: u16,
        /// Who has it.
        holder: PortHolder,
    },
    /// Too few GPUs.
    Gpu(Shortage),
    /// Too few interfaces.
    Interface(Shortage),
}

impl Reason {
    /// The text of `failures[].reason` in the ECS API.
    #[must_use]
    pub const fn text(&self) -> &'static str {
        match self {
            Self::Status(status) => status.as_str(),
            Self::Disconnected => "AGENT",
            Self::Attribute { .. } => "ATTRIBUTE",
            Self::MemberOf { .. } => "MemberOf placement constraint unsatisfied.",
            Self::DistinctInstance { .. } => "DistinctInstance placement constraint unsatisfied.",
            Self::Cpu(_) => "RESOURCE:CPU",
            Self::Memory(_) => "RESOURCE:MEMORY",
            Self::DiskShort(_) | Self::Disk(_) => "RESOURCE:DISK",
            Self::Port { .. } => "RESOURCE:PORTS",
            Self::Gpu(_) => "RESOURCE:GPU",
            Self::Interface(_) => "RESOURCE:ENI",
        }
    }
}

impl Reason {
    /// How near the host is to taking the task: the reasons that are looked at last are those of a host that is right
    /// in everything else.
    #[must_use]
    pub const fn rank(&self) -> u8 {
        match self {
            Self::Status(_) => 0,
            Self::Disconnected => 1,
            Self::Attribute { .. } => 2,
            Self::MemberOf { .. } => 3,
            Self::DistinctInstance { .. } => 4,
            Self::Cpu(_) => 5,
            Self::Memory(_) => 6,
            Self::Port { .. } => 7,
            Self::Gpu(_) => 8,
            Self::DiskShort(_) => 2,
            Self::Disk(_) => 9,
            Self::Interface(_) => 10,
        }
    }

    /// What an event of a service says of the host, after its name: ECS's words where it has some, as a sentence of
    /// their own, and then `detail`, the text that `failures[].detail` has for this reason. The last full stop is left
    /// to the caller.
    #[must_use]
    pub fn sentence(&self, detail: &str) -> String {
        match self {
            Self::Status(status) => format!("is {}", status.as_str()),
            Self::Disconnected => "encountered error \"AGENT\"".to_owned(),
            Self::Attribute { .. } => format!("is missing an attribute required by your task. It {detail}"),
            Self::MemberOf { .. } => format!("encountered error \"{}\". It is {detail}", self.text()),
            Self::DistinctInstance { .. } => format!("encountered error \"{}\". It {detail}", self.text()),
            Self::Cpu(_) => format!("has insufficient CPU units available. It {detail}"),
            Self::Memory(_) => format!("has insufficient memory available. It {detail}"),
            Self::Port { .. } => format!("is already using a port required by your task. It {detail}"),
            Self::Gpu(_) => format!("has insufficient GPUs available. It {detail}"),
            Self::DiskShort(_) => format!("has insufficient disk space available: {detail}"),
            Self::Disk(_) => format!("has insufficient disk space available. It {detail}"),
            Self::Interface(_) => format!("has insufficient network interfaces available. It {detail}"),
        }
    }
}

/// The text of `failures[].detail`: the numbers and names behind [`Reason::text`].
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "the container instance is {} and takes no new tasks", status.as_str()),
            Self::Disconnected => f.write_str("the agent is not connected"),
            Self::Attribute { required, found } => {
                write!(f, "needs attribute {}", required.name)?;
                if let Some(value) = &required.value {
                    write!(f, " with value {value}")?;
                }
                match found {
                    Some(found) => write!(f, ", has {found}"),
                    None if required.value.is_some() => f.write_str(", has no value for it"),
                    None => f.write_str(", has none of this name"),
                }
            }
            Self::MemberOf { expression } => write!(f, "not a member of ({expression})"),
            Self::DistinctInstance { group } => write!(f, "already has a task of group {group}"),
            Self::Cpu(shortage) => shortage.write(f, "CPU units"),
            Self::Memory(shortage) => shortage.write(f, "MiB of memory"),
            Self::DiskShort(status) => f.write_str(status.short.as_deref().unwrap_or("the disk is short")),
            Self::Disk(shortage) => shortage.write(f, "MiB of disk"),
            Self::Port { protocol, port, holder } => {
                write!(f, "needs {protocol} host port {port}, which ")?;
                f.write_str(match holder {
                    PortHolder::Host => "the host reserves",
                    PortHolder::Task => "another task holds",
                })
            }
            Self::Gpu(shortage) => shortage.write(f, "GPUs"),
            Self::Interface(shortage) => shortage.write(f, "network interfaces"),
        }
    }
}

impl Shortage {
    fn write(self, f: &mut fmt::Formatter<'_>, unit: &str) -> fmt::Result {
        write!(f, "needs {} {unit}, has {} of {} free", self.needs, self.free, self.total)?;
        if self.free < self.needs {
            return Ok(());
        }
        write!(f, ", of which {} are kept for DAEMON services", self.kept.min(self.free))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_ecs_stand_whole_before_the_numbers() {
        let shortage = Shortage { needs: 2, free: 1, kept: 0, total: 4 };
        let required = Attribute { name: "rack".to_owned(), value: None };
        let (protocol, port, holder) = (Protocol::Udp, 53, PortHolder::Task);
        for (reason, expected) in [
            (Reason::Disconnected, "encountered error \"AGENT\""),
            (
                Reason::Attribute { required, found: None },
                "is missing an attribute required by your task. It needs attribute rack, has none of this name",
            ),
            (
                Reason::MemberOf { expression: "attribute:rack == a".into() },
                "encountered error \"MemberOf placement constraint unsatisfied.\". It is not a member of \
                 (attribute:rack == a)",
            ),
            (
                Reason::DistinctInstance { group: "service:web".into() },
                "encountered error \"DistinctInstance placement constraint unsatisfied.\". It already has a task of \
                 group service:web",
            ),
            (Reason::Cpu(shortage), "has insufficient CPU units available. It needs 2 CPU units, has 1 of 4 free"),
            (Reason::Memory(shortage), "has insufficient memory available. It needs 2 MiB of memory, has 1 of 4 free"),
            (
                Reason::Port { protocol, port, holder },
                "is already using a port required by your task. It needs udp host port 53, which another task holds",
            ),
        ] {
            assert_eq!(reason.sentence(&reason.to_string()), expected);
        }
    }
}
