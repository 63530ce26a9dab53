//! What was seen of containers: cheap sightings in a listing, and inspections, which know more and wait their turn.

use crate::interface::Interface;
use crate::outcome::Stage;
use crate::policy::Patience;
use crate::ports::ResolvedPort;
use crate::reasons;
use crate::record::Phase;
use crate::step::{Lane, Step};
use crate::task::Task;
use longshore_model::planted::{Bug, is_planted};
use longshore_model::{ContainerName, HealthStatus, NetworkMode, Timestamp};
use std::collections::BTreeMap;

/// What the engine says that a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Made, and not started.
    Created,
    /// It runs, or is paused or being restarted.
    Running,
    /// It is being removed: what it was is not known any more, what it will be is gone.
    Removing,
    /// It has ended.
    Ended,
}

/// A container in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The engine's id.
    pub id: String,
    /// What it does.
    pub state: RunState,
    /// What its health check says, while it runs and has one.
    pub health: Option<HealthStatus>,
    /// Somebody gave it another name. An inspection, which is by name, gives it its own again.
    pub renamed: bool,
}

/// A container that was looked at. The engine answers an inspection only when no start or stop of that container is
/// in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// The engine's id.
    pub id: String,
    /// Whether it carries our label for this task. A container with our name and not our label is not ours.
    pub ours: bool,
    /// What it does.
    pub state: RunState,
    /// When it last began to run; absent if it never did.
    pub started_at: Option<Timestamp>,
    /// When it last ended.
    pub finished_at: Option<Timestamp>,
    /// Whether it ended before the host was booted: the host's shutdown ended it, or the end of its power.
    pub before_boot: bool,
    /// How it ended.
    pub exit_code: Option<i32>,
    /// What its health check says, while it runs and has one.
    pub health: Option<HealthStatus>,
    /// Whether the kernel ended it for its memory limit.
    pub oom_killed: bool,
    /// The engine's own words on why it did not run.
    pub error: Option<String>,
    /// The digest of its image.
    pub image_digest: Option<String>,
    /// The host ports that it was created with, from its label.
    pub ports: Vec<ResolvedPort>,
    /// The interface that it was created in, from its label.
    pub interface: Option<Box<Interface>>,
}

impl Task {
    /// Compares a listing that was asked for when `as_of` outcomes had been taken in. Marks what disagrees with the
    /// record for an inspection. What moved since the listing was asked for is left to the next one. Says whether a
    /// pass would see anything new.
    pub fn sight(&mut self, listing: &BTreeMap<ContainerName, Sighting>, as_of: u64) -> bool {
        let mut news = false;
        for i in 0..self.record.containers.len() {
            let busy = self.live.in_flight.contains_key(&Lane::Container(i));
            let live = &mut self.live.containers[i];
            if busy || live.touched > as_of {
                continue;
            }
            let container = &mut self.record.containers[i];
            let seen = listing.get(&container.name);
            let same = seen.is_some_and(|s| container.phase.id() == Some(s.id.as_str()));
            let state = seen.map(|s| s.state);
            let before = (live.look, live.startable, live.rogue);
            match &mut container.phase {
                // Made before a crash that the record did not survive. Whether it was started is not remembered, so
                // from here on it counts as if it may have been.
                Phase::Waiting | Phase::Pulled => {
                    if let Some(seen) = seen {
                        container.phase = Phase::Starting { id: seen.id.clone() };
                        live.look = true;
                        live.half_made = seen.state == RunState::Created;
                    }
                }
                // No start was asked for while the record says this, so the listing is enough.
                Phase::Created { .. } if same && state == Some(RunState::Created) => live.startable = true,
                Phase::Created { .. } => live.look = true,
                // A listing may show `created` while a start goes on; only an inspection waits for it.
                Phase::Starting { .. } => {
                    live.half_made = same && state == Some(RunState::Created);
                    live.look |= !live.startable || state != Some(RunState::Created) || !same;
                }
                Phase::Restarting { .. } => live.look |= !live.startable || state != Some(RunState::Ended) || !same,
                Phase::Discarding { .. } => live.look |= seen.is_none() || state == Some(RunState::Running),
                Phase::Running { .. } => {
                    container.restarts.with_host &= !same || state != Some(RunState::Running);
                    let health = seen.and_then(|s| s.health);
                    let changed = health.is_some() && health != container.health;
                    live.look |= !same || changed || state != Some(RunState::Running);
                }
                Phase::Stopped(stopped) => {
                    news |= stopped.remains != seen.is_some();
                    stopped.remains = seen.is_some();
                    live.rogue = state == Some(RunState::Running);
                }
            }
            // The event may have come to an agent that is dead since.
            live.look |= !container.phase.is_stopped() && same && seen.is_some_and(|s| s.renamed);
            news |= before != (live.look, live.startable, live.rogue);
        }
        news
    }

    /// An event said that something happened to a container: look at it.
    pub fn hint(&mut self, container: &ContainerName) {
        for (record, live) in self.record.containers.iter().zip(&mut self.live.containers) {
            live.look |= record.name == *container && !record.phase.is_stopped();
        }
    }

    /// Takes an inspection of container `i` in; `None` when the engine has none of that name.
    pub(crate) fn absorb(&mut self, i: usize, seen: Option<Inspected>, now: Timestamp) {
        let may_start = self.record.may_start;
        let live = &mut self.live.containers[i];
        live.look = false;
        live.startable = false;
        let timed_out = live.start_timed_out.take();
        let container = &mut self.record.containers[i];
        if let Some(foreign) = &seen
            && !foreign.ours
        {
            let reason = format!(
                "a container that is not Longshore's has the name `{}`; remove or rename it",
                crate::names::container(self.record.id, &container.name)
            );
            return self.fail(i, Stage::Create, &reason, false, now);
        }
        // Another container under our name and label than the one we made: ours is gone.
        let seen = seen.filter(|s| container.phase.id().is_none_or(|id| id == s.id));
        let Some(mut seen) = seen else {
            return self.absorb_absence(i, now);
        };
        self.live.containers[i].half_made = false;
        if let Some(interface) = &seen.interface {
            self.found_interface(interface);
        }
        let live = &mut self.live.containers[i];
        let container = &mut self.record.containers[i];
        if container.image_digest.is_none() {
            container.image_digest = seen.image_digest.take();
        }
        container.health = seen.health.or(container.health);
        if !seen.ports.is_empty() {
            // If it was created before a crash, its ports may be all that the record does not have.
            container.ports.clone_from(&seen.ports);
        }
        match (&container.phase, seen.state) {
            (_, RunState::Removing) => {
                live.look = true;
                self.again(&Step::Inspect(i), Patience::Stop, "it is being removed", now);
            }
            (Phase::Stopped(_), state) => live.rogue = state == RunState::Running,
            (Phase::Discarding { .. }, RunState::Created | RunState::Ended) if seen.started_at.is_none() => {}
            (Phase::Waiting | Phase::Pulled | Phase::Created { .. } | Phase::Starting { .. }, RunState::Created)
                if seen.started_at.is_none() =>
            {
                if !may_start {
                    self.end(i, Ended { ran: false, reason: Some(reasons::UNKNOWN_HERE.into()), ..Ended::at(now) });
                } else if let Some(text) = timed_out {
                    // The engine had its time and did not start it; what it still may do is undone at the stop.
                    self.fail(i, Stage::Start, &text, true, now);
                } else {
                    live.startable = true;
                    container.restarts.with_host = false;
                    if !matches!(container.phase, Phase::Starting { .. }) {
                        container.phase = Phase::Created { id: seen.id };
                    }
                }
            }
            // Its command has begun, so it is not made again; and nothing says that it has its network.
            (Phase::Discarding { .. }, RunState::Running) => {
                self.fail(i, Stage::Start, reasons::STARTED_AFTER_ALL, true, now);
                self.live.containers[i].rogue = true;
            }
            // Docker was killed in the middle of its start, took the network away when it came back, and heard after
            // that that it runs.
            (Phase::Starting { .. }, RunState::Running)
                if seen.started_at.is_none() && self.outline.network_mode == NetworkMode::Bridge =>
            {
                self.fail(i, Stage::Start, reasons::STARTED_AFTER_ALL, true, now);
                self.live.containers[i].rogue = true;
            }
            (_, RunState::Running) => self.began(i, seen.id, seen.started_at.unwrap_or(now)),
            (Phase::Restarting { .. }, RunState::Created | RunState::Ended) => {
                self.absorb_down(i, seen, timed_out, now);
            }
            (_, RunState::Created | RunState::Ended) => self.absorb_end(i, seen, now),
        }
    }

    /// Container `i` was seen to have ended.
    pub(crate) fn absorb_end(&mut self, i: usize, seen: Inspected, now: Timestamp) {
        let container = &mut self.record.containers[i];
        container.started_at = container.started_at.or(seen.started_at);
        let ran = container.started_at.is_some();
        let reason = match (seen.oom_killed, seen.error) {
            (true, _) => Some(reasons::OUT_OF_MEMORY.to_owned()),
            (false, Some(error)) if !ran => Some(reasons::named("CannotStartContainerError", &error)),
            (false, Some(error)) => Some(reasons::clip(error)),
            (false, None) => None,
        };
        let exit_code = seen.exit_code.filter(|_| ran);
        let at = seen.finished_at.unwrap_or(now);
        // Of one that was known to have ended, this is no news.
        let ran_on = matches!(container.phase, Phase::Running { .. } | Phase::Starting { .. });
        // By the ledger, or by the clock where the ledger cannot tell; said is only what the ledger knows.
        let booted = std::mem::take(&mut container.restarts.with_host);
        let with_host = booted || seen.before_boot && ran_on;
        let reason = reason.or_else(|| booted.then(|| reasons::HOST_RESTARTED.to_owned()));
        if container.phase.is_running() && seen.started_at > container.restarts.began_at.or(container.started_at) {
            // Somebody had started it anew.
            (container.restarts.began_at, container.restarts.moved_millis) = (seen.started_at, 0);
        }
        self.ended(i, Ended { id: Some(seen.id), ran, exit_code, reason, at, remains: true }, with_host, now);
    }

    fn absorb_absence(&mut self, i: usize, now: Timestamp) {
        let may_start = self.record.may_start;
        let container = &mut self.record.containers[i];
        match &mut container.phase {
            Phase::Waiting | Phase::Pulled if may_start => {}
            Phase::Waiting | Phase::Pulled => {
                let reason = Some(reasons::UNKNOWN_HERE.to_owned());
                self.end(i, Ended { reason, remains: false, ..Ended::at(now) });
            }
            // Never started, so it may be made again.
            Phase::Created { .. } => container.phase = Phase::Pulled,
            Phase::Discarding { .. } => self.remake(i),
            // Until a listing is without it, too.
            Phase::Starting { .. } if self.live.containers[i].half_made => {
                self.live.containers[i].look = true;
                self.again(&Step::Inspect(i), Patience::Stop, "it is being made", now);
            }
            Phase::Starting { .. } | Phase::Running { .. } if is_planted(Bug::GoneIsStartedAgain) => self.remake(i),
            Phase::Starting { .. } | Phase::Running { .. } | Phase::Restarting { .. } => {
                let reason = Some(reasons::VANISHED.to_owned());
                self.end(i, Ended { ran: true, reason, remains: false, ..Ended::at(now) });
            }
            Phase::Stopped(stopped) => {
                stopped.remains = false;
                self.live.containers[i].rogue = false;
            }
        }
    }

    /// A container that never ran is gone: make it again, on other ports.
    pub(crate) fn remake(&mut self, i: usize) {
        let container = &mut self.record.containers[i];
        container.phase = Phase::Pulled;
        container.ports.clear();
        if let Some(ports) = self.record.resource_mut(&crate::record::ResourceKind::Ports) {
            ports.phase = crate::record::ResourcePhase::Wanted;
        }
    }

    /// Puts container `i` into its last phase. The id that was known is kept when `ended` has none.
    pub(crate) fn end(&mut self, i: usize, ended: Ended) {
        let stopped = self.stopped(i, ended);
        let container = &mut self.record.containers[i];
        container.phase = Phase::Stopped(stopped);
        container.restarts.unhealthy = false;
        let live = &mut self.live.containers[i];
        live.look = false;
        live.startable = false;
        self.live.retries.retain(|(lane, _), _| *lane != Lane::Container(i));
    }
}

/// How a container ended, before it is known what else was recorded of it.
pub(crate) struct Ended {
    pub(crate) id: Option<String>,
    pub(crate) ran: bool,
    pub(crate) exit_code: Option<i32>,
    pub(crate) reason: Option<String>,
    pub(crate) at: Timestamp,
    pub(crate) remains: bool,
}

impl Ended {
    /// Never ran, nothing to say, and the engine may still have it.
    pub(crate) const fn at(at: Timestamp) -> Self {
        Self { id: None, ran: false, exit_code: None, reason: None, at, remains: true }
    }
}
