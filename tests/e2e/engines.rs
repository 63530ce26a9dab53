//! dockerd is killed, hangs and is restarted, each while tasks run and while others start.
//!
//! Ten tasks that run and sixteen that start, and a hang that is longer than a listing may take, in the ordinary run;
//! `LONGSHORE_SOAK_ENGINES` gives the number of those that run (the others are two fifths, but no fewer than sixteen)
//! and `LONGSHORE_SOAK_HANG` the seconds of the hang in `make soak`. The seed is printed; `LONGSHORE_SEED` repeats it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use longshore_tests::lab::{Lab, wait_until};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::awsvpc::network;
use super::campaign::{START_CUT, STARTS_IN_FLIGHT, number};
use super::endurance::births;
use super::runs::{self, Runs, noting};
use super::support::*;

/// Runs until it is told to end, and costs nothing meanwhile: there are many.
const RUNS_ON: &str = "trap 'exit 0' TERM; sleep 6000 & wait $!";

/// What happens to dockerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Killed,
    Hung,
    Restarted,
}

impl Fault {
    /// Whether a task may end so that was about to start.
    fn may_cost(self, reason: &str) -> bool {
        let more = match self {
            Self::Killed => None,
            // One that is longer than a start may take.
            Self::Hung => Some("DockerTimeoutError: Could not transition to started"),
            // Docker answers what it does not carry out any more, also to who makes a container.
            Self::Restarted => Some("CannotCreateContainerError: "),
        };
        [Some(START_CUT), more].into_iter().flatten().any(|begin| reason.starts_with(begin))
    }
}

struct Campaign {
    lab: Lab,
    runs: Runs,
    /// On the bridge, and with an interface; with what else RunTask is told.
    definitions: [(String, Value); 2],
    /// The name that each task notes its runs under.
    names: BTreeMap<String, String>,
    hang: Duration,
}

impl Campaign {
    fn start(&mut self, count: usize) -> Vec<String> {
        let mut arns = Vec::new();
        for _ in 0..count {
            let name = format!("task-{}", self.names.len());
            // One in four has an interface.
            let (definition, more) = &self.definitions[usize::from(self.names.len() % 4 == 1)];
            let arn = runs::start(&self.lab, definition, &["main"], &name, more.clone()).unwrap().expect("a place");
            self.names.insert(arn.clone(), name);
            arns.push(arn);
        }
        arns
    }

    /// Nothing is known while dockerd does not answer, so nothing is said to have ended.
    fn nothing_stops(&self, arns: &[String], lasts: Duration) {
        let began = Instant::now();
        wait_until("the end of the fault", lasts + DEADLINE, || {
            let stopped = |task: &&Value| task["lastStatus"] == "STOPPED";
            if let Some(task) = describe(&self.lab, arns)?.iter().find(stopped) {
                panic!("it is said to have stopped after {:?} without dockerd: {task:#}", began.elapsed());
            }
            std::thread::sleep(Duration::from_millis(200));
            Ok(began.elapsed() >= lasts)
        })
        .unwrap();
    }

    /// While dockerd is away, the process `victim` ends, and the task `asked` is to stop.
    fn strike(&self, fault: Fault, victim: i64, asked: &str, arns: &[String]) {
        let node = self.lab.node(0);
        let end_victim = || {
            node.host.run("kill", &["-KILL", &victim.to_string()]).unwrap();
            self.lab.ecs("stop_task", json!({"task": asked})).unwrap();
        };
        let launch = || {
            node.engine.launch(&node.host).unwrap();
            node.engine.wait_ready(&node.host).unwrap();
        };
        match fault {
            Fault::Killed => {
                node.engine.kill().unwrap();
                end_victim();
                self.nothing_stops(arns, Duration::from_secs(3));
                launch();
            }
            Fault::Hung => {
                node.engine.freeze();
                end_victim();
                self.nothing_stops(arns, self.hang);
                node.engine.thaw();
            }
            Fault::Restarted => {
                node.engine.terminate().unwrap();
                end_victim();
                launch();
            }
        }
    }
}

#[test]
fn a_dockerd_that_dies_hangs_or_is_restarted_ends_no_task() {
    let many = usize::try_from(number("LONGSHORE_SOAK_ENGINES").unwrap_or(10)).unwrap();
    // Twice as many as an agent starts at once, so that no more than half may be lost.
    let few = (many * 2 / 5).max(2 * STARTS_IN_FLIGHT);
    let hang = Duration::from_secs(number("LONGSHORE_SOAK_HANG").unwrap_or(33));
    let seed = number("LONGSHORE_SEED").unwrap_or_else(rand::random);
    println!("seed {seed}, {many} tasks run and {few} start, a hang of {hang:?}; LONGSHORE_SEED={seed} repeats it");
    let mut random = StdRng::seed_from_u64(seed);
    let lab = lab(1);
    let runs = Runs::new(&lab);
    runs::watch(&lab);
    let mut main = noting("main", RUNS_ON);
    merge(&mut main, json!({"portMappings": [{"containerPort": 80}]}));
    let more = json!({"memory": "24", "volumes": [runs.volume(), {"name": "own"}]});
    let plain = register(&lab, "engines", json!([main]), more);
    let more = json!({"networkMode": "awsvpc", "memory": "24", "volumes": [runs.volume()]});
    let wired = register(&lab, "engines-wired", json!([noting("main", RUNS_ON)]), more);
    let definitions = [(plain, json!({})), (wired, network(&lab, &[]))];
    let mut campaign = Campaign { lab, runs, definitions, names: BTreeMap::new(), hang };
    let mut told: Vec<Value> = Vec::new();
    let mut running = campaign.start(many);
    wait_tasks(&campaign.lab, &running, "RUNNING", 2 * DEADLINE);
    for fault in [Fault::Killed, Fault::Hung, Fault::Restarted] {
        let began = Instant::now();
        // One of them ends while nobody sees it.
        let (victim, asked) = (running.pop().unwrap(), running.pop().unwrap());
        let before = births(&campaign.lab, &running);
        let node = campaign.lab.node(0);
        let pid = inspect(node, &victim, "main")["State"]["Pid"].as_i64().unwrap();
        let starting = campaign.start(few);
        let delay = Duration::from_millis(random.random_range(0..800));
        std::thread::sleep(delay);
        let all: Vec<String> = running.iter().chain(&starting).chain([&victim, &asked]).cloned().collect();
        campaign.strike(fault, pid, &asked, &all);
        let lab = &campaign.lab;
        let ended = stopped(lab, &victim);
        assert_eq!(ended["stopCode"], "EssentialContainerExited", "{fault:?}: {ended:#}");
        assert_eq!(container(&ended, "main")["exitCode"], 137, "{fault:?}: {ended:#}");
        // Tries that dockerd hears of at once when it is back may kill it before it ends by itself.
        let stopped_for_client = stopped(lab, &asked);
        assert_eq!(stopped_for_client["stopCode"], "UserInitiated", "{fault:?}: {stopped_for_client:#}");
        let code = container(&stopped_for_client, "main")["exitCode"].as_i64();
        assert!(code == Some(0) || code == Some(137), "{fault:?}: {stopped_for_client:#}");
        wait_until("every task running or stopped", 2 * DEADLINE, || {
            let tasks = describe(lab, &starting)?;
            let settled = tasks.iter().filter(|t| ["RUNNING", "STOPPED"].contains(&t["lastStatus"].as_str().unwrap()));
            let settled = settled.count();
            anyhow::ensure!(settled == few, "{settled} of {few} settled");
            Ok(true)
        })
        .unwrap();
        // One whose start was cut may not be started a second time under the same id.
        let (live, lost): (Vec<Value>, Vec<Value>) =
            describe(lab, &starting).unwrap().into_iter().partition(|t| t["lastStatus"] == "RUNNING");
        for task in &lost {
            let why = task["stoppedReason"].as_str().unwrap_or_default();
            assert!(fault.may_cost(why), "{fault:?}: stopped for something else: {task:#}");
            assert_eq!(task["stopCode"], "TaskFailedToStart", "{fault:?}: {task:#}");
            println!("{fault:?}: {why}");
        }
        assert!(lost.len() <= STARTS_IN_FLIGHT, "{fault:?}: {} of {few} were lost", lost.len());
        told.extend(lost);
        told.extend([ended, stopped_for_client]);
        let live = strings(&json!(live), "taskArn");
        assert!(live.len() * 2 >= few, "{fault:?}: only {} of {few} came through", live.len());
        let all: Vec<String> = running.iter().chain(&live).cloned().collect();
        assert_exactly(lab, &all);
        assert_eq!(births(lab, &running), before, "{fault:?}: a task was started again");
        for (arn, name) in &campaign.names {
            let ran = campaign.runs.of(name, "main");
            assert!(ran == 1 || (ran == 0 && !all.contains(arn)), "{fault:?}: {name} ran {ran} times");
        }
        assert_no_leaks(lab, &all);
        println!("{fault:?} after {delay:?}: {} came through, settled after {:.1?}", live.len(), began.elapsed());
        running.extend(live);
    }
    let lab = &campaign.lab;
    running.iter().for_each(|arn| _ = lab.ecs("stop_task", json!({"task": arn})).unwrap());
    for ended in wait_tasks(lab, &running, "STOPPED", 2 * DEADLINE) {
        assert_eq!((&ended["stopCode"], &container(&ended, "main")["exitCode"]), (&json!("UserInitiated"), &json!(0)));
        told.push(ended);
    }
    assert_nothing_left_but_ghosts(lab, STARTS_IN_FLIGHT);
    runs::assert_ends_told_once(lab, &told);
}
