//! Hosts full of tasks with interfaces of their own, again and again: every address answers, and nothing stays.
//!
//! One round of sixty tasks in the ordinary run; `LONGSHORE_SOAK_FILLS` rounds of three hundred in `make soak`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use longshore_tests::lab::{Lab, Node, wait_for};
use serde_json::{Value, json};

use super::awsvpc::{address, assert_clean, network, server, status};
use super::campaign::number;
use super::support::*;

/// For hundreds of containers on two cores.
const LONG: Duration = Duration::from_secs(600);

/// How many rounds of how many tasks.
fn size() -> (u64, usize) {
    number("LONGSHORE_SOAK_FILLS").map_or((1, 60), |rounds| (rounds, 300))
}

/// Runs `count` tasks as a client would that wants them all: whatever found no address at first is asked for again.
fn run_all(lab: &Lab, definition: &str, count: usize) -> Vec<String> {
    let mut arns: Vec<String> = Vec::new();
    let mut refused = BTreeSet::new();
    wait_for(&format!("{count} tasks that have a place"), LONG, || {
        let mut args = json!({"taskDefinition": definition, "count": (count - arns.len()).min(10)});
        merge(&mut args, network(lab, &[]));
        let answer = lab.ecs("run_task", args)?;
        arns.extend(strings(&answer["tasks"], "taskArn"));
        for failure in answer["failures"].as_array().into_iter().flatten() {
            assert_eq!(failure["reason"], "RESOURCE:ENI", "{failure}");
            refused.insert(failure["detail"].to_string());
        }
        Ok((arns.len() == count).then_some(()))
    })
    .unwrap();
    for why in refused {
        println!("  asked again: {why}");
    }
    arns
}

/// How many tasks answer a task when it calls each once, by its own name.
fn count_answers(node: &Node, from: &str, tasks: &[Value]) -> usize {
    let all: Vec<String> = tasks.iter().map(address).collect();
    let script =
        format!("for a in {}; do printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 $a 80 | tail -n 1; done", all.join(" "));
    let name = format!("ls-{}-web", id(from));
    let output = node.host.run("docker", &["-H", &node.docker(), "exec", &name, "sh", "-c", &script]).unwrap();
    let answered: BTreeSet<&str> = output.lines().map(str::trim).collect();
    let missing: Vec<&String> =
        all.iter().filter(|a| !answered.contains(format!("ip-{}", a.replace('.', "-")).as_str())).collect();
    assert!(missing.is_empty(), "no answer from {missing:?}");
    all.len()
}

fn fill(hosts: u8) {
    let (rounds, count) = size();
    let lab = lab(hosts);
    let web = server(&lab, "web");
    for round in 1..=rounds {
        let begin = Instant::now();
        let arns = run_all(&lab, &web, count);
        let placed = begin.elapsed();
        let tasks = wait_tasks(&lab, &arns, "RUNNING", LONG);
        let running = begin.elapsed();
        let addresses: BTreeSet<String> = tasks.iter().map(address).collect();
        assert_eq!(addresses.len(), count, "an address was given twice");
        let places: BTreeSet<String> = tasks.iter().map(|t| t["containerInstanceArn"].to_string()).collect();
        assert_eq!(places.len(), usize::from(hosts), "every host has some");
        let answers = count_answers(node_of(&lab, &tasks[0]), &arns[0], &tasks);
        assert_eq!(answers, count);
        let reached = begin.elapsed();
        for arn in &arns {
            lab.ecs("stop_task", json!({"task": arn})).unwrap();
        }
        wait_tasks(&lab, &arns, "STOPPED", LONG);
        let stopped = begin.elapsed();
        lab.nodes().iter().for_each(assert_clean);
        assert_no_leaks(&lab, &[]);
        let seen: Vec<Value> = lab.nodes().iter().map(status).collect();
        let of = |key: &str| seen.iter().map(|s| s[key].to_string()).collect::<Vec<_>>().join(", ");
        println!(
            "{hosts} hosts, round {round}: {count} placed after {placed:.1?}, running {running:.1?}, {answers} \
             answered {reached:.1?}, stopped {stopped:.1?}, clean {:.1?}; leases {}; free {}; resting {}",
            begin.elapsed(),
            of("leases"),
            of("free"),
            of("resting"),
        );
    }
}

#[test]
fn one_host_is_filled_and_emptied() {
    fill(1);
}

#[test]
fn three_hosts_are_filled_and_emptied() {
    fill(3);
}
