//! Network namespaces, by the file that stands for each.

use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An open network namespace. While it is open the namespace lives, also without processes.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    path: PathBuf,
}

/// Why a namespace could not be used.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// Its file could not be opened.
    #[error("could not open the network namespace {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A thread could not enter it.
    #[error("could not enter the network namespace {}; is this root?", path.display())]
    Enter {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: nix::Error,
    },
    /// No thread could be made for it, or the thread died.
    #[error("could not run in the network namespace {}", path.display())]
    Thread {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Namespace {
    /// The one that a file stands for: `/proc/PID/ns/net`, `/run/netns/NAME`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, NamespaceError> {
        let path = path.into();
        match File::open(&path) {
            Ok(file) => Ok(Self { file, path }),
            Err(source) => Err(NamespaceError::Open { path, source }),
        }
    }

    /// The one of a process.
    ///
    /// # Errors
    /// When there is no such process, or we may not see its namespaces.
    pub fn of_process(pid: u32) -> Result<Self, NamespaceError> {
        Self::open(format!("/proc/{pid}/ns/net"))
    }

    /// The file that it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` on a fresh thread inside the namespace and returns its result. Threads and sockets that `work` makes
    /// stay in the namespace.
    ///
    /// # Errors
    /// When the namespace cannot be entered (then `work` did not run), or `work` panicked.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, NamespaceError> {
        let thread = |source| NamespaceError::Thread { path: self.path.clone(), source };
        let file = self.file.try_clone().map_err(thread)?;
        let (answer, result) = tokio::sync::oneshot::channel();
        std::thread::Builder::new()
            .name("netns".into())
            .spawn(move || {
                // The receiver may be gone, when the caller was cancelled: then nobody wants the answer.
                let _ = answer.send(setns(file, CloneFlags::CLONE_NEWNET).map(|()| work()));
            })
            .map_err(thread)?;
        match result.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => Err(NamespaceError::Enter { path: self.path.clone(), source }),
            Err(_) => Err(thread(io::Error::other("the thread panicked"))),
        }
    }
}

impl Namespace {
    /// The same one, open once more.
    pub(crate) fn try_clone(&self) -> Result<Self, NamespaceError> {
        match self.file.try_clone() {
            Ok(file) => Ok(Self { file, path: self.path.clone() }),
            Err(source) => Err(NamespaceError::Open { path: self.path.clone(), source }),
        }
    }

    /// The one of the calling thread.
    pub(crate) fn of_this_thread() -> Result<Self, NamespaceError> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// What [`Namespace::run`] does, for callers that may wait and lend what they have.
    pub(crate) fn visit<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
        let thread = |source| NamespaceError::Thread { path: self.path.clone(), source };
        std::thread::scope(|scope| {
            let inside = || setns(&self.file, CloneFlags::CLONE_NEWNET).map(|()| work());
            let visitor =
                std::thread::Builder::new().name("netns".into()).spawn_scoped(scope, inside).map_err(thread)?;
            match visitor.join() {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(source)) => Err(NamespaceError::Enter { path: self.path.clone(), source }),
                Err(_) => Err(thread(io::Error::other("the thread panicked"))),
            }
        })
    }

    /// Whether two are the same.
    pub fn is(&self, other: &Self) -> io::Result<bool> {
        let (a, b) = (self.file.metadata()?, other.file.metadata()?);
        Ok((a.dev(), a.ino()) == (b.dev(), b.ino()))
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
