//! The gRPC front for agents: joining, renewing certificates, and one session for each agent.
//!
//! Owns: the agent port (TLS, limits), which stream is an instance's newest, what was last sent on it, and the
//! leases that heartbeats renew. Never: decides what runs where, or keeps anything across a restart; both are the
//! core's, which it reaches through [`Fleet`]. Generated protocol types end here. `start` calls [`serve`] once.
//!
//! ```text
//! listener (TLS) -> service (join, renew) -> front (the Hello) -> stream (one task a session) -> delta (what is next)
//!                                                        |-> network (what to tell of the task network)
//!                                                        \-> presence, sessions (whose lease runs, who is newest)
//!                           |-> exec (commands in containers, to the clients that wait for them)
//!                           |-> registry (what a task's registry is shown)
//!                           |-> protection (a task that its service is to spare)
//!                           \-> logs (what containers printed, to the log store; tickets bounds how many at once)
//! ```

mod delta;
mod exec;
mod fleet;
mod front;
mod listener;
mod logs;
mod members;
mod network;
mod pace;
mod presence;
mod protection;
mod refuse;
mod registry;
mod service;
mod sessions;
mod stream;
mod tickets;

pub use fleet::Fleet;
pub use front::{AgentMessages, ControlMessages, SessionFront};

use crate::pki::{Authority, PkiError, ServerCertificate, server_tls};
use http_body_util::{BodyExt as _, Limited};
use longshore_logs::Logs;
use longshore_proto::v1::agent_service_server::AgentServiceServer;
use longshore_proto::{MAX_JOIN_MESSAGE, MAX_LOG_BATCH, MAX_MESSAGE};
use std::sync::Arc;
use std::time::Duration;
use tickets::Tickets;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Server;

/// Streams that one connection may have open at once. An agent has one on each: it makes a connection for a session,
/// and another one for a renewal. The rest is for peers that do it otherwise.
const STREAMS: u32 = 8;
/// How often a silent connection is asked whether it is there, and how long the answer may take. Leases notice
/// sooner; this is for connections that carry no session.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Flow-control windows: a complete assignment crosses in a few of them, and an idle agent costs none of it.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// Bytes of a request's headers.
const HEADERS: u32 = 16 * 1024;

/// How the agent port behaves.
#[derive(Debug, Clone)]
pub struct AgentsConfig {
    /// What agents are told to beat at.
    pub heartbeat: Duration,
    /// Heartbeats a second of all agents together, beyond which each is told to beat more rarely; three times in a
    /// lease at least.
    pub heartbeats_per_second: u32,
    /// Silence after which an agent counts as disconnected.
    pub lease: Duration,
    /// How often agents are told to say what is used; zero for never.
    pub usage: Duration,
    /// Lifetime of agents' certificates.
    pub agent_certificate: Duration,
    /// Instances with connections at once, each of which may have a few.
    pub max_agents: usize,
    /// Connections without a client certificate at once: hosts that join.
    pub max_joining: usize,
    /// From a connection to the end of its TLS handshake; and then to its turn, when there are as many as may be.
    pub handshake_timeout: Duration,
    /// How long a connection without a client certificate may last: enough to join.
    pub join_timeout: Duration,
    /// From a session's begin to its Hello.
    pub hello_timeout: Duration,
    /// How long an assignment may stay unacknowledged before everything is sent again.
    pub apply_timeout: Duration,
    /// Batches of logs that are read and held at once, of at most 4 MiB each, and how many more wait for that. Agents
    /// try again later beyond it.
    pub log_batches: (usize, usize),
}

impl Default for AgentsConfig {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(1),
            heartbeats_per_second: 5_000,
            lease: Duration::from_secs(5),
            usage: Duration::from_secs(20),
            agent_certificate: Duration::from_secs(30 * 86_400),
            max_agents: 20_000,
            max_joining: 256,
            handshake_timeout: Duration::from_secs(10),
            join_timeout: Duration::from_secs(60),
            hello_timeout: Duration::from_secs(10),
            apply_timeout: Duration::from_secs(10),
            log_batches: (64, 256),
        }
    }
}

/// Why the agent port ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// TLS could not be set up.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The transport gave up.
    #[error("the agent port failed")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves agents on `listener` until `shutdown`, then closes their streams and returns.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve<F: Fleet>(
    listener: TcpListener,
    fleet: Arc<F>,
    logs: Logs,
    authority: Arc<Authority>,
    certificate: Arc<ServerCertificate>,
    config: AgentsConfig,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let tls = Arc::new(server_tls(&certificate)?);
    let renewal = tokio::spawn(certificate.keep_fresh(shutdown.clone()));
    let incoming = listener::incoming(listener, tls, &config, shutdown.clone());
    let tickets = Tickets::new(config.log_batches.0, config.log_batches.1);
    let service = service::Service::new(fleet, logs, authority, config, shutdown.clone());
    let service =
        AgentServiceServer::new(service).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE);
    let served = Server::builder()
        .max_concurrent_streams(Some(STREAMS))
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .initial_stream_window_size(Some(STREAM_WINDOW))
        .initial_connection_window_size(Some(CONNECTION_WINDOW))
        .http2_max_header_list_size(Some(HEADERS))
        .layer(tickets)
        .layer(tower::util::MapRequestLayer::new(limit_calls))
        .serve_with_incoming_shutdown(service, incoming, shutdown.clone().cancelled_owned())
        .await;
    shutdown.cancel();
    if renewal.await.is_err() {
        tracing::error!("the renewal of the agent port's certificate ended in a panic");
    }
    Ok(served?)
}

/// Calls that need no session take no more than a session-less peer is worth, and logs no more than a batch.
fn limit_calls(request: http::Request<tonic::body::Body>) -> http::Request<tonic::body::Body> {
    let path = request.uri().path();
    // Streams, of messages that have limits of their own.
    if path.ends_with("/Session") || path.ends_with("/Exec") {
        return request;
    }
    let limit = if path.ends_with("/PutLogs") { MAX_LOG_BATCH } else { MAX_JOIN_MESSAGE };
    let too_large = move |_| Status::resource_exhausted(format!("the message is larger than {limit} bytes"));
    request.map(|body| tonic::body::Body::new(Limited::new(body, limit).map_err(too_large)))
}

#[cfg(test)]
mod tests;
