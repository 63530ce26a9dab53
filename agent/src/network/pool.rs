//! How many sandboxes are kept warm, and when more are made. Pure.

use super::Settings;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Demand is how many tasks came within such a time: a burst may come again.
const WINDOW: Duration = Duration::from_secs(60);

/// How long demand is remembered. A host whose last task with an interface is longer ago than this, or that never had
/// one, keeps only [`Settings::idle`]: each sandbox costs the host a process of the engine's.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Claims are counted together for so long.
const SLOT: Duration = Duration::from_secs(10);

/// Demand makes the pool at most this many times as large as configured.
const GROWTH: usize = 4;

/// After a task was given a sandbox, its containers are created and started: the pool leaves the engine to them.
const CALM: Duration = Duration::from_secs(2);

/// Sandboxes that are made at once to fill the pool: each takes the engine from a task's start.
pub(super) const REFILLS: usize = 1;

/// Sandboxes that are made at once when tasks wait for them.
pub(super) const MAKES: usize = longshore_docker::BURST_IN_FLIGHT;

/// How many sandboxes tasks took, and when.
#[derive(Debug)]
pub(super) struct Demand {
    /// When a slot began and what was claimed in it, the oldest first.
    slots: VecDeque<(Instant, usize)>,
    last: Option<Instant>,
    /// What was claimed in the busiest [`WINDOW`].
    busiest: usize,
    idle: bool,
}

impl Default for Demand {
    fn default() -> Self {
        Self { slots: VecDeque::new(), last: None, busiest: 0, idle: true }
    }
}

impl Demand {
    pub(super) fn claimed(&mut self, now: Instant) {
        match self.slots.back_mut() {
            Some((began, count)) if now.duration_since(*began) < SLOT => *count += 1,
            _ => self.slots.push_back((now, 1)),
        }
        self.last = Some(now);
        self.look(now);
    }

    fn look(&mut self, now: Instant) {
        while self.slots.front().is_some_and(|(began, _)| now.duration_since(*began) > REMEMBERED) {
            self.slots.pop_front();
        }
        let within = |from: Instant| {
            let window = self.slots.iter().filter(|(began, _)| *began >= from && *began - from < WINDOW);
            window.map(|(_, count)| count).sum()
        };
        self.busiest = self.slots.iter().map(|(began, _)| within(*began)).max().unwrap_or(0);
        self.idle = self.last.is_none_or(|at| now.duration_since(at) > REMEMBERED);
    }

    /// How many should be warm.
    pub(super) fn target(&mut self, settings: &Settings, now: Instant) -> usize {
        self.look(now);
        self.peek(settings)
    }

    /// The same, as far as it was looked at last.
    pub(super) fn peek(&self, settings: &Settings) -> usize {
        let warm = settings.warm;
        if self.idle { warm.min(settings.idle) } else { self.busiest.clamp(warm, warm * GROWTH) }
    }

    /// When the engine has time for the pool.
    pub(super) fn calm_at(&self) -> Option<Instant> {
        self.last.map(|at| at + CALM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_makes_it_larger_and_passes() {
        let mut demand = Demand::default();
        let of = |warm| Settings { enabled: true, warm, idle: 2 };
        let start = Instant::now();
        assert_eq!((demand.target(&of(8), start), demand.target(&of(1), start)), (2, 1), "nothing was ever asked for");
        (0..20).for_each(|_| demand.claimed(start));
        assert_eq!(demand.target(&of(8), start), 20);
        // A minute after the other burst; the busier of the two counts, not both.
        let second = start + WINDOW;
        (0..9).for_each(|_| demand.claimed(second));
        assert_eq!(demand.target(&of(8), second), 20);
        (0..9).for_each(|_| demand.claimed(second + SLOT));
        (0..9).for_each(|_| demand.claimed(second + WINDOW - SLOT));
        let start = second + WINDOW - SLOT;
        assert_eq!(demand.target(&of(8), start), 27);
        (0..99).for_each(|_| demand.claimed(start));
        assert_eq!(demand.target(&of(8), start), 32);
        assert_eq!(demand.target(&of(0), start), 0, "no pool is no pool");
        assert_eq!(demand.calm_at(), Some(start + CALM));
        // It may come again.
        assert_eq!(demand.target(&of(8), start + REMEMBERED), 32);
        assert_eq!(demand.target(&of(8), start + REMEMBERED + CALM), 2);
    }
}
