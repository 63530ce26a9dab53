//! What containers ask about themselves at 169.254.170.2, from inside, in every network mode.

mod detector;
mod versions;

use std::collections::{BTreeMap, BTreeSet};

use longshore_tests::lab::{Agent, Lab, LabConfig, Node, invariant, wait_for, wait_until};
use serde_json::{Value, json};

use super::awsvpc::{address, network};
use super::support::*;

/// A task's container, as a client asks from it.
pub(super) struct Inside<'a> {
    node: &'a Node,
    task: Value,
    name: &'static str,
}

impl<'a> Inside<'a> {
    pub(super) fn new(lab: &'a Lab, arn: &str) -> Self {
        let task = running(lab, arn);
        Self { node: node_of(lab, &task), task, name: "main" }
    }

    fn arn(&self) -> &str {
        self.task["taskArn"].as_str().unwrap()
    }

    /// What a shell in the container prints; whether the command worked or not.
    fn sh(&self, script: &str) -> String {
        let name = format!("ls-{}-{}", id(self.arn()), self.name);
        let script = format!("{script} || true");
        self.node.host.run("docker", &["-H", &self.node.docker(), "exec", &name, "sh", "-c", &script]).unwrap()
    }

    /// A document, asked for as a program would: by the variables of its environment.
    fn get(&self, url: &str) -> Value {
        let text = self.sh(&format!("timeout 10 wget -qO- \"{url}\""));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{url} from {}: {e}: {text:?}", self.arn()))
    }

    /// The status and the body, whatever they are.
    fn raw(&self, method: &str, path: &str) -> (u16, String) {
        let head = format!("{method} {path} HTTP/1.0\\r\\nContent-Length: 0\\r\\n\\r\\n");
        let text = self.sh(&format!("printf '{head}' | nc -w 10 169.254.170.2 80"));
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        (status.unwrap_or_else(|| panic!("no answer to {path}: {text:?}")), body.unwrap_or_default())
    }

    /// Puts a body; what comes back is JSON.
    pub(super) fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let head = format!("PUT {path} HTTP/1.0\\r\\nContent-Length: {}\\r\\n\\r\\n", body.len());
        let text = self.sh(&format!("printf '{head}%s' '{body}' | nc -w 10 169.254.170.2 80"));
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = text.split_once("\r\n\r\n").map(|(_, body)| serde_json::from_str(body).unwrap());
        (status.unwrap_or_else(|| panic!("no answer to {path}: {text:?}")), body.unwrap_or_default())
    }

    pub(super) fn environment(&self) -> BTreeMap<String, String> {
        let lines = self.sh("env");
        lines.lines().filter_map(|l| l.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    /// The path of the container's own document.
    fn path(&self) -> String {
        self.environment()["ECS_CONTAINER_METADATA_URI_V4"].replace("http://169.254.170.2", "")
    }
}

const IDLE: &str = "trap 'exit 0' TERM; echo ready; while true; do sleep 0.2; done";

fn define(lab: &Lab, mode: &str, ports: Value) -> String {
    let mut main = shell("main", IDLE);
    merge(&mut main, json!({"cpu": 64, "portMappings": ports, "dockerLabels": {"tier": "front"}}));
    let containers = json!([main, shell("side", IDLE)]);
    register(lab, &format!("meta-{mode}"), containers, json!({"networkMode": mode, "cpu": "256", "memory": "64"}))
}

fn wait_open(lab: &Lab) {
    for node in lab.nodes() {
        wait_until("the metadata endpoint", DEADLINE, || {
            let seen = Agent::status(&node.host)?["metadata"].clone();
            anyhow::ensure!(seen["host"]["ok"] == true && seen["awsvpc"]["ok"] == true, "{seen}");
            Ok(true)
        })
        .unwrap();
    }
}

/// What a container is told of itself is what Docker and the API say of it.
fn check_documents(inside: &Inside<'_>, mode: &str, addresses: &Value) {
    let seen = inspect(inside.node, inside.arn(), "main");
    let api = container(&inside.task, "main");
    let told = inside.get("${ECS_CONTAINER_METADATA_URI_V4}");
    let network = &told["Networks"][0];
    for (told, real) in [
        (&told["DockerId"], &seen["Id"]),
        (&told["ImageID"], &seen["Image"]),
        (&told["DockerName"], &json!(format!("ls-{}-main", id(inside.arn())))),
        (&told["ContainerARN"], &api["containerArn"]),
        (&told["Image"], &json!("busybox")),
        (&told["KnownStatus"], &json!("RUNNING")),
        (&told["DesiredStatus"], &json!("RUNNING")),
        (&told["Limits"], &json!({"CPU": 64, "Memory": 16})),
        (&told["Type"], &json!("NORMAL")),
        (&told["Labels"]["tier"], &json!("front")),
        (&told["Labels"]["com.amazonaws.ecs.task-arn"], &json!(inside.arn())),
        (&network["NetworkMode"], &json!(mode)),
        (&network["IPv4Addresses"], addresses),
    ] {
        assert_eq!(told, real, "{mode}");
    }
    assert!(told["CreatedAt"].as_str().unwrap().ends_with('Z') && told["StartedAt"].is_string(), "{told:#}");

    let whole = inside.get("${ECS_CONTAINER_METADATA_URI_V4}/task");
    for (name, real) in [
        ("Cluster", json!("default")),
        ("TaskARN", json!(inside.arn())),
        ("Family", json!(format!("meta-{mode}"))),
        ("Revision", json!("1")),
        ("KnownStatus", json!("RUNNING")),
        ("Limits", json!({"CPU": 0.25, "Memory": 64})),
        ("AvailabilityZone", json!("rack-1")),
        ("LaunchType", json!("EC2")),
        ("TaskTags", Value::Null),
    ] {
        assert_eq!(whole[name], real, "{mode} {name}: {whole:#}");
    }
    assert_eq!(strings(&whole["Containers"], "Name"), ["main", "side"]);
    assert!(whole["PullStartedAt"].is_string(), "{whole:#}");
    let tagged = inside.get("${ECS_CONTAINER_METADATA_URI_V4}/taskWithTags");
    assert_eq!(tagged["TaskTags"], json!({"team": "red"}));
    let earlier = inside.get("${ECS_CONTAINER_METADATA_URI}/task");
    assert_eq!((&earlier["TaskARN"], &earlier["LaunchType"]), (&json!(inside.arn()), &Value::Null));
    let environment = inside.environment();
    assert_eq!(environment["AWS_REGION"], "eu-lab-1");
    assert_eq!(environment["AWS_DEFAULT_REGION"], "eu-lab-1");
    assert_eq!(environment["AWS_EXECUTION_ENV"], "AWS_ECS_EC2");
}

#[test]
fn containers_ask_about_themselves_in_every_mode() {
    let lab = lab_with(1, "zone = \"rack-1\"");
    wait_open(&lab);
    let tags = json!({"tags": [{"key": "team", "value": "red"}]});
    // Port 80 of the host is somebody's: the endpoint does not need it, and is not led astray by Docker's rules.
    let bridge = define(&lab, "bridge", json!([{"containerPort": 80, "hostPort": 80}]));
    let host = define(&lab, "host", json!([]));
    let vpc = define(&lab, "awsvpc", json!([{"containerPort": 80}]));
    let mut with_network = network(&lab, &[]);
    merge(&mut with_network, tags.clone());
    let bridge = Inside::new(&lab, &run_one(&lab, &bridge, tags.clone()));
    let host = Inside::new(&lab, &run_one(&lab, &host, tags));
    let vpc = Inside::new(&lab, &run_one(&lab, &vpc, with_network.clone()));
    let of_docker = inspect(bridge.node, bridge.arn(), "main")["NetworkSettings"]["IPAddress"].clone();
    check_documents(&bridge, "bridge", &json!([of_docker]));
    check_documents(&host, "host", &Value::Null);
    check_documents(&vpc, "awsvpc", &json!([address(&vpc.task)]));

    // An interface is told whole; and whoever has one needs no id.
    let eni = vpc.get("${ECS_CONTAINER_METADATA_URI_V4}")["Networks"][0].clone();
    assert_eq!(eni["MACAddress"], json!(super::awsvpc::detail(&vpc.task, "macAddress")));
    assert_eq!(eni["IPv4SubnetCIDRBlock"], "10.77.0.0/16");
    assert_eq!(eni["PrivateDNSName"], json!(format!("ip-{}", address(&vpc.task).replace('.', "-"))));
    let by_address = vpc.get("http://169.254.170.2/v2/metadata");
    assert_eq!(by_address["TaskARN"], json!(vpc.arn()));
    let docker_id = by_address["Containers"][1]["DockerId"].as_str().unwrap().to_owned();
    assert_eq!(vpc.get(&format!("http://169.254.170.2/v2/metadata/{docker_id}"))["Name"], "side");
    assert_eq!(bridge.raw("GET", "/v2/metadata").0, 404, "addresses of the bridge change hands");

    // Nobody is told of another's task: not by guessing, and not with an id that was meant for somebody else.
    let other = Inside::new(&lab, &run_one(&lab, "meta-awsvpc", with_network));
    assert_eq!(other.get("${ECS_CONTAINER_METADATA_URI_V4}/task")["TaskARN"], json!(other.arn()));
    let everybody = [&bridge, &host, &vpc, &other];
    for asker in everybody {
        for owner in everybody {
            let path = owner.path();
            let own = asker.arn() == owner.arn();
            let by_id_alone = owner.arn() == host.arn() && asker.arn() == bridge.arn();
            if !by_id_alone {
                assert_eq!(asker.raw("GET", &path).0, if own { 200 } else { 404 }, "{} {path}", asker.arn());
            }
            let last = if path.ends_with('0') { "1" } else { "0" };
            assert_eq!(asker.raw("GET", &format!("{}{last}", &path[..path.len() - 1])).0, 404);
        }
        assert_eq!(asker.raw("GET", &format!("/v4/{}", id(asker.arn()))).0, 404);
        assert_eq!(asker.raw("POST", &asker.path()).0, 405);
    }

    everybody.into_iter().for_each(versions::by_id);
    versions::by_address(&vpc, &other, &[&bridge, &host]);
    comes_back(&lab, &everybody);
    detector::reads_it(&lab);
    let nowhere = run_one(&lab, &define(&lab, "none", json!([])), json!({}));
    let environment = Inside::new(&lab, &nowhere).environment();
    assert!(!environment.keys().any(|name| name.starts_with("ECS_")), "{environment:?}");
    assert_eq!(environment["AWS_REGION"], "eu-lab-1");
    assert_eq!(environment["AWS_EXECUTION_ENV"], "AWS_ECS_EC2");
}

/// The same ids are answered by an agent that was killed, before it has a control plane, and whatever somebody removes.
fn comes_back(lab: &Lab, everybody: &[&Inside<'_>]) {
    let node = lab.node(0);
    let answers = || {
        for inside in everybody {
            wait_until(&format!("an answer to {}", inside.arn()), DEADLINE, || {
                let text = inside.sh("timeout 5 wget -qO- \"${ECS_CONTAINER_METADATA_URI_V4}/task\" 2>&1");
                anyhow::ensure!(text.contains(inside.arn()), "{text}");
                Ok(true)
            })
            .unwrap();
        }
    };
    for line in [
        "nft delete table inet ls_meta",
        "nft flush chain inet ls_meta ask",
        "ip addr del 169.254.170.2/32 dev lo",
        "ip netns exec ls-fab ip addr del 169.254.170.2/32 dev lo",
    ] {
        node.host.run("sh", &["-c", line]).unwrap();
        answers();
    }
    node.agent.kill().unwrap();
    lab.control().kill().unwrap();
    node.launch_agent().unwrap();
    answers();
    lab.restart_control().unwrap();
    lab.wait_connected(1, DEADLINE).unwrap();
}

/// The number at a path of a document, like `cpu_stats/cpu_usage/total_usage`.
fn number(document: &Value, path: &str) -> u64 {
    let found = document.pointer(&format!("/{path}")).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("no {path} in {document:#}"))
}

/// What a container is told it uses is what Docker says, and rises. Docker itself `reads` nothing of a container in
/// another one's network, which it did not make: its document is empty then.
fn check_figures(inside: &Inside<'_>, reads: bool) {
    let docker_id = inspect(inside.node, inside.arn(), "main")["Id"].as_str().unwrap().to_owned();
    let told = || inside.get("${ECS_CONTAINER_METADATA_URI_V4}/stats");
    let system = |document: &Value| number(document, "cpu_stats/system_cpu_usage");
    let before = told();
    let by_docker = wait_for("Docker's own figures", DEADLINE, || {
        let told = inside.node.engine.get(&format!("/containers/{docker_id}/stats?stream=false"))?;
        let whole = told.pointer("/cpu_stats/system_cpu_usage").is_some();
        Ok((whole || !reads).then_some(told))
    })
    .unwrap();
    let mut readings = vec![&before];
    readings.extend(Some(&by_docker).filter(|_| reads));
    // What was read a moment ago is told again, so this waits for another reading.
    let after = wait_for("newer figures", DEADLINE, || {
        let told = told();
        Ok(readings.iter().all(|earlier| system(&told) > system(earlier)).then_some(told))
    })
    .unwrap();
    readings.push(&after);
    for path in ["cpu_stats/cpu_usage/total_usage", "cpu_stats/system_cpu_usage"] {
        let all: Vec<u64> = readings.iter().map(|document| number(document, path)).collect();
        assert!(all[0] > 0 && all.is_sorted(), "{path}: {all:?}");
    }
    for path in ["memory_stats/limit", "cpu_stats/online_cpus"].iter().filter(|_| reads) {
        assert_eq!(number(&after, path), number(&by_docker, path), "{path}");
    }
    assert_eq!(number(&after, "memory_stats/limit"), 16 << 20);
    let usage = number(&after, "memory_stats/usage");
    assert!((1..=16 << 20).contains(&usage), "{usage}");
    assert!(number(&after, "pids_stats/current") >= 1);
    assert_eq!((&after["id"], &after["name"]), (&by_docker["id"], &by_docker["name"]));
    let earlier = |document: &Value| number(document, "precpu_stats/cpu_usage/total_usage");
    assert!(earlier(&after) <= number(&after, "cpu_stats/cpu_usage/total_usage"), "{after:#}");
    assert!(after["read"].is_string() && after["preread"].is_string(), "{after:#}");
    assert_ne!(after["read"], after["preread"]);
    let members = |document: &Value| {
        let mut names: Vec<String> = document.as_object().unwrap().keys().cloned().collect();
        names.retain(|name| !name.starts_with("network"));
        names.sort();
        names
    };
    assert_eq!(members(&after), members(&by_docker), "the shape is Docker's");

    let all = inside.get("${ECS_CONTAINER_METADATA_URI_V4}/task/stats");
    let side = inspect(inside.node, inside.arn(), "side")["Id"].as_str().unwrap().to_owned();
    let ids: Vec<&String> = all.as_object().unwrap().keys().collect();
    assert!(ids.len() == 2 && ids.contains(&&docker_id) && ids.contains(&&side), "{ids:?}");
    assert_eq!(all[&side]["id"], json!(side));
    assert_eq!(inside.get("${ECS_CONTAINER_METADATA_URI}/stats")["id"], json!(docker_id));
}

#[test]
fn figures_keys_and_limits_are_those_of_the_task() {
    let lab = lab_with(1, "metrics = \"127.0.0.1:51680\"");
    wait_open(&lab);
    let node = lab.node(0);
    let bridge = Inside::new(&lab, &run_one(&lab, &define(&lab, "bridge", json!([])), json!({})));
    let host = Inside::new(&lab, &run_one(&lab, &define(&lab, "host", json!([])), json!({})));
    let vpc = Inside::new(&lab, &run_one(&lab, &define(&lab, "awsvpc", json!([])), network(&lab, &[])));
    for inside in [&bridge, &host, &vpc] {
        check_figures(inside, inside.arn() != vpc.arn());
        let told = inside.get("${ECS_CONTAINER_METADATA_URI_V4}/stats");
        if inside.arn() == host.arn() {
            assert!(told.get("networks").is_none() && told.get("network_rate_stats").is_none(), "{told:#}");
        } else {
            let received = number(&told, "networks/eth0/rx_bytes");
            let real = inside.sh("cat /sys/class/net/eth0/statistics/rx_bytes").trim().parse::<u64>().unwrap();
            assert!((1..=real).contains(&received), "{received} of {real}");
            assert!(told["network_rate_stats"]["rx_bytes_per_sec"].is_f64(), "{told:#}");
        }
        // A task without a role has no keys; one of no service cannot be protected.
        let (status, said) = inside.raw("GET", "/v2/credentials/0b7e6c1e-5a3f-4a57-9d0c-2f1f4f0c7a11");
        assert_eq!((status, said.contains("\"code\":\"InvalidIdInRequest\"")), (400, true), "{said}");
        let protection = inside.environment()["ECS_AGENT_URI"].replace("http://169.254.170.2", "");
        for (method, status, part) in [("GET", 200, "TASK_NOT_VALID"), ("PUT", 400, "InvalidParameterException")] {
            let (found, said) = inside.raw(method, &format!("{protection}/task-protection/v1/state"));
            assert_eq!((found, said.contains(part)), (status, true), "{said}");
        }
    }
    // One that asks without end is held up, and no other.
    let ask = format!("GET {} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n", bridge.path());
    let many = format!("(for i in $(seq 400); do printf '{ask}'; done; sleep 3) | nc -w 20 169.254.170.2 80");
    let counted = bridge.sh(&format!("{many} | grep -o 'HTTP/1.1 429' | wc -l"));
    assert!(counted.trim().parse::<u32>().unwrap() > 0, "{counted}");
    assert_eq!(vpc.raw("GET", &vpc.path()).0, 200);
    // Nor does a task with an interface reach what clouds have at such addresses.
    for (address, outcome) in [("169.254.169.254", "No route to host"), ("169.254.1.1", "timed out")] {
        let said = vpc.sh(&format!("echo | nc -w 3 {address} 80 2>&1"));
        assert!(said.contains(outcome), "{address}: {said}");
    }
    for_the_host(node, &bridge);
    restarts_are_counted(&lab);
    writes_are_counted(&lab);
}

/// What programs of the host are told, and nobody else.
fn for_the_host(node: &Node, inside: &Inside<'_>) {
    let ask = |url: &str| node.host.run("busybox", &["wget", "-qO-", url]).unwrap();
    let json = |url: &str| -> Value { serde_json::from_str(&ask(url)).unwrap() };
    let metadata = json("http://127.0.0.1:51678/v1/metadata");
    assert_eq!(
        (&metadata["Cluster"], &metadata["ContainerInstanceArn"]),
        (&json!("default"), &inside.task["containerInstanceArn"])
    );
    let tasks = json("http://127.0.0.1:51678/v1/tasks");
    assert_eq!(tasks["Tasks"].as_array().unwrap().len(), 3);
    let one = json(&format!("http://127.0.0.1:51678/v1/tasks?taskarn={}", inside.arn()));
    let docker_id = inspect(node, inside.arn(), "main")["Id"].clone();
    assert_eq!((&one["KnownStatus"], &one["Containers"][0]["DockerId"]), (&json!("RUNNING"), &docker_id));
    let short = &docker_id.as_str().unwrap()[..12];
    assert_eq!(json(&format!("http://127.0.0.1:51678/v1/tasks?dockerid={short}")), one);

    let page = ask("http://127.0.0.1:51680/metrics");
    let samples = read_exposition(&page);
    let least = |name: &str, least: f64| {
        let value = samples.get(name).copied();
        assert!(value.is_some_and(|value| value >= least), "{name} is {value:?}: {page}");
    };
    least("longshore_session_streams_total", 1.0);
    least("longshore_session_reports_total", 3.0);
    least("longshore_session_reports_waiting", 0.0);
    least("longshore_ledger_writes_total", 3.0);
    least("longshore_ledger_saves_total", samples["longshore_ledger_writes_total"]);
    assert!(samples["longshore_ledger_write_seconds_total"] > 0.0, "{page}");
    for call in ["starting", "creating", "listing", "inspecting"] {
        least(&format!("longshore_docker_calls_total{{call=\"{call}\"}}"), 1.0);
        assert!(samples[&format!("longshore_docker_call_seconds_total{{call=\"{call}\"}}")] > 0.0, "{page}");
    }
    least("longshore_docker_calls_total{call=\"starting\"}", 3.0);
    least("longshore_health_ok{check=\"CONTAINER_RUNTIME\"}", 1.0);
    least("longshore_host_memory_held_bytes", f64::from(3 << 20));
    let of = |metric: &str| {
        let found = samples.iter().find(|(name, _)| {
            name.starts_with(&format!("longshore_container_{metric}{{")) && name.contains(id(inside.arn()))
        });
        *found.unwrap_or_else(|| panic!("no {metric}: {page}")).1
    };
    assert_eq!((of("restarts_total"), of("restart_pending"), of("early_ends")), (0.0, 0.0, 0.0));
    assert!(of("network_received_packets_total") > 0.0, "{page}");
    assert!(of("memory_working_set_bytes") <= of("memory_usage_bytes"), "{page}");
    for metric in ["cpu_seconds_total", "memory_usage_bytes", "network_received_bytes_total", "disk_read_bytes_total"] {
        let labels = format!("family=\"meta-bridge\",task=\"{}\",container=\"main\"}} ", id(inside.arn()));
        let line = page
            .lines()
            .find(|line| line.starts_with(&format!("longshore_container_{metric}{{")) && line.contains(&labels));
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        assert!(value.is_some_and(|value| value > 0.0 || metric.starts_with("disk")), "{metric}: {page}");
    }
    for line in ["longshore_docker_up 1", "longshore_session_connected 1", "longshore_tasks{status=\"RUNNING\"} 3"] {
        assert!(page.lines().any(|l| l == line), "{line}: {page}");
    }
    for port in [51678, 51680] {
        let said = inside.sh(&format!("echo | nc -w 3 172.17.0.1 {port} 2>&1"));
        assert!(said.contains("refused"), "{port} is the host's own: {said}");
    }
}

/// What a restart policy did is among the figures: here of a container that ends twice and then runs on.
fn restarts_are_counted(lab: &Lab) {
    let node = lab.node(0);
    let mut main = shell("main", "echo run >>/tmp/runs; [ $(wc -l </tmp/runs) -gt 2 ] && exec sleep 600; exit 5");
    merge(
        &mut main,
        json!({
            "stopTimeout": 1, "restartPolicy": {"enabled": true, "restartAttemptPeriod": 60},
            "dockerLabels": {"longshore.restart.backoff": "1-1"},
        }),
    );
    let arn = run_one(lab, &register(lab, "meta-again", json!([main]), json!({})), json!({}));
    wait_until("two restarts among the figures", DEADLINE, || {
        let page = node.host.run("busybox", &["wget", "-qO-", "http://127.0.0.1:51680/metrics"])?;
        let samples = read_exposition(&page);
        let of = |metric: &str| {
            let name = format!("longshore_container_{metric}{{");
            samples.iter().find(|(sample, _)| sample.starts_with(&name) && sample.contains(id(&arn))).map(|(_, v)| *v)
        };
        let found = ["restarts_total", "restart_pending", "early_ends"].map(of);
        let restarts = found[0].unwrap_or(0.0);
        invariant(restarts <= 2.0, || format!("{restarts} restarts of a container that ended twice"))?;
        anyhow::ensure!(found == [Some(2.0), Some(0.0), Some(2.0)], "{found:?}");
        Ok(true)
    })
    .unwrap();
    assert_eq!(restart_count(node, &arn).unwrap(), 2);
}

/// What a container writes to a disk is among its figures. The disk is one of its own: with cgroup v1, newer kernels
/// count nothing of a disk for which no group has a limit, and this one gets a limit that nothing reaches.
fn writes_are_counted(lab: &Lab) {
    const WRITTEN: u64 = 1 << 20;
    let node = lab.node(0);
    let disk = node.host.dir().join("written");
    let make = format!(
        "mkdir {0}; truncate -s 32M {0}.disk; mkfs.ext4 -q {0}.disk >/dev/null; mount -o loop {0}.disk {0}; \
         findmnt -nro MAJ:MIN {0}",
        disk.display()
    );
    let device = node.host.run("sh", &["-ec", &make]).unwrap().trim().to_owned();
    let mut main = shell("main", IDLE);
    merge(&mut main, json!({"mountPoints": [{"sourceVolume": "disk", "containerPath": "/disk"}]}));
    let volumes = json!({"volumes": [{"name": "disk", "host": {"sourcePath": disk.to_str().unwrap()}}]});
    let inside = Inside::new(lab, &run_one(lab, &register(lab, "meta-writes", json!([main]), volumes), json!({})));
    let pid = inspect(node, inside.arn(), "main")["State"]["Pid"].as_i64().unwrap();
    let limit = format!(
        "v1=$(grep ':blkio:' /proc/{pid}/cgroup | cut -d: -f3); [ -z \"$v1\" ] || \
         echo '{device} 1000000000000' >/sys/fs/cgroup/blkio$v1/blkio.throttle.write_bps_device"
    );
    node.host.run("sh", &["-c", &limit]).unwrap();
    let said = inside.sh("dd if=/dev/zero of=/disk/file bs=64k count=16 oflag=direct 2>&1");
    assert!(said.contains("16+0 records out"), "{said}");
    wait_until("the writes among the figures", DEADLINE, || {
        let told = inside.get("${ECS_CONTAINER_METADATA_URI_V4}/stats");
        let written = |name: &str| -> u64 {
            let all = told["blkio_stats"][name].as_array().into_iter().flatten();
            let writes = all.filter(|figure| {
                let of = format!("{}:{}", figure["major"], figure["minor"]);
                of == device && figure["op"].as_str().is_some_and(|op| op.eq_ignore_ascii_case("write"))
            });
            writes.filter_map(|figure| figure["value"].as_u64()).sum()
        };
        let (bytes, operations) = (written("io_service_bytes_recursive"), written("io_serviced_recursive"));
        anyhow::ensure!(bytes >= WRITTEN && operations > 0, "{bytes} bytes by {operations}: {}", told["blkio_stats"]);
        let page = node.host.run("busybox", &["wget", "-qO-", "http://127.0.0.1:51680/metrics"])?;
        let of = |metric: &str| {
            let name = format!("longshore_container_{metric}{{");
            let mut own = page.lines().filter(|line| line.starts_with(&name) && line.contains(id(inside.arn())));
            own.next().and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0)
        };
        let (bytes, operations) = (of("disk_written_bytes_total"), of("disk_writes_total"));
        anyhow::ensure!(bytes >= WRITTEN as f64 && operations > 0.0, "{bytes} bytes by {operations}: {page}");
        Ok(true)
    })
    .unwrap();
}

/// Reads a page as a Prometheus server does (text format 0.0.4): each family at one place with HELP and TYPE before its
/// samples, names and labels of the right form, numbers, and no sample twice. Gives the samples.
fn read_exposition(page: &str) -> BTreeMap<String, f64> {
    let is_name = |text: &str| {
        let mut chars = text.chars();
        chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let (mut samples, mut families) = (BTreeMap::new(), BTreeSet::new());
    let (mut help, mut family) = (None, None);
    assert!(page.ends_with('\n'), "the last line has no end");
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, text) = rest.split_once(' ').unwrap_or_else(|| panic!("no text: {line}"));
            assert!(!text.trim().is_empty() && is_name(name) && families.insert(name.to_owned()), "{line}");
            help = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("no type: {line}"));
            assert_eq!(help.as_deref(), Some(name), "{line}");
            assert!(kind == "gauge" || kind == "counter", "{line}");
            assert!((kind == "counter") == name.ends_with("_total"), "counters, and they alone, are totals: {line}");
            family = Some(name.to_owned());
        } else {
            let (what, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
            let (name, labels) = what.split_once('{').map_or((what, None), |(name, rest)| (name, Some(rest)));
            assert_eq!(family.as_deref(), Some(name), "a sample outside its family: {line}");
            if let Some(labels) = labels {
                let labels = labels.strip_suffix("\"}").unwrap_or_else(|| panic!("labels without end: {line}"));
                for pair in labels.split("\",") {
                    assert!(pair.split_once("=\"").is_some_and(|(name, _)| is_name(name)), "{line}");
                }
            }
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            assert!(samples.insert(what.to_owned(), value).is_none(), "twice: {line}");
        }
    }
    samples
}

/// A machine that stands for a cloud answers the host at 169.254.169.254. Its tasks do not reach it, also on a host
/// that takes no part in the task network; and nobody on the network reaches what is for tasks.
#[test]
fn the_hosts_cloud_is_not_for_tasks_and_the_endpoint_not_for_neighbours() {
    let agent = "cleanup_wait = \"1s\"\ntask_network = false\n".to_owned();
    let lab = Lab::new(LabConfig { hosts: 1, agent, ..LabConfig::default() }).unwrap();
    let node = lab.node(0);
    wait_until("the metadata endpoint", DEADLINE, || Ok(Agent::status(&node.host)?["metadata"]["host"]["ok"] == true))
        .unwrap();
    let cloud = lab.ctl();
    let pages = lab.dir().join("cloud");
    std::fs::create_dir_all(&pages).unwrap();
    std::fs::write(pages.join("index.html"), "keys of the host").unwrap();
    let serve = format!("busybox httpd -p 169.254.169.254:80 -h {}", pages.display());
    cloud.run("sh", &["-ec", &format!("ip addr add 169.254.169.254/32 dev lo; {serve}")]).unwrap();
    let via = |to: &str, by: std::net::Ipv4Addr| format!("ip route add {to}/32 via {by}");
    node.host.run("sh", &["-ec", &via("169.254.169.254", cloud.address())]).unwrap();
    cloud.run("sh", &["-ec", &via("169.254.170.2", node.host.address())]).unwrap();
    const ASK: &str = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 169.254.169.254 80 2>&1";
    let by_host = node.host.run("sh", &["-c", &ASK.replace("nc ", "busybox nc ")]).unwrap();
    assert!(by_host.contains("keys of the host"), "{by_host}");

    let bridge = Inside::new(&lab, &run_one(&lab, &define(&lab, "bridge", json!([])), json!({})));
    let said = bridge.sh(ASK);
    assert!(said.contains("timed out"), "{said}");
    let host = Inside::new(&lab, &run_one(&lab, &define(&lab, "host", json!([])), json!({})));
    let said = host.sh(ASK);
    assert!(said.contains("Connection refused"), "{said}");
    assert_eq!(host.raw("GET", &host.path()).0, 200);
    let counted = node.host.run("nft", &["list", "chain", "inet", "ls_meta", "link_local"]).unwrap();
    let dropped: Vec<&str> = counted.lines().filter(|line| line.contains("ip daddr 169.254.0.0/16")).collect();
    assert!(!dropped.is_empty() && dropped.iter().all(|line| !line.contains("packets 0 ")), "{counted}");

    // The endpoint answers the host's tasks, and no neighbour, at either port.
    assert_eq!(bridge.raw("GET", &bridge.path()).0, 200);
    for port in ["80", "51679"] {
        let asked = cloud.run("busybox", &["nc", "-w", "2", "169.254.170.2", port]);
        assert!(asked.as_ref().is_err_and(|error| error.to_string().contains("timed out")), "{asked:?}");
    }
    let counted = node.host.run("nft", &["list", "chain", "inet", "ls_meta", "guard"]).unwrap();
    assert!(!counted.contains("packets 0 "), "{counted}");
}
