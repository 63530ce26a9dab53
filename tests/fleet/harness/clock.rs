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
    /// How often it was set back.
    back: u32,
    /// How often the control plane's machine was booted.
    boots: u64,
}

/// What the clock that nobody sets differs by after a boot.
const BOOT: Duration = Duration::from_secs(100_000);
/// How often it is set back in a run. What waits for a time waits longer then.
const MOST_BACK: u32 = 2;
/// Milliseconds that it is set ahead by in all, at most. After an hour by this clock ended tasks are forgotten.
const MOST_AHEAD: i64 = 3_000_000;

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

    /// The machine is booted anew, and its other clock begins elsewhere.
    pub(crate) fn boot_again(&self) {
        self.set().boots += 1;
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
        if set.ahead + millis > MOST_AHEAD {
            return false;
        }
        set.ahead += millis;
        true
    }
}

impl longshore_core::Clock for WallClock {
    fn now(&self) -> Timestamp {
        self.time()
    }

    fn ticks(&self) -> Duration {
        self.clock.0.elapsed() + BOOT * u32::try_from(self.set().boots).unwrap_or(0)
    }

    fn boot(&self) -> u64 {
        self.set().boots
    }
}
