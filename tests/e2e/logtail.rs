//! Containers' output as people read it: followed by `aws logs tail` of version 2, and with events of several lines.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use longshore_tests::lab::{Lab, wait_until};
use serde_json::{Value, json};

use super::command::ok;
use super::fields::{exec, stop};
use super::logs::{GROUP, lines, logs, stream_name, talker};
use super::support::*;

/// A command that prints until it is dropped.
struct Follower {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Follower {
    fn start(lab: &Lab, args: &[&str]) -> Self {
        let mut command = lab.aws2(args).unwrap();
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let into = lines.clone();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).for_each(|line| into.lock().unwrap().push(line))
        });
        Self { child, lines }
    }

    /// What it printed, without the times before each line.
    fn printed(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        lines
            .iter()
            .map(|line| line.split_once(' ').unwrap_or_else(|| panic!("no time: {line}")).1.to_owned())
            .collect()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn aws_logs_tail_of_version_2_follows_a_task() {
    let lab = lab(1);
    let node = lab.node(0);
    let script = "trap 'exit 0' TERM; n=0; say() { while [ $n -lt $1 ]; do echo line $n; n=$((n+1)); done; }; say 500; \
                  while true; do sleep 0.1; [ -e /tmp/$n ] && say $((n + 100)); done";
    let definition = register(&lab, "talk", json!([talker("main", script, json!({}))]), json!({}));
    let task = run_one(&lab, &definition, json!({}));
    running(&lab, &task);
    let stream = stream_name(&task, "main");
    wait_until("its lines", DEADLINE, || Ok(lines(&lab, &stream).len() == 500)).unwrap();

    let tail = Follower::start(&lab, &["logs", "tail", GROUP, "--follow", "--format", "short", "--since", "1h"]);
    let expected = |count: usize| (0..count).map(|n| format!("line {n}")).collect::<Vec<_>>();
    let mut count = 500;
    loop {
        // It asks every five seconds.
        wait_until(&format!("{count} lines"), DEADLINE, || Ok(tail.printed().len() >= count)).unwrap();
        assert!(tail.printed() == expected(count), "not each line once and in order: {:?}", tail.printed());
        if count == 700 {
            break;
        }
        exec(node, &task, "main", &format!("touch /tmp/{count}"));
        count += 100;
    }
    drop(tail);

    let tail = |args: &[&str]| ok(&lab.aws2(&[&["logs", "tail", GROUP], args].concat()).unwrap().output().unwrap());
    let found = tail(&["--since", "1h", "--format", "short", "--filter-pattern", "\"line 12\" -123"]);
    let found: Vec<&str> = found.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    let twelve = expected(700).into_iter().filter(|line| line.starts_with("line 12") && line != "line 123");
    assert_eq!(found, twelve.collect::<Vec<_>>());
    let detailed = tail(&["--log-stream-names", &stream, "--filter-pattern", "699"]);
    assert!(detailed.contains(&stream) && detailed.trim_end().ends_with("line 699"), "{detailed}");
    stop(&lab, &task);
    assert_eq!(tail(&["--since", "1s"]), "", "that is long ago");
    assert_no_leaks(&lab, &[]);
}

#[test]
fn events_of_several_lines_come_whole_through_crashes_and_rotations() {
    let lab = lab(1);
    let node = lab.node(0);
    // More than one file of the ring; the agent is killed in the middle of events.
    let script = "pad=$(head -c 9000 /dev/zero | tr '\\0' x); n=0; while [ $n -lt 200 ]; do \
                  echo \"[2026-01-02 03:04:05] out $n\"; echo \"[2026-01-02 03:04:05] err $n\" >&2; \
                  echo \"  at $pad\"; echo '  caused by' >&2; [ $((n % 5)) -eq 0 ] && sleep 0.1; \
                  echo; echo \"  at $pad $n\"; echo \"  end $n\" >&2; n=$((n+1)); done";
    let format = json!({"awslogs-datetime-format": "^\\[%Y-%m-%d %H:%M:%S\\]"});
    let definition = register(&lab, "events", json!([talker("main", script, format)]), json!({}));
    let task = run_one(&lab, &definition, json!({}));
    let stream = stream_name(&task, "main");
    // Nothing while there is no such stream.
    let newest = || {
        let args = json!({"logGroupName": GROUP, "logStreamName": stream, "limit": 1});
        lab.call("logs", "get_log_events", args).unwrap().map_or(Value::Null, |page| page["events"].clone())
    };
    for _ in 0..3 {
        let before = newest();
        wait_until("more of it", DEADLINE, || Ok(newest() != before || task_is_over(&lab, &task))).unwrap();
        node.agent.kill().unwrap();
        node.launch_agent().unwrap();
    }
    stopped(&lab, &task);
    assert_no_leaks(&lab, &[]);

    let found = lines(&lab, &stream);
    let pad = "x".repeat(9000);
    let out = |n: usize| format!("[2026-01-02 03:04:05] out {n}\n  at {pad}\n\n  at {pad} {n}");
    let err = |n: usize| format!("[2026-01-02 03:04:05] err {n}\n  caused by\n  end {n}");
    let side = |word: &str| found.iter().filter(|event| event.contains(word)).cloned().collect::<Vec<String>>();
    assert_eq!(found.len(), 400, "one event each");
    assert!(side("] err ") == (0..200).map(err).collect::<Vec<_>>(), "{:?}", side("] err "));
    assert!(side("] out ") == (0..200).map(out).collect::<Vec<_>>(), "an event of the other side is not whole");
    // The events are those that a pattern finds, whichever line has it.
    let args = json!({"logGroupName": GROUP, "filterPattern": "\"end 7\" \"err 7\""});
    assert_eq!(strings(&logs(&lab, "filter_log_events", args)["events"], "message")[0], err(7));
}

fn task_is_over(lab: &Lab, arn: &str) -> bool {
    task(lab, arn)["lastStatus"] == "STOPPED"
}
