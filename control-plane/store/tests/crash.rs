//! kill -9 at random moments: what was acknowledged is there, and nothing is there by half.

use longshore_store::{Batch, EmbeddedStore, Revision, Store};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const CHILD: &str = "LONGSHORE_STORE_TEST_CRASH";
const ROUNDS: u64 = 25;
const RECORDS: u64 = 12;

/// Commits for ever; each batch is one number, in a counter and in some records, and is printed when durable.
async fn write_for_ever(file: &Path) {
    let store = EmbeddedStore::open(file).await.expect("the store opens");
    let mut number = counter(&store).await;
    let mut out = std::io::stdout().lock();
    loop {
        number += 1;
        let mut batch = Batch::new().put("counter", number.to_string());
        for record in 0..RECORDS {
            // Sizes that need more than one page now and then.
            let filler = "x".repeat((number * 37 + record * 101) as usize % 6000);
            batch = batch.put(format!("record/{record}"), format!("{number} {filler}"));
        }
        let revision = store.commit(batch).await.expect("a commit");
        writeln!(out, "acknowledged {number} {revision}").expect("the parent reads");
        out.flush().expect("the parent reads");
    }
}

async fn counter(store: &EmbeddedStore) -> u64 {
    match store.get(b"counter").await.expect("a read") {
        Some(entry) => String::from_utf8_lossy(&entry.value).parse().expect("a number"),
        None => 0,
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_a_kill() {
    if let Ok(file) = std::env::var(CHILD) {
        return write_for_ever(Path::new(&file)).await;
    }
    let seed: u64 = match std::env::var("LONGSHORE_TEST_SEED") {
        Ok(seed) => seed.parse().expect("LONGSHORE_TEST_SEED is a number"),
        Err(_) => std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64),
    };
    println!("LONGSHORE_TEST_SEED={seed}");
    let mut random = seed | 1;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("store.db");
    let mut last = (0_u64, Revision(0));
    for round in 0..ROUNDS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let after = Duration::from_micros(random >> 33 & 0x1_ffff);
        let acknowledged = killed_after(&file, after);
        // While nobody was told, a commit may be there or not; one that somebody was told of must be.
        let store = EmbeddedStore::open(&file).await.unwrap_or_else(|error| panic!("round {round}: {error:?}"));
        let (number, revision) = (counter(&store).await, store.revision().await.expect("a read"));
        let (told, told_revision) = acknowledged.unwrap_or(last);
        assert!(number >= told && revision >= told_revision, "round {round}: {number} {revision} after {told}");
        assert!(number <= told + 1 && number >= last.0 && revision >= last.1, "round {round}: {number} after {told}");
        for record in 0..RECORDS {
            let entry = store.get(format!("record/{record}").as_bytes()).await.expect("a read");
            let Some(entry) = entry else {
                assert_eq!(number, 0, "round {round}: record {record} is gone");
                continue;
            };
            let text = String::from_utf8_lossy(&entry.value).into_owned();
            assert_eq!(text.split(' ').next(), Some(number.to_string().as_str()), "round {round}: half a batch");
            assert_eq!(entry.modified, revision, "round {round}");
        }
        last = (number, revision);
    }
    assert!(last.0 > ROUNDS, "the children hardly wrote: {last:?}");
}

/// Starts a writer, kills it `after` its first acknowledgement, and says what it acknowledged last.
fn killed_after(file: &Path, after: Duration) -> Option<(u64, Revision)> {
    let mut child = Command::new(std::env::current_exe().expect("this file"))
        .args(["--exact", "--nocapture", "nothing_acknowledged_is_lost_by_a_kill"])
        .env(CHILD, file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut acknowledged = None;
    let mut kill_at = None;
    let mut killed = false;
    while let Some(Ok(line)) = lines.next() {
        // The test harness prints lines of its own, and a killed child's last line may be cut.
        let Some((_, rest)) = line.split_once("acknowledged ") else { continue };
        if let Some((number, revision)) = rest.split_once(' ')
            && let (Ok(number), Ok(revision)) = (number.parse(), revision.parse())
        {
            acknowledged = Some((number, Revision(revision)));
        }
        let at = *kill_at.get_or_insert_with(|| std::time::Instant::now() + after);
        if !killed && std::time::Instant::now() >= at {
            child.kill().expect("the child is killed");
            killed = true;
        }
    }
    child.wait().expect("the child ended");
    acknowledged
}
