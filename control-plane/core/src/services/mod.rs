//! Services at work: a picture of each is decided over, and what was decided is carried out by the owner task.
//!
//! ```text
//! change of a service, its tasks or its hosts -> wake -> picture (snapshot) -> decide (pure) -> StepService (command)
//! ```
//!
//! A step that was decided over an outdated picture is refused by the owner task and decided again.

mod controller;
mod decision;
mod gain;
mod hearing;
mod launch;
pub(crate) mod lost;
mod picture;
mod sets;
mod timers;
mod troubles;
mod wakes;
mod why;
pub(crate) mod words;

pub use controller::Controller;
pub(crate) use decision::Decider;
#[cfg(test)]
pub(crate) use decision::Step;
pub(crate) use hearing::Hearing;
pub(crate) use launch::{check, check_placement, daemon_count, kept};
pub(crate) use picture::{Looking, breaker_of, is_superseded};
pub(crate) use wakes::Wakes;
pub(crate) use why::why;
