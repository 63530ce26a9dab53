//! Services through boto3 on real hosts: deployments, a rollback, a drain, a host that is cut off, a daemon.

mod deploys;

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Result, ensure};
use longshore_tests::lab::{Lab, LabConfig, invariant, wait_until};
use serde_json::{Value, json};

use super::support::*;

/// Hosts whose agents clear up at once, with a control plane for which a task is healthy after a second.
fn services_lab(hosts: u8) -> Lab {
    let agent = "cleanup_wait = \"1s\"\nstop_timeout = \"2s\"\n".to_owned();
    let control = "service_healthy_after_secs = 1\n".to_owned();
    networked(LabConfig { hosts, agent, control, ..LabConfig::default() })
}

fn service(lab: &Lab, name: &str) -> Result<Value> {
    Ok(lab.ecs("describe_services", json!({"services": [name]}))?["services"][0].clone())
}

fn stable(lab: &Lab, name: &str) {
    lab.wait_ecs("services_stable", json!({"services": [name]})).unwrap();
}

/// The service's tasks that are to run, as DescribeTasks shows them.
fn tasks(lab: &Lab, name: &str) -> Result<Vec<Value>> {
    let arns = lab.ecs("list_tasks", json!({"serviceName": name}))?["taskArns"].clone();
    if arns == json!([]) {
        return Ok(Vec::new());
    }
    let answer = lab.ecs("describe_tasks", json!({"tasks": arns}))?;
    Ok(answer["tasks"].as_array().cloned().unwrap_or_default())
}

fn hosts_of(tasks: &[Value]) -> BTreeSet<String> {
    tasks.iter().map(|task| task["containerInstanceArn"].as_str().unwrap().to_owned()).collect()
}

fn messages(service: &Value) -> Vec<String> {
    let events = service["events"].as_array().unwrap();
    events.iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_service_is_rolled_forward_and_back_drained_and_outlives_a_host() {
    let lab = services_lab(3);
    let one = register(&lab, "web", json!([sleeper()]), json!({}));
    let breaker = json!({"deploymentCircuitBreaker": {"enable": true, "rollback": true}});
    let request = json!({"serviceName": "web", "taskDefinition": one, "desiredCount": 6,
        "deploymentConfiguration": breaker});
    lab.ecs("create_service", request).unwrap();
    stable(&lab, "web");
    let running = tasks(&lab, "web").unwrap();
    assert_eq!((running.len(), hosts_of(&running).len()), (6, 3), "two on each of three hosts");

    // Forward: never fewer than six, and all of the new revision in the end.
    let two = register(&lab, "web", json!([sleeper()]), json!({}));
    lab.ecs("update_service", json!({"service": "web", "taskDefinition": two})).unwrap();
    wait_until("the update is through", DEADLINE, || {
        let shown = service(&lab, "web")?;
        invariant(shown["runningCount"].as_i64() >= Some(6), || format!("fewer than six run: {shown}"))?;
        Ok(shown["deployments"].as_array().is_some_and(|all| all.len() == 1)
            && shown["deployments"][0]["rolloutState"] == "COMPLETED")
    })
    .unwrap();
    assert!(tasks(&lab, "web").unwrap().iter().all(|task| task["taskDefinitionArn"] == two.as_str()));

    // Back: the third revision has an image that there is not. All six of its tasks try to pull it at once, for a
    // quarter of a minute, and the breaker opens with the third that gives up.
    let mut broken = sleeper();
    broken["image"] = json!("127.0.0.1:1/none:1");
    let three = register(&lab, "web", json!([broken]), json!({}));
    lab.ecs("update_service", json!({"service": "web", "taskDefinition": three})).unwrap();
    wait_until("the breaker brings the second revision back", DEADLINE, || {
        let shown = service(&lab, "web")?;
        invariant(shown["runningCount"].as_i64() >= Some(6), || format!("fewer than six run: {shown}"))?;
        let deployments = shown["deployments"].as_array().cloned().unwrap_or_default();
        Ok(deployments.len() == 1
            && deployments[0]["taskDefinition"] == two.as_str()
            && deployments[0]["rolloutState"] == "COMPLETED"
            && shown["runningCount"] == 6)
    })
    .unwrap();
    let stopped = lab.ecs("list_tasks", json!({"serviceName": "web", "desiredStatus": "STOPPED"})).unwrap();
    let stopped = lab.ecs("describe_tasks", json!({"tasks": stopped["taskArns"]})).unwrap();
    let reasons = strings(&stopped["tasks"], "stoppedReason");
    let failed = reasons.iter().filter(|reason| reason.contains("CannotPullContainerError")).count();
    assert!(failed >= 3, "{reasons:#?}");

    // Drained: the first host's tasks go elsewhere before they end.
    let first = lab.instances().unwrap()[0]["containerInstanceArn"].as_str().unwrap().to_owned();
    let drain = |status: &str| json!({"containerInstances": [first], "status": status});
    lab.ecs("update_container_instances_state", drain("DRAINING")).unwrap();
    wait_until("the drained host has no tasks", DEADLINE, || {
        let shown = service(&lab, "web")?;
        invariant(shown["runningCount"].as_i64() >= Some(6), || format!("fewer than six run: {shown}"))?;
        Ok(!hosts_of(&tasks(&lab, "web")?).contains(&first))
    })
    .unwrap();
    lab.ecs("update_container_instances_state", drain("ACTIVE")).unwrap();
    stable(&lab, "web");

    // Cut off: what the host had is replaced on others, and is not there twice when the host returns.
    let victim = hosts_of(&tasks(&lab, "web").unwrap()).into_iter().next().unwrap();
    let index = node_index(&lab, &victim);
    let began = Instant::now();
    lab.cut(index).unwrap();
    wait_until("others have its tasks", DEADLINE, || {
        let running = tasks(&lab, "web")?;
        Ok(running.iter().filter(|task| task["lastStatus"] == "RUNNING").count() == 6
            && !hosts_of(&running).contains(&victim))
    })
    .unwrap();
    println!("from the cut until all six run elsewhere: {:?}", began.elapsed());
    lab.mend(index).unwrap();
    wait_until("the host has ended what was replaced", DEADLINE, || {
        Ok(lab.node(index).task_containers()?.iter().filter(|c| c.state == "running").count() == 0)
    })
    .unwrap();

    // Deleted.
    lab.ecs("update_service", json!({"service": "web", "desiredCount": 0})).unwrap();
    lab.ecs("delete_service", json!({"service": "web"})).unwrap();
    lab.wait_ecs("services_inactive", json!({"services": ["web"]})).unwrap();
    let said = messages(&service(&lab, "web").unwrap());
    assert!(said.iter().any(|text| text == "(service web) has reached a steady state."), "{said:#?}");
    wait_until("nothing is left", DEADLINE, || {
        for node in lab.nodes() {
            let left = node.task_containers()?;
            ensure!(left.is_empty(), "{left:?}");
        }
        Ok(true)
    })
    .unwrap();
}
