//! The collector over real files, which are written and rotated as Docker does, and a control plane in memory.

use super::{Answer, Chunk, Collector, Found, Gate, PutError, Sink, Source, Target};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(60);

/// A stream: where it is, and what it has.
type Stream = (Vec<u8>, Vec<String>);

/// A host and a control plane, shared by the test and what it tests.
#[derive(Default)]
struct World {
    found: Mutex<Vec<Found>>,
    /// When it was listed.
    listings: Mutex<Vec<Instant>>,
    /// What a look for a container's file comes to while it is not found.
    hidden: watch::Sender<BTreeMap<String, Hidden>>,
    streams: Mutex<BTreeMap<String, Stream>>,
    /// Batches that fail, and batches that are taken without an answer.
    down: Mutex<bool>,
    deaf: Mutex<u32>,
}

/// Why a container's file is not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hidden {
    Fails,
    Hangs,
}

struct Hands(Arc<World>, PathBuf);

#[async_trait]
impl Source for Hands {
    async fn list(&self) -> Result<Vec<Found>, String> {
        self.0.listings.lock().expect("whole").push(Instant::now());
        Ok(self.0.found.lock().expect("whole").clone())
    }

    async fn file(&self, id: &str) -> Result<Option<PathBuf>, String> {
        let mut hidden = self.0.hidden.subscribe();
        let told = hidden.wait_for(|hidden| hidden.get(id) != Some(&Hidden::Hangs)).await.expect("it is not dropped");
        match told.get(id) {
            Some(Hidden::Fails) => Err("it does not answer".to_owned()),
            Some(Hidden::Hangs) | None => Ok(Some(self.1.join(id))),
        }
    }
}

#[async_trait]
impl Sink for Hands {
    async fn put(&mut self, chunks: &[Chunk]) -> Result<Vec<Answer>, PutError> {
        if *self.0.down.lock().expect("whole") {
            return Err(PutError("down".to_owned()));
        }
        let mut answers = Vec::new();
        for chunk in chunks {
            let mut streams = self.0.streams.lock().expect("whole");
            let stream = streams.entry(chunk.target.stream.clone()).or_default();
            if !chunk.events.is_empty() && (stream.0 == chunk.from || stream.0.is_empty()) {
                stream.0.clone_from(&chunk.to);
                stream.1.extend(chunk.events.iter().map(|event| event.message.clone()));
            }
            answers.push(Answer::At(stream.0.clone()));
        }
        let mut deaf = self.0.deaf.lock().expect("whole");
        if *deaf > 0 {
            *deaf -= 1;
            return Err(PutError("the answer was lost".to_owned()));
        }
        Ok(answers)
    }
}

struct Host {
    world: Arc<World>,
    dir: tempfile::TempDir,
    events: Arc<Notify>,
    gate: Gate,
    stop: CancellationToken,
    running: Option<JoinHandle<()>>,
}

impl Host {
    fn new() -> Self {
        let events = Arc::new(Notify::new());
        Self {
            world: Arc::default(),
            dir: tempfile::tempdir().expect("a directory"),
            gate: Gate::new(events.clone()),
            events,
            stop: CancellationToken::new(),
            running: None,
        }
    }

    /// Starts the collector, as a new process would.
    fn start(&mut self) {
        self.gate = Gate::new(self.events.clone());
        let hands = || Hands(self.world.clone(), self.dir.path().to_owned());
        let collector = Collector::new(Arc::new(hands()), Box::new(hands()), self.gate.clone());
        self.stop = CancellationToken::new();
        self.running = Some(tokio::spawn(collector.run(self.stop.clone())));
    }

    async fn crash(&mut self) {
        let running = self.running.take().expect("it runs");
        running.abort();
        let _ = running.await;
    }

    fn set(&self, id: &str, runs: bool) {
        let target = Target { region: "r".into(), group: "g".into(), stream: id.into() };
        let found = Found { id: id.into(), name: format!("ls-{id}"), target, begins: None, began: true, runs };
        let mut all = self.world.found.lock().expect("whole");
        all.retain(|found| found.id != id);
        all.push(found);
        self.events.notify_one();
    }

    fn hide(&self, id: &str, how: Option<Hidden>) {
        self.world.hidden.send_modify(|hidden| {
            hidden.remove(id);
            hidden.extend(how.map(|how| (id.to_owned(), how)));
        });
    }

    fn may_remove(&self, id: &str) -> bool {
        self.gate.may_remove(&format!("ls-{id}"), std::time::Instant::now()).is_ok()
    }

    /// Waits for listings that begin from now on.
    async fn until_listed(&self, times: usize) {
        let listings = |h: &Self| h.world.listings.lock().expect("whole").len();
        let before = listings(self);
        self.events.notify_one();
        self.until("listings", |h| listings(h) >= before + times).await;
    }

    fn print(&self, id: &str, words: impl IntoIterator<Item = String>) {
        self.print_parts(id, &now(), words.into_iter().map(|word| format!("{word}\n")));
    }

    /// What ends without an end of the line is a part of one.
    fn print_parts(&self, id: &str, time: &str, parts: impl IntoIterator<Item = String>) {
        let mut text = String::new();
        for part in parts {
            let line = serde_json::json!({"log": part, "stream": "stdout", "time": time});
            text.push_str(&format!("{line}\n"));
        }
        let path = self.dir.path().join(id);
        let mut file = std::fs::File::options().append(true).create(true).open(path).expect("opens");
        file.write_all(text.as_bytes()).expect("written");
    }

    /// As Docker does: the oldest of `keep` files is overwritten.
    fn rotate(&self, id: &str, keep: usize) {
        let path = |n: usize| self.dir.path().join(if n == 0 { id.to_owned() } else { format!("{id}.{n}") });
        for n in (0..keep - 1).rev() {
            if path(n).exists() {
                std::fs::rename(path(n), path(n + 1)).expect("renamed");
            }
        }
        std::fs::File::create(path(0)).expect("made");
    }

    fn stream(&self, id: &str) -> Vec<String> {
        self.world.streams.lock().expect("whole").get(id).map(|stream| stream.1.clone()).unwrap_or_default()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let wait = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(tokio::time::timeout(DEADLINE, wait).await.is_ok(), "{what}: {:?}", self.world.streams);
    }
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

fn words(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("word {n}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_by_rotations_crashes_and_lost_answers() {
    let mut host = Host::new();
    host.print("a", words(0..10));
    host.set("a", true);
    host.start();
    host.until("the beginning", |h| h.stream("a") == words(0..10)).await;

    // Answers get lost, so the same is put again.
    *host.world.deaf.lock().expect("whole") = 2;
    host.print("a", words(10..20));
    host.until("the answers to be lost", |h| *h.world.deaf.lock().expect("whole") == 0).await;
    host.print("a", words(20..30));
    host.until("what came then", |h| h.stream("a").len() >= 30).await;
    assert_eq!(host.stream("a"), words(0..30));

    // The control plane is away and the files turn over; the process ends and comes back meanwhile.
    *host.world.down.lock().expect("whole") = true;
    host.print("a", words(30..40));
    host.rotate("a", 4);
    host.print("a", words(40..50));
    host.crash().await;
    host.rotate("a", 4);
    host.print("a", words(50..60));
    host.start();
    host.print("a", words(60..70));
    *host.world.down.lock().expect("whole") = false;
    host.until("everything", |h| h.stream("a").len() >= 70).await;
    assert_eq!(host.stream("a"), words(0..70));

    // It ends: the rest is shipped, and then it may be removed.
    host.rotate("a", 4);
    host.print("a", words(70..5000));
    host.set("a", false);
    host.until("the end", |h| h.stream("a").len() >= 5000).await;
    assert_eq!(host.stream("a"), words(0..5000));
    host.crash().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ring_overwrote_is_missing_and_the_stream_says_so() {
    let mut host = Host::new();
    host.print("a", words(0..10));
    host.set("a", true);
    host.start();
    host.until("the beginning", |h| h.stream("a").len() == 10).await;
    host.crash().await;
    for n in 1..10 {
        host.print("a", words(n * 10..(n + 1) * 10));
        host.rotate("a", 3);
    }
    host.print("a", words(100..101));
    host.start();
    host.until("what is left", |h| h.stream("a").last() == Some(&"word 100".to_owned())).await;
    let stream = host.stream("a");
    assert!(stream[10].contains("missing here"), "{}", stream[10]);
    assert_eq!(stream[11..], words(80..101)[..]);
    assert_eq!(stream.iter().filter(|line| line.contains("missing")).count(), 1);
    host.crash().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chatty_container_does_not_hold_up_a_quiet_one() {
    let mut host = Host::new();
    let long = "x".repeat(1000);
    host.print("chatty", (0..20_000).map(|n| format!("{n} {long}")));
    host.set("chatty", true);
    host.print("quiet", words(0..1));
    host.set("quiet", true);
    host.start();
    host.until("the quiet one", |h| h.stream("quiet") == words(0..1)).await;
    assert!(host.stream("chatty").len() < 20_000, "it was shipped whole before the other had a turn");
    host.until("the chatty one", |h| h.stream("chatty").len() == 20_000).await;
    host.crash().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_started_again_goes_on() {
    let mut host = Host::new();
    host.print("a", words(0..10));
    host.set("a", true);
    host.start();
    host.until("the first run", |h| h.stream("a").len() == 10).await;
    assert!(!host.may_remove("a"));
    host.set("a", false);
    host.until("its end", |h| h.may_remove("a")).await;

    // It is about to start: what a listing says that saw it before counts no longer.
    host.gate.starts("ls-a");
    assert!(!host.may_remove("a"));
    // It runs and ends between two listings.
    host.print("a", words(10..20));
    host.rotate("a", 4);
    host.print("a", words(20..30));
    host.set("a", false);
    host.until("the second run", |h| h.stream("a").len() == 30 && h.may_remove("a")).await;

    // It is seen running before it prints something.
    host.gate.starts("ls-a");
    host.set("a", true);
    host.until_listed(2).await;
    assert!(!host.may_remove("a"));
    host.print("a", words(30..40));
    host.until("the third run", |h| h.stream("a").len() == 40).await;
    host.set("a", false);
    host.until("the last end", |h| h.may_remove("a")).await;

    // A start that came to nothing.
    host.gate.starts("ls-a");
    host.until_listed(1).await;
    host.until("nothing", |h| h.may_remove("a")).await;
    assert_eq!(host.stream("a"), words(0..40));
    host.crash().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_cannot_be_looked_at_holds_up_itself_alone() {
    let mut host = Host::new();
    for how in [Hidden::Fails, Hidden::Hangs] {
        let (fine, odd) = (format!("fine-{how:?}"), format!("a-{how:?}"));
        host.hide(&odd, Some(how));
        host.print(&fine, words(0..10));
        host.print(&odd, words(0..10));
        host.set(&fine, true);
        if host.running.is_none() {
            host.start();
        }
        host.until("the one that is fine", |h| h.stream(&fine).len() == 10).await;
        host.set(&odd, true);
        // What is listed after it is looked at too.
        host.set(&fine, true);
        host.until_listed(if how == Hidden::Hangs { 1 } else { 3 }).await;
        assert!(how == Hidden::Hangs || !host.may_remove(&odd));
        host.print(&fine, words(10..20));
        host.until("more of it", |h| h.stream(&fine).len() == 20).await;
        assert_eq!(host.stream(&odd), Vec::<String>::new());
        host.hide(&odd, None);
        host.until("the odd one", |h| h.stream(&odd).len() == 10).await;
    }
    host.crash().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_brings_a_listing_at_once_and_some_more() {
    let mut host = Host::new();
    host.start();
    let start = Instant::now();
    let listed = |host: &Host| -> Vec<u64> {
        let listings = host.world.listings.lock().expect("whole");
        listings.iter().map(|at| u64::try_from(at.duration_since(start).as_millis()).expect("short")).collect()
    };
    tokio::time::sleep(Duration::from_secs(100)).await;
    let quiet = listed(&host);
    assert_eq!(quiet, [0, 1_000, 4_000, 14_000, 44_000, 74_000]);
    host.events.notify_one();
    // The second comes too soon after the first, and waits.
    tokio::time::sleep(Duration::from_millis(100)).await;
    host.events.notify_one();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let more = [100_000, 100_500, 101_500, 104_500, 114_500, 144_500];
    assert_eq!(listed(&host)[quiet.len()..], more);
    host.crash().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_between_the_parts_of_a_line_holds_up_nothing() {
    let mut host = Host::new();
    // Nothing waits long enough for what is printed then.
    let time = "2999-01-01T00:00:00Z";
    host.print_parts("a", time, ["begins ".to_owned()]);
    host.set("a", true);
    host.start();
    host.until_listed(1).await;
    host.rotate("a", 4);
    host.print_parts("a", time, ["ends\n".to_owned(), "next\n".to_owned()]);
    host.until("what came then", |h| h.stream("a").last() == Some(&"next".to_owned())).await;
    assert_eq!(host.stream("a"), ["begins ", "ends", "next"]);
    host.crash().await;
}
