//! Round trips of arbitrary values, refusals that name their field, and bytes that are no messages.

mod arbitrary;

use super::*;
use crate::v1;
use arbitrary::{
    assigned_task, assignment, exec_input, exec_order, exec_output, facts, health, network_update, report, usage,
};
use longshore_model::{
    AssignedTask, Assignment, DesiredStatus, ExecInput, ExecOrder, ExecOutput, HostFacts, HostUsage, InstanceHealth,
    MAX_ATTRIBUTE_CHARS, MAX_ATTRIBUTES, NetworkStatus, NetworkUpdate, TaskReport,
};
use proptest::prelude::*;
use prost::Message;

/// What arrives when `message` is sent.
fn wire<M: Message + Default>(message: &M) -> M {
    M::decode(message.encode_to_vec().as_slice()).expect("what prost encodes it decodes")
}

/// How often the fuzz tests try; more in a longer run.
fn cases() -> ProptestConfig {
    let cases = std::env::var("LONGSHORE_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(256);
    ProptestConfig { cases, ..ProptestConfig::default() }
}

proptest! {
    #[test]
    fn assignments_round_trip(assignment in assignment()) {
        let read = ReadAssignment::try_from(wire(&v1::Assignment::from(assignment.clone()))).expect("readable");
        prop_assert_eq!(read, ReadAssignment { assignment, refused: Vec::new(), unreadable: Vec::new() });
    }

    #[test]
    fn reports_round_trip(report in report()) {
        let read = TaskReport::try_from(wire(&v1::TaskReport::from(report.clone()))).expect("readable");
        prop_assert_eq!(read, report);
    }

    #[test]
    fn facts_round_trip(facts in facts()) {
        let read = HostFacts::try_from(wire(&v1::HostFacts::from(facts.clone()))).expect("readable");
        prop_assert_eq!(read, facts);
    }

    #[test]
    fn usage_round_trips(usage in usage()) {
        let read = HostUsage::try_from(wire(&v1::HostUsage::from(usage.clone()))).expect("readable");
        prop_assert_eq!(read, usage);
    }

    #[test]
    fn health_round_trips(health in health()) {
        let read = InstanceHealth::try_from(wire(&v1::InstanceHealth::from(health.clone()))).expect("readable");
        prop_assert_eq!(read, health);
    }

    #[test]
    fn network_updates_round_trip(update in network_update()) {
        let read = NetworkUpdate::try_from(wire(&v1::NetworkUpdate::from(update.clone()))).expect("readable");
        prop_assert_eq!(read, update);
    }

    #[test]
    fn exec_round_trips(order in exec_order(), input in exec_input(), output in exec_output()) {
        let read = ExecOrder::try_from(wire(&v1::ExecOrder::from(order.clone()))).expect("readable");
        prop_assert_eq!(read, order);
        let read = ExecInput::try_from(wire(&v1::ExecToAgent::from(input.clone()))).expect("readable");
        prop_assert_eq!(read, input);
        let read = ExecOutput::try_from(wire(&v1::ExecFromAgent::from(output.clone()))).expect("readable");
        prop_assert_eq!(read, output);
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        read_all(&bytes);
    }

    /// Damaged messages get further into the conversions than noise does.
    #[test]
    fn damaged_messages_never_panic(
        assignment in assignment(),
        report in report(),
        update in network_update(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let hello = v1::Hello { observed: vec![report.into()], ..v1::Hello::default() };
        let update = v1::NetworkUpdate::from(update).encode_to_vec();
        for mut bytes in [v1::Assignment::from(assignment).encode_to_vec(), hello.encode_to_vec(), update] {
            for (at, byte) in &damage {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
            }
            read_all(&bytes);
        }
    }
}

/// Reads bytes as everything that a peer may send. Whatever comes of it, it is a value or an error.
fn read_all(bytes: &[u8]) {
    if let Ok(message) = v1::AgentMessage::decode(bytes) {
        use v1::agent_message::Kind;
        match message.kind {
            Some(Kind::Hello(hello)) => drop(ReadHello::try_from(hello)),
            Some(Kind::Reports(reports)) => drop(read_reports("tasks", reports.tasks)),
            Some(Kind::NetworkStatus(status)) => drop(NetworkStatus::try_from(status)),
            Some(Kind::Heartbeat(beat)) => {
                drop(beat.health.map(InstanceHealth::try_from));
                drop(beat.usage.map(HostUsage::try_from));
            }
            Some(Kind::Applied(_) | Kind::Resync(_)) | None => {}
        }
    }
    if let Ok(hello) = v1::Hello::decode(bytes) {
        drop(ReadHello::try_from(hello));
    }
    if let Ok(assignment) = v1::Assignment::decode(bytes)
        && let Ok(read) = ReadAssignment::try_from(assignment)
    {
        // What was readable can be sent again and means the same.
        let again = ReadAssignment::try_from(v1::Assignment::from(read.assignment.clone())).expect("readable");
        assert_eq!(again.assignment, read.assignment);
    }
    if let Ok(order) = v1::ExecOrder::decode(bytes) {
        drop(ExecOrder::try_from(order));
    }
    if let Ok(message) = v1::ExecFromAgent::decode(bytes) {
        drop(exec_begin(message.clone()));
        drop(ExecOutput::try_from(message));
    }
    if let Ok(message) = v1::ExecToAgent::decode(bytes) {
        drop(ExecInput::try_from(message));
    }
    if let Ok(update) = v1::NetworkUpdate::decode(bytes)
        && let Ok(read) = NetworkUpdate::try_from(update)
    {
        let again = NetworkUpdate::try_from(v1::NetworkUpdate::from(read.clone())).expect("readable");
        assert_eq!(again, read);
    }
    if let Ok(join) = v1::JoinRequest::decode(bytes) {
        drop(join.facts.map(HostFacts::try_from));
    }
}

fn sample<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>) -> T {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    strategy.new_tree(&mut runner).expect("a value").current()
}

/// Changes a good task and says which field is refused for it.
fn task_field(change: impl FnOnce(&mut v1::TaskSpec)) -> String {
    let mut task = v1::AssignedTask::from(sample(assigned_task()));
    change(task.spec.as_mut().expect("has one"));
    AssignedTask::try_from(task).expect_err("refused").path
}

#[test]
fn refusals_name_the_field() {
    let container = |change: fn(&mut v1::ContainerSpec)| task_field(|spec| change(&mut spec.containers[0]));
    assert_eq!(task_field(|spec| spec.id = "no id".to_owned()), "spec.id");
    assert_eq!(task_field(|spec| spec.network_mode = 77), "spec.network_mode");
    assert_eq!(task_field(|spec| spec.network_mode = 0), "spec.network_mode");
    assert_eq!(task_field(|spec| spec.cluster = "a b".to_owned()), "spec.cluster");
    assert_eq!(task_field(|spec| spec.containers.clear()), "spec.containers");
    assert_eq!(task_field(|spec| spec.containers.push(spec.containers[0].clone())), "spec.containers");
    assert_eq!(container(|c| c.name = String::new()), "spec.containers[0].name");
    assert_eq!(container(|c| c.image = String::new()), "spec.containers[0].image");
    assert_eq!(container(|c| c.image_digest = Some("latest".to_owned())), "spec.containers[0].image_digest");
    let port = |container_port, host_port, protocol| {
        task_field(|spec| {
            let mapping = v1::PortMapping { container_port, host_port, protocol, count: 2 };
            spec.containers[0].port_mappings = vec![mapping];
        })
    };
    assert_eq!(port(65_535, 0, 1), "spec.containers[0].port_mappings[0].count");
    assert_eq!(port(80, 65_535, 1), "spec.containers[0].port_mappings[0].count");
    assert_eq!(port(0, 80, 1), "spec.containers[0].port_mappings[0].container_port");
    assert_eq!(port(80, 65_536, 1), "spec.containers[0].port_mappings[0].host_port");
    assert_eq!(port(80, 80, 9), "spec.containers[0].port_mappings[0].protocol");
    let mount = v1::MountPoint { volume: "not there".to_owned(), container_path: "/x".to_owned(), read_only: false };
    let dangling = task_field(|spec| spec.containers[0].mount_points = vec![mount]);
    assert_eq!(dangling, "spec.containers[0].mount_points[0].volume");
    let own = |spec: &v1::TaskSpec| spec.containers[0].name.clone();
    let of_itself = task_field(|spec| {
        spec.containers[0].volumes_from = vec![v1::VolumesFrom { container: own(spec), read_only: true }];
    });
    assert_eq!(of_itself, "spec.containers[0].volumes_from[0].container");
    let link = v1::Link { container: "nobody".to_owned(), alias: "db".to_owned() };
    let nobodys = task_field(|spec| spec.containers[0].links = vec![link]);
    assert_eq!(nobodys, "spec.containers[0].links[0].container");
    assert_eq!(task_field(|spec| spec.pid_mode = 9), "spec.pid_mode");
    let odd = v1::DockerVolume { autoprovision: true, ..v1::DockerVolume::default() };
    let odd = v1::volume::Source::Docker(odd);
    assert_eq!(task_field(|spec| spec.volumes[0].source = Some(odd)), "spec.volumes[0].docker.autoprovision");
    let linux = v1::LinuxParameters { swappiness: Some(101), ..v1::LinuxParameters::default() };
    assert_eq!(task_field(|spec| spec.containers[0].linux = Some(linux)), "spec.containers[0].linux.swappiness");
    let check = v1::HealthCheck { command: vec!["true".to_owned()], ..v1::HealthCheck::default() };
    let checked = task_field(|spec| spec.containers[0].health_check = Some(check));
    assert_eq!(checked, "spec.containers[0].health_check.command");
    let on = |name: &str| vec![v1::Dependency { container: name.to_owned(), condition: 1 }];
    let dangling = task_field(|spec| spec.containers[0].depends_on = on("nobody"));
    assert_eq!(dangling, "spec.containers[0].depends_on[0].container");
    let circle = task_field(|spec| spec.containers[0].depends_on = on(&spec.containers[0].name));
    assert_eq!(circle, "spec.containers");
    let variable = v1::EnvVar { name: "A=B".to_owned(), value: String::new() };
    assert_eq!(
        task_field(|spec| spec.containers[0].environment = vec![variable]),
        "spec.containers[0].environment[0].name"
    );
}

#[test]
fn refused_reports_and_facts_name_the_field() {
    let report_field = |change: fn(&mut v1::TaskReport)| {
        let mut message = v1::TaskReport::from(sample(report()));
        change(&mut message);
        TaskReport::try_from(message).expect_err("refused").path
    };
    assert_eq!(report_field(|r| r.task.clear()), "task");
    assert_eq!(report_field(|r| r.status = 99), "status");
    assert_eq!(report_field(|r| r.started_at = Some(-1)), "started_at");
    assert_eq!(report_field(|r| r.waiting_for = Some("x".repeat(1025))), "waiting_for");
    let stop = v1::StopInfo { code: 99, reason: String::new() };
    let mut message = v1::TaskReport::from(sample(report()));
    message.stop = Some(stop);
    assert_eq!(TaskReport::try_from(message).expect_err("refused").path, "stop.code");

    let facts_field = |change: fn(&mut v1::HostFacts)| {
        let mut message = v1::HostFacts::from(sample(facts()));
        change(&mut message);
        HostFacts::try_from(message).expect_err("refused").path
    };
    assert_eq!(facts_field(|f| f.reserved_udp = vec![22, 70_000]), "reserved_udp[1]");
    assert_eq!(facts_field(|f| f.hostname = "a\nb".to_owned()), "hostname");
    let bad = || v1::Attribute { name: "a b".to_owned(), value: None };
    let mut message = v1::HostFacts::from(sample(facts()));
    message.attributes = vec![bad()];
    assert_eq!(HostFacts::try_from(message).expect_err("refused").path, "attributes[0].name");

    let named = |n: usize| v1::Attribute { name: format!("{n:0128}"), value: Some("é".repeat(MAX_ATTRIBUTE_CHARS)) };
    let mut message = v1::HostFacts::from(sample(facts()));
    message.attributes = (0..MAX_ATTRIBUTES).map(named).collect();
    HostFacts::try_from(message.clone()).expect("as many and as long as may be");
    message.attributes.push(named(MAX_ATTRIBUTES));
    assert_eq!(HostFacts::try_from(message).expect_err("refused").path, "attributes");

    let hello = v1::Hello { facts: None, ..v1::Hello::default() };
    assert_eq!(ReadHello::try_from(hello).expect_err("refused").path, "facts");
    let many = vec![v1::TaskReport::default(); 10_001];
    assert_eq!(read_reports("observed", many).expect_err("refused").path, "observed");
}

#[test]
fn one_bad_report_does_not_void_the_rest() {
    let good = sample(report());
    let newer = v1::TaskReport {
        task: longshore_model::TaskId::random().to_string(),
        status: 99,
        ..v1::TaskReport::from(good.clone())
    };
    let nameless = v1::TaskReport { task: "?".to_owned(), ..newer.clone() };
    let message = vec![newer.clone(), nameless, good.clone().into(), good.clone().into()];
    let read = read_reports("reports.tasks", message).expect("readable as a whole");
    assert_eq!(read.reports, std::slice::from_ref(&good));
    let unreadable: Vec<_> = read.unreadable.iter().map(|one| (one.task, one.error.path.as_str())).collect();
    assert_eq!(
        unreadable,
        [
            (newer.task.parse().ok(), "reports.tasks[0].status"),
            (None, "reports.tasks[1].task"),
            (Some(good.task), "reports.tasks[3].task"),
        ]
    );
}

#[test]
fn one_bad_task_does_not_void_the_rest() {
    let good = sample(assigned_task());
    let mut bad = v1::AssignedTask::from(good.clone());
    let mut nameless = bad.clone();
    let bad_id = longshore_model::TaskId::random();
    let spec = bad.spec.as_mut().expect("has one");
    spec.id = bad_id.to_string();
    spec.network_mode = 1000;
    bad.desired = v1::Desired::Stopped.into();
    bad.stop_reason = "enough".to_owned();
    nameless.spec.as_mut().expect("has one").id = "?".to_owned();
    let message = v1::Assignment {
        generation: 7,
        complete: true,
        tasks: vec![bad, nameless, good.clone().into(), good.clone().into()],
        ..v1::Assignment::default()
    };
    let read = ReadAssignment::try_from(message).expect("readable as a whole");
    assert_eq!(read.assignment, Assignment::Complete { generation: longshore_model::Generation(7), tasks: vec![good] });
    assert_eq!(read.refused.len(), 1);
    assert_eq!(read.refused[0].task, bad_id);
    assert_eq!(read.refused[0].desired, Some(DesiredStatus::Stopped));
    assert_eq!(read.refused[0].stop_reason, "enough");
    assert_eq!(read.refused[0].error.path, "tasks[0].spec.network_mode");
    let unreadable: Vec<_> = read.unreadable.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(unreadable, ["tasks[1].spec.id", "tasks[3].spec.id"]);
}

#[test]
fn deltas_that_go_nowhere_are_refused() {
    let delta = |generation, base_generation| v1::Assignment { generation, base_generation, ..Default::default() };
    assert_eq!(ReadAssignment::try_from(delta(5, 5)).expect_err("refused").path, "generation");
    let complete = v1::Assignment { complete: true, removed: vec!["x".to_owned()], ..delta(5, 0) };
    assert_eq!(ReadAssignment::try_from(complete).expect_err("refused").path, "removed");
    let removed = v1::Assignment { removed: vec!["x".to_owned()], ..delta(6, 5) };
    assert_eq!(ReadAssignment::try_from(removed).expect("readable").unreadable[0].path, "removed[0]");
}

#[test]
fn fields_of_a_newer_peer_are_ignored() {
    let report = sample(report());
    let mut bytes = v1::TaskReport::from(report.clone()).encode_to_vec();
    // Fields 1000 (a number) and 1001 (a text), as a newer version may have them.
    prost::encoding::uint64::encode(1000, &7, &mut bytes);
    prost::encoding::string::encode(1001, &"new".to_owned(), &mut bytes);
    let read = v1::TaskReport::decode(bytes.as_slice()).expect("decodes");
    assert_eq!(TaskReport::try_from(read).expect("readable"), report);
    // A message of a kind that is not known here is one without a kind, not an error.
    let mut unknown = Vec::new();
    prost::encoding::string::encode(99, &"new".to_owned(), &mut unknown);
    assert_eq!(v1::ControlMessage::decode(unknown.as_slice()).expect("decodes").kind, None);
}

#[test]
fn long_reasons_are_cut_when_sent() {
    let mut long = sample(report());
    long.waiting_for = Some("é".repeat(3000));
    let read = TaskReport::try_from(wire(&v1::TaskReport::from(long))).expect("readable");
    assert_eq!(read.waiting_for, Some("é".repeat(1024)));
}

#[test]
fn secrets_are_not_shown() {
    let variable = v1::EnvVar { name: "PASSWORD".to_owned(), value: "hunter2".to_owned() };
    let options = [("splunk-token".to_owned(), "hunter2".to_owned())].into();
    let log = v1::LogConfig { driver: "splunk".to_owned(), options };
    let join = v1::JoinRequest { token: "lsj1.a.hunter2.c".to_owned(), ..v1::JoinRequest::default() };
    let container = v1::ContainerSpec { environment: vec![variable], log: Some(log), ..Default::default() };
    let shown = format!("{container:?} {join:?}");
    assert!(shown.contains("PASSWORD") && shown.contains("splunk-token"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}
