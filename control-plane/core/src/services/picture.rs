//! A service as decisions see it, from a snapshot.

use crate::records::{SchedulingStrategy, Service, ServiceTaskSet, Task, TaskSetStatus};
use crate::show::{TaskHealth, task_health};
use crate::state::{HostState, State};
use longshore_ecs_api::enums::ThresholdType;
use longshore_ecs_api::types::DeploymentCircuitBreaker;
use longshore_model::{DesiredStatus, TaskStatus};
use longshore_rollout::{
    Bounds, Breaker, Deployment, Health, Host, Phase, Picture, Scheduling, Task as TaskPicture, Threshold,
};
use longshore_sched::HostStatus;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// The zone of a host, for spreading and for scale-in.
const ZONE: &str = "ecs.availability-zone";

/// The picture of `service`. `targets` are the hosts that a DAEMON service's tasks may run on; `unplaced` says whether
/// the last ones found no place.
pub(super) fn picture(
    state: &State,
    service: &Service,
    targets: impl FnOnce() -> Vec<Arc<HostState>>,
    unplaced: bool,
    healthy_after: Duration,
) -> Picture {
    let tasks = state.service_tasks(&service.key);
    let scheduling = match service.scheduling {
        SchedulingStrategy::Replica => Scheduling::Replica { desired: service.desired },
        SchedulingStrategy::Daemon => Scheduling::Daemon { hosts: daemon_hosts(state, service, &tasks, targets()) },
    };
    let deployments = service.deployments.iter().map(|deployment| Deployment {
        rollout: deployment.state.into(),
        failures: deployment.failures,
        failed_at: deployment.failed_at,
        can_roll_back: !deployment.is_rollback
            && service.completed.as_ref().is_some_and(|completed| completed.id != deployment.revision.id),
    });
    Picture {
        scheduling,
        active: service.is_active(),
        bounds: bounds(service),
        healthy_after,
        grace: Duration::from_secs(service.grace_secs.into()),
        breaker: breaker_of(service),
        deployments: deployments.collect(),
        tasks: tasks.iter().map(|task| task_picture(state, service, task)).collect(),
        unplaced,
    }
}

/// The picture of a task set: a service of its own, of one deployment that nothing takes the place of.
pub(super) fn set_picture(
    state: &State,
    service: &Service,
    set: &ServiceTaskSet,
    unplaced: bool,
    healthy_after: Duration,
) -> Picture {
    let draining = set.status == TaskSetStatus::Draining;
    let own = |task: &&Arc<Task>| task.started_by.as_deref() == Some(&*set.deployment.id);
    let tasks = state.service_tasks(&service.key);
    let tasks = tasks.iter().filter(own);
    Picture {
        scheduling: Scheduling::Replica { desired: set.desired(service.desired) },
        active: service.is_active() && !draining,
        bounds: bounds(service),
        healthy_after,
        grace: Duration::from_secs(service.grace_secs.into()),
        breaker: None,
        deployments: vec![Deployment {
            rollout: set.deployment.state.into(),
            failures: set.deployment.failures,
            failed_at: set.deployment.failed_at,
            can_roll_back: false,
        }],
        tasks: tasks.map(|task| TaskPicture { deployment: Some(0), ..task_picture(state, service, task) }).collect(),
        unplaced,
    }
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

fn task_picture(state: &State, service: &Service, task: &Task) -> TaskPicture {
    let host = state.host(task.instance);
    let zone = host.and_then(|host| host.view.offer.attributes.get(ZONE)).and_then(|zone| zone.value.as_deref());
    let connected = host.is_some_and(|host| host.record.is_connected());
    let id = task.started_by.as_deref();
    TaskPicture {
        id: task.id,
        deployment: service.deployments.iter().position(|deployment| Some(&*deployment.id) == id),
        phase: phase(state, task, connected),
        host: task.instance,
        zone: zone.map(Arc::from),
        lost: host.is_some_and(|host| is_lost(state, host)),
        draining: host.is_some_and(|host| host.view.status == HostStatus::Draining),
        protected_until: task.protected_until,
        created_at: task.created_at,
    }
}

/// Whether what a host has is given up: its lease is over, and it is not one of many. When more than a third of a
/// cluster is silent, and more than one host, the fault is rather in the network or here, and nothing is replaced.
fn is_lost(state: &State, host: &HostState) -> bool {
    if host.record.is_connected() {
        return false;
    }
    let Some(cluster) = state.cluster(&host.record.cluster) else { return true };
    let silent = |host: &&Arc<HostState>| host.record.status.is_registered() && !host.record.is_connected();
    let silent = cluster.hosts.values().filter(silent).count();
    silent < 2 || silent * 3 <= cluster.registered as usize
}

fn phase(state: &State, task: &Task, connected: bool) -> Phase {
    if task.desired == DesiredStatus::Stopped {
        return Phase::Stopping { lost: !connected };
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
            Phase::Stopping { lost: !connected }
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
