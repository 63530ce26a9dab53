//! What tries of a probe mean, as Docker's health checks mean it. Pure.

use longshore_model::{HealthStatus, Probe};
use std::time::Duration;

/// How soon a container is tried that has not been healthy yet: whatever waits for it goes on soon.
const EAGER: Duration = Duration::from_secs(1);

/// The health of one run of a container.
#[derive(Debug)]
pub(super) struct State {
    interval: Duration,
    retries: u32,
    start_period: Duration,
    health: HealthStatus,
    /// Failures in a row that count.
    failures: u32,
    /// How long it has been probed: the pauses, and as long as the tries took.
    waited: Duration,
    /// When a failure counted last, or the first could.
    counted: Duration,
}

impl State {
    pub(super) fn new(probe: &Probe) -> Self {
        Self {
            interval: probe.interval,
            retries: probe.retries,
            start_period: probe.start_period,
            health: HealthStatus::Unknown,
            failures: 0,
            waited: Duration::ZERO,
            counted: Duration::ZERO,
        }
    }

    /// How long to wait before the next try.
    pub(super) fn wait(&self) -> Duration {
        match self.health {
            HealthStatus::Unknown => EAGER.min(self.interval),
            HealthStatus::Healthy | HealthStatus::Unhealthy => self.interval,
        }
    }

    /// Takes in how a try went that began after a `pause` and `took` so long; the health when it is another than
    /// before. Of one that was not healthy yet, a failure counts once in an interval, however often it is tried, and
    /// not if the try began in the start period.
    pub(super) fn take(&mut self, well: bool, pause: Duration, took: Duration) -> Option<HealthStatus> {
        let began = self.waited + pause;
        self.waited = began + took;
        let health = if well {
            self.failures = 0;
            HealthStatus::Healthy
        } else {
            let counts = match self.health {
                HealthStatus::Unknown => began >= self.start_period && self.waited - self.counted >= self.interval,
                HealthStatus::Healthy | HealthStatus::Unhealthy => true,
            };
            if counts {
                self.counted = self.waited;
                self.failures += 1;
            }
            if self.failures >= self.retries { HealthStatus::Unhealthy } else { self.health }
        };
        (std::mem::replace(&mut self.health, health) != health).then_some(health)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_model::Question;

    fn state(retries: u32, start_period: u64) -> State {
        State::new(&Probe {
            question: Question::Tcp { port: 1 },
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            retries,
            start_period: Duration::from_secs(start_period),
        })
    }

    /// When the health changes, in seconds, and to what, if every try fails after so many seconds.
    fn fails(state: &mut State, after: u64) -> (u64, HealthStatus) {
        let (mut at, took) = (Duration::ZERO, Duration::from_secs(after));
        loop {
            let pause = state.wait();
            at += pause + took;
            if let Some(health) = state.take(false, pause, took) {
                return (at.as_secs(), health);
            }
            assert!(at < Duration::from_secs(1000));
        }
    }

    #[test]
    fn a_container_that_never_answers_has_its_retries_and_its_start_period() {
        assert_eq!(fails(&mut state(3, 0), 0), (30, HealthStatus::Unhealthy));
        assert_eq!(fails(&mut state(1, 0), 0), (10, HealthStatus::Unhealthy));
        assert_eq!(fails(&mut state(2, 25), 0), (35, HealthStatus::Unhealthy));
    }

    #[test]
    fn the_time_of_a_try_that_gets_no_answer_counts() {
        // Tries of 3 s each with its pause: the fourth is the first at whose end an interval is over.
        assert_eq!(fails(&mut state(3, 0), 2), (36, HealthStatus::Unhealthy));
        // A try that takes longer than the interval counts each time.
        assert_eq!(fails(&mut state(3, 0), 59), (180, HealthStatus::Unhealthy));
        // Those that began in the start period do not: 1, 4, …, 22 s; that of 25 s does, and that of 37 s.
        assert_eq!(fails(&mut state(2, 25), 2), (39, HealthStatus::Unhealthy));
        let mut healthy = state(2, 0);
        assert_eq!(healthy.take(true, EAGER, Duration::ZERO), Some(HealthStatus::Healthy));
        assert_eq!(fails(&mut healthy, 30), (80, HealthStatus::Unhealthy));
    }

    #[test]
    fn one_success_is_health_and_failures_in_a_row_are_not() {
        let mut state = state(2, 0);
        let take = |state: &mut State, well| state.take(well, state.wait(), Duration::ZERO);
        assert_eq!(state.wait(), EAGER);
        assert_eq!(take(&mut state, true), Some(HealthStatus::Healthy));
        assert_eq!(state.wait(), Duration::from_secs(10));
        for well in [false, true, false] {
            assert_eq!(take(&mut state, well), None);
        }
        assert_eq!(take(&mut state, false), Some(HealthStatus::Unhealthy));
        assert_eq!(take(&mut state, false), None);
        assert_eq!(take(&mut state, true), Some(HealthStatus::Healthy));
    }
}
