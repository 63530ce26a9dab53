//! Random sequences of commands. After each one: nothing is overcommitted, indexes and sums are what the records
//! say, nothing final is undone; and what a store would hold gives the same state again.

mod network;

use crate::agent::{AgentHello, JoinKey, SessionId, Unavailable};
use crate::change::Change;
use crate::command::{Command, Effects, Tx};
use crate::commands::{
    Connect, CreateActivation, CreateCluster, DeleteCluster, DeleteDefinitions, DeregisterDefinition,
    DeregisterInstance, Disconnect, Join, Launch, NewTask, PlaceTasks, RegisterDefinition, Report, SetInstancesStatus,
    StopTask, Sweep, Target, plan,
};
use crate::needs::needs;
use crate::records::{Activation, DefinitionKey, FamilyKey, ImagePins, PinKey, Stop, Tags, Task};
use crate::state::{Grave, NetworkView, State, TaskSet, Touched};
use crate::token::JoinToken;
use longshore_ecs_api::enums::{LaunchType, NetworkMode, ResourceType, TransportProtocol};
use longshore_ecs_api::types::{ContainerDefinition, PortMapping, ResourceRequirement, TaskDefinition};
use longshore_model::{
    AccountId, ClusterKey, ClusterName, ContainerName, ContainerReport, ContainerStatus, DesiredStatus, Generation,
    HealthStatus, HostFacts, InstanceId, NetworkState, Region, Resources, TaskId, TaskReport, TaskStatus, Timestamp,
};
use longshore_sched::{Constraint, Packed, Request, SpreadOver, Strategy as Placing, Usage};
use longshore_store::Write;
use network::NetworkStep;
use proptest::prelude::{Strategy, any, prop, prop_oneof, proptest};
use proptest::test_runner::{Config, TestCaseError};
use proptest::{prop_assert, prop_assert_eq};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

const HEALTHY_AFTER: std::time::Duration = std::time::Duration::from_secs(40);
const RETENTION: Duration = Duration::from_secs(3600);

/// What may happen. Numbers choose among what there is at the time.
#[derive(Debug, Clone)]
enum Step {
    CreateCluster(u8),
    DeleteCluster(u8),
    Register {
        family: u8,
        kind: u8,
    },
    Deregister(u8),
    Delete(u8),
    Join {
        cluster: u8,
        cpu: u32,
        gpus: u8,
    },
    Connect {
        host: u8,
        observed: Vec<(u8, u8, u8)>,
    },
    Disconnect(u8),
    Drain {
        host: u8,
        draining: bool,
    },
    Leave {
        host: u8,
        force: bool,
    },
    /// `age`: placed with a plan that is that many commands old.
    Run {
        cluster: u8,
        definition: u8,
        count: u32,
        how: u8,
        age: u8,
    },
    Start {
        host: u8,
        definition: u8,
    },
    Stop(u8),
    Report {
        host: u8,
        reports: Vec<(u8, u8, u8)>,
    },
    Later {
        secs: u16,
    },
    Network(NetworkStep),
    /// The deployment goes on, or is over.
    Hold(bool),
}

/// What a deployment does at its beginning and its end.
struct Hold(bool);

impl Command for Hold {
    const NAME: &'static str = "Hold";
    type Reply = ();
    type Error = Unavailable;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), Unavailable> {
        let key = deployment();
        let known = tx.state().pins(&key).map(|pins| pins.digests.clone()).unwrap_or_default();
        tx.change(Change::Pins(Arc::new(ImagePins { key, digests: known, held: self.0 })));
        Ok(())
    }
}

fn deployment() -> PinKey {
    PinKey::new("deployment")
}

fn step() -> impl Strategy<Value = Step> {
    let reports = || prop::collection::vec((any::<u8>(), any::<u8>(), 0..8u8), 0..6);
    prop_oneof![
        2 => (0..3u8).prop_map(Step::CreateCluster),
        1 => (0..3u8).prop_map(Step::DeleteCluster),
        3 => (0..3u8, 0..6u8).prop_map(|(family, kind)| Step::Register { family, kind }),
        1 => any::<u8>().prop_map(Step::Deregister),
        2 => any::<u8>().prop_map(Step::Delete),
        4 => (0..3u8, 1..4096u32, 0..3u8).prop_map(|(cluster, cpu, gpus)| Step::Join { cluster, cpu, gpus }),
        5 => (any::<u8>(), reports()).prop_map(|(host, observed)| Step::Connect { host, observed }),
        1 => any::<u8>().prop_map(Step::Disconnect),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(host, draining)| Step::Drain { host, draining }),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(host, force)| Step::Leave { host, force }),
        12 => (0..3u8, any::<u8>(), 1..11u32, 0..6u8, 0..4u8).prop_map(|(cluster, definition, count, how, age)| {
            Step::Run { cluster, definition, count, how, age }
        }),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(host, definition)| Step::Start { host, definition }),
        4 => any::<u8>().prop_map(Step::Stop),
        8 => (any::<u8>(), reports()).prop_map(|(host, reports)| Step::Report { host, reports }),
        3 => any::<u16>().prop_map(|secs| Step::Later { secs }),
        12 => network::step().prop_map(Step::Network),
        1 => any::<bool>().prop_map(Step::Hold),
    ]
}

/// A state, the store beside it, and states of the past.
struct Lab {
    state: State,
    store: BTreeMap<String, Vec<u8>>,
    past: Vec<State>,
    now: Timestamp,
    revision: u64,
    token: JoinToken,
    sessions: HashMap<InstanceId, SessionId>,
    process: uuid::Uuid,
    /// What sessions saw of the network last, and what their agents know of it.
    told: BTreeMap<InstanceId, (NetworkView, NetworkState)>,
    /// What tasks were last, to see that nothing final is undone.
    seen: HashMap<TaskId, (TaskStatus, DesiredStatus, u64)>,
}

impl Lab {
    fn new() -> Self {
        let token = JoinToken::random([0; 32]);
        let mut lab = Self {
            state: State::default(),
            store: BTreeMap::new(),
            past: Vec::new(),
            now: Timestamp::from_millis(1_000_000),
            revision: 0,
            token: token.clone(),
            sessions: HashMap::new(),
            process: uuid::Uuid::new_v4(),
            told: BTreeMap::new(),
            seen: HashMap::new(),
        };
        let done = lab.run(CreateActivation(Activation {
            id: token.activation.clone(),
            region: region(),
            token_hash: token.hash(),
            cluster: None,
            limit: u32::MAX,
            used: 0,
            expires_at: Timestamp::from_millis(i64::MAX),
            created_at: lab.now,
            description: None,
            default_instance_name: None,
            iam_role: None,
            tags: Tags::new(),
        }));
        assert!(done.is_ok());
        lab.make_network();
        // Something to work with, so that most steps find what they need.
        for n in 0..2 {
            lab.step(Step::CreateCluster(n));
            lab.step(Step::Join { cluster: n, cpu: 2048, gpus: n });
            lab.step(Step::Join { cluster: n, cpu: 1024, gpus: 1 });
        }
        (0..6).for_each(|kind| lab.step(Step::Register { family: kind % 3, kind }));
        (0..4).for_each(|host| lab.step(Step::Connect { host, observed: Vec::new() }));
        lab
    }

    /// Does a command as the owner task does: all of it or nothing, to the state and to the store.
    fn run<C: Command>(&mut self, command: C) -> Result<C::Reply, C::Error> {
        let mut state = self.state.clone();
        let mut effects = Effects::default();
        let result = command.apply(&mut Tx::new(self.now, &mut state, &mut effects));
        if result.is_ok() {
            let writes: Vec<_> = effects.changes.iter().filter_map(Change::to_store).collect();
            let kept = !writes.is_empty();
            for (key, write) in writes {
                match write {
                    Write::Put(value) => drop(self.store.insert(key, value.to_vec())),
                    Write::Delete => drop(self.store.remove(&key)),
                }
            }
            if kept {
                self.revision += 1;
                state.commit(Generation(self.revision), &effects.touched);
            }
            self.past.push(std::mem::replace(&mut self.state, state));
        }
        result
    }

    fn hosts(&self) -> Vec<InstanceId> {
        let mut all: Vec<_> = self.state.clusters().flat_map(|c| c.hosts.keys().copied()).collect();
        all.sort();
        all
    }

    fn host(&self, n: u8) -> Option<InstanceId> {
        pick(&self.hosts(), n)
    }

    fn cluster_of(&self, host: InstanceId) -> ClusterKey {
        self.state.host(host).expect("hosts come from the state").record.cluster.clone()
    }

    fn definition(&self, n: u8) -> Option<DefinitionKey> {
        let first = FamilyKey { region: region(), family: "".into() };
        let all: Vec<_> = self
            .state
            .families_from(&first)
            .flat_map(|(_, family)| family.revisions.values().map(|d| d.key.clone()))
            .collect();
        pick(&all, n)
    }

    fn task(&self, n: u8) -> Option<Arc<Task>> {
        let mut all: Vec<_> = self.state.tasks.values().cloned().collect();
        all.sort_by_key(|task| task.id);
        pick(&all, n)
    }

    fn reports(&self, reports: &[(u8, u8, u8)]) -> Vec<TaskReport> {
        let report = |(task, version, status): &(u8, u8, u8)| {
            let task = self.task(*task)?;
            let mut report = report(task.id, (*version).into(), TaskStatus::ALL[usize::from(*status)]);
            let digest = || format!("sha256:{:064x}", version % 4);
            report.containers[0].image_digest = (version % 4 > 0).then(digest);
            report.containers[0].runtime_id = (version % 8 > 1).then(|| "c0ffee".to_owned());
            Some(TaskReport { eni: self.eni(&task, *version), ..report })
        };
        reports.iter().filter_map(report).collect()
    }

    fn launch(&self, cluster: ClusterKey, key: DefinitionKey, count: u32, how: u8, target: Target) -> Option<Launch> {
        let definition = self.state.definition(&key)?;
        let needs = needs(&definition.body, None).expect("small numbers add up");
        let containers = definition.body.container_definitions.as_ref().map_or(0, Vec::len);
        let (constraints, strategies) = match how {
            0 => (vec![Constraint::DistinctInstance], Vec::new()),
            1 => (Vec::new(), vec![Placing::Spread(SpreadOver::Instance)]),
            2 => (Vec::new(), vec![Placing::BinPack(Packed::Memory)]),
            3 => (vec![Constraint::DistinctInstance], vec![Placing::BinPack(Packed::Cpu)]),
            _ => (Vec::new(), Vec::new()),
        };
        Some(Launch {
            execute_command: false,
            cluster,
            definition: key.clone(),
            overrides: None,
            started_by: how.is_multiple_of(2).then(|| format!("by-{how}").into()),
            launch_type: if how == 4 { LaunchType::External } else { LaunchType::Ec2 },
            tags: Tags::new(),
            ids: (0..count).map(|_| NewTask::random(containers)).collect(),
            // Of one or of several, as a request's are; some of a deployment, which come again.
            pins: match how {
                1 | 2 => Some(PinKey::new(format!("run/{}", self.revision))),
                3 => Some(deployment()),
                _ => None,
            },
            pull_only: false,
            fence: None,
            pools: Vec::new(),
            interfaces: self.interfaces(definition, how),
            gpus: needs.gpus,
            request: Request {
                count,
                claim: needs.claim,
                required: Vec::new(),
                constraints,
                strategies,
                group: format!("family:{}", key.family),
                leaving: BTreeMap::new(),
                seed: u64::from(how) + self.revision,
            },
            target,
            token: None,
        })
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::CreateCluster(n) => drop(self.run(CreateCluster {
                key: cluster(n),
                settings: Vec::new(),
                configuration: None,
                service_connect_defaults: None,
                tags: Tags::new(),
                capacity_providers: Vec::new(),
                default_strategy: Vec::new(),
            })),
            Step::DeleteCluster(n) => drop(self.run(DeleteCluster { key: cluster(n) })),
            Step::Register { family, kind } => drop(self.run(RegisterDefinition {
                family: FamilyKey { region: region(), family: format!("f{family}").into() },
                body: definition(kind),
                registered_by: String::new(),
                tags: Tags::new(),
            })),
            Step::Deregister(n) => {
                if let Some(key) = self.definition(n) {
                    drop(self.run(DeregisterDefinition { key }));
                }
            }
            Step::Delete(n) => {
                if let Some(key) = self.definition(n) {
                    drop(self.run(DeregisterDefinition { key: key.clone() }));
                    drop(self.run(DeleteDefinitions { keys: vec![key] }));
                }
            }
            // Some come again with the key of another: they are that one.
            Step::Join { cluster: n, cpu, gpus } => drop(self.run(Join {
                key: JoinKey::of(&(cpu / 512).to_be_bytes()),
                account: AccountId::new("000000000001").expect("12 digits"),
                token: self.token.clone(),
                cluster: Some(cluster(n).name),
                facts: network::facts(facts(cpu, gpus), cpu),
                instance: InstanceId::random(),
            })),
            Step::Connect { host, observed } => {
                if let Some(instance) = self.host(host) {
                    let session = SessionId::random();
                    let facts = self.state.host(instance).expect("it is there").record.facts.clone();
                    let reports = self.reports(&observed);
                    let enis = reports.iter().filter_map(|report| report.eni.as_ref());
                    let attached = enis.filter(|eni| eni.attached).map(|eni| eni.id).collect();
                    let hello = AgentHello { facts, applied: Generation(0), observed: reports };
                    if self
                        .run(Connect {
                            instance,
                            session,
                            process: self.process,
                            hello,
                            attached,
                            healthy_after: HEALTHY_AFTER,
                        })
                        .is_ok()
                    {
                        self.sessions.insert(instance, session);
                    }
                }
            }
            Step::Disconnect(n) => {
                if let Some(instance) = self.host(n)
                    && let Some(session) = self.sessions.get(&instance).copied()
                {
                    drop(self.run(Disconnect { instance, session }));
                }
            }
            Step::Drain { host, draining } => {
                if let Some(instance) = self.host(host) {
                    let cluster = self.cluster_of(instance);
                    drop(self.run(SetInstancesStatus { cluster, instances: vec![instance], draining }));
                }
            }
            Step::Leave { host, force } => {
                if let Some(instance) = self.host(host) {
                    let cluster = self.cluster_of(instance);
                    drop(self.run(DeregisterInstance { cluster, instance, force }));
                }
            }
            Step::Run { cluster: n, definition, count, how, age } => {
                let Some(key) = self.definition(definition) else { return };
                let Some(launch) = self.launch(cluster(n), key, count, how, Target::Cluster) else { return };
                let launch = Arc::new(launch);
                let seen = match age {
                    0 => None,
                    _ => self.past.len().checked_sub(usize::from(age)).map(|at| &self.past[at]),
                };
                let planned = plan(seen.unwrap_or(&self.state), &launch).ok();
                if self.run(PlaceTasks { launch: Arc::clone(&launch), plan: planned }).is_err() {
                    drop(self.run(PlaceTasks { launch, plan: None }));
                }
            }
            Step::Start { host, definition } => {
                let (Some(instance), Some(key)) = (self.host(host), self.definition(definition)) else { return };
                let target = Target::Instances(vec![instance]);
                let Some(launch) = self.launch(self.cluster_of(instance), key, 1, 5, target) else { return };
                drop(self.run(PlaceTasks { launch: Arc::new(launch), plan: None }));
            }
            Step::Stop(n) => {
                if let Some(task) = self.task(n) {
                    let stop = Stop::by_user(None);
                    drop(self.run(StopTask { cluster: task.cluster.clone(), task: task.id, stop }));
                }
            }
            Step::Report { host, reports } => {
                if let Some(instance) = self.host(host)
                    && let Some(session) = self.sessions.get(&instance).copied()
                {
                    let reports = self.reports(&reports);
                    drop(self.run(Report { instance, session, reports, first: false, healthy_after: HEALTHY_AFTER }));
                }
            }
            Step::Network(step) => self.network_step(step),
            Step::Hold(goes_on) => drop(self.run(Hold(goes_on))),
            Step::Later { secs } => {
                self.now = self.now.after(Duration::from_secs(secs.into()));
                let due = Sweep::find(&self.state, self.now, RETENTION);
                drop(self.run(Sweep { due }));
            }
        }
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        self.check_hosts()?;
        self.check_network()?;
        self.check_pins()?;
        self.check_nothing_is_undone()
    }

    /// That a start would find the same.
    fn check_store(&self) -> Result<(), TestCaseError> {
        same(&self.state, &reload(&self.store))
    }

    /// Sums by hand, and that no host has more on it than it offers.
    fn check_hosts(&self) -> Result<(), TestCaseError> {
        for cluster in self.state.clusters() {
            let of_cluster = |task: &&Arc<Task>| task.cluster == cluster.record.key && task.is_live();
            let live = self.state.tasks.values().filter(of_cluster).count();
            prop_assert_eq!(cluster.live_tasks() as usize, live);
            let registered = cluster.hosts.values().filter(|h| h.record.status.is_registered()).count();
            prop_assert_eq!(cluster.registered as usize, registered);
            for host in cluster.hosts.values() {
                let tasks: Vec<_> =
                    self.state.tasks.values().filter(|t| t.instance == host.id() && t.is_live()).collect();
                prop_assert_eq!(&host.live, &tasks.iter().map(|t| t.id).collect::<BTreeSet<_>>());
                let mut usage = Usage::default();
                tasks.iter().for_each(|task| task.take(&mut usage));
                prop_assert_eq!(&host.view.usage, &usage);
                prop_assert!(usage.cpu_units() <= host.view.offer.cpu_units.into());
                prop_assert!(usage.memory_mib() <= host.view.offer.memory_mib.into());
                for ports in [usage.tcp(), usage.udp()] {
                    prop_assert!(ports.windows(2).all(|pair| pair[0] != pair[1]), "a port twice: {:?}", ports);
                }
                prop_assert!(usage.gpu_ids().windows(2).all(|pair| pair[0] != pair[1]), "a GPU twice");
                let running = tasks.iter().filter(|t| t.status >= TaskStatus::Running).count();
                prop_assert_eq!(host.view.running_tasks as usize, running);
                prop_assert_eq!((host.view.running_tasks + host.view.pending_tasks) as usize, tasks.len());
                prop_assert!(host.record.status.is_registered() || tasks.is_empty());
                prop_assert!(host.generation <= self.state.revision());
            }
        }
        for task in self.state.tasks.values() {
            prop_assert!(self.state.definition(&task.definition).is_some(), "its definition was deleted");
            prop_assert!(!task.is_live() || self.state.host(task.instance).is_some());
            prop_assert_eq!(task.is_live(), task.over_at.is_none());
            for set in TaskSet::of(task) {
                let listed = |desired| self.state.task_set(&set, desired).is_some_and(|ids| ids.contains(&task.id));
                prop_assert!(listed(task.desired));
                let other = match task.desired {
                    DesiredStatus::Running => DesiredStatus::Stopped,
                    DesiredStatus::Stopped => DesiredStatus::Running,
                };
                prop_assert!(!listed(other));
            }
        }
        Ok(())
    }

    /// A digest that became known stays as long as anything refers to it, and reaches who waits for it.
    fn check_pins(&self) -> Result<(), TestCaseError> {
        let app = ContainerName::new("app").expect("a name");
        let digest = |state: &State, key: &PinKey| state.pins(key).and_then(|pins| pins.digests.get(&app).cloned());
        let live = |state: &State, key: &PinKey| state.tasks.values().any(|task| task.live_pins() == Some(key));
        let run = (0..=self.revision).map(|n| PinKey::new(format!("run/{n}")));
        for key in run.chain([deployment()]) {
            let Some(pins) = self.state.pins(&key) else { continue };
            prop_assert_eq!(self.state.are_idle(&key), !pins.held && !live(&self.state, &key), "{}", key);
        }
        let Some(before) = self.past.last() else { return Ok(()) };
        for task in self.state.tasks.values() {
            let Some(key) = &task.pins else { continue };
            let (was, is) = (digest(before, key), digest(&self.state, key));
            let used = live(before, key) && live(&self.state, key);
            prop_assert!(!used || was.is_none() || was == is, "{}: {:?}, then {:?}", key, was, is);
            let generation = |state: &State| state.host(task.instance).map(|host| host.generation);
            if task.awaits_image(&app) && was != is && is.is_some() && before.task(task.id).is_some() {
                prop_assert!(generation(&self.state) > generation(before), "{} is not told", task.id);
            }
        }
        Ok(())
    }

    fn check_nothing_is_undone(&mut self) -> Result<(), TestCaseError> {
        for task in self.state.tasks.values() {
            if let Some((status, desired, version)) = self.seen.get(&task.id) {
                prop_assert!(task.status >= *status && task.desired >= *desired && task.version >= *version);
            }
            self.seen.insert(task.id, (task.status, task.desired, task.version));
        }
        if let Some(before) = self.past.last() {
            for host in before.clusters().flat_map(|c| c.hosts.values()) {
                let after = self.state.host(host.id());
                prop_assert!(after.is_none_or(|after| after.generation >= host.generation));
                // What the agent should run changes only under a higher number.
                if let Some(after) = after.filter(|after| after.generation == host.generation) {
                    prop_assert_eq!(wanted(before, &host.live), wanted(&self.state, &after.live));
                }
            }
        }
        Ok(())
    }
}

fn wanted(state: &State, live: &BTreeSet<TaskId>) -> Vec<(TaskId, DesiredStatus)> {
    live.iter().filter_map(|id| Some((*id, state.task(*id)?.desired))).collect()
}

/// As at start: every record, in the order of ranks.
fn reload(store: &BTreeMap<String, Vec<u8>>) -> State {
    let mut changes: Vec<Change> = store
        .iter()
        .filter_map(|(key, value)| Change::from_store(key.as_bytes(), value).expect("written by this version"))
        .collect();
    changes.sort_by_key(Change::rank);
    let mut state = State::default();
    changes.iter().for_each(|change| state.apply(change, &mut Touched::default()));
    state
}

/// Everything but revisions and epochs, which are not kept.
fn same(a: &State, b: &State) -> Result<(), TestCaseError> {
    prop_assert_eq!(&a.account, &b.account);
    prop_assert_eq!(&a.access_keys, &b.access_keys);
    prop_assert_eq!(&a.settings, &b.settings);
    prop_assert_eq!(&a.activations, &b.activations);
    prop_assert_eq!(&a.activation_regions, &b.activation_regions);
    prop_assert_eq!(&a.instance_clusters, &b.instance_clusters);
    prop_assert_eq!(&a.joins, &b.joins);
    prop_assert_eq!(&a.families, &b.families);
    prop_assert_eq!(&a.definition_users, &b.definition_users);
    prop_assert_eq!(&a.doomed_definitions, &b.doomed_definitions);
    prop_assert_eq!(&a.tasks, &b.tasks);
    prop_assert_eq!(&a.pins, &b.pins);
    prop_assert_eq!(&a.task_sets, &b.task_sets);
    prop_assert_eq!(&a.client_tokens, &b.client_tokens);
    prop_assert_eq!(&a.graves, &b.graves);
    prop_assert_eq!(&a.networking, &b.networking);
    prop_assert_eq!(a.clusters.len(), b.clusters.len());
    for ((key, a), (other, b)) in a.clusters.iter().zip(&b.clusters) {
        prop_assert_eq!((key, &a.record), (other, &b.record));
        prop_assert_eq!((a.registered, a.running, a.pending), (b.registered, b.running, b.pending));
        prop_assert_eq!(a.hosts.len(), b.hosts.len());
        for (a, b) in a.hosts.values().zip(b.hosts.values()) {
            prop_assert_eq!((&a.record, &a.live, &a.view.usage), (&b.record, &b.live, &b.view.usage));
            prop_assert_eq!((&a.leases, &a.groups), (&b.leases, &b.groups));
            prop_assert_eq!((a.view.status, a.view.connected), (b.view.status, b.view.connected));
            prop_assert_eq!(&a.view.offer, &b.view.offer);
            prop_assert_eq!((a.view.running_tasks, a.view.pending_tasks), (b.view.running_tasks, b.view.pending_tasks));
        }
    }
    Ok(())
}

fn pick<T: Clone>(all: &[T], n: u8) -> Option<T> {
    (!all.is_empty()).then(|| all[usize::from(n) % all.len()].clone())
}

fn region() -> Region {
    Region::new("lab").expect("a name")
}

fn cluster(n: u8) -> ClusterKey {
    let name = if n == 0 { "default".to_owned() } else { format!("c{n}") };
    ClusterKey { region: region(), name: ClusterName::new(name).expect("a name") }
}

fn facts(cpu_units: u32, gpus: u8) -> HostFacts {
    let gpu_ids = (0..gpus).map(|n| format!("gpu-{n}")).collect();
    HostFacts {
        resources: Resources { cpu_units, memory_mib: 1000, gpu_ids, ..Resources::default() },
        ..HostFacts::default()
    }
}

/// Small and large, with fixed ports of either protocol, with a GPU, with an interface.
fn definition(kind: u8) -> TaskDefinition {
    let port = |host_port, protocol| PortMapping {
        container_port: Some(80),
        host_port: Some(host_port),
        protocol: Some(protocol),
        ..PortMapping::default()
    };
    let gpu = ResourceRequirement {
        r#type: Some(ResourceType::Gpu),
        value: Some("1".to_owned()),
        ..ResourceRequirement::default()
    };
    let app = ContainerDefinition {
        name: Some("app".to_owned()),
        image: Some("busybox".to_owned()),
        cpu: Some(if kind == 1 { 900 } else { 100 }),
        memory: Some(50),
        port_mappings: match kind {
            2 => Some(vec![port(8080, TransportProtocol::Tcp)]),
            3 => Some(vec![port(8080, TransportProtocol::Udp), port(53, TransportProtocol::Udp)]),
            _ => None,
        },
        resource_requirements: (kind == 4).then(|| vec![gpu]),
        ..ContainerDefinition::default()
    };
    TaskDefinition {
        container_definitions: Some(vec![app]),
        network_mode: Some(if kind == 5 { NetworkMode::Awsvpc } else { NetworkMode::Bridge }),
        ..TaskDefinition::default()
    }
}

fn report(task: TaskId, version: u64, status: TaskStatus) -> TaskReport {
    TaskReport {
        task,
        version,
        status,
        stop: None,
        waiting_for: None,
        pull_started_at: None,
        pull_stopped_at: None,
        started_at: None,
        stopping_at: None,
        execution_stopped_at: None,
        stopped_at: None,
        eni: None,
        containers: vec![ContainerReport {
            name: ContainerName::new("app").expect("a name"),
            status: ContainerStatus::Pending,
            runtime_id: None,
            image_digest: None,
            exit_code: None,
            reason: None,
            bindings: Vec::new(),
            health: HealthStatus::Unknown,
            has_check: false,
            restart_count: 0,
            warnings: Vec::new(),
        }],
    }
}

proptest! {
    #![proptest_config(Config { cases: 64, ..Config::default() })]

    #[test]
    fn whatever_happens_the_state_is_right(steps in prop::collection::vec(step(), 1..80)) {
        let mut lab = Lab::new();
        for (nth, step) in steps.into_iter().enumerate() {
            lab.step(step);
            lab.check()?;
            if nth % 10 == 0 {
                lab.check_store()?;
            }
        }
        lab.check_store()?;
    }
}

#[test]
fn random_steps_do_reach_everything() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut tasks, mut stopped, mut inactive, mut forgotten) = (0, 0, 0, 0);
    let (mut pinned, mut told) = (0, 0);
    for _ in 0..60 {
        let steps = prop::collection::vec(step(), 100).new_tree(&mut runner).expect("steps").current();
        let mut lab = Lab::new();
        for step in steps {
            lab.step(step);
            lab.check().expect("holds");
            let awaits = |t: &&Arc<Task>| t.reported.is_empty() && t.is_live();
            let known = |t: &Arc<Task>| t.pins.as_ref().and_then(|key| lab.state.pins(key)).is_some();
            told += lab.state.tasks.values().filter(awaits).filter(|t| known(t)).count();
            pinned += usize::from(lab.state.pins(&deployment()).is_some_and(|pins| !pins.digests.is_empty()));
        }
        lab.check_store().expect("holds");
        tasks += lab.seen.len();
        stopped += lab.seen.values().filter(|(status, ..)| *status == TaskStatus::Stopped).count();
        forgotten += lab.seen.keys().filter(|id| lab.state.task(**id).is_none()).count();
        inactive += lab.state.graves().filter(|(_, grave)| matches!(grave, Grave::Instance(_))).count();
    }
    assert!(pinned > 100 && told > 20, "{pinned} {told}");
    assert!(tasks > 200 && stopped > 20 && forgotten > 5 && inactive > 2, "{tasks} {stopped} {forgotten} {inactive}");
}
