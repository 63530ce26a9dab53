//! The stream of events is silent or is cut again and again: listings find what it does not tell.

use std::time::{Duration, Instant};

use anyhow::Result;
use longshore_tests::lab::proxy::{Events, Proxy};
use longshore_tests::lab::{host, wait_for, wait_until};
use serde_json::{Value, json};

use super::awsvpc::{detail, network};
use super::fields::{docker, exec, stop};
use super::runs::{self, RUNS_ON, Runs, ends, noting};
use super::support::*;

/// Between two listings when no event comes, and what a listing and the rest may take.
const BOUND: Duration = Duration::from_secs(15 + 10);

#[test]
fn what_no_event_tells_of_is_found_and_ends_are_said_once() {
    let lab = lab(1);
    let node = lab.node(0);
    let runs = Runs::new(&lab);
    runs::watch(&lab);
    let more = json!({"memory": "24", "volumes": [runs.volume()]});
    let definition = register(&lab, "events", json!([noting("main", &ends(600, 5))]), more);
    // One that waits for the health of another.
    let check = json!({"command": ["CMD", "test", "-e", "/tmp/ok"], "interval": 5, "retries": 1});
    let mut db = shell("db", RUNS_ON);
    merge(&mut db, json!({"healthCheck": check}));
    let mut main = noting("main", RUNS_ON);
    merge(&mut main, json!({"dependsOn": [{"containerName": "db", "condition": "HEALTHY"}]}));
    let more = json!({"memory": "40", "volumes": [runs.volume()]});
    let waiting = register(&lab, "events-health", json!([db, main]), more);
    let more = json!({"memory": "24", "volumes": [runs.volume()], "networkMode": "awsvpc"});
    let wired = register(&lab, "events-wired", json!([noting("main", RUNS_ON)]), more);
    let proxy = Proxy::start(node.host.dir().join("events.sock"), node.engine.socket(), 0).unwrap();
    node.agent.kill().unwrap();
    let agent = host::program("longshore-agent").unwrap();
    node.agent.launch_as(&node.host, &proxy.address(), &agent, &[]).unwrap();
    lab.wait_connected(1, DEADLINE).unwrap();
    wait_until("the stream of events", DEADLINE, || Ok(proxy.streams_of_events() > 0)).unwrap();
    let mut told: Vec<Value> = Vec::new();
    for events in [Events::Silent, Events::Cut(Duration::from_millis(300))] {
        proxy.set_events(events);
        let (began, before) = (Instant::now(), proxy.streams_of_events());
        let round = told.len();
        let start = |definition: &str, name: &str| {
            runs::start(&lab, definition, &["main"], name, json!({})).unwrap().expect("a place")
        };
        let names: Vec<String> = (0..4).map(|n| format!("{round}-{n}")).collect();
        let arns: Vec<String> = names.iter().map(|name| start(&definition, name)).collect();
        let waiter = format!("{round}-waits");
        let waits = start(&waiting, &waiter);
        // The agent that has just begun may not have said yet that it gives tasks interfaces.
        let loser = format!("{round}-loses");
        let loses = wait_for("a place for a task with an interface", DEADLINE, || {
            runs::start(&lab, &wired, &["main"], &loser, network(&lab, &[]))
        })
        .unwrap();
        wait_tasks(&lab, &arns, "RUNNING", DEADLINE);
        let eni = detail(&running(&lab, &loses), "networkInterfaceId");
        let db = format!("ls-{}-db", id(&waits));
        let state = || -> Result<Value> { Ok(node.engine.inspect(&db)?["State"].clone()) };
        wait_until("a container that can be healthy", DEADLINE, || Ok(state()?["Running"] == true)).unwrap();
        assert_eq!((&task(&lab, &waits)["lastStatus"], runs.of(&waiter, "main")), (&json!("PENDING"), 0));
        exec(node, &waits, "db", "touch /tmp/ok");
        wait_until("Docker's word", DEADLINE, || Ok(state()?["Health"]["Status"] == "healthy")).unwrap();
        // Somebody removes one of them and the interface of another task, and the others end by themselves.
        let name = |arn: &String| format!("ls-{}-main", id(arn));
        let (removed, others) = arns.split_last().unwrap();
        docker(node, &["rm", "-f", &name(removed)]);
        for arn in others {
            docker(node, &["exec", &name(arn), "touch", "/tmp/end"]);
        }
        docker(node, &["rm", "-f", &format!("ls-{eni}")]);
        let ended = Instant::now();
        let reported = wait_tasks(&lab, &arns, "STOPPED", BOUND);
        wait_tasks(&lab, std::slice::from_ref(&waits), "RUNNING", BOUND.saturating_sub(ended.elapsed()));
        let lost = &wait_tasks(&lab, std::slice::from_ref(&loses), "STOPPED", BOUND.saturating_sub(ended.elapsed()))[0];
        println!("{events:?}: found after {:.1?}", ended.elapsed());
        let (gone, others) = reported.split_last().unwrap();
        for task in others {
            assert_eq!(container(task, "main")["exitCode"], 5, "{events:?}: {task:#}");
        }
        // It may be looked at between its end and its removal.
        let main = container(gone, "main");
        let why = main["reason"].as_str().unwrap_or_default();
        assert!(main["exitCode"] == 137 || why.starts_with("ContainerVanishedError: "), "{events:?}: {gone:#}");
        let why = lost["stoppedReason"].as_str().unwrap_or_default();
        assert!(why.contains("NetworkInterfaceLostError"), "{events:?}: {lost:#}");
        told.extend(reported);
        told.push(lost.clone());
        told.push(stop(&lab, &waits));
        for name in names.iter().chain([&waiter, &loser]) {
            assert_eq!(runs.of(name, "main"), 1, "{events:?}: runs of {name}");
        }
        assert_no_leaks(&lab, &[]);
        let streams = proxy.streams_of_events() - before;
        match events {
            // A stream that is there is not asked for again.
            Events::Pass | Events::Silent => assert!(streams <= 1, "{streams} streams"),
            Events::Cut(_) => {
                assert!(streams > 0, "the stream was not asked for again");
                // Not as fast as it is cut, either.
                let most = began.elapsed().as_secs() * 4 + 20;
                assert!(streams <= most, "{streams} streams in {:.1?}", began.elapsed());
            }
        }
    }
    proxy.set_events(Events::Pass);
    assert_nothing_left(&lab);
    runs::assert_ends_told_once(&lab, &told);
    runs::assert_agents_agree(node, &told, 1);
}
