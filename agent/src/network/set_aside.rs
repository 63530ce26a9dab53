//! Addresses of the host's leases that somebody else on the hosts' network has. Pure.
//!
//! Nothing of it is kept over a restart: what is given is asked for first.

use longshore_model::Mac;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::time::Instant;

/// How long an address is left alone before it is asked for again.
const AGAIN: Duration = Duration::from_secs(600);

/// Addresses that are not given to tasks for now.
#[derive(Debug, Default)]
pub(super) struct SetAside {
    by_address: BTreeMap<Ipv4Addr, (Mac, Instant)>,
}

impl SetAside {
    /// Somebody has an address.
    pub(super) fn add(&mut self, address: Ipv4Addr, holder: Mac, now: Instant) {
        self.by_address.retain(|_, (_, until)| *until > now);
        self.by_address.insert(address, (holder, now + AGAIN));
    }

    fn held(&self, now: Instant) -> impl Iterator<Item = (Ipv4Addr, Mac)> {
        self.by_address.iter().filter(move |(_, (_, until))| *until > now).map(|(address, (mac, _))| (*address, *mac))
    }

    pub(super) fn holds(&self, address: Ipv4Addr, now: Instant) -> bool {
        self.by_address.get(&address).is_some_and(|(_, until)| *until > now)
    }

    pub(super) fn addresses(&self, now: Instant) -> impl Iterator<Item = Ipv4Addr> {
        self.held(now).map(|(address, _)| address)
    }

    /// When the next may be given again.
    pub(super) fn wake(&self) -> Option<Instant> {
        let now = Instant::now();
        self.by_address.values().map(|(_, until)| *until).filter(|until| *until > now).min()
    }

    /// For the status.
    pub(super) fn lines(&self, now: Instant) -> Vec<String> {
        self.held(now).map(|(address, mac)| format!("{address} ({mac})")).collect()
    }

    /// For people.
    pub(super) fn warnings(&self, now: Instant) -> Vec<String> {
        let text = |(address, mac)| {
            format!(
                "{address} is in use on the hosts' network by {mac} and is given to no task; take it from that \
                 machine, or leave it out of task_network"
            )
        };
        self.held(now).map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_is_left_alone_for_ten_minutes_from_the_last_word() {
        let (address, mac) = (Ipv4Addr::new(192, 168, 50, 146), Mac([2, 0, 0, 0, 0, 7]));
        let mut aside = SetAside::default();
        let start = Instant::now();
        aside.add(address, mac, start);
        assert!(aside.holds(address, start) && !aside.holds(Ipv4Addr::new(192, 168, 50, 147), start));
        assert_eq!(aside.lines(start), ["192.168.50.146 (02:00:00:00:00:07)"]);
        assert!(aside.warnings(start)[0].contains("in use on the hosts' network by 02:00:00:00:00:07"));
        aside.add(address, mac, start + Duration::from_secs(300));
        assert!(aside.holds(address, start + Duration::from_secs(899)));
        assert_eq!(aside.wake(), Some(start + Duration::from_secs(900)));
        let later = start + Duration::from_secs(900);
        assert!(!aside.holds(address, later));
        assert_eq!((aside.addresses(later).count(), aside.lines(later).len()), (0, 0));
    }
}
