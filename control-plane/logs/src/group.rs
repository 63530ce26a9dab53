//! One group: what it is, and its streams.

use crate::stream::{Stream, StreamMeta, sync_dir, write_json};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
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
}

/// Whole values are in all locks here, a poisoned one too.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Group {
    /// Makes a group in a directory of its own below `root`.
    pub(crate) fn create(root: &Path, meta: GroupMeta) -> io::Result<Self> {
        let dir = root.join(uuid::Uuid::new_v4().simple().to_string());
        std::fs::create_dir(&dir)?;
        write_json(&dir.join(META_FILE), &meta)?;
        sync_dir(root)?;
        Ok(Self { dir, meta: Mutex::new(meta), streams: Mutex::new(Some(Streams::new())) })
    }

    /// The group in `dir`; `None` when a crash cut its making.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Option<Self>> {
        let meta = match std::fs::read(dir.join(META_FILE)) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Self { dir, meta: Mutex::new(meta), streams: Mutex::new(None) }))
    }

    pub(crate) fn meta(&self) -> GroupMeta {
        lock(&self.meta).clone()
    }

    /// Changes what the group is; durable when it returns.
    pub(crate) fn change(&self, change: impl FnOnce(&mut GroupMeta)) -> io::Result<()> {
        let mut meta = lock(&self.meta);
        let mut changed = meta.clone();
        change(&mut changed);
        write_json(&self.dir.join(META_FILE), &changed)?;
        *meta = changed;
        Ok(())
    }

    fn with_streams<T>(&self, act: impl FnOnce(&mut Streams) -> io::Result<T>) -> io::Result<T> {
        let mut streams = lock(&self.streams);
        if streams.is_none() {
            let mut found = Streams::new();
            for entry in std::fs::read_dir(&self.dir)? {
                let entry = entry?;
                if entry.file_type()?.is_dir()
                    && let Some(stream) = Stream::open(entry.path())?
                {
                    found.insert(stream.meta.name.clone(), Arc::new(Mutex::new(stream)));
                }
            }
            *streams = Some(found);
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
            if let Some(stream) = streams.get(&meta.name) {
                return Ok((Arc::clone(stream), false));
            }
            let name = meta.name.clone();
            let stream = Arc::new(Mutex::new(Stream::create(&self.dir, meta)?));
            streams.insert(name, Arc::clone(&stream));
            Ok((stream, true))
        })
    }

    /// Removes a stream and its events; false when there is none.
    pub(crate) fn remove_stream(&self, name: &str) -> io::Result<bool> {
        self.with_streams(|streams| {
            let Some(stream) = streams.get(name).cloned() else { return Ok(false) };
            let stream = lock(&stream);
            // First what makes it a stream, so that a crash leaves none with holes.
            std::fs::remove_file(stream.dir.join(crate::stream::META_FILE))?;
            streams.remove(name);
            std::fs::remove_dir_all(&stream.dir)?;
            Ok(true)
        })
    }
}
