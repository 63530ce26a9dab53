//! The agent's netlink code: what links, addresses and routes a network namespace has, and the network of `awsvpc`
//! tasks.
//!
//! The only code that speaks netlink or enters namespaces. Bridge, host and none need only to look
//! ([`Handle::source_towards`], [`check_loopback_only`]). Tasks with an interface of their own live in the [`Fabric`].
//!
//! A namespace belongs to a thread, so entering one happens on a thread made for it ([`Namespace::run`]), never on one
//! of the runtime's; a socket opened there keeps that namespace wherever it is used afterwards.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod arp;
mod fabric;
mod handle;
mod names;
mod namespace;
mod netlink;
mod nft;
mod pin;
mod reserved;
mod steps;
mod sysctl;
mod verify;

pub use fabric::{
    AddressWatch, AdmitError, Changes, CheckError, Claim, DismissError, Elements, EndpointConfig, Fabric, FabricConfig,
    FabricError, FabricLink, GroupsError, HostEndpoint, LanError, LimitError, ListenError, ObserveError, Observed,
    PeersError, PeersReport, RefusedPeer, Repair, Stray, TaskSockets, Underlay, UnwireError, Wire, WireError, Wired,
    probe,
};
pub use handle::{Handle, Link, NetError};
pub use names::{EniStem, Names, SHORT_NAME};
pub use namespace::{Namespace, NamespaceError};
pub use netlink::{NetlinkError, Refusal};
pub use nft::{NftError, ProgramError};
pub use pin::PinError;
pub use reserved::{PortSet, ReserveError, reserve_local_ports};
pub use steps::{Cut, Step, Steps};
pub use sysctl::SysctlError;
pub use verify::{LoopbackError, check_loopback_only};
