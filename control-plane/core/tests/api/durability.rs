//! What a crash, a full disk or a second control plane may not change.

use crate::world::{Fault, FaultyStore, World, facts, report, task_id};
use longshore_core::{AgentHello, Core, CoreConfig, FirstStart, OpenError, OwnerError, SealingKey, SessionId};
use longshore_ecs_api::Operation as Op;
use longshore_model::{AccountId, Generation, TaskStatus};
use longshore_store::{Limits, MemoryStore, Store};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::sync::Arc;

async fn open(store: &Arc<MemoryStore>, key: u8, first: FirstStart) -> Result<Core, OpenError> {
    let key = SealingKey::from_bytes(&[key; 32]);
    Core::open(CoreConfig::default(), Arc::clone(store) as _, key, first).await.map(|(core, _)| core)
}

#[tokio::test]
async fn the_first_start_makes_the_account_and_its_key_and_later_ones_keep_them() {
    let store = Arc::new(MemoryStore::new());
    let core = open(&store, 1, FirstStart::default()).await.unwrap();
    let root = core.root_credentials().unwrap();
    assert_eq!(core.account().as_str().len(), 12);
    assert!(root.access_key_id.starts_with("AKIA") && root.access_key_id.len() == 20);
    assert_eq!(root.secret.expose_secret().len(), 40);
    let (principal, secret) = core.access_key(&root.access_key_id).unwrap();
    assert_eq!(principal.arn, format!("arn:aws:iam::{}:root", core.account()));
    assert_eq!(secret.expose_secret(), root.secret.expose_secret());
    assert!(core.access_key("AKIANOSUCHKEY").is_none());
    assert!(!format!("{root:?}").contains(root.secret.expose_secret()));

    let again = open(&store, 1, FirstStart::default()).await.unwrap();
    assert_eq!(again.account(), core.account());
    assert_eq!(again.root_credentials().unwrap().secret.expose_secret(), root.secret.expose_secret());
    let other = FirstStart { account_id: Some(AccountId::new("000000000001").unwrap()), ..FirstStart::default() };
    assert!(matches!(open(&store, 1, other).await, Err(OpenError::OtherAccount { .. })));
    assert!(matches!(open(&store, 2, FirstStart::default()).await, Err(OpenError::Unseal(_))));

    // Nothing in the store shows the secret.
    let snapshot = store.snapshot().await.unwrap();
    let page = snapshot.range(longshore_store::KeyRange::all(), 1000).await.unwrap();
    for entry in page.entries {
        let text = String::from_utf8_lossy(&entry.value).into_owned();
        assert!(!text.contains(root.secret.expose_secret()), "{entry:?}");
    }
}

#[tokio::test]
async fn the_first_start_takes_what_it_is_given() {
    let given = || FirstStart {
        account_id: Some(AccountId::new("111122223333").unwrap()),
        root_access_key: Some(("AKIAIOSFODNN7EXAMPLE".to_owned(), SecretString::from("x".repeat(40)))),
    };
    let core = open(&Arc::new(MemoryStore::new()), 1, given()).await.unwrap();
    assert_eq!(core.account().as_str(), "111122223333");
    assert_eq!(core.root_credentials().unwrap().access_key_id, "AKIAIOSFODNN7EXAMPLE");
    for (id, secret) in [("short", "x".repeat(40)), ("AKIAIOSFODNN7EXAMPLE", "a b".repeat(20))] {
        let bad = FirstStart { root_access_key: Some((id.to_owned(), SecretString::from(secret))), ..given() };
        let refused = open(&Arc::new(MemoryStore::new()), 1, bad).await;
        assert!(matches!(refused, Err(OpenError::RootKey(_))));
    }
}

#[tokio::test]
async fn everything_answered_survives_and_what_the_store_refused_leaves_no_trace() {
    let world = World::new().await;
    world.cluster("default").await;
    let mut agent = world.host("default", facts(2048, 2048)).await;
    world.definition("web", json!({})).await;
    let id = task_id(&world.run(json!({"taskDefinition": "web"})).await);
    agent.is(id, TaskStatus::Running).await;
    let shown = world.task(id).await;

    world.store.set(Fault::Full);
    let text = world.err(Op::RunTask, json!({"taskDefinition": "web"})).await;
    assert!(text.starts_with("ServerException: the control plane cannot save changes"), "{text}");
    let text = world.err(Op::CreateCluster, json!({"clusterName": "more"})).await;
    assert!(text.starts_with("ServerException"), "{text}");
    let late = world.core.agent_reports(agent.instance, agent.session, vec![report(id, 9, TaskStatus::Stopped)]).await;
    assert!(matches!(late, Err(longshore_core::SessionError::Unavailable(_))), "{late:?}");
    assert_eq!(agent.assigned().len(), 1);
    assert_eq!(world.ok(Op::ListClusters, json!({})).await["clusterArns"].as_array().unwrap().len(), 1);
    // Looking goes on, and so does everything once there is space.
    assert_eq!(world.task(id).await, shown);
    world.store.set(Fault::None);
    world.run(json!({"taskDefinition": "web"})).await;
    assert_eq!(agent.assigned().len(), 2);

    let world = world.reopen().await;
    let hello = AgentHello { facts: facts(2048, 2048), applied: Generation(0), observed: Vec::new() };
    world.core.agent_connected(agent.instance, SessionId::random(), hello).await.unwrap();
    let mut again = world.task(id).await;
    again["connectivityAt"] = shown["connectivityAt"].clone();
    assert_eq!(again, shown);
    assert_eq!(world.core.assignment(agent.instance).unwrap().1.len(), 2);
}

#[tokio::test]
async fn an_unknown_outcome_ends_the_process() {
    let world = World::new().await;
    world.store.set(Fault::Unknown);
    let text = world.err(Op::CreateCluster, json!({})).await;
    assert!(text.starts_with("ServerException"), "{text}");
    let text = world.err(Op::CreateCluster, json!({})).await;
    assert!(text.contains("shutting down"), "{text}");
    assert!(matches!(world.ended().await, Err(OwnerError::Unknown(_))));
}

#[tokio::test]
async fn a_process_whose_place_was_taken_writes_nothing() {
    let store = FaultyStore::new(MemoryStore::new());
    let old = World::on(Arc::clone(&store)).await;
    old.cluster("old").await;
    let new = World::on(Arc::clone(&store)).await;
    new.cluster("new").await;
    let text = old.err(Op::CreateCluster, json!({"clusterName": "late"})).await;
    assert!(text.starts_with("ServerException"), "{text}");
    assert!(matches!(old.ended().await, Err(OwnerError::Replaced(_))));
    let new = new.reopen().await;
    let list = new.ok(Op::ListClusters, json!({})).await;
    assert_eq!(list["clusterArns"].as_array().unwrap().len(), 2, "{list}");
}

#[tokio::test]
async fn batches_keep_to_a_stores_limits() {
    let store = MemoryStore::with_limits(Limits { ops: 24, bytes: 64 * 1024 });
    let world = World::on(FaultyStore::new(store)).await;
    world.cluster("default").await;
    let agent = world.host("default", facts(100_000, 100_000)).await;
    world.definition("web", json!({"cpu": 1, "memory": 6})).await;
    let calls = (0..60).map(|_| world.call(Op::RunTask, json!({"taskDefinition": "web", "count": 5})));
    let answers: Vec<Value> = futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
    assert!(answers.iter().all(|answer| answer["tasks"].as_array().unwrap().len() == 5));
    let assigned = agent.assigned();
    assert_eq!(assigned.len(), 300);
    let world = world.reopen().await;
    assert_eq!(world.core.assignment(agent.instance).unwrap().1, assigned);
}

#[tokio::test]
async fn what_did_not_fit_into_a_refused_batch_is_refused_with_it() {
    let store = MemoryStore::with_limits(Limits { ops: 24, bytes: 64 * 1024 });
    let world = World::on(FaultyStore::new(store)).await;
    world.store.set(Fault::FullOnce);
    let container = json!({"name": "app", "image": "busybox", "memory": 64, "cpu": 128});
    let request = json!({"family": "web", "containerDefinitions": [container]});
    let calls = (0..60).map(|_| world.call(Op::RegisterTaskDefinition, request.clone()));
    let answers = futures::future::join_all(calls).await;
    let answered = |answer: &Value| answer["taskDefinition"]["revision"].as_u64().unwrap();
    let mut revisions: Vec<u64> = answers.iter().flatten().map(answered).collect();
    revisions.sort_unstable();
    // Each is the one after the last that is there: none counts those that were refused.
    assert!(!revisions.is_empty() && revisions.len() < 60, "{revisions:?}");
    assert_eq!(revisions, (1..=revisions.len() as u64).collect::<Vec<_>>());
    let before = world.ok(Op::ListTaskDefinitions, json!({})).await;
    assert_eq!(before["taskDefinitionArns"].as_array().unwrap().len(), revisions.len());
    let world = world.reopen().await;
    assert_eq!(world.ok(Op::ListTaskDefinitions, json!({})).await, before);
}

#[tokio::test]
async fn an_answered_call_is_visible_to_the_next_one() {
    let world = World::new().await;
    let calls = (0..100).map(|n| {
        let world = &world;
        async move {
            let name = format!("c{n}");
            world.cluster(&name).await;
            let answer = world.ok(Op::DescribeClusters, json!({"clusters": [name]})).await;
            assert_eq!(answer["clusters"][0]["status"], "ACTIVE");
        }
    });
    futures::future::join_all(calls).await;
}

#[tokio::test]
async fn shutting_down_finishes_what_was_asked_for() {
    let world = World::new().await;
    let core = world.core.clone();
    world.cluster("one").await;
    let calls: Vec<_> = (0..20)
        .map(|n| {
            let core = core.clone();
            tokio::spawn(async move {
                let body = json!({"clusterName": format!("c{n}")}).to_string();
                core.call(&crate::world::caller("lab"), Op::CreateCluster, body.into()).await
            })
        })
        .collect();
    tokio::task::yield_now().await;
    let store = Arc::clone(&world.store);
    world.stop().await.unwrap();
    let mut answered = 1;
    for call in calls {
        answered += usize::from(call.await.unwrap().is_ok());
    }
    let world = World::on(store).await;
    let list = world.ok(Op::ListClusters, json!({})).await;
    assert_eq!(list["clusterArns"].as_array().unwrap().len(), answered);
}
