//! How often containers ran: each notes its runs in a file of the host, which says so whatever anybody else believes.

use std::path::PathBuf;

use anyhow::Result;
use longshore_tests::lab::Lab;
use serde_json::{Value, json};

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

    /// That nearly all of those that ended by themselves are told with their code.
    #[track_caller]
    pub(crate) fn assert_known(&self) {
        let Self { known, unknown } = self;
        println!("{known} tasks ended by themselves with a code, {unknown} without");
        assert!(*known > 0, "no task ended by itself");
        assert!(known * 5 >= (known + unknown) * 4, "{unknown} ends are unknown, and {known} have a code");
    }
}

/// Asserts that nothing was told of a task since it was described so: its version would have risen.
#[track_caller]
pub(crate) fn assert_told_once(lab: &Lab, task: &Value) {
    let of_the_task = |task: &Value| {
        let mut task = task.clone();
        // Those are the host's.
        for name in ["connectivity", "connectivityAt"] {
            task.as_object_mut().unwrap().remove(name);
        }
        task
    };
    let now = super::support::task(lab, task["taskArn"].as_str().unwrap());
    assert_eq!(of_the_task(&now), of_the_task(task), "it was told again");
}
