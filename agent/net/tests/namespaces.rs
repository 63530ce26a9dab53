//! The kernel's own answers, in throwaway namespaces.

use longshore_net::{Handle, LoopbackError, Namespace, NetError, check_loopback_only, reserve_local_ports};
use std::process::{Child, Command, Stdio};

/// A process in a network namespace of its own; the namespace goes with it.
struct Sandbox(Child);

impl Sandbox {
    fn new(setup: &str) -> Self {
        // It says when it is ready, and ends when its input is closed: with the test, however the test ends.
        let script = format!("{setup}\necho ready; read -r _");
        let mut child = Command::new("unshare")
            .args(["--net", "--", "sh", "-ec", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare runs");
        let mut line = String::new();
        let output = child.stdout.take().expect("piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).expect("it speaks");
        assert_eq!(line, "ready\n", "the set-up works, as root: {setup}");
        Self(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn links_and_addresses_are_those_of_the_namespace() {
    let setup = "ip link set lo up; ip link add d0 type veth peer name d1; ip link set d1 up; \
                 ip link set d0 mtu 1400 up; ip addr add 10.9.8.7/24 dev d0";
    let sandbox = Sandbox::new(setup);
    let namespace = Namespace::of_process(sandbox.pid()).expect("it lives");
    let handle = Handle::in_namespace(&namespace).await.expect("a socket");
    let links = handle.links().await.expect("listed");
    let names: Vec<_> = links.iter().map(|l| (l.name.as_str(), l.up, l.loopback)).collect();
    assert_eq!(names, [("lo", true, true), ("d1", true, false), ("d0", true, false)]);
    assert_eq!(links[2].mtu, 1400);
    let address = "10.9.8.7/24".parse().expect("an address");
    assert!(links[2].addresses.contains(&address), "{links:?}");

    // The test's own threads never left their namespace.
    let here = Handle::here().expect("a socket").links().await.expect("listed");
    assert!(!here.iter().any(|l| l.addresses.contains(&address)), "{here:?}");
}

#[tokio::test]
async fn the_source_address_is_the_routes() {
    let setup = "ip link set lo up; ip link add d0 type veth peer name d1; ip link set d1 up; ip link set d0 up; \
                 ip addr add 10.9.8.7/24 dev d0; \
                 ip addr add fd99::7/64 dev d0 nodad; \
                 ip route add 10.50.0.0/16 via 10.9.8.1";
    let sandbox = Sandbox::new(setup);
    let namespace = Namespace::of_process(sandbox.pid()).expect("it lives");
    let handle = Handle::in_namespace(&namespace).await.expect("a socket");
    for (to, from) in
        [("10.9.8.20", "10.9.8.7"), ("10.50.1.1", "10.9.8.7"), ("127.0.0.9", "127.0.0.1"), ("fd99::9", "fd99::7")]
    {
        let source = handle.source_towards(to.parse().expect("an address")).await.expect(to);
        assert_eq!(source.to_string(), from, "towards {to}");
    }
    let error = handle.source_towards("192.0.2.1".parse().expect("an address")).await.expect_err("no route");
    assert!(matches!(error, NetError::NoRoute { .. }), "{error:?}");
}

#[tokio::test]
async fn mode_none_is_checked_from_outside() {
    let good = Sandbox::new("ip link set lo up");
    check_loopback_only(good.pid()).await.expect("lo alone, and up");
    let down = Sandbox::new(":");
    assert!(matches!(check_loopback_only(down.pid()).await, Err(LoopbackError::Down { .. })));
    let more = Sandbox::new("ip link set lo up; ip link add d0 type veth peer name d1");
    let error = check_loopback_only(more.pid()).await.expect_err("it has a link");
    assert!(matches!(&error, LoopbackError::Others { names, .. } if names == &["d1", "d0"]), "{error:?}");
    let gone = {
        let sandbox = Sandbox::new(":");
        sandbox.pid()
    };
    assert!(matches!(check_loopback_only(gone).await, Err(LoopbackError::Namespace { .. })));
}

#[tokio::test]
async fn ports_are_reserved_in_the_namespace_where_it_is_asked_for() {
    let sandbox = Sandbox::new(":");
    let namespace = Namespace::of_process(sandbox.pid()).expect("it lives");
    let twice = namespace.run(|| (reserve_local_ports(&(30_000..=30_009)), reserve_local_ports(&(30_005..=30_009))));
    let (first, second) = twice.await.expect("entered");
    assert!(first.expect("reserved"), "the first is new");
    assert!(!second.expect("read"), "the second is not");
    let here = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").expect("readable");
    assert!(!here.contains("30000-30009"), "only there: {here}");
}
