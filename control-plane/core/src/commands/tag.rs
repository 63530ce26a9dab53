//! Tags of everything that can have some.

use crate::change::Change;
use crate::command::{Command, Tx};
use crate::records::{
    CapacityProvider, CapacityProviderKey, Cluster, Definition, DefinitionKey, Instance, Service, ServiceKey, Tags,
    Task,
};
use crate::state::State;
use longshore_ecs_api::ApiError;
use longshore_model::{ClusterKey, InstanceId, TaskId};
use std::sync::Arc;

/// Tags that one resource may have (ECS).
const MAX_TAGS: usize = 50;

/// A resource that has tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tagged {
    Cluster(ClusterKey),
    Instance(ClusterKey, InstanceId),
    Task(ClusterKey, TaskId),
    Definition(DefinitionKey),
    Service(ServiceKey),
    /// By service and id.
    TaskSet(ServiceKey, String),
    CapacityProvider(CapacityProviderKey),
}

impl Tagged {
    /// Its tags.
    ///
    /// # Errors
    /// When there is no such resource, in ECS's words.
    pub(crate) fn tags(&self, state: &State) -> Result<Tags, ApiError> {
        self.find(state, Clone::clone).map(|(tags, _)| tags)
    }

    /// Its tags, and its record's change when `edit` has made other ones of them.
    fn find(&self, state: &State, edit: impl FnOnce(&Tags) -> Tags) -> Result<(Tags, Change), ApiError> {
        let not_found = || ApiError::invalid("The specified resource could not be found.");
        match self {
            Self::Cluster(key) => {
                let record = &state.cluster(key).filter(|c| c.record.is_active()).ok_or_else(not_found)?.record;
                let tags = edit(&record.tags);
                Ok((tags.clone(), Change::Cluster(Arc::new(Cluster { tags, ..(**record).clone() }))))
            }
            Self::Instance(cluster, id) => {
                let host = state.cluster(cluster).and_then(|c| c.hosts.get(id)).ok_or_else(not_found)?;
                let tags = edit(&host.record.tags);
                let version = host.record.version + 1;
                let record = Instance { tags: tags.clone(), version, ..(*host.record).clone() };
                Ok((tags, Change::Instance(Arc::new(record))))
            }
            Self::Task(cluster, id) => {
                let task = state.task(*id).filter(|task| task.cluster == *cluster).ok_or_else(not_found)?;
                let tags = edit(&task.tags);
                let version = task.version + 1;
                Ok((tags.clone(), Change::Task(Arc::new(Task { tags, version, ..(**task).clone() }))))
            }
            Self::Service(key) => {
                let found = state.service(key).filter(|service| !service.record.is_over()).ok_or_else(not_found)?;
                let tags = edit(&found.record.tags);
                let record = Service { tags: tags.clone(), ..(*found.record).clone() };
                Ok((tags, Change::Service(Arc::new(record))))
            }
            Self::TaskSet(key, id) => {
                let found = state.service(key).filter(|service| !service.record.is_over()).ok_or_else(not_found)?;
                let mut record = (*found.record).clone();
                let mut sets = record.task_sets.iter_mut();
                let set = sets.find(|set| *set.deployment.id == **id).ok_or_else(not_found)?;
                let tags = edit(&set.tags);
                set.tags.clone_from(&tags);
                Ok((tags, Change::Service(Arc::new(record))))
            }
            Self::CapacityProvider(key) => {
                let record = state.capacity_provider(key).ok_or_else(not_found)?;
                let tags = edit(&record.tags);
                let record = CapacityProvider { tags: tags.clone(), ..(**record).clone() };
                Ok((tags, Change::CapacityProvider(Arc::new(record))))
            }
            Self::Definition(key) => {
                let record = state.definition(key).ok_or_else(not_found)?;
                let tags = edit(&record.tags);
                Ok((tags.clone(), Change::Definition(Arc::new(Definition { tags, ..(**record).clone() }))))
            }
        }
    }
}

/// Adds tags to a resource and takes others away.
pub(crate) struct ChangeTags {
    pub(crate) resource: Tagged,
    pub(crate) put: Tags,
    pub(crate) remove: Vec<String>,
}

impl Command for ChangeTags {
    const NAME: &'static str = "ChangeTags";
    type Reply = ();
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), ApiError> {
        let Self { resource, put, remove } = self;
        let (tags, change) = resource.find(tx.state(), |old| {
            let mut tags = old.clone();
            tags.extend(put);
            tags.retain(|key, _| !remove.contains(key));
            tags
        })?;
        if tags.len() > MAX_TAGS {
            return Err(ApiError::invalid(format!("A resource can have {MAX_TAGS} tags.")));
        }
        tx.change(change);
        Ok(())
    }
}
