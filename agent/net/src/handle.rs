//! A netlink socket in one namespace, and what can be asked through it.

use crate::namespace::{Namespace, NamespaceError};
use futures::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::RouteMessageBuilder;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tokio::task::JoinHandle;

/// What can go wrong in talking to the kernel.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No netlink socket.
    #[error("could not open a netlink socket")]
    Socket(#[source] io::Error),
    /// The namespace is out of reach.
    #[error("could not open a netlink socket in a namespace")]
    Namespace(#[source] NamespaceError),
    /// The kernel refused, or the answer was unreadable.
    #[error("could not {what}")]
    Netlink {
        /// What was asked for.
        what: String,
        /// Why.
        #[source]
        source: rtnetlink::Error,
    },
    /// There is no route.
    #[error("there is no route to {to}; is the network up?")]
    NoRoute {
        /// The destination.
        to: IpAddr,
        /// What the kernel said.
        #[source]
        source: rtnetlink::Error,
    },
    /// There is a route, and it does not say which address is used.
    #[error("the route to {to} has no source address")]
    NoSource {
        /// The destination.
        to: IpAddr,
    },
}

/// A network interface and its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in the namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether it is the namespace's `lo`.
    pub loopback: bool,
    /// The largest packet in bytes.
    pub mtu: u32,
    /// Addresses with their networks.
    pub addresses: Vec<IpNet>,
}

/// A netlink socket in one network namespace. Dropping it closes the socket.
#[derive(Debug)]
pub struct Handle {
    netlink: rtnetlink::Handle,
    driver: JoinHandle<()>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Handle {
    /// In the namespace of this process.
    ///
    /// # Errors
    /// When the kernel gives no socket.
    pub fn here() -> Result<Self, NetError> {
        let (connection, netlink, _) = rtnetlink::new_connection().map_err(NetError::Socket)?;
        Ok(Self { netlink, driver: tokio::spawn(connection) })
    }

    /// In another namespace. The socket stays there; the caller's threads never leave theirs.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or the kernel gives no socket.
    pub async fn in_namespace(namespace: &Namespace) -> Result<Self, NetError> {
        let runtime = tokio::runtime::Handle::current();
        let opened = namespace
            .run(move || {
                // The socket registers with the runtime's reactor, so the thread must know it.
                let _context = runtime.enter();
                rtnetlink::new_connection()
            })
            .await
            .map_err(NetError::Namespace)?;
        let (connection, netlink, _) = opened.map_err(NetError::Socket)?;
        Ok(Self { netlink, driver: tokio::spawn(connection) })
    }

    /// All links with their addresses, by index.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn links(&self) -> Result<Vec<Link>, NetError> {
        let fail = |what: &str| {
            let what = what.to_owned();
            move |source| NetError::Netlink { what, source }
        };
        let links: Vec<LinkMessage> =
            self.netlink.link().get().execute().try_collect().await.map_err(fail("list links"))?;
        let addresses: Vec<AddressMessage> =
            self.netlink.address().get().execute().try_collect().await.map_err(fail("list addresses"))?;
        let mut by_index: BTreeMap<u32, Link> = links.iter().map(|m| (m.header.index, link(m))).collect();
        for message in &addresses {
            if let (Some(link), Some(address)) = (by_index.get_mut(&message.header.index), address(message)) {
                link.addresses.push(address);
            }
        }
        Ok(by_index.into_values().collect())
    }

    /// The address that this host uses towards `to`, as the kernel's routes say: where those over there reach it.
    ///
    /// # Errors
    /// When there is no route.
    pub async fn source_towards(&self, to: IpAddr) -> Result<IpAddr, NetError> {
        let message = match to {
            IpAddr::V4(ip) => RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(ip, 32).build(),
            IpAddr::V6(ip) => RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(ip, 128).build(),
        };
        let mut routes = std::pin::pin!(self.netlink.route().get(message).execute());
        let route = routes.try_next().await.map_err(|source| NetError::NoRoute { to, source })?;
        route.as_ref().and_then(source_of).ok_or(NetError::NoSource { to })
    }
}

fn link(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        up: flags.contains(LinkFlags::Up),
        loopback: flags.contains(LinkFlags::Loopback),
        mtu: 0,
        addresses: Vec::new(),
    };
    // The kernel's list of attributes grows; the ones that are not named here are not wanted.
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            _ => {}
        }
    }
    link
}

fn address(message: &AddressMessage) -> Option<IpNet> {
    let mut found = None;
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link `Address` is the peer's and `Local` ours; elsewhere they are the same.
            AddressAttribute::Local(ip) => found = Some(*ip),
            AddressAttribute::Address(ip) => found = found.or(Some(*ip)),
            _ => {}
        }
    }
    IpNet::new(found?, message.header.prefix_len).ok()
}

fn source_of(route: &RouteMessage) -> Option<IpAddr> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::PrefSource(RouteAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
        RouteAttribute::PrefSource(RouteAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        _ => None,
    })
}
