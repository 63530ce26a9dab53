//! Whether there is room for another image or container, and what is said when there is none.

use super::claims::Claims;
use super::history::History;
use super::{DiskSettings, MIB, measure};
use crate::aside::{Aside, HeldUp};
use crate::engine::drivers::{Clock, Hold, PulledBy, Room, SystemClock};
use async_trait::async_trait;
use longshore_plan::Failure;
use longshore_plan::disk::Space;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Longest wait for a measurement, which is a system call.
const MEASURE: Duration = Duration::from_secs(2);

/// Longest wait for an attempt to make space.
const ATTEMPT: Duration = Duration::from_secs(60);

/// Attempts to make space: how many were asked for, and the last that is over with what came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) number: u64,
    /// Whether space was made, or some will be without anybody's doing.
    pub(super) hopeful: bool,
}

/// The host's room. One for the whole agent.
#[derive(Debug)]
pub struct Rooms {
    pub(super) settings: DiskSettings,
    pub(super) claims: Claims,
    pub(super) history: Arc<History>,
    pub(super) asked: watch::Sender<u64>,
    pub(super) over: watch::Sender<Attempt>,
    /// Docker's data directory, once it is known.
    root: OnceLock<PathBuf>,
    /// Who has most of the disk, for people, as of the last attempt.
    holders: Mutex<String>,
    aside: Aside,
}

impl Rooms {
    /// With what `data_dir` has of the history of images. Until [`super::DiskKeeper`] runs there is always room.
    #[must_use]
    pub fn new(settings: DiskSettings, data_dir: &Path) -> Self {
        Self {
            settings,
            claims: Claims::default(),
            history: Arc::new(History::load(data_dir)),
            asked: watch::Sender::new(0),
            over: watch::Sender::default(),
            root: OnceLock::new(),
            holders: Mutex::default(),
            aside: Aside::default(),
        }
    }

    pub(super) fn learn_root(&self, root: PathBuf) {
        let _ = self.root.set(root);
    }

    pub(super) fn learn_holders(&self, holders: String) {
        *self.holders() = holders;
    }

    /// Held for one look-up and never across an await; a poisoned one holds a whole text.
    fn holders(&self) -> MutexGuard<'_, String> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory that is looked at and how full its file system is now; nothing while that is not known, as when
    /// it does not answer.
    pub(super) async fn space(&self) -> Option<(&Path, Space)> {
        let root = self.root.get()?;
        let place = root.clone();
        let measured = self.aside.run(root, MEASURE, move || measure(&place)).await.ok()?;
        Some((root, measured.ok()?))
    }

    /// Writes the history, if that is worth it and takes no longer than `limit`. In a place of its own: a look at the
    /// directory need not wait until a disk has taken it.
    pub(super) async fn save_history(&self, limit: Duration) -> Result<io::Result<()>, HeldUp> {
        let history = self.history.clone();
        self.aside.run(self.history.path(), limit, move || history.save()).await
    }

    /// Where looks at a file system wait for it.
    pub(crate) fn aside(&self) -> &Aside {
        &self.aside
    }

    /// The engine's data directory; nothing while it is not known.
    pub(crate) fn root(&self) -> Option<&Path> {
        self.root.get().map(PathBuf::as_path)
    }

    /// Why nothing is put on the engine's disk now; nothing while there is room, or that is not known.
    pub(crate) async fn short(&self) -> Option<String> {
        let (root, space) = self.space().await?;
        self.short_of(root, space)
    }

    /// The same, of what was measured.
    pub(super) fn short_of(&self, root: &Path, space: Space) -> Option<String> {
        let refuse = self.settings.marks.refuse_above;
        space.is_above(refuse).then(|| {
            format!(
                "the disk that holds {} is more than {refuse} % full (disk_refuse_above of its agent's configuration)",
                root.display()
            )
        })
    }

    /// Has space made, and waits for the end of one attempt that began after this. Says whether it is worth waiting.
    async fn make_space(&self) -> bool {
        let mut over = self.over.subscribe();
        let mut number = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            number = *asked;
        });
        let attempt = over.wait_for(|attempt| attempt.number >= number);
        match tokio::time::timeout(ATTEMPT, attempt).await {
            Ok(Ok(attempt)) => attempt.hopeful,
            // The engine that is asked to remove images is slow, or the agent is ending.
            Ok(Err(_)) | Err(_) => true,
        }
    }

    async fn refused(&self) -> Option<String> {
        let (root, space) = self.space().await?;
        let marks = self.settings.marks;
        if !space.is_above(marks.refuse_above) {
            return None;
        }
        let keep = space.total / 100 * (100 - u64::from(marks.refuse_above));
        Some(format!(
            "no space left on the disk of this host: the file system of {} has {} of {} MiB free, and at least {} MiB \
             must be free before anything is put there (disk_refuse_above = {}); {WHAT_TO_DO}{}",
            root.display(),
            space.free / MIB,
            space.total / MIB,
            keep / MIB,
            marks.refuse_above,
            self.holders(),
        ))
    }
}

const WHAT_TO_DO: &str = "free some (docker system df shows what takes it), make the disk larger, or let the agent \
                          remove images that it did not pull (image_cleanup_untracked)";

fn failure(text: String, hopeful: bool) -> Failure {
    if hopeful { Failure::NoSpace(text) } else { Failure::Lasting(text) }
}

#[async_trait]
impl Room for Rooms {
    async fn hold(&self, reference: &str) -> Hold {
        Box::new(self.claims.hold(reference).await)
    }

    async fn admit(&self) -> Result<(), Failure> {
        if self.refused().await.is_none() {
            return Ok(());
        }
        let hopeful = self.make_space().await;
        match self.refused().await {
            None => Ok(()),
            Some(why) => Err(failure(why, hopeful)),
        }
    }

    async fn exhausted(&self, text: String) -> Failure {
        let hopeful = self.make_space().await;
        let now = self.space().await.map(|(root, space)| {
            format!(
                "; the file system of {} has {} of {} MiB free",
                root.display(),
                space.free / MIB,
                space.total / MIB
            )
        });
        failure(format!("{text}{}; {WHAT_TO_DO}{}", now.unwrap_or_default(), self.holders()), hopeful)
    }

    fn pulled(&self, id: &str, by: PulledBy) {
        self.history.pulled(id, by, SystemClock.now());
    }

    fn was_pulled(&self, by: &PulledBy) -> bool {
        self.history.was_pulled(by)
    }

    fn lost(&self, reference: &str) {
        self.history.lost(reference);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aside::tests::Hanging;
    use longshore_plan::disk::{ImageRule, Marks};

    #[tokio::test]
    async fn a_disk_that_hangs_is_not_known_and_holds_nobody_up() {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = DiskSettings {
            marks: Marks { clean_above: 100, clean_until: 100, refuse_above: 100 },
            images: ImageRule { min_age: Duration::ZERO, untracked: false },
            wait: Duration::ZERO,
        };
        let rooms = Rooms::new(settings, dir.path());
        rooms.learn_root(dir.path().to_owned());
        assert!(rooms.space().await.is_some());
        let hanging = Hanging::new(dir.path());
        hanging.hold(&rooms.aside, dir.path()).await;
        for _ in 0..2 {
            assert_eq!((rooms.space().await, rooms.admit().await), (None, Ok(())));
        }
        hanging.answer(&rooms.aside, dir.path()).await;
        assert!(rooms.space().await.is_some());

        let hanging = Hanging::new(dir.path());
        let file = rooms.history.path().to_owned();
        hanging.hold(&rooms.aside, &file).await;
        assert!(rooms.save_history(Duration::from_millis(1)).await.is_err());
        assert!(rooms.space().await.is_some(), "another place");
        hanging.answer(&rooms.aside, &file).await;
        rooms.save_history(MEASURE).await.expect("it answers").expect("written");
    }
}
