//! Events: what changes of tasks, hosts and services tell, as EventBridge's users know them from ECS.
//!
//! ```text
//! change (a command) -> event -> rules' patterns -> outbox, in the same batch as the change
//!                             \-> feed, once that is durable: whoever follows
//! outbox -> dispatcher -> a target: a task, a log group, a webhook
//! ```
//!
//! An event follows from a change that the owner task commits, and its id from the change: made once more it is the
//! same event. Where no rule asks and nobody follows, a change costs one comparison. Events that a target waits for
//! are in the store with the change that they tell of, so that no crash comes between the two.
//! docs/decisions/0017-events.md has the reasons.

mod deployment;
mod dispatch;
pub(crate) mod feed;
mod input;
mod instance;
mod service;
mod task;
mod webhook;

pub use dispatch::{Courier, Dispatcher, LogGroup, Undelivered};
pub(crate) use dispatch::{destination, log_group};
pub(crate) use input::{check_path, check_template};
pub use webhook::WebhookRequest;
pub(crate) use webhook::owner;

use crate::change::Change;
use crate::command::Tx;
use crate::records::{Instance, OutboxEvent, Rule, Service, ServiceEvent, Task};
use crate::state::State;
use aws_lc_rs::digest::{SHA256, digest};
use longshore_model::{AccountId, Region, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

/// Where events of tasks, hosts and services come from.
const SOURCE: &str = "aws.ecs";

/// Something that happened, as rules and followers see it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: uuid::Uuid,
    pub(crate) at: Timestamp,
    pub(crate) region: Region,
    pub(crate) source: String,
    pub(crate) detail_type: String,
    /// ARNs.
    pub(crate) resources: Vec<String>,
    pub(crate) detail: Value,
}

impl Event {
    /// The event as it is delivered.
    pub(crate) fn body(&self, account: &AccountId) -> Value {
        let Self { id, at, region, source, detail_type, resources, detail } = self;
        json!({
            "version": "0", "id": id.to_string(), "detail-type": detail_type, "source": source,
            "account": account.as_str(), "time": seconds(*at), "region": region.as_str(), "resources": resources,
            "detail": detail,
        })
    }
}

/// An event for followers, durable.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) region: Region,
    pub(crate) body: Arc<Value>,
}

/// A change that tells something.
pub(crate) enum News {
    Task(Arc<Task>),
    Instance(Arc<Instance>),
    Service(Arc<ServiceEvent>),
    /// Deployments, as indexes.
    Deployments(Arc<Service>, Vec<usize>),
}

/// What a change of `state` tells. For calling before it is made.
pub(crate) fn news(state: &State, change: &Change, followed: bool) -> Option<News> {
    if !followed && !state.has_asking_rules() {
        return None;
    }
    match change {
        Change::Task(task) => {
            let old = state.task(task.id);
            old.is_none_or(|old| task::differs(old, task)).then(|| News::Task(Arc::clone(task)))
        }
        Change::Instance(record) => {
            let old = state.host(record.id).map(|host| &*host.record);
            old.is_none_or(|old| instance::differs(old, record)).then(|| News::Instance(Arc::clone(record)))
        }
        Change::ServiceEvent(event) => service::is_event(event).then(|| News::Service(Arc::clone(event))),
        Change::Service(record) => {
            let old = state.service(&record.key).map(|service| &*service.record);
            let moved = deployment::moved(old, record);
            (!moved.is_empty()).then(|| News::Deployments(Arc::clone(record), moved))
        }
        Change::Account(_)
        | Change::AccessKey(_)
        | Change::Setting(_)
        | Change::ForgetSetting(_)
        | Change::Activation(_)
        | Change::ForgetActivation(_)
        | Change::Secret(_)
        | Change::ForgetSecret(_)
        | Change::CapacityProvider(_)
        | Change::ForgetCapacityProvider(_)
        | Change::Network(_)
        | Change::SecurityGroup(_)
        | Change::ForgetSecurityGroup(_)
        | Change::Cluster(_)
        | Change::ForgetCluster(_)
        | Change::Family(_)
        | Change::Definition(_)
        | Change::ForgetDefinition(_)
        | Change::ForgetInstance(_)
        | Change::Leases(_)
        | Change::ForgetLeases(_)
        | Change::NetworkStatus(..)
        | Change::ForgetService(_)
        | Change::ForgetServiceEvent(..)
        // What becomes of a deployment is told by the service.
        | Change::ServiceDeployment(_)
        | Change::ForgetServiceDeployment(..)
        | Change::Scaling(_)
        | Change::ForgetScaling(_)
        | Change::Pins(_)
        | Change::ForgetPins(_)
        | Change::DiskStatus(..)
        | Change::ForgetTask(_)
        | Change::ClientToken(_)
        | Change::ForgetClientToken(_)
        | Change::ScheduleGroup(_)
        | Change::ForgetScheduleGroup(_)
        | Change::Schedule(_)
        | Change::ForgetSchedule(_)
        | Change::Firing(_)
        | Change::ForgetFiring(_)
        | Change::Connection(_)
        | Change::ForgetConnection(_)
        | Change::Destination(_)
        | Change::ForgetDestination(_)
        | Change::Rule(_)
        | Change::ForgetRule(_)
        | Change::Progress(_)
        | Change::ForgetProgress(_)
        | Change::Outbox(_)
        | Change::ForgetOutbox(_) => None,
    }
}

/// Tells what a change told, once it is made: to the rules that ask for it, and to followers.
pub(crate) fn tell(tx: &mut Tx<'_>, news: &News) {
    let (region, gist) = match news {
        News::Task(task) => (&task.cluster.region, task::gist(tx.state(), task)),
        News::Instance(record) => (&record.cluster.region, json!({"detail-type": instance::DETAIL_TYPE})),
        News::Service(event) => (&event.service.cluster.region, json!({"detail-type": service::DETAIL_TYPE})),
        News::Deployments(service, _) => (&service.key.cluster.region, json!({"detail-type": deployment::DETAIL_TYPE})),
    };
    if !tx.followed() && !may_match(tx.state(), region, gist) {
        return;
    }
    let now = tx.now;
    let Some(account) = tx.state().account().map(|account| account.id.clone()) else { return };
    let state = tx.state();
    let events = match news {
        News::Task(record) => vec![task::event(&account, state, record, now)],
        News::Instance(record) => instance::event(&account, state, record, now).into_iter().collect(),
        News::Service(event) => vec![service::event(&account, event)],
        News::Deployments(record, moved) => {
            moved.iter().filter_map(|index| deployment::event(&account, record, *index, now)).collect()
        }
    };
    for event in &events {
        publish(tx, &account, event);
    }
}

/// Gives an event to every rule whose pattern matches, and to followers.
pub(crate) fn publish(tx: &mut Tx<'_>, account: &AccountId, event: &Event) {
    let body = event.body(account);
    let rules = tx.state().rules_of(&event.region, "");
    let matching = rules.filter(|rule| rule.pattern().is_some_and(|pattern| pattern.matches(&body)));
    let to: Vec<_> = matching.flat_map(|rule| rule.record.target_keys().collect::<Vec<_>>()).collect();
    if !to.is_empty() {
        tx.send(OutboxEvent { id: event.id, at: tx.now, body: body.to_string().into(), to });
    }
    if tx.followed() {
        tx.told(Told { region: event.region.clone(), body: Arc::new(body) });
    }
}

/// Gives the targets of a rule the event of its schedule's firing at `at`, and followers.
pub(crate) fn scheduled(tx: &mut Tx<'_>, rule: &Rule, at: Timestamp) {
    let Some(account) = tx.state().account().map(|account| account.id.clone()) else { return };
    let arn = rule.arn(&account);
    let event = Event {
        id: event_id(&format!("{arn} at {}", at.millis())),
        at,
        region: rule.key.region.clone(),
        source: "aws.events".to_owned(),
        detail_type: "Scheduled Event".to_owned(),
        resources: vec![arn],
        detail: json!({}),
    };
    let body = event.body(&account);
    let to: Vec<_> = rule.target_keys().collect();
    if !to.is_empty() {
        // Its age counts from when it should have been.
        tx.send(OutboxEvent { id: event.id, at, body: body.to_string().into(), to });
    }
    if tx.followed() {
        tx.told(Told { region: event.region, body: Arc::new(body) });
    }
}

/// Whether a rule may ask for an event of ours of which `gist` is a part.
fn may_match(state: &State, region: &Region, mut gist: Value) -> bool {
    if let Value::Object(members) = &mut gist {
        members.insert("source".to_owned(), SOURCE.into());
        members.insert("region".to_owned(), region.as_str().into());
    }
    state.rules_of(region, "").any(|rule| rule.pattern().is_some_and(|pattern| pattern.may_match(&gist)))
}

/// The id of what a change tells: the same whenever it is told.
pub(crate) fn event_id(subject: &str) -> uuid::Uuid {
    let hash = digest(&SHA256, subject.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_ref()[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// A time as events have it: `2026-01-02T03:04:05Z`.
fn seconds(at: Timestamp) -> String {
    Timestamp::from_millis(at.millis().div_euclid(1000) * 1000).to_string()
}

/// A time in an event's detail: `2026-01-02T03:04:05.678Z`.
fn millis(at: Timestamp) -> String {
    let (secs, millis) = (at.millis().div_euclid(1000), at.millis().rem_euclid(1000));
    let whole = Timestamp::from_millis(secs * 1000).to_string();
    format!("{}.{millis:03}Z", whole.trim_end_matches('Z'))
}

/// Times as events have them, where answers of the API have seconds since the epoch.
fn with_times(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| match value.as_f64().filter(|_| name.ends_with("At")) {
                Some(secs) => (name, millis(Timestamp::from_millis((secs * 1000.0).round() as i64)).into()),
                None => (name, with_times(value)),
            })
            .collect(),
        Value::Array(list) => list.into_iter().map(with_times).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// An answer's shape as the detail of an event, without tags, which events do not have.
fn detail<T: serde::Serialize>(shape: &T) -> Value {
    let mut value = with_times(serde_json::to_value(shape).unwrap_or_default());
    if let Value::Object(members) = &mut value {
        members.remove("tags");
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_events_and_ids_come_from_what_they_name() {
        let at = Timestamp::from_millis(1_700_000_000_007);
        assert_eq!((seconds(at).as_str(), millis(at).as_str()), ("2023-11-14T22:13:20Z", "2023-11-14T22:13:20.007Z"));
        let shown = with_times(json!({"createdAt": 1.5, "containers": [{"cpu": 1.5, "lastStartedAt": 2}]}));
        let expected = json!({"createdAt": "1970-01-01T00:00:01.500Z",
            "containers": [{"cpu": 1.5, "lastStartedAt": "1970-01-01T00:00:02.000Z"}]});
        assert_eq!(shown, expected);
        assert_eq!(event_id("a"), event_id("a"));
        assert_ne!(event_id("a"), event_id("b"));
    }
}
