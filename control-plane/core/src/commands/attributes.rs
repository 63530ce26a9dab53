//! Custom attributes of container instances.

use crate::change::Change;
use crate::command::{Command, Tx};
use crate::records::Instance;
use longshore_ecs_api::{ApiError, ErrorCode};
use longshore_model::{ClusterKey, InstanceId};
use std::sync::Arc;

/// Custom attributes that one instance may have (ECS).
const MAX_PER_INSTANCE: usize = 10;

/// One attribute of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AttributeChange {
    /// It has this value, or none.
    Put { instance: InstanceId, name: String, value: Option<String> },
    /// It is gone; with a value given only if it has that one.
    Delete { instance: InstanceId, name: String, value: Option<String> },
}

/// Changes attributes, all or none.
pub(crate) struct ChangeAttributes {
    pub(crate) cluster: ClusterKey,
    pub(crate) changes: Vec<AttributeChange>,
}

impl Command for ChangeAttributes {
    const NAME: &'static str = "ChangeAttributes";
    type Reply = ();
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), ApiError> {
        for change in self.changes {
            let (AttributeChange::Put { instance: id, .. } | AttributeChange::Delete { instance: id, .. }) = change;
            let host = tx.state().cluster(&self.cluster).and_then(|cluster| cluster.hosts.get(&id));
            let host = host.filter(|host| host.record.status.is_registered());
            let mut record: Instance = host.map(|host| (*host.record).clone()).ok_or_else(|| not_found(id))?;
            match change {
                AttributeChange::Put { name, value, .. } => {
                    record.custom_attributes.insert(name, value);
                    if record.custom_attributes.len() > MAX_PER_INSTANCE {
                        let text = format!("A container instance can have {MAX_PER_INSTANCE} custom attributes.");
                        return Err(ApiError::new(ErrorCode::AttributeLimitExceeded, text));
                    }
                }
                AttributeChange::Delete { name, value, .. } => {
                    match record.custom_attributes.get(&name) {
                        Some(has) if value.is_none() || *has == value => record.custom_attributes.remove(&name),
                        Some(_) | None => {
                            let text = format!("The attribute {name} was not found on the container instance {id}.");
                            return Err(ApiError::new(ErrorCode::TargetNotFound, text));
                        }
                    };
                }
            }
            record.version += 1;
            tx.change(Change::Instance(Arc::new(record)));
        }
        Ok(())
    }
}

fn not_found(id: InstanceId) -> ApiError {
    let text = format!("The container instance {id} was not found in the cluster.");
    ApiError::new(ErrorCode::TargetNotFound, text)
}
