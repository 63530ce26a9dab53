//! The control plane's process: the HTTP front for operators, the gRPC front for agents, and start-up.
//!
//! What is true and how it changes is `longshore-core`'s; this crate lets the world reach it.

pub mod agents;
pub mod auth;
pub mod config;
pub mod courier;
pub mod files;
pub mod http;
pub mod pki;
pub mod start;

/// An error and everything behind it, on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
