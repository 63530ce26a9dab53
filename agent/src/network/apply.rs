//! What the control plane says of the network, on its way into the kernel: one change at a time, saved first.

use super::claims::Slot;
use super::fabric::{Fabric, Fault, Shape};
use super::owner::{AGAIN, Done, Network};
use super::saved::Said;
use longshore_model::{
    EniId, Generation, GroupId, InstanceId, MemberChanges, NetworkChanges, NetworkConfig, NetworkUpdate,
};
use std::collections::BTreeMap;
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
    /// Groups lost their members, which only the whole says.
    all_members: bool,
    /// A generation rose and nothing that this host has in its kernel changed.
    generation: bool,
}

impl Pending {
    fn add(&mut self, changes: &NetworkChanges) {
        self.generation = true;
        self.leases |= changes.leases.is_some();
        self.groups |= !changes.groups.is_empty() || !changes.removed_groups.is_empty();
        self.peers |= !changes.peers.is_empty() || !changes.removed_peers.is_empty();
        self.all_members |= !changes.removed_members.is_empty();
        if !changes.members.is_empty() {
            self.members.push(changes.members.clone());
        }
    }

    fn is_empty(&self) -> bool {
        !(self.all || self.leases || self.groups || self.peers || self.all_members || self.generation)
            && self.members.is_empty()
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
            }
            (NetworkUpdate::Delta { base, changes, .. }, Some(state)) if base == at && generation >= at => {
                self.pending.add(&changes);
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
        self.unsaved.said = true;
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
            let shape = Shape { network: state.config, leases: state.leases.clone(), underlay };
            self.pending = Pending::default();
            self.lane = Lane::Busy;
            self.open(shape);
        } else if let (false, Some(fabric)) = (self.pending.is_empty(), self.fabric.clone()) {
            let pending = std::mem::take(&mut self.pending);
            self.lane = Lane::Busy;
            let said = self.said.clone();
            self.jobs.spawn(async move {
                let result = apply(&*fabric, &pending, &said).await;
                Done::Applied(said.generation, result)
            });
        }
    }

    pub(super) fn applied(&mut self, generation: Generation, result: Result<Vec<(InstanceId, String)>, Fault>) {
        match result {
            Ok(refused) => self.in_force(generation, refused),
            Err(fault) => self.lane_failed("a change of the network is not in force", fault),
        }
    }

    /// What was said up to `generation` is in force.
    pub(super) fn in_force(&mut self, generation: Generation, refused: Vec<(InstanceId, String)>) {
        self.lane = Lane::Idle;
        self.lane_again = None;
        self.fabric_fault = None;
        self.applied = generation;
        self.refused_peers = refused.into_iter().collect();
        self.checks.hurry();
        // What was said meanwhile may have taken a group away again; then the next change says so before it matters.
        self.groups_in_force =
            self.said.state.as_ref().map(|state| state.groups.keys().copied().collect()).unwrap_or_default();
        if self.pending.groups || self.pending.all {
            self.groups_in_force.clear();
        }
        self.admit_again();
        let leases = self.leases().to_vec();
        let lost = |slot: &Slot| slot.is_spare() && !leases.iter().any(|lease| lease.v4.contains(&slot.address));
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
        self.lane = Lane::Idle;
        self.lane_again = Some(Instant::now() + AGAIN);
        self.pending.all = true;
    }
}

async fn apply(fabric: &dyn Fabric, pending: &Pending, said: &Said) -> Result<Vec<(InstanceId, String)>, Fault> {
    let Some(state) = &said.state else { return Ok(Vec::new()) };
    // What is wrong with the host's routes or links is no reason to leave groups as they were: whom they let through no
    // longer must not get through.
    let leases = if pending.all || pending.leases { fabric.set_leases(&state.leases).await } else { Ok(()) };
    // A rule may name a group whose members come along; members of a group that no rule names do no harm.
    if pending.all || pending.groups {
        fabric.set_groups(&state.groups).await?;
    }
    if pending.all || pending.all_members {
        fabric.set_members(&state.members).await?;
    } else {
        for changes in &pending.members {
            fabric.change_members(changes).await?;
        }
    }
    // Always, for what it answers: it changes only what differs.
    let peers: Vec<_> = state.peers.values().cloned().collect();
    let refused = fabric.set_peers(&peers).await;
    leases.and(refused)
}

/// The fabric as others see it.
pub(super) type SharedFabric = Arc<dyn Fabric>;
