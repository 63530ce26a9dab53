//! The HTTP front: one port on which operators, SDKs and tools speak ECS, and the parts of EC2, STS and Systems Manager
//! that ECS users touch.
//!
//! It owns connections, their limits, and what the services look like on the wire. It decides nothing about clusters
//! or tasks: a verified request goes to a [`Backend`] as bytes and comes back as bytes. Every request is verified
//! by [`crate::auth`]; there is no path around it, but that the stream of a command that a verified request asked for
//! (`exec`) is opened with the one-time token of its answer. `main` calls [`serve`] once.

mod answer;
mod backend;
mod body;
mod exec;
mod form;
mod rest;
mod route;
mod sts;

pub use backend::{Backend, Services};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// When a silent connection is asked whether its client is there, and how often until it counts as lost.
const KEEPALIVE: socket2::TcpKeepalive =
    socket2::TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));

/// What one client may take of this process.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once. Further ones wait in the kernel's queue.
    pub connections: usize,
    /// From a connection's start, or its last answer, until the whole head of a request has come.
    pub head_timeout: Duration,
    /// From the head until the whole body has come.
    pub body_timeout: Duration,
    /// Bytes of a body. ECS's own largest request, a task definition, may have 64 KiB.
    pub body_bytes: usize,
    /// The same of PutLogEvents: 1 MiB of events are more as JSON, six times as much where every byte is escaped.
    pub log_body_bytes: usize,
    /// How long requests may still take once the process is asked to stop.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            head_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(20),
            body_bytes: 1 << 20,
            log_body_bytes: 8 << 20,
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Serves until `shutdown`, then answers what is under way and returns.
///
/// A failure to accept (no file descriptors, for example) is logged and tried again after a growing pause: it is
/// the process's and not one client's, and it passes when connections end.
pub async fn serve<B: Backend>(listener: TcpListener, backend: B, limits: Limits, shutdown: impl Future<Output = ()>) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let (stop, end) = (CancellationToken::new(), CancellationToken::new());
    let connections = TaskTracker::new();
    let tasks = connections.clone();
    let front = Arc::new(answer::Front { backend, limits: limits.clone(), tasks, stop: stop.clone() });
    let mut shutdown = pin!(shutdown);
    let mut pause = Duration::ZERO;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &slots, pause) => accepted,
        };
        match accepted {
            Ok((stream, peer, slot)) => {
                pause = Duration::ZERO;
                let connection = connection(stream, peer, Arc::clone(&front), stop.clone(), slot);
                connections.spawn(end.clone().run_until_cancelled_owned(connection));
            }
            Err(error) => {
                pause = (pause * 2).clamp(Duration::from_millis(20), Duration::from_secs(1));
                tracing::warn!(%error, pause_ms = pause.as_millis(), "could not accept a connection to the API");
            }
        }
    }
    drop(listener);
    stop.cancel();
    connections.close();
    if tokio::time::timeout(limits.drain_timeout, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests did not end in time; closing their connections");
        end.cancel();
        connections.wait().await;
    }
}

/// Safe to drop at any point: a connection is either still in the kernel's queue or already returned.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    pause: Duration,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
    let slot = Arc::clone(slots).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, slot))
}

async fn connection<B: Backend>(
    stream: TcpStream,
    peer: SocketAddr,
    front: Arc<answer::Front<B>>,
    stop: CancellationToken,
    slot: OwnedSemaphorePermit,
) {
    // Answers are written whole; waiting to fill a segment would only delay them.
    let _ = stream.set_nodelay(true);
    // A client that is gone without a word is missed although nothing is sent to it.
    let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE);
    let head_timeout = front.limits.head_timeout;
    let service = service_fn(move |request| {
        let front = Arc::clone(&front);
        async move { Ok::<_, Infallible>(front.answer(request, peer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        ended = &mut connection => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection to the API ended early");
    }
    drop(slot);
}

#[cfg(test)]
mod tests;
