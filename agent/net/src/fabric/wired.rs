//! The interfaces that a fabric answers for: what a repair compares the kernel with.

use super::sandbox::Wire;
use super::{Fabric, Inner, WireError, lock};
use crate::names::EniStem;
use crate::netlink::{NetlinkError, route};
use longshore_model::network::{Bandwidth, EniId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Sandboxes that a repair looks into when nothing says that something is wrong there: those that were not looked into
/// for the longest time. Entering each of hundreds every time would cost more than it is worth.
const IN_TURN: usize = 8;

/// How often a sandbox's side is put back in [`AGAIN`]. A container that may (CAP_NET_ADMIN) can take it away at once.
const MOST_MENDS: usize = 8;
const AGAIN: Duration = Duration::from_mins(1);

/// When a sandbox is looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// By the next repair.
    Soon,
    /// When it is its turn.
    InTurn,
}

#[derive(Debug)]
struct Interface {
    wire: Wire,
    limits: Bandwidth,
    look: Look,
    looked: Instant,
    mends: Vec<Instant>,
}

/// The interfaces that are to be there.
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    known: BTreeMap<EniStem, Interface>,
    /// Those that the last repair could not put back, and why.
    lost: BTreeMap<EniId, String>,
}

impl Interfaces {
    /// An interface that was made, or found. What is known of its task and its limits stays.
    pub(super) fn add(&mut self, wire: Wire, look: Look) {
        let known = self.known.entry(wire.eni.into()).or_insert_with(|| Interface {
            wire: wire.clone(),
            limits: Bandwidth::default(),
            look,
            looked: Instant::now(),
            mends: Vec::new(),
        });
        let task = if wire.task.is_empty() { std::mem::take(&mut known.wire.task) } else { wire.task };
        known.wire = Wire { task, ..wire };
        known.look = look;
        self.lost.remove(&known.wire.eni);
    }

    pub(super) fn has(&self, which: impl Into<EniStem>) -> bool {
        self.known.contains_key(&which.into())
    }

    pub(super) fn limit(&mut self, eni: EniId, limits: Bandwidth) {
        if let Some(known) = self.known.get_mut(&eni.into()) {
            known.limits = limits;
        }
    }

    /// All of them, with their limits.
    pub(super) fn list(&self) -> Vec<(Wire, Bandwidth)> {
        self.known.values().map(|known| (known.wire.clone(), known.limits)).collect()
    }

    /// Those whose sandboxes are looked into now: those in `suspects`, and those whose turn it is. The next time it is
    /// that of others.
    pub(super) fn turn(&mut self, suspects: &BTreeSet<EniId>) -> Vec<Wire> {
        let mut waiting: Vec<&mut Interface> = self.known.values_mut().collect();
        waiting.sort_by_key(|known| known.looked);
        let (mut now, mut quota) = (Vec::new(), IN_TURN);
        for known in waiting {
            if known.look == Look::InTurn && !suspects.contains(&known.wire.eni) {
                let Some(rest) = quota.checked_sub(1) else { continue };
                quota = rest;
            }
            (known.look, known.looked) = (Look::InTurn, Instant::now());
            now.push(known.wire.clone());
        }
        now
    }

    /// Whether a sandbox's side is put back once more, which it then is.
    pub(super) fn may_mend(&mut self, eni: EniId) -> bool {
        let Some(known) = self.known.get_mut(&eni.into()) else { return false };
        known.mends.retain(|at| at.elapsed() < AGAIN);
        if known.mends.len() >= MOST_MENDS {
            let link = &known.wire.eni;
            tracing::warn!(
                eni = %link, times = MOST_MENDS,
                "what is put back into a sandbox is taken away at once; it is left for a minute (does a container have \
                 CAP_NET_ADMIN?)"
            );
            return false;
        }
        known.mends.push(Instant::now());
        true
    }

    pub(super) fn begin(&mut self) {
        self.lost.clear();
    }

    pub(super) fn lose(&mut self, eni: EniId, why: String) {
        self.lost.insert(eni, why);
    }
}

impl Fabric {
    /// Says that these interfaces, which another process wired, are this fabric's: a repair puts back what their links
    /// lose. The next one looks into all their sandboxes; after that each looks into eight, those that were not looked
    /// into for the longest time, and into those whose end of the link is down. Interfaces that this process wires it
    /// knows.
    pub fn adopt(&self, wires: Vec<Wire>) {
        let mut wired = lock(&self.inner.wired);
        wires.into_iter().for_each(|wire| wired.add(wire, Look::Soon));
    }

    /// Interfaces whose link or whose sandbox's namespace is gone, and that the last repair could not make again, with
    /// why. They are wired anew from their sandbox's process, or their task is over.
    #[must_use]
    pub fn lost(&self) -> BTreeMap<EniId, String> {
        lock(&self.inner.wired).lost.clone()
    }

    /// Writes a task's id into the words that `ip link` shows with its link.
    ///
    /// # Errors
    /// When the link is not there, or the kernel refuses.
    pub async fn name_task(&self, eni: EniId, task: &str) -> Result<(), WireError> {
        let task = task.to_owned();
        self.run(move |inner| inner.name_task(eni, task)).await
    }
}

impl Inner {
    /// Before an interface goes: no repair makes it again.
    pub(super) fn forget(&self, eni: EniId) {
        let _one = lock(&self.mending);
        let mut wired = lock(&self.wired);
        wired.known.remove(&eni.into());
        wired.lost.remove(&eni);
    }

    pub(super) fn forget_all_but(&self, known: &BTreeSet<EniId>) {
        let _one = lock(&self.mending);
        lock(&self.wired).known.retain(|_, interface| known.contains(&interface.wire.eni));
    }

    fn name_task(&self, eni: EniId, task: String) -> Result<(), WireError> {
        let mut wired = lock(&self.wired);
        let gone = || NetlinkError::Garbled("it has none".into());
        let failed = |source| WireError::Netlink { eni, what: "name the task of the link", source };
        let known = wired.known.get_mut(&eni.into()).ok_or_else(gone).map_err(failed)?;
        known.wire.task = task;
        let Wire { ipv4, task, .. } = known.wire.clone();
        drop(wired);
        let (link, alias) = (self.names().task_link(eni), self.names().alias(eni, ipv4, &task));
        lock(&self.fabric_route).all(&[route::set_alias_of(&link, &alias)]).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_model::network::Mac;
    use std::net::Ipv4Addr;

    fn wire(n: u8) -> Wire {
        let ipv4 = Ipv4Addr::new(10, 77, 1, n);
        Wire { eni: EniId::random(), ipv4, ipv6: None, mac: Mac::of_task(ipv4), task: String::new() }
    }

    #[test]
    fn every_sandbox_has_its_turn_and_suspects_have_it_at_once() {
        let mut interfaces = Interfaces::default();
        let wires: Vec<Wire> = (0..20).map(wire).collect();
        wires.iter().for_each(|wire| interfaces.add(wire.clone(), Look::Soon));
        assert_eq!(interfaces.turn(&BTreeSet::new()).len(), 20, "all that were adopted");
        let mut seen = BTreeSet::new();
        for _ in 0..3 {
            let turn = interfaces.turn(&BTreeSet::new());
            assert_eq!(turn.len(), IN_TURN);
            seen.extend(turn.into_iter().map(|wire| wire.eni));
        }
        assert_eq!(seen.len(), 20, "nobody twice before everybody");
        let all: BTreeSet<EniId> = wires.iter().map(|wire| wire.eni).collect();
        assert_eq!(interfaces.turn(&all).len(), 20);
    }

    #[test]
    fn what_is_taken_away_at_once_is_left_for_a_while() {
        let mut interfaces = Interfaces::default();
        let wire = wire(11);
        assert!(!interfaces.may_mend(wire.eni), "nobody's");
        interfaces.add(wire.clone(), Look::InTurn);
        for _ in 0..MOST_MENDS {
            assert!(interfaces.may_mend(wire.eni));
        }
        assert!(!interfaces.may_mend(wire.eni));
    }

    #[test]
    fn what_is_known_of_a_task_stays_when_its_interface_is_wired_again() {
        let mut interfaces = Interfaces::default();
        let named = Wire { task: "abc".into(), ..wire(11) };
        interfaces.add(named.clone(), Look::InTurn);
        let limits = Bandwidth { ingress_bps: Some(1), egress_bps: None };
        interfaces.limit(named.eni, limits);
        interfaces.add(Wire { task: String::new(), ..named }, Look::Soon);
        assert_eq!(interfaces.list(), [(named, limits)]);
    }
}
