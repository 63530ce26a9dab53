//! Schedules through boto3's `scheduler`, the `aws` command and `longshore`: each firing's task runs once, although the
//! control plane is killed around it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use longshore_tests::lab::{ApiError, Lab, wait_for, wait_until};
use serde_json::{Value, json};

use super::command::{longshore, ok};
use super::support::*;

fn scheduler(lab: &Lab, op: &str, args: Value) -> Result<Value, ApiError> {
    lab.call("scheduler", op, args).unwrap()
}

/// Seconds since the epoch by this machine's clock, which is the control plane's.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Waits until the clock shows that second.
fn reach(second: u64) {
    wait_until("the clock", Duration::from_secs(90), || Ok(now() >= second)).unwrap();
}

/// A local time of Tokyo, nine hours ahead the whole year, as `at()` takes it.
fn in_tokyo(second: u64) -> String {
    let command = ["-u", "-d", &format!("@{}", second + 9 * 3600), "+%Y-%m-%dT%H:%M:%S"];
    let out = std::process::Command::new("date").args(command).output().unwrap();
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// The request for a schedule whose tasks run `job`, and are told the time that they are for.
fn request(lab: &Lab, name: &str, expression: &str, more: Value) -> Value {
    let cluster =
        lab.ecs("describe_clusters", json!({})).unwrap()["clusters"][0]["clusterArn"].as_str().unwrap().to_owned();
    let mut parts = cluster.split(':').skip(3);
    let (region, account) = (parts.next().unwrap(), parts.next().unwrap());
    let environment = json!([{"name": "FOR", "value": "<aws.scheduler.scheduled-time>"}]);
    let mut args = json!({
        "Name": name,
        "ScheduleExpression": expression,
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {
            "Arn": cluster,
            "RoleArn": format!("arn:aws:iam::{account}:role/anything"),
            "EcsParameters": {"TaskDefinitionArn": format!("arn:aws:ecs:{region}:{account}:task-definition/job")},
            "Input": json!({"containerOverrides": [{"name": "main", "environment": environment}]}).to_string(),
        },
    });
    merge(&mut args, more);
    args
}

/// The times that the tasks of a schedule are for, each as often as there is a task, and the tasks.
fn fired(lab: &Lab, name: &str) -> Result<(Vec<String>, Vec<String>)> {
    let args = json!({"startedBy": format!("chronos-schedule/{name}")});
    let arns = lab.ecs("list_tasks", args)?["taskArns"].as_array().cloned().unwrap_or_default();
    let arns: Vec<String> = arns.iter().filter_map(|arn| arn.as_str().map(str::to_owned)).collect();
    if arns.is_empty() {
        return Ok((Vec::new(), arns));
    }
    let tasks = describe(lab, &arns)?;
    let time = |task: &Value| {
        task["overrides"]["containerOverrides"][0]["environment"][0]["value"].as_str().map(str::to_owned)
    };
    let mut times: Vec<String> = tasks.iter().filter_map(time).collect();
    times.sort();
    ensure!(times.len() == tasks.len(), "a task is not told its time: {tasks:?}");
    Ok((times, arns))
}

#[test]
fn firings_happen_once_across_kills_of_the_control_plane() {
    let lab = lab(1);
    register(&lab, "job", json!([sleeper()]), json!({}));

    // What cannot be is refused in Scheduler's words, and nothing is there afterwards.
    let flexible = json!({"FlexibleTimeWindow": {"Mode": "FLEXIBLE"}});
    for (name, expression, more, code, status) in [
        ("x", "rate(0 minutes)", json!({}), "ValidationException", 400),
        ("x", "cron(0 1 * * * *)", json!({}), "ValidationException", 400),
        ("x", "at(2030-01-01)", json!({}), "ValidationException", 400),
        ("x", "rate(1 hour)", json!({"ScheduleExpressionTimezone": "Mars/Olympus"}), "ValidationException", 400),
        ("x", "rate(1 hour)", flexible, "ValidationException", 400),
        ("x", "rate(1 hour)", json!({"GroupName": "nowhere"}), "ResourceNotFoundException", 404),
    ] {
        let error = scheduler(&lab, "create_schedule", request(&lab, name, expression, more)).unwrap_err();
        assert_eq!((error.code.as_str(), error.status), (code, status), "{error}");
    }
    let error = scheduler(&lab, "get_schedule", json!({"Name": "x"})).unwrap_err();
    assert_eq!((error.status, error.message.as_str()), (404, "Schedule x does not exist."));
    assert_eq!(scheduler(&lab, "list_schedules", json!({})).unwrap()["Schedules"], json!([]));

    // A rate begins at once; the control plane dies over it, and over the start of a one-off.
    let made = scheduler(&lab, "create_schedule", request(&lab, "tick", "rate(1 minute)", json!({}))).unwrap();
    assert!(made["ScheduleArn"].as_str().unwrap().ends_with(":schedule/default/tick"), "{made}");
    let conflict = scheduler(&lab, "create_schedule", request(&lab, "tick", "rate(1 minute)", json!({}))).unwrap_err();
    assert_eq!((conflict.code.as_str(), conflict.status), ("ConflictException", 409));
    lab.control().kill().unwrap();
    lab.restart_control().unwrap();
    let begin = now();
    let soon = now() + 3;
    let ecs = request(&lab, "", "", json!({}))["Target"].clone();
    let two = json!({"ScheduleExpressionTimezone": "Asia/Tokyo", "ActionAfterCompletion": "DELETE", "Target": {
        "Arn": ecs["Arn"], "RoleArn": ecs["RoleArn"], "Input": ecs["Input"],
        "EcsParameters": {"TaskDefinitionArn": ecs["EcsParameters"]["TaskDefinitionArn"], "TaskCount": 2,
            "Group": "once"},
    }});
    let at = format!("at({})", in_tokyo(soon));
    scheduler(&lab, "create_schedule", request(&lab, "once", &at, two)).unwrap();
    lab.control().kill().unwrap();
    reach(soon + 1);
    lab.restart_control().unwrap();
    wait_until("the one-off is over", DEADLINE, || {
        Ok(scheduler(&lab, "get_schedule", json!({"Name": "once"})).is_err_and(|error| error.status == 404))
    })
    .unwrap();
    let (times, tasks) = fired(&lab, "once").unwrap();
    assert_eq!(times.len(), 2, "{times:?}");
    assert_eq!(times[0], times[1]);
    let running = wait_tasks(&lab, &tasks, "RUNNING", DEADLINE);
    assert!(running.iter().all(|task| task["group"] == "once"), "{running:#?}");

    // Groups with tags, and the commands.
    let tags = json!([{"Key": "team", "Value": "night shift"}]);
    let group = scheduler(&lab, "create_schedule_group", json!({"Name": "night", "Tags": tags})).unwrap();
    let arn = group["ScheduleGroupArn"].clone();
    scheduler(&lab, "tag_resource", json!({"ResourceArn": arn, "Tags": [{"Key": "a", "Value": "b"}]})).unwrap();
    scheduler(&lab, "untag_resource", json!({"ResourceArn": arn, "TagKeys": ["a"]})).unwrap();
    assert_eq!(scheduler(&lab, "list_tags_for_resource", json!({"ResourceArn": arn})).unwrap()["Tags"], tags);
    let create =
        ["schedule", "create", "night/report", "cron(30 8 ? * MON-FRI *)", "job", "--timezone", "Europe/Berlin"];
    let said = ok(&longshore(&lab, &[&create[..], &["--env", "MODE=full", "--window", "15", "--disabled"]].concat()));
    assert!(said.contains("schedule night/report is there"), "{said}");
    let list = ok(&longshore(&lab, &["schedule", "list"]));
    assert!(list.contains("night/report") && list.contains("DISABLED") && list.contains("tick"), "{list}");
    ok(&longshore(&lab, &["schedule", "enable", "night/report"]));
    let shown = ok(&longshore(&lab, &["schedule", "describe", "night/report"]));
    for part in ["ENABLED", "Europe/Berlin", "15 min", "MODE", "job", "Next:"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let by_name = scheduler(&lab, "get_schedule", json!({"Name": "report", "GroupName": "night"})).unwrap();
    assert_eq!(by_name["State"], "ENABLED");
    ok(&longshore(&lab, &["schedule", "disable", "night/report"]));
    let refused = longshore(&lab, &["schedule", "create", "bad", "cron(0 1 * * * *)", "job"]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && why.contains("Invalid Schedule Expression"), "{why}");
    let table = ok(&lab.aws(&["scheduler", "list-schedules", "--group-name", "night", "--output", "json"]).unwrap());
    assert!(table.contains("\"report\""), "{table}");
    ok(&longshore(&lab, &["schedule", "delete", "night/report"]));
    scheduler(&lab, "delete_schedule_group", json!({"Name": "night"})).unwrap();
    wait_until("the group is gone", DEADLINE, || {
        Ok(scheduler(&lab, "get_schedule_group", json!({"Name": "night"})).is_err_and(|error| error.status == 404))
    })
    .unwrap();

    // The second minute comes while the control plane is killed again and again.
    reach(begin + 57);
    for _ in 0..3 {
        lab.control().kill().unwrap();
        lab.restart_control().unwrap();
    }
    let times = wait_for("the second firing", Duration::from_secs(30), || {
        let (times, _) = fired(&lab, "tick")?;
        Ok((times.len() >= 2).then_some(times))
    })
    .unwrap();
    lab.control().kill().unwrap();
    lab.restart_control().unwrap();
    assert_eq!(times.len(), 2, "{times:?}");
    assert_ne!(times[0], times[1]);
    assert_eq!(fired(&lab, "tick").unwrap().0, times, "each firing has one task, also after another start");
    let task = ok(&longshore(&lab, &["describe", id(&fired(&lab, "tick").unwrap().1[0])]));
    assert!(task.contains("started by schedule default/tick for"), "{task}");
    scheduler(&lab, "delete_schedule", json!({"Name": "tick"})).unwrap();
}
