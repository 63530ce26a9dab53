//! What a pass asks for. A step is safe to repeat and safe to cut: the next pass looks again.

use crate::record::ResourceKind;
use std::time::Duration;

/// What cannot happen twice at once: a resource or a container of a task has at most one step in flight.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// A resource.
    Resource(ResourceKind),
    /// The container at this position in the definition.
    Container(usize),
}

/// How a container is brought to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    /// SIGTERM, and SIGKILL after this long.
    Polite(Duration),
    /// SIGKILL at once.
    Kill,
}

/// One step for one task. Containers are named by their position in the definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make a resource, or make sure that it is there.
    Ensure(ResourceKind),
    /// Return a resource. Absent is as good. Only once the record is durable: after a crash a task that had not ended
    /// would take it for its own.
    Release(ResourceKind),
    /// Make sure that the container's image is here.
    Pull(usize),
    /// Create the container under its derived name; one that is there already is looked at instead.
    Create(usize),
    /// Start it. Only once the record that this pass left is durable.
    Start(usize),
    /// Look at it. Waits for a start or stop in progress, and so tells what became of it.
    Inspect(usize),
    /// Stop it.
    Stop(usize, Halt),
    /// Stop it for its health, to be started again. Only once the record is durable: nothing else tells that this end
    /// was not its own.
    StopUnhealthy(usize, Halt),
    /// Remove it. Absent is as good. Only once the record is durable: how it ended, or that it never ran, is told by
    /// nothing else then.
    Remove {
        /// Which container.
        container: usize,
        /// Whether it is to be made again.
        again: bool,
    },
}

impl Step {
    /// What it excludes.
    #[must_use]
    pub fn lane(&self) -> Lane {
        match self {
            Self::Ensure(kind) | Self::Release(kind) => Lane::Resource(kind.clone()),
            Self::Pull(i)
            | Self::Create(i)
            | Self::Start(i)
            | Self::Inspect(i)
            | Self::Stop(i, _)
            | Self::StopUnhealthy(i, _)
            | Self::Remove { container: i, .. } => Lane::Container(*i),
        }
    }

    /// Whether it must wait until the task's record, as the pass left it, is durable. What is decided here cannot be
    /// told from what Docker shows after a crash.
    #[must_use]
    pub const fn needs_saved(&self) -> bool {
        match self {
            Self::Start(_) | Self::StopUnhealthy(_, _) | Self::Remove { .. } | Self::Release(_) => true,
            Self::Ensure(_) | Self::Pull(_) | Self::Create(_) | Self::Inspect(_) | Self::Stop(_, _) => false,
        }
    }
}
