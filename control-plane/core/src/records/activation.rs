//! Activations: what join tokens are spent from. Made by SSM's `CreateActivation`.

use crate::records::Tags;
use crate::token::TokenHash;
use longshore_model::{ClusterName, Region, Timestamp};
use serde::{Deserialize, Serialize};

/// Which activation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActivationKey {
    /// Region of the request that made it; hosts join a cluster of that region.
    pub region: Region,
    /// A UUID.
    pub id: String,
}

/// An activation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// A UUID.
    pub id: String,
    /// Region of the request that made it.
    pub region: Region,
    /// What proves a token.
    pub token_hash: TokenHash,
    /// The only cluster that hosts may join with it; any when absent.
    pub cluster: Option<ClusterName>,
    /// How many hosts may join.
    pub limit: u32,
    /// How many have.
    pub used: u32,
    /// Until when.
    pub expires_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// Free text.
    pub description: Option<String>,
    /// Kept and echoed.
    pub default_instance_name: Option<String>,
    /// Kept and echoed.
    pub iam_role: Option<String>,
    /// Tags, which the instances that join with it inherit.
    pub tags: Tags,
}

impl Activation {
    /// Its key.
    #[must_use]
    pub fn key(&self) -> ActivationKey {
        ActivationKey { region: self.region.clone(), id: self.id.clone() }
    }
}
