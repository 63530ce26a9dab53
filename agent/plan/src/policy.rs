//! The numbers that decisions depend on, and how long to wait before trying again.

use std::time::Duration;

/// Set once at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Between SIGTERM and SIGKILL for containers without their own.
    pub stop_timeout: Duration,
    /// How long stopped containers stay before they are removed.
    pub cleanup_wait: Duration,
    /// How often a pull, a resource or a create is tried before the task fails for it. ECS tries pulls five times.
    pub attempts: u32,
    /// How often a container that never ran is made again, on other dynamic ports.
    pub remakes: u32,
    /// How long from its start a container without a `startTimeout` has to meet the conditions of what depends on it.
    pub dependency_timeout: Duration,
    /// Stops that fail before SIGKILL is sent at once.
    pub polite_stops: u32,
    /// How long a task waits for room on the host before what is free is kept for it.
    pub patience: Duration,
    /// How long a task waits for room on the host before it fails.
    pub room_timeout: Duration,
    /// Whether privileged containers are made here.
    pub allow_privileged: bool,
    /// How long a container waits for room on the host's disk.
    pub space_wait: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            stop_timeout: Duration::from_secs(30),
            cleanup_wait: Duration::from_secs(600),
            attempts: 5,
            remakes: 5,
            dependency_timeout: Duration::from_secs(3600),
            polite_stops: 2,
            patience: Duration::from_secs(10),
            room_timeout: Duration::from_secs(600),
            allow_privileged: true,
            space_wait: Duration::from_secs(600),
        }
    }
}

/// No wait is longer. A time further ahead than this was set before the clock was turned back, and is over.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(70);

/// Why something is tried again; the wait depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Bringing up: from a fifth of a second, doubling, at most 5 s.
    Start,
    /// Pulling, with the waits of ECS's agent: from 1.1 s, doubling, at most 5 s. Those between five tries are 12.7 s
    /// together, which a registry that is started again is seldom away for longer.
    Pull,
    /// Taking down, which is never given up: from half a second, doubling, at most a minute.
    Stop,
}

/// How long to wait after `failures` in a row. Spread by an eighth up or down with `salt`, so that tasks which failed
/// together do not come back together.
pub(crate) fn wait(patience: Patience, failures: u32, salt: u64) -> Duration {
    let (first, cap) = match patience {
        Patience::Start => (200, 5_000),
        Patience::Pull => (1_100, 5_000),
        Patience::Stop => (500, 60_000),
    };
    let full = (first << failures.saturating_sub(1).min(16)).min(cap);
    // A small integer hash (splitmix64's finaliser) of the task and the attempt: no randomness is needed, only spread.
    let mut x = salt.wrapping_add(u64::from(failures)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 31)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let spread = x % (full / 4 + 1);
    Duration::from_millis(full - full / 8 + spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_tries_of_a_pull_take_as_long_as_those_of_ecs() {
        for salt in 0..50 {
            let waits: Duration = (1..5).map(|failures| wait(Patience::Pull, failures, salt)).sum();
            let ecs = Duration::from_millis(1_100 + 2_200 + 4_400 + 5_000);
            assert!(waits >= ecs - ecs / 8 && waits <= ecs + ecs / 8, "{waits:?}");
        }
    }

    #[test]
    fn waits_grow_and_are_capped() {
        for salt in 0..50 {
            let mut last = Duration::ZERO;
            for failures in 1..40 {
                let start = wait(Patience::Start, failures, salt);
                assert!(start <= Duration::from_millis(5_625), "{start:?}");
                assert!(wait(Patience::Stop, failures, salt) < LONGEST_WAIT);
                assert!(failures > 4 || start > last, "{failures}");
                last = start;
            }
        }
    }
}
