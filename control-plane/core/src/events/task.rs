//! `ECS Task State Change`: a task as DescribeTasks shows it, each time that what it is or should be changes.

use super::{Event, detail, event_id, millis};
use crate::records::Task;
use crate::show::{self, With, arn_in};
use crate::state::State;
use longshore_model::arn::Resource;
use longshore_model::{AccountId, ContainerReport, Timestamp};
use serde_json::{Value, json};

pub(super) const DETAIL_TYPE: &str = "ECS Task State Change";

/// Whether a task's change is worth an event. What it waits for, how its pulls go and what people read in its history
/// is not.
pub(super) fn differs(old: &Task, new: &Task) -> bool {
    let attached = |task: &Task| task.eni.as_ref().map(|eni| eni.attached);
    old.status != new.status
        || old.desired != new.desired
        || old.stop != new.stop
        || attached(old) != attached(new)
        || old.reported.len() != new.reported.len()
        || old.reported.iter().zip(&new.reported).any(|(old, new)| container(old) != container(new))
}

fn container(report: &ContainerReport) -> impl PartialEq + '_ {
    (
        &report.name,
        report.status,
        report.exit_code,
        report.health,
        &report.reason,
        report.runtime_id.as_deref(),
        report.bindings.len(),
        report.restart_count,
    )
}

/// The part of a task's event that costs little: enough for most patterns to say no.
pub(super) fn gist(state: &State, task: &Task) -> Value {
    let cluster =
        state.account().map(|account| arn_in(&account.id, &task.cluster, Resource::Cluster(task.cluster.name.clone())));
    json!({"detail-type": DETAIL_TYPE, "detail": {
        "lastStatus": task.status.as_str(), "desiredStatus": task.desired.as_str(), "group": &*task.group,
        "clusterArn": cluster,
    }})
}

pub(super) fn event(account: &AccountId, state: &State, task: &Task, now: Timestamp) -> Event {
    let shown = show::task(account, state, task, With { tags: false, history: false });
    let resources = shown.task_arn.iter().cloned().collect();
    let mut detail = detail(&shown);
    detail["updatedAt"] = millis(now).into();
    Event {
        id: event_id(&format!("task {} {}", task.id, task.version)),
        at: now,
        region: task.cluster.region.clone(),
        source: super::SOURCE.to_owned(),
        detail_type: DETAIL_TYPE.to_owned(),
        resources,
        detail,
    }
}
