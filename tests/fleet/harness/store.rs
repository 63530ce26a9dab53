//! The control plane's disk: a store in memory whose commits take time, fail, and may be lost by a crash.

use crate::entropy::Dice;
use crate::trace::Trace;
use async_trait::async_trait;
use longshore_store::{Batch, Bytes, CommitError, Limits, MemoryStore, ReadError, Revision, Snapshot, Store, Watch};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// What survives every crash of the control plane.
pub(crate) struct SimStore {
    inner: MemoryStore,
    dice: Dice,
    trace: Arc<Trace>,
    /// Failures of a thousand commits; none once a run heals.
    faults: AtomicU64,
    /// Whether this run's disk stalls at times.
    pub(crate) slow: AtomicBool,
    /// Poked after each commit.
    pub(crate) committed: Notify,
}

impl SimStore {
    pub(crate) fn new(seed: u64, trace: Arc<Trace>) -> Self {
        Self {
            inner: MemoryStore::new(),
            dice: Dice::new(seed, "store"),
            trace,
            faults: AtomicU64::new(0),
            slow: AtomicBool::new(false),
            committed: Notify::new(),
        }
    }

    /// So many of a thousand commits fail.
    pub(crate) fn fail(&self, per_mille: u32) {
        self.faults.store(per_mille.into(), Ordering::Relaxed);
    }

    fn pause(&self) -> Duration {
        if self.slow.load(Ordering::Relaxed) && self.dice.chance(30) {
            return self.dice.millis(100, 3000);
        }
        self.dice.millis(1, 6)
    }
}

#[async_trait]
impl Store for SimStore {
    async fn commit(&self, batch: Batch) -> Result<Revision, CommitError> {
        let faults = u32::try_from(self.faults.load(Ordering::Relaxed)).unwrap_or(0);
        let fault = self.dice.chance(faults).then(|| self.dice.between(0, 4));
        // A crash before this line's end loses the batch, a crash after it only the answer.
        tokio::time::sleep(self.pause()).await;
        match fault {
            Some(0) => {
                self.trace.say("store: it is not known whether a batch was taken, and it was not");
                return Err(CommitError::Unknown { source: "simulated".into() });
            }
            Some(2) => {
                self.trace.say("store: no space");
                return Err(CommitError::Full { source: "simulated".into() });
            }
            Some(3 | 4) => {
                self.trace.say("store: a batch was not written");
                return Err(CommitError::NotWritten { source: "simulated".into() });
            }
            Some(_) | None => {}
        }
        let done = self.inner.commit(batch).await;
        tokio::time::sleep(self.pause()).await;
        if fault == Some(1) {
            self.trace.say("store: it is not known whether a batch was taken, and it was");
            return Err(CommitError::Unknown { source: "simulated".into() });
        }
        if let Ok(revision) = &done {
            self.trace.say(format_args!("store: revision {revision}"));
        }
        // Whoever waits looks once the owner task, which is here now, has published.
        self.committed.notify_one();
        done
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, ReadError> {
        self.inner.snapshot().await
    }

    async fn watch(&self, prefix: Bytes, after: Revision) -> Result<Box<dyn Watch>, ReadError> {
        self.inner.watch(prefix, after).await
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }
}
