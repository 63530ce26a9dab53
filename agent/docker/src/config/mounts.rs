//! What is mounted into a container.

use super::{ConfigError, fault};
use crate::labels;
use longshore_model::{ContainerSpec, MountPoint, TaskSpec, VolumeSource};

/// The longest volume name: the engine makes a directory of that name.
const MAX_VOLUME_NAME: usize = 255;

/// Bind mounts go by `Binds` and not by `Mounts`: only the former makes a missing host directory, as ECS users expect.
pub(super) fn bind(
    task: &TaskSpec,
    container: &ContainerSpec,
    i: usize,
    mount: &MountPoint,
) -> Result<String, ConfigError> {
    let volume = task.volumes.iter().find(|v| v.name == mount.volume).ok_or_else(|| {
        let problem = format!("the task has no volume named `{}`", mount.volume);
        fault(container, &format!("mountPoints[{i}].sourceVolume"), &problem)
    })?;
    let source = match &volume.source {
        VolumeSource::Host { path } => {
            check_path(container, &format!("volumes[name={}].host.sourcePath", volume.name), path)?;
            path.clone()
        }
        VolumeSource::Task | VolumeSource::Docker(_) | VolumeSource::Efs(_) => labels::name_of_volume(task.id, volume),
    };
    let is_volume = !matches!(volume.source, VolumeSource::Host { .. });
    if is_volume && source.len() > MAX_VOLUME_NAME {
        let problem = format!("is too long: `{source}` would exceed {MAX_VOLUME_NAME} characters");
        return Err(fault(container, &format!("volumes[name={}].name", volume.name), &problem));
    }
    check_path(container, &format!("mountPoints[{i}].containerPath"), &mount.container_path)?;
    let mode = if mount.read_only { ":ro" } else { "" };
    Ok(format!("{source}:{}{mode}", mount.container_path))
}

fn check_path(container: &ContainerSpec, field: &str, path: &str) -> Result<(), ConfigError> {
    if !path.starts_with('/') {
        return Err(fault(container, field, &format!("`{path}` is not an absolute path")));
    }
    if path.contains(':') {
        return Err(fault(
            container,
            field,
            &format!("`{path}` holds a colon, which the container engine cannot take"),
        ));
    }
    Ok(())
}

/// Containers whose volumes it gets, as the engine names them.
pub(super) fn volumes_from(task: &TaskSpec, container: &ContainerSpec) -> Vec<String> {
    let from = |from: &longshore_model::VolumesFrom| {
        let name = labels::container_name(task.id, &from.container);
        // Without a mode the engine would mount as the other container does, which ECS does too.
        if from.read_only { format!("{name}:ro") } else { name }
    };
    container.volumes_from.iter().map(from).collect()
}
