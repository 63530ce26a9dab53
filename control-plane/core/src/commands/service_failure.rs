//! Tasks of services that end before they were healthy: what counts against their deployments.

use crate::change::Change;
use crate::command::Tx;
use crate::records::{Service, ServiceKey, Task};
use crate::show::{TaskHealth, task_health};
use crate::state::State;
use longshore_model::{DesiredStatus, StopCode, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// Counts a task that has just ended by itself before it was healthy against its deployment, if it is a service's.
pub(crate) fn note_end(tx: &mut Tx<'_>, before: &Task, after: &Task, healthy_after: Duration) {
    let Some(key) = ServiceKey::of_group(&after.cluster, &after.group) else { return };
    if !before.is_live() || after.is_live() || before.desired == DesiredStatus::Stopped && asked(before) {
        return;
    }
    if asked(after) || was_healthy(tx.state(), before, after, healthy_after) {
        return;
    }
    let Some(found) = tx.state().service(&key).map(|service| Arc::clone(&service.record)) else { return };
    let mut service = (*found).clone();
    count_failure(&mut service, after.started_by.as_deref(), tx.now);
    if service != *found {
        tx.change(Change::Service(Arc::new(service)));
    }
}

/// Whether somebody asked the task to stop, so that its end says nothing about it.
fn asked(task: &Task) -> bool {
    match task.stop.as_ref().and_then(|stop| stop.code) {
        Some(
            StopCode::UserInitiated
            | StopCode::ServiceSchedulerInitiated
            | StopCode::SpotInterruption
            | StopCode::TerminationNotice
            | StopCode::InfrastructureHealth,
        ) => true,
        Some(StopCode::TaskFailedToStart | StopCode::EssentialContainerExited) | None => false,
    }
}

/// Whether a task was healthy before it ended: its health checks said so once, or, without any, it ran long enough.
fn was_healthy(state: &State, before: &Task, task: &Task, healthy_after: Duration) -> bool {
    let unchecked = |task| task_health(state, task) == TaskHealth::Unchecked;
    if !unchecked(before) || !unchecked(task) {
        return task.healthy_at.is_some();
    }
    let ended = task.execution_stopped_at.or(task.stopped_at);
    task.started_at.zip(ended).is_some_and(|(from, to)| to.since(from) >= healthy_after)
}

pub(super) fn count_failure(service: &mut Service, deployment: Option<&str>, now: Timestamp) {
    let of_sets = service.task_sets.iter_mut().map(|set| &mut set.deployment);
    if let Some(found) = service.deployments.iter_mut().chain(of_sets).find(|found| Some(&*found.id) == deployment) {
        found.failed_tasks = found.failed_tasks.saturating_add(1);
        found.failures = found.failures.saturating_add(1);
        found.setbacks = found.setbacks.saturating_add(1);
        found.failed_at = Some(now);
        found.updated_at = now;
    }
}
