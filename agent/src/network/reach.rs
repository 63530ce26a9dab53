//! The question whether packets pass between two hosts' tunnels, and the answer: a TCP connection with a byte in it,
//! since some network cards spoil the checksums of what is in a tunnel, and a datagram of the full size that may not be
//! cut into pieces, there and back, since some ways carry only small packets. Both sockets are in the fabric, at the
//! tunnel's address, and its firewall lets nobody but other hosts' tunnels to them.

use longshore_net::{Namespace, NamespaceError, REACH_PORT};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UdpSocket};

/// How long the other host has for each of the two.
const PATIENCE: Duration = Duration::from_secs(2);

/// Headers of IPv4 and UDP.
const HEADERS: u16 = 28;

/// Connections that wait to be answered.
const BACKLOG: i32 = 64;

/// This host's tunnel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    /// Its address.
    pub(super) tunnel: Ipv4Addr,
    /// The largest packet of a task.
    pub(super) mtu: u16,
}

/// Why packets do not pass, or are not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReachError {
    /// The fabric cannot be entered.
    #[error("could not enter the fabric")]
    Namespace(#[from] NamespaceError),
    /// A socket could not be made.
    #[error("could not {0} at the tunnel's address")]
    Socket(&'static str, #[source] io::Error),
    /// The other host did not answer.
    #[error("no connection by TCP")]
    Tcp(#[source] io::Error),
    /// A full datagram was lost.
    #[error("a packet of {0} bytes does not come back, and a connection by TCP does")]
    Udp(u16, #[source] io::Error),
}

impl Reach {
    fn socket(self, kind: Type, protocol: Protocol, port: u16) -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, kind, Some(protocol))?;
        // The sockets of a fabric that is opened again are there before the old ones are gone.
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&SocketAddr::V4(SocketAddrV4::new(self.tunnel, port)).into())?;
        Ok(socket)
    }

    /// Opens the sockets that answer.
    pub(super) async fn listen(self, fabric: &Namespace) -> Result<(TcpListener, UdpSocket), ReachError> {
        let open = move || {
            let tcp = self.socket(Type::STREAM, Protocol::TCP, REACH_PORT)?;
            tcp.listen(BACKLOG)?;
            let udp = self.socket(Type::DGRAM, Protocol::UDP, REACH_PORT)?;
            tcp.set_nonblocking(true)?;
            udp.set_nonblocking(true)?;
            Ok((tcp, udp))
        };
        let failed = |e| ReachError::Socket("listen", e);
        let (tcp, udp) = fabric.run(open).await?.map_err(failed)?;
        Ok((TcpListener::from_std(tcp.into()).map_err(failed)?, UdpSocket::from_std(udp.into()).map_err(failed)?))
    }

    /// Asks another host's tunnel.
    pub(super) async fn ask(self, fabric: &Namespace, tunnel: Ipv4Addr) -> Result<(), ReachError> {
        fabric.run(move || self.ask_here(SocketAddr::V4(SocketAddrV4::new(tunnel, REACH_PORT)))).await?
    }

    /// On a thread of the fabric's that may wait.
    fn ask_here(self, to: SocketAddr) -> Result<(), ReachError> {
        let failed = |e| ReachError::Socket("ask", e);
        let mut tcp = self.socket(Type::STREAM, Protocol::TCP, 0).map_err(failed)?;
        let connected = tcp.connect_timeout(&to.into(), PATIENCE).and_then(|()| tcp.set_read_timeout(Some(PATIENCE)));
        connected.and_then(|()| tcp.read_exact(&mut [0])).map_err(ReachError::Tcp)?;
        let udp = std::net::UdpSocket::from(self.socket(Type::DGRAM, Protocol::UDP, 0).map_err(failed)?);
        udp.connect(to).and_then(|()| udp.set_read_timeout(Some(PATIENCE))).map_err(failed)?;
        // A datagram that fits is sent with "do not fragment" set.
        let datagram = vec![0; usize::from(self.mtu.saturating_sub(HEADERS))];
        let mut answer = vec![0; datagram.len()];
        udp.send(&datagram).and_then(|_| udp.recv(&mut answer)).map(drop).map_err(|e| ReachError::Udp(self.mtu, e))
    }
}

/// Answers connections, one after the other: each takes a byte.
pub(super) async fn answer_tcp(listener: TcpListener) {
    loop {
        match listener.accept().await {
            // Whoever asked may have gone. A byte always fits.
            Ok((mut stream, _)) => drop(stream.write_all(&[0]).await),
            Err(error) => {
                tracing::warn!(%error, "could not answer another host");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Sends datagrams back.
pub(super) async fn answer_udp(socket: UdpSocket) {
    let mut datagram = vec![0; usize::from(u16::MAX)];
    loop {
        let answered = match socket.recv_from(&mut datagram).await {
            Ok((length, from)) => socket.send_to(&datagram[..length], from).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = answered {
            tracing::debug!(%error, "could not answer another host");
            // An error of one answer is reported at the next call; without a pause a lasting one would spin.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
