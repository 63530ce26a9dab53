//! What befalls the way to Docker, and what somebody does to containers behind the agent's back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use longshore_tests::lab::product::REGION;
use longshore_tests::lab::proxy::Proxy;
use longshore_tests::lab::{Lab, Node, host, wait_until};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::awsvpc::network;
use super::campaign::number;
use super::command::set_up;
use super::images::{IMAGE, credentials, push_as, start_registry, write_private};
use super::runs::{self, Ends};
use super::support::*;

/// Tasks that are there at any time.
const CHURN: usize = 10;

/// Calls that break in a run of any length.
const ALWAYS: [&str; 25] = [
    "GET _ping",
    "GET version",
    "GET info",
    "GET events",
    "GET containers/json",
    "POST containers/create",
    "POST containers/*/start",
    "GET containers/*/json",
    "POST containers/*/stop",
    "POST containers/*/kill",
    "DELETE containers/*",
    "GET volumes",
    "GET volumes/*",
    "POST volumes/create",
    "DELETE volumes/*",
    "GET images/json",
    "GET images/*/json",
    "POST images/create fromImage",
    "POST images/create fromSrc",
    "POST containers/*/exec",
    "POST exec/*/start",
    "GET exec/*/json",
    "POST exec/*/resize",
    "POST containers/*/attach",
    "POST containers/*/resize",
];

/// Those that a longer one reaches beside them. With [`ALWAYS`] these are all that the agent makes.
const IN_LONG_RUNS: [&str; 2] = ["POST containers/*/rename", "DELETE images/*"];

/// The volume that tasks of one kind share.
const KEPT: &str = "kept";

/// The repository of images that the agent pulled long ago, and that nothing uses.
const OLD: &str = "old";

/// For the first so many of so many seconds stops are refused: what is to stop then is killed.
const STOPS_REFUSED: (u64, u64) = (10, 30);

/// From here on a run is long: some hangs outlast every wait of the agent's, and every kind of call is made often.
const LONG: Duration = Duration::from_secs(180);

fn ask_docker(node: &Node, args: &[&str]) -> Result<String> {
    let address = node.docker();
    node.host.run("docker", &[&["-H", &address], args].concat())
}

fn docker(node: &Node, args: &[&str]) -> String {
    ask_docker(node, args).unwrap()
}

/// Makes images that the agent takes for its own, and that nothing uses. The agent does not run.
fn leave_images(node: &Node) {
    let file = node.host.dir().join("agent/images.json");
    let known = fs::read_to_string(&file).unwrap_or_else(|_| "{}".to_owned());
    let mut history: Value = serde_json::from_str(&known).unwrap();
    let address = node.docker();
    for number in 0..8 {
        // Each is another one.
        let import = format!("docker -H {address} import --change 'LABEL number={number}' - {OLD}:{number}");
        let image = node.host.run("sh", &["-c", &format!("tar -c -T /dev/null | {import}")]).unwrap();
        history[image.trim()] = json!({"last_used": 0, "pulled_here": true});
    }
    fs::write(&file, history.to_string()).unwrap();
}

/// A container that notes each of its runs in a file of the host, runs for a while, and ends with the code 3.
fn noted() -> Value {
    let script = "echo run >>/runs/$TASK; trap 'exit 0' TERM; n=0; while [ $n -lt $LIFE ]; do sleep 0.1; n=$((n+1)); \
                  done; exit 3";
    let mut main = shell("main", script);
    merge(&mut main, json!({"mountPoints": [{"sourceVolume": "runs", "containerPath": "/runs"}]}));
    main
}

/// The kinds of tasks that come and go, with what else RunTask is told of each: on the bridge with a volume of its own,
/// with an interface, with shared namespaces and a container that is restarted, with output that is shipped, with a
/// terminal and a volume that its like share, and of an image that is pulled.
fn kinds(lab: &Lab, runs: &str) -> Vec<(String, Value)> {
    let volumes = json!([{"name": "runs", "host": {"sourcePath": runs}}, {"name": "own"}]);
    let define = |family: &str, containers: Value, more: Value| {
        let mut all = json!({"volumes": volumes});
        merge(&mut all, more);
        register(lab, family, containers, all)
    };
    let mut own = noted();
    own["mountPoints"].as_array_mut().unwrap().push(json!({"sourceVolume": "own", "containerPath": "/own"}));
    merge(&mut own, json!({"portMappings": [{"containerPort": 80}]}));
    let mut again = shell("again", "[ -e /tmp/again ] && exec sleep 600; touch /tmp/again; exit 5");
    merge(
        &mut again,
        json!({
            "essential": false, "stopTimeout": 1, "dockerLabels": {"longshore.restart.backoff": "1-1"},
            "restartPolicy": {"enabled": true, "restartAttemptPeriod": 60},
        }),
    );
    let options = json!({"awslogs-group": "/faults", "awslogs-region": REGION, "awslogs-stream-prefix": "lab"});
    let mut logged = noted();
    merge(&mut logged, json!({"logConfiguration": {"logDriver": "awslogs", "options": options}}));
    let mut kept = noted();
    kept["mountPoints"].as_array_mut().unwrap().push(json!({"sourceVolume": KEPT, "containerPath": "/kept"}));
    merge(&mut kept, json!({"interactive": true, "pseudoTerminal": true}));
    let shared = json!({"name": KEPT, "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": true}});
    let shared = json!({"volumes": [volumes[0], shared]});
    // What is here is good enough when a pull breaks five times in a row.
    let mut pulled = noted();
    merge(&mut pulled, json!({"image": IMAGE, "dockerLabels": {"longshore.pull-behavior": "default"}}));
    let by_hand = json!({"enableExecuteCommand": true});
    let mut wired = network(lab, &[]);
    merge(&mut wired, by_hand.clone());
    vec![
        (define("churn-plain", json!([own]), json!({"memory": "24"})), by_hand.clone()),
        (define("churn-wired", json!([noted()]), json!({"networkMode": "awsvpc"})), wired),
        (define("churn-shared", json!([noted(), again]), json!({"pidMode": "task"})), by_hand.clone()),
        (define("churn-logged", json!([logged]), json!({})), by_hand.clone()),
        (define("churn-kept", json!([kept]), shared), by_hand.clone()),
        (define("churn-pulled", json!([pulled]), json!({})), by_hand),
    ]
}

/// Starts a task by a name of its own, which its file has; none when no host takes it at the moment.
fn start(lab: &Lab, (definition, more): &(String, Value), name: &str, life: u32) -> Option<String> {
    let environment = json!([{"name": "TASK", "value": name}, {"name": "LIFE", "value": life.to_string()}]);
    let overrides = json!({"containerOverrides": [{"name": "main", "environment": environment}]});
    let mut args = json!({"taskDefinition": definition, "overrides": overrides});
    merge(&mut args, more.clone());
    let answer = lab.ecs("run_task", args).unwrap();
    answer["tasks"][0]["taskArn"].as_str().map(str::to_owned)
}

/// Somebody at a terminal that changes its size, who ends when this does.
struct Shell(Child, Instant);

/// As long as somebody gets there; what is waited for may have been lost.
const SHELL_LASTS: Duration = Duration::from_secs(6);

impl Shell {
    /// At a shell of their own in a container.
    fn exec(lab: &Lab, arn: &str) -> Self {
        let steps = json!([
            ["send", "echo b''egun\n"],
            ["expect", "begun"],
            ["size", 33, 101],
            ["send", "echo m''ore\n"],
            ["expect", "more"],
            ["size", 44, 102],
            ["send", "sleep 1; exit 0\n"],
            ["end", 0],
        ]);
        Self::start(lab, &["exec", arn, "--container", "main", "sh"], &steps)
    }

    /// At the container's own terminal, which shows what is typed, until the container ends.
    fn attach(lab: &Lab, arn: &str) -> Self {
        let steps = json!([
            ["expect", "ctrl-p ctrl-q"],
            ["size", 33, 101],
            ["send", "more\n"],
            ["expect", "more"],
            ["size", 44, 102],
            ["end", 3],
        ]);
        Self::start(lab, &["attach", arn, "--container", "main"], &steps)
    }

    fn start(lab: &Lab, args: &[&str], steps: &Value) -> Self {
        let script = lab.dir().join("terminal.py");
        fs::write(&script, include_str!("terminal.py")).unwrap();
        let mut command: Command = lab.ctl().net_command("python3".as_ref());
        set_up(lab, &mut command);
        command.arg(&script).arg(steps.to_string()).arg(host::program("longshore").unwrap()).args(args);
        let log = fs::OpenOptions::new().create(true).append(true).open(lab.dir().join("shells.log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().unwrap(), Instant::now())
    }

    fn is_over(&mut self) -> bool {
        self.1.elapsed() > SHELL_LASTS || self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Tasks of every kind that come and go, and what people do to them meanwhile.
struct Churn<'a> {
    lab: &'a Lab,
    proxy: &'a Proxy,
    began: Instant,
    /// Whether stops are refused.
    refuses: bool,
    kinds: Vec<(String, Value)>,
    random: StdRng,
    /// The name of every task that was started.
    names: BTreeMap<String, String>,
    /// Those that somebody asked to stop.
    asked: BTreeSet<String>,
    live: Vec<String>,
    shells: Vec<Shell>,
    attached: Option<Shell>,
}

impl Churn<'_> {
    fn turn(&mut self) {
        let refuses = self.began.elapsed().as_secs() % STOPS_REFUSED.1 < STOPS_REFUSED.0;
        if refuses != self.refuses {
            self.refuses = refuses;
            let ends: &'static [&'static str] = if refuses { &["/stop"] } else { &[] };
            self.proxy.set_refused(ends);
        }
        let tasks = if self.live.is_empty() { Vec::new() } else { describe(self.lab, &self.live).unwrap() };
        let is = |arn: &str, status: &str| tasks.iter().any(|t| t["taskArn"] == arn && t["lastStatus"] == status);
        self.live.retain(|arn| !is(arn, "STOPPED"));
        while self.live.len() < CHURN {
            let name = format!("task-{}", self.names.len());
            let kind = &self.kinds[self.names.len() % self.kinds.len()];
            let Some(arn) = start(self.lab, kind, &name, self.random.random_range(1..60)) else { break };
            self.names.insert(arn.clone(), name);
            self.live.push(arn);
        }
        // In the youngest one that runs: it has the longest to live.
        self.shells.retain_mut(|shell| !shell.is_over());
        if self.shells.len() < 2
            && let Some(arn) = self.live.iter().rev().find(|arn| is(arn, "RUNNING"))
        {
            self.shells.push(Shell::exec(self.lab, arn));
        }
        if self.attached.as_mut().is_none_or(Shell::is_over) {
            let kept = |arn: &str| {
                let of = |t: &Value| t["taskDefinitionArn"].as_str().is_some_and(|of| of.contains("/churn-kept:"));
                tasks.iter().any(|t| t["taskArn"] == arn && of(t))
            };
            let youngest = self.live.iter().rev().find(|arn| is(arn, "RUNNING") && kept(arn));
            self.attached = youngest.map(|arn| Shell::attach(self.lab, arn));
        }
        let Some(arn) = self.live.get(self.random.random_range(0..CHURN)).cloned() else { return };
        let (node, runs) = (self.lab.node(0), is(&arn, "RUNNING"));
        match self.random.random_range(0..20) {
            0..4 => {
                self.lab.ecs("stop_task", json!({"task": arn})).unwrap();
                self.asked.insert(arn);
            }
            // It may be over by now.
            4 if runs => {
                let (name, mine) = (format!("ls-{}-main", id(&arn)), format!("mine-{}", id(&arn)));
                let _ = ask_docker(node, &["rename", &name, &mine]);
            }
            // A container may use it. The next task that wants it makes it anew.
            5 => _ = ask_docker(node, &["volume", "rm", KEPT]),
            _ => {}
        }
    }
}

/// Docker's answers come late, not at all, in half, or as errors, and requests get lost, while tasks come and go: each
/// task runs at most once, ends with a reason, is told of once, and leaves nothing.
#[test]
fn a_breaking_way_to_docker_loses_no_task_and_no_exit() {
    let lasts = Duration::from_secs(number("LONGSHORE_SOAK_CHURN").unwrap_or(30));
    let seed = number("LONGSHORE_SEED").unwrap_or_else(rand::random);
    println!("seed {seed}, {} s; LONGSHORE_SEED={seed} repeats it", lasts.as_secs());
    let files = tempfile::tempdir().unwrap();
    let auth = files.path().join("registries.json");
    write_private(&auth, &credentials("pull-me"), 0o600);
    // Without sandboxes in store each task makes its own, and images are looked at all the time.
    let agent = format!(
        "warm_sandboxes = 0\ndisk_clean_above = 1\ndisk_clean_until = 0\nregistry_auth_file = \"{}\"",
        auth.display()
    );
    let lab = lab_with(1, &agent);
    runs::watch(&lab);
    let node = lab.node(0);
    let _registry = start_registry(node);
    push_as(node, IMAGE, "mark", "echo mark >/mark");
    lab.call("logs", "create_log_group", json!({"logGroupName": "/faults"})).unwrap().unwrap();
    let runs = lab.dir().join("runs");
    fs::create_dir(&runs).unwrap();
    let kinds = kinds(&lab, runs.to_str().unwrap());
    let first = start(&lab, kinds.last().unwrap(), "first", 5).expect("a place");
    stopped(&lab, &first);
    assert_no_leaks(&lab, &[]);

    // From the agent's first call on. Whatever it makes its sandboxes from, it makes anew.
    let proxy = Proxy::start(node.host.dir().join("faulty.sock"), node.engine.socket(), seed).unwrap();
    node.agent.kill().unwrap();
    let pause = docker(node, &["image", "ls", "--quiet", "longshore/pause"]);
    let pause: BTreeSet<&str> = pause.split_whitespace().collect();
    pause.into_iter().for_each(|image| _ = docker(node, &["rmi", "--force", image]));
    leave_images(node);
    proxy.set_faulty(true);
    let agent = host::program("longshore-agent").unwrap();
    node.agent.launch_as(&node.host, &proxy.address(), &agent, &[]).unwrap();
    lab.wait_connected(1, 2 * DEADLINE).unwrap();
    let (begin, long) = (Instant::now(), lasts >= LONG);
    let mut churn = Churn {
        lab: &lab,
        proxy: &proxy,
        began: begin,
        refuses: false,
        kinds,
        random: StdRng::seed_from_u64(seed),
        names: BTreeMap::from([(first, "first".to_owned())]),
        asked: BTreeSet::new(),
        live: Vec::new(),
        shells: Vec::new(),
        attached: None,
    };
    let wanted: Vec<&str> = ALWAYS.iter().chain(IN_LONG_RUNS.iter().filter(|_| long)).copied().collect();
    let missed = || {
        let broken = proxy.broken();
        let mut missed: Vec<String> = wanted.iter().map(|kind| (*kind).to_owned()).collect();
        missed.retain(|kind| !broken.contains_key(kind));
        // And the faults that have not happened, such as `Hang 0`.
        missed.extend(proxy.counts().split(", ").filter(|count| count.ends_with(" 0")).map(str::to_owned));
        missed
    };
    // Which calls are made hangs on what broke before them, so a run may have to go on until it made them all.
    let what = "the end of the churn, with a call of each kind broken, and each kind of fault";
    let churned = wait_until(what, lasts + 2 * DEADLINE, || {
        churn.turn();
        Ok(begin.elapsed() >= lasts && missed().is_empty())
    });
    assert!(churned.is_ok(), "never broke: {:?}; {churned:?}", missed());
    proxy.set_faulty(false);
    proxy.set_refused(&[]);
    let Churn { names, asked, shells, attached, .. } = churn;
    drop((shells, attached));
    let broken = proxy.broken();
    println!("{} tasks; {}; {} outlasted the agent's patience", names.len(), proxy.counts(), proxy.outlasted());
    println!("{broken:#?}; shells: {}", fs::read_to_string(lab.dir().join("shells.log")).unwrap_or_default());
    assert!(proxy.total() >= lasts.as_secs(), "hardly anything broke: {}", proxy.counts());
    // The first call of each kind breaks, so whatever the agent asks of Docker is among them.
    let listed = |kind: &str| ALWAYS.contains(&kind) || IN_LONG_RUNS.contains(&kind);
    let unlisted: Vec<&String> = broken.keys().filter(|kind| !listed(kind)).collect();
    assert!(unlisted.is_empty(), "calls that nobody demands: {unlisted:?}");
    let all: Vec<String> = names.keys().cloned().collect();
    let (mut failed, mut ends) = (Vec::new(), Ends::default());
    let told = wait_tasks(&lab, &all, "STOPPED", 2 * DEADLINE);
    for ended in &told {
        let arn = ended["taskArn"].as_str().unwrap();
        let name = &names[arn];
        let ran = fs::read_to_string(runs.join(name)).unwrap_or_default().lines().count();
        assert!(ran <= 1, "{name} ran {ran} times: {ended:#}");
        let main = container(ended, "main");
        let why = main["reason"].as_str().or(ended["stoppedReason"].as_str()).unwrap_or_default();
        // What Docker never told of is said to be unknown. By itself `main` ends with 3; nobody kills it but where its
        // user asked for its stop, and then the end is the user's.
        ends.count(ended, ran, &[3]);
        match ended["stopCode"].as_str() {
            Some("EssentialContainerExited") => {}
            Some("UserInitiated") => assert!(asked.contains(arn), "nobody stopped {name}: {ended:#}"),
            Some("TaskFailedToStart") => {
                assert!(!why.is_empty(), "{name}: {ended:#}");
                failed.push(why.to_owned());
            }
            _ => panic!("{name}: {ended:#}"),
        }
    }
    ends.assert_known();
    println!("{} of {} tasks failed to start: {failed:#?}", failed.len(), all.len());
    // What Docker says is wrong may be so for ever, and ends a start; all other faults pass.
    let passing = failed.iter().filter(|why| !why.contains("injected")).count();
    assert!(passing <= all.len() / 50, "{passing} of {} tasks failed for faults that pass: {failed:#?}", all.len());
    let most = if long { all.len() / 10 } else { all.len() / 5 };
    assert!(failed.len() <= most, "{} of {} tasks failed: {failed:#?}", failed.len(), all.len());
    // A new agent on a sound way cleans up whatever is left, as this one does, and tells nothing again. Both leave what
    // tasks share to whoever wants it gone.
    wait_until("a shared volume that nothing uses", DEADLINE, || {
        ask_docker(node, &["volume", "rm", "--force", KEPT])?;
        Ok(true)
    })
    .unwrap();
    assert_no_leaks(&lab, &[]);
    node.agent.kill().unwrap();
    node.launch_agent().unwrap();
    lab.wait_connected(1, DEADLINE).unwrap();
    assert_nothing_left(&lab);
    wait_until("the end of the images that nothing uses", DEADLINE, || {
        let left = ask_docker(node, &["image", "ls", "--quiet", OLD])?;
        ensure!(left.is_empty(), "left over: {left}");
        Ok(true)
    })
    .unwrap();
    assert!(!long || proxy.outlasted() > 0, "no hang outlasted the agent's patience");
    runs::assert_ends_told_once(&lab, &told);
}

#[test]
fn what_somebody_does_to_containers_is_seen_and_said() {
    let lab = lab(1);
    runs::watch(&lab);
    let node = lab.node(0);
    let mut main = shell("main", "trap 'exit 0' TERM; echo ready; while true; do sleep 0.1; done");
    merge(&mut main, json!({"portMappings": [{"containerPort": 80}]}));
    let definition = register(&lab, "victim", json!([main]), json!({"memory": "24", "volumes": [{"name": "own"}]}));
    let arns = run(&lab, &definition, 5, json!({}));
    wait_tasks(&lab, &arns, "RUNNING", DEADLINE);
    let [removed, ended, paused, renamed, late] = [0, 1, 2, 3, 4].map(|n| &arns[n]);
    let name = |arn: &String| format!("ls-{}-main", id(arn));
    arns.iter().for_each(|arn| wait_ready(node, arn, "main"));

    docker(node, &["rm", "-f", &name(removed)]);
    let gone = stopped(&lab, removed);
    assert!(container(&gone, "main")["reason"].is_string(), "{gone:#}");
    docker(node, &["stop", &name(ended)]);
    let over = stopped(&lab, ended);
    assert_eq!(
        (&over["stopCode"], &container(&over, "main")["exitCode"]),
        (&json!("EssentialContainerExited"), &json!(0))
    );
    let live = [paused, renamed, late].map(String::clone);
    assert_exactly(&lab, &live);
    assert_no_leaks(&lab, &live);
    let mut told = vec![gone, over];

    // One that is paused runs, and is stopped when it should be.
    docker(node, &["pause", &name(paused)]);
    docker(node, &["rename", &name(renamed), "mine"]);
    wait_until("the container's own name", DEADLINE, || {
        Ok(node.task_containers()?.iter().any(|c| c.name == name(renamed) && c.state == "running"))
    })
    .unwrap();
    assert_eq!(task(&lab, paused)["lastStatus"], "RUNNING");
    assert_eq!(task(&lab, renamed)["lastStatus"], "RUNNING");
    // And when nobody looked in between.
    node.agent.freeze();
    docker(node, &["rename", &name(late), "mine-too"]);
    docker(node, &["stop", "mine-too"]);
    node.agent.thaw();
    let over = stopped(&lab, late);
    assert_eq!(container(&over, "main")["exitCode"], 0, "{over:#}");
    told.push(over);
    // To Docker one that is paused does not run.
    assert_exactly(&lab, std::slice::from_ref(renamed));
    assert_eq!(inspect(node, paused, "main")["State"]["Status"], "paused");
    assert_eq!(task(&lab, paused)["lastStatus"], "RUNNING");
    assert_no_leaks(&lab, &[paused, renamed].map(String::clone));
    for arn in [paused, renamed] {
        lab.ecs("stop_task", json!({"task": arn})).unwrap();
        let ended = stopped(&lab, arn);
        assert_eq!(ended["stopCode"], "UserInitiated", "{ended:#}");
        assert!(container(&ended, "main")["exitCode"].is_number(), "{ended:#}");
        told.push(ended);
    }
    assert_exactly(&lab, &[]);
    assert_nothing_left(&lab);
    runs::assert_ends_told_once(&lab, &told);
}

/// The same with tasks that have an interface and share their processes: also what holds these for them.
#[test]
fn what_somebody_does_to_containers_of_tasks_with_interfaces_is_seen_and_said() {
    let lab = lab(1);
    runs::watch(&lab);
    let node = lab.node(0);
    let main = shell("main", "trap 'exit 0' TERM; echo ready; while true; do sleep 0.1; done");
    let more = json!({"networkMode": "awsvpc", "pidMode": "task", "memory": "24"});
    let definition = register(&lab, "victim-wired", json!([main]), more);
    let arns = run(&lab, &definition, 6, network(&lab, &[]));
    wait_tasks(&lab, &arns, "RUNNING", DEADLINE);
    let [removed, ended, paused, renamed, held, cut] = [0, 1, 2, 3, 4, 5].map(|n| &arns[n]);
    let name = |arn: &String| format!("ls-{}-main", id(arn));
    arns.iter().for_each(|arn| wait_ready(node, arn, "main"));
    let sandbox = |arn: &String| {
        let mode = inspect(node, arn, "main")["HostConfig"]["NetworkMode"].as_str().unwrap().to_owned();
        mode.strip_prefix("container:").unwrap().to_owned()
    };
    let of_tasks: Vec<String> = arns.iter().map(sandbox).collect();

    docker(node, &["rm", "-f", &name(removed)]);
    docker(node, &["stop", &name(ended)]);
    docker(node, &["pause", &name(paused)]);
    docker(node, &["rename", &name(renamed), "mine"]);
    docker(node, &["stop", "--time", "0", &of_tasks[5]]);
    // What holds a task's namespaces, and what waits for a task.
    let mut holders = vec![of_tasks[3].clone(), of_tasks[4].clone()];
    let mut spare = node.engine.containers().unwrap().into_iter();
    let spare = spare.find(|c| c.name.starts_with("ls-eni-") && !of_tasks.contains(&c.id));
    holders.push(spare.expect("a sandbox that waits").id);
    // What waits may go, since fewer are wanted.
    let called = |id: &String| Some(node.engine.inspect(id).ok()?["Name"].as_str()?.to_owned());
    let names: Vec<Option<String>> = holders.iter().map(called).collect();
    assert!(names.iter().all(Option::is_some), "{names:?}");
    for (number, id) in holders.iter().enumerate() {
        docker(node, &["rename", id, &format!("mine-{number}")]);
    }
    docker(node, &["rename", &format!("ls-{}.pause", id(held)), "mine-pause"]);

    let gone = stopped(&lab, removed);
    assert!(container(&gone, "main")["reason"].is_string(), "{gone:#}");
    let over = stopped(&lab, ended);
    assert_eq!(
        (&over["stopCode"], &container(&over, "main")["exitCode"]),
        (&json!("EssentialContainerExited"), &json!(0))
    );
    let lost = stopped(&lab, cut);
    assert!(lost["stoppedReason"].as_str().unwrap().contains("NetworkInterfaceLostError"), "{lost:#}");
    let mut told = vec![gone, over, lost];
    wait_until("the names of what was renamed", DEADLINE, || {
        let now: Vec<Option<String>> = holders.iter().map(called).collect();
        let same = now.iter().zip(&names).all(|(now, name)| now.is_none() || now == name);
        ensure!(same, "{now:?} are to be {names:?}");
        let all = node.task_containers()?;
        Ok(all.iter().any(|c| c.name == name(renamed) && c.state == "running"))
    })
    .unwrap();
    let live = [paused, renamed, held].map(String::clone);
    for arn in &live {
        assert_eq!(task(&lab, arn)["lastStatus"], "RUNNING", "{arn}");
    }
    // To Docker one that is paused does not run.
    assert_exactly(&lab, &[renamed, held].map(String::clone));
    // A task that comes now takes what waits. What nobody asks for has its name back when it goes.
    let next = run(&lab, &definition, 1, network(&lab, &[]));
    wait_tasks(&lab, &next, "RUNNING", DEADLINE);
    for arn in live.iter().chain(&next) {
        lab.ecs("stop_task", json!({"task": arn})).unwrap();
        let ended = stopped(&lab, arn);
        assert_eq!(ended["stopCode"], "UserInitiated", "{ended:#}");
        assert!(container(&ended, "main")["exitCode"].is_number(), "{ended:#}");
        told.push(ended);
    }
    assert_exactly(&lab, &[]);
    assert_nothing_left(&lab);
    let left = docker(node, &["ps", "--all", "--format", "{{.Names}}"]);
    assert!(!left.contains("mine"), "left over: {left}");
    runs::assert_ends_told_once(&lab, &told);
}
