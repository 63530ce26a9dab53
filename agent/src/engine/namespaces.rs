//! Pause containers: what holds the namespaces that containers of one task share by `pidMode` or `ipcMode` `task`.

use super::docker::{chain, plain};
use super::drivers::Namespaces;
use super::strays;
use crate::crash::{self, Place};
use crate::pause;
use async_trait::async_trait;
use longshore_docker::{CreateError, Docker, StartError, pause_config, pause_name};
use longshore_model::TaskId;
use longshore_plan::Failure;

/// The Docker Engine's.
#[derive(Debug)]
pub struct DockerNamespaces {
    docker: Docker,
    image: pause::Image,
}

impl DockerNamespaces {
    /// Pause containers of `docker`.
    #[must_use]
    pub fn new(docker: Docker) -> Self {
        Self { image: pause::Image::new(docker.clone()), docker }
    }
}

#[async_trait]
impl Namespaces for DockerNamespaces {
    async fn ensure(&self, task: TaskId, shared_memory_mib: Option<u32>) -> Result<(), Failure> {
        let image = self.image.ensure().await?;
        match self.docker.create(&pause_config(task, image, shared_memory_mib)).await {
            // Made by a process before this one; nobody else's, since the task's id is in its name.
            Ok(_) | Err(CreateError::NameTaken { .. }) => {}
            Err(error @ CreateError::NoImage { .. }) => return Err(Failure::Passing(chain(&error))),
            Err(CreateError::Engine { source, .. }) => return Err(plain(&source)),
        }
        crash::after(Place::NamespacesCreated);
        // One that runs is left alone.
        let Err(error) = self.docker.start(&pause_name(task)).await else { return Ok(()) };
        // Nothing runs in it yet. A Docker that was killed in the middle of a start may never start that one again, so
        // the next try has another.
        if let Err(left) = self.release(task).await {
            tracing::warn!(%task, error = left.text(), "a pause container that does not start is still there");
        }
        Err(match &error {
            StartError::Engine { source, .. } => plain(source),
            StartError::NotFound { .. } | StartError::PortTaken { .. } | StartError::BadCommand { .. } => {
                Failure::Passing(chain(&error))
            }
        })
    }

    async fn release(&self, task: TaskId) -> Result<(), Failure> {
        strays::end_before_removal(&self.docker, &pause_name(task)).await?;
        self.docker.remove_pause(task).await.map_err(|e| Failure::Passing(chain(&e)))
    }

    async fn list(&self) -> Result<Vec<TaskId>, Failure> {
        self.docker.list_pauses().await.map_err(|e| plain(&e))
    }
}
