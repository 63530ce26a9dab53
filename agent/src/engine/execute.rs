//! Carries one step out: a call or two to a driver, within the limits on how many go on at once. Makes no choices.

use super::drivers::{CreateRequest, Drivers};
use super::images::Keeper;
use crate::crash::{self, Place};
use crate::metadata::environment;
use longshore_docker::wanted_image;
use longshore_model::{ContainerName, ContainerSpec, IpcMode, NetworkMode, PidMode, TaskId, TaskSpec};
use longshore_plan::{Creation, Failure, Made, Outcome, ResourceKind, Step};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, SemaphorePermit};

/// How many calls of a kind go on at once. Stops are not limited: they wait for the containers, not for the engine.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Creations. Few: they are short, and what they would gain the starts would lose.
    pub creates: usize,
    /// Starts, which take most of the engine's time.
    pub starts: usize,
    /// Removals of containers, volumes and cgroups, which nobody waits for.
    pub removals: usize,
    /// Inspections.
    pub inspections: usize,
    /// Pulls of images that no task waits for yet. Few: the engine downloads a few layers at a time, and a task that is
    /// to run wants its own among them.
    pub pulls_ahead: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { creates: 4, starts: longshore_docker::BURST_IN_FLIGHT, removals: 4, inspections: 16, pulls_ahead: 2 }
    }
}

/// A step with all that its execution needs.
#[derive(Debug, Clone)]
pub struct Job {
    /// The task.
    pub task: TaskId,
    /// The step.
    pub step: Step,
    /// The container that it is about, where it is about one.
    pub container: Option<ContainerName>,
    /// The definition, where there is one.
    pub spec: Option<Arc<TaskSpec>>,
    /// For a creation.
    pub create: Option<CreateRequest>,
    /// For a start: whether what it needs may have ended since it was made, because the container ran before or the
    /// task's sandbox has ended.
    pub again: bool,
}

/// Carries steps out. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    drivers: Drivers,
    images: Keeper,
    slots: Arc<Slots>,
    /// What of [`Limits`] people are told.
    ahead: usize,
    /// Pulls that wait for their turn.
    in_line: Line,
    /// What [`drivers::TaskCgroups::ensure`](super::drivers::TaskCgroups::ensure) answered, for the creations after it.
    parents: Arc<Mutex<HashMap<TaskId, Option<String>>>>,
}

/// Tasks and positions of containers.
type Line = Arc<Mutex<HashSet<(TaskId, usize)>>>;

/// Somebody waits in a line.
struct InLine<'a>(&'a Line, (TaskId, usize));

impl<'a> InLine<'a> {
    fn new(line: &'a Line, who: (TaskId, usize)) -> Self {
        locked(line).insert(who);
        Self(line, who)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        locked(self.0).remove(&self.1);
    }
}

/// Locks here are held for one look-up and never across an await; a poisoned one holds whole values.
fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Slots {
    creates: Semaphore,
    starts: Semaphore,
    removals: Semaphore,
    inspections: Semaphore,
    pulls_ahead: Semaphore,
}

impl Executor {
    /// An executor over `drivers`.
    #[must_use]
    pub fn new(drivers: Drivers, images: Keeper, limits: &Limits) -> Self {
        let slots = Slots {
            creates: Semaphore::new(limits.creates),
            starts: Semaphore::new(limits.starts),
            removals: Semaphore::new(limits.removals),
            inspections: Semaphore::new(limits.inspections),
            pulls_ahead: Semaphore::new(limits.pulls_ahead),
        };
        let (slots, ahead) = (Arc::new(slots), limits.pulls_ahead);
        Self { drivers, images, slots, ahead, in_line: Arc::default(), parents: Arc::default() }
    }

    /// Runs one step to its outcome. Dropping the future cuts it; the next pass looks at what became of it.
    pub async fn run(&self, job: Job) -> Outcome {
        match place(&job) {
            Some(place) => crash::around(place, self.carry_out(job)).await,
            None => self.carry_out(job).await,
        }
    }

    async fn carry_out(&self, job: Job) -> Outcome {
        let Job { task, step, container, spec, create, again } = job;
        let no_spec = || Failure::Passing("the task's definition is not known yet".to_owned());
        // Every container step carries its container's name; `assemble` of the job sees to it.
        let name = || container.clone().ok_or_else(no_spec);
        match &step {
            Step::Ensure(kind) => Outcome::Ensured(self.ensure(task, kind, spec.as_deref()).await),
            Step::Release(kind) => Outcome::Released(self.release(task, kind).await),
            Step::Pull(i) => Outcome::Pulled(match spec.as_ref().and_then(|s| s.containers.get(*i)) {
                Some(container) => {
                    let ahead = spec.as_ref().is_some_and(|spec| spec.pull_only);
                    // Outside of the keeper: a task that wants the same image does not wait for its turn here.
                    let _slot = if ahead { Some(self.turn_ahead(task, *i).await) } else { None };
                    self.images.image_of(task, container).await.map(|image| image.digest)
                }
                None => Err(no_spec()),
            }),
            Step::Create(_) => Outcome::Created(match create {
                Some(request) => self.create(request).await,
                None => Err(no_spec()),
            }),
            Step::Start(_) => {
                // It has limits of its own, and may wait.
                match self.wake(spec.as_deref(), again).await {
                    Ok(()) => {}
                    // Nothing was tried yet, and nothing failed.
                    Err(Failure::Away(why)) => return Outcome::NotDone(why),
                    Err(failure) => return Outcome::Started(Err(failure)),
                }
                let start = async {
                    let name = name()?;
                    let _slot = self.slots.starts.acquire().await;
                    self.stand_by(task, spec.as_deref(), again).await?;
                    self.spaced(self.drivers.containers.start(task, &name).await).await
                };
                let started = start.await;
                crash::after(Place::ContainerStarted);
                Outcome::Started(started)
            }
            Step::Inspect(_) => {
                let _slot = self.slots.inspections.acquire().await;
                Outcome::Inspected(match name() {
                    Ok(name) => self.drivers.containers.inspect(task, &name).await,
                    Err(failure) => Err(failure),
                })
            }
            Step::Stop(_, halt) | Step::StopUnhealthy(_, halt) => Outcome::Halted(match name() {
                Ok(name) => self.drivers.containers.stop(task, &name, *halt).await,
                Err(failure) => Err(failure),
            }),
            Step::Remove { .. } => {
                let _slot = self.slots.removals.acquire().await;
                Outcome::Removed(match name() {
                    Ok(name) => self.drivers.containers.remove(task, &name).await,
                    Err(failure) => Err(failure),
                })
            }
        }
    }

    /// How far the pull of the image of container `i` is, for people.
    #[must_use]
    pub fn pull_progress(&self, task: TaskId, i: usize, container: &ContainerSpec) -> Option<String> {
        let turn = || format!("its turn has not come: images are pulled ahead of tasks {} at a time", self.ahead);
        let waits = locked(&self.in_line).contains(&(task, i));
        self.images.progress(container).or_else(|| waits.then(turn))
    }

    /// Waits for the turn of a pull that no task waits for.
    async fn turn_ahead(&self, task: TaskId, i: usize) -> Option<SemaphorePermit<'_>> {
        let _in_line = InLine::new(&self.in_line, (task, i));
        // Closed never.
        self.slots.pulls_ahead.acquire().await.ok()
    }

    async fn ensure(&self, task: TaskId, kind: &ResourceKind, spec: Option<&TaskSpec>) -> Result<Made, Failure> {
        let spec = || spec.ok_or_else(|| Failure::Passing("the task's definition is not known yet".to_owned()));
        match kind {
            // The reconciler gives the ports itself and never hands them here.
            ResourceKind::Ports => Ok(Made::Plain),
            ResourceKind::Cgroup => self.cgroup_parent(spec()?).await.map(|_| Made::Plain),
            ResourceKind::Interface => {
                self.drivers.interfaces.ensure(spec()?).await.map(|made| Made::Interface(Box::new(made)))
            }
            ResourceKind::Namespaces => {
                self.drivers.namespaces.ensure(task, shared_memory(spec()?)).await.map(|()| Made::Plain)
            }
            ResourceKind::Volume(name) | ResourceKind::SharedVolume(name) => {
                let volume = spec()?.volumes.iter().find(|v| v.name == *name);
                let volume = volume.ok_or_else(|| Failure::Lasting(format!("the task has no volume `{name}`")))?;
                self.drivers.volumes.ensure(task, volume).await.map(|()| Made::Plain)
            }
        }
    }

    /// Makes again what a container that is started needs and a reboot takes away: the engine would start it without
    /// its task's limits, or not at all.
    async fn stand_by(&self, task: TaskId, spec: Option<&TaskSpec>, again: bool) -> Result<(), Failure> {
        let Some(spec) = spec else { return Ok(()) };
        let limited = spec.cpu_units.is_some() || spec.memory_mib.is_some();
        if limited && !self.parents().contains_key(&task) {
            self.cgroup_parent(spec).await?;
        }
        if spec.network_mode == NetworkMode::Host {
            // Made by whoever knows it.
            self.drivers.cgroups.host_parent()?;
        }
        if again && (spec.pid_mode == Some(PidMode::Task) || spec.ipc_mode == Some(IpcMode::Task)) {
            self.drivers.namespaces.ensure_again(task, shared_memory(spec)).await.map_err(not_asked)?;
        }
        Ok(())
    }

    /// Makes the interface of a task again that the host's reboot, or the engine's, may have ended.
    async fn wake(&self, spec: Option<&TaskSpec>, again: bool) -> Result<(), Failure> {
        match spec.filter(|spec| again && spec.network_mode == NetworkMode::Awsvpc) {
            Some(spec) => self.drivers.interfaces.ensure_again(spec).await.map_err(not_asked),
            None => Ok(()),
        }
    }

    async fn release(&self, task: TaskId, kind: &ResourceKind) -> Result<(), Failure> {
        let slot = || self.slots.removals.acquire();
        match kind {
            // Somebody waits for this one: the task is not over before.
            ResourceKind::Interface => self.drivers.interfaces.release(task).await,
            // Ports are free when the reconciler, which has them, hears of this. A shared volume is the host's.
            ResourceKind::Ports | ResourceKind::SharedVolume(_) => Ok(()),
            ResourceKind::Namespaces => {
                let _slot = slot().await;
                self.drivers.namespaces.release(task).await
            }
            ResourceKind::Cgroup => {
                let _slot = slot().await;
                self.parents().remove(&task);
                self.drivers.cgroups.remove(task).await
            }
            ResourceKind::Volume(name) => {
                let _slot = slot().await;
                self.drivers.volumes.remove(task, name).await
            }
        }
    }

    async fn create(&self, mut request: CreateRequest) -> Result<Creation, Failure> {
        if request.spec.cpu_units.is_some() || request.spec.memory_mib.is_some() {
            let known = self.parents().get(&request.spec.id).cloned();
            request.cgroup_parent = match known {
                Some(parent) => parent,
                // Made by a process before this one.
                None => self.cgroup_parent(&request.spec).await?,
            };
        } else if request.spec.network_mode == NetworkMode::Host {
            request.cgroup_parent = self.drivers.cgroups.host_parent()?;
        }
        self.add_environment(&mut request).await?;
        environment::add_defaults(Arc::make_mut(&mut request.spec), request.index);
        let _slot = self.slots.creates.acquire().await;
        let created = self.spaced(self.drivers.containers.create(&request).await).await;
        crash::after(Place::ContainerCreated);
        if let Err(Failure::ImageMissing(_)) = &created {
            self.images.forget(&wanted_image(&request.spec.containers[request.index]));
        }
        created
    }

    /// A call that may have found no space: what to make of that depends on whether some can be made.
    async fn spaced<T: Send>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        match result {
            Err(Failure::NoSpace(text)) => Err(self.images.exhausted(text).await),
            result => result,
        }
    }

    /// Puts the variables of the container's files into its environment. The first that says something of a variable
    /// counts, and the definition more than any file.
    async fn add_environment(&self, request: &mut CreateRequest) -> Result<(), Failure> {
        let files = request.spec.containers[request.index].environment_files.clone();
        if files.is_empty() {
            return Ok(());
        }
        let environment = &mut Arc::make_mut(&mut request.spec).containers[request.index].environment;
        for file in &files {
            for variable in self.drivers.environment_files.read(file).await? {
                if environment.iter().all(|v| v.name != variable.name) {
                    environment.push(variable);
                }
            }
        }
        Ok(())
    }

    async fn cgroup_parent(&self, spec: &TaskSpec) -> Result<Option<String>, Failure> {
        let parent = self.drivers.cgroups.ensure(spec).await?;
        self.parents().insert(spec.id, parent.clone());
        Ok(parent)
    }

    fn parents(&self) -> MutexGuard<'_, HashMap<TaskId, Option<String>>> {
        locked(&self.parents)
    }
}

/// Something before the start of a container timed out: its own start, which is given up then, was not asked for.
fn not_asked(failure: Failure) -> Failure {
    match failure {
        Failure::TimedOut(text) => Failure::Passing(text),
        failure => failure,
    }
}

/// Where the agent can be made to end for this step; a look at something changes nothing.
fn place(job: &Job) -> Option<Place> {
    match &job.step {
        Step::Ensure(ResourceKind::Cgroup) => Some(Place::EnsureCgroup),
        Step::Ensure(ResourceKind::Interface) => Some(Place::EnsureInterface),
        Step::Ensure(ResourceKind::Namespaces) => Some(Place::EnsureNamespaces),
        Step::Ensure(ResourceKind::Volume(_)) => Some(Place::EnsureVolume),
        Step::Ensure(ResourceKind::SharedVolume(_)) => Some(Place::EnsureSharedVolume),
        Step::Release(ResourceKind::Cgroup) => Some(Place::ReleaseCgroup),
        Step::Release(ResourceKind::Interface) => Some(Place::ReleaseInterface),
        Step::Release(ResourceKind::Namespaces) => Some(Place::ReleaseNamespaces),
        Step::Release(ResourceKind::Volume(_)) => Some(Place::ReleaseVolume),
        Step::Ensure(ResourceKind::Ports) | Step::Release(ResourceKind::Ports | ResourceKind::SharedVolume(_)) => None,
        Step::Pull(_) => Some(Place::Pull),
        Step::Create(_) => Some(Place::Create),
        Step::Start(_) if job.again => Some(Place::StartAgain),
        Step::Start(_) => Some(Place::Start),
        Step::Inspect(_) => None,
        Step::Stop(_, _) | Step::StopUnhealthy(_, _) => Some(Place::Stop),
        Step::Remove { .. } => Some(Place::Remove),
    }
}

/// Of containers that share `/dev/shm` each may ask for a size: the largest.
fn shared_memory(spec: &TaskSpec) -> Option<u32> {
    spec.containers.iter().filter_map(|c| c.linux.shared_memory_mib).max()
}
