//! The store as async code uses it: each call on a thread that may block, and a sweep now and then.

use crate::api;
use crate::store::{Chunk, LogError, LogStore, StreamKey};
use bytes::Bytes;
use longshore_ecs_api::ApiError;
use longshore_ecs_api::logs::LogsOperation;
use longshore_model::{AccountId, Region};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Semaphore;

/// Between two sweeps.
const SWEEP: Duration = Duration::from_secs(600);
/// The same when the store is full.
const SWEEP_FULL: Duration = Duration::from_secs(10);
/// Batches of agents that are written at once.
const TAKES: usize = 16;
/// Calls of the API at once: each may hold a segment and a page of events. They have room of their own, since whoever
/// searches much must not keep output from being taken.
const CALLS: usize = 8;

/// Where a request of the API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The region of its signature: groups are those of that region.
    pub region: Region,
    /// The account.
    pub account: AccountId,
}

/// A handle on the log store. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Logs {
    store: Arc<LogStore>,
    takes: Arc<Semaphore>,
    calls: Arc<Semaphore>,
}

impl Logs {
    /// Opens the store in `root`, whose segments may take `max_bytes`.
    ///
    /// # Errors
    /// When the directory cannot be read or made.
    pub async fn open(root: &Path, max_bytes: u64) -> Result<Self, LogError> {
        let root: PathBuf = root.to_owned();
        let store = tokio::task::spawn_blocking(move || LogStore::open(&root, max_bytes)).await;
        let store = store.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
        let (takes, calls) = (Arc::new(Semaphore::new(TAKES)), Arc::new(Semaphore::new(CALLS)));
        Ok(Self { store: Arc::new(store), takes, calls })
    }

    /// Does some work on a thread that may block.
    async fn work<T: Send + 'static>(&self, work: impl FnOnce(&LogStore) -> T + Send + 'static) -> T {
        let store = Arc::clone(&self.store);
        let done = tokio::task::spawn_blocking(move || work(&store));
        done.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// The same within the room that `places` gives: until the work is done, whoever waits for it.
    async fn work_in<T: Send + 'static>(
        &self,
        places: &Arc<Semaphore>,
        work: impl FnOnce(&LogStore) -> T + Send + 'static,
    ) -> T {
        let place = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
        self.work(move |store| {
            let result = work(store);
            drop(place);
            result
        })
        .await
    }

    /// Does an operation of the API; `body` is JSON and so is the answer. What it changed is durable by then.
    ///
    /// # Errors
    /// What the client is told.
    pub async fn call(&self, scope: Scope, op: LogsOperation, body: Bytes) -> Result<Bytes, ApiError> {
        self.work_in(&self.calls, move |store| api::call(store, &scope, op, &body, now_ms())).await
    }

    /// Takes what the container instance `owner` read, chunk by chunk, each with its own answer; see
    /// [`LogStore::take`]. A chunk whose stream cannot be written is refused, and the others are taken.
    ///
    /// # Errors
    /// When nothing was added, since the store cannot be written at all: a full disk, most of the time.
    pub async fn take(&self, owner: String, chunks: Vec<Chunk>) -> Result<Vec<Result<Vec<u8>, String>>, LogError> {
        self.work_in(&self.takes, move |store| {
            let mut answers = Vec::with_capacity(chunks.len());
            let (mut added, mut failed) = (false, None);
            for chunk in &chunks {
                answers.push(match store.take(now_ms(), &owner, chunk) {
                    Ok(cursor) => {
                        added |= !chunk.events.is_empty();
                        Ok(cursor)
                    }
                    Err(LogError::Refused(why)) => Err(why),
                    Err(error @ LogError::Io { .. }) => {
                        let StreamKey { region, group, stream } = &chunk.key;
                        let text = crate::chain(&error);
                        tracing::error!(region, group, stream, error = text, "a log stream takes nothing");
                        failed.get_or_insert(error);
                        Err("The control plane cannot write this log stream; its log says why.".to_owned())
                    }
                });
            }
            match failed {
                Some(error) if !added && store.works().is_err() => Err(error),
                Some(_) | None => Ok(answers),
            }
        })
        .await
    }

    /// Makes room, from time to time and when the store is full: a long-lived task, which never ends by itself.
    pub async fn sweep(self) {
        let mut last: Option<tokio::time::Instant> = None;
        loop {
            if last.is_none_or(|last| last.elapsed() >= SWEEP) || self.store.is_full() {
                // The faults are in the log already.
                let _ = self.work(|store| store.sweep(now_ms())).await;
                last = Some(tokio::time::Instant::now());
            }
            tokio::time::sleep(SWEEP_FULL).await;
        }
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Event;

    #[tokio::test]
    async fn whoever_reads_keeps_no_output_from_being_taken() {
        let dir = tempfile::tempdir().expect("a directory");
        let logs = Logs::open(dir.path(), 1 << 30).await.expect("opens");
        let readers = logs.calls.acquire_many(8).await.expect("all places of readers");
        let key = StreamKey { region: "lab-1".into(), group: "app".into(), stream: "s".into() };
        let events = vec![Event { at_ms: 1, message: "a".into() }];
        let chunk = Chunk { key, from: Vec::new(), to: b"c1".to_vec(), events };
        let taken = tokio::time::timeout(Duration::from_secs(60), logs.take("h1".into(), vec![chunk]));
        assert_eq!(taken.await.expect("in time").expect("answered"), [Ok(b"c1".to_vec())]);
        drop(readers);
    }
}
