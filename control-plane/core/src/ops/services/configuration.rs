//! How a service deploys.

use crate::records::SchedulingStrategy;
use longshore_ecs_api::ApiError;
use longshore_ecs_api::enums::{DeploymentStrategy, ThresholdType};
use longshore_ecs_api::types::{DeploymentConfiguration, ThresholdConfiguration};
use longshore_rollout::Bounds;

/// ECS's limit.
const MAX_PERCENT: i32 = 200;

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
    if scheduling == SchedulingStrategy::Daemon && maximum > 100 {
        return Err(ApiError::invalid(
            "The daemon scheduling strategy does not support values above 100 for maximumPercent on a deployment \
             configuration. Change the maximumPercent value to 100, and try again",
        ));
    }
    if !(1..=MAX_PERCENT).contains(&maximum) {
        return Err(ApiError::invalid(format!("maximumPercent must be between 1 and {MAX_PERCENT}.")));
    }
    if scheduling == SchedulingStrategy::Daemon && maximum < 100 {
        return Err(ApiError::invalid(
            "The daemon scheduling strategy replaces tasks in place, so that maximumPercent must be 100.",
        ));
    }
    if scheduling == SchedulingStrategy::Daemon && minimum == 100 {
        return Err(ApiError::invalid(
            "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments",
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
