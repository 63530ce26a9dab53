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
    /// How long it has been probed.
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
    pub(super) fn wait(&mut self) -> Duration {
        let wait = match self.health {
            HealthStatus::Unknown => EAGER.min(self.interval),
            HealthStatus::Healthy | HealthStatus::Unhealthy => self.interval,
        };
        self.waited += wait;
        wait
    }

    /// Takes in how a try went; the health when it is another than before. Of one that was not healthy yet, a failure
    /// counts once in an interval and not in the start period, however often it is tried.
    pub(super) fn take(&mut self, well: bool) -> Option<HealthStatus> {
        let health = if well {
            self.failures = 0;
            HealthStatus::Healthy
        } else {
            let counts = match self.health {
                HealthStatus::Unknown => {
                    self.waited >= self.start_period && self.waited - self.counted >= self.interval
                }
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

    /// When the health changes, in seconds, and to what, if every try fails.
    fn fails(state: &mut State) -> (u64, HealthStatus) {
        let mut at = Duration::ZERO;
        loop {
            at += state.wait();
            if let Some(health) = state.take(false) {
                return (at.as_secs(), health);
            }
            assert!(at < Duration::from_secs(1000));
        }
    }

    #[test]
    fn a_container_that_never_answers_has_its_retries_and_its_start_period() {
        assert_eq!(fails(&mut state(3, 0)), (30, HealthStatus::Unhealthy));
        assert_eq!(fails(&mut state(1, 0)), (10, HealthStatus::Unhealthy));
        assert_eq!(fails(&mut state(2, 25)), (35, HealthStatus::Unhealthy));
    }

    #[test]
    fn one_success_is_health_and_failures_in_a_row_are_not() {
        let mut state = state(2, 0);
        assert_eq!(state.wait(), EAGER);
        assert_eq!(state.take(true), Some(HealthStatus::Healthy));
        assert_eq!(state.wait(), Duration::from_secs(10));
        assert_eq!((state.take(false), state.take(true), state.take(false)), (None, None, None));
        assert_eq!(state.take(false), Some(HealthStatus::Unhealthy));
        assert_eq!(state.take(false), None);
        assert_eq!(state.take(true), Some(HealthStatus::Healthy));
    }
}
