//! The store in one SQLite file: what a control plane uses unless it is told otherwise.
//!
//! One thread owns the writing connection, since commits block on the disk; snapshots read through
//! connections of their own and neither wait for a commit nor hold one up. Why SQLite, and with which
//! settings: `docs/decisions/0001-embedded-store.md`.
//!
//! What lies on the disk: the file itself, `-wal` and `-shm` beside it while it is open (after a kill also
//! later: they belong to it and must be kept and copied with it), and `.lock`, which names the process.

mod file;
mod reader;
mod writer;

pub use file::OpenError;

use crate::feed::Feeds;
use crate::{Batch, CommitError, Limits, ReadError, Revision, Snapshot, Store, Watch};
use async_trait::async_trait;
use bytes::Bytes;
use file::StoreFile;
use std::path::PathBuf;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};
use writer::{Order, Writer};

/// As large as a batch may be: a multiple of what the owner task puts into one, so that no command needs
/// splitting, and little enough that one commit does not hold up the next for long.
const LIMITS: Limits = Limits { ops: 10_000, bytes: 32 * 1024 * 1024 };

/// Batches waiting for the disk. The owner task has one under way at a time; more only arrive from tests and
/// tools, and wait in `commit` when this many are before them.
const QUEUE: usize = 16;

/// A store in a file. One process has it open at a time.
///
/// Dropping it finishes what was handed over and waits for that, some milliseconds; [`EmbeddedStore::close`]
/// does the same without blocking.
pub struct EmbeddedStore {
    path: PathBuf,
    /// Taken by drop.
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    feeds: Feeds,
}

impl EmbeddedStore {
    /// Opens the store in `path`, and creates it when there is none. Recovers by itself from any kind of
    /// abrupt end; a file that it cannot make sense of is left as it is.
    ///
    /// # Errors
    /// See [`OpenError`]. Each names the file, and nothing was changed.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let path = path.into();
        let opened = tokio::task::spawn_blocking(move || {
            let file = StoreFile::open(&path)?;
            let (writer, feeds, orders) = Writer::new(file, QUEUE);
            let thread = std::thread::Builder::new()
                .name("store".to_owned())
                .spawn(move || writer.run())
                .map_err(|source| OpenError::Thread { source })?;
            Ok(Self { path, orders: Some(orders), thread: Some(thread), feeds })
        });
        opened.await.expect("opening does not panic, and the runtime outlives its blocking tasks")
    }

    /// Writes everything into the one file and closes it, so that another process may open it. Commits
    /// that were handed over before are finished; later ones are [`CommitError::Fenced`].
    pub async fn close(&self) {
        let Some(orders) = &self.orders else { return };
        let (done, closed) = oneshot::channel();
        if orders.send(Order::Close { done }).await.is_ok() {
            // An error means that the thread ended without answering: closed just the same.
            closed.await.unwrap_or_default();
        }
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        // The thread ends when its queue does.
        drop(self.orders.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(file = %self.path.display(), "the store's thread ended by a panic");
        }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn commit(&self, batch: Batch) -> Result<Revision, CommitError> {
        crate::memory::check_size(&batch, LIMITS)?;
        let fenced = || CommitError::Fenced { why: "it is closed".to_owned() };
        let Some(orders) = &self.orders else { return Err(fenced()) };
        let (answer, answered) = oneshot::channel();
        if orders.send(Order::Commit { batch, answer }).await.is_err() {
            return Err(fenced());
        }
        answered.await.unwrap_or_else(|_| {
            Err(CommitError::Unknown { source: "the store's thread ended without an answer".into() })
        })
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, ReadError> {
        let closed = self.orders.as_ref().is_none_or(mpsc::Sender::is_closed);
        if closed {
            return Err(ReadError::Closed);
        }
        Ok(Box::new(reader::FileSnapshot::open(self.path.clone()).await?))
    }

    async fn watch(&self, prefix: Bytes, after: Revision) -> Result<Box<dyn Watch>, ReadError> {
        Ok(Box::new(self.feeds.watch(prefix, after)))
    }

    fn limits(&self) -> Limits {
        LIMITS
    }
}
