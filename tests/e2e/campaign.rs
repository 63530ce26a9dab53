//! Kill -9 of the agent, the control plane and dockerd while twenty tasks start, at random points.
//!
//! Three rounds in the ordinary run, `LONGSHORE_SOAK_ROUNDS` in `make soak`. The seed is printed; `LONGSHORE_SEED`
//! repeats it.

use std::time::{Duration, Instant};

use longshore_tests::lab::{Boto, Lab, wait_for};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::runs;
use super::support::*;

const TASKS: usize = 20;

/// How many starts an agent asks of Docker at once.
pub(crate) const STARTS_IN_FLIGHT: usize = 8;

/// How the reason of a task begins whose start was cut by the end of its dockerd.
pub(crate) const START_CUT: &str = "CannotStartContainerError: ";

/// What is killed in a round, and how long after the first request.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Agent(usize),
    Control,
    Engine(usize),
}

pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().filter(|v| !v.is_empty()).map(|v| v.parse().unwrap_or_else(|_| panic!("{name}={v}")))
}

/// Calls until it is answered, as a client with a retry policy would; safe by its client token.
fn run_until_answered(boto: &mut Boto, args: &Value) -> Vec<String> {
    wait_for("an answer to RunTask", DEADLINE, || match boto.call("ecs", "run_task", args.clone())? {
        Ok(answer) => {
            // A host whose agent is down takes nothing; the rest is asked for again below.
            Ok(Some(strings(&answer["tasks"], "taskArn")))
        }
        Err(error) if error.status == 0 || error.status >= 500 => anyhow::bail!("not yet: {error}"),
        // While every agent is away there is nowhere to go.
        Err(error) => panic!("RunTask was refused: {error}"),
    })
    .unwrap()
}

/// Kills the victim, leaves it dead for a moment (the sleep is part of the fault, nothing waits on it), and starts it.
fn strike(lab: &Lab, victim: Victim, pause: Duration) {
    match victim {
        Victim::Agent(index) => {
            let node = lab.node(index);
            node.agent.kill().unwrap();
            std::thread::sleep(pause);
            node.launch_agent().unwrap();
        }
        Victim::Control => {
            lab.control().kill().unwrap();
            std::thread::sleep(pause);
            lab.restart_control().unwrap();
        }
        Victim::Engine(index) => {
            let node = lab.node(index);
            node.engine.kill().unwrap();
            std::thread::sleep(pause);
            node.engine.launch(&node.host).unwrap();
            node.engine.wait_ready(&node.host).unwrap();
        }
    }
}

#[test]
fn kills_at_random_points_end_with_exactly_the_desired_tasks() {
    let rounds = number("LONGSHORE_SOAK_ROUNDS").unwrap_or(3);
    let seed = number("LONGSHORE_SEED").unwrap_or_else(rand::random);
    println!("seed {seed}, {rounds} rounds; LONGSHORE_SEED={seed} repeats it");
    let mut random = StdRng::seed_from_u64(seed);
    let lab = lab(2);
    runs::watch(&lab);
    let mut main = sleeper();
    let data = json!([{"sourceVolume": "data", "containerPath": "/data"}]);
    merge(&mut main, json!({"portMappings": [{"containerPort": 80}], "mountPoints": data}));
    let volumes = json!({"volumes": [{"name": "data"}], "memory": "16"});
    let definition = register(&lab, "campaign", json!([main]), volumes);

    for round in 0..rounds {
        // Each of the three dies once a round, in any order, on any host, at any moment of the start.
        let mut plan: Vec<(u64, Victim, u64)> = Vec::new();
        let (agent, engine) = (random.random_range(0..2), random.random_range(0..2));
        for victim in [Victim::Agent(agent), Victim::Control, Victim::Engine(engine)] {
            plan.push((random.random_range(0..3_000), victim, random.random_range(0..800)));
        }
        println!("round {round}: {plan:?} (ms after the first request, who, ms down)");
        let tokens: Vec<String> =
            (0..TASKS / 10).map(|n| format!("round-{round}-{n}-{seed:x}-campaign-token")).collect();
        let mut boto = lab.boto().unwrap();
        let begin = Instant::now();
        let mut arns: Vec<String> = std::thread::scope(|scope| {
            for (at, victim, pause) in plan {
                let lab = &lab;
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(at));
                    strike(lab, victim, Duration::from_millis(pause));
                });
            }
            tokens
                .iter()
                .flat_map(|token| {
                    let args = json!({"taskDefinition": definition, "count": 10, "clientToken": token});
                    run_until_answered(&mut boto, &args)
                })
                .collect()
        });
        lab.wait_connected(2, DEADLINE).unwrap();
        if arns.len() < TASKS {
            println!("round {round}: {} tasks found a place at first", arns.len());
            arns.extend(run(&lab, &definition, TASKS - arns.len(), json!({})));
        }
        let settled = wait_for("every task running or stopped", DEADLINE, || {
            let tasks = describe(&lab, &arns)?;
            let counts = |status: &str| tasks.iter().filter(|t| t["lastStatus"] == status).count();
            let settled = counts("RUNNING") + counts("STOPPED");
            anyhow::ensure!(settled == TASKS, "{settled} of {TASKS} settled");
            Ok(Some(tasks))
        })
        .unwrap();
        // A container that died with its dockerd in the middle of a start may not be started a second time under the
        // same id: such a task is stopped, with a reason, and gone.
        let (live, lost): (Vec<Value>, Vec<Value>) = settled.into_iter().partition(|t| t["lastStatus"] == "RUNNING");
        for task in &lost {
            let why = task["stoppedReason"].as_str().unwrap_or_default();
            assert!(why.starts_with(START_CUT), "stopped for something else: {task:#}");
            assert_eq!(task["stopCode"], "TaskFailedToStart", "{task:#}");
            println!("round {round}: {} {why}", task["taskArn"]);
        }
        // Docker may still have the starts of an agent that died on the same host, beside those of the next one.
        let most = if agent == engine { TASKS / 2 } else { STARTS_IN_FLIGHT };
        assert!(lost.len() <= most, "only {} of {TASKS} tasks came through", live.len());
        let live = strings(&json!(live), "taskArn");
        assert_exactly(&lab, &live);
        assert_no_leaks(&lab, &live);
        println!("round {round}: {} running, {} stopped, settled after {:?}", live.len(), lost.len(), begin.elapsed());

        for arn in &live {
            lab.ecs("stop_task", json!({"task": arn})).unwrap();
        }
        let told = wait_tasks(&lab, &live, "STOPPED", DEADLINE);
        // At most one for each start that a dockerd was killed in; those of former rounds went with its restart.
        assert_nothing_left_but_ghosts(&lab, most);
        runs::assert_ends_told_once(&lab, &[told, lost].concat());
    }
}
