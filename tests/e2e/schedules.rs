//! Schedules through boto3's `scheduler`, the `aws` command and `longshore`: each firing's task runs once, although the
//! control plane is killed around it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use longshore_tests::lab::{ApiError, Lab, wait_until};
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

/// A minute as tasks are told it.
fn minute(second: u64) -> String {
    let command = ["-u", "-d", &format!("@{}", second - second % 60), "+%Y-%m-%dT%H:%M:%SZ"];
    let out = std::process::Command::new("date").args(command).output().unwrap();
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// A rule of EventBridge that runs `job` each minute, and tells it which one.
fn put_rule(lab: &Lab, name: &str) {
    let events = |op: &str, args: Value| lab.call("events", op, args).unwrap().unwrap();
    events("put_rule", json!({"Name": name, "ScheduleExpression": "cron(* * * * ? *)"}));
    let ecs = request(lab, "", "", json!({}))["Target"].clone();
    let environment = json!([{"name": "FOR", "value": "<time>"}]);
    let template = json!({"containerOverrides": [{"name": "main", "environment": environment}]}).to_string();
    let target = json!({"Id": "job", "Arn": ecs["Arn"], "RoleArn": ecs["RoleArn"],
        "EcsParameters": {"TaskDefinitionArn": ecs["EcsParameters"]["TaskDefinitionArn"], "TaskCount": 1},
        "InputTransformer": {"InputPathsMap": {"time": "$.time"}, "InputTemplate": template}});
    let put = events("put_targets", json!({"Rule": name, "Targets": [target]}));
    assert_eq!(put["FailedEntryCount"], 0, "{put}");
}

/// The times that the tasks of a schedule or rule are for, each as often as there is a task, and the tasks.
fn fired(lab: &Lab, started_by: &str) -> Result<(Vec<String>, Vec<String>)> {
    let args = json!({"startedBy": started_by});
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

    // Each minute, by a schedule and by a rule. The control plane dies over the start of a one-off.
    if now() % 60 > 45 {
        reach(now() + 60 - now() % 60);
    }
    let each_minute = || request(&lab, "tick", "cron(* * * * ? *)", json!({}));
    let made = scheduler(&lab, "create_schedule", each_minute()).unwrap();
    put_rule(&lab, "tock");
    let first = now() + 60 - now() % 60;
    assert!(made["ScheduleArn"].as_str().unwrap().ends_with(":schedule/default/tick"), "{made}");
    let conflict = scheduler(&lab, "create_schedule", each_minute()).unwrap_err();
    assert_eq!((conflict.code.as_str(), conflict.status), ("ConflictException", 409));
    let soon = now() + 8;
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
    let (times, tasks) = fired(&lab, "chronos-schedule/once").unwrap();
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

    // Minutes come while the control plane is killed again and again.
    let each = ["chronos-schedule/tick", "events-rule/tock"];
    let next = (now() + 5).max(first);
    let last = next.div_ceil(60) * 60;
    for second in [last, last + 60] {
        reach(second - 2);
        for _ in 0..4 {
            lab.control().kill().unwrap();
            lab.restart_control().unwrap();
        }
        for started_by in each {
            wait_until(&format!("{started_by} of {}", minute(second)), Duration::from_secs(30), || {
                Ok(fired(&lab, started_by)?.0.contains(&minute(second)))
            })
            .unwrap();
        }
    }
    lab.control().kill().unwrap();
    lab.restart_control().unwrap();
    let expected: Vec<String> = (first..=last + 60).step_by(60).map(minute).collect();
    assert!(now() < last + 120, "the machine is too slow for a test of minutes");
    for started_by in each {
        let (times, arns) = fired(&lab, started_by).unwrap();
        assert_eq!(times, expected, "each minute has one task of {started_by}, also after another start");
        wait_tasks(&lab, &arns, "RUNNING", DEADLINE);
    }
    let task = ok(&longshore(&lab, &["describe", id(&fired(&lab, each[0]).unwrap().1[0])]));
    assert!(task.contains("started by schedule default/tick for"), "{task}");
    let events = |op: &str, args: Value| lab.call("events", op, args).unwrap().unwrap();
    events("remove_targets", json!({"Rule": "tock", "Ids": ["job"]}));
    events("delete_rule", json!({"Name": "tock"}));
    scheduler(&lab, "delete_schedule", json!({"Name": "tick"})).unwrap();
}
