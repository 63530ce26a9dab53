//! How often agents beat. A heartbeat costs the same whoever sends it, so it is the fleet's size that decides what
//! being alive costs; a lease needs a few of them, and no more of them when the fleet is large.

use super::AgentsConfig;
use super::sessions::Sessions;
use std::time::Duration;

/// Heartbeats in a lease, at least: one may be late, and another one after it.
const IN_A_LEASE: u32 = 3;

/// What each agent is told. Follows the number of those that are connected.
pub(super) struct Pace {
    heartbeat: Duration,
    rarest: Duration,
    per_second: u32,
    sessions: Sessions,
    /// What the agent was told last; its Welcome is the first time.
    told: u32,
}

impl Pace {
    pub(super) fn new(config: &AgentsConfig, sessions: Sessions) -> Self {
        let rarest = (config.lease / IN_A_LEASE).max(config.heartbeat);
        let per_second = config.heartbeats_per_second.max(1);
        let mut pace = Self { heartbeat: config.heartbeat, rarest, per_second, sessions, told: 0 };
        pace.told = pace.millis();
        pace
    }

    /// What the agent was told last, milliseconds.
    pub(super) const fn told(&self) -> u32 {
        self.told
    }

    /// What the agent is to be told now: 0 when that is what it was told last.
    pub(super) fn news(&mut self) -> u32 {
        let now = self.millis();
        let before = std::mem::replace(&mut self.told, now);
        if now == before { 0 } else { now }
    }

    /// Milliseconds between two heartbeats of one agent, at the moment.
    fn millis(&self) -> u32 {
        let agents = u32::try_from(self.sessions.count()).unwrap_or(u32::MAX);
        let shared = Duration::from_secs(1).saturating_mul(agents) / self.per_second;
        // Coarse, so that agents that come and go do not change everybody's.
        let steps = shared.as_millis() / STEP.as_millis();
        let shared = STEP.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX));
        let pace = shared.clamp(self.heartbeat, self.rarest);
        u32::try_from(pace.as_millis()).unwrap_or(u32::MAX)
    }
}

/// See [`Pace::millis`].
const STEP: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_core::SessionId;
    use longshore_model::InstanceId;

    #[test]
    fn more_agents_than_the_rate_allows_beat_more_rarely_but_three_times_in_a_lease() {
        let sessions = Sessions::default();
        let config = AgentsConfig {
            heartbeat: Duration::from_secs(1),
            lease: Duration::from_secs(5),
            heartbeats_per_second: 10,
            ..AgentsConfig::default()
        };
        let mut pace = Pace::new(&config, sessions.clone());
        let mut agents = Vec::new();
        let mut add = |count: usize| {
            while agents.len() < count {
                let (instance, session) = (InstanceId::random(), SessionId::random());
                sessions.claim(instance, session, || true).expect("current");
                agents.push((instance, session));
            }
        };
        for (count, millis) in [(0, 1000), (1, 1000), (10, 1000), (13, 1300), (16, 1600), (17, 1666), (500, 1666)] {
            add(count);
            assert_eq!(pace.millis(), millis, "{count} agents");
        }
        agents.drain(12..).for_each(|(instance, session)| assert!(sessions.release(instance, session)));
        assert_eq!(pace.millis(), 1200, "those that are left");
        assert_eq!((pace.told(), pace.news(), pace.news(), pace.told()), (1000, 1200, 0, 1200), "once each");
        let slow = AgentsConfig { heartbeat: Duration::from_secs(4), ..config };
        assert_eq!(Pace::new(&slow, sessions).millis(), 4000, "as configured, however short the lease");
    }
}
