//! Service deployments and revisions as resources: what is kept of them, and stopping them.

use crate::fleet::{Fleet, config, healthy, messages, stable};
use crate::world::until;
use longshore_ecs_api::Operation as Op;
use longshore_model::{StopCode, StopInfo, TaskId, TaskStatus};
use serde_json::{Value, json};
use std::time::Duration;

const ROLLING_BACK: &str = "ROLLBACK_IN_PROGRESS";

impl Fleet {
    /// A service `web` of `count` tasks of the definition `good` that is stable; `bad` and `other` are there too.
    async fn with_service(hosts: usize, count: usize, configuration: Value) -> Self {
        let mut fleet = Self::new(hosts).await;
        for family in ["good", "bad", "other"] {
            fleet.world.definition(family, json!({})).await;
        }
        let request = json!({"serviceName": "web", "taskDefinition": "good", "desiredCount": count,
            "deploymentConfiguration": configuration});
        fleet.world.ok(Op::CreateService, request).await;
        fleet.until("it is stable", healthy, stable(count)).await;
        fleet
    }

    /// The service deployments, the newest first, in full.
    async fn deployments(&self) -> Vec<Value> {
        let listed = self.world.ok(Op::ListServiceDeployments, json!({"service": "web"})).await;
        let briefs = listed["serviceDeployments"].as_array().unwrap().clone();
        let arns: Vec<&Value> = briefs.iter().map(|brief| &brief["serviceDeploymentArn"]).collect();
        let request = json!({"serviceDeploymentArns": arns});
        let described = self.world.ok(Op::DescribeServiceDeployments, request).await;
        assert_eq!(described["failures"], json!([]));
        let full = described["serviceDeployments"].as_array().unwrap().clone();
        for (brief, full) in briefs.iter().zip(&full) {
            assert_eq!(brief["status"], full["status"]);
            assert_eq!(brief["targetServiceRevisionArn"], full["targetServiceRevision"]["arn"]);
        }
        full
    }

    async fn statuses(&self) -> Vec<String> {
        let all = self.deployments().await;
        all.iter().map(|deployment| deployment["status"].as_str().unwrap().to_owned()).collect()
    }

    /// A task fails to start, and no other one does anything.
    async fn fail_to_start(&mut self, task: TaskId) {
        let agent = self.agents.iter_mut().find(|agent| agent.assigned().contains_key(&task)).unwrap();
        let mut report = agent.report(task, TaskStatus::Stopped);
        (report.started_at, report.execution_stopped_at) = (None, None);
        let code = Some(StopCode::TaskFailedToStart);
        report.stop = Some(StopInfo { code, reason: "CannotPullContainerError: none".to_owned() });
        agent.say(vec![report]).await;
    }

    /// Waits until the service's PRIMARY deployment has failed, while its tasks do nothing.
    async fn until_failed(&self) -> Value {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let service = self.service("web").await;
            if service["deployments"][0]["rolloutState"] == "FAILED" {
                return service;
            }
            assert!(tokio::time::Instant::now() < deadline, "it has not failed: {service:#}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A circuit breaker with a threshold, that brings nothing back.
fn breaker(kind: &str, value: i32) -> Value {
    json!({"enable": true, "rollback": false, "thresholdConfiguration": {"type": kind, "value": value}})
}

#[tokio::test]
async fn a_deployment_and_its_revisions_can_be_asked_for_while_it_lasts_and_after() {
    let mut fleet = Fleet::with_service(2, 2, json!({})).await;
    let first = fleet.deployments().await.remove(0);
    assert_eq!(first["status"], "SUCCESSFUL");
    assert_eq!(first["deploymentCircuitBreaker"]["status"], "DISABLED");
    assert_eq!(first["sourceServiceRevisions"], json!([]));
    let service = fleet.service("web").await;
    assert_eq!(service["currentServiceDeployment"], first["serviceDeploymentArn"]);
    assert_eq!(service["currentServiceRevisions"][0]["arn"], first["targetServiceRevision"]["arn"]);
    assert_eq!(service["currentServiceRevisions"][0]["runningTaskCount"], 2);

    fleet.world.ok(Op::UpdateService, json!({"service": "web", "taskDefinition": "other"})).await;
    let under_way = fleet.deployments().await.remove(0);
    assert_eq!(under_way["status"], "IN_PROGRESS");
    assert_eq!(under_way["sourceServiceRevisions"][0]["arn"], first["targetServiceRevision"]["arn"]);
    assert_eq!(under_way["sourceServiceRevisions"][0]["runningTaskCount"], 2);
    assert_eq!(under_way["targetServiceRevision"]["requestedTaskCount"], 2);
    // One that comes before it is through takes its place.
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "taskDefinition": "good"})).await;
    fleet.until("the last one is through", healthy, stable(2)).await;
    assert_eq!(fleet.statuses().await, ["SUCCESSFUL", "STOPPED", "SUCCESSFUL"]);

    // All of it outlives the process.
    let before = fleet.deployments().await;
    fleet.world = fleet.world.reopen_with(config()).await;
    assert_eq!(fleet.deployments().await, before);
    let arns: Vec<&Value> = before.iter().map(|d| &d["targetServiceRevision"]["arn"]).collect();
    let described = fleet.world.ok(Op::DescribeServiceRevisions, json!({"serviceRevisionArns": arns})).await;
    let definitions: Vec<&str> = described["serviceRevisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|revision| revision["taskDefinition"].as_str().unwrap().rsplit('/').next().unwrap())
        .collect();
    assert_eq!(definitions, ["good:1", "other:1", "good:1"]);
    assert_eq!(described["serviceRevisions"][0]["containerImages"][0]["image"], "busybox");

    // Filters and pages.
    let list = async |request: Value| fleet.world.ok(Op::ListServiceDeployments, request).await;
    let stopped = list(json!({"service": "web", "status": ["STOPPED"]})).await;
    assert_eq!(stopped["serviceDeployments"][0]["serviceDeploymentArn"], before[1]["serviceDeploymentArn"]);
    assert_eq!(stopped["serviceDeployments"].as_array().unwrap().len(), 1);
    let page = list(json!({"service": "web", "maxResults": 2})).await;
    assert_eq!(page["serviceDeployments"].as_array().unwrap().len(), 2);
    let next = list(json!({"service": "web", "maxResults": 2, "nextToken": page["nextToken"]})).await;
    assert_eq!(next["serviceDeployments"][0]["serviceDeploymentArn"], before[2]["serviceDeploymentArn"]);
    assert_eq!(next["nextToken"], Value::Null);
    let later = list(json!({"service": "web", "createdAt": {"after": 4_000_000_000_u64}})).await;
    assert_eq!(later["serviceDeployments"], json!([]));
}

#[tokio::test]
async fn no_more_than_twenty_are_remembered() {
    let mut fleet = Fleet::with_service(1, 0, json!({})).await;
    for _ in 0..25 {
        fleet.world.ok(Op::UpdateService, json!({"service": "web", "forceNewDeployment": true})).await;
    }
    fleet.until("the last one is through", healthy, stable(0)).await;
    assert_eq!(fleet.deployments().await.len(), 20);
    fleet.world.ok(Op::DeleteService, json!({"service": "web"})).await;
    fleet.until("it is over", healthy, |service| service["status"] == "INACTIVE").await;
    let request = json!({"serviceName": "web", "taskDefinition": "good", "desiredCount": 0});
    fleet.world.ok(Op::CreateService, request).await;
    assert_eq!(fleet.deployments().await.len(), 1, "those of the one before are gone");
}

#[tokio::test]
async fn one_that_fails_says_what_its_breaker_counted_and_keeps_the_tasks_that_ran() {
    let breaker = json!({"deploymentCircuitBreaker": {"enable": true, "rollback": true,
        "resetOnHealthyTask": false, "thresholdConfiguration": {"type": "COUNT", "value": 2}}});
    let mut fleet = Fleet::with_service(2, 3, breaker).await;
    let before: Vec<_> = fleet.tasks().into_iter().map(|(id, ..)| id).collect();
    let first = fleet.service("web").await["deployments"][0]["id"].clone();
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "taskDefinition": "bad"})).await;
    let figures = fleet.deployments().await[0]["deploymentCircuitBreaker"].clone();
    assert_eq!(figures, json!({"status": "MONITORING", "failureCount": 0, "threshold": 2}));
    let bad = |family: &str| family == "bad";
    let rolled_back = |service: &Value| {
        stable(3)(service) && messages(service).iter().any(|message| message.contains("rolling back to deployment"))
    };
    let service = fleet.until("the good one is back", bad, rolled_back).await;
    let failed = fleet.deployments().await.remove(0);
    assert_eq!(failed["status"], "ROLLBACK_SUCCESSFUL");
    assert_eq!(failed["deploymentCircuitBreaker"]["status"], "TRIGGERED");
    assert_eq!(failed["deploymentCircuitBreaker"]["threshold"], 2);
    assert!(failed["deploymentCircuitBreaker"]["failureCount"].as_u64().unwrap() >= 2, "{failed:#}");
    assert_eq!(failed["rollback"]["serviceRevisionArn"], failed["sourceServiceRevisions"][0]["arn"]);
    let why = "Service deployment rolled back because the circuit breaker threshold was exceeded.";
    assert_eq!((&failed["statusReason"], &failed["rollback"]["reason"]), (&json!(why), &json!(why)));
    // What ran was neither stopped nor started again.
    assert_eq!(service["deployments"][0]["id"], first);
    let after: Vec<_> = fleet.tasks().into_iter().map(|(id, ..)| id).collect();
    assert_eq!(before, after);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_fails_as_well_is_the_end_until_somebody_deploys_again() {
    let breaker = json!({"enable": true, "rollback": true, "thresholdConfiguration": {"type": "COUNT", "value": 2}});
    let settings = json!({"minimumHealthyPercent": 0, "maximumPercent": 100, "deploymentCircuitBreaker": breaker});
    let mut fleet = Fleet::with_service(2, 2, settings).await;
    let good = fleet.service("web").await["currentServiceRevisions"][0]["arn"].clone();
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "taskDefinition": "bad"})).await;
    // What ran is told to go before anything else starts, so that the rollback has to start tasks. They fail as well.
    until("the good ones are to go", || fleet.tasks().iter().all(|(_, family, _)| family != "good")).await;
    let all = |_: &str| true;
    let has_failed = |service: &Value| {
        let primary = &service["deployments"][0];
        let is_good = primary["taskDefinition"].as_str().unwrap().ends_with("/good:1");
        let halted = messages(service).iter().any(|message| message.contains("does not start or replace tasks"));
        is_good && primary["rolloutState"] == "FAILED" && halted
    };
    let service = fleet.until("the rollback has failed", all, has_failed).await;
    let back = service["deployments"][0]["id"].as_str().unwrap().to_owned();
    let said = messages(&service);
    let failed = format!("(service web) (deployment {back}) deployment failed: tasks failed to start.");
    assert!(said.contains(&failed), "{said:#?}");
    let rollbacks: Vec<&String> = said.iter().filter(|message| message.contains("rolling back to")).collect();
    assert_eq!(rollbacks, [&format!("(service web) rolling back to deployment {back}.")]);
    let shown = fleet.deployments().await.remove(0);
    assert_eq!(shown["status"], "ROLLBACK_FAILED");
    let why = "Service deployment circuit breaker: tasks failed to start.";
    assert_eq!((&shown["statusReason"], &shown["rollback"]["serviceRevisionArn"]), (&json!(why), &good));
    assert!(shown["finishedAt"].is_number(), "{shown:#}");

    // Those that had been started before it failed fail as well, and nothing takes their place.
    fleet.pump(all).await;
    until("nothing is to run", || fleet.tasks().is_empty()).await;
    let starts = |service: &Value| messages(service).iter().filter(|said| said.contains(" has started ")).count();
    let ids = |service: &Value| -> Vec<Value> {
        service["deployments"].as_array().unwrap().iter().map(|deployment| deployment["id"].clone()).collect()
    };
    let before = fleet.service("web").await;
    for _ in 0..10 {
        fleet.poke().await;
        fleet.world.clock.advance(Duration::from_secs(60));
        // Whoever looks at it meanwhile has done so.
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(fleet.tasks(), []);
    }
    let after = fleet.service("web").await;
    assert_eq!((starts(&after), ids(&after)), (starts(&before), ids(&before)), "{after:#}");
    assert_eq!(fleet.statuses().await, ["ROLLBACK_FAILED", "SUCCESSFUL"]);

    fleet.world.ok(Op::UpdateService, json!({"service": "web", "forceNewDeployment": true})).await;
    fleet.until("the next one is through", healthy, stable(2)).await;
    assert_eq!(fleet.statuses().await, ["SUCCESSFUL", "ROLLBACK_FAILED", "SUCCESSFUL"]);
}

#[tokio::test]
async fn thresholds_by_percent_are_shares_of_the_desired_count_as_it_is_now() {
    let fleet = Fleet::new(0).await;
    fleet.world.definition("good", json!({})).await;
    // It has no host, so that it is under way all the time.
    let request = json!({"serviceName": "web", "taskDefinition": "good", "desiredCount": 1,
        "deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": true, "rollback": false}}});
    fleet.world.ok(Op::CreateService, request).await;
    // Shares are rounded up. With bounds it takes 3 failed tasks at least and 200 at most, without them 1 at least.
    for (kind, value, desired, threshold) in [
        ("BOUNDED_PERCENT", 50, 8, 4),
        ("BOUNDED_PERCENT", 25, 13, 4),
        ("BOUNDED_PERCENT", 10, 10, 3),
        ("BOUNDED_PERCENT", 100, 1, 3),
        ("BOUNDED_PERCENT", 50, 400, 200),
        ("BOUNDED_PERCENT", 50, 402, 200),
        ("UNBOUNDED_PERCENT", 50, 402, 201),
        ("UNBOUNDED_PERCENT", 25, 13, 4),
        ("UNBOUNDED_PERCENT", 10, 11, 2),
        ("UNBOUNDED_PERCENT", 10, 10, 1),
        ("UNBOUNDED_PERCENT", 1, 1, 1),
        ("UNBOUNDED_PERCENT", 150, 4, 6),
    ] {
        let update = json!({"service": "web", "desiredCount": desired,
            "deploymentConfiguration": {"deploymentCircuitBreaker": breaker(kind, value)}});
        let updated = fleet.world.ok(Op::UpdateService, update).await["service"].clone();
        let shown = &updated["deploymentConfiguration"]["deploymentCircuitBreaker"];
        assert_eq!(*shown, breaker(kind, value), "as it was given");
        let figures = fleet.deployments().await[0]["deploymentCircuitBreaker"].clone();
        let expected = json!({"status": "MONITORING", "failureCount": 0, "threshold": threshold});
        assert_eq!(figures, expected, "{value} {kind} of {desired}");
    }
    assert_eq!(fleet.statuses().await, ["IN_PROGRESS"]);
}

#[tokio::test]
async fn a_breaker_by_percent_opens_with_the_last_failure_that_it_takes_and_with_none_before() {
    for (kind, value, threshold) in [
        ("UNBOUNDED_PERCENT", 1, 1),
        ("UNBOUNDED_PERCENT", 20, 2),
        ("BOUNDED_PERCENT", 20, 3),
        ("BOUNDED_PERCENT", 50, 4),
        ("UNBOUNDED_PERCENT", 60, 5),
    ] {
        let mut fleet = Fleet::new(1).await;
        fleet.world.definition("bad", json!({})).await;
        let request = json!({"serviceName": "web", "taskDefinition": "bad", "desiredCount": 8,
            "deploymentConfiguration": {"deploymentCircuitBreaker": breaker(kind, value)}});
        fleet.world.ok(Op::CreateService, request).await;
        for failures in 0..threshold {
            // Another one in place of the last that failed: that failure was looked at, and opened nothing.
            until("all are there", || fleet.tasks().len() == 8).await;
            let deployment = fleet.service("web").await["deployments"][0].clone();
            let found = (&deployment["rolloutState"], &deployment["failedTasks"]);
            assert_eq!(found, (&json!("IN_PROGRESS"), &json!(failures)), "{value} {kind}");
            let (task, ..) = fleet.tasks().remove(0);
            fleet.fail_to_start(task).await;
        }
        let service = fleet.until_failed().await;
        assert_eq!(service["deployments"][0]["failedTasks"], threshold, "{value} {kind}");
        let id = service["deployments"][0]["id"].as_str().unwrap();
        let said = format!("(service web) (deployment {id}) deployment failed: tasks failed to start.");
        assert!(messages(&service).contains(&said), "{service:#}");
        assert_eq!(fleet.tasks().len(), 7, "nothing takes the place of the last one");
        let shown = fleet.deployments().await.remove(0);
        assert_eq!(shown["status"], "STOPPED");
        let figures = json!({"status": "TRIGGERED", "failureCount": threshold, "threshold": threshold});
        assert_eq!(shown["deploymentCircuitBreaker"], figures, "{value} {kind}");
    }
}

#[tokio::test]
async fn one_can_be_stopped_with_and_without_a_rollback() {
    let mut fleet = Fleet::with_service(2, 2, json!({"maximumPercent": 100, "minimumHealthyPercent": 50})).await;
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "taskDefinition": "bad"})).await;
    let bad = |family: &str| family == "bad";
    fleet.until("a task of it failed", bad, |s| s["deployments"][0]["failedTasks"].as_u64() >= Some(1)).await;
    let arn = fleet.service("web").await["currentServiceDeployment"].clone();
    let answer = fleet.world.ok(Op::StopServiceDeployment, json!({"serviceDeploymentArn": arn})).await;
    assert_eq!(answer["serviceDeploymentArn"], arn);
    assert_eq!(fleet.statuses().await[0], ROLLING_BACK);
    let back = fleet.service("web").await["deployments"][0].clone();
    let id = back["id"].as_str().unwrap();
    let why = format!("ECS deployment stopped by request: rolling back to deploymentId {id}.");
    assert_eq!((&back["rolloutState"], &back["rolloutStateReason"]), (&json!("IN_PROGRESS"), &json!(why)));
    // Asked again, it is what happens already.
    fleet.world.ok(Op::StopServiceDeployment, json!({"serviceDeploymentArn": arn})).await;
    let service = fleet.until("the good one is back", bad, stable(2)).await;
    assert_eq!(service["deployments"][0]["rolloutStateReason"], format!("ECS deployment {id} completed."));
    assert_eq!(fleet.statuses().await[0], "ROLLBACK_SUCCESSFUL");
    assert!(fleet.tasks().iter().all(|(_, family, _)| family == "good"));

    fleet.world.ok(Op::UpdateService, json!({"service": "web", "taskDefinition": "other"})).await;
    let arn = fleet.service("web").await["currentServiceDeployment"].clone();
    let abort = json!({"serviceDeploymentArn": arn, "stopType": "ABORT"});
    fleet.world.ok(Op::StopServiceDeployment, abort.clone()).await;
    assert_eq!(fleet.statuses().await[0], "STOPPED");
    let service = fleet.service("web").await;
    assert_eq!(service["deployments"][0]["rolloutState"], "FAILED");
    assert_eq!(service["deployments"].as_array().unwrap().len(), 2, "what ran goes on");
    for request in [abort, json!({"serviceDeploymentArn": arn})] {
        let refused = fleet.world.err(Op::StopServiceDeployment, request).await;
        assert!(refused.starts_with("ConflictException: The service deployment is over"), "{refused}");
    }
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "forceNewDeployment": true})).await;
    fleet.until("another one goes through", bad, stable(2)).await;
    assert_eq!(fleet.statuses().await[..2], ["SUCCESSFUL", "STOPPED"]);
}

#[tokio::test]
async fn going_back_after_an_abort_keeps_the_tasks_that_never_ended() {
    let mut fleet = Fleet::with_service(2, 2, json!({})).await;
    let ids = |fleet: &Fleet| fleet.tasks().into_iter().map(|(id, ..)| id).collect::<Vec<_>>();
    let before = ids(&fleet);
    let service = fleet.service("web").await;
    let (first, revision) =
        (service["deployments"][0]["id"].clone(), service["currentServiceRevisions"][0]["arn"].clone());
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "taskDefinition": "bad"})).await;
    let bad = |family: &str| family == "bad";
    fleet.until("a task of it failed", bad, |s| s["deployments"][0]["failedTasks"].as_u64() >= Some(1)).await;
    let arn = fleet.service("web").await["currentServiceDeployment"].clone();
    fleet.world.ok(Op::StopServiceDeployment, json!({"serviceDeploymentArn": arn, "stopType": "ABORT"})).await;

    // One task more, so that it is under way until that runs.
    let back = json!({"service": "web", "taskDefinition": revision, "desiredCount": 3});
    let service = fleet.world.ok(Op::UpdateService, back).await["service"].clone();
    assert_eq!(service["deployments"][0]["id"], first, "{service:#}");
    let newest = fleet.deployments().await.remove(0);
    assert_eq!((&newest["status"], &newest["targetServiceRevision"]["arn"]), (&json!("IN_PROGRESS"), &revision));
    // Nothing else was ever completed.
    let stop = json!({"serviceDeploymentArn": service["currentServiceDeployment"]});
    let refused = fleet.world.err(Op::StopServiceDeployment, stop).await;
    assert!(refused.contains("of the very revision that was completed last"), "{refused}");
    fleet.until("it is back", bad, stable(3)).await;
    assert_eq!(fleet.statuses().await, ["SUCCESSFUL", "STOPPED", "SUCCESSFUL"]);
    let after = ids(&fleet);
    assert!(before.iter().all(|id| after.contains(id)), "{before:?} {after:?}");

    // By force its tasks are replaced, though it runs.
    let again = json!({"service": "web", "taskDefinition": revision, "forceNewDeployment": true});
    let forced = fleet.world.ok(Op::UpdateService, again).await["service"]["deployments"][0]["id"].clone();
    assert_ne!(forced, first);
    fleet.until("others are there", bad, stable(3)).await;
    assert!(ids(&fleet).iter().all(|id| !after.contains(id)));
}

#[tokio::test]
async fn wrong_names_and_requests_change_nothing() {
    let fleet = Fleet::new(1).await;
    fleet.world.definition("good", json!({})).await;
    fleet.world.ok(Op::CreateService, json!({"serviceName": "web", "taskDefinition": "good", "desiredCount": 1})).await;
    let arn = fleet.service("web").await["currentServiceDeployment"].as_str().unwrap().to_owned();
    let other = format!("{}x", arn);
    let elsewhere = arn.replace(":123456789012:", ":210987654321:");
    let revision = fleet.service("web").await["currentServiceRevisions"][0]["arn"].clone();
    for (op, request, expected) in [
        // The first deployment has nothing to go back to.
        (
            Op::StopServiceDeployment,
            json!({"serviceDeploymentArn": arn}),
            "ConflictException: There is no service revision",
        ),
        (
            Op::StopServiceDeployment,
            json!({"serviceDeploymentArn": arn, "stopType": "PAUSE"}),
            "InvalidParameterException: stopType: `PAUSE`",
        ),
        (
            Op::StopServiceDeployment,
            json!({"serviceDeploymentArn": other}),
            "ServiceDeploymentNotFoundException: Service deployment not found.",
        ),
        (Op::StopServiceDeployment, json!({"serviceDeploymentArn": elsewhere}), "ServiceDeploymentNotFoundException"),
        (
            Op::StopServiceDeployment,
            json!({"serviceDeploymentArn": "web"}),
            "InvalidParameterException: serviceDeploymentArn",
        ),
        (
            Op::StopServiceDeployment,
            json!({"serviceDeploymentArn": revision}),
            "InvalidParameterException: serviceDeploymentArn",
        ),
        (
            Op::DescribeServiceDeployments,
            json!({"serviceDeploymentArns": []}),
            "InvalidParameterException: Service deployments",
        ),
        (
            Op::DescribeServiceRevisions,
            json!({"serviceRevisionArns": []}),
            "InvalidParameterException: Service revisions",
        ),
        (Op::ListServiceDeployments, json!({"service": "nothing"}), "ServiceNotFoundException"),
        (
            Op::ListServiceDeployments,
            json!({"service": "web", "status": ["DONE"]}),
            "InvalidParameterException: status",
        ),
        (
            Op::ListServiceDeployments,
            json!({"service": "web", "maxResults": 0}),
            "InvalidParameterException: maxResults",
        ),
    ] {
        let refused = fleet.world.err(op, request.clone()).await;
        assert!(refused.starts_with(expected), "{request}: {refused}");
    }
    for (op, field) in [
        (Op::DescribeServiceDeployments, "serviceDeploymentArns"),
        (Op::DescribeServiceRevisions, "serviceRevisionArns"),
    ] {
        let kind = if op == Op::DescribeServiceRevisions { "service-revision" } else { "service-deployment" };
        let arn = format!("arn:aws:ecs:lab:123456789012:{kind}/default/web/1");
        let answer = fleet.world.ok(op, json!({field: [arn]})).await;
        assert_eq!(answer["failures"][0]["reason"], "MISSING", "{answer}");
    }
    assert_eq!(fleet.statuses().await, ["IN_PROGRESS"]);
}
