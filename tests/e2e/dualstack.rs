//! Tasks with an IPv6 address beside their IPv4 address: what shows it, who reaches whom by it, and what passes
//! between hosts, to the world and not at all.

mod outside;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use longshore_tests::lab::process::Process;
use longshore_tests::lab::{Host, Lab, LabConfig, Node, wait_until};
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
    networked(dual_stack_config(hosts, ipv6, control, agent))
}

fn dual_stack_config(hosts: u8, ipv6: bool, control: &str, agent: &str) -> LabConfig {
    let agent = format!("cleanup_wait = \"1s\"\nstop_timeout = \"2s\"\n{agent}");
    let control = format!("{NETWORK}\n{control}");
    LabConfig { hosts, ipv6, control, agent, ..LabConfig::default() }
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
    for (op, list) in [("describe_subnets", "Subnets"), ("describe_vpcs", "Vpcs")] {
        for (block, count) in [("fd77::/48", 1), ("fd78::/48", 0)] {
            let filter = json!({"Name": "ipv6-cidr-block-association.ipv6-cidr-block", "Values": [block]});
            let found = ec2(&lab, op, json!({"Filters": [filter]}));
            assert_eq!(found[list].as_array().unwrap().len(), count, "{op} {block}: {found}");
        }
    }
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
