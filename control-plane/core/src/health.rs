//! How hosts are, as their agents said last.
//!
//! In memory only: an agent says it when it connects, when it changes, and every now and then.

use longshore_model::{InstanceHealth, InstanceId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The health of connected hosts.
#[derive(Default)]
pub(crate) struct Health(Mutex<HashMap<InstanceId, Arc<InstanceHealth>>>);

impl Health {
    /// A host's agent says how it is.
    pub(crate) fn set(&self, id: InstanceId, health: InstanceHealth) {
        self.lock().insert(id, Arc::new(health));
    }

    /// What its agent said last.
    pub(crate) fn of(&self, id: InstanceId) -> Option<Arc<InstanceHealth>> {
        self.lock().get(&id).cloned()
    }

    /// Its agent is gone: what it said holds no more.
    pub(crate) fn forget(&self, id: InstanceId) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceId, Arc<InstanceHealth>>> {
        // No code that holds the lock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
