//! Task protection: what it spares a task, how it ends, and who cannot have it.

use crate::fleet::{Fleet, healthy, stable};
use longshore_core::{ProtectionChange, ProtectionError};
use longshore_ecs_api::Operation as Op;
use longshore_model::TaskId;
use serde_json::{Value, json};
use std::time::Duration;

async fn protect(fleet: &Fleet, task: TaskId, minutes: Value) -> Value {
    let request = json!({"cluster": "default", "tasks": [task.to_string()], "protectionEnabled": minutes != json!(0),
        "expiresInMinutes": if minutes == json!(0) { Value::Null } else { minutes }});
    fleet.world.ok(Op::UpdateTaskProtection, request).await
}

async fn service(count: usize) -> Fleet {
    let mut fleet = Fleet::new(2).await;
    for family in ["one", "two"] {
        fleet.world.definition(family, json!({})).await;
    }
    let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": count});
    fleet.world.ok(Op::CreateService, request).await;
    fleet.until("it is stable", healthy, stable(count)).await;
    fleet
}

fn ids(fleet: &Fleet) -> Vec<TaskId> {
    fleet.tasks().into_iter().map(|(id, ..)| id).collect()
}

#[tokio::test]
async fn a_protected_task_outlives_a_scale_in_until_its_time_is_over() {
    let mut fleet = service(3).await;
    let all = ids(&fleet);
    for task in &all[..2] {
        let answer = protect(&fleet, *task, json!(null)).await;
        assert_eq!(answer["failures"], json!([]), "{answer}");
        let shown = &answer["protectedTasks"][0];
        assert_eq!(shown["protectionEnabled"], true);
        // Two hours, by a clock that stands still.
        assert_eq!(shown["expirationDate"], json!(1_700_007_200.0), "{shown}");
    }
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "desiredCount": 0})).await;
    fleet.until("only they are left", healthy, |service| service["runningCount"] == 2).await;
    let mut left = ids(&fleet);
    left.sort_unstable();
    let mut kept = all[..2].to_vec();
    kept.sort_unstable();
    assert_eq!(left, kept);
    // It is kept, also by a process that comes after.
    fleet.world = fleet.world.reopen_with(crate::fleet::config()).await;
    for agent in &mut fleet.agents {
        agent.move_to(&fleet.world.core).await;
    }
    let asked = fleet.world.ok(Op::GetTaskProtection, json!({"cluster": "default"})).await;
    assert_eq!(asked["protectedTasks"].as_array().unwrap().len(), 2);
    // Taken from one, it goes at once; of the other the time is over in the end, and somebody notices by himself.
    let answer = protect(&fleet, all[0], json!(0)).await;
    assert_eq!(answer["protectedTasks"][0]["protectionEnabled"], false);
    fleet.until("one is left", healthy, |service| service["runningCount"] == 1).await;
    protect(&fleet, all[1], json!(1)).await;
    fleet.world.clock.advance(Duration::from_secs(61));
    let asked = json!({"cluster": "default", "tasks": [all[1].to_string()]});
    let asked = fleet.world.ok(Op::GetTaskProtection, asked).await;
    assert_eq!(asked["protectedTasks"][0]["protectionEnabled"], false);
    assert_eq!(asked["protectedTasks"][0]["expirationDate"], Value::Null);
    // This clock jumped; a change wakes the controller, as the end of a minute that passes would.
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "healthCheckGracePeriodSeconds": 1})).await;
    fleet.until("none is left", healthy, |service| service["runningCount"] == 0).await;
}

#[tokio::test]
async fn a_deployment_waits_for_protected_tasks_and_their_time_is_not_prolonged() {
    let mut fleet = service(2).await;
    let old = ids(&fleet)[0];
    protect(&fleet, old, json!(5)).await;
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "taskDefinition": "two"})).await;
    let waits = |service: &Value| {
        let deployments = service["deployments"].as_array().unwrap();
        deployments.len() == 2 && deployments[0]["runningCount"] == 2 && deployments[1]["runningCount"] == 1
    };
    let service = fleet.until("it waits", healthy, waits).await;
    assert_eq!(service["deployments"][0]["rolloutState"], "IN_PROGRESS");
    assert!(ids(&fleet).contains(&old));
    let refused = protect(&fleet, old, json!(10)).await;
    assert_eq!(refused["failures"][0]["reason"], "DEPLOYMENT_BLOCKED");
    // One of the new ones may be protected all the same.
    let new = ids(&fleet).into_iter().find(|id| *id != old).unwrap();
    assert_eq!(protect(&fleet, new, json!(10)).await["failures"], json!([]));
    // StopTask is stronger.
    fleet.world.ok(Op::StopTask, json!({"task": old.to_string()})).await;
    fleet.until("it is through", healthy, stable(2)).await;
}

#[tokio::test]
async fn the_agent_of_a_task_asks_for_it_and_for_no_other() {
    let mut fleet = service(1).await;
    fleet.world.definition("job", json!({})).await;
    let job = crate::world::task_id(&fleet.world.run(json!({"taskDefinition": "job"})).await);
    fleet.pump(healthy).await;
    let task = fleet.tasks().into_iter().find(|(_, family, _)| family == "one").unwrap().0;
    let at = |task| fleet.agents.iter().find(|agent| agent.assigned().contains_key(&task)).unwrap().instance;
    let elsewhere = fleet.agents.iter().find(|agent| agent.instance != at(task)).unwrap().instance;
    let core = &fleet.world.core;
    let ask = async |instance, task, change| core.task_protection(instance, task, change).await;
    assert_eq!(ask(at(task), task, ProtectionChange::None).await.unwrap(), None);
    let until = ask(at(task), task, ProtectionChange::Protect(Some(5))).await.unwrap().unwrap();
    assert_eq!(until.millis(), 1_700_000_300_000);
    assert_eq!(ask(at(task), task, ProtectionChange::None).await.unwrap(), Some(until));
    assert_eq!(ask(at(task), task, ProtectionChange::Release).await.unwrap(), None);
    let error = ask(elsewhere, task, ProtectionChange::Protect(None)).await.unwrap_err();
    assert!(matches!(error, ProtectionError::NotAssigned(id) if id == task), "{error}");
    for change in [ProtectionChange::None, ProtectionChange::Protect(None)] {
        let error = ask(at(job), job, change).await.unwrap_err();
        assert!(matches!(error, ProtectionError::Refused { reason: "TASK_NOT_VALID", .. }), "{error}");
    }
    for minutes in [0, -1, 2881] {
        let error = ask(at(task), task, ProtectionChange::Protect(Some(minutes))).await.unwrap_err();
        assert!(matches!(&error, ProtectionError::Minutes(text) if text.contains("2880")), "{error}");
    }
}

#[tokio::test]
async fn what_cannot_be_protected_is_said_task_by_task() {
    let mut fleet = service(1).await;
    fleet.world.definition("job", json!({})).await;
    let job = crate::world::task_id(&fleet.world.run(json!({"taskDefinition": "job"})).await);
    fleet.pump(healthy).await;
    let task = fleet.tasks().into_iter().find(|(_, family, _)| family == "one").unwrap().0;
    let nothing = "0123456789abcdef0123456789abcdef";
    let request = json!({"cluster": "default", "protectionEnabled": true,
        "tasks": [task.to_string(), job.to_string(), nothing]});
    let answer = fleet.world.ok(Op::UpdateTaskProtection, request).await;
    assert_eq!(answer["protectedTasks"].as_array().unwrap().len(), 1);
    let reasons: Vec<&str> =
        answer["failures"].as_array().unwrap().iter().map(|failure| failure["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["TASK_NOT_VALID", "MISSING"]);
    let asked = json!({"cluster": "default", "tasks": [job.to_string()]});
    let asked = fleet.world.ok(Op::GetTaskProtection, asked).await;
    assert_eq!(asked["failures"][0]["reason"], "TASK_NOT_VALID");
    let task = task.to_string();
    for (request, expected) in [
        (
            json!({"tasks": [task], "protectionEnabled": true, "expiresInMinutes": 0}),
            "expiresInMinutes must be between",
        ),
        (json!({"tasks": [task], "protectionEnabled": true, "expiresInMinutes": 2881}), "expiresInMinutes must be"),
        (json!({"tasks": [], "protectionEnabled": true}), "Tasks cannot be empty."),
        (json!({"tasks": vec![task.clone(); 11], "protectionEnabled": true}), "tasks can have at most 10 items."),
        (json!({"tasks": [task]}), "protectionEnabled"),
        (json!({"cluster": "nowhere", "tasks": [task], "protectionEnabled": true}), "Cluster not found."),
        (json!({"tasks": ["x"], "protectionEnabled": true}), "taskId length should be one of [32,36]"),
    ] {
        let mut full = json!({"cluster": "default"});
        full.as_object_mut().unwrap().extend(request.as_object().unwrap().clone());
        let refused = fleet.world.err(Op::UpdateTaskProtection, full).await;
        assert!(refused.contains(expected), "{request}: {refused}");
    }
    let asked = json!({"cluster": "default", "tasks": [task]});
    let asked = fleet.world.ok(Op::GetTaskProtection, asked).await;
    assert_eq!(asked["protectedTasks"][0]["expirationDate"], json!(1_700_007_200.0), "nothing of that changed it");
}
