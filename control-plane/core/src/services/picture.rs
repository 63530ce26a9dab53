//! A service as decisions see it, from a snapshot.

use crate::records::{SchedulingStrategy, Service, Task};
use crate::services::silence::{Patience, Standing};
use crate::show::{TaskHealth, task_health};
use crate::state::{HostState, State};
use longshore_ecs_api::enums::ThresholdType;
use longshore_ecs_api::types::DeploymentCircuitBreaker;
use longshore_model::{DesiredStatus, InstanceId, TaskStatus};
use longshore_rollout::{
    Bounds, Breaker, Deployment, Health, Host, Phase, Picture, Scheduling, Task as TaskPicture, Threshold,
};
use longshore_sched::HostStatus;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The zone of a host, for spreading and for scale-in.
const ZONE: &str = "ecs.availability-zone";

/// A picture, and what it does not show of hosts.
pub(super) struct Seen {
    pub(super) picture: Picture,
    /// How it stands with the hosts of its tasks that are silent.
    pub(super) silent: Vec<Standing>,
}

/// The picture of `service`. `targets` are the hosts that a DAEMON service's tasks may run on; `unplaced` says whether
/// the last ones found no place.
pub(super) fn picture(
    state: &State,
    service: &Service,
    targets: impl FnOnce() -> Vec<Arc<HostState>>,
    unplaced: bool,
    healthy_after: Duration,
    patience: Patience<'_>,
) -> Seen {
    let tasks = state.service_tasks(&service.key);
    let mut standings: BTreeMap<InstanceId, Standing> = BTreeMap::new();
    for task in &tasks {
        let ask = || state.host(task.instance).map_or(Standing::Lost, |host| patience.standing(state, host));
        standings.entry(task.instance).or_insert_with(ask);
    }
    let standing = |task: &Task| standings.get(&task.instance).copied().unwrap_or(Standing::Lost);
    let scheduling = match service.scheduling {
        SchedulingStrategy::Replica => Scheduling::Replica { desired: service.desired },
        SchedulingStrategy::Daemon => {
            let mut targets = targets();
            targets.retain(|host| standings.get(&host.id()) != Some(&Standing::Lost));
            Scheduling::Daemon { hosts: daemon_hosts(state, service, &tasks, targets) }
        }
    };
    let percent = |given: Option<i32>, default: u32| given.and_then(|n| u32::try_from(n).ok()).unwrap_or(default);
    let default = match service.scheduling {
        SchedulingStrategy::Replica => Bounds::REPLICA,
        SchedulingStrategy::Daemon => Bounds::DAEMON,
    };
    let configuration = &service.configuration;
    let deployments = service.deployments.iter().map(|deployment| Deployment {
        rollout: deployment.state.into(),
        failures: deployment.failures,
        setbacks: deployment.setbacks,
        failed_at: deployment.failed_at,
        can_roll_back: !deployment.is_rollback
            && service.completed.as_ref().is_some_and(|completed| completed.id != deployment.revision.id),
    });
    let silent = standings.values().copied().filter(|standing| *standing != Standing::Here).collect();
    let picture = Picture {
        scheduling,
        active: service.is_active(),
        bounds: Bounds {
            minimum_healthy_percent: percent(configuration.minimum_healthy_percent, default.minimum_healthy_percent),
            maximum_percent: percent(configuration.maximum_percent, default.maximum_percent),
        },
        healthy_after,
        grace: Duration::from_secs(service.grace_secs.into()),
        breaker: breaker_of(service),
        deployments: deployments.collect(),
        tasks: tasks.iter().map(|task| task_picture(state, service, task, standing(task))).collect(),
        unplaced,
    };
    Seen { picture, silent }
}

/// The circuit breaker of a service, if it is on.
pub(crate) fn breaker_of(service: &Service) -> Option<Breaker> {
    service.configuration.deployment_circuit_breaker.as_ref().and_then(breaker)
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

fn task_picture(state: &State, service: &Service, task: &Task, standing: Standing) -> TaskPicture {
    let host = state.host(task.instance);
    let zone = host.and_then(|host| host.view.offer.attributes.get(ZONE)).and_then(|zone| zone.value.as_deref());
    let id = task.started_by.as_deref();
    let lost = standing == Standing::Lost;
    TaskPicture {
        id: task.id,
        deployment: service.deployments.iter().position(|deployment| Some(&*deployment.id) == id),
        phase: phase(state, task, lost),
        host: task.instance,
        zone: zone.map(Arc::from),
        lost,
        draining: host.is_some_and(|host| host.view.status == HostStatus::Draining),
        protected_until: None,
        healthy_at: task.healthy_at,
        created_at: task.created_at,
    }
}

fn phase(state: &State, task: &Task, lost: bool) -> Phase {
    if task.desired == DesiredStatus::Stopped {
        return Phase::Stopping { lost };
    }
    match (task.status, task.running_at) {
        (TaskStatus::Running, since) => {
            let health = match task_health(state, task) {
                TaskHealth::Unchecked => Health::Unchecked,
                TaskHealth::Unknown => Health::Unknown,
                TaskHealth::Healthy => Health::Healthy,
                TaskHealth::Unhealthy => Health::Unhealthy,
            };
            Phase::Running { since: since.unwrap_or(task.created_at), health }
        }
        (TaskStatus::Provisioning | TaskStatus::Pending | TaskStatus::Activating, _) => Phase::Pending,
        (TaskStatus::Deactivating | TaskStatus::Stopping | TaskStatus::Deprovisioning | TaskStatus::Stopped, _) => {
            Phase::Stopping { lost }
        }
    }
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
