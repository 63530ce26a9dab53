//! How a host is, as ECS shows the health of a container instance.

use longshore_tests::lab::{Lab, wait_for};
use serde_json::{Value, json};

use super::command::{longshore, ok};
use super::support::*;

fn health(lab: &Lab) -> Value {
    let arns = lab.ecs("list_container_instances", json!({})).unwrap()["containerInstanceArns"].clone();
    let args = json!({"containerInstances": arns, "include": ["CONTAINER_INSTANCE_HEALTH"]});
    lab.ecs("describe_container_instances", args).unwrap()["containerInstances"][0]["healthStatus"].clone()
}

fn check(health: &Value, name: &str) -> Option<Value> {
    health["details"].as_array()?.iter().find(|check| check["type"] == name).cloned()
}

/// Waits until a check is as `wanted`, and gives it with the whole.
pub(crate) fn wait_check(lab: &Lab, name: &str, wanted: &str) -> (Value, Value) {
    wait_for(&format!("{name} to be {wanted}"), DEADLINE, || {
        let health = health(lab);
        let check = check(&health, name);
        anyhow::ensure!(check.as_ref().is_some_and(|check| check["status"] == wanted), "{health}");
        Ok(check.map(|check| (check, health)))
    })
    .unwrap()
}

#[test]
fn a_frozen_engine_and_a_missing_agent_show_with_reasons_and_times() {
    let lab = lab(1);
    let node = lab.node(0);
    let name = lab.instances().unwrap()[0]["ec2InstanceId"].as_str().unwrap().to_owned();
    let (well, whole) = wait_check(&lab, "CONTAINER_RUNTIME", "OK");
    for other in ["LEDGER", "DISK", "NETWORK", "AGENT_CONNECTIVITY"] {
        assert_eq!(wait_check(&lab, other, "OK").0["status"], "OK", "{whole}");
    }
    assert_eq!(health(&lab)["overallStatus"], "OK");
    assert!(well["lastUpdated"].is_f64() && well["lastStatusChange"].is_f64(), "times, to boto3: {well}");
    let hosts = ok(&longshore(&lab, &["host", "list"]));
    assert!(
        hosts.contains("HEALTH") && hosts.lines().any(|line| line.contains(&name) && line.contains(" OK ")),
        "{hosts}"
    );
    let plain = lab.instances().unwrap().remove(0);
    assert!(plain.get("healthStatus").is_none_or(Value::is_null), "unasked it is not there: {plain}");

    node.engine.freeze();
    let (ill, whole) = wait_check(&lab, "CONTAINER_RUNTIME", "IMPAIRED");
    assert_eq!(whole["overallStatus"], "IMPAIRED");
    assert!(ill["statusReason"].as_str().is_some_and(|why| why.contains("the container engine: ")), "{ill}");
    let time = |check: &Value| check["lastStatusChange"].as_f64().unwrap();
    assert!(time(&ill) > time(&well), "{ill} after {well}");
    let described = ok(&longshore(&lab, &["describe", &name]));
    let line = described.lines().find(|line| line.contains("CONTAINER_RUNTIME")).unwrap_or_default();
    assert!(line.contains("IMPAIRED since ") && line.contains("the container engine: "), "{described}");

    node.engine.thaw();
    let (again, _) = wait_check(&lab, "CONTAINER_RUNTIME", "OK");
    assert!(time(&again) > time(&ill), "{again} after {ill}");

    let arn = run_one(&lab, &register(&lab, "calm", json!([sleeper()]), json!({})), json!({}));
    running(&lab, &arn);
    assert!(!ok(&longshore(&lab, &["describe", &arn])).contains("unknown"));
    node.agent.kill().unwrap();
    let (gone, whole) = wait_check(&lab, "CONTAINER_RUNTIME", "INSUFFICIENT_DATA");
    assert!(gone["statusReason"].as_str().is_some_and(|why| why.contains("not been heard since")), "{gone}");
    assert_eq!(check(&whole, "AGENT_CONNECTIVITY").unwrap()["status"], "IMPAIRED");
    let described = ok(&longshore(&lab, &["describe", &arn]));
    assert!(described.contains("unknown: nothing is heard of its host's agent"), "{described}");
    node.launch_agent().unwrap();
    wait_check(&lab, "CONTAINER_RUNTIME", "OK");
}
