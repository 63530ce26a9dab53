//! Service deployments as resources: from what a service went to what, and what became of it.
//!
//! A [`ServiceDeployment`](crate::records::ServiceDeployment) is what a service works at and leaves it once it has no
//! task. This is what stays to be asked for.

use crate::records::{ServiceKey, ServiceRevision};
use longshore_ecs_api::types::DeploymentConfiguration;
use longshore_model::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How far a service deployment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeploymentStatus {
    /// Its tasks take the place of others.
    InProgress,
    /// Its revision runs.
    Successful,
    /// It ended before its revision ran, and nothing was brought back.
    Stopped,
    /// What ran before is being brought back.
    RollbackInProgress,
    /// What ran before runs again.
    RollbackSuccessful,
    /// What ran before does not run again.
    RollbackFailed,
}

impl DeploymentStatus {
    /// Whether nothing changes it any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::InProgress | Self::RollbackInProgress => false,
            Self::Successful | Self::Stopped | Self::RollbackSuccessful | Self::RollbackFailed => true,
        }
    }
}

/// How many tasks a revision had at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskNumbers {
    /// That there were to be.
    pub requested: u32,
    /// That ran.
    pub running: u32,
    /// That did not run yet.
    pub pending: u32,
}

impl TaskNumbers {
    /// Counts others in.
    pub(crate) const fn add(&mut self, others: Self) {
        self.requested = self.requested.saturating_add(others.requested);
        self.running = self.running.saturating_add(others.running);
        self.pending = self.pending.saturating_add(others.pending);
    }
}

/// A revision with its tasks at some time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RevisionTasks {
    /// The revision.
    pub revision: ServiceRevision,
    /// Its tasks.
    pub tasks: TaskNumbers,
}

/// What the circuit breaker of a deployment that is over had counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerFigures {
    /// Whether it had opened.
    pub opened: bool,
    /// Tasks that had failed.
    pub failures: u32,
    /// At how many it opens.
    pub threshold: u32,
}

/// That what ran before was brought back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RollbackRecord {
    /// The `ecs-svc/` id of the deployment that brings it back.
    pub carried_by: Arc<str>,
    /// What is brought back.
    pub revision: ServiceRevision,
    /// Why.
    pub reason: String,
    /// Since when.
    pub started_at: Timestamp,
}

/// A service deployment, under way or over. A service has at most one that is under way: the one that was made last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeploymentRecord {
    /// Whose.
    pub service: ServiceKey,
    /// Rises with every one of the service.
    pub number: u64,
    /// The last part of its ARN.
    pub id: Arc<str>,
    /// The `ecs-svc/` id of the deployment that carries it out.
    pub carried_by: Arc<str>,
    /// How far it is.
    pub status: DeploymentStatus,
    /// Why it is there, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is deployed.
    pub target: ServiceRevision,
    /// The target's tasks when it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_tasks: Option<TaskNumbers>,
    /// What ran when it began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<RevisionTasks>,
    /// The deployment configuration when it began.
    pub configuration: DeploymentConfiguration,
    /// What the breaker had counted when the target's deployment was over; absent before, and without a breaker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerFigures>,
    /// Set when what ran before is brought back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Box<RollbackRecord>>,
    /// When it was asked for, and begun.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
    /// When the target was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

impl DeploymentRecord {
    /// Every revision that it knows.
    pub(crate) fn revisions(&self) -> impl Iterator<Item = &ServiceRevision> {
        let sources = self.sources.iter().map(|source| &source.revision);
        [&self.target].into_iter().chain(sources).chain(self.rollback.iter().map(|rollback| &rollback.revision))
    }
}
