//! `ECS Deployment State Change`: a deployment began, is complete or failed.

use super::service::service_arn;
use super::{Event, event_id, millis};
use crate::records::{RolloutState, Service, ServiceDeployment};
use longshore_model::{AccountId, Timestamp};
use serde_json::json;

pub(super) const DETAIL_TYPE: &str = "ECS Deployment State Change";

/// The deployments of `new` that are new or came to another state, as indexes, the oldest first.
pub(super) fn moved(old: Option<&Service>, new: &Service) -> Vec<usize> {
    let before = |id: &str| old.and_then(|old| old.deployments.iter().find(|old| *old.id == *id));
    let moved = |deployment: &ServiceDeployment| before(&deployment.id).is_none_or(|old| old.state != deployment.state);
    let all = new.deployments.iter().enumerate().rev();
    all.filter(|(_, deployment)| moved(deployment)).map(|(index, _)| index).collect()
}

pub(super) fn event(account: &AccountId, service: &Service, index: usize, now: Timestamp) -> Option<Event> {
    let deployment = service.deployments.get(index)?;
    let (kind, name) = match deployment.state {
        RolloutState::InProgress => ("INFO", "SERVICE_DEPLOYMENT_IN_PROGRESS"),
        RolloutState::Completed => ("INFO", "SERVICE_DEPLOYMENT_COMPLETED"),
        RolloutState::Failed => ("ERROR", "SERVICE_DEPLOYMENT_FAILED"),
    };
    Some(Event {
        // One that is brought back is in progress, and complete, more than once.
        id: event_id(&format!("deployment {} {name} {}", deployment.id, deployment.updated_at.millis())),
        at: now,
        region: service.key.cluster.region.clone(),
        source: super::SOURCE.to_owned(),
        detail_type: DETAIL_TYPE.to_owned(),
        resources: vec![service_arn(account, &service.key)],
        detail: json!({
            "eventType": kind, "eventName": name, "deploymentId": &*deployment.id,
            "updatedAt": millis(deployment.updated_at), "reason": deployment.reason,
        }),
    })
}
