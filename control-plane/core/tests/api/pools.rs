//! Capacity providers: pools of hosts, strategies, what is refused.

use crate::fleet::{Fleet, config, healthy, stable};
use crate::refusals::refusal;
use crate::world::{facts, task_id, until, with_attribute};
use longshore_ecs_api::Operation as Op;
use longshore_model::{HealthStatus, HostFacts, TaskStatus};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const POOL: &str = "longshore.capacity-provider";

fn pooled(pool: &str) -> HostFacts {
    with_attribute(facts(2048, 2048), POOL, Some(pool))
}

async fn provider(fleet: &Fleet, name: &str) -> Value {
    let request = json!({"name": name, "autoScalingGroupProvider": {"autoScalingGroupArn": name},
        "tags": [{"key": "rack", "value": "7"}]});
    fleet.world.ok(Op::CreateCapacityProvider, request).await["capacityProvider"].clone()
}

fn item(name: &str, weight: i32, base: i32) -> Value {
    json!({"capacityProvider": name, "weight": weight, "base": base})
}

/// A fleet with two hosts in each of two pools, and one in none.
async fn fleet() -> Fleet {
    let mut fleet = Fleet::with(1, config()).await;
    for pool in ["old", "new"] {
        provider(&fleet, pool).await;
        for _ in 0..2 {
            let host = fleet.world.host("default", pooled(pool)).await;
            fleet.agents.push(host);
        }
    }
    fleet.world.definition("one", json!({"cpu": 10})).await;
    let put = json!({"cluster": "default", "capacityProviders": ["old", "new"], "defaultCapacityProviderStrategy": []});
    fleet.world.ok(Op::PutClusterCapacityProviders, put).await;
    fleet
}

/// How many of the tasks each provider has.
fn by_provider(tasks: &Value) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for task in tasks.as_array().unwrap() {
        let name = task["capacityProviderName"].as_str().unwrap_or("-").to_owned();
        *counts.entry(name).or_default() += 1;
    }
    counts
}

fn counts(expected: &[(&str, usize)]) -> BTreeMap<String, usize> {
    expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[tokio::test]
async fn tasks_are_shared_out_by_base_and_weight() {
    let mut fleet = fleet().await;
    let run = |strategy: Value| json!({"taskDefinition": "one", "count": 10, "capacityProviderStrategy": strategy});
    for (strategy, expected) in [
        (json!([item("old", 1, 0), item("new", 4, 0)]), counts(&[("new", 8), ("old", 2)])),
        (json!([item("old", 1, 4), item("new", 1, 0)]), counts(&[("new", 3), ("old", 7)])),
        (json!([item("old", 0, 1), item("new", 1, 0)]), counts(&[("new", 9), ("old", 1)])),
        (json!([{"capacityProvider": "new"}]), counts(&[("new", 10)])),
    ] {
        let answer = fleet.world.ok(Op::RunTask, run(strategy.clone())).await;
        assert_eq!(answer["failures"], json!([]));
        assert_eq!(by_provider(&answer["tasks"]), expected, "{strategy}");
    }
    // Without one it is the whole cluster, and the cluster's default when it has one.
    let answer = fleet.world.ok(Op::RunTask, json!({"taskDefinition": "one", "count": 5})).await;
    assert_eq!(by_provider(&answer["tasks"]), counts(&[("-", 5)]));
    let put = json!({"cluster": "default", "capacityProviders": ["old", "new"],
        "defaultCapacityProviderStrategy": [item("old", 1, 0)]});
    let answer = fleet.world.ok(Op::PutClusterCapacityProviders, put).await;
    assert_eq!(answer["cluster"]["capacityProviders"], json!(["old", "new"]));
    assert_eq!(answer["cluster"]["defaultCapacityProviderStrategy"], json!([item("old", 1, 0)]));
    let answer = fleet.world.ok(Op::RunTask, json!({"taskDefinition": "one", "count": 3})).await;
    assert_eq!(by_provider(&answer["tasks"]), counts(&[("old", 3)]));
    let typed = json!({"taskDefinition": "one", "launchType": "EC2"});
    assert_eq!(by_provider(&fleet.world.ok(Op::RunTask, typed).await["tasks"]), counts(&[("-", 1)]));

    let list = fleet.world.ok(Op::ListContainerInstances, json!({})).await;
    let request = json!({"containerInstances": list["containerInstanceArns"]});
    let shown = fleet.world.ok(Op::DescribeContainerInstances, request).await;
    assert_eq!(by_provider(&shown["containerInstances"]), counts(&[("-", 1), ("new", 2), ("old", 2)]));

    // A pool that is full says so of its own hosts, and of the others that they are not in it.
    fleet.world.definition("big", json!({"memory": 1500})).await;
    let big = json!({"taskDefinition": "big", "count": 4, "capacityProviderStrategy": [item("new", 1, 0)]});
    let answer = fleet.world.ok(Op::RunTask, big).await;
    let failures = answer["failures"].as_array().unwrap();
    let of = |reason: &str| failures.iter().filter(|failure| failure["reason"] == reason).count();
    assert_eq!((of("ATTRIBUTE"), of("RESOURCE:MEMORY"), failures.len()), (3, 2, 5), "{answer}");
    assert!(answer.to_string().contains("needs attribute longshore.capacity-provider with value new"), "{answer}");

    // Of a service over its life, and across a restart.
    let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 3,
        "capacityProviderStrategy": [item("old", 1, 1), item("new", 1, 0)]});
    let made = fleet.world.ok(Op::CreateService, request).await["service"].clone();
    assert_eq!(made["capacityProviderStrategy"], json!([item("old", 1, 1), item("new", 1, 0)]));
    assert_eq!(made["launchType"], Value::Null);
    fleet.until("it is stable", healthy, stable(3)).await;
    fleet.world = fleet.world.reopen_with(config()).await;
    for agent in &mut fleet.agents {
        agent.move_to(&fleet.world.core).await;
    }
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "desiredCount": 7})).await;
    fleet.until("it is stable", healthy, stable(7)).await;
    let listed = fleet.world.ok(Op::ListTasks, json!({"serviceName": "web"})).await;
    let tasks = fleet.world.ok(Op::DescribeTasks, json!({"tasks": listed["taskArns"]})).await;
    assert_eq!(by_provider(&tasks["tasks"]), counts(&[("new", 3), ("old", 4)]));
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "capacityProviderStrategy": []})).await;
    assert_eq!(fleet.service("web").await["launchType"], "EC2");
}

#[tokio::test]
async fn providers_are_made_described_changed_and_deleted() {
    let fleet = Fleet::with(0, config()).await;
    let made = provider(&fleet, "rack").await;
    assert!(made["capacityProviderArn"].as_str().unwrap().ends_with(":capacity-provider/rack"), "{made}");
    assert_eq!((&made["status"], &made["updateStatus"]), (&json!("ACTIVE"), &json!("CREATE_COMPLETE")));
    let group = &made["autoScalingGroupProvider"];
    assert_eq!(group["managedScaling"]["status"], "DISABLED");
    assert_eq!(group["managedTerminationProtection"], "DISABLED");
    let update = json!({"name": "rack", "autoScalingGroupProvider": {"managedDraining": "DISABLED"}});
    let updated = fleet.world.ok(Op::UpdateCapacityProvider, update).await["capacityProvider"].clone();
    assert_eq!(updated["autoScalingGroupProvider"]["managedDraining"], "DISABLED");
    assert_eq!(updated["updateStatus"], "UPDATE_COMPLETE");
    let all = fleet.world.ok(Op::DescribeCapacityProviders, json!({})).await;
    let names = |answer: &Value| -> Vec<String> {
        let all = answer["capacityProviders"].as_array().unwrap().iter();
        all.map(|provider| provider["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&all), ["FARGATE", "FARGATE_SPOT", "rack"]);
    let page = fleet.world.ok(Op::DescribeCapacityProviders, json!({"maxResults": 2})).await;
    let rest = json!({"maxResults": 2, "nextToken": page["nextToken"]});
    assert_eq!(names(&fleet.world.ok(Op::DescribeCapacityProviders, rest).await), ["rack"]);
    let some = json!({"capacityProviders": [made["capacityProviderArn"], "none"], "include": ["TAGS"]});
    let some = fleet.world.ok(Op::DescribeCapacityProviders, some).await;
    assert_eq!(some["capacityProviders"][0]["tags"], json!([{"key": "rack", "value": "7"}]));
    assert_eq!(some["failures"], json!([{"arn": "none", "reason": "MISSING"}]));
    let tags = json!({"resourceArn": made["capacityProviderArn"], "tags": [{"key": "row", "value": "2"}]});
    fleet.world.ok(Op::TagResource, tags).await;

    let put = |providers: Value| {
        json!({"cluster": "default", "capacityProviders": providers,
        "defaultCapacityProviderStrategy": []})
    };
    fleet.world.ok(Op::PutClusterCapacityProviders, put(json!(["rack", "FARGATE"]))).await;
    let world = fleet.world.reopen_with(config()).await;
    let refused = world.err(Op::DeleteCapacityProvider, json!({"capacityProvider": "rack"})).await;
    assert!(refused.starts_with("ResourceInUseException: The specified capacity provider is in use"), "{refused}");
    world.definition("one", json!({})).await;
    let service = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 1,
        "capacityProviderStrategy": [{"capacityProvider": "rack"}]});
    world.ok(Op::CreateService, service).await;
    let refused = world.err(Op::PutClusterCapacityProviders, put(json!([]))).await;
    assert!(refused.starts_with("ResourceInUseException") && refused.contains("service web"), "{refused}");
    world.ok(Op::DeleteService, json!({"service": "web", "force": true})).await;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while let Err(refused) = world.call(Op::PutClusterCapacityProviders, put(json!([]))).await {
        assert!(tokio::time::Instant::now() < deadline, "{refused:?}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let deleted = world.ok(Op::DeleteCapacityProvider, json!({"capacityProvider": "rack"})).await;
    assert_eq!(deleted["capacityProvider"]["status"], "INACTIVE");
    assert_eq!(deleted["capacityProvider"]["updateStatus"], "DELETE_COMPLETE");
}

#[tokio::test]
async fn wrong_strategies_and_providers_are_refused() {
    let fleet = fleet().await;
    provider(&fleet, "other").await;
    let group = json!({"autoScalingGroupArn": "g"});
    for (request, expected) in [
        (json!({"name": "", "autoScalingGroupProvider": group}), "The capacity provider name"),
        (json!({"name": "aws-rack", "autoScalingGroupProvider": group}), "which are reserved"),
        (json!({"name": "FargateX", "autoScalingGroupProvider": group}), "which are reserved"),
        (json!({"name": "old", "autoScalingGroupProvider": group}), "already exists"),
        (json!({"name": "rack"}), "autoScalingGroupProvider must be given"),
        (json!({"name": "rack", "autoScalingGroupProvider": {}}), "autoScalingGroupArn must not be empty"),
        (
            json!({"name": "rack", "autoScalingGroupProvider":
                {"autoScalingGroupArn": "g", "managedScaling": {"status": "ENABLED"}}}),
            "managedScaling.status ENABLED is not supported",
        ),
    ] {
        let refused = refusal(&fleet, Op::CreateCapacityProvider, request).await;
        assert!(refused.contains(expected), "{refused}");
    }
    for op in [Op::DeleteCapacityProvider, Op::UpdateCapacityProvider] {
        let request = json!({"capacityProvider": "FARGATE", "name": "FARGATE", "autoScalingGroupProvider": {}});
        let refused = refusal(&fleet, op, request).await;
        assert!(refused.starts_with("ClientException") && refused.contains("FARGATE is reserved"), "{refused}");
        let request = json!({"capacityProvider": "none", "name": "none", "autoScalingGroupProvider": {}});
        let refused = refusal(&fleet, op, request).await;
        assert!(refused.contains("'none' was not found"), "{refused}");
    }
    let many: Vec<Value> = (0..21).map(|_| item("old", 1, 0)).collect();
    let table = [
        (json!([item("none", 1, 0)]), "'none' was not found"),
        (json!([item("other", 1, 0)]), "other is not associated with the cluster"),
        (json!([item("old", 1, 1), item("new", 1, 1)]), "only one capacity provider can have a base"),
        (json!([item("old", 0, 1), item("new", 0, 0)]), "must have a weight above 0"),
        (json!([item("old", 0, 0)]), "must have a weight above 0"),
        (json!([item("old", 1, 0), item("old", 1, 0)]), "names the capacity provider old twice"),
        (json!([item("old", 1001, 0)]), "weight must be between 0 and 1000"),
        (json!([item("old", 1, -1)]), "base must be between 0 and 100000"),
        (json!(many), "at most 20 items"),
    ];
    for (strategy, expected) in table {
        let run = json!({"taskDefinition": "one", "capacityProviderStrategy": strategy});
        let service = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 1,
            "capacityProviderStrategy": strategy});
        let put = json!({"cluster": "default", "capacityProviders": ["old", "new"],
            "defaultCapacityProviderStrategy": strategy});
        for (op, request) in [(Op::RunTask, run), (Op::CreateService, service), (Op::PutClusterCapacityProviders, put)]
        {
            let refused = refusal(&fleet, op, request).await;
            assert!(refused.contains(expected), "{}: {strategy}: {refused}", op.name());
        }
    }
    let both = json!({"taskDefinition": "one", "launchType": "EC2", "capacityProviderStrategy": [item("old", 1, 0)]});
    let refused = refusal(&fleet, Op::RunTask, both).await;
    assert!(refused.contains("Specifying both a launch type and capacity provider strategy"), "{refused}");
    let daemon = json!({"serviceName": "log", "taskDefinition": "one", "schedulingStrategy": "DAEMON",
        "capacityProviderStrategy": [item("old", 1, 0)]});
    let refused = refusal(&fleet, Op::CreateService, daemon).await;
    assert!(refused.contains("is not supported when you create a service using the DAEMON"), "{refused}");
    let put = json!({"cluster": "default", "capacityProviders": ["FARGATE", "old", "new"],
        "defaultCapacityProviderStrategy": []});
    fleet.world.ok(Op::PutClusterCapacityProviders, put).await;
    let fargate = json!({"taskDefinition": "one", "capacityProviderStrategy": [item("FARGATE", 1, 0)]});
    let refused = refusal(&fleet, Op::RunTask, fargate).await;
    assert!(refused.starts_with("UnsupportedFeatureException"), "{refused}");
    for missing in ["capacityProviders", "defaultCapacityProviderStrategy"] {
        let mut put = json!({"cluster": "default", "capacityProviders": [], "defaultCapacityProviderStrategy": []});
        put.as_object_mut().unwrap().remove(missing);
        let refused = refusal(&fleet, Op::PutClusterCapacityProviders, put).await;
        assert!(refused.ends_with(&format!("{missing} can not be blank.")), "{refused}");
    }
}

/// The tasks of the service `web` that are to run.
async fn tasks_of_web(fleet: &Fleet) -> Value {
    let listed = fleet.world.ok(Op::ListTasks, json!({"serviceName": "web"})).await;
    fleet.world.ok(Op::DescribeTasks, json!({"tasks": listed["taskArns"]})).await["tasks"].clone()
}

#[tokio::test]
async fn a_service_that_says_nothing_has_the_clusters_strategy_and_one_with_a_launch_type_has_none() {
    let mut fleet = fleet().await;
    let [old, new] = ["old", "new"].map(|pool| json!([item(pool, 1, 0)]));
    let default = |strategy: &Value| json!({"cluster": "default", "capacityProviders": ["old", "new"], "defaultCapacityProviderStrategy": strategy});
    fleet.world.ok(Op::PutClusterCapacityProviders, default(&new)).await;
    let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 3});
    let made = fleet.world.ok(Op::CreateService, request).await["service"].clone();
    for shown in [&made, &made["deployments"][0]] {
        assert_eq!((&shown["capacityProviderStrategy"], &shown["launchType"]), (&new, &Value::Null), "{made:#}");
    }
    fleet.until("it is stable", healthy, stable(3)).await;
    assert_eq!(by_provider(&tasks_of_web(&fleet).await), counts(&[("new", 3)]));
    // It keeps the one that it began with.
    fleet.world.ok(Op::PutClusterCapacityProviders, default(&old)).await;
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "desiredCount": 5})).await;
    let service = fleet.until("it has more", healthy, stable(5)).await;
    assert_eq!(service["capacityProviderStrategy"], new);
    assert_eq!(by_provider(&tasks_of_web(&fleet).await), counts(&[("new", 5)]));

    // Its tasks are nobody's, also those on hosts of a provider.
    let request = json!({"serviceName": "typed", "taskDefinition": "one", "desiredCount": 5, "launchType": "EC2"});
    let made = fleet.world.ok(Op::CreateService, request).await["service"].clone();
    for shown in [&made, &made["deployments"][0]] {
        let found = (&shown["capacityProviderStrategy"], &shown["launchType"]);
        assert_eq!(found, (&Value::Null, &json!("EC2")), "{made:#}");
    }
    until("they are placed", || fleet.tasks().len() == 10).await;
    let listed = fleet.world.ok(Op::ListTasks, json!({"serviceName": "typed"})).await;
    let tasks = fleet.world.ok(Op::DescribeTasks, json!({"tasks": listed["taskArns"]})).await["tasks"].clone();
    assert_eq!(by_provider(&tasks), counts(&[("-", 5)]));
    assert!(tasks.as_array().unwrap().iter().all(|task| task["launchType"] == "EC2"), "{tasks:#}");
}

#[tokio::test]
async fn what_is_about_to_go_fills_no_base() {
    for how in ["update", "drain", "lose", "ill"] {
        let mut fleet = fleet().await;
        let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 4,
            "capacityProviderStrategy": [item("old", 0, 2), item("new", 1, 0)]});
        fleet.world.ok(Op::CreateService, request).await;
        fleet.until("it is stable", healthy, stable(4)).await;
        let before = tasks_of_web(&fleet).await;
        assert_eq!(by_provider(&before), counts(&[("new", 2), ("old", 2)]));
        let based = before.as_array().unwrap().iter().find(|task| task["capacityProviderName"] == "old").unwrap();
        let host = based["containerInstanceArn"].clone();
        let nth = fleet.agents.iter().position(|agent| host == agent.arn.as_str()).unwrap();
        let gone = match how {
            "update" => {
                fleet.world.ok(Op::UpdateService, json!({"service": "web", "forceNewDeployment": true})).await;
                &based["taskArn"]
            }
            "drain" => {
                let drain = json!({"containerInstances": [host], "status": "DRAINING"});
                fleet.world.ok(Op::UpdateContainerInstancesState, drain).await;
                &host
            }
            "lose" => {
                fleet.agents.remove(nth).disconnect().await;
                &host
            }
            _ => {
                let agent = &mut fleet.agents[nth];
                let mut ill = agent.report(task_id(based), TaskStatus::Running);
                (ill.containers[0].has_check, ill.containers[0].health) = (true, HealthStatus::Unhealthy);
                agent.say(vec![ill]).await;
                &based["taskArn"]
            }
        };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        let after = loop {
            fleet.until("it is stable again", healthy, stable(4)).await;
            let after = tasks_of_web(&fleet).await;
            if !after.to_string().contains(&gone.to_string()) && after.as_array().unwrap().len() == 4 {
                break after;
            }
            assert!(tokio::time::Instant::now() < deadline, "{how}: {after:#}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert_eq!(by_provider(&after), counts(&[("new", 2), ("old", 2)]), "{how}");
    }
}

/// What DescribeServiceRevisions says of a revision.
async fn revision(fleet: &Fleet, arn: &Value) -> Value {
    let request = json!({"serviceRevisionArns": [arn]});
    fleet.world.ok(Op::DescribeServiceRevisions, request).await["serviceRevisions"][0].clone()
}

fn bad(family: &str) -> bool {
    family == "bad"
}

fn has_failed(service: &Value) -> bool {
    service["deployments"][0]["failedTasks"].as_u64() >= Some(1)
}

/// Waits until the service `web` runs `count` tasks of the definition `one` and no others; those of `bad` fail.
async fn until_back(fleet: &mut Fleet, count: usize) -> Value {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        fleet.pump(bad).await;
        let service = fleet.service("web").await;
        if service["taskDefinition"].as_str().unwrap().ends_with("/one:1") && stable(count)(&service) {
            return service;
        }
        // Pauses after failures pass.
        fleet.world.clock.advance(Duration::from_secs(1));
        assert!(tokio::time::Instant::now() < deadline, "never rolled back: {service:#}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_rollback_places_by_the_strategy_of_the_revision_that_it_brings_back() {
    for how in ["breaker", "stop"] {
        let mut fleet = fleet().await;
        fleet.world.definition("bad", json!({})).await;
        let [old, new] = ["old", "new"].map(|pool| json!([item(pool, 1, 0)]));
        // What ran is gone before what comes is there, so that the rollback has to place tasks.
        let breaker = json!({"enable": how == "breaker", "rollback": true,
            "thresholdConfiguration": {"type": "COUNT", "value": 2}});
        let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 3,
            "capacityProviderStrategy": old, "deploymentConfiguration": {"minimumHealthyPercent": 0,
            "maximumPercent": 100, "deploymentCircuitBreaker": breaker}});
        fleet.world.ok(Op::CreateService, request).await;
        let service = fleet.until("it is stable", healthy, stable(3)).await;
        let first = service["currentServiceRevisions"][0]["arn"].clone();
        let before: Vec<_> = fleet.tasks().into_iter().map(|(id, ..)| id).collect();

        let update = json!({"service": "web", "taskDefinition": "bad", "capacityProviderStrategy": new});
        let service = fleet.world.ok(Op::UpdateService, update).await["service"].clone();
        assert_eq!(service["capacityProviderStrategy"], new, "{how}");
        let second = service["currentServiceRevisions"][0]["arn"].clone();
        if how == "stop" {
            fleet.until("a task of it failed", bad, has_failed).await;
            let stop = json!({"serviceDeploymentArn": service["currentServiceDeployment"]});
            fleet.world.ok(Op::StopServiceDeployment, stop).await;
        }
        let service = until_back(&mut fleet, 3).await;
        assert_eq!(service["capacityProviderStrategy"], old, "{how}");
        assert_eq!(service["deployments"][0]["capacityProviderStrategy"], old, "{how}");
        assert!(fleet.tasks().iter().any(|(id, ..)| !before.contains(id)), "{how}: it placed none");
        assert_eq!(by_provider(&tasks_of_web(&fleet).await), counts(&[("old", 3)]), "{how}");

        fleet.world = fleet.world.reopen_with(config()).await;
        assert_eq!(fleet.service("web").await["capacityProviderStrategy"], old, "{how}");
        for (arn, strategy) in [(&first, &old), (&second, &new)] {
            let shown = revision(&fleet, arn).await;
            assert_eq!((&shown["capacityProviderStrategy"], &shown["launchType"]), (strategy, &Value::Null), "{how}");
        }
    }
}

#[tokio::test]
async fn revisions_keep_their_strategy_and_have_it_when_they_are_gone_back_to() {
    let mut fleet = fleet().await;
    for family in ["two", "bad"] {
        fleet.world.definition(family, json!({})).await;
    }
    let [old, new] = ["old", "new"].map(|pool| json!([item(pool, 1, 0)]));
    let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 2,
        "capacityProviderStrategy": old});
    fleet.world.ok(Op::CreateService, request).await;
    let service = fleet.until("it is stable", healthy, stable(2)).await;
    let first = service["currentServiceRevisions"][0]["arn"].clone();

    // Without a deployment it is that of the next revision.
    let none = json!({"service": "web", "capacityProviderStrategy": []});
    let service = fleet.world.ok(Op::UpdateService, none).await["service"].clone();
    assert_eq!((&service["launchType"], &service["capacityProviderStrategy"]), (&json!("EC2"), &Value::Null));
    assert_eq!(revision(&fleet, &first).await["capacityProviderStrategy"], old);
    let two = json!({"service": "web", "taskDefinition": "two"});
    let service = fleet.world.ok(Op::UpdateService, two).await["service"].clone();
    let second = service["currentServiceRevisions"][0]["arn"].clone();
    let shown = revision(&fleet, &second).await;
    for shown in [&shown, &service["deployments"][0]] {
        assert_eq!((&shown["launchType"], &shown["capacityProviderStrategy"]), (&json!("EC2"), &Value::Null));
    }
    let earlier = &service["deployments"][1];
    assert_eq!((&earlier["launchType"], &earlier["capacityProviderStrategy"]), (&Value::Null, &old));
    fleet.until("the second one is through", healthy, stable(2)).await;

    let back = json!({"service": "web", "taskDefinition": first});
    let service = fleet.world.ok(Op::UpdateService, back.clone()).await["service"].clone();
    assert_eq!(service["capacityProviderStrategy"], old);
    fleet.until("the first one is back", healthy, stable(2)).await;
    assert_eq!(by_provider(&tasks_of_web(&fleet).await), counts(&[("old", 2)]));

    // What the cluster has given up is not brought back.
    let away = json!({"service": "web", "desiredCount": 0, "capacityProviderStrategy": new});
    fleet.world.ok(Op::UpdateService, away).await;
    fleet.until("it has no tasks", healthy, stable(0)).await;
    let put = json!({"cluster": "default", "capacityProviders": ["new"], "defaultCapacityProviderStrategy": []});
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let Err(refused) = fleet.world.call(Op::PutClusterCapacityProviders, put.clone()).await else { break };
        assert!(tokio::time::Instant::now() < deadline, "{refused:?}");
        fleet.pump(healthy).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let service = fleet.world.ok(Op::UpdateService, back).await["service"].clone();
    assert_eq!(service["capacityProviderStrategy"], new);
    fleet.until("it is stable", healthy, stable(0)).await;
    let update = json!({"service": "web", "taskDefinition": "bad", "desiredCount": 2});
    let arn = fleet.world.ok(Op::UpdateService, update).await["service"]["currentServiceDeployment"].clone();
    fleet.until("a task of it failed", bad, has_failed).await;
    fleet.world.ok(Op::StopServiceDeployment, json!({"serviceDeploymentArn": arn})).await;
    let service = until_back(&mut fleet, 2).await;
    assert_eq!(service["capacityProviderStrategy"], new);
    assert_eq!(by_provider(&tasks_of_web(&fleet).await), counts(&[("new", 2)]));

    // What held before a deployment that fails holds again, also when no revision has it.
    let update = json!({"service": "web", "taskDefinition": "bad", "capacityProviderStrategy": []});
    let arn = fleet.world.ok(Op::UpdateService, update).await["service"]["currentServiceDeployment"].clone();
    fleet.until("a task of it failed", bad, has_failed).await;
    fleet.world.ok(Op::StopServiceDeployment, json!({"serviceDeploymentArn": arn})).await;
    assert_eq!(until_back(&mut fleet, 2).await["capacityProviderStrategy"], new);
}
