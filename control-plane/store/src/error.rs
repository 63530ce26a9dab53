//! What can go wrong, one enum per operation. Keys appear in texts, values never.

use crate::{Expect, Revision};
use bytes::Bytes;

/// The cause below a store's own error; which it is depends on the implementation.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a batch was not committed, or is not known to be.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A guard did not hold. Nothing was changed.
    #[error("key `{}` was expected {expected} and is {}", key.escape_ascii(), found(*.actual))]
    Guard {
        /// The key; the first in key order when several failed.
        key: Bytes,
        /// What the batch expected.
        expected: Expect,
        /// When the key was last written; `None`: it does not exist.
        actual: Option<Revision>,
    },
    /// The batch is larger than [`crate::Limits`] allow. Nothing was changed; split it.
    #[error("the batch has {what} {is}, and the store takes at most {max} in one")]
    TooLarge {
        /// `operations`, `bytes`.
        what: &'static str,
        /// How many it has.
        is: usize,
        /// How many it may have.
        max: usize,
    },
    /// A key is empty or too long. Nothing was changed.
    #[error("a key of {len} bytes cannot be stored: keys have 1 to {max} bytes")]
    Key {
        /// Its length.
        len: usize,
        /// The longest allowed.
        max: usize,
    },
    /// There is no space left. Nothing was changed; the same batch may succeed once there is space.
    #[error("could not write to the store: no space is left for it; free some and it goes on")]
    Full {
        /// What the system said.
        #[source]
        source: Source,
    },
    /// This process may not write any more: the store was closed, or another process leads. Nothing was
    /// changed, and nothing that this process tries will be.
    #[error("the store no longer takes writes from this process: {why}")]
    Fenced {
        /// Why, for people.
        why: String,
    },
    /// Writing failed and nothing was changed, for a reason other than those above.
    #[error("could not write to the store")]
    NotWritten {
        /// What went wrong.
        #[source]
        source: Source,
    },
    /// The batch may or may not have been committed. Read before going on; a batch with a guard on what it
    /// writes may simply be tried again.
    #[error("it is not known whether the store took the batch")]
    Unknown {
        /// What went wrong.
        #[source]
        source: Source,
    },
}

impl CommitError {
    /// Whether the batch is known not to have been applied.
    #[must_use]
    pub const fn is_certain(&self) -> bool {
        match self {
            Self::Guard { .. }
            | Self::TooLarge { .. }
            | Self::Key { .. }
            | Self::Full { .. }
            | Self::Fenced { .. }
            | Self::NotWritten { .. } => true,
            Self::Unknown { .. } => false,
        }
    }
}

fn found(actual: Option<Revision>) -> String {
    match actual {
        Some(revision) => format!("at revision {revision}"),
        None => "absent".to_owned(),
    }
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// The snapshot is too old to be read any further (etcd: compacted). Take a new one.
    #[error("the snapshot of revision {revision} is gone")]
    Gone {
        /// The snapshot's revision.
        revision: Revision,
    },
    /// The store could not be read.
    #[error("could not read from the store")]
    Failed {
        /// What went wrong.
        #[source]
        source: Source,
    },
}

/// Why a watch ended.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// What follows the last change seen is no longer kept. Read a snapshot and watch from there.
    #[error("changes up to revision {up_to} are no longer kept, and the watch was at {at}")]
    Compacted {
        /// Where the watch was.
        at: Revision,
        /// The newest revision that can no longer be told.
        up_to: Revision,
    },
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// The watch broke (etcd: the connection). Open it again after the last revision seen.
    #[error("the watch broke")]
    Failed {
        /// What went wrong.
        #[source]
        source: Source,
    },
}
