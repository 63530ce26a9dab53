//! Hosts that join anew: as another instance, of another control plane that is younger than what they knew.

use longshore_tests::lab::{Agent, Lab, LabConfig, Node, host, wait_for, wait_until};
use serde_json::{Value, json};

use super::command::{longshore, ok};
use super::support::*;

/// Runs `longshore-agent join --again` on a host whose agent does not run.
fn join_again(lab: &Lab, node: &Node) {
    Agent::write_token(&node.host, &lab.join_token(json!({})).unwrap()).unwrap();
    let config = node.agent.write_config(&node.host, &node.docker()).unwrap();
    let program = host::program("longshore-agent").unwrap();
    let args = ["--config", config.to_str().unwrap(), "join", "--again"];
    let said = node.host.run(program.to_str().unwrap(), &args).unwrap();
    assert!(said.contains("joined cluster default"), "{said}");
}

fn generation(node: &Node) -> u64 {
    Agent::status(&node.host).unwrap()["generation"].as_u64().unwrap()
}

/// Files of the data directory that begin so.
fn kept(node: &Node, prefix: &str) -> usize {
    let entries = std::fs::read_dir(node.host.dir().join("agent")).unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with(prefix)).count()
}

/// Waits until there are no containers but those of `arns`.
fn wait_only(node: &Node, arns: &[&str]) {
    wait_until("containers of former tasks to go", DEADLINE, || {
        let all = node.task_containers()?;
        let names: Vec<&str> = all.iter().map(|container| container.name.as_str()).collect();
        anyhow::ensure!(names.iter().all(|name| arns.iter().any(|arn| name.contains(id(arn)))), "{names:?}");
        Ok(true)
    })
    .unwrap();
}

/// Runs a task of each definition, once the host's network works.
fn run_both(lab: &Lab, plain: &str, wired: &str) -> [String; 2] {
    let mut args = awsvpc(lab);
    merge(&mut args, json!({"taskDefinition": wired}));
    let mut placed = Value::Null;
    wait_until("a host that gives tasks interfaces", DEADLINE, || {
        placed = lab.ecs("run_task", args.clone())?;
        anyhow::ensure!(placed["failures"] == json!([]), "{placed}");
        Ok(true)
    })
    .unwrap();
    [run_one(lab, plain, json!({})), strings(&placed["tasks"], "taskArn").remove(0)]
}

pub(crate) fn awsvpc(lab: &Lab) -> Value {
    let subnets = lab.call("ec2", "describe_subnets", json!({})).unwrap().unwrap();
    json!({"networkConfiguration": {"awsvpcConfiguration": {"subnets": [subnets["Subnets"][0]["SubnetId"]]}}})
}

fn definitions(lab: &Lab) -> (String, String) {
    let plain = register(lab, "plain", json!([sleeper()]), json!({}));
    (plain, register(lab, "wired", json!([sleeper()]), json!({"networkMode": "awsvpc"})))
}

#[test]
fn a_host_moves_to_a_younger_control_plane_and_leaves_its_former_tasks() {
    let lab = lab(1);
    let node = lab.node(0);
    // The older control plane's store has come far.
    for _ in 0..60 {
        register(&lab, "filler", json!([sleeper()]), json!({}));
    }
    let (plain, wired) = definitions(&lab);
    let former = run_both(&lab, &plain, &wired);
    wait_tasks(&lab, &former, "RUNNING", DEADLINE);
    let before = generation(node);
    node.agent.kill().unwrap();
    lab.control().kill().unwrap();
    let data = lab.ctl().dir().join("control");
    std::fs::rename(&data, data.with_extension("former")).unwrap();
    lab.restart_control().unwrap();

    join_again(&lab, node);
    node.launch_agent().unwrap();
    lab.wait_connected(1, DEADLINE).unwrap();
    wait_only(node, &[]);
    assert!(generation(node) < before, "{} after {before}", generation(node));
    assert_eq!((kept(node, "ledger.former-"), kept(node, "ledger.redb")), (1, 1));

    // It is a host like any other there, and stays it over a restart.
    let (plain, wired) = definitions(&lab);
    let now = run_both(&lab, &plain, &wired);
    wait_tasks(&lab, &now, "RUNNING", DEADLINE);
    node.agent.kill().unwrap();
    node.launch_agent().unwrap();
    wait_until("the agent to be back", DEADLINE, || Ok(Agent::status(&node.host)?["session"]["state"] == "connected"))
        .unwrap();
    wait_tasks(&lab, &now, "RUNNING", DEADLINE);
    assert_eq!(kept(node, "ledger.former-"), 1, "nothing more is set aside");
    for arn in &now {
        lab.ecs("stop_task", json!({"task": arn})).unwrap();
    }
    wait_tasks(&lab, &now, "STOPPED", DEADLINE);
    assert_no_leaks(&lab, &[]);
}

#[test]
fn a_deregistered_host_joins_anew_and_leaves_its_former_tasks() {
    let agent = "cleanup_wait = \"1s\"\nstop_timeout = \"2s\"\n".to_owned();
    let lab = Lab::new(LabConfig { hosts: 1, agent, ..LabConfig::default() }).unwrap();
    let node = lab.node(0);
    let (plain, _) = definitions(&lab);
    let former = run_one(&lab, &plain, json!({}));
    running(&lab, &former);
    let first = lab.instances().unwrap().remove(0)["containerInstanceArn"].clone();
    lab.ecs("deregister_container_instance", json!({"containerInstance": first, "force": true})).unwrap();
    node.agent.terminate().unwrap();
    // What a person does who finds the identity refused: the directory stays.
    std::fs::remove_file(node.host.dir().join("agent/identity.json")).unwrap();
    Agent::write_token(&node.host, &lab.join_token(json!({})).unwrap()).unwrap();
    node.launch_agent().unwrap();
    lab.wait_connected(1, DEADLINE).unwrap();
    wait_only(node, &[]);
    assert_ne!(lab.instances().unwrap()[0]["containerInstanceArn"], first);
    assert_eq!(kept(node, "ledger.former-"), 1);
    let now = run_one(&lab, &plain, json!({}));
    running(&lab, &now);
    wait_only(node, &[&now]);
}

/// Takes a host out of the cluster by force, with its tasks, and lets it join as another instance: the control plane
/// knows nothing of those any more. Its agent starts with `variables`.
pub(crate) fn start_over(lab: &Lab, variables: &[(&str, &str)]) {
    let node = lab.node(0);
    let instance = lab.instances().unwrap().remove(0)["containerInstanceArn"].clone();
    lab.ecs("deregister_container_instance", json!({"containerInstance": instance, "force": true})).unwrap();
    node.agent.terminate().unwrap();
    std::fs::remove_file(node.host.dir().join("agent/identity.json")).unwrap();
    Agent::write_token(&node.host, &lab.join_token(json!({})).unwrap()).unwrap();
    let program = host::program("longshore-agent").unwrap();
    node.agent.launch_as(&node.host, &node.docker(), &program, variables).unwrap();
    lab.wait_connected(1, DEADLINE).unwrap();
}

/// Waits until a task that does not begin says that it waits for this.
pub(crate) fn wait_waits(lab: &Lab, arn: &str, parts: &[&str]) -> String {
    wait_for(&format!("a wait for {parts:?}"), DEADLINE, || {
        let now = task(lab, arn);
        anyhow::ensure!(now["lastStatus"] == "PENDING", "{now:#}");
        let reason = container(&now, "main")["reason"].as_str().unwrap_or_default().to_owned();
        anyhow::ensure!(parts.iter().all(|part| reason.contains(part)), "{reason}");
        Ok(Some(reason))
    })
    .unwrap()
}

/// The control plane gives the port and the memory of a task that it does not know any more. The host does not, and
/// says why.
#[test]
fn a_task_waits_for_what_a_former_one_still_has_and_nobody_else_does() {
    let lab =
        Lab::new(LabConfig { hosts: 1, agent: "cleanup_wait = \"1s\"\n".to_owned(), ..LabConfig::default() }).unwrap();
    let node = lab.node(0);
    let offered = lab.instances().unwrap()[0]["registeredResources"].as_array().unwrap().clone();
    let offered = offered.iter().find(|r| r["name"] == "MEMORY").unwrap()["integerValue"].as_u64().unwrap();
    let (most, half) = (offered * 2 / 3, offered / 2);
    let stubborn = |family: &str, memory: u64, more: Value| {
        let mut main = shell("main", "trap '' TERM; echo ready; while true; do sleep 0.2; done");
        merge(&mut main, json!({"stopTimeout": 30, "memory": memory}));
        merge(&mut main, more);
        register(&lab, family, json!([main]), json!({}))
    };
    let port = json!([{"containerPort": 80, "hostPort": 7799}]);
    let former = run_one(&lab, &stubborn("slow", most, json!({"portMappings": port})), json!({}));
    running(&lab, &former);
    wait_ready(node, &former, "main");
    start_over(&lab, &[]);

    let mut same = sleeper();
    merge(&mut same, json!({"portMappings": port}));
    let second = run_one(&lab, &register(&lab, "same", json!([same]), json!({})), json!({}));
    let third = run_one(&lab, &register(&lab, "other", json!([sleeper()]), json!({})), json!({}));
    running(&lab, &third);
    let waits = format!("host port 7799/tcp, which task {} (stopping since ", id(&former));
    let reason = wait_waits(&lab, &second, &[&waits]);
    assert!(reason.starts_with("Waiting for host port"), "{reason}");
    let described = ok(&longshore(&lab, &["describe", id(&second)]));
    assert!(described.contains(&reason) && described.contains(&format!("waits for {waits}")), "{described}");
    let url = format!("http://127.0.0.1:51678/v1/tasks?taskarn={second}");
    let told: Value = serde_json::from_str(&node.host.run("busybox", &["wget", "-qO-", &url]).unwrap()).unwrap();
    assert!(told["WaitingFor"].as_str().is_some_and(|what| what.contains(&waits)), "{told}");
    assert_eq!(Agent::status(&node.host).unwrap()["waiting_for_room"], 1);
    let large = run_one(&lab, &stubborn("large", half, json!({})), json!({}));
    let needed = format!("Waiting for {half} MiB of memory (");
    let held = format!("MiB are free), held by task {} (stopping since ", id(&former));
    let reason = wait_waits(&lab, &large, &[&needed, &held]);
    assert!(reason.contains(&format!(") with {most} MiB")), "{reason}");

    running(&lab, &second);
    running(&lab, &large);
    wait_only(node, &[&second, &third, &large]);

    // What does not come in time is the task's failure, which says for what it waited.
    wait_ready(node, &large, "main");
    start_over(&lab, &[("LONGSHORE_AGENT_ROOM_TIMEOUT", "3s")]);
    let late = stopped(&lab, &run_one(&lab, &stubborn("larger", most, json!({})), json!({})));
    assert_eq!(late["stopCode"], "TaskFailedToStart", "{late:#}");
    let reason = late["stoppedReason"].as_str().unwrap().to_owned();
    let begins = format!("ResourceInitializationError: room on the host: waited for 3 s for {most} MiB of memory (");
    let held = format!("task {} (stopping since ", id(&large));
    assert!(reason.starts_with(&begins) && reason.contains(&held), "{reason}");
}
