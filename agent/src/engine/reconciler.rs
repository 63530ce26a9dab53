//! The loop: take in what became known, pass over the tasks that it concerns, save, carry out, publish.

use super::drivers::{Drivers, Listed};
use super::execute::{Executor, Job};
use super::hints::Hint;
use super::images::Keeper;
use super::listing::Leftovers;
use super::saving::{After, Saved, view};
use super::{EngineConfig, Inputs, Outputs, Parts};
use crate::crash;
use crate::engine::drivers::CreateRequest;
use crate::jumps::{self, Jumps};
use crate::ledger::{Definition, SavedTask};
use crate::metadata::environment;
use crate::ports::Ports;
use crate::session::DesiredUpdate;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use longshore_model::{
    ContainerName, EniId, Generation, HostFacts, NetworkBinding, NetworkMode, TaskId, TaskReport, Timestamp,
};
use longshore_plan::{
    ContainerRecord, EngineView, Failure, Lane, Made, Outcome, Outline, Pass, Phase, Place, ResourceKind,
    ResourcePhase, ResourceRecord, Room, Step, Task, TaskRecord, View, Waiting,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What is said of a jump of the clock.
const MOVED: &str = "what waits, waits as long as it would have";

/// A task of the table, with what was last saved and said of it.
pub(super) struct Entry {
    pub(super) task: Task,
    /// As the ledger has it, or will once the saves in flight are through; absent when it must be written.
    pub(super) saved: Option<TaskRecord>,
    /// Whether the ledger has its full definition.
    pub(super) definition_saved: bool,
    /// The report as published, or about to be.
    pub(super) report: Option<Arc<TaskReport>>,
    pub(super) waiting: Vec<Waiting>,
    pub(super) wake_at: Option<Timestamp>,
}

impl Entry {
    pub(super) fn new(task: Task) -> Self {
        Self { task, saved: None, definition_saved: false, report: None, waiting: Vec::new(), wake_at: None }
    }
}

/// Whether Docker answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answers {
    /// It did last time, and everything was compared with a listing since it last did not.
    Yes,
    /// Nothing is known since then.
    No {
        /// Why, for people.
        why: String,
        /// Listings that failed in a row.
        failures: u32,
    },
}

/// What the engine has of ours.
pub(super) struct Listing {
    pub(super) containers: Vec<Listed>,
    /// The interfaces whose sandbox runs; absent when that is not known or not asked.
    pub(super) sandboxes: Option<BTreeMap<EniId, bool>>,
}

/// What goes on outside the loop.
enum Going {
    Step(TaskId, Step),
    List { as_of: u64 },
    Search,
    Clearing,
}

/// What came of it.
enum Done {
    Step(Outcome),
    Listed(Result<Listing, Failure>),
    Searched(Leftovers),
    Cleared(Result<(), Failure>),
}

/// The engine's one task.
pub struct Reconciler {
    pub(super) config: EngineConfig,
    pub(super) drivers: Drivers,
    executor: Executor,
    pub(super) tasks: BTreeMap<TaskId, Entry>,
    pub(super) ports: Ports,
    /// What tasks have of the host. In line with a task after each pass over it.
    pub(super) room: Room,
    inputs: Inputs,
    pub(super) outputs: Outputs,
    jumps: Jumps,
    /// Tasks to pass over.
    pub(super) dirty: BTreeSet<TaskId>,
    /// Tasks whose record or report may have changed since the last save.
    pub(super) touched: BTreeSet<TaskId>,
    pub(super) answers: Answers,
    /// Outcomes taken in so far.
    pub(super) seq: u64,
    pub(super) generation: Generation,
    pub(super) complete_seen: bool,
    pub(super) after: After,
    pub(super) saves: FuturesOrdered<BoxFuture<'static, Saved>>,
    pub(super) ledger_fault: Option<String>,
    pub(super) save_again: Option<Instant>,
    pub(super) unforgotten: BTreeSet<TaskId>,
    /// When tasks were forgotten: a listing that is older may still show their containers.
    pub(super) forgotten_at: BTreeMap<TaskId, u64>,
    jobs: JoinSet<Done>,
    going: HashMap<Id, Going>,
    running: HashMap<(TaskId, Lane), AbortHandle>,
    pub(super) listing: bool,
    /// When the listing that is on its way was asked for.
    pub(super) listing_since: Instant,
    pub(super) list_again: bool,
    pub(super) next_list: Instant,
    pub(super) leftovers_gone: bool,
    /// Whether a look for them is on its way, and when the last one began.
    pub(super) searching: bool,
    pub(super) searched_at: Option<Instant>,
    /// Why not all is gone, as it was last said.
    pub(super) leftovers_fault: Option<String>,
    /// Tasks whose leftovers are being removed: nothing is made for them meanwhile.
    pub(super) clearing: BTreeSet<TaskId>,
    /// Tasks that are not known and whose containers are not ours to touch.
    pub(super) left_alone: BTreeSet<TaskId>,
    remains_go: BTreeSet<TaskId>,
}

impl Reconciler {
    /// An engine with the tasks of the ledger. Nothing happens until [`Reconciler::run`].
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { config, drivers, loaded, mut ports, inputs, outputs } = parts;
        let images = Keeper::new(drivers.images.clone(), drivers.credentials.clone(), config.pull_behavior);
        let images = images.on(drivers.room.clone());
        let executor = Executor::new(drivers.clone(), images, &config.limits);
        let mut room = Room::default();
        room.offer(offered(&inputs.facts.borrow()));
        let mut tasks = BTreeMap::new();
        let clock_moved = jumps::jump(loaded.clock_moved);
        if let Some(moved) = clock_moved {
            tracing::warn!(moved_millis = moved, "the host's clock was moved while the agent was away; {MOVED}");
        }
        for SavedTask { definition, record } in loaded.tasks {
            let id = record.id;
            let (outline, spec) = match definition {
                Definition::Spec(spec) => (Outline::of(&spec), Some(spec)),
                Definition::Outline(outline) => (Outline::clone(&outline), None),
            };
            let saved = Some(record.clone());
            let mut task = Task::restored(outline, spec, record);
            if loaded.rebooted {
                task.host_was_booted();
            }
            if let Some(moved) = clock_moved {
                task.clock_moved(moved);
            }
            ports.sync(&task);
            room.sync(&task);
            tasks.insert(id, Entry { saved, definition_saved: task.spec.is_some(), ..Entry::new(task) });
        }
        let dirty: BTreeSet<TaskId> = tasks.keys().copied().collect();
        Self {
            jumps: Jumps::new(drivers.clock.now()),
            config,
            drivers,
            executor,
            touched: dirty.clone(),
            dirty,
            tasks,
            ports,
            room,
            inputs,
            outputs,
            answers: Answers::No { why: "it was not asked yet".to_owned(), failures: 0 },
            seq: 0,
            generation: loaded.generation,
            complete_seen: false,
            after: After::default(),
            saves: FuturesOrdered::new(),
            ledger_fault: None,
            save_again: None,
            unforgotten: BTreeSet::new(),
            forgotten_at: BTreeMap::new(),
            jobs: JoinSet::new(),
            going: HashMap::new(),
            running: HashMap::new(),
            listing: false,
            listing_since: Instant::now(),
            list_again: false,
            next_list: Instant::now(),
            leftovers_gone: false,
            searching: false,
            searched_at: None,
            leftovers_fault: None,
            clearing: BTreeSet::new(),
            left_alone: BTreeSet::new(),
            remains_go: BTreeSet::new(),
        }
    }

    /// Runs until `shutdown`. Containers go on without it.
    pub async fn run(mut self, shutdown: CancellationToken) {
        tracing::info!(tasks = self.tasks.len(), generation = self.generation.0, "supervising");
        self.outputs.saved.send_replace(self.generation);
        let views = self.tasks.iter().map(|(id, entry)| (*id, Arc::new(view(entry)))).collect();
        self.outputs.views.send_replace(views);
        self.list_now();
        loop {
            self.settle();
            let wake = self.next_wake();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(saved) = self.saves.next() => self.take_saved(saved),
                Some(done) = self.jobs.join_next_with_id() => self.take_done(done),
                Some(update) = self.inputs.desired.recv() => self.take_update(update),
                Some(hint) = self.inputs.hints.recv() => self.take_hint(hint),
                Ok(()) = self.inputs.facts.changed() => self.take_facts(),
                Some(answer) = self.inputs.status.recv() => {
                    // Whoever asked may have gone.
                    let _ = answer.send(self.status());
                }
                () = tokio::time::sleep_until(wake) => self.take_time(),
            }
            // One pass for all that is there, rather than one each.
            while let Some(done) = self.jobs.try_join_next_with_id() {
                self.take_done(done);
            }
            while let Ok(hint) = self.inputs.hints.try_recv() {
                self.take_hint(hint);
            }
        }
        self.settle();
        self.drain_saves().await;
        tracing::info!("supervision ends; containers go on");
    }

    pub(super) fn now(&self) -> Timestamp {
        self.drivers.clock.now()
    }

    /// Before anything is compared with the time: it may be another than the one that waits were set by.
    fn look_at_clock(&mut self) {
        let Some(moved) = self.jumps.look(self.now()) else { return };
        tracing::warn!(moved_millis = moved, "the host's clock was moved; {MOVED}");
        for (id, entry) in &mut self.tasks {
            entry.task.clock_moved(moved);
            self.dirty.insert(*id);
        }
    }

    fn take_update(&mut self, update: DesiredUpdate) {
        self.look_at_clock();
        self.apply(update);
    }

    /// The host may offer another amount of memory.
    fn take_facts(&mut self) {
        let offered = offered(&self.inputs.facts.borrow_and_update());
        if self.room.offer(offered) {
            self.wake_waiters();
        }
    }

    fn take_hint(&mut self, hint: Hint) {
        match hint {
            Hint::Container { task, container } => {
                if let Some(entry) = self.tasks.get_mut(&task) {
                    entry.task.hint(&container);
                    self.dirty.insert(task);
                }
            }
            Hint::Sandbox { eni } => {
                // A warm one of no task is the network's own business.
                if self.tasks.values().any(|e| e.task.held_interface().is_some_and(|i| i.eni.id == eni)) {
                    self.list_now();
                }
            }
            Hint::Relist => self.events_begin(),
            Hint::RemainsGo(tasks) => {
                self.dirty.extend(tasks.iter().filter(|id| self.tasks.contains_key(*id)));
                self.remains_go = tasks;
                self.settle();
            }
            Hint::Written { task, mib } => {
                let now = self.now();
                if self.tasks.get_mut(&task).is_some_and(|entry| entry.task.written(mib, now)) {
                    self.dirty.insert(task);
                    self.touched.insert(task);
                }
            }
            Hint::Down { why } => self.silent(&why),
        }
    }

    /// A timer: everything that is due.
    fn take_time(&mut self) {
        self.look_at_clock();
        let now = self.now();
        let due = |e: &Entry| e.wake_at.is_some_and(|at| at <= now);
        self.dirty.extend(self.tasks.iter().filter(|(_, e)| due(e)).map(|(id, _)| *id));
        if Instant::now() >= self.next_list {
            self.list_now();
        }
        if self.save_again.is_some_and(|at| Instant::now() >= at) {
            self.save_again = None;
            self.touched.extend(self.tasks.iter().filter(|(_, e)| e.saved.is_none()).map(|(id, _)| *id));
        }
    }

    fn next_wake(&self) -> Instant {
        let now = self.now();
        let task = self.tasks.values().filter_map(|e| e.wake_at).min();
        // A millisecond more than the difference: a timer that fires early would spin until it is time.
        let task = task.map(|at| Instant::now() + at.since(now) + Duration::from_millis(1));
        [task, self.save_again].into_iter().flatten().fold(self.next_list, Instant::min)
    }

    /// Passes over every task that something happened to, until nothing more follows; then saves.
    fn settle(&mut self) {
        self.look_at_clock();
        self.watch_contacts();
        while !self.dirty.is_empty() {
            let mut due: Vec<TaskId> = std::mem::take(&mut self.dirty).into_iter().collect();
            // Who waits longest is asked first: it gets what just became free.
            due.sort_by_key(|id| self.tasks.get(id).map(|e| e.task.record.accepted_at));
            for id in due {
                self.pass(id);
            }
        }
        self.save();
    }

    fn pass(&mut self, id: TaskId) {
        if self.clearing.contains(&id) {
            return;
        }
        let now = self.now();
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        let engine = match &self.answers {
            Answers::Yes => EngineView::Answering,
            Answers::No { why, .. } => EngineView::Silent { why },
        };
        let (claims, room, policy) = (self.ports.claims(), &self.room, &self.config.policy);
        let contact = self.drivers.contacts.look();
        let (disk_short, ledger_fault) = (self.remains_go.contains(&id), self.ledger_fault.is_some());
        let view = View { now, engine, claims, room, policy, disk_short, ledger_fault, contact };
        let Pass { steps, give_up, waiting, wake_at, forget } = entry.task.pass(&view);
        entry.waiting = waiting;
        entry.wake_at = wake_at;
        if self.room.sync(&entry.task) {
            self.wake_waiters();
        }
        self.touched.insert(id);
        for lane in give_up {
            if let Some(handle) = self.running.remove(&(id, lane)) {
                handle.abort();
            }
        }
        for step in steps {
            tracing::debug!(task = %id, ?step, "step");
            match step {
                Step::Ensure(ResourceKind::Ports) => {
                    crash::before(crash::Place::Ports);
                    let given = self.ports.give(&self.tasks[&id].task).map(Made::Ports);
                    crash::after(crash::Place::Ports);
                    self.finish(id, &step, Outcome::Ensured(given));
                }
                step if step.needs_saved() => self.after.steps.push((id, step)),
                step => self.start_step(id, step),
            }
        }
        if forget {
            self.forget(id);
        }
    }

    /// Whether any task has a fence decides whether contacts are kept over a restart.
    fn watch_contacts(&self) {
        self.drivers.contacts.want(self.tasks.values().any(|entry| entry.task.outline.fence.is_some()));
    }

    fn forget(&mut self, id: TaskId) {
        tracing::info!(task = %id, "forgotten");
        self.tasks.remove(&id);
        let freed = [self.ports.forget(id), self.room.leave(id)];
        if freed.contains(&true) {
            self.wake_waiters();
        }
        self.unforgotten.insert(id);
        self.seq += 1;
        self.forgotten_at.insert(id, self.seq);
    }

    /// Hands a step to the executor.
    pub(super) fn start_step(&mut self, id: TaskId, step: Step) {
        let Some(entry) = self.tasks.get(&id) else { return };
        let task = &entry.task;
        let lane = step.lane();
        let index = match &lane {
            Lane::Container(i) => Some(*i),
            Lane::Resource(_) => None,
        };
        if let (Step::Start(_), Some(i)) = (&step, index) {
            self.ports.about_to_start(&task.record.containers[i].ports);
        }
        let create = match (&step, &task.spec) {
            (Step::Create(i), Some(spec)) => Some(CreateRequest {
                spec: environment::with_places(spec, *i, &self.config.keyring),
                index: *i,
                bindings: bindings(task, *i),
                interface: task.held_interface().cloned(),
                cgroup_parent: None,
                supervise: task.supervise(*i).to_label(),
            }),
            (_, _) => None,
        };
        let container: Option<ContainerName> = index.map(|i| task.record.containers[i].name.clone());
        let restarts = |container: &ContainerRecord| matches!(container.phase, Phase::Restarting { .. });
        let ran = index.is_some_and(|i| restarts(&task.record.containers[i]));
        // One that never ran is in the same sandbox as those that did, which may not be wired again yet.
        let joins = task.held_interface().is_some() && task.record.containers.iter().any(restarts);
        let again = ran || task.live.sandbox_asleep || joins;
        let job = Job { task: id, step: step.clone(), container, spec: task.spec.clone(), create, again };
        let executor = self.executor.clone();
        let handle = self.jobs.spawn(async move { Done::Step(executor.run(job).await) });
        self.going.insert(handle.id(), Going::Step(id, step));
        self.running.insert((id, lane), handle);
    }

    fn take_done(&mut self, done: Result<(Id, Done), JoinError>) {
        self.look_at_clock();
        let (job, done) = match done {
            Ok((job, done)) => (job, Ok(done)),
            Err(error) => (error.id(), Err(error)),
        };
        if let Some(Going::Step(id, step)) = self.going.get(&job) {
            let lane = (*id, step.lane());
            // Of one that was given up another step may have the lane by now.
            if self.running.get(&lane).is_some_and(|handle| handle.id() == job) {
                self.running.remove(&lane);
            }
        }
        match (self.going.remove(&job), done) {
            (Some(Going::Step(id, step)), Ok(Done::Step(outcome))) => self.finish(id, &step, outcome),
            (Some(Going::Step(id, step)), Err(error)) => {
                let why = if error.is_cancelled() { "given up".to_owned() } else { format!("it failed here: {error}") };
                self.finish(id, &step, Outcome::NotDone(why));
            }
            (Some(Going::List { as_of }), Ok(Done::Listed(listed))) => self.listed(as_of, listed),
            (Some(Going::List { as_of }), Err(error)) => {
                self.listed(as_of, Err(Failure::Away(format!("the listing failed here: {error}"))));
            }
            (Some(Going::Search), Ok(Done::Searched(found))) => self.searched(found),
            (Some(Going::Clearing), Ok(Done::Cleared(result))) => self.cleared(&result),
            (Some(Going::Search | Going::Clearing), Err(error)) => {
                self.cleared(&Err(Failure::Passing(format!("the clean-up failed here: {error}"))));
            }
            (going, _) => unreachable!("every job is entered when spawned and ends as it began: {}", going.is_some()),
        }
    }

    /// Takes the outcome of a step in.
    pub(super) fn finish(&mut self, id: TaskId, step: &Step, outcome: Outcome) {
        let now = self.now();
        self.seq += 1;
        if let Some(failure) = failure_of(&outcome) {
            tracing::warn!(task = %id, ?step, error = failure.text(), "step failed");
            match failure {
                Failure::Away(why) if self.answers == Answers::Yes && concerns_docker(step) => {
                    let why = why.clone();
                    self.silent(&why);
                    self.list_now();
                }
                // The listing says whether it is only this call that broke.
                Failure::Unknown(_) if self.answers == Answers::Yes && concerns_docker(step) => self.list_now(),
                // It may run, which only a listing tells of one that is over.
                Failure::Passing(_) if self.answers == Answers::Yes && matches!(step, Step::Remove { .. }) => {
                    self.list_now();
                }
                Failure::Away(_)
                | Failure::Unknown(_)
                | Failure::TimedOut(_)
                | Failure::Passing(_)
                | Failure::Lasting(_)
                | Failure::PortTaken(_)
                | Failure::NoSpace(_)
                | Failure::ImageMissing(_)
                | Failure::NameTaken(_)
                | Failure::Confused(_) => {}
            }
        }
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        let started = match (step, &outcome) {
            (Step::Start(i), Outcome::Started(Ok(()))) => Some(*i),
            (_, _) => None,
        };
        entry.task.finish(step, outcome, &self.config.policy, now, self.seq);
        if let Some(i) = started {
            self.ports.started(&entry.task.record.containers[i].ports);
        }
        if self.ports.sync(&entry.task) {
            self.wake_waiters();
        }
        self.dirty.insert(id);
        self.touched.insert(id);
    }

    /// Something became free: whoever may wait for it asks again.
    pub(super) fn wake_waiters(&mut self) {
        let waits = |e: &Entry| {
            let record = &e.task.record;
            let ports = |r: &ResourceRecord| r.kind == ResourceKind::Ports && r.phase == ResourcePhase::Wanted;
            record.ending.is_none() && (record.place == Place::Wanted || record.resources.iter().any(ports))
        };
        self.dirty.extend(self.tasks.iter().filter(|(_, e)| waits(e)).map(|(id, _)| *id));
    }

    /// Docker does not answer: nothing is decided until a listing was compared.
    pub(super) fn silent(&mut self, why: &str) {
        match &mut self.answers {
            Answers::Yes => {
                tracing::warn!(error = why, "Docker does not answer; what its containers do is unknown until it does");
                self.answers = Answers::No { why: why.to_owned(), failures: 0 };
                self.dirty.extend(self.tasks.keys().copied());
            }
            Answers::No { why: last, .. } => why.clone_into(last),
        }
    }

    pub(super) fn spawn_listing(&mut self) {
        self.listing_since = Instant::now();
        let containers = self.drivers.containers.clone();
        let interfaces = self.tasks.values().any(|e| e.task.held_interface().is_some());
        let handle = self.jobs.spawn(async move {
            let list = async {
                let listed = containers.list().await?;
                let sandboxes = if interfaces { Some(containers.sandboxes().await?) } else { None };
                Ok(Listing { containers: listed, sandboxes })
            };
            Done::Listed(list.await)
        });
        self.going.insert(handle.id(), Going::List { as_of: self.seq });
    }

    pub(super) fn spawn_search(&mut self) {
        let drivers = self.drivers.clone();
        let handle = self.jobs.spawn(async move { Done::Searched(Leftovers::search(&drivers).await) });
        self.going.insert(handle.id(), Going::Search);
    }

    pub(super) fn spawn_clearing(&mut self, leftovers: Leftovers) {
        let drivers = self.drivers.clone();
        let handle = self.jobs.spawn(async move { Done::Cleared(leftovers.remove(&drivers).await) });
        self.going.insert(handle.id(), Going::Clearing);
    }

    pub(super) fn pull_progress(&self, task: &Task, i: usize) -> Option<String> {
        let waiting = task.record.containers[i].phase == Phase::Waiting;
        let spec = task.spec.as_ref().filter(|_| waiting)?;
        self.executor.pull_progress(task.record.id, i, &spec.containers[i])
    }
}

/// MiB that tasks may be given.
fn offered(facts: &Option<Arc<HostFacts>>) -> Option<u64> {
    facts.as_ref().map(|facts| u64::from(facts.resources.memory_mib))
}

/// The ports that Docker is to publish: on the host's own network nothing is published.
fn bindings(task: &Task, i: usize) -> Vec<NetworkBinding> {
    match task.outline.network_mode {
        NetworkMode::Bridge => task.record.containers[i]
            .ports
            .iter()
            .map(|p| NetworkBinding {
                // One proxy process for each port instead of two; ECS reports IPv4 bindings only.
                bind_ip: "0.0.0.0".to_owned(),
                container_port: p.container_port,
                host_port: p.host_port,
                protocol: p.protocol,
                count: p.count,
            })
            .collect(),
        NetworkMode::Host | NetworkMode::None | NetworkMode::Awsvpc => Vec::new(),
    }
}

fn failure_of(outcome: &Outcome) -> Option<&Failure> {
    match outcome {
        Outcome::Ensured(r) => r.as_ref().err(),
        Outcome::Released(r) | Outcome::Started(r) | Outcome::Halted(r) | Outcome::Removed(r) => r.as_ref().err(),
        Outcome::Pulled(r) => r.as_ref().err(),
        Outcome::Created(r) => r.as_ref().err(),
        Outcome::Inspected(r) => r.as_ref().err(),
        Outcome::NotDone(_) => None,
    }
}

/// A cgroup is the kernel's, ports are ours, and of an interface more can fail than the engine: such failures say
/// nothing of Docker.
fn concerns_docker(step: &Step) -> bool {
    match step {
        Step::Ensure(kind) | Step::Release(kind) => match kind {
            ResourceKind::Volume(_) | ResourceKind::SharedVolume(_) => true,
            ResourceKind::Ports | ResourceKind::Cgroup | ResourceKind::Interface | ResourceKind::Namespaces => false,
        },
        Step::Pull(_)
        | Step::Create(_)
        | Step::Start(_)
        | Step::Inspect(_)
        | Step::Stop(_, _)
        | Step::StopUnhealthy(_, _)
        | Step::Remove { .. } => true,
    }
}
