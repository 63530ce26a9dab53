//! The `longshore` command against a real fleet, and the `aws` command beside it.

use std::process::{Command, Output};

use longshore_tests::lab::product::REGION;
use longshore_tests::lab::{Lab, host};
use serde_json::Value;

use super::support::*;

/// The command, ready to be given arguments.
pub(super) fn longshore_command(lab: &Lab) -> Command {
    let mut command = lab.ctl().net_command(&host::program("longshore").unwrap());
    set_up(lab, &mut command);
    command
}

/// Tells a program of the lab's control plane, and that a terminal it may have can move its cursor.
pub(super) fn set_up(lab: &Lab, command: &mut Command) {
    command.env("AWS_ENDPOINT_URL_ECS", lab.endpoint()).env("AWS_ENDPOINT_URL", lab.endpoint());
    command.env("AWS_ACCESS_KEY_ID", &lab.control().key().id);
    command.env("AWS_SECRET_ACCESS_KEY", &lab.control().key().secret);
    command.env("AWS_REGION", REGION).env("HOME", lab.dir()).env("TERM", "xterm");
    command.env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN");
}

pub(super) fn longshore(lab: &Lab, args: &[&str]) -> Output {
    longshore_command(lab).args(args).output().unwrap()
}

#[track_caller]
pub(super) fn ok(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_first_task_by_hand_with_longshore_and_aws() {
    let lab = lab(1);
    let hosts = ok(&longshore(&lab, &["host", "list"]));
    assert!(hosts.contains("ACTIVE"), "{hosts}");
    let file = lab.dir().join("task.json");
    let text = serde_json::json!({"family": "hello", "containerDefinitions": [
        shell("main", "trap 'exit 0' TERM; echo ready; while true; do sleep 0.1; done")]});
    std::fs::write(&file, text.to_string()).unwrap();
    let file = file.to_str().unwrap();
    ok(&longshore(&lab, &["task-def", "register", file]));
    let started = ok(&longshore(&lab, &["run", "hello", "--count", "2", "--wait", "--json"]));
    let started: Value = serde_json::from_str(&started).unwrap();
    let arns = strings(&started["tasks"], "taskArn");
    assert_eq!(arns.len(), 2);
    let table = ok(&longshore(&lab, &["ps"]));
    for arn in &arns {
        assert!(table.contains(&id(arn)[..8]), "{table}");
    }
    assert!(table.contains("RUNNING") && table.contains("hello:1"), "{table}");
    let described = ok(&longshore(&lab, &["describe", id(&arns[0])]));
    assert!(described.contains("main") && described.contains("busybox"), "{described}");

    // The same through the command that nobody here wrote.
    let aws = ok(&lab.aws(&["ecs", "list-tasks", "--output", "text", "--query", "taskArns[]"]).unwrap());
    assert!(arns.iter().all(|a| aws.contains(a.as_str())), "{aws}");
    wait_ready(lab.node(0), &arns[0], "main");
    ok(&longshore(&lab, &["stop", id(&arns[0])]));
    ok(&lab.aws(&["ecs", "wait", "tasks-stopped", "--tasks", &arns[0]]).unwrap());
    let shown = ok(&lab
        .aws(&[
            "ecs",
            "describe-tasks",
            "--tasks",
            &arns[0],
            "--query",
            "tasks[0].containers[0].exitCode",
            "--output",
            "text",
        ])
        .unwrap());
    assert_eq!(shown.trim(), "0");

    // What happened to it, in order, and also for whoever has only the other command.
    let described = ok(&longshore(&lab, &["describe", id(&arns[0])]));
    let history = described.split_once("History:").expect("a history").1;
    let mut rest = history;
    for what in [
        "PENDING: placed on ",
        "container `main`: RUNNING",
        "  RUNNING",
        "is to stop: Task stopped by user",
        "container `main`: STOPPED with exit code 0",
        "  STOPPED",
    ] {
        let at = rest.find(what).unwrap_or_else(|| panic!("{what:?} is not in this order: {history}"));
        rest = &rest[at + what.len()..];
    }
    let query = "tasks[0].attachments[?type=='longshore.history'].details[].value";
    let args = ["ecs", "describe-tasks", "--tasks", &arns[0], "--include", "LONGSHORE_HISTORY", "--query", query];
    let values: Vec<String> = serde_json::from_str(&ok(&lab.aws(&args).unwrap())).unwrap();
    assert_eq!(values.len(), history.lines().filter(|line| line.contains(" s  ")).count(), "{values:?} {history}");
    let plain = lab.ecs("describe_tasks", serde_json::json!({"tasks": [arns[0]]})).unwrap();
    assert_eq!(plain["tasks"][0]["attachments"], serde_json::json!([]), "unasked it is not there");

    // What is wrong is said, with an exit code to tell it by.
    let unknown = longshore(&lab, &["run", "no-such-family"]);
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
    let wrong = longshore(&lab, &["run"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    let token = ok(&longshore(&lab, &["host", "join-token", "create"]));
    assert!(token.trim().starts_with("lsj1."), "{token}");
    assert_eq!(token.trim().lines().count(), 1, "the token alone goes to standard output");
    let refused = lab.aws(&["ecs", "run-task", "--task-definition", "no-such-family"]).unwrap();
    assert!(!refused.status.success(), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("(ClientException)"), "{refused:?}");
}
