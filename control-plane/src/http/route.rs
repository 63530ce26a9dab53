//! Which service and operation a request is for, from its head alone.

use http::request::Parts;
use http::{Method, header};
use longshore_core::{Ec2Operation, ec2};
use longshore_ecs_api::autoscaling::{self, ScalingOperation};
use longshore_ecs_api::events::{self, EventsOperation};
use longshore_ecs_api::logs::{self, LogsOperation};
use longshore_ecs_api::scheduler::{self, SchedulerOperation};
use longshore_ecs_api::secrets::{self, SecretsOperation};
use longshore_ecs_api::ssm::{self, SsmOperation};
use longshore_ecs_api::{ApiError, ErrorCode, Operation, SIGNING_NAME, TARGET_PREFIX};

/// How a service wants to be talked to; decides the form of every answer, errors included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// JSON 1.1, the operation in `X-Amz-Target`.
    Json,
    /// Form parameters in, XML out, the operation in the parameter `Action`.
    Query,
    /// As `Query`, with errors in a form of EC2's own.
    Ec2,
    /// REST with JSON, the operation in the method and the path.
    Rest,
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Ecs(Operation),
    Ssm(SsmOperation),
    Logs(LogsOperation),
    Secrets(SecretsOperation),
    Scheduler(SchedulerOperation),
    Events(EventsOperation),
    Scaling(ScalingOperation),
    /// The operation is in the body.
    Sts,
    /// The operation is in the body: absent until that was read.
    Ec2(Option<Ec2Operation>),
}

impl Target {
    /// The service's name in the scope of a signature.
    pub(super) const fn service(self) -> &'static str {
        match self {
            Self::Ecs(_) => SIGNING_NAME,
            Self::Ssm(_) => ssm::SIGNING_NAME,
            Self::Logs(_) => logs::SIGNING_NAME,
            Self::Secrets(_) => secrets::SIGNING_NAME,
            Self::Scheduler(_) => scheduler::SIGNING_NAME,
            Self::Events(_) => events::SIGNING_NAME,
            Self::Scaling(_) => autoscaling::SIGNING_NAME,
            Self::Sts => super::sts::SIGNING_NAME,
            Self::Ec2(_) => ec2::SIGNING_NAME,
        }
    }

    /// The operation's name, for the log.
    pub(super) const fn operation(self) -> &'static str {
        match self {
            Self::Ecs(operation) => operation.name(),
            Self::Ssm(operation) => operation.name(),
            Self::Logs(operation) => operation.name(),
            Self::Secrets(operation) => operation.name(),
            Self::Scheduler(operation) => operation.name(),
            Self::Events(operation) => operation.name(),
            Self::Scaling(operation) => operation.name(),
            Self::Sts => "sts",
            Self::Ec2(Some(operation)) => operation.name(),
            Self::Ec2(None) => "ec2",
        }
    }

    /// Whether the operation only reads; its log line is of less interest. Who was given a secret is of interest.
    pub(super) fn reads(self) -> bool {
        if self == Self::Secrets(SecretsOperation::GetSecretValue) {
            return false;
        }
        let name = self.operation();
        ["List", "Describe", "Get", "Filter", "Follow", "Test"].iter().any(|verb| name.starts_with(verb))
            || self == Self::Sts
    }
}

/// Whether a service of that name, as scopes of signatures have it, is here at all.
pub(super) fn exists(service: &str) -> bool {
    let all = [
        SIGNING_NAME,
        ssm::SIGNING_NAME,
        logs::SIGNING_NAME,
        secrets::SIGNING_NAME,
        scheduler::SIGNING_NAME,
        events::SIGNING_NAME,
        autoscaling::SIGNING_NAME,
        super::sts::SIGNING_NAME,
        ec2::SIGNING_NAME,
    ];
    all.contains(&service)
}

/// The wire of a request: some paths are those of REST services; a form without a target is a Query request, everything
/// else is answered in JSON. Of the Query services the scope of the signature tells which; it is not proven yet, and
/// decides over the form of errors only.
pub(super) fn wire(parts: &Parts) -> Wire {
    if super::rest::is_path(parts.uri.path()) {
        return Wire::Rest;
    }
    let form = parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded"));
    if !form || parts.headers.contains_key("x-amz-target") {
        return Wire::Json;
    }
    let header = parts.headers.get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes).unwrap_or_default();
    let scope = format!("/{}/aws4_request", ec2::SIGNING_NAME);
    if header.windows(scope.len()).any(|part| part == scope.as_bytes()) { Wire::Ec2 } else { Wire::Query }
}

/// The target of a request.
///
/// # Errors
/// `UnknownOperationException` when no service here has such an operation, path or method.
pub(super) fn target(parts: &Parts, wire: Wire) -> Result<Target, ApiError> {
    let unknown = |message: String| ApiError::new(ErrorCode::UnknownOperation, message);
    if wire == Wire::Rest {
        let operation = super::rest::operation(parts).map(Target::Scheduler);
        return operation.ok_or_else(|| unknown("No operation of Scheduler has this method and path.".into()));
    }
    if parts.method != Method::POST || parts.uri.path() != "/" {
        return Err(unknown("Requests to this endpoint are POST requests to the path /.".into()));
    }
    match wire {
        Wire::Query => return Ok(Target::Sts),
        Wire::Ec2 => return Ok(Target::Ec2(None)),
        Wire::Json | Wire::Rest => {}
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
        logs::TARGET_PREFIX => LogsOperation::from_name(name)
            .map(Target::Logs)
            .ok_or_else(|| unknown(format!("The operation {shown} of CloudWatch Logs does not exist here."))),
        secrets::TARGET_PREFIX => SecretsOperation::from_name(name)
            .map(Target::Secrets)
            .ok_or_else(|| unknown(format!("The operation {shown} of Secrets Manager does not exist here."))),
        events::TARGET_PREFIX => EventsOperation::from_name(name)
            .map(Target::Events)
            .ok_or_else(|| unknown(format!("The operation {shown} of EventBridge does not exist here."))),
        autoscaling::TARGET_PREFIX => ScalingOperation::from_name(name)
            .map(Target::Scaling)
            .ok_or_else(|| unknown(format!("The operation {shown} of Application Auto Scaling does not exist here."))),
        _ => Err(unknown("The header X-Amz-Target names a service that does not exist here.".into())),
    }
}
