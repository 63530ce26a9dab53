//! Tasks with addresses of the hosts' own network.

use crate::hosts::{hosts, open_everywhere};
use crate::world::{
    Host, PATIENCE, Task, WATCH, does_not_reach, group, lan_network, lease, listen, make_lan, network, open_group,
    pings, reaches, rule, sh, sh_in, tcp_port, until, v4, world,
};
use longshore_model::network::{Mac, NetworkConfig, Overlay};
use longshore_net::{CheckError, Fabric, FabricConfig, FabricError, Names, Namespace, Stray, Underlay};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

const OTHER: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 99);

/// Somebody on the network who knows of no fabric.
struct Neighbour {
    netns: PathBuf,
    at: Namespace,
}

impl Neighbour {
    fn new(name: &str, address: Ipv4Addr) -> Self {
        sh(&format!(
            "ip netns add {name}; ip link add {name} type veth peer name eth0 netns {name}; \
             ip link set {name} master lan up; ip -n {name} link set lo up; ip -n {name} link set eth0 up; \
             ip -n {name} addr add {address}/24 dev eth0"
        ));
        let netns = PathBuf::from(format!("/run/netns/{name}"));
        let at = Namespace::open(&netns).expect("it is there");
        Self { netns, at }
    }

    fn sh(&self, line: &str) -> String {
        sh_in(&self.netns, line)
    }

    /// The hardware address that it knows for an address, when it knows one.
    fn knows(&self, address: Ipv4Addr) -> Option<Mac> {
        let said = self.sh(&format!("ip neigh show {address} dev eth0"));
        said.split_whitespace().skip_while(|word| *word != "lladdr").nth(1)?.parse().ok()
    }
}

/// The hardware address of the link of a namespace.
fn mac(netns: &std::path::Path) -> Mac {
    sh_in(netns, "ip -o link show eth0 | sed 's/.*ether \\([^ ]*\\).*/\\1/'")
        .trim()
        .parse()
        .expect("a hardware address")
}

/// What a host answers for.
fn answered(host: &Host) -> Vec<String> {
    let said = host.sh("ip neigh show proxy dev eth0");
    let mut all: Vec<String> = said.lines().filter_map(|l| Some(l.split_whitespace().next()?.to_owned())).collect();
    all.sort();
    all
}

#[test]
fn tasks_are_on_the_hosts_network_with_addresses_of_their_own() {
    world(async || {
        let hosts = hosts(lan_network(), 2).await;
        let all = open_everywhere(&hosts).await;
        let other = Neighbour::new("other", OTHER);
        let (a, b) = (hosts[0].task(146, &[all]).await, hosts[1].task(162, &[all]).await);
        a.listen(80).await;
        b.listen(80).await;
        listen(&other.at, 80).await;
        a.reaches(b.ip(), 80).await;
        b.reaches(a.ip(), 80).await;
        a.reaches(OTHER, 80).await;
        assert!(pings(&a.netns(), "-M do -s 1472", b.ip(), 5), "no tunnel takes any of it");
        // Anybody there reaches them, and sees the host that has them.
        for (task, host) in [(&a, &hosts[0]), (&b, &hosts[1])] {
            reaches(&other.at, task.ip(), 80).await;
            assert_eq!(other.knows(task.ip()), Some(mac(&host.netns)));
            // And so does every host.
            reaches(&Namespace::open(&hosts[0].netns).expect("it is there"), task.ip(), 80).await;
            assert_eq!(host.sh("cat /proc/sys/net/ipv4/neigh/eth0/proxy_delay").trim(), "0");
        }
        // Hosts send to each other's tasks without asking for them.
        assert_eq!(hosts[0].sh("ip neigh show 192.168.50.162"), "");
        // The host itself: tasks see whether it is there, and nothing that it serves.
        listen(&Namespace::open(&hosts[0].netns).expect("it is there"), 22).await;
        assert!(pings(&a.netns(), "", Ipv4Addr::new(192, 168, 50, 1), 5));
        does_not_reach(&a.pause(), Ipv4Addr::new(192, 168, 50, 1), 22).await;
        reaches(&other.at, Ipv4Addr::new(192, 168, 50, 1), 22).await;

        assert_eq!(answered(&hosts[0]), ["192.168.50.146"]);
        assert!(!pings(&other.netns, "", Ipv4Addr::new(192, 168, 50, 147), 1), "an address of nobody");
        assert_eq!(other.knows(Ipv4Addr::new(192, 168, 50, 147)), None);
        hosts[0].wired(147).await;
        assert_eq!(answered(&hosts[0]), ["192.168.50.146"], "one of a sandbox that waits is not answered for");
        hosts[0].fabric.dismiss(&a.claim).await.expect("dismissed");
        assert_eq!(answered(&hosts[0]), [""; 0]);
        other.sh("ip neigh flush dev eth0");
        assert!(!pings(&other.netns, "", a.ip(), 1));
        assert_eq!(other.knows(a.ip()), None);
    });
}

#[test]
fn nothing_is_translated_on_the_lan() {
    world(async || {
        make_lan();
        let hosts = [Host::on_lan(lan_network(), 1).await];
        let all = open_everywhere(&hosts).await;
        let other = Neighbour::new("other", OTHER);
        let a = hosts[0].task(146, &[all]).await;
        // What the hosts are told of the world outside goes through a gateway of the LAN, which knows the way back.
        other.sh("ip addr add 198.51.100.1/32 dev lo");
        hosts[0].sh("ip route add default via 192.168.50.99");
        assert_eq!(hosts[0].fabric.repair().await.expect("repaired"), []);
        let listener = other.at.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80))).await.expect("entered");
        let listener = listener.expect("bound");
        let (seen, sees) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = seen.send(stream.peer_addr().map(|address| address.ip()));
                let _ = std::io::Write::write_all(&mut &stream, b"hello\n");
            }
        });
        for to in [OTHER, Ipv4Addr::new(198, 51, 100, 1)] {
            a.reaches(to, 80).await;
            let from = sees.recv_timeout(PATIENCE).expect("it came").expect("from somewhere");
            assert_eq!(from, IpAddr::V4(a.ip()), "to {to}");
        }
    });
}

#[test]
fn what_is_answered_for_is_what_is_let_through() {
    world(async || {
        make_lan();
        let hosts = [Host::on_lan(lan_network(), 1).await];
        let all = open_everywhere(&hosts).await;
        let host = &hosts[0];
        let a = host.task(146, &[all]).await;
        let breaks = [
            "ip neigh del proxy 192.168.50.146 dev eth0",
            "ip neigh add proxy 192.168.50.150 dev eth0 protocol 98",
            "sysctl -qw net.ipv4.neigh.eth0.proxy_delay=80",
            "sysctl -qw net.ipv4.conf.eth0.forwarding=0",
            "ip route del 192.168.50.144/28",
        ];
        host.sh("ip neigh add proxy 192.168.50.200 dev eth0");
        for line in breaks {
            host.sh(line);
            assert_eq!(host.fabric.repair().await.expect(line).len(), 1, "{line}");
            assert_eq!(host.fabric.repair().await.expect(line), [], "{line}: the second time");
            assert_eq!(answered(host), ["192.168.50.146", "192.168.50.200"], "{line}: that of somebody else stays");
        }
        // The link goes down and comes back, and the kernel forgets all of them.
        host.sh("ip link set eth0 down; ip link set eth0 up");
        assert_eq!(answered(host), [""; 0]);
        assert!(!host.fabric.repair().await.expect("repaired").is_empty());
        assert_eq!(answered(host), ["192.168.50.146"]);
        host.sh("ip neigh add proxy 192.168.50.200 dev eth0");

        // Another agent finds it so, before it knows of any task.
        let fabric = Fabric::open(host.config.clone()).await.expect("taken over");
        assert_eq!(answered(host), ["192.168.50.146", "192.168.50.200"]);
        let known = BTreeSet::from([a.eni()]);
        assert_eq!(fabric.remove_strays(&known).await.expect("looked"), []);
        let strays = fabric.remove_strays(&BTreeSet::new()).await.expect("removed");
        assert!(strays.contains(&Stray::Proxy(a.ip())), "{strays:?}");
        assert_eq!(answered(host), ["192.168.50.200"]);
        // In another overlay nothing is.
        host.sh("ip neigh add proxy 192.168.50.150 dev eth0 protocol 98");
        let mut config = host.config.clone();
        config.network = network();
        config.leases = vec![lease(&network(), 1)];
        config.network.mtu = 1400;
        let _other = Fabric::open(config).await.expect("a fabric");
        assert_eq!(answered(host), ["192.168.50.200"]);
    });
}

#[test]
fn whoever_has_an_address_is_found_and_told() {
    world(async || {
        let hosts = hosts(lan_network(), 2).await;
        let all = open_everywhere(&hosts).await;
        let other = Neighbour::new("other", OTHER);
        other.sh("ip addr add 192.168.50.150/32 dev eth0");
        let _b = hosts[1].task(162, &[all]).await;
        let patience = Duration::from_millis(600);
        let holder = |last| {
            let fabric = hosts[0].fabric.clone();
            async move { fabric.holder(Ipv4Addr::new(192, 168, 50, last), patience).await.expect("asked") }
        };
        assert_eq!(holder(150).await, Some(mac(&other.netns)));
        assert_eq!(holder(151).await, None);
        // Another control plane's hosts are on the LAN as well.
        assert_eq!(holder(162).await, Some(mac(&hosts[1].netns)));
        let a = hosts[0].task(146, &[all]).await;
        assert_eq!(holder(146).await, None, "our own is nobody else's");
        // One that only looks whether it may take it counts: from the other end, that is us.
        let asked = std::thread::spawn({
            let (fabric, runtime) = (hosts[1].fabric.clone(), tokio::runtime::Handle::current());
            move || runtime.block_on(fabric.holder(Ipv4Addr::new(192, 168, 50, 155), PATIENCE))
        });
        while !asked.is_finished() {
            holder(155).await;
        }
        assert_eq!(asked.join().expect("it ends").expect("asked"), Some(mac(&hosts[0].netns)));

        // Who thought that somebody else has it learns otherwise at once.
        hosts[0].fabric.dismiss(&a.claim).await.expect("dismissed");
        other.sh("ip neigh replace 192.168.50.146 lladdr 02:00:00:00:00:99 dev eth0 nud stale");
        hosts[0].fabric.admit(&a.claim).await.expect("admitted");
        until("the neighbour knows", || (other.knows(a.ip()) == Some(mac(&hosts[0].netns))).then_some(()));
    });
}

#[test]
fn groups_decide_who_on_the_lan_gets_in() {
    world(async || {
        let hosts = hosts(lan_network(), 2).await;
        let id = open_group(&hosts[0]).await;
        let (other, third) = (Neighbour::new("other", OTHER), Neighbour::new("third", Ipv4Addr::new(192, 168, 50, 98)));
        // Docker's firewall is between the LAN and tasks.
        hosts[0].sh("iptables -w -N DOCKER-USER; iptables -w -A DOCKER-USER -j RETURN; \
             iptables -w -A FORWARD -j DOCKER-USER; iptables -w -P FORWARD DROP");
        assert_eq!(hosts[0].fabric.repair().await.expect("repaired").len(), 1);
        assert!(
            hosts[0].sh("iptables -w -S DOCKER-USER").contains("-A DOCKER-USER -d 192.168.50.128/25 -o lsl0 -j ACCEPT")
        );
        let a = hosts[0].task(146, &[id]).await;
        a.listen(80).await;
        reaches(&other.at, a.ip(), 80).await;
        let only = group(&[rule(tcp_port(80), v4("192.168.50.99/32"))]);
        hosts[0].fabric.set_groups(&BTreeMap::from([(id, only)])).await.expect("groups");
        reaches(&other.at, a.ip(), 80).await;
        does_not_reach(&third.at, a.ip(), 80).await;
        does_not_reach(&Namespace::open(&hosts[1].netns).expect("it is there"), a.ip(), 80).await;
        hosts[0].fabric.set_groups(&BTreeMap::from([(id, group(&[]))])).await.expect("groups");
        does_not_reach(&other.at, a.ip(), 80).await;
        // What is for tasks stays theirs.
        other.sh("ip route add 169.254.170.0/24 via 192.168.50.1");
        listen(hosts[0].fabric.namespace(), 8080).await;
        does_not_reach(&other.at, Ipv4Addr::new(169, 254, 170, 2), 8080).await;
    });
}

#[test]
fn nobody_speaks_for_others() {
    world(async || {
        let hosts = hosts(lan_network(), 2).await;
        let all = open_everywhere(&hosts).await;
        let other = Neighbour::new("other", OTHER);
        let (a, b) = (hosts[0].task(146, &[all]).await, hosts[0].task(147, &[all]).await);
        assert!(pings(&a.netns(), "", b.ip(), 5));
        // A task as a machine of the LAN, as the host, as another task, here and elsewhere.
        for spoofed in ["192.168.50.99", "192.168.50.1", "192.168.50.147", "192.168.50.162"] {
            let before = hosts[0].counted("pin");
            a.sh(&format!("ip addr add {spoofed}/32 dev eth0"));
            // To itself it may be whoever it likes.
            for to in [b.ip(), OTHER].into_iter().filter(|to| to.to_string() != spoofed) {
                assert!(!pings(&a.netns(), &format!("-I {spoofed}"), to, 1), "{spoofed} to {to}");
            }
            assert!(hosts[0].counted("pin") > before, "{spoofed} is counted");
            a.sh(&format!("ip addr del {spoofed}/32 dev eth0"));
        }
        // A machine of the LAN as a task of the host that it sends to.
        let before = hosts[0].host_counted("guard");
        other.sh("ip addr add 192.168.50.147/32 dev eth0");
        assert!(!pings(&other.netns, "-I 192.168.50.147", a.ip(), 1));
        assert!(hosts[0].host_counted("guard") > before);
    });
}

/// From fabric to fabric, on the way of tasks' packets.
fn the_way_between_hosts_is_tried(network: NetworkConfig) {
    world(async move || {
        let hosts = hosts(network, 2).await;
        let patience = Duration::from_secs(5);
        for (host, other) in [(&hosts[0], &hosts[1]), (&hosts[1], &hosts[0])] {
            host.fabric.check_peer(&other.lease, patience).await.expect("it works");
        }
        let watch = Duration::from_millis(600);
        let chain = "{ type filter hook forward priority 0; }";
        hosts[1].sh(&format!("nft add table inet way; nft 'add chain inet way f {chain}'"));
        hosts[1].sh("nft add rule inet way f meta length gt 1400 drop");
        let error = hosts[0].fabric.check_peer(&hosts[1].lease, watch).await.expect_err("too large");
        assert!(matches!(error, CheckError::Large { bytes: 1500, .. }), "{error:?}");
        hosts[1].sh("nft add rule inet way f drop");
        let error = hosts[0].fabric.check_peer(&hosts[1].lease, watch).await.expect_err("nothing passes");
        assert!(error.to_string().contains("do both hosts forward"), "{error}");
        hosts[1].sh("nft delete table inet way");
        hosts[0].fabric.check_peer(&hosts[1].lease, patience).await.expect("it works");
        // The other one does not forward.
        hosts[1].sh("sysctl -qw net.ipv4.ip_forward=0");
        let error = hosts[0].fabric.check_peer(&hosts[1].lease, watch).await.expect_err("no way in");
        assert!(matches!(error, CheckError::Silent { .. }), "{error:?}");
        assert!(!hosts[1].fabric.repair().await.expect("repaired").is_empty());
        hosts[0].fabric.check_peer(&hosts[1].lease, patience).await.expect("it works");
    });
}

#[test]
fn the_way_between_hosts_on_a_lan_is_tried() {
    the_way_between_hosts_is_tried(lan_network());
}

#[test]
fn the_way_between_hosts_by_routes_is_tried() {
    the_way_between_hosts_is_tried(NetworkConfig { overlay: Overlay::Routes, mtu: 1500, ..network() });
}

#[test]
fn a_range_that_is_no_free_part_of_the_lan_is_refused() {
    world(async || {
        make_lan();
        sh("ip link add eth0 type veth peer name x0; ip link set eth0 up; ip link set x0 up; \
            ip addr add 192.168.50.1/24 dev eth0; mkdir -p /run/lan");
        let config = |range: &str, address: Ipv4Addr| {
            let network = NetworkConfig { v4: range.parse().expect("a range"), ..lan_network() };
            let leases = network.v4.subnets(28).expect("smaller").take(1);
            let leases = leases.map(|v4| longshore_model::network::Lease { v4, v6: None }).collect();
            FabricConfig {
                underlay: Some(Underlay { address: address.into(), device: "eth0".into() }),
                names: Names::new("ls", "/run/lan").expect("names"),
                ..FabricConfig::new(network, leases)
            }
        };
        let own = Ipv4Addr::new(192, 168, 50, 1);
        let refused = |range: &'static str| {
            let config = config(range, own);
            async move { Fabric::open(config).await.expect_err(range).to_string() }
        };
        for (range, parts) in [
            ("192.168.51.128/25", ["192.168.51.128/25", "`eth0`, which has 192.168.50.1/24"]),
            ("192.168.48.0/22", ["192.168.48.0/22", "`eth0`, which has 192.168.50.1/24"]),
            ("192.168.50.0/25", ["192.168.50.0/25", "contains 192.168.50.1, an address of this host on `eth0`"]),
            ("192.168.50.0/24", ["192.168.50.0/24", "contains 192.168.50.1, an address of this host on `eth0`"]),
        ] {
            let error = refused(range).await;
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
        sh("ip route add default via 192.168.50.129");
        let error = refused("192.168.50.128/25").await;
        assert!(error.contains("contains 192.168.50.129, this host's gateway;"), "{error}");
        sh("ip route del default; ip route add 198.51.100.0/24 via 192.168.50.130");
        let error = refused("192.168.50.128/25").await;
        assert!(error.contains("contains 192.168.50.130, this host's gateway to 198.51.100.0/24;"), "{error}");
        sh("ip route del 198.51.100.0/24; ip route add 192.168.50.192/26 via 192.168.50.7");
        let error = refused("192.168.50.128/25").await;
        assert!(error.contains("overlaps the host's route to 192.168.50.192/26"), "{error}");
        let mut other = config("192.168.50.128/25", own);
        other.underlay = None;
        assert!(matches!(Fabric::open(other).await.expect_err("alone"), FabricError::NoLan));
        let mut other = config("192.168.50.128/25", own);
        other.network.v6 = Some("fd77::/48".parse().expect("a network"));
        let error = Fabric::open(other).await.expect_err("no IPv6").to_string();
        assert!(error.contains("fd77::/48 (task_network6)"), "{error}");
        assert!(!sh("ip -o link").contains("lsl0"), "nothing was made");

        // A way to more than the LAN is not in the way, nor is a gateway elsewhere on it.
        sh("ip route del 192.168.50.192/26; ip route add 192.168.0.0/16 via 192.168.50.7; \
            ip route add default via 192.168.50.7");
        let fabric = Fabric::open(config("192.168.50.128/25", own)).await.expect("a fabric");
        assert_eq!(fabric.repair().await.expect("repaired"), []);
        // The leg has the host's own address there.
        assert!(sh("ip -o -4 addr show dev lsl0").contains("192.168.50.1/32"));
        let mut task = Task::new(&config("192.168.50.128/25", own).leases[0], 130);
        task.claim.groups = BTreeSet::new();
        assert_eq!(fabric.holder(task.ip(), WATCH).await.expect("asked"), None);
        // The address moves: said as such, and right again when it is back.
        sh("ip addr add 192.168.50.200/24 dev eth0");
        let error = fabric.repair().await.expect_err("it is in the range").to_string();
        assert!(error.contains("contains 192.168.50.200"), "{error}");
        sh("ip addr del 192.168.50.200/24 dev eth0");
        assert_eq!(fabric.repair().await.expect("repaired"), []);
    });
}
