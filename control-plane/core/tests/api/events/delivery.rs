//! Targets: failures, limits, and what is not a webhook.

use super::{Fake, dispatch, numbers, passing, stored};
use crate::world::{Fault, FaultyStore, TestClock, World, facts, until};
use longshore_core::{CoreConfig, Undelivered};
use longshore_ecs_api::events::EventsOperation as Events;
use longshore_model::TaskStatus;
use longshore_store::MemoryStore;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn what_cannot_be_delivered_is_tried_again_and_then_given_up() {
    let world = World::new().await;
    let hook = world.webhook().await;
    let pattern = json!({"source": ["test"]});
    let target = |attempts: u32| {
        json!({"Id": "1", "Arn": hook, "RetryPolicy": {"MaximumRetryAttempts": attempts,
        "MaximumEventAgeInSeconds": 3600}})
    };
    world.rule("r", pattern, target(1)).await;
    let fake = Fake::default();
    fake.refuse(passing());
    let _dispatcher = dispatch(&world, &fake);
    world.say(1).await;
    until("one attempt", || fake.tried() == 1).await;
    let shown = world.until_delivery("r", |shown| shown["Attempts"] == 1).await;
    assert_eq!(
        (&shown["LastError"], &shown["Waiting"], &shown["GivenUp"]),
        (&json!("it is away"), &json!(1), &json!(0))
    );
    // Not before its time; what comes later waits behind it.
    world.say(2).await;
    assert_eq!(world.delivery("r").await["Waiting"], 2);
    world.clock.advance(Duration::from_secs(2));
    world.say(3).await;
    until("the last attempt of the first, and one of the second", || fake.tried() == 3).await;
    assert_eq!(numbers(&fake.look(|outside| outside.tried.clone())), [1, 1, 2]);
    let shown = world.until_delivery("r", |shown| shown["GivenUp"] == 1 && shown["Attempts"] == 1).await;
    assert_eq!(shown["LastGivenUp"]["Reason"], "it was tried 2 times; it is away");

    // An answer that is final is not tried again.
    fake.refuse(Some(Undelivered::Final("404".to_owned())));
    world.clock.advance(Duration::from_secs(2));
    world.say(4).await;
    until("all are given up", || fake.tried() == 6).await;
    fake.refuse(None);
    world.say(5).await;
    until("the next is taken", || numbers(&fake.taken()) == [5]).await;

    // Nor what is too old.
    fake.refuse(passing());
    world.events(Events::PutTargets, json!({"Rule": "r", "Targets": [target(185)]})).await.unwrap();
    let before = fake.tried();
    world.say(6).await;
    until("an attempt", || fake.tried() > before).await;
    world.until_delivery("r", |shown| shown["Attempts"] == 1).await;
    world.clock.advance(Duration::from_secs(3600));
    fake.refuse(None);
    world.say(7).await;
    until("the newer one is taken", || numbers(&fake.taken()) == [5, 7]).await;
    let shown = world.until_delivery("r", |shown| shown["Waiting"] == 0).await;
    assert_eq!((&shown["GivenUp"], &shown["LastGivenUp"]["Reason"]), (&json!(5), &json!("it is too old; it is away")));
}

#[tokio::test]
async fn a_target_that_takes_nothing_costs_a_bounded_store() {
    let world = World::new().await;
    let logs = "arn:aws:logs:lab:123456789012:log-group:g";
    world.rule("r", json!({"source": ["test"]}), json!({"Id": "1", "Arn": logs})).await;
    let entry = |n: usize| json!({"Source": "test", "DetailType": "said", "Detail": json!({"n": n}).to_string()});
    for batch in 0..230 {
        let entries: Vec<Value> = (0..10).map(|n| entry(batch * 10 + n)).collect();
        world.events(Events::PutEvents, json!({"Entries": entries})).await.unwrap();
    }
    let shown = world.delivery("r").await;
    assert_eq!((&shown["Waiting"], &shown["GivenUp"]), (&json!(2048), &json!(252)));
    assert!(shown["LastGivenUp"]["Reason"].as_str().unwrap().starts_with("too many"), "{shown}");
    assert!(stored(&world, "outbox/").await <= 206);
    let world = world.reopen().await;
    assert_eq!(world.delivery("r").await, shown);
    let fake = Fake::default();
    let dispatcher = dispatch(&world, &fake);
    world.until_delivery("r", |shown| shown["Waiting"] == 0).await;
    let logged: Vec<Value> = fake.look(|outside| outside.logged.iter().map(|(_, event)| event.clone()).collect());
    assert_eq!(numbers(&logged), (252..2300).collect::<Vec<_>>());
    // A target that is removed takes with it what waits.
    dispatcher.abort();
    world.say(9).await;
    world.events(Events::RemoveTargets, json!({"Rule": "r", "Ids": ["1"]})).await.unwrap();
    assert_eq!((stored(&world, "outbox/").await, stored(&world, "delivery/").await), (0, 0));
}

#[tokio::test]
async fn tasks_and_log_groups_are_targets() {
    let world = World::new().await;
    world.cluster("default").await;
    world.definition("job", json!({})).await;
    let cluster = "arn:aws:ecs:lab:123456789012:cluster/default";
    // Without a revision: the latest, whichever that is then.
    let family = "arn:aws:ecs:lab:123456789012:task-definition/job";
    let template = r#"{"containerOverrides": [{"name": "app", "environment": [{"name": "N", "value": "<n>"}]}]}"#;
    let map = json!({"InputPathsMap": {"n": "$.detail.n"}, "InputTemplate": template});
    let target = json!({"Id": "t", "Arn": cluster, "RoleArn": "arn:aws:iam::123456789012:role/events",
        "InputTransformer": map, "EcsParameters": {"TaskDefinitionArn": family, "TaskCount": 1}});
    world.rule("run.it", json!({"source": ["test"]}), target).await;
    let logs = "arn:aws:logs:lab:123456789012:log-group:/aws/events/all";
    world.rule("log", json!({"source": ["test"]}), json!({"Id": "l", "Arn": logs})).await;
    let fake = Fake::default();
    let _dispatcher = dispatch(&world, &fake);
    world.say(7).await;
    until("it is logged", || fake.look(|outside| outside.logged.len()) == 1).await;
    let (stream, line) = fake.look(|outside| outside.logged[0].clone());
    assert_eq!((stream.as_str(), &line["detail"]["n"]), ("/aws/events/all log/l", &json!(7)));
    // There is no place for the task yet.
    world.until_delivery("run.it", |shown| shown["LastError"].is_string()).await;
    let agent = world.host("default", facts(2048, 2048)).await;
    world.clock.advance(Duration::from_secs(300));
    world.say(8).await;
    until("two tasks", || agent.assigned().len() == 2).await;
    let mut given = BTreeSet::new();
    for id in agent.assigned().keys() {
        let task = world.task(*id).await;
        assert_eq!(task["startedBy"], "events-rule/run_it");
        let environment = &task["overrides"]["containerOverrides"][0]["environment"][0];
        given.insert(environment["value"].as_str().unwrap().to_owned());
    }
    assert_eq!(given, ["7", "8"].map(str::to_owned).into());
}

/// A target that runs `count` tasks of the family `job`.
fn runs(count: u32) -> Value {
    let family = "arn:aws:ecs:lab:123456789012:task-definition/job";
    json!({"Id": "t", "Arn": "arn:aws:ecs:lab:123456789012:cluster/default",
        "RoleArn": "arn:aws:iam::123456789012:role/events",
        "EcsParameters": {"TaskDefinitionArn": family, "TaskCount": count}})
}

#[tokio::test]
async fn tasks_that_find_no_place_beside_others_are_tried_again() {
    let world = World::new().await;
    world.cluster("default").await;
    world.definition("job", json!({"memory": 64, "cpu": 128})).await;
    world.rule("run", json!({"source": ["test"]}), runs(3)).await;
    let first = world.host("default", facts(256, 2048)).await;
    let small = world.host("default", facts(256, 32)).await;
    let dispatcher = dispatch(&world, &Fake::default());
    world.say(1).await;
    let shown = world.until_delivery("run", |shown| shown["Attempts"] == 1).await;
    // Each host says what it lacks, whichever comes first.
    let error = shown["LastError"].as_str().unwrap();
    for part in [
        "a task found no place: container instance ".to_owned(),
        format!("container instance {}: RESOURCE:CPU (", first.instance),
        format!("container instance {}: RESOURCE:MEMORY (", small.instance),
    ] {
        assert!(error.contains(&part), "{part}: {error}");
    }
    assert_eq!(first.assigned().len(), 2);
    // Another process knows of those that are started.
    dispatcher.abort();
    let world = world.reopen().await;
    let second = world.host("default", facts(2048, 2048)).await;
    world.clock.advance(Duration::from_secs(300));
    let _dispatcher = dispatch(&world, &Fake::default());
    world.until_delivery("run", |shown| shown["Waiting"] == 0).await;
    assert_eq!(second.assigned().len(), 1);
    // The next event begins anew.
    world.say(2).await;
    world.until_delivery("run", |shown| shown["Waiting"] == 0).await;
    assert_eq!(second.assigned().len(), 4);
    assert_eq!(world.delivery("run").await["GivenUp"], 0);
}

#[tokio::test]
async fn an_event_whose_tasks_are_forgotten_is_delivered() {
    let config = CoreConfig { stopped_task_retention: Duration::from_millis(400), ..CoreConfig::default() };
    let store = FaultyStore::new(MemoryStore::new());
    let world = World::with(store, Arc::new(TestClock::default()), config).await;
    world.cluster("default").await;
    world.definition("job", json!({})).await;
    world.rule("run", json!({"source": ["test"]}), runs(1)).await;
    let mut agent = world.host("default", facts(2048, 2048)).await;
    // The task is made, and that the event was delivered is never recorded.
    world.say(1).await;
    world.store.set(Fault::FullFor("delivery/"));
    let dispatcher = dispatch(&world, &Fake::default());
    until("its task", || agent.assigned().len() == 1).await;
    dispatcher.abort();
    let task = *agent.assigned().keys().next().unwrap();
    agent.is(task, TaskStatus::Stopped).await;
    world.clock.advance(Duration::from_secs(3600));
    until("it is forgotten", || world.core.snapshot().task(task).is_none()).await;
    assert_eq!(world.delivery("run").await["Waiting"], 1);
    world.store.set(Fault::None);
    let _dispatcher = dispatch(&world, &Fake::default());
    let shown = world.until_delivery("run", |shown| shown["Waiting"] == 0 || shown["Attempts"] != 0).await;
    assert_eq!((&shown["Waiting"], &shown["GivenUp"]), (&json!(0), &json!(0)), "{shown}");
    assert!(agent.assigned().is_empty());
}

#[tokio::test]
async fn a_clock_that_is_set_back_puts_no_attempt_off() {
    let world = World::new().await;
    let hook = world.webhook().await;
    world.rule("r", json!({"source": ["test"]}), json!({"Id": "1", "Arn": hook})).await;
    let fake = Fake::default();
    fake.refuse(passing());
    let _dispatcher = dispatch(&world, &fake);
    world.say(1).await;
    world.until_delivery("r", |shown| shown["Attempts"] == 1).await;
    fake.refuse(None);
    world.clock.set_back(Duration::from_secs(3600));
    world.say(2).await;
    until("both are taken", || numbers(&fake.taken()) == [1, 2]).await;
}

#[tokio::test]
async fn targets_that_take_nothing_take_nothing_from_others() {
    let world = World::new().await;
    let target = |id: usize| json!({"Id": id.to_string(), "Arn": "arn:aws:logs:lab:123456789012:log-group:g"});
    for rule in 0..4 {
        let name = format!("hangs-{rule}");
        world.rule(&name, json!({"source": ["test"]}), target(1)).await;
        let more: Vec<Value> = (2..=4).map(target).collect();
        world.events(Events::PutTargets, json!({"Rule": name, "Targets": more})).await.unwrap();
    }
    world.rule("well", json!({"source": ["other"]}), target(1)).await;
    let put = |source: &'static str| {
        let entry = json!({"Source": source, "DetailType": "said", "Detail": "{}"});
        world.events(Events::PutEvents, json!({"Entries": vec![entry; 10]}))
    };
    for _ in 0..205 {
        put("test").await.unwrap();
    }
    assert_eq!(world.delivery("hangs-0").await["Waiting"], 2048);
    for _ in 0..5 {
        put("other").await.unwrap();
    }
    let well = world.delivery("well").await;
    assert_eq!((&well["Waiting"], &well["GivenUp"]), (&json!(50), &json!(0)));
    let state = world.core.snapshot();
    let rules = state.rule_records().flat_map(|rule| rule.target_keys().collect::<Vec<_>>());
    let waiting: Vec<usize> = rules.map(|target| state.delivery(&target).unwrap().1).collect();
    assert_eq!(waiting.iter().sum::<usize>(), 32_768);
    // It is taken from all that have the most.
    assert!(waiting.iter().all(|waiting| *waiting == 50 || (2044..=2045).contains(waiting)), "{waiting:?}");
}
