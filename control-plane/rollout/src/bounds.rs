//! How many tasks there may and must be while a service changes.

use longshore_model::planted::{Bug, is_planted};

/// The minimum and maximum percent of a deployment configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Of the desired count, rounded up: so many tasks stay healthy.
    pub minimum_healthy_percent: u32,
    /// Of the desired count, rounded down: no more tasks than these.
    pub maximum_percent: u32,
}

impl Bounds {
    /// What ECS gives a REPLICA service that says nothing.
    pub const REPLICA: Self = Self { minimum_healthy_percent: 100, maximum_percent: 200 };
    /// What ECS gives a DAEMON service that says nothing.
    pub const DAEMON: Self = Self { minimum_healthy_percent: 0, maximum_percent: 100 };

    /// The least number of healthy tasks for this desired count.
    #[must_use]
    pub fn floor(self, desired: u32) -> u32 {
        let exact = u64::from(desired) * u64::from(self.minimum_healthy_percent);
        let tasks = if is_planted(Bug::MinimumRoundedDown) { exact / 100 } else { exact.div_ceil(100) };
        u32::try_from(tasks).unwrap_or(u32::MAX)
    }

    /// The most tasks for this desired count.
    #[must_use]
    pub fn ceiling(self, desired: u32) -> u32 {
        let exact = u64::from(desired) * u64::from(self.maximum_percent) / 100;
        u32::try_from(exact).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_as_ecs_does() {
        let bounds = |minimum_healthy_percent, maximum_percent| Bounds { minimum_healthy_percent, maximum_percent };
        for (min, max, desired, floor, ceiling) in [
            (100, 200, 4, 4, 8),
            (50, 200, 3, 2, 6),
            (50, 150, 3, 2, 4),
            (0, 100, 7, 0, 7),
            (33, 133, 10, 4, 13),
            (100, 200, 0, 0, 0),
            (100, 100, 1, 1, 1),
        ] {
            let found = (bounds(min, max).floor(desired), bounds(min, max).ceiling(desired));
            assert_eq!(found, (floor, ceiling), "{min} % and {max} % of {desired}");
        }
    }
}
