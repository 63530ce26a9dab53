//! Tries many connections at once, and answers them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use longshore_tests::lab::wait_until;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn, setsockopt, socket, sockopt};

use super::Place;
use crate::support::DEADLINE;

/// How long nothing has to come for something to be closed: TCP has asked twice by then.
const WATCH: Duration = Duration::from_millis(1300);
/// How long what is to be open may take on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often what may get lost is sent again.
const AGAIN: Duration = Duration::from_millis(400);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A connection to this port.
    Tcp(u16),
    /// A datagram to this port, and its echo.
    Udp(u16),
    /// ICMP's.
    Echo,
}

/// A row of a table: who tries what, and what is to come of it.
pub(crate) struct Want<'a> {
    pub(crate) from: Place<'a>,
    pub(crate) to: Ipv4Addr,
    pub(crate) kind: Kind,
    pub(crate) open: bool,
    /// For the text when it is not so.
    pub(crate) name: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Open,
    Silent,
    Failed(String),
}

/// A number that no probe of this process had: a source port and ICMP id of its own for each, so that no answer is let
/// through because of what the kernel remembers of another probe.
fn fresh() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(2000);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(number < 30_000, "too many probes in one process");
    number
}

/// Tries every row at once; the rows that are not as wanted.
pub(crate) fn wrong(wants: &[Want<'_>]) -> Result<Vec<String>> {
    let mut places: Vec<Vec<&Want<'_>>> = Vec::new();
    for want in wants {
        let same = |rows: &&mut Vec<&Want<'_>>| {
            std::ptr::eq(rows[0].from.host, want.from.host) && rows[0].from.netns == want.from.netns
        };
        match places.iter_mut().find(same) {
            Some(rows) => rows.push(want),
            None => places.push(vec![want]),
        }
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            places.iter().map(|rows| scope.spawn(move || rows[0].from.inside(|| Probe::new(rows)?.run()))).collect();
        let mut wrong = Vec::new();
        for thread in threads {
            wrong.extend(thread.join().expect("a probe does not panic")?);
        }
        wrong.sort();
        Ok(wrong)
    })
}

/// Waits until every row is as wanted, and sees that it stays so.
#[track_caller]
pub(crate) fn settle(what: &str, wants: &[Want<'_>]) {
    wait_until(what, DEADLINE, || {
        let wrong = wrong(wants)?;
        anyhow::ensure!(wrong.is_empty(), "{} of {} are wrong: {wrong:#?}", wrong.len(), wants.len());
        Ok(true)
    })
    .unwrap();
    let then = wrong(wants).unwrap();
    assert!(then.is_empty(), "{what}, and then no longer: {then:#?}");
}

/// The rows of one place, with the sockets that are open for them.
struct Probe<'a> {
    rows: &'a [&'a Want<'a>],
    answers: Vec<Answer>,
    streams: Vec<(usize, TcpStream)>,
    datagrams: UdpSocket,
    // Raw: sending and receiving is the same as for datagrams.
    echoes: UdpSocket,
    number: u16,
}

impl<'a> Probe<'a> {
    fn new(rows: &'a [&'a Want<'a>]) -> Result<Self> {
        let number = fresh();
        let datagrams = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, number)).context("could not open a socket")?;
        datagrams.set_nonblocking(true)?;
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let echoes = socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Icmp)?;
        let answers = vec![Answer::Silent; rows.len()];
        Ok(Self { rows, answers, streams: Vec::new(), datagrams, echoes: echoes.into(), number })
    }

    fn run(mut self) -> Result<Vec<String>> {
        let begin = Instant::now();
        for (at, row) in self.rows.iter().enumerate() {
            if let Kind::Tcp(port) = row.kind {
                match connect(self.number, SocketAddrV4::new(row.to, port)) {
                    Ok(stream) => self.streams.push((at, stream)),
                    Err(error) => self.answers[at] = Answer::Failed(error.to_string()),
                }
            }
        }
        // What is to be open is so when it has answered; what is to be closed takes time to see.
        let watch = if self.rows.iter().all(|row| row.open) { Duration::ZERO } else { WATCH };
        let mut sent: Option<Instant> = None;
        loop {
            if sent.is_none_or(|at| at.elapsed() >= AGAIN) {
                self.send();
                sent = Some(Instant::now());
            }
            self.look();
            let missing =
                self.rows.iter().zip(&self.answers).any(|(row, answer)| row.open && *answer == Answer::Silent);
            let limit = if missing { PATIENCE } else { watch };
            if begin.elapsed() >= limit {
                break;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let wrong = self
            .rows
            .iter()
            .zip(&self.answers)
            .filter(|(row, answer)| **answer != if row.open { Answer::Open } else { Answer::Silent });
        Ok(wrong
            .map(|(row, answer)| {
                let wanted = if row.open { "open" } else { "closed" };
                format!("{}: {:?} at {} is {answer:?}, and is to be {wanted}", row.name, row.kind, row.to)
            })
            .collect())
    }

    /// Sends what was not answered yet.
    fn send(&self) {
        for (at, row) in self.rows.iter().enumerate().filter(|(at, _)| self.answers[*at] == Answer::Silent) {
            let index = u16::try_from(at).expect("few rows");
            // What cannot be sent is not answered.
            let _ = match row.kind {
                Kind::Tcp(_) => continue,
                Kind::Udp(port) => self.datagrams.send_to(&index.to_be_bytes(), (row.to, port)),
                Kind::Echo => self.echoes.send_to(&echo(self.number, index), (row.to, 0)),
            };
        }
    }

    /// Takes what has come.
    fn look(&mut self) {
        let answers = &mut self.answers;
        self.streams.retain(|(at, stream)| {
            answers[*at] = match stream.take_error() {
                Ok(None) if stream.peer_addr().is_ok() => Answer::Open,
                Ok(None) => return true,
                // It gave up waiting.
                Ok(Some(error)) if error.kind() == io::ErrorKind::TimedOut => Answer::Silent,
                Ok(Some(error)) | Err(error) => Answer::Failed(error.to_string()),
            };
            false
        });
        let mut buffer = [0; 256];
        while let Ok((length, SocketAddr::V4(from))) = self.datagrams.recv_from(&mut buffer) {
            self.answered(&buffer[..length], *from.ip(), |kind| kind == Kind::Udp(from.port()));
        }
        while let Ok((length, SocketAddr::V4(from))) = self.echoes.recv_from(&mut buffer) {
            // The IPv4 header comes with it.
            let header = usize::from(buffer[0] & 15) * 4;
            let message = buffer.get(header..length).unwrap_or_default();
            if let [0, 0, _, _, a, b, index @ ..] = message
                && u16::from_be_bytes([*a, *b]) == self.number
            {
                self.answered(index, *from.ip(), |kind| kind == Kind::Echo);
            }
        }
    }

    fn answered(&mut self, index: &[u8], from: Ipv4Addr, is: impl Fn(Kind) -> bool) {
        let Some(bytes) = index.first_chunk() else { return };
        let at = usize::from(u16::from_be_bytes(*bytes));
        if self.rows.get(at).is_some_and(|row| row.to == from && is(row.kind)) {
            self.answers[at] = Answer::Open;
        }
    }
}

/// Begins a connection from a port of our choice.
fn connect(port: u16, to: SocketAddrV4) -> Result<TcpStream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let made = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    // One port for connections to many places.
    setsockopt(&made, sockopt::ReuseAddr, &true)?;
    let own = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
    let raw = std::os::fd::AsRawFd::as_raw_fd(&made);
    nix::sys::socket::bind(raw, &own).context("could not take a port")?;
    match nix::sys::socket::connect(raw, &SockaddrIn::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(made.into()),
        Err(error) => Err(error.into()),
    }
}

/// An echo request.
fn echo(id: u16, sequence: u16) -> Vec<u8> {
    let words = [0x0800, 0, id, sequence];
    let mut sum: u32 = words.iter().map(|w| u32::from(*w)).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    let check = !u16::try_from(sum).expect("folded");
    [words[0], check, id, sequence].into_iter().flat_map(u16::to_be_bytes).collect()
}

/// The ports that are answered in a place.
pub(crate) const TCP_PORTS: [u16; 3] = [80, 443, 5432];
/// See [`TCP_PORTS`].
pub(crate) const UDP_PORTS: [u16; 2] = [53, 443];

/// Answers connections and datagrams in many places until it is dropped.
pub(crate) struct Servers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Servers {
    pub(crate) fn start(places: &[Place<'_>]) -> Self {
        let (mut listeners, mut echoes) = (Vec::new(), Vec::new());
        for place in places {
            let open = || -> Result<_> {
                let tcp = TCP_PORTS.map(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)));
                let udp = UDP_PORTS.map(|port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)));
                let tcp: io::Result<Vec<_>> = tcp.into_iter().collect();
                let udp: io::Result<Vec<_>> = udp.into_iter().collect();
                Ok((tcp?, udp?))
            };
            let (tcp, udp) = place.inside(open).unwrap();
            listeners.extend(tcp);
            echoes.extend(udp);
        }
        listeners.iter().for_each(|l| l.set_nonblocking(true).unwrap());
        echoes.iter().for_each(|e| e.set_nonblocking(true).unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !ends.load(Ordering::Relaxed) {
                for listener in &listeners {
                    while listener.accept().is_ok() {}
                }
                for socket in &echoes {
                    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                        let _ = socket.send_to(&buffer[..length], from);
                    }
                }
                std::thread::sleep(LOOK_EVERY);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
