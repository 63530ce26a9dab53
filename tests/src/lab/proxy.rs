//! A way to a dockerd that breaks: a socket in front of its socket, which delays, holds back, cuts and garbles what the
//! daemon answers, and loses what it is asked.
//!
//! Mostly the answer breaks, after the daemon was asked: so whatever was asked for has happened or is happening, and
//! whoever asked does not know. A request that is lost never reached the daemon, which looks alike from outside. The
//! choice is random from a seed; which request it hits depends on time, too. The first request of each kind breaks, so
//! that a short run reaches the rare ones.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Until it asks again for a client when the kernel gives none: mostly it has no file left, and gets those of
/// connections that end.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Longest time for which an answer is held back: some hangs are longer than any client of a daemon waits for a list
/// or a look, most are short.
const LONGEST_HANG: Duration = Duration::from_secs(45);

/// How long a client waits for a list or a look.
const PATIENCE: Duration = Duration::from_secs(30);

/// Of a hundred pieces of answers so many break, and of a hundred requests so many are lost.
const BREAKS: u32 = 12;
const GETS_LOST: u32 = 3;

/// What an answer comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It comes late.
    Delay,
    /// It does not come, and the connection stays for a while.
    Hang,
    /// The connection ends before it.
    Reset,
    /// It is an error of the daemon's.
    Error,
    /// The connection ends within it.
    Cut,
    /// The daemon was never asked: the connection ends, at once or after a while.
    Unsent,
}

const FAULTS: [Fault; 6] = [Fault::Delay, Fault::Hang, Fault::Reset, Fault::Error, Fault::Cut, Fault::Unsent];

/// Those of answers.
const OF_ANSWERS: usize = 5;

/// What becomes of the stream of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Events {
    /// It comes through.
    Pass,
    /// It is there, and no event comes.
    Silent,
    /// It ends after this long, every time.
    Cut(Duration),
}

/// The socket in front of a dockerd's. Ends with it.
pub struct Proxy {
    socket: PathBuf,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    engine: PathBuf,
    faulty: AtomicBool,
    events: Mutex<Events>,
    /// What stands in answers, and what the client reads in its place.
    lie: Mutex<Option<(&'static str, &'static str)>>,
    /// The ends of the paths of calls that the daemon does not hear of, and how many it did not.
    refused: Mutex<(&'static [&'static str], u64)>,
    /// How many streams of events there were.
    streams_of_events: AtomicU64,
    over: AtomicBool,
    /// How often each fault happened, in the order of [`FAULTS`].
    counts: [AtomicU64; FAULTS.len()],
    /// How many broke of each kind of request, without those that came late.
    broken: Mutex<BTreeMap<String, u64>>,
    /// How many were held back for longer than any client waits.
    outlasted: AtomicU64,
    random: Mutex<StdRng>,
    /// Both ends of every connection that goes on, by its number, so that they can be ended.
    streams: Mutex<HashMap<u64, [UnixStream; 2]>>,
    /// How many connections there were.
    connections: AtomicU64,
}

impl Proxy {
    /// Listens at `socket` for the dockerd at `engine`. Nothing breaks until [`Proxy::set_faulty`].
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start(socket: PathBuf, engine: &Path, seed: u64) -> Result<Self> {
        let listener =
            UnixListener::bind(&socket).with_context(|| format!("could not listen at {}", socket.display()))?;
        let shared = Arc::new(Shared {
            engine: engine.to_owned(),
            faulty: AtomicBool::new(false),
            events: Mutex::new(Events::Pass),
            lie: Mutex::default(),
            refused: Mutex::default(),
            streams_of_events: AtomicU64::new(0),
            over: AtomicBool::new(false),
            counts: Default::default(),
            broken: Mutex::default(),
            outlasted: AtomicU64::new(0),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            streams: Mutex::default(),
            connections: AtomicU64::new(0),
        });
        let for_thread = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || {
            for client in listener.incoming() {
                if for_thread.over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(client) = client else {
                    std::thread::sleep(ASK_AGAIN);
                    continue;
                };
                // A daemon that is away is a client's business: it sees its connection end.
                if let Ok(engine) = UnixStream::connect(&for_thread.engine) {
                    let _ = for_thread.serve(&client, &engine);
                }
            }
        });
        Ok(Self { socket, shared, accepting: Some(accepting) })
    }

    /// Where it listens, as agents write it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Whether answers break from now on.
    pub fn set_faulty(&self, faulty: bool) {
        self.shared.faulty.store(faulty, Ordering::SeqCst);
    }

    /// What becomes of streams of events from now on, also of one that is there.
    pub fn set_events(&self, events: Events) {
        *self.shared.events.lock().unwrap_or_else(PoisonError::into_inner) = events;
    }

    /// From now on clients read `told` wherever the daemon's answers have `truth`, in one piece of an answer. Both are
    /// of one length, since the answer's is said before.
    ///
    /// # Panics
    /// When they are not.
    pub fn set_lie(&self, truth: &'static str, told: &'static str) {
        assert_eq!(truth.len(), told.len(), "a lie as long as the truth");
        *self.shared.lie.lock().unwrap_or_else(PoisonError::into_inner) = Some((truth, told));
    }

    /// From now on whatever is asked for by POST at a path with one of these ends (`/stop`) is answered with 500, and
    /// the daemon does not hear of it.
    pub fn set_refused(&self, ends: &'static [&'static str]) {
        *self.shared.refused.lock().unwrap_or_else(PoisonError::into_inner) = (ends, 0);
    }

    /// How many calls were refused since the last [`Proxy::set_refused`].
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.shared.refused.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// How often a client asked for the stream of events.
    #[must_use]
    pub fn streams_of_events(&self) -> u64 {
        self.shared.streams_of_events.load(Ordering::SeqCst)
    }

    /// How often each fault happened, for people.
    #[must_use]
    pub fn counts(&self) -> String {
        let one = |(fault, count): (&Fault, &AtomicU64)| format!("{fault:?} {}", count.load(Ordering::SeqCst));
        FAULTS.iter().zip(&self.shared.counts).map(one).collect::<Vec<_>>().join(", ")
    }

    /// How many answers and requests broke or came late.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.shared.counts.iter().map(|count| count.load(Ordering::SeqCst)).sum()
    }

    /// How many broke, late ones aside, of each kind of request: its method and its path, with `*` for what names one
    /// thing, as in `POST containers/*/start`. Images that are pulled are `POST images/create fromImage`, those that
    /// are imported `POST images/create fromSrc`.
    #[must_use]
    pub fn broken(&self) -> BTreeMap<String, u64> {
        self.shared.broken().clone()
    }

    /// How many answers were held back for longer than a client waits for a list or a look.
    #[must_use]
    pub fn outlasted(&self) -> u64 {
        self.shared.outlasted.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // It waits for a client.
        let _ = UnixStream::connect(&self.socket);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for stream in self.shared.streams().values().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// The kind of request for the stream of events.
const EVENTS: &str = "GET events";

/// The words of the API that end a path; everything else names something.
const LAST_WORDS: [&str; 16] = [
    "json", "create", "start", "stop", "kill", "rename", "resize", "attach", "wait", "logs", "exec", "top", "stats",
    "get", "archive", "prune",
];

/// What a request is for, see [`Proxy::broken`]; `None` when this is not the beginning of one.
fn kind_of(bytes: &[u8]) -> Option<String> {
    let line = std::str::from_utf8(bytes.split(|byte| *byte == b'\r').next()?).ok()?;
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if !version.starts_with("HTTP/1.") {
        return None;
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut parts = path.split('/').filter(|part| !part.is_empty() && !part.starts_with("v1."));
    let first = parts.next()?;
    let rest: Vec<&str> = parts.collect();
    let last = rest.last().filter(|word| LAST_WORDS.contains(*word));
    let names = rest.len() > usize::from(last.is_some());
    let path: Vec<&str> = std::iter::once(first).chain(names.then_some("*")).chain(last.copied()).collect();
    let from = ["fromImage", "fromSrc"].into_iter().find(|from| query.contains(&format!("{from}=")));
    let from = from.map(|from| format!(" {from}")).unwrap_or_default();
    Some(format!("{method} {}{from}", path.join("/")))
}

/// An error of the daemon's.
fn refuse(mut client: &UnixStream) -> io::Result<()> {
    let body = "{\"message\":\"injected\"}";
    let head = "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\n";
    write!(client, "{head}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

impl Shared {
    /// Whether a request is one of those that are refused, which counts it.
    fn refuses(&self, request: &[u8]) -> bool {
        let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let mut words = line.split(' ');
        let Some(path) = words.next().filter(|word| *word == "POST").and(words.next()) else { return false };
        let path = path.split('?').next().unwrap_or_default();
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let refuses = refused.0.iter().any(|end| path.ends_with(end));
        refused.1 += u64::from(refuses);
        refuses
    }

    /// A poisoned lock holds whole values.
    fn streams(&self) -> std::sync::MutexGuard<'_, HashMap<u64, [UnixStream; 2]>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A poisoned lock holds whole values.
    fn broken(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(self: &Arc<Self>, client: &UnixStream, engine: &UnixStream) -> io::Result<()> {
        // What was asked for last on this connection.
        let asked = Arc::new(Mutex::new(String::new()));
        let (from_client, to_engine) = (client.try_clone()?, engine.try_clone()?);
        let (from_engine, to_client) = (engine.try_clone()?, client.try_clone()?);
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        self.streams().insert(number, [client.try_clone()?, engine.try_clone()?]);
        let (asks, asking) = (Arc::clone(&asked), Arc::clone(self));
        std::thread::spawn(move || {
            if asking.ask(number, &from_client, &to_engine, &asks).is_err() {
                // What was lost is seen by the client, and the daemon hears no more of it.
                let _ = from_client.shutdown(Shutdown::Both);
                let _ = to_engine.shutdown(Shutdown::Both);
            }
            let _ = to_engine.shutdown(Shutdown::Write);
        });
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            let _ = shared.answer(&from_engine, &to_client, &asked);
            // Whatever ended it, both sides see it, and with that whoever carries requests.
            let _ = from_engine.shutdown(Shutdown::Both);
            let _ = to_client.shutdown(Shutdown::Both);
            shared.streams().remove(&number);
        });
        Ok(())
    }

    /// Carries requests to the daemon until the client has no more. An error is one that is lost.
    fn ask(
        self: &Arc<Self>,
        number: u64,
        mut client: &UnixStream,
        mut engine: &UnixStream,
        asked: &Mutex<String>,
    ) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = client.read(&mut buffer) {
            if let Some(kind) = kind_of(&buffer[..length]) {
                let before = {
                    let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
                    std::mem::replace(&mut *asked, kind.clone())
                };
                if kind == EVENTS && before != EVENTS {
                    self.streams_of_events.fetch_add(1, Ordering::SeqCst);
                    let (shared, begun) = (Arc::clone(self), Instant::now());
                    std::thread::spawn(move || shared.cut_events(number, begun));
                }
                if let Some(patience) = self.loses(&kind) {
                    self.hold(patience);
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
            }
            if self.refuses(&buffer[..length]) {
                let _ = refuse(client);
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if engine.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Carries answers to the client until one breaks for good.
    fn answer(&self, mut engine: &UnixStream, mut client: &UnixStream, asked: &Mutex<String>) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = engine.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            let kind = asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
            // The head of the answer comes through: the stream is there.
            let head = buffer.starts_with(b"HTTP/");
            if kind == EVENTS && !head && self.events() == Events::Silent {
                continue;
            }
            match self.fault(&kind) {
                None => {}
                Some((Fault::Delay, patience)) => std::thread::sleep(patience / 10),
                Some((Fault::Hang, patience)) => {
                    self.hold(patience);
                    return Ok(());
                }
                Some((Fault::Reset | Fault::Unsent, _)) => return Ok(()),
                Some((Fault::Error, _)) => return refuse(client),
                Some((Fault::Cut, _)) => return client.write_all(&buffer[..length / 2]),
            }
            self.garble(&mut buffer[..length]);
            client.write_all(&buffer[..length])?;
        }
    }

    /// Puts the lie in the place of the truth.
    fn garble(&self, answer: &mut [u8]) {
        let Some((truth, told)) = *self.lie.lock().unwrap_or_else(PoisonError::into_inner) else { return };
        let mut from = 0;
        while let Some(at) = answer[from..].windows(truth.len()).position(|part| part == truth.as_bytes()) {
            answer[from + at..from + at + told.len()].copy_from_slice(told.as_bytes());
            from += at + told.len();
        }
    }

    fn events(&self) -> Events {
        *self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the stream of events of a connection when that is its fate.
    fn cut_events(&self, number: u64, begun: Instant) {
        while !self.over.load(Ordering::SeqCst) {
            let is_over = matches!(self.events(), Events::Cut(after) if begun.elapsed() >= after);
            let streams = self.streams();
            // One that has ended needs no end.
            let Some([client, _]) = streams.get(&number) else { return };
            if is_over {
                let _ = client.shutdown(Shutdown::Both);
                return;
            }
            drop(streams);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits, but not longer than there are faults: when they end, so does what they hold.
    fn hold(&self, patience: Duration) {
        let begin = Instant::now();
        while begin.elapsed() < patience && self.faulty.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(50));
        }
        if begin.elapsed() > PATIENCE {
            self.outlasted.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// What happens to the next piece of an answer to a request of this kind: mostly nothing.
    fn fault(&self, kind: &str) -> Option<(Fault, Duration)> {
        self.breaks(kind, BREAKS, |random| random.random_range(0..OF_ANSWERS))
    }

    /// Whether the next request of this kind is lost, and how long its client waits until it knows.
    fn loses(&self, kind: &str) -> Option<Duration> {
        let (_, patience) = self.breaks(kind, GETS_LOST, |_| OF_ANSWERS)?;
        // Half of them at once.
        Some(patience.saturating_sub(LONGEST_HANG / 8))
    }

    fn breaks(
        &self,
        kind: &str,
        of_hundred: u32,
        which: impl FnOnce(&mut StdRng) -> usize,
    ) -> Option<(Fault, Duration)> {
        if !self.faulty.load(Ordering::SeqCst) {
            return None;
        }
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let mut broken = self.broken();
        let first = of_hundred == BREAKS && !broken.contains_key(kind);
        if !first && random.random_range(0..100) >= of_hundred {
            return None;
        }
        // The first is to break, and late is not broken.
        let which = if first { random.random_range(1..OF_ANSWERS) } else { which(&mut random) };
        // Mostly short.
        let patience = LONGEST_HANG.mul_f64(random.random_range(0.1..1.0_f64).powi(3));
        self.counts[which].fetch_add(1, Ordering::SeqCst);
        if FAULTS[which] != Fault::Delay {
            *broken.entry(kind.to_owned()).or_default() += 1;
        }
        Some((FAULTS[which], patience))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::wait::wait_until;

    /// A daemon that says something to each client and is done with it, and a way to it. It ends with its last client.
    fn daemon(directory: &Path, clients: usize) -> Proxy {
        let listener = UnixListener::bind(directory.join("daemon.sock")).unwrap();
        std::thread::spawn(move || {
            for client in listener.incoming().take(clients) {
                let mut client = client.unwrap();
                let mut request = [0; 64];
                let _ = client.read(&mut request).unwrap();
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\nwell").unwrap();
            }
        });
        Proxy::start(directory.join("proxy.sock"), &directory.join("daemon.sock"), 1).unwrap()
    }

    /// What a client reads until its connection ends.
    fn ask(proxy: &Proxy, path: &str) -> String {
        let mut client = UnixStream::connect(&proxy.socket).unwrap();
        // In one piece: the daemon answers the first that it reads, and is gone then.
        client.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    #[test]
    fn the_first_answer_of_each_kind_breaks_and_a_late_one_is_not_broken() {
        let directory = tempfile::tempdir().unwrap();
        let kinds: Vec<String> = (0..100).map(|n| format!("GET kind-{n}")).collect();
        let proxy = daemon(directory.path(), 0);
        proxy.set_faulty(true);
        for kind in &kinds {
            let (fault, _) = proxy.shared.fault(kind).unwrap();
            assert!(fault != Fault::Delay && fault != Fault::Unsent, "{fault:?}");
            assert_eq!(proxy.broken()[kind], 1);
        }
        let mut of_kind = 1;
        let late = (0..1000).filter(|_| match proxy.shared.fault(&kinds[0]) {
            Some((Fault::Delay, _)) => true,
            Some(_) => {
                of_kind += 1;
                false
            }
            None => false,
        });
        assert!(late.count() > 0, "none is late");
        assert_eq!(proxy.broken()[&kinds[0]], of_kind);
    }

    #[test]
    fn nothing_is_kept_of_a_connection_that_ended() {
        let directory = tempfile::tempdir().unwrap();
        let proxy = daemon(directory.path(), 20);
        for path in ["/version", "/events"].repeat(10) {
            assert!(ask(&proxy, path).ends_with("well"), "{path}");
        }
        wait_until("their ends", Duration::from_secs(10), || Ok(proxy.shared.streams().is_empty())).unwrap();
        // Those who carried them, and whoever waited to cut a stream of events, have gone.
        let left = || Arc::strong_count(&proxy.shared);
        wait_until("only what accepts", Duration::from_secs(10), || Ok(left() == 2)).unwrap();
    }

    #[test]
    fn requests_are_known_by_what_they_are_for() {
        for (head, kind) in [
            ("GET /v1.41/containers/json?all=true HTTP/1.1\r\nHost: x\r\n", Some("GET containers/json")),
            ("GET /containers/ls-a/json HTTP/1.1\r\n", Some("GET containers/*/json")),
            ("DELETE /v1.41/containers/ls-a?force=true HTTP/1.1\r\n", Some("DELETE containers/*")),
            ("GET /v1.41/images/127.0.0.1:5000/team/app:1/json HTTP/1.1\r\n", Some("GET images/*/json")),
            ("POST /v1.41/images/create?fromImage=a HTTP/1.1\r\n", Some("POST images/create fromImage")),
            ("POST /images/create?fromSrc=-&repo=a HTTP/1.1\r\n", Some("POST images/create fromSrc")),
            ("GET /v1.41/events? HTTP/1.1\r\n", Some(EVENTS)),
            ("POST /v1.41/exec/abc/resize?h=1&w=2 HTTP/1.1\r\n", Some("POST exec/*/resize")),
            ("GET /v1.41/volumes HTTP/1.1\r\n", Some("GET volumes")),
            ("GET /v1.41/volumes/kept HTTP/1.1\r\n", Some("GET volumes/*")),
            ("GET /v1.41/_ping HTTP/1.1\r\n", Some("GET _ping")),
            ("POST /v1.41/containers/abc/attach?stream=1&stdin=1 HTTP/1.1\r\n", Some("POST containers/*/attach")),
            ("POST /v1.41/containers/abc/resize?h=1&w=2 HTTP/1.1\r\n", Some("POST containers/*/resize")),
            ("DELETE /v1.41/images/old:1? HTTP/1.1\r\n", Some("DELETE images/*")),
            ("some output that a shell was given", None),
            ("GET nothing", None),
        ] {
            assert_eq!(kind_of(head.as_bytes()).as_deref(), kind, "{head}");
        }
    }
}
