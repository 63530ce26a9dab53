//! The agent dies after each step that an interface goes through, from the address to the last packet.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use longshore_tests::lab::{Agent, Node, host, wait_until};
use serde_json::{Value, json};

use super::awsvpc::{address, assert_clean, network, server, status, wait_open};
use super::netlife::start_on;
use super::support::*;

/// Where an agent can be made to die while a task starts: A is the making of its sandbox, B what makes it the task's.
const STARTS: [&str; 15] = [
    "A1",         // its address is chosen
    "A2-created", // the sandbox is created
    "A2",         // and started
    "A3",         // its namespace has a name
    "A4",         // the link is there
    "A5",         // the sandbox's side is set up
    "A6",         // and the fabric's
    "A7",         // and both were read back
    "B2",         // the task's files are written
    "B3-chains",  // the chains of its groups are there
    "B3",         // the firewall lets it through
    "B1",         // the ledger has it
    "B4",         // the control plane has recorded it
    "B5-created", // a container is created in it
    "B5",         // and started
];

/// And while it ends.
const ENDS: [&str; 8] = [
    "C1",          // its containers have stopped
    "C2",          // the firewall has forgotten it
    "C2-rests",    // its address rests, on the disk
    "C3",          // its connections are forgotten
    "C4",          // the sandbox is removed
    "C4-unpinned", // and its namespace
    "C4-unwired",  // and what else the kernel had
    "C5",          // the control plane has recorded it
];

/// How long an address rests at least.
const REST: Duration = Duration::from_secs(60);

/// The names of the interfaces that there are files of.
fn files_of_interfaces(node: &Node) -> Result<String> {
    let directory = node.host.dir().join("agent/interfaces");
    // Before the first task there is none.
    let entries = if directory.exists() { fs::read_dir(directory)?.collect() } else { Vec::new() };
    let names = entries.into_iter().map(|entry| Ok(format!("files of {}\n", entry?.file_name().display())));
    names.collect()
}

/// The connections of an address that are remembered, in the fabric and on the host.
fn remembered(node: &Node, address: &str) -> Result<Vec<String>> {
    let list = "/proc/thread-self/net/nf_conntrack";
    let fabric = node.host.run("nsenter", &["--net=/run/netns/ls-fab", "cat", list])?;
    let all = format!("{fabric}{}", node.host.run("cat", &[list])?);
    let its = |line: &&str| line.split(' ').any(|word| word.ends_with(&format!("={address}")));
    Ok(all.lines().filter(its).map(str::to_owned).collect())
}

/// What there is on a host of tasks and sandboxes, in the engine and in the kernel.
pub(crate) fn everything(node: &Node) -> Result<BTreeSet<String>> {
    let containers = node.engine.containers()?;
    let mut all: BTreeSet<String> =
        containers.into_iter().map(|c| format!("container {} {} {}", c.id, c.name, c.state)).collect();
    let fabric = |args: &[&str]| node.host.run("nsenter", &[&["--net=/run/netns/ls-fab"][..], args].concat());
    // Counters and the order of elements are no state.
    let rules = fabric(&["nft", "--stateless", "list", "ruleset"])?;
    let mut words: Vec<&str> = rules.split([' ', '\n', '\t', ',']).collect();
    words.sort_unstable();
    all.insert(words.join(" "));
    let lists = [
        fabric(&["ip", "-brief", "link"])?,
        fabric(&["ip", "route", "show", "table", "all"])?,
        fabric(&["ip", "neigh", "show", "nud", "permanent"])?,
        node.host.run("ls", &["/run/netns"])?,
        files_of_interfaces(node)?,
    ];
    all.extend(lists.iter().flat_map(|list| list.lines()).map(|line| line.trim().to_owned()));
    // Of the host's own namespace the links by name, the ports of Docker's bridge among them, and what Docker lets
    // through and translates for containers.
    let links = node.host.run("ip", &["-brief", "link"])?;
    let names = links.lines().filter_map(|line| line.split(['@', ' ']).next());
    all.extend(names.map(|name| format!("link of the host {name}")));
    let rules = node.host.run("iptables-save", &[])?;
    let of_docker = |line: &&str| line.starts_with("-A ") && !line.starts_with("-A DOCKER-USER ");
    all.extend(rules.lines().filter(of_docker).map(|line| format!("rule of the host {line}")));
    Ok(all)
}

/// Waits until a host has this and nothing else.
fn assert_everything(node: &Node, wanted: &BTreeSet<String>, when: &str) {
    wait_until(&format!("nothing else {when}"), DEADLINE, || {
        let found = everything(node)?;
        let (more, less): (Vec<_>, Vec<_>) = (found.difference(wanted).collect(), wanted.difference(&found).collect());
        ensure!(more.is_empty() && less.is_empty(), "too much: {more:#?}, missing: {less:#?}");
        Ok(true)
    })
    .unwrap();
}

/// The log of a host's agents.
fn log(node: &Node) -> String {
    node.host.log("agent")
}

/// Waits until an agent is connected and has the network in force.
fn wait_taken_over(node: &Node) {
    wait_until("an agent that has taken over", DEADLINE, || {
        let seen = Agent::status(&node.host)?;
        let network = &seen["network"];
        ensure!(network["ok"] == true && network["applied"] == network["generation"], "{network:#}");
        Ok(seen["session"]["state"] == "connected")
    })
    .unwrap();
}

/// An agent that runs until it has done a step.
struct Dying<'a> {
    node: &'a Node,
    step: &'a str,
    /// Where its log begins.
    log: usize,
}

impl<'a> Dying<'a> {
    /// Starts it in the place of one that is killed. What it takes over is as it should be, so it changes nothing.
    fn launch(node: &'a Node, step: &'a str) -> Self {
        let before = everything(node).unwrap();
        node.agent.kill().unwrap();
        let dying = Self { node, step, log: log(node).len() };
        let program = host::program("longshore-agent").unwrap();
        node.agent.launch_as(&node.host, &node.docker(), &program, &[("LONGSHORE_TEST_CRASH", step)]).unwrap();
        wait_taken_over(node);
        assert_eq!(everything(node).unwrap(), before, "a start before {step} changed something");
        let said = dying.said();
        let repairs = ["removing a", "removed what", "put back", "taking back", "ended", "ending", "not let through"];
        let repair = repairs.iter().find(|repair| said.contains(**repair));
        assert_eq!(repair, None, "a start before {step} found something to do: {said}");
        dying
    }

    /// What it has logged.
    fn said(&self) -> String {
        log(self.node)[self.log..].to_owned()
    }

    /// Waits until it has died, of that step, and starts another one, which does not die.
    fn follow(self) {
        let Self { node, step, .. } = self;
        let ended = node.agent.wait_exit(DEADLINE);
        let said = self.said();
        let code = ended.unwrap_or_else(|error| panic!("{step} was not reached: {error:#}\n{said}"));
        assert_eq!(code, None, "it ended by itself, not by a signal: {said}");
        let last = format!("the agent ends here step=\"{step}\"");
        assert!(said.lines().any(|line| line.contains(&last)), "no {last}: {said}");
        node.launch_agent().unwrap();
        wait_taken_over(node);
    }
}

/// Waits until a host has one interface, a task's, and has heard all that `other` has of the network.
fn wait_alone(node: &Node, other: &Node) {
    wait_until("one interface", DEADLINE, || {
        let seen = status(node);
        let stages: Vec<&str> =
            seen["interfaces"].as_array().into_iter().flatten().flat_map(|i| i["stage"].as_str()).collect();
        let sandboxes = node.engine.containers()?.iter().filter(|c| c.name.starts_with("ls-eni-")).count();
        ensure!(stages == ["claimed"] && sandboxes == 1, "{seen:#}, {sandboxes} sandboxes");
        let generation = |seen: &Value| seen["applied"].as_u64().context("no generation");
        Ok(generation(&seen)? >= generation(&status(other))?)
    })
    .unwrap();
}

#[test]
fn a_crash_after_any_step_loses_no_task_and_leaves_nothing() {
    // Without a pool, each task goes through every step.
    let lab = lab_with(2, "warm_sandboxes = 0");
    let web = server(&lab, "web");
    let client = running(&lab, &run_one(&lab, &web, network(&lab, &[])));
    let from = client["taskArn"].as_str().unwrap();
    let index = node_index(&lab, client["containerInstanceArn"].as_str().unwrap());
    let (node, clients) = (lab.node(1 - index), lab.node(index));
    let instance = Agent::status(&node.host).unwrap()["identity"]["instance"].clone();
    let instance = instance.as_str().unwrap();
    let empty = everything(node).unwrap();
    let mut resting: Vec<(String, Instant)> = Vec::new();
    for (start, end) in STARTS.into_iter().zip(ENDS.into_iter().cycle()) {
        let began = Instant::now();
        let dying = Dying::launch(node, start);
        let arn = start_on(&lab, &web, instance, &[]);
        dying.follow();
        let task = running(&lab, &arn);
        let to = address(&task);
        let rests = |(address, since): &(String, Instant)| *address == to && since.elapsed() < REST;
        assert!(!resting.iter().any(rests), "{start}: {to} rests: {resting:?}");
        wait_open(clients, from, &to, true);
        assert_exactly(&lab, &[arn.clone(), from.to_owned()]);
        wait_alone(node, clients);
        assert!(!remembered(node, &to).unwrap().is_empty(), "nothing that could be forgotten");

        let dying = Dying::launch(node, end);
        resting.push((to.clone(), Instant::now()));
        lab.ecs("stop_task", json!({"task": arn})).unwrap();
        dying.follow();
        let ended = stopped(&lab, &arn);
        assert_eq!(ended["attachments"][0]["status"], "DELETED", "{end}: {ended:#}");
        assert_eq!(ended["stopCode"], "UserInitiated", "{end}: {ended:#}");
        assert_clean(node);
        assert_no_leaks(&lab, &[from.to_owned()]);
        wait_until(&format!("no connection of {to}"), DEADLINE, || {
            let left = remembered(node, &to)?;
            ensure!(left.is_empty(), "{left:#?}");
            Ok(true)
        })
        .unwrap();
        assert_everything(node, &empty, &format!("after {start} and {end}"));
        println!("{start}, then {end}: {:.1?}", began.elapsed());
    }
}
