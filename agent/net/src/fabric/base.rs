//! The fabric without tasks: the namespace, the leg, the tunnel, settings and the two tables.
//!
//! Making it, taking it over and repairing it are the same: look, compare, put right.

use super::check::check_address;
use super::docker_user::{self, Admitted};
use super::survey::{Survey, check_range, survey};
use super::{FabricConfig, FabricError, Inner, Repair, lan, lock};
use crate::names::{FABRIC_LEG, FABRIC_LEG_MAC, GATEWAY, GATEWAY6, METADATA, RESOLVER, host_net, leg_mac};
use crate::namespace::Namespace;
use crate::netlink::route::{self, Address, End, Link, Neighbour, Route, Tunnel, Way};
use crate::netlink::{NetlinkError, Request, Socket};
use crate::nft::batch::{ChainInfo, Nft};
use crate::nft::{ProgramError, program, ruleset};
use crate::{pin, sysctl};
use ipnet::IpNet;
use longshore_model::network::{Lease, Mac, NetworkConfig, Overlay};
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

/// The host's end of the leg, as the fabric's IPv6 default gateway.
const LEG6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

/// Checks that leases are of the network.
pub(super) fn check_leases(network: &NetworkConfig, leases: &[Lease]) -> Result<(), FabricError> {
    if leases.is_empty() {
        return Err(FabricError::NoLease);
    }
    for lease in leases {
        if !network.v4.contains(&lease.v4) {
            return Err(FabricError::Lease { lease: lease.v4.into(), network: network.v4.into() });
        }
        if let (Some(network), Some(lease)) = (network.v6, lease.v6)
            && !network.contains(&lease)
        {
            return Err(FabricError::Lease { lease: lease.into(), network: network.into() });
        }
    }
    Ok(())
}

/// The addresses of a lease's leg, and those of the network.
struct Plan<'a> {
    config: &'a FabricConfig,
    leases: &'a [Lease],
    first: Lease,
    leg4: Ipv4Addr,
    leg6: Option<Ipv6Addr>,
}

impl Plan<'_> {
    /// Whether tasks of other hosts are reached by routes of the host.
    fn routed(&self) -> bool {
        match self.config.network.overlay {
            Overlay::Routes | Overlay::Lan => self.config.underlay.is_some(),
            Overlay::Vxlan { .. } => false,
        }
    }

    fn ranges(&self) -> Vec<IpNet> {
        let network = &self.config.network;
        [Some(network.v4.into()), network.v6.map(IpNet::from)].into_iter().flatten().collect()
    }

    fn own(&self) -> Vec<IpNet> {
        let v4 = self.leases.iter().map(|lease| IpNet::from(lease.v4));
        // Without a prefix of the network, those of leases mean nothing.
        let v6 = self.leases.iter().filter_map(|lease| self.config.network.v6.and(lease.v6)).map(IpNet::from);
        v4.chain(v6).collect()
    }

    /// Towards the fabric, from the host.
    fn host_routes(&self, leg: u32) -> Vec<Route> {
        let mut routes = vec![Route::on(host_net(GATEWAY.into()), leg)];
        let (inside, nowhere) = match self.config.network.overlay {
            Overlay::Routes if self.routed() => (self.own(), self.ranges()),
            // The rest of the range is on the host's network, like everything else there.
            Overlay::Lan => (self.own(), Vec::new()),
            Overlay::Vxlan { .. } | Overlay::Routes => (self.ranges(), Vec::new()),
        };
        for to in inside {
            let (via, source) = match to {
                IpNet::V4(_) => (IpAddr::V4(GATEWAY), Some(IpAddr::V4(self.leg4))),
                IpNet::V6(_) => (IpAddr::V6(GATEWAY6), self.leg6.map(IpAddr::V6)),
            };
            routes.push(Route { source, mtu: Some(self.config.network.mtu.into()), ..Route::via(to, leg, via) });
        }
        routes.extend(nowhere.into_iter().map(Route::unreachable));
        routes
    }

    /// Towards the host, from the fabric. What is of the network and of nobody must not go to the host, which would
    /// send it back.
    fn fabric_routes(&self, up: u32) -> Vec<Route> {
        let leg = IpAddr::V4(self.leg4);
        let mut routes = vec![Route::on(host_net(leg), up), Route::via(any(leg), up, leg)];
        if let Some(leg6) = self.leg6 {
            routes.push(Route::on(host_net(leg6.into()), up));
            routes.push(Route::via(any(leg6.into()), up, LEG6.into()));
        }
        let nowhere = if self.routed() { self.own() } else { self.ranges() };
        routes.extend(nowhere.into_iter().map(Route::unreachable));
        routes
    }
}

/// Everything of an address's family.
fn any(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(_) => IpNet::V4(ipnet::Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
    }
}

/// What led from what was there to what is wanted.
pub(super) struct Settled<'a> {
    pub(super) socket: &'a mut Socket,
    pub(super) done: &'a mut Vec<Repair>,
    /// Where, for people.
    pub(super) place: &'static str,
}

impl Settled<'_> {
    fn fail<'b>(&self, what: &'b str) -> impl FnOnce(NetlinkError) -> FabricError + use<'b> {
        FabricError::netlink(format!("{what} in the {}", self.place))
    }

    /// Carries removals and additions out; what is gone already may be.
    fn apply(&mut self, what: &str, removals: &[Request], additions: &[Request]) -> Result<(), FabricError> {
        for result in self.socket.try_all(removals).map_err(self.fail(what))? {
            match result {
                Err(r) if ![Errno::ESRCH, Errno::ENOENT, Errno::EADDRNOTAVAIL, Errno::ENODEV].contains(&r.errno) => {
                    return Err(FabricError::refused(format!("{what} in the {}", self.place), r));
                }
                _ => {}
            }
        }
        self.socket.all(additions).map_err(self.fail(what))
    }

    /// Makes the addresses of a link these, or more when `others` may be there.
    pub(super) fn addresses(&mut self, link: &Link, wanted: &[IpNet], others: bool) -> Result<(), FabricError> {
        let there = route::addresses(self.socket).map_err(self.fail("list addresses"))?;
        let there: BTreeSet<IpNet> = there.iter().filter(|a| a.link == link.index).map(|a| a.net).collect();
        let wanted: BTreeSet<IpNet> = wanted.iter().copied().collect();
        // Link-local addresses are the kernel's.
        let foreign = |net: &&IpNet| !matches!(net.addr(), IpAddr::V6(ip) if ip.is_unicast_link_local());
        let extra: Vec<IpNet> =
            if others { Vec::new() } else { there.difference(&wanted).filter(foreign).copied().collect() };
        let missing: Vec<IpNet> = wanted.difference(&there).copied().collect();
        let as_address = |net: &IpNet| Address { link: link.index, net: *net };
        let removals: Vec<Request> = extra.iter().map(|n| route::del_address(&as_address(n))).collect();
        let additions: Vec<Request> = missing.iter().map(|n| route::add_address(&as_address(n))).collect();
        self.apply("set addresses", &removals, &additions)?;
        self.done.extend(extra.iter().chain(&missing).map(|net| Repair::Address(format!("{net} of {}", link.name))));
        Ok(())
    }

    /// Makes those of our routes that `mine` picks these.
    fn routes(&mut self, wanted: &[Route], mine: impl Fn(&Route) -> bool) -> Result<(), FabricError> {
        let there = route::routes(self.socket).map_err(self.fail("list routes"))?;
        let there: BTreeSet<Route> =
            there.iter().filter(|k| k.ours && k.main && mine(&k.route)).map(|k| k.route).collect();
        let wanted: BTreeSet<Route> = wanted.iter().copied().collect();
        let removals: Vec<Request> = there.difference(&wanted).map(route::del_route).collect();
        let mut missing: Vec<&Route> = wanted.difference(&there).collect();
        // Gateways are reached by the narrower routes, which come first.
        missing.sort_by_key(|route| std::cmp::Reverse(route.to.prefix_len()));
        let additions: Vec<Request> = missing.iter().map(|route| route::add_route(route)).collect();
        self.apply("set routes", &removals, &additions)?;
        let changed =
            there.symmetric_difference(&wanted).map(|r| Repair::Route(format!("{} in the {}", r.to, self.place)));
        self.done.extend(changed);
        Ok(())
    }

    /// Makes the permanent neighbours of a link these.
    fn neighbours(&mut self, link: &Link, wanted: &[(IpAddr, Mac)]) -> Result<(), FabricError> {
        let there = route::neighbours(self.socket, link.index).map_err(self.fail("list neighbours"))?;
        let there: BTreeSet<Neighbour> = there.into_iter().collect();
        let wanted: BTreeSet<Neighbour> =
            wanted.iter().map(|(address, mac)| Neighbour { link: link.index, address: *address, mac: *mac }).collect();
        let addresses: BTreeSet<IpAddr> = wanted.iter().map(|n| n.address).collect();
        let gone = there.difference(&wanted).filter(|n| !addresses.contains(&n.address));
        let removals: Vec<Request> = gone.map(route::del_neighbour).collect();
        let additions: Vec<Request> = wanted.difference(&there).map(route::add_neighbour).collect();
        self.apply("set neighbours", &removals, &additions)?;
        let changed = there.symmetric_difference(&wanted);
        self.done.extend(changed.map(|n| Repair::Neighbour(format!("{} on {}", n.address, link.name))));
        Ok(())
    }

    pub(super) fn find(&mut self, name: &str) -> Result<Option<Link>, FabricError> {
        route::find_link(self.socket, name).map_err(self.fail("look at a link"))
    }

    pub(super) fn raise(&mut self, link: &Link) -> Result<(), FabricError> {
        if !link.up {
            self.socket.all(&[route::set_up(link.index)]).map_err(self.fail("raise a link"))?;
            self.done.push(Repair::Link(link.name.clone()));
        }
        Ok(())
    }
}

/// Settings of the kernel, of the thread's namespace.
pub(super) fn settings(wanted: &[(String, &str)]) -> Result<Vec<Repair>, FabricError> {
    let mut done = Vec::new();
    for (key, value) in wanted {
        if sysctl::set(key, value).map_err(FabricError::Sysctl)? {
            done.push(Repair::Setting(key.replace('/', ".")));
        }
    }
    Ok(done)
}

/// The names in a directory of settings.
fn conf(family: &str) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/sys/net/{family}/conf")).into_iter().flatten();
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn fabric_settings(v6: bool) -> Result<Vec<Repair>, FabricError> {
    // Forwarding comes first: switching it resets others.
    let mut wanted = vec![("ipv4/ip_forward".to_owned(), "1")];
    for link in conf("ipv4") {
        // Task links are asymmetric by nature: what may be sent from where is the firewall's to say.
        wanted.push((format!("ipv4/conf/{link}/rp_filter"), "0"));
        wanted.push((format!("ipv4/conf/{link}/send_redirects"), "0"));
        wanted.push((format!("ipv4/conf/{link}/accept_redirects"), "0"));
    }
    if v6 {
        for (key, value) in [("disable_ipv6", "0"), ("forwarding", "1"), ("accept_ra", "0")] {
            wanted.push((format!("ipv6/conf/all/{key}"), value));
            wanted.push((format!("ipv6/conf/default/{key}"), value));
        }
        // No addresses that nobody gave, and no asking whether somebody else has one.
        wanted.push(("ipv6/conf/default/addr_gen_mode".into(), "1"));
        wanted.push(("ipv6/conf/default/dad_transmits".into(), "0"));
    } else {
        wanted.push(("ipv6/conf/all/disable_ipv6".into(), "1"));
        wanted.push(("ipv6/conf/default/disable_ipv6".into(), "1"));
    }
    settings(&wanted)
}

fn host_settings(v6: bool, leg: Option<&str>) -> Result<Vec<Repair>, FabricError> {
    let mut wanted = vec![("ipv4/ip_forward".to_owned(), "1")];
    if v6 {
        // A host that forwards does not take routes from routers any more, unless it is told to go on.
        if sysctl::get("ipv6/conf/all/forwarding").as_deref() == Some("0") {
            let took = |link: &String| sysctl::get(&format!("ipv6/conf/{link}/accept_ra")).as_deref() == Some("1");
            let links = conf("ipv6").into_iter().filter(took);
            wanted.extend(links.map(|link| (format!("ipv6/conf/{link}/accept_ra"), "2")));
        }
        wanted.push(("ipv6/conf/all/forwarding".into(), "1"));
    }
    if let Some(leg) = leg {
        for key in ["rp_filter", "send_redirects", "accept_redirects"] {
            wanted.push((format!("ipv4/conf/{leg}/{key}"), "0"));
        }
        if v6 {
            wanted.push((format!("ipv6/conf/{leg}/addr_gen_mode"), "1"));
            wanted.push((format!("ipv6/conf/{leg}/accept_ra"), "0"));
            wanted.push((format!("ipv6/conf/{leg}/disable_ipv6"), "0"));
        } else {
            wanted.push((format!("ipv6/conf/{leg}/disable_ipv6"), "1"));
        }
    }
    settings(&wanted)
}

impl Inner {
    /// Puts everything right, and says what was not. What cannot be put right keeps nothing else from being so; it is
    /// the error then.
    pub(super) fn ensure(&self) -> Result<Vec<Repair>, FabricError> {
        let _editing = lock(&self.editing);
        let leases = lock(&self.wanted).leases.clone();
        let first = *leases.first().ok_or(FabricError::NoLease)?;
        let leg6 = self.config.network.v6.and_then(|_| first.v6_of(first.leg()));
        let leg4 = lan::leg(&self.config).unwrap_or_else(|| first.leg());
        let plan = Plan { config: &self.config, leases: &leases, first, leg4, leg6 };
        let mut done = Vec::new();
        let mut trouble = Vec::new();
        let mut note = |result: Result<(), FabricError>| trouble.extend(result.err());

        note(check_range(&mut lock(&self.host_route), &self.config));
        let survey = self.look_at_underlay();
        note(self.ensure_namespace(leg6.is_some(), &mut done));
        note(self.ensure_leg(&plan, &mut done));
        let tunnel = survey.and_then(|survey| self.ensure_tunnel(&plan, &survey, &mut done).map(|()| survey));
        note(self.ensure_tables(&plan, &mut done));
        note(self.ensure_docker(&plan, &mut done));
        note(self.restore_rules(&mut done));
        note(self.tracking.settle().map_err(FabricError::netlink("forget connections of tasks that ended")));
        let tunnel = tunnel.and_then(|survey| self.ensure_lan(&survey, &mut done).map(|()| survey));
        // A peer that cannot be reached is no fault of the base, and whoever named it was told.
        note(tunnel.and_then(|survey| self.ensure_peers(&survey)).map(|report| done.extend(report.repairs)));
        note(self.ensure_interfaces(&mut done));
        if trouble.is_empty() {
            return Ok(done);
        }
        let what: Vec<String> = done.iter().map(ToString::to_string).collect();
        tracing::warn!(repaired = ?what, failed = trouble.len(), "some of the network could not be put right");
        Err(trouble.swap_remove(0))
    }

    /// Finds the underlay's link, and remembers its name.
    pub(super) fn look_at_underlay(&self) -> Result<Survey, FabricError> {
        let survey = survey(&mut lock(&self.host_route), &self.config)?;
        if let Some(link) = &survey.underlay {
            lock(&self.wanted).device.clone_from(&link.name);
        }
        Ok(survey)
    }

    fn ensure_namespace(&self, v6: bool, done: &mut Vec<Repair>) -> Result<(), FabricError> {
        pin::prepare(self.names().run()).map_err(FabricError::Pin)?;
        if pin::pin(&self.names().fabric_netns(), &self.fabric).map_err(FabricError::Pin)? {
            done.push(Repair::Namespace);
        }
        done.extend(self.fabric.visit(|| fabric_settings(v6)).map_err(FabricError::Namespace)??);
        Ok(())
    }

    fn ensure_docker(&self, plan: &Plan<'_>, done: &mut Vec<Repair>) -> Result<(), FabricError> {
        let ranges = plan.ranges();
        let admitted = match self.config.network.overlay {
            Overlay::Routes if plan.routed() => Admitted::From(&ranges),
            Overlay::Lan => Admitted::To(&ranges),
            Overlay::Vxlan { .. } | Overlay::Routes => Admitted::Answers,
        };
        let look = || docker_user::ensure(&self.names().leg(), admitted, plan.leg6.is_some());
        done.extend(self.host.visit(look).map_err(FabricError::Namespace)??);
        Ok(())
    }

    fn ensure_leg(&self, plan: &Plan<'_>, done: &mut Vec<Repair>) -> Result<(), FabricError> {
        let name = self.names().leg();
        let mtu = self.config.network.mtu;
        let mac = leg_mac(&plan.first);
        let v6 = plan.leg6.is_some();
        let mut host_route = lock(&self.host_route);
        let mut fabric_route = lock(&self.fabric_route);
        let mut host = Settled { socket: &mut host_route, done: &mut *done, place: "host's namespace" };
        let mut inside = Vec::new();
        let mut fabric = Settled { socket: &mut fabric_route, done: &mut inside, place: "fabric" };

        let (leg, up) = (host.find(&name)?, fabric.find(FABRIC_LEG)?);
        let pair = match (&leg, &up) {
            (Some(leg), Some(up)) => leg.over == Some(up.index) && up.over == Some(leg.index),
            (None, None) => false,
            // Half of it is no leg. The other half is not ours to have.
            (leg, up) => {
                host.apply(
                    "remove a broken leg",
                    &leg.iter().map(|l| route::del_link(l.index)).collect::<Vec<_>>(),
                    &[],
                )?;
                fabric.apply(
                    "remove a broken leg",
                    &up.iter().map(|l| route::del_link(l.index)).collect::<Vec<_>>(),
                    &[],
                )?;
                false
            }
        };
        let right =
            |link: &Option<Link>, mac: Mac| link.as_ref().is_some_and(|l| l.mac == Some(mac) && l.mtu == mtu.into());
        if !pair {
            if let (Some(leg), Some(up)) = (&leg, &up) {
                host.apply("remove a broken leg", &[route::del_link(leg.index)], &[])?;
                fabric.apply("remove a broken leg", &[route::del_link(up.index)], &[])?;
            }
            let here = End { name: &name, mac, mtu };
            let there = End { name: FABRIC_LEG, mac: FABRIC_LEG_MAC, mtu };
            host.apply("make the leg", &[], &[route::add_veth(&here, false, &there, self.fabric.as_fd())])?;
            host.done.push(Repair::Link(name.clone()));
        } else if !right(&leg, mac) || !right(&up, FABRIC_LEG_MAC) {
            let set =
                |link: &Option<Link>, mac| link.iter().map(|l| route::set_end(l.index, mac, mtu)).collect::<Vec<_>>();
            host.apply("correct the leg", &[], &set(&leg, mac))?;
            fabric.apply("correct the leg", &[], &set(&up, FABRIC_LEG_MAC))?;
            host.done.push(Repair::Link(name.clone()));
        }
        let gone = || FabricError::netlink("find the leg")(NetlinkError::Garbled("it is gone again".into()));
        let leg = host.find(&name)?.ok_or_else(gone)?;
        let up = fabric.find(FABRIC_LEG)?.ok_or_else(gone)?;

        // Before it is raised, so that the kernel gives it no address of its own.
        host.done.extend(self.host.visit(|| host_settings(v6, Some(&name))).map_err(FabricError::Namespace)??);
        let lo = host.find("lo")?.ok_or_else(gone)?;
        host.raise(&lo)?;
        host.raise(&leg)?;
        let lo_inside = fabric.find("lo")?.ok_or_else(gone)?;
        fabric.raise(&lo_inside)?;
        fabric.raise(&up)?;

        let leg4 = IpAddr::V4(plan.leg4);
        let of_leg: Vec<IpNet> = [Some(leg4), plan.leg6.map(IpAddr::V6)].into_iter().flatten().map(host_net).collect();
        host.addresses(&lo, &[host_net(METADATA.into())], true)?;
        host.addresses(&leg, &of_leg, false)?;
        host.neighbours(&leg, &with_v6(v6, (GATEWAY.into(), FABRIC_LEG_MAC), &[(GATEWAY6.into(), FABRIC_LEG_MAC)]))?;
        let on_leg = |route: &Route| match route.way {
            Way::Out { link, .. } => link == leg.index,
            Way::Unreachable => true,
        };
        host.routes(&plan.host_routes(leg.index), on_leg)?;

        let mut services: Vec<IpNet> = [GATEWAY, METADATA, RESOLVER].map(|ip| host_net(ip.into())).into();
        // Where other hosts try the way to here; a tunnel has it itself.
        let check = plan.routed().then(|| check_address(self.config.network.overlay, &plan.first));
        services.extend(check.map(|ip| host_net(ip.into())));
        // What the fabric itself says in IPv6 (that a packet is too big) has to come from somewhere.
        services.extend(plan.leg6.and_then(|_| plan.first.v6_of(plan.first.tunnel())).map(|ip| host_net(ip.into())));
        fabric.addresses(&lo_inside, &services, false)?;
        let leg6: Vec<(IpAddr, Mac)> =
            plan.leg6.iter().flat_map(|leg6| [(IpAddr::V6(*leg6), mac), (LEG6.into(), mac)]).collect();
        fabric.neighbours(&up, &with_v6(v6, (leg4, mac), &leg6))?;
        let on_up = |route: &Route| match route.way {
            Way::Out { link, .. } => link == up.index,
            Way::Unreachable => true,
        };
        fabric.routes(&plan.fabric_routes(up.index), on_up)?;
        done.extend(inside);
        Ok(())
    }

    fn ensure_tunnel(&self, plan: &Plan<'_>, survey: &Survey, done: &mut Vec<Repair>) -> Result<(), FabricError> {
        let name = self.names().tunnel();
        let mut socket = lock(&self.fabric_route);
        let mut fabric = Settled { socket: &mut socket, done, place: "fabric" };
        let there = fabric.find(&name)?;
        let (Overlay::Vxlan { vni, port }, Some(over), Some(underlay)) =
            (self.config.network.overlay, survey.index(), &self.config.underlay)
        else {
            // Left by another configuration.
            if let Some(link) = there {
                fabric.apply("remove the tunnel", &[route::del_link(link.index)], &[])?;
                fabric.done.push(Repair::Link(name));
            }
            return Ok(());
        };
        let wanted = Tunnel { vni, port, local: Some(underlay.address), over, learning: false };
        let mtu = self.config.network.mtu;
        let mac = Mac::of_tunnel(plan.first.tunnel());
        let same = there.as_ref().filter(|link| link.tunnel == Some(wanted));
        match (same, &there) {
            (Some(link), _) if link.mac == Some(mac) && link.mtu == mtu.into() => {}
            (Some(link), _) => {
                fabric.apply("correct the tunnel", &[], &[route::set_end(link.index, mac, mtu)])?;
                fabric.done.push(Repair::Link(name.clone()));
            }
            (None, other) => {
                let removals: Vec<Request> = other.iter().map(|link| route::del_link(link.index)).collect();
                fabric.apply("remove the tunnel", &removals, &[])?;
                let new = route::add_vxlan(&End { name: &name, mac, mtu }, &wanted, self.fabric.as_fd());
                // From the host's namespace, where its packets come and go.
                lock(&self.host_route).all(&[new]).map_err(|error| FabricError::no_tunnel(vni, port, error))?;
                fabric.done.push(Repair::Link(name.clone()));
            }
        }
        let gone = || FabricError::netlink("find the tunnel")(NetlinkError::Garbled("it is gone again".into()));
        let link = fabric.find(&name)?.ok_or_else(gone)?;
        fabric.raise(&link)?;
        fabric.addresses(&link, &[host_net(plan.first.tunnel().into())], false)
    }

    fn ensure_tables(&self, plan: &Plan<'_>, done: &mut Vec<Repair>) -> Result<(), FabricError> {
        // The one that was there last, while none is. Rules of tunnels do not name it.
        let device = lock(&self.wanted).device.clone();
        let named = !device.is_empty() || matches!(self.config.network.overlay, Overlay::Vxlan { .. });
        let facts = ruleset::Facts {
            names: self.names(),
            network: &self.config.network,
            leases: plan.leases,
            leg: plan.leg4,
            underlay: self.config.underlay.as_ref().filter(|_| named).map(|_| device.as_str()),
            bridges: &self.config.bridges,
            services: self.config.services,
        };
        let names = self.names();
        let mut rules = lock(&self.rules);
        if ensure_table(&self.fabric, &mut rules.nft, &ruleset::fabric(&facts), &names.fabric_table(), "")? {
            done.push(Repair::Table(names.fabric_table()));
        }
        drop(rules);
        // Other hosts' packets are let in by the transaction that begins to drop those of strangers.
        let known = self.known_vteps();
        if ensure_table(&self.host, &mut lock(&self.host_nft), &ruleset::host(&facts), &names.host_table(), &known)? {
            done.push(Repair::Table(names.host_table()));
        }
        Ok(())
    }
}

fn with_v6(v6: bool, v4: (IpAddr, Mac), more: &[(IpAddr, Mac)]) -> Vec<(IpAddr, Mac)> {
    [v4].into_iter().chain(more.iter().copied().filter(|_| v6)).collect()
}

/// Loads a table unless it is there as it should be, with `elements` (lines for `nft`) in the same transaction; says
/// whether it was loaded.
pub(super) fn ensure_table(
    at: &Namespace,
    nft: &mut Nft,
    table: &ruleset::Table,
    name: &str,
    elements: &str,
) -> Result<bool, FabricError> {
    let chains: Vec<ChainInfo> = nft.chains().map_err(FabricError::Nft)?;
    // Rules that an earlier agent wrote are written again: nobody knows what became of them since.
    let known = table.chain_names().all(|chain| nft.is_remembered(chain));
    if known && table.is(&chains) {
        let tampered = nft.tampered().map_err(FabricError::Nft)?;
        if !table.chain_names().any(|chain| tampered.contains(chain)) {
            return Ok(false);
        }
    }
    let load = |script: &str| program::run(at, &format!("{script}{elements}"));
    let failed = |source| FabricError::Table { table: name.to_owned(), source };
    match load(&table.script(&chains)) {
        Ok(()) => {}
        Err(ProgramError::Refused { .. }) if nft.exists().map_err(FabricError::Nft)? => {
            // Sets of another shape, left by another version. Tasks come back with their next admission.
            load(&table.script_anew()).map_err(failed)?;
        }
        Err(error) => return Err(failed(error)),
    }
    nft.remember(table.chain_names().map(str::to_owned)).map_err(FabricError::Nft)?;
    Ok(true)
}
