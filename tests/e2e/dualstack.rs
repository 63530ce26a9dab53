//! Tasks with an IPv6 address beside their IPv4 address: what shows it, who reaches whom by it, and what passes
//! between hosts, to the world and not at all.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use longshore_tests::lab::process::Process;
use longshore_tests::lab::{Agent, Host, Lab, LabConfig, Node, boto, wait_for, wait_until};
use serde_json::{Value, json};

use super::awsvpc::{address, detail, ec2, get, network, server, spread, wait_open};
use super::command::{longshore, ok};
use super::support::*;

/// What of the control plane's configuration makes the network one of both families.
const NETWORK: &str = "task_network6 = \"fd77::/48\"";
const FABRIC: &str = "ls-fab";
/// The hardware address of every task's gateway.
const GATEWAY_MAC: &str = "02:ee:00:00:00:ff";

/// A lab whose tasks have addresses of both families. Its machines have IPv4 addresses, and IPv6 ones when `ipv6`.
fn dual_stack(hosts: u8, ipv6: bool, control: &str, agent: &str) -> Lab {
    let agent = format!("cleanup_wait = \"1s\"\nstop_timeout = \"2s\"\n{agent}");
    let control = format!("{NETWORK}\n{control}");
    Lab::new(LabConfig { hosts, ipv6, control, agent, ..LabConfig::default() }).unwrap()
}

fn address6(task: &Value) -> Ipv6Addr {
    detail(task, "ipv6Address").parse().unwrap()
}

/// The name of the namespace of a task's sandbox.
fn sandbox(task: &Value) -> String {
    format!("ls-{}", &detail(task, "networkInterfaceId")["eni-".len()..][..14])
}

/// Runs a command line in a namespace of a host that has a name.
fn sh_in(node: &Node, netns: &str, line: &str) -> String {
    let space = format!("--net=/run/netns/{netns}");
    node.host.run("nsenter", &[space.as_str(), "sh", "-ec", line]).unwrap()
}

fn json_in(node: &Node, netns: &str, line: &str) -> Vec<Value> {
    serde_json::from_str(&sh_in(node, netns, line)).unwrap()
}

fn pings(node: &Node, netns: &str, options: &str, to: impl Into<IpAddr>, seconds: u32) -> bool {
    let line = format!("ping -q -c 1 -W {seconds} {options} {} >/dev/null 2>&1 && echo yes || true", to.into());
    sh_in(node, netns, &line).contains("yes")
}

/// Waits until a task pings an address, or does not.
fn wait_ping(lab: &Lab, from: &Value, to: Ipv6Addr, open: bool) {
    let (node, netns) = (node_of(lab, from), sandbox(from));
    let what = format!("{to} {}answering pings", if open { "" } else { "not " });
    wait_until(&what, DEADLINE, || Ok(pings(node, &netns, "", to, 1) == open)).unwrap();
}

fn arn(task: &Value) -> &str {
    task["taskArn"].as_str().unwrap()
}

fn open6(lab: &Lab, from: &Value, to: &Value, open: bool) {
    wait_open(node_of(lab, from), arn(from), &address6(to).to_string(), open);
}

fn open4(lab: &Lab, from: &Value, to: &Value, open: bool) {
    wait_open(node_of(lab, from), arn(from), &address(to), open);
}

fn group(lab: &Lab, name: &str) -> String {
    let made = ec2(lab, "create_security_group", json!({"GroupName": name, "Description": "of a test"}));
    made["GroupId"].as_str().unwrap().to_owned()
}

/// A group that lets everything of both families in.
fn open_group(lab: &Lab) -> String {
    let id = group(lab, "open");
    let all = json!({"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}], "Ipv6Ranges": [{"CidrIpv6": "::/0"}]});
    ec2(lab, "authorize_security_group_ingress", json!({"GroupId": id, "IpPermissions": [all]}));
    id
}

fn default_group(lab: &Lab) -> String {
    let found = ec2(lab, "describe_security_groups", json!({"GroupNames": ["default"]}));
    found["SecurityGroups"][0]["GroupId"].as_str().unwrap().to_owned()
}

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

/// What passes a link, one line a packet.
struct Watch<'a> {
    host: &'a Host,
    name: String,
    process: Option<Process>,
}

impl<'a> Watch<'a> {
    /// Begins on a link of a host, or of a namespace of it that has a name.
    fn new(host: &'a Host, netns: Option<&str>, device: &str, filter: &str) -> Self {
        let name = format!("watch-{}-{device}", netns.unwrap_or("host"));
        if let Some(netns) = netns {
            let file = format!("/run/netns/{netns}");
            let there = || Ok(host.run("test", &["-e", file.as_str()]).is_ok());
            wait_until(&file, DEADLINE, there).unwrap();
        }
        let enter = netns.map(|netns| format!("nsenter --net=/run/netns/{netns} ")).unwrap_or_default();
        let line = format!("exec {enter}tcpdump -i {device} -nn -e -l --immediate-mode '{filter}'");
        let process = host.start(&name, "/bin/sh".as_ref(), |command| _ = command.args(["-ec", &line])).unwrap();
        let watch = Self { host, name, process: Some(process) };
        watch.wait("listening on");
        watch
    }

    fn seen(&self) -> String {
        std::fs::read_to_string(self.host.dir().join(format!("{}.log", self.name))).unwrap()
    }

    fn wait(&self, mark: &str) {
        let what = format!("{mark:?} seen by {}", self.name);
        wait_until(&what, DEADLINE, || Ok(self.seen().contains(mark))).unwrap();
    }

    /// Ends it once a packet with `mark` was seen, and gives the lines up to there.
    fn until(mut self, mark: &str) -> Vec<String> {
        self.wait(mark);
        self.process.take().unwrap().kill().unwrap();
        let seen = self.seen();
        seen.lines().skip_while(|line| !line.contains("listening on")).skip(1).map(str::to_owned).collect()
    }
}

#[test]
fn a_task_has_an_ipv6_address_wherever_it_has_an_ipv4_one() {
    let lab = dual_stack(1, false, "", "");
    let web = server(&lab, "web");
    let task = running(&lab, &run_one(&lab, &web, network(&lab, &[])));
    let (node, netns) = (node_of(&lab, &task), sandbox(&task));
    let (v4, v6): (Ipv4Addr, _) = (address(&task).parse().unwrap(), address6(&task));
    // The host's /64, and the IPv4 address after it.
    let lease = v4.octets()[2];
    assert_eq!(u128::from(v6), (0xfd77 << 112) | (u128::from(lease) << 64) | u128::from(u32::from(v4)), "{v6}");

    // In the kernel: one address, at once usable, and nothing to be asked for.
    let links = json_in(node, &netns, "ip -json addr show eth0");
    let addresses = links[0]["addr_info"].as_array().unwrap();
    let of6: Vec<&Value> = addresses.iter().filter(|a| a["family"] == "inet6").collect();
    assert_eq!(of6.len(), 1, "no address that nobody gave: {links:#?}");
    assert_eq!((&of6[0]["local"], &of6[0]["prefixlen"]), (&json!(v6), &json!(128)));
    assert_eq!((&of6[0]["nodad"], &of6[0]["tentative"]), (&json!(true), &Value::Null), "{links:#?}");
    let routes = json_in(node, &netns, "ip -6 -json route show");
    let default = routes.iter().find(|r| r["dst"] == "default").unwrap_or_else(|| panic!("{routes:#?}"));
    assert_eq!((&default["gateway"], &default["dev"]), (&json!("fe80::1"), &json!("eth0")));
    let permanent = |netns: &str, address: &str, mac: &str| {
        let seen = json_in(node, netns, "ip -json neigh show nud permanent");
        let found = seen.iter().find(|n| n["dst"] == address).unwrap_or_else(|| panic!("no {address} in {seen:#?}"));
        assert_eq!((&found["lladdr"], &found["state"]), (&json!(mac), &json!(["PERMANENT"])));
    };
    permanent(&netns, "fe80::1", GATEWAY_MAC);
    permanent(FABRIC, &v6.to_string(), &detail(&task, "macAddress"));

    // In the ECS API, in the EC2 API, in the command, and to the task itself.
    let interface = &container(&task, "web")["networkInterfaces"][0];
    assert_eq!((&interface["ipv6Address"], &interface["privateIpv4Address"]), (&json!(v6), &json!(v4)));
    let filter = json!({"Filters": [{"Name": "ipv6-addresses.ipv6-address", "Values": [v6.to_string()]}]});
    let found = ec2(&lab, "describe_network_interfaces", filter);
    let found = &found["NetworkInterfaces"][0];
    assert_eq!(found["Ipv6Addresses"][0]["Ipv6Address"], json!(v6), "{found}");
    assert_eq!(found["PrivateIpAddress"], json!(v4), "{found}");
    let range = json!("fd77::/48");
    let subnet = &ec2(&lab, "describe_subnets", json!({}))["Subnets"][0];
    assert_eq!(subnet["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"], range, "{subnet}");
    assert_eq!(subnet["AssignIpv6AddressOnCreation"], true, "{subnet}");
    let vpc = &ec2(&lab, "describe_vpcs", json!({}))["Vpcs"][0];
    assert_eq!(vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"], range, "{vpc}");
    let described = ok(&longshore(&lab, &["describe", id(arn(&task))]));
    let line = described.lines().find(|line| line.contains("IPv6 address")).unwrap_or_else(|| panic!("{described}"));
    assert!(line.trim().ends_with(&v6.to_string()), "{line}");
    let name = format!("ls-{}-web", id(arn(&task)));
    let hosts = node.host.run("docker", &["-H", &node.docker(), "exec", &name, "cat", "/etc/hosts"]).unwrap();
    let names = |address: &str| hosts.lines().find_map(|line| line.strip_prefix(address)).map(str::trim);
    assert_eq!(names(&v6.to_string()), names(&v4.to_string()), "{hosts}");
    assert_eq!(names(&v4.to_string()), Some(format!("ip-{}", v4.to_string().replace('.', "-")).as_str()), "{hosts}");

    // Groups begin as EC2's do in a VPC with an IPv6 block: everything out, in both families.
    for id in [default_group(&lab), group(&lab, "new")] {
        let found = ec2(&lab, "describe_security_groups", json!({"GroupIds": [id]}));
        let found = &found["SecurityGroups"][0];
        let out = found["IpPermissionsEgress"].as_array().unwrap();
        let ranges = |list: &str, key: &str| -> Vec<Value> {
            out.iter().flat_map(|p| p[list].as_array().into_iter().flatten()).map(|range| range[key].clone()).collect()
        };
        assert_eq!(ranges("IpRanges", "CidrIp"), [json!("0.0.0.0/0")], "{found:#}");
        assert_eq!(ranges("Ipv6Ranges", "CidrIpv6"), [json!("::/0")], "{found:#}");
    }
}

#[test]
fn tasks_reach_each_other_over_ipv6_and_ask_nobody_for_addresses() {
    let lab = dual_stack(2, false, "", "");
    let web = server(&lab, "web");
    // Before the first task, so that their very first packets are seen.
    let wire = Watch::new(&lab.node(0).host, None, "eth0", "");
    let inside: Vec<Watch> =
        lab.nodes().iter().map(|node| Watch::new(&node.host, Some(FABRIC), "any", "icmp6")).collect();
    let tasks = wait_tasks(&lab, &run(&lab, &web, 4, spread(&lab, &[])), "RUNNING", DEADLINE);
    for from in &tasks {
        for to in &tasks {
            open6(&lab, from, to, true);
            let name = format!("ip-{}", address(to).replace('.', "-"));
            assert_eq!(get(node_of(&lab, from), arn(from), &address6(to).to_string()), Some(name));
        }
    }
    // Pings of a size of their own end the watches; members of the default group take each other's.
    let length = "length 785";
    for from in &tasks {
        for to in tasks.iter().filter(|to| arn(to) != arn(from)) {
            assert!(pings(node_of(&lab, from), &sandbox(from), "-s 777", address6(to), 10));
        }
    }
    let discovery = |line: &&String| {
        let kinds = ["neighbor solicitation", "neighbor advertisement", "router solicitation", "router advertisement"];
        kinds.iter().any(|kind| line.contains(kind))
    };
    for watch in inside {
        let seen = watch.until(length);
        let asked: Vec<&String> = seen.iter().filter(discovery).collect();
        assert!(asked.is_empty(), "{asked:#?}");
    }
    let seen = wire.until(length);
    let of_tasks = |line: &&String| line.contains("fd77:");
    let asked: Vec<&String> = seen.iter().filter(discovery).filter(of_tasks).collect();
    assert!(asked.is_empty(), "{asked:#?}");
    assert!(seen.iter().any(|line| line.contains(".4789: VXLAN")), "{seen:#?}");
    assert!(seen.iter().filter(of_tasks).count() > 20, "tasks' packets are in the tunnels: {seen:#?}");
}

#[test]
fn groups_open_and_close_ipv6_by_range_by_group_and_by_kind() {
    let lab = dual_stack(2, false, "", "");
    let web = server(&lab, "web");
    let (shut, out) = (group(&lab, "shut"), group(&lab, "out"));
    let clients = wait_tasks(&lab, &run(&lab, &web, 2, spread(&lab, &[&out])), "RUNNING", DEADLINE);
    let target = running(&lab, &run_one(&lab, &web, network(&lab, &[&shut])));
    for client in &clients {
        open6(&lab, client, &target, false);
        wait_ping(&lab, client, address6(&target), false);
    }
    let tcp = |peer: Value| {
        let mut permission = json!({"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80});
        merge(&mut permission, peer);
        json!({"GroupId": shut, "IpPermissions": [permission]})
    };
    let allow = |args: &Value| ec2(&lab, "authorize_security_group_ingress", args.clone());
    let revoke = |args: &Value| ec2(&lab, "revoke_security_group_ingress", args.clone());

    // A range is of one family.
    let range = tcp(json!({"Ipv6Ranges": [{"CidrIpv6": "fd77::/48"}]}));
    allow(&range);
    for client in &clients {
        open6(&lab, client, &target, true);
        open4(&lab, client, &target, false);
    }
    revoke(&range);
    clients.iter().for_each(|client| open6(&lab, client, &target, false));

    // A group is its members' addresses of both.
    let pair = tcp(json!({"UserIdGroupPairs": [{"GroupId": out}]}));
    allow(&pair);
    for client in &clients {
        open6(&lab, client, &target, true);
        open4(&lab, client, &target, true);
        wait_ping(&lab, client, address6(&target), false);
    }
    revoke(&pair);
    for client in &clients {
        open6(&lab, client, &target, false);
        open4(&lab, client, &target, false);
    }

    // Echo needs a rule of its own, of ICMPv6 and not of ICMP.
    let echo = |protocol: &str, kind: i32| {
        json!({"GroupId": shut, "IpPermissions": [{"IpProtocol": protocol, "FromPort": kind, "ToPort": -1,
            "UserIdGroupPairs": [{"GroupId": out}]}]})
    };
    allow(&echo("icmp", 8));
    for client in &clients {
        let (node, netns) = (node_of(&lab, client), sandbox(client));
        let v4: Ipv4Addr = address(&target).parse().unwrap();
        wait_until("IPv4 pings", DEADLINE, || Ok(pings(node, &netns, "", v4, 1))).unwrap();
        wait_ping(&lab, client, address6(&target), false);
    }
    allow(&echo("icmpv6", 128));
    clients.iter().for_each(|client| wait_ping(&lab, client, address6(&target), true));
    revoke(&echo("icmpv6", 128));
    clients.iter().for_each(|client| wait_ping(&lab, client, address6(&target), false));

    // Outwards as well: without a rule nothing leaves in that family, and a rule of one address opens that one.
    allow(&tcp(json!({"Ipv6Ranges": [{"CidrIpv6": "::/0"}], "IpRanges": [{"CidrIp": "0.0.0.0/0"}]})));
    clients.iter().for_each(|client| open6(&lab, client, &target, true));
    let all = json!({"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]});
    ec2(&lab, "revoke_security_group_egress", json!({"GroupId": out, "IpPermissions": [all]}));
    for client in &clients {
        open6(&lab, client, &target, false);
        open4(&lab, client, &target, true);
    }
    let one = json!({"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80,
        "Ipv6Ranges": [{"CidrIpv6": format!("{}/128", address6(&target))}]});
    ec2(&lab, "authorize_security_group_egress", json!({"GroupId": out, "IpPermissions": [one]}));
    clients.iter().for_each(|client| open6(&lab, client, &target, true));
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
        std::io::Write::write_all(&mut stream, b"hello\n").unwrap();
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
    // The host reaches its tasks, as their groups say.
    for to in [IpAddr::V4(v4), IpAddr::V6(v6)] {
        let page = node.host.in_network(|| {
            let mut stream = TcpStream::connect_timeout(&SocketAddr::new(to, 80), Duration::from_secs(10))?;
            std::io::Write::write_all(&mut stream, b"GET / HTTP/1.0\r\n\r\n")?;
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
    let lab = dual_stack(1, true, control, "");
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
