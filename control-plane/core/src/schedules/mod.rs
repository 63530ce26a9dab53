//! Schedules at work: what is due is decided, and what was decided is carried out, by commands of the owner task.
//!
//! ```text
//! due (snapshot, clock) -> DecideFiring: the firing is remembered, the schedule goes on to its next one
//!                       -> request (pure) -> placement (snapshot) -> StartFiring: tasks are there, the firing is gone
//! ```
//!
//! Each arrow is durable before the next. A firing that finds no place is tried again as its retry policy says.

mod engine;
mod request;
mod retry;

pub use engine::ScheduleEngine;
pub(crate) use request::{Names, run_task};
pub(crate) use retry::{Verdict, after_failure, unplaced, waits_too_long};
