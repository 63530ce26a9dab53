//! Both families: routes over IPv6 underlays, and connections that end with their task.

use crate::hosts::open_everywhere;
use crate::world::{
    Host, Place, Task, counted, group, make_lan, network6, open_group, pings, reaches, rule, sh, sh_in, until, v4, v6,
    world,
};
use longshore_model::network::{GroupId, GroupRules, Lease, NetworkConfig, Overlay, Peer, Traffic};
use longshore_net::{DismissError, Fabric, FabricConfig, FabricError, Names, Namespace, Step, Steps, Underlay};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

fn routed6() -> NetworkConfig {
    NetworkConfig { overlay: Overlay::Routes, mtu: 1500, ..network6() }
}

fn address6(number: u8) -> IpAddr {
    format!("fd50::{number}").parse().expect("an address")
}

/// A host on the LAN whose underlay address is IPv6.
async fn host6(network: NetworkConfig, number: u8) -> Host {
    let adapt = |config: &mut FabricConfig| {
        let address = address6(number);
        sh(&format!("ip -n host{number} addr add {address}/64 dev eth0 nodad"));
        config.underlay = Some(Underlay { address, device: "eth0".into() });
    };
    Host::made(network, number, &Place::Lan, adapt).await
}

/// The connections of an address that the kernel remembers in a namespace.
fn remembered(netns: &Path, address: IpAddr) -> usize {
    let written = match address {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => ip.segments().map(|part| format!("{part:04x}")).join(":"),
    };
    // /proc shows the namespace of the thread that opened it first.
    let listed = sh_in(netns, "cat /proc/thread-self/net/nf_conntrack");
    listed.lines().filter(|line| line.split(' ').any(|word| word.ends_with(&format!("={written}")))).count()
}

fn both(task: &Task) -> [IpAddr; 2] {
    [task.ip().into(), task.ip6().into()]
}

#[test]
fn both_families_are_routed_over_an_ipv6_underlay() {
    world(async || {
        make_lan();
        let hosts = [host6(routed6(), 1).await, host6(routed6(), 2).await];
        for (host, other, number) in [(&hosts[0], &hosts[1], 2), (&hosts[1], &hosts[0], 1)] {
            let peers = [Peer { underlay: address6(number), ..other.peer(number) }];
            let report = host.fabric.set_peers(&peers).await.expect("peers");
            assert_eq!(report.refused, []);
            assert_eq!(host.fabric.set_peers(&peers).await.expect("peers").repairs, [], "nothing the second time");
            assert_eq!(host.fabric.repair().await.expect("repaired"), []);
        }
        let all = open_everywhere(&hosts).await;
        let (a, b) = (hosts[0].task(11, &[all]).await, hosts[1].task(11, &[all]).await);
        b.listen(80).await;
        for to in both(&b) {
            a.reaches(to, 80).await;
        }
        assert!(pings(&a.netns(), "-M do -s 1472", b.ip(), 5) && pings(&a.netns(), "-M do -s 1452", b.ip6(), 5));
        // Nobody's are refused, not sent around.
        for nobody in ["10.77.9.9", "fd77:0:0:9::9"] {
            let said = a.sh(&format!("ping -c 1 -W 5 {nobody} 2>&1 || true"));
            assert!(said.contains("nreachable") || said.contains("No route"), "{said}");
        }
        // Docker's firewall, which forwards nothing of others, is told of other hosts' tasks in both families.
        a.listen(80).await;
        for (program, range) in [("iptables", "10.77.0.0/16"), ("ip6tables", "fd77::/48")] {
            hosts[0].sh(&format!(
                "{program} -w -N DOCKER-USER; {program} -w -A DOCKER-USER -j RETURN; \
                 {program} -w -A FORWARD -j DOCKER-USER; {program} -w -P FORWARD DROP"
            ));
            let to = both(&a)[usize::from(range.contains(':'))];
            b.does_not_reach(to, 80).await;
            assert_eq!(hosts[0].fabric.repair().await.expect("repaired").len(), 1, "{program}");
            assert!(hosts[0].sh(&format!("{program} -w -S DOCKER-USER")).contains(&format!("-s {range} -o lsl0")));
            b.reaches(to, 80).await;
            assert_eq!(hosts[0].fabric.repair().await.expect("repaired"), []);
        }
        // Gone: the routes of both go.
        hosts[0].fabric.set_peers(&[]).await.expect("peers");
        let left = hosts[0].sh("ip route; ip -6 route");
        assert!(!left.contains("10.77.2.0") && !left.contains("fd77:0:0:2::"), "{left}");
    });
}

#[test]
fn ipv6_is_not_routed_over_an_ipv4_underlay_and_that_is_said() {
    world(async || {
        make_lan();
        let made = |config: &mut FabricConfig| config.network = NetworkConfig { v6: None, ..routed6() };
        let host = Host::made(routed6(), 1, &Place::Lan, made).await;
        // One that is there is taken over, and says so; another one is not made.
        let config = FabricConfig { network: routed6(), ..host.config.clone() };
        let taken = Fabric::open(config.clone()).await.expect("taken over");
        let error = taken.repair().await.expect_err("no gateway for IPv6");
        assert!(matches!(error, FabricError::UnderlayFamily { .. }), "{error:?}");
        let names = Names::new("other", host.config.names.run()).expect("a prefix");
        let (v4, v6) = ("10.88.0.0/16".parse().expect("a network"), "fd88::/48".parse().ok());
        let network = NetworkConfig { v4, v6, ..routed6() };
        let leases = vec![Lease { v4: "10.88.1.0/24".parse().expect("a /24"), v6: "fd88:0:0:1::/64".parse().ok() }];
        let other = FabricConfig { names, network, leases, ..config };
        let error = Fabric::open(other).await.map(drop).expect_err("no gateway for IPv6");
        assert!(matches!(error, FabricError::UnderlayFamily { .. }), "{error:?}");
        let said = error.to_string();
        assert!(said.contains("192.168.50.1") && said.contains("set `underlay` to an IPv6 address"), "{said}");
    });
}

/// Datagrams and a byte stream from one task to another, that go on whatever happens.
struct Flow {
    sent: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    from: SocketAddr,
    /// The other end's, which would say goodbye.
    _server: TcpStream,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

impl Flow {
    /// Begins; the other end has answered on both.
    async fn new(from: &Task, to: &Task, address: IpAddr) -> Self {
        let (there, here) = (to.pause(), from.pause());
        let served = there.run(|| {
            let any = Ipv6Addr::UNSPECIFIED;
            Ok::<_, std::io::Error>((TcpListener::bind((any, 80))?, UdpSocket::bind((any, 53))?))
        });
        let (listener, socket) = served.await.expect("entered").expect("bound");
        let served = std::thread::spawn(move || {
            let (length, from) = socket.recv_from(&mut [0; 8]).expect("a datagram");
            socket.send_to(&[0; 8][..length], from).expect("answered");
            listener.accept().expect("a connection").0
        });
        let begun = here.run(move || {
            let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("bound");
            socket.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
            socket.connect((address, 53)).expect("a route");
            socket.send(b"hello").expect("sent");
            socket.recv(&mut [0; 8]).expect("an answer");
            (socket, TcpStream::connect((address, 80)).expect("a connection"))
        });
        let (socket, mut stream) = begun.await.expect("entered");
        let server = served.join().expect("served");
        let from = socket.local_addr().expect("bound");
        let flow = Self { sent: Arc::default(), over: Arc::default(), from, _server: server };
        let (sent, over) = (flow.sent.clone(), flow.over.clone());
        stream.set_nonblocking(true).expect("set");
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let _ = (socket.send(b"more"), stream.write(b"more"));
                sent.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        flow
    }

    fn goes_on(&self) {
        let before = self.sent.load(Ordering::Relaxed);
        until("more was sent", || (self.sent.load(Ordering::Relaxed) > before + 40).then_some(()));
    }
}

#[test]
fn an_address_that_is_given_again_inherits_no_flow() {
    world(async || {
        let host = Host::made(network6(), 1, &Place::Here, |_| {}).await;
        let (all, shut) = (GroupId::random(), GroupId::random());
        let open = group(&[rule(Traffic::All, v4("0.0.0.0/0")), rule(Traffic::All, v6("::/0"))]);
        let mute = GroupRules { ingress: BTreeSet::new(), egress: BTreeSet::new() };
        let closed = BTreeMap::from([(all, open.clone()), (shut, mute)]);
        let opened = BTreeMap::from([(all, open.clone()), (shut, open)]);
        host.fabric.set_groups(&closed).await.expect("groups");
        let b = host.task(12, &[all]).await;
        for family in 0..2 {
            let mut first = host.task(11, &[all]).await;
            let address = both(&first)[family];
            let flow = Flow::new(&b, &first, address).await;
            flow.goes_on();
            assert!(remembered(&host.fabric_netns(), address) >= 2, "{address}: both are known");
            host.fabric.dismiss(&first.claim).await.expect("dismissed");
            first.end();
            host.fabric.unwire(first.eni()).await.expect("unwired");
            let forgotten = || (remembered(&host.fabric_netns(), address) == 0).then_some(());
            until("the connections are forgotten while the other end goes on", forgotten);

            // Somebody else has the address, whom nobody may reach, and counts what arrives.
            let mut second = host.wired(11).await;
            let from = both(&b)[family];
            let ip = if from.is_ipv4() { "ip" } else { "ip6" };
            let chain = "nft 'add chain inet seen tally { type filter hook prerouting priority -400; }'";
            let rule = format!("nft add rule inet seen tally {ip} saddr {from} counter");
            second.sh(&format!("nft add table inet seen; {chain}; {rule}"));
            let arrived = || counted(&second.netns(), "seen", "tally");
            let mut claim = second.claim.clone();
            claim.groups = [shut].into();
            host.fabric.admit(&claim).await.expect("admitted");
            flow.goes_on();
            assert_eq!((arrived(), remembered(&host.fabric_netns(), address)), (0, 0), "{address}");
            // Nor does it speak as the other end of the flow.
            let dropped = || host.counted(&format!("po_{}", shut.digits()));
            let (before, to) = (dropped(), SocketAddr::new(from, flow.from.port()));
            let place = second.pause();
            let sent = place.run(move || {
                let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 53)).expect("bound");
                for _ in 0..3 {
                    let _ = socket.send_to(b"late", to);
                }
            });
            sent.await.expect("entered");
            until("what it sends is dropped", || (dropped() >= before + 3).then_some(()));
            // Once its group lets everybody in, the same flow does arrive.
            host.fabric.set_groups(&opened).await.expect("groups");
            until("it arrives", || (arrived() > 0).then_some(()));
            drop(flow);
            host.fabric.dismiss(&claim).await.expect("dismissed");
            second.end();
            host.fabric.unwire(second.eni()).await.expect("unwired");
            host.fabric.set_groups(&closed).await.expect("groups");
        }
    });
}

#[test]
fn what_the_host_translated_is_forgotten_as_well() {
    world(async || {
        make_lan();
        let host = host6(NetworkConfig { mtu: 1430, ..network6() }, 1).await;
        let all = open_group(&host).await;
        let (a, c) = (host.task(11, &[all]).await, host.task(13, &[all]).await);
        sh("ip netns add other; ip link add o0 type veth peer name eth0 netns other; ip link set o0 master lan up; \
            ip -n other link set eth0 up; ip -n other link set lo up; \
            ip -n other addr add 192.168.50.99/24 dev eth0; ip -n other addr add fd50::99/64 dev eth0 nodad");
        let other = Namespace::open("/run/netns/other").expect("it is there");
        crate::world::listen(&other, 80).await;
        let there: [IpAddr; 2] = ["192.168.50.99", "fd50::99"].map(|ip| ip.parse().expect("an address"));
        for (task, to) in [(&a, there[0]), (&a, there[1]), (&c, there[0]), (&c, there[1])] {
            reaches(&task.pause(), to, 80).await;
        }
        let places = [host.fabric_netns(), host.netns.clone()];
        let counts = |task: &Task| both(task).map(|ip| places.each_ref().map(|netns| remembered(netns, ip)));
        assert!(counts(&a).iter().flatten().all(|count| *count > 0), "{:?}", counts(&a));
        host.fabric.dismiss(&a.claim).await.expect("dismissed");
        until("it is forgotten in both namespaces", || (counts(&a) == [[0; 2]; 2]).then_some(()));
        assert!(counts(&c).iter().flatten().all(|count| *count > 0), "others are not: {:?}", counts(&c));
    });
}

#[test]
fn what_an_agent_could_not_forget_any_more_the_next_one_does() {
    world(async || {
        let cut = Steps::told(|step| match step {
            Step::Dismissed => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        let host = Host::made(network6(), 1, &Place::Here, |config| config.steps = cut).await;
        let all = open_group(&host).await;
        let (a, b, c) = (host.task(11, &[all]).await, host.task(12, &[all]).await, host.task(13, &[all]).await);
        b.listen(80).await;
        for (from, to) in [(&a, both(&b)), (&c, both(&b))] {
            for to in to {
                from.reaches(to, 80).await;
            }
        }
        let error = host.fabric.dismiss(&a.claim).await.expect_err("cut");
        assert!(matches!(error, DismissError::Cut(_)), "{error:?}");
        let counts = |task: &Task| both(task).map(|ip| remembered(&host.fabric_netns(), ip));
        assert!(counts(&a).iter().all(|count| *count > 0), "{:?}", counts(&a));
        let again = Fabric::open(host.config.clone()).await.expect("taken over");
        again.remove_strays(&BTreeSet::from([b.eni(), c.eni()])).await.expect("removed");
        assert_eq!(counts(&a), [0; 2]);
        // Those of tasks that it has not been told of yet stay.
        assert!(counts(&c).iter().all(|count| *count > 0), "{:?}", counts(&c));
    });
}
