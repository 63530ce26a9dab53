//! The control plane is away while tasks crash, finish and restart: everything is told once it is back, once, and in
//! the order in which it happened.
//!
//! Fifteen seconds in the ordinary run, `LONGSHORE_SOAK_OUTAGE` in `make soak`.

use std::time::{Duration, Instant};

use longshore_tests::lab::{Agent, wait_until};
use serde_json::{Value, json};

use super::campaign::number;
use super::clock::assert_in_order;
use super::runs::{self, RUNS_ON, Runs, assert_told_once, noting};
use super::support::*;

#[test]
fn what_happens_while_the_control_plane_is_away_is_told_once_and_in_order() {
    let lasts = Duration::from_secs(number("LONGSHORE_SOAK_OUTAGE").unwrap_or(15));
    let lab = lab(1);
    let node = lab.node(0);
    let runs = Runs::new(&lab);
    let volumes = json!({"volumes": [runs.volume(), {"name": "own"}]});
    let over = |secs: u32, code: u8| noting("main", &format!("sleep {secs}; exit {code}"));
    let mut looping = noting("main", "sleep 1; exit 3");
    let policy = json!({"enabled": true, "restartAttemptPeriod": 60});
    merge(&mut looping, json!({"restartPolicy": policy, "dockerLabels": {"longshore.restart.backoff": "1-2"}}));
    // One whose containers end one after the other: the essential one says how it ended.
    let mut after = noting("after", "sleep 1; exit 4");
    merge(&mut after, json!({"essential": false, "dependsOn": [{"containerName": "main", "condition": "START"}]}));
    let definitions = [
        ("finishes", json!([over(6, 0)])),
        ("crashes", json!([noting("main", "sleep 7; sh -c 'kill -SEGV $$'; exit $?")])),
        ("fails", json!([over(8, 9), after])),
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
    wait_until("the end of the outage", lasts + DEADLINE, || {
        let states = Agent::status(&node.host)?;
        let all = states["tasks"].as_array().cloned().unwrap_or_default();
        let ended = all.iter().filter(|task| task["status"] == "STOPPED").count();
        anyhow::ensure!(ended == 3, "{ended} have ended: {states:#}");
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
    for task in &told {
        assert_told_once(&lab, task);
    }
}

/// A task that ran all the time.
fn assert_exactly_running(lab: &longshore_tests::lab::Lab, arn: &str) {
    let now = running(lab, arn);
    assert_eq!(container(&now, "main")["lastStatus"], "RUNNING", "{now:#}");
}
