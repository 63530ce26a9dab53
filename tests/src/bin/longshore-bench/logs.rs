//! What it costs a host that containers print: processor time of everything on it (containers, Docker, the agent) for
//! the log driver awslogs against Docker's json-file alone, for the same output.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use longshore_tests::lab::cgroup::{self, Kind};
use longshore_tests::lab::product::REGION;
use longshore_tests::lab::{Boto, wait_until};
use serde_json::{Value, json};

use crate::figures::{Figures, head, row, scaled};
use crate::fleet::{DEADLINE, Fleet};

const GROUP: &str = "bench";
/// Bytes of a line, about.
const LINE: &str = "a line of output that is about as long as lines of output are, with a number at its end:";

/// One chatty container, and fifty that print a little each.
pub(crate) fn run() -> Result<()> {
    let fleet = Fleet::longshore()?;
    let mut boto = fleet.lab.boto()?;
    head("Output of containers: processor time of the whole host");
    for (what, tasks, lines, rounds) in [("one chatty container", 1, 20_000, 10), ("50 containers", 50, 400, 10)] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..scaled(5, 1) {
            theirs.push(once(&fleet, &mut boto, "json-file", tasks, lines, rounds)?);
            ours.push(once(&fleet, &mut boto, "awslogs", tasks, lines, rounds)?);
        }
        row(what, &Figures::new(ours), "json-file", &Figures::new(theirs));
    }
    Ok(())
}

/// Runs tasks to their end, until all that they printed has arrived, and gives the processor time of the host.
fn once(fleet: &Fleet, boto: &mut Boto, driver: &str, tasks: usize, lines: usize, rounds: usize) -> Result<Duration> {
    let options = match driver {
        "awslogs" => json!({"awslogs-group": GROUP, "awslogs-region": REGION, "awslogs-stream-prefix": "b"}),
        _ => json!({"max-size": "4m", "max-file": "4"}),
    };
    // Made once, so that printing costs the container next to nothing.
    let script = format!(
        "awk 'BEGIN {{ for (i = 0; i < {lines}; i++) print \"{LINE}\", i }}' >/tmp/lines; \
         for i in $(seq {rounds}); do cat /tmp/lines; sleep 0.5; done"
    );
    let main = json!({"name": "main", "image": "busybox", "memory": 16, "command": ["sh", "-c", script],
        "logConfiguration": {"logDriver": driver, "options": options}});
    let made = fleet.lab.ecs("register_task_definition", json!({"family": driver, "containerDefinitions": [main]}))?;
    let definition = made["taskDefinition"]["taskDefinitionArn"].clone();
    let before = cpu(fleet)?;
    let mut arns = Vec::new();
    while arns.len() < tasks {
        let args = json!({"taskDefinition": definition, "count": (tasks - arns.len()).min(10)});
        let answer = boto.call("ecs", "run_task", args)??;
        ensure!(answer["failures"] == json!([]), "not placed: {}", answer["failures"]);
        let placed = answer["tasks"].as_array().context("no tasks")?;
        arns.extend(placed.iter().filter_map(|task| task["taskArn"].as_str()).map(str::to_owned));
    }
    // Containers are removed once their output has arrived.
    wait_until("all tasks over", DEADLINE, || {
        let described = fleet.describe(boto, &arns)?;
        Ok(described.iter().all(|task| task["lastStatus"] == "STOPPED"))
    })?;
    fleet.wait_empty()?;
    let used = cpu(fleet)?.saturating_sub(before);
    if driver == "awslogs" {
        let last = format!("{LINE} {}", lines - 1);
        for arn in &arns {
            let stream = format!("b/main/{}", arn.rsplit('/').next().context("no id")?);
            let args = json!({"logGroupName": GROUP, "logStreamName": stream, "limit": 1});
            let found: Value = boto.call("logs", "get_log_events", args)??;
            ensure!(found["events"][0]["message"] == last.as_str(), "the end of {stream} is missing: {found}");
        }
    }
    Ok(used)
}

/// Processor time of everything that the host has run.
fn cpu(fleet: &Fleet) -> Result<Duration> {
    let group = fleet.node().host.group();
    for hierarchy in cgroup::hierarchies()? {
        let directory = hierarchy.mount.join(group);
        match &hierarchy.kind {
            Kind::V1 { select } if select.split(',').any(|controller| controller == "cpuacct") => {
                let nanos = std::fs::read_to_string(directory.join("cpuacct.usage"))?;
                return Ok(Duration::from_nanos(nanos.trim().parse()?));
            }
            Kind::V2 => {
                let text = std::fs::read_to_string(directory.join("cpu.stat")).unwrap_or_default();
                let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
                if let Some(micros) = micros {
                    return Ok(Duration::from_micros(micros.trim().parse()?));
                }
            }
            Kind::V1 { .. } => {}
        }
    }
    anyhow::bail!("no control group says what the host used")
}
