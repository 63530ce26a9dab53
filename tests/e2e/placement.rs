//! Where tasks are placed on real hosts, and what is said about those that are not.

use std::collections::BTreeMap;

use longshore_tests::lab::{Lab, wait_until};
use serde_json::{Value, json};

use super::support::*;

fn hosts_of(lab: &Lab, arns: &[String]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for task in describe(lab, arns).unwrap() {
        *counts.entry(task["containerInstanceArn"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

fn stop_all(lab: &Lab, arns: &[String]) {
    for arn in arns {
        lab.ecs("stop_task", json!({"task": arn})).unwrap();
    }
    wait_tasks(lab, arns, "STOPPED", DEADLINE);
}

fn reasons(answer: &Value) -> Vec<String> {
    strings(&answer["failures"], "reason")
}

#[test]
fn strategies_constraints_and_failures_are_those_of_ecs() {
    let lab = lab(3);
    let small = register(&lab, "small", json!([sleeper()]), json!({}));

    let spread = run(&lab, &small, 6, json!({"placementStrategy": [{"type": "spread", "field": "instanceId"}]}));
    assert_eq!(hosts_of(&lab, &spread).into_values().collect::<Vec<_>>(), [2, 2, 2]);
    stop_all(&lab, &spread);
    let packed = run(&lab, &small, 6, json!({"placementStrategy": [{"type": "binpack", "field": "memory"}]}));
    assert_eq!(hosts_of(&lab, &packed).into_values().collect::<Vec<_>>(), [6]);
    stop_all(&lab, &packed);

    let distinct = json!([{"type": "distinctInstance"}]);
    let args = json!({"taskDefinition": small, "count": 4, "placementConstraints": distinct});
    let answer = lab.ecs("run_task", args).unwrap();
    let placed = strings(&answer["tasks"], "taskArn");
    assert_eq!((placed.len(), reasons(&answer).is_empty()), (3, false), "{answer}");
    assert_eq!(hosts_of(&lab, &placed).len(), 3);
    stop_all(&lab, &placed);

    // Attributes, the query language, and lists by it.
    let instances = lab.instances().unwrap();
    let chosen = instances[1]["containerInstanceArn"].as_str().unwrap();
    let attribute = json!({"name": "rack", "value": "r7", "targetType": "container-instance", "targetId": chosen});
    lab.ecs("put_attributes", json!({"attributes": [attribute]})).unwrap();
    let constraint = |text: &str| json!({"placementConstraints": [{"type": "memberOf", "expression": text}]});
    let on_rack = run(&lab, &small, 3, constraint("attribute:rack == r7"));
    assert_eq!(hosts_of(&lab, &on_rack), BTreeMap::from([(chosen.to_owned(), 3)]));
    let mut args = json!({"taskDefinition": small});
    merge(&mut args, constraint("attribute:rack in [r1, r2]"));
    let answer = lab.ecs("run_task", args).unwrap();
    assert_eq!((&answer["tasks"], reasons(&answer).len()), (&json!([]), 3), "{answer}");
    assert!(reasons(&answer).iter().all(|r| r.contains("placement constraint unsatisfied")), "{answer}");
    let found = lab.ecs("list_container_instances", json!({"filter": "attribute:rack exists"})).unwrap();
    assert_eq!(found["containerInstanceArns"], json!([chosen]));
    wait_tasks(&lab, &on_rack, "RUNNING", DEADLINE);
    let busy =
        lab.ecs("list_container_instances", json!({"filter": "runningTasksCount >= 3 or task:group == nothing"}));
    assert_eq!(busy.unwrap()["containerInstanceArns"].as_array().map(Vec::len), Some(1));
    let error = lab.ecs_error("list_container_instances", json!({"filter": "attribute:rack ==="})).unwrap();
    assert_eq!(error.code, "InvalidParameterException", "{error}");
    let described = lab.ecs("list_attributes", json!({"targetType": "container-instance", "attributeName": "rack"}));
    assert_eq!(described.unwrap()["attributes"].as_array().map(Vec::len), Some(1));
    stop_all(&lab, &on_rack);

    // What does not fit anywhere says why, host by host.
    let too_much = |members: Value| -> Vec<String> {
        let mut main = sleeper();
        merge(&mut main, members);
        let definition = register(&lab, "toomuch", json!([main]), json!({}));
        let answer = lab.ecs("run_task", json!({"taskDefinition": definition})).unwrap();
        assert_eq!(answer["tasks"], json!([]), "{answer}");
        reasons(&answer)
    };
    assert_eq!(too_much(json!({"memory": 4_000_000})), ["RESOURCE:MEMORY"; 3]);
    assert_eq!(too_much(json!({"cpu": 190_000})), ["RESOURCE:CPU"; 3]);
    let gpu = json!({"resourceRequirements": [{"type": "GPU", "value": "1"}]});
    assert_eq!(too_much(gpu), ["RESOURCE:GPU"; 3]);

    // A fixed port is free again when its task has stopped, and not before.
    let mut fixed = sleeper();
    merge(&mut fixed, json!({"portMappings": [{"containerPort": 80, "hostPort": 9000}]}));
    let definition = register(&lab, "fixed", json!([fixed]), json!({}));
    let three = run(&lab, &definition, 3, json!({}));
    assert_eq!(hosts_of(&lab, &three).len(), 3);
    let fourth = lab.ecs("run_task", json!({"taskDefinition": definition})).unwrap();
    assert_eq!(fourth["tasks"], json!([]), "{fourth}");
    assert_eq!(reasons(&fourth), ["RESOURCE:PORTS"; 3], "{fourth}");
    wait_tasks(&lab, &three, "RUNNING", DEADLINE);
    stop_all(&lab, &three[..1]);
    let again = run_one(&lab, &definition, json!({}));
    running(&lab, &again);

    // StartTask goes where it is told; a repeated request with one token is one request.
    let answer = lab
        .ecs("start_task", json!({"taskDefinition": small, "containerInstances": [chosen], "startedBy": "me"}))
        .unwrap();
    assert_eq!(answer["tasks"][0]["containerInstanceArn"], chosen);
    let args = json!({"taskDefinition": small, "count": 2, "clientToken": "once-and-only-once"});
    let first = lab.ecs("run_task", args.clone()).unwrap();
    let second = lab.ecs("run_task", args).unwrap();
    assert_eq!(strings(&first["tasks"], "taskArn"), strings(&second["tasks"], "taskArn"));
    let other = json!({"taskDefinition": small, "count": 3, "clientToken": "once-and-only-once"});
    assert_eq!(lab.ecs_error("run_task", other).unwrap().code, "ConflictException");
    let family = lab.ecs("list_tasks", json!({"family": "small"})).unwrap();
    assert_eq!(family["taskArns"].as_array().map(Vec::len), Some(3));
}

#[test]
fn drained_and_silent_hosts_get_nothing_new() {
    let lab = lab(2);
    let small = register(&lab, "small", json!([sleeper()]), json!({}));
    let instances = strings(&json!(lab.instances().unwrap()), "containerInstanceArn");
    let first = node_index(&lab, &instances[0]);
    let running_there = lab
        .ecs("start_task", json!({"taskDefinition": small, "containerInstances": [instances[0]]}))
        .unwrap()["tasks"][0]["taskArn"]
        .as_str()
        .unwrap()
        .to_owned();
    running(&lab, &running_there);
    let drain = |status: &str| {
        lab.ecs("update_container_instances_state", json!({"containerInstances": [instances[0]], "status": status}))
            .unwrap()
    };
    assert_eq!(drain("DRAINING")["containerInstances"][0]["status"], "DRAINING");
    let elsewhere = run(&lab, &small, 4, json!({}));
    assert_eq!(hosts_of(&lab, &elsewhere), BTreeMap::from([(instances[1].clone(), 4)]));
    assert_eq!(task(&lab, &running_there)["lastStatus"], "RUNNING", "standalone tasks stay on a draining host");
    assert_eq!(drain("ACTIVE")["containerInstances"][0]["status"], "ACTIVE");

    // Cut off: disconnected after the lease, and nothing is placed there.
    lab.cut(first).unwrap();
    wait_until("a disconnected host", DEADLINE, || Ok(lab.instances()?.iter().any(|i| i["agentConnected"] == false)))
        .unwrap();
    let more = run(&lab, &small, 4, json!({}));
    assert_eq!(hosts_of(&lab, &more), BTreeMap::from([(instances[1].clone(), 4)]));
    let there = lab.ecs("start_task", json!({"taskDefinition": small, "containerInstances": [instances[0]]})).unwrap();
    assert_eq!(reasons(&there), ["AGENT"], "{there}");
    let silent = task(&lab, &running_there);
    assert_eq!((&silent["lastStatus"], &silent["connectivity"]), (&json!("RUNNING"), &json!("DISCONNECTED")));
    lab.mend(first).unwrap();
    lab.wait_connected(2, DEADLINE).unwrap();
    wait_until("a connected task", DEADLINE, || Ok(task(&lab, &running_there)["connectivity"] == "CONNECTED")).unwrap();
}
