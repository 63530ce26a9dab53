//! Tasks that must not run twice, host pools, and why a service has not all of its tasks, on real hosts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use longshore_tests::lab::{Lab, LabConfig, host, invariant, wait_for, wait_until};
use serde_json::{Value, json};

use super::command::{longshore, ok};
use super::failpoints::NOTED;
use super::runs::{self, RUNS_ON, Runs, noting};
use super::support::*;

/// The control plane's own margin after the fence.
const MARGIN: Duration = Duration::from_secs(5);

fn service(lab: &Lab, name: &str) -> Result<Value> {
    Ok(lab.ecs("describe_services", json!({"services": [name]}))?["services"][0].clone())
}

/// When containers of tasks ran, by what their hosts' Docker says of them, whatever the control plane knows: by host,
/// container and start, with the end of those that ended.
#[derive(Debug, Default)]
struct Intervals(BTreeMap<(usize, String, String), Option<String>>);

impl Intervals {
    /// Looks at all hosts; how many run on each.
    fn look(&mut self, lab: &Lab) -> Result<Vec<usize>> {
        let mut counts = Vec::new();
        for (index, node) in lab.nodes().iter().enumerate() {
            let containers = node.task_containers()?;
            counts.push(containers.iter().filter(|container| container.state == "running").count());
            for container in containers {
                // Whoever has just been removed was asked before.
                let Ok(shown) = node.engine.inspect(&container.id) else { continue };
                let state = &shown["State"];
                let [from, to] = ["StartedAt", "FinishedAt"].map(|time| sortable(state[time].as_str().unwrap()));
                if from.starts_with("0001-") {
                    continue;
                }
                let known = self.0.entry((index, container.id, from)).or_default();
                if known.is_none() && state["Running"] == false {
                    *known = Some(to);
                }
            }
        }
        Ok(counts)
    }

    /// The same of a service that must not run twice: neither now nor, by the containers' own times, at any time.
    fn look_once(&mut self, lab: &Lab) -> Result<Vec<usize>> {
        let counts = self.look(lab)?;
        invariant(counts.iter().sum::<usize>() <= 1, || format!("it runs twice: {counts:?}"))?;
        let mut spans: Vec<(&String, Option<&String>)> =
            self.0.iter().map(|((_, _, from), to)| (from, to.as_ref())).collect();
        spans.sort();
        let apart = |pair: &[(&String, Option<&String>)]| pair[0].1.is_some_and(|end| end <= pair[1].0);
        invariant(spans.windows(2).all(apart), || format!("one began before the other had ended: {self:#?}"))?;
        Ok(counts)
    }

    /// The power of a host goes: whatever runs there ends now at the latest.
    fn power_goes(&mut self, host: usize) {
        let now = std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S.%NZ"]).output().unwrap();
        let now = sortable(String::from_utf8(now.stdout).unwrap().trim());
        let there = self.0.iter_mut().filter(|((index, ..), _)| *index == host);
        there.for_each(|(_, to)| _ = to.get_or_insert_with(|| now.clone()));
    }

    /// Waits until another host than `from` has the task, which never runs on both; how long it took.
    fn moves(&mut self, lab: &Lab, from: usize) -> (usize, Duration) {
        let began = Instant::now();
        let to = wait_for("another host runs it", DEADLINE, || {
            let running = self.look_once(lab)?;
            Ok((0..running.len()).find(|index| *index != from && running[*index] == 1))
        })
        .unwrap();
        (to, began.elapsed())
    }
}

/// A time as Docker writes it, so that texts are in the order of times: it leaves out zeros at the end.
fn sortable(time: &str) -> String {
    let time = time.trim_end_matches('Z');
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
    format!("{seconds}.{fraction:0<9}")
}

#[test]
fn times_are_sorted_by_their_texts() {
    let times =
        ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.05Z", "2026-01-01T00:00:00.123456789Z", "2026-01-01T00:00:01Z"];
    assert!(times.map(sortable).is_sorted(), "{:?}", times.map(sortable));
}

#[test]
fn a_task_that_must_not_run_twice_is_gone_before_another_starts() {
    // Ended containers stay long enough to be asked when they ended.
    let agent = "cleanup_wait = \"5s\"\n".to_owned();
    let control = "service_healthy_after_secs = 1\nfence_grace_millis = 1000\n".to_owned();
    let lab = networked(LabConfig { hosts: 2, agent, control, ..LabConfig::default() });

    // A pool of the second host alone.
    let instances = lab.instances().unwrap();
    let pooled = instances[1]["containerInstanceArn"].as_str().unwrap();
    let attribute = json!({"name": "longshore.capacity-provider", "value": "rack",
        "targetType": "container-instance", "targetId": pooled});
    lab.ecs("put_attributes", json!({"attributes": [attribute]})).unwrap();
    let group =
        json!({"autoScalingGroupArn": "arn:aws:autoscaling:lab:1:autoScalingGroup:x:autoScalingGroupName/rack"});
    lab.ecs("create_capacity_provider", json!({"name": "rack", "autoScalingGroupProvider": group})).unwrap();
    let put = json!({"cluster": "default", "capacityProviders": ["rack"],
        "defaultCapacityProviderStrategy": [{"capacityProvider": "rack", "weight": 1, "base": 0}]});
    lab.ecs("put_cluster_capacity_providers", put).unwrap();
    // Its restart policy would bring it back after a boot, whether or not the control plane is there.
    let runs = Runs::new(&lab);
    let mut main = noting("main", RUNS_ON);
    let policy = json!({"enabled": true, "restartAttemptPeriod": 60});
    merge(&mut main, json!({"restartPolicy": policy, "dockerLabels": {"longshore.restart.backoff": "1-2"}}));
    let one = register(&lab, "one", json!([main]), json!({"volumes": [runs.volume()]}));
    let arns = run(&lab, &one, 3, json!({}));
    let tasks = describe(&lab, &arns).unwrap();
    assert!(tasks.iter().all(|task| task["containerInstanceArn"] == pooled && task["capacityProviderName"] == "rack"));
    let shown = lab.ecs("describe_container_instances", json!({"containerInstances": [pooled]})).unwrap();
    assert_eq!(shown["containerInstances"][0]["capacityProviderName"], "rack");
    for arn in &arns {
        lab.ecs("stop_task", json!({"task": arn})).unwrap();
    }
    wait_tasks(&lab, &arns, "STOPPED", DEADLINE);
    let put = json!({"cluster": "default", "capacityProviders": [], "defaultCapacityProviderStrategy": []});
    lab.ecs("put_cluster_capacity_providers", put).unwrap();
    lab.ecs("delete_capacity_provider", json!({"capacityProvider": "rack"})).unwrap();

    // Too large for any host: the event, the command and RunTask say the same.
    let mut large = sleeper();
    large["memory"] = json!(900_000);
    let large = register(&lab, "large", json!([large]), json!({}));
    lab.ecs("create_service", json!({"serviceName": "big", "taskDefinition": large, "desiredCount": 1})).unwrap();
    let mut said = String::new();
    wait_until("it says why", DEADLINE, || {
        let events = service(&lab, "big")?["events"].clone();
        let found = events.as_array().into_iter().flatten().filter_map(|event| event["message"].as_str());
        said = found.into_iter().find(|text| text.contains("unable to place")).unwrap_or_default().to_owned();
        Ok(!said.is_empty())
    })
    .unwrap();
    let why = ok(&longshore(&lab, &["why", "big"]));
    let answer = lab.ecs("run_task", json!({"taskDefinition": large})).unwrap();
    let details = strings(&answer["failures"], "detail");
    assert!(why.contains(&said) && details.len() == 2, "{why}\n{answer}");
    assert!(details.iter().all(|detail| why.contains(detail)), "{why}\n{details:?}");
    lab.ecs("delete_service", json!({"service": "big", "force": true})).unwrap();

    let tags = json!([{"key": "longshore:at-most-one", "value": "true"}]);
    let stops_first = json!({"minimumHealthyPercent": 0, "maximumPercent": 100});
    let request = json!({"serviceName": "web", "taskDefinition": one, "desiredCount": 1, "tags": tags,
        "deploymentConfiguration": stops_first});
    lab.ecs("create_service", request).unwrap();
    lab.wait_ecs("services_stable", json!({"services": ["web"]})).unwrap();
    // Of its containers alone: those of the tasks before it overlapped.
    wait_until("the containers of other tasks are gone", DEADLINE, || {
        let containers: Vec<usize> =
            lab.nodes().iter().map(|node| Ok(node.task_containers()?.len())).collect::<Result<_>>()?;
        Ok(containers.iter().sum::<usize>() == 1)
    })
    .unwrap();
    let mut intervals = Intervals::default();
    let first = intervals.look_once(&lab).unwrap().iter().position(|count| *count == 1).unwrap();

    // Cut off, with an agent that starts anew meanwhile and knows for how long it was cut off before.
    lab.cut(first).unwrap();
    lab.node(first).agent.kill().unwrap();
    lab.node(first).launch_agent().unwrap();
    assert_eq!(intervals.look_once(&lab).unwrap()[first], 1, "it runs on for as long as the lease");
    let (second, took) = intervals.moves(&lab, first);
    println!("from the cut until another runs: {took:?}");
    assert!(took > MARGIN, "{took:?}");
    assert_eq!(intervals.look_once(&lab).unwrap()[first], 0);
    lab.mend(first).unwrap();
    lab.wait_connected(2, DEADLINE).unwrap();

    // And back, over a reboot of the host without the control plane.
    lab.wait_ecs("services_stable", json!({"services": ["web"]})).unwrap();
    let ran = runs.of("", "main");
    lab.cut(second).unwrap();
    intervals.look_once(&lab).unwrap();
    intervals.power_goes(second);
    lab.reboot(second).unwrap();
    lab.cut(second).unwrap();
    lab.node(second).launch_agent().unwrap();
    let (third, _) = intervals.moves(&lab, second);
    assert_eq!(third, first);
    // What was heard before the boot does not count, though a file of it is there: it ran on the other host alone.
    wait_until("its note of the run", DEADLINE, || Ok(runs.of("", "main") > ran)).unwrap();
    assert_eq!(runs.of("", "main"), ran + 1, "it ran again on the host that was booted");
    lab.mend(second).unwrap();
    lab.wait_connected(2, DEADLINE).unwrap();
    wait_until("the host that returned has nothing of it", DEADLINE, || {
        let running = intervals.look_once(&lab)?;
        Ok(running[second] == 0 && lab.node(second).task_containers()?.is_empty())
    })
    .unwrap();
    assert_eq!(service(&lab, "web").unwrap()["runningCount"], 1);
    assert_eq!(
        intervals.0.len(),
        3,
        "one on the first host, one on the second, and one on the first again: {intervals:#?}"
    );
}

/// Starts the agent anew so that it dies at `point`, or finds no space there, and waits for that, after `then`. Another
/// one that does not takes its place.
fn die_at(lab: &Lab, point: &str, then: impl FnOnce()) {
    let node = lab.node(0);
    let log = node.host.log("agent").len();
    node.agent.kill().unwrap();
    let program = host::program("longshore-agent").unwrap();
    let variables = [("LONGSHORE_TEST_CRASH", point)];
    node.agent.launch_as(&node.host, &node.docker(), &program, &variables).unwrap();
    then();
    let lives = point.starts_with("full-");
    let says = if lives { "the disk is full here" } else { "the agent ends here" };
    wait_until(point, DEADLINE, || Ok(node.host.log("agent")[log..].contains(says) && node.agent.lives() == lives))
        .unwrap();
    if lives {
        let warns = || Ok(node.host.log("agent")[log..].contains("could not note the last contact"));
        wait_until("it says so", DEADLINE, warns).unwrap();
    } else {
        let _ = node.agent.wait_exit(DEADLINE);
        node.launch_agent().unwrap();
    }
    lab.wait_connected(1, DEADLINE).unwrap();
}

/// An agent dies at its note of when the control plane heard it last, or has no space for it. With a note of before, the
/// task goes on; without one it ends if it was begun, and another takes its place.
#[test]
fn an_agent_that_dies_at_its_note_of_the_last_contact_ends_what_it_must() {
    let agent = "cleanup_wait = \"5s\"\nstop_timeout = \"2s\"\n".to_owned();
    // Longer than an agent takes to start anew on a busy machine.
    let control = "service_healthy_after_secs = 1\nlease_millis = 60000\n".to_owned();
    let lab = networked(LabConfig { agent, control, ..LabConfig::default() });
    runs::watch(&lab);
    let runs = Runs::new(&lab);
    let one = register(&lab, "one", json!([noting("main", RUNS_ON)]), json!({"volumes": [runs.volume()]}));
    let request = json!({"serviceName": "web", "taskDefinition": one, "desiredCount": 1,
        "tags": [{"key": "longshore:at-most-one", "value": "true"}],
        "deploymentConfiguration": {"minimumHealthyPercent": 0, "maximumPercent": 100}});
    let mut intervals = Intervals::default();
    let all = |status: &str| -> Result<Vec<String>> {
        let arns = lab.ecs("list_tasks", json!({"serviceName": "web", "desiredStatus": status}))?["taskArns"].clone();
        Ok(arns.as_array().into_iter().flatten().filter_map(|arn| arn.as_str().map(str::to_owned)).collect())
    };

    // The first note of all. Whatever was begun by then ends, for nothing tells how long its host was away.
    die_at(&lab, NOTED[0], || _ = lab.ecs("create_service", request).unwrap());
    let running = wait_for("one that runs", DEADLINE, || {
        let running = intervals.look_once(&lab)?[0] == 1;
        let stable = service(&lab, "web")?["deployments"][0]["rolloutState"] == "COMPLETED";
        let live = all("RUNNING")?;
        Ok((running && stable && live.len() == 1).then_some(live))
    })
    .unwrap();
    let ended = all("STOPPED").unwrap();
    let mut told = if ended.is_empty() { Vec::new() } else { describe(&lab, &ended).unwrap() };
    assert!(told.iter().all(|task| task["stopCode"] == "InfrastructureHealth"), "{told:#?}");
    wait_until("a note", DEADLINE, || Ok(lab.node(0).host.dir().join("status.sock.contact").exists())).unwrap();

    // Those after it.
    let ran = runs.of("", "main");
    for point in NOTED {
        die_at(&lab, point, || {});
        assert_eq!(intervals.look_once(&lab).unwrap(), [1], "{point}");
        assert_eq!((runs.of("", "main"), all("RUNNING").unwrap()), (ran, running.clone()), "{point}");
    }

    // The same without any note: it ends, and another one runs.
    let node = lab.node(0);
    node.agent.kill().unwrap();
    std::fs::remove_file(node.host.dir().join("status.sock.contact")).unwrap();
    node.launch_agent().unwrap();
    let over = wait_tasks(&lab, &running, "STOPPED", DEADLINE);
    assert_eq!(over[0]["stopCode"], "InfrastructureHealth", "{over:#?}");
    told.extend(over);
    let last = wait_for("another one that runs", DEADLINE, || {
        let running = intervals.look_once(&lab)?[0] == 1;
        let live = all("RUNNING")?;
        Ok((running && live.len() == 1).then_some(live))
    })
    .unwrap();
    wait_tasks(&lab, &last, "RUNNING", DEADLINE);
    wait_until("its note of the run", DEADLINE, || Ok(runs.of("", "main") == ran + 1)).unwrap();
    lab.ecs("delete_service", json!({"service": "web", "force": true})).unwrap();
    let over = wait_tasks(&lab, &last, "STOPPED", DEADLINE);
    assert_eq!(over[0]["stopCode"], "ServiceSchedulerInitiated", "{over:#?}");
    assert_eq!(container(&over[0], "main")["exitCode"], 0, "{over:#?}");
    told.extend(over);
    assert_nothing_left(&lab);
    runs::assert_ends_told_once(&lab, &told);
}
