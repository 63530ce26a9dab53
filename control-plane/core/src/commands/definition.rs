//! Registering, deregistering and deleting task definitions.

use crate::change::Change;
use crate::command::{Command, Tx};
use crate::records::{Definition, DefinitionKey, DefinitionStatus, FamilyKey, FamilyRecord, Tags};
use longshore_ecs_api::ApiError;
use longshore_ecs_api::types::TaskDefinition;
use std::sync::Arc;

/// Stores a validated definition under the family's next number.
pub(crate) struct RegisterDefinition {
    pub(crate) family: FamilyKey,
    pub(crate) body: TaskDefinition,
    pub(crate) registered_by: String,
    pub(crate) tags: Tags,
}

impl Command for RegisterDefinition {
    const NAME: &'static str = "RegisterTaskDefinition";
    type Reply = Arc<Definition>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<Definition>, ApiError> {
        let last = tx.state().family(&self.family).map_or(0, |family| family.last_revision);
        let revision = last + 1;
        let FamilyKey { region, family } = self.family.clone();
        let definition = Arc::new(Definition {
            key: DefinitionKey { region, family, revision },
            status: DefinitionStatus::Active,
            registered_at: tx.now,
            registered_by: self.registered_by,
            body: Arc::new(self.body),
            tags: self.tags,
        });
        tx.change(Change::Family(Arc::new(FamilyRecord { key: self.family, last_revision: revision })));
        tx.change(Change::Definition(Arc::clone(&definition)));
        Ok(definition)
    }
}

/// Makes a definition unusable for new tasks. One that is already is answered as it is.
pub(crate) struct DeregisterDefinition {
    pub(crate) key: DefinitionKey,
}

impl Command for DeregisterDefinition {
    const NAME: &'static str = "DeregisterTaskDefinition";
    type Reply = Arc<Definition>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<Definition>, ApiError> {
        let found = tx.state().definition(&self.key);
        let definition = found.cloned().ok_or_else(|| ApiError::client("Unable to describe task definition."))?;
        match definition.status {
            DefinitionStatus::Inactive { .. } | DefinitionStatus::DeleteInProgress { .. } => Ok(definition),
            DefinitionStatus::Active => Ok(set_status(tx, &definition, DefinitionStatus::Inactive { since: tx.now })),
        }
    }
}

/// Marks deregistered definitions for deletion; the sweeper removes each once no task refers to it.
pub(crate) struct DeleteDefinitions {
    pub(crate) keys: Vec<DefinitionKey>,
}

impl Command for DeleteDefinitions {
    const NAME: &'static str = "DeleteTaskDefinitions";
    /// For each key in order: what became of it, or the reason for ECS's `failures`.
    type Reply = Vec<Result<Arc<Definition>, &'static str>>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Self::Reply, ApiError> {
        let delete = |key: DefinitionKey| {
            let Some(definition) = tx.state().definition(&key).cloned() else {
                return Err("The specified task definition does not exist. Specify a valid account, family, revision \
                            and try again.");
            };
            match definition.status {
                DefinitionStatus::Active => Err("The specified task definition is still in ACTIVE status. Please \
                                                 deregister the target and try again."),
                DefinitionStatus::DeleteInProgress { .. } => Ok(definition),
                DefinitionStatus::Inactive { since } => {
                    let status = DefinitionStatus::DeleteInProgress { deregistered: since, since: tx.now };
                    Ok(set_status(tx, &definition, status))
                }
            }
        };
        Ok(self.keys.into_iter().map(delete).collect())
    }
}

fn set_status(tx: &mut Tx<'_>, definition: &Definition, status: DefinitionStatus) -> Arc<Definition> {
    let definition = Arc::new(Definition { status, ..definition.clone() });
    tx.change(Change::Definition(Arc::clone(&definition)));
    definition
}
