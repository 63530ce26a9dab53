//! Restart policies: a container that ended is started again in place, as ECS's `restartPolicy` has it, or, beyond ECS,
//! after a wait that grows while it keeps ending soon, and also when its health check fails.
//!
//! The intent and the count are in the record before the start is asked for. A start that a crash cut is repeated: what
//! the policy wants is that the container runs, so one start more does no harm. That a container is stopped for its
//! health is in the record, too, before it is asked for: its end would be taken for its own else.

use crate::observe::{Ended, Inspected};
use crate::outcome::Stage;
use crate::pass::{Pass, View};
use crate::policy::LONGEST_WAIT;
use crate::reasons;
use crate::record::{ContainerRecord, Phase, Restarts, Stopped, Wish};
use crate::step::{Lane, Step};
use crate::task::{Task, Verb};
use longshore_model::{Backoff, HealthStatus, RestartPolicy, Timestamp};
use std::time::Duration;

/// How often in a row a container whose policy has no backoff may fail to be started again, with waits from a second to
/// a minute: five minutes and some seconds together, in which a host that was started has its network and file servers.
const REFUSALS: u32 = 11;

/// The waits between those tries.
const REFUSED: Backoff = Backoff { first_secs: 1, longest_secs: 60 };

/// Between why it ended and why it was not started.
const REFUSAL: &str = "not started: ";

/// What becomes of a container that ended.
enum Verdict {
    /// It is started again, after this long.
    Again(Duration),
    /// It is not; why, for people, where its policy decided that.
    Over(Option<String>),
}

impl Task {
    /// Container `i` ran and ended, by the end of the host's last boot or not: starts it again if its policy says so,
    /// else it is over.
    pub(crate) fn ended(&mut self, i: usize, ended: Ended, with_host: bool, now: Timestamp) {
        let stopped_by_us = std::mem::take(&mut self.record.containers[i].restarts.unhealthy);
        let mut ended = ended;
        if stopped_by_us {
            ended.reason.get_or_insert_with(|| reasons::UNHEALTHY.to_owned());
        }
        // Whatever code it had ready for its stop says nothing of how it would have ended by itself.
        match self.verdict(i, &ended, stopped_by_us, with_host) {
            Verdict::Again(wait) => {
                let stopped = self.stopped(i, ended);
                let container = &mut self.record.containers[i];
                container.restarts.exit_code = stopped.exit_code;
                container.phase = Phase::Restarting { ended: stopped, not_before: now.after(wait), asked: false };
                // It was just looked at.
                self.live.containers[i].startable = true;
            }
            Verdict::Over(why) => {
                ended.reason = ended.reason.or(why);
                self.end(i, ended);
            }
        }
    }

    fn verdict(&mut self, i: usize, ended: &Ended, stopped_by_us: bool, with_host: bool) -> Verdict {
        let Some(policy) = self.outline.containers[i].restart.clone() else { return Verdict::Over(None) };
        let wanted = matches!(self.record.wish, Wish::Unknown | Wish::Run) && self.record.ending.is_none();
        // Without an exit code it is not known how it ended, and ECS lets it be.
        let (true, true, Some(code)) = (wanted, ended.ran, ended.exit_code) else { return Verdict::Over(None) };
        if policy.ignored_exit_codes.contains(&code) && !stopped_by_us && !with_host {
            return Verdict::Over(Some(format!("not restarted: exit code {code} is one of its ignoredExitCodes")));
        }
        let container = &mut self.record.containers[i];
        let ran_for = ended.at.since(container.began_last_now().unwrap_or(ended.at));
        let restarts = &mut container.restarts;
        // How long it ran before the host went down says nothing of it, and nothing knows it when the clock was wrong.
        let steady = with_host || ran_for >= period(&policy);
        restarts.soon = if steady { 0 } else { restarts.soon.saturating_add(1) };
        match (&policy.backoff, steady) {
            (None, true) => Verdict::Again(Duration::ZERO),
            (None, false) => Verdict::Over(Some(format!(
                "not restarted: it ran for {} s, and its restartAttemptPeriod is {} s",
                ran_for.as_secs(),
                policy.attempt_period_secs
            ))),
            (Some(backoff), _) => Verdict::Again(waits(backoff, restarts.soon)),
        }
    }

    /// Container `i` ran, and could not be started again for this `reason`: its host port is somebody else's for now, or
    /// what it mounts is not there yet. Its policy's backoff goes on, as if it had ended at once; without one it is tried
    /// as often as [`REFUSALS`].
    pub(crate) fn not_restarted(&mut self, i: usize, reason: String, now: Timestamp) {
        let wanted = matches!(self.record.wish, Wish::Unknown | Wish::Run) && self.record.ending.is_none();
        let policy = self.outline.containers[i].restart.as_ref().filter(|_| wanted);
        let container = &mut self.record.containers[i];
        let Phase::Restarting { ended, asked, .. } = &container.phase else { return };
        let (mut ended, asked) = (ended.clone(), *asked);
        let restarts = &mut container.restarts;
        // It was not started again.
        restarts.count = restarts.count.saturating_sub(u32::from(asked));
        restarts.refused = restarts.refused.saturating_add(1);
        let wait = match policy.map(|policy| &policy.backoff) {
            Some(Some(backoff)) => waits(backoff, restarts.soon.saturating_add(restarts.refused)),
            Some(None) if restarts.refused < REFUSALS => waits(&REFUSED, restarts.refused),
            Some(None) | None => return self.end(i, Ended { reason: Some(reason), ..Ended::at(now) }),
        };
        // Beside why it ended, which stays.
        let why = ended.reason.as_deref().unwrap_or_default();
        let why = why.split_once(REFUSAL).map_or(why, |(why, _)| why).trim_end_matches("; ");
        let before = if why.is_empty() { String::new() } else { format!("{why}; ") };
        ended.reason = Some(reasons::clip(format!("{before}{REFUSAL}{reason}")));
        container.phase = Phase::Restarting { ended, not_before: now.after(wait), asked: false };
        let live = &mut self.live.containers[i];
        (live.look, live.startable, live.no_space_since) = (false, false, None);
        self.live.retries.remove(&(Lane::Container(i), Verb::Start));
    }

    /// Container `i` is to be started again and was seen not to run: still, or because it ended again.
    pub(crate) fn absorb_down(&mut self, i: usize, seen: Inspected, timed_out: Option<String>, now: Timestamp) {
        let container = &mut self.record.containers[i];
        let Phase::Restarting { asked, .. } = container.phase else { return };
        // Also by a start that had taken too long.
        if seen.started_at > container.began_last() {
            container.restarts.count = container.restarts.count.saturating_add(u32::from(!asked));
            container.restarts.refused = 0;
            container.restarts.began_at = seen.started_at;
            container.restarts.moved_millis = 0;
            return self.absorb_end(i, seen, now);
        }
        match timed_out {
            Some(text) => self.fail(i, Stage::Start, &text, true, now),
            None => {
                container.restarts.with_host = false;
                self.live.containers[i].startable = true;
            }
        }
    }

    /// Asks for the start of container `i`, once its wait is over.
    pub(crate) fn start_again(&mut self, i: usize, view: &View<'_>, pass: &mut Pass) {
        let name = self.record.containers[i].name.clone();
        let Phase::Restarting { not_before, asked, .. } = &self.record.containers[i].phase else { return };
        let (not_before, asked) = (*not_before, *asked);
        let longest = self.outline.containers[i].restart.as_ref().and_then(|policy| policy.backoff.as_ref());
        let longest = longest.map_or(Duration::ZERO, |b| Duration::from_secs(b.longest_secs.into()));
        // A time further ahead than any wait was set before the clock was turned back.
        if not_before > view.now && not_before.since(view.now) <= longest.max(LONGEST_WAIT) {
            pass.wait(Some(&name), format!("its restart at {not_before}"));
            pass.wake(not_before);
            return;
        }
        if !self.company_rests(i, pass) && self.is_free(&Step::Start(i), view, pass) {
            let container = &mut self.record.containers[i];
            if let Phase::Restarting { asked, .. } = &mut container.phase {
                *asked = true;
            }
            // One that did not get through is not another.
            container.restarts.count = container.restarts.count.saturating_add(u32::from(!asked));
            self.live.containers[i].startable = false;
            self.ask(Step::Start(i), view, pass);
        }
    }

    /// Stops container `i`, which runs, if it is unhealthy and its policy wants it restarted for that.
    pub(crate) fn restart_unhealthy(&mut self, i: usize, view: &View<'_>, pass: &mut Pass) {
        let container = &self.record.containers[i];
        let Some(policy) = self.outline.containers[i].restart.clone().filter(|policy| policy.when_unhealthy) else {
            return;
        };
        if container.health == Some(HealthStatus::Healthy) && !self.live.in_flight.contains_key(&Lane::Container(i)) {
            // It came round before it was stopped.
            self.record.containers[i].restarts.unhealthy = false;
            return;
        }
        if container.health != Some(HealthStatus::Unhealthy) || self.record.wish != Wish::Run {
            return;
        }
        let name = container.name.clone();
        let ripe = container.began_last_now().unwrap_or(view.now).after(period(&policy));
        if policy.backoff.is_none() && ripe > view.now {
            // Stopped sooner, it would not be started again.
            pass.wait(Some(&name), format!("its restart, since it is unhealthy, not before {ripe}"));
            pass.wake(ripe);
            return;
        }
        let halt = self.halt(i, view);
        if self.is_free(&Step::StopUnhealthy(i, halt), view, pass) {
            self.record.containers[i].restarts.unhealthy = true;
            self.ask(Step::StopUnhealthy(i, halt), view, pass);
        }
    }

    /// Container `i` runs again, or for the first time.
    pub(crate) fn began(&mut self, i: usize, id: String, at: Timestamp) {
        let container = &mut self.record.containers[i];
        if let Phase::Restarting { asked, .. } = container.phase {
            container.restarts.count = container.restarts.count.saturating_add(u32::from(!asked));
            // Its check begins anew.
            container.health = container.health.map(|_| HealthStatus::Unknown);
        }
        if container.phase.is_running() && Some(at) > container.began_last() {
            // It ended, and somebody started it: how this run ends is its own affair.
            container.restarts.unhealthy = false;
        }
        if !container.phase.is_running() {
            container.restarts.began_at = Some(at);
            container.restarts.moved_millis = 0;
            container.restarts.refused = 0;
        }
        container.started_at.get_or_insert(at);
        container.phase = Phase::Running { id };
        container.restarts.with_host = false;
    }

    /// `ended` with what was recorded before.
    pub(crate) fn stopped(&self, i: usize, ended: Ended) -> Stopped {
        let container = &self.record.containers[i];
        let Ended { id, ran, exit_code, reason, at, remains } = ended;
        let before = match &container.phase {
            Phase::Restarting { ended, .. } => ended.exit_code,
            Phase::Waiting
            | Phase::Pulled
            | Phase::Created { .. }
            | Phase::Starting { .. }
            | Phase::Discarding { .. }
            | Phase::Running { .. }
            | Phase::Stopped(_) => None,
        };
        Stopped {
            id: id.or_else(|| container.phase.id().map(str::to_owned)),
            ran: ran || container.started_at.is_some(),
            exit_code: exit_code.or(before),
            reason,
            at,
            remains,
        }
    }
}

/// The wait before a restart when the container ended too soon so many times in a row.
fn waits(backoff: &Backoff, soon: u32) -> Duration {
    let wait = u64::from(backoff.first_secs) << soon.saturating_sub(1).min(20);
    Duration::from_secs(wait.min(backoff.longest_secs.into()))
}

fn period(policy: &RestartPolicy) -> Duration {
    Duration::from_secs(policy.attempt_period_secs.into())
}

impl ContainerRecord {
    /// When it began to run for the last time.
    fn began_last(&self) -> Option<Timestamp> {
        self.restarts.began_at.or(self.started_at)
    }

    /// The same by the clock as it is now.
    fn began_last_now(&self) -> Option<Timestamp> {
        self.began_last().map(|at| at.moved(self.restarts.moved_millis))
    }

    /// What is to be said of its restarts, for people.
    pub(crate) fn restart_reason(&self) -> Option<String> {
        let Restarts { count, soon, refused, exit_code, .. } = self.restarts;
        let last = exit_code.map(|code| format!("; it last ended with exit code {code}")).unwrap_or_default();
        let crashes = |soon: u32| match soon {
            0 | 1 => String::new(),
            soon => format!("; crash loop: it ended {soon} times in a row before its restartAttemptPeriod was over"),
        };
        match &self.phase {
            Phase::Restarting { ended, not_before, asked } => {
                let code = ended.exit_code.map(|code| format!(" with exit code {code}")).unwrap_or_default();
                let why = ended.reason.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
                let next = count.saturating_add(u32::from(!asked));
                let text = format!("Ended{code} at {}{why}; restart {next} at {not_before}", ended.at);
                let refusals = match refused {
                    0 => String::new(),
                    times => format!("; it could not be started {times} times in a row"),
                };
                Some(reasons::clip(text + &crashes(soon) + &refusals))
            }
            Phase::Running { .. } if count > 0 => Some(format!("Restarts: {count}{last}{}", crashes(soon))),
            Phase::Waiting
            | Phase::Pulled
            | Phase::Created { .. }
            | Phase::Starting { .. }
            | Phase::Discarding { .. }
            | Phase::Running { .. }
            | Phase::Stopped(_) => None,
        }
    }
}
