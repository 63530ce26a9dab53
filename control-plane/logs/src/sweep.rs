//! What makes room: events older than their group's retention, and the oldest of all when the store is full.
//!
//! Whole segments and whole streams go, never single events. A stream that something was added to lately keeps its
//! newest segment, which holds where its container's output goes on.

use crate::group::lock;
use crate::store::{LogError, LogStore, failed};
use crate::stream::{Segment, Stream};
use std::io;
use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;

/// A stream that nothing was added to for so long may go as a whole when the store is full.
const QUIET_MS: i64 = 3600 * 1000;
/// What is left of a full store, in percent of what it may take.
const LEFT_PERCENT: u64 = 90;

/// A thing that may be removed.
struct Candidate {
    region: String,
    group: String,
    stream: String,
    /// A sealed segment; the whole stream when absent.
    segment: Option<Segment>,
    bytes: u64,
    newest_ms: i64,
}

impl LogStore {
    /// Whether more was added than the store may take.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.max_bytes
    }

    /// Removes what is too old, and the oldest of the rest while the store is too full. Goes on after a failure.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) fn sweep(&self, now_ms: i64) -> Result<(), LogError> {
        let mut result = Ok(());
        let mut bytes = 0;
        let mut candidates = Vec::new();
        for ((region, name), group) in self.groups() {
            let oldest_ms = group.meta().oldest_ms(now_ms);
            let streams = match group.streams("") {
                Ok(streams) => streams,
                Err(error) => {
                    keep_first(&mut result, error);
                    continue;
                }
            };
            for (stream_name, stream) in streams {
                // The lock is let go of before anything is removed, which takes it again.
                let looked = look(&lock(&stream), now_ms);
                match looked {
                    Ok(found) => {
                        for (segment, size, newest_ms, whole) in found {
                            let candidate = Candidate {
                                region: region.clone(),
                                group: name.clone(),
                                stream: stream_name.clone(),
                                segment: (!whole).then_some(segment),
                                bytes: size,
                                newest_ms,
                            };
                            bytes += size;
                            if newest_ms >= oldest_ms {
                                candidates.push(candidate);
                            } else if newest_ms < i64::MAX {
                                bytes -= self.remove(&candidate).map_err(|e| keep_first(&mut result, e)).unwrap_or(0);
                            }
                        }
                    }
                    Err(error) => keep_first(&mut result, error),
                }
            }
        }
        if bytes > self.max_bytes {
            candidates.retain(|candidate| candidate.newest_ms < i64::MAX);
            candidates.sort_by_key(|candidate| candidate.newest_ms);
            let before = bytes;
            for candidate in &candidates {
                if bytes <= self.max_bytes / 100 * LEFT_PERCENT {
                    break;
                }
                bytes -= self.remove(candidate).map_err(|e| keep_first(&mut result, e)).unwrap_or(0);
            }
            tracing::warn!(
                removed_bytes = before - bytes,
                left_bytes = bytes,
                max_bytes = self.max_bytes,
                "the log store was full (`log_store_mib`); the oldest events were removed"
            );
        }
        self.bytes.store(bytes, Ordering::Relaxed);
        result
    }

    /// Removes a candidate and answers its size; 0 when it is not what it was any more.
    fn remove(&self, candidate: &Candidate) -> io::Result<u64> {
        let Some(group) = self.group(&candidate.region, &candidate.group) else { return Ok(candidate.bytes) };
        match &candidate.segment {
            Some(segment) => {
                let Some(stream) = group.stream(&candidate.stream)? else { return Ok(candidate.bytes) };
                lock(&stream).remove(segment)?;
            }
            None => _ = group.remove_stream(&candidate.stream)?,
        }
        Ok(candidate.bytes)
    }
}

fn keep_first(result: &mut Result<(), LogError>, error: io::Error) {
    let first = result.is_ok();
    let error = failed("removing what is too old")(error);
    tracing::warn!(error = crate::chain(&error), "a part of the log store could not be looked at");
    if first {
        *result = Err(error);
    }
}

/// The segments of a stream with their sizes, the time of the newest event in each, and whether it stands for the whole
/// stream. `i64::MAX` for one that has to stay.
fn look(stream: &Stream, now_ms: i64) -> io::Result<Vec<(Segment, u64, i64, bool)>> {
    let segments = stream.listed()?;
    let count = segments.len();
    let mut found = Vec::new();
    for (i, segment) in segments.into_iter().enumerate() {
        let size = segment.summary.bytes;
        if i + 1 < count {
            // Sealed, or cut off by a crash before it was renamed, which the next use of the stream mends.
            let newest = if segment.sealed { segment.summary.max_ms } else { i64::MAX };
            found.push((segment, size, newest, false));
        } else {
            let touched = touched_ms(stream)?;
            let newest = if now_ms - touched < QUIET_MS { i64::MAX } else { touched };
            // It goes with the segments before it, if those have not gone yet.
            found.push((segment, size, newest, true));
        }
    }
    Ok(found)
}

/// When something was added last: files change at no other time.
fn touched_ms(stream: &Stream) -> io::Result<i64> {
    let mut newest = 0;
    for entry in std::fs::read_dir(&stream.dir)? {
        let modified = entry?.metadata()?.modified()?;
        let millis = modified.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
        newest = newest.max(i64::try_from(millis).unwrap_or(i64::MAX));
    }
    Ok(newest)
}
