//! What the agent costs while nothing happens, and how long it takes to be back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use longshore_tests::lab::cgroup;
use longshore_tests::lab::process::Process;
use longshore_tests::lab::{Boto, wait_until};
use serde_json::json;

use crate::figures::{Figures, scaled};
use crate::fleet::{DEADLINE, Definition, Fleet};

/// Quiet tasks on the host. In the host's network, so that they cost Docker no more than a shim each.
fn tasks() -> usize {
    scaled(200, 20)
}

/// Memory and processor time, idle and with two hundred quiet tasks: the agent's, and what Docker needs for the same.
pub(crate) fn memory_and_cpu() -> Result<()> {
    let fleet = Fleet::longshore()?;
    let mut boto = fleet.lab.boto()?;
    let definition = fleet.define_quiet("quiet")?;
    let tasks = tasks();
    println!("\n### The agent at rest\n");
    println!(
        "| what | agent RSS | agent CPU, share of a core | dockerd | containerd | shims | control plane RSS |\n\
         |---|---|---|---|---|---|---|"
    );
    at_rest(&fleet, "idle")?;
    let arns = run_all(&fleet, &mut boto, &definition)?;
    at_rest(&fleet, &format!("{tasks} quiet tasks"))?;
    fleet.stop_tasks(&mut boto, &arns)?;
    at_rest(&fleet, &format!("idle again, after {tasks} tasks came and went"))
}

/// What the programs of one kind use together.
#[derive(Default)]
struct Usage {
    count: usize,
    /// Each shared page counts for as many as share it.
    pss_kib: u64,
    cpu: Duration,
}

/// Docker's programs on the host, by kind.
fn docker(fleet: &Fleet) -> Result<BTreeMap<&'static str, Usage>> {
    let mut all: BTreeMap<&str, Usage> = BTreeMap::new();
    for pid in cgroup::processes(fleet.node().host.group())? {
        // One that ends meanwhile is none.
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let kind = match read("comm").trim() {
            "dockerd" => "dockerd",
            "containerd" => "containerd",
            name if name.starts_with("containerd-shim") => "shims",
            _ => continue,
        };
        let usage = all.entry(kind).or_default();
        let rollup = read("smaps_rollup");
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse().ok());
        usage.count += 1;
        usage.pss_kib += pss.unwrap_or(0);
        usage.cpu += Process::cpu_of(pid).unwrap_or_default();
    }
    Ok(all)
}

fn at_rest(fleet: &Fleet, what: &str) -> Result<()> {
    let span = Duration::from_secs(scaled(60, 5) as u64);
    let agent = &fleet.node().agent;
    let before = (agent.process(Process::cpu)?, docker(fleet)?);
    let begin = Instant::now();
    // Measuring rest is the one thing that takes a while and waits for nothing.
    std::thread::sleep(span);
    let used = agent.process(Process::cpu)?.saturating_sub(before.0);
    let after = docker(fleet)?;
    let share = |used: Duration| used.as_secs_f64() / begin.elapsed().as_secs_f64() * 100.0;
    #[expect(clippy::cast_precision_loss)]
    let mib = |kib: u64| kib as f64 / 1024.0;
    let other = |kind: &str| {
        let Some(now) = after.get(kind) else { return "-".to_owned() };
        let used = before.1.get(kind).map_or(now.cpu, |before| now.cpu.saturating_sub(before.cpu));
        let count = if now.count > 1 { format!("{}: ", now.count) } else { String::new() };
        format!("{count}{:.1} MiB, {:.2} %", mib(now.pss_kib), share(used))
    };
    println!(
        "| {what} | {:.1} MiB | {:.2} % over {} s | {} | {} | {} | {:.1} MiB |",
        mib(agent.process(Process::rss_kib)?),
        share(used),
        span.as_secs(),
        other("dockerd"),
        other("containerd"),
        other("shims"),
        mib(fleet.lab.control().process(Process::rss_kib)?),
    );
    Ok(())
}

fn run_all(fleet: &Fleet, boto: &mut Boto, definition: &Definition) -> Result<Vec<String>> {
    let arns = fleet.run_tasks(boto, definition, tasks(), "")?;
    fleet.wait_running(boto, &arns)?;
    Ok(arns)
}

/// kill -9 of the agent with two hundred tasks and one more that ends meanwhile; from its start until the API knows of
/// that end, and that everything else runs and is connected.
pub(crate) fn restart() -> Result<()> {
    let fleet = Fleet::longshore()?;
    let mut boto = fleet.lab.boto()?;
    let definition = fleet.define_quiet("restart")?;
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
        fleet.wait_running(&mut boto, &extra)?;
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
    println!("\n### Agent restart with {} tasks, until everything is reported\n", tasks());
    println!("| p50 | p90 | tasks restarted | runs |");
    println!("|---|---|---|---|");
    println!("| {} ms | {} ms | 0 | {} |", times.median().as_millis(), times.at(0.9).as_millis(), times.count());
    fleet.stop_tasks(&mut boto, &arns)
}
