//! A container's life against a real engine.

mod support;

use futures::StreamExt;
use longshore_docker::{
    Action, CgroupDriver, CreateError, Docker, DockerError, Hint, InspectedContainer, RemoveError, RunState,
    StartError, Timeouts,
};
use longshore_model::{NetworkBinding, NetworkMode, Protocol, TaskSpec};
use std::time::{Duration, Instant};
use support::{Engine, config, connect, eventually, task};

async fn inspected(docker: &Docker, name: &str) -> InspectedContainer {
    docker.inspect(name).await.expect("the engine answers").expect("the container exists")
}

async fn ended(docker: &Docker, name: &str) -> InspectedContainer {
    eventually("the container ends", || async {
        Some(inspected(docker, name).await).filter(|c| !c.state.has_process() && c.exit.is_some())
    })
    .await
}

/// Creates and starts the task's first container and returns its name.
async fn run(docker: &Docker, task: &TaskSpec, bindings: &[NetworkBinding]) -> String {
    let wanted = config(task, bindings);
    docker.create(&wanted).await.expect("created");
    docker.start(wanted.name()).await.expect("started");
    wanted.name().to_owned()
}

fn tcp(host_port: u16) -> NetworkBinding {
    NetworkBinding { bind_ip: "0.0.0.0".into(), container_port: 80, host_port, protocol: Protocol::Tcp, count: 1 }
}

#[tokio::test]
async fn a_container_lives_and_ends_as_it_is_told() {
    let mut engine = Engine::start(&[]);
    let docker = connect(&engine).await;
    about_the_engine(&docker).await;
    a_life(&docker).await;
    exits_are_told_apart(&docker).await;
    names_and_images_have_kinds_of_their_own(&docker).await;
    bad_commands_are_told_apart(&docker).await;
    ports_are_published_and_conflicts_named(&docker, &mut engine).await;
    stops_are_graceful_then_not(&engine, &docker).await;
    volumes_come_and_go(&docker).await;
    out_of_memory_is_seen(&docker).await;
}

async fn about_the_engine(docker: &Docker) {
    docker.ping().await.expect("it answers");
    let info = docker.info().await.expect("it answers");
    assert!(info.log_drivers.iter().any(|d| d == "json-file"), "{info:?}");
    assert!(info.volume_drivers.iter().any(|d| d == "local"), "{info:?}");
    assert!(info.api_version.starts_with("1."), "{info:?}");
    assert!(matches!(info.cgroup_driver, CgroupDriver::Cgroupfs | CgroupDriver::Systemd), "{info:?}");
    assert!(info.runtimes.iter().any(|r| r == "runc"), "{info:?}");
}

async fn a_life(docker: &Docker) {
    assert_eq!(docker.list().await.expect("it answers"), []);
    let task = task(NetworkMode::None, "exec sleep 1000");
    let wanted = config(&task, &[]);
    let longshore_docker::CreatedContainer { id, warnings } = docker.create(&wanted).await.expect("created");
    assert!(warnings.is_empty(), "{warnings:?}");

    let created = inspected(docker, wanted.name()).await;
    assert_eq!((created.state, created.started_at, created.exit.clone()), (RunState::Created, None, None));
    assert_eq!((created.id.as_str(), created.name.as_str(), created.pid), (id.as_str(), wanted.name(), None));

    docker.start(wanted.name()).await.expect("started");
    docker.start(wanted.name()).await.expect("a second start of the same changes nothing");
    let listed = docker.list().await.expect("it answers");
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].state, listed[0].health), (RunState::Running, None));
    assert_eq!((listed[0].name.as_str(), listed[0].id.as_str()), (wanted.name(), id.as_str()));
    for (key, value) in [
        ("longshore.task", task.id.to_string()),
        ("longshore.container", "main".into()),
        ("longshore.cluster", "prod".into()),
        ("longshore.supervise", "{\"v\":1}".into()),
        ("com.amazonaws.ecs.task-definition-version", "7".into()),
    ] {
        assert_eq!(listed[0].labels.get(key), Some(&value), "{key}");
    }
    let running = inspected(docker, wanted.name()).await;
    assert!(running.started_at.is_some() && running.pid.is_some() && running.exit.is_none(), "{running:?}");
    assert_eq!(running.image_id, listed[0].image_id);

    let error = docker.remove(wanted.name()).await.expect_err("it runs");
    assert!(matches!(error, RemoveError::Running { .. }), "{error:?}");
    docker.kill(wanted.name()).await.expect("killed");
    let over = ended(docker, wanted.name()).await;
    let exit = over.exit.expect("it ended");
    assert_eq!((over.state, exit.code, exit.oom_killed), (RunState::Exited, 137, false));
    assert!(exit.finished_at >= over.started_at);
    docker.kill(wanted.name()).await.expect("nothing to kill is fine");
    docker.stop(wanted.name(), Duration::ZERO).await.expect("nothing to stop is fine");
    docker.remove(wanted.name()).await.expect("removed");
    docker.remove(wanted.name()).await.expect("nothing to remove is fine");
    docker.stop(wanted.name(), Duration::ZERO).await.expect("nobody to stop is fine");
    docker.kill(wanted.name()).await.expect("nobody to kill is fine");
    assert_eq!(docker.inspect(wanted.name()).await.expect("it answers"), None);
}

async fn exits_are_told_apart(docker: &Docker) {
    for (command, code) in [("true", 0), ("exit 3", 3), ("sh -c 'kill -9 $$'; exit $?", 137)] {
        let name = run(docker, &task(NetworkMode::None, command), &[]).await;
        let over = ended(docker, &name).await;
        assert_eq!(over.exit.map(|e| e.code), Some(code), "{command}");
        docker.remove(&name).await.expect("removed");
    }
}

async fn names_and_images_have_kinds_of_their_own(docker: &Docker) {
    let mut task = task(NetworkMode::None, "true");
    let wanted = config(&task, &[]);
    docker.create(&wanted).await.expect("created");
    let error = docker.create(&wanted).await.expect_err("the name is taken");
    assert!(matches!(error, CreateError::NameTaken { .. }), "{error:?}");
    docker.remove(wanted.name()).await.expect("removed");

    task.containers[0].image = "longshore-test/absent:1".into();
    let error = docker.create(&config(&task, &[])).await.expect_err("no such image");
    assert!(matches!(error, CreateError::NoImage { .. }), "{error:?}");
    assert_eq!(
        error.ecs_reason(),
        "CannotCreateContainerError: Error response from daemon: No such image: longshore-test/absent:1"
    );
    task.containers[0].image = support::IMAGE.into();
    task.containers[0].memory_mib = Some(1);
    let error = docker.create(&config(&task, &[])).await.expect_err("less memory than the engine allows");
    assert!(error.ecs_reason().starts_with("CannotCreateContainerError: Error response from daemon: "), "{error:?}");

    let error = docker.start("ls-nobody").await.expect_err("no such container");
    assert!(matches!(error, StartError::NotFound { .. }), "{error:?}");
}

async fn bad_commands_are_told_apart(docker: &Docker) {
    for (command, code) in
        [("nothing-of-that-name", 127), ("/bin/nothing", 127), ("/etc", 126), ("/bin/not-executable", 126)]
    {
        let mut task = task(NetworkMode::None, "");
        task.containers[0].command = Some(vec![command.into()]);
        let file = tempfile::NamedTempFile::new().expect("a file without the x bit");
        if command.ends_with("not-executable") {
            let path = file.path().display().to_string();
            task.volumes.push(longshore_model::VolumeSpec {
                name: "file".into(),
                source: longshore_model::VolumeSource::Host { path },
            });
            task.containers[0].mount_points.push(longshore_model::MountPoint {
                volume: "file".into(),
                container_path: command.into(),
                read_only: true,
            });
        }
        let wanted = config(&task, &[]);
        docker.create(&wanted).await.expect("created");
        let error = docker.start(wanted.name()).await.expect_err("it cannot be executed");
        let StartError::BadCommand { exit_code, .. } = &error else { panic!("{command}: {error:?}") };
        assert_eq!(*exit_code, code, "{command}: {error:?}");
        assert!(error.ecs_reason().starts_with("CannotStartContainerError: Error response from daemon: "), "{error:?}");
        let after = inspected(docker, wanted.name()).await;
        assert_eq!((after.state, after.started_at), (RunState::Created, None), "{command}: {after:?}");
        docker.remove(wanted.name()).await.expect("removed");
    }
}

async fn ports_are_published_and_conflicts_named(docker: &Docker, engine: &mut Engine) {
    let serving = "while true; do echo hello | nc -l -p 80; done";
    let name = run(docker, &task(NetworkMode::Bridge, serving), &[tcp(18080)]).await;
    let running = inspected(docker, &name).await;
    assert_eq!(running.wanted_bindings, [tcp(18080)]);
    assert_eq!(running.bindings, [tcp(18080)]);
    eventually("the port answers", || async {
        let said = engine.inside(&["busybox", "nc", "-w", "1", "127.0.0.1", "18080"]);
        (said.trim() == "hello").then_some(())
    })
    .await;

    // Another container of ours has the port.
    let second = config(&task(NetworkMode::Bridge, "sleep 1000"), &[tcp(18080)]);
    docker.create(&second).await.expect("creating checks no port");
    let error = docker.start(second.name()).await.expect_err("the port is taken");
    assert!(matches!(error, StartError::PortTaken { port: Some(18080), .. }), "{error:?}");
    assert_eq!(inspected(docker, second.name()).await.started_at, None);
    docker.stop(&name, Duration::ZERO).await.expect("stopped");
    docker.start(second.name()).await.expect("the same container starts once the port is free");
    for name in [name.as_str(), second.name()] {
        docker.stop(name, Duration::ZERO).await.expect("stopped");
        docker.remove(name).await.expect("removed");
    }

    // Somebody else on the host has it.
    engine.beside("busybox", &["nc", "-l", "-p", "18081"]);
    eventually("the stranger listens", || async {
        engine.inside(&["ss", "-Hltn", "sport", "=", ":18081"]).contains("18081").then_some(())
    })
    .await;
    let third = config(&task(NetworkMode::Bridge, "sleep 1000"), &[tcp(18081)]);
    docker.create(&third).await.expect("created");
    let error = docker.start(third.name()).await.expect_err("the port is taken");
    assert!(matches!(error, StartError::PortTaken { port: Some(18081), .. }), "{error:?}");
    docker.remove(third.name()).await.expect("removed");
}

/// Waits until the container's shell has set its traps.
async fn listens_to_signals(engine: &Engine, name: &str) {
    eventually("the traps", || async { (engine.docker(&["logs", name]) == "ready").then_some(()) }).await;
}

async fn stops_are_graceful_then_not(engine: &Engine, docker: &Docker) {
    let polite = "trap 'exit 42' TERM; echo ready; while true; do sleep 0.05; done";
    let name = run(docker, &task(NetworkMode::None, polite), &[]).await;
    listens_to_signals(engine, &name).await;
    docker.stop(&name, Duration::from_secs(20)).await.expect("stopped");
    assert_eq!(ended(docker, &name).await.exit.map(|e| e.code), Some(42));
    docker.remove(&name).await.expect("removed");

    let stubborn = "trap '' TERM; echo ready; while true; do sleep 0.05; done";
    let name = run(docker, &task(NetworkMode::None, stubborn), &[]).await;
    listens_to_signals(engine, &name).await;
    let begun = Instant::now();
    docker.stop(&name, Duration::from_millis(900)).await.expect("stopped");
    assert!(begun.elapsed() >= Duration::from_millis(900), "the grace is never shortened: {:?}", begun.elapsed());
    assert_eq!(ended(docker, &name).await.exit.map(|e| e.code), Some(137));
    docker.remove(&name).await.expect("removed");
}

async fn volumes_come_and_go(docker: &Docker) {
    let mut task = task(NetworkMode::None, "echo data > /data/file; exec sleep 1000");
    task.volumes.push(longshore_model::VolumeSpec { name: "data".into(), source: longshore_model::VolumeSource::Task });
    task.containers[0].mount_points.push(longshore_model::MountPoint {
        volume: "data".into(),
        container_path: "/data".into(),
        read_only: false,
    });
    let volume = longshore_docker::volume_name(task.id, "data");
    docker.ensure_volume(task.id, &task.volumes[0]).await.expect("made");
    docker.ensure_volume(task.id, &task.volumes[0]).await.expect("a second time changes nothing");
    let listed = docker.list_volumes().await.expect("it answers");
    assert_eq!((listed.len(), listed[0].name.as_str()), (1, volume.as_str()));
    assert_eq!(listed[0].labels.get("longshore.task"), Some(&task.id.to_string()));

    let name = run(docker, &task, &[]).await;
    let error = docker.remove_volume(&volume).await.expect_err("in use");
    assert!(matches!(error, longshore_docker::VolumeError::InUse { .. }), "{error:?}");
    docker.stop(&name, Duration::ZERO).await.expect("stopped");
    docker.remove(&name).await.expect("removed");
    docker.remove_volume(&volume).await.expect("removed");
    docker.remove_volume(&volume).await.expect("nothing to remove is fine");
    assert_eq!(docker.list_volumes().await.expect("it answers"), []);
}

async fn out_of_memory_is_seen(docker: &Docker) {
    // dd's buffer alone is larger than the limit.
    let mut task = task(NetworkMode::None, "exec dd if=/dev/zero of=/dev/null bs=64M count=1");
    task.containers[0].memory_mib = Some(16);
    let name = run(docker, &task, &[]).await;
    let exit = ended(docker, &name).await.exit.expect("it ended");
    assert_eq!((exit.code, exit.oom_killed), (137, true));
    docker.remove(&name).await.expect("removed");
}

#[tokio::test]
async fn events_wake_and_survive_the_engine() {
    let mut engine = Engine::start(&["--live-restore"]);
    let docker = connect(&engine).await;
    let mut hints = Box::pin(docker.events(None));
    assert_eq!(hints.next().await, Some(Hint::Relist), "the stream begins with a listing");

    let spec = task(NetworkMode::None, "exec sleep 1000");
    let name = run(&docker, &spec, &[]).await;
    for action in [Action::Start] {
        expect(&mut hints, &spec, &name, action).await;
    }

    // The engine dies and comes back; the container ends while it is away.
    engine.kill_daemon();
    let down = within(hints.next()).await;
    assert!(matches!(down, Some(Hint::Down { .. })), "{down:?}");
    let error = docker.ping().await.expect_err("it is away");
    assert!(error.engine_is_away(), "{error:?}");
    engine.start_daemon();
    assert_eq!(within(hints.next()).await, Some(Hint::Relist));
    assert_eq!(docker.list().await.expect("it answers").len(), 1);

    docker.kill(&name).await.expect("killed");
    expect(&mut hints, &spec, &name, Action::Die).await;
    ended(&docker, &name).await;
    docker.remove(&name).await.expect("removed");
    expect(&mut hints, &spec, &name, Action::Destroy).await;

    // A stream opened later hears what happened since.
    let before = inspected_time();
    let spec = task(NetworkMode::None, "true");
    let name = run(&docker, &spec, &[]).await;
    ended(&docker, &name).await;
    let mut late = Box::pin(docker.events(Some(before)));
    assert_eq!(late.next().await, Some(Hint::Relist));
    expect(&mut late, &spec, &name, Action::Die).await;
}

fn inspected_time() -> longshore_model::Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    longshore_model::Timestamp::from_millis(i64::try_from(now.as_millis()).expect("before the end of time"))
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("within 30 s")
}

/// Reads hints until the wanted one; others before it are allowed, since hints may repeat.
async fn expect(hints: &mut (impl futures::Stream<Item = Hint> + Unpin), spec: &TaskSpec, name: &str, action: Action) {
    within(async {
        loop {
            match hints.next().await {
                Some(Hint::Container(hint)) if hint.name == name && hint.action == action => {
                    assert_eq!(hint.task, Some(spec.id));
                    assert_eq!(hint.container.as_ref(), Some(&spec.containers[0].name));
                    return;
                }
                Some(_) => {}
                None => panic!("the stream never ends"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_engine_that_hangs_is_a_timeout_and_not_an_answer() {
    let engine = Engine::start(&[]);
    let limits =
        Timeouts { list: Duration::from_millis(300), start: Duration::from_millis(300), ..Timeouts::default() };
    let docker = Docker::with_timeouts(&engine.endpoint(), limits).expect("the endpoint is well-formed");
    let wanted = config(&task(NetworkMode::None, "sleep 1000"), &[]);
    docker.create(&wanted).await.expect("created");
    engine.signal("STOP");
    let error = docker.list().await.expect_err("it hangs");
    assert!(matches!(error, DockerError::Timeout { .. }) && error.engine_is_away(), "{error:?}");
    let error = docker.start(wanted.name()).await.expect_err("it hangs");
    assert_eq!(error.retry(), longshore_docker::Retry::LookFirst, "the start may still happen: {error:?}");
    assert!(error.ecs_reason().starts_with("DockerTimeoutError: Could not transition to started;"), "{error:?}");
    engine.signal("CONT");
    eventually("the late start happens", || async {
        (inspected(&docker, wanted.name()).await.state == RunState::Running).then_some(())
    })
    .await;
}
