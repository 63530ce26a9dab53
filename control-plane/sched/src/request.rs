//! What is to be placed, and how.

use crate::claim::Claim;
use crate::query::{Expression, QueryError};
use longshore_model::{Attribute, InstanceId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Tasks to place, all alike.
#[derive(Debug, Clone)]
pub struct Request {
    /// How many.
    pub count: u32,
    /// What each takes of its host.
    pub claim: Claim,
    /// Attributes and capabilities that the host must have; one without a value is met by any value.
    pub required: Vec<Attribute>,
    /// All of them must hold.
    pub constraints: Vec<Constraint>,
    /// Applied in order, each among the hosts that the ones before it hold equal. None is random.
    pub strategies: Vec<Strategy>,
    /// The tasks' group: what `distinctInstance` and `spread` count.
    pub group: String,
    /// Tasks of the group that are about to go, by host: `spread` evens out the others. `distinctInstance` counts
    /// these, too, as long as they are there.
    pub leaving: BTreeMap<InstanceId, u32>,
    /// What stays free for others.
    pub kept: Arc<[Kept]>,
    /// Decides wherever nothing else does. The same hosts, request and seed give the same answer.
    pub seed: u64,
}

/// One task of a group on each host: a host that lacks it keeps room for it (as ECS does for DAEMON services), if it
/// could have it at all. CPU, memory and interfaces are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// The group of the task.
    pub group: String,
    /// What it will take.
    pub claim: Claim,
    /// What hosts that should have one have.
    pub required: Vec<Attribute>,
    /// What holds of them.
    pub constraints: Vec<Constraint>,
}

/// What must hold of a host.
#[derive(Debug, Clone, PartialEq)]
pub enum Constraint {
    /// At most one task of the group on a host.
    DistinctInstance,
    /// The host is one that the expression selects.
    MemberOf(Expression),
}

/// How one host is preferred to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// No preference; ends the list, since nothing is left to prefer after it.
    Random,
    /// Where the fewest tasks of the group are.
    Spread(SpreadOver),
    /// Where the least is free, so that few hosts are used.
    BinPack(Packed),
}

/// Over what tasks are spread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpreadOver {
    /// Single hosts (`instanceId`, `host`).
    Instance,
    /// The values of this attribute. Hosts without it count as one value of their own.
    Attribute(String),
}

/// What `binpack` looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packed {
    /// CPU units.
    Cpu,
    /// Memory.
    Memory,
}

/// Why a constraint or strategy of an API request is none. The text begins with the field's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A type that does not exist.
    #[error("type: `{given}` is none of {known}")]
    Type {
        /// What was given.
        given: String,
        /// What there is.
        known: &'static str,
    },
    /// A field that the strategy cannot use.
    #[error("field: `{given}` is not a field for {strategy}; it takes {known}")]
    Field {
        /// What was given.
        given: String,
        /// The strategy.
        strategy: &'static str,
        /// What it takes.
        known: &'static str,
    },
    /// `distinctInstance` with an expression.
    #[error("expression: distinctInstance takes none")]
    UnexpectedExpression,
    /// `memberOf` without an expression.
    #[error("expression: memberOf needs one")]
    MissingExpression,
    /// `memberOf` with an expression that does not parse.
    #[error("expression: {0}")]
    Expression(#[from] QueryError),
}

impl Constraint {
    /// From the fields of an ECS `PlacementConstraint`.
    ///
    /// # Errors
    /// When the type is unknown or the expression does not go with it.
    pub fn parse(kind: &str, expression: Option<&str>) -> Result<Self, RequestError> {
        let expression = expression.filter(|text| !text.is_empty());
        match (kind, expression) {
            ("distinctInstance", None) => Ok(Self::DistinctInstance),
            ("distinctInstance", Some(_)) => Err(RequestError::UnexpectedExpression),
            ("memberOf", Some(text)) => Ok(Self::MemberOf(Expression::parse(text)?)),
            ("memberOf", None) => Err(RequestError::MissingExpression),
            (given, _) => Err(RequestError::Type { given: given.to_owned(), known: "`distinctInstance`, `memberOf`" }),
        }
    }
}

impl Strategy {
    /// From the fields of an ECS `PlacementStrategy`. Field names are taken in any case, as ECS does.
    ///
    /// # Errors
    /// When the type is unknown or the field does not go with it.
    pub fn parse(kind: &str, field: Option<&str>) -> Result<Self, RequestError> {
        let field = field.unwrap_or("");
        let bad_field = |strategy, known| RequestError::Field { given: field.to_owned(), strategy, known };
        match kind {
            // ECS does not look at the field of `random`.
            "random" => Ok(Self::Random),
            "spread" => match field.strip_prefix("attribute:") {
                Some(name) if !name.is_empty() => Ok(Self::Spread(SpreadOver::Attribute(name.to_owned()))),
                None if field.eq_ignore_ascii_case("instanceId") || field.eq_ignore_ascii_case("host") => {
                    Ok(Self::Spread(SpreadOver::Instance))
                }
                _ => Err(bad_field("spread", "`instanceId`, `host` or `attribute:NAME`")),
            },
            "binpack" if field.eq_ignore_ascii_case("cpu") => Ok(Self::BinPack(Packed::Cpu)),
            "binpack" if field.eq_ignore_ascii_case("memory") => Ok(Self::BinPack(Packed::Memory)),
            "binpack" => Err(bad_field("binpack", "`cpu` or `memory`")),
            given => Err(RequestError::Type { given: given.to_owned(), known: "`random`, `spread`, `binpack`" }),
        }
    }
}
