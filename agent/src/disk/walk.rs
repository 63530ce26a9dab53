//! How much a directory tree takes, counted with a bound.

use std::collections::HashSet;
use std::fs::ReadDir;
use std::os::linux::fs::MetadataExt as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Most entries that one count looks at. A task with more files than that is counted short, and not at great length.
const MOST_ENTRIES: usize = 1_000_000;

/// Directories that are open at once, each in the one before.
const MOST_OPEN: usize = 64;
/// Directories below that which are left for later. What is in others of them is not counted.
const MOST_DEEP: usize = 1024;
/// Files with several names that are remembered.
const MOST_LINKED: usize = 100_000;

/// What is counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Root {
    /// Everything below a directory.
    Tree(PathBuf),
    /// Files in a directory whose names begin with a text.
    Files(PathBuf, String),
}

/// Bytes on disk below `roots`. Ends early once they are more than `enough`, or at `stop`. What vanishes meanwhile is
/// not counted.
pub(super) fn size<'a>(roots: impl IntoIterator<Item = &'a Root>, enough: u64, stop: &AtomicBool) -> u64 {
    let mut count = Count { bytes: 0, entries: 0, enough, linked: HashSet::new(), stop };
    for root in roots {
        match root {
            Root::Tree(path) => count.tree(path),
            Root::Files(directory, prefix) => count.files(directory, prefix),
        }
    }
    count.bytes
}

struct Count<'a> {
    bytes: u64,
    entries: usize,
    enough: u64,
    /// Files with several names, which are counted once.
    linked: HashSet<(u64, u64)>,
    stop: &'a AtomicBool,
}

impl Count<'_> {
    fn is_done(&self) -> bool {
        self.bytes > self.enough || self.entries >= MOST_ENTRIES || self.stop.load(Ordering::Relaxed)
    }

    fn add(&mut self, path: &Path) -> Option<std::fs::Metadata> {
        self.entries += 1;
        let found = std::fs::symlink_metadata(path).ok()?;
        let bytes = found.blocks() * 512;
        let names = if found.is_dir() { 1 } else { found.st_nlink().max(1) };
        let counted = match (found.dev(), found.ino()) {
            _ if names == 1 => bytes,
            // Each name's part, beyond what is remembered.
            file if self.linked.len() >= MOST_LINKED && !self.linked.contains(&file) => bytes / names,
            file if self.linked.insert(file) => bytes,
            _ => 0,
        };
        self.bytes = self.bytes.saturating_add(counted);
        Some(found)
    }

    /// Depth first, so that what is remembered is as much as the tree is deep, however many directories there are.
    fn tree(&mut self, root: &Path) {
        let Ok(device) = std::fs::symlink_metadata(root).map(|found| found.dev()) else { return };
        let mut deep = vec![root.to_owned()];
        let mut open: Vec<ReadDir> = Vec::new();
        while !self.is_done() {
            let Some(directory) = open.last_mut() else {
                match deep.pop() {
                    Some(next) => open.extend(std::fs::read_dir(next)),
                    None => return,
                }
                continue;
            };
            let Some(entry) = directory.next() else {
                open.pop();
                continue;
            };
            let Ok(path) = entry.map(|entry| entry.path()) else { continue };
            if self.add(&path).is_some_and(|found| found.is_dir() && found.dev() == device) {
                if open.len() < MOST_OPEN {
                    open.extend(std::fs::read_dir(path));
                } else if deep.len() < MOST_DEEP {
                    deep.push(path);
                }
            }
        }
    }

    fn files(&mut self, directory: &Path, prefix: &str) {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                self.add(&entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static GO_ON: AtomicBool = AtomicBool::new(false);

    #[test]
    fn files_are_counted_once_and_only_until_enough() {
        let dir = tempfile::tempdir().expect("a directory");
        let below = dir.path().join("a/b");
        std::fs::create_dir_all(&below).expect("made");
        let file = |path: PathBuf, kib: usize| std::fs::write(path, vec![1; kib << 10]).expect("written");
        file(below.join("one"), 256);
        std::fs::hard_link(below.join("one"), dir.path().join("same")).expect("linked");
        std::os::unix::fs::symlink("/", below.join("away")).expect("linked");
        file(dir.path().join("x-json.log"), 64);
        file(dir.path().join("x-json.log.1"), 64);
        let tree = [Root::Tree(dir.path().to_owned())];
        let all = size(&tree, u64::MAX, &GO_ON);
        assert!((384 << 10..448 << 10).contains(&all), "{all}");
        assert!(size(&tree, 1 << 10, &GO_ON) < all);
        assert_eq!(size(&tree, u64::MAX, &AtomicBool::new(true)), 0, "told to stop");
        let logs = [Root::Files(dir.path().to_owned(), "x-json.log".into()), Root::Tree("/nonexistent".into())];
        assert_eq!(size(&logs, u64::MAX, &GO_ON), 128 << 10);
    }
    #[test]
    fn deep_trees_are_counted_to_their_ends() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut deepest = dir.path().to_owned();
        (0..MOST_OPEN * 2 + 10).for_each(|_| deepest.push("d"));
        for side in ["a", "b", "c"] {
            std::fs::create_dir_all(deepest.join(side)).expect("made");
            std::fs::write(deepest.join(side).join("file"), vec![1; 256 << 10]).expect("written");
        }
        let all = size(&[Root::Tree(dir.path().to_owned())], u64::MAX, &GO_ON);
        assert!((768 << 10..2 << 20).contains(&all), "{all}");
    }
}
