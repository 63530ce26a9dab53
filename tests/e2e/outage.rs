//! The control plane is away while tasks crash, finish and restart: everything is told once it is back, once, and in
//! the order in which it happened. What starts meanwhile runs all the same, and its output is shipped later.
//!
//! Fifteen seconds in the ordinary run, `LONGSHORE_SOAK_OUTAGE` in `make soak`.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use longshore_tests::lab::registry::{FaultyRegistry, RegistryFault};
use longshore_tests::lab::{Agent, wait_until};
use serde_json::{Value, json};

use super::campaign::number;
use super::clock::assert_in_order;
use super::digests::{Registry, push};
use super::fields::{exec, stop};
use super::images::REGISTRY;
use super::logs::{assert_complete, lines, stream_name, talker};
use super::runs::{self, RUNS_ON, Runs, awaits, noting};
use super::support::*;

/// A way to the registry that answers when the test says so.
const HELD: &str = "127.0.0.1:5001";

#[test]
fn what_happens_while_the_control_plane_is_away_is_told_once_and_in_order() {
    let lasts = Duration::from_secs(number("LONGSHORE_SOAK_OUTAGE").unwrap_or(15));
    let lab = lab(1);
    let node = lab.node(0);
    let runs = Runs::new(&lab);
    runs::watch(&lab);
    let volumes = json!({"volumes": [runs.volume(), {"name": "own"}]});
    let over = |name: &str, end: &str| noting("main", &format!("{}; {end}", awaits(name)));
    let mut looping = noting("main", "sleep 1; exit 3");
    let policy = json!({"enabled": true, "restartAttemptPeriod": 60});
    merge(&mut looping, json!({"restartPolicy": policy, "dockerLabels": {"longshore.restart.backoff": "1-2"}}));
    // One whose containers end one after the other: the essential one says how it ended.
    let mut after = noting("after", &format!("{}; exit 4", awaits("after")));
    merge(&mut after, json!({"essential": false, "dependsOn": [{"containerName": "main", "condition": "START"}]}));
    let definitions = [
        ("finishes", json!([over("finishes", "exit 0")])),
        ("crashes", json!([over("crashes", "sh -c 'kill -SEGV $$'; exit $?")])),
        ("fails", json!([over("fails", "exit 9"), after])),
        ("loops", json!([looping])),
        ("stays", json!([noting("main", RUNS_ON)])),
    ];
    let tasks = definitions.map(|(name, containers)| {
        let names: Vec<String> = strings(&containers, "name");
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let definition = register(&lab, name, containers, volumes.clone());
        runs::start(&lab, &definition, &names, name, json!({})).unwrap().expect("a place")
    });
    let [finishes, crashes, fails, loops, stays] = &tasks;
    wait_tasks(&lab, &tasks, "RUNNING", DEADLINE);
    lab.control().kill().unwrap();
    let began = Instant::now();
    // One after the other: each is told to end once the agent knows of the end of the one before.
    let in_turn = [
        (finishes, "main", "finishes"),
        (crashes, "main", "crashes"),
        (fails, "after", "after"),
        (fails, "main", "fails"),
    ];
    for (arn, name, what) in in_turn {
        runs.release(what);
        wait_until(&format!("the end of {what}"), DEADLINE, || {
            let states = Agent::status(&node.host)?;
            let of_task = states["tasks"].as_array().into_iter().flatten().find(|task| task["id"] == id(arn));
            let of_task = of_task.context("the agent does not know the task")?;
            let is_over = container(of_task, name)["phase"] == "stopped";
            ensure!(is_over && (name != "main" || of_task["status"] == "STOPPED"), "{of_task:#}");
            Ok(true)
        })
        .unwrap();
    }
    wait_until("the end of the outage", lasts + DEADLINE, || {
        let states = Agent::status(&node.host)?;
        let all = states["tasks"].as_array().cloned().unwrap_or_default();
        let ended = all.iter().filter(|task| task["status"] == "STOPPED").count();
        ensure!(ended == 3, "{ended} have ended: {states:#}");
        Ok(began.elapsed() >= lasts)
    })
    .unwrap();
    // An agent that starts anew meanwhile tells the same.
    node.agent.kill().unwrap();
    node.launch_agent().unwrap();
    lab.restart_control().unwrap();
    lab.wait_connected(1, DEADLINE).unwrap();
    let ends = [(finishes, 0), (crashes, 139), (fails, 9)];
    let mut told: Vec<Value> = ends
        .iter()
        .map(|(arn, code)| {
            let ended = stopped(&lab, arn);
            assert_eq!(container(&ended, "main")["exitCode"], *code, "{ended:#}");
            assert_eq!(ended["stopCode"], "EssentialContainerExited", "{ended:#}");
            assert_in_order(&ended);
            ended
        })
        .collect();
    assert_eq!(container(&told[2], "after")["exitCode"], 4, "{:#}", told[2]);
    let stopped_at: Vec<f64> = told.iter().map(|task| task["executionStoppedAt"].as_f64().unwrap()).collect();
    assert!(stopped_at.is_sorted(), "they ended one after the other: {stopped_at:?}");
    // What it did meanwhile counts.
    let restarts = |status: &Value| -> Option<u64> {
        let of_task = status["tasks"].as_array()?.iter().find(|task| task["id"] == id(loops))?;
        of_task["containers"][0]["restarts"].as_u64()
    };
    let counted = restarts(&Agent::status(&node.host).unwrap()).unwrap();
    let ran = runs.of("loops", "main") as u64;
    assert!(counted >= lasts.as_secs() / 4 && ran.abs_diff(counted + 1) <= 1, "{counted} restarts, {ran} runs");
    assert_exactly_running(&lab, stays);
    for name in ["finishes", "crashes", "fails", "stays"] {
        assert_eq!(runs.of(name, "main"), 1, "runs of {name}");
    }
    for arn in [loops, stays] {
        lab.ecs("stop_task", json!({"task": arn})).unwrap();
        let ended = stopped(&lab, arn);
        assert_eq!(ended["stopCode"], "UserInitiated");
        assert_in_order(&ended);
        told.push(ended);
    }
    assert_nothing_left(&lab);
    runs::assert_ends_told_once(&lab, &told);
    // The agent that was started anew said the same of the ends that the one before it saw.
    let (meanwhile, after) = told.split_at(ends.len());
    runs::assert_agents_agree(node, meanwhile, 2);
    runs::assert_agents_agree(node, after, 1);
}

/// A task that ran all the time.
fn assert_exactly_running(lab: &longshore_tests::lab::Lab, arn: &str) {
    let now = running(lab, arn);
    assert_eq!(container(&now, "main")["lastStatus"], "RUNNING", "{now:#}");
}

/// A container that its policy restarts, one that begins when another one of its task has ended, and a whole task whose
/// image comes late, by an agent that has not met this control plane: each starts, and none of its output is lost.
#[test]
fn what_starts_while_the_control_plane_is_away_prints_all_the_same() {
    let lab = lab(1);
    let node = lab.node(0);
    let _registry = Registry::start(&lab);
    push(node, "held");
    let address = |text: &str| text.parse::<SocketAddrV4>().unwrap();
    let held_back = FaultyRegistry::start(&node.host, address(HELD), address(REGISTRY)).unwrap();

    let count = "n=0; while [ $n -lt 300 ]; do echo line $n; n=$((n+1)); done";
    // Its files outlive a restart in place: the first run ends when it is told to, and the next two at once.
    let script = "i=$(cat /n 2>/dev/null || echo 0); echo $((i + 1)) >/n; n=$((i * 100)); \
                  while [ $n -lt $((i * 100 + 100)) ]; do echo line $n; n=$((n+1)); done; \
                  [ $i -lt 3 ] || exec sleep 600; until [ -e /tmp/go ]; do sleep 0.1; done; exit 1";
    let mut again = talker("main", script, json!({}));
    let policy = json!({"enabled": true, "restartAttemptPeriod": 60});
    merge(&mut again, json!({"restartPolicy": policy, "dockerLabels": {"longshore.restart.backoff": "1-2"}}));
    let mut first = shell("first", "until [ -e /tmp/go ]; do sleep 0.1; done");
    merge(&mut first, json!({"essential": false}));
    let mut next = talker("main", &format!("{count}; trap 'exit 0' TERM; while true; do sleep 0.1; done"), json!({}));
    merge(&mut next, json!({"dependsOn": [{"containerName": "first", "condition": "SUCCESS"}]}));
    let mut late = talker("main", &format!("{count}; exit 7"), json!({}));
    merge(&mut late, json!({"image": format!("{HELD}/team/app:1")}));

    held_back.set(RegistryFault::Hold);
    let definitions = [("again", json!([again])), ("next", json!([first, next])), ("late", json!([late]))];
    let tasks = definitions.map(|(family, containers)| {
        let definition = register(&lab, family, containers, json!({}));
        run_one(&lab, &definition, json!({}))
    });
    let [again, next, late] = &tasks;
    let streams = tasks.each_ref().map(|arn| stream_name(arn, "main"));
    wait_until("what is printed before", DEADLINE, || {
        ensure!(held_back.broken() > 0, "the image of the last one was not asked for");
        let first = node.engine.inspect(&format!("ls-{}-first", id(next)))?;
        ensure!(first["State"]["Running"] == true, "the one that is waited for does not run");
        Ok(lines(&lab, &streams[0]).len() == 100)
    })
    .unwrap();
    for arn in [next, late] {
        assert_eq!(container(&task(&lab, arn), "main")["lastStatus"], "PENDING");
    }

    lab.control().kill().unwrap();
    node.agent.kill().unwrap();
    node.launch_agent().unwrap();
    exec(node, again, "main", "touch /tmp/go");
    exec(node, next, "first", "touch /tmp/go");
    held_back.set(RegistryFault::None);
    let printed = |lines: usize| (0..lines).map(|n| format!("line {n}\n")).collect::<String>();
    wait_until("what is printed without the control plane", DEADLINE, || {
        let status = Agent::status(&node.host)?;
        ensure!(status["session"]["state"] != "connected", "there is no control plane: {status:#}");
        for (arn, count, wanted) in [(again, 400, "RUNNING"), (next, 300, "RUNNING"), (late, 300, "STOPPED")] {
            let name = format!("ls-{}-main", id(arn));
            let found = node.host.run("docker", &["-H", &node.docker(), "logs", &name])?;
            ensure!(found == printed(count), "{name} printed {} lines of {count}", found.lines().count());
            let tasks = status["tasks"].as_array();
            let of_task = tasks.into_iter().flatten().find(|task| task["id"] == id(arn));
            ensure!(of_task.is_some_and(|task| task["status"] == wanted), "{name}: {of_task:?}");
        }
        // The one that is over is kept, though stopped containers go after a second.
        Ok(status.to_string().contains("output is not all shipped"))
    })
    .unwrap();

    lab.restart_control().unwrap();
    lab.wait_connected(1, DEADLINE).unwrap();
    let complete = || {
        for (stream, count) in streams.iter().zip([400, 300, 300]) {
            assert_complete(&lab, stream, count);
        }
    };
    complete();
    assert_eq!(container(&stopped(&lab, late), "main")["exitCode"], 7);
    for arn in [again, next] {
        running(&lab, arn);
    }
    assert_eq!(restart_count(node, again).unwrap(), 3);
    for arn in [again, next] {
        stop(&lab, arn);
    }
    assert_no_leaks(&lab, &[]);
    complete();
}
