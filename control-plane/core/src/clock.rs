//! The wall clock, which commands get their time from, and what tells that it was set.

use longshore_model::Timestamp;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;

    /// A time that nobody sets: it goes on evenly from any point, and only its differences mean anything.
    fn ticks(&self) -> Duration {
        static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        BEGIN.elapsed()
    }
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// Notices that the wall clock was set, by comparing it with the one that nobody sets.
#[derive(Debug)]
pub(crate) struct Jumps {
    /// What the wall clock is ahead by, in milliseconds.
    ahead: i64,
}

/// What clocks that agree differ by at most, since they are not read at the same moment.
const AGREE: u64 = 1000;

impl Jumps {
    /// From now on.
    pub(crate) fn of(clock: &dyn Clock) -> Self {
        Self { ahead: ahead(clock) }
    }

    /// Whether it was set since this was asked last. What it is corrected by a little at a time does not count.
    pub(crate) fn any(&mut self, clock: &dyn Clock) -> bool {
        let now = ahead(clock);
        let before = std::mem::replace(&mut self.ahead, now);
        now.abs_diff(before) > AGREE
    }
}

fn ahead(clock: &dyn Clock) -> i64 {
    let ticks = i64::try_from(clock.ticks().as_millis()).unwrap_or(i64::MAX);
    clock.now().millis().saturating_sub(ticks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    struct Two(Mutex<(i64, u64)>);

    impl Clock for Two {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0.lock().expect("whole").0)
        }

        fn ticks(&self) -> Duration {
            Duration::from_millis(self.0.lock().expect("whole").1)
        }
    }

    #[test]
    fn a_clock_that_is_set_is_noticed_once() {
        let clock = Two(Mutex::new((1_700_000_000_000, 5)));
        let mut jumps = Jumps::of(&clock);
        for (wall, ticks, jumped) in [
            (0, 0, false),
            (60_000, 60_000, false),
            (60_400, 60_000, false),
            (-3_540_000, 60_000, true),
            (60_000, 60_000, false),
            (3_660_000, 60_000, true),
        ] {
            let mut both = clock.0.lock().expect("whole");
            (both.0, both.1) = (both.0 + wall, both.1 + ticks);
            drop(both);
            assert_eq!(jumps.any(&clock), jumped, "{wall} {ticks}");
        }
    }
}
