//! Client tokens: repeating a request with the same token has the effect of one.

use longshore_model::{ClusterKey, TaskId, Timestamp};
use serde::{Deserialize, Serialize};

/// Which token: the same text for another operation or cluster is another token.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientTokenKey {
    /// The request's cluster.
    pub cluster: ClusterKey,
    /// The operation's name.
    pub operation: String,
    /// The client's text.
    pub token: String,
}

/// What a token was used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientToken {
    /// Which.
    pub key: ClientTokenKey,
    /// SHA-256 of the request, hex: the token is good for this request only.
    pub request_hash: String,
    /// What the request made.
    pub tasks: Vec<TaskId>,
    /// When the token is forgotten.
    pub expires_at: Timestamp,
}
