//! Task definitions.

use crate::records::{Definition, DefinitionStatus};
use crate::show::{count, time};
use longshore_ecs_api::enums::TaskDefinitionStatus;
use longshore_ecs_api::types::TaskDefinition;
use longshore_model::arn::Resource;
use longshore_model::{AccountId, Arn};

/// A task definition, all of it but its tags, which stand beside it.
pub(crate) fn definition(account: &AccountId, record: &Definition) -> TaskDefinition {
    let (status, deregistered, delete_requested) = match record.status {
        DefinitionStatus::Active => (TaskDefinitionStatus::Active, None, None),
        DefinitionStatus::Inactive { since } => (TaskDefinitionStatus::Inactive, Some(since), None),
        DefinitionStatus::DeleteInProgress { deregistered, since } => {
            (TaskDefinitionStatus::DeleteInProgress, Some(deregistered), Some(since))
        }
    };
    TaskDefinition {
        task_definition_arn: Some(definition_arn(account, record)),
        revision: count(record.key.revision),
        status: Some(status),
        registered_at: Some(time(record.registered_at)),
        registered_by: Some(record.registered_by.clone()),
        deregistered_at: deregistered.map(time),
        delete_requested_at: delete_requested.map(time),
        ..(*record.body).clone()
    }
}

fn definition_arn(account: &AccountId, record: &Definition) -> String {
    Arn {
        region: record.key.region.clone(),
        account: account.clone(),
        resource: Resource::TaskDefinition(record.key.family.to_string(), record.key.revision),
    }
    .to_string()
}
