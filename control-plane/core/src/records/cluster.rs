//! Clusters.

use crate::records::Tags;
use longshore_ecs_api::types::{
    CapacityProviderStrategyItem, ClusterConfiguration, ClusterServiceConnectDefaults, ClusterSetting,
};
use longshore_model::{ClusterKey, Timestamp};
use serde::{Deserialize, Serialize};

/// Whether a cluster is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClusterStatus {
    /// In use. Left by DeleteCluster.
    Active,
    /// Deleted; describable for a while. Left by CreateCluster under the same name, and by the sweeper.
    Inactive {
        /// When it was deleted.
        since: Timestamp,
    },
}

/// A cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// Region and name.
    pub key: ClusterKey,
    /// Whether it is in use.
    pub status: ClusterStatus,
    /// When it was made.
    pub created_at: Timestamp,
    /// Kept and echoed, such as `containerInsights`.
    pub settings: Vec<ClusterSetting>,
    /// Kept and echoed.
    pub configuration: Option<ClusterConfiguration>,
    /// Kept and echoed.
    pub service_connect_defaults: Option<ClusterServiceConnectDefaults>,
    /// Tags.
    pub tags: Tags,
    /// Names of the capacity providers that its requests may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capacity_providers: Vec<String>,
    /// The strategy of requests that have neither one nor a launch type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub default_strategy: Vec<CapacityProviderStrategyItem>,
}

impl Cluster {
    /// A cluster in use with nothing set.
    #[must_use]
    pub const fn new(key: ClusterKey, created_at: Timestamp) -> Self {
        Self {
            key,
            status: ClusterStatus::Active,
            created_at,
            settings: Vec::new(),
            configuration: None,
            service_connect_defaults: None,
            tags: Tags::new(),
            capacity_providers: Vec::new(),
            default_strategy: Vec::new(),
        }
    }

    /// Whether it is in use.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        match self.status {
            ClusterStatus::Active => true,
            ClusterStatus::Inactive { .. } => false,
        }
    }
}
