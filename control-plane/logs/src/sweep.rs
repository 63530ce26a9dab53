//! What makes room: events older than their group's retention, and the oldest of all when the store is full.
//!
//! Whole segments and whole streams go, never single events. A stream that something was added to lately keeps its
//! newest segment, which holds where its container's output goes on.

use crate::group::lock;
use crate::store::{LogError, LogStore, failed};
use crate::stream::{Segment, Stream};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;

/// A stream that nothing was added to for so long may go as a whole when the store is full.
const QUIET_MS: i64 = 3600 * 1000;
/// What a stream takes apart from its segments: a directory and a small file, with what a file system has for each.
/// Without it a store of many small streams would never be full.
pub(crate) const STREAM_BYTES: u64 = 8 << 10;
/// What is left of a full store, in percent of what it may take.
const LEFT_PERCENT: u64 = 90;

/// A thing that may be removed.
struct Candidate {
    region: String,
    group: String,
    stream: String,
    /// The stream's directory: another of the same name is another one.
    dir: PathBuf,
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
                let (dir, looked) = {
                    let stream = lock(&stream);
                    (stream.dir.clone(), look(&stream, now_ms))
                };
                match looked {
                    Ok(found) => {
                        for Found { segment, bytes: size, newest_ms } in found {
                            let candidate = Candidate {
                                region: region.clone(),
                                group: name.clone(),
                                stream: stream_name.clone(),
                                dir: dir.clone(),
                                segment,
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
        let Some(stream) = group.stream(&candidate.stream)? else { return Ok(candidate.bytes) };
        match &candidate.segment {
            Some(segment) => {
                let mut stream = lock(&stream);
                if stream.dir == candidate.dir {
                    stream.remove(segment)?;
                }
                Ok(candidate.bytes)
            }
            None => {
                // What was added since the look was acknowledged, and stays.
                let same = |stream: &Stream| {
                    Ok(stream.dir == candidate.dir && touched_ms(stream)? == Some(candidate.newest_ms))
                };
                let removed = group.remove_stream_if(&candidate.stream, same)?;
                Ok(if removed { candidate.bytes } else { 0 })
            }
        }
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

/// A part of a stream that may go by itself.
struct Found {
    /// A segment; the rest of the stream when absent.
    segment: Option<Segment>,
    bytes: u64,
    /// The time of the newest event in it; `i64::MAX` for what has to stay.
    newest_ms: i64,
}

fn look(stream: &Stream, now_ms: i64) -> io::Result<Vec<Found>> {
    let mut segments = stream.listed()?;
    let last = segments.pop();
    let mut found: Vec<Found> = segments
        .into_iter()
        .map(|segment| {
            // Sealed, or cut off by a crash before it was renamed, which the next use of the stream mends.
            let newest_ms = if segment.sealed { segment.summary.max_ms } else { i64::MAX };
            Found { bytes: segment.summary.bytes, segment: Some(segment), newest_ms }
        })
        .collect();
    // The newest segment goes with the stream, and those before it if they have not gone yet. A stream that a client
    // made and has not used stays; one without events that an agent asked about comes back when it is needed.
    let may_go = last.is_some() || stream.meta.owner.is_some();
    let quiet = if may_go { quiet_since(stream, now_ms)? } else { None };
    let bytes = STREAM_BYTES + last.map_or(0, |segment| segment.summary.bytes);
    found.push(Found { segment: None, bytes, newest_ms: quiet.unwrap_or(i64::MAX) });
    Ok(found)
}

/// When something was added last, if nothing was for a while.
fn quiet_since(stream: &Stream, now_ms: i64) -> io::Result<Option<i64>> {
    Ok(touched_ms(stream)?.filter(|touched| now_ms - touched >= QUIET_MS))
}

/// When something was added last: files change at no other time. `None` when there are none.
fn touched_ms(stream: &Stream) -> io::Result<Option<i64>> {
    let entries = match std::fs::read_dir(&stream.dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let mut newest = None;
    for entry in entries {
        let modified = entry?.metadata()?.modified()?;
        let millis = modified.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
        newest = newest.max(Some(i64::try_from(millis).unwrap_or(i64::MAX)));
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Event;
    use crate::store::{Chunk, StreamKey};
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    fn now_ms() -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after it");
        i64::try_from(since.as_millis()).expect("fits")
    }

    fn take(store: &LogStore, stream: &str, from: &str, to: &str) {
        let key = StreamKey { region: "lab-1".into(), group: "app".into(), stream: stream.into() };
        let events = if to == from { Vec::new() } else { vec![Event { at_ms: now_ms(), message: to.into() }] };
        let chunk = Chunk { key, from: from.into(), to: to.into(), events };
        assert_eq!(store.take(now_ms(), "h1", &chunk).expect("taken"), to.as_bytes());
    }

    /// Makes everything in a directory so many hours older.
    fn age(dir: &Path, hours: u64) {
        for entry in std::fs::read_dir(dir).expect("readable") {
            let file = std::fs::File::open(entry.expect("readable").path()).expect("opens");
            let then = SystemTime::now() - Duration::from_secs(hours * 3600);
            file.set_modified(then).expect("set");
        }
    }

    fn dir(store: &LogStore, stream: &str) -> PathBuf {
        let group = store.group("lab-1", "app").expect("a group");
        let stream = group.stream(stream).expect("readable").expect("a stream");
        lock(&stream).dir.clone()
    }

    fn has(store: &LogStore, stream: &str) -> bool {
        store.group("lab-1", "app").expect("a group").stream(stream).expect("readable").is_some()
    }

    #[test]
    fn a_stream_that_is_added_to_after_the_look_stays() {
        let root = tempfile::tempdir().expect("a directory");
        let store = LogStore::open(root.path(), 1 << 30).expect("opens");
        take(&store, "s", "", "c1");
        let dir = dir(&store, "s");
        age(&dir, 2);
        let group = store.group("lab-1", "app").expect("a group");
        let stream = group.stream("s").expect("readable").expect("a stream");
        let newest_ms = quiet_since(&lock(&stream), now_ms()).expect("readable").expect("it is quiet");
        let names = || ("lab-1".to_owned(), "app".to_owned(), "s".to_owned());
        let candidate = |dir: PathBuf| {
            let (region, group, stream) = names();
            Candidate { region, group, stream, dir, segment: None, bytes: 10, newest_ms }
        };
        assert_eq!(store.remove(&candidate(root.path().to_owned())).expect("looked"), 0, "it is another stream's");
        take(&store, "s", "c1", "c2");
        assert_eq!(store.remove(&candidate(dir.clone())).expect("looked"), 0);
        assert!(has(&store, "s"));
        take(&store, "s", "c2", "c3");
        age(&dir, 2);
        store.sweep(now_ms()).expect("sweeps");
        assert!(has(&store, "s"), "nothing is too old, and there is room");
        let newest_ms = quiet_since(&lock(&stream), now_ms()).expect("readable").expect("it is quiet");
        assert_eq!(store.remove(&Candidate { newest_ms, ..candidate(dir) }).expect("removed"), 10);
        assert!(!has(&store, "s"));
    }

    #[test]
    fn streams_count_and_those_without_events_go_too() {
        let root = tempfile::tempdir().expect("a directory");
        let store = LogStore::open(root.path(), 20 * STREAM_BYTES).expect("opens");
        for i in 0..15 {
            take(&store, &format!("asked/{i:02}"), "", "");
        }
        assert!(!store.is_full());
        for i in 0..10 {
            take(&store, &format!("small/{i:02}"), "", "c1");
        }
        assert!(store.is_full(), "{} bytes", store.bytes.load(Ordering::Relaxed));
        // All are in use, so none goes.
        store.sweep(now_ms()).expect("sweeps");
        assert!(store.is_full() && has(&store, "asked/00"));
        for i in 0..15 {
            age(&dir(&store, &format!("asked/{i:02}")), 20 + i);
        }
        store.sweep(now_ms()).expect("sweeps");
        assert!(!store.is_full());
        assert!(!has(&store, "asked/14") && has(&store, "asked/00") && has(&store, "small/00"), "the oldest go first");
        // By retention they go without need, but not what a client made.
        let group = store.group("lab-1", "app").expect("a group");
        let meta = crate::stream::StreamMeta { name: "mine".into(), created_ms: 0, owner: None };
        group.ensure(meta).expect("made");
        age(&dir(&store, "mine"), 30);
        age(&dir(&store, "asked/00"), 30);
        group.change(|meta| meta.retention_days = Some(1)).expect("changed");
        store.sweep(now_ms()).expect("sweeps");
        assert!(!has(&store, "asked/00") && has(&store, "mine") && has(&store, "small/00"));
    }
}
