//! `ECS Container Instance State Change`: a host as DescribeContainerInstances shows it, when it joins, leaves,
//! drains, is heard no more or again, or offers something else.

use super::{Event, detail, event_id, millis};
use crate::records::Instance;
use crate::show::{self, InstanceShow, arn_in};
use crate::state::State;
use longshore_model::arn::Resource;
use longshore_model::{AccountId, Timestamp};

pub(super) const DETAIL_TYPE: &str = "ECS Container Instance State Change";

pub(super) fn differs(old: &Instance, new: &Instance) -> bool {
    old.status != new.status
        || old.is_connected() != new.is_connected()
        || old.facts != new.facts
        || old.custom_attributes != new.custom_attributes
}

pub(super) fn event(account: &AccountId, state: &State, record: &Instance, now: Timestamp) -> Option<Event> {
    let host = state.host(record.id)?;
    let shown = show::instance(account, state, host, InstanceShow::default(), None);
    let resources = shown.container_instance_arn.iter().cloned().collect();
    let mut detail = detail(&shown);
    let cluster = Resource::Cluster(record.cluster.name.clone());
    detail["clusterArn"] = arn_in(account, &record.cluster, cluster).into();
    detail["updatedAt"] = millis(now).into();
    Some(Event {
        id: event_id(&format!("instance {} {}", record.id, record.version)),
        at: now,
        region: record.cluster.region.clone(),
        source: super::SOURCE.to_owned(),
        detail_type: DETAIL_TYPE.to_owned(),
        resources,
        detail,
    })
}
