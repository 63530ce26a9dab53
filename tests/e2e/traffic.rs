//! Thirty tasks of a service under constant requests: neither a rolling update nor a drain costs one.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use longshore_tests::lab::process::{Process, Signal};
use longshore_tests::lab::{Lab, LabConfig, invariant, wait_for, wait_until};
use serde_json::{Map, Value, json};

use super::support::*;

const TASKS: usize = 30;

/// A deployment of thirty on two loaded cores.
const ROLLED: Duration = Duration::from_secs(180);

/// A web server with one page. It goes on for some seconds after SIGTERM, as whoever has no load balancer in front has
/// to: clients need a moment to see that it is about to go.
fn server(page: &str) -> Value {
    let script = format!(
        "mkdir /www; echo {page} > /www/index.html; httpd -f -p 80 -h /www & trap 'sleep 5; exit 0' TERM; wait; wait"
    );
    json!({"name": "web", "image": "busybox", "memory": 16, "command": ["sh", "-c", script], "stopTimeout": 30,
        "portMappings": [{"containerPort": 80}],
        "dockerLabels": {"longshore.health.http": "80/index.html", "longshore.health.interval": "5"}})
}

/// The clients.
struct Traffic<'a> {
    lab: &'a Lab,
    process: Process,
}

impl<'a> Traffic<'a> {
    fn start(lab: &'a Lab, service: &str) -> Self {
        let mut hosts = Map::new();
        for instance in lab.instances().unwrap() {
            let arn = instance["containerInstanceArn"].as_str().unwrap();
            hosts.insert(arn.to_owned(), json!(lab.node(node_index(lab, arn)).host.address()));
        }
        let args = [service, &Value::Object(hosts).to_string(), "4", "0.02"];
        let process = lab.python("traffic", include_str!("traffic.py"), &args).unwrap();
        Self { lab, process }
    }

    fn counts(&self) -> Option<Value> {
        let text = std::fs::read_to_string(self.lab.ctl().dir().join("traffic.log")).unwrap();
        text.lines().rev().find_map(|line| serde_json::from_str(line).ok())
    }

    /// Waits until the clients have made some hundred more requests, so that what happened before is past.
    fn flows(&self) -> Value {
        let requests = |counts: &Value| counts["requests"].as_u64().unwrap();
        let before = self.counts().map_or(0, |counts| requests(&counts));
        let counts = wait_for("requests", DEADLINE, || {
            ensure!(self.process.lives(), "the clients have died: {}", self.lab.ctl().log_tail("traffic"));
            Ok(self.counts().filter(|counts| requests(counts) >= before + 300))
        })
        .unwrap();
        assert_eq!(counts["failed"], json!([]), "of {} requests some failed", counts["requests"]);
        counts
    }
}

/// Whether a definition alone runs, as often as it should.
fn deployed(lab: &Lab, definition: &str) -> Result<bool> {
    let service = lab.ecs("describe_services", json!({"services": ["web"]}))?["services"][0].clone();
    let deployments = service["deployments"].as_array().cloned().unwrap_or_default();
    Ok(deployments.len() == 1
        && deployments[0]["taskDefinition"] == definition
        && deployments[0]["rolloutState"] == "COMPLETED"
        && service["runningCount"] == TASKS)
}

/// Holds that all of the service's tasks run, which ran as a whole before.
fn all_run(lab: &Lab) -> Result<()> {
    let service = lab.ecs("describe_services", json!({"services": ["web"]}))?["services"][0].clone();
    invariant(service["runningCount"].as_u64() >= Some(TASKS as u64), || format!("fewer than all run: {service}"))
}

/// Whether a definition alone runs, as often as it should, of a service that has to run as a whole all the time.
fn moved(lab: &Lab, definition: &str) -> Result<bool> {
    all_run(lab)?;
    deployed(lab, definition)
}

#[test]
fn a_rolling_update_and_a_drain_of_thirty_tasks_lose_no_request() {
    let lab = networked(LabConfig { hosts: 3, agent: "cleanup_wait = \"1s\"\n".to_owned(), ..LabConfig::default() });
    let one = register(&lab, "web", json!([server("one")]), json!({}));
    let request = json!({"serviceName": "web", "taskDefinition": one, "desiredCount": TASKS});
    lab.ecs("create_service", request).unwrap();
    wait_until("thirty tasks", ROLLED, || deployed(&lab, &one)).unwrap();
    let traffic = Traffic::start(&lab, "web");
    let counts = traffic.flows();
    assert_eq!(counts["tasks"], TASKS, "{counts}");

    let began = Instant::now();
    let two = register(&lab, "web", json!([server("two")]), json!({}));
    lab.ecs("update_service", json!({"service": "web", "taskDefinition": two})).unwrap();
    wait_until("the update is through", ROLLED, || moved(&lab, &two)).unwrap();
    let counts = traffic.flows();
    println!("rolling update of {TASKS}: {:?}, {counts}", began.elapsed());
    assert!(counts["pages"]["one"].as_u64() > Some(0) && counts["pages"]["two"].as_u64() > Some(0), "{counts}");

    let began = Instant::now();
    let host = lab.instances().unwrap()[0]["containerInstanceArn"].as_str().unwrap().to_owned();
    let drain = json!({"containerInstances": [host], "status": "DRAINING"});
    lab.ecs("update_container_instances_state", drain).unwrap();
    wait_until("the drained host has no tasks", ROLLED, || {
        all_run(&lab)?;
        let instance = lab.ecs("describe_container_instances", json!({"containerInstances": [host]}))?;
        let instance = &instance["containerInstances"][0];
        Ok(instance["runningTasksCount"] == 0 && instance["pendingTasksCount"] == 0)
    })
    .unwrap();
    wait_until("thirty tasks run elsewhere", ROLLED, || moved(&lab, &two)).unwrap();
    let counts = traffic.flows();
    println!("drain of a third of {TASKS}: {:?}, {counts}", began.elapsed());
    traffic.process.signal(Signal::SIGTERM);
}
