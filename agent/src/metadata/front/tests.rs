use super::*;
use crate::metadata::tests::{FakeEngine, FakeProtector, address, seen, view};
use crate::metadata::{Said, Wanted};
use serde_json::Value;
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;

struct Rig {
    front: Front,
    engine: Arc<FakeEngine>,
    protector: Arc<FakeProtector>,
    keyring: Arc<Keyring>,
    views: watch::Sender<TaskViews>,
    _inside: watch::Sender<Option<Inside>>,
}

fn rig() -> Rig {
    let engine = Arc::new(FakeEngine::default());
    let protector = Arc::new(FakeProtector::default());
    let keyring = Arc::new(Keyring::new([7; 32]));
    let (views, views_out) = watch::channel(TaskViews::new());
    let (inside, inside_out) = watch::channel(None);
    let front = Front::new(Parts {
        views: views_out,
        keyring: keyring.clone(),
        containers: engine.clone(),
        inside: inside_out,
        zone: None,
        protector: protector.clone(),
        rate: crate::config::Rate::METADATA,
    });
    Rig { front, engine, protector, keyring, views, _inside: inside }
}

impl Rig {
    /// Adds a task; the id of its first container.
    fn add(&self, mode: NetworkMode) -> (Arc<TaskView>, String) {
        let view = Arc::new(view(mode));
        self.views.send_modify(|views| _ = views.insert(view.record.id, view.clone()));
        let id = self.keyring.id(view.record.id, &view.record.containers[0].name);
        (view, id)
    }

    async fn ask(&self, door: Door, peer: Ipv4Addr, path: &str) -> (u16, Value) {
        self.call(door, peer, Method::GET, path).await
    }

    async fn call(&self, door: Door, peer: Ipv4Addr, method: Method, path: &str) -> (u16, Value) {
        self.send(door, peer, method, path, "").await
    }

    async fn send(&self, door: Door, peer: Ipv4Addr, method: Method, path: &str, body: &str) -> (u16, Value) {
        let body = body.to_owned().into();
        let head = Head { method, path: path.to_owned(), query: None, body };
        let answer = self.front.answer(door, peer.into(), &head).await;
        let body = serde_json::from_slice(&answer.body).expect("every answer is JSON");
        (answer.status.as_u16(), body)
    }
}

const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 99);

#[tokio::test(start_paused = true)]
async fn a_container_is_told_of_itself_and_its_task() {
    let rig = rig();
    let (task, id) = rig.add(NetworkMode::Awsvpc);
    rig.engine.set("main-id", Some(seen(None)));
    let (status, told) = rig.ask(Door::Fabric, address(), &format!("/v4/{id}")).await;
    assert_eq!((status, &told["Name"], &told["ImageID"]), (200, &"main".into(), &"sha256:abc".into()));
    let (status, told) = rig.ask(Door::Fabric, address(), &format!("/v4/{id}/task")).await;
    assert_eq!((status, &told["TaskARN"]), (200, &Value::from(task.outline.arn.clone())));
    assert!(told.get("TaskTags").is_none(), "{told}");
    let (_, told) = rig.ask(Door::Fabric, address(), &format!("/v3/{id}/taskWithTags")).await;
    assert_eq!(told["TaskTags"]["team"], "red");
    let (status, told) = rig.ask(Door::Fabric, address(), "/v2/metadata").await;
    assert_eq!((status, &told["Containers"][1]["Name"]), (200, &"side".into()));
    let (status, told) = rig.ask(Door::Fabric, address(), "/v2/metadata/main-id").await;
    assert_eq!((status, &told["Name"]), (200, &"main".into()));
    assert_eq!(rig.ask(Door::Fabric, address(), "/v2/metadata/other").await.0, 404);
    let (status, told) = rig.ask(Door::Fabric, address(), &format!("/v4/{id}/associations/gpu")).await;
    assert_eq!((status, told), (200, serde_json::json!({"Associations": []})));
    // Docker may be away: what the agent knows is told.
    rig.engine.away.store(true, Ordering::Relaxed);
    let (status, told) = rig.ask(Door::Fabric, address(), &format!("/v4/{id}")).await;
    assert_eq!((status, &told["Name"]), (200, &"main".into()));
}

#[tokio::test(start_paused = true)]
async fn who_has_no_id_or_is_elsewhere_is_told_nothing() {
    let rig = rig();
    let (_, of_vpc) = rig.add(NetworkMode::Awsvpc);
    let (bridge, of_bridge) = rig.add(NetworkMode::Bridge);
    rig.engine.set("main-id", Some(seen(Some(address()))));
    assert_eq!(rig.ask(Door::Host, address(), &format!("/v4/{of_bridge}")).await.0, 200);
    for (door, peer, id) in [
        (Door::Fabric, STRANGER, &of_vpc),
        (Door::Host, address(), &of_vpc),
        (Door::Host, STRANGER, &of_bridge),
        (Door::Fabric, address(), &of_bridge),
        (Door::Host, address(), &format!("{}-{}", bridge.record.id, "0".repeat(32))),
    ] {
        for what in ["", "/task", "/taskWithTags", "/stats", "/task/stats"] {
            let (status, said) = rig.ask(door, peer, &format!("/v4/{id}{what}")).await;
            assert_eq!(status, 404, "{door:?} {peer} {what}");
            let said = said.as_str().expect("a text");
            assert!(said.contains("unable to find a container") && !said.contains(&bridge.outline.arn), "{said}");
        }
    }
    assert_eq!(rig.ask(Door::Fabric, STRANGER, "/v2/metadata").await.0, 404);
    assert_eq!(rig.ask(Door::Host, address(), "/v2/metadata").await.0, 404);

    // A container that was given another address since it was looked at.
    tokio::time::advance(std::time::Duration::from_secs(3)).await;
    rig.engine.set("main-id", Some(seen(Some(STRANGER))));
    assert_eq!(rig.ask(Door::Host, STRANGER, &format!("/v4/{of_bridge}")).await.0, 200);
    assert_eq!(rig.ask(Door::Host, address(), &format!("/v4/{of_bridge}")).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_asks_too_often_holds_up_no_other() {
    let rig = rig();
    let (_, busy) = rig.add(NetworkMode::Host);
    let (_, quiet) = rig.add(NetworkMode::Host);
    // Many at once, on connections of their own.
    let many = async |method: Method, path: &str| {
        let asked = (0..100).map(|_| rig.call(Door::Host, address(), method.clone(), path));
        futures::future::join_all(asked).await.into_iter().map(|(status, _)| status).collect::<Vec<u16>>()
    };
    let count = |statuses: &[u16], status: u16| statuses.iter().filter(|s| **s == status).count();
    let before = Instant::now();
    let statuses = many(Method::GET, &format!("/v4/{busy}")).await;
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (60, 40));
    assert!((SLOWLY..SLOWLY * 2).contains(&before.elapsed()), "refusals come slowly: {:?}", before.elapsed());
    assert_eq!(rig.ask(Door::Host, address(), &format!("/v4/{quiet}")).await.0, 200);
    // Whoever guesses is counted apart, and whatever is not read alike.
    let statuses = many(Method::GET, "/v4/x-1").await;
    assert_eq!((count(&statuses, 404), count(&statuses, 429)), (60, 40));
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    let statuses = many(Method::POST, &format!("/v4/{quiet}")).await;
    assert_eq!((count(&statuses, 405), count(&statuses, 429)), (60, 40));
    assert_eq!(rig.ask(Door::Host, address(), &format!("/v4/{quiet}")).await.0, 200);
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    assert_eq!(rig.ask(Door::Host, address(), &format!("/v4/{busy}")).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_task_without_a_role_has_no_keys() {
    let rig = rig();
    let (_, id) = rig.add(NetworkMode::Host);
    let (status, said) = rig.ask(Door::Host, address(), "/v2/credentials/0b7e6c1e").await;
    let expected = serde_json::json!({
        "code": "InvalidIdInRequest",
        "message": "CredentialsV2Request: Credentials not found",
        "HTTPErrorCode": 400,
    });
    assert_eq!((status, said), (400, expected));
    let (status, said) = rig.ask(Door::Host, address(), "/v2/credentials").await;
    assert_eq!((status, &said["code"]), (400, &"NoIdInRequest".into()));
    let path = format!("/api/{id}/task-protection/v1/state");
    for (method, path) in
        [(Method::POST, format!("/v4/{id}")), (Method::DELETE, path), (Method::PUT, "/v2/metadata".into())]
    {
        assert_eq!(rig.call(Door::Host, address(), method, &path).await.0, 405);
    }
    assert_eq!(rig.ask(Door::Host, address(), "/latest/meta-data/").await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_task_asks_for_its_own_protection() {
    let rig = rig();
    let (task, id) = rig.add(NetworkMode::Host);
    let arn = Value::from(task.outline.arn.clone());
    let path = format!("/api/{id}/task-protection/v1/state");
    let until = Said::Until(Some(longshore_model::Timestamp::from_millis(1_700_000_000_000)));
    let failure = || Said::Failure { reason: "TASK_NOT_VALID".to_owned(), detail: "why".to_owned() };
    let protected = serde_json::json!({"ProtectionEnabled": true, "TaskArn": arn,
        "ExpirationDate": "2023-11-14T22:13:20Z"});
    let free = serde_json::json!({"ProtectionEnabled": false, "TaskArn": arn});
    let failed = serde_json::json!({"Arn": arn, "Reason": "TASK_NOT_VALID", "Detail": "why"});
    let on = r#"{"ProtectionEnabled": true}"#;
    let timed = r#"{"ProtectionEnabled": true, "ExpiresInMinutes": 5}"#;
    let off = r#"{"ProtectionEnabled": false, "ExpiresInMinutes": 5}"#;
    for (method, body, said, wanted, member, expected) in [
        (Method::GET, "", Said::Until(None), Wanted::Nothing, "protection", &free),
        (Method::PUT, on, until.clone(), Wanted::Protection(None), "protection", &protected),
        (Method::PUT, timed, until, Wanted::Protection(Some(5)), "protection", &protected),
        (Method::PUT, off, Said::Until(None), Wanted::Release, "protection", &free),
        (Method::PUT, on, failure(), Wanted::Protection(None), "failure", &failed),
    ] {
        rig.protector.says(said);
        let (status, answer) = rig.send(Door::Host, address(), method, &path, body).await;
        assert_eq!((status, &answer[member]), (200, expected), "{body}");
        assert_eq!(rig.protector.asked(), Some((task.record.id, wanted)), "{body}");
    }
    let away = Said::Away("refused".to_owned());
    for (said, status, code) in [
        (Said::Invalid("no".to_owned()), 400, "InvalidParameterException"),
        (Said::Denied("no".to_owned()), 400, "AccessDeniedException"),
        (Said::TimedOut, 504, "RequestCanceled"),
        (away, 500, "ServerException"),
    ] {
        rig.protector.says(said);
        let (found, answer) = rig.send(Door::Host, address(), Method::PUT, &path, on).await;
        assert_eq!((found, &answer["error"]["Code"]), (status, &code.into()));
        assert_eq!(answer["error"]["Arn"], arn);
    }
    rig.protector.asked();
    for body in ["", "{", "[]", "{}", r#"{"ProtectionEnabled": true, "For": 5}"#, r#"{"ProtectionEnabled": "yes"}"#] {
        let (status, answer) = rig.send(Door::Host, address(), Method::PUT, &path, body).await;
        assert_eq!((status, &answer["error"]["Code"]), (400, &"InvalidParameterException".into()), "{body}");
    }
    let (status, said) = rig.ask(Door::Host, address(), "/api/x-1/task-protection/v1/state").await;
    assert_eq!((status, &said["error"]["Code"]), (404, &"ResourceNotFoundException".into()));
    assert_eq!(rig.protector.asked(), None, "nobody else was asked for");
}

#[tokio::test(start_paused = true)]
async fn every_question_lets_go_of_containers_that_are_gone() {
    for (what, status) in [("", 200), ("/task", 200), ("/stats", 404), ("/task/stats", 200)] {
        let rig = rig();
        let (_, id) = rig.add(NetworkMode::Host);
        rig.engine.set("main-id", Some(seen(None)));
        for gone in 0..40 {
            let gone = format!("gone-{gone}");
            rig.engine.set(&gone, Some(seen(None)));
            rig.front.details.of(&gone, true).await;
        }
        assert_eq!(rig.ask(Door::Host, address(), &format!("/v4/{id}{what}")).await.0, status, "{what}");
        assert!(rig.front.details.known_of("gone-3").is_none(), "{what}");
        assert!(rig.front.details.known_of("main-id").is_some(), "{what}");
    }
}
