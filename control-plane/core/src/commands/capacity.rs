//! Making, changing and deleting capacity providers, and which of them a cluster uses.

use crate::change::Change;
use crate::command::{Command, Tx};
use crate::records::{CapacityProvider, CapacityProviderKey, Cluster};
use crate::state::State;
use longshore_ecs_api::types::{AutoScalingGroupProviderUpdate, CapacityProviderStrategyItem};
use longshore_ecs_api::{ApiError, ErrorCode};
use longshore_model::ClusterKey;
use std::sync::Arc;

/// Providers that a region may have (ECS allows as many in an account).
const MAX_PROVIDERS: usize = 500;

/// The providers that ECS has by itself.
pub(crate) const BUILT_IN: [&str; 2] = ["FARGATE", "FARGATE_SPOT"];

/// ECS's words for a provider that there is not.
pub(crate) fn unknown(name: &str) -> ApiError {
    ApiError::invalid(format!(
        "The specified capacity provider '{name}' was not found. Specify a valid name or ARN and try again."
    ))
}

fn in_use(why: &str) -> ApiError {
    let text = format!("The specified capacity provider is in use and cannot be removed: {why}.");
    ApiError::new(ErrorCode::ResourceInUse, text)
}

/// Makes a capacity provider.
pub(crate) struct CreateCapacityProvider {
    pub(crate) provider: CapacityProvider,
}

impl Command for CreateCapacityProvider {
    const NAME: &'static str = "CreateCapacityProvider";
    type Reply = Arc<CapacityProvider>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<CapacityProvider>, ApiError> {
        let key = &self.provider.key;
        if tx.state().capacity_provider(key).is_some() {
            let text = "The specified capacity provider already exists. To change the configuration of an existing \
                        capacity provider, update the capacity provider.";
            return Err(ApiError::client(text));
        }
        if tx.state().capacity_providers(&key.region).count() >= MAX_PROVIDERS {
            let text = format!("There can be {MAX_PROVIDERS} capacity providers.");
            return Err(ApiError::new(ErrorCode::LimitExceeded, text));
        }
        let provider = Arc::new(CapacityProvider { created_at: tx.now, ..self.provider });
        tx.change(Change::CapacityProvider(Arc::clone(&provider)));
        Ok(provider)
    }
}

/// Changes what is kept of a capacity provider.
pub(crate) struct UpdateCapacityProvider {
    pub(crate) key: CapacityProviderKey,
    pub(crate) update: AutoScalingGroupProviderUpdate,
}

impl Command for UpdateCapacityProvider {
    const NAME: &'static str = "UpdateCapacityProvider";
    type Reply = Arc<CapacityProvider>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<CapacityProvider>, ApiError> {
        let found = tx.state().capacity_provider(&self.key).ok_or_else(|| unknown(&self.key.name))?;
        let mut provider = CapacityProvider { updated: true, ..(**found).clone() };
        let AutoScalingGroupProviderUpdate { managed_draining, managed_scaling, managed_termination_protection } =
            self.update;
        let group = &mut provider.group;
        group.managed_draining = managed_draining.or(group.managed_draining.take());
        group.managed_scaling = managed_scaling.or(group.managed_scaling.take());
        group.managed_termination_protection =
            managed_termination_protection.or(group.managed_termination_protection.take());
        let provider = Arc::new(provider);
        tx.change(Change::CapacityProvider(Arc::clone(&provider)));
        Ok(provider)
    }
}

/// Deletes a capacity provider that no cluster uses.
pub(crate) struct DeleteCapacityProvider {
    pub(crate) key: CapacityProviderKey,
}

impl Command for DeleteCapacityProvider {
    const NAME: &'static str = "DeleteCapacityProvider";
    type Reply = Arc<CapacityProvider>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<CapacityProvider>, ApiError> {
        let found = tx.state().capacity_provider(&self.key).map(Arc::clone);
        let found = found.ok_or_else(|| unknown(&self.key.name))?;
        let uses = |cluster: &Cluster| {
            cluster.is_active()
                && cluster.key.region == self.key.region
                && cluster.capacity_providers.contains(&self.key.name)
        };
        if let Some(cluster) = tx.state().clusters().find(|cluster| uses(&cluster.record)) {
            return Err(in_use(&format!("cluster {} is associated with it", cluster.record.key.name)));
        }
        tx.change(Change::ForgetCapacityProvider(self.key));
        Ok(found)
    }
}

/// Sets the providers that a cluster uses, and its strategy for requests that say nothing.
pub(crate) struct PutClusterCapacityProviders {
    pub(crate) cluster: ClusterKey,
    pub(crate) providers: Vec<String>,
    pub(crate) default_strategy: Vec<CapacityProviderStrategyItem>,
}

impl Command for PutClusterCapacityProviders {
    const NAME: &'static str = "PutClusterCapacityProviders";
    type Reply = Arc<Cluster>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<Cluster>, ApiError> {
        let found = tx.state().cluster(&self.cluster).filter(|cluster| cluster.record.is_active());
        let record = Arc::clone(&found.ok_or_else(ApiError::cluster_not_found)?.record);
        exist(tx.state(), &self.cluster, &self.providers)?;
        for gone in record.capacity_providers.iter().filter(|name| !self.providers.contains(name)) {
            if let Some(user) = user(tx.state(), &self.cluster, gone) {
                return Err(in_use(&user));
            }
        }
        let cluster = Arc::new(Cluster {
            capacity_providers: self.providers,
            default_strategy: self.default_strategy,
            ..(*record).clone()
        });
        tx.change(Change::Cluster(Arc::clone(&cluster)));
        Ok(cluster)
    }
}

/// Refuses names of providers that there are not.
pub(crate) fn exist(state: &State, cluster: &ClusterKey, names: &[String]) -> Result<(), ApiError> {
    let key = |name: &String| CapacityProviderKey { region: cluster.region.clone(), name: name.clone() };
    let known = |name: &&String| BUILT_IN.contains(&name.as_str()) || state.capacity_provider(&key(name)).is_some();
    names.iter().find(|name| !known(name)).map_or(Ok(()), |name| Err(unknown(name)))
}

/// A provider of a strategy that the cluster is not associated with, if there is one.
pub(super) fn gone<'a>(
    state: &State,
    cluster: &ClusterKey,
    strategy: &'a [CapacityProviderStrategyItem],
) -> Option<&'a str> {
    let associated = state.cluster(cluster).map(|cluster| cluster.record.capacity_providers.as_slice());
    let associated = associated.unwrap_or_default();
    let mut names = strategy.iter().filter_map(|item| item.capacity_provider.as_deref());
    names.find(|name| !associated.iter().any(|known| known == name))
}

/// What of a cluster uses a provider.
fn user(state: &State, cluster: &ClusterKey, name: &str) -> Option<String> {
    let names = |item: &CapacityProviderStrategyItem| item.capacity_provider.as_deref() == Some(name);
    let mut services = state.services_of(cluster, "").map(|service| &service.record);
    let service = services.find(|service| !service.is_over() && service.capacity.iter().any(names));
    if let Some(service) = service {
        return Some(format!("service {} uses it", service.key.name));
    }
    let hosts = &state.cluster(cluster)?.hosts;
    let tasks = hosts.values().flat_map(|host| &host.live).filter_map(|id| state.task(*id));
    let task = tasks.into_iter().find(|task| task.capacity_provider.as_deref() == Some(name))?;
    Some(format!("task {} was placed by it", task.id))
}
