//! Which service and operation a request is for, from its head alone.

use http::request::Parts;
use http::{Method, header};
use longshore_ecs_api::ssm::{self, SsmOperation};
use longshore_ecs_api::{ApiError, ErrorCode, Operation, SIGNING_NAME, TARGET_PREFIX};

/// How a service wants to be talked to; decides the form of every answer, errors included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// JSON 1.1, the operation in `X-Amz-Target`.
    Json,
    /// Form parameters in, XML out, the operation in the parameter `Action`.
    Query,
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Ecs(Operation),
    Ssm(SsmOperation),
    /// The operation is in the body.
    Sts,
}

impl Target {
    /// The service's name in the scope of a signature.
    pub(super) const fn service(self) -> &'static str {
        match self {
            Self::Ecs(_) => SIGNING_NAME,
            Self::Ssm(_) => ssm::SIGNING_NAME,
            Self::Sts => super::sts::SIGNING_NAME,
        }
    }

    /// The operation's name, for the log.
    pub(super) const fn operation(self) -> &'static str {
        match self {
            Self::Ecs(operation) => operation.name(),
            Self::Ssm(operation) => operation.name(),
            Self::Sts => "sts",
        }
    }

    /// Whether the operation only reads; its log line is of less interest.
    pub(super) fn reads(self) -> bool {
        let name = self.operation();
        name.starts_with("List") || name.starts_with("Describe") || self == Self::Sts
    }
}

/// Whether a service of that name, as scopes of signatures have it, is here at all.
pub(super) fn exists(service: &str) -> bool {
    [SIGNING_NAME, ssm::SIGNING_NAME, super::sts::SIGNING_NAME].contains(&service)
}

/// The wire of a request: a form without a target is a Query request, everything else is answered in JSON.
pub(super) fn wire(parts: &Parts) -> Wire {
    let form = parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded"));
    if form && !parts.headers.contains_key("x-amz-target") { Wire::Query } else { Wire::Json }
}

/// The target of a request.
///
/// # Errors
/// `UnknownOperationException` when no service here has such an operation, path or method.
pub(super) fn target(parts: &Parts, wire: Wire) -> Result<Target, ApiError> {
    let unknown = |message: String| ApiError::new(ErrorCode::UnknownOperation, message);
    if parts.method != Method::POST || parts.uri.path() != "/" {
        return Err(unknown("Requests to this endpoint are POST requests to the path /.".into()));
    }
    if wire == Wire::Query {
        return Ok(Target::Sts);
    }
    let header = parts.headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    let Some((prefix, name)) = header.and_then(|value| value.split_once('.')) else {
        return Err(unknown("The header X-Amz-Target must name a service and an operation.".into()));
    };
    // What a client sent comes back only where it cannot be abused: short and plain.
    let plain = !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric());
    let shown = if plain { name } else { "?" };
    match prefix {
        TARGET_PREFIX => Operation::from_name(name)
            .map(Target::Ecs)
            .ok_or_else(|| unknown(format!("The operation {shown} is not an operation of ECS."))),
        ssm::TARGET_PREFIX => SsmOperation::from_name(name).map(Target::Ssm).ok_or_else(|| {
            unknown(format!("The operation {shown} of Systems Manager does not exist here; only activations do."))
        }),
        _ => Err(unknown("The header X-Amz-Target names a service that does not exist here.".into())),
    }
}
