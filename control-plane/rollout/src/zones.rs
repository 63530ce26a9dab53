//! Evening a service out over zones: a task is started where there are fewer before one is stopped where there are
//! more.
//!
//! One at a time, and only of a service that is as it should be. A task more than the desired count is a *mover* while
//! it is on its way to a zone that has fewer than the fullest: scale-in waits for it, and then takes one of the
//! fullest.

use crate::picture::{Phase, Picture, Rebalance, Rollout, Task};
use longshore_model::Timestamp;
use std::collections::BTreeMap;

/// A zone, by how many tasks are in it.
type Zones<'a> = BTreeMap<Option<&'a str>, usize>;

fn zones<'a>(tasks: &[&'a Task]) -> Zones<'a> {
    let mut zones = Zones::new();
    for task in tasks {
        *zones.entry(task.zone.as_deref()).or_default() += 1;
    }
    zones
}

/// Whether the tasks of a service that is as it should be could be more even, so that it matters where one more would
/// go: a zone has two at least.
#[must_use]
pub fn is_uneven(picture: &Picture, now: Timestamp) -> bool {
    let tasks: Vec<&Task> = picture.tasks.iter().collect();
    let complete = matches!(picture.deployments.as_slice(), [only] if only.rollout == Rollout::Completed);
    let at_rest = complete
        && tasks.iter().all(|task| task.deployment == Some(0) && task.is_healthy(picture, now) && !task.draining);
    at_rest && zones(&tasks).values().any(|count| *count >= 2)
}

/// Whether one more task of a service with these `good` ones, which are as many as there should be, would even it out.
pub(crate) fn wants_mover(picture: &Picture, good: &[&Task]) -> bool {
    let Rebalance::To(zone) = &picture.rebalance else { return false };
    let zones = zones(good);
    let there = zones.get(&zone.as_deref()).copied().unwrap_or(0);
    zones.values().max().is_some_and(|most| *most >= there + 2)
}

/// Whether a task more than there should be is on its way to where it evens the service out.
pub(crate) fn has_mover(picture: &Picture, good: &[&Task], now: Timestamp) -> bool {
    if picture.rebalance == Rebalance::Off {
        return false;
    }
    let zones = zones(good);
    let most = zones.values().max().copied().unwrap_or(0);
    good.iter().any(|task| {
        let on_its_way = match task.phase {
            Phase::Pending | Phase::Running { .. } => !task.is_healthy(picture, now),
            Phase::Stopping { .. } => false,
        };
        on_its_way && zones.get(&task.zone.as_deref()).is_some_and(|there| *there < most)
    })
}
