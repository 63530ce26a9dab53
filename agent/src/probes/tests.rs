//! Probes of this process's own network.

use super::*;
use crate::engine::TaskView;
use crate::metadata::tests::{FakeEngine, seen, view};
use longshore_model::NetworkMode;
use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Longest wait, in the test's own (paused) time.
const DEADLINE: Duration = Duration::from_secs(600);

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !is() {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A task that runs, whose first container is probed by TCP at `port`; and its name.
fn probed(port: u16) -> (TaskView, TaskId, ContainerName) {
    let mut view = view(NetworkMode::Bridge);
    let mut spec = (**view.spec.as_ref().expect("it has one")).clone();
    spec.containers[0].docker_labels = [("longshore.health.tcp".to_owned(), port.to_string())].into();
    let (task, container) = (spec.id, spec.containers[0].name.clone());
    view.spec = Some(Arc::new(spec));
    (view, task, container)
}

/// Enters namespaces, so it needs root, as the agent does.
#[tokio::test(start_paused = true)]
async fn a_container_is_not_ill_because_its_engine_is() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let (view, task, _) = probed(listener.local_addr().expect("bound").port());
    let engine = Arc::new(FakeEngine::default());
    engine.set("main-id", Some(seen(None)));
    engine.ill.store(true, Ordering::Relaxed);
    let (_views, views) = watch::channel(TaskViews::from([(task, Arc::new(view))]));
    let (hints_in, _hints) = mpsc::channel(64);
    let verdicts = Verdicts::default();
    let (shutdown, looks) = (CancellationToken::new(), engine.clone());
    let prober = tokio::spawn(Prober::new(views, engine.clone(), hints_in, verdicts.clone()).run(shutdown.clone()));
    let health = || verdicts.of("main-id");
    let tried = |times: usize| {
        let by_then = looks.asked.load(Ordering::Relaxed) + times;
        let looks = looks.clone();
        move || looks.asked.load(Ordering::Relaxed) >= by_then
    };

    // As many tries as would make it ill many times over, while the engine does not answer.
    until("tries", tried(200)).await;
    assert_eq!(health(), Some(HealthStatus::Unknown));
    // The same while it says that the container has no process.
    engine.ill.store(false, Ordering::Relaxed);
    engine.set("main-id", Some(crate::metadata::Seen { pid: None, ..seen(None) }));
    until("tries", tried(200)).await;
    assert_eq!(health(), Some(HealthStatus::Unknown));
    engine.set("main-id", Some(this_process()));
    until("health", || health() == Some(HealthStatus::Healthy)).await;
    shutdown.cancel();
    prober.await.expect("it ends well");
}

/// Enters namespaces, so it needs root, as the agent does.
#[tokio::test(start_paused = true)]
async fn health_follows_the_answers_and_ends_with_the_run() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let (mut view, task, container) = probed(listener.local_addr().expect("bound").port());
    let engine = Arc::new(FakeEngine::default());
    engine.set("main-id", Some(this_process()));
    let (views_in, views) = watch::channel(TaskViews::from([(task, Arc::new(view.clone()))]));
    let (hints_in, mut hints) = mpsc::channel(64);
    let verdicts = Verdicts::default();
    let shutdown = CancellationToken::new();
    let prober = tokio::spawn(Prober::new(views, engine, hints_in, verdicts.clone()).run(shutdown.clone()));
    let health = || verdicts.of("main-id");

    until("health", || health() == Some(HealthStatus::Healthy)).await;
    let told = hints.recv().await;
    assert!(matches!(told, Some(Hint::Container { task: t, container: c }) if t == task && c == container));
    drop(listener);
    until("no health", || health() == Some(HealthStatus::Unhealthy)).await;

    view.record.containers[0].phase = Phase::Waiting;
    views_in.send_replace(TaskViews::from([(task, Arc::new(view))]));
    until("no verdict", || health().is_none()).await;
    shutdown.cancel();
    prober.await.expect("it ends well");
}

fn this_process() -> crate::metadata::Seen {
    crate::metadata::Seen { pid: Some(std::process::id()), ..seen(None) }
}
