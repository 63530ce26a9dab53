//! Streams: making, listing, deleting.

use super::{Ctx, Nothing, broken, limit, no_stream, refused, required};
use crate::group::lock;
use crate::store::check_stream_name;
use crate::stream::{Stream, StreamMeta};
use longshore_ecs_api::logs::{DescribeLogStreamsRequest, DescribeLogStreamsResponse, LogStream, LogStreamRequest};
use longshore_ecs_api::{ApiError, ErrorCode};

pub(super) fn create(ctx: &Ctx<'_>, request: LogStreamRequest) -> Result<Nothing, ApiError> {
    let name = required(request.log_stream_name, "logStreamName")?;
    check_stream_name(&name).map_err(|error| refused(&error))?;
    let group = ctx.group(request.log_group_name.as_deref(), None)?;
    match group.ensure(StreamMeta { name, created_ms: ctx.now_ms, owner: None }).map_err(broken)? {
        (_, true) => Ok(Nothing {}),
        (_, false) => Err(ApiError::new(ErrorCode::ResourceAlreadyExists, "The specified log stream already exists")),
    }
}

pub(super) fn delete(ctx: &Ctx<'_>, request: LogStreamRequest) -> Result<Nothing, ApiError> {
    let name = required(request.log_stream_name, "logStreamName")?;
    let group = ctx.group(request.log_group_name.as_deref(), None)?;
    match group.remove_stream(&name).map_err(broken)? {
        true => Ok(Nothing {}),
        false => Err(no_stream()),
    }
}

pub(super) fn describe(
    ctx: &Ctx<'_>,
    request: &DescribeLogStreamsRequest,
) -> Result<DescribeLogStreamsResponse, ApiError> {
    let limit = limit(request.limit, 50, 50)?;
    let by_time = match request.order_by.as_deref() {
        None | Some("LogStreamName") => false,
        Some("LastEventTime") => true,
        Some(_) => return Err(ApiError::invalid("orderBy must be LogStreamName or LastEventTime.")),
    };
    if by_time && request.log_stream_name_prefix.is_some() {
        return Err(ApiError::invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
    }
    let group = ctx.group(request.log_group_name.as_deref(), request.log_group_identifier.as_deref())?;
    let prefix = request.log_stream_name_prefix.as_deref().unwrap_or_default();
    let mut streams = Vec::new();
    for (name, stream) in group.streams(prefix).map_err(broken)? {
        let at = if by_time { times(&mut lock(&stream))?.map_or(0, |times| times.last_ms) } else { 0 };
        streams.push(((at, name), stream));
    }
    streams.sort_by(|(a, _), (b, _)| a.cmp(b));
    if request.descending == Some(true) {
        streams.reverse();
    }
    // The token names the last stream of the page before; one that is gone since was before everything.
    let skip = match request.next_token.as_deref() {
        None => 0,
        Some(token) => streams.iter().position(|((_, name), _)| name == token).map_or(0, |at| at + 1),
    };
    let mut shown = Vec::new();
    for ((_, name), stream) in streams.iter().skip(skip).take(limit) {
        shown.push(show(ctx, &group.meta().name, name, &mut lock(stream))?);
    }
    let more = skip + shown.len() < streams.len();
    let next_token = shown.last().and_then(|stream| stream.log_stream_name.clone()).filter(|_| more);
    Ok(DescribeLogStreamsResponse { log_streams: Some(shown), next_token })
}

/// The times of a stream that has events.
struct Times {
    first_ms: i64,
    last_ms: i64,
    ingested_ms: i64,
}

fn times(stream: &mut Stream) -> Result<Option<Times>, ApiError> {
    let segments = stream.segments().map_err(broken)?;
    let with_events = segments.iter().filter(|segment| segment.summary.events > 0);
    Ok(with_events.fold(None, |times: Option<Times>, segment| {
        let s = &segment.summary;
        let known = times.unwrap_or(Times { first_ms: i64::MAX, last_ms: 0, ingested_ms: 0 });
        Some(Times {
            first_ms: known.first_ms.min(s.min_ms),
            last_ms: known.last_ms.max(s.max_ms),
            ingested_ms: known.ingested_ms.max(s.ingested_ms),
        })
    }))
}

fn show(ctx: &Ctx<'_>, group: &str, name: &str, stream: &mut Stream) -> Result<LogStream, ApiError> {
    let times = times(stream)?;
    let bytes: u64 = stream.segments().map_err(broken)?.iter().map(|segment| segment.summary.bytes).sum();
    Ok(LogStream {
        log_stream_name: Some(name.to_owned()),
        creation_time: Some(stream.meta.created_ms),
        first_event_timestamp: times.as_ref().map(|times| times.first_ms),
        last_event_timestamp: times.as_ref().map(|times| times.last_ms),
        last_ingestion_time: times.as_ref().map(|times| times.ingested_ms),
        upload_sequence_token: None,
        arn: Some(format!("{}:log-stream:{name}", ctx.group_arn(group))),
        stored_bytes: Some(i64::try_from(bytes).unwrap_or(i64::MAX)),
    })
}
