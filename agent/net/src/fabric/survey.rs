//! What the host has that a fabric builds on, and what is in its way.

use super::{FabricConfig, FabricError, Underlay, lan};
use crate::netlink::Socket;
use crate::netlink::route::{self, Address, Link, Way};
use ipnet::IpNet;
use longshore_model::network::Overlay;
use std::net::IpAddr;

/// Tunnels add this much to a packet, by the underlay's family: Ethernet, IP, UDP and VXLAN headers.
const OVERHEAD4: u32 = 50;
const OVERHEAD6: u32 = 70;

/// What the host has that the fabric builds on.
pub(super) struct Survey {
    /// The underlay's link.
    pub(super) underlay: Option<Link>,
}

impl Survey {
    /// The number of the underlay's link.
    pub(super) fn index(&self) -> Option<u32> {
        self.underlay.as_ref().map(|link| link.index)
    }
}

fn overlaps(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// Checks that no route of the host leads into the network's range.
pub(super) fn check_range(socket: &mut Socket, config: &FabricConfig) -> Result<(), FabricError> {
    let links = route::links(socket).map_err(FabricError::netlink("list the host's links"))?;
    let leg = config.names.leg();
    let name = |index: u32| links.iter().find(|l| l.index == index).map_or("", |l| l.name.as_str());
    let networks: Vec<IpNet> =
        [Some(config.network.v4.into()), config.network.v6.map(IpNet::from)].into_iter().flatten().collect();
    let routes = route::routes(socket).map_err(FabricError::netlink("list the host's routes"))?;
    let addresses = route::addresses(socket).map_err(FabricError::netlink("list the host's addresses"))?;
    // The one network of the host that may be in the way, since tasks are to be on it.
    let lan = lan::survey(config, &links, &addresses, &routes)?;
    for known in routes {
        let device = match known.route.way {
            Way::Out { link, .. } => name(link),
            Way::Unreachable => "",
        };
        if known.ours || device == leg || known.route.to.prefix_len() == 0 {
            continue;
        }
        if lan.as_ref().is_some_and(|lan| lan.is_way(&known.route)) {
            continue;
        }
        if let Some(network) = networks.iter().find(|network| overlaps(network, &known.route.to)) {
            let device = device.to_owned();
            return Err(FabricError::Overlap { network: *network, route: known.route.to, device });
        }
    }
    Ok(())
}

/// The link with an address: the one of that name, or another one that has it by now.
pub(super) fn underlay<'a>(
    config: &FabricConfig,
    device: &str,
    address: IpAddr,
    links: &'a [Link],
    addresses: &[Address],
) -> Result<&'a Link, FabricError> {
    // On a LAN of tasks the leg has it as well.
    let leg = config.names.leg();
    let has =
        |link: &&Link| link.name != leg && addresses.iter().any(|a| a.link == link.index && a.net.addr() == address);
    let named = links.iter().filter(|link| link.name == device).find(has);
    named.or_else(|| links.iter().find(has)).ok_or(FabricError::UnderlayAddress { address })
}

/// Finds the underlay's link. It has to be up, and to carry packets that are large enough.
pub(super) fn survey(socket: &mut Socket, config: &FabricConfig) -> Result<Survey, FabricError> {
    let Some(Underlay { device, address }) = &config.underlay else { return Ok(Survey { underlay: None }) };
    let links = route::links(socket).map_err(FabricError::netlink("list the host's links"))?;
    let addresses = route::addresses(socket).map_err(FabricError::netlink("list the host's addresses"))?;
    let link = underlay(config, device, *address, &links, &addresses)?;
    if !link.up {
        return Err(FabricError::UnderlayDown { device: link.name.clone(), address: *address });
    }
    if (config.network.overlay, address.is_ipv4()) == (Overlay::Routes, true) && config.network.v6.is_some() {
        return Err(FabricError::UnderlayFamily { address: *address });
    }
    let overhead = match (config.network.overlay, address) {
        (Overlay::Vxlan { .. }, IpAddr::V4(_)) => OVERHEAD4,
        (Overlay::Vxlan { .. }, IpAddr::V6(_)) => OVERHEAD6,
        (Overlay::Routes | Overlay::Lan, _) => 0,
    };
    let needed = u32::from(config.network.mtu) + overhead;
    if link.mtu < needed {
        return Err(FabricError::UnderlayMtu { device: link.name.clone(), mtu: link.mtu, needed });
    }
    Ok(Survey { underlay: Some(link.clone()) })
}
