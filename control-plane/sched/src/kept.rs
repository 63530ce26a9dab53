//! What hosts keep free for tasks that they should have and lack.

use crate::claim::Claim;
use crate::host::{GroupKey, Host, Usage};
use crate::place::{hashed, meets, members};
use crate::request::Kept;
use smallvec::SmallVec;

/// One [`Kept`] of a request, prepared to be asked of many hosts.
pub(crate) struct KeptFor<'a> {
    kept: &'a Kept,
    group: GroupKey,
    required: Vec<(u64, &'a longshore_model::Attribute)>,
}

impl<'a> KeptFor<'a> {
    pub(crate) fn new(kept: &'a Kept) -> Self {
        Self { kept, group: GroupKey::new(&kept.group), required: hashed(&kept.required) }
    }

    fn is_there(&self, usage: &Usage) -> bool {
        usage.group_count_of(self.group) > 0
    }

    /// Whether this host lacks a task that it should have and could. A host that can make no interfaces may be able to
    /// soon: one that has just joined, for example.
    fn is_kept(&self, host: &Host, usage: &Usage) -> bool {
        let Claim { tcp, udp, .. } = &self.kept.claim;
        let offer = &host.offer;
        !self.is_there(usage)
            && tcp.iter().all(|port| !offer.reserved_tcp.contains(port))
            && udp.iter().all(|port| !offer.reserved_udp.contains(port))
            && self.required.iter().all(|(hash, required)| meets(host, *hash, required))
            && members(&self.kept.constraints).all(|expression| expression.matches_with(host, usage))
    }
}

/// What a host keeps free.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Keeps {
    pub(crate) cpu_units: u64,
    pub(crate) memory_mib: u64,
    pub(crate) interfaces: u64,
}

impl Keeps {
    /// What a host keeps free of these.
    pub(crate) fn of(all: &[KeptFor<'_>], host: &Host, usage: &Usage) -> Self {
        let there = all.iter().filter(|kept| kept.is_there(usage));
        let mut beside: SmallVec<[&Claim; 4]> = there.map(|kept| &kept.kept.claim).collect();
        let mut keeps = Self::default();
        for kept in all.iter().filter(|kept| kept.is_kept(host, usage)) {
            // What does not go beside the others never comes.
            let claim = &kept.kept.claim;
            if goes_beside(claim, &beside, host) {
                keeps = keeps.and(claim);
                beside.push(claim);
            }
        }
        keeps
    }

    fn and(self, claim: &Claim) -> Self {
        Self {
            cpu_units: self.cpu_units + u64::from(claim.cpu_units),
            memory_mib: self.memory_mib + u64::from(claim.memory_mib),
            interfaces: self.interfaces + u64::from(claim.interfaces),
        }
    }
}

/// Whether a host without any other tasks would have this beside `others`. How many interfaces it gives is not known
/// while it gives none.
fn goes_beside(claim: &Claim, others: &[&Claim], host: &Host) -> bool {
    let sum = |of: fn(&Claim) -> u64| others.iter().copied().chain([claim]).map(of).sum::<u64>();
    let taken =
        |of: fn(&Claim) -> &[u16]| others.iter().any(|other| of(other).iter().any(|port| of(claim).contains(port)));
    let offer = &host.offer;
    sum(|claim| claim.cpu_units.into()) <= offer.cpu_units.into()
        && sum(|claim| claim.memory_mib.into()) <= offer.memory_mib.into()
        && sum(|claim| claim.disk_mib.into()) <= offer.disk_mib.into()
        && sum(|claim| claim.gpus.into()) <= offer.gpu_ids.len() as u64
        && (host.interfaces == 0 || sum(|claim| claim.interfaces.into()) <= host.interfaces.into())
        && !taken(|claim| &claim.tcp)
        && !taken(|claim| &claim.udp)
}
