//! When agents were heard last. In memory only, and of this process.

use crate::state::{ClusterState, HostState};
use longshore_model::InstanceId;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// When agents were heard last, and since when they can be heard at all.
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
        self.lock().insert(id, Instant::now());
    }

    /// Its session is over.
    pub(crate) fn forget(&self, id: InstanceId) {
        self.lock().remove(&id);
    }

    /// For how long agents can have been heard.
    pub(crate) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// How many hosts of a cluster are connected and were not heard for longer than `silence`.
    pub(crate) fn overdue(&self, cluster: &ClusterState, silence: Duration) -> usize {
        let now = Instant::now();
        let heard = self.lock();
        let is_late = |id| heard.get(id).is_some_and(|at| now.duration_since(*at) > silence);
        let connected = |host: &HostState| host.record.status.is_registered() && host.record.is_connected();
        cluster.hosts.iter().filter(|(id, host)| connected(host) && is_late(id)).count()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceId, Instant>> {
        // No code that holds the lock can leave it half changed.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
