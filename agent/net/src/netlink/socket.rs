//! A netlink socket that waits.

use super::attr;
use super::own::OwnPort;
use netlink_sys::SocketAddr;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;
use std::fmt;
use std::io;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Numbers below are netlink's own.
const NLMSG_MIN_TYPE: u16 = 16;
const NLMSGERR_ATTR_MSG: u16 = 1;
const HEADER: usize = 16;

/// Requests sent at once: their answers wait in the socket's buffer until the last was carried out.
const AT_ONCE: usize = 256;
/// The kernel answers before `send` returns; only a socket whose answer was lost waits.
const TIMEOUT_SECS: i64 = 10;
/// Room for a large transaction, and for the answers to it.
const BUFFER_BYTES: usize = 8 << 20;
/// How often a dump is begun again because what it lists changed meanwhile.
const DUMP_TRIES: usize = 10;

/// Which part of the kernel a socket speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Links, addresses, routes, neighbours, queueing.
    Route,
    /// nftables, connection tracking.
    Netfilter,
}

/// A message for the kernel.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) kind: u16,
    /// Beside the ones that the socket sets.
    pub(crate) flags: u16,
    pub(crate) body: Vec<u8>,
}

/// A message from it.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) kind: u16,
    pub(crate) body: Vec<u8>,
}

/// What the kernel says when it does not do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The number that it gives.
    pub errno: Errno,
    /// The words that it adds, in some cases.
    pub hint: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.errno.desc())?;
        self.hint.iter().try_for_each(|hint| write!(f, ": {hint}"))
    }
}

impl std::error::Error for Refusal {}

/// What can go wrong with a netlink socket.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// There is none.
    #[error("could not open a netlink socket")]
    Open(#[source] io::Error),
    /// A message did not leave, or the answer did not come.
    #[error("could not talk to the kernel")]
    Io(#[source] io::Error),
    /// The kernel refused.
    #[error("the kernel refused")]
    Refused(#[source] Refusal),
    /// The answer was not understood.
    #[error("the kernel's answer was not understood: {0}")]
    Garbled(String),
}

impl NetlinkError {
    /// The number that the kernel gave.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused(refusal) => Some(refusal.errno),
            Self::Open(error) | Self::Io(error) => error.raw_os_error().map(Errno::from_raw),
            Self::Garbled(_) => None,
        }
    }
}

/// A socket in one network namespace.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: netlink_sys::Socket,
    /// What it does is announced as ours.
    _port: OwnPort,
    sequence: u32,
    buffer: Vec<u8>,
}

/// A message as it came.
struct Raw<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

impl Socket {
    /// In the namespace of the calling thread; it stays there.
    pub(crate) fn open(family: Family) -> Result<Self, NetlinkError> {
        let open = |protocol| -> io::Result<_> {
            let mut socket = netlink_sys::Socket::new(protocol)?;
            let port = OwnPort::new(socket.bind_auto()?.port_number());
            socket.connect(&SocketAddr::new(0, 0))?;
            socket.set_cap_ack(true)?;
            socket.set_ext_ack(true)?;
            if family == Family::Route {
                // Filters of dumps; kernels that do not know it send everything, which is filtered here as well.
                let _ = socket.set_netlink_get_strict_chk(true);
            }
            setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(TIMEOUT_SECS, 0))?;
            setsockopt(&socket, sockopt::SndBufForce, &BUFFER_BYTES)?;
            setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES)?;
            Ok((socket, port))
        };
        let protocol = match family {
            Family::Route => NETLINK_ROUTE,
            Family::Netfilter => NETLINK_NETFILTER,
        };
        let (socket, port) = open(protocol).map_err(NetlinkError::Open)?;
        Ok(Self { socket, _port: port, sequence: 0, buffer: Vec::with_capacity(128 << 10) })
    }

    /// Has every request carried out, in order, also after one that was refused. The results are in the same order.
    pub(crate) fn try_all(&mut self, requests: &[Request]) -> Result<Vec<Result<(), Refusal>>, NetlinkError> {
        let mut results = Vec::with_capacity(requests.len());
        for some in requests.chunks(AT_ONCE) {
            let first = self.send(some.iter().map(|r| (r, NLM_F_ACK)))?;
            let mut outcomes: Vec<Option<Result<(), Refusal>>> = vec![None; some.len()];
            while outcomes.iter().any(Option::is_none) {
                self.receive(|raw| {
                    let at = usize::try_from(raw.sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                    if let (NLMSG_ERROR, Some(outcome)) = (raw.kind, outcomes.get_mut(at)) {
                        *outcome = Some(raw.acknowledged());
                    }
                })?;
            }
            results.extend(outcomes.into_iter().flatten());
        }
        Ok(results)
    }

    /// Has every request carried out; the first refusal is the error.
    pub(crate) fn all(&mut self, requests: &[Request]) -> Result<(), NetlinkError> {
        self.try_all(requests)?.into_iter().collect::<Result<(), _>>().map_err(NetlinkError::Refused)
    }

    /// Asks for one thing.
    pub(crate) fn get(&mut self, request: &Request) -> Result<Reply, NetlinkError> {
        let sequence = self.send([(request, NLM_F_ACK)])?;
        let mut reply = None;
        let mut result = None;
        while result.is_none() {
            self.receive(|raw| match raw.kind {
                _ if raw.sequence != sequence => {}
                NLMSG_ERROR => result = Some(raw.acknowledged()),
                kind if kind >= NLMSG_MIN_TYPE => reply = Some(Reply { kind, body: raw.body.to_vec() }),
                _ => {}
            })?;
        }
        result.transpose().map_err(NetlinkError::Refused)?;
        reply.ok_or_else(|| NetlinkError::Garbled("it agreed and said nothing".into()))
    }

    /// Asks for a list.
    pub(crate) fn dump(&mut self, request: &Request) -> Result<Vec<Reply>, NetlinkError> {
        for _ in 0..DUMP_TRIES {
            if let Some(replies) = self.dump_once(request)? {
                return Ok(replies);
            }
        }
        Err(NetlinkError::Garbled(format!("a list changed while it was read, {DUMP_TRIES} times")))
    }

    /// Nothing when it changed while it was read.
    fn dump_once(&mut self, request: &Request) -> Result<Option<Vec<Reply>>, NetlinkError> {
        let sequence = self.send([(request, NLM_F_DUMP)])?;
        let mut replies = Vec::new();
        let mut interrupted = false;
        let mut result = None;
        while result.is_none() {
            self.receive(|raw| {
                if raw.sequence != sequence {
                    return;
                }
                interrupted |= raw.flags & NLM_F_DUMP_INTR != 0;
                match raw.kind {
                    NLMSG_ERROR | NLMSG_DONE => result = Some(raw.acknowledged()),
                    kind if kind >= NLMSG_MIN_TYPE => replies.push(Reply { kind, body: raw.body.to_vec() }),
                    _ => {}
                }
            })?;
        }
        match result.transpose() {
            // nftables says it this way.
            Err(refusal) if refusal.errno == Errno::EINTR => Ok(None),
            Err(refusal) => Err(NetlinkError::Refused(refusal)),
            Ok(_) => Ok((!interrupted).then_some(replies)),
        }
    }

    /// Sends requests as one datagram that the kernel takes as a whole, and returns by position what was refused. The
    /// last is acknowledged.
    pub(crate) fn batch(&mut self, requests: &[Request], last: usize) -> Result<Vec<(usize, Refusal)>, NetlinkError> {
        let first = self.send(requests.iter().enumerate().map(|(i, r)| (r, if i == last { NLM_F_ACK } else { 0 })))?;
        // All is said by the time `send` returns; an answer that is not there yet will not come.
        let mut refused = Vec::new();
        let mut agreed = false;
        self.socket.set_non_blocking(true).map_err(NetlinkError::Io)?;
        let received = loop {
            let one = self.receive(|raw| {
                let at = usize::try_from(raw.sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                if raw.kind == NLMSG_ERROR && at < requests.len() {
                    match raw.acknowledged() {
                        Ok(()) => agreed |= at == last,
                        Err(refusal) => refused.push((at, refusal)),
                    }
                }
            });
            match one {
                Ok(()) => {}
                Err(NetlinkError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.socket.set_non_blocking(false).map_err(NetlinkError::Io)?;
        received?;
        if !agreed && refused.is_empty() {
            return Err(NetlinkError::Garbled("it said nothing about a transaction".into()));
        }
        Ok(refused)
    }

    /// Sends requests at once; returns the number of the first, the others follow.
    fn send<'a>(&mut self, requests: impl IntoIterator<Item = (&'a Request, u16)>) -> Result<u32, NetlinkError> {
        let first = self.sequence.wrapping_add(1);
        let mut message = Vec::new();
        for (request, flags) in requests {
            self.sequence = self.sequence.wrapping_add(1);
            let length = u32::try_from(HEADER + request.body.len()).expect("messages are far smaller than 4 GiB");
            message.extend(length.to_ne_bytes());
            message.extend(request.kind.to_ne_bytes());
            message.extend((NLM_F_REQUEST | flags | request.flags).to_ne_bytes());
            message.extend(self.sequence.to_ne_bytes());
            message.extend([0; 4]);
            message.extend(&request.body);
            message.resize((message.len() + 3) & !3, 0);
        }
        self.socket.send(&message, 0).map_err(NetlinkError::Io)?;
        Ok(first)
    }

    /// Receives one datagram and hands out its messages.
    fn receive(&mut self, mut each: impl FnMut(Raw<'_>)) -> Result<(), NetlinkError> {
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(NetlinkError::Io(error)),
                Ok(_) => break,
            }
        }
        let mut rest = self.buffer.as_slice();
        while rest.len() >= HEADER {
            let word = |at: usize| u32::from_ne_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
            let half = |at: usize| u16::from_ne_bytes([rest[at], rest[at + 1]]);
            let length = word(0) as usize;
            let Some(body) = rest.get(HEADER..length) else {
                return Err(NetlinkError::Garbled(format!("a message of {length} bytes in {}", rest.len())));
            };
            each(Raw { kind: half(4), flags: half(6), sequence: word(8), body });
            rest = rest.get((length + 3) & !3..).unwrap_or_default();
        }
        Ok(())
    }
}

impl Raw<'_> {
    /// Reads the outcome of an acknowledgement or of the end of a dump.
    fn acknowledged(&self) -> Result<(), Refusal> {
        let errno = self.body.get(..4).map_or(0, |b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
        if errno >= 0 {
            return Ok(());
        }
        Err(Refusal { errno: Errno::from_raw(errno.saturating_neg()), hint: self.hint() })
    }

    fn hint(&self) -> Option<String> {
        if self.flags & NLM_F_ACK_TLVS == 0 {
            return None;
        }
        let skip = match self.kind {
            NLMSG_DONE => 4,
            // The request's header follows the number, and all of the request unless it is cut off.
            _ if self.flags & NLM_F_CAPPED != 0 => 4 + HEADER,
            _ => {
                let length = self.body.get(4..8)?;
                4 + ((u32::from_ne_bytes([length[0], length[1], length[2], length[3]]) as usize + 3) & !3)
            }
        };
        attr::find(self.body.get(skip..)?, NLMSGERR_ATTR_MSG).map(attr::text)
    }
}
