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
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

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
    most_bytes: usize,
    pattern: Pattern,
    events: BTreeMap<Key, FilteredLogEvent>,
    bytes: usize,
    /// The first event that there was no room for: it and what is behind it are for the next page, however small.
    bound: Option<Key>,
}

impl Page {
    /// Whether events from `min_ms` on may still be among the first.
    fn wants(&self, min_ms: i64, max_ms: i64) -> bool {
        let in_range = max_ms >= self.first_ms && min_ms <= self.last_ms;
        let after = self.after.is_none_or(|(at, _, _)| max_ms >= at);
        let room = self.bound.is_none_or(|(at, _, _)| min_ms <= at);
        in_range && after && room
    }

    fn offer(&mut self, key: Key, name: &str, ingested_ms: i64, message: &str) {
        let in_range = (self.first_ms..=self.last_ms).contains(&key.0);
        let before = self.after.is_some_and(|after| key <= after);
        let behind = self.bound.is_some_and(|bound| key >= bound);
        if !in_range || before || behind || !self.pattern.matches(message) {
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
        while self.events.len() > self.limit || (self.bytes > self.most_bytes && self.events.len() > 1) {
            let Some((key, event)) = self.events.pop_last() else { return };
            self.bytes -= event.message.as_ref().map_or(0, String::len) + EVENT_OVERHEAD;
            self.bound = Some(key);
        }
    }

    /// Looks for events in a stream, which is not held while files are read.
    fn look(&mut self, name: &str, stream: &Mutex<Stream>) -> std::io::Result<()> {
        let snapshot = lock(stream).snapshot()?;
        let number = stream_number(&snapshot.dir);
        for segment in &snapshot.segments {
            if self.wants(segment.summary.min_ms, segment.summary.max_ms) {
                snapshot.read(segment, |ordinal, event| {
                    self.offer((event.at_ms, number, ordinal), name, event.ingested_ms, event.message);
                })?;
            }
        }
        Ok(())
    }
}

/// The same for a stream at any time: from the name of its directory, which is random.
fn stream_number(dir: &Path) -> u64 {
    let digits = dir.file_name().and_then(|name| name.to_str()).and_then(|name| name.get(..16));
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
    let mut page = Page {
        after,
        first_ms,
        last_ms: end,
        limit,
        most_bytes: MAX_PAGE_BYTES,
        pattern,
        events: BTreeMap::new(),
        bytes: 0,
        bound: None,
    };
    match names {
        Some(names) => {
            // Each stream once, however often it is named.
            for name in names.iter().collect::<BTreeSet<_>>() {
                let stream = group.stream(name).map_err(broken)?.ok_or_else(super::no_stream)?;
                page.look(name, &stream).map_err(broken)?;
            }
        }
        None => {
            let prefix = request.log_stream_name_prefix.as_deref().unwrap_or_default();
            for (name, stream) in group.streams(prefix).map_err(broken)? {
                page.look(&name, &stream).map_err(broken)?;
            }
        }
    }
    let last = page.events.last_key_value().map(|(key, _)| id(*key));
    Ok(FilterLogEventsResponse {
        next_token: last.filter(|_| page.bound.is_some()),
        events: Some(page.events.into_values().collect()),
        searched_log_streams: Some(Vec::new()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Events of a segment.
    const SEGMENT: usize = 3;

    /// One page of streams whose events have these times and lengths: the keys in it, and the token.
    fn page(streams: &[Vec<(i64, usize)>], after: Option<Key>, limit: usize, most_bytes: usize) -> (Vec<Key>, bool) {
        let mut page = Page {
            after,
            first_ms: 0,
            last_ms: i64::MAX,
            limit,
            most_bytes,
            pattern: Pattern::default(),
            events: BTreeMap::new(),
            bytes: 0,
            bound: None,
        };
        for (number, events) in (0..).zip(streams) {
            for (base, segment) in (0..).step_by(SEGMENT).zip(events.chunks(SEGMENT)) {
                let times = || segment.iter().map(|(at_ms, _)| *at_ms);
                let (min, max) = (times().min().expect("one"), times().max().expect("one"));
                if page.wants(min, max) {
                    for (ordinal, (at_ms, length)) in (base..).zip(segment) {
                        page.offer((*at_ms, number, ordinal), "s", 0, &"x".repeat(*length));
                    }
                }
            }
        }
        (page.events.keys().copied().collect(), page.bound.is_some())
    }

    #[test]
    fn a_large_event_that_has_no_room_keeps_smaller_ones_behind_it_for_the_next_page() {
        let streams = [vec![(1, 100), (2, 100), (3, 100), (4, 800), (5, 1)]];
        let (first, more) = page(&streams, None, 100, 600);
        assert_eq!((first.as_slice(), more), ([(1, 0, 0), (2, 0, 1), (3, 0, 2)].as_slice(), true));
        let (second, more) = page(&streams, first.last().copied(), 100, 600);
        assert_eq!((second.as_slice(), more), ([(4, 0, 3)].as_slice(), true));
        assert_eq!(page(&streams, second.last().copied(), 100, 600), (vec![(5, 0, 4)], false));
    }

    proptest! {
        #[test]
        fn pages_give_every_event_once_and_in_order(
            streams in vec(vec((0i64..12, 1usize..400), 0..20), 0..5),
            limit in 1usize..8,
            most_bytes in 1usize..1500,
        ) {
            let mut expected: Vec<Key> = (0..)
                .zip(&streams)
                .flat_map(|(number, events)| (0..).zip(events).map(move |(ordinal, (at, _))| (*at, number, ordinal)))
                .collect();
            expected.sort_unstable();
            let mut all = Vec::new();
            loop {
                let (keys, more) = page(&streams, all.last().copied(), limit, most_bytes);
                prop_assert!(keys.len() <= limit);
                prop_assert!(!more || !keys.is_empty(), "no page goes on from nothing");
                all.extend(keys);
                if !more {
                    break;
                }
            }
            prop_assert_eq!(all, expected);
        }
    }
}
