//! What others change of the fabric, as the kernel announces it.
//!
//! Only what a repair would put back, or what is in the fabric's way, is of interest. Changes of this process and of
//! the programs that it runs are not: it knows of them.

use super::docker_user;
use super::wired::Interfaces;
use super::{Fabric, FabricError, lock};
use crate::names::{FABRIC_LEG, GATEWAY, GATEWAY6, METADATA, Names, PROTOCOL, TASK_GATEWAY_MAC};
use crate::namespace::Namespace;
use crate::netlink::listen::{
    ADDRESSES4, ADDRESSES6, Announced, LINKS, Listener, NEIGHBOURS, NFTABLES, ROUTES4, ROUTES6, open,
};
use crate::netlink::{Family, NetlinkError, attr};
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

const ROUTE_GROUPS: [u32; 6] = [LINKS, NEIGHBOURS, ADDRESSES4, ROUTES4, ADDRESSES6, ROUTES6];

/// `struct ifinfomsg`, `ifaddrmsg`, `rtmsg`, `ndmsg`, `nfgenmsg`: the lengths of what comes before attributes.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const ROUTE_HEADER: usize = 12;
const NEIGHBOUR_HEADER: usize = 12;
const NFT_HEADER: usize = 4;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const RTM_DELLINK: u16 = 17;
const IFF_UP: u8 = 1;
/// Where a link's flags are in its header.
const LINK_FLAGS: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const NDA_DST: u16 = 1;
const AF_BRIDGE: u8 = 7;
const NFT_SUBSYSTEM: u16 = 10;
const NFT_NEW_CHAIN: u16 = 3;
const NFT_DEL_CHAIN: u16 = 5;
const NFT_NEW_RULE: u16 = 6;
const NFT_DEL_RULE: u16 = 8;
/// The last kind of message about what is in a table (`NFT_MSG_DELSETELEM`).
const NFT_LAST: u16 = 14;
const NFPROTO_INET: u8 = 1;
/// `NFTA_TABLE_NAME` and the like, `NFTA_CHAIN_NAME`, `NFTA_RULE_CHAIN`.
const NFT_TABLE: u16 = 1;
const NFT_CHAIN_NAME: u16 = 3;
const NFT_RULE_CHAIN: u16 = 2;

/// What is announced of routing.
enum What<'a> {
    Link(&'a [u8]),
    Address(&'a [u8]),
    Route(&'a [u8]),
    Neighbour(&'a [u8]),
    Other,
}

fn what<'a>(announced: &Announced<'a>) -> What<'a> {
    match announced.kind {
        16 | 17 => What::Link(announced.body),
        20 | 21 => What::Address(announced.body),
        24 | 25 => What::Route(announced.body),
        28 | 29 => What::Neighbour(announced.body),
        _ => What::Other,
    }
}

fn attribute(body: &[u8], header: usize, kind: u16) -> Option<&[u8]> {
    attr::find(body.get(header..)?, kind)
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

fn address_of(body: &[u8]) -> Option<IpAddr> {
    let local = attribute(body, ADDRESS_HEADER, IFA_LOCAL);
    local.or_else(|| attribute(body, ADDRESS_HEADER, IFA_ADDRESS)).and_then(ip)
}

/// What counts.
#[derive(Debug)]
struct Interest {
    host_links: Vec<String>,
    fabric_links: Vec<String>,
    ranges: Vec<IpNet>,
    underlay: Option<IpAddr>,
    host_table: String,
    fabric_table: String,
    names: Names,
    mtu: u16,
    /// See [`Inner`](super::Inner).
    wired: Arc<Mutex<Interfaces>>,
}

impl Interest {
    fn in_range(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(&address))
    }

    fn is_ours(&self, address: IpAddr) -> bool {
        let fixed = [IpAddr::V4(GATEWAY), IpAddr::V4(METADATA), IpAddr::V6(GATEWAY6)];
        fixed.contains(&address) || self.in_range(address)
    }

    fn route(&self, announced: &Announced<'_>, body: &[u8]) -> bool {
        // What the kernel removes with a link or an address is announced with those.
        if announced.is_kernels() {
            return false;
        }
        let (Some(length), Some(protocol)) = (body.get(1), body.get(5)) else { return false };
        let to = attribute(body, ROUTE_HEADER, RTA_DST).and_then(ip).and_then(|ip| IpNet::new(ip, *length).ok());
        let overlaps = |to: IpNet| self.ranges.iter().any(|range| range.contains(&to) || to.contains(range));
        *protocol == PROTOCOL || to.is_some_and(overlaps)
    }

    fn in_host(&self, announced: &Announced<'_>) -> bool {
        if announced.is_own() {
            return false;
        }
        match what(announced) {
            What::Link(body) => named(body, &self.host_links),
            What::Address(body) => {
                address_of(body).is_some_and(|address| self.is_ours(address) || self.underlay == Some(address))
            }
            What::Route(body) => self.route(announced, body),
            What::Neighbour(body) => {
                let address = attribute(body, NEIGHBOUR_HEADER, NDA_DST).and_then(ip);
                !announced.is_kernels() && address.is_some_and(|address| self.is_ours(address))
            }
            What::Other => false,
        }
    }

    /// Whether a link of a task is not as it is to be. Of others' changes of links the kernel does not say whose they
    /// are; what it does itself while one comes or goes is no such change.
    fn of_task(&self, announced: &Announced<'_>, body: &[u8]) -> bool {
        let Some(name) = attribute(body, LINK_HEADER, IFLA_IFNAME).map(attr::text) else { return false };
        let known = self.names.stem_of_link(&name).is_some_and(|stem| lock(&self.wired).has(stem));
        let is = |kind, wanted: &[u8]| attribute(body, LINK_HEADER, kind).is_none_or(|value| value == wanted);
        let flags = if cfg!(target_endian = "big") { LINK_FLAGS + 3 } else { LINK_FLAGS };
        let up = body.get(flags).is_some_and(|flags| flags & IFF_UP != 0);
        let as_made = is(IFLA_ADDRESS, &TASK_GATEWAY_MAC.0) && is(IFLA_MTU, &u32::from(self.mtu).to_ne_bytes());
        known && (announced.kind == RTM_DELLINK || !up || (name.starts_with('t') && !as_made))
    }

    fn in_fabric(&self, announced: &Announced<'_>) -> bool {
        if announced.is_own() {
            return false;
        }
        match what(announced) {
            What::Link(body) => named(body, &self.fabric_links) || self.of_task(announced, body),
            What::Address(_) => !announced.is_kernels(),
            What::Route(body) => self.route(announced, body),
            // Entries of a tunnel are announced without who asked for them.
            What::Neighbour(body) => !announced.is_kernels() || body.first() == Some(&AF_BRIDGE),
            What::Other => false,
        }
    }

    fn in_host_tables(&self, announced: &Announced<'_>) -> bool {
        in_table(announced, &self.host_table) || in_dockers_chain(announced)
    }

    fn in_fabric_tables(&self, announced: &Announced<'_>) -> bool {
        in_table(announced, &self.fabric_table)
    }
}

fn named(body: &[u8], names: &[String]) -> bool {
    attribute(body, LINK_HEADER, IFLA_IFNAME).is_some_and(|name| names.contains(&attr::text(name)))
}

/// The number of a message of nftables, but for what is about generations and traces.
fn nft_message(announced: &Announced<'_>) -> Option<u16> {
    let message = announced.kind & 0xff;
    (announced.kind >> 8 == NFT_SUBSYSTEM && message <= NFT_LAST && !announced.is_own()).then_some(message)
}

fn in_table(announced: &Announced<'_>, table: &str) -> bool {
    nft_message(announced).is_some()
        && announced.body.first() == Some(&NFPROTO_INET)
        && attribute(announced.body, NFT_HEADER, NFT_TABLE).is_some_and(|name| attr::text(name) == table)
}

/// Docker makes its chains anew when it starts. With `iptables` over nftables that is announced.
fn in_dockers_chain(announced: &Announced<'_>) -> bool {
    let name = match nft_message(announced) {
        Some(NFT_NEW_CHAIN | NFT_DEL_CHAIN) => NFT_CHAIN_NAME,
        Some(NFT_NEW_RULE | NFT_DEL_RULE) => NFT_RULE_CHAIN,
        Some(_) | None => return false,
    };
    attribute(announced.body, NFT_HEADER, name).is_some_and(|name| attr::text(name) == docker_user::CHAIN)
}

/// Hears what others change of the fabric.
#[derive(Debug)]
pub struct Changes {
    host: Listener,
    host_tables: Listener,
    fabric: Listener,
    fabric_tables: Listener,
    interest: Interest,
    /// See [`Inner`](super::Inner).
    touched: Arc<AtomicBool>,
}

impl Changes {
    /// Waits until somebody else changed something that a repair puts back, or may have. Many changes at once are one.
    /// Cancel-safe.
    ///
    /// # Errors
    /// When the kernel cannot be heard any more.
    pub async fn next(&mut self) -> Result<(), FabricError> {
        let interest = &self.interest;
        let heard = tokio::select! {
            heard = self.host.heard(|announced| interest.in_host(announced)) => heard,
            heard = self.host_tables.heard(|announced| interest.in_host_tables(announced)) => heard,
            heard = self.fabric.heard(|announced| interest.in_fabric(announced)) => heard,
            heard = self.fabric_tables.heard(|announced| interest.in_fabric_tables(announced)) => {
                self.touched.store(true, Ordering::Relaxed);
                heard
            }
        };
        heard.map_err(FabricError::netlink("hear what others change"))
    }
}

fn listeners(at: &Namespace) -> Result<(Listener, Listener), FabricError> {
    let sockets = || -> Result<_, NetlinkError> {
        Ok((open(Family::Route, &ROUTE_GROUPS)?, open(Family::Netfilter, &[NFTABLES])?))
    };
    let failed = || FabricError::netlink("listen to what others change");
    let (route, tables) = at.visit(sockets).map_err(FabricError::Namespace)?.map_err(failed())?;
    Ok((Listener::new(route).map_err(failed())?, Listener::new(tables).map_err(failed())?))
}

impl Fabric {
    /// Begins to hear what others change of the fabric, in both namespaces.
    ///
    /// # Errors
    /// When the kernel cannot be heard.
    pub fn changes(&self) -> Result<Changes, FabricError> {
        let (config, names) = (&self.inner.config, self.names());
        let (host, host_tables) = listeners(&self.inner.host)?;
        let (fabric, fabric_tables) = listeners(&self.inner.fabric)?;
        let device = lock(&self.inner.wanted).device.clone();
        let ranges = [Some(IpNet::from(config.network.v4)), config.network.v6.map(IpNet::from)];
        let interest = Interest {
            host_links: vec![names.leg(), device],
            fabric_links: vec![FABRIC_LEG.to_owned(), names.tunnel(), "lo".to_owned()],
            ranges: ranges.into_iter().flatten().collect(),
            underlay: config.underlay.as_ref().map(|underlay| underlay.address),
            host_table: names.host_table(),
            fabric_table: names.fabric_table(),
            names: names.clone(),
            mtu: config.network.mtu,
            wired: self.inner.wired.clone(),
        };
        let touched = self.inner.touched.clone();
        Ok(Changes { host, host_tables, fabric, fabric_tables, interest, touched })
    }
}

/// Hears of addresses that come and go, of a namespace's links.
#[derive(Debug)]
pub struct AddressWatch(Listener);

impl AddressWatch {
    /// Of the calling thread's namespace.
    ///
    /// # Errors
    /// When the kernel cannot be heard.
    pub fn here() -> Result<Self, NetlinkError> {
        Listener::new(open(Family::Route, &[ADDRESSES4, ADDRESSES6])?).map(Self)
    }

    /// Waits until an address came or went that others could send to. Cancel-safe; for ever when the kernel is not
    /// heard any more.
    pub async fn changed(&mut self) {
        let global = |announced: &Announced<'_>| match (what(announced), address_of(announced.body)) {
            (What::Address(_), Some(IpAddr::V4(ip))) => !ip.is_link_local() && !ip.is_loopback(),
            (What::Address(_), Some(IpAddr::V6(ip))) => !ip.is_unicast_link_local() && !ip.is_loopback(),
            _ => false,
        };
        if let Err(error) = self.0.heard(global).await {
            tracing::warn!(%error, "changes of this host's addresses are found out late from here on");
            std::future::pending().await
        }
    }
}
