//! Errors of EC2. One list of codes, in EC2's spelling, which is not always consistent.

use crate::agent::Unavailable;
use longshore_ecs_api::ApiError;
use longshore_model::{GroupId, RuleId};

/// What a client of EC2 is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Ec2Error {
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl Ec2Error {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// HTTP's status for it.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.code {
            "DryRunOperation" => 412,
            "InternalError" => 500,
            "Unavailable" => 503,
            _ => 400,
        }
    }

    pub(crate) fn value(parameter: &str, value: &str, why: &str) -> Self {
        Self::new("InvalidParameterValue", format!("Value ({value}) for parameter {parameter} is invalid. {why}"))
    }

    pub(crate) fn missing(parameter: &str) -> Self {
        Self::new("MissingParameter", format!("The request must contain the parameter {parameter}"))
    }

    pub(crate) fn no_group(id: impl std::fmt::Display) -> Self {
        Self::new("InvalidGroup.NotFound", format!("The security group '{id}' does not exist"))
    }

    pub(crate) fn no_rule(id: RuleId) -> Self {
        Self::new("InvalidSecurityGroupRuleId.NotFound", format!("The security group rule ID '{id}' does not exist"))
    }

    pub(crate) fn in_use(id: GroupId) -> Self {
        Self::new("DependencyViolation", format!("resource {id} has a dependent object"))
    }
}

impl From<Unavailable> for Ec2Error {
    fn from(why: Unavailable) -> Self {
        Self::new("Unavailable", why.to_string())
    }
}

/// Of checks that EC2 and ECS share: tags and page tokens.
impl From<ApiError> for Ec2Error {
    fn from(error: ApiError) -> Self {
        Self::new(if error.status() < 500 { "InvalidParameterValue" } else { "InternalError" }, error.message)
    }
}
