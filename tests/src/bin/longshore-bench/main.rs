//! The benchmarks: what a task costs through Longshore, against what Docker by itself and Docker Swarm cost on the same
//! machine in the same run. Runs alternate, so that what else the machine does falls on all alike.
//!
//! `longshore-bench [start] [burst] [awsvpc-burst] [network] [groups] [enforce] [agent] [restart] [metadata] [logs]
//! [placements] [agents] [replace] [rolling]`;
//! all of them when none is named. `BENCH_SCALE=0.2` makes it short. Prints Markdown, the ratio first;
//! docs/benchmarks.md says how to read it.

mod agent;
mod agents;
mod burst;
mod enforce;
mod figures;
mod fleet;
mod groups;
mod load;
mod logs;
mod metadata;
mod network;
mod placements;
mod services;
mod start;
mod tasks;

use std::process::ExitCode;

use anyhow::{Result, bail};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("longshore-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

const ALL: [&str; 14] = [
    "start",
    "burst",
    "awsvpc-burst",
    "network",
    "groups",
    "enforce",
    "agent",
    "restart",
    "metadata",
    "logs",
    "placements",
    "agents",
    "replace",
    "rolling",
];

fn run() -> Result<()> {
    let mut chosen: Vec<String> = std::env::args().skip(1).collect();
    if chosen.is_empty() {
        chosen = ALL.map(str::to_owned).to_vec();
    }
    println!("{}", figures::machine()?);
    for name in &chosen {
        match name.as_str() {
            "start" => start::run()?,
            "burst" => burst::run()?,
            "awsvpc-burst" => burst::awsvpc()?,
            "network" => network::run()?,
            "groups" => groups::run()?,
            "enforce" => enforce::run()?,
            "agent" => agent::memory_and_cpu()?,
            "restart" => agent::restart()?,
            "metadata" => metadata::run()?,
            "logs" => logs::run()?,
            "placements" => placements::run()?,
            "agents" => agents::run()?,
            "replace" => services::replace()?,
            "rolling" => services::rolling()?,
            other => bail!("there is no benchmark `{other}`; there are {}", ALL.join(", ")),
        }
    }
    Ok(())
}
