//! What agents' reports change.
//!
//! Reports may come twice, late, or from an agent that has forgotten what it reported before. So nothing goes
//! backwards here: a status only rises, what was known once stays known, and STOPPED is final.

use crate::agent::{SessionError, SessionId};
use crate::change::Change;
use crate::clock::Tick;
use crate::command::{Command, Tx};
use crate::commands::pins;
use crate::commands::service_failure::note_end;
use crate::commands::session::in_session;
use crate::records::{Stop, Task};
use crate::show::{TaskHealth, task_health};
use longshore_model::planted::{Bug, is_planted};
use longshore_model::{
    ContainerName, ContainerReport, ContainerStatus, DesiredStatus, EniReport, InstanceId, Lease, TaskReport,
    TaskStatus, Timestamp,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Characters of a reason, ECS's limit.
pub(crate) const REASON_MAX: usize = 1024;

/// Takes reports of an agent's current session.
pub(crate) struct Report {
    pub(crate) instance: InstanceId,
    pub(crate) session: SessionId,
    pub(crate) reports: Vec<TaskReport>,
    /// Whether they are what the agent said first on its stream.
    pub(crate) first: bool,
    /// See [`CoreConfig::healthy_after`](crate::CoreConfig).
    pub(crate) healthy_after: Duration,
}

impl Command for Report {
    const NAME: &'static str = "Report";
    type Reply = ();
    type Error = SessionError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), SessionError> {
        in_session(tx.state(), self.instance, self.session)?;
        let since = if self.first { Since::NewSession } else { Since::SameSession };
        take_reports(tx, self.instance, &self.reports, since, self.healthy_after);
        Ok(())
    }
}

/// Whether versions of reports can be compared with those taken before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// The agent counts on: an older version is an older report.
    SameSession,
    /// The agent may have lost its ledger and count from the beginning: its word is the newest in any case.
    NewSession,
}

/// Records what reports say of tasks that are this instance's.
pub(crate) fn take_reports(
    tx: &mut Tx<'_>,
    instance: InstanceId,
    reports: &[TaskReport],
    since: Since,
    healthy_after: Duration,
) {
    let leases = tx.state().host(instance).map(|host| tx.state().leases(host)).unwrap_or_default();
    let mut taken = Vec::new();
    for report in reports {
        let Some(task) = tx.state().task(report.task).filter(|task| task.instance == instance) else {
            tracing::debug!(task = %report.task, %instance, "ignoring a report of a task that is not this host's");
            continue;
        };
        let task = Arc::clone(task);
        let definition = tx.state().definition(&task.definition);
        let containers = definition.and_then(|d| d.body.container_definitions.as_deref()).unwrap_or(&[]);
        let names: Vec<ContainerName> =
            containers.iter().filter_map(|c| ContainerName::new(c.name.as_deref()?).ok()).collect();
        let first = || reports.iter().find_map(|report| report.eni.as_ref());
        let said = if is_planted(Bug::InterfacesAreMixedUp) { first() } else { report.eni.as_ref() };
        let eni = said.filter(|eni| {
            let ours = is_of(&leases, eni);
            if !ours {
                let (task, address) = (report.task, eni.ipv4);
                tracing::warn!(%task, %instance, %address, "a report has an address that is not its host's");
            }
            ours
        });
        if let Some(mut changed) = merge(&task, report, eni, since, (tx.now, tx.tick), &names) {
            if changed.healthy_at.is_none() && task_health(tx.state(), &changed) == TaskHealth::Healthy {
                changed.healthy_at = Some(tx.now);
            }
            let changed = Arc::new(changed);
            tx.change(Change::Task(Arc::clone(&changed)));
            note_end(tx, &task, &changed, healthy_after);
            taken.push(changed);
        }
    }
    // After all of them: who said itself which image it has needs not be told.
    pins::keep(tx, &taken);
}

/// The task as it is after `report`; `None` when the report says nothing new.
fn merge(
    task: &Task,
    report: &TaskReport,
    eni: Option<&EniReport>,
    since: Since,
    (now, tick): (Timestamp, Tick),
    names: &[ContainerName],
) -> Option<Task> {
    let outdated = match since {
        Since::SameSession => report.version <= task.report_version,
        Since::NewSession => false,
    };
    if !task.is_live() || outdated {
        return None;
    }
    let mut new = task.clone();
    new.report_version = report.version;
    new.status = task.status.max(report.status);
    new.may_have_started |= report.status > TaskStatus::Pending
        || report.started_at.is_some()
        || report.containers.iter().any(|c| c.status == ContainerStatus::Running);
    if report.status >= TaskStatus::Deactivating || report.stop.is_some() {
        new.desired = DesiredStatus::Stopped;
    }
    if new.stop.is_none() {
        let said = report.stop.as_ref().filter(|stop| stop.code.is_some() || !stop.reason.is_empty());
        new.stop = said.map(|stop| Stop { code: stop.code, reason: shortened(&stop.reason) });
    }
    new.waiting_for = match new.status {
        TaskStatus::Provisioning
        | TaskStatus::Pending
        | TaskStatus::Activating
        | TaskStatus::Deactivating
        | TaskStatus::Stopping
        | TaskStatus::Deprovisioning => report.waiting_for.as_deref().map(shortened),
        TaskStatus::Running | TaskStatus::Stopped => None,
    };
    new.connectivity_at = task.connectivity_at.or(Some(now));
    new.pull_started_at = report.pull_started_at.or(task.pull_started_at);
    new.pull_stopped_at = report.pull_stopped_at.or(task.pull_stopped_at);
    new.started_at = report.started_at.or(task.started_at);
    let runs = new.status == TaskStatus::Running;
    new.running_at = task.running_at.or(runs.then_some(now));
    new.running_tick = task.running_tick.or(runs.then_some(tick));
    new.stopping_at = task.stopping_at.or(report.stopping_at);
    new.execution_stopped_at = report.execution_stopped_at.or(task.execution_stopped_at);
    if task.awsvpc.is_some()
        && let Some(eni) = eni
    {
        new.eni = Some(Box::new(eni.clone()));
    }
    new.reported = merge_containers(&task.reported, &report.containers, names);
    if !new.is_live() {
        new.stopped_at = report.stopped_at.or(Some(now));
        new.over_at = Some(now);
        new.stopping_at = new.stopping_at.or(new.stopped_at);
    }
    if new == *task {
        return None;
    }
    new.version += 1;
    new.note(Some(task), now);
    Some(new)
}

/// Whether the interface has an address that its host may give to a task.
fn is_of(leases: &[Lease], eni: &EniReport) -> bool {
    leases.iter().any(|lease| {
        let own = [lease.tunnel(), lease.leg(), lease.v4.broadcast()];
        let given = lease.v4.contains(&eni.ipv4) && !own.contains(&eni.ipv4);
        given && eni.ipv6.is_none_or(|address| lease.v6_of(eni.ipv4) == Some(address))
    })
}

fn merge_containers(old: &[ContainerReport], new: &[ContainerReport], names: &[ContainerName]) -> Vec<ContainerReport> {
    let by_name = |list: &'_ [ContainerReport]| -> HashMap<ContainerName, ContainerReport> {
        list.iter().map(|c| (c.name.clone(), c.clone())).collect()
    };
    let (mut old, mut new) = (by_name(old), by_name(new));
    let merged = names.iter().filter_map(|name| match (old.remove(name), new.remove(name)) {
        (None, None) => None,
        (Some(one), None) | (None, Some(one)) => Some(one),
        (Some(old), Some(new)) if new.status < old.status => Some(old),
        (Some(old), Some(new)) => Some(ContainerReport {
            runtime_id: new.runtime_id.or(old.runtime_id),
            image_digest: new.image_digest.or(old.image_digest),
            exit_code: new.exit_code.or(old.exit_code),
            reason: new.reason.or(old.reason),
            bindings: if new.bindings.is_empty() { old.bindings } else { new.bindings },
            // An agent that lost its ledger has forgotten them.
            warnings: if new.warnings.is_empty() { old.warnings } else { new.warnings },
            ..new
        }),
    });
    merged.map(|c| ContainerReport { reason: c.reason.as_deref().map(shortened), ..c }).collect()
}

/// At most as much as ECS allows for a reason, cut between characters.
fn shortened(reason: &str) -> String {
    match reason.char_indices().nth(REASON_MAX) {
        Some((end, _)) => reason[..end].to_owned(),
        None => reason.to_owned(),
    }
}
