//! What can be in the way of a fabric, and what putting it back consists of.

use crate::namespace::NamespaceError;
use crate::netlink::{NetlinkError, Refusal};
use crate::nft::{NftError, ProgramError};
use crate::pin::PinError;
use crate::sysctl::SysctlError;
use ipnet::IpNet;
use nix::errno::Errno;
use std::fmt;
use std::net::IpAddr;

/// Why this host cannot have the fabric.
#[derive(Debug, thiserror::Error)]
pub enum FabricError {
    /// It has no addresses.
    #[error("this host has no lease yet")]
    NoLease,
    /// A lease is not of the network.
    #[error("the lease {lease} is not part of the network {network}")]
    Lease {
        /// The lease.
        lease: IpNet,
        /// The network.
        network: IpNet,
    },
    /// The network's range is in use on this host.
    #[error("the network {network} overlaps the host's route to {route} on `{device}`; choose another range")]
    Overlap {
        /// The network.
        network: IpNet,
        /// What the host has a route to.
        route: IpNet,
        /// Through what; empty when it leads nowhere.
        device: String,
    },
    /// Tasks' addresses are not of a network of the host, and the overlay wants it.
    #[error(
        "the range {network} (task_network) is not inside a network of `{device}`, which has {there}; with the overlay \
         `lan` it is a part of the network that all hosts are on: set another range, or this host's `underlay`"
    )]
    NotOnLan {
        /// The range.
        network: IpNet,
        /// The link.
        device: String,
        /// Its addresses, for people.
        there: String,
    },
    /// Something of the host's network is in the range of tasks.
    #[error("the range {network} (task_network) contains {address}, {whose}; choose a range of the LAN that is free")]
    LanTaken {
        /// The range.
        network: IpNet,
        /// The address.
        address: IpAddr,
        /// Whose it is, for people.
        whose: String,
    },
    /// The host is not on the network that tasks are to be on.
    #[error("the overlay `lan` needs an IPv4 address of this host on the tasks' network; set `underlay` to it")]
    NoLan,
    /// A network of tasks with IPv6 on the hosts' own network.
    #[error("the overlay `lan` has IPv4 alone, and the network has the prefix {network} (task_network6)")]
    LanV6 {
        /// The prefix.
        network: IpNet,
    },
    /// The way to other hosts is not there.
    #[error("the underlay's link `{device}` is not there")]
    UnderlayDevice {
        /// The link.
        device: String,
    },
    /// The address that other hosts send to is not there.
    #[error("the underlay's address {address} is not an address of `{device}`")]
    UnderlayAddress {
        /// The address.
        address: IpAddr,
        /// The link.
        device: String,
    },
    /// Routes to tasks' IPv6 addresses have an IPv6 gateway, which the kernel takes for IPv4 addresses as well; an IPv4
    /// gateway it takes for IPv4 alone.
    #[error(
        "the underlay's address {address} is IPv4: with the overlay `routes`, other hosts are no gateways for tasks' \
         IPv6 addresses then; set `underlay` to an IPv6 address on every host, or the overlay to `vxlan`"
    )]
    UnderlayFamily {
        /// The address.
        address: IpAddr,
    },
    /// Packets of tasks would not fit.
    #[error("`{device}` carries packets of {mtu} bytes, and tasks' packets need {needed}; set the network's MTU lower")]
    UnderlayMtu {
        /// The link.
        device: String,
        /// What it carries.
        mtu: u32,
        /// What is needed.
        needed: u32,
    },
    /// The kernel has no tunnels.
    #[error("this kernel cannot make VXLAN links; load the module `vxlan`, or set the overlay to `routes` or `lan`")]
    NoVxlan,
    /// Another tunnel is in the way.
    #[error("the host has another VXLAN link with network number {vni} on port {port}, or the port is taken")]
    TunnelTaken {
        /// The network's number.
        vni: u32,
        /// The UDP port.
        port: u16,
    },
    /// A namespace is out of reach.
    #[error("could not enter a namespace of the fabric")]
    Namespace(#[source] NamespaceError),
    /// Its file could not be made.
    #[error("could not keep the fabric's namespace")]
    Pin(#[source] PinError),
    /// A setting could not be changed.
    #[error("could not change a setting of the kernel")]
    Sysctl(#[source] SysctlError),
    /// The kernel refused something.
    #[error("could not {what}")]
    Netlink {
        /// What was to be done.
        what: String,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// The kernel refused a change of the firewall.
    #[error("could not change the firewall of the fabric")]
    Nft(#[source] NftError),
    /// `nft` did not load the firewall.
    #[error("could not load the table `{table}`")]
    Table {
        /// The table.
        table: String,
        /// Why.
        #[source]
        source: ProgramError,
    },
    /// `nft` is not there or too old.
    #[error("could not use `nft`")]
    Program(#[source] ProgramError),
    /// Docker's firewall could not be told to let tasks through.
    #[error("could not add the rules for tasks to Docker's chain DOCKER-USER with `{program}`: {message}")]
    DockerUser {
        /// The program.
        program: &'static str,
        /// What it said.
        message: String,
    },
}

impl FabricError {
    pub(super) fn netlink(what: impl Into<String>) -> impl FnOnce(NetlinkError) -> Self {
        move |source| Self::Netlink { what: what.into(), source }
    }

    pub(super) fn refused(what: impl Into<String>, refusal: Refusal) -> Self {
        Self::Netlink { what: what.into(), source: NetlinkError::Refused(refusal) }
    }

    /// What the kernel means when it makes no tunnel.
    pub(super) fn no_tunnel(vni: u32, port: u16, error: NetlinkError) -> Self {
        match error.errno() {
            Some(Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT) => Self::NoVxlan,
            Some(Errno::EEXIST | Errno::EADDRINUSE) => Self::TunnelTaken { vni, port },
            _ => Self::Netlink { what: "make the tunnel".into(), source: error },
        }
    }
}

/// Something that was put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repair {
    /// The file of the fabric's namespace.
    Namespace,
    /// A setting of the kernel.
    Setting(String),
    /// A link.
    Link(String),
    /// An address, added or removed.
    Address(String),
    /// A route, added or removed.
    Route(String),
    /// A neighbour, added or removed.
    Neighbour(String),
    /// A table of the firewall.
    Table(String),
    /// Rules in Docker's chain for others' rules, by the program that added them.
    DockerUser(String),
    /// The rules of groups, how many groups.
    Groups(usize),
    /// Elements of sets of members, how many.
    Members(usize),
    /// A task's elements, by its link.
    Elements(String),
    /// Another host's entry, added or removed.
    Peer(String),
    /// An address that this host answers for on its network, or does no longer.
    Proxy(String),
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace => f.write_str("the file of the fabric's namespace"),
            Self::Setting(what) => write!(f, "setting {what}"),
            Self::Link(name) => write!(f, "link {name}"),
            Self::Address(what) => write!(f, "address {what}"),
            Self::Route(what) => write!(f, "route {what}"),
            Self::Neighbour(what) => write!(f, "neighbour {what}"),
            Self::Table(name) => write!(f, "firewall table {name}"),
            Self::DockerUser(program) => write!(f, "rules in DOCKER-USER ({program})"),
            Self::Groups(count) => write!(f, "rules of {count} groups"),
            Self::Members(count) => write!(f, "{count} members of groups"),
            Self::Elements(link) => write!(f, "firewall elements of {link}"),
            Self::Peer(what) => write!(f, "peer {what}"),
            Self::Proxy(what) => write!(f, "ARP for {what}"),
        }
    }
}
