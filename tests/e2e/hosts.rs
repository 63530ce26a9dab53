//! Hosts as container instances: what they register, how they join and are refused, and how they leave.

use std::time::Duration;

use longshore_tests::lab::{Agent, Lab, LabConfig, Node, wait_until};
use serde_json::{Value, json};

use super::support::*;

fn attribute<'a>(instance: &'a Value, name: &str) -> Option<&'a Value> {
    instance["attributes"].as_array().unwrap().iter().find(|a| a["name"] == name)
}

fn resource(instance: &Value, which: &str, name: &str) -> i64 {
    let list = instance[which].as_array().unwrap();
    list.iter().find(|r| r["name"] == name).unwrap()["integerValue"].as_i64().unwrap()
}

#[test]
fn hosts_register_what_they_have_and_what_their_operator_says() {
    let lab = lab_with(1, "reserved_memory_mib = 512\nzone = \"z1\"\nattributes = { rack = \"r1\" }\n");
    let instance = lab.instances().unwrap().remove(0);
    let cores = i64::try_from(std::thread::available_parallelism().unwrap().get()).unwrap();
    assert_eq!(resource(&instance, "registeredResources", "CPU"), cores * 1024);
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total_kib: i64 = meminfo.lines().next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(resource(&instance, "registeredResources", "MEMORY"), total_kib / 1024 - 512);
    assert_eq!(attribute(&instance, "rack").unwrap()["value"], "r1");
    assert_eq!(attribute(&instance, "ecs.availability-zone").unwrap()["value"], "z1");
    assert_eq!(attribute(&instance, "ecs.os-type").unwrap()["value"], "linux");
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    assert_eq!(attribute(&instance, "ecs.cpu-architecture").unwrap()["value"], architecture);
    assert!(attribute(&instance, "com.amazonaws.ecs.capability.docker-remote-api.1.41").is_some(), "{instance:#}");
    assert!(attribute(&instance, "com.amazonaws.ecs.capability.logging-driver.json-file").is_some());
    let docker = lab.node(0).engine.get("/version").unwrap();
    let version = instance["versionInfo"]["dockerVersion"].as_str().unwrap();
    assert!(version.contains(docker["Version"].as_str().unwrap()), "{version}");
    let ports = instance["remainingResources"].as_array().unwrap().iter().find(|r| r["name"] == "PORTS").unwrap();
    assert!(ports["stringSetValue"].as_array().unwrap().contains(&json!("22")), "reserved ports: {ports}");

    // What a task takes is held while it lives.
    let mut main = sleeper();
    merge(&mut main, json!({"cpu": 100, "memory": 200, "portMappings": [{"containerPort": 80, "hostPort": 7777}]}));
    let definition = register(&lab, "takes", json!([main]), json!({}));
    let arn = run_one(&lab, &definition, json!({}));
    running(&lab, &arn);
    let busy = lab.instances().unwrap().remove(0);
    assert_eq!(resource(&busy, "remainingResources", "CPU"), cores * 1024 - 100);
    assert_eq!(resource(&busy, "remainingResources", "MEMORY"), total_kib / 1024 - 512 - 200);
    assert_eq!(busy["runningTasksCount"], 1);
    assert!(busy.to_string().contains("7777"), "{busy:#}");
    let cluster = lab.ecs("describe_clusters", json!({})).unwrap();
    assert_eq!(cluster["clusters"][0]["registeredContainerInstancesCount"], 1);
    assert_eq!(cluster["clusters"][0]["runningTasksCount"], 1);

    // Leaving: not with tasks, unless forced; a deregistered agent is refused and says so.
    let instance = busy["containerInstanceArn"].as_str().unwrap();
    let error = lab.ecs_error("deregister_container_instance", json!({"containerInstance": instance})).unwrap();
    assert_error(&error, "InvalidParameterException", "Found running tasks on the instance.");
    let gone = lab.ecs("deregister_container_instance", json!({"containerInstance": instance, "force": true})).unwrap();
    assert_eq!(gone["containerInstance"]["status"], "INACTIVE");
    assert_eq!(lab.instances().unwrap(), Vec::<Value>::new());
    assert_eq!(task(&lab, &arn)["lastStatus"], "STOPPED", "its tasks are lost");
    let error = lab.ecs("run_task", json!({"taskDefinition": definition})).unwrap_err();
    assert!(error.to_string().contains("No Container Instances were found"), "{error}");
    wait_until("the agent's word on it", DEADLINE, || {
        Ok(lab.node(0).host.log_tail("agent").to_lowercase().contains("deregistered"))
    })
    .unwrap();
}

/// A lab with one host that has not joined.
fn unjoined() -> Lab {
    Lab::new(LabConfig { join: false, ..LabConfig::default() }).unwrap()
}

/// Starts an agent with `token` and waits until it gives up; what it said.
fn refused(node: &Node, token: &str) -> String {
    Agent::write_token(&node.host, token).unwrap();
    node.launch_agent().unwrap();
    let code = node.agent.wait_exit(DEADLINE).unwrap();
    assert!(code.is_some_and(|c| c != 0), "an agent that may not join ended with {code:?}");
    node.host.log_tail("agent")
}

#[test]
fn joining_with_a_wrong_spent_or_expired_token_is_refused_and_registers_nothing() {
    let lab = unjoined();
    let node = lab.node(0);
    let good = lab.join_token(json!({"RegistrationLimit": 1})).unwrap();
    assert!(!node.host.dir().join("agent/identity.json").exists());

    // The last hex digit of the pinned fingerprint, then one letter of the secret.
    let flip = |text: &str, at: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        String::from_utf8(bytes).unwrap()
    };
    let pin = refused(node, &flip(&good, good.len() - 1));
    assert!(pin.contains("fingerprint") || pin.contains("authority") || pin.contains("certificate"), "{pin}");
    let secret_at = good.rfind('.').unwrap() - 3;
    let wrong = refused(node, &flip(&good, secret_at));
    assert!(wrong.contains("token"), "{wrong}");
    let nonsense = refused(node, "not a token");
    assert!(nonsense.contains("not a join token"), "{nonsense}");
    assert_eq!(lab.instances().unwrap(), Vec::<Value>::new());

    let soon = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64() + 6.0;
    let short = lab.join_token(json!({"RegistrationLimit": 5, "ExpirationDate": soon})).unwrap();
    wait_until("the token's end", DEADLINE, || {
        Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs_f64() > soon + 0.2)
    })
    .unwrap();
    let expired = refused(node, &short);
    assert!(expired.contains("expired"), "{expired}");

    // The right one works, once.
    Agent::write_token(&node.host, &good).unwrap();
    node.launch_agent().unwrap();
    lab.wait_connected(1, DEADLINE).unwrap();
    node.agent.terminate().unwrap();
    std::fs::remove_dir_all(node.host.dir().join("agent")).unwrap();
    let spent = refused(node, &good);
    assert!(spent.contains("token"), "{spent}");
    assert_eq!(lab.instances().unwrap().len(), 1);

    // No part of a token's secret is in any log or listing.
    let secret = good.split('.').nth(2).unwrap();
    for log in [node.host.dir().join("agent.log"), lab.ctl().dir().join("control.log")] {
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(!text.contains(secret), "{} shows a token", log.display());
        assert!(!text.contains(&lab.control().key().secret), "{} shows the root key", log.display());
    }
    let listed = lab.call("ssm", "describe_activations", json!({})).unwrap().unwrap();
    assert!(!listed.to_string().contains(secret), "{listed}");
    assert_eq!(listed["ActivationList"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_frozen_agent_is_missed_and_comes_back() {
    let lab = lab(1);
    let definition = register(&lab, "calm", json!([sleeper()]), json!({}));
    let arn = run_one(&lab, &definition, json!({}));
    running(&lab, &arn);
    lab.node(0).agent.freeze();
    let begin = std::time::Instant::now();
    wait_until("a disconnected host", DEADLINE, || Ok(lab.instances()?[0]["agentConnected"] == false)).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(20), "noticed only after {:?}", begin.elapsed());
    assert_eq!(task(&lab, &arn)["lastStatus"], "RUNNING");
    lab.node(0).agent.thaw();
    lab.wait_connected(1, DEADLINE).unwrap();
    assert_exactly(&lab, &[arn]);
}
