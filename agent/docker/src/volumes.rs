//! Named volumes that live as long as their task.

use crate::client::Docker;
use crate::error::DockerError;
use crate::labels;
use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{ListVolumesOptions, RemoveVolumeOptions};
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
            Self::InUse { .. } => format!("{NAME}: {self}"),
            Self::Engine { source, .. } => source.ecs_reason(NAME, "created"),
        }
    }
}

impl Docker {
    /// Makes a local volume unless it exists.
    ///
    /// # Errors
    /// When the engine refuses or does not answer.
    pub async fn ensure_volume(&self, name: &str, labels: HashMap<String, String>) -> Result<(), VolumeError> {
        let fail = |source| VolumeError::Engine { verb: "make", name: name.to_owned(), source };
        let client = self.client().await.map_err(fail)?;
        let request =
            VolumeCreateRequest { name: Some(name.to_owned()), labels: Some(labels), ..VolumeCreateRequest::default() };
        let doing = format!("making volume `{name}`");
        self.call(&doing, self.timeouts().volume, client.create_volume(request)).await.map_err(fail)?;
        Ok(())
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
