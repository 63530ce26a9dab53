//! Task definitions.

use crate::world::{World, facts, task_id, until};
use longshore_ecs_api::Operation as Op;
use longshore_model::TaskStatus;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn revisions_count_up_and_the_newest_active_one_is_meant() {
    let world = World::new().await;
    let request = json!({
        "family": "web",
        "containerDefinitions": [{"name": "app", "image": "busybox", "memory": 64}],
        "tags": [{"key": "team", "value": "a"}],
    });
    let answer = world.ok(Op::RegisterTaskDefinition, request.clone()).await;
    let definition = &answer["taskDefinition"];
    assert_eq!(definition["taskDefinitionArn"], "arn:aws:ecs:lab:123456789012:task-definition/web:1");
    assert_eq!(definition["revision"], 1);
    assert_eq!(definition["status"], "ACTIVE");
    assert_eq!(definition["registeredBy"], "arn:aws:iam::123456789012:root");
    assert_eq!(definition["registeredAt"], 1_700_000_000.0);
    assert_eq!(definition["containerDefinitions"][0]["essential"], true);
    assert_eq!(answer["tags"], json!([{"key": "team", "value": "a"}]));
    let second = world.ok(Op::RegisterTaskDefinition, request).await;
    assert_eq!(second["taskDefinition"]["revision"], 2);

    let describe = |name: &str| json!({"taskDefinition": name, "include": ["TAGS"]});
    let newest = world.ok(Op::DescribeTaskDefinition, describe("web")).await;
    assert_eq!(newest["taskDefinition"]["revision"], 2);
    assert_eq!(newest["tags"], json!([{"key": "team", "value": "a"}]));
    let gone = world.ok(Op::DeregisterTaskDefinition, json!({"taskDefinition": "web:2"})).await;
    assert_eq!(gone["taskDefinition"]["status"], "INACTIVE");
    assert_eq!(gone["taskDefinition"]["deregisteredAt"], 1_700_000_000.0);
    let newest = world.ok(Op::DescribeTaskDefinition, describe("web")).await;
    assert_eq!(newest["taskDefinition"]["revision"], 1);
    let inactive = world.ok(Op::DescribeTaskDefinition, describe("web:2")).await;
    assert_eq!(inactive["taskDefinition"]["status"], "INACTIVE");
}

#[tokio::test]
async fn what_is_not_there_is_told_in_ecs_words() {
    let world = World::new().await;
    world.definition("web", json!({})).await;
    for name in ["other", "web:2", "arn:aws:ecs:lab:999999999999:task-definition/web:1"] {
        let text = world.err(Op::DescribeTaskDefinition, json!({"taskDefinition": name})).await;
        assert_eq!(text, "ClientException: Unable to describe task definition.", "{name}");
    }
    let text = world.err(Op::DeregisterTaskDefinition, json!({"taskDefinition": "web"})).await;
    assert_eq!(text, "ClientException: Revision is missing.");
    let text = world.err(Op::DeregisterTaskDefinition, json!({"taskDefinition": "web:x"})).await;
    assert_eq!(text, "InvalidParameterException: Invalid revision number. Number: x");
    let text = world.err(Op::DescribeTaskDefinition, json!({})).await;
    assert!(text.contains("taskDefinition"), "{text}");
}

#[tokio::test]
async fn a_deleted_definition_goes_when_no_task_refers_to_it_and_its_number_is_not_used_again() {
    let world = World::new().await;
    world.cluster("default").await;
    let mut agent = world.host("default", facts(1024, 1024)).await;
    let arn = world.definition("web", json!({})).await;
    let task = task_id(&world.run(json!({"taskDefinition": "web"})).await);
    let delete = |names: Value| world.ok(Op::DeleteTaskDefinitions, json!({"taskDefinitions": names}));
    let answer = delete(json!([arn, "web:9", "web"])).await;
    let reasons: Vec<&str> =
        answer["failures"].as_array().unwrap().iter().map(|f| f["reason"].as_str().unwrap()).collect();
    assert!(reasons.iter().any(|r| r.contains("still in ACTIVE status")), "{reasons:?}");
    assert!(reasons.iter().any(|r| r.contains("does not exist")), "{reasons:?}");
    assert!(reasons.iter().any(|r| r.contains("identifier is invalid")), "{reasons:?}");
    world.ok(Op::DeregisterTaskDefinition, json!({"taskDefinition": arn})).await;
    let text = world.err(Op::RunTask, json!({"taskDefinition": arn})).await;
    assert_eq!(text, "ClientException: TaskDefinition is inactive");
    let answer = delete(json!([arn])).await;
    assert_eq!(answer["taskDefinitions"][0]["status"], "DELETE_IN_PROGRESS");
    assert_eq!(answer["failures"], json!([]));

    // The running task keeps it, over restarts and after its end while the task is remembered.
    agent.is(task, TaskStatus::Stopped).await;
    let world = world.reopen().await;
    let found = world.ok(Op::DescribeTaskDefinition, json!({"taskDefinition": arn})).await;
    assert_eq!(found["taskDefinition"]["status"], "DELETE_IN_PROGRESS");
    world.clock.advance(Duration::from_secs(2 * 3600));
    let world = world.reopen().await;
    until("the task is forgotten", || world.core.snapshot().task(task).is_none()).await;
    // The definition follows at the sweeper's next turn, which a restart brings.
    let world = world.reopen().await;
    until("the definition is forgotten", || {
        world.core.snapshot().clusters().all(|_| true) && {
            let families = world.core.snapshot();
            let key = longshore_core::records::DefinitionKey {
                region: longshore_model::Region::new("lab").unwrap(),
                family: "web".into(),
                revision: 1,
            };
            families.definition(&key).is_none()
        }
    })
    .await;
    assert!(world.definition("web", json!({})).await.ends_with("web:2"));
}

#[tokio::test]
async fn lists_by_family_status_and_order() {
    let world = World::new().await;
    for family in ["api", "web", "web-2"] {
        for _ in 0..3 {
            world.definition(family, json!({})).await;
        }
    }
    world.ok(Op::DeregisterTaskDefinition, json!({"taskDefinition": "web:2"})).await;
    let names = |request: Value| {
        let world = &world;
        async move {
            let mut found: Vec<String> = Vec::new();
            let mut token = Value::Null;
            loop {
                let mut request = request.clone();
                request["maxResults"] = json!(2);
                request["nextToken"] = token;
                let answer = world.ok(Op::ListTaskDefinitions, request).await;
                let arns = answer["taskDefinitionArns"].as_array().unwrap();
                found.extend(arns.iter().map(|arn| arn.as_str().unwrap().rsplit('/').next().unwrap().to_owned()));
                match answer.get("nextToken") {
                    Some(next) => token = next.clone(),
                    None => return found,
                }
            }
        }
    };
    let up = ["api:1", "api:2", "api:3", "web:1", "web:3", "web-2:1", "web-2:2", "web-2:3"];
    assert_eq!(names(json!({})).await, up);
    let down: Vec<&str> = up.iter().rev().copied().collect();
    assert_eq!(names(json!({"sort": "DESC"})).await, down);
    assert_eq!(names(json!({"familyPrefix": "web"})).await, ["web:1", "web:3"]);
    assert_eq!(names(json!({"familyPrefix": "web", "sort": "DESC"})).await, ["web:3", "web:1"]);
    assert_eq!(names(json!({"status": "INACTIVE"})).await, ["web:2"]);

    let families = |request: Value| world.ok(Op::ListTaskDefinitionFamilies, request);
    assert_eq!(families(json!({"familyPrefix": "web"})).await["families"], json!(["web", "web-2"]));
    for revision in [1, 3] {
        world.ok(Op::DeregisterTaskDefinition, json!({"taskDefinition": format!("web:{revision}")})).await;
    }
    assert_eq!(families(json!({"status": "INACTIVE"})).await["families"], json!(["web"]));
    assert_eq!(families(json!({"status": "ACTIVE"})).await["families"], json!(["api", "web-2"]));
    let first = families(json!({"maxResults": 2})).await;
    assert_eq!(first["families"], json!(["api", "web"]));
    let rest = families(json!({"maxResults": 2, "nextToken": first["nextToken"]})).await;
    assert_eq!(rest, json!({"families": ["web-2"]}));
}
