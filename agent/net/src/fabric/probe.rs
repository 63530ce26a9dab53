//! Whether this host could have a fabric, found out without leaving anything behind.

use super::error::FabricError;
use super::{Sockets, blocking, sockets};
use crate::namespace::{Namespace, NamespaceError};
use crate::netlink::route::{self, End, Tunnel};
use crate::nft::program;
use longshore_model::network::Mac;
use nix::sched::{CloneFlags, unshare};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// Tries what a fabric takes, in a namespace that is gone afterwards: `nft`, a namespace, its sockets, a tunnel.
///
/// # Errors
/// What this host lacks.
pub async fn probe() -> Result<(), FabricError> {
    blocking(|| {
        program::check().map_err(FabricError::Program)?;
        let thread = |source| FabricError::Namespace(NamespaceError::Thread { path: PathBuf::from("(new)"), source });
        let inside = std::thread::Builder::new().name("netns".into()).spawn(inside).map_err(thread)?;
        inside.join().unwrap_or_else(|_| Err(thread(io::Error::other("the thread panicked"))))
    })
    .await
}

/// The namespace lives as long as the thread that runs this.
fn inside() -> Result<(), FabricError> {
    let enter = |source| NamespaceError::Enter { path: PathBuf::from("(new)"), source };
    unshare(CloneFlags::CLONE_NEWNET).map_err(|source| FabricError::Namespace(enter(source)))?;
    let own = Namespace::of_this_thread().map_err(FabricError::Namespace)?;
    let Sockets { mut route, nft: _, tracking: _ } = sockets(&own)?;
    let (vni, port) = (1, 4789);
    let tunnel = Tunnel { vni, port, local: None, over: 0, learning: false };
    let new = route::add_vxlan(&End { name: "probe", mac: Mac([2, 0, 0, 0, 0, 1]), mtu: 1450 }, &tunnel, own.as_fd());
    route.all(&[new]).map_err(|error| FabricError::no_tunnel(vni, port, error))
}

#[cfg(test)]
mod tests {
    /// The tests of the fabric need the same of a machine.
    #[tokio::test]
    async fn this_machine_could_have_a_fabric_and_is_left_as_it_was() {
        let links = || std::fs::read_to_string("/proc/net/dev").expect("readable").lines().count();
        let before = links();
        super::probe().await.expect("root, `nft` and the kernel's tunnels");
        assert_eq!(links(), before);
    }
}
