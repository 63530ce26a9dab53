//! The core through its public interface: operations as the API front calls them, agents as their sessions do.

// In tests a panic is the report.
#![allow(clippy::unwrap_used)]

mod checks;
mod clusters;
mod definitions;
mod deployments;
mod durability;
mod events;
mod exec;
mod firings;
mod fleet;
mod health;
mod images;
mod instances;
mod network;
mod placement;
mod pools;
mod protection;
mod refusals;
mod rollouts;
mod scaling;
mod schedules;
mod secrets;
mod service_events;
mod services;
mod silence;
mod specs;
mod task_sets;
mod tasks;
mod world;
