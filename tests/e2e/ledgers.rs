//! What becomes of the agent's ledger while the agent is away: cut, a bit turned, replaced by an older copy, or not
//! writable, with containers that ended meanwhile. Every task runs once, and everything is said once.
//!
//! Once each in the ordinary run, `LONGSHORE_SOAK_LEDGERS` times in `make soak`. The seed is printed; `LONGSHORE_SEED`
//! repeats it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use longshore_tests::lab::{Agent, Lab, Node, host, wait_until};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::awsvpc::network;
use super::campaign::number;
use super::endurance::births;
use super::runs::{self, Runs, assert_ends_told_once, ends, noting};
use super::support::*;

/// What befalls the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Cut,
    Turned,
    Older,
    ReadOnly,
}

struct Campaign {
    lab: Lab,
    runs: Runs,
    definition: String,
    started: u32,
}

impl Campaign {
    fn node(&self) -> &Node {
        self.lab.node(0)
    }

    fn ledger(&self) -> PathBuf {
        self.node().host.dir().join("agent/ledger.redb")
    }

    /// Starts a task and gives its ARN and the name under which it notes its runs.
    fn start(&mut self) -> (String, String) {
        let definition = self.definition.clone();
        self.start_of(&definition, json!({}))
    }

    fn start_of(&mut self, definition: &str, more: Value) -> (String, String) {
        self.started += 1;
        let name = format!("task-{}", self.started);
        let arn = runs::start(&self.lab, definition, &["main"], &name, more).unwrap();
        (arn.expect("a place"), name)
    }

    fn end(&self, arn: &str) {
        let (node, name) = (self.node(), format!("ls-{}-main", id(arn)));
        node.host.run("docker", &["-H", &node.docker(), "exec", &name, "touch", "/tmp/end"]).unwrap();
        wait_until("the container's end", DEADLINE, || Ok(node.engine.inspect(&name)?["State"]["Running"] == false))
            .unwrap();
    }

    /// The ledger of an agent that is about to start a task for the first time, which the one after it does.
    fn copy_before_a_start(&mut self) -> (Vec<u8>, String, String) {
        let node = self.lab.node(0);
        node.agent.kill().unwrap();
        let program = host::program("longshore-agent").unwrap();
        let crash = [("LONGSHORE_TEST_CRASH", "before-start")];
        node.agent.launch_as(&node.host, &node.docker(), &program, &crash).unwrap();
        self.lab.wait_connected(1, DEADLINE).unwrap();
        let (arn, name) = self.start();
        let node = self.lab.node(0);
        assert_eq!(node.agent.wait_exit(DEADLINE).unwrap(), None, "{}", node.host.log_tail("agent"));
        let copy = fs::read(self.ledger()).unwrap();
        node.launch_agent().unwrap();
        running(&self.lab, &arn);
        (copy, arn, name)
    }

    fn set_read_only(&self, read_only: bool) {
        let data = self.node().host.dir().join("agent");
        let data = data.to_str().unwrap();
        let mount = |args: &[&str]| _ = self.node().host.run("mount", args).unwrap();
        if read_only {
            mount(&["--bind", data, data]);
            mount(&["-o", "remount,bind,ro", data]);
        } else {
            self.node().host.run("umount", &[data]).unwrap();
        }
    }

    /// Does it, and starts the agent.
    fn harm(&self, harm: Harm, copy: &[u8], random: &mut StdRng) {
        let (node, path) = (self.node(), self.ledger());
        let mut bytes = fs::read(&path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        match harm {
            Harm::Cut => {
                bytes.truncate(random.random_range(0..used));
                println!("cut at {}", bytes.len());
                fs::write(path, bytes).unwrap();
            }
            Harm::Turned => {
                let at = random.random_range(0..used);
                bytes[at] ^= 1 << random.random_range(0..8);
                println!("a bit turned at {at}");
                fs::write(path, bytes).unwrap();
            }
            Harm::Older => fs::write(path, copy).unwrap(),
            Harm::ReadOnly => {
                self.set_read_only(true);
                // It may be gone before it was seen, which is an error here; the log tells.
                if node.launch_agent().is_ok() {
                    assert_eq!(node.agent.wait_exit(DEADLINE).unwrap(), Some(1), "{}", node.host.log_tail("agent"));
                }
                let said = node.host.log_tail("agent");
                let wanted = "the agent cannot begin without its ledger: could not open ";
                assert!(said.contains(wanted) && said.contains("Read-only file system"), "{said}");
                self.set_read_only(false);
            }
        }
        node.launch_agent().unwrap();
    }
}

/// A file that nobody can write, root included, as long as this is there.
struct Immutable(PathBuf);

impl Immutable {
    fn new(path: PathBuf) -> Self {
        Self::set(&path, "+i");
        Self(path)
    }

    fn set(path: &Path, how: &str) {
        let done = std::process::Command::new("chattr").arg(how).arg(path).status().unwrap();
        assert!(done.success(), "chattr {how} {}", path.display());
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        Self::set(&self.0, "-i");
    }
}

fn generation(node: &Node) -> u64 {
    Agent::status(&node.host).unwrap()["generation"].as_u64().unwrap()
}

#[test]
fn whatever_becomes_of_the_ledger_every_task_runs_once_and_is_told_of_once() {
    let rounds = number("LONGSHORE_SOAK_LEDGERS").unwrap_or(1);
    let seed = number("LONGSHORE_SEED").unwrap_or_else(rand::random);
    println!("seed {seed}, {rounds} rounds; LONGSHORE_SEED={seed} repeats it");
    let mut random = StdRng::seed_from_u64(seed);
    let lab = lab(1);
    let runs = Runs::new(&lab);
    runs::watch(&lab);
    let mut main = noting("main", &format!("{{ {} ; }} & trap 'exit 0' TERM; wait $!", ends(6000, 9)));
    merge(&mut main, json!({"portMappings": [{"containerPort": 80}]}));
    let more = json!({"memory": "24", "volumes": [runs.volume()]});
    let definition = register(&lab, "ledgers", json!([main]), more.clone());
    let mut on_network = json!({"networkMode": "awsvpc"});
    merge(&mut on_network, more);
    main.as_object_mut().unwrap().remove("portMappings");
    let wired = register(&lab, "ledgers-wired", json!([main]), on_network);
    let wired_args = network(&lab, &[]);
    let mut campaign = Campaign { lab, runs, definition, started: 0 };
    // The last one has an interface.
    let mut kept: Vec<(String, String)> = (0..2).map(|_| campaign.start()).collect();
    kept.push(campaign.start_of(&wired, wired_args));
    kept.iter().for_each(|(arn, _)| _ = running(&campaign.lab, arn));
    for _ in 0..rounds {
        for harm in [Harm::Older, Harm::Turned, Harm::Cut, Harm::ReadOnly] {
            let (copy, old, old_name) = campaign.copy_before_a_start();
            // What the copy knows ends, and what it does not know begins.
            campaign.end(&old);
            let told = stopped(&campaign.lab, &old);
            let (now, now_name) = campaign.start();
            let (ending, ending_name) = campaign.start();
            let (lab, node) = (&campaign.lab, campaign.node());
            running(lab, &now);
            running(lab, &ending);
            let live: Vec<String> = kept.iter().map(|(arn, _)| arn).chain([&now]).cloned().collect();
            assert_no_leaks(lab, &[live.clone(), vec![ending.clone()]].concat());
            let before = (births(lab, &live), generation(node));
            node.agent.kill().unwrap();
            campaign.end(&ending);
            campaign.harm(harm, &copy, &mut random);
            let ended = stopped(lab, &ending);
            assert_eq!(container(&ended, "main")["exitCode"], 9, "{harm:?}: {ended:#}");
            assert_exactly(lab, &live);
            wait_until("an agent that is as far as it was", DEADLINE, || {
                let at = generation(node);
                ensure!(at >= before.1, "generation {at} after {}", before.1);
                Ok(true)
            })
            .unwrap();
            assert_no_leaks(lab, &live);
            assert_eq!(births(lab, &live), before.0, "{harm:?}: a task was started again");
            for name in kept.iter().map(|(_, name)| name).chain([&old_name, &now_name, &ending_name]) {
                assert_eq!(campaign.runs.of(name, "main"), 1, "{harm:?}: runs of {name}");
            }
            lab.ecs("stop_task", json!({"task": now})).unwrap();
            assert_ends_told_once(lab, &[told, ended, stopped(lab, &now)]);
        }
    }
    let kept: Vec<String> = kept.into_iter().map(|(arn, _)| arn).collect();
    assert_no_leaks(&campaign.lab, &kept);
    unwritable_while_it_runs(&mut campaign, &kept);
}

/// A ledger that cannot be written holds starts, and the return of what tasks had: an end is told all the same, also of
/// a task that still has its interface.
fn unwritable_while_it_runs(campaign: &mut Campaign, kept: &[String]) {
    let immutable = Immutable::new(campaign.ledger());
    let (held, name) = campaign.start();
    let lab = &campaign.lab;
    let wired = &kept[2];
    campaign.end(wired);
    let ended = stopped(lab, wired);
    assert_eq!(container(&ended, "main")["exitCode"], 9, "{ended:#}");
    wait_until("the trouble to be seen", DEADLINE, || {
        let status = Agent::status(&campaign.node().host)?;
        ensure!(status.to_string().contains("could not write the ledger"), "{status:#}");
        Ok(true)
    })
    .unwrap();
    assert_eq!(campaign.runs.of(&name, "main"), 0, "it was started without a durable intent");
    drop(immutable);
    let now: Value = running(lab, &held);
    let live = [kept[0].clone(), kept[1].clone(), held];
    assert_exactly(lab, &live);
    assert_eq!(campaign.runs.of(&name, "main"), 1, "{now:#}");
    live.iter().for_each(|arn| _ = lab.ecs("stop_task", json!({"task": arn})).unwrap());
    let mut told = wait_tasks(lab, &live, "STOPPED", DEADLINE);
    assert_nothing_left(lab);
    told.push(ended);
    assert_ends_told_once(lab, &told);
}
