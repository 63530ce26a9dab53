//! A control plane in this process: the real core on a store in memory, the real agent port.

use longshore_control::agents::{self, AgentsConfig};
use longshore_control::pki::{Authority, ServerCertificate};
use longshore_core::{Caller, Clock, Core, CoreConfig, FirstStart, JoinToken, SealingKey};
use longshore_ecs_api::Operation;
use longshore_ecs_api::ssm::SsmOperation;
use longshore_model::{AccountId, InstanceId, Region, Timestamp};
use longshore_store::MemoryStore;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A clock that tests move.
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn ticks(&self) -> Duration {
        static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        BEGIN.elapsed()
    }

    fn boot(&self) -> u64 {
        1
    }
}

/// What survives a restart of the control plane.
pub(crate) struct Control {
    store: Arc<MemoryStore>,
    clock: Arc<TestClock>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) config: AgentsConfig,
    pub(crate) address: SocketAddr,
    pub(crate) core: Core,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

/// Leases that no slow machine runs into.
pub(crate) fn patient() -> AgentsConfig {
    AgentsConfig { heartbeat: Duration::from_millis(200), lease: Duration::from_secs(20), ..AgentsConfig::default() }
}

impl Control {
    pub(crate) async fn start(config: AgentsConfig) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let authority = Arc::new(Authority::open(dir.path()).expect("an authority"));
        let store = Arc::new(MemoryStore::new());
        let clock = Arc::new(TestClock(AtomicI64::new(1_700_000_000_000)));
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let (address, core, stop, serving) = serve(&store, &clock, &authority, &config, anywhere).await;
        Self { store, clock, authority, config, address, core, stop, serving, _dir: dir }
    }

    /// Ends it as SIGTERM does.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(DEADLINE, &mut self.serving).await;
        ended.expect("ends in time").expect("no panic");
    }

    /// A new process on the same store and port.
    pub(crate) async fn restart(&mut self) {
        let (_, core, stop, serving) =
            serve(&self.store, &self.clock, &self.authority, &self.config, self.address).await;
        (self.core, self.stop, self.serving) = (core, stop, serving);
    }

    /// Makes the core's time pass.
    pub(crate) fn advance(&self, by: Duration) {
        self.clock.0.fetch_add(i64::try_from(by.as_millis()).expect("small"), Ordering::SeqCst);
    }

    pub(crate) async fn ecs(&self, operation: Operation, request: Value) -> Value {
        let answer = self.core.call(&caller(), operation, request.to_string().into()).await;
        let answer = answer.unwrap_or_else(|error| panic!("{}: {}", operation.name(), error.message));
        serde_json::from_slice(&answer).expect("JSON")
    }

    /// A join token for so many hosts.
    pub(crate) async fn token(&self, hosts: u32) -> String {
        let request = json!({"IamRole": "lab", "RegistrationLimit": hosts}).to_string();
        let answer = self.core.ssm(&caller(), SsmOperation::CreateActivation, request.into()).await.expect("made");
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        answer["ActivationCode"].as_str().expect("a text").to_owned()
    }

    /// Starts a task on an instance and gives its id.
    pub(crate) async fn start_task(&self, instance: InstanceId) -> String {
        let container = json!({"name": "app", "image": "busybox", "memory": 16, "cpu": 1});
        let definition = json!({"family": "f", "networkMode": "none", "containerDefinitions": [container]});
        self.ecs(Operation::RegisterTaskDefinition, definition).await;
        let request = json!({"taskDefinition": "f", "containerInstances": [instance.to_string()]});
        let answer = self.ecs(Operation::StartTask, request).await;
        let arn = answer["tasks"][0]["taskArn"].as_str().unwrap_or_else(|| panic!("not started: {answer}"));
        arn.rsplit('/').next().expect("an id").to_owned()
    }

    pub(crate) async fn task_status(&self, task: &str) -> String {
        let answer = self.ecs(Operation::DescribeTasks, json!({"tasks": [task]})).await;
        answer["tasks"][0]["lastStatus"].as_str().unwrap_or("MISSING").to_owned()
    }

    pub(crate) async fn is_connected(&self, instance: InstanceId) -> bool {
        let request = json!({"containerInstances": [instance.to_string()]});
        let answer = self.ecs(Operation::DescribeContainerInstances, request).await;
        answer["containerInstances"][0]["agentConnected"].as_bool().unwrap_or(false)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve(
    store: &Arc<MemoryStore>,
    clock: &Arc<TestClock>,
    authority: &Arc<Authority>,
    config: &AgentsConfig,
    address: SocketAddr,
) -> (SocketAddr, Core, CancellationToken, JoinHandle<()>) {
    let core_config = CoreConfig { ca_fingerprint: authority.fingerprint(), lease: config.lease, ..Default::default() };
    let first = FirstStart { account_id: Some(AccountId::new("123456789012").expect("one")), root_access_key: None };
    let key = SealingKey::from_bytes(&[7; 32]);
    let (core, owner) = Core::open_with_clock(core_config, Arc::clone(store) as _, key, first, Arc::clone(clock) as _)
        .await
        .expect("opens");
    let listener = TcpListener::bind(address).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let lifetime = Duration::from_secs(3600);
    let certificate = ServerCertificate::new(Arc::clone(authority), Vec::new(), lifetime).expect("a certificate");
    let stop = CancellationToken::new();
    let fleet = Arc::new(core.clone());
    let dir = tempfile::tempdir().expect("a directory");
    let logs = longshore_logs::Logs::open(dir.path(), 1 << 24).await.expect("a log store");
    let port = agents::serve(
        listener,
        fleet,
        logs,
        Arc::clone(authority),
        Arc::new(certificate),
        config.clone(),
        stop.clone(),
    );
    let owner_stop = CancellationToken::new();
    let owner = tokio::spawn(owner.run(owner_stop.clone().cancelled_owned()));
    let serving = tokio::spawn(async move {
        port.await.expect("the port serves until it is stopped");
        drop(dir);
        owner_stop.cancel();
        owner.await.expect("no panic").expect("the state can be changed");
    });
    (address, core, stop, serving)
}

fn caller() -> Caller {
    Caller {
        region: Region::new("lab").expect("a region"),
        account: AccountId::new("123456789012").expect("an account"),
        principal_arn: "arn:aws:iam::123456789012:root".to_owned(),
        access_key_id: "AKIATEST".to_owned(),
        endpoint: String::new(),
    }
}

/// A token for another control plane.
pub(crate) fn foreign_token() -> String {
    JoinToken::random([9; 32]).reveal()
}

/// Waits until something is so.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let looking = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, looking).await.unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"));
}
