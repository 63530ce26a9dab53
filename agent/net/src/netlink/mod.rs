//! Netlink for the fabric: a blocking socket that sends many requests at once and tells which were refused and why, the
//! messages of the families that it speaks, and a socket that [`listen`]s to what others change.
//!
//! [`route`] has links, addresses, routes, neighbours (typed by netlink-packet-route); [`tc`] queueing; `nft` and
//! `conntrack` elsewhere put their messages together from [`attr`]. Nothing here knows what the messages are for.

pub(crate) mod attr;
pub(crate) mod listen;
pub(crate) mod own;
pub(crate) mod route;
pub(crate) mod socket;
pub(crate) mod tc;

pub(crate) use socket::{Family, Reply, Request, Socket};
pub use socket::{NetlinkError, Refusal};
