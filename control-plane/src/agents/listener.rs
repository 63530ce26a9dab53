//! Connections of agents: TCP, TLS, and how many and how long.
//!
//! Owns the handshake and its limits. A connection without a client certificate can only join, so it ends after
//! the time that joining may take; one with a certificate lasts.

use super::AgentsConfig;
use std::convert::Infallible;
use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
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
    let slots = Arc::new(Semaphore::new(config.max_connections));
    let handshake = Handshake {
        acceptor: TlsAcceptor::from(tls),
        timeout: config.handshake_timeout,
        join_timeout: config.join_timeout,
        ready,
    };
    tokio::spawn(async move {
        shutdown.run_until_cancelled(accept(listener, slots, handshake)).await;
    });
    ReceiverStream::new(incoming)
}

async fn accept(listener: TcpListener, slots: Arc<Semaphore>, handshake: Handshake) {
    let mut pause = PAUSE.0;
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, peer)) => {
                pause = PAUSE.0;
                tokio::spawn(handshake.clone().run(stream, peer, slot));
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
    ready: mpsc::Sender<Result<Connection, Infallible>>,
}

impl Handshake {
    async fn run(self, stream: TcpStream, peer: SocketAddr, slot: OwnedSemaphorePermit) {
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
        let anonymous = tls.get_ref().1.peer_certificates().is_none_or(<[_]>::is_empty);
        let ends = anonymous.then(|| Box::pin(tokio::time::sleep(self.join_timeout)));
        // Fails only when the server is gone, and then the connection is of no use.
        let _ = self.ready.send(Ok(Connection { tls, ends, _slot: slot })).await;
    }
}

/// A connection that was let in.
pub(super) struct Connection {
    tls: TlsStream<TcpStream>,
    /// When it ends if it has no client certificate.
    ends: Option<Pin<Box<Sleep>>>,
    _slot: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = TlsConnectInfo<TcpConnectInfo>;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.tls.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.tls).poll_read(cx, buf) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => match &mut self.ends {
                None => Poll::Pending,
                Some(ends) => {
                    ready!(ends.as_mut().poll(cx));
                    Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no client certificate")))
                }
            },
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }
}
