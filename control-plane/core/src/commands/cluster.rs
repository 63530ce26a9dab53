//! Making, changing and deleting clusters.

use crate::change::Change;
use crate::command::{Command, Tx};
use crate::commands::exist;
use crate::records::{Cluster, ClusterStatus, Tags};
use longshore_ecs_api::types::{
    CapacityProviderStrategyItem, ClusterConfiguration, ClusterServiceConnectDefaults, ClusterSetting,
};
use longshore_ecs_api::{ApiError, ErrorCode};
use longshore_model::ClusterKey;
use std::sync::Arc;

/// Makes a cluster; one that is in use already is answered as it is.
pub(crate) struct CreateCluster {
    pub(crate) key: ClusterKey,
    pub(crate) settings: Vec<ClusterSetting>,
    pub(crate) configuration: Option<ClusterConfiguration>,
    pub(crate) service_connect_defaults: Option<ClusterServiceConnectDefaults>,
    pub(crate) tags: Tags,
    pub(crate) capacity_providers: Vec<String>,
    pub(crate) default_strategy: Vec<CapacityProviderStrategyItem>,
}

impl Command for CreateCluster {
    const NAME: &'static str = "CreateCluster";
    type Reply = Arc<Cluster>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<Cluster>, ApiError> {
        if let Some(existing) = tx.state().cluster(&self.key).filter(|c| c.record.is_active()) {
            return Ok(Arc::clone(&existing.record));
        }
        exist(tx.state(), &self.key, &self.capacity_providers)?;
        let cluster = Arc::new(Cluster {
            capacity_providers: self.capacity_providers,
            default_strategy: self.default_strategy,
            settings: self.settings,
            configuration: self.configuration,
            service_connect_defaults: self.service_connect_defaults,
            tags: self.tags,
            ..Cluster::new(self.key, tx.now)
        });
        tx.change(Change::Cluster(Arc::clone(&cluster)));
        Ok(cluster)
    }
}

/// What is to be changed of a cluster; `None` leaves it.
#[derive(Default)]
pub(crate) struct ClusterUpdate {
    pub(crate) settings: Option<Vec<ClusterSetting>>,
    pub(crate) configuration: Option<ClusterConfiguration>,
    pub(crate) service_connect_defaults: Option<ClusterServiceConnectDefaults>,
}

/// Changes what is kept and echoed of a cluster.
pub(crate) struct UpdateCluster {
    pub(crate) key: ClusterKey,
    pub(crate) update: ClusterUpdate,
}

impl Command for UpdateCluster {
    const NAME: &'static str = "UpdateCluster";
    type Reply = Arc<Cluster>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<Cluster>, ApiError> {
        let mut cluster = (*active(tx, &self.key)?).clone();
        let ClusterUpdate { settings, configuration, service_connect_defaults } = self.update;
        // Settings are merged by name, the other two are replaced (ECS).
        for setting in settings.unwrap_or_default() {
            match cluster.settings.iter_mut().find(|old| old.name == setting.name) {
                Some(old) => *old = setting,
                None => cluster.settings.push(setting),
            }
        }
        cluster.configuration = configuration.or(cluster.configuration);
        cluster.service_connect_defaults = service_connect_defaults.or(cluster.service_connect_defaults);
        let cluster = Arc::new(cluster);
        tx.change(Change::Cluster(Arc::clone(&cluster)));
        Ok(cluster)
    }
}

/// Deletes an empty cluster: it stays describable as INACTIVE for a while.
pub(crate) struct DeleteCluster {
    pub(crate) key: ClusterKey,
}

impl Command for DeleteCluster {
    const NAME: &'static str = "DeleteCluster";
    type Reply = Arc<Cluster>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<Cluster>, ApiError> {
        let record = active(tx, &self.key)?;
        let state = tx.state().cluster(&self.key).ok_or_else(ApiError::cluster_not_found)?;
        if state.registered() > 0 {
            return Err(ApiError::new(
                ErrorCode::ClusterContainsContainerInstances,
                "The Cluster cannot be deleted while Container Instances are active or draining.",
            ));
        }
        if tx.state().services_of(&self.key, "").any(|service| !service.record.is_over()) {
            return Err(ApiError::new(
                ErrorCode::ClusterContainsServices,
                "The Cluster cannot be deleted while Services are active.",
            ));
        }
        if state.live_tasks() > 0 {
            return Err(ApiError::new(
                ErrorCode::ClusterContainsTasks,
                "The Cluster cannot be deleted while Tasks are active.",
            ));
        }
        let cluster = Arc::new(Cluster { status: ClusterStatus::Inactive { since: tx.now }, ..(*record).clone() });
        tx.change(Change::Cluster(Arc::clone(&cluster)));
        Ok(cluster)
    }
}

fn active(tx: &Tx<'_>, key: &ClusterKey) -> Result<Arc<Cluster>, ApiError> {
    let cluster = tx.state().cluster(key).filter(|c| c.record.is_active());
    cluster.map(|c| Arc::clone(&c.record)).ok_or_else(ApiError::cluster_not_found)
}
