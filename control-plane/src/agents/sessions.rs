//! Which stream of an instance is its newest.
//!
//! Owns that one map. A claim ends the older stream at once; the core decides the same by itself, durably, so a
//! race between two streams of one agent ends with at most one of them.

use longshore_core::SessionId;
use longshore_model::InstanceId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// The newest streams. Cheap to clone; every clone is the same map.
#[derive(Clone, Default)]
pub(super) struct Sessions {
    newest: Arc<Mutex<HashMap<InstanceId, Newest>>>,
}

struct Newest {
    session: SessionId,
    superseded: CancellationToken,
}

impl Sessions {
    /// Makes `session` the newest of `instance` and ends the one before. The token ends this one in its turn.
    pub(super) fn claim(&self, instance: InstanceId, session: SessionId) -> CancellationToken {
        let superseded = CancellationToken::new();
        let newest = Newest { session, superseded: superseded.clone() };
        let older = self.lock().insert(instance, newest);
        if let Some(older) = older {
            older.superseded.cancel();
        }
        superseded
    }

    /// Forgets `session` if it is still the newest, and says whether it was.
    pub(super) fn release(&self, instance: InstanceId, session: SessionId) -> bool {
        let mut newest = self.lock();
        let ours = newest.get(&instance).is_some_and(|newest| newest.session == session);
        if ours {
            newest.remove(&instance);
        }
        ours
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<InstanceId, Newest>> {
        // No code that holds the lock can leave the map half changed.
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_wins_and_only_it_can_be_released() {
        let sessions = Sessions::default();
        let instance = InstanceId::random();
        let (first, second) = (SessionId::random(), SessionId::random());
        let first_ends = sessions.claim(instance, first);
        assert!(!first_ends.is_cancelled());
        let second_ends = sessions.claim(instance, second);
        assert!(first_ends.is_cancelled());
        assert!(!sessions.release(instance, first));
        assert!(!second_ends.is_cancelled());
        assert!(sessions.release(instance, second));
        assert!(!sessions.release(instance, second));
    }
}
