//! Events of many streams of a group, by time.
//!
//! An event's id is its time, its stream and its ordinal, so it is unique, never changes, and sorts as the events do.
//! The token of a page is the id of its last event.

use super::events::{EVENT_OVERHEAD, MAX_EVENTS, MAX_PAGE_BYTES};
use super::{Ctx, broken, limit, time};
use crate::group::lock;
use crate::pattern::Pattern;
use crate::stream::Stream;
use longshore_ecs_api::ApiError;
use longshore_ecs_api::logs::{FilterLogEventsRequest, FilterLogEventsResponse, FilteredLogEvent};
use std::collections::BTreeMap;

const MAX_NAMES: usize = 100;
/// Digits of an id: 16 of the time, 20 of the stream, 20 of the ordinal.
const ID_DIGITS: usize = 56;

/// Time, stream, ordinal.
type Key = (i64, u64, u64);

fn id((at_ms, stream, ordinal): Key) -> String {
    format!("{at_ms:016}{stream:020}{ordinal:020}")
}

fn key(id: &str) -> Option<Key> {
    if id.len() != ID_DIGITS || !id.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((id[..16].parse().ok()?, id[16..36].parse().ok()?, id[36..].parse().ok()?))
}

/// The first events after a key, as many as a page may have.
struct Page {
    after: Option<Key>,
    first_ms: i64,
    last_ms: i64,
    limit: usize,
    pattern: Pattern,
    events: BTreeMap<Key, FilteredLogEvent>,
    bytes: usize,
    more: bool,
}

impl Page {
    /// Whether events from `min_ms` on may still be among the first.
    fn wants(&self, min_ms: i64, max_ms: i64) -> bool {
        let in_range = max_ms >= self.first_ms && min_ms <= self.last_ms;
        let after = self.after.is_none_or(|(at, _, _)| max_ms >= at);
        let room = !self.is_full() || self.events.last_key_value().is_none_or(|((at, _, _), _)| min_ms <= *at);
        in_range && after && room
    }

    fn is_full(&self) -> bool {
        self.events.len() >= self.limit || self.bytes >= MAX_PAGE_BYTES
    }

    fn offer(&mut self, key: Key, name: &str, ingested_ms: i64, message: &str) {
        let in_range = (self.first_ms..=self.last_ms).contains(&key.0);
        if !in_range || self.after.is_some_and(|after| key <= after) || !self.pattern.matches(message) {
            return;
        }
        if self.is_full() && self.events.last_key_value().is_some_and(|(last, _)| key > *last) {
            self.more = true;
            return;
        }
        self.bytes += message.len() + EVENT_OVERHEAD;
        let event = FilteredLogEvent {
            log_stream_name: Some(name.to_owned()),
            timestamp: Some(key.0),
            message: Some(message.to_owned()),
            ingestion_time: Some(ingested_ms),
            event_id: Some(id(key)),
        };
        self.events.insert(key, event);
        while self.events.len() > self.limit || (self.bytes > MAX_PAGE_BYTES && self.events.len() > 1) {
            let Some((_, event)) = self.events.pop_last() else { return };
            self.bytes -= event.message.as_ref().map_or(0, String::len) + EVENT_OVERHEAD;
            self.more = true;
        }
    }

    fn look(&mut self, stream: &mut Stream) -> std::io::Result<()> {
        let number = stream_number(stream);
        let name = stream.meta.name.clone();
        let segments = stream.segments()?.clone();
        for segment in &segments {
            if self.wants(segment.summary.min_ms, segment.summary.max_ms) {
                stream.read(segment, |ordinal, event| {
                    self.offer((event.at_ms, number, ordinal), &name, event.ingested_ms, event.message);
                })?;
            } else if self.is_full() {
                // What is passed over for lack of room is for the next page.
                self.more = true;
            }
        }
        Ok(())
    }
}

/// The same for a stream at any time: from the name of its directory, which is random.
fn stream_number(stream: &Stream) -> u64 {
    let digits = stream.dir.file_name().and_then(|name| name.to_str()).and_then(|name| name.get(..16));
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default()
}

pub(super) fn filter(ctx: &Ctx<'_>, request: &FilterLogEventsRequest) -> Result<FilterLogEventsResponse, ApiError> {
    let limit = limit(request.limit, MAX_EVENTS, MAX_EVENTS)?;
    let start = time(request.start_time, "startTime")?.unwrap_or(0);
    let end = time(request.end_time, "endTime")?.unwrap_or(i64::MAX);
    let pattern = Pattern::parse(request.filter_pattern.as_deref().unwrap_or_default())
        .map_err(|why| ApiError::invalid(format!("Invalid filter pattern: {why}.")))?;
    let after = match request.next_token.as_deref() {
        None => None,
        Some(token) => Some(key(token).ok_or_else(|| ApiError::invalid("The specified nextToken is invalid."))?),
    };
    if request.log_stream_names.is_some() && request.log_stream_name_prefix.is_some() {
        return Err(ApiError::invalid("Give logStreamNames or logStreamNamePrefix, not both."));
    }
    let names = request.log_stream_names.as_deref();
    if names.is_some_and(|names| names.is_empty() || names.len() > MAX_NAMES) {
        return Err(ApiError::invalid(format!("logStreamNames must have 1 to {MAX_NAMES} names.")));
    }
    let group = ctx.group(request.log_group_name.as_deref(), request.log_group_identifier.as_deref())?;
    let first_ms = start.max(group.meta().oldest_ms(ctx.now_ms));
    let mut page =
        Page { after, first_ms, last_ms: end, limit, pattern, events: BTreeMap::new(), bytes: 0, more: false };
    match names {
        Some(names) => {
            for name in names {
                let stream = group.stream(name).map_err(broken)?.ok_or_else(super::no_stream)?;
                page.look(&mut lock(&stream)).map_err(broken)?;
            }
        }
        None => {
            let prefix = request.log_stream_name_prefix.as_deref().unwrap_or_default();
            for (_, stream) in group.streams(prefix).map_err(broken)? {
                page.look(&mut lock(&stream)).map_err(broken)?;
            }
        }
    }
    let last = page.events.last_key_value().map(|(key, _)| id(*key));
    Ok(FilterLogEventsResponse {
        next_token: last.filter(|_| page.more),
        events: Some(page.events.into_values().collect()),
        searched_log_streams: Some(Vec::new()),
    })
}
