//! The decision: which steps bring a task nearer to what it should be, and what it waits for.

use crate::fence::Contact;
use crate::outcome::Stage;
use crate::policy::{LONGEST_WAIT, Policy};
use crate::ports::PortClaims;
use crate::reasons;
use crate::record::{Phase, ResourceKind, ResourcePhase, Wish};
use crate::room::{Place, Room};
use crate::step::{Halt, Lane, Step};
use crate::task::{Retry, Task, Verb};
use longshore_model::{ContainerName, Timestamp};
use std::time::Duration;

/// Whether the container engine answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineView<'a> {
    /// It answers, and a listing was compared since it last did not.
    Answering,
    /// It does not: nothing is known of any container, and nothing is decided that needs the truth.
    Silent {
        /// Since when and why, for people.
        why: &'a str,
    },
}

/// What a pass sees beside the task.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The time.
    pub now: Timestamp,
    /// The engine.
    pub engine: EngineView<'a>,
    /// Who has which host port.
    pub claims: &'a PortClaims,
    /// What tasks have of the host, and who waits for it.
    pub room: &'a Room,
    /// The numbers.
    pub policy: &'a Policy,
    /// Whether the host's disk needs the space of what is kept of the task only to be looked at: that goes at once.
    pub disk_short: bool,
    /// Whether the last write of the ledger failed: what needs a durable record waits for the next one that does not.
    pub ledger_fault: bool,
    /// When the control plane was last heard to have heard this agent.
    pub contact: Contact,
}

/// Something that a task waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The container that waits, or the whole task.
    pub container: Option<ContainerName>,
    /// For what, for people.
    pub for_what: String,
    /// Whether that is being done right now, so that the wait is nothing to tell others of.
    pub going_on: bool,
}

/// What a pass decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pass {
    /// Steps to carry out now; each is in flight until [`Task::finish`] has its outcome.
    pub steps: Vec<Step>,
    /// Steps in flight that are of no use any more.
    pub give_up: Vec<Lane>,
    /// What keeps the task from getting on.
    pub waiting: Vec<Waiting>,
    /// When to look at this task again, if nothing happens before.
    pub wake_at: Option<Timestamp>,
    /// Nothing of it is left and nobody asks for it: take it out of the table and the ledger.
    pub forget: bool,
}

impl Pass {
    pub(crate) fn wait(&mut self, container: Option<&ContainerName>, for_what: impl Into<String>) {
        self.waiting.push(Waiting { container: container.cloned(), for_what: for_what.into(), going_on: false });
    }

    pub(crate) fn going_on(&mut self, container: Option<&ContainerName>, for_what: &str) {
        self.waiting.push(Waiting { container: container.cloned(), for_what: for_what.into(), going_on: true });
    }

    pub(crate) fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}

impl Task {
    /// Decides. The record changes only where a step is decided that needs it ([`Step::needs_saved`]) and where a time
    /// is first known; a second pass right after is empty.
    pub fn pass(&mut self, view: &View<'_>) -> Pass {
        let mut pass = Pass::default();
        self.live.ledger_fault = view.ledger_fault;
        self.mend_times(view.now);
        self.fence(view, &mut pass);
        self.settle(view.now);
        if view.engine == EngineView::Answering {
            self.refuse_privileged(view);
            // What follows from an end may be the end of others.
            while self.end_hopeless(view) {
                self.settle(view.now);
            }
        }
        self.give_up_useless(view.now, &mut pass);
        if let EngineView::Silent { why } = view.engine {
            if !self.is_over() {
                pass.wait(None, format!("the container engine: {why}"));
            }
            return pass;
        }
        if self.record.ending.is_none() {
            self.prepare(view, &mut pass);
            if self.record.ending.is_some() {
                self.give_up_useless(view.now, &mut pass);
            }
        }
        for i in 0..self.record.containers.len() {
            self.move_container(i, view, &mut pass);
        }
        if self.record.all_stopped() && self.record.ending.is_some() {
            self.clean_up(view, &mut pass);
        }
        pass
    }

    /// Whether nothing of the task is left on the host.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.record.resources.iter().all(|r| r.phase == ResourcePhase::Gone)
            && self.record.containers.iter().all(|c| match &c.phase {
                Phase::Stopped(stopped) => !stopped.remains,
                Phase::Waiting
                | Phase::Pulled
                | Phase::Created { .. }
                | Phase::Starting { .. }
                | Phase::Discarding { .. }
                | Phase::Running { .. }
                | Phase::Restarting { .. } => false,
            })
    }

    /// Of a task that ends: pulls, the wait for an interface, which whoever gave it takes back by the task, and what
    /// waits for its record, which a disk that hangs may keep for ever, while a stop waits for nothing: a start, a
    /// removal for another try, and a stop for its health. Of a container that ended while the task goes on: its pull.
    fn give_up_useless(&mut self, now: Timestamp, pass: &mut Pass) {
        let ends = self.record.ending.is_some();
        let (containers, unsaved) = (&self.record.containers, &mut self.live.unsaved);
        let mut not_asked = Vec::new();
        self.live.in_flight.retain(|lane, step| {
            let waits = unsaved.contains(lane);
            let useless = match step {
                Step::Pull(i) => ends || containers[*i].phase.is_stopped(),
                Step::Ensure(ResourceKind::Interface) => ends,
                Step::Start(_) | Step::StopUnhealthy(_, _) | Step::Remove { again: true, .. } => ends && waits,
                Step::Ensure(
                    ResourceKind::Ports
                    | ResourceKind::Cgroup
                    | ResourceKind::Namespaces
                    | ResourceKind::Volume(_)
                    | ResourceKind::SharedVolume(_),
                )
                | Step::Release(_)
                | Step::Create(_)
                | Step::Inspect(_)
                | Step::Stop(_, _)
                | Step::Remove { again: false, .. } => false,
            };
            if useless {
                pass.give_up.push(lane.clone());
                not_asked.extend(unsaved.remove(lane).then(|| step.clone()));
            }
            !useless
        });
        not_asked.iter().for_each(|step| self.not_asked(step));
        self.settle(now);
    }

    /// Of a host whose configuration has no privileged containers: none is made. One that runs already goes on.
    fn refuse_privileged(&mut self, view: &View<'_>) {
        if view.policy.allow_privileged || self.record.ending.is_some() {
            return;
        }
        let Some(spec) = self.spec.clone() else { return };
        for (i, _) in spec.containers.iter().enumerate().filter(|(_, c)| c.privileged) {
            if self.is_unmade(i) {
                self.fail(i, Stage::Create, reasons::NO_PRIVILEGED, false, view.now);
            }
        }
        self.settle(view.now);
    }

    /// Resources, for a task that should come up.
    fn prepare(&mut self, view: &View<'_>, pass: &mut Pass) {
        if self.record.wish != Wish::Run || !self.record.may_start {
            return;
        }
        if !self.take_place(view, pass) {
            return;
        }
        let wanted: Vec<ResourceKind> =
            self.record.resources.iter().filter(|r| r.phase == ResourcePhase::Wanted).map(|r| r.kind.clone()).collect();
        for kind in wanted {
            // A container that was created before a crash has its ports and its network, though the record may not:
            // look first.
            let look_first = match kind {
                ResourceKind::Ports | ResourceKind::Interface => true,
                ResourceKind::Cgroup
                | ResourceKind::Namespaces
                | ResourceKind::Volume(_)
                | ResourceKind::SharedVolume(_) => false,
            };
            if look_first && self.live.containers.iter().any(|c| c.look) {
                continue;
            }
            if kind == ResourceKind::Ports {
                let asked = self.outline.containers.iter().flat_map(|c| &c.ports);
                if let Some((port, holder)) = view.claims.conflict(self.record.id, asked) {
                    pass.wait(None, reasons::port_held(port, &view.room.name(holder)));
                    continue;
                }
            }
            self.ask(Step::Ensure(kind), view, pass);
        }
    }

    fn move_container(&mut self, i: usize, view: &View<'_>, pass: &mut Pass) {
        let look = self.live.containers[i].look;
        let startable = self.live.containers[i].startable;
        let coming_up = self.record.ending.is_none() && self.record.wish == Wish::Run;
        match self.record.containers[i].phase.clone() {
            Phase::Stopped(_) => {
                if self.live.containers[i].rogue {
                    let name = self.record.containers[i].name.clone();
                    pass.wait(Some(&name), reasons::RESTARTED_BEHIND);
                    self.ask(Step::Stop(i, self.halt(i, view)), view, pass);
                }
            }
            _ if look => self.ask(Step::Inspect(i), view, pass),
            Phase::Running { .. } => {
                if self.record.ending.is_none() {
                    self.restart_unhealthy(i, view, pass);
                } else if self.may_end(i, pass) {
                    self.ask(Step::Stop(i, self.halt(i, view)), view, pass);
                }
            }
            // A start may be going on, from before a restart of this process or from a call that was cut.
            Phase::Starting { .. } | Phase::Restarting { .. } if !startable => {
                self.ask(Step::Inspect(i), view, pass);
            }
            // What is found or is not found decides.
            Phase::Waiting | Phase::Pulled if !self.record.may_start && self.record.wish != Wish::Unknown => {
                self.ask(Step::Inspect(i), view, pass);
            }
            _ if !coming_up => {
                if self.record.ending.is_none() {
                    let name = self.record.containers[i].name.clone();
                    pass.wait(Some(&name), "the control plane's word: the ledger was lost, and it does not run");
                }
            }
            Phase::Waiting => {
                if self.record.times.pull_started_at.is_none() {
                    self.record.times.pull_started_at = Some(view.now);
                }
                self.ask(Step::Pull(i), view, pass);
            }
            Phase::Pulled => {
                if self.needs(i, pass) {
                    self.ask(Step::Create(i), view, pass);
                }
            }
            Phase::Created { .. } if !startable => self.ask(Step::Inspect(i), view, pass),
            // Found after a crash; its network is in its label, and a look tells.
            Phase::Created { .. } | Phase::Starting { .. } if self.lacks_interface() => {
                let name = self.record.containers[i].name.clone();
                pass.going_on(Some(&name), "its interface");
            }
            Phase::Created { id } | Phase::Starting { id } => {
                let may = self.may_begin(i, view, pass) && !self.company_rests(i, pass);
                if may && self.is_free(&Step::Start(i), view, pass) {
                    self.record.containers[i].phase = Phase::Starting { id };
                    self.live.containers[i].startable = false;
                    self.ask(Step::Start(i), view, pass);
                }
            }
            Phase::Restarting { .. } => self.start_again(i, view, pass),
            Phase::Discarding { .. } => self.ask(Step::Remove { container: i, again: true }, view, pass),
        }
    }

    /// Whether a container has all that it needs to be created; says what is missing. What a later feature makes a
    /// container wait for (an interface, a secret) is asked for here.
    fn needs(&self, i: usize, pass: &mut Pass) -> bool {
        if self.record.place == Place::Wanted {
            pass.going_on(Some(&self.record.containers[i].name), "room on the host");
            return false;
        }
        let missing: Vec<&ResourceKind> =
            self.record.resources.iter().filter(|r| r.phase != ResourcePhase::Ready).map(|r| &r.kind).collect();
        for kind in &missing {
            let what = match kind {
                ResourceKind::Ports => "host ports".to_owned(),
                ResourceKind::Cgroup => "the task's cgroup".to_owned(),
                ResourceKind::Interface => "its interface".to_owned(),
                ResourceKind::Namespaces => "the task's namespaces".to_owned(),
                ResourceKind::Volume(name) | ResourceKind::SharedVolume(name) => format!("volume `{name}`"),
            };
            pass.going_on(Some(&self.record.containers[i].name), &what);
        }
        let company = self.missing_company(i);
        if let Some(name) = company {
            pass.going_on(Some(&self.record.containers[i].name), &format!("container `{name}`"));
        }
        missing.is_empty() && company.is_none()
    }

    fn clean_up(&mut self, view: &View<'_>, pass: &mut Pass) {
        // Free as soon as nothing listens: the next task may wait for a port or an address.
        for kind in [ResourceKind::Ports, ResourceKind::Interface, ResourceKind::Namespaces] {
            if self.record.resources.iter().any(|r| r.kind == kind && r.phase != ResourcePhase::Gone) {
                self.ask(Step::Release(kind), view, pass);
            }
        }
        let times = &self.record.times;
        let since = times.stopped_at.map_or(view.now, |at| at.moved(times.moved_millis));
        let due = if view.disk_short { since } else { since.after(view.policy.cleanup_wait) };
        let left = |c: &crate::record::ContainerRecord| matches!(&c.phase, Phase::Stopped(s) if s.remains);
        if view.now < due {
            if !self.is_over() {
                pass.wake(due);
            }
        } else if self.record.containers.iter().any(left) {
            for i in 0..self.record.containers.len() {
                // One that runs is not removed; its stop comes first.
                if left(&self.record.containers[i]) && !self.live.containers[i].rogue {
                    self.ask(Step::Remove { container: i, again: false }, view, pass);
                }
            }
        } else {
            let rest: Vec<ResourceKind> = self
                .record
                .resources
                .iter()
                .rev()
                .filter(|r| r.phase != ResourcePhase::Gone)
                .map(|r| r.kind.clone())
                .collect();
            rest.into_iter().for_each(|kind| self.ask(Step::Release(kind), view, pass));
        }
        let unasked = matches!(self.record.wish, Wish::Forget { .. });
        pass.forget = unasked && self.is_over() && !self.is_busy();
    }

    fn grace(&self, i: usize, view: &View<'_>) -> Duration {
        let own = self.outline.containers[i].stop_timeout_secs.map(|secs| Duration::from_secs(secs.into()));
        self.within_fence(own.unwrap_or(view.policy.stop_timeout), view)
    }

    pub(crate) fn halt(&self, i: usize, view: &View<'_>) -> Halt {
        let tried = |verb| self.live.retries.get(&(Lane::Container(i), verb)).map_or(0, |retry| retry.tried);
        let tried = tried(Verb::Stop) + tried(Verb::StopUnhealthy);
        match self.grace(i, view) {
            Duration::ZERO if self.outline.fence.is_some() => Halt::Kill,
            grace if tried < view.policy.polite_stops => Halt::Polite(grace),
            _ => Halt::Kill,
        }
    }

    /// Asks for `step`, unless its lane is taken or it failed a moment ago.
    pub(crate) fn ask(&mut self, step: Step, view: &View<'_>, pass: &mut Pass) {
        if self.is_free(&step, view, pass) {
            let container = match step.lane() {
                Lane::Container(i) => Some(&self.record.containers[i].name),
                Lane::Resource(_) => None,
            };
            pass.going_on(container, doing(&step));
            self.live.in_flight.insert(step.lane(), step.clone());
            if step.needs_saved() {
                self.live.unsaved.insert(step.lane());
            }
            pass.steps.push(step);
        }
    }

    pub(crate) fn is_free(&self, step: &Step, view: &View<'_>, pass: &mut Pass) -> bool {
        let lane = step.lane();
        let container = match &lane {
            Lane::Container(i) => Some(&self.record.containers[*i].name),
            Lane::Resource(_) => None,
        };
        if let Some(going_on) = self.live.in_flight.get(&lane) {
            pass.going_on(container, doing(going_on));
            return false;
        }
        match self.live.retries.get(&(lane.clone(), Verb::of(step))) {
            Some(Retry { not_before, error, .. })
                if *not_before > view.now && not_before.since(view.now) <= LONGEST_WAIT =>
            {
                let no_space = match &lane {
                    Lane::Container(i) => self.live.containers[*i].no_space_since.is_some(),
                    Lane::Resource(_) => self.live.no_space_since.is_some(),
                };
                pass.wait(
                    container,
                    if no_space {
                        format!("disk space for {}: {error}", doing(step))
                    } else {
                        format!("the next try of {}: {error}", doing(step))
                    },
                );
                pass.wake(*not_before);
                false
            }
            Some(_) | None => true,
        }
    }
}

fn doing(step: &Step) -> &'static str {
    match step {
        Step::Ensure(ResourceKind::Ports) => "its host ports",
        Step::Ensure(ResourceKind::Cgroup) => "its cgroup",
        Step::Ensure(ResourceKind::Interface) => "its interface",
        Step::Ensure(ResourceKind::Namespaces) => "its namespaces",
        Step::Ensure(ResourceKind::Volume(_) | ResourceKind::SharedVolume(_)) => "its volume",
        Step::Release(ResourceKind::Ports) => "the return of its host ports",
        Step::Release(ResourceKind::Cgroup) => "the removal of its cgroup",
        Step::Release(ResourceKind::Interface) => "the return of its interface",
        Step::Release(ResourceKind::Namespaces) => "the end of its namespaces",
        Step::Release(ResourceKind::Volume(_)) => "the removal of its volume",
        Step::Release(ResourceKind::SharedVolume(_)) => "the return of its volume",
        Step::Pull(_) => "its image",
        Step::Create(_) => "its creation",
        Step::Start(_) => "its start",
        Step::Inspect(_) => "a look at it",
        Step::Stop(_, _) | Step::StopUnhealthy(_, _) => "its stop",
        Step::Remove { .. } => "its removal",
    }
}
