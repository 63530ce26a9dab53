//! When each image was last used, whether this agent pulled it, and by which names: `images.json` in the data
//! directory.
//!
//! What is lost with the file costs space and a pull: an image that is not in it counts as used when it was first seen,
//! and as somebody else's. A file that cannot be written (a full disk) is written later.

use crate::crash::{self, Place};
use crate::engine::drivers::PulledBy;
use crate::identity::write_private;
use longshore_model::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A later use is worth a write only when it is so much later.
const WORTH_MILLIS: i64 = 5 * 60_000;

/// Names that are kept of one image, which seldom has more than a few.
const MOST_NAMES: usize = 64;

/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Use {
    pub(super) last_used: Timestamp,
    pub(super) pulled_here: bool,
    /// The names by which it was pulled here, with the secret that each was pulled with.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) pulled_by: BTreeSet<PulledBy>,
}

impl Use {
    fn seen(last_used: Timestamp) -> Self {
        Self { last_used, pulled_here: false, pulled_by: BTreeSet::new() }
    }
}

/// The history.
#[derive(Debug)]
pub(super) struct History {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    images: BTreeMap<String, Use>,
    /// As the file has it.
    saved: BTreeMap<String, Use>,
}

impl History {
    /// What the file has; nothing when there is none or it is not readable, which is said.
    pub(super) fn load(data_dir: &Path) -> Self {
        let path = data_dir.join("images.json");
        let read = std::fs::read(&path).and_then(|text| serde_json::from_slice(&text).map_err(io::Error::other));
        let images: BTreeMap<String, Use> = match read {
            Ok(images) => images,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                let path = path.display();
                tracing::error!(%path, %error, "not readable; images count as used now, and not as pulled");
                BTreeMap::new()
            }
        };
        Self { path, state: Mutex::new(State { saved: images.clone(), images }) }
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// This agent pulled it just now.
    pub(super) fn pulled(&self, id: &str, by: PulledBy, now: Timestamp) {
        let mut state = self.lock();
        let entry = state.images.entry(id.to_owned()).or_insert_with(|| Use::seen(now));
        (entry.last_used, entry.pulled_here) = (now, true);
        if entry.pulled_by.len() >= MOST_NAMES && !entry.pulled_by.contains(&by) {
            entry.pulled_by.pop_first();
        }
        entry.pulled_by.insert(by);
    }

    /// Whether some image that is here was pulled so.
    pub(super) fn was_pulled(&self, by: &PulledBy) -> bool {
        self.lock().images.values().any(|image| image.pulled_by.contains(by))
    }

    /// No image has this name any more.
    pub(super) fn lost(&self, reference: &str) {
        let mut state = self.lock();
        state.images.values_mut().for_each(|image| image.pulled_by.retain(|(name, _)| name != reference));
    }

    /// The images that are here, as a listing that began at `now` found them, and those of them that are used.
    pub(super) fn seen<'a>(&self, here: impl Iterator<Item = &'a str>, used: &HashSet<String>, now: Timestamp) {
        let here: HashSet<&str> = here.collect();
        let mut state = self.lock();
        // One that was pulled meanwhile may not be in the listing.
        state.images.retain(|id, entry| here.contains(id.as_str()) || entry.last_used >= now);
        for id in here {
            let entry = state.images.entry(id.to_owned()).or_insert_with(|| Use::seen(now));
            if used.contains(id) {
                entry.last_used = entry.last_used.max(now);
            }
        }
    }

    /// What is known of an image.
    pub(super) fn of(&self, id: &str) -> Option<Use> {
        self.lock().images.get(id).cloned()
    }

    /// How many images there are.
    pub(super) fn len(&self) -> usize {
        self.lock().images.len()
    }

    /// Writes the file if that is worth it. Blocks, for ever if its file system hangs.
    pub(super) fn save(&self) -> io::Result<()> {
        let images = {
            let state = self.lock();
            let late = |a: &Use, b: &Use| {
                a.pulled_here != b.pulled_here
                    || a.pulled_by != b.pulled_by
                    || a.last_used.millis() - b.last_used.millis() >= WORTH_MILLIS
            };
            let same = state.images.len() == state.saved.len()
                && state.images.iter().all(|(id, a)| state.saved.get(id).is_some_and(|b| !late(a, b)));
            if same {
                return Ok(());
            }
            state.images.clone()
        };
        let text = serde_json::to_vec(&images).map_err(io::Error::other)?;
        crash::before(Place::ImagesFile);
        crash::space_for(Place::ImagesFile)?;
        write_private(&self.path, &text)?;
        crash::after(Place::ImagesFile);
        self.lock().saved = images;
        Ok(())
    }

    /// The lock is held for one look-up; a poisoned one holds whole values.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_known_takes_no_others_place() {
        let dir = tempfile::tempdir().expect("a directory");
        let history = History::load(dir.path());
        let by = |n: usize| (format!("app:{n:02}"), None);
        let pull = |n| history.pulled("a", by(n), Timestamp::from_millis(0));
        (0..MOST_NAMES).for_each(pull);
        pull(5);
        assert!((0..MOST_NAMES).all(|n| history.was_pulled(&by(n))));
        pull(MOST_NAMES);
        let known = (0..=MOST_NAMES).filter(|n| history.was_pulled(&by(*n))).count();
        assert!(known == MOST_NAMES && history.was_pulled(&by(MOST_NAMES)), "{known}");
    }

    #[test]
    fn uses_are_remembered_over_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |minute: i64| Timestamp::from_millis(minute * 60_000);
        let history = History::load(dir.path());
        let by = |name: &str| (name.to_owned(), None);
        history.pulled("a", by("app:1"), at(0));
        history.seen(["a", "b"].into_iter(), &HashSet::from(["b".to_owned()]), at(10));
        history.save().expect("saved");
        let again = History::load(dir.path());
        let pulled = Use { pulled_here: true, pulled_by: [by("app:1")].into(), ..Use::seen(at(0)) };
        assert_eq!((again.of("a"), again.of("b")), (Some(pulled), Some(Use::seen(at(10)))));
        assert!(again.was_pulled(&by("app:1")) && !again.was_pulled(&("app:1".to_owned(), Some("secret".to_owned()))));
        // One that is gone is forgotten, one that was pulled since the listing began is not.
        again.pulled("c", by("app:2"), at(20));
        again.seen(["b"].into_iter(), &HashSet::new(), at(20));
        assert_eq!((again.of("a"), again.of("c").map(|u| u.pulled_here), again.len()), (None, Some(true), 2));
        assert!(!again.was_pulled(&by("app:1")) && again.was_pulled(&by("app:2")));
        again.lost("app:2");
        assert!(!again.was_pulled(&by("app:2")));
        // As the agents before wrote it.
        std::fs::write(dir.path().join("images.json"), r#"{"a": {"last_used": 0, "pulled_here": true}}"#)
            .expect("written");
        let pulled = Use { pulled_here: true, ..Use::seen(at(0)) };
        assert_eq!(History::load(dir.path()).of("a"), Some(pulled));
        std::fs::write(dir.path().join("images.json"), "{").expect("written");
        assert_eq!(History::load(dir.path()).len(), 0);
    }
}
