//! Which silent hosts are given up for lost, and when.
//!
//! A host is silent from when its lease ran out. What it has counts as lost once it was silent for the configured hold;
//! tasks that must not run twice count so only once their host has certainly ended them by itself. Nothing counts as
//! lost
//! - while a large part of a cluster went silent at once: the fault is then rather in the network or here. Leases end
//!   one after the other, so those count in whose lease still runs and who are overdue already. They end one after the
//!   other as well when the fault is mended, so the last ones of many are waited for;
//! - while an agent that was not heard of since this process began may still be on its way: agents that find nobody
//!   wait ever longer between their attempts, for much longer than a lease.

use crate::config::Losses;
use crate::records::{Connection, Task};
use crate::services::hearing::Hearing;
use crate::state::{ClusterState, HostState, Silent, State};
use imbl::ordset::DiffItem;
use longshore_model::planted::{Bug, is_planted};
use longshore_model::{ClusterKey, InstanceId, Timestamp};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Hosts that fell silent so close to each other did so at once.
const AT_ONCE: Duration = Duration::from_secs(60);

/// What a fence may take beyond its grace: SIGKILL, and an engine under load.
const FENCE_MARGIN: Duration = Duration::from_secs(5);

/// What this process knows of silent hosts, by a clock that nobody sets. After a restart it counts anew, which is never
/// too early.
#[derive(Debug, Default)]
pub(crate) struct Silences(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    hosts: HashMap<InstanceId, Silence>,
    clusters: HashMap<ClusterKey, Followed>,
}

/// Of one host.
#[derive(Debug)]
struct Silence {
    /// When it began, by its record.
    since: Timestamp,
    /// When this process saw it begin, or was asked about it first.
    at: Duration,
    /// Whether it saw it begin.
    seen: bool,
    /// Whether it was one of many.
    of_many: bool,
    /// When it was one of many no more.
    released: Option<Duration>,
}

impl Silence {
    const fn new(since: Timestamp, at: Duration, seen: bool) -> Self {
        Self { since, at, seen, of_many: false, released: None }
    }
}

/// The silent hosts of one cluster, to count those that fell silent at once.
#[derive(Debug, Default)]
struct Followed {
    /// All of them, as they were looked at last.
    silent: Silent,
    /// Those that this process saw fall silent, by when it did.
    seen: BTreeSet<(Duration, InstanceId)>,
    /// The others, by their records.
    found: BTreeSet<(Timestamp, InstanceId)>,
}

impl Silences {
    /// Takes in which hosts of some clusters are silent, as soon as that changes. The clock may be set between two that
    /// fall silent together, or so that two that did not seem to have.
    pub(crate) fn follow(&self, state: &State, clusters: &BTreeSet<ClusterKey>, ticks: Duration) {
        if clusters.is_empty() {
            return;
        }
        let mut all = self.lock();
        let Known { hosts, clusters: followed } = &mut *all;
        for key in clusters {
            let silent = state.cluster(key).map(|cluster| cluster.silent.clone()).unwrap_or_default();
            let known = match followed.get_mut(key) {
                Some(known) if known.silent.ptr_eq(&silent) => continue,
                Some(known) => known,
                None if silent.is_empty() => continue,
                None => followed.entry(key.clone()).or_default(),
            };
            let before = std::mem::replace(&mut known.silent, silent.clone());
            let (mut new, mut over) = (Vec::new(), Vec::new());
            for change in before.diff(&silent) {
                match change {
                    DiffItem::Add(silence) => new.push(*silence),
                    DiffItem::Remove(silence) => over.push(*silence),
                }
            }
            for (since, id) in over {
                known.found.remove(&(since, id));
                if let Some(silence) = hosts.remove(&id) {
                    known.seen.remove(&(silence.at, id));
                }
            }
            for (since, id) in new {
                // Of others nobody knows here when they were heard last.
                if state.host(id).is_some_and(|host| host.met) {
                    hosts.insert(id, Silence::new(since, ticks, true));
                    known.seen.insert((ticks, id));
                } else {
                    known.found.insert((since, id));
                }
            }
            if silent.is_empty() {
                followed.remove(key);
            }
        }
    }

    /// For how long `id`, which fell silent at `since`, has been silent for certain at `ticks`.
    pub(crate) fn length(&self, id: InstanceId, since: Timestamp, ticks: Duration) -> Duration {
        let new = || Silence::new(since, ticks, false);
        let mut all = self.lock();
        let entry = all.hosts.entry(id).or_insert_with(new);
        match (entry.since == since, entry.seen) {
            (true, _) => ticks.saturating_sub(entry.at),
            // Whoever asks has an older state: it was back meanwhile.
            (false, true) => Duration::ZERO,
            (false, false) => {
                *entry = new();
                Duration::ZERO
            }
        }
    }

    /// How many hosts of its cluster fell silent at about the same time as `id`, itself among them.
    fn at_once(&self, cluster: &ClusterState, id: InstanceId, since: Timestamp) -> usize {
        let all = self.lock();
        let seen = all.hosts.get(&id).filter(|silence| silence.seen && silence.since == since);
        let Some((seen, followed)) = seen.zip(all.clusters.get(&cluster.record.key)) else {
            return cluster.silent_around(since, AT_ONCE);
        };
        let (first, last) = (InstanceId::from_bytes([0; 16]), InstanceId::from_bytes([255; 16]));
        let times = (seen.at.saturating_sub(AT_ONCE), first)..=(seen.at.saturating_add(AT_ONCE), last);
        let millis = i64::try_from(AT_ONCE.as_millis()).unwrap_or(i64::MAX);
        let records = (since.moved(-millis), first)..=(since.moved(millis), last);
        followed.seen.range(times).count() + followed.found.range(records).count()
    }

    /// A host is one of many that are silent.
    fn join(&self, id: InstanceId) {
        if let Some(entry) = self.lock().hosts.get_mut(&id) {
            (entry.of_many, entry.released) = (true, None);
        }
    }

    /// How much longer a host that was one of many is waited for: those that were with it come back, each when its
    /// agent tries again.
    fn released(&self, id: InstanceId, ticks: Duration, window: Duration) -> Duration {
        match self.lock().hosts.get_mut(&id) {
            Some(entry) if entry.of_many => {
                let at = *entry.released.get_or_insert(ticks);
                window.saturating_sub(ticks.saturating_sub(at))
            }
            Some(_) | None => Duration::ZERO,
        }
    }

    /// Leaves out hosts that are not silent any more. Those that were seen to begin are followed.
    pub(crate) fn tidy(&self, state: &State) {
        let is_silent = |id, since| state.host(id).is_some_and(|host| silent_since(host) == Some(since));
        let mut all = self.lock();
        if !all.hosts.is_empty() {
            all.hosts.retain(|id, entry| entry.seen || is_silent(*id, entry.since));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // No code that holds the lock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What decisions about losses rest on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch<'a> {
    pub(crate) losses: &'a Losses,
    pub(crate) lease: Duration,
    pub(crate) silences: &'a Silences,
    pub(crate) hearing: &'a Hearing,
    /// See [`CoreConfig::return_within`](crate::CoreConfig).
    pub(crate) return_within: Duration,
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
        /// Whether some of them are only late: they may be heard of without anything else happening.
        late: bool,
    },
    /// It is given up.
    Lost,
}

impl Watch<'_> {
    /// How many hosts of a cluster are connected and silent for longer than any that is well, and for less than a
    /// lease: hosts that are cut off together are when the first of their leases ends.
    pub(crate) fn late(self, state: &State, cluster: &ClusterKey) -> usize {
        state.cluster(cluster).map_or(0, |cluster| self.hearing.overdue(cluster, self.lease / 2, self.ticks))
    }

    /// How it stands with `task` on `host`, of whose cluster so many hosts are [`late`](Self::late).
    pub(crate) fn standing(
        self,
        state: &State,
        host: &HostState,
        task: &Task,
        late: impl FnOnce() -> usize,
    ) -> Standing {
        let Some(since) = silent_since(host) else { return Standing::Here };
        // Asked first: the time counts from when it is asked for the first time.
        let silent = self.silences.length(host.id(), since, self.ticks);
        let returning = self.return_within.saturating_sub(self.hearing.age(self.ticks));
        if !host.met && !returning.is_zero() {
            return Standing::Silent(returning);
        }
        let Some(cluster) = state.cluster(&host.record.cluster) else { return Standing::Lost };
        let (late, of) = (late(), cluster.registered());
        let share = self.losses.silent_share_percent;
        let gone = self.silences.at_once(cluster, host.id(), since);
        if are_many(gone, of, share) {
            self.silences.join(host.id());
        }
        if are_many(gone + late, of, share) {
            return Standing::Many { silent: gone + late, of, late: late > 0 };
        }
        let others_return = self.silences.released(host.id(), self.ticks, self.return_within);
        if !others_return.is_zero() {
            return Standing::Silent(others_return);
        }
        let fence = task.fence.filter(|_| !is_planted(Bug::FencesAreNotWaitedFor));
        let fenced = fence.map(|fence| fence.after().saturating_sub(self.lease) + fence.grace() + FENCE_MARGIN);
        let hold = self.losses.hold.max(fenced.unwrap_or_default());
        match hold.saturating_sub(silent) {
            Duration::ZERO => Standing::Lost,
            left => Standing::Silent(left),
        }
    }
}

/// Whether so many silent hosts of so many are too many to be given up.
fn are_many(silent: usize, of: u32, share_percent: u32) -> bool {
    silent > 1 && silent as u64 * 100 > u64::from(of) * u64::from(share_percent)
}

/// Whether a host that was given up when the silent hosts of its cluster were `seen` is so still: it is silent, and
/// none fell silent since. Which of them did so at once is not asked again: the state knows the time by a clock that is
/// set.
pub(crate) fn is_lost_still(state: &State, host: InstanceId, seen: &Silent) -> bool {
    let Some(host) = state.host(host) else { return true };
    let Some(cluster) = state.cluster(&host.record.cluster) else { return true };
    silent_since(host).is_some() && (cluster.silent.ptr_eq(seen) || cluster.silent.is_subset(seen))
}

/// Since when a registered host is silent.
pub(crate) fn silent_since(host: &HostState) -> Option<Timestamp> {
    match host.record.connection {
        Connection::Connected { .. } => None,
        Connection::Disconnected { since } => Some(since),
    }
}
