//! Sessions: what is sent when, who wins, and how they end.

use super::fleet::task;
use super::peer::{Line, Port, hello, patient};
use crate::agents::AgentsConfig;
use longshore_model::{DesiredStatus, Generation, TaskId};
use longshore_proto::v1;
use longshore_proto::v1::agent_message::Kind as Say;
use longshore_proto::v1::control_message::Kind as Hear;
use std::time::Duration;
use tonic::Code;

fn ids(assignment: &v1::Assignment) -> Vec<String> {
    assignment.tasks.iter().map(|task| task.spec.as_ref().expect("has one").id.clone()).collect()
}

fn report(task: TaskId, version: u64) -> v1::TaskReport {
    v1::TaskReport {
        task: task.to_string(),
        version,
        status: v1::TaskStatus::Running.into(),
        ..v1::TaskReport::default()
    }
}

/// How a session that begins with `kind` ends.
async fn refused(port: &Port, kind: Option<Say>) -> tonic::Status {
    let instance = port.fleet.add_instance();
    let mut line = port.line(instance).await;
    line.try_say(kind).await;
    let status = line.end().await;
    assert!(port.fleet.lock().instances[&instance].hellos.is_empty(), "nothing was changed");
    status
}

#[tokio::test]
async fn a_session_begins_with_hello_welcome_and_everything() {
    let port = Port::start(patient()).await;
    let instance = port.fleet.add_instance();
    let wanted = TaskId::random();
    port.fleet.assign(instance, wanted, Some(DesiredStatus::Running));
    let observed = TaskId::random();
    let mut line = port.line(instance).await;
    let said = v1::Hello { applied_generation: 3, observed: vec![report(observed, 4)], ..hello() };
    line.say(Say::Hello(said)).await;
    let welcome = line.welcome().await;
    assert_eq!((welcome.version, welcome.heartbeat_millis, welcome.lease_millis), (1, 1000, 60_000));
    let assignment = line.assignment().await;
    assert!(assignment.complete);
    assert_eq!(ids(&assignment), [wanted.to_string()]);
    let state = port.fleet.lock();
    let heard = &state.instances[&instance].hellos[0];
    assert_eq!(heard.applied, Generation(3));
    assert_eq!(heard.observed[0].task, observed);
}

#[tokio::test]
async fn agents_beat_more_rarely_when_there_are_more_of_them() {
    let port = Port::start(AgentsConfig { heartbeats_per_second: 1, ..patient() }).await;
    let [first, second] = [port.fleet.add_instance(), port.fleet.add_instance()];
    let mut line = port.line(first).await;
    line.say(Say::Hello(hello())).await;
    assert_eq!(line.welcome().await.heartbeat_millis, 1000);
    line.assignment().await;
    let mut other = port.line(second).await;
    other.say(Say::Hello(hello())).await;
    assert_eq!(other.welcome().await.heartbeat_millis, 2000);
    for (seq, heartbeat_millis) in [(1, 2000), (2, 0)] {
        line.say(Say::Heartbeat(v1::Heartbeat { seq, ..v1::Heartbeat::default() })).await;
        let ack = v1::HeartbeatAck { seq, heartbeat_millis, ..v1::HeartbeatAck::default() };
        assert_eq!(line.hear().await.expect("a message"), Hear::HeartbeatAck(ack));
    }
}

#[tokio::test]
async fn the_first_message_is_a_good_hello_or_the_last() {
    let port = Port::start(AgentsConfig { hello_timeout: Duration::from_secs(30), ..patient() }).await;
    let status = refused(&port, Some(Say::Heartbeat(v1::Heartbeat { seq: 1, ..v1::Heartbeat::default() }))).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("`kind`"), "{status}");
    assert_eq!(refused(&port, None).await.code(), Code::InvalidArgument);
    for (min_version, max_version) in [(0, 0), (2, 9), (3, 2)] {
        let status = refused(&port, Some(Say::Hello(v1::Hello { min_version, max_version, ..hello() }))).await;
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains("upgrade the older"), "{status}");
    }
    let status = refused(&port, Some(Say::Hello(v1::Hello { facts: None, ..hello() }))).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("`facts`"), "{status}");
    let many = vec![v1::TaskReport::default(); 10_001];
    let status = refused(&port, Some(Say::Hello(v1::Hello { observed: many, ..hello() }))).await;
    assert!(status.message().contains("`observed`"), "{status}");
    let ahead = v1::Hello { applied_generation: u64::MAX, ..hello() };
    assert_eq!(refused(&port, Some(Say::Hello(ahead))).await.code(), Code::FailedPrecondition);
    port.fleet.change(|state| state.unavailable = true);
    assert_eq!(refused(&port, Some(Say::Hello(hello()))).await.code(), Code::Unavailable);
}

#[tokio::test]
async fn whoever_says_nothing_is_not_waited_for() {
    let port = Port::start(AgentsConfig { hello_timeout: Duration::from_millis(200), ..patient() }).await;
    let instance = port.fleet.add_instance();
    assert_eq!(port.line(instance).await.end().await.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_newer_agent_settles_on_our_version() {
    let port = Port::start(patient()).await;
    let mut line = port.line(port.fleet.add_instance()).await;
    line.say(Say::Hello(v1::Hello { min_version: 1, max_version: 9, ..hello() })).await;
    assert_eq!(line.welcome().await.version, 1);
    line.assignment().await;
    // A message of a kind that this version does not have is passed over.
    line.try_say(None).await;
    assert_eq!(line.quiet(1).await, []);
}

#[tokio::test]
async fn changes_leave_at_once_and_gather_while_one_is_in_flight() {
    let port = Port::start(patient()).await;
    let instance = port.fleet.add_instance();
    let (mut line, _, first) = port.session(instance).await;
    line.applied(first.generation).await;
    let tasks: Vec<TaskId> = (1..=3).map(|n| TaskId::from_bytes([n; 16])).collect();
    port.fleet.assign(instance, tasks[0], Some(DesiredStatus::Running));
    let one = line.assignment().await;
    assert!(!one.complete);
    assert_eq!((one.base_generation, ids(&one)), (first.generation, vec![tasks[0].to_string()]));
    // In flight: nothing more is sent.
    port.fleet.assign(instance, tasks[1], Some(DesiredStatus::Running));
    port.fleet.assign(instance, tasks[2], Some(DesiredStatus::Running));
    port.fleet.assign(instance, tasks[0], Some(DesiredStatus::Stopped));
    assert_eq!(line.quiet(1).await, []);
    line.applied(one.generation).await;
    let two = line.assignment().await;
    assert_eq!(two.base_generation, one.generation);
    assert_eq!(ids(&two), tasks.iter().map(ToString::to_string).collect::<Vec<_>>());
    line.applied(two.generation).await;
    port.fleet.assign(instance, tasks[0], None);
    let three = line.assignment().await;
    assert_eq!((three.tasks.len(), three.removed.as_slice()), (0, [tasks[0].to_string()].as_slice()));
}

#[tokio::test]
async fn everything_is_sent_again_on_a_resync_or_without_an_answer() {
    let port = Port::start(AgentsConfig { apply_timeout: Duration::from_secs(2), ..patient() }).await;
    let instance = port.fleet.add_instance();
    let wanted = TaskId::random();
    let (mut line, _, first) = port.session(instance).await;
    // No answer: the same again.
    let again = line.assignment().await;
    assert_eq!((again.complete, again.generation), (true, first.generation));
    line.applied(first.generation).await;
    port.fleet.assign(instance, wanted, Some(DesiredStatus::Running));
    let mut delta = line.assignment().await;
    while delta.complete {
        // One more repetition may have left before our answer came.
        line.applied(delta.generation).await;
        delta = line.assignment().await;
    }
    line.say(Say::Resync(v1::Resync { why: "lost\nmy ledger".to_owned() })).await;
    let complete = line.assignment().await;
    assert_eq!((complete.complete, complete.generation, ids(&complete)), (true, delta.generation, ids(&delta)));
}

#[tokio::test]
async fn an_agent_ahead_of_its_assignment_is_never_turned_back() {
    let port = Port::start(patient()).await;
    let instance = port.fleet.add_instance();
    let mut line = port.line(instance).await;
    line.say(Say::Hello(v1::Hello { applied_generation: 500, ..hello() })).await;
    line.welcome().await;
    assert_eq!(line.assignment().await.generation, 500);
}

#[tokio::test]
async fn the_newest_session_wins() {
    let lease = Duration::from_secs(2);
    let port = Port::start(AgentsConfig { lease, ..patient() }).await;
    let instance = port.fleet.add_instance();
    let (mut first, _, _) = port.session(instance).await;
    let (mut second, _, assignment) = port.session(instance).await;
    let status = first.end().await;
    assert_eq!(status.code(), Code::Aborted, "{status}");
    second.applied(assignment.generation).await;
    // Beyond the first one's lease, the second one's session is still there.
    for seq in 1..=12 {
        assert_eq!(second.quiet(seq).await, []);
        tokio::time::sleep(lease / 8).await;
    }
    assert!(port.fleet.lock().instances[&instance].session.is_some());
}

#[tokio::test]
async fn a_stream_that_never_was_leaves_the_older_one_alone() {
    let port = Port::start(AgentsConfig { hello_timeout: Duration::from_millis(500), ..patient() }).await;
    let instance = port.fleet.add_instance();
    let (mut first, _, assignment) = port.session(instance).await;
    first.applied(assignment.generation).await;
    let good = port.fleet.lock().instances[&instance].session;
    // Refused by its form, refused by the core, and without a word.
    let ahead = v1::Hello { applied_generation: u64::MAX, ..hello() };
    let bad = [Some(v1::Hello { facts: None, ..hello() }), Some(ahead), None];
    for (seq, bad) in (1..).zip(bad) {
        let mut line = port.line(instance).await;
        if let Some(bad) = bad {
            line.say(Say::Hello(bad)).await;
        }
        line.end().await;
        assert_eq!(first.quiet(seq).await, []);
    }
    assert_eq!(port.fleet.lock().instances[&instance].session, good);
}

#[tokio::test]
async fn an_agent_that_hangs_up_before_its_welcome_is_gone_after_the_lease() {
    let port = Port::start(AgentsConfig { lease: Duration::from_millis(400), ..patient() }).await;
    let instance = port.fleet.add_instance();
    let (first, _, _) = port.session(instance).await;
    port.fleet.change(|state| state.hellos_stalled = true);
    let mut second = port.line(instance).await;
    second.say(Say::Hello(hello())).await;
    tokio::select! {
        heard = second.hear() => panic!("nobody was to be welcomed: {heard:?}"),
        () = port.fleet.wait("opened", |state| state.instances[&instance].hellos.len() == 2) => {}
    }
    drop((first, second));
    port.fleet.wait("disconnected", |state| state.instances[&instance].session.is_none()).await;
}

#[tokio::test]
async fn a_deregistered_instance_is_put_out_and_kept_out() {
    let port = Port::start(patient()).await;
    let instance = port.fleet.add_instance();
    let (mut line, _, _) = port.session(instance).await;
    port.fleet.change(|state| state.instances.remove(&instance));
    let status = line.end().await;
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("join again"), "{status}");
    let mut again = port.line(instance).await;
    again.say(Say::Hello(hello())).await;
    assert_eq!(again.end().await.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn reports_are_saved_before_they_are_acknowledged() {
    let port = Port::start(patient()).await;
    let instance = port.fleet.add_instance();
    let wanted = TaskId::random();
    let (mut line, _, first) = port.session(instance).await;
    line.applied(first.generation).await;
    port.fleet.change(|state| state.stalled = true);
    line.say(Say::Reports(v1::Reports { seq: 1, tasks: vec![report(wanted, 1)] })).await;
    // While they are being saved, assignments go on.
    port.fleet.assign(instance, wanted, Some(DesiredStatus::Running));
    assert_eq!(ids(&line.assignment().await), [wanted.to_string()]);
    assert!(port.fleet.lock().instances[&instance].reports.is_empty());
    port.fleet.change(|state| state.stalled = false);
    assert_eq!(line.hear().await.expect("a message"), Hear::ReportsAck(v1::ReportsAck { seq: 1, revision: 77 }));
    assert_eq!(port.fleet.lock().instances[&instance].reports[0].task, wanted);
    port.fleet.change(|state| state.unavailable = true);
    line.say(Say::Reports(v1::Reports { seq: 2, tasks: vec![report(wanted, 2)] })).await;
    assert_eq!(line.end().await.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_slow_disk_keeps_no_heartbeat_waiting() {
    let port = Port::start(patient()).await;
    let instance = port.fleet.add_instance();
    let (mut line, _, first) = port.session(instance).await;
    line.applied(first.generation).await;
    let [one, two] = [1, 2].map(|n| TaskId::from_bytes([n; 16]));
    let reports = |seq, tasks| Say::Reports(v1::Reports { seq, tasks });
    port.fleet.change(|state| state.stalled = true);
    line.say(reports(1, vec![report(one, 1)])).await;
    assert_eq!(line.quiet(1).await, []);
    // As an agent does that hears no acknowledgement: the latest again, under a new number.
    line.say(reports(2, vec![report(one, 2), report(two, 1)])).await;
    line.say(reports(3, vec![report(one, 3)])).await;
    assert_eq!(line.quiet(2).await, []);
    port.fleet.change(|state| state.stalled = false);
    for seq in [1, 3] {
        assert_eq!(line.hear().await.expect("a message"), Hear::ReportsAck(v1::ReportsAck { seq, revision: 77 }));
    }
    let saved: Vec<_> = port.fleet.lock().instances[&instance].reports.iter().map(|r| (r.task, r.version)).collect();
    assert_eq!(saved, [(one, 1), (one, 3), (two, 1)]);
}

#[tokio::test]
async fn a_report_that_cannot_be_read_costs_itself_alone() {
    let port = Port::start(patient()).await;
    let instance = port.fleet.add_instance();
    let [first, second, third] = [1, 2, 3].map(|n| TaskId::from_bytes([n; 16]));
    // As a newer agent may say it.
    let newer = |task| v1::TaskReport { status: 99, ..report(task, 1) };
    let mut line = port.line(instance).await;
    let observed = vec![newer(third), report(first, 1)];
    line.say(Say::Hello(v1::Hello { observed, ..hello() })).await;
    line.welcome().await;
    line.assignment().await;
    let stop = v1::StopInfo { code: 99, reason: String::new() };
    let tasks = vec![
        v1::TaskReport { stop: Some(stop), ..report(third, 2) },
        v1::TaskReport { task: "?".to_owned(), ..report(third, 2) },
        report(second, 1),
        report(second, 2),
    ];
    line.say(Say::Reports(v1::Reports { seq: 1, tasks })).await;
    assert_eq!(line.hear().await.expect("a message"), Hear::ReportsAck(v1::ReportsAck { seq: 1, revision: 77 }));
    // The session goes on, and so do reports.
    line.say(Say::Reports(v1::Reports { seq: 2, tasks: vec![newer(third)] })).await;
    assert_eq!(line.hear().await.expect("a message"), Hear::ReportsAck(v1::ReportsAck { seq: 2, revision: 77 }));
    let state = port.fleet.lock();
    let heard = &state.instances[&instance];
    let ids = |reports: &[longshore_model::TaskReport]| -> Vec<_> {
        reports.iter().map(|report| (report.task, report.version)).collect()
    };
    assert_eq!(ids(&heard.hellos[0].observed), [(first, 1)]);
    assert_eq!(ids(&heard.reports), [(second, 1)]);
}

#[tokio::test]
async fn what_no_agent_says_ends_the_session_with_the_field() {
    let port = Port::start(patient()).await;
    let reports = |seq, tasks| Say::Reports(v1::Reports { seq, tasks });
    let many = vec![v1::TaskReport::default(); 10_001];
    let cases = [
        (Say::Hello(hello()), "`hello`"),
        (Say::Applied(v1::Applied { generation: 999 }), "`applied.generation`"),
        (reports(0, Vec::new()), "`reports.seq`"),
        (reports(1, many), "`reports.tasks`"),
    ];
    for (kind, field) in cases {
        let (mut line, _, _) = port.session(port.fleet.add_instance()).await;
        line.say(kind).await;
        let status = line.end().await;
        assert_eq!(status.code(), Code::InvalidArgument, "{field}");
        assert!(status.message().contains(field), "{field}: {status}");
    }
    // Unknown kinds without end.
    let (mut line, _, _) = port.session(port.fleet.add_instance()).await;
    for _ in 0..150 {
        line.try_say(None).await;
    }
    assert_eq!(line.end().await.code(), Code::InvalidArgument);
    assert!(port.fleet.lock().instances.values().all(|instance| instance.reports.is_empty()));
}

#[tokio::test]
async fn silence_loses_the_lease() {
    let port = Port::start(AgentsConfig { lease: Duration::from_millis(300), ..patient() }).await;
    let instance = port.fleet.add_instance();
    let (mut line, _, _) = port.session(instance).await;
    assert_eq!(line.end().await.code(), Code::DeadlineExceeded);
    port.fleet.wait("disconnected", |state| state.instances[&instance].session.is_none()).await;
}

#[tokio::test]
async fn silence_after_heartbeats_loses_the_lease_that_they_renewed() {
    let lease = Duration::from_secs(3);
    let port = Port::start(AgentsConfig { lease, ..patient() }).await;
    let instance = port.fleet.add_instance();
    let (mut line, _, assignment) = port.session(instance).await;
    line.applied(assignment.generation).await;
    let began = tokio::time::Instant::now();
    // Beyond the lease that it began with.
    let mut beats = tokio::time::interval(lease / 10);
    let mut heard = began;
    for seq in 1.. {
        beats.tick().await;
        heard = tokio::time::Instant::now();
        assert_eq!(line.quiet(seq).await, []);
        if began.elapsed() > lease * 3 / 2 {
            break;
        }
    }
    assert_eq!(line.end().await.code(), Code::DeadlineExceeded);
    assert!(heard.elapsed() >= lease, "the last heartbeat renewed it");
    port.fleet.wait("disconnected", |state| state.instances[&instance].session.is_none()).await;
}

#[tokio::test]
async fn a_lost_connection_costs_the_lease_and_not_less() {
    let lease = Duration::from_secs(2);
    let port = Port::start(AgentsConfig { lease, ..patient() }).await;
    let instance = port.fleet.add_instance();
    let (line, _, _) = port.session(instance).await;
    drop(line);
    // Back within the lease: nobody noticed.
    let heard = tokio::time::Instant::now();
    let (line, _, _) = port.session(instance).await;
    let session = port.fleet.lock().instances[&instance].session;
    assert!(session.is_some());
    drop(line);
    port.fleet.wait("disconnected", |state| state.instances[&instance].session.is_none()).await;
    assert!(heard.elapsed() >= lease, "not before the lease ran out");
}

#[tokio::test]
async fn the_end_of_the_control_plane_ends_every_stream_kindly() {
    let port = Port::start(patient()).await;
    let mut lines: Vec<Line> = Vec::new();
    for _ in 0..3 {
        lines.push(port.session(port.fleet.add_instance()).await.0);
    }
    port.shutdown.cancel();
    for line in &mut lines {
        assert_eq!(line.end().await.code(), Code::Unavailable);
    }
    drop(lines);
    let served = tokio::time::timeout(super::fleet::DEADLINE, port.serving).await.expect("ends in time");
    served.expect("no panic").expect("no error");
    assert!(port.fleet.lock().instances.values().all(|instance| instance.session.is_some()), "a restart is no loss");
}

#[tokio::test]
async fn an_agent_that_does_not_read_is_let_go() {
    let port = Port::start(AgentsConfig { lease: Duration::from_millis(500), ..patient() }).await;
    let instance = port.fleet.add_instance();
    for _ in 0..2000 {
        let id = TaskId::random();
        let mut large = task(id, DesiredStatus::Running);
        std::sync::Arc::make_mut(&mut large.spec).family = "x".repeat(2000);
        port.fleet.change(|state| state.put(instance, large));
    }
    // The first assignment fills the windows; then acknowledgements pile up, however often the agent beats.
    let mut line = port.line(instance).await;
    line.say(Say::Hello(hello())).await;
    line.welcome().await;
    let beating = async {
        let mut seq = 0;
        while line.beat(seq).await {
            seq += 1;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = beating => {}
        () = port.fleet.wait("let go", |state| state.instances[&instance].session.is_none()) => {}
    }
}

#[tokio::test]
async fn heartbeats_bring_health_and_what_cannot_be_read_of_it_is_passed_over() {
    let port = Port::start(patient()).await;
    let instance = port.fleet.add_instance();
    let mut line = port.line(instance).await;
    line.say(Say::Hello(hello())).await;
    line.welcome().await;
    line.assignment().await;
    let check = |check: &str, status: v1::CheckStatus| v1::CheckResult {
        check: check.to_owned(),
        status: status.into(),
        ..v1::CheckResult::default()
    };
    let good = check("CONTAINER_RUNTIME", v1::CheckStatus::Impaired);
    let odd = v1::CheckResult { status: 77, ..good.clone() };
    for (seq, checks) in
        [vec![good.clone()], vec![odd], vec![check("lower", v1::CheckStatus::Ok)], vec![good.clone(), good]]
            .into_iter()
            .enumerate()
    {
        let seq = seq as u64 + 1;
        let health = Some(v1::InstanceHealth { checks });
        line.say(Say::Heartbeat(v1::Heartbeat { seq, health, ..v1::Heartbeat::default() })).await;
        let ack = v1::HeartbeatAck { seq, ..v1::HeartbeatAck::default() };
        assert_eq!(line.hear().await.expect("a message"), Hear::HeartbeatAck(ack), "it is alive all the same");
        // The Hello, once, and each heartbeat up to this one, whatever it brought: it is heard before it is answered.
        assert_eq!(u64::from(port.fleet.lock().instances[&instance].heard), 1 + seq);
    }
    // So is what says nothing here: a message of a kind that a newer agent may have.
    line.try_say(None).await;
    port.fleet.wait("heard", |state| state.instances[&instance].heard == 6).await;
    let state = port.fleet.lock();
    let taken = &state.instances[&instance].health;
    assert_eq!(taken.len(), 1, "{taken:?}");
    assert_eq!(taken[0].checks[0].status, longshore_model::CheckStatus::Impaired);
}

#[tokio::test]
async fn heartbeats_bring_what_is_used_as_often_as_the_welcome_asks() {
    let port = Port::start(patient()).await;
    let instance = port.fleet.add_instance();
    let mut line = port.line(instance).await;
    line.say(Say::Hello(hello())).await;
    assert_eq!(line.welcome().await.usage_millis, 20_000);
    line.assignment().await;
    let task = v1::TaskUsage { task: "a".repeat(32), cpu_units: 512, memory_kib: 2048 };
    let odd = v1::TaskUsage { task: "x".to_owned(), ..task.clone() };
    for (seq, tasks) in [vec![odd], vec![task.clone(), task.clone()], vec![task]].into_iter().enumerate() {
        let seq = seq as u64 + 1;
        let usage = Some(v1::HostUsage { cpu_units: 700, memory_mib: 900, tasks });
        line.say(Say::Heartbeat(v1::Heartbeat { seq, usage, ..v1::Heartbeat::default() })).await;
        let ack = v1::HeartbeatAck { seq, ..v1::HeartbeatAck::default() };
        assert_eq!(line.hear().await.expect("a message"), Hear::HeartbeatAck(ack), "it is alive all the same");
    }
    let state = port.fleet.lock();
    let taken = &state.instances[&instance].usage;
    assert_eq!(taken.len(), 1, "{taken:?}");
    assert_eq!((taken[0].cpu_units, taken[0].tasks[0].memory_kib), (700, 2048));
}
