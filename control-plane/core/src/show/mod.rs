//! Records as the API shows them. What is not known is absent, never null; lists may be empty.

mod cluster;
mod definition;
mod deployment;
mod instance;
mod service;
mod task;
mod task_set;
mod usage;

pub(crate) use cluster::{ClusterShow, cluster};
pub(crate) use definition::definition;
pub(crate) use deployment::{deployment_brief, part_arn, service_deployment, service_revision};
pub(crate) use instance::{InstanceShow, attributes, instance};
pub(crate) use service::{controller, service, task_numbers};
pub(crate) use task::{TaskHealth, With, task, task_health};
pub(crate) use task_set::task_set;
pub(crate) use usage::{host as host_usage, task as task_usage};

use crate::records::Tags;
use longshore_ecs_api::EpochSeconds;
use longshore_ecs_api::types::Tag;
use longshore_model::arn::Resource;
use longshore_model::{AccountId, Arn, ClusterKey, Timestamp};

/// Tags as a list.
pub(crate) fn tags(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag { key: Some(key.clone()), value: Some(value.clone()) }).collect()
}

/// A point in time for the wire.
pub(crate) fn time(at: Timestamp) -> EpochSeconds {
    EpochSeconds::from_millis(at.millis())
}

/// The ARN of something in a cluster.
pub(crate) fn arn_in(account: &AccountId, cluster: &ClusterKey, resource: Resource) -> String {
    Arn { region: cluster.region.clone(), account: account.clone(), resource }.to_string()
}

/// A count for the wire.
fn count(n: u32) -> Option<i32> {
    Some(i32::try_from(n).unwrap_or(i32::MAX))
}
