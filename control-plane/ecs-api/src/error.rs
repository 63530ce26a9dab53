//! The error that every operation answers with, and its JSON.

use crate::ErrorCode;
use serde_json::{Map, Value};
use std::fmt;

/// Characters of a message.
const MAX_MESSAGE: usize = 1024;

/// An error as a client sees it: a code that programs match, a message that people read.
///
/// The message goes to whoever sent the request: it names fields and resources, and never holds secrets.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    /// The code.
    pub code: ErrorCode,
    /// The message.
    pub message: String,
    /// Further members of the body, such as `resourceIds` of a `ConflictException`.
    pub extra: Map<String, Value>,
}

impl ApiError {
    /// An error of that code. A message of more than 1024 characters is cut: it may quote what the client sent.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if let Some((at, _)) = message.char_indices().nth(MAX_MESSAGE) {
            message.truncate(at);
            message.push('…');
        }
        Self { code, message, extra: Map::new() }
    }

    /// A `ClientException`: the request cannot be done as asked.
    #[must_use]
    pub fn client(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Client, message)
    }

    /// An `InvalidParameterException`: a parameter breaks its rule.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidParameter, message)
    }

    /// `ClusterNotFoundException` in ECS's words.
    #[must_use]
    pub fn cluster_not_found() -> Self {
        Self::new(ErrorCode::ClusterNotFound, "Cluster not found.")
    }

    /// `UnsupportedFeatureException` for an operation or option that this version does not have.
    #[must_use]
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::UnsupportedFeature, message)
    }

    /// `ServerException`: our fault. SDKs retry it, so only for faults that may pass.
    #[must_use]
    pub fn server(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Server, message)
    }

    /// The same with one more member in the body.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(member.to_owned(), value.into());
        self
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.code.status()
    }

    /// The JSON body: `__type`, `message`, and the further members.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut body = self.extra.clone();
        body.insert("__type".into(), self.code.as_str().into());
        body.insert("message".into(), self.message.as_str().into());
        serde_json::to_vec(&body).expect("a map of JSON values always serialises")
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for ApiError {}
