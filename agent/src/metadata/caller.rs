//! Who is behind a request: by the id that it names and by where it comes from. Pure.

use super::details::Seen;
use crate::engine::{TaskView, TaskViews};
use longshore_model::NetworkMode;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// By which of our sockets a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// The host's namespace: containers on its bridge, processes on its own network.
    Host,
    /// The fabric: tasks with an address of their own, which the firewall there holds to it.
    Fabric,
}

/// A container that asks.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) view: Arc<TaskView>,
    /// Its position in the task.
    pub(super) index: usize,
}

impl Caller {
    pub(super) fn runtime_id(&self) -> Option<&str> {
        self.view.record.containers[self.index].phase.id()
    }
}

/// Whether a request with the id of a container of `view` may come this way. What only the container engine knows is
/// the address of a container on its bridge: while that is unknown, the id alone counts there.
pub(super) fn may_come_from(view: &TaskView, seen: Option<&Seen>, door: Door, peer: IpAddr) -> bool {
    let is = |address: Option<Ipv4Addr>| address.map(IpAddr::V4) == Some(peer);
    match (view.outline.network_mode, door) {
        (NetworkMode::Awsvpc, Door::Fabric) => is(view.address()),
        (NetworkMode::Bridge, Door::Host) => match seen.and_then(|seen| seen.address) {
            Some(address) => is(Some(address)),
            None => true,
        },
        (NetworkMode::Host, Door::Host) => true,
        (NetworkMode::Awsvpc, Door::Host)
        | (NetworkMode::Bridge | NetworkMode::Host, Door::Fabric)
        | (NetworkMode::None, _) => false,
    }
}

/// The task whose own address this is.
pub(super) fn by_address(views: &TaskViews, door: Door, peer: IpAddr) -> Option<Arc<TaskView>> {
    match door {
        Door::Fabric => views.values().find(|view| view.address().map(IpAddr::V4) == Some(peer)).cloned(),
        // Addresses on the host's bridge change hands.
        Door::Host => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::{address, seen, view};

    #[test]
    fn an_id_counts_only_where_its_container_is() {
        let own = IpAddr::V4(address());
        let other: IpAddr = "10.77.1.12".parse().expect("an address");
        let known = seen(Some(address()));
        let check = |mode, door, peer, seen: Option<&Seen>, expected| {
            assert_eq!(may_come_from(&view(mode), seen, door, peer), expected, "{mode:?} {door:?} {peer}");
        };
        check(NetworkMode::Awsvpc, Door::Fabric, own, None, true);
        check(NetworkMode::Awsvpc, Door::Fabric, other, None, false);
        check(NetworkMode::Awsvpc, Door::Host, own, None, false);
        check(NetworkMode::Bridge, Door::Host, own, Some(&known), true);
        check(NetworkMode::Bridge, Door::Host, other, Some(&known), false);
        check(NetworkMode::Bridge, Door::Host, other, Some(&seen(None)), true);
        check(NetworkMode::Bridge, Door::Host, other, None, true);
        check(NetworkMode::Bridge, Door::Fabric, own, None, false);
        check(NetworkMode::Host, Door::Host, other, None, true);
        check(NetworkMode::Host, Door::Fabric, own, None, false);
        check(NetworkMode::None, Door::Host, own, None, false);
    }

    #[test]
    fn an_address_is_its_tasks_until_it_is_returned() {
        use longshore_plan::ResourcePhase;
        let mut task = view(NetworkMode::Awsvpc);
        let id = task.record.id;
        let find = |task: &TaskView, door, peer: IpAddr| {
            let views: TaskViews = [(id, Arc::new(task.clone()))].into();
            by_address(&views, door, peer).map(|view| view.record.id)
        };
        let own = IpAddr::V4(address());
        assert_eq!(find(&task, Door::Fabric, own), Some(id));
        assert_eq!(find(&task, Door::Host, own), None);
        assert_eq!(find(&task, Door::Fabric, "10.77.1.12".parse().expect("an address")), None);
        for resource in &mut task.record.resources {
            resource.phase = ResourcePhase::Gone;
        }
        assert_eq!(find(&task, Door::Fabric, own), None);
    }
}
