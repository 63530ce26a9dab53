//! Services.

use crate::records::{
    DeploymentController, RolloutState, SchedulingStrategy, Service, ServiceDeployment, ServiceEvent, ServiceRevision,
    ServiceStatus, Task, TaskNumbers,
};
use crate::show::deployment::{current_revisions, part_arn};
use crate::show::task_set::task_set;
use crate::show::{arn_in, count, tags, time};
use crate::state::{ServiceState, State};
use longshore_ecs_api::enums::{
    DeploymentControllerType, DeploymentRolloutState, PropagateTags, SchedulingStrategy as ApiScheduling,
};
use longshore_ecs_api::types;
use longshore_model::arn::{Resource, ServicePart};
use longshore_model::{AccountId, Arn, DesiredStatus, TaskStatus};
use std::sync::Arc;

/// A service, with its tags if they are wanted.
pub(crate) fn service(account: &AccountId, state: &State, shown: &ServiceState, with_tags: bool) -> types::Service {
    let service = &*shown.record;
    let cluster = &service.key.cluster;
    let tasks = state.service_tasks(&service.key);
    let arn = |resource| Some(arn_in(account, cluster, resource));
    let revision = service.primary_revision();
    let deployments = service.deployments.iter().enumerate();
    let wanted = wanted(state, service);
    types::Service {
        service_arn: arn(Resource::Service(cluster.name.clone(), service.key.name.to_string())),
        service_name: Some(service.key.name.to_string()),
        cluster_arn: arn(Resource::Cluster(cluster.name.clone())),
        status: Some(
            match service.status {
                ServiceStatus::Active => "ACTIVE",
                ServiceStatus::Draining => "DRAINING",
                ServiceStatus::Inactive { .. } => "INACTIVE",
            }
            .to_owned(),
        ),
        desired_count: count(wanted),
        running_count: number(tasks.iter().filter(|task| runs(task)).count()),
        pending_count: number(tasks.iter().filter(|task| is_pending(task)).count()),
        launch_type: revision.filter(|_| service.capacity.is_empty()).map(|revision| revision.launch_type.clone()),
        capacity_provider_strategy: (!service.capacity.is_empty()).then(|| service.capacity.clone()),
        task_definition: revision.map(|revision| definition(account, revision)),
        network_configuration: revision.and_then(|revision| revision.network.as_deref().cloned()),
        scheduling_strategy: Some(match service.scheduling {
            SchedulingStrategy::Replica => ApiScheduling::Replica,
            SchedulingStrategy::Daemon => ApiScheduling::Daemon,
        }),
        deployment_controller: Some(types::DeploymentController { r#type: Some(controller(service)) }),
        task_sets: match service.controller {
            DeploymentController::Ecs => None,
            DeploymentController::External => {
                Some(service.task_sets.iter().map(|set| task_set(account, state, service, set, with_tags)).collect())
            }
        },
        deployment_configuration: Some(service.configuration.clone()),
        deployments: Some(
            deployments.map(|(nth, d)| deployment(account, service, d, nth == 0, wanted, &tasks)).collect(),
        ),
        current_service_deployment: shown
            .deployments
            .last()
            .map(|record| part_arn(account, &service.key, ServicePart::Deployment, &record.id)),
        current_service_revisions: Some(current_revisions(account, state, service)),
        events: Some(shown.events.iter().rev().map(|event| self::event(event)).collect()),
        health_check_grace_period_seconds: i32::try_from(service.grace_secs).ok(),
        placement_constraints: Some(service.constraints.clone()),
        placement_strategy: Some(service.strategies.clone()),
        propagate_tags: Some(service.propagate_tags.clone().unwrap_or(PropagateTags::None)),
        enable_ecs_managed_tags: Some(service.managed_tags),
        enable_execute_command: Some(service.execute_command),
        availability_zone_rebalancing: service.zone_rebalancing.clone(),
        created_at: Some(time(service.created_at)),
        created_by: Some(service.created_by.clone()),
        load_balancers: Some(Vec::new()),
        service_registries: Some(Vec::new()),
        tags: with_tags.then(|| tags(&service.tags)),
        ..types::Service::default()
    }
}

/// ECS's name of a service's controller.
pub(crate) const fn controller(service: &Service) -> DeploymentControllerType {
    match service.controller {
        DeploymentController::Ecs => DeploymentControllerType::Ecs,
        DeploymentController::External => DeploymentControllerType::External,
    }
}

/// The tasks of a deployment, and how many there are to be.
pub(crate) fn task_numbers(
    state: &State,
    service: &Service,
    deployment: &ServiceDeployment,
    is_primary: bool,
) -> TaskNumbers {
    let tasks = state.service_tasks(&service.key);
    let own = || tasks.iter().filter(|task| task.started_by.as_deref() == Some(&*deployment.id));
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let running = count(own().filter(|task| runs(task)).count());
    let pending = count(own().filter(|task| is_pending(task)).count());
    // Of an older one as many as there still are: it is to have none.
    let requested = if is_primary { wanted(state, service) } else { running.saturating_add(pending) };
    TaskNumbers { requested, running, pending }
}

fn deployment(
    account: &AccountId,
    service: &Service,
    deployment: &ServiceDeployment,
    is_primary: bool,
    wanted: u32,
    tasks: &[Arc<Task>],
) -> types::Deployment {
    let own = || tasks.iter().filter(|task| task.started_by.as_deref() == Some(&*deployment.id));
    let running = own().filter(|task| runs(task)).count();
    let pending = own().filter(|task| is_pending(task)).count();
    // The service's is that of the newest one, and may have changed since that began.
    let earlier = deployment.revision.capacity.as_ref().filter(|_| !is_primary);
    let strategy = earlier.unwrap_or(&service.capacity);
    types::Deployment {
        id: Some(deployment.id.to_string()),
        status: Some(if is_primary { "PRIMARY" } else { "ACTIVE" }.to_owned()),
        task_definition: Some(definition(account, &deployment.revision)),
        // Of an older one as many as there still are: it is to have none.
        desired_count: if is_primary { count(wanted) } else { number(running + pending) },
        running_count: number(running),
        pending_count: number(pending),
        failed_tasks: count(deployment.failed_tasks),
        created_at: Some(time(deployment.created_at)),
        updated_at: Some(time(deployment.updated_at)),
        launch_type: strategy.is_empty().then(|| deployment.revision.launch_type.clone()),
        capacity_provider_strategy: (!strategy.is_empty()).then(|| strategy.clone()),
        network_configuration: deployment.revision.network.as_deref().cloned(),
        rollout_state: Some(match deployment.state {
            RolloutState::InProgress => DeploymentRolloutState::InProgress,
            RolloutState::Completed => DeploymentRolloutState::Completed,
            RolloutState::Failed => DeploymentRolloutState::Failed,
        }),
        rollout_state_reason: Some(deployment.reason.clone()).filter(|_| service.is_active() || !is_primary),
        ..types::Deployment::default()
    }
}

/// How many tasks the service is to have. Of a DAEMON service: one for each host that it belongs on.
fn wanted(state: &State, service: &Service) -> u32 {
    match service.scheduling {
        SchedulingStrategy::Replica => service.desired,
        SchedulingStrategy::Daemon if service.is_active() => crate::services::daemon_count(state, service),
        SchedulingStrategy::Daemon => 0,
    }
}

pub(super) fn definition(account: &AccountId, revision: &ServiceRevision) -> String {
    let key = &revision.definition;
    let resource = Resource::TaskDefinition(key.family.to_string(), key.revision);
    Arn { region: key.region.clone(), account: account.clone(), resource }.to_string()
}

fn event(event: &ServiceEvent) -> types::ServiceEvent {
    types::ServiceEvent {
        id: Some(event.id.to_string()),
        created_at: Some(time(event.at)),
        message: Some(event.message.clone()),
    }
}

fn runs(task: &Task) -> bool {
    task.desired == DesiredStatus::Running && task.status == TaskStatus::Running
}

fn is_pending(task: &Task) -> bool {
    task.desired == DesiredStatus::Running && task.status < TaskStatus::Running
}

fn number(n: usize) -> Option<i32> {
    Some(i32::try_from(n).unwrap_or(i32::MAX))
}
