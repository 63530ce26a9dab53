//! How a host is, as its agent finds it: what ECS calls the health of a container instance.

use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// Checks of one host.
pub const MAX_CHECKS: usize = 32;
/// Characters of a check's name.
pub const MAX_CHECK_CHARS: usize = 64;
/// Characters of a reason.
pub const MAX_CHECK_REASON_CHARS: usize = 512;

/// ECS's own check: whether the container engine does its work.
pub const CONTAINER_RUNTIME: &str = "CONTAINER_RUNTIME";
/// Ours: whether tasks can be given interfaces.
pub const NETWORK: &str = "NETWORK";
/// Ours: whether the agent can save what it does.
pub const LEDGER: &str = "LEDGER";
/// Ours: whether there is room on the disks that agent and engine write to.
pub const DISK: &str = "DISK";

/// What a check found (ECS `InstanceHealthCheckState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CheckStatus {
    /// It is well.
    Ok,
    /// It was not looked at yet.
    Initializing,
    /// It could not be found out.
    InsufficientData,
    /// It is not well.
    Impaired,
}

impl CheckStatus {
    /// Every one, the best first.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Initializing, Self::InsufficientData, Self::Impaired];
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// Its name: 1 to [`MAX_CHECK_CHARS`] capital letters, digits and `_`.
    pub check: String,
    /// What it found.
    pub status: CheckStatus,
    /// Why it is not well, for people: at most [`MAX_CHECK_REASON_CHARS`] characters.
    pub reason: Option<String>,
    /// When it looked last, by the host's clock.
    pub checked_at: Timestamp,
    /// When it began to find what it finds.
    pub changed_at: Timestamp,
}

/// All checks of a host, each name once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceHealth {
    /// In the agent's order.
    pub checks: Vec<CheckResult>,
}

impl InstanceHealth {
    /// Whether anybody would be told something else than of `other`: everything but the times of the looks.
    #[must_use]
    pub fn differs_from(&self, other: &Self) -> bool {
        let gist = |c: &CheckResult| (c.check.clone(), c.status, c.reason.clone());
        !self.checks.iter().map(gist).eq(other.checks.iter().map(gist))
    }
}
