//! Service deployments and revisions.

use crate::commands::{figures, status_of};
use crate::records::{
    BreakerFigures, DeploymentRecord, RevisionTasks, Service, ServiceDeployment, ServiceKey, ServiceRevision,
    TaskNumbers,
};
use crate::services::breaker_of;
use crate::show::service::{definition, task_numbers};
use crate::show::{arn_in, count, time};
use crate::state::{ServiceState, State};
use longshore_ecs_api::enums::ServiceDeploymentRollbackMonitorsStatus as Monitors;
use longshore_ecs_api::types;
use longshore_model::arn::{Resource, ServicePart};
use longshore_model::{AccountId, ContainerName};

/// The ARN of a part of a service.
pub(crate) fn part_arn(account: &AccountId, key: &ServiceKey, part: ServicePart, id: &str) -> String {
    let cluster = key.cluster.name.clone();
    arn_in(account, &key.cluster, Resource::OfService(cluster, key.name.to_string(), part, id.to_owned()))
}

fn revision_arn(account: &AccountId, key: &ServiceKey, revision: &ServiceRevision) -> String {
    part_arn(account, key, ServicePart::Revision, &revision.id)
}

pub(super) fn service_arn(account: &AccountId, key: &ServiceKey) -> String {
    arn_in(account, &key.cluster, Resource::Service(key.cluster.name.clone(), key.name.to_string()))
}

pub(super) fn cluster_arn(account: &AccountId, key: &ServiceKey) -> String {
    arn_in(account, &key.cluster, Resource::Cluster(key.cluster.name.clone()))
}

/// A service deployment in a list.
pub(crate) fn deployment_brief(account: &AccountId, record: &DeploymentRecord) -> types::ServiceDeploymentBrief {
    types::ServiceDeploymentBrief {
        service_deployment_arn: Some(part_arn(account, &record.service, ServicePart::Deployment, &record.id)),
        service_arn: Some(service_arn(account, &record.service)),
        cluster_arn: Some(cluster_arn(account, &record.service)),
        started_at: Some(time(record.created_at)),
        created_at: Some(time(record.created_at)),
        finished_at: record.finished_at.map(time),
        target_service_revision_arn: Some(revision_arn(account, &record.service, &record.target)),
        status: Some(status_of(record)),
        status_reason: record.reason.clone(),
    }
}

/// A service deployment in full. Of one that is under way tasks and failures are as they are now.
pub(crate) fn service_deployment(
    account: &AccountId,
    state: &State,
    shown: &ServiceState,
    record: &DeploymentRecord,
) -> types::ServiceDeployment {
    let service = &*shown.record;
    let carrier = service.deployments.iter().find(|deployment| deployment.id == record.carried_by);
    let live = carrier.filter(|_| record.target_tasks.is_none());
    let tasks = live.map(|d| task_numbers(state, service, d, true)).or(record.target_tasks).unwrap_or_default();
    let target = RevisionTasks { revision: record.target.clone(), tasks };
    types::ServiceDeployment {
        service_deployment_arn: Some(part_arn(account, &record.service, ServicePart::Deployment, &record.id)),
        service_arn: Some(service_arn(account, &record.service)),
        cluster_arn: Some(cluster_arn(account, &record.service)),
        created_at: Some(time(record.created_at)),
        started_at: Some(time(record.created_at)),
        finished_at: record.finished_at.map(time),
        stopped_at: record.stopped_at.map(time),
        updated_at: Some(time(record.updated_at)),
        source_service_revisions: Some(record.sources.iter().map(|source| summary(account, record, source)).collect()),
        target_service_revision: Some(summary(account, record, &target)),
        status: Some(status_of(record)),
        status_reason: record.reason.clone(),
        deployment_configuration: Some(record.configuration.clone()),
        rollback: record.rollback.as_deref().map(|rollback| types::Rollback {
            reason: Some(rollback.reason.clone()),
            started_at: Some(time(rollback.started_at)),
            service_revision_arn: Some(revision_arn(account, &record.service, &rollback.revision)),
        }),
        deployment_circuit_breaker: Some(breaker(state, service, record, live)),
        ..types::ServiceDeployment::default()
    }
}

fn breaker(
    state: &State,
    service: &Service,
    record: &DeploymentRecord,
    live: Option<&ServiceDeployment>,
) -> types::ServiceDeploymentCircuitBreaker {
    let now = live.and_then(|deployment| figures(state, service, deployment, false));
    let (status, figures) = match (record.breaker, now) {
        (Some(ended @ BreakerFigures { opened: true, .. }), _) => (Monitors::Triggered, Some(ended)),
        (Some(ended), _) => (Monitors::MonitoringComplete, Some(ended)),
        (None, Some(now)) if breaker_of(service).is_some() => (Monitors::Monitoring, Some(now)),
        (None, _) => (Monitors::Disabled, None),
    };
    types::ServiceDeploymentCircuitBreaker {
        status: Some(status),
        failure_count: count(figures.map_or(0, |figures| figures.failures)),
        threshold: count(figures.map_or(0, |figures| figures.threshold)),
    }
}

fn summary(account: &AccountId, record: &DeploymentRecord, of: &RevisionTasks) -> types::ServiceRevisionSummary {
    types::ServiceRevisionSummary {
        arn: Some(revision_arn(account, &record.service, &of.revision)),
        requested_task_count: count(of.tasks.requested),
        running_task_count: count(of.tasks.running),
        pending_task_count: count(of.tasks.pending),
        ..types::ServiceRevisionSummary::default()
    }
}

/// The revisions that a service has tasks of or is to have, the newest first.
pub(super) fn current_revisions(
    account: &AccountId,
    state: &State,
    service: &Service,
) -> Vec<types::ServiceCurrentRevisionSummary> {
    let mut all: Vec<(String, TaskNumbers)> = Vec::new();
    for (nth, deployment) in service.deployments.iter().enumerate() {
        let arn = revision_arn(account, &service.key, &deployment.revision);
        let tasks = task_numbers(state, service, deployment, nth == 0);
        match all.iter_mut().find(|(known, _)| *known == arn) {
            Some((_, known)) => known.add(tasks),
            None => all.push((arn, tasks)),
        }
    }
    let summary = |(arn, tasks): (String, TaskNumbers)| types::ServiceCurrentRevisionSummary {
        arn: Some(arn),
        requested_task_count: count(tasks.requested),
        running_task_count: count(tasks.running),
        pending_task_count: count(tasks.pending),
    };
    all.into_iter().map(summary).collect()
}

/// A revision in full; `None` when the service does not remember it.
pub(crate) fn service_revision(
    account: &AccountId,
    state: &State,
    shown: &ServiceState,
    id: &str,
) -> Option<types::ServiceRevision> {
    let revision = shown.revision(id)?;
    let key = &shown.record.key;
    // Of one that is older than its strategy is remembered, that of the service.
    let strategy = revision.capacity.as_ref().unwrap_or(&shown.record.capacity);
    let strategy = Some(strategy).filter(|strategy| !strategy.is_empty());
    Some(types::ServiceRevision {
        service_revision_arn: Some(revision_arn(account, key, revision)),
        service_arn: Some(service_arn(account, key)),
        cluster_arn: Some(cluster_arn(account, key)),
        task_definition: Some(definition(account, revision)),
        launch_type: strategy.is_none().then(|| revision.launch_type.clone()),
        capacity_provider_strategy: strategy.cloned(),
        network_configuration: revision.network.as_deref().cloned(),
        container_images: images(state, revision),
        created_at: Some(time(revision.created_at)),
        ..types::ServiceRevision::default()
    })
}

/// The images of a revision, with the digests that its tasks run them by; `None` once its definition is deleted.
fn images(state: &State, revision: &ServiceRevision) -> Option<Vec<types::ContainerImage>> {
    let definition = state.definition(&revision.definition)?;
    let pins = state.pins(&revision.pins());
    let digest = |name: &str| {
        let name = ContainerName::new(name).ok()?;
        Some(pins?.digests.get(&name)?.to_string())
    };
    let containers = definition.body.container_definitions.iter().flatten();
    let image = |c: &types::ContainerDefinition| types::ContainerImage {
        container_name: c.name.clone(),
        image: c.image.clone(),
        image_digest: c.name.as_deref().and_then(digest),
    };
    Some(containers.map(image).collect())
}
