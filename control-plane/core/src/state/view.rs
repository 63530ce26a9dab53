//! What one host has to know of the task network, as a handful of persistent maps that it shares with the state.
//!
//! Making a view costs what the host's own groups cost, not what their members do, and comparing two views skips what
//! they share. So a change of one member costs each host that has to know it about the same whether the group has ten
//! members or ten thousand.

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use longshore_model::planted::{Bug, is_planted};
use longshore_model::{
    Generation, GroupId, GroupRules, InstanceId, Lease, MemberChanges, NetworkChanges, NetworkConfig, NetworkState,
    Peer,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The addresses of a group, and how many live tasks have each.
pub(crate) type Members = OrdMap<IpAddr, u32>;

/// All that a host has to know of the network at one generation. Cheap to make, to keep, and to compare with a later
/// one; see [`NetworkView::changes_to`].
#[derive(Debug, Clone)]
pub struct NetworkView {
    /// The revision at which anything of it changed last, or a later one.
    pub generation: Generation,
    pub(super) own: InstanceId,
    pub(super) config: NetworkConfig,
    pub(super) leases: Vec<Lease>,
    /// All hosts that can be reached, this one among them.
    pub(super) peers: OrdMap<InstanceId, Arc<Peer>>,
    pub(super) groups: BTreeMap<GroupId, Arc<GroupRules>>,
    pub(super) members: BTreeMap<GroupId, Members>,
}

impl NetworkView {
    /// The view of host `own` that shows `state`.
    #[must_use]
    pub fn new(own: InstanceId, generation: Generation, state: &NetworkState) -> Self {
        let members = |members: &BTreeSet<IpAddr>| members.iter().map(|address| (*address, 1_u32)).collect();
        Self {
            generation,
            own,
            config: state.config,
            leases: state.leases.clone(),
            peers: state.peers.iter().map(|(id, peer)| (*id, Arc::new(peer.clone()))).collect(),
            groups: state.groups.iter().map(|(id, rules)| (*id, Arc::new(rules.clone()))).collect(),
            members: state.members.iter().map(|(id, addresses)| (*id, members(addresses))).collect(),
        }
    }

    /// All of it. Costs as much as there is.
    #[must_use]
    pub fn state(&self) -> NetworkState {
        let peers = self.peers.iter().filter(|(id, _)| **id != self.own);
        NetworkState {
            config: self.config,
            leases: self.leases.clone(),
            peers: peers.map(|(id, peer)| (*id, Peer::clone(peer))).collect(),
            groups: self.groups.iter().map(|(id, rules)| (*id, GroupRules::clone(rules))).collect(),
            members: self.members.iter().map(|(id, members)| (*id, members.keys().copied().collect())).collect(),
        }
    }

    /// What leads from `self` to `to`, a later view of the same host. Costs as much as changed.
    #[must_use]
    pub fn changes_to(&self, to: &Self) -> NetworkChanges {
        let mut changes = NetworkChanges {
            leases: (self.leases != to.leases).then(|| to.leases.clone()),
            removed_groups: gone(&self.groups, &to.groups),
            removed_members: gone(&self.members, &to.members),
            ..NetworkChanges::default()
        };
        for item in self.peers.diff(&to.peers) {
            match item {
                DiffItem::Add(id, peer) | DiffItem::Update { new: (id, peer), .. } if *id != self.own => {
                    changes.peers.push(Peer::clone(peer));
                }
                DiffItem::Remove(id, _) if *id != self.own => changes.removed_peers.push(*id),
                DiffItem::Add(..) | DiffItem::Update { .. } | DiffItem::Remove(..) => {}
            }
        }
        for (id, rules) in &to.groups {
            let same = |old: &Arc<GroupRules>| Arc::ptr_eq(old, rules) || old == rules;
            if !self.groups.get(id).is_some_and(same) {
                changes.groups.insert(*id, GroupRules::clone(rules));
            }
        }
        for (id, now) in &to.members {
            let change = match self.members.get(id) {
                None => Some(MemberChanges { added: now.keys().copied().collect(), removed: BTreeSet::new() }),
                Some(before) => Some(member_changes(before, now)).filter(|change| *change != MemberChanges::default()),
            };
            if let Some(mut change) = change {
                if is_planted(Bug::MembersStay) {
                    change.removed.clear();
                }
                changes.members.insert(*id, change);
            }
        }
        changes
    }
}

fn gone<V, W>(from: &BTreeMap<GroupId, V>, to: &BTreeMap<GroupId, W>) -> Vec<GroupId> {
    from.keys().filter(|id| !to.contains_key(id)).copied().collect()
}

fn member_changes(before: &Members, now: &Members) -> MemberChanges {
    let mut change = MemberChanges::default();
    for item in before.diff(now) {
        match item {
            DiffItem::Add(address, _) => _ = change.added.insert(*address),
            DiffItem::Remove(address, _) => _ = change.removed.insert(*address),
            // Another task has the address too, or does not any more.
            DiffItem::Update { .. } => {}
        }
    }
    change
}
