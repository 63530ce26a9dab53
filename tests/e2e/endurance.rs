//! What must go on while something is away: tasks, and the memory of what happened to them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use longshore_tests::lab::{Lab, Node, wait_until};
use serde_json::{Value, json};

use super::support::*;

/// What tells one start of a container from another.
pub(crate) fn births(lab: &Lab, arns: &[String]) -> Vec<(Value, Value)> {
    let of = |task: &Value| {
        let arn = task["taskArn"].as_str().unwrap();
        let seen = inspect(node_of(lab, task), arn, "main");
        (seen["Id"].clone(), seen["State"]["StartedAt"].clone())
    };
    describe(lab, arns).unwrap().iter().map(of).collect()
}

#[test]
fn a_partition_of_thirty_seconds_loses_no_task_and_no_exit() {
    let lab = lab(2);
    let mut worker = shell("main", "sleep 12; exit 5");
    merge(&mut worker, json!({"stopTimeout": 1}));
    let worker = register(&lab, "worker", json!([worker]), json!({}));
    let calm = register(&lab, "calm", json!([sleeper()]), json!({}));
    let instances = strings(&json!(lab.instances().unwrap()), "containerInstanceArn");
    let cut = node_index(&lab, &instances[0]);
    let start = |definition: &str, target: &str| {
        let args = json!({"taskDefinition": definition, "containerInstances": [target]});
        lab.ecs("start_task", args).unwrap()["tasks"][0]["taskArn"].as_str().unwrap().to_owned()
    };
    let stays: Vec<String> = [&instances[0], &instances[0], &instances[1]].iter().map(|i| start(&calm, i)).collect();
    let ends = start(&worker, &instances[0]);
    wait_tasks(&lab, &[stays.clone(), vec![ends.clone()]].concat(), "RUNNING", DEADLINE);
    let before = births(&lab, &stays);

    lab.partition(cut).unwrap();
    let begin = Instant::now();
    wait_until("a disconnected host", DEADLINE, || {
        Ok(lab.instances()?.iter().filter(|i| i["agentConnected"] == false).count() == 1)
    })
    .unwrap();
    // A wish that cannot be delivered now is not forgotten.
    lab.ecs("stop_task", json!({"task": stays[1]})).unwrap();
    wait_until("thirty seconds of silence", DEADLINE, || {
        for arn in stays.iter().chain([&ends]) {
            assert_eq!(task(&lab, arn)["lastStatus"], "RUNNING", "nothing is known, so nothing is said");
        }
        let running = lab.node(cut).task_containers()?.iter().filter(|c| c.state == "running").count();
        let worker_done = begin.elapsed() > Duration::from_secs(20);
        assert!(running >= 2, "tasks keep running on a host that is cut off");
        assert!(!worker_done || running == 2, "the worker ended by itself");
        Ok(begin.elapsed() > Duration::from_secs(30))
    })
    .unwrap();
    lab.heal(cut).unwrap();
    lab.wait_connected(2, DEADLINE).unwrap();
    let ended = stopped(&lab, &ends);
    assert_eq!(container(&ended, "main")["exitCode"], 5);
    assert_eq!(ended["stoppedReason"], "Essential container in task exited");
    stopped(&lab, &stays[1]);
    let left = [stays[0].clone(), stays[2].clone()];
    assert_exactly(&lab, &left);
    assert_eq!(births(&lab, &left), [before[0].clone(), before[2].clone()], "a task was started again");
    assert_no_leaks(&lab, &left);
}

#[test]
fn a_restart_of_everything_restarts_none_of_fifty_tasks() {
    let lab = lab(1);
    let node = lab.node(0);
    let mut main = sleeper();
    merge(&mut main, json!({"portMappings": [{"containerPort": 80}]}));
    let definition = register(&lab, "fifty", json!([main]), json!({}));
    let arns = run(&lab, &definition, 50, json!({}));
    let ports = |tasks: &[Value]| -> Vec<Value> {
        tasks.iter().map(|t| container(t, "main")["networkBindings"].clone()).collect()
    };
    let described = wait_tasks(&lab, &arns, "RUNNING", Duration::from_secs(120));
    let before = (births(&lab, &arns), ports(&described));

    for brutal in [false, true] {
        if brutal {
            lab.control().kill().unwrap();
            node.agent.kill().unwrap();
            node.engine.kill().unwrap();
        } else {
            node.agent.terminate().unwrap();
            lab.control().terminate().unwrap();
            node.engine.terminate().unwrap();
        }
        node.launch_agent().unwrap();
        node.engine.launch(&node.host).unwrap();
        lab.restart_control().unwrap();
        lab.wait_connected(1, DEADLINE).unwrap();
        assert_exactly(&lab, &arns);
        let described = wait_tasks(&lab, &arns, "RUNNING", DEADLINE);
        assert_eq!((births(&lab, &arns), ports(&described)), before, "brutal: {brutal}");
    }
    // Everything still obeys.
    for arn in &arns {
        lab.ecs("stop_task", json!({"task": arn})).unwrap();
    }
    wait_tasks(&lab, &arns, "STOPPED", Duration::from_secs(120));
    assert_no_leaks(&lab, &[]);
}

/// The agent's ledger: everything in its data directory but the identity.
fn ledger_files(node: &Node) -> Vec<PathBuf> {
    let dir = node.host.dir().join("agent");
    let files = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path());
    let ledger: Vec<PathBuf> =
        files.filter(|p| p.is_file() && p.file_name().unwrap().to_string_lossy().starts_with("ledger")).collect();
    assert!(!ledger.is_empty(), "no ledger in {}", dir.display());
    ledger
}

/// What befalls a ledger.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Lost,
    Garbage,
    CutShort,
}

impl Harm {
    fn to(self, file: &Path) {
        match self {
            Self::Lost => std::fs::remove_file(file).unwrap(),
            Self::Garbage => std::fs::write(file, b"this is no ledger").unwrap(),
            Self::CutShort => {
                let length = std::fs::metadata(file).unwrap().len();
                std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(length / 2).unwrap();
            }
        }
    }
}

#[test]
fn a_lost_or_damaged_ledger_is_set_aside_and_rebuilt() {
    let lab = lab(1);
    let node = lab.node(0);
    let definition = register(&lab, "kept", json!([sleeper()]), json!({}));
    let arns = run(&lab, &definition, 3, json!({}));
    wait_tasks(&lab, &arns, "RUNNING", DEADLINE);
    let before = births(&lab, &arns);

    for harm in [Harm::Lost, Harm::Garbage, Harm::CutShort] {
        node.agent.kill().unwrap();
        // While neither the ledger nor the control plane is there, the agent still knows what runs, from labels.
        lab.control().kill().unwrap();
        ledger_files(node).iter().for_each(|file| harm.to(file));
        node.launch_agent().unwrap();
        wait_until("the agent's view of its tasks", DEADLINE, || {
            let status = longshore_tests::lab::Agent::status(&node.host)?.to_string();
            Ok(arns.iter().all(|a| status.contains(id(a))))
        })
        .unwrap();
        lab.restart_control().unwrap();
        lab.wait_connected(1, DEADLINE).unwrap();
        assert_exactly(&lab, &arns);
        assert_eq!(births(&lab, &arns), before, "{harm:?}: a task was restarted");
    }
    lab.ecs("stop_task", json!({"task": arns[0]})).unwrap();
    stopped(&lab, &arns[0]);
    assert_no_leaks(&lab, &arns[1..]);
}

#[test]
fn exits_while_the_agent_or_the_control_plane_is_away_are_reported() {
    let lab = lab(1);
    let node = lab.node(0);
    let docker = node.docker();
    let calm = register(&lab, "calm", json!([sleeper()]), json!({}));
    let two = json!([shell("main", "until [ -e /tmp/end ]; do sleep 0.1; done; exit 9"), shell("side", "sleep 600")]);
    let two = register(&lab, "two", two, json!({}));
    let kept = run_one(&lab, &calm, json!({}));
    let ends = run_one(&lab, &two, json!({}));
    wait_tasks(&lab, &[kept.clone(), ends.clone()], "RUNNING", DEADLINE);
    let end = |arn: &str| {
        let name = format!("ls-{}-main", id(arn));
        node.host.run("docker", &["-H", &docker, "exec", &name, "touch", "/tmp/end"]).unwrap();
        wait_until("the container's end", DEADLINE, || Ok(node.engine.inspect(&name)?["State"]["Running"] == false))
            .unwrap();
    };

    // The agent is dead while a container exits.
    node.agent.kill().unwrap();
    end(&ends);
    assert_eq!(task(&lab, &ends)["lastStatus"], "RUNNING");
    node.launch_agent().unwrap();
    let ended = stopped(&lab, &ends);
    assert_eq!(container(&ended, "main")["exitCode"], 9);
    assert_eq!(ended["stoppedReason"], "Essential container in task exited");

    // The control plane is dead: the agent stops what belongs together, also when it starts anew meanwhile.
    let ends = run_one(&lab, &two, json!({}));
    running(&lab, &ends);
    lab.control().kill().unwrap();
    node.agent.kill().unwrap();
    node.launch_agent().unwrap();
    end(&ends);
    wait_until("the other container's end, by the agent alone", DEADLINE, || {
        Ok(node.task_containers()?.iter().all(|c| !c.name.contains(id(&ends)) || c.state != "running"))
    })
    .unwrap();
    lab.restart_control().unwrap();
    let ended = stopped(&lab, &ends);
    assert_eq!(container(&ended, "main")["exitCode"], 9);
    assert_exactly(&lab, &[kept]);
}
