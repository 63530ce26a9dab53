//! Interfaces that lost something: their end in the fabric is compared as a whole, their sandboxes a few at a time.

use super::sandbox::Wire;
use super::{FabricError, Inner, Repair, limits, lock};
use crate::names::{TASK_GATEWAY_MAC, TASK_LINK};
use crate::namespace::Namespace;
use crate::netlink::route::{self, Address, Link, Neighbour, Route};
use crate::netlink::tc::{self, Bucket};
use crate::netlink::{Family, NetlinkError, Request, Socket};
use crate::pin;
use longshore_model::network::{Bandwidth, EniId, Mac};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

/// What a request puts back.
type Todo = Vec<(Request, Repair)>;

/// What there is in the fabric, each kind listed once for all interfaces.
struct Outside {
    links: BTreeMap<String, Link>,
    routes: BTreeSet<Route>,
    neighbours: BTreeSet<Neighbour>,
    /// Listed when something is limited.
    buckets: BTreeMap<u32, (u32, Bucket)>,
}

impl Outside {
    fn list(socket: &mut Socket, limited: bool) -> Result<Self, NetlinkError> {
        Ok(Self {
            links: route::links(socket)?.into_iter().map(|link| (link.name.clone(), link)).collect(),
            routes: main_routes(socket)?.into_iter().filter(|k| k.ours).map(|k| k.route).collect(),
            neighbours: route::all_neighbours(socket)?.into_iter().collect(),
            buckets: if limited { tc::buckets(socket)? } else { BTreeMap::new() },
        })
    }
}

fn main_routes(socket: &mut Socket) -> Result<Vec<route::KnownRoute>, NetlinkError> {
    let mut routes = route::routes(socket)?;
    routes.retain(|known| known.main && !known.local);
    Ok(routes)
}

/// An error with its causes, on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// An end of a pair that is not as it was made.
fn end(link: &Link, mac: Mac, mtu: u16, name: &str) -> Todo {
    let mut todo = Todo::new();
    if link.mac != Some(mac) {
        todo.push((route::set_end(link.index, mac, mtu), Repair::Link(name.to_owned())));
    } else if link.mtu != mtu.into() {
        todo.push((route::set_mtu(link.index, mtu), Repair::Link(name.to_owned())));
    }
    if !link.up {
        todo.push((route::set_up(link.index), Repair::Link(name.to_owned())));
    }
    todo
}

impl Inner {
    /// Compares interfaces with what is there. The caller holds `editing`. What a sandbox lacks and cannot be given is
    /// said in the log: a task could make it so, and it is not the host that is at fault.
    pub(super) fn ensure_interfaces(&self, done: &mut Vec<Repair>) -> Result<(), FabricError> {
        let known = {
            let mut wired = lock(&self.wired);
            wired.begin();
            wired.list()
        };
        if known.is_empty() {
            return Ok(());
        }
        let limited = known.iter().any(|(_, limits)| *limits != Bandwidth::default());
        let there = Outside::list(&mut lock(&self.fabric_route), limited)
            .map_err(FabricError::netlink("list what tasks have in the fabric"))?;
        let mut trouble = Ok(());
        let mut suspects = BTreeSet::new();
        for (wire, limits) in &known {
            let link = there.links.get(&self.names().task_link(wire.eni)).filter(|l| l.kind.as_deref() == Some("veth"));
            match link {
                Some(link) => {
                    if !link.carrier {
                        suspects.insert(wire.eni);
                    }
                    let settled = self.ensure_outside(wire, link, &there, done);
                    trouble = trouble.and(settled.and_then(|()| self.ensure_limits(wire, *limits, link, &there, done)));
                }
                None => trouble = trouble.and(self.make_again(wire, *limits, done)),
            }
        }
        let turn = lock(&self.wired).turn(&suspects);
        for wire in turn {
            if let Some(link) = there.links.get(&self.names().task_link(wire.eni)) {
                self.ensure_inside(&wire, link, done);
            }
        }
        trouble
    }

    /// The fabric's end, the way to it and who is there.
    fn ensure_outside(
        &self,
        wire: &Wire,
        link: &Link,
        there: &Outside,
        done: &mut Vec<Repair>,
    ) -> Result<(), FabricError> {
        let mut todo = end(link, TASK_GATEWAY_MAC, self.config.network.mtu, &link.name);
        let named = link.alias.as_deref().and_then(|alias| self.names().eni_of_alias(alias));
        if named != Some(wire.eni) {
            let alias = self.names().alias(wire.eni, wire.ipv4, &wire.task);
            todo.push((route::set_alias(link.index, &alias), Repair::Link(link.name.clone())));
        }
        for route in wire.routes_outside(link.index).iter().filter(|route| !there.routes.contains(route)) {
            todo.push((route::replace_route(route), Repair::Route(format!("{} on {}", route.to, link.name))));
        }
        for neighbour in wire.neighbours_outside(link.index).iter().filter(|n| !there.neighbours.contains(n)) {
            let what = format!("{} on {}", neighbour.address, link.name);
            todo.push((route::add_neighbour(neighbour), Repair::Neighbour(what)));
        }
        let carried = carry_out(&mut lock(&self.fabric_route), todo, done);
        self.unless_gone(wire.eni, carried.map_err(FabricError::netlink(format!("put {} back", link.name))))
    }

    fn ensure_limits(
        &self,
        wire: &Wire,
        limits: Bandwidth,
        link: &Link,
        there: &Outside,
        done: &mut Vec<Repair>,
    ) -> Result<(), FabricError> {
        if limits == Bandwidth::default() {
            return Ok(());
        }
        let shaper = there.links.get(&self.names().shaper(wire.eni));
        let what = (limits, self.config.network.mtu);
        let in_force = limits::in_force(&mut lock(&self.fabric_route), what, (link, shaper), &there.buckets);
        let settled = match in_force.map_err(FabricError::netlink(format!("look at the limits of {}", link.name))) {
            Ok(true) => Ok(()),
            Ok(false) => self.limit_again(wire.eni, limits, done),
            Err(error) => Err(error),
        };
        self.unless_gone(wire.eni, settled)
    }

    fn limit_again(&self, eni: EniId, limits: Bandwidth, done: &mut Vec<Repair>) -> Result<(), FabricError> {
        self.set_limits(eni, limits).map_err(FabricError::Limits)?;
        done.push(Repair::Limits(self.names().task_link(eni)));
        Ok(())
    }

    /// An interface that goes meanwhile is no fault.
    fn unless_gone(&self, eni: EniId, result: Result<(), FabricError>) -> Result<(), FabricError> {
        if lock(&self.wired).has(eni) { result } else { Ok(()) }
    }

    /// A pair that is gone is made anew, and both its ends set up: connections of the task go on.
    fn make_again(&self, wire: &Wire, limits: Bandwidth, done: &mut Vec<Repair>) -> Result<(), FabricError> {
        let _one = lock(&self.mending);
        let eni = wire.eni;
        if !lock(&self.wired).may_mend(eni) {
            return Ok(());
        }
        let Some(sandbox) = self.sandbox_of(eni) else { return Ok(()) };
        if let Err(error) = self.wire(wire, &sandbox) {
            lock(&self.wired).lose(eni, format!("its link is gone: {}", chain(&error)));
            return Ok(());
        }
        done.push(Repair::Interface(self.names().task_link(eni)));
        if limits == Bandwidth::default() { Ok(()) } else { self.limit_again(eni, limits, done) }
    }

    /// The namespace of a sandbox, as long as its file is there.
    fn sandbox_of(&self, eni: EniId) -> Option<Namespace> {
        let file = self.names().sandbox_netns(eni);
        let sandbox = pin::pinned(&file);
        if sandbox.is_none() {
            let why = format!("the file of its sandbox's namespace, {}, is gone", file.display());
            lock(&self.wired).lose(eni, why);
        }
        sandbox
    }

    /// What the task sees. What it has beside that, or instead of it, is its own affair: it may have been allowed to.
    fn ensure_inside(&self, wire: &Wire, link: &Link, done: &mut Vec<Repair>) {
        let _one = lock(&self.mending);
        if !lock(&self.wired).has(wire.eni) {
            return;
        }
        let Some(sandbox) = self.sandbox_of(wire.eni) else { return };
        let mtu = self.config.network.mtu;
        let mut mended = Vec::new();
        let look = || -> Result<(), NetlinkError> {
            let mut socket = Socket::open(Family::Route)?;
            let todo = missing_inside(&mut socket, wire, link, mtu)?;
            if todo.is_empty() || !lock(&self.wired).may_mend(wire.eni) {
                return Ok(());
            }
            carry_out(&mut socket, todo, &mut mended)
        };
        let looked = match sandbox.visit(look) {
            Ok(looked) => looked.map_err(|error| chain(&error)),
            Err(error) => Err(chain(&error)),
        };
        if let Err(error) = looked {
            tracing::warn!(eni = %wire.eni, error, "could not put back what a sandbox lacks");
        }
        done.extend(mended);
    }
}

fn missing_inside(socket: &mut Socket, wire: &Wire, link: &Link, mtu: u16) -> Result<Todo, NetlinkError> {
    let inside = |what: &str| format!("{what} in the sandbox of {}", wire.eni);
    let links = route::links(socket)?;
    let ours = |l: &&Link| l.name == TASK_LINK && l.over == Some(link.index);
    // Renamed, or moved elsewhere: by the task.
    let Some(eth0) = links.iter().find(ours) else { return Ok(Todo::new()) };
    let mut todo = Todo::new();
    if let Some(lo) = links.iter().find(|l| l.name == "lo" && !l.up) {
        todo.push((route::set_up(lo.index), Repair::Link(inside("lo"))));
    }
    todo.extend(end(eth0, wire.mac, mtu, &inside(TASK_LINK)));
    let addresses = route::addresses(socket)?;
    for net in wire.addresses() {
        let address = Address { link: eth0.index, net };
        if !addresses.contains(&address) {
            todo.push((route::add_address(&address), Repair::Address(inside(&net.to_string()))));
        }
    }
    let neighbours = route::all_neighbours(socket)?;
    for neighbour in wire.neighbours_inside(eth0.index).iter().filter(|n| !neighbours.contains(n)) {
        let what = inside(&neighbour.address.to_string());
        todo.push((route::add_neighbour(neighbour), Repair::Neighbour(what)));
    }
    let routes: BTreeSet<ipnet::IpNet> = main_routes(socket)?.iter().map(|known| known.route.to).collect();
    for route in wire.routes_inside(eth0.index).iter().filter(|route| !routes.contains(&route.to)) {
        todo.push((route::add_route(route), Repair::Route(inside(&route.to.to_string()))));
    }
    Ok(todo)
}

/// Carries out what it can, and says what was done.
fn carry_out(socket: &mut Socket, todo: Todo, done: &mut Vec<Repair>) -> Result<(), NetlinkError> {
    let (requests, repairs): (Vec<Request>, Vec<Repair>) = todo.into_iter().unzip();
    let mut refused = Ok(());
    for (result, repair) in socket.try_all(&requests)?.into_iter().zip(repairs) {
        match result {
            Ok(()) if !done.contains(&repair) => done.push(repair),
            Ok(()) => {}
            Err(refusal) => refused = Err(NetlinkError::Refused(refusal)),
        }
    }
    refused
}
