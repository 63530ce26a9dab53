//! The three operations of Systems Manager that ECS Anywhere's users need: an activation is how a host's join token
//! is made. `ActivationCode` carries the whole token. Member names begin with a capital letter here.

use crate::EpochSeconds;
use crate::sibling::service_operations;
use serde::{Deserialize, Serialize};

/// What `X-Amz-Target` begins with, up to the dot.
pub const TARGET_PREFIX: &str = "AmazonSSM";

/// The service's name in a credential scope.
pub const SIGNING_NAME: &str = "ssm";

service_operations! {
    /// An operation of Systems Manager that this control plane has.
    SsmOperation {
        /// Makes a join token.
        CreateActivation,
        /// Ends a join token.
        DeleteActivation,
        /// Lists join tokens, without their secrets.
        DescribeActivations,
    }
}

/// A tag, as Systems Manager spells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SsmTag {
    /// Key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// Asks for a join token.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateActivationRequest {
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Name for the instances that join with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_instance_name: Option<String>,
    /// A role; Systems Manager requires it, here it is kept and echoed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iam_role: Option<String>,
    /// How many hosts may join; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_limit: Option<i32>,
    /// When it stops being good; a day from now when absent, at most 30 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration_date: Option<EpochSeconds>,
    /// Tags; `longshore:cluster` binds the token to a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<SsmTag>>,
}

/// The token. `Debug` does not show it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateActivationResponse {
    /// The activation's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation_id: Option<String>,
    /// The whole join token; shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation_code: Option<String>,
}

impl std::fmt::Debug for CreateActivationResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreateActivationResponse")
            .field("activation_id", &self.activation_id)
            .field("activation_code", &crate::wire::Hidden(self.activation_code.is_some()))
            .finish()
    }
}

/// One filter of `DescribeActivations`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ActivationFilter {
    /// `ActivationIds`, `DefaultInstanceName` or `IamRole`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_key: Option<String>,
    /// Any of these matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_values: Option<Vec<String>>,
}

/// Asks for a page of activations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeActivationsRequest {
    /// All of these must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters: Option<Vec<ActivationFilter>>,
    /// Page size, 1 to 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i32>,
    /// Where the last page ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// An activation, without its secret.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Activation {
    /// Id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation_id: Option<String>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Name for the instances that join with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_instance_name: Option<String>,
    /// The role it was made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iam_role: Option<String>,
    /// How many hosts may join.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_limit: Option<i32>,
    /// How many have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registrations_count: Option<i32>,
    /// When it stops being good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration_date: Option<EpochSeconds>,
    /// Whether that has passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expired: Option<bool>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_date: Option<EpochSeconds>,
    /// Tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<SsmTag>>,
}

/// A page of activations.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeActivationsResponse {
    /// The activations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation_list: Option<Vec<Activation>>,
    /// Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// Ends an activation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteActivationRequest {
    /// Which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation_id: Option<String>,
}

/// Nothing more to say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteActivationResponse {}
