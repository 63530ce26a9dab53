//! Addresses that ended and may still be known to other hosts. Pure.
//!
//! An address is given again only when it rested for a minute *and* every host that counts is past the revision at
//! which the control plane recorded its end: until then another host may let packets through to it as the member of a
//! group that its next owner is not in.

use longshore_model::planted::{Bug, is_planted};
use longshore_model::{EniId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

/// The least time: connections of the old owner's peers give up meanwhile.
const REST: Duration = Duration::from_secs(60);

/// An end that the control plane has not acknowledged by then was not reported (its task was forgotten before), which
/// only happens when the control plane asked for it: whatever it records later is after that end.
const UNREPORTED: Duration = Duration::from_secs(300);

/// What the control plane has recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// That these interfaces are gone.
    These(Vec<EniId>),
    /// All that this host has, and that is these.
    AllBut(BTreeSet<EniId>),
}

/// An address that rests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Resting {
    pub(super) eni: EniId,
    pub(super) address: Ipv4Addr,
    pub(super) since: Timestamp,
    /// The revision at which its end is recorded.
    pub(super) recorded: Option<u64>,
}

/// The addresses that rest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    resting: Vec<Resting>,
}

impl Quarantine {
    pub(super) fn add(&mut self, eni: EniId, address: Ipv4Addr, now: Timestamp) {
        if !self.resting.iter().any(|r| r.eni == eni) {
            self.resting.push(Resting { eni, address, since: now, recorded: None });
        }
    }

    /// The rest of an interface's address begins again; says whether it rests.
    pub(super) fn begin_again(&mut self, eni: EniId, now: Timestamp) -> bool {
        let resting = self.resting.iter_mut().find(|r| r.eni == eni);
        resting.map(|r| r.since = now).is_some()
    }

    pub(super) fn holds(&self, address: Ipv4Addr) -> bool {
        self.resting.iter().any(|r| r.address == address)
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.resting.iter().map(|r| r.address)
    }

    pub(super) fn len(&self) -> usize {
        self.resting.len()
    }

    /// Takes in that something is recorded at `revision`; says whether anything changed.
    pub(super) fn record(&mut self, recorded: &Recorded, revision: u64, now: Timestamp) -> bool {
        let mut changed = false;
        for resting in self.resting.iter_mut().filter(|r| r.recorded.is_none()) {
            let named = match recorded {
                Recorded::These(these) => these.contains(&resting.eni),
                Recorded::AllBut(kept) => !kept.contains(&resting.eni),
            };
            if named || now.since(resting.since) >= UNREPORTED {
                resting.recorded = Some(revision);
                changed = true;
            }
        }
        changed
    }

    /// What was recorded was so by another control plane, whose revisions say nothing to this one.
    pub fn forget_records(&mut self) {
        self.resting.iter_mut().for_each(|resting| resting.recorded = None);
    }

    /// The clock was moved by so many milliseconds: what rests, rests as long as it would have.
    pub(super) fn clock_moved(&mut self, millis: i64) {
        self.resting.iter_mut().for_each(|resting| resting.since = resting.since.moved(millis));
    }

    /// Lets go what rested long enough, given that every host is at `settled`; says whether anything was.
    pub(super) fn sweep(&mut self, settled: u64, now: Timestamp) -> bool {
        let before = self.resting.len();
        if is_planted(Bug::AddressesDoNotRest) {
            self.resting.clear();
        }
        for resting in &mut self.resting {
            // The clock was turned back.
            resting.since = resting.since.min(now);
        }
        self.resting
            .retain(|r| !(now.since(r.since) >= REST && r.recorded.is_some_and(|revision| revision <= settled)));
        self.resting.len() != before
    }

    /// When the next one may have rested long enough.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.resting.iter().filter(|r| r.recorded.is_some()).map(|r| r.since.after(REST)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000).after(Duration::from_secs(secs))
    }

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 9);

    #[test]
    fn both_conditions_must_hold() {
        // Seconds, the revision of the end, what is settled, whether it is free.
        let cases = [
            (59, Some(5), 9, false),
            (60, Some(5), 9, true),
            (60, Some(5), 5, true),
            (60, Some(5), 4, false),
            (9_999, None, 9, false),
        ];
        for (secs, revision, settled, free) in cases {
            let mut quarantine = Quarantine::default();
            let eni = EniId::random();
            quarantine.add(eni, ADDRESS, at(0));
            quarantine.add(eni, ADDRESS, at(50));
            if let Some(revision) = revision {
                assert!(quarantine.record(&Recorded::These(vec![eni]), revision, at(1)));
                assert!(!quarantine.record(&Recorded::These(vec![eni]), revision + 9, at(2)), "the first counts");
            }
            assert_eq!(quarantine.sweep(settled, at(secs)), free, "{secs} {revision:?} {settled}");
            assert_eq!(quarantine.holds(ADDRESS), !free);
        }
    }

    #[test]
    fn a_welcome_records_all_that_is_not_there() {
        let (gone, there) = (EniId::random(), EniId::random());
        let mut quarantine = Quarantine::default();
        quarantine.add(gone, ADDRESS, at(0));
        quarantine.add(there, Ipv4Addr::new(10, 77, 1, 10), at(0));
        quarantine.record(&Recorded::AllBut([there].into()), 3, at(1));
        quarantine.sweep(3, at(60));
        assert!(!quarantine.holds(ADDRESS) && quarantine.len() == 1);
        // Its end was never reported; a later word of the control plane will do.
        quarantine.record(&Recorded::These(vec![]), 4, at(200));
        assert!(!quarantine.sweep(9, at(200)));
        quarantine.record(&Recorded::These(vec![]), 8, at(300));
        assert!(!quarantine.sweep(7, at(300)));
        assert!(quarantine.sweep(8, at(300)));
    }

    #[test]
    fn a_clock_that_is_moved_neither_delays_nor_hurries() {
        for hours in [1i64, -1] {
            let by = |secs: u64| at(secs).moved(hours * 3_600_000);
            let mut quarantine = Quarantine::default();
            let eni = EniId::random();
            quarantine.add(eni, ADDRESS, at(0));
            quarantine.record(&Recorded::These(vec![eni]), 1, at(0));
            quarantine.clock_moved(hours * 3_600_000);
            assert!(!quarantine.sweep(1, by(59)), "{hours}");
            assert!(quarantine.sweep(1, by(60)), "{hours}");
        }
    }

    #[test]
    fn a_clock_that_goes_back_delays_and_does_not_block() {
        let mut quarantine = Quarantine::default();
        let eni = EniId::random();
        quarantine.add(eni, ADDRESS, at(100_000));
        quarantine.record(&Recorded::These(vec![eni]), 1, at(100_000));
        assert!(!quarantine.sweep(1, at(10)));
        assert!(quarantine.sweep(1, at(70)));
    }
}
