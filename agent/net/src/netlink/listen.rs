//! What the kernel announces: changes, by whomever.

use super::own::is_own;
use super::{Family, NetlinkError};
use netlink_sys::SocketAddr;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use std::io;
use tokio::io::unix::AsyncFd;

const HEADER: usize = 16;
/// Room for what is announced while nobody listens.
const BUFFER_BYTES: usize = 1 << 20;
/// Datagrams read before others have their turn.
const AT_ONCE: usize = 4_096;

/// Groups of announcements (`enum rtnetlink_groups`, `enum nfnetlink_groups`).
pub(crate) const LINKS: u32 = 1;
pub(crate) const NEIGHBOURS: u32 = 3;
pub(crate) const ADDRESSES4: u32 = 5;
pub(crate) const ROUTES4: u32 = 7;
pub(crate) const ADDRESSES6: u32 = 9;
pub(crate) const ROUTES6: u32 = 11;
pub(crate) const NFTABLES: u32 = 7;

/// An announcement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Announced<'a> {
    pub(crate) kind: u16,
    /// Who asked for it; 0 for the kernel itself.
    port: u32,
    pub(crate) body: &'a [u8],
}

impl Announced<'_> {
    /// Whether this process asked for it, or a program that it runs.
    pub(crate) fn is_own(&self) -> bool {
        is_own(self.port)
    }

    /// Whether nobody asked for it: it follows from something else, or from time.
    pub(crate) fn is_kernels(&self) -> bool {
        self.port == 0
    }
}

/// Opens a socket that hears groups of announcements, in the namespace of the calling thread; it stays there.
pub(crate) fn open(family: Family, groups: &[u32]) -> Result<netlink_sys::Socket, NetlinkError> {
    let protocol = match family {
        Family::Route => NETLINK_ROUTE,
        Family::Netfilter => NETLINK_NETFILTER,
    };
    let open = || -> io::Result<_> {
        let mut socket = netlink_sys::Socket::new(protocol)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        for group in groups {
            socket.add_membership(*group)?;
        }
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES)?;
        socket.set_non_blocking(true)?;
        Ok(socket)
    };
    open().map_err(NetlinkError::Open)
}

/// Hears announcements.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: AsyncFd<netlink_sys::Socket>,
    buffer: Vec<u8>,
}

impl Listener {
    /// Has the runtime wait on the socket.
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe; a netlink socket keeps its descriptor until it is dropped"
    )]
    pub(crate) fn new(socket: netlink_sys::Socket) -> Result<Self, NetlinkError> {
        let socket = AsyncFd::new(socket).map_err(NetlinkError::Open)?;
        Ok(Self { socket, buffer: Vec::with_capacity(64 << 10) })
    }

    /// Waits until something is announced that matters, or something was that nobody can know any more because there
    /// was too much of it. Takes in what else is there. Cancel-safe.
    pub(crate) async fn heard(&mut self, matters: impl Fn(&Announced<'_>) -> bool) -> Result<(), NetlinkError> {
        loop {
            let mut ready = self.socket.readable().await.map_err(NetlinkError::Io)?;
            let mut hit = false;
            for _ in 0..AT_ONCE {
                self.buffer.clear();
                match ready.get_inner().recv(&mut self.buffer, 0) {
                    Ok(_) => hit |= any(&self.buffer, &matters),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        ready.clear_ready();
                        break;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // The kernel dropped some.
                    Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => hit = true,
                    Err(error) => return Err(NetlinkError::Io(error)),
                }
            }
            if hit {
                return Ok(());
            }
        }
    }
}

/// Whether one of the messages of a datagram matters.
fn any(mut rest: &[u8], matters: impl Fn(&Announced<'_>) -> bool) -> bool {
    while rest.len() >= HEADER {
        let word = |at: usize| u32::from_ne_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
        let length = word(0) as usize;
        let Some(body) = rest.get(HEADER..length) else { return false };
        let kind = u16::from_ne_bytes([rest[4], rest[5]]);
        if matters(&Announced { kind, port: word(12), body }) {
            return true;
        }
        rest = rest.get((length + 3) & !3..).unwrap_or_default();
    }
    false
}
