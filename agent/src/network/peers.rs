//! Whether packets pass to the other hosts: asked of each that is connected, again and again.
//!
//! A host that reaches some of the others is fine, as far as it can tell, and the others are not; one that reaches none
//! is cut off, and is given no tasks that need the network. Running tasks are left alone.

use super::fabric::Fault;
use super::owner::{Done, Network};
use futures::StreamExt;
use longshore_model::{InstanceId, Peer};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Between two rounds: while all answer, and while one does not.
const ROUNDS: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(5));

/// Failures in a row that count: a host that was just said to be there may not know this one yet.
const COUNTS: u32 = 2;

/// Hosts that are asked at once. Few: each that is silent keeps one of the threads that wait for the kernel for
/// seconds, and tasks need those too.
const AT_ONCE: usize = 2;

/// Hosts that a reason names.
const NAMED: usize = 3;

/// What became of the questions so far.
#[derive(Debug)]
pub(super) struct Checks {
    /// By host: failures in a row, and the last one's reason.
    failures: BTreeMap<InstanceId, (u32, String)>,
    /// When they are asked next; absent while they are being asked.
    next: Option<Instant>,
}

impl Checks {
    pub(super) fn new(now: Instant) -> Self {
        Self { failures: BTreeMap::new(), next: Some(now) }
    }

    pub(super) fn wake(&self) -> Option<Instant> {
        self.next
    }

    /// Why a host is not reached, once that is certain.
    pub(super) fn fault(&self, instance: &InstanceId) -> Option<String> {
        let (failures, why) = self.failures.get(instance)?;
        (*failures >= COUNTS).then(|| why.clone())
    }

    /// Asks soon: there is a host that was not asked yet.
    pub(super) fn hurry(&mut self) {
        if let Some(next) = &mut self.next {
            *next = (*next).min(Instant::now() + Duration::from_secs(1));
        }
    }
}

impl Network {
    fn connected_peers(&self) -> impl Iterator<Item = &Peer> {
        let peers = self.said.state.iter().flat_map(|state| state.peers.values());
        peers.filter(|peer| peer.connected && !self.refused_peers.contains_key(&peer.instance))
    }

    pub(super) fn drive_checks(&mut self, now: Instant) {
        let (Some(fabric), Some(_)) = (self.fabric.clone(), self.checks.next.filter(|at| *at <= now)) else { return };
        let peers: Vec<Peer> = self.connected_peers().cloned().collect();
        self.checks.failures.retain(|instance, _| peers.iter().any(|peer| peer.instance == *instance));
        if peers.is_empty() {
            self.checks.next = Some(now + ROUNDS.0);
            return;
        }
        self.checks.next = None;
        self.jobs.spawn(async move {
            let ask = |peer: Peer| {
                let fabric = fabric.clone();
                async move { (peer.instance, fabric.reach(&peer).await) }
            };
            Done::Reached(futures::stream::iter(peers).map(ask).buffer_unordered(AT_ONCE).collect().await)
        });
    }

    pub(super) fn reached(&mut self, results: BTreeMap<InstanceId, Result<(), Fault>>) {
        let all = results.values().all(Result::is_ok);
        for (instance, result) in results {
            match result {
                Ok(()) => {
                    if self.checks.failures.remove(&instance).is_some_and(|(failures, _)| failures >= COUNTS) {
                        tracing::info!(%instance, "packets to another host pass again");
                    }
                }
                Err(Fault { why, .. }) => {
                    let (failures, last) = self.checks.failures.entry(instance).or_default();
                    *failures = failures.saturating_add(1);
                    if *failures == COUNTS {
                        tracing::warn!(%instance, why, "packets to another host do not pass");
                    }
                    *last = why;
                }
            }
        }
        self.checks.next = Some(Instant::now() + if all { ROUNDS.0 } else { ROUNDS.1 });
    }

    /// Why this host is cut off, when it is.
    pub(super) fn isolated(&self) -> Option<String> {
        let faults: Vec<String> = self
            .connected_peers()
            .map(|peer| self.checks.fault(&peer.instance).map(|why| format!("{}: {why}", peer.underlay)))
            .collect::<Option<_>>()?;
        if faults.is_empty() {
            return None;
        }
        let more = faults.len().saturating_sub(NAMED);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        let named: Vec<&str> = faults.iter().take(NAMED).map(String::as_str).collect();
        Some(format!("no packet passes to any other host ({}{more})", named.join("; ")))
    }
}
