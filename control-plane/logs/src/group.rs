//! One group: what it is, and its streams.

use crate::stream::{Stream, StreamMeta, sync_dir, write_json};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The file with what a group is.
pub(crate) const META_FILE: &str = "group.json";

/// What a group is, apart from its streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupMeta {
    pub(crate) region: String,
    pub(crate) name: String,
    pub(crate) created_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retention_days: Option<i32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tags: BTreeMap<String, String>,
}

impl GroupMeta {
    /// Events from before this time are not shown, and removed.
    pub(crate) fn oldest_ms(&self, now_ms: i64) -> i64 {
        self.retention_days.map_or(0, |days| now_ms - i64::from(days) * 86_400_000)
    }
}

type Streams = BTreeMap<String, Arc<Mutex<Stream>>>;

/// A group. Its streams are looked for when they are first needed.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) dir: PathBuf,
    meta: Mutex<GroupMeta>,
    streams: Mutex<Option<Streams>>,
    /// Somebody deleted it. Changes while both locks are held.
    gone: AtomicBool,
}

/// Whole values are in all locks here, a poisoned one too.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Group {
    /// Makes a group in a directory of its own below `root`.
    pub(crate) fn create(root: &Path, meta: GroupMeta) -> io::Result<Self> {
        let dir = root.join(uuid::Uuid::new_v4().simple().to_string());
        // The root, too, should somebody have taken that away.
        std::fs::create_dir_all(&dir)?;
        write_json(&dir.join(META_FILE), &meta)?;
        sync_dir(root)?;
        Ok(Self::new(dir, meta, Some(Streams::new())))
    }

    /// The group in `dir`; `None` when a crash cut its making.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Option<Self>> {
        let meta = match std::fs::read(dir.join(META_FILE)) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Self::new(dir, meta, None)))
    }

    fn new(dir: PathBuf, meta: GroupMeta, streams: Option<Streams>) -> Self {
        Self { dir, meta: Mutex::new(meta), streams: Mutex::new(streams), gone: AtomicBool::new(false) }
    }

    /// Whether somebody deleted it: there may be another one of its name by now.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Makes it none: its directory is rubbish then, and nothing is added to it any more.
    pub(crate) fn end(&self) -> io::Result<()> {
        let mut streams = lock(&self.streams);
        let _meta = lock(&self.meta);
        unless_gone(std::fs::remove_file(self.dir.join(META_FILE)))?;
        *streams = Some(Streams::new());
        self.gone.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Makes its directory again after somebody took that away.
    fn mend(&self) -> io::Result<()> {
        let meta = lock(&self.meta);
        if self.is_gone() {
            return Err(gone());
        }
        std::fs::create_dir_all(&self.dir)?;
        if !self.dir.join(META_FILE).try_exists()? {
            write_json(&self.dir.join(META_FILE), &*meta)?;
        }
        sync_dir(self.dir.parent().expect("a group is in the root"))
    }

    /// The same for a stream of it.
    pub(crate) fn mend_stream(&self, stream: &mut Stream) -> io::Result<()> {
        tracing::warn!(dir = %stream.dir.display(), "files of a log stream are gone; going on without them");
        self.mend()?;
        stream.mend()
    }

    pub(crate) fn meta(&self) -> GroupMeta {
        lock(&self.meta).clone()
    }

    /// Changes what the group is; durable when it returns.
    pub(crate) fn change(&self, change: impl FnOnce(&mut GroupMeta)) -> io::Result<()> {
        let changed = self.change_if(|meta| {
            change(meta);
            Ok::<(), Infallible>(())
        });
        changed.map(|Ok(())| ())
    }

    /// The same, unless `change` says why not.
    pub(crate) fn change_if<E>(
        &self,
        change: impl FnOnce(&mut GroupMeta) -> Result<(), E>,
    ) -> io::Result<Result<(), E>> {
        let mut meta = lock(&self.meta);
        let mut changed = meta.clone();
        if let Err(why) = change(&mut changed) {
            return Ok(Err(why));
        }
        if self.is_gone() {
            return Err(gone());
        }
        // Somebody may have taken it away.
        std::fs::create_dir_all(&self.dir)?;
        write_json(&self.dir.join(META_FILE), &changed)?;
        *meta = changed;
        Ok(Ok(()))
    }

    /// Looks at the streams. No stream may be waited for meanwhile: who has one waits for this.
    fn with_streams<T>(&self, act: impl FnOnce(&mut Streams) -> io::Result<T>) -> io::Result<T> {
        let mut streams = lock(&self.streams);
        if streams.is_none() {
            *streams = Some(load(&self.dir)?);
        }
        act(streams.as_mut().expect("just loaded"))
    }

    /// All streams whose name begins with `prefix`, by name.
    pub(crate) fn streams(&self, prefix: &str) -> io::Result<Vec<(String, Arc<Mutex<Stream>>)>> {
        self.with_streams(|streams| {
            let from = streams.range(prefix.to_owned()..).take_while(|(name, _)| name.starts_with(prefix));
            Ok(from.map(|(name, stream)| (name.clone(), Arc::clone(stream))).collect())
        })
    }

    /// The stream of that name.
    pub(crate) fn stream(&self, name: &str) -> io::Result<Option<Arc<Mutex<Stream>>>> {
        self.with_streams(|streams| Ok(streams.get(name).cloned()))
    }

    /// The stream of that name, made when there is none; and whether it was made.
    pub(crate) fn ensure(&self, meta: StreamMeta) -> io::Result<(Arc<Mutex<Stream>>, bool)> {
        self.with_streams(|streams| {
            if self.is_gone() {
                return Err(gone());
            }
            if let Some(stream) = streams.get(&meta.name) {
                return Ok((Arc::clone(stream), false));
            }
            let name = meta.name.clone();
            let made = match Stream::create(&self.dir, meta.clone()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.mend()?;
                    Stream::create(&self.dir, meta)
                }
                made => made,
            };
            let stream = Arc::new(Mutex::new(made?));
            streams.insert(name, Arc::clone(&stream));
            Ok((stream, true))
        })
    }

    /// Removes a stream and its events; false when there is none.
    pub(crate) fn remove_stream(&self, name: &str) -> io::Result<bool> {
        self.remove_stream_if(name, |_| Ok(true))
    }

    /// The same if it is as `is_meant` wants it. Nothing is added between the look and the removal.
    pub(crate) fn remove_stream_if(
        &self,
        name: &str,
        is_meant: impl FnOnce(&Stream) -> io::Result<bool>,
    ) -> io::Result<bool> {
        let Some(stream) = self.stream(name)? else { return Ok(false) };
        // Waited for while nothing else of the group is held: somebody may be writing to it.
        let mut locked = lock(&stream);
        if locked.removed || !is_meant(&locked)? {
            return Ok(false);
        }
        // First what makes it a stream, so that a crash leaves none with holes.
        unless_gone(std::fs::remove_file(locked.dir.join(crate::stream::META_FILE)))?;
        locked.removed = true;
        self.with_streams(|streams| {
            // A deleted group has none left.
            if streams.get(name).is_some_and(|known| Arc::ptr_eq(known, &stream)) {
                streams.remove(name);
            }
            Ok(())
        })?;
        unless_gone(std::fs::remove_dir_all(&locked.dir))?;
        Ok(true)
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the group was deleted")
}

/// What is gone already need not be removed.
pub(crate) fn unless_gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The streams in a group's directory. What cannot be read is left alone and holds up no other.
fn load(dir: &Path) -> io::Result<Streams> {
    let mut found = Streams::new();
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        match Stream::open(path.clone()) {
            Ok(Some(stream)) => _ = found.insert(stream.meta.name.clone(), Arc::new(Mutex::new(stream))),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "a log stream cannot be read; it is left out");
            }
        }
    }
    Ok(found)
}
