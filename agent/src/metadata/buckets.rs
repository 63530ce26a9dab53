//! How many requests one asker may make. Pure.

use crate::config::Rate;
use longshore_model::TaskId;
use std::collections::HashMap;
use std::net::IpAddr;
use tokio::time::Instant;

/// Askers beyond which those are forgotten that have not asked for a while.
const MANY: usize = 1024;

/// Whose requests are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Asker {
    /// A task's containers.
    Task(TaskId),
    /// Whoever is at an address and is nobody that we know.
    Nobody(IpAddr),
}

/// What each asker has left.
#[derive(Debug)]
pub(super) struct Buckets {
    left: HashMap<Asker, (f64, Instant)>,
    rate: Rate,
}

impl Buckets {
    /// Each asker has `rate`, which ECS has for all tasks of a host together.
    pub(super) fn new(rate: Rate) -> Self {
        Self { left: HashMap::new(), rate }
    }

    /// How many requests a second one may make.
    pub(super) fn per_second(&self) -> u32 {
        self.rate.per_second
    }

    /// Counts a request; says whether it may be answered.
    pub(super) fn take(&mut self, asker: Asker, now: Instant) -> bool {
        let (rate, burst) = (f64::from(self.rate.per_second), f64::from(self.rate.burst));
        let filled = |left: f64, at: Instant| (left + now.duration_since(at).as_secs_f64() * rate).min(burst);
        if self.left.len() > MANY {
            self.left.retain(|_, (left, at)| filled(*left, *at) < burst);
        }
        let entry = self.left.entry(asker).or_insert((burst, now));
        let left = filled(entry.0, entry.1);
        let may = left >= 1.0;
        *entry = (if may { left - 1.0 } else { left }, now);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    #[test]
    fn each_asker_has_a_burst_and_a_rate_of_its_own() {
        let mut buckets = Buckets::new(Rate::METADATA);
        let start = Instant::now();
        let (one, other) = (Asker::Task(TaskId::random()), Asker::Task(TaskId::random()));
        let mut count = |asker, at| (0..1000).filter(|_| buckets.take(asker, at)).count();
        assert_eq!(count(one, start), 60);
        assert_eq!(count(one, start), 0);
        assert_eq!(count(other, start), 60, "one does not take from another");
        assert_eq!(count(one, start + Duration::from_millis(500)), 20);
        assert_eq!(count(one, start + Duration::from_secs(60)), 60, "no more than a burst");
    }

    #[test]
    fn askers_are_forgotten() {
        let mut buckets = Buckets::new(Rate::METADATA);
        let start = Instant::now();
        for i in 0..10_000u32 {
            let at = start + Duration::from_millis(u64::from(i));
            assert!(buckets.take(Asker::Nobody(Ipv4Addr::from(i).into()), at));
        }
        assert!(buckets.left.len() <= MANY + 1, "{}", buckets.left.len());
    }
}
