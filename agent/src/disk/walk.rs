//! How much a directory tree takes, counted with a bound: no more files are looked at than it would take to be too
//! many.

use std::collections::HashSet;
use std::fs::ReadDir;
use std::os::linux::fs::MetadataExt as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

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

/// A count of what is below some roots. It may be left, and goes on where it was: what changes meanwhile is counted as
/// it was found, as in any count that takes a while.
pub(super) struct Walk {
    /// What is still to be counted.
    roots: Vec<Root>,
    tree: Option<Tree>,
    bytes: u64,
    entries: usize,
    /// See [`FREE_ENTRIES`].
    free: usize,
    enough: u64,
    /// Files with several names, which are counted once.
    linked: HashSet<(u64, u64)>,
}

/// A tree, as far as it is counted: depth first, so that what is remembered is as much as the tree is deep, however
/// many directories there are.
struct Tree {
    device: u64,
    open: Vec<ReadDir>,
    deep: Vec<PathBuf>,
}

impl Walk {
    /// Below `roots`, until it is more than `enough`.
    pub(super) fn new(roots: impl IntoIterator<Item = Root>, enough: u64) -> Self {
        let roots = roots.into_iter().collect();
        Self { roots, tree: None, bytes: 0, entries: 0, free: FREE_ENTRIES, enough, linked: HashSet::new() }
    }

    /// Bytes on disk that were counted so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Goes on until all or enough is counted, or until then or `stop`. Says whether it is over. What vanishes
    /// meanwhile is not counted.
    pub(super) fn go_on(&mut self, until: Instant, stop: &AtomicBool) -> bool {
        loop {
            if self.bytes > self.enough {
                return true;
            }
            if stop.load(Ordering::Relaxed) {
                return false;
            }
            match self.tree.take() {
                Some(mut tree) => {
                    if self.step(&mut tree) {
                        self.tree = Some(tree);
                    }
                }
                None => match self.roots.pop() {
                    Some(Root::Tree(path)) => {
                        let found = std::fs::symlink_metadata(&path);
                        self.tree =
                            found.ok().map(|found| Tree { device: found.dev(), open: Vec::new(), deep: vec![path] });
                    }
                    Some(Root::Files(directory, prefix)) => self.files(&directory, &prefix),
                    None => return true,
                },
            }
            if Instant::now() >= until {
                return false;
            }
        }
    }

    fn add(&mut self, path: &Path) -> Option<std::fs::Metadata> {
        self.entries += 1;
        let found = std::fs::symlink_metadata(path).ok()?;
        let names = if found.is_dir() { 1 } else { found.st_nlink().max(1) };
        // By how much of its names it counts here.
        let share = match (found.dev(), found.ino()) {
            _ if names == 1 => Some(1),
            // Each name's part, beyond what is remembered.
            file if self.linked.len() >= MOST_LINKED && !self.linked.contains(&file) => Some(names),
            file => self.linked.insert(file).then_some(1),
        };
        let least = if self.entries > self.free { BLOCK } else { 0 };
        let bytes = (found.blocks() * 512).max(least);
        self.bytes = self.bytes.saturating_add(share.map_or(0, |names| bytes / names));
        Some(found)
    }

    /// Counts one entry. Says whether there may be more.
    fn step(&mut self, tree: &mut Tree) -> bool {
        let Some(directory) = tree.open.last_mut() else {
            let Some(next) = tree.deep.pop() else { return false };
            tree.open.extend(std::fs::read_dir(next));
            return true;
        };
        let Some(entry) = directory.next() else {
            tree.open.pop();
            return true;
        };
        let Ok(path) = entry.map(|entry| entry.path()) else { return true };
        if self.add(&path).is_some_and(|found| found.is_dir() && found.dev() == tree.device) {
            if tree.open.len() < MOST_OPEN {
                tree.open.extend(std::fs::read_dir(path));
            } else if tree.deep.len() < MOST_DEEP {
                tree.deep.push(path);
            }
        }
        true
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

    fn later() -> Instant {
        Instant::now() + std::time::Duration::from_secs(3600)
    }

    /// All at once.
    fn size(roots: &[Root], enough: u64, stop: &AtomicBool) -> u64 {
        let mut walk = Walk::new(roots.iter().cloned(), enough);
        let over = walk.go_on(later(), stop);
        assert_ne!(over, stop.load(Ordering::Relaxed));
        walk.bytes()
    }

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
            let mut walk = Walk { free, ..Walk::new(tree.clone(), enough) };
            assert!(walk.go_on(later(), &GO_ON));
            (walk.entries, walk.bytes)
        };
        assert_eq!(count(50, u64::MAX), (50, 0));
        assert_eq!(count(20, u64::MAX), (50, 30 * BLOCK));
        assert_eq!(count(20, 9 * BLOCK), (30, 10 * BLOCK), "no more are looked at than are too many");
        // Further names of a file take nothing.
        (0..50).for_each(|n| {
            std::fs::hard_link(dir.path().join("0"), dir.path().join(format!("same-{n}"))).expect("linked");
        });
        assert_eq!(count(0, u64::MAX), (100, 50 * BLOCK));
    }

    #[test]
    fn a_count_that_was_left_goes_on_where_it_was() {
        let dir = tempfile::tempdir().expect("a directory");
        for side in ["a", "b"] {
            std::fs::create_dir(dir.path().join(side)).expect("made");
            (0..20).for_each(|n| {
                std::fs::write(dir.path().join(side).join(n.to_string()), vec![1; 8 << 10]).expect("written");
            });
        }
        let roots = [Root::Tree(dir.path().join("a")), Root::Tree(dir.path().join("b"))];
        let mut walk = Walk::new(roots.clone(), u64::MAX);
        let mut pieces = 1;
        // As short as can be: each piece gets on all the same.
        while !walk.go_on(Instant::now(), &GO_ON) {
            pieces += 1;
            assert!(pieces < 1000);
        }
        assert!(pieces > 40, "{pieces}");
        assert_eq!(walk.bytes(), size(&roots, u64::MAX, &GO_ON));
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
