//! Snapshots: a connection each, with a read transaction that stays at one revision.

use super::file::{from_column, revision};
use crate::{Entry, KeyRange, Page, ReadError, Revision, Snapshot};
use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub(super) struct FileSnapshot {
    revision: Revision,
    /// Never contended in practice: a snapshot has one reader. The lock makes it `Sync`.
    connection: Arc<Mutex<Connection>>,
}

impl FileSnapshot {
    pub(super) async fn open(path: PathBuf) -> Result<Self, ReadError> {
        blocking(move || {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(Duration::from_secs(5))?;
            connection.execute_batch("BEGIN")?;
            // The transaction begins with its first read, so this is the revision of all that follow.
            let revision = revision(&connection)?;
            Ok(Self { revision, connection: Arc::new(Mutex::new(connection)) })
        })
        .await
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, ReadError> {
        let connection = Arc::clone(&self.connection);
        // A poisoned lock only says that another read panicked; the transaction still shows what it did.
        blocking(move || read(&connection.lock().unwrap_or_else(PoisonError::into_inner))).await
    }
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, ReadError> {
    match tokio::task::spawn_blocking(read).await {
        Ok(result) => result.map_err(|error| ReadError::Failed { source: error.into() }),
        Err(ended) => Err(ReadError::Failed { source: ended.into() }),
    }
}

#[async_trait]
impl Snapshot for FileSnapshot {
    fn revision(&self) -> Revision {
        self.revision
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, ReadError> {
        let key = key.to_vec();
        self.read(move |connection| {
            connection
                .prepare_cached("SELECT key, modified, value FROM entries WHERE key = ?1")?
                .query_row([key], entry)
                .optional()
        })
        .await
    }

    async fn range(&self, range: KeyRange, limit: usize) -> Result<Page, ReadError> {
        self.read(move |connection| {
            let (start, end) = range.ends();
            // Blobs have no greatest value to stand for "no end".
            let bound = if end.is_some() { "AND key < ?2" } else { "AND ?2 IS NULL" };
            let mut statement = connection.prepare_cached(&format!(
                "SELECT key, modified, value FROM entries WHERE key >= ?1 {bound} ORDER BY key"
            ))?;
            let mut rows = statement.query((&start[..], end.map(|end| &end[..])))?;
            let mut entries = Vec::with_capacity(limit.min(1024));
            while let Some(row) = rows.next()? {
                if entries.len() == limit {
                    let next: Vec<u8> = row.get(0)?;
                    return Ok(Page { entries, rest: Some(range.starting_at(next)) });
                }
                entries.push(entry(row)?);
            }
            Ok(Page { entries, rest: None })
        })
        .await
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        key: Bytes::from(row.get::<_, Vec<u8>>(0)?),
        modified: from_column(row.get(1)?),
        value: Bytes::from(row.get::<_, Vec<u8>>(2)?),
    })
}
