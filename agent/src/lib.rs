//! The per-host agent: registers the host, takes assignments, drives Docker and keeps everything true.
//!
//! `assemble` builds every channel and task; start reading there. The way of an assignment:
//! `session` (inbound) -> `ledger` -> `engine` (plan, then drivers) -> observed store -> `session` (outbound).

pub mod aside;
pub mod assemble;
pub mod cgroup;
pub mod config;
pub mod contact;
pub mod crash;
pub mod disk;
pub mod doctor;
pub mod engine;
pub mod exec;
pub mod host;
pub mod identity;
mod jumps;
pub mod ledger;
pub mod logs;
pub mod membership;
pub mod metadata;
pub mod network;
mod pause;
pub mod ports;
pub mod probes;
pub mod session;
pub mod status;
