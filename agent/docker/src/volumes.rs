//! Volumes of the engine: those that live as long as their task, and those that outlive it.

use crate::client::Docker;
use crate::error::DockerError;
use crate::labels;
use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{ListVolumesOptions, RemoveVolumeOptions};
use longshore_model::{TaskId, VolumeScope, VolumeSource, VolumeSpec};
use std::collections::HashMap;

/// A volume of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedVolume {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: HashMap<String, String>,
}

/// Why a volume was not made or removed.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// A container still uses it.
    #[error("could not remove volume `{name}`: a container still uses it")]
    InUse {
        /// The volume.
        name: String,
    },
    /// A shared one that the task does not make.
    #[error(
        "there is no shared volume `{name}` on this host, and its definition does not say autoprovision; \
         make it there (docker volume create {name}), or set autoprovision"
    )]
    Missing {
        /// The volume.
        name: String,
    },
    /// One of a network file system, of which this crate does not know where it is.
    #[error("volume `{name}` is of the file system {file_system}, for which nothing stands on this host")]
    Elsewhere {
        /// The volume.
        name: String,
        /// The file system's id.
        file_system: String,
    },
    /// Anything else.
    #[error("could not {verb} volume `{name}`")]
    Engine {
        /// `make` or `remove`.
        verb: &'static str,
        /// The volume.
        name: String,
        /// Why.
        #[source]
        source: DockerError,
    },
}

impl VolumeError {
    /// As ECS words a task's reason.
    #[must_use]
    pub fn ecs_reason(&self) -> String {
        const NAME: &str = "CannotCreateVolumeError";
        match self {
            Self::InUse { .. } | Self::Missing { .. } | Self::Elsewhere { .. } => format!("{NAME}: {self}"),
            Self::Engine { source, .. } => source.ecs_reason(NAME, "created"),
        }
    }
}

impl Docker {
    /// Makes a volume unless it exists. A shared one that exists is left as it is, whatever it was made from; one that
    /// is not to be made where it is missing must exist.
    ///
    /// # Errors
    /// When it is missing and not to be made, when it is one of a network file system that nobody has put an export in
    /// the place of, or when the engine refuses or does not answer.
    pub async fn ensure_volume(&self, task: TaskId, volume: &VolumeSpec) -> Result<(), VolumeError> {
        let name = labels::name_of_volume(task, volume);
        let fail = |source| VolumeError::Engine { verb: "make", name: name.clone(), source };
        let docker = match &volume.source {
            VolumeSource::Docker(docker) => Some(docker),
            VolumeSource::Task | VolumeSource::Host { .. } => None,
            VolumeSource::Efs(efs) => {
                return Err(VolumeError::Elsewhere { name, file_system: efs.file_system.clone() });
            }
        };
        if let Some(VolumeScope::Shared { autoprovision }) = docker.map(|d| d.scope) {
            match (self.has_volume(&name).await.map_err(fail)?, autoprovision) {
                (true, _) => return Ok(()),
                (false, true) => {}
                (false, false) => return Err(VolumeError::Missing { name }),
            }
        }
        let request = VolumeCreateRequest {
            name: Some(name.clone()),
            driver: docker.and_then(|d| d.driver.clone()),
            driver_opts: docker.map(|d| d.driver_opts.iter().map(|(k, v)| (k.clone(), v.clone())).collect()),
            labels: Some(labels::volume_labels(task, volume)),
            ..VolumeCreateRequest::default()
        };
        let client = self.client().await.map_err(fail)?;
        let doing = format!("making volume `{name}`");
        self.call(&doing, self.timeouts().volume, client.create_volume(request)).await.map_err(fail)?;
        Ok(())
    }

    async fn has_volume(&self, name: &str) -> Result<bool, DockerError> {
        let client = self.client().await?;
        let doing = format!("looking for volume `{name}`");
        match self.call(&doing, self.timeouts().volume, client.inspect_volume(name)).await {
            Ok(_) => Ok(true),
            Err(error) if error.refusal().is_some_and(|(status, _)| status == 404) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes a volume and its data. One that is absent is fine.
    ///
    /// # Errors
    /// When a container uses it, or the engine refuses or does not answer.
    pub async fn remove_volume(&self, name: &str) -> Result<(), VolumeError> {
        let fail = |source| VolumeError::Engine { verb: "remove", name: name.to_owned(), source };
        let client = self.client().await.map_err(fail)?;
        let doing = format!("removing volume `{name}`");
        let call = client.remove_volume(name, None::<RemoveVolumeOptions>);
        match self.call(&doing, self.timeouts().volume, call).await {
            Ok(()) => Ok(()),
            Err(error) => match error.refusal() {
                Some((404, _)) => Ok(()),
                Some((409, _)) => Err(VolumeError::InUse { name: name.to_owned() }),
                Some(_) | None => Err(fail(error)),
            },
        }
    }

    /// Every volume that bears the label `longshore.task`.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn list_volumes(&self) -> Result<Vec<ListedVolume>, DockerError> {
        let options =
            ListVolumesOptions { filters: Some(HashMap::from([("label".to_owned(), vec![labels::TASK.to_owned()])])) };
        let client = self.client().await?;
        let listed = self.call("listing volumes", self.timeouts().volume, client.list_volumes(Some(options))).await?;
        let volumes = listed.volumes.unwrap_or_default();
        Ok(volumes.into_iter().map(|v| ListedVolume { name: v.name, labels: v.labels }).collect())
    }
}
