//! The fields of requests for services, each checked by itself, and those that no service can have yet.

use crate::records::{AT_MOST_ONE, DeploymentController, SchedulingStrategy, Service, Tags};
use longshore_ecs_api::ApiError;
use longshore_ecs_api::enums::{AvailabilityZoneRebalancing, DeploymentControllerType, LaunchType, PropagateTags};
use longshore_ecs_api::requests::{CreateServiceRequest, UpdateServiceRequest};
use longshore_ecs_api::types::DeploymentConfiguration;
use longshore_model::ClusterName;
use std::sync::Arc;

/// ECS's limit.
const MAX_DESIRED: i32 = 5000;

/// ECS's words for what a DAEMON service cannot have.
pub(super) fn no_daemon(what: &str, remove: &str) -> ApiError {
    ApiError::invalid(format!(
        "The daemon scheduling strategy does not support {what} for services. Remove the {remove} and try again"
    ))
}

/// The same of placement strategies.
pub(super) fn no_daemon_placement() -> ApiError {
    ApiError::invalid(
        "The daemon scheduling strategy does not support placement strategies. Remove the placement strategy and try \
         again",
    )
}

/// The same of capacity provider strategies.
pub(super) fn no_daemon_providers(verb: &str) -> ApiError {
    ApiError::invalid(format!(
        "Specifying a capacity provider strategy is not supported when you {verb} a service using the DAEMON \
         scheduling strategy."
    ))
}

/// Refuses a platform version: those are of Fargate (ECS).
pub(in crate::ops) fn no_platform(given: Option<&str>, launch_type: &LaunchType) -> Result<(), ApiError> {
    if given.is_none_or(str::is_empty) {
        return Ok(());
    }
    let text = format!("The platform version must be null when specifying an {launch_type} launch type.");
    Err(ApiError::invalid(text))
}

pub(super) fn new_name(given: Option<&str>) -> Result<Arc<str>, ApiError> {
    let name = given.unwrap_or_default();
    // Services keep the rule for names of clusters.
    ClusterName::new(name).map_err(|error| ApiError::invalid(format!("The serviceName {error}.")))?;
    Ok(name.into())
}

pub(super) fn desired_count(given: i32) -> Result<u32, ApiError> {
    if !(0..=MAX_DESIRED).contains(&given) {
        return Err(ApiError::invalid(format!("desiredCount must be between 0 and {MAX_DESIRED}.")));
    }
    Ok(given.unsigned_abs())
}

pub(super) fn grace(given: Option<i32>) -> Result<Option<u32>, ApiError> {
    match given {
        None => Ok(None),
        Some(seconds) if seconds >= 0 => Ok(Some(seconds.unsigned_abs())),
        Some(_) => Err(ApiError::invalid("healthCheckGracePeriodSeconds must not be negative.")),
    }
}

pub(super) fn propagate(given: Option<PropagateTags>) -> Result<Option<PropagateTags>, ApiError> {
    match given {
        Some(PropagateTags::Other(other)) => {
            Err(ApiError::invalid(format!("propagateTags: `{other}` is none of TASK_DEFINITION, SERVICE, NONE.")))
        }
        given => Ok(given),
    }
}

/// What a service's tag may say of tasks that must not run twice.
pub(crate) fn at_most_one(tags: Tags) -> Result<Tags, ApiError> {
    match tags.get(AT_MOST_ONE).map(String::as_str) {
        None | Some("true" | "false") => Ok(tags),
        Some(other) => {
            Err(ApiError::invalid(format!("tags: `{AT_MOST_ONE}` must be `true` or `false`, and is `{other}`.")))
        }
    }
}

/// Circuit breakers are of deployments that the service carries out itself (ECS).
pub(super) fn no_breaker(
    controller: DeploymentController,
    given: Option<&DeploymentConfiguration>,
) -> Result<(), ApiError> {
    let breaker = given.and_then(|given| given.deployment_circuit_breaker.as_ref());
    match controller {
        DeploymentController::External if breaker.is_some_and(|breaker| breaker.enable == Some(true)) => {
            Err(ApiError::invalid(
                "deploymentConfiguration.deploymentCircuitBreaker is for services with deploymentController ECS.",
            ))
        }
        DeploymentController::External | DeploymentController::Ecs => Ok(()),
    }
}

/// The `availabilityZoneRebalancing` of a new service that says nothing of it: ENABLED where it can be (ECS).
pub(super) fn default_rebalancing(service: &Service) -> AvailabilityZoneRebalancing {
    match no_rebalancing(service) {
        None => AvailabilityZoneRebalancing::Enabled,
        Some(_) => AvailabilityZoneRebalancing::Disabled,
    }
}

/// Refuses a service whose `availabilityZoneRebalancing` is ENABLED and cannot be (ECS).
///
/// # Errors
/// `InvalidParameterException`, with the field and with what does not go together with it.
pub(crate) fn check_rebalancing(service: &Service) -> Result<(), ApiError> {
    match (&service.zone_rebalancing, no_rebalancing(service)) {
        (Some(AvailabilityZoneRebalancing::Other(other)), _) => {
            let text = format!("availabilityZoneRebalancing: `{other}` is none of ENABLED, DISABLED.");
            Err(ApiError::invalid(text))
        }
        (Some(AvailabilityZoneRebalancing::Enabled), Some(why)) => {
            Err(ApiError::invalid(format!("availabilityZoneRebalancing must be DISABLED: {why}.")))
        }
        (Some(AvailabilityZoneRebalancing::Enabled), None)
        | (Some(AvailabilityZoneRebalancing::Disabled) | None, _) => Ok(()),
    }
}

/// Why a service cannot be evened out over zones; `None` when it can.
fn no_rebalancing(service: &Service) -> Option<&'static str> {
    let over_zones = service.strategies.first().is_none_or(|first| {
        let spread = first.r#type.as_ref().is_some_and(|kind| kind.as_str() == "spread");
        spread && first.field.as_deref() == Some("attribute:ecs.availability-zone")
    });
    let room = service.configuration.maximum_percent.is_none_or(|percent| percent > 100);
    if service.scheduling == SchedulingStrategy::Daemon {
        Some("the scheduling strategy is DAEMON")
    } else if service.controller == DeploymentController::External {
        Some("the deployment controller is EXTERNAL")
    } else if !over_zones {
        Some("placementStrategy does not begin with a spread over attribute:ecs.availability-zone")
    } else if !room {
        Some("maximumPercent is not above 100, so that nothing can start before it stops")
    } else {
        None
    }
}

/// Who decides what the tasks of a service run.
pub(super) fn controller(
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
        ("loadBalancers", some(request.load_balancers.as_ref())),
        ("platformVersion", request.platform_version.as_ref().is_some_and(|version| !version.is_empty())),
    ] {
        if is_given {
            return Err(ApiError::invalid(format!(
                "{field} cannot be specified for a service with deploymentController EXTERNAL: its task sets have it."
            )));
        }
    }
    Ok(DeploymentController::External)
}

/// What no service can have yet, by its field's name.
pub(in crate::ops) fn refuse(fields: &[(&str, bool)]) -> Result<(), ApiError> {
    match fields.iter().find(|(_, given)| *given) {
        Some((field, _)) => {
            Err(ApiError::unsupported(format!("{field} is not supported yet by this version of Longshore.")))
        }
        None => Ok(()),
    }
}

pub(in crate::ops) fn some<T>(list: Option<&Vec<T>>) -> bool {
    list.is_some_and(|list| !list.is_empty())
}

/// The fields that both requests have and no service can have yet, with whether they are given. The two generated types
/// share no trait.
macro_rules! not_yet {
    ($request:expr) => {{
        let request = $request;
        [
            ("serviceRegistries", some(request.service_registries.as_ref())),
            (
                "serviceConnectConfiguration",
                request.service_connect_configuration.as_ref().is_some_and(|c| c.enabled == Some(true)),
            ),
            ("volumeConfigurations", some(request.volume_configurations.as_ref())),
            ("vpcLatticeConfigurations", some(request.vpc_lattice_configurations.as_ref())),
        ]
    }};
}

pub(super) fn refuse_create(request: &CreateServiceRequest) -> Result<(), ApiError> {
    refuse(&not_yet!(request))?;
    // What is said of the load balancers comes later.
    if request.role.as_ref().is_some_and(|role| !role.is_empty()) && !some(request.load_balancers.as_ref()) {
        return Err(ApiError::invalid("A role was passed, but no load balancers were present."));
    }
    Ok(())
}

pub(super) fn refuse_update(request: &UpdateServiceRequest) -> Result<(), ApiError> {
    refuse(&not_yet!(request))
}
