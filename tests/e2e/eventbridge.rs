//! Events of ECS through boto3's `events`: rules whose targets are a webhook, a log group and a task, over a control
//! plane that is killed, and `longshore events`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use longshore_tests::lab::{ApiError, Lab, wait_until};
use serde_json::{Value, json};

use super::command::{longshore, longshore_command, ok};
use super::support::*;

/// Where the webhook listens on the control plane's machine.
const PORT: u16 = 8099;
const GROUP: &str = "/aws/events/stopped";

/// A request that came to the webhook.
#[derive(Debug, Clone)]
struct Came {
    head: String,
    body: Value,
    taken: bool,
}

/// A small HTTP server on the control plane's machine.
struct Webhook {
    fails: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    came: Arc<Mutex<Vec<Came>>>,
    thread: Option<JoinHandle<()>>,
}

impl Webhook {
    /// One that fails until it is told not to.
    fn start(lab: &Lab) -> Self {
        let address = SocketAddrV4::new(lab.ctl().address(), PORT);
        let listener = lab.ctl().in_network(|| TcpListener::bind(address).context("bind")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (fails, over) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let came: Arc<Mutex<Vec<Came>>> = Arc::default();
        let (fails_now, is_over, into) = (fails.clone(), over.clone(), came.clone());
        let thread = std::thread::spawn(move || {
            while !is_over.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let fails = fails_now.load(Ordering::SeqCst);
                        if let Ok(came) = answer(stream, fails) {
                            into.lock().unwrap().push(came);
                        }
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(10)),
                }
            }
        });
        Self { fails, over, came, thread: Some(thread) }
    }

    fn came(&self, taken: bool) -> Vec<Came> {
        self.came.lock().unwrap().iter().filter(|came| came.taken == taken).cloned().collect()
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn answer(stream: TcpStream, fails: bool) -> Result<Came> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        ensure!(reader.read_line(&mut head)? > 0, "cut off");
    }
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let status = if fails { "503 Service Unavailable" } else { "200 OK" };
    write!(reader.get_mut(), "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")?;
    Ok(Came { head, body: serde_json::from_slice(&body)?, taken: !fails })
}

/// `longshore events --follow`, until it is dropped.
struct Follower {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Follower {
    /// One that follows by now.
    fn start(lab: &Lab, args: &[&str]) -> Self {
        let mut command = longshore_command(lab);
        command.args(["events", "--follow"]).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("following events") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "it ended");
        }
        // What it says later must find room.
        std::thread::spawn(move || drop(said.lines().map_while(Result::ok).last()));
        let output = BufReader::new(child.stdout.take().unwrap());
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let into = lines.clone();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).for_each(|line| into.lock().unwrap().push(line));
        });
        Self { child, lines }
    }

    fn printed(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn events(lab: &Lab, op: &str, args: Value) -> Value {
    lab.call("events", op, args.clone()).unwrap().unwrap_or_else(|error| panic!("{op} {args}: {error}"))
}

fn events_error(lab: &Lab, op: &str, args: Value) -> ApiError {
    lab.call("events", op, args.clone()).unwrap().expect_err(&format!("{op} {args}"))
}

fn make_webhook(lab: &Lab) -> Value {
    let key = json!({"ApiKeyAuthParameters": {"ApiKeyName": "X-Key", "ApiKeyValue": "open sesame"}});
    let args = json!({"Name": "chat", "AuthorizationType": "API_KEY", "AuthParameters": key});
    let connection = events(lab, "create_connection", args)["ConnectionArn"].clone();
    let endpoint = format!("http://{}:{PORT}/in", lab.ctl().address());
    let args =
        json!({"Name": "chat", "ConnectionArn": connection, "HttpMethod": "POST", "InvocationEndpoint": endpoint});
    events(lab, "create_api_destination", args)["ApiDestinationArn"].clone()
}

/// The tasks that a rule's target ran.
fn tasks_of_rule(lab: &Lab) -> Result<Vec<String>> {
    let mut arns = Vec::new();
    for status in ["RUNNING", "STOPPED"] {
        let args = json!({"startedBy": "events-rule/stopped", "desiredStatus": status});
        let answer = lab.ecs("list_tasks", args)?;
        arns.extend(answer["taskArns"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    }
    Ok(arns)
}

/// What hosts, services and deployments tell comes to a rule's target as well.
fn fleet_is_told_of(lab: &Lab, region: &str, account: &str) {
    const FLEET: &str = "/aws/events/fleet";
    let types = ["ECS Container Instance State Change", "ECS Service Action", "ECS Deployment State Change"];
    lab.call("logs", "create_log_group", json!({"logGroupName": FLEET})).unwrap().unwrap();
    let pattern = json!({"source": ["aws.ecs"], "detail-type": types});
    events(lab, "put_rule", json!({"Name": "fleet", "EventPattern": pattern.to_string()}));
    let target = json!({"Id": "log", "Arn": format!("arn:aws:logs:{region}:{account}:log-group:{FLEET}")});
    assert_eq!(events(lab, "put_targets", json!({"Rule": "fleet", "Targets": [target]}))["FailedEntryCount"], 0);

    let definition = register(lab, "web", json!([sleeper()]), json!({}));
    let request = json!({"serviceName": "web", "taskDefinition": definition, "desiredCount": 1});
    let made = lab.ecs("create_service", request).unwrap()["service"].clone();
    lab.wait_ecs("services_stable", json!({"services": ["web"]})).unwrap();
    let host = lab.instances().unwrap()[0]["containerInstanceArn"].clone();
    for status in ["DRAINING", "ACTIVE"] {
        let change = json!({"containerInstances": [host], "status": status});
        lab.ecs("update_container_instances_state", change).unwrap();
    }
    let told = |kind: &str, about: &Value, is: &dyn Fn(&Value) -> bool| {
        wait_until(&format!("the rule's target has {kind}"), DEADLINE, || {
            let found = lab.call("logs", "filter_log_events", json!({"logGroupName": FLEET}))?;
            let lines = strings(&found?["events"], "message");
            let all: Vec<Value> = lines.iter().map(|line| Ok(serde_json::from_str(line)?)).collect::<Result<_>>()?;
            let mine = |event: &Value| event["detail-type"] == kind && event["resources"] == json!([about]);
            ensure!(all.iter().any(|event| mine(event) && is(&event["detail"])), "{all:#?}");
            Ok(true)
        })
        .unwrap();
    };
    let cluster = made["clusterArn"].clone();
    told(types[0], &host, &|detail| detail["status"] == "DRAINING" && detail["clusterArn"] == cluster);
    told(types[0], &host, &|detail| detail["status"] == "ACTIVE" && detail["agentConnected"] == true);
    let service = &made["serviceArn"];
    told(types[1], service, &|detail| {
        detail["eventName"] == "SERVICE_STEADY_STATE"
            && detail["eventType"] == "INFO"
            && detail["clusterArn"] == cluster
    });
    let deployment = &made["deployments"][0]["id"];
    for name in ["SERVICE_DEPLOYMENT_IN_PROGRESS", "SERVICE_DEPLOYMENT_COMPLETED"] {
        told(types[2], service, &|detail| detail["eventName"] == name && detail["deploymentId"] == *deployment);
    }
    lab.ecs("delete_service", json!({"service": "web", "force": true})).unwrap();
    lab.wait_ecs("services_inactive", json!({"services": ["web"]})).unwrap();
}

#[test]
fn an_event_reaches_a_webhook_a_log_group_and_a_task_over_a_crash() {
    let lab = lab(1);
    let webhook = Webhook::start(&lab);
    let quick = register(&lab, "quick", json!([shell("main", "exit 3")]), json!({}));
    let job = register(&lab, "job", json!([shell("main", "exit 0")]), json!({}));
    lab.call("logs", "create_log_group", json!({"logGroupName": GROUP})).unwrap().unwrap();
    let account = quick.split(':').nth(4).unwrap().to_owned();
    let region = quick.split(':').nth(3).unwrap().to_owned();

    let pattern = json!({"source": ["aws.ecs"], "detail-type": ["ECS Task State Change"],
        "detail": {"lastStatus": ["STOPPED"], "group": ["family:quick"],
            "containers": {"exitCode": [{"numeric": [">", 0]}]}}});
    let rule = json!({"Name": "stopped", "EventPattern": pattern.to_string(), "Tags": [{"Key": "a", "Value": "b"}]});
    let arn = events(&lab, "put_rule", rule)["RuleArn"].clone();
    assert_eq!(arn, format!("arn:aws:events:{region}:{account}:rule/stopped"));
    let overrides =
        json!({"containerOverrides": [{"name": "main", "environment": [{"name": "WHY", "value": "an event"}]}]});
    let targets = json!([
        {"Id": "hook", "Arn": make_webhook(&lab)},
        {"Id": "log", "Arn": format!("arn:aws:logs:{region}:{account}:log-group:{GROUP}")},
        {"Id": "task", "Arn": format!("arn:aws:ecs:{region}:{account}:cluster/default"),
            "RoleArn": format!("arn:aws:iam::{account}:role/ecsEventsRole"), "Input": overrides.to_string(),
            "EcsParameters": {"TaskDefinitionArn": job, "TaskCount": 1, "LaunchType": "EC2"}},
    ]);
    assert_eq!(events(&lab, "put_targets", json!({"Rule": "stopped", "Targets": targets}))["FailedEntryCount"], 0);

    // Bad input, which changes nothing.
    for (op, args, code) in [
        (
            "put_rule",
            json!({"Name": "stopped", "EventPattern": "{\"source\": \"aws.ecs\"}"}),
            "InvalidEventPatternException",
        ),
        ("put_rule", json!({"Name": "stopped"}), "ValidationException"),
        ("put_targets", json!({"Rule": "none", "Targets": [targets[0]]}), "ResourceNotFoundException"),
        (
            "put_targets",
            json!({"Rule": "stopped", "Targets": [{"Id": "x", "Arn": "arn:aws:sqs:here:1:queue"}]}),
            "ValidationException",
        ),
        ("delete_rule", json!({"Name": "stopped"}), "ValidationException"),
        ("describe_rule", json!({"Name": "none"}), "ResourceNotFoundException"),
        (
            "create_api_destination",
            json!({"Name": "chat", "ConnectionArn": format!("arn:aws:events:{region}:{account}:connection/none/0-0"),
            "HttpMethod": "POST", "InvocationEndpoint": "https://x"}),
            "ResourceNotFoundException",
        ),
    ] {
        assert_eq!(events_error(&lab, op, args.clone()).code, code, "{op} {args}");
    }
    let shown = events(&lab, "describe_rule", json!({"Name": "stopped"}));
    let kept: Value = serde_json::from_str(shown["EventPattern"].as_str().unwrap()).unwrap();
    assert_eq!((kept, &shown["State"]), (pattern, &json!("ENABLED")));
    let shown = events(&lab, "list_targets_by_rule", json!({"Rule": "stopped"}));
    assert_eq!(shown["Targets"], targets);
    let listed = ok(&lab.aws(&["events", "list-rules", "--output", "text", "--query", "Rules[].Name"]).unwrap());
    assert_eq!(listed.trim(), "stopped");

    // A task that ends. The webhook does not take it yet.
    let follower = Follower::start(&lab, &["--cluster", "default"]);
    let task = run_one(&lab, &quick, json!({}));
    stopped(&lab, &task);
    wait_until("the follower printed its end", DEADLINE, || {
        let of_task = |line: &&String| line.contains(id(&task));
        Ok(follower.printed().iter().filter(of_task).any(|line| line.contains("  STOPPED  family:quick")))
    })
    .unwrap();
    wait_until("the webhook was tried in vain", DEADLINE, || Ok(!webhook.came(false).is_empty())).unwrap();

    // The control plane dies while the event waits.
    lab.control().kill().unwrap();
    webhook.fails.store(false, Ordering::SeqCst);
    lab.restart_control().unwrap();
    wait_until("the webhook has it", DEADLINE, || Ok(!webhook.came(true).is_empty())).unwrap();
    let came = webhook.came(true).remove(0);
    assert_eq!(came.body["id"], webhook.came(false)[0].body["id"], "the same event");
    assert_eq!(came.body["detail"]["taskArn"], task.as_str());
    assert_eq!(
        (&came.body["source"], &came.body["detail"]["containers"][0]["exitCode"]),
        (&json!("aws.ecs"), &json!(3))
    );
    let head = came.head.to_ascii_lowercase();
    assert!(head.starts_with("post /in http/1.1\r\n") && head.contains("x-key: open sesame"), "{head}");

    let logged = || -> Result<Vec<Value>> {
        let args = json!({"logGroupName": GROUP});
        let Ok(found) = lab.call("logs", "filter_log_events", args)? else { return Ok(Vec::new()) };
        let lines = strings(&found["events"], "message");
        lines.iter().map(|line| Ok(serde_json::from_str(line)?)).collect()
    };
    wait_until("the log group has it", DEADLINE, || Ok(!logged()?.is_empty())).unwrap();
    assert!(logged().unwrap().iter().all(|event| event["id"] == came.body["id"]), "that event alone");

    wait_until("its task ran", DEADLINE, || Ok(!tasks_of_rule(&lab)?.is_empty())).unwrap();
    let ran = tasks_of_rule(&lab).unwrap();
    assert_eq!(ran.len(), 1, "once: {ran:?}");
    let ran = stopped(&lab, &ran[0]);
    assert_eq!(ran["overrides"]["containerOverrides"][0]["environment"][0]["value"], "an event");
    assert_eq!(container(&ran, "main")["exitCode"], 0);

    // The follower goes on with the new process.
    let before = follower.printed().len();
    wait_until("the follower goes on", DEADLINE, || {
        let entry = json!({"Source": "mine", "DetailType": "hello", "Detail": "{}",
            "Resources": ["arn:aws:ecs:x:1:service/default/web"]});
        events(&lab, "put_events", json!({"Entries": [entry]}));
        Ok(follower.printed().iter().skip(before).any(|line| line.ends_with("service/default/web  hello")))
    })
    .unwrap();
    fleet_is_told_of(&lab, &region, &account);
    let table = ok(&longshore(&lab, &["events", "--rules"]));
    assert!(table.contains("stopped") && table.contains("api-destination/chat/"), "{table}");
    let refused = longshore(&lab, &["events"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert_no_leaks(&lab, &[]);
}
