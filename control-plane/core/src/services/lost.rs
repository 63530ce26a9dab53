//! Which silent hosts are given up for lost, and when.
//!
//! A host is silent from when its lease ran out. What it has counts as lost once it was silent for the configured hold;
//! tasks that must not run twice count so only once their host has certainly ended them by itself. While a large part of
//! a cluster went silent at once nothing counts as lost: the fault is then rather in the network or here.

use crate::config::Losses;
use crate::records::{Connection, Task};
use crate::state::{HostState, State};
use longshore_model::{InstanceId, Timestamp};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Hosts that fell silent so close to each other did so at once.
const AT_ONCE: Duration = Duration::from_secs(60);

/// What a fence may take beyond its grace: SIGKILL, and an engine under load.
const FENCE_MARGIN: Duration = Duration::from_secs(5);

/// Since when this process has known hosts to be silent, by a clock that nobody sets. After a restart it counts anew,
/// which is never too early.
#[derive(Debug, Default)]
pub(crate) struct Silences(Mutex<HashMap<InstanceId, (Timestamp, Duration)>>);

impl Silences {
    /// For how long `id`, which fell silent at `since`, has been silent for certain at `ticks`.
    fn length(&self, id: InstanceId, since: Timestamp, ticks: Duration) -> Duration {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = all.entry(id).or_insert((since, ticks));
        if entry.0 != since {
            *entry = (since, ticks);
        }
        ticks.saturating_sub(entry.1)
    }

    /// Leaves out hosts that are not silent any more.
    pub(crate) fn tidy(&self, state: &State) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.is_empty() {
            all.retain(|id, (since, _)| state.host(*id).is_some_and(|host| silent_since(host) == Some(*since)));
        }
    }
}

/// What decisions about losses rest on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch<'a> {
    pub(crate) losses: &'a Losses,
    pub(crate) lease: Duration,
    pub(crate) silences: &'a Silences,
    /// The clock of [`Clock::ticks`](crate::Clock::ticks).
    pub(crate) ticks: Duration,
}

/// How it stands with the host of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is there.
    Here,
    /// It is silent, and the task counts as lost after so long, unless it comes back.
    Silent(Duration),
    /// It is silent, and so are so many of the cluster's hosts that nothing counts as lost.
    Many {
        /// Hosts that fell silent at about the same time.
        silent: usize,
        /// All registered hosts of the cluster.
        of: u32,
    },
    /// It is given up.
    Lost,
}

impl Watch<'_> {
    /// How it stands with `task` on `host`.
    pub(crate) fn standing(self, state: &State, host: &HostState, task: &Task) -> Standing {
        let Some(since) = silent_since(host) else { return Standing::Here };
        // Asked first: the time counts from when it is asked for the first time.
        let silent = self.silences.length(host.id(), since, self.ticks);
        let Some(cluster) = state.cluster(&host.record.cluster) else { return Standing::Lost };
        let (count, of) = (cluster.silent_around(since, AT_ONCE), cluster.registered);
        let share = u64::from(self.losses.silent_share_percent);
        if count > 1 && count as u64 * 100 > u64::from(of) * share {
            return Standing::Many { silent: count, of };
        }
        let fenced = task.fence.map(|fence| fence.after().saturating_sub(self.lease) + fence.grace() + FENCE_MARGIN);
        let hold = self.losses.hold.max(fenced.unwrap_or_default());
        match hold.saturating_sub(silent) {
            Duration::ZERO => Standing::Lost,
            left => Standing::Silent(left),
        }
    }
}

/// Since when a registered host is silent.
pub(crate) fn silent_since(host: &HostState) -> Option<Timestamp> {
    match host.record.connection {
        Connection::Connected { .. } => None,
        Connection::Disconnected { since } => Some(since),
    }
}
