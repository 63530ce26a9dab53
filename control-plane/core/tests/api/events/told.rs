//! What is told: in what order, to whom, and that nothing is lost on its way.

use super::{Fake, dispatch, passing, stored};
use crate::fleet::{Fleet, healthy, messages, stable};
use crate::world::{FaultyStore, TestClock, World, facts, task_id, until};
use longshore_core::CoreConfig;
use longshore_ecs_api::Operation as Op;
use longshore_ecs_api::events::EventsOperation as Events;
use longshore_model::TaskStatus;
use longshore_store::{Limits, MemoryStore};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn a_tasks_events_come_in_order_through_failures_and_restarts() {
    let world = World::new().await;
    world.cluster("default").await;
    let mut agent = world.host("default", facts(2048, 2048)).await;
    world.definition("web", json!({})).await;
    let hook = world.webhook().await;
    let pattern = json!({"source": ["aws.ecs"], "detail-type": ["ECS Task State Change"]});
    world.rule("tasks", pattern, json!({"Id": "1", "Arn": hook})).await;
    let fake = Fake::default();
    fake.refuse(passing());
    let dispatcher = dispatch(&world, &fake);

    let id = task_id(&world.run(json!({"taskDefinition": "web", "tags": [{"key": "a", "value": "b"}]})).await);
    for status in [TaskStatus::Pending, TaskStatus::Running, TaskStatus::Stopped] {
        agent.is(id, status).await;
    }
    until("it was tried in vain", || fake.tried() > 0).await;
    let first = fake.look(|outside| outside.tried[0].clone());
    dispatcher.abort();

    // Another process, while all of it waits.
    let world = world.reopen().await;
    agent.move_to(&world.core).await;
    let fake = Fake::default();
    world.clock.advance(Duration::from_secs(400));
    let _dispatcher = dispatch(&world, &fake);
    until("the last is there", || fake.taken().last().is_some_and(|event| event["detail"]["lastStatus"] == "STOPPED"))
        .await;
    let taken = fake.taken();
    assert_eq!(taken[0], first, "the same event with the same id");
    let versions: Vec<i64> = taken.iter().map(|event| event["detail"]["version"].as_i64().unwrap()).collect();
    assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "{versions:?}");
    let ids: BTreeSet<&str> = taken.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), taken.len());
    let statuses: Vec<&str> = taken.iter().map(|event| event["detail"]["lastStatus"].as_str().unwrap()).collect();
    assert_eq!(statuses.first(), Some(&"PENDING"));
    assert!(statuses.contains(&"RUNNING"), "{statuses:?}");

    // The body is that of DescribeTasks, with times as events have them and without tags.
    let last = taken.last().unwrap();
    let mut shown = world.task(id).await;
    let arn = shown["taskArn"].clone();
    assert_eq!(
        (&last["version"], &last["account"], &last["region"]),
        (&json!("0"), &json!("123456789012"), &json!("lab"))
    );
    assert_eq!((&last["resources"], &last["time"]), (&json!([arn]), &json!("2023-11-14T22:13:20Z")));
    let detail = last["detail"].as_object().unwrap();
    let members = shown.as_object_mut().unwrap();
    members.remove("tags");
    for (name, value) in members.iter() {
        let told = &detail[name];
        match name.ends_with("At") {
            true => assert!(told.as_str().is_some_and(|at| at.starts_with("2023-11-14T22:13:2") && at.ends_with('Z'))),
            false => assert!(told == value || name == "connectivity", "{name}: {told} and {value}"),
        }
    }
    assert!(!detail.contains_key("tags"));
    assert_eq!(detail["updatedAt"], "2023-11-14T22:13:20.000Z");

    // Nothing is left of what was delivered.
    world.until_delivery("tasks", |shown| shown["Waiting"] == 0).await;
    assert_eq!(stored(&world, "outbox/").await, 0);
}

#[tokio::test]
async fn services_hosts_and_deployments_tell_as_ecs_does() {
    // What runs counts as healthy at once.
    let config = CoreConfig { healthy_after: Duration::ZERO, ..CoreConfig::default() };
    let store = FaultyStore::new(MemoryStore::new());
    let world = World::with(store, Arc::new(TestClock::default()), config).await;
    world.cluster("default").await;
    let hook = world.webhook().await;
    let pattern = json!({"detail-type": [{"anything-but": "ECS Task State Change"}]});
    world.rule("all", pattern, json!({"Id": "1", "Arn": hook})).await;
    let fake = Fake::default();
    let _dispatcher = dispatch(&world, &fake);
    world.definition("web", json!({})).await;
    world.ok(Op::CreateService, json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1})).await;
    let named = |name: &'static str| move |event: &Value| event["detail"]["eventName"] == name;
    let find = |wanted: &dyn Fn(&Value) -> bool| fake.taken().into_iter().find(|event| wanted(event));
    until("no place", || find(&named("SERVICE_TASK_PLACEMENT_FAILURE")).is_some()).await;
    let mut agent = world.host("default", facts(2048, 2048)).await;
    until("a task", || !agent.assigned().is_empty()).await;
    let id = *agent.assigned().keys().next().unwrap();
    agent.is(id, TaskStatus::Running).await;
    world.clock.advance(Duration::from_secs(60));
    agent.is(id, TaskStatus::Running).await;
    until("steady", || find(&named("SERVICE_STEADY_STATE")).is_some()).await;
    until("complete", || find(&named("SERVICE_DEPLOYMENT_COMPLETED")).is_some()).await;
    let service = "arn:aws:ecs:lab:123456789012:service/default/web";
    let cluster = "arn:aws:ecs:lab:123456789012:cluster/default";
    for (name, detail_type, kind) in [
        ("SERVICE_DEPLOYMENT_IN_PROGRESS", "ECS Deployment State Change", "INFO"),
        ("SERVICE_TASK_PLACEMENT_FAILURE", "ECS Service Action", "ERROR"),
        ("SERVICE_DEPLOYMENT_COMPLETED", "ECS Deployment State Change", "INFO"),
        ("SERVICE_STEADY_STATE", "ECS Service Action", "INFO"),
    ] {
        let event = find(&named(name)).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!((&event["detail-type"], &event["source"]), (&json!(detail_type), &json!("aws.ecs")));
        assert_eq!((&event["detail"]["eventType"], &event["resources"]), (&json!(kind), &json!([service])));
        let reason = (name == "SERVICE_TASK_PLACEMENT_FAILURE").then_some("EMPTY CAPACITY PROVIDER");
        let detail = &event["detail"];
        match detail_type {
            "ECS Service Action" => {
                assert_eq!((&detail["clusterArn"], &detail["reason"]), (&json!(cluster), &json!(reason)));
                for none in ["containerInstanceArns", "capacityProviderArns", "taskSetArns"] {
                    assert_eq!(detail[none], Value::Null, "{event}");
                }
                assert!(detail["createdAt"].as_str().is_some_and(|at| at.ends_with("Z")), "{event}");
            }
            _ => {
                assert!(detail["deploymentId"].as_str().is_some_and(|id| id.starts_with("ecs-svc/")), "{event}");
                assert!(detail["reason"].as_str().is_some_and(|why| why.starts_with("ECS deployment")), "{event}");
            }
        }
    }
    let host = find(&|event| event["detail-type"] == "ECS Container Instance State Change").unwrap();
    assert_eq!((&host["resources"][0], &host["detail"]["clusterArn"]), (&json!(agent.arn), &json!(cluster)));
    agent.disconnect().await;
    until("it is not heard", || fake.taken().iter().any(|event| event["detail"]["agentConnected"] == false)).await;
}

#[tokio::test]
async fn what_is_told_of_a_host_is_what_is_shown_of_it_then_to_its_end() {
    let world = World::new().await;
    world.cluster("default").await;
    let hook = world.webhook().await;
    let hosts = json!({"source": ["aws.ecs"], "detail-type": ["ECS Container Instance State Change"]});
    world.rule("hosts", hosts, json!({"Id": "1", "Arn": hook})).await;
    let fake = Fake::default();
    let _dispatcher = dispatch(&world, &fake);
    let mut agent = world.host("default", facts(2048, 2048)).await;
    world.definition("web", json!({})).await;
    let id = task_id(&world.run(json!({"taskDefinition": "web"})).await);
    agent.is(id, TaskStatus::Running).await;

    let attribute = json!({"name": "rack", "value": "7", "targetId": agent.arn});
    let drain = json!({"containerInstances": [agent.arn], "status": "DRAINING"});
    let leave = json!({"containerInstance": agent.arn, "force": true});
    for (op, request, status, running, connected) in [
        (Op::PutAttributes, json!({"attributes": [attribute]}), "ACTIVE", 1, true),
        (Op::UpdateContainerInstancesState, drain, "DRAINING", 1, true),
        (Op::DeregisterContainerInstance, leave, "INACTIVE", 0, false),
    ] {
        world.ok(op, request).await;
        let describe = json!({"containerInstances": [agent.arn]});
        let answer = world.ok(Op::DescribeContainerInstances, describe).await;
        let shown = &answer["containerInstances"][0];
        assert_eq!((&shown["status"], &shown["runningTasksCount"]), (&json!(status), &json!(running)), "{shown:#}");
        assert_eq!(shown["agentConnected"], connected, "{shown:#}");
        let told = || fake.taken().into_iter().find(|event| event["detail"]["version"] == shown["version"]);
        until("it is told", || told().is_some()).await;
        let event = told().unwrap();
        assert_eq!(event["resources"], json!([agent.arn]));
        let (detail, members) = (event["detail"].as_object().unwrap(), shown.as_object().unwrap());
        for (name, value) in members {
            match name.as_str() {
                "tags" => assert!(!detail.contains_key(name), "{event:#}"),
                "registeredAt" => assert_eq!(detail[name], "2023-11-14T22:13:20.000Z"),
                _ => assert_eq!(&detail[name], value, "{name} when it is {status}"),
            }
        }
        let more: Vec<&str> = detail.keys().filter(|name| !members.contains_key(*name)).map(String::as_str).collect();
        assert_eq!(more, ["clusterArn", "updatedAt"], "{event:#}");
        let of_cluster = "arn:aws:ecs:lab:123456789012:cluster/default";
        let found = (&detail["clusterArn"], &detail["updatedAt"]);
        assert_eq!(found, (&json!(of_cluster), &json!("2023-11-14T22:13:20.000Z")));
    }
}

#[tokio::test]
async fn a_task_without_a_place_is_told_with_the_reason_that_run_task_answers() {
    let fleet = Fleet::new(1).await;
    let hook = fleet.world.webhook().await;
    let failures = json!({"source": ["aws.ecs"], "detail": {"eventName": ["SERVICE_TASK_PLACEMENT_FAILURE"]}});
    fleet.world.rule("unplaced", failures, json!({"Id": "1", "Arn": hook})).await;
    let fake = Fake::default();
    let _dispatcher = dispatch(&fleet.world, &fake);
    let port = json!({"portMappings": [{"containerPort": 80, "hostPort": 8080}]});
    fleet.world.definition("holder", port.clone()).await;
    fleet.world.run(json!({"taskDefinition": "holder"})).await;
    let elsewhere = json!([{"type": "memberOf", "expression": "attribute:rack == nowhere"}]);
    for (name, container, constraints, expected) in [
        ("memory", json!({"memory": 4096}), json!([]), "RESOURCE:MEMORY"),
        ("cpu", json!({"cpu": 4096}), json!([]), "RESOURCE:CPU"),
        ("ports", port, json!([]), "RESOURCE:PORTS"),
        ("member", json!({}), elsewhere, "MemberOf placement constraint unsatisfied."),
    ] {
        fleet.world.definition(name, container).await;
        let run = json!({"taskDefinition": name, "placementConstraints": constraints});
        let refused = fleet.world.ok(Op::RunTask, run).await;
        assert_eq!(refused["failures"][0]["reason"], expected, "{refused}");
        let create = json!({"serviceName": name, "taskDefinition": name, "desiredCount": 1,
            "placementConstraints": constraints});
        let arn = fleet.world.ok(Op::CreateService, create).await["service"]["serviceArn"].clone();
        let told = || fake.taken().into_iter().find(|event| event["resources"][0] == arn);
        until("it is told", || told().is_some()).await;
        let detail = told().unwrap()["detail"].clone();
        assert_eq!((&detail["eventType"], &detail["reason"]), (&json!("ERROR"), &json!(expected)));
        let arns = (&detail["containerInstanceArns"], &detail["capacityProviderArns"], &detail["taskSetArns"]);
        assert_eq!(arns, (&json!([fleet.agents[0].arn]), &Value::Null, &Value::Null), "{detail}");
        // The sentence is that of DescribeServices.
        let said = messages(&fleet.service(name).await);
        assert!(said.iter().any(|message| detail["message"] == message.as_str()), "{said:?} {detail}");
    }
    // One that is placed by a strategy.
    let group = json!({"autoScalingGroupArn": "rack"});
    let rack = json!({"name": "rack", "autoScalingGroupProvider": group});
    let rack = fleet.world.ok(Op::CreateCapacityProvider, rack).await["capacityProvider"].clone();
    let put = json!({"cluster": "default", "capacityProviders": ["rack"], "defaultCapacityProviderStrategy": []});
    fleet.world.ok(Op::PutClusterCapacityProviders, put).await;
    let create = json!({"serviceName": "pooled", "taskDefinition": "member", "desiredCount": 1,
        "capacityProviderStrategy": [{"capacityProvider": "rack", "weight": 1}]});
    let arn = fleet.world.ok(Op::CreateService, create).await["service"]["serviceArn"].clone();
    let told = || fake.taken().into_iter().find(|event| event["resources"][0] == arn);
    until("it is told", || told().is_some()).await;
    let detail = told().unwrap()["detail"].clone();
    assert_eq!(detail["reason"], "ATTRIBUTE", "{detail}");
    let arns = (&detail["containerInstanceArns"], &detail["capacityProviderArns"]);
    assert_eq!(arns, (&json!([fleet.agents[0].arn]), &json!([rack["capacityProviderArn"]])), "{detail}");
}

#[tokio::test]
async fn a_task_set_that_is_steady_is_told_with_its_arn() {
    let mut fleet = Fleet::new(1).await;
    fleet.world.definition("one", json!({})).await;
    let hook = fleet.world.webhook().await;
    let steady = json!({"source": ["aws.ecs"], "detail": {"eventName": ["TASKSET_STEADY_STATE"]}});
    fleet.world.rule("steady", steady, json!({"Id": "1", "Arn": hook})).await;
    let fake = Fake::default();
    let _dispatcher = dispatch(&fleet.world, &fake);
    let create = json!({"serviceName": "web", "desiredCount": 1, "deploymentController": {"type": "EXTERNAL"}});
    let service = fleet.world.ok(Op::CreateService, create).await["service"]["serviceArn"].clone();
    let create = json!({"cluster": "default", "service": "web", "taskDefinition": "one", "scale": {"value": 100}});
    let set = fleet.world.ok(Op::CreateTaskSet, create).await["taskSet"]["taskSetArn"].clone();
    let is_steady = |service: &Value| {
        let set = &service["taskSets"][0];
        set["stabilityStatus"] == "STEADY_STATE" && set["runningCount"] == 1
    };
    fleet.until("it is steady", healthy, is_steady).await;
    until("it is told", || !fake.taken().is_empty()).await;
    let event = fake.taken().remove(0);
    let detail = &event["detail"];
    assert_eq!((&event["resources"], &detail["taskSetArns"]), (&json!([service]), &json!([set])), "{event}");
    assert_eq!((&detail["eventType"], &detail["containerInstanceArns"]), (&json!("INFO"), &Value::Null), "{event}");
}

#[tokio::test]
async fn a_deployment_that_fails_says_so_and_why_and_what_is_brought_back_says_that_it_begins() {
    let mut fleet = Fleet::new(1).await;
    for family in ["good", "bad"] {
        fleet.world.definition(family, json!({})).await;
    }
    let hook = fleet.world.webhook().await;
    let all = json!({"source": ["aws.ecs"], "detail-type": ["ECS Deployment State Change"]});
    fleet.world.rule("all", all, json!({"Id": "1", "Arn": hook})).await;
    let failed = json!({"source": ["aws.ecs"], "detail": {"eventName": ["SERVICE_DEPLOYMENT_FAILED"]}});
    let logs = "arn:aws:logs:lab:123456789012:log-group:g";
    fleet.world.rule("failed", failed, json!({"Id": "l", "Arn": logs})).await;
    let fake = Fake::default();
    let _dispatcher = dispatch(&fleet.world, &fake);

    let breaker = json!({"enable": true, "rollback": true, "thresholdConfiguration": {"type": "COUNT", "value": 1}});
    let request = json!({"serviceName": "web", "taskDefinition": "good", "desiredCount": 2,
        "deploymentConfiguration": {"deploymentCircuitBreaker": breaker}});
    let made = fleet.world.ok(Op::CreateService, request).await;
    let first = made["service"]["deployments"][0]["id"].clone();
    fleet.until("it is stable", healthy, stable(2)).await;
    fleet.world.clock.advance(Duration::from_secs(60));
    let update = json!({"service": "web", "taskDefinition": "bad"});
    let updated = fleet.world.ok(Op::UpdateService, update.clone()).await;
    let second = updated["service"]["deployments"][0]["id"].clone();
    let rolled_back = |service: &Value| {
        stable(2)(service) && messages(service).iter().any(|message| message.contains("rolling back to deployment"))
    };
    fleet.until("the good one is back", |family| family == "bad", rolled_back).await;
    until("all is told", || fake.taken().len() >= 6).await;
    let told = fake.taken();
    let names: Vec<_> =
        told.iter().map(|event| (&event["detail"]["eventName"], &event["detail"]["deploymentId"])).collect();
    let [begun, complete, gone] =
        ["IN_PROGRESS", "COMPLETED", "FAILED"].map(|end| json!(format!("SERVICE_DEPLOYMENT_{end}")));
    let expected = [
        (&begun, &first),
        (&complete, &first),
        (&begun, &second),
        (&gone, &second),
        (&begun, &first),
        (&complete, &first),
    ];
    assert_eq!(names, expected);
    let ids: BTreeSet<&str> = told.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), told.len(), "what is brought back says something new");
    let event = &told[3];
    let detail = |deployment: &Value, reason: &str| {
        json!({"eventType": "ERROR", "eventName": "SERVICE_DEPLOYMENT_FAILED", "deploymentId": deployment,
            "updatedAt": "2023-11-14T22:14:20.000Z", "reason": reason})
    };
    let opened = "ECS deployment circuit breaker: tasks failed to start.";
    let whole = json!({"version": "0", "id": event["id"], "detail-type": "ECS Deployment State Change",
        "source": "aws.ecs", "account": "123456789012", "time": "2023-11-14T22:14:20Z", "region": "lab",
        "resources": ["arn:aws:ecs:lab:123456789012:service/default/web"], "detail": detail(&second, opened)});
    assert_eq!(*event, whole);
    let first = first.as_str().unwrap();
    let back = format!("ECS deployment circuit breaker: rolling back to deploymentId {first}.");
    let complete = format!("ECS deployment {first} completed.");
    assert_eq!((&told[4]["detail"]["reason"], &told[5]["detail"]["reason"]), (&json!(back), &json!(complete)));
    assert_eq!(fleet.service("web").await["deployments"][0]["rolloutStateReason"], complete);

    // One that somebody stops has failed as well, for another reason.
    let third = fleet.world.ok(Op::UpdateService, update).await["service"].clone();
    let abort = json!({"serviceDeploymentArn": third["currentServiceDeployment"], "stopType": "ABORT"});
    fleet.world.ok(Op::StopServiceDeployment, abort).await;
    until("that is logged", || fake.look(|outside| outside.logged.len()) >= 2).await;
    let logged = fake.look(|outside| outside.logged.clone());
    let details: Vec<_> = logged.iter().map(|(stream, event)| (stream.as_str(), event["detail"].clone())).collect();
    let stopped = detail(&third["deployments"][0]["id"], "ECS deployment stopped by request.");
    assert_eq!(details, [("g failed/l", detail(&second, opened)), ("g failed/l", stopped)]);
}

#[tokio::test]
async fn events_that_nobody_asked_for_leave_nothing_and_followers_see_all() {
    let store = MemoryStore::with_limits(Limits { ops: 24, bytes: 64 * 1024 });
    let world = World::on(FaultyStore::new(store)).await;
    world.cluster("default").await;
    let agent = world.host("default", facts(100_000, 100_000)).await;
    world.definition("web", json!({"cpu": 1, "memory": 6})).await;
    let hook = world.webhook().await;
    let stopped = json!({"source": ["aws.ecs"], "detail": {"lastStatus": ["STOPPED"]}});
    world.rule("stopped", stopped, json!({"Id": "1", "Arn": hook})).await;
    world.run(json!({"taskDefinition": "web"})).await;
    assert_eq!(stored(&world, "outbox/").await, 0);

    let follow = |request: Value| world.events(Events::FollowEvents, request);
    let mut cursor = follow(json!({})).await.unwrap()["Cursor"].clone();
    // A pattern that matches all: the batches keep to the store's limits.
    world.rule("every", json!({"source": [{"prefix": "aws."}]}), json!({"Id": "1", "Arn": hook})).await;
    let calls = (0..20).map(|_| world.call(Op::RunTask, json!({"taskDefinition": "web", "count": 5})));
    futures::future::join_all(calls).await.into_iter().for_each(|answer| drop(answer.unwrap()));
    assert_eq!(agent.assigned().len(), 101);
    assert_eq!(world.delivery("every").await["Waiting"], 100);
    let mut seen = BTreeSet::new();
    while seen.len() < 100 {
        let page =
            follow(json!({"Cursor": cursor, "EventPattern": r#"{"detail": {"lastStatus": ["PENDING"]}}"#})).await;
        let page = page.unwrap();
        assert_eq!(page["Missed"], false);
        for event in page["Events"].as_array().unwrap() {
            let event: Value = serde_json::from_str(event.as_str().unwrap()).unwrap();
            assert!(seen.insert(event["detail"]["taskArn"].as_str().unwrap().to_owned()), "once");
        }
        cursor = page["Cursor"].clone();
    }
    // An event that no rule asks for is none of the store's, and followers see it.
    world.say(1).await;
    let page = world
        .events(Events::FollowEvents, json!({"Cursor": cursor, "EventPattern": r#"{"source": ["test"]}"#}))
        .await
        .unwrap();
    assert_eq!(page["Events"].as_array().map(Vec::len), Some(1), "{page}");
    let world = world.reopen().await;
    assert_eq!(world.delivery("every").await["Waiting"], 100);
    let page = world.events(Events::FollowEvents, json!({"Cursor": cursor})).await.unwrap();
    assert_eq!(page["Missed"], true, "{page}");
}
