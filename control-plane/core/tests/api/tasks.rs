//! Tasks: from RunTask over an agent's reports to the end of their time in memory.

use crate::world::{Agent, World, facts, id_of, report, task_id, until, with_attribute, without_attribute};
use longshore_ecs_api::Operation as Op;
use longshore_model::{DesiredStatus, HostPort, StopCode, StopInfo, TaskStatus};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

async fn lab() -> (World, Agent) {
    let world = World::new().await;
    world.cluster("default").await;
    let agent = world.host("default", facts(2048, 2048)).await;
    (world, agent)
}

#[tokio::test]
async fn a_task_from_request_to_forgotten() {
    let (world, mut agent) = lab().await;
    let definition = world.definition("web", json!({"portMappings": [{"containerPort": 80}]})).await;
    let before = agent.generation();
    let mut watch = world.core.watch_instance(agent.instance);
    let task =
        world.run(json!({"taskDefinition": "web", "startedBy": "me", "tags": [{"key": "a", "value": "b"}]})).await;
    let id = task_id(&task);
    assert_eq!(task["lastStatus"], "PENDING");
    assert_eq!(task["desiredStatus"], "RUNNING");
    assert_eq!(task["taskDefinitionArn"], definition.as_str());
    assert_eq!(task["containerInstanceArn"], agent.arn.as_str());
    assert_eq!(task["group"], "family:web");
    assert_eq!((&task["cpu"], &task["memory"]), (&json!("128"), &json!("64")));
    assert_eq!(task["launchType"], "EC2");
    assert_eq!(task["startedBy"], "me");
    assert_eq!(task["connectivity"], "CONNECTED");
    assert_eq!(task["tags"], json!([{"key": "a", "value": "b"}]));
    assert_eq!(task["attributes"], json!([{"name": "ecs.cpu-architecture", "value": "x86_64"}]));
    assert_eq!(
        task["overrides"],
        json!({"containerOverrides": [{"name": "app"}], "inferenceAcceleratorOverrides": []})
    );
    assert_eq!(task["containers"][0]["lastStatus"], "PENDING");
    for absent in ["startedAt", "stoppedAt", "stopCode", "stoppedReason", "connectivityAt"] {
        assert_eq!(task.get(absent), None, "{absent}");
    }

    watch.changed().await.unwrap();
    assert!(*watch.borrow_and_update() > before);
    assert_eq!(agent.generation(), *watch.borrow());
    let assigned = agent.assigned();
    let ours = &assigned[&id];
    assert_eq!((ours.desired, ours.may_start), (DesiredStatus::Running, true));
    assert_eq!(ours.spec.containers[0].port_mappings[0].host_port, HostPort::Dynamic);
    assert_eq!(ours.spec.arn, task["taskArn"].as_str().unwrap());

    agent.is(id, TaskStatus::Pending).await;
    assert!(agent.assigned()[&id].may_start);
    agent.is(id, TaskStatus::Running).await;
    assert!(!agent.assigned()[&id].may_start);
    assert!(!watch.has_changed().unwrap(), "what an agent says itself is no news for it");
    let shown = world.task(id).await;
    assert_eq!(shown["lastStatus"], "RUNNING");
    assert_eq!(shown["startedAt"], 1_700_000_000.3);
    assert_eq!(shown["containers"][0]["lastStatus"], "RUNNING");
    assert_eq!(shown["tags"], json!([]));
    assert_eq!(
        shown["containers"][0]["networkBindings"],
        json!([{"bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 8080, "protocol": "tcp"}])
    );

    let stopping = world.ok(Op::StopTask, json!({"task": id.to_string(), "reason": "enough"})).await;
    assert_eq!(stopping["task"]["lastStatus"], "RUNNING");
    assert_eq!(stopping["task"]["desiredStatus"], "STOPPED");
    watch.changed().await.unwrap();
    assert_eq!(agent.assigned()[&id].desired, DesiredStatus::Stopped);
    assert_eq!(agent.assigned()[&id].stop_reason, "enough");
    agent.is(id, TaskStatus::Stopped).await;
    watch.changed().await.unwrap();
    assert_eq!(agent.assigned().len(), 0);
    let stopped = world.task(id).await;
    assert_eq!(stopped["lastStatus"], "STOPPED");
    assert_eq!(stopped["stopCode"], "UserInitiated");
    assert_eq!(stopped["stoppedReason"], "enough");
    assert_eq!(stopped["containers"][0]["exitCode"], 0);
    let list = |desired: &str| world.ok(Op::ListTasks, json!({"desiredStatus": desired}));
    assert_eq!(list("RUNNING").await["taskArns"], json!([]));
    assert_eq!(list("STOPPED").await["taskArns"], json!([task["taskArn"]]));

    world.clock.advance(Duration::from_secs(3599));
    let world = world.reopen().await;
    assert_eq!(world.task(id).await["lastStatus"], "STOPPED");
    world.clock.advance(Duration::from_secs(1));
    let world = world.reopen().await;
    until("the task is forgotten", || world.core.snapshot().task(id).is_none()).await;
    let gone = world.ok(Op::DescribeTasks, json!({"tasks": [id.to_string()]})).await;
    assert_eq!(gone["failures"], json!([{"arn": task["taskArn"], "reason": "MISSING"}]));
}

#[tokio::test]
async fn a_task_that_ends_by_itself_says_why() {
    let (world, mut agent) = lab().await;
    world.definition("web", json!({})).await;
    let id = task_id(&world.run(json!({"taskDefinition": "web"})).await);
    agent.is(id, TaskStatus::Running).await;
    let mut stopping = agent.report(id, TaskStatus::Stopping);
    stopping.stop = Some(StopInfo {
        code: Some(StopCode::EssentialContainerExited),
        reason: "Essential container in task exited".to_owned(),
    });
    agent.say(vec![stopping]).await;
    assert_eq!(world.task(id).await["desiredStatus"], "STOPPED");
    // Somebody who stops it now comes too late to be the reason.
    world.ok(Op::StopTask, json!({"task": id.to_string(), "reason": "late"})).await;
    agent.is(id, TaskStatus::Stopped).await;
    let shown = world.task(id).await;
    assert_eq!(shown["stopCode"], "EssentialContainerExited");
    assert_eq!(shown["stoppedReason"], "Essential container in task exited");
    assert_eq!(shown["stoppedAt"], 1_700_000_000.5);
}

#[tokio::test]
async fn a_task_that_waits_says_for_what_until_it_runs() {
    let (world, mut agent) = lab().await;
    world.definition("web", json!({})).await;
    let id = task_id(&world.run(json!({"taskDefinition": "web"})).await);
    let reason = |shown: &Value| shown["containers"][0].get("reason").cloned();
    let waits = |agent: &mut Agent, status, what: &str| longshore_model::TaskReport {
        waiting_for: Some(what.to_owned()),
        ..agent.report(id, status)
    };
    let held = waits(&mut agent, TaskStatus::Pending, "host port 80/tcp");
    agent.say(vec![held]).await;
    let shown = world.task(id).await;
    assert_eq!(
        (reason(&shown), &shown["lastStatus"]),
        (Some(json!("Waiting for host port 80/tcp")), &json!("PENDING"))
    );
    assert_eq!(shown.get("stoppedReason"), None);
    // It is part of the record, and no longer than a reason may be.
    let world = world.reopen().await;
    assert_eq!(world.task(id).await["containers"], shown["containers"]);
    let long = waits(&mut agent, TaskStatus::Pending, &"é".repeat(1024));
    world.core.agent_reports(agent.instance, agent.session, vec![long]).await.unwrap();
    let shown = world.task(id).await;
    assert_eq!(reason(&shown).unwrap().as_str().unwrap().chars().count(), 1024);
    // It waits no more; and what runs waits for nothing, whatever is said.
    let (calm, running) = (agent.report(id, TaskStatus::Pending), waits(&mut agent, TaskStatus::Running, "its stop"));
    for (report, status) in [(calm, "PENDING"), (running, "RUNNING")] {
        world.core.agent_reports(agent.instance, agent.session, vec![report]).await.unwrap();
        let shown = world.task(id).await;
        assert_eq!((reason(&shown), &shown["lastStatus"]), (None, &json!(status)));
    }
    // What does not stop says why, until it has.
    let why = "another try: could not stop container `app`";
    let stopping = waits(&mut agent, TaskStatus::Stopping, why);
    world.core.agent_reports(agent.instance, agent.session, vec![stopping]).await.unwrap();
    let asked = json!({"tasks": [id.to_string()], "include": ["LONGSHORE_HISTORY"]});
    let shown = world.ok(Op::DescribeTasks, asked).await["tasks"][0].clone();
    let expected = Some(json!(format!("Waiting for {why}")));
    assert_eq!((reason(&shown), &shown["lastStatus"]), (expected, &json!("STOPPING")));
    assert!(shown["attachments"].to_string().contains(&format!("waits for {why}")), "{shown:#}");
    let stopped = waits(&mut agent, TaskStatus::Stopped, why);
    world.core.agent_reports(agent.instance, agent.session, vec![stopped]).await.unwrap();
    assert_eq!(reason(&world.task(id).await), None);
}

#[tokio::test]
async fn reports_never_go_backwards() {
    let (world, mut agent) = lab().await;
    let other = world.host("default", facts(2048, 2048)).await;
    world.definition("web", json!({})).await;
    let instance = agent.arn.clone();
    let start = json!({"taskDefinition": "web", "containerInstances": [instance]});
    let id = task_id(&world.ok(Op::StartTask, start).await["tasks"][0]);
    let version = |shown: &Value| shown["version"].as_i64().unwrap();
    agent.say(vec![report(id, 5, TaskStatus::Running)]).await;
    let running = world.task(id).await;
    // Older, the same again, another host's, and one that is unknown: nothing changes.
    let unknown = longshore_model::TaskId::random();
    agent.say(vec![report(id, 4, TaskStatus::Stopped), report(id, 5, TaskStatus::Stopped)]).await;
    agent.say(vec![report(unknown, 1, TaskStatus::Running)]).await;
    other.say(vec![report(id, 9, TaskStatus::Stopped)]).await;
    assert_eq!(world.task(id).await, running);
    // Newer, but with an older status: what is known stays known.
    agent.say(vec![report(id, 6, TaskStatus::Pending)]).await;
    let shown = world.task(id).await;
    assert_eq!((&shown["lastStatus"], &shown["startedAt"]), (&json!("RUNNING"), &running["startedAt"]));
    assert_eq!(shown["containers"][0]["lastStatus"], "RUNNING");
    assert!(version(&shown) > version(&running));
    // An agent that lost its ledger counts from the beginning, and is believed when it connects.
    agent.connect(vec![report(id, 1, TaskStatus::Stopped)]).await;
    assert_eq!(world.task(id).await["lastStatus"], "STOPPED");
    // STOPPED is final.
    let stopped = world.task(id).await;
    agent.say(vec![report(id, 99, TaskStatus::Running)]).await;
    assert_eq!(world.task(id).await, stopped);
}

#[tokio::test]
async fn what_does_not_fit_is_told_with_its_reason() {
    let (world, agent) = lab().await;
    world.definition("big", json!({"cpu": 1500})).await;
    world.run(json!({"taskDefinition": "big"})).await;
    let answer = world.ok(Op::RunTask, json!({"taskDefinition": "big", "count": 2})).await;
    assert_eq!(answer["tasks"], json!([]));
    assert_eq!(answer["failures"][0]["arn"], agent.arn.as_str());
    assert_eq!(answer["failures"][0]["reason"], "RESOURCE:CPU");
    assert_eq!(answer["failures"][0]["detail"], "needs 1500 CPU units, has 548 of 2048 free");

    world.definition("port", json!({"portMappings": [{"containerPort": 80, "hostPort": 8080}]})).await;
    let answer = world.ok(Op::RunTask, json!({"taskDefinition": "port", "count": 3})).await;
    assert_eq!(answer["tasks"].as_array().unwrap().len(), 1, "one task can have the port");
    assert_eq!(answer["failures"][0]["reason"], "RESOURCE:PORTS");

    agent.disconnect().await;
    let answer = world.ok(Op::RunTask, json!({"taskDefinition": "big"})).await;
    assert_eq!(answer["failures"][0]["reason"], "AGENT");
    world.cluster("empty").await;
    let text = world.err(Op::RunTask, json!({"taskDefinition": "big", "cluster": "empty"})).await;
    assert_eq!(text, "InvalidParameterException: No Container Instances were found in your cluster.");
}

#[tokio::test]
async fn resources_are_held_from_placement_until_stopped() {
    let (world, agent) = lab().await;
    world.definition("port", json!({"portMappings": [{"containerPort": 80, "hostPort": 8080}]})).await;
    let free = || async {
        let request = json!({"containerInstances": [agent.arn]});
        let answer = world.ok(Op::DescribeContainerInstances, request).await;
        let instance = &answer["containerInstances"][0];
        let all = instance["remainingResources"].as_array().unwrap();
        let of = |name: &str| all.iter().find(|r| r["name"] == name).unwrap().clone();
        (
            of("CPU")["integerValue"].as_i64().unwrap(),
            of("MEMORY")["integerValue"].as_i64().unwrap(),
            of("PORTS")["stringSetValue"].clone(),
            (instance["runningTasksCount"].clone(), instance["pendingTasksCount"].clone()),
        )
    };
    let all = free().await;
    assert_eq!(all, (2048, 2048, json!(["22", "2375"]), (json!(0), json!(0))));
    let id = task_id(&world.run(json!({"taskDefinition": "port"})).await);
    let held = (1920, 1984, json!(["22", "2375", "8080"]));
    let (cpu, memory, ports, counts) = free().await;
    assert_eq!(((cpu, memory, ports), counts), (held.clone(), (json!(0), json!(1))));
    agent.say(vec![report(id, 1, TaskStatus::Running)]).await;
    world.ok(Op::StopTask, json!({"task": id.to_string()})).await;
    agent.say(vec![report(id, 2, TaskStatus::Stopping)]).await;
    let (cpu, memory, ports, counts) = free().await;
    assert_eq!(((cpu, memory, ports), counts), (held, (json!(1), json!(0))));
    agent.say(vec![report(id, 3, TaskStatus::Stopped)]).await;
    assert_eq!(free().await, all);
}

#[tokio::test]
async fn many_requests_at_once_never_overcommit_and_spread_evenly() {
    let world = World::new().await;
    world.cluster("default").await;
    let mut agents = Vec::new();
    for _ in 0..4 {
        agents.push(world.host("default", facts(128 * 10, 64 * 100)).await);
    }
    world.definition("web", json!({})).await;
    let request = json!({"taskDefinition": "web", "placementStrategy": [{"type": "spread", "field": "instanceId"}]});
    let calls = (0..50).map(|_| world.call(Op::RunTask, request.clone()));
    let answers: Vec<Value> = futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let placed = answers.iter().filter(|a| a["tasks"].as_array().unwrap().len() == 1).count();
    assert_eq!(placed, 40, "what fits, and not one more");
    assert!(answers.iter().filter(|a| a["tasks"] == json!([])).all(|a| a["failures"][0]["reason"] == "RESOURCE:CPU"));
    for agent in &agents {
        assert_eq!(agent.assigned().len(), 10);
    }
}

#[tokio::test]
async fn spread_is_even_at_every_moment_of_a_burst() {
    let world = World::new().await;
    world.cluster("default").await;
    let mut agents = Vec::new();
    for _ in 0..5 {
        agents.push(world.host("default", facts(100_000, 100_000)).await);
    }
    world.definition("web", json!({})).await;
    let request = json!({"taskDefinition": "web", "placementStrategy": [{"type": "spread", "field": "instanceId"}]});
    let calls = (0..33).map(|_| world.call(Op::RunTask, request.clone()));
    futures::future::join_all(calls).await;
    let counts: Vec<usize> = agents.iter().map(|agent| agent.assigned().len()).collect();
    assert_eq!(counts.iter().sum::<usize>(), 33);
    assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
}

#[tokio::test]
async fn hosts_are_chosen_anew_when_one_changes_before_the_commit() {
    let world = World::new().await;
    world.cluster("default").await;
    let mut agents = Vec::new();
    for _ in 0..2 {
        agents.push(world.host("default", facts(10_000, 10_000)).await);
    }
    world.definition("web", json!({})).await;
    let spread = json!([{"type": "spread", "field": "instanceId"}]);
    let of_group = |group: &str, count: u32| {
        let mut request = json!({"taskDefinition": "web", "group": group, "count": count});
        request["placementStrategy"] = spread.clone();
        request
    };
    // Something else is started on one of the two hosts after the choice was made.
    let other = json!({"taskDefinition": "web", "group": "other", "containerInstances": [agents[1].arn]});
    let calls = [world.call(Op::StartTask, other), world.call(Op::RunTask, of_group("web", 4))];
    let answers = futures::future::join_all(calls).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let counts: Vec<usize> = agents.iter().map(|agent| agent.assigned().len()).collect();
    assert_eq!(counts, [2, 3]);

    // Each of six calls chose two of twelve hosts that are alike; some chose the same.
    for _ in 0..10 {
        agents.push(world.host("default", facts(10_000, 10_000)).await);
    }
    let calls = (0..6).map(|_| world.call(Op::RunTask, of_group("many", 2)));
    let answers = futures::future::join_all(calls).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let counts: Vec<usize> = agents.iter().map(|agent| agent.assigned().len()).collect();
    assert_eq!(counts[2..], [1; 10]);
    assert_eq!(counts[..2], [3, 4]);
}

#[tokio::test]
async fn the_same_client_token_runs_once() {
    let (world, _agent) = lab().await;
    world.definition("web", json!({})).await;
    let request = json!({"taskDefinition": "web", "count": 2, "clientToken": "abc"});
    let calls = (0..5).map(|_| world.call(Op::RunTask, request.clone()));
    let answers: Vec<Value> = futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let arns = |answer: &Value| -> Vec<String> {
        answer["tasks"].as_array().unwrap().iter().map(|t| t["taskArn"].as_str().unwrap().to_owned()).collect()
    };
    assert!(answers.iter().all(|answer| arns(answer) == arns(&answers[0])));
    let world = world.reopen().await;
    let again = world.ok(Op::RunTask, request.clone()).await;
    assert_eq!(arns(&again), arns(&answers[0]));
    let mut other = request.clone();
    other["count"] = json!(1);
    let body = serde_json::to_vec(&other).unwrap().into();
    let error = world.core.call(&crate::world::caller("lab"), Op::RunTask, body).await.unwrap_err();
    assert_eq!(error.code.as_str(), "ConflictException");
    assert_eq!(error.extra["resourceIds"].as_array().unwrap().len(), 2);
    let list = world.ok(Op::ListTasks, json!({})).await;
    assert_eq!(list["taskArns"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn overrides_reach_the_agent_and_what_is_wrong_with_them_is_told() {
    let (world, agent) = lab().await;
    let environment = json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
    world.definition("web", json!({"environment": environment, "command": ["old"]})).await;
    let overrides = json!({"cpu": "0.5 vCPU", "containerOverrides": [{
        "name": "app", "command": ["new", "words"], "memory": 100,
        "environment": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}],
    }]});
    let task = world.run(json!({"taskDefinition": "web", "overrides": overrides})).await;
    assert_eq!(task["overrides"]["containerOverrides"], overrides["containerOverrides"]);
    assert_eq!((&task["cpu"], &task["memory"]), (&json!("512"), &json!("100")));
    assert_eq!(task["containers"][0]["memory"], "100");
    let spec = agent.assigned()[&task_id(&task)].spec.clone();
    assert_eq!(spec.cpu_units, Some(512));
    let app = &spec.containers[0];
    assert_eq!(app.command.as_deref(), Some(["new".to_owned(), "words".to_owned()].as_slice()));
    assert_eq!(app.memory_mib, Some(100));
    let environment: BTreeMap<&str, &str> =
        app.environment.iter().map(|v| (v.name.as_str(), v.value.as_str())).collect();
    assert_eq!(environment, BTreeMap::from([("A", "1"), ("B", "3"), ("C", "4")]));

    // Limits of the task take a host that has them, whoever asks for them.
    let facts = without_attribute(agent.facts.clone(), "ecs.capability.task-cpu-mem-limit");
    world.cluster("plain").await;
    let plain = world.host("plain", facts).await;
    for (overrides, reasons) in [
        (json!({}), json!([])),
        (json!({"containerOverrides": [{"name": "app", "cpu": 5}]}), json!([])),
        (json!({"cpu": "256"}), json!(["ATTRIBUTE"])),
        (json!({"memory": "64"}), json!(["ATTRIBUTE"])),
    ] {
        let request = json!({"cluster": "plain", "taskDefinition": "web", "overrides": overrides});
        let answer = world.ok(Op::RunTask, request).await;
        let failures = answer["failures"].as_array().unwrap().iter();
        assert_eq!(json!(failures.map(|f| f["reason"].clone()).collect::<Vec<_>>()), reasons, "{overrides}: {answer}");
    }
    drop(plain);

    for (overrides, expected) in [
        (json!({"containerOverrides": [{"name": "x"}]}), "Override for container named x is not a container"),
        (json!({"containerOverrides": [{"name": "app"}, {"name": "app"}]}), "two overrides for container named app"),
        (json!({"containerOverrides": [{"name": "app", "command": ["x".repeat(8192)]}]}), "may have at most 8192"),
        (json!({"containerOverrides": [{"name": "app", "memory": 1}]}), "'memory' must be at least 6"),
        (json!({"taskRoleArn": "x"}), "overrides.taskRoleArn is not supported"),
        (json!({"cpu": "much"}), "'cpu'"),
        (
            json!({"cpu": "128", "containerOverrides": [{"name": "app", "cpu": 512}]}),
            "greater than the value of the task",
        ),
    ] {
        let text = world.err(Op::RunTask, json!({"taskDefinition": "web", "overrides": overrides})).await;
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(agent.assigned().len(), 1);
}

#[tokio::test]
async fn an_overrides_environment_files_take_the_place_of_the_definitions() {
    let world = World::new().await;
    world.cluster("default").await;
    let reads = with_attribute(facts(2048, 2048), "longshore.environment-files", None);
    let agent = world.host("default", reads).await;
    let files =
        |values: &[&str]| -> Value { values.iter().map(|value| json!({"type": "s3", "value": value})).collect() };
    let over = |files: Value| json!({"containerOverrides": [{"name": "app", "environmentFiles": files}]});
    let own = ["file:///etc/a.env", "file:///etc/b.env"];
    world.definition("web", json!({"environmentFiles": files(&own)})).await;
    for (overrides, expected) in [
        (json!({}), own.to_vec()),
        (over(json!([])), own.to_vec()),
        (over(files(&["file:///etc/c.env"])), vec!["file:///etc/c.env"]),
    ] {
        let task = world.run(json!({"taskDefinition": "web", "overrides": overrides})).await;
        let spec = agent.assigned()[&task_id(&task)].spec.clone();
        assert_eq!(spec.containers[0].environment_files, expected, "{overrides}");
    }

    // They take a host that reads them, whoever asks for them.
    world.definition("plain", json!({})).await;
    for (source, reasons) in [("file:///etc/a.env", json!([])), ("https://files.example/a.env", json!(["ATTRIBUTE"]))] {
        let request = json!({"taskDefinition": "plain", "overrides": over(files(&[source]))});
        let answer = world.ok(Op::RunTask, request).await;
        let failures = answer["failures"].as_array().unwrap().iter();
        assert_eq!(json!(failures.map(|f| f["reason"].clone()).collect::<Vec<_>>()), reasons, "{source}: {answer}");
    }

    let placed = agent.assigned().len();
    let field = "overrides.containerOverrides[0].environmentFiles";
    for (wrong, expected) in [
        (json!([{"type": "http", "value": "file:///a.env"}]), format!("{field}[0].type must be s3.")),
        (files(&["file:///a.conf"]), format!("{field}[0].value must end in .env.")),
        (files(&["file:///b/../a.env"]), format!("{field}[0].value must not go up with '..'.")),
        (files(&["file:///a\0.env"]), "'environmentFiles' must not hold NUL.".to_owned()),
        (files(&["file:///a.env"; 11]), format!("{field}: 11 are given, at most 10 are allowed.")),
        (
            files(&["arn:aws:s3:::bucket/a.env"]),
            format!("{field}.value other than file:///, http:// and https:// is not supported yet"),
        ),
    ] {
        let text = world.err(Op::RunTask, json!({"taskDefinition": "web", "overrides": over(wrong)})).await;
        assert!(text.starts_with("ClientException: ") && text.contains(&expected), "{text}");
    }
    assert_eq!(agent.assigned().len(), placed);
}

#[tokio::test]
async fn bad_requests_name_what_is_wrong_and_change_nothing() {
    let (world, agent) = lab().await;
    world.definition("web", json!({})).await;
    for (extra, expected) in [
        (json!({"taskDefinition": "other"}), "ClientException: TaskDefinition not found."),
        (json!({"cluster": "other"}), "ClusterNotFoundException: Cluster not found."),
        (json!({"count": 0}), "count must be between 1 and 10"),
        (json!({"count": 11}), "count must be between 1 and 10"),
        (json!({"launchType": "X"}), "launch type should be one of [EC2,FARGATE,EXTERNAL]"),
        (json!({"launchType": "FARGATE"}), "Task definition does not support launch_type FARGATE."),
        (json!({"capacityProviderStrategy": [{"capacityProvider": "x"}]}), "capacity provider 'x' was not found"),
        (json!({"startedBy": "a b"}), "startedBy"),
        (json!({"group": "service:web"}), "Invalid namespace for group."),
        (json!({"propagateTags": "SERVICE"}), "propagateTags"),
        (
            json!({"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["a"]}}}),
            "Network Configuration is not valid for the given networkMode",
        ),
        (json!({"placementConstraints": [{"type": "memberOf"}]}), "placementConstraints.expression"),
        (json!({"placementConstraints": [{"type": "memberOf", "expression": "???"}]}), "placementConstraints"),
        (json!({"placementStrategy": [{"type": "spread", "field": "moon"}]}), "placementStrategy.field"),
        (json!({"tags": [{"key": "aws:a", "value": "b"}]}), "`aws:a`"),
        (json!({"clientToken": "x".repeat(65)}), "clientToken"),
        (json!({"count": "two"}), "SerializationException: count"),
    ] {
        let mut request = json!({"taskDefinition": "web"});
        request.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let text = world.err(Op::RunTask, request).await;
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(agent.assigned().len(), 0);
    for (op, request, expected) in [
        (Op::StopTask, json!({"task": "x"}), "InvalidParameterException: taskId length should be one of [32,36]"),
        (
            Op::StopTask,
            json!({"task": "0123456789abcdef0123456789abcdef"}),
            "InvalidParameterException: The referenced task was not found.",
        ),
        (Op::DescribeTasks, json!({"tasks": []}), "InvalidParameterException: Tasks cannot be empty."),
        (Op::StartTask, json!({"taskDefinition": "web", "containerInstances": []}), "cannot be empty."),
        (Op::ListTasks, json!({"startedBy": "a", "family": "b"}), "startedBy cannot be combined"),
    ] {
        let text = world.err(op, request).await;
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn start_task_names_its_hosts() {
    let (world, agent) = lab().await;
    let second = world.host("default", facts(256, 256)).await;
    world.definition("web", json!({"cpu": 300})).await;
    let missing = "0123456789abcdef0123456789abcdef";
    let foreign = format!("arn:aws:ecs:lab:999999999999:container-instance/default/{}", agent.instance);
    let instances = json!([agent.arn, second.instance.to_string(), missing, foreign]);
    let answer = world.ok(Op::StartTask, json!({"taskDefinition": "web", "containerInstances": instances})).await;
    assert_eq!(answer["tasks"].as_array().unwrap().len(), 1);
    assert_eq!(answer["tasks"][0]["containerInstanceArn"], agent.arn.as_str());
    let failures: BTreeMap<String, String> = answer["failures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (f["arn"].as_str().unwrap().to_owned(), f["reason"].as_str().unwrap().to_owned()))
        .collect();
    let missing = format!("arn:aws:ecs:lab:123456789012:container-instance/default/{missing}");
    let expected = [(second.arn.clone(), "RESOURCE:CPU"), (missing, "MISSING"), (foreign, "MISSING")];
    assert_eq!(failures, expected.into_iter().map(|(arn, reason)| (arn, reason.to_owned())).collect());
}

#[tokio::test]
async fn lists_by_every_filter_and_page() {
    let (world, agent) = lab().await;
    world.cluster("other").await;
    let other = world.host("other", facts(2048, 2048)).await;
    world.definition("web", json!({"cpu": 1})).await;
    world.definition("api", json!({"cpu": 1})).await;
    let mut web = Vec::new();
    for n in 0..7 {
        let by = if n % 2 == 0 { "even" } else { "odd" };
        web.push(task_id(&world.run(json!({"taskDefinition": "web", "startedBy": by})).await));
    }
    let api = task_id(&world.run(json!({"taskDefinition": "api", "launchType": "EXTERNAL"})).await);
    world.run(json!({"taskDefinition": "web", "cluster": "other", "startedBy": "even"})).await;
    let list = |request: Value| {
        let world = &world;
        async move {
            let mut found = Vec::new();
            let mut token = Value::Null;
            loop {
                let mut request = request.clone();
                request["maxResults"] = json!(3);
                request["nextToken"] = token;
                let answer = world.ok(Op::ListTasks, request).await;
                found.extend(answer["taskArns"].as_array().unwrap().iter().map(|arn| id_of(arn.as_str().unwrap())));
                match answer.get("nextToken") {
                    Some(next) => token = next.clone(),
                    None => return found,
                }
            }
        }
    };
    let sorted = |ids: &[longshore_model::TaskId]| {
        let mut ids = ids.to_vec();
        ids.sort();
        ids
    };
    let all: Vec<_> = web.iter().copied().chain([api]).collect();
    assert_eq!(list(json!({})).await, sorted(&all));
    assert_eq!(list(json!({"family": "web"})).await, sorted(&web));
    assert_eq!(list(json!({"startedBy": "odd"})).await, sorted(&[web[1], web[3], web[5]]));
    assert_eq!(list(json!({"launchType": "EXTERNAL"})).await, [api]);
    assert_eq!(list(json!({"containerInstance": agent.arn, "family": "api"})).await, [api]);
    assert_eq!(list(json!({"containerInstance": other.instance.to_string()})).await, []);
    assert_eq!(list(json!({"desiredStatus": "PENDING"})).await, []);
    world.ok(Op::StopTask, json!({"task": api.to_string()})).await;
    assert_eq!(list(json!({"desiredStatus": "STOPPED"})).await, [api]);
    assert_eq!(list(json!({})).await, sorted(&web));
}

#[tokio::test]
async fn constraints_and_strategies_are_kept() {
    let world = World::new().await;
    world.cluster("default").await;
    let mut agents = Vec::new();
    for zone in ["a", "a", "b"] {
        let facts = with_attribute(facts(10_000, 10_000), "ecs.availability-zone", Some(zone));
        agents.push(world.host("default", facts).await);
    }
    world.definition("web", json!({})).await;
    let distinct = json!({"taskDefinition": "web", "count": 5, "placementConstraints": [{"type": "distinctInstance"}]});
    let answer = world.ok(Op::RunTask, distinct).await;
    assert_eq!(answer["tasks"].as_array().unwrap().len(), 3);
    assert_eq!(answer["failures"].as_array().unwrap().len(), 3);
    let member = json!({
        "taskDefinition": "web", "count": 4, "group": "zoned",
        "placementConstraints": [{"type": "memberOf", "expression": "attribute:ecs.availability-zone == b"}],
    });
    world.run(member).await;
    assert_eq!(agents[2].assigned().len(), 5);
    let spread = json!({
        "taskDefinition": "web", "count": 4, "group": "spread",
        "placementStrategy": [{"type": "spread", "field": "attribute:ecs.availability-zone"}],
    });
    let answer = world.ok(Op::RunTask, spread).await;
    let in_b = answer["tasks"].as_array().unwrap().iter().filter(|t| t["availabilityZone"] == "b").count();
    assert_eq!(in_b, 2);
}

#[tokio::test]
async fn tags_come_from_the_definition_and_from_ecs_when_asked_for() {
    let (world, _agent) = lab().await;
    let arn = world.definition("web", json!({})).await;
    let tags = json!([{"key": "a", "value": "definition"}, {"key": "b", "value": "definition"}]);
    world.ok(Op::TagResource, json!({"resourceArn": arn, "tags": tags})).await;
    let request = json!({
        "taskDefinition": "web", "propagateTags": "TASK_DEFINITION", "enableECSManagedTags": true,
        "tags": [{"key": "a", "value": "own"}],
    });
    let task = world.run(request).await;
    assert_eq!(
        task["tags"],
        json!([
            {"key": "a", "value": "own"},
            {"key": "aws:ecs:clusterName", "value": "default"},
            {"key": "b", "value": "definition"},
        ])
    );
}

#[tokio::test]
async fn what_the_engine_warns_of_is_a_containers_reason_unless_there_is_another_and_in_the_history() {
    let (world, mut agent) = lab().await;
    world.definition("web", json!({})).await;
    let id = task_id(&world.run(json!({"taskDefinition": "web"})).await);
    let mut say = async |status: TaskStatus, reason: Option<&str>, warnings: &[&str]| {
        let mut report = agent.report(id, status);
        report.containers[0].reason = reason.map(str::to_owned);
        report.containers[0].warnings = warnings.iter().map(|&text| text.to_owned()).collect();
        agent.say(vec![report]).await;
        world.task(id).await["containers"][0]["reason"].clone()
    };
    let warned = json!("The container engine warns: no swap; no swappiness");
    assert_eq!(say(TaskStatus::Running, None, &["no swap", "no swappiness"]).await, warned);
    // An agent that lost its ledger does not know them any more.
    assert_eq!(say(TaskStatus::Running, None, &[]).await, warned);
    assert_eq!(say(TaskStatus::Stopped, Some("OutOfMemoryError"), &[]).await, "OutOfMemoryError");
    let args = json!({"tasks": [id.to_string()], "include": ["LONGSHORE_HISTORY"]});
    let history = world.ok(Op::DescribeTasks, args).await["tasks"][0]["attachments"].to_string();
    for what in ["no swap", "no swappiness"] {
        let line = format!("container `app`: the container engine warns: {what}\"");
        assert_eq!(history.matches(&line).count(), 1, "{history}");
    }
}
