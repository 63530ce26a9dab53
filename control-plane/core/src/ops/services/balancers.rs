//! `loadBalancers` of services and task sets. There are none here, so whatever is named is unknown: refused with what
//! ECS says of it, in the order in which ECS looks.

use crate::records::Definition;
use longshore_ecs_api::ApiError;
use longshore_ecs_api::types::LoadBalancer;

/// Refuses load balancers for tasks of `definition`; `None` where it is not there any more.
///
/// # Errors
/// `InvalidParameterException` in ECS's words, when there are any.
pub(in crate::ops) fn no_balancers(
    given: Option<&Vec<LoadBalancer>>,
    definition: Option<&Definition>,
) -> Result<(), ApiError> {
    match given.and_then(|list| list.first()) {
        Some(first) => Err(ApiError::invalid(refusal(first, definition))),
        None => Ok(()),
    }
}

fn refusal(balancer: &LoadBalancer, definition: Option<&Definition>) -> String {
    let container = balancer.container_name.as_deref().unwrap_or_default();
    if container.is_empty() {
        return "Container Name can not be blank.".to_owned();
    }
    if let Some(definition) = definition {
        let mut containers = definition.body.container_definitions.iter().flatten();
        let Some(found) = containers.find(|c| c.name.as_deref() == Some(container)) else {
            return format!("The container {container} does not exist in the task definition.");
        };
        let Some(port) = balancer.container_port else {
            return "loadBalancers.containerPort must be given.".to_owned();
        };
        let mut mappings = found.port_mappings.iter().flatten();
        if !mappings.any(|mapping| mapping.container_port == Some(port)) {
            return format!("The container {container} did not have a container port {port} defined.");
        }
    }
    match (given(balancer.target_group_arn.as_ref()), given(balancer.load_balancer_name.as_ref())) {
        (Some(arn), _) => {
            format!("The target group with targetGroupArn {arn} does not have an associated load balancer.")
        }
        (None, Some(name)) => format!("The load balancer {name} does not exist."),
        (None, None) => "loadBalancers: targetGroupArn or loadBalancerName must be given.".to_owned(),
    }
}

fn given(name: Option<&String>) -> Option<&String> {
    name.filter(|name| !name.is_empty())
}
