//! The minimum and the maximum of services: what they do by themselves keeps within both.
//!
//! Whether a task counts is reckoned apart from the product, by the run's own time: since when its containers run.

use crate::plan::Trouble;
use crate::sets;
use crate::world::World;
use longshore_core::State;
use longshore_core::records::{InstanceStatus, SchedulingStrategy, Service, ServiceKey, Task, TaskSetStatus};
use longshore_model::{DesiredStatus, StopCode, TaskId, TaskStatus};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long ago what is seen now may have been decided: as long as a commit or two take, also of a disk that stalls.
const DECIDED: Duration = Duration::from_millis(100);
const DECIDED_SLOWLY: Duration = Duration::from_secs(13);

/// When clients saw first that a task runs.
#[derive(Default)]
pub(crate) struct Seen(Mutex<BTreeMap<TaskId, Duration>>);

impl Seen {
    /// Clients see this state, so long after the run began.
    pub(crate) fn look(&self, state: &State, at: Duration) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for task in crate::invariants::tasks(state).filter(|task| task.status == TaskStatus::Running) {
            seen.entry(task.id).or_insert(at);
        }
    }

    fn since(&self, task: TaskId) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&task).copied()
    }
}

fn is_connected(state: &State, task: &Task) -> bool {
    state.host(task.instance).is_some_and(|host| host.record.is_connected())
}

fn runs(task: &Task) -> bool {
    task.desired == DesiredStatus::Running && task.status == TaskStatus::Running
}

/// Whether the service knew of a task, when it decided what is seen now, that it counts as healthy.
fn was_healthy(world: &World, before: &State, task: &Task) -> bool {
    let slack = if world.plan.store_slow { DECIDED_SLOWLY } else { DECIDED };
    let known = world.seen_running.since(task.id).and_then(|since| world.trace.at().checked_sub(since));
    runs(task) && known.is_some_and(|ran| ran >= world.plan.healthy_after + slack) && is_connected(before, task)
}

/// Whether a task may count as healthy: really, its containers have run for long enough. One commit may have the step
/// and, after it, that the task's host is silent.
fn may_be_healthy(world: &World, before: &State, now: &State, task: &Task) -> bool {
    let ran = world.runs.since(task.id).and_then(|since| world.trace.at().checked_sub(since));
    let connected = is_connected(before, task) || is_connected(now, task);
    runs(task) && ran.is_some_and(|ran| ran >= world.plan.healthy_after) && connected
}

/// How many tasks may count as healthy beside those that the service stopped. One commit may have the step and, after
/// it, the end of a task that did.
fn left(
    world: &World,
    (before, now): (&State, &State),
    key: &ServiceKey,
    stops: &[Arc<Task>],
    ours: impl Fn(&Task) -> bool,
) -> usize {
    let mut left: BTreeSet<TaskId> = BTreeSet::new();
    for task in before.service_tasks(key).iter().chain(&now.service_tasks(key)) {
        if ours(task) && may_be_healthy(world, before, now, task) {
            left.insert(task.id);
        }
    }
    stops.iter().for_each(|task| _ = left.remove(&task.id));
    left.len()
}

/// The tasks that the service has stopped by itself between the two.
fn stopped(before: &State, now: &State, key: &ServiceKey) -> Vec<Arc<Task>> {
    let mut tasks = before.service_tasks(key);
    tasks.retain(|task| {
        let is = now.task(task.id).filter(|is| is.desired == DesiredStatus::Stopped);
        let code = is.and_then(|is| is.stop.as_ref()?.code);
        task.desired == DesiredStatus::Running && code == Some(StopCode::ServiceSchedulerInitiated)
    });
    tasks
}

/// The least and the most tasks of a service, or of one of its task sets, at that time, reckoned apart from the
/// product: of the desired count, the minimum percent rounded up, the maximum percent rounded down.
fn percents(service: &Service, desired: usize) -> (usize, usize) {
    let given = |percent: Option<i32>, default| percent.and_then(|n| usize::try_from(n).ok()).unwrap_or(default);
    let defaults = match service.scheduling {
        SchedulingStrategy::Replica => (100, 200),
        SchedulingStrategy::Daemon => (0, 100),
    };
    let least = desired * given(service.configuration.minimum_healthy_percent, defaults.0);
    let most = desired * given(service.configuration.maximum_percent, defaults.1);
    (least.div_ceil(100), most / 100)
}

/// What was protected, and is for a while yet, was not stopped to scale in, for a deployment or for a drain. By a clock
/// that is set nobody can tell. A task set that is deleted goes with all that it has.
fn spared(world: &World, before: &State, now: &State, key: &ServiceKey, is: &Service) {
    if world.plan.troubles.contains(&Trouble::ClockIsSet) {
        return;
    }
    let deleted = || is.task_sets.iter().filter(|set| set.status == TaskSetStatus::Draining);
    for task in stopped(before, now, key) {
        if deleted().any(|set| sets::is_of(&task, set)) {
            continue;
        }
        let reason = now.task(task.id).and_then(|is| is.stop.as_ref()).map_or("", |stop| stop.reason.as_str());
        let spares = ["Scaling activity initiated by", "Container instance is draining"];
        let moment = world.wall.time().after(DECIDED_SLOWLY);
        if task.is_protected(moment) && spares.iter().any(|begins| reason.starts_with(begins)) {
            world.trace.wrong(format_args!("task {} of {key} was protected and is stopped: {reason}", task.id));
        }
    }
}

/// What the service did by itself in this step kept within its minimum and maximum; of one with task sets, each of them
/// within its own.
pub(crate) fn step(world: &World, before: &State, now: &State, key: &ServiceKey, (was, is): (&Service, &Service)) {
    if !is.is_active() || !was.is_active() || was.created_at != is.created_at {
        return;
    }
    if is.scheduling == SchedulingStrategy::Daemon {
        return daemon(world, before, now, key, (was, is));
    }
    spared(world, before, now, key, is);
    if !sets::has_sets(is) {
        let desired = (was.desired as usize, is.desired as usize);
        return replicas(world, (before, now), key, (percents(was, desired.0), percents(is, desired.1)), |_| true);
    }
    for set in &is.task_sets {
        let Some(set_was) = was.task_sets.iter().find(|other| other.deployment.id == set.deployment.id) else {
            continue;
        };
        let within = (percents(was, sets::wanted(was, set_was)), percents(is, sets::wanted(is, set)));
        replicas(world, (before, now), key, within, |task| sets::is_of(task, set));
    }
}

/// The least and the most tasks, before and after a step.
type Within = ((usize, usize), (usize, usize));

fn replicas(
    world: &World,
    (before, now): (&State, &State),
    key: &ServiceKey,
    ((floor_before, ceiling_before), (floor, ceiling)): Within,
    ours: impl Fn(&Task) -> bool,
) {
    let mut tasks = now.service_tasks(key);
    tasks.retain(|task| ours(task));
    let stops = stopped(before, now, key);
    let healthy_stops = stops.iter().filter(|task| ours(task) && was_healthy(world, before, task)).count();
    let floor = floor.min(floor_before);
    let left = left(world, (before, now), key, &stops, &ours);
    if healthy_stops > 0 && left < floor {
        world.trace.wrong(format_args!(
            "service {key} stopped {healthy_stops} healthy tasks and has {left} left, of at least {floor}, before that \
             {floor_before}"
        ));
    }
    let started = tasks.iter().filter(|task| before.task(task.id).is_none()).count();
    let ceiling = ceiling.max(ceiling_before);
    // A host that comes back while a step is being saved brings tasks that the step did not reckon with.
    let there = tasks.iter().filter(|task| is_connected(before, task) && is_connected(now, task)).count();
    if started > 0 && there > ceiling {
        world.trace.wrong(format_args!("service {key} started {started} tasks and has {there}, of at most {ceiling}"));
    }
}

/// A DAEMON service replaces its tasks host by host. What it takes off a host that drains does not count: nothing takes
/// its place there.
fn daemon(world: &World, before: &State, now: &State, key: &ServiceKey, (was, is): (&Service, &Service)) {
    let drains = |task: &Task| before.host(task.instance).is_some_and(|h| h.record.status == InstanceStatus::Draining);
    let stops = stopped(before, now, key);
    let replaced = stops.iter().filter(|task| !drains(task) && was_healthy(world, before, task)).count();
    let desired = hosts(before, key).min(hosts(now, key));
    let floor = percents(was, desired).0.min(percents(is, desired).0);
    let left = left(world, (before, now), key, &stops, |_| true);
    if replaced > 0 && left < floor {
        world.trace.wrong(format_args!(
            "daemon {key} stopped {replaced} healthy tasks and has {left} left on {desired} hosts, of at least {floor}"
        ));
    }
}

/// Hosts that certainly count for a DAEMON service: nothing in this fleet keeps its tasks off any of them.
fn hosts(state: &State, key: &ServiceKey) -> usize {
    let tasks = state.service_tasks(key);
    let hosts = state.cluster(&key.cluster).into_iter().flat_map(|cluster| cluster.hosts.values());
    let counts = hosts.filter(|host| match host.record.status {
        InstanceStatus::Active => host.record.is_connected(),
        InstanceStatus::Draining => host.record.is_connected() && tasks.iter().any(|task| task.instance == host.id()),
        InstanceStatus::Inactive { .. } => false,
    });
    counts.count()
}
