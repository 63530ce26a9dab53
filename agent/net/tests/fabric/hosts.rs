//! Several hosts on one bridge.

use crate::world::{
    Host, Place, Task, does_not_reach, group, json_in, lease, listen, make_lan, network, network6, open_group, pings,
    reaches, rule, sh, sh_in, tcp_port, until, v4, v6, world,
};
use longshore_model::network::{GroupId, NetworkConfig, Overlay, Peer, RulePeer, Traffic};
use longshore_net::{CheckError, Namespace, PeersError};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Hosts that know each other.
pub(crate) async fn hosts(network: NetworkConfig, count: u8) -> Vec<Host> {
    make_lan();
    let mut hosts = Vec::new();
    for number in 1..=count {
        hosts.push(Host::on_lan(network, number).await);
    }
    for host in &hosts {
        let others: Vec<Peer> = hosts
            .iter()
            .zip(1..)
            .filter(|(other, _)| other.lease != host.lease)
            .map(|(other, n)| other.peer(n))
            .collect();
        let report = host.fabric.set_peers(&others).await.expect("peers");
        assert_eq!(report.refused, []);
        assert!(!report.repairs.is_empty());
        assert_eq!(host.fabric.set_peers(&others).await.expect("peers").repairs, [], "nothing the second time");
        assert_eq!(host.fabric.repair().await.expect("repaired"), []);
    }
    hosts
}

/// A group on all hosts that lets everything through.
pub(crate) async fn open_everywhere(hosts: &[Host]) -> GroupId {
    let id = open_group(&hosts[0]).await;
    let rules = group(&[rule(Traffic::All, v4("0.0.0.0/0")), rule(Traffic::All, v6("::/0"))]);
    for host in hosts {
        host.fabric.set_groups(&BTreeMap::from([(id, rules.clone())])).await.expect("groups");
    }
    id
}

/// What passes a link, until it is asked.
pub(crate) struct Watch {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Watch {
    pub(crate) fn new(device: &str) -> Self {
        let mut process = Command::new("tcpdump")
            .args(["-i", device, "-nn", "-e", "-l", "--immediate-mode"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump");
        let mut errors = BufReader::new(process.stderr.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(errors.read_line(&mut line).expect("it speaks") > 0, "tcpdump ended");
        }
        std::thread::spawn(move || std::io::copy(&mut errors, &mut std::io::sink()));
        let output = BufReader::new(process.stdout.take().expect("piped"));
        Self { process, output }
    }

    /// The packets up to one that carries `mark`.
    pub(crate) fn until(mut self, mark: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).expect("it speaks") > 0, "tcpdump ended");
            let last = line.contains(mark);
            lines.push(line.trim().to_owned());
            if last {
                return lines;
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn tasks_of_three_hosts_reach_each_other_by_unicast_tunnels_alone() {
    world(async || {
        let hosts = hosts(network(), 3).await;
        let all = open_everywhere(&hosts).await;
        let mut tasks = Vec::new();
        for host in &hosts {
            let task = host.task(11, &[all]).await;
            task.listen(80).await;
            tasks.push(task);
        }
        // The hosts know each other's hardware addresses from here on.
        for host in &hosts {
            for number in 1..=3 {
                assert!(pings(&host.netns, "", Ipv4Addr::new(192, 168, 50, number), 5));
            }
        }
        let watch = Watch::new("lan");
        for from in &tasks {
            for to in &tasks {
                from.reaches(to.ip(), 80).await;
            }
        }
        // The host itself, at other hosts' tasks.
        reaches(&Namespace::open(&hosts[0].netns).expect("it is there"), tasks[1].ip(), 80).await;
        // A broadcast of ours ends the watch.
        hosts[0].sh("ip addr add 192.168.99.1/24 dev eth0; ping -c 1 -W 1 192.168.99.99 >/dev/null 2>&1 || true");
        let seen = watch.until("192.168.99.99");
        // Each tunnel packet is a line, and what is in it another.
        let (mut tunnels, mut outer) = (0, false);
        for line in &seen {
            let cast = |address: &str| {
                address.starts_with("ff:ff") || address.starts_with("33:33") || address.starts_with("01:00")
            };
            let to = line.split(" > ").nth(1).unwrap_or_default();
            if line.contains(".4789: VXLAN, flags [I] (0x08), vni 7777") {
                assert!(!cast(to), "{line}");
                (tunnels, outer) = (tunnels + 1, true);
                continue;
            }
            let of_tasks = ["10.77.", "02:cf:", "02:0a:", "02:ee:"].iter().any(|word| line.contains(word));
            assert!(!of_tasks || (outer && !cast(to) && !line.contains("ARP")), "{line}: {seen:#?}");
            assert!(!outer || of_tasks, "{line}: {seen:#?}");
            outer = false;
        }
        assert!(tunnels > 20, "{seen:#?}");
    });
}

#[test]
fn the_largest_packet_passes_and_a_larger_one_is_refused_at_once() {
    world(async || {
        let hosts = hosts(network(), 2).await;
        let all = open_everywhere(&hosts).await;
        let (a, b) = (hosts[0].task(11, &[all]).await, hosts[1].task(11, &[all]).await);
        assert!(pings(&a.netns(), "-M do -s 1422", b.ip(), 5));
        let said = a.sh(&format!("ping -M do -s 1423 -c 1 -W 1 {} 2>&1 || true", b.ip()));
        assert!(said.contains("message too long") || said.contains("Message too long"), "{said}");
        // Much at once, so that segments are made by links, not by TCP.
        assert!(pings(&a.netns(), "-s 8000", b.ip(), 5), "fragments pass as well");
    });
}

#[test]
fn a_tunnel_that_does_not_work_is_noticed() {
    world(async || {
        let hosts = hosts(network(), 2).await;
        let patience = Duration::from_secs(5);
        for (host, other) in [(&hosts[0], &hosts[1]), (&hosts[1], &hosts[0])] {
            host.fabric.check_peer(&other.lease, patience).await.expect("it works");
        }
        // Something on the way takes only smaller packets.
        hosts[1].sh("nft add table inet narrow; \
             nft 'add chain inet narrow way { type filter hook prerouting priority -400; }'; \
             nft add rule inet narrow way udp dport 4789 meta length gt 1400 drop");
        let watch = Duration::from_millis(600);
        let error = hosts[0].fabric.check_peer(&hosts[1].lease, watch).await.expect_err("too large");
        assert!(matches!(error, CheckError::Large { bytes: 1450, .. }), "{error:?}");
        hosts[1].sh("nft delete table inet narrow");
        hosts[0].fabric.check_peer(&hosts[1].lease, patience).await.expect("it works");
        // The other one does not know this one.
        hosts[1].fabric.set_peers(&[]).await.expect("peers");
        let error = hosts[0].fabric.check_peer(&hosts[1].lease, watch).await.expect_err("not let in");
        assert!(matches!(error, CheckError::Silent { .. }), "{error:?}");
    });
}

#[test]
fn members_on_other_hosts_are_let_in_by_address() {
    world(async || {
        let hosts = hosts(network(), 2).await;
        let (web, db) = (GroupId::random(), GroupId::random());
        let groups = BTreeMap::from([(web, group(&[])), (db, group(&[rule(tcp_port(5432), RulePeer::Group(web))]))]);
        for host in &hosts {
            host.fabric.set_groups(&groups).await.expect("groups");
        }
        let (a, b) = (hosts[0].task(11, &[web]).await, hosts[1].task(11, &[db]).await);
        b.listen(5432).await;
        a.does_not_reach(b.ip(), 5432).await;
        let members = BTreeMap::from([(web, BTreeSet::from([IpAddr::V4(a.ip())]))]);
        hosts[1].fabric.set_members(&members).await.expect("members");
        a.reaches(b.ip(), 5432).await;
        // The other way nothing is open.
        a.listen(80).await;
        b.does_not_reach(a.ip(), 80).await;
    });
}

#[test]
fn forged_tunnel_packets_are_dropped_and_counted() {
    world(async || {
        let hosts = hosts(network(), 2).await;
        let all = open_everywhere(&hosts).await;
        let (a, b) = (hosts[0].task(11, &[all]).await, hosts[1].task(11, &[all]).await);
        b.listen(80).await;
        a.reaches(b.ip(), 80).await;
        // A stranger with a tunnel of the same number claims to be a task of the first host.
        sh("ip netns add stranger; \
             ip link add s0 type veth peer name eth0 netns stranger; ip link set s0 master lan up; \
            ip -n stranger link set eth0 up; ip -n stranger addr add 192.168.50.66/24 dev eth0; \
            ip -n stranger link add vx type vxlan id 7777 dstport 4789 local 192.168.50.66 dev eth0 nolearning; \
            ip -n stranger link set vx address 02:cf:0a:4d:01:00 up; ip -n stranger addr add 10.77.1.11/32 dev vx; \
            bridge -n stranger fdb append 02:cf:0a:4d:02:00 dev vx dst 192.168.50.2; \
            ip -n stranger neigh add 10.77.2.0 lladdr 02:cf:0a:4d:02:00 dev vx nud permanent; \
            ip -n stranger route add 10.77.2.0/24 via 10.77.2.0 dev vx onlink");
        let before = hosts[1].host_counted("underlay");
        assert!(!pings("/run/netns/stranger".as_ref(), "-I 10.77.1.11", b.ip(), 1));
        assert!(hosts[1].host_counted("underlay") > before);

        // A host of the network that says its packets come from the other's tasks, from our own or from nowhere.
        let before = hosts[1].counted("pin");
        for spoofed in ["10.77.2.77", "192.0.2.1"] {
            hosts[0].fabric_sh(&format!("ip addr add {spoofed}/32 dev lsvx"));
            assert!(!pings(&hosts[0].fabric_netns(), &format!("-I {spoofed}"), b.ip(), 1), "{spoofed}");
        }
        assert!(hosts[1].counted("pin") >= before + 2);
        // It is no way to anywhere else.
        hosts[0].fabric_sh("ip route add 198.51.100.0/24 via 10.77.2.0 dev lsvx onlink");
        let before = hosts[1].counted("ingress");
        assert!(!pings(&hosts[0].fabric_netns(), "", Ipv4Addr::new(198, 51, 100, 1), 1));
        assert!(hosts[1].counted("ingress") > before);
    });
}

#[test]
fn hosts_come_and_go() {
    world(async || {
        let hosts = hosts(network6(), 3).await;
        let all = open_everywhere(&hosts).await;
        let a = hosts[0].task(11, &[all]).await;
        let mut others = Vec::new();
        for host in &hosts[1..] {
            let task = host.task(11, &[all]).await;
            task.listen(80).await;
            others.push(task);
        }
        a.reaches(others[0].ip(), 80).await;
        a.reaches(others[1].ip(), 80).await;
        let fabric = &hosts[0].fabric;
        fabric.set_peers(&[hosts[1].peer(2)]).await.expect("peers");
        a.reaches(others[0].ip(), 80).await;
        // Gone: said at once, and nothing of it is left.
        let said = a.sh(&format!("ping -c 1 -W 5 {} 2>&1 || true", others[1].ip()));
        assert!(said.contains("Unreachable"), "{said}");
        let left = hosts[0].fabric_sh("ip route; ip -6 route; ip neigh; bridge fdb");
        assert!(!left.contains("10.77.3") && !left.contains("192.168.50.3") && !left.contains("fd77:0:0:3"), "{left}");
        assert!(!hosts[0].sh("nft list set inet ls_host vtep4").contains("192.168.50.3"));

        // The third comes back at the second's address, with two leases.
        hosts[1].sh("ip link set eth0 down");
        hosts[2].sh("ip addr add 192.168.50.2/24 dev eth0");
        let mut moved = hosts[2].peer(3);
        moved.leases.push(lease(&network6(), 9));
        fabric.set_peers(std::slice::from_ref(&moved)).await.expect("peers");
        a.reaches(others[1].ip(), 80).await;
        let routes = json_in(&hosts[0].fabric_netns(), "ip -json route show dev lsvx");
        let to: Vec<&str> = routes.as_array().expect("a list").iter().filter_map(|r| r["dst"].as_str()).collect();
        assert_eq!(to, ["10.77.3.0/24", "10.77.9.0/24"]);

        // Those that contradict others are left out and named.
        let mut same = hosts[1].peer(2);
        same.underlay = moved.underlay;
        let mut own = hosts[1].peer(7);
        own.leases = vec![hosts[0].lease];
        own.underlay = "192.168.50.7".parse().expect("an address");
        let report = fabric.set_peers(&[moved, same, own]).await.expect("peers");
        let refused: Vec<_> = report.refused.iter().map(|r| r.instance).collect();
        assert_eq!(refused, [hosts[1].peer(2).instance, hosts[1].peer(7).instance]);
        a.reaches(others[1].ip(), 80).await;
        assert_eq!(fabric.repair().await.expect("repaired"), []);
    });
}

#[test]
fn a_host_with_two_leases_is_reached_in_both() {
    world(async || {
        let hosts = hosts(network6(), 2).await;
        let all = open_everywhere(&hosts).await;
        let first = hosts[0].task(11, &[all]).await;
        let far = hosts[1].task(11, &[all]).await;
        let second = lease(&network6(), 7);
        let both = [hosts[0].lease, second];
        assert!(!hosts[0].fabric.set_leases(&both).await.expect("leases").is_empty());
        assert_eq!(hosts[0].fabric.repair().await.expect("repaired"), []);
        let mut more = Task::new(&second, 11);
        hosts[0].fabric.wire(&more.wire, &more.pause()).await.expect("wired");
        more.claim.groups = [all].into();
        hosts[0].fabric.admit(&more.claim).await.expect("admitted");
        for task in [&first, &more, &far] {
            task.listen(80).await;
        }
        // On the host at once; from another one once it knows.
        first.reaches(more.ip(), 80).await;
        more.reaches(first.ip6(), 80).await;
        far.does_not_reach(more.ip(), 80).await;
        let known = Peer { leases: both.to_vec(), ..hosts[0].peer(1) };
        assert_eq!(hosts[1].fabric.set_peers(&[known]).await.expect("peers").refused, []);
        for near in [&first, &more] {
            far.reaches(near.ip(), 80).await;
            far.reaches(near.ip6(), 80).await;
            near.reaches(far.ip(), 80).await;
            near.reaches(far.ip6(), 80).await;
            assert!(pings(&far.netns(), "-M do -s 1422", near.ip(), 5), "the largest packet passes to both");
        }
        // An address of the second lease is pinned to its task as one of the first is.
        first.sh(&format!("ip addr add {}/32 dev eth0", Ipv4Addr::new(10, 77, 7, 12)));
        assert!(!pings(&first.netns(), "-I 10.77.7.12", far.ip(), 1));
        // And it can go, with everything of it.
        hosts[0].fabric.dismiss(&more.claim).await.expect("dismissed");
        hosts[0].fabric.unwire(more.eni()).await.expect("unwired");
        hosts[0].fabric.set_leases(&both[..1]).await.expect("leases");
        hosts[1].fabric.set_peers(&[hosts[0].peer(1)]).await.expect("peers");
        far.reaches(first.ip(), 80).await;
        far.does_not_reach(more.ip(), 80).await;
        let left = hosts[1].fabric_sh("ip route; ip neigh; ip -6 route");
        assert!(!left.contains("10.77.7.") && !left.contains("fd77:0:0:7"), "{left}");
    });
}

#[test]
fn a_fabric_that_is_taken_over_keeps_its_tunnels() {
    world(async || {
        let hosts = hosts(network6(), 2).await;
        let known = || {
            let inside = hosts[0].fabric_sh("ip route; ip -6 route; ip neigh; bridge fdb");
            inside + &hosts[0].sh("nft list set inet ls_host vtep4")
        };
        let before = known();
        let again = longshore_net::Fabric::open(hosts[0].config.clone()).await.expect("taken over");
        assert_eq!(again.repair().await.expect("repaired"), []);
        assert_eq!(known(), before, "until others are said, they are those that were");
        assert_eq!(again.set_peers(&[hosts[1].peer(2)]).await.expect("peers").repairs, []);
        again.set_peers(&[]).await.expect("peers");
        assert_ne!(known(), before);
    });
}

#[test]
fn a_host_may_lose_its_first_lease() {
    world(async || {
        let hosts = hosts(network6(), 2).await;
        let all = open_everywhere(&hosts).await;
        let b = hosts[1].task(11, &[all]).await;
        b.listen(80).await;
        let new = lease(&network6(), 5);
        assert!(!hosts[0].fabric.set_leases(&[new]).await.expect("leases").is_empty());
        assert_eq!(hosts[0].fabric.repair().await.expect("repaired"), []);
        let moved = Peer { leases: vec![new], ..hosts[0].peer(1) };
        hosts[1].fabric.set_peers(&[moved]).await.expect("peers");
        let mut a = Task::new(&new, 11);
        hosts[0].fabric.wire(&a.wire, &a.pause()).await.expect("wired");
        a.claim.groups = [all].into();
        hosts[0].fabric.admit(&a.claim).await.expect("admitted");
        a.reaches(b.ip(), 80).await;
        a.reaches(b.ip6(), 80).await;
        reaches(&Namespace::open(&hosts[0].netns).expect("it is there"), b.ip(), 80).await;
        let left = hosts[0].sh("ip addr; ip route; ip neigh") + &hosts[0].fabric_sh("ip addr; ip route; ip neigh");
        assert!(!left.contains("10.77.1."), "{left}");
    });
}

#[test]
fn a_tunnel_that_was_lost_comes_back() {
    world(async || {
        let hosts = hosts(network(), 2).await;
        let all = open_everywhere(&hosts).await;
        let (a, b) = (hosts[0].task(11, &[all]).await, hosts[1].task(11, &[all]).await);
        b.listen(80).await;
        for line in [
            "ip link del lsvx",
            "ip link set lsvx address 02:00:00:00:00:01",
            "ip link set lsvx mtu 1300",
            "ip route flush dev lsvx",
            "ip neigh flush dev lsvx nud permanent",
            "bridge fdb del 02:cf:0a:4d:02:00 dev lsvx dst 192.168.50.2",
            "bridge fdb replace 02:cf:0a:4d:02:00 dev lsvx dst 192.168.50.77",
        ] {
            hosts[0].fabric_sh(line);
            assert!(!hosts[0].fabric.repair().await.expect(line).is_empty(), "{line}");
            a.reaches(b.ip(), 80).await;
            assert_eq!(hosts[0].fabric.repair().await.expect(line), [], "{line}: the second time");
        }
        hosts[0].sh("nft flush set inet ls_host vtep4");
        assert!(!hosts[0].fabric.repair().await.expect("repaired").is_empty());
        a.reaches(b.ip(), 80).await;
        // The underlay's link goes, and the tunnel with it.
        hosts[0].sh("ip link del eth0; nft flush ruleset");
        let error = hosts[0].fabric.repair().await.expect_err("no underlay");
        assert!(error.to_string().contains("no link of this host has the underlay's address 192.168.50.1"), "{error}");
        // What does not need it is put back all the same.
        assert!(hosts[0].sh("nft list ruleset").contains("chain tasks_to_host"));
        sh("ip link add host1 type veth peer name eth0 netns host1; ip link set host1 master lan up; \
            ip -n host1 addr add 192.168.50.1/24 dev eth0; ip -n host1 link set eth0 up");
        hosts[0].fabric.repair().await.expect("repaired");
        until("the tunnel works", || pings(&a.netns(), "", b.ip(), 1).then_some(()));
    });
}

#[test]
fn tunnels_run_over_ipv6_as_well() {
    world(async || {
        make_lan();
        let network = NetworkConfig { mtu: 1430, ..network6() };
        let mut hosts = Vec::new();
        for number in 1..=2_u8 {
            let adapt = |config: &mut longshore_net::FabricConfig| {
                let address = format!("fd50::{number}");
                sh(&format!("ip -n host{number} addr add {address}/64 dev eth0 nodad"));
                let address = address.parse().expect("an address");
                config.underlay = Some(longshore_net::Underlay { address, device: "eth0".into() });
            };
            hosts.push(Host::made(network, number, &Place::Lan, adapt).await);
        }
        let all = open_everywhere(&hosts).await;
        for (host, other, number) in [(&hosts[0], &hosts[1], 2), (&hosts[1], &hosts[0], 1)] {
            let underlay = format!("fd50::{number}").parse().expect("an address");
            let v4 = other.peer(number);
            let report = host.fabric.set_peers(std::slice::from_ref(&v4)).await.expect("peers");
            assert_eq!(report.refused.len(), 1, "{report:?}");
            let report = host.fabric.set_peers(&[Peer { underlay, ..v4 }]).await.expect("peers");
            assert_eq!(report.refused, []);
            assert_eq!(host.fabric.repair().await.expect("repaired"), []);
        }
        let (a, b) = (hosts[0].task(11, &[all]).await, hosts[1].task(11, &[all]).await);
        b.listen(80).await;
        a.reaches(b.ip(), 80).await;
        a.reaches(b.ip6(), 80).await;
        assert!(pings(&a.netns(), "-M do -s 1402", b.ip(), 5) && pings(&a.netns(), "-M do -s 1382", b.ip6(), 5));
    });
}

#[test]
fn tasks_are_routed_without_tunnels() {
    world(async || {
        let routed = NetworkConfig { overlay: Overlay::Routes, mtu: 1500, ..network() };
        let hosts = hosts(routed, 2).await;
        let all = open_everywhere(&hosts).await;
        let (a, b) = (hosts[0].task(11, &[all]).await, hosts[1].task(11, &[all]).await);
        b.listen(80).await;
        a.reaches(b.ip(), 80).await;
        assert!(pings(&a.netns(), "-M do -s 1472", b.ip(), 5));
        assert!(!hosts[0].fabric_sh("ip -o link").contains("lsvx"));
        // Seen by the other as itself: nothing is translated between tasks.
        let said = a.sh(&format!("ping -c 1 -W 5 {} 2>&1", b.ip()));
        assert!(said.contains("1 received"), "{said}");
        // A lease that nobody has is refused, not sent around.
        let said = a.sh("ping -c 1 -W 5 10.77.9.9 2>&1 || true");
        assert!(said.contains("Unreachable"), "{said}");
        let mut far = hosts[1].peer(9);
        far.underlay = "192.0.2.9".parse().expect("an address");
        far.leases = vec![lease(&routed, 9)];
        let report = hosts[0].fabric.set_peers(&[hosts[1].peer(2), far]).await.expect("peers");
        assert_eq!(report.refused.len(), 1);
        a.reaches(b.ip(), 80).await;
    });
}

#[test]
fn the_world_outside_sees_the_host() {
    world(async || {
        let hosts = hosts(network(), 2).await;
        let all = open_everywhere(&hosts).await;
        let a = hosts[0].task(11, &[all]).await;
        a.listen(80).await;
        // Somebody on the LAN who knows of no fabric.
        sh("ip netns add other; ip link add o0 type veth peer name eth0 netns other; ip link set o0 master lan up; \
            ip -n other link set eth0 up; ip -n other addr add 192.168.50.99/24 dev eth0; ip -n other link set lo up");
        let other = Namespace::open("/run/netns/other").expect("it is there");
        listen(&other, 80).await;
        a.reaches(Ipv4Addr::new(192, 168, 50, 99), 80).await;
        // With a route, it reaches tasks as their groups say; it does not reach what is for tasks, nor speak as one.
        sh_in(
            "/run/netns/other".as_ref(),
            "ip route add 10.77.1.0/24 via 192.168.50.1; ip route add 169.254.170.0/24 via 192.168.50.1",
        );
        reaches(&other, a.ip(), 80).await;
        listen(hosts[0].fabric.namespace(), 8080).await;
        let before = hosts[0].host_counted("guard");
        does_not_reach(&other, Ipv4Addr::new(169, 254, 170, 2), 8080).await;
        sh_in("/run/netns/other".as_ref(), "ip addr add 10.77.2.11/32 dev eth0");
        assert!(!pings("/run/netns/other".as_ref(), "-I 10.77.2.11", a.ip(), 1));
        assert!(hosts[0].host_counted("guard") >= before + 2);
    });
}

#[test]
fn a_host_alone_has_no_peers() {
    world(async || {
        let host = Host::made(network(), 1, &Place::Here, |_| {}).await;
        let peer = Peer {
            instance: longshore_model::id::InstanceId::from_bytes([2; 16]),
            underlay: "192.168.50.2".parse().expect("an address"),
            leases: vec![lease(&network(), 2)],
            connected: true,
        };
        let error = host.fabric.set_peers(&[peer]).await.expect_err("no underlay");
        assert!(matches!(error, PeersError::NoUnderlay), "{error:?}");
        host.fabric.set_peers(&[]).await.expect("none are fine");
        // A second lease: more addresses, the same leg.
        let more = [host.lease, lease(&network(), 5)];
        host.fabric.set_leases(&more).await.expect("leases");
        assert_eq!(host.fabric.repair().await.expect("repaired"), []);
        let all = open_group(&host).await;
        let a = host.task(11, &[all]).await;
        let mut b = Task::new(&more[1], 12);
        host.fabric.wire(&b.wire, &b.pause()).await.expect("wired");
        b.claim.groups = [all].into();
        host.fabric.admit(&b.claim).await.expect("admitted");
        b.listen(80).await;
        a.reaches(b.ip(), 80).await;
    });
}

#[test]
fn a_host_whose_firewall_is_flushed_lets_tunnels_in_all_the_time() {
    world(async || {
        let hosts = hosts(network6(), 2).await;
        let all = open_everywhere(&hosts).await;
        let (a, b) = (hosts[0].task(11, &[all]).await, hosts[1].task(11, &[all]).await);
        assert!(pings(&a.netns(), "", b.ip(), 5));
        // A packet every 2 ms, while the table is flushed and put back again and again.
        let (from, to) = (a.netns(), b.ip());
        let pings = std::thread::spawn(move || sh_in(&from, &format!("ping -q -i 0.002 -c 1000 -W 2 {to}")));
        for _ in 0..10 {
            hosts[1].sh("nft flush ruleset");
            assert!(!hosts[1].fabric.repair().await.expect("repaired").is_empty());
        }
        let said = pings.join().expect("pinged");
        assert!(said.contains("1000 packets transmitted, 1000 received"), "{said}");
    });
}
