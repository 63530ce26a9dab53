//! Health, dependencies and restarts through the reconciler: events that wake it, and crashes in between.

use super::*;
use longshore_model::{ContainerCondition, Dependency, HealthStatus, PidMode, RestartPolicy};
use longshore_plan::Phase;

/// A task of a container `c` that is always restarted at once.
fn restarting() -> TaskSpec {
    let mut task = spec(&[("c", &[])]);
    let restart =
        RestartPolicy { ignored_exit_codes: vec![], attempt_period_secs: 0, backoff: None, when_unhealthy: false };
    task.containers[0].lifecycle.restart = Some(restart);
    task
}

/// A crash at every few milliseconds of a restart: the next process finishes it, and it counts once.
#[tokio::test(start_paused = true)]
async fn a_crash_at_any_point_of_a_restart_counts_it_once() {
    for after in (0..240).step_by(5) {
        let host = FakeHost::new();
        let mut rig = Rig::on(&host);
        let task = restarting();
        rig.complete(1, vec![run(&task)]).await;
        rig.until_status(task.id, TaskStatus::Running).await;
        rig.exit(&task, 0, 1).await;
        tokio::time::sleep(Duration::from_millis(after)).await;
        let host = rig.crash().await;
        let mut rig = Rig::on(&host);
        // It counts from when it is asked for.
        let done = |r: &TaskReport| r.containers[0].reason.as_deref().is_some_and(|why| why.starts_with("Restarts: "));
        rig.until("a restart", |o| o.get(&task.id).is_some_and(|r| done(r))).await;
        let report = rig.until_status(task.id, TaskStatus::Running).await;
        assert_eq!(report.containers[0].restart_count, 1, "after {after} ms");
        let state = host.state();
        let container = state.containers.values().next().expect("it exists");
        assert_eq!((container.runs, container.state), (2, RunState::Running), "after {after} ms: {report:?}");
        assert_eq!(container.id, report.containers[0].runtime_id.clone().expect("it has one"), "the same one");
    }
}

/// As after a reboot, with a network that is not there at once.
#[tokio::test(start_paused = true)]
async fn a_task_with_an_interface_restarts_in_the_sandbox_that_it_had() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let mut task = awsvpc(&["app"]);
    task.containers[0].lifecycle.restart = restarting().containers[0].lifecycle.restart.clone();
    rig.complete(1, vec![run(&task)]).await;
    let eni = rig.until_status(task.id, TaskStatus::Running).await.eni.expect("an interface");
    let host = rig.crash().await;
    {
        let mut state = host.state();
        state.sandboxes.insert(eni.id, false);
        state.script.insert("wake", vec![Failure::Passing("the network is being opened".into())]);
        let container = state.containers.values_mut().next().expect("it exists");
        (container.state, container.exit_code) = (RunState::Ended, 255);
    }
    let mut rig = Rig::on(&host);
    let done = |r: &TaskReport| r.containers[0].reason.as_deref().is_some_and(|why| why.starts_with("Restarts: "));
    rig.until("a restart", |o| o.get(&task.id).is_some_and(|r| done(r))).await;
    let report = rig.until_status(task.id, TaskStatus::Running).await;
    assert_eq!((report.eni, report.containers[0].restart_count), (Some(eni.clone()), 1));
    let state = host.state();
    assert_eq!(state.sandboxes.get(&eni.id), Some(&true));
    let ours = |call: &&String| call.starts_with("wake") || call.starts_with("start");
    let calls: Vec<&String> = state.calls.iter().filter(ours).collect();
    assert_eq!(calls, ["start app", "wake app", "wake app", "start app"]);
}

#[tokio::test(start_paused = true)]
async fn health_is_taken_from_events_and_lets_others_begin() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let mut task = spec(&[("db", &[]), ("app", &[])]);
    let db = task.containers[0].name.clone();
    task.containers[1].lifecycle.depends_on =
        vec![Dependency { container: db, condition: ContainerCondition::Healthy }];
    rig.complete(1, vec![run(&task)]).await;
    let wait = "container `app`: container `db` to be healthy; given up at ";
    let waits = |r: &TaskReport| r.waiting_for.as_deref().is_some_and(|what| what.starts_with(wait));
    rig.until("the wait", |o| o.get(&task.id).is_some_and(|r| waits(r))).await;
    assert_eq!(calls(&host, "start"), ["start db"]);
    rig.change(&task, 0, |c| c.health = Some(HealthStatus::Healthy));
    rig.hint(&task, 0).await;
    let report = rig.until_status(task.id, TaskStatus::Running).await;
    assert_eq!((report.containers[0].health, report.containers[0].has_check), (HealthStatus::Healthy, true));
    assert_eq!((report.containers[1].health, report.containers[1].has_check), (HealthStatus::Unknown, false));
    rig.complete(2, vec![assigned(&task, DesiredStatus::Stopped)]).await;
    rig.until_status(task.id, TaskStatus::Stopped).await;
    assert_eq!(calls(&host, "stop"), ["stop app", "stop db"]);
}

/// A reboot takes cgroups and whatever ran; what is started again has its limits and its namespaces first.
#[tokio::test(start_paused = true)]
async fn what_a_reboot_takes_is_there_before_a_restart() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let mut task = restarting();
    task.memory_mib = Some(64);
    task.pid_mode = Some(PidMode::Task);
    rig.complete(1, vec![run(&task)]).await;
    rig.until_status(task.id, TaskStatus::Running).await;
    let host = rig.crash().await;
    {
        let mut state = host.state();
        state.cgroups.clear();
        state.namespaces.clear();
        let container = state.containers.values_mut().next().expect("it exists");
        (container.state, container.exit_code) = (RunState::Ended, 255);
    }
    let _rig = Rig::on(&host);
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while host.state().containers.values().all(|c| (c.runs, c.state) != (2, RunState::Running)) {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let state = host.state();
    assert!(state.cgroups.contains(&task.id) && state.namespaces.contains(&task.id));
}

/// The start of what holds the namespaces is not that of the container: neither is given up for it.
#[tokio::test(start_paused = true)]
async fn a_restart_waits_for_shared_namespaces_that_fail_for_a_while() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let mut task = restarting();
    task.containers.push(fixtures::container("main", &[]));
    task.pid_mode = Some(PidMode::Task);
    rig.complete(1, vec![run(&task)]).await;
    rig.until_status(task.id, TaskStatus::Running).await;
    let text = || "no answer".to_owned();
    let failures = vec![Failure::TimedOut(text()), Failure::Unknown(text()), Failure::Passing(text())];
    host.state().script.insert("share", failures);
    rig.exit(&task, 0, 1).await;
    let again = |r: &TaskReport| r.containers[0].reason.as_deref().is_some_and(|why| why.starts_with("Restarts: 1;"));
    rig.until("the restart", |o| o.get(&task.id).is_some_and(|r| again(r))).await;
    assert_eq!((calls(&host, "share").len(), calls(&host, "start c").len()), (5, 2), "{:?}", host.state().calls);
    let runs: Vec<_> = host.state().containers.values().map(|c| (c.state, c.runs)).collect();
    assert_eq!(runs, [(RunState::Running, 2), (RunState::Running, 1)], "{:?}", host.state().calls);
}

#[tokio::test(start_paused = true)]
async fn a_task_waits_for_room_on_the_disk_and_not_for_ever() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let full = || Failure::NoSpace("3 of 100 MiB free".into());
    host.state().script.insert("pull", vec![full(), full(), full(), full(), full(), full(), full()]);
    let mut task = spec(&[("c", &[])]);
    task.containers[0].image = "elsewhere".into();
    host.pull_gate.add_permits(1);
    rig.complete(1, vec![run(&task)]).await;
    let wait = "container `c`: disk space for its image: 3 of 100 MiB free";
    rig.until("the wait", |o| o.get(&task.id).is_some_and(|r| r.waiting_for.as_deref() == Some(wait))).await;
    rig.until_status(task.id, TaskStatus::Running).await;
    assert_eq!(calls(&host, "pull").len(), 8, "more often than what fails by itself is tried");

    // So does what it needs beside its containers.
    host.state().script.insert("interface", vec![full(); 12]);
    let wired = awsvpc(&["c"]);
    rig.complete(2, vec![run(&task), run(&wired)]).await;
    rig.until_status(wired.id, TaskStatus::Running).await;
    assert_eq!(calls(&host, "interface").len(), 13);

    host.state().script.insert("create", vec![full(); 1000]);
    let other = spec(&[("c", &[])]);
    let began = tokio::time::Instant::now();
    rig.complete(3, vec![run(&task), run(&wired), run(&other)]).await;
    let report = rig.until_status(other.id, TaskStatus::Stopped).await;
    let reason = report.containers[0].reason.clone().expect("a reason");
    assert!(reason.starts_with("CannotCreateContainerError: 3 of 100 MiB free; it waited 60"), "{reason}");
    let waited = began.elapsed();
    assert!((Duration::from_secs(600)..Duration::from_secs(620)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_short_disk_ends_what_wrote_too_much_and_removes_what_is_kept() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let (over, mut greedy) = (spec(&[("c", &[])]), spec(&[("c", &[])]));
    greedy.ephemeral_storage_mib = Some(1024);
    rig.complete(1, vec![run(&over), run(&greedy)]).await;
    rig.until_status(over.id, TaskStatus::Running).await;
    rig.until_status(greedy.id, TaskStatus::Running).await;
    rig.exit(&over, 0, 0).await;
    rig.until_status(over.id, TaskStatus::Stopped).await;
    assert_eq!(calls(&host, "remove").len(), 0, "it is kept to be looked at");
    rig.hints.send(Hint::RemainsGo([over.id, greedy.id].into())).await.expect("the engine runs");
    rig.hints.send(Hint::RemainsGo(BTreeSet::new())).await.expect("the engine runs");
    rig.hints.send(Hint::Written { task: greedy.id, mib: 1024 }).await.expect("the engine runs");
    rig.hints.send(Hint::Written { task: greedy.id, mib: 1025 }).await.expect("the engine runs");
    let report = rig.until_status(greedy.id, TaskStatus::Stopped).await;
    let stop = report.stop.expect("a reason");
    assert_eq!(stop.code, Some(StopCode::EssentialContainerExited));
    assert!(stop.reason.contains("have written 1025 MiB, and its ephemeralStorage is 1024 MiB"), "{}", stop.reason);
    assert_eq!(calls(&host, "remove").len(), 1);
}

/// An assignment whose answer nobody waits for.
async fn tell(rig: &Rig, generation: u64, tasks: Vec<AssignedTask>) {
    let assignment = Assignment::Complete { generation: Generation(generation), tasks };
    let (done, _answer) = oneshot::channel();
    rig.desired.send(DesiredUpdate { assignment, refused: vec![], done }).await.expect("the engine runs");
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_is_stopped_while_its_stop_for_its_health_waits_for_a_disk_that_hangs() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let mut task = restarting();
    task.containers[0].lifecycle.restart.as_mut().expect("it has one").when_unhealthy = true;
    rig.complete(1, vec![run(&task)]).await;
    rig.until_status(task.id, TaskStatus::Running).await;
    host.state().hangs = Some(|changes| changes.records.iter().any(|r| r.containers[0].restarts.unhealthy));
    rig.change(&task, 0, |c| c.health = Some(HealthStatus::Unhealthy));
    rig.hint(&task, 0).await;
    let doing = |status: status::EngineStatus| status.tasks[0].waiting.iter().any(|what| what.contains("its stop"));
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !doing(rig.status().await) {
        assert!(tokio::time::Instant::now() < deadline, "{:#?}", rig.status().await);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tell(&rig, 2, vec![assigned(&task, DesiredStatus::Stopped)]).await;
    until("the stop", || !calls(&host, "stop").is_empty()).await;
    host.state().hangs = None;
    let report = rig.until_status(task.id, TaskStatus::Stopped).await;
    assert_eq!((report.containers[0].exit_code, report.containers[0].reason.as_deref()), (Some(143), None));
    assert_eq!(calls(&host, "stop").len(), 1, "the other stop is not wanted any more");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_waited_for_a_disk_that_hangs_is_not_made_once_its_task_is_to_stop() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let task = spec(&[("c", &[])]);
    let starting = |changes: &crate::ledger::Changes| {
        changes.records.iter().any(|r| matches!(r.containers[0].phase, Phase::Starting { .. }))
    };
    host.state().hangs = Some(starting);
    rig.complete(1, vec![run(&task)]).await;
    until("the creation", || !calls(&host, "create").is_empty()).await;
    // It is in the order of assignments, which are taken in while the disk hangs.
    tell(&rig, 2, vec![assigned(&task, DesiredStatus::Stopped)]).await;
    while rig.status().await.generation < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    host.state().hangs = None;
    rig.until_status(task.id, TaskStatus::Stopped).await;
    assert_eq!(calls(&host, "start"), [] as [&str; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_a_task_had_is_returned_once_its_end_is_durable_and_its_end_is_told_before() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let wired = awsvpc(&["web"]);
    let bound = spec(&[("web", &[port(80, HostPort::Fixed(20_980), Protocol::Tcp)])]);
    rig.complete(1, vec![run(&wired), run(&bound)]).await;
    rig.until_status(wired.id, TaskStatus::Running).await;
    rig.until_status(bound.id, TaskStatus::Running).await;
    host.state().disk_full = true;
    rig.exit(&wired, 0, 0).await;
    rig.exit(&bound, 0, 0).await;
    rig.until_status(bound.id, TaskStatus::Stopped).await;
    let report = rig.until_status(wired.id, TaskStatus::Stopped).await;
    assert!(report.eni.as_ref().is_some_and(|eni| eni.attached) && report.stopped_at.is_some(), "{report:?}");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(host.state().interfaces.contains_key(&wired.id), "after a crash the task would take it for its own");
    assert_eq!(rig.status().await.ports_claimed, 1);
    host.state().disk_full = false;
    rig.until("its interface is returned", |o| o[&wired.id].eni.as_ref().is_some_and(|eni| !eni.attached)).await;
    assert!(host.state().interfaces.is_empty());
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while rig.status().await.ports_claimed > 0 {
        assert!(tokio::time::Instant::now() < deadline, "{:#?}", rig.status().await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_never_reached_a_registry_is_no_try_of_a_pull() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let full = || Failure::NoSpace("3 of 100 MiB free".into());
    let refused = || Failure::Passing("connection refused".into());
    let elsewhere = |name: &str| {
        let mut task = spec(&[(name, &[])]);
        task.containers[0].image = name.into();
        task
    };
    host.pull_gate.add_permits(1);
    let task = elsewhere("a");
    host.state().script.insert("pull", [vec![full(); 5], vec![refused(); 4]].concat());
    rig.complete(1, vec![run(&task)]).await;
    rig.until_status(task.id, TaskStatus::Running).await;
    assert_eq!(calls(&host, "pull").len(), 10);
    let other = elsewhere("b");
    host.state().script.insert("pull", [vec![full(); 2], vec![refused(); 5]].concat());
    rig.complete(2, vec![run(&task), run(&other)]).await;
    rig.until_status(other.id, TaskStatus::Stopped).await;
    assert_eq!(calls(&host, "pull").len(), 17, "five that reached it");
}
