//! How this host is: a few checks that are made again and again, for the control plane, which shows them as ECS shows
//! the health of a container instance.
//!
//! Owns the checks' results and since when they are what they are. Mends nothing, and nothing waits for it. Each round
//! asks what is there to be asked (the engine for a sign of life, the reconciler, the network's owner, the kernel for
//! free space), each under a deadline of its own, so that one that hangs is told of and holds up no other.

mod checks;

pub use checks::{HostChecks, Look};

use crate::engine::drivers::Clock;
use longshore_model::{CheckResult, CheckStatus, InstanceHealth};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Between two rounds on a host that is well. A round is a ping and a few questions inside this process.
const WELL: Duration = Duration::from_secs(10);

/// The same on one that is not.
const UNWELL: Duration = Duration::from_secs(3);

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which check.
    pub check: &'static str,
    /// What it found.
    pub status: CheckStatus,
    /// Why it is not well.
    pub reason: Option<String>,
}

/// Makes the checks: a long-lived task.
pub struct Doctor {
    look: Box<dyn Look>,
    clock: Arc<dyn Clock>,
    health: watch::Sender<InstanceHealth>,
}

impl Doctor {
    /// One that makes the checks of `look`, and where its findings are. Nothing is known before [`Doctor::run`].
    #[must_use]
    pub fn new(look: Box<dyn Look>, clock: Arc<dyn Clock>) -> (Self, watch::Receiver<InstanceHealth>) {
        let (health, health_out) = watch::channel(InstanceHealth::default());
        (Self { look, clock, health }, health_out)
    }

    /// Looks until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let rounds = async {
            loop {
                let found = self.look.all().await;
                let well = found.iter().all(|finding| finding.status == CheckStatus::Ok);
                self.take(found);
                tokio::time::sleep(if well { WELL } else { UNWELL }).await;
            }
        };
        let _ = shutdown.run_until_cancelled(rounds).await;
    }

    fn take(&self, found: Vec<Finding>) {
        let now = self.clock.now();
        self.health.send_modify(|health| {
            let before = std::mem::take(&mut health.checks);
            health.checks = found
                .into_iter()
                .map(|Finding { check, status, reason }| {
                    let known = before.iter().find(|known| known.check == check);
                    let same = known.filter(|known| known.status == status);
                    if same.is_none() {
                        say(check, status, reason.as_deref(), known.is_none());
                    }
                    let changed_at = same.map_or(now, |known| known.changed_at);
                    CheckResult { check: check.to_owned(), status, reason, checked_at: now, changed_at }
                })
                .collect();
        });
    }
}

/// One line for each change.
fn say(check: &str, status: CheckStatus, reason: Option<&str>, first: bool) {
    match status {
        CheckStatus::Ok if first => tracing::debug!(check, "this host is well"),
        CheckStatus::Ok => tracing::info!(check, "this host is well again"),
        CheckStatus::Impaired => tracing::warn!(check, why = reason, "this host is not well"),
        CheckStatus::Initializing | CheckStatus::InsufficientData => {
            tracing::debug!(check, why = reason, "it is not known whether this host is well");
        }
    }
}

#[cfg(test)]
mod tests;
