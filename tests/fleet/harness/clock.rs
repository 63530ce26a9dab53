//! The one clock of a run: tokio's, which stands still while anybody has something to do.

use longshore_agent::contact::Uptime;
use longshore_model::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// When every run begins, in wall-clock time.
const EPOCH_MILLIS: i64 = 1_700_000_000_000;

/// Tells the run's time to agents and to the harness.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// Begins now.
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    /// Now.
    pub(crate) fn time(self) -> Timestamp {
        Timestamp::from_millis(EPOCH_MILLIS).after(self.0.elapsed())
    }

    /// The same by the clock that nobody sets.
    pub(crate) fn uptime(self) -> Uptime {
        Uptime::after(self.0.elapsed())
    }
}

impl longshore_agent::engine::drivers::Clock for Clock {
    fn now(&self) -> Timestamp {
        self.time()
    }
}

/// The control plane's wall clock, which somebody sets at times.
#[derive(Debug, Clone)]
pub(crate) struct WallClock {
    clock: Clock,
    set: Arc<Mutex<Set>>,
}

#[derive(Debug, Default)]
struct Set {
    /// Milliseconds that it is ahead.
    ahead: i64,
    /// The same before it was set last, and when that was.
    before: Option<(i64, Duration)>,
    /// How often it was set back.
    back: u32,
}

/// What was begun before the clock was set is over after so long: a commit, for example.
const UNDER_WAY: Duration = Duration::from_secs(10);
/// How often it is set back in a run. What waits for a time waits longer then.
const MOST_BACK: u32 = 2;

impl WallClock {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, set: Arc::default() }
    }

    fn set(&self) -> std::sync::MutexGuard<'_, Set> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Now.
    pub(crate) fn time(&self) -> Timestamp {
        self.clock.time().moved(self.set().ahead)
    }

    /// The earliest and the latest time that it may have been for what is known now.
    pub(crate) fn around(&self) -> (Timestamp, Timestamp) {
        let set = self.set();
        let elapsed = self.clock.0.elapsed();
        let other = set.before.filter(|(_, at)| elapsed < *at + UNDER_WAY).map_or(set.ahead, |(ahead, _)| ahead);
        let time = self.clock.time();
        (time.moved(set.ahead.min(other)), time.moved(set.ahead.max(other)))
    }

    /// Somebody sets it so much ahead, or back when that is negative; whether it was.
    pub(crate) fn step(&self, millis: i64) -> bool {
        let mut set = self.set();
        if millis < 0 {
            if set.back == MOST_BACK {
                return false;
            }
            set.back += 1;
        }
        set.before = Some((set.ahead, self.clock.0.elapsed()));
        set.ahead += millis;
        true
    }
}

impl longshore_core::Clock for WallClock {
    fn now(&self) -> Timestamp {
        self.time()
    }

    fn ticks(&self) -> Duration {
        self.clock.0.elapsed()
    }
}
