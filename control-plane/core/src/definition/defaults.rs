//! A registration in the form it is stored in: what ECS adds and how it writes quantities. Nothing is judged here
//! beyond quantities that cannot be read.

use super::size;
use longshore_ecs_api::ApiError;
use longshore_ecs_api::enums::{NetworkMode, TransportProtocol};
use longshore_ecs_api::requests::RegisterTaskDefinitionRequest;
use longshore_ecs_api::types::{ContainerDefinition, Tag, TaskDefinition};

/// The stored form, and the tags that go beside it.
pub(super) fn stored_form(request: RegisterTaskDefinitionRequest) -> Result<(TaskDefinition, Vec<Tag>), ApiError> {
    let RegisterTaskDefinitionRequest {
        container_definitions,
        cpu,
        enable_fault_injection,
        ephemeral_storage,
        execution_role_arn,
        family,
        inference_accelerators,
        ipc_mode,
        memory,
        network_mode,
        pid_mode,
        placement_constraints,
        proxy_configuration,
        requires_compatibilities,
        runtime_platform,
        tags,
        task_role_arn,
        trusted_execution_configuration,
        volumes,
    } = request;
    // With these the agent opens the port where the container does; ECS writes it out.
    let ports_match = matches!(network_mode, Some(NetworkMode::Host | NetworkMode::Awsvpc));
    let definition = TaskDefinition {
        container_definitions: Some(
            container_definitions.unwrap_or_default().into_iter().map(|c| container(c, ports_match)).collect(),
        ),
        cpu: cpu.filter(|text| !text.is_empty()).map(|text| size::cpu(&text)).transpose()?,
        enable_fault_injection,
        ephemeral_storage,
        execution_role_arn: execution_role_arn.filter(|text| !text.is_empty()),
        family,
        inference_accelerators,
        ipc_mode,
        memory: memory.filter(|text| !text.is_empty()).map(|text| size::memory(&text)).transpose()?,
        network_mode,
        pid_mode,
        placement_constraints: Some(placement_constraints.unwrap_or_default()),
        proxy_configuration,
        requires_compatibilities: requires_compatibilities.filter(|list| !list.is_empty()),
        runtime_platform,
        task_role_arn: task_role_arn.filter(|text| !text.is_empty()),
        trusted_execution_configuration,
        volumes: Some(volumes.unwrap_or_default()),
        compatibilities: None,
        delete_requested_at: None,
        deregistered_at: None,
        registered_at: None,
        registered_by: None,
        requires_attributes: None,
        revision: None,
        status: None,
        task_definition_arn: None,
    };
    Ok((definition, tags.unwrap_or_default()))
}

fn container(mut container: ContainerDefinition, ports_match: bool) -> ContainerDefinition {
    container.cpu.get_or_insert(0);
    container.essential.get_or_insert(true);
    container.environment.get_or_insert_default();
    container.mount_points.get_or_insert_default();
    container.volumes_from.get_or_insert_default();
    container.system_controls.get_or_insert_default();
    if let Some(check) = &mut container.health_check {
        check.interval.get_or_insert(30);
        check.timeout.get_or_insert(5);
        check.retries.get_or_insert(3);
    }
    for mapping in container.port_mappings.get_or_insert_default() {
        mapping.protocol.get_or_insert(TransportProtocol::Tcp);
        if mapping.container_port_range.is_some() {
            continue;
        }
        match mapping.host_port {
            None | Some(0) if ports_match => mapping.host_port = mapping.container_port,
            None => mapping.host_port = Some(0),
            Some(_) => {}
        }
    }
    container
}
