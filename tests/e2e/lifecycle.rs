//! How containers are looked after: health checks, the order of starts and stops, restarts.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use longshore_tests::lab::{Lab, Node, host, image, invariant, wait_for, wait_until};
use serde_json::{Value, json};

use super::support::*;

/// An image whose own health check is that the file `/tmp/ok` is there.
fn load_checked(node: &Node, scratch: &Path) {
    let check = "HEALTHCHECK --interval=1s --timeout=5s --retries=1 CMD test -e /tmp/ok";
    let tar = image::busybox(scratch).unwrap();
    node.engine.import("checked", &tar, &["CMD [\"/bin/sh\"]", check]).unwrap();
}

/// Runs a command in a container, which need not succeed.
fn exec(node: &Node, arn: &str, name: &str, command: &str) {
    let container = format!("ls-{}-{name}", id(arn));
    node.host.run("docker", &["-H", &node.docker(), "exec", &container, "sh", "-c", command]).unwrap();
}

/// Waits until the containers of a task, in this order, and then the task itself are of these healths.
fn wait_health(lab: &Lab, arn: &str, wanted: &[(&str, &str)], whole: &str) {
    wait_until(&format!("the health {wanted:?} {whole}"), DEADLINE, || {
        let now = task(lab, arn);
        assert_ne!(now["lastStatus"], "STOPPED", "health ends no task: {now:#}");
        let seen: Vec<&str> =
            wanted.iter().map(|(name, _)| container(&now, name)["healthStatus"].as_str().unwrap()).collect();
        ensure!(wanted.iter().map(|(_, health)| *health).eq(seen.iter().copied()), "they are {seen:?}");
        ensure!(now["healthStatus"] == whole, "the task is {}", now["healthStatus"]);
        Ok(true)
    })
    .unwrap();
}

#[test]
fn health_is_that_of_the_definitions_checks_and_of_the_images() {
    let lab = lab(1);
    let node = lab.node(0);
    load_checked(node, &lab.dir().join("checked"));

    let idle = "touch /tmp/ok; while true; do sleep 0.1; done";
    let own = json!({"command": ["CMD-SHELL", "test -e /tmp/ok"], "interval": 5, "retries": 1});
    let mut own_check = shell("own", idle);
    merge(&mut own_check, json!({"healthCheck": own}));
    let mut of_image = shell("image", idle);
    merge(&mut of_image, json!({"image": "checked"}));
    // Not essential, so its health is not the task's.
    let mut aside = shell("aside", "while true; do sleep 0.1; done");
    merge(&mut aside, json!({"image": "checked", "essential": false}));
    let mut off = shell("off", idle);
    merge(&mut off, json!({"image": "checked", "healthCheck": {"command": ["NONE"]}}));
    let plain = shell("plain", idle);
    let definition = register(&lab, "healthy", json!([own_check, of_image, aside, off, plain]), json!({}));
    let kept = lab.ecs("describe_task_definition", json!({"taskDefinition": definition})).unwrap();
    let kept = &kept["taskDefinition"];
    let filled = json!({"command": ["CMD-SHELL", "test -e /tmp/ok"], "interval": 5, "timeout": 5, "retries": 1});
    assert_eq!(kept["containerDefinitions"][0]["healthCheck"], filled);
    let needed: Vec<Value> = kept["requiresAttributes"].as_array().unwrap().clone();
    assert!(needed.contains(&json!({"name": "ecs.capability.container-health-check"})), "{needed:?}");

    let arn = run_one(&lab, &definition, json!({}));
    running(&lab, &arn);
    let of = |own, image, aside| {
        [("own", own), ("image", image), ("aside", aside), ("off", "UNKNOWN"), ("plain", "UNKNOWN")]
    };
    wait_health(&lab, &arn, &of("HEALTHY", "HEALTHY", "UNHEALTHY"), "HEALTHY");
    assert_eq!(inspect(node, &arn, "off")["State"].get("Health"), None);

    exec(node, &arn, "image", "rm /tmp/ok");
    wait_health(&lab, &arn, &of("HEALTHY", "UNHEALTHY", "UNHEALTHY"), "UNHEALTHY");

    // What changes while the agent is away is seen by its first listing.
    node.agent.kill().unwrap();
    exec(node, &arn, "image", "touch /tmp/ok");
    exec(node, &arn, "own", "rm /tmp/ok");
    let health = |name: &str| inspect(node, &arn, name)["State"]["Health"]["Status"].clone();
    wait_until("Docker's word", DEADLINE, || Ok(health("image") == "healthy" && health("own") == "unhealthy")).unwrap();
    node.launch_agent().unwrap();
    wait_health(&lab, &arn, &of("UNHEALTHY", "HEALTHY", "UNHEALTHY"), "UNHEALTHY");

    // Docker calls whatever has ended unhealthy.
    exec(node, &arn, "own", "touch /tmp/ok");
    wait_health(&lab, &arn, &of("HEALTHY", "HEALTHY", "UNHEALTHY"), "HEALTHY");
    lab.ecs("stop_task", json!({"task": arn})).unwrap();
    let ended = stopped(&lab, &arn);
    assert_eq!(container(&ended, "own")["healthStatus"], "HEALTHY", "{ended:#}");
    assert_no_leaks(&lab, &[]);
}

/// The agent asks in the container's own network: nobody else could reach these servers.
#[test]
fn the_agent_probes_by_http_and_tcp_in_every_network_mode() {
    // Probes that cannot be made are said there.
    let lab = lab_with(1, "log = \"info,longshore_agent::probes=debug\"");
    let node = lab.node(0);
    let web = |port: u16| {
        let serve = format!(
            "mkdir -p /tmp/w; trap 'exit 0' TERM; touch /tmp/w/up; httpd -p 127.0.0.1:{port} -h /tmp/w; \
             while true; do sleep 0.1; done"
        );
        let mut web = shell("web", &serve);
        let labels = json!({
            "longshore.health.http": format!("{port}/up"), "longshore.health.interval": "5",
            "longshore.health.retries": "1",
        });
        merge(&mut web, json!({"dockerLabels": labels}));
        web
    };
    for (mode, port) in [("bridge", 80), ("host", 8193), ("awsvpc", 80), ("none", 80)] {
        let mut tcp = shell("tcp", &format!("httpd -f -p 127.0.0.1:{}", port + 1));
        let labels = json!({"longshore.health.tcp": (port + 1).to_string(), "longshore.health.interval": "5"});
        merge(&mut tcp, json!({"dockerLabels": labels}));
        let mut after = shell("after", "while true; do sleep 0.1; done");
        merge(&mut after, json!({"dependsOn": on(&[("web", "HEALTHY"), ("tcp", "HEALTHY")])}));
        let more = json!({"networkMode": mode});
        let definition = register(&lab, &format!("probed-{mode}"), json!([web(port), tcp, after]), more);
        let args = if mode == "awsvpc" { super::awsvpc::network(&lab, &[]) } else { json!({}) };
        let arn = run_one(&lab, &definition, args);
        running(&lab, &arn);
        let of = |web| [("web", web), ("tcp", "HEALTHY"), ("after", "UNKNOWN")];
        wait_health(&lab, &arn, &of("HEALTHY"), "HEALTHY");
        exec(node, &arn, "web", "rm /tmp/w/up");
        wait_health(&lab, &arn, &of("UNHEALTHY"), "UNHEALTHY");
        // A new agent begins anew, and comes to the same.
        node.agent.kill().unwrap();
        exec(node, &arn, "web", "touch /tmp/w/up");
        node.launch_agent().unwrap();
        wait_health(&lab, &arn, &of("HEALTHY"), "HEALTHY");
        if mode == "bridge" {
            nobody_is_ill_because_dockerd_is_away(&lab, &arn);
            wait_health(&lab, &arn, &of("HEALTHY"), "HEALTHY");
        }
        lab.ecs("stop_task", json!({"task": arn})).unwrap();
        stopped(&lab, &arn);
    }
    assert_no_leaks(&lab, &[]);
}

/// An agent that begins while dockerd is away cannot ask a container how it is. Its container `web` would be ill after
/// one failure.
fn nobody_is_ill_because_dockerd_is_away(lab: &Lab, arn: &str) {
    let node = lab.node(0);
    let ids = || -> Vec<Value> {
        task(lab, arn)["containers"].as_array().unwrap().iter().map(|c| c["runtimeId"].clone()).collect()
    };
    let before = ids();
    let log = node.host.dir().join("agent.log");
    node.agent.kill().unwrap();
    node.engine.kill().unwrap();
    let former = std::fs::read(&log).unwrap().len();
    let nobody_is_ill_until = |said: &str, times: usize| {
        wait_until(&format!("{times} times {said:?}"), DEADLINE, || {
            let now = task(lab, arn);
            invariant(container(&now, "web")["healthStatus"] != "UNHEALTHY", || format!("{now:#}"))?;
            let new = String::from_utf8_lossy(&std::fs::read(&log)?[former..]).into_owned();
            let count = new.lines().filter(|line| line.contains("container=web") && line.contains(said)).count();
            ensure!(count >= times, "{count} times");
            Ok(true)
        })
        .unwrap();
    };
    node.launch_agent().unwrap();
    nobody_is_ill_until("a health probe could not be made", 3);
    node.engine.launch(&node.host).unwrap();
    node.engine.wait_ready(&node.host).unwrap();
    nobody_is_ill_until("the health probe says HEALTHY", 1);
    assert_eq!(ids(), before);
}

/// A container that writes its name into a file of the host when it begins and when it is told to end, and runs on.
fn noted(name: &str, more: Value) -> Value {
    let script = format!(
        "trap 'echo -{name} >>/notes/log; exit 0' TERM; echo +{name} >>/notes/log; echo ready; \
         while true; do sleep 0.1; done"
    );
    let mut container = shell(name, &script);
    merge(
        &mut container,
        json!({"mountPoints": [{"sourceVolume": "notes", "containerPath": "/notes"}], "stopTimeout": 20}),
    );
    merge(&mut container, more);
    container
}

fn on(list: &[(&str, &str)]) -> Value {
    list.iter().map(|(name, condition)| json!({"containerName": name, "condition": condition})).collect()
}

/// A container whose end others wait for.
fn first(script: &str, more: Value) -> Value {
    let mut container = shell("first", script);
    merge(&mut container, json!({"essential": false}));
    merge(&mut container, more);
    container
}

#[test]
fn containers_start_and_stop_in_the_order_of_their_dependencies() {
    let lab = lab(1);
    let node = lab.node(0);
    let notes = node.host.dir().join("notes");
    std::fs::create_dir_all(&notes).unwrap();
    let log = || {
        std::fs::read_to_string(notes.join("log")).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let volumes = json!({"volumes": [{"name": "notes", "host": {"sourcePath": notes}}]});

    let mounts = json!({"mountPoints": [{"sourceVolume": "notes", "containerPath": "/notes"}]});
    let check = json!({"command": ["CMD", "test", "-e", "/tmp/ok"], "interval": 5, "retries": 1});
    let containers = json!([
        noted("side", json!({"essential": false, "dependsOn": on(&[("app", "START")])})),
        noted("app", json!({"dependsOn": on(&[("db", "HEALTHY"), ("first", "COMPLETE")])})),
        noted("db", json!({"healthCheck": check, "dependsOn": on(&[("first", "SUCCESS")])})),
        first("sleep 1; echo first >>/notes/log", mounts),
    ]);
    let definition = register(&lab, "ordered", containers, volumes);
    let arn = run_one(&lab, &definition, json!({}));
    // The wait is visible, and ends with what it waits for, also when nobody looks.
    let wait = "Waiting for container `app`: container `db` to be healthy";
    wait_until("the wait for db", DEADLINE, || {
        let now = task(&lab, &arn);
        let reason = container(&now, "app")["reason"].as_str().unwrap_or_default().to_owned();
        ensure!(reason.starts_with(wait) && container(&now, "db")["lastStatus"] == "RUNNING", "{now:#}");
        assert!(reason.contains("; given up at "), "{reason}");
        assert_eq!((&now["lastStatus"], &container(&now, "app")["lastStatus"]), (&json!("PENDING"), &json!("PENDING")));
        Ok(true)
    })
    .unwrap();
    wait_until("what is made while it waits", DEADLINE, || {
        Ok(node.engine.inspect(&format!("ls-{}-app", id(&arn)))?["State"]["Status"] == "created")
    })
    .unwrap();
    node.agent.kill().unwrap();
    exec(node, &arn, "db", "touch /tmp/ok");
    wait_until("Docker's word", DEADLINE, || Ok(inspect(node, &arn, "db")["State"]["Health"]["Status"] == "healthy"))
        .unwrap();
    node.launch_agent().unwrap();
    let now = running(&lab, &arn);
    assert!(container(&now, "app").get("reason").is_none(), "{now:#}");
    assert_eq!(container(&now, "first")["exitCode"], 0);
    for name in ["side", "app", "db"] {
        wait_ready(node, &arn, name);
    }
    let began = |name: &str| inspect(node, &arn, name)["State"]["StartedAt"].as_str().unwrap().to_owned();
    assert!(began("first") < began("db") && began("db") < began("app") && began("app") < began("side"));
    assert_eq!(&log()[..2], ["first", "+db"], "db waits for the end of first");

    lab.ecs("stop_task", json!({"task": arn})).unwrap();
    let ended = stopped(&lab, &arn);
    assert_eq!(&log()[4..], ["-side", "-app", "-db"], "each after what depends on it");
    assert!(["side", "app", "db"].iter().all(|name| container(&ended, name)["exitCode"] == 0), "{ended:#}");
    assert_no_leaks(&lab, &[]);
    cannot_be_met(&lab);
}

/// What never comes ends what waits for it, with the exit code and the words of ECS.
fn cannot_be_met(lab: &Lab) {
    let ends = |family: &str, script: &str, condition: &str, more: Value| {
        let mut app = sleeper();
        merge(&mut app, json!({"dependsOn": on(&[("first", condition)])}));
        let definition = register(lab, family, json!([app, first(script, more)]), json!({}));
        let ended = stopped(lab, &run_one(lab, &definition, json!({})));
        assert_eq!(ended["stopCode"], "TaskFailedToStart", "{ended:#}");
        assert_eq!(container(&ended, "main")["exitCode"], 143, "{ended:#}");
        let reason = container(&ended, "main")["reason"].as_str().unwrap().to_owned();
        assert!(reason.starts_with("CannotStartContainerError: dependency graph: "), "{reason}");
        assert!(ended["stoppedReason"].as_str().unwrap().starts_with(&reason), "{ended:#}");
        (ended, reason)
    };
    let (ended, reason) = ends("fails", "exit 3", "SUCCESS", json!({}));
    assert!(reason.contains("[first] for target [main]") && reason.ends_with("it ended with exit code 3"), "{reason}");
    assert_eq!(container(&ended, "first")["exitCode"], 3);
    let (ended, reason) = ends("slow", "sleep 600", "COMPLETE", json!({"startTimeout": 2}));
    assert!(reason.contains("[first] for target [main] has timed out after 2 s"), "{reason}");
    assert_eq!(container(&ended, "first")["exitCode"], 137, "stopped along: {ended:#}");
    // What a check never says, or cannot say any more.
    let check = json!({"command": ["CMD", "false"], "interval": 5, "retries": 1});
    let checked = |more: Value| {
        let mut all = json!({"healthCheck": check});
        merge(&mut all, more);
        all
    };
    let (ended, reason) = ends("ill", "sleep 600", "HEALTHY", checked(json!({"startTimeout": 2})));
    let limit = "[first] for target [main] has timed out after 2 s (the startTimeout of `first`): it waited for \
                 container `first` to be healthy";
    assert!(reason.contains(limit), "{reason}");
    assert_eq!(container(&ended, "first")["exitCode"], 137, "stopped along: {ended:#}");
    let (ended, reason) = ends("brief", "exit 0", "HEALTHY", checked(json!({})));
    let over = "[first] for target [main] with condition HEALTHY: it ended";
    assert!(reason.ends_with(over), "{reason}");
    assert_eq!(container(&ended, "first")["exitCode"], 0, "{ended:#}");
    // The agent's own limit, where the definition says none.
    let node = lab.node(0);
    node.agent.kill().unwrap();
    let agent = host::program("longshore-agent").unwrap();
    let variables = [("LONGSHORE_AGENT_DEPENDENCY_TIMEOUT", "2s")];
    node.agent.launch_as(&node.host, &node.docker(), &agent, &variables).unwrap();
    lab.wait_connected(1, DEADLINE).unwrap();
    let (_, reason) = ends("endless", "sleep 600", "COMPLETE", json!({}));
    let limit = "[first] for target [main] has timed out after 2 s (the agent's dependency_timeout, as no startTimeout \
                 is set for `first`): it waited for ";
    assert!(reason.contains(limit), "{reason}");
    let (_, reason) = ends("absent", "true", "START", json!({"image": "longshore.invalid/no-such-image:1"}));
    assert!(reason.ends_with("with condition START: it never ran"), "{reason}");

    let refused = |containers: Value, part: &str| {
        let request = json!({"family": "never", "containerDefinitions": containers});
        assert_error(&lab.ecs_error("register_task_definition", request).unwrap(), "ClientException", part);
    };
    let waits = |name: &str, for_whom: &str| plain(name, json!({"dependsOn": on(&[(for_whom, "START")])}));
    refused(json!([waits("a", "b"), waits("b", "a")]), "Container dependencies should not have a cycle");
    refused(json!([waits("a", "nobody")]), "Cannot depend on container + 'nobody' because it does not exist");
    assert_no_leaks(lab, &[]);
}

fn plain(name: &str, more: Value) -> Value {
    let mut container = shell(name, "true");
    merge(&mut container, more);
    container
}

/// Runs a container with a restart policy and gives its task's ARN.
fn run_restarting(lab: &Lab, family: &str, script: &str, policy: Value, labels: Value, more: Value) -> String {
    let mut main = shell("main", script);
    let mut enabled = json!({"enabled": true, "restartAttemptPeriod": 60});
    merge(&mut enabled, policy);
    merge(&mut main, json!({"restartPolicy": enabled, "dockerLabels": labels}));
    merge(&mut main, more);
    let definition = register(lab, family, json!([main]), json!({}));
    run_one(lab, &definition, json!({}))
}

/// Waits until a running task's container has a reason that holds `part`.
fn wait_reason(lab: &Lab, arn: &str, part: &str) -> Value {
    wait_for(&format!("the reason {part:?}"), Duration::from_secs(120), || {
        let now = task(lab, arn);
        assert_ne!(now["lastStatus"], "STOPPED", "{now:#}");
        let reason = container(&now, "main")["reason"].as_str().unwrap_or_default().to_owned();
        ensure!(reason.contains(part), "it is {reason:?}");
        Ok(Some(now))
    })
    .unwrap()
}

#[test]
fn containers_are_restarted_in_place_as_their_policies_say() {
    let lab = lab(1);
    let node = lab.node(0);
    let plain = || json!({});
    let backoff = || json!({"longshore.restart.backoff": "1-2"});

    // As ECS does it: only after a whole period, which is at least a minute. The others go on meanwhile.
    let long = "[ -e /tmp/again ] && exec sleep 600; touch /tmp/again; sleep 61; exit 5";
    let long = run_restarting(&lab, "long", long, plain(), plain(), plain());
    let soon = run_restarting(&lab, "soon", "exit 4", plain(), plain(), plain());
    let first = running(&lab, &long);
    let ended = stopped(&lab, &soon);
    assert_eq!(
        (&ended["stopCode"], &container(&ended, "main")["exitCode"]),
        (&json!("EssentialContainerExited"), &json!(4))
    );
    let reason = container(&ended, "main")["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("not restarted: it ran for ") && reason.ends_with("restartAttemptPeriod is 60 s"),
        "{reason}"
    );

    // With a back-off until an exit code that is ignored; the file system is that of the run before.
    let counts = "echo x >>/tmp/runs; [ $(wc -l </tmp/runs) = 3 ] && exit 9; exit 3";
    let counted = run_restarting(&lab, "counted", counts, json!({"ignoredExitCodes": [9]}), backoff(), plain());
    let ended = stopped(&lab, &counted);
    let main = container(&ended, "main");
    assert_eq!(main["exitCode"], 9, "{ended:#}");
    assert_eq!(main["reason"], "not restarted: exit code 9 is one of its ignoredExitCodes");

    // A crash loop is visible, goes on after the agent was away, and ends with the task.
    let looping = run_restarting(&lab, "loop", "exit 3", plain(), backoff(), plain());
    let now = wait_reason(&lab, &looping, "; crash loop: it ended 3 times in a row");
    assert_eq!((&now["lastStatus"], &container(&now, "main")["lastStatus"]), (&json!("RUNNING"), &json!("RUNNING")));
    let before = restart_count(node, &looping).unwrap();
    assert!(before >= 2, "{before}");
    node.agent.kill().unwrap();
    wait_until(
        "an end that nobody sees",
        DEADLINE,
        || Ok(inspect(node, &looping, "main")["State"]["Running"] == false),
    )
    .unwrap();
    node.launch_agent().unwrap();
    wait_until("more restarts", DEADLINE, || Ok(restart_count(node, &looping)? > before)).unwrap();
    lab.ecs("stop_task", json!({"task": looping})).unwrap();
    assert_eq!(container(&stopped(&lab, &looping), "main")["exitCode"], 3);

    let heals = "rm -f /tmp/ill; while true; do sleep 0.1; done";
    let check = json!({"command": ["CMD-SHELL", "[ ! -e /tmp/ill ]"], "interval": 5, "timeout": 60, "retries": 1});
    let labels = json!({"longshore.restart.backoff": "1-1", "longshore.restart.unhealthy": "true"});
    let ill = run_restarting(&lab, "ill", heals, plain(), labels, json!({"healthCheck": check}));
    // The same by the agent's own probe: the page that is asked for is there again when it begins again.
    let serves = "mkdir -p /tmp/w; touch /tmp/w/up; trap 'exit 0' TERM; httpd -p 127.0.0.1:80 -h /tmp/w; \
                  while true; do sleep 0.1; done";
    let labels = json!({
        "longshore.restart.backoff": "1-1", "longshore.restart.unhealthy": "true",
        "longshore.health.http": "80/up", "longshore.health.interval": "5", "longshore.health.timeout": "60",
        "longshore.health.retries": "1",
    });
    let probed = run_restarting(&lab, "probed", serves, plain(), labels, plain());
    let sick = [(&ill, "touch /tmp/ill", 137), (&probed, "rm /tmp/w/up", 0)].map(|(arn, command, code)| {
        wait_health(&lab, arn, &[("main", "HEALTHY")], "HEALTHY");
        let id_before = inspect(node, arn, "main")["Id"].clone();
        exec(node, arn, "main", command);
        (arn, code, id_before)
    });
    for (arn, code, id_before) in &sick {
        wait_reason(&lab, arn, &format!("Restarts: 1; it last ended with exit code {code}"));
        wait_health(&lab, arn, &[("main", "HEALTHY")], "HEALTHY");
        assert_eq!(inspect(node, arn, "main")["Id"], *id_before, "it is the same container");
    }

    let now = wait_reason(&lab, &long, "Restarts: 1; it last ended with exit code 5");
    assert_eq!(container(&now, "main")["runtimeId"], container(&first, "main")["runtimeId"]);
    assert_eq!(now["startedAt"], first["startedAt"], "the task is the same");
    for arn in [&ill, &probed] {
        assert_eq!(restart_count(node, arn).unwrap(), 1, "it is healthy, and was restarted once");
    }
    for arn in [&long, &ill, &probed] {
        lab.ecs("stop_task", json!({"task": arn})).unwrap();
        stopped(&lab, arn);
    }
    assert_no_leaks(&lab, &[]);
}
