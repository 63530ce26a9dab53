//! Which silent hosts are given up, so that services replace what they have. Decides nothing else.
//!
//! A host is silent once its lease ran out. It is not given up
//! - while an agent that was not heard of since this process began may still be on its way: agents that find nobody wait
//!   ever longer between their attempts, for much longer than a lease;
//! - while many of its cluster went silent with it: the fault is then rather in the network or here. Leases end one after
//!   the other, so those count in whose lease still runs and who are overdue already.

use crate::records::Connection;
use crate::state::{ClusterState, HostState, State};
use longshore_model::{InstanceId, Timestamp};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Hosts that went silent within this time of each other did so at once.
const AT_ONCE: Duration = Duration::from_secs(60);

/// When agents were heard last, and since when they can be heard at all. In memory only.
#[derive(Debug)]
pub(crate) struct Hearing {
    began: Instant,
    heard: Mutex<HashMap<InstanceId, Instant>>,
}

impl Default for Hearing {
    fn default() -> Self {
        Self { began: Instant::now(), heard: Mutex::default() }
    }
}

impl Hearing {
    /// An agent said something, whatever it was.
    pub(crate) fn hear(&self, id: InstanceId) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Instant::now());
    }

    /// Its session is over.
    pub(crate) fn forget(&self, id: InstanceId) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// How many hosts of a cluster are connected and were not heard for longer than `silence`.
    fn overdue(&self, cluster: &ClusterState, silence: Duration) -> usize {
        let now = Instant::now();
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let is_late = |id| heard.get(id).is_some_and(|at| now.duration_since(*at) > silence);
        let connected = |host: &HostState| host.record.status.is_registered() && host.record.is_connected();
        cluster.hosts.iter().filter(|(id, host)| connected(host) && is_late(id)).count()
    }
}

/// How it stands with a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is there.
    Here,
    /// It is silent, and may be given up after so long.
    Silent(Duration),
    /// It is silent, and so are so many of its cluster that none is given up.
    Many {
        /// How many.
        silent: usize,
        /// All registered hosts of the cluster.
        of: u32,
        /// Whether some of them are only late: they may be heard of without anything else happening.
        late: bool,
    },
    /// It is given up.
    Lost,
}

/// What decides about silent hosts beside the state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience<'a> {
    pub(crate) hearing: &'a Hearing,
    /// See [`CoreConfig::lease`](crate::CoreConfig).
    pub(crate) lease: Duration,
    /// See [`CoreConfig::return_within`](crate::CoreConfig).
    pub(crate) return_within: Duration,
}

impl Patience<'_> {
    /// How it stands with `host`.
    pub(crate) fn standing(self, state: &State, host: &HostState) -> Standing {
        let since = match host.record.connection {
            Connection::Connected { .. } => return Standing::Here,
            Connection::Disconnected { since } => since,
        };
        let returning = self.return_within.saturating_sub(self.hearing.began.elapsed());
        if !host.met && !returning.is_zero() {
            return Standing::Silent(returning);
        }
        let Some(cluster) = state.cluster(&host.record.cluster) else { return Standing::Lost };
        let late = self.hearing.overdue(cluster, self.overdue_after());
        let silent = silent_around(cluster, since) + late;
        if are_many(silent, cluster.registered) {
            return Standing::Many { silent, of: cluster.registered, late: late > 0 };
        }
        Standing::Lost
    }

    /// When a silence is longer than that of any agent that is well, and shorter than a lease: hosts that are cut off
    /// together are beyond it when the first of their leases ends.
    pub(crate) fn overdue_after(self) -> Duration {
        self.lease / 2
    }
}

/// Whether so many silent hosts of a cluster are too many to be given up: more than one, and more than a third.
fn are_many(silent: usize, registered: u32) -> bool {
    silent > 1 && silent * 3 > registered as usize
}

/// Whether a host is silent, and not one of many by what the state has: what still has to hold when what was decided
/// about it is carried out.
pub(crate) fn is_alone(state: &State, host: InstanceId) -> bool {
    let Some(host) = state.host(host) else { return true };
    let Some(cluster) = state.cluster(&host.record.cluster) else { return true };
    match host.record.connection {
        Connection::Connected { .. } => false,
        Connection::Disconnected { since } => !are_many(silent_around(cluster, since), cluster.registered),
    }
}

/// How many registered hosts went silent at about that time. Those that were away for long have nothing to do with it, nor
/// have those that joined and were never there.
fn silent_around(cluster: &ClusterState, at: Timestamp) -> usize {
    let went = |host: &HostState| match host.record.connection {
        Connection::Disconnected { since } if since != host.record.registered_at => Some(since),
        Connection::Disconnected { .. } | Connection::Connected { .. } => None,
    };
    let close = |since: Timestamp| since.since(at).max(at.since(since)) <= AT_ONCE;
    let registered = cluster.hosts.values().filter(|host| host.record.status.is_registered());
    registered.filter(|host| went(host).is_some_and(close)).count()
}
