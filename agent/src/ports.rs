//! Host ports: which task has which, and the sockets that keep chosen ones free until Docker has them.
//!
//! Owns the claims of this agent's tasks and the choice of dynamic ports. Never opens a port to anybody: a held port
//! is bound and does not listen. Called by the engine's reconciler alone; nothing here waits.
//!
//! # How a port is held
//! TCP: a socket bound with `SO_REUSEADDR` and never listening. Linux lets another socket with `SO_REUSEADDR` bind the
//! same port as long as none listens, and that is what Docker's proxy does; everybody who does not set the option, and
//! the kernel when it picks a port for an outgoing connection, is kept out. The hold is dropped once the container has
//! started. UDP has no listening state, so two sockets with the option could both receive: a UDP hold is bound without
//! it and dropped just before the start. A port that is lost in that moment, or to another program that sets
//! `SO_REUSEADDR`, shows as a failed start, and the plan makes the container again on another.

use crate::config::PortRange;
use longshore_model::{HostPort, Protocol, TaskId};
use longshore_plan::ports::{ContainerPorts, keys};
use longshore_plan::{Failure, PortClaims, PortKey, ResolvedPort, Task};
use socket2::{Domain, Socket, Type};
use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Keeps a port free until it is dropped.
pub type Hold = Box<dyn Any + Send>;

/// Keeps ports free on a host.
pub trait HoldPorts: fmt::Debug + Send {
    /// Keeps a port from everybody but Docker.
    ///
    /// # Errors
    /// When a program on the host has it.
    fn hold(&self, key: PortKey) -> std::io::Result<Hold>;
}

/// This host, by sockets of this process.
#[derive(Debug, Clone, Copy, Default)]
struct Sockets;

impl HoldPorts for Sockets {
    fn hold(&self, key: PortKey) -> std::io::Result<Hold> {
        hold(key).map(|socket| Box::new(socket) as Hold)
    }
}

/// The host's ports, as far as tasks use them.
#[derive(Debug)]
pub struct Ports {
    claims: PortClaims,
    holder: Box<dyn HoldPorts>,
    holds: HashMap<PortKey, Hold>,
    range: PortRange,
    reserved: BTreeSet<PortKey>,
    /// Where the next search begins: ports are used in turn, so that one which was just returned rests a while.
    next: u16,
}

impl Ports {
    /// Ports for tasks: dynamic ones from `range`, none of `reserved`.
    #[must_use]
    pub fn new(range: PortRange, reserved: BTreeSet<PortKey>) -> Self {
        Self::held_by(Box::new(Sockets), range, reserved)
    }

    /// The same on a host that `holder` knows.
    #[must_use]
    pub fn held_by(holder: Box<dyn HoldPorts>, range: PortRange, reserved: BTreeSet<PortKey>) -> Self {
        Self { claims: PortClaims::default(), holder, holds: HashMap::new(), range, reserved, next: range.first }
    }

    /// Who has which.
    #[must_use]
    pub fn claims(&self) -> &PortClaims {
        &self.claims
    }

    /// Gives the task every port that it asks for and has not yet.
    ///
    /// # Errors
    /// When another task has a fixed one, or no dynamic one is free. What was given by then is taken back by the next
    /// [`Ports::sync`].
    pub fn give(&mut self, task: &Task) -> Result<Vec<ContainerPorts>, Failure> {
        let id = task.record.id;
        task.resolve_ports(|mapping| match mapping.host_port {
            HostPort::Fixed(port) => {
                for key in keys(mapping.protocol, port, mapping.count) {
                    let held = |holder| Failure::Passing(format!("host port {key} is still task {holder}'s"));
                    self.claims.claim(key, id).map_err(held)?;
                }
                Ok(port)
            }
            HostPort::Dynamic => self.choose(id, mapping.protocol, mapping.count),
        })
    }

    /// Brings the claims in line with what the task's record says that it has; says whether a port became free.
    pub fn sync(&mut self, task: &Task) -> bool {
        let freed = self.claims.sync(task.record.id, &task.held_ports());
        if freed {
            self.drop_unclaimed_holds();
        }
        freed
    }

    /// The task is forgotten.
    pub fn forget(&mut self, task: TaskId) -> bool {
        let freed = self.claims.release_all(task);
        self.drop_unclaimed_holds();
        freed
    }

    /// A container with these ports is about to start: Docker could not bind a held UDP port.
    pub fn about_to_start(&mut self, ports: &[ResolvedPort]) {
        let udp = ports.iter().filter(|p| p.protocol == Protocol::Udp);
        udp.flat_map(ResolvedPort::keys).for_each(|key| _ = self.holds.remove(&key));
    }

    /// A container with these ports has started: Docker has them.
    pub fn started(&mut self, ports: &[ResolvedPort]) {
        ports.iter().flat_map(ResolvedPort::keys).for_each(|key| _ = self.holds.remove(&key));
    }

    /// How many ports are held by a socket of ours.
    #[must_use]
    pub fn held(&self) -> usize {
        self.holds.len()
    }

    /// The first of `count` ports in a row that nobody has.
    fn choose(&mut self, task: TaskId, protocol: Protocol, count: u16) -> Result<u16, Failure> {
        let PortRange { first, last } = self.range;
        let size = u32::from(last - first) + 1;
        let start = u32::from(self.next.clamp(first, last) - first);
        // Where the next row may begin, and what is held of the row that is being looked at.
        let (mut row, mut held) = (first, Vec::new());
        for offset in 0..size + u32::from(count) - 1 {
            let port = first + u16::try_from((start + offset) % size).expect("below the range's size, a u16");
            let key = PortKey { protocol, port };
            if port == first || held.is_empty() {
                (row, held) = (port, Vec::new());
            }
            let taken = self.claims.holder(key).is_some() || self.reserved.contains(&key);
            // Or in use by a program that is not a task.
            let Some(socket) = Some(key).filter(|_| !taken).and_then(|key| self.holder.hold(key).ok()) else {
                held.clear();
                continue;
            };
            held.push((key, socket));
            if held.len() < usize::from(count) {
                continue;
            }
            for (key, socket) in held {
                self.claims.claim(key, task).expect("nobody has it: asked above");
                self.holds.insert(key, socket);
            }
            self.next = if port == last { first } else { port + 1 };
            return Ok(row);
        }
        let what = match count {
            1 => format!("no free {protocol} port"),
            _ => format!("no {count} free {protocol} ports in a row"),
        };
        Err(Failure::Passing(format!("{what} in the range {}", self.range)))
    }

    fn drop_unclaimed_holds(&mut self) {
        let claims = &self.claims;
        self.holds.retain(|key, _| claims.holder(*key).is_some());
    }
}

/// Where the range overlaps the one that the kernel picks ports of outgoing connections from, takes it out of that. A
/// host that does not let us (a container without the right) is warned of: a start may then find its port taken and is
/// made again.
pub fn keep_outgoing_connections_out(range: PortRange) {
    const EPHEMERAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";
    let overlaps = std::fs::read_to_string(EPHEMERAL).is_ok_and(|text| overlap(&text, range));
    if !overlaps {
        return;
    }
    match longshore_net::reserve_local_ports(&(range.first..=range.last)) {
        Ok(changed) => tracing::info!(%range, changed, "dynamic host ports are kept from outgoing connections"),
        Err(error) => {
            let error = crate::engine::docker::chain(&error);
            tracing::warn!(%range, error, "outgoing connections may take dynamic host ports; choose another range");
        }
    }
}

/// `text` is two ports, as the kernel writes them.
fn overlap(text: &str, range: PortRange) -> bool {
    let mut numbers = text.split_whitespace().filter_map(|n| n.parse::<u16>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(first), Some(last)) => first <= range.last && range.first <= last,
        (_, _) => false,
    }
}

fn hold(key: PortKey) -> std::io::Result<Socket> {
    let (kind, reuse) = match key.protocol {
        Protocol::Tcp => (Type::STREAM, true),
        Protocol::Udp => (Type::DGRAM, false),
    };
    let socket = Socket::new(Domain::IPV4, kind, None)?;
    socket.set_reuse_address(reuse)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, key.port).into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests;
