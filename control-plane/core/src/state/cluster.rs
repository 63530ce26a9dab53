//! A cluster with its instances and the counts that DescribeClusters shows.

use crate::records::{Cluster, Task};
use crate::state::host::{HostState, is_pending};
use imbl::{OrdMap, OrdSet};
use longshore_ecs_api::enums::LaunchType;
use longshore_model::{InstanceId, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// Live tasks of a cluster, by launch type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TaskCounts {
    /// EC2, and what is not one of the other two.
    pub ec2: u32,
    /// FARGATE.
    pub fargate: u32,
    /// EXTERNAL.
    pub external: u32,
}

impl TaskCounts {
    /// All of them.
    #[must_use]
    pub const fn total(self) -> u32 {
        self.ec2 + self.fargate + self.external
    }

    fn of(&mut self, launch_type: &LaunchType) -> &mut u32 {
        match launch_type {
            LaunchType::Fargate => &mut self.fargate,
            LaunchType::External => &mut self.external,
            LaunchType::Ec2 | LaunchType::ManagedInstances | LaunchType::Other(_) => &mut self.ec2,
        }
    }
}

/// Instances whose agents are not there, by when they fell silent.
pub(crate) type Silent = OrdSet<(Timestamp, InstanceId)>;

/// A cluster, its instances, and what they run.
#[derive(Debug, Clone)]
pub struct ClusterState {
    /// The record.
    pub record: Arc<Cluster>,
    /// Its instances, deregistered ones included while they are remembered.
    pub hosts: OrdMap<InstanceId, Arc<HostState>>,
    /// The instances that are ACTIVE or DRAINING, sorted: one of them can be drawn without looking at all. A copy for
    /// each that comes or goes, which is seldom.
    members: Arc<Vec<InstanceId>>,
    /// Registered instances whose agents are not there, by when they fell silent.
    pub silent: Silent,
    /// Tasks that run.
    pub running: TaskCounts,
    /// Tasks placed that do not run yet.
    pub pending: TaskCounts,
}

impl ClusterState {
    pub(super) fn new(record: Arc<Cluster>) -> Self {
        Self {
            record,
            hosts: OrdMap::new(),
            members: Arc::default(),
            silent: Silent::new(),
            running: TaskCounts::default(),
            pending: TaskCounts::default(),
        }
    }

    /// How many instances are ACTIVE or DRAINING.
    #[must_use]
    pub fn registered(&self) -> u32 {
        u32::try_from(self.members.len()).unwrap_or(u32::MAX)
    }

    /// The nth of them, in no order that means anything.
    #[must_use]
    pub fn member(&self, nth: usize) -> Option<&Arc<HostState>> {
        self.hosts.get(self.members.get(nth)?)
    }

    pub(super) fn set_member(&mut self, id: InstanceId, is_one: bool) {
        match self.members.binary_search(&id) {
            Ok(at) if !is_one => drop(Arc::make_mut(&mut self.members).remove(at)),
            Err(at) if is_one => Arc::make_mut(&mut self.members).insert(at, id),
            Ok(_) | Err(_) => {}
        }
    }

    /// How many registered instances fell silent within `distance` before or after `at`.
    #[must_use]
    pub fn silent_around(&self, at: Timestamp, distance: Duration) -> usize {
        let (first, last) = (InstanceId::from_bytes([0; 16]), InstanceId::from_bytes([255; 16]));
        let millis = i64::try_from(distance.as_millis()).unwrap_or(i64::MAX);
        self.silent.range((at.moved(-millis), first)..=(at.moved(millis), last)).count()
    }

    /// Tasks that are not stopped.
    #[must_use]
    pub const fn live_tasks(&self) -> u32 {
        self.running.total() + self.pending.total()
    }

    pub(super) fn count(&mut self, task: &Task) {
        *self.counter(task) += 1;
    }

    pub(super) fn uncount(&mut self, task: &Task) {
        let counter = self.counter(task);
        *counter = counter.saturating_sub(1);
    }

    fn counter(&mut self, task: &Task) -> &mut u32 {
        let counts = if is_pending(task.status) { &mut self.pending } else { &mut self.running };
        counts.of(&task.launch_type)
    }
}
