//! A host: the real identity and session, and an engine that saves what it is told to.

use crate::control::{Control, DEADLINE};
use longshore_agent::contact::Contacts;
use longshore_agent::identity::{Identity, IdentityFile, IdentityHandle, JoinError, JoinOptions, join};
use longshore_agent::session::{
    ApplyError, DESIRED_QUEUE, DesiredUpdate, ObservedReports, RefusedTask, Session, SessionConfig, SessionInputs,
    SessionState,
};
use longshore_model::{
    AssignedTask, Assignment, Attribute, Generation, HostFacts, InstanceHealth, Resources, TaskId, TaskReport,
    TaskStatus, Timestamp,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) fn facts() -> HostFacts {
    let attribute =
        |name: &str, value: Option<&str>| Attribute { name: name.to_owned(), value: value.map(str::to_owned) };
    HostFacts {
        hostname: "h1".to_owned(),
        resources: Resources { cpu_units: 2048, memory_mib: 2048, ..Resources::default() },
        attributes: [
            attribute("ecs.os-type", Some("linux")),
            attribute("com.amazonaws.ecs.capability.docker-remote-api.1.17", None),
            attribute("com.amazonaws.ecs.capability.docker-remote-api.1.18", None),
        ]
        .into(),
        ..HostFacts::default()
    }
}

pub(crate) fn options(control: impl ToString, token: String) -> JoinOptions {
    JoinOptions { control: control.to_string(), token, cluster: None, timeout: DEADLINE }
}

pub(crate) fn identity_file(dir: &Path) -> IdentityFile {
    IdentityFile(dir.join("agent").join("identity.json"))
}

/// Joins and gives the identity as it is kept.
pub(crate) async fn joined(control: &Control, dir: &Path) -> Result<Identity, JoinError> {
    let file = identity_file(dir);
    join(&file, options(control.address, control.token(1).await), facts()).await?;
    Ok(file.load().expect("readable").expect("there"))
}

/// What the engine of a host was told and has saved.
#[derive(Default)]
pub(crate) struct Desired {
    pub(crate) tasks: BTreeMap<TaskId, AssignedTask>,
    pub(crate) refused: Vec<RefusedTask>,
    pub(crate) completes: u32,
    pub(crate) deltas: u32,
    /// Saves fail while this is set.
    pub(crate) broken: bool,
    /// How many have.
    pub(crate) failed: u32,
}

/// A host with a session.
pub(crate) struct Host {
    pub(crate) desired: Arc<Mutex<Desired>>,
    pub(crate) state: watch::Receiver<SessionState>,
    pub(crate) saved: watch::Receiver<Generation>,
    pub(crate) observed: watch::Sender<ObservedReports>,
    pub(crate) facts: watch::Sender<Option<Arc<HostFacts>>>,
    pub(crate) health: watch::Sender<InstanceHealth>,
    pub(crate) shutdown: CancellationToken,
    session: JoinHandle<()>,
}

/// Quick waits, so that tests are.
pub(crate) fn quick() -> SessionConfig {
    SessionConfig {
        backoff_min: Duration::from_millis(20),
        backoff_max: Duration::from_millis(200),
        refused_retry: Duration::from_millis(300),
        ..SessionConfig::default()
    }
}

impl Host {
    /// A host that had saved nothing.
    pub(crate) fn start(identity: IdentityHandle, config: SessionConfig) -> Self {
        Self::start_at(identity, config, Generation(0))
    }

    pub(crate) fn start_at(identity: IdentityHandle, config: SessionConfig, generation: Generation) -> Self {
        let (desired_in, updates) = mpsc::channel(DESIRED_QUEUE);
        let (saved_in, saved) = watch::channel(generation);
        let (observed, observed_out) = watch::channel(ObservedReports::new());
        let (facts, facts_out) = watch::channel(Some(Arc::new(facts())));
        let (state_in, state) = watch::channel(SessionState::Starting);
        let desired = Arc::new(Mutex::new(Desired::default()));
        tokio::spawn(engine(updates, saved_in, Arc::clone(&desired)));
        // Nobody owns a network here.
        let (_, _, network) = longshore_agent::network::link();
        let saved_out = saved.clone();
        let disk = watch::channel(None).1;
        let (health, health_out) = watch::channel(InstanceHealth::default());
        // Nobody executes commands here.
        let (exec, _) = mpsc::channel(1);
        let inputs = SessionInputs {
            desired: desired_in,
            saved: saved_out,
            observed: observed_out,
            facts: facts_out,
            network,
            disk,
            health: health_out,
            usage: longshore_agent::metadata::usage_line().0,
            figures: Arc::default(),
            exec,
            contacts: Arc::new(Contacts::beside(std::path::Path::new("/nowhere/agent.sock"))),
        };
        let shutdown = CancellationToken::new();
        let session = tokio::spawn(Session::new(config, identity, inputs, state_in).run(shutdown.clone()));
        Self { desired, state, saved, observed, facts, health, shutdown, session }
    }

    /// Waits until the session is in a state as wanted.
    pub(crate) async fn until(&mut self, what: &str, wanted: impl Fn(&SessionState) -> bool) -> SessionState {
        let reached = tokio::time::timeout(DEADLINE, self.state.wait_for(|state| wanted(state))).await;
        let reached = reached.map(|state| state.expect("the session lives").clone());
        reached.unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}, but {:?}", self.state.borrow()))
    }

    pub(crate) async fn connected(&mut self) {
        self.until("connected", |state| matches!(state, SessionState::Connected { .. })).await;
    }

    /// Waits until something saved holds this task as wanted (`None`: not at all).
    pub(crate) async fn told(&mut self, task: &str, wanted: impl Fn(Option<&AssignedTask>) -> bool) {
        let task: TaskId = task.parse().expect("an id");
        let desired = Arc::clone(&self.desired);
        let told = self.saved.wait_for(|_| wanted(desired.lock().expect("not poisoned").tasks.get(&task)));
        tokio::time::timeout(DEADLINE, told).await.expect("told in time").expect("the engine lives");
    }

    /// Says how far a task is.
    pub(crate) fn report(&self, task: &str, version: u64, status: TaskStatus) {
        let task: TaskId = task.parse().expect("an id");
        let started_at = Some(Timestamp::from_millis(1_700_000_000_000));
        let report = TaskReport { started_at, ..TaskReport::new(task, version, status) };
        self.observed.send_modify(|observed| drop(observed.insert(task, Arc::new(report))));
    }

    /// Ends the session as the end of the agent does.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.session).await.expect("ends in time").expect("no panic");
    }
}

/// Saves each update, then says so.
async fn engine(
    mut updates: mpsc::Receiver<DesiredUpdate>,
    saved: watch::Sender<Generation>,
    desired: Arc<Mutex<Desired>>,
) {
    while let Some(DesiredUpdate { assignment, refused, done }) = updates.recv().await {
        let generation = assignment.generation();
        let outcome = {
            let mut desired = desired.lock().expect("not poisoned");
            if desired.broken {
                desired.failed += 1;
                Err(ApplyError::NotSaved { why: "the disk is full".to_owned() })
            } else {
                desired.refused.extend(refused);
                match assignment {
                    Assignment::Complete { tasks, .. } => {
                        desired.completes += 1;
                        desired.tasks = tasks.into_iter().map(|task| (task.spec.id, task)).collect();
                    }
                    Assignment::Delta { tasks, removed, .. } => {
                        desired.deltas += 1;
                        desired.tasks.extend(tasks.into_iter().map(|task| (task.spec.id, task)));
                        desired.tasks.retain(|id, _| !removed.contains(id));
                    }
                }
                Ok(generation)
            }
        };
        if outcome.is_ok() {
            assert!(*saved.borrow() <= generation, "generations never fall");
            saved.send_replace(generation);
        }
        // The stream may have ended meanwhile.
        let _ = done.send(outcome);
    }
}
