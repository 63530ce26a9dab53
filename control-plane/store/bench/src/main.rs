//! Measures redb and SQLite on the access pattern of Longshore's owner task: one writer, durable batches of a
//! few records of 1 to 4 KiB, each write guarded by a read of its key, everything loaded once at start.
//!
//! `longshore-store-bench DIRECTORY` runs all of it on the file system of that directory;
//! `longshore-store-bench full DIRECTORY` fills that (small) file system and shows what is left.

mod engines;

use engines::{Engine, Kind, open};
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const RECORDS: u64 = 100_000;
const SECONDS: u64 = 5;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["child", kind, file] => child(kind.parse()?, Path::new(file)),
        ["full", directory] => Kind::ALL.into_iter().try_for_each(|kind| full(kind, Path::new(directory))),
        [directory] => Kind::ALL.into_iter().try_for_each(|kind| all(kind, Path::new(directory))),
        _ => Err("usage: longshore-store-bench [full] DIRECTORY".into()),
    }
}

fn all(kind: Kind, directory: &Path) -> Result<()> {
    println!("== {kind}");
    let file = fresh(directory, kind)?;
    let mut random = Random(7);

    let mut engine = open(kind, &file)?;
    for first in (0..RECORDS).step_by(1000) {
        let batch: Vec<_> = (first..first + 1000).map(|n| (key(n), random.value())).collect();
        engine.commit(&batch)?;
    }
    let loaded = size(directory)?;
    // What the load left in the page cache would be written during the next measurement.
    Command::new("sync").status()?;
    println!("file with {RECORDS} records: {} MiB", loaded >> 20);

    for puts in [1, 10, 50] {
        commits(&mut *engine, puts, &mut random)?;
    }
    println!("file after that: {} MiB", size(directory)? >> 20);
    drop(engine);

    let begun = Instant::now();
    let engine = open(kind, &file)?;
    let opened = begun.elapsed();
    let (records, bytes) = engine.scan()?;
    println!(
        "open {:.0} ms, then load {records} records ({} MiB) {:.0} ms",
        millis(opened),
        bytes >> 20,
        millis(begun.elapsed() - opened)
    );
    drop(engine);

    let mut reopen = Vec::new();
    for round in 0..10 {
        reopen.push(killed(kind, &file, Duration::from_millis(150 + 37 * round))?);
    }
    reopen.sort();
    println!("open after kill -9, 10 times: median {:.0} ms, longest {:.0} ms", millis(reopen[5]), millis(reopen[9]));
    Ok(())
}

fn commits(engine: &mut dyn Engine, puts: u64, random: &mut Random) -> Result<()> {
    let mut times = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(SECONDS) {
        let batch: Vec<_> = (0..puts).map(|_| (key(random.next() % (RECORDS * 5 / 4)), random.value())).collect();
        let started = Instant::now();
        engine.commit(&batch)?;
        times.push(started.elapsed());
    }
    let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
    times.sort();
    println!(
        "{puts:>2} puts a commit: {rate:>6.0} commits/s {:>7.0} puts/s  p50 {:.2} ms  p99 {:.2} ms",
        rate * puts as f64,
        millis(times[times.len() / 2]),
        millis(times[times.len() * 99 / 100])
    );
    Ok(())
}

/// Starts a writer, kills it, opens what it left, checks what it had acknowledged; how long opening took.
fn killed(kind: Kind, file: &Path, after: Duration) -> Result<Duration> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["child", &kind.to_string()])
        .arg(file)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
    let mut acknowledged: u64 = lines.next().ok_or("the child ended")??.parse()?;
    let begun = Instant::now();
    while begun.elapsed() < after {
        acknowledged = lines.next().ok_or("the child ended")??.parse()?;
    }
    child.kill()?;
    child.wait()?;
    for line in lines {
        acknowledged = line?.parse().unwrap_or(acknowledged);
    }
    let begun = Instant::now();
    let engine = open(kind, file)?;
    let took = begun.elapsed();
    let found = engine.get(b"counter")?.map(|value| String::from_utf8_lossy(&value).parse::<u64>());
    match found {
        Some(Ok(found)) if found >= acknowledged => Ok(took),
        other => Err(format!("{acknowledged} was acknowledged, found {other:?}").into()),
    }
}

fn child(kind: Kind, file: &Path) -> Result<()> {
    let mut engine = open(kind, file)?;
    let mut random = Random(std::process::id().into());
    let mut out = std::io::stdout().lock();
    let begin = match engine.get(b"counter")? {
        Some(value) => String::from_utf8(value)?.parse()?,
        None => 0_u64,
    };
    for n in begin + 1.. {
        let mut batch: Vec<_> = (0..10).map(|_| (key(random.next() % RECORDS), random.value())).collect();
        batch.push((b"counter".to_vec(), n.to_string().into_bytes()));
        engine.commit(&batch)?;
        writeln!(out, "{n}")?;
        out.flush()?;
    }
    Ok(())
}

/// Writes until the file system is full, frees a little, and goes on, in one process and after opening again.
fn full(kind: Kind, directory: &Path) -> Result<()> {
    println!("== {kind}, full disk");
    let ballast = directory.join("ballast");
    std::fs::write(&ballast, vec![1; 8 << 20])?;
    let file = fresh(directory, kind)?;
    let mut random = Random(3);
    let mut engine = open(kind, &file)?;
    let mut acknowledged = 0;
    let error = loop {
        match engine.commit(&[(key(acknowledged), random.value())]) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    println!("after {acknowledged} commits: {error}");
    println!("a read then: {}", told(engine.get(&key(0)).map(|found| found.is_some())));
    println!("the next commit: {}", told(engine.commit(&[(key(acknowledged), random.value())])));
    std::fs::remove_file(&ballast)?;
    println!(
        "a commit with space again, same process: {}",
        told(engine.commit(&[(key(acknowledged), random.value())]))
    );
    drop(engine);
    let mut engine = open(kind, &file)?;
    let kept = (0..acknowledged).filter(|n| matches!(engine.get(&key(*n)), Ok(Some(_)))).count();
    println!("opened again: {kept} of {acknowledged} kept");
    println!("a commit then: {}", told(engine.commit(&[(key(acknowledged + 1), random.value())])));
    drop(engine);
    fresh(directory, kind)?;
    Ok(())
}

fn told<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Ok(value) => format!("ok {value:?}"),
        Err(error) => format!("error: {error}"),
    }
}

fn fresh(directory: &Path, kind: Kind) -> Result<PathBuf> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("bench.")) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(directory.join(format!("bench.{kind}")))
}

fn size(directory: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("bench.") {
            sum += entry.metadata()?.len();
        }
    }
    Ok(sum)
}

fn key(n: u64) -> Vec<u8> {
    // Ids are random, so keys are written all over the tree.
    format!("task/{:016x}{n:016x}", Random(n).next()).into_bytes()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 1 to 4 KiB of something like JSON.
    fn value(&mut self) -> Vec<u8> {
        let length = 1024 + (self.next() % 3072) as usize;
        let mut value = Vec::with_capacity(length + 40);
        while value.len() < length {
            write!(value, "{{\"name\":\"{:016x}\",\"value\":{}}},", self.next(), self.next() % 1000)
                .expect("a vector grows");
        }
        value
    }
}
