//! The agent's memory across restarts: the applied generation, and every task's definition and record.
//!
//! Owns one file, `ledger.redb` in the data directory (mode 0600: definitions hold environment values). It never
//! decides anything and never stops the agent: a file that is damaged or written by a newer agent is set aside as
//! `ledger.damaged-<time>`, and the engine rebuilds the tasks from their containers' labels. So is, as
//! `ledger.older-<time>`, a copy that somebody put in its place: what it does not know may have run. So is, as
//! `ledger.former-<time>`, the ledger of the container instance that this host was before it joined anew: generations
//! are numbers of one control plane, and its tasks are none of the new instance's. A write that fails (a full
//! disk) changes nothing in the file and is reported to whoever asked; later writes try again on a fresh handle.
//!
//! Commits block on the disk, so they happen on a thread of their own, which puts everything that waits into one
//! transaction.

mod file;
mod mark;

use crate::crash::{self, Place};
use crate::engine::drivers::Store;
use async_trait::async_trait;
use longshore_model::{Generation, InstanceId, TaskId, TaskSpec};
use longshore_plan::{Outline, TaskRecord};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tokio::sync::{mpsc, oneshot};

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
        let for_thread = (shared.clone(), owner.clone());
        std::thread::Builder::new()
            .name("ledger".to_owned())
            .stack_size(512 * 1024)
            .spawn(move || run(&for_thread.0, &for_thread.1, (file, mark), waiting))
            .map_err(|source| OpenError::File { verb: "start a thread for", path: dir.into(), source })?;
        Ok((Self { requests, path: shared, instance: owner }, loaded))
    }

    /// From here on, generations are those of `instance`: this host has joined. A host is one instance as long as its
    /// agent runs, so the first one counts.
    pub fn belongs_to(&self, instance: InstanceId) {
        let _ = self.instance.set(instance);
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
fn run(
    path: &Path,
    instance: &OnceLock<InstanceId>,
    (file, mut mark): (file::LedgerFile, mark::Mark),
    mut waiting: mpsc::Receiver<Request>,
) {
    let mut file = Some(file);
    while let Some(first) = waiting.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP
            && let Ok(next) = waiting.try_recv()
        {
            group.push(next);
        }
        let result = commit(path, instance.get().copied(), (&mut file, &mut mark), &group);
        for request in group {
            // A caller that gave up waiting has no use for the answer.
            let _ = request.done.send(result.clone());
        }
    }
}

fn commit(
    path: &Path,
    instance: Option<InstanceId>,
    (file, mark): (&mut Option<file::LedgerFile>, &mut mark::Mark),
    group: &[Request],
) -> Result<(), SaveError> {
    let fail =
        |error: &file::FileError| SaveError { path: path.to_path_buf(), why: crate::engine::docker::chain(error) };
    // After a failed write the handle refuses everything; the file itself is as it was.
    crash::before(Place::LedgerWrite);
    let open = match file.take() {
        Some(open) => open,
        None => file::reopen(path).map_err(|e| fail(&e))?,
    };
    match open.write(group.iter().map(|r| &r.changes), instance) {
        Ok(writes) => {
            crash::after(Place::LedgerWrite);
            mark.set(writes);
            *file = Some(open);
            Ok(())
        }
        Err(error) => Err(fail(&error)),
    }
}

#[cfg(test)]
mod tests;
