//! Pause containers: what holds the namespaces that a task's containers share by `pidMode` or `ipcMode` `task`.
//!
//! It is one for both, made for the task and named by it, and never a network: an awsvpc task has its sandbox for that,
//! which waited for any task and cannot have been made for this one.

use crate::client::Docker;
use crate::config::CreateContainer;
use crate::containers::{ListedContainer, RemoveError, without_doubles};
use crate::error::DockerError;
use crate::labels;
use crate::sandbox::quiet_host_config;
use bollard::models::{ContainerCreateBody, HostConfig};
use longshore_model::TaskId;

/// Its name in the engine: `ls-<task id>.pause`. No container of a task has such a name, since none has a full stop in
/// its name.
#[must_use]
pub fn pause_name(task: TaskId) -> String {
    format!("ls-{task}.pause")
}

/// Describes it to the engine. The size of the `/dev/shm` that others share is the engine's default when absent.
#[must_use]
pub fn pause_config(task: TaskId, image: &str, shared_memory_mib: Option<u32>) -> CreateContainer {
    let host = HostConfig {
        ipc_mode: Some("shareable".to_owned()),
        shm_size: shared_memory_mib.map(|mib| i64::from(mib) << 20),
        ..quiet_host_config()
    };
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        network_disabled: Some(true),
        labels: Some([(labels::PAUSE.to_owned(), task.to_string())].into()),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    };
    CreateContainer::new(pause_name(task), body)
}

/// A pause container in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPause {
    /// The engine's id.
    pub id: String,
    /// Its name: [`pause_name`] unless somebody renamed it; empty while it is being removed.
    pub name: String,
    /// Its task.
    pub task: TaskId,
}

impl Docker {
    /// Every pause container, in any state, by its label: also one that somebody renamed, but not what has the label
    /// beside the one of that name.
    ///
    /// # Errors
    /// When the engine does not answer: then nothing is known of any.
    pub async fn list_pauses(&self) -> Result<Vec<ListedPause>, DockerError> {
        let all = self.list_labelled(labels::PAUSE).await?;
        let task = |c: &ListedContainer| c.labels.get(labels::PAUSE)?.parse::<TaskId>().ok();
        let pause = |c: ListedContainer| task(&c).map(|task| ListedPause { id: c.id, name: c.name, task });
        Ok(without_doubles(all, |c| task(c).map(pause_name)).into_iter().filter_map(pause).collect())
    }

    /// The names of a task's containers that have a process: those that may be in namespaces which it shares.
    ///
    /// # Errors
    /// When the engine does not answer: then nothing is known of any.
    pub async fn list_live(&self, task: TaskId) -> Result<Vec<String>, DockerError> {
        let all = self.list_labelled(&format!("{}={task}", labels::TASK)).await?;
        Ok(all.into_iter().filter(|c| c.state.has_process()).map(|c| c.name).collect())
    }

    /// Ends a task's and removes it, whatever it does. One that is absent is fine.
    ///
    /// # Errors
    /// When the engine refuses or does not answer.
    pub async fn remove_pause(&self, task: TaskId) -> Result<(), RemoveError> {
        self.remove_with(&pause_name(task), true).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_container_is_nobodys_container() {
        let task: TaskId = "0123456789abcdef0123456789abcdef".parse().expect("an id");
        let config = pause_config(task, "longshore/pause:1", Some(3));
        assert_eq!(config.name(), "ls-0123456789abcdef0123456789abcdef.pause");
        let body = config.body();
        let labels = body.labels.as_ref().expect("labels");
        assert_eq!(labels["longshore.pause"], task.to_string());
        assert!(!labels.contains_key(labels::TASK), "it would be taken for a container of a task");
        let host = body.host_config.as_ref().expect("there is always one");
        assert_eq!((body.network_disabled, host.ipc_mode.as_deref()), (Some(true), Some("shareable")));
        assert_eq!(host.shm_size, Some(3 << 20));
    }
}
