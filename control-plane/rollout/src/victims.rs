//! Which tasks go first when there are too many.

use crate::picture::{Phase, Picture, Task};
use longshore_model::{InstanceId, Timestamp};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Chooses `count` of `tasks`, fewer when there are no more that may go: first those that are no use yet, then from the
/// zone that has the most, there from the host that has the most (as ECS scales in), there the newest. Each choice
/// counts for the next. Protected tasks stay.
pub(crate) fn choose<'a>(picture: &Picture, tasks: &[&'a Task], count: usize, now: Timestamp) -> Vec<&'a Task> {
    let mut zones: BTreeMap<Option<Arc<str>>, usize> = BTreeMap::new();
    let mut hosts: BTreeMap<InstanceId, usize> = BTreeMap::new();
    for task in tasks {
        *zones.entry(task.zone.clone()).or_default() += 1;
        *hosts.entry(task.host).or_default() += 1;
    }
    let mut left: Vec<&Task> = tasks.iter().copied().filter(|task| !task.is_protected(picture, now)).collect();
    let mut chosen = Vec::new();
    while chosen.len() < count {
        let rank = |task: &&Task| {
            let of_zone = zones.get(&task.zone).copied().unwrap_or(0);
            let of_host = hosts.get(&task.host).copied().unwrap_or(0);
            (usefulness(picture, task, now), Reverse(of_zone), Reverse(of_host), Reverse(task.created_at), task.id)
        };
        let Some(at) = (0..left.len()).min_by_key(|at| rank(&left[*at])) else { break };
        let task = left.swap_remove(at);
        *zones.entry(task.zone.clone()).or_default() -= 1;
        *hosts.entry(task.host).or_default() -= 1;
        chosen.push(task);
    }
    chosen
}

/// How much a task does for the service; the least goes first.
fn usefulness(picture: &Picture, task: &Task, now: Timestamp) -> u8 {
    match task.phase {
        Phase::Stopping { .. } => 0,
        Phase::Pending => 1,
        Phase::Running { .. } if task.is_ill(picture, now) => 2,
        Phase::Running { .. } if !task.is_healthy(picture, now) => 3,
        Phase::Running { .. } => 4,
    }
}
