//! Services: making, changing and deleting them.

mod balancers;
mod configuration;
mod describe;
mod fields;

pub(super) use balancers::no_balancers;
pub(crate) use configuration::{configuration, over};
pub(super) use describe::{describe, list};
pub(crate) use fields::{at_most_one, check_rebalancing};
pub(super) use fields::{no_platform, refuse, some};

use crate::commands::{
    CreateService, DeleteService, NewDeployment, ServiceEdit, UpdateService, active_service, ran_before, same_revision,
    service_not_found as not_found,
};
use crate::ops::task_sets::MAX_TOKEN;
use crate::ops::{Ctx, capacity, check, run};
use crate::records::{
    Definition, DefinitionStatus, DeploymentController, SchedulingStrategy, Service, ServiceKey, ServiceRevision,
    ServiceStatus,
};
use crate::services;
use crate::show;
use aws_lc_rs::digest::{SHA256, digest};
use fields::{
    controller, default_rebalancing, desired_count, grace, new_name, no_breaker, no_daemon, no_daemon_placement,
    no_daemon_providers, propagate, refuse_create, refuse_update,
};
use longshore_ecs_api::ApiError;
use longshore_ecs_api::enums::{LaunchType, SchedulingStrategy as ApiScheduling};
use longshore_ecs_api::requests::{CreateServiceRequest, DeleteServiceRequest, UpdateServiceRequest};
use longshore_ecs_api::responses::{CreateServiceResponse, DeleteServiceResponse, UpdateServiceResponse};
use longshore_ecs_api::types::{DeploymentConfiguration, NetworkConfiguration};
use longshore_model::arn::{Resource, ServicePart};
use longshore_model::{Arn, Timestamp};
use std::sync::Arc;

pub(crate) async fn create(ctx: Ctx<'_>, request: CreateServiceRequest) -> Result<CreateServiceResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?.record.key.clone();
    let name = new_name(request.service_name.as_deref())?;
    let hash = hash(&CreateServiceRequest { client_token: None, tags: None, ..request.clone() })?;
    refuse_create(&request)?;
    let scheduling = match request.scheduling_strategy {
        None | Some(ApiScheduling::Replica) => SchedulingStrategy::Replica,
        Some(ApiScheduling::Daemon) => SchedulingStrategy::Daemon,
        Some(ApiScheduling::Other(other)) => {
            return Err(ApiError::invalid(format!("schedulingStrategy: `{other}` is none of REPLICA, DAEMON.")));
        }
    };
    let controller = controller(&request, scheduling)?;
    let strategies = request.placement_strategy.unwrap_or_default();
    let desired = match (scheduling, request.desired_count) {
        (SchedulingStrategy::Daemon, Some(_)) => return Err(no_daemon("a desired count", "desired count value")),
        (SchedulingStrategy::Daemon, None) if !strategies.is_empty() => return Err(no_daemon_placement()),
        (SchedulingStrategy::Daemon, None) => 0,
        (SchedulingStrategy::Replica, Some(given)) => desired_count(given)?,
        (SchedulingStrategy::Replica, None) => match controller {
            // Task sets have shares of it, so nothing runs before it is said (ECS).
            DeploymentController::External => 0,
            DeploymentController::Ecs => {
                return Err(ApiError::invalid("desiredCount is required with the scheduling strategy REPLICA."));
            }
        },
    };
    let given = request.capacity_provider_strategy;
    if scheduling == SchedulingStrategy::Daemon && some(given.as_ref()) {
        return Err(no_daemon_providers("create"));
    }
    let capacity = match (scheduling, controller) {
        (SchedulingStrategy::Daemon, _) | (_, DeploymentController::External) => Vec::new(),
        (SchedulingStrategy::Replica, DeploymentController::Ecs) => {
            let record = &ctx.cluster(request.cluster.as_deref())?.record;
            capacity::strategy(&ctx, record, given, request.launch_type.is_some())?
        }
    };
    let revision = match controller {
        DeploymentController::External => None,
        DeploymentController::Ecs => {
            let definition = usable_definition(&ctx, request.task_definition.as_deref())?;
            let launch_type = request.launch_type.unwrap_or(LaunchType::Ec2);
            run::check_launch_type(&launch_type, &definition)?;
            no_platform(request.platform_version.as_deref(), &launch_type)?;
            no_balancers(request.load_balancers.as_ref(), Some(&definition))?;
            Some(revision(&definition, launch_type, request.network_configuration))
        }
    };
    no_breaker(controller, request.deployment_configuration.as_ref())?;
    if request.client_token.as_ref().is_some_and(|token| token.len() > MAX_TOKEN) {
        return Err(ApiError::invalid(format!("clientToken must have at most {MAX_TOKEN} characters.")));
    }
    let mut service = Service {
        key: ServiceKey { cluster, name },
        status: ServiceStatus::Active,
        scheduling,
        controller,
        desired,
        configuration: configuration(request.deployment_configuration.unwrap_or_default(), scheduling)?,
        grace_secs: grace(request.health_check_grace_period_seconds)?.unwrap_or(0),
        constraints: request.placement_constraints.unwrap_or_default(),
        strategies,
        capacity,
        propagate_tags: propagate(request.propagate_tags)?,
        managed_tags: request.enable_ecs_managed_tags.unwrap_or(false),
        execute_command: request.enable_execute_command.unwrap_or(false),
        zone_rebalancing: request.availability_zone_rebalancing,
        tags: at_most_one(check::tags(request.tags)?)?,
        created_by: ctx.caller.principal_arn.clone(),
        created_at: Timestamp::from_millis(0),
        request_hash: hash,
        deployments: Vec::new(),
        task_sets: Vec::new(),
        completed: None,
        next_event: 0,
    };
    check_rebalancing(&service)?;
    if service.zone_rebalancing.is_none() {
        service.zone_rebalancing = Some(default_rebalancing(&service));
    }
    match &revision {
        Some(revision) => services::check(&ctx.state, &service, revision)?,
        // Constraints are looked at with those of each task set's definition.
        None => drop(run::strategies(service.strategies.clone())?),
    }
    let key = service.key.clone();
    ctx.submit(CreateService { service, revision, new: NewDeployment::random() }).await?;
    Ok(CreateServiceResponse { service: shown(&ctx, &key) })
}

pub(crate) async fn update(ctx: Ctx<'_>, request: UpdateServiceRequest) -> Result<UpdateServiceResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?.record.key.clone();
    let key = ctx.service_key(&cluster, request.service.as_deref().unwrap_or_default())?.ok_or_else(not_found)?;
    refuse_update(&request)?;
    let current = active_service(&ctx.state, &key)?;
    if let Some(given) = request.deployment_controller.as_ref().and_then(|controller| controller.r#type.as_ref())
        && *given != show::controller(&current)
    {
        return Err(ApiError::invalid(format!(
            "deploymentController of a service cannot be changed: it is {}.",
            show::controller(&current)
        )));
    }
    if current.scheduling == SchedulingStrategy::Daemon {
        if request.desired_count.is_some() {
            return Err(no_daemon("a desired count", "desired count value"));
        }
        if request.placement_strategy.as_ref().is_some_and(|list| !list.is_empty()) {
            return Err(no_daemon_placement());
        }
    }
    let edit = match current.controller {
        DeploymentController::Ecs => edit(&ctx, &current, request)?,
        DeploymentController::External => edit_external(&current, request)?,
    };
    ctx.submit(UpdateService { key: key.clone(), edit, new: NewDeployment::random() }).await?;
    Ok(UpdateServiceResponse { service: shown(&ctx, &key) })
}

/// What a request changes of a service that deploys by itself.
fn edit(ctx: &Ctx<'_>, current: &Service, request: UpdateServiceRequest) -> Result<ServiceEdit, ApiError> {
    let scheduling = current.scheduling;
    let capacity = match request.capacity_provider_strategy {
        Some(given) if scheduling == SchedulingStrategy::Daemon && !given.is_empty() => {
            return Err(no_daemon_providers("update"));
        }
        Some(given) if !given.is_empty() => {
            let record = &ctx.cluster(request.cluster.as_deref())?.record;
            Some(capacity::strategy(ctx, record, Some(given), false)?)
        }
        // An empty list clears (ECS): the whole cluster.
        given => given,
    };
    let primary = current.deployments.first().map(|primary| &primary.revision);
    let primary = primary.ok_or_else(|| ApiError::server("The service has no deployment."))?;
    let named = request.task_definition.as_deref().filter(|name| !name.is_empty());
    let back = named.map(|name| revision_named(ctx, current, name)).transpose()?.flatten();
    if back.is_some() && request.network_configuration.is_some() {
        return Err(ApiError::invalid(
            "networkConfiguration cannot be given with a service revision as taskDefinition, which has its own.",
        ));
    }
    let named = named.filter(|_| back.is_none());
    let wanted = match (&back, named) {
        (Some(back), _) => back.clone(),
        (None, Some(_)) => {
            let definition = usable_definition(ctx, named)?;
            run::check_launch_type(&primary.launch_type, &definition)?;
            ServiceRevision { definition: definition.key.clone(), ..primary.clone() }
        }
        (None, None) => primary.clone(),
    };
    no_platform(request.platform_version.as_deref(), &wanted.launch_type)?;
    let definition = ctx.state.definition(&wanted.definition).map(|definition| &**definition);
    no_balancers(request.load_balancers.as_ref(), definition)?;
    let network = request.network_configuration.clone().map(Box::new);
    let wanted = ServiceRevision { network: network.or_else(|| wanted.network.clone()), ..wanted };
    check_configuration(current, request.deployment_configuration.as_ref())?;
    let edit = ServiceEdit {
        desired: request.desired_count.map(desired_count).transpose()?,
        configuration: request.deployment_configuration,
        grace_secs: grace(request.health_check_grace_period_seconds)?,
        constraints: request.placement_constraints,
        strategies: request.placement_strategy,
        capacity,
        propagate_tags: propagate(request.propagate_tags)?,
        managed_tags: request.enable_ecs_managed_tags,
        execute_command: request.enable_execute_command,
        zone_rebalancing: request.availability_zone_rebalancing,
        definition: named.map(|_| wanted.definition.clone()),
        network: request.network_configuration,
        revision: back.map(|back| back.id.to_string()),
        force: request.force_new_deployment.unwrap_or(false),
    };
    let as_it_will_be = Service {
        constraints: edit.constraints.clone().unwrap_or_else(|| current.constraints.clone()),
        strategies: edit.strategies.clone().unwrap_or_else(|| current.strategies.clone()),
        ..current.clone()
    };
    // Told before it costs a turn; what counts is what holds at its turn.
    if edit.constraints.is_some() || edit.strategies.is_some() {
        services::check_placement(&ctx.state, &as_it_will_be, &wanted)?;
    }
    if edit.force || !same_revision(primary, &wanted) {
        services::check(&ctx.state, &as_it_will_be, &wanted)?;
    }
    Ok(edit)
}

/// Refuses a deployment configuration that goes wrong with what a service has.
fn check_configuration(current: &Service, given: Option<&DeploymentConfiguration>) -> Result<(), ApiError> {
    let whole = given.map(|given| over(given.clone(), &current.configuration));
    whole.map_or(Ok(()), |whole| configuration(whole, current.scheduling).map(drop))
}

/// The revision of the service whose ARN stands where a task definition is named, to go back to it; `None` where a task
/// definition is named. ECS has nothing like it; its clients pass any text on.
fn revision_named(ctx: &Ctx<'_>, of: &Service, name: &str) -> Result<Option<ServiceRevision>, ApiError> {
    let is_one = |arn: &Arn| matches!(arn.resource, Resource::OfService(_, _, ServicePart::Revision, _));
    if !name.parse::<Arn>().is_ok_and(|arn| is_one(&arn)) {
        return Ok(None);
    }
    match ctx.service_part("taskDefinition", name, ServicePart::Revision)? {
        Some((key, id)) if key == of.key => ran_before(&ctx.state, &key, &id).map(Some),
        Some(_) | None => {
            Err(ApiError::invalid(format!("taskDefinition: `{name}` is no revision of service {}.", of.key.name)))
        }
    }
}

/// The same of one with task sets: what its tasks run is theirs.
fn edit_external(current: &Service, request: UpdateServiceRequest) -> Result<ServiceEdit, ApiError> {
    for (field, is_given) in [
        ("taskDefinition", request.task_definition.is_some_and(|name| !name.is_empty())),
        ("networkConfiguration", request.network_configuration.is_some()),
        ("forceNewDeployment", request.force_new_deployment == Some(true)),
        ("capacityProviderStrategy", some(request.capacity_provider_strategy.as_ref())),
        ("loadBalancers", some(request.load_balancers.as_ref())),
        ("platformVersion", request.platform_version.as_ref().is_some_and(|version| !version.is_empty())),
    ] {
        if is_given {
            return Err(ApiError::invalid(format!(
                "{field} cannot be updated on a service with deploymentController EXTERNAL. Create a task set instead."
            )));
        }
    }
    no_breaker(current.controller, request.deployment_configuration.as_ref())?;
    check_configuration(current, request.deployment_configuration.as_ref())?;
    if let Some(strategies) = &request.placement_strategy {
        run::strategies(strategies.clone())?;
    }
    Ok(ServiceEdit {
        desired: request.desired_count.map(desired_count).transpose()?,
        configuration: request.deployment_configuration,
        grace_secs: grace(request.health_check_grace_period_seconds)?,
        constraints: request.placement_constraints,
        strategies: request.placement_strategy,
        capacity: None,
        propagate_tags: propagate(request.propagate_tags)?,
        managed_tags: request.enable_ecs_managed_tags,
        execute_command: request.enable_execute_command,
        zone_rebalancing: request.availability_zone_rebalancing,
        definition: None,
        network: None,
        revision: None,
        force: false,
    })
}

pub(crate) async fn delete(ctx: Ctx<'_>, request: DeleteServiceRequest) -> Result<DeleteServiceResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?.record.key.clone();
    let key = ctx.service_key(&cluster, request.service.as_deref().unwrap_or_default())?.ok_or_else(not_found)?;
    ctx.submit(DeleteService { key: key.clone(), force: request.force.unwrap_or(false) }).await?;
    Ok(DeleteServiceResponse { service: shown(&ctx, &key) })
}

fn shown(ctx: &Ctx<'_>, key: &ServiceKey) -> Option<longshore_ecs_api::types::Service> {
    let ctx = ctx.refreshed();
    ctx.state.service(key).map(|service| show::service(ctx.core.account(), &ctx.state, service, true))
}

pub(super) fn usable_definition(ctx: &Ctx<'_>, name: Option<&str>) -> Result<Arc<Definition>, ApiError> {
    let name = name.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| ApiError::invalid("Task definition can not be blank."))?;
    let name = ctx.definition_name(name)?;
    let definition = ctx.definition(&name).ok_or_else(|| ApiError::client("TaskDefinition not found."))?;
    match definition.status {
        DefinitionStatus::Active => Ok(Arc::clone(definition)),
        DefinitionStatus::Inactive { .. } | DefinitionStatus::DeleteInProgress { .. } => {
            Err(ApiError::client("TaskDefinition is inactive"))
        }
    }
}

pub(super) fn revision(
    definition: &Definition,
    launch_type: LaunchType,
    network: Option<NetworkConfiguration>,
) -> ServiceRevision {
    ServiceRevision {
        id: "".into(),
        definition: definition.key.clone(),
        launch_type,
        network: network.map(Box::new),
        capacity: None,
        created_at: Timestamp::from_millis(0),
    }
}

/// What tells a request from others.
fn hash(request: &CreateServiceRequest) -> Result<String, ApiError> {
    let json = serde_json::to_vec(request).map_err(|error| ApiError::server(error.to_string()))?;
    Ok(hex::encode(digest(&SHA256, &json)))
}
