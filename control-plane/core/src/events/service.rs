//! `ECS Service Action`: those messages of services that ECS sends as events.

use super::{Event, millis};
use crate::records::{Concerns, ServiceEvent, ServiceKey};
use crate::services::words;
use crate::show::{arn_in, part_arn};
use longshore_model::arn::{Resource, ServicePart};
use longshore_model::{AccountId, InstanceId};
use serde_json::json;
use std::sync::Arc;

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
    let Concerns { hosts, providers, task_set } = &event.concerns;
    let host = |id: &InstanceId| arn_in(account, cluster, Resource::ContainerInstance(cluster.name.clone(), *id));
    let provider = |name: &Arc<str>| arn_in(account, cluster, Resource::Other(format!("capacity-provider/{name}")));
    let set = |id: &Arc<str>| part_arn(account, &event.service, ServicePart::TaskSet, id);
    let lists: [(&str, Vec<String>); 3] = [
        ("containerInstanceArns", hosts.iter().map(host).collect()),
        ("capacityProviderArns", providers.iter().map(provider).collect()),
        ("taskSetArns", task_set.iter().map(set).collect()),
    ];
    for (member, arns) in lists.into_iter().filter(|(_, arns)| !arns.is_empty()) {
        detail[member] = arns.into();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::words::Said;
    use longshore_ecs_api::ApiError;
    use longshore_model::{ClusterKey, ClusterName, Region, Timestamp};

    #[test]
    fn what_no_host_could_run_is_told_as_a_failure_of_the_configuration() {
        let (region, name) = (Region::new("lab").expect("a region"), ClusterName::new("c").expect("a name"));
        let service = ServiceKey { cluster: ClusterKey { region, name }, name: "web".into() };
        let Said { message, reason, concerns } = words::unplaceable(&service, &[], &ApiError::invalid("It is gone."));
        let (id, at) = (uuid::Uuid::nil(), Timestamp::from_millis(0));
        let said = ServiceEvent { service, number: 1, id, at, message, reason, concerns };
        assert!(is_event(&said));
        let account = AccountId::new("123456789012").expect("an account");
        let expected = json!({"eventType": "ERROR", "eventName": "SERVICE_TASK_CONFIGURATION_FAILURE",
            "createdAt": "1970-01-01T00:00:00.000Z", "clusterArn": "arn:aws:ecs:lab:123456789012:cluster/c",
            "reason": "It is gone.", "message": "(service web) failed to launch a task with (error It is gone)."});
        assert_eq!(event(&account, &said).detail, expected);
    }
}
