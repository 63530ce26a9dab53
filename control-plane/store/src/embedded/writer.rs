//! The thread that commits. One batch is one transaction and one fsync; folding commands into batches is the
//! business of whoever calls.

use super::file::{StoreFile, from_column, to_column};
use crate::feed::{Feed, Feeds};
use crate::{Batch, Change, CommitError, Revision, Write};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

/// What the thread is asked for.
pub(super) enum Order {
    Commit {
        batch: Batch,
        answer: oneshot::Sender<Result<Revision, CommitError>>,
    },
    /// Close the file. `done` is dropped when it is.
    Close {
        done: oneshot::Sender<()>,
    },
}

pub(super) struct Writer {
    file: StoreFile,
    feed: Feed,
    orders: mpsc::Receiver<Order>,
    /// Why nothing is written any more, once a write failed in a way that leaves its outcome open. SQLite
    /// would go on, and a commit that it reported as failed could come back after a crash; opening the file
    /// again decides what is true.
    fenced: Option<String>,
}

impl Writer {
    pub(super) fn new(file: StoreFile, queue: usize) -> (Self, Feeds, mpsc::Sender<Order>) {
        let (feed, feeds) = Feed::new(file.revision);
        let (sender, orders) = mpsc::channel(queue);
        (Self { file, feed, orders, fenced: None }, feeds, sender)
    }

    /// Commits what arrives, in order, until it is told to close or nobody is left to ask.
    pub(super) fn run(mut self) {
        let mut closing = None;
        while let Some(order) = self.orders.blocking_recv() {
            match order {
                Order::Commit { batch, answer } => {
                    let result = self.commit(&batch);
                    // Whoever asked may have gone; the batch is committed all the same.
                    answer.send(result).unwrap_or_default();
                }
                Order::Close { done } => {
                    self.orders.close();
                    closing = Some(done);
                }
            }
        }
        let path = self.file.path.display().to_string();
        // The last connection to close folds the -wal file into the store.
        if let Err(error) = self.file.close() {
            tracing::warn!(file = %path, error = %error, "the store did not close cleanly; the next start recovers it");
        }
        drop(closing);
    }

    fn commit(&mut self, batch: &Batch) -> Result<Revision, CommitError> {
        if let Some(why) = &self.fenced {
            return Err(CommitError::Fenced { why: why.clone() });
        }
        let next = Revision(self.file.revision.0 + 1);
        let changes = match apply(&mut self.file.connection, batch, next) {
            Ok(changes) => changes,
            Err(error) => {
                if !error.is_certain() {
                    tracing::error!(
                        file = %self.file.path.display(),
                        error = %chain(&error),
                        "a write failed and may have reached the disk; nothing more is written until a restart"
                    );
                    self.fenced = Some("an earlier write failed with its outcome open; restart to recover".to_owned());
                }
                return Err(error);
            }
        };
        if !changes.is_empty() {
            self.file.revision = next;
            self.feed.publish(next, changes);
        }
        Ok(self.file.revision)
    }
}

/// The whole batch in one transaction; the changes it made, none when it made none.
fn apply(connection: &mut Connection, batch: &Batch, next: Revision) -> Result<Vec<Change>, CommitError> {
    // Immediate: a transaction that starts by reading could not become the writer after a checkpoint.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    for (key, expected) in batch.guards() {
        let actual = modified(&transaction, key).map_err(failed)?;
        if !expected.holds(actual) {
            // Dropping the transaction rolls it back.
            return Err(CommitError::Guard { key: key.clone(), expected, actual });
        }
    }
    let changes = write(&transaction, batch, next).map_err(failed)?;
    if changes.is_empty() {
        return Ok(changes);
    }
    match transaction.commit() {
        Ok(()) => Ok(changes),
        // Written in full order, the mark of the commit last: without space for all there is no commit.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => Err(failed(error)),
        Err(error) => Err(CommitError::Unknown { source: error.into() }),
    }
}

fn write(transaction: &Transaction<'_>, batch: &Batch, next: Revision) -> rusqlite::Result<Vec<Change>> {
    let mut put = transaction.prepare_cached(
        "INSERT INTO entries VALUES (?1, ?2, ?3) \
         ON CONFLICT (key) DO UPDATE SET modified = excluded.modified, value = excluded.value",
    )?;
    let mut delete = transaction.prepare_cached("DELETE FROM entries WHERE key = ?1")?;
    let mut changes = Vec::with_capacity(batch.writes().len());
    for (key, write) in batch.writes() {
        let changed = match write {
            Write::Put(value) => put.execute((&key[..], to_column(next), &value[..]))?,
            Write::Delete => delete.execute([&key[..]])?,
        };
        if changed > 0 {
            changes.push(Change { key: key.clone(), write: write.clone() });
        }
    }
    if !changes.is_empty() {
        transaction.prepare_cached("UPDATE store SET revision = ?1")?.execute([to_column(next)])?;
    }
    Ok(changes)
}

fn modified(transaction: &Transaction<'_>, key: &[u8]) -> rusqlite::Result<Option<Revision>> {
    transaction
        .prepare_cached("SELECT modified FROM entries WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()
        .map(|found| found.map(from_column))
}

/// An error before the commit: nothing was changed.
fn failed(error: rusqlite::Error) -> CommitError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => CommitError::Full { source: error.into() },
        _ => CommitError::NotWritten { source: error.into() },
    }
}

/// An error and its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
