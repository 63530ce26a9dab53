//! How the rest of the agent speaks to the network's owner.

use super::fabric::Fabric;
use super::files::TaskNames;
use super::quarantine::Recorded;
use super::status::NetworkLine;
use crate::engine::drivers::Interfaces;
use async_trait::async_trait;
use longshore_model::{AwsvpcSpec, NetworkConfig, NetworkStatus, NetworkUpdate, TaskId, TaskSpec};
use longshore_plan::{Failure, Interface};
use std::fmt;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// Requests that may wait: each task has one at most, and the engine's own limits keep them few. Whoever asks waits for
/// a place.
const REQUESTS: usize = 256;

/// What the session heard and the owner has not taken yet. More is dropped: a lost update is noticed at the next one,
/// and the rest is said again.
const HEARD: usize = 256;

/// What the engine asks for.
pub(super) enum Request {
    /// An interface for a task, the same again while it has one.
    Claim(Claim),
    /// What a task has, after its sandbox may have ended.
    Wake(Wake),
    /// The end of what a task has.
    Release { task: TaskId, answer: oneshot::Sender<Result<(), Failure>> },
    /// The tasks that have one.
    List { answer: oneshot::Sender<Vec<TaskId>> },
    /// How everything is, for people.
    Status { answer: oneshot::Sender<NetworkLine> },
}

/// A task that wants an interface.
pub(super) struct Claim {
    pub(super) task: TaskId,
    pub(super) wanted: AwsvpcSpec,
    pub(super) names: TaskNames,
    pub(super) answer: oneshot::Sender<Result<Interface, Failure>>,
}

/// A task with an interface, one of whose containers is started again.
pub(super) struct Wake {
    pub(super) task: TaskId,
    pub(super) names: TaskNames,
    pub(super) answer: oneshot::Sender<Result<(), Failure>>,
}

/// What the control plane said.
#[derive(Debug)]
pub enum Heard {
    /// Of the network.
    Update(NetworkUpdate),
    /// What it has recorded by this revision.
    Recorded {
        /// The revision.
        revision: u64,
        /// What.
        what: Recorded,
    },
    /// Every host that counts is at this generation of the network, or past it.
    Settled(u64),
}

/// The session's ends.
#[derive(Debug, Clone)]
pub struct SessionLink {
    /// Takes what was heard. A full queue drops it; see [`Heard`].
    pub heard: mpsc::Sender<Heard>,
    /// What to tell the control plane; absent while there is nothing to tell.
    pub status: watch::Receiver<Option<NetworkStatus>>,
    /// Rises each time that an update did not fit: the control plane is asked for everything.
    pub misfits: watch::Receiver<u64>,
}

/// The fabric, for whoever answers to tasks inside it.
#[derive(Clone)]
pub struct Inside {
    /// Opens the sockets.
    pub fabric: Arc<dyn Fabric>,
    /// The network that the tasks are in.
    pub network: NetworkConfig,
}

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inside").field("network", &self.network).finish_non_exhaustive()
    }
}

/// The owner's ends.
#[derive(Debug)]
pub struct Ends {
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) heard: mpsc::Receiver<Heard>,
    pub(super) status: watch::Sender<Option<NetworkStatus>>,
    pub(super) misfits: watch::Sender<u64>,
    pub(super) inside: watch::Sender<Option<Inside>>,
}

/// The channels between the owner, the engine and the session.
#[must_use]
pub fn link() -> (Ends, NetworkHandle, SessionLink) {
    let (requests, requests_out) = mpsc::channel(REQUESTS);
    let (heard, heard_out) = mpsc::channel(HEARD);
    let (status, status_out) = watch::channel(None);
    let (misfits, misfits_out) = watch::channel(0);
    let (inside, inside_out) = watch::channel(None);
    let ends = Ends { requests: requests_out, heard: heard_out, status, misfits, inside };
    (
        ends,
        NetworkHandle { requests, inside: inside_out },
        SessionLink { heard, status: status_out, misfits: misfits_out },
    )
}

/// Asks the owner for interfaces. Cheap to clone.
#[derive(Debug, Clone)]
pub struct NetworkHandle {
    requests: mpsc::Sender<Request>,
    inside: watch::Receiver<Option<Inside>>,
}

impl NetworkHandle {
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Failure> {
        let gone = || Failure::Away("the agent's network part has ended".to_owned());
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }

    /// The fabric, once there is one; another value each time that it was opened anew.
    #[must_use]
    pub fn inside(&self) -> watch::Receiver<Option<Inside>> {
        self.inside.clone()
    }

    /// How everything is, for people; absent when the agent is ending.
    pub async fn status(&self) -> Option<NetworkLine> {
        self.ask(|answer| Request::Status { answer }).await.ok()
    }
}

#[async_trait]
impl Interfaces for NetworkHandle {
    async fn ensure(&self, spec: &TaskSpec) -> Result<Interface, Failure> {
        let Some(wanted) = spec.awsvpc.clone() else {
            return Err(Failure::Lasting("the task's definition says nothing of its interface".to_owned()));
        };
        let (task, names) = (spec.id, TaskNames::of(spec));
        self.ask(|answer| Request::Claim(Claim { task, wanted, names, answer })).await?
    }

    async fn ensure_again(&self, spec: &TaskSpec) -> Result<(), Failure> {
        let (task, names) = (spec.id, TaskNames::of(spec));
        self.ask(|answer| Request::Wake(Wake { task, names, answer })).await?
    }

    async fn release(&self, task: TaskId) -> Result<(), Failure> {
        self.ask(|answer| Request::Release { task, answer }).await?
    }

    async fn list(&self) -> Result<Vec<TaskId>, Failure> {
        self.ask(|answer| Request::List { answer }).await
    }
}
