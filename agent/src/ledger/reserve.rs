//! Space that is kept for the ledger, for a disk that gets full: a file beside it that holds nothing. It is given back
//! to the file system when a write finds no space, so that the write can be made after all, and made again once there
//! is space for it.

use crate::crash::{self, Place};
use nix::errno::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How much. The ledger of a host with a hundred tasks has about as much, and a write changes a small part of it.
const BYTES: i64 = 2 << 20;

/// Between two attempts to make it again.
const AGAIN: Duration = Duration::from_secs(3);

/// The reserve.
pub(super) struct Reserve {
    path: PathBuf,
    /// When it may be made, while it is not there.
    missing: Option<Instant>,
    /// Whether it is missing for want of space.
    full: bool,
    /// What else was last said to be wrong with it.
    said: Option<String>,
}

impl Reserve {
    /// That of the ledger at `ledger`. It is there once [`Reserve::keep`] has made it, or from an earlier process.
    pub(super) fn of(ledger: &Path) -> Self {
        Self { path: ledger.with_extension("reserve"), missing: Some(Instant::now()), full: false, said: None }
    }

    /// Makes it, if it is not there and the last attempt is a while ago.
    pub(super) fn keep(&mut self) {
        if self.missing.is_none_or(|at| Instant::now() < at) {
            return;
        }
        match self.make() {
            Ok(()) => (self.missing, self.full, self.said) = (None, false, None),
            Err(error) => {
                // Half of it would only take from who needs the space.
                let _ = std::fs::remove_file(&self.path);
                self.full = is_no_space(&error);
                let why = error.to_string();
                if !self.full && self.said.as_ref() != Some(&why) {
                    let path = self.path.display();
                    tracing::warn!(%path, why,
                        "no space can be kept for the ledger; on a full disk it cannot be written");
                    self.said = Some(why);
                }
                self.missing = Some(Instant::now() + AGAIN);
            }
        }
    }

    /// Why there is none, for people; nothing while there is one.
    pub(super) fn fault(&self) -> Option<String> {
        let dir = self.path.parent().unwrap_or(&self.path).display();
        self.full.then(|| format!("the disk of {dir} has no {} MiB in reserve for the ledger", BYTES >> 20))
    }

    fn make(&self) -> io::Result<()> {
        crash::before(Place::LedgerReserve);
        crash::space_for(Place::LedgerReserve)?;
        let file: File = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
        match nix::fcntl::posix_fallocate(&file, 0, BYTES) {
            // A file system that cannot set space aside has it set aside by what is written.
            Err(Errno::EOPNOTSUPP) => file.write_all_at(&vec![0; usize::try_from(BYTES).unwrap_or(0)], 0)?,
            kept => kept?,
        }
        file.sync_all()?;
        crash::after(Place::LedgerReserve);
        Ok(())
    }

    /// Gives it back; says whether there was any.
    pub(super) fn release(&mut self) -> bool {
        (self.missing, self.full) = (Some(Instant::now() + AGAIN), true);
        crash::before(Place::LedgerReserveReleased);
        let released = std::fs::remove_file(&self.path).is_ok();
        crash::after(Place::LedgerReserveReleased);
        if released {
            tracing::warn!(path = %self.path.display(), "no space for the ledger; its reserve is given to it");
        }
        released
    }
}

/// Whether an error, or a cause of it, is that there is no space.
pub(super) fn is_no_space(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // An error of redb shows its cause in its text alone.
        let text = error.to_string();
        if text.contains("No space left on device") || text.contains("Disk quota exceeded") {
            return true;
        }
        next = error.source();
    }
    false
}
