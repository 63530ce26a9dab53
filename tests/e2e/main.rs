//! End-to-end tests, on real hosts with real clients.
#![allow(clippy::unwrap_used)]

mod lab;
