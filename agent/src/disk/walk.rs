//! How much a directory tree takes, counted with a bound.

use std::collections::HashSet;
use std::os::linux::fs::MetadataExt as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Most entries that one count looks at. A task with more files than that is counted short, and not at great length.
const MOST_ENTRIES: usize = 1_000_000;

/// What is counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Root {
    /// Everything below a directory.
    Tree(PathBuf),
    /// Files in a directory whose names begin with a text.
    Files(PathBuf, String),
}

/// Bytes on disk below `roots`. Ends early once they are more than `enough`. What vanishes meanwhile is not counted.
pub(super) fn size<'a>(roots: impl IntoIterator<Item = &'a Root>, enough: u64) -> u64 {
    let mut count = Count { bytes: 0, entries: 0, enough, linked: HashSet::new() };
    for root in roots {
        match root {
            Root::Tree(path) => count.tree(path),
            Root::Files(directory, prefix) => count.files(directory, prefix),
        }
    }
    count.bytes
}

struct Count {
    bytes: u64,
    entries: usize,
    enough: u64,
    /// Files with several names, which are counted once.
    linked: HashSet<(u64, u64)>,
}

impl Count {
    fn is_done(&self) -> bool {
        self.bytes > self.enough || self.entries >= MOST_ENTRIES
    }

    fn add(&mut self, path: &Path) -> Option<std::fs::Metadata> {
        self.entries += 1;
        let found = std::fs::symlink_metadata(path).ok()?;
        if found.is_dir() || found.st_nlink() < 2 || self.linked.insert((found.dev(), found.ino())) {
            self.bytes = self.bytes.saturating_add(found.blocks() * 512);
        }
        Some(found)
    }

    fn tree(&mut self, root: &Path) {
        let Ok(device) = std::fs::symlink_metadata(root).map(|found| found.dev()) else { return };
        let mut directories = vec![root.to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                if self.is_done() {
                    return;
                }
                let path = entry.path();
                if self.add(&path).is_some_and(|found| found.is_dir() && found.dev() == device) {
                    directories.push(path);
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
        let all = size(&tree, u64::MAX);
        assert!((384 << 10..448 << 10).contains(&all), "{all}");
        assert!(size(&tree, 1 << 10) < all);
        let logs = [Root::Files(dir.path().to_owned(), "x-json.log".into()), Root::Tree("/nonexistent".into())];
        assert_eq!(size(&logs, u64::MAX), 128 << 10);
    }
}
