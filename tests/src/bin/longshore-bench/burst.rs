//! Many tasks at once on one host: from the first call to the last container's first instruction.

use std::time::Duration;

use anyhow::{Result, ensure};
use longshore_tests::lab::wait_until;
use serde_json::json;

use crate::figures::{Figures, head, row, scaled};
use crate::fleet::{DEADLINE, Fleet, between, now};

/// Longshore and the loop share an Engine; the Swarm has its own, since it cannot be on one with live-restore.
pub(crate) fn run() -> Result<()> {
    let fleet = Fleet::longshore()?;
    let swarm = Fleet::docker()?;
    let address = swarm.node().host.address().to_string();
    swarm.docker_run(&["swarm", "init", "--advertise-addr", &address])?;
    let mut boto = fleet.lab.boto()?;
    let definition = fleet.define("burst", "bridge", false)?;
    head("Bursts: from the first call to the last first instruction");
    for count in [50, 100] {
        let (mut ours, mut services, mut loops) = (Vec::new(), Vec::new(), Vec::new());
        // One small round first, not counted.
        for round in 0..=scaled(5, 1) {
            let count = if round == 0 { 5 } else { count };
            let one = with_longshore(&fleet, &mut boto, &definition, count)?;
            let two = with_swarm(&swarm, count)?;
            let three = with_loop(&fleet, count)?;
            if round > 0 {
                ours.push(one);
                services.push(two);
                loops.push(three);
            }
        }
        let ours = Figures::new(ours);
        let swarm_name = format!("`docker service create --replicas {count} --endpoint-mode dnsrr`");
        row(&format!("{count} bridge tasks"), &ours, &swarm_name, &Figures::new(services));
        row(&format!("{count} bridge tasks"), &ours, &format!("{count} x `docker run -d`"), &Figures::new(loops));
    }
    Ok(())
}

fn with_longshore(
    fleet: &Fleet,
    boto: &mut longshore_tests::lab::Boto,
    definition: &str,
    count: usize,
) -> Result<Duration> {
    fleet.clear()?;
    let begin = now();
    let arns = fleet.run_tasks(boto, definition, count, "")?;
    let end = fleet.last_stamp(count)?;
    wait_until("all tasks RUNNING", DEADLINE, || {
        let tasks = fleet.describe(boto, &arns)?;
        Ok(tasks.iter().all(|t| t["lastStatus"] == json!("RUNNING")))
    })?;
    fleet.stop_tasks(boto, &arns)?;
    Ok(between(begin, end))
}

fn with_swarm(fleet: &Fleet, count: usize) -> Result<Duration> {
    fleet.clear()?;
    let replicas = count.to_string();
    let mount = format!("type=bind,source={},target=/stamps", fleet.stamps.display());
    let args = [
        "service",
        "create",
        "--detach",
        "--name",
        "burst",
        "--replicas",
        &replicas,
        "--endpoint-mode",
        "dnsrr",
        "--limit-memory",
        "8m",
        "--mount",
        &mount,
        "--no-resolve-image",
        "--stop-grace-period",
        "1s",
        "probe",
        "stamp",
        "/stamps",
    ];
    let mut command = std::process::Command::new("docker");
    command.args(["-H", &fleet.node().docker()]).args(args).stdout(std::process::Stdio::null());
    let begin = now();
    ensure!(command.status()?.success(), "docker service create failed");
    let end = fleet.last_stamp(count)?;
    fleet.docker_run(&["service", "rm", "burst"])?;
    // Swarm leaves containers for a while; what it keeps is not to slow its next round.
    wait_until("the end of the service's containers", DEADLINE, || {
        fleet.remove_all()?;
        Ok(fleet.node().engine.containers()?.is_empty())
    })?;
    Ok(between(begin, end))
}

fn with_loop(fleet: &Fleet, count: usize) -> Result<Duration> {
    fleet.clear()?;
    let stamps = format!("{}:/stamps", fleet.stamps.display());
    let docker = fleet.node().docker();
    let begin = now();
    for _ in 0..count {
        let mut command = std::process::Command::new("docker");
        command.args(["-H", &docker, "run", "-d", "-m", "8m", "-v", &stamps, "probe", "stamp", "/stamps"]);
        ensure!(command.stdout(std::process::Stdio::null()).status()?.success(), "docker run failed");
    }
    let end = fleet.last_stamp(count)?;
    fleet.remove_all()?;
    Ok(between(begin, end))
}
