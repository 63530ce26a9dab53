//! Disks that fill up: Docker's, which is cleaned, and that of the agent's state, which loses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use longshore_tests::lab::{Agent, Lab, LabConfig, Node, host, image, wait_until};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::campaign::number;
use super::command::{longshore, ok};
use super::failpoints::RELEASED;
use super::fields::{idle, stop};
use super::health::wait_check;
use super::moving::wait_waits;
use super::runs::{self, Ends};
use super::support::*;

/// MiB of the disk of Docker in the test of its marks, and of each image there.
const DISK_MIB: u32 = 400;
const IMAGE_MIB: usize = 50;

/// Makes a file of so many MiB on a disk of the host, or takes it away.
fn ballast(node: &Node, directory: &str, mib: u32) {
    let path = node.host.dir().join(directory).join("ballast");
    let script = format!("rm -f {0}; [ {mib} = 0 ] || fallocate -l {mib}M {0}", path.display());
    node.host.run("sh", &["-c", &script]).unwrap();
}

/// MiB in use of Docker's disk.
fn used_mib(node: &Node) -> u32 {
    let path = node.host.dir().join("docker");
    let text = node.host.run("df", &["-m", "--output=used", path.to_str().unwrap()]).unwrap();
    text.lines().nth(1).unwrap().trim().parse().unwrap()
}

/// Fills Docker's disk up to a percentage of its size.
fn fill_to(node: &Node, percent: u32) {
    ballast(node, "docker", 0);
    let (wanted, used) = (DISK_MIB * percent / 100, used_mib(node));
    assert!(used < wanted, "{used} MiB are in use, and {wanted} are to be");
    ballast(node, "docker", wanted - used);
}

fn images(node: &Node) -> Vec<String> {
    let list = node.engine.get("/images/json").unwrap();
    list.as_array().unwrap().iter().flat_map(|image| strings(&json!([{"n": image["RepoTags"][0]}]), "n")).collect()
}

fn has(node: &Node, image: &str) -> bool {
    images(node).iter().any(|name| *name == format!("{image}:latest"))
}

fn reason(lab: &Lab) -> Value {
    lab.instances().unwrap()[0]["statusReason"].clone()
}

/// Runs a task that reaches its host only once the disk is as full as `percent` says.
fn run_onto_full(lab: &Lab, definition: &str, percent: u32) -> String {
    let node = lab.node(0);
    node.agent.freeze();
    let arn = run_one(lab, definition, json!({}));
    fill_to(node, percent);
    node.agent.thaw();
    arn
}

#[test]
fn a_disk_that_fills_up_is_cleaned_and_refuses_when_it_cannot_be() {
    let agent = "cleanup_wait = \"10m\"\nstop_timeout = \"2s\"\ndisk_clean_above = 60\ndisk_clean_until = 50\n\
                 disk_refuse_above = 80\nimage_cleanup_age = \"10s\"\nimage_cleanup_untracked = true\n";
    let agent = agent.to_owned();
    let lab = networked(LabConfig { agent, docker_mib: Some(DISK_MIB), ..LabConfig::default() });
    let node = lab.node(0);
    let import = |name: &str| {
        let scratch = node.host.dir().join("filler");
        node.engine.import(name, &image::filler(&scratch, IMAGE_MIB).unwrap(), &["CMD [\"/bin/sh\"]"]).unwrap();
    };
    for name in ["kept", "ended", "unused"] {
        import(name);
    }
    let of = |image: &str, script: &str| {
        let mut main = shell("main", script);
        merge(&mut main, json!({"image": image}));
        register(&lab, image, json!([main]), json!({}))
    };
    let kept = run_one(&lab, &of("kept", "sleep 600"), json!({}));
    running(&lab, &kept);
    let ended = run_one(&lab, &of("ended", "exit 0"), json!({}));
    stopped(&lab, &ended);
    assert!(node.task_containers().unwrap().iter().any(|c| c.name.contains(id(&ended))), "kept to be looked at");

    // Above the high mark: what was kept goes, then what nothing uses, and nothing else.
    fill_to(node, 70);
    wait_until("space", DEADLINE, || Ok(!has(node, "unused") && !has(node, "ended"))).unwrap();
    assert!(node.task_containers().unwrap().iter().all(|c| !c.name.contains(id(&ended))));
    assert!(has(node, "kept"));
    running(&lab, &kept);
    let log = node.host.log("agent");
    assert!(log.contains("removed an image that nothing uses") && log.contains("freed_mib"), "{log}");

    // A pull onto a full disk waits as long as something will be removable, and says for what, and who has the disk.
    ballast(node, "docker", 0);
    wait_until("the end of the pressure", DEADLINE, || Ok(Agent::status(&node.host)?["disk"]["cleaning"] == false))
        .unwrap();
    import("young");
    let mut elsewhere = idle("main");
    merge(&mut elsewhere, json!({"image": "127.0.0.1:5000/none:1"}));
    let elsewhere = register(&lab, "elsewhere", json!([elsewhere]), json!({}));
    let waits = run_onto_full(&lab, &elsewhere, 88);
    wait_until("a wait for space", DEADLINE, || {
        Ok(Agent::status(&node.host)?["tasks"].to_string().contains("main: disk space for its image: no space left"))
    })
    .unwrap();
    let held = "most of what Docker has there is held by ";
    let parts = ["Waiting for container `main`: disk space for its image: no space left", held, "image `kept:latest`"];
    wait_waits(&lab, &waits, &parts);
    wait_until("the same by the command", DEADLINE, || {
        let described = ok(&longshore(&lab, &["describe", id(&waits)]));
        anyhow::ensure!(parts.iter().all(|part| described.contains(part)), "{described}");
        Ok(true)
    })
    .unwrap();
    assert_eq!(task(&lab, &waits)["lastStatus"], "PENDING");
    let over = stopped(&lab, &waits);
    let why = container(&over, "main")["reason"].as_str().unwrap().to_owned();
    assert!(why.contains("connection refused"), "it was tried once there was room: {over:#}");
    assert!(!has(node, "young"));

    // Nothing is left to remove: the pull is refused at once, with the numbers, and nothing is placed here.
    ballast(node, "docker", 0);
    wait_until("the end of the shortage", DEADLINE, || Ok(reason(&lab).is_null())).unwrap();
    let refused = run_onto_full(&lab, &elsewhere, 90);
    let over = stopped(&lab, &refused);
    assert_eq!(over["stopCode"], "TaskFailedToStart");
    let why = container(&over, "main")["reason"].as_str().unwrap().to_owned();
    let holder = format!("{held}image `kept:latest` (5");
    for part in ["no space left on the disk of this host", "MiB free, and at least", &holder, "docker system df"] {
        assert!(why.contains(part), "{why}");
    }
    wait_until("the host's word", DEADLINE, || Ok(reason(&lab).to_string().contains("more than 80 % full"))).unwrap();
    let answer = lab.ecs("run_task", json!({"taskDefinition": "kept"})).unwrap();
    assert_eq!(answer["failures"][0]["reason"], "RESOURCE:DISK", "{answer}");
    assert!(answer["failures"][0]["detail"].to_string().contains("more than 80 % full"), "{answer}");
    let (ill, _) = wait_check(&lab, "DISK", "IMPAIRED");
    assert!(ill["statusReason"].to_string().contains("more than 80 % full"), "{ill}");
    running(&lab, &kept);
    ballast(node, "docker", 0);
    wait_until("the end of the shortage", DEADLINE, || Ok(reason(&lab).is_null())).unwrap();
    let again = run_one(&lab, "kept", json!({}));
    running(&lab, &again);
    stop(&lab, &again);

    // Its image is there, and Docker has no space for the container, nor anything of which it could have some: that
    // fails, and says so. What runs goes on.
    fill_to(node, 70);
    wait_until("only what runs", DEADLINE, || Ok(node.task_containers()?.len() == 1)).unwrap();
    node.agent.freeze();
    let stuck = run_one(&lab, "kept", json!({}));
    let all = node.host.dir().join("docker/ballast");
    node.host.run("sh", &["-c", &format!("dd if=/dev/zero of={} bs=4k 2>/dev/null || true", all.display())]).unwrap();
    node.agent.thaw();
    let over = stopped(&lab, &stuck);
    assert_eq!(over["stopCode"], "TaskFailedToStart", "{over:#}");
    assert!(container(&over, "main")["reason"].to_string().contains("no space left on device"), "{over:#}");
    assert_eq!(task(&lab, &kept)["lastStatus"], "RUNNING");
    ballast(node, "docker", 0);
    wait_until("the end of the shortage", DEADLINE, || Ok(reason(&lab).is_null())).unwrap();
    let again = run_one(&lab, "kept", json!({}));
    running(&lab, &again);
    assert_exactly(&lab, &[again.clone(), kept.clone()]);
    stop(&lab, &again);
    stop(&lab, &kept);
    // What is kept of them is kept for longer than this test, but for the disk's need.
    fill_to(node, 70);
    assert_nothing_left(&lab);
}

#[test]
fn of_what_is_kept_no_more_goes_than_the_disk_needs() {
    let agent = "cleanup_wait = \"10m\"\ndisk_clean_above = 60\ndisk_clean_until = 50\ndisk_refuse_above = 90\n";
    let agent = agent.to_owned();
    let lab = networked(LabConfig { agent, docker_mib: Some(DISK_MIB), ..LabConfig::default() });
    let node = lab.node(0);
    let left = |name: &str, mib: u32| {
        let mut main = shell("main", &format!("[ {mib} = 0 ] || fallocate -l {mib}M /file"));
        // Of a disk in memory, what is written counts as the container's.
        merge(&mut main, json!({"memory": 128}));
        let arn = run_one(&lab, &register(&lab, name, json!([main]), json!({})), json!({}));
        assert_eq!(container(&stopped(&lab, &arn), "main")["exitCode"], 0);
        arn
    };
    // The largest is neither the first nor the last.
    let kept = [left("small", 4), left("large", 80), left("none", 0)];
    let is_kept =
        |arn: &String| Ok::<_, anyhow::Error>(node.task_containers()?.iter().any(|c| c.name.contains(id(arn))));
    for arn in &kept {
        assert!(is_kept(arn).unwrap(), "{arn} is kept to be looked at");
    }
    fill_to(node, 65);
    wait_until("space", DEADLINE, || Ok(!is_kept(&kept[1])?)).unwrap();
    wait_until("the low mark", DEADLINE, || Ok(Agent::status(&node.host)?["disk"]["cleaning"] == false)).unwrap();
    assert!(is_kept(&kept[0]).unwrap() && is_kept(&kept[2]).unwrap(), "what was enough was removed, and no more");
    // It takes all that there is where that is not enough.
    fill_to(node, 75);
    wait_until("the rest", DEADLINE, || Ok(!is_kept(&kept[0])? && !is_kept(&kept[2])?)).unwrap();
    ballast(node, "docker", 0);
    wait_until("space", DEADLINE, || Ok(Agent::status(&node.host)?["disk"]["cleaning"] == false)).unwrap();
    assert_no_leaks(&lab, &[]);
}

fn resource(instance: &Value, which: &str) -> i64 {
    let list = instance[which].as_array().unwrap();
    list.iter().find(|r| r["name"] == "DISK").unwrap()["integerValue"].as_i64().unwrap()
}

#[test]
fn a_task_that_writes_more_than_its_ephemeral_storage_is_stopped() {
    let lab = lab(1);
    let before = lab.instances().unwrap().remove(0);
    let writes = |name: &str, script: &str| {
        let mut container = shell(name, &format!("trap 'exit 0' TERM; {script}; while true; do sleep 0.2; done"));
        merge(&mut container, json!({"mountPoints": [{"sourceVolume": "own", "containerPath": "/own"}]}));
        container
    };
    let more = json!({"ephemeralStorage": {"sizeInGiB": 1}, "volumes": [{"name": "own"}]});
    let define = |family: &str, containers: Value| register(&lab, family, containers, more.clone());
    let modest = define("modest", json!([writes("main", "fallocate -l 400M /file")]));
    let greedy = define("greedy", json!([writes("main", "fallocate -l 1200M /file")]));
    let both = define(
        "both",
        json!([writes("main", "fallocate -l 700M /own/file"), writes("side", "fallocate -l 700M /file")]),
    );
    let modest = run_one(&lab, &modest, json!({}));
    assert_eq!(running(&lab, &modest)["ephemeralStorage"], json!({"sizeInGiB": 1}));
    for arn in [run_one(&lab, &greedy, json!({})), run_one(&lab, &both, json!({}))] {
        let ended = stopped(&lab, &arn);
        let why = ended["stoppedReason"].as_str().unwrap();
        assert!(why.starts_with("EphemeralStorageExceededError: the task's containers have written 1"), "{why}");
        assert!(why.ends_with("its ephemeralStorage is 1024 MiB"), "{why}");
        assert_eq!(ended["stopCode"], "EssentialContainerExited");
    }
    assert_eq!(task(&lab, &modest)["lastStatus"], "RUNNING");

    // What is reserved is promised, and more than there is finds no place.
    wait_until("the reserved space", DEADLINE, || {
        let now = lab.instances()?.remove(0);
        assert_eq!(resource(&now, "registeredResources"), resource(&before, "registeredResources"));
        Ok(resource(&now, "remainingResources") <= resource(&now, "registeredResources") - 1024)
    })
    .unwrap();
    let huge = json!({"taskDefinition": "modest", "overrides": {"ephemeralStorage": {"sizeInGiB": 65_536}}});
    let answer = lab.ecs("run_task", huge).unwrap();
    assert_eq!(answer["failures"][0]["reason"], "RESOURCE:DISK", "{answer}");
    assert!(answer["failures"][0]["detail"].to_string().contains("needs 67108864 MiB of disk, has"), "{answer}");
    stop(&lab, &modest);
    assert_no_leaks(&lab, &[]);
}

/// Tasks that are there at any time, beside those that last.
const CHURN: usize = 6;

/// Tasks that come at once when the ledger is to have no space for them.
const HEAVY: usize = 20;

/// As long as a ledger that is given too much may take to be written in vain.
const CALM: Duration = Duration::from_secs(3);

/// A container that notes each of its runs in a file of the host and ends with the code 3 after a while. Its definition
/// takes so many bytes.
fn noted(bytes: usize) -> Value {
    let script = "echo run >>/runs/$TASK; trap 'exit 0' TERM; n=0; while [ $n -lt $LIFE ]; do sleep 0.1; n=$((n+1)); \
                  done; exit 3";
    let mut main = shell("main", script);
    // Its definition takes space in the ledger.
    let environment = json!([{"name": "LONG", "value": "x".repeat(bytes)}]);
    merge(
        &mut main,
        json!({"mountPoints": [{"sourceVolume": "runs", "containerPath": "/runs"}], "environment": environment}),
    );
    main
}

/// Tasks that come and go.
struct Churn<'a> {
    lab: &'a Lab,
    definition: String,
    names: BTreeMap<String, String>,
    /// Those that somebody asked to stop.
    asked: BTreeSet<String>,
    live: Vec<String>,
    random: StdRng,
}

impl Churn<'_> {
    /// Starts what is missing, and stops one now and then. A host that takes nothing is given nothing.
    fn turn(&mut self) {
        let tasks = if self.live.is_empty() { Vec::new() } else { describe(self.lab, &self.live).unwrap() };
        let over =
            |arn: &String| tasks.iter().any(|task| task["taskArn"] == arn.as_str() && task["lastStatus"] == "STOPPED");
        self.live.retain(|arn| !over(arn));
        while self.live.len() < CHURN {
            let definition = self.definition.clone();
            if !self.start(&definition) {
                break;
            }
        }
        if self.random.random_bool(0.2)
            && let Some(arn) = self.live.get(self.random.random_range(0..CHURN))
        {
            self.lab.ecs("stop_task", json!({"task": arn})).unwrap();
            self.asked.insert(arn.clone());
        }
    }

    /// Starts a task; says whether a host takes it.
    fn start(&mut self, definition: &str) -> bool {
        let name = format!("task-{}", self.names.len());
        let life = self.random.random_range(1..30).to_string();
        let environment = json!([{"name": "TASK", "value": name}, {"name": "LIFE", "value": life}]);
        let overrides = json!({"containerOverrides": [{"name": "main", "environment": environment}]});
        let args = json!({"taskDefinition": definition, "overrides": overrides});
        let answer = self.lab.ecs("run_task", args).unwrap();
        let Some(arn) = answer["tasks"][0]["taskArn"].as_str().map(str::to_owned) else { return false };
        self.names.insert(arn.clone(), name);
        self.live.push(arn);
        true
    }

    /// Gives a host more tasks than its ledger has space for, on a disk that is full with what it has in reserve or, for
    /// `bare`, before there is any. Says how many it takes.
    fn overwhelm(&mut self, node: &Node, heavy: &str, bare: bool) -> usize {
        node.agent.freeze();
        let taken = (0..HEAVY).filter(|_| self.start(heavy)).count();
        if bare {
            let reserve = node.host.dir().join("agent/ledger.reserve");
            node.host.run("rm", &["-f", reserve.to_str().unwrap()]).unwrap();
        }
        fill_state(node, 0);
        node.agent.thaw();
        taken
    }

    fn during(&mut self, lasts: Duration) {
        let begin = Instant::now();
        while begin.elapsed() < lasts {
            self.turn();
        }
    }
}

/// Writes to the disk of the agent's state until there is no space left, but for so many KiB.
fn fill_state(node: &Node, spare_kib: u32) {
    let dir = node.host.dir().join("agent");
    let script = format!(
        "cd {}; dd if=/dev/zero of=spare bs=1k count={spare_kib} 2>/dev/null; \
         dd if=/dev/zero bs=4k >>ballast 2>/dev/null; rm -f spare",
        dir.display()
    );
    node.host.run("sh", &["-c", &script]).unwrap();
}

fn in_state(node: &Node) -> String {
    let dir = node.host.dir().join("agent");
    node.host.run("ls", &[dir.to_str().unwrap()]).unwrap()
}

/// The disk of the agent's state is full at any moment: what runs goes on, each task runs at most once and says how it
/// ended, and once there is space everything converges.
#[test]
fn a_full_disk_never_costs_the_ledger() {
    let rounds = number("LONGSHORE_SOAK_ROUNDS").unwrap_or(3);
    assert!(rounds > RELEASED.len() as u64, "each place where it dies has a round");
    let seed = number("LONGSHORE_SEED").unwrap_or_else(rand::random);
    println!("seed {seed}, {rounds} rounds; LONGSHORE_SEED={seed} repeats it");
    let agent = "cleanup_wait = \"1s\"\nstop_timeout = \"2s\"\n".to_owned();
    // Long enough for an agent to be held while it is given many tasks.
    let control = "lease_millis = 40000".to_owned();
    let lab = networked(LabConfig { agent, control, agent_mib: Some(16), ..LabConfig::default() });
    runs::watch(&lab);
    let node = lab.node(0);
    let runs = lab.dir().join("runs");
    fs::create_dir(&runs).unwrap();
    let volumes =
        json!({"volumes": [{"name": "runs", "host": {"sourcePath": runs.to_str().unwrap()}}], "memory": "24"});
    let definition = register(&lab, "churn", json!([noted(30_000)]), volumes.clone());
    let heavy = register(&lab, "heavy", json!([noted(60_000)]), volumes);
    let lasting = register(&lab, "lasting", json!([sleeper()]), json!({}));
    let lasting = run(&lab, &lasting, 3, json!({}));
    wait_tasks(&lab, &lasting, "RUNNING", DEADLINE);
    let ids = |node: &Node| -> BTreeMap<String, String> {
        let all = node.task_containers().unwrap().into_iter().filter(|c| c.state == "running");
        all.filter(|c| lasting.iter().any(|arn| c.name.contains(id(arn)))).map(|c| (c.name, c.id)).collect()
    };
    let before = ids(node);
    assert_eq!(before.len(), lasting.len());

    let random = StdRng::seed_from_u64(seed);
    let (names, asked, live) = Default::default();
    let mut churn = Churn { lab: &lab, definition, names, asked, live, random };
    let (mut unwritten, mut said) = (0, 0);
    let program = host::program("longshore-agent").unwrap();
    for round in 0..rounds {
        let calm = Duration::from_millis(churn.random.random_range(0..1500));
        churn.during(calm);
        let lasts = Duration::from_millis(churn.random.random_range(2000..6000));
        let dies = churn.random.random_bool(0.5);
        // In two rounds the agent dies as it gives the ledger what was kept for it.
        let mut point = usize::try_from(round).ok().and_then(|round| RELEASED.get(round.checked_sub(1)?));
        let log = node.host.log("agent").len();
        if let Some(point) = point {
            node.agent.kill().unwrap();
            node.agent.launch_as(&node.host, &node.docker(), &program, &[("LONGSHORE_TEST_CRASH", point)]).unwrap();
            wait_until("an agent that is to die", DEADLINE, || Ok(Agent::status(&node.host)?["ledger"]["ok"] == true))
                .unwrap();
        }
        let begin = Instant::now();
        let (mut failed, mut told) = (false, false);
        if round == 0 || point.is_some() {
            assert_eq!(churn.overwhelm(node, &heavy, round == 0), HEAVY);
        }
        let mut more = begin + CALM;
        // The first one at least until there is no space for the ledger.
        while begin.elapsed() < lasts
            || (point.is_some() || (round == 0 && !(told && failed))) && begin.elapsed() < DEADLINE
        {
            // Again and again: what the agent gives back and takes is gone at once.
            let spare = churn.random.random_range(0..64);
            fill_state(node, spare);
            churn.turn();
            // The ledger may have room within, where tasks were that are over.
            if point.is_some() && node.agent.lives() && Instant::now() >= more {
                churn.overwhelm(node, &heavy, false);
                more = Instant::now() + CALM;
            }
            if point.is_some() && !node.agent.lives() {
                let said = node.host.log("agent")[log..].to_owned();
                let step = format!("the agent ends here step=\"{}\"", point.copied().unwrap_or_default());
                assert!(said.contains(&step), "{step}: {said}");
                point = None;
                let _ = node.agent.wait_exit(DEADLINE);
                node.launch_agent().unwrap();
            }
            if let Ok(status) = Agent::status(&node.host) {
                failed |= status["ledger"]["ok"] == false;
                told |= status["disk"]["short"].is_string();
            }
        }
        assert_eq!(point, None, "it did not die there");
        if dies {
            node.agent.kill().unwrap();
            node.launch_agent().unwrap();
            churn.during(Duration::from_millis(500));
        }
        println!("round {round}: the ledger could not be written: {failed}, said: {told}, killed: {dies}");
        unwritten += u32::from(failed);
        said += u32::from(told);
        assert_eq!(ids(node), before, "what runs goes on");
        node.host.run("rm", &["-f", node.host.dir().join("agent/ballast").to_str().unwrap()]).unwrap();
        if !node.agent.lives() {
            // As systemd would.
            println!("it had ended: {}", node.host.log_tail("agent").lines().last().unwrap_or_default());
            node.launch_agent().unwrap();
        }
        wait_until("a ledger that can be written again", DEADLINE, || {
            let status = Agent::status(&node.host)?;
            Ok(status["ledger"]["ok"] == true && status["disk"]["short"].is_null() && !status["disk"].is_null())
        })
        .unwrap();
        wait_until("the host's recovery", DEADLINE, || Ok(reason(&lab).is_null())).unwrap();
        assert!(in_state(node).contains("ledger.reserve"), "it is made again: {}", in_state(node));
    }
    println!("in {unwritten} of {rounds} rounds the ledger could not be written");
    assert!(said > 0, "no round was short of space");
    assert!(unwritten > 0, "the ledger could be written all the time");
    let one_more = churn.live.len();
    churn.turn();
    println!("{one_more} tasks were left, {} are there", churn.live.len());

    let all: Vec<String> = churn.names.keys().cloned().collect();
    let Churn { names, asked, .. } = churn;
    let told = wait_tasks(&lab, &all, "STOPPED", 2 * DEADLINE);
    let mut ends = Ends::default();
    for ended in &told {
        let arn = ended["taskArn"].as_str().unwrap();
        let name = &names[arn];
        let ran = fs::read_to_string(runs.join(name)).unwrap_or_default().lines().count();
        assert!(ran <= 1, "{name} ran {ran} times: {ended:#}");
        // Nobody kills it but where its user asked for its stop, and then the end is the user's.
        ends.count(ended, ran, &[3]);
        match ended["stopCode"].as_str() {
            Some("EssentialContainerExited") => {}
            Some("UserInitiated") => {
                assert!(asked.contains(arn), "nobody stopped {name}: {ended:#}");
                // It may have ended by itself just before.
                let code = container(ended, "main")["exitCode"].as_i64();
                assert!(ran == 0 || [Some(0), Some(3), Some(137)].contains(&code), "{name}: {ended:#}");
            }
            _ => panic!("{name}: {ended:#}"),
        }
    }
    // The agent asks Docker again whatever it could not save.
    ends.assert_all_known();
    println!("{} tasks came and went", all.len());
    assert!(!in_state(node).contains("damaged"), "the ledger was set aside: {}", in_state(node));
    assert_eq!(ids(node), before);
    assert_exactly(&lab, &lasting);
    for arn in &lasting {
        stop(&lab, arn);
    }
    assert_nothing_left(&lab);
    runs::assert_ends_told_once(&lab, &told);
}
