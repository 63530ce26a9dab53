//! A host as placement sees it: what it offers, and what tasks hold of it.

use crate::attributes::Attributes;
use crate::claim::Claim;
use longshore_model::{DiskStatus, HostFacts, InstanceId, Timestamp};
use sha2::{Digest, Sha256};
use smallvec::SmallVec;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Whether a container instance takes tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HostStatus {
    /// It does.
    Active,
    /// It keeps what it has and takes nothing new.
    Draining,
    /// It is deregistered.
    Inactive,
}

impl HostStatus {
    /// The text that the ECS API carries.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Inactive => "INACTIVE",
        }
    }
}

/// One host. Cheap to clone: the offer is shared and the usage is small.
#[derive(Debug, Clone)]
pub struct Host {
    /// The container instance.
    pub id: InstanceId,
    /// Whether it takes tasks.
    pub status: HostStatus,
    /// Whether its agent is connected.
    pub connected: bool,
    /// What it offers; changes when the agent registers again or an attribute is put.
    pub offer: Arc<Offer>,
    /// What tasks hold of it.
    pub usage: Usage,
    /// Tasks that are RUNNING; only asked for by `runningTasksCount`.
    pub running_tasks: u32,
    /// Tasks placed and not yet RUNNING.
    pub pending_tasks: u32,
    /// Interfaces that its tasks can have, held ones included; 0 while it can make none.
    pub interfaces: u32,
    /// What its agent said last of its disk; absent when it did not yet.
    pub disk: Option<Disk>,
}

/// What a host said of its disk, and what its tasks held of it then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    status: Arc<DiskStatus>,
    held_mib: u64,
    /// Two things of the status, where no look at every host has to go and fetch it.
    free_mib: u64,
    is_short: bool,
}

impl Disk {
    /// `held_mib` are the MiB that tasks held when the host said so. What was taken since is not in its number.
    #[must_use]
    pub fn new(status: Arc<DiskStatus>, held_mib: u64) -> Self {
        Self { free_mib: status.free_mib.into(), is_short: status.short.is_some(), status, held_mib }
    }

    /// What the host said.
    #[must_use]
    pub const fn status(&self) -> &Arc<DiskStatus> {
        &self.status
    }

    /// Whether it is too short for any task.
    #[must_use]
    pub const fn is_short(&self) -> bool {
        self.is_short
    }
}

/// What a host offers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offer {
    /// CPU units that tasks may hold.
    pub cpu_units: u32,
    /// MiB that tasks may hold.
    pub memory_mib: u32,
    /// MiB of disk that tasks may hold; 0 when the host does not say.
    pub disk_mib: u32,
    /// TCP host ports that no task may have.
    pub reserved_tcp: BTreeSet<u16>,
    /// UDP host ports that no task may have.
    pub reserved_udp: BTreeSet<u16>,
    /// Ids of the GPUs.
    pub gpu_ids: Vec<String>,
    /// Built-in and custom attributes, and capabilities. Hosts that have the same may share them.
    pub attributes: Arc<Attributes>,
    /// `ec2InstanceId` of the query language: the host's own name.
    pub hostname: String,
    /// `agentVersion` of the query language.
    pub agent_version: String,
    /// `registeredAt` of the query language.
    pub registered_at: Timestamp,
}

impl Offer {
    /// The offer of a host that registered `facts`. `attributes` are those of the facts and, on top of them, those that
    /// were put on it by the API.
    #[must_use]
    pub fn new(facts: &HostFacts, attributes: Arc<Attributes>, registered_at: Timestamp) -> Self {
        Self {
            cpu_units: facts.resources.cpu_units,
            memory_mib: facts.resources.memory_mib,
            disk_mib: facts.resources.disk_mib,
            reserved_tcp: facts.resources.reserved_tcp.clone(),
            reserved_udp: facts.resources.reserved_udp.clone(),
            gpu_ids: facts.resources.gpu_ids.clone(),
            attributes,
            hostname: facts.hostname.clone(),
            agent_version: facts.versions.agent.clone(),
            registered_at,
        }
    }
}

/// What one task holds, for [`Usage::take`] and [`Usage::release`].
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    /// The resources.
    pub claim: &'a Claim,
    /// The GPUs it was given.
    pub gpu_ids: &'a [String],
    /// The task's group.
    pub group: &'a str,
}

/// The sum of what tasks hold of one host. Kept by the caller, changed only by [`Usage::take`] and
/// [`Usage::release`]; takes exactly back what was given, in any order.
///
/// Nothing is refused here: a host may come back with less than its tasks hold, and what runs, runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    cpu_units: u64,
    memory_mib: u64,
    disk_mib: u64,
    /// Sorted; a port twice when two tasks hold it, so that releasing one leaves the other.
    tcp: Vec<u16>,
    udp: Vec<u16>,
    /// Sorted; as for ports.
    gpu_ids: Vec<String>,
    interfaces: u64,
    /// Tasks of each group that has any, by its key, sorted. With the other numbers, since a look at every host is
    /// mostly waiting for memory.
    groups: SmallVec<[(GroupKey, u32); 2]>,
    /// The names, in the same order.
    group_names: Vec<Arc<str>>,
}

/// Stands for a group's name: half of its SHA-256. Nobody finds two names of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupKey([u64; 2]);

impl GroupKey {
    pub(crate) fn new(name: &str) -> Self {
        let digest = Sha256::digest(name);
        let word = |at: usize| digest[at..at + 8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        Self([word(0), word(8)])
    }
}

impl Usage {
    /// Adds what a task holds.
    pub fn take(&mut self, held: Held<'_>) {
        self.cpu_units += u64::from(held.claim.cpu_units);
        self.memory_mib += u64::from(held.claim.memory_mib);
        self.disk_mib += u64::from(held.claim.disk_mib);
        held.claim.tcp.iter().for_each(|port| insert(&mut self.tcp, *port));
        held.claim.udp.iter().for_each(|port| insert(&mut self.udp, *port));
        held.gpu_ids.iter().for_each(|id| insert(&mut self.gpu_ids, id.clone()));
        self.interfaces += u64::from(held.claim.interfaces);
        let key = GroupKey::new(held.group);
        match self.find_group(key) {
            Ok(at) => self.groups[at].1 += 1,
            Err(at) => {
                self.groups.insert(at, (key, 1));
                self.group_names.insert(at, held.group.into());
            }
        }
    }

    /// Takes away what a task held. What is not there is left out of the sum, never below zero.
    pub fn release(&mut self, held: Held<'_>) {
        self.cpu_units = self.cpu_units.saturating_sub(u64::from(held.claim.cpu_units));
        self.memory_mib = self.memory_mib.saturating_sub(u64::from(held.claim.memory_mib));
        self.disk_mib = self.disk_mib.saturating_sub(u64::from(held.claim.disk_mib));
        held.claim.tcp.iter().for_each(|port| remove(&mut self.tcp, port));
        held.claim.udp.iter().for_each(|port| remove(&mut self.udp, port));
        held.gpu_ids.iter().for_each(|id| remove(&mut self.gpu_ids, id));
        self.interfaces = self.interfaces.saturating_sub(u64::from(held.claim.interfaces));
        if let Ok(at) = self.find_group(GroupKey::new(held.group)) {
            self.groups[at].1 -= 1;
            if self.groups[at].1 == 0 {
                self.groups.remove(at);
                self.group_names.remove(at);
            }
        }
    }

    /// Where the group is, or where it belongs.
    fn find_group(&self, key: GroupKey) -> Result<usize, usize> {
        self.groups.binary_search_by_key(&key, |(key, _)| *key)
    }

    /// CPU units held.
    #[must_use]
    pub const fn cpu_units(&self) -> u64 {
        self.cpu_units
    }

    /// MiB held.
    #[must_use]
    pub const fn memory_mib(&self) -> u64 {
        self.memory_mib
    }

    /// MiB of disk held.
    #[must_use]
    pub const fn disk_mib(&self) -> u64 {
        self.disk_mib
    }

    /// Fixed TCP ports held, in order.
    #[must_use]
    pub fn tcp(&self) -> &[u16] {
        &self.tcp
    }

    /// Fixed UDP ports held, in order.
    #[must_use]
    pub fn udp(&self) -> &[u16] {
        &self.udp
    }

    /// GPUs held, in order.
    #[must_use]
    pub fn gpu_ids(&self) -> &[String] {
        &self.gpu_ids
    }

    /// Interfaces held.
    #[must_use]
    pub const fn interfaces(&self) -> u64 {
        self.interfaces
    }

    /// Tasks of this group.
    #[must_use]
    pub fn group_count(&self, group: &str) -> u32 {
        self.group_count_of(GroupKey::new(group))
    }

    /// As [`Usage::group_count`] for a caller that asks many hosts for one group.
    pub(crate) fn group_count_of(&self, key: GroupKey) -> u32 {
        self.find_group(key).map_or(0, |at| self.groups[at].1)
    }

    /// The groups that have a task here, and how many; in no order that means anything.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&str, u32)> {
        self.group_names.iter().zip(&self.groups).map(|(name, (_, count))| (&**name, *count))
    }

    /// Whether no task holds anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

impl Host {
    /// One of each group of numbers that lie together, summed up. Means nothing; whoever asks has them at hand then.
    pub(crate) fn numbers(&self) -> u64 {
        let Usage { cpu_units, interfaces, groups, .. } = &self.usage;
        let of_group = groups.first().map_or(0, |(_, count)| u64::from(*count));
        let of_disk = self.disk.as_ref().map_or(0, |disk| disk.free_mib);
        let offered = u64::from(self.offer.cpu_units).wrapping_add(u64::from(self.interfaces));
        offered.wrapping_add(*cpu_units).wrapping_add(*interfaces).wrapping_add(of_group).wrapping_add(of_disk)
    }

    /// CPU units free; 0 when more is held than offered.
    #[must_use]
    pub fn free_cpu_units(&self) -> u64 {
        u64::from(self.offer.cpu_units).saturating_sub(self.usage.cpu_units)
    }

    /// MiB free; 0 when more is held than offered.
    #[must_use]
    pub fn free_memory_mib(&self) -> u64 {
        u64::from(self.offer.memory_mib).saturating_sub(self.usage.memory_mib)
    }
}

impl Host {
    /// MiB of disk free: what no task holds, and no more than what the host last said, less what was taken since.
    #[must_use]
    pub fn free_disk_mib(&self) -> u64 {
        self.free_disk_mib_with(&self.usage)
    }

    /// As [`Host::free_disk_mib`], with another usage.
    pub(crate) fn free_disk_mib_with(&self, usage: &Usage) -> u64 {
        let unheld = u64::from(self.offer.disk_mib).saturating_sub(usage.disk_mib);
        match &self.disk {
            None => unheld,
            Some(disk) => {
                let since = usage.disk_mib.saturating_sub(disk.held_mib);
                unheld.min(disk.free_mib.saturating_sub(since))
            }
        }
    }
}

fn insert<T: Ord>(sorted: &mut Vec<T>, item: T) {
    let at = sorted.partition_point(|other| *other < item);
    sorted.insert(at, item);
}

fn remove<T: Ord>(sorted: &mut Vec<T>, item: &T) {
    if let Ok(at) = sorted.binary_search(item) {
        sorted.remove(at);
    }
}
