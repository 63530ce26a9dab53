//! One task on each host.
//!
//! A host's task is replaced where it is: the old one goes first, as many hosts at once as the minimum allows. A
//! draining host keeps its daemon until nothing else runs there.

use crate::decide::{Decision, Launch, Moves, Stop, Why};
use crate::picture::{Host, Phase, Picture, Task};
use longshore_model::planted::{Bug, is_planted};
use longshore_model::{InstanceId, Timestamp};
use std::collections::BTreeMap;

pub(crate) fn decide(picture: &Picture, hosts: &[Host], now: Timestamp, moves: Moves, decision: &mut Decision) {
    let mut by_host: BTreeMap<InstanceId, Vec<&Task>> = BTreeMap::new();
    for task in &picture.tasks {
        by_host.entry(task.host).or_default().push(task);
    }
    let targets: BTreeMap<InstanceId, Host> = hosts.iter().map(|host| (host.id, *host)).collect();
    let healthy = |task: &Task| task.is_healthy(picture, now);
    let floor = picture.bounds.floor(moves.desired) as usize;
    let floor = if is_planted(Bug::DaemonsHaveNoMinimum) { 0 } else { floor };
    let on_targets = picture.tasks.iter().filter(|task| targets.contains_key(&task.host));
    let mut left = on_targets.filter(|task| healthy(task)).count();

    let mut starts = Vec::new();
    let mut waits = false;
    // First the hosts that empty themselves: what they take away, updates must leave.
    let mut order: Vec<_> = by_host.iter().collect();
    order.sort_by_key(|(id, _)| !targets.get(id).is_some_and(|host| host.draining));
    for (id, tasks) in order {
        let mut wanted: Vec<&Task> = tasks.iter().copied().filter(|task| task.is_wanted()).collect();
        let Some(host) = targets.get(id) else {
            decision.stops.extend(wanted.iter().map(|task| Stop { task: task.id, why: Why::Misplaced }));
            continue;
        };
        // Of two, the newer deployment's stays, and of those the older task.
        wanted.sort_by_key(|task| (task.deployment.unwrap_or(usize::MAX), task.created_at, task.id));
        decision.stops.extend(wanted.iter().skip(1).map(|task| Stop { task: task.id, why: Why::Misplaced }));
        left -= wanted.iter().skip(1).filter(|task| healthy(task)).count();
        let Some(task) = wanted.first() else { continue };
        let ill = task.is_ill(picture, now).then_some(Why::Ill);
        let why = if task.asked_to_stay(now) && ill.is_some() {
            ill
        } else if host.draining {
            (!host.busy).then_some(Why::Draining)
        } else if task.deployment != Some(0) && !moves.failed {
            Some(Why::Superseded)
        } else {
            ill
        };
        decision.halted |= moves.failed && why.is_some();
        let Some(why) = why.filter(|_| !moves.failed) else { continue };
        if task.is_protected(picture, now) {
            continue;
        }
        let counts = healthy(task);
        let may_go = if task.is_unknown(picture, now) { left >= floor } else { !counts || left > floor };
        // A host that empties itself is not an update: nothing takes its daemon's place.
        if may_go || why == Why::Draining {
            left -= usize::from(counts);
            decision.stops.push(Stop { task: task.id, why });
        } else {
            waits = true;
        }
    }
    for host in hosts.iter().filter(|host| !host.draining) {
        // A task that is on its way out holds its host's place: two of a daemon never share one.
        let taken = by_host.get(&host.id).is_some_and(|tasks| {
            tasks.iter().any(|task| match task.phase {
                Phase::Pending | Phase::Running { .. } => !task.lost,
                Phase::Stopping { lost: false } => true,
                Phase::Stopping { lost: true } => false,
            })
        });
        if !taken {
            starts.push(host.id);
        }
    }
    let settling = picture.tasks.iter().any(|task| !task.is_wanted() || !healthy(task) && !task.is_ill(picture, now));
    decision.stuck = waits && starts.is_empty() && decision.stops.is_empty() && !settling;
    decision.halted |= moves.failed && !starts.is_empty();
    decision.launch = Launch::On(if moves.may_launch { starts } else { Vec::new() });
}
