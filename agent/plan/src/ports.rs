//! Who has which host port. Claims outlive the containers that publish the ports by nothing, and begin before them.

use crate::record::{ResourceKind, ResourcePhase};
use crate::task::Task;
use longshore_model::{ContainerName, HostPort, PortMapping, Protocol, TaskId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// A port of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortKey {
    /// The protocol.
    pub protocol: Protocol,
    /// The number.
    pub port: u16,
}

impl std::fmt::Display for PortKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

/// A container port with the host port that it was given, or a range of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedPort {
    /// The port inside the container, the first of a range.
    pub container_port: u16,
    /// The port on the host, the first of a range.
    pub host_port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// Whether the agent chose the host port, and may choose another.
    pub dynamic: bool,
    /// How many ports: 1, or more for a range.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u16,
}

const fn one() -> u16 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_one(count: &u16) -> bool {
    *count == 1
}

impl ResolvedPort {
    /// The host's side.
    pub fn keys(&self) -> impl Iterator<Item = PortKey> + use<> {
        keys(self.protocol, self.host_port, self.count)
    }
}

/// `count` ports from `first` on.
pub fn keys(protocol: Protocol, first: u16, count: u16) -> impl Iterator<Item = PortKey> {
    (first..=first.saturating_add(count.saturating_sub(1))).map(move |port| PortKey { protocol, port })
}

/// The host ports that tasks have. One task may have one port once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortClaims {
    held: BTreeMap<PortKey, TaskId>,
}

impl PortClaims {
    /// Who has `port`.
    #[must_use]
    pub fn holder(&self, port: PortKey) -> Option<TaskId> {
        self.held.get(&port).copied()
    }

    /// Gives `port` to `task`.
    ///
    /// # Errors
    /// The task that has it.
    pub fn claim(&mut self, port: PortKey, task: TaskId) -> Result<(), TaskId> {
        match self.held.entry(port) {
            Entry::Occupied(held) if *held.get() == task => Ok(()),
            Entry::Occupied(held) => Err(*held.get()),
            Entry::Vacant(free) => {
                free.insert(task);
                Ok(())
            }
        }
    }

    /// Takes `port` back, if `task` has it.
    pub fn release(&mut self, port: PortKey, task: TaskId) {
        if let Entry::Occupied(held) = self.held.entry(port)
            && *held.get() == task
        {
            held.remove();
        }
    }

    /// Makes `ports` all that `task` has. A port that another task has is left to it, and its container's start will
    /// fail; says whether any port became free.
    pub fn sync(&mut self, task: TaskId, ports: &[PortKey]) -> bool {
        let before = self.held.len();
        self.held.retain(|port, holder| *holder != task || ports.contains(port));
        let freed = self.held.len() != before;
        for port in ports {
            self.held.entry(*port).or_insert(task);
        }
        freed
    }

    /// Takes back every port of `task`; says whether there was any.
    pub fn release_all(&mut self, task: TaskId) -> bool {
        let before = self.held.len();
        self.held.retain(|_, holder| *holder != task);
        self.held.len() != before
    }

    /// How many ports are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether no port is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The first fixed port among `wanted` that another task than `task` has, and which task.
    pub(crate) fn conflict<'a>(
        &self,
        task: TaskId,
        wanted: impl Iterator<Item = &'a longshore_model::PortMapping>,
    ) -> Option<(PortKey, TaskId)> {
        wanted
            .filter_map(|mapping| match mapping.host_port {
                HostPort::Fixed(port) => Some(keys(mapping.protocol, port, mapping.count)),
                HostPort::Dynamic => None,
            })
            .flatten()
            .find_map(|key| self.holder(key).filter(|holder| *holder != task).map(|holder| (key, holder)))
    }
}

impl Task {
    /// The host ports that are the task's own now; none once they are returned.
    #[must_use]
    pub fn held_ports(&self) -> Vec<PortKey> {
        let gone =
            self.record.resources.iter().all(|r| r.kind != ResourceKind::Ports || r.phase == ResourcePhase::Gone);
        if gone {
            Vec::new()
        } else {
            self.record.containers.iter().flat_map(|c| &c.ports).flat_map(ResolvedPort::keys).collect()
        }
    }

    /// Every container's ports: those that it has already, and the others as `choose` gives them, which says the first
    /// host port of a range.
    ///
    /// # Errors
    /// The first of `choose`.
    pub fn resolve_ports<E>(
        &self,
        mut choose: impl FnMut(PortMapping) -> Result<u16, E>,
    ) -> Result<Vec<ContainerPorts>, E> {
        let mut all = Vec::new();
        for (outline, record) in self.outline.containers.iter().zip(&self.record.containers) {
            let mut ports = Vec::new();
            for mapping in &outline.ports {
                // The same container port may be published on several fixed ones.
                let same = |p: &&ResolvedPort| {
                    p.container_port == mapping.container_port
                        && p.protocol == mapping.protocol
                        && p.count == mapping.count
                        && match mapping.host_port {
                            HostPort::Dynamic => p.dynamic,
                            HostPort::Fixed(port) => p.host_port == port,
                        }
                };
                let had = record.ports.iter().find(same);
                ports.push(match had {
                    Some(port) => *port,
                    None => ResolvedPort {
                        container_port: mapping.container_port,
                        host_port: choose(*mapping)?,
                        protocol: mapping.protocol,
                        dynamic: mapping.host_port == HostPort::Dynamic,
                        count: mapping.count,
                    },
                });
            }
            all.push((outline.name.clone(), ports));
        }
        Ok(all)
    }
}

/// What a container was given.
pub type ContainerPorts = (ContainerName, Vec<ResolvedPort>);
