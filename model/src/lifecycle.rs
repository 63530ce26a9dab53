//! What a container definition says of its container's life beside its command: how it is looked after.

use serde::{Deserialize, Serialize};

/// How a container is looked after. Nothing of it is the default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Lifecycle {
    /// The definition's health check; that of the image holds when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
}

/// A health check as the engine runs it in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// `CMD` and a program with its arguments, `CMD-SHELL` and a line for the container's shell, or `NONE` alone, which
    /// switches the check of the image off.
    pub command: Vec<String>,
    /// Seconds between two checks.
    pub interval_secs: u32,
    /// Seconds after which a check that has not ended counts as failed.
    pub timeout_secs: u32,
    /// Failures in a row that make the container unhealthy.
    pub retries: u32,
    /// Seconds after the start in which failures do not count.
    pub start_period_secs: u32,
}

impl HealthCheck {
    /// Whether it checks anything, as opposed to switching the image's check off.
    #[must_use]
    pub fn is_check(&self) -> bool {
        self.command.first().is_some_and(|kind| kind != "NONE")
    }
}
