//! The volumes of a task.

use super::{Fault, FieldError, Within, absolute, id, required};
use crate::v1;
use longshore_model::{
    ContainerName, DockerVolume, EfsVolume, MountPoint, VolumeScope, VolumeSource, VolumeSpec, VolumesFrom,
    is_file_system_id,
};

impl From<VolumeSpec> for v1::Volume {
    fn from(volume: VolumeSpec) -> Self {
        let source = match volume.source {
            VolumeSource::Host { path } => v1::volume::Source::HostPath(path),
            VolumeSource::Task => v1::volume::Source::Task(v1::TaskScoped {}),
            VolumeSource::Docker(docker) => v1::volume::Source::Docker(docker.into()),
            VolumeSource::Efs(EfsVolume { file_system, root_directory }) => {
                v1::volume::Source::Efs(v1::EfsVolume { file_system_id: file_system, root_directory })
            }
        };
        Self { name: volume.name, source: Some(source) }
    }
}

impl TryFrom<v1::Volume> for VolumeSpec {
    type Error = FieldError;

    fn try_from(volume: v1::Volume) -> Result<Self, FieldError> {
        let source = match required("source", volume.source)? {
            v1::volume::Source::HostPath(path) => VolumeSource::Host { path: absolute("host_path", path)? },
            v1::volume::Source::Task(v1::TaskScoped {}) => VolumeSource::Task,
            v1::volume::Source::Docker(docker) => {
                VolumeSource::Docker(DockerVolume::try_from(docker).within("docker")?)
            }
            v1::volume::Source::Efs(efs) => VolumeSource::Efs(EfsVolume::try_from(efs).within("efs")?),
        };
        // The name becomes part of an engine's volume name.
        id("name", ContainerName::new(&volume.name))?;
        Ok(Self { name: volume.name, source })
    }
}

impl TryFrom<v1::EfsVolume> for EfsVolume {
    type Error = FieldError;

    fn try_from(volume: v1::EfsVolume) -> Result<Self, FieldError> {
        let v1::EfsVolume { file_system_id, root_directory } = volume;
        if !is_file_system_id(&file_system_id) {
            return Err(FieldError::new("file_system_id", Fault::Rule("is no file system's id")));
        }
        Ok(Self { file_system: file_system_id, root_directory: absolute("root_directory", root_directory)? })
    }
}

impl From<DockerVolume> for v1::DockerVolume {
    fn from(volume: DockerVolume) -> Self {
        let (shared, autoprovision) = match volume.scope {
            VolumeScope::Task => (false, false),
            VolumeScope::Shared { autoprovision } => (true, autoprovision),
        };
        let DockerVolume { scope: _, driver, driver_opts, labels } = volume;
        Self { shared, autoprovision, driver, driver_opts, labels }
    }
}

impl TryFrom<v1::DockerVolume> for DockerVolume {
    type Error = FieldError;

    fn try_from(volume: v1::DockerVolume) -> Result<Self, FieldError> {
        let v1::DockerVolume { shared, autoprovision, driver, driver_opts, labels } = volume;
        if autoprovision && !shared {
            return Err(FieldError::new("autoprovision", Fault::Rule("is for shared volumes only")));
        }
        if driver.as_ref().is_some_and(String::is_empty) {
            return Err(FieldError::new("driver", Fault::Missing));
        }
        let scope = if shared { VolumeScope::Shared { autoprovision } } else { VolumeScope::Task };
        Ok(Self { scope, driver, driver_opts, labels })
    }
}

impl From<MountPoint> for v1::MountPoint {
    fn from(mount: MountPoint) -> Self {
        Self { volume: mount.volume, container_path: mount.container_path, read_only: mount.read_only }
    }
}

impl TryFrom<v1::MountPoint> for MountPoint {
    type Error = FieldError;

    fn try_from(mount: v1::MountPoint) -> Result<Self, FieldError> {
        Ok(Self {
            volume: mount.volume,
            container_path: absolute("container_path", mount.container_path)?,
            read_only: mount.read_only,
        })
    }
}

impl From<VolumesFrom> for v1::VolumesFrom {
    fn from(from: VolumesFrom) -> Self {
        Self { container: from.container.into(), read_only: from.read_only }
    }
}

impl TryFrom<v1::VolumesFrom> for VolumesFrom {
    type Error = FieldError;

    fn try_from(from: v1::VolumesFrom) -> Result<Self, FieldError> {
        Ok(Self { container: id("container", ContainerName::new(from.container))?, read_only: from.read_only })
    }
}
