//! The reconciler against a host in memory: what is saved before what, what a crash leaves, and what goes on while
//! something else fails.

mod fake;
pub(crate) mod fixtures;
mod images;
mod lifecycle;
mod room;

use super::*;
use crate::config::PortRange;
use crate::session::{ApplyError, RefusedTask};
use fake::{FakeContainer, FakeHost};
use fixtures::{port, spec};
use longshore_model::{
    AssignedTask, Assignment, AwsvpcSpec, Bandwidth, ContainerStatus, DesiredStatus, EniReport, GroupId, HostFacts,
    HostPort, Link, NetworkBinding, NetworkMode, PidMode, Protocol, Resources, StopCode, SubnetId, TaskId, TaskReport,
    TaskSpec, TaskStatus, VolumeSource, VolumeSpec,
};
use longshore_plan::{Failure, RunState};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longest wait for a state, in the test's own (paused) time.
const DEADLINE: Duration = Duration::from_secs(900);

/// An agent's engine on a fake host.
struct Rig {
    host: Arc<FakeHost>,
    desired: mpsc::Sender<DesiredUpdate>,
    hints: mpsc::Sender<Hint>,
    status: mpsc::Sender<oneshot::Sender<status::EngineStatus>>,
    observed: watch::Receiver<ObservedReports>,
    saved: watch::Receiver<Generation>,
    views: watch::Receiver<TaskViews>,
    engine: JoinHandle<()>,
    shutdown: CancellationToken,
    facts: watch::Sender<Option<Arc<HostFacts>>>,
}

/// A host with so many MiB for tasks.
fn facts(memory_mib: u32) -> Option<Arc<HostFacts>> {
    let resources = Resources { memory_mib, ..Resources::default() };
    Some(Arc::new(HostFacts { resources, ..HostFacts::default() }))
}

fn assigned(spec: &TaskSpec, desired: DesiredStatus) -> AssignedTask {
    AssignedTask { spec: Arc::new(spec.clone()), desired, may_start: true, stop_reason: "by test".into() }
}

/// A task of one container with a cgroup and a volume of its own.
fn provided() -> TaskSpec {
    let mut task = spec(&[("a", &[])]);
    task.cpu_units = Some(256);
    task.volumes = vec![VolumeSpec { name: "data".into(), source: VolumeSource::Task }];
    task
}

fn run(spec: &TaskSpec) -> AssignedTask {
    assigned(spec, DesiredStatus::Running)
}

impl Rig {
    fn on(host: &Arc<FakeHost>) -> Self {
        let (desired, desired_out) = mpsc::channel(2);
        let (hints, hints_out) = mpsc::channel(HINT_QUEUE);
        let (status, status_out) = mpsc::channel(STATUS_QUEUE);
        let (saved_in, saved) = watch::channel(Generation::default());
        let (observed_in, observed) = watch::channel(ObservedReports::new());
        let (views_in, views) = watch::channel(TaskViews::new());
        let (facts, facts_out) = watch::channel(facts(1024));
        let reconciler = Reconciler::new(Parts {
            config: EngineConfig {
                policy: Policy { cleanup_wait: Duration::from_secs(60), ..Policy::default() },
                pull_behavior: PullBehavior::PreferCached,
                limits: execute::Limits::default(),
                relist: Duration::from_secs(15),
                keyring: Arc::new(Keyring::new([7; 32])),
            },
            drivers: host.drivers(),
            loaded: host.loaded(),
            // Below what other tests bind for real.
            ports: Ports::new(PortRange { first: 20_000, last: 20_900 }, BTreeSet::new()),
            inputs: Inputs { desired: desired_out, hints: hints_out, status: status_out, facts: facts_out },
            outputs: Outputs { saved: saved_in, observed: observed_in, views: views_in },
        });
        let shutdown = CancellationToken::new();
        let engine = tokio::spawn(reconciler.run(shutdown.clone()));
        Self { host: host.clone(), desired, hints, status, observed, saved, views, engine, shutdown, facts }
    }

    /// kill -9: nothing more is saved, nothing in flight is waited for.
    async fn crash(self) -> Arc<FakeHost> {
        self.engine.abort();
        let _ = self.engine.await;
        self.host
    }

    async fn update(&self, assignment: Assignment, refused: Vec<RefusedTask>) -> Result<Generation, ApplyError> {
        let (done, answer) = oneshot::channel();
        self.desired.send(DesiredUpdate { assignment, refused, done }).await.expect("the engine runs");
        answer.await.expect("it answers")
    }

    async fn complete(&self, generation: u64, tasks: Vec<AssignedTask>) {
        let answer = self.update(Assignment::Complete { generation: Generation(generation), tasks }, vec![]).await;
        assert_eq!(answer, Ok(Generation(generation)));
        assert!(self.saved.borrow().0 >= generation && self.host.state().generation.0 >= generation);
    }

    async fn until(&mut self, what: &str, holds: impl Fn(&ObservedReports) -> bool) {
        let waited = tokio::time::timeout(DEADLINE, self.observed.wait_for(|o| holds(o))).await;
        if waited.is_err() {
            let (question, answer) = oneshot::channel();
            self.status.send(question).await.expect("the engine runs");
            panic!("{what}: {:#?}", answer.await);
        }
    }

    async fn until_status(&mut self, task: TaskId, status: TaskStatus) -> TaskReport {
        let what = format!("{task} is to be {status}");
        self.until(&what, |o| o.get(&task).is_some_and(|r| r.status == status)).await;
        TaskReport::clone(&self.observed.borrow()[&task])
    }

    async fn status(&self) -> status::EngineStatus {
        let (question, answer) = oneshot::channel();
        self.status.send(question).await.expect("the engine runs");
        answer.await.expect("it answers")
    }

    /// The process of a container ends, and Docker says so.
    async fn exit(&self, task: &TaskSpec, n: usize, code: i32) {
        self.change(task, n, |c| (c.state, c.exit_code) = (RunState::Ended, code));
        self.hint(task, n).await;
    }

    fn change(&self, task: &TaskSpec, n: usize, change: impl FnOnce(&mut FakeContainer)) {
        let key = (task.id, task.containers[n].name.clone());
        change(self.host.state().containers.get_mut(&key).expect("it exists"));
    }

    async fn hint(&self, task: &TaskSpec, n: usize) {
        let hint = Hint::Container { task: task.id, container: task.containers[n].name.clone() };
        self.hints.send(hint).await.expect("the engine runs");
    }
}

fn calls(host: &FakeHost, verb: &str) -> Vec<String> {
    host.state().calls.iter().filter(|c| c.starts_with(verb)).cloned().collect()
}

#[tokio::test(start_paused = true)]
async fn a_task_starts_is_reported_and_its_exit_ends_it() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let task = spec(&[("web", &[port(80, HostPort::Dynamic, Protocol::Tcp)]), ("side", &[])]);
    rig.complete(5, vec![run(&task)]).await;
    let report = rig.until_status(task.id, TaskStatus::Running).await;
    assert!(report.started_at.is_some() && report.stop.is_none());
    let NetworkBinding { bind_ip, container_port, host_port, .. } = report.containers[0].bindings[0].clone();
    assert_eq!((bind_ip.as_str(), container_port), ("0.0.0.0", 80));
    assert!((20_000..=20_900).contains(&host_port));
    assert_eq!(report.containers[0].image_digest.as_deref(), Some("sha256:busybox"));

    rig.exit(&task, 0, 3).await;
    let ended = rig.until_status(task.id, TaskStatus::Stopped).await;
    assert!(ended.version > report.version);
    let stop = ended.stop.expect("a reason");
    assert_eq!(stop.code, Some(StopCode::EssentialContainerExited));
    assert_eq!(stop.reason, "Essential container in task exited");
    assert_eq!(ended.containers[0].exit_code, Some(3));
    assert_eq!(ended.containers[1].exit_code, Some(143), "the other one was asked to stop");
    assert_eq!(calls(&host, "start").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_start_waits_for_the_ledger_and_nothing_else_does() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let running = spec(&[("a", &[])]);
    rig.complete(1, vec![run(&running)]).await;
    rig.until_status(running.id, TaskStatus::Running).await;
    host.state().disk_full = true;
    let task = spec(&[("b", &[])]);
    let tasks = vec![run(&running), run(&task)];
    let answer = rig.update(Assignment::Complete { generation: Generation(2), tasks: tasks.clone() }, vec![]).await;
    assert!(matches!(answer, Err(ApplyError::NotSaved { ref why }) if why.contains("no space left")), "{answer:?}");
    // An exit is still seen and said.
    rig.exit(&running, 0, 0).await;
    rig.until_status(running.id, TaskStatus::Stopped).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(calls(&host, "start b"), [] as [&str; 0], "started without a durable record");
    let status = rig.status().await;
    assert!(!status.ledger.ok);
    host.state().disk_full = false;
    rig.complete(2, tasks).await;
    rig.until_status(task.id, TaskStatus::Running).await;
    assert!(rig.status().await.ledger.ok);
}

/// A container that asks about itself in its first moment is known, and after a crash at once.
#[tokio::test(start_paused = true)]
async fn a_task_is_in_the_views_before_it_starts_and_from_the_ledger_on() {
    use longshore_plan::Phase;
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let task = spec(&[("a", &[])]);
    let phase = |views: &TaskViews| Some(views.get(&task.id)?.record.containers[0].phase.clone());
    rig.complete(1, vec![run(&task)]).await;
    let starting = |views: &TaskViews| matches!(phase(views), Some(Phase::Starting { .. }));
    tokio::time::timeout(DEADLINE, rig.views.wait_for(starting)).await.expect("in time").expect("the engine runs");
    assert_eq!(calls(&host, "start"), [] as [&str; 0], "it is known before it is started");
    rig.until_status(task.id, TaskStatus::Running).await;
    assert!(matches!(phase(&rig.views.borrow()), Some(Phase::Running { .. })));

    let host = rig.crash().await;
    host.state().away = true;
    let mut rig = Rig::on(&host);
    let known = |views: &TaskViews| matches!(phase(views), Some(Phase::Running { .. }));
    tokio::time::timeout(DEADLINE, rig.views.wait_for(known)).await.expect("in time").expect("the engine runs");
    assert!(!rig.status().await.docker.ok, "Docker was not asked for it");
    host.state().away = false;
    rig.complete(2, vec![]).await;
    let gone = |views: &TaskViews| !views.contains_key(&task.id);
    tokio::time::timeout(DEADLINE, rig.views.wait_for(gone)).await.expect("in time").expect("the engine runs");
}

#[tokio::test(start_paused = true)]
async fn generations_never_fall() {
    let host = FakeHost::new();
    let rig = Rig::on(&host);
    rig.complete(7, vec![]).await;
    let old = Assignment::Complete { generation: Generation(6), tasks: vec![] };
    assert_eq!(rig.update(old, vec![]).await, Err(ApplyError::Outdated { saved: Generation(7) }));
    let gap = Assignment::Delta { base: Generation(6), generation: Generation(8), tasks: vec![], removed: vec![] };
    assert_eq!(rig.update(gap, vec![]).await, Err(ApplyError::Outdated { saved: Generation(7) }));
    let next = Assignment::Delta { base: Generation(7), generation: Generation(8), tasks: vec![], removed: vec![] };
    assert_eq!(rig.update(next, vec![]).await, Ok(Generation(8)));
}

/// A crash at every millisecond of a start: the next process finishes it, and nothing runs twice.
#[tokio::test(start_paused = true)]
async fn a_crash_at_any_point_starts_each_container_once() {
    for after in (0..240).step_by(3) {
        let host = FakeHost::new();
        let rig = Rig::on(&host);
        let task = spec(&[("web", &[port(80, HostPort::Dynamic, Protocol::Tcp)]), ("side", &[])]);
        let assignment = Assignment::Complete { generation: Generation(1), tasks: vec![run(&task)] };
        let (done, _answer) = oneshot::channel();
        let update = DesiredUpdate { assignment, refused: vec![], done };
        rig.desired.send(update).await.expect("the engine runs");
        tokio::time::sleep(Duration::from_millis(after)).await;
        let host = rig.crash().await;
        let mut rig = Rig::on(&host);
        rig.complete(2, vec![run(&task)]).await;
        let report = rig.until_status(task.id, TaskStatus::Running).await;
        for container in host.state().containers.values() {
            assert_eq!(container.runs, 1, "after {after} ms");
        }
        let label_ports: Vec<u16> =
            host.state().containers.values().flat_map(|c| &c.ports).map(|p| p.host_port).collect();
        let reported: Vec<u16> = report.containers.iter().flat_map(|c| &c.bindings).map(|b| b.host_port).collect();
        assert_eq!(label_ports, reported, "after {after} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_adopts_and_reports_exits_that_happened_meanwhile() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let (stays, ends) = (spec(&[("a", &[])]), spec(&[("b", &[])]));
    rig.complete(1, vec![run(&stays), run(&ends)]).await;
    rig.until_status(stays.id, TaskStatus::Running).await;
    rig.until_status(ends.id, TaskStatus::Running).await;
    rig.change(&ends, 0, |c| (c.state, c.exit_code, c.oom) = (RunState::Ended, 137, true));
    let host = rig.crash().await;
    let before = calls(&host, "start");
    // No control plane: nobody sends an assignment.
    let mut rig = Rig::on(&host);
    let report = rig.until_status(ends.id, TaskStatus::Stopped).await;
    assert_eq!(report.containers[0].exit_code, Some(137));
    let reason = report.containers[0].reason.as_deref();
    assert_eq!(reason, Some("OutOfMemoryError: Container killed due to memory usage"));
    rig.until_status(stays.id, TaskStatus::Running).await;
    assert_eq!(calls(&host, "start"), before, "something was started again");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_is_not_an_exit() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let task = spec(&[("a", &[])]);
    rig.complete(1, vec![run(&task)]).await;
    rig.until_status(task.id, TaskStatus::Running).await;
    host.state().away = true;
    rig.hints.send(Hint::Down { why: "connection refused".into() }).await.expect("the engine runs");
    // A hint that may mean an exit, while nothing can be known.
    rig.hint(&task, 0).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let status = rig.status().await;
    assert!(!status.docker.ok);
    assert_eq!(rig.observed.borrow()[&task.id].status, TaskStatus::Running);
    let waiting = rig.observed.borrow()[&task.id].waiting_for.clone();
    assert!(waiting.is_some_and(|w| w.contains("connection refused")));
    // What is assigned meanwhile waits and then starts.
    let late = spec(&[("b", &[])]);
    rig.complete(2, vec![run(&task), run(&late)]).await;
    host.state().away = false;
    rig.until_status(late.id, TaskStatus::Running).await;
    assert_eq!(rig.observed.borrow()[&task.id].status, TaskStatus::Running);
}

#[tokio::test(start_paused = true)]
async fn a_container_removed_behind_our_back_is_stopped_with_a_reason() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let task = spec(&[("a", &[])]);
    rig.complete(1, vec![run(&task)]).await;
    rig.until_status(task.id, TaskStatus::Running).await;
    // No event: only the slow listing can find it.
    host.state().containers.clear();
    let report = rig.until_status(task.id, TaskStatus::Stopped).await;
    assert!(report.containers[0].reason.as_ref().is_some_and(|r| r.starts_with("ContainerVanishedError: ")));
    assert_eq!(calls(&host, "create").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_events_told_just_before_they_were_heard_is_found_soon() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let task = spec(&[("a", &[])]);
    rig.complete(1, vec![run(&task)]).await;
    rig.until_status(task.id, TaskStatus::Running).await;
    let opened = tokio::time::Instant::now();
    // The second one comes while the first one's listing is on its way.
    for _ in 0..2 {
        rig.hints.send(Hint::Relist).await.expect("it runs");
    }
    // Listings that are made at once do not show it yet.
    tokio::time::sleep(Duration::from_secs(1)).await;
    host.state().containers.clear();
    rig.until_status(task.id, TaskStatus::Stopped).await;
    assert!(opened.elapsed() < Duration::from_secs(3), "{:?}", opened.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_lost_ledger_is_rebuilt_from_labels() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let fixed = port(80, HostPort::Fixed(20_950), Protocol::Tcp);
    let (kept, dropped) = (spec(&[("a", &[fixed])]), spec(&[("b", &[])]));
    rig.complete(1, vec![run(&kept), run(&dropped)]).await;
    rig.until_status(kept.id, TaskStatus::Running).await;
    let first = rig.until_status(dropped.id, TaskStatus::Running).await;
    let host = rig.crash().await;
    {
        let mut state = host.state();
        state.records.clear();
        state.definitions.clear();
        state.generation = Generation(0);
    }
    let mut rig = Rig::on(&host);
    // Supervised before anybody says anything.
    let report = rig.until_status(kept.id, TaskStatus::Running).await;
    assert_eq!(report.containers[0].bindings[0].host_port, 20_950);
    assert_eq!(rig.status().await.tasks.iter().filter(|t| t.wish == "unknown").count(), 2);
    let again = rig.until_status(dropped.id, TaskStatus::Running).await;
    assert!(again.version > first.version, "the control plane would ignore it");
    rig.complete(9, vec![AssignedTask { may_start: false, ..run(&kept) }]).await;
    rig.until("the other one stops and is forgotten", |o| !o.contains_key(&dropped.id)).await;
    assert_eq!(rig.observed.borrow()[&kept.id].status, TaskStatus::Running);
    assert_eq!(calls(&host, "start").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_may_have_run_and_is_not_known_does_not_run() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let task = spec(&[("a", &[])]);
    rig.complete(1, vec![AssignedTask { may_start: false, ..run(&task) }]).await;
    let report = rig.until_status(task.id, TaskStatus::Stopped).await;
    assert!(report.stop.is_some_and(|s| s.reason.contains("does not know the task any more")));
    assert_eq!(calls(&host, "create").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_task_waits_for_the_port_of_one_that_stops_and_blocks_nobody() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let fixed = port(80, HostPort::Fixed(20_960), Protocol::Tcp);
    let (old, new, other) = (spec(&[("old", &[fixed])]), spec(&[("new", &[fixed])]), spec(&[("other", &[])]));
    rig.complete(1, vec![run(&old)]).await;
    rig.until_status(old.id, TaskStatus::Running).await;
    host.state().stop_takes = Duration::from_secs(20);
    rig.complete(2, vec![assigned(&old, DesiredStatus::Stopped), run(&new), run(&other)]).await;
    rig.until_status(other.id, TaskStatus::Running).await;
    let waiting = rig.observed.borrow()[&new.id].waiting_for.clone().expect("it says what for");
    assert!(waiting.contains("20960/tcp") && waiting.contains(&old.id.to_string()), "{waiting}");
    assert_eq!(rig.observed.borrow()[&old.id].status, TaskStatus::Stopping);
    rig.until_status(new.id, TaskStatus::Running).await;
    assert_eq!(rig.observed.borrow()[&old.id].status, TaskStatus::Stopped, "stop precedes start");
}

#[tokio::test(start_paused = true)]
async fn a_taken_dynamic_port_is_exchanged() {
    let host = FakeHost::new();
    host.state().script.insert("start", vec![Failure::PortTaken("port is already allocated".into())]);
    let mut rig = Rig::on(&host);
    let task = spec(&[("web", &[port(80, HostPort::Dynamic, Protocol::Tcp)])]);
    rig.complete(1, vec![run(&task)]).await;
    rig.until_status(task.id, TaskStatus::Running).await;
    assert_eq!(calls(&host, "create").len(), 2);
    assert_eq!(host.state().containers.values().next().expect("there").runs, 1);
    // So is a container that Docker is confused about.
    host.state().script.insert("start", vec![Failure::Confused("task x: already exists".into())]);
    let confused = spec(&[("web", &[port(80, HostPort::Fixed(20_971), Protocol::Tcp)])]);
    rig.complete(2, vec![run(&task), run(&confused)]).await;
    rig.until_status(confused.id, TaskStatus::Running).await;
    // A fixed one cannot be.
    host.state().script.insert("start", vec![Failure::PortTaken("port is already allocated".into())]);
    let fixed = spec(&[("web", &[port(80, HostPort::Fixed(20_970), Protocol::Tcp)])]);
    rig.complete(3, vec![run(&task), run(&fixed)]).await;
    let report = rig.until_status(fixed.id, TaskStatus::Stopped).await;
    let stop = report.stop.expect("a reason");
    assert_eq!(stop.code, Some(StopCode::TaskFailedToStart));
    assert!(stop.reason.starts_with("CannotStartContainerError: port is already allocated"), "{}", stop.reason);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_runs_after_all_is_ended_and_not_made_again() {
    let host = FakeHost::new();
    host.state().script.insert("start", vec![Failure::Confused("id already in use".into())]);
    host.state().starts_after_all = true;
    let mut rig = Rig::on(&host);
    let task = spec(&[("web", &[port(80, HostPort::Dynamic, Protocol::Tcp)])]);
    rig.complete(1, vec![run(&task)]).await;
    let report = rig.until_status(task.id, TaskStatus::Stopped).await;
    let stop = report.stop.expect("a reason");
    assert_eq!(stop.code, Some(StopCode::TaskFailedToStart));
    assert!(stop.reason.contains("started it after all"), "{}", stop.reason);
    let host = host.state();
    let ran: Vec<_> = host.containers.values().map(|c| (c.state, c.runs)).collect();
    assert_eq!(ran, [(RunState::Ended, 1)], "{:?}", host.calls);
}

#[tokio::test(start_paused = true)]
async fn containers_wait_for_those_that_they_link_and_share_namespaces_while_they_run() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let mut task = spec(&[("web", &[]), ("db", &[])]);
    task.pid_mode = Some(PidMode::Task);
    let db = task.containers[1].name.clone();
    task.containers[0].links = vec![Link { container: db, alias: "database".into() }];
    rig.complete(1, vec![run(&task)]).await;
    rig.until_status(task.id, TaskStatus::Running).await;
    let at = |call: &str| host.state().calls.iter().position(|c| c == call).expect("it was asked for");
    assert!(at("start db") < at("create web"), "{:?}", host.state().calls);
    assert_eq!(host.state().namespaces, BTreeSet::from([task.id]));
    rig.complete(2, vec![assigned(&task, DesiredStatus::Stopped)]).await;
    rig.until_status(task.id, TaskStatus::Stopped).await;
    while !host.state().namespaces.is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(host.state().containers.len(), 2, "those stay a while for `docker logs`");
}

#[tokio::test(start_paused = true)]
async fn what_leaves_the_assignment_leaves_the_host() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let task = provided();
    rig.complete(1, vec![run(&task)]).await;
    rig.until_status(task.id, TaskStatus::Running).await;
    assert_eq!(host.state().made_resources(), 2);
    let removed = vec![task.id];
    let delta = Assignment::Delta { base: Generation(1), generation: Generation(2), tasks: vec![], removed };
    rig.update(delta, vec![]).await.expect("applied");
    rig.until_status(task.id, TaskStatus::Stopped).await;
    assert_eq!(host.state().containers.len(), 1, "it stays a while for `docker logs`");
    rig.until("it is forgotten", |o| o.is_empty()).await;
    let state = host.state();
    assert!(state.containers.is_empty() && state.volumes.is_empty() && state.cgroups.is_empty());
    assert!(state.records.is_empty() && state.definitions.is_empty());
}

fn awsvpc(containers: &[&str]) -> TaskSpec {
    let containers: Vec<(&str, &[longshore_model::PortMapping])> = containers.iter().map(|c| (*c, &[][..])).collect();
    TaskSpec {
        network_mode: NetworkMode::Awsvpc,
        awsvpc: Some(AwsvpcSpec {
            attachment_id: "a".into(),
            subnet: SubnetId::random(),
            groups: [GroupId::random()].into(),
            bandwidth: Bandwidth::default(),
        }),
        ..spec(&containers)
    }
}

#[tokio::test(start_paused = true)]
async fn an_interface_comes_first_and_goes_before_the_end() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let task = awsvpc(&["web", "side"]);
    rig.complete(1, vec![run(&task)]).await;
    let report = rig.until_status(task.id, TaskStatus::Running).await;
    let eni = report.eni.expect("an interface");
    assert!(eni.attached);
    assert_eq!(host.state().interfaces[&task.id].eni, eni);
    let networks: Vec<_> = host.state().containers.values().map(|c| c.interface.clone().map(|i| i.eni.id)).collect();
    assert_eq!(networks, [Some(eni.id); 2]);
    host.state().stop_takes = Duration::from_secs(3);
    rig.complete(2, vec![assigned(&task, DesiredStatus::Stopped)]).await;
    rig.until_status(task.id, TaskStatus::Stopping).await;
    let leaving = rig.until_status(task.id, TaskStatus::Deprovisioning).await;
    assert!(leaving.eni.is_some_and(|e| e.attached) && leaving.stopped_at.is_none());
    let over = rig.until_status(task.id, TaskStatus::Stopped).await;
    assert_eq!(over.eni, Some(EniReport { attached: false, ..eni }));
    assert!(over.stopped_at.is_some() && host.state().interfaces.is_empty());
    assert_eq!(host.state().containers.len(), 2, "long before its containers are removed");
}

#[tokio::test(start_paused = true)]
async fn what_is_waited_for_without_an_interface_is_said() {
    let host = FakeHost::new();
    let away = || Failure::Away("this host has no lease yet".into());
    host.state().script.insert("interface", (0..9).map(|_| away()).collect());
    let mut rig = Rig::on(&host);
    let task = awsvpc(&["web"]);
    rig.complete(1, vec![run(&task)]).await;
    rig.until("it says so", |o| o.get(&task.id).is_some_and(|r| r.waiting_for.is_some())).await;
    let waiting = rig.observed.borrow()[&task.id].clone();
    assert_eq!(waiting.status, TaskStatus::Provisioning);
    let text = waiting.waiting_for.clone().expect("seen");
    assert!(text.contains("its interface: this host has no lease yet"), "{text}");
    assert!(rig.status().await.docker.ok, "it is not Docker that is away");
    rig.until_status(task.id, TaskStatus::Running).await;
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_ends_ends_its_task() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let (hit, other) = (awsvpc(&["a"]), awsvpc(&["b"]));
    rig.complete(1, vec![run(&hit), run(&other)]).await;
    let eni = rig.until_status(hit.id, TaskStatus::Running).await.eni.expect("an interface");
    rig.until_status(other.id, TaskStatus::Running).await;
    host.state().sandboxes.insert(eni.id, false);
    rig.hints.send(Hint::Sandbox { eni: eni.id }).await.expect("the engine runs");
    let report = rig.until_status(hit.id, TaskStatus::Stopped).await;
    let stop = report.stop.expect("a reason");
    assert!(stop.reason.starts_with("NetworkInterfaceLostError: "), "{}", stop.reason);
    assert!(host.state().interfaces.keys().eq([&other.id]));
    assert_eq!(rig.observed.borrow()[&other.id].status, TaskStatus::Running);
}

/// A crash at any point of an awsvpc start, with the ledger or without it: one interface, one run.
#[tokio::test(start_paused = true)]
async fn a_crash_leaves_a_task_its_one_interface() {
    for (after, lose) in (0..280).step_by(7).flat_map(|after| [(after, false), (after, true)]) {
        let host = FakeHost::new();
        let rig = Rig::on(&host);
        let task = awsvpc(&["web", "side"]);
        let assignment = Assignment::Complete { generation: Generation(1), tasks: vec![run(&task)] };
        let (done, _answer) = oneshot::channel();
        let update = DesiredUpdate { assignment, refused: vec![], done };
        rig.desired.send(update).await.expect("the engine runs");
        tokio::time::sleep(Duration::from_millis(after)).await;
        let host = rig.crash().await;
        if lose {
            let mut state = host.state();
            state.records.clear();
            state.definitions.clear();
            state.generation = Generation(0);
        }
        let mut rig = Rig::on(&host);
        rig.complete(2, vec![run(&task)]).await;
        let report = rig.until_status(task.id, TaskStatus::Running).await;
        let eni = report.eni.expect("an interface").id;
        assert_eq!(host.state().interfaces[&task.id].eni.id, eni, "after {after} ms");
        for container in host.state().containers.values() {
            assert_eq!((container.runs, container.interface.as_ref().map(|i| i.eni.id)), (1, Some(eni)), "{after} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn leftovers_of_no_task_are_removed_at_start() {
    let host = FakeHost::new();
    host.state().volumes.insert((TaskId::random(), "data".into()));
    host.state().cgroups.insert(TaskId::random());
    let rig = Rig::on(&host);
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while host.state().made_resources() > 0 {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    rig.shutdown.cancel();
    rig.engine.await.expect("it ends well");
}

#[tokio::test(start_paused = true)]
async fn what_a_task_gets_while_leftovers_are_looked_for_stays() {
    let host = FakeHost::new();
    let gone = (TaskId::random(), "data".to_owned());
    host.state().volumes.insert(gone.clone());
    host.state().listing_takes = Duration::from_secs(5);
    let mut rig = Rig::on(&host);
    let task = provided();
    rig.complete(1, vec![run(&task)]).await;
    rig.until_status(task.id, TaskStatus::Running).await;
    assert!(host.state().volumes.contains(&gone), "the listing still goes on");
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while host.state().volumes.contains(&gone) {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let state = host.state();
    assert!(state.volumes.contains(&(task.id, "data".to_owned())) && state.cgroups.contains(&task.id));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_not_understood_is_refused_alone() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let good = spec(&[("a", &[])]);
    let refused = TaskId::random();
    let bad = |task, desired, stop_reason: &str, why: &str| RefusedTask {
        task,
        desired,
        stop_reason: stop_reason.into(),
        why: why.into(),
    };
    let unknown = bad(refused, None, "", "containers[0].image: must not be empty");
    let assignment = Assignment::Complete { generation: Generation(1), tasks: vec![run(&good)] };
    rig.update(assignment, vec![unknown]).await.expect("applied");
    let report = rig.until_status(refused, TaskStatus::Stopped).await;
    assert!(report.stop.is_some_and(|s| s.reason.contains("containers[0].image")));
    rig.until_status(good.id, TaskStatus::Running).await;
    // A known one keeps running as known.
    let known = bad(good.id, None, "", "something new");
    let next = |generation| Assignment::Complete { generation: Generation(generation), tasks: vec![] };
    rig.update(next(2), vec![known]).await.expect("applied");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.observed.borrow()[&good.id].status, TaskStatus::Running);
    assert_eq!(rig.observed.borrow()[&good.id].containers[0].status, ContainerStatus::Running);
    // One that is to stop stops, for the reason that it was given.
    let stopped = bad(good.id, Some(DesiredStatus::Stopped), "Task stopped by user", "something new");
    rig.update(next(3), vec![stopped]).await.expect("applied");
    let report = rig.until_status(good.id, TaskStatus::Stopped).await;
    assert_eq!(report.stop.map(|stop| (stop.code, stop.reason)), Some((None, "Task stopped by user".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_was_lost_on_the_way_is_looked_at_before_it_is_tried_again() {
    let host = FakeHost::new();
    host.state().script.insert("start", vec![Failure::Unknown("connection reset".into())]);
    let mut rig = Rig::on(&host);
    let task = spec(&[("a", &[])]);
    rig.complete(1, vec![run(&task)]).await;
    rig.until_status(task.id, TaskStatus::Running).await;
    let calls = host.state().calls.clone();
    let order: Vec<&str> = calls.iter().map(String::as_str).filter(|c| !c.starts_with("create")).collect();
    assert_eq!(order, ["start a", "inspect a", "start a"]);
}
