//! Assignments: how what the control plane says changes the table.

use super::reconciler::{Entry, Reconciler};
use crate::session::{ApplyError, DesiredUpdate, RefusedTask};
use longshore_model::{AssignedTask, Assignment, Generation, TaskId, Timestamp};
use longshore_plan::Task;
use std::collections::BTreeSet;

impl Reconciler {
    /// Takes an assignment in. It is answered once it is durable; what follows from it begins at once.
    pub(super) fn apply(&mut self, update: DesiredUpdate) {
        let DesiredUpdate { assignment, refused, done } = update;
        let now = self.now();
        if let Err(error) = self.builds_on(&assignment) {
            tracing::warn!(%error, offered = assignment.generation().0, "assignment refused");
            // The session may have ended; then there is nobody to tell.
            let _ = done.send(Err(error));
            return;
        }
        let generation = assignment.generation();
        match assignment {
            Assignment::Complete { tasks, .. } => {
                let present: BTreeSet<TaskId> =
                    tasks.iter().map(|t| t.spec.id).chain(refused.iter().map(|r| r.task)).collect();
                tracing::info!(generation = generation.0, tasks = present.len(), "complete assignment");
                self.upsert(&tasks, &refused, now);
                let absent: Vec<TaskId> = self.tasks.keys().filter(|id| !present.contains(id)).copied().collect();
                absent.into_iter().for_each(|id| self.unassign(id, now));
                self.complete_seen = true;
            }
            Assignment::Delta { tasks, removed, .. } => {
                tracing::debug!(generation = generation.0, tasks = tasks.len(), removed = removed.len(), "delta");
                self.upsert(&tasks, &refused, now);
                removed.into_iter().for_each(|id| self.unassign(id, now));
            }
        }
        self.generation = generation;
        if let Some((_, earlier)) = self.after.applied.replace((generation, done)) {
            // Both are in the write to come; the later generation covers the earlier.
            let _ = earlier.send(Ok(generation));
        }
    }

    fn builds_on(&self, assignment: &Assignment) -> Result<(), ApplyError> {
        let at: Generation = self.generation;
        let fits = match assignment {
            Assignment::Complete { generation, .. } => *generation >= at,
            Assignment::Delta { base, generation, .. } => *base == at && *generation >= at,
        };
        if fits { Ok(()) } else { Err(ApplyError::Outdated { saved: at }) }
    }

    fn upsert(&mut self, tasks: &[AssignedTask], refused: &[RefusedTask], now: Timestamp) {
        for assigned in tasks {
            let id = assigned.spec.id;
            match self.tasks.get_mut(&id) {
                Some(entry) => {
                    if entry.task.assign(assigned, now) {
                        entry.saved = None;
                        entry.definition_saved = false;
                    }
                }
                None => {
                    let (family, revision) = (&assigned.spec.family, assigned.spec.revision);
                    tracing::info!(task = %id, family, revision, desired = %assigned.desired, "accepted");
                    self.tasks.insert(id, Entry::new(Task::new(assigned, now)));
                }
            }
            self.dirty.insert(id);
        }
        for RefusedTask { task: id, desired, stop_reason, why } in refused {
            match self.tasks.get_mut(id) {
                Some(entry) => entry.task.present(*desired, stop_reason, now),
                None => {
                    tracing::error!(task = %id, why, "a task of the assignment cannot be understood");
                    self.tasks.insert(*id, Entry::new(Task::refused(*id, why, now)));
                }
            }
            self.dirty.insert(*id);
        }
    }

    fn unassign(&mut self, id: TaskId, now: Timestamp) {
        if let Some(entry) = self.tasks.get_mut(&id) {
            entry.task.unassign(now);
            self.dirty.insert(id);
        }
    }
}
