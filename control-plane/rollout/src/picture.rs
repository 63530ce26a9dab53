//! A service as decisions see it: numbers and phases, nothing of how it is stored or reported.

use crate::bounds::Bounds;
use crate::failures::Breaker;
use longshore_model::planted::{Bug, is_planted};
use longshore_model::{InstanceId, TaskId, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// Everything that a decision rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// How tasks are counted.
    pub scheduling: Scheduling,
    /// Whether the service is to run; otherwise it is being deleted and its tasks go.
    pub active: bool,
    /// The minimum and maximum percent.
    pub bounds: Bounds,
    /// How long a task without a health check must run until it counts as healthy. 40 s in ECS.
    pub healthy_after: Duration,
    /// How long after its start a task's health is not held against it.
    pub grace: Duration,
    /// The circuit breaker, if it is on.
    pub breaker: Option<Breaker>,
    /// The deployments that count, the newest (PRIMARY) first. Never empty for an active service.
    pub deployments: Vec<Deployment>,
    /// Its tasks that are not stopped.
    pub tasks: Vec<Task>,
    /// Whether the last tasks that should have started found no place.
    pub unplaced: bool,
    /// Whether giving up tasks that are to be replaced, as many as the minimum allows, makes no place for others: what
    /// they would free is kept for somebody else.
    pub no_gain: bool,
    /// Whether tasks are moved to where the zones are evened out.
    pub rebalance: Rebalance,
}

/// Whether a service that is as it should be moves tasks to other zones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Rebalance {
    /// It does not.
    #[default]
    Off,
    /// It does, and there is no place for one more task, or nobody needs to know.
    Nowhere,
    /// It does, and one more task would go to this zone.
    To(Option<Arc<str>>),
}

/// How many tasks a service has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheduling {
    /// So many, anywhere.
    Replica {
        /// The desired count.
        desired: u32,
    },
    /// One on each of these hosts.
    Daemon {
        /// The hosts that should have one, or have one and are draining.
        hosts: Vec<Host>,
    },
}

/// A host of a DAEMON service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    /// Which.
    pub id: InstanceId,
    /// Whether it is draining: it gets no new task, and keeps the one that it has until it is the last.
    pub draining: bool,
    /// Whether tasks of anything but daemons are on it.
    pub busy: bool,
}

/// How far a deployment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollout {
    /// Its tasks are being started.
    InProgress,
    /// Everything ran once.
    Completed,
    /// Its circuit breaker opened: it starts nothing any more.
    Failed,
}

/// A deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deployment {
    /// How far it is.
    pub rollout: Rollout,
    /// Tasks that failed, as the breaker counts them: never reached RUNNING, ended by themselves before they were
    /// healthy, or were replaced for their health. It forgets them when [`Decision::forgiven`](crate::Decision) says
    /// so.
    pub failures: u32,
    /// Those since one became healthy, whatever the breaker does: what pauses grow with.
    pub setbacks: u32,
    /// When the last one did.
    pub failed_at: Option<Timestamp>,
    /// Whether there is a completed revision other than its own that a rollback could bring back, and it is not a
    /// rollback itself.
    pub can_roll_back: bool,
}

/// A task of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// The index of its deployment in [`Picture::deployments`]; one that does not count any more has none.
    pub deployment: Option<usize>,
    /// What it does.
    pub phase: Phase,
    /// Where it is.
    pub host: InstanceId,
    /// The zone of its host.
    pub zone: Option<Arc<str>>,
    /// Whether its host is draining.
    pub draining: bool,
    /// Whether its host is silent and not given up yet: the task keeps its place, and nobody knows how it is.
    pub silent: bool,
    /// Whether it has no health checks and runs since nobody knows when: it may be healthy by now, and does not count as
    /// that yet.
    pub unproven: bool,
    /// Whether its host is given up for lost: the task counts for nothing any more.
    pub lost: bool,
    /// Until when scale-in and deployments leave it alone.
    pub protected_until: Option<Timestamp>,
    /// When it became or will become healthy, by the clock as it was set then: its health checks said for the first
    /// time that all is well, or, without any, it had run long enough. To be compared with failures.
    pub healthy_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It does not run yet.
    Pending,
    /// It runs.
    Running {
        /// Since when, by the clock as it is set now: how long it runs is what counts.
        since: Timestamp,
        /// What its health checks say.
        health: Health,
    },
    /// It was asked to stop, or stops by itself.
    Stopping {
        /// Whether its host is lost, so that nobody knows.
        lost: bool,
    },
}

/// What the health checks of a task's essential containers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It has none.
    Unchecked,
    /// There is no answer yet.
    Unknown,
    /// All is well.
    Healthy,
    /// Something is not.
    Unhealthy,
}

impl Task {
    /// Whether it counts as healthy (ECS: a health check says so, or it has run long enough without one). On a silent
    /// host it does not: what it was when it was last heard of keeps no service up.
    #[must_use]
    pub fn is_healthy(&self, picture: &Picture, now: Timestamp) -> bool {
        if self.silent || self.lost {
            return false;
        }
        match self.phase {
            Phase::Running { health: Health::Healthy, .. } => true,
            Phase::Running { since, health: Health::Unchecked } => now >= since.after(picture.healthy_after),
            Phase::Running { health: Health::Unknown | Health::Unhealthy, .. }
            | Phase::Pending
            | Phase::Stopping { .. } => false,
        }
    }

    /// Whether it may be healthy or not, for all that is known: it keeps nothing up, and goes only when what is known
    /// to be healthy is enough.
    pub(crate) fn is_unknown(&self, picture: &Picture, now: Timestamp) -> bool {
        self.silent || self.unproven && !self.is_healthy(picture, now)
    }

    /// When a healthy task became so: nothing that it does later counts as that once more.
    pub(crate) fn became_healthy(&self, picture: &Picture, now: Timestamp) -> Option<Timestamp> {
        match self.phase {
            Phase::Running { .. } if !self.is_healthy(picture, now) => None,
            Phase::Running { since, health: Health::Unchecked } => {
                Some(self.healthy_at.unwrap_or_else(|| since.after(picture.healthy_after)))
            }
            Phase::Running { since, health: Health::Healthy | Health::Unknown | Health::Unhealthy } => {
                Some(self.healthy_at.unwrap_or(since))
            }
            Phase::Pending | Phase::Stopping { .. } => None,
        }
    }

    /// Whether its health checks say that it is ill, and the grace period is over. What they said last before its host
    /// fell silent is held against nothing.
    #[must_use]
    pub fn is_ill(&self, picture: &Picture, now: Timestamp) -> bool {
        if self.silent || self.lost {
            return false;
        }
        match self.phase {
            Phase::Running { since, health: Health::Unhealthy } => now >= since.after(picture.grace),
            Phase::Running { .. } | Phase::Pending | Phase::Stopping { .. } => false,
        }
    }

    /// Whether it is neither stopping nor stopped, nor lost.
    #[must_use]
    pub const fn is_wanted(&self) -> bool {
        match self.phase {
            Phase::Pending | Phase::Running { .. } => !self.lost,
            Phase::Stopping { .. } => false,
        }
    }

    /// Whether scale-in, deployments and drains leave it alone: it is protected, and not ill. What is ill is replaced
    /// whatever it asked for while it was well.
    #[must_use]
    pub fn is_protected(&self, picture: &Picture, now: Timestamp) -> bool {
        self.asked_to_stay(now) && !self.is_ill(picture, now)
    }

    /// Whether it is protected, ill or not.
    pub(crate) fn asked_to_stay(&self, now: Timestamp) -> bool {
        self.protected_until.is_some_and(|until| now < until) && !is_planted(Bug::ProtectedAreStopped)
    }
}
