//! The agent ends at any moment, and begins again.

use super::engine::sightings;
use super::{Cut, World, empty_room};
use longshore_model::{EniId, TaskId};
use longshore_plan::{Outcome, PortClaims, ResourceKind, ResourcePhase, Step, Supervise, Task};
use std::collections::{BTreeMap, BTreeSet};

impl World {
    pub(super) fn recover(&mut self, id: TaskId) {
        let labels: Vec<Supervise> =
            self.boxes.iter().filter(|((t, _), _)| *t == id).map(|(_, b)| b.label.clone()).collect();
        let mut task = Task::recovered(labels[0].task.clone(), self.now);
        for ((t, i), b) in &self.boxes {
            if *t == id {
                let name = task.record.containers[*i].name.clone();
                let text = b.label.to_label();
                task.recover_made(&Supervise::from_label(&text).expect("our own label"), &name);
            }
        }
        task.sight(&sightings(&self.boxes, id, &task), self.seq);
        task.record.version = self.versions.get(&id).copied().unwrap_or(0);
        // Whoever decides has spoken since the crash.
        let t = self.specs.iter().position(|s| s.id == id).expect("ours");
        if !self.wanted[t].assigned {
            task.unassign(self.now);
        }
        self.tasks.insert(id, task);
        self.touch(id);
    }

    pub(super) fn crash(&mut self, cut: Cut) {
        // Of the saves on their way a prefix got through; steps in flight happened or not.
        let count = self.on_the_way.len() * usize::from(cut.keep) / 256;
        let held = std::mem::take(&mut self.held);
        drop(held);
        for id in std::mem::take(&mut self.ahead) {
            // It is told again from what is durable; the control plane keeps the highest.
            self.reported.remove(&id);
        }
        self.ledger_fault = false;
        // What is published needs a whole write; a prefix that nobody heard of is only on the disk.
        for (id, record) in self.on_the_way.drain(..).take(count) {
            match record {
                Some(record) => _ = self.durable.insert(id, record),
                None => _ = self.durable.remove(&id),
            }
        }
        for (n, (id, step)) in std::mem::take(&mut self.in_flight).into_iter().enumerate() {
            if self.up && (usize::from(cut.keep) >> (n % 8)) & 1 == 1 {
                let created = match (self.really(id, &step), &step) {
                    (Some(Outcome::Created(Ok(_))), Step::Create(i)) => self.boxes.get_mut(&(id, *i)),
                    _ => None,
                };
                // The engine is in the middle of it when the next agent looks.
                if let Some(made) = created {
                    made.half_made = cut.keep.is_multiple_of(2);
                }
            }
        }
        if cut.lose_ledger {
            self.durable.clear();
            self.bounced.clear();
        }
        self.tasks.clear();
        self.claims = PortClaims::default();
        self.room = empty_room();
        for (id, record) in self.durable.clone() {
            let spec = self.specs.iter().find(|s| s.id == id).expect("ours").clone();
            let mut task = Task::restored(longshore_plan::Outline::of(&spec), Some(spec), record);
            if self.booted {
                task.host_was_booted();
            }
            self.claims.sync(id, &task.held_ports());
            self.room.sync(&task);
            self.tasks.insert(id, task);
        }
        // The network finds out who has which interface from the records and the labels; the others are returned.
        let kept = self.durable.values().filter(|r| {
            r.resources.iter().any(|r| r.kind == ResourceKind::Interface && r.phase == ResourcePhase::Ready)
        });
        let recorded = kept.filter_map(|r| Some((r.interface.as_ref()?.eni.id, r.id)));
        let labelled = self.boxes.iter().filter_map(|((id, _), b)| Some((b.label.interface.as_ref()?.eni.id, *id)));
        let known: BTreeMap<EniId, TaskId> =
            recorded.chain(labelled).filter(|(eni, _)| self.interfaces.contains_key(eni)).collect();
        let lost: BTreeSet<TaskId> =
            self.interfaces.iter().filter(|(eni, _)| !known.contains_key(eni)).map(|(_, id)| *id).collect();
        self.take_interfaces(|id| lost.contains(id));
        self.answering = false;
        if cut.lose_ledger {
            // Statuses of tasks that are rebuilt begin again; the control plane keeps the highest.
            self.reported.clear();
            self.erased.iter().for_each(|key| _ = self.runs.remove(key));
        }
        self.leftovers = true;
        self.list();
        // The control plane sends its whole assignment again.
        for t in 0..self.specs.len() {
            let id = self.specs[t].id;
            if self.wanted[t].assigned {
                self.assign(t);
            } else if let Some(task) = self.tasks.get_mut(&id) {
                task.unassign(self.now);
                self.touch(id);
            }
        }
    }
}
