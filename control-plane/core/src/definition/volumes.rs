//! The volumes of a task.

use super::checks::{absolute, duplicate, given, is_name, mistake, without_colon};
use longshore_ecs_api::ApiError;
use longshore_ecs_api::enums::{EFSTransitEncryption, Scope};
use longshore_ecs_api::types::{DockerVolumeConfiguration, EFSVolumeConfiguration, Volume};
use longshore_model::is_file_system_id;

/// So that an attribute's name can hold it.
const MAX_DRIVER: usize = 64;
/// What the agents put on every volume; a definition's own labels may not take the place of these.
const RESERVED_LABEL: &str = "longshore.";

pub(super) fn check(volumes: &[Volume]) -> Result<(), ApiError> {
    for (index, volume) in volumes.iter().enumerate() {
        check_one(volume, |field| format!("volumes[{index}].{field}"))?;
    }
    match duplicate(volumes.iter().filter_map(|v| v.name.as_deref())) {
        Some(name) => Err(mistake(format!("The volume name '{name}' is used more than once."))),
        None => Ok(()),
    }
}

fn check_one(volume: &Volume, at: impl Fn(&str) -> String) -> Result<(), ApiError> {
    match given(volume.name.as_ref()) {
        None => return Err(mistake("Volume.name should not be null or empty.")),
        Some(name) if !is_name(name) => {
            return Err(mistake(format!("Volume.name '{name}' contains invalid characters.")));
        }
        Some(_) => {}
    }
    let kinds = [
        volume.host.is_some(),
        volume.docker_volume_configuration.is_some(),
        volume.efs_volume_configuration.is_some(),
        volume.s3files_volume_configuration.is_some(),
        volume.fsx_windows_file_server_volume_configuration.is_some(),
        volume.configured_at_launch == Some(true),
    ];
    if kinds.iter().filter(|is| **is).count() > 1 {
        return Err(mistake(format!(
            "{} has more than one of host, dockerVolumeConfiguration, efsVolumeConfiguration, \
             s3filesVolumeConfiguration, fsxWindowsFileServerVolumeConfiguration and configuredAtLaunch.",
            at("name").trim_end_matches(".name")
        )));
    }
    if let Some(host) = &volume.host
        && let Some(path) = &host.source_path
    {
        if path.is_empty() {
            return Err(mistake("host.sourcePath should not be blank."));
        }
        absolute(Some(path), || at("host.sourcePath"))?;
        without_colon(Some(path), || at("host.sourcePath"))?;
    }
    if let Some(docker) = &volume.docker_volume_configuration {
        docker_volume(docker, volume.name.as_deref().unwrap_or_default(), |field| {
            at(&format!("dockerVolumeConfiguration.{field}"))
        })?;
    }
    if let Some(efs) = &volume.efs_volume_configuration {
        efs_volume(efs, |field| at(&format!("efsVolumeConfiguration.{field}")))?;
    }
    Ok(())
}

fn efs_volume(efs: &EFSVolumeConfiguration, at: impl Fn(&str) -> String) -> Result<(), ApiError> {
    match given(efs.file_system_id.as_ref()) {
        None => return Err(mistake(format!("{} should not be null or empty.", at("fileSystemId")))),
        Some(id) if !is_file_system_id(id) => {
            return Err(mistake(format!("{} must be fs- and up to 40 letters or digits.", at("fileSystemId"))));
        }
        Some(_) => {}
    }
    if let Some(path) = given(efs.root_directory.as_ref()) {
        absolute(Some(&path.to_owned()), || at("rootDirectory"))?;
        if path.split('/').any(|part| part == "..") {
            return Err(mistake(format!("{} must not go up with '..'.", at("rootDirectory"))));
        }
    }
    let access_point = efs.authorization_config.as_ref().and_then(|a| given(a.access_point_id.as_ref()));
    let elsewhere = given(efs.root_directory.as_ref()).is_some_and(|path| path != "/");
    if access_point.is_some() && elsewhere {
        return Err(mistake(format!("{} must be absent or / when an access point is given.", at("rootDirectory"))));
    }
    let encrypted = efs.transit_encryption == Some(EFSTransitEncryption::Enabled);
    if access_point.is_some() && !encrypted {
        return Err(mistake(format!("{} must be ENABLED when an access point is given.", at("transitEncryption"))));
    }
    if matches!(efs.transit_encryption, Some(EFSTransitEncryption::Other(_))) {
        return Err(mistake(format!("{} must be ENABLED or DISABLED.", at("transitEncryption"))));
    }
    Ok(())
}

fn docker_volume(docker: &DockerVolumeConfiguration, name: &str, at: impl Fn(&str) -> String) -> Result<(), ApiError> {
    match docker.scope {
        Some(Scope::Other(_)) => return Err(mistake(format!("{} must be task or shared.", at("scope")))),
        None | Some(Scope::Task) if docker.autoprovision == Some(true) => {
            return Err(mistake(format!("{} can only be set for the scope shared.", at("autoprovision"))));
        }
        // The engine's rule for names, which those of other volumes keep to by what the agent puts before them.
        Some(Scope::Shared) if name.len() < 2 || name.starts_with(['-', '_']) => {
            return Err(mistake(format!(
                "Volume.name '{name}': that of a shared volume has at least two characters and begins with a letter or \
                 digit."
            )));
        }
        None | Some(Scope::Task | Scope::Shared) => {}
    }
    if let Some(driver) = given(docker.driver.as_ref())
        && (driver.len() > MAX_DRIVER || !driver.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:".contains(&b)))
    {
        return Err(mistake(format!(
            "{} must be the name of a volume driver: up to {MAX_DRIVER} letters, digits and '-', '_', '.', '/', ':'.",
            at("driver")
        )));
    }
    if let Some(key) = docker.labels.iter().flatten().map(|(key, _)| key).find(|key| key.starts_with(RESERVED_LABEL)) {
        return Err(mistake(format!(
            "{}: '{key}': names that begin with '{RESERVED_LABEL}' are the agent's own.",
            at("labels")
        )));
    }
    Ok(())
}
