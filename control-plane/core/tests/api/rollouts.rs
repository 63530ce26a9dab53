//! Services whose parts come at once, fail in part, or come back.

use crate::fleet::{Fleet, healthy, messages, stable};
use crate::world::until;
use longshore_ecs_api::Operation as Op;
use longshore_model::{DesiredStatus, DiskStatus, StopCode, StopInfo, TaskId, TaskStatus};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What the PRIMARY deployment runs.
fn primary(service: &Value) -> String {
    let definition = service["deployments"][0]["taskDefinition"].as_str().unwrap();
    definition.rsplit('/').next().unwrap().to_owned()
}

#[tokio::test]
async fn updates_at_the_same_time_all_hold() {
    for scaled_first in [false, true] {
        let mut fleet = Fleet::new(1).await;
        fleet.world.definition("one", json!({})).await;
        fleet.world.definition("two", json!({})).await;
        let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 1});
        fleet.world.ok(Op::CreateService, request).await;
        // Each of the two sees the service as it was before the other.
        let deploy = json!({"service": "web", "taskDefinition": "two", "desiredCount": 2,
            "deploymentConfiguration": {"maximumPercent": 150}});
        let scale = json!({"service": "web", "desiredCount": 5,
            "deploymentConfiguration": {"minimumHealthyPercent": 50}});
        let [first, second] = if scaled_first { [scale, deploy] } else { [deploy, scale] };
        let world = &fleet.world;
        tokio::join!(world.ok(Op::UpdateService, first), world.ok(Op::UpdateService, second));
        let service = fleet.service("web").await;
        assert_eq!(primary(&service), "two:1", "{service:#}");
        let desired = if scaled_first { 2 } else { 5 };
        assert_eq!(service["desiredCount"], desired);
        let configuration = &service["deploymentConfiguration"];
        let percents = (&configuration["minimumHealthyPercent"], &configuration["maximumPercent"]);
        assert_eq!(percents, (&json!(50), &json!(150)));
        fleet.until("it is stable", healthy, stable(desired)).await;
    }
}

/// How many tasks of the service are to run on each host, sorted.
fn spread(fleet: &Fleet) -> Vec<usize> {
    let on = |agent: &crate::world::Agent| {
        agent.assigned().values().filter(|task| task.desired == DesiredStatus::Running).count()
    };
    let mut counts: Vec<usize> = fleet.agents.iter().map(on).collect();
    counts.sort_unstable();
    counts
}

#[tokio::test]
async fn an_update_is_as_even_as_a_first_start_wherever_its_forerunner_was() {
    let mut fleet = Fleet::new(1).await;
    fleet.world.definition("one", json!({"memory": 64})).await;
    let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 4});
    fleet.world.ok(Op::CreateService, request).await;
    fleet.until("it is stable", healthy, stable(4)).await;
    // Another host comes: everything is on the first.
    let facts = crate::world::facts(2048, 2048);
    let second = fleet.world.host("default", facts).await;
    fleet.agents.push(second);
    for _ in 0..2 {
        fleet.world.ok(Op::UpdateService, json!({"service": "web", "forceNewDeployment": true})).await;
        fleet.until("it is stable", healthy, stable(4)).await;
        assert_eq!(spread(&fleet), [2, 2]);
    }
}

/// What tasks were told of their image when they were seen first, by who started them.
type Told = BTreeMap<TaskId, (String, Option<String>)>;

impl Fleet {
    /// Tasks start and stop as they are told, with the image that they are told, or else the one that
    /// `image` says for their deployment, or else `broken`, which fails.
    async fn pull(&mut self, told: &mut Told, image: impl Fn(&str) -> Option<String>, broken: &str) {
        for agent in &mut self.agents {
            for (id, task) in agent.assigned() {
                let snapshot = self.world.core.snapshot();
                let by = snapshot.task(id).unwrap().started_by.clone().unwrap().to_string();
                let given = task.spec.containers[0].image_digest.as_ref().map(ToString::to_string);
                let first = told.entry(id).or_insert_with(|| (by.clone(), given.clone())).1.clone();
                let digest = first.or_else(|| image(&by));
                let fails = digest.as_deref().is_none_or(|digest| digest == broken);
                let now = match task.desired {
                    DesiredStatus::Running if !fails => TaskStatus::Running,
                    DesiredStatus::Running | DesiredStatus::Stopped => TaskStatus::Stopped,
                };
                if self.said.get(&id) == Some(&now) {
                    continue;
                }
                let mut report = agent.report(id, now);
                report.containers[0].runtime_id = Some("c0ffee".to_owned());
                report.containers[0].image_digest = Some(digest.unwrap_or_else(|| broken.to_owned()));
                if fails && task.desired == DesiredStatus::Running {
                    (report.started_at, report.execution_stopped_at) = (None, None);
                    let code = Some(StopCode::TaskFailedToStart);
                    report.stop = Some(StopInfo { code, reason: "CannotStartContainerError: none".to_owned() });
                }
                agent.say(vec![report]).await;
                self.said.insert(id, now);
            }
        }
    }
}

#[tokio::test]
async fn a_rollback_runs_the_images_that_ran_before_whatever_their_tags_are_now() {
    let [good, bad] = [1, 2].map(|n| format!("sha256:{n:064x}"));
    let mut fleet = Fleet::new(1).await;
    fleet.world.definition("web", json!({"image": "reg:5000/app:latest"})).await;
    // What ran is gone before what comes is there, so that nothing but the revision remembers it.
    let configuration = json!({"minimumHealthyPercent": 0, "maximumPercent": 100,
        "deploymentCircuitBreaker": {"enable": true, "rollback": true}});
    let request = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 2,
        "deploymentConfiguration": configuration});
    let made = fleet.world.ok(Op::CreateService, request).await;
    let first = made["service"]["deployments"][0]["id"].as_str().unwrap().to_owned();
    let mut told = Told::new();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let mut forced = String::new();
    let service = loop {
        fleet.pull(&mut told, |by| (by == first).then(|| good.clone()), &bad).await;
        let service = fleet.service("web").await;
        let is_stable = stable(2)(&service);
        if is_stable && forced.is_empty() {
            // The tag means the other image now.
            let update = json!({"service": "web", "forceNewDeployment": true});
            let update = fleet.world.ok(Op::UpdateService, update).await;
            forced = update["service"]["deployments"][0]["id"].as_str().unwrap().to_owned();
        } else if is_stable && service["deployments"][0]["id"] != forced.as_str() {
            break service;
        }
        // Pauses after failures pass.
        fleet.world.clock.advance(Duration::from_secs(1));
        assert!(tokio::time::Instant::now() < deadline, "never rolled back: {service:#} {told:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let back = service["deployments"][0]["id"].as_str().unwrap();
    assert!(back != first && back != forced, "{service:#}");
    let of = |id: &str| told.values().filter(|(by, _)| by == id).map(|(_, told)| told.clone()).collect::<Vec<_>>();
    assert!(of(&forced).contains(&None), "the forced one resolves the tag anew: {told:?}");
    assert_eq!(of(back), [Some(good.clone()), Some(good)]);
}

#[tokio::test]
async fn a_revision_that_ran_before_is_gone_back_to_with_its_images() {
    let [good, bad] = [1, 2].map(|n| format!("sha256:{n:064x}"));
    let mut fleet = Fleet::new(1).await;
    for family in ["web", "other"] {
        fleet.world.definition(family, json!({"image": "reg:5000/app:latest"})).await;
    }
    let configuration = json!({"minimumHealthyPercent": 0, "maximumPercent": 100});
    let request = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 2,
        "deploymentConfiguration": configuration});
    let mut by = vec![fleet.world.ok(Op::CreateService, request).await["service"]["deployments"][0]["id"].clone()];
    let mut told = Told::new();
    let mut revisions = Vec::new();
    // What ran is replaced by what the tag means by then, and that by another definition; then back, and there again.
    let update = |changes: Value| {
        let mut request = json!({"service": "web"});
        request.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        request
    };
    for step in 0..5 {
        let first = by[0].as_str().unwrap().to_owned();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        let service = loop {
            let image = |by: &str| Some(if by == first { good.clone() } else { bad.clone() });
            fleet.pull(&mut told, image, "none").await;
            let service = fleet.service("web").await;
            if stable(2)(&service) && service["deployments"][0]["id"] == by[step] {
                break service;
            }
            assert!(tokio::time::Instant::now() < deadline, "never stable: {service:#} {told:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        revisions.push(service["currentServiceRevisions"][0]["arn"].clone());
        let next = match step {
            0 => json!({"forceNewDeployment": true}),
            1 => json!({"taskDefinition": "other"}),
            2 => {
                // Nothing but the service remembers it: its tasks are forgotten, its definition is nobody's any more.
                fleet.world.ok(Op::DeregisterTaskDefinition, json!({"taskDefinition": "web:1"})).await;
                fleet.world = fleet.world.reopen_with(crate::fleet::config()).await;
                for agent in &mut fleet.agents {
                    agent.move_to(&fleet.world.core).await;
                }
                json!({"taskDefinition": revisions[0]})
            }
            3 => json!({"taskDefinition": revisions[1]}),
            _ => break,
        };
        let updated = fleet.world.ok(Op::UpdateService, update(next)).await;
        by.push(updated["service"]["deployments"][0]["id"].clone());
    }
    assert_eq!((&revisions[3], &revisions[4]), (&revisions[0], &revisions[1]), "revisions come back as they were");
    let given = |nth: usize| -> Vec<Option<String>> {
        told.values().filter(|(id, _)| *id == by[nth].as_str().unwrap()).map(|(_, told)| told.clone()).collect()
    };
    assert!(given(0).contains(&None) && given(1).contains(&None), "tags are resolved once for each: {told:?}");
    assert_eq!(given(3), [Some(good.clone()), Some(good)]);
    assert_eq!(given(4), [Some(bad.clone()), Some(bad)]);
    let listed = fleet.world.ok(Op::ListServiceDeployments, json!({"service": "web"})).await;
    let targets: Vec<_> = listed["serviceDeployments"].as_array().unwrap().iter().rev().collect();
    let expected = [0, 1, 2, 0, 1].map(|nth: usize| &revisions[nth]);
    assert_eq!(targets.iter().map(|d| &d["targetServiceRevisionArn"]).collect::<Vec<_>>(), expected);
    assert!(targets.iter().all(|deployment| deployment["status"] == "SUCCESSFUL"), "{targets:?}");

    // It runs already: nothing to do. What never ran, or is another's, is refused and changes nothing.
    let before = fleet.service("web").await;
    fleet.world.ok(Op::UpdateService, update(json!({"taskDefinition": revisions[1]}))).await;
    let request = json!({"serviceName": "else", "taskDefinition": "other", "desiredCount": 0});
    let other =
        fleet.world.ok(Op::CreateService, request).await["service"]["currentServiceRevisions"][0]["arn"].clone();
    let ours = revisions[0].as_str().unwrap();
    let network = json!({"awsvpcConfiguration": {"subnets": ["subnet-1"]}});
    for (changes, expected) in [
        (json!({"taskDefinition": other}), "is no revision of service web"),
        (json!({"taskDefinition": format!("{ours}9")}), "remembers no service revision"),
        (json!({"taskDefinition": ours, "networkConfiguration": network}), "networkConfiguration cannot be given"),
    ] {
        let refused = fleet.world.err(Op::UpdateService, update(changes)).await;
        assert!(refused.starts_with("InvalidParameterException") && refused.contains(expected), "{refused}");
    }
    assert_eq!(fleet.service("web").await, before);
}

#[tokio::test(start_paused = true)]
async fn a_revision_whose_definition_was_deleted_is_not_gone_back_to_and_says_which() {
    let mut fleet = Fleet::new(1).await;
    for family in ["old", "new"] {
        fleet.world.definition(family, json!({})).await;
    }
    let request = json!({"serviceName": "web", "taskDefinition": "old", "desiredCount": 1});
    fleet.world.ok(Op::CreateService, request).await;
    let first = fleet.until("it is stable", healthy, stable(1)).await["currentServiceRevisions"][0]["arn"].clone();
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "taskDefinition": "new"})).await;
    let before = fleet.until("the new one runs", healthy, stable(1)).await;
    fleet.world.ok(Op::DeregisterTaskDefinition, json!({"taskDefinition": "old:1"})).await;
    fleet.world.ok(Op::DeleteTaskDefinitions, json!({"taskDefinitions": ["old:1"]})).await;
    // Its task is forgotten a while after its end, and it with it.
    let asked = json!({"serviceRevisionArns": [first]});
    let deadline = tokio::time::Instant::now() + Duration::from_secs(300);
    loop {
        fleet.pump(healthy).await;
        fleet.world.clock.advance(Duration::from_secs(600));
        let shown = fleet.world.ok(Op::DescribeServiceRevisions, asked.clone()).await["serviceRevisions"][0].clone();
        assert_eq!(shown["serviceRevisionArn"], first);
        if shown.get("containerImages").is_none() {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "it is still there: {shown:#}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let back = json!({"service": "web", "taskDefinition": first});
    let refused = fleet.world.err(Op::UpdateService, back).await;
    let id = first.as_str().unwrap().rsplit('/').next().unwrap();
    let expected = format!(
        "InvalidParameterException: taskDefinition: old:1 of service revision {id} was deleted; go back to another \
         one, or register it anew."
    );
    assert_eq!(refused, expected);
    assert_eq!(fleet.service("web").await["deployments"], before["deployments"]);
}

#[tokio::test]
async fn a_failed_deployment_says_what_waits_for_it() {
    let mut fleet = Fleet::new(2).await;
    fleet.world.definition("good", json!({})).await;
    fleet.world.definition("bad", json!({})).await;
    let breaker = json!({"deploymentCircuitBreaker": {"enable": true, "rollback": false}});
    let request = json!({"serviceName": "web", "taskDefinition": "good", "desiredCount": 2,
        "deploymentConfiguration": breaker});
    fleet.world.ok(Op::CreateService, request).await;
    fleet.until("it is stable", healthy, stable(2)).await;
    let update = json!({"service": "web", "taskDefinition": "bad"});
    let failed = fleet.world.ok(Op::UpdateService, update).await["service"]["deployments"][0]["id"].clone();
    let clock = Arc::clone(&fleet.world.clock);
    let has_failed = |service: &Value| {
        clock.advance(Duration::from_secs(1));
        service["deployments"][0]["rolloutState"] == "FAILED"
    };
    let service = fleet.until("the breaker opens", |family| family == "bad", has_failed).await;
    let says = |service: &Value| messages(service).iter().any(|message| message.contains("does not start or replace"));
    assert!(!says(&service), "what ran is still there: {service:#}");
    let drain = json!({"containerInstances": [fleet.agents[0].arn], "status": "DRAINING"});
    fleet.world.ok(Op::UpdateContainerInstancesState, drain).await;
    let service = fleet.until("it says that nothing drains", healthy, says).await;
    let expected = format!(
        "(service web) does not start or replace tasks, because (deployment {}) has failed. Update the service, or \
         force a new deployment, to go on.",
        failed.as_str().unwrap()
    );
    assert_eq!(messages(&service).iter().filter(|message| **message == expected).count(), 1, "{service:#}");
    assert_eq!(service["runningCount"], 2);
}

#[tokio::test]
async fn a_daemon_does_not_wait_for_a_host_that_is_lost() {
    let mut fleet = Fleet::new(3).await;
    fleet.world.definition("log", json!({})).await;
    fleet.world.definition("new", json!({})).await;
    let request = json!({"serviceName": "web", "taskDefinition": "log", "schedulingStrategy": "DAEMON"});
    fleet.world.ok(Op::CreateService, request).await;
    fleet.until("it is everywhere", healthy, stable(3)).await;
    let lost = fleet.agents.remove(0);
    lost.disconnect().await;
    fleet.until("it counts the other two", healthy, stable(2)).await;
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "taskDefinition": "new"})).await;
    let service = fleet.until("the update is through", healthy, stable(2)).await;
    assert!(messages(&service).iter().all(|message| !message.contains("unable to place")), "{service:#}");
    // It is one of them again when it is back, and has ended what it had.
    let mut back = lost;
    back.connect(Vec::new()).await;
    fleet.agents.push(back);
    fleet.until("it is on the host that came back", healthy, stable(3)).await;
    assert!(fleet.tasks().iter().all(|(_, family, _)| family == "new"), "{:?}", fleet.tasks());
}

/// The hosts whose daemon is to stop and has not stopped yet. No host ever has two.
fn emptied(fleet: &Fleet) -> Vec<usize> {
    let is_emptied = |host: &usize| {
        let assigned = fleet.agents[*host].assigned();
        assert!(assigned.len() <= 1, "two of a daemon on one host: {assigned:?}");
        assigned.values().any(|task| task.desired == DesiredStatus::Stopped)
    };
    (0..fleet.agents.len()).filter(is_emptied).collect()
}

/// The only task of a host, if that is of the family.
fn only(fleet: &Fleet, host: usize, family: &str) -> Option<TaskId> {
    let assigned = fleet.agents[host].assigned();
    let (id, task) = assigned.first_key_value()?;
    (assigned.len() == 1 && task.spec.family == family).then_some(*id)
}

#[tokio::test]
async fn a_daemons_update_empties_a_host_before_it_starts_there_and_no_more_at_once_than_the_minimum_allows() {
    // Of four hosts that many may be without it.
    for (minimum, at_once) in [(0, 4_usize), (50, 2), (75, 1)] {
        let mut fleet = Fleet::new(4).await;
        fleet.world.definition("old", json!({})).await;
        fleet.world.definition("new", json!({})).await;
        let request = json!({"serviceName": "web", "taskDefinition": "old", "schedulingStrategy": "DAEMON",
            "deploymentConfiguration": {"minimumHealthyPercent": minimum, "maximumPercent": 100}});
        fleet.world.ok(Op::CreateService, request).await;
        fleet.until("it is everywhere", healthy, stable(4)).await;
        fleet.world.ok(Op::UpdateService, json!({"service": "web", "taskDefinition": "new"})).await;
        for done in 0..4 {
            let may_go = at_once.min(4 - done);
            until("as many are emptied as may be", || emptied(&fleet).len() == may_go).await;
            assert_eq!(fleet.service("web").await["runningCount"], 4 - may_go, "{minimum}: {done} are done");
            let hosts = emptied(&fleet);
            assert!(hosts.iter().all(|host| only(&fleet, *host, "old").is_some()), "nothing has begun there");
            let host = hosts[0];
            let old = only(&fleet, host, "old").unwrap();
            fleet.agents[host].is(old, TaskStatus::Stopped).await;
            fleet.said.insert(old, TaskStatus::Stopped);
            until("the new one takes its place", || only(&fleet, host, "new").is_some()).await;
            // It does not run yet, and so no other host has its turn.
            assert_eq!(emptied(&fleet), hosts[1..], "{minimum}: {done} are done");
            let new = only(&fleet, host, "new").unwrap();
            fleet.agents[host].is(new, TaskStatus::Running).await;
            fleet.said.insert(new, TaskStatus::Running);
        }
        fleet.until("it is through", healthy, stable(4)).await;
        assert!((0..4).all(|host| only(&fleet, host, "new").is_some()), "{:?}", fleet.tasks());
    }
}

#[tokio::test]
async fn a_daemon_whose_minimum_lets_no_host_go_says_so_until_it_is_lower() {
    let mut fleet = Fleet::new(2).await;
    fleet.world.definition("old", json!({})).await;
    fleet.world.definition("new", json!({})).await;
    // Of two hosts these are two.
    let request = json!({"serviceName": "web", "taskDefinition": "old", "schedulingStrategy": "DAEMON",
        "deploymentConfiguration": {"minimumHealthyPercent": 51, "maximumPercent": 100}});
    fleet.world.ok(Op::CreateService, request).await;
    fleet.until("it is everywhere", healthy, stable(2)).await;
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "taskDefinition": "new"})).await;
    let expected = "(service web) was unable to stop or start tasks during a deployment because of the service \
                    deployment configuration. Update the minimumHealthyPercent or maximumPercent value and try again.";
    let says = |service: &Value| messages(service).iter().any(|message| message == expected);
    let service = fleet.until("it says so", healthy, says).await;
    assert_eq!(service["deployments"][0]["rolloutState"], "IN_PROGRESS");
    assert!((0..2).all(|host| only(&fleet, host, "old").is_some()) && emptied(&fleet).is_empty());
    let lower = json!({"service": "web", "deploymentConfiguration": {"minimumHealthyPercent": 50}});
    fleet.world.ok(Op::UpdateService, lower).await;
    fleet.until("it is through", healthy, stable(2)).await;
    assert!((0..2).all(|host| only(&fleet, host, "new").is_some()), "{:?}", fleet.tasks());
}

#[tokio::test]
async fn a_service_of_another_cluster_is_not_found_by_its_tail() {
    let mut fleet = Fleet::new(1).await;
    fleet.world.cluster("other").await;
    fleet.world.definition("one", json!({})).await;
    let mut request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 1});
    let ours = fleet.world.ok(Op::CreateService, request.clone()).await["service"]["serviceArn"].clone();
    request["cluster"] = json!("other");
    let theirs = fleet.world.ok(Op::CreateService, request).await["service"]["serviceArn"].clone();
    fleet.until("it is stable", healthy, stable(1)).await;
    let listed = fleet.world.ok(Op::ListTasks, json!({"serviceName": ours})).await;
    assert_eq!(listed["taskArns"].as_array().unwrap().len(), 1);
    for name in [theirs, json!("nothing")] {
        let refused = fleet.world.err(Op::ListTasks, json!({"serviceName": name})).await;
        assert_eq!(refused, "ServiceNotFoundException: Service not found.", "{name}");
    }
}

#[tokio::test]
async fn a_service_moves_though_its_tasks_and_its_hosts_never_rest() {
    let fleet = Fleet::new(1).await;
    fleet.world.definition("one", json!({"memory": 8, "cpu": 1})).await;
    let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 1});
    fleet.world.ok(Op::CreateService, request).await;
    let agent = &fleet.agents[0];
    crate::world::until("it has its task", || agent.assigned().len() == 1).await;
    let task = *agent.assigned().keys().next().unwrap();
    // Each batch has news of the task and of the host.
    let told = Arc::new(AtomicU32::new(1));
    let storm = |_| {
        let (core, told) = (fleet.world.core.clone(), Arc::clone(&told));
        let (instance, session) = (agent.instance, agent.session);
        tokio::spawn(async move {
            loop {
                let n = told.fetch_add(1, Ordering::Relaxed);
                let mut report = crate::world::report(task, n.into(), TaskStatus::Pending);
                report.waiting_for = Some(format!("pulling: {n} bytes"));
                core.agent_reports(instance, session, vec![report]).await.unwrap();
                core.disk_status(instance, session, DiskStatus { free_mib: 100_000 + n, short: None }).await.unwrap();
            }
        })
    };
    let storms: Vec<_> = (0..8).map(storm).collect();
    crate::world::until("the storm is there", || told.load(Ordering::Relaxed) > 100).await;
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "desiredCount": 40})).await;
    let began = told.load(Ordering::Relaxed);
    crate::world::until("it has all its tasks", || agent.assigned().len() == 40).await;
    let news = told.load(Ordering::Relaxed) - began;
    storms.into_iter().for_each(|storm| storm.abort());
    assert!(news < 20_000, "{news} reports until it had moved");
}

#[tokio::test]
async fn a_task_that_took_another_image_before_the_tag_was_resolved_is_replaced() {
    let [pinned, stale] = [1, 2].map(|n| format!("sha256:{n:064x}"));
    let mut fleet = Fleet::new(2).await;
    fleet.world.definition("web", json!({"image": "reg:5000/app:latest"})).await;
    let request = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 2});
    fleet.world.ok(Op::CreateService, request).await;
    // What each task runs: what it was told when it was seen first, or else what its host has under the tag.
    let mut images: BTreeMap<TaskId, String> = BTreeMap::new();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let service = loop {
        for (agent, cached) in fleet.agents.iter().zip([&pinned, &stale]) {
            for (id, task) in agent.assigned() {
                let told = task.spec.containers[0].image_digest.as_ref().map(ToString::to_string);
                images.entry(id).or_insert_with(|| told.unwrap_or_else(|| cached.clone()));
            }
        }
        // Both hosts have an image before either says so.
        for agent in fleet.agents.iter_mut().filter(|_| images.len() > 1) {
            for (id, task) in agent.assigned() {
                let Some(image) = images.get(&id) else { continue };
                let now = match task.desired {
                    DesiredStatus::Running => TaskStatus::Running,
                    DesiredStatus::Stopped => TaskStatus::Stopped,
                };
                if fleet.said.insert(id, now) == Some(now) {
                    continue;
                }
                let mut report = agent.report(id, now);
                report.containers[0].runtime_id = Some("c0ffee".to_owned());
                report.containers[0].image_digest = Some(image.clone());
                agent.say(vec![report]).await;
            }
        }
        let service = fleet.service("web").await;
        if stable(2)(&service) {
            break service;
        }
        assert!(tokio::time::Instant::now() < deadline, "{service:#} {images:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let running: Vec<&String> = fleet.tasks().iter().map(|(id, ..)| &images[id]).collect();
    assert_eq!(running, [&pinned, &pinned]);
    assert_eq!((images.len(), &service["deployments"][0]["failedTasks"]), (3, &json!(0)));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_may_have_neither_more_nor_fewer_tasks_says_so_until_it_may_have_fewer() {
    let expected = "(service web) was unable to stop or start tasks during a deployment because of the service \
                    deployment configuration. Update the minimumHealthyPercent or maximumPercent value and try again.";
    for drains_first in [true, false] {
        let mut fleet = Fleet::new(2).await;
        fleet.world.definition("one", json!({})).await;
        let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 2,
            "deploymentConfiguration": {"minimumHealthyPercent": 100, "maximumPercent": 100}});
        fleet.world.ok(Op::CreateService, request).await;
        let service = fleet.until("it is stable", healthy, stable(2)).await;
        assert_eq!(spread(&fleet), [1, 1]);
        let (tasks, said) = (fleet.tasks(), messages(&service));
        let says = |service: &Value| {
            let new = messages(service).into_iter().filter(|message| !said.contains(message));
            new.collect::<Vec<_>>()
        };
        let drain = json!({"containerInstances": [fleet.agents[0].arn], "status": "DRAINING"});
        let forced = json!({"service": "web", "forceNewDeployment": true});
        let mut changes = [(Op::UpdateContainerInstancesState, drain), (Op::UpdateService, forced)];
        if !drains_first {
            changes.reverse();
        }
        for (op, change) in changes {
            fleet.world.ok(op, change).await;
            fleet.until("it says so", healthy, |service| !says(service).is_empty()).await;
            // Whoever looks at it once more has done so.
            tokio::time::sleep(Duration::from_secs(1)).await;
            fleet.pump(healthy).await;
            let service = fleet.service("web").await;
            assert_eq!(says(&service), [expected], "{}", op.name());
            assert_eq!((fleet.tasks(), &service["runningCount"]), (tasks.clone(), &json!(2)), "{}", op.name());
        }
        let service = fleet.service("web").await;
        let states = [0, 1].map(|nth: usize| &service["deployments"][nth]["rolloutState"]);
        assert_eq!(states, ["IN_PROGRESS", "COMPLETED"], "{service:#}");

        let lower = json!({"service": "web", "deploymentConfiguration": {"minimumHealthyPercent": 50}});
        fleet.world.ok(Op::UpdateService, lower).await;
        let one_at_least = |service: &Value| {
            assert!(service["runningCount"].as_u64() >= Some(1), "{service:#}");
            stable(2)(service)
        };
        fleet.until("it goes through", healthy, one_at_least).await;
        assert_eq!(spread(&fleet), [0, 2]);
        assert!(fleet.tasks().iter().all(|task| !tasks.contains(task)), "{tasks:?}");
    }
}
