//! Events: what is told, how it is delivered, and the rules that ask for it; and a world outside that they are brought
//! to.

mod delivery;
mod rules;
mod told;

use crate::world::{World, caller};
use longshore_core::{Courier, Dispatcher, LogGroup, Undelivered, WebhookRequest};
use longshore_ecs_api::events::EventsOperation as Events;
use longshore_model::Timestamp;
use longshore_store::{KeyRange, Store};
use serde_json::{Value, json};
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
    pub(crate) async fn events(&self, op: Events, request: Value) -> Result<Value, String> {
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
