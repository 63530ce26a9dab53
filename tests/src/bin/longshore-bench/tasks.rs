//! Tasks whose network is measured: they only wait, on a host of the caller's choice.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail, ensure};
use longshore_tests::lab::{Agent, Lab, wait_for};
use serde_json::{Value, json};

use crate::fleet::DEADLINE;
use crate::load::Space;

/// A task that runs.
pub(crate) struct Placed {
    host: usize,
    container: String,
    /// Its own address, if it has one.
    pub(crate) address: Option<Ipv4Addr>,
}

impl Placed {
    /// The network that its container sees.
    pub(crate) fn space(&self, lab: &Lab) -> Result<Space> {
        Space::of_container(lab.node(self.host), &self.container)
    }
}

/// A security group that lets nobody in.
pub(crate) fn group(lab: &Lab, name: &str) -> Result<String> {
    let args = json!({"GroupName": name, "Description": "of a benchmark"});
    let made = lab.call("ec2", "create_security_group", args)??;
    Ok(made["GroupId"].as_str().context("a group without an id")?.to_owned())
}

/// A permission for TCP to `port` from `peer`, which is the member of a permission that says from whom.
pub(crate) fn permission(port: u16, peer: &Value) -> Value {
    let mut permission = json!({"IpProtocol": "tcp", "FromPort": port, "ToPort": port});
    if let (Some(into), Some(peer)) = (permission.as_object_mut(), peer.as_object()) {
        into.extend(peer.clone());
    }
    permission
}

/// Starts a task on host number `host` and waits until it runs; with `awsvpc` in `group`.
pub(crate) fn start(lab: &Lab, host: usize, mode: &str, group: &str) -> Result<Placed> {
    let main = json!({"name": "main", "image": "probe", "memory": 8, "command": ["sleep"], "stopTimeout": 1});
    let definition = json!({"family": format!("waits-{mode}"), "networkMode": mode, "containerDefinitions": [main]});
    let made = lab.ecs("register_task_definition", definition)?;
    let mut args = json!({
        "taskDefinition": made["taskDefinition"]["taskDefinitionArn"],
        "containerInstances": [instance(lab, host)?],
    });
    if mode == "awsvpc" {
        let subnets = lab.call("ec2", "describe_subnets", json!({}))??;
        let subnet = subnets["Subnets"][0]["SubnetId"].clone();
        args["networkConfiguration"] = json!({"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": [group]}});
    }
    // A host takes such tasks once its network works, which it says a moment after it connected.
    let arn = wait_for("a host that takes the task", DEADLINE, || {
        let answer = lab.ecs("start_task", args.clone())?;
        ensure!(answer["failures"] == json!([]), "not placed: {}", answer["failures"]);
        Ok(answer["tasks"][0]["taskArn"].as_str().map(str::to_owned))
    })?;
    let address = wait_for("a running task", DEADLINE, || {
        let task = lab.ecs("describe_tasks", json!({"tasks": [arn]}))?["tasks"][0].take();
        if task["lastStatus"] == "STOPPED" {
            bail!("it stopped: {}", task["stoppedReason"]);
        }
        ensure!(task["lastStatus"] == "RUNNING", "it is {}", task["lastStatus"]);
        Ok(Some(task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"].as_str().map(str::to_owned)))
    })?;
    let id = arn.rsplit('/').next().context("a task without an id")?;
    let address = address.map(|text| text.parse()).transpose()?;
    Ok(Placed { host, container: format!("ls-{id}-main"), address })
}

/// The container instance of host number `host`, as its agent says.
fn instance(lab: &Lab, host: usize) -> Result<String> {
    let status = Agent::status(&lab.node(host).host)?;
    Ok(status["identity"]["instance"].as_str().context("an agent without an instance")?.to_owned())
}
