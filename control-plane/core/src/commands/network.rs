//! Which host has which part of the task network, and what agents say of theirs.

use crate::agent::{SessionError, SessionId};
use crate::change::Change;
use crate::command::{Command, Tx};
use crate::commands::session::in_session;
use crate::records::{HostLeases, Network};
use crate::state::wants_lease;
use longshore_model::{InstanceId, NetworkHealth, NetworkStatus};
use std::sync::Arc;

/// Leases that one host may have: more addresses than a host can run tasks.
const MAX_LEASES: usize = 16;

/// Takes what an agent says of its part of the network, and gives it more addresses when it has few left.
pub(crate) struct TakeNetworkStatus {
    pub(crate) instance: InstanceId,
    pub(crate) session: SessionId,
    pub(crate) status: NetworkStatus,
}

impl TakeNetworkStatus {
    /// What of a status others look at, the last whether it has fewer than `few` addresses. Statuses that do not differ
    /// in it need not be taken.
    pub(crate) fn gist(status: &NetworkStatus, few: u32) -> (&NetworkHealth, bool, bool) {
        (&status.health, status.free_addresses == 0, status.free_addresses < few)
    }
}

impl Command for TakeNetworkStatus {
    const NAME: &'static str = "TakeNetworkStatus";
    type Reply = ();
    type Error = SessionError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), SessionError> {
        let Self { instance, session, status } = self;
        let host = in_session(tx.state(), instance, session)?;
        // Of its leases it counts only what it had in force when it counted.
        let counted = status.applied > host.leased_after && status.health == NetworkHealth::Ready;
        let few = tx.state().few_addresses();
        let more = host
            .leases
            .clone()
            .filter(|leases| counted && status.free_addresses < few && leases.indexes.len() < MAX_LEASES);
        tx.change(Change::NetworkStatus(instance, Arc::new(status)));
        if let Some(leases) = more {
            add_lease(tx, &leases);
        }
        Ok(())
    }
}

/// Gives a host another lease when tasks that were placed on it leave few addresses. Its agent would ask for it only
/// once it has begun to start them, and until then placement would find no address.
pub(crate) fn lease_ahead(tx: &mut Tx<'_>, instance: InstanceId) {
    let Some(host) = tx.state().host(instance) else { return };
    let left = u64::from(host.view.interfaces).saturating_sub(host.view.usage.interfaces());
    let few = host.view.interfaces > 0 && left < u64::from(tx.state().few_addresses());
    if let Some(leases) = host.leases.clone().filter(|leases| few && leases.indexes.len() < MAX_LEASES) {
        add_lease(tx, &leases);
    }
}

fn add_lease(tx: &mut Tx<'_>, leases: &HostLeases) {
    let instance = leases.instance;
    match tx.state().free_lease() {
        Some(index) => {
            let indexes = leases.indexes.iter().copied().chain([index]).collect();
            tracing::info!(%instance, index, "a host gets one more range of addresses");
            give(tx, index, HostLeases { indexes, ..leases.clone() });
        }
        None => tracing::warn!(%instance, "a host has few addresses left, and no range is free for it"),
    }
}

/// Gives the lease of that number to the host whose leases these are then.
fn give(tx: &mut Tx<'_>, index: u16, leases: HostLeases) {
    if let Some(network) = tx.state().network() {
        tx.change(Change::Network(Arc::new(Network { last_lease: Some(index), ..(**network).clone() })));
    }
    tx.change(Change::Leases(Arc::new(leases)));
}

/// Gives a connected host its first lease, if it can use one and there is one.
pub(crate) fn grant_lease(tx: &mut Tx<'_>, instance: InstanceId) {
    let state = tx.state();
    let Some(host) = state.host(instance) else { return };
    let record = &host.record;
    let wants = record.status.is_registered() && record.is_connected() && wants_lease(record);
    if !wants || host.leases.is_some() {
        return;
    }
    if let Some(holder) = state.underlay_holder(host) {
        tracing::warn!(%instance, %holder, "a host gets no addresses: another has its underlay address");
        return;
    }
    match state.free_lease() {
        Some(index) => {
            tracing::info!(%instance, index, "a host gets a range of addresses");
            let since = tx.now;
            give(tx, index, HostLeases { instance, indexes: vec![index], since });
        }
        None => tracing::warn!(%instance, "a host gets no addresses: all ranges of the network are given"),
    }
}

/// Takes back what a host that leaves has, and gives it to hosts that wait for a lease.
pub(crate) fn free_leases(tx: &mut Tx<'_>, instance: InstanceId) {
    if tx.state().host(instance).is_some_and(|host| host.leases.is_some()) {
        tx.change(Change::ForgetLeases(instance));
    }
    let waiting: Vec<InstanceId> = tx.state().waiting_for_lease().collect();
    for instance in waiting {
        grant_lease(tx, instance);
    }
}
