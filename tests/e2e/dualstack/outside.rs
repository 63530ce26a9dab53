//! What leaves a task's link or a host: what is forged, what goes to the world, and how hosts reach each other.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use longshore_tests::lab::{Agent, Host, Lab, Node, boto, invariant, wait_for, wait_until};
use serde_json::{Value, json};

use super::{
    FABRIC, Watch, address6, arn, dual_stack, dual_stack_config, open_group, open4, open6, pings, sandbox, sh_in,
};
use crate::awsvpc::{address, detail, network, server, spread};
use crate::fields::idle;
use crate::support::*;

/// The packets that rules with a counter in a chain counted.
fn counted(node: &Node, netns: Option<&str>, table: &str, chain: &str) -> u64 {
    let line = format!("nft -j list chain inet {table} {chain}");
    let listed = match netns {
        Some(netns) => sh_in(node, netns, &line),
        None => node.host.run("sh", &["-ec", &line]).unwrap(),
    };
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let rules = listed["nftables"].as_array().unwrap().iter().filter_map(|item| item["rule"]["expr"].as_array());
    rules.flatten().filter_map(|expr| expr["counter"]["packets"].as_u64()).sum()
}

/// What EC2 tells a host by IPv6.
const CLOUD: &str = "fd00:ec2::254";

/// A rule of the host's firewall about packets from a link to [`CLOUD`]: its number, and the packets that it counted.
fn cloud_rule(node: &Node, table: &str, chain: &str, from: &str) -> anyhow::Result<(String, u64)> {
    let listed = node.host.run("nft", &["-a", "list", "chain", "inet", table, chain])?;
    let rule = listed.lines().find(|line| line.contains(CLOUD) && line.contains(&format!("\"{from}\"")));
    let rule = rule.with_context(|| format!("none in {listed}"))?;
    let after = |word: &str| rule.split_whitespace().skip_while(|w| *w != word).nth(1).context("an odd rule");
    Ok((after("handle")?.to_owned(), after("packets")?.parse()?))
}

/// Tasks on `docker0` have no IPv6 of Docker's, and may be given one. Two tables keep them from the host's cloud, that
/// of the task network and that of the metadata endpoint; a packet that one drops never comes to the other, so each is
/// looked at without the other one's rule, which the agent puts back. Last, what the fabric itself would say.
fn assert_docker0_has_no_cloud(lab: &Lab, node: &Node) {
    let bridge = running(lab, &run_one(lab, &register(lab, "bridge", json!([idle("main")]), json!({})), json!({})));
    let pid = inspect(node, arn(&bridge), "main")["State"]["Pid"].to_string();
    let inside = |line: &str| node.host.run("nsenter", &["--target", &pid, "--net", "sh", "-ec", line]).unwrap();
    let of_host = "echo 0 >/proc/sys/net/ipv6/conf/docker0/disable_ipv6; ip addr add fd99::1/64 dev docker0 nodad";
    node.host.run("sh", &["-ec", of_host]).unwrap();
    inside(
        "for of in all eth0; do echo 0 >/proc/sys/net/ipv6/conf/$of/disable_ipv6; done; \
         ip addr add fd99::2/64 dev eth0 nodad; ip -6 route add default via fd99::1",
    );
    let ping = format!("ping -c 1 -W 1 {CLOUD} || true");
    let tables = [("ls_host", "leg"), ("ls_meta", "link_local")];
    for (own, other) in [(0, 1), (1, 0)] {
        let ((table, chain), (others, of_others)) = (tables[own], tables[other]);
        wait_until(&format!("a packet that {table} drops"), DEADLINE, || {
            if let Ok((handle, _)) = cloud_rule(node, others, of_others, "docker0") {
                node.host.run("nft", &["delete", "rule", "inet", others, of_others, "handle", &handle])?;
            }
            let (_, before) = cloud_rule(node, table, chain, "docker0")?;
            let said = inside(&ping);
            invariant(said.contains("100% packet loss"), || said)?;
            Ok(cloud_rule(node, table, chain, "docker0")?.1 > before)
        })
        .unwrap();
    }
    let leg = "lsl0";
    let (_, before) = cloud_rule(node, "ls_host", "leg", leg).unwrap();
    let said = sh_in(node, FABRIC, &ping);
    assert!(said.contains("100% packet loss"), "{said}");
    assert!(cloud_rule(node, "ls_host", "leg", leg).unwrap().1 > before);
    // By it the host would have IPv6, whatever becomes of its others.
    node.host.run("ip", &["addr", "del", "fd99::1/64", "dev", "docker0"]).unwrap();
}

/// The connections of an address that the kernel remembers, in the fabric and in the host's namespace.
fn remembered(node: &Node, address: IpAddr) -> [Vec<String>; 2] {
    let written = match address {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => ip.segments().map(|part| format!("{part:04x}")).join(":"),
    };
    let file = "/proc/thread-self/net/nf_conntrack";
    let of = |list: String| {
        let concerns = |line: &&str| line.split(' ').any(|word| word.ends_with(&format!("={written}")));
        list.lines().filter(concerns).map(str::to_owned).collect()
    };
    [of(sh_in(node, FABRIC, &format!("cat {file}"))), of(node.host.run("cat", &[file]).unwrap())]
}

/// Sends an ICMPv6 message of these bytes, whose checksum the kernel writes, as the task may who can send raw packets.
fn send_icmp6(node: &Node, netns: &str, from: &str, to: &str, bytes: &[u8]) {
    let python = boto::venv().unwrap().join("bin/python");
    let script = format!(
        "import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6); \
         eth0 = socket.if_nametoindex(\"eth0\"); s.bind((\"{from}\", 0, 0, eth0)); \
         s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, eth0); \
         s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255); \
         s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255); \
         s.sendto(bytes.fromhex(\"{}\"), (\"{to}\", 0, 0, eth0))",
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    );
    sh_in(node, netns, &format!("{} -c '{script}'", python.display()));
}

/// A router advertisement: be your router for half an hour, and take addresses of `prefix`.
fn router_advertisement(prefix: Ipv6Addr) -> Vec<u8> {
    let mut bytes = vec![134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend([3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0]);
    bytes.extend(prefix.octets());
    bytes
}

/// A neighbour advertisement: `target` is at `mac`, whatever was said before.
fn neighbour_advertisement(target: Ipv6Addr, mac: [u8; 6]) -> Vec<u8> {
    let mut bytes = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    bytes.extend(target.octets());
    bytes.extend([2, 1]);
    bytes.extend(mac);
    bytes
}

#[test]
fn a_task_cannot_speak_as_another_nor_as_a_router_nor_to_everybody() {
    let lab = dual_stack(1, false, "", "");
    let web = server(&lab, "web");
    let all = open_group(&lab);
    let tasks = wait_tasks(&lab, &run(&lab, &web, 3, network(&lab, &[&all])), "RUNNING", DEADLINE);
    let (a, b, c) = (&tasks[0], &tasks[1], &tasks[2]);
    let node = lab.node(0);
    let (at_a, at_b) = (sandbox(a), sandbox(b));
    open6(&lab, a, b, true);
    let dropped = |chain: &str| counted(node, Some(FABRIC), "ls_fab", chain);

    // An address of nobody, of the network, of the host's leg, of another task, of the world.
    let lease = u128::from(address6(a)) & !0xff;
    let leg = Ipv6Addr::from(lease | 1);
    for spoofed in [Ipv6Addr::from(lease | 0xfb), leg, address6(c), "2001:db8::7".parse().unwrap()] {
        let (before, known) = (dropped("pin"), remembered(node, spoofed.into())[0].len());
        sh_in(node, &at_a, &format!("ip addr add {spoofed}/128 dev eth0 nodad"));
        assert!(!pings(node, &at_a, &format!("-I {spoofed}"), address6(b), 1), "{spoofed}");
        assert!(dropped("pin") > before, "{spoofed} is counted");
        let trace = &remembered(node, spoofed.into())[0];
        assert!(trace.len() <= known, "{spoofed} leaves no trace: {trace:?}");
        sh_in(node, &at_a, &format!("ip addr del {spoofed}/128 dev eth0"));
    }
    open6(&lab, a, b, true);

    // What is said to everybody on the link stays there; nobody takes a router or a neighbour from it.
    let of_fabric = format!(
        "ip -6 addr show dev lo; ip -6 route show default; ip -6 route show {0}; ip -6 neigh show {0}; \
         ip -6 neigh show dev up0",
        address6(b)
    );
    let line = "ip -6 addr show scope global; ip -6 route show; ip -6 neigh show nud permanent";
    let state =
        || [sh_in(node, &at_b, line), sh_in(node, FABRIC, &of_fabric), node.host.run("sh", &["-ec", line]).unwrap()];
    let before = state();
    let received = format!("ip6 and not ether src {}", detail(b, "macAddress"));
    let watch = Watch::new(&node.host, Some(&at_b), "eth0", &received);
    sh_in(node, &at_a, "ip addr add fe80::bad/64 dev eth0 nodad");
    let own = address6(a).to_string();
    let (ra, na) = (router_advertisement("fd66::".parse().unwrap()), [2, 0x0a, 0xba, 0xdb, 0xad, 0]);
    let claims = [address6(b), "fe80::1".parse().unwrap(), "fe80::2".parse().unwrap()]
        .map(|target| neighbour_advertisement(target, na));
    for (from, chain) in [("fe80::bad", "pin"), (own.as_str(), "local_in")] {
        for message in std::iter::once(&ra).chain(&claims) {
            let before = dropped(chain);
            send_icmp6(node, &at_a, from, "ff02::1", message);
            wait_until("a dropped message", DEADLINE, || Ok(dropped(chain) > before)).unwrap();
        }
    }
    let echo = [128, 0, 0, 0, 0x66, 0x66, 0, 1];
    send_icmp6(node, &at_a, &own, "ff02::1", &echo);
    send_icmp6(node, &at_a, &own, &address6(b).to_string(), &claims[1]);
    assert!(pings(node, &at_a, "-s 777", address6(b), 10));
    let seen = watch.until("length 785");
    let said = format!("{own} > {}", address6(b));
    let leaked: Vec<&String> = seen.iter().filter(|line| !line.contains(&said)).collect();
    assert!(leaked.is_empty(), "{leaked:#?}");
    assert_eq!(state(), before, "somebody believed it");
    open6(&lab, c, b, true);
    open6(&lab, a, b, true);
}

/// Takes one connection on a machine, sends `hello` and says who it came from.
fn answer(host: &Host, port: u16) -> std::thread::JoinHandle<SocketAddr> {
    let listener = host.in_network(|| Ok(TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?)).unwrap();
    std::thread::spawn(move || {
        let (mut stream, from) = listener.accept().unwrap();
        stream.write_all(b"hello\n").unwrap();
        from
    })
}

/// What a task's shell prints, and how long it took.
fn exec(node: &Node, task: &Value, line: &str) -> (String, Duration) {
    let name = format!("ls-{}-web", id(arn(task)));
    let begin = Instant::now();
    let said = node.host.run("docker", &["-H", &node.docker(), "exec", &name, "sh", "-c", line]).unwrap();
    (said, begin.elapsed())
}

#[test]
fn the_world_is_reached_as_the_host_while_it_has_ipv6_and_an_end_is_forgotten() {
    let lab = dual_stack(1, true, "", "");
    let web = server(&lab, "web");
    let task = running(&lab, &run_one(&lab, &web, network(&lab, &[&open_group(&lab)])));
    let node = lab.node(0);
    let (v4, v6): (Ipv4Addr, _) = (address(&task).parse().unwrap(), address6(&task));
    // Outwards: seen as the host.
    let (there4, there6) = (lab.ctl().address(), lab.ctl().address6());
    for (port, to, host) in [
        (8081, IpAddr::V4(there4), IpAddr::V4(node.host.address())),
        (8082, IpAddr::V6(there6), IpAddr::V6(node.host.address6())),
    ] {
        let peer = answer(lab.ctl(), port);
        let (said, _) = exec(node, &task, &format!("nc -w 10 {to} {port} </dev/null"));
        assert_eq!(said, "hello\n", "{to}");
        assert_eq!(peer.join().unwrap().ip().to_canonical(), host);
    }
    // What EC2 tells the host by IPv6 is not for tasks.
    lab.ctl().run("ip", &["addr", "add", &format!("{CLOUD}/128"), "dev", "lo"]).unwrap();
    node.host.run("ip", &["-6", "route", "add", CLOUD, "via", &there6.to_string()]).unwrap();
    let peer = answer(lab.ctl(), 8083);
    let (said, _) = exec(node, &task, &format!("nc -w 3 {CLOUD} 8083 </dev/null 2>&1 || true"));
    assert!(said.contains("timed out"), "{said}");
    let said = node.host.run("sh", &["-ec", &format!("busybox nc -w 10 {CLOUD} 8083 </dev/null")]).unwrap();
    assert_eq!(said, "hello\n", "the host reaches it");
    peer.join().unwrap();
    assert!(counted(node, Some(FABRIC), "ls_fab", "no_backend") > 0);
    assert_docker0_has_no_cloud(&lab, node);
    // The host reaches its tasks, as their groups say.
    for to in [IpAddr::V4(v4), IpAddr::V6(v6)] {
        let page = node.host.in_network(|| {
            let mut stream = TcpStream::connect_timeout(&SocketAddr::new(to, 80), Duration::from_secs(10))?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            let mut page = String::new();
            stream.read_to_string(&mut page)?;
            Ok(page)
        });
        assert!(page.unwrap().contains("ip-10-77-"), "{to}");
    }
    // All of that is remembered in both namespaces, and none of it once the task has stopped.
    for address in [IpAddr::V4(v4), IpAddr::V6(v6)] {
        let seen = remembered(node, address);
        assert!(seen.iter().all(|list| !list.is_empty()), "{address}: {seen:#?}");
    }
    // Without IPv6, the host says so at once.
    node.host.run("ip", &["-6", "addr", "flush", "dev", "eth0", "scope", "global"]).unwrap();
    let (said, took) = exec(node, &task, &format!("nc -w 20 {there6} 8082 </dev/null 2>&1 || true"));
    assert!(said.to_lowercase().contains("unreachable") || said.contains("No route"), "{said}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    lab.ecs("stop_task", json!({"task": arn(&task)})).unwrap();
    stopped(&lab, arn(&task));
    for address in [IpAddr::V4(v4), IpAddr::V6(v6)] {
        wait_for("no connection of a task that ended", DEADLINE, || {
            let left = remembered(node, address);
            anyhow::ensure!(left.iter().all(Vec::is_empty), "{address}: {left:#?}");
            Ok(Some(()))
        })
        .unwrap();
    }
}

#[test]
fn tunnels_between_ipv6_addresses_carry_both_families_and_take_no_strangers() {
    let lab = dual_stack(2, true, "task_network_mtu = 1430", "underlay = \"{address6}\"");
    let web = server(&lab, "web");
    let all = open_group(&lab);
    let wire = Watch::new(&lab.node(0).host, None, "eth0", "udp port 4789");
    let tasks = wait_tasks(&lab, &run(&lab, &web, 2, spread(&lab, &[&all])), "RUNNING", DEADLINE);
    let (a, b) = (&tasks[0], &tasks[1]);
    for (from, to) in [(a, b), (b, a)] {
        open6(&lab, from, to, true);
        open4(&lab, from, to, true);
    }
    // The largest packet that fits, and one byte more.
    let (node, netns) = (node_of(&lab, a), sandbox(a));
    let v4: Ipv4Addr = address(b).parse().unwrap();
    for (to, size) in [(IpAddr::V4(v4), 1402), (IpAddr::V6(address6(b)), 1382)] {
        assert!(pings(node, &netns, &format!("-M do -s {size}"), to, 10), "{to} {size}");
        let over = size + 1;
        let said = sh_in(node, &netns, &format!("ping -M do -s {over} -c 1 -W 5 {to} 2>&1 || true"));
        assert!(said.to_lowercase().contains("message too long"), "{to} {over}: {said}");
    }
    let seen = wire.until(".4789: VXLAN");
    let hosts: Vec<String> = lab.nodes().iter().map(|node| node.host.address6().to_string()).collect();
    for line in seen.iter().filter(|line| line.contains("VXLAN")) {
        assert!(hosts.iter().all(|host| line.contains(&format!("{host}."))), "{line}");
    }
    // The control plane's machine is no host: what it says to the tunnel's port is dropped and counted, whatever is in
    // it. Here: an echo request of task `a`'s, to task `b`.
    let victim = node_of(&lab, b);
    let before = counted(victim, None, "ls_host", "underlay");
    let vtep = |task: &Value| {
        let [.., net, _] = address(task).parse::<Ipv4Addr>().unwrap().octets();
        format!("02:cf:0a:4d:{net:02x}:00")
    };
    let lines = [
        format!(
            "ip link add vx type vxlan id 7777 dstport 4789 local {} dev eth0 nolearning udp6zerocsumrx",
            lab.ctl().address6()
        ),
        format!("ip link set vx address {} up", vtep(a)),
        format!("ip addr add {}/128 dev vx nodad", address6(a)),
        format!("bridge fdb append {} dev vx dst {}", vtep(b), victim.host.address6()),
        format!("ip neigh add {} lladdr {} dev vx nud permanent", address6(b), vtep(b)),
        format!("ip -6 route add {} dev vx src {}", address6(b), address6(a)),
    ];
    lab.ctl().run("sh", &["-ec", &lines.join("; ")]).unwrap();
    let inside = Watch::new(&victim.host, Some(&sandbox(b)), "eth0", "icmp6");
    let said = lab.ctl().run("sh", &["-c", &format!("ping -c 2 -W 1 -s 555 {} || true", address6(b))]).unwrap();
    assert!(said.contains("100% packet loss"), "{said}");
    assert!(counted(victim, None, "ls_host", "underlay") >= before + 2);
    assert!(pings(node, &netns, "-s 777", address6(b), 10));
    let seen = inside.until("length 785");
    assert!(!seen.iter().any(|line| line.contains("length 563")), "{seen:#?}");
}

#[test]
fn routes_carry_both_families_between_ipv6_addresses_and_say_why_not_between_others() {
    let control = "task_network_overlay = \"routes\"\ntask_network_mtu = 1500";
    let lab = Lab::new(dual_stack_config(1, true, control, "")).unwrap();
    let web = server(&lab, "web");
    let why = "set `underlay` to an IPv6 address";
    wait_until("the reason in the status", DEADLINE, || {
        Ok(Agent::status(&lab.node(0).host)?["network"].to_string().contains(why))
    })
    .unwrap();
    wait_for("a refusal that says why", DEADLINE, || {
        let mut args = json!({"taskDefinition": web});
        merge(&mut args, network(&lab, &[]));
        let answer = lab.ecs("run_task", args)?;
        let failure = &answer["failures"][0];
        anyhow::ensure!(failure["reason"] == "RESOURCE:ENI", "{answer}");
        anyhow::ensure!(failure["detail"].as_str().is_some_and(|detail| detail.contains(why)), "{answer}");
        Ok(Some(()))
    })
    .unwrap();
    drop(lab);

    let lab = dual_stack(2, true, control, "underlay = \"{address6}\"");
    let web = server(&lab, "web");
    let tasks = wait_tasks(&lab, &run(&lab, &web, 2, spread(&lab, &[])), "RUNNING", DEADLINE);
    let wire = Watch::new(&lab.node(0).host, None, "eth0", "");
    for (from, to) in [(&tasks[0], &tasks[1]), (&tasks[1], &tasks[0])] {
        open6(&lab, from, to, true);
        open4(&lab, from, to, true);
        assert!(pings(node_of(&lab, from), &sandbox(from), "-M do -s 1452", address6(to), 10));
    }
    let seen = wire.until("length 1460");
    let asked = |line: &String| line.contains("neighbor solicitation") && line.contains("who has fd77:");
    assert!(!seen.iter().any(|line| asked(line) || line.contains("VXLAN")), "{seen:#?}");
    assert!(seen.iter().any(|line| line.contains("fd77:")), "{seen:#?}");
}
