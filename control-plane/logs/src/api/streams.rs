//! Streams: making, listing, deleting.

use super::{Ctx, Nothing, broken, limit, no_stream, refused, required};
use crate::group::lock;
use crate::store::check_stream_name;
use crate::stream::{Stream, StreamMeta};
use crate::sweep::STREAM_BYTES;
use longshore_ecs_api::logs::{DescribeLogStreamsRequest, DescribeLogStreamsResponse, LogStream, LogStreamRequest};
use longshore_ecs_api::{ApiError, ErrorCode};
use std::sync::atomic::Ordering;

pub(super) fn create(ctx: &Ctx<'_>, request: LogStreamRequest) -> Result<Nothing, ApiError> {
    let name = required(request.log_stream_name, "logStreamName")?;
    check_stream_name(&name).map_err(|error| refused(&error))?;
    let group = ctx.group(request.log_group_name.as_deref(), None)?;
    match group.ensure(StreamMeta { name, created_ms: ctx.now_ms, owner: None }).map_err(broken)? {
        (_, true) => {
            ctx.store.bytes.fetch_add(STREAM_BYTES, Ordering::Relaxed);
            Ok(Nothing {})
        }
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
    let descending = request.descending == Some(true);
    if descending {
        streams.reverse();
    }
    // What comes behind the token's place, wherever the stream that had it is by now.
    if let Some(token) = request.next_token.as_deref() {
        let last = place(token).ok_or_else(|| ApiError::invalid("The specified nextToken is invalid."))?;
        streams.retain(|(place, _)| if descending { *place < last } else { *place > last });
    }
    let more = streams.len() > limit;
    streams.truncate(limit);
    let next_token = streams.last().filter(|_| more).map(|((at, name), _)| format!("{at:020}/{name}"));
    let mut shown = Vec::new();
    for ((_, name), stream) in &streams {
        shown.push(show(ctx, &group.meta().name, name, &mut lock(stream))?);
    }
    Ok(DescribeLogStreamsResponse { log_streams: Some(shown), next_token })
}

/// The place of the last stream of a page: what it was ordered by, and its name.
fn place(token: &str) -> Option<(i64, String)> {
    let (at, name) = token.split_once('/')?;
    Some((at.parse().ok()?, name.to_owned()))
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
