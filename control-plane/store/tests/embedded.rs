//! The embedded store's file: modes, locks, formats, damage, a full disk, and a model to compare with.

use longshore_store::{Batch, Bytes, CommitError, EmbeddedStore, Expect, KeyRange, OpenError, Revision, Store, Write};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("data/store.db");
    (directory, file)
}

async fn open(file: &Path) -> EmbeddedStore {
    EmbeddedStore::open(file).await.expect("the store opens")
}

async fn refused(file: &Path) -> OpenError {
    match EmbeddedStore::open(file).await {
        Ok(_) => panic!("{} opened", file.display()),
        Err(error) => error,
    }
}

async fn filled(file: &Path) {
    let store = open(file).await;
    for n in 0..50 {
        store.commit(Batch::new().put(format!("key-{n}"), vec![n; 3000])).await.expect("a commit");
    }
    store.close().await;
}

#[tokio::test]
async fn only_the_owner_may_read_its_files() {
    let (_directory, file) = place();
    let store = open(&file).await;
    store.commit(Batch::new().put("a", "1")).await.expect("a commit");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(file.parent().expect("a parent")).expect("the directory") {
        let entry = entry.expect("an entry");
        assert_eq!(entry.metadata().expect("metadata").permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(names, ["store.db", "store.db-shm", "store.db-wal", "store.db.lock"]);
}

#[tokio::test]
async fn a_second_opener_is_told_who_has_it() {
    let (_directory, file) = place();
    let store = open(&file).await;
    store.commit(Batch::new().put("a", "1")).await.expect("a commit");
    let error = refused(&file).await;
    assert!(matches!(error, OpenError::InUse { .. }));
    let text = error.to_string();
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    assert!(text.contains("store.db.lock"), "{text}");
    // The refused attempt did not take anything from the one that has it.
    store.commit(Batch::new().put("b", "1")).await.expect("a commit");
    drop(store);
    assert_eq!(open(&file).await.revision().await.expect("a read"), Revision(2));
}

#[tokio::test]
async fn what_was_closed_is_one_file_and_opens_again() {
    let (_directory, file) = place();
    filled(&file).await;
    assert!(!file.with_file_name("store.db-wal").exists());
    let store = open(&file).await;
    assert_eq!(store.revision().await.expect("a read"), Revision(50));
    assert_eq!(store.get(b"key-7").await.expect("a read").expect("the key").value, vec![7; 3000]);
    assert_eq!(store.commit(Batch::new().put("a", "1")).await.expect("a commit"), Revision(51));
    store.close().await;
    assert!(matches!(store.commit(Batch::new().put("a", "2")).await, Err(CommitError::Fenced { .. })));
    assert!(store.snapshot().await.is_err());
}

#[tokio::test]
async fn a_newer_format_and_other_databases_are_refused_and_left_alone() {
    let (_directory, file) = place();
    filled(&file).await;
    let change = |sql: &str| {
        let database = rusqlite::Connection::open(&file).expect("a database");
        database.execute_batch(sql).expect("a change");
        database.close().expect("closes");
        std::fs::read(&file).expect("the file")
    };
    let before = change("PRAGMA user_version = 2");
    let error = refused(&file).await;
    assert!(matches!(error, OpenError::NewerFormat { found: 2, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("newer version"), "{error}");
    assert_eq!(std::fs::read(&file).expect("the file"), before);

    let before = change("PRAGMA user_version = 1; PRAGMA application_id = 0");
    let error = refused(&file).await;
    assert!(matches!(error, OpenError::NotAStore { .. }), "{error}");
    assert_eq!(std::fs::read(&file).expect("the file"), before);
}

#[tokio::test]
async fn a_damaged_file_is_an_error_and_stays() {
    let (_directory, file) = place();
    filled(&file).await;
    let whole = std::fs::read(&file).expect("the file");
    let check = |name: &'static str, bytes: Vec<u8>| {
        let file = file.clone();
        async move {
            std::fs::write(&file, &bytes).expect("writes");
            let error = refused(&file).await;
            assert!(matches!(error, OpenError::Damaged { .. } | OpenError::NotAStore { .. }), "{name}: {error:?}");
            assert!(error.to_string().contains("store.db"), "{name}: {error}");
            assert_eq!(std::fs::read(&file).expect("the file"), bytes, "{name}: the file was changed");
        }
    };
    check("empty", Vec::new()).await;
    check("no database", b"something else entirely, and long enough to have a header of its own".repeat(9)).await;
    check("cut", whole[..whole.len() / 2].to_vec()).await;
    let mut torn = whole.clone();
    torn[4096..8192].fill(0x5a);
    check("torn page", torn).await;
    let mut tail = whole.clone();
    let last = tail.len() - 4096;
    tail[last..].fill(0xff);
    check("torn last page", tail).await;

    std::fs::write(&file, &whole).expect("writes");
    assert_eq!(open(&file).await.revision().await.expect("a read"), Revision(50));
}

#[tokio::test]
async fn a_lost_file_with_its_log_still_there_is_not_replaced() {
    let (_directory, file) = place();
    filled(&file).await;
    std::fs::remove_file(&file).expect("removes");
    std::fs::write(file.with_file_name("store.db-wal"), b"x").expect("writes");
    let error = refused(&file).await;
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(!file.exists());
}

#[tokio::test]
async fn a_creation_that_was_cut_off_is_made_again() {
    let (_directory, file) = place();
    std::fs::create_dir_all(file.parent().expect("a parent")).expect("a directory");
    std::fs::write(file.with_file_name("store.db.new"), b"half of a sto").expect("writes");
    assert_eq!(open(&file).await.revision().await.expect("a read"), Revision(0));
    assert!(!file.with_file_name("store.db.new").exists());
}

const FULL: &str = "LONGSHORE_STORE_TEST_FULL";

/// On a file system of its own, in a mount namespace of its own: a test in a child process.
#[test]
fn a_full_disk_is_said_and_writing_goes_on_when_there_is_space() {
    if let Ok(directory) = std::env::var(FULL) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        return runtime.block_on(full_disk(Path::new(&directory)));
    }
    let directory = tempfile::tempdir().expect("a directory");
    let script = format!(
        "mount -t tmpfs -o size=6m tmpfs '{at}' && exec '{this}' --exact --nocapture \
         a_full_disk_is_said_and_writing_goes_on_when_there_is_space",
        at = directory.path().display(),
        this = std::env::current_exe().expect("this file").display()
    );
    let allowed =
        Command::new("unshare").args(["--mount", "true"]).output().is_ok_and(|output| output.status.success());
    assert!(allowed, "there is no mount namespace of one's own here, which takes root");
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .env(FULL, directory.path())
        .output()
        .expect("the child runs");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

async fn full_disk(directory: &Path) {
    let file = directory.join("store.db");
    let ballast = directory.join("ballast");
    std::fs::write(&ballast, vec![1; 2 << 20]).expect("writes");
    let store = open(&file).await;
    let mut kept = 0_u64;
    let mut full = 0;
    // More than once: the first refusals may leave a little space.
    while full < 5 {
        match store.commit(Batch::new().put(format!("{kept:08}"), vec![3; 4000])).await {
            Ok(revision) => {
                kept += 1;
                assert_eq!(revision, Revision(kept));
            }
            Err(error @ CommitError::Full { .. }) => {
                assert!(error.is_certain() && error.to_string().contains("no space"), "{error}");
                full += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(kept > 100, "{kept}");
    assert_eq!(store.revision().await.expect("a read"), Revision(kept));
    std::fs::remove_file(&ballast).expect("removes");
    assert_eq!(store.commit(Batch::new().put("more", "1")).await.expect("a commit"), Revision(kept + 1));
    drop(store);
    let store = open(&file).await;
    assert_eq!(store.revision().await.expect("a read"), Revision(kept + 1));
    for n in 0..kept {
        assert!(store.get(format!("{n:08}").as_bytes()).await.expect("a read").is_some(), "{n}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Commit { guards: Vec<(u8, Guard)>, writes: Vec<(u8, Option<Vec<u8>>)> },
    Reopen,
    Snapshot,
}

#[derive(Debug, Clone, Copy)]
enum Guard {
    Absent,
    Present,
    /// The key's version, if it has one.
    Current,
    Other,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let guard = prop_oneof![Just(Guard::Absent), Just(Guard::Present), Just(Guard::Current), Just(Guard::Other)];
    let value = proptest::option::weighted(0.7, proptest::collection::vec(any::<u8>(), 0..40));
    let commit = (proptest::collection::vec((0..6_u8, guard), 0..2), proptest::collection::vec((0..6_u8, value), 0..5))
        .prop_map(|(guards, writes)| Step::Commit { guards, writes });
    proptest::collection::vec(prop_oneof![20 => commit, 1 => Just(Step::Reopen), 3 => Just(Step::Snapshot)], 1..60)
}

type Model = BTreeMap<Bytes, (Revision, Bytes)>;

async fn read_all(store: &dyn Store) -> (Revision, Model) {
    let snapshot = store.snapshot().await.expect("a snapshot");
    let page = snapshot.range(KeyRange::all(), 100).await.expect("a page");
    (snapshot.revision(), page.entries.into_iter().map(|entry| (entry.key, (entry.modified, entry.value))).collect())
}

async fn compare(steps: Vec<Step>) {
    let (_directory, file) = place();
    let mut store = open(&file).await;
    let mut model = Model::new();
    let mut revision = Revision(0);
    let mut watch = store.watch(Bytes::new(), revision).await.expect("a watch");
    let mut snapshots = Vec::new();
    for step in steps {
        match step {
            Step::Commit { guards, writes } => {
                let mut batch = Batch::new();
                for (key, guard) in guards {
                    let key = Bytes::from(vec![b'k', key]);
                    let actual = model.get(&key).map(|(modified, _)| *modified);
                    batch.guard(
                        key,
                        match guard {
                            Guard::Absent => Expect::Absent,
                            Guard::Present => Expect::Present,
                            Guard::Current => actual.map_or(Expect::Absent, Expect::Version),
                            Guard::Other => Expect::Version(Revision(actual.map_or(1, |actual| actual.0 + 1))),
                        },
                    );
                }
                for (key, value) in writes {
                    let write = value.map_or(Write::Delete, |value| Write::Put(value.into()));
                    batch.write(vec![b'k', key], write);
                }
                let failed = batch
                    .guards()
                    .find(|(key, expect)| !expect.holds(model.get(*key).map(|(modified, _)| *modified)))
                    .map(|(key, _)| key.clone());
                let changes: Vec<_> = batch
                    .writes()
                    .filter(|(key, write)| **write != Write::Delete || model.contains_key(*key))
                    .map(|(key, write)| (key.clone(), write.clone()))
                    .collect();
                match (store.commit(batch).await, failed) {
                    (Err(CommitError::Guard { key, .. }), Some(failed)) => assert_eq!(key, failed),
                    (Ok(answer), None) => {
                        if !changes.is_empty() {
                            revision = Revision(revision.0 + 1);
                            let seen = watch.next().await.expect("changes");
                            assert_eq!(seen.revision, revision);
                            let seen: Vec<_> =
                                seen.changes.into_iter().map(|change| (change.key, change.write)).collect();
                            assert_eq!(seen, changes);
                        }
                        assert_eq!(answer, revision);
                        for (key, write) in changes {
                            match write {
                                Write::Put(value) => model.insert(key, (revision, value)),
                                Write::Delete => model.remove(&key),
                            };
                        }
                    }
                    (answer, failed) => panic!("{answer:?}, expected a failed guard: {failed:?}"),
                }
            }
            Step::Reopen => {
                drop(std::mem::take(&mut snapshots));
                drop(store);
                store = open(&file).await;
                watch = store.watch(Bytes::new(), revision).await.expect("a watch");
            }
            Step::Snapshot => snapshots.push((store.snapshot().await.expect("a snapshot"), revision, model.clone())),
        }
        assert_eq!(read_all(&store).await, (revision, model.clone()));
    }
    for (snapshot, revision, model) in snapshots {
        assert_eq!(snapshot.revision(), revision);
        let page = snapshot.range(KeyRange::all(), 100).await.expect("a page");
        let seen: Model = page.entries.into_iter().map(|entry| (entry.key, (entry.modified, entry.value))).collect();
        assert_eq!(seen, model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn it_does_what_a_map_does(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(compare(steps));
    }
}
