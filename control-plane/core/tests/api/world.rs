//! A control plane's core on a store in memory, driven through its public interface, with agents that say what a
//! test tells them to say.

use async_trait::async_trait;
use bytes::Bytes;
use longshore_core::{
    AgentHello, Caller, Clock, Controller, Core, CoreConfig, FirstStart, JoinKey, JoinToken, OpenError, OwnerError,
    ScheduleEngine, SealingKey, SessionId,
};
use longshore_ecs_api::Operation;
use longshore_ecs_api::scheduler::SchedulerOperation;
use longshore_ecs_api::secrets::SecretsOperation;
use longshore_ecs_api::ssm::SsmOperation;
use longshore_model::{
    AccountId, AssignedTask, Attribute, ContainerReport, ContainerStatus, Generation, HealthStatus, HostFacts,
    InstanceId, NetworkBinding, Region, Resources, StopInfo, TaskId, TaskReport, TaskStatus, Timestamp,
};
use longshore_store::{Batch, CommitError, MemoryStore, ReadError, Revision, Snapshot, Store, Watch};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const ACCOUNT: &str = "123456789012";

/// A clock that tests move.
pub(crate) struct TestClock {
    millis: AtomicI64,
    /// By how much it was set.
    set: AtomicI64,
    /// Since when it goes by itself, with tokio's time.
    since: Option<tokio::time::Instant>,
    boot: AtomicU64,
}

impl Default for TestClock {
    fn default() -> Self {
        Self { millis: AtomicI64::new(1_700_000_000_000), set: AtomicI64::new(0), since: None, boot: AtomicU64::new(1) }
    }
}

impl TestClock {
    /// One that also goes by itself, with tokio's time.
    pub(crate) fn running(millis: i64) -> Arc<Self> {
        let since = Some(tokio::time::Instant::now());
        Arc::new(Self { millis: AtomicI64::new(millis), set: AtomicI64::new(0), since, boot: AtomicU64::new(1) })
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.millis.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// The wall clock is set ahead; what nobody sets goes on.
    pub(crate) fn set_ahead(&self, by: Duration) {
        self.set.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// The wall clock is set back; what nobody sets goes on.
    pub(crate) fn set_back(&self, by: Duration) {
        self.set.fetch_sub(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// The machine is booted again.
    pub(crate) fn boot_again(&self) {
        self.boot.fetch_add(1, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let gone = self.since.map(|since| since.elapsed()).unwrap_or_default();
        Timestamp::from_millis(self.millis.load(Ordering::SeqCst) + self.set.load(Ordering::SeqCst)).after(gone)
    }

    fn ticks(&self) -> Duration {
        let gone = self.since.map(|since| since.elapsed()).unwrap_or_default();
        Duration::from_millis(self.millis.load(Ordering::SeqCst).unsigned_abs()) + gone
    }

    fn boot(&self) -> u64 {
        self.boot.load(Ordering::SeqCst)
    }
}

/// What the next commits of a [`FaultyStore`] answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Full,
    /// The next one alone.
    FullOnce,
    /// Those that write a key that begins so.
    FullFor(&'static str),
    Unknown,
}

/// A store in memory whose commits can be made to fail, and to take their time.
pub(crate) struct FaultyStore {
    pub(crate) store: MemoryStore,
    pub(crate) fault: Mutex<Fault>,
    takes: Mutex<Duration>,
}

impl FaultyStore {
    pub(crate) fn new(store: MemoryStore) -> Arc<Self> {
        Arc::new(Self { store, fault: Mutex::new(Fault::None), takes: Mutex::default() })
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    /// How long each commit takes from now on.
    pub(crate) fn set_takes(&self, takes: Duration) {
        *self.takes.lock().unwrap() = takes;
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn commit(&self, batch: Batch) -> Result<Revision, CommitError> {
        let takes = *self.takes.lock().unwrap();
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        let fault = {
            let mut fault = self.fault.lock().unwrap();
            let now = *fault;
            if now == Fault::FullOnce {
                *fault = Fault::None;
            }
            now
        };
        match fault {
            Fault::None => self.store.commit(batch).await,
            Fault::FullFor(prefix) if !batch.writes().any(|(key, _)| key.starts_with(prefix.as_bytes())) => {
                self.store.commit(batch).await
            }
            Fault::Full | Fault::FullOnce | Fault::FullFor(_) => Err(CommitError::Full { source: "no space".into() }),
            Fault::Unknown => Err(CommitError::Unknown { source: "timed out".into() }),
        }
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, ReadError> {
        self.store.snapshot().await
    }

    async fn watch(&self, prefix: Bytes, after: Revision) -> Result<Box<dyn Watch>, ReadError> {
        self.store.watch(prefix, after).await
    }

    fn limits(&self) -> longshore_store::Limits {
        self.store.limits()
    }
}

/// A running core.
pub(crate) struct World {
    pub(crate) core: Core,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) store: Arc<FaultyStore>,
    shutdown: Option<oneshot::Sender<()>>,
    owner: JoinHandle<Result<(), OwnerError>>,
    controller: JoinHandle<()>,
    schedules: JoinHandle<()>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::on(FaultyStore::new(MemoryStore::new())).await
    }

    pub(crate) async fn on(store: Arc<FaultyStore>) -> Self {
        Self::with(store, Arc::new(TestClock::default()), CoreConfig::default()).await
    }

    pub(crate) async fn with(store: Arc<FaultyStore>, clock: Arc<TestClock>, config: CoreConfig) -> Self {
        Self::open(store, clock, config).await.unwrap()
    }

    pub(crate) async fn open(
        store: Arc<FaultyStore>,
        clock: Arc<TestClock>,
        config: CoreConfig,
    ) -> Result<Self, OpenError> {
        let first = FirstStart { account_id: Some(AccountId::new(ACCOUNT).unwrap()), root_access_key: None };
        let key = SealingKey::from_bytes(&[7; 32]);
        let (core, owner) =
            Core::open_with_clock(config, Arc::clone(&store) as _, key, first, Arc::clone(&clock) as _).await?;
        let (shutdown, stop) = oneshot::channel();
        let owner = tokio::spawn(owner.run(async {
            drop(stop.await);
        }));
        let controller = tokio::spawn(Controller::new(core.clone()).run(std::future::pending()));
        let schedules = tokio::spawn(ScheduleEngine::new(core.clone()).run(std::future::pending()));
        Ok(Self { core, clock, store, shutdown: Some(shutdown), owner, controller, schedules })
    }

    /// Stops the owner task and gives what it ended with.
    pub(crate) async fn stop(mut self) -> Result<(), OwnerError> {
        self.controller.abort();
        self.schedules.abort();
        drop(self.shutdown.take());
        self.owner.await.unwrap()
    }

    /// Ends what fires schedules.
    pub(crate) fn stop_schedules(&self) {
        self.schedules.abort();
    }

    /// Ends it in the middle of whatever it does, as a crash would.
    pub(crate) fn halt(&self) {
        self.controller.abort();
        self.schedules.abort();
        self.owner.abort();
    }

    /// Waits for the owner task to end by itself.
    pub(crate) async fn ended(self) -> Result<(), OwnerError> {
        let Self { owner, .. } = self;
        tokio::time::timeout(Duration::from_secs(10), owner).await.unwrap().unwrap()
    }

    /// As a restart: another process reads the same store. What the old one did not make durable is gone.
    pub(crate) async fn reopen(self) -> Self {
        self.reopen_with(CoreConfig::default()).await
    }

    /// The same with another configuration.
    pub(crate) async fn reopen_with(self, config: CoreConfig) -> Self {
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        self.halt();
        Self::with(store, clock, config).await
    }

    /// An operation in region `lab`.
    pub(crate) async fn call(&self, op: Operation, request: Value) -> Result<Value, (String, String)> {
        self.call_in("lab", op, request).await
    }

    pub(crate) async fn call_in(&self, region: &str, op: Operation, request: Value) -> Result<Value, (String, String)> {
        let body = serde_json::to_vec(&request).unwrap().into();
        let answer = self.core.call(&caller(region), op, body).await;
        let answer = answer.map_err(|error| (error.code.as_str().to_owned(), error.message))?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }

    pub(crate) async fn ok(&self, op: Operation, request: Value) -> Value {
        self.call(op, request).await.unwrap_or_else(|(code, text)| panic!("{}: {code}: {text}", op.name()))
    }

    /// The error that an operation must answer with, as `Code: text`.
    pub(crate) async fn err(&self, op: Operation, request: Value) -> String {
        match self.call(op, request).await {
            Err((code, text)) => format!("{code}: {text}"),
            Ok(answer) => panic!("{} succeeded: {answer}", op.name()),
        }
    }

    pub(crate) async fn ssm(&self, op: SsmOperation, request: Value) -> Value {
        let body = serde_json::to_vec(&request).unwrap().into();
        let answer = self.core.ssm(&caller("lab"), op, body).await.unwrap();
        serde_json::from_slice(&answer).unwrap()
    }

    /// An operation of Secrets Manager in region `lab`; the error as `Code: text`.
    pub(crate) async fn secrets(&self, op: SecretsOperation, request: Value) -> Result<Value, String> {
        let body = serde_json::to_vec(&request).unwrap().into();
        let answer = self.core.secrets(&caller("lab"), op, body).await;
        let answer = answer.map_err(|error| format!("{}: {}", error.code.as_str(), error.message))?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }

    /// An operation of EventBridge Scheduler in region `lab`; the error as `Code: text`.
    pub(crate) async fn scheduler(&self, op: SchedulerOperation, request: Value) -> Result<Value, String> {
        let body = serde_json::to_vec(&request).unwrap().into();
        let answer = self.core.scheduler(&caller("lab"), op, body).await;
        let answer = answer.map_err(|error| format!("{}: {}", error.code.as_str(), error.message))?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }

    /// A join token that any number of hosts can use.
    pub(crate) async fn token(&self, request: Value) -> JoinToken {
        let mut all = json!({"IamRole": "lab", "RegistrationLimit": 1000});
        all.as_object_mut().unwrap().extend(request.as_object().unwrap().clone());
        let answer = self.ssm(SsmOperation::CreateActivation, all).await;
        answer["ActivationCode"].as_str().unwrap().parse().unwrap()
    }

    /// A host that joined `cluster` and is connected.
    pub(crate) async fn host(&self, cluster: &str, facts: HostFacts) -> Agent {
        let token = self.token(json!({})).await;
        let cluster = Some(longshore_model::ClusterName::new(cluster).unwrap());
        let registered = self.core.register_instance(&token, cluster, facts.clone(), new_key()).await.unwrap();
        let mut agent = Agent {
            core: self.core.clone(),
            instance: registered.instance,
            arn: registered.arn,
            session: SessionId::random(),
            facts,
            versions: BTreeMap::new(),
        };
        agent.connect(Vec::new()).await;
        agent
    }

    /// Registers a definition of one container and answers its ARN.
    pub(crate) async fn definition(&self, family: &str, container: Value) -> String {
        let mut c = json!({"name": "app", "image": "busybox", "memory": 64, "cpu": 128});
        c.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        let request = json!({"family": family, "containerDefinitions": [c]});
        let answer = self.ok(Operation::RegisterTaskDefinition, request).await;
        answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned()
    }

    /// Runs a task and answers it.
    pub(crate) async fn run(&self, request: Value) -> Value {
        let answer = self.ok(Operation::RunTask, request).await;
        assert_eq!(answer["failures"], json!([]), "{answer}");
        answer["tasks"][0].clone()
    }

    /// A task as DescribeTasks shows it, in cluster `default`.
    pub(crate) async fn task(&self, id: TaskId) -> Value {
        let answer = self.ok(Operation::DescribeTasks, json!({"tasks": [id.to_string()]})).await;
        answer["tasks"][0].clone()
    }

    pub(crate) async fn cluster(&self, name: &str) {
        self.ok(Operation::CreateCluster, json!({"clusterName": name})).await;
    }
}

/// The key of a host that never joined.
pub(crate) fn new_key() -> JoinKey {
    JoinKey::of(uuid::Uuid::new_v4().as_bytes())
}

pub(crate) fn caller(region: &str) -> Caller {
    Caller {
        region: Region::new(region).unwrap(),
        account: AccountId::new(ACCOUNT).unwrap(),
        principal_arn: format!("arn:aws:iam::{ACCOUNT}:root"),
        access_key_id: "AKIATEST".to_owned(),
        endpoint: String::new(),
    }
}

/// The facts of a host that has one attribute more.
pub(crate) fn with_attribute(facts: HostFacts, name: &str, value: Option<&str>) -> HostFacts {
    let more = Attribute { name: name.to_owned(), value: value.map(str::to_owned) };
    HostFacts { attributes: facts.attributes.iter().cloned().chain([more]).collect(), ..facts }
}

/// The facts of a host that lacks one of its attributes.
pub(crate) fn without_attribute(facts: HostFacts, name: &str) -> HostFacts {
    HostFacts { attributes: facts.attributes.iter().filter(|a| a.name != name).cloned().collect(), ..facts }
}

pub(crate) fn facts(cpu_units: u32, memory_mib: u32) -> HostFacts {
    let attribute =
        |name: &str, value: Option<&str>| Attribute { name: name.to_owned(), value: value.map(str::to_owned) };
    HostFacts {
        hostname: "host-1".to_owned(),
        resources: Resources { cpu_units, memory_mib, reserved_tcp: [22, 2375].into(), ..Resources::default() },
        // Whatever definitions in tests ask for.
        attributes: [
            "com.amazonaws.ecs.capability.docker-remote-api.1.17",
            "com.amazonaws.ecs.capability.docker-remote-api.1.18",
            "com.amazonaws.ecs.capability.docker-remote-api.1.19",
            "com.amazonaws.ecs.capability.docker-remote-api.1.21",
            "com.amazonaws.ecs.capability.docker-remote-api.1.22",
            "com.amazonaws.ecs.capability.docker-remote-api.1.25",
            "ecs.capability.task-cpu-mem-limit",
            "longshore.fence",
            "ecs.capability.private-registry-authentication.secretsmanager",
            "longshore.swap-limit",
            "longshore.swappiness",
        ]
        .iter()
        .map(|name| attribute(name, None))
        .chain([attribute("ecs.os-type", Some("linux")), attribute("ecs.cpu-architecture", Some("x86_64"))])
        .collect(),
        ..HostFacts::default()
    }
}

/// The agent of one host.
pub(crate) struct Agent {
    core: Core,
    pub(crate) instance: InstanceId,
    pub(crate) arn: String,
    pub(crate) session: SessionId,
    pub(crate) facts: HostFacts,
    versions: BTreeMap<TaskId, u64>,
}

impl Agent {
    pub(crate) async fn connect(&mut self, observed: Vec<TaskReport>) {
        self.session = SessionId::random();
        let hello = AgentHello { facts: self.facts.clone(), applied: Generation(0), observed };
        self.core.agent_connected(self.instance, self.session, hello).await.unwrap();
    }

    /// Connects to another core, as after a restart of the control plane.
    pub(crate) async fn move_to(&mut self, core: &Core) {
        self.core = core.clone();
        self.connect(Vec::new()).await;
    }

    pub(crate) async fn disconnect(&self) {
        self.core.agent_disconnected(self.instance, self.session).await.unwrap();
    }

    pub(crate) fn assigned(&self) -> BTreeMap<TaskId, AssignedTask> {
        self.core.assignment(self.instance).unwrap().1
    }

    pub(crate) fn generation(&self) -> Generation {
        self.core.assignment(self.instance).unwrap().0
    }

    /// A report with the next version of that task.
    pub(crate) fn report(&mut self, task: TaskId, status: TaskStatus) -> TaskReport {
        let version = self.versions.entry(task).or_default();
        *version += 1;
        report(task, *version, status)
    }

    pub(crate) async fn say(&self, reports: Vec<TaskReport>) {
        self.core.agent_reports(self.instance, self.session, reports).await.unwrap();
    }

    /// Reports that a task is `status`.
    pub(crate) async fn is(&mut self, task: TaskId, status: TaskStatus) {
        let report = self.report(task, status);
        self.say(vec![report]).await;
    }
}

/// What an agent says of a task whose only container is `app`.
pub(crate) fn report(task: TaskId, version: u64, status: TaskStatus) -> TaskReport {
    let at = |millis: i64| Some(Timestamp::from_millis(1_700_000_000_000 + millis));
    let stopped = status == TaskStatus::Stopped;
    let running = status >= TaskStatus::Running;
    TaskReport {
        stop: stopped.then(|| StopInfo { code: None, reason: String::new() }),
        pull_started_at: at(100),
        pull_stopped_at: running.then(|| at(200)).flatten(),
        started_at: running.then(|| at(300)).flatten(),
        execution_stopped_at: stopped.then(|| at(400)).flatten(),
        stopped_at: stopped.then(|| at(500)).flatten(),
        containers: vec![ContainerReport {
            name: longshore_model::ContainerName::new("app").unwrap(),
            status: match (running, stopped) {
                (_, true) => ContainerStatus::Stopped,
                (true, false) => ContainerStatus::Running,
                (false, false) => ContainerStatus::Pending,
            },
            runtime_id: running.then(|| "0123abcd".to_owned()),
            image_digest: None,
            exit_code: stopped.then_some(0),
            reason: None,
            bindings: if running && !stopped {
                vec![NetworkBinding {
                    bind_ip: "0.0.0.0".to_owned(),
                    container_port: 80,
                    host_port: 8080,
                    protocol: longshore_model::Protocol::Tcp,
                    count: 1,
                }]
            } else {
                Vec::new()
            },
            health: HealthStatus::Unknown,
            has_check: false,
            restart_count: 0,
            warnings: Vec::new(),
        }],
        ..TaskReport::new(task, version, status)
    }
}

/// The id at the end of a task's ARN.
pub(crate) fn task_id(task: &Value) -> TaskId {
    id_of(task["taskArn"].as_str().unwrap())
}

pub(crate) fn id_of(arn: &str) -> TaskId {
    arn.rsplit('/').next().unwrap().parse().unwrap()
}

/// Waits until `check` holds.
pub(crate) async fn until(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !check() {
        assert!(tokio::time::Instant::now() < deadline, "timed out waiting until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
