//! Capacity providers: names for pools of hosts.

use crate::records::Tags;
use longshore_ecs_api::types::AutoScalingGroupProvider;
use longshore_model::{Region, Timestamp};
use serde::{Deserialize, Serialize};

/// What names a capacity provider.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CapacityProviderKey {
    /// The region that it was made in.
    pub region: Region,
    /// Up to 255 letters, digits, `-` and `_`.
    pub name: String,
}

/// A capacity provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CapacityProvider {
    /// Its name.
    pub key: CapacityProviderKey,
    /// As given, with ECS's defaults; kept and echoed.
    pub group: AutoScalingGroupProvider,
    /// Whether it was changed since it was made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub updated: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}
