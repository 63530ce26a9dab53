//! What the agent's engine drives, on a simulated host.

use crate::docker::{Docker, Key};
use crate::entropy::Dice;
use async_trait::async_trait;
use longshore_agent::engine::drivers::{
    Containers, CreateRequest, CredentialsOf, EnvironmentFiles, Image, Images, Interfaces, Listed, Namespaces,
    OwnCredentials, Store, TaskCgroups, TaskCredentials, Volumes,
};
use longshore_agent::ledger::{Changes, Definition, Loaded, SaveError, SavedTask};
use longshore_agent::ports::{Hold, HoldPorts};
use longshore_model::{ContainerName, EniId, EnvVar, Generation, TaskId, TaskSpec, VolumeSpec};
use longshore_plan::{Creation, Failure, Halt, Inspected, Interface, PortKey, RunState, Sighting, TaskRecord};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The engine of one host, as its agent reaches it.
#[derive(Clone)]
pub(crate) struct Reach(pub(crate) Arc<Docker>);

#[async_trait]
impl Containers for Reach {
    async fn list(&self) -> Result<Vec<Listed>, Failure> {
        let listed = |(task, container): &Key, c: &crate::docker::Container| Listed {
            task: *task,
            container: container.clone(),
            sighting: Sighting { id: c.id.clone(), state: c.state, health: None, renamed: false },
            supervise: Some(c.label.clone()),
        };
        self.0.ask(None, move |_, engine| Ok(engine.containers.iter().map(|(k, c)| listed(k, c)).collect())).await
    }

    async fn sandboxes(&self) -> Result<BTreeMap<EniId, bool>, Failure> {
        let look = |_: &Docker, engine: &mut crate::docker::Engine| {
            Ok(engine.sandboxes.iter().map(|(eni, sandbox)| (*eni, sandbox.running)).collect())
        };
        self.0.ask(None, look).await
    }

    async fn inspect(&self, task: TaskId, container: &ContainerName) -> Result<Option<Inspected>, Failure> {
        let key = (task, container.clone());
        let look = move |_: &Docker, engine: &mut crate::docker::Engine| {
            Ok(engine.containers.get(&key).map(|c| Inspected {
                id: c.id.clone(),
                ours: true,
                state: c.state,
                started_at: c.started_at,
                finished_at: c.finished_at,
                before_boot: false,
                exit_code: c.started_at.map(|_| c.exit_code),
                health: None,
                oom_killed: false,
                error: None,
                image_digest: None,
                ports: c.ports.clone(),
                interface: c.interface.clone().map(Box::new),
            }))
        };
        self.0.ask(Some((task, container.clone())), look).await
    }

    async fn create(&self, request: &CreateRequest) -> Result<Creation, Failure> {
        let request = request.clone();
        self.0.ask(None, move |docker, engine| docker.make(engine, &request)).await
    }

    async fn start(&self, task: TaskId, container: &ContainerName) -> Result<(), Failure> {
        let key = (task, container.clone());
        let docker = Arc::clone(&self.0);
        self.0.ask(Some(key.clone()), move |_, engine| docker.begin(engine, &key)).await
    }

    async fn stop(&self, task: TaskId, container: &ContainerName, halt: Halt) -> Result<(), Failure> {
        self.0.halt(&(task, container.clone()), halt).await
    }

    async fn remove(&self, task: TaskId, container: &ContainerName) -> Result<(), Failure> {
        let key = (task, container.clone());
        let remove = move |docker: &Docker, engine: &mut crate::docker::Engine| {
            if engine.containers.get(&key).is_some_and(|c| c.state == RunState::Running) {
                return Err(Failure::Passing("it runs".into()));
            }
            if engine.containers.remove(&key).is_some() {
                docker.trace.say(format_args!("{}: removed {}/{}", docker.host, key.0, key.1));
            }
            Ok(())
        };
        self.0.ask(Some((task, container.clone())), remove).await
    }
}

#[async_trait]
impl Images for Reach {
    async fn find(&self, reference: &str) -> Result<Option<Image>, Failure> {
        let image = Image { id: reference.to_owned(), digest: None };
        self.0.ask(None, move |_, _| Ok(Some(image).filter(|image| !image.id.starts_with("missing")))).await
    }

    async fn pull(
        &self,
        reference: &str,
        _: Option<&OwnCredentials>,
        _: &(dyn Fn(String) + Send + Sync),
    ) -> Result<Image, Failure> {
        Err(Failure::Lasting(format!("there is no image {reference}")))
    }
}

#[async_trait]
impl TaskCredentials for Reach {
    async fn get(
        &self,
        of: &CredentialsOf,
        _: &str,
        _: &(dyn Fn(String) + Send + Sync),
    ) -> Result<OwnCredentials, Failure> {
        Err(Failure::Lasting(format!("nobody has {}", of.parameter)))
    }
}

#[async_trait]
impl Volumes for Reach {
    async fn ensure(&self, task: TaskId, volume: &VolumeSpec) -> Result<(), Failure> {
        let name = volume.name.clone();
        self.0
            .ask(None, move |_, engine| {
                engine.volumes.insert((task, name));
                Ok(())
            })
            .await
    }

    async fn remove(&self, task: TaskId, volume: &str) -> Result<(), Failure> {
        let name = volume.to_owned();
        self.0
            .ask(None, move |_, engine| {
                engine.volumes.remove(&(task, name));
                Ok(())
            })
            .await
    }

    async fn list(&self) -> Result<Vec<(TaskId, String)>, Failure> {
        self.0.ask(None, |_, engine| Ok(engine.volumes.iter().cloned().collect())).await
    }
}

#[async_trait]
impl Namespaces for Reach {
    async fn ensure(&self, task: TaskId, _: Option<u32>) -> Result<(), Failure> {
        self.0
            .ask(None, move |_, engine| {
                engine.namespaces.insert(task);
                Ok(())
            })
            .await
    }

    async fn release(&self, task: TaskId) -> Result<(), Failure> {
        self.0
            .ask(None, move |_, engine| {
                engine.namespaces.remove(&task);
                Ok(())
            })
            .await
    }

    async fn list(&self) -> Result<Vec<TaskId>, Failure> {
        self.0.ask(None, |_, engine| Ok(engine.namespaces.iter().copied().collect())).await
    }
}

#[async_trait]
impl EnvironmentFiles for Reach {
    async fn read(&self, source: &str) -> Result<Vec<EnvVar>, Failure> {
        Err(Failure::Lasting(format!("there is no file {source}")))
    }
}

#[async_trait]
impl TaskCgroups for Reach {
    async fn ensure(&self, spec: &TaskSpec) -> Result<Option<String>, Failure> {
        self.0.engine().cgroups.insert(spec.id);
        Ok(Some(format!("/longshore/{}", spec.id)))
    }

    async fn remove(&self, task: TaskId) -> Result<(), Failure> {
        self.0.engine().cgroups.remove(&task);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<TaskId>, Failure> {
        Ok(self.0.engine().cgroups.iter().copied().collect())
    }

    fn host_parent(&self) -> Result<Option<String>, Failure> {
        Ok(None)
    }
}

#[async_trait]
impl Interfaces for Reach {
    async fn ensure(&self, _: &TaskSpec) -> Result<Interface, Failure> {
        Err(Failure::Lasting("this host has no task network".into()))
    }

    async fn ensure_again(&self, _: &TaskSpec) -> Result<(), Failure> {
        Err(Failure::Lasting("this host has no task network".into()))
    }

    async fn release(&self, _: TaskId) -> Result<(), Failure> {
        Ok(())
    }

    async fn list(&self) -> Result<Vec<TaskId>, Failure> {
        Ok(Vec::new())
    }
}

/// No other program of a simulated host has ports; what containers have, the engine knows.
#[derive(Debug)]
pub(crate) struct Free(pub(crate) Held);

/// Ports that containers of the host publish.
#[derive(Clone)]
pub(crate) struct Held(pub(crate) Arc<Docker>);

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ports of {}", self.0.host)
    }
}

impl HoldPorts for Free {
    fn hold(&self, key: PortKey) -> std::io::Result<Hold> {
        let engine = self.0.0.engine();
        let running = engine.containers.values().filter(|c| c.state == RunState::Running);
        if running.flat_map(|c| &c.ports).any(|p| p.keys().any(|k| k == key)) {
            return Err(std::io::ErrorKind::AddrInUse.into());
        }
        Ok(Box::new(()))
    }
}

/// The agent's ledger on the host's disk.
pub(crate) struct Disk {
    inner: Mutex<Written>,
    /// Writes happen one after the other, in the order in which they were asked for.
    turn: tokio::sync::Mutex<()>,
    dice: Dice,
}

#[derive(Default)]
struct Written {
    definitions: BTreeMap<TaskId, Definition>,
    records: BTreeMap<TaskId, TaskRecord>,
    generation: Generation,
    /// Writes of a thousand that fail.
    faults: u32,
}

impl Disk {
    pub(crate) fn new(dice: Dice) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), turn: tokio::sync::Mutex::default(), dice })
    }

    fn inner(&self) -> MutexGuard<'_, Written> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many of a thousand writes fail from here on.
    pub(crate) fn fail(&self, per_mille: u32) {
        self.inner().faults = per_mille;
    }

    /// The ledger is gone, as when a host joins anew or a disk was replaced.
    pub(crate) fn wipe(&self) {
        *self.inner() = Written::default();
    }

    /// What the next agent finds.
    pub(crate) fn load(&self) -> Loaded {
        let inner = self.inner();
        let tasks = inner.records.values().filter_map(|record| {
            let definition = inner.definitions.get(&record.id)?.clone();
            Some(SavedTask { definition, record: record.clone() })
        });
        Loaded {
            generation: inner.generation,
            tasks: tasks.collect(),
            instance: None,
            rebooted: false,
            clock_moved: 0,
            set_aside: None,
        }
    }

    /// Tasks that the ledger knows.
    pub(crate) fn tasks(&self) -> usize {
        self.inner().records.len()
    }
}

/// One agent's way to the ledger. Dropped with the agent: what was not written by then is lost.
pub(crate) struct Ledger(pub(crate) Arc<Disk>);

#[async_trait]
impl Store for Ledger {
    async fn save(&self, changes: Changes) -> Result<(), SaveError> {
        let disk = &self.0;
        let _turn = disk.turn.lock().await;
        let slow = disk.dice.chance(15);
        tokio::time::sleep(if slow { disk.dice.millis(50, 1500) } else { disk.dice.millis(1, 5) }).await;
        let faults = disk.inner().faults;
        if disk.dice.chance(faults) {
            return Err(SaveError { path: PathBuf::from("ledger.redb"), why: "no space left on device".into() });
        }
        {
            let mut inner = disk.inner();
            if let Some(generation) = changes.generation {
                assert!(generation >= inner.generation, "generations never fall");
                inner.generation = generation;
            }
            inner.definitions.extend(changes.definitions);
            inner.records.extend(changes.records.into_iter().map(|r| (r.id, r)));
            for id in changes.forgotten {
                inner.records.remove(&id);
                inner.definitions.remove(&id);
            }
        }
        tokio::time::sleep(disk.dice.millis(1, 3)).await;
        Ok(())
    }
}

/// How long the agent's listings may be apart.
pub(crate) const RELIST: Duration = Duration::from_secs(15);
