//! The agent port over real TLS on loopback, with a scripted fleet behind it and peers that misbehave before it.

mod fleet;
mod joining;
mod logs;
mod network;
mod peer;
mod protection;
mod raw;
mod registry;
mod sessions;
