//! What a container definition says of its container's life beside its command: how it is looked after.

use crate::id::ContainerName;
use crate::state::ContainerCondition;
use serde::{Deserialize, Serialize};

/// How a container is looked after. Nothing of it is the default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Lifecycle {
    /// The definition's health check; that of the image holds when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// Containers of the task that must have come so far before it is started. It is stopped before any of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Dependency>,
    /// Seconds from its start in which it must meet the conditions of what depends on it; the agent's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timeout_secs: Option<u32>,
    /// When it is started again after it ended; never when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartPolicy>,
}

/// When a container that ended is started again, in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// Exit codes after which it is not.
    pub ignored_exit_codes: Vec<i32>,
    /// Seconds that it must have run since it was last started. Without a back-off it is not started again otherwise.
    pub attempt_period_secs: u32,
    /// How long to wait before it is started again; not at all, and only after its period, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// Whether it is also stopped and started again when it is unhealthy.
    #[serde(default)]
    pub when_unhealthy: bool,
}

/// A wait that doubles each time that a container ends before its period is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// The first wait, in seconds.
    pub first_secs: u32,
    /// The longest wait, in seconds.
    pub longest_secs: u32,
}

/// A container that another waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// Which one, another of the same task.
    pub container: ContainerName,
    /// How far it must have come.
    pub condition: ContainerCondition,
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
