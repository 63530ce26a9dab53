//! A container instance with what its tasks hold of it.

use crate::records::{HostLeases, Instance, InstanceStatus, Task};
use longshore_model::{Attribute, DiskStatus, Generation, GroupId, InstanceId, NetworkStatus, TaskId, TaskStatus};
use longshore_sched::{Attributes, Disk, Host, HostStatus, Offer, Usage};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An instance, its live tasks, and the sums that placement looks at.
#[derive(Debug, Clone)]
pub struct HostState {
    /// The record.
    pub record: Arc<Instance>,
    /// As placement sees it; its usage is the sum of `live`.
    pub view: Host,
    /// Tasks that are not stopped.
    pub live: BTreeSet<TaskId>,
    /// The revision at which what its agent should run changed last.
    pub generation: Generation,
    /// Its part of the task network, when it has one.
    pub leases: Option<Arc<HostLeases>>,
    /// The revision before the one at which its leases changed last. What its agent says of its network counts for
    /// them only when it has a later one in force.
    pub leased_after: Generation,
    /// What its agent said last of its part of the network, since this process began.
    pub network_status: Option<Arc<NetworkStatus>>,
    /// How many live tasks are in each security group.
    pub groups: BTreeMap<GroupId, u32>,
    /// Whether its agent had a session with this process.
    pub met: bool,
    /// Differs whenever anything that placement looks at does. Of this process only.
    pub epoch: u64,
}

impl HostState {
    pub(super) fn new(record: Arc<Instance>, attributes: Arc<Attributes>) -> Self {
        let view = Host {
            id: record.id,
            status: HostStatus::Inactive,
            connected: false,
            offer: Arc::new(Offer::new(&record.facts, Arc::clone(&attributes), record.registered_at)),
            usage: Usage::default(),
            running_tasks: 0,
            pending_tasks: 0,
            interfaces: 0,
            disk: None,
        };
        let mut host = Self {
            record: Arc::clone(&record),
            view,
            live: BTreeSet::new(),
            generation: Generation(0),
            leases: None,
            leased_after: Generation(0),
            network_status: None,
            groups: BTreeMap::new(),
            met: false,
            epoch: 0,
        };
        host.set_record(record, attributes);
        host
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> InstanceId {
        self.record.id
    }

    /// `attributes` are those of the record.
    pub(super) fn set_record(&mut self, record: Arc<Instance>, attributes: Arc<Attributes>) {
        self.view.status = match record.status {
            InstanceStatus::Active => HostStatus::Active,
            InstanceStatus::Draining => HostStatus::Draining,
            InstanceStatus::Inactive { .. } => HostStatus::Inactive,
        };
        self.view.connected = record.is_connected();
        if self.record.connection != record.connection {
            // A new session says it anew, if its agent looks at all.
            self.view.disk = None;
            // The records of a start are the first ones of their hosts, and no change.
            self.met |= record.is_connected();
        }
        if self.record.facts != record.facts || self.view.offer.attributes != attributes {
            self.view.offer = Arc::new(Offer::new(&record.facts, attributes, record.registered_at));
        }
        self.record = record;
        self.epoch += 1;
    }

    pub(super) fn set_disk(&mut self, status: Arc<DiskStatus>) {
        self.view.disk = Some(Disk::new(status, self.view.usage.disk_mib()));
        self.epoch += 1;
    }

    pub(super) fn add(&mut self, task: &Task) {
        self.live.insert(task.id);
        task.take(&mut self.view.usage);
        *self.counter(task.status) += 1;
        self.epoch += 1;
    }

    pub(super) fn remove(&mut self, task: &Task) {
        self.live.remove(&task.id);
        task.release(&mut self.view.usage);
        let counter = self.counter(task.status);
        *counter = counter.saturating_sub(1);
        self.epoch += 1;
    }

    fn counter(&mut self, status: TaskStatus) -> &mut u32 {
        if is_pending(status) { &mut self.view.pending_tasks } else { &mut self.view.running_tasks }
    }
}

/// A record's attributes as placement sees them: those that operators put hide the host's own of the same name.
pub(super) fn attributes(record: &Instance) -> Attributes {
    let custom =
        record.custom_attributes.iter().map(|(name, value)| Attribute { name: name.clone(), value: value.clone() });
    record.facts.attributes.iter().cloned().chain(custom).collect()
}

/// Whether a live task counts as pending; otherwise it counts as running, until it is stopped.
pub(super) const fn is_pending(status: TaskStatus) -> bool {
    match status {
        TaskStatus::Provisioning | TaskStatus::Pending | TaskStatus::Activating => true,
        TaskStatus::Running
        | TaskStatus::Deactivating
        | TaskStatus::Stopping
        | TaskStatus::Deprovisioning
        | TaskStatus::Stopped => false,
    }
}
