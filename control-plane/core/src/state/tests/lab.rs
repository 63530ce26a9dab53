//! A state with a store beside it, and how each step is done to both.

use super::network;
use super::services::{Deciding, Figures, ServiceStep};
use super::things::{cluster, definition, facts, pick, region, report};
use super::{HEALTHY_AFTER, Hold, RETENTION, Step, deployment};
use crate::agent::{AgentHello, JoinKey, SessionId};
use crate::change::Change;
use crate::clock::Tick;
use crate::command::{Command, Effects, Tx};
use crate::commands::{
    Connect, CreateActivation, CreateCluster, DeleteCluster, DeleteDefinitions, DeregisterDefinition,
    DeregisterInstance, Disconnect, Join, Launch, NewTask, PlaceTasks, RegisterDefinition, Report, SetInstancesStatus,
    StopTask, Sweep, Target, plan,
};
use crate::needs::needs;
use crate::records::{Activation, DefinitionKey, FamilyKey, PinKey, ServiceEvent, Stop, Tags, Task};
use crate::state::{NetworkView, State, Touched};
use crate::token::JoinToken;
use longshore_ecs_api::enums::LaunchType;
use longshore_model::{
    AccountId, ClusterKey, DesiredStatus, Generation, InstanceId, NetworkState, TaskId, TaskReport, TaskStatus,
    Timestamp,
};
use longshore_sched::{Constraint, Packed, Request, SpreadOver, Strategy as Placing};
use longshore_store::Write;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// A state, the store beside it, and states of the past.
pub(super) struct Lab {
    pub(super) state: State,
    pub(super) store: BTreeMap<String, Vec<u8>>,
    pub(super) past: Vec<State>,
    /// How many of those there were when it was checked last.
    checked: usize,
    pub(super) now: Timestamp,
    pub(super) revision: u64,
    pub(super) token: JoinToken,
    pub(super) sessions: HashMap<InstanceId, SessionId>,
    pub(super) process: uuid::Uuid,
    /// What sessions saw of the network last, and what their agents know of it.
    pub(super) told: BTreeMap<InstanceId, (NetworkView, NetworkState)>,
    /// What tasks were last, to see that nothing final is undone.
    pub(super) seen: HashMap<TaskId, (TaskStatus, DesiredStatus, u64)>,
    pub(super) deciding: Deciding,
    /// Whom the last command concerned.
    pub(super) touched: Touched,
    /// The messages of services that it made.
    pub(super) said: Vec<Arc<ServiceEvent>>,
    pub(super) figures: Figures,
}

impl Lab {
    pub(super) fn new() -> Self {
        let token = JoinToken::random([0; 32]);
        let mut lab = Self {
            state: State::default(),
            store: BTreeMap::new(),
            past: Vec::new(),
            checked: 0,
            now: Timestamp::from_millis(1_000_000),
            revision: 0,
            token: token.clone(),
            sessions: HashMap::new(),
            process: uuid::Uuid::new_v4(),
            told: BTreeMap::new(),
            seen: HashMap::new(),
            deciding: Deciding::default(),
            touched: Touched::default(),
            said: Vec::new(),
            figures: Figures::default(),
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
        for name in 0..2 {
            let create = ServiceStep::Create { cluster: name, name, definition: 0, kind: name, desired: 3 };
            lab.step(Step::Service(create));
        }
        lab
    }

    /// Does a command as the owner task does: all of it or nothing, to the state and to the store.
    pub(super) fn run<C: Command>(&mut self, command: C) -> Result<C::Reply, C::Error> {
        let mut state = self.state.clone();
        let mut effects = Effects::default();
        let tick = Tick { boot: 1, millis: self.now.millis().unsigned_abs() };
        let result = command.apply(&mut Tx::new((self.now, tick), &mut state, &mut effects));
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
            self.touched = effects.touched;
            let said = |change| match change {
                Change::ServiceEvent(event) => Some(event),
                _ => None,
            };
            self.said = effects.changes.into_iter().filter_map(said).collect();
        }
        result
    }

    /// Whether a command was carried out since this was asked last. Many steps ask for what cannot be: there is nothing
    /// new to check after those.
    pub(super) fn has_moved(&mut self) -> bool {
        std::mem::replace(&mut self.checked, self.past.len()) != self.past.len()
    }

    pub(super) fn hosts(&self) -> Vec<InstanceId> {
        let mut all: Vec<_> = self.state.clusters().flat_map(|c| c.hosts.keys().copied()).collect();
        all.sort();
        all
    }

    pub(super) fn host(&self, n: u8) -> Option<InstanceId> {
        pick(&self.hosts(), n)
    }

    pub(super) fn cluster_of(&self, host: InstanceId) -> ClusterKey {
        self.state.host(host).expect("hosts come from the state").record.cluster.clone()
    }

    pub(super) fn definition(&self, n: u8) -> Option<DefinitionKey> {
        let first = FamilyKey { region: region(), family: "".into() };
        let all: Vec<_> = self
            .state
            .families_from(&first)
            .flat_map(|(_, family)| family.revisions.values().map(|d| d.key.clone()))
            .collect();
        pick(&all, n)
    }

    pub(super) fn task(&self, n: u8) -> Option<Arc<Task>> {
        let mut all: Vec<_> = self.state.tasks.values().cloned().collect();
        all.sort_by_key(|task| task.id);
        pick(&all, n)
    }

    pub(super) fn reports(&self, reports: &[(u8, u8, u8)]) -> Vec<TaskReport> {
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

    pub(super) fn launch(
        &self,
        cluster: ClusterKey,
        key: DefinitionKey,
        count: u32,
        how: u8,
        target: Target,
    ) -> Option<Launch> {
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
                kept: Arc::default(),
                seed: u64::from(how) + self.revision,
            },
            target,
            token: None,
        })
    }

    pub(super) fn step(&mut self, step: Step) {
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
            Step::Service(step) => self.service_step(step),
            Step::Hold(goes_on) => drop(self.run(Hold(goes_on))),
            Step::Later { secs } => {
                self.now = self.now.after(Duration::from_secs(secs.into()));
                let due = Sweep::find(&self.state, self.now, RETENTION);
                drop(self.run(Sweep { due }));
            }
        }
    }
}
