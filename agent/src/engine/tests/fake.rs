//! A host in memory behind the engine's drivers, with scripted answers, and a ledger that survives "crashes".

use crate::contact::Contacts;
use crate::engine::drivers::{
    Clock, Containers, CreateRequest, CredentialsOf, Drivers, EnvironmentFiles, Image, Images, Interfaces, Listed,
    Namespaces, OwnCredentials, Store, TaskCgroups, TaskCredentials, Volumes,
};
use crate::ledger::{Changes, Definition, Loaded, SaveError, SavedTask};
use async_trait::async_trait;
use longshore_docker::Credentials;
use longshore_model::{
    ContainerName, EniId, EniReport, EnvVar, Generation, HealthStatus, Mac, TaskId, TaskSpec, Timestamp, VolumeSpec,
};
use longshore_plan::{
    Creation, Failure, Halt, Inspected, Interface, ResolvedPort, RunState, Sighting, Supervise, TaskRecord,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

type Key = (TaskId, ContainerName);

/// A container as the host has it.
#[derive(Debug, Clone)]
pub(super) struct FakeContainer {
    pub(super) id: String,
    pub(super) state: RunState,
    pub(super) started_at: Option<Timestamp>,
    pub(super) exit_code: i32,
    pub(super) oom: bool,
    pub(super) health: Option<HealthStatus>,
    pub(super) label: String,
    pub(super) ports: Vec<ResolvedPort>,
    pub(super) interface: Option<Interface>,
    pub(super) runs: u32,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) containers: BTreeMap<Key, FakeContainer>,
    pub(super) volumes: BTreeSet<(TaskId, String)>,
    pub(super) cgroups: BTreeSet<TaskId>,
    pub(super) namespaces: BTreeSet<TaskId>,
    pub(super) environment_files: BTreeMap<String, Vec<EnvVar>>,
    pub(super) interfaces: BTreeMap<TaskId, Interface>,
    /// And whether each runs.
    pub(super) sandboxes: BTreeMap<EniId, bool>,
    pub(super) images: BTreeSet<String>,
    pub(super) away: bool,
    pub(super) disk_full: bool,
    /// Which saves do not come back, as long as this is set.
    pub(super) hangs: Option<fn(&Changes) -> bool>,
    /// Everything that was asked of the engine, in order: `create c`, `start c`, …
    pub(super) calls: Vec<String>,
    /// Answers for the next calls of a name (`start`), before the host's own.
    pub(super) script: BTreeMap<&'static str, Vec<Failure>>,
    /// A start that is scripted to fail happens all the same, a moment after the answer.
    pub(super) starts_after_all: bool,
    /// How long a stop takes.
    pub(super) stop_takes: Duration,
    /// How long a listing of volumes takes.
    pub(super) listing_takes: Duration,
    pub(super) definitions: BTreeMap<TaskId, Definition>,
    pub(super) records: BTreeMap<TaskId, TaskRecord>,
    pub(super) generation: Generation,
    pub(super) saves: u32,
    made: u32,
}

impl State {
    /// Volumes, namespaces and cgroups.
    pub(super) fn made_resources(&self) -> usize {
        self.volumes.len() + self.namespaces.len() + self.cgroups.len()
    }
}

pub(super) struct FakeHost {
    state: Mutex<State>,
    pub(super) pull_gate: Semaphore,
    began: Instant,
}

impl FakeHost {
    pub(super) fn new() -> Arc<Self> {
        let state = State { images: BTreeSet::from(["busybox".to_owned()]), ..State::default() };
        Arc::new(Self { state: Mutex::new(state), pull_gate: Semaphore::new(0), began: Instant::now() })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds this")
    }

    pub(super) fn drivers(self: &Arc<Self>) -> Drivers {
        Drivers {
            contacts: Arc::new(Contacts::beside(std::path::Path::new("/nowhere/agent.sock"))),
            containers: self.clone(),
            images: self.clone(),
            room: Arc::<crate::engine::drivers::Plenty>::default(),
            credentials: self.clone(),
            volumes: self.clone(),
            cgroups: self.clone(),
            interfaces: self.clone(),
            namespaces: self.clone(),
            environment_files: self.clone(),
            store: self.clone(),
            clock: self.clone(),
        }
    }

    /// What the next process finds in the ledger.
    pub(super) fn loaded(&self) -> Loaded {
        let state = self.state();
        let tasks = state
            .records
            .values()
            .map(|record| SavedTask { definition: state.definitions[&record.id].clone(), record: record.clone() })
            .collect();
        Loaded { generation: state.generation, tasks, instance: None, rebooted: false, clock_moved: 0, set_aside: None }
    }

    fn begin(&self, call: &'static str, container: &ContainerName) -> Result<MutexGuard<'_, State>, Failure> {
        let mut state = self.state();
        state.calls.push(format!("{call} {container}"));
        if state.away {
            return Err(Failure::Away("connection refused".into()));
        }
        match state.script.get_mut(call).filter(|s| !s.is_empty()).map(|s| s.remove(0)) {
            Some(failure) => Err(failure),
            None => Ok(state),
        }
    }
}

impl Clock for FakeHost {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000).after(self.began.elapsed())
    }
}

#[async_trait]
impl Containers for FakeHost {
    async fn list(&self) -> Result<Vec<Listed>, Failure> {
        let state = self.state();
        if state.away {
            return Err(Failure::Away("connection refused".into()));
        }
        let listed = |((task, container), c): (&Key, &FakeContainer)| Listed {
            task: *task,
            container: container.clone(),
            sighting: Sighting { id: c.id.clone(), state: c.state, health: c.health, renamed: false },
            supervise: Some(c.label.clone()),
        };
        Ok(state.containers.iter().map(listed).collect())
    }

    async fn sandboxes(&self) -> Result<BTreeMap<EniId, bool>, Failure> {
        Ok(self.state().sandboxes.clone())
    }

    async fn inspect(&self, task: TaskId, container: &ContainerName) -> Result<Option<Inspected>, Failure> {
        let state = self.begin("inspect", container)?;
        Ok(state.containers.get(&(task, container.clone())).map(|c| Inspected {
            id: c.id.clone(),
            ours: true,
            state: c.state,
            started_at: c.started_at,
            finished_at: None,
            before_boot: false,
            exit_code: c.started_at.map(|_| c.exit_code),
            health: c.health,
            oom_killed: c.oom,
            error: None,
            image_digest: None,
            ports: c.ports.clone(),
            interface: c.interface.clone().map(Box::new),
        }))
    }

    async fn create(&self, request: &CreateRequest) -> Result<Creation, Failure> {
        let container = request.spec.containers[request.index].name.clone();
        tokio::time::sleep(Duration::from_millis(9)).await;
        let mut state = self.begin("create", &container)?;
        if !state.images.contains(&longshore_docker::wanted_image(&request.spec.containers[request.index])) {
            return Err(Failure::ImageMissing("No such image".into()));
        }
        let key = (request.spec.id, container);
        if state.containers.contains_key(&key) {
            return Err(Failure::NameTaken("taken".into()));
        }
        state.made += 1;
        let id = format!("id{}", state.made);
        let made = FakeContainer {
            id: id.clone(),
            state: RunState::Created,
            started_at: None,
            exit_code: 0,
            oom: false,
            health: None,
            interface: request.interface.clone(),
            ports: Supervise::from_label(&request.supervise).expect("our label").ports,
            label: request.supervise.clone(),
            runs: 0,
        };
        state.containers.insert(key, made);
        Ok(Creation { id, warnings: Vec::new() })
    }

    async fn start(&self, task: TaskId, container: &ContainerName) -> Result<(), Failure> {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = self.now();
        let begun = self.begin("start", container);
        if begun.is_err() {
            let mut state = self.state();
            if std::mem::take(&mut state.starts_after_all)
                && let Some(c) = state.containers.get_mut(&(task, container.clone()))
            {
                (c.state, c.started_at, c.runs) = (RunState::Running, Some(now), c.runs + 1);
            }
        }
        let mut state = begun?;
        let Some(c) = state.containers.get_mut(&(task, container.clone())) else {
            return Err(Failure::Unknown("no such container".into()));
        };
        c.state = RunState::Running;
        c.started_at = Some(now);
        c.runs += 1;
        Ok(())
    }

    async fn stop(&self, task: TaskId, container: &ContainerName, halt: Halt) -> Result<(), Failure> {
        let takes = self.state().stop_takes;
        let patient = matches!(halt, Halt::Polite(grace) if grace >= takes);
        tokio::time::sleep(takes).await;
        let mut state = self.begin("stop", container)?;
        if let Some(c) = state.containers.get_mut(&(task, container.clone())) {
            c.state = RunState::Ended;
            c.exit_code = if patient { 143 } else { 137 };
        }
        Ok(())
    }

    async fn remove(&self, task: TaskId, container: &ContainerName) -> Result<(), Failure> {
        let mut state = self.begin("remove", container)?;
        let key = (task, container.clone());
        if state.containers.get(&key).is_some_and(|c| c.state == RunState::Running) {
            return Err(Failure::Passing("it runs".into()));
        }
        state.containers.remove(&key);
        Ok(())
    }
}

#[async_trait]
impl Images for FakeHost {
    async fn find(&self, reference: &str) -> Result<Option<Image>, Failure> {
        let state = self.state();
        Ok(state
            .images
            .contains(reference)
            .then(|| Image { id: reference.to_owned(), digest: Some(format!("sha256:{reference}")) }))
    }

    async fn pull(
        &self,
        reference: &str,
        own: Option<&OwnCredentials>,
        progress: &(dyn Fn(String) + Send + Sync),
    ) -> Result<Image, Failure> {
        let secret = own.map(|own| format!(" with {}", own.parameter)).unwrap_or_default();
        self.state().calls.push(format!("pull {reference}{secret}"));
        progress("1 of 2 layers".into());
        let _pulled = self.pull_gate.acquire().await;
        let mut state = self.state();
        if let Some(failure) = state.script.get_mut("pull").filter(|s| !s.is_empty()).map(|s| s.remove(0)) {
            return Err(failure);
        }
        state.images.insert(reference.to_owned());
        Ok(Image { id: reference.to_owned(), digest: None })
    }
}

#[async_trait]
impl TaskCredentials for FakeHost {
    async fn get(
        &self,
        of: &CredentialsOf,
        image: &str,
        waiting: &(dyn Fn(String) + Send + Sync),
    ) -> Result<OwnCredentials, Failure> {
        self.state().calls.push(format!("ask {}", of.parameter));
        waiting("waiting for credentials".into());
        let mut state = self.state();
        if let Some(failure) = state.script.get_mut("ask").filter(|s| !s.is_empty()).map(|s| s.remove(0)) {
            return Err(failure);
        }
        let credentials = Credentials {
            registry: longshore_docker::registry_of(image).to_owned(),
            username: Some("u".into()),
            password: Some("p".into()),
            identity_token: None,
        };
        Ok(OwnCredentials { parameter: of.parameter.clone(), credentials })
    }
}

#[async_trait]
impl Volumes for FakeHost {
    async fn ensure(&self, task: TaskId, volume: &VolumeSpec) -> Result<(), Failure> {
        self.state().volumes.insert((task, volume.name.clone()));
        Ok(())
    }
    async fn remove(&self, task: TaskId, volume: &str) -> Result<(), Failure> {
        self.state().volumes.remove(&(task, volume.to_owned()));
        Ok(())
    }
    async fn list(&self) -> Result<Vec<(TaskId, String)>, Failure> {
        let takes = self.state().listing_takes;
        tokio::time::sleep(takes).await;
        Ok(self.state().volumes.iter().cloned().collect())
    }
}

#[async_trait]
impl Namespaces for FakeHost {
    async fn ensure(&self, task: TaskId, _: Option<u32>) -> Result<(), Failure> {
        let mut state = self.state();
        state.calls.push("share".to_owned());
        if let Some(failure) = state.script.get_mut("share").filter(|s| !s.is_empty()).map(|s| s.remove(0)) {
            return Err(failure);
        }
        state.namespaces.insert(task);
        Ok(())
    }
    async fn release(&self, task: TaskId) -> Result<(), Failure> {
        self.state().namespaces.remove(&task);
        Ok(())
    }
    async fn list(&self) -> Result<Vec<TaskId>, Failure> {
        Ok(self.state().namespaces.iter().copied().collect())
    }
}

#[async_trait]
impl EnvironmentFiles for FakeHost {
    async fn read(&self, source: &str) -> Result<Vec<EnvVar>, Failure> {
        let found = self.state().environment_files.get(source).cloned();
        found.ok_or_else(|| Failure::Lasting(format!("there is no file {source}")))
    }
}

#[async_trait]
impl TaskCgroups for FakeHost {
    async fn ensure(&self, spec: &TaskSpec) -> Result<Option<String>, Failure> {
        self.state().cgroups.insert(spec.id);
        Ok(Some(format!("/longshore/{}", spec.id)))
    }
    async fn remove(&self, task: TaskId) -> Result<(), Failure> {
        self.state().cgroups.remove(&task);
        Ok(())
    }
    async fn list(&self) -> Result<Vec<TaskId>, Failure> {
        Ok(self.state().cgroups.iter().copied().collect())
    }

    fn host_parent(&self) -> Result<Option<String>, Failure> {
        Ok(None)
    }
}

#[async_trait]
impl Interfaces for FakeHost {
    async fn ensure(&self, spec: &TaskSpec) -> Result<Interface, Failure> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut state = self.begin("interface", &spec.containers[0].name)?;
        if let Some(had) = state.interfaces.get(&spec.id) {
            return Ok(had.clone());
        }
        state.made += 1;
        let ipv4 = Ipv4Addr::new(10, 77, 1, u8::try_from(state.made).expect("few"));
        let eni = EniReport { id: EniId::random(), mac: Mac::of_task(ipv4), ipv4, ipv6: None, attached: true };
        let asked = spec.awsvpc.as_ref().expect("an awsvpc task");
        let interface = Interface {
            sandbox: format!("sandbox of {}", eni.id),
            files: format!("/files/{}", eni.id),
            groups: asked.groups.clone(),
            bandwidth: asked.bandwidth,
            eni,
        };
        state.sandboxes.insert(interface.eni.id, true);
        state.interfaces.insert(spec.id, interface.clone());
        Ok(interface)
    }
    async fn ensure_again(&self, spec: &TaskSpec) -> Result<(), Failure> {
        let mut state = self.begin("wake", &spec.containers[0].name)?;
        let had = state.interfaces.get(&spec.id).map(|had| had.eni.id);
        match had.and_then(|eni| state.sandboxes.get_mut(&eni)) {
            Some(runs) => *runs = true,
            None => return Err(Failure::Passing("no such container".into())),
        }
        Ok(())
    }
    async fn release(&self, task: TaskId) -> Result<(), Failure> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut state = self.state();
        if let Some(had) = state.interfaces.remove(&task) {
            state.sandboxes.remove(&had.eni.id);
        }
        Ok(())
    }
    async fn list(&self) -> Result<Vec<TaskId>, Failure> {
        Ok(self.state().interfaces.keys().copied().collect())
    }
}

#[async_trait]
impl Store for FakeHost {
    async fn save(&self, changes: Changes) -> Result<(), SaveError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        while self.state().hangs.is_some_and(|hangs| hangs(&changes)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut state = self.state();
        if state.disk_full {
            return Err(SaveError { path: PathBuf::from("ledger.redb"), why: "no space left on device".into() });
        }
        state.saves += 1;
        if let Some(generation) = changes.generation {
            assert!(generation >= state.generation, "generations never fall");
            state.generation = generation;
        }
        state.definitions.extend(changes.definitions);
        state.records.extend(changes.records.into_iter().map(|r| (r.id, r)));
        for id in changes.forgotten {
            state.records.remove(&id);
            state.definitions.remove(&id);
        }
        Ok(())
    }
}
