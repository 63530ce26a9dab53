//! Tasks that must not run twice: an agent that is cut off from its control plane stops them by itself, before the
//! control plane starts others in their place.
//!
//! The control plane counts from the last word that it had from the agent, which it had no sooner than the agent sent
//! it. So the agent counts from when it sent the last message that was acknowledged, by a clock that goes on while the
//! host sleeps, and is done earlier.

use crate::pass::{Pass, View};
use crate::reasons;
use crate::record::{Ending, Wish};
use crate::task::Task;
use longshore_model::StopCode;
use std::time::Duration;

/// How long ago the control plane certainly heard this agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact {
    /// So long.
    Ago(Duration),
    /// Not since the host was booted, or nobody knows.
    Unknown,
}

/// The longest sleep of a task with a fence: while the host sleeps, so do timers.
const LOOK: Duration = Duration::from_secs(1);

impl Task {
    /// Ends the task if its agent is cut off for too long.
    pub(crate) fn fence(&mut self, view: &View<'_>, pass: &mut Pass) {
        let Some(fence) = self.outline.fence else { return };
        let runs = match self.record.wish {
            Wish::Unknown | Wish::Run => true,
            Wish::Stop { .. } | Wish::Forget { .. } => false,
        };
        if !runs || self.record.ending.is_some() {
            return;
        }
        match left(fence.after(), view.contact) {
            Some(left) => pass.wake(view.now.after(left.min(LOOK))),
            None => {
                let reason = reasons::fenced(fence.after());
                self.record.ending = Some(Ending { code: Some(StopCode::InfrastructureHealth), reason, at: view.now });
            }
        }
    }

    /// What a stop of the task may take of `asked`: within its fence's grace, which begins when the agent is cut off
    /// for too long.
    pub(crate) fn within_fence(&self, asked: Duration, view: &View<'_>) -> Duration {
        match self.outline.fence {
            None => asked,
            Some(fence) => {
                let left = left(fence.after() + fence.grace(), view.contact).unwrap_or(Duration::ZERO);
                asked.min(fence.grace()).min(left)
            }
        }
    }
}

/// What is left of `limit`; `None` when it is over.
fn left(limit: Duration, contact: Contact) -> Option<Duration> {
    match contact {
        Contact::Ago(ago) => limit.checked_sub(ago).filter(|left| !left.is_zero()),
        Contact::Unknown => None,
    }
}
