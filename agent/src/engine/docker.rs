//! The engine's drivers over Docker: errors become the plan's [`Failure`]s, and nothing else happens here.

use super::drivers::{Clock, Containers, CreateRequest, Image, Images, Listed, OwnCredentials, SystemClock, Volumes};
use super::registries::Registries;
use super::{renamed, strays};
use crate::contact::Uptime;
use crate::disk::StorageLimits;
use crate::probes::Verdicts;
use async_trait::async_trait;
use longshore_docker::{
    ContainerInput, CreateError, Docker, DockerError, ImageInfo, InspectedContainer, ListedContainer, PullError,
    PullLimits, PullProgress, RemoveError, SandboxRef, StartError, StopError, UNBOUNDED_PULLS, VolumeError,
    container_config, container_name, registry_of, volume_name,
};
use longshore_model::{ContainerName, EniId, TaskId, Timestamp, VolumeSpec};
use longshore_plan::{Creation, Failure, Halt, Inspected, RunState, Sighting, Supervise};
use std::collections::BTreeMap;

const TASK: &str = "longshore.task";
const CONTAINER: &str = "longshore.container";
const SUPERVISE: &str = "longshore.supervise";
const VOLUME: &str = "longshore.volume";

/// The Docker Engine of this host.
#[derive(Debug, Clone)]
pub struct DockerDriver {
    docker: Docker,
    limits: PullLimits,
    registries: Registries,
    verdicts: Verdicts,
    storage_limits: StorageLimits,
}

impl DockerDriver {
    /// Drives `docker`; pulls keep to `limits` and show what `registries` has; what probes found of a container
    /// (`verdicts`) is its health.
    #[must_use]
    pub fn new(docker: Docker, limits: PullLimits, registries: Registries, verdicts: Verdicts) -> Self {
        Self { docker, limits, registries, verdicts, storage_limits: StorageLimits::default() }
    }

    /// The same, where containers are made with a limit on what they write if the storage driver can.
    #[must_use]
    pub fn limiting(self, storage_limits: StorageLimits) -> Self {
        Self { storage_limits, ..self }
    }
}

/// An error and its causes on one line, without saying anything twice.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// What a failed call says about the engine; `text` is its reason in ECS's words, `refused` what it is when the engine
/// answered no.
fn sort(error: &DockerError, text: String, refused: fn(String) -> Failure) -> Failure {
    match error {
        DockerError::Unreachable { .. } | DockerError::TooOld { .. } => Failure::Away(text),
        DockerError::Lost { .. } | DockerError::Unreadable { .. } => Failure::Unknown(text),
        DockerError::Timeout { .. } => Failure::TimedOut(text),
        DockerError::Refused { .. } => refused(text),
    }
}

/// What it is that the engine refused for good, or for want of space.
fn refused(text: String) -> Failure {
    let lower = text.to_ascii_lowercase();
    if lower.contains("no space left on device") || lower.contains("disk quota exceeded") {
        Failure::NoSpace(text)
    } else {
        Failure::Lasting(text)
    }
}

pub(crate) fn plain(error: &DockerError) -> Failure {
    sort(error, chain(error), Failure::Passing)
}

const fn run_state(state: longshore_docker::RunState) -> RunState {
    use longshore_docker::RunState as D;
    match state {
        D::Created => RunState::Created,
        D::Running | D::Paused | D::Restarting => RunState::Running,
        D::Removing => RunState::Removing,
        D::Exited | D::Dead => RunState::Ended,
    }
}

fn listed(mut c: ListedContainer) -> Option<Listed> {
    // What is left in Docker's memory of one whose removal and end it heard of at once; no call finds it.
    if c.name.is_empty() {
        return None;
    }
    let task = c.labels.get(TASK)?.parse().ok()?;
    let container: ContainerName = c.labels.get(CONTAINER)?.parse().ok()?;
    let renamed = c.name != container_name(task, &container);
    let sighting = Sighting { id: c.id, state: run_state(c.state), health: c.health, renamed };
    Some(Listed { task, container, sighting, supervise: c.labels.remove(SUPERVISE) })
}

fn inspected(c: InspectedContainer, task: TaskId) -> Inspected {
    let label = c.labels.get(SUPERVISE).and_then(|text| Supervise::from_label(text).ok());
    Inspected {
        ours: c.labels.get(TASK).is_some_and(|t| t.parse() == Ok(task)),
        state: run_state(c.state),
        started_at: c.started_at,
        finished_at: c.exit.as_ref().and_then(|e| e.finished_at),
        before_boot: c.exit.as_ref().and_then(|e| e.finished_at).is_some_and(|at| at < booted_at()),
        exit_code: c.exit.as_ref().map(|e| e.code),
        health: c.health,
        oom_killed: c.exit.as_ref().is_some_and(|e| e.oom_killed),
        error: Some(c.error).filter(|e| !e.is_empty()),
        // The image's digest needs a look at the image, which the pull took; it is in the record since.
        image_digest: None,
        interface: label.as_ref().and_then(|l| l.interface.clone()).map(Box::new),
        ports: label.map(|l| l.ports).unwrap_or_default(),
        id: c.id,
    }
}

/// When the host was booted, by its clock as it is now.
fn booted_at() -> Timestamp {
    let millis = Uptime::now().since_boot().as_millis();
    SystemClock.now().moved(i64::try_from(millis).map_or(i64::MIN, |millis| -millis))
}

#[async_trait]
impl Containers for DockerDriver {
    async fn list(&self) -> Result<Vec<Listed>, Failure> {
        let all = self.docker.list().await.map_err(|e| plain(&e))?;
        let probed = |mut found: Listed| {
            found.sighting.health = self.verdicts.of(&found.sighting.id).or(found.sighting.health);
            found
        };
        Ok(all.into_iter().filter_map(listed).map(probed).collect())
    }

    async fn sandboxes(&self) -> Result<BTreeMap<EniId, bool>, Failure> {
        let all = renamed::sandboxes(&self.docker).await?;
        Ok(all.into_iter().map(|s| (s.eni, s.state.has_process())).collect())
    }

    async fn inspect(&self, task: TaskId, container: &ContainerName) -> Result<Option<Inspected>, Failure> {
        let name = container_name(task, container);
        let mut found = self.docker.inspect(&name).await.map_err(|e| plain(&e))?;
        if found.is_none() && self.takes_name_back(task, container, &name).await? {
            found = self.docker.inspect(&name).await.map_err(|e| plain(&e))?;
        }
        Ok(found.map(|c| {
            let found = inspected(c, task);
            Inspected { health: self.verdicts.of(&found.id).or(found.health), ..found }
        }))
    }

    async fn create(&self, request: &CreateRequest) -> Result<Creation, Failure> {
        let config = container_config(&ContainerInput {
            task: &request.spec,
            container: &request.spec.containers[request.index],
            bindings: &request.bindings,
            sandbox: request.interface.as_ref().map(|i| SandboxRef { id: &i.sandbox, files: &i.files }),
            cgroup_parent: request.cgroup_parent.as_deref(),
            supervise: &request.supervise,
        })
        .map_err(|e| Failure::Lasting(e.ecs_reason()))?;
        let config = match request.spec.ephemeral_storage_mib.filter(|_| self.storage_limits.work()) {
            // How the containers of a task share its limit only shows when they write: each may have all of it, and
            // what they have together is watched.
            Some(mib) => config.with_storage_limit(mib),
            None => config,
        };
        let created = self.docker.create(&config).await.map_err(|e| match &e {
            CreateError::NameTaken { .. } => Failure::NameTaken(e.ecs_reason()),
            CreateError::NoImage { .. } => Failure::ImageMissing(e.ecs_reason()),
            CreateError::Engine { source, .. } => sort(source, e.ecs_reason(), refused),
        })?;
        Ok(Creation { id: created.id, warnings: created.warnings })
    }

    async fn start(&self, task: TaskId, container: &ContainerName) -> Result<(), Failure> {
        let name = container_name(task, container);
        let Err(e) = self.docker.start(&name).await else { return Ok(()) };
        Err(match &e {
            StartError::PortTaken { .. } => Failure::PortTaken(e.ecs_reason()),
            // Gone since it was created: an inspection says so, and the plan knows what that means.
            StartError::NotFound { .. } => Failure::Unknown(e.ecs_reason()),
            StartError::BadCommand { .. } => Failure::Lasting(e.ecs_reason()),
            // Docker was killed in the middle of an earlier start.
            StartError::Engine { source, .. } if is_confused(source) => {
                if self.has_run(&name).await? {
                    Failure::Lasting(e.ecs_reason())
                } else {
                    Failure::Confused(e.ecs_reason())
                }
            }
            // The other one is about to be started again.
            StartError::Engine { source, .. } if says(source, "Cannot link to a non running container") => {
                Failure::Passing(e.ecs_reason())
            }
            StartError::Engine { source, .. } => sort(source, e.ecs_reason(), refused),
        })
    }

    async fn stop(&self, task: TaskId, container: &ContainerName, halt: Halt) -> Result<(), Failure> {
        let name = container_name(task, container);
        let result = match halt {
            Halt::Polite(grace) => self.docker.stop(&name, grace).await,
            Halt::Kill => self.docker.kill(&name).await,
        };
        result.map_err(|e: StopError| sort(&e.source, e.ecs_reason(), Failure::Passing))
    }

    async fn remove(&self, task: TaskId, container: &ContainerName) -> Result<(), Failure> {
        let name = container_name(task, container);
        if !strays::end_before_removal(&self.docker, &name).await? {
            self.takes_name_back(task, container, &name).await?;
        }
        self.docker.remove(&name).await.map_err(|e| match &e {
            RemoveError::Running { .. } | RemoveError::InProgress { .. } => Failure::Passing(chain(&e)),
            RemoveError::Engine { source, .. } => sort(source, chain(&e), Failure::Passing),
        })
    }
}

impl DockerDriver {
    /// Whether somebody had given the container of this name another one, which then has its own again: everything is
    /// asked by name.
    async fn takes_name_back(&self, task: TaskId, container: &ContainerName, name: &str) -> Result<bool, Failure> {
        let all = self.docker.list().await.map_err(|e| plain(&e))?;
        let labelled = |c: &&ListedContainer| {
            let label = |key: &str| c.labels.get(key).map(String::as_str);
            label(TASK).and_then(|id| id.parse().ok()) == Some(task) && label(CONTAINER) == Some(container.as_str())
        };
        let Some(found) = all.iter().find(labelled).filter(|c| !c.name.is_empty() && c.name != name) else {
            return Ok(false);
        };
        renamed::name_again(&self.docker, &found.id, &found.name, name).await.map_err(|e| plain(&e))?;
        Ok(true)
    }

    /// Ends a container that Docker could not start because containerd has it already. Says whether its command may
    /// have run, in which case it must not be made again.
    async fn has_run(&self, name: &str) -> Result<bool, Failure> {
        let strays = strays::end_of(&self.docker, name).await?;
        if strays.ran > 0 {
            return Ok(true);
        }
        let found = self.docker.inspect(name).await.map_err(|e| plain(&e))?;
        // Docker heard from containerd that it runs: it was started by the call that was cut, and does not have the
        // network that Docker has taken away since.
        let runs = found.is_some_and(|c| run_state(c.state) == RunState::Running);
        if runs {
            tracing::warn!(container = name, "ending what Docker could not start and containerd runs");
            self.docker.kill(name).await.map_err(|e| sort(&e.source, e.ecs_reason(), Failure::Passing))?;
        }
        Ok(runs)
    }
}

fn says(error: &DockerError, text: &str) -> bool {
    matches!(error, DockerError::Refused { message, .. } if message.contains(text))
}

/// Whether containerd has traces of the container that Docker does not know of.
fn is_confused(error: &DockerError) -> bool {
    let DockerError::Refused { message, .. } = error else { return false };
    message.ends_with(": already exists") || message.contains("id already in use")
}

/// What somebody can do about a registry that wants other credentials.
fn refused_by_registry(image: &str, own: Option<&OwnCredentials>, shown: bool) -> String {
    let registry = registry_of(image);
    if let Some(OwnCredentials { parameter, .. }) = own {
        format!(
            "{registry} refused the credentials of the secret `{parameter}`, which repositoryCredentials names: \
             correct the secret's value, or the image's name"
        )
    } else if shown {
        format!(
            "{registry} refused the credentials that the file named by registry_auth_file in this host's agent \
             configuration has for it: correct them there, or the image's name"
        )
    } else {
        format!(
            "this host has no credentials for {registry}: put some into the file named by registry_auth_file in its \
             agent configuration, or correct the image's name"
        )
    }
}

fn image(info: &ImageInfo, reference: &str) -> Image {
    Image { id: info.id.clone(), digest: info.digest(reference).map(str::to_owned) }
}

#[async_trait]
impl Images for DockerDriver {
    async fn find(&self, reference: &str) -> Result<Option<Image>, Failure> {
        let found = self.docker.image(reference).await.map_err(|e| plain(&e))?;
        Ok(found.map(|info| image(&info, reference)))
    }

    async fn pull(
        &self,
        reference: &str,
        own: Option<&OwnCredentials>,
        progress: &(dyn Fn(String) + Send + Sync),
    ) -> Result<Image, Failure> {
        let say = |p: &PullProgress| {
            let mib = |bytes: u64| bytes / (1024 * 1024);
            if p.queued && p.layers == 0 {
                return progress(format!(
                    "its turn has not come: an engine with containerd's image store is asked for {UNBOUNDED_PULLS} \
                     images at a time"
                ));
            }
            let queued =
                if p.queued { "; the rest waits for other pulls (max-concurrent-downloads of dockerd)" } else { "" };
            progress(format!(
                "{} of {} layers, {} of {} MiB{queued}",
                p.layers_done,
                p.layers,
                mib(p.bytes),
                mib(p.bytes_total)
            ));
        };
        let shown = match own {
            // A container's own stand above the host's, as in ECS; a file that cannot be read is not its business.
            Some(own) => Some(own.credentials.clone()),
            None => {
                let found = self.registries.credentials(reference);
                found.map_err(|e| Failure::Lasting(format!("CannotPullContainerError: {}", chain(&e))))?
            }
        };
        let pull = self.docker.pull(reference, shown.as_ref(), self.limits, say);
        let pulled = pull.await.map_err(|e| match &e {
            PullError::Auth { .. } => {
                let what_to_do = refused_by_registry(reference, own, shown.is_some());
                Failure::Lasting(format!("{}; {what_to_do}", e.ecs_reason()))
            }
            PullError::NotFound { .. } => Failure::ImageMissing(e.ecs_reason()),
            PullError::Reference { .. } => Failure::Lasting(e.ecs_reason()),
            PullError::Disk { .. } => Failure::NoSpace(e.ecs_reason()),
            PullError::Unreachable { .. } | PullError::Stalled { .. } | PullError::Other { .. } => {
                Failure::Passing(e.ecs_reason())
            }
            PullError::Timeout { .. } => Failure::TimedOut(e.ecs_reason()),
            PullError::Engine { source, .. } => sort(source, e.ecs_reason(), Failure::Passing),
        })?;
        Ok(image(&pulled, reference))
    }
}

#[async_trait]
impl Volumes for DockerDriver {
    async fn ensure(&self, task: TaskId, volume: &VolumeSpec) -> Result<(), Failure> {
        let made = self.docker.ensure_volume(task, volume).await;
        made.map_err(|e| volume_failure(&e, refused))
    }

    async fn remove(&self, task: TaskId, volume: &str) -> Result<(), Failure> {
        let removed = self.docker.remove_volume(&volume_name(task, volume)).await;
        removed.map_err(|e| volume_failure(&e, Failure::Passing))
    }

    async fn list(&self) -> Result<Vec<(TaskId, String)>, Failure> {
        let all = self.docker.list_volumes().await.map_err(|e| plain(&e))?;
        Ok(all
            .into_iter()
            .filter_map(|mut v| Some((v.labels.get(TASK)?.parse().ok()?, v.labels.remove(VOLUME)?)))
            .collect())
    }
}

fn volume_failure(error: &VolumeError, refused: fn(String) -> Failure) -> Failure {
    match error {
        VolumeError::InUse { .. } => Failure::Passing(chain(error)),
        VolumeError::Missing { .. } | VolumeError::Elsewhere { .. } => Failure::Lasting(chain(error)),
        VolumeError::Engine { source, .. } => sort(source, chain(error), refused),
    }
}
