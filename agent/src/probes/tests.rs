//! Probes of this process's own network.

use super::*;
use crate::metadata::tests::{FakeEngine, seen, view};
use longshore_model::NetworkMode;
use std::net::TcpListener;
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

/// Enters namespaces, so it needs root, as the agent does.
#[tokio::test(start_paused = true)]
async fn health_follows_the_answers_and_ends_with_the_run() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("bound").port();
    let mut view = view(NetworkMode::Bridge);
    let mut spec = (**view.spec.as_ref().expect("it has one")).clone();
    spec.containers[0].docker_labels = [("longshore.health.tcp".to_owned(), port.to_string())].into();
    let (task, container) = (spec.id, spec.containers[0].name.clone());
    view.spec = Some(Arc::new(spec));
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
