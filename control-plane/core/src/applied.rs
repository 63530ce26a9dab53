//! What of the task network hosts have in force, as far as this process has heard, and how far all of them are.
//!
//! In memory only: agents say it again when they connect.

use crate::services::lost::{Silences, silent_since};
use crate::state::{HostState, State};
use longshore_model::{Generation, InstanceId};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A host that was lost for longer is not waited for. When it comes back it is told everything. By a clock that nobody
/// sets, and anew after a restart: a host that is cut off goes by its own, and must not be forgotten before its time.
const GONE: Duration = Duration::from_secs(600);
/// How long an answer holds: it is asked for with every heartbeat of every host, and looks at all of them.
const FRESH: Duration = Duration::from_millis(500);

/// The generations that hosts have in force.
#[derive(Default)]
pub(crate) struct Applied(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    hosts: HashMap<InstanceId, Generation>,
    /// The last answer, and when it was found.
    settled: Option<(Duration, Generation)>,
}

impl Applied {
    /// A host has this in force. It may be less than before: a host that was restarted begins anew.
    pub(crate) fn set(&self, id: InstanceId, generation: Generation) {
        self.lock().hosts.insert(id, generation);
    }

    /// The generation that every host that counts has in force, or a later one; `ticks` by
    /// [`Clock::ticks`](crate::Clock::ticks).
    pub(crate) fn settled(&self, state: &State, silences: &Silences, ticks: Duration) -> Generation {
        let mut inner = self.lock();
        if let Some((at, settled)) = inner.settled
            && ticks.saturating_sub(at) < FRESH
        {
            return settled;
        }
        inner.hosts.retain(|id, _| state.host(*id).is_some());
        let settled = settled(state, &inner.hosts, |host| counts(host, silences, ticks));
        inner.settled = Some((ticks, settled));
        settled
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code that holds the lock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A host that has in force what changed last for it has in force everything up to the state's own revision: what
/// changed since did not concern it. So a network in which nothing happens is settled, whatever else does.
fn settled(
    state: &State,
    applied: &HashMap<InstanceId, Generation>,
    counts: impl Fn(&HostState) -> bool,
) -> Generation {
    let revision = state.revision();
    let of = |host: &HostState| match applied.get(&host.id()) {
        Some(applied) if *applied >= state.network_generation(host) => revision,
        Some(applied) => *applied,
        None => Generation(0),
    };
    state.leased_hosts().filter(|host| counts(host)).map(|host| of(host)).min().unwrap_or(revision)
}

/// One whose agent takes no part any more is told nothing, and would hold the others back for ever.
fn counts(host: &HostState, silences: &Silences, ticks: Duration) -> bool {
    let silent = silent_since(host).map(|since| silences.length(host.id(), since, ticks));
    host.record.facts.underlay.is_some() && silent.is_none_or(|silent| silent < GONE)
}
