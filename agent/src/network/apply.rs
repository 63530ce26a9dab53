//! What the control plane says of the network, on its way into the kernel: one change at a time, saved first.

use super::claims::Slot;
use super::fabric::{Fabric, Fault, Shape};
use super::owner::{AGAIN, Done, Network};
use super::saved::Step;
use longshore_model::planted::{Bug, is_planted};
use longshore_model::{
    EniId, Generation, GroupId, GroupRules, InstanceId, Lease, MemberChanges, NetworkChanges, NetworkConfig,
    NetworkState, NetworkUpdate, Peer,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::time::Instant;

/// Whether something changes the fabric as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Idle,
    Busy,
}

/// What was said since the last change of the fabric began.
#[derive(Debug, Default, Clone)]
pub(super) struct Pending {
    /// The fabric is to be opened (again).
    pub(super) reopen: bool,
    /// Everything was said, or a change failed half-way.
    all: bool,
    leases: bool,
    groups: bool,
    peers: bool,
    members: Vec<BTreeMap<GroupId, MemberChanges>>,
    /// A generation rose and nothing that this host has in its kernel changed.
    generation: bool,
}

impl Pending {
    /// Adds what changes in `known`.
    fn add(&mut self, changes: &NetworkChanges, known: &NetworkState) {
        self.generation = true;
        self.leases |= changes.leases.is_some();
        self.groups |= !changes.groups.is_empty() || !changes.removed_groups.is_empty();
        self.peers |= !changes.peers.is_empty() || !changes.removed_peers.is_empty();
        let gone = |id: &GroupId| {
            let removed = known.members.get(id)?.clone();
            Some((*id, MemberChanges { added: BTreeSet::new(), removed }))
        };
        let gone: BTreeMap<_, _> = changes.removed_members.iter().filter_map(gone).collect();
        if !gone.is_empty() {
            self.members.push(gone);
        }
        if !changes.members.is_empty() {
            self.members.push(changes.members.clone());
        }
    }

    fn is_empty(&self) -> bool {
        !(self.all || self.leases || self.groups || self.peers || self.generation) && self.members.is_empty()
    }
}

/// What has to be done in the kernel, and what is needed for it: not the whole network for one member.
#[derive(Debug)]
struct Work {
    leases: Option<Vec<Lease>>,
    groups: Option<BTreeMap<GroupId, GroupRules>>,
    members: Members,
    peers: Option<Vec<Peer>>,
}

#[derive(Debug)]
enum Members {
    All(BTreeMap<GroupId, BTreeSet<IpAddr>>),
    Changes(Vec<BTreeMap<GroupId, MemberChanges>>),
}

impl Work {
    fn new(pending: Pending, state: &NetworkState) -> Self {
        let Pending { reopen: _, all, leases, groups, peers, members, generation: _ } = pending;
        Self {
            leases: (all || leases).then(|| state.leases.clone()),
            groups: (all || groups).then(|| state.groups.clone()),
            members: if all { Members::All(state.members.clone()) } else { Members::Changes(members) },
            // Which of them can be used depends on the host's own leases, too.
            peers: (all || leases || peers).then(|| state.peers.values().cloned().collect()),
        }
    }
}

impl Network {
    /// Takes an update in. One that does not build on what is known is refused, and everything is asked for.
    pub(super) fn update(&mut self, update: NetworkUpdate) {
        let at = self.said.generation;
        let generation = update.generation();
        match (update, &mut self.said.state) {
            (NetworkUpdate::Complete { state, .. }, known) if generation >= at || known.is_none() => {
                let config: Option<NetworkConfig> = known.as_ref().map(|state| state.config);
                if config.is_some_and(|config| config != state.config) || known.is_none() {
                    self.pending.reopen = true;
                }
                *known = Some(state);
                self.pending.all = true;
                self.unsaved.whole = true;
            }
            (NetworkUpdate::Delta { base, changes, .. }, Some(state)) if base == at && generation >= at => {
                self.pending.add(&changes, state);
                self.unsaved.steps.push(Step { base, generation, changes: changes.clone() });
                state.apply(changes);
            }
            (NetworkUpdate::Complete { .. }, _) => {
                tracing::error!(%generation, known = %at, "an older network was said; a host does not go back");
                return;
            }
            (NetworkUpdate::Delta { base, .. }, _) => {
                tracing::warn!(%base, known = %at, "a change of the network does not fit; asking for everything");
                self.ends.misfits.send_modify(|misfits| *misfits += 1);
                return;
            }
        }
        self.said.generation = generation;
    }

    /// Opens the fabric, or brings it to what was said.
    pub(super) fn drive_fabric(&mut self, now: Instant) {
        let waits = self.lane_again.is_some_and(|at| now < at);
        if self.lane == Lane::Busy
            || waits
            || self.is_saving_said()
            || !self.settings.enabled
            || self.leases().is_empty()
        {
            return;
        }
        let (Some(state), Some(underlay)) = (&self.said.state, self.said.underlay) else { return };
        if self.pending.reopen || self.fabric.is_none() {
            if self.fabric.is_some() && !self.rewiring.is_empty() {
                // What is found of an interface would be old by then. No other one is made again meanwhile.
                return;
            }
            let shape = Shape { network: state.config, leases: state.leases.clone(), underlay };
            self.pending = Pending::default();
            self.lane = Lane::Busy;
            self.open(shape);
        } else if let (false, Some(fabric)) = (self.pending.is_empty(), self.fabric.clone()) {
            let pending = std::mem::take(&mut self.pending);
            self.lane = Lane::Busy;
            let (work, generation) = (Work::new(pending, state), self.said.generation);
            self.jobs.spawn(async move { Done::Applied(generation, apply(&*fabric, work).await) });
        }
    }

    pub(super) fn applied(&mut self, generation: Generation, result: Result<Option<RefusedPeers>, Fault>) {
        match result {
            Ok(refused) => self.in_force(generation, refused),
            Err(fault) => self.lane_failed("a change of the network is not in force", fault),
        }
    }

    /// What was said up to `generation` is in force. Absent hosts are those of before.
    pub(super) fn in_force(&mut self, generation: Generation, refused: Option<RefusedPeers>) {
        self.lane = Lane::Idle;
        self.lane_again = None;
        self.fabric_fault = None;
        self.fault_since = None;
        self.applied = generation;
        if let Some(refused) = refused {
            self.refused_peers = refused.into_iter().collect();
            self.checks.hurry();
        }
        // What was said meanwhile may have taken a group away again; then the next change says so before it matters.
        self.groups_in_force =
            self.said.state.as_ref().map(|state| state.groups.keys().copied().collect()).unwrap_or_default();
        if self.pending.groups || self.pending.all {
            self.groups_in_force.clear();
        }
        self.admit_again();
        let leases = self.leases().to_vec();
        let goes = |slot: &Slot| slot.is_spare() && !is_planted(Bug::FormerAddressesAreGiven);
        let lost = |slot: &Slot| goes(slot) && !leases.iter().any(|lease| lease.v4.contains(&slot.address));
        let lost: Vec<EniId> = self.slots.iter().filter(|(_, slot)| lost(slot)).map(|(eni, _)| *eni).collect();
        // A lease went: what waited in it is of no use.
        lost.into_iter().for_each(|eni| self.discard(eni, None));
    }

    /// A change of the fabric failed: everything is done again a little later.
    pub(super) fn lane_failed(&mut self, what: &str, fault: Fault) {
        let why = fault.why;
        if self.fabric_fault.as_ref() != Some(&why) {
            tracing::error!(why, "{what}");
        }
        self.fabric_fault = Some(why);
        self.fault_since.get_or_insert_with(Instant::now);
        self.lane = Lane::Idle;
        self.lane_again = Some(Instant::now() + AGAIN);
        self.pending.all = true;
    }
}

async fn apply(fabric: &dyn Fabric, work: Work) -> Result<Option<RefusedPeers>, Fault> {
    // What is wrong with the host's routes or links is no reason to leave groups as they were: whom they let through no
    // longer must not get through.
    let leases = match work.leases {
        Some(leases) => fabric.set_leases(&leases).await,
        None => Ok(()),
    };
    // A rule may name a group whose members come along; members of a group that no rule names do no harm.
    if let Some(groups) = work.groups {
        fabric.set_groups(&groups).await?;
    }
    match work.members {
        Members::All(members) => fabric.set_members(&members).await?,
        Members::Changes(steps) => {
            for changes in steps {
                fabric.change_members(&changes).await?;
            }
        }
    }
    let refused = match work.peers {
        Some(peers) => fabric.set_peers(&peers).await.map(Some),
        None => Ok(None),
    };
    leases.and(refused)
}

/// Hosts that are left out, and why.
pub(super) type RefusedPeers = Vec<(InstanceId, String)>;

/// The fabric as others see it.
pub(super) type SharedFabric = Arc<dyn Fabric>;
