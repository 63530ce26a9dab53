//! What became of a step, and what follows from it.

use crate::interface::Interface;
use crate::observe::{Ended, Inspected};
use crate::policy::{Patience, Policy, wait};
use crate::ports::ContainerPorts;
use crate::reasons;
use crate::record::{Ending, Phase, ResourceKind, ResourcePhase};
use crate::step::{Lane, Step};
use crate::task::{Retry, Task, Verb};
use longshore_model::{StopCode, Timestamp};

/// Warnings that are kept of a container: the engine has a few at most.
const WARNINGS: usize = 8;

/// Why a step did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The engine was not reached: nothing happened, and nothing is known.
    Away(String),
    /// It may have happened or not: contact was lost on the way, or the engine does not find what it is about.
    Unknown(String),
    /// It took too long: it may still happen.
    TimedOut(String),
    /// It failed, and may work later.
    Passing(String),
    /// It failed, and would again.
    Lasting(String),
    /// A host port that it needs is taken by something else.
    PortTaken(String),
    /// The host's disk has no room for it now, and may get some.
    NoSpace(String),
    /// The image is not here.
    ImageMissing(String),
    /// The name that it needs is taken.
    NameTaken(String),
    /// The engine has traces of an earlier start of it that never came to run anything, and cannot start it for them.
    Confused(String),
}

impl Failure {
    /// What went wrong, for people.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Away(text)
            | Self::Unknown(text)
            | Self::TimedOut(text)
            | Self::Passing(text)
            | Self::Lasting(text)
            | Self::PortTaken(text)
            | Self::NoSpace(text)
            | Self::ImageMissing(text)
            | Self::NameTaken(text)
            | Self::Confused(text) => text,
        }
    }
}

/// A container as the engine made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creation {
    /// The engine's id.
    pub id: String,
    /// What the engine left out of what was asked for, in its words.
    pub warnings: Vec<String>,
}

/// What came of making a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// It is there, and there is nothing to remember of it.
    Plain,
    /// The host ports of every container.
    Ports(Vec<ContainerPorts>),
    /// The task's interface, the same each time as long as it is not returned.
    Interface(Box<Interface>),
}

/// What a step brought about. One variant for each kind of [`Step`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Of [`Step::Ensure`].
    Ensured(Result<Made, Failure>),
    /// Of [`Step::Release`].
    Released(Result<(), Failure>),
    /// Of [`Step::Pull`]: the image's digest, where it has one.
    Pulled(Result<Option<String>, Failure>),
    /// Of [`Step::Create`].
    Created(Result<Creation, Failure>),
    /// Of [`Step::Start`].
    Started(Result<(), Failure>),
    /// Of [`Step::Inspect`].
    Inspected(Result<Option<Inspected>, Failure>),
    /// Of [`Step::Stop`] and [`Step::StopUnhealthy`].
    Halted(Result<(), Failure>),
    /// Of [`Step::Remove`].
    Removed(Result<(), Failure>),
    /// Of any step that was not carried out, because the record could not be saved or the agent gave it up.
    NotDone(String),
}

/// At which point a container failed to start; gives the error its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its image.
    Pull,
    /// Its creation.
    Create,
    /// Its start.
    Start,
}

impl Stage {
    const fn error_name(self) -> &'static str {
        match self {
            Self::Pull => "CannotPullContainerError",
            Self::Create => "CannotCreateContainerError",
            Self::Start => "CannotStartContainerError",
        }
    }
}

impl Task {
    /// Takes in what became of `step`, as the `seq`th outcome of all. An outcome of a step that is not in flight (given
    /// up meanwhile) changes nothing.
    pub fn finish(&mut self, step: &Step, outcome: Outcome, policy: &Policy, now: Timestamp, seq: u64) {
        let lane = step.lane();
        if self.live.in_flight.get(&lane) != Some(step) {
            return;
        }
        self.live.in_flight.remove(&lane);
        self.live.unsaved.remove(&lane);
        match lane {
            Lane::Container(i) => self.live.containers[i].touched = seq,
            Lane::Resource(ResourceKind::Interface) => self.live.interface_touched = seq,
            Lane::Resource(
                ResourceKind::Ports
                | ResourceKind::Cgroup
                | ResourceKind::Namespaces
                | ResourceKind::Volume(_)
                | ResourceKind::SharedVolume(_),
            ) => {}
        }
        match (step, outcome) {
            (Step::Ensure(kind), Outcome::Ensured(result)) => self.ensured(kind, result, policy, now),
            (Step::Release(kind), Outcome::Released(result)) => match result {
                Ok(()) => self.set_resource(kind, ResourcePhase::Gone),
                Err(failure) => self.again(step, Patience::Stop, failure.text(), now),
            },
            (Step::Pull(i), Outcome::Pulled(result)) => self.pulled(*i, step, result, policy, now),
            (Step::Create(i), Outcome::Created(result)) => self.created(*i, step, result, policy, now),
            (Step::Start(i), Outcome::Started(result)) => self.started(*i, step, result, policy, now),
            (Step::Inspect(i), Outcome::Inspected(result)) => match result {
                Ok(seen) => {
                    self.live.retries.remove(&(lane, Verb::Inspect));
                    self.absorb(*i, seen, now);
                }
                Err(failure) => {
                    self.live.containers[*i].look = true;
                    self.again(step, Patience::Stop, failure.text(), now);
                }
            },
            (Step::Stop(i, _) | Step::StopUnhealthy(i, _), Outcome::Halted(result)) => {
                // Whatever the engine said: the exit code is in the inspection. One that was over before and that
                // somebody else had started is not looked at; its removal need not wait any longer. If its stop failed,
                // it has what it had until a stop or a listing says otherwise.
                let over = self.record.containers[*i].phase.is_stopped();
                self.live.containers[*i].look = !over;
                match result {
                    Ok(()) => {
                        self.live.retries.remove(&(lane.clone(), Verb::Stop));
                        self.live.retries.remove(&(lane.clone(), Verb::StopUnhealthy));
                        if over {
                            self.live.containers[*i].rogue = false;
                            self.live.retries.remove(&(lane, Verb::Remove));
                        }
                    }
                    Err(Failure::Away(text)) => self.again(step, Patience::Stop, &text, now),
                    Err(failure) => self.count(step, Patience::Stop, failure.text(), now),
                }
            }
            (Step::Remove { container: i, again }, Outcome::Removed(result)) => match result {
                Ok(()) if *again => self.remake(*i),
                Ok(()) => {
                    if let Phase::Stopped(stopped) = &mut self.record.containers[*i].phase {
                        stopped.remains = false;
                    }
                }
                // Its command has begun after all, so it is not made again.
                Err(Failure::Lasting(text)) if *again => self.fail(*i, Stage::Start, &text, true, now),
                Err(failure) => {
                    // One that is to be made again may run after all.
                    self.live.containers[*i].look |= *again;
                    self.again(step, Patience::Stop, failure.text(), now);
                }
            },
            (_, Outcome::NotDone(why)) => {
                self.not_asked(step);
                self.again(step, Patience::Start, &why, now);
            }
            (step, outcome) => unreachable!("{step:?} cannot end as {outcome:?}: the engine pairs them"),
        }
        self.settle(now);
    }

    /// Nothing of `step`, which was decided, was asked of anybody.
    pub(crate) fn not_asked(&mut self, step: &Step) {
        match step {
            Step::Start(i) => self.live.containers[*i].startable = true,
            Step::StopUnhealthy(i, _) => self.record.containers[*i].restarts.unhealthy = false,
            Step::Ensure(_)
            | Step::Release(_)
            | Step::Pull(_)
            | Step::Create(_)
            | Step::Inspect(_)
            | Step::Stop(_, _)
            | Step::Remove { .. } => {}
        }
    }

    fn ensured(&mut self, kind: &ResourceKind, result: Result<Made, Failure>, policy: &Policy, now: Timestamp) {
        let step = Step::Ensure(kind.clone());
        let failure = match result {
            Ok(made) => {
                match made {
                    Made::Plain => {}
                    Made::Ports(all) => {
                        for (name, ports) in all {
                            if let Some(c) = self.record.containers.iter_mut().find(|c| c.name == name) {
                                c.ports = ports;
                            }
                        }
                    }
                    // One that a container was found in stays: it cannot change its network.
                    Made::Interface(interface) => _ = self.record.interface.get_or_insert(*interface),
                }
                self.live.retries.remove(&(step.lane(), Verb::Ensure));
                self.live.no_space_since = None;
                return self.set_resource(kind, ResourcePhase::Ready);
            }
            Err(failure) => failure,
        };
        let mut text = failure.text().to_owned();
        let lasting = match &failure {
            Failure::Away(_) => return self.again(&step, Patience::Start, failure.text(), now),
            // As long as for a container's: it may get some.
            Failure::NoSpace(_) => {
                let waited = now.since(*self.live.no_space_since.get_or_insert(now));
                if waited < policy.space_wait {
                    return self.again(&step, Patience::Start, &text, now);
                }
                text = reasons::no_space_in_time(&text, waited);
                true
            }
            Failure::Unknown(_) | Failure::TimedOut(_) | Failure::Passing(_) => false,
            Failure::Lasting(_)
            | Failure::PortTaken(_)
            | Failure::ImageMissing(_)
            | Failure::NameTaken(_)
            | Failure::Confused(_) => true,
        };
        if lasting || self.tried(&step) >= policy.attempts {
            let what = match kind {
                ResourceKind::Ports => "host ports".to_owned(),
                ResourceKind::Cgroup => "the task's cgroup".to_owned(),
                ResourceKind::Interface => "the task's network interface".to_owned(),
                ResourceKind::Namespaces => "the task's namespaces".to_owned(),
                ResourceKind::Volume(name) | ResourceKind::SharedVolume(name) => format!("volume `{name}`"),
            };
            self.record.ending.get_or_insert_with(|| Ending {
                code: Some(StopCode::TaskFailedToStart),
                reason: reasons::resource(&what, &text),
                at: now,
            });
        } else {
            self.count(&step, Patience::Start, &text, now);
        }
    }

    fn pulled(
        &mut self,
        i: usize,
        step: &Step,
        result: Result<Option<String>, Failure>,
        policy: &Policy,
        now: Timestamp,
    ) {
        match result {
            Ok(digest) => {
                self.live.retries.remove(&(step.lane(), Verb::Pull));
                self.live.containers[i].no_space_since = None;
                self.image_is_here(i, digest, now);
            }
            Err(Failure::NoSpace(text)) => {
                self.record.times.pull_stopped_at = Some(now);
                self.wait_for_space(i, step, Stage::Pull, &text, policy, now);
            }
            Err(Failure::Away(text)) => self.again(step, Patience::Start, &text, now),
            Err(Failure::Unknown(text) | Failure::TimedOut(text) | Failure::Passing(text)) => {
                self.record.times.pull_stopped_at = Some(now);
                self.count_or_fail(i, step, Stage::Pull, &text, policy, now);
            }
            Err(
                Failure::Lasting(text)
                | Failure::PortTaken(text)
                | Failure::ImageMissing(text)
                | Failure::NameTaken(text)
                | Failure::Confused(text),
            ) => {
                self.record.times.pull_stopped_at = Some(now);
                self.fail(i, Stage::Pull, &text, false, now);
            }
        }
    }

    fn created(&mut self, i: usize, step: &Step, result: Result<Creation, Failure>, policy: &Policy, now: Timestamp) {
        match result {
            Ok(Creation { id, warnings }) => {
                self.record.containers[i].phase = Phase::Created { id };
                self.record.containers[i].warnings = warnings.into_iter().take(WARNINGS).map(reasons::clip).collect();
                self.live.containers[i].startable = true;
                self.live.retries.remove(&(step.lane(), Verb::Create));
                self.live.containers[i].no_space_since = None;
            }
            Err(Failure::NoSpace(text)) => self.wait_for_space(i, step, Stage::Create, &text, policy, now),
            Err(Failure::Away(text)) => self.again(step, Patience::Start, &text, now),
            Err(Failure::Unknown(text) | Failure::TimedOut(text) | Failure::NameTaken(text)) => {
                // It may be there: an inspection tells, and takes it over.
                self.live.containers[i].look = true;
                self.count_or_fail(i, step, Stage::Create, &text, policy, now);
            }
            Err(Failure::ImageMissing(text)) => {
                self.record.containers[i].phase = Phase::Waiting;
                self.count_or_fail(i, step, Stage::Create, &text, policy, now);
            }
            Err(Failure::Passing(text)) => self.count_or_fail(i, step, Stage::Create, &text, policy, now),
            Err(Failure::Lasting(text) | Failure::PortTaken(text) | Failure::Confused(text)) => {
                self.fail(i, Stage::Create, &text, true, now);
            }
        }
    }

    fn started(&mut self, i: usize, step: &Step, result: Result<(), Failure>, policy: &Policy, now: Timestamp) {
        let container = &mut self.record.containers[i];
        let live = &mut self.live.containers[i];
        match result {
            Ok(()) => {
                if let Phase::Starting { .. } | Phase::Restarting { .. } = &container.phase {
                    let id = container.phase.id().unwrap_or_default().to_owned();
                    self.began(i, id, now);
                }
                self.live.retries.remove(&(step.lane(), Verb::Start));
            }
            Err(Failure::Away(text)) => {
                live.startable = true;
                self.again(step, Patience::Start, &text, now);
            }
            Err(Failure::Unknown(text)) => {
                live.look = true;
                self.again(step, Patience::Start, &text, now);
            }
            Err(Failure::TimedOut(text)) => {
                live.look = true;
                live.start_timed_out = Some(text);
            }
            Err(Failure::Passing(text)) => {
                live.startable = true;
                self.count_or_fail(i, step, Stage::Start, &text, policy, now);
            }
            // Nothing of it ran: the engine makes its mounts first.
            Err(Failure::NoSpace(text)) => {
                live.startable = true;
                self.wait_for_space(i, step, Stage::Start, &text, policy, now);
            }
            Err(Failure::PortTaken(text)) => {
                let others = container.ports.iter().any(|p| p.dynamic);
                self.discard(i, others, &text, policy, now);
            }
            Err(Failure::Confused(text)) => {
                self.discard(i, true, &text, policy, now);
                if matches!(self.record.containers[i].phase, Phase::Discarding { .. }) {
                    // The engine is hearing of the end of what it had lost: a removal meanwhile would leave it listed.
                    self.again(&Step::Remove { container: i, again: true }, Patience::Stop, &text, now);
                }
            }
            Err(Failure::Lasting(text) | Failure::ImageMissing(text) | Failure::NameTaken(text)) => {
                self.fail(i, Stage::Start, &text, true, now);
            }
        }
    }

    /// Container `i` did not run and cannot be started as it is: makes it anew if that may help, else it fails.
    fn discard(&mut self, i: usize, may_help: bool, text: &str, policy: &Policy, now: Timestamp) {
        let container = &mut self.record.containers[i];
        match &container.phase {
            Phase::Starting { id } if may_help && container.remakes < policy.remakes => {
                container.remakes += 1;
                container.phase = Phase::Discarding { id: id.clone() };
            }
            Phase::Starting { .. }
            | Phase::Waiting
            | Phase::Pulled
            | Phase::Created { .. }
            | Phase::Discarding { .. }
            | Phase::Running { .. }
            | Phase::Restarting { .. }
            | Phase::Stopped(_) => self.fail(i, Stage::Start, text, true, now),
        }
    }

    /// Container `i` does not start.
    pub(crate) fn fail(&mut self, i: usize, stage: Stage, text: &str, remains: bool, now: Timestamp) {
        let reason = reasons::named(stage.error_name(), text);
        match &self.record.containers[i].phase {
            Phase::Restarting { .. } if stage == Stage::Start => self.not_restarted(i, reason, now),
            Phase::Restarting { .. }
            | Phase::Waiting
            | Phase::Pulled
            | Phase::Created { .. }
            | Phase::Starting { .. }
            | Phase::Discarding { .. }
            | Phase::Running { .. }
            | Phase::Stopped(_) => self.end(i, Ended { reason: Some(reason), remains, ..Ended::at(now) }),
        }
    }

    fn count_or_fail(&mut self, i: usize, step: &Step, stage: Stage, text: &str, policy: &Policy, now: Timestamp) {
        if self.tried(step) >= policy.attempts {
            self.fail(i, stage, text, true, now);
        } else {
            let patience = match stage {
                Stage::Pull => Patience::Pull,
                Stage::Create | Stage::Start => Patience::Start,
            };
            self.count(step, patience, text, now);
        }
    }

    /// The host's disk is full for container `i`: tries again until there is room, for as long as that may take.
    fn wait_for_space(&mut self, i: usize, step: &Step, stage: Stage, text: &str, policy: &Policy, now: Timestamp) {
        let since = *self.live.containers[i].no_space_since.get_or_insert(now);
        let waited = now.since(since);
        if waited >= policy.space_wait {
            self.fail(i, stage, &reasons::no_space_in_time(text, waited), true, now);
        } else {
            self.again(step, Patience::Start, text, now);
        }
    }

    /// Tries of this step so far, the one that just failed included.
    fn tried(&self, step: &Step) -> u32 {
        self.live.retries.get(&(step.lane(), Verb::of(step))).map_or(0, |r| r.tried) + 1
    }

    /// Tries again, and counts the try; the wait grows.
    fn count(&mut self, step: &Step, patience: Patience, text: &str, now: Timestamp) {
        let tried = self.tried(step);
        self.again(step, patience, text, now);
        if let Some(retry) = self.live.retries.get_mut(&(step.lane(), Verb::of(step))) {
            retry.tried = tried;
        }
    }

    /// Tries again for as long as it takes; the wait grows.
    pub(crate) fn again(&mut self, step: &Step, patience: Patience, text: &str, now: Timestamp) {
        let key = (step.lane(), Verb::of(step));
        let (failures, tried) = self.live.retries.get(&key).map_or((0, 0), |retry| (retry.failures, retry.tried));
        let failures = failures.saturating_add(1);
        let not_before = now.after(wait(patience, failures, self.salt()));
        self.live.retries.insert(key, Retry { failures, tried, not_before, error: text.to_owned() });
    }

    fn set_resource(&mut self, kind: &ResourceKind, phase: ResourcePhase) {
        if let Some(resource) = self.record.resource_mut(kind) {
            resource.phase = phase;
        }
    }

    fn salt(&self) -> u64 {
        let bytes = self.record.id.as_bytes();
        bytes.iter().fold(0, |salt, byte| salt << 7 ^ salt >> 57 ^ u64::from(*byte))
    }
}
