//! The clock of the host is moved while tasks wait: by a person, by a time server after the host came up, or while the
//! host slept. What was said of times stays; what waits, waits as long as it would have.

use crate::record::Phase;
use crate::task::Task;
use longshore_model::Timestamp;
use std::time::Duration;

/// So much a time may be ahead that another clock or another moment gave.
const AHEAD: Duration = Duration::from_secs(2);

impl Task {
    /// The host's clock was moved by so many milliseconds, back when negative.
    pub fn clock_moved(&mut self, millis: i64) {
        for retry in self.live.retries.values_mut() {
            retry.not_before = retry.not_before.moved(millis);
        }
        let moved = |at: &mut Option<Timestamp>| *at = at.map(|at| at.moved(millis));
        moved(&mut self.live.outlived_since);
        moved(&mut self.live.waits_since);
        moved(&mut self.live.no_space_since);
        self.live.containers.iter_mut().for_each(|container| moved(&mut container.no_space_since));
        for container in &mut self.record.containers {
            match &mut container.phase {
                Phase::Restarting { not_before, .. } => *not_before = not_before.moved(millis),
                Phase::Waiting
                | Phase::Pulled
                | Phase::Created { .. }
                | Phase::Starting { .. }
                | Phase::Discarding { .. }
                | Phase::Running { .. } => {}
                // Nothing waits for the time of its start any more.
                Phase::Stopped(_) => continue,
            }
            if container.started_at.is_some() {
                container.moved_millis = container.moved_millis.saturating_add(millis);
                container.restarts.moved_millis = container.restarts.moved_millis.saturating_add(millis);
            }
        }
        let times = &mut self.record.times;
        if times.stopped_at.is_some() {
            times.moved_millis = times.moved_millis.saturating_add(millis);
        }
    }

    /// What seems to have been later than now was before the clock was turned back, which nobody told: waits count from
    /// now.
    pub(crate) fn mend_times(&mut self, now: Timestamp) {
        let mend = |at: Option<Timestamp>, moved: &mut i64| {
            if let Some(at) = at.filter(|at| at.moved(*moved) > now.after(AHEAD)) {
                *moved = now.millis().saturating_sub(at.millis());
            }
        };
        for container in &mut self.record.containers {
            let began = container.restarts.began_at.or(container.started_at);
            mend(container.started_at, &mut container.moved_millis);
            mend(began, &mut container.restarts.moved_millis);
        }
        mend(self.record.times.stopped_at, &mut self.record.times.moved_millis);
    }
}
