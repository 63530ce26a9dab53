//! The task that looks at services when there may be something to decide.

use crate::commands::{NewDeployment, Plan, StepError, StepService, StepTaskSet, Stepped, Target, plan};
use crate::handle::Core;
use crate::records::{DeploymentController, SchedulingStrategy, Service, ServiceDeployment, ServiceKey};
use crate::services::launch::{daemon_targets, launch};
use crate::services::picture::picture;
use crate::services::wakes::Due;
use crate::services::words;
use crate::state::State;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use longshore_model::{InstanceId, Timestamp};
use longshore_rollout::{Launch as LaunchWhere, decide, delay};
use longshore_sched::explain;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Services decided over at once. Their steps share a commit.
const AT_ONCE: usize = 64;
/// Tasks that one step starts, and stops, at most; the next step goes on. A step is one batch of the store.
pub(super) const PER_STEP: usize = 32;
/// How long a service whose tasks found no place waits until it tries again, when nothing changes before.
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// The longest sleep: the wall clock may be set.
const LONGEST: Duration = Duration::from_secs(30);
/// Failures after which a service says that it cannot start tasks.
const SAYS_FAILING: u32 = 2;

/// Keeps services as they should be. Run it beside the owner task.
#[must_use]
pub struct Controller {
    core: Core,
}

/// What is to be carried out.
pub(super) enum Step {
    Service(Box<StepService>),
    TaskSet(Box<StepTaskSet>),
}

/// What one look at a service found.
pub(super) struct Looked {
    key: ServiceKey,
    /// Whether tasks found no place.
    unplaced: bool,
    /// Whether it waits for what becomes of silent hosts.
    pub(super) silent: bool,
    /// When to look again at the latest.
    pub(super) wake_at: Option<Timestamp>,
    /// Look again at once.
    pub(super) again: bool,
}

impl Controller {
    /// A controller of the services in `core`.
    pub fn new(core: Core) -> Self {
        Self { core }
    }

    /// Runs until `shutdown` completes.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = std::pin::pin!(shutdown);
        // Whatever happened while nobody looked.
        let mut due: BTreeSet<ServiceKey> = self.core.snapshot().services().map(|(key, _)| key.clone()).collect();
        let mut unplaced: BTreeSet<ServiceKey> = BTreeSet::new();
        let mut silent: BTreeSet<ServiceKey> = BTreeSet::new();
        let mut timers: BTreeMap<ServiceKey, Timestamp> = BTreeMap::new();
        let mut busy: BTreeSet<ServiceKey> = BTreeSet::new();
        let mut looks = FuturesUnordered::new();
        loop {
            let now = self.core.inner().clock.now();
            due.extend(timers.extract_if(.., |_, at| *at <= now).map(|(key, _)| key));
            let ready: Vec<ServiceKey> = due
                .iter()
                .filter(|key| !busy.contains(*key))
                .take(AT_ONCE.saturating_sub(busy.len()))
                .cloned()
                .collect();
            for key in ready {
                due.remove(&key);
                busy.insert(key.clone());
                let was_unplaced = unplaced.contains(&key);
                looks.push(self.look(key, was_unplaced));
            }
            let sleep = timers.values().min().map_or(LONGEST, |at| at.since(now).min(LONGEST));
            tokio::select! {
                () = &mut shutdown => return,
                Some(looked) = looks.next() => {
                    let Looked { key, unplaced: without, silent: waits, wake_at, again } = looked;
                    busy.remove(&key);
                    for (set, is_in) in [(&mut unplaced, without), (&mut silent, waits)] {
                        if is_in {
                            set.insert(key.clone());
                        } else {
                            set.remove(&key);
                        }
                    }
                    match wake_at {
                        Some(at) => timers.insert(key.clone(), at),
                        None => timers.remove(&key),
                    };
                    if again {
                        due.insert(key);
                    }
                }
                Due { services, rooms } = self.core.inner().service_wakes.next() => {
                    due.extend(services);
                    due.extend(unplaced.iter().chain(&silent).filter(|key| rooms.contains(&key.cluster)).cloned());
                    due.extend(self.daemons(&rooms));
                }
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// The DAEMON services of these clusters: hosts came or changed.
    fn daemons(&self, clusters: &BTreeSet<longshore_model::ClusterKey>) -> Vec<ServiceKey> {
        let state = self.core.snapshot();
        let of = |cluster| state.services_of(cluster, "");
        let daemon = |service: &Service| service.is_active() && service.scheduling == SchedulingStrategy::Daemon;
        clusters.iter().flat_map(of).filter(|s| daemon(&s.record)).map(|s| s.record.key.clone()).collect()
    }

    /// Decides over one service and carries it out.
    async fn look(&self, key: ServiceKey, was_unplaced: bool) -> Looked {
        let state = self.core.snapshot();
        let now = self.core.inner().clock.now();
        let nothing = |key| Looked { key, unplaced: false, silent: false, wake_at: None, again: false };
        let Some((step, mut looked)) = self.decided(&state, &key, was_unplaced, now) else { return nothing(key) };
        let Some(step) = step else { return looked };
        let done = match step {
            Step::Service(step) => self.core.submit(*step).await,
            Step::TaskSet(step) => self.core.submit(*step).await,
        };
        match done {
            Ok(Stepped { started, stopped }) => {
                if started + stopped > 0 {
                    tracing::info!(service = %key, cluster = %key.cluster, started, stopped, "a service moved");
                }
            }
            Err(StepError::Outdated) => looked.again = true,
            Err(StepError::Unavailable(why)) => {
                tracing::warn!(service = %key, %why, "could not carry out what was decided for a service");
                looked.wake_at = Some(now.after(Duration::from_secs(1)));
            }
        }
        looked
    }

    /// What is to be done for a service; `None` for one that is not there or over.
    fn decided(
        &self,
        state: &State,
        key: &ServiceKey,
        was_unplaced: bool,
        now: Timestamp,
    ) -> Option<(Option<Step>, Looked)> {
        let found = state.service(key).filter(|service| !service.record.is_over())?;
        let service = &found.record;
        match service.controller {
            DeploymentController::Ecs => {}
            DeploymentController::External => {
                let looked = Looked { key: key.clone(), unplaced: false, silent: false, wake_at: None, again: false };
                return Some(self.decided_for_sets(state, found, was_unplaced, now, looked));
            }
        }
        let primary = service.deployments.first()?;
        let healthy_after = self.healthy_after();
        let targets = || daemon_targets(state, service, &primary.revision);
        let picture = picture(state, service, targets, was_unplaced, healthy_after);
        let decision = decide(&picture, now);
        let silent = picture.tasks.iter().any(|task| task.is_wanted() && !Self::is_connected(state, task.host));
        let mut looked = Looked { key: key.clone(), unplaced: false, silent, wake_at: decision.wake_at, again: false };
        let mut says = Vec::new();
        let mut stops = decision.stops;
        looked.again |= stops.len() > PER_STEP;
        stops.truncate(PER_STEP);
        let placed = self.placed(state, service, primary, &decision.launch, &mut looked, &mut says, now);
        if decision.steady && service.is_active() {
            says.push(words::steady(key));
        }
        if decision.stuck {
            says.push(words::stuck(key));
        }
        if decision.pausing && primary.failures >= SAYS_FAILING && !delay(primary.failures, service.desired).is_zero() {
            says.push(words::failing(key));
        }
        let over = !service.is_active() && decision.steady;
        let quiet = stops.is_empty() && placed.is_none() && decision.verdict.is_none() && decision.gone.is_empty();
        // Events repeat what the service is; the command leaves out those that were said.
        if quiet && !decision.recovered && !over && says.is_empty() {
            return Some((None, looked));
        }
        let step = StepService {
            key: key.clone(),
            epoch: found.epoch,
            stops,
            verdict: decision.verdict,
            recovered: decision.recovered,
            gone: decision.gone,
            over,
            launch: placed,
            event_ids: (0..says.len() + 4).map(|_| uuid::Uuid::new_v4()).collect(),
            says,
            new: NewDeployment::random(),
        };
        Some((Some(Step::Service(Box::new(step))), looked))
    }

    pub(super) fn healthy_after(&self) -> Duration {
        self.core.inner().config.healthy_after
    }

    pub(super) fn is_connected(state: &State, host: InstanceId) -> bool {
        state.host(host).is_some_and(|host| host.record.is_connected())
    }

    /// Where the tasks to start go; what has no place is said.
    #[expect(clippy::too_many_arguments, reason = "each is another part of one look")]
    pub(super) fn placed(
        &self,
        state: &State,
        service: &Service,
        deployment: &ServiceDeployment,
        wanted: &LaunchWhere,
        looked: &mut Looked,
        says: &mut Vec<String>,
        now: Timestamp,
    ) -> Option<(Arc<crate::commands::Launch>, Plan)> {
        let total = wanted.count();
        let count = total.min(PER_STEP);
        if count == 0 {
            return None;
        }
        let target = match wanted {
            LaunchWhere::Anywhere(_) => Target::Cluster,
            LaunchWhere::On(hosts) => Target::Instances(hosts.iter().take(count).copied().collect()),
        };
        let tasks = u32::try_from(count).unwrap_or(u32::MAX);
        let planned = launch(state, service, deployment, tasks, target)
            .and_then(|launch| plan(state, &launch).map(|plan| (Arc::new(launch), plan)));
        let (launch, plan) = match planned {
            Ok(planned) => planned,
            Err(error) => {
                looked.unplaced = true;
                looked.wake_at = sooner(looked.wake_at, now.after(TRY_AGAIN));
                says.push(words::unplaced(&service.key, &error.message));
                return None;
            }
        };
        let found = plan.places.len();
        if found < count {
            looked.unplaced = true;
            looked.wake_at = sooner(looked.wake_at, now.after(TRY_AGAIN));
            says.push(words::unplaced(&service.key, &closest(state, service, &launch)));
        } else if count < total {
            looked.again = true;
        }
        (found > 0).then_some((launch, plan))
    }
}

fn sooner(at: Option<Timestamp>, other: Timestamp) -> Option<Timestamp> {
    Some(at.map_or(other, |at| at.min(other)))
}

/// The host that lacks the least, and what it lacks: reasons are in the order in which they are looked at, and the
/// last ones are those of a host that is right in everything else.
fn closest(state: &State, service: &Service, launch: &crate::commands::Launch) -> String {
    let Some(cluster) = state.cluster(&service.key.cluster).filter(|cluster| cluster.registered > 0) else {
        return "No Container Instances were found in your cluster.".to_owned();
    };
    let hosts = cluster.hosts.values().filter(|host| host.record.status.is_registered());
    let only: Option<BTreeSet<InstanceId>> = match &launch.target {
        Target::Cluster => None,
        Target::Instances(ids) => Some(ids.iter().copied().collect()),
    };
    let hosts = hosts.filter(|host| only.as_ref().is_none_or(|only| only.contains(&host.id())));
    let reasons = explain(hosts.map(|host| &host.view), &launch.request);
    let Some(best) = reasons.into_iter().max_by(|a, b| a.reason.rank().cmp(&b.reason.rank())) else {
        return "Every container instance took as many tasks as it can.".to_owned();
    };
    format!("The closest matching (container-instance {}) {}.", best.instance, best.reason.sentence())
}
