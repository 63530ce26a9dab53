//! Hosts that fall silent: their tasks run elsewhere soon, and nothing runs twice once they are back.
//!
//! Three cuts in mode `bridge` and three in `awsvpc` in the ordinary run, `LONGSHORE_SOAK_CUTS` of each in `make soak`.
//! And a host that joins while a daemon service is there.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use longshore_tests::lab::{Agent, Lab, LabConfig, Node, invariant, wait_for, wait_until};
use serde_json::{Value, json};

use super::campaign::number;
use super::moving::awsvpc;
use super::support::*;

const TASKS: usize = 6;

/// How long a silent host is believed in: the default of `lease_millis`.
const LEASE: Duration = Duration::from_secs(5);

/// How often an agent is heard of: the default of `heartbeat_millis`.
const BEAT: Duration = Duration::from_secs(1);

/// How much later than that a busy machine may be.
const BUSY: Duration = Duration::from_secs(3);

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

/// The last of these times of tasks, counted from `began` by the clock that all hosts of a lab share.
fn last(tasks: &[&Value], time: &str, began: SystemTime) -> Duration {
    let began = began.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let times = tasks.iter().map(|task| task[time].as_f64().unwrap() - began);
    Duration::from_secs_f64(times.fold(0.0, f64::max))
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
    check_cuts("bridge");
}

#[test]
fn tasks_with_addresses_of_silent_hosts_run_elsewhere_and_never_twice() {
    check_cuts("awsvpc");
}

/// The containers that were started on any host since then, as often as they were, by the engines' own events.
fn started_since(lab: &Lab, since: SystemTime) -> Vec<String> {
    let since = since.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64().to_string();
    let of_host = |node: &Node| {
        let format = ["--filter", "event=start", "--format", "{{.Actor.Attributes.name}}"];
        let asked = ["-H", &node.docker(), "events", "--since", &since, "--until", "0s"];
        node.host.run("docker", &[&asked[..], &format].concat()).unwrap()
    };
    let said: Vec<String> = lab.nodes().iter().map(of_host).collect();
    said.iter().flat_map(|said| said.lines()).map(str::to_owned).collect()
}

/// The median of these times, which are sorted and told with it.
fn median(times: &mut [Duration], what: &str) -> Duration {
    times.sort();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    println!("{what}: {:?} least, {:?} median, {:?} p99, {:?} most", at(0), at(50), at(99), at(100));
    at(50)
}

fn check_cuts(mode: &str) {
    let cuts = usize::try_from(number("LONGSHORE_SOAK_CUTS").unwrap_or(3)).unwrap();
    let agent = "cleanup_wait = \"1s\"\nstop_timeout = \"2s\"\n".to_owned();
    let lab = networked(LabConfig { hosts: 3, agent, ..LabConfig::default() });
    let definition = register(&lab, "web", json!([sleeper()]), json!({"networkMode": mode}));
    let mut request = json!({"serviceName": "web", "taskDefinition": definition, "desiredCount": TASKS});
    if mode == "awsvpc" {
        merge(&mut request, awsvpc(&lab));
    }
    lab.ecs("create_service", request).unwrap();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let (mut placed, mut took) = (Vec::new(), Vec::new());
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
        // A cable is pulled at any moment between two beats, so the cuts are spread evenly over one. Not in order: when
        // agents beat depends on when they came back, and so on the cuts before.
        std::thread::sleep(BEAT * u32::try_from(round * 7 % cuts).unwrap() / u32::try_from(cuts).unwrap());
        let began = SystemTime::now();
        // In turns: the link goes down at both ends, or frames vanish without anybody seeing it.
        let by_cable = round % 2 == 0;
        if by_cable { lab.cut(index) } else { lab.partition(index) }.unwrap();
        let there = wait_for("others have its tasks", DEADLINE, || {
            let mut running = tasks(&lab, "web")?;
            running.retain(|task| task["lastStatus"] == "RUNNING" && host(task) != victim);
            Ok((running.len() == TASKS).then_some(running))
        })
        .unwrap();
        let is_new = |task: &&Value| before.iter().all(|old| old["taskArn"] != task["taskArn"]);
        let new: Vec<&Value> = there.iter().filter(is_new).collect();
        let (decided, runs) = (last(&new, "createdAt", began), last(&new, "startedAt", began));
        let shown = began.elapsed().unwrap();
        println!("{} tasks: placed after {decided:?}, running after {runs:?}, shown after {shown:?}", new.len());
        placed.push(decided);
        took.push(runs);
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
            let once = there.windows(2).all(|pair| pair[0] != pair[1]);
            invariant(once, || format!("a container runs on two hosts: {there:?}"))?;
            let again: Vec<&String> = there.iter().filter(|name| seen.contains(*name)).collect();
            invariant(again.is_empty(), || format!("what had ended runs again: {again:?}"))?;
            ensure!(there == wanted, "there are {there:?}, and the service has {wanted:?}");
            Ok(true)
        })
        .unwrap();
        let after = wanted(&tasks(&lab, "web").unwrap());
        let ended: BTreeSet<String> = wanted(&before).into_iter().filter(|name| !after.contains(name)).collect();
        seen.extend(ended);
        // Also none that was gone again before anybody looked: all of those before the cut ran then.
        let started = started_since(&lab, began);
        let new = there.iter().filter(|task| is_new(task)).map(|task| id(task["taskArn"].as_str().unwrap()));
        for new in new {
            assert_eq!(started.iter().filter(|name| name.contains(new)).count(), 1, "starts of {new}: {started:?}");
        }
        let again: Vec<_> = started.iter().filter(|name| wanted(&before).contains(name)).collect();
        assert_eq!(again, Vec::<&String>::new(), "they ran before, and were started again");
    }
    let decided = median(&mut placed, &format!("{cuts} cuts, until all {TASKS} tasks ({mode}) are placed elsewhere"));
    let runs = median(&mut took, &format!("{cuts} cuts, until all {TASKS} tasks ({mode}) run elsewhere"));
    // The aim is five seconds in the median. A lease counts from the last beat, half a second before the cut on
    // average, so it is over after 4.5 s. To notice, decide and place takes a tenth of a second more: tasks were placed
    // after 4.2 to 5.0 s. The rest is Docker's; docs/benchmarks.md has measurements. What is more is for busy machines,
    // and for a few cuts, which may all come right after a beat: then all of the lease is left.
    let bound = if cuts < 10 { LEASE + BUSY } else { LEASE };
    assert!(decided < bound, "{placed:?}");
    assert!(runs < LEASE + BUSY, "{took:?}");
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
            invariant(running.len() <= index + 1, || format!("more than one on a host: {running:?}"))?;
            Ok(hosts.len() == index + 1 && running.iter().all(|task| task["lastStatus"] == "RUNNING"))
        })
        .unwrap();
    }
    assert_eq!(containers(&lab).unwrap().len(), 2);
    lab.wait_ecs("services_stable", json!({"services": ["daemon"]})).unwrap();
}
