//! Services over zones and host pools, on real hosts: where their tasks are, and where they come again.

use std::collections::BTreeMap;

use anyhow::Result;
use longshore_tests::lab::{Lab, LabConfig, wait_for, wait_until};
use serde_json::{Value, json};

use super::command::{longshore, ok};
use super::support::*;

/// How many tasks of a service run on each host.
fn on_hosts(lab: &Lab, service: &str) -> Result<BTreeMap<String, usize>> {
    let arns = lab.ecs("list_tasks", json!({"serviceName": service}))?["taskArns"].clone();
    let mut counts = BTreeMap::new();
    if arns != json!([]) {
        let tasks = lab.ecs("describe_tasks", json!({"tasks": arns}))?["tasks"].clone();
        let running = tasks.as_array().into_iter().flatten().filter(|task| task["lastStatus"] == "RUNNING");
        for task in running {
            *counts.entry(task["containerInstanceArn"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    Ok(counts)
}

/// Waits until the service's running tasks are on the hosts as `wanted` says, host by host.
fn wait_on(lab: &Lab, service: &str, hosts: &[String], wanted: &[usize]) {
    wait_until(&format!("{service} on {wanted:?}"), DEADLINE, || {
        let found = on_hosts(lab, service)?;
        let counts: Vec<usize> = hosts.iter().map(|host| found.get(host).copied().unwrap_or(0)).collect();
        anyhow::ensure!(
            counts == wanted && found.values().sum::<usize>() == wanted.iter().sum::<usize>(),
            "{counts:?}, {found:?}"
        );
        Ok(true)
    })
    .unwrap();
}

#[test]
fn services_are_spread_over_zones_and_pools_and_replaced_where_hosts_go() {
    let agent = "cleanup_wait = \"1s\"\nstop_timeout = \"2s\"\nzone = \"{zone}\"\n".to_owned();
    let control = "service_healthy_after_secs = 1\n".to_owned();
    let lab = networked(LabConfig { hosts: 3, agent, control, ..LabConfig::default() });
    // In the order of the nodes: z1, z2, z1.
    let instances = lab.instances().unwrap();
    let arn_of = |node: &longshore_tests::lab::Node| -> String {
        let own = instances.iter().find(|host| host["ec2InstanceId"] == node.host.name()).unwrap();
        own["containerInstanceArn"].as_str().unwrap().to_owned()
    };
    let hosts: Vec<String> = lab.nodes().iter().map(arn_of).collect();

    // Two pools: the first host, and the other two.
    let pool = |host: usize, name: &str| {
        json!({"name": "longshore.capacity-provider", "value": name, "targetType": "container-instance",
            "targetId": hosts[host]})
    };
    let attributes = json!([pool(0, "fast"), pool(1, "cheap"), pool(2, "cheap")]);
    lab.ecs("put_attributes", json!({"attributes": attributes})).unwrap();
    for name in ["fast", "cheap"] {
        let group = format!("arn:aws:autoscaling:lab:1:autoScalingGroup:x:autoScalingGroupName/{name}");
        lab.ecs(
            "create_capacity_provider",
            json!({"name": name, "autoScalingGroupProvider": {"autoScalingGroupArn": group}}),
        )
        .unwrap();
    }
    let put =
        json!({"cluster": "default", "capacityProviders": ["fast", "cheap"], "defaultCapacityProviderStrategy": []});
    lab.ecs("put_cluster_capacity_providers", put).unwrap();

    let definition = register(&lab, "small", json!([sleeper()]), json!({}));
    let create = |name: &str, desired: u32, more: Value| {
        let mut request = json!({"serviceName": name, "taskDefinition": definition, "desiredCount": desired});
        merge(&mut request, more);
        lab.ecs("create_service", request).unwrap()
    };
    // As many in each zone, whatever hosts it has.
    create("even", 4, json!({}));
    // One in `fast` before anything else; of the other four one in four there, and three in `cheap`.
    let strategy = json!([{"capacityProvider": "fast", "base": 1, "weight": 1},
        {"capacityProvider": "cheap", "base": 0, "weight": 3}]);
    create("shared", 5, json!({"capacityProviderStrategy": strategy}));
    let in_z2 = json!([{"type": "memberOf", "expression": "attribute:ecs.availability-zone == z2"}]);
    create("tied", 2, json!({"placementConstraints": in_z2}));
    wait_on(&lab, "even", &hosts, &[1, 2, 1]);
    wait_on(&lab, "tied", &hosts, &[0, 2, 0]);
    wait_until("the pools' shares", DEADLINE, || {
        let found = on_hosts(&lab, "shared")?;
        let fast = found.get(&hosts[0]).copied().unwrap_or(0);
        anyhow::ensure!(fast == 2 && found.values().sum::<usize>() == 5, "{found:?}");
        Ok(true)
    })
    .unwrap();
    // Tasks that end again and again: it says so, in the words of the event, wherever it is asked.
    let failing = register(&lab, "failing", json!([shell("main", "exit 1")]), json!({}));
    lab.ecs("create_service", json!({"serviceName": "bad", "taskDefinition": failing, "desiredCount": 1})).unwrap();
    let words = "(service bad) is unable to consistently start tasks successfully. For more information, see the \
                 Troubleshooting section of the Amazon ECS Developer Guide.";
    let starts = wait_for("it says that its tasks fail", DEADLINE, || {
        let shown = lab.ecs("describe_services", json!({"services": ["bad"]}))?["services"][0].clone();
        let said = strings(&shown["events"], "message");
        Ok(said.iter().any(|said| said == words).then_some(shown["deployments"][0]["failedTasks"].as_i64()))
    })
    .unwrap();
    assert!(starts.is_some_and(|failed| (2..=6).contains(&failed)), "it pauses: {starts:?} failed");
    let why = ok(&longshore(&lab, &["service", "why", "bad"]));
    assert!(why.contains(words), "{why}");
    lab.ecs("delete_service", json!({"service": "bad", "force": true})).unwrap();

    // A host that is deregistered by force: its tasks come again, in its zone and in its pool.
    let gone = lab.node(2).host.name().to_owned();
    ok(&longshore(&lab, &["host", "deregister", &gone, "--force"]));
    wait_on(&lab, "even", &hosts, &[2, 2, 0]);
    wait_on(&lab, "shared", &hosts, &[2, 3, 0]);
    wait_on(&lab, "tied", &hosts, &[0, 2, 0]);
    for name in ["even", "shared", "tied"] {
        ok(&longshore(&lab, &["service", "delete", name, "--force"]));
    }
    lab.wait_ecs("services_inactive", json!({"services": ["even", "shared", "tied", "bad"]})).unwrap();
}
