//! What is to be done for a service, from a snapshot: the step that the owner task is to carry out. Whether tasks are
//! started or stopped is decided by `longshore_rollout`; here are their places, and the words for what there is to say.

use crate::commands::{Launch, Moves, NewDeployment, Plan, StepService, StepTaskSet, Target, is_news, plan};
use crate::config::CoreConfig;
use crate::records::{DeploymentController, Service, ServiceDeployment, ServiceKey};
use crate::services::hearing::Hearing;
use crate::services::launch::{Basis, Fencing, daemon_targets, launch};
use crate::services::lost::{Silences, Standing, Watch};
#[cfg(test)]
use crate::services::picture::set_picture;
use crate::services::picture::{Looking, Seen, picture, rebalance};
use crate::services::troubles::troubles;
use crate::services::words::{self, Said};
use crate::state::{Silent, State};
use longshore_model::{ClusterKey, Timestamp};
use longshore_rollout::{Launch as LaunchWhere, Picture, Rebalance, decide, is_uneven};
use std::sync::Arc;
use std::time::Duration;

/// Tasks that one step starts, and stops, at most; the next step goes on. A step is one batch of the store.
pub(super) const PER_STEP: usize = 32;
/// How long a service whose tasks found no place waits until it tries again, when nothing changes before.
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// What the two clocks may differ by when a time is awaited.
const TICK: Duration = Duration::from_millis(10);

/// What is to be carried out.
pub(crate) enum Step {
    Service(Box<StepService>),
    TaskSet(Box<StepTaskSet>),
}

impl Step {
    /// The tasks to start.
    pub(super) const fn launch(&mut self) -> &mut Option<(Arc<Launch>, Option<Plan>)> {
        match self {
            Self::Service(step) => &mut step.moves.launch,
            Self::TaskSet(step) => &mut step.moves.launch,
        }
    }
}

/// What one look at a service found.
pub(crate) struct Looked {
    pub(super) key: ServiceKey,
    /// Whether tasks found no place.
    pub(super) unplaced: bool,
    /// Whether it waits for room that others have, or are to have.
    pub(super) wants_room: bool,
    /// Whether it waits for what becomes of silent hosts.
    pub(super) silent: bool,
    /// When to look again at the latest.
    pub(super) wake_at: Option<Timestamp>,
    /// Look again at once.
    pub(super) again: bool,
}

impl Looked {
    /// Nothing of note.
    pub(super) fn nothing(key: &ServiceKey) -> Self {
        Self { key: key.clone(), unplaced: false, wants_room: false, silent: false, wake_at: None, again: false }
    }

    /// Tasks found no place: whatever makes room has it looked at again.
    fn has_no_place(&mut self, now: Timestamp) {
        self.unplaced = true;
        self.waits_for_room(now);
    }

    /// It waits for room that it cannot make by itself.
    pub(super) fn waits_for_room(&mut self, now: Timestamp) {
        self.wants_room = true;
        self.wake_at = sooner(self.wake_at, now.after(TRY_AGAIN));
    }
}

/// What decisions over services rest on beside a snapshot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decider<'a> {
    pub(crate) config: &'a CoreConfig,
    pub(crate) silences: &'a Silences,
    pub(crate) hearing: &'a Hearing,
    /// The clock of [`Clock::ticks`](crate::Clock::ticks).
    pub(crate) ticks: Duration,
    /// See [`Clock::boot`](crate::Clock::boot).
    pub(crate) boot: u64,
    /// The wall clock at that moment.
    pub(crate) now: Timestamp,
}

impl<'a> Decider<'a> {
    /// What services are looked at with; `unplaced` is whether a service's last tasks found no place.
    pub(crate) const fn looking(self, unplaced: bool) -> Looking<'a> {
        let Self { config, silences, hearing, ticks, boot, now } = self;
        let CoreConfig { losses, lease, return_within, healthy_after, .. } = config;
        let watch = Watch { losses, lease: *lease, silences, hearing, return_within: *return_within, ticks };
        Looking { watch, boot, now, healthy_after: *healthy_after, unplaced }
    }

    /// When cut-off agents stop tasks that must not run twice.
    pub(crate) const fn fencing(self) -> Fencing {
        Fencing { lease: self.config.lease, grace: self.config.losses.fence_grace }
    }

    /// What a decision over a service would rest on, apart from the hosts that a DAEMON service follows, and from room:
    /// what others have or are to have of it is no change of the service.
    #[cfg(test)]
    pub(crate) fn pictures(self, state: &State, service: &Service) -> Vec<longshore_rollout::Picture> {
        let sets = service.task_sets.iter().map(|set| set_picture(state, service, set, self.looking(false)));
        let whole = (!service.is_over()).then(|| picture(state, service, Vec::new, self.looking(false)));
        let without_room = |seen: Seen| longshore_rollout::Picture { no_gain: false, ..seen.picture };
        whole.into_iter().chain(sets).map(without_room).collect()
    }

    /// What is to be done for a service; `None` for one that is not there or over.
    pub(crate) fn decided(
        self,
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
                let looked = Looked::nothing(key);
                return Some(self.decided_for_sets(state, found, was_unplaced, now, looked));
            }
        }
        let primary = service.deployments.first()?;
        let targets = || daemon_targets(state, service, &primary.revision);
        let Seen { mut picture, silent } = picture(state, service, targets, self.looking(was_unplaced));
        picture.rebalance = rebalance(state, service, &picture, self.fencing(), now);
        let decision = decide(&picture, now);
        let wake_at = decision.wake_at;
        let mut looked = Looked { wake_at, ..Looked::nothing(key) };
        // Also while its zones could be evened out but for room.
        if picture.no_gain || picture.rebalance != Rebalance::Off && is_uneven(&picture, now) {
            looked.waits_for_room(now);
        }
        let mut says = Vec::new();
        self.mind(&silent, &mut looked, &mut says, now);
        let troubles = troubles(key, &picture, &decision, primary);
        let mut stops = decision.stops;
        looked.again |= stops.len() > PER_STEP;
        stops.truncate(PER_STEP);
        let placed = self.placed(state, service, primary, &picture, &decision.launch, &mut looked, &mut says, now);
        if decision.steady && service.is_active() {
            says.push(words::steady(key).into());
        }
        says.extend(troubles.into_iter().map(Said::from));
        let over = !service.is_active() && decision.steady;
        let quiet = stops.is_empty() && placed.is_none() && decision.verdict.is_none() && decision.gone.is_empty();
        // Each look finds again what the service is. A turn of the owner's is for what is new.
        if quiet {
            says.retain(|said| is_news(found.events.iter().rev().map(|event| &**event), &said.message, now));
        }
        if quiet && !decision.recovered && !decision.forgiven && !over && says.is_empty() {
            return Some((None, looked));
        }
        let step = StepService {
            moves: Moves {
                key: key.clone(),
                epoch: found.epoch,
                launch: placed.map(|(launch, plan)| (launch, Some(plan))),
                recovered: decision.recovered,
                forgiven: decision.forgiven,
                stops,
                silent: silent_hosts(state, &key.cluster),
            },
            verdict: decision.verdict,
            gone: decision.gone,
            over,
            event_ids: (0..says.len() + 4).map(|_| uuid::Uuid::new_v4()).collect(),
            says,
            new: NewDeployment::random(),
        };
        Some((Some(Step::Service(Box::new(step))), looked))
    }

    /// Looks after silent hosts: when to look again, and what to say.
    pub(super) fn mind(self, silent: &[Standing], looked: &mut Looked, says: &mut Vec<Said>, now: Timestamp) {
        looked.silent |= silent.iter().any(|standing| *standing != Standing::Lost);
        for standing in silent {
            match standing {
                Standing::Here | Standing::Lost => {}
                Standing::Silent(left) => looked.wake_at = sooner(looked.wake_at, now.after(*left + TICK)),
                Standing::Many { silent, of, late } => {
                    if *late {
                        looked.wake_at = sooner(looked.wake_at, now.after(self.config.lease / 2));
                    }
                    says.push(words::held(&looked.key, *silent, *of).into());
                }
            }
        }
        says.dedup();
    }

    /// Where the tasks to start go; what has no place is said.
    #[expect(clippy::too_many_arguments, reason = "each is another part of one look")]
    pub(super) fn placed(
        self,
        state: &State,
        service: &Service,
        deployment: &ServiceDeployment,
        picture: &Picture,
        wanted: &LaunchWhere,
        looked: &mut Looked,
        says: &mut Vec<Said>,
        now: Timestamp,
    ) -> Option<(Arc<Launch>, Plan)> {
        let total = wanted.count();
        let count = total.min(PER_STEP);
        if count == 0 {
            return None;
        }
        // Of hosts every one is asked: those without room must not keep the others from their turn.
        let target = match wanted {
            LaunchWhere::Anywhere(_) => Target::Cluster,
            LaunchWhere::On(hosts) => Target::Instances(hosts.clone()),
        };
        let tasks = u32::try_from(count).unwrap_or(u32::MAX);
        let basis = Basis { picture, fencing: self.fencing(), now };
        let planned = launch(state, service, deployment, tasks, target, basis).and_then(|mut launch| {
            let mut plan = plan(state, &launch)?;
            plan.places.truncate(count);
            if let Target::Instances(hosts) = &mut launch.target {
                *hosts = plan.places.iter().map(|(host, _)| *host).collect();
            }
            Ok((Arc::new(launch), plan))
        });
        let (launch, plan) = match planned {
            Ok(planned) => planned,
            Err(error) => {
                looked.has_no_place(now);
                says.push(words::unplaceable(&service.key, &service.capacity, &error));
                return None;
            }
        };
        let found = plan.places.len();
        if found < count {
            looked.has_no_place(now);
            says.push(words::refused(&service.key, &service.capacity, &plan.refusals));
        } else if count < total {
            looked.again = true;
        }
        (found > 0).then_some((launch, plan))
    }
}

/// The silent hosts of a cluster, which what is decided over lost ones rests on.
pub(super) fn silent_hosts(state: &State, cluster: &ClusterKey) -> Silent {
    state.cluster(cluster).map(|cluster| cluster.silent.clone()).unwrap_or_default()
}

fn sooner(at: Option<Timestamp>, other: Timestamp) -> Option<Timestamp> {
    Some(at.map_or(other, |at| at.min(other)))
}
