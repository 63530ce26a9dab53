//! Container instances and the sessions of their agents.

use crate::world::{Agent, World, facts, new_key, report, task_id};
use longshore_core::{AgentHello, ConnectError, JoinError, JoinKey, JoinToken, Registered, SessionError, SessionId};
use longshore_ecs_api::Operation as Op;
use longshore_ecs_api::ssm::SsmOperation;
use longshore_model::{
    Attribute, ClusterName, DiskStatus, Generation, HostFacts, InstanceId, MAX_ATTRIBUTE_CHARS, MAX_ATTRIBUTES,
    MAX_HOST_TEXT_CHARS, TaskStatus,
};
use serde_json::{Value, json};
use std::time::Duration;

fn named(name: &str) -> Option<ClusterName> {
    Some(ClusterName::new(name).unwrap())
}

#[tokio::test]
async fn a_token_is_spent_as_often_as_it_allows_and_no_more() {
    let world = World::new().await;
    world.cluster("prod").await;
    let token = world.token(json!({"RegistrationLimit": 2})).await;
    let joins = (0..5).map(|_| world.core.register_instance(&token, named("prod"), facts(1024, 1024), new_key()));
    let outcomes = futures::future::join_all(joins).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 2);
    assert!(outcomes.iter().filter_map(|o| o.as_ref().err()).all(|e| matches!(e, JoinError::Spent(2))));
    let list = world.ok(Op::ListContainerInstances, json!({"cluster": "prod"})).await;
    assert_eq!(list["containerInstanceArns"].as_array().unwrap().len(), 2);
    let world = world.reopen().await;
    let late = world.core.register_instance(&token, named("prod"), facts(1024, 1024), new_key()).await;
    assert!(matches!(late, Err(JoinError::Spent(2))), "{late:?}");
}

#[tokio::test]
async fn joining_again_with_the_same_token_and_key_is_joining_once() {
    let world = World::new().await;
    world.cluster("prod").await;
    let token = world.token(json!({"RegistrationLimit": 2})).await;
    let (key, other) = (new_key(), new_key());
    let join = |world: &World, key: &JoinKey, cluster: &str| {
        let (core, token, key, cluster) = (world.core.clone(), token.clone(), key.clone(), named(cluster));
        async move { core.register_instance(&token, cluster, facts(1024, 1024), key).await }
    };
    let used = async |world: &World| {
        let list = world.ssm(SsmOperation::DescribeActivations, json!({})).await;
        list["ActivationList"][0]["RegistrationsCount"].as_u64().unwrap()
    };
    let first = join(&world, &key, "prod").await.unwrap();
    assert!(!first.repeated);
    // The answer was lost, the control plane was started anew, the host asks again: and all of it twice.
    for _ in 0..2 {
        let again = join(&world, &key, "prod").await.unwrap();
        assert_eq!(again, Registered { repeated: true, ..first.clone() });
    }
    let world = world.reopen().await;
    assert_eq!(join(&world, &key, "prod").await.unwrap().instance, first.instance);
    assert_eq!(used(&world).await, 1);
    // Another key is another host, and so is another token.
    let second = join(&world, &other, "prod").await.unwrap();
    assert_ne!(second.instance, first.instance);
    let spent = join(&world, &new_key(), "prod").await;
    assert!(matches!(spent, Err(JoinError::Spent(2))), "{spent:?}");
    // With all uses spent the two may still ask again. For another cluster it is another join.
    assert_eq!(join(&world, &key, "prod").await.unwrap().instance, first.instance);
    let elsewhere = join(&world, &key, "default").await;
    assert!(matches!(elsewhere, Err(JoinError::Spent(2))), "{elsewhere:?}");
    let more = world.token(json!({})).await;
    let by_another = world.core.register_instance(&more, named("prod"), facts(1024, 1024), key.clone()).await.unwrap();
    assert_ne!(by_another.instance, first.instance);
    // What was deregistered is not brought back, nor is anything once the token is over.
    let request = json!({"cluster": "prod", "containerInstance": first.instance.to_string()});
    world.ok(Op::DeregisterContainerInstance, request).await;
    let gone = join(&world, &key, "prod").await;
    assert!(matches!(gone, Err(JoinError::Spent(2))), "{gone:?}");
    world.clock.advance(Duration::from_secs(25 * 3600));
    let late = join(&world, &other, "prod").await;
    assert!(matches!(late, Err(JoinError::Expired(_))), "{late:?}");
}

#[tokio::test]
async fn wrong_expired_and_bound_tokens() {
    let world = World::new().await;
    world.cluster("prod").await;
    let join = |token: JoinToken, cluster: Option<ClusterName>| {
        let core = world.core.clone();
        async move { core.register_instance(&token, cluster, facts(1024, 1024), new_key()).await }
    };
    let invented = join(JoinToken::random([0; 32]), None).await;
    assert!(matches!(invented, Err(JoinError::UnknownToken)), "{invented:?}");
    let token = world.token(json!({})).await;
    let forged = token.reveal();
    let (start, secret) = forged.split_at(forged.len() / 2);
    let flipped = if secret.starts_with('0') { "1" } else { "0" };
    let forged: JoinToken = format!("{start}{flipped}{}", &secret[1..]).parse().unwrap();
    let wrong = join(forged, None).await;
    assert!(matches!(wrong, Err(JoinError::UnknownToken)), "{wrong:?}");

    let bound = world.token(json!({"Tags": [{"Key": "longshore:cluster", "Value": "prod"}]})).await;
    let elsewhere = join(bound.clone(), named("other")).await;
    assert!(matches!(elsewhere, Err(JoinError::OtherCluster { .. })), "{elsewhere:?}");
    let there = join(bound, None).await.unwrap();
    assert_eq!(there.cluster.name.as_str(), "prod");
    let nowhere = join(token.clone(), named("other")).await;
    assert!(matches!(nowhere, Err(JoinError::NoCluster(_))), "{nowhere:?}");
    // `default` is made on demand.
    assert_eq!(join(token.clone(), None).await.unwrap().cluster.name.as_str(), "default");
    let mut nothing = facts(1024, 1024);
    nothing.resources.cpu_units = 0;
    let refused = world.core.register_instance(&token, None, nothing, new_key()).await;
    assert!(matches!(refused, Err(JoinError::Facts(_))), "{refused:?}");
    world.clock.advance(Duration::from_secs(25 * 3600));
    let late = join(token, None).await;
    assert!(matches!(late, Err(JoinError::Expired(_))), "{late:?}");
}

#[tokio::test]
async fn as_much_of_a_host_as_may_be_said_is_kept_and_no_more() {
    let world = World::new().await;
    world.cluster("default").await;
    let mut most = facts(1024, 1024);
    // Characters count, not bytes.
    most.hostname = "é".repeat(MAX_HOST_TEXT_CHARS);
    most.attributes = (0..MAX_ATTRIBUTES)
        .map(|n| Attribute { name: format!("{n:0128}"), value: Some("é".repeat(MAX_ATTRIBUTE_CHARS)) })
        .collect();
    world.host("default", most.clone()).await;
    let beyond = [
        HostFacts { hostname: "é".repeat(MAX_HOST_TEXT_CHARS + 1), ..most.clone() },
        HostFacts { attributes: [Attribute { name: "a".repeat(129), value: None }].into(), ..most.clone() },
        HostFacts {
            attributes: [Attribute { name: "a".into(), value: Some("é".repeat(129)) }].into(), ..most.clone()
        },
        HostFacts { attributes: vec![Attribute { name: "a".into(), value: None }; MAX_ATTRIBUTES + 1].into(), ..most },
    ];
    let token = world.token(json!({})).await;
    for facts in beyond {
        let refused = world.core.register_instance(&token, None, facts, new_key()).await;
        assert!(matches!(refused, Err(JoinError::Facts(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn an_instance_as_it_is_shown() {
    let world = World::new().await;
    world.cluster("default").await;
    let mut facts = facts(2048, 1000);
    facts.versions.docker = "20.10.24".to_owned();
    facts.versions.agent = "0.1.0".to_owned();
    let agent = world.host("default", facts).await;
    let answer = world.ok(Op::DescribeContainerInstances, json!({"containerInstances": [agent.arn]})).await;
    let instance = &answer["containerInstances"][0];
    assert_eq!(instance["containerInstanceArn"], agent.arn.as_str());
    assert_eq!(instance["status"], "ACTIVE");
    assert_eq!(instance["agentConnected"], true);
    assert_eq!(instance["ec2InstanceId"], "host-1");
    assert_eq!(instance["versionInfo"], json!({"agentVersion": "0.1.0", "dockerVersion": "DockerVersion: 20.10.24"}));
    assert_eq!(
        instance["registeredResources"],
        json!([
            {"name": "CPU", "type": "INTEGER", "integerValue": 2048, "doubleValue": 0.0, "longValue": 0},
            {"name": "MEMORY", "type": "INTEGER", "integerValue": 1000, "doubleValue": 0.0, "longValue": 0},
            {"name": "PORTS", "type": "STRINGSET", "integerValue": 0, "doubleValue": 0.0, "longValue": 0,
             "stringSetValue": ["22", "2375"]},
            {"name": "PORTS_UDP", "type": "STRINGSET", "integerValue": 0, "doubleValue": 0.0, "longValue": 0,
             "stringSetValue": []},
        ])
    );
    let attributes = instance["attributes"].as_array().unwrap();
    assert!(attributes.contains(&json!({"name": "ecs.os-type", "value": "linux"})));
    let missing = "0123456789abcdef0123456789abcdef";
    let answer = world.ok(Op::DescribeContainerInstances, json!({"containerInstances": [missing]})).await;
    assert_eq!(answer["containerInstances"], json!([]));
    assert_eq!(answer["failures"][0]["reason"], "MISSING");
    let text = world.err(Op::DescribeContainerInstances, json!({"containerInstances": []})).await;
    assert_eq!(text, "InvalidParameterException: Container Instances cannot be empty.");
}

#[tokio::test]
async fn a_draining_instance_keeps_its_tasks_and_gets_no_more() {
    let world = World::new().await;
    world.cluster("default").await;
    let agent = world.host("default", facts(2048, 2048)).await;
    world.definition("web", json!({})).await;
    world.run(json!({"taskDefinition": "web"})).await;
    let set = |status: &str| json!({"containerInstances": [agent.arn], "status": status});
    let answer = world.ok(Op::UpdateContainerInstancesState, set("DRAINING")).await;
    assert_eq!(answer["containerInstances"][0]["status"], "DRAINING");
    assert_eq!(agent.assigned().len(), 1);
    let answer = world.ok(Op::RunTask, json!({"taskDefinition": "web"})).await;
    assert_eq!(answer["failures"][0]["reason"], "DRAINING");
    let list = |status: &str| world.ok(Op::ListContainerInstances, json!({"status": status}));
    assert_eq!(list("DRAINING").await["containerInstanceArns"], json!([agent.arn]));
    assert_eq!(list("ACTIVE").await["containerInstanceArns"], json!([]));
    world.ok(Op::UpdateContainerInstancesState, set("ACTIVE")).await;
    world.run(json!({"taskDefinition": "web"})).await;
    let text = world.err(Op::UpdateContainerInstancesState, set("REGISTERING")).await;
    assert!(text.contains("[ACTIVE,DRAINING]"), "{text}");
}

#[tokio::test]
async fn deregistering_ends_an_instance_for_good() {
    let world = World::new().await;
    world.cluster("default").await;
    let mut agent = world.host("default", facts(2048, 2048)).await;
    world.definition("web", json!({})).await;
    let id = task_id(&world.run(json!({"taskDefinition": "web"})).await);
    agent.is(id, TaskStatus::Running).await;
    let request = json!({"containerInstance": agent.arn});
    let text = world.err(Op::DeregisterContainerInstance, request).await;
    assert_eq!(text, "InvalidParameterException: Found running tasks on the instance.");
    let mut watch = world.core.watch_instance(agent.instance);
    let request = json!({"containerInstance": agent.arn, "force": true});
    let answer = world.ok(Op::DeregisterContainerInstance, request.clone()).await;
    assert_eq!(answer["containerInstance"]["status"], "INACTIVE");
    assert_eq!(answer["containerInstance"]["agentConnected"], false);
    assert!(watch.changed().await.is_err(), "watching it is over");
    assert!(world.core.watch_instance(agent.instance).changed().await.is_err());
    assert_eq!(world.core.assignment(agent.instance), None);
    let task = world.task(id).await;
    assert_eq!((&task["lastStatus"], &task["desiredStatus"]), (&json!("STOPPED"), &json!("STOPPED")));
    assert_eq!(task["stoppedReason"], "Container instance deregistration forced by user");
    assert_eq!(task["containers"][0]["lastStatus"], "STOPPED");

    let late = world.core.agent_reports(agent.instance, agent.session, vec![report(id, 9, TaskStatus::Running)]).await;
    assert!(matches!(late, Err(SessionError::Deregistered(_))), "{late:?}");
    let hello = AgentHello { facts: facts(2048, 2048), applied: Generation(0), observed: Vec::new() };
    let again = world.core.agent_connected(agent.instance, SessionId::random(), hello.clone()).await;
    assert!(matches!(again, Err(ConnectError::Deregistered(_))), "{again:?}");
    let stranger = world.core.agent_connected(InstanceId::random(), SessionId::random(), hello).await;
    assert!(matches!(stranger, Err(ConnectError::Unknown(_))), "{stranger:?}");
    assert_eq!(world.ok(Op::ListContainerInstances, json!({})).await["containerInstanceArns"], json!([]));
    let text = world.err(Op::DeregisterContainerInstance, request).await;
    assert!(text.contains("was not found"), "{text}");
    let text = world.err(Op::RunTask, json!({"taskDefinition": "web"})).await;
    assert!(text.contains("No Container Instances were found"), "{text}");

    world.clock.advance(Duration::from_secs(2 * 3600));
    let world = world.reopen().await;
    crate::world::until("the instance is forgotten", || {
        let state = world.core.snapshot();
        state.tasks_len() == 0 && state.clusters().all(|cluster| cluster.hosts.is_empty())
    })
    .await;
}

#[tokio::test]
async fn the_newest_session_wins() {
    let world = World::new().await;
    world.cluster("default").await;
    let mut agent = world.host("default", facts(2048, 2048)).await;
    world.definition("web", json!({})).await;
    let id = task_id(&world.run(json!({"taskDefinition": "web"})).await);
    let old = agent.session;
    agent.connect(Vec::new()).await;
    let late = world.core.agent_reports(agent.instance, old, vec![report(id, 1, TaskStatus::Stopped)]).await;
    assert!(matches!(late, Err(SessionError::Superseded { .. })), "{late:?}");
    world.core.agent_disconnected(agent.instance, old).await.unwrap();
    let connected = || async {
        let answer = world.ok(Op::DescribeContainerInstances, json!({"containerInstances": [agent.arn]})).await;
        answer["containerInstances"][0]["agentConnected"].clone()
    };
    assert_eq!(connected().await, true, "the end of an old session ends nothing");
    agent.disconnect().await;
    assert_eq!(connected().await, false);
    assert_eq!(world.task(id).await["connectivity"], "DISCONNECTED");
    assert_eq!(world.task(id).await["lastStatus"], "PENDING", "a lost host's tasks keep their state");
}

#[tokio::test]
async fn facts_follow_the_host() {
    let world = World::new().await;
    world.cluster("default").await;
    let mut agent = world.host("default", facts(1024, 1024)).await;
    agent.facts = facts(4096, 8192);
    agent.connect(Vec::new()).await;
    let answer = world.ok(Op::DescribeContainerInstances, json!({"containerInstances": [agent.arn]})).await;
    assert_eq!(answer["containerInstances"][0]["registeredResources"][0]["integerValue"], 4096);
}

#[tokio::test]
async fn an_agent_that_is_ahead_of_the_store_is_refused() {
    let world = World::new().await;
    world.cluster("default").await;
    let agent = world.host("default", facts(1024, 1024)).await;
    let hello = AgentHello { facts: facts(1024, 1024), applied: Generation(1_000_000), observed: Vec::new() };
    let refused = world.core.agent_connected(agent.instance, SessionId::random(), hello).await;
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("the store was replaced by an older copy"), "{text}");
}

#[tokio::test]
async fn generations_rise_over_restarts() {
    let world = World::new().await;
    world.cluster("default").await;
    let agent = world.host("default", facts(2048, 2048)).await;
    world.definition("web", json!({})).await;
    world.run(json!({"taskDefinition": "web"})).await;
    let (generation, assigned) = world.core.assignment(agent.instance).unwrap();
    let world = world.reopen().await;
    let (after, again) = world.core.assignment(agent.instance).unwrap();
    assert!(after > generation);
    assert_eq!(again, assigned);
}

#[tokio::test(start_paused = true)]
async fn agents_that_do_not_return_after_a_restart_count_as_disconnected() {
    let world = World::new().await;
    world.cluster("default").await;
    let silent = world.host("default", facts(2048, 2048)).await;
    let returning = world.host("default", facts(2048, 2048)).await;
    let world = world.reopen().await;
    let connected = |agent: &Agent| {
        let state = world.core.snapshot();
        state.host(agent.instance).unwrap().record.is_connected()
    };
    assert!(connected(&silent), "within its lease an agent may return");
    let hello = AgentHello { facts: facts(2048, 2048), applied: Generation(0), observed: Vec::new() };
    world.core.agent_connected(returning.instance, SessionId::random(), hello).await.unwrap();
    crate::world::until("the lease is over", || !connected(&silent)).await;
    assert!(connected(&returning));
}

#[tokio::test]
async fn a_hello_may_tell_of_many_tasks() {
    let world = World::new().await;
    world.cluster("default").await;
    let mut agent = world.host("default", facts(100_000, 100_000)).await;
    world.definition("web", json!({"cpu": 1, "memory": 6})).await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        let answer = world.ok(Op::RunTask, json!({"taskDefinition": "web", "count": 10})).await;
        ids.extend(answer["tasks"].as_array().unwrap().iter().map(task_id));
    }
    let observed = ids.iter().map(|id| report(*id, 1, TaskStatus::Running)).collect();
    agent.connect(observed).await;
    let state = world.core.snapshot();
    assert!(ids.iter().all(|id| state.task(*id).unwrap().status == TaskStatus::Running));
    assert_eq!(state.host(agent.instance).unwrap().view.running_tasks, 200);
}

#[tokio::test]
async fn attributes_are_put_listed_matched_and_deleted() {
    let world = World::new().await;
    world.cluster("default").await;
    let agent = world.host("default", facts(2048, 2048)).await;
    let second = world.host("default", facts(2048, 2048)).await;
    world.definition("web", json!({})).await;
    let attribute = json!({"name": "rack", "value": "r1", "targetId": agent.arn});
    let answer = world.ok(Op::PutAttributes, json!({"attributes": [attribute]})).await;
    assert_eq!(answer["attributes"][0]["targetId"], agent.arn.as_str());
    let request = json!({"targetType": "container-instance", "attributeName": "rack"});
    let listed = world.ok(Op::ListAttributes, request.clone()).await;
    assert_eq!(listed, json!({"attributes": [{"name": "rack", "value": "r1", "targetId": agent.arn}]}));
    let filter = json!({"filter": "attribute:rack == r1"});
    let found = world.ok(Op::ListContainerInstances, filter).await;
    assert_eq!(found["containerInstanceArns"], json!([agent.arn]));
    let text = world.err(Op::ListContainerInstances, json!({"filter": "attribute:"})).await;
    assert!(text.starts_with("InvalidParameterException: filter: "), "{text}");
    let constraint = json!([{"type": "memberOf", "expression": "attribute:rack == r1"}]);
    let run = json!({"taskDefinition": "web", "count": 5, "placementConstraints": constraint});
    world.run(run.clone()).await;
    assert_eq!(agent.assigned().len(), 5);
    // What an operator said outlives what the host says.
    let mut agent = agent;
    agent.connect(Vec::new()).await;
    assert_eq!(world.ok(Op::ListAttributes, request.clone()).await, listed);

    let wrong = json!({"name": "rack", "value": "r2", "targetId": agent.arn});
    let text = world.err(Op::DeleteAttributes, json!({"attributes": [wrong]})).await;
    assert!(text.starts_with("TargetNotFoundException"), "{text}");
    world.ok(Op::DeleteAttributes, json!({"attributes": [{"name": "rack", "targetId": agent.arn}]})).await;
    assert_eq!(world.ok(Op::ListAttributes, request).await, json!({"attributes": []}));
    let answer = world.ok(Op::RunTask, run).await;
    assert_eq!(answer["failures"][0]["reason"], "MemberOf placement constraint unsatisfied.");

    for (attributes, expected) in [
        (json!([{"name": "ecs.os-type", "value": "bsd", "targetId": second.arn}]), "is reserved"),
        (json!([{"name": "a b", "targetId": second.arn}]), "the name `a b`"),
        (json!([{"name": "a", "targetId": "0123456789abcdef0123456789abcdef"}]), "TargetNotFoundException"),
    ] {
        let text = world.err(Op::PutAttributes, json!({"attributes": attributes})).await;
        assert!(text.contains(expected), "{text}");
    }
    let ten: Vec<Value> = (0..10).map(|n| json!({"name": format!("a{n}"), "targetId": second.arn})).collect();
    world.ok(Op::PutAttributes, json!({"attributes": ten})).await;
    let eleventh = json!([{"name": "a10", "targetId": second.arn}]);
    let text = world.err(Op::PutAttributes, json!({"attributes": eleventh})).await;
    assert!(text.starts_with("AttributeLimitExceededException"), "{text}");
}

#[tokio::test]
async fn attributes_go_on_page_by_page() {
    let world = World::new().await;
    world.cluster("default").await;
    for _ in 0..5 {
        world.host("default", facts(2048, 2048)).await;
    }
    let all = world.ok(Op::ListAttributes, json!({"targetType": "container-instance"})).await;
    let all = all["attributes"].as_array().unwrap().clone();
    let mut found = Vec::new();
    let mut token = Value::Null;
    loop {
        let request = json!({"targetType": "container-instance", "maxResults": 7, "nextToken": token});
        let answer = world.ok(Op::ListAttributes, request).await;
        found.extend(answer["attributes"].as_array().unwrap().clone());
        match answer.get("nextToken") {
            Some(next) => token = next.clone(),
            None => break,
        }
    }
    assert_eq!(found, all);
    assert_eq!(found.len(), 5 * facts(1, 1).attributes.len());
}

#[tokio::test]
async fn disk_is_shown_reserved_and_short_as_the_agent_says() {
    let world = World::new().await;
    world.cluster("default").await;
    let mut facts = facts(2048, 2048);
    facts.resources.disk_mib = 10_240;
    let mut agent = world.host("default", facts).await;
    let definition = json!({"family": "writes", "ephemeralStorage": {"sizeInGiB": 4}, "containerDefinitions": [
        {"name": "main", "image": "busybox", "memory": 64}]});
    world.ok(Op::RegisterTaskDefinition, definition).await;
    let seen = async |agent: &Agent| {
        let answer = world.ok(Op::DescribeContainerInstances, json!({"containerInstances": [agent.arn]})).await;
        let instance = answer["containerInstances"][0].clone();
        let of = |which: &str| {
            let all = instance[which].as_array().unwrap();
            all.iter().find(|r| r["name"] == "DISK").unwrap()["integerValue"].as_i64().unwrap()
        };
        (of("registeredResources"), of("remainingResources"), instance["statusReason"].clone())
    };
    assert_eq!(seen(&agent).await, (10_240, 10_240, json!(null)));
    let task = world.ok(Op::RunTask, json!({"taskDefinition": "writes"})).await["tasks"][0].clone();
    assert_eq!(task["ephemeralStorage"], json!({"sizeInGiB": 4}));
    assert_eq!(seen(&agent).await, (10_240, 6144, json!(null)));

    let say = async |agent: &Agent, free_mib: u32, short: Option<&str>| {
        let status = DiskStatus { free_mib, short: short.map(str::to_owned) };
        world.core.disk_status(agent.instance, agent.session, status).await.unwrap();
    };
    say(&agent, 5000, None).await;
    assert_eq!(seen(&agent).await.1, 5000);
    let more = json!({"taskDefinition": "writes", "overrides": {"ephemeralStorage": {"sizeInGiB": 5}}});
    let answer = world.ok(Op::RunTask, more.clone()).await;
    assert_eq!(answer["failures"][0]["reason"], "RESOURCE:DISK");
    assert_eq!(answer["failures"][0]["detail"], "needs 5120 MiB of disk, has 5000 of 10240 free");
    say(&agent, 6000, Some("it is full")).await;
    assert_eq!(seen(&agent).await.2, "it is full");
    let answer = world.ok(Op::RunTask, more.clone()).await;
    assert_eq!(answer["failures"][0]["detail"], "it is full");
    // What one session said does not count for the next.
    agent.connect(Vec::new()).await;
    assert_eq!(seen(&agent).await, (10_240, 6144, json!(null)));
    let answer = world.ok(Op::RunTask, more).await;
    assert_eq!(answer["tasks"][0]["ephemeralStorage"], json!({"sizeInGiB": 5}));
    let text = world.err(Op::RunTask, json!({"taskDefinition": "writes", "overrides": {"ephemeralStorage": {}}})).await;
    assert_eq!(text, "InvalidParameterException: overrides.ephemeralStorage.sizeInGiB should not be null.");
}
