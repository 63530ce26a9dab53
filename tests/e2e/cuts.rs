//! Hosts that fall silent: their tasks run elsewhere soon, and nothing runs twice once they are back.
//!
//! Two cuts in the ordinary run, `LONGSHORE_SOAK_CUTS` in `make soak`. And a host that joins while a daemon service is
//! there.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use longshore_tests::lab::{Agent, Lab, LabConfig, wait_until};
use serde_json::{Value, json};

use super::campaign::number;
use super::support::*;

const TASKS: usize = 6;

/// The service's tasks that are to run, as DescribeTasks shows them.
fn tasks(lab: &Lab, service: &str) -> Result<Vec<Value>> {
    let arns = lab.ecs("list_tasks", json!({"serviceName": service}))?["taskArns"].clone();
    if arns == json!([]) {
        return Ok(Vec::new());
    }
    let answer = lab.ecs("describe_tasks", json!({"tasks": arns}))?;
    Ok(answer["tasks"].as_array().cloned().unwrap_or_default())
}

fn host(task: &Value) -> &str {
    task["containerInstanceArn"].as_str().unwrap()
}

/// Names of the containers that run on any host.
fn containers(lab: &Lab) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for node in lab.nodes() {
        names.extend(node.task_containers()?.into_iter().filter(|c| c.state == "running").map(|c| c.name));
    }
    names.sort();
    Ok(names)
}

#[test]
fn tasks_of_silent_hosts_run_elsewhere_and_never_twice() {
    let cuts = usize::try_from(number("LONGSHORE_SOAK_CUTS").unwrap_or(2)).unwrap();
    let agent = "cleanup_wait = \"1s\"\nstop_timeout = \"2s\"\n".to_owned();
    let lab = networked(LabConfig { hosts: 3, agent, ..LabConfig::default() });
    let definition = register(&lab, "web", json!([sleeper()]), json!({}));
    let request = json!({"serviceName": "web", "taskDefinition": definition, "desiredCount": TASKS});
    lab.ecs("create_service", request).unwrap();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut took = Vec::new();
    for round in 0..cuts {
        wait_until("all tasks", DEADLINE, || {
            let running = tasks(&lab, "web")?;
            Ok(running.len() == TASKS && running.iter().all(|task| task["lastStatus"] == "RUNNING"))
        })
        .unwrap();
        let before = tasks(&lab, "web").unwrap();
        // The host with the most tasks, so that there is always something to replace.
        let hosts: BTreeSet<&str> = before.iter().map(host).collect();
        let victim = hosts.into_iter().max_by_key(|h| before.iter().filter(|t| host(t) == *h).count()).unwrap();
        let victim = victim.to_owned();
        let index = node_index(&lab, &victim);
        let began = Instant::now();
        // In turns: the link goes down at both ends, or frames vanish without anybody seeing it.
        let by_cable = round % 2 == 0;
        if by_cable { lab.cut(index) } else { lab.partition(index) }.unwrap();
        wait_until("others have its tasks", DEADLINE, || {
            let running = tasks(&lab, "web")?;
            let elsewhere = |task: &&Value| task["lastStatus"] == "RUNNING" && host(task) != victim;
            Ok(running.iter().filter(elsewhere).count() == TASKS)
        })
        .unwrap();
        took.push(began.elapsed());
        if by_cable { lab.mend(index) } else { lab.heal(index) }.unwrap();
        lab.wait_connected(3, DEADLINE).unwrap();

        // What runs is what the service has, each task once, and no task that was replaced has begun again.
        let wanted = |running: &[Value]| {
            let mut names: Vec<String> =
                running.iter().map(|task| format!("ls-{}-main", id(task["taskArn"].as_str().unwrap()))).collect();
            names.sort();
            names
        };
        wait_until("what was replaced has ended", DEADLINE, || {
            let running = tasks(&lab, "web")?;
            let (there, wanted) = (containers(&lab)?, wanted(&running));
            ensure!(there == wanted, "there are {there:?}, and the service has {wanted:?}");
            Ok(true)
        })
        .unwrap();
        let after = wanted(&tasks(&lab, "web").unwrap());
        let ended: BTreeSet<String> = wanted(&before).into_iter().filter(|name| !after.contains(name)).collect();
        seen.extend(ended);
        assert!(after.iter().all(|name| !seen.contains(name)), "tasks that had ended are there again: {after:?}");
    }
    took.sort();
    let at = |share: usize| took[(took.len() * share / 100).min(took.len() - 1)];
    println!(
        "{cuts} cuts, until all {TASKS} tasks run elsewhere: {:?} least, {:?} median, {:?} p99, {:?} most",
        took[0],
        at(50),
        at(99),
        at(100)
    );
    // The lease is five seconds; what stands here catches a hold that nobody asked for, not a slow machine.
    assert!(at(50) < Duration::from_secs(20), "{took:?}");
}

#[test]
fn a_daemon_comes_to_a_host_that_joins_late() {
    let lab = Lab::new(LabConfig { hosts: 2, join: false, ..LabConfig::default() }).unwrap();
    lab.ecs("create_cluster", json!({})).unwrap();
    let token = lab.join_token(json!({"RegistrationLimit": 2})).unwrap();
    let join = |index: usize| {
        Agent::write_token(&lab.node(index).host, &token).unwrap();
        lab.node(index).launch_agent().unwrap();
    };
    let definition = register(&lab, "daemon", json!([sleeper()]), json!({}));
    let request = json!({"serviceName": "daemon", "taskDefinition": definition, "schedulingStrategy": "DAEMON"});
    lab.ecs("create_service", request).unwrap();
    for index in 0..2 {
        join(index);
        wait_until("one task on each host that has joined", DEADLINE, || {
            let running = tasks(&lab, "daemon")?;
            let hosts: BTreeSet<&str> = running.iter().map(host).collect();
            ensure!(running.len() <= index + 1, "{running:?}");
            Ok(hosts.len() == index + 1 && running.iter().all(|task| task["lastStatus"] == "RUNNING"))
        })
        .unwrap();
    }
    assert_eq!(containers(&lab).unwrap().len(), 2);
    lab.wait_ecs("services_stable", json!({"services": ["daemon"]})).unwrap();
}
