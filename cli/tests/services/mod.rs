//! `longshore service` and `longshore deploy` against a scripted endpoint.

use super::support::{Answer, Endpoint, ok, refused};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};

const PREFIX: &str = "arn:aws:ecs:lab:123456789012";

fn arn(kind: &str, id: &str) -> String {
    format!("{PREFIX}:{kind}/default/web/{id}")
}

/// The service with a deployment of `definition` of which `running` of two tasks run.
fn service(definition: &str, running: u32, state: &str) -> Value {
    let definition = format!("{PREFIX}:task-definition/{definition}");
    json!({"serviceArn": format!("{PREFIX}:service/default/web"), "serviceName": "web", "status": "ACTIVE",
        "desiredCount": 2, "runningCount": 2, "pendingCount": 0, "taskDefinition": definition,
        "currentServiceDeployment": arn("service-deployment", "now"), "createdAt": 1_700_000_000,
        "currentServiceRevisions": [{"arn": arn("service-revision", "4")}],
        "deployments": [{"id": "ecs-svc/1", "status": "PRIMARY", "taskDefinition": definition, "desiredCount": 2,
            "runningCount": running, "pendingCount": 2 - running, "failedTasks": 0, "rolloutState": state}],
        "events": [{"id": format!("event-{running}"), "createdAt": 1_700_000_001,
            "message": format!("(service web) event {running}.")}]})
}

/// An endpoint at which a deployment of `web:2` ends with `status` after it was looked at twice.
fn deploying(status: &'static str) -> Endpoint {
    let looks = AtomicUsize::new(0);
    Endpoint::new(move |operation, body| answer(operation, body, &looks, status))
}

fn answer(operation: &str, body: &Value, looks: &AtomicUsize, status: &str) -> Answer {
    let definition = json!({"taskDefinitionArn": format!("{PREFIX}:task-definition/web:1"), "family": "web",
        "revision": 1, "status": "ACTIVE", "memory": "64",
        "containerDefinitions": [{"name": "app", "image": "app:1"}, {"name": "side", "image": "side:1"}]});
    match operation {
        "DescribeServices" if body["services"][0] == "nothing" => {
            ok(json!({"services": [], "failures": [{"arn": "nothing", "reason": "MISSING"}]}))
        }
        "DescribeServices" => {
            let over = looks.load(Ordering::SeqCst) >= 2;
            let running = if over { 2 } else { 1 };
            let state = if over { "COMPLETED" } else { "IN_PROGRESS" };
            ok(json!({"services": [service("web:2", running, state)], "failures": []}))
        }
        "CreateService" | "UpdateService" => ok(json!({"service": service("web:2", 0, "IN_PROGRESS")})),
        "DescribeServiceDeployments" => {
            let over = looks.fetch_add(1, Ordering::SeqCst) >= 2;
            let status = if over { status } else { "IN_PROGRESS" };
            ok(json!({"serviceDeployments": [{"serviceDeploymentArn": arn("service-deployment", "now"),
                "status": status, "statusReason": "tasks failed to start.", "createdAt": 1_700_000_000}],
                "failures": []}))
        }
        // The newest was deployed twice; the one before it is the same definition with another image.
        "ListServiceDeployments" => {
            let target = |id: &str| json!({"targetServiceRevisionArn": arn("service-revision", id)});
            let all = ["4", "3", "4", "2", "1"].map(target);
            ok(json!({"serviceDeployments": all}))
        }
        "DescribeServiceRevisions" => {
            let revision = |id: &str, definition: &str, digest: &str| {
                json!({"serviceRevisionArn": arn("service-revision", id),
                    "taskDefinition": format!("{PREFIX}:task-definition/{definition}"),
                    "containerImages": [{"containerName": "app", "image": "app:1", "imageDigest": digest}]})
            };
            ok(json!({"serviceRevisions": [revision("1", "web:1", "a"), revision("2", "web:2", "a"),
                revision("3", "web:2", "b"), revision("4", "web:2", "b")]}))
        }
        "StopServiceDeployment" => ok(json!({"serviceDeploymentArn": body["serviceDeploymentArn"]})),
        "DescribeTaskDefinition" => ok(json!({"taskDefinition": definition})),
        "RegisterTaskDefinition" => ok(json!({"taskDefinition": {
            "taskDefinitionArn": format!("{PREFIX}:task-definition/web:2")}})),
        "ListTasks" if body["desiredStatus"] == "STOPPED" => ok(json!({"taskArns": ["t"]})),
        "ListTasks" => ok(json!({"taskArns": []})),
        "DescribeTasks" => ok(json!({"tasks": [{"taskArn": "t", "lastStatus": "STOPPED", "createdAt": 1_700_000_002,
            "stopCode": "TaskFailedToStart", "stoppedReason": "CannotPullContainerError: none"}], "failures": []})),
        _ => refused("UnsupportedFeatureException", "not scripted"),
    }
}

fn sent(endpoint: &Endpoint, operation: &str) -> Value {
    let calls = endpoint.calls();
    let call = calls.iter().rfind(|call| call.target.ends_with(&format!(".{operation}")));
    call.unwrap_or_else(|| panic!("{operation} was not called")).body.clone()
}

#[test]
fn deploy_tells_what_happens_and_ends_with_the_result() {
    let endpoint = deploying("SUCCESSFUL");
    let ran = endpoint.run(&["deploy", "web", "web:2"]).expect(0);
    assert!(ran.stdout.contains("web      web:2       ACTIVE  2/2"), "{}", ran.stdout);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(
        lines,
        [
            "  (service web) event 1.",
            "web:2: 1 of 2 tasks run, 1 starting",
            "  (service web) event 2.",
            "web:2: 2 of 2 tasks run"
        ],
        "{}",
        ran.stderr
    );
    let update = sent(&endpoint, "UpdateService");
    assert_eq!((&update["taskDefinition"], &update["forceNewDeployment"]), (&json!("web:2"), &json!(true)));
    let ran = deploying("SUCCESSFUL").run(&["deploy", "web", "--json"]).expect(0);
    assert_eq!(ran.json()["services"][0]["serviceName"], "web");
}

#[test]
fn a_deployment_that_does_not_succeed_is_a_failure_that_says_why() {
    for status in ["ROLLBACK_SUCCESSFUL", "ROLLBACK_FAILED", "STOPPED"] {
        let ran = deploying(status).run(&["deploy", "web", "web:2"]).expect(6);
        for part in [
            status,
            "tasks failed to start.",
            "CannotPullContainerError: none",
            "It runs web:2 now",
            "service describe",
        ] {
            assert!(ran.stderr.to_lowercase().contains(&part.to_lowercase()), "{part}: {}", ran.stderr);
        }
    }
    let ran = deploying("IN_PROGRESS").run(&["deploy", "web", "web:2", "--wait-secs", "1"]).expect(7);
    assert!(ran.stderr.contains("the deployment of service web"), "{}", ran.stderr);
    let endpoint = deploying("STOPPED");
    endpoint.run(&["deploy", "web", "web:2", "--no-wait"]).expect(0);
    endpoint.run(&["deploy", "nothing", "web:2"]).expect(1);
    assert!(!endpoint.operations().contains(&"DescribeServiceDeployments".to_owned()));
}

#[test]
fn an_image_is_put_into_the_definition_that_runs() {
    let endpoint = deploying("SUCCESSFUL");
    let ran = endpoint.run(&["deploy", "web", "--image", "app:2"]).expect(2);
    assert!(ran.stderr.contains("--container") && ran.stderr.contains("app, side"), "{}", ran.stderr);
    assert!(!endpoint.operations().contains(&"RegisterTaskDefinition".to_owned()), "nothing was sent");
    endpoint.run(&["deploy", "web", "--image", "app:2", "--container", "app"]).expect(0);
    let registered = sent(&endpoint, "RegisterTaskDefinition");
    assert_eq!(
        registered,
        json!({"family": "web", "memory": "64", "containerDefinitions": [
            {"name": "app", "image": "app:2"}, {"name": "side", "image": "side:1"}]})
    );
    let update = sent(&endpoint, "UpdateService");
    assert_eq!(update["taskDefinition"], format!("{PREFIX}:task-definition/web:2"));
    endpoint.run(&["deploy", "web", "web:2", "--image", "app:2"]).expect(2);
}

#[test]
fn a_service_is_made_and_changed_as_the_flags_say() {
    let endpoint = deploying("SUCCESSFUL");
    let flags = ["--min-percent", "50", "--breaker", "rollback", "--grace-secs", "9", "--exec", "--strategy", "random"];
    let mut words = vec!["service", "create", "web", "web:1", "-n", "3"];
    words.extend(flags);
    endpoint.run(&words).expect(0);
    assert_eq!(
        sent(&endpoint, "CreateService"),
        json!({"cluster": "default", "serviceName": "web", "taskDefinition": "web:1", "desiredCount": 3,
            "deploymentConfiguration": {"minimumHealthyPercent": 50,
                "deploymentCircuitBreaker": {"enable": true, "rollback": true}},
            "healthCheckGracePeriodSeconds": 9, "enableExecuteCommand": true,
            "placementStrategy": [{"type": "random"}]})
    );
    endpoint.run(&["service", "create", "logs", "web:1", "--daemon"]).expect(0);
    let made = sent(&endpoint, "CreateService");
    assert_eq!((&made["schedulingStrategy"], &made["desiredCount"]), (&json!("DAEMON"), &Value::Null));
    endpoint.run(&["service", "update", "web", "--count", "5", "--exec=false", "--breaker", "off"]).expect(0);
    assert_eq!(
        sent(&endpoint, "UpdateService"),
        json!({"cluster": "default", "service": "web", "desiredCount": 5, "enableExecuteCommand": false,
            "deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": false, "rollback": false}}})
    );
    endpoint.run(&["service", "scale", "web", "4"]).expect(0);
    assert_eq!(sent(&endpoint, "UpdateService"), json!({"cluster": "default", "service": "web", "desiredCount": 4}));
    endpoint.run(&["service", "scale", "web", "5001"]).expect(2);
    endpoint.run(&["service", "create", "web", "web:1", "--daemon", "-n", "3"]).expect(2);
    let file = endpoint.home.path().join("request.json");
    std::fs::write(&file, json!({"serviceName": "other", "taskDefinition": "web:1"}).to_string()).expect("written");
    let ran = endpoint.run(&["service", "create", "web", file.to_str().expect("a path")]).expect(2);
    assert!(ran.stderr.contains("serviceName `other`"), "{}", ran.stderr);
}

#[test]
fn a_rollback_stops_what_is_under_way_or_goes_back_to_what_ran_before() {
    let endpoint = deploying("ROLLBACK_SUCCESSFUL");
    endpoint.run(&["service", "rollback", "web"]).expect(0);
    let stop = sent(&endpoint, "StopServiceDeployment");
    assert_eq!(stop, json!({"serviceDeploymentArn": arn("service-deployment", "now"), "stopType": "ROLLBACK"}));
    // Nothing is under way any more: what ran before with other images, not the same deployed twice.
    endpoint.run(&["service", "rollback", "web", "--no-wait"]).expect(0);
    let update = sent(&endpoint, "UpdateService");
    let expected = json!({"cluster": "default", "service": format!("{PREFIX}:service/default/web"),
        "taskDefinition": arn("service-revision", "2")});
    assert_eq!(update, expected);
    let asked = ["4", "3", "2", "1"].map(|id| arn("service-revision", id));
    assert_eq!(sent(&endpoint, "DescribeServiceRevisions")["serviceRevisionArns"], json!(asked));
}

/// A revision: its id, its definition, which was deleted when it is empty, and the digest of its image.
type Deployed = (&'static str, &'static str, Option<&'static str>);

/// An endpoint with a service that runs revision 4; `revisions` are those that were deployed successfully, the newest
/// first.
fn deployed(revisions: Vec<Deployed>, runs: (&'static str, Option<&'static str>)) -> Endpoint {
    Endpoint::new(move |operation, body| match operation {
        "DescribeServices" => ok(json!({"services": [service("web:2", 2, "COMPLETED")], "failures": []})),
        "ListServiceDeployments" => {
            let target = |(id, ..): &Deployed| json!({"targetServiceRevisionArn": arn("service-revision", id)});
            ok(json!({"serviceDeployments": revisions.iter().map(target).collect::<Vec<_>>()}))
        }
        "DescribeServiceRevisions" => {
            let revision = |id: &str, definition: &str, digest: Option<&str>| {
                let image = json!({"containerName": "app", "image": "app:1", "imageDigest": digest});
                let images = (!definition.is_empty()).then(|| json!([image]));
                json!({"serviceRevisionArn": arn("service-revision", id), "containerImages": images,
                    "taskDefinition": format!("{PREFIX}:task-definition/{definition}")})
            };
            let others = revisions.iter().filter(|(id, ..)| *id != "4");
            let others = others.map(|(id, definition, digest)| revision(id, definition, *digest));
            let all = others.chain([revision("4", runs.0, runs.1)]).collect::<Vec<_>>();
            let asked = body["serviceRevisionArns"].as_array().expect("a list").clone();
            let is_asked = |revision: &&Value| asked.contains(&revision["serviceRevisionArn"]);
            ok(json!({"serviceRevisions": all.iter().filter(is_asked).collect::<Vec<_>>()}))
        }
        "UpdateService" => ok(json!({"service": service("web:2", 0, "IN_PROGRESS")})),
        _ => refused("UnsupportedFeatureException", "not scripted"),
    })
}

#[test]
fn a_rollback_goes_to_what_differs_and_can_run() {
    let (now, before) = (("4", "web:2", None), ("2", "web:1", Some("a")));
    let cases: [(&[Deployed], _, Option<&str>); 6] = [
        // No task of what runs told its digest yet: the same definition before it is no other one.
        (&[now, ("3", "web:2", Some("b")), before], ("web:2", None), Some("2")),
        (&[now, ("3", "web:2", Some("b")), before], ("web:2", Some("c")), Some("3")),
        (&[now, ("3", "", None), before], ("web:2", Some("b")), Some("2")),
        // What runs was not deployed successfully: what was is gone back to, though it is the same.
        (&[("3", "web:2", Some("b")), before], ("web:2", Some("b")), Some("3")),
        (&[now, ("3", "web:2", Some("b")), ("2", "", None)], ("web:2", Some("b")), None),
        (&[], ("web:2", None), None),
    ];
    for (revisions, runs, expected) in cases {
        let endpoint = deployed(revisions.to_vec(), runs);
        let ran = endpoint.run(&["service", "rollback", "web", "--no-wait"]);
        match expected {
            Some(id) => {
                ran.expect(0);
                assert_eq!(sent(&endpoint, "UpdateService")["taskDefinition"], arn("service-revision", id));
            }
            None => {
                let ran = ran.expect(1);
                assert!(ran.stderr.contains("earlier revision of service"), "{}", ran.stderr);
                assert!(!endpoint.operations().contains(&"UpdateService".to_owned()), "nothing is changed");
            }
        }
    }
}

#[test]
fn services_are_listed_and_described() {
    let endpoint = Endpoint::new(|operation, body| match operation {
        "ListServices" => ok(json!({"serviceArns": [format!("{PREFIX}:service/default/web")]})),
        "DescribeServices" if body["services"][0] == "nothing" => {
            ok(json!({"services": [], "failures": [{"arn": "nothing", "reason": "MISSING"}]}))
        }
        "DescribeServices" => ok(json!({"services": [service("web:1", 2, "COMPLETED")], "failures": []})),
        _ => refused("X", "unexpected"),
    });
    let ran = endpoint.run(&["service", "ls"]).expect(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[0], "SERVICE  DEFINITION  STATUS  RUNNING  PENDING  DEPLOYMENT  AGE");
    assert!(lines[1].starts_with("web      web:1       ACTIVE  2/2      0        COMPLETED   "), "{}", ran.stdout);
    let ran = endpoint.run(&["service", "describe", "web"]).expect(0);
    for part in ["Deployment ecs-svc/1:", "2 of 2 running, 0 pending, 0 failed", "(service web) event 2."] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    endpoint.run(&["service", "describe", "nothing"]).expect(1);
    let ran = endpoint.run(&["describe", &format!("{PREFIX}:service/default/web")]).expect(0);
    assert!(ran.stdout.contains("Deployment ecs-svc/1:"), "{}", ran.stdout);
}
