//! Webhooks: API destinations of EventBridge, and the connections that they authenticate with.

use longshore_model::{AccountId, Region, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The name of a connection or of a webhook: each is taken once in a region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HookKey {
    /// The region that it was made in.
    pub region: Region,
    /// 1 to 64 letters, digits and characters of `.-_`.
    pub name: Arc<str>,
}

/// What the requests of a webhook authenticate with. Secrets are sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Its name.
    pub key: HookKey,
    /// Ends its ARN; a later one of the same name has another.
    pub id: uuid::Uuid,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it authenticates with.
    pub auth: ConnectionAuth,
    /// Headers that every request has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<ConnectionValue>,
    /// Query parameters that every request has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<ConnectionValue>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub changed_at: Timestamp,
}

/// How a request authenticates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConnectionAuth {
    /// HTTP basic authentication.
    Basic {
        /// The name.
        username: String,
        /// The password, sealed.
        sealed: String,
    },
    /// A header.
    ApiKey {
        /// Its name.
        header: String,
        /// Its value, sealed.
        sealed: String,
    },
}

/// A header or a query parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionValue {
    /// Its name.
    pub name: String,
    /// Whether its value is shown to nobody.
    pub secret: bool,
    /// Its value, sealed in any case.
    pub sealed: String,
}

impl Connection {
    /// `arn:aws:events:REGION:ACCOUNT:connection/NAME/ID`.
    #[must_use]
    pub fn arn(&self, account: &AccountId) -> String {
        format!("arn:aws:events:{}:{account}:connection/{}/{}", self.key.region, self.key.name, self.id)
    }
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiDestination {
    /// Its name.
    pub key: HookKey,
    /// Ends its ARN; a later one of the same name has another.
    pub id: uuid::Uuid,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The connection.
    pub connection: HookKey,
    /// An `http` or `https` address; a `*` in its path stands for a target's path parameter.
    pub endpoint: String,
    /// The method.
    pub method: String,
    /// Requests a second at most, for each target.
    pub rate: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub changed_at: Timestamp,
}

impl ApiDestination {
    /// `arn:aws:events:REGION:ACCOUNT:api-destination/NAME/ID`.
    #[must_use]
    pub fn arn(&self, account: &AccountId) -> String {
        format!("arn:aws:events:{}:{account}:api-destination/{}/{}", self.key.region, self.key.name, self.id)
    }
}
