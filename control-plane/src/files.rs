//! Small files that only root may read: keys, credentials.
//!
//! Owns: writing them whole or not at all, with mode 0600 from their first byte, and refusing to read one that
//! others can. Never: knows what is in them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Why a private file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("could not {verb} `{path}`", path = path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than its owner can read it.
    #[error("`{path}` has mode {mode:03o}, so others can read it; its secrets may be known. Run `chmod 600` on it, \
             and replace what it holds if that matters", path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

fn io_error(verb: &'static str, path: &Path) -> impl Fn(io::Error) -> FileError {
    move |source| FileError::Io { verb, path: path.to_owned(), source }
}

/// Makes a directory of mode 0700, and its parents, unless it is there.
///
/// # Errors
/// When the system refuses.
pub fn make_private_dir(path: &Path) -> Result<(), FileError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error("create the directory", path))
}

/// The text of a private file; `None` when there is none.
///
/// # Errors
/// When it cannot be read, or others can read it.
pub fn read_private(path: &Path) -> Result<Option<String>, FileError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", path)(error)),
    };
    let mode = file.metadata().map_err(io_error("read", path))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FileError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(io_error("read", path))?;
    Ok(Some(text))
}

/// Writes a private file: the old contents or the new ones are there after a crash, never a part.
///
/// # Errors
/// When the system refuses; the old contents stay.
pub fn write_private(path: &Path, contents: &[u8]) -> Result<(), FileError> {
    let temporary = path.with_extension("new");
    let write = || -> io::Result<()> {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        match path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(io_error("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn private_files_are_private_and_round_trip() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("inner").join("key.pem");
        make_private_dir(path.parent().expect("has one")).expect("made");
        assert_eq!(read_private(&path).expect("absent is no error"), None);
        write_private(&path, b"one").expect("written");
        write_private(&path, b"two").expect("replaced");
        assert_eq!(read_private(&path).expect("read"), Some("two".to_owned()));
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().expect("has one")).expect("there").mode() & 0o777, 0o700);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
        assert!(matches!(read_private(&path), Err(FileError::Exposed { mode: 0o644, .. })));
    }
}
