//! Two tasks in a fabric of their own, whose groups get more or fewer members and rules on demand. As root:
//! `cargo run --release -p longshore-net --example groups`
//!
//! What `longshore-bench groups` measures new connections with. It reads one command a line and answers each with one:
//!
//! - `tasks PORT`: makes both; answers with the numbers of the server's and the client's process, whose network is the
//!   task's, and the server's address. The server is in five groups, the most that the API allows.
//! - `none`: the last of its groups has one rule, which lets the client's group connect to PORT; the others have none.
//! - `members`: the same, and the client's group has 10,000 further members.
//! - `quota`: these members, and as many rules as the API allows in 17 groups: 60 in each, 300 of them in the server's
//!   five. The one that lets the client in is in the last of these.
//! - `long`: these members, and 1,000 rules in one of the server's groups, among them the client's.
//! - `references`: these members, and 300 rules of the server's groups, each of which names another group; the client's
//!   is the last.
//!
//! The other rules are half about the client's group and half about a network each, each with a port of its own, none
//! of which lets the client in.
//!
//! Members and rules go to the kernel by the code that the agent uses. It leaves nothing behind.

use ipnet::Ipv4Net;
use longshore_model::network::{
    EniId, GroupId, GroupRules, Lease, Mac, NetworkConfig, Overlay, Rule, RulePeer, Traffic,
};
use longshore_net::{Claim, Fabric, FabricConfig, Namespace, Wire};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, Stdio};

const MEMBERS: u32 = 10_000;
const RULES: u16 = 1000;
/// Of a group, each way; and the groups of a task.
const QUOTA: (u16, usize) = (60, 5);
/// Groups that have so many rules as the quota allows.
const GROUPS: usize = 17;

struct Sandbox {
    address: Ipv4Addr,
    process: Child,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn sandbox(fabric: &Fabric, number: u8, groups: BTreeSet<GroupId>) -> Sandbox {
    let ipv4 = Ipv4Addr::new(10, 77, 1, 10 + number);
    let (eni, mac) = (EniId::random(), Mac::of_task(ipv4));
    let mut process = Command::new("unshare")
        .args(["--net", "--", "sh", "-c", "echo ready; read -r _"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare");
    let mut line = String::new();
    BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("it speaks");
    let sandbox = Sandbox { address: ipv4, process };
    let pause = Namespace::of_process(sandbox.process.id()).expect("it lives");
    let wire = Wire { eni, ipv4, ipv6: None, mac, task: "measured".into() };
    fabric.wire(&wire, &pause).await.expect("wired");
    fabric.admit(&Claim { eni, ipv4, ipv6: None, mac, groups }).await.expect("admitted");
    sandbox
}

/// The groups of the server in the order in which their rules are looked at, and the client's.
struct Groups {
    server: Vec<GroupId>,
    others: Vec<GroupId>,
    client: GroupId,
}

/// Whom the rules that let nobody in are about.
#[derive(Clone, Copy)]
enum Kind {
    /// The client's group, with other ports, and networks.
    Mixed,
    /// A group each.
    References,
}

impl Groups {
    fn random() -> Self {
        let mut server: Vec<GroupId> = (0..QUOTA.1).map(|_| GroupId::random()).collect();
        server.sort();
        let others = (QUOTA.1..GROUPS).map(|_| GroupId::random()).collect();
        // The last of all groups, as the kernel is given them.
        let client = "sg-fffffffffffffffff".parse().expect("a group");
        Self { server, others, client }
    }

    /// `count` rules that do not let the client in.
    fn useless(&self, count: u16, kind: Kind) -> BTreeSet<Rule> {
        let net = |n: u16| Ipv4Net::new(Ipv4Addr::from(0x0a80_0000 + (u32::from(n) << 8)), 24).expect("a network");
        let peer = |n: u16| match (kind, n % 2) {
            (Kind::References, _) => RulePeer::Group(GroupId::random()),
            (Kind::Mixed, 0) => RulePeer::Group(self.client),
            (Kind::Mixed, _) => RulePeer::V4(net(n)),
        };
        (0..count).map(|n| Rule { traffic: Traffic::Tcp { from: 1000 + n, to: 1000 + n }, peer: peer(n) }).collect()
    }

    /// The rules of all groups: `each` in every group of the server but the last, `last` in that, of which one lets the
    /// client in; and `each` in the other groups.
    fn rules(&self, port: u16, each: u16, last: u16, kind: Kind) -> BTreeMap<GroupId, GroupRules> {
        let everywhere = RulePeer::V4("0.0.0.0/0".parse().expect("a network"));
        let out = Rule { traffic: Traffic::All, peer: everywhere };
        let rules = |ingress| GroupRules { ingress, egress: [out].into() };
        let mut all: BTreeMap<GroupId, GroupRules> =
            self.server.iter().chain(&self.others).map(|group| (*group, rules(self.useless(each, kind)))).collect();
        let mut ingress = self.useless(last - 1, kind);
        ingress.insert(Rule { traffic: Traffic::Tcp { from: port, to: port }, peer: RulePeer::Group(self.client) });
        all.insert(*self.server.last().expect("there are five"), rules(ingress));
        all.insert(self.client, rules(BTreeSet::new()));
        all
    }

    async fn apply(&self, fabric: &Fabric, port: u16, what: &str) {
        let (members, rules) = match what {
            "none" => (0, self.rules(port, 0, 1, Kind::Mixed)),
            "members" => (MEMBERS, self.rules(port, 0, 1, Kind::Mixed)),
            "quota" => (MEMBERS, self.rules(port, QUOTA.0, QUOTA.0, Kind::Mixed)),
            "long" => (MEMBERS, self.rules(port, 0, RULES, Kind::Mixed)),
            "references" => (MEMBERS, self.rules(port, QUOTA.0, QUOTA.0, Kind::References)),
            other => panic!("there is no `{other}`"),
        };
        fabric.set_groups(&rules).await.expect("groups");
        let members: BTreeSet<IpAddr> = (0..members).map(|n| Ipv4Addr::from(0x0a4d_1000 + n).into()).collect();
        fabric.set_members(&BTreeMap::from([(self.client, members)])).await.expect("members");
    }
}

/// The fabric, and what is in it.
struct Measured {
    fabric: Fabric,
    groups: Groups,
    port: u16,
    tasks: Vec<Sandbox>,
}

impl Measured {
    async fn open() -> Self {
        let network = NetworkConfig {
            lease_length: 24,
            v4: "10.77.0.0/16".parse().expect("a network"),
            v6: None,
            overlay: Overlay::Vxlan { vni: 7777, port: 4789 },
            mtu: 1450,
        };
        let lease = Lease { v4: "10.77.1.0/24".parse().expect("a network"), v6: None };
        let fabric = Fabric::open(FabricConfig::new(network, vec![lease])).await.expect("a fabric");
        Self { fabric, groups: Groups::random(), port: 0, tasks: Vec::new() }
    }

    async fn obey(&mut self, command: &str) -> String {
        let Some(port) = command.strip_prefix("tasks ") else {
            assert!(!self.tasks.is_empty(), "`tasks` comes first");
            self.groups.apply(&self.fabric, self.port, command).await;
            return "done".to_owned();
        };
        self.port = port.parse().expect("a port");
        self.groups.apply(&self.fabric, self.port, "none").await;
        let server = sandbox(&self.fabric, 1, self.groups.server.iter().copied().collect()).await;
        let client = sandbox(&self.fabric, 2, [self.groups.client].into()).await;
        let answer = format!("{} {} {}", server.process.id(), client.process.id(), server.address);
        self.tasks = vec![server, client];
        answer
    }
}

fn main() {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("own namespaces; is this root?");
    let nothing: Option<&str> = None;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).expect("mounts of our own");
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), nothing).expect("a /run of our own");
    // Threads that are made from here on are in the new namespaces.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut measured = runtime.block_on(Measured::open());
    for command in std::io::stdin().lines() {
        println!("{}", runtime.block_on(measured.obey(&command.expect("a line"))));
    }
}
