//! When agents were heard last. In memory only, and of this process.

use crate::state::{ClusterState, HostState};
use longshore_model::InstanceId;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// When agents were heard last, and since when they can be heard at all. All times are those of
/// [`Clock::ticks`](crate::Clock::ticks).
#[derive(Debug)]
pub(crate) struct Hearing {
    began: Duration,
    heard: Mutex<HashMap<InstanceId, Duration>>,
}

impl Hearing {
    /// A process that begins now.
    pub(crate) fn new(ticks: Duration) -> Self {
        Self { began: ticks, heard: Mutex::default() }
    }

    /// An agent said something, whatever it was.
    pub(crate) fn hear(&self, id: InstanceId, ticks: Duration) {
        self.lock().insert(id, ticks);
    }

    /// Its session is over.
    pub(crate) fn forget(&self, id: InstanceId) {
        self.lock().remove(&id);
    }

    /// For how long agents can have been heard.
    pub(crate) fn age(&self, ticks: Duration) -> Duration {
        ticks.saturating_sub(self.began)
    }

    /// How many hosts of a cluster are connected and were not heard for longer than `silence`.
    pub(crate) fn overdue(&self, cluster: &ClusterState, silence: Duration, ticks: Duration) -> usize {
        let heard = self.lock();
        let is_late = |id| heard.get(id).is_some_and(|at| ticks.saturating_sub(*at) > silence);
        let connected = |host: &HostState| host.record.status.is_registered() && host.record.is_connected();
        cluster.hosts.iter().filter(|(id, host)| connected(host) && is_late(id)).count()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceId, Duration>> {
        // No code that holds the lock can leave it half changed.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
