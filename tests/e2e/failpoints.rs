//! The agent dies before and after every write of something that outlives it and every side effect: at each place by
//! name, and at random passings of any. At each place where it writes to its disk, that is full for a while instead,
//! too.
//!
//! The places are those that the agent lists, so one that is new is tried by itself, and one that the workload does not
//! reach is a failure. A few at random in the ordinary run; all, and `LONGSHORE_SOAK_POINTS` random passings, in
//! `make soak`. The seed is printed; `LONGSHORE_SEED` repeats it, and `LONGSHORE_TEST_POINTS` (names with commas)
//! tries these alone.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use longshore_tests::lab::product::REGION;
use longshore_tests::lab::{Agent, Lab, Node, host, wait_for, wait_until};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::awsvpc::{ec2, network};
use super::campaign::number;
use super::command::longshore_command;
use super::netcrash::everything;
use super::runs::{self, RUNS_ON, Runs, assert_told_once, noting};
use super::support::*;

/// Places and random passings of the ordinary run.
const FEW: (usize, u64) = (6, 2);

/// Places that only a host which joins passes.
const JOINING: [&str; 4] = ["joining-key", "joining-key-removed", "identity-file", "metadata-key"];

/// Places that only a host passes whose ledger is unusable.
const DAMAGED: [&str; 2] = ["ledger-begin", "ledger-set-aside"];

/// The place that only a host passes whose ledger is that of a former container instance.
const FORMER: &str = "network-left";

/// The place that only a host passes whose sandboxes ended with it: see `reboot.rs`, where the agent dies at it.
pub(super) const REBOOTED: &str = "sandbox-started-again";

/// Those that only a host passes which has a task that must not run twice: see `fencing.rs`.
pub(super) const NOTED: [&str; 3] = ["before-contact-file", "full-contact-file", "after-contact-file"];

/// Those that only a host passes which has no other space left for its ledger: see `fulldisk.rs`.
pub(super) const RELEASED: [&str; 2] = ["before-ledger-reserve-released", "after-ledger-reserve-released"];

/// Places of which the agent ends by itself when there is no space for them: without them it can do nothing. Whoever
/// started it starts it again.
const NEEDED: [&str; 5] = ["joining-key", "identity-file", "metadata-key", "ledger-begin", "ledger-set-aside"];

/// Tasks after whose ends is asked at once.
const TOLD: usize = 75;

/// What is executed in a container, in its listing.
const EXECUTED: &str = "sleep 4321";

fn docker(node: &Node, args: &[&str]) -> Result<String> {
    let address = node.docker();
    node.host.run("docker", &[&["-H", &address], args].concat())
}

/// The definitions of the tasks that pass every place between them.
struct Workload {
    /// On the bridge: volumes, a port, a cgroup, a pause container, output, an order and a restart.
    plain: String,
    /// With an interface.
    wired: String,
    /// Ends by itself.
    once: String,
}

impl Workload {
    fn register(lab: &Lab, runs: &Runs) -> Self {
        let mut main = noting("main", RUNS_ON);
        let mounts = json!([
            {"sourceVolume": "runs", "containerPath": "/runs"},
            {"sourceVolume": "own", "containerPath": "/own"},
            {"sourceVolume": "kept", "containerPath": "/kept"},
        ]);
        let options = json!({"awslogs-group": "/points", "awslogs-region": REGION, "awslogs-stream-prefix": "lab"});
        merge(
            &mut main,
            json!({
                "mountPoints": mounts, "portMappings": [{"containerPort": 80}],
                "dependsOn": [{"containerName": "first", "condition": "SUCCESS"}],
                "logConfiguration": {"logDriver": "awslogs", "options": options},
            }),
        );
        let mut first = noting("first", "exit 0");
        merge(&mut first, json!({"essential": false}));
        let mut again = noting("again", "[ -e /tmp/again ] && exec sleep 600; touch /tmp/again; exit 3");
        merge(
            &mut again,
            json!({
                "essential": false, "restartPolicy": {"enabled": true, "restartAttemptPeriod": 60},
                "dockerLabels": {"longshore.restart.backoff": "1-1"},
            }),
        );
        let kept = json!({"name": "kept", "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": true}});
        let more = json!({
            "cpu": "128", "memory": "64", "pidMode": "task",
            "volumes": [runs.volume(), {"name": "own"}, kept],
        });
        let plain = register(lab, "points-plain", json!([first, main, again]), more);
        let limits = json!([{"key": "longshore:bandwidth-in", "value": "100mbit"}]);
        let more = json!({"networkMode": "awsvpc", "volumes": [runs.volume()], "tags": limits});
        let wired = register(lab, "points-wired", json!([noting("main", RUNS_ON)]), more);
        let more = json!({"networkMode": "host", "volumes": [runs.volume()]});
        let once = register(lab, "points-once", json!([noting("main", "exit 7")]), more);
        Self { plain, wired, once }
    }
}

/// An agent that is to die at a place, and the one after it.
struct Watched<'a> {
    node: &'a Node,
    point: &'a str,
    /// Where its log begins.
    log: usize,
    died: bool,
}

impl<'a> Watched<'a> {
    /// Starts it in the place of one that does not run.
    fn launch(node: &'a Node, point: &'a str) -> Self {
        let log = log(node).len();
        let program = host::program("longshore-agent").unwrap();
        // One that dies at once may be gone before it was seen, which is an error here; the log tells.
        let _ = node.agent.launch_as(&node.host, &node.docker(), &program, &[("LONGSHORE_TEST_CRASH", point)]);
        Self { node, point, log, died: false }
    }

    fn said(&self) -> String {
        log(self.node)[self.log..].to_owned()
    }

    /// Starts another agent, which does not die, once it is dead.
    fn look(&mut self) {
        if self.node.agent.lives() {
            return;
        }
        let said = self.said();
        let ends = if self.is_full() {
            usize::from(self.had_no_space() && is_one(self.point, &NEEDED))
        } else {
            said.lines().filter(|line| line.contains("the agent ends here")).count()
        };
        assert!(!self.died && ends == 1, "{}: it ended by itself, or again: {said}", self.point);
        self.died = true;
        // What `lives` sees is the process; its parent waits for it.
        let _ = self.node.agent.wait_exit(DEADLINE);
        self.node.launch_agent().unwrap();
    }

    /// Whether it is not to die, and finds no space instead.
    fn is_full(&self) -> bool {
        self.point.starts_with("full-")
    }

    fn had_no_space(&self) -> bool {
        self.said().contains("LONGSHORE_TEST_CRASH: the disk is full here")
    }

    /// Waits for something, while the agent dies or not.
    fn wait<T>(&mut self, what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> T {
        let found = wait_for(what, DEADLINE, || {
            self.look();
            look()
        });
        found.unwrap_or_else(|error| panic!("{}: {error:#}", self.point))
    }

    /// How many passings it has logged.
    fn passings(&self) -> u64 {
        self.said().lines().filter(|line| line.contains("LONGSHORE_TEST_CRASH: passing")).count() as u64
    }
}

/// Whether a point is of one of these places.
fn is_one(point: &str, places: &[&str]) -> bool {
    places.iter().any(|name| point.ends_with(&format!("-{name}")))
}

fn log(node: &Node) -> String {
    node.host.log("agent")
}

/// The one host of the campaign, over all its rounds.
struct Bench {
    lab: Lab,
    runs: Runs,
    workload: Workload,
    /// What the host has without tasks.
    empty: BTreeSet<String>,
    rounds: u32,
    /// Tasks whose ends are still to be compared with what was told of them.
    told: Vec<Value>,
}

impl Bench {
    fn new() -> Self {
        // Without a pool, each task goes through every step. The disk is always fuller than it should be, so that an
        // image that nothing uses is removed, of those that the agent takes for its own.
        let lab = lab_with(1, "warm_sandboxes = 0\ndisk_clean_above = 1\ndisk_clean_until = 0");
        let runs = Runs::new(&lab);
        runs::watch(&lab);
        lab.call("logs", "create_log_group", json!({"logGroupName": "/points"})).unwrap().unwrap();
        let workload = Workload::register(&lab, &runs);
        let empty = everything(lab.node(0)).unwrap();
        Self { lab, runs, workload, empty, rounds: 0, told: Vec::new() }
    }

    fn node(&self) -> &Node {
        self.lab.node(0)
    }

    /// That each task of the rounds so far ended once, and in one way.
    fn assert_ends_told_once(&mut self) {
        runs::assert_ends_told_once(&self.lab, &std::mem::take(&mut self.told));
    }

    /// Makes what the place needs to be passed. The agent does not run.
    fn prepare(&mut self, point: &str) {
        let node = self.lab.node(0);
        let is = |names: &[&str]| is_one(point, names);
        let any = point.starts_with("any:");
        if any || is(&["leftovers"]) {
            // Of a task that nobody knows.
            let id = format!("{:032x}", rand::random::<u128>());
            let (of, named) = (format!("longshore.task={id}"), format!("ls-{id}-own"));
            docker(node, &["volume", "create", "--label", &of, "--label", "longshore.volume=own", &named]).unwrap();
        }
        if any || is(&["pause-image"]) {
            let images = docker(node, &["image", "ls", "--quiet", "longshore/pause"]).unwrap();
            let images: BTreeSet<&str> = images.split_whitespace().collect();
            images.into_iter().for_each(|image| _ = docker(node, &["rmi", "--force", image]).unwrap());
        }
        if is(&DAMAGED) {
            std::fs::write(node.host.dir().join("agent/ledger.redb"), "this is no ledger").unwrap();
        }
        if any || is(&["image-removed"]) {
            // One that the agent pulled long ago, and that nothing uses.
            let address = node.docker();
            let import = format!("tar -c -T /dev/null | docker -H {address} import - old:1");
            let image = node.host.run("sh", &["-c", &import]).unwrap();
            let history = json!({image.trim(): {"last_used": 0, "pulled_here": true}});
            std::fs::write(node.host.dir().join("agent/images.json"), history.to_string()).unwrap();
        }
        if is(&["images-file"]) {
            let _ = std::fs::remove_file(node.host.dir().join("agent/images.json"));
        }
        if is(&JOINING) || is(&[FORMER]) {
            for instance in self.lab.instances().unwrap() {
                let args = json!({"containerInstance": instance["containerInstanceArn"], "force": true});
                self.lab.ecs("deregister_container_instance", args).unwrap();
            }
            let state = node.host.dir().join("agent");
            if is(&[FORMER]) {
                std::fs::remove_file(state.join("identity.json")).unwrap();
            } else {
                std::fs::remove_dir_all(state).unwrap();
            }
            Agent::write_token(&node.host, &self.lab.join_token(json!({})).unwrap()).unwrap();
        }
    }

    /// Runs the workload once from its beginning to its end, while the agent dies at `point`; says whether it did, and
    /// how many passings were logged.
    fn round(&mut self, point: &str) -> (bool, u64) {
        let joins = is_one(point, &JOINING) || is_one(point, &[FORMER]);
        // Before its host is another one. All that was ever told is read each time, and ends are not kept for ever.
        if joins || self.told.len() >= TOLD {
            self.assert_ends_told_once();
        }
        self.node().agent.kill().unwrap();
        self.prepare(point);
        self.rounds += 1;
        let name = |which: &str| format!("{which}-{}", self.rounds);
        let (lab, node, runs) = (&self.lab, self.node(), &self.runs);
        let mut agent = Watched::launch(node, point);
        if joins {
            agent.wait("a host that joined", || Ok((lab.instances()?.len() == 1).then_some(())));
        }
        let wired = network(lab, &[]);
        let start = |agent: &mut Watched<'_>, definition: &str, containers: &[&str], which: &str, more: Value| {
            agent.wait("a host that takes a task", || {
                runs::start(lab, definition, containers, &name(which), more.clone())
            })
        };
        let load = &self.workload;
        let once = start(&mut agent, &load.once, &["main"], "once", json!({}));
        let by_hand = json!({"enableExecuteCommand": true});
        let plain = start(&mut agent, &load.plain, &["first", "main", "again"], "plain", by_hand);
        let wired = start(&mut agent, &load.wired, &["main"], "wired", wired);
        let live = [plain.clone(), wired.clone()];
        let status = |arn: &String, wanted: &str| -> Result<Option<Value>> {
            let now = describe(lab, std::slice::from_ref(arn))?.remove(0);
            let early = wanted == "RUNNING" && now["lastStatus"] == "STOPPED";
            assert!(!early, "{point}: a task stopped instead of running: {now:#}");
            ensure!(now["lastStatus"] == wanted, "it is {now:#}");
            Ok(Some(now))
        };
        let reported = agent.wait("a task that ends by itself", || status(&once, "STOPPED"));
        let main = container(&reported, "main");
        assert_eq!((&main["exitCode"], &reported["stopCode"]), (&json!(7), &json!("EssentialContainerExited")));
        for arn in &live {
            agent.wait("a task that runs", || status(arn, "RUNNING"));
        }
        if point.starts_with("any:") || point.ends_with("-rename") {
            let container = format!("ls-{}-main", id(&wired));
            docker(node, &["rename", &container, "mine"]).unwrap();
            agent.wait("the container's own name", || {
                Ok(node.task_containers()?.iter().any(|c| c.name == container).then_some(()))
            });
        }
        agent.wait("the restart", || {
            let output = docker(node, &["top", &format!("ls-{}-again", id(&plain))])?;
            Ok(output.contains("sleep 600").then_some(()))
        });
        for (arn, container) in [(&plain, "main"), (&wired, "main")] {
            agent.wait("a container that is ready", || {
                let output = docker(node, &["logs", &format!("ls-{}-{container}", id(arn))])?;
                Ok(output.contains("ready").then_some(()))
            });
        }
        if point.starts_with("any:") || point.contains("-exec-") {
            execute(lab, &mut agent, &plain);
        }
        let named = |arn: &str, rest: &str| format!("ls-{}{rest}", id(arn));
        let mut wanted = vec![named(&wired, "-main")];
        wanted.extend(["-main", "-again", ".pause"].map(|rest| named(&plain, rest)));
        wanted.sort_unstable();
        agent.wait("exactly the desired containers", || {
            let running = node.task_containers()?.into_iter().filter(|c| c.state == "running");
            let mut running: Vec<String> = running.map(|c| c.name).collect();
            running.sort_unstable();
            ensure!(running == wanted, "{running:?} run");
            Ok(Some(()))
        });
        for arn in &live {
            lab.ecs("stop_task", json!({"task": arn})).unwrap();
        }
        let mut told = vec![reported.clone()];
        for arn in &live {
            let ended = agent.wait("a task that ended", || status(arn, "STOPPED"));
            assert_eq!(ended["stopCode"], "UserInitiated", "{point}: {ended:#}");
            assert_eq!(container(&ended, "main")["exitCode"], 0, "{point}: {ended:#}");
            told.push(ended);
        }
        agent.wait("nothing left over", || {
            let left: Vec<_> = node.task_containers()?;
            let volumes = node.engine.get("/volumes")?;
            let volumes = volumes["Volumes"].as_array().context("no volumes")?;
            let volumes: Vec<_> = volumes.iter().filter(|v| v["Name"] != "kept").collect();
            ensure!(left.is_empty() && volumes.is_empty(), "{left:?} {volumes:?}");
            let images = docker(node, &["image", "ls", "--quiet", "old"])?;
            ensure!(images.is_empty(), "the image {images} is still there");
            Ok(Some(()))
        });
        docker(node, &["volume", "rm", "kept"]).unwrap();
        let empty = (!joins).then(|| self.empty.clone());
        agent.wait("the host as it was", || {
            // Another instance has another lease.
            let Some(empty) = &empty else { return Ok(Some(())) };
            let found = everything(node)?;
            let (more, less): (Vec<_>, Vec<_>) =
                (found.difference(empty).collect(), empty.difference(&found).collect());
            ensure!(more.is_empty() && less.is_empty(), "too much: {more:#?}, missing: {less:#?}");
            Ok(Some(()))
        });
        assert_no_leaks(lab, &[]);
        agent.wait("no address of a task", || {
            let held = ec2(lab, "describe_network_interfaces", json!({}));
            ensure!(held["NetworkInterfaces"] == json!([]), "{held:#}");
            Ok(Some(()))
        });
        agent.wait("an agent that is connected", || {
            let seen = Agent::status(&node.host)?;
            let network = &seen["network"];
            ensure!(network["ok"] == true && network["applied"] == network["generation"], "{network:#}");
            ensure!(seen["tasks"].as_array().is_some_and(Vec::is_empty), "{seen:#}");
            Ok((seen["session"]["state"] == "connected").then_some(()))
        });
        for (which, container) in [("once", "main"), ("plain", "first"), ("plain", "main"), ("wired", "main")] {
            assert_eq!(runs.of(&name(which), container), 1, "{point}: runs of {which}, container {container}");
        }
        // Its policy wants it to run: a restart that was cut may be repeated.
        assert!((2..=3).contains(&runs.of(&name("plain"), "again")), "{point}: runs of again");
        assert_told_once(lab, &reported);
        let (died, passings) = (agent.died || (agent.is_full() && agent.had_no_space()), agent.passings());
        if joins {
            self.empty = everything(self.node()).unwrap();
        }
        self.told.extend(told);
        (died, passings)
    }
}

/// Executes a command in a container until its client is gone, while the agent dies or not: nothing of it is left.
fn execute(lab: &Lab, agent: &mut Watched<'_>, arn: &str) {
    let node = agent.node;
    let container = format!("ls-{}-main", id(arn));
    let runs = || Ok::<_, anyhow::Error>(docker(node, &["top", &container, "-o", "pid,args"])?.contains(EXECUTED));
    let mut client: Option<Child> = None;
    agent.wait("a command in a container", || {
        if runs()? {
            return Ok(Some(()));
        }
        let over = match client.as_mut() {
            Some(client) => client.try_wait()?.is_some(),
            None => true,
        };
        if over {
            let mut program = longshore_command(lab);
            program.args(["exec", arn, "--container", "main", "--"]).args(EXECUTED.split(' '));
            client = Some(program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        }
        Ok(None)
    });
    if let Some(mut client) = client {
        client.kill().unwrap();
        client.wait().unwrap();
    }
    agent.wait("the end of the command", || {
        ensure!(!runs()?, "it runs");
        let records = std::fs::read_dir(node.host.dir().join("agent/exec")).into_iter().flatten().count();
        ensure!(records == 0, "{records} records");
        Ok(Some(()))
    });
}

/// The names of all places, from the agent.
fn places() -> Vec<String> {
    let program: PathBuf = host::program("longshore-agent").unwrap();
    let output = std::process::Command::new(program).env("LONGSHORE_TEST_CRASH", "list").output().unwrap();
    assert!(output.status.success(), "only a debug build has places to die at");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn an_agent_that_dies_anywhere_loses_nothing_and_leaves_nothing() {
    let seed = number("LONGSHORE_SEED").unwrap_or_else(rand::random);
    let mut random = StdRng::seed_from_u64(seed);
    let mut all = places();
    let before = all.len();
    let elsewhere = [&[REBOOTED][..], &NOTED, &RELEASED].concat();
    all.retain(|place| !elsewhere.contains(&place.as_str()));
    assert_eq!(all.len(), before - elsewhere.len(), "{all:?}");
    assert!(all.len() > 80, "{all:?}");
    let chosen = std::env::var("LONGSHORE_TEST_POINTS").ok().filter(|names| !names.is_empty());
    let (names, passings): (Vec<String>, u64) = match (chosen, number("LONGSHORE_SOAK_POINTS")) {
        (Some(chosen), _) => (chosen.split(',').map(str::to_owned).collect(), 0),
        (None, Some(passings)) => (all, passings),
        (None, None) => {
            let mut some = all;
            some.shuffle(&mut random);
            some.truncate(FEW.0);
            (some, FEW.1)
        }
    };
    println!("seed {seed}, {} places and {passings} passings; LONGSHORE_SEED={seed} repeats it", names.len());
    let mut bench = Bench::new();
    let mut missed = Vec::new();
    for point in &names {
        let began = Instant::now();
        let (died, _) = bench.round(point);
        println!("{point}: {:.1?}{}", began.elapsed(), if died { "" } else { ", NOT REACHED" });
        if !died {
            missed.push(point);
        }
    }
    assert!(missed.is_empty(), "the workload does not reach {missed:?}");
    if passings == 0 {
        bench.assert_ends_told_once();
        return;
    }
    let (died, most) = bench.round("any:0");
    assert!(!died && most > 50, "{most} passings");
    println!("{most} passings in a round");
    // No two rounds pass places equally often: the last passings of one may not come in another.
    let (mut reached, mut tried) = (0, 0);
    while reached < passings {
        tried += 1;
        assert!(tried <= passings * 3 / 2 + 2, "the agent died at {reached} of {tried} passings only");
        let began = Instant::now();
        let point = format!("any:{}", random.random_range(1..=most));
        let (died, _) = bench.round(&point);
        println!("{point}: {:.1?}{}", began.elapsed(), if died { "" } else { ", not reached" });
        reached += u64::from(died);
    }
    println!("the agent died at {reached} of {tried} passings");
    // Nothing is said twice either when everything is told anew.
    wait_until("the one host", DEADLINE, || Ok(bench.lab.instances()?.len() == 1)).unwrap();
    bench.assert_ends_told_once();
}
