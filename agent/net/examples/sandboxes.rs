//! What the operations of the fabric take on this machine. As root:
//! `cargo run --release -p longshore-net --example sandboxes`
//!
//! It runs in namespaces of its own and leaves nothing behind.

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
use std::time::{Duration, Instant};

const ROUNDS: u8 = 100;
const AT_ONCE: u8 = 64;

struct Sandbox {
    wire: Wire,
    claim: Claim,
    process: Child,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn sandbox(number: u8, group: GroupId) -> Sandbox {
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
    Sandbox {
        wire: Wire { eni, ipv4, ipv6: None, mac, task: "measured".into() },
        claim: Claim { eni, ipv4, ipv6: None, mac, groups: [group].into() },
        process,
    }
}

fn say(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    println!("{what:<48} p50 {:8.2} ms   p90 {:8.2} ms   max {:8.2} ms", at(50), at(90), at(100));
}

async fn measure(into: &mut Vec<Duration>, work: impl Future<Output = ()>) {
    let begin = Instant::now();
    work.await;
    into.push(begin.elapsed());
}

async fn run() {
    let network = NetworkConfig {
        v4: "10.77.0.0/16".parse().expect("a network"),
        v6: None,
        overlay: Overlay::Vxlan { vni: 7777, port: 4789 },
        mtu: 1450,
        lease_length: 24,
    };
    let lease = Lease { v4: "10.77.1.0/24".parse().expect("a network"), v6: None };
    let config = FabricConfig::new(network, vec![lease]);
    let mut open = Vec::new();
    let begin = Instant::now();
    let fabric = Fabric::open(config.clone()).await.expect("a fabric");
    open.push(begin.elapsed());
    say("open, from nothing", &mut open);

    let group = GroupId::random();
    let all = Rule { traffic: Traffic::All, peer: RulePeer::V4("0.0.0.0/0".parse().expect("a network")) };
    let everything = GroupRules { ingress: [all].into(), egress: [all].into() };
    fabric.set_groups(&BTreeMap::from([(group, everything.clone())])).await.expect("groups");
    one_by_one(&fabric, &config, group).await;
    at_once(&fabric, group).await;

    let (mut edits, mut members) = (Vec::new(), Vec::new());
    for round in 0..10_u16 {
        let rule = |port| Rule { traffic: Traffic::Tcp { from: port, to: port }, peer: RulePeer::Group(group) };
        let many = GroupRules { ingress: (0..1000).map(|n| rule(1 + n + round)).collect(), egress: [all].into() };
        let groups = BTreeMap::from([(group, everything.clone()), (GroupId::random(), many)]);
        measure(&mut edits, async { fabric.set_groups(&groups).await.expect("groups") }).await;
        let some = (0..200).map(|n| Ipv4Addr::from(0x0a4d_0900 + u32::from(round) * 256 + n).into());
        let some = BTreeMap::from([(group, some.collect::<BTreeSet<IpAddr>>())]);
        measure(&mut members, async { fabric.set_members(&some).await.expect("members") }).await;
    }
    say("set_groups, a new group of 1000 rules", &mut edits);
    say("set_members, 200 come and 200 go", &mut members);
}

async fn one_by_one(fabric: &Fabric, config: &FabricConfig, group: GroupId) {
    let sandboxes: Vec<Sandbox> = (0..ROUNDS).map(|number| sandbox(number, group)).collect();
    let (mut wire, mut admit, mut dismiss, mut unwire) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for sandbox in &sandboxes {
        let pause = Namespace::of_process(sandbox.process.id()).expect("it lives");
        measure(&mut wire, async { drop(fabric.wire(&sandbox.wire, &pause).await.expect("wired")) }).await;
    }
    for sandbox in &sandboxes {
        measure(&mut admit, async { fabric.admit(&sandbox.claim).await.expect("admitted") }).await;
    }
    let known: BTreeSet<EniId> = sandboxes.iter().map(|s| s.wire.eni).collect();
    let (mut repair, mut strays, mut again) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..10 {
        measure(&mut repair, async { assert_eq!(fabric.repair().await.expect("repaired"), []) }).await;
        measure(&mut strays, async { assert_eq!(fabric.remove_strays(&known).await.expect("looked"), []) }).await;
        measure(&mut again, async { drop(Fabric::open(config.clone()).await.expect("taken over")) }).await;
    }
    for sandbox in &sandboxes {
        measure(&mut dismiss, async { fabric.dismiss(&sandbox.claim).await.expect("dismissed") }).await;
    }
    for mut sandbox in sandboxes {
        sandbox.process.kill().expect("it lives");
        sandbox.process.wait().expect("it ends");
        measure(&mut unwire, async { fabric.unwire(sandbox.wire.eni).await.expect("unwired") }).await;
    }
    say("wire (link, both sides, read back)", &mut wire);
    say("admit (one transaction)", &mut admit);
    say("dismiss (one transaction)", &mut dismiss);
    say("unwire (until the kernel took the link away)", &mut unwire);
    say(&format!("repair, nothing to do, {ROUNDS} tasks"), &mut repair);
    say(&format!("remove_strays, none, {ROUNDS} tasks"), &mut strays);
    say(&format!("open again, {ROUNDS} tasks"), &mut again);
}

async fn at_once(fabric: &Fabric, group: GroupId) {
    let sandboxes: Vec<Sandbox> = (0..AT_ONCE).map(|number| sandbox(number, group)).collect();
    let begin = Instant::now();
    let tasks = sandboxes.iter().map(|sandbox| {
        let (fabric, wire, claim) = (fabric.clone(), sandbox.wire.clone(), sandbox.claim.clone());
        let pause = Namespace::of_process(sandbox.process.id()).expect("it lives");
        tokio::spawn(async move {
            fabric.wire(&wire, &pause).await.expect("wired");
            fabric.admit(&claim).await.expect("admitted");
            begin.elapsed()
        })
    });
    let mut each = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        each.push(task.await.expect("it ends"));
    }
    let total = begin.elapsed().as_secs_f64() * 1e3;
    say(&format!("{AT_ONCE} at once, wire and admit: {total:.0} ms; until each"), &mut each);
}

fn main() {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("own namespaces; is this root?");
    let nothing: Option<&str> = None;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).expect("mounts of our own");
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), nothing).expect("a /run of our own");
    // Threads that are made from here on are in the new namespaces.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async { tokio::spawn(run()).await.expect("it ends") });
}
