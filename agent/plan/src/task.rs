//! A task of the agent's table: its definition, its record, and what only this process knows of it.

use crate::outline::{Outline, Supervise};
use crate::ports::ResolvedPort;
use crate::reasons;
use crate::record::{Ending, Phase, ResourceKind, ResourcePhase, TaskRecord, Wish};
use crate::room::Place;
use crate::step::{Lane, Step};
use longshore_model::{AssignedTask, DesiredStatus, NetworkMode, StopCode, TaskId, TaskSpec, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A task.
#[derive(Debug, Clone)]
pub struct Task {
    /// What supervision needs of its definition.
    pub outline: Arc<Outline>,
    /// Its definition; absent for a task that was found by its labels, until the control plane sends it.
    pub spec: Option<Arc<TaskSpec>>,
    /// What is durable.
    pub record: TaskRecord,
    /// What a restart loses.
    pub live: Live,
}

/// What is true only for this process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    /// Steps being carried out.
    pub in_flight: BTreeMap<Lane, Step>,
    /// Of these, those that wait for the record to be durable ([`Step::needs_saved`]): nothing was asked of anybody.
    pub unsaved: BTreeSet<Lane>,
    /// What failed and is tried again.
    pub retries: BTreeMap<(Lane, Verb), Retry>,
    /// One for each container of the record.
    pub containers: Vec<LiveContainer>,
    /// The number of the outcome that last told something of the interface.
    pub interface_touched: u64,
    /// Its sandbox did not run when the last listing was asked for: it is started with the next container.
    pub sandbox_asleep: bool,
    /// Since when containers run though their sandbox has ended.
    pub outlived_since: Option<Timestamp>,
    /// Since when it has waited for room on the host; absent when it does not.
    pub waits_since: Option<Timestamp>,
    /// Since when the host's disk has no room for what it needs beside its containers.
    pub no_space_since: Option<Timestamp>,
    /// Whether the ledger could not be written when it was last passed over.
    pub ledger_fault: bool,
}

/// What is known of a container beside its record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveContainer {
    /// It is certain that it exists and does not run: it was never started, or is to be started again.
    pub startable: bool,
    /// The record may be outdated: it is to be inspected.
    pub look: bool,
    /// The number of the outcome that last told something of it.
    pub touched: u64,
    /// Its start took too long; the engine's words.
    pub start_timed_out: Option<String>,
    /// The last listing had it as made and not started, and no inspection has known it since: Docker lists a container
    /// that it is still making, and answers an inspection of it with "no such container".
    pub half_made: bool,
    /// It has ended, and the engine says that it runs.
    pub rogue: bool,
    /// Since when the host's disk has no room for it.
    pub no_space_since: Option<Timestamp>,
}

/// The kinds of [`Step`], for counting failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// [`Step::Ensure`]
    Ensure,
    /// [`Step::Release`]
    Release,
    /// [`Step::Pull`]
    Pull,
    /// [`Step::Create`]
    Create,
    /// [`Step::Start`]
    Start,
    /// [`Step::Inspect`]
    Inspect,
    /// [`Step::Stop`]
    Stop,
    /// [`Step::StopUnhealthy`], which waits for its own failures alone: the stop of a task does not wait for them.
    StopUnhealthy,
    /// [`Step::Remove`]
    Remove,
}

impl Verb {
    /// The kind of `step`.
    #[must_use]
    pub const fn of(step: &Step) -> Self {
        match step {
            Step::Ensure(_) => Self::Ensure,
            Step::Release(_) => Self::Release,
            Step::Pull(_) => Self::Pull,
            Step::Create(_) => Self::Create,
            Step::Start(_) => Self::Start,
            Step::Inspect(_) => Self::Inspect,
            Step::Stop(_, _) => Self::Stop,
            Step::StopUnhealthy(_, _) => Self::StopUnhealthy,
            Step::Remove { .. } => Self::Remove,
        }
    }
}

/// Something that failed and is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// How often in a row; the wait grows with it.
    pub failures: u32,
    /// How many of those were carried out and failed by themselves. What never got that far (an engine that is away, a
    /// full disk, a ledger that cannot be written) is no reason to give up, or to be less polite.
    pub tried: u32,
    /// When to try again.
    pub not_before: Timestamp,
    /// What went wrong last.
    pub error: String,
}

impl Task {
    fn with(outline: Outline, spec: Option<Arc<TaskSpec>>, record: TaskRecord) -> Self {
        let containers = vec![LiveContainer::default(); record.containers.len()];
        let live = Live { containers, ..Live::default() };
        Self { outline: Arc::new(outline), spec, record, live }
    }

    /// A task that this agent hears of for the first time.
    #[must_use]
    pub fn new(assigned: &AssignedTask, now: Timestamp) -> Self {
        let outline = Outline::of(&assigned.spec);
        let wish = match assigned.desired {
            DesiredStatus::Running => Wish::Run,
            DesiredStatus::Stopped => Wish::Stop { reason: assigned.stop_reason.clone() },
        };
        let record = TaskRecord { may_start: assigned.may_start, ..TaskRecord::new(&outline, wish, now) };
        let mut task = Self::with(outline, Some(assigned.spec.clone()), record);
        task.settle(now);
        task
    }

    /// A task that is in the assignment and cannot be understood: over before it began.
    #[must_use]
    pub fn refused(id: TaskId, why: &str, now: Timestamp) -> Self {
        let outline = Outline {
            id,
            arn: String::new(),
            cluster: String::new(),
            family: String::new(),
            revision: 0,
            group: String::new(),
            network_mode: NetworkMode::None,
            limited: false,
            containers: Vec::new(),
            volumes: Vec::new(),
            shared_volumes: Vec::new(),
            namespaces: false,
            pull_only: false,
            memory_mib: 0,
            gpus: Vec::new(),
            fence: None,
        };
        let mut record = TaskRecord::new(&outline, Wish::Run, now);
        record.ending =
            Some(Ending { code: Some(StopCode::TaskFailedToStart), reason: reasons::refused(why), at: now });
        let mut task = Self::with(outline, None, record);
        task.settle(now);
        task
    }

    /// A task of the ledger, as the process before left it.
    #[must_use]
    pub fn restored(outline: Outline, spec: Option<Arc<TaskSpec>>, record: TaskRecord) -> Self {
        Self::with(outline, spec, record)
    }

    /// The host was booted since the process before saved this task: what ran then went down with it. To be saved before
    /// the ledger forgets the former boot.
    pub fn host_was_booted(&mut self) {
        for container in &mut self.record.containers {
            container.restarts.with_host = match container.phase {
                Phase::Starting { .. } | Phase::Running { .. } | Phase::Restarting { asked: true, .. } => true,
                Phase::Waiting
                | Phase::Pulled
                | Phase::Created { .. }
                | Phase::Discarding { .. }
                | Phase::Restarting { asked: false, .. }
                | Phase::Stopped(_) => false,
            };
        }
    }

    /// A task that nobody remembers, from the labels of its containers. What they are doing comes with the next
    /// [`Task::sight`].
    #[must_use]
    pub fn recovered(outline: Outline, now: Timestamp) -> Self {
        let mut record = TaskRecord::new(&outline, Wish::Unknown, now);
        // Its containers exist, so what they need was made; ports are added with their labels.
        record.resources.iter_mut().for_each(|r| r.phase = ResourcePhase::Ready);
        record.place = Place::Given;
        Self::with(outline, None, record)
    }

    /// Takes from the label of one container what it was made with: its ports, and the task's interface.
    pub fn recover_made(&mut self, label: &Supervise, container: &longshore_model::ContainerName) {
        if let Some(interface) = &label.interface {
            self.found_interface(interface);
        }
        if let Some(c) = self.record.containers.iter_mut().find(|c| c.name == *container) {
            c.ports.clone_from(&label.ports);
        }
        // A container that was not created yet has none: they are still to be chosen.
        let complete =
            self.outline.containers.iter().zip(&self.record.containers).all(|(o, c)| o.ports.len() == c.ports.len());
        if let Some(ports) = self.record.resource_mut(&ResourceKind::Ports) {
            ports.phase = if complete { ResourcePhase::Ready } else { ResourcePhase::Wanted };
        }
    }

    /// Takes in what an assignment says of a task that is known. Applying it twice changes nothing. Says whether it
    /// told something of the definition that was not known.
    pub fn assign(&mut self, assigned: &AssignedTask, now: Timestamp) -> bool {
        let names = |spec: &TaskSpec| spec.containers.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
        let mut learned = self.learn_digests(&assigned.spec);
        if self.spec.is_none() && names(&assigned.spec).iter().eq(self.record.containers.iter().map(|c| &c.name)) {
            self.outline = Arc::new(Outline::of(&assigned.spec));
            self.spec = Some(assigned.spec.clone());
            learned = true;
        }
        self.wish_present(Some(assigned.desired), &assigned.stop_reason, assigned.may_start);
        self.settle(now);
        learned
    }

    /// The task is in an assignment of which it could not be read more than `desired` and why it should stop, if it
    /// should.
    pub fn present(&mut self, desired: Option<DesiredStatus>, stop_reason: &str, now: Timestamp) {
        self.wish_present(desired, stop_reason, true);
        self.settle(now);
    }

    /// The task is in no assignment any more.
    pub fn unassign(&mut self, now: Timestamp) {
        let reason = match &self.record.wish {
            Wish::Unknown | Wish::Run => reasons::NOT_ASSIGNED.to_owned(),
            Wish::Stop { reason } | Wish::Forget { reason } => reason.clone(),
        };
        self.record.wish = Wish::Forget { reason };
        self.settle(now);
    }

    fn wish_present(&mut self, desired: Option<DesiredStatus>, stop_reason: &str, may_start: bool) {
        let stop = |reason: &str| Wish::Stop { reason: reasons::clip(reason.to_owned()) };
        let wish = match (&self.record.wish, desired) {
            (Wish::Unknown, None) => Wish::Unknown,
            (Wish::Unknown, Some(DesiredStatus::Running)) => {
                // Nothing but the control plane remembers whether the rest of it ever ran.
                self.record.may_start = may_start;
                Wish::Run
            }
            (Wish::Run, None | Some(DesiredStatus::Running)) => Wish::Run,
            (Wish::Unknown | Wish::Run, Some(DesiredStatus::Stopped)) => stop(stop_reason),
            (Wish::Stop { reason } | Wish::Forget { reason }, _) => stop(reason),
        };
        self.record.wish = wish;
    }

    /// The label of container `i`.
    #[must_use]
    pub fn supervise(&self, i: usize) -> Supervise {
        Supervise {
            v: crate::outline::SUPERVISE_FORMAT,
            task: Outline::clone(&self.outline),
            ports: self.record.containers[i].ports.clone(),
            interface: self.record.interface.clone(),
        }
    }

    /// Every host port that it has, by container.
    pub fn ports(&self) -> impl Iterator<Item = (usize, &ResolvedPort)> {
        self.record.containers.iter().enumerate().flat_map(|(i, c)| c.ports.iter().map(move |p| (i, p)))
    }

    /// The record that `step` waited for is durable. Says whether it is to be carried out: it may have been given up
    /// meanwhile.
    #[must_use]
    pub fn begin(&mut self, step: &Step) -> bool {
        let lane = step.lane();
        let wanted = self.live.in_flight.get(&lane) == Some(step);
        if wanted {
            self.live.unsaved.remove(&lane);
        }
        wanted
    }

    /// Whether any step is being carried out.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.live.in_flight.is_empty()
    }
}
