//! One stream: its segments, what was added last, and reading.
//!
//! ```text
//! <uuid>/stream.json                                        name, time of creation, owner
//! <uuid>/<first ordinal>-<events>-<min>-<max>-<arrival>.log a sealed segment
//! <uuid>/<first ordinal>.log                                the segment that grows
//! ```
//!
//! An event's ordinal is its position in the stream, counted from 0 and never used again. Of segments only the one that
//! grows has to be read to know what is in it.

use crate::segment::{Event, Stored, Summary, encode, scan};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// A segment that is larger gets no more records.
const SEGMENT_BYTES: u64 = 2 * 1024 * 1024;
/// A segment that is older gets none either, so that retention finds segments to remove.
const SEGMENT_AGE_MS: i64 = 24 * 3600 * 1000;
/// The file with what a stream is.
pub(crate) const META_FILE: &str = "stream.json";

/// What a stream is, apart from its events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StreamMeta {
    pub(crate) name: String,
    pub(crate) created_ms: i64,
    /// The container instance that may add to it; clients of the API add to those that have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
}

/// A segment of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) base: u64,
    pub(crate) sealed: bool,
    pub(crate) summary: Summary,
}

/// A stream. Its segments are looked at when they are first needed.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) dir: PathBuf,
    pub(crate) meta: StreamMeta,
    /// Somebody deleted it: whoever still holds it finds another one by its name, or none.
    pub(crate) removed: bool,
    segments: Option<Vec<Segment>>,
}

impl Segment {
    fn path(&self, dir: &Path) -> PathBuf {
        let Self { base, sealed, summary: s } = self;
        dir.join(if *sealed {
            format!("{base:020}-{}-{}-{}-{}.log", s.events, s.min_ms, s.max_ms, s.ingested_ms)
        } else {
            format!("{base:020}.log")
        })
    }

    /// From a file's name; of one that grows nothing but its first ordinal is known.
    fn named(name: &str, bytes: u64) -> Option<Self> {
        let mut parts = name.strip_suffix(".log")?.split('-');
        let base = parts.next()?.parse().ok()?;
        let mut summary = Summary { bytes, ..Summary::default() };
        let Some(events) = parts.next() else { return Some(Self { base, sealed: false, summary }) };
        summary.events = events.parse().ok()?;
        summary.min_ms = parts.next()?.parse().ok()?;
        summary.max_ms = parts.next()?.parse().ok()?;
        summary.ingested_ms = parts.next()?.parse().ok()?;
        Some(Self { base, sealed: true, summary })
    }

    pub(crate) fn end(&self) -> u64 {
        self.base + self.summary.events
    }
}

impl Stream {
    /// Makes a stream in a directory of its own below `group`.
    pub(crate) fn create(group: &Path, meta: StreamMeta) -> io::Result<Self> {
        let dir = group.join(uuid::Uuid::new_v4().simple().to_string());
        fs::create_dir(&dir)?;
        write_json(&dir.join(META_FILE), &meta)?;
        sync_dir(group)?;
        Ok(Self { dir, meta, removed: false, segments: Some(Vec::new()) })
    }

    /// The stream in `dir`; `None` when there is none, since a crash cut its making.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Option<Self>> {
        let meta = match fs::read(dir.join(META_FILE)) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Self { dir, meta, removed: false, segments: None }))
    }

    /// Its segments, in order; only the last may grow.
    pub(crate) fn segments(&mut self) -> io::Result<&mut Vec<Segment>> {
        if self.segments.is_none() {
            self.segments = Some(load(&self.dir)?);
        }
        Ok(self.segments.as_mut().expect("just loaded"))
    }

    /// Segments as far as names tell, without a look into any.
    pub(crate) fn listed(&self) -> io::Result<Vec<Segment>> {
        match &self.segments {
            Some(segments) => Ok(segments.clone()),
            None => list(&self.dir),
        }
    }

    /// Removes a sealed segment, all of whose events are then gone.
    pub(crate) fn remove(&mut self, segment: &Segment) -> io::Result<()> {
        crate::group::unless_gone(fs::remove_file(segment.path(&self.dir)))?;
        if let Some(segments) = &mut self.segments {
            segments.retain(|s| s.base != segment.base);
        }
        Ok(())
    }

    /// Where whoever fills the stream goes on; `None` when nothing was added yet.
    pub(crate) fn cursor(&mut self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.segments()?.last().map(|segment| segment.summary.cursor.clone()))
    }

    /// The ordinal that the next event gets.
    pub(crate) fn end(&mut self) -> io::Result<u64> {
        Ok(self.segments()?.last().map_or(0, Segment::end))
    }

    /// Makes its directory again after somebody took that away, and looks at what is there when that is next needed.
    pub(crate) fn mend(&mut self) -> io::Result<()> {
        self.segments = None;
        fs::create_dir_all(&self.dir)?;
        if !self.dir.join(META_FILE).try_exists()? {
            write_json(&self.dir.join(META_FILE), &self.meta)?;
        }
        sync_dir(self.dir.parent().expect("a stream is in a group"))
    }

    /// Adds events and returns how many bytes that took; all of them are durable then. Nothing of them counts
    /// otherwise.
    ///
    /// # Errors
    /// `NotFound` when files are gone that were there: [`mend`](Self::mend) helps.
    pub(crate) fn append(&mut self, now_ms: i64, cursor: &[u8], events: &[Event]) -> io::Result<u64> {
        let added = self.try_append(now_ms, cursor, events);
        if added.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            // What is remembered is not what is there.
            self.segments = None;
        }
        added
    }

    fn try_append(&mut self, now_ms: i64, cursor: &[u8], events: &[Event]) -> io::Result<u64> {
        let dir = self.dir.clone();
        let segments = self.segments()?;
        let full = segments.last().is_none_or(|last| {
            let s = &last.summary;
            last.sealed || s.bytes >= SEGMENT_BYTES || now_ms - s.first_ingested_ms >= SEGMENT_AGE_MS
        });
        if full {
            if let Some(last) = segments.last_mut().filter(|last| !last.sealed) {
                let growing = last.path(&dir);
                let sealed = Segment { sealed: true, ..last.clone() };
                fs::rename(growing, sealed.path(&dir))?;
                *last = sealed;
            }
            let base = segments.last().map_or(0, Segment::end);
            let segment = Segment { base, sealed: false, summary: Summary::default() };
            File::create(segment.path(&dir))?;
            sync_dir(&dir)?;
            segments.push(segment);
        }
        let last = segments.last_mut().expect("there is one that grows");
        let record = encode(now_ms, cursor, events);
        let mut file = OpenOptions::new().append(true).open(last.path(&dir))?;
        if let Err(error) = file.write_all(&record).and_then(|()| file.sync_data()) {
            // A part of it would be taken for the end when the stream is read next.
            if file.set_len(last.summary.bytes).is_err() {
                self.segments = None;
            } else if last.summary.bytes == 0 {
                let _ = fs::remove_file(last.path(&dir));
                segments.pop();
            }
            return Err(error);
        }
        for event in events {
            last.summary.add(event.at_ms, now_ms);
        }
        last.summary.bytes += record.len() as u64;
        last.summary.ingested_ms = now_ms;
        last.summary.cursor = cursor.to_vec();
        Ok(record.len() as u64)
    }

    /// The stream as it is now, to be read without holding it.
    pub(crate) fn snapshot(&mut self) -> io::Result<Snapshot> {
        Ok(Snapshot { segments: self.segments()?.clone(), dir: self.dir.clone() })
    }
}

/// A stream as it was at some time. What is added meanwhile is not in it; what is removed meanwhile is missing.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) dir: PathBuf,
    pub(crate) segments: Vec<Segment>,
}

impl Snapshot {
    /// The ordinal that the next event gets.
    pub(crate) fn end(&self) -> u64 {
        self.segments.last().map_or(0, Segment::end)
    }

    /// Shows the events of one of its segments with their ordinals.
    pub(crate) fn read(&self, segment: &Segment, mut each: impl FnMut(u64, Stored<'_>)) -> io::Result<()> {
        let Some(file) = self.open(segment)? else { return Ok(()) };
        let mut bytes = Vec::with_capacity(usize::try_from(segment.summary.bytes).unwrap_or_default());
        file.take(segment.summary.bytes).read_to_end(&mut bytes)?;
        let mut ordinal = segment.base;
        scan(&bytes, |event| {
            each(ordinal, event);
            ordinal += 1;
        });
        Ok(())
    }

    /// The segment's file, which has another name when it was sealed meanwhile; `None` when it was removed.
    fn open(&self, segment: &Segment) -> io::Result<Option<File>> {
        match File::open(segment.path(&self.dir)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            file => return file.map(Some),
        }
        let Some(sealed) = list(&self.dir)?.into_iter().find(|s| s.base == segment.base && s.sealed) else {
            return Ok(None);
        };
        match File::open(sealed.path(&self.dir)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file.map(Some),
        }
    }
}

fn list(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(segments),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let bytes = match entry.metadata() {
            // Removed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?.len(),
        };
        segments.extend(entry.file_name().to_str().and_then(|name| Segment::named(name, bytes)));
    }
    segments.sort_by_key(|segment| segment.base);
    Ok(segments)
}

/// What is in a directory after a crash, too: a cut record at an end is taken off, and a segment without any goes.
fn load(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = list(dir)?;
    let count = segments.len();
    for (i, segment) in segments.iter_mut().enumerate() {
        // The cursor is in the last record of all, wherever that is.
        if segment.sealed && i + 1 < count {
            continue;
        }
        let path = segment.path(dir);
        let bytes = fs::read(&path)?;
        let found = scan(&bytes, |_| {});
        if segment.sealed {
            segment.summary.cursor = found.cursor;
            continue;
        }
        if found.bytes < bytes.len() as u64 {
            tracing::warn!(path = %path.display(), kept = found.bytes, "a log segment was cut by a crash");
            OpenOptions::new().write(true).open(&path)?.set_len(found.bytes)?;
        }
        segment.summary = found;
    }
    if let Some(last) = segments.last().filter(|last| last.summary.bytes == 0) {
        fs::remove_file(last.path(dir))?;
        return load(dir);
    }
    Ok(segments)
}

/// Writes a small file: the old contents or the new ones are there after a crash.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let text = serde_json::to_vec(value).map_err(io::Error::other)?;
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_dir(path.parent().expect("a file is in a directory"))
}

pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
