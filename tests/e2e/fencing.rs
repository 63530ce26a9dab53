//! Tasks that must not run twice, host pools, and why a service has not all of its tasks, on real hosts.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use longshore_tests::lab::{Lab, LabConfig, wait_until};
use serde_json::{Value, json};

use super::command::{longshore, ok};
use super::runs::{RUNS_ON, Runs, noting};
use super::support::*;

/// The control plane's own margin after the fence.
const MARGIN: Duration = Duration::from_secs(5);

fn service(lab: &Lab, name: &str) -> Result<Value> {
    Ok(lab.ecs("describe_services", json!({"services": [name]}))?["services"][0].clone())
}

/// Containers of tasks that run on each host, whatever the control plane knows.
fn running(lab: &Lab) -> Result<Vec<usize>> {
    let of = |index| -> Result<usize> {
        Ok(lab.node(index).task_containers()?.iter().filter(|c| c.state == "running").count())
    };
    (0..lab.nodes().len()).map(of).collect()
}

/// Waits until another host than `from` has the task, which never runs on both; how long it took.
fn moves(lab: &Lab, from: usize) -> (usize, Duration) {
    let began = Instant::now();
    let mut to = None;
    wait_until("another host runs it", DEADLINE, || {
        let running = running(lab)?;
        ensure!(running.iter().sum::<usize>() <= 1, "it runs twice: {running:?}");
        to = (0..running.len()).find(|index| *index != from && running[*index] == 1);
        Ok(to.is_some())
    })
    .unwrap();
    (to.expect("waited for"), began.elapsed())
}

#[test]
fn a_task_that_must_not_run_twice_is_gone_before_another_starts() {
    let agent = "cleanup_wait = \"1s\"\n".to_owned();
    let control = "service_healthy_after_secs = 1\nfence_grace_millis = 1000\n".to_owned();
    let lab = networked(LabConfig { hosts: 2, agent, control, ..LabConfig::default() });

    // A pool of the second host alone.
    let instances = lab.instances().unwrap();
    let pooled = instances[1]["containerInstanceArn"].as_str().unwrap();
    let attribute = json!({"name": "longshore.capacity-provider", "value": "rack",
        "targetType": "container-instance", "targetId": pooled});
    lab.ecs("put_attributes", json!({"attributes": [attribute]})).unwrap();
    let group =
        json!({"autoScalingGroupArn": "arn:aws:autoscaling:lab:1:autoScalingGroup:x:autoScalingGroupName/rack"});
    lab.ecs("create_capacity_provider", json!({"name": "rack", "autoScalingGroupProvider": group})).unwrap();
    let put = json!({"cluster": "default", "capacityProviders": ["rack"],
        "defaultCapacityProviderStrategy": [{"capacityProvider": "rack", "weight": 1, "base": 0}]});
    lab.ecs("put_cluster_capacity_providers", put).unwrap();
    // Its restart policy would bring it back after a boot, whether or not the control plane is there.
    let runs = Runs::new(&lab);
    let mut main = noting("main", RUNS_ON);
    let policy = json!({"enabled": true, "restartAttemptPeriod": 60});
    merge(&mut main, json!({"restartPolicy": policy, "dockerLabels": {"longshore.restart.backoff": "1-2"}}));
    let one = register(&lab, "one", json!([main]), json!({"volumes": [runs.volume()]}));
    let arns = run(&lab, &one, 3, json!({}));
    let tasks = describe(&lab, &arns).unwrap();
    assert!(tasks.iter().all(|task| task["containerInstanceArn"] == pooled && task["capacityProviderName"] == "rack"));
    let shown = lab.ecs("describe_container_instances", json!({"containerInstances": [pooled]})).unwrap();
    assert_eq!(shown["containerInstances"][0]["capacityProviderName"], "rack");
    for arn in &arns {
        lab.ecs("stop_task", json!({"task": arn})).unwrap();
    }
    wait_tasks(&lab, &arns, "STOPPED", DEADLINE);
    let put = json!({"cluster": "default", "capacityProviders": [], "defaultCapacityProviderStrategy": []});
    lab.ecs("put_cluster_capacity_providers", put).unwrap();
    lab.ecs("delete_capacity_provider", json!({"capacityProvider": "rack"})).unwrap();

    // Too large for any host: the event, the command and RunTask say the same.
    let mut large = sleeper();
    large["memory"] = json!(900_000);
    let large = register(&lab, "large", json!([large]), json!({}));
    lab.ecs("create_service", json!({"serviceName": "big", "taskDefinition": large, "desiredCount": 1})).unwrap();
    let mut said = String::new();
    wait_until("it says why", DEADLINE, || {
        let events = service(&lab, "big")?["events"].clone();
        let found = events.as_array().into_iter().flatten().filter_map(|event| event["message"].as_str());
        said = found.into_iter().find(|text| text.contains("unable to place")).unwrap_or_default().to_owned();
        Ok(!said.is_empty())
    })
    .unwrap();
    let why = ok(&longshore(&lab, &["why", "big"]));
    let answer = lab.ecs("run_task", json!({"taskDefinition": large})).unwrap();
    let details = strings(&answer["failures"], "detail");
    assert!(why.contains(&said) && details.len() == 2, "{why}\n{answer}");
    assert!(details.iter().all(|detail| why.contains(detail)), "{why}\n{details:?}");
    lab.ecs("delete_service", json!({"service": "big", "force": true})).unwrap();

    let tags = json!([{"key": "longshore:at-most-one", "value": "true"}]);
    let stops_first = json!({"minimumHealthyPercent": 0, "maximumPercent": 100});
    let request = json!({"serviceName": "web", "taskDefinition": one, "desiredCount": 1, "tags": tags,
        "deploymentConfiguration": stops_first});
    lab.ecs("create_service", request).unwrap();
    lab.wait_ecs("services_stable", json!({"services": ["web"]})).unwrap();
    let first = running(&lab).unwrap().iter().position(|count| *count == 1).unwrap();

    // Cut off, with an agent that starts anew meanwhile and knows for how long it was cut off before.
    lab.cut(first).unwrap();
    lab.node(first).agent.kill().unwrap();
    lab.node(first).launch_agent().unwrap();
    assert_eq!(running(&lab).unwrap()[first], 1, "it runs on for as long as the lease");
    let (second, took) = moves(&lab, first);
    println!("from the cut until another runs: {took:?}");
    assert!(took > MARGIN, "{took:?}");
    assert_eq!(running(&lab).unwrap()[first], 0);
    lab.mend(first).unwrap();
    lab.wait_connected(2, DEADLINE).unwrap();

    // And back, over a reboot of the host without the control plane.
    lab.wait_ecs("services_stable", json!({"services": ["web"]})).unwrap();
    let ran = runs.of("", "main");
    lab.cut(second).unwrap();
    lab.reboot(second).unwrap();
    lab.cut(second).unwrap();
    lab.node(second).launch_agent().unwrap();
    let (third, _) = moves(&lab, second);
    assert_eq!(third, first);
    // What was heard before the boot does not count, though a file of it is there: it ran on the other host alone.
    wait_until("its note of the run", DEADLINE, || Ok(runs.of("", "main") > ran)).unwrap();
    assert_eq!(runs.of("", "main"), ran + 1, "it ran again on the host that was booted");
    lab.mend(second).unwrap();
    lab.wait_connected(2, DEADLINE).unwrap();
    wait_until("the host that returned has nothing of it", DEADLINE, || {
        let running = running(&lab)?;
        ensure!(running.iter().sum::<usize>() <= 1, "it runs twice: {running:?}");
        Ok(running[second] == 0 && lab.node(second).task_containers()?.is_empty())
    })
    .unwrap();
    assert_eq!(service(&lab, "web").unwrap()["runningCount"], 1);
}
