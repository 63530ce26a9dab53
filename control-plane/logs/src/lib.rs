//! What containers print, kept: log groups, their streams, and the operations of CloudWatch Logs over them.
//!
//! Owns the directory `logs` of the control plane's data directory ([`LogStore`]): one directory a group, one a stream
//! in it, and in that the stream's events in append-only segments. Log events are no part of the control plane's state:
//! they neither pass the owner task nor its store, and losing this directory loses nothing else. Everything here blocks
//! on files; [`Logs`] is the handle that async code calls, and answers the API ([`Logs::call`]) and agents
//! ([`Logs::take`]).
//!
//! docs/decisions/0010-container-logs.md has the reasons.

mod api;
mod group;
mod handle;
mod pattern;
mod segment;
mod store;
mod stream;
mod sweep;

pub use handle::{Logs, Scope};
pub use segment::Event;
pub use store::{Chunk, LogError, LogStore, StreamKey};

/// Bytes of the longest message of an event; longer ones are several events.
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024 - 26;

/// An error and everything behind it, on one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests;
