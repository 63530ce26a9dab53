//! What the network owner needs of the container engine: sandboxes, and what their tasks' containers say of them.

use crate::crash::{self, Place};
use crate::engine::docker::{chain, plain};
use crate::engine::{renamed, strays};
use crate::pause;
use async_trait::async_trait;
use longshore_docker::{Docker, SandboxInput, StartError, sandbox_config, sandbox_name};
use longshore_model::{EniId, EniReport, TaskId};
use longshore_plan::{Failure, Interface, Supervise};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// What each sandbox's namespace is set to. The engine does the same for containers with a network of its own.
const SYSCTLS: [(&str, &str); 2] =
    [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")];

/// A sandbox in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// The engine's id.
    pub id: String,
    /// Its address, by its label.
    pub address: Option<Ipv4Addr>,
    /// Whether it runs.
    pub running: bool,
    /// Whether it was made from the image that this agent carries.
    pub current: bool,
}

/// Sandboxes of the engine on this host.
#[async_trait]
pub trait Sandboxes: Send + Sync {
    /// All of them, by interface. Nothing is known when it fails.
    async fn list(&self) -> Result<BTreeMap<EniId, Sandbox>, Failure>;
    /// The interfaces that tasks' containers were made in, by their labels.
    async fn labelled(&self) -> Result<BTreeMap<TaskId, Interface>, Failure>;
    /// Creates one for an interface and starts it; its id and its first process.
    async fn make(&self, eni: &EniReport) -> Result<(String, u32), Failure>;
    /// Fails when a container of the task of one that ended runs: it is in the namespace that ended.
    async fn none_runs(&self, eni: EniId, task: TaskId) -> Result<(), Failure>;
    /// Starts one that has ended; its first process.
    async fn start_again(&self, eni: EniId) -> Result<u32, Failure>;
    /// The first process of one that runs.
    async fn process(&self, eni: EniId) -> Result<Option<u32>, Failure>;
    /// Ends and removes one, whatever it does; absent is fine.
    async fn remove(&self, eni: EniId) -> Result<(), Failure>;
}

/// The Docker Engine's.
#[derive(Debug)]
pub struct DockerSandboxes {
    docker: Docker,
    image: pause::Image,
}

impl DockerSandboxes {
    /// Sandboxes of `docker`.
    #[must_use]
    pub fn new(docker: Docker) -> Self {
        Self { image: pause::Image::new(docker.clone()), docker }
    }
}

#[async_trait]
impl Sandboxes for DockerSandboxes {
    async fn list(&self) -> Result<BTreeMap<EniId, Sandbox>, Failure> {
        let all = renamed::sandboxes(&self.docker).await?;
        let image = self.image.find().await?;
        let sandbox = |s: longshore_docker::ListedSandbox| {
            let (running, current) = (s.state.has_process(), image.as_ref() == Some(&s.image_id));
            (s.eni, Sandbox { id: s.id, address: s.address, running, current })
        };
        Ok(all.into_iter().map(sandbox).collect())
    }

    async fn labelled(&self) -> Result<BTreeMap<TaskId, Interface>, Failure> {
        let all = self.docker.list().await.map_err(|e| plain(&e))?;
        let of = |c: longshore_docker::ListedContainer| {
            let label = Supervise::from_label(c.labels.get(longshore_docker::labels::SUPERVISE)?).ok()?;
            Some((label.task.id, label.interface?))
        };
        Ok(all.into_iter().filter_map(of).collect())
    }

    async fn make(&self, eni: &EniReport) -> Result<(String, u32), Failure> {
        let failed = |e: &(dyn std::error::Error + 'static)| Failure::Passing(chain(e));
        let image = self.image.ensure().await?;
        let hostname = eni.host_name();
        let input = SandboxInput { eni: eni.id, address: eni.ipv4, hostname: &hostname, image, sysctls: &SYSCTLS };
        let id = self.docker.create(&sandbox_config(&input)).await.map_err(|e| failed(&e))?.id;
        crash::after(Place::SandboxCreated);
        self.docker.start(&id).await.map_err(|e| failed(&e))?;
        crash::after(Place::SandboxStarted);
        let process = self.process(eni.id).await?;
        let pid = process.ok_or_else(|| Failure::Passing("the sandbox ended at once".to_owned()))?;
        Ok((id, pid))
    }

    async fn none_runs(&self, eni: EniId, task: TaskId) -> Result<(), Failure> {
        let live = self.docker.list_live(task).await.map_err(|e| plain(&e))?;
        live.first().map_or(Ok(()), |other| {
            Err(Failure::Passing(format!(
                "container `{}`, which held the task's network, has ended, and container `{other}` runs, which would \
                 not share that of another one: stop the task, and run it again",
                sandbox_name(eni)
            )))
        })
    }

    async fn start_again(&self, eni: EniId) -> Result<u32, Failure> {
        let name = sandbox_name(eni);
        self.docker.start(&name).await.map_err(|e| match &e {
            StartError::Engine { source, .. } => plain(source),
            StartError::NotFound { .. } | StartError::PortTaken { .. } | StartError::BadCommand { .. } => {
                Failure::Passing(chain(&e))
            }
        })?;
        crash::after(Place::SandboxStartedAgain);
        let process = self.process(eni).await?;
        process.ok_or_else(|| Failure::Passing(format!("container `{name}` ended at once")))
    }

    async fn process(&self, eni: EniId) -> Result<Option<u32>, Failure> {
        let found = self.docker.inspect(&sandbox_name(eni)).await.map_err(|e| plain(&e))?;
        Ok(found.and_then(|c| c.pid))
    }

    async fn remove(&self, eni: EniId) -> Result<(), Failure> {
        if !strays::end_before_removal(&self.docker, &sandbox_name(eni)).await? {
            renamed::sandboxes(&self.docker).await?;
        }
        let removed = crash::around(Place::SandboxRemoved, self.docker.remove_sandbox(eni)).await;
        removed.map_err(|e| Failure::Passing(chain(&e)))
    }
}
