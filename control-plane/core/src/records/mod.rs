//! What the store holds: one record a key, as JSON with the number of its format.
//!
//! Records are plain data. They never change in place: a command makes a changed copy and says so with a
//! [`Change`](crate::change::Change). Nothing here reads the clock or the store.

mod access;
mod activation;
mod capacity;
mod cluster;
mod definition;
mod deployment;
mod history;
mod idempotency;
mod instance;
mod network;
mod pins;
mod rule;
mod scaling;
mod schedule;
mod secret;
mod service;
mod setting;
mod task;
mod webhook;

pub use access::AccessKey;
pub use activation::{Activation, ActivationKey};
pub use capacity::{CapacityProvider, CapacityProviderKey};
pub use cluster::{Cluster, ClusterStatus};
pub use definition::{Definition, DefinitionKey, DefinitionStatus, FamilyKey, FamilyRecord};
pub use deployment::{BreakerFigures, DeploymentRecord, DeploymentStatus, RevisionTasks, RollbackRecord, TaskNumbers};
pub use history::Moment;
pub use idempotency::{ClientToken, ClientTokenKey};
pub use instance::{Connection, Instance, InstanceStatus};
pub use network::{Direction, HostLeases, Network, SecurityGroup, SecurityGroupRule};
pub use pins::{ImagePins, PinKey};
pub use rule::{GivenUp, Outbox, OutboxEvent, Rule, RuleKey, RuleTarget, TargetKey, TargetProgress};
pub use scaling::{ScalingActivity, ScalingKind, ScalingPolicy, ScalingTarget, ScheduledAction};
pub use schedule::{
    DEFAULT_GROUP, DEFAULT_ZONE, FIRING_AGE, Firing, FiringKey, FiringOutcome, LastFiring, Schedule, ScheduleGroup,
    ScheduleGroupKey, ScheduleKey, ScheduleSettings,
};
pub use secret::{RetiredVersion, Secret, SecretKey, SecretVersion};
pub use service::{
    AT_MOST_ONE, Concerns, DeploymentController, RolloutState, SchedulingStrategy, Service, ServiceDeployment,
    ServiceEvent, ServiceKey, ServiceRevision, ServiceStatus, ServiceTaskSet, TaskSetStatus,
};
pub use setting::{Setting, SettingKey};
pub use task::{Stop, Task, TaskContainer};
pub use webhook::{ApiDestination, Connection as HookConnection, ConnectionAuth, ConnectionValue, HookKey};

use longshore_model::{AccountId, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Tags of a resource, in the order of their keys.
pub type Tags = BTreeMap<String, String>;

/// The account that everything belongs to. Written once, at the first start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its 12 digits.
    pub id: AccountId,
    /// The first start.
    pub created_at: Timestamp,
}

/// The format that this version writes, the same for all kinds of record.
const FORMAT: u32 = 1;

#[derive(Serialize)]
struct Envelope<'a, R> {
    format: u32,
    record: &'a R,
}

#[derive(Deserialize)]
struct Opened<R> {
    record: R,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

/// Why a stored record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A later version wrote it.
    #[error("record `{key}` has format {found}, and this version knows {FORMAT}: use the version that wrote it")]
    Newer {
        /// The store's key.
        key: String,
        /// The format found.
        found: u32,
    },
    /// Not what this version writes under that key.
    #[error("record `{key}` cannot be read")]
    Damaged {
        /// The store's key.
        key: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A key that this version does not write.
    #[error("the store has a key `{0}` that this version does not know: use the version that wrote it")]
    UnknownKey(String),
}

/// The stored form of a record.
pub(crate) fn encode<R: Serialize>(record: &R) -> Vec<u8> {
    serde_json::to_vec(&Envelope { format: FORMAT, record }).expect("records have string keys and no foreign types")
}

/// The record in `bytes`, which lay under `key`.
pub(crate) fn decode<R: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<R, RecordError> {
    let damaged = |source| RecordError::Damaged { key: key.to_owned(), source };
    // The format first: a record of a newer one need not parse as ours.
    let FormatOnly { format } = serde_json::from_slice(bytes).map_err(damaged)?;
    if format != FORMAT {
        return Err(RecordError::Newer { key: key.to_owned(), found: format });
    }
    serde_json::from_slice::<Opened<R>>(bytes).map(|opened| opened.record).map_err(damaged)
}
