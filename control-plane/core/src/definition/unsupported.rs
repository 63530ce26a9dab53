//! What ECS has and this version's agents cannot honour yet: refused by name, never ignored.
//!
//! One line for each field. To lift a restriction, make the agents honour the field and take its line out. A field
//! that is absent, empty or switched off asks for nothing and is not refused.

use super::checks::mistake;
use super::container::{FILE_SCHEME, is_url};
use longshore_ecs_api::ApiError;
use longshore_ecs_api::enums::{
    Compatibility, EFSAuthorizationConfigIAM, EFSTransitEncryption, LogDriver, NetworkMode, OSFamily, ResourceType,
};
use longshore_ecs_api::types::{
    ContainerDefinition, EFSAuthorizationConfig, EFSVolumeConfiguration, EnvironmentFile, LogConfiguration,
    ResourceRequirement, TaskDefinition, Volume,
};

type Line<T> = (&'static str, fn(&T) -> bool);

const TASK: &[Line<TaskDefinition>] = &[
    ("dnsServers with networkMode awsvpc", |t| awsvpc(t, |c| some(c.dns_servers.as_ref()))),
    ("dnsSearchDomains with networkMode awsvpc", |t| awsvpc(t, |c| some(c.dns_search_domains.as_ref()))),
    ("requiresCompatibilities FARGATE without EC2 or EXTERNAL", |t| requires_alone(t, &Compatibility::Fargate)),
    ("requiresCompatibilities MANAGED_INSTANCES without EC2 or EXTERNAL", |t| {
        requires_alone(t, &Compatibility::ManagedInstances)
    }),
    ("taskRoleArn", |t| t.task_role_arn.is_some()),
    ("executionRoleArn", |t| t.execution_role_arn.is_some()),
    ("proxyConfiguration", |t| t.proxy_configuration.is_some()),
    ("inferenceAccelerators", |t| some(t.inference_accelerators.as_ref())),
    ("runtimePlatform.operatingSystemFamily", |t| {
        let family = t.runtime_platform.as_ref().and_then(|p| p.operating_system_family.as_ref());
        family.is_some_and(|family| *family != OSFamily::Linux)
    }),
    ("enableFaultInjection", |t| t.enable_fault_injection == Some(true)),
    ("trustedExecutionConfiguration", |t| t.trusted_execution_configuration.is_some()),
];

const VOLUME: &[Line<Volume>] = &[
    ("efsVolumeConfiguration.transitEncryption ENABLED", |v| {
        efs(v, |e| e.transit_encryption == Some(EFSTransitEncryption::Enabled))
    }),
    ("efsVolumeConfiguration.transitEncryptionPort", |v| efs(v, |e| e.transit_encryption_port.is_some())),
    ("efsVolumeConfiguration.authorizationConfig.accessPointId", |v| {
        authorization(v, |a| a.access_point_id.as_ref().is_some_and(|id| !id.is_empty()))
    }),
    ("efsVolumeConfiguration.authorizationConfig.iam ENABLED", |v| {
        authorization(v, |a| a.iam == Some(EFSAuthorizationConfigIAM::Enabled))
    }),
    ("s3filesVolumeConfiguration", |v| v.s3files_volume_configuration.is_some()),
    ("fsxWindowsFileServerVolumeConfiguration", |v| v.fsx_windows_file_server_volume_configuration.is_some()),
    ("configuredAtLaunch", |v| v.configured_at_launch == Some(true)),
];

const CONTAINER: &[Line<ContainerDefinition>] = &[
    ("environmentFiles.value other than file:///, http:// and https://", |c| {
        c.environment_files.iter().flatten().any(is_elsewhere)
    }),
    ("secrets", |c| some(c.secrets.as_ref())),
    ("logConfiguration.logDriver awsfirelens", |c| log(c, |l| l.log_driver == Some(LogDriver::Awsfirelens))),
    ("logConfiguration.secretOptions", |c| log(c, |l| some(l.secret_options.as_ref()))),
    ("resourceRequirements.type InferenceAccelerator", |c| {
        needs(c, |r| r.r#type == Some(ResourceType::InferenceAccelerator))
    }),
    ("resourceRequirements.type NeuronDevice", |c| needs(c, |r| r.r#type == Some(ResourceType::NeuronDevice))),
    ("resourceRequirements.value ALL", |c| needs(c, |r| r.value.as_deref() == Some("ALL"))),
    ("resourceRequirements.sharingStrategy", |c| needs(c, |r| r.sharing_strategy.is_some())),
    ("firelensConfiguration", |c| c.firelens_configuration.is_some()),
    ("credentialSpecs", |c| some(c.credential_specs.as_ref())),
];

fn some<T>(list: Option<&Vec<T>>) -> bool {
    list.is_some_and(|list| !list.is_empty())
}

/// Whether `what` is required and nothing beside it that hosts take.
fn requires_alone(task: &TaskDefinition, what: &Compatibility) -> bool {
    let required = || task.requires_compatibilities.iter().flatten();
    let taken = |one: &Compatibility| matches!(one, Compatibility::Ec2 | Compatibility::External);
    required().any(|one| one == what) && !required().any(taken)
}

/// Containers of a task with an interface share its files, so none has name servers of its own.
fn awsvpc(task: &TaskDefinition, asks: fn(&ContainerDefinition) -> bool) -> bool {
    task.network_mode == Some(NetworkMode::Awsvpc) && task.container_definitions.iter().flatten().any(asks)
}

fn efs(volume: &Volume, asks: fn(&EFSVolumeConfiguration) -> bool) -> bool {
    volume.efs_volume_configuration.as_ref().is_some_and(asks)
}

fn authorization(volume: &Volume, asks: fn(&EFSAuthorizationConfig) -> bool) -> bool {
    volume.efs_volume_configuration.as_ref().and_then(|efs| efs.authorization_config.as_ref()).is_some_and(asks)
}

/// S3 and whatever else is neither a file of the host's nor fetched.
fn is_elsewhere(file: &EnvironmentFile) -> bool {
    file.value.as_deref().is_some_and(|value| !value.starts_with(FILE_SCHEME) && !is_url(value))
}

fn log(container: &ContainerDefinition, holds: fn(&LogConfiguration) -> bool) -> bool {
    container.log_configuration.as_ref().is_some_and(holds)
}

fn needs(container: &ContainerDefinition, holds: fn(&ResourceRequirement) -> bool) -> bool {
    container.resource_requirements.iter().flatten().any(holds)
}

/// Refuses the first field that is in a table and asked for.
pub(super) fn check(definition: &TaskDefinition) -> Result<(), ApiError> {
    refuse(TASK, definition, String::new())?;
    for (i, volume) in definition.volumes.iter().flatten().enumerate() {
        refuse(VOLUME, volume, format!("volumes[{i}]."))?;
    }
    for (i, container) in definition.container_definitions.iter().flatten().enumerate() {
        refuse(CONTAINER, container, format!("containerDefinitions[{i}]."))?;
    }
    Ok(())
}

/// The same for the environment files of an override, which are at `path`.
pub(super) fn check_environment_files(files: Option<&Vec<EnvironmentFile>>, path: &str) -> Result<(), ApiError> {
    if files.into_iter().flatten().any(is_elsewhere) {
        return Err(mistake(format!(
            "{path}.value other than file:///, http:// and https:// is not supported yet by this version of Longshore."
        )));
    }
    Ok(())
}

fn refuse<T>(table: &[Line<T>], part: &T, path: String) -> Result<(), ApiError> {
    match table.iter().find(|(_, asked_for)| asked_for(part)) {
        Some((field, _)) => Err(mistake(format!(
            "{path}{field} is not supported yet by this version of Longshore; remove it to register the task \
             definition."
        ))),
        None => Ok(()),
    }
}
