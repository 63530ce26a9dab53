//! The agent's netlink code: what links, addresses and routes a network namespace has.
//!
//! The only code that knows rtnetlink or enters namespaces. It owns no state: a [`Handle`] is a netlink socket in one
//! namespace, and everything it says is read from the kernel when asked. Bridge, host and none need only to look
//! ([`Handle::source_towards`], [`check_loopback_only`]); task interfaces will be made through the same handle.
//!
//! A namespace belongs to a thread, so entering one happens on a thread made for it ([`Namespace::run`]), never on one
//! of the runtime's; a socket opened there keeps that namespace wherever it is used afterwards.

mod handle;
mod namespace;
mod reserved;
mod verify;

pub use handle::{Handle, Link, NetError};
pub use namespace::{Namespace, NamespaceError};
pub use reserved::{PortSet, ReserveError, reserve_local_ports};
pub use verify::{LoopbackError, check_loopback_only};
