//! How much containers have written, which the engine has to look for.

use crate::client::Docker;
use crate::error::DockerError;
use crate::labels;
use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptions;
use longshore_model::TaskId;

/// What a container has written to its own file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenSize {
    /// Its name, without the leading slash.
    pub name: String,
    /// The task that it is of, if it is of one.
    pub task: Option<TaskId>,
    /// In bytes; volumes and what its log driver keeps are not in it.
    pub size: u64,
}

impl Docker {
    /// How much every container has written to its own file system, whoever made it and whatever its state. The engine
    /// walks through all that they wrote: for when that is worth it.
    ///
    /// # Errors
    /// When the engine does not answer: then nothing is known.
    pub async fn sizes(&self) -> Result<Vec<WrittenSize>, DockerError> {
        let options = ListContainersOptions { all: true, size: true, ..ListContainersOptions::default() };
        let client = self.client().await?;
        let call = client.list_containers(Some(options));
        let listed = self.call("listing what containers have written", self.timeouts().list, call).await?;
        let written = |c: ContainerSummary| WrittenSize {
            size: c.size_rw.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
            task: c.labels.as_ref().and_then(|labels| labels.get(labels::TASK)?.parse().ok()),
            name: c.names.and_then(|names| Some(names.first()?.trim_start_matches('/').to_owned())).unwrap_or_default(),
        };
        Ok(listed.into_iter().map(written).collect())
    }
}
