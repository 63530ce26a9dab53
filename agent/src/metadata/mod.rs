//! The endpoints that containers expect of ECS: what they ask about themselves at 169.254.170.2.
//!
//! Owns: the sockets for tasks (one in the host's namespace for modes `bridge` and `host`, one in the fabric for
//! `awsvpc`), who is behind a request, how many a task may make, and what the answers look like. Decides nothing about
//! tasks: it reads the engine's [`TaskViews`](crate::engine::TaskViews), and asks the container engine for what only
//! that knows. It works from the ledger on, before the control plane is reached and while it is not.
//!
//! # Who asks
//! Each container has an id that only it is told, in its environment ([`environment`]). The id is a hash of the task's
//! and the container's names with a key of this host ([`Keyring`]), so nothing has to be remembered of it, and a
//! restarted agent knows it again. It counts together with where the request comes from: a task with an address of its
//! own is only answered at that address ([`caller`]).

mod buckets;
mod caller;
mod details;
mod documents;
mod doors;
pub mod environment;
mod front;
mod introspection;
mod keyring;
mod prometheus;
mod protection;
mod render;
mod route;
mod server;
mod stats;
mod status;
#[cfg(test)]
pub(crate) mod tests;
mod usage;

pub use details::{Look, Mount, Seen};
pub use keyring::{Keyring, KeyringError};
pub use protection::{Protect, Said, Wanted};
pub use status::{DoorLine, MetadataLine};
pub use usage::{UsageAsked, UsageLine, usage_line};

use crate::config::Rate;
use crate::engine::TaskViews;
use crate::engine::status::EngineStatus;
use crate::identity::Identity;
use crate::ledger::Writes;
use crate::network::Inside;
use crate::session::{SessionFigures, SessionState};
use front::Front;
use introspection::Introspection;
use longshore_docker::Docker;
use longshore_model::InstanceHealth;
use longshore_net::TaskSockets;
use prometheus::Prometheus;
use server::Head;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// The port that the agent has for it in the host's namespace; ECS's own, which tasks are never given.
pub const PORT: u16 = 51679;

/// What the host's own programs are answered, each on loopback or not at all.
pub struct Local {
    /// Where the introspection API is.
    pub introspection: Option<SocketAddr>,
    /// Where the metrics are.
    pub metrics: Option<SocketAddr>,
    /// Who this host is, once it has joined.
    pub identity: watch::Receiver<Option<Arc<Identity>>>,
    /// What of the agent is told in metrics.
    pub metered: Metered,
    /// Who asks what is used.
    pub usage: UsageAsked,
}

/// The parts of the agent that metrics tell of.
pub struct Metered {
    /// Asks the engine how it is.
    pub engine: mpsc::Sender<oneshot::Sender<EngineStatus>>,
    /// How the session is.
    pub session: watch::Receiver<SessionState>,
    /// What it has done.
    pub figures: Arc<SessionFigures>,
    /// What the ledger has.
    pub writes: Arc<Writes>,
    /// The container engine, which counts what it is asked.
    pub docker: Docker,
    /// How the host is.
    pub health: watch::Receiver<InstanceHealth>,
}

/// What it is made of.
pub struct Parts {
    /// Every task.
    pub views: watch::Receiver<TaskViews>,
    /// Who knows the ids.
    pub keyring: Arc<Keyring>,
    /// The container engine.
    pub containers: Arc<dyn Look>,
    /// The fabric, once there is one.
    pub inside: watch::Receiver<Option<Inside>>,
    /// The host's zone.
    pub zone: Option<String>,
    /// Who protects tasks.
    pub protector: Arc<dyn Protect>,
    /// How many requests each task may make.
    pub rate: Rate,
}

/// The metadata endpoint, and what the host's own programs ask: a long-lived task.
pub struct Metadata {
    front: Arc<Front>,
    local: Local,
    inside: watch::Receiver<Option<Inside>>,
    sockets: watch::Receiver<TaskSockets>,
    status: watch::Sender<MetadataLine>,
}

impl Metadata {
    /// An endpoint that is not open yet, and where its status is read. `sockets` says what tasks on the host's own network
    /// are told by, once that is known.
    #[must_use]
    pub fn new(
        parts: Parts,
        local: Local,
        sockets: watch::Receiver<TaskSockets>,
    ) -> (Self, watch::Receiver<MetadataLine>) {
        let inside = parts.inside.clone();
        let (status, status_out) = watch::channel(MetadataLine::default());
        (Self { front: Arc::new(Front::new(parts)), local, inside, sockets, status }, status_out)
    }

    /// Answers until `shutdown`. A socket that cannot be had is tried for again, and keeps nothing else from going on.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { front, local, inside, sockets, status } = self;
        let Local { introspection, metrics, identity, metered, usage } = local;
        let usage = usage::read(front.clone(), usage);
        let host = doors::host(front.clone(), sockets, &status);
        let fabric = doors::fabric(front.clone(), inside, &status);
        let asked = Arc::new(Introspection { front: front.clone(), identity });
        let introspection = doors::local("introspection", introspection, &status, move |_, head: Head| {
            let asked = asked.clone();
            async move { asked.answer(&head) }
        });
        let figures = Arc::new(Prometheus { front, metered });
        let metrics = doors::local("metrics", metrics, &status, move |_, head: Head| {
            let figures = figures.clone();
            async move { figures.answer(&head).await }
        });
        let all = async { tokio::join!(host, fabric, introspection, metrics, usage) };
        let _ = shutdown.run_until_cancelled(all).await;
    }
}
