//! The agent's memory across restarts: the applied generation, and every task's definition and record.
//!
//! Owns one file, `ledger.redb` in the data directory (mode 0600: definitions hold environment values). It never
//! decides anything and never stops the agent: a file that is damaged or written by a newer agent is set aside as
//! `ledger.damaged-<time>`, and the engine rebuilds the tasks from their containers' labels. So is, as
//! `ledger.older-<time>`, a copy that somebody put in its place: what it does not know may have run. So is, as
//! `ledger.former-<time>`, the ledger of the container instance that this host was before it joined anew: generations
//! are numbers of one control plane, and its tasks are none of the new instance's. A write that fails changes
//! nothing in the file and is reported to whoever asked; later writes try again on a fresh handle. For a full disk some
//! space is kept in reserve ([`reserve`]), so that what ends can still be written.
//!
//! Commits block on the disk, so they happen on a thread of their own, which puts everything that waits into one
//! transaction.

mod file;
mod mark;
mod reserve;

use crate::crash::{self, Place};
use crate::engine::drivers::Store;
use async_trait::async_trait;
use longshore_model::{Generation, InstanceId, TaskId, TaskSpec};
use longshore_plan::{Outline, TaskRecord};
use reserve::Reserve;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// Saves that may wait for the disk. The engine has a handful in flight; a disk that hangs lets them pile up here, and
/// then the engine waits too, which holds starts and nothing else.
const QUEUE: usize = 256;

/// Most saves in one transaction, so that the first of them does not wait for ever.
const GROUP: usize = 128;

/// What is kept of a task's definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Definition {
    /// All of it.
    Spec(Arc<TaskSpec>),
    /// What its containers' labels told.
    Outline(Arc<Outline>),
}

/// A task as it was saved last.
#[derive(Debug, Clone)]
pub struct SavedTask {
    /// Its definition.
    pub definition: Definition,
    /// Its record.
    pub record: TaskRecord,
}

/// What a save changes. All of it or nothing.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// The generation that is now applied.
    pub generation: Option<Generation>,
    /// Definitions, new and changed.
    pub definitions: Vec<(TaskId, Definition)>,
    /// Records, new and changed.
    pub records: Vec<TaskRecord>,
    /// Tasks that are forgotten.
    pub forgotten: Vec<TaskId>,
}

impl Changes {
    /// Whether there is nothing to save.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.generation.is_none() && self.definitions.is_empty() && self.records.is_empty() && self.forgotten.is_empty()
    }
}

/// Everything that was saved.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The applied generation.
    pub generation: Generation,
    /// All tasks.
    pub tasks: Vec<SavedTask>,
    /// The container instance that the generation is of; absent before the first one.
    pub instance: Option<InstanceId>,
    /// Whether the host was booted since it was last written.
    pub rebooted: bool,
    /// By how many milliseconds the host's clock was moved since, back when negative; 0 after a boot. Small figures are
    /// what reading two clocks one after the other makes.
    pub clock_moved: i64,
    /// Where the earlier file went and why, when it could not be used.
    pub set_aside: Option<(PathBuf, String)>,
}

/// Why there is no ledger.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Two agents would own the same tasks.
    #[error("the ledger {} is in use by another agent; give each agent its own data_dir", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The directory or the file cannot be used.
    #[error("could not {verb} {}", path.display())]
    File {
        /// `make`, `open` or `set aside`, for example.
        verb: &'static str,
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not even a new file can be made.
    #[error("could not make the ledger {}", path.display())]
    Make {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<file::FileError>,
    },
}

/// Why a save did not happen.
#[derive(Debug, Clone, thiserror::Error)]
#[error("could not write the ledger {}: {why}", path.display())]
pub struct SaveError {
    /// The file.
    pub path: PathBuf,
    /// The whole chain of causes: it goes to everybody whose save was in the transaction.
    pub why: String,
}

struct Request {
    changes: Changes,
    done: oneshot::Sender<Result<(), SaveError>>,
}

/// A handle on the ledger. Cheap to clone; the thread ends with the last one.
#[derive(Debug, Clone)]
pub struct Ledger {
    requests: mpsc::Sender<Request>,
    path: Arc<PathBuf>,
    instance: Arc<OnceLock<InstanceId>>,
    fault: watch::Receiver<Option<String>>,
    writes: Arc<Writes>,
}

/// What was written so far, for metrics.
#[derive(Debug, Default)]
pub struct Writes {
    /// Transactions that ended, well or not.
    pub ended: AtomicU64,
    /// Those that did not end well.
    pub failed: AtomicU64,
    /// Saves that were in them: what comes together is one transaction.
    pub saves: AtomicU64,
    /// How long they took together, in microseconds.
    pub micros: AtomicU64,
}

impl Writes {
    fn enter(&self, saves: usize, took: Duration, failed: bool) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(failed.into(), Ordering::Relaxed);
        self.saves.fetch_add(saves.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
        self.micros.fetch_add(took.as_micros().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Ledger {
    /// Opens or makes the ledger in `dir` and reads all of it. `instance` is what this host is now, absent when it has
    /// not joined; before the ledger of another one is set aside, `leave` is called, so that whatever else is of that
    /// one goes first.
    ///
    /// # Errors
    /// When the directory is unusable or another agent has the ledger open, or `leave` failed. A file that is damaged,
    /// too new, older than it was or another instance's is no error: see [`Loaded::set_aside`].
    pub fn open(
        dir: &Path,
        instance: Option<InstanceId>,
        leave: impl FnOnce() -> std::io::Result<()>,
    ) -> Result<(Self, Loaded), OpenError> {
        make_private_dir(dir)?;
        let path = dir.join("ledger.redb");
        let (file, mark, loaded) = file::open(&path, instance, leave)?;
        let (requests, waiting) = mpsc::channel(QUEUE);
        let shared = Arc::new(path);
        let owner = Arc::new(instance.map_or_else(OnceLock::new, OnceLock::from));
        let (fault_in, fault) = watch::channel(None);
        let writes = Arc::new(Writes::default());
        let writer = Writer {
            path: shared.clone(),
            instance: owner.clone(),
            reserve: Reserve::of(&shared),
            file: Some(file),
            mark,
            fault: fault_in,
            writes: Arc::clone(&writes),
        };
        std::thread::Builder::new()
            .name("ledger".to_owned())
            .stack_size(512 * 1024)
            .spawn(move || writer.run(waiting))
            .map_err(|source| OpenError::File { verb: "start a thread for", path: dir.into(), source })?;
        Ok((Self { requests, path: shared, instance: owner, fault, writes }, loaded))
    }

    /// Why it cannot be counted on: the last write failed, or its reserve is used up and there is no space for another.
    #[must_use]
    pub fn fault(&self) -> watch::Receiver<Option<String>> {
        self.fault.clone()
    }

    /// Has its reserve made again if it is missing, and a file that could not be written tried again. To be called now
    /// and then.
    pub fn look_after(&self) {
        let (done, _) = oneshot::channel();
        // A queue that is full says that the thread is busy with the file anyhow.
        let _ = self.requests.try_send(Request { changes: Changes::default(), done });
    }

    /// From here on, generations are those of `instance`: this host has joined. A host is one instance as long as its
    /// agent runs, so the first one counts.
    pub fn belongs_to(&self, instance: InstanceId) {
        let _ = self.instance.set(instance);
    }

    /// What was written so far.
    #[must_use]
    pub fn writes(&self) -> Arc<Writes> {
        self.writes.clone()
    }

    fn error(&self, why: &str) -> SaveError {
        SaveError { path: self.path.to_path_buf(), why: why.to_owned() }
    }
}

#[async_trait]
impl Store for Ledger {
    async fn save(&self, changes: Changes) -> Result<(), SaveError> {
        let (done, answer) = oneshot::channel();
        self.requests.send(Request { changes, done }).await.map_err(|_| self.error("the ledger's thread has ended"))?;
        answer.await.map_err(|_| self.error("the ledger's thread has ended"))?
    }
}

fn make_private_dir(dir: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|source| OpenError::File {
        verb: "make",
        path: dir.into(),
        source,
    })
}

/// The thread: everything that waits goes into one transaction.
struct Writer {
    path: Arc<PathBuf>,
    instance: Arc<OnceLock<InstanceId>>,
    reserve: Reserve,
    /// Absent after a failed write: the handle refuses everything from then on, and the file is as it was.
    file: Option<file::LedgerFile>,
    mark: mark::Mark,
    fault: watch::Sender<Option<String>>,
    writes: Arc<Writes>,
}

impl Writer {
    fn run(mut self, mut waiting: mpsc::Receiver<Request>) {
        self.reserve.keep();
        while let Some(first) = waiting.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(next) = waiting.try_recv()
            {
                group.push(next);
            }
            // Looking after a file that is well is no write.
            let idle = self.file.is_some() && group.iter().all(|request| request.changes.is_empty());
            let begin = Instant::now();
            let result = if idle { Ok(()) } else { self.commit(&group) };
            if !idle {
                self.writes.enter(group.len(), begin.elapsed(), result.is_err());
            }
            if result.is_ok() {
                self.reserve.keep();
            }
            let why = result.as_ref().err().map(ToString::to_string).or_else(|| self.reserve.fault());
            self.fault.send_if_modified(|known| std::mem::replace(known, why.clone()) != why);
            for request in group {
                // A caller that gave up waiting has no use for the answer.
                let _ = request.done.send(result.clone());
            }
        }
    }

    fn commit(&mut self, group: &[Request]) -> Result<(), SaveError> {
        let written = match self.write(group) {
            Err(error) if reserve::is_no_space(&error) && self.reserve.release() => self.write(group),
            written => written,
        };
        written.map_err(|error| SaveError { path: self.path.to_path_buf(), why: crate::engine::docker::chain(&error) })
    }

    fn write(&mut self, group: &[Request]) -> Result<(), file::FileError> {
        // After a failed write the handle refuses everything; the file itself is as it was.
        crash::before(Place::LedgerWrite);
        let open = match self.file.take() {
            Some(open) => open,
            None => file::reopen(&self.path)?,
        };
        let writes = open.write(group.iter().map(|r| &r.changes), self.instance.get().copied())?;
        crash::after(Place::LedgerWrite);
        self.mark.set(writes);
        self.file = Some(open);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
