//! Which services have to be looked at.

use crate::records::ServiceKey;
use crate::state::Touched;
use longshore_model::ClusterKey;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// What changed since the controller looked last.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    due: Mutex<Due>,
    notify: Notify,
}

/// Services that changed, and clusters in which tasks may find a place now.
#[derive(Debug, Default)]
pub(crate) struct Due {
    pub(crate) services: BTreeSet<ServiceKey>,
    pub(crate) rooms: BTreeSet<ClusterKey>,
    /// Clusters in which hosts came or changed.
    pub(crate) hosts: BTreeSet<ClusterKey>,
}

impl Wakes {
    /// After `touched` was published.
    pub(crate) fn wake(&self, touched: &Touched) {
        if touched.services.is_empty() && touched.rooms.is_empty() {
            return;
        }
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.services.extend(touched.services.iter().cloned());
        due.rooms.extend(touched.rooms.iter().cloned());
        due.hosts.extend(touched.hosts.iter().cloned());
        drop(due);
        self.notify.notify_one();
    }

    /// What is due; returns once there is something. Cancelling loses nothing.
    pub(crate) async fn next(&self) -> Due {
        loop {
            let due = std::mem::take(&mut *self.due.lock().unwrap_or_else(PoisonError::into_inner));
            if !due.services.is_empty() || !due.rooms.is_empty() {
                return due;
            }
            self.notify.notified().await;
        }
    }
}
