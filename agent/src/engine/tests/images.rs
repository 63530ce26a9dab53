//! When images are pulled, which ones, and tasks that only want them.

use super::fake::FakeHost;
use super::fixtures::{container, spec};
use super::{Rig, calls, run};
use crate::config::PullBehavior;
use crate::engine::drivers::{CredentialsOf, Hold, Plenty, PulledBy, Room};
use crate::engine::execute::{Executor, Job, Limits};
use crate::engine::images::{Keeper, behavior_of, credentials_of};
use longshore_model::{ContainerName, ImageDigest, StopCode, TaskId, TaskSpec, TaskStatus};
use longshore_plan::{Failure, Step};
use std::sync::Arc;
use std::time::Duration;

fn keeper(host: &Arc<FakeHost>, behavior: PullBehavior) -> Keeper {
    Keeper::new(host.clone(), host.clone(), behavior)
}

/// What is said of the pull for a container of this image, with the secret that it names.
fn said(keeper: &Keeper, image: &str, secret: Option<&str>) -> Option<String> {
    let mut container = container("c", &[]);
    container.image = image.to_owned();
    container.repository_credentials = secret.map(str::to_owned);
    keeper.progress(&container)
}

fn pulls(host: &FakeHost) -> usize {
    calls(host, "pull").len()
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
    while said(&keeper, "big", None).is_none() {
        tokio::task::yield_now().await;
    }
    host.pull_gate.add_permits(1);
    for waiter in waiters {
        assert!(waiter.await.expect("it ends").is_ok());
    }
    assert_eq!(pulls(&host), 1);
    assert_eq!(said(&keeper, "big", None), None);
}

#[tokio::test(start_paused = true)]
async fn pulls_that_stall_hold_up_no_other_images() {
    let host = FakeHost::new();
    let keeper = keeper(&host, PullBehavior::PreferCached);
    let stalled: Vec<_> = (0..20)
        .map(|n| {
            let keeper = keeper.clone();
            tokio::spawn(async move { keeper.get(&format!("stalled-{n}"), None, None).await })
        })
        .collect();
    while pulls(&host) < stalled.len() {
        tokio::task::yield_now().await;
    }
    let sound = tokio::spawn({
        let keeper = keeper.clone();
        async move { keeper.get("sound", None, None).await }
    });
    while said(&keeper, "sound", None).is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(calls(&host, "pull").last().map(String::as_str), Some("pull sound"));
    stalled.iter().for_each(tokio::task::JoinHandle::abort);
    for pull in stalled {
        let _ = pull.await;
    }
    host.pull_gate.add_permits(1);
    assert!(sound.await.expect("it ends").is_ok());
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
    assert!(said(&keeper, "big", None).is_some());
    waiter.abort();
    let _ = waiter.await;
    assert_eq!(said(&keeper, "big", None), None);
    // Whoever comes next begins anew.
    host.pull_gate.add_permits(1);
    assert!(keeper.get("big", None, None).await.is_ok());
    assert_eq!(pulls(&host), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_said_of_a_pull_is_not_of_another_of_the_same_image() {
    let host = FakeHost::new();
    let keeper = keeper(&host, PullBehavior::PreferCached);
    let pull = |own: Option<CredentialsOf>| {
        let keeper = keeper.clone();
        tokio::spawn(async move { keeper.get("big", None, own).await })
    };
    let plain = pull(None);
    while pulls(&host) < 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(said(&keeper, "big", Some("a")), None, "nobody pulls it so");
    let own = pull(of("a"));
    while pulls(&host) < 2 {
        tokio::task::yield_now().await;
    }
    own.abort();
    let _ = own.await;
    assert_eq!(said(&keeper, "big", Some("a")), None);
    assert!(said(&keeper, "big", None).is_some(), "it goes on");
    host.pull_gate.add_permits(1);
    assert!(plain.await.expect("it ends").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_registry_may_be_away_for_as_long_as_with_ecs() {
    for (away, status) in [(10, TaskStatus::Running), (20, TaskStatus::Stopped)] {
        let host = FakeHost::new();
        host.pull_gate.add_permits(100);
        let mut rig = Rig::on(&host);
        host.state().script.insert("pull", vec![Failure::Passing("503 Service Unavailable".into()); 50]);
        let mut task = spec(&[("a", &[])]);
        task.containers[0].image = "app:1".into();
        rig.complete(1, vec![run(&task)]).await;
        tokio::time::sleep(Duration::from_secs(away)).await;
        host.state().script.remove("pull");
        rig.until_status(task.id, status).await;
        assert!(pulls(&host) <= 5, "{away} s: {} tries", pulls(&host));
    }
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
async fn a_tag_that_moves_is_noticed_at_once_where_pulls_are_asked_for() {
    for (behavior, expected) in [
        (PullBehavior::PreferCached, 0),
        (PullBehavior::Once, 1),
        (PullBehavior::Default, 3),
        (PullBehavior::Always, 3),
    ] {
        let host = FakeHost::new();
        host.pull_gate.add_permits(10);
        let keeper = keeper(&host, behavior);
        for _ in 0..3 {
            keeper.get("busybox", None, None).await.expect("pulled, or here");
        }
        assert_eq!(pulls(&host), expected, "{behavior:?}");
    }
    // A registry that is away is asked once for all tasks of a burst.
    let host = FakeHost::new();
    host.pull_gate.add_permits(10);
    host.state().script.insert("pull", vec![Failure::Passing("no route to host".into()); 3]);
    let keeper = keeper(&host, PullBehavior::Default);
    for _ in 0..3 {
        keeper.get("busybox", None, None).await.expect("it is here");
    }
    assert_eq!(pulls(&host), 1);
}

#[tokio::test(start_paused = true)]
async fn once_is_once_for_every_agent_of_the_host() {
    let host = FakeHost::new();
    host.pull_gate.add_permits(10);
    let room = Arc::<Plenty>::default();
    for _ in 0..3 {
        // Each agent knows what the one before it left in the room.
        let keeper = keeper(&host, PullBehavior::Once).on(room.clone());
        keeper.get("busybox", None, None).await.expect("pulled, or here");
        assert_eq!(pulls(&host), 1);
    }
    let keeper = keeper(&host, PullBehavior::Once).on(room);
    keeper.get("busybox", None, of("a")).await.expect("pulled");
    assert_eq!(pulls(&host), 2, "another secret is another matter");
    keeper.forget("busybox");
    keeper.get("busybox", None, None).await.expect("pulled");
    assert_eq!(pulls(&host), 3, "it was not here");
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

fn digest(n: u8) -> ImageDigest {
    ImageDigest::new(format!("sha256:{n:064}")).expect("a digest")
}

#[tokio::test(start_paused = true)]
async fn a_digest_is_pulled_once_whatever_the_tag_means_and_its_loss_is_told() {
    let host = FakeHost::new();
    host.pull_gate.add_permits(10);
    let keeper = keeper(&host, PullBehavior::Always);
    let mut pinned = container("c", &[]);
    (pinned.image, pinned.image_digest) = ("reg:5000/app:1".into(), Some(digest(1)));
    let by_digest = format!("reg:5000/app@{}", digest(1));
    let lost = Failure::ImageMissing("CannotPullContainerError: manifest unknown".into());
    host.state().script.insert("pull", vec![lost]);
    let Err(Failure::ImageMissing(text)) = keeper.image_of(TaskId::random(), &pinned).await else {
        panic!("there is none")
    };
    for part in ["CannotPullContainerError: manifest unknown", "`reg:5000/app:1`", digest(1).as_str(), "push it again"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    for _ in 0..2 {
        let image = keeper.image_of(TaskId::random(), &pinned).await.expect("it is pulled, and then it is here");
        assert_eq!(image.digest.as_deref(), Some(digest(1).as_str()));
        tokio::time::advance(Duration::from_secs(30)).await;
    }
    assert_eq!(calls(&host, "pull"), [format!("pull {by_digest}"), format!("pull {by_digest}")]);
    pinned.image_digest = None;
    keeper.image_of(TaskId::random(), &pinned).await.expect("pulled");
    assert_eq!(pulls(&host), 3, "a tag may mean another one by now");
}

/// The digest comes to be known while the agent resolves the tag itself.
#[tokio::test(start_paused = true)]
async fn a_digest_that_becomes_known_in_time_counts_and_is_not_forgotten() {
    let host = FakeHost::new();
    let rig = Rig::on(&host);
    let mut task = spec(&[("a", &[])]);
    task.containers[0].image = "app:1".into();
    rig.complete(1, vec![run(&task)]).await;
    while calls(&host, "pull").is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    task.containers[0].image_digest = Some(digest(1));
    rig.complete(2, vec![run(&task)]).await;
    // Before it is used, this process ends.
    let host = rig.crash().await;
    let mut rig = Rig::on(&host);
    host.pull_gate.add_permits(10);
    let report = rig.until_status(task.id, TaskStatus::Running).await;
    assert_eq!(report.containers[0].image_digest.as_deref(), Some(digest(1).as_str()));
    let pulled = format!("pull app@{}", digest(1));
    assert_eq!(calls(&host, "pull").last(), Some(&pulled));
    // For one that runs it is too late.
    task.containers[0].image_digest = Some(digest(2));
    rig.complete(3, vec![run(&task)]).await;
    rig.hint(&task, 0).await;
    assert_eq!(rig.status().await.tasks.len(), 1);
    assert_eq!(calls(&host, "pull").last(), Some(&pulled));
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_was_being_pulled_gives_way_to_the_digest() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let mut task = spec(&[("a", &[])]);
    task.containers[0].image = "app:1".into();
    rig.complete(1, vec![run(&task)]).await;
    while calls(&host, "pull").is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    task.containers[0].image_digest = Some(digest(1));
    rig.complete(2, vec![run(&task)]).await;
    host.pull_gate.add_permits(10);
    let report = rig.until_status(task.id, TaskStatus::Running).await;
    assert_eq!(report.containers[0].image_digest.as_deref(), Some(digest(1).as_str()));
    assert_eq!(calls(&host, "pull"), ["pull app:1".to_owned(), format!("pull app@{}", digest(1))]);
}

/// Tasks of which only the images are wanted, one for each image.
fn ahead(images: &[&str]) -> Vec<TaskSpec> {
    let of = |image: &&str| {
        let mut task = spec(&[("a", &[])]);
        (task.containers[0].image, task.pull_only) = ((*image).to_owned(), true);
        task
    };
    images.iter().map(of).collect()
}

#[tokio::test(start_paused = true)]
async fn a_task_that_only_pulls_is_over_when_its_images_are_here() {
    let host = FakeHost::new();
    let rig = Rig::on(&host);
    let mut task = spec(&[("a", &[]), ("b", &[])]);
    (task.containers[1].image, task.pull_only) = ("big".into(), true);
    rig.complete(1, vec![run(&task)]).await;
    // A crash in the middle of it changes nothing.
    while calls(&host, "pull").is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let host = rig.crash().await;
    let mut rig = Rig::on(&host);
    host.pull_gate.add_permits(10);
    let report = rig.until_status(task.id, TaskStatus::Stopped).await;
    let stop = report.stop.expect("a reason");
    assert_eq!(stop.code, Some(StopCode::EssentialContainerExited));
    assert!(stop.reason.starts_with("The images are on the host"), "{}", stop.reason);
    assert!(report.containers.iter().all(|c| c.exit_code == Some(0) && c.reason.is_none()), "{:?}", report.containers);
    assert_eq!(report.containers[0].image_digest.as_deref(), Some("sha256:busybox"));
    assert!(report.pull_stopped_at.is_some() && report.started_at.is_none());
    assert_eq!((calls(&host, "create"), calls(&host, "start")), (vec![], vec![]));
    rig.complete(2, vec![]).await;
    rig.until("it is forgotten", |o| o.is_empty()).await;

    // One image that does not come fails the task, and the others are pulled all the same.
    let lost = Failure::ImageMissing("CannotPullContainerError: manifest unknown".into());
    host.state().script.insert("pull", vec![lost]);
    let mut task = spec(&[("a", &[]), ("b", &[])]);
    (task.containers[0].image, task.containers[1].image) = ("gone".into(), "here".into());
    task.pull_only = true;
    rig.complete(3, vec![run(&task)]).await;
    let report = rig.until_status(task.id, TaskStatus::Stopped).await;
    let stop = report.stop.expect("a reason");
    assert_eq!(stop.code, Some(StopCode::TaskFailedToStart));
    assert!(stop.reason.contains("manifest unknown"), "{}", stop.reason);
    assert!(host.state().images.contains("here") || host.state().images.contains("gone"));
    let codes: Vec<_> = report.containers.iter().map(|c| c.exit_code).collect();
    assert!(codes.contains(&Some(0)) && codes.contains(&None), "{codes:?}");
}

#[tokio::test(start_paused = true)]
async fn pulls_ahead_leave_room_for_tasks_and_are_joined_by_them() {
    let host = FakeHost::new();
    let mut rig = Rig::on(&host);
    let many = ahead(&["one", "two", "three", "four", "five", "six"]);
    rig.complete(1, many.iter().map(run).collect()).await;
    while calls(&host, "pull").len() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let begun = calls(&host, "pull");
    assert_eq!(begun.len(), 2, "{begun:?}");
    let said = rig.status().await.tasks.into_iter().filter_map(|task| task.containers[0].pull.clone());
    let turns = said.filter(|text| text == "its turn has not come: images are pulled ahead of tasks 2 at a time");
    assert_eq!(turns.count(), 4);
    // A task that wants what waits for its turn does not wait with it; one that wants what is being pulled joins.
    let other = many.iter().find(|t| !begun.contains(&format!("pull {}", t.containers[0].image))).expect("four wait");
    let same = many.iter().find(|t| begun.contains(&format!("pull {}", t.containers[0].image))).expect("two do not");
    let wants = |image: &TaskSpec| {
        let mut task = spec(&[("a", &[])]);
        task.containers[0].image.clone_from(&image.containers[0].image);
        task
    };
    let tasks = [wants(other), wants(same)];
    rig.complete(2, many.iter().chain(&tasks).map(run).collect()).await;
    while calls(&host, "pull").len() < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(calls(&host, "pull").last(), Some(&format!("pull {}", other.containers[0].image)));
    assert_eq!(calls(&host, "pull").len(), 3);
    host.pull_gate.add_permits(100);
    for task in &tasks {
        rig.until_status(task.id, TaskStatus::Running).await;
    }
    for task in &many {
        rig.until_status(task.id, TaskStatus::Stopped).await;
    }
    let mut pulled = calls(&host, "pull");
    pulled.sort();
    pulled.dedup();
    assert_eq!(pulled.len(), calls(&host, "pull").len(), "one pull for each image: {pulled:?}");
}

/// A disk without room, or one of which nobody says whether there is any.
enum Disk {
    Full,
    Slow,
}

#[async_trait::async_trait]
impl Room for Disk {
    async fn hold(&self, _: &str) -> Hold {
        Box::new(())
    }

    async fn admit(&self) -> Result<(), Failure> {
        match self {
            Self::Full => Err(Failure::NoSpace("full".to_owned())),
            Self::Slow => std::future::pending().await,
        }
    }

    async fn exhausted(&self, text: String) -> Failure {
        Failure::Lasting(text)
    }

    fn pulled(&self, _: &str, _: PulledBy) {}

    fn was_pulled(&self, _: &PulledBy) -> bool {
        false
    }

    fn lost(&self, _: &str) {}
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_asked_before_a_pull_and_not_for_what_is_here() {
    let host = FakeHost::new();
    host.pull_gate.add_permits(10);
    let keeper = keeper(&host, PullBehavior::Default).on(Arc::new(Disk::Full));
    assert!(keeper.get("busybox", Some(PullBehavior::PreferCached), None).await.is_ok());
    assert!(keeper.get("busybox", None, None).await.is_ok(), "what is here will do");
    assert_eq!(keeper.get("big", None, None).await, Err(Failure::NoSpace("full".to_owned())));
    assert_eq!(pulls(&host), 0);
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
        let (of_a, of_b) = (["ask a", "pull busybox with a"], ["ask b", "pull busybox with b"]);
        let times = if behavior == PullBehavior::Once { 1 } else { 2 };
        let asked = [of_a.repeat(times), of_b.to_vec(), vec!["pull busybox"]].concat();
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
    assert_eq!(said(&keeper, "busybox", None), None);
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
    while said(&keeper, "private-9", Some("a")).as_deref() != Some("waiting for credentials") {
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

#[tokio::test(start_paused = true)]
async fn only_what_waits_for_its_turn_is_said_to() {
    let host = FakeHost::new();
    let images = keeper(&host, PullBehavior::PreferCached).on(Arc::new(Disk::Slow));
    let executor = Executor::new(host.drivers(), images, &Limits::default());
    let tasks = ahead(&["one", "two", "three"]);
    let jobs: Vec<_> = tasks
        .iter()
        .map(|task| {
            let job = Job {
                task: task.id,
                step: Step::Pull(0),
                container: Some(task.containers[0].name.clone()),
                spec: Some(Arc::new(task.clone())),
                create: None,
                again: false,
            };
            let executor = executor.clone();
            tokio::spawn(async move { executor.run(job).await })
        })
        .collect();
    let said = || tasks.iter().map(|task| executor.pull_progress(task.id, 0, &task.containers[0])).collect::<Vec<_>>();
    while said().contains(&None) {
        tokio::task::yield_now().await;
    }
    let (space, turn) = ("space is looked for on the disk", "its turn has not come: ");
    let said = said();
    assert_eq!(said.iter().filter(|text| text.as_deref() == Some(space)).count(), 2, "{said:?}");
    let waits = |text: &&Option<String>| text.as_ref().is_some_and(|text| text.starts_with(turn));
    assert_eq!(said.iter().filter(waits).count(), 1, "{said:?}");
    // Who gives up waits no more.
    jobs.iter().for_each(tokio::task::JoinHandle::abort);
    for job in jobs {
        let _ = job.await;
    }
    assert!(tasks.iter().all(|task| executor.pull_progress(task.id, 0, &task.containers[0]).is_none()));
}
