//! When services are looked at again though nothing happens: one time each, the earliest found without a search.

use crate::records::ServiceKey;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// Times of services, by the clock that nobody sets: see [`Clock::ticks`](crate::Clock::ticks).
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_key: HashMap<ServiceKey, Duration>,
    by_time: BTreeSet<(Duration, ServiceKey)>,
}

impl Timers {
    /// Sets or takes away the time of a service.
    pub(super) fn set(&mut self, key: &ServiceKey, at: Option<Duration>) {
        let old = match at {
            Some(at) => {
                self.by_time.insert((at, key.clone()));
                self.by_key.insert(key.clone(), at).filter(|old| *old != at)
            }
            None => self.by_key.remove(key),
        };
        if let Some(old) = old {
            self.by_time.remove(&(old, key.clone()));
        }
    }

    /// The earliest.
    pub(super) fn next(&self) -> Option<Duration> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Those whose time has come; they have none from then on.
    pub(super) fn over(&mut self, now: Duration) -> Vec<ServiceKey> {
        let mut over = Vec::new();
        while let Some((at, _)) = self.by_time.first()
            && *at <= now
            && let Some((_, key)) = self.by_time.pop_first()
        {
            self.by_key.remove(&key);
            over.push(key);
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_model::{ClusterKey, ClusterName, Region};

    #[test]
    fn each_service_has_one_time() {
        let key = |name: &str| {
            let (region, cluster) = (Region::new("lab").expect("a region"), ClusterName::new("c").expect("a name"));
            ServiceKey { cluster: ClusterKey { region, name: cluster }, name: name.into() }
        };
        let at = Duration::from_millis;
        let mut timers = Timers::default();
        timers.set(&key("a"), Some(at(10)));
        timers.set(&key("b"), Some(at(20)));
        timers.set(&key("a"), Some(at(30)));
        timers.set(&key("a"), Some(at(30)));
        timers.set(&key("c"), Some(at(5)));
        timers.set(&key("c"), None);
        assert_eq!(timers.next(), Some(at(20)));
        assert_eq!(timers.over(at(20)), [key("b")]);
        assert_eq!((timers.next(), timers.over(at(29))), (Some(at(30)), Vec::new()));
        assert_eq!((timers.over(at(30)), timers.next()), (vec![key("a")], None));
    }
}
