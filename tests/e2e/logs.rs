//! The log driver awslogs: what containers print reaches the control plane whatever happens on the way, and clients of
//! CloudWatch Logs read it.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use longshore_tests::lab::product::REGION;
use longshore_tests::lab::{Agent, ApiError, Lab, Node, wait_until};
use serde_json::{Value, json};

use super::command::{longshore, ok};
use super::support::*;

pub(super) const GROUP: &str = "/ecs/lab";

/// A container with the log driver awslogs; `more` holds further options.
pub(super) fn talker(name: &str, script: &str, more: Value) -> Value {
    let mut options = json!({"awslogs-group": GROUP, "awslogs-region": REGION, "awslogs-stream-prefix": "lab"});
    merge(&mut options, more);
    let mut container = shell(name, script);
    merge(&mut container, json!({"logConfiguration": {"logDriver": "awslogs", "options": options}}));
    container
}

pub(super) fn logs(lab: &Lab, op: &str, args: Value) -> Value {
    lab.call("logs", op, args).unwrap().unwrap_or_else(|error| panic!("{op}: {error}"))
}

fn refused(lab: &Lab, op: &str, args: Value) -> ApiError {
    lab.call("logs", op, args).unwrap().expect_err(op)
}

pub(super) fn stream_name(arn: &str, container: &str) -> String {
    format!("lab/{container}/{}", id(arn))
}

/// Everything in a stream, page by page; nothing when there is no such stream yet.
pub(super) fn lines(lab: &Lab, stream: &str) -> Vec<String> {
    let (mut all, mut token) = (Vec::new(), None);
    loop {
        let mut args = json!({"logGroupName": GROUP, "logStreamName": stream, "startFromHead": true, "limit": 700});
        if let Some(token) = &token {
            args["nextToken"] = Value::clone(token);
        }
        let page = match lab.call("logs", "get_log_events", args).unwrap() {
            Ok(page) => page,
            Err(error) if error.code == "ResourceNotFoundException" => return all,
            Err(error) => panic!("{error}"),
        };
        all.extend(strings(&page["events"], "message"));
        let next = page["nextForwardToken"].clone();
        if token.as_ref() == Some(&next) {
            return all;
        }
        token = Some(next);
    }
}

/// Waits until a stream has a line, and asserts that it has all before that in order, each once.
pub(super) fn assert_complete(lab: &Lab, stream: &str, count: usize) {
    let last = format!("line {}", count - 1);
    wait_until(&format!("{last} in {stream}"), DEADLINE, || Ok(lines(lab, stream).last() == Some(&last))).unwrap();
    let expected: Vec<String> = (0..count).map(|n| format!("line {n}")).collect();
    let found = lines(lab, stream);
    let first_odd = found.iter().zip(&expected).find(|(a, b)| a != b);
    assert!(found == expected, "{} lines of {count}, first odd: {first_odd:?}", found.len());
}

#[test]
fn output_survives_agents_control_planes_and_partitions_without_loss_or_doubles() {
    let lab = lab(2);
    // The second half comes when the test says so.
    let script = "trap 'exit 0' TERM; n=0; say() { while [ $n -lt $1 ]; do echo line $n; n=$((n+1)); \
                  [ $((n % 50)) -eq 0 ] && sleep 0.1; done; }; say 2000; while [ ! -e /tmp/go ]; do sleep 0.1; done; \
                  say 4000; exit 0";
    let definition = register(&lab, "talk", json!([talker("main", script, json!({}))]), json!({}));
    let more = json!({"placementConstraints": [{"type": "distinctInstance"}]});
    let tasks = run(&lab, &definition, 2, more);
    let running = wait_tasks(&lab, &tasks, "RUNNING", DEADLINE);
    let streams: Vec<String> = tasks.iter().map(|arn| stream_name(arn, "main")).collect();
    let nodes: Vec<usize> =
        running.iter().map(|task| node_index(&lab, task["containerInstanceArn"].as_str().unwrap())).collect();
    for stream in &streams {
        wait_until("the first lines", DEADLINE, || Ok(!lines(&lab, stream).is_empty())).unwrap();
    }

    // In the middle of it: an agent is killed, the control plane too, and a host is cut off.
    let (first, second) = (lab.node(nodes[0]), lab.node(nodes[1]));
    first.agent.kill().unwrap();
    first.launch_agent().unwrap();
    lab.control().kill().unwrap();
    lab.restart_control().unwrap();
    lab.partition(nodes[1]).unwrap();
    let have = lines(&lab, &streams[0]).len();
    wait_until("more of the other host", DEADLINE, || Ok(lines(&lab, &streams[0]).len() > have || have == 2000))
        .unwrap();
    lab.heal(nodes[1]).unwrap();
    streams.iter().for_each(|stream| assert_complete(&lab, stream, 2000));

    // A container that ends while its host is cut off is kept until its output is shipped.
    let go = |index: usize| {
        let node = lab.node(nodes[index]);
        let name = format!("ls-{}-main", id(&tasks[index]));
        node.host.run("docker", &["-H", &node.docker(), "exec", &name, "touch", "/tmp/go"]).unwrap();
    };
    lab.partition(nodes[1]).unwrap();
    go(1);
    wait_until("a removal that waits", DEADLINE, || {
        Ok(Agent::status(&second.host)?.to_string().contains("output is not all shipped"))
    })
    .unwrap();
    // The same when the agent is killed meanwhile, and where the control plane is killed.
    second.agent.kill().unwrap();
    second.launch_agent().unwrap();
    lab.heal(nodes[1]).unwrap();
    go(0);
    lab.control().kill().unwrap();
    lab.restart_control().unwrap();
    streams.iter().for_each(|stream| assert_complete(&lab, stream, 4000));
    wait_tasks(&lab, &tasks, "STOPPED", DEADLINE);
    assert_no_leaks(&lab, &[]);
}

#[test]
fn a_log_store_without_room_holds_up_no_task_and_loses_no_line() {
    let lab = lab(1);
    lab.control().kill().unwrap();
    lab.ctl().mount_disk("control/logs", 4).unwrap();
    lab.restart_control().unwrap();
    lab.wait_connected(1, DEADLINE).unwrap();
    let say = "trap 'exit 0' TERM; n=0; say() { while [ $n -lt $1 ]; do echo line $n; n=$((n+1)); done; }; say 300; ";
    let long = format!("{say} while [ ! -e /tmp/go ]; do sleep 0.1; done; say 600; while true; do sleep 0.1; done");
    let long = register(&lab, "long", json!([talker("main", &long, json!({}))]), json!({}));
    let short = register(&lab, "short", json!([talker("main", &format!("{say} exit 7"), json!({}))]), json!({}));
    let before = run_one(&lab, &long, json!({}));
    assert_complete(&lab, &stream_name(&before, "main"), 300);

    let sessions = || lab.ctl().log("control").matches("an agent connects").count();
    let had = sessions();
    let ballast = lab.ctl().dir().join("control/logs/ballast");
    let fill = format!("dd if=/dev/zero of={} bs=4k 2>/dev/null || true", ballast.display());
    lab.ctl().run("sh", &["-c", &fill]).unwrap();
    let node = lab.node(0);
    let name = format!("ls-{}-main", id(&before));
    node.host.run("docker", &["-H", &node.docker(), "exec", &name, "touch", "/tmp/go"]).unwrap();
    let told = |log: &dyn Fn() -> String, what: &str| {
        wait_until(what, DEADLINE, || Ok(log().contains(what))).unwrap();
    };
    told(&|| lab.ctl().log("control"), "could not keep what containers printed");
    told(&|| node.host.log("agent"), "containers' output is not shipped; it stays in the engine's files meanwhile");
    // Tasks start, run and end meanwhile, and what there is can be read.
    let (ended, runs) = (run_one(&lab, &short, json!({})), run_one(&lab, &long, json!({})));
    assert_eq!(container(&stopped(&lab, &ended), "main")["exitCode"], 7);
    running(&lab, &runs);
    assert_eq!(lines(&lab, &stream_name(&before, "main")).len(), 300);
    assert_eq!(sessions(), had, "the agents' sessions have nothing to do with it");

    lab.ctl().run("rm", &[ballast.to_str().unwrap()]).unwrap();
    for (task, count) in [(&before, 600), (&ended, 300), (&runs, 300)] {
        assert_complete(&lab, &stream_name(task, "main"), count);
    }
    told(&|| node.host.log("agent"), "the control plane takes containers' output again");
    assert_no_leaks(&lab, &[before, runs]);
}

#[test]
fn every_run_of_a_restarted_container_is_shipped_and_its_removal_is_quick() {
    let lab = lab(1);
    // Its files outlive a restart in place. The last run ends well, and that is the end.
    let script = "i=$(cat /n 2>/dev/null || echo 0); n=$((i * 100)); \
                  while [ $n -lt $((i * 100 + 100)) ]; do echo line $n; n=$((n+1)); done; \
                  echo $((i + 1)) >/n; [ $i -lt 4 ] && exit 1; exit 0";
    let mut main = talker("main", script, json!({}));
    let policy = json!({"enabled": true, "restartAttemptPeriod": 60, "ignoredExitCodes": [0]});
    merge(&mut main, json!({"restartPolicy": policy, "dockerLabels": {"longshore.restart.backoff": "1-2"}}));
    // Beside it one whose output nobody keeps.
    let mut silent = shell("silent", "while true; do echo nothing; sleep 0.1; done");
    merge(&mut silent, json!({"essential": false, "logConfiguration": {"logDriver": "none"}}));
    let definition = register(&lab, "again", json!([main, silent]), json!({}));
    let task = run_one(&lab, &definition, json!({}));
    wait_until("a container whose output nobody keeps", DEADLINE, || {
        let name = format!("ls-{}-silent", id(&task));
        Ok(lab.node(0).engine.inspect(&name)?["HostConfig"]["LogConfig"]["Type"] == "none")
    })
    .unwrap();
    assert_complete(&lab, &stream_name(&task, "main"), 500);
    stopped(&lab, &task);
    // The wait for what is not shipped would be ten minutes.
    assert_no_leaks(&lab, &[]);
    assert_complete(&lab, &stream_name(&task, "main"), 500);
}

/// The programs that the agent of a host has started and that run now.
fn started_by_agent(node: &Node) -> Result<Vec<String>> {
    let agent = Agent::status(&node.host)?["agent"]["pid"].as_u64().context("no number of its process")?.to_string();
    let all = node.host.run("ps", &["-eo", "pid=,ppid=,args="])?;
    let has = |line: &str, column: usize| line.split_whitespace().nth(column) == Some(agent.as_str());
    let own = all.lines().find(|line| has(line, 0)).with_context(|| format!("no {agent} in {all}"))?;
    ensure!(own.contains("longshore-agent"), "{agent} is another program: {own}");
    Ok(all.lines().filter(|line| has(line, 1)).map(str::to_owned).collect())
}

#[test]
fn logs_are_followed_by_longshore_and_read_by_aws() {
    let lab = lab(2);
    let script = "trap 'echo bye; exit 0' TERM; echo hello; echo oops >&2; echo '[ERROR] two  blanks'; \
                  while true; do sleep 0.1; done";
    let plain =
        talker("side", "echo from the side; sleep 600", json!({"awslogs-stream-prefix": "", "mode": "blocking"}));
    let definition = register(&lab, "talk", json!([talker("main", script, json!({})), plain]), json!({}));
    let task = run_one(&lab, &definition, json!({}));
    let shown = running(&lab, &task);
    let stream = stream_name(&task, "main");
    wait_until("its lines", DEADLINE, || Ok(lines(&lab, &stream).len() >= 3)).unwrap();
    let side = container(&shown, "side")["runtimeId"].as_str().unwrap().to_owned();
    wait_until("the other's", DEADLINE, || Ok(lines(&lab, &side) == ["from the side"])).unwrap();
    let node = node_of(&lab, &shown);
    let config = inspect(node, &task, "main")["HostConfig"]["LogConfig"].clone();
    assert_eq!(config["Type"], "json-file", "the ring is Docker's own file: {config}");
    // Nobody helps the agent with it while both run. What it starts for anything else soon ends.
    wait_until("an agent alone", DEADLINE, || {
        let started = started_by_agent(node)?;
        ensure!(started.is_empty(), "{started:?}");
        Ok(true)
    })
    .unwrap();

    let printed = ok(&longshore(&lab, &["logs", id(&task), "--container", "main"]));
    let mut sorted: Vec<&str> = printed.lines().collect();
    sorted.sort_unstable();
    assert_eq!(sorted, ["[ERROR] two  blanks", "hello", "oops"]);
    let both = ok(&longshore(&lab, &["logs", id(&task)]));
    assert!(both.contains("main: hello") && both.contains("side: from the side"), "{both}");
    let tail = ok(&longshore(&lab, &["logs", &task, "--tail", "1", "--container", "side", "--json"]));
    let tail: Value = serde_json::from_str(&tail).unwrap();
    assert_eq!((&tail["message"], &tail["logStreamName"]), (&json!("from the side"), &json!(side)));
    assert_eq!(ok(&longshore(&lab, &["logs", &task, "--since", "1970-01-01T00:00:00Z"])), both);
    let wrong = longshore(&lab, &["logs", &task, "--container", "none"]);
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    let wrong = longshore(&lab, &["logs", &task, "--since", "soon"]);
    assert!(wrong.status.code() == Some(2) && String::from_utf8_lossy(&wrong.stderr).contains("--since"), "{wrong:?}");

    // Following goes on until the task is over, and shows its last words.
    let followed = std::thread::scope(|scope| {
        let follower = scope.spawn(|| ok(&longshore(&lab, &["logs", "-f", id(&task), "--container", "main"])));
        lab.ecs("stop_task", json!({"task": task})).unwrap();
        follower.join().unwrap()
    });
    assert!(followed.contains("hello") && followed.trim_end().ends_with("bye"), "{followed}");

    // What `aws logs tail --follow` does: FilterLogEvents from the time of the last event, without those it has.
    let args = json!({"logGroupName": GROUP, "interleaved": true, "startTime": 0});
    let all =
        lab.ask(&json!({"kind": "paginate", "service": "logs", "op": "filter_log_events", "args": args, "page": 2}));
    let pages = all.unwrap().unwrap();
    let pages = pages.as_array().unwrap();
    let ids: Vec<String> = pages.iter().flat_map(|page| strings(&page["events"], "eventId")).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 5, "{ids:?}");
    assert!(ids.is_sorted() && pages.len() > 2, "{ids:?}");
    let last = logs(&lab, "filter_log_events", json!({"logGroupName": GROUP}))["events"][4].clone();
    let again = json!({"logGroupName": GROUP, "startTime": last["timestamp"]});
    assert!(strings(&logs(&lab, "filter_log_events", again)["events"], "eventId").contains(&ids[4]));

    // The aws command, which nobody here wrote.
    let aws = |args: &[&str]| ok(&lab.aws(&[&["logs"], args, &["--output", "text"]].concat()).unwrap());
    let found = aws(&["filter-log-events", "--log-group-name", GROUP, "--filter-pattern", "ERROR -hello"]);
    assert!(found.contains("two  blanks") && !found.contains("oops"), "{found}");
    let got = aws(&["get-log-events", "--log-group-name", GROUP, "--log-stream-name", &stream, "--limit", "1"]);
    assert!(got.contains("bye"), "{got}");
    let groups = aws(&["describe-log-groups", "--query", "logGroups[].logGroupName"]);
    assert_eq!(groups.trim(), GROUP);
    let order = ["--order-by", "LastEventTime", "--descending", "--query", "logStreams[].logStreamName"];
    let streams = aws(&[&["describe-log-streams", "--log-group-name", GROUP], &order[..]].concat());
    assert_eq!(streams.split_whitespace().collect::<Vec<_>>(), [stream.as_str(), side.as_str()]);
    aws(&["create-log-group", "--log-group-name", "mine", "--tags", "a=b"]);
    aws(&["put-retention-policy", "--log-group-name", "mine", "--retention-in-days", "3"]);
    let days = aws(&["describe-log-groups", "--log-group-name-prefix", "mi", "--query", "logGroups[].retentionInDays"]);
    assert_eq!(days.trim(), "3");
    aws(&["delete-log-group", "--log-group-name", GROUP]);
    assert_error(
        &refused(&lab, "get_log_events", json!({"logGroupName": GROUP, "logStreamName": stream})),
        "ResourceNotFoundException",
        "log group",
    );
}

#[test]
fn groups_are_those_of_their_region_and_bad_input_is_named() {
    let lab = api_lab();
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    logs(&lab, "create_log_group", json!({"logGroupName": "mine"}));
    logs(&lab, "create_log_stream", json!({"logGroupName": "mine", "logStreamName": "s"}));
    let events = json!([{"timestamp": now - 1, "message": "a"}, {"timestamp": now, "message": "b"}]);
    let put = json!({"logGroupName": "mine", "logStreamName": "s", "logEvents": events});
    logs(&lab, "put_log_events", put.clone());
    lab.control().kill().unwrap();
    lab.restart_control().unwrap();
    let got = logs(&lab, "get_log_events", json!({"logGroupName": "mine", "logStreamName": "s", "limit": 1}));
    assert_eq!(strings(&got["events"], "message"), ["b"], "the newest, after a restart");
    let elsewhere =
        json!({"kind": "call", "service": "logs", "op": "describe_log_groups", "args": {}, "region": "other-1"});
    assert_eq!(lab.ask(&elsewhere).unwrap().unwrap()["logGroups"], json!([]));

    let with = |more: Value| {
        let mut args = put.clone();
        merge(&mut args, more);
        args
    };
    for (op, args, code, part) in [
        ("create_log_group", json!({"logGroupName": "mine"}), "ResourceAlreadyExistsException", "exists"),
        ("create_log_group", json!({"logGroupName": "a b"}), "InvalidParameterException", "logGroupName"),
        (
            "create_log_stream",
            json!({"logGroupName": "mine", "logStreamName": "s"}),
            "ResourceAlreadyExistsException",
            "",
        ),
        (
            "create_log_stream",
            json!({"logGroupName": "none", "logStreamName": "s"}),
            "ResourceNotFoundException",
            "group",
        ),
        (
            "create_log_stream",
            json!({"logGroupName": "mine", "logStreamName": "a:b"}),
            "InvalidParameterException",
            "logStreamName",
        ),
        (
            "put_retention_policy",
            json!({"logGroupName": "mine", "retentionInDays": 2}),
            "InvalidParameterException",
            "retentionInDays",
        ),
        ("put_log_events", with(json!({"logStreamName": "none"})), "ResourceNotFoundException", "stream"),
        (
            "put_log_events",
            with(json!({"logEvents": [{"timestamp": now, "message": "b"}, {"timestamp": 1, "message": "a"}]})),
            "InvalidParameterException",
            "chronological",
        ),
        (
            "filter_log_events",
            json!({"logGroupName": "mine", "filterPattern": "{ $.a = 1 }"}),
            "InvalidParameterException",
            "filter pattern",
        ),
        (
            "describe_log_streams",
            json!({"logGroupName": "mine", "orderBy": "LastEventTime", "logStreamNamePrefix": "s"}),
            "InvalidParameterException",
            "LastEventTime",
        ),
        ("delete_log_group", json!({"logGroupName": "none"}), "ResourceNotFoundException", "group"),
        (
            "start_query",
            json!({"logGroupName": "mine", "startTime": 0, "endTime": 1, "queryString": "x"}),
            "UnknownOperationException",
            "StartQuery",
        ),
    ] {
        let error = refused(&lab, op, args);
        assert_error(&error, code, part);
    }
    let raw =
        json!({"kind": "raw", "service": "logs", "target": "Logs_20140328.GetLogEvents", "body": "{\"limit\": \"x\"}"});
    let raw = lab.ask(&raw).unwrap().unwrap();
    assert_eq!((raw["status"].as_u64(), raw["body"].as_str().unwrap().contains("limit")), (Some(400), true), "{raw}");
    let other = json!({"kind": "raw", "service": "ecs", "target": "Logs_20140328.DescribeLogGroups", "body": "{}"});
    let other = lab.ask(&other).unwrap().unwrap();
    assert_eq!(other["status"], 400, "signed for another service: {other}");
    assert!(other["body"].as_str().unwrap().contains("InvalidSignatureException"), "{other}");
    let option = talker("main", "true", json!({"awslogs-datetime-format": "%Y %Q"}));
    let error =
        lab.ecs_error("register_task_definition", json!({"family": "x", "containerDefinitions": [option]})).unwrap();
    assert_error(&error, "ClientException", "options.awslogs-datetime-format");
}
