//! Health probes by the agent: HTTP and TCP, inside the container's own network, by labels of its definition.
//!
//! Owns the probes that go on and what they found ([`Verdicts`]). Whoever looks at a container of the engine takes a
//! verdict for the container's health ([`crate::engine::docker::DockerDriver`]); a change is an event like the engine's
//! own. So the plan knows nothing of probes, and whatever waits for health waits for these, too.

mod ask;
mod state;

use crate::engine::{Hint, TaskViews};
use crate::metadata::Look;
use longshore_model::{ContainerName, HealthStatus, Probe, TaskId, Timestamp};
use longshore_net::Namespace;
use longshore_plan::Phase;
use state::State;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Tries at once on a host.
const AT_ONCE: usize = 32;

/// Tries in a row that could not be made, after which that is said: a container whose health nobody knows may hold up
/// what waits for it.
const UNMADE: u32 = 10;

/// What probes found, by the engine's id of the container. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Verdicts(Arc<Mutex<HashMap<String, HealthStatus>>>);

impl Verdicts {
    /// What the probe of a container says; `None` for one that is not probed.
    #[must_use]
    pub fn of(&self, id: &str) -> Option<HealthStatus> {
        self.lock().get(id).copied()
    }

    fn set(&self, id: &str, health: HealthStatus) {
        self.lock().insert(id.to_owned(), health);
    }

    fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    /// The lock is held for one look-up and never across an await; a poisoned one holds whole values.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, HealthStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One run of a container: a restart begins another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    id: String,
    began_at: Option<Timestamp>,
}

/// What is probed.
#[derive(Debug, Clone)]
struct Subject {
    task: TaskId,
    container: ContainerName,
    probe: Probe,
}

/// Probes whatever runs and wants it: a long-lived task.
pub struct Prober {
    views: watch::Receiver<TaskViews>,
    containers: Arc<dyn Look>,
    hints: mpsc::Sender<Hint>,
    verdicts: Verdicts,
    places: Arc<Semaphore>,
}

impl Prober {
    /// Probes the containers of `views`, and tells of changes by `hints`.
    #[must_use]
    pub fn new(
        views: watch::Receiver<TaskViews>,
        containers: Arc<dyn Look>,
        hints: mpsc::Sender<Hint>,
        verdicts: Verdicts,
    ) -> Self {
        Self { views, containers, hints, verdicts, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Runs until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut going: BTreeMap<Run, AbortOnDropHandle<()>> = BTreeMap::new();
        loop {
            let wanted = wanted(&self.views.borrow_and_update());
            going.retain(|run, _| {
                let stays = wanted.contains_key(run);
                if !stays {
                    self.verdicts.forget(&run.id);
                }
                stays
            });
            for (run, subject) in wanted {
                let probing = || AbortOnDropHandle::new(tokio::spawn(self.one(run.id.clone(), subject).run()));
                going.entry(run.clone()).or_insert_with(probing);
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = self.views.changed() => if changed.is_err() { return },
            }
        }
    }

    fn one(&self, id: String, subject: Subject) -> One {
        // From here on it has a check, whatever comes of it.
        self.verdicts.set(&id, HealthStatus::Unknown);
        One {
            id,
            subject,
            containers: self.containers.clone(),
            hints: self.hints.clone(),
            verdicts: self.verdicts.clone(),
            places: self.places.clone(),
        }
    }
}

fn wanted(views: &TaskViews) -> BTreeMap<Run, Subject> {
    let mut wanted = BTreeMap::new();
    for (task, view) in views {
        for (i, record) in view.record.containers.iter().enumerate() {
            let (Phase::Running { id }, Some(spec)) = (&record.phase, view.container_spec(i)) else { continue };
            // Checked at registration; one that an older control plane let pass is none.
            let Ok(Some(probe)) = Probe::of(&spec.docker_labels) else { continue };
            let run = Run { id: id.clone(), began_at: record.restarts.began_at.or(record.started_at) };
            wanted.insert(run, Subject { task: *task, container: record.name.clone(), probe });
        }
    }
    wanted
}

/// The probe of one run of a container.
struct One {
    id: String,
    subject: Subject,
    containers: Arc<dyn Look>,
    hints: mpsc::Sender<Hint>,
    verdicts: Verdicts,
    places: Arc<Semaphore>,
}

impl One {
    async fn run(self) {
        let Subject { task, container, probe } = &self.subject;
        self.tell().await;
        let mut state = State::new(probe);
        let mut network = None;
        let mut unmade: u32 = 0;
        loop {
            let began = Instant::now();
            tokio::time::sleep(state.wait()).await;
            let tried = Instant::now();
            let found = match self.try_once(&mut network).await {
                Ok(found) => found,
                // Of a container that cannot be reached nothing is known, and what was known of it stays.
                Err(why) => {
                    unmade = unmade.saturating_add(1);
                    if unmade == UNMADE {
                        tracing::warn!(
                            %task, %container, why, tries = unmade,
                            "health probes cannot be made; what is known of the container's health stays"
                        );
                    } else {
                        tracing::debug!(%task, %container, why, "a health probe could not be made");
                    }
                    continue;
                }
            };
            if std::mem::take(&mut unmade) >= UNMADE {
                tracing::warn!(%task, %container, "health probes can be made again");
            }
            if let Err(why) = &found {
                tracing::debug!(%task, %container, why, "a health probe failed");
            }
            let Some(health) = state.take(found.is_ok(), tried - began, tried.elapsed()) else { continue };
            match &found {
                Ok(()) => tracing::info!(%task, %container, "the health probe says HEALTHY"),
                Err(why) => tracing::warn!(%task, %container, why, "the health probe says {health}"),
            }
            self.verdicts.set(&self.id, health);
            self.tell().await;
        }
    }

    async fn tell(&self) {
        let Subject { task, container, .. } = &self.subject;
        // The engine may be gone, at the end.
        let _ = self.hints.send(Hint::Container { task: *task, container: container.clone() }).await;
    }

    /// What the container answered. An error says why it could not be asked, which is nothing that it can do for: the
    /// engine does not say which process it is, or that has just ended.
    async fn try_once(&self, network: &mut Option<Namespace>) -> Result<Result<(), String>, String> {
        let chain = |e: &(dyn std::error::Error + 'static)| crate::engine::docker::chain(e);
        let inside = match network {
            Some(inside) => inside,
            None => {
                let seen = self.containers.look(&self.id).await?;
                let pid = seen.and_then(|seen| seen.pid).ok_or("it has no process")?;
                network.insert(Namespace::of_process(pid).map_err(|e| chain(&e))?)
            }
        };
        // Closed never.
        let _place = self.places.acquire().await;
        let probe = &self.subject.probe;
        let (question, timeout) = (probe.question.clone(), probe.timeout);
        inside.run(move || ask::ask(&question, timeout)).await.map_err(|e| chain(&e))
    }
}

#[cfg(test)]
mod tests;
