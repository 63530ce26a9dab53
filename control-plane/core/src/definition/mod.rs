//! Task definitions: what a registration must keep to, and the form it is stored in.
//!
//! Pure: one request in, one definition out. It knows ECS's rules and what this version's agents can honour; it does
//! not know revisions, ARNs or times, which the command that stores the definition adds.
//!
//! Three steps, in this order: [`defaults`] brings the request into the stored form, the rules of ECS are checked
//! ([`task`], [`container`], [`references`] and what they use), and what the agents cannot honour yet is refused
//! ([`unsupported`], one table). So a mistake is told in ECS's words even where the feature is still to come, and
//! lifting a restriction means taking a line out of the table. Validating what was validated changes nothing.

pub(crate) mod attributes;
mod checks;
mod container;
mod defaults;
mod linux;
mod logging;
mod ports;
mod probe;
mod references;
pub(crate) mod restart;
mod size;
mod task;
mod unsupported;
mod volumes;

use checks::mistake;
use longshore_ecs_api::ApiError;
use longshore_ecs_api::enums::NetworkMode;
use longshore_ecs_api::requests::RegisterTaskDefinitionRequest;
use longshore_ecs_api::types::{EnvironmentFile, Tag, TaskDefinition};
pub(crate) use task::check_storage_override;

/// The largest definition, in bytes of JSON (ECS quota).
const MAX_BYTES: usize = 64 << 10;

/// A definition that may be stored: normalised, defaults added.
#[derive(Debug, Clone, PartialEq)]
pub struct Validated {
    /// Everything of the request, with defaults, `requiresAttributes` and `compatibilities`. `networkMode` stays
    /// absent when the request has none and means `bridge` then; `cpu` and `memory` are integers as text.
    /// Absent, for the caller to add: `taskDefinitionArn`, `revision`, `status`, `registeredAt`, `registeredBy`.
    pub definition: TaskDefinition,
    /// The tags, which ECS keeps beside the definition. Their rules are those of every resource's tags and are the
    /// caller's to check.
    pub tags: Vec<Tag>,
}

/// A task's CPU as RunTask's overrides may give it, in the form in which it is stored.
///
/// # Errors
/// `ClientException`: it is not a quantity, or not one that tasks can have.
pub(crate) fn task_cpu(text: &str) -> Result<String, ApiError> {
    size::cpu(text)
}

/// A task's memory as RunTask's overrides may give it, in the form in which it is stored.
///
/// # Errors
/// `ClientException`: it is not a quantity, or not one that tasks can have.
pub(crate) fn task_memory(text: &str) -> Result<String, ApiError> {
    size::memory(text)
}

/// Checks the environment files of a container's override, which are at `path`, as those of a definition.
///
/// # Errors
/// `ClientException` that names the field.
pub(crate) fn check_environment_files(files: Option<&Vec<EnvironmentFile>>, path: &str) -> Result<(), ApiError> {
    container::environment_files(files, path)?;
    unsupported::check_environment_files(files, path)
}

/// Checks a registration and gives the form it is stored in.
///
/// # Errors
/// `ClientException` or `InvalidParameterException` that names the field, in ECS's words where they are known.
pub fn validate(request: RegisterTaskDefinitionRequest) -> Result<Validated, ApiError> {
    let (mut definition, tags) = defaults::stored_form(request)?;
    checks::no_control_characters(&definition)?;
    let bytes = serde_json::to_vec(&definition).expect("the API's types always serialise").len();
    if bytes > MAX_BYTES {
        return Err(mistake(format!("Actual length: '{bytes}'. Max allowed length is '{MAX_BYTES}' bytes.")));
    }
    let mode = network_mode(&definition)?;
    task::check(&definition, &mode)?;
    volumes::check(definition.volumes.as_deref().unwrap_or_default())?;
    let containers = definition.container_definitions.as_deref().unwrap_or_default();
    for (index, container) in containers.iter().enumerate() {
        container::check(container, index, &definition, &mode)?;
    }
    references::check(&definition, &mode)?;
    ports::check_task(containers)?;
    size::check_sums(&definition)?;
    task::check_compatibilities(&definition, &mode)?;
    unsupported::check(&definition)?;
    definition.requires_attributes = Some(attributes::required(&definition, &mode));
    definition.compatibilities = Some(task::compatibilities(&definition, &mode));
    Ok(Validated { definition, tags })
}

fn network_mode(definition: &TaskDefinition) -> Result<NetworkMode, ApiError> {
    match &definition.network_mode {
        None => Ok(NetworkMode::Bridge),
        Some(NetworkMode::Other(_)) => Err(mistake("networkMode: it must be one of [bridge, host, awsvpc, none].")),
        Some(known) => Ok(known.clone()),
    }
}

#[cfg(test)]
mod tests;
