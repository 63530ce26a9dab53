//! The wall clock, which commands get their time from, and what tells that it was set.

use longshore_model::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;

    /// A time that nobody sets: it goes on evenly from any point, and only its differences mean anything.
    fn ticks(&self) -> Duration;

    /// Within which [`ticks`](Self::ticks) can be compared, over restarts of the process: a boot of the machine.
    fn boot(&self) -> u64;

    /// Now, to be compared later.
    fn tick(&self) -> Tick {
        Tick { boot: self.boot(), millis: u64::try_from(self.ticks().as_millis()).unwrap_or(u64::MAX) }
    }
}

/// A moment by the clock that nobody sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// See [`Clock::boot`].
    pub boot: u64,
    /// See [`Clock::ticks`].
    pub millis: u64,
}

impl Tick {
    /// How long `earlier` is ago; `None` when the two cannot be compared.
    #[must_use]
    pub fn since(self, earlier: Self) -> Option<Duration> {
        let ago = Duration::from_millis(self.millis.saturating_sub(earlier.millis));
        (self.boot == earlier.boot).then_some(ago)
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

    fn ticks(&self) -> Duration {
        let time = clock_gettime(ClockId::Monotonic);
        let (secs, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
        Duration::new(secs.unwrap_or_default(), nanos.unwrap_or_default())
    }

    fn boot(&self) -> u64 {
        static BOOT: LazyLock<u64> = LazyLock::new(|| this_boot().unwrap_or_else(rand::random));
        *BOOT
    }
}

/// The kernel's id of this boot. Without one, no other process can know of which boot it is.
fn this_boot() -> Option<u64> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    uuid::Uuid::parse_str(id.trim()).ok().map(|id| id.as_u64_pair().0)
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

        fn boot(&self) -> u64 {
            7
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

    #[test]
    fn moments_of_one_boot_are_compared() {
        let clock = Two(Mutex::new((1_700_000_000_000, 5)));
        let early = clock.tick();
        clock.0.lock().expect("whole").1 = 45;
        let late = clock.tick();
        assert_eq!((late.since(early), early.since(late)), (Some(Duration::from_millis(40)), Some(Duration::ZERO)));
        assert_eq!(late.since(Tick { boot: 8, ..early }), None);
        let (one, other) = (SystemClock.tick(), SystemClock.tick());
        assert!(other.since(one).is_some_and(|since| since < Duration::from_secs(60)), "{one:?} {other:?}");
    }
}
