//! Files that keep network namespaces: bind mounts in one directory, as `ip netns` has them.
//!
//! A namespace lives as long as a process is in it, somebody has it open, or it is mounted. The mounts let the fabric
//! survive the agent, and a sandbox its pause container until it is torn down.

use crate::namespace::Namespace;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{NSFS_MAGIC, statfs};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What could not be done with a file of a namespace.
#[derive(Debug, thiserror::Error)]
#[error("could not {what} {}", path.display())]
pub struct PinError {
    /// The verb.
    what: &'static str,
    /// The file.
    path: PathBuf,
    /// Why.
    #[source]
    source: io::Error,
}

fn fail(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PinError {
    move |source| PinError { what, path: path.to_owned(), source }
}

const NOTHING: Option<&str> = None;

/// Makes the directory, and a mount of it that shares what is mounted in it with the host's other mount namespaces: a
/// copy of a mount that only one of them had would keep a namespace for ever.
pub(crate) fn prepare(directory: &Path) -> Result<(), PinError> {
    fs::create_dir_all(directory).map_err(fail("make the directory", directory))?;
    let share = || mount(NOTHING, directory, NOTHING, MsFlags::MS_SHARED | MsFlags::MS_REC, NOTHING);
    let result = match share() {
        // It is no mount point yet.
        Err(Errno::EINVAL) => mount(Some(directory), directory, NOTHING, MsFlags::MS_BIND | MsFlags::MS_REC, NOTHING)
            .and_then(|()| share()),
        result => result,
    };
    result.map_err(|errno| fail("share the mounts of", directory)(errno.into()))
}

/// Whether a namespace is mounted on the file.
fn is_mounted(file: &Path) -> bool {
    statfs(file).is_ok_and(|fs| fs.filesystem_type() == NSFS_MAGIC)
}

/// The namespace that is mounted on the file, if one is.
pub(crate) fn pinned(file: &Path) -> Option<Namespace> {
    is_mounted(file).then(|| Namespace::open(file).ok())?
}

fn mount_on(file: &Path, source: &Path) -> Result<(), PinError> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o444).open(file).map_err(fail("make", file))?;
    mount(Some(source), file, NOTHING, MsFlags::MS_BIND, NOTHING)
        .map_err(|errno| fail("mount a namespace on", file)(errno.into()))
}

/// Mounts a namespace on a file; says whether there was something to do. What else was mounted there goes.
pub(crate) fn pin(file: &Path, namespace: &Namespace) -> Result<bool, PinError> {
    if let Some(there) = pinned(file) {
        if there.is(namespace).map_err(fail("look at", file))? {
            return Ok(false);
        }
        unpin(file)?;
    }
    let source = format!("/proc/self/fd/{}", namespace.as_fd().as_raw_fd());
    mount_on(file, Path::new(&source))?;
    Ok(true)
}

/// Makes a namespace and mounts it on a file.
pub(crate) fn pin_new(file: &Path) -> Result<Namespace, PinError> {
    let made = std::thread::scope(|scope| {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|errno| fail("make a network namespace for", file)(errno.into()))
                .and_then(|()| mount_on(file, Path::new("/proc/thread-self/ns/net")))
        };
        // A thread of its own, which ends in the new namespace.
        let thread = std::thread::Builder::new().name("netns".into()).spawn_scoped(scope, make);
        thread.map(|thread| thread.join().unwrap_or_else(|_| Err(fail("mount", file)(io::Error::other("a panic")))))
    });
    made.map_err(fail("start a thread for", file))??;
    Namespace::open(file).map_err(|error| fail("open", file)(io::Error::other(error)))
}

/// Takes the mount and the file away; says whether there was something to do.
pub(crate) fn unpin(file: &Path) -> Result<bool, PinError> {
    match fs::symlink_metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(fail("look at", file)(error)),
        Ok(_) => {}
    }
    // Several may lie on each other, when two agents were started at once.
    while is_mounted(file) {
        umount2(file, MntFlags::MNT_DETACH).map_err(|errno| fail("unmount", file)(errno.into()))?;
    }
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fail("remove", file)(error)),
        _ => Ok(true),
    }
}

/// The names of the files in the directory.
pub(crate) fn names(directory: &Path) -> Result<Vec<String>, PinError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fail("list", directory))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(fail("list", directory))?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}
