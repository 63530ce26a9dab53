//! The control plane's store: ordered byte keys, atomic batches guarded by versions, range reads, a watch.
//!
//! It owns durability and the order of changes, and nothing else: it does not know what a key or a value
//! means. The owner task in `longshore-core` is its one writer; readers take a [`Snapshot`] or a [`Watch`].
//!
//! Two implementations stand behind [`Store`], and nobody above may tell them apart:
//!
//! - [`EmbeddedStore`]: one file, crash-safe, nothing to install. Production.
//! - [`MemoryStore`]: the same contract without a disk. Tests.
//!
//! A third, on etcd, fits without a change here: a [`Batch`] is one transaction comparing `mod_revision`s, a
//! [`Snapshot`] is reads at one revision, a [`Watch`] is etcd's with its compaction. What follows for
//! callers is part of the contract:
//!
//! - Revisions rise with every commit that changes something, by one *or more* (an etcd may be shared), so a
//!   batch cannot know its own revision in advance. What must carry a revision reads it from
//!   [`Entry::modified`].
//! - A batch is bounded by [`Store::limits`].
//! - A commit's outcome can be unknown ([`CommitError::Unknown`]); guards make it safe to look and go on.
//! - A watch may find its past compacted away ([`WatchError::Compacted`]); the watcher reads a snapshot again.

mod batch;
mod embedded;
mod error;
mod feed;
mod memory;

pub use batch::{Batch, Expect, KeyRange, Limits, MAX_KEY_BYTES, Write};
pub use bytes::Bytes;
pub use embedded::{EmbeddedStore, OpenError};
pub use error::{CommitError, ReadError, Source, WatchError};
pub use memory::MemoryStore;

use async_trait::async_trait;
use std::fmt;

/// The number of a state of the whole store. 0 is the empty store before its first commit; never falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key, its value, and when it was last written.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// The revision of the commit that wrote this value; what [`Expect::Version`] compares with.
    pub modified: Revision,
}

/// Values may hold secrets: only their length is shown.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} ({} bytes)", self.key.escape_ascii(), self.modified, self.value.len())
    }
}

/// A part of a range, in key order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// At most as many as were asked for.
    pub entries: Vec<Entry>,
    /// What remains of the range after these, when something does; ask for it next.
    pub rest: Option<KeyRange>,
}

/// One commit as a watcher sees it.
#[derive(Clone, PartialEq, Eq)]
pub struct Changes {
    /// The commit's revision.
    pub revision: Revision,
    /// What it changed among the watched keys, in key order; never empty.
    pub changes: Vec<Change>,
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{} ", self.revision)?;
        f.debug_list().entries(&self.changes).finish()
    }
}

/// One key's change.
#[derive(Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Bytes,
    /// Its new value, or that it is gone.
    pub write: Write,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.key.escape_ascii(), self.write)
    }
}

/// The store, as everything above sees it. Object safe: held as `Arc<dyn Store>`.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Applies the whole batch durably, or nothing of it, and returns the revision at which it is true.
    ///
    /// All guards are checked against the state that the batch is applied to. A batch that changes nothing
    /// (empty, or only deletes of absent keys) makes no new revision and returns the current one. Batches
    /// handed over one after the other are applied in that order. A future that is dropped leaves it open
    /// whether its batch is applied.
    ///
    /// # Errors
    /// See [`CommitError`]; every variant but [`CommitError::Unknown`] says that nothing was changed.
    async fn commit(&self, batch: Batch) -> Result<Revision, CommitError>;

    /// A view of one revision, at least as new as every commit answered so far. Short-lived: holding one
    /// keeps the space of what is overwritten meanwhile from being reused.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, ReadError>;

    /// Every commit after `after` that changes a key beginning with `prefix`, in order, each once.
    ///
    /// With a snapshot's revision for `after`, snapshot and watch together miss nothing.
    ///
    /// # Errors
    /// When the store cannot be reached. That `after` is too old is told by [`Watch::next`].
    async fn watch(&self, prefix: Bytes, after: Revision) -> Result<Box<dyn Watch>, ReadError>;

    /// How large a batch may be.
    fn limits(&self) -> Limits;

    /// The current value of one key.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, ReadError> {
        self.snapshot().await?.get(key).await
    }

    /// The current revision.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn revision(&self) -> Result<Revision, ReadError> {
        Ok(self.snapshot().await?.revision())
    }
}

/// Reads at one revision.
#[async_trait]
pub trait Snapshot: Send + Sync {
    /// The revision that all reads of this snapshot show.
    fn revision(&self) -> Revision;

    /// One key.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, ReadError>;

    /// At most `limit` entries from the start of `range`, in key order. Loop on [`Page::rest`] for all.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn range(&self, range: KeyRange, limit: usize) -> Result<Page, ReadError>;
}

/// An ordered stream of commits.
#[async_trait]
pub trait Watch: Send {
    /// Waits for the next commit that touches the watched keys. Cancel-safe: a dropped call loses nothing.
    ///
    /// # Errors
    /// After an error the watch is over: open a new one, from a new snapshot if it was
    /// [`WatchError::Compacted`].
    async fn next(&mut self) -> Result<Changes, WatchError>;
}
