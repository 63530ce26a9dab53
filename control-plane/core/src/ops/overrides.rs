//! What RunTask and StartTask may change of a task definition.

use crate::definition::{check_environment_files, check_storage_override, task_cpu, task_memory};
use crate::needs;
use longshore_ecs_api::ApiError;
use longshore_ecs_api::enums::ResourceType;
use longshore_ecs_api::types::{ContainerDefinition, ContainerOverride, TaskDefinition, TaskOverride};
use std::collections::BTreeSet;

/// The longest JSON of all overrides together (ECS).
const MAX_JSON: usize = 8192;
/// The least memory that a container may have, in MiB (ECS).
const MIN_MEMORY_MIB: i32 = 6;

/// Overrides in the form in which they are kept; `None` when there are none.
///
/// # Errors
/// `InvalidParameterException` or `ClientException` that names the field.
pub(crate) fn checked(
    overrides: Option<TaskOverride>,
    definition: &TaskDefinition,
) -> Result<Option<Box<TaskOverride>>, ApiError> {
    let Some(mut overrides) = overrides else { return Ok(None) };
    let length = serde_json::to_string(&overrides).map_or(0, |json| json.chars().count());
    if length > MAX_JSON {
        let text = format!("overrides: their JSON has {length} characters, and may have at most {MAX_JSON}.");
        return Err(ApiError::invalid(text));
    }
    refuse_unsupported(&overrides)?;
    overrides.ephemeral_storage.as_ref().map_or(Ok(()), check_storage_override)?;
    overrides.cpu = overrides.cpu.map(|text| task_cpu(&text)).transpose()?;
    overrides.memory = overrides.memory.map(|text| task_memory(&text)).transpose()?;
    overrides.inference_accelerator_overrides = None;
    let containers = definition.container_definitions.as_deref().unwrap_or(&[]);
    let mut seen = BTreeSet::new();
    for (index, over) in overrides.container_overrides.iter().flatten().enumerate() {
        let name = over.name.as_deref().unwrap_or_default();
        let container = containers.iter().find(|container| container.name.as_deref() == Some(name));
        let container = container.ok_or_else(|| {
            ApiError::invalid(format!("Override for container named {name} is not a container in the TaskDefinition."))
        })?;
        if !seen.insert(name.to_owned()) {
            return Err(ApiError::invalid(format!("There are two overrides for container named {name}.")));
        }
        check_container(over, container, name)?;
        let path = format!("overrides.containerOverrides[{index}].environmentFiles");
        check_environment_files(over.environment_files.as_ref(), &path)?;
    }
    check_sums(&overrides, definition)?;
    let none = TaskOverride { container_overrides: None, ..overrides.clone() } == TaskOverride::default()
        && overrides.container_overrides.as_ref().is_none_or(Vec::is_empty);
    Ok((!none).then(|| Box::new(overrides)))
}

fn check_container(over: &ContainerOverride, c: &ContainerDefinition, name: &str) -> Result<(), ApiError> {
    let invalid = |text: &str| ApiError::client(format!("Invalid override for container '{name}': {text}"));
    if over.cpu.is_some_and(|cpu| cpu < 0) {
        return Err(invalid("'cpu' must not be negative."));
    }
    for (field, value) in [("memory", over.memory), ("memoryReservation", over.memory_reservation)] {
        if value.is_some_and(|value| value < MIN_MEMORY_MIB) {
            return Err(invalid(&format!("'{field}' must be at least {MIN_MEMORY_MIB}.")));
        }
    }
    let (memory, reservation) = (over.memory.or(c.memory), over.memory_reservation.or(c.memory_reservation));
    if let (Some(memory), Some(reservation)) = (memory, reservation)
        && memory < reservation
    {
        return Err(invalid("'memory' must not be less than 'memoryReservation'."));
    }
    for pair in over.environment.iter().flatten() {
        let key = pair.name.as_deref().unwrap_or_default();
        if key.is_empty() || key.contains(['=', '\0']) || pair.value.as_deref().is_some_and(|v| v.contains('\0')) {
            return Err(invalid("a name in 'environment' must not be empty or hold '=', and nothing may hold NUL."));
        }
    }
    if over.command.iter().flatten().any(|word| word.contains('\0')) {
        return Err(invalid("'command' must not hold NUL."));
    }
    let mut files = over.environment_files.iter().flatten();
    if files.any(|file| file.value.as_deref().is_some_and(|value| value.contains('\0'))) {
        return Err(invalid("'environmentFiles' must not hold NUL."));
    }
    for requirement in over.resource_requirements.iter().flatten() {
        match requirement.r#type.as_ref() {
            Some(ResourceType::Gpu) => {
                let value = requirement.value.as_deref().and_then(|value| value.parse::<u32>().ok());
                if value.is_none_or(|value| value == 0) {
                    return Err(invalid("the value of a GPU in 'resourceRequirements' must be a number from 1."));
                }
            }
            Some(ResourceType::InferenceAccelerator | ResourceType::NeuronDevice | ResourceType::Other(_)) | None => {
                return Err(invalid("the only type in 'resourceRequirements' that is supported is GPU."));
            }
        }
    }
    Ok(())
}

/// As for definitions: containers must not have more than their task.
fn check_sums(overrides: &TaskOverride, definition: &TaskDefinition) -> Result<(), ApiError> {
    let containers = definition.container_definitions.as_deref().unwrap_or(&[]);
    let over = |c: &ContainerDefinition| needs::container_override(Some(overrides), c);
    let sum = |value: &dyn Fn(&ContainerDefinition) -> Option<i32>| -> i64 {
        containers.iter().filter_map(value).map(i64::from).sum()
    };
    let cpu = sum(&|c| over(c).and_then(|o| o.cpu).or(c.cpu));
    if needs::task_cpu(definition, Some(overrides)).is_some_and(|task| cpu > i64::from(task)) {
        return Err(ApiError::client(
            "The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'.",
        ));
    }
    if let Some(task) = needs::task_memory(definition, Some(overrides)) {
        let memory = |c: &ContainerDefinition| over(c).and_then(|o| o.memory).or(c.memory);
        let reservation = |c: &ContainerDefinition| over(c).and_then(|o| o.memory_reservation).or(c.memory_reservation);
        // Hard limits may add up to more than the task's; reservations may not, nor may a single limit.
        let reserved = sum(&|c| reservation(c).or_else(|| memory(c)));
        let largest = containers.iter().filter_map(memory).max().map_or(0, i64::from);
        if reserved.max(largest) > i64::from(task) {
            return Err(ApiError::client(
                "The sum of all container 'memory' values cannot be greater than the value of the task 'memory'.",
            ));
        }
    }
    Ok(())
}

/// What agents cannot honour yet is refused, never ignored.
fn refuse_unsupported(overrides: &TaskOverride) -> Result<(), ApiError> {
    let accelerators = overrides.inference_accelerator_overrides.as_ref();
    let fields = [
        ("taskRoleArn", overrides.task_role_arn.is_some()),
        ("executionRoleArn", overrides.execution_role_arn.is_some()),
        ("inferenceAcceleratorOverrides", accelerators.is_some_and(|list| !list.is_empty())),
    ];
    match fields.iter().find(|(_, given)| *given) {
        Some((field, _)) => {
            Err(ApiError::client(format!("overrides.{field} is not supported yet by this version of Longshore.")))
        }
        None => Ok(()),
    }
}
