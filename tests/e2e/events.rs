//! The stream of events is silent or is cut again and again: listings find what it does not tell.

use std::time::{Duration, Instant};

use longshore_tests::lab::proxy::{Events, Proxy};
use longshore_tests::lab::{host, wait_until};
use serde_json::{Value, json};

use super::runs::{self, Runs, ends, noting};
use super::support::*;

/// Between two listings when no event comes, and what a listing and the rest may take.
const BOUND: Duration = Duration::from_secs(15 + 10);

#[test]
fn an_end_that_no_event_tells_of_is_found_and_said_once() {
    let lab = lab(1);
    let node = lab.node(0);
    let runs = Runs::new(&lab);
    runs::watch(&lab);
    let more = json!({"memory": "24", "volumes": [runs.volume()]});
    let definition = register(&lab, "events", json!([noting("main", &ends(600, 5))]), more);
    let proxy = Proxy::start(node.host.dir().join("events.sock"), node.engine.socket(), 0).unwrap();
    node.agent.kill().unwrap();
    let agent = host::program("longshore-agent").unwrap();
    node.agent.launch_as(&node.host, &proxy.address(), &agent, &[]).unwrap();
    lab.wait_connected(1, DEADLINE).unwrap();
    wait_until("the stream of events", DEADLINE, || Ok(proxy.streams_of_events() > 0)).unwrap();
    let mut told: Vec<Value> = Vec::new();
    for events in [Events::Silent, Events::Cut(Duration::from_millis(300))] {
        proxy.set_events(events);
        let before = proxy.streams_of_events();
        let names: Vec<String> = (0..3).map(|n| format!("{}-{n}", told.len())).collect();
        let start =
            |name: &String| runs::start(&lab, &definition, &["main"], name, json!({})).unwrap().expect("a place");
        let arns: Vec<String> = names.iter().map(start).collect();
        wait_tasks(&lab, &arns, "RUNNING", DEADLINE);
        for arn in &arns {
            let name = format!("ls-{}-main", id(arn));
            node.host.run("docker", &["-H", &node.docker(), "exec", &name, "touch", "/tmp/end"]).unwrap();
        }
        let ended = Instant::now();
        let reported = wait_tasks(&lab, &arns, "STOPPED", BOUND);
        println!("{events:?}: found after {:.1?}", ended.elapsed());
        for task in &reported {
            assert_eq!(container(task, "main")["exitCode"], 5, "{events:?}: {task:#}");
        }
        for name in &names {
            assert_eq!(runs.of(name, "main"), 1, "{events:?}: runs of {name}");
        }
        assert_no_leaks(&lab, &[]);
        told.extend(reported);
        let streams = proxy.streams_of_events() - before;
        match events {
            // A stream that is there is not asked for again.
            Events::Pass | Events::Silent => assert!(streams <= 1, "{streams} streams"),
            Events::Cut(_) => {
                assert!(streams > 0, "the stream was not asked for again");
                // Not as fast as it is cut, either.
                let most = ended.elapsed().as_secs() * 4 + 20;
                assert!(streams <= most, "{streams} streams in {:.1?}", ended.elapsed());
            }
        }
    }
    proxy.set_events(Events::Pass);
    assert_nothing_left(&lab);
    runs::assert_ends_told_once(&lab, &told);
    runs::assert_agents_agree(node, &told, 1);
}
