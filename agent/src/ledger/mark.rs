//! How often the ledger was written, beside the ledger: so a copy that somebody put in its place is known to be older.
//!
//! The ledger counts its transactions in itself. The count is written here after each of them, so what is here is never
//! ahead of the ledger that it belongs to, and need not reach the disk at once: behind is what it may be.

use crate::crash::{self, Place};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// As many digits as the largest count has, and a line's end: every count is written over the last one as a whole.
const LENGTH: usize = 21;

/// The file `ledger.mark`.
#[derive(Debug)]
pub(super) struct Mark {
    path: PathBuf,
    count: u64,
    file: io::Result<File>,
    /// Whether it was said that it cannot be written.
    said: bool,
}

impl Mark {
    /// The one beside `ledger`. What is not there or is no count is 0: then every ledger counts.
    pub(super) fn open(ledger: &Path) -> Self {
        let path = ledger.with_extension("mark");
        let read = std::fs::read_to_string(&path);
        let count = read.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let file = open(&path);
        Self { path, count, file, said: false }
    }

    /// How often the ledger was written, at least.
    pub(super) fn get(&self) -> u64 {
        self.count
    }

    /// It was written so often. Without this note an older copy is not known for one; that is said once.
    pub(super) fn set(&mut self, count: u64) {
        crash::before(Place::LedgerMark);
        self.count = count;
        let text = format!("{count:0width$}\n", width = LENGTH - 1);
        if self.file.is_err() {
            // The disk was full then, maybe.
            self.file = open(&self.path);
        }
        let written = match &self.file {
            Ok(file) => crash::space_for(Place::LedgerMark).and_then(|()| file.write_all_at(text.as_bytes(), 0)),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        match written {
            Ok(()) => self.said = false,
            Err(error) if !std::mem::replace(&mut self.said, true) => {
                let path = self.path.display();
                tracing::warn!(%path, %error, "not writable; an older copy of the ledger would not be known for one");
            }
            Err(_) => {}
        }
        crash::after(Place::LedgerMark);
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_that_could_not_be_opened_is_opened_once_it_can_be() {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = dir.path().join("ledger.redb");
        std::fs::create_dir(dir.path().join("ledger.mark")).expect("something in the way");
        let mut mark = Mark::open(&ledger);
        mark.set(7);
        std::fs::remove_dir(dir.path().join("ledger.mark")).expect("removed");
        mark.set(8);
        assert_eq!(Mark::open(&ledger).get(), 8);
    }
}
