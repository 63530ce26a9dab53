//! A host in memory with a ledger and an agent that may crash: the model of the property tests.

mod checks;
mod crash;
mod engine;
mod shapes;

pub(crate) use shapes::{FENCE, IGNORED, MEMORY, Part, Shape, plain_shapes, shapes};

use checks::{check_order, in_order};
use longshore_model::{AssignedTask, DesiredStatus, EniId, HealthStatus, TaskId, TaskSpec, TaskStatus, Timestamp};
use longshore_plan::{
    Contact, EngineView, Halt, Outcome, Phase, Policy, PortClaims, ResolvedPort, ResourceKind, Room, RunState, Step,
    Supervise, Task, TaskRecord, View,
};
use shapes::spec;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How a crash leaves the ledger.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    /// How many of the saves on their way got through, as a share of 256.
    pub keep: u8,
    pub lose_ledger: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Pass(usize),
    Finish {
        which: u8,
        how: u8,
    },
    Flush,
    /// The saves on their way fail.
    SaveFails,
    List,
    Advance(i64),
    /// The clock is moved, and every task is told.
    ClockMoved(i64),
    /// The clock is moved while the agent is away.
    ClockMovedAway(i64, Cut),
    Exit(usize, usize, i32),
    /// The host is shut down, and all that ran ends with this code; the agent was away before.
    ShutDown(i32, Cut),
    RemoveBehind(usize, usize),
    RenameBehind(usize, usize),
    DiskShort(bool),
    RestartBehind(usize, usize),
    Health(usize, usize, HealthStatus),
    EndSandbox(usize),
    Assign(usize),
    Stop(usize),
    Unassign(usize),
    ForeignPort(u16),
    EngineDown,
    EngineUp,
    Crash(Cut),
    /// The control plane is not heard any more.
    CutOff,
    /// It is heard again.
    Hear,
}

/// A container as the engine has it.
#[derive(Debug, Clone)]
struct Box_ {
    id: String,
    state: RunState,
    started_at: Option<Timestamp>,
    exit_code: i32,
    /// It ended with the host.
    with_host: bool,
    health: Option<HealthStatus>,
    ports: Vec<ResolvedPort>,
    label: Supervise,
    /// It runs, and the engine, which was killed when it had just started it, says that it never did.
    lost: bool,
    /// The engine lists it and does not know it when it is inspected: it is still being made.
    half_made: bool,
    /// Somebody gave it another name.
    renamed: bool,
}

/// What the control plane thinks of a task.
#[derive(Debug, Clone, Default)]
struct Wanted {
    assigned: bool,
    stop: bool,
    left: bool,
    /// A report said more than PENDING.
    started: bool,
}

type Key = (TaskId, usize);

pub(crate) struct World {
    specs: Vec<Arc<TaskSpec>>,
    wanted: Vec<Wanted>,
    tasks: BTreeMap<TaskId, Task>,
    /// What is durable, and what is on its way there, in order.
    durable: BTreeMap<TaskId, TaskRecord>,
    on_the_way: Vec<(TaskId, Option<TaskRecord>)>,
    /// Steps that wait for the records before them.
    held: Vec<(TaskId, Step)>,
    in_flight: Vec<(TaskId, Step)>,
    claims: PortClaims,
    room: Room,
    now: Timestamp,
    contact: Contact,
    /// Whether the control plane is heard.
    heard: bool,
    seq: u64,
    answering: bool,
    up: bool,
    /// Whether this process is still to remove what belongs to no task.
    leftovers: bool,
    disk_short: bool,
    /// Whether the last save failed.
    ledger_fault: bool,
    /// Tasks of which more was reported than is durable.
    ahead: BTreeSet<TaskId>,
    // The host.
    boxes: BTreeMap<Key, Box_>,
    volumes: BTreeSet<TaskId>,
    cgroups: BTreeSet<TaskId>,
    namespaces: BTreeSet<TaskId>,
    /// Who has which interface, and which of their sandboxes run.
    interfaces: BTreeMap<EniId, TaskId>,
    sandboxes: BTreeSet<EniId>,
    foreign: BTreeSet<u16>,
    ids: u64,
    /// How often the process of a container was started by us.
    runs: BTreeMap<Key, u32>,
    /// How often it ended.
    ends: BTreeMap<Key, u32>,
    /// Containers that somebody removed behind our back after they ran: with the ledger lost too, nothing remembers.
    erased: BTreeSet<Key>,
    /// All that somebody removed behind our back.
    taken: BTreeSet<Key>,
    /// Containers that were stopped for their health and not started since, as the ledger knows.
    bounced: BTreeSet<Key>,
    /// The agent that starts is the first since the host was booted.
    booted: bool,
    reported: BTreeMap<TaskId, TaskStatus>,
    versions: BTreeMap<TaskId, u64>,
    policy: Policy,
    /// Starts (`+`) and stops (`-`) of containers, in order.
    log: Vec<(TaskId, char, usize)>,
    /// How politely containers were stopped.
    halts: Vec<(TaskId, Halt)>,
}

fn empty_room() -> Room {
    let mut room = Room::default();
    room.offer(Some(MEMORY));
    room
}

impl World {
    pub(crate) fn new(shapes: Vec<Shape>) -> Self {
        let specs: Vec<_> = shapes.iter().enumerate().map(|(n, s)| Arc::new(spec(n, s))).collect();
        Self {
            wanted: vec![Wanted::default(); specs.len()],
            specs,
            tasks: BTreeMap::new(),
            durable: BTreeMap::new(),
            on_the_way: Vec::new(),
            held: Vec::new(),
            in_flight: Vec::new(),
            claims: PortClaims::default(),
            room: empty_room(),
            now: Timestamp::from_millis(1_000_000),
            contact: Contact::Ago(Duration::ZERO),
            heard: true,
            halts: Vec::new(),
            seq: 0,
            answering: true,
            up: true,
            leftovers: false,
            disk_short: false,
            ledger_fault: false,
            ahead: BTreeSet::new(),
            boxes: BTreeMap::new(),
            volumes: BTreeSet::new(),
            cgroups: BTreeSet::new(),
            namespaces: BTreeSet::new(),
            interfaces: BTreeMap::new(),
            sandboxes: BTreeSet::new(),
            foreign: BTreeSet::new(),
            ids: 0,
            runs: BTreeMap::new(),
            ends: BTreeMap::new(),
            erased: BTreeSet::new(),
            taken: BTreeSet::new(),
            bounced: BTreeSet::new(),
            booted: false,
            reported: BTreeMap::new(),
            versions: BTreeMap::new(),
            policy: Policy {
                cleanup_wait: Duration::from_secs(5),
                dependency_timeout: Duration::from_secs(30),
                ..Policy::default()
            },
            log: Vec::new(),
        }
    }

    pub(crate) fn reported(&self, t: usize) -> Option<TaskStatus> {
        self.reported.get(&self.specs[t].id).copied()
    }

    pub(crate) fn has_interface(&self, t: usize) -> bool {
        self.interfaces.values().any(|holder| *holder == self.specs[t].id)
    }

    /// Starts (`+`) and stops (`-`) of a task's containers so far.
    pub(crate) fn log(&self, t: usize) -> String {
        let id = self.specs[t].id;
        let own = self.log.iter().filter(|(task, _, _)| *task == id);
        own.map(|(_, what, i)| format!("{what}{i}")).collect::<Vec<_>>().join(" ")
    }

    /// Milliseconds that the stops of a task's containers allowed before SIGKILL; none for those that sent it at once.
    pub(crate) fn halts(&self, t: usize) -> Vec<Option<u64>> {
        let id = self.specs[t].id;
        let millis = |halt: &Halt| match halt {
            Halt::Polite(grace) => Some(u64::try_from(grace.as_millis()).expect("a short one")),
            Halt::Kill => None,
        };
        self.halts.iter().filter(|(task, _)| *task == id).map(|(_, halt)| millis(halt)).collect()
    }

    /// Why a task ends, if it does.
    pub(crate) fn ending(&self, t: usize) -> String {
        let ending = self.tasks[&self.specs[t].id].record.ending.as_ref();
        ending.map(|ending| ending.reason.clone()).unwrap_or_default()
    }

    /// How often a container of a task was started again, and what is said of it.
    pub(crate) fn restarts(&self, t: usize, c: usize) -> (u32, String) {
        let report = self.tasks[&self.specs[t].id].report(&[]);
        (report.containers[c].restart_count, report.containers[c].reason.clone().unwrap_or_default())
    }

    /// How a container of a task ended, and why.
    pub(crate) fn reason(&self, t: usize, c: usize) -> (Option<i32>, String) {
        let report = self.tasks[&self.specs[t].id].report(&[]);
        (report.containers[c].exit_code, report.containers[c].reason.clone().unwrap_or_default())
    }

    /// Whether what a task's report says of times is in the order of its life.
    pub(crate) fn times_are_in_order(&self, t: usize) -> bool {
        self.tasks.get(&self.specs[t].id).is_none_or(|task| in_order(&task.report(&[])))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
            && self.durable.is_empty()
            && self.boxes.is_empty()
            && self.claims.is_empty()
            && self.interfaces.is_empty()
            && self.namespaces.is_empty()
    }

    pub(crate) fn apply(&mut self, op: Op) {
        match op {
            Op::Pass(t) => self.pass(self.specs[t].id),
            Op::Finish { which, how } => self.finish(which, how),
            Op::Flush => self.flush(),
            Op::SaveFails => self.fail_saves(),
            Op::List => self.list(),
            Op::Advance(millis) => self.advance(Duration::from_millis(millis.unsigned_abs())),
            Op::CutOff => self.heard = false,
            Op::Hear => self.hear(),
            Op::ClockMoved(millis) => {
                self.now = self.now.moved(millis);
                let ids: Vec<TaskId> = self.tasks.keys().copied().collect();
                for id in ids {
                    self.tasks.get_mut(&id).expect("there").clock_moved(millis);
                    self.touch(id);
                }
            }
            Op::ClockMovedAway(millis, cut) => {
                self.now = self.now.moved(millis);
                self.crash(cut);
            }
            Op::Exit(t, c, code) => {
                let now = self.now;
                if let Some(b) = self.boxes.get_mut(&(self.specs[t].id, c))
                    && b.state == RunState::Running
                {
                    b.state = RunState::Ended;
                    b.exit_code = code;
                    *self.ends.entry((self.specs[t].id, c)).or_default() += 1;
                    b.started_at.get_or_insert(now);
                    self.hint(t, c);
                }
            }
            Op::ShutDown(code, cut) => {
                let running = self.boxes.iter_mut().filter(|(_, b)| b.state == RunState::Running);
                for (key, b) in running {
                    // Where the power was cut the engine says that it ended when the engine came up again.
                    (b.state, b.exit_code, b.with_host) = (RunState::Ended, code, !cut.keep.is_multiple_of(2));
                    *self.ends.entry(*key).or_default() += 1;
                    b.started_at.get_or_insert(self.now);
                }
                self.sandboxes.clear();
                self.booted = true;
                self.crash(cut);
                self.booted = false;
            }
            Op::RemoveBehind(t, c) => {
                let key = (self.specs[t].id, c);
                if self.boxes.remove(&key).is_some() {
                    self.taken.insert(key);
                    if self.runs.contains_key(&key) {
                        self.erased.insert(key);
                    }
                    // The ledger was lost, and no listing has shown it since.
                    let seen = |task: &Task| !matches!(task.record.containers[c].phase, Phase::Waiting | Phase::Pulled);
                    if !self.tasks.get(&key.0).is_some_and(seen) {
                        self.runs.remove(&key);
                    }
                    self.hint(t, c);
                }
            }
            Op::DiskShort(short) => self.disk_short = short,
            // The event of it was lost.
            Op::RenameBehind(t, c) => {
                if let Some(b) = self.boxes.get_mut(&(self.specs[t].id, c)) {
                    b.renamed = true;
                }
            }
            Op::RestartBehind(t, c) => {
                let key = (self.specs[t].id, c);
                if let Some(b) = self.boxes.get_mut(&key)
                    && b.state == RunState::Ended
                {
                    b.state = RunState::Running;
                    b.started_at = Some(self.now);
                    self.bounced.remove(&key);
                }
            }
            Op::Health(t, c, health) => {
                if let Some(b) = self.boxes.get_mut(&(self.specs[t].id, c))
                    && b.state == RunState::Running
                {
                    b.health = Some(health);
                    self.hint(t, c);
                }
            }
            Op::EndSandbox(t) => {
                let id = self.specs[t].id;
                let interfaces = &self.interfaces;
                self.sandboxes.retain(|eni| interfaces.get(eni) != Some(&id));
            }
            Op::Assign(t) => self.assign(t),
            Op::Stop(t) => {
                if self.wanted[t].assigned {
                    self.wanted[t].stop = true;
                    self.assign(t);
                }
            }
            Op::Unassign(t) => {
                // The control plane drops a task once it was reported stopped, or when its host is given up.
                if self.wanted[t].assigned {
                    self.wanted[t] = Wanted { assigned: false, left: true, ..self.wanted[t].clone() };
                    if let Some(task) = self.tasks.get_mut(&self.specs[t].id) {
                        task.unassign(self.now);
                        self.touch(self.specs[t].id);
                    }
                }
            }
            Op::ForeignPort(port) => {
                // Toggles: a program comes, and goes.
                let port = 30_000 + port;
                if !self.foreign.remove(&port) {
                    self.foreign.insert(port);
                }
            }
            Op::EngineDown => {
                self.up = false;
            }
            Op::EngineUp => self.up = true,
            Op::Crash(cut) => self.crash(cut),
        }
    }

    fn hint(&mut self, t: usize, c: usize) {
        let spec = self.specs[t].clone();
        if let Some(task) = self.tasks.get_mut(&spec.id) {
            task.hint(&spec.containers[c].name);
        }
    }

    fn assign(&mut self, t: usize) {
        if self.wanted[t].left {
            return;
        }
        self.wanted[t].assigned = true;
        let spec = self.specs[t].clone();
        let assigned = AssignedTask {
            spec: spec.clone(),
            desired: if self.wanted[t].stop { DesiredStatus::Stopped } else { DesiredStatus::Running },
            may_start: !self.wanted[t].started,
            stop_reason: "because".into(),
        };
        match self.tasks.get_mut(&spec.id) {
            Some(task) => drop(task.assign(&assigned, self.now)),
            None => {
                self.tasks.insert(spec.id, Task::new(&assigned, self.now));
            }
        }
        self.touch(spec.id);
    }

    /// The record goes on its way to the disk.
    fn touch(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.get_mut(&id) {
            task.record.version += 1;
            self.claims.sync(id, &task.held_ports());
            self.room.sync(task);
            self.on_the_way.push((id, Some(task.record.clone())));
        }
    }

    fn view(&self) -> View<'_> {
        let engine =
            if self.answering { EngineView::Answering } else { EngineView::Silent { why: "it does not answer" } };
        let (claims, room, policy) = (&self.claims, &self.room, &self.policy);
        let (disk_short, ledger_fault) = (self.disk_short, self.ledger_fault);
        View { now: self.now, engine, claims, room, policy, disk_short, ledger_fault, contact: self.contact }
    }

    fn pass(&mut self, id: TaskId) {
        let Some(mut task) = self.tasks.remove(&id) else { return };
        let pass = task.pass(&self.view());
        pass.steps.iter().for_each(|step| check_order(&task, step));
        self.tasks.insert(id, task);
        for lane in pass.give_up {
            // Cut: done or not, nobody will hear.
            if let Some(at) = self.in_flight.iter().position(|(t, s)| *t == id && s.lane() == lane) {
                let (_, step) = self.in_flight.remove(at);
                if step == Step::Ensure(ResourceKind::Interface) && self.ids.is_multiple_of(2) {
                    let _ = self.really(id, &step);
                }
            }
        }
        self.touch(id);
        for step in pass.steps {
            if step.needs_saved() {
                self.held.push((id, step));
            } else {
                self.in_flight.push((id, step));
            }
        }
        // A second pass right after has nothing to add.
        let mut task = self.tasks.remove(&id).expect("put back");
        let before = task.clone();
        let again = task.pass(&self.view());
        assert!(again.steps.is_empty(), "a second pass asks for {:?}", again.steps);
        assert_eq!(before.record, task.record, "a second pass changes the record");
        self.tasks.insert(id, task);
        if pass.forget {
            self.tasks.remove(&id);
            self.claims.release_all(id);
            self.room.leave(id);
            self.on_the_way.push((id, None));
        }
    }

    fn publish(&mut self, id: TaskId, record: &TaskRecord) {
        let last = self.reported.insert(id, record.reached);
        assert!(last.is_none_or(|l| l <= record.reached), "{last:?} then {:?}", record.reached);
        self.versions.insert(id, record.version);
        let t = self.specs.iter().position(|s| s.id == id).expect("ours");
        self.wanted[t].started |= record.reached > TaskStatus::Pending;
    }

    /// Saves get through, in order; what waited for them goes on, and reports are published.
    fn flush(&mut self) {
        for (id, record) in std::mem::take(&mut self.on_the_way) {
            self.ledger_fault = false;
            match record {
                Some(record) => {
                    self.publish(id, &record);
                    self.ahead.remove(&id);
                    self.durable.insert(id, record);
                }
                None => {
                    self.durable.remove(&id);
                }
            }
        }
        for (id, step) in std::mem::take(&mut self.held) {
            if self.tasks.get_mut(&id).is_some_and(|task| task.begin(&step)) {
                self.in_flight.push((id, step));
            }
        }
    }

    /// Saves fail: reports are published all the same, what waited is not done, and all is on its way again.
    fn fail_saves(&mut self) {
        let failed = std::mem::take(&mut self.on_the_way);
        self.ledger_fault |= !failed.is_empty();
        for (id, record) in failed {
            match record {
                Some(record) => {
                    self.publish(id, &record);
                    self.ahead.insert(id);
                    self.touch(id);
                }
                None => self.on_the_way.push((id, None)),
            }
        }
        for (id, step) in std::mem::take(&mut self.held) {
            self.take(id, &step, Outcome::NotDone("the disk is full".to_owned()));
        }
    }

    fn finish(&mut self, which: u8, how: u8) {
        if self.in_flight.is_empty() {
            return;
        }
        let (id, step) = self.in_flight.remove(usize::from(which) % self.in_flight.len());
        let outcome = self.carry_out(id, &step, how);
        self.take(id, &step, outcome);
    }

    fn take(&mut self, id: TaskId, step: &Step, outcome: Outcome) {
        self.seq += 1;
        let (policy, now, seq) = (self.policy.clone(), self.now, self.seq);
        if let Some(task) = self.tasks.get_mut(&id) {
            task.finish(step, outcome, &policy, now, seq);
            self.touch(id);
        }
    }

    /// Nothing fails: everything is carried out until nothing is asked for. Hardly any time passes.
    pub(crate) fn is_renamed(&self, t: usize, c: usize) -> bool {
        self.boxes.get(&(self.specs[t].id, c)).is_some_and(|b| b.renamed)
    }

    pub(crate) fn settle(&mut self) {
        loop {
            self.list();
            let ids: Vec<TaskId> = self.tasks.keys().copied().collect();
            ids.into_iter().for_each(|id| self.pass(id));
            self.flush();
            if self.in_flight.is_empty() {
                return;
            }
            while !self.in_flight.is_empty() {
                self.finish(0, 255);
            }
            self.check();
            self.advance(Duration::from_millis(1));
        }
    }

    fn advance(&mut self, by: Duration) {
        self.now = self.now.after(by);
        match &mut self.contact {
            Contact::Ago(ago) if !self.heard => *ago += by,
            Contact::Ago(_) | Contact::Unknown => {}
        }
    }

    fn hear(&mut self) {
        (self.heard, self.contact) = (true, Contact::Ago(Duration::ZERO));
    }

    /// As after a boot without the control plane.
    pub(crate) fn forget_contact(&mut self) {
        (self.heard, self.contact) = (false, Contact::Unknown);
    }

    /// How many containers of tasks that must not run twice are running.
    pub(crate) fn fenced_running(&self) -> usize {
        let fenced = |task: &TaskId| self.specs.iter().any(|spec| spec.id == *task && spec.fence.is_some());
        self.boxes.iter().filter(|((task, _), b)| fenced(task) && b.state == RunState::Running).count()
    }

    /// Nothing fails any more: everything is carried out until nothing is asked for.
    pub(crate) fn converge(&mut self) {
        self.hear();
        self.go_on();
    }

    /// The same, whether or not the control plane is heard.
    pub(crate) fn go_on(&mut self) {
        self.up = true;
        self.foreign.clear();
        for round in 0..400 {
            self.list();
            let ids: Vec<TaskId> = self.tasks.keys().copied().collect();
            ids.into_iter().for_each(|id| self.pass(id));
            self.flush();
            let quiet = self.in_flight.is_empty();
            while !self.in_flight.is_empty() {
                self.finish(0, 255);
            }
            self.check();
            self.advance(Duration::from_secs(2));
            if quiet && round > 60 {
                return;
            }
        }
        panic!("it does not converge: {:#?}", self.tasks.values().map(|t| (&t.record, &t.live)).collect::<Vec<_>>());
    }
}
