//! What requests to Application Auto Scaling may say.

use crate::commands::ActionEdit;
use crate::ops::Ctx;
use crate::records::{ScalingKind, ScalingPolicy, ServiceKey, Tags};
use crate::scaler::{ALARM_TAG, adjustment, metric};
use longshore_ecs_api::autoscaling::{Action, Policy, StepAdjustment, StepScaling, TargetTracking};
use longshore_ecs_api::{ApiError, ErrorCode};
use longshore_model::{ClusterKey, ClusterName, Timestamp};
use longshore_scaling::Alarm;
use longshore_schedule::{Dialect, Expression, Zone};

/// The service namespaces of AWS. All but the first are not here.
const NAMESPACES: [&str; 15] = [
    "ecs",
    "elasticmapreduce",
    "ec2",
    "appstream",
    "dynamodb",
    "rds",
    "sagemaker",
    "custom-resource",
    "comprehend",
    "lambda",
    "cassandra",
    "kafka",
    "elasticache",
    "neptune",
    "workspaces",
];
const DIMENSION: &str = "ecs:service:DesiredCount";
/// The most that a service may be asked for (ECS).
const MAX_CAPACITY: u32 = 5000;
const UNSUPPORTED: &str = "Unsupported service namespace, resource type or scalable dimension";

fn invalid(text: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::Validation, text)
}

/// The words of AWS's own checks of a model.
fn constraint(field: &str, value: &str, rule: &str) -> ApiError {
    invalid(format!("1 validation error detected: Value '{value}' at '{field}' failed to satisfy constraint: {rule}"))
}

/// The same for what is not there.
pub(super) fn missing(field: &str) -> ApiError {
    invalid(format!(
        "1 validation error detected: Value null at '{field}' failed to satisfy constraint: Member must not be null"
    ))
}

pub(super) fn namespace(given: Option<&str>) -> Result<(), ApiError> {
    match given.ok_or_else(|| missing("serviceNamespace"))? {
        "ecs" => Ok(()),
        other if NAMESPACES.contains(&other) => Err(invalid(UNSUPPORTED)),
        other => {
            let rule = format!("Member must satisfy enum value set: [{}]", NAMESPACES.join(", "));
            Err(constraint("serviceNamespace", other, &rule))
        }
    }
}

pub(super) fn dimension(given: &str) -> Result<(), ApiError> {
    if given == DIMENSION { Ok(()) } else { Err(invalid(UNSUPPORTED)) }
}

/// `service/CLUSTER/NAME`.
pub(super) fn resource(ctx: &Ctx<'_>, given: &str) -> Result<ServiceKey, ApiError> {
    let parts: Vec<&str> = given.split('/').collect();
    match *parts.as_slice() {
        ["service", cluster, name] if !name.is_empty() => {
            let cluster = ClusterName::new(cluster).map_err(|_| invalid(UNSUPPORTED))?;
            let cluster = ClusterKey { region: ctx.caller.region.clone(), name: cluster };
            Ok(ServiceKey { cluster, name: name.into() })
        }
        _ => Err(invalid(format!("{UNSUPPORTED}: resourceId must be service/CLUSTER/NAME"))),
    }
}

/// The service that a request is about.
pub(super) fn key(
    ctx: &Ctx<'_>,
    given_namespace: &Option<String>,
    given_resource: &Option<String>,
    given_dimension: &Option<String>,
) -> Result<ServiceKey, ApiError> {
    namespace(given_namespace.as_deref())?;
    let id = given_resource.as_deref().ok_or_else(|| missing("resourceId"))?;
    dimension(given_dimension.as_deref().ok_or_else(|| missing("scalableDimension"))?)?;
    resource(ctx, id)
}

pub(super) fn capacity(given: Option<i32>, field: &str) -> Result<Option<u32>, ApiError> {
    let Some(given) = given else { return Ok(None) };
    let count = u32::try_from(given).ok().filter(|count| *count <= MAX_CAPACITY);
    count.map(Some).ok_or_else(|| invalid(format!("{field} must be between 0 and {MAX_CAPACITY}, and is {given}.")))
}

/// The name of a policy or an action.
pub(super) fn name(given: Option<&str>, field: &str) -> Result<String, ApiError> {
    let name = given.ok_or_else(|| missing(field))?;
    if name.is_empty() {
        return Err(constraint(field, name, "Member must have length greater than or equal to 1"));
    }
    if name.chars().count() > 256 {
        return Err(constraint(field, "…", "Member must have length less than or equal to 256"));
    }
    if name.chars().any(|c| c.is_control() || matches!(c, '|' | ':' | '/')) {
        return Err(constraint(field, name, "Member must hold no control character and none of |, : and /"));
    }
    Ok(name.to_owned())
}

/// Tags of a target. One that is an alarm has to be one.
pub(super) fn tags(given: Tags) -> Result<Tags, ApiError> {
    for (key, value) in &given {
        if !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256 {
            return Err(invalid("Tags: a key must have 1 to 128 characters, and a value at most 256."));
        }
        if crate::ops::check::is_reserved(key) {
            return Err(invalid(format!("Tags: the key `{key}` begins with `aws:`, which is reserved.")));
        }
        if key.starts_with(ALARM_TAG) {
            Alarm::parse(value).map_err(|error| invalid(format!("Tags: {key}: {error}.")))?;
        }
    }
    Ok(given)
}

/// A policy; what is not said of one that is there stays as it is.
pub(super) fn policy(request: Policy, current: Option<&ScalingPolicy>) -> Result<ScalingPolicy, ApiError> {
    let tracking = request.target_tracking_scaling_policy_configuration;
    let steps = request.step_scaling_policy_configuration;
    if request.predictive_scaling_policy_configuration.is_some() {
        return Err(invalid("PredictiveScaling is not supported: there is a target or there are steps."));
    }
    let kind = match (request.policy_type.as_deref(), current.map(|current| &current.kind)) {
        (Some("TargetTrackingScaling"), _) => "track",
        (Some("StepScaling"), _) => "steps",
        (Some("PredictiveScaling"), _) => {
            return Err(invalid("PredictiveScaling is not supported: there is a target or there are steps."));
        }
        (Some(other), _) => {
            let rule = "Member must satisfy enum value set: [StepScaling, TargetTrackingScaling]";
            return Err(constraint("policyType", other, rule));
        }
        (None, Some(ScalingKind::Track(_))) => "track",
        (None, Some(ScalingKind::Steps(_))) => "steps",
        (None, None) if tracking.is_some() => "track",
        (None, None) => "steps",
    };
    let kind = match (kind, tracking, steps) {
        ("track", Some(tracking), None) => ScalingKind::Track(check_tracking(tracking)?),
        ("steps", None, Some(steps)) => ScalingKind::Steps(check_steps(steps)?),
        ("track", ..) => {
            return Err(invalid(
                "A TargetTrackingScaling policy has a TargetTrackingScalingPolicyConfiguration, and no other.",
            ));
        }
        _ => return Err(invalid("A StepScaling policy has a StepScalingPolicyConfiguration, and no other.")),
    };
    Ok(ScalingPolicy { id: uuid::Uuid::new_v4(), kind, created_at: Timestamp::default() })
}

fn cooldown(given: Option<i32>, field: &str) -> Result<(), ApiError> {
    match given {
        Some(secs) if secs < 0 => Err(invalid(format!("{field} must not be negative, and is {secs}."))),
        Some(_) | None => Ok(()),
    }
}

fn check_tracking(tracking: TargetTracking) -> Result<TargetTracking, ApiError> {
    if tracking.customized_metric_specification.is_some() {
        return Err(invalid(
            "CustomizedMetricSpecification is not supported: there are no metrics but those of services.",
        ));
    }
    let wrong = "TargetValue must be greater than 0 and at most 10000";
    tracking.target_value.ok_or_else(|| missing("targetTrackingScalingPolicyConfiguration.targetValue"))?;
    tracking.target_value.filter(|value| *value > 0.0 && *value <= 10_000.0).ok_or_else(|| invalid(wrong))?;
    let field = "targetTrackingScalingPolicyConfiguration.predefinedMetricSpecification";
    let specification = tracking.predefined_metric_specification.as_ref().ok_or_else(|| missing(field))?;
    let name = specification.predefined_metric_type.as_deref();
    let name = name.ok_or_else(|| missing(&format!("{field}.predefinedMetricType")))?;
    if metric(name).is_none() {
        return Err(invalid(format!(
            "PredefinedMetricType `{name}` is not supported: it must be ECSServiceAverageCPUUtilization or \
             ECSServiceAverageMemoryUtilization"
        )));
    }
    cooldown(tracking.scale_in_cooldown, "ScaleInCooldown")?;
    cooldown(tracking.scale_out_cooldown, "ScaleOutCooldown")?;
    Ok(tracking)
}

fn check_steps(steps: StepScaling) -> Result<StepScaling, ApiError> {
    let field = "stepScalingPolicyConfiguration.adjustmentType";
    let kind = steps.adjustment_type.as_deref().ok_or_else(|| missing(field))?;
    if adjustment(kind).is_none() {
        let rule = "Member must satisfy enum value set: [ChangeInCapacity, PercentChangeInCapacity, ExactCapacity]";
        return Err(constraint(field, kind, rule));
    }
    if steps.min_adjustment_magnitude.is_some() && kind != "PercentChangeInCapacity" {
        return Err(invalid("MinAdjustmentMagnitude is only for PercentChangeInCapacity."));
    }
    cooldown(steps.cooldown, "Cooldown")?;
    match steps.metric_aggregation_type.as_deref() {
        None | Some("Average") => {}
        Some("Minimum" | "Maximum") => {
            return Err(invalid("MetricAggregationType must be Average: the figures of a period are averages."));
        }
        Some(other) => {
            let rule = "Member must satisfy enum value set: [Average, Minimum, Maximum]";
            return Err(constraint("stepScalingPolicyConfiguration.metricAggregationType", other, rule));
        }
    }
    intervals(steps.step_adjustments.as_deref().unwrap_or_default(), kind == "ExactCapacity")?;
    Ok(steps)
}

/// Intervals that follow each other without overlapping or leaving a gap (Application Auto Scaling).
fn intervals(steps: &[StepAdjustment], exact: bool) -> Result<(), ApiError> {
    if steps.is_empty() || steps.len() > 20 {
        return Err(invalid("StepAdjustments must have 1 to 20 steps."));
    }
    let mut bounds = Vec::new();
    for step in steps {
        let number = step.scaling_adjustment;
        let number =
            number.ok_or_else(|| missing("stepScalingPolicyConfiguration.stepAdjustments.scalingAdjustment"))?;
        if exact && number < 0 {
            return Err(invalid("ScalingAdjustment must not be negative for ExactCapacity."));
        }
        let lower = step.metric_interval_lower_bound.unwrap_or(f64::NEG_INFINITY);
        let upper = step.metric_interval_upper_bound.unwrap_or(f64::INFINITY);
        if lower >= upper {
            return Err(invalid("MetricIntervalLowerBound must be less than MetricIntervalUpperBound."));
        }
        if lower.is_infinite() && upper.is_infinite() && steps.len() > 1 {
            return Err(invalid("Of several steps each must have a bound."));
        }
        bounds.push((lower, upper));
    }
    bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    for pair in bounds.windows(2) {
        if let [(_, upper), (lower, _)] = pair {
            if lower < upper {
                return Err(invalid("StepAdjustments must not overlap."));
            }
            if lower > upper {
                return Err(invalid("There must be no gap between the intervals of StepAdjustments."));
            }
        }
    }
    Ok(())
}

/// A scheduled action. What is not said of one that is there stays as it is, apart from its start and end (Application
/// Auto Scaling).
pub(super) fn action(request: Action) -> Result<ActionEdit, ApiError> {
    if let Some(schedule) = &request.schedule {
        Expression::parse(schedule, Dialect::Scheduler).map_err(|error| invalid(error.to_string()))?;
    }
    if let Some(zone) = request.timezone.as_ref().filter(|zone| Zone::named(zone).is_none()) {
        return Err(invalid(format!("Timezone `{zone}` is not a time zone of the IANA database.")));
    }
    let time = |given: Option<longshore_ecs_api::EpochSeconds>| given.map(|at| Timestamp::from_millis(at.millis()));
    let (start, end) = (time(request.start_time), time(request.end_time));
    if start.zip(end).is_some_and(|(start, end)| start >= end) {
        return Err(invalid("EndTime must be later than StartTime."));
    }
    let bounds = match request.scalable_target_action {
        Some(given) => {
            Some((capacity(given.min_capacity, "minCapacity")?, capacity(given.max_capacity, "maxCapacity")?))
        }
        None => None,
    };
    if bounds.and_then(|(min, max)| min.zip(max)).is_some_and(|(min, max)| min > max) {
        return Err(invalid("Minimum capacity cannot be greater than maximum capacity."));
    }
    let id = uuid::Uuid::new_v4();
    Ok(ActionEdit { id, schedule: request.schedule, zone: request.timezone, start, end, bounds })
}
