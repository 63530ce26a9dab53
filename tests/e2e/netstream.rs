//! A steady stream between tasks, while the agent is upgraded and the daemons around it die: no packet is lost.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use longshore_tests::lab::process::{Process, Signal};
use longshore_tests::lab::{Agent, Lab, Node, host, wait_for, wait_until};
use serde_json::{Value, json};

use super::awsvpc::{address, assert_clean};
use super::netlife::{inside, log, start_on};
use super::support::*;

/// A stream between two tasks that is counted at its end.
struct Stream<'a> {
    name: String,
    from: &'a Node,
    to: &'a Node,
    sender: Process,
    _receiver: Process,
}

impl<'a> Stream<'a> {
    const PORT: &'static str = "7000";

    fn start(lab: &'a Lab, name: &str, from: &Value, to: &Value) -> Self {
        let (source, sink) = (node_of(lab, from), node_of(lab, to));
        let program = include_str!("stream.py");
        let receiver = inside(sink, to, &format!("{name}-in"), program, &["listen", Self::PORT]);
        let name = name.to_owned();
        wait_until("a receiver", DEADLINE, || Ok(log(sink, &format!("{name}-in")).contains('}'))).unwrap();
        let target = address(to);
        let args = ["send", &target, Self::PORT, "1000"];
        let sender = inside(source, from, &format!("{name}-out"), program, &args);
        Self { name, from: source, to: sink, sender, _receiver: receiver }
    }

    /// What the receiver has now.
    fn count(&self) -> Value {
        let text = log(self.to, &format!("{}-in", self.name));
        let last = text.lines().rev().find_map(|line| serde_json::from_str(line).ok());
        last.unwrap_or_else(|| panic!("no count in {text}"))
    }

    /// Waits until `more` further packets have arrived.
    fn flows(&self, more: u64) {
        let of = |count: &Value| count["udp"].as_u64().unwrap();
        let before = of(&self.count());
        wait_until(&format!("{more} packets of {}", self.name), DEADLINE, || Ok(of(&self.count()) >= before + more))
            .unwrap();
    }

    /// Ends it; everything that was sent has to arrive, once.
    fn end(self) -> u64 {
        self.sender.signal(Signal::SIGTERM);
        let sent = wait_for("the sender's count", DEADLINE, || {
            let text = log(self.from, &format!("{}-out", self.name));
            let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            Ok(lines.next_back().and_then(|line| line["sent"].as_u64()))
        })
        .unwrap();
        wait_until(&format!("all {sent} packets of {}", self.name), Duration::from_secs(10), || {
            let count = self.count();
            anyhow::ensure!(count["udp"] == sent && count["tcp"] == sent, "sent {sent}, arrived {count}");
            Ok(true)
        })
        .unwrap();
        let count = self.count();
        println!("{}: sent {sent}, lost 0; {count}", self.name);
        assert_eq!((&count["twice"], &count["connections"]), (&json!(0), &json!(1)), "{count}");
        sent
    }
}

/// A copy of the agent under another name, as the next version would come.
fn next_version(node: &Node) -> PathBuf {
    let next = node.host.dir().join("longshore-agent-next");
    fs::copy(host::program("longshore-agent").unwrap(), &next).unwrap();
    next
}

fn program_of_agent(node: &Node) -> PathBuf {
    node.agent.process(|p| Ok(fs::read_link(format!("/proc/{}/exe", p.pid()))?)).unwrap()
}

/// Waits until the agent has taken over what was there: tasks keep their interfaces.
fn wait_taken_over(node: &Node, tasks: usize) {
    wait_until("the interfaces of tasks that are in force", DEADLINE, || {
        let seen = Agent::status(&node.host)?["network"].clone();
        let claimed = seen["interfaces"].as_array().into_iter().flatten().filter(|i| i["stage"] == "claimed");
        Ok(seen["ok"] == true && claimed.count() == tasks && seen["applied"] == seen["generation"])
    })
    .unwrap();
}

#[test]
fn no_packet_is_lost_while_daemons_die_and_are_upgraded() {
    let lab = lab(2);
    let definition = register(
        &lab,
        "steady",
        json!([merged(sleeper(), json!({"portMappings": [{"containerPort": 7000}]}))]),
        json!({"networkMode": "awsvpc"}),
    );
    let instances = strings(&json!(lab.instances().unwrap()), "containerInstanceArn");
    let arns: Vec<String> = [0, 0, 1].iter().map(|n| start_on(&lab, &definition, &instances[*n], &[])).collect();
    let tasks = wait_tasks(&lab, &arns, "RUNNING", DEADLINE);
    let births = |tasks: &[Value]| -> Vec<(Value, Value)> {
        let of = |task: &Value| {
            let seen = inspect(node_of(&lab, task), task["taskArn"].as_str().unwrap(), "main");
            (seen["Id"].clone(), seen["State"]["StartedAt"].clone())
        };
        tasks.iter().map(of).collect()
    };
    let before = births(&tasks);
    let (node, other) = (node_of(&lab, &tasks[0]), node_of(&lab, &tasks[2]));
    let near = Stream::start(&lab, "near", &tasks[0], &tasks[1]);
    let far = Stream::start(&lab, "far", &tasks[2], &tasks[0]);
    let flow = |what: &str, begin: Instant| {
        println!("{what}: {:.1?}", begin.elapsed());
        near.flows(1000);
        far.flows(1000);
    };
    flow("begun", Instant::now());

    // The agent is killed and another file takes its place.
    let begin = Instant::now();
    node.agent.kill().unwrap();
    let next = next_version(node);
    node.agent.launch_as(&node.host, &node.docker(), &next, &[]).unwrap();
    wait_taken_over(node, 2);
    lab.wait_connected(2, DEADLINE).unwrap();
    assert_eq!(program_of_agent(node), next, "the other file runs");
    flow("the agent's upgrade", begin);

    // The next version has other base rules: those that are there are of another, and are written anew.
    let begin = Instant::now();
    let nft =
        |rule: &[&str]| node.host.run("nsenter", &[&["--net=/run/netns/ls-fab", "nft"][..], rule].concat()).unwrap();
    node.agent.kill().unwrap();
    nft(&["insert", "rule", "inet", "ls_fab", "ingress", "counter", "comment", "\"of another version\""]);
    node.launch_agent().unwrap();
    wait_until("base rules of this version", DEADLINE, || {
        Ok(!nft(&["list", "table", "inet", "ls_fab"]).contains("of another version"))
    })
    .unwrap();
    wait_taken_over(node, 2);
    flow("an upgrade with other base rules", begin);

    let begin = Instant::now();
    lab.control().kill().unwrap();
    near.flows(1000);
    lab.restart_control().unwrap();
    lab.wait_connected(2, DEADLINE).unwrap();
    flow("the control plane's restart", begin);

    for node in [node, other] {
        let begin = Instant::now();
        node.engine.kill().unwrap();
        near.flows(500);
        node.engine.launch(&node.host).unwrap();
        node.engine.wait_ready(&node.host).unwrap();
        flow("dockerd's restart", begin);
    }
    wait_taken_over(node, 2);
    wait_taken_over(other, 1);
    let sent = near.end() + far.end();
    assert!(sent > 10_000, "a stream of {sent} packets is none");
    let after = wait_tasks(&lab, &arns, "RUNNING", DEADLINE);
    assert_eq!(births(&after), before, "a task was started again");
    assert_eq!(after.iter().map(address).collect::<Vec<_>>(), tasks.iter().map(address).collect::<Vec<_>>());
    for arn in &arns {
        lab.ecs("stop_task", json!({"task": arn})).unwrap();
    }
    wait_tasks(&lab, &arns, "STOPPED", DEADLINE);
    lab.nodes().iter().for_each(assert_clean);
    assert_no_leaks(&lab, &[]);
}

fn merged(mut into: Value, more: Value) -> Value {
    merge(&mut into, more);
    into
}
