//! Whether another host's fabric answers, from fabric to fabric on the way that tasks' packets take: small TCP, and a
//! datagram as large as tasks may send.
//!
//! Nobody listens there: the other fabric's firewall refuses both with a message of its own, for which it checks the
//! packet's checksum. So the answer says that packets of every size arrive whole, without a port that somebody serves.

use super::{Fabric, Inner, lock};
use crate::namespace::NamespaceError;
use longshore_model::network::{Lease, Overlay};
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// The port that is refused to other hosts, where others are dropped.
pub(crate) const PORT: u16 = 7;
/// Datagrams that are sent before one counts as lost.
const DATAGRAMS: u32 = 3;
/// Headers of IPv4 and UDP.
const HEADERS: usize = 28;

/// Where a fabric answers to those of other hosts. The tunnel has the first address of its lease; without one, the
/// first that the host itself does not have. In `lan` that is the second: the first may be that of the LAN.
pub(crate) fn check_address(overlay: Overlay, lease: &Lease) -> Ipv4Addr {
    match overlay {
        Overlay::Vxlan { .. } | Overlay::Routes => lease.tunnel(),
        Overlay::Lan => lease.leg(),
    }
}

/// What of the way to another host does not work.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The fabric cannot be entered.
    #[error("could not look from the fabric")]
    Namespace(#[source] NamespaceError),
    /// There is no answer at all.
    #[error("the fabric of the host with {lease:?} does not answer; {hint}")]
    Silent {
        /// The host's first lease.
        lease: Lease,
        /// What to look at.
        hint: &'static str,
        /// How it failed.
        #[source]
        source: io::Error,
    },
    /// Small packets arrive and large ones do not.
    #[error(
        "packets of {bytes} bytes do not reach the host with {lease:?}; the network's MTU is too large for the way"
    )]
    Large {
        /// The host's first lease.
        lease: Lease,
        /// The size.
        bytes: u16,
        /// How it failed.
        #[source]
        source: io::Error,
    },
}

impl Fabric {
    /// Tries the way to the host whose first lease this is, from fabric to fabric; returns how long an answer takes.
    ///
    /// # Errors
    /// When nothing comes back, or nothing large, within `patience` each.
    pub async fn check_peer(&self, lease: &Lease, patience: Duration) -> Result<Duration, CheckError> {
        let lease = *lease;
        self.run(move |inner| inner.check_peer(lease, patience)).await
    }
}

fn refused(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
        Ok(()) => Err(io::Error::other("somebody serves the port that is to be refused")),
    }
}

/// From an address that the other host knows the way to.
fn small(from: Ipv4Addr, to: SocketAddr, patience: Duration) -> io::Result<Duration> {
    let begin = Instant::now();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    refused(socket.connect_timeout(&to.into(), patience))?;
    Ok(begin.elapsed())
}

/// Linux forbids fragments of what fits the link.
fn large(from: Ipv4Addr, to: SocketAddr, mtu: u16, patience: Duration) -> io::Result<()> {
    let socket = UdpSocket::bind((from, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some((patience / DATAGRAMS).max(Duration::from_millis(1))))?;
    let payload = vec![0; usize::from(mtu) - HEADERS];
    let mut last = Ok(());
    for _ in 0..DATAGRAMS {
        last = refused(socket.send(&payload).and_then(|_| socket.recv(&mut [0; 8])).map(drop));
        if last.is_ok() {
            break;
        }
    }
    last
}

impl Inner {
    fn check_peer(&self, lease: Lease, patience: Duration) -> Result<Duration, CheckError> {
        let mtu = self.config.network.mtu;
        let overlay = self.config.network.overlay;
        let hint = match overlay {
            Overlay::Vxlan { .. } => "is UDP between the hosts let through?",
            Overlay::Routes | Overlay::Lan => "do both hosts forward what goes to tasks?",
        };
        let own = lock(&self.wanted).leases.first().copied();
        let from = own.map_or(Ipv4Addr::UNSPECIFIED, |own| check_address(overlay, &own));
        let to = SocketAddr::new(check_address(overlay, &lease).into(), PORT);
        let attempt = || {
            let time = small(from, to, patience).map_err(|source| CheckError::Silent { lease, hint, source })?;
            large(from, to, mtu, patience).map_err(|source| CheckError::Large { lease, bytes: mtu, source })?;
            Ok(time)
        };
        self.fabric.visit(attempt).map_err(CheckError::Namespace)?
    }
}
