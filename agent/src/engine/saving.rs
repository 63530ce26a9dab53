//! Save, then publish: what changed goes into one write, and what depends on it waits for that write.

use super::reconciler::{Entry, Reconciler};
use super::views::TaskView;
use crate::crash::{self, Place};
use crate::ledger::{Changes, Definition, SaveError};
use crate::session::ApplyError;
use futures::{FutureExt, StreamExt};
use longshore_model::{ContainerStatus, Generation, TaskId, TaskReport, TaskStatus};
use longshore_plan::{Outcome, Step};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// After a failed write, how long until what it held is written again, if nothing else is written before.
const SAVE_AGAIN: Duration = Duration::from_secs(2);

/// At the end, how long to wait for the disk.
const LAST_SAVES: Duration = Duration::from_secs(3);

/// What waits for a write.
#[derive(Default)]
pub(super) struct After {
    /// Steps that must not happen unless the record behind them is durable.
    pub(super) steps: Vec<(TaskId, Step)>,
    pub(super) reports: Vec<Arc<TaskReport>>,
    pub(super) records: Vec<TaskId>,
    /// What others are to see of these tasks.
    pub(super) views: Vec<(TaskId, Arc<TaskView>)>,
    pub(super) forgotten: Vec<TaskId>,
    /// An assignment to acknowledge.
    pub(super) applied: Option<(Generation, oneshot::Sender<Result<Generation, ApplyError>>)>,
}

/// A write that ended.
pub(super) struct Saved {
    result: Result<(), SaveError>,
    after: After,
}

impl Reconciler {
    /// Writes what changed since the last time. The loop goes on meanwhile.
    pub(super) fn save(&mut self) {
        let mut changes = Changes::default();
        let mut after = std::mem::take(&mut self.after);
        for id in std::mem::take(&mut self.touched) {
            self.collect(id, &mut changes, &mut after);
        }
        for (id, _) in &after.steps {
            // Its record may be in a write on its way that fails; a step waits for a write of its own.
            if !changes.records.iter().any(|r| r.id == *id)
                && let Some(entry) = self.tasks.get(id)
            {
                changes.records.push(entry.task.record.clone());
            }
        }
        if self.save_again.is_none() {
            // While the ledger cannot be written, once each time that it is tried again.
            after.forgotten.extend(std::mem::take(&mut self.unforgotten));
        }
        changes.forgotten.clone_from(&after.forgotten);
        changes.generation = after.applied.as_ref().map(|(generation, _)| *generation);
        if changes.is_empty() {
            debug_assert!(after.reports.is_empty(), "a report raises its record's version");
            return;
        }
        let store = self.drivers.store.clone();
        let save = async move { Saved { result: store.save(changes).await, after } };
        self.saves.push_back(save.boxed());
    }

    fn collect(&mut self, id: TaskId, changes: &mut Changes, after: &mut After) {
        let now = self.now();
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        let report = entry.task.report(&entry.waiting);
        if entry.report.as_deref() != Some(&report) {
            // Follows the clock, so that it rises even when the ledger and its versions are lost.
            let clock = u64::try_from(now.millis()).unwrap_or(0);
            entry.task.record.version = clock.max(entry.task.record.version + 1);
            let report = Arc::new(TaskReport { version: entry.task.record.version, ..report });
            say(entry.report.as_deref(), &report);
            entry.report = Some(report.clone());
            after.reports.push(report);
        }
        if entry.saved.as_ref() != Some(&entry.task.record) {
            entry.saved = Some(entry.task.record.clone());
            changes.records.push(entry.task.record.clone());
            after.records.push(id);
            after.views.push((id, Arc::new(view(entry))));
            if !entry.definition_saved {
                changes.definitions.push((
                    id,
                    match &entry.task.spec {
                        Some(spec) => Definition::Spec(spec.clone()),
                        None => Definition::Outline(entry.task.outline.clone()),
                    },
                ));
                entry.definition_saved = entry.task.spec.is_some();
            }
        }
    }

    /// A write ended: now what waited for it may happen.
    pub(super) fn take_saved(&mut self, saved: Saved) {
        let Saved { result, after } = saved;
        let After { steps, reports, records, views, forgotten, applied } = after;
        if !views.is_empty() || !forgotten.is_empty() {
            // Before the steps: a container that starts finds itself.
            self.outputs.views.send_modify(|known| {
                for id in &forgotten {
                    known.remove(id);
                }
                known.extend(views);
            });
        }
        match result {
            Ok(()) => {
                if self.ledger_fault.take().is_some() {
                    tracing::info!("the ledger can be written again");
                }
                let held = |id: &TaskId| self.tasks.get(id).is_some_and(|e| e.task.held_interface().is_some());
                crash::after_if(Place::InterfaceSaved, || records.iter().any(held));
                for (id, step) in steps {
                    if self.tasks.get_mut(&id).is_some_and(|entry| entry.task.begin(&step)) {
                        self.start_step(id, step);
                    }
                }
                if let Some((generation, done)) = applied {
                    self.outputs.saved.send_replace(generation);
                    // The session may have ended; the next one asks for the generation.
                    let _ = done.send(Ok(generation));
                }
            }
            Err(error) => {
                if self.ledger_fault.is_none() {
                    tracing::error!(
                        %error,
                        "the ledger cannot be written; until it can, no container is started, removed or stopped for \
                         its health, and nothing that tasks had is returned"
                    );
                }
                let why = error.to_string();
                for id in records {
                    if let Some(entry) = self.tasks.get_mut(&id) {
                        entry.saved = None;
                        entry.definition_saved = false;
                    }
                }
                self.unforgotten.extend(forgotten.iter().copied());
                for (id, step) in steps {
                    self.finish(id, &step, Outcome::NotDone(why.clone()));
                }
                if let Some((_, done)) = applied {
                    let _ = done.send(Err(ApplyError::NotSaved { why: why.clone() }));
                }
                self.ledger_fault = Some(why);
                self.save_again = Some(Instant::now() + SAVE_AGAIN);
            }
        }
        if !reports.is_empty() || !forgotten.is_empty() {
            self.outputs.observed.send_modify(|observed| {
                for id in &forgotten {
                    observed.remove(id);
                }
                for report in reports {
                    observed.insert(report.task, report);
                }
            });
        }
    }

    /// Before the end: what is being written is worth a moment.
    pub(super) async fn drain_saves(&mut self) {
        let drained = tokio::time::timeout(LAST_SAVES, async {
            while let Some(saved) = self.saves.next().await {
                // Its steps are not begun any more; the next process decides on them.
                self.take_saved(Saved { after: After { steps: Vec::new(), ..saved.after }, ..saved });
            }
        });
        if drained.await.is_err() {
            tracing::warn!("the ledger did not take the last changes in time; the next start finds them out again");
        }
    }
}

/// What others see of a task.
pub(super) fn view(entry: &Entry) -> TaskView {
    let task = &entry.task;
    TaskView {
        outline: task.outline.clone(),
        spec: task.spec.clone(),
        record: task.record.clone(),
        waiting_for: entry.report.as_ref().and_then(|report| report.waiting_for.clone()),
    }
}

/// One line for each thing that happened to a task.
fn say(before: Option<&TaskReport>, now: &TaskReport) {
    let task = now.task;
    for (i, container) in now.containers.iter().enumerate() {
        let was = before.and_then(|b| b.containers.get(i)).map_or(ContainerStatus::Pending, |c| c.status);
        if was != container.status {
            tracing::info!(
                %task, container = %container.name, status = %container.status,
                exit_code = container.exit_code, why = container.reason, "container"
            );
        }
    }
    if before.map(|b| b.status) != Some(now.status) {
        let why = now.stop.as_ref().map(|s| s.reason.as_str());
        tracing::info!(%task, status = %now.status, why, "task");
    }
    let news = now.waiting_for.is_some() && before.and_then(|b| b.waiting_for.as_ref()) != now.waiting_for.as_ref();
    // A running task waits for nothing but an engine that is away, which is said once and not for each task.
    if news && now.status <= TaskStatus::Pending {
        tracing::info!(%task, why = now.waiting_for, "waiting");
    }
}
