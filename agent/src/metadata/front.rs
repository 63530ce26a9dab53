//! One request: what it asks for, who asks, whether it may, and the answer.

use super::buckets::{Asker, Buckets};
use super::caller::{self, Caller, Door};
use super::details::{Details, Seen};
use super::documents::{Associations, NoCredentials};
use super::protection::{self, Protect};
use super::render::{self, Context};
use super::route::{Route, Version, What, route};
use super::server::Head;
use super::stats::{self, Brief, Keeper, Reader, Sample, Which};
use super::{Keyring, Parts};
use crate::engine::docker::chain;
use crate::engine::{TaskView, TaskViews};
use crate::network::Inside;
use http::{Method, StatusCode};
use longshore_model::{NetworkMode, TaskId};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The type of nearly every answer.
const JSON: &str = "application/json";

/// Before a refusal of somebody who asks too often: a container with many connections, each of which asks again at
/// once, would keep the agent busy with refusing.
const SLOWLY: Duration = Duration::from_millis(50);

/// What goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The type of the body.
    pub(super) kind: &'static str,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Self {
        match serde_json::to_vec(document) {
            Ok(body) => Self { status, kind: JSON, body },
            Err(error) => {
                tracing::error!(%error, "an answer could not be written");
                let body = b"\"the answer could not be written\"".into();
                Self { status: StatusCode::INTERNAL_SERVER_ERROR, kind: JSON, body }
            }
        }
    }

    pub(super) fn ok(document: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, document)
    }

    /// As ECS's agent says that something went wrong: a text, as JSON.
    fn refused(status: StatusCode, why: &str) -> Self {
        Self::json(status, &why)
    }
}

/// What an answer is made from.
pub(super) struct Front {
    views: watch::Receiver<TaskViews>,
    keyring: Arc<Keyring>,
    details: Details,
    buckets: Mutex<Buckets>,
    inside: watch::Receiver<Option<Inside>>,
    zone: Option<String>,
    protector: Arc<dyn Protect>,
    figures: Keeper,
    /// Answers so far, by status.
    answered: Mutex<BTreeMap<u16, u64>>,
}

impl Front {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { views, keyring, containers, inside, zone, protector, rate } = parts;
        let reader = Reader::of_this_host().unwrap_or_else(|error| {
            let error = chain(&error);
            tracing::error!(error, "containers' figures cannot be read on this host");
            Reader::default()
        });
        Self {
            views,
            keyring,
            details: Details::new(containers),
            buckets: Mutex::new(Buckets::new(rate)),
            inside,
            zone,
            protector,
            figures: Keeper::new(reader),
            answered: Mutex::default(),
        }
    }

    /// Answers a request of a task.
    pub(super) async fn answer(&self, door: Door, peer: IpAddr, head: &Head) -> Answer {
        let answer = self.find_answer(door, peer, head).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            tokio::time::sleep(SLOWLY).await;
        }
        *self.answered().entry(answer.status.as_u16()).or_default() += 1;
        answer
    }

    fn answered(&self) -> MutexGuard<'_, BTreeMap<u16, u64>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many requests of tasks were answered, by status.
    pub(super) fn counts(&self) -> BTreeMap<u16, u64> {
        self.answered().clone()
    }

    /// Every task now.
    pub(super) fn tasks(&self) -> Vec<Arc<TaskView>> {
        self.views.borrow().values().cloned().collect()
    }

    /// A container as far as it is known, for people: the container engine is not asked.
    pub(super) fn known(&self, view: &TaskView, index: usize) -> serde_json::Value {
        let seen = view.record.containers[index].phase.id().and_then(|id| self.details.known_of(id));
        let context = Context { version: Version::V4, network: None, zone: self.zone.as_deref() };
        serde_json::to_value(render::container(view, index, seen.as_deref(), context)).unwrap_or_default()
    }

    async fn find_answer(&self, door: Door, peer: IpAddr, head: &Head) -> Answer {
        let Head { method, path, query, body } = head;
        let Some(route) = route(path, query.as_deref()) else {
            return self.limited(Asker::Nobody(peer)).unwrap_or_else(|| {
                Answer::refused(StatusCode::NOT_FOUND, "there is nothing here; see docs/metadata.md for what there is")
            });
        };
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let writes = *method == Method::PUT && matches!(route, Route::Protection { .. });
        if !reads && !writes {
            return self.limited(Asker::Nobody(peer)).unwrap_or_else(|| {
                Answer::refused(StatusCode::METHOD_NOT_ALLOWED, "the metadata endpoint is only read from")
            });
        }
        match route {
            Route::ById { version, id, what } => match self.caller(id, door, peer).await {
                Some(caller) => match self.limited(Asker::Task(caller.view.record.id)) {
                    Some(refused) => refused,
                    None => self.tell(&caller, version, what).await,
                },
                None => self.limited(Asker::Nobody(peer)).unwrap_or_else(|| unknown(version, what)),
            },
            Route::ByAddress { what, container } => self.by_address(door, peer, what, container).await,
            Route::Credentials { version, id } => {
                let asker = self.at(door, peer).map_or(Asker::Nobody(peer), |view| Asker::Task(view.record.id));
                self.limited(asker).unwrap_or_else(|| no_credentials(version, id))
            }
            Route::Protection { id } => match self.caller(id, door, peer).await {
                Some(caller) => match self.limited(Asker::Task(caller.view.record.id)) {
                    Some(refused) => refused,
                    None => protection::answer(&*self.protector, &caller.view, writes.then_some(body)).await,
                },
                None => self.limited(Asker::Nobody(peer)).unwrap_or_else(protection::of_nobody),
            },
        }
    }

    /// Counts a request; the answer when there were too many.
    fn limited(&self, asker: Asker) -> Option<Answer> {
        // Held for one look-up; a poisoned one holds whole values.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let may = buckets.take(asker, Instant::now());
        (!may).then(|| {
            let why = format!("You have reached maximum request limit: {} a second", buckets.per_second());
            Answer::refused(StatusCode::TOO_MANY_REQUESTS, &why)
        })
    }

    /// The container that has an id, if the request comes from where that is.
    async fn caller(&self, id: &str, door: Door, peer: IpAddr) -> Option<Caller> {
        let found = self.keyring.find(id, &self.views.borrow());
        let (view, index) = found?;
        let caller = Caller { view, index };
        let from_here = |seen: Option<&Seen>| caller::may_come_from(&caller.view, seen, door, peer);
        if caller.view.outline.network_mode != NetworkMode::Bridge {
            return from_here(None).then_some(caller);
        }
        let mut seen = self.seen(&caller.view, index).await;
        if !from_here(seen.as_deref())
            && let Some(id) = caller.runtime_id()
        {
            // It may have another address since it was looked at.
            seen = self.details.again(id).await;
        }
        from_here(seen.as_deref()).then_some(caller)
    }

    fn at(&self, door: Door, peer: IpAddr) -> Option<Arc<TaskView>> {
        caller::by_address(&self.views.borrow(), door, peer)
    }

    async fn by_address(&self, door: Door, peer: IpAddr, what: What, container: Option<&str>) -> Answer {
        let Some(view) = self.at(door, peer) else {
            return self.limited(Asker::Nobody(peer)).unwrap_or_else(|| unknown(Version::V2, what));
        };
        if let Some(refused) = self.limited(Asker::Task(view.record.id)) {
            return refused;
        }
        let index = match container {
            None => Some(0),
            Some(id) => view.record.containers.iter().position(|c| c.phase.id() == Some(id)),
        };
        match index {
            Some(index) => self.tell(&Caller { view, index }, Version::V2, what).await,
            None => unknown(Version::V2, what),
        }
    }

    /// What the container engine knows of a container of a task.
    async fn seen(&self, view: &TaskView, index: usize) -> Option<Arc<Seen>> {
        let phase = &view.record.containers.get(index)?.phase;
        self.details.of(phase.id()?, phase.is_running()).await
    }

    async fn tell(&self, caller: &Caller, version: Version, what: What) -> Answer {
        let network = self.inside.borrow().as_ref().map(|inside| inside.network);
        let context = Context { version, network: network.as_ref(), zone: self.zone.as_deref() };
        let Caller { view, index } = caller;
        let answer = match what {
            What::Container => {
                let seen = self.seen(view, *index).await;
                Answer::ok(&render::container(view, *index, seen.as_deref(), context))
            }
            What::Task { tags } => {
                let mut seen = Vec::new();
                for index in 0..view.record.containers.len() {
                    seen.push(self.seen(view, index).await);
                }
                let seen: Vec<Option<&Seen>> = seen.iter().map(Option::as_deref).collect();
                Answer::ok(&render::task(view, &seen, tags, context))
            }
            What::Associations => Answer::ok(&Associations::default()),
            What::Stats => match self.figures(view, *index).await {
                Some(figures) => Answer::ok(&figures),
                None => Answer::refused(StatusCode::NOT_FOUND, "the container does not run, so there are no figures"),
            },
            What::TaskStats => {
                let all = (0..view.record.containers.len()).map(|index| async move {
                    let id = view.record.containers[index].phase.id()?.to_owned();
                    Some((id, self.figures(view, index).await))
                });
                let all = futures::future::join_all(all).await;
                Answer::ok(&all.into_iter().flatten().collect::<BTreeMap<_, _>>())
            }
        };
        self.forget();
        answer
    }

    /// What a container uses, as Docker tells it.
    async fn figures(&self, view: &TaskView, index: usize) -> Option<serde_json::Value> {
        let container = &view.record.containers[index];
        let id = container.phase.id()?;
        let mut pair = match self.details.process_of(id) {
            Some(pid) => self.figures.pair(&Which { id: id.to_owned(), pid }).await,
            None => None,
        };
        if pair.is_none() {
            // It was never looked at, or was started anew since.
            let pid = self.details.again(id).await?.pid?;
            pair = self.figures.pair(&Which { id: id.to_owned(), pid }).await;
        }
        let name = longshore_docker::container_name(view.record.id, &container.name);
        Some(stats::document(id, &name, &pair?, has_network(view, index)))
    }

    /// What a container used last, for metrics.
    pub(super) async fn reading(&self, view: &TaskView, index: usize) -> Option<Arc<Sample>> {
        let id = view.record.containers[index].phase.id()?;
        let pid = match self.details.process_of(id) {
            Some(pid) => pid,
            None => self.details.of(id, true).await?.pid?,
        };
        match self.figures.last(&Which { id: id.to_owned(), pid }).await {
            Some(sample) => Some(sample),
            None => {
                let pid = self.details.again(id).await?.pid?;
                self.figures.last(&Which { id: id.to_owned(), pid }).await
            }
        }
    }

    /// The containers that run, with their tasks and processes.
    pub(super) async fn processes(&self) -> Vec<(TaskId, Which)> {
        let mut all = Vec::new();
        for view in self.tasks() {
            for container in &view.record.containers {
                let Some(id) = container.phase.id().filter(|_| container.phase.is_running()) else { continue };
                let pid = match self.details.process_of(id) {
                    Some(pid) => Some(pid),
                    None => self.details.of(id, true).await.and_then(|seen| seen.pid),
                };
                all.extend(pid.map(|pid| (view.record.id, Which { id: id.to_owned(), pid })));
            }
        }
        all
    }

    /// The least of what containers use, as [`Keeper::briefs`] has it. The engine is asked again for the process of
    /// those of which nothing could be read: they may have been restarted.
    pub(super) async fn briefs(&self, which: Vec<(Which, Option<Brief>)>) -> (Vec<Option<Brief>>, u64, u64) {
        let read = self.figures.briefs(which.clone()).await;
        for ((which, _), _) in which.iter().zip(&read.0).filter(|(_, brief)| brief.is_none()) {
            self.details.again(&which.id).await;
        }
        self.forget();
        read
    }

    /// Forgets containers that are gone, once there are many of them.
    pub(super) fn forget(&self) {
        let views = self.views.borrow();
        let ids = || views.values().flat_map(|view| &view.record.containers).filter_map(|c| c.phase.id());
        let count = ids().count();
        if self.details.has_many(count) || self.figures.has_many(count) {
            let ids: BTreeSet<String> = ids().map(str::to_owned).collect();
            self.details.keep(&ids);
            self.figures.keep(&ids);
        }
    }
}

/// Whether the network's figures are the container's: on the host's own they would be the host's.
pub(super) fn has_network(view: &TaskView, index: usize) -> bool {
    let cut_off = view.container_spec(index).is_some_and(|spec| spec.disable_networking);
    !cut_off && matches!(view.outline.network_mode, NetworkMode::Bridge | NetworkMode::Awsvpc)
}

/// Nobody that is known, or not from where it is.
fn unknown(version: Version, what: What) -> Answer {
    let version = match version {
        Version::V2 => "V2",
        Version::V3 => "V3",
        Version::V4 => "V4",
    };
    let what = match what {
        What::Container => "container metadata",
        What::Task { .. } => "task metadata",
        What::Stats => "container stats",
        What::TaskStats => "task stats",
        What::Associations => "associations",
    };
    let why = format!("{version} {what} handler: unable to find a container of this host for the request");
    Answer::refused(StatusCode::NOT_FOUND, &why)
}

/// No task has a role here, so every id of one is unknown.
fn no_credentials(version: u8, id: Option<&str>) -> Answer {
    let (code, why) = match id {
        Some(_) => ("InvalidIdInRequest", "Credentials not found"),
        None => ("NoIdInRequest", "No Credential ID in the request"),
    };
    let status = StatusCode::BAD_REQUEST;
    let message = format!("CredentialsV{version}Request: {why}");
    Answer::json(status, &NoCredentials { code, message, status: status.as_u16() })
}

#[cfg(test)]
mod tests;
