//! What a task is on a host: network modes, ports, containers, exits, stopping, storage and limits.

use std::time::{Duration, Instant};

use longshore_tests::lab::net::host_address;
use longshore_tests::lab::{Lab, wait_for, wait_until};
use serde_json::{Value, json};

use super::command::{longshore, ok};
use super::support::*;

fn page(text: &str) -> String {
    format!("mkdir -p /tmp/w; echo {text} >/tmp/w/index.html; exec httpd -f -p 80 -h /tmp/w")
}

#[test]
fn bridge_mode_publishes_fixed_and_dynamic_ports_tcp_and_udp() {
    let lab = lab(2);
    let mut web = shell("web", &page("it-works"));
    merge(&mut web, json!({"portMappings": [{"containerPort": 80}, {"containerPort": 81, "hostPort": 8081}]}));
    let echo = json!({"name": "echo", "image": "probe", "memory": 8, "command": ["udp", "5000"], "stopTimeout": 1,
        "portMappings": [{"containerPort": 5000, "hostPort": 0, "protocol": "udp"}]});
    let definition = register(&lab, "ports", json!([web, echo]), json!({"networkMode": "bridge"}));
    let arns = run(&lab, &definition, 2, json!({"placementConstraints": [{"type": "distinctInstance"}]}));
    let mut seen = Vec::new();
    for task in wait_tasks(&lab, &arns, "RUNNING", DEADLINE) {
        let node = node_of(&lab, &task);
        let bindings = container(&task, "web")["networkBindings"].as_array().unwrap();
        assert_eq!(bindings.len(), 2, "one binding a port: {bindings:?}");
        let dynamic = bindings.iter().find(|b| b["containerPort"] == 80).unwrap();
        let fixed = bindings.iter().find(|b| b["containerPort"] == 81).unwrap();
        assert_eq!(fixed["hostPort"], 8081);
        assert_eq!(fixed["protocol"], "tcp");
        let port = u16::try_from(dynamic["hostPort"].as_u64().unwrap()).unwrap();
        assert!((30_000..=32_767).contains(&port), "{port} is not of the configured range");
        wait_until("the page", DEADLINE, || Ok(http_get(&lab, node.host.address(), port, "/")?.contains("it-works")))
            .unwrap();
        let udp = &container(&task, "echo")["networkBindings"][0];
        assert_eq!(udp["protocol"], "udp", "{udp}");
        let target = (node.host.address(), u16::try_from(udp["hostPort"].as_u64().unwrap()).unwrap());
        // The first one may come before the container listens.
        let answered = wait_for("an answer to a datagram", DEADLINE, || {
            lab.ctl().in_network(|| {
                let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
                socket.set_read_timeout(Some(Duration::from_millis(500)))?;
                socket.send_to(b"ping", target)?;
                let mut buffer = [0u8; 16];
                let (length, _) = socket.recv_from(&mut buffer)?;
                Ok(Some(buffer[..length].to_vec()))
            })
        });
        assert_eq!(answered.unwrap(), b"ping");
        seen.push(node.host.name().to_owned());
    }
    seen.sort();
    assert_eq!(seen, ["h1", "h2"]);

    // Many of them on one host at once: no port is given twice, and each reaches its own task.
    let mut named = shell("web", "");
    merge(
        &mut named,
        json!({"command": ["sh", "-c", page("$NAME")], "portMappings": [{"containerPort": 80}, {"containerPort": 90}]}),
    );
    let definition = register(&lab, "many", json!([named]), json!({}));
    let mut tasks = Vec::new();
    for n in 0..8 {
        let overrides = json!({"containerOverrides": [
            {"name": "web", "environment": [{"name": "NAME", "value": format!("task-{n}")}]}]});
        let strategy = json!([{"type": "binpack", "field": "memory"}]);
        tasks.push(run_one(&lab, &definition, json!({"overrides": overrides, "placementStrategy": strategy})));
    }
    let mut ports = std::collections::BTreeSet::new();
    for (n, task) in wait_tasks(&lab, &tasks, "RUNNING", DEADLINE).iter().enumerate() {
        let node = node_of(&lab, task);
        for binding in container(task, "web")["networkBindings"].as_array().unwrap() {
            assert!(ports.insert((node.host.name(), binding["hostPort"].as_u64())), "{binding} was given twice");
        }
        let bindings = container(task, "web")["networkBindings"].as_array().unwrap();
        let port = bindings.iter().find(|b| b["containerPort"] == 80).unwrap()["hostPort"].as_u64().unwrap();
        wait_until("its own page", DEADLINE, || {
            let text = http_get(&lab, node.host.address(), u16::try_from(port)?, "/")?;
            anyhow::ensure!(text.contains(&format!("task-{n}")), "another task answered: {text}");
            Ok(true)
        })
        .unwrap();
    }
    tasks.extend(arns);
    for arn in &tasks {
        lab.ecs("stop_task", json!({"task": arn})).unwrap();
    }
    wait_tasks(&lab, &tasks, "STOPPED", DEADLINE);
    assert_no_leaks(&lab, &[]);
    for node in lab.nodes() {
        wait_until("closed ports", DEADLINE, || Ok(listening(node).is_empty())).unwrap();
    }
}

#[test]
fn host_and_none_modes_are_what_they_say() {
    let lab = lab(1);
    let node = lab.node(0);
    let mut web = shell("web", "mkdir -p /tmp/w; echo on-the-host >/tmp/w/index.html; exec httpd -f -p 8099 -h /tmp/w");
    merge(&mut web, json!({"portMappings": [{"containerPort": 8099}]}));
    let definition = register(&lab, "hostnet", json!([web]), json!({"networkMode": "host"}));
    let on_host = run_one(&lab, &definition, json!({}));
    running(&lab, &on_host);
    wait_until("the page", DEADLINE, || Ok(http_get(&lab, host_address(1), 8099, "/")?.contains("on-the-host")))
        .unwrap();
    assert_eq!(inspect(node, &on_host, "web")["HostConfig"]["NetworkMode"], "host");

    let looks = shell("main", "ls /sys/class/net; cat /proc/net/route; sleep 600");
    let definition = register(&lab, "nonet", json!([looks]), json!({"networkMode": "none"}));
    let alone = run_one(&lab, &definition, json!({}));
    let task = running(&lab, &alone);
    wait_until("output", DEADLINE, || Ok(output(node, &alone, "main").contains("Iface"))).unwrap();
    let text = output(node, &alone, "main");
    assert_eq!(text.lines().next(), Some("lo"), "more than a loopback link: {text}");
    assert_eq!(text.lines().count(), 2, "a route: {text}");
    assert!(container(&task, "main")["networkBindings"].as_array().is_none_or(Vec::is_empty));

    // A port that is taken on the only host is a reason and not a try.
    let second = lab.ecs("run_task", json!({"taskDefinition": "hostnet"})).unwrap();
    assert_eq!(second["tasks"], json!([]));
    assert_eq!(second["failures"][0]["reason"], "RESOURCE:PORTS", "{second}");
}

#[test]
fn exits_are_reported_with_codes_and_the_words_of_ecs() {
    let lab = lab(1);
    let node = lab.node(0);
    // Two containers: the helper's end is the task's business only when it is essential.
    let mut helper = shell("helper", "exit 3");
    merge(&mut helper, json!({"essential": false}));
    let main = shell("main", "trap 'exit 0' TERM; while true; do sleep 0.1; done");
    let definition = register(&lab, "pair", json!([helper, main]), json!({}));
    let pair = run_one(&lab, &definition, json!({}));
    wait_until("the helper's end", DEADLINE, || Ok(container(&task(&lab, &pair), "helper")["lastStatus"] == "STOPPED"))
        .unwrap();
    let now = task(&lab, &pair);
    assert_eq!(now["lastStatus"], "RUNNING");
    assert_eq!(container(&now, "helper")["exitCode"], 3);
    assert!(now.get("stoppedReason").is_none() && now.get("stoppedAt").is_none(), "absent until known: {now:#}");

    let script = "sleep 0.5; exit 7";
    let other = shell("other", "sleep 600");
    let definition = register(&lab, "fails", json!([shell("main", script), other]), json!({}));
    let fails = run_one(&lab, &definition, json!({}));
    lab.wait_ecs("tasks_stopped", json!({"tasks": [fails]})).unwrap();
    let ended = task(&lab, &fails);
    assert_eq!(ended["stopCode"], "EssentialContainerExited");
    assert_eq!(ended["stoppedReason"], "Essential container in task exited");
    assert_eq!(container(&ended, "main")["exitCode"], 7);
    assert_eq!(container(&ended, "other")["exitCode"], 137, "stopped along: sh as pid 1 ignores SIGTERM");
    for time in ["createdAt", "startedAt", "stoppingAt", "executionStoppedAt", "stoppedAt"] {
        assert!(ended[time].is_number(), "{time} is missing: {ended:#}");
    }
    assert!(ended["createdAt"].as_f64() <= ended["startedAt"].as_f64());
    assert!(ended["startedAt"].as_f64() <= ended["stoppedAt"].as_f64());

    // What cannot start says why.
    let mut missing = sleeper();
    merge(&mut missing, json!({"image": "longshore.invalid/no-such-image:1"}));
    let definition = register(&lab, "noimage", json!([missing]), json!({}));
    let ended = stopped(&lab, &run_one(&lab, &definition, json!({})));
    assert_eq!(ended["stopCode"], "TaskFailedToStart", "{ended:#}");
    let reason = container(&ended, "main")["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("CannotPullContainerError"), "{reason}");
    assert!(ended["stoppedReason"].as_str().unwrap().contains("CannotPullContainerError"), "{ended:#}");

    let mut broken = sleeper();
    merge(&mut broken, json!({"entryPoint": ["/no/such/program"]}));
    let definition = register(&lab, "noprogram", json!([broken]), json!({}));
    let ended = stopped(&lab, &run_one(&lab, &definition, json!({})));
    assert_eq!(ended["stopCode"], "TaskFailedToStart", "{ended:#}");
    let reason = container(&ended, "main")["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("CannotStartContainerError"), "{reason}");

    let definition = register(&lab, "hungry", json!([shell("main", "tail /dev/zero")]), json!({}));
    let ended = stopped(&lab, &run_one(&lab, &definition, json!({})));
    assert_eq!(container(&ended, "main")["exitCode"], 137);
    let reason = container(&ended, "main")["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("OutOfMemoryError: Container killed due to memory usage"), "{reason}");

    // Removed behind the agent's back: stopped, with a reason, never started again.
    let definition = register(&lab, "vanishes", json!([sleeper()]), json!({}));
    let vanishes = run_one(&lab, &definition, json!({}));
    running(&lab, &vanishes);
    node.host.run("docker", &["-H", &node.docker(), "rm", "-f", &format!("ls-{}-main", id(&vanishes))]).unwrap();
    let ended = stopped(&lab, &vanishes);
    assert!(ended["stoppedReason"].is_string(), "{ended:#}");
    assert_no_leaks(&lab, &[pair]);
}

#[test]
fn stopping_asks_first_and_kills_later() {
    let lab = lab(1);
    let gentle = shell("main", "trap 'echo bye; exit 42' TERM; echo ready; while true; do sleep 0.1; done");
    let stubborn = json!({"name": "main", "image": "probe", "memory": 8, "command": ["sleep"], "stopTimeout": 3});
    let gentle = register(&lab, "gentle", json!([gentle]), json!({}));
    let stubborn = register(&lab, "stubborn", json!([stubborn]), json!({}));
    let gentle = run_one(&lab, &gentle, json!({}));
    let stubborn = run_one(&lab, &stubborn, json!({"startedBy": "the-test"}));
    lab.wait_ecs("tasks_running", json!({"tasks": [gentle, stubborn]})).unwrap();
    wait_ready(lab.node(0), &gentle, "main");
    let by = lab.ecs("list_tasks", json!({"startedBy": "the-test"})).unwrap();
    assert_eq!(by["taskArns"], json!([stubborn]));

    let begin = Instant::now();
    let answer = lab.ecs("stop_task", json!({"task": stubborn, "reason": "enough of it"})).unwrap();
    assert_eq!(answer["task"]["desiredStatus"], "STOPPED");
    assert_eq!(answer["task"]["stoppedReason"], "enough of it");
    lab.ecs("stop_task", json!({"task": gentle})).unwrap();
    let ended = stopped(&lab, &gentle);
    assert_eq!(container(&ended, "main")["exitCode"], 42, "SIGTERM reached it");
    assert_eq!(ended["stopCode"], "UserInitiated");
    assert_eq!(ended["stoppedReason"], "Task stopped by user");
    let ended = stopped(&lab, &stubborn);
    let took = begin.elapsed();
    assert!(took >= Duration::from_secs(3), "killed after {took:?}, before its stopTimeout");
    assert!(took <= Duration::from_secs(15), "killed only after {took:?}");
    assert_eq!(container(&ended, "main")["exitCode"], 137);
    assert_eq!(ended["stoppedReason"], "enough of it");
    // Stopping again changes nothing.
    let again = lab.ecs("stop_task", json!({"task": stubborn, "reason": "again"})).unwrap();
    assert_eq!(again["task"]["stoppedReason"], "enough of it");
    let listed = lab.ecs("list_tasks", json!({"desiredStatus": "STOPPED"})).unwrap();
    assert_eq!(listed["taskArns"].as_array().unwrap().len(), 2, "stopped tasks stay describable");
    assert_no_leaks(&lab, &[]);
}

/// Runs one container to its end and gives what it printed.
fn prints(lab: &Lab, family: &str, script: &str, members: Value, more: Value) -> String {
    let mut main = shell("main", &format!("{script}; touch /tmp/x 2>/dev/null; sleep 600"));
    merge(&mut main, members);
    let definition = register(lab, family, json!([main]), more);
    let arn = run_one(lab, &definition, json!({}));
    running(lab, &arn);
    let node = lab.node(0);
    wait_until("output", DEADLINE, || Ok(output(node, &arn, "main").contains("end-of-output"))).unwrap();
    output(node, &arn, "main")
}

#[test]
fn definitions_reach_the_container() {
    let lab = lab(1);
    let script = "echo \"$GREETING from $(id -u) in $(pwd)\"; ulimit -n; (touch /etc/x 2>&1 || true) | head -n1; \
                  mount | grep ' /scratch '; cat /proc/1/status | grep CapEff; ls -l /dev/fuse-as; hostname; \
                  echo end-of-output";
    let text = prints(
        &lab,
        "many-fields",
        script,
        json!({
            "environment": [{"name": "GREETING", "value": "hello $HOME \"quoted\""}],
            "user": "65534",
            "workingDirectory": "/tmp",
            "hostname": "named",
            "readonlyRootFilesystem": true,
            "ulimits": [{"name": "nofile", "softLimit": 77, "hardLimit": 88}],
            "linuxParameters": {
                "capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]},
                "tmpfs": [{"containerPath": "/scratch", "size": 4, "mountOptions": ["noexec"]}],
                "devices": [{"hostPath": "/dev/null", "containerPath": "/dev/fuse-as", "permissions": ["read"]}],
                "initProcessEnabled": true,
            },
            "dockerLabels": {"mine": "yes"},
        }),
        json!({}),
    );
    assert!(text.contains("hello $HOME \"quoted\" from 65534 in /tmp"), "{text}");
    assert!(text.contains("\n77\n"), "ulimits: {text}");
    // The kernel says so before it looks at permissions, which would keep this user out in any case.
    assert!(text.contains("/etc/x: Read-only file system"), "{text}");
    assert!(text.contains("tmpfs on /scratch") && text.contains("noexec"), "{text}");
    assert!(text.contains("/dev/fuse-as"), "{text}");
    assert!(text.contains("named"), "{text}");
}

#[test]
fn overrides_volumes_and_limits_are_honoured() {
    let lab = lab(1);
    let node = lab.node(0);
    // A task-scoped volume is shared by the task's containers and goes with it; a host path is the host's.
    let shared = node.host.dir().join("shared");
    std::fs::create_dir_all(&shared).unwrap();
    let mut writer = shell("writer", "echo \"$WHO\" >/data/note; echo \"$WHO\" >/host/note; sleep 600");
    let mut reader =
        shell("reader", "until cat /data/note 2>/dev/null; do sleep 0.1; done; touch /host/no; echo end; sleep 600");
    let data = json!({"sourceVolume": "data", "containerPath": "/data"});
    merge(&mut writer, json!({"mountPoints": [data, {"sourceVolume": "host", "containerPath": "/host"}]}));
    merge(
        &mut reader,
        json!({"mountPoints": [data, {"sourceVolume": "host", "containerPath": "/host", "readOnly": true}]}),
    );
    let volumes = json!([{"name": "data"}, {"name": "host", "host": {"sourcePath": shared.to_str().unwrap()}}]);
    let more = json!({"volumes": volumes, "cpu": "512", "memory": "64"});
    let definition = register(&lab, "volumes", json!([writer, reader]), more);
    let overrides = json!({"containerOverrides": [
        {"name": "writer", "environment": [{"name": "WHO", "value": "overridden"}]}]});
    let arn = run_one(&lab, &definition, json!({"overrides": overrides}));
    let task = running(&lab, &arn);
    wait_until("output", DEADLINE, || Ok(output(node, &arn, "reader").contains("end"))).unwrap();
    assert!(output(node, &arn, "reader").contains("overridden"), "{}", output(node, &arn, "reader"));
    assert_eq!(std::fs::read_to_string(shared.join("note")).unwrap(), "overridden\n");
    assert!(!shared.join("no").exists(), "a read-only mount was written");
    assert_eq!(task["cpu"], "512");
    assert_eq!(task["memory"], "64");

    // The task's own limits hold all its containers, whatever each may have.
    let pid = inspect(node, &arn, "writer")["State"]["Pid"].as_i64().unwrap();
    let script = format!(
        "v1=$(grep ':memory:' /proc/{pid}/cgroup | cut -d: -f3); \
         v2=$(grep '^0::' /proc/{pid}/cgroup | cut -d: -f3); \
         cat /sys/fs/cgroup/memory$(dirname $v1)/memory.limit_in_bytes 2>/dev/null || \
         cat /sys/fs/cgroup$(dirname $v2)/memory.max"
    );
    let limit = node.host.run("sh", &["-c", &script]).unwrap();
    assert_eq!(limit.trim(), (64 << 20).to_string());

    let error = lab
        .ecs_error(
            "run_task",
            json!({"taskDefinition": definition, "overrides": {"containerOverrides": [{"name": "nobody"}]}}),
        )
        .unwrap();
    assert!(error.message.contains("nobody"), "{error}");
    lab.ecs("stop_task", json!({"task": arn})).unwrap();
    stopped(&lab, &arn);
    assert_no_leaks(&lab, &[]);
}

#[test]
fn an_engine_that_does_not_answer_leaves_tasks_unknown_and_not_stopped() {
    let lab = lab(1);
    let node = lab.node(0);
    let definition = register(&lab, "calm", json!([sleeper()]), json!({}));
    let arns = run(&lab, &definition, 3, json!({}));
    wait_tasks(&lab, &arns, "RUNNING", DEADLINE);
    let before: Vec<Value> = arns.iter().map(|a| inspect(node, a, "main")).collect();

    node.engine.freeze();
    // A new task has to wait for Docker, and the old ones are not declared dead meanwhile.
    let late = run_one(&lab, &definition, json!({}));
    let begin = Instant::now();
    wait_until("some time with a frozen Docker", DEADLINE, || {
        for described in describe(&lab, &arns)? {
            assert_eq!(described["lastStatus"], "RUNNING", "{described:#}");
        }
        assert_ne!(task(&lab, &late)["lastStatus"], "STOPPED");
        Ok(begin.elapsed() > Duration::from_secs(15))
    })
    .unwrap();
    // Whoever asks is told that it is what was known last.
    wait_until("a state that is said to be unknown", DEADLINE, || {
        let said = ok(&longshore(&lab, &["describe", &arns[0]]));
        let state = said.lines().find(|line| line.trim_start().starts_with("State:")).unwrap_or_default();
        anyhow::ensure!(state.contains("unknown since ") && said.contains("RUNNING"), "{said}");
        Ok(true)
    })
    .unwrap();
    node.engine.thaw();
    running(&lab, &late);
    node.engine.kill().unwrap();
    wait_until("some time without Docker", DEADLINE, || {
        assert!(describe(&lab, &arns)?.iter().all(|t| t["lastStatus"] == "RUNNING"));
        Ok(begin.elapsed() > Duration::from_secs(20))
    })
    .unwrap();
    node.engine.launch(&node.host).unwrap();
    node.engine.wait_ready(&node.host).unwrap();
    let mut all = arns.clone();
    all.push(late);
    assert_exactly(&lab, &all);
    wait_until("a state that is known again", DEADLINE, || {
        Ok(!ok(&longshore(&lab, &["describe", &arns[0]])).contains("unknown since"))
    })
    .unwrap();
    for (arn, before) in arns.iter().zip(before) {
        let now = inspect(node, arn, "main");
        assert_eq!((&now["Id"], &now["State"]["StartedAt"]), (&before["Id"], &before["State"]["StartedAt"]));
    }
}
