//! The one clock of a run: tokio's, which stands still while anybody has something to do.

use longshore_model::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// When every run begins, in wall-clock time.
const EPOCH_MILLIS: i64 = 1_700_000_000_000;

/// Tells the run's time to the control plane and to agents.
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
}

impl longshore_core::Clock for Clock {
    fn now(&self) -> Timestamp {
        self.time()
    }

    fn ticks(&self) -> Duration {
        self.0.elapsed()
    }
}

impl longshore_agent::engine::drivers::Clock for Clock {
    fn now(&self) -> Timestamp {
        self.time()
    }
}
