//! What the two say to each other, and what happens when they cannot.

use crate::control::{Control, eventually, patient};
use crate::host::{Host, joined, quick};
use crate::line::{Cable, Line};
use longshore_agent::identity::IdentityHandle;
use longshore_agent::session::{SessionConfig, SessionState};
use longshore_control::agents::AgentsConfig;
use longshore_ecs_api::Operation;
use longshore_model::{DesiredStatus, InstanceId, TaskStatus};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// A control plane and one host that joined it.
async fn pair(config: AgentsConfig) -> (Control, IdentityHandle, InstanceId, tempfile::TempDir) {
    let control = Control::start(config).await;
    let dir = tempfile::tempdir().expect("a directory");
    let identity = joined(&control, dir.path()).await.expect("joined");
    let instance = identity.instance;
    (control, IdentityHandle::new(identity), instance, dir)
}

#[tokio::test]
async fn a_task_goes_its_whole_way() {
    let (control, identity, instance, _dir) = pair(patient()).await;
    let mut host = Host::start(identity, quick());
    host.connected().await;
    eventually("connected", || control.is_connected(instance)).await;
    let task = control.start_task(instance).await;
    host.told(&task, |task| task.is_some_and(|task| task.desired == DesiredStatus::Running && task.may_start)).await;
    host.report(&task, 1, TaskStatus::Running);
    eventually("running", || async { control.task_status(&task).await == "RUNNING" }).await;
    control.ecs(Operation::StopTask, json!({"task": task, "reason": "enough"})).await;
    host.told(&task, |task| task.is_some_and(|task| task.desired == DesiredStatus::Stopped)).await;
    host.report(&task, 2, TaskStatus::Stopping);
    host.report(&task, 3, TaskStatus::Stopped);
    eventually("stopped", || async { control.task_status(&task).await == "STOPPED" }).await;
    // Recorded as stopped, it leaves the assignment, and the agent may forget it.
    host.told(&task, |task| task.is_none()).await;
    let desired = host.desired.lock().expect("not poisoned");
    assert_eq!((desired.completes, desired.refused.len()), (1, 0), "everything after the first was a delta");
}

#[tokio::test]
async fn what_is_not_saved_is_not_acknowledged_and_comes_again() {
    let config = AgentsConfig { apply_timeout: Duration::from_millis(200), ..patient() };
    let (control, identity, instance, _dir) = pair(config).await;
    let mut host = Host::start(identity, quick());
    host.connected().await;
    let before = *host.saved.borrow();
    host.desired.lock().expect("not poisoned").broken = true;
    let task = control.start_task(instance).await;
    assert!(control.is_connected(instance).await);
    eventually("it came again", || async { host.desired.lock().expect("not poisoned").failed > 1 }).await;
    assert_eq!(*host.saved.borrow(), before);
    host.desired.lock().expect("not poisoned").broken = false;
    host.told(&task, |task| task.is_some()).await;
}

#[tokio::test]
async fn exits_during_a_cut_are_reported_after_it() {
    let config = AgentsConfig { lease: Duration::from_millis(900), ..patient() };
    let (control, identity, instance, _dir) = pair(config).await;
    let line = Line::to(control.address).await;
    let session = SessionConfig {
        control: Some(line.address.to_string()),
        connect_timeout: Duration::from_millis(500),
        ..quick()
    };
    let mut host = Host::start(identity, session);
    host.connected().await;
    let task = control.start_task(instance).await;
    host.told(&task, |task| task.is_some()).await;
    host.report(&task, 1, TaskStatus::Running);
    eventually("running", || async { control.task_status(&task).await == "RUNNING" }).await;

    line.cable.send_replace(Cable::Cut);
    // Both sides notice within the lease.
    host.until("cut", |state| !matches!(state, SessionState::Connected { .. })).await;
    eventually("disconnected", || async { !control.is_connected(instance).await }).await;
    assert_eq!(control.task_status(&task).await, "RUNNING");
    host.report(&task, 2, TaskStatus::Stopped);
    line.cable.send_replace(Cable::Whole);
    eventually("reported", || async { control.task_status(&task).await == "STOPPED" }).await;
    eventually("connected", || control.is_connected(instance)).await;
}

#[tokio::test]
async fn lost_acknowledgements_change_nothing() {
    let config = AgentsConfig { lease: Duration::from_millis(900), ..patient() };
    let (control, identity, instance, _dir) = pair(config).await;
    let line = Line::to(control.address).await;
    let mut host = Host::start(identity, SessionConfig { control: Some(line.address.to_string()), ..quick() });
    host.connected().await;
    let task = control.start_task(instance).await;
    host.told(&task, |task| task.is_some()).await;
    // The report arrives; that it did, and everything after, does not.
    line.cable.send_replace(Cable::Deaf);
    host.report(&task, 1, TaskStatus::Running);
    eventually("running", || async { control.task_status(&task).await == "RUNNING" }).await;
    host.until("given up", |state| !matches!(state, SessionState::Connected { .. })).await;
    line.cable.send_replace(Cable::Whole);
    host.connected().await;
    host.report(&task, 2, TaskStatus::Stopped);
    eventually("stopped", || async { control.task_status(&task).await == "STOPPED" }).await;
    assert!(*line.connections.borrow() >= 2);
}

#[tokio::test]
async fn a_restart_of_the_control_plane_is_a_reason_to_reconnect() {
    let (mut control, identity, instance, _dir) = pair(patient()).await;
    let mut host = Host::start(identity, quick());
    host.connected().await;
    let task = control.start_task(instance).await;
    host.told(&task, |task| task.is_some()).await;
    control.stop().await;
    host.until("cut", |state| matches!(state, SessionState::Waiting { .. })).await;
    host.report(&task, 1, TaskStatus::Running);
    control.restart().await;
    host.connected().await;
    eventually("running", || async { control.task_status(&task).await == "RUNNING" }).await;
    assert!(host.desired.lock().expect("not poisoned").tasks.len() == 1, "the task is still wanted");
}

#[tokio::test]
async fn the_newest_session_of_an_identity_wins() {
    let (control, identity, instance, _dir) = pair(patient()).await;
    let patience = SessionConfig { backoff_max: Duration::from_secs(600), ..quick() };
    let mut first = Host::start(identity.clone(), patience);
    first.connected().await;
    let mut second = Host::start(identity, quick());
    second.connected().await;
    let ended = first.until("ended", |state| matches!(state, SessionState::Waiting { .. })).await;
    assert!(format!("{ended:?}").contains("taken over"), "{ended:?}");
    let task = control.start_task(instance).await;
    second.told(&task, |task| task.is_some()).await;
    assert!(first.desired.lock().expect("not poisoned").tasks.is_empty());
}

#[tokio::test]
async fn a_deregistered_host_is_told_so_and_keeps_its_tasks() {
    let (control, identity, instance, _dir) = pair(patient()).await;
    let mut host = Host::start(identity, quick());
    host.connected().await;
    let task = control.start_task(instance).await;
    host.told(&task, |task| task.is_some()).await;
    let request = json!({"containerInstance": instance.to_string(), "force": true});
    control.ecs(Operation::DeregisterContainerInstance, request).await;
    let refused = host.until("refused", |state| matches!(state, SessionState::Refused { .. })).await;
    assert!(format!("{refused:?}").contains("join again"), "{refused:?}");
    assert_eq!(host.desired.lock().expect("not poisoned").tasks.len(), 1, "nobody told it to stop them");
}

#[tokio::test]
async fn an_agent_ahead_of_the_store_is_not_turned_back() {
    let (_control, identity, _, _dir) = pair(patient()).await;
    let mut host = Host::start_at(identity, quick(), longshore_model::Generation(1_000_000));
    let waiting = host.until("refused", |state| matches!(state, SessionState::Waiting { .. })).await;
    assert!(format!("{waiting:?}").contains("older copy"), "{waiting:?}");
    assert_eq!(host.desired.lock().expect("not poisoned").completes, 0);
}

#[tokio::test]
async fn other_facts_begin_a_new_stream() {
    let (control, identity, instance, _dir) = pair(patient()).await;
    let mut host = Host::start(identity, quick());
    host.connected().await;
    let mut facts = crate::host::facts();
    host.facts.send_replace(Some(Arc::new(facts.clone())));
    facts.versions.docker = "99.1".to_owned();
    host.facts.send_replace(Some(Arc::new(facts)));
    let request = || json!({"containerInstances": [instance.to_string()]});
    eventually("the new version is known", || async {
        let answer = control.ecs(Operation::DescribeContainerInstances, request()).await;
        answer["containerInstances"][0]["versionInfo"]["dockerVersion"].as_str().is_some_and(|v| v.contains("99.1"))
    })
    .await;
    host.connected().await;
    host.stop().await;
}

#[tokio::test]
async fn how_the_host_is_is_told_at_once_and_holds_while_the_agent_is_there() {
    use longshore_model::{CheckResult, CheckStatus, InstanceHealth, Timestamp};
    let config = AgentsConfig { lease: Duration::from_millis(900), ..patient() };
    let (control, identity, instance, _dir) = pair(config).await;
    let described = || async {
        let request = json!({"containerInstances": [instance.to_string()], "include": ["CONTAINER_INSTANCE_HEALTH"]});
        let answer = control.ecs(Operation::DescribeContainerInstances, request).await;
        answer["containerInstances"][0]["healthStatus"].clone()
    };
    let runtime = |health: &serde_json::Value| {
        let details = health["details"].as_array().cloned().unwrap_or_default();
        details.into_iter().find(|check| check["type"] == "CONTAINER_RUNTIME").unwrap_or_default()
    };
    let mut host = Host::start(identity, quick());
    host.connected().await;
    eventually("connected", || control.is_connected(instance)).await;
    let health = described().await;
    assert_eq!(
        (&health["overallStatus"], &runtime(&health)["status"]),
        (&json!("INITIALIZING"), &json!("INITIALIZING"))
    );

    let told = |status, reason: Option<&str>, looked, changed| {
        let (check, reason) = ("CONTAINER_RUNTIME".to_owned(), reason.map(str::to_owned));
        let at = Timestamp::from_millis;
        let result = CheckResult { check, status, reason, checked_at: at(looked), changed_at: at(changed) };
        let own = CheckResult { check: "OURS".to_owned(), status: CheckStatus::Ok, reason: None, ..result };
        InstanceHealth { checks: vec![result, own] }
    };
    for (health, status) in [
        (told(CheckStatus::Ok, None, 2_000, 1_000), "OK"),
        (told(CheckStatus::Impaired, Some("it hangs"), 3_000, 3_000), "IMPAIRED"),
    ] {
        let sent = health.checks[0].clone();
        host.health.send_replace(health);
        eventually("told", || async { runtime(&described().await)["status"] == status }).await;
        let health = described().await;
        assert_eq!(health["overallStatus"], status);
        let check = runtime(&health);
        assert_eq!(check["statusReason"].as_str().map(str::to_owned), sent.reason);
        let times = (check["lastUpdated"].as_f64(), check["lastStatusChange"].as_f64());
        assert_eq!(times, (Some(sent.checked_at.as_secs_f64()), Some(sent.changed_at.as_secs_f64())));
        let types: Vec<_> = health["details"].as_array().expect("checks").iter().map(|c| c["type"].clone()).collect();
        assert_eq!(types, ["AGENT_CONNECTIVITY", "CONTAINER_RUNTIME", "OURS"]);
    }

    host.shutdown.cancel();
    eventually("gone", || async { !control.is_connected(instance).await }).await;
    let health = described().await;
    assert_eq!((&health["overallStatus"], health["details"].as_array().map(Vec::len)), (&json!("IMPAIRED"), Some(2)));
    let check = runtime(&health);
    assert_eq!(check["status"], "INSUFFICIENT_DATA");
    assert!(check["statusReason"].as_str().is_some_and(|why| why.contains("not been heard since")), "{check}");
}
