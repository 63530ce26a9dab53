//! Tasks with addresses of the hosts' own network: the host answers for them there, and sees to it that nobody else has
//! them. There is nothing to do in other overlays.
//!
//! What is answered for is what the firewall knows as a task's address, neither more nor less, whoever put it there. So
//! an agent that starts finds its tasks reachable, and what an end that was cut off left is taken back.

use super::base::settings;
use super::survey::{Survey, underlay};
use super::{Fabric, FabricConfig, FabricError, Inner, Repair, Underlay, lock};
use crate::arp::Arp;
use crate::namespace::NamespaceError;
use crate::netlink::route::{self, Address, KnownRoute, Link, Proxy, Route, Way};
use crate::netlink::{NetlinkError, Request};
use crate::nft::NftError;
use crate::nft::elements::{PIN4, address4_of, link_of};
use ipnet::{IpNet, Ipv4Net};
use longshore_model::network::{Mac, Overlay};
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Why it is not known whether somebody on the hosts' network has an address.
#[derive(Debug, thiserror::Error)]
pub enum LanError {
    /// The host's namespace cannot be entered.
    #[error("could not look at the host's network")]
    Namespace(#[source] NamespaceError),
    /// Nothing could be asked, or no answer received.
    #[error("could not ask on `{device}` by ARP who has {address}")]
    Arp {
        /// The link.
        device: String,
        /// The address.
        address: Ipv4Addr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Why it is not known which addresses are answered for, or why they are not those of tasks.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    #[error("could not look through the firewall's elements")]
    Nft(#[source] NftError),
    #[error("could not change which addresses the host answers for")]
    Netlink(#[source] NetlinkError),
}

/// The address that the host has on the leg, when it is that of its network.
pub(super) fn leg(config: &FabricConfig) -> Option<Ipv4Addr> {
    match (config.network.overlay, config.underlay.as_ref()?.address) {
        (Overlay::Lan, IpAddr::V4(address)) => Some(address),
        (Overlay::Lan | Overlay::Routes | Overlay::Vxlan { .. }, _) => None,
    }
}

/// The network that hosts and tasks share.
pub(super) struct Lan {
    /// Its link.
    link: u32,
    /// All of it.
    net: Ipv4Net,
}

impl Lan {
    /// Whether a route is the way to the network itself, or one that counts for less.
    pub(super) fn is_way(&self, route: &Route) -> bool {
        let IpNet::V4(to) = route.to else { return false };
        let own = to == self.net && matches!(route.way, Way::Out { link, via: None, .. } if link == self.link);
        own || (to.contains(&self.net) && to.prefix_len() < self.net.prefix_len())
    }
}

/// Looks whether the range of tasks is a free part of the host's network. Nothing in other overlays.
pub(super) fn survey(
    config: &FabricConfig,
    links: &[Link],
    addresses: &[Address],
    routes: &[KnownRoute],
) -> Result<Option<Lan>, FabricError> {
    let range = config.network.v4;
    match config.network.overlay {
        Overlay::Lan => {}
        Overlay::Vxlan { .. } | Overlay::Routes => return Ok(None),
    }
    if let Some(network) = config.network.v6 {
        return Err(FabricError::LanV6 { network: network.into() });
    }
    let Some(Underlay { device, address: own @ IpAddr::V4(_) }) = &config.underlay else {
        return Err(FabricError::NoLan);
    };
    let Link { index: link, name: device, .. } = underlay(config, device, *own, links, addresses)?;
    let link = *link;
    let of_link = || addresses.iter().filter(|a| a.link == link).map(|a| a.net);
    let nets = of_link().filter_map(|net| if let IpNet::V4(net) = net { Some(net.trunc()) } else { None });
    let net = nets.filter(|net| net.contains(&range)).max_by_key(Ipv4Net::prefix_len).ok_or_else(|| {
        let there: Vec<String> = of_link().filter(|net| net.addr().is_ipv4()).map(|net| net.to_string()).collect();
        FabricError::NotOnLan { network: range.into(), device: device.clone(), there: there.join(", ") }
    })?;
    let taken = |address: IpAddr, whose: String| FabricError::LanTaken { network: range.into(), address, whose };
    let within = |address: &IpAddr| matches!(address, IpAddr::V4(v4) if range.contains(v4));
    let name = |index: u32| links.iter().find(|l| l.index == index).map_or("?", |l| l.name.as_str());
    // The leg may still have one of another configuration.
    let leg = config.names.leg();
    if let Some(own) = addresses.iter().find(|a| within(&a.net.addr()) && name(a.link) != leg) {
        return Err(taken(own.net.addr(), format!("an address of this host on `{}`", name(own.link))));
    }
    for known in routes.iter().filter(|known| !known.ours) {
        if let Way::Out { via: Some(via), .. } = known.route.way
            && within(&via)
        {
            let whose = match known.route.to.prefix_len() {
                0 => "this host's gateway".to_owned(),
                _ => format!("this host's gateway to {}", known.route.to),
            };
            return Err(taken(via, whose));
        }
    }
    Ok(Some(Lan { link, net }))
}

impl Fabric {
    /// Who else on the hosts' network has an address, as far as anybody says within `patience`. With addresses that are
    /// not of that network, nobody can.
    ///
    /// # Errors
    /// When it could not be asked.
    pub async fn holder(&self, address: Ipv4Addr, patience: Duration) -> Result<Option<Mac>, LanError> {
        if self.inner.on_lan().is_none() {
            return Ok(None);
        }
        self.run(move |inner| inner.holder(address, patience)).await
    }
}

impl Inner {
    /// The link of the hosts' network and our address on it, when tasks are on it as well.
    fn on_lan(&self) -> Option<(String, Ipv4Addr)> {
        let own = leg(&self.config)?;
        Some((lock(&self.wanted).device.clone(), own))
    }

    fn holder(&self, address: Ipv4Addr, patience: Duration) -> Result<Option<Mac>, LanError> {
        let Some((device, own)) = self.on_lan() else { return Ok(None) };
        let ask = || Arp::open(&device)?.holder(address, own, patience);
        let failed = |source| LanError::Arp { device: device.clone(), address, source };
        self.host.visit(ask).map_err(LanError::Namespace)?.map_err(failed)
    }

    /// Tells everybody on the network that an address is here. Without it they find out a little later.
    pub(super) fn announce(&self, address: Ipv4Addr) {
        let Some((device, _)) = self.on_lan() else { return };
        match self.host.visit(|| Arp::open(&device)?.announce(address)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%address, device, %error, "could not announce a task's address"),
            Err(error) => tracing::warn!(%address, device, %error, "could not announce a task's address"),
        }
    }

    /// Begins to answer for an address. The caller holds `rules`.
    pub(super) fn answer_for(&self, address: Ipv4Addr) -> Result<(), NetlinkError> {
        let Some((device, _)) = self.on_lan() else { return Ok(()) };
        let mut host = lock(&self.host_route);
        let link = route::find_link(&mut host, &device)?;
        let link = link.ok_or_else(|| NetlinkError::Garbled(format!("the link `{device}` is not there")))?.index;
        host.all(&[route::add_proxy(&Proxy { link, address })])
    }

    /// Ends it. The caller holds `rules`.
    pub(super) fn answer_no_more(&self, address: Ipv4Addr) -> Result<(), NetlinkError> {
        let Some((device, _)) = self.on_lan() else { return Ok(()) };
        let mut host = lock(&self.host_route);
        // They go with their link.
        let Some(link) = route::find_link(&mut host, &device)? else { return Ok(()) };
        remove(&mut host, &[Proxy { link: link.index, address }])
    }

    /// The settings of the network's link, and what the host answers for. The caller holds `editing`.
    pub(super) fn ensure_lan(&self, survey: &Survey, done: &mut Vec<Repair>) -> Result<(), FabricError> {
        if let Some((device, _)) = self.on_lan() {
            let wanted = [
                // By default an answer for somebody else waits up to 0.8 s.
                (format!("ipv4/neigh/{device}/proxy_delay"), "0"),
                // Without it the host answers for nobody.
                (format!("ipv4/conf/{device}/forwarding"), "1"),
            ];
            done.extend(self.host.visit(|| settings(&wanted)).map_err(FabricError::Namespace)??);
        }
        let changed = self.settle_proxies(survey.index()).map_err(|error| match error {
            ProxyError::Nft(error) => FabricError::Nft(error),
            ProxyError::Netlink(error) => FabricError::netlink("change which addresses the host answers for")(error),
        })?;
        done.extend(changed.into_iter().map(|(address, _)| Repair::Proxy(address.to_string())));
        Ok(())
    }

    /// Makes what the host answers for the addresses that the firewall lets through; on no link, nothing. Returns what
    /// changed, and whether it is answered for now.
    fn settle_proxies(&self, link: Option<u32>) -> Result<Vec<(Ipv4Addr, bool)>, ProxyError> {
        let link = link.filter(|_| self.on_lan().is_some());
        // Held to the end: what is admitted and dismissed meanwhile would be undone.
        let mut rules = lock(&self.rules);
        let mut wanted = BTreeSet::new();
        if let Some(link) = link {
            let pinned = rules.nft.list(PIN4).map_err(ProxyError::Nft)?;
            let tasks = pinned.iter().filter(|e| link_of(&e.key).and_then(|l| self.names().stem_of_link(l)).is_some());
            wanted.extend(tasks.filter_map(|e| address4_of(&e.key)).map(|address| Proxy { link, address }));
        }
        let mut host = lock(&self.host_route);
        let there: BTreeSet<Proxy> = route::proxies(&mut host).map_err(ProxyError::Netlink)?.into_iter().collect();
        let gone: Vec<Proxy> = there.difference(&wanted).copied().collect();
        remove(&mut host, &gone).map_err(ProxyError::Netlink)?;
        let additions: Vec<Request> = wanted.difference(&there).map(route::add_proxy).collect();
        host.all(&additions).map_err(ProxyError::Netlink)?;
        Ok(there.symmetric_difference(&wanted).map(|proxy| (proxy.address, wanted.contains(proxy))).collect())
    }

    /// The same after elements of no task were removed. Returns what is not answered for any more.
    pub(super) fn sweep_proxies(&self) -> Result<Vec<Ipv4Addr>, ProxyError> {
        let link = match self.on_lan() {
            Some((device, _)) => {
                route::find_link(&mut lock(&self.host_route), &device).map_err(ProxyError::Netlink)?.map(|l| l.index)
            }
            None => None,
        };
        let changed = self.settle_proxies(link)?;
        Ok(changed.into_iter().filter(|(_, answered)| !answered).map(|(address, _)| address).collect())
    }
}

/// What is not there may be.
fn remove(socket: &mut crate::netlink::Socket, proxies: &[Proxy]) -> Result<(), NetlinkError> {
    let removals: Vec<Request> = proxies.iter().map(route::del_proxy).collect();
    for result in socket.try_all(&removals)? {
        match result {
            Err(refusal) if ![Errno::ENOENT, Errno::ENODEV].contains(&refusal.errno) => {
                return Err(NetlinkError::Refused(refusal));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
