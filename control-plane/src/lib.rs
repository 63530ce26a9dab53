//! The control plane's process: the HTTP front for operators, the gRPC front for agents, and start-up.
//!
//! What is true and how it changes is `longshore-core`'s; this crate lets the world reach it.

pub mod agents;
pub mod auth;
pub mod config;
pub mod http;
pub mod pki;
