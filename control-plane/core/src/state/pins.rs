//! Image pins: which there are, whose they are, and what they mean for what an agent is told.

use crate::records::{ImagePins, PinKey, Task};
use crate::state::{State, Touched};
use imbl::{HashMap, OrdSet};
use longshore_model::{ImageDigest, TaskId, TaskSpec};
use std::sync::Arc;

/// Every record of image pins, and the live tasks of each key.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Pins {
    records: HashMap<PinKey, Arc<ImagePins>>,
    tasks: HashMap<PinKey, OrdSet<TaskId>>,
    /// Records that nothing refers to any more.
    idle: OrdSet<PinKey>,
}

impl Pins {
    /// Sees to it that `key` is among the idle ones if it is idle, and only then.
    fn sort(&mut self, key: &PinKey) {
        let used = |record: &Arc<ImagePins>| record.held || self.tasks.contains_key(key);
        if self.records.get(key).is_some_and(|record| !used(record)) {
            self.idle.insert(key.clone());
        } else {
            self.idle.remove(key);
        }
    }
}

impl State {
    /// What the tags of tasks that belong together were resolved to, as far as that is known.
    #[must_use]
    pub fn pins(&self, key: &PinKey) -> Option<&Arc<ImagePins>> {
        self.pins.records.get(key)
    }

    /// Pins that nothing refers to any more.
    pub(crate) fn idle_pins(&self) -> impl Iterator<Item = &PinKey> {
        self.pins.idle.iter()
    }

    /// Whether a live task or a deployment refers to these pins, or would if there were some.
    pub(crate) fn are_used(&self, key: &PinKey) -> bool {
        self.pins.tasks.contains_key(key) || self.pins(key).is_some_and(|pins| pins.held)
    }

    /// Whether nothing refers to these pins any more.
    pub(crate) fn are_idle(&self, key: &PinKey) -> bool {
        self.pins.idle.contains(key)
    }

    /// Puts the digests that are known into what `task`'s agent runs. Where the agent has said which image it has, that
    /// is the one, and nothing is put in.
    pub(crate) fn pin(&self, task: &Task, spec: &mut TaskSpec) {
        let Some(pins) = task.pins.as_ref().and_then(|key| self.pins(key)) else { return };
        for container in &mut spec.containers {
            if let Some(digest) = pins.digests.get(&container.name).filter(|_| task.awaits_image(&container.name)) {
                container.image_digest = Some(digest.clone());
            }
        }
    }

    /// Whether a container of `task` was made of another image than its tag was resolved to: its host took what the tag
    /// meant there before that was known. Who was told a digest has no other.
    pub(crate) fn has_another_image(&self, task: &Task) -> bool {
        let Some(pins) = task.live_pins().and_then(|key| self.pins(key)) else { return false };
        task.reported.iter().filter(|report| report.runtime_id.is_some()).any(|report| {
            let both = pins.digests.get(&report.name).zip(report.image_digest.as_deref());
            both.is_some_and(|(pinned, has)| pinned.as_str() != has && ImageDigest::new(has).is_ok())
        })
    }

    pub(super) fn put_pins(&mut self, new: &Arc<ImagePins>, touched: &mut Touched) {
        let old = self.pins.records.insert(new.key.clone(), Arc::clone(new));
        self.pins.sort(&new.key);
        let known = |name| old.as_ref().is_some_and(|old| old.digests.contains_key(name));
        let fresh: Vec<_> = new.digests.keys().filter(|name| !known(*name)).collect();
        let tasks = self.pins.tasks.get(&new.key).into_iter().flatten().filter_map(|id| self.tasks.get(id));
        let told = tasks.filter(|task| fresh.iter().any(|name| task.awaits_image(name)));
        touched.assignments.extend(told.map(|task| task.instance));
        let tasks = self.pins.tasks.get(&new.key).into_iter().flatten().filter_map(|id| self.tasks.get(id));
        let others: Vec<_> = tasks.filter(|task| self.has_another_image(task)).map(Arc::clone).collect();
        others.iter().for_each(|task| self.stir_service(&task.cluster, &task.group, touched));
    }

    pub(super) fn forget_pins(&mut self, key: &PinKey) {
        self.pins.records.remove(key);
        self.pins.sort(key);
    }

    /// Follows a task from what it was to what it is; either may be missing.
    pub(super) fn follow_pins(&mut self, old: Option<&Task>, new: Option<&Task>) {
        let (before, now) = (old.and_then(Task::live_pins), new.and_then(Task::live_pins));
        if before == now {
            return;
        }
        if let (Some(key), Some(task)) = (before, old)
            && let Some(tasks) = self.pins.tasks.get_mut(key)
        {
            tasks.remove(&task.id);
            if tasks.is_empty() {
                self.pins.tasks.remove(key);
            }
            self.pins.sort(key);
        }
        if let (Some(key), Some(task)) = (now, new) {
            self.pins.tasks.entry(key.clone()).or_default().insert(task.id);
            self.pins.sort(key);
        }
    }
}
