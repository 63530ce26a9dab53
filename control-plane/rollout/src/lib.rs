//! What a service does next, decided over one picture of it. Pure.
//!
//! It owns the rules of ECS's service scheduler: how many tasks a deployment may start and stop within the minimum
//! and maximum percent, which of them go first, when a deployment is complete, when its circuit breaker opens, and
//! how long a failing one waits. It has no I/O, keeps nothing between calls and never chooses a host: what is to
//! start goes to placement. Whoever calls it carries out what it says and makes no choices of its own.
//!
//! - [`decide`] answers with a [`Decision`]: tasks to start and to stop, each with a reason, what became of the
//!   deployment, and when to look again at the latest.
//! - [`Bounds`] is the arithmetic of the percentages, as ECS documents it.
//! - [`delay`] is the pause after failures.

mod bounds;
mod daemon;
mod decide;
mod failures;
mod picture;
mod replica;
mod victims;
mod zones;

pub use bounds::Bounds;
pub use decide::{Decision, Launch, Stop, Verdict, Why, decide};
pub use failures::{Breaker, Threshold, delay};
pub use picture::{Deployment, Health, Host, Phase, Picture, Rebalance, Rollout, Scheduling, Task};
pub use zones::is_uneven;
