//! Commands in containers by `longshore exec`, and `longshore attach`: with and without a terminal, large and cut off.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::ensure;
use longshore_tests::lab::{Lab, Node, host, wait_until};
use serde_json::{Value, json};

use super::command::{longshore, longshore_command, ok, set_up};
use super::support::*;

/// What no log may show.
const SECRET: &str = "hunter2-on-the-command-line";

/// A task with a container whose root cannot be written, one that takes input, and one that does so with a terminal.
fn containers() -> Value {
    let mut main = shell("main", "trap 'exit 0' TERM; while true; do sleep 0.2; done");
    merge(&mut main, json!({"readonlyRootFilesystem": true}));
    let mut talk = shell("talk", "while read line; do echo got $line; done; sleep 600");
    merge(&mut talk, json!({"interactive": true, "essential": false, "stopTimeout": 1}));
    let mut term = shell("term", "exec sh");
    merge(&mut term, json!({"interactive": true, "pseudoTerminal": true, "essential": false, "stopTimeout": 1}));
    json!([main, talk, term])
}

fn enabled(lab: &Lab) -> (String, Value) {
    let definition = register(lab, "app", containers(), json!({}));
    let arn = run_one(lab, &definition, json!({"enableExecuteCommand": true}));
    let task = running(lab, &arn);
    (arn, task)
}

/// `longshore exec` in the container `main`, without a terminal.
fn exec(lab: &Lab, arn: &str, flags: &[&str], command: &[&str]) -> Output {
    longshore(lab, &[&["exec", arn, "--container", "main"][..], flags, &["--"], command].concat())
}

/// The same, left to itself.
fn start(lab: &Lab, arn: &str, flags: &[&str], command: &[&str]) -> Child {
    let mut program = longshore_command(lab);
    program.args(["exec", arn, "--container", "main"]).args(flags).arg("--").args(command);
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

/// Plays `steps` with `longshore` in a terminal and gives what it showed.
#[track_caller]
pub(super) fn play(lab: &Lab, args: &[&str], steps: Value) -> String {
    let script = lab.dir().join("terminal.py");
    fs::write(&script, include_str!("terminal.py")).unwrap();
    let mut command: Command = lab.ctl().net_command("python3".as_ref());
    set_up(lab, &mut command);
    command.arg(&script).arg(steps.to_string()).arg(host::program("longshore").unwrap()).args(args);
    ok(&command.output().unwrap())
}

/// How many processes of the container `main` have `text` in their command line.
fn processes(node: &Node, arn: &str, text: &str) -> anyhow::Result<usize> {
    let name = format!("ls-{}-main", id(arn));
    let top = node.host.run("docker", &["-H", &node.docker(), "top", &name, "-o", "pid,args"])?;
    Ok(top.lines().filter(|line| line.contains(text)).count())
}

#[track_caller]
fn wait_processes(node: &Node, arn: &str, text: &str, count: usize) {
    wait_until(&format!("{count} processes of `{text}`"), DEADLINE, || {
        let found = processes(node, arn, text)?;
        ensure!(found == count, "{found}");
        Ok(true)
    })
    .unwrap();
}

/// Everything that a program of a lab host printed.
fn log(host: &longshore_tests::lab::Host, name: &str) -> String {
    fs::read_to_string(host.dir().join(format!("{name}.log"))).unwrap()
}

#[test]
fn commands_run_in_containers_with_and_without_a_terminal() {
    let lab = lab(1);
    let node = lab.node(0);
    let (arn, task) = enabled(&lab);
    let arn = arn.as_str();
    assert_eq!(task["enableExecuteCommand"], true);
    for container in task["containers"].as_array().unwrap() {
        let agent = &container["managedAgents"][0];
        assert_eq!((&agent["name"], &agent["lastStatus"]), (&json!("ExecuteCommandAgent"), &json!("RUNNING")));
    }

    // Standard output and standard error apart, words as they are, and the exit status.
    let output = exec(&lab, arn, &[], &["sh", "-c", "echo out; echo err >&2; exit 7", SECRET]);
    assert_eq!((&output.stdout[..], &output.stderr[..], code(&output)), (&b"out\n"[..], &b"err\n"[..], Some(7)));
    let words = ["printf", "%s|", "a b", "it's", "$HOME", "", "--flag", "\\"];
    assert_eq!(ok(&exec(&lab, arn, &[], &words)), "a b|it's|$HOME||--flag|\\|");
    let output = exec(&lab, arn, &[], &["touch", "/x"]);
    assert!(code(&output) == Some(1) && String::from_utf8_lossy(&output.stderr).contains("Read-only"), "{output:?}");
    assert_eq!(ok(&exec(&lab, arn, &["--user", "nobody"], &["id", "-un"])), "nobody\n");
    let output = exec(&lab, arn, &[], &["/no/such/program"]);
    assert!(matches!(code(&output), Some(126 | 127 | 255)), "{output:?}");

    // Input of more than is ever under way, to its end.
    let input: Vec<u8> = (0..300_000u32).flat_map(|n| (n % 251).to_be_bytes()).collect();
    let mut cat = start(&lab, arn, &["-i"], &["cat"]);
    let mut stdin = cat.stdin.take().unwrap();
    let copy = input.clone();
    let writing = std::thread::spawn(move || stdin.write_all(&copy));
    let output = cat.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    assert!(output.stdout == input && code(&output) == Some(0), "{} bytes, {:?}", output.stdout.len(), output.status);

    // Output of 50 MB, whole, through an agent and a control plane that hold little of it.
    let rss = || {
        let agent = node.agent.process(|process| process.rss_kib()).unwrap();
        (agent, lab.control().process(|process| process.rss_kib()).unwrap())
    };
    let before = rss();
    let output = exec(&lab, arn, &[], &["sh", "-c", "yes 0123456789abcde | head -c 52428800"]);
    let whole = output.stdout.len() == 52_428_800 && output.stdout.chunks(16).all(|line| line == b"0123456789abcde\n");
    assert!(whole, "{} bytes, {:?}", output.stdout.len(), output.status);
    let after = rss();
    let bounded = after.0 < before.0 + 16_384 && after.1 < before.1 + 16_384;
    assert!(bounded, "agent and control plane: {before:?} KiB before and {after:?} KiB after");

    // In a terminal: it is one, has this one's size and its changes, takes ctrl-c, and is left as it was.
    play(
        &lab,
        &["exec", arn, "--container", "main", "sh"],
        json!([
            ["send", "tty; stty size\n"],
            ["expect", "/dev/pts/"],
            ["expect", "24 80"],
            ["size", 33, 101],
            ["send", "until [ \"$(stty size)\" = '33 101' ]; do sleep 0.1; done; echo re''sized\n"],
            ["expect", "resized"],
            ["send", "echo b''egun; sleep 1000\n"],
            ["expect", "begun"],
            ["send", "\u{3}"],
            ["send", "echo status $?\n"],
            ["expect", "status 130"],
            ["send", "exit 5\n"],
            ["end", 5]
        ]),
    );
    play(
        &lab,
        &["exec", arn, "--container", "main", "sh", "-c", "echo b''egun; sleep 2345"],
        json!([["expect", "begun"], ["signal", 15], ["end", 143]]),
    );
    wait_processes(node, arn, "sleep 2345", 0);

    // Attached: what is said is seen, what is typed is heard, and the container goes on.
    let mut program = longshore_command(&lab);
    program.args(["attach", arn, "--container", "talk"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut talk = program.spawn().unwrap();
    let mut stdin = talk.stdin.take().unwrap();
    stdin.write_all(b"hello\n").unwrap();
    let mut heard = [0; 10];
    talk.stdout.as_mut().unwrap().read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"got hello\n");
    talk.kill().unwrap();
    talk.wait().unwrap();
    play(
        &lab,
        &["attach", arn, "--container", "term"],
        json!([
            ["expect", "ctrl-p ctrl-q"],
            ["send", "echo a$((1+1))\n"],
            ["expect", "a2"],
            ["send", "\u{10}\u{11}"],
            ["expect", "goes on"],
            ["end", 0]
        ]),
    );
    let now = super::support::task(&lab, arn);
    for name in ["main", "talk", "term"] {
        assert_eq!(container(&now, name)["lastStatus"], "RUNNING");
    }

    // Who executed what is in the history and the log; the arguments are not.
    let described = ok(&longshore(&lab, &["describe", id(arn)]));
    let key = &lab.control().key().id;
    for said in
        ["`sh` with 3 arguments, for arn:aws:iam::", key, "ended with exit code 7", "attach, for", "as user nobody"]
    {
        assert!(described.contains(said), "{said}: {described}");
    }
    let control = log(lab.ctl(), "control");
    let line = control.lines().find(|line| line.contains("executing a command")).expect("a line");
    assert!(line.contains(key) && line.contains("`sh` with 3 arguments") && line.contains(id(arn)), "{line}");
    for text in [&described, &control, &log(&node.host, "agent")] {
        assert!(!text.contains(SECRET), "{text}");
    }
    assert!(fs::read_dir(node.host.dir().join("agent/exec")).map_or(true, |mut dir| dir.next().is_none()));
}

#[test]
fn whoever_leaves_leaves_no_process_behind() {
    let lab = lab(1);
    let node = lab.node(0);
    let (arn, _) = enabled(&lab);
    let arn = arn.as_str();

    // A client is killed: a process with children, one that listens to no hang-up, and one whose output nobody takes.
    let scripts = [
        ("sleep 1111 & sleep 1111", "sleep 1111", 2),
        ("trap '' HUP; while true; do sleep 1112; done", "sleep 1112", 1),
        ("yes 1113", "yes 1113", 1),
    ];
    for (script, text, count) in scripts {
        let mut client = start(&lab, arn, &["-i"], &["sh", "-c", &format!("{script}; true")]);
        wait_until("its processes", DEADLINE, || Ok(processes(node, arn, text)? >= count)).unwrap();
        client.kill().unwrap();
        client.wait().unwrap();
        wait_processes(node, arn, text, 0);
    }

    // The agent is killed: the client ends with an error, and the next agent ends what was left.
    let client = start(&lab, arn, &[], &["sleep", "1114"]);
    wait_processes(node, arn, "sleep 1114", 1);
    node.agent.kill().unwrap();
    let output = client.wait_with_output().unwrap();
    assert_eq!(code(&output), Some(255), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("agent"), "{output:?}");
    let ask = |more: Value| {
        let mut args = json!({"task": arn, "container": "main", "command": "id", "interactive": true});
        merge(&mut args, more);
        lab.ecs_error("execute_command", args).unwrap()
    };
    wait_until("a host that counts as away", DEADLINE, || Ok(task(&lab, arn)["connectivity"] == "DISCONNECTED"))
        .unwrap();
    assert_error(&ask(json!({})), "TargetNotConnectedException", "not connected");
    node.launch_agent().unwrap();
    wait_processes(node, arn, "sleep 1114", 0);
    lab.wait_connected(1, DEADLINE).unwrap();

    // Docker hangs when the client leaves, and is killed: it has forgotten the command when it is there again, and the
    // container goes on.
    let known = || {
        wait_until("which process it is", DEADLINE, || {
            let records = fs::read_dir(node.host.dir().join("agent/exec"))?.flatten();
            let texts: Vec<String> = records.map(|file| fs::read_to_string(file.path())).collect::<Result<_, _>>()?;
            Ok(texts.len() == 1 && texts[0].split_whitespace().count() == 4)
        })
        .unwrap();
    };
    let on_the_host = |text: &str| {
        let commands = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("cmdline"));
        let said =
            |path: &std::path::PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).replace('\0', " ");
        commands.filter(|path| said(path).starts_with(text)).count()
    };
    for dies in [false, true] {
        let text = format!("sleep 1117{}", u8::from(dies));
        let mut client = start(&lab, arn, &[], &text.split(' ').collect::<Vec<_>>());
        wait_processes(node, arn, &text, 1);
        known();
        if dies {
            node.engine.kill().unwrap();
        } else {
            node.engine.freeze();
            client.kill().unwrap();
        }
        let output = client.wait_with_output().unwrap();
        assert!(!output.status.success(), "{output:?}");
        wait_until("its end, whatever Docker does", DEADLINE, || Ok(on_the_host(&text) == 0)).unwrap();
        if dies {
            node.engine.launch(&node.host).unwrap();
            node.engine.wait_ready(&node.host).unwrap();
        } else {
            node.engine.thaw();
        }
        wait_processes(node, arn, &text, 0);
    }
    assert_eq!(task(&lab, arn)["lastStatus"], "RUNNING");

    // The control plane ends, by force and in order.
    for force in [true, false] {
        wait_until("a command that runs", DEADLINE, || Ok(code(&exec(&lab, arn, &[], &["true"])) == Some(0))).unwrap();
        let client = start(&lab, arn, &[], &["sleep", "1115"]);
        wait_processes(node, arn, "sleep 1115", 1);
        if force {
            lab.control().kill().unwrap()
        } else {
            lab.control().terminate().unwrap()
        }
        let output = client.wait_with_output().unwrap();
        assert_eq!(code(&output), Some(255), "{output:?}");
        wait_processes(node, arn, "sleep 1115", 0);
        lab.restart_control().unwrap();
        lab.wait_connected(1, DEADLINE).unwrap();
    }

    // The agent is stopped in order: nothing waits for the next one. One command does not listen, and its client does
    // not read: ending it takes longer than a lease, and the host keeps its own meanwhile.
    wait_until("a command that runs", DEADLINE, || Ok(code(&exec(&lab, arn, &[], &["true"])) == Some(0))).unwrap();
    let lost = || log(lab.ctl(), "control").matches("its lease ran out").count();
    let before = lost();
    let client = start(&lab, arn, &[], &["sleep", "1116"]);
    wait_processes(node, arn, "sleep 1116", 1);
    let mut stuck = start(&lab, arn, &[], &["sh", "-c", "trap '' HUP; yes 1116"]);
    wait_until("the one that does not listen", DEADLINE, || Ok(processes(node, arn, "yes 1116")? > 0)).unwrap();
    node.agent.terminate().unwrap();
    assert_eq!(lost(), before, "the host lost its lease while its commands were ended");
    assert_eq!(processes(node, arn, "1116").unwrap(), 0);
    stuck.kill().unwrap();
    stuck.wait().unwrap();
    let output = client.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("the host's agent is stopping"), "{output:?}");
    node.launch_agent().unwrap();
    lab.wait_connected(1, DEADLINE).unwrap();

    // What ECS refuses, in its words where clients see them.
    assert_error(&ask(json!({"container": "nobody"})), "InvalidParameterException", "nobody does not exist");
    assert_error(&ask(json!({"container": ""})), "InvalidParameterException", "main, talk, term");
    assert_error(&ask(json!({"interactive": false})), "InvalidParameterException", "interactive");
    assert_error(&ask(json!({"command": "it's"})), "InvalidParameterException", "quote");
    let absent = "0123456789abcdef0123456789abcdef";
    assert_error(&ask(json!({"task": absent})), "InvalidParameterException", "was not found");
    let definition = register(&lab, "closed", json!([sleeper()]), json!({}));
    let closed = run_one(&lab, &definition, json!({}));
    let shown = running(&lab, &closed);
    assert_eq!(
        (&shown["enableExecuteCommand"], &shown["containers"][0]["managedAgents"]),
        (&json!(false), &Value::Null)
    );
    assert_error(&ask(json!({"task": closed})), "InvalidParameterException", "execute command was not enabled");
    let output = longshore(&lab, &["exec", &closed, "id"]);
    assert_eq!(code(&output), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("was not enabled"), "{output:?}");

    // What ECS answers, and a token that is spent.
    let begin = |command: &str| {
        let args = json!({"task": arn, "container": "main", "command": command, "interactive": true});
        lab.ecs("execute_command", args).unwrap()
    };
    let answer = begin("sh -c 'exit 3'");
    let session = &answer["session"];
    assert_eq!((&answer["taskArn"], &answer["containerName"]), (&json!(arn), &json!("main")));
    assert!(session["sessionId"].as_str().unwrap().starts_with("ecs-execute-command-"), "{session}");
    // The session, the token that is shown, and what is said then.
    let open = |session: &Value, token: &str, input: &[u8]| {
        let url = session["streamUrl"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
        let (address, path) = url.split_once('/').unwrap();
        let mut stream = lab.connect(address.parse().unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(
            stream,
            "GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: longshore-exec\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        )
        .unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        let mut rest = Vec::new();
        if answer.ends_with(b"101") {
            stream.write_all(input).unwrap();
            stream.read_to_end(&mut rest).unwrap();
        }
        (String::from_utf8_lossy(&answer).into_owned(), rest)
    };
    let token = session["tokenValue"].as_str().unwrap();
    assert!(open(session, "wrong", b"").0.ends_with("400"));
    let (status, frames) = open(session, token, b"");
    assert!(status.ends_with("101") && frames.ends_with(&[4, 0, 0, 0, 4, 0, 0, 0, 3]), "{status} {frames:?}");
    assert!(open(session, token, b"").0.ends_with("400"));
    assert!(!log(lab.ctl(), "control").contains(token));

    // Input that takes nothing of the window is refused: nobody could bound it.
    let (empty, end) = ([0; 5], [1, 0, 0, 0, 0]);
    for (input, why) in [(empty.to_vec(), "input that is empty"), ([end, end].concat(), "ended its input twice")] {
        let answer = begin("sleep 1119");
        let session = &answer["session"];
        let (_, frames) = open(session, session["tokenValue"].as_str().unwrap(), &input);
        assert!(String::from_utf8_lossy(&frames).contains(why), "{why}: {frames:?}");
        wait_processes(node, arn, "sleep 1119", 0);
    }
}
