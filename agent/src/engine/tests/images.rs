//! When images are pulled.

use super::fake::FakeHost;
use super::fixtures::container;
use crate::config::PullBehavior;
use crate::engine::drivers::CredentialsOf;
use crate::engine::images::{Keeper, behavior_of, credentials_of};
use longshore_model::{ContainerName, TaskId};
use longshore_plan::Failure;
use std::sync::Arc;
use std::time::Duration;

fn keeper(host: &Arc<FakeHost>, behavior: PullBehavior) -> Keeper {
    Keeper::new(host.clone(), host.clone(), behavior)
}

fn pulls(host: &FakeHost) -> usize {
    super::calls(host, "pull").len()
}

#[tokio::test(start_paused = true)]
async fn one_pull_for_many_who_wait() {
    let host = FakeHost::new();
    let keeper = keeper(&host, PullBehavior::PreferCached);
    let waiters: Vec<_> = (0..20)
        .map(|_| {
            let keeper = keeper.clone();
            tokio::spawn(async move { keeper.get("big", None, None).await })
        })
        .collect();
    while keeper.progress("big").is_none() {
        tokio::task::yield_now().await;
    }
    host.pull_gate.add_permits(1);
    for waiter in waiters {
        assert!(waiter.await.expect("it ends").is_ok());
    }
    assert_eq!(pulls(&host), 1);
    assert_eq!(keeper.progress("big"), None);
}

#[tokio::test(start_paused = true)]
async fn a_pull_ends_with_its_last_waiter() {
    let host = FakeHost::new();
    let keeper = keeper(&host, PullBehavior::PreferCached);
    let waiter = tokio::spawn({
        let keeper = keeper.clone();
        async move { keeper.get("big", None, None).await }
    });
    while pulls(&host) == 0 {
        tokio::task::yield_now().await;
    }
    waiter.abort();
    let _ = waiter.await;
    // Whoever comes next begins anew.
    host.pull_gate.add_permits(1);
    assert!(keeper.get("big", None, None).await.is_ok());
    assert_eq!(pulls(&host), 2);
}

#[tokio::test(start_paused = true)]
async fn behaviours_are_those_of_ecs() {
    // Behaviour, whether the pull fails, pulls for two uses half a minute apart, whether the first use succeeds.
    let cases = [
        (PullBehavior::PreferCached, false, 0, true),
        (PullBehavior::PreferCached, true, 0, true),
        (PullBehavior::Default, false, 2, true),
        (PullBehavior::Default, true, 2, true),
        (PullBehavior::Always, false, 2, true),
        (PullBehavior::Always, true, 2, false),
        (PullBehavior::Once, false, 1, true),
        (PullBehavior::Once, true, 2, false),
    ];
    for (behavior, fails, expected, succeeds) in cases {
        let host = FakeHost::new();
        host.pull_gate.add_permits(10);
        if fails {
            let failure = Failure::Passing("no route to host".into());
            host.state().script.insert("pull", vec![failure.clone(), failure]);
        }
        let keeper = keeper(&host, behavior);
        assert_eq!(keeper.get("busybox", None, None).await.is_ok(), succeeds, "{behavior:?}, failing: {fails}");
        tokio::time::advance(Duration::from_secs(30)).await;
        let _ = keeper.get("busybox", None, None).await;
        assert_eq!(pulls(&host), expected, "{behavior:?}, failing: {fails}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_seen_is_not_asked_for_again_unless_it_is_missing() {
    let host = FakeHost::new();
    let keeper = keeper(&host, PullBehavior::PreferCached);
    keeper.get("busybox", None, None).await.expect("it is here");
    host.state().images.clear();
    keeper.get("busybox", None, None).await.expect("it was seen a moment ago");
    keeper.forget("busybox");
    host.pull_gate.add_permits(1);
    keeper.get("busybox", None, None).await.expect("pulled");
    assert_eq!(pulls(&host), 1);
}

#[tokio::test(start_paused = true)]
async fn a_container_may_say_itself_when_its_image_is_pulled() {
    let host = FakeHost::new();
    let keeper = keeper(&host, PullBehavior::PreferCached);
    host.pull_gate.add_permits(10);
    // What is here will do for one, and what was just seen here is not yet pulled for the other.
    for (behavior, pulls_by_then) in
        [(None, 0), (Some(PullBehavior::Always), 1), (None, 1), (Some(PullBehavior::PreferCached), 1)]
    {
        assert!(keeper.get("busybox", behavior, None).await.is_ok(), "{behavior:?}");
        assert_eq!(pulls(&host), pulls_by_then, "{behavior:?}");
    }
    let container = |value: Option<&str>| {
        let mut container = container("c", &[]);
        container.docker_labels.extend(value.map(|v| ("longshore.pull-behavior".to_owned(), v.to_owned())));
        container
    };
    assert_eq!(behavior_of(&container(None)), None);
    for (name, behavior) in [
        ("default", PullBehavior::Default),
        ("always", PullBehavior::Always),
        ("once", PullBehavior::Once),
        ("prefer-cached", PullBehavior::PreferCached),
    ] {
        assert_eq!(behavior_of(&container(Some(name))), Some(behavior));
    }
}

fn of(parameter: &str) -> Option<CredentialsOf> {
    let container = ContainerName::new("c").expect("a name");
    Some(CredentialsOf { task: TaskId::from_bytes([1; 16]), container, parameter: parameter.to_owned() })
}

#[tokio::test(start_paused = true)]
async fn credentials_are_asked_for_when_something_is_pulled_and_for_each_secret_alone() {
    let host = FakeHost::new();
    let cached = keeper(&host, PullBehavior::PreferCached);
    cached.get("busybox", None, of("a")).await.expect("it is here");
    assert!(host.state().calls.is_empty(), "nobody needs credentials for what is here");
    host.pull_gate.add_permits(10);
    for behavior in [PullBehavior::Always, PullBehavior::Once, PullBehavior::Default] {
        host.state().calls.clear();
        let keeper = keeper(&host, behavior);
        for secret in ["a", "a", "b"] {
            keeper.get("busybox", None, of(secret)).await.expect("pulled");
        }
        keeper.get("busybox", None, None).await.expect("pulled");
        let asked = ["ask a", "pull busybox with a", "ask b", "pull busybox with b", "pull busybox"];
        assert_eq!(host.state().calls, asked, "{behavior:?}: one pull is not another one's");
    }
    let mut container = container("c", &[]);
    assert_eq!(credentials_of(TaskId::from_bytes([1; 16]), &container), None);
    container.repository_credentials = Some("a".to_owned());
    assert_eq!(credentials_of(TaskId::from_bytes([1; 16]), &container), of("a"));
}

#[tokio::test(start_paused = true)]
async fn without_credentials_what_is_here_is_no_way_around_them() {
    let host = FakeHost::new();
    let keeper = keeper(&host, PullBehavior::Default);
    host.state().script.insert("ask", vec![Failure::Lasting("there is no such secret".into())]);
    let failure = keeper.get("busybox", None, of("a")).await.expect_err("no credentials");
    assert_eq!(failure, Failure::Lasting("there is no such secret".into()));
    assert_eq!(keeper.progress("busybox"), None);
    // A registry that refuses them is another matter: ECS takes what is here then.
    host.state().script.insert("pull", vec![Failure::Lasting("unauthorized".into())]);
    host.pull_gate.add_permits(1);
    keeper.get("busybox", None, of("a")).await.expect("it is here");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_credentials_holds_up_no_pull() {
    let host = FakeHost::new();
    let waits = Arc::new(Waits);
    let keeper = Keeper::new(host.clone(), waits, PullBehavior::PreferCached);
    let waiters: Vec<_> = (0..10)
        .map(|i| {
            let keeper = keeper.clone();
            tokio::spawn(async move { keeper.get(&format!("private-{i}"), None, of("a")).await })
        })
        .collect();
    while keeper.progress("private-9").as_deref() != Some("waiting for credentials") {
        tokio::task::yield_now().await;
    }
    host.pull_gate.add_permits(1);
    keeper.get("public", None, None).await.expect("pulled");
    waiters.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Nobody can be asked, ever.
struct Waits;

#[async_trait::async_trait]
impl crate::engine::drivers::TaskCredentials for Waits {
    async fn get(
        &self,
        _: &CredentialsOf,
        _: &str,
        waiting: &(dyn Fn(String) + Send + Sync),
    ) -> Result<crate::engine::drivers::OwnCredentials, Failure> {
        waiting("waiting for credentials".into());
        std::future::pending().await
    }
}
