//! Whether this host could have a fabric, found out without leaving anything behind.

use super::error::FabricError;
use super::{Sockets, blocking, sockets};
use crate::names::Names;
use crate::namespace::{Namespace, NamespaceError};
use crate::netlink::Socket;
use crate::netlink::route;
use crate::nft::batch::{Nft, NftError};
use crate::nft::{program, ruleset};
use longshore_model::network::{Lease, NetworkConfig, Overlay};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// Tries what every fabric takes, in a namespace that is gone afterwards: `nft`, a namespace, its sockets, the links,
/// the two tables. Whether tunnels are needed depends on the network's overlay, which a host hears later: where the
/// kernel has none, [`Fabric::open`](super::Fabric::open) says so.
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
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| match errno {
        Errno::EPERM => FabricError::NotPermitted { what: "make a network namespace".into() },
        errno => FabricError::Namespace(NamespaceError::Enter { path: PathBuf::from("(new)"), source: errno }),
    })?;
    let own = Namespace::of_this_thread().map_err(FabricError::Namespace)?;
    let Sockets { mut route, nft, tracking: _ } = sockets(&own)?;
    try_nftables(&mut Nft::new(nft, "probe".into()))?;
    for kind in ["veth", "ifb"] {
        try_link(&mut route, kind)?;
    }
    try_tables(&own)
}

fn try_nftables(nft: &mut Nft) -> Result<(), FabricError> {
    match nft.exists() {
        Ok(_) => Ok(()),
        Err(NftError::Netlink { source, .. }) => Err(FabricError::no_nftables(source)),
        Err(error) => Err(FabricError::Nft(error)),
    }
}

fn try_link(route: &mut Socket, kind: &str) -> Result<(), FabricError> {
    route.all(&[route::add_of_kind(&format!("p-{kind}"), kind)]).map_err(|error| FabricError::no_link(kind, error))
}

/// Everything that the tables ask of the kernel is asked here: sets, verdict maps, connection tracking, masquerading,
/// rejecting.
fn try_tables(own: &Namespace) -> Result<(), FabricError> {
    let network = NetworkConfig {
        v4: ipnet::Ipv4Net::new_assert(Ipv4Addr::new(10, 77, 0, 0), 16),
        v6: Some(ipnet::Ipv6Net::new_assert(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0), 48)),
        overlay: Overlay::Vxlan { vni: 1, port: 4789 },
        mtu: 1450,
        lease_length: 24,
    };
    let v6 = ipnet::Ipv6Net::new_assert(Ipv6Addr::new(0xfd77, 0, 0, 1, 0, 0, 0, 0), 64);
    let leases = [Lease { v4: ipnet::Ipv4Net::new_assert(Ipv4Addr::new(10, 77, 1, 0), 24), v6: Some(v6) }];
    let names = Names::default();
    let facts = ruleset::Facts {
        names: &names,
        network: &network,
        leases: &leases,
        leg: leases[0].leg(),
        underlay: Some("eth0"),
        bridges: &["docker0".to_owned()],
        services: None,
    };
    for (table, name) in [(ruleset::fabric(&facts), names.fabric_table()), (ruleset::host(&facts), names.host_table())]
    {
        program::run(own, &table.script(&[])).map_err(|source| FabricError::Table { table: name, source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{Family, NetlinkError, Request};
    use nix::sched::{CloneFlags, unshare};

    /// Runs on a thread with a network namespace of its own.
    fn alone<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        let inside = move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("root");
            work()
        };
        std::thread::spawn(inside).join().expect("no panic")
    }

    /// The tests of the fabric need the same of a machine.
    #[tokio::test]
    async fn this_machine_could_have_a_fabric_and_is_left_as_it_was() {
        let links = || std::fs::read_to_string("/proc/net/dev").expect("readable").lines().count();
        let before = links();
        super::probe().await.expect("root, `nft` and the kernel's links");
        assert_eq!(links(), before);
    }

    #[test]
    fn a_kind_of_link_that_the_kernel_does_not_have_is_named() {
        let error = alone(|| {
            let mut route = Socket::open(Family::Route).expect("a socket");
            try_link(&mut route, "veth").expect("it has those");
            try_link(&mut route, "nosuchkind").expect_err("it has none of those")
        });
        assert!(matches!(&error, FabricError::NoLinkKind { kind } if kind == "nosuchkind"), "{error:?}");
        assert!(error.to_string().contains("`nosuchkind`"), "{error}");
    }

    #[test]
    fn a_missing_tunnel_driver_is_told_from_a_taken_one() {
        let of = |errno: i32| {
            let refusal = crate::netlink::Refusal { errno: Errno::from_raw(errno), hint: None };
            FabricError::no_tunnel(7, 4789, NetlinkError::Refused(refusal))
        };
        // What the kernel says of a kind that it does not have.
        let said = alone(|| {
            let mut route = Socket::open(Family::Route).expect("a socket");
            let refused = route.all(&[route::add_of_kind("p", "nosuchkind")]).expect_err("it has none of those");
            refused.errno().expect("it gives a number")
        });
        assert!(matches!(of(said as i32), FabricError::NoVxlan));
        assert!(matches!(of(Errno::EEXIST as i32), FabricError::TunnelTaken { vni: 7, port: 4789 }));
        assert!(matches!(of(Errno::EPERM as i32), FabricError::NotPermitted { .. }));
    }

    /// A part of netfilter that no kernel has answers as nftables does where it is missing.
    #[test]
    fn missing_nftables_are_named() {
        let error = alone(|| {
            let mut socket = Socket::open(Family::Netfilter).expect("a socket");
            let nobody = Request { kind: (31 << 8) | 1, flags: 0, body: vec![0; 4] };
            FabricError::no_nftables(socket.get(&nobody).expect_err("nobody is there"))
        });
        assert!(matches!(error, FabricError::NoNftables), "{error:?}");
    }

    /// The test above, in a process of root's without any capability.
    #[test]
    fn a_process_that_may_not_is_told_so() {
        let itself = std::env::current_exe().expect("it runs");
        let test = "fabric::probe::tests::this_machine_could_have_a_fabric_and_is_left_as_it_was";
        let output = std::process::Command::new("setpriv")
            .args(["--bounding-set=-all", "--inh-caps=-all", "--"])
            .arg(itself)
            .args(["--exact", test, "--nocapture"])
            .output()
            .expect("setpriv");
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && said.contains("NotPermitted"), "{said}");
        assert!(said.contains("make a network namespace"), "{said}");
    }
}
