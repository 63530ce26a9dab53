use super::*;
use crate::engine::tests::fixtures::spec;
use longshore_model::Timestamp;
use longshore_plan::Wish;
use std::os::unix::fs::PermissionsExt;

fn changes(generation: u64) -> (TaskId, Changes) {
    let spec = Arc::new(spec(&[("c", &[])]));
    let record = TaskRecord::new(&Outline::of(&spec), Wish::Run, Timestamp::from_millis(7));
    let id = spec.id;
    let changes = Changes {
        generation: Some(Generation(generation)),
        definitions: vec![(id, Definition::Spec(spec))],
        records: vec![record],
        forgotten: Vec::new(),
    };
    (id, changes)
}

fn open(dir: &Path) -> Result<(Ledger, Loaded), OpenError> {
    Ledger::open(dir, None, || Ok(()))
}

/// Dropping the last handle ends the thread a moment later, and only then is the file free.
async fn reopen(dir: &Path) -> (Ledger, Loaded) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        match open(dir) {
            Ok(opened) => return opened,
            Err(OpenError::InUse { .. }) if std::time::Instant::now() < deadline => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn what_was_saved_is_there_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (ledger, loaded) = open(dir.path()).expect("a new ledger");
    assert!(loaded.tasks.is_empty() && loaded.set_aside.is_none());
    let (first, to_save) = changes(3);
    let (second, more) = changes(4);
    let (a, b) = tokio::join!(ledger.save(to_save), ledger.save(more));
    a.and(b).expect("saved");
    ledger.save(Changes { forgotten: vec![second], ..Changes::default() }).await.expect("saved");
    drop(ledger);
    let (_ledger, loaded) = reopen(dir.path()).await;
    assert_eq!(loaded.generation, Generation(4));
    assert_eq!(loaded.tasks.iter().map(|t| t.record.id).collect::<Vec<_>>(), [first]);
    let mode = std::fs::metadata(file::path_in(dir.path())).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_boot_since_the_last_write_is_known() {
    let dir = tempfile::tempdir().expect("a directory");
    let (ledger, loaded) = open(dir.path()).expect("a new ledger");
    assert!(!loaded.rebooted, "nothing was written in another one");
    ledger.save(changes(1).1).await.expect("saved");
    drop(ledger);
    let (ledger, loaded) = reopen(dir.path()).await;
    assert!(!loaded.rebooted);
    drop(ledger);
    while file::write_boot(&file::path_in(dir.path()), [7; 16]).is_err() {
        tokio::task::yield_now().await;
    }
    let (ledger, loaded) = reopen(dir.path()).await;
    assert!(loaded.rebooted);
    ledger.save(changes(2).1).await.expect("saved");
    drop(ledger);
    assert!(!reopen(dir.path()).await.1.rebooted, "it was written since");
}

#[tokio::test]
async fn a_clock_that_was_moved_since_the_last_write_is_known() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = file::path_in(dir.path());
    let (ledger, loaded) = open(dir.path()).expect("a new ledger");
    assert_eq!(loaded.clock_moved, 0, "it never said what time it was");
    ledger.save(changes(1).1).await.expect("saved");
    drop(ledger);
    for ahead in [0, 3_600_000, -3_600_000] {
        while file::write_clock(&path, ahead).is_err() {
            tokio::task::yield_now().await;
        }
        let (ledger, loaded) = reopen(dir.path()).await;
        let off = loaded.clock_moved + ahead;
        assert!(off.abs() < 1000, "{off} ms from what was moved");
        drop(ledger);
    }
    while file::write_boot(&path, [7; 16]).is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(reopen(dir.path()).await.1.clock_moved, 0, "another boot counts from another moment");
}

#[tokio::test]
async fn two_agents_cannot_have_one_ledger() {
    let dir = tempfile::tempdir().expect("a directory");
    let _first = open(dir.path()).expect("a new ledger");
    let error = open(dir.path()).expect_err("it is in use");
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(file::path_in(dir.path()).exists(), "it was not moved away");
}

/// Every way to damage the file ends with a new one and the old one kept.
#[tokio::test]
async fn a_damaged_ledger_is_set_aside() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 4] = [
        ("overwritten", |path| std::fs::write(path, b"this is not a database").expect("written")),
        ("truncated", |path| {
            std::fs::OpenOptions::new().write(true).open(path).and_then(|f| f.set_len(1000)).expect("truncated");
        }),
        ("zeroed", |path| {
            let len = std::fs::metadata(path).expect("there").len();
            std::fs::write(path, vec![0; usize::try_from(len).expect("small")]).expect("written");
        }),
        ("newer", |path| file::write_format(path, 99)),
    ];
    for (name, damage) in cases {
        let dir = tempfile::tempdir().expect("a directory");
        let (ledger, _) = open(dir.path()).expect("a new ledger");
        ledger.save(changes(1).1).await.expect("saved");
        drop(ledger);
        drop(reopen(dir.path()).await);
        let path = file::path_in(dir.path());
        wait_until_free(&path).await;
        damage(&path);
        let (ledger, loaded) = reopen(dir.path()).await;
        let (aside, why) = loaded.set_aside.unwrap_or_else(|| panic!("{name}: not set aside"));
        assert!(aside.exists() && !why.is_empty(), "{name}");
        assert!(loaded.tasks.is_empty() && loaded.generation == Generation(0), "{name}");
        ledger.save(changes(2).1).await.unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

/// Generations are numbers of one control plane: another instance begins with none, and the old file is kept.
#[tokio::test]
async fn the_ledger_of_another_instance_is_set_aside() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = file::path_in(dir.path());
    let (first, second) = (InstanceId::random(), InstanceId::random());
    let left = std::cell::Cell::new(0);
    let open = |instance| {
        Ledger::open(dir.path(), instance, || {
            left.set(left.get() + 1);
            Ok(())
        })
    };
    // A host that has not joined saves no generation, and then belongs to what it becomes.
    let (ledger, _) = open(None).expect("a new ledger");
    ledger.save(Changes { generation: None, ..changes(0).1 }).await.expect("saved");
    ledger.belongs_to(first);
    ledger.save(changes(41).1).await.expect("saved");
    drop(ledger);
    wait_until_free(&path).await;
    let (ledger, loaded) = open(Some(first)).expect("its own");
    assert_eq!((loaded.generation, loaded.tasks.len(), loaded.instance), (Generation(41), 2, Some(first)));
    assert!(loaded.set_aside.is_none() && left.get() == 0);
    drop(ledger);
    wait_until_free(&path).await;
    // Not before everything else of it is gone.
    let failed = Ledger::open(dir.path(), Some(second), || Err(std::io::Error::other("not now")));
    assert!(matches!(failed, Err(OpenError::File { .. })));
    let (ledger, loaded) = open(Some(second)).expect("a new ledger");
    assert_eq!((loaded.generation, loaded.tasks.len(), left.get()), (Generation(0), 0, 1));
    let (aside, why) = loaded.set_aside.expect("set aside");
    let name = aside.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    assert!(aside.exists() && name.starts_with("ledger.former-"), "{name}");
    assert!(why.contains(&first.to_string()), "{why}");
    ledger.save(changes(3).1).await.expect("saved");
    drop(ledger);
    wait_until_free(&path).await;
    // Whoever removes the identity is nobody until the host has joined again.
    let (_ledger, loaded) = open(None).expect("a new ledger");
    assert_eq!((loaded.generation, left.get()), (Generation(0), 2));
}

async fn wait_until_free(path: &Path) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while file::reopen(path).is_err() {
        assert!(std::time::Instant::now() < deadline, "the ledger's thread does not end");
        tokio::task::yield_now().await;
    }
}

/// A disk that fills up: the save fails and says why, what was saved stays, and later saves work again.
#[tokio::test]
async fn a_full_disk_is_survived() {
    let dir = tempfile::tempdir().expect("a directory");
    mount_small(dir.path()).expect("a file system of its own, which takes root");
    let data = dir.path().join("data");
    let (ledger, _) = open(&data).expect("a new ledger");
    ledger.save(changes(1).1).await.expect("there is room");
    let filler = dir.path().join("filler");
    fill(&filler);
    let mut failed = None;
    // Free pages inside the file take some saves.
    for generation in 2..4000 {
        if let Err(error) = ledger.save(changes(generation).1).await {
            failed = Some((generation, error));
            break;
        }
    }
    let (failed_at, error) = failed.expect("the disk is full");
    assert!(error.to_string().contains("ledger.redb"), "{error}");
    std::fs::remove_file(&filler).expect("removed");
    ledger.save(changes(9000).1).await.expect("there is room again");
    drop(ledger);
    let (again, loaded) = reopen(&data).await;
    assert!(loaded.set_aside.is_none(), "{:?}", loaded.set_aside);
    assert_eq!(loaded.generation, Generation(9000));
    assert!(loaded.tasks.len() as u64 >= failed_at - 1, "{} of {failed_at}", loaded.tasks.len());
    drop(again);
    wait_until_free(&file::path_in(&data)).await;
    // Detached, for whoever has the file open lets go of its lock a moment before the file itself.
    nix::mount::umount2(dir.path(), nix::mount::MntFlags::MNT_DETACH).expect("unmounted");
}

/// In a mount namespace of this thread's own (and of the ledger's thread, which it starts): nothing to leave behind.
fn mount_small(at: &Path) -> Result<(), nix::Error> {
    use nix::mount::{MsFlags, mount};
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some("size=6m"))
}

fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).expect("made");
    while file.write_all(&[0; 4096]).is_ok() {}
}

#[tokio::test]
async fn the_reserve_is_there_and_is_made_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("ledger.reserve");
    let mut reserve = Reserve::of(&file::path_in(dir.path()));
    reserve.keep();
    let found = std::fs::metadata(&path).expect("made");
    assert!(found.len() == 2 << 20 && found.permissions().mode() & 0o777 == 0o600);
    assert_eq!(reserve.fault(), None);
    assert!(reserve.release() && !path.exists());
    assert!(reserve.fault().is_some_and(|why| why.contains("no 2 MiB in reserve")));
    assert!(!reserve.release(), "once");
    // One that an earlier process left is taken over.
    std::fs::write(&path, "short").expect("written");
    let mut other = Reserve::of(&file::path_in(dir.path()));
    other.keep();
    assert_eq!(std::fs::metadata(&path).expect("there").len(), 2 << 20);

    let (ledger, _) = open(dir.path()).expect("a new ledger");
    let mut fault = ledger.fault();
    ledger.look_after();
    ledger.save(changes(1).1).await.expect("saved");
    assert_eq!(*fault.borrow_and_update(), None);
}

#[test]
fn a_full_disk_is_told_from_damage() {
    let full = std::io::Error::from_raw_os_error(28);
    let error = file::FileError::Open(redb::DatabaseError::Storage(redb::StorageError::Io(full)));
    assert!(reserve::is_no_space(&error));
    let other = std::io::Error::from_raw_os_error(5);
    let error = file::FileError::Open(redb::DatabaseError::Storage(redb::StorageError::Io(other)));
    assert!(!reserve::is_no_space(&error));
}

/// An older copy is no ledger: what it does not know may have run. It is set aside, as often as somebody puts one
/// there, and so is one from before the ledger that was begun then.
#[tokio::test]
async fn an_older_copy_is_set_aside() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = file::path_in(dir.path());
    let (ledger, _) = open(dir.path()).expect("a new ledger");
    ledger.save(changes(1).1).await.expect("saved");
    drop(ledger);
    wait_until_free(&path).await;
    let copy = dir.path().join("copy");
    std::fs::copy(&path, &copy).expect("copied");
    let (ledger, loaded) = open(dir.path()).expect("its own");
    assert!(loaded.set_aside.is_none(), "nothing was written since");
    ledger.save(changes(2).1).await.expect("saved");
    drop(ledger);
    wait_until_free(&path).await;
    for round in 1..=2 {
        std::fs::copy(&copy, &path).expect("put there");
        let (ledger, loaded) = open(dir.path()).expect("a new ledger");
        let (aside, why) = loaded.set_aside.unwrap_or_else(|| panic!("round {round}: not set aside"));
        let name = aside.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        assert!(name.starts_with("ledger.older-") && why.contains("somebody put a copy here"), "{name}: {why}");
        assert!(loaded.tasks.is_empty() && loaded.generation == Generation(0));
        ledger.save(changes(3).1).await.expect("saved");
        drop(ledger);
        wait_until_free(&path).await;
    }
    // Without the mark (an agent before it wrote none), or with one that is none, every ledger counts.
    for text in [None, Some("")] {
        std::fs::copy(&copy, &path).expect("put there");
        let mark = dir.path().join("ledger.mark");
        std::fs::remove_file(&mark).expect("there");
        if let Some(text) = text {
            std::fs::write(&mark, text).expect("written");
        }
        let (ledger, loaded) = open(dir.path()).expect("the copy");
        assert!(loaded.set_aside.is_none());
        drop(ledger);
        wait_until_free(&path).await;
    }
}

/// Cut at any byte or with any bit turned, the ledger is as it was or is set aside: never another one, and never a
/// panic at every start. The seed is printed; `LONGSHORE_SEED` repeats it.
#[tokio::test]
async fn any_damage_is_noticed() {
    use rand::{Rng, SeedableRng};
    let seed = std::env::var("LONGSHORE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(rand::random::<u64>);
    println!("seed {seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().expect("a directory");
    let path = file::path_in(dir.path());
    let (ledger, _) = open(dir.path()).expect("a new ledger");
    let mut ids = std::collections::BTreeSet::new();
    for generation in 1..=6 {
        let (id, to_save) = changes(generation);
        ids.insert(id);
        ledger.save(to_save).await.expect("saved");
    }
    // As a kill leaves it, and as a good end does.
    let killed = std::fs::read(&path).expect("read");
    drop(ledger);
    wait_until_free(&path).await;
    let ended = std::fs::read(&path).expect("read");
    let mark = std::fs::read(dir.path().join("ledger.mark")).expect("read");
    // The pages of headers and roots, which are few, and all the rest.
    let used = |sound: &[u8]| sound.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut noticed = 0;
    let rounds = 150;
    for round in 0..rounds {
        let sound = if round % 2 == 0 { &killed } else { &ended };
        let mut harmed = sound.clone();
        let at =
            if random.random_bool(0.3) { random.random_range(0..4096) } else { random.random_range(0..used(sound)) };
        let cut = random.random_bool(0.3);
        if cut {
            harmed.truncate(at);
        } else {
            harmed[at] ^= 1 << random.random_range(0..8);
        }
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(file::path_in(dir.path()), &harmed).expect("written");
        std::fs::write(dir.path().join("ledger.mark"), &mark).expect("written");
        let (_ledger, loaded) = reopen(dir.path()).await;
        if loaded.set_aside.is_some() {
            noticed += 1;
            assert!(loaded.tasks.is_empty() && loaded.generation == Generation(0));
        } else {
            let found: std::collections::BTreeSet<TaskId> = loaded.tasks.iter().map(|t| t.record.id).collect();
            assert!(!cut || at >= used(sound), "round {round}: cut at {at} and taken for whole");
            assert_eq!((found, loaded.generation), (ids.clone(), Generation(6)), "round {round}: harmed at {at}");
        }
    }
    assert!(noticed > rounds / 4, "{noticed} of {rounds}");
}
