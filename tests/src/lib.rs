//! What the end-to-end tests, the demonstration and the benchmarks stand on.
//!
//! `lab` makes real hosts on one machine. This crate is a client of the product's public contracts and of Docker, and
//! depends on none of the product's own crates for what it checks.

// An unwrap in a test says where it failed, which is all that a test needs.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod lab;
