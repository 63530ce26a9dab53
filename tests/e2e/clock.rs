//! The clock jumps by an hour either way: the agent's, and the control plane's. Only those programs see it
//! (`faketime`); Docker goes by the machine's, which nobody moves.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use longshore_tests::lab::{Agent, Lab, host, wait_for, wait_until};
use serde_json::{Value, json};

use super::awsvpc::network;
use super::endurance::births;
use super::fields::stop;
use super::runs::{self, RUNS_ON, Runs, noting};
use super::support::*;

/// Asserts that what a described task says of its times is in the order of its life.
pub(crate) fn assert_in_order(task: &Value) {
    let at = |name: &str| task[name].as_f64();
    let mut latest = (f64::MIN, "");
    for name in ["pullStartedAt", "pullStoppedAt", "startedAt", "executionStoppedAt", "stoppedAt"] {
        let Some(time) = at(name) else { continue };
        assert!(time >= latest.0, "{name} is before {}: {task:#}", latest.1);
        latest = (time, name);
    }
    // When somebody asks for the end is the control plane's time.
    let by_user = task["stopCode"] == "UserInitiated";
    if let (false, Some(stopping), Some(started), Some(stopped)) =
        (by_user, at("stoppingAt"), at("startedAt"), at("stoppedAt"))
    {
        assert!(started <= stopping && stopping <= stopped, "stoppingAt: {task:#}");
    }
}

/// A clock of its own for a program.
struct Clock(PathBuf);

impl Clock {
    fn new(path: PathBuf) -> Self {
        let clock = Self(path);
        clock.set(0);
        clock
    }

    /// So many seconds ahead of the machine's from now on.
    fn set(&self, ahead: i64) {
        // As a whole: the program reads it at any moment.
        let new = self.0.with_extension("new");
        std::fs::write(&new, format!("{ahead:+}\n")).unwrap();
        std::fs::rename(new, &self.0).unwrap();
    }

    /// A file that runs a program of the workspace by this clock. Only that program is given the library, which leaves
    /// things in the `/dev/shm` of whatever has it.
    fn program(&self, name: &str) -> PathBuf {
        let library = || -> Result<String> {
            let listed = Command::new("dpkg").args(["-L", "libfaketime"]).output().context("could not run dpkg")?;
            let listed = String::from_utf8(listed.stdout)?;
            let found = listed.lines().find(|path| path.ends_with("/libfaketimeMT.so.1"));
            Ok(found.context("no libfaketime; `make setup-test` installs it")?.to_owned())
        };
        // Only the time of day jumps.
        let script = format!(
            "#!/bin/sh\nexport FAKETIME_TIMESTAMP_FILE='{}' FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1\n\
             export LD_PRELOAD='{}'\nexec '{}' \"$@\"\n",
            self.0.display(),
            library().unwrap(),
            host::program(name).unwrap().display(),
        );
        let path = self.0.with_extension("sh");
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    }
}

fn launch_agent(lab: &Lab, clock: &Clock) {
    let node = lab.node(0);
    node.agent.kill().unwrap();
    node.agent.launch_as(&node.host, &node.docker(), &clock.program("longshore-agent"), &[]).unwrap();
}

/// How often the agent said that the clock was moved.
fn moves(lab: &Lab) -> usize {
    lab.node(0).host.log("agent").matches("the host's clock was moved").count()
}

#[test]
fn an_hour_either_way_ends_no_wait_and_makes_none_longer() {
    let lab = lab(1);
    let node = lab.node(0);
    let runs = Runs::new(&lab);
    runs::watch(&lab);
    let volumes = json!({"volumes": [runs.volume()]});
    let mut looping = noting("main", "exit 3");
    let policy = json!({"enabled": true, "restartAttemptPeriod": 60});
    merge(&mut looping, json!({"restartPolicy": policy, "dockerLabels": {"longshore.restart.backoff": "3-3"}}));
    let mut slow = noting("slow", "until [ -e /tmp/end ]; do sleep 0.1; done");
    // Longer than the test, and shorter than the hour.
    merge(&mut slow, json!({"essential": false, "startTimeout": 600}));
    let mut main = noting("main", RUNS_ON);
    merge(&mut main, json!({"dependsOn": [{"containerName": "slow", "condition": "COMPLETE"}]}));
    let mut web = shell("web", "exec httpd -f -p 80");
    merge(&mut web, json!({"dockerLabels": {"longshore.health.tcp": "80", "longshore.health.interval": "5"}}));
    let deaf = shell("main", "trap '' TERM; echo ready; while true; do sleep 0.1; done");
    let looping = register(&lab, "clock-loops", json!([looping]), volumes.clone());
    let waiting = register(&lab, "clock-waits", json!([slow, main]), volumes.clone());
    let web = register(&lab, "clock-web", json!([web]), json!({}));
    let deaf = register(&lab, "clock-deaf", json!([deaf]), json!({}));
    let mut wired = volumes.clone();
    merge(&mut wired, json!({"networkMode": "awsvpc"}));
    let wired = register(&lab, "clock-wired", json!([noting("main", RUNS_ON)]), wired);
    let once = register(&lab, "clock-once", json!([noting("main", "exit 7")]), volumes);
    let begin = |definition: &str, containers: &[&str], name: &str| {
        runs::start(&lab, definition, containers, name, json!({})).unwrap().expect("a place")
    };

    let clock = Clock::new(node.host.dir().join("agent.clock"));
    launch_agent(&lab, &clock);
    lab.wait_connected(1, DEADLINE).unwrap();
    let loops = begin(&looping, &["main"], "loops");
    let waits = begin(&waiting, &["slow", "main"], "waits");
    let web = run_one(&lab, &web, json!({}));
    // The agent that has just begun may not have said yet that it gives tasks interfaces.
    let wired = wait_for("a place for a task with an interface", DEADLINE, || {
        runs::start(&lab, &wired, &["main"], "wired", network(&lab, &[]))
    })
    .unwrap();
    let healthy = |arn: &str| {
        wait_until("a healthy task", DEADLINE, || Ok(task(&lab, arn)["healthStatus"] == "HEALTHY")).unwrap();
    };
    healthy(&web);
    running(&lab, &wired);
    wait_ready(node, &wired, "main");
    let mut told = Vec::new();
    // Behind the machine's clock, what Docker says of its containers is of the future.
    for (round, ahead) in [3600, 0, -3600, 0].into_iter().enumerate() {
        let stays = run_one(&lab, &deaf, json!({}));
        running(&lab, &stays);
        wait_ready(node, &stays, "main");
        let before = runs.of("loops", "main");
        lab.ecs("stop_task", json!({"task": stays})).unwrap();
        clock.set(ahead);
        let jumped = Instant::now();
        let name = format!("once-{round}");
        let ended = stopped(&lab, &begin(&once, &["main"], &name));
        assert_eq!(container(&ended, "main")["exitCode"], 7);
        let killed = stopped(&lab, &stays);
        assert_eq!(container(&killed, "main")["exitCode"], 137, "it is given its stopTimeout, and no more: {killed:#}");
        assert!(jumped.elapsed() < Duration::from_secs(20), "{:?}", jumped.elapsed());
        wait_until("restarts that go on", Duration::from_secs(20), || {
            let ran = runs.of("loops", "main") - before;
            ensure!(ran >= 3, "{ran} runs");
            Ok(true)
        })
        .unwrap();
        let (ran, most) = (runs.of("loops", "main") - before, jumped.elapsed().as_secs() / 3 + 2);
        assert!(ran as u64 <= most, "{ran} runs in {:?}", jumped.elapsed());
        assert!(moves(&lab) > round, "{ahead}: the jump was not seen");
        let now = task(&lab, &waits);
        assert_eq!((&now["lastStatus"], runs.of("waits", "slow")), (&json!("PENDING"), 1), "{ahead}: {now:#}");
        healthy(&web);
        let now = task(&lab, &wired);
        assert_eq!((&now["lastStatus"], runs.of("wired", "main")), (&json!("RUNNING"), 1), "{ahead}: {now:#}");
        assert_eq!(lab.instances().unwrap()[0]["agentConnected"], true);
        told.extend([ended, killed]);
        assert_eq!(runs.of(&name, "main"), 1);
    }
    let set_right_while_away = |ahead: i64| {
        let seen = moves(&lab);
        clock.set(ahead);
        wait_until("an agent that goes by another time", DEADLINE, || Ok(moves(&lab) > seen)).unwrap();
        // What is saved from now on is by that time.
        let before = runs.of("loops", "main");
        wait_until("restarts", Duration::from_secs(20), || Ok(runs.of("loops", "main") > before + 1)).unwrap();
        node.agent.kill().unwrap();
        let (before, seen) = (runs.of("loops", "main"), moves(&lab));
        clock.set(0);
        launch_agent(&lab, &clock);
        lab.wait_connected(1, DEADLINE).unwrap();
        wait_until("a restart", Duration::from_secs(15), || Ok(runs.of("loops", "main") > before)).unwrap();
        assert_eq!(moves(&lab), seen + 1, "it was moved once, while the agent was away");
        let now = task(&lab, &waits);
        assert_eq!((&now["lastStatus"], runs.of("waits", "slow")), (&json!("PENDING"), 1), "{ahead}: {now:#}");
    };
    // The ledger says how the clock went, so an hour that it was turned by is not one that passed.
    set_right_while_away(3600);
    set_right_while_away(-3600);
    let name = format!("ls-{}-slow", id(&waits));
    node.host.run("docker", &["-H", &node.docker(), "exec", &name, "touch", "/tmp/end"]).unwrap();
    running(&lab, &waits);
    wait_ready(node, &waits, "main");
    healthy(&web);
    for arn in [&waits, &web, &wired] {
        let now = task(&lab, arn);
        assert_eq!(now["lastStatus"], "RUNNING", "{now:#}");
    }
    assert_eq!((runs.of("waits", "slow"), runs.of("waits", "main")), (1, 1));
    for arn in [&loops, &waits, &web] {
        told.push(stop(&lab, arn));
    }
    assert_exactly(&lab, std::slice::from_ref(&wired));
    assert_eq!(runs.of("wired", "main"), 1);
    told.push(stop(&lab, &wired));
    told.iter().for_each(assert_in_order);
    assert_nothing_left(&lab);
    runs::assert_ends_told_once(&lab, &told);
    of_the_control_plane(&lab, &once);
}

/// The control plane's clock jumps: who signs by another time is told so, and nothing else happens.
fn of_the_control_plane(lab: &Lab, definition: &str) {
    let kept = run_one(lab, &register(lab, "clock-kept", json!([sleeper()]), json!({})), json!({}));
    running(lab, &kept);
    let born = births(lab, std::slice::from_ref(&kept));
    let clock = Clock::new(lab.ctl().dir().join("control.clock"));
    lab.control().kill().unwrap();
    lab.control().launch_as(lab.ctl(), &clock.program("longshore-control")).unwrap();
    lab.control().wait_ready(lab.ctl()).unwrap();
    lab.wait_connected(1, DEADLINE).unwrap();
    let connected = |what: &str| {
        wait_until(what, DEADLINE, || {
            let status = Agent::status(&lab.node(0).host)?;
            ensure!(status["session"]["state"] == "connected", "{:#}", status["session"]);
            Ok(true)
        })
        .unwrap();
    };
    let mut told = Vec::new();
    for ahead in [3600, -3600] {
        clock.set(ahead);
        let refused = lab.ecs_error("list_clusters", json!({})).unwrap();
        assert_eq!((refused.code.as_str(), refused.status), ("InvalidSignatureException", 400), "{refused}");
        println!("{ahead}: {}", refused.message);
        connected("an agent that stays connected");
        clock.set(0);
        assert_eq!(task(lab, &kept)["lastStatus"], "RUNNING");
        let ended = stopped(lab, &run_one(lab, definition, json!({})));
        assert_eq!(container(&ended, "main")["exitCode"], 7, "{ended:#}");
        assert_in_order(&ended);
        assert_exactly(lab, std::slice::from_ref(&kept));
        assert_eq!(births(lab, std::slice::from_ref(&kept)), born, "{ahead}: it was started again");
        told.push(ended);
    }
    told.push(stop(lab, &kept));
    assert_nothing_left(lab);
    runs::assert_ends_told_once(lab, &told);
}
