//! Links, addresses, routes and neighbours, as far as the fabric makes them.
//!
//! Small types that compare, so that what is wanted and what is there can be held against each other; and the requests
//! that lead from one to the other.

use super::{NetlinkError, Reply, Request, Socket};
use crate::names::PROTOCOL;
use ipnet::IpNet;
use longshore_model::network::Mac;
use netlink_packet_core::{Emitable, NetlinkDeserializable, NetlinkHeader};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope,
    RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const MAIN_TABLE: u32 = 254;
const LOCAL_TABLE: u32 = 255;

/// A link as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) kind: Option<String>,
    pub(crate) up: bool,
    /// Something is at its other end, and up.
    pub(crate) carrier: bool,
    pub(crate) mac: Option<Mac>,
    pub(crate) mtu: u32,
    /// The other end of a veth, by its number in the namespace where it is; what a tunnel runs over.
    pub(crate) over: Option<u32>,
    pub(crate) alias: Option<String>,
    pub(crate) tunnel: Option<Tunnel>,
}

/// What a VXLAN link is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tunnel {
    pub(crate) vni: u32,
    pub(crate) port: u16,
    pub(crate) local: Option<IpAddr>,
    /// The number of the underlay's link, in the namespace of the socket.
    pub(crate) over: u32,
    pub(crate) learning: bool,
}

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    pub(crate) link: u32,
    pub(crate) net: IpNet,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// To a neighbour on a link, or through one.
    Out {
        link: u32,
        via: Option<IpAddr>,
        /// The gateway is on the link although no route says so.
        onlink: bool,
    },
    /// Nowhere, and the sender is told.
    Unreachable,
}

/// A route of the main table, of ours when it is marked so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    pub(crate) to: IpNet,
    pub(crate) way: Way,
    pub(crate) source: Option<IpAddr>,
    pub(crate) mtu: Option<u32>,
}

impl Route {
    /// Straight out of a link.
    pub(crate) fn on(to: IpNet, link: u32) -> Self {
        Self { to, way: Way::Out { link, via: None, onlink: false }, source: None, mtu: None }
    }

    /// Through a gateway.
    pub(crate) fn via(to: IpNet, link: u32, via: IpAddr) -> Self {
        Self { to, way: Way::Out { link, via: Some(via), onlink: false }, source: None, mtu: None }
    }

    /// Through a gateway that is taken to be on the link.
    pub(crate) fn onlink(to: IpNet, link: u32, via: IpAddr) -> Self {
        Self { to, way: Way::Out { link, via: Some(via), onlink: true }, source: None, mtu: None }
    }

    pub(crate) fn unreachable(to: IpNet) -> Self {
        Self { to, way: Way::Unreachable, source: None, mtu: None }
    }
}

/// A route as it is, with what tells whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownRoute {
    pub(crate) route: Route,
    pub(crate) ours: bool,
    /// In the main table; else in another one.
    pub(crate) main: bool,
    /// To an address of the host.
    pub(crate) local: bool,
}

/// A neighbour that never has to be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Neighbour {
    pub(crate) link: u32,
    pub(crate) address: IpAddr,
    pub(crate) mac: Mac,
}

/// Where a tunnel sends frames for a hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Forwarding {
    pub(crate) link: u32,
    pub(crate) mac: Mac,
    pub(crate) to: IpAddr,
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn request(message: &RouteNetlinkMessage, flags: u16) -> Request {
    let mut body = vec![0; message.buffer_len()];
    message.emit(&mut body);
    Request { kind: message.message_type(), flags, body }
}

fn parse(reply: &Reply) -> Result<RouteNetlinkMessage, NetlinkError> {
    let mut header = NetlinkHeader::default();
    header.message_type = reply.kind;
    RouteNetlinkMessage::deserialize(&header, &reply.body).map_err(|e| NetlinkError::Garbled(e.to_string()))
}

// --- links ---------------------------------------------------------------------------------------------------------

/// One end of a new veth.
pub(crate) struct End<'a> {
    pub(crate) name: &'a str,
    pub(crate) mac: Mac,
    pub(crate) mtu: u16,
}

fn end(end: &End<'_>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.extend([
        LinkAttribute::IfName(end.name.to_owned()),
        LinkAttribute::Mtu(end.mtu.into()),
        LinkAttribute::Address(end.mac.0.to_vec()),
    ]);
    message
}

fn of_kind(message: &mut LinkMessage, kind: InfoKind, data: Option<InfoData>) {
    let mut info = vec![LinkInfo::Kind(kind)];
    info.extend(data.map(LinkInfo::Data));
    message.attributes.push(LinkAttribute::LinkInfo(info));
}

fn raise(message: &mut LinkMessage) {
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
}

/// A pair of links: one here, and up when `up`, one in another namespace, down: the kernel does not raise that one
/// before the pair is complete.
pub(crate) fn add_veth(here: &End<'_>, up: bool, there: &End<'_>, namespace: BorrowedFd<'_>) -> Request {
    let mut peer = end(there);
    peer.attributes.push(LinkAttribute::NetNsFd(namespace.as_raw_fd()));
    let mut message = end(here);
    of_kind(&mut message, InfoKind::Veth, Some(InfoData::Veth(InfoVeth::Peer(peer))));
    if up {
        raise(&mut message);
    }
    request(&RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// A tunnel, in another namespace, whose packets come and go in the socket's.
pub(crate) fn add_vxlan(new: &End<'_>, tunnel: &Tunnel, namespace: BorrowedFd<'_>) -> Request {
    let mut message = end(new);
    message.attributes.push(LinkAttribute::NetNsFd(namespace.as_raw_fd()));
    let mut data = vec![
        InfoVxlan::Id(tunnel.vni),
        InfoVxlan::Link(tunnel.over),
        InfoVxlan::Port(tunnel.port),
        InfoVxlan::Learning(tunnel.learning),
    ];
    data.extend(tunnel.local.map(|local| match local {
        IpAddr::V4(ip) => InfoVxlan::Local(ip),
        IpAddr::V6(ip) => InfoVxlan::Local6(ip),
    }));
    of_kind(&mut message, InfoKind::Vxlan, Some(InfoData::Vxlan(data)));
    request(&RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// A link that gives back what it was sent, through a queue.
pub(crate) fn add_ifb(name: &str) -> Request {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    of_kind(&mut message, InfoKind::Ifb, None);
    raise(&mut message);
    request(&RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// A link of a kind, with nothing said about it.
pub(crate) fn add_of_kind(name: &str, kind: &str) -> Request {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    of_kind(&mut message, InfoKind::Other(kind.to_owned()), None);
    request(&RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// Raises a link.
pub(crate) fn set_up(index: u32) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    raise(&mut message);
    request(&RouteNetlinkMessage::SetLink(message), 0)
}

/// Changes the hardware address and the MTU of a link.
pub(crate) fn set_end(index: u32, mac: Mac, mtu: u16) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.extend([LinkAttribute::Address(mac.0.to_vec()), LinkAttribute::Mtu(mtu.into())]);
    request(&RouteNetlinkMessage::SetLink(message), 0)
}

/// Changes the MTU of a link. A hardware address that is set, be it the same, costs a link its neighbours.
pub(crate) fn set_mtu(index: u32, mtu: u16) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::Mtu(mtu.into()));
    request(&RouteNetlinkMessage::SetLink(message), 0)
}

/// Gives a link the words that `ip link` shows with it.
pub(crate) fn set_alias(index: u32, alias: &str) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::IfAlias(alias.to_owned()));
    request(&RouteNetlinkMessage::SetLink(message), 0)
}

/// The same for the link of a name.
pub(crate) fn set_alias_of(name: &str, alias: &str) -> Request {
    let mut message = LinkMessage::default();
    message.attributes.extend([LinkAttribute::IfName(name.to_owned()), LinkAttribute::IfAlias(alias.to_owned())]);
    request(&RouteNetlinkMessage::SetLink(message), 0)
}

/// Puts a link into a group, by which many are deleted at once.
pub(crate) fn set_group(index: u32, group: u32) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::Group(group));
    request(&RouteNetlinkMessage::SetLink(message), 0)
}

/// Deletes all links of a group. One wait of the kernel's for all of them, where each alone would have its own.
pub(crate) fn del_group(group: u32) -> Request {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::Group(group));
    request(&RouteNetlinkMessage::DelLink(message), 0)
}

/// Deletes a link, and a veth's other end with it.
pub(crate) fn del_link(index: u32) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    request(&RouteNetlinkMessage::DelLink(message), 0)
}

fn link(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let (up, carrier) = (flags.contains(LinkFlags::Up), flags.contains(LinkFlags::LowerUp));
    let mut link = Link { index: message.header.index, up, carrier, ..Link::default() };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => link.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Link(index) => link.over = Some(*index),
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias.clone()),
            LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| match info {
                LinkInfo::Kind(kind) => link.kind = Some(kind.to_string()),
                LinkInfo::Data(InfoData::Vxlan(data)) => link.tunnel = Some(tunnel(data)),
                _ => {}
            }),
            _ => {}
        }
    }
    link
}

fn tunnel(data: &[InfoVxlan]) -> Tunnel {
    let mut tunnel = Tunnel { vni: 0, port: 0, local: None, over: 0, learning: false };
    for info in data {
        match info {
            InfoVxlan::Id(vni) => tunnel.vni = *vni,
            InfoVxlan::Port(port) => tunnel.port = *port,
            InfoVxlan::Local(ip) if !ip.is_unspecified() => tunnel.local = Some(IpAddr::V4(*ip)),
            InfoVxlan::Local6(ip) if !ip.is_unspecified() => tunnel.local = Some(IpAddr::V6(*ip)),
            InfoVxlan::Link(index) => tunnel.over = *index,
            InfoVxlan::Learning(learning) => tunnel.learning = *learning,
            _ => {}
        }
    }
    tunnel
}

/// All links.
pub(crate) fn links(socket: &mut Socket) -> Result<Vec<Link>, NetlinkError> {
    let replies = socket.dump(&request(&RouteNetlinkMessage::GetLink(LinkMessage::default()), 0))?;
    let mut links = Vec::with_capacity(replies.len());
    for reply in &replies {
        if let RouteNetlinkMessage::NewLink(message) = parse(reply)? {
            links.push(link(&message));
        }
    }
    Ok(links)
}

/// The link of this name.
pub(crate) fn find_link(socket: &mut Socket, name: &str) -> Result<Option<Link>, NetlinkError> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    match socket.get(&request(&RouteNetlinkMessage::GetLink(message), 0)) {
        Ok(reply) => match parse(&reply)? {
            RouteNetlinkMessage::NewLink(message) => Ok(Some(link(&message))),
            other => Err(NetlinkError::Garbled(format!("asked for a link, it said {other:?}"))),
        },
        Err(NetlinkError::Refused(refusal)) if refusal.errno == Errno::ENODEV => Ok(None),
        Err(error) => Err(error),
    }
}

// --- addresses -----------------------------------------------------------------------------------------------------

fn address_message(address: &Address) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.net.addr());
    message.header.prefix_len = address.net.prefix_len();
    message.header.index = address.link;
    message.header.scope = match address.net.addr() {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => AddressScope::Link,
        IpAddr::V4(_) | IpAddr::V6(_) => AddressScope::Universe,
    };
    message.attributes.push(AddressAttribute::Local(address.net.addr()));
    message.attributes.push(AddressAttribute::Address(address.net.addr()));
    if address.net.addr().is_ipv6() {
        // Nobody else can have it, and the task is not to wait for the proof.
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    message
}

/// Adds an address, or leaves it.
pub(crate) fn add_address(address: &Address) -> Request {
    request(&RouteNetlinkMessage::NewAddress(address_message(address)), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Removes an address.
pub(crate) fn del_address(address: &Address) -> Request {
    let mut message = address_message(address);
    message.attributes.retain(|a| !matches!(a, AddressAttribute::Flags(_)));
    request(&RouteNetlinkMessage::DelAddress(message), 0)
}

/// All addresses that somebody gave: the ones that the kernel makes for itself are left out.
pub(crate) fn addresses(socket: &mut Socket) -> Result<Vec<Address>, NetlinkError> {
    let mut found = Vec::new();
    for reply in socket.dump(&request(&RouteNetlinkMessage::GetAddress(AddressMessage::default()), 0))? {
        let RouteNetlinkMessage::NewAddress(message) = parse(&reply)? else { continue };
        let mut ip = None;
        for attribute in &message.attributes {
            match attribute {
                // On a point-to-point link `Address` is the peer's and `Local` ours; elsewhere they are the same.
                AddressAttribute::Local(local) => ip = Some(*local),
                AddressAttribute::Address(address) => ip = ip.or(Some(*address)),
                _ => {}
            }
        }
        let Some(net) = ip.and_then(|ip| IpNet::new(ip, message.header.prefix_len).ok()) else { continue };
        let permanent = message.header.flags.contains(AddressHeaderFlags::Permanent);
        if permanent && !net.addr().is_loopback() {
            found.push(Address { link: message.header.index, net });
        }
    }
    found.sort_unstable();
    Ok(found)
}

// --- routes --------------------------------------------------------------------------------------------------------

fn route_message(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(route.to.addr());
    message.header.destination_prefix_length = route.to.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Other(PROTOCOL);
    if route.to.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(route.to.network().into()));
    }
    match route.way {
        Way::Out { link, via, onlink } => {
            message.header.kind = RouteType::Unicast;
            message.attributes.push(RouteAttribute::Oif(link));
            match via {
                Some(IpAddr::V6(via)) if route.to.addr().is_ipv4() => {
                    message.attributes.push(RouteAttribute::Via(RouteVia::Inet6(via)));
                }
                Some(via) => message.attributes.push(RouteAttribute::Gateway(via.into())),
                None if route.to.addr().is_ipv4() => message.header.scope = RouteScope::Link,
                None => {}
            }
            if onlink {
                message.header.flags = RouteFlags::Onlink;
            }
        }
        Way::Unreachable => message.header.kind = RouteType::Unreachable,
    }
    message.attributes.extend(route.source.map(|ip| RouteAttribute::PrefSource(ip.into())));
    message.attributes.extend(route.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
    message
}

/// Adds a route; another one of ours to the same place has to be gone.
pub(crate) fn add_route(route: &Route) -> Request {
    request(&RouteNetlinkMessage::NewRoute(route_message(route)), NLM_F_CREATE | NLM_F_EXCL)
}

/// Adds a route, or puts it in the place of another one to the same place.
pub(crate) fn replace_route(route: &Route) -> Request {
    request(&RouteNetlinkMessage::NewRoute(route_message(route)), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Removes a route.
pub(crate) fn del_route(route: &Route) -> Request {
    request(&RouteNetlinkMessage::DelRoute(route_message(route)), 0)
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

fn known_route(message: &RouteMessage) -> Option<KnownRoute> {
    let header = &message.header;
    let any = match header.address_family {
        AddressFamily::Inet => IpAddr::from([0_u8; 4]),
        AddressFamily::Inet6 => IpAddr::from([0_u8; 16]),
        _ => return None,
    };
    let (mut to, mut link, mut via, mut source, mut mtu) = (any, 0, None, None, None);
    let mut table = u32::from(header.table);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => to = ip_of(address)?,
            RouteAttribute::Oif(index) => link = *index,
            RouteAttribute::Gateway(address) => via = ip_of(address),
            RouteAttribute::Via(RouteVia::Inet6(ip)) => via = Some(IpAddr::V6(*ip)),
            RouteAttribute::PrefSource(address) => source = ip_of(address),
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|m| if let RouteMetric::Mtu(mtu) = m { Some(*mtu) } else { None });
            }
            RouteAttribute::MultiPath(hops) => link = hops.first().map_or(0, |hop| hop.interface_index),
            _ => {}
        }
    }
    let way = match header.kind {
        RouteType::Unicast | RouteType::Local => {
            Way::Out { link, via, onlink: header.flags.contains(RouteFlags::Onlink) }
        }
        RouteType::Unreachable | RouteType::BlackHole | RouteType::Prohibit => Way::Unreachable,
        _ => return None,
    };
    Some(KnownRoute {
        route: Route { to: IpNet::new(to, header.destination_prefix_length).ok()?, way, source, mtu },
        ours: header.protocol == RouteProtocol::Other(PROTOCOL),
        main: table == MAIN_TABLE,
        local: table == LOCAL_TABLE,
    })
}

/// All routes of both families, of all tables.
pub(crate) fn routes(socket: &mut Socket) -> Result<Vec<KnownRoute>, NetlinkError> {
    let mut found = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        for reply in socket.dump(&request(&RouteNetlinkMessage::GetRoute(message), 0))? {
            if let RouteNetlinkMessage::NewRoute(message) = parse(&reply)? {
                found.extend(known_route(&message));
            }
        }
    }
    Ok(found)
}

/// The entry of the routes that leads to an address.
pub(crate) fn route_to(socket: &mut Socket, to: IpAddr) -> Result<Option<KnownRoute>, NetlinkError> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(to);
    message.header.destination_prefix_length = if to.is_ipv4() { 32 } else { 128 };
    message.header.flags = RouteFlags::FibMatch;
    message.attributes.push(RouteAttribute::Destination(to.into()));
    match socket.get(&request(&RouteNetlinkMessage::GetRoute(message), 0)) {
        Ok(reply) => match parse(&reply)? {
            RouteNetlinkMessage::NewRoute(message) => Ok(known_route(&message)),
            other => Err(NetlinkError::Garbled(format!("asked for a route, it said {other:?}"))),
        },
        Err(NetlinkError::Refused(refusal)) => match refusal.errno {
            Errno::ENETUNREACH | Errno::EHOSTUNREACH => Ok(None),
            _ => Err(NetlinkError::Refused(refusal)),
        },
        Err(error) => Err(error),
    }
}

// --- neighbours ----------------------------------------------------------------------------------------------------

fn neighbour_message(neighbour: &Neighbour) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(neighbour.address);
    message.header.ifindex = neighbour.link;
    message.header.state = NeighbourState::Permanent;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(NeighbourAttribute::Destination(neighbour.address.into()));
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(neighbour.mac.0.to_vec()));
    message.attributes.push(NeighbourAttribute::Protocol(RouteProtocol::Other(PROTOCOL)));
    message
}

/// Adds a neighbour, or corrects it.
pub(crate) fn add_neighbour(neighbour: &Neighbour) -> Request {
    request(&RouteNetlinkMessage::NewNeighbour(neighbour_message(neighbour)), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Removes a neighbour.
pub(crate) fn del_neighbour(neighbour: &Neighbour) -> Request {
    request(&RouteNetlinkMessage::DelNeighbour(neighbour_message(neighbour)), 0)
}

/// The permanent neighbours of a link.
pub(crate) fn neighbours(socket: &mut Socket, link: u32) -> Result<Vec<Neighbour>, NetlinkError> {
    let mut message = NeighbourMessage::default();
    message.attributes.push(NeighbourAttribute::IfIndex(link));
    let mut found = list_neighbours(socket, message)?;
    found.retain(|neighbour| neighbour.link == link);
    Ok(found)
}

/// The permanent neighbours of all links.
pub(crate) fn all_neighbours(socket: &mut Socket) -> Result<Vec<Neighbour>, NetlinkError> {
    list_neighbours(socket, NeighbourMessage::default())
}

fn list_neighbours(socket: &mut Socket, which: NeighbourMessage) -> Result<Vec<Neighbour>, NetlinkError> {
    let mut found = Vec::new();
    for reply in socket.dump(&request(&RouteNetlinkMessage::GetNeighbour(which), 0))? {
        let RouteNetlinkMessage::NewNeighbour(message) = parse(&reply)? else { continue };
        let link = message.header.ifindex;
        if message.header.state != NeighbourState::Permanent {
            continue;
        }
        let (mut address, mut mac) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => address = Some(IpAddr::V4(*ip)),
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => address = Some(IpAddr::V6(*ip)),
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok(),
                _ => {}
            }
        }
        if let (Some(address), Some(mac)) = (address, mac) {
            found.push(Neighbour { link, address, mac: Mac(mac) });
        }
    }
    found.sort_unstable();
    Ok(found)
}

// --- addresses that the host answers for ---------------------------------------------------------------------------

/// An address of somebody behind this host, for which the host answers on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Proxy {
    pub(crate) link: u32,
    pub(crate) address: Ipv4Addr,
}

fn proxy_message(proxy: &Proxy) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = proxy.link;
    // So that it stays when the link goes down for a moment.
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Proxy;
    message.attributes.push(NeighbourAttribute::Destination(proxy.address.into()));
    message.attributes.push(NeighbourAttribute::Protocol(RouteProtocol::Other(PROTOCOL)));
    message
}

/// Begins to answer for an address, or goes on.
pub(crate) fn add_proxy(proxy: &Proxy) -> Request {
    request(&RouteNetlinkMessage::NewNeighbour(proxy_message(proxy)), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Ends it.
pub(crate) fn del_proxy(proxy: &Proxy) -> Request {
    request(&RouteNetlinkMessage::DelNeighbour(proxy_message(proxy)), 0)
}

/// The IPv4 addresses that we made the host answer for, on all links.
pub(crate) fn proxies(socket: &mut Socket) -> Result<Vec<Proxy>, NetlinkError> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.flags = NeighbourFlags::Proxy;
    let mut found = Vec::new();
    for reply in socket.dump(&request(&RouteNetlinkMessage::GetNeighbour(message), 0))? {
        let RouteNetlinkMessage::NewNeighbour(message) = parse(&reply)? else { continue };
        let ours = NeighbourAttribute::Protocol(RouteProtocol::Other(PROTOCOL));
        if !message.header.flags.contains(NeighbourFlags::Proxy) || !message.attributes.contains(&ours) {
            continue;
        }
        let address = message.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(*ip),
            _ => None,
        });
        found.extend(address.map(|address| Proxy { link: message.header.ifindex, address }));
    }
    found.sort_unstable();
    Ok(found)
}

// --- where a tunnel sends frames -----------------------------------------------------------------------------------

fn forwarding_message(entry: &Forwarding) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = entry.link;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Own;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(entry.mac.0.to_vec()));
    message.attributes.push(NeighbourAttribute::Destination(entry.to.into()));
    message
}

/// Adds an entry of a tunnel's table, or corrects it.
pub(crate) fn add_forwarding(entry: &Forwarding) -> Request {
    request(&RouteNetlinkMessage::NewNeighbour(forwarding_message(entry)), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Removes an entry of a tunnel's table.
pub(crate) fn del_forwarding(entry: &Forwarding) -> Request {
    request(&RouteNetlinkMessage::DelNeighbour(forwarding_message(entry)), 0)
}

/// A tunnel's table.
pub(crate) fn forwardings(socket: &mut Socket, link: u32) -> Result<Vec<Forwarding>, NetlinkError> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = link;
    let mut found = Vec::new();
    for reply in socket.dump(&request(&RouteNetlinkMessage::GetNeighbour(message), 0))? {
        let RouteNetlinkMessage::NewNeighbour(message) = parse(&reply)? else { continue };
        let (mut to, mut mac) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
                    let v4 = <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from);
                    to = v4.or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from)).ok();
                }
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok(),
                _ => {}
            }
        }
        if let (true, Some(to), Some(mac)) = (message.header.ifindex == link, to, mac) {
            found.push(Forwarding { link, mac: Mac(mac), to });
        }
    }
    found.sort_unstable();
    Ok(found)
}
