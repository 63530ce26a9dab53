//! How often containers ran: each notes its runs in a file of the host, which says so whatever anybody else believes.
//! And how often their ends were told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use longshore_tests::lab::product::{ACCOUNT, REGION};
use longshore_tests::lab::{Agent, Lab, Node, wait_for, wait_until};
use serde_json::{Value, json};

use super::logs::{GROUP, lines, logs};
use super::support::*;

/// The directory of the notes.
pub(crate) struct Runs(PathBuf);

impl Runs {
    pub(crate) fn new(lab: &Lab) -> Self {
        let directory = lab.dir().join("runs");
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    /// The volume that containers made by [`noting`] mount.
    pub(crate) fn volume(&self) -> Value {
        json!({"name": "runs", "host": {"sourcePath": self.0.to_str().unwrap()}})
    }

    /// How often a container of a task that [`start`] was given this name for began to run.
    pub(crate) fn of(&self, task: &str, container: &str) -> usize {
        let notes = std::fs::read_to_string(self.0.join(format!("{task}.{container}"))).unwrap_or_default();
        notes.lines().count()
    }

    /// Lets go on whoever [`awaits`] this.
    pub(crate) fn release(&self, what: &str) {
        std::fs::write(self.0.join(format!("{what}.released")), "").unwrap();
    }
}

/// A container that notes that it runs, and then runs a shell script.
pub(crate) fn noting(name: &str, script: &str) -> Value {
    let mut container = shell(name, &format!("echo run >>/runs/$RUN.{name}; {script}"));
    merge(&mut container, json!({"mountPoints": [{"sourceVolume": "runs", "containerPath": "/runs"}]}));
    container
}

/// Runs until it is told to end, and says `ready` once it can be told.
pub(crate) const RUNS_ON: &str = "trap 'exit 0' TERM; echo ready; while true; do sleep 0.1; done";

/// Runs until the file `/tmp/end` is there, or for `secs`, and ends with `code`.
pub(crate) fn ends(secs: u32, code: u8) -> String {
    let tenths = secs * 10;
    format!("n=0; until [ -e /tmp/end ] || [ $n -ge {tenths} ]; do sleep 0.1; n=$((n+1)); done; exit {code}")
}

/// A part of the script of a container made by [`noting`]: waits until [`Runs::release`] is called for `what`.
pub(crate) fn awaits(what: &str) -> String {
    format!("until [ -e /runs/{what}.released ]; do sleep 0.1; done")
}

/// Starts a task whose containers note their runs under `name`; none when no host takes it at the moment.
pub(crate) fn start(
    lab: &Lab,
    definition: &str,
    containers: &[&str],
    name: &str,
    more: Value,
) -> Result<Option<String>> {
    let of = |container: &&str| json!({"name": container, "environment": [{"name": "RUN", "value": name}]});
    let overrides: Vec<Value> = containers.iter().map(of).collect();
    let mut args = json!({"taskDefinition": definition, "overrides": {"containerOverrides": overrides}});
    merge(&mut args, more);
    let answer = lab.ecs("run_task", args)?;
    Ok(answer["tasks"][0]["taskArn"].as_str().map(str::to_owned))
}

/// How the ends of the containers of many tasks are told, while something breaks between them and whoever is told.
#[derive(Default)]
pub(crate) struct Ends {
    known: usize,
    unknown: usize,
}

impl Ends {
    /// Of one task that is over, whose container `main` began so often: it is told of with one of `codes`, or with a
    /// reason why there is none.
    #[track_caller]
    pub(crate) fn count(&mut self, task: &Value, began: usize, codes: &[i64]) {
        let main = container(task, "main");
        let code = main["exitCode"].as_i64();
        match task["stopCode"].as_str() {
            Some("EssentialContainerExited") => {
                assert_eq!(began, 1, "it ended without a run: {task:#}");
                match code {
                    Some(code) => assert!(codes.contains(&code), "{code}: {task:#}"),
                    None => assert!(main["reason"].is_string(), "neither a code nor a reason: {task:#}"),
                }
                *if code.is_some() { &mut self.known } else { &mut self.unknown } += 1;
            }
            Some("UserInitiated") if began == 1 => {
                assert!(code.is_some() || main["reason"].is_string(), "neither a code nor a reason: {task:#}");
            }
            _ => {}
        }
    }

    /// That all of those that ended by themselves are told with their code.
    #[track_caller]
    pub(crate) fn assert_all_known(&self) {
        self.assert_known();
        assert_eq!(self.unknown, 0, "ends are unknown, and {} have a code", self.known);
    }

    /// That nearly all of those that ended by themselves are told with their code.
    #[track_caller]
    pub(crate) fn assert_known(&self) {
        let Self { known, unknown } = self;
        println!("{known} tasks ended by themselves with a code, {unknown} without");
        assert!(*known > 0, "no task ended by itself");
        assert!(known * 5 >= (known + unknown) * 4, "{unknown} ends are unknown, and {known} have a code");
    }
}

/// Asserts that nothing was told of a task since it was described so: its version would have risen. No agent knows of
/// it by then, so nothing more will be told of it either.
#[track_caller]
pub(crate) fn assert_told_once(lab: &Lab, task: &Value) {
    let arn = task["taskArn"].as_str().unwrap();
    for node in lab.nodes() {
        wait_until("an agent that has forgotten the task", DEADLINE, || {
            ensure!(node.agent.lives(), "the agent of {} does not live", node.host.dir().display());
            let status = Agent::status(&node.host)?;
            let known = status["tasks"].as_array().context("no tasks")?.iter().find(|known| known["id"] == id(arn));
            ensure!(known.is_none(), "it knows {known:?}");
            Ok(true)
        })
        .unwrap();
    }
    let of_the_task = |task: &Value| {
        let mut task = task.clone();
        // Those are the host's.
        for name in ["connectivity", "connectivityAt"] {
            task.as_object_mut().unwrap().remove(name);
        }
        task
    };
    let now = super::support::task(lab, arn);
    assert_eq!(of_the_task(&now), of_the_task(task), "it was told again");
}

/// Has every event of every task kept from now on, for [`assert_ends_told_once`]: with them everything that agents told
/// and that changed anything.
pub(crate) fn watch(lab: &Lab) {
    let events =
        |op: &str, args: Value| lab.call("events", op, args).unwrap().unwrap_or_else(|error| panic!("{op}: {error}"));
    logs(lab, "create_log_group", json!({"logGroupName": GROUP}));
    let pattern = json!({"source": ["aws.ecs"], "detail-type": ["ECS Task State Change"]});
    events("put_rule", json!({"Name": "told", "EventPattern": pattern.to_string()}));
    let target = json!({"Id": "log", "Arn": format!("arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{GROUP}")});
    let put = events("put_targets", json!({"Rule": "told", "Targets": [target]}));
    assert_eq!(put["FailedEntryCount"], 0, "{put}");
}

/// What [`watch`] has kept: the events of each task by their versions. What was delivered twice is there once.
fn watched(lab: &Lab) -> Result<BTreeMap<String, BTreeMap<u64, Value>>> {
    let mut events: BTreeMap<String, BTreeMap<u64, Value>> = BTreeMap::new();
    for line in lines(lab, "told/log") {
        let mut event: Value = serde_json::from_str(&line).with_context(|| format!("no event: {line}"))?;
        let detail = event["detail"].take();
        let arn = detail["taskArn"].as_str().with_context(|| format!("no task: {line}"))?.to_owned();
        let version = detail["version"].as_u64().with_context(|| format!("no version: {line}"))?;
        events.entry(arn).or_default().insert(version, detail);
    }
    Ok(events)
}

/// Asserts of these tasks, which are over and which [`watch`] saw from the beginning, that nothing was told since they
/// were described so, and that no end was told in two ways before: each container ended with one exit code or with
/// none, whatever was told after its end, and each task was over once. A target gets events in their order: with the
/// event of a task's end all those before it have arrived.
#[track_caller]
pub(crate) fn assert_ends_told_once(lab: &Lab, tasks: &[Value]) {
    tasks.iter().for_each(|task| assert_told_once(lab, task));
    let is_over = |detail: &&Value| detail["lastStatus"] == "STOPPED";
    let events = wait_for("the events of their ends", DEADLINE, || {
        let events = watched(lab)?;
        for task in tasks {
            let arn = task["taskArn"].as_str().context("no ARN")?;
            let ended = events.get(arn).is_some_and(|all| all.values().any(|detail| is_over(&detail)));
            ensure!(ended, "no event of the end of {arn}");
        }
        Ok(Some(events))
    })
    .unwrap();
    for task in tasks {
        let all = &events[task["taskArn"].as_str().unwrap()];
        let over = all.values().filter(is_over).count();
        assert_eq!(over, 1, "its end was told {over} times: {all:#?}");
        for told in task["containers"].as_array().unwrap() {
            let name = told["name"].as_str().unwrap();
            let ends = all.values().map(|detail| container(detail, name)).filter(is_over);
            let mut codes: Vec<&Value> = ends.map(|end| &end["exitCode"]).collect();
            codes.dedup();
            assert_eq!(codes, [&told["exitCode"]], "the end of `{name}` was told in several ways: {all:#?}");
        }
    }
}

/// Asserts that so many agents of a host, one after the other, said how each container of these tasks ended, and said
/// the same: one that is started anew says what it knows of a task that is over. An agent that dies after it has said
/// something and before it has saved it may have told nobody.
#[track_caller]
pub(crate) fn assert_agents_agree(node: &Node, tasks: &[Value], agents: usize) {
    let log = node.host.log("agent");
    let lives: Vec<&str> = log.split(": supervising tasks=").skip(1).collect();
    for task in tasks {
        for told in task["containers"].as_array().unwrap() {
            let (task, name) = (id(task["taskArn"].as_str().unwrap()), told["name"].as_str().unwrap());
            let what = format!(" task={task} container={name} status=STOPPED");
            let said = lives.iter().map(|life| after(life, &what)).filter(|said| !said.is_empty());
            let said: Vec<BTreeSet<&str>> = said.collect();
            assert_eq!(said.len(), agents, "of {} agents, how `{name}` of {task} ended: {said:?}", lives.len());
            let said: BTreeSet<&str> = said.into_iter().flatten().collect();
            assert_eq!(said.len(), 1, "how `{name}` of {task} ended: {said:?}");
            if let Some(code) = told["exitCode"].as_i64() {
                let code = format!("exit_code={code}");
                assert!(said.iter().all(|said| said.split(' ').any(|word| word == code)), "{code}: {said:?}");
            }
        }
    }
}

/// What comes after `what` in the lines that have it.
fn after<'log>(log: &'log str, what: &str) -> BTreeSet<&'log str> {
    log.lines().filter_map(|line| Some(line.split_once(what)?.1)).collect()
}
