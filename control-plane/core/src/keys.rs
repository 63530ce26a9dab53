//! The store's keys: where each record lies.
//!
//! Names of regions, clusters, families and settings hold no `/`; what may hold one stands last in its key.

use crate::records::{
    ActivationKey, CapacityProviderKey, ClientTokenKey, DefinitionKey, FamilyKey, FiringKey, HookKey, PinKey, RuleKey,
    ScheduleGroupKey, ScheduleKey, SecretKey, ServiceKey, SettingKey, TargetKey,
};
use longshore_model::{ClusterKey, GroupId, InstanceId, TaskId};

/// The account. One key.
pub(crate) const ACCOUNT: &str = "meta/account";
/// The process that writes. One key, guarded by every batch: a process whose place was taken can write nothing.
pub(crate) const WRITER: &str = "meta/writer";

/// The task network. One key.
pub(crate) const NETWORK: &str = "meta/network";

pub(crate) fn access_key(id: &str) -> String {
    format!("access-key/{id}")
}

pub(crate) fn setting(key: &SettingKey) -> String {
    format!("setting/{}/{}/{}", key.region, key.name, key.principal_arn.as_deref().unwrap_or(""))
}

pub(crate) fn activation(key: &ActivationKey) -> String {
    format!("activation/{}/{}", key.region, key.id)
}

pub(crate) fn secret(key: &SecretKey) -> String {
    format!("secret/{}/{}", key.region, key.name)
}

pub(crate) fn capacity_provider(key: &CapacityProviderKey) -> String {
    format!("capacity-provider/{}/{}", key.region, key.name)
}

pub(crate) fn cluster(key: &ClusterKey) -> String {
    format!("cluster/{}/{}", key.region, key.name)
}

pub(crate) fn family(key: &FamilyKey) -> String {
    format!("family/{}/{}", key.region, key.family)
}

pub(crate) fn definition(key: &DefinitionKey) -> String {
    format!("definition/{}/{}/{:010}", key.region, key.family, key.revision)
}

pub(crate) fn instance(id: InstanceId) -> String {
    format!("instance/{id}")
}

pub(crate) fn security_group(id: GroupId) -> String {
    format!("security-group/{id}")
}

pub(crate) fn leases(instance: InstanceId) -> String {
    format!("leases/{instance}")
}

pub(crate) fn pins(key: &PinKey) -> String {
    format!("pins/{key}")
}

pub(crate) fn task(id: TaskId) -> String {
    format!("task/{id}")
}

pub(crate) fn service(key: &ServiceKey) -> String {
    format!("service/{}/{}/{}", key.cluster.region, key.cluster.name, key.name)
}

pub(crate) fn service_event(key: &ServiceKey, number: u64) -> String {
    format!("service-event/{}/{}/{}/{number:020}", key.cluster.region, key.cluster.name, key.name)
}

pub(crate) fn scaling(key: &ServiceKey) -> String {
    format!("scaling/{}/{}/{}", key.cluster.region, key.cluster.name, key.name)
}

pub(crate) fn service_deployment(key: &ServiceKey, number: u64) -> String {
    format!("service-deployment/{}/{}/{}/{number:020}", key.cluster.region, key.cluster.name, key.name)
}

pub(crate) fn schedule_group(key: &ScheduleGroupKey) -> String {
    format!("schedule-group/{}/{}", key.region, key.name)
}

pub(crate) fn schedule(key: &ScheduleKey) -> String {
    format!("schedule/{}/{}/{}", key.region, key.group, key.name)
}

pub(crate) fn firing(FiringKey { schedule, at }: &FiringKey) -> String {
    format!("firing/{}/{}/{}/{:020}", schedule.region, schedule.group, schedule.name, at.millis())
}

pub(crate) fn rule(key: &RuleKey) -> String {
    format!("rule/{}/{}", key.region, key.name)
}

pub(crate) fn connection(key: &HookKey) -> String {
    format!("connection/{}/{}", key.region, key.name)
}

pub(crate) fn destination(key: &HookKey) -> String {
    format!("api-destination/{}/{}", key.region, key.name)
}

pub(crate) fn progress(key: &TargetKey) -> String {
    format!("delivery/{}/{}/{}", key.rule.region, key.rule.name, key.id)
}

pub(crate) fn outbox(first: u64) -> String {
    format!("outbox/{first:020}")
}

pub(crate) fn client_token(key: &ClientTokenKey) -> String {
    format!("token/{}/{}/{}", key.operation, key.cluster, key.token)
}
