//! A sandbox's link: from its namespace to the fabric and back out (steps A3 to A7 and C4).

use super::undo::delete_links;
use super::wired::Look;
use super::{Fabric, Inner, lock};
use crate::names::{EC2_METADATA, GATEWAY, GATEWAY6, TASK_GATEWAY_MAC, TASK_LINK, host_net};
use crate::namespace::{Namespace, NamespaceError};
use crate::netlink::route::{self, Address, End, Link, Neighbour, Route, Way};
use crate::netlink::{Family, NetlinkError, Request, Socket};
use crate::pin::{self, PinError};
use crate::steps::{Cut, Step};
use crate::sysctl::{self, SysctlError};
use ipnet::IpNet;
use longshore_model::network::{EniId, Mac};
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

/// How long the kernel has to take a sandbox's link away by itself, once nothing is in the namespace.
const REAP: Duration = Duration::from_secs(2);
const REAP_POLL: Duration = Duration::from_millis(10);

/// An interface as a sandbox is to have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    /// Which.
    pub eni: EniId,
    /// Its address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address, when the network has a prefix.
    pub ipv6: Option<Ipv6Addr>,
    /// The hardware address of the task's end.
    pub mac: Mac,
    /// What `ip link` shows with it, for people: the task's id.
    pub task: String,
}

/// An interface as it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wired {
    /// The file that keeps the sandbox's namespace.
    pub netns: PathBuf,
    /// The end of the link that is in the fabric.
    pub link: String,
}

/// Why a sandbox has no interface. What was made for it is gone again, unless the kernel refused that too.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The namespace is not a sandbox's.
    #[error("the sandbox of {eni} is in the namespace of the host or of the fabric; did its pause container end?")]
    NotASandbox {
        /// The interface.
        eni: EniId,
    },
    /// The namespace cannot be entered.
    #[error("could not enter the sandbox of {eni}; did its pause container end?")]
    Namespace {
        /// The interface.
        eni: EniId,
        /// Why.
        #[source]
        source: NamespaceError,
    },
    /// The namespace could not be kept.
    #[error("could not keep the sandbox of {eni}")]
    Pin {
        /// The interface.
        eni: EniId,
        /// Why.
        #[source]
        source: PinError,
    },
    /// A setting of the sandbox could not be changed.
    #[error("could not change a setting of the sandbox of {eni}")]
    Sysctl {
        /// The interface.
        eni: EniId,
        /// Why.
        #[source]
        source: SysctlError,
    },
    /// The sandbox has an interface of somebody else's.
    #[error("the sandbox of {eni} has an interface `eth0` already; was its container made with a network?")]
    Occupied {
        /// The interface.
        eni: EniId,
    },
    /// The link's name belongs to another interface.
    #[error("the link of {eni} belongs to {other} already")]
    Taken {
        /// The interface.
        eni: EniId,
        /// The other one.
        other: EniId,
    },
    /// The kernel refused.
    #[error("could not {what} for {eni}")]
    Netlink {
        /// The interface.
        eni: EniId,
        /// What was to be done.
        what: &'static str,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// What was made is not what was asked for.
    #[error("{eni} is not as it was made: {what}")]
    ReadBack {
        /// The interface.
        eni: EniId,
        /// What differs.
        what: String,
    },
    /// A test cut it.
    #[error(transparent)]
    Cut(Cut),
}

/// Why a sandbox's interface is not gone.
#[derive(Debug, thiserror::Error)]
pub enum UnwireError {
    /// Its namespace could not be let go.
    #[error("could not let the sandbox of {eni} go")]
    Pin {
        /// The interface.
        eni: EniId,
        /// Why.
        #[source]
        source: PinError,
    },
    /// The kernel refused.
    #[error("could not remove the link of {eni}")]
    Netlink {
        /// The interface.
        eni: EniId,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// A test cut it.
    #[error(transparent)]
    Cut(Cut),
}

impl Wire {
    fn netlink(&self, what: &'static str) -> impl FnOnce(NetlinkError) -> WireError + use<> {
        let eni = self.eni;
        move |source| WireError::Netlink { eni, what, source }
    }

    pub(super) fn addresses(&self) -> Vec<IpNet> {
        [Some(IpAddr::V4(self.ipv4)), self.ipv6.map(IpAddr::V6)].into_iter().flatten().map(host_net).collect()
    }

    /// The routes that the task has.
    pub(super) fn routes_inside(&self, eth0: u32) -> Vec<Route> {
        let mut routes = vec![
            Route::on(host_net(GATEWAY.into()), eth0),
            Route::via(IpNet::V4(ipnet::Ipv4Net::default()), eth0, GATEWAY.into()),
            // What is not there is to fail at once.
            Route::unreachable(host_net(EC2_METADATA.into())),
        ];
        if self.ipv6.is_some() {
            routes.push(Route::via(IpNet::V6(ipnet::Ipv6Net::default()), eth0, GATEWAY6.into()));
        }
        routes
    }

    /// The neighbours that the task has: nothing is ever asked for on its link.
    pub(super) fn neighbours_inside(&self, eth0: u32) -> Vec<Neighbour> {
        let gateways = [Some(IpAddr::V4(GATEWAY)), self.ipv6.map(|_| IpAddr::V6(GATEWAY6))];
        let neighbour = |address| Neighbour { link: eth0, address, mac: TASK_GATEWAY_MAC };
        gateways.into_iter().flatten().map(neighbour).collect()
    }

    pub(super) fn routes_outside(&self, link: u32) -> Vec<Route> {
        self.addresses().into_iter().map(|to| Route::on(to, link)).collect()
    }

    pub(super) fn neighbours_outside(&self, link: u32) -> Vec<Neighbour> {
        let neighbour = |net: &IpNet| Neighbour { link, address: net.addr(), mac: self.mac };
        self.addresses().iter().map(neighbour).collect()
    }
}

/// What a wiring made by itself, to be taken back when it fails. What an earlier one made may be in use.
#[derive(Default)]
struct Made {
    pinned: bool,
    linked: bool,
}

fn differ<T: std::fmt::Debug + Ord>(what: &str, there: &BTreeSet<T>, wanted: &BTreeSet<T>) -> Result<(), String> {
    if there == wanted {
        return Ok(());
    }
    let missing: Vec<_> = wanted.difference(there).collect();
    let extra: Vec<_> = there.difference(wanted).collect();
    Err(format!("{what}: missing {missing:?}, extra {extra:?}"))
}

/// Adds what is there already, or not; reading back tells.
fn add(socket: &mut Socket, requests: &[Request]) -> Result<(), NetlinkError> {
    for result in socket.try_all(requests)? {
        match result {
            Err(refusal) if refusal.errno != Errno::EEXIST => return Err(NetlinkError::Refused(refusal)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// The settings of a sandbox that have to be made before its link is.
fn settings_inside(v6: bool) -> Result<(), SysctlError> {
    let settings: &[(&str, &str)] = if v6 {
        &[("disable_ipv6", "0"), ("addr_gen_mode", "1"), ("accept_ra", "0"), ("dad_transmits", "0")]
    } else {
        &[("disable_ipv6", "1")]
    };
    settings.iter().try_for_each(|(key, value)| sysctl::set(&format!("ipv6/conf/default/{key}"), value).map(drop))
}

impl Fabric {
    /// Gives a sandbox its interface: keeps the namespace `pause`, makes the link, sets both sides up and reads them
    /// back. Doing it again changes nothing. It can neither send nor receive until it is admitted.
    ///
    /// # Errors
    /// When it could not be made; what was made is taken back.
    pub async fn wire(&self, wire: &Wire, pause: &Namespace) -> Result<Wired, WireError> {
        // Never closed.
        let _permit = self.inner.wires.acquire().await;
        let (wire, eni) = (wire.clone(), wire.eni);
        let pause = pause.try_clone().map_err(|source| WireError::Namespace { eni, source })?;
        self.run(move |inner| {
            let wired = inner.wire(&wire, &pause)?;
            lock(&inner.wired).add(wire, Look::InTurn);
            Ok(wired)
        })
        .await
    }

    /// Lets a sandbox's namespace go and waits until its link is gone with it. When something else keeps the namespace
    /// (a process, or a [`Namespace`] of the caller's), that takes two seconds and the link is deleted. What is not
    /// there may be.
    ///
    /// # Errors
    /// When something could not be removed; doing it again goes on.
    pub async fn unwire(&self, eni: EniId) -> Result<(), UnwireError> {
        self.run(move |inner| inner.unwire(eni)).await?;
        // Deleting it ourselves would make the kernel wait under a lock that everybody needs; it does better alone.
        let deadline = tokio::time::Instant::now() + REAP;
        while self.run(move |inner| inner.has_link(eni)).await? {
            if tokio::time::Instant::now() >= deadline {
                return self.run(move |inner| inner.delete_task_link(eni)).await;
            }
            tokio::time::sleep(REAP_POLL).await;
        }
        Ok(())
    }
}

impl Inner {
    /// Without making it known: the caller does.
    pub(super) fn wire(&self, wire: &Wire, pause: &Namespace) -> Result<Wired, WireError> {
        let mut made = Made::default();
        let result = self.wire_steps(wire, pause, &mut made);
        match &result {
            Ok(_) | Err(WireError::Cut(_)) => {}
            Err(error) => {
                if let Err(undoing) = self.take_back(wire.eni, &made) {
                    tracing::warn!(eni = %wire.eni, %error, why = %undoing, "what a failed wiring made stays");
                }
            }
        }
        result
    }

    fn take_back(&self, eni: EniId, made: &Made) -> Result<(), UnwireError> {
        let link = if made.linked { self.delete_task_link(eni) } else { Ok(()) };
        if made.pinned {
            pin::unpin(&self.names().sandbox_netns(eni)).map_err(|source| UnwireError::Pin { eni, source })?;
        }
        link
    }

    fn wire_steps(&self, wire: &Wire, pause: &Namespace, made: &mut Made) -> Result<Wired, WireError> {
        let eni = wire.eni;
        let io = |source: io::Error| WireError::Netlink {
            eni,
            what: "look at the namespace",
            source: NetlinkError::Io(source),
        };
        if pause.is(&self.host).map_err(io)? || pause.is(&self.fabric).map_err(io)? {
            return Err(WireError::NotASandbox { eni });
        }
        let cut = |step| self.config.steps.reached(step).map_err(WireError::Cut);
        let (netns, link) = (self.names().sandbox_netns(eni), self.names().task_link(eni));
        made.pinned = pin::pin(&netns, pause).map_err(|source| WireError::Pin { eni, source })?;
        cut(Step::Pinned)?;

        let inside = || {
            settings_inside(wire.ipv6.is_some()).map_err(|source| WireError::Sysctl { eni, source })?;
            let mut sandbox = Socket::open(Family::Route).map_err(wire.netlink("open a socket"))?;
            let link = self.make_link(wire, &link, &mut sandbox, pause, made)?;
            cut(Step::Linked)?;
            self.set_sandbox(wire, &mut sandbox)?;
            cut(Step::SandboxSet)?;
            self.set_fabric(wire, &link)?;
            cut(Step::FabricSet)?;
            self.read_back(wire, &link, &mut sandbox)
        };
        pause.visit(inside).map_err(|source| WireError::Namespace { eni, source })??;
        Ok(Wired { netns, link })
    }

    /// A4: both ends at once, the task's in its sandbox.
    fn make_link(
        &self,
        wire: &Wire,
        name: &str,
        sandbox: &mut Socket,
        pause: &Namespace,
        made: &mut Made,
    ) -> Result<Link, WireError> {
        let mtu = self.config.network.mtu;
        let here = End { name, mac: TASK_GATEWAY_MAC, mtu };
        let there = End { name: TASK_LINK, mac: wire.mac, mtu };
        let new = route::add_veth(&here, true, &there, pause.as_fd());
        let find = |socket: &mut Socket, name| route::find_link(socket, name).map_err(wire.netlink("look at its link"));
        for _ in 0..2 {
            let mut fabric = lock(&self.fabric_route);
            match fabric.all(std::slice::from_ref(&new)) {
                Ok(()) => made.linked = true,
                Err(NetlinkError::Refused(refusal)) if refusal.errno == Errno::EEXIST => {}
                Err(source) => return Err(wire.netlink("make a link")(source)),
            }
            let link = find(&mut fabric, name)?;
            drop(fabric);
            if let Some(other) = link.as_ref().and_then(|l| self.names().eni_of_alias(l.alias.as_deref()?))
                && other != wire.eni
            {
                return Err(WireError::Taken { eni: wire.eni, other });
            }
            let eth0 = find(sandbox, TASK_LINK)?;
            match (link, eth0) {
                (Some(link), Some(eth0)) if self.is_pair(wire, &link, &eth0) => return Ok(link),
                // Another link of this name, of a sandbox that is not this one: the name is this interface's alone.
                (Some(link), _) => {
                    let mut fabric = lock(&self.fabric_route);
                    delete_links(&mut fabric, &[link.index]).map_err(wire.netlink("remove a stale link"))?;
                }
                // One of a namespace that ended went in between.
                (None, None) => {}
                (None, Some(_)) => return Err(WireError::Occupied { eni: wire.eni }),
            }
        }
        Err(WireError::Occupied { eni: wire.eni })
    }

    fn is_pair(&self, wire: &Wire, link: &Link, eth0: &Link) -> bool {
        let mtu = u32::from(self.config.network.mtu);
        link.over == Some(eth0.index)
            && eth0.over == Some(link.index)
            && (link.mac, eth0.mac) == (Some(TASK_GATEWAY_MAC), Some(wire.mac))
            && (link.mtu, eth0.mtu) == (mtu, mtu)
    }

    /// A5: what the task sees.
    fn set_sandbox(&self, wire: &Wire, sandbox: &mut Socket) -> Result<(), WireError> {
        let find = |socket: &mut Socket, name| match route::find_link(socket, name) {
            Ok(Some(link)) => Ok(link.index),
            Ok(None) => Err(WireError::ReadBack { eni: wire.eni, what: format!("`{name}` is not there") }),
            Err(source) => Err(wire.netlink("look at its link")(source)),
        };
        let (lo, eth0) = (find(sandbox, "lo")?, find(sandbox, TASK_LINK)?);
        let mut requests = vec![route::set_up(lo), route::set_up(eth0)];
        requests.extend(wire.addresses().iter().map(|net| route::add_address(&Address { link: eth0, net: *net })));
        requests.extend(wire.routes_inside(eth0).iter().map(route::add_route));
        requests.extend(wire.neighbours_inside(eth0).iter().map(route::add_neighbour));
        add(sandbox, &requests).map_err(wire.netlink("set up the sandbox"))
    }

    /// A6: the way to it. The alias is the last of all, so that a link that has it was set up on both sides.
    fn set_fabric(&self, wire: &Wire, link: &Link) -> Result<(), WireError> {
        let alias = self.names().alias(wire.eni, wire.ipv4, &wire.task);
        let mut requests = vec![route::set_up(link.index)];
        requests.extend(wire.routes_outside(link.index).iter().map(route::add_route));
        requests.extend(wire.neighbours_outside(link.index).iter().map(route::add_neighbour));
        let mut fabric = lock(&self.fabric_route);
        add(&mut fabric, &requests).map_err(wire.netlink("set up the fabric"))?;
        fabric.all(&[route::set_alias(link.index, &alias)]).map_err(wire.netlink("name its link"))
    }

    /// A7: whether all of it is as it is to be.
    fn read_back(&self, wire: &Wire, link: &Link, sandbox: &mut Socket) -> Result<(), WireError> {
        let failed = |source| WireError::Netlink { eni: wire.eni, what: "read back", source };
        let differs = |what| WireError::ReadBack { eni: wire.eni, what };
        let links = route::links(sandbox).map_err(failed)?;
        let eth0 = links.iter().find(|l| l.name == TASK_LINK);
        let eth0 = eth0.ok_or_else(|| differs("`eth0` is not there".into()))?;
        // Other links are the task's own.
        let down = links.iter().any(|l| !l.up && (l.name == TASK_LINK || l.name == "lo"));
        if !self.is_pair(wire, link, eth0) || down {
            return Err(differs(format!("links {links:?}")));
        }
        let addresses = route::addresses(sandbox).map_err(failed)?;
        let there = addresses.iter().filter(|a| a.link == eth0.index).map(|a| a.net).collect();
        differ("addresses", &there, &wire.addresses().into_iter().collect()).map_err(differs)?;
        let routes = route::routes(sandbox).map_err(failed)?;
        let there = routes.iter().filter(|k| k.ours && k.main).map(|k| k.route).collect();
        differ("routes", &there, &wire.routes_inside(eth0.index).into_iter().collect()).map_err(differs)?;
        let there = route::neighbours(sandbox, eth0.index).map_err(failed)?.into_iter().collect();
        differ("neighbours", &there, &wire.neighbours_inside(eth0.index).into_iter().collect()).map_err(differs)?;

        let mut fabric = lock(&self.fabric_route);
        let outside = route::find_link(&mut fabric, &link.name).map_err(failed)?;
        let alias = outside.as_ref().filter(|l| l.up).and_then(|l| self.names().eni_of_alias(l.alias.as_deref()?));
        if alias != Some(wire.eni) {
            return Err(differs(format!("link {outside:?}")));
        }
        let there = route::neighbours(&mut fabric, link.index).map_err(failed)?.into_iter().collect();
        differ("neighbours in the fabric", &there, &wire.neighbours_outside(link.index).into_iter().collect())
            .map_err(differs)?;
        for to in wire.addresses() {
            let way = route::route_to(&mut fabric, to.addr()).map_err(failed)?.map(|k| k.route);
            let leads = way.is_some_and(|r| r.to == to && matches!(r.way, Way::Out { link: l, .. } if l == link.index));
            if !leads {
                return Err(differs(format!("the way to {to} is {way:?}")));
            }
        }
        Ok(())
    }

    fn unwire(&self, eni: EniId) -> Result<(), UnwireError> {
        let cut = |step| self.config.steps.reached(step).map_err(UnwireError::Cut);
        self.forget(eni);
        pin::unpin(&self.names().sandbox_netns(eni)).map_err(|source| UnwireError::Pin { eni, source })?;
        cut(Step::Unpinned)?;
        self.delete_link(eni, &self.names().shaper(eni))?;
        cut(Step::ShaperGone)
    }

    fn has_link(&self, eni: EniId) -> Result<bool, UnwireError> {
        let found = route::find_link(&mut lock(&self.fabric_route), &self.names().task_link(eni));
        found.map(|link| link.is_some()).map_err(|source| UnwireError::Netlink { eni, source })
    }

    fn delete_task_link(&self, eni: EniId) -> Result<(), UnwireError> {
        self.delete_link(eni, &self.names().task_link(eni))
    }

    fn delete_link(&self, eni: EniId, name: &str) -> Result<(), UnwireError> {
        let mut fabric = lock(&self.fabric_route);
        let failed = |source| UnwireError::Netlink { eni, source };
        match route::find_link(&mut fabric, name).map_err(failed)? {
            Some(link) => delete_links(&mut fabric, &[link.index]).map_err(failed),
            None => Ok(()),
        }
    }
}
