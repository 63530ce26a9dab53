//! ExecuteCommand: which tasks it is for, what it answers, and what is remembered of it.

use crate::fleet::{Fleet, healthy, messages};
use crate::world::{World, facts, task_id, with_attribute};
use longshore_core::ExecError;
use longshore_ecs_api::Operation as Op;
use longshore_model::TaskStatus;
use serde_json::{Value, json};

#[tokio::test]
async fn a_command_goes_to_tasks_that_were_run_for_it_on_hosts_that_can() {
    let world = World::new().await;
    world.cluster("default").await;
    world.definition("web", json!({})).await;
    world.host("default", facts(2048, 2048)).await;
    let enabled = json!({"taskDefinition": "web", "enableExecuteCommand": true});
    let answer = world.ok(Op::RunTask, enabled.clone()).await;
    assert!(answer["failures"][0]["reason"].as_str().is_some_and(|why| why.starts_with("ATTRIBUTE")), "{answer}");

    let able = with_attribute(facts(2048, 2048), "ecs.capability.execute-command", None);
    let mut agent = world.host("default", able).await;
    let task = world.run(enabled).await;
    let id = task_id(&task);
    assert_eq!((&task["enableExecuteCommand"], &task["containerInstanceArn"]), (&json!(true), &json!(agent.arn)));
    let request = |more: Value| {
        let mut request = json!({"task": id.to_string(), "interactive": true, "command": "sh -c 'echo secret'"});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let text = world.err(Op::ExecuteCommand, request(json!({}))).await;
    assert!(text.contains("InvalidParameterException: The execute command failed because"), "{text}");
    agent.is(id, TaskStatus::Running).await;
    let shown = world.task(id).await;
    assert_eq!(shown["containers"][0]["managedAgents"][0]["lastStatus"], "RUNNING");
    let text = world.err(Op::ExecuteCommand, request(json!({}))).await;
    assert!(text.starts_with("TargetNotConnectedException"), "{text}");

    let execs = world.core.execs();
    let _line = execs.line(agent.instance);
    for (wrong, expected) in [
        (json!({"interactive": false}), "interactive"),
        (json!({"command": ""}), "must name a program"),
        (json!({"command": "a 'b"}), "quote"),
        (json!({"command": "x".repeat(70_000)}), "at most 65536 bytes"),
        (json!({"command": "a ".repeat(1025)}), "at most 1024 words"),
        (json!({"container": "other"}), "The container other does not exist"),
        (json!({"task": "0123456789abcdef0123456789abcdef"}), "was not found"),
        (json!({"cluster": "other"}), "ClusterNotFoundException"),
    ] {
        let text = world.err(Op::ExecuteCommand, request(wrong)).await;
        assert!(text.contains(expected), "{text}");
    }
    let answer = world.ok(Op::ExecuteCommand, request(json!({}))).await;
    assert_eq!(answer["containerName"], "app");
    assert_eq!(answer["containerArn"], shown["containers"][0]["containerArn"]);
    let session = answer["session"]["streamUrl"].as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap();
    let token = answer["session"]["tokenValue"].as_str().unwrap();
    assert_eq!(execs.claim(session, "other").map(drop), Err(ExecError::Token));
    let claimed = execs.claim(session, token).unwrap();
    assert_eq!(claimed.session.label, "`sh` with 2 arguments");
    world.core.note_exec(&claimed.session, "`sh` with 2 arguments, for somebody".to_owned()).await.unwrap();
    let args = json!({"tasks": [id.to_string()], "include": ["LONGSHORE_HISTORY"]});
    let history = world.ok(Op::DescribeTasks, args).await["tasks"][0]["attachments"].to_string();
    assert!(history.contains("container `app`: `sh` with 2 arguments, for somebody"), "{history}");
    assert!(!history.contains("secret"));

    // What is in a program's path or behind a blank of its word is for no log.
    let long = format!("/bin/{}/sh -c x", "./".repeat(300));
    for (command, label) in [(long.as_str(), "`sh` with 2 arguments"), ("'mysql -psecret/x'", "`mysql`")] {
        let answer = world.ok(Op::ExecuteCommand, request(json!({"command": command}))).await;
        let session = answer["session"]["streamUrl"].as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap();
        let claimed = execs.claim(session, answer["session"]["tokenValue"].as_str().unwrap()).unwrap();
        assert_eq!(claimed.session.label, label);
        assert!(!format!("{:?}", claimed.session.what).contains("secret"));
    }

    agent.is(id, TaskStatus::Stopped).await;
    let text = world.err(Op::ExecuteCommand, request(json!({}))).await;
    assert!(text.contains("isn't running"), "{text}");
}

#[tokio::test]
async fn the_tasks_of_a_service_take_commands_where_it_says_so() {
    let mut fleet = Fleet::new(1).await;
    fleet.world.definition("web", json!({})).await;
    let create =
        json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1, "enableExecuteCommand": true});
    fleet.world.ok(Op::CreateService, create).await;
    let refused = |service: &Value| {
        let told = messages(service);
        told.iter().any(|message| message.contains("missing an attribute required by your task"))
    };
    fleet.until("a host that cannot is not taken", healthy, refused).await;
    let able = with_attribute(facts(2048, 2048), "ecs.capability.execute-command", None);
    let host = fleet.world.host("default", able).await;
    fleet.agents.push(host);
    fleet.until("it runs", healthy, |service| service["runningCount"] == 1).await;
    let id = *fleet.agents[1].assigned().keys().next().unwrap();
    let task = fleet.world.task(id).await;
    assert_eq!(task["enableExecuteCommand"], true, "{task}");
}
