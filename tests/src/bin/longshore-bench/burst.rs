//! Many tasks at once on one host: from the first call to the last container's first instruction.

use std::time::Duration;

use anyhow::{Result, ensure};
use longshore_tests::lab::wait_until;
use serde_json::json;

use crate::figures::{Figures, head, row, scaled};
use crate::fleet::{DEADLINE, Definition, Fleet, between, now};

/// Tasks with an interface of their own in one burst.
const INTERFACES: usize = 100;

/// Longshore and the loop share an Engine; the Swarm has its own, since it cannot be on one with live-restore.
pub(crate) fn run() -> Result<()> {
    let fleet = Fleet::longshore()?;
    let swarm = a_swarm()?;
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
        row(&format!("{count} bridge tasks"), &ours, &service(count), &Figures::new(services));
        row(&format!("{count} bridge tasks"), &ours, &format!("{count} x `docker run -d`"), &Figures::new(loops));
    }
    Ok(())
}

/// Tasks with an interface each, against a Swarm's replicas that have only Docker's bridge.
pub(crate) fn awsvpc() -> Result<()> {
    let swarm = a_swarm()?;
    head("Burst of awsvpc tasks: from the first call to the last first instruction");
    let as_it_comes = awsvpc_of(&swarm, "", "awsvpc tasks")?;
    let enough = awsvpc_of(&swarm, "warm_sandboxes = 32\n", "awsvpc tasks, `warm_sandboxes = 32`")?;
    println!("\nWarm sandboxes when each round began, the first not counted: {as_it_comes}; and {enough}.");
    Ok(())
}

/// With these lines of the agent's configuration. Gives how many warm sandboxes the rounds found.
fn awsvpc_of(swarm: &Fleet, agent: &str, what: &str) -> Result<String> {
    let fleet = Fleet::with_agent(agent)?;
    let mut boto = fleet.lab.boto()?;
    let definition = fleet.define("awsvpc-burst", "awsvpc", false)?;
    let (mut ours, mut services, mut pools) = (Vec::new(), Vec::new(), Vec::new());
    // The first round is not counted, and as large as the others: it makes the pool grow, which then is as large for
    // all that count.
    for round in 0..=scaled(3, 1) {
        // The addresses of the last round rest for a while.
        let warm = fleet.wait_pool(INTERFACES as u64)?;
        let one = with_longshore(&fleet, &mut boto, &definition, INTERFACES)?;
        let two = with_swarm(swarm, INTERFACES)?;
        pools.push(format!("{warm} ({} ms)", one.as_millis()));
        if round > 0 {
            ours.push(one);
            services.push(two);
        }
    }
    let what = format!("{INTERFACES} {what}");
    row(&what, &Figures::new(ours), &service(INTERFACES), &Figures::new(services));
    Ok(pools.join(", "))
}

/// A Swarm of one host.
fn a_swarm() -> Result<Fleet> {
    let swarm = Fleet::docker()?;
    let address = swarm.node().host.address().to_string();
    swarm.docker_run(&["swarm", "init", "--advertise-addr", &address])?;
    Ok(swarm)
}

fn service(count: usize) -> String {
    format!("`docker service create --replicas {count} --endpoint-mode dnsrr`")
}

fn with_longshore(
    fleet: &Fleet,
    boto: &mut longshore_tests::lab::Boto,
    definition: &Definition,
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
        Ok(fleet.containers()?.is_empty())
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
