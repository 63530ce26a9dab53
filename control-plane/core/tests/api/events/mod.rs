//! Events: what is told, to whom, and that nothing is lost on its way.

use crate::world::{FaultyStore, TestClock, World, caller, facts, task_id, until};
use longshore_core::{CoreConfig, Courier, Dispatcher, LogGroup, Undelivered, WebhookRequest};
use longshore_ecs_api::Operation as Op;
use longshore_ecs_api::events::EventsOperation as Events;
use longshore_model::{TaskStatus, Timestamp};
use longshore_store::{KeyRange, Limits, MemoryStore, Store};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

/// What a test's world outside does with what it is brought.
#[derive(Default)]
struct Outside {
    /// Bodies of requests that were made, taken or not.
    tried: Vec<Value>,
    /// Those that were taken.
    taken: Vec<Value>,
    /// Lines of log groups, each with its stream.
    logged: Vec<(String, Value)>,
    /// What is answered; taken when absent.
    refuses: Option<Undelivered>,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Outside>>);

impl Fake {
    fn look<T>(&self, look: impl FnOnce(&mut Outside) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    fn refuse(&self, why: Option<Undelivered>) {
        self.look(|outside| outside.refuses = why);
    }

    fn taken(&self) -> Vec<Value> {
        self.look(|outside| outside.taken.clone())
    }

    fn tried(&self) -> usize {
        self.look(|outside| outside.tried.len())
    }
}

impl Courier for Fake {
    async fn post(&self, request: WebhookRequest) -> Result<(), Undelivered> {
        let body: Value = serde_json::from_str(&request.body).unwrap();
        self.look(|outside| {
            outside.tried.push(body.clone());
            outside.refuses.clone().map_or(Ok(()), Err)?;
            outside.taken.push(body);
            Ok(())
        })
    }

    async fn log(&self, to: LogGroup, events: Vec<(Timestamp, String)>) -> Result<(), Undelivered> {
        let stream = format!("{} {}", to.group, to.stream);
        let lines = events.into_iter().map(|(_, text)| (stream.clone(), serde_json::from_str(&text).unwrap()));
        self.look(|outside| outside.logged.extend(lines));
        Ok(())
    }
}

fn passing() -> Option<Undelivered> {
    Some(Undelivered::Passing("it is away".to_owned()))
}

fn dispatch(world: &World, fake: &Fake) -> JoinHandle<()> {
    tokio::spawn(Dispatcher::new(world.core.clone(), fake.clone()).run(std::future::pending()))
}

impl World {
    /// An operation of EventBridge in region `lab`; the error as `Code: text`.
    async fn events(&self, op: Events, request: Value) -> Result<Value, String> {
        let answer = self.core.events(&caller("lab"), op, request.to_string().into()).await;
        let answer = answer.map_err(|error| format!("{}: {}", error.code.as_str(), error.message))?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }

    /// A webhook's ARN.
    async fn webhook(&self) -> String {
        let auth = json!({"BasicAuthParameters": {"Username": "u", "Password": "hush-hush"}});
        let request = json!({"Name": "c", "AuthorizationType": "BASIC", "AuthParameters": auth});
        let connection = self.events(Events::CreateConnection, request).await.unwrap()["ConnectionArn"].clone();
        let request = json!({"Name": "hook", "ConnectionArn": connection, "HttpMethod": "POST",
            "InvocationEndpoint": "http://hooks.lab/in"});
        let answer = self.events(Events::CreateApiDestination, request).await.unwrap();
        answer["ApiDestinationArn"].as_str().unwrap().to_owned()
    }

    async fn rule(&self, name: &str, pattern: Value, target: Value) {
        let request = json!({"Name": name, "EventPattern": pattern.to_string()});
        self.events(Events::PutRule, request).await.unwrap();
        self.events(Events::PutTargets, json!({"Rule": name, "Targets": [target]})).await.unwrap();
    }

    /// How deliveries to a rule's only target fare.
    async fn delivery(&self, rule: &str) -> Value {
        let answer = self.events(Events::ListTargetsByRule, json!({"Rule": rule})).await.unwrap();
        answer["Targets"][0]["Delivery"].clone()
    }

    /// Waits until it fares so.
    async fn until_delivery(&self, rule: &str, check: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let shown = self.delivery(rule).await;
            if check(&shown) {
                return shown;
            }
            assert!(tokio::time::Instant::now() < deadline, "timed out: {shown}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn say(&self, n: usize) {
        let entry = json!({"Source": "test", "DetailType": "said", "Detail": json!({"n": n}).to_string()});
        let answer = self.events(Events::PutEvents, json!({"Entries": [entry]})).await.unwrap();
        assert_eq!(answer["FailedEntryCount"], 0, "{answer}");
    }
}

/// Keys of the store that begin so.
async fn stored(world: &World, prefix: &str) -> usize {
    let snapshot = world.store.store.snapshot().await.unwrap();
    let page = snapshot.range(KeyRange::all(), 10_000).await.unwrap();
    page.entries.iter().filter(|entry| entry.key.starts_with(prefix.as_bytes())).count()
}

fn numbers(events: &[Value]) -> Vec<i64> {
    events.iter().map(|event| event["detail"]["n"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn a_tasks_events_come_in_order_through_failures_and_restarts() {
    let world = World::new().await;
    world.cluster("default").await;
    let mut agent = world.host("default", facts(2048, 2048)).await;
    world.definition("web", json!({})).await;
    let hook = world.webhook().await;
    let pattern = json!({"source": ["aws.ecs"], "detail-type": ["ECS Task State Change"]});
    world.rule("tasks", pattern, json!({"Id": "1", "Arn": hook})).await;
    let fake = Fake::default();
    fake.refuse(passing());
    let dispatcher = dispatch(&world, &fake);

    let id = task_id(&world.run(json!({"taskDefinition": "web", "tags": [{"key": "a", "value": "b"}]})).await);
    for status in [TaskStatus::Pending, TaskStatus::Running, TaskStatus::Stopped] {
        agent.is(id, status).await;
    }
    until("it was tried in vain", || fake.tried() > 0).await;
    let first = fake.look(|outside| outside.tried[0].clone());
    dispatcher.abort();

    // Another process, while all of it waits.
    let world = world.reopen().await;
    agent.move_to(&world.core).await;
    let fake = Fake::default();
    world.clock.advance(Duration::from_secs(400));
    let _dispatcher = dispatch(&world, &fake);
    until("the last is there", || fake.taken().last().is_some_and(|event| event["detail"]["lastStatus"] == "STOPPED"))
        .await;
    let taken = fake.taken();
    assert_eq!(taken[0], first, "the same event with the same id");
    let versions: Vec<i64> = taken.iter().map(|event| event["detail"]["version"].as_i64().unwrap()).collect();
    assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "{versions:?}");
    let ids: BTreeSet<&str> = taken.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), taken.len());
    let statuses: Vec<&str> = taken.iter().map(|event| event["detail"]["lastStatus"].as_str().unwrap()).collect();
    assert_eq!(statuses.first(), Some(&"PENDING"));
    assert!(statuses.contains(&"RUNNING"), "{statuses:?}");

    // The body is that of DescribeTasks, with times as events have them and without tags.
    let last = taken.last().unwrap();
    let mut shown = world.task(id).await;
    let arn = shown["taskArn"].clone();
    assert_eq!(
        (&last["version"], &last["account"], &last["region"]),
        (&json!("0"), &json!("123456789012"), &json!("lab"))
    );
    assert_eq!((&last["resources"], &last["time"]), (&json!([arn]), &json!("2023-11-14T22:13:20Z")));
    let detail = last["detail"].as_object().unwrap();
    let members = shown.as_object_mut().unwrap();
    members.remove("tags");
    for (name, value) in members.iter() {
        let told = &detail[name];
        match name.ends_with("At") {
            true => assert!(told.as_str().is_some_and(|at| at.starts_with("2023-11-14T22:13:2") && at.ends_with('Z'))),
            false => assert!(told == value || name == "connectivity", "{name}: {told} and {value}"),
        }
    }
    assert!(!detail.contains_key("tags"));
    assert_eq!(detail["updatedAt"], "2023-11-14T22:13:20.000Z");

    // Nothing is left of what was delivered.
    world.until_delivery("tasks", |shown| shown["Waiting"] == 0).await;
    assert_eq!(stored(&world, "outbox/").await, 0);
}

#[tokio::test]
async fn services_hosts_and_deployments_tell_as_ecs_does() {
    // What runs counts as healthy at once.
    let config = CoreConfig { healthy_after: Duration::ZERO, ..CoreConfig::default() };
    let store = FaultyStore::new(MemoryStore::new());
    let world = World::with(store, Arc::new(TestClock::default()), config).await;
    world.cluster("default").await;
    let hook = world.webhook().await;
    let pattern = json!({"detail-type": [{"anything-but": "ECS Task State Change"}]});
    world.rule("all", pattern, json!({"Id": "1", "Arn": hook})).await;
    let fake = Fake::default();
    let _dispatcher = dispatch(&world, &fake);
    world.definition("web", json!({})).await;
    world.ok(Op::CreateService, json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1})).await;
    let named = |name: &'static str| move |event: &Value| event["detail"]["eventName"] == name;
    let find = |wanted: &dyn Fn(&Value) -> bool| fake.taken().into_iter().find(|event| wanted(event));
    until("no place", || find(&named("SERVICE_TASK_PLACEMENT_FAILURE")).is_some()).await;
    let mut agent = world.host("default", facts(2048, 2048)).await;
    until("a task", || !agent.assigned().is_empty()).await;
    let id = *agent.assigned().keys().next().unwrap();
    agent.is(id, TaskStatus::Running).await;
    world.clock.advance(Duration::from_secs(60));
    agent.is(id, TaskStatus::Running).await;
    until("steady", || find(&named("SERVICE_STEADY_STATE")).is_some()).await;
    until("complete", || find(&named("SERVICE_DEPLOYMENT_COMPLETED")).is_some()).await;
    let service = "arn:aws:ecs:lab:123456789012:service/default/web";
    let cluster = "arn:aws:ecs:lab:123456789012:cluster/default";
    for (name, detail_type, kind) in [
        ("SERVICE_DEPLOYMENT_IN_PROGRESS", "ECS Deployment State Change", "INFO"),
        ("SERVICE_TASK_PLACEMENT_FAILURE", "ECS Service Action", "ERROR"),
        ("SERVICE_DEPLOYMENT_COMPLETED", "ECS Deployment State Change", "INFO"),
        ("SERVICE_STEADY_STATE", "ECS Service Action", "INFO"),
    ] {
        let event = find(&named(name)).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!((&event["detail-type"], &event["source"]), (&json!(detail_type), &json!("aws.ecs")));
        assert_eq!((&event["detail"]["eventType"], &event["resources"]), (&json!(kind), &json!([service])));
        let detail = &event["detail"];
        match detail_type {
            "ECS Service Action" => {
                assert_eq!(detail["clusterArn"], cluster);
                assert!(detail["createdAt"].as_str().is_some_and(|at| at.ends_with("Z")), "{event}");
            }
            _ => {
                assert!(detail["deploymentId"].as_str().is_some_and(|id| id.starts_with("ecs-svc/")), "{event}");
                assert!(detail["reason"].as_str().is_some_and(|why| why.starts_with("ECS deployment")), "{event}");
            }
        }
    }
    let host = find(&|event| event["detail-type"] == "ECS Container Instance State Change").unwrap();
    assert_eq!((&host["resources"][0], &host["detail"]["clusterArn"]), (&json!(agent.arn), &json!(cluster)));
    agent.disconnect().await;
    until("it is not heard", || fake.taken().iter().any(|event| event["detail"]["agentConnected"] == false)).await;
}

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
    let map = json!({"InputPathsMap": {"n": "$.detail.n"},
        "InputTemplate": r#"{"containerOverrides": [{"name": "app", "environment": [{"name": "N", "value": "<n>"}]}]}"#});
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

#[tokio::test]
async fn events_that_nobody_asked_for_leave_nothing_and_followers_see_all() {
    let store = MemoryStore::with_limits(Limits { ops: 24, bytes: 64 * 1024 });
    let world = World::on(FaultyStore::new(store)).await;
    world.cluster("default").await;
    let agent = world.host("default", facts(100_000, 100_000)).await;
    world.definition("web", json!({"cpu": 1, "memory": 6})).await;
    let hook = world.webhook().await;
    let stopped = json!({"source": ["aws.ecs"], "detail": {"lastStatus": ["STOPPED"]}});
    world.rule("stopped", stopped, json!({"Id": "1", "Arn": hook})).await;
    world.run(json!({"taskDefinition": "web"})).await;
    assert_eq!(stored(&world, "outbox/").await, 0);

    let follow = |request: Value| world.events(Events::FollowEvents, request);
    let mut cursor = follow(json!({})).await.unwrap()["Cursor"].clone();
    // A pattern that matches all: the batches keep to the store's limits.
    world.rule("every", json!({"source": [{"prefix": "aws."}]}), json!({"Id": "1", "Arn": hook})).await;
    let calls = (0..20).map(|_| world.call(Op::RunTask, json!({"taskDefinition": "web", "count": 5})));
    futures::future::join_all(calls).await.into_iter().for_each(|answer| drop(answer.unwrap()));
    assert_eq!(agent.assigned().len(), 101);
    assert_eq!(world.delivery("every").await["Waiting"], 100);
    let mut seen = BTreeSet::new();
    while seen.len() < 100 {
        let page =
            follow(json!({"Cursor": cursor, "EventPattern": r#"{"detail": {"lastStatus": ["PENDING"]}}"#})).await;
        let page = page.unwrap();
        assert_eq!(page["Missed"], false);
        for event in page["Events"].as_array().unwrap() {
            let event: Value = serde_json::from_str(event.as_str().unwrap()).unwrap();
            assert!(seen.insert(event["detail"]["taskArn"].as_str().unwrap().to_owned()), "once");
        }
        cursor = page["Cursor"].clone();
    }
    // An event that no rule asks for is none of the store's, and followers see it.
    world.say(1).await;
    let page = world
        .events(Events::FollowEvents, json!({"Cursor": cursor, "EventPattern": r#"{"source": ["test"]}"#}))
        .await
        .unwrap();
    assert_eq!(page["Events"].as_array().map(Vec::len), Some(1), "{page}");
    let world = world.reopen().await;
    assert_eq!(world.delivery("every").await["Waiting"], 100);
    let page = world.events(Events::FollowEvents, json!({"Cursor": cursor})).await.unwrap();
    assert_eq!(page["Missed"], true, "{page}");
}

#[tokio::test]
async fn rules_are_shown_as_they_were_given_and_changed_as_a_whole() {
    let world = World::new().await;
    let hook = world.webhook().await;
    let pattern = r#"{"source":["aws.ecs"]}"#;
    let request =
        json!({"Name": "r", "EventPattern": pattern, "Description": "d", "Tags": [{"Key": "a", "Value": "b"}]});
    let arn = world.events(Events::PutRule, request).await.unwrap()["RuleArn"].clone();
    assert_eq!(arn, "arn:aws:events:lab:123456789012:rule/r");
    let target = json!({"Id": "1", "Arn": hook, "HttpParameters": {"HeaderParameters": {"X-A": "b"}}});
    world.events(Events::PutTargets, json!({"Rule": "r", "Targets": [target]})).await.unwrap();
    let shown = world.events(Events::DescribeRule, json!({"Name": "r", "EventBusName": "default"})).await.unwrap();
    let expected = json!({"Name": "r", "Arn": arn, "EventPattern": pattern, "Description": "d", "State": "ENABLED",
        "EventBusName": "default", "CreatedBy": "123456789012"});
    assert_eq!(shown, expected);
    world.events(Events::DisableRule, json!({"Name": "r"})).await.unwrap();
    world.say(1).await;
    assert_eq!(
        world.events(Events::ListRules, json!({"NamePrefix": "r"})).await.unwrap()["Rules"][0]["State"],
        "DISABLED"
    );
    let names = world.events(Events::ListRuleNamesByTarget, json!({"TargetArn": hook})).await.unwrap();
    assert_eq!(names, json!({"RuleNames": ["r"]}));
    let tags = json!({"ResourceARN": arn, "Tags": [{"Key": "c", "Value": "d"}]});
    world.events(Events::TagResource, tags).await.unwrap();
    world.events(Events::UntagResource, json!({"ResourceARN": arn, "TagKeys": ["a"]})).await.unwrap();
    let world = world.reopen().await;
    let tags = world.events(Events::ListTagsForResource, json!({"ResourceARN": arn})).await.unwrap();
    assert_eq!(tags, json!({"Tags": [{"Key": "c", "Value": "d"}]}));
    let shown = world.events(Events::ListTargetsByRule, json!({"Rule": "r"})).await.unwrap();
    assert_eq!(shown["Targets"][0]["HttpParameters"], target["HttpParameters"]);
    let shown = world.events(Events::DescribeConnection, json!({"Name": "c"})).await.unwrap();
    assert_eq!(shown["AuthParameters"], json!({"BasicAuthParameters": {"Username": "u"}}));
    let answer = world.events(Events::DeleteConnection, json!({"Name": "c"})).await.unwrap_err();
    assert!(answer.contains("in use by"), "{answer}");
    let answer = world.events(Events::RemoveTargets, json!({"Rule": "r", "Ids": ["1", "2"]})).await.unwrap();
    assert_eq!((&answer["FailedEntryCount"], &answer["FailedEntries"][0]["TargetId"]), (&json!(1), &json!("2")));
    for (op, name) in
        [(Events::DeleteRule, "r"), (Events::DeleteApiDestination, "hook"), (Events::DeleteConnection, "c")]
    {
        world.events(op, json!({"Name": name})).await.unwrap();
    }
    let snapshot = world.store.store.snapshot().await.unwrap();
    for entry in snapshot.range(KeyRange::all(), 1000).await.unwrap().entries {
        assert!(!String::from_utf8_lossy(&entry.value).contains("hush-hush"));
        let key = String::from_utf8_lossy(&entry.key).into_owned();
        assert!(!["rule/", "delivery/", "connection/", "api-"].iter().any(|kind| key.starts_with(kind)), "{key}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_refused_and_changes_nothing() {
    let world = World::new().await;
    let hook = world.webhook().await;
    world.events(Events::PutRule, json!({"Name": "r", "EventPattern": "{\"a\": [1]}"})).await.unwrap();
    let cluster = "arn:aws:ecs:lab:123456789012:cluster/default";
    let target = |more: Value| {
        let mut target = json!({"Id": "1", "Arn": hook});
        target.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"Rule": "r", "Targets": [target]})
    };
    let ecs = |more: Value| {
        let mut parameters = json!({"TaskDefinitionArn": "job"});
        parameters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        target(json!({"Arn": cluster, "EcsParameters": parameters}))
    };
    let connection = |auth: Value| json!({"Name": "d", "AuthorizationType": "API_KEY", "AuthParameters": auth});
    let destination = |endpoint: &str| {
        json!({"Name": "h", "HttpMethod": "POST", "InvocationEndpoint": endpoint,
        "ConnectionArn": "arn:aws:events:lab:123456789012:connection/none/1"})
    };
    let validation = "ValidationException";
    let missing = "ResourceNotFoundException";
    for (op, request, code, part) in [
        (Events::PutRule, json!({"EventPattern": "{}"}), validation, "name"),
        (Events::PutRule, json!({"Name": "a b", "EventPattern": "{}"}), validation, "regular expression"),
        (Events::PutRule, json!({"Name": "x"}), validation, "EventPattern or ScheduleExpression must be"),
        (
            Events::PutRule,
            json!({"Name": "r", "EventPattern": "{}"}),
            "InvalidEventPatternException",
            "Event pattern is not valid. Reason:",
        ),
        (
            Events::PutRule,
            json!({"Name": "r", "EventPattern": "{\"a\": \"x\"}"}),
            "InvalidEventPatternException",
            "`a`",
        ),
        (Events::PutRule, json!({"Name": "r", "EventPattern": "{\"b\": [1]}", "State": "ON"}), validation, "'state'"),
        (
            Events::PutRule,
            json!({"Name": "r", "ScheduleExpression": "every day"}),
            validation,
            "Parameter ScheduleExpression is not valid.",
        ),
        (
            Events::PutRule,
            json!({"Name": "r", "EventPattern": "{\"b\": [1]}", "EventBusName": "mine"}),
            missing,
            "Event bus mine does not exist.",
        ),
        (Events::DescribeRule, json!({"Name": "none"}), missing, "Rule none does not exist on EventBus default."),
        (Events::EnableRule, json!({"Name": "none"}), missing, "Rule none"),
        (Events::ListTargetsByRule, json!({"Rule": "none"}), missing, "Rule none"),
        (Events::PutTargets, json!({"Rule": "none", "Targets": [{"Id": "1", "Arn": hook}]}), missing, "Rule none"),
        (Events::PutTargets, json!({"Rule": "r", "Targets": []}), validation, "'targets'"),
        (Events::PutTargets, target(json!({"Id": "a/b"})), validation, "targets.1.member.id"),
        (
            Events::PutTargets,
            target(json!({"Arn": "arn:aws:sqs:lab:123456789012:q"})),
            validation,
            "not in correct format",
        ),
        (
            Events::PutTargets,
            target(json!({"Arn": "arn:aws:logs:other:123456789012:log-group:g"})),
            validation,
            "correct format",
        ),
        (
            Events::PutTargets,
            target(json!({"Arn": hook.replace("/hook/", "/none/")})),
            missing,
            "'none' does not exist",
        ),
        (
            Events::PutTargets,
            target(json!({"DeadLetterConfig": {"Arn": "arn:aws:sqs:lab:123456789012:q"}})),
            validation,
            "DeadLetterConfig",
        ),
        (Events::PutTargets, target(json!({"Input": "{"})), validation, "Input is not valid JSON"),
        (Events::PutTargets, target(json!({"Input": "{}", "InputPath": "$"})), validation, "only one of"),
        (Events::PutTargets, target(json!({"InputPath": "detail"})), validation, "InputPath"),
        (
            Events::PutTargets,
            target(json!({"InputTransformer": {"InputTemplate": "<x>"}})),
            validation,
            "does not define",
        ),
        (
            Events::PutTargets,
            target(json!({"RetryPolicy": {"MaximumRetryAttempts": 186}})),
            validation,
            "MaximumRetryAttempts",
        ),
        (
            Events::PutTargets,
            target(json!({"RetryPolicy": {"MaximumEventAgeInSeconds": 59}})),
            validation,
            "MaximumEventAgeInSeconds",
        ),
        (
            Events::PutTargets,
            target(json!({"HttpParameters": {"HeaderParameters": {"a b": "c"}}})),
            validation,
            "HeaderParameters",
        ),
        (Events::PutTargets, target(json!({"Arn": cluster})), validation, "EcsParameters"),
        (Events::PutTargets, ecs(json!({"TaskDefinitionArn": "a:0"})), validation, "TaskDefinitionArn"),
        (Events::PutTargets, ecs(json!({"TaskCount": 11})), validation, "TaskCount"),
        (Events::PutTargets, ecs(json!({"LaunchType": "MOON"})), validation, "LaunchType"),
        (
            Events::TestEventPattern,
            json!({"EventPattern": "{\"a\": [1]}", "Event": "{}"}),
            validation,
            "Parameter Event",
        ),
        (Events::PutEvents, json!({"Entries": []}), validation, "'entries'"),
        (Events::TagResource, json!({"ResourceARN": "arn:aws:events:lab:1:rule/r", "Tags": []}), missing, "ARN"),
        (Events::CreateConnection, connection(json!({})), validation, "ApiKeyName"),
        (
            Events::CreateConnection,
            connection(json!({"ApiKeyAuthParameters": {"ApiKeyName": "Host", "ApiKeyValue": "v"}})),
            validation,
            "ApiKeyName",
        ),
        (
            Events::CreateConnection,
            connection(json!({"ApiKeyAuthParameters": {"ApiKeyName": "X", "ApiKeyValue": "a\nb"}})),
            validation,
            "ApiKeyValue",
        ),
        (
            Events::CreateConnection,
            json!({"Name": "d", "AuthorizationType": "OAUTH_CLIENT_CREDENTIALS", "AuthParameters": {}}),
            validation,
            "OAUTH",
        ),
        (Events::CreateApiDestination, destination("ftp://a"), missing, "Connection 'none'"),
        (Events::FollowEvents, json!({"Cursor": "x"}), validation, "Cursor"),
        (Events::FollowEvents, json!({"WaitSeconds": 60}), validation, "WaitSeconds"),
    ] {
        let before = world.core.snapshot().revision();
        let error = world.events(op, request.clone()).await.expect_err(&request.to_string());
        assert!(error.starts_with(code) && error.contains(part), "{} {request}: {error}", op.name());
        assert_eq!(world.core.snapshot().revision(), before, "{request}");
    }
    let connection =
        world.events(Events::DescribeConnection, json!({"Name": "c"})).await.unwrap()["ConnectionArn"].clone();
    for bad in ["ftp://a", "http://", "http://u@h/", "http://*/x", "https://a b/"] {
        let request =
            json!({"Name": "h", "HttpMethod": "POST", "InvocationEndpoint": bad, "ConnectionArn": connection});
        let error = world.events(Events::CreateApiDestination, request).await.expect_err(bad);
        assert!(error.starts_with("ValidationException: InvocationEndpoint"), "{bad}: {error}");
    }
    let entries = json!({"Entries": [
        {"Source": "aws.ecs", "DetailType": "x", "Detail": "{}"}, {"DetailType": "x", "Detail": "{}"},
        {"Source": "s", "DetailType": "x", "Detail": "[]"}, {"Source": "s", "DetailType": "x", "Detail": "{}"}]});
    let answer = world.events(Events::PutEvents, entries).await.unwrap();
    let codes: Vec<&str> =
        answer["Entries"].as_array().unwrap().iter().map(|e| e["ErrorCode"].as_str().unwrap_or("")).collect();
    assert_eq!(codes, ["NotAuthorizedForSourceException", "InvalidArgument", "MalformedDetail", ""]);
    let event = json!({"id": "1", "account": "1", "source": "s", "time": "t", "region": "r", "resources": [], "detail-type": "d"});
    let request = json!({"EventPattern": r#"{"source": ["s"]}"#, "Event": event.to_string()});
    assert_eq!(world.events(Events::TestEventPattern, request).await.unwrap(), json!({"Result": true}));
}

#[tokio::test(start_paused = true)]
async fn a_rule_fires_by_the_clock_and_nothing_of_it_is_lost_or_made_up() {
    const MINUTE: Duration = Duration::from_secs(60);
    // 2026-03-28T00:00:20Z.
    let clock = TestClock::running(1_774_656_020_000);
    let mut world = World::with(FaultyStore::new(MemoryStore::new()), clock, CoreConfig::default()).await;
    let fake = Fake::default();
    let mut dispatcher = dispatch(&world, &fake);
    let hook = world.webhook().await;
    let rule = |name: &str, expression: &str| json!({"Name": name, "ScheduleExpression": expression});
    for (name, expression) in [("cron", "cron(0/10 * * * ? *)"), ("rate", "rate(25 minutes)"), ("off", "rate(1 hour)")]
    {
        world.events(Events::PutRule, rule(name, expression)).await.unwrap();
        let targets = json!([{"Id": "1", "Arn": hook}]);
        world.events(Events::PutTargets, json!({"Rule": name, "Targets": targets})).await.unwrap();
    }
    for text in ["rate(1 minutes)", "cron(0 1 * * * *)", "at(2027-01-01T00:00:00)"] {
        let error = world.events(Events::PutRule, rule("cron", text)).await.unwrap_err();
        assert!(error.starts_with("ValidationException: Parameter ScheduleExpression is not valid."), "{error}");
    }
    world.events(Events::DisableRule, json!({"Name": "off"})).await.unwrap();
    // Killed just as it fires, each time at another place; and away for a while once.
    for steps in 0..12 {
        let millis = 600_000 - longshore_core::Clock::now(&*world.clock).millis().rem_euclid(600_000);
        tokio::time::sleep(Duration::from_millis(millis as u64)).await;
        for _ in 0..steps * 3 {
            tokio::task::yield_now().await;
        }
        dispatcher.abort();
        world.halt();
        if steps == 6 {
            tokio::time::sleep(MINUTE * 35).await;
        }
        // Who says the same once more moves nothing.
        world = world.reopen().await;
        dispatcher = dispatch(&world, &fake);
        world.events(Events::PutRule, rule("rate", "rate(25 minutes)")).await.unwrap();
    }
    tokio::time::sleep(MINUTE).await;
    let end = longshore_core::Clock::now(&*world.clock);
    let mut of_rule: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for event in fake.taken() {
        assert_eq!((&event["source"], &event["detail-type"]), (&json!("aws.events"), &json!("Scheduled Event")));
        assert_eq!((&event["version"], &event["detail"], &event["region"]), (&json!("0"), &json!({}), &json!("lab")));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let ids = of_rule.entry(text(&event["resources"][0])).or_default();
        let (time, id) = (text(&event["time"]), text(&event["id"]));
        assert!(ids.insert(time, id.clone()).is_none_or(|before| before == id), "one id for one firing");
    }
    let times = |name: &str| {
        let ids = &of_rule[&format!("arn:aws:events:lab:123456789012:rule/{name}")];
        assert_eq!(ids.values().collect::<BTreeSet<_>>().len(), ids.len());
        ids.keys().cloned().collect::<Vec<_>>()
    };
    let every = |first: i64, every: Duration| {
        let all = (0..).map(move |n| Timestamp::from_millis(first).after(every * n));
        all.take_while(|at| *at <= end).map(|at| at.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(times("cron"), every(1_774_656_600_000, MINUTE * 10));
    assert_eq!(times("rate"), every(1_774_656_020_000 + 25 * 60_000, MINUTE * 25));
    assert_eq!(of_rule.len(), 2, "{of_rule:?}");
}
