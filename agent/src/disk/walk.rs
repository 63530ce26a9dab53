//! How much a directory tree takes, counted with a bound: no more files are looked at than it would take to be too
//! many.

use std::collections::HashSet;
use std::fs::ReadDir;
use std::os::linux::fs::MetadataExt as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Entries that count as what they take, if that is nothing. Each beyond them counts as a block at least: a file
/// without content has its part of the disk, too, and a million of them is no way around a count of all others.
const FREE_ENTRIES: usize = 1_000_000;
/// What is the least then.
const BLOCK: u64 = 4096;

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
    let mut count = Count { bytes: 0, entries: 0, free: FREE_ENTRIES, enough, linked: HashSet::new(), stop };
    count.all(roots);
    count.bytes
}

struct Count<'a> {
    bytes: u64,
    entries: usize,
    /// See [`FREE_ENTRIES`].
    free: usize,
    enough: u64,
    /// Files with several names, which are counted once.
    linked: HashSet<(u64, u64)>,
    stop: &'a AtomicBool,
}

impl Count<'_> {
    fn all<'a>(&mut self, roots: impl IntoIterator<Item = &'a Root>) {
        for root in roots {
            match root {
                Root::Tree(path) => self.tree(path),
                Root::Files(directory, prefix) => self.files(directory, prefix),
            }
        }
    }

    fn is_done(&self) -> bool {
        self.bytes > self.enough || self.stop.load(Ordering::Relaxed)
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
        let least = if self.entries > self.free { BLOCK } else { 0 };
        self.bytes = self.bytes.saturating_add(counted.max(least));
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
    fn empty_files_beyond_many_count_and_end_the_count() {
        let dir = tempfile::tempdir().expect("a directory");
        (0..50).for_each(|n| std::fs::write(dir.path().join(n.to_string()), "").expect("written"));
        let tree = [Root::Tree(dir.path().to_owned())];
        let count = |free, enough| {
            let mut count = Count { bytes: 0, entries: 0, free, enough, linked: HashSet::new(), stop: &GO_ON };
            count.all(&tree);
            (count.entries, count.bytes)
        };
        assert_eq!(count(50, u64::MAX), (50, 0));
        assert_eq!(count(20, u64::MAX), (50, 30 * BLOCK));
        assert_eq!(count(20, 9 * BLOCK), (30, 10 * BLOCK), "no more are looked at than are too many");
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
