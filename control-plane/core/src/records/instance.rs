//! Container instances: hosts that joined a cluster.

use crate::agent::{JoinKey, SessionId};
use crate::records::Tags;
use longshore_model::{ClusterKey, HostFacts, InstanceId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whether an instance takes tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceStatus {
    /// It does. Left by UpdateContainerInstancesState and by DeregisterContainerInstance.
    Active,
    /// It keeps what it has and gets nothing new. Left as `Active` is, the other way too.
    Draining,
    /// Deregistered. Final: its agent is refused, and the sweeper removes the record after a while.
    Inactive {
        /// When it was deregistered.
        since: Timestamp,
    },
}

impl InstanceStatus {
    /// The text that the ECS API carries.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Inactive { .. } => "INACTIVE",
        }
    }

    /// Whether its agent may connect.
    #[must_use]
    pub const fn is_registered(self) -> bool {
        match self {
            Self::Active | Self::Draining => true,
            Self::Inactive { .. } => false,
        }
    }
}

/// Whether an instance's agent is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Connection {
    /// It has a session. Left when the session ends, or when the control plane restarts and the agent does not
    /// return within its lease.
    Connected {
        /// The session, the newest.
        session: SessionId,
        /// The control plane process that holds the session.
        process: uuid::Uuid,
        /// When it began.
        since: Timestamp,
    },
    /// It has none.
    Disconnected {
        /// When the last one ended, or the instance was registered.
        since: Timestamp,
    },
}

/// A container instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Its cluster, for ever.
    pub cluster: ClusterKey,
    /// Whether it takes tasks.
    pub status: InstanceStatus,
    /// Whether its agent is there.
    pub connection: Connection,
    /// What the host said last of itself.
    pub facts: HostFacts,
    /// Attributes put by operators; they hide the host's own of the same name.
    pub custom_attributes: BTreeMap<String, Option<String>>,
    /// When it joined.
    pub registered_at: Timestamp,
    /// The activation that it joined with.
    pub activation: String,
    /// The key that it joined with; absent in records of versions that did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_key: Option<JoinKey>,
    /// Tags.
    pub tags: Tags,
    /// Rises with every change of this record.
    pub version: u64,
}

impl Instance {
    /// Whether its agent is there.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        match self.connection {
            Connection::Connected { .. } => true,
            Connection::Disconnected { .. } => false,
        }
    }

    /// Whether `session` is its current one.
    #[must_use]
    pub fn has_session(&self, session: SessionId) -> bool {
        match self.connection {
            Connection::Connected { session: current, .. } => current == session,
            Connection::Disconnected { .. } => false,
        }
    }

    /// Its attributes by name: the host's, and operators' on top.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let own = self.facts.attributes.iter().map(|a| (a.name.as_str(), a.value.as_deref()));
        let own = own.filter(|(name, _)| !self.custom_attributes.contains_key(*name));
        own.chain(self.custom_attributes.iter().map(|(name, value)| (name.as_str(), value.as_deref())))
    }
}
