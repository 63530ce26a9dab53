//! What names in requests mean: short names and ARNs, of the caller's account and region only.
//!
//! An ARN of another account, region or cluster names nothing here; it never counts by its tail.

use crate::ops::Ctx;
use crate::records::{Definition, DefinitionKey, DefinitionStatus, FamilyKey, ServiceKey};
use crate::state::ClusterState;
use longshore_ecs_api::ApiError;
use longshore_model::arn::{Resource, ServicePart};
use longshore_model::{Arn, ClusterKey, ClusterName, InstanceId, TaskId};
use std::sync::Arc;

/// The cluster that is meant when none is named (ECS).
const DEFAULT_CLUSTER: &str = "default";

/// A task definition as a request names it.
pub(crate) enum DefinitionName {
    /// The newest active revision.
    Family(FamilyKey),
    /// This one.
    Revision(DefinitionKey),
    /// One of another account or region.
    Elsewhere,
}

/// The cluster that a resource is; `None` for any other kind.
pub(crate) fn cluster_name(resource: Resource) -> Option<ClusterName> {
    match resource {
        Resource::Cluster(name) => Some(name),
        Resource::Task(..)
        | Resource::ContainerInstance(..)
        | Resource::Container(..)
        | Resource::TaskDefinition(..)
        | Resource::Service(..)
        | Resource::OfService(..)
        | Resource::Other(_) => None,
    }
}

impl Ctx<'_> {
    /// A full ARN of the caller's account and region.
    pub(crate) fn arn(&self, resource: Resource) -> String {
        let account = self.core.account().clone();
        Arn { region: self.caller.region.clone(), account, resource }.to_string()
    }

    /// What an ARN names; `None` when that is another account's or region's.
    pub(crate) fn resource(&self, arn: &str) -> Result<Option<Resource>, ApiError> {
        let arn: Arn = arn.parse().map_err(|error| ApiError::invalid(format!("Invalid ARN `{arn}`: {error}.")))?;
        let ours = arn.region == self.caller.region && arn.account == *self.core.account();
        Ok(ours.then_some(arn.resource))
    }

    /// The cluster that a request names, whether or not it exists.
    ///
    /// # Errors
    /// `ClusterNotFoundException` for one that cannot be ours, `InvalidParameterException` for no name at all.
    pub(crate) fn cluster_key(&self, name: Option<&str>) -> Result<ClusterKey, ApiError> {
        let name = match name.filter(|name| !name.is_empty()) {
            None => ClusterName::new(DEFAULT_CLUSTER).expect("`default` keeps the rule for names"),
            Some(arn) if Arn::looks_like(arn) => {
                self.resource(arn)?.and_then(cluster_name).ok_or_else(ApiError::cluster_not_found)?
            }
            Some(name) => {
                ClusterName::new(name).map_err(|error| ApiError::invalid(format!("The cluster name {error}.")))?
            }
        };
        Ok(ClusterKey { region: self.caller.region.clone(), name })
    }

    /// The cluster that a request names.
    ///
    /// # Errors
    /// `ClusterNotFoundException` when it does not exist or was deleted.
    pub(crate) fn cluster(&self, name: Option<&str>) -> Result<&Arc<ClusterState>, ApiError> {
        let key = self.cluster_key(name)?;
        let cluster = self.state.cluster(&key).filter(|cluster| cluster.record.is_active());
        cluster.ok_or_else(ApiError::cluster_not_found)
    }

    /// The id of a task that a request names; `None` when the name is one of another cluster.
    ///
    /// # Errors
    /// `InvalidParameterException` for what cannot be a task.
    pub(crate) fn task_id(&self, cluster: &ClusterKey, name: &str) -> Result<Option<TaskId>, ApiError> {
        if Arn::looks_like(name) {
            return Ok(match self.resource(name)? {
                Some(Resource::Task(of, id)) => (of == cluster.name).then_some(id),
                Some(
                    Resource::Cluster(_)
                    | Resource::ContainerInstance(..)
                    | Resource::Container(..)
                    | Resource::TaskDefinition(..)
                    | Resource::Service(..)
                    | Resource::OfService(..)
                    | Resource::Other(_),
                )
                | None => None,
            });
        }
        short_id(name, "taskId")
    }

    /// The id of a container instance that a request names; `None` when the name is one of another cluster.
    ///
    /// # Errors
    /// `InvalidParameterException` for what cannot be a container instance.
    pub(crate) fn instance_id(&self, cluster: &ClusterKey, name: &str) -> Result<Option<InstanceId>, ApiError> {
        if Arn::looks_like(name) {
            return Ok(match self.resource(name)? {
                Some(Resource::ContainerInstance(of, id)) => (of == cluster.name).then_some(id),
                Some(
                    Resource::Cluster(_)
                    | Resource::Task(..)
                    | Resource::Container(..)
                    | Resource::TaskDefinition(..)
                    | Resource::Service(..)
                    | Resource::OfService(..)
                    | Resource::Other(_),
                )
                | None => None,
            });
        }
        short_id(name, "containerInstanceId")
    }

    /// The service that a request names; `None` when the name is one of another cluster.
    ///
    /// # Errors
    /// `InvalidParameterException` for what cannot be a service.
    pub(crate) fn service_key(&self, cluster: &ClusterKey, name: &str) -> Result<Option<ServiceKey>, ApiError> {
        let key = |name: &str| ServiceKey { cluster: cluster.clone(), name: name.into() };
        if Arn::looks_like(name) {
            return Ok(match self.resource(name)? {
                Some(Resource::Service(of, service)) => (of == cluster.name).then(|| key(&service)),
                Some(
                    Resource::Cluster(_)
                    | Resource::Task(..)
                    | Resource::ContainerInstance(..)
                    | Resource::Container(..)
                    | Resource::TaskDefinition(..)
                    | Resource::OfService(..)
                    | Resource::Other(_),
                )
                | None => None,
            });
        }
        if name.is_empty() {
            return Err(ApiError::invalid("service should not be null or empty."));
        }
        Ok(Some(key(name)))
    }

    /// The service and the id in an ARN of a part of a service; `None` for one of another region or account.
    ///
    /// # Errors
    /// `InvalidParameterException`, which names the field, for what is no such ARN.
    pub(crate) fn service_part(
        &self,
        field: &str,
        arn: &str,
        wanted: ServicePart,
    ) -> Result<Option<(ServiceKey, String)>, ApiError> {
        match self.resource(arn).map_err(|error| ApiError::invalid(format!("{field}: {}", error.message)))? {
            None => Ok(None),
            Some(Resource::OfService(cluster, service, part, id)) if part == wanted => {
                let cluster = ClusterKey { region: self.caller.region.clone(), name: cluster };
                Ok(Some((ServiceKey { cluster, name: service.into() }, id)))
            }
            Some(
                Resource::OfService(..)
                | Resource::Service(..)
                | Resource::Cluster(_)
                | Resource::Task(..)
                | Resource::ContainerInstance(..)
                | Resource::Container(..)
                | Resource::TaskDefinition(..)
                | Resource::Other(_),
            ) => Err(ApiError::invalid(format!("{field}: `{arn}` names something else."))),
        }
    }

    /// What a request means by `FAMILY`, `FAMILY:REVISION` or an ARN.
    ///
    /// # Errors
    /// `ClientException` for what is none of them.
    pub(crate) fn definition_name(&self, name: &str) -> Result<DefinitionName, ApiError> {
        let invalid = || ApiError::client(format!("Invalid task definition identifier `{name}`."));
        let region = self.caller.region.clone();
        if Arn::looks_like(name) {
            return match self.resource(name)? {
                None => Ok(DefinitionName::Elsewhere),
                Some(Resource::TaskDefinition(family, revision)) => {
                    Ok(DefinitionName::Revision(DefinitionKey { region, family: family.into(), revision }))
                }
                Some(
                    Resource::Cluster(_)
                    | Resource::Task(..)
                    | Resource::ContainerInstance(..)
                    | Resource::Container(..)
                    | Resource::Service(..)
                    | Resource::OfService(..)
                    | Resource::Other(_),
                ) => Err(invalid()),
            };
        }
        let (family, revision) = match name.split_once(':') {
            None => (name, None),
            Some((family, revision)) => (family, Some(revision)),
        };
        // Families keep the rule for names of clusters.
        ClusterName::new(family).map_err(|_| invalid())?;
        match revision {
            None => Ok(DefinitionName::Family(FamilyKey { region, family: family.into() })),
            Some(text) => {
                let revision = text.parse().ok().filter(|revision| *revision > 0);
                let revision =
                    revision.ok_or_else(|| ApiError::invalid(format!("Invalid revision number. Number: {text}")))?;
                Ok(DefinitionName::Revision(DefinitionKey { region, family: family.into(), revision }))
            }
        }
    }

    /// The definition that a request names: of a family the newest active revision.
    pub(crate) fn definition(&self, name: &DefinitionName) -> Option<&Arc<Definition>> {
        match name {
            DefinitionName::Elsewhere => None,
            DefinitionName::Revision(key) => self.state.definition(key),
            DefinitionName::Family(key) => {
                let revisions = self.state.family(key)?.revisions.values().rev();
                revisions.into_iter().find(|definition| match definition.status {
                    DefinitionStatus::Active => true,
                    DefinitionStatus::Inactive { .. } | DefinitionStatus::DeleteInProgress { .. } => false,
                })
            }
        }
    }
}

/// ECS takes ids of 32 hexadecimal digits, and of 36 characters from times when ids were UUIDs.
fn short_id<T: std::str::FromStr>(name: &str, what: &str) -> Result<Option<T>, ApiError> {
    if name.len() != 32 && name.len() != 36 {
        return Err(ApiError::invalid(format!("{what} length should be one of [32,36]")));
    }
    Ok(name.parse().ok())
}
