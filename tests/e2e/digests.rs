//! Which image tasks get: those that belong together the same one although the tag moves, those that do not what the
//! tag means by then; and images that are on hosts before any task needs them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use longshore_tests::lab::process::Process;
use longshore_tests::lab::{Lab, LabConfig, Node, wait_for, wait_until};
use serde_json::{Value, json};

use super::command::{longshore, ok};
use super::fields::{docker, exec, idle, stop};
use super::support::*;

const REGISTRY: &str = "127.0.0.1:5000";
/// What tests push, under one tag.
pub(super) const IMAGE: &str = "127.0.0.1:5000/team/app:1";

/// A registry on each host's loopback, all of them over the same files.
pub(super) struct Registry {
    dir: PathBuf,
    fronts: Vec<Process>,
}

impl Registry {
    pub(super) fn start(lab: &Lab) -> Self {
        let dir = lab.dir().join("registry");
        fs::create_dir_all(&dir).unwrap();
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: {REGISTRY}\n",
            dir.display()
        );
        let file = dir.join("config.yml");
        fs::write(&file, config).unwrap();
        let front = |node: &Node| {
            let program = Path::new("docker-registry");
            node.host.start("registry", program, |command| _ = command.arg("serve").arg(&file)).unwrap()
        };
        let fronts = lab.nodes().iter().map(front).collect();
        Self { dir, fronts }
    }

    pub(super) fn end(self) {
        self.fronts.into_iter().for_each(|front| front.kill().unwrap());
    }

    /// Forgets an image, whatever its tags say.
    fn lose(&self, digest: &str) {
        let digits = digest.strip_prefix("sha256:").unwrap();
        let revisions = "docker/registry/v2/repositories/team/app/_manifests/revisions/sha256";
        fs::remove_dir_all(self.dir.join(revisions).join(digits)).unwrap();
    }
}

/// Puts busybox with a mark of its own into the registry under the same tag, forgets it here, and says its digest.
pub(super) fn push(node: &Node, mark: &str) -> String {
    let name = format!("mark-{mark}");
    docker(node, &["run", "--name", &name, "--net", "none", "busybox", "sh", "-c", &format!("echo {mark} >/mark")]);
    docker(node, &["commit", "-c", "CMD [\"sh\"]", &name, IMAGE]);
    docker(node, &["rm", &name]);
    wait_until("the registry takes the image", DEADLINE, || {
        node.host.run("docker", &["-H", &node.docker(), "push", IMAGE])?;
        Ok(true)
    })
    .unwrap();
    let entry = docker(node, &["image", "inspect", "--format", "{{index .RepoDigests 0}}", IMAGE]);
    docker(node, &["rmi", "-f", IMAGE]);
    entry.trim().split_once('@').unwrap().1.to_owned()
}

/// One task on each host by one call, in the order of the hosts.
fn pair(lab: &Lab, definition: &str, group: &str) -> Vec<String> {
    let more = json!({"placementConstraints": [{"type": "distinctInstance"}], "group": group});
    let arns = run(lab, definition, 2, more);
    let host = |arn: &String| task(lab, arn)["containerInstanceArn"].as_str().unwrap().to_owned();
    let hosts = instance_arns(lab);
    hosts.iter().map(|wanted| arns.iter().find(|arn| host(arn) == *wanted).unwrap().clone()).collect()
}

/// The hosts' ARNs, in the order of the nodes.
fn instance_arns(lab: &Lab) -> Vec<String> {
    let all = lab.instances().unwrap();
    let of = |node: &Node| {
        let mine = all.iter().find(|i| i["ec2InstanceId"] == node.host.name()).unwrap();
        mine["containerInstanceArn"].as_str().unwrap().to_owned()
    };
    lab.nodes().iter().map(of).collect()
}

fn digest_of(task: &Value) -> &str {
    assert_eq!(container(task, "main")["image"], IMAGE, "as the definition has it: {task:#}");
    container(task, "main")["imageDigest"].as_str().unwrap_or_default()
}

#[test]
fn tasks_of_one_call_run_one_image_and_images_can_be_there_before() {
    let agent = "cleanup_wait = \"1s\"\nstop_timeout = \"2s\"".to_owned();
    // Long enough for a host to be cut off while an image is pushed.
    let control = "lease_millis = 40000\nservice_healthy_after_secs = 1".to_owned();
    let lab = networked(LabConfig { hosts: 2, agent, control, ..LabConfig::default() });
    let [first, second] = [lab.node(0), lab.node(1)];
    let registry = Registry::start(&lab);
    let one = push(first, "one");
    let mut main = idle("main");
    merge(&mut main, json!({"image": IMAGE}));
    let cached = register(&lab, "cached", json!([main]), json!({}));
    merge(&mut main, json!({"dockerLabels": {"longshore.pull-behavior": "always"}}));
    let always = register(&lab, "always", json!([main]), json!({}));

    // Ahead of any task: on every host, or an error that says which not and why.
    let pulled = longshore(&lab, &["image", "pull", IMAGE]);
    let table = ok(&pulled);
    for node in lab.nodes() {
        let line = table.lines().find(|line| line.starts_with(node.host.name())).unwrap_or_default();
        assert!(line.contains("pulled") && line.contains(&one), "{pulled:?}");
        let told = format!("{}: pulled", node.host.name());
        assert!(String::from_utf8_lossy(&pulled.stderr).contains(&told), "{pulled:?}");
        assert_eq!(docker(node, &["image", "inspect", "--format", "{{len .RepoDigests}}", IMAGE]).trim(), "1");
    }
    let fails = |args: &[&str], status: i32, parts: &[&str]| {
        let ran = longshore(&lab, args);
        let text = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.code() == Some(status) && parts.iter().all(|part| text.contains(part)), "{ran:?}");
    };
    let missing = "127.0.0.1:5000/team/none:1";
    fails(
        &["image", "pull", missing, "--host", second.host.name()],
        6,
        &["0 of 1 hosts have the images", second.host.name(), "CannotPullContainerError", "not found"],
    );
    fails(&["image", "pull", IMAGE, "--host", "nobody"], 1, &["there is no host `nobody`"]);
    fails(&["image", "pull", "team app"], 2, &["`team app`"]);
    let left = lab.ecs("list_task_definitions", json!({"familyPrefix": "longshore-image-pull"})).unwrap();
    assert_eq!(left["taskDefinitionArns"], json!([]));

    // So tasks start without the registry, and without a wait for a pull.
    registry.end();
    let pulls = || [first, second].map(|node| node.host.log("agent").matches(": pulling image=").count());
    let before = pulls();
    assert!(before.iter().all(|pulls| *pulls > 0), "each has pulled it: {before:?}");
    let tasks = wait_tasks(&lab, &pair(&lab, &cached, "cached"), "RUNNING", DEADLINE);
    assert_eq!(pulls(), before, "a pull was begun");
    for task in &tasks {
        assert_eq!(digest_of(task), one);
        let seconds = |field: &str| task[field].as_f64().unwrap();
        assert!(seconds("pullStoppedAt") - seconds("pullStartedAt") < 1.0, "{task:#}");
    }
    let arns: Vec<String> = tasks.iter().map(|t| t["taskArn"].as_str().unwrap().to_owned()).collect();
    arns.iter().for_each(|arn| drop(stop(&lab, arn)));
    lab.nodes().iter().for_each(|node| drop(docker(node, &["rmi", "-f", IMAGE])));

    // One host hears of its tasks late. Meanwhile the tag moves, twice, and what it meant in between is lost.
    let registry = Registry::start(&lab);
    wait_until("the registry", DEADLINE, || {
        Ok(first.host.run("docker", &["-H", &first.docker(), "pull", IMAGE])?.contains(&one))
    })
    .unwrap();
    docker(first, &["rmi", "-f", IMAGE]);
    second.agent.freeze();
    let before = pair(&lab, &always, "before");
    assert_eq!(digest_of(&running(&lab, &before[0])), one);
    let two = push(first, "two");
    let between = pair(&lab, &always, "between");
    assert_eq!(digest_of(&running(&lab, &between[0])), two, "another call resolves the tag anew");
    let three = push(first, "three");
    registry.lose(&two);
    assert!(one != two && two != three && one != three);

    // What is known survives the end of every process of ours.
    lab.control().kill().unwrap();
    lab.nodes().iter().for_each(|node| node.agent.kill().unwrap());
    lab.restart_control().unwrap();
    lab.nodes().iter().for_each(|node| node.launch_agent().unwrap());
    let late = running(&lab, &before[1]);
    assert_eq!(digest_of(&late), one);
    assert_eq!(exec(second, &before[1], "main", "cat /mark"), "one\n");
    let ended = stopped(&lab, &between[1]);
    assert_eq!(ended["stopCode"], "TaskFailedToStart", "{ended:#}");
    let reason = container(&ended, "main")["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.starts_with("CannotPullContainerError: "), "{reason}");
    for part in [IMAGE, &two, "push it again, or start new tasks"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    // By itself a task gets what the tag means now, and by an unmodified client an image is there before it.
    let hosts = instance_arns(&lab);
    let tags = json!([{"key": "longshore.pull-only", "value": "true"}]);
    let start = |more: Value| {
        let mut args = json!({"taskDefinition": always, "containerInstances": [hosts[1]]});
        merge(&mut args, more);
        let answer = lab.ecs("start_task", args).unwrap();
        assert_eq!(answer["failures"], json!([]), "{answer}");
        answer["tasks"][0]["taskArn"].as_str().unwrap().to_owned()
    };
    let ahead = stopped(&lab, &start(json!({"tags": tags})));
    assert_eq!((digest_of(&ahead), &container(&ahead, "main")["exitCode"]), (three.as_str(), &json!(0)), "{ahead:#}");
    assert!(ahead["stoppedReason"].as_str().unwrap().contains("The images are on the host"), "{ahead:#}");
    let alone = start(json!({}));
    assert_eq!(digest_of(&running(&lab, &alone)), three);
    for arn in [&before[0], &before[1], &between[0], &alone] {
        stop(&lab, arn);
    }
    services_grow(&lab, first, &three);
    caches_differ(&lab, &cached);
    assert_no_leaks(&lab, &[]);
}

/// A service runs what its tag meant when its deployment began, also when it grows after the tag has moved; one that
/// asks for it runs what the tag means at each start.
fn services_grow(lab: &Lab, node: &Node, now: &str) {
    let mut main = idle("main");
    merge(&mut main, json!({"image": IMAGE, "dockerLabels": {"longshore.pull-behavior": "always"}}));
    let pinned = register(lab, "pinned", json!([main]), json!({}));
    merge(&mut main, json!({"versionConsistency": "disabled"}));
    let moving = register(lab, "moving", json!([main]), json!({}));
    let stable = || lab.wait_ecs("services_stable", json!({"services": ["pinned", "moving"]})).unwrap();
    for (name, definition) in [("pinned", &pinned), ("moving", &moving)] {
        let request = json!({"serviceName": name, "taskDefinition": definition, "desiredCount": 1});
        lab.ecs("create_service", request).unwrap();
    }
    stable();
    let next = push(node, "next");
    // At least one more on each host: the one that pushed has no such tag now, the other one has it as it was.
    for name in ["pinned", "moving"] {
        lab.ecs("update_service", json!({"service": name, "desiredCount": 4})).unwrap();
    }
    stable();
    let mut all = Vec::new();
    for (name, later) in [("pinned", now), ("moving", next.as_str())] {
        let arns = lab.ecs("list_tasks", json!({"serviceName": name})).unwrap()["taskArns"].clone();
        let arns: Vec<String> = serde_json::from_value(arns).unwrap();
        let tasks = wait_tasks(lab, &arns, "RUNNING", DEADLINE);
        let mut digests: Vec<&str> = tasks.iter().map(digest_of).collect();
        digests.sort_unstable();
        let mut wanted = vec![now, later, later, later];
        wanted.sort_unstable();
        assert_eq!(digests, wanted, "{name}: it was {now} and is {next}");
        let marks: Vec<String> = tasks
            .iter()
            .map(|task| exec(node_of(lab, task), task["taskArn"].as_str().unwrap(), "main", "cat /mark"))
            .collect();
        let moved = marks.iter().filter(|mark| *mark == "next\n").count();
        assert_eq!(moved, if name == "moving" { 3 } else { 0 }, "{name}: {marks:?}");
        lab.ecs("delete_service", json!({"service": name, "force": true})).unwrap();
        all.extend(arns);
    }
    wait_tasks(lab, &all, "STOPPED", DEADLINE);
}

/// The hosts of a service have different images under its tag, and take what they have: it runs one all the same.
fn caches_differ(lab: &Lab, cached: &str) {
    let [first, second] = [lab.node(0), lab.node(1)];
    for (node, mark) in [(second, "stale"), (first, "fresh")] {
        push(first, mark);
        docker(node, &["pull", IMAGE]);
    }
    let request = json!({"serviceName": "cached", "taskDefinition": cached, "desiredCount": 2});
    lab.ecs("create_service", request).unwrap();
    let tasks = wait_for("one image", DEADLINE, || {
        let described = lab.ecs("describe_services", json!({"services": ["cached"]}))?;
        let deployments = described["services"][0]["deployments"].as_array().unwrap().clone();
        ensure!(deployments.len() == 1 && deployments[0]["rolloutState"] == "COMPLETED", "{deployments:#?}");
        let arns: Vec<String> =
            serde_json::from_value(lab.ecs("list_tasks", json!({"serviceName": "cached"}))?["taskArns"].clone())?;
        Ok(Some(wait_tasks(lab, &arns, "RUNNING", DEADLINE)))
    })
    .unwrap();
    let runs: BTreeSet<(&str, String)> = tasks
        .iter()
        .map(|task| {
            let mark = exec(node_of(lab, task), task["taskArn"].as_str().unwrap(), "main", "cat /mark");
            (digest_of(task), mark)
        })
        .collect();
    let hosts: BTreeSet<&str> = tasks.iter().map(|task| task["containerInstanceArn"].as_str().unwrap()).collect();
    assert_eq!((runs.len(), tasks.len(), hosts.len()), (1, 2, 2), "{runs:?}");
    lab.ecs("delete_service", json!({"service": "cached", "force": true})).unwrap();
    let arns = strings(&json!(tasks), "taskArn");
    wait_tasks(lab, &arns, "STOPPED", DEADLINE);
}
