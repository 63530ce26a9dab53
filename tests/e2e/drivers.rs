//! Where output goes: to those who listen for each of Docker's log drivers, and what becomes of it when there is more
//! than a host keeps.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use anyhow::ensure;
use longshore_tests::lab::wait_until;
use serde_json::{Value, json};

use super::fields::exec;
use super::logs::{GROUP, lines, logs, stream_name, talker};
use super::support::*;

/// Between two looks at what arrived.
const LOOK: Duration = Duration::from_millis(200);

/// Waits until what arrives has all these parts.
fn hears(who: &str, parts: &[&str], mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) {
    let (mut heard, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    wait_until(&format!("{who} to hear {parts:?}"), DEADLINE, || {
        // Nothing came is an error, too.
        let length = read(&mut buffer)?;
        heard.extend_from_slice(&buffer[..length]);
        let text = String::from_utf8_lossy(&heard);
        ensure!(parts.iter().all(|part| text.contains(part)), "{text}");
        Ok(true)
    })
    .unwrap();
}

/// A container of this log driver that says who it is, and waits.
fn says(driver: &str, options: Value) -> Value {
    let script = format!("trap 'exit 0' TERM; echo said-by-{driver}; while true; do sleep 0.2; done");
    let mut container = shell(driver, &script);
    merge(&mut container, json!({"logConfiguration": {"logDriver": driver, "options": options}}));
    container
}

#[test]
fn output_goes_to_whoever_listens_for_its_driver() {
    let lab = lab(1);
    let node = lab.node(0);
    let local = |port: u16| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let udp = |port: u16| {
        let socket = node.host.in_network(|| Ok(UdpSocket::bind(local(port))?)).unwrap();
        socket.set_read_timeout(Some(LOOK)).unwrap();
        socket
    };
    let (syslog, gelf) = (udp(5514), udp(12201));
    let fluentd = node.host.in_network(|| Ok(TcpListener::bind(local(24224))?)).unwrap();
    let containers = json!([
        says("syslog", json!({"syslog-address": "udp://127.0.0.1:5514", "tag": "tag-of-syslog"})),
        says(
            "gelf",
            json!({"gelf-address": "udp://127.0.0.1:12201", "gelf-compression-type": "none",
            "tag": "tag-of-gelf"})
        ),
        says("fluentd", json!({"fluentd-address": "127.0.0.1:24224", "tag": "tag-of-fluentd"})),
        says("none", json!({})),
        says("json-file", json!({"max-size": "1m", "max-file": "2"})),
    ]);
    let definition = register(&lab, "drivers", containers, json!({}));
    let kept = lab.ecs("describe_task_definition", json!({"taskDefinition": definition})).unwrap();
    let needed = kept["taskDefinition"]["requiresAttributes"].to_string();
    for driver in ["syslog", "gelf", "fluentd", "none", "json-file"] {
        assert!(needed.contains(&format!("com.amazonaws.ecs.capability.logging-driver.{driver}\"")), "{needed}");
    }
    let arn = run_one(&lab, &definition, json!({}));
    running(&lab, &arn);
    hears("syslog", &["tag-of-syslog", "said-by-syslog"], |buffer| syslog.recv(buffer));
    let name = format!("\"_container_name\":\"ls-{}-gelf\"", id(&arn));
    hears("gelf", &["\"short_message\":\"said-by-gelf\"", "tag-of-gelf", &name], |buffer| gelf.recv(buffer));
    let (mut stream, _) = fluentd.accept().unwrap();
    stream.set_read_timeout(Some(LOOK)).unwrap();
    hears("fluentd", &["tag-of-fluentd", "said-by-fluentd"], |buffer| stream.read(buffer));
    let config = |name: &str| inspect(node, &arn, name)["HostConfig"]["LogConfig"].clone();
    assert_eq!(config("none")["Type"], "none");
    assert_eq!(config("json-file"), json!({"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}}));
    wait_until("what is kept in a file", DEADLINE, || {
        let said = output(node, &arn, "json-file");
        ensure!(said == "said-by-json-file\n", "{said}");
        Ok(true)
    })
    .unwrap();
    super::fields::stop(&lab, &arn);

    // This host has no journal, which Docker says at the start; and then it has one.
    let definition = register(&lab, "journal", json!([says("journald", json!({"tag": "tag-of-journald"}))]), json!({}));
    let ended = stopped(&lab, &run_one(&lab, &definition, json!({})));
    assert_eq!(ended["stopCode"], "TaskFailedToStart", "{ended:#}");
    let reason = container(&ended, "journald")["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("journald is not enabled on this host"), "{reason}");
    node.host.run("mkdir", &["-p", "/run/systemd/journal"]).unwrap();
    // Its own /run is seen through its first process.
    let path = format!("/proc/{}/root/run/systemd/journal/socket", node.host.init_pid());
    let journal = UnixDatagram::bind(path).unwrap();
    journal.set_read_timeout(Some(LOOK)).unwrap();
    let arn = run_one(&lab, &definition, json!({}));
    running(&lab, &arn);
    let name = format!("CONTAINER_NAME=ls-{}-journald", id(&arn));
    hears("the journal", &["said-by-journald", "tag-of-journald", &name], |buffer| journal.recv(buffer));
    super::fields::stop(&lab, &arn);
    assert_no_leaks(&lab, &[]);
}

/// What the stream says where output is missing.
const MISSING: &str = "[longshore] Output is missing here: the host overwrote it before it could be shipped.";

/// With the control plane away, a container prints more than a host keeps of it: it is not held up, the oldest output
/// is lost, the stream says where, and what is left comes whole.
#[test]
fn more_output_than_a_host_keeps_is_lost_from_its_beginning_and_said_to_be() {
    let lab = lab(1);
    let node = lab.node(0);
    // Some 24 MiB, of which Docker keeps at most 16.
    let script = "echo first; until [ -e /tmp/go ]; do sleep 0.1; done; \
                  n=0; long=$(printf %02000d 0); while [ $n -lt 12000 ]; do echo $n $long; n=$((n+1)); done; echo last";
    let definition = register(&lab, "flood", json!([talker("main", script, json!({}))]), json!({}));
    let arn = run_one(&lab, &definition, json!({}));
    running(&lab, &arn);
    let stream = stream_name(&arn, "main");
    wait_until("the first line", DEADLINE, || Ok(lines(&lab, &stream) == ["first"])).unwrap();
    lab.control().kill().unwrap();
    exec(node, &arn, "main", "touch /tmp/go");
    wait_until("the container's end", DEADLINE, || Ok(inspect(node, &arn, "main")["State"]["Running"] == false))
        .unwrap();
    assert_eq!(inspect(node, &arn, "main")["State"]["ExitCode"], 0);
    lab.restart_control().unwrap();
    let page = |more: Value| {
        let mut args = json!({"logGroupName": GROUP, "logStreamName": stream});
        merge(&mut args, more);
        logs(&lab, "get_log_events", args)["events"].clone()
    };
    wait_until("the last line", 2 * DEADLINE, || Ok(strings(&page(json!({"limit": 1})), "message") == ["last"]))
        .unwrap();
    let head = strings(&page(json!({"startFromHead": true, "limit": 3})), "message");
    assert_eq!(head[0], "first");
    // What was read before it was lost is there, too: up to one batch.
    let mut token = None;
    let mut missing = Vec::new();
    wait_until("a search of the stream", DEADLINE, || {
        let mut args = json!({"logGroupName": GROUP, "logStreamNames": [stream], "filterPattern": "missing"});
        if let Some(token) = &token {
            args["nextToken"] = Value::clone(token);
        }
        let found = logs(&lab, "filter_log_events", args);
        missing.extend(strings(&found["events"], "message"));
        token = found.get("nextToken").cloned();
        Ok(token.is_none())
    })
    .unwrap();
    assert!(!missing.is_empty() && missing.iter().all(|message| message == MISSING), "{missing:?}");
    // Behind it everything is there, up to the end.
    let tail = strings(&page(json!({"limit": 300})), "message");
    let numbers: Vec<u32> =
        tail.iter().rev().skip(1).rev().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
    assert!(numbers.len() > 100 && numbers.last() == Some(&11_999), "{} lines", numbers.len());
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    let ended = stopped(&lab, &arn);
    assert_eq!(container(&ended, "main")["exitCode"], 0, "{ended:#}");
    let said = node.host.log("agent");
    assert!(said.contains("output was overwritten before it could be shipped"), "{said}");
    assert_no_leaks(&lab, &[]);
}
