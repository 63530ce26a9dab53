//! Room for what instances have open, counted by instance: connections, of which an agent has one for its session,
//! another one for what its containers print, one for each command that somebody runs in a container, and now and then
//! one to renew its certificate; and calls of one kind.

use longshore_core::SESSIONS_OF_INSTANCE;
use longshore_model::InstanceId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections of one instance at once. Those that were lost stay until they are missed, so more than it makes.
pub(super) const CONNECTIONS: usize = 8 + SESSIONS_OF_INSTANCE;

/// The room. Clones are the same room.
#[derive(Debug, Clone)]
pub(super) struct Members {
    room: Arc<Semaphore>,
    /// For each of them.
    of_one: usize,
    known: Arc<Mutex<HashMap<InstanceId, Weak<Instance>>>>,
}

/// One instance's place, for as long as it has something open.
#[derive(Debug)]
struct Instance {
    id: InstanceId,
    entries: Arc<Semaphore>,
    members: Members,
    _place: OwnedSemaphorePermit,
}

/// A part of it: of a connection, or of a call.
#[derive(Debug)]
pub(super) struct Member {
    _entry: OwnedSemaphorePermit,
    // The last one gives the place back.
    _instance: Arc<Instance>,
}

impl Members {
    /// Room for so many instances, and for so much of each.
    pub(super) fn new(instances: usize, of_one: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(instances)), of_one, known: Arc::default() }
    }

    /// The lock is held for one look-up; a poisoned one holds whole values.
    fn known(&self) -> MutexGuard<'_, HashMap<InstanceId, Weak<Instance>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for one more of an instance's, if there is some now.
    pub(super) fn try_enter(&self, id: InstanceId) -> Option<Member> {
        let instance = match self.find(id) {
            Some(instance) => instance,
            None => self.settle(id, Arc::clone(&self.room).try_acquire_owned().ok()?),
        };
        let entry = Arc::clone(&instance.entries).try_acquire_owned().ok()?;
        Some(Member { _entry: entry, _instance: instance })
    }

    /// The same, waited for; `None` when there was none in time.
    pub(super) async fn enter(&self, id: InstanceId, patience: Duration) -> Option<Member> {
        let entered = async {
            let instance = self.instance(id).await;
            let entry = Arc::clone(&instance.entries).acquire_owned().await;
            Member { _entry: entry.expect("the semaphore is never closed"), _instance: instance }
        };
        // Connections that were just lost leave within moments.
        tokio::time::timeout(patience, entered).await.ok()
    }

    async fn instance(&self, id: InstanceId) -> Arc<Instance> {
        let found = self.find(id);
        if let Some(instance) = found {
            return instance;
        }
        let place = Arc::clone(&self.room).acquire_owned().await.expect("the semaphore is never closed");
        self.settle(id, place)
    }

    fn settle(&self, id: InstanceId, place: OwnedSemaphorePermit) -> Arc<Instance> {
        let entries = Arc::new(Semaphore::new(self.of_one));
        let made = Arc::new(Instance { id, entries, members: self.clone(), _place: place });
        let mut known = self.known();
        // Another connection of it may have come first. What was made in vain is dropped without the lock.
        let first = known.get(&id).and_then(Weak::upgrade);
        if first.is_none() {
            known.insert(id, Arc::downgrade(&made));
        }
        drop(known);
        first.unwrap_or(made)
    }

    fn find(&self, id: InstanceId) -> Option<Arc<Instance>> {
        self.known().get(&id).and_then(Weak::upgrade)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let mut known = self.members.known();
        // Another one may have come in its place since its last connection ended.
        if known.get(&self.id).is_some_and(|instance| instance.strong_count() == 0) {
            known.remove(&self.id);
        }
    }
}

#[cfg(test)]
impl Members {
    /// Whether nobody has anything open.
    pub(super) fn is_empty(&self) -> bool {
        self.known().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);
    const OF_ONE: usize = 5;

    fn id(n: u8) -> InstanceId {
        InstanceId::from_bytes([n; 16])
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_takes_one_place_however_many_connections_it_has() {
        let members = Members::new(2, OF_ONE);
        let enter = |n: u8| members.enter(id(n), PATIENCE);
        let mut first = Vec::new();
        for _ in 0..OF_ONE {
            first.push(enter(1).await.expect("it has a place"));
        }
        assert!(enter(1).await.is_none(), "one too many of an instance");
        assert!(members.try_enter(id(1)).is_none());
        drop(members.try_enter(id(2)).expect("there is a second place at once"));
        let second = enter(2).await.expect("there is a second place");
        assert!(enter(3).await.is_none(), "there is no third");
        assert!(members.try_enter(id(3)).is_none());
        // Whoever waits comes in as soon as there is room.
        let waiting = tokio::spawn({
            let members = members.clone();
            async move { members.enter(id(3), PATIENCE).await }
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        first.truncate(1);
        assert!(!waiting.is_finished(), "the first instance still has a connection");
        first.clear();
        let third = waiting.await.expect("no panic").expect("there is room");
        assert_eq!(members.known().len(), 2, "who is gone is forgotten");
        drop((second, third));
        assert!(members.known().is_empty());
        assert_eq!(members.room.available_permits(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_come_at_once_share_a_place() {
        let members = Members::new(3, OF_ONE);
        let all = (0..OF_ONE).map(|_| members.enter(id(1), PATIENCE));
        let all: Vec<Member> = futures::future::join_all(all).await.into_iter().flatten().collect();
        assert_eq!((all.len(), members.known().len(), members.room.available_permits()), (OF_ONE, 1, 2));
        drop(all);
        assert!(members.known().is_empty());
    }
}
