//! Which image tasks run: tags that are resolved once for tasks of one call, and tasks that only want their images.

use crate::world::{Agent, World, facts, task_id, until, with_attribute};
use longshore_core::{AgentHello, SessionId};
use longshore_ecs_api::Operation as Op;
use longshore_model::{Generation, HostFacts, NetworkMode, TaskId, TaskStatus};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn digest(n: u8) -> String {
    format!("sha256:{n:064x}")
}

/// Two hosts.
async fn lab() -> (World, [Agent; 2]) {
    let world = World::new().await;
    world.cluster("default").await;
    let agents = [world.host("default", facts(2048, 2048)).await, world.host("default", facts(2048, 2048)).await];
    (world, agents)
}

/// One task on each host by one call, in the order of the agents.
async fn pair(world: &World, agents: &[Agent; 2], definition: &str) -> [TaskId; 2] {
    // Tasks of one group are told apart by the constraint, and there are others of the family.
    let group = uuid::Uuid::new_v4().to_string();
    let request = json!({"taskDefinition": definition, "count": 2, "group": group,
        "placementConstraints": [{"type": "distinctInstance"}]});
    let answer = world.ok(Op::RunTask, request).await;
    let tasks: BTreeMap<String, TaskId> = answer["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| (t["containerInstanceArn"].as_str().unwrap().to_owned(), task_id(t)))
        .collect();
    agents.each_ref().map(|agent| tasks[&agent.arn])
}

/// The agent says that it made the task's container of an image of this digest.
async fn has(agent: &mut Agent, task: TaskId, status: TaskStatus, digest: &str) {
    let mut report = agent.report(task, status);
    report.containers[0].image_digest = Some(digest.to_owned());
    report.containers[0].runtime_id = Some("c0ffee".to_owned());
    agent.say(vec![report]).await;
}

fn told(agent: &Agent, task: TaskId) -> Option<String> {
    agent.assigned()[&task].spec.containers[0].image_digest.as_ref().map(ToString::to_string)
}

#[tokio::test]
async fn the_first_digest_holds_for_the_tasks_of_a_call_and_for_no_others() {
    let (world, mut agents) = lab().await;
    world.definition("web", json!({"image": "reg:5000/web:1"})).await;
    let [first, second] = pair(&world, &agents, "web").await;
    assert_eq!((told(&agents[0], first), told(&agents[1], second)), (None, None));
    let mut watches = agents.each_ref().map(|agent| world.core.watch_instance(agent.instance));

    // What it saw of an image counts when there is a container of it.
    let mut seen = agents[0].report(first, TaskStatus::Pending);
    seen.containers[0].image_digest = Some(digest(9));
    agents[0].say(vec![seen]).await;
    assert_eq!(told(&agents[1], second), None);
    // Something that is no digest is shown and taken for none.
    has(&mut agents[0], first, TaskStatus::Pending, "busybox").await;
    assert_eq!(world.task(first).await["containers"][0]["imageDigest"], "busybox");
    assert_eq!(told(&agents[1], second), None);
    has(&mut agents[0], first, TaskStatus::Pending, &digest(1)).await;
    assert_eq!(told(&agents[1], second), Some(digest(1)));
    assert_eq!(told(&agents[0], first), None, "it said itself what it has");
    assert!(watches[1].has_changed().unwrap() && !watches[0].has_changed().unwrap());
    watches[1].mark_unchanged();

    // Too late: it had another one by then, as ECS's tasks may. The first one holds.
    has(&mut agents[1], second, TaskStatus::Pending, &digest(2)).await;
    assert_eq!(told(&agents[1], second), None);
    agents[1].is(second, TaskStatus::Running).await;
    assert!(!watches[1].has_changed().unwrap(), "what an agent says itself is no news for it");
    assert_eq!(world.task(first).await["containers"][0]["imageDigest"], digest(1));
    assert_eq!(world.task(second).await["containers"][0]["imageDigest"], digest(2));

    // Other calls resolve the tag anew, be it one task or several.
    let alone = task_id(&world.run(json!({"taskDefinition": "web"})).await);
    let [third, fourth] = pair(&world, &agents, "web").await;
    let news = |task| agents.iter().find_map(|a| a.assigned().get(&task).map(|t| t.spec.containers[0].clone()));
    for task in [alone, third, fourth] {
        assert_eq!(news(task).unwrap().image_digest, None, "{task}");
    }
}

#[tokio::test]
async fn what_a_tag_was_resolved_to_survives_a_restart_and_goes_with_the_last_task() {
    let (world, mut agents) = lab().await;
    world.definition("web", json!({})).await;
    let [first, second] = pair(&world, &agents, "web").await;
    // One that is over at once has told it all the same.
    has(&mut agents[0], first, TaskStatus::Stopped, &digest(3)).await;
    let key = world.core.snapshot().task(second).unwrap().pins.clone().unwrap();
    let world = world.reopen().await;
    let assigned = world.core.assignment(agents[1].instance).unwrap().1;
    assert_eq!(assigned[&second].spec.containers[0].image_digest.as_ref().unwrap().as_str(), digest(3));
    assert!(world.core.snapshot().pins(&key).is_some());

    let session = SessionId::random();
    let mut over = crate::world::report(second, 9, TaskStatus::Stopped);
    over.containers[0].image_digest = Some(digest(4));
    let hello = AgentHello { facts: facts(2048, 2048), applied: Generation(0), observed: vec![over] };
    world.core.agent_connected(agents[1].instance, session, hello).await.unwrap();
    let world = world.reopen().await;
    until("what the tags were resolved to is forgotten", || world.core.snapshot().pins(&key).is_none()).await;
    assert!(world.core.snapshot().task(second).is_some());
}

#[tokio::test]
async fn containers_may_be_left_out_and_digests_need_no_digest() {
    let (world, mut agents) = lab().await;
    world.definition("free", json!({"versionConsistency": "disabled"})).await;
    world.definition("exact", json!({"image": format!("busybox@{}", digest(7))})).await;
    world.definition("bound", json!({"versionConsistency": "enabled"})).await;
    for (family, expected) in [("free", None), ("exact", None), ("bound", Some(digest(7)))] {
        let [first, second] = pair(&world, &agents, family).await;
        has(&mut agents[0], first, TaskStatus::Pending, &digest(7)).await;
        assert_eq!(told(&agents[1], second), expected, "{family}");
    }
}

fn able(facts: HostFacts) -> HostFacts {
    with_attribute(facts, "longshore.pull-only", None)
}

#[tokio::test]
async fn a_task_that_only_pulls_takes_nothing_and_is_given_nothing() {
    let world = World::new().await;
    world.cluster("default").await;
    let old = world.host("default", facts(2048, 2048)).await;
    let able = world.host("default", able(facts(128, 64))).await;
    let container = json!({"name": "app", "image": "busybox", "memory": 64, "cpu": 128, "privileged": true,
        "portMappings": [{"containerPort": 80}], "environment": [{"name": "SECRET", "value": "hush"}],
        "mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}]});
    let side = json!({"name": "side", "image": "other:1", "memory": 8, "essential": false,
        "dependsOn": [{"containerName": "app", "condition": "HEALTHY"}],
        "dockerLabels": {"longshore.pull-behavior": "always"}});
    let mut healthy = container.clone();
    healthy["healthCheck"] = json!({"command": ["CMD", "true"]});
    let request = json!({"family": "web", "networkMode": "awsvpc", "containerDefinitions": [healthy, side],
        "volumes": [{"name": "data"}]});
    world.ok(Op::RegisterTaskDefinition, request).await;
    let tags = |value: &str| json!([{"key": "longshore.pull-only", "value": value}]);
    let start = |value: &str| {
        json!({"taskDefinition": "web", "tags": tags(value),
        "containerInstances": [old.arn, able.arn]})
    };
    let text = world.err(Op::StartTask, start("yes")).await;
    assert!(text.contains("tags: `longshore.pull-only` must be `true` or be left out, and is `yes`"), "{text}");
    // The host has no task network, no such capabilities and little room, and needs none of it.
    let answer = world.ok(Op::StartTask, start("true")).await;
    let [task] = answer["tasks"].as_array().unwrap().as_slice() else { panic!("{answer}") };
    assert_eq!((&task["cpu"], &task["memory"], &task["attachments"]), (&json!("0"), &json!("0"), &json!([])));
    assert_eq!(task["containerInstanceArn"], able.arn.as_str());
    assert_eq!(answer["failures"][0]["arn"], old.arn.as_str());
    assert_eq!(answer["failures"][0]["reason"], "ATTRIBUTE", "an agent that does not know it would run it");
    let id = task_id(task);
    let assigned = able.assigned();
    let spec = &assigned[&id].spec;
    assert!(spec.pull_only && spec.volumes.is_empty() && spec.awsvpc.is_none());
    assert_eq!((spec.network_mode, spec.containers.len()), (NetworkMode::None, 2));
    let app = &spec.containers[0];
    assert!(!app.privileged && app.port_mappings.is_empty() && app.environment.is_empty());
    assert!(spec.containers.iter().all(|c| c.lifecycle == Default::default()));
    assert_eq!(spec.containers[1].image, "other:1");
    assert_eq!(spec.containers[1].docker_labels["longshore.pull-behavior"], "always");

    // By RunTask it is placed like any other.
    let answer: Value = world.ok(Op::RunTask, json!({"taskDefinition": "web", "tags": tags("true")})).await;
    assert_eq!(answer["tasks"][0]["containerInstanceArn"], able.arn.as_str(), "{answer}");
}
