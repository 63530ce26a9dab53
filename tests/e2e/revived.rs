//! dockerd is stopped and started again where containers do not outlive it: what ran ends with it, and what has a
//! restart policy runs again when it is back.

use longshore_tests::lab::{Lab, LabConfig, host, wait_until};
use serde_json::{Value, json};

use super::awsvpc::{address, assert_clean, network, page};
use super::reboot::{SERVES, host_name, launch_twice};
use super::runs::{self, RUNS_ON, Runs, assert_told_once, noting};
use super::support::*;

/// A container that runs until it is told to end, and is restarted whatever its code.
fn restarted(script: &str) -> Value {
    let mut main = noting("main", script);
    let policy = json!({"enabled": true, "restartAttemptPeriod": 60});
    merge(&mut main, json!({"restartPolicy": policy, "dockerLabels": {"longshore.restart.backoff": "3-5"}}));
    main
}

/// Starts one task that notes its runs under `name`, once a host takes it.
fn begin(lab: &Lab, definition: &str, name: &str, more: &Value) -> String {
    let mut started = None;
    wait_until("a host that takes a task", DEADLINE, || {
        started = runs::start(lab, definition, &["main"], name, more.clone())?;
        Ok(started.is_some())
    })
    .unwrap();
    started.unwrap()
}

#[test]
fn a_restart_of_dockerd_without_live_restore_brings_back_what_restarts_and_ends_the_rest() {
    let agent = "cleanup_wait = \"1s\"\nstop_timeout = \"2s\"\n".to_owned();
    let lab = networked(LabConfig { live_restore: false, agent, ..LabConfig::default() });
    let node = lab.node(0);
    let runs = Runs::new(&lab);
    let volumes = json!([runs.volume()]);
    let wired_with = json!({"networkMode": "awsvpc", "volumes": volumes});
    let mut main = noting("main", RUNS_ON);
    merge(&mut main, json!({"portMappings": [{"containerPort": 80}]}));
    let plain = register(&lab, "revived-plain", json!([main]), json!({"volumes": volumes}));
    let back = register(&lab, "revived-back", json!([restarted(RUNS_ON)]), json!({"volumes": volumes}));
    let serving = json!([restarted(&[SERVES, RUNS_ON].concat())]);
    let wired = register(&lab, "revived-wired", serving, wired_with.clone());
    let lone = register(&lab, "revived-lone", json!([noting("main", RUNS_ON)]), wired_with);

    let (bridged, interface) = (json!({}), network(&lab, &[]));
    let plain = begin(&lab, &plain, "plain", &bridged);
    let back = begin(&lab, &back, "back", &bridged);
    let wired = begin(&lab, &wired, "wired", &interface);
    let alone = begin(&lab, &lone, "lone", &interface);
    let live = [&plain, &back, &wired, &alone].map(Clone::clone);
    wait_tasks(&lab, &live, "RUNNING", DEADLINE);
    live.iter().for_each(|arn| wait_ready(node, arn, "main"));
    let container_of = |arn: &str| inspect(node, arn, "main")["Id"].clone();
    let kept = [back, wired.clone()];
    let same = kept.each_ref().map(|arn| container_of(arn));
    let at = address(&task(&lab, &wired));
    let says = host_name(&at);
    assert_eq!(page(node, &alone, "main", &at), says);

    node.engine.terminate().unwrap();
    node.engine.launch(&node.host).unwrap();
    node.engine.wait_ready(&node.host).unwrap();
    wait_until("what its policy restarts, once", DEADLINE, || {
        for arn in &kept {
            let runs_again = node.engine.inspect(&format!("ls-{}-main", id(arn)))?["State"]["Running"] == true;
            let count = restart_count(node, arn)?;
            anyhow::ensure!(runs_again && count == 1, "{arn}: running {runs_again}, {count} restarts");
        }
        Ok(true)
    })
    .unwrap();
    kept.iter().for_each(|arn| _ = running(&lab, arn));
    let ready_twice = |arn: &String| output(node, arn, "main").matches("ready").count() == 2;
    wait_until("containers that are ready again", DEADLINE, || Ok(kept.iter().all(ready_twice))).unwrap();
    assert_eq!(kept.each_ref().map(|arn| container_of(arn)), same, "they are the same containers");
    assert_eq!(address(&task(&lab, &wired)), at, "its address is");
    let mut told = Vec::new();
    for arn in [&plain, &alone] {
        let ended = stopped(&lab, arn);
        assert!(ended["stoppedReason"].is_string() && ended["stopCode"].is_string(), "{ended:#}");
        println!("{} {}", ended["stopCode"], ended["stoppedReason"]);
        told.push(ended);
    }
    assert_exactly(&lab, &kept);
    assert_no_leaks(&lab, &kept);
    for (which, times) in [("plain", 1), ("back", 2), ("wired", 2), ("lone", 1)] {
        assert_eq!(runs.of(which, "main"), times, "runs of {which}");
    }

    // The sandbox is wired as before: a task that comes now reaches what came back.
    let next = begin(&lab, &lone, "next", &interface);
    running(&lab, &next);
    wait_ready(node, &next, "main");
    wait_until("the page of the task that came back", DEADLINE, || Ok(page(node, &next, "main", &at) == says)).unwrap();
    let came_back = kept.each_ref().map(|arn| restart_count(node, arn).unwrap());
    assert_eq!(came_back, [1, 1], "each was restarted once");
    // Again while the agent is away, and the next one dies when it has just started the sandbox: what is kept of the
    // namespace that it had looks as it did.
    node.agent.kill().unwrap();
    node.engine.terminate().unwrap();
    node.engine.launch(&node.host).unwrap();
    node.engine.wait_ready(&node.host).unwrap();
    launch_twice(node);
    wait_until("what its policy restarts, once more", DEADLINE, || {
        let runs_again = |arn: &String| inspect(node, arn, "main")["State"]["Running"] == true;
        let counts = kept.iter().map(|arn| restart_count(node, arn)).collect::<anyhow::Result<Vec<_>>>()?;
        anyhow::ensure!(kept.iter().all(runs_again) && counts == [2, 2], "{counts:?}");
        Ok(true)
    })
    .unwrap();
    lab.wait_connected(1, DEADLINE).unwrap();
    told.push(stopped(&lab, &next));
    let last = begin(&lab, &lone, "last", &interface);
    running(&lab, &last);
    wait_ready(node, &last, "main");
    wait_until("the page once more", DEADLINE, || Ok(page(node, &last, "main", &at) == says)).unwrap();
    for (which, times) in [("plain", 1), ("back", 3), ("wired", 3), ("lone", 1), ("next", 1)] {
        assert_eq!(runs.of(which, "main"), times, "runs of {which}");
    }
    for arn in kept.iter().chain([&last]) {
        lab.ecs("stop_task", json!({"task": arn})).unwrap();
        assert_eq!(container(&stopped(&lab, arn), "main")["exitCode"], 0);
    }
    assert_nothing_left(&lab);
    assert_clean(node);
    told.iter().for_each(|task| assert_told_once(&lab, task));
}

#[test]
fn a_check_of_the_agent_warns_of_a_dockerd_that_takes_containers_with_it() {
    let program = host::program("longshore-agent").unwrap();
    for live_restore in [true, false] {
        let lab = Lab::new(LabConfig { product: false, live_restore, ..LabConfig::default() }).unwrap();
        let node = lab.node(0);
        let docker = node.docker();
        let program = program.to_str().unwrap();
        let check = "exec 2>&1; exec \"$0\" --docker \"$1\" check";
        let said = node.host.run("sh", &["-c", check, program, &docker]).unwrap();
        assert!(said.contains("the configuration is usable"), "{said}");
        assert_eq!(said.contains("warning: Docker's live-restore is off"), !live_restore, "{said}");
    }
}
