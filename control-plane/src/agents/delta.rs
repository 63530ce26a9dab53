//! What to send an agent next: the difference between what it was last sent and what is true now. Pure.

use longshore_model::planted::{Bug, is_planted};
use longshore_model::{AssignedTask, Assignment, DesiredStatus, Generation, TaskId};
use std::collections::BTreeMap;

/// What an agent was last sent on this stream.
///
/// Kept of each task is only what can change in a way that an agent must hear of. A spec never changes for one id, but
/// for digests of images that come to be known while it may still start. `may_start` matters only to an agent that does
/// not know the task, and such an agent reads a complete assignment first; a message (and a durable save) for every
/// task that starts would tell agents what they themselves reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    /// The generation that the last message brought the agent to.
    pub(super) generation: Generation,
    tasks: BTreeMap<TaskId, Mark>,
}

/// What was last sent of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    desired: DesiredStatus,
    /// Which of its containers have a digest, a bit for each (ECS knows ten at most). A digest does not change; it is
    /// left out again when the agent has said itself which image it has.
    digests: u64,
}

impl Mark {
    fn of(task: &AssignedTask) -> Self {
        let known = task.spec.containers.iter().map(|c| u64::from(c.image_digest.is_some()));
        let digests = known.take(64).enumerate().fold(0, |all, (i, known)| all | known << i);
        Self { desired: task.desired, digests }
    }

    /// Whether an agent that was sent `before` has to hear of `task`.
    fn is_news(before: Option<&Self>, task: &AssignedTask) -> bool {
        let now = Self::of(task);
        let fresh = |before: &Self| task.may_start && now.digests & !before.digests != 0;
        before.is_none_or(|before| before.desired != now.desired || fresh(before))
    }
}

/// The assignment of an instance as it is now.
pub(super) type Current = (Generation, BTreeMap<TaskId, AssignedTask>);

impl Sent {
    /// Everything, for an agent that says it has saved `saved`.
    ///
    /// The generation is the instance's own unless the agent's is higher: it may have been brought to a later
    /// revision at which nothing of its assignment changed, and it never goes back.
    pub(super) fn complete((generation, tasks): Current, saved: Generation) -> (Self, Assignment) {
        let generation = generation.max(saved);
        let sent = Self { generation, tasks: marks(&tasks) };
        (sent, Assignment::Complete { generation, tasks: tasks.into_values().collect() })
    }

    /// What changed, and with it this record; `None` when there is nothing to tell.
    pub(super) fn advance(&mut self, current: Current) -> Option<Assignment> {
        let (generation, tasks) = current;
        let gone = self.tasks.keys().any(|task| !tasks.contains_key(task));
        if !gone && !tasks.iter().any(|(id, task)| Mark::is_news(self.tasks.get(id), task)) {
            return None;
        }
        let marks = marks(&tasks);
        if generation <= self.generation {
            // Something changed and the number did not rise: not to be told as a delta.
            let (sent, assignment) = Self::complete((generation, tasks), self.generation);
            *self = sent;
            return Some(assignment);
        }
        let base = std::mem::replace(&mut self.generation, generation);
        let before = std::mem::replace(&mut self.tasks, marks);
        let is_gone = |task: &TaskId| !self.tasks.contains_key(task) && !is_planted(Bug::RemovalsAreForgotten);
        let removed = before.keys().filter(|task| is_gone(task)).copied().collect();
        let tasks =
            tasks.into_iter().filter(|(id, task)| Mark::is_news(before.get(id), task)).map(|(_, task)| task).collect();
        Some(Assignment::Delta { base, generation, tasks, removed })
    }
}

fn marks(tasks: &BTreeMap<TaskId, AssignedTask>) -> BTreeMap<TaskId, Mark> {
    tasks.iter().map(|(id, task)| (*id, Mark::of(task))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_model::{ClusterName, ContainerSpec, NetworkMode, TaskSpec};
    use longshore_proto::v1;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn task(id: TaskId, desired: DesiredStatus, may_start: bool) -> AssignedTask {
        let cluster = ClusterName::new("c").expect("a name");
        let spec = TaskSpec::new(id, cluster, "f", NetworkMode::None, Vec::new());
        AssignedTask { spec: Arc::new(spec), desired, may_start, stop_reason: String::new() }
    }

    /// One step: per task absent, running or stopped, and whether it may start.
    fn step() -> impl Strategy<Value = Vec<Option<(bool, bool)>>> {
        proptest::collection::vec(proptest::option::of((any::<bool>(), any::<bool>())), 4)
    }

    /// What an agent holds after applying messages one by one.
    fn apply(state: &mut (Generation, BTreeMap<TaskId, DesiredStatus>), assignment: Assignment) {
        match assignment {
            Assignment::Complete { generation, tasks } => {
                assert!(generation >= state.0, "generations never fall");
                *state = (generation, tasks.iter().map(|task| (task.spec.id, task.desired)).collect());
            }
            Assignment::Delta { base, generation, tasks, removed } => {
                assert_eq!(base, state.0, "a delta builds on what was sent before");
                assert!(generation > base);
                assert!(!(tasks.is_empty() && removed.is_empty()), "no empty delta");
                state.0 = generation;
                for id in removed {
                    assert!(state.1.remove(&id).is_some(), "only what was there is removed");
                }
                state.1.extend(tasks.iter().map(|task| (task.spec.id, task.desired)));
            }
        }
    }

    proptest! {
        #[test]
        fn deltas_add_up_to_the_complete_assignment(
            steps in proptest::collection::vec((step(), 0u64..3), 1..12),
            saved in 0u64..4,
        ) {
            let ids: Vec<TaskId> = (0..4).map(|n| TaskId::from_bytes([n; 16])).collect();
            let mut generation = 1;
            let mut state = (Generation(saved), BTreeMap::new());
            let mut sent: Option<Sent> = None;
            for (tasks, rise) in steps {
                generation += rise;
                let tasks: BTreeMap<TaskId, AssignedTask> = ids.iter().zip(tasks).filter_map(|(id, state)| {
                    let (running, may_start) = state?;
                    let desired = if running { DesiredStatus::Running } else { DesiredStatus::Stopped };
                    Some((*id, task(*id, desired, may_start)))
                }).collect();
                let current = (Generation(generation), tasks.clone());
                match &mut sent {
                    None => {
                        let (first, assignment) = Sent::complete(current, Generation(saved));
                        apply(&mut state, assignment);
                        sent = Some(first);
                    }
                    Some(sent) => if let Some(assignment) = sent.advance(current) {
                        apply(&mut state, assignment);
                    }
                }
                prop_assert_eq!(&state.1, &tasks.iter().map(|(id, task)| (*id, task.desired)).collect());
                prop_assert_eq!(Some(state.0), sent.as_ref().map(|sent| sent.generation));
            }
        }
    }

    #[test]
    fn a_task_that_started_is_not_told_to_its_own_agent() {
        let id = TaskId::random();
        let current = |generation, may_start| {
            (Generation(generation), BTreeMap::from([(id, task(id, DesiredStatus::Running, may_start))]))
        };
        let (mut sent, _) = Sent::complete(current(5, true), Generation(0));
        assert_eq!(sent.advance(current(6, false)), None);
        assert_eq!(sent.generation, Generation(5));
    }

    #[test]
    fn a_digest_is_told_once_and_only_to_who_may_still_need_it() {
        let id = TaskId::random();
        let current = |generation, digests: [bool; 2], may_start| {
            let mut task = task(id, DesiredStatus::Running, may_start);
            let container = |(i, known): (usize, bool)| {
                let digest = known.then(|| format!("sha256:{i:064}"));
                let message = v1::ContainerSpec {
                    name: format!("c{i}"),
                    image: "busybox".to_owned(),
                    image_digest: digest,
                    ..Default::default()
                };
                ContainerSpec::try_from(message).expect("a container")
            };
            Arc::make_mut(&mut task.spec).containers = digests.into_iter().enumerate().map(container).collect();
            (Generation(generation), BTreeMap::from([(id, task)]))
        };
        let told = |assignment: Option<Assignment>| match assignment {
            Some(Assignment::Delta { tasks, .. }) => tasks.len(),
            Some(Assignment::Complete { .. }) => panic!("a delta would do"),
            None => 0,
        };
        let (mut sent, _) = Sent::complete(current(1, [false, false], true), Generation(0));
        assert_eq!(told(sent.advance(current(2, [true, false], true))), 1);
        assert_eq!(told(sent.advance(current(3, [true, false], true))), 0);
        // The agent said what it has for one, and another came to be known.
        assert_eq!(told(sent.advance(current(4, [false, true], true))), 1);
        let (mut sent, _) = Sent::complete(current(5, [false, false], true), Generation(4));
        assert_eq!(told(sent.advance(current(6, [true, true], false))), 0, "it runs");
    }
}
