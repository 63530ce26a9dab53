//! The host's part of the task network: interfaces of `awsvpc` tasks, from the address to the last packet.
//!
//! One task, the [`Network`], owns all of it: which interface has which address, which task has which interface, what
//! the control plane said of groups and hosts, and the addresses that rest. It drives the kernel and the container
//! engine through the narrow traits in `fabric` and `sandboxes`, and never: decides which tasks there are, starts or
//! stops a task's own containers, or holds up a task of another network mode. The engine asks it for interfaces through
//! the [`NetworkHandle`]; the session hands it what it [`Heard`] and sends its status.
//!
//! # What survives
//! Who has an interface is not written down here: the engine's ledger has it, and so has the label of each container
//! that was made in one. A start adopts from both, and gives everything else back: a sandbox that the kernel never let
//! through is warm again, one that it did let through may have been seen by others and goes. What the control plane
//! said and the addresses that rest are kept in two files, so that a host that starts alone has its network.
//!
//! # Order of things
//! An address is in the firewall before a container that uses it exists, and out of it before the task is over. It is
//! given again only after its rest. Everything that waits has a reason in the status.

mod adopt;
mod apply;
mod book;
mod claims;
pub mod fabric;
mod files;
mod handle;
pub mod kernel;
mod owner;
mod peers;
mod pool;
mod quarantine;
pub mod sandboxes;
mod saved;
mod set_aside;
pub mod shelf;
pub mod status;
mod underlay;
mod upkeep;

#[cfg(test)]
mod tests;

pub use adopt::Owned;
pub use files::{Files, TaskNames};
pub use handle::{Ends, Heard, Inside, NetworkHandle, SessionLink, link};
pub use owner::{Network, Parts, Settings};
pub use quarantine::{Quarantine, Recorded};
pub use saved::{FileShelf, Said, Step, leave};
pub use underlay::Underlay;
