//! When a deployment has failed, and how long one that fails waits before it tries again.

use std::time::Duration;

/// The longest pause. ECS's goes up to 27 minutes; whoever mends the cause should not wait that long here.
const LONGEST: Duration = Duration::from_secs(300);

/// The deployment circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// When it opens.
    pub threshold: Threshold,
    /// Whether the last completed revision comes back then.
    pub rollback: bool,
    /// Whether a healthy task makes it forget those that failed before.
    pub reset_on_healthy: bool,
}

/// After how many failed tasks the breaker opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threshold {
    /// Half of the desired count, 3 to 200: what ECS takes when nothing is said.
    Default,
    /// So many.
    Count(u32),
    /// This percentage of the desired count, 3 to 200.
    BoundedPercent(u32),
    /// This percentage of the desired count, at least 1.
    UnboundedPercent(u32),
}

impl Threshold {
    /// The number of failed tasks for this desired count; never 0.
    #[must_use]
    pub fn of(self, desired: u32) -> u32 {
        let percent = |percent: u32| {
            let exact = (u64::from(desired) * u64::from(percent)).div_ceil(100);
            u32::try_from(exact).unwrap_or(u32::MAX)
        };
        match self {
            Self::Default => percent(50).clamp(3, 200),
            Self::Count(count) => count.max(1),
            Self::BoundedPercent(share) => percent(share).clamp(3, 200),
            Self::UnboundedPercent(share) => percent(share).max(1),
        }
    }
}

/// The pause before the next start of a deployment of which `failures` tasks failed since one became healthy.
///
/// A whole round of the desired count may fail before the first pause, so that one bad host among many holds nothing
/// up; from then on the pause doubles from a second with each round.
#[must_use]
pub fn delay(failures: u32, desired: u32) -> Duration {
    match failures / desired.max(1) {
        0 => Duration::ZERO,
        rounds => Duration::from_secs(1_u64.checked_shl(rounds - 1).unwrap_or(u64::MAX)).min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_those_that_ecs_documents() {
        for (desired, threshold) in [(1, 3), (6, 3), (25, 13), (100, 50), (400, 200), (2000, 200)] {
            assert_eq!(Threshold::Default.of(desired), threshold, "{desired}");
        }
        assert_eq!(Threshold::Count(0).of(5), 1);
        assert_eq!(Threshold::UnboundedPercent(10).of(5), 1);
        assert_eq!(Threshold::UnboundedPercent(100).of(500), 500);
        assert_eq!(Threshold::BoundedPercent(100).of(500), 200);
    }

    #[test]
    fn pauses_double_and_end() {
        let seconds = |failures, desired| delay(failures, desired).as_secs();
        assert_eq!((seconds(0, 1), seconds(1, 1), seconds(2, 1), seconds(5, 1)), (0, 1, 2, 16));
        assert_eq!((seconds(9, 10), seconds(10, 10), seconds(29, 10)), (0, 1, 2));
        assert_eq!((seconds(u32::MAX, 1), seconds(3, 0)), (300, 4));
    }
}
