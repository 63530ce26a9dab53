//! Services: making, changing, deleting, describing, listing.

use crate::commands::{
    CreateService, DeleteService, NewDeployment, ServiceEdit, UpdateService, ran_before, same_revision,
};
use crate::ops::{Ctx, capacity, check, run};
use crate::records::{
    AT_MOST_ONE, Definition, DefinitionStatus, DeploymentController, SchedulingStrategy, Service, ServiceKey,
    ServiceRevision, ServiceStatus, Tags,
};
use crate::services;
use crate::show;
use aws_lc_rs::digest::{SHA256, digest};
use longshore_ecs_api::enums::{
    AvailabilityZoneRebalancing, DeploymentControllerType, DeploymentStrategy, LaunchType, PropagateTags,
    SchedulingStrategy as ApiScheduling, ServiceField, ThresholdType,
};
use longshore_ecs_api::requests::{
    CreateServiceRequest, DeleteServiceRequest, DescribeServicesRequest, ListServicesRequest, UpdateServiceRequest,
};
use longshore_ecs_api::responses::{
    CreateServiceResponse, DeleteServiceResponse, DescribeServicesResponse, ListServicesResponse, UpdateServiceResponse,
};
use longshore_ecs_api::types::{DeploymentConfiguration, Failure, NetworkConfiguration, ThresholdConfiguration};
use longshore_ecs_api::{ApiError, ErrorCode, Operation};
use longshore_model::arn::{Resource, ServicePart};
use longshore_model::{Arn, ClusterKey, ClusterName, Timestamp};
use longshore_rollout::Bounds;
use std::sync::Arc;

/// Services that one page has when nothing is said (ECS).
const PAGE: usize = 10;
/// What asks DescribeServices why a service has not the tasks that it should have. ECS has nothing like it; its clients
/// pass any text on.
const WHY: &str = "LONGSHORE_WHY";

/// ECS's limits.
const MAX_DESIRED: i32 = 5000;
const MAX_PERCENT: i32 = 200;

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
        (SchedulingStrategy::Daemon, None) if !strategies.is_empty() => {
            return Err(no_daemon("placement strategies", "placement strategies"));
        }
        (SchedulingStrategy::Daemon, None) => 0,
        (SchedulingStrategy::Replica, Some(given)) => desired_count(given)?,
        (SchedulingStrategy::Replica, None) => {
            return Err(ApiError::invalid("desiredCount is required with the scheduling strategy REPLICA."));
        }
    };
    let given = request.capacity_provider_strategy;
    if scheduling == SchedulingStrategy::Daemon && some(given.as_ref()) {
        return Err(no_daemon("a capacity provider strategy", "capacity provider strategy"));
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
            Some(revision(&definition, launch_type, request.network_configuration))
        }
    };
    let service = Service {
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
    let service = rebalanced(service)?;
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
    let found = ctx.state.service(&key).filter(|service| !service.record.is_over()).ok_or_else(not_found)?;
    let current = Arc::clone(&found.record);
    if !current.is_active() {
        return Err(ApiError::new(ErrorCode::ServiceNotActive, "Service was not ACTIVE."));
    }
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
            return Err(no_daemon("placement strategies", "placement strategies"));
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
            return Err(no_daemon("a capacity provider strategy", "capacity provider strategy"));
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
    let network = request.network_configuration.clone().map(Box::new);
    let wanted = ServiceRevision { network: network.or_else(|| wanted.network.clone()), ..wanted };
    let settings = match request.deployment_configuration.clone() {
        Some(given) => configuration(over(given, &current.configuration), scheduling)?,
        None => current.configuration.clone(),
    };
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
        configuration: settings,
        zone_rebalancing: edit.zone_rebalancing.clone(),
        ..current.clone()
    };
    // What is not said stays, whether or not it still can be done.
    let as_it_will_be = if edit.zone_rebalancing.is_some() { rebalanced(as_it_will_be)? } else { as_it_will_be };
    // Told before it costs a turn; what counts is what holds at its turn.
    if edit.constraints.is_some() || edit.strategies.is_some() {
        services::check_placement(&ctx.state, &as_it_will_be, &wanted)?;
    }
    if edit.force || !same_revision(primary, &wanted) {
        services::check(&ctx.state, &as_it_will_be, &wanted)?;
    }
    Ok(edit)
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
    ] {
        if is_given {
            return Err(ApiError::invalid(format!(
                "{field} cannot be updated on a service with deploymentController EXTERNAL. Create a task set instead."
            )));
        }
    }
    if let Some(given) = request.deployment_configuration.clone() {
        configuration(over(given, &current.configuration), current.scheduling)?;
    }
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

pub(crate) fn describe(ctx: &Ctx<'_>, request: DescribeServicesRequest) -> Result<DescribeServicesResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?.record.key.clone();
    let names = check::some(request.services, "services", "Services cannot be empty.", 10)?;
    let include = request.include.unwrap_or_default();
    let with_tags = include.contains(&ServiceField::Tags);
    let with_why = include.contains(&ServiceField::Other(WHY.to_owned()));
    if with_why && names.len() > 1 {
        return Err(ApiError::invalid(format!("include: {WHY} is for one service at a time.")));
    }
    let (mut services, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        let found = ctx.service_key(&cluster, &name)?.and_then(|key| ctx.state.service(&key));
        match found {
            Some(service) => {
                services.push(show::service(ctx.core.account(), &ctx.state, service, with_tags));
                if with_why {
                    failures.extend(why(ctx, &cluster, &service.record));
                }
            }
            None => failures.push(missing(ctx, &cluster, name)),
        }
    }
    Ok(DescribeServicesResponse { services: Some(services), failures: Some(failures) })
}

/// Why a service is as it is: first the service itself with a sentence, then each host that takes none of its tasks, as
/// RunTask would answer.
fn why(ctx: &Ctx<'_>, cluster: &ClusterKey, service: &Service) -> Vec<Failure> {
    let inner = ctx.core.inner();
    let decider = inner.decider();
    let why = services::why(&ctx.state, service, decider.looking(false), decider.fencing(), inner.clock.now());
    let arn = ctx.arn(Resource::Service(cluster.name.clone(), service.key.name.to_string()));
    let sentence = Failure { arn: Some(arn), reason: Some(WHY.to_owned()), detail: Some(why.sentence) };
    std::iter::once(sentence).chain(why.hosts.into_iter().map(|refusal| run::failure(ctx, cluster, refusal))).collect()
}

fn missing(ctx: &Ctx<'_>, cluster: &ClusterKey, name: String) -> Failure {
    let arn = if Arn::looks_like(&name) { name } else { ctx.arn(Resource::Service(cluster.name.clone(), name)) };
    Failure { arn: Some(arn), reason: Some("MISSING".to_owned()), detail: None }
}

/// Services that are not over, by name.
pub(crate) fn list(ctx: &Ctx<'_>, request: ListServicesRequest) -> Result<ListServicesResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?.record.key.clone();
    let sizes = (request.max_results, PAGE, 100);
    let filters = (&cluster, &request.launch_type, &request.scheduling_strategy);
    let listing = ctx.listing_of(Operation::ListServices, &filters, sizes, request.next_token.as_deref())?;
    let after = listing.after.clone().unwrap_or_default();
    let wanted = |service: &Service| {
        let scheduling = match service.scheduling {
            SchedulingStrategy::Replica => ApiScheduling::Replica,
            SchedulingStrategy::Daemon => ApiScheduling::Daemon,
        };
        let launch_type = service.primary_revision().map(|revision| &revision.launch_type);
        !service.is_over()
            && request.scheduling_strategy.as_ref().is_none_or(|asked| *asked == scheduling)
            && request.launch_type.as_ref().is_none_or(|asked| Some(asked) == launch_type)
    };
    let services = ctx.state.services_of(&cluster, &after).map(|service| &service.record);
    let names = services.filter(|s| *s.key.name != *after && wanted(s)).map(|s| s.key.name.to_string());
    let (page, next_token) = listing.page(names, Clone::clone);
    let arn = |name| ctx.arn(Resource::Service(cluster.name.clone(), name));
    Ok(ListServicesResponse { service_arns: Some(page.into_iter().map(arn).collect()), next_token })
}

impl Ctx<'_> {
    /// The service that a request names; `None` when the name is one of another cluster.
    ///
    /// # Errors
    /// `InvalidParameterException` for what cannot be a service.
    pub(crate) fn service_key(&self, cluster: &ClusterKey, name: &str) -> Result<Option<ServiceKey>, ApiError> {
        let name = if Arn::looks_like(name) {
            match self.resource(name)? {
                Some(Resource::Service(of, service)) if of == cluster.name => service,
                Some(
                    Resource::Service(..)
                    | Resource::Cluster(_)
                    | Resource::Task(..)
                    | Resource::ContainerInstance(..)
                    | Resource::Container(..)
                    | Resource::TaskDefinition(..)
                    | Resource::OfService(..)
                    | Resource::Other(_),
                )
                | None => return Ok(None),
            }
        } else {
            if name.is_empty() {
                return Err(ApiError::invalid("service should not be null or empty."));
            }
            name.to_owned()
        };
        Ok(Some(ServiceKey { cluster: cluster.clone(), name: name.into() }))
    }
}

fn shown(ctx: &Ctx<'_>, key: &ServiceKey) -> Option<longshore_ecs_api::types::Service> {
    let ctx = ctx.refreshed();
    ctx.state.service(key).map(|service| show::service(ctx.core.account(), &ctx.state, service, true))
}

pub(super) fn not_found() -> ApiError {
    ApiError::new(ErrorCode::ServiceNotFound, "Service not found.")
}

/// ECS's words for what a DAEMON service cannot have.
fn no_daemon(what: &str, remove: &str) -> ApiError {
    ApiError::invalid(format!(
        "The daemon scheduling strategy does not support {what} for services. Remove the {remove} and try again"
    ))
}

fn new_name(given: Option<&str>) -> Result<Arc<str>, ApiError> {
    let name = given.unwrap_or_default();
    // Services keep the rule for names of clusters.
    ClusterName::new(name).map_err(|error| ApiError::invalid(format!("The serviceName {error}.")))?;
    Ok(name.into())
}

fn desired_count(given: i32) -> Result<u32, ApiError> {
    if !(0..=MAX_DESIRED).contains(&given) {
        return Err(ApiError::invalid(format!("desiredCount must be between 0 and {MAX_DESIRED}.")));
    }
    Ok(given.unsigned_abs())
}

fn grace(given: Option<i32>) -> Result<Option<u32>, ApiError> {
    match given {
        None => Ok(None),
        Some(seconds) if seconds >= 0 => Ok(Some(seconds.unsigned_abs())),
        Some(_) => Err(ApiError::invalid("healthCheckGracePeriodSeconds must not be negative.")),
    }
}

fn propagate(given: Option<PropagateTags>) -> Result<Option<PropagateTags>, ApiError> {
    match given {
        Some(PropagateTags::Other(other)) => {
            Err(ApiError::invalid(format!("propagateTags: `{other}` is none of TASK_DEFINITION, SERVICE, NONE.")))
        }
        given => Ok(given),
    }
}

/// What a service's tag may say of tasks that must not run twice.
fn at_most_one(tags: Tags) -> Result<Tags, ApiError> {
    match tags.get(AT_MOST_ONE).map(String::as_str) {
        None | Some("true" | "false") => Ok(tags),
        Some(other) => {
            Err(ApiError::invalid(format!("tags: `{AT_MOST_ONE}` must be `true` or `false`, and is `{other}`.")))
        }
    }
}

/// The service with what its `availabilityZoneRebalancing` comes to: a new one that says nothing is evened out where it
/// can be (ECS).
///
/// # Errors
/// When it says ENABLED and cannot be.
pub(crate) fn rebalanced(mut service: Service) -> Result<Service, ApiError> {
    let over_zones = service.strategies.first().is_none_or(|first| {
        let spread = first.r#type.as_ref().is_some_and(|kind| kind.as_str() == "spread");
        spread && first.field.as_deref() == Some("attribute:ecs.availability-zone")
    });
    let room = service.configuration.maximum_percent.is_none_or(|percent| percent > 100);
    let why_not = if service.scheduling == SchedulingStrategy::Daemon {
        Some("the scheduling strategy is DAEMON")
    } else if service.controller == DeploymentController::External {
        Some("the deployment controller is EXTERNAL")
    } else if !over_zones {
        Some("placementStrategy does not begin with a spread over attribute:ecs.availability-zone")
    } else if !room {
        Some("maximumPercent is not above 100, so that nothing can start before it stops")
    } else {
        None
    };
    service.zone_rebalancing = match (service.zone_rebalancing.take(), why_not) {
        (Some(AvailabilityZoneRebalancing::Other(other)), _) => {
            let text = format!("availabilityZoneRebalancing: `{other}` is none of ENABLED, DISABLED.");
            return Err(ApiError::invalid(text));
        }
        (Some(AvailabilityZoneRebalancing::Enabled), Some(why)) => {
            return Err(ApiError::invalid(format!("availabilityZoneRebalancing cannot be ENABLED: {why}.")));
        }
        (Some(AvailabilityZoneRebalancing::Disabled), _) | (None, Some(_)) => {
            Some(AvailabilityZoneRebalancing::Disabled)
        }
        (Some(AvailabilityZoneRebalancing::Enabled) | None, None) => Some(AvailabilityZoneRebalancing::Enabled),
    };
    Ok(service)
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
        created_at: Timestamp::from_millis(0),
    }
}

/// What is given goes over what there is.
pub(crate) fn over(given: DeploymentConfiguration, current: &DeploymentConfiguration) -> DeploymentConfiguration {
    DeploymentConfiguration {
        deployment_circuit_breaker: given
            .deployment_circuit_breaker
            .or_else(|| current.deployment_circuit_breaker.clone()),
        maximum_percent: given.maximum_percent.or(current.maximum_percent),
        minimum_healthy_percent: given.minimum_healthy_percent.or(current.minimum_healthy_percent),
        ..given
    }
}

/// A deployment configuration with ECS's defaults.
///
/// # Errors
/// `InvalidParameterException` and `UnsupportedFeatureException`, with the field.
pub(crate) fn configuration(
    given: DeploymentConfiguration,
    scheduling: SchedulingStrategy,
) -> Result<DeploymentConfiguration, ApiError> {
    let default = match scheduling {
        SchedulingStrategy::Replica => Bounds::REPLICA,
        SchedulingStrategy::Daemon => Bounds::DAEMON,
    };
    match &given.strategy {
        None | Some(DeploymentStrategy::Rolling) => {}
        Some(other) => {
            return Err(ApiError::unsupported(format!(
                "deploymentConfiguration.strategy {other} is not supported by this version of Longshore; ROLLING is."
            )));
        }
    }
    for (field, is_given) in [
        ("alarms", given.alarms.as_ref().is_some_and(|alarms| alarms.enable == Some(true))),
        ("bakeTimeInMinutes", given.bake_time_in_minutes.is_some_and(|minutes| minutes > 0)),
        ("canaryConfiguration", given.canary_configuration.is_some()),
        ("linearConfiguration", given.linear_configuration.is_some()),
        ("earlySuccessCriteria", given.early_success_criteria.is_some()),
        ("lifecycleHooks", given.lifecycle_hooks.as_ref().is_some_and(|hooks| !hooks.is_empty())),
    ] {
        if is_given {
            return Err(ApiError::unsupported(format!(
                "deploymentConfiguration.{field} is not supported by this version of Longshore."
            )));
        }
    }
    let signed = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    let minimum = given.minimum_healthy_percent.unwrap_or_else(|| signed(default.minimum_healthy_percent));
    let maximum = given.maximum_percent.unwrap_or_else(|| signed(default.maximum_percent));
    if !(0..=100).contains(&minimum) {
        return Err(ApiError::invalid("minimumHealthyPercent must be between 0 and 100."));
    }
    if !(1..=MAX_PERCENT).contains(&maximum) {
        return Err(ApiError::invalid(format!("maximumPercent must be between 1 and {MAX_PERCENT}.")));
    }
    if scheduling == SchedulingStrategy::Daemon && (maximum != 100 || minimum == 100) {
        return Err(ApiError::invalid(
            "The daemon scheduling strategy replaces tasks in place: maximumPercent must be 100, and \
             minimumHealthyPercent less than 100.",
        ));
    }
    if maximum < minimum {
        return Err(ApiError::invalid("maximumPercent must not be less than minimumHealthyPercent."));
    }
    if scheduling == SchedulingStrategy::Replica && maximum < 100 {
        return Err(ApiError::invalid(
            "maximumPercent must be at least 100: with less the service could never have its desired count.",
        ));
    }
    let breaker = given.deployment_circuit_breaker.as_ref();
    if let Some(threshold) = breaker.and_then(|breaker| breaker.threshold_configuration.as_ref()) {
        threshold_is_one(threshold)?;
    }
    Ok(DeploymentConfiguration {
        strategy: Some(DeploymentStrategy::Rolling),
        minimum_healthy_percent: Some(minimum),
        maximum_percent: Some(maximum),
        ..given
    })
}

/// Refuses a threshold for which the default would have to be taken without a word.
fn threshold_is_one(threshold: &ThresholdConfiguration) -> Result<(), ApiError> {
    let invalid =
        |what: String| Err(ApiError::invalid(format!("deploymentCircuitBreaker.thresholdConfiguration.{what}")));
    if threshold.value.is_none_or(|value| value < 1) {
        return invalid("value must be at least 1.".to_owned());
    }
    match &threshold.r#type {
        Some(ThresholdType::BoundedPercent) if threshold.value.is_some_and(|value| value > 100) => {
            invalid("value must be at most 100 with BOUNDED_PERCENT.".to_owned())
        }
        Some(ThresholdType::Count | ThresholdType::BoundedPercent | ThresholdType::UnboundedPercent) => Ok(()),
        Some(ThresholdType::Other(other)) => {
            invalid(format!("type: `{other}` is none of COUNT, BOUNDED_PERCENT, UNBOUNDED_PERCENT."))
        }
        None => invalid("type is required: COUNT, BOUNDED_PERCENT or UNBOUNDED_PERCENT.".to_owned()),
    }
}

/// What no service can have yet, by its field's name.
pub(super) fn refuse(fields: &[(&str, bool)]) -> Result<(), ApiError> {
    match fields.iter().find(|(_, given)| *given) {
        Some((field, _)) => {
            Err(ApiError::unsupported(format!("{field} is not supported yet by this version of Longshore.")))
        }
        None => Ok(()),
    }
}

pub(super) fn some<T>(list: Option<&Vec<T>>) -> bool {
    list.is_some_and(|list| !list.is_empty())
}

/// The fields that both requests have and no service can have yet, with whether they are given. The two generated types
/// share no trait.
macro_rules! not_yet {
    ($request:expr) => {{
        let request = $request;
        [
            ("loadBalancers", some(request.load_balancers.as_ref())),
            ("serviceRegistries", some(request.service_registries.as_ref())),
            (
                "serviceConnectConfiguration",
                request.service_connect_configuration.as_ref().is_some_and(|c| c.enabled == Some(true)),
            ),
            ("volumeConfigurations", some(request.volume_configurations.as_ref())),
            ("vpcLatticeConfigurations", some(request.vpc_lattice_configurations.as_ref())),
            ("platformVersion", request.platform_version.as_ref().is_some_and(|version| !version.is_empty())),
        ]
    }};
}

/// Who decides what the tasks of a service run.
fn controller(
    request: &CreateServiceRequest,
    scheduling: SchedulingStrategy,
) -> Result<DeploymentController, ApiError> {
    match request.deployment_controller.as_ref().and_then(|controller| controller.r#type.as_ref()) {
        None | Some(DeploymentControllerType::Ecs) => return Ok(DeploymentController::Ecs),
        Some(DeploymentControllerType::External) => {}
        Some(other @ DeploymentControllerType::CodeDeploy) => {
            return Err(ApiError::unsupported(format!(
                "deploymentController {other} is not supported by this version of Longshore; ECS and EXTERNAL are."
            )));
        }
        Some(DeploymentControllerType::Other(other)) => {
            return Err(ApiError::invalid(format!(
                "deploymentController.type: `{other}` is none of ECS, CODE_DEPLOY, EXTERNAL."
            )));
        }
    }
    if scheduling == SchedulingStrategy::Daemon {
        return Err(no_daemon("the EXTERNAL deployment controller", "deployment controller"));
    }
    for (field, is_given) in [
        ("taskDefinition", request.task_definition.as_ref().is_some_and(|name| !name.is_empty())),
        ("launchType", request.launch_type.is_some()),
        ("networkConfiguration", request.network_configuration.is_some()),
        ("capacityProviderStrategy", some(request.capacity_provider_strategy.as_ref())),
    ] {
        if is_given {
            return Err(ApiError::invalid(format!(
                "{field} cannot be specified for a service with deploymentController EXTERNAL: its task sets have it."
            )));
        }
    }
    Ok(DeploymentController::External)
}

fn refuse_create(request: &CreateServiceRequest) -> Result<(), ApiError> {
    refuse(&not_yet!(request))?;
    refuse(&[("role", request.role.as_ref().is_some_and(|role| !role.is_empty()))])
}

fn refuse_update(request: &UpdateServiceRequest) -> Result<(), ApiError> {
    refuse(&not_yet!(request))
}

/// What tells a request from others.
fn hash(request: &CreateServiceRequest) -> Result<String, ApiError> {
    let json = serde_json::to_vec(request).map_err(|error| ApiError::server(error.to_string()))?;
    Ok(hex::encode(digest(&SHA256, &json)))
}
