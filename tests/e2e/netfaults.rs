//! Hosts whose part of the task network is in trouble: what they say of it, that tasks go on, and that it ends by
//! itself. The way to other hosts is a link of its own, so that a host can still speak while that is gone.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use longshore_tests::lab::{Lab, LabConfig, Node, wait_until};
use serde_json::{Value, json};

use super::awsvpc::{address, assert_clean, detail, ec2, get, network, server, status, wait_open};
use super::support::*;

fn sh(mut command: Command, line: &str) {
    let output = command.args(["-ec", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

fn on(node: &Node, line: &str) {
    node.host.run("sh", &["-ec", line]).unwrap();
}

/// Plugs the way to other hosts in, with this address.
fn plug(lab: &Lab, node: &Node, address: &str) {
    let (port, pid) = (format!("up-{}", node.host.name()), node.host.init_pid());
    let line = format!("ip link add {port} type veth peer name uplink netns {pid}; ip link set {port} master br0 up");
    sh(lab.switch().net_command(Path::new("sh")), &line);
    on(node, &format!("ip link set uplink up; ip addr add {address}/24 dev uplink"));
}

fn instance(lab: &Lab, node: &Node) -> Value {
    let id = longshore_tests::lab::Agent::status(&node.host).unwrap()["identity"]["instance"].clone();
    let found = lab.instances().unwrap();
    let found = found.into_iter().find(|i| i["containerInstanceArn"].as_str().unwrap().ends_with(id.as_str().unwrap()));
    found.expect("the control plane knows it")
}

fn arn(lab: &Lab, node: &Node) -> String {
    instance(lab, node)["containerInstanceArn"].as_str().unwrap().to_owned()
}

fn start(lab: &Lab, definition: &str, node: &Node) -> Value {
    let mut args = json!({"taskDefinition": definition, "containerInstances": [arn(lab, node)]});
    merge(&mut args, network(lab, &[]));
    lab.ecs("start_task", args).unwrap()
}

/// Runs a task on a host and waits until it runs.
fn started(lab: &Lab, definition: &str, node: &Node) -> Value {
    let answer = start(lab, definition, node);
    assert_eq!(answer["failures"], json!([]), "{answer}");
    running(lab, answer["tasks"][0]["taskArn"].as_str().unwrap())
}

/// Waits until a host says everywhere that its network does not work, with these words.
fn wait_degraded(lab: &Lab, definition: &str, node: &Node, words: &[&str]) {
    let all = |text: &Value| words.iter().all(|word| text.as_str().is_some_and(|text| text.contains(word)));
    wait_until(&format!("{} saying {words:?}", node.host.name()), DEADLINE, || {
        let reason = instance(lab, node)["statusReason"].clone();
        anyhow::ensure!(all(&reason), "statusReason {reason}, status {:#}", status(node));
        Ok(true)
    })
    .unwrap();
    let answer = start(lab, definition, node);
    assert_eq!(answer["tasks"], json!([]), "{answer}");
    assert!(all(&answer["failures"][0]["detail"]), "{answer}");
}

/// Waits until its network works.
fn wait_ready_again(lab: &Lab, node: &Node) {
    wait_until(&format!("the network of {}", node.host.name()), DEADLINE, || {
        let (said, seen) = (instance(lab, node), status(node));
        anyhow::ensure!(said.get("statusReason").is_none() && seen["ok"] == true, "{}, {seen:#}", said["statusReason"]);
        Ok(true)
    })
    .unwrap();
}

/// A connection between two tasks of one host, over which something passes all the time.
struct Stream<'a> {
    node: &'a Node,
    container: String,
    seen: u64,
}

impl<'a> Stream<'a> {
    fn open(node: &'a Node, from: &Value, to: &Value) -> Self {
        let container = format!("ls-{}-web", id(from["taskArn"].as_str().unwrap()));
        let (docker, to) = (node.docker(), address(to));
        let client = format!("nc {to} 81 >/tmp/got; touch /tmp/cut");
        node.host.run("docker", &["-H", &docker, "exec", "-d", &container, "sh", "-c", &client]).unwrap();
        let mut stream = Self { node, container, seen: 0 };
        stream.goes_on("the beginning");
        stream
    }

    fn exec(&self, script: &str) -> anyhow::Result<String> {
        self.node.host.run("docker", &["-H", &self.node.docker(), "exec", &self.container, "sh", "-c", script])
    }

    /// Waits for more of it; it was not cut meanwhile.
    fn goes_on(&mut self, during: &str) {
        wait_until(&format!("more of a stream, during {during}"), DEADLINE, || {
            let size: u64 = self.exec("wc -c </tmp/got; ! test -e /tmp/cut")?.trim().parse()?;
            let more = size > self.seen;
            self.seen = size;
            Ok(more)
        })
        .unwrap();
    }
}

/// A web server on port 80, and a stream that does not end on port 81.
fn streaming(lab: &Lab) -> String {
    let script = "mkdir -p /tmp/w; hostname >/tmp/w/index.html; \
                  nc -ll -p 81 -e sh -c 'while :; do echo more; sleep 0.1; done' & \
                  exec httpd -f -p 80 -h /tmp/w";
    let mut web = shell("web", script);
    merge(&mut web, json!({"portMappings": [{"containerPort": 80}, {"containerPort": 81}], "stopTimeout": 1}));
    register(lab, "streaming", json!([web]), json!({"networkMode": "awsvpc"}))
}

#[test]
fn a_host_in_trouble_says_so_keeps_its_tasks_and_recovers() {
    let agent = "cleanup_wait = \"1s\"\nstop_timeout = \"2s\"\nunderlay = \"uplink\"".to_owned();
    let lab = Lab::new(LabConfig { hosts: 2, agent, ..LabConfig::default() }).unwrap();
    let (one, two) = (lab.node(0), lab.node(1));
    let web = server(&lab, "web");

    // It could never take part so far.
    for node in lab.nodes() {
        wait_degraded(&lab, &web, node, &["no link `uplink`"]);
        assert!(status(node)["why"].as_str().unwrap().contains("no link `uplink`"));
    }

    // Two hosts with one address: the later one is told whose it is.
    plug(&lab, one, "192.168.60.1");
    wait_ready_again(&lab, one);
    plug(&lab, two, "192.168.60.1");
    let holder = arn(&lab, one);
    wait_degraded(&lab, &web, two, &["192.168.60.1", id(&holder)]);
    wait_ready_again(&lab, one);
    on(two, "ip addr del 192.168.60.1/24 dev uplink; ip addr add 192.168.60.2/24 dev uplink");
    wait_ready_again(&lab, two);

    let streams = streaming(&lab);
    let (a, b) = (started(&lab, &streams, one), started(&lab, &streams, one));
    let c = started(&lab, &web, two);
    let from = a["taskArn"].as_str().unwrap();
    wait_open(one, from, &address(&b), true);
    wait_open(one, from, &address(&c), true);
    let mut stream = Stream::open(one, &a, &b);

    // A route of the host into the network's range.
    on(one, "ip route add 10.77.200.0/24 dev eth0");
    wait_degraded(&lab, &web, one, &["10.77.200.0/24", "10.77.0.0/16", "`eth0`", "task_network"]);
    stream.goes_on("an overlapping route");
    assert!(get(one, from, &address(&c)).is_some(), "other hosts are reached");
    on(one, "ip route del 10.77.200.0/24 dev eth0");
    wait_ready_again(&lab, one);

    // An `nft` that is too old. The agent looks again when an address changes, and from time to time.
    let old = one.host.dir().join("old-nft");
    std::fs::write(&old, "#!/bin/sh\necho 'nftables v0.9.0 (Fearless Fosdick)'\n").unwrap();
    on(one, &format!("chmod 755 {0}; mount --bind {0} $(command -v nft)", old.display()));
    on(one, "ip addr add 192.0.2.77/32 dev lo; ip addr del 192.0.2.77/32 dev lo");
    wait_degraded(&lab, &web, one, &["nftables v0.9.0", "0.9.8", "package `nftables`"]);
    stream.goes_on("an old nft");
    assert!(get(one, from, &address(&c)).is_some(), "other hosts are reached");
    on(one, "umount $(command -v nft)");
    wait_ready_again(&lab, one);

    // The way to other hosts goes, and comes back with another address.
    on(one, "ip link del uplink");
    wait_degraded(&lab, &web, one, &["uplink"]);
    stream.goes_on("a link that is gone");
    assert_eq!(get(one, from, &address(&c)), None, "there is no way");
    plug(&lab, one, "192.168.60.3");
    wait_ready_again(&lab, one);
    wait_open(one, from, &address(&c), true);
    stream.goes_on("all of it");

    let tasks = [&a, &b, &c].map(|task| task["taskArn"].as_str().unwrap().to_owned());
    for arn in &tasks {
        assert_eq!(task(&lab, arn)["lastStatus"], "RUNNING");
        lab.ecs("stop_task", json!({"task": arn})).unwrap();
    }
    wait_tasks(&lab, &tasks, "STOPPED", DEADLINE);
    lab.nodes().iter().for_each(assert_clean);
    assert_no_leaks(&lab, &[]);
    assert!(ec2(&lab, "describe_network_interfaces", json!({}))["NetworkInterfaces"].as_array().unwrap().is_empty());
}

/// What an administrator or another program removes on a host is back before a second has passed.
#[test]
fn what_somebody_removes_is_back_within_seconds() {
    let lab = lab(1);
    let node = lab.node(0);
    let web = server(&lab, "web");
    let arns = run(&lab, &web, 2, network(&lab, &[]));
    let tasks = wait_tasks(&lab, &arns, "RUNNING", DEADLINE);
    let inside = "nsenter --net=/run/netns/ls-fab";
    let (to, stem) = (address(&tasks[1]), detail(&tasks[1], "networkInterfaceId")["eni-".len()..][..14].to_owned());
    let (link, netns) = (format!("t{stem}"), format!("/run/netns/ls-{stem}"));
    // Its way, its neighbour, its link.
    let reached = format!(
        "{inside} ip route | grep -q '^{to} dev {link}'; {inside} ip neigh show {to} dev {link} | grep -q PERMANENT; \
         {inside} ip link show {link} | grep -q LOWER_UP; nsenter --net={netns} ip route | grep -q '^default'"
    );
    let of_task = |line: &str| (line.to_owned(), reached.as_str());
    let breaks = [
        (
            format!("{inside} nft flush ruleset"),
            "nsenter --net=/run/netns/ls-fab nft list chain inet ls_fab pin | grep -q pin4",
        ),
        of_task(&format!("{inside} ip route del {to}")),
        of_task(&format!("{inside} ip neigh del {to} dev {link}")),
        of_task(&format!("{inside} ip link set {link} down")),
        of_task(&format!("{inside} ip link del {link}")),
        of_task(&format!("nsenter --net={netns} ip link del eth0")),
        // Nothing but the sandbox's process leads there any more.
        of_task(&format!("umount -l {netns}; rm {netns}; {inside} ip link del {link}")),
        ("ip link del lsl0".to_owned(), "ip link show lsl0 | grep -q UP"),
        ("ip route del 10.77.0.0/16".to_owned(), "ip route | grep -q ^10.77.0.0/16"),
        ("iptables -w -F DOCKER-USER".to_owned(), "iptables -w -S DOCKER-USER | grep -q 'i lsl0'"),
        // Docker's go as well, so this comes last.
        ("nft flush ruleset".to_owned(), "nft list chain inet ls_host out_nat | grep -q masquerade"),
    ];
    // The look that would come anyhow is ten seconds after the one that mended the break before: what is back sooner
    // was heard of. The first break is made twice, since none is before it.
    let mut last: Option<Instant> = None;
    for (line, back) in std::iter::once(&breaks[0]).chain(&breaks) {
        on(node, line);
        let began = Instant::now();
        wait_until(back, DEADLINE, || Ok(node.host.run("sh", &["-ec", back]).is_ok())).unwrap();
        // Well before the next look that would come anyhow, on a machine that is busy with other things.
        assert!(began.elapsed().as_secs() < 5, "{line}: {:?}", began.elapsed());
        let since_last = last.map(|last| last.elapsed());
        last = Some(Instant::now());
        println!("{line}: back after {:?}, and {since_last:?} after the one before", began.elapsed());
        assert!(since_last.is_none_or(|since| since.as_secs() < 9), "{line}: {since_last:?} after the one before");
        wait_open(node, &arns[0], &to, true);
    }
    let after = wait_tasks(&lab, &arns, "RUNNING", DEADLINE);
    assert_eq!(after[1]["startedAt"], tasks[1]["startedAt"], "the task went on");
    // Somebody puts another link in its place: the task has no interface any more, and ends with that.
    let line = "ip link del eth0; ip link add eth0 type veth peer name x0";
    on(node, &format!("nsenter --net={netns} sh -ec '{line}'"));
    let ended = stopped(&lab, &arns[1]);
    assert!(ended["stoppedReason"].as_str().unwrap().contains("NetworkInterfaceLostError"), "{ended:#}");
    assert_eq!(task(&lab, &arns[0])["lastStatus"], "RUNNING");
}
