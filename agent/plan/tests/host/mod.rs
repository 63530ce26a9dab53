//! A host in memory with a ledger and an agent that may crash: the model of the property tests.

use longshore_model::{
    AssignedTask, Backoff, Bandwidth, ClusterName, ContainerCondition, ContainerName, ContainerSpec, Dependency,
    DesiredStatus, EniId, EniReport, Fence, HealthStatus, HostPort, Lifecycle, Link, LinuxParameters, Mac, NetworkMode,
    PidMode, PortMapping, Protocol, RestartPolicy, TaskId, TaskReport, TaskSpec, TaskStatus, Timestamp, VolumeSource,
    VolumeSpec, VolumesFrom,
};
use longshore_plan::room::Asking;
use longshore_plan::{
    Contact, EngineView, Failure, Halt, Inspected, Interface, Made, Outcome, Phase, Place, Policy, PortClaims, PortKey,
    ResolvedPort, ResourceKind, ResourcePhase, Room, RunState, Sighting, Step, Supervise, Task, TaskRecord, View,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A container to come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Part {
    pub essential: bool,
    /// None, a fixed one or a dynamic one.
    pub port: Option<HostPort>,
    /// Containers before it that it depends on.
    pub after: Vec<(usize, ContainerCondition)>,
    pub restart: Option<RestartPolicy>,
}

/// A task to come: its containers and volumes.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub containers: Vec<Part>,
    pub volume: bool,
    pub limited: bool,
    /// Instead of host ports an interface of its own.
    pub awsvpc: bool,
    /// Each container takes the volumes of the one before it.
    pub chained: bool,
    /// Its containers share their processes.
    pub joined: bool,
    /// Each container links the one before it, where the network mode has links.
    pub linked: bool,
    /// MiB that it takes of the host's [`MEMORY`]; it has the host's one GPU when that is odd.
    pub memory: u32,
    /// It must not run twice: see [`FENCE`].
    pub fenced: bool,
}

/// When tasks that must not run twice are stopped because the control plane is not heard.
pub(crate) const FENCE: Fence = Fence { after_millis: 10_000, grace_millis: 4_000 };

/// MiB that the host offers to tasks: not enough for all that may come.
pub(crate) const MEMORY: u64 = 8;

impl Shape {
    fn gpus(&self) -> Vec<String> {
        if self.memory % 2 == 1 { vec!["gpu".to_owned()] } else { Vec::new() }
    }
}

pub(crate) fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let port = prop_oneof![
        2 => Just(None),
        2 => Just(Some(HostPort::Fixed(80))),
        2 => Just(Some(HostPort::Dynamic)),
    ];
    let condition = proptest::sample::select(ContainerCondition::ALL);
    let after = proptest::collection::vec((0..2usize, condition), 0..3);
    let backoff = proptest::option::of(Just(Backoff { first_secs: 1, longest_secs: 20 }));
    let restart = (backoff, any::<bool>()).prop_map(|(backoff, when_unhealthy)| RestartPolicy {
        ignored_exit_codes: vec![2],
        attempt_period_secs: 10,
        backoff,
        when_unhealthy,
    });
    let part = (any::<bool>(), port, prop_oneof![Just(Vec::new()), after], proptest::option::of(restart));
    let part = part.prop_map(|(essential, port, after, restart)| Part { essential, port, after, restart });
    let containers = proptest::collection::vec(part, 1..4);
    let memory = prop_oneof![3 => Just(0), 1 => 1..=8u32];
    let shape = (containers, any::<[bool; 7]>(), memory);
    let shape = shape.prop_map(|(mut containers, flags, memory)| {
        let [volume, limited, awsvpc, chained, joined, linked, fenced] = flags;
        // A fixed port once in a task, no circle, and one container at least that the task cannot do without.
        let mut seen = false;
        for (i, part) in containers.iter_mut().enumerate() {
            if part.port == Some(HostPort::Fixed(80)) && std::mem::replace(&mut seen, true) {
                part.port = None;
            }
            part.after.retain(|(on, _)| *on < i);
        }
        if !containers.iter().any(|part| part.essential) {
            containers[0].essential = true;
        }
        let linked = linked && !awsvpc;
        Shape { containers, volume, limited, awsvpc, chained, joined, linked, memory, fenced }
    });
    proptest::collection::vec(shape, 3)
}

pub(crate) fn plain_shapes() -> Vec<Shape> {
    let part = |port| Part { essential: true, port, ..Part::default() };
    let plain = Shape {
        containers: vec![part(Some(HostPort::Dynamic))],
        volume: false,
        limited: true,
        awsvpc: false,
        chained: false,
        joined: false,
        linked: false,
        memory: 2,
        fenced: false,
    };
    let pair = |port| vec![part(port), Part::default()];
    vec![
        Shape { containers: pair(None), limited: false, awsvpc: true, joined: true, ..plain.clone() },
        Shape { containers: pair(Some(HostPort::Fixed(80))), volume: true, chained: true, ..plain.clone() },
        plain,
    ]
}

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
    List,
    Advance(i64),
    /// The clock is moved, and every task is told.
    ClockMoved(i64),
    /// The clock is moved while the agent is away.
    ClockMovedAway(i64, Cut),
    Exit(usize, usize, i32),
    RemoveBehind(usize, usize),
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
    health: Option<HealthStatus>,
    ports: Vec<ResolvedPort>,
    label: Supervise,
    /// It runs, and the engine, which was killed when it had just started it, says that it never did.
    lost: bool,
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
    reported: BTreeMap<TaskId, TaskStatus>,
    versions: BTreeMap<TaskId, u64>,
    policy: Policy,
    /// Starts (`+`) and stops (`-`) of containers, in order.
    log: Vec<(TaskId, char, usize)>,
    /// How politely containers were stopped.
    halts: Vec<(TaskId, Halt)>,
}

fn in_order(report: &TaskReport) -> bool {
    let life = [
        report.pull_started_at,
        report.pull_stopped_at,
        report.started_at,
        report.execution_stopped_at,
        report.stopped_at,
    ];
    let stopping = [report.started_at, report.stopping_at, report.stopped_at];
    [&life[..], &stopping[..]].iter().all(|times| times.iter().flatten().is_sorted())
}

fn spec(n: usize, shape: &Shape) -> TaskSpec {
    let name = |i: usize| ContainerName::new(format!("c{i}")).expect("a name");
    let container = |(i, part): (usize, &Part)| ContainerSpec {
        name: name(i),
        arn_id: String::new(),
        image: "image".into(),
        image_digest: None,
        repository_credentials: None,
        essential: part.essential,
        cpu_units: 0,
        memory_mib: None,
        memory_reservation_mib: None,
        entry_point: None,
        command: None,
        working_directory: None,
        user: None,
        hostname: None,
        environment: Vec::new(),
        environment_files: Vec::new(),
        port_mappings: part
            .port
            .map(|host_port| PortMapping { container_port: 80, host_port, protocol: Protocol::Tcp, count: 1 })
            .into_iter()
            .collect(),
        mount_points: Vec::new(),
        volumes_from: (shape.chained && i > 0)
            .then(|| VolumesFrom {
                container: ContainerName::new(format!("c{}", i - 1)).expect("a name"),
                read_only: true,
            })
            .into_iter()
            .collect(),
        readonly_root: false,
        privileged: false,
        interactive: false,
        pseudo_terminal: false,
        disable_networking: false,
        ulimits: Vec::new(),
        linux: LinuxParameters::default(),
        docker_labels: BTreeMap::new(),
        dns_servers: Vec::new(),
        dns_search: Vec::new(),
        extra_hosts: Vec::new(),
        links: (shape.linked && i > 0)
            .then(|| Link { container: name(i - 1), alias: "before".to_owned() })
            .into_iter()
            .collect(),
        security_options: Vec::new(),
        sysctls: BTreeMap::new(),
        log: None,
        stop_timeout_secs: None,
        gpu_ids: if i == 0 { shape.gpus() } else { Vec::new() },
        lifecycle: Lifecycle {
            depends_on: part
                .after
                .iter()
                .map(|(on, condition)| Dependency { container: name(*on), condition: *condition })
                .collect(),
            restart: part.restart.clone(),
            ..Lifecycle::default()
        },
    };
    TaskSpec {
        id: TaskId::from_bytes([u8::try_from(n + 1).expect("few tasks"); 16]),
        arn: format!("arn:{n}"),
        cluster: ClusterName::new("default").expect("a name"),
        family: "f".into(),
        revision: 1,
        group: "family:f".into(),
        network_mode: if shape.awsvpc { NetworkMode::Awsvpc } else { NetworkMode::Bridge },
        awsvpc: None,
        pid_mode: shape.joined.then_some(PidMode::Task),
        ipc_mode: None,
        cpu_units: shape.limited.then_some(256),
        memory_mib: (shape.memory > 0).then_some(shape.memory),
        containers: shape.containers.iter().enumerate().map(container).collect(),
        volumes: shape
            .volume
            .then(|| VolumeSpec { name: "v".into(), source: VolumeSource::Task })
            .into_iter()
            .collect(),
        pull_only: false,
        ephemeral_storage_mib: None,
        fence: shape.fenced.then_some(FENCE),
        launch_type: String::new(),
        tags: BTreeMap::new(),
    }
}

fn empty_room() -> Room {
    let mut room = Room::default();
    room.offer(Some(MEMORY));
    room
}

/// No start before what it depends on has come so far, no stop before that of all that depend on it.
fn check_order(task: &Task, step: &Step) {
    let records = &task.record.containers;
    match step {
        Step::Start(i) => {
            for dependency in &task.outline.containers[*i].depends_on {
                let on = records.iter().find(|c| c.name == dependency.container).expect("a container of the task");
                let (ran, exit_code) = match &on.phase {
                    Phase::Stopped(stopped) => (stopped.ran, stopped.exit_code.filter(|_| stopped.ran)),
                    _ => (on.started_at.is_some(), None),
                };
                let met = match dependency.condition {
                    ContainerCondition::Start => ran,
                    ContainerCondition::Complete => exit_code.is_some(),
                    ContainerCondition::Success => exit_code == Some(0),
                    ContainerCondition::Healthy => on.phase.is_running() && on.health == Some(HealthStatus::Healthy),
                };
                assert!(met, "{} is started before {dependency:?}: {on:#?}", records[*i].name);
            }
            for linked in &task.outline.containers[*i].links {
                let on = records.iter().find(|c| c.name == *linked).expect("a container of the task");
                let waits = matches!(on.phase, Phase::Restarting { .. });
                assert!(!waits, "{} is started while {linked}, which it links, is down", records[*i].name);
            }
        }
        // Out of order is stopped what is restarted for its health, or what somebody started again after it ended.
        Step::Stop(i, _) if records[*i].phase.is_running() && task.record.ending.is_some() => {
            let name = &records[*i].name;
            for (outline, record) in task.outline.containers.iter().zip(records) {
                let depends = outline.after.contains(name) || outline.depends_on.iter().any(|d| d.container == *name);
                assert!(!depends || record.phase.is_stopped(), "{name} is stopped before {}", record.name);
            }
        }
        Step::Stop(_, _)
        | Step::Ensure(_)
        | Step::Release(_)
        | Step::Pull(_)
        | Step::Create(_)
        | Step::Inspect(_)
        | Step::Remove { .. } => {}
    }
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
            Op::Flush => self.flush(usize::MAX),
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
            Op::RemoveBehind(t, c) => {
                let key = (self.specs[t].id, c);
                if self.boxes.remove(&key).is_some() {
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
            Op::RestartBehind(t, c) => {
                if let Some(b) = self.boxes.get_mut(&(self.specs[t].id, c))
                    && b.state == RunState::Ended
                {
                    b.state = RunState::Running;
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
        View { now: self.now, engine, claims, room, policy, disk_short: false, contact: self.contact }
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

    /// Saves get through, in order; what waited for them goes on, and reports are published.
    fn flush(&mut self, count: usize) {
        let count = count.min(self.on_the_way.len());
        let all = count == self.on_the_way.len();
        for (id, record) in self.on_the_way.drain(..count) {
            match record {
                Some(record) => {
                    let last = self.reported.insert(id, record.reached);
                    assert!(last.is_none_or(|l| l <= record.reached), "{last:?} then {:?}", record.reached);
                    self.versions.insert(id, record.version);
                    let t = self.specs.iter().position(|s| s.id == id).expect("ours");
                    self.wanted[t].started |= record.reached > TaskStatus::Pending;
                    self.durable.insert(id, record);
                }
                None => {
                    self.durable.remove(&id);
                }
            }
        }
        if all {
            self.in_flight.append(&mut self.held);
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

    /// What the host makes of a step. `how` decides whether it fails, and how.
    fn carry_out(&mut self, id: TaskId, step: &Step, how: u8) -> Outcome {
        let text = || "because".to_owned();
        let failure = if !self.up {
            self.answering = false;
            Some(Failure::Away(text()))
        } else {
            match how {
                0..=15 => Some(Failure::Passing(text())),
                16..=23 => Some(Failure::Unknown(text())),
                24..=29 => Some(Failure::TimedOut(text())),
                30..=31 => Some(Failure::Lasting(text())),
                32..=33 if matches!(step, Step::Start(_)) => Some(Failure::Confused(text())),
                32..=35 if matches!(step, Step::Pull(_) | Step::Create(_)) => Some(Failure::NoSpace(text())),
                34..=37 if matches!(step, Step::Start(_)) => {
                    if let Step::Start(i) = step {
                        self.lose(id, *i);
                    }
                    Some(Failure::Away(text()))
                }
                _ => None,
            }
        };
        // What was lost on the way or took too long may have happened all the same.
        let happens = match &failure {
            None => true,
            Some(Failure::Unknown(_) | Failure::TimedOut(_) | Failure::Confused(_)) => how.is_multiple_of(2),
            Some(_) => false,
        };
        let outcome = if happens { self.really(id, step) } else { None };
        let Some(failure) = failure else { return outcome.expect("it was carried out") };
        match step {
            Step::Ensure(_) => Outcome::Ensured(Err(failure)),
            Step::Release(_) => Outcome::Released(Err(failure)),
            Step::Pull(_) => Outcome::Pulled(Err(failure)),
            Step::Create(_) => Outcome::Created(Err(failure)),
            Step::Start(_) => Outcome::Started(Err(failure)),
            Step::Inspect(_) => Outcome::Inspected(Err(failure)),
            Step::Stop(_, _) => Outcome::Halted(Err(failure)),
            Step::Remove { .. } => Outcome::Removed(Err(failure)),
        }
    }

    fn really(&mut self, id: TaskId, step: &Step) -> Option<Outcome> {
        Some(match step {
            Step::Ensure(ResourceKind::Ports) => Outcome::Ensured(self.give_ports(id).map(Made::Ports)),
            Step::Ensure(ResourceKind::Cgroup) => {
                self.cgroups.insert(id);
                Outcome::Ensured(Ok(Made::Plain))
            }
            Step::Ensure(ResourceKind::Interface) => Outcome::Ensured(Ok(Made::Interface(self.give_interface(id)))),
            Step::Ensure(ResourceKind::Volume(_)) => {
                self.volumes.insert(id);
                Outcome::Ensured(Ok(Made::Plain))
            }
            Step::Ensure(ResourceKind::Namespaces) => {
                self.namespaces.insert(id);
                Outcome::Ensured(Ok(Made::Plain))
            }
            Step::Ensure(ResourceKind::SharedVolume(_)) => Outcome::Ensured(Ok(Made::Plain)),
            Step::Release(kind) => {
                match kind {
                    ResourceKind::Ports => {}
                    ResourceKind::Cgroup => _ = self.cgroups.remove(&id),
                    ResourceKind::Interface => self.take_interfaces(|task| *task == id),
                    ResourceKind::Namespaces => _ = self.namespaces.remove(&id),
                    ResourceKind::Volume(_) => _ = self.volumes.remove(&id),
                    ResourceKind::SharedVolume(_) => {}
                }
                Outcome::Released(Ok(()))
            }
            Step::Pull(_) => Outcome::Pulled(Ok(Some("sha256:x".into()))),
            Step::Create(i) => Outcome::Created(self.create(id, *i)),
            Step::Start(i) => Outcome::Started(self.start(id, *i)),
            Step::Inspect(i) => Outcome::Inspected(Ok(self.boxes.get(&(id, *i)).map(|b| Inspected {
                id: b.id.clone(),
                ours: true,
                state: b.state,
                started_at: b.started_at,
                finished_at: None,
                exit_code: b.started_at.map(|_| b.exit_code),
                health: b.health,
                oom_killed: false,
                error: None,
                image_digest: None,
                ports: b.label.ports.clone(),
                interface: b.label.interface.clone().map(Box::new),
            }))),
            Step::Stop(i, halt) => {
                self.halts.push((id, *halt));
                if let Some(b) = self.boxes.get_mut(&(id, *i))
                    && b.state == RunState::Running
                {
                    b.state = RunState::Ended;
                    b.exit_code = 143;
                    *self.ends.entry((id, *i)).or_default() += 1;
                    self.log.push((id, '-', *i));
                }
                Outcome::Halted(Ok(()))
            }
            Step::Remove { container: i, .. } => {
                let running = self.boxes.get(&(id, *i)).is_some_and(|b| b.state == RunState::Running);
                if running {
                    return Some(Outcome::Removed(Err(Failure::Passing("it runs".into()))));
                }
                if self.end_lost(id, *i) {
                    return Some(Outcome::Removed(Err(Failure::Lasting("it ran".into()))));
                }
                self.boxes.remove(&(id, *i));
                Outcome::Removed(Ok(()))
            }
        })
    }

    fn give_ports(&mut self, id: TaskId) -> Result<Vec<(ContainerName, Vec<ResolvedPort>)>, Failure> {
        let Some(task) = self.tasks.get(&id) else { return Ok(Vec::new()) };
        let (claims, foreign) = (&mut self.claims, &self.foreign);
        task.resolve_ports(|mapping| match mapping.host_port {
            HostPort::Fixed(port) => {
                let key = PortKey { protocol: mapping.protocol, port };
                claims.claim(key, id).map(|()| port).map_err(|_| Failure::Passing("held".into()))
            }
            HostPort::Dynamic => (30_000..30_012)
                .find(|port| {
                    let key = PortKey { protocol: mapping.protocol, port: *port };
                    // A foreign program with an even port hides from the look, and is found at the start.
                    let seen = foreign.contains(port) && port % 2 == 1;
                    !seen && claims.holder(key).is_none() && claims.claim(key, id).is_ok()
                })
                .ok_or_else(|| Failure::Passing("none is free".into())),
        })
    }

    /// As the agent's network does it: a task that has one is given it again.
    fn give_interface(&mut self, id: TaskId) -> Box<Interface> {
        let had = self.interfaces.iter().find(|(_, task)| **task == id).map(|(eni, _)| *eni);
        let eni = had.unwrap_or_else(|| {
            self.ids += 1;
            format!("eni-{:017x}", self.ids).parse().expect("an id")
        });
        self.interfaces.insert(eni, id);
        if had.is_none() {
            self.sandboxes.insert(eni);
        }
        let ipv4 = std::net::Ipv4Addr::LOCALHOST;
        Box::new(Interface {
            eni: EniReport { id: eni, mac: Mac::of_task(ipv4), ipv4, ipv6: None, attached: true },
            sandbox: format!("sandbox of {eni}"),
            files: String::new(),
            groups: BTreeSet::new(),
            bandwidth: Bandwidth::default(),
        })
    }

    fn take_interfaces(&mut self, of: impl Fn(&TaskId) -> bool) {
        let (interfaces, sandboxes) = (&mut self.interfaces, &mut self.sandboxes);
        interfaces.retain(|eni, task| {
            let kept = !of(task);
            if !kept {
                sandboxes.remove(eni);
            }
            kept
        });
    }

    fn create(&mut self, id: TaskId, i: usize) -> Result<String, Failure> {
        if self.boxes.contains_key(&(id, i)) {
            return Err(Failure::NameTaken("taken".into()));
        }
        let task = self.tasks.get(&id).expect("a step of a task that is there");
        let label = task.supervise(i);
        let wanted = task.outline.containers[i].ports.len();
        assert_eq!(label.ports.len(), wanted, "created without its ports");
        assert!(!task.outline.limited || self.cgroups.contains(&id), "created before its cgroup");
        let eni = label.interface.as_ref().map(|interface| interface.eni.id);
        let awsvpc = task.outline.network_mode == NetworkMode::Awsvpc;
        assert_eq!(eni.is_some(), awsvpc, "created without its interface");
        if let Some(eni) = eni
            && !self.sandboxes.contains(&eni)
        {
            return Err(Failure::Lasting("no such container to join".into()));
        }
        assert!(task.outline.volumes.is_empty() || self.volumes.contains(&id), "created before its volume");
        assert!(!task.outline.namespaces || self.namespaces.contains(&id), "created before its namespaces");
        for name in &task.outline.containers[i].after {
            let before = task.record.containers.iter().position(|c| c.name == *name).expect("ours");
            let phase = &task.record.containers[before].phase;
            let begun = self.runs.contains_key(&(id, before)) || phase.is_running() || phase.is_stopped();
            assert!(begun, "created before {name}, which is {phase:?}");
        }
        self.ids += 1;
        let made = Box_ {
            id: format!("id{}", self.ids),
            state: RunState::Created,
            started_at: None,
            exit_code: 0,
            health: None,
            ports: label.ports.clone(),
            label,
            lost: false,
        };
        let id_ = made.id.clone();
        self.boxes.insert((id, i), made);
        Ok(id_)
    }

    fn start(&mut self, id: TaskId, i: usize) -> Result<(), Failure> {
        // At most once rests on this.
        let durable = self.durable.get(&id).map(|r| &r.containers[i].phase);
        assert!(
            matches!(durable, Some(Phase::Starting { .. } | Phase::Restarting { asked: true, .. } | Phase::Stopped(_))),
            "a start before its record was durable: {durable:?}"
        );
        // Two starts are never in the same moment.
        self.now = self.now.after(Duration::from_millis(1));
        let now = self.now;
        let Some(b) = self.boxes.get(&(id, i)) else { return Err(Failure::Unknown("no such container".into())) };
        if b.state == RunState::Running {
            return Ok(());
        }
        if let Some(interface) = &b.label.interface
            && !self.sandboxes.contains(&interface.eni.id)
        {
            return Err(Failure::Lasting("cannot join a container that does not run".into()));
        }
        for port in &b.ports {
            let taken = self.foreign.contains(&port.host_port);
            let ours = |(key, other): (&Key, &Box_)| {
                *key != (id, i)
                    && other.state == RunState::Running
                    && other.ports.iter().any(|p| p.host_port == port.host_port)
            };
            if taken || self.boxes.iter().any(ours) {
                return Err(Failure::PortTaken("taken".into()));
            }
        }
        if self.boxes[&(id, i)].lost {
            // The engine asks for its ports first, and has them since the start that was lost.
            return match self.boxes[&(id, i)].ports.is_empty() {
                true => {
                    self.end_lost(id, i);
                    Err(Failure::Lasting("it ran".into()))
                }
                false => Err(Failure::PortTaken("by itself".into())),
            };
        }
        let linked = &self.tasks[&id].outline.containers[i].links;
        for (j, other) in self.tasks[&id].record.containers.iter().enumerate() {
            let runs = self.boxes.get(&(id, j)).is_some_and(|b| b.state == RunState::Running);
            if linked.contains(&other.name) && !runs {
                return Err(Failure::Passing("cannot link to a container that does not run".into()));
            }
        }
        let b = self.boxes.get_mut(&(id, i)).expect("seen above");
        b.state = RunState::Running;
        b.started_at = Some(now);
        b.health = b.health.map(|_| HealthStatus::Unknown);
        *self.runs.entry((id, i)).or_default() += 1;
        self.log.push((id, '+', i));
        Ok(())
    }

    /// A start that the engine did not live to hear of.
    fn lose(&mut self, id: TaskId, i: usize) {
        let first = self.boxes.get(&(id, i)).is_some_and(|b| b.state == RunState::Created);
        if first
            && self.start(id, i).is_ok()
            && let Some(b) = self.boxes.get_mut(&(id, i))
        {
            b.state = RunState::Created;
            b.started_at = None;
            b.lost = true;
        }
    }

    /// Ends what the engine lost. Says whether there was any.
    fn end_lost(&mut self, id: TaskId, i: usize) -> bool {
        self.boxes.get_mut(&(id, i)).is_some_and(|b| std::mem::take(&mut b.lost))
    }

    fn list(&mut self) {
        if !self.up {
            self.answering = false;
            return;
        }
        let as_of = self.seq;
        let by_id: BTreeSet<TaskId> = self.boxes.keys().map(|(id, _)| *id).collect();
        for id in by_id {
            if !self.tasks.contains_key(&id) {
                self.recover(id);
            }
        }
        for (id, task) in &mut self.tasks {
            let seen: BTreeMap<ContainerName, Sighting> = self
                .boxes
                .iter()
                .filter(|((t, _), _)| t == id)
                .map(|((_, i), b)| {
                    (
                        task.record.containers[*i].name.clone(),
                        Sighting { id: b.id.clone(), state: b.state, health: b.health },
                    )
                })
                .collect();
            task.sight(&seen, as_of);
            self.room.sync(task);
            task.sight_sandboxes(&self.sandboxes, as_of, self.now);
        }
        self.answering = true;
        // Start-up removes what belongs to no task, once it is known which tasks have containers.
        if std::mem::take(&mut self.leftovers) {
            let known: BTreeSet<TaskId> = self.tasks.keys().copied().collect();
            self.volumes.retain(|id| known.contains(id));
            self.cgroups.retain(|id| known.contains(id));
            self.namespaces.retain(|id| known.contains(id));
            self.take_interfaces(|id| !known.contains(id));
        }
    }

    fn recover(&mut self, id: TaskId) {
        let labels: Vec<Supervise> =
            self.boxes.iter().filter(|((t, _), _)| *t == id).map(|(_, b)| b.label.clone()).collect();
        let mut task = Task::recovered(labels[0].task.clone(), self.now);
        for ((t, i), b) in &self.boxes {
            if *t == id {
                let name = task.record.containers[*i].name.clone();
                let text = b.label.to_label();
                task.recover_made(&Supervise::from_label(&text).expect("our own label"), &name);
            }
        }
        task.record.version = self.versions.get(&id).copied().unwrap_or(0);
        // Whoever decides has spoken since the crash.
        let t = self.specs.iter().position(|s| s.id == id).expect("ours");
        if !self.wanted[t].assigned {
            task.unassign(self.now);
        }
        self.tasks.insert(id, task);
        self.touch(id);
    }

    fn crash(&mut self, cut: Cut) {
        // Of the saves on their way a prefix got through; steps in flight happened or not.
        let count = self.on_the_way.len() * usize::from(cut.keep) / 256;
        let held = std::mem::take(&mut self.held);
        drop(held);
        // What is published needs a whole write; a prefix that nobody heard of is only on the disk.
        for (id, record) in self.on_the_way.drain(..).take(count) {
            match record {
                Some(record) => _ = self.durable.insert(id, record),
                None => _ = self.durable.remove(&id),
            }
        }
        for (n, (id, step)) in std::mem::take(&mut self.in_flight).into_iter().enumerate() {
            if self.up && (usize::from(cut.keep) >> (n % 8)) & 1 == 1 {
                let _ = self.really(id, &step);
            }
        }
        if cut.lose_ledger {
            self.durable.clear();
        }
        self.tasks.clear();
        self.claims = PortClaims::default();
        self.room = empty_room();
        for (id, record) in self.durable.clone() {
            let spec = self.specs.iter().find(|s| s.id == id).expect("ours").clone();
            let task = Task::restored(longshore_plan::Outline::of(&spec), Some(spec), record);
            self.claims.sync(id, &task.held_ports());
            self.room.sync(&task);
            self.tasks.insert(id, task);
        }
        // The network finds out who has which interface from the records and the labels; the others are returned.
        let kept = self.durable.values().filter(|r| {
            r.resources.iter().any(|r| r.kind == ResourceKind::Interface && r.phase == ResourcePhase::Ready)
        });
        let recorded = kept.filter_map(|r| Some((r.interface.as_ref()?.eni.id, r.id)));
        let labelled = self.boxes.iter().filter_map(|((id, _), b)| Some((b.label.interface.as_ref()?.eni.id, *id)));
        let known: BTreeMap<EniId, TaskId> =
            recorded.chain(labelled).filter(|(eni, _)| self.interfaces.contains_key(eni)).collect();
        let lost: BTreeSet<TaskId> =
            self.interfaces.iter().filter(|(eni, _)| !known.contains_key(eni)).map(|(_, id)| *id).collect();
        self.take_interfaces(|id| lost.contains(id));
        self.answering = false;
        if cut.lose_ledger {
            // Statuses of tasks that are rebuilt begin again; the control plane keeps the highest.
            self.reported.clear();
            self.erased.iter().for_each(|key| _ = self.runs.remove(key));
        }
        self.leftovers = true;
        self.list();
        // The control plane sends its whole assignment again.
        for t in 0..self.specs.len() {
            let id = self.specs[t].id;
            if self.wanted[t].assigned {
                self.assign(t);
            } else if let Some(task) = self.tasks.get_mut(&id) {
                task.unassign(self.now);
                self.touch(id);
            }
        }
    }

    pub(crate) fn check(&self) {
        assert!((0..self.specs.len()).all(|t| self.times_are_in_order(t)), "times are out of order");
        for (key, runs) in &self.runs {
            // With a restart policy once more for each time that it ended.
            let spec = self.specs.iter().find(|spec| spec.id == key.0).expect("ours");
            let policy = spec.containers[key.1].lifecycle.restart.is_some();
            let ends = self.ends.get(key).filter(|_| policy).copied().unwrap_or(0);
            assert!(*runs <= 1 + ends, "{key:?} was started {runs} times, and ended {ends} times");
        }
        let holders: BTreeSet<&TaskId> = self.interfaces.values().collect();
        assert_eq!(holders.len(), self.interfaces.len(), "a task has two interfaces: {:?}", self.interfaces);
        let behind = |k: &Key| self.tasks.get(&k.0).is_none_or(|t| t.record.containers[k.1].phase.is_stopped());
        let runs = self.boxes.iter().filter(|(key, b)| b.state == RunState::Running && !behind(key));
        let present: BTreeSet<TaskId> = runs.map(|((task, _), _)| *task).collect();
        let outlines = || self.tasks.values().filter(|t| present.contains(&t.record.id)).map(|t| &t.outline);
        let memory: u64 = outlines().map(|outline| outline.memory_mib).sum();
        assert!(memory <= MEMORY, "tasks that run have {memory} MiB: {present:?}");
        assert!(outlines().filter(|outline| !outline.gpus.is_empty()).count() <= 1, "a GPU twice: {present:?}");
        let mut ports = BTreeMap::new();
        for (key, b) in &self.boxes {
            let network = b.label.interface.as_ref().map(|interface| interface.eni.id);
            for ((task, _), other) in &self.boxes {
                let others = other.label.interface.as_ref().map(|interface| interface.eni.id);
                assert!(*task != key.0 || others == network, "containers of task {task} are in two networks");
            }
            if b.state != RunState::Running {
                continue;
            }
            for p in &b.ports {
                let other = ports.insert(p.host_port, *key);
                let behind =
                    |k: &Key| self.tasks.get(&k.0).is_some_and(|t| t.record.containers[k.1].phase.is_stopped());
                assert!(
                    other.is_none() || behind(key) || other.as_ref().is_some_and(behind),
                    "{key:?} and {other:?} have one port"
                );
            }
        }
    }

    /// Nothing fails: everything is carried out until nothing is asked for. Hardly any time passes.
    pub(crate) fn settle(&mut self) {
        loop {
            self.list();
            let ids: Vec<TaskId> = self.tasks.keys().copied().collect();
            ids.into_iter().for_each(|id| self.pass(id));
            self.flush(usize::MAX);
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
            self.flush(usize::MAX);
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

    pub(crate) fn check_converged(&self) {
        for (spec, wanted) in self.specs.iter().zip(&self.wanted) {
            let id = spec.id;
            let boxes = self.boxes.keys().filter(|(t, _)| *t == id).count();
            match self.tasks.get(&id) {
                None => {
                    assert!(!wanted.assigned, "task {id} was forgotten while it is assigned");
                    assert_eq!(boxes, 0, "containers of a forgotten task");
                    assert!(!self.durable.contains_key(&id));
                    assert!(!self.volumes.contains(&id) && !self.cgroups.contains(&id) || !wanted.left, "leaked");
                    assert!(!self.interfaces.values().any(|holder| *holder == id), "an interface leaked");
                    assert!(!self.namespaces.contains(&id) || !wanted.left, "namespaces leaked");
                }
                Some(task) => {
                    let record = &task.record;
                    let up = record.containers.iter().filter(|c| c.phase.is_running()).count();
                    if record.ending.is_some() {
                        assert_eq!(up, 0, "{record:#?}");
                        assert_eq!(record.reached, TaskStatus::Stopped, "{record:#?}");
                        assert_eq!(boxes, 0, "{record:#?}");
                        assert!(!self.volumes.contains(&id) && !self.cgroups.contains(&id), "{record:#?}");
                        assert!(!self.namespaces.contains(&id), "{record:#?}");
                        assert!(task.held_ports().is_empty());
                        assert!(!self.interfaces.values().any(|holder| *holder == id), "{record:#?}");
                        assert!(task.report(&[]).eni.is_none_or(|eni| !eni.attached), "{record:#?}");
                    } else {
                        assert!(wanted.assigned && !wanted.stop, "{record:#?}");
                        let running = self.interfaces.iter().find(|(_, holder)| **holder == id);
                        let running = running.map(|(eni, _)| *eni).filter(|eni| self.sandboxes.contains(eni));
                        let awsvpc = spec.network_mode == NetworkMode::Awsvpc;
                        let awsvpc = awsvpc && record.place == Place::Given;
                        assert_eq!(running.is_some(), awsvpc, "{record:#?}");
                        assert_eq!(task.report(&[]).eni.map(|e| (e.id, e.attached)), running.map(|eni| (eni, true)));
                        // Others may have what it needs for good.
                        if record.place == Place::Wanted {
                            let demand = task.outline.demand();
                            let asking = Asking { task: id, accepted_at: record.accepted_at, demand: &demand };
                            let lack = self.room.ask(&asking, &self.claims, &self.policy, self.now);
                            assert!(lack.is_err(), "it fits and does not start: {record:#?} {:#?}", task.live);
                            assert!(!self.runs.contains_key(&(id, 0)), "{record:#?}");
                        } else {
                            assert_eq!(record.reached, TaskStatus::Running, "{record:#?}");
                        }
                    }
                }
            }
        }
    }
}
