//! What a request says of a schedule, judged before anything changes.
//!
//! Whether its cluster, definition and network exist is no matter here, as in AWS: that is so or not when it fires.

use crate::ops::Ctx;
use crate::ops::names::cluster_name;
use crate::records::{DEFAULT_ZONE, ScheduleKey, ScheduleSettings};
use crate::schedules::{Names, run_task};
use longshore_ecs_api::scheduler::{FlexibleTimeWindow, RetryPolicy, ScheduleRequest, Target};
use longshore_ecs_api::target::EcsParameters;
use longshore_ecs_api::{ApiError, ErrorCode};
use longshore_model::{Arn, Timestamp};
use longshore_schedule::{Dialect, Expression, Zone};
use std::ops::RangeInclusive;

/// Scheduler's limits.
const MAX_NAME: usize = 64;
const MAX_TOKEN: usize = 64;
const MAX_DESCRIPTION: usize = 512;
const MAX_ZONE: usize = 50;
const MAX_ROLE: usize = 1600;
const MAX_GROUP: usize = 255;
const MAX_PROVIDERS: usize = 6;
/// ECS's, for the JSON of overrides.
const MAX_INPUT: usize = 8192;
const TASKS: RangeInclusive<i64> = 1..=10;
const WINDOW_MINUTES: RangeInclusive<i64> = 1..=1440;
const MAX_AGE_SECS: RangeInclusive<i64> = 60..=86_400;
const RETRIES: RangeInclusive<i64> = 0..=185;
/// How far back a start may be.
const OLDEST_START_MILLIS: i64 = 5 * 60_000;

/// A `ValidationException`.
pub(super) fn invalid(text: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::Validation, text)
}

/// A member that breaks a rule of the model, in the words of AWS's services.
fn breaks(value: &str, field: &str, rule: &str) -> ApiError {
    let value: String = value.chars().take(128).collect();
    invalid(format!("1 validation error detected: Value '{value}' at '{field}' failed to satisfy constraint: {rule}"))
}

fn absent(field: &str) -> ApiError {
    invalid(format!(
        "1 validation error detected: Value null at '{field}' failed to satisfy constraint: Member must not be null"
    ))
}

/// A name of a schedule or a group.
pub(super) fn name(text: &str, field: &str) -> Result<String, ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.len() > MAX_NAME {
        return Err(breaks(text, field, "Member must have length less than or equal to 64"));
    }
    if text.is_empty() || !text.chars().all(allowed) {
        return Err(breaks(text, field, "Member must satisfy regular expression pattern: ^[0-9a-zA-Z-_.]+$"));
    }
    Ok(text.to_owned())
}

/// The token of a request.
pub(super) fn token(token: Option<String>) -> Result<Option<String>, ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match token {
        Some(text) if text.is_empty() || text.len() > MAX_TOKEN || !text.chars().all(allowed) => {
            let rule = "Member must have length between 1 and 64 and satisfy regular expression pattern: \
                        ^[a-zA-Z0-9-_]+$";
            Err(breaks(&text, "clientToken", rule))
        }
        token => Ok(token),
    }
}

/// Whether a schedule of that state fires.
pub(super) fn state(text: &str) -> Result<bool, ApiError> {
    match text {
        "ENABLED" => Ok(true),
        "DISABLED" => Ok(false),
        _ => Err(breaks(text, "state", "Member must satisfy enum value set: [ENABLED, DISABLED]")),
    }
}

/// All that a request says of a schedule.
///
/// A start that is long over is refused, but for the one that the schedule has: who changes something else says it
/// again.
pub(super) fn settings(
    ctx: &Ctx<'_>,
    key: &ScheduleKey,
    request: ScheduleRequest,
) -> Result<ScheduleSettings, ApiError> {
    if request.kms_key_arn.is_some() {
        return Err(unsupported("KmsKeyArn"));
    }
    let expression = request.schedule_expression.ok_or_else(|| absent("scheduleExpression"))?;
    let read = Expression::parse(&expression, Dialect::Scheduler).map_err(|error| invalid(error.to_string()))?;
    let zone = request.schedule_expression_timezone.unwrap_or_else(|| DEFAULT_ZONE.to_owned());
    if Zone::named(&zone).is_none() {
        let zone: String = zone.chars().take(MAX_ZONE).collect();
        return Err(invalid(format!("Invalid Schedule Expression Timezone {zone}. No time zone has that name.")));
    }
    let moment = |at: longshore_ecs_api::EpochSeconds| Timestamp::from_millis(at.millis());
    let (start, end) = (request.start_date.map(moment), request.end_date.map(moment));
    if let (Some(start), Some(end)) = (start, end)
        && end <= start
    {
        return Err(invalid("The EndDate you specify must be later than the StartDate."));
    }
    let kept = ctx.state.schedule(key).and_then(|schedule| schedule.settings.start);
    let oldest = ctx.core.inner().clock.now().moved(-OLDEST_START_MILLIS);
    if !read.is_one_time() && start != kept && start.is_some_and(|start| start < oldest) {
        return Err(invalid("The StartDate you specify cannot be earlier than 5 minutes ago."));
    }
    let window = request.flexible_time_window.ok_or_else(|| absent("flexibleTimeWindow"))?;
    if request.description.as_ref().is_some_and(|text| text.chars().count() > MAX_DESCRIPTION) {
        return Err(breaks("…", "description", "Member must have length less than or equal to 512"));
    }
    let target = request.target.ok_or_else(|| absent("target"))?;
    check_target(ctx, &target)?;
    Ok(ScheduleSettings {
        expression,
        zone,
        start,
        end,
        window_minutes: window_minutes(&window)?,
        enabled: request.state.as_deref().map_or(Ok(true), state)?,
        description: request.description.filter(|text| !text.is_empty()),
        target: Box::new(target),
        delete_when_over: match request.action_after_completion.as_deref() {
            None | Some("NONE") => false,
            Some("DELETE") => true,
            Some(other) => {
                let rule = "Member must satisfy enum value set: [NONE, DELETE]";
                return Err(breaks(other, "actionAfterCompletion", rule));
            }
        },
    })
}

fn window_minutes(window: &FlexibleTimeWindow) -> Result<Option<u32>, ApiError> {
    let minutes = window.maximum_window_in_minutes;
    match (window.mode.as_deref(), minutes) {
        (None, _) => Err(absent("flexibleTimeWindow.mode")),
        (Some("OFF"), None) => Ok(None),
        (Some("OFF"), Some(_)) => {
            Err(invalid("MaximumWindowInMinutes must not be set when the Mode of FlexibleTimeWindow is OFF."))
        }
        (Some("FLEXIBLE"), None) => {
            Err(invalid("MaximumWindowInMinutes must be set when the Mode of FlexibleTimeWindow is FLEXIBLE."))
        }
        (Some("FLEXIBLE"), Some(minutes)) => {
            within(Some(minutes), WINDOW_MINUTES, "flexibleTimeWindow.maximumWindowInMinutes")?;
            Ok(u32::try_from(minutes).ok())
        }
        (Some(other), _) => {
            Err(breaks(other, "flexibleTimeWindow.mode", "Member must satisfy enum value set: [OFF, FLEXIBLE]"))
        }
    }
}

fn within(value: Option<i64>, range: RangeInclusive<i64>, field: &str) -> Result<(), ApiError> {
    match value {
        Some(value) if !range.contains(&value) => {
            let rule = format!("Member must have value between {} and {}", range.start(), range.end());
            Err(breaks(&value.to_string(), field, &rule))
        }
        Some(_) | None => Ok(()),
    }
}

fn unsupported(field: &str) -> ApiError {
    invalid(format!("{field} is not supported by this version of Longshore."))
}

fn check_target(ctx: &Ctx<'_>, target: &Target) -> Result<(), ApiError> {
    let Target {
        arn,
        role_arn,
        input,
        ecs_parameters,
        retry_policy,
        dead_letter_config,
        event_bridge_parameters,
        event_bridge_put_events_v2_parameters,
        event_bridge_put_raw_events_parameters,
        kinesis_parameters,
        sage_maker_pipeline_parameters,
        sqs_parameters,
    } = target;
    let others = [
        ("Target.DeadLetterConfig", dead_letter_config.is_some()),
        ("Target.EventBridgeParameters", event_bridge_parameters.is_some()),
        ("Target.EventBridgePutEventsV2Parameters", event_bridge_put_events_v2_parameters.is_some()),
        ("Target.EventBridgePutRawEventsParameters", event_bridge_put_raw_events_parameters.is_some()),
        ("Target.KinesisParameters", kinesis_parameters.is_some()),
        ("Target.SageMakerPipelineParameters", sage_maker_pipeline_parameters.is_some()),
        ("Target.SqsParameters", sqs_parameters.is_some()),
    ];
    if let Some((field, _)) = others.iter().find(|(_, given)| *given) {
        return Err(unsupported(field));
    }
    let arn = arn.as_deref().ok_or_else(|| absent("target.arn"))?;
    check_cluster(ctx, arn)?;
    let role = role_arn.as_deref().ok_or_else(|| absent("target.roleArn"))?;
    if !is_role(role) {
        let rule = "Member must satisfy regular expression pattern: \
                    ^arn:aws[a-z-]*:iam::\\d{12}:role\\/[\\w+=,.@\\/-]+$";
        return Err(breaks(role, "target.roleArn", rule));
    }
    let ecs =
        ecs_parameters.as_ref().ok_or_else(|| invalid("EcsParameters must be set for a target that is a cluster."))?;
    check_ecs(ctx, ecs)?;
    let RetryPolicy { maximum_event_age_in_seconds: age, maximum_retry_attempts: retries } =
        retry_policy.clone().unwrap_or_default();
    within(age, MAX_AGE_SECS, "target.retryPolicy.maximumEventAgeInSeconds")?;
    within(retries, RETRIES, "target.retryPolicy.maximumRetryAttempts")?;
    if input.as_ref().is_some_and(|input| input.chars().count() > MAX_INPUT) {
        return Err(invalid(format!("Target.Input: it must have at most {MAX_INPUT} characters.")));
    }
    // As it will be when it fires.
    let names = Names { schedule_arn: "", scheduled_time: Timestamp::from_millis(0), attempt: 1 };
    run_task(target, 1, &names).map(drop).map_err(|error| {
        invalid(format!("Target.Input: it must be the JSON of RunTask's overrides: {}", error.message))
    })
}

/// The only targets are clusters, of this account and region.
fn check_cluster(ctx: &Ctx<'_>, arn: &str) -> Result<(), ApiError> {
    if arn.split(':').nth(2).is_some_and(|service| service != "ecs") {
        return Err(invalid("Target.Arn: the only targets that this version of Longshore has are ECS clusters."));
    }
    let parsed: Result<Arn, _> = arn.parse();
    let wrong = |why: &str| invalid(format!("Provided Arn is not in correct format. Target.Arn: {why}."));
    let parsed = parsed.map_err(|error| wrong(&error.to_string()))?;
    if cluster_name(parsed.resource).is_none() {
        return Err(wrong("it must be that of a cluster"));
    }
    if parsed.region != ctx.caller.region || parsed.account != *ctx.core.account() {
        return Err(wrong("the cluster must be of this account and region"));
    }
    Ok(())
}

fn check_ecs(ctx: &Ctx<'_>, ecs: &EcsParameters) -> Result<(), ApiError> {
    let definition = ecs.task_definition_arn.as_deref();
    let definition = definition.ok_or_else(|| absent("target.ecsParameters.taskDefinitionArn"))?;
    let region = &ctx.caller.region;
    let family = definition.strip_prefix(&format!("arn:aws:ecs:{region}:{}:task-definition/", ctx.core.account()));
    if family.is_none_or(|family| ctx.definition_name(family).is_err()) {
        return Err(invalid(
            "Target.EcsParameters.TaskDefinitionArn: it must be the ARN of a task definition of this account and \
             region, with a revision or without.",
        ));
    }
    within(ecs.task_count, TASKS, "target.ecsParameters.taskCount")?;
    let one_of = |value: &Option<String>, all: &[&str], field: &str| match value {
        Some(value) if !all.contains(&value.as_str()) => {
            let rule = format!("Member must satisfy enum value set: [{}]", all.join(", "));
            Err(breaks(value, &format!("target.ecsParameters.{field}"), &rule))
        }
        Some(_) | None => Ok(()),
    };
    one_of(&ecs.launch_type, &["EC2", "FARGATE", "EXTERNAL"], "launchType")?;
    one_of(&ecs.propagate_tags, &["TASK_DEFINITION"], "propagateTags")?;
    let providers = ecs.capacity_provider_strategy.as_ref().map_or(0, Vec::len);
    if providers > MAX_PROVIDERS {
        return Err(invalid(format!("CapacityProviderStrategy can have at most {MAX_PROVIDERS} items.")));
    }
    if providers > 0 && ecs.launch_type.is_some() {
        return Err(invalid("LaunchType and CapacityProviderStrategy can not be set together."));
    }
    if ecs.group.as_ref().is_some_and(|group| group.is_empty() || group.chars().count() > MAX_GROUP) {
        return Err(breaks("…", "target.ecsParameters.group", "Member must have length between 1 and 255"));
    }
    Ok(())
}

fn is_role(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts.as_slice() else { return false };
    let name = resource.strip_prefix("role/").unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '=' | ',' | '.' | '@' | '/' | '-');
    arn.len() <= MAX_ROLE
        && partition.starts_with("aws")
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(allowed)
}
