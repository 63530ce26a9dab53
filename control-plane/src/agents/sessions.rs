//! Which stream of an instance is its newest.
//!
//! Owns that one map, which follows the core: the core decides durably which session of an instance is the newest, and
//! only that one can be claimed here. A claim ends the older stream at once.

use longshore_core::SessionId;
use longshore_model::InstanceId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// The newest streams. Cheap to clone; every clone is the same map.
#[derive(Clone, Default)]
pub(super) struct Sessions {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    newest: Mutex<HashMap<InstanceId, Newest>>,
    /// How many there are, for whoever must not wait for the map.
    count: AtomicUsize,
}

struct Newest {
    session: SessionId,
    superseded: CancellationToken,
}

impl Sessions {
    /// Makes `session` the newest of `instance` and ends the one before, if the core has it as `current`. The token
    /// ends this one in its turn.
    ///
    /// The core is asked while no other claim can pass, and a session that it left behind is never current again: the
    /// last claim is that of the core's newest session, in whatever order two streams of one agent come here.
    pub(super) fn claim(
        &self,
        instance: InstanceId,
        session: SessionId,
        current: impl FnOnce() -> bool,
    ) -> Option<CancellationToken> {
        let mut newest = self.lock();
        if !current() {
            return None;
        }
        let superseded = CancellationToken::new();
        match newest.insert(instance, Newest { session, superseded: superseded.clone() }) {
            Some(older) => older.superseded.cancel(),
            None => self.shared.count.store(newest.len(), Ordering::Relaxed),
        }
        Some(superseded)
    }

    /// Forgets `session` if it is still the newest, and says whether it was.
    pub(super) fn release(&self, instance: InstanceId, session: SessionId) -> bool {
        let mut newest = self.lock();
        let ours = newest.get(&instance).is_some_and(|newest| newest.session == session);
        if ours {
            newest.remove(&instance);
            self.shared.count.store(newest.len(), Ordering::Relaxed);
        }
        ours
    }

    /// How many instances have a stream.
    pub(super) fn count(&self) -> usize {
        self.shared.count.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<InstanceId, Newest>> {
        // No code that holds the lock can leave the map half changed.
        self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner)
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
        let first_ends = sessions.claim(instance, first, || true).expect("current");
        assert!(sessions.claim(instance, SessionId::random(), || false).is_none());
        assert!(!first_ends.is_cancelled(), "one that the core does not have ends no other");
        let second_ends = sessions.claim(instance, second, || true).expect("current");
        assert!(first_ends.is_cancelled());
        assert_eq!(sessions.count(), 1, "instances, not streams");
        assert!(!sessions.release(instance, first));
        assert!(!second_ends.is_cancelled());
        assert!(sessions.release(instance, second));
        assert!(!sessions.release(instance, second));
        assert_eq!(sessions.count(), 0);
    }
}
