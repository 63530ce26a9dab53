//! What the engine needs from the host, named for the need. The real ones are in `docker`, `cgroups` and `clock`
//! below this module; tests pass in-memory ones. None of them decides or retries anything.

use crate::contact::Contacts;
use crate::ledger::{Changes, SaveError};
use async_trait::async_trait;
use longshore_docker::Credentials;
use longshore_model::{ContainerName, EniId, EnvVar, NetworkBinding, TaskId, TaskSpec, Timestamp, VolumeSpec};
use longshore_plan::{Creation, Failure, Halt, Inspected, Interface, Sighting};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A container of ours in a listing.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its task, by its label.
    pub task: TaskId,
    /// Its name in the task, by its label.
    pub container: ContainerName,
    /// What it is doing.
    pub sighting: Sighting,
    /// The text of its label `longshore.supervise`, if it has one.
    pub supervise: Option<String>,
}

/// What a container is created from.
#[derive(Debug, Clone)]
pub struct CreateRequest {
    /// Its task, with what the agent adds to the environment of the container.
    pub spec: Arc<TaskSpec>,
    /// Its position in the task.
    pub index: usize,
    /// Host ports to publish, resolved.
    pub bindings: Vec<NetworkBinding>,
    /// The task's interface, in mode `awsvpc`.
    pub interface: Option<Interface>,
    /// The task's cgroup, where it has one, or that of all that are on the host's network.
    pub cgroup_parent: Option<String>,
    /// Its label `longshore.supervise`.
    pub supervise: String,
}

/// Containers of the engine on this host, by task and name.
#[async_trait]
pub trait Containers: Send + Sync {
    /// Every container of ours. Nothing is known when it fails.
    async fn list(&self) -> Result<Vec<Listed>, Failure>;
    /// The interfaces that have a sandbox, and whether it runs. Nothing is known when it fails.
    async fn sandboxes(&self) -> Result<BTreeMap<EniId, bool>, Failure>;
    /// One container, after whatever is in progress with it; `None` when there is none.
    async fn inspect(&self, task: TaskId, container: &ContainerName) -> Result<Option<Inspected>, Failure>;
    /// Creates a container.
    async fn create(&self, request: &CreateRequest) -> Result<Creation, Failure>;
    /// Starts one.
    async fn start(&self, task: TaskId, container: &ContainerName) -> Result<(), Failure>;
    /// Brings one to its end; absent or ended is fine.
    async fn stop(&self, task: TaskId, container: &ContainerName, halt: Halt) -> Result<(), Failure>;
    /// Removes one that does not run; absent is fine.
    async fn remove(&self, task: TaskId, container: &ContainerName) -> Result<(), Failure>;
}

/// An image on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The engine's id of it.
    pub id: String,
    /// The digest by which its repository knows it.
    pub digest: Option<String>,
}

/// Keeps an image from being removed until it is dropped.
pub type Hold = Box<dyn std::any::Any + Send>;

/// The host's disk, as far as images and containers take it.
#[async_trait]
pub trait Room: Send + Sync {
    /// Keeps the image of this name from being removed, now or once it is here. Waits while it is being removed.
    async fn hold(&self, reference: &str) -> Hold;
    /// Whether an image may be put on the disk. Without room, once an attempt to make some is over: a passing failure
    /// as long as some may come.
    async fn admit(&self) -> Result<(), Failure>;
    /// The engine said (`text`) that there is no space: what to make of it, once an attempt to make some is over.
    async fn exhausted(&self, text: String) -> Failure;
    /// The image of this id was pulled, by this name of it.
    fn pulled(&self, id: &str, by: PulledBy);
    /// Whether an image was pulled by this name, by this agent or the one before it.
    fn was_pulled(&self, by: &PulledBy) -> bool;
    /// No image of this name is here.
    fn lost(&self, reference: &str);
}

/// A reference, and the secret with the credentials that its registry was shown; none for the host's own.
pub type PulledBy = (String, Option<String>);

/// A disk that never fills up.
#[derive(Debug, Default)]
pub struct Plenty(Mutex<BTreeSet<PulledBy>>);

impl Plenty {
    /// The lock is held for one look-up and never across an await; a poisoned one holds whole values.
    fn lock(&self) -> MutexGuard<'_, BTreeSet<PulledBy>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Room for Plenty {
    async fn hold(&self, _: &str) -> Hold {
        Box::new(())
    }

    async fn admit(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn exhausted(&self, text: String) -> Failure {
        Failure::NoSpace(text)
    }

    fn pulled(&self, _: &str, by: PulledBy) {
        self.lock().insert(by);
    }

    fn was_pulled(&self, by: &PulledBy) -> bool {
        self.lock().contains(by)
    }

    fn lost(&self, reference: &str) {
        self.lock().retain(|(name, _)| name != reference);
    }
}

/// Credentials of a container's own, for the registry of its image. `Debug` shows none.
#[derive(Debug, Clone)]
pub struct OwnCredentials {
    /// The secret that they are from, as the definition names it.
    pub parameter: String,
    /// What the registry is shown.
    pub credentials: Credentials,
}

/// Images of the engine on this host.
#[async_trait]
pub trait Images: Send + Sync {
    /// The image, if it is here.
    async fn find(&self, reference: &str) -> Result<Option<Image>, Failure>;
    /// Pulls it; `progress` gets a text for people at each change. Its registry is shown `own`, or else what this host
    /// has for it. Dropping the future ends the pull.
    async fn pull(
        &self,
        reference: &str,
        own: Option<&OwnCredentials>,
        progress: &(dyn Fn(String) + Send + Sync),
    ) -> Result<Image, Failure>;
}

/// Whose credentials are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialsOf {
    /// The task.
    pub task: TaskId,
    /// Its container.
    pub container: ContainerName,
    /// The secret that the container's definition names.
    pub parameter: String,
}

/// What the definitions of containers name for their images' registries.
#[async_trait]
pub trait TaskCredentials: Send + Sync {
    /// The credentials for the registry of `image`, as they are now; `waiting` gets a text for people while nobody can
    /// be asked. Fails with [`Failure::Lasting`] when there are none, or when nobody could be asked in time.
    async fn get(
        &self,
        of: &CredentialsOf,
        image: &str,
        waiting: &(dyn Fn(String) + Send + Sync),
    ) -> Result<OwnCredentials, Failure>;
}

/// Volumes of the engine.
#[async_trait]
pub trait Volumes: Send + Sync {
    /// Makes one unless it is there; of a shared one that is not to be made, makes sure that it is there.
    async fn ensure(&self, task: TaskId, volume: &VolumeSpec) -> Result<(), Failure>;
    /// Removes one that lives as long as its task; absent is fine.
    async fn remove(&self, task: TaskId, volume: &str) -> Result<(), Failure>;
    /// All that live as long as their task, by task and name in the task.
    async fn list(&self) -> Result<Vec<(TaskId, String)>, Failure>;
}

/// What holds the namespaces that a task's containers share.
#[async_trait]
pub trait Namespaces: Send + Sync {
    /// Makes the task's and starts it, unless it runs. Its `/dev/shm` has that many MiB, or the engine's default.
    /// Whatever fails, what containers of the task run in is left alone.
    async fn ensure(&self, task: TaskId, shared_memory_mib: Option<u32>) -> Result<(), Failure>;
    /// The same before a container of the task is started again, when others may run in what it holds: fails, for now,
    /// when it does not work any more and they do, since they would not be in another one.
    async fn ensure_again(&self, task: TaskId, shared_memory_mib: Option<u32>) -> Result<(), Failure> {
        self.ensure(task, shared_memory_mib).await
    }
    /// Ends and removes the task's; absent is fine.
    async fn release(&self, task: TaskId) -> Result<(), Failure>;
    /// The tasks that have one.
    async fn list(&self) -> Result<Vec<TaskId>, Failure>;
}

/// Files with variables, on this host.
#[async_trait]
pub trait EnvironmentFiles: Send + Sync {
    /// The variables of one, each name once.
    async fn read(&self, source: &str) -> Result<Vec<EnvVar>, Failure>;
}

/// Tasks' own cgroups.
#[async_trait]
pub trait TaskCgroups: Send + Sync {
    /// Makes the task's, with its limits, unless it is there; returns what its containers name as their parent.
    async fn ensure(&self, spec: &TaskSpec) -> Result<Option<String>, Failure>;
    /// Removes the task's; absent is fine.
    async fn remove(&self, task: TaskId) -> Result<(), Failure>;
    /// The tasks that have one.
    async fn list(&self) -> Result<Vec<TaskId>, Failure>;
    /// What containers on the host's own network name as their parent when their task has none: by it the host keeps them
    /// from its cloud. `None` where it cannot.
    fn host_parent(&self) -> Result<Option<String>, Failure>;
}

/// Interfaces of `awsvpc` tasks.
#[async_trait]
pub trait Interfaces: Send + Sync {
    /// Gives the task an interface, the same again as long as it is not returned.
    async fn ensure(&self, spec: &TaskSpec) -> Result<Interface, Failure>;
    /// Puts back what a task that has one needs before one of its containers is started again: a reboot of the host
    /// ends its sandbox, and its link with that.
    async fn ensure_again(&self, spec: &TaskSpec) -> Result<(), Failure>;
    /// Takes back what the task has: no packet reaches or leaves it any more once this returns. Nothing is fine.
    async fn release(&self, task: TaskId) -> Result<(), Failure>;
    /// The tasks that have one.
    async fn list(&self) -> Result<Vec<TaskId>, Failure>;
}

/// Where records become durable.
#[async_trait]
pub trait Store: Send + Sync {
    /// Returns once the changes are durable, all of them or none. Calls take effect in the order they are made.
    async fn save(&self, changes: Changes) -> Result<(), SaveError>;
}

/// The time of day.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Everything that the engine drives.
#[derive(Clone)]
pub struct Drivers {
    /// When the control plane was last heard.
    pub contacts: Arc<Contacts>,
    /// Containers.
    pub containers: Arc<dyn Containers>,
    /// Images.
    pub images: Arc<dyn Images>,
    /// Their disk.
    pub room: Arc<dyn Room>,
    /// Credentials of containers' own.
    pub credentials: Arc<dyn TaskCredentials>,
    /// Volumes.
    pub volumes: Arc<dyn Volumes>,
    /// Cgroups.
    pub cgroups: Arc<dyn TaskCgroups>,
    /// Interfaces.
    pub interfaces: Arc<dyn Interfaces>,
    /// Pause containers.
    pub namespaces: Arc<dyn Namespaces>,
    /// Files with variables.
    pub environment_files: Arc<dyn EnvironmentFiles>,
    /// The ledger.
    pub store: Arc<dyn Store>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// The host's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A listing, sorted by task.
#[must_use]
pub fn by_task(listed: Vec<Listed>) -> BTreeMap<TaskId, Vec<Listed>> {
    let mut tasks: BTreeMap<TaskId, Vec<Listed>> = BTreeMap::new();
    for container in listed {
        tasks.entry(container.task).or_default().push(container);
    }
    tasks
}
