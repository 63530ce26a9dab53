//! Volumes, and how containers get them.

use longshore_ecs_api::enums::Scope;
use longshore_ecs_api::types::{self, DockerVolumeConfiguration};
use longshore_model::{
    ContainerName, DockerVolume, EfsVolume, MountPoint, VolumeScope, VolumeSource, VolumeSpec, VolumesFrom,
};

pub(super) fn volume(v: &types::Volume) -> Option<VolumeSpec> {
    let path = v.host.as_ref().and_then(|h| h.source_path.clone()).filter(|path| !path.is_empty());
    let source = match (&v.efs_volume_configuration, &v.docker_volume_configuration, path) {
        (Some(efs), ..) => VolumeSource::Efs(EfsVolume {
            file_system: efs.file_system_id.clone().unwrap_or_default(),
            root_directory: efs.root_directory.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| "/".into()),
        }),
        (None, Some(docker), _) => VolumeSource::Docker(docker_volume(docker)),
        (None, None, Some(path)) => VolumeSource::Host { path },
        (None, None, None) => VolumeSource::Task,
    };
    Some(VolumeSpec { name: v.name.clone()?, source })
}

fn docker_volume(d: &DockerVolumeConfiguration) -> DockerVolume {
    let scope = match d.scope {
        Some(Scope::Shared) => VolumeScope::Shared { autoprovision: d.autoprovision == Some(true) },
        // ECS's default.
        Some(Scope::Task | Scope::Other(_)) | None => VolumeScope::Task,
    };
    DockerVolume {
        scope,
        driver: d.driver.clone().filter(|driver| !driver.is_empty()),
        driver_opts: d.driver_opts.clone().unwrap_or_default(),
        labels: d.labels.clone().unwrap_or_default(),
    }
}

pub(super) fn mount_point(m: &types::MountPoint) -> Option<MountPoint> {
    Some(MountPoint {
        volume: m.source_volume.clone()?,
        container_path: m.container_path.clone()?,
        read_only: m.read_only.unwrap_or(false),
    })
}

pub(super) fn volumes_from(v: &types::VolumeFrom) -> Option<VolumesFrom> {
    Some(VolumesFrom {
        container: ContainerName::new(v.source_container.as_deref()?).ok()?,
        read_only: v.read_only.unwrap_or(false),
    })
}
