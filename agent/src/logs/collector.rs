//! The one task that reads for all containers.
//!
//! ```text
//! listing -> followers -> gather (blocks on files) -> one batch in flight -> answers -> followers
//! ```
//!
//! While a batch is in flight nothing is read, so what waits is in the engine's files and never here.

use super::follower::Follower;
use super::gate::Mark;
use super::{Answer, Chunk, Found, Gate, PutError, Sink, Source};
use crate::crash::{self, Place};
use crate::session::backoff::Backoff;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Between two looks at the files: what is printed meanwhile goes together.
const TICK: Duration = Duration::from_millis(200);
/// Between two listings when nothing happens, and when much does.
const RELIST: Duration = Duration::from_secs(30);
const RELIST_SOON: Duration = Duration::from_millis(500);
/// After the listing that an event brought: Docker 20.10 tells of an end before its listings do, which wait until the
/// container was cleaned up after.
const RELIST_AFTER: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(10)];
/// After a listing that failed.
const RELIST_AGAIN: Duration = Duration::from_secs(1);
/// Containers of a listing that are looked for the files of at a time.
const LOOKS: usize = 8;
/// Bytes of messages in a batch, and in it of one container.
const BATCH: usize = 1 << 20;
const CHUNK: usize = 256 << 10;
/// A chunk from so many bytes on has probably left something behind, which does not wait for the next tick.
const MUCH: usize = 64 << 10;
/// Waits after a batch that was not answered.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// Between two warnings about a control plane that takes nothing.
const WARN: Duration = Duration::from_secs(60);

type Followers = BTreeMap<String, Follower>;

/// A batch, whose each part, and whether there was room for more.
#[derive(Default)]
struct Batch {
    ids: Vec<String>,
    chunks: Vec<Chunk>,
    full: bool,
}

/// What comes back when a batch was answered.
struct Put {
    sink: Box<dyn Sink>,
    batch: Batch,
    answers: Vec<Answer>,
}

/// What a listing found: each container and, for one that is new, its file.
struct Listing {
    mark: Mark,
    found: Vec<(Found, Result<Option<PathBuf>, String>)>,
}

/// When to list.
struct Schedule {
    /// When the last listing began.
    listed: Instant,
    due: Instant,
    /// Whether something happened since then.
    looked: bool,
    after: std::slice::Iter<'static, Duration>,
}

impl Schedule {
    fn new() -> Self {
        let now = Instant::now();
        Self { listed: now, due: now, looked: false, after: RELIST_AFTER.iter() }
    }

    /// Something happened.
    fn looks(&mut self) {
        self.due = self.due.min(self.listed + RELIST_SOON);
        self.looked = true;
        self.after = RELIST_AFTER.iter();
    }

    fn begins(&mut self) {
        self.listed = Instant::now();
        self.looked = false;
    }

    fn ended(&mut self, well: bool) {
        self.due = match well {
            true if self.looked => self.listed + RELIST_SOON,
            true => self.listed + self.after.next().copied().unwrap_or(RELIST),
            false => Instant::now() + RELIST_AGAIN,
        };
    }
}

/// Ships what containers print: a long-lived task.
pub struct Collector {
    source: Arc<dyn Source>,
    /// Absent while a batch is in flight.
    sink: Option<Box<dyn Sink>>,
    gate: Gate,
    followers: Followers,
    /// Of the listing that the followers know.
    mark: Mark,
    /// The container that was read last: the next batch begins behind it, so that none waits for ever.
    last: String,
    /// Room to read into, once something was read.
    buffer: Vec<u8>,
}

impl Collector {
    /// A collector that finds containers by `source` and ships to `sink`.
    #[must_use]
    pub fn new(source: Arc<dyn Source>, sink: Box<dyn Sink>, gate: Gate) -> Self {
        let (followers, mark, last, buffer) = Default::default();
        Self { source, sink: Some(sink), gate, followers, mark, last, buffer }
    }

    /// Runs until `shutdown`. What was read and not answered is read again by the next start.
    pub async fn run(self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(Box::pin(self.collect())).await;
    }

    async fn collect(mut self) {
        let gate = self.gate.clone();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut schedule = Schedule::new();
        let mut listing: Option<BoxFuture<'static, Result<Listing, String>>> = None;
        let mut in_flight: BoxFuture<'static, Put> = std::future::pending().boxed();
        let mut more = false;
        loop {
            let waits = self.sink.is_some() && self.followers.values().any(|follower| !follower.is_done());
            tokio::select! {
                put = &mut in_flight => {
                    in_flight = std::future::pending().boxed();
                    more = put.batch.full;
                    self.answered(put);
                }
                () = gate.look() => schedule.looks(),
                () = tokio::time::sleep_until(schedule.due), if listing.is_none() => {
                    schedule.begins();
                    let known = self.followers.keys().cloned().collect();
                    listing = Some(list(self.source.clone(), gate.mark(), known).boxed());
                }
                // An engine that hangs holds up no output of the containers that are known.
                listed = async { listing.as_mut().expect("the guard says so").await }, if listing.is_some() => {
                    listing = None;
                    let listed = listed.and_then(|listed| self.listed(listed));
                    schedule.ended(listed.is_ok());
                    if let Err(why) = listed {
                        tracing::debug!(why, "could not look for all containers with output");
                    }
                }
                _ = tick.tick(), if waits => more = true,
            }
            if std::mem::take(&mut more) && self.sink.is_some() {
                let batch = self.gather().await;
                if let Some(sink) = self.sink.take_if(|_| !batch.chunks.is_empty()) {
                    in_flight = put(sink, batch).boxed();
                }
            }
        }
    }

    /// Brings the followers in line with the containers. An error says what could not be looked at; all else is done.
    fn listed(&mut self, listing: Listing) -> Result<(), String> {
        let Listing { mark, found } = listing;
        self.mark = mark;
        let mut result = Ok(());
        for (Found { id, name, target, begins, runs, began: _ }, file) in &found {
            if let Some(follower) = self.followers.get_mut(id) {
                if follower.listed(*runs) {
                    self.gate.open(name);
                } else if follower.is_done() {
                    self.gate.close(name, mark);
                }
                continue;
            }
            match file {
                Ok(Some(file)) => {
                    self.gate.open(name);
                    let follower =
                        Follower::new(name.clone(), target.clone(), file.clone(), *runs).joining(begins.as_deref());
                    self.followers.insert(id.clone(), follower);
                }
                Ok(None) => self.gate.close(name, mark),
                Err(why) => {
                    self.gate.open(name);
                    result = result.and_then(|()| Err(why.clone()));
                }
            }
        }
        let there: HashSet<&str> = found.iter().map(|(found, _)| found.id.as_str()).collect();
        let now = std::time::Instant::now();
        self.followers.retain(|id, follower| there.contains(id.as_str()) || follower.gone(now));
        self.gate.listed(found.into_iter().map(|(found, _)| found.name), mark);
        result
    }

    /// Reads what is next of each container, on a thread that may block.
    async fn gather(&mut self) -> Batch {
        let ids = self.due();
        if ids.is_empty() {
            return Batch::default();
        }
        let (mut followers, mut buffer) = (std::mem::take(&mut self.followers), std::mem::take(&mut self.buffer));
        let gathered = tokio::task::spawn_blocking(move || {
            let batch = gather(&mut followers, ids, &mut buffer, now_ms());
            (followers, buffer, batch)
        });
        let (followers, buffer, batch) =
            gathered.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        (self.followers, self.buffer) = (followers, buffer);
        if let Some(last) = batch.ids.last() {
            self.last.clone_from(last);
        }
        for follower in self.followers.values_mut() {
            if follower.becomes_done() {
                self.gate.close(&follower.name, self.mark);
            }
        }
        batch
    }

    /// The containers that are worth a look, in the order in which they have their turns.
    fn due(&self) -> Vec<String> {
        let due = |(id, follower): (&String, &Follower)| follower.is_due().then(|| id.clone());
        let mut ids: Vec<String> = self.followers.iter().filter_map(due).collect();
        let behind = ids.partition_point(|id| *id <= self.last);
        ids.rotate_left(behind);
        ids
    }

    fn answered(&mut self, put: Put) {
        self.sink = Some(put.sink);
        for ((id, chunk), answer) in put.batch.ids.iter().zip(&put.batch.chunks).zip(put.answers) {
            if let Some(follower) = self.followers.get_mut(id) {
                follower.answered(chunk, answer);
            }
        }
    }
}

fn gather(followers: &mut Followers, ids: Vec<String>, buffer: &mut Vec<u8>, now_ms: i64) -> Batch {
    let mut batch = Batch::default();
    let mut size = 0;
    for id in ids {
        let Some(follower) = followers.get_mut(&id) else { continue };
        if size >= BATCH {
            batch.full = true;
            break;
        }
        let Some(chunk) = follower.next(CHUNK, buffer, now_ms) else { continue };
        let bytes: usize = chunk.events.iter().map(|event| event.message.len() + 26).sum();
        // The answer to a question is what reading waits for.
        batch.full |= bytes >= MUCH || chunk.events.is_empty();
        size += bytes;
        batch.ids.push(id);
        batch.chunks.push(chunk);
    }
    batch
}

/// Looks for the containers, and for the files of those that are not `known`.
async fn list(source: Arc<dyn Source>, mark: Mark, known: HashSet<String>) -> Result<Listing, String> {
    let all = source.list().await?;
    let look = |found: Found| {
        // One that has not begun has nothing; the event of its start brings the next listing.
        let new = found.began && !known.contains(&found.id);
        let source = source.clone();
        async move {
            let file = if new { source.file(&found.id).await } else { Ok(None) };
            (found, file)
        }
    };
    let looks: Vec<_> = all.into_iter().map(look).collect();
    let found = stream::iter(looks).buffer_unordered(LOOKS).collect().await;
    Ok(Listing { mark, found })
}

/// Puts a batch until it is answered.
async fn put(mut sink: Box<dyn Sink>, batch: Batch) -> Put {
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    let since = Instant::now();
    let mut warned: Option<Instant> = None;
    loop {
        match crash::around(Place::PutLogs, sink.put(&batch.chunks)).await {
            Ok(answers) => {
                if warned.is_some() {
                    let away_secs = since.elapsed().as_secs();
                    tracing::info!(away_secs, "the control plane takes containers' output again");
                }
                return Put { sink, batch, answers };
            }
            Err(PutError(why)) => {
                if warned.is_none_or(|warned| warned.elapsed() > WARN) {
                    tracing::warn!(why, "containers' output is not shipped; it stays in the engine's files meanwhile");
                    warned = Some(Instant::now());
                }
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
