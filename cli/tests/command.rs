//! The built command against a scripted endpoint: what it sends, what it prints, how it ends.

mod services;
mod support;

use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{Answer, Endpoint, Ran, ok, refused};

const PREFIX: &str = "arn:aws:ecs:lab:123456789012";
const TASK: &str = "0123456789abcdef0123456789abcdef";
const HOST: &str = "fedcba9876543210fedcba9876543210";

fn task(status: &str, extra: Value) -> Value {
    let mut task = json!({
        "taskArn": format!("{PREFIX}:task/prod/{TASK}"),
        "taskDefinitionArn": format!("{PREFIX}:task-definition/web:3"),
        "containerInstanceArn": format!("{PREFIX}:container-instance/prod/{HOST}"),
        "clusterArn": format!("{PREFIX}:cluster/prod"),
        "lastStatus": status, "desiredStatus": status, "createdAt": 1_700_000_000.25,
        "containers": [{"name": "web", "lastStatus": status, "networkBindings":
            [{"bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 32768, "protocol": "tcp"}]}],
    });
    for (key, value) in extra.as_object().into_iter().flatten() {
        task[key] = value.clone();
    }
    task
}

fn host() -> Value {
    json!({
        "containerInstanceArn": format!("{PREFIX}:container-instance/prod/{HOST}"),
        "ec2InstanceId": "rack7", "status": "ACTIVE", "agentConnected": true,
        "runningTasksCount": 1, "pendingTasksCount": 0, "registeredAt": 1_700_000_000.5,
        "registeredResources": [{"name": "CPU", "type": "INTEGER", "integerValue": 2048},
            {"name": "MEMORY", "type": "INTEGER", "integerValue": 4000}],
        "remainingResources": [{"name": "CPU", "type": "INTEGER", "integerValue": 1024},
            {"name": "MEMORY", "type": "INTEGER", "integerValue": 3500}],
        "attributes": [{"name": "ecs.os-type", "value": "linux"}],
    })
}

/// One host, one running task, one definition.
fn small_cluster(operation: &str, body: &Value) -> Answer {
    let arn = |kind: &str, id: &str| format!("{PREFIX}:{kind}/prod/{id}");
    match operation {
        "ListTasks" if body["desiredStatus"] == "RUNNING" => ok(json!({"taskArns": [arn("task", TASK)]})),
        "ListTasks" => ok(json!({"taskArns": []})),
        "DescribeTasks" => ok(json!({"tasks": [task("RUNNING", json!({}))], "failures": []})),
        "ListContainerInstances" => ok(json!({"containerInstanceArns": [arn("container-instance", HOST)]})),
        "DescribeContainerInstances" => ok(json!({"containerInstances": [host()], "failures": []})),
        "RunTask" => ok(json!({"tasks": [task("PROVISIONING", json!({}))], "failures": []})),
        "StopTask" => ok(json!({"task": task("RUNNING", json!({"desiredStatus": "STOPPED"}))})),
        "DescribeTaskDefinition" => ok(json!({"taskDefinition": {
            "taskDefinitionArn": format!("{PREFIX}:task-definition/web:3"), "family": "web", "revision": 3,
            "containerDefinitions": [{"name": "web", "image": "busybox", "essential": true,
                "environment": [{"name": "PASSWORD", "value": "hunter2"}]}]}})),
        "DescribeClusters" => ok(json!({"clusters": [], "failures": []})),
        _ => refused("UnsupportedFeatureException", "not scripted"),
    }
}

#[test]
fn ps_shows_where_tasks_run() {
    let endpoint = Endpoint::new(small_cluster);
    let ran = endpoint.run(&["ps", "--cluster", "prod"]).expect(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[0], "TASK          DEFINITION  STATUS   HOST   PORTS          AGE");
    assert!(lines[1].starts_with("0123456789ab  web:3       RUNNING  rack7  32768->80/tcp  "), "{}", ran.stdout);
    assert_eq!(lines.len(), 2);
    assert!(ran.stderr.is_empty(), "{}", ran.stderr);
    let calls = endpoint.calls();
    assert_eq!(calls[0].target, "AmazonEC2ContainerServiceV20141113.ListTasks");
    assert_eq!(calls[0].body, json!({"cluster": "prod", "desiredStatus": "RUNNING"}));
    assert_eq!(calls[0].headers["content-type"], "application/x-amz-json-1.1");
}

#[test]
fn json_has_the_shapes_of_the_ecs_api() {
    let endpoint = Endpoint::new(small_cluster);
    let ran = endpoint.run(&["--json", "ps", "-c", "prod"]).expect(0);
    assert_eq!(ran.json()["tasks"][0]["containers"][0]["networkBindings"][0]["hostPort"], 32768);
    let ran = endpoint.run(&["host", "list", "--json"]).expect(0);
    assert_eq!(ran.json()["containerInstances"][0], host());
    let ran = endpoint.run(&["run", "web", "--json"]).expect(0);
    assert_eq!(ran.json()["tasks"][0]["lastStatus"], "PROVISIONING");
    assert_eq!(ran.json()["failures"], json!([]));
}

#[test]
fn all_pages_are_read() {
    let endpoint = Endpoint::new(|operation, body| match (operation, body["nextToken"].as_str()) {
        ("ListClusters", None) => ok(json!({"clusterArns": ["a"], "nextToken": "more"})),
        ("ListClusters", Some("more")) => ok(json!({"clusterArns": ["b"]})),
        ("DescribeClusters", _) => {
            let names = body["clusters"].as_array().expect("names").iter();
            ok(json!({"clusters": names.map(|n| json!({"clusterName": n, "status": "ACTIVE"})).collect::<Vec<_>>()}))
        }
        _ => refused("X", "unexpected"),
    });
    let ran = endpoint.run(&["cluster", "ls"]).expect(0);
    assert!(ran.stdout.contains("\na ") && ran.stdout.contains("\nb "), "{}", ran.stdout);
}

#[test]
fn run_sends_overrides_and_a_token() {
    let endpoint = Endpoint::new(small_cluster);
    endpoint
        .run(&[
            "run",
            "web:3",
            "-n",
            "2",
            "-e",
            "A=b",
            "-e",
            "web:C=d",
            "--strategy",
            "spread:instanceId",
            "--constraint",
            "distinctInstance",
            "--started-by",
            "me",
            "--",
            "sh",
            "-c",
            "exit 3",
        ])
        .expect(0);
    let request = endpoint.calls().into_iter().find(|c| c.target.ends_with(".RunTask")).expect("sent").body;
    let token = request["clientToken"].as_str().expect("a token").to_owned();
    assert_eq!(token.len(), 36);
    assert_eq!(
        request,
        json!({
            "cluster": "default", "taskDefinition": "web:3", "count": 2, "clientToken": token, "startedBy": "me",
            "placementStrategy": [{"type": "spread", "field": "instanceId"}],
            "placementConstraints": [{"type": "distinctInstance"}],
            "overrides": {"containerOverrides": [{"name": "web", "command": ["sh", "-c", "exit 3"],
                "environment": [{"name": "A", "value": "b"}, {"name": "C", "value": "d"}]}]},
        })
    );
}

#[test]
fn more_than_ten_tasks_are_several_calls() {
    let endpoint = Endpoint::new(|operation, body| match operation {
        "RunTask" => {
            let count = body["count"].as_u64().expect("a count");
            ok(json!({"tasks": (0..count).map(|_| task("PENDING", json!({}))).collect::<Vec<_>>()}))
        }
        other => small_cluster(other, body),
    });
    endpoint.run(&["run", "web", "-n", "23"]).expect(0);
    let calls = endpoint.calls();
    let counts: Vec<_> = calls.iter().filter_map(|c| c.body["count"].as_u64()).collect();
    assert_eq!(counts, [10, 10, 3]);
    let tokens: std::collections::BTreeSet<_> = calls.iter().filter_map(|c| c.body["clientToken"].as_str()).collect();
    assert_eq!(tokens.len(), 3, "each call has its own client token");
}

#[test]
fn tasks_without_a_place_are_status_5_with_reasons() {
    let endpoint = Endpoint::new(|operation, body| match operation {
        "RunTask" => ok(json!({"tasks": [], "failures": [
            {"arn": format!("{PREFIX}:container-instance/prod/{HOST}"), "reason": "RESOURCE:MEMORY"}]})),
        other => small_cluster(other, body),
    });
    let ran = endpoint.run(&["run", "web"]).expect(5);
    assert!(ran.stderr.contains("0 of 1 tasks found a place: RESOURCE:MEMORY (rack7)"), "{}", ran.stderr);
}

#[test]
fn an_image_is_pulled_by_tasks_that_run_nothing_and_every_host_is_told_of() {
    const OTHER: &str = "0000000000000000fedcba9876543210";
    let looked = AtomicUsize::new(0);
    let arn = |id: &str| format!("{PREFIX}:container-instance/prod/{id}");
    let of = move |id: &str, status: &str, more: Value| {
        let mut task = task(
            status,
            json!({"taskArn": format!("{PREFIX}:task/prod/{id}"),
            "containerInstanceArn": arn(id), "pullStartedAt": 1_700_000_000.5,
            "stopCode": "EssentialContainerExited"}),
        );
        let image = json!({"name": "image", "image": "reg/app:1", "lastStatus": status});
        task["containers"] = json!([image]);
        more.as_object().into_iter().flatten().for_each(|(k, v)| task["containers"][0][k] = v.clone());
        task
    };
    let endpoint = Endpoint::new(move |operation, body| match operation {
        "ListContainerInstances" => ok(json!({"containerInstanceArns": [arn(HOST), arn(OTHER)]})),
        "RegisterTaskDefinition" if body["containerDefinitions"][0]["image"] == "a b" => {
            refused("ClientException", "Container.image contains invalid characters.")
        }
        "RegisterTaskDefinition" => {
            ok(json!({"taskDefinition": {"taskDefinitionArn": format!("{PREFIX}:task-definition/pull:1")}}))
        }
        "DeregisterTaskDefinition" | "DeleteTaskDefinitions" => ok(json!({})),
        "StartTask" if body["containerInstances"].as_array().is_some_and(|all| all.len() == 1) => {
            ok(json!({"tasks": [], "failures": [{"arn": arn(HOST), "reason": "AGENT"}]}))
        }
        "StartTask" => ok(json!({"tasks": [of(HOST, "PENDING", json!({})), of(OTHER, "PENDING", json!({}))]})),
        "DescribeTasks" => {
            let failed = json!({"reason": "CannotPullContainerError: no room"});
            let second = match looked.fetch_add(1, Ordering::SeqCst) {
                0 => of(OTHER, "PENDING", json!({})),
                _ => of(OTHER, "STOPPED", failed),
            };
            let pulled = json!({"exitCode": 0, "imageDigest": "sha256:12"});
            ok(json!({"tasks": [of(HOST, "STOPPED", pulled), second]}))
        }
        other => small_cluster(other, body),
    });
    let ran = endpoint.run(&["image", "pull", "reg/app:1"]).expect(6);
    assert!(ran.stdout.contains("rack7") && ran.stdout.contains("sha256:12"), "{}", ran.stdout);
    for line in
        ["rack7: pulled\n", ": pulling\n", ": CannotPullContainerError: no room", "1 of 2 hosts have the images"]
    {
        assert!(ran.stderr.contains(line), "{line}: {}", ran.stderr);
    }
    let calls = endpoint.calls();
    let start = calls.iter().find(|call| call.target.ends_with("StartTask")).expect("it was called");
    assert_eq!(start.body["tags"], json!([{"key": "longshore.pull-only", "value": "true"}]));
    let gone = calls.iter().find(|call| call.target.ends_with("DeleteTaskDefinitions")).expect("nothing stays");
    assert_eq!(gone.body["taskDefinitions"], json!([format!("{PREFIX}:task-definition/pull:1")]));

    let ran = endpoint.run(&["image", "pull", "a b"]).expect(2);
    assert!(ran.stderr.contains("the image `a b`: Container.image contains invalid characters"), "{}", ran.stderr);
    let ran = endpoint.run(&["image", "pull", "--task-def", "web:3", "--host", HOST]).expect(6);
    assert!(ran.stderr.contains("0 of 1 hosts have the images; AGENT (rack7)"), "{}", ran.stderr);
    let ran = endpoint.run(&["image", "pull", "app", "--host", "rack8"]).expect(1);
    assert!(ran.stderr.contains("there is no host `rack8`"), "{}", ran.stderr);
    endpoint.run(&["image", "pull"]).expect(2);
}

/// A task that is pending, then running, then stopped, one step each time it is looked at.
fn living(code: i32) -> Endpoint {
    let looked = AtomicUsize::new(0);
    Endpoint::new(move |operation, body| match operation {
        "DescribeTasks" => {
            let stopped = json!({"stopCode": "EssentialContainerExited",
                "stoppedReason": "Essential container in task exited",
                "containers": [{"name": "web", "exitCode": code}]});
            ok(json!({"tasks": [match looked.fetch_add(1, Ordering::SeqCst) {
                0 => task("PENDING", json!({})),
                1 => task("RUNNING", json!({})),
                _ => task("STOPPED", stopped),
            }]}))
        }
        other => small_cluster(other, body),
    })
}

#[test]
fn waiting_for_running_stops_there() {
    let ran = living(0).run(&["run", "web", "--wait"]).expect(0);
    assert!(ran.stdout.contains("RUNNING"), "{}", ran.stdout);
}

#[test]
fn waiting_for_the_end_tells_how_it_was() {
    living(0).run(&["run", "web", "--wait=stopped"]).expect(0);
    let ran = living(3).run(&["run", "web", "--wait=stopped"]).expect(6);
    assert!(ran.stdout.contains("Essential container in task exited"), "{}", ran.stdout);
    assert!(ran.stderr.contains("container `web` exited with 3"), "{}", ran.stderr);
}

#[test]
fn waiting_has_an_end() {
    let endpoint = Endpoint::new(|operation, body| match operation {
        "DescribeTasks" => ok(json!({"tasks": [task("PENDING", json!({}))]})),
        other => small_cluster(other, body),
    });
    let ran = endpoint.run(&["run", "web", "--wait", "--wait-secs", "1"]).expect(7);
    assert!(ran.stdout.contains(&TASK[..12]), "what was started is told: {}", ran.stdout);
    assert!(ran.stderr.contains("still waiting") && ran.stderr.contains("1 PENDING"), "{}", ran.stderr);
}

#[test]
fn a_definition_file_is_registered_as_it_is() {
    let endpoint = Endpoint::new(|operation, body| match operation {
        "RegisterTaskDefinition" => {
            let family = body["family"].as_str().unwrap_or_default();
            ok(json!({"taskDefinition": {"taskDefinitionArn": format!("{PREFIX}:task-definition/{family}:1")}}))
        }
        other => small_cluster(other, body),
    });
    let file = endpoint.home.path().join("web.json");
    let definition = json!({"family": "web", "containerDefinitions": [{"name": "web", "image": "busybox", "memory": 16,
        "dockerLabels": {"Any.Label": "x"}}], "volumes": []});
    std::fs::write(&file, definition.to_string()).expect("written");
    let file = file.to_str().expect("UTF-8");
    let ran = endpoint.run(&["task-def", "register", file]).expect(0);
    assert_eq!(ran.stdout, "registered web:1\n");
    assert_eq!(endpoint.calls()[0].body, definition);

    let ran = endpoint.run(&["run", file]).expect(0);
    assert!(ran.stderr.contains("registered web:1"), "{}", ran.stderr);
    assert_eq!(endpoint.operations()[1..3], ["RegisterTaskDefinition", "RunTask"]);

    std::fs::write(file, r#"{"family": "web", "containerDefinitions": [{"nmae": "web"}]}"#).expect("written");
    let ran = endpoint.run(&["task-def", "register", file]).expect(2);
    assert!(ran.stderr.contains("`containerDefinitions[0].nmae`"), "{}", ran.stderr);
    std::fs::write(file, "{").expect("written");
    endpoint.run(&["task-def", "register", file]).expect(2);
    assert_eq!(endpoint.operations().len(), 4, "a bad file is not sent");
}

#[test]
fn names_are_looked_up() {
    let endpoint = Endpoint::new(small_cluster);
    endpoint.run(&["stop", "0123", "--reason", "enough", "-c", "prod"]).expect(0);
    let stop = endpoint.calls().into_iter().find(|c| c.target.ends_with(".StopTask")).expect("sent").body;
    assert_eq!(stop, json!({"cluster": "prod", "task": format!("{PREFIX}:task/prod/{TASK}"), "reason": "enough"}));
    let ran = endpoint.run(&["stop", "9999", "0123"]).expect(1);
    assert!(ran.stderr.contains("there is no task `9999` in cluster default"), "{}", ran.stderr);
    let ran = endpoint.run(&["stop", "arn:aws:ecs:mars:123456789012:task/prod/0123456789abcdef0123456789abcdef"]);
    assert!(ran.expect(1).stderr.contains("--region mars"));
    assert_eq!(endpoint.operations().iter().filter(|o| *o == "StopTask").count(), 1, "a slip stops nothing");
}

#[test]
fn describe_finds_out_what_is_meant() {
    let endpoint = Endpoint::new(small_cluster);
    let ran = endpoint.run(&["describe", "0123"]).expect(0);
    assert!(ran.stdout.contains("Task:") && ran.stdout.contains("0.0.0.0 32768->80/tcp"), "{}", ran.stdout);
    let pending = Endpoint::new(|operation, body| match operation {
        "DescribeTasks" => {
            let waits = json!([{"name": "web", "lastStatus": "PENDING", "reason": "Waiting for host port 80/tcp"}]);
            ok(json!({"tasks": [task("PENDING", json!({"containers": waits}))]}))
        }
        other => small_cluster(other, body),
    });
    let ran = pending.run(&["describe", "0123"]).expect(0);
    assert!(ran.stdout.contains("Waiting for host port 80/tcp"), "{}", ran.stdout);
    let ran = endpoint.run(&["describe", "rack7"]).expect(0);
    assert!(ran.stdout.contains("1024 of 2048 free") && ran.stdout.contains("ecs.os-type"), "{}", ran.stdout);
    let ran = endpoint.run(&["describe", "web:3"]).expect(0);
    assert!(ran.stdout.contains("PASSWORD") && !ran.stdout.contains("hunter2"), "{}", ran.stdout);
}

#[test]
fn join_tokens_are_activations() {
    let endpoint = Endpoint::new(|operation, _| match operation {
        "CreateActivation" => ok(json!({"ActivationId": "id-1", "ActivationCode": "lsj1.id-1.secret.pin"})),
        "DescribeActivations" => ok(json!({"ActivationList": [{"ActivationId": "id-1", "RegistrationLimit": 2,
            "RegistrationsCount": 2, "Expired": false, "ExpirationDate": 1_700_000_000,
            "Tags": [{"Key": "longshore:cluster", "Value": "prod"}]}]})),
        "DeleteActivation" => ok(json!({})),
        _ => refused("X", "unexpected"),
    });
    let ran = endpoint.run(&["host", "join-token", "create", "--hosts", "2", "-c", "prod"]).expect(0);
    assert_eq!(ran.stdout, "lsj1.id-1.secret.pin\n", "only the token goes to standard output");
    assert!(ran.stderr.contains("2 hosts join cluster prod within 24 h"), "{}", ran.stderr);
    let call = &endpoint.calls()[0];
    assert_eq!(call.target, "AmazonSSM.CreateActivation");
    assert_eq!(call.body["RegistrationLimit"], 2);
    assert_eq!(call.body["Tags"], json!([{"Key": "longshore:cluster", "Value": "prod"}]));
    let ran = endpoint.run(&["host", "join-token", "list"]).expect(0);
    assert!(ran.stdout.contains("spent") && ran.stdout.contains("2/2"), "{}", ran.stdout);
    endpoint.run(&["host", "join-token", "revoke", "id-1"]).expect(0);
    assert_eq!(endpoint.calls()[2].body, json!({"ActivationId": "id-1"}));
}

#[test]
fn a_refusal_says_what_was_refused_and_why() {
    let endpoint = Endpoint::new(|_, _| refused("ClusterNotFoundException", "Cluster not found."));
    let ran = endpoint.run(&["ps"]).expect(1);
    assert!(ran.stdout.is_empty());
    assert!(ran.stderr.contains("ListTasks was refused: Cluster not found. (ClusterNotFoundException)"), "{ran:?}");
    assert!(ran.stderr.contains("longshore cluster create"), "what next: {ran:?}");
    assert_eq!(endpoint.calls().len(), 1, "a refusal is not repeated");
}

#[test]
fn a_wrong_secret_is_told_without_showing_it() {
    let endpoint = Endpoint::new(small_cluster);
    let mut command = endpoint.command(&["ps"]);
    command.env("AWS_SECRET_ACCESS_KEY", "wrong-secret-000");
    let ran = Ran::of(command.output().expect("starts")).expect(1);
    assert!(ran.stderr.contains("InvalidSignatureException") && ran.stderr.contains("secret access key"), "{ran:?}");
    assert!(!ran.stderr.contains("wrong-secret"), "{ran:?}");
}

#[test]
fn what_may_pass_is_tried_again_if_that_is_safe() {
    let fails = || {
        let calls = AtomicUsize::new(0);
        Endpoint::new(move |operation, body| match calls.fetch_add(1, Ordering::SeqCst) {
            0 => (503, json!({"__type": "ServiceUnavailableException", "message": "starting"})),
            _ if operation == "RegisterTaskDefinition" => ok(json!({})),
            _ => small_cluster(operation, body),
        })
    };
    let endpoint = fails();
    endpoint.run(&["host", "list"]).expect(0);
    assert_eq!(endpoint.operations()[..2], ["ListContainerInstances", "ListContainerInstances"]);
    let endpoint = fails();
    let file = endpoint.home.path().join("d.json");
    std::fs::write(&file, r#"{"family": "x", "containerDefinitions": []}"#).expect("written");
    endpoint.run(&["task-def", "register", file.to_str().expect("UTF-8")]).expect(1);
    assert_eq!(endpoint.calls().len(), 1, "a second registration would be a second revision");
}

#[test]
fn an_endpoint_that_is_not_there_is_status_4() {
    let endpoint = Endpoint::new(small_cluster);
    let mut command = endpoint.command(&["ps"]);
    // A port that was just free, and on which nobody listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("address").port();
    command.env("AWS_ENDPOINT_URL_ECS", format!("http://127.0.0.1:{port}"));
    let ran = Ran::of(command.output().expect("starts")).expect(4);
    assert!(ran.stderr.contains("because:") && ran.stderr.contains("AWS_ENDPOINT_URL_ECS"), "{ran:?}");
}

#[test]
fn https_trusts_the_bundle_and_nobody_else() {
    let endpoint = Endpoint::with_tls(small_cluster);
    let run = |bundle: &str| {
        let mut command = endpoint.command(&["host", "list"]);
        command.env("AWS_CA_BUNDLE", endpoint.home.path().join(bundle));
        Ran::of(command.output().expect("starts"))
    };
    assert!(run("ca.pem").expect(0).stdout.contains("rack7"));

    std::fs::write(endpoint.home.path().join("empty.pem"), "").expect("written");
    assert!(run("empty.pem").expect(3).stderr.contains("holds no certificate"));
    assert!(run("none.pem").expect(3).stderr.contains("none.pem"));

    let other = Endpoint::with_tls(small_cluster);
    let mut command = endpoint.command(&["host", "list"]);
    command.env("AWS_CA_BUNDLE", other.home.path().join("ca.pem"));
    let ran = Ran::of(command.output().expect("starts")).expect(4);
    assert!(ran.stderr.contains("could not reach the control plane at https://"), "{ran:?}");
    assert!(ran.stderr.to_lowercase().contains("certificate"), "{ran:?}");
}

#[test]
fn another_server_is_recognised() {
    let endpoint = Endpoint::new(|_, _| (404, json!("no such page")));
    let ran = endpoint.run(&["cluster", "list"]).expect(4);
    assert!(ran.stderr.contains("is not one of the ECS API") && ran.stderr.contains("404"), "{ran:?}");
}

#[test]
fn settings_that_lack_are_status_3() {
    let endpoint = Endpoint::new(small_cluster);
    for (variable, expected) in [("AWS_REGION", "--region"), ("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY")] {
        let mut command = endpoint.command(&["ps"]);
        command.env_remove(variable);
        let ran = Ran::of(command.output().expect("starts")).expect(3);
        assert!(ran.stderr.contains(expected), "{ran:?}");
    }
    endpoint.run(&["ps", "--no-such-flag"]).expect(2);
    assert!(endpoint.calls().is_empty());
}

#[test]
fn a_session_token_is_sent_and_signed() {
    let endpoint = Endpoint::new(small_cluster);
    let mut command = endpoint.command(&["ps"]);
    command.env("AWS_SESSION_TOKEN", "temporary");
    Ran::of(command.output().expect("starts")).expect(0);
    let call = &endpoint.calls()[0];
    assert_eq!(call.headers["x-amz-security-token"], "temporary");
    assert!(call.headers["authorization"].contains("x-amz-security-token"));
}

#[test]
fn help_version_and_completions_need_no_settings() {
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_longshore"));
        Ran::of(command.args(arguments).env_clear().output().expect("starts")).expect(0).stdout
    };
    assert!(run(&["--version"]).starts_with("longshore "));
    let help = run(&["--help"]);
    assert!(help.contains("Exit status:") && help.contains("Examples:"), "{help}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).contains("join-token"), "{shell}");
    }
}

/// A task that is over, whose container's output is kept; `page` answers GetLogEvents.
fn kept(page: impl Fn(&Value) -> Answer + Send + Sync + 'static) -> Endpoint {
    let options = json!({"awslogs-region": "lab", "awslogs-group": "app", "awslogs-stream-prefix": "web"});
    let definition = json!({"containerDefinitions": [{"name": "web", "image": "busybox",
        "logConfiguration": {"logDriver": "awslogs", "options": options}}]});
    Endpoint::new(move |operation, body| match operation {
        "DescribeTasks" => ok(json!({"tasks": [task("STOPPED", json!({}))], "failures": []})),
        "DescribeTaskDefinition" => ok(json!({"taskDefinition": definition.clone()})),
        "GetLogEvents" => page(body),
        other => small_cluster(other, body),
    })
}

fn page(number: i64, messages: &[String], next: i64) -> Answer {
    let event = |message: &String| json!({"timestamp": number, "ingestionTime": 1000 + number, "message": message});
    let events: Vec<Value> = messages.iter().map(event).collect();
    ok(json!({"events": events, "nextForwardToken": format!("f/{next}"), "nextBackwardToken": "b/0"}))
}

/// The page that a request asks for, of pages with one event each.
fn number(body: &Value) -> i64 {
    body["nextToken"].as_str().map_or(0, |token| token[2..].parse().expect("ours"))
}

#[test]
fn a_follower_of_a_task_that_is_over_waits_for_a_control_plane_that_is_away() {
    let asked = AtomicUsize::new(0);
    let endpoint = kept(move |body| {
        // So often that it lasts longer than a task that is over may be silent.
        if asked.fetch_add(1, Ordering::Relaxed) < 7 {
            return (503, json!({"__type": "ServiceUnavailableException", "message": "starting"}));
        }
        match number(body) {
            0 => page(0, &["the last words".to_owned()], 1),
            end => page(end, &[], end),
        }
    });
    let ran = endpoint.run(&["logs", "-f", "-c", "prod", TASK]).expect(0);
    assert_eq!(ran.stdout, "the last words\n");
}

#[test]
fn logs_end_although_a_container_prints_all_the_time() {
    let endpoint = kept(|body| match body["startFromHead"] == json!(false) {
        true => page(3, &["line 3".to_owned()], 4),
        // As many as a command that does not end would read before this test does.
        false if number(body) > 50 => page(51, &[], 51),
        false => page(number(body), &[format!("line {}", number(body))], number(body) + 1),
    });
    let ran = endpoint.run(&["logs", "-c", "prod", TASK]).expect(0);
    // All that was there, and what came with it.
    let expected: String = (0..=4).map(|n| format!("line {n}\n")).collect();
    assert_eq!(ran.stdout, expected);
    let ran = endpoint.run(&["logs", "--tail", "1", "-c", "prod", TASK]).expect(0);
    assert_eq!(ran.stdout, "line 3\n");
}
