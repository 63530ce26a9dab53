//! The task that looks at services when there may be something to decide.

use crate::commands::{NewDeployment, Plan, StepError, StepService, StepTaskSet, Stepped, Target, is_news, plan};
use crate::handle::Core;
use crate::records::{DeploymentController, SchedulingStrategy, Service, ServiceDeployment, ServiceKey};
use crate::services::launch::{daemon_targets, launch};
use crate::services::lost::Standing;
use crate::services::picture::{Seen, is_uneven_over, picture, rebalance, zones};
use crate::services::timers::Timers;
use crate::services::wakes::Due;
use crate::services::words;
use crate::state::State;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use longshore_ecs_api::enums::AvailabilityZoneRebalancing;
use longshore_model::{ClusterKey, Timestamp};
use longshore_rollout::{Launch as LaunchWhere, decide};
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Services decided over at once. Their steps share a commit.
const AT_ONCE: usize = 64;
/// Tasks that one step starts, and stops, at most; the next step goes on. A step is one batch of the store.
pub(super) const PER_STEP: usize = 32;
/// How long a service whose tasks found no place waits until it tries again, when nothing changes before.
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// What the two clocks may differ by when a time is awaited.
const TICK: Duration = Duration::from_millis(10);
/// The longest sleep: the wall clock may be set.
const LONGEST: Duration = Duration::from_secs(30);
/// Refusals of outdated steps after which others have their turn first.
const REFUSALS: u32 = 8;
/// How much longer the wait is after each of them: they cost a plan over all hosts.
const REFUSED: Duration = Duration::from_millis(2);
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

impl Step {
    /// The tasks to start.
    const fn launch(&mut self) -> &mut Option<(Arc<crate::commands::Launch>, Option<Plan>)> {
        match self {
            Self::Service(step) => &mut step.launch,
            Self::TaskSet(step) => &mut step.launch,
        }
    }
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

/// Services that hosts concern whether or not they have tasks there.
#[derive(Default)]
struct Followers {
    /// DAEMON services: they come first to a new host.
    daemons: Vec<ServiceKey>,
    /// Those that are evened out over zones, and are not even.
    others: Vec<ServiceKey>,
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
        // DAEMON services whose hosts changed: the others of their clusters wait until these have been looked at.
        let mut first: BTreeSet<ServiceKey> = BTreeSet::new();
        let mut unplaced: BTreeSet<ServiceKey> = BTreeSet::new();
        let mut silent: BTreeSet<ServiceKey> = BTreeSet::new();
        let mut timers = Timers::default();
        let mut busy: BTreeSet<ServiceKey> = BTreeSet::new();
        // Those of `first` that are being looked at.
        let mut early: BTreeSet<ServiceKey> = BTreeSet::new();
        let mut looks = FuturesUnordered::new();
        loop {
            let now = self.core.inner().clock.now();
            due.extend(timers.over(now));
            let waiting: BTreeSet<&ClusterKey> = first.iter().chain(&early).map(|key| &key.cluster).collect();
            let others = due.iter().filter(|key| !waiting.contains(&key.cluster));
            let ready: Vec<ServiceKey> = first
                .iter()
                .chain(others)
                .filter(|key| !busy.contains(*key))
                .take(AT_ONCE.saturating_sub(busy.len()))
                .cloned()
                .collect();
            for key in ready {
                due.remove(&key);
                if first.remove(&key) {
                    early.insert(key.clone());
                }
                busy.insert(key.clone());
                let was_unplaced = unplaced.contains(&key);
                looks.push(self.look(key, was_unplaced));
            }
            let sleep = timers.next().map_or(LONGEST, |at| at.since(now).min(LONGEST));
            // In the same order each time, so that one run of the simulation is like the next. Nobody starves: what was
            // looked at is looked at again only after a change.
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                Some(looked) = looks.next() => {
                    let Looked { key, unplaced: without, silent: waits, wake_at, again } = looked;
                    busy.remove(&key);
                    early.remove(&key);
                    for (set, is_in) in [(&mut unplaced, without), (&mut silent, waits)] {
                        if is_in {
                            set.insert(key.clone());
                        } else {
                            set.remove(&key);
                        }
                    }
                    timers.set(&key, wake_at);
                    if again {
                        due.insert(key);
                    }
                }
                Due { services, rooms, hosts } = self.core.inner().service_wakes.next() => {
                    self.core.inner().silences.tidy(&self.core.snapshot());
                    due.extend(services);
                    due.extend(unplaced.iter().chain(&silent).filter(|key| rooms.contains(&key.cluster)).cloned());
                    let Followers { daemons, others } = self.followers(&hosts);
                    first.extend(daemons);
                    due.extend(others);
                }
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// The services of these clusters that follow their hosts.
    fn followers(&self, clusters: &BTreeSet<ClusterKey>) -> Followers {
        let state = self.core.snapshot();
        let mut followers = Followers::default();
        for cluster in clusters {
            let zones = zones(&state, cluster);
            for service in state.services_of(cluster, "").map(|s| &s.record).filter(|service| service.is_active()) {
                let evens_out = || {
                    service.zone_rebalancing == Some(AvailabilityZoneRebalancing::Enabled)
                        && is_uneven_over(&state, &service.key, &zones)
                };
                match service.scheduling {
                    SchedulingStrategy::Daemon => followers.daemons.push(service.key.clone()),
                    SchedulingStrategy::Replica if evens_out() => followers.others.push(service.key.clone()),
                    SchedulingStrategy::Replica => {}
                }
            }
        }
        followers
    }

    /// Decides over one service and carries it out.
    async fn look(&self, key: ServiceKey, was_unplaced: bool) -> Looked {
        let mut refused = 0;
        loop {
            let state = self.core.snapshot();
            let now = self.core.inner().clock.now();
            let nothing = |key| Looked { key, unplaced: false, silent: false, wake_at: None, again: false };
            let Some((step, mut looked)) = self.decided(&state, &key, was_unplaced, now) else { return nothing(key) };
            let Some(mut step) = step else { return looked };
            let launch = step.launch();
            let found = launch.as_ref().and_then(|(_, plan)| Some(plan.as_ref()?.places.len())).unwrap_or(0);
            if refused > 0
                && let Some((_, plan)) = launch
            {
                // Hosts may change faster than a plan gets its turn. What is planned at its turn always holds.
                *plan = None;
            }
            let done = match step {
                Step::Service(step) => self.core.submit(*step).await,
                Step::TaskSet(step) => self.core.submit(*step).await,
            };
            match done {
                Ok(Stepped { started, stopped }) => {
                    if started + stopped > 0 {
                        tracing::info!(service = %key, cluster = %key.cluster, started, stopped, "a service moved");
                    }
                    looked.again |= started < found;
                }
                Err(StepError::Outdated) if refused < REFUSALS => {
                    tokio::time::sleep(REFUSED * refused).await;
                    refused += 1;
                    continue;
                }
                Err(StepError::Outdated) => looked.again = true,
                Err(StepError::Unavailable(why)) => {
                    tracing::warn!(service = %key, %why, "could not carry out what was decided for a service");
                    looked.wake_at = Some(now.after(Duration::from_secs(1)));
                }
            }
            return looked;
        }
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
        let targets = || daemon_targets(state, service, &primary.revision);
        let Seen { mut picture, silent } = picture(state, service, targets, self.core.inner().looking(was_unplaced));
        picture.rebalance = rebalance(state, service, &picture, self.core.inner().fencing(), now);
        let decision = decide(&picture, now);
        let wake_at = decision.wake_at;
        let mut looked = Looked { key: key.clone(), unplaced: false, silent: false, wake_at, again: false };
        let mut says = Vec::new();
        self.mind(&silent, &mut looked, &mut says, now);
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
        // A host that does not answer says nothing of how its tasks end.
        if !service.is_active() && !picture.tasks.is_empty() && picture.tasks.iter().all(|task| task.lost) {
            let hosts: BTreeSet<_> = picture.tasks.iter().map(|task| task.host).collect();
            says.push(words::waits_for_hosts(key, &hosts));
        }
        if decision.halted {
            says.push(words::halted(key, &primary.id));
        }
        if decision.pausing && primary.setbacks >= SAYS_FAILING {
            says.push(words::failing(key));
        }
        let over = !service.is_active() && decision.steady;
        let quiet = stops.is_empty() && placed.is_none() && decision.verdict.is_none() && decision.gone.is_empty();
        // Each look finds again what the service is. A turn of the owner's is for what is new.
        if quiet {
            says.retain(|message| is_news(found.events.iter().rev().map(|event| &**event), message, now));
        }
        if quiet && !decision.recovered && !decision.forgiven && !over && says.is_empty() {
            return Some((None, looked));
        }
        let step = StepService {
            key: key.clone(),
            epoch: found.epoch,
            stops,
            silent_share_percent: self.core.inner().config.losses.silent_share_percent,
            verdict: decision.verdict,
            recovered: decision.recovered,
            forgiven: decision.forgiven,
            gone: decision.gone,
            over,
            launch: placed.map(|(launch, plan)| (launch, Some(plan))),
            event_ids: (0..says.len() + 4).map(|_| uuid::Uuid::new_v4()).collect(),
            says,
            new: NewDeployment::random(),
        };
        Some((Some(Step::Service(Box::new(step))), looked))
    }

    /// Looks after silent hosts: when to look again, and what to say.
    pub(super) fn mind(&self, silent: &[Standing], looked: &mut Looked, says: &mut Vec<String>, now: Timestamp) {
        looked.silent |= silent.iter().any(|standing| *standing != Standing::Lost);
        for standing in silent {
            match standing {
                Standing::Here | Standing::Lost => {}
                Standing::Silent(left) => looked.wake_at = sooner(looked.wake_at, now.after(*left + TICK)),
                Standing::Many { silent, of, late } => {
                    if *late {
                        looked.wake_at = sooner(looked.wake_at, now.after(self.core.inner().config.lease / 2));
                    }
                    says.push(words::held(&looked.key, *silent, *of));
                }
            }
        }
        says.dedup();
    }

    pub(super) fn inner(&self) -> &crate::handle::Inner {
        self.core.inner()
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
        let planned = launch(state, service, deployment, tasks, target, self.core.inner().fencing())
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
            says.push(words::unplaced(&service.key, &words::closest(&plan.refusals)));
        } else if count < total {
            looked.again = true;
        }
        (found > 0).then_some((launch, plan))
    }
}

fn sooner(at: Option<Timestamp>, other: Timestamp) -> Option<Timestamp> {
    Some(at.map_or(other, |at| at.min(other)))
}
