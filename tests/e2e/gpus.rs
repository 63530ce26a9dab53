//! GPUs of a host, by a list that stands for that of NVIDIA's driver, and Docker with and without what it needs for
//! them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::ensure;
use longshore_tests::lab::{Lab, LabConfig, Node, host, wait_until};
use serde_json::{Value, json};

use super::fields::{exec, idle, stop};
use super::moving::{start_over, wait_waits};
use super::support::*;

/// What the host's mount is of, over a directory that every machine has.
fn mount(node: &Node, directory: &str, over: &str) {
    let path = node.host.dir().join(directory);
    node.host.run("mount", &["--bind", path.to_str().unwrap(), over]).unwrap();
}

/// Gives a host two GPUs, as the driver shows them.
fn plug_in(node: &Node) {
    for (address, gpu) in [("0000:01:00.0", "GPU-a"), ("0000:02:00.0", "GPU-b")] {
        let directory = node.host.dir().join("driver/nvidia/gpus").join(address);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("information"), format!("Model: \t\t T4\nGPU UUID: \t {gpu}\n")).unwrap();
    }
    mount(node, "driver", "/proc/driver");
}

/// The program that Docker looks for before it gives GPUs away.
const HOOK: &str = "nvidia-container-runtime-hook";

/// Takes NVIDIA's program away from the lab's host where this machine has it.
fn hide_hook(node: &Node) {
    // A file that nobody may execute is none.
    let hide = format!("IFS=:; for at in $PATH; do [ ! -x $at/{HOOK} ] || mount --bind /dev/null $at/{HOOK}; done");
    node.host.run("sh", &["-ec", &hide]).unwrap();
    restart_engine(node);
}

fn restart_engine(node: &Node) {
    node.engine.terminate().unwrap();
    node.engine.launch(&node.host).unwrap();
    node.engine.wait_ready(&node.host).unwrap();
}

/// Gives a host what Docker looks for before it gives GPUs away: the program that would bring them into containers.
fn install_hook(node: &Node) {
    let directory = node.host.dir().join("hook");
    fs::create_dir_all(&directory).unwrap();
    let hook = directory.join(HOOK);
    fs::write(&hook, "#!/bin/sh\nexit 0\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    mount(node, "hook", "/usr/local/sbin");
    restart_engine(node);
}

fn gpus_of(lab: &Lab, which: &str) -> anyhow::Result<Value> {
    let instance = lab.instances()?.remove(0);
    let list = instance[which].as_array().cloned().unwrap_or_default();
    Ok(list.into_iter().find(|resource| resource["name"] == "GPU").map(|gpu| gpu["stringSetValue"].clone()).into())
}

#[test]
fn gpus_are_registered_placed_and_given_to_one_task_each() {
    // Stopped containers stay, to be looked at.
    let agent = "cleanup_wait = \"10m\"\nstop_timeout = \"2s\"\n".to_owned();
    let lab = networked(LabConfig { agent, ..LabConfig::default() });
    let node = lab.node(0);
    hide_hook(node);
    let define = |count: &str| {
        let mut main = idle("main");
        merge(&mut main, json!({"resourceRequirements": [{"type": "GPU", "value": count}]}));
        register(&lab, &format!("gpus-{count}"), json!([main]), json!({}))
    };
    let (one, two) = (define("1"), define("2"));
    let lacks = |definition: &str| {
        let answer = lab.ecs("run_task", json!({"taskDefinition": definition})).unwrap();
        assert_eq!(
            (&answer["tasks"], &answer["failures"][0]["reason"]),
            (&json!([]), &json!("RESOURCE:GPU")),
            "{answer}"
        );
        answer["failures"][0]["detail"].to_string()
    };
    lacks(&one);

    plug_in(node);
    node.agent.terminate().unwrap();
    node.launch_agent().unwrap();
    wait_until("the host's GPUs", DEADLINE, || {
        let seen = gpus_of(&lab, "registeredResources")?;
        ensure!(seen == json!(["GPU-a", "GPU-b"]), "{seen}");
        Ok(lab.instances()?[0]["agentConnected"] == true)
    })
    .unwrap();

    // This Docker has no way to give them, and says so at the start; what it was asked for is right.
    let refused = stopped(&lab, &run_one(&lab, &one, json!({})));
    assert_eq!(refused["stopCode"], "TaskFailedToStart", "{refused:#}");
    let main = container(&refused, "main");
    assert_eq!(main["gpuIds"], json!(["GPU-a"]), "{refused:#}");
    assert!(main["reason"].as_str().is_some_and(|why| why.contains("could not select device driver")), "{refused:#}");
    let asked = &inspect(node, refused["taskArn"].as_str().unwrap(), "main")["HostConfig"]["DeviceRequests"];
    assert_eq!((&asked[0]["DeviceIDs"], &asked[0]["Capabilities"]), (&json!(["GPU-a"]), &json!([["gpu"]])), "{asked}");

    install_hook(node);
    let arns = run(&lab, &one, 2, json!({}));
    let mut given = Vec::new();
    for task in wait_tasks(&lab, &arns, "RUNNING", DEADLINE) {
        let arn = task["taskArn"].as_str().unwrap();
        let told = container(&task, "main")["gpuIds"][0].as_str().unwrap().to_owned();
        let seen = exec(node, arn, "main", "tr '\\0' '\\n' </proc/1/environ | grep NVIDIA_VISIBLE_DEVICES");
        assert_eq!(seen.trim(), format!("NVIDIA_VISIBLE_DEVICES={told}"), "what Docker was told is what the API says");
        given.push(told);
    }
    given.sort();
    assert_eq!(given, ["GPU-a", "GPU-b"], "each to one task");
    assert_eq!(gpus_of(&lab, "remainingResources").unwrap(), json!([]));
    assert!(lacks(&one).contains("GPU"));

    // Who is to have which is known after the agent was away, and both are free once both tasks are over.
    node.agent.kill().unwrap();
    node.launch_agent().unwrap();
    lab.wait_connected(1, DEADLINE).unwrap();
    stop(&lab, &arns[0]);
    lacks(&two);
    stop(&lab, &arns[1]);
    let both = run_one(&lab, &two, json!({}));
    assert_eq!(container(&running(&lab, &both), "main")["gpuIds"], json!(["GPU-a", "GPU-b"]));
    stop(&lab, &both);

    node.agent.terminate().unwrap();
    let agent = host::program("longshore-agent").unwrap();
    let at_once = [("LONGSHORE_AGENT_CLEANUP_WAIT", "1s")];
    node.agent.launch_as(&node.host, &node.docker(), &agent, &at_once).unwrap();
    assert_nothing_left(&lab);

    // The control plane gives away what a task has that it does not know any more. The host says who has it.
    lab.wait_connected(1, DEADLINE).unwrap();
    let mut main = shell("main", "trap '' TERM; echo ready; while true; do sleep 0.2; done");
    let both = json!([{"type": "GPU", "value": "2"}]);
    merge(&mut main, json!({"stopTimeout": 60, "resourceRequirements": both}));
    let former = run_one(&lab, &register(&lab, "gpus-stubborn", json!([main]), json!({})), json!({}));
    running(&lab, &former);
    wait_ready(node, &former, "main");
    start_over(&lab, &at_once);
    wait_until("the GPUs of another instance", DEADLINE, || {
        Ok(gpus_of(&lab, "remainingResources")? == json!(["GPU-a", "GPU-b"]))
    })
    .unwrap();
    let next = run_one(&lab, &one, json!({}));
    let gpu = container(&task(&lab, &next), "main")["gpuIds"][0].as_str().unwrap().to_owned();
    wait_waits(&lab, &next, &[&format!("GPU {gpu}, which task {} (stopping since ", id(&former))]);
    let name = format!("ls-{}-main", id(&former));
    node.host.run("docker", &["-H", &node.docker(), "kill", &name]).unwrap();
    running(&lab, &next);
    stop(&lab, &next);
    assert_nothing_left(&lab);
}
