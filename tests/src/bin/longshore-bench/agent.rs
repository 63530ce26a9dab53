//! What the agent costs while nothing happens, and how long it takes to be back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use longshore_tests::lab::process::Process;
use longshore_tests::lab::{Boto, wait_until};
use serde_json::json;

use crate::figures::{Figures, scaled};
use crate::fleet::{DEADLINE, Definition, Fleet};

const TASKS: usize = 100;

/// Resident memory and processor time, idle and with a hundred quiet tasks.
pub(crate) fn memory_and_cpu() -> Result<()> {
    let fleet = Fleet::longshore()?;
    let mut boto = fleet.lab.boto()?;
    let definition = fleet.define("quiet", "bridge", false)?;
    println!("\n### The agent at rest\n");
    println!("| what | agent RSS | agent CPU, share of a core | dockerd RSS, for comparison | control plane RSS |");
    println!("|---|---|---|---|---|");
    at_rest(&fleet, "idle")?;
    let arns = run_all(&fleet, &mut boto, &definition)?;
    at_rest(&fleet, &format!("{TASKS} quiet tasks"))?;
    fleet.stop_tasks(&mut boto, &arns)?;
    at_rest(&fleet, &format!("idle again, after {TASKS} tasks came and went"))
}

fn at_rest(fleet: &Fleet, what: &str) -> Result<()> {
    let span = Duration::from_secs(scaled(60, 5) as u64);
    let agent = &fleet.node().agent;
    let before = agent.process(Process::cpu)?;
    let begin = Instant::now();
    // Measuring rest is the one thing that takes a while and waits for nothing.
    std::thread::sleep(span);
    let used = agent.process(Process::cpu)?.saturating_sub(before);
    let share = used.as_secs_f64() / begin.elapsed().as_secs_f64() * 100.0;
    #[expect(clippy::cast_precision_loss)]
    let mib = |kib: u64| kib as f64 / 1024.0;
    println!(
        "| {what} | {:.1} MiB | {share:.2} % over {} s | {:.1} MiB | {:.1} MiB |",
        mib(agent.process(Process::rss_kib)?),
        span.as_secs(),
        mib(fleet.node().engine.rss_kib()?),
        mib(fleet.lab.control().process(Process::rss_kib)?),
    );
    Ok(())
}

fn run_all(fleet: &Fleet, boto: &mut Boto, definition: &Definition) -> Result<Vec<String>> {
    let arns = fleet.run_tasks(boto, definition, TASKS, "")?;
    wait_running(fleet, boto, &arns)?;
    Ok(arns)
}

fn wait_running(fleet: &Fleet, boto: &mut Boto, arns: &[String]) -> Result<()> {
    wait_until("all tasks RUNNING", DEADLINE, || {
        let tasks = fleet.describe(boto, arns)?;
        let running = tasks.iter().filter(|t| t["lastStatus"] == json!("RUNNING")).count();
        ensure!(running == arns.len(), "{running} of {} run", arns.len());
        Ok(true)
    })
}

/// kill -9 of the agent with a hundred tasks and one more that ends meanwhile; from its start until the API knows of
/// that end, and that everything else runs and is connected.
pub(crate) fn restart() -> Result<()> {
    let fleet = Fleet::longshore()?;
    let mut boto = fleet.lab.boto()?;
    let definition = fleet.define("restart", "bridge", false)?;
    let arns = run_all(&fleet, &mut boto, &definition)?;
    let mut times = Vec::new();
    let births = |fleet: &Fleet| -> Result<Vec<String>> {
        let mut ids: Vec<String> = fleet.containers()?.into_iter().map(|c| c.id).collect();
        ids.sort();
        Ok(ids)
    };
    let before = births(&fleet)?;
    for _ in 0..scaled(10, 2) {
        let extra = fleet.run_tasks(&mut boto, &definition, 1, "")?;
        wait_running(&fleet, &mut boto, &extra)?;
        let node = fleet.node();
        node.agent.kill()?;
        let id = extra[0].rsplit('/').next().context("no id")?;
        fleet.docker_run(&["kill", &format!("ls-{id}-main")])?;
        let begin = Instant::now();
        node.launch_agent()?;
        let deadline = begin + DEADLINE;
        loop {
            let instance = &fleet.lab.instances()?[0];
            let ended = fleet.describe(&mut boto, &extra)?.iter().all(|t| t["lastStatus"] == json!("STOPPED"));
            if instance["agentConnected"] == json!(true) && ended {
                let tasks = fleet.describe(&mut boto, &arns)?;
                let ready = |t: &serde_json::Value| t["lastStatus"] == "RUNNING" && t["connectivity"] == "CONNECTED";
                if tasks.iter().all(ready) {
                    break;
                }
            }
            ensure!(Instant::now() < deadline, "the agent did not come back");
        }
        times.push(begin.elapsed());
        wait_until("the removed container", DEADLINE, || Ok(births(&fleet)?.len() == before.len()))?;
    }
    ensure!(births(&fleet)? == before, "a task was restarted");
    let times = Figures::new(times);
    println!("\n### Agent restart with {TASKS} tasks, until everything is reported\n");
    println!("| p50 | p90 | tasks restarted | runs |");
    println!("|---|---|---|---|");
    println!("| {} ms | {} ms | 0 | {} |", times.median().as_millis(), times.at(0.9).as_millis(), times.count());
    fleet.stop_tasks(&mut boto, &arns)
}
