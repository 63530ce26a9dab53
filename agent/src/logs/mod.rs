//! What containers with the log driver `awslogs` print: read from the engine's own files and shipped to the control
//! plane.
//!
//! Those containers run with the engine's driver `json-file` and a bound on its files, so the files are the ring that
//! holds what is not shipped yet: it outlives this agent, is bounded for each container, and nothing that happens here
//! or beyond ever holds up a container. One task ([`Collector`]) reads for all of them, no more than one batch ahead of
//! what the control plane has. Where each stream is, the control plane knows; nothing is kept here. What the ring
//! overwrote before it was shipped is lost, and the stream says so.
//!
//! Which containers these are is in their labels, so the engine and the ledger have no part in it, but for the
//! [`Gate`]: it holds the removal of a container back while there is something to ship, for ten minutes at most.

mod collector;
mod file;
mod follower;
mod gate;
mod joiner;
mod line;
pub(crate) mod source;

pub use collector::Collector;
pub use gate::{Gate, Shipped};

use async_trait::async_trait;
use std::path::PathBuf;

/// Which stream a container's output goes to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The group's region.
    pub region: String,
    /// The group.
    pub group: String,
    /// The stream.
    pub stream: String,
}

/// A line of output, or several of which the first begins an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When it was printed, in milliseconds since the epoch.
    pub at_ms: i64,
    /// What was printed, without the end of the last line; not empty.
    pub message: String,
}

/// A part of a container's output, from where to where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its stream.
    pub target: Target,
    /// Where it begins, as a cursor; empty for the beginning.
    pub from: Vec<u8>,
    /// Where it ends. Equal to `from` to ask where the stream is.
    pub to: Vec<u8>,
    /// What is between.
    pub events: Vec<Event>,
}

/// What became of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The stream ends at this cursor: the chunk's `to` when it was taken.
    At(Vec<u8>),
    /// It will never be taken, for the reason said.
    Refused(String),
}

/// Why a batch was not answered: nothing is known of it then, and it is put again. One line for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PutError(pub String);

/// Where batches go.
#[async_trait]
pub trait Sink: Send {
    /// Puts a batch; one answer for each chunk, in order, and each is durable then.
    async fn put(&mut self, chunks: &[Chunk]) -> Result<Vec<Answer>, PutError>;
}

/// A container whose output is shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The engine's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where its output goes.
    pub target: Target,
    /// The regular expression that lines match which begin an event; each line is one when absent.
    pub begins: Option<String>,
    /// Whether it was started, or its start was tried.
    pub began: bool,
    /// Whether it may still print something.
    pub runs: bool,
}

/// Where containers are found. Errors are for people.
#[async_trait]
pub trait Source: Send + Sync {
    /// All containers whose output is shipped.
    async fn list(&self) -> Result<Vec<Found>, String>;
    /// The newest file with the output of one; `None` when it has none.
    async fn file(&self, id: &str) -> Result<Option<PathBuf>, String>;
}

#[cfg(test)]
mod tests;
