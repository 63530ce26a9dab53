//! What the sessions with agents say to the core and hear from it. The core knows no protocol: `control-plane`'s
//! session code converts protobuf to these.

use longshore_model::{ClusterKey, Generation, HostFacts, InstanceId, TaskReport};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One stream of one agent. The newest of an instance wins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(uuid::Uuid);

impl SessionId {
    /// A new one, for a stream that was just opened.
    #[must_use]
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.simple())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.simple())
    }
}

/// The key that a host joins with: SHA-256 of its public key. Joining twice with the same key is joining once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JoinKey(String);

impl JoinKey {
    /// Of a public key (SubjectPublicKeyInfo, DER).
    #[must_use]
    pub fn of(public_key: &[u8]) -> Self {
        Self(hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, public_key)))
    }
}

/// A host that was given an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Its container instance id.
    pub instance: InstanceId,
    /// Its cluster.
    pub cluster: ClusterKey,
    /// Its container instance ARN.
    pub arn: String,
    /// Whether it had joined before, with the same token and key, and nothing was changed.
    pub repeated: bool,
}

/// What an agent says first on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentHello {
    /// What the host offers now.
    pub facts: HostFacts,
    /// The generation that the agent has saved; 0 for none.
    pub applied: Generation,
    /// Everything the agent knows of.
    pub observed: Vec<TaskReport>,
}

/// Why a host got no identity. Nothing was changed and the token was not spent.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// No such activation, or the secret is wrong; which of the two is not told.
    #[error("the join token is not valid here; make a new one with `aws ssm create-activation`")]
    UnknownToken,
    /// Its time is over.
    #[error("the join token expired at {0}; make a new one with `aws ssm create-activation`")]
    Expired(longshore_model::Timestamp),
    /// It was used as often as it may be.
    #[error("the join token has been used by {0} hosts, as many as it allows; make a new one")]
    Spent(u32),
    /// The host asked for another cluster than the token is bound to.
    #[error("the join token is for cluster `{bound}` and the host asked for `{asked}`")]
    OtherCluster {
        /// The token's.
        bound: String,
        /// The host's.
        asked: String,
    },
    /// The cluster does not exist (only `default` is made on demand).
    #[error("cluster `{0}` does not exist; create it first with `aws ecs create-cluster`")]
    NoCluster(ClusterKey),
    /// What the host says of itself cannot be used.
    #[error("the host's facts are not usable: {0}")]
    Facts(String),
    /// The core cannot make anything durable now. Worth another try.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why an agent's session is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Never registered here, or forgotten since.
    #[error("container instance {0} is not registered here; the host has to join again with a new token")]
    Unknown(InstanceId),
    /// Deregistered.
    #[error("container instance {0} was deregistered; the host has to join again with a new token")]
    Deregistered(InstanceId),
    /// The agent has applied something that this store has never held.
    #[error(
        "the agent has applied generation {applied}, and this control plane's store ends at {revision}: the \
         store was replaced by an older copy; restore the newer one, or let the host join again"
    )]
    Ahead {
        /// The agent's.
        applied: Generation,
        /// Ours.
        revision: Generation,
    },
    /// What the host says of itself cannot be used.
    #[error("the host's facts are not usable: {0}")]
    Facts(String),
    /// The core cannot make anything durable now. Worth another try.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why reports, or the end of a session, were not taken.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A newer session of the same instance has taken over, or this one was never accepted.
    #[error("session {session} is not the current one of container instance {instance}")]
    Superseded {
        /// The instance.
        instance: InstanceId,
        /// The session that called.
        session: SessionId,
    },
    /// Deregistered meanwhile, or never known.
    #[error("container instance {0} is not registered here any more")]
    Deregistered(InstanceId),
    /// The core cannot make anything durable now. Worth another try.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The core could not make a change durable, or is shutting down. Nothing of the change is visible.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the control plane cannot save changes right now: {0}")]
pub struct Unavailable(pub String);
