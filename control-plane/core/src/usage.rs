//! What hosts and tasks use, as their agents said last, and the figures of services that are scaled.
//!
//! In memory only: agents say it every few seconds, and a control plane that begins anew needs a few periods until it
//! scales in again.

use crate::records::{ServiceKey, Task};
use crate::state::State;
use longshore_model::{HostUsage, InstanceId, TaskId, TaskUsage, Timestamp};
use longshore_scaling::{Alarm, Period};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Periods that are kept of a service: as many as anything looks at.
const KEPT: usize = Alarm::MAX_PERIODS;

/// What agents said.
#[derive(Default)]
pub(crate) struct Usages(Mutex<All>);

#[derive(Default)]
struct All {
    hosts: HashMap<InstanceId, (Timestamp, Arc<HostUsage>)>,
    services: BTreeMap<ServiceKey, Series>,
}

/// The figures of a service.
#[derive(Default)]
struct Series {
    began: Timestamp,
    /// What tasks said in the period that goes on.
    tasks: HashMap<TaskId, Sums>,
    /// Whole periods, the latest first.
    past: VecDeque<Period>,
}

/// What one task said in a period.
#[derive(Default)]
struct Sums {
    count: u32,
    /// Percent of what it reserves, summed; without those that reserve none.
    cpu: Option<f64>,
    memory: Option<f64>,
}

impl Usages {
    /// An agent says what its host uses. Counts for the services of its tasks that are scaled.
    pub(crate) fn take(&self, state: &State, instance: InstanceId, usage: HostUsage, now: Timestamp, period: Duration) {
        let mut all = self.lock();
        let began = floor(now, period);
        for said in &usage.tasks {
            // Its own tasks alone.
            let Some(task) = state.task(said.task).filter(|task| task.instance == instance) else { continue };
            let Some(key) = ServiceKey::of_group(&task.cluster, &task.group) else { continue };
            if state.scaling_target(&key).is_some() {
                all.services.entry(key).or_default().add(task, said, began, period);
            }
        }
        all.hosts.insert(instance, (now, Arc::new(usage)));
    }

    /// What an agent said last, and when.
    pub(crate) fn of(&self, id: InstanceId) -> Option<(Timestamp, Arc<HostUsage>)> {
        self.lock().hosts.get(&id).cloned()
    }

    /// Its agent is gone.
    pub(crate) fn forget(&self, id: InstanceId) {
        self.lock().hosts.remove(&id);
    }

    /// The whole periods of a service before `now`, the latest first; none when the last one is not among them.
    pub(crate) fn periods(&self, key: &ServiceKey, now: Timestamp, period: Duration) -> Vec<Period> {
        let mut all = self.lock();
        let Some(series) = all.services.get_mut(key) else { return Vec::new() };
        series.move_on(floor(now, period), period);
        series.past.iter().copied().collect()
    }

    /// Forgets the figures of services of which this is not wanted.
    pub(crate) fn keep(&self, wanted: impl Fn(&ServiceKey) -> bool) {
        self.lock().services.retain(|key, _| wanted(key));
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        // No code that holds the lock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the period of a moment begins.
pub(crate) fn floor(at: Timestamp, period: Duration) -> Timestamp {
    let length = i64::try_from(period.as_millis()).unwrap_or(i64::MAX).max(1);
    Timestamp::from_millis(at.millis() - at.millis().rem_euclid(length))
}

impl Series {
    fn add(&mut self, task: &Task, said: &TaskUsage, began: Timestamp, period: Duration) {
        self.move_on(began, period);
        let percent = |used: f64, reserved: u32| (reserved > 0).then(|| 100.0 * used / f64::from(reserved));
        let cpu = percent(f64::from(said.cpu_units), task.claim.cpu_units);
        let memory = percent(said.memory_kib as f64 / 1024.0, task.claim.memory_mib);
        let sums = self.tasks.entry(said.task).or_default();
        sums.count += 1;
        let add = |sum: &mut Option<f64>, value: Option<f64>| *sum = value.map(|value| sum.unwrap_or(0.0) + value);
        add(&mut sums.cpu, cpu);
        add(&mut sums.memory, memory);
    }

    /// Ends the period that went on, should another one have begun by `began`.
    fn move_on(&mut self, began: Timestamp, period: Duration) {
        if self.began == began {
            return;
        }
        let tasks = std::mem::take(&mut self.tasks);
        let gone = self.began;
        self.began = began;
        // Periods follow each other: what lies before a gap, or after a clock that was set back, says nothing.
        let follows = self.past.front().is_none_or(|latest| latest.began.after(period) == gone);
        if !follows {
            self.past.clear();
        }
        if let Some(figures) = figures(gone, &tasks) {
            self.past.push_front(figures);
            self.past.truncate(KEPT);
        }
        if self.past.front().is_some_and(|latest| latest.began.after(period) != began) {
            self.past.clear();
        }
    }
}

/// The figures of a period; `None` when nobody said anything. A task that was there for a part of it counts as that
/// part.
fn figures(began: Timestamp, tasks: &HashMap<TaskId, Sums>) -> Option<Period> {
    let most = tasks.values().map(|sums| sums.count).max()?;
    let said: u32 = tasks.values().map(|sums| sums.count).sum();
    let average = |of: fn(&Sums) -> Option<f64>| {
        let of_tasks = tasks.values().filter_map(|sums| Some((of(sums)?, sums.count)));
        let (sum, count) = of_tasks.fold((0.0, 0), |(sum, count), (value, n)| (sum + value, count + n));
        (count > 0).then(|| sum / f64::from(count))
    };
    Some(Period {
        began,
        cpu: average(|sums| sums.cpu),
        memory: average(|sums| sums.memory),
        tasks: f64::from(said) / f64::from(most.max(1)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(count: u32, cpu: Option<f64>) -> Sums {
        Sums { count, cpu, memory: None }
    }

    #[test]
    fn tasks_count_for_as_long_as_they_were_there() {
        let began = Timestamp::from_millis(0);
        assert_eq!(figures(began, &HashMap::new()), None);
        let id = |n: u8| TaskId::from_bytes([n; 16]);
        let tasks =
            HashMap::from([(id(1), sums(6, Some(600.0))), (id(2), sums(3, Some(30.0))), (id(3), sums(3, None))]);
        let found = figures(began, &tasks).expect("figures");
        assert_eq!((found.tasks, found.cpu, found.memory), (2.0, Some(70.0), None));
    }

    #[test]
    fn periods_follow_each_other() {
        let period = Duration::from_secs(60);
        let at = |minute: i64| Timestamp::from_millis(minute * 60_000);
        let mut series = Series::default();
        let mut step = |minute: i64, says: bool| {
            series.move_on(at(minute), period);
            if says {
                series.tasks.insert(TaskId::from_bytes([1; 16]), sums(1, Some(5.0)));
            }
            series.past.iter().map(|period| period.began.millis() / 60_000).collect::<Vec<_>>()
        };
        assert_eq!(step(10, true), Vec::<i64>::new());
        assert_eq!(step(10, true), Vec::<i64>::new());
        assert_eq!(step(11, true), [10]);
        assert_eq!(step(12, false), [11, 10]);
        assert_eq!(step(13, true), Vec::<i64>::new(), "a period without figures ends them");
        assert_eq!(step(14, true), [13]);
        assert_eq!(step(20, true), Vec::<i64>::new(), "so do periods that are missing");
        assert_eq!(step(5, true), Vec::<i64>::new());
        for minute in 6..40 {
            assert_eq!(step(minute, true).first(), Some(&(minute - 1)));
        }
        assert_eq!(step(40, true).len(), KEPT);
        assert_eq!(floor(Timestamp::from_millis(61_234), period), at(1));
    }
}
