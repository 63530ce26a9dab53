//! What can be in the way of a fabric, and what putting it back consists of.

use super::LimitError;
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
    #[error(
        "the network {network} overlaps the host's route to {route}{}; remove that route, or give the task network \
         another range (`task_network` of the control plane)",
        on_link(device)
    )]
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
    /// The address that other hosts send to is not there.
    #[error("no link of this host has the underlay's address {address}; give it back to its link, or set `underlay`")]
    UnderlayAddress {
        /// The address.
        address: IpAddr,
    },
    /// The way to other hosts is there and switched off.
    #[error("the underlay's link `{device}` ({address}) is down; raise it (`ip link set {device} up`)")]
    UnderlayDown {
        /// The link.
        device: String,
        /// The address that other hosts send to.
        address: IpAddr,
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
    /// The kernel has no links of a kind.
    #[error("this kernel cannot make links of the kind `{kind}`; load the module `{kind}`")]
    NoLinkKind {
        /// The kind.
        kind: String,
    },
    /// The kernel has no nftables.
    #[error(
        "this kernel has no nftables; load the module `nf_tables` (kernels have it since 3.13, as CONFIG_NF_TABLES)"
    )]
    NoNftables,
    /// This process may not.
    #[error("the kernel does not let this process {what}: it needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN")]
    NotPermitted {
        /// What was to be done.
        what: String,
    },
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
    /// A task's limits could not be put back.
    #[error("could not put back how fast a task may send and receive")]
    Limits(#[source] LimitError),
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

fn on_link(device: &str) -> String {
    if device.is_empty() { String::new() } else { format!(" on `{device}`") }
}

impl FabricError {
    pub(super) fn netlink(what: impl Into<String>) -> impl FnOnce(NetlinkError) -> Self {
        move |source| match source.errno() {
            Some(Errno::EPERM | Errno::EACCES) => Self::NotPermitted { what: what.into() },
            _ => Self::Netlink { what: what.into(), source },
        }
    }

    pub(super) fn refused(what: impl Into<String>, refusal: Refusal) -> Self {
        Self::Netlink { what: what.into(), source: NetlinkError::Refused(refusal) }
    }

    /// What the kernel means when it makes no tunnel.
    pub(super) fn no_tunnel(vni: u32, port: u16, error: NetlinkError) -> Self {
        match error.errno() {
            Some(Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT) => Self::NoVxlan,
            Some(Errno::EEXIST | Errno::EADDRINUSE) => Self::TunnelTaken { vni, port },
            _ => Self::netlink("make the tunnel")(error),
        }
    }

    /// What the kernel means when it makes no link of a kind.
    pub(super) fn no_link(kind: &str, error: NetlinkError) -> Self {
        match error.errno() {
            // `Unknown device type`.
            Some(Errno::EOPNOTSUPP) => Self::NoLinkKind { kind: kind.to_owned() },
            _ => Self::netlink(format!("make a link of the kind `{kind}`"))(error),
        }
    }

    /// What the kernel means when it does not talk about nftables.
    pub(super) fn no_nftables(error: NetlinkError) -> Self {
        match error.errno() {
            // No netfilter sockets at all; nobody behind them who knows of tables.
            Some(Errno::EPROTONOSUPPORT | Errno::EINVAL | Errno::EOPNOTSUPP) => Self::NoNftables,
            _ => Self::netlink("list the tables of nftables")(error),
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
    /// The chains that lead tasks to their groups, by the one for what comes in.
    Chain(String),
    /// The rules of groups, how many groups.
    Groups(usize),
    /// Elements of sets of members, how many.
    Members(usize),
    /// A task's elements, by its link.
    Elements(String),
    /// Another host's entry, added or removed.
    Peer(String),
    /// A task's interface, made anew, by its link.
    Interface(String),
    /// A task's limits, by its link.
    Limits(String),
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
            Self::Chain(name) => write!(f, "firewall chain {name}"),
            Self::Groups(count) => write!(f, "rules of {count} groups"),
            Self::Members(count) => write!(f, "{count} members of groups"),
            Self::Elements(link) => write!(f, "firewall elements of {link}"),
            Self::Peer(what) => write!(f, "peer {what}"),
            Self::Interface(link) => write!(f, "the interface {link}, made anew"),
            Self::Limits(link) => write!(f, "limits of {link}"),
            Self::Proxy(what) => write!(f, "ARP for {what}"),
        }
    }
}
