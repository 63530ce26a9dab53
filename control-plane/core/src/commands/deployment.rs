//! Service deployments as resources: kept as they begin and end, and stopped on request.

use crate::change::Change;
use crate::command::{Command, Tx};
use crate::commands::service::{NewDeployment, let_go, take_back};
use crate::commands::service_step::conclude;
use crate::records::{
    BreakerFigures, DeploymentRecord, DeploymentStatus, RevisionTasks, RollbackRecord, RolloutState, Service,
    ServiceDeployment, ServiceKey, ServiceRevision,
};
use crate::services::breaker_of;
use crate::services::words::{self, End, Said};
use crate::show::task_numbers;
use crate::state::State;
use longshore_ecs_api::{ApiError, ErrorCode};
use std::sync::Arc;

/// Service deployments that are remembered of one service.
const MAX_REMEMBERED: usize = 20;

/// Keeps that `deployment` begins. `before` is the service without it; what was under way is given up for it.
pub(super) fn begin(tx: &mut Tx<'_>, before: &Service, new: &NewDeployment, deployment: &ServiceDeployment) {
    supersede(tx, before, words::SUPERSEDED);
    let sources = revisions(tx.state(), before);
    let found = tx.state().service(&before.key).map(Arc::clone);
    let known = found.iter().flat_map(|service| &service.deployments);
    let number = known.clone().last().map_or(0, |last| last.number + 1);
    let over = (known.clone().count() + 1).saturating_sub(MAX_REMEMBERED);
    for old in known.take(over) {
        tx.change(Change::ForgetServiceDeployment(before.key.clone(), old.number));
    }
    let forgotten = found.iter().flat_map(|service| service.deployments.iter().take(over));
    let_go(tx, &before.key, forgotten.map(|old| &old.target).filter(|old| old.id != deployment.revision.id));
    tx.change(Change::ServiceDeployment(Arc::new(DeploymentRecord {
        service: before.key.clone(),
        number,
        id: Arc::clone(&new.resource_id),
        carried_by: Arc::clone(&deployment.id),
        status: DeploymentStatus::InProgress,
        reason: None,
        target: deployment.revision.clone(),
        target_tasks: None,
        sources,
        configuration: before.configuration.clone(),
        breaker: None,
        rollback: None,
        created_at: tx.now,
        updated_at: tx.now,
        stopped_at: None,
        finished_at: None,
    })));
}

/// The revisions of a service with their tasks, the newest first.
fn revisions(state: &State, service: &Service) -> Vec<RevisionTasks> {
    let mut all: Vec<RevisionTasks> = Vec::new();
    let primary = service.deployments.first().map(|primary| &primary.id);
    for deployment in &service.deployments {
        let tasks = task_numbers(state, service, deployment, primary == Some(&deployment.id));
        match all.iter_mut().find(|known| known.revision.id == deployment.revision.id) {
            Some(known) => known.tasks.add(tasks),
            None => all.push(RevisionTasks { revision: deployment.revision.clone(), tasks }),
        }
    }
    all
}

/// How a service deployment goes on.
pub(super) enum Turn {
    /// Everything runs.
    Completed,
    /// Its tasks failed: it is given up, and `rollback` brings back what ran before.
    Failed { rollback: Option<(Arc<str>, ServiceRevision)> },
    /// Somebody stopped it.
    Stopped { rollback: Option<(Arc<str>, ServiceRevision)> },
}

/// Keeps how the service deployment that is under way goes on. `service` is as its tasks were counted under.
pub(super) fn turn(tx: &mut Tx<'_>, service: &Service, turn: Turn) {
    let Some(record) = under_way(tx.state(), &service.key) else { return };
    let mut record = (*record).clone();
    let rolling_back = record.rollback.is_some();
    let opened = matches!(turn, Turn::Failed { .. });
    let (status, reason, rollback) = match turn {
        // Why it was rolled back stays its reason.
        Turn::Completed if rolling_back => (DeploymentStatus::RollbackSuccessful, None, None),
        Turn::Completed => (DeploymentStatus::Successful, None, None),
        Turn::Failed { .. } if rolling_back => (DeploymentStatus::RollbackFailed, Some(words::BREAKER), None),
        Turn::Failed { rollback: Some(to) } => {
            (DeploymentStatus::RollbackInProgress, Some(words::ROLLED_BACK), Some(to))
        }
        Turn::Failed { rollback: None } => (DeploymentStatus::Stopped, Some(words::BREAKER), None),
        Turn::Stopped { rollback: Some(to) } => (DeploymentStatus::RollbackInProgress, Some(words::ASKED), Some(to)),
        Turn::Stopped { rollback: None } if rolling_back => {
            (DeploymentStatus::RollbackFailed, Some(words::ASKED), None)
        }
        Turn::Stopped { rollback: None } => (DeploymentStatus::Stopped, Some(words::ASKED), None),
    };
    if !rolling_back {
        close(tx.state(), service, &mut record, opened);
    }
    record.status = status;
    record.updated_at = tx.now;
    record.reason = reason.map(str::to_owned).or(record.reason);
    match status {
        DeploymentStatus::Successful | DeploymentStatus::RollbackSuccessful => record.finished_at = Some(tx.now),
        DeploymentStatus::Stopped | DeploymentStatus::RollbackFailed => {
            record.stopped_at.get_or_insert(tx.now);
            record.finished_at = Some(tx.now);
        }
        DeploymentStatus::InProgress | DeploymentStatus::RollbackInProgress => record.stopped_at = Some(tx.now),
    }
    if let Some((carried_by, revision)) = rollback {
        let reason = record.reason.clone().unwrap_or_default();
        record.rollback = Some(Box::new(RollbackRecord { carried_by, revision, reason, started_at: tx.now }));
    }
    tx.change(Change::ServiceDeployment(Arc::new(record)));
}

/// Gives up the service deployment that is under way, if one is, since something else is wanted now.
pub(super) fn supersede(tx: &mut Tx<'_>, service: &Service, why: &str) {
    let Some(record) = under_way(tx.state(), &service.key) else { return };
    let mut record = (*record).clone();
    if record.rollback.is_none() {
        close(tx.state(), service, &mut record, false);
    }
    record.status = DeploymentStatus::Stopped;
    record.reason = Some(why.to_owned());
    record.updated_at = tx.now;
    record.stopped_at.get_or_insert(tx.now);
    record.finished_at = Some(tx.now);
    tx.change(Change::ServiceDeployment(Arc::new(record)));
}

fn under_way(state: &State, key: &ServiceKey) -> Option<Arc<DeploymentRecord>> {
    state.service(key).and_then(|service| service.under_way()).map(Arc::clone)
}

/// What was counted of the target while its deployment was there.
fn close(state: &State, service: &Service, record: &mut DeploymentRecord, opened: bool) {
    let Some(deployment) = service.deployments.iter().find(|deployment| deployment.id == record.carried_by) else {
        return;
    };
    record.target_tasks = Some(task_numbers(state, service, deployment, true));
    record.breaker = figures(state, service, deployment, opened);
}

/// What the breaker of a deployment has counted; `None` without a breaker.
pub(crate) fn figures(
    state: &State,
    service: &Service,
    deployment: &ServiceDeployment,
    opened: bool,
) -> Option<BreakerFigures> {
    let breaker = breaker_of(service)?;
    let desired = task_numbers(state, service, deployment, true).requested;
    Some(BreakerFigures { opened, failures: deployment.failures, threshold: breaker.threshold.of(desired) })
}

/// How a service deployment is to be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopType {
    /// What ran before comes back.
    Rollback,
    /// Everything stays as it is now.
    Abort,
}

/// Stops a service deployment that is under way.
pub(crate) struct StopServiceDeployment {
    pub(crate) key: ServiceKey,
    /// The last part of its ARN.
    pub(crate) id: String,
    pub(crate) how: StopType,
    pub(crate) new: NewDeployment,
    /// Of the event that it makes.
    pub(crate) event_id: uuid::Uuid,
}

impl Command for StopServiceDeployment {
    const NAME: &'static str = "StopServiceDeployment";
    type Reply = ();
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), ApiError> {
        let Self { key, id, how, new, event_id } = self;
        let found = tx.state().service(&key).map(Arc::clone).ok_or_else(no_deployment)?;
        let record = found.deployments.iter().find(|record| *record.id == *id).ok_or_else(no_deployment)?;
        let conflict = |text: String| ApiError::new(ErrorCode::Conflict, text);
        if record.status.is_final() || !found.record.is_active() {
            return Err(conflict(format!("The service deployment is over: its status is {}.", status_of(record))));
        }
        if how == StopType::Rollback && record.rollback.is_some() {
            // That is what happens already.
            return Ok(());
        }
        let before = Arc::clone(&found.record);
        let mut service = (*before).clone();
        let current = service.deployments.first().map(|primary| Arc::clone(&primary.revision.id));
        let target = service.completed.clone().filter(|completed| Some(&completed.id) != current.as_ref());
        if how == StopType::Rollback && target.is_none() {
            let why = match &service.completed {
                Some(_) => "this deployment is of the very revision that was completed last",
                None => "no deployment of the service was ever completed",
            };
            return Err(conflict(format!(
                "There is no service revision to roll back to: {why}. Use stopType ABORT, or update the service."
            )));
        }
        if let Some(primary) = service.deployments.first_mut() {
            primary.state = RolloutState::Failed;
            primary.reason = words::failed(End::Request);
            primary.updated_at = tx.now;
        }
        let rollback = target.filter(|_| how == StopType::Rollback).map(|revision| {
            let carried_by = take_back(tx.state(), &mut service, &revision, &new, End::Request, tx.now);
            (carried_by, revision)
        });
        let said = rollback.iter().map(|(to, _)| Said::from(words::rolling_back(&key, to))).collect();
        turn(tx, &before, Turn::Stopped { rollback });
        conclude(tx, &before, service, said, vec![event_id]);
        Ok(())
    }
}

/// ECS's name of a status.
pub(crate) const fn status_of(record: &DeploymentRecord) -> longshore_ecs_api::enums::ServiceDeploymentStatus {
    use longshore_ecs_api::enums::ServiceDeploymentStatus as Api;
    match record.status {
        DeploymentStatus::InProgress => Api::InProgress,
        DeploymentStatus::Successful => Api::Successful,
        DeploymentStatus::Stopped => Api::Stopped,
        DeploymentStatus::RollbackInProgress => Api::RollbackInProgress,
        DeploymentStatus::RollbackSuccessful => Api::RollbackSuccessful,
        DeploymentStatus::RollbackFailed => Api::RollbackFailed,
    }
}

/// ECS's words for a service deployment that is not there.
pub(crate) fn no_deployment() -> ApiError {
    ApiError::new(ErrorCode::ServiceDeploymentNotFound, "Service deployment not found.")
}
