//! Containers of the agent's own that somebody renamed: everything is asked by name, so they get theirs back.

use super::docker::{chain, plain};
use crate::crash::{self, Place};
use longshore_docker::{Docker, DockerError, ListedSandbox, pause_name, sandbox_name};
use longshore_model::TaskId;
use longshore_plan::Failure;

/// Gives the container with that id, which was found with another name, its own.
///
/// # Errors
/// When the engine refuses (another container has the name, this one is gone) or does not answer.
pub(super) async fn name_again(docker: &Docker, id: &str, found: &str, name: &str) -> Result<(), DockerError> {
    tracing::warn!(container = name, found, "somebody renamed a container; it gets its name back");
    crash::around(Place::Rename, docker.rename(id, name)).await
}

/// The same where it has another name. It is known by its label all the same, so a refusal costs nothing now; the next
/// look tries again.
async fn look_after(docker: &Docker, id: &str, found: &str, name: &str) {
    // One without any is being removed.
    if found == name || found.is_empty() {
        return;
    }
    if let Err(error) = name_again(docker, id, found, name).await {
        let error = chain(&error);
        tracing::warn!(container = name, found, error, "a container that somebody renamed does not get its name back");
    }
}

/// Every sandbox.
///
/// # Errors
/// When the engine does not answer: then nothing is known of any.
pub(crate) async fn sandboxes(docker: &Docker) -> Result<Vec<ListedSandbox>, Failure> {
    let all = docker.list_sandboxes().await.map_err(|e| plain(&e))?;
    for sandbox in &all {
        look_after(docker, &sandbox.id, &sandbox.name, &sandbox_name(sandbox.eni)).await;
    }
    Ok(all)
}

/// The tasks that have a pause container.
///
/// # Errors
/// When the engine does not answer: then nothing is known of any.
pub(super) async fn pauses(docker: &Docker) -> Result<Vec<TaskId>, Failure> {
    let all = docker.list_pauses().await.map_err(|e| plain(&e))?;
    for pause in &all {
        look_after(docker, &pause.id, &pause.name, &pause_name(pause.task)).await;
    }
    Ok(all.into_iter().map(|pause| pause.task).collect())
}
