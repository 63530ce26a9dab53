//! A deterministic simulation of a whole fleet.
//!
//! ```text
//! workload (clients) -> core, controller, session front (real) <-> net <-> session, reconciler, plan (real)
//!                            |                                                       |
//!                        store (a disk)                               drivers (a ledger), docker (an engine)
//! ```
//!
//! The control plane and the agents are the product's own code, on one thread, on a clock that stands still while
//! anybody has something to do. Around them everything is simulated: disks, the network, engines, hosts, clients, and
//! what happens to them (`troubles`). A seed decides all of it, ids and hash maps included (`entropy`), so a run can be
//! had again exactly. What has to hold after each step is in `invariants` and `runs`; that a fleet comes to rest once
//! troubles are over is in `run`.

mod addresses;
mod bounds;
mod clock;
mod control;
mod docker;
mod drivers;
mod entropy;
mod fabric;
mod firings;
mod host;
mod invariants;
mod mortal;
mod net;
mod plan;
mod planted;
mod promises;
mod run;
mod runs;
mod schedules;
mod seeds;
mod sets;
mod store;
mod trace;
mod troubles;
mod workload;
mod world;

/// Shows the product's own log on standard error, as far as `filter` lets it through (`debug`, for example). For the
/// whole process; made before a run begins, so that the run is the same.
pub(crate) fn show_log(filter: &str) {
    let filter = tracing_subscriber::EnvFilter::new(filter);
    let log = tracing_subscriber::fmt().with_env_filter(filter).without_time().with_writer(std::io::stderr);
    log.init();
}

/// Runs the seeds, in order.
///
/// # Panics
/// With the trace of the first run that was wrong, and what is wrong with the others.
pub(crate) fn check(seeds: impl IntoIterator<Item = u64>) {
    let outcomes = seeds.into_iter().map(run::run);
    let mut wrong = outcomes.filter(|outcome| outcome.wrong.is_some());
    let Some(first) = wrong.next() else { return };
    let others: Vec<String> =
        wrong.map(|outcome| format!("seed {}: {}", outcome.seed, outcome.wrong.unwrap_or_default())).collect();
    panic!("{first}\n{} others:\n{}", others.len(), others.join("\n"));
}
