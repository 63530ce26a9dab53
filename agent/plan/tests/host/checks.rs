//! What holds at every moment, and what once all is done.

use super::{Key, MEMORY, World};
use longshore_model::{ContainerCondition, HealthStatus, NetworkMode, TaskId, TaskReport, TaskStatus};
use longshore_plan::room::Asking;
use longshore_plan::{ContainerRecord, Phase, Place, RunState, Step, Task};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn in_order(report: &TaskReport) -> bool {
    let life = [
        report.pull_started_at,
        report.pull_stopped_at,
        report.started_at,
        report.execution_stopped_at,
        report.stopped_at,
    ];
    let stopping = [report.started_at, report.stopping_at, report.stopped_at];
    [&life[..], &stopping[..]].iter().all(|times| times.iter().flatten().is_sorted())
}

/// No start before what it depends on has come so far, no stop before that of all that depend on it.
pub(super) fn check_order(task: &Task, step: &Step) {
    let records = &task.record.containers;
    match step {
        Step::Start(i) => {
            for dependency in &task.outline.containers[*i].depends_on {
                let on = records.iter().find(|c| c.name == dependency.container).expect("a container of the task");
                let (ran, exit_code) = match &on.phase {
                    Phase::Stopped(stopped) => (stopped.ran, stopped.exit_code.filter(|_| stopped.ran)),
                    _ => (on.started_at.is_some(), None),
                };
                let met = match dependency.condition {
                    ContainerCondition::Start => ran,
                    ContainerCondition::Complete => exit_code.is_some(),
                    ContainerCondition::Success => exit_code == Some(0),
                    ContainerCondition::Healthy => on.phase.is_running() && on.health == Some(HealthStatus::Healthy),
                };
                assert!(met, "{} is started before {dependency:?}: {on:#?}", records[*i].name);
            }
            for linked in &task.outline.containers[*i].links {
                let on = records.iter().find(|c| c.name == *linked).expect("a container of the task");
                let waits = matches!(on.phase, Phase::Restarting { .. });
                assert!(!waits, "{} is started while {linked}, which it links, is down", records[*i].name);
            }
        }
        // Out of order is stopped what is restarted for its health, or what somebody started again after it ended.
        Step::Stop(i, _) if records[*i].phase.is_running() && task.record.ending.is_some() => {
            let name = &records[*i].name;
            for (outline, record) in task.outline.containers.iter().zip(records) {
                let depends = outline.after.contains(name) || outline.depends_on.iter().any(|d| d.container == *name);
                assert!(!depends || record.phase.is_stopped(), "{name} is stopped before {}", record.name);
            }
        }
        Step::Stop(_, _)
        | Step::StopUnhealthy(_, _)
        | Step::Ensure(_)
        | Step::Release(_)
        | Step::Pull(_)
        | Step::Create(_)
        | Step::Inspect(_)
        | Step::Remove { .. } => {}
    }
}

impl World {
    pub(crate) fn check(&self) {
        assert!((0..self.specs.len()).all(|t| self.times_are_in_order(t)), "times are out of order");
        for (key, runs) in &self.runs {
            // With a restart policy once more for each time that it ended.
            let spec = self.specs.iter().find(|spec| spec.id == key.0).expect("ours");
            let policy = spec.containers[key.1].lifecycle.restart.is_some();
            let ends = self.ends.get(key).filter(|_| policy).copied().unwrap_or(0);
            assert!(*runs <= 1 + ends, "{key:?} was started {runs} times, and ended {ends} times");
        }
        for task in self.tasks.values() {
            for (i, container) in task.record.containers.iter().enumerate() {
                let Phase::Stopped(stopped) = &container.phase else { continue };
                let own = stopped.reason.as_deref().is_some_and(|reason| reason.contains("ignoredExitCodes"));
                assert!(
                    !own || !self.bounced.contains(&(task.record.id, i)),
                    "it was stopped to start: {container:#?}"
                );
                let gone = stopped.reason.as_deref() == Some(longshore_plan::reasons::VANISHED);
                assert!(!gone || self.taken.contains(&(task.record.id, i)), "nobody removed it: {container:#?}");
            }
        }
        let holders: BTreeSet<&TaskId> = self.interfaces.values().collect();
        assert_eq!(holders.len(), self.interfaces.len(), "a task has two interfaces: {:?}", self.interfaces);
        let behind = |k: &Key| self.tasks.get(&k.0).is_none_or(|t| t.record.containers[k.1].phase.is_stopped());
        let runs = self.boxes.iter().filter(|(key, b)| b.state == RunState::Running && !behind(key));
        let present: BTreeSet<TaskId> = runs.map(|((task, _), _)| *task).collect();
        let outlines = || self.tasks.values().filter(|t| present.contains(&t.record.id)).map(|t| &t.outline);
        let memory: u64 = outlines().map(|outline| outline.memory_mib).sum();
        assert!(memory <= MEMORY, "tasks that run have {memory} MiB: {present:?}");
        assert!(outlines().filter(|outline| !outline.gpus.is_empty()).count() <= 1, "a GPU twice: {present:?}");
        let mut ports = BTreeMap::new();
        for (key, b) in &self.boxes {
            let network = b.label.interface.as_ref().map(|interface| interface.eni.id);
            for ((task, _), other) in &self.boxes {
                let others = other.label.interface.as_ref().map(|interface| interface.eni.id);
                assert!(*task != key.0 || others == network, "containers of task {task} are in two networks");
            }
            if b.state != RunState::Running {
                continue;
            }
            for p in &b.ports {
                let other = ports.insert(p.host_port, *key);
                let behind =
                    |k: &Key| self.tasks.get(&k.0).is_some_and(|t| t.record.containers[k.1].phase.is_stopped());
                assert!(
                    other.is_none() || behind(key) || other.as_ref().is_some_and(behind),
                    "{key:?} and {other:?} have one port"
                );
            }
        }
    }

    pub(crate) fn check_converged(&self) {
        for (spec, wanted) in self.specs.iter().zip(&self.wanted) {
            let id = spec.id;
            let boxes = self.boxes.keys().filter(|(t, _)| *t == id).count();
            match self.tasks.get(&id) {
                None => {
                    assert!(!wanted.assigned, "task {id} was forgotten while it is assigned");
                    assert_eq!(boxes, 0, "containers of a forgotten task");
                    assert!(!self.durable.contains_key(&id));
                    assert!(!self.volumes.contains(&id) && !self.cgroups.contains(&id) || !wanted.left, "leaked");
                    assert!(!self.interfaces.values().any(|holder| *holder == id), "an interface leaked");
                    assert!(!self.namespaces.contains(&id) || !wanted.left, "namespaces leaked");
                }
                Some(task) => {
                    let record = &task.record;
                    let renamed = |(i, _): &(usize, _)| self.boxes.get(&(id, *i)).is_some_and(|b| b.renamed);
                    let renamed: Vec<_> = record.containers.iter().enumerate().filter(renamed).collect();
                    let over = |(_, c): &(usize, &ContainerRecord)| c.phase.is_stopped();
                    assert!(renamed.iter().all(over), "another's name: {renamed:#?}");
                    let up = record.containers.iter().filter(|c| c.phase.is_running()).count();
                    if record.ending.is_some() {
                        assert_eq!(up, 0, "{record:#?}");
                        assert_eq!(record.reached, TaskStatus::Stopped, "{record:#?}");
                        assert_eq!(boxes, 0, "{record:#?}");
                        assert!(!self.volumes.contains(&id) && !self.cgroups.contains(&id), "{record:#?}");
                        assert!(!self.namespaces.contains(&id), "{record:#?}");
                        assert!(task.held_ports().is_empty());
                        assert!(!self.interfaces.values().any(|holder| *holder == id), "{record:#?}");
                        assert!(task.report(&[]).eni.is_none_or(|eni| !eni.attached), "{record:#?}");
                    } else {
                        assert!(wanted.assigned && !wanted.stop, "{record:#?}");
                        let running = self.interfaces.iter().find(|(_, holder)| **holder == id);
                        let running = running.map(|(eni, _)| *eni).filter(|eni| self.sandboxes.contains(eni));
                        let awsvpc = spec.network_mode == NetworkMode::Awsvpc;
                        let awsvpc = awsvpc && record.place == Place::Given;
                        assert_eq!(running.is_some(), awsvpc, "{record:#?}");
                        assert_eq!(task.report(&[]).eni.map(|e| (e.id, e.attached)), running.map(|eni| (eni, true)));
                        // Others may have what it needs for good.
                        if record.place == Place::Wanted {
                            let demand = task.outline.demand();
                            let asking = Asking { task: id, accepted_at: record.accepted_at, demand: &demand };
                            let lack = self.room.ask(&asking, &self.claims, &self.policy, self.now);
                            assert!(lack.is_err(), "it fits and does not start: {record:#?} {:#?}", task.live);
                            assert!(!self.runs.contains_key(&(id, 0)), "{record:#?}");
                        } else {
                            assert_eq!(record.reached, TaskStatus::Running, "{record:#?}");
                        }
                    }
                }
            }
        }
    }
}
