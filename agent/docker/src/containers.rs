//! Containers: listing, looking at one, and the calls of its life.

use crate::client::Docker;
use crate::config::CreateContainer;
use crate::error::{DockerError, Retry};
use crate::labels;
use crate::logs;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary,
    ContainerSummaryStateEnum, HealthStatusEnum, MountPoint, PortMap,
};
use bollard::query_parameters::{
    CreateContainerOptions, InspectContainerOptions, KillContainerOptions, ListContainersOptions,
    RemoveContainerOptions, RenameContainerOptions, StartContainerOptions, StopContainerOptions,
};
use longshore_model::{HealthStatus, NetworkBinding, Protocol, Timestamp};
use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

/// What the engine says a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunState {
    /// Made; never started, or its start failed.
    Created,
    /// Its process runs.
    Running,
    /// Its process is frozen.
    Paused,
    /// Between two runs; never for ours, whose restart policy is `no`, unless somebody changed it.
    Restarting,
    /// Its process ended.
    Exited,
    /// Being removed.
    Removing,
    /// Its removal failed half-way; it can only be removed again.
    Dead,
}

impl RunState {
    /// Whether a process of it exists.
    #[must_use]
    pub const fn has_process(self) -> bool {
        match self {
            Self::Running | Self::Paused | Self::Restarting => true,
            Self::Created | Self::Exited | Self::Removing | Self::Dead => false,
        }
    }
}

/// A container of ours in a listing. Cheap: the engine answers from memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedContainer {
    /// Its name, without the leading slash.
    pub name: String,
    /// The engine's id.
    pub id: String,
    /// What it is.
    pub state: RunState,
    /// What its health check says; `None` when it has none or does not run.
    pub health: Option<HealthStatus>,
    /// All labels.
    pub labels: HashMap<String, String>,
    /// The id of its image.
    pub image_id: String,
    /// When it was created, to the second.
    pub created: Timestamp,
}

/// How a container's process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The exit code; 128 + n after signal n.
    pub code: i32,
    /// Whether the kernel killed a process of it for memory.
    pub oom_killed: bool,
    /// When.
    pub finished_at: Option<Timestamp>,
}

/// Everything that the engine knows of one container, as far as the agent uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectedContainer {
    /// Its name, without the leading slash.
    pub name: String,
    /// The engine's id.
    pub id: String,
    /// What it is.
    pub state: RunState,
    /// When it was last started; `None` if it never was.
    pub started_at: Option<Timestamp>,
    /// How it ended, when it is not running and was started, or its start failed with an exit code.
    pub exit: Option<Exit>,
    /// The engine's words on what went wrong, empty when nothing did.
    pub error: String,
    /// The process id on the host; `None` when it does not run.
    pub pid: Option<u32>,
    /// What its health check says; `None` when it has none or does not run: then the engine says unhealthy of any.
    pub health: Option<HealthStatus>,
    /// The host ports that it was created with.
    pub wanted_bindings: Vec<NetworkBinding>,
    /// The host ports as they are; empty when it does not run.
    pub bindings: Vec<NetworkBinding>,
    /// The id of its image (`sha256:…`).
    pub image_id: String,
    /// The image as its creation named it.
    pub image: String,
    /// The newest file with its output, for drivers that keep it in files and once it was about to start.
    pub log_file: Option<PathBuf>,
    /// All labels.
    pub labels: HashMap<String, String>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// Its address on the engine's bridge, while it runs there.
    pub address: Option<Ipv4Addr>,
    /// What is mounted into it.
    pub mounts: Vec<InspectedMount>,
    /// The directory with what it wrote to its own file system, for storage drivers that keep it in one.
    pub upper_dir: Option<PathBuf>,
}

/// Something that is mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectedMount {
    /// The name of a volume; empty for a path of the host.
    pub name: String,
    /// The path on the host.
    pub source: String,
    /// The path in the container.
    pub destination: String,
}

/// A container that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedContainer {
    /// The engine's id.
    pub id: String,
    /// What the engine could not do as it was asked, in its words, and left out: it made the container all the same.
    pub warnings: Vec<String>,
}

/// Why a container was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The name is taken. Inspect it: after a crash or a timeout it is usually our own earlier attempt.
    #[error("a container named `{name}` exists already")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The image is not on this host.
    #[error("could not create container `{name}`: there is no image `{image}` on this host")]
    NoImage {
        /// The container.
        name: String,
        /// The image.
        image: String,
    },
    /// Anything else.
    #[error("could not create container `{name}`")]
    Engine {
        /// The container.
        name: String,
        /// Why.
        #[source]
        source: DockerError,
    },
}

impl CreateError {
    /// Whether and how to try again.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::NameTaken { .. } => Retry::LookFirst,
            Self::NoImage { .. } => Retry::Never,
            Self::Engine { source, .. } => source.retry(),
        }
    }

    /// As ECS words a container's reason.
    #[must_use]
    pub fn ecs_reason(&self) -> String {
        const NAME: &str = "CannotCreateContainerError";
        match self {
            Self::NameTaken { .. } => format!("{NAME}: {self}"),
            Self::NoImage { image, .. } => format!("{NAME}: Error response from daemon: No such image: {image}"),
            Self::Engine { source, .. } => source.ecs_reason(NAME, "created"),
        }
    }
}

/// Why a container was not started. After each of these the container exists and does not run, unless
/// [`StartError::retry`] says [`Retry::LookFirst`].
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Somebody else has a host port.
    #[error("could not start container `{name}`: host port {port:?} is taken: {message}")]
    PortTaken {
        /// The container.
        name: String,
        /// The port, when the engine's message names it.
        port: Option<u16>,
        /// The engine's words.
        message: String,
    },
    /// There is no such container.
    #[error("could not start container `{name}`: it does not exist")]
    NotFound {
        /// The container.
        name: String,
    },
    /// The command cannot be executed.
    #[error("could not start container `{name}`: {message}")]
    BadCommand {
        /// The container.
        name: String,
        /// 127 when there is no such file, 126 when it cannot be executed (as a shell says it).
        exit_code: i32,
        /// The engine's words.
        message: String,
    },
    /// Anything else.
    #[error("could not start container `{name}`")]
    Engine {
        /// The container.
        name: String,
        /// Why.
        #[source]
        source: DockerError,
    },
}

impl StartError {
    /// Whether and how to try again.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            // With the same ports it fails again until the other one is gone; the caller may choose another port.
            Self::PortTaken { .. } => Retry::Later,
            Self::NotFound { .. } | Self::BadCommand { .. } => Retry::Never,
            Self::Engine { source, .. } => source.retry(),
        }
    }

    /// As ECS words a container's reason.
    #[must_use]
    pub fn ecs_reason(&self) -> String {
        const NAME: &str = "CannotStartContainerError";
        match self {
            Self::PortTaken { message, .. } | Self::BadCommand { message, .. } => {
                format!("{NAME}: Error response from daemon: {message}")
            }
            Self::NotFound { name } => format!("{NAME}: Error response from daemon: No such container: {name}"),
            Self::Engine { source, .. } => source.ecs_reason(NAME, "started"),
        }
    }
}

/// Why a container was not stopped or killed.
#[derive(Debug, thiserror::Error)]
#[error("could not stop container `{name}`")]
pub struct StopError {
    /// The container.
    pub name: String,
    /// Why.
    #[source]
    pub source: DockerError,
}

impl StopError {
    /// As ECS words a container's reason.
    #[must_use]
    pub fn ecs_reason(&self) -> String {
        self.source.ecs_reason("CannotStopContainerError", "stopped")
    }
}

/// Why a container was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// It runs (or is paused): stop it first.
    #[error("could not remove container `{name}`: it runs")]
    Running {
        /// The container.
        name: String,
    },
    /// The engine is removing it already; look again.
    #[error("container `{name}` is being removed already")]
    InProgress {
        /// The container.
        name: String,
    },
    /// Anything else.
    #[error("could not remove container `{name}`")]
    Engine {
        /// The container.
        name: String,
        /// Why.
        #[source]
        source: DockerError,
    },
}

/// Those that are what their labels say; `name` is the one that these give. Somebody may have renamed one, which is it
/// all the same. What has the labels beside the one of the name is another's, as a container of an image that was
/// committed from it.
pub(crate) fn without_doubles(
    mut all: Vec<ListedContainer>,
    name: impl Fn(&ListedContainer) -> Option<String>,
) -> Vec<ListedContainer> {
    let names: HashSet<String> = all.iter().map(|c| c.name.clone()).collect();
    all.retain(|c| name(c).is_none_or(|name| name == c.name || !names.contains(&name)));
    all
}

impl Docker {
    /// Every container that bears the label `longshore.task`, in any state, but for those that have the labels of
    /// another one. One call; nothing is inspected.
    ///
    /// # Errors
    /// When the engine does not answer: then nothing is known about any container.
    pub async fn list(&self) -> Result<Vec<ListedContainer>, DockerError> {
        Ok(without_doubles(self.list_labelled(labels::TASK).await?, |c| labels::name_by(&c.labels)))
    }

    /// Every container that bears the label `label`, which may be one with a value (`name=value`), in any state.
    pub(crate) async fn list_labelled(&self, label: &str) -> Result<Vec<ListedContainer>, DockerError> {
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), vec![label.to_owned()])])),
            ..ListContainersOptions::default()
        };
        let client = self.client().await?;
        let listed =
            self.call("listing containers", self.timeouts().list, client.list_containers(Some(options))).await?;
        Ok(listed.into_iter().map(ListedContainer::from).collect())
    }

    /// The ids of the images that containers are made from, whoever made them and whatever their state.
    ///
    /// # Errors
    /// When the engine does not answer: then nothing is known.
    pub async fn images_in_use(&self) -> Result<HashSet<String>, DockerError> {
        let options = ListContainersOptions { all: true, ..ListContainersOptions::default() };
        let client = self.client().await?;
        let call = client.list_containers(Some(options));
        let listed = self.call("listing the containers of images", self.timeouts().list, call).await?;
        Ok(listed.into_iter().filter_map(|c| c.image_id).collect())
    }

    /// One container, by name or id; `None` when there is none.
    ///
    /// # Errors
    /// When the engine does not answer: then nothing is known about the container.
    pub async fn inspect(&self, name: &str) -> Result<Option<InspectedContainer>, DockerError> {
        let client = self.client().await?;
        let doing = format!("inspecting container `{name}`");
        let call = client.inspect_container(name, None::<InspectContainerOptions>);
        match self.call(&doing, self.timeouts().inspect, call).await {
            Ok(found) => Ok(Some(InspectedContainer::from(found))),
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a container. It does not run yet.
    ///
    /// # Errors
    /// See [`CreateError`]; a name that is taken is a kind of its own.
    pub async fn create(&self, container: &CreateContainer) -> Result<CreatedContainer, CreateError> {
        let name = container.name();
        let fail = |source: DockerError| classify_create(name, container.image(), source);
        let client = self.client().await.map_err(fail)?;
        let doing = format!("creating container `{name}`");
        let options = CreateContainerOptions { name: Some(name.to_owned()), ..CreateContainerOptions::default() };
        let create = async |body: ContainerCreateBody| {
            // A large future, and there are two of them.
            let call = Box::pin(client.create_container(Some(options.clone()), body));
            self.call(&doing, self.timeouts().create, call).await
        };
        let mut made = create(container.body().clone()).await;
        let mut warnings = Vec::new();
        let again = made.as_ref().err().and_then(DockerError::refusal);
        if let Some(body) = again.and_then(|(_, message)| logs::refused(container.body(), message)) {
            warnings.push(logs::MAY_LOSE.to_owned());
            made = create(body).await;
        }
        let made = made.map_err(fail)?;
        warnings.extend(made.warnings);
        for warning in &warnings {
            tracing::warn!(container = name, why = warning, "the container engine warns about a container");
        }
        Ok(CreatedContainer { id: made.id, warnings })
    }

    /// Starts a container. One that runs already is left alone.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(&self, name: &str) -> Result<(), StartError> {
        let fail = |source: DockerError| classify_start(name, source);
        let client = self.client().await.map_err(fail)?;
        let doing = format!("starting container `{name}`");
        let call = client.start_container(name, None::<StartContainerOptions>);
        self.call(&doing, self.timeouts().start, call).await.map_err(fail)
    }

    /// Sends the container's stop signal (SIGTERM unless the image says otherwise), and SIGKILL after `grace`; returns
    /// once it is down. One that is absent or down already is fine. Waits for `grace` and two minutes at most.
    ///
    /// # Errors
    /// When the engine refuses or does not answer; after a timeout it may still stop it.
    pub async fn stop(&self, name: &str, grace: Duration) -> Result<(), StopError> {
        let fail = |source| StopError { name: name.to_owned(), source };
        let client = self.client().await.map_err(fail)?;
        let doing = format!("stopping container `{name}`");
        // The engine takes whole seconds; half a second more grace is better than SIGKILL at once.
        let secs = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let options = StopContainerOptions { t: Some(i32::try_from(secs).unwrap_or(i32::MAX)), signal: None };
        let limit = grace.saturating_add(self.timeouts().stop_extra);
        let result = self.call(&doing, limit, client.stop_container(name, Some(options))).await;
        absent_is_fine(result, &[404]).map_err(fail)
    }

    /// Sends SIGKILL and does not wait. One that is absent or down already is fine.
    ///
    /// # Errors
    /// When the engine refuses or does not answer.
    pub async fn kill(&self, name: &str) -> Result<(), StopError> {
        let fail = |source| StopError { name: name.to_owned(), source };
        let client = self.client().await.map_err(fail)?;
        let doing = format!("killing container `{name}`");
        let options = KillContainerOptions { signal: "SIGKILL".to_owned() };
        let result = self.call(&doing, self.timeouts().stop_extra, client.kill_container(name, Some(options))).await;
        // 409 is "not running"; engines before 20 said 500.
        absent_is_fine(result, &[404, 409]).map_err(fail)
    }

    /// Removes a container that does not run, and its anonymous volumes. One that is absent is fine.
    ///
    /// # Errors
    /// See [`RemoveError`].
    pub async fn remove(&self, name: &str) -> Result<(), RemoveError> {
        self.remove_with(name, false).await
    }

    /// Gives a container, by its id, another name.
    ///
    /// # Errors
    /// When the engine refuses (the name is taken, there is no such container) or does not answer.
    pub async fn rename(&self, id: &str, name: &str) -> Result<(), DockerError> {
        let client = self.client().await?;
        let options = RenameContainerOptions { name: name.to_owned() };
        self.call(
            &format!("renaming container {id} to `{name}`"),
            self.timeouts().create,
            client.rename_container(id, options),
        )
        .await
    }

    pub(crate) async fn remove_with(&self, name: &str, force: bool) -> Result<(), RemoveError> {
        let fail = |source: DockerError| classify_remove(name, source);
        let client = self.client().await.map_err(fail)?;
        let doing = format!("removing container `{name}`");
        let options = RemoveContainerOptions { v: true, force, ..RemoveContainerOptions::default() };
        let result = self.call(&doing, self.timeouts().remove, client.remove_container(name, Some(options))).await;
        absent_is_fine(result, &[404]).map_err(fail)
    }
}

fn status(error: &DockerError) -> Option<u16> {
    error.refusal().map(|(status, _)| status)
}

fn absent_is_fine(result: Result<(), DockerError>, fine: &[u16]) -> Result<(), DockerError> {
    match result {
        Err(error) if status(&error).is_some_and(|s| fine.contains(&s)) => Ok(()),
        other => other,
    }
}

fn classify_create(name: &str, image: &str, source: DockerError) -> CreateError {
    let name = name.to_owned();
    match source.refusal() {
        Some((409, _)) => CreateError::NameTaken { name },
        Some((404, message)) if message.contains("No such image") => CreateError::NoImage { name, image: image.into() },
        Some(_) | None => CreateError::Engine { name, source },
    }
}

/// The engine has no error codes; these are its words in 20.10 to 29 (libnetwork, runc).
fn classify_start(name: &str, source: DockerError) -> StartError {
    let name = name.to_owned();
    let Some((status, message)) = source.refusal() else {
        return StartError::Engine { name, source };
    };
    let text = message.to_ascii_lowercase();
    let message = message.to_owned();
    if status == 404 && text.contains("no such container") {
        return StartError::NotFound { name };
    }
    if text.contains("port is already allocated") || text.contains("address already in use") {
        return StartError::PortTaken { name, port: port_in(&message), message };
    }
    if text.contains("executable file not found") || text.contains("no such file or directory") && is_exec(&text) {
        return StartError::BadCommand { name, exit_code: 127, message };
    }
    if is_exec(&text) && (text.contains("permission denied") || text.contains("is a directory"))
        || text.contains("exec format error")
    {
        return StartError::BadCommand { name, exit_code: 126, message };
    }
    StartError::Engine { name, source }
}

/// runc puts `exec: "name"` (older: `exec "name"`) before its reason when the command is at fault, and not for a mount.
fn is_exec(text: &str) -> bool {
    text.contains("exec: \"") || text.contains("exec \"") || text.contains("exec /")
}

/// The host port in `Bind for 0.0.0.0:8080 failed`, `listen tcp4 0.0.0.0:8080: bind:`, `host port for
/// 0.0.0.0:8080:172.17.0.2:80/tcp`.
fn port_in(message: &str) -> Option<u16> {
    let from = [
        "Bind for ",
        "listen tcp4 ",
        "listen tcp6 ",
        "listen tcp ",
        "listen udp4 ",
        "listen udp6 ",
        "listen udp ",
        "host port for ",
    ]
    .iter()
    .find_map(|lead| message.split_once(lead).map(|(_, rest)| rest))?;
    let address = from.split_whitespace().next()?;
    // An IPv6 address is in brackets and holds colons itself.
    let after_host = match address.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.1,
        None => &address[address.find(':')?..],
    };
    let digits: String = after_host.chars().skip(1).take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn classify_remove(name: &str, source: DockerError) -> RemoveError {
    let name = name.to_owned();
    match source.refusal() {
        Some((409, message)) if message.contains("already in progress") => RemoveError::InProgress { name },
        Some((409, message)) if message.contains("running") || message.contains("paused") => {
            RemoveError::Running { name }
        }
        Some(_) | None => RemoveError::Engine { name, source },
    }
}

impl From<ContainerSummary> for ListedContainer {
    fn from(c: ContainerSummary) -> Self {
        let names = c.names.unwrap_or_default();
        // A container that others link to has several names; its own has one slash.
        let name = names.iter().find(|n| n.matches('/').count() == 1).or(names.first()).cloned().unwrap_or_default();
        Self {
            name: name.trim_start_matches('/').to_owned(),
            id: c.id.unwrap_or_default(),
            state: match c.state {
                Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::STOPPING) => RunState::Running,
                Some(ContainerSummaryStateEnum::PAUSED) => RunState::Paused,
                Some(ContainerSummaryStateEnum::RESTARTING) => RunState::Restarting,
                Some(ContainerSummaryStateEnum::EXITED) => RunState::Exited,
                Some(ContainerSummaryStateEnum::REMOVING) => RunState::Removing,
                Some(ContainerSummaryStateEnum::DEAD) => RunState::Dead,
                Some(ContainerSummaryStateEnum::CREATED | ContainerSummaryStateEnum::EMPTY) | None => RunState::Created,
            },
            health: health_in(c.status.as_deref().unwrap_or_default()),
            labels: c.labels.unwrap_or_default(),
            image_id: c.image_id.unwrap_or_default(),
            created: Timestamp::from_millis(c.created.unwrap_or_default().saturating_mul(1000)),
        }
    }
}

/// Listings say health only in the text for people: `Up 2 minutes (healthy)`.
fn health_in(status: &str) -> Option<HealthStatus> {
    let said = [
        ("(healthy)", HealthStatus::Healthy),
        ("(unhealthy)", HealthStatus::Unhealthy),
        ("(health: starting)", HealthStatus::Unknown),
    ];
    said.into_iter().find(|(text, _)| status.contains(text)).map(|(_, health)| health)
}

impl From<ContainerInspectResponse> for InspectedContainer {
    fn from(c: ContainerInspectResponse) -> Self {
        let state = c.state.unwrap_or_default();
        let run_state = match state.status {
            Some(ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::STOPPING) => RunState::Running,
            Some(ContainerStateStatusEnum::PAUSED) => RunState::Paused,
            Some(ContainerStateStatusEnum::RESTARTING) => RunState::Restarting,
            Some(ContainerStateStatusEnum::REMOVING) => RunState::Removing,
            Some(ContainerStateStatusEnum::EXITED) => RunState::Exited,
            Some(ContainerStateStatusEnum::DEAD) => RunState::Dead,
            Some(ContainerStateStatusEnum::CREATED | ContainerStateStatusEnum::EMPTY) | None => RunState::Created,
        };
        let finished_at = state.finished_at.as_deref().and_then(time);
        // An engine that was killed in the middle of a start may hear of the end alone: then it began no later. A start
        // that failed has an error.
        let unheard =
            finished_at.filter(|_| !run_state.has_process() && state.error.as_ref().is_none_or(String::is_empty));
        let started_at = state.started_at.as_deref().and_then(time).or(unheard);
        let code = i32::try_from(state.exit_code.unwrap_or_default()).unwrap_or(i32::MAX);
        // A failed start leaves `created` with the code 126, 127 or 128 and no start time.
        let ended = !run_state.has_process() && (started_at.is_some() || code != 0);
        let config = c.config.unwrap_or_default();
        let network = c.network_settings.unwrap_or_default();
        let bridge = network.networks.as_ref().and_then(|networks| networks.get("bridge"));
        let address = bridge.and_then(|bridge| bridge.ip_address.as_ref()).and_then(|address| address.parse().ok());
        Self {
            name: c.name.unwrap_or_default().trim_start_matches('/').to_owned(),
            id: c.id.unwrap_or_default(),
            state: run_state,
            started_at,
            exit: ended.then(|| Exit { code, oom_killed: state.oom_killed.unwrap_or(false), finished_at }),
            error: crate::error::one_line(&state.error.unwrap_or_default()),
            pid: state.pid.and_then(|p| u32::try_from(p).ok()).filter(|p| *p != 0),
            health: match state.health.and_then(|h| h.status).filter(|_| run_state.has_process()) {
                Some(HealthStatusEnum::HEALTHY) => Some(HealthStatus::Healthy),
                Some(HealthStatusEnum::UNHEALTHY) => Some(HealthStatus::Unhealthy),
                Some(HealthStatusEnum::STARTING) => Some(HealthStatus::Unknown),
                Some(HealthStatusEnum::NONE | HealthStatusEnum::EMPTY) | None => None,
            },
            wanted_bindings: bindings(c.host_config.and_then(|h| h.port_bindings)),
            address,
            bindings: bindings(network.ports),
            image_id: c.image.unwrap_or_default(),
            image: config.image.unwrap_or_default(),
            log_file: c.log_path.filter(|path| !path.is_empty()).map(Into::into),
            labels: config.labels.unwrap_or_default(),
            created_at: c.created.as_deref().and_then(time),
            mounts: c.mounts.into_iter().flatten().map(InspectedMount::from).collect(),
            upper_dir: c.graph_driver.and_then(|mut driver| driver.data.remove("UpperDir")).map(Into::into),
        }
    }
}

impl From<MountPoint> for InspectedMount {
    fn from(mount: MountPoint) -> Self {
        Self {
            name: mount.name.unwrap_or_default(),
            source: mount.source.unwrap_or_default(),
            destination: mount.destination.unwrap_or_default(),
        }
    }
}

/// Sorted, so that two readings can be compared. What is exposed but not published has no entry.
fn bindings(map: Option<PortMap>) -> Vec<NetworkBinding> {
    let mut all = Vec::new();
    for (key, hosts) in map.unwrap_or_default() {
        let Some((port, protocol)) = key.split_once('/') else { continue };
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            // SCTP: no task definition can ask for it.
            _ => continue,
        };
        let Ok(container_port) = port.parse() else { continue };
        for host in hosts.unwrap_or_default() {
            let host_port = host.host_port.and_then(|p| p.parse().ok()).unwrap_or(0);
            let bind_ip = host.host_ip.unwrap_or_default();
            all.push(NetworkBinding { bind_ip, container_port, host_port, protocol, count: 1 });
        }
    }
    all.sort_by(|a, b| {
        (a.container_port, a.protocol, a.host_port, &a.bind_ip).cmp(&(
            b.container_port,
            b.protocol,
            b.host_port,
            &b.bind_ip,
        ))
    });
    all
}

/// The engine's times are RFC 3339 with nanoseconds; the year 1 is its way to say never.
fn time(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    (time.as_second() > 0).then(|| Timestamp::from_millis(time.as_millisecond()))
}

#[cfg(test)]
mod tests;
