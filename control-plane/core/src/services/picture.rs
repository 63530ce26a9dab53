//! A service as decisions see it, from a snapshot.

use crate::clock::Tick;
use crate::commands::{Target, plan};
use crate::records::{
    RolloutState, SchedulingStrategy, Service, ServiceDeployment, ServiceKey, ServiceRevision, ServiceTaskSet, Task,
    TaskSetStatus,
};
use crate::services::gain::is_kept_from;
use crate::services::launch::{Basis, Fencing, launch};
use crate::services::lost::{Standing, Watch};
use crate::show::{TaskHealth, task_health};
use crate::state::{HostState, State};
use longshore_ecs_api::enums::{AvailabilityZoneRebalancing, ThresholdType};
use longshore_ecs_api::types::DeploymentCircuitBreaker;
use longshore_model::planted::{Bug, is_planted};
use longshore_model::{ClusterKey, DesiredStatus, InstanceId, TaskStatus, Timestamp};
use longshore_rollout::{
    Bounds, Breaker, Deployment, Health, Host, Phase, Picture, Rebalance, Scheduling, Task as TaskPicture, Threshold,
    is_uneven,
};
use longshore_sched::HostStatus;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The zone of a host, for spreading and for scale-in.
const ZONE: &str = "ecs.availability-zone";

/// What a picture rests on beside the state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Looking<'a> {
    /// Which silent hosts are given up.
    pub(crate) watch: Watch<'a>,
    /// See [`Clock::boot`](crate::Clock::boot).
    pub(crate) boot: u64,
    /// The wall clock.
    pub(crate) now: Timestamp,
    /// See [`CoreConfig::healthy_after`](crate::CoreConfig).
    pub(crate) healthy_after: Duration,
    /// Whether the last tasks that should have started found no place.
    pub(crate) unplaced: bool,
}

/// A picture, and what it does not show of hosts.
pub(super) struct Seen {
    pub(super) picture: Picture,
    /// How it stands with the hosts that are silent, one for each task that is there.
    pub(super) silent: Vec<Standing>,
}

impl Seen {
    /// With what giving tasks up would gain those of `revision`.
    fn with_gain(
        mut self,
        state: &State,
        service: &Service,
        revision: Option<&ServiceRevision>,
        now: Timestamp,
    ) -> Self {
        self.picture.no_gain =
            revision.is_some_and(|revision| is_kept_from(state, service, revision, &self.picture, now));
        self
    }
}

/// The picture of `service`. `targets` are the hosts that a DAEMON service's tasks may run on.
pub(super) fn picture(
    state: &State,
    service: &Service,
    targets: impl FnOnce() -> Vec<Arc<HostState>>,
    looking: Looking<'_>,
) -> Seen {
    let Looking { healthy_after, unplaced, .. } = looking;
    let tasks = state.service_tasks(&service.key);
    let Watched { pictures, silent, lost } = watched(state, service, &tasks, looking);
    let scheduling = match service.scheduling {
        SchedulingStrategy::Replica => Scheduling::Replica { desired: service.desired },
        SchedulingStrategy::Daemon => {
            let mut targets = targets();
            targets.retain(|host| !lost.contains(&host.id()));
            Scheduling::Daemon { hosts: daemon_hosts(state, service, &tasks, targets) }
        }
    };
    let deployments = service.deployments.iter().map(|deployment| Deployment {
        rollout: deployment.state.into(),
        failures: deployment.failures,
        setbacks: deployment.setbacks,
        failed_at: deployment.failed_at,
        can_roll_back: !deployment.is_rollback
            && service.completed.as_ref().is_some_and(|completed| completed.id != deployment.revision.id),
    });
    let picture = Picture {
        scheduling,
        active: service.is_active(),
        bounds: bounds(service),
        healthy_after,
        grace: Duration::from_secs(service.grace_secs.into()),
        breaker: breaker_of(service),
        deployments: deployments.collect(),
        tasks: pictures,
        unplaced,
        no_gain: false,
        rebalance: Rebalance::Off,
    };
    Seen { picture, silent }.with_gain(
        state,
        service,
        service.deployments.first().map(|primary| &primary.revision),
        looking.now,
    )
}

/// Tasks as decisions see them, with how it stands with their hosts.
struct Watched {
    pictures: Vec<TaskPicture>,
    /// Of the hosts that are silent, one for each task that is there.
    silent: Vec<Standing>,
    /// Hosts that were given up.
    lost: BTreeSet<InstanceId>,
}

fn watched(state: &State, service: &Service, tasks: &[Arc<Task>], looking: Looking<'_>) -> Watched {
    let watch = looking.watch;
    let mut silent = Vec::new();
    let mut pictures = Vec::new();
    let mut lost: BTreeSet<InstanceId> = BTreeSet::new();
    let late = OnceCell::new();
    for task in tasks {
        let count = || *late.get_or_init(|| watch.late(state, &service.key.cluster));
        let standing =
            state.host(task.instance).map_or(Standing::Lost, |host| watch.standing(state, host, task, count));
        if standing != Standing::Here {
            silent.push(standing);
        }
        if standing == Standing::Lost {
            lost.insert(task.instance);
        }
        pictures.push(task_picture(state, service, task, standing, looking));
    }
    Watched { pictures, silent, lost }
}

/// The picture of a task set: a service of its own, of one deployment that nothing takes the place of.
pub(super) fn set_picture(state: &State, service: &Service, set: &ServiceTaskSet, looking: Looking<'_>) -> Seen {
    let Looking { healthy_after, unplaced, .. } = looking;
    let draining = set.status == TaskSetStatus::Draining;
    let mut tasks = state.service_tasks(&service.key);
    tasks.retain(|task| task.started_by.as_deref() == Some(&*set.deployment.id));
    let Watched { pictures, silent, lost: _ } = watched(state, service, &tasks, looking);
    let picture = Picture {
        scheduling: Scheduling::Replica { desired: set.desired(service.desired) },
        active: service.is_active() && !draining,
        bounds: bounds(service),
        healthy_after,
        grace: Duration::from_secs(service.grace_secs.into()),
        breaker: None,
        deployments: vec![Deployment {
            rollout: set.deployment.state.into(),
            failures: set.deployment.failures,
            setbacks: set.deployment.setbacks,
            failed_at: set.deployment.failed_at,
            can_roll_back: false,
        }],
        tasks: pictures
            .into_iter()
            .zip(&tasks)
            .map(|(seen, task)| {
                let superseded = is_superseded(state, &set.deployment, task);
                TaskPicture { deployment: (!superseded).then_some(0), ..seen }
            })
            .collect(),
        unplaced,
        no_gain: false,
        rebalance: Rebalance::Off,
    };
    Seen { picture, silent }.with_gain(state, service, Some(&set.deployment.revision), looking.now)
}

fn bounds(service: &Service) -> Bounds {
    let percent = |given: Option<i32>, default: u32| given.and_then(|n| u32::try_from(n).ok()).unwrap_or(default);
    let default = match service.scheduling {
        SchedulingStrategy::Replica => Bounds::REPLICA,
        SchedulingStrategy::Daemon => Bounds::DAEMON,
    };
    let configuration = &service.configuration;
    Bounds {
        minimum_healthy_percent: percent(configuration.minimum_healthy_percent, default.minimum_healthy_percent),
        maximum_percent: percent(configuration.maximum_percent, default.maximum_percent),
    }
}

/// Whether a task of this deployment, a PRIMARY one, is to be replaced by another of it: all that stay run the images
/// that its revision was resolved to. What has run well in another one for long is not torn up.
pub(crate) fn is_superseded(state: &State, deployment: &ServiceDeployment, task: &Task) -> bool {
    deployment.state == RolloutState::InProgress && state.has_another_image(task)
}

/// The circuit breaker of a service, if it is on.
pub(crate) fn breaker_of(service: &Service) -> Option<Breaker> {
    service.configuration.deployment_circuit_breaker.as_ref().and_then(breaker)
}

/// Where one more task of the service would go, when that decides whether its zones are evened out.
pub(super) fn rebalance(
    state: &State,
    service: &Service,
    picture: &Picture,
    fencing: Fencing,
    now: Timestamp,
) -> Rebalance {
    if service.zone_rebalancing != Some(AvailabilityZoneRebalancing::Enabled) || !service.is_active() {
        return Rebalance::Off;
    }
    let Some(primary) = service.deployments.first().filter(|_| is_uneven(picture, now)) else {
        return Rebalance::Nowhere;
    };
    let basis = Basis { picture, fencing, now };
    let planned = launch(state, service, primary, 1, Target::Cluster, basis).and_then(|launch| plan(state, &launch));
    match planned.ok().and_then(|plan| plan.places.first().copied()) {
        Some((host, _)) => Rebalance::To(state.host(host).and_then(zone)),
        None => Rebalance::Nowhere,
    }
}

/// The zones of the hosts of a cluster that take tasks.
pub(super) fn zones(state: &State, cluster: &ClusterKey) -> BTreeSet<Option<Arc<str>>> {
    let hosts = state.cluster(cluster).into_iter().flat_map(|cluster| cluster.hosts.values());
    hosts.filter(|host| host.view.status == HostStatus::Active && host.view.connected).map(zone).collect()
}

/// Whether one of these zones has two tasks of the service fewer than some other zone.
pub(super) fn is_uneven_over(state: &State, key: &ServiceKey, zones: &BTreeSet<Option<Arc<str>>>) -> bool {
    let mut counts: BTreeMap<Option<Arc<str>>, usize> = BTreeMap::new();
    for task in state.service_tasks(key) {
        *counts.entry(state.host(task.instance).and_then(zone)).or_default() += 1;
    }
    let most = counts.values().max().copied().unwrap_or(0);
    zones.iter().any(|zone| counts.get(zone).copied().unwrap_or(0) + 2 <= most)
}

/// The zone of a host.
fn zone(host: &Arc<HostState>) -> Option<Arc<str>> {
    host.view.offer.attributes.get(ZONE)?.value.as_deref().map(Arc::from)
}

fn breaker(given: &DeploymentCircuitBreaker) -> Option<Breaker> {
    let configured = given.threshold_configuration.as_ref();
    let value = configured.and_then(|threshold| u32::try_from(threshold.value?).ok());
    let kind = configured.and_then(|threshold| threshold.r#type.as_ref());
    let threshold = match (kind, value) {
        (Some(ThresholdType::Count), Some(value)) => Threshold::Count(value),
        (Some(ThresholdType::BoundedPercent), Some(value)) => Threshold::BoundedPercent(value),
        (Some(ThresholdType::UnboundedPercent), Some(value)) => Threshold::UnboundedPercent(value),
        (Some(ThresholdType::Other(_)) | None, _) | (_, None) => Threshold::Default,
    };
    given.enable?.then(|| Breaker {
        threshold,
        rollback: given.rollback.unwrap_or(false),
        reset_on_healthy: given.reset_on_healthy_task.unwrap_or(true),
    })
}

fn task_picture(
    state: &State,
    service: &Service,
    task: &Task,
    standing: Standing,
    looking: Looking<'_>,
) -> TaskPicture {
    let host = state.host(task.instance);
    let id = task.started_by.as_deref();
    let lost = standing == Standing::Lost;
    let phase = phase(state, task, lost, looking);
    let healthy_at = match phase {
        Phase::Running { health: Health::Unchecked, .. } => task.running_at.map(|at| at.after(looking.healthy_after)),
        Phase::Running { .. } | Phase::Pending | Phase::Stopping { .. } => task.healthy_at,
    };
    let deployment = service.deployments.iter().position(|deployment| Some(&*deployment.id) == id);
    TaskPicture {
        id: task.id,
        deployment: deployment.filter(|index| *index > 0 || !is_superseded(state, &service.deployments[*index], task)),
        phase,
        host: task.instance,
        zone: host.and_then(zone),
        unproven: matches!(phase, Phase::Running { health: Health::Unchecked, .. })
            && known_age(task, looking).is_none(),
        silent: matches!(standing, Standing::Silent(_) | Standing::Many { .. }),
        lost,
        draining: host.is_some_and(|host| host.view.status == HostStatus::Draining),
        protected_until: task.protected_until,
        healthy_at,
        created_at: task.created_at,
    }
}

fn phase(state: &State, task: &Task, lost: bool, looking: Looking<'_>) -> Phase {
    if task.desired == DesiredStatus::Stopped {
        return Phase::Stopping { lost };
    }
    match task.status {
        TaskStatus::Running => {
            let health = match task_health(state, task) {
                TaskHealth::Unchecked => Health::Unchecked,
                TaskHealth::Unknown => Health::Unknown,
                TaskHealth::Healthy => Health::Healthy,
                TaskHealth::Unhealthy => Health::Unhealthy,
            };
            Phase::Running { since: running_since(task, looking), health }
        }
        TaskStatus::Provisioning | TaskStatus::Pending | TaskStatus::Activating => Phase::Pending,
        TaskStatus::Deactivating | TaskStatus::Stopping | TaskStatus::Deprovisioning | TaskStatus::Stopped => {
            Phase::Stopping { lost }
        }
    }
}

/// Since when a task certainly runs, by the wall clock as it is set now. What began before this machine was booted
/// counts from when this process began: nobody knows what was done to the wall clock between.
fn running_since(task: &Task, looking: Looking<'_>) -> Timestamp {
    let Looking { watch, now, .. } = looking;
    if is_planted(Bug::HealthGoesByTheWallClock) {
        return task.running_at.filter(|at| *at <= now).unwrap_or(Timestamp::from_millis(0));
    }
    let ran = known_age(task, looking).unwrap_or_else(|| watch.hearing.age(watch.ticks));
    now.moved(-i64::try_from(ran.as_millis()).unwrap_or(i64::MAX))
}

/// For how long a task has run, when that is known: since before this machine was booted it is not.
fn known_age(task: &Task, Looking { watch, boot, .. }: Looking<'_>) -> Option<Duration> {
    let this = Tick { boot, millis: u64::try_from(watch.ticks.as_millis()).unwrap_or(u64::MAX) };
    task.running_tick.and_then(|tick| this.since(tick))
}

/// The hosts that should have a task, and draining ones that have one.
fn daemon_hosts(state: &State, service: &Service, tasks: &[Arc<Task>], targets: Vec<Arc<HostState>>) -> Vec<Host> {
    let with_task: BTreeSet<_> = tasks.iter().map(|task| task.instance).collect();
    let group = service.key.group();
    let busy = |host: &HostState| {
        let others = |id| state.task(id).is_some_and(|task| task.group != group && !is_daemon(state, task));
        host.live.iter().any(|id| others(*id))
    };
    let host = |host: Arc<HostState>| match host.view.status {
        HostStatus::Active => Some(Host { id: host.id(), draining: false, busy: false }),
        HostStatus::Draining => {
            let keeps = with_task.contains(&host.id());
            keeps.then(|| Host { id: host.id(), draining: true, busy: busy(&host) })
        }
        HostStatus::Inactive => None,
    };
    targets.into_iter().filter_map(host).collect()
}

fn is_daemon(state: &State, task: &Task) -> bool {
    let key = crate::records::ServiceKey::of_group(&task.cluster, &task.group);
    let service = key.and_then(|key| state.service(&key).map(|service| service.record.scheduling));
    service == Some(SchedulingStrategy::Daemon)
}
