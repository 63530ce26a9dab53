//! Other hosts: where their tunnels are, and which addresses are behind them.

use super::survey::Survey;
use super::{Fabric, FabricError, Inner, Repair, lock};
use crate::netlink::route::{self, Forwarding, Neighbour, Route, Way};
use crate::netlink::{NetlinkError, Request};
use crate::nft::NftError;
use crate::nft::batch::Change;
use crate::nft::elements::{self, VTEP4, VTEP6, address4_of, address6_of};
use ipnet::IpNet;
use longshore_model::id::InstanceId;
use longshore_model::network::{Mac, Overlay, Peer};
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Why other hosts are not reached.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// This host has no way to others.
    #[error("there are other hosts, and this one has no underlay address configured")]
    NoUnderlay,
    /// The tunnel is not there.
    #[error("the tunnel is gone; it comes back with the next repair")]
    NoTunnel,
    /// The host is not as the fabric needs it any more.
    #[error("could not look at the host")]
    Survey(#[source] Box<FabricError>),
    /// The kernel refused.
    #[error("could not {what}")]
    Netlink {
        /// What was to be done.
        what: &'static str,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// The kernel refused a change of the firewall.
    #[error("could not let the tunnels of other hosts in")]
    Nft(#[source] NftError),
}

/// A host that is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedPeer {
    /// Which.
    pub instance: InstanceId,
    /// Why, for people.
    pub reason: String,
}

/// What was done about other hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeersReport {
    /// What changed in the kernel.
    pub repairs: Vec<Repair>,
    /// Hosts that are left out; the others are reached.
    pub refused: Vec<RefusedPeer>,
}

/// What the kernel is to know of other hosts.
#[derive(Default)]
struct Entries {
    forwardings: BTreeSet<Forwarding>,
    neighbours: BTreeSet<Neighbour>,
    routes: BTreeSet<Route>,
    underlays: BTreeSet<IpAddr>,
}

fn failed(what: &'static str) -> impl FnOnce(NetlinkError) -> PeersError {
    move |source| PeersError::Netlink { what, source }
}

impl Fabric {
    /// Makes the other hosts these: what changed of them is changed, the rest is not touched.
    ///
    /// # Errors
    /// When the kernel refuses; doing it again goes on.
    pub async fn set_peers(&self, peers: &[Peer]) -> Result<PeersReport, PeersError> {
        let peers = peers.to_vec();
        self.run(move |inner| {
            let _editing = lock(&inner.editing);
            lock(&inner.wanted).peers = Some(peers);
            let survey = inner.look_at_underlay();
            inner.settle_peers(&survey.map_err(|error| PeersError::Survey(Box::new(error)))?)
        })
        .await
    }
}

impl Inner {
    /// The same as part of a repair. The caller holds `editing`.
    pub(super) fn ensure_peers(&self, survey: &Survey) -> Result<PeersReport, FabricError> {
        if lock(&self.wanted).peers.is_none() {
            return Ok(PeersReport::default());
        }
        match self.settle_peers(survey) {
            Ok(report) => Ok(report),
            Err(PeersError::NoUnderlay) => Ok(PeersReport::default()),
            Err(PeersError::NoTunnel) => {
                Err(FabricError::netlink("find the tunnel")(NetlinkError::Garbled("it is gone".into())))
            }
            Err(PeersError::Survey(error)) => Err(*error),
            Err(PeersError::Netlink { what, source }) => Err(FabricError::netlink(what)(source)),
            Err(PeersError::Nft(error)) => Err(FabricError::Nft(error)),
        }
    }

    fn settle_peers(&self, survey: &Survey) -> Result<PeersReport, PeersError> {
        let (peers, refused) = self.usable_peers();
        let mut report = PeersReport { repairs: Vec::new(), refused };
        let Some(underlay) = survey.index() else {
            return if peers.is_empty() { Ok(report) } else { Err(PeersError::NoUnderlay) };
        };
        match self.config.network.overlay {
            Overlay::Vxlan { .. } => self.settle_tunnels(&peers, &mut report.repairs)?,
            Overlay::Routes | Overlay::Lan => self.settle_routes(&peers, underlay, &mut report)?,
        }
        Ok(report)
    }

    /// Those that do not contradict this host or each other.
    fn usable_peers(&self) -> (Vec<Peer>, Vec<RefusedPeer>) {
        let wanted = lock(&self.wanted);
        let mut taken: BTreeSet<IpAddr> = self.config.underlay.iter().map(|underlay| underlay.address).collect();
        let mut leases: BTreeSet<IpNet> = wanted.leases.iter().map(|lease| lease.v4.into()).collect();
        let (mut usable, mut refused) = (Vec::new(), Vec::new());
        let family = self.config.underlay.as_ref().map(|underlay| underlay.address.is_ipv4());
        for peer in wanted.peers.iter().flatten() {
            let mut refuse = |reason: String| refused.push(RefusedPeer { instance: peer.instance, reason });
            if peer.leases.is_empty() {
                refuse("it has no lease".into());
            } else if family.is_some_and(|v4| v4 != peer.underlay.is_ipv4()) {
                refuse(format!("its underlay address {} is of another family than this host's", peer.underlay));
            } else if !taken.insert(peer.underlay) {
                refuse(format!("its underlay address {} is another host's", peer.underlay));
            } else if let Some(lease) = peer.leases.iter().find(|lease| !leases.insert(lease.v4.into())) {
                refuse(format!("its lease {} is another host's", lease.v4));
            } else {
                usable.push(peer.clone());
            }
        }
        (usable, refused)
    }

    /// One entry of the tunnel's table, one neighbour for each family and one route for each lease. A host's tunnel has
    /// the hardware address of its first lease.
    fn settle_tunnels(&self, peers: &[Peer], done: &mut Vec<Repair>) -> Result<(), PeersError> {
        let mut socket = lock(&self.fabric_route);
        let tunnel = route::find_link(&mut socket, &self.names().tunnel()).map_err(failed("look at the tunnel"))?;
        let link = tunnel.ok_or(PeersError::NoTunnel)?.index;
        let v6 = self.config.network.v6.is_some();
        let mut wanted = Entries::default();
        for peer in peers {
            let Some(first) = peer.leases.first() else { continue };
            let mac = Mac::of_tunnel(first.tunnel());
            let gateway6 = first.v6_of(first.tunnel()).filter(|_| v6).map(IpAddr::V6);
            wanted.underlays.insert(peer.underlay);
            wanted.forwardings.insert(Forwarding { link, mac, to: peer.underlay });
            let gateway = IpAddr::V4(first.tunnel());
            for address in [Some(gateway), gateway6].into_iter().flatten() {
                wanted.neighbours.insert(Neighbour { link, address, mac });
            }
            for lease in &peer.leases {
                wanted.routes.insert(Route::onlink(lease.v4.into(), link, gateway));
                if let (Some(lease), Some(gateway)) = (lease.v6, gateway6) {
                    wanted.routes.insert(Route::onlink(lease.into(), link, gateway));
                }
            }
        }
        let list = failed("list what is known of other hosts");
        let there = (|| -> Result<Entries, NetlinkError> {
            let of_tunnel = |r: &Route| matches!(r.way, Way::Out { link: out, .. } if out == link);
            let routes = route::routes(&mut socket)?;
            Ok(Entries {
                forwardings: route::forwardings(&mut socket, link)?.into_iter().collect(),
                neighbours: route::neighbours(&mut socket, link)?.into_iter().collect(),
                routes: routes.iter().filter(|k| k.ours && of_tunnel(&k.route)).map(|k| k.route).collect(),
                underlays: BTreeSet::new(),
            })
        })()
        .map_err(list)?;

        // Routes go first and come last: nothing is sent to where it cannot arrive. A neighbour or an entry that is
        // replaced is not removed before.
        let mut removals: Vec<Request> = there.routes.difference(&wanted.routes).map(route::del_route).collect();
        let kept: BTreeSet<IpAddr> = wanted.neighbours.iter().map(|n| n.address).collect();
        let stale = there.neighbours.difference(&wanted.neighbours).filter(|n| !kept.contains(&n.address));
        removals.extend(stale.map(route::del_neighbour));
        let kept: BTreeSet<Mac> = wanted.forwardings.iter().map(|f| f.mac).collect();
        let stale = there.forwardings.difference(&wanted.forwardings).filter(|f| !kept.contains(&f.mac));
        removals.extend(stale.map(route::del_forwarding));
        let mut additions: Vec<Request> =
            wanted.forwardings.difference(&there.forwardings).map(route::add_forwarding).collect();
        additions.extend(wanted.neighbours.difference(&there.neighbours).map(route::add_neighbour));
        additions.extend(wanted.routes.difference(&there.routes).map(route::add_route));
        done.extend(there.routes.symmetric_difference(&wanted.routes).map(|r| Repair::Peer(r.to.to_string())));
        done.extend(
            there.neighbours.symmetric_difference(&wanted.neighbours).map(|n| Repair::Peer(n.address.to_string())),
        );
        done.extend(
            there
                .forwardings
                .symmetric_difference(&wanted.forwardings)
                .map(|f| Repair::Peer(format!("{} at {}", f.mac, f.to))),
        );
        // What comes from a new one is let in before it is told to anybody; what comes from an old one no longer.
        self.settle_vteps(&wanted.underlays, done)?;
        for result in socket.try_all(&removals).map_err(failed("remove what is known of other hosts"))? {
            match result {
                Err(refusal) if ![Errno::ESRCH, Errno::ENOENT].contains(&refusal.errno) => {
                    return Err(failed("remove what is known of other hosts")(NetlinkError::Refused(refusal)));
                }
                Ok(()) | Err(_) => {}
            }
        }
        socket.all(&additions).map_err(failed("add what is known of other hosts"))
    }

    /// The other hosts' addresses, as a script for `nft`; empty without tunnels.
    pub(super) fn known_vteps(&self) -> String {
        match (self.config.network.overlay, &self.config.underlay) {
            (Overlay::Vxlan { .. }, Some(_)) => {}
            (Overlay::Vxlan { .. }, None) | (Overlay::Routes | Overlay::Lan, _) => return String::new(),
        }
        let table = self.names().host_table();
        let line = |peer: &Peer| {
            let set = if peer.underlay.is_ipv4() { VTEP4 } else { VTEP6 };
            format!("add element inet {table} {set} {{ {} }}\n", peer.underlay)
        };
        self.usable_peers().0.iter().map(line).collect()
    }

    fn settle_vteps(&self, wanted: &BTreeSet<IpAddr>, done: &mut Vec<Repair>) -> Result<(), PeersError> {
        let mut nft = lock(&self.host_nft);
        let mut there: BTreeSet<IpAddr> = BTreeSet::new();
        let list = nft.list(VTEP4).map_err(PeersError::Nft)?;
        there.extend(list.iter().filter_map(|element| address4_of(&element.key).map(IpAddr::V4)));
        let list = nft.list(VTEP6).map_err(PeersError::Nft)?;
        there.extend(list.iter().filter_map(|element| address6_of(&element.key).map(IpAddr::V6)));
        let mut changes: Vec<Change> = wanted.difference(&there).map(|ip| Change::Add(elements::vtep(*ip))).collect();
        changes.extend(there.difference(wanted).map(|ip| Change::Remove(elements::vtep(*ip))));
        done.extend(there.symmetric_difference(wanted).map(|ip| Repair::Peer(ip.to_string())));
        nft.commit(&changes).map_err(PeersError::Nft)
    }

    /// Routes of the host to each lease. One that the kernel does not take is that peer's fault.
    fn settle_routes(&self, peers: &[Peer], link: u32, report: &mut PeersReport) -> Result<(), PeersError> {
        let mut socket = lock(&self.host_route);
        let mut wanted: BTreeSet<Route> = BTreeSet::new();
        for peer in peers {
            let (v4, v6) = (peer.leases.iter().map(|l| IpNet::from(l.v4)), peer.leases.iter().filter_map(|l| l.v6));
            // IPv4 goes by IPv6 gateways as well; the other way there is none, and the survey refused it.
            let nets = v4.chain(v6.map(IpNet::from)).filter(|net| net.addr().is_ipv4() || peer.underlay.is_ipv6());
            wanted.extend(nets.map(|to| Route::via(to, link, peer.underlay)));
        }
        let there = route::routes(&mut socket).map_err(failed("list the host's routes"))?;
        let on_underlay = |r: &Route| matches!(r.way, Way::Out { link: out, .. } if out == link);
        let there: BTreeSet<Route> =
            there.iter().filter(|k| k.ours && on_underlay(&k.route)).map(|k| k.route).collect();
        let removals: Vec<Request> = there.difference(&wanted).map(route::del_route).collect();
        for result in socket.try_all(&removals).map_err(failed("remove routes to other hosts"))? {
            match result {
                Err(refusal) if refusal.errno != Errno::ESRCH => {
                    return Err(failed("remove routes to other hosts")(NetlinkError::Refused(refusal)));
                }
                Ok(()) | Err(_) => {}
            }
        }
        report.repairs.extend(there.difference(&wanted).map(|r| Repair::Peer(r.to.to_string())));
        let missing: Vec<&Route> = wanted.difference(&there).collect();
        let additions: Vec<Request> = missing.iter().map(|r| route::add_route(r)).collect();
        let results = socket.try_all(&additions).map_err(failed("add routes to other hosts"))?;
        for (route, result) in missing.iter().zip(results) {
            match result {
                Ok(()) => report.repairs.push(Repair::Peer(route.to.to_string())),
                Err(refusal) => {
                    let of = |peer: &&Peer| {
                        peer.leases
                            .iter()
                            .any(|l| route.to == l.v4.into() || l.v6.is_some_and(|v6| route.to == v6.into()))
                    };
                    let reason = match refusal.errno {
                        Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EINVAL => {
                            "it is not on the underlay's network".to_owned()
                        }
                        _ => format!("the kernel refused the route to {}: {refusal}", route.to),
                    };
                    let peer = peers.iter().find(of);
                    report.refused.extend(peer.map(|p| RefusedPeer { instance: p.instance, reason }));
                }
            }
        }
        Ok(())
    }
}
