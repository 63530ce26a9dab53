//! The recent commits, kept in memory for watchers. One writer appends, any number of watches read.
//!
//! It is not on disk on purpose. Watchers of an embedded store live in its process and end with it, so after
//! a restart everybody begins with a snapshot; a durable log would write every value twice for no reader.
//! Watches share one bounded history instead of a queue each: a slow watcher costs nothing and is told
//! [`WatchError::Compacted`] when the history has moved past it.

use crate::{Change, Changes, Revision, Watch, WatchError, Write};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How much history is kept: enough for a watcher that lost the processor for seconds under full load
/// (5,000 placements a second in batches), little beside the control plane's own state.
const MAX_COMMITS: usize = 16_384;
const MAX_BYTES: usize = 16 * 1024 * 1024;

struct History {
    /// The newest revision that is no longer in `commits`, or the revision at opening.
    forgotten: Revision,
    commits: VecDeque<Arc<Commit>>,
    bytes: usize,
}

struct Commit {
    revision: Revision,
    changes: Vec<Change>,
    bytes: usize,
}

/// The writer's end. Dropping it ends every watch with [`WatchError::Closed`] after its last change.
pub(crate) struct Feed {
    history: Arc<Mutex<History>>,
    newest: watch::Sender<Revision>,
}

/// The watchers' end: opens watches.
#[derive(Clone)]
pub(crate) struct Feeds {
    history: Arc<Mutex<History>>,
    newest: watch::Receiver<Revision>,
}

impl Feed {
    /// A history that begins after `revision`.
    pub(crate) fn new(revision: Revision) -> (Self, Feeds) {
        let history = Arc::new(Mutex::new(History { forgotten: revision, commits: VecDeque::new(), bytes: 0 }));
        let (sender, newest) = watch::channel(revision);
        (Self { history: Arc::clone(&history), newest: sender }, Feeds { history, newest })
    }

    /// Publishes a commit. Called in revision order, after the commit is durable.
    pub(crate) fn publish(&self, revision: Revision, changes: Vec<Change>) {
        let bytes = changes.iter().map(size).sum();
        {
            let mut history = lock(&self.history);
            history.bytes += bytes;
            history.commits.push_back(Arc::new(Commit { revision, changes, bytes }));
            while history.commits.len() > MAX_COMMITS || (history.bytes > MAX_BYTES && history.commits.len() > 1) {
                let Some(oldest) = history.commits.pop_front() else { break };
                history.bytes -= oldest.bytes;
                history.forgotten = oldest.revision;
            }
        }
        self.newest.send_replace(revision);
    }
}

impl Feeds {
    /// A watch on the keys beginning with `prefix`, for what comes after `after`.
    pub(crate) fn watch(&self, prefix: Bytes, after: Revision) -> FeedWatch {
        FeedWatch { history: Arc::clone(&self.history), newest: self.newest.clone(), prefix, at: after }
    }
}

/// A [`Watch`] on a [`Feed`].
pub(crate) struct FeedWatch {
    history: Arc<Mutex<History>>,
    newest: watch::Receiver<Revision>,
    prefix: Bytes,
    /// Everything up to here was given or does not concern the prefix.
    at: Revision,
}

impl FeedWatch {
    /// The next commit in the history that touches the prefix; moves `at` past all that was looked at.
    fn scan(&mut self) -> Result<Option<Changes>, WatchError> {
        let history = lock(&self.history);
        if self.at < history.forgotten {
            return Err(WatchError::Compacted { at: self.at, up_to: history.forgotten });
        }
        let first = history.commits.partition_point(|commit| commit.revision <= self.at);
        for commit in history.commits.iter().skip(first) {
            self.at = commit.revision;
            let changes: Vec<Change> =
                commit.changes.iter().filter(|change| change.key.starts_with(&self.prefix)).cloned().collect();
            if !changes.is_empty() {
                return Ok(Some(Changes { revision: commit.revision, changes }));
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl Watch for FeedWatch {
    async fn next(&mut self) -> Result<Changes, WatchError> {
        loop {
            // Seen before the scan: a commit published after it wakes the wait below.
            let open = self.newest.has_changed().is_ok();
            self.newest.mark_unchanged();
            if let Some(changes) = self.scan()? {
                return Ok(changes);
            }
            if !open {
                return Err(WatchError::Closed);
            }
            // An error is the end of the feed; the next turn gives what it left and then says so.
            let _closed = self.newest.changed().await.is_err();
        }
    }
}

fn size(change: &Change) -> usize {
    // The fixed part stands for the vector's slot and the reference counts.
    96 + change.key.len()
        + match &change.write {
            Write::Put(value) => value.len(),
            Write::Delete => 0,
        }
}

/// No panic happens while the lock is held, so a poisoned one still guards whole data.
fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}
