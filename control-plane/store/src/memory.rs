//! The contract of [`Store`] without a disk, for tests of what lies above.

use crate::batch::MAX_KEY_BYTES;
use crate::feed::{Feed, Feeds};
use crate::{
    Batch, Change, CommitError, Entry, KeyRange, Limits, Page, ReadError, Revision, Snapshot, Store, Watch, Write,
};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Map = BTreeMap<Bytes, (Revision, Bytes)>;

/// A store that forgets everything when dropped. Snapshots share the map until the next commit copies it, so
/// it is meant for the sizes that tests have.
pub struct MemoryStore {
    state: Mutex<State>,
    feed: Feed,
    feeds: Feeds,
    limits: Limits,
}

struct State {
    revision: Revision,
    map: Arc<Map>,
}

impl MemoryStore {
    /// An empty store with the embedded store's limits.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limits(Limits { ops: 10_000, bytes: 32 * 1024 * 1024 })
    }

    /// An empty store with other limits, e.g. etcd's.
    #[must_use]
    pub fn with_limits(limits: Limits) -> Self {
        let (feed, feeds) = Feed::new(Revision(0));
        Self { state: Mutex::new(State { revision: Revision(0), map: Arc::default() }), feed, feeds, limits }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

/// The checks that need no look at the data; shared with the embedded store.
pub(crate) fn check_size(batch: &Batch, limits: Limits) -> Result<(), CommitError> {
    if batch.ops() > limits.ops {
        return Err(CommitError::TooLarge { what: "operations", is: batch.ops(), max: limits.ops });
    }
    let bytes = batch.bytes();
    if bytes > limits.bytes {
        return Err(CommitError::TooLarge { what: "bytes", is: bytes, max: limits.bytes });
    }
    match batch.bad_key() {
        Some(key) => Err(CommitError::Key { len: key.len(), max: MAX_KEY_BYTES }),
        None => Ok(()),
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, batch: Batch) -> Result<Revision, CommitError> {
        check_size(&batch, self.limits)?;
        let mut state = self.lock();
        for (key, expected) in batch.guards() {
            let actual = state.map.get(key).map(|(modified, _)| *modified);
            if !expected.holds(actual) {
                return Err(CommitError::Guard { key: key.clone(), expected, actual });
            }
        }
        let changes: Vec<Change> = batch
            .writes()
            .filter(|(key, write)| **write != Write::Delete || state.map.contains_key(*key))
            .map(|(key, write)| Change { key: key.clone(), write: write.clone() })
            .collect();
        if changes.is_empty() {
            return Ok(state.revision);
        }
        let revision = Revision(state.revision.0 + 1);
        let map = Arc::make_mut(&mut state.map);
        for change in &changes {
            match &change.write {
                Write::Put(value) => map.insert(change.key.clone(), (revision, value.clone())),
                Write::Delete => map.remove(&change.key),
            };
        }
        state.revision = revision;
        // Under the lock, so that commits are published in their order.
        self.feed.publish(revision, changes);
        Ok(revision)
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, ReadError> {
        let state = self.lock();
        Ok(Box::new(MemorySnapshot { revision: state.revision, map: Arc::clone(&state.map) }))
    }

    async fn watch(&self, prefix: Bytes, after: Revision) -> Result<Box<dyn Watch>, ReadError> {
        Ok(Box::new(self.feeds.watch(prefix, after)))
    }

    fn limits(&self) -> Limits {
        self.limits
    }
}

struct MemorySnapshot {
    revision: Revision,
    map: Arc<Map>,
}

#[async_trait]
impl Snapshot for MemorySnapshot {
    fn revision(&self) -> Revision {
        self.revision
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, ReadError> {
        Ok(self.map.get_key_value(key).map(|(key, (modified, value))| Entry {
            key: key.clone(),
            value: value.clone(),
            modified: *modified,
        }))
    }

    async fn range(&self, range: KeyRange, limit: usize) -> Result<Page, ReadError> {
        let mut found = self.map.range::<[u8], _>(range.bounds());
        let entries: Vec<Entry> = found
            .by_ref()
            .take(limit)
            .map(|(key, (modified, value))| Entry { key: key.clone(), value: value.clone(), modified: *modified })
            .collect();
        let rest = found.next().map(|(key, _)| range.starting_at(key.clone()));
        Ok(Page { entries, rest })
    }
}
