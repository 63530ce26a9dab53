//! What the embedded store does through its own interface, thread and queue included:
//! `cargo run --release -p longshore-store --example throughput DIRECTORY`, on the disk of DIRECTORY.

use longshore_store::{Batch, EmbeddedStore, Expect, KeyRange, Revision, Store, Write};
use std::time::{Duration, Instant};

const RECORDS: u64 = 100_000;
const PAGE: usize = 1000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).ok_or("usage: throughput DIRECTORY")?;
    let directory = tempfile::tempdir_in(directory)?;
    let file = directory.path().join("store.db");
    let store = EmbeddedStore::open(&file).await?;
    let mut random = Random(1);
    for first in (0..RECORDS).step_by(PAGE) {
        let mut batch = Batch::new();
        (first..first + PAGE as u64).for_each(|n| batch.write(key(n), Write::Put(random.value().into())));
        store.commit(batch).await?;
    }
    std::process::Command::new("sync").status()?;

    for puts in [1, 10, 50] {
        let mut times = Vec::new();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(3) {
            // Guarded as the owner task's batches are.
            let mut batch = Batch::new().expect(key(0), Expect::Present);
            (0..puts).for_each(|_| batch.write(key(random.next() % RECORDS), Write::Put(random.value().into())));
            let started = Instant::now();
            store.commit(batch).await?;
            times.push(started.elapsed());
        }
        let rate = times.len() as f64 / begun.elapsed().as_secs_f64() * f64::from(puts);
        times.sort();
        let at = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1000.0;
        println!("{puts:>2} puts a commit: {rate:>6.0} puts/s  p50 {:.2} ms  p99 {:.2} ms", at(50), at(99));
    }
    let revision = store.revision().await?;
    store.close().await;
    drop(store);

    let begun = Instant::now();
    let store = EmbeddedStore::open(&file).await?;
    println!("open, with the check of the whole file: {:.0} ms", begun.elapsed().as_secs_f64() * 1000.0);
    let begun = Instant::now();
    let (records, bytes, newest) = load(&store).await?;
    println!("load {records} records, {} MiB: {:.0} ms", bytes >> 20, begun.elapsed().as_secs_f64() * 1000.0);
    if (records, newest) != (RECORDS, revision) {
        return Err(format!("expected {RECORDS} records up to {revision}, found {records} up to {newest}").into());
    }
    Ok(())
}

async fn load(store: &EmbeddedStore) -> Result<(u64, usize, Revision), Box<dyn std::error::Error>> {
    let snapshot = store.snapshot().await?;
    let (mut records, mut bytes, mut rest) = (0, 0, Some(KeyRange::all()));
    while let Some(range) = rest {
        let page = snapshot.range(range, PAGE).await?;
        records += page.entries.len() as u64;
        bytes += page.entries.iter().map(|entry| entry.value.len()).sum::<usize>();
        rest = page.rest;
    }
    Ok((records, bytes, snapshot.revision()))
}

fn key(n: u64) -> String {
    // Ids are random, so keys are written all over the tree.
    format!("task/{:016x}{n:016x}", Random(n).next())
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// 1 to 4 KiB.
    fn value(&mut self) -> Vec<u8> {
        let length = 128 + self.next() as usize % 384;
        (0..length).flat_map(|_| self.next().to_be_bytes()).collect()
    }
}
