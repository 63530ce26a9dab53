//! Connections of agents: TCP, TLS, and how many and how long.
//!
//! Owns the handshake and its limits. A connection without a client certificate can only join, so it ends after
//! the time that joining may take; one with a certificate lasts. Those with and those without have room of their own:
//! whoever has no certificate takes no place from those that have one.

use super::AgentsConfig;
use super::members::{CONNECTIONS, Member, Members};
use crate::pki;
use std::convert::Infallible;
use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::{Connected, TcpConnectInfo, TlsConnectInfo};

/// Handshaken connections that wait to be served: the server takes them at once, so a few.
const READY: usize = 16;
/// Handshakes at once, each of which ends within its time: nobody is known yet, so they have room of their own. A fleet
/// that comes back at once waits its turn in the kernel's queue.
const HANDSHAKES: usize = 4096;
/// The wait after a failed accept (no file descriptors, for example), first and longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Accepts until `shutdown`.
pub(super) fn incoming(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    config: &AgentsConfig,
    shutdown: CancellationToken,
) -> ReceiverStream<Result<Connection, Infallible>> {
    let (ready, incoming) = mpsc::channel(READY);
    let handshake = Handshake {
        acceptor: TlsAcceptor::from(tls),
        timeout: config.handshake_timeout,
        join_timeout: config.join_timeout,
        members: Members::new(config.max_agents, CONNECTIONS),
        joining: Arc::new(Semaphore::new(config.max_joining)),
        ready,
    };
    tokio::spawn(async move {
        shutdown.run_until_cancelled(accept(listener, handshake)).await;
    });
    ReceiverStream::new(incoming)
}

async fn accept(listener: TcpListener, handshake: Handshake) {
    let room = Arc::new(Semaphore::new(HANDSHAKES));
    let mut pause = PAUSE.0;
    loop {
        let turn = Arc::clone(&room).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, peer)) => {
                pause = PAUSE.0;
                let handshake = handshake.clone();
                tokio::spawn(async move {
                    handshake.run(stream, peer).await;
                    drop(turn);
                });
            }
            Err(error) => {
                tracing::warn!(%error, pause_millis = pause.as_millis(), "could not accept an agent's connection");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

#[derive(Clone)]
struct Handshake {
    acceptor: TlsAcceptor,
    timeout: Duration,
    join_timeout: Duration,
    /// Room for connections with a client certificate.
    members: Members,
    /// Room for those without one.
    joining: Arc<Semaphore>,
    ready: mpsc::Sender<Result<Connection, Infallible>>,
}

impl Handshake {
    async fn run(self, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "could not set TCP_NODELAY");
        }
        let tls = match tokio::time::timeout(self.timeout, self.acceptor.accept(stream)).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => {
                // An expired or foreign client certificate ends here; the agent gets the alert.
                tracing::info!(%peer, %error, "a TLS handshake failed");
                return;
            }
            Err(_) => {
                tracing::info!(%peer, "a TLS handshake took too long");
                return;
            }
        };
        let certificate = tls.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let anonymous = certificate.is_none();
        let slot = match certificate.map(|certificate| pki::instance_of(certificate)) {
            None => self.joining.try_acquire_owned().ok().map(|place| Slot::Joining { _place: place }),
            Some(Ok(instance)) => {
                let place = self.members.enter(instance, self.timeout).await;
                place.map(|place| Slot::Member { _place: place })
            }
            Some(Err(error)) => {
                tracing::warn!(%peer, %error, "a connection was ended");
                return;
            }
        };
        let Some(slot) = slot else {
            let what = if anonymous { "hosts that join" } else { "agents (`max_agents`), or of this one's" };
            tracing::warn!(%peer, "a connection was ended: there are as many of {what} as there may be");
            return;
        };
        let ends = anonymous.then(|| Box::pin(tokio::time::sleep(self.join_timeout)));
        // Fails only when the server is gone, and then the connection is of no use.
        let _ = self.ready.send(Ok(Connection { stream: tls, ends, _slot: slot })).await;
    }
}

/// A connection's room, given back when it ends.
enum Slot {
    Joining { _place: OwnedSemaphorePermit },
    Member { _place: Member },
}

/// A connection that was let in.
pub(super) struct Connection<S = TlsStream<TcpStream>> {
    stream: S,
    /// When it ends if it has no client certificate, whatever is going on.
    ends: Option<Pin<Box<Sleep>>>,
    _slot: Slot,
}

impl<S> Connection<S> {
    /// Whether its time is not over. If it is some day, whoever polls is woken then, however busy or stuck the peer is.
    fn in_time(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let over = self.ends.as_mut().is_some_and(|ends| ends.as_mut().poll(cx).is_ready());
        if over { Err(io::Error::new(io::ErrorKind::TimedOut, "no client certificate")) } else { Ok(()) }
    }
}

impl Connected for Connection {
    type ConnectInfo = TlsConnectInfo<TcpConnectInfo>;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.in_time(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.in_time(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.in_time(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn connection<S>(stream: S, ends: Option<Duration>) -> Connection<S> {
        let slot = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("free");
        Connection {
            stream,
            ends: ends.map(|after| Box::pin(tokio::time::sleep(after))),
            _slot: Slot::Joining { _place: slot },
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_is_over_for_a_peer_that_is_never_silent() {
        let minute = Duration::from_secs(60);
        let mut buffer = [0; 8];
        let mut busy = connection(tokio::io::join(tokio::io::repeat(1), tokio::io::sink()), Some(minute));
        let mut member = connection(tokio::io::join(tokio::io::repeat(1), tokio::io::sink()), None);
        busy.read_exact(&mut buffer).await.expect("in time");
        tokio::time::advance(minute).await;
        let timed_out = |error: io::Error| assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        timed_out(busy.read_exact(&mut buffer).await.expect_err("over"));
        timed_out(busy.write_all(&buffer).await.expect_err("over"));
        member.read_exact(&mut buffer).await.expect("it has a certificate");
    }

    #[tokio::test(start_paused = true)]
    async fn time_is_over_for_a_peer_that_does_not_read() {
        let (near, _far) = tokio::io::duplex(4);
        let mut stuck = connection(near, Some(Duration::from_secs(60)));
        let error = stuck.write_all(&[0; 64]).await.expect_err("over");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
