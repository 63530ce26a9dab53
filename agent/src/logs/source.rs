//! Docker as the place where containers with output are found.

use super::{Found, Source, Target};
use crate::engine::docker::chain;
use async_trait::async_trait;
use longshore_docker::{Docker, LoggedContainer, RunState};
use std::path::PathBuf;

/// The Docker Engine of this host.
pub(crate) struct DockerSource(pub(crate) Docker);

#[async_trait]
impl Source for DockerSource {
    async fn list(&self) -> Result<Vec<Found>, String> {
        let all = self.0.logged().await.map_err(|error| chain(&error))?;
        Ok(all.into_iter().map(found).collect())
    }

    async fn file(&self, id: &str) -> Result<Option<PathBuf>, String> {
        self.0.log_file(id).await.map_err(|error| chain(&error))
    }
}

fn found(container: LoggedContainer) -> Found {
    let LoggedContainer { name, id, state, target } = container;
    let stream = target.stream.unwrap_or_else(|| id.clone());
    Found {
        begins: target.begins,
        target: Target { region: target.region, group: target.group, stream },
        began: state != RunState::Created,
        runs: state.has_process(),
        id,
        name,
    }
}
