//! Stops that dockerd refuses.

use std::time::{Duration, Instant};

use anyhow::ensure;
use longshore_tests::lab::proxy::Proxy;
use longshore_tests::lab::{Agent, host, wait_until};
use serde_json::json;

use super::support::*;

/// ECS's agent gives up after five tries and says that the container stopped, though it may run.
#[test]
fn a_stop_is_tried_until_the_container_has_stopped_and_it_is_not_said_to_have_before() {
    let lab = lab(1);
    let node = lab.node(0);
    let proxy = Proxy::start(node.host.dir().join("refusing.sock"), node.engine.socket(), 0).unwrap();
    node.agent.kill().unwrap();
    let agent = host::program("longshore-agent").unwrap();
    node.agent.launch_as(&node.host, &proxy.address(), &agent, &[]).unwrap();
    lab.wait_connected(1, DEADLINE).unwrap();
    let main = shell("main", "trap 'exit 7' TERM; while true; do sleep 0.1; done");
    let definition = register(&lab, "stops", json!([main]), json!({}));
    let arns = run(&lab, &definition, 2, json!({}));
    wait_tasks(&lab, &arns, "RUNNING", DEADLINE);

    // Twice it is asked to stop; then it is killed, which works.
    proxy.set_refused(&["/stop"]);
    lab.ecs("stop_task", json!({"task": arns[0]})).unwrap();
    let ended = stopped(&lab, &arns[0]);
    assert_eq!((&container(&ended, "main")["exitCode"], proxy.refused()), (&json!(137), 2), "{ended:#}");

    // Nothing works, more often than ECS's agent tries it.
    proxy.set_refused(&["/stop", "/kill"]);
    let began = Instant::now();
    lab.ecs("stop_task", json!({"task": arns[1]})).unwrap();
    wait_until("six tries", DEADLINE, || {
        let now = task(&lab, &arns[1]);
        assert_ne!(now["lastStatus"], "STOPPED", "it runs: {now:#}");
        std::thread::sleep(Duration::from_millis(100));
        Ok(proxy.refused() >= 6)
    })
    .unwrap();
    // Half a second and the double each time, less an eighth at most.
    assert!(began.elapsed() > Duration::from_millis(15_500 / 8 * 7), "six tries in {:?}", began.elapsed());
    let status = Agent::status(&node.host).unwrap().to_string();
    assert!(status.contains("the next try of its stop: ") && status.contains("injected"), "{status}");
    wait_until("the next try, in the API", DEADLINE, || {
        let now = task(&lab, &arns[1]);
        assert_ne!(now["lastStatus"], "STOPPED", "it runs: {now:#}");
        let reason = container(&now, "main")["reason"].as_str().unwrap_or_default().to_owned();
        let comes = reason.starts_with("Waiting for container `main`: the next try of its stop: ");
        ensure!(comes && reason.contains("injected"), "{reason:?}");
        Ok(true)
    })
    .unwrap();
    assert_eq!(inspect(node, &arns[1], "main")["State"]["Running"], true);
    proxy.set_refused(&[]);
    let ended = stopped(&lab, &arns[1]);
    assert_eq!(container(&ended, "main")["exitCode"], 137, "{ended:#}");
    assert_no_leaks(&lab, &[]);
}
