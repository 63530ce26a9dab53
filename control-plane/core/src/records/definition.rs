//! Task definitions: families and their revisions.

use crate::records::Tags;
use longshore_ecs_api::types::TaskDefinition;
use longshore_model::{Region, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A family of task definitions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FamilyKey {
    /// Region of the request that registered it.
    pub region: Region,
    /// Its name.
    pub family: Arc<str>,
}

/// One revision of a family.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DefinitionKey {
    /// Region of the request that registered it.
    pub region: Region,
    /// The family's name.
    pub family: Arc<str>,
    /// From 1.
    pub revision: u32,
}

impl DefinitionKey {
    /// Its family.
    #[must_use]
    pub fn family_key(&self) -> FamilyKey {
        FamilyKey { region: self.region.clone(), family: Arc::clone(&self.family) }
    }
}

impl fmt::Display for DefinitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.family, self.revision)
    }
}

/// What outlives a family's revisions: numbers are never used again, not even after a deletion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyRecord {
    /// Which.
    pub key: FamilyKey,
    /// The highest number given so far.
    pub last_revision: u32,
}

/// Whether a revision may be used. Only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DefinitionStatus {
    /// New tasks may use it. Left by DeregisterTaskDefinition.
    Active,
    /// Running tasks keep it, new ones may not use it. Left by DeleteTaskDefinitions.
    Inactive {
        /// When it was deregistered.
        since: Timestamp,
    },
    /// Goes as soon as no task refers to it.
    DeleteInProgress {
        /// When it was deregistered.
        deregistered: Timestamp,
        /// When its deletion was asked for.
        since: Timestamp,
    },
}

/// One revision. What was registered never changes; its status and tags do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// Which.
    pub key: DefinitionKey,
    /// Whether it may be used.
    pub status: DefinitionStatus,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// ARN of who registered it.
    pub registered_by: String,
    /// What was registered, validated and with its defaults; without the members that the fields beside it hold.
    pub body: Arc<TaskDefinition>,
    /// Tags.
    pub tags: Tags,
}
