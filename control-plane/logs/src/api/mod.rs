//! The operations of CloudWatch Logs, thin: parse, check, ask the store, show. One file a subject.

mod events;
mod filter;
mod groups;
mod streams;

use crate::group::Group;
use crate::handle::Scope;
use crate::store::{LogError, LogStore, check_group_name};
use bytes::Bytes;
use longshore_ecs_api::logs::LogsOperation;
use longshore_ecs_api::{ApiError, ErrorCode, parse_json};
use serde::Serialize;
use std::io;
use std::sync::Arc;

/// What an operation works with.
pub(crate) struct Ctx<'a> {
    store: &'a LogStore,
    scope: &'a Scope,
    now_ms: i64,
}

/// An answer without members.
#[derive(Serialize)]
struct Nothing {}

/// Does an operation. Blocks on files.
pub(crate) fn call(
    store: &LogStore,
    scope: &Scope,
    op: LogsOperation,
    body: &[u8],
    now_ms: i64,
) -> Result<Bytes, ApiError> {
    let ctx = Ctx { store, scope, now_ms };
    match op {
        LogsOperation::CreateLogGroup => answer(&groups::create(&ctx, parse_json(body)?)?),
        LogsOperation::DeleteLogGroup => answer(&groups::delete(&ctx, parse_json(body)?)?),
        LogsOperation::DescribeLogGroups => answer(&groups::describe(&ctx, &parse_json(body)?)?),
        LogsOperation::PutRetentionPolicy => answer(&groups::put_retention(&ctx, parse_json(body)?)?),
        LogsOperation::DeleteRetentionPolicy => answer(&groups::delete_retention(&ctx, parse_json(body)?)?),
        LogsOperation::TagResource => answer(&groups::tag(&ctx, parse_json(body)?)?),
        LogsOperation::UntagResource => answer(&groups::untag(&ctx, parse_json(body)?)?),
        LogsOperation::ListTagsForResource | LogsOperation::ListTagsLogGroup => {
            answer(&groups::list_tags(&ctx, parse_json(body)?)?)
        }
        LogsOperation::CreateLogStream => answer(&streams::create(&ctx, parse_json(body)?)?),
        LogsOperation::DeleteLogStream => answer(&streams::delete(&ctx, parse_json(body)?)?),
        LogsOperation::DescribeLogStreams => answer(&streams::describe(&ctx, &parse_json(body)?)?),
        LogsOperation::PutLogEvents => answer(&events::put(&ctx, parse_json(body)?)?),
        LogsOperation::GetLogEvents => answer(&events::get(&ctx, &parse_json(body)?)?),
        LogsOperation::FilterLogEvents => answer(&filter::filter(&ctx, &parse_json(body)?)?),
    }
}

fn answer<T: Serialize>(response: &T) -> Result<Bytes, ApiError> {
    serde_json::to_vec(response).map(Bytes::from).map_err(|error| ApiError::server(error.to_string()))
}

impl Ctx<'_> {
    fn region(&self) -> &str {
        self.scope.region.as_str()
    }

    fn group_arn(&self, name: &str) -> String {
        format!("arn:aws:logs:{}:{}:log-group:{name}", self.scope.region, self.scope.account)
    }

    /// The group that a request names, by its name or, where that is taken, by its ARN.
    fn group(&self, name: Option<&str>, identifier: Option<&str>) -> Result<Arc<Group>, ApiError> {
        let name = match (name, identifier) {
            (Some(_), Some(_)) => {
                return Err(ApiError::invalid("Give logGroupName or logGroupIdentifier, not both."));
            }
            (Some(name), None) => name.to_owned(),
            (None, Some(identifier)) => self.name_in(identifier)?,
            (None, None) => return Err(missing("logGroupName")),
        };
        check_group_name(&name).map_err(|error| refused(&error))?;
        self.store.group(self.region(), &name).ok_or_else(no_group)
    }

    /// The group's name in an ARN; a text that is none is a name.
    fn name_in(&self, identifier: &str) -> Result<String, ApiError> {
        if !identifier.starts_with("arn:") {
            return Ok(identifier.to_owned());
        }
        let own = self.group_arn("");
        let name = identifier.strip_prefix(&own).map(|name| name.strip_suffix(":*").unwrap_or(name));
        let name = name.filter(|name| !name.contains(':'));
        name.map(str::to_owned).ok_or_else(|| {
            ApiError::invalid("The ARN must be that of a log group of this account and of the request's region.")
        })
    }
}

fn missing(member: &str) -> ApiError {
    ApiError::invalid(format!("{member} can not be blank."))
}

fn required(value: Option<String>, member: &str) -> Result<String, ApiError> {
    value.ok_or_else(|| missing(member))
}

fn no_group() -> ApiError {
    ApiError::new(ErrorCode::ResourceNotFound, "The specified log group does not exist.")
}

fn no_stream() -> ApiError {
    ApiError::new(ErrorCode::ResourceNotFound, "The specified log stream does not exist.")
}

/// A fault of the store as clients see it. Why is in the log.
fn refused(error: &LogError) -> ApiError {
    match error {
        LogError::Refused(why) => ApiError::invalid(why.clone()),
        LogError::Io { .. } => {
            tracing::error!(error = crate::chain(error), "a request for logs failed");
            ApiError::server("The log store failed; the control plane's log says why.")
        }
    }
}

fn broken(error: io::Error) -> ApiError {
    refused(&LogError::Io { doing: "reading it", source: error })
}

/// A page size of a request.
fn limit(asked: Option<i32>, default: usize, max: usize) -> Result<usize, ApiError> {
    match asked.map(usize::try_from) {
        None => Ok(default),
        Some(Ok(limit)) if (1..=max).contains(&limit) => Ok(limit),
        Some(_) => Err(ApiError::invalid(format!("limit must be between 1 and {max}."))),
    }
}

/// A time of a request, which may not be negative.
fn time(asked: Option<i64>, member: &str) -> Result<Option<i64>, ApiError> {
    match asked {
        Some(at) if at < 0 => Err(ApiError::invalid(format!("{member} must not be negative."))),
        other => Ok(other),
    }
}
