//! A host loses its power: processes, namespaces, mounts and control groups are gone, disks are there. With the control
//! plane reachable and not.

use longshore_tests::lab::{Lab, Node, host, wait_until};
use serde_json::{Value, json};

use super::awsvpc::{address, assert_clean, network, page};
use super::failpoints::REBOOTED;
use super::runs::{self, RUNS_ON, Runs, noting};
use super::support::*;

/// The tasks that a reboot finds, by name.
struct Before {
    plain: String,
    back: String,
    wired: String,
    lone: String,
    over: Value,
}

/// A web server that says its task's name.
pub(super) const SERVES: &str = "mkdir -p /tmp/w; hostname >/tmp/w/index.html; httpd -p 80 -h /tmp/w; ";

fn definitions(lab: &Lab, runs: &Runs) -> [String; 5] {
    let restarted = |name: &str| {
        let mut main = noting(name, &[SERVES, RUNS_ON].concat());
        // What the engine takes for their codes when the power is cut is no code of theirs.
        let policy = json!({"enabled": true, "restartAttemptPeriod": 60, "ignoredExitCodes": [0, 137, 255]});
        merge(&mut main, json!({"restartPolicy": policy, "dockerLabels": {"longshore.restart.backoff": "1-2"}}));
        main
    };
    let volumes = json!([runs.volume(), {"name": "own"}]);
    let mut plain = noting("main", RUNS_ON);
    merge(&mut plain, json!({"portMappings": [{"containerPort": 80}]}));
    let limited = json!({"cpu": "128", "memory": "64", "pidMode": "task", "volumes": volumes});
    let wired = json!({"networkMode": "awsvpc", "volumes": volumes});
    let over = json!([noting("main", "exit 7")]);
    [
        register(lab, "reboot-plain", json!([plain]), json!({"memory": "24", "volumes": volumes})),
        register(lab, "reboot-back", json!([restarted("main")]), limited),
        register(lab, "reboot-wired", json!([restarted("main")]), wired.clone()),
        register(lab, "reboot-lone", json!([noting("main", RUNS_ON)]), wired),
        register(lab, "reboot-over", over, json!({"volumes": volumes})),
    ]
}

/// The name that a task with an interface has for itself.
pub(super) fn host_name(address: &str) -> String {
    format!("ip-{}", address.replace('.', "-"))
}

/// The limit of the control group of a task in bytes, as the kernel has it.
fn memory_limit(node: &Node, arn: &str) -> u64 {
    let find = "cat /sys/fs/cgroup/memory/longshore/$0/memory.limit_in_bytes 2>/dev/null || \
                cat /sys/fs/cgroup/longshore/$0/memory.max";
    node.host.run("sh", &["-c", find, id(arn)]).unwrap().trim().parse().unwrap()
}

/// An agent that dies when it has just started the sandbox of a task again, and another one.
pub(super) fn launch_twice(node: &Node) {
    let program = host::program("longshore-agent").unwrap();
    let dies = [("LONGSHORE_TEST_CRASH", REBOOTED)];
    node.agent.launch_as(&node.host, &node.docker(), &program, &dies).unwrap();
    wait_until("an agent that died", DEADLINE, || Ok(!node.agent.lives())).unwrap();
    let log = node.host.log("agent");
    assert!(log.contains("the agent ends here"), "{log}");
    let _ = node.agent.wait_exit(DEADLINE);
    node.launch_agent().unwrap();
}

#[test]
fn a_reboot_brings_back_what_restarts_and_ends_the_rest() {
    let lab = lab(1);
    let node = lab.node(0);
    let runs = Runs::new(&lab);
    runs::watch(&lab);
    let [plain, back, wired, lone, over] = definitions(&lab, &runs);
    for online in [true, false] {
        let name = |which: &str| format!("{which}-{online}");
        let begin = |definition: &str, which: &str, more: Value| {
            let mut started = None;
            wait_until("a host that takes a task", DEADLINE, || {
                started = runs::start(&lab, definition, &["main"], &name(which), more.clone())?;
                Ok(started.is_some())
            })
            .unwrap();
            started.unwrap()
        };
        let ended = stopped(&lab, &begin(&over, "over", json!({})));
        let before = Before {
            plain: begin(&plain, "plain", json!({})),
            back: begin(&back, "back", json!({})),
            wired: begin(&wired, "wired", network(&lab, &[])),
            lone: begin(&lone, "lone", network(&lab, &[])),
            over: ended,
        };
        let live = [&before.plain, &before.back, &before.wired, &before.lone].map(Clone::clone);
        wait_tasks(&lab, &live, "RUNNING", DEADLINE);
        live.iter().for_each(|arn| wait_ready(node, arn, "main"));
        let container_of = |arn: &str| inspect(node, arn, "main")["Id"].clone();
        let kept = [before.back.clone(), before.wired.clone()];
        let same = kept.each_ref().map(|arn| container_of(arn));
        let at = address(&task(&lab, &before.wired));
        assert_eq!(page(node, &before.lone, "main", &at), host_name(&at));

        if !online {
            lab.control().kill().unwrap();
        }
        lab.reboot(0).unwrap();
        if online {
            node.launch_agent().unwrap();
        } else {
            launch_twice(node);
        }
        let came_back = || Ok(kept.iter().all(|arn| inspect(node, arn, "main")["State"]["Running"] == true));
        wait_until("what its policy restarts", DEADLINE, came_back).unwrap();
        if !online {
            wait_until("what is over, without the control plane", DEADLINE, || {
                let status = longshore_tests::lab::Agent::status(&node.host)?;
                let all = status["tasks"].as_array().cloned().unwrap_or_default();
                let of = |arn: &str| all.iter().find(|t| t["id"] == id(arn)).map(|t| t["status"].clone());
                anyhow::ensure!(of(&before.plain) == Some(json!("STOPPED")), "{status:#}");
                Ok(true)
            })
            .unwrap();
            lab.restart_control().unwrap();
        }
        lab.wait_connected(1, DEADLINE).unwrap();
        kept.iter().for_each(|arn| _ = running(&lab, arn));
        assert_eq!(kept.each_ref().map(|arn| container_of(arn)), same, "they are the same containers");
        assert_eq!(address(&task(&lab, &before.wired)), at, "its address is");
        for arn in &kept {
            assert_eq!(restart_count(node, arn).unwrap(), 1);
        }
        assert_eq!(memory_limit(node, &before.back), 64 << 20, "its limits are back before it is");
        let mut told = Vec::new();
        for arn in [&before.plain, &before.lone] {
            let ended = stopped(&lab, arn);
            // Its network went down with it, and may be missed first.
            let infrastructure = arn == &before.lone && ended["stopCode"] == "InfrastructureHealth";
            assert!(infrastructure || ended["stopCode"] == "EssentialContainerExited", "{ended:#}");
            let why = &container(&ended, "main")["reason"];
            assert!(why.to_string().contains("the host was restarted after"), "online {online}: {ended:#}");
            told.push(ended);
        }
        assert_exactly(&lab, &kept);
        assert_no_leaks(&lab, &kept);
        for (which, times) in [("over", 1), ("plain", 1), ("back", 2), ("wired", 2), ("lone", 1)] {
            assert_eq!(runs.of(&name(which), "main"), times, "online {online}: runs of {which}");
        }
        // The host is one like any other, and nothing is told again.
        let next = begin(&lone, "next", network(&lab, &[]));
        running(&lab, &next);
        wait_ready(node, &next, "main");
        wait_until("the page of the task that came back", DEADLINE, || {
            Ok(page(node, &next, "main", &at) == host_name(&at))
        })
        .unwrap();
        for arn in kept.iter().chain([&next]) {
            lab.ecs("stop_task", json!({"task": arn})).unwrap();
            let ended = stopped(&lab, arn);
            assert_eq!(container(&ended, "main")["exitCode"], 0);
            told.push(ended);
        }
        assert_nothing_left(&lab);
        assert_clean(node);
        told.push(before.over);
        runs::assert_ends_told_once(&lab, &told);
    }
}
