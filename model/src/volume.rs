//! The volumes of a task, and how its containers get them.

use crate::id::ContainerName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A volume put into a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    /// The name of a [`VolumeSpec`] of the task.
    pub volume: String,
    /// An absolute path in the container.
    pub container_path: String,
    /// Whether the container may only read.
    pub read_only: bool,
}

/// All volumes of another container of the task, at the same paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    /// Which container.
    pub container: ContainerName,
    /// Whether the taker may only read.
    pub read_only: bool,
}

/// Where a volume's data is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeSource {
    /// A directory or file of the host, bind-mounted.
    Host {
        /// Its absolute path on the host.
        path: String,
    },
    /// Empty at the task's start, gone with the task, shared by its containers.
    Task,
    /// A volume of the engine's, made by one of its volume drivers.
    Docker(DockerVolume),
    /// A directory of a file system of EFS. It outlives the task; the host knows which NFS export stands for it.
    Efs(EfsVolume),
}

/// A directory of a file system of EFS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EfsVolume {
    /// The file system; see [`is_file_system_id`].
    pub file_system: String,
    /// The directory in it, an absolute path.
    pub root_directory: String,
}

/// Whether this is the id of a file system of EFS: `fs-` and up to 40 letters or digits.
#[must_use]
pub fn is_file_system_id(text: &str) -> bool {
    let rest = text.strip_prefix("fs-").unwrap_or_default();
    (1..=40).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// How long a volume of the engine's lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeScope {
    /// As long as the task.
    Task,
    /// It outlives the task and has the definition's name on its host, for whoever names it.
    Shared {
        /// Whether it is made where it is missing; otherwise the task fails there.
        autoprovision: bool,
    },
}

/// A volume of the engine's. Options may hold secrets (`password=…` of a network file system): `Debug` shows only
/// their names.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerVolume {
    /// How long it lives.
    pub scope: VolumeScope,
    /// The engine's volume driver, `local` when absent.
    pub driver: Option<String>,
    /// The driver's options.
    pub driver_opts: BTreeMap<String, String>,
    /// Labels of the definition.
    pub labels: BTreeMap<String, String>,
}

impl fmt::Debug for DockerVolume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerVolume")
            .field("scope", &self.scope)
            .field("driver", &self.driver)
            .field("driver_opts", &self.driver_opts.keys().collect::<Vec<_>>())
            .field("labels", &self.labels)
            .finish()
    }
}

/// A volume of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// Unique in the task.
    pub name: String,
    /// Where the data is.
    pub source: VolumeSource,
}

impl VolumeSpec {
    /// Whether it is made for the task and goes with it.
    #[must_use]
    pub const fn lives_with_task(&self) -> bool {
        match &self.source {
            // Of a file system the engine has no more than where to mount it from.
            VolumeSource::Task | VolumeSource::Efs(_) => true,
            VolumeSource::Docker(volume) => matches!(volume.scope, VolumeScope::Task),
            VolumeSource::Host { .. } => false,
        }
    }

    /// Whether it outlives the task under its own name.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        match &self.source {
            VolumeSource::Docker(volume) => matches!(volume.scope, VolumeScope::Shared { .. }),
            VolumeSource::Task | VolumeSource::Host { .. } | VolumeSource::Efs(_) => false,
        }
    }
}
