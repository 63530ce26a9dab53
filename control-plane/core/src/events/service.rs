//! `ECS Service Action`: those messages of services that ECS sends as events.

use super::{Event, millis};
use crate::records::{ServiceEvent, ServiceKey};
use crate::services::words;
use crate::show::arn_in;
use longshore_model::AccountId;
use longshore_model::arn::Resource;
use serde_json::json;

pub(super) const DETAIL_TYPE: &str = "ECS Service Action";

/// Whether a service's message is sent as an event.
pub(super) fn is_event(event: &ServiceEvent) -> bool {
    words::action(&event.message).is_some()
}

pub(super) fn event(account: &AccountId, event: &ServiceEvent) -> Event {
    let cluster = &event.service.cluster;
    let (kind, name) = words::action(&event.message).map_or(("INFO", ""), |action| (action.kind, action.name));
    let mut detail = json!({
        "eventType": kind, "eventName": name, "createdAt": millis(event.at),
        "clusterArn": arn_in(account, cluster, Resource::Cluster(cluster.name.clone())),
    });
    if let Some(reason) = &event.reason {
        detail["reason"] = reason.as_str().into();
        // ECS has the reason alone, and says nothing of the host that lacks the least.
        detail["message"] = event.message.as_str().into();
    }
    Event {
        id: event.id,
        at: event.at,
        region: cluster.region.clone(),
        source: super::SOURCE.to_owned(),
        detail_type: DETAIL_TYPE.to_owned(),
        resources: vec![service_arn(account, &event.service)],
        detail,
    }
}

/// The ARN of a service.
pub(super) fn service_arn(account: &AccountId, key: &ServiceKey) -> String {
    arn_in(account, &key.cluster, Resource::Service(key.cluster.name.clone(), key.name.to_string()))
}
