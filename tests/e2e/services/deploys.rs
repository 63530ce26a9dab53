//! Deployments as people and programs meet them: the command, boto3, and what a task asks for itself.

use std::time::{Duration, Instant};

use longshore_tests::lab::{invariant, wait_until};
use serde_json::{Value, json};

use super::super::command::{longshore, ok};
use super::super::digests::{IMAGE, Registry, push};
use super::super::exec::play;
use super::super::fields::{exec, idle};
use super::super::metadata::Inside;
use super::super::support::*;
use super::{service, services_lab, stable, tasks};

#[test]
fn deployments_are_watched_stopped_and_spare_protected_tasks() {
    let lab = services_lab(1);
    let idle = "trap 'exit 0' TERM; echo ready; while true; do sleep 0.2; done";
    let good = register(&lab, "web", json!([shell("main", idle)]), json!({}));
    let made = longshore(&lab, &["service", "create", "web", &good, "-n", "2", "--breaker", "rollback", "--wait"]);
    let table = ok(&made);
    assert!(table.contains("web:1") && table.contains("2/2") && table.contains("COMPLETED"), "{table}");
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(said.contains("web:1: 2 of 2 tasks run") && said.contains("has started 2 tasks"), "{said}");
    stable(&lab, "web");

    // A task protects itself, and is left alone by a scale-in until it is not protected any more.
    let kept = tasks(&lab, "web").unwrap().remove(0);
    let arn = kept["taskArn"].as_str().unwrap().to_owned();
    let inside = Inside::new(&lab, &arn);
    let uri = inside.environment()["ECS_AGENT_URI"].replace("http://169.254.170.2", "");
    let path = format!("{uri}/task-protection/v1/state");
    let (status, said) = inside.put(&path, &json!({"ProtectionEnabled": true, "ExpiresInMinutes": 5}));
    assert_eq!((status, &said["protection"]["ProtectionEnabled"]), (200, &json!(true)), "{said}");
    assert_eq!(said["protection"]["TaskArn"], arn.as_str());
    let asked = lab.ecs("get_task_protection", json!({"cluster": "default", "tasks": [arn]})).unwrap();
    assert_eq!(asked["protectedTasks"][0]["protectionEnabled"], true, "{asked}");
    let (status, said) = inside.put(&path, &json!({"ProtectionEnabled": true, "ExpiresInMinutes": 2881}));
    assert_eq!((status, &said["error"]["Code"]), (400, &json!("InvalidParameterException")), "{said}");
    ok(&longshore(&lab, &["service", "scale", "web", "0"]));
    let mut alone: Option<Instant> = None;
    wait_until("only the protected task is left, and for a while", DEADLINE, || {
        let left = tasks(&lab, "web")?;
        let is_there = left.iter().any(|task| task["taskArn"] == arn.as_str());
        invariant(is_there, || format!("the protected one was stopped: {left:?}"))?;
        if left.len() > 1 {
            return Ok(false);
        }
        Ok(alone.get_or_insert_with(Instant::now).elapsed() > Duration::from_secs(3))
    })
    .unwrap();
    let release = json!({"cluster": "default", "tasks": [arn], "protectionEnabled": false});
    lab.ecs("update_task_protection", release).unwrap();
    wait_until("it is stopped", DEADLINE, || Ok(tasks(&lab, "web")?.is_empty())).unwrap();
    ok(&longshore(&lab, &["service", "scale", "web", "2", "--wait"]));

    // An image that there is not: the breaker brings the one that ran back, and the command says so.
    let before: Vec<Value> = tasks(&lab, "web").unwrap().into_iter().map(|task| task["taskArn"].clone()).collect();
    let failed = longshore(&lab, &["deploy", "web", "--image", "127.0.0.1:1/none:1"]);
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert_eq!(failed.status.code(), Some(6), "{said}");
    assert!(said.contains("registered web:2") && said.contains("ROLLBACK_SUCCESSFUL"), "{said}");
    assert!(said.contains("CannotPullContainerError") && said.contains("It runs web:1 now"), "{said}");
    let after = tasks(&lab, "web").unwrap();
    assert!(before.iter().all(|arn| after.iter().any(|task| task["taskArn"] == *arn)), "{before:?}: {after:?}");

    // One that finds no place is stopped by hand.
    let vast = register(&lab, "web", json!([merged(sleeper(), json!({"memory": 900_000}))]), json!({}));
    lab.ecs("update_service", json!({"service": "web", "taskDefinition": vast})).unwrap();
    let deployment = service(&lab, "web").unwrap()["currentServiceDeployment"].clone();
    lab.ecs("stop_service_deployment", json!({"serviceDeploymentArn": deployment})).unwrap();
    stable(&lab, "web");
    let described = json!({"serviceDeploymentArns": [deployment]});
    wait_until("it is rolled back", DEADLINE, || {
        let described = lab.ecs("describe_service_deployments", described.clone())?;
        Ok(described["serviceDeployments"][0]["status"] == "ROLLBACK_SUCCESSFUL")
    })
    .unwrap();
    let listed = lab.ecs("list_service_deployments", json!({"service": "web"})).unwrap();
    assert_eq!(strings(&listed["serviceDeployments"], "status")[..2], ["ROLLBACK_SUCCESSFUL", "ROLLBACK_SUCCESSFUL"]);
    // And one that works.
    ok(&longshore(&lab, &["deploy", "web"]));

    // The same at a terminal, where one line shows how things are: one whose tasks end at once, and one that takes the
    // place of what runs, a task after the other.
    let checked = |script: &str| {
        let check = json!({"healthCheck": {"command": ["CMD-SHELL", "true"], "interval": 5}});
        register(&lab, "web", json!([merged(shell("main", script), check)]), json!({}))
    };
    let ends = checked("exit 3");
    let said = play(&lab, &["deploy", "web", id(&ends)], json!([["size", 24, 200], ["end", 6]]));
    assert!(said.contains("the deployment of service web ended with ROLLBACK_SUCCESSFUL"), "{said}");
    ok(&longshore(&lab, &["service", "update", "web", "--max-percent", "150"]));
    let works = checked(idle);
    let new = id(&works);
    let said = play(
        &lab,
        &["deploy", "web", new],
        json!([
            ["size", 24, 200],
            ["expect", format!("{new}: 1 of 2 tasks run; web:1: 2 left")],
            ["expect", format!("{new}: 2 of 2 tasks run, 1 healthy; web:1: 1 left")],
            ["expect", "2/2"],
            ["expect", "COMPLETED"],
            ["end", 0]
        ]),
    );
    assert!(said.contains("(service web) has started 1 tasks: (task "), "{said}");

    // Somebody else's controller.
    let external = json!({"serviceName": "ext", "desiredCount": 2, "deploymentController": {"type": "EXTERNAL"}});
    lab.ecs("create_service", external).unwrap();
    let set = json!({"cluster": "default", "service": "ext", "taskDefinition": good,
        "scale": {"value": 50.0, "unit": "PERCENT"}});
    let set = lab.ecs("create_task_set", set).unwrap()["taskSet"].clone();
    assert_eq!(set["computedDesiredCount"], 1, "{set}");
    wait_until("the task set is steady", DEADLINE, || {
        let named = json!({"cluster": "default", "service": "ext", "taskSets": [set["id"]]});
        let shown = lab.ecs("describe_task_sets", named)?["taskSets"][0].clone();
        Ok(shown["stabilityStatus"] == "STEADY_STATE" && shown["runningCount"] == 1)
    })
    .unwrap();
    // Another set takes its place: all of it, primary, and the first one gone.
    let second = json!({"cluster": "default", "service": "ext", "taskDefinition": good,
        "scale": {"value": 0.0, "unit": "PERCENT"}});
    let second = lab.ecs("create_task_set", second).unwrap()["taskSet"].clone();
    let of_set = |set: &Value| json!({"cluster": "default", "service": "ext", "taskSet": set["id"]});
    let mut whole = of_set(&second);
    merge(&mut whole, json!({"scale": {"value": 100.0, "unit": "PERCENT"}}));
    let scaled = lab.ecs("update_task_set", whole).unwrap()["taskSet"].clone();
    assert_eq!((&scaled["computedDesiredCount"], &scaled["stabilityStatus"]), (&json!(2), &json!("STABILIZING")));
    let primary = json!({"cluster": "default", "service": "ext", "primaryTaskSet": second["id"]});
    assert_eq!(lab.ecs("update_service_primary_task_set", primary).unwrap()["taskSet"]["status"], "PRIMARY");
    let refused = lab.ecs_error("delete_task_set", of_set(&set)).unwrap();
    assert_error(&refused, "InvalidParameterException", "scaled above 0");
    let mut forced = of_set(&set);
    merge(&mut forced, json!({"force": true}));
    assert_eq!(lab.ecs("delete_task_set", forced).unwrap()["taskSet"]["status"], "DRAINING");
    wait_until("the second set alone runs", DEADLINE, || {
        let sets = service(&lab, "ext")?["taskSets"].clone();
        let running = tasks(&lab, "ext")?;
        Ok(strings(&sets, "id") == [second["id"].as_str().unwrap()]
            && sets[0]["stabilityStatus"] == "STEADY_STATE"
            && running.len() == 2
            && running.iter().all(|task| task["startedBy"] == second["id"] && task["lastStatus"] == "RUNNING"))
    })
    .unwrap();
    let why = ok(&longshore(&lab, &["why", "ext"]));
    let steady = format!("(service ext, taskSet {}) has reached a steady state.", second["id"].as_str().unwrap());
    assert!(why.contains("2 of 2 tasks run") && why.contains(&steady), "{why}");
    for name in ["ext", "web"] {
        ok(&longshore(&lab, &["service", "delete", name, "--force", "--wait"]));
    }
    lab.wait_ecs("services_inactive", json!({"services": ["web", "ext"]})).unwrap();
}

#[test]
fn a_rollback_runs_the_image_that_a_moved_tag_stood_for() {
    let lab = services_lab(1);
    let node = lab.node(0);
    let registry = Registry::start(&lab);
    let one = push(node, "one");
    let image = json!({"image": IMAGE, "dockerLabels": {"longshore.pull-behavior": "always"}});
    register(&lab, "web", json!([merged(idle("main"), image)]), json!({}));
    let tags = json!([{"key": "team", "value": "a"}]);
    let request = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1, "tags": tags,
        "propagateTags": "SERVICE", "enableECSManagedTags": true});
    lab.ecs("create_service", request).unwrap();
    stable(&lab, "web");
    let runs = |digest: &str, mark: &str, count: usize| {
        stable(&lab, "web");
        let running = tasks(&lab, "web").unwrap();
        assert_eq!(running.len(), count);
        for task in &running {
            assert_eq!(container(task, "main")["imageDigest"], digest, "{task:#}");
            let arn = task["taskArn"].as_str().unwrap();
            assert_eq!(exec(node, arn, "main", "cat /mark"), format!("{mark}\n"));
        }
        running
    };
    runs(&one, "one", 1);

    // The tag is pushed anew, and the same definition deployed: another image.
    let two = push(node, "two");
    assert_ne!(one, two);
    let deployed = longshore(&lab, &["deploy", "web"]);
    assert!(ok(&deployed).contains("web:1"), "{deployed:?}");
    runs(&two, "two", 1);
    // More of the same, with other settings: no deployment.
    let settings = ["-n", "2", "--max-percent", "150", "--rebalancing=false", "--wait"];
    let updated = ok(&longshore(&lab, &[&["service", "update", "web"], &settings[..]].concat()));
    assert!(updated.contains("2/2"), "{updated}");
    let shown = service(&lab, "web").unwrap();
    assert_eq!(shown["deploymentConfiguration"]["maximumPercent"], 150, "{shown:#}");
    assert_eq!(shown["availabilityZoneRebalancing"], "DISABLED", "{shown:#}");
    let running = runs(&two, "two", 2);
    let table = ok(&longshore(&lab, &["service", "ps", "web"]));
    for task in &running {
        assert!(table.contains(&id(task["taskArn"].as_str().unwrap())[..8]), "{table}");
    }
    // Deployed once more it is the same image: what is gone back to is the one before.
    ok(&longshore(&lab, &["deploy", "web"]));
    runs(&two, "two", 2);
    let back = longshore(&lab, &["service", "rollback", "web"]);
    let said = String::from_utf8_lossy(&back.stderr).into_owned();
    assert!(ok(&back).contains("2/2") && said.contains("going back to service revision"), "{said}");
    let running = runs(&one, "one", 2);
    let listed = lab.ecs("list_service_deployments", json!({"service": "web"})).unwrap()["serviceDeployments"].clone();
    let targets = strings(&listed, "targetServiceRevisionArn");
    assert_eq!((targets.len(), &targets[0]), (4, &targets[3]), "the revision itself: {listed:#}");
    // And there again, though the control plane has forgotten all but its store.
    lab.control().kill().unwrap();
    lab.restart_control().unwrap();
    lab.wait_connected(1, DEADLINE).unwrap();
    ok(&longshore(&lab, &["service", "rollback", "web"]));
    runs(&two, "two", 2);

    // Tags come from the service.
    let arns: Vec<&Value> = running.iter().map(|task| &task["taskArn"]).collect();
    let tagged = lab.ecs("describe_tasks", json!({"tasks": arns, "include": ["TAGS"]})).unwrap();
    for task in tagged["tasks"].as_array().unwrap() {
        let tags = task["tags"].as_array().unwrap();
        for (key, value) in [("team", "a"), ("aws:ecs:serviceName", "web"), ("aws:ecs:clusterName", "default")] {
            assert!(tags.contains(&json!({"key": key, "value": value})), "{key}: {task:#}");
        }
    }
    ok(&longshore(&lab, &["service", "delete", "web", "--force", "--wait"]));
    registry.end();
    assert_no_leaks(&lab, &[]);
}

fn merged(mut base: Value, changes: Value) -> Value {
    merge(&mut base, changes);
    base
}
