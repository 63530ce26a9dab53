//! What befalls the way to Docker, and what somebody does to containers behind the agent's back.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use longshore_tests::lab::proxy::Proxy;
use longshore_tests::lab::{Lab, Node, host, wait_until};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::campaign::number;
use super::support::*;

/// Tasks that are there at any time.
const CHURN: usize = 10;

fn docker(node: &Node, args: &[&str]) -> String {
    let address = node.docker();
    node.host.run("docker", &[&["-H", &address], args].concat()).unwrap()
}

/// A container that notes each of its runs in a file of the host, runs for a while, and ends with the code 3.
fn noted() -> Value {
    let script = "echo run >>/runs/$TASK; trap 'exit 0' TERM; n=0; while [ $n -lt $LIFE ]; do sleep 0.1; n=$((n+1)); \
                  done; exit 3";
    let mut main = shell("main", script);
    merge(&mut main, json!({"mountPoints": [{"sourceVolume": "runs", "containerPath": "/runs"}]}));
    main
}

/// Starts a task by a name of its own, which its file has; none when no host takes it at the moment.
fn start(lab: &Lab, definition: &str, name: &str, life: u32) -> Option<String> {
    let environment = json!([{"name": "TASK", "value": name}, {"name": "LIFE", "value": life.to_string()}]);
    let overrides = json!({"containerOverrides": [{"name": "main", "environment": environment}]});
    let args = json!({"taskDefinition": definition, "overrides": overrides});
    let answer = lab.ecs("run_task", args).unwrap();
    answer["tasks"][0]["taskArn"].as_str().map(str::to_owned)
}

/// Docker's answers come late, not at all, in half, or as errors, while tasks come and go: each task runs at most once,
/// says how it ended, and leaves nothing.
#[test]
fn a_breaking_way_to_docker_loses_no_task_and_no_exit() {
    let lasts = Duration::from_secs(number("LONGSHORE_SOAK_CHURN").unwrap_or(30));
    let seed = number("LONGSHORE_SEED").unwrap_or_else(rand::random);
    println!("seed {seed}, {} s; LONGSHORE_SEED={seed} repeats it", lasts.as_secs());
    let mut random = StdRng::seed_from_u64(seed);
    let lab = lab(1);
    let node = lab.node(0);
    let runs = lab.dir().join("runs");
    fs::create_dir(&runs).unwrap();
    let volumes = json!({"volumes": [
        {"name": "runs", "host": {"sourcePath": runs.to_str().unwrap()}}, {"name": "own"}], "memory": "24"});
    let definition = register(&lab, "churn", json!([noted()]), volumes);

    let proxy = Proxy::start(node.host.dir().join("faulty.sock"), node.engine.socket(), seed).unwrap();
    node.agent.kill().unwrap();
    let agent = host::program("longshore-agent").unwrap();
    node.agent.launch_as(&node.host, &proxy.address(), &agent, &[]).unwrap();
    lab.wait_connected(1, DEADLINE).unwrap();
    let first = start(&lab, &definition, "first", 5).expect("a place");
    stopped(&lab, &first);

    proxy.set_faulty(true);
    let begin = Instant::now();
    let mut names: BTreeMap<String, String> = [(first, "first".to_owned())].into();
    let mut live: Vec<String> = Vec::new();
    wait_until("the end of the churn", lasts + DEADLINE, || {
        let ended = |task: &Value| task["lastStatus"] == "STOPPED";
        let tasks = if live.is_empty() { Vec::new() } else { describe(&lab, &live)? };
        live.retain(|arn| !tasks.iter().any(|task| task["taskArn"] == arn.as_str() && ended(task)));
        while live.len() < CHURN && begin.elapsed() < lasts {
            let name = format!("task-{}", names.len());
            let Some(arn) = start(&lab, &definition, &name, random.random_range(1..60)) else { break };
            names.insert(arn.clone(), name);
            live.push(arn);
        }
        if random.random_bool(0.2)
            && let Some(arn) = live.get(random.random_range(0..CHURN))
        {
            lab.ecs("stop_task", json!({"task": arn}))?;
        }
        Ok(begin.elapsed() >= lasts)
    })
    .unwrap();
    proxy.set_faulty(false);
    println!("{} tasks; {}", names.len(), proxy.counts());
    assert!(proxy.total() >= lasts.as_secs(), "hardly anything broke: {}", proxy.counts());

    let all: Vec<String> = names.keys().cloned().collect();
    let mut failed = 0;
    for ended in wait_tasks(&lab, &all, "STOPPED", 2 * DEADLINE) {
        let name = &names[ended["taskArn"].as_str().unwrap()];
        let ran = fs::read_to_string(runs.join(name)).unwrap_or_default().lines().count();
        assert!(ran <= 1, "{name} ran {ran} times: {ended:#}");
        let main = container(&ended, "main");
        let why = main["reason"].as_str().or(ended["stoppedReason"].as_str()).unwrap_or_default();
        match ended["stopCode"].as_str() {
            Some("EssentialContainerExited") => {
                // What Docker never told of is said to be unknown.
                let told = [Some(3), Some(137)].contains(&main["exitCode"].as_i64()) || !main["reason"].is_null();
                assert!(ran == 1 && told, "{name}: {ended:#}");
            }
            Some("UserInitiated") => {}
            Some("TaskFailedToStart") => {
                failed += 1;
                assert!(!why.is_empty(), "{name}: {ended:#}");
            }
            _ => panic!("{name}: {ended:#}"),
        }
    }
    println!("{failed} of {} tasks failed to start", all.len());
    assert!(failed * 2 < all.len(), "{failed} of {} tasks did not start for faults that pass", all.len());
    // A new agent on a sound way cleans up whatever is left, as this one does.
    assert_no_leaks(&lab, &[]);
    node.agent.kill().unwrap();
    node.launch_agent().unwrap();
    assert_no_leaks(&lab, &[]);
}

#[test]
fn what_somebody_does_to_containers_is_seen_and_said() {
    let lab = lab(1);
    let node = lab.node(0);
    let mut main = shell("main", "trap 'exit 0' TERM; echo ready; while true; do sleep 0.1; done");
    merge(&mut main, json!({"portMappings": [{"containerPort": 80}]}));
    let definition = register(&lab, "victim", json!([main]), json!({"memory": "24", "volumes": [{"name": "own"}]}));
    let arns = run(&lab, &definition, 5, json!({}));
    wait_tasks(&lab, &arns, "RUNNING", DEADLINE);
    let [removed, ended, paused, renamed, late] = [0, 1, 2, 3, 4].map(|n| &arns[n]);
    let name = |arn: &String| format!("ls-{}-main", id(arn));
    arns.iter().for_each(|arn| wait_ready(node, arn, "main"));

    docker(node, &["rm", "-f", &name(removed)]);
    let gone = stopped(&lab, removed);
    assert!(container(&gone, "main")["reason"].is_string(), "{gone:#}");
    docker(node, &["stop", &name(ended)]);
    let over = stopped(&lab, ended);
    assert_eq!(
        (&over["stopCode"], &container(&over, "main")["exitCode"]),
        (&json!("EssentialContainerExited"), &json!(0))
    );

    // One that is paused runs, and is stopped when it should be.
    docker(node, &["pause", &name(paused)]);
    docker(node, &["rename", &name(renamed), "mine"]);
    wait_until("the container's own name", DEADLINE, || {
        Ok(node.task_containers()?.iter().any(|c| c.name == name(renamed) && c.state == "running"))
    })
    .unwrap();
    assert_eq!(task(&lab, paused)["lastStatus"], "RUNNING");
    assert_eq!(task(&lab, renamed)["lastStatus"], "RUNNING");
    // And when nobody looked in between.
    node.agent.freeze();
    docker(node, &["rename", &name(late), "mine-too"]);
    docker(node, &["stop", "mine-too"]);
    node.agent.thaw();
    let over = stopped(&lab, late);
    assert_eq!(container(&over, "main")["exitCode"], 0, "{over:#}");
    for arn in [paused, renamed] {
        lab.ecs("stop_task", json!({"task": arn})).unwrap();
        let ended = stopped(&lab, arn);
        assert_eq!(ended["stopCode"], "UserInitiated", "{ended:#}");
        assert!(container(&ended, "main")["exitCode"].is_number(), "{ended:#}");
    }
    assert_no_leaks(&lab, &[]);
}
