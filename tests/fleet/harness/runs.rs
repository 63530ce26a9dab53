//! How often each container of each task was started, anywhere in the fleet.

use crate::docker::Key;
use crate::trace::Trace;
use longshore_core::State;
use longshore_model::{TaskId, TaskStatus};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Every start.
#[derive(Default)]
pub(crate) struct Runs {
    /// By task and container: the host and the engine's id of the container that was started.
    started: Mutex<BTreeMap<Key, (String, String)>>,
    /// Since when all containers of a task that were ever started have run or did, by the run's time.
    since: Mutex<BTreeMap<TaskId, Duration>>,
    /// What runs at present, and where.
    running: Mutex<BTreeMap<Key, String>>,
    /// What clients of the control plane see.
    published: Mutex<Option<Arc<State>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runs {
    /// Since when a task runs, by the run's time: since the last of its containers was started first.
    pub(crate) fn since(&self, task: TaskId) -> Option<Duration> {
        lock(&self.since).get(&task).copied()
    }

    /// What clients see now.
    pub(crate) fn publish(&self, state: Arc<State>) {
        *lock(&self.published) = Some(state);
    }

    /// The task's container that the engine of `host` knows as `id` is started. A second time is wrong, unless its
    /// restart policy starts the same one again; and so is a start of what was recorded as over.
    pub(crate) fn begin(&self, trace: &Trace, host: &str, key: &Key, id: &str, restarts: bool) {
        let this = (host.to_owned(), id.to_owned());
        let earlier = lock(&self.started).insert(key.clone(), this.clone());
        if earlier.is_none() {
            lock(&self.since).insert(key.0, trace.at());
        }
        if let Some(earlier) = earlier
            && !(restarts && earlier == this)
        {
            trace.wrong(format_args!(
                "{}/{} runs twice: as {} on {}, and as {id} on {host}",
                key.0, key.1, earlier.1, earlier.0
            ));
        }
        lock(&self.running).insert(key.clone(), host.to_owned());
        let published = lock(&self.published).clone();
        let Some(state) = published else { return };
        if let Some(other) = lock(&self.running).keys().find(|(other, _)| runs_beside(&state, key.0, *other)) {
            trace.wrong(format_args!(
                "{} is started on {host}, {} runs still, and one of them may at most",
                key.0, other.0
            ));
        }
        if is_over(&state, key.0) {
            trace.wrong(format_args!(
                "{}/{} is started on {host}, and everybody was told that it is over",
                key.0, key.1
            ));
        }
    }
}

impl Runs {
    /// A container's process ended.
    pub(crate) fn end(&self, key: &Key) {
        lock(&self.running).remove(key);
    }
}

/// Whether both are tasks of a service of which only one may run. What ran on a host that was deregistered by force is
/// given up, and whoever did that answers for it.
fn runs_beside(state: &State, task: TaskId, other: TaskId) -> bool {
    let fenced = |id: TaskId| {
        let task = state.task(id).filter(|task| task.fence.is_some())?;
        let known = state.host(task.instance).is_some_and(|host| host.record.status.is_registered());
        known.then_some(task)
    };
    task != other && matches!((fenced(task), fenced(other)), (Some(one), Some(other)) if one.group == other.group)
}

/// Whether a task is recorded as over by its host. One whose host was deregistered is given up, not over.
fn is_over(state: &State, task: TaskId) -> bool {
    let Some(task) = state.task(task) else { return false };
    let known = state.host(task.instance).is_some_and(|host| host.record.status.is_registered());
    task.status == TaskStatus::Stopped && known
}
