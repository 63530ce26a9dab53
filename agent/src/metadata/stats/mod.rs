//! What containers use: CPU, memory, network and disk, read from the kernel's files when somebody asks.
//!
//! Nothing is polled and no stream of the container engine is open: a host whose tasks nobody asks about spends
//! nothing on it. Differences need two readings, so the last one of each container is kept; the first question about a
//! container takes two, a quarter of a second apart.

mod document;
mod groups;
mod parse;

pub(super) use document::document;
pub(super) use groups::{Brief, Reader};
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

/// What is remembered of a container while it has one process. A restart takes its place: the figures begin anew.
#[derive(Debug, Clone)]
struct Kept {
    pid: u32,
    before: Option<Arc<Sample>>,
    now: Arc<Sample>,
    at: Instant,
}

/// The last readings.
#[derive(Debug)]
pub(super) struct Keeper {
    reader: Arc<Reader>,
    kept: Mutex<HashMap<String, Kept>>,
}

impl Keeper {
    pub(super) fn new(reader: Reader) -> Self {
        Self { reader: Arc::new(reader), kept: Mutex::default() }
    }

    /// The lock is held for one look-up and never across an await; a poisoned one holds whole values.
    fn kept(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, which: &Which) -> Option<Kept> {
        self.kept().get(&which.id).filter(|kept| kept.pid == which.pid).cloned()
    }

    fn remember(&self, which: &Which, before: Option<Arc<Sample>>, now: Arc<Sample>) {
        let kept = Kept { pid: which.pid, before, now, at: Instant::now() };
        self.kept().insert(which.id.clone(), kept);
    }

    /// Two readings, the second from now; nothing when the container does not run any more.
    pub(super) async fn pair(&self, which: &Which) -> Option<Pair> {
        let known = self.known(which);
        if let Some(Kept { before: Some(before), now, at, .. }) = &known
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
        self.remember(which, Some(before.clone()), now.clone());
        Some(Pair { before, now })
    }

    /// One reading, at most a second old.
    pub(super) async fn last(&self, which: &Which) -> Option<Arc<Sample>> {
        if let Some(kept) = self.known(which).filter(|kept| kept.at.elapsed() < APART) {
            return Some(kept.now);
        }
        let now = self.read(which).await?;
        let before = self.known(which).map(|kept| kept.now);
        self.remember(which, before, now.clone());
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

    /// What containers have used so far, each with what was read of it before, nothing of those that do not run any more;
    /// the time that the host's processors were busy, in nanoseconds; and the bytes of its memory that are not available.
    pub(super) async fn briefs(&self, which: Vec<(Which, Option<Brief>)>) -> (Vec<Option<Brief>>, u64, u64) {
        let reader = self.reader.clone();
        let read = tokio::task::spawn_blocking(move || {
            let briefs = which.iter().map(|(which, before)| reader.brief(&which.id, which.pid, before.as_ref()).ok());
            let briefs = briefs.collect();
            let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
            (briefs, parse::busy(&text("/proc/stat")), parse::taken(&text("/proc/meminfo")))
        });
        read.await.unwrap_or_else(|error| {
            tracing::error!(%error, "reading what containers use failed here");
            Default::default()
        })
    }

    /// Whether there are many more than so many.
    pub(super) fn has_many(&self, than: usize) -> bool {
        self.kept().len() > 16 + 2 * than
    }

    /// Forgets every other container.
    pub(super) fn keep(&self, ids: &BTreeSet<String>) {
        self.kept().retain(|id, _| ids.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_takes_the_place_of_what_was_read_before() {
        let keeper = Keeper::new(Reader::default());
        let which = |id: &str, pid| Which { id: id.to_owned(), pid };
        for pid in 1..100 {
            keeper.remember(&which("a", pid), None, Arc::default());
        }
        assert_eq!(keeper.kept().len(), 1);
        assert!(keeper.known(&which("a", 99)).is_some());
        assert!(keeper.known(&which("a", 1)).is_none(), "figures of a former process are no beginning");
        for i in 0..40 {
            keeper.remember(&which(&i.to_string(), 1), None, Arc::default());
        }
        assert!(keeper.has_many(3) && !keeper.has_many(20));
        keeper.keep(&["3".to_owned()].into());
        assert_eq!(keeper.kept().len(), 1);
    }
}
