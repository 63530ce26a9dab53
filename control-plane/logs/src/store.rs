//! The store: groups by region and name, and what agents add.

use crate::group::{Group, GroupMeta, lock, unless_gone};
use crate::segment::Event;
use crate::stream::StreamMeta;
use crate::sweep::STREAM_BYTES;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Bytes of the longest cursor.
const MAX_CURSOR: usize = 64;
/// Groups of all regions: they are made by name, and each is a directory.
const MAX_GROUPS: usize = 10_000;
/// Bytes that a store which works has room for: about a batch.
const PROBE_BYTES: usize = 1 << 20;
/// The file that is written to see whether it does.
const PROBE_FILE: &str = ".probe";
/// How often a stream may be deleted in the middle of one addition.
const TRIES: usize = 4;

/// Which stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamKey {
    /// The region of its group.
    pub region: String,
    /// The group's name.
    pub group: String,
    /// The stream's name.
    pub stream: String,
}

/// What an agent adds to a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Which.
    pub key: StreamKey,
    /// Where in the container's output the events begin; empty for its beginning. Opaque here.
    pub from: Vec<u8>,
    /// Where they end. Equal to `from` when the agent only asks.
    pub to: Vec<u8>,
    /// The events, in the order in which they were printed.
    pub events: Vec<Event>,
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The request breaks a rule; the same again will, too.
    #[error("{0}")]
    Refused(String),
    /// The disk, most of the time.
    #[error("the log store failed while {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

pub(crate) fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> LogError {
    move |source| LogError::Io { doing, source }
}

/// By region and name.
pub(crate) type Groups = BTreeMap<(String, String), Arc<Group>>;

/// Log groups and their streams, in a directory. Blocks on files.
#[derive(Debug)]
pub struct LogStore {
    root: PathBuf,
    groups: Mutex<Groups>,
    /// What all streams may take on the disk.
    pub(crate) max_bytes: u64,
    /// What they take: counted by the sweep, and what was added since.
    pub(crate) bytes: AtomicU64,
}

impl LogStore {
    /// The store in `root`, which is made when it is not there. Its segments may take `max_bytes`.
    ///
    /// A group that cannot be read is left alone and left out, with an error in the log.
    ///
    /// # Errors
    /// When the directory cannot be read or made.
    pub fn open(root: &Path, max_bytes: u64) -> Result<Self, LogError> {
        let open = || -> io::Result<Groups> {
            fs::create_dir_all(root)?;
            let mut groups = Groups::new();
            for entry in fs::read_dir(root)? {
                let path = entry?.path();
                match open_group(&path) {
                    Ok(Some(group)) => {
                        let meta = group.meta();
                        groups.insert((meta.region, meta.name), Arc::new(group));
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!(path = %path.display(), %error, "a log group cannot be read; it is left out");
                    }
                }
            }
            Ok(groups)
        };
        let groups = open().map_err(failed("reading its directory"))?;
        Ok(Self { root: root.to_owned(), groups: Mutex::new(groups), max_bytes, bytes: AtomicU64::new(0) })
    }

    /// All groups, by region and name.
    pub(crate) fn groups(&self) -> Groups {
        lock(&self.groups).clone()
    }

    pub(crate) fn group(&self, region: &str, name: &str) -> Option<Arc<Group>> {
        lock(&self.groups).get(&(region.to_owned(), name.to_owned())).cloned()
    }

    /// The group, made when there is none; and whether it was made.
    pub(crate) fn ensure_group(&self, meta: GroupMeta) -> Result<(Arc<Group>, bool), LogError> {
        check_group_name(&meta.name)?;
        let mut groups = lock(&self.groups);
        let key = (meta.region.clone(), meta.name.clone());
        if let Some(group) = groups.get(&key) {
            return Ok((Arc::clone(group), false));
        }
        if groups.len() >= MAX_GROUPS {
            return Err(LogError::Refused(format!("There are {MAX_GROUPS} log groups already; delete some first.")));
        }
        let group = Arc::new(Group::create(&self.root, meta).map_err(failed("making a group"))?);
        groups.insert(key, Arc::clone(&group));
        Ok((group, true))
    }

    /// Removes a group and its streams; false when there is none.
    pub(crate) fn remove_group(&self, region: &str, name: &str) -> Result<bool, LogError> {
        let key = (region.to_owned(), name.to_owned());
        let group = {
            let mut groups = lock(&self.groups);
            let Some(group) = groups.get(&key).cloned() else { return Ok(false) };
            // First what makes it a group: the next start clears the rest away, should this one not.
            group.end().map_err(failed("deleting a group"))?;
            groups.remove(&key);
            group
        };
        unless_gone(fs::remove_dir_all(&group.dir)).map_err(failed("deleting a group's streams"))?;
        Ok(true)
    }

    /// Whether about a batch can be written at all. When it can, what failed was one stream's own.
    pub(crate) fn works(&self) -> io::Result<()> {
        let path = self.root.join(PROBE_FILE);
        fs::create_dir_all(&self.root)?;
        let written = fs::File::create(&path).and_then(|mut file| {
            file.write_all(&vec![0; PROBE_BYTES])?;
            file.sync_all()
        });
        let removed = fs::remove_file(&path);
        written.and(unless_gone(removed))
    }

    /// Takes what `owner`, a container instance, read of a container's output, and answers where it goes on. Groups
    /// and streams are made when they are not there.
    ///
    /// Events are taken only if they begin where the stream ends (`from`), or if nothing was added to it yet: so what
    /// is sent twice is there once. They are durable when this returns.
    ///
    /// # Errors
    /// When the names break a rule, the stream is another's, or the disk does not take it.
    pub fn take(&self, now_ms: i64, owner: &str, chunk: &Chunk) -> Result<Vec<u8>, LogError> {
        check_stream_name(&chunk.key.stream)?;
        if chunk.from.len().max(chunk.to.len()) > MAX_CURSOR {
            return Err(LogError::Refused(format!("A cursor has more than {MAX_CURSOR} bytes.")));
        }
        check_events(&chunk.events)?;
        for _ in 0..TRIES {
            if let Some(cursor) = self.add(now_ms, owner, chunk)? {
                return Ok(cursor);
            }
        }
        Err(failed("adding to a stream")(io::Error::other("it was deleted again and again")))
    }

    /// The same with names and events that keep the rules; `None` when somebody deletes the stream meanwhile.
    fn add(&self, now_ms: i64, owner: &str, chunk: &Chunk) -> Result<Option<Vec<u8>>, LogError> {
        let StreamKey { region, group, stream } = &chunk.key;
        let (group, made) = self.ensure_group(GroupMeta {
            region: region.clone(),
            name: group.clone(),
            created_ms: now_ms,
            retention_days: None,
            tags: BTreeMap::new(),
        })?;
        if made {
            tracing::info!(region, group = chunk.key.group, "made a log group for a container's output");
        }
        let meta = StreamMeta { name: stream.clone(), created_ms: now_ms, owner: Some(owner.to_owned()) };
        let stream = match group.ensure(meta) {
            Ok((stream, made)) => {
                self.bytes.fetch_add(if made { STREAM_BYTES } else { 0 }, Ordering::Relaxed);
                stream
            }
            Err(_) if group.is_gone() => return Ok(None),
            Err(error) => return Err(failed("making a stream")(error)),
        };
        let mut stream = lock(&stream);
        if stream.removed {
            return Ok(None);
        }
        if stream.meta.owner.as_deref() != Some(owner) {
            return Err(LogError::Refused("The stream belongs to somebody else.".to_owned()));
        }
        let mut mended = false;
        loop {
            match stream.cursor().map_err(failed("reading a stream"))? {
                Some(known) if known != chunk.from => return Ok(Some(known)),
                known if chunk.events.is_empty() => return Ok(Some(known.unwrap_or_default())),
                Some(_) | None => {}
            }
            match stream.append(now_ms, &chunk.to, &chunk.events) {
                Ok(bytes) => {
                    self.bytes.fetch_add(bytes, Ordering::Relaxed);
                    return Ok(Some(chunk.to.clone()));
                }
                Err(_) if group.is_gone() => return Ok(None),
                // Somebody took its files away. It goes on with what is there, which may end elsewhere.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !mended => {
                    mended = true;
                    group.mend_stream(&mut stream).map_err(failed("making a stream's directory again"))?;
                }
                Err(error) => return Err(failed("adding to a stream")(error)),
            }
        }
    }
}

/// The group in `path`; `None` for what is none. What is left of one that was deleted is removed.
fn open_group(path: &Path) -> io::Result<Option<Group>> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !path.is_dir() || uuid::Uuid::try_parse(name).is_err() {
        if name != PROBE_FILE {
            tracing::warn!(path = %path.display(), "this is no log group, and is left alone");
        }
        return Ok(None);
    }
    let group = Group::open(path.to_owned())?;
    if group.is_none() {
        // A crash came between a deletion and its end, or in the middle of a making.
        fs::remove_dir_all(path)?;
    }
    Ok(group)
}

fn check_events(events: &[Event]) -> Result<(), LogError> {
    let odd =
        |event: &&Event| event.at_ms < 0 || event.message.is_empty() || event.message.len() > crate::MAX_MESSAGE_BYTES;
    match events.iter().find(odd) {
        None => Ok(()),
        Some(_) => Err(LogError::Refused("An event has no message, too long a one, or no time.".to_owned())),
    }
}

/// CloudWatch's rule for names of groups.
pub(crate) fn check_group_name(name: &str) -> Result<(), LogError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-/#".contains(&b);
    if (1..=512).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    Err(LogError::Refused(
        "logGroupName must have 1 to 512 letters, digits and the characters `.`, `_`, `-`, `/` and `#`.".to_owned(),
    ))
}

/// CloudWatch's rule for names of streams.
pub(crate) fn check_stream_name(name: &str) -> Result<(), LogError> {
    let odd = |c: char| c == ':' || c == '*' || c.is_control();
    if (1..=512).contains(&name.chars().count()) && !name.contains(odd) {
        return Ok(());
    }
    Err(LogError::Refused(
        "logStreamName must have 1 to 512 characters, none of them `:`, `*` or a control character.".to_owned(),
    ))
}
