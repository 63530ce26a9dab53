//! How many sandboxes are kept warm, and when more are made. Pure.

use super::Settings;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// How far back demand is looked at.
const WINDOW: Duration = Duration::from_secs(60);

/// A host whose last task with an interface is longer ago than this, or that never had one, keeps only
/// [`Settings::idle`]: each sandbox costs the host a process of the engine's.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Demand makes the pool at most this many times as large as configured.
const GROWTH: usize = 4;

/// After a task was given a sandbox, its containers are created and started: the pool leaves the engine to them.
const CALM: Duration = Duration::from_secs(2);

/// Sandboxes that are made at once to fill the pool: each takes the engine from a task's start.
pub(super) const REFILLS: usize = 1;

/// Sandboxes that are made at once when tasks wait for them.
pub(super) const MAKES: usize = longshore_docker::BURST_IN_FLIGHT;

/// The claims of the last minute.
#[derive(Debug)]
pub(super) struct Demand {
    claims: VecDeque<Instant>,
    last: Option<Instant>,
    idle: bool,
}

impl Default for Demand {
    fn default() -> Self {
        Self { claims: VecDeque::new(), last: None, idle: true }
    }
}

impl Demand {
    pub(super) fn claimed(&mut self, now: Instant) {
        self.claims.push_back(now);
        self.last = Some(now);
        self.forget(now);
    }

    fn forget(&mut self, now: Instant) {
        while self.claims.front().is_some_and(|at| now.duration_since(*at) > WINDOW) {
            self.claims.pop_front();
        }
        self.idle = self.last.is_none_or(|at| now.duration_since(at) > REMEMBERED);
    }

    /// How many should be warm.
    pub(super) fn target(&mut self, settings: &Settings, now: Instant) -> usize {
        self.forget(now);
        self.peek(settings)
    }

    /// The same, as far as it was looked at last.
    pub(super) fn peek(&self, settings: &Settings) -> usize {
        let warm = settings.warm;
        if self.idle { warm.min(settings.idle) } else { self.claims.len().clamp(warm, warm * GROWTH) }
    }

    /// When the engine has time for the pool.
    pub(super) fn calm_at(&self) -> Option<Instant> {
        self.claims.back().map(|at| *at + CALM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_makes_it_larger_and_passes() {
        let mut demand = Demand::default();
        let of = |warm| Settings { enabled: true, warm, idle: 2, data_dir: std::path::PathBuf::new() };
        let start = Instant::now();
        assert_eq!((demand.target(&of(8), start), demand.target(&of(1), start)), (2, 1), "nothing was ever asked for");
        (0..20).for_each(|_| demand.claimed(start));
        assert_eq!(demand.target(&of(8), start), 20);
        (0..99).for_each(|_| demand.claimed(start));
        assert_eq!(demand.target(&of(8), start), 32);
        assert_eq!(demand.target(&of(0), start), 0, "no pool is no pool");
        assert_eq!(demand.calm_at(), Some(start + CALM));
        assert_eq!(demand.target(&of(8), start + WINDOW + CALM), 8);
        assert_eq!(demand.target(&of(8), start + REMEMBERED + CALM), 2);
    }
}
