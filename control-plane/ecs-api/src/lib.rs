//! Request and response types of the ECS API.
//!
//! The types under [`requests`], [`responses`], [`types`] and [`enums`], the operations and the error codes are
//! generated from the service model that AWS publishes (see NOTICE; `generator/` writes them). Every member is an
//! `Option`: absent and `null` are the same, unknown members are ignored, and what is `None` is not written. This
//! crate never judges values: it knows names and types, and which members a request must have.

pub mod autoscaling;
mod error;
pub mod events;
pub mod logs;
mod parse;
pub mod scheduler;
pub mod secrets;
mod sibling;
pub mod ssm;
pub mod target;
mod wire;

// Generated text carries names, not prose: what a member means is ECS's own documentation.
#[allow(missing_docs, clippy::derive_partial_eq_without_eq)]
mod generated;

pub use error::ApiError;
pub use generated::enums;
pub use generated::errors::ErrorCode;
pub use generated::operations::{Operation, SIGNING_NAME, TARGET_PREFIX};
pub use generated::requests;
pub use generated::responses;
pub use generated::types;
pub use parse::{parse, parse_json};
pub use wire::EpochSeconds;

/// The input of an operation.
pub trait Request: Default + serde::Serialize + serde::de::DeserializeOwned {
    /// The operation.
    const OPERATION: Operation;
    /// Wire names of the members that the model requires.
    const REQUIRED: &'static [&'static str];
    /// What the operation answers with.
    type Response: Default + serde::Serialize + serde::de::DeserializeOwned;

    /// The first required member that is absent, by its wire name.
    fn missing(&self) -> Option<&'static str>;
}
