//! One task at a time: from the client's call to the first instruction in the container.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};
use longshore_tests::lab::Boto;
use serde_json::json;

use crate::figures::{Figures, head, row, scaled};
use crate::fleet::{Definition, Fleet, between, now};

/// Both sides use the same Engine, one after the other.
pub(crate) fn run() -> Result<()> {
    let fleet = Fleet::longshore()?;
    let mut boto = fleet.lab.boto()?;
    let rounds = scaled(40, 3);
    head("One task: from the call to the first instruction");
    for (mode, port) in [("bridge", true), ("host", false)] {
        let definition = fleet.define(&format!("start-{mode}"), mode, port)?;
        let (mut ours, mut command, mut engine) = (Vec::new(), Vec::new(), Vec::new());
        // The first of each is not counted: caches of the kernel and of Docker fill.
        for round in 0..=rounds {
            let one = with_longshore(&fleet, &mut boto, &definition, &format!("ours-{mode}-{round}"))?;
            let two = with_command(&fleet, mode, port, &format!("run-{mode}-{round}"))?;
            let three = with_engine(&fleet, mode, port, &format!("api-{mode}-{round}"))?;
            if round > 0 {
                ours.push(one);
                command.push(two);
                engine.push(three);
            }
        }
        let ours = Figures::new(ours);
        row(&format!("{mode} task, boto3 `run_task`"), &ours, "`docker run -d`", &Figures::new(command));
        row(&format!("{mode} task, boto3 `run_task`"), &ours, "Engine API, create and start", &Figures::new(engine));
    }
    awsvpc(&fleet, &mut boto, rounds)?;
    drop((boto, fleet));
    cold(scaled(20, 2))
}

/// A task whose sandbox is made when it asks for it, on a host that keeps none.
fn cold(rounds: usize) -> Result<()> {
    let fleet = Fleet::with_agent("warm_sandboxes = 0\n")?;
    let mut boto = fleet.lab.boto()?;
    let definition = fleet.define("start-cold", "awsvpc", true)?;
    let (mut ours, mut command, mut published) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let one = with_longshore(&fleet, &mut boto, &definition, &format!("ours-cold-{round}"))?;
        let two = with_command(&fleet, "bridge", false, &format!("run-cold-{round}"))?;
        let three = with_command(&fleet, "bridge", true, &format!("port-cold-{round}"))?;
        if round > 0 {
            ours.push(one);
            command.push(two);
            published.push(three);
        }
    }
    let (what, ours) = ("awsvpc task, cold, boto3 `run_task`", Figures::new(ours));
    row(what, &ours, "`docker run -d` on the bridge", &Figures::new(command));
    row(what, &ours, "`docker run -d -p 80` on the bridge", &Figures::new(published));
    Ok(())
}

/// A task with an interface of its own, which it finds warm, against containers on Docker's bridge.
fn awsvpc(fleet: &Fleet, boto: &mut Boto, rounds: usize) -> Result<()> {
    let definition = fleet.define("start-awsvpc", "awsvpc", true)?;
    let (mut ours, mut command, mut published, mut engine) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        // Its end waits for the pool to be full again, so that no run of either side coincides with the filling.
        let one = with_longshore(fleet, boto, &definition, &format!("ours-awsvpc-{round}"))?;
        let two = with_command(fleet, "bridge", false, &format!("run-awsvpc-{round}"))?;
        let three = with_command(fleet, "bridge", true, &format!("port-awsvpc-{round}"))?;
        let four = with_engine(fleet, "bridge", false, &format!("api-awsvpc-{round}"))?;
        if round > 0 {
            ours.push(one);
            command.push(two);
            published.push(three);
            engine.push(four);
        }
    }
    let (what, ours) = ("awsvpc task, warm, boto3 `run_task`", Figures::new(ours));
    row(what, &ours, "`docker run -d` on the bridge", &Figures::new(command));
    row(what, &ours, "`docker run -d -p 80` on the bridge", &Figures::new(published));
    row(what, &ours, "Engine API, create and start on the bridge", &Figures::new(engine));
    Ok(())
}

fn with_longshore(fleet: &Fleet, boto: &mut Boto, definition: &Definition, key: &str) -> Result<Duration> {
    fleet.clear()?;
    let begin = now();
    let arns = fleet.run_tasks(boto, definition, 1, key)?;
    let end = fleet.last_stamp(1)?;
    fleet.stop_tasks(boto, &arns)?;
    Ok(between(begin, end))
}

fn with_command(fleet: &Fleet, mode: &str, port: bool, key: &str) -> Result<Duration> {
    fleet.clear()?;
    let stamps = format!("{}:/stamps", fleet.stamps.display());
    let variable = format!("STAMP={key}");
    let mut args = vec!["run", "-d", "--network", mode, "-m", "8m", "-v", &stamps, "-e", &variable];
    if port {
        args.extend(["-p", "80"]);
    }
    args.extend(["probe", "stamp", "/stamps"]);
    // Outside the host's namespaces, since entering them is not what is measured; the socket is reachable.
    let mut command = std::process::Command::new("docker");
    command.args(["-H", &fleet.node().docker()]).args(&args).stdout(Stdio::null());
    let begin = now();
    ensure!(command.status()?.success(), "docker run failed");
    let end = fleet.last_stamp(1)?;
    fleet.remove_all()?;
    Ok(between(begin, end))
}

fn with_engine(fleet: &Fleet, mode: &str, port: bool, key: &str) -> Result<Duration> {
    fleet.clear()?;
    let mut host = json!({
        "NetworkMode": mode, "Memory": 8 << 20, "Binds": [format!("{}:/stamps", fleet.stamps.display())],
    });
    let mut body = json!({"Image": "probe", "Cmd": ["stamp", "/stamps"], "Env": [format!("STAMP={key}")]});
    if port {
        host["PortBindings"] = json!({"80/tcp": [{"HostPort": "0"}]});
        body["ExposedPorts"] = json!({"80/tcp": {}});
    }
    body["HostConfig"] = host;
    let engine = &fleet.node().engine;
    let begin = now();
    let path = format!("/containers/create?name={key}");
    let (status, answer) = engine.request("POST", &path, "application/json", body.to_string().as_bytes())?;
    ensure!(status == 201, "create: {status} {}", String::from_utf8_lossy(&answer));
    let (status, answer) = engine.request("POST", &format!("/containers/{key}/start"), "application/json", b"")?;
    ensure!(status == 204, "start: {status} {}", String::from_utf8_lossy(&answer));
    let end = fleet.last_stamp(1)?;
    fleet.remove_all()?;
    Ok(between(begin, end))
}
