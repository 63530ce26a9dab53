//! What the end-to-end tests share: definitions, running and waiting through boto3, and looking for leaks.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use longshore_tests::lab::{Agent, ApiError, Lab, LabConfig, Node, cgroup, invariant, wait_for, wait_until};
use serde_json::{Value, json};

/// Long enough for anything that a test waits for on a loaded machine; what is late beyond it is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A lab with only the API.
pub(crate) fn api_lab() -> Lab {
    Lab::new(LabConfig { hosts: 0, ..LabConfig::default() }).unwrap()
}

/// A lab of `hosts` hosts whose agents remove stopped containers at once, so that leaks show.
pub(crate) fn lab(hosts: u8) -> Lab {
    lab_with(hosts, "")
}

/// The same with more lines of agent configuration.
pub(crate) fn lab_with(hosts: u8, agent: &str) -> Lab {
    let agent = format!("cleanup_wait = \"1s\"\nstop_timeout = \"2s\"\n{agent}");
    networked(LabConfig { hosts, agent, ..LabConfig::default() })
}

/// A lab whose hosts' task networks work.
pub(crate) fn networked(config: LabConfig) -> Lab {
    let lab = Lab::new(config).unwrap();
    // A host that is connected may not have said yet that its network works; placement would pass it over.
    wait_until("the hosts' task networks", DEADLINE, || {
        let reasons: Vec<Value> = lab.instances()?.iter().map(|host| host["statusReason"].clone()).collect();
        ensure!(reasons.iter().all(Value::is_null), "{reasons:?}");
        Ok(true)
    })
    .unwrap();
    lab
}

/// A container that runs a shell script.
pub(crate) fn shell(name: &str, script: &str) -> Value {
    json!({"name": name, "image": "busybox", "memory": 16, "command": ["sh", "-c", script], "stopTimeout": 2})
}

/// A container that runs until it is killed, and costs nothing.
pub(crate) fn sleeper() -> Value {
    json!({"name": "main", "image": "probe", "memory": 8, "command": ["sleep"], "stopTimeout": 1})
}

/// Registers a definition with these containers; `more` holds further members of the request.
pub(crate) fn register(lab: &Lab, family: &str, containers: Value, more: Value) -> String {
    let mut args = json!({"family": family, "containerDefinitions": containers});
    merge(&mut args, more);
    let made = lab.ecs("register_task_definition", args).unwrap();
    made["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned()
}

/// Adds the members of `more` to `into`.
pub(crate) fn merge(into: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}

/// Runs one task and gives its ARN.
pub(crate) fn run_one(lab: &Lab, definition: &str, more: Value) -> String {
    run(lab, definition, 1, more).remove(0)
}

/// Runs `count` tasks, ten a call as the API takes them, and gives their ARNs.
pub(crate) fn run(lab: &Lab, definition: &str, count: usize, more: Value) -> Vec<String> {
    let mut arns = Vec::new();
    while arns.len() < count {
        let mut args = json!({"taskDefinition": definition, "count": (count - arns.len()).min(10)});
        merge(&mut args, more.clone());
        let answer = lab.ecs("run_task", args).unwrap();
        assert_eq!(answer["failures"], json!([]), "{answer}");
        arns.extend(strings(&answer["tasks"], "taskArn"));
    }
    arns
}

/// The member `key` of every element of a list.
pub(crate) fn strings(list: &Value, key: &str) -> Vec<String> {
    let elements = list.as_array().unwrap_or_else(|| panic!("{list} is no list"));
    elements.iter().map(|e| e[key].as_str().unwrap_or_default().to_owned()).collect()
}

/// Describes tasks, a hundred a call.
pub(crate) fn describe(lab: &Lab, arns: &[String]) -> Result<Vec<Value>> {
    let mut tasks = Vec::new();
    for chunk in arns.chunks(100) {
        let answer = lab.ecs("describe_tasks", json!({"tasks": chunk}))?;
        ensure!(answer["failures"] == json!([]), "some tasks are unknown: {}", answer["failures"]);
        tasks.extend(answer["tasks"].as_array().context("no tasks")?.iter().cloned());
    }
    Ok(tasks)
}

/// One task as it is now.
pub(crate) fn task(lab: &Lab, arn: &str) -> Value {
    describe(lab, &[arn.to_owned()]).unwrap().remove(0)
}

/// Waits until every task is as `wanted` says, and gives them; fails at once when one can never be.
pub(crate) fn wait_tasks(lab: &Lab, arns: &[String], wanted: &str, deadline: Duration) -> Vec<Value> {
    wait_for(&format!("{} tasks {wanted}", arns.len()), deadline, || {
        let tasks = describe(lab, arns)?;
        let stopped_early = tasks.iter().find(|t| wanted == "RUNNING" && t["lastStatus"] == "STOPPED");
        if let Some(task) = stopped_early {
            panic!("a task stopped instead of running: {task:#}");
        }
        let counts = tasks.iter().filter(|t| t["lastStatus"] == wanted).count();
        ensure!(counts == tasks.len(), "{counts} of {} are {wanted}", tasks.len());
        Ok(Some(tasks))
    })
    .unwrap()
}

/// Waits until one task runs.
pub(crate) fn running(lab: &Lab, arn: &str) -> Value {
    wait_tasks(lab, &[arn.to_owned()], "RUNNING", DEADLINE).remove(0)
}

/// Waits until one task is stopped.
pub(crate) fn stopped(lab: &Lab, arn: &str) -> Value {
    wait_tasks(lab, &[arn.to_owned()], "STOPPED", DEADLINE).remove(0)
}

/// The container called `name` of a described task.
pub(crate) fn container<'a>(task: &'a Value, name: &str) -> &'a Value {
    let containers = task["containers"].as_array().unwrap();
    containers.iter().find(|c| c["name"] == name).unwrap_or_else(|| panic!("no container {name} in {task:#}"))
}

/// The id at the end of an ARN.
pub(crate) fn id(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap()
}

/// The node that a described task was placed on.
pub(crate) fn node_of<'a>(lab: &'a Lab, task: &Value) -> &'a Node {
    let arn = task["containerInstanceArn"].as_str().unwrap();
    let index = node_index(lab, arn);
    lab.node(index)
}

/// Which host a container instance is: the agent says so on its status socket.
pub(crate) fn node_index(lab: &Lab, instance_arn: &str) -> usize {
    lab.nodes()
        .iter()
        .position(|n| {
            let status = Agent::status(&n.host).unwrap_or_default();
            status["identity"]["instance"] == id(instance_arn)
        })
        .unwrap_or_else(|| panic!("no agent says that it is {instance_arn}"))
}

/// What Docker says of a container of a task.
pub(crate) fn inspect(node: &Node, arn: &str, name: &str) -> Value {
    node.engine.inspect(&format!("ls-{}-{name}", id(arn))).unwrap()
}

/// What a container printed.
pub(crate) fn output(node: &Node, arn: &str, name: &str) -> String {
    node.host.run("docker", &["-H", &node.docker(), "logs", &format!("ls-{}-{name}", id(arn))]).unwrap()
}

/// Waits until a container has printed `ready`: its shell has set its traps by then, which RUNNING does not say.
pub(crate) fn wait_ready(node: &Node, arn: &str, name: &str) {
    wait_until("a container that is ready", DEADLINE, || Ok(output(node, arn, name).contains("ready"))).unwrap();
}

/// GETs a page of a task over the lab's network.
pub(crate) fn http_get(lab: &Lab, address: Ipv4Addr, port: u16, path: &str) -> Result<String> {
    let mut stream = lab.connect(SocketAddrV4::new(address, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Asserts an error of the API by its code and a part of its text.
#[track_caller]
pub(crate) fn assert_error(error: &ApiError, code: &str, part: &str) {
    assert_eq!(error.code, code, "{error}");
    assert!(error.message.contains(part), "expected {part:?} in: {error}");
}

/// Asserts that a host has nothing of tasks but what belongs to `live`: waits for removals that are under way.
pub(crate) fn assert_no_leaks(lab: &Lab, live: &[String]) {
    let ids: BTreeSet<&str> = live.iter().map(|a| id(a)).collect();
    for node in lab.nodes() {
        wait_until(&format!("nothing left over on {}", node.host.name()), DEADLINE, || {
            let leaks = leaks(node, &ids)?;
            ensure!(leaks.is_empty(), "left over: {leaks:#?}");
            Ok(true)
        })
        .unwrap();
    }
}

fn leaks(node: &Node, live: &BTreeSet<&str>) -> Result<Vec<String>> {
    let belongs = |name: &str| live.iter().any(|id| name.contains(id));
    let mut leaks = Vec::new();
    for container in node.engine.containers()? {
        // Sandboxes that wait for tasks are the agent's own; whether one is a task's is looked at where tasks have
        // them.
        if !belongs(&container.name) && !container.name.starts_with("ls-eni-") {
            leaks.push(format!("container {} ({})", container.name, container.state));
        }
    }
    // What runs without Docker's knowledge.
    let known: BTreeSet<String> = node.engine.containers()?.into_iter().map(|c| c.id).collect();
    for line in node.host.run("ps", &["-eo", "pid,ppid,etimes,args"])?.lines().filter(|l| l.contains("containerd-shim"))
    {
        let id = line.split_whitespace().skip_while(|w| *w != "-id").nth(1).unwrap_or_default();
        if !known.contains(id) {
            leaks.push(format!("shim of a container that Docker does not know: {line}"));
        }
    }
    let volumes = node.engine.get("/volumes")?;
    for name in volumes["Volumes"].as_array().into_iter().flatten().filter_map(|v| v["Name"].as_str()) {
        if !belongs(name) {
            leaks.push(format!("volume {name}"));
        }
    }
    for group in cgroup::below(node.host.group())? {
        let group = group.display().to_string();
        let of_tasks = group.strip_prefix("longshore/").map(|rest| rest.split('/').next().unwrap_or(rest));
        if of_tasks.is_some_and(|task| !belongs(task)) {
            leaks.push(format!("control group {group}"));
        }
    }
    leaks.extend(network_leaks(node, live)?);
    Ok(leaks)
}

/// What a host has for interfaces, a part a line of dashes: namespaces, links of the fabric, what its firewall lets
/// through. A host without a task network has none of it.
const INTERFACES: &str = "ls /run/netns 2>/dev/null; echo ---; ip -n ls-fab -brief link 2>/dev/null; echo ---; \
                          nsenter --net=/run/netns/ls-fab nft list map inet ls_fab eni_in 2>/dev/null; true";

/// The name that is made from an interface's id: its first 14 digits.
fn stem(name: &str) -> Option<&str> {
    let stem = name.get(..14)?;
    stem.bytes().all(|b| b.is_ascii_hexdigit()).then_some(stem)
}

/// What there is of interfaces whose sandbox is gone or whose task is over, and ports that the agent keeps open for
/// nobody.
fn network_leaks(node: &Node, live: &BTreeSet<&str>) -> Result<Vec<String>> {
    let mut leaks = Vec::new();
    let found = node.host.run("sh", &["-c", INTERFACES])?;
    let mut parts = found.split("---\n");
    let [namespaces, links, rules] = [(); 3].map(|()| parts.next().unwrap_or_default());
    let containers = node.engine.containers()?;
    let sandboxes: BTreeSet<&str> = containers.iter().filter_map(|c| stem(c.name.strip_prefix("ls-eni-")?)).collect();
    let gone = |stem: &str| !sandboxes.contains(stem);
    for name in namespaces.split_whitespace() {
        if name.strip_prefix("ls-").and_then(stem).is_some_and(gone) {
            leaks.push(format!("network namespace {name}"));
        }
    }
    for name in links.lines().filter_map(|line| line.split(['@', ' ']).next()) {
        if name.strip_prefix(['t', 'i']).and_then(stem).is_some_and(gone) {
            leaks.push(format!("link {name}"));
        }
    }
    let directory = node.host.dir().join("agent/interfaces");
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.strip_prefix("eni-").and_then(stem).is_some_and(gone) {
            leaks.push(format!("files of {name}"));
        }
    }
    // Whose a sandbox is, the agent says, where there is one: that it does not yet is no word that there is nothing.
    let status = if node.agent.lives() { Agent::status(&node.host)? } else { Value::Null };
    let mut of_tasks = BTreeSet::new();
    for interface in status["network"]["interfaces"].as_array().into_iter().flatten() {
        // One that has no task is made for the next, or was of one that left it for good.
        let Some(task) = interface["task"].as_str() else { continue };
        if live.contains(task) {
            of_tasks.extend(interface["eni"].as_str().and_then(|eni| stem(eni.strip_prefix("eni-")?)));
        } else {
            leaks.push(format!("interface {interface}"));
        }
    }
    if !status.is_null() {
        let links = rules.split('"').filter_map(|word| word.strip_prefix('t').and_then(stem));
        leaks.extend(links.filter(|link| !of_tasks.contains(link)).map(|link| format!("rules of link t{link}")));
        if live.is_empty() {
            // Its holds do not listen, so the kernel's list of listeners has none of them.
            for ports in ["ports_claimed", "ports_held"] {
                if status[ports] != 0 {
                    leaks.push(format!("{ports}: {}", status[ports]));
                }
            }
            let open = listening(node).into_iter().filter(|listener| listener.owner == "longshore-agent");
            leaks.extend(open.map(|listener| format!("port {} of the agent", listener.port)));
        }
    }
    Ok(leaks)
}

/// Asserts that nothing is left of any task: also no open port, no address that the control plane holds for one, and
/// no interface beside those that wait for tasks.
pub(crate) fn assert_nothing_left(lab: &Lab) {
    assert_nothing_left_but_ghosts(lab, 0);
}

/// The same on hosts whose dockerd was killed in the middle of so many starts at most: Docker 20.10 comes back with the
/// port of such a start taken, and keeps it until its next restart, whatever becomes of the container.
pub(crate) fn assert_nothing_left_but_ghosts(lab: &Lab, most: usize) {
    assert_no_leaks(lab, &[]);
    for node in lab.nodes() {
        wait_until("closed ports", DEADLINE, || {
            let (ghosts, open): (Vec<_>, Vec<_>) =
                listening(node).into_iter().partition(|listener| listener.owner == "docker-proxy");
            ensure!(open.is_empty(), "open: {open:?}");
            let ports: BTreeSet<u16> = ghosts.iter().map(|ghost| ghost.port).collect();
            ensure!(ports.len() <= most, "Docker has {ghosts:?}");
            Ok(true)
        })
        .unwrap();
        super::awsvpc::assert_clean(node);
    }
    wait_until("no address of a task", DEADLINE, || {
        let held = super::awsvpc::ec2(lab, "describe_network_interfaces", json!({}));
        ensure!(held["NetworkInterfaces"] == json!([]), "{held:#}");
        Ok(true)
    })
    .unwrap();
}

/// How often the agent says that it restarted the first container of a task.
pub(crate) fn restart_count(node: &Node, arn: &str) -> Result<u64> {
    let status = Agent::status(&node.host)?;
    let of_task = status["tasks"].as_array().into_iter().flatten().find(|t| t["id"] == id(arn));
    let container = &of_task.context("the agent does not know the task")?["containers"][0];
    Ok(container["restarts"].as_u64().unwrap_or(0))
}

/// Asserts that the containers of these tasks run, each exactly once, on the host where the task was placed.
pub(crate) fn assert_exactly(lab: &Lab, arns: &[String]) {
    let tasks = wait_tasks(lab, arns, "RUNNING", DEADLINE);
    let mut expected = BTreeSet::new();
    for task in &tasks {
        for container in task["containers"].as_array().unwrap() {
            let arn = task["taskArn"].as_str().unwrap();
            expected.insert(format!("ls-{}-{}", id(arn), container["name"].as_str().unwrap()));
        }
    }
    wait_until("exactly the desired containers", DEADLINE, || {
        let mut found = Vec::new();
        for node in lab.nodes() {
            // Whose pause containers there are is looked at with what is left over.
            let counts = |c: &longshore_tests::lab::Container| c.state == "running" && !c.name.ends_with(".pause");
            found.extend(node.task_containers()?.into_iter().filter(counts).map(|c| c.name));
        }
        let unique: BTreeSet<String> = found.iter().cloned().collect();
        invariant(unique.len() == found.len(), || format!("a container runs on two hosts: {found:?}"))?;
        let missing: Vec<_> = expected.difference(&unique).collect();
        let surplus: Vec<_> = unique.difference(&expected).collect();
        ensure!(missing.is_empty() && surplus.is_empty(), "missing {missing:?}, too many {surplus:?}");
        Ok(true)
    })
    .unwrap();
}

/// A TCP listener in the agent's default dynamic range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listener {
    pub(crate) port: u16,
    /// The program that has it open.
    pub(crate) owner: String,
}

/// The ports of tasks that are open on a host, from the kernel.
pub(crate) fn listening(node: &Node) -> Vec<Listener> {
    let mut listeners = Vec::new();
    for line in node.host.run("ss", &["-Hltnp"]).unwrap().lines() {
        let port = line.split_whitespace().nth(3).and_then(|local| local.rsplit(':').next()?.parse().ok());
        let owner = line.split('"').nth(1).unwrap_or("nobody").to_owned();
        if let Some(port) = port.filter(|p| (30_000..=32_767).contains(p)) {
            listeners.push(Listener { port, owner });
        }
    }
    listeners
}
