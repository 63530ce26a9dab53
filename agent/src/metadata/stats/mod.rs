//! What containers use: CPU, memory, network and disk, read from the kernel's files when somebody asks.
//!
//! Nothing is polled and no stream of the container engine is open: a host whose tasks nobody asks about spends
//! nothing on it. Differences need two readings, so the last one of each container is kept; the first question about a
//! container takes two, a quarter of a second apart.

mod document;
mod groups;
mod parse;

pub(super) use document::document;
pub(super) use groups::Reader;
pub(super) use parse::{Sample, Traffic};

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Readings are not taken more often than this: whoever asks more often gets the same.
const APART: Duration = Duration::from_secs(1);

/// Between the two readings that the first question takes.
const FIRST: Duration = Duration::from_millis(250);

/// A container to read about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Which {
    /// The engine's id.
    pub(super) id: String,
    /// Its first process.
    pub(super) pid: u32,
}

/// Two readings of a container.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) before: Arc<Sample>,
    pub(super) now: Arc<Sample>,
}

#[derive(Debug, Clone)]
struct Kept {
    before: Option<Arc<Sample>>,
    now: Arc<Sample>,
    at: Instant,
}

/// The last readings.
#[derive(Debug)]
pub(super) struct Keeper {
    reader: Arc<Reader>,
    kept: Mutex<HashMap<Which, Kept>>,
}

impl Keeper {
    pub(super) fn new(reader: Reader) -> Self {
        Self { reader: Arc::new(reader), kept: Mutex::default() }
    }

    /// The lock is held for one look-up and never across an await; a poisoned one holds whole values.
    fn kept(&self) -> MutexGuard<'_, HashMap<Which, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Two readings, the second from now; nothing when the container does not run any more.
    pub(super) async fn pair(&self, which: &Which) -> Option<Pair> {
        let known = self.kept().get(which).cloned();
        if let Some(Kept { before: Some(before), now, at }) = &known
            && at.elapsed() < APART
        {
            return Some(Pair { before: before.clone(), now: now.clone() });
        }
        let before = match known {
            Some(known) => known.now,
            None => {
                let first = self.read(which).await?;
                tokio::time::sleep(FIRST).await;
                first
            }
        };
        let now = self.read(which).await?;
        let kept = Kept { before: Some(before.clone()), now: now.clone(), at: Instant::now() };
        self.kept().insert(which.clone(), kept);
        Some(Pair { before, now })
    }

    /// One reading, at most a second old.
    pub(super) async fn last(&self, which: &Which) -> Option<Arc<Sample>> {
        let known = self.kept().get(which).filter(|kept| kept.at.elapsed() < APART).cloned();
        if let Some(kept) = known {
            return Some(kept.now);
        }
        let now = self.read(which).await?;
        let mut all = self.kept();
        let before = all.get(which).map(|kept| kept.now.clone());
        all.insert(which.clone(), Kept { before, now: now.clone(), at: Instant::now() });
        Some(now)
    }

    async fn read(&self, which: &Which) -> Option<Arc<Sample>> {
        let (reader, which) = (self.reader.clone(), which.clone());
        let read = tokio::task::spawn_blocking(move || reader.read(&which.id, which.pid)).await;
        match read {
            Ok(Ok(sample)) => Some(Arc::new(sample)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "no figures of a container");
                None
            }
            Err(error) => {
                tracing::error!(%error, "reading a container's figures failed here");
                None
            }
        }
    }

    /// Forgets every other container, once there are many of them.
    pub(super) fn keep(&self, ids: &BTreeSet<String>) {
        let mut kept = self.kept();
        if kept.len() > 16 + 2 * ids.len() {
            kept.retain(|which, _| ids.contains(&which.id));
        }
    }
}
