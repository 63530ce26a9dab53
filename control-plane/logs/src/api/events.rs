//! Events of one stream: adding and reading.
//!
//! Tokens of GetLogEvents are positions: `f/N` goes on with event N, `b/N` with those before it. So a token lives as
//! long as its stream, and events that come late, with older times, are never passed over by whoever goes forward.

use super::{Ctx, broken, limit, missing, no_stream, refused, required, time};
use crate::group::lock;
use crate::segment::Event;
use crate::stream::{Segment, Snapshot};
use longshore_ecs_api::ApiError;
use longshore_ecs_api::logs::{
    GetLogEventsRequest, GetLogEventsResponse, InputLogEvent, OutputLogEvent, PutLogEventsRequest,
    PutLogEventsResponse, RejectedLogEventsInfo,
};
use std::collections::VecDeque;

/// CloudWatch's limits of one call.
pub(super) const MAX_EVENTS: usize = 10_000;
pub(super) const MAX_PAGE_BYTES: usize = 1024 * 1024;
/// What CloudWatch counts for an event besides its message.
pub(super) const EVENT_OVERHEAD: usize = 26;
const DAY_MS: i64 = 86_400_000;

pub(super) fn put(ctx: &Ctx<'_>, request: PutLogEventsRequest) -> Result<PutLogEventsResponse, ApiError> {
    let name = required(request.log_stream_name, "logStreamName")?;
    let input = request.log_events.ok_or_else(|| missing("logEvents"))?;
    let group = ctx.group(request.log_group_name.as_deref(), None)?;
    let stream = group.stream(&name).map_err(broken)?.ok_or_else(no_stream)?;
    let events = checked(input)?;
    let retention = group.meta().oldest_ms(ctx.now_ms);
    let too_old = events.partition_point(|event| event.at_ms < ctx.now_ms - 14 * DAY_MS);
    let expired = events.partition_point(|event| event.at_ms < retention);
    let too_new = events.partition_point(|event| event.at_ms <= ctx.now_ms + 2 * 3_600_000);
    let kept = &events[too_old.max(expired).min(too_new)..too_new];
    let mut stream = lock(&stream);
    if stream.removed {
        return Err(no_stream());
    }
    if stream.meta.owner.is_some() {
        return Err(ApiError::invalid("The log stream is that of a container; nothing else is added to it."));
    }
    if !kept.is_empty() {
        let bytes = match stream.append(ctx.now_ms, &[], kept) {
            // Somebody took its files away.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                group.mend_stream(&mut stream).and_then(|()| stream.append(ctx.now_ms, &[], kept))
            }
            added => added,
        };
        let bytes = bytes.map_err(broken)?;
        ctx.store.bytes.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
    }
    let index = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let rejected = RejectedLogEventsInfo {
        too_new_log_event_start_index: (too_new < events.len()).then(|| index(too_new)),
        too_old_log_event_end_index: (too_old > 0).then(|| index(too_old)),
        expired_log_event_end_index: (expired > 0).then(|| index(expired)),
    };
    Ok(PutLogEventsResponse {
        next_sequence_token: Some(format!("{:056}", stream.end().map_err(broken)?)),
        rejected_log_events_info: Some(rejected).filter(|info| *info != RejectedLogEventsInfo::default()),
    })
}

fn checked(input: Vec<InputLogEvent>) -> Result<Vec<Event>, ApiError> {
    if !(1..=MAX_EVENTS).contains(&input.len()) {
        return Err(ApiError::invalid(format!("logEvents must have 1 to {MAX_EVENTS} events.")));
    }
    let mut events: Vec<Event> = Vec::with_capacity(input.len());
    let mut bytes = 0;
    for (i, event) in input.into_iter().enumerate() {
        let at_ms = event.timestamp.ok_or_else(|| missing(&format!("logEvents[{i}].timestamp")))?;
        let message = event.message.ok_or_else(|| missing(&format!("logEvents[{i}].message")))?;
        if at_ms < 0 {
            return Err(ApiError::invalid(format!("logEvents[{i}].timestamp must not be negative.")));
        }
        if !(1..=crate::MAX_MESSAGE_BYTES).contains(&message.len()) {
            let max = crate::MAX_MESSAGE_BYTES;
            return Err(ApiError::invalid(format!("logEvents[{i}].message must have 1 to {max} bytes.")));
        }
        if events.last().is_some_and(|last| last.at_ms > at_ms) {
            return Err(ApiError::invalid(
                "Log events in a single PutLogEvents request must be in chronological order.",
            ));
        }
        if events.first().is_some_and(|first| at_ms - first.at_ms > DAY_MS) {
            return Err(ApiError::invalid(
                "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
            ));
        }
        bytes += message.len() + EVENT_OVERHEAD;
        events.push(Event { at_ms, message });
    }
    if bytes > MAX_PAGE_BYTES {
        return Err(ApiError::invalid(format!(
            "logEvents has {bytes} bytes, with {EVENT_OVERHEAD} for each event; at most {MAX_PAGE_BYTES} are taken."
        )));
    }
    Ok(events)
}

/// Where a page begins, and in which direction it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// With this event.
    Forward(u64),
    /// With the one before this.
    Backward(u64),
}

impl From {
    fn parse(token: &str) -> Option<Self> {
        let (direction, digits) = token.split_once('/')?;
        let ordinal = digits.parse().ok()?;
        match direction {
            "f" => Some(Self::Forward(ordinal)),
            "b" => Some(Self::Backward(ordinal)),
            _ => None,
        }
    }
}

/// What a page has gathered.
struct Page {
    events: VecDeque<(u64, OutputLogEvent)>,
    bytes: usize,
    limit: usize,
}

impl Page {
    fn has_room(&self, message: &str) -> bool {
        let more = message.len() + EVENT_OVERHEAD;
        self.events.is_empty() || (self.events.len() < self.limit && self.bytes + more <= MAX_PAGE_BYTES)
    }

    fn push(&mut self, ordinal: u64, event: OutputLogEvent) {
        self.bytes += event.message.as_ref().map_or(0, String::len) + EVENT_OVERHEAD;
        self.events.push_back((ordinal, event));
    }

    /// Takes events off the beginning until the limits hold.
    fn trim_front(&mut self) {
        while self.events.len() > self.limit || (self.bytes > MAX_PAGE_BYTES && self.events.len() > 1) {
            let Some((_, event)) = self.events.pop_front() else { return };
            self.bytes -= event.message.as_ref().map_or(0, String::len) + EVENT_OVERHEAD;
        }
    }
}

pub(super) fn get(ctx: &Ctx<'_>, request: &GetLogEventsRequest) -> Result<GetLogEventsResponse, ApiError> {
    let limit = limit(request.limit, MAX_EVENTS, MAX_EVENTS)?;
    let start = time(request.start_time, "startTime")?.unwrap_or(0);
    let end = time(request.end_time, "endTime")?.unwrap_or(i64::MAX);
    let from = match request.next_token.as_deref() {
        None => None,
        Some(token) => {
            Some(From::parse(token).ok_or_else(|| ApiError::invalid("The specified nextToken is invalid."))?)
        }
    };
    let group = ctx.group(request.log_group_name.as_deref(), request.log_group_identifier.as_deref())?;
    let name = request.log_stream_name.as_deref().ok_or_else(|| missing("logStreamName"))?;
    crate::store::check_stream_name(name).map_err(|error| refused(&error))?;
    let stream = group.stream(name).map_err(broken)?.ok_or_else(no_stream)?;
    // It is not held while files are read.
    let stream = lock(&stream).snapshot().map_err(broken)?;
    let oldest = group.meta().oldest_ms(ctx.now_ms);
    let wanted = start.max(oldest)..end;
    let last = stream.end();
    // A position beyond the end is that of a stream that was deleted since: what comes next is new in this one.
    let from = match from {
        Some(From::Forward(ordinal)) => From::Forward(ordinal.min(last)),
        Some(From::Backward(ordinal)) => From::Backward(ordinal.min(last)),
        None if request.start_from_head == Some(true) => From::Forward(0),
        None => From::Backward(last),
    };
    let page = Page { events: VecDeque::new(), bytes: 0, limit };
    let page = match from {
        From::Forward(ordinal) => forward(&stream, ordinal, &wanted, page),
        From::Backward(ordinal) => backward(&stream, ordinal, &wanted, page),
    };
    let page = page.map_err(broken)?;
    let (first, next) = match (page.events.front(), page.events.back(), from) {
        (Some((first, _)), Some((last, _)), _) => (*first, last + 1),
        // Nothing: both go on from here.
        (_, _, From::Forward(ordinal) | From::Backward(ordinal)) => (ordinal, ordinal),
    };
    Ok(GetLogEventsResponse {
        events: Some(page.events.into_iter().map(|(_, event)| event).collect()),
        next_forward_token: Some(format!("f/{next:056}")),
        next_backward_token: Some(format!("b/{first:056}")),
    })
}

fn overlaps(segment: &Segment, wanted: &std::ops::Range<i64>) -> bool {
    segment.summary.max_ms >= wanted.start && segment.summary.min_ms < wanted.end
}

fn forward(stream: &Snapshot, from: u64, wanted: &std::ops::Range<i64>, mut page: Page) -> std::io::Result<Page> {
    for segment in stream.segments.iter().filter(|segment| segment.end() > from && overlaps(segment, wanted)) {
        let mut full = false;
        stream.read(segment, |ordinal, event| {
            if ordinal < from || full || !wanted.contains(&event.at_ms) {
                return;
            }
            full = page.events.len() >= page.limit || !page.has_room(event.message);
            if !full {
                page.push(ordinal, shown(event.at_ms, event.ingested_ms, event.message));
            }
        })?;
        if full {
            break;
        }
    }
    Ok(page)
}

fn backward(stream: &Snapshot, before: u64, wanted: &std::ops::Range<i64>, mut page: Page) -> std::io::Result<Page> {
    for segment in stream.segments.iter().rev().filter(|segment| segment.base < before && overlaps(segment, wanted)) {
        let mut part = Page { events: VecDeque::new(), bytes: 0, limit: page.limit };
        stream.read(segment, |ordinal, event| {
            if ordinal < before && wanted.contains(&event.at_ms) {
                part.push(ordinal, shown(event.at_ms, event.ingested_ms, event.message));
                part.trim_front();
            }
        })?;
        part.bytes += page.bytes;
        part.events.append(&mut page.events);
        let gathered = part.events.len();
        part.trim_front();
        page = part;
        if page.events.len() < gathered || page.events.len() >= page.limit {
            break;
        }
    }
    Ok(page)
}

fn shown(at_ms: i64, ingested_ms: i64, message: &str) -> OutputLogEvent {
    OutputLogEvent { timestamp: Some(at_ms), message: Some(message.to_owned()), ingestion_time: Some(ingested_ms) }
}
