//! Targets of rules: clusters (a task is run), log groups, API destinations (webhooks).

use super::{invalid, name, short, unsupported};
use crate::commands::{PutTargets, RemoveTargets, no_hook, no_rule};
use crate::events::{self, check_path, check_template};
use crate::ops::names::cluster_name;
use crate::ops::{Ctx, check};
use crate::records::{HookKey, RuleTarget, TargetKey};
use crate::target::tag_list;
use longshore_ecs_api::events::{
    DeadLetter, EventTarget, EventsOperation, FailedTarget, HttpParameters, ListRuleNamesRequest,
    ListRuleNamesResponse, ListTargetsRequest, ListTargetsResponse, PutTargetsRequest, RemoveTargetsRequest,
    TargetDelivery, TargetsResponse,
};
use longshore_ecs_api::target::EcsParameters;
use longshore_ecs_api::types::TaskOverride;
use longshore_ecs_api::{ApiError, EpochSeconds};
use std::collections::BTreeSet;

/// What the limits of a retry policy may be (EventBridge).
const ATTEMPTS: std::ops::RangeInclusive<i32> = 0..=185;
const AGE_SECS: std::ops::RangeInclusive<i32> = 60..=86_400;
/// Tasks of one event, as of one RunTask.
const TASKS: std::ops::RangeInclusive<i64> = 1..=10;
const MAX_INPUT: usize = 8192;

pub(super) async fn put(ctx: Ctx<'_>, request: PutTargetsRequest) -> Result<TargetsResponse, ApiError> {
    let key = ctx.rule_key(request.rule, "rule", request.event_bus_name.as_deref())?;
    let given = request.targets.unwrap_or_default();
    if !(1..=100).contains(&given.len()) {
        return Err(invalid(
            "1 validation error detected: Value at 'targets' failed to satisfy constraint: Member must have 1 to 100 \
             items",
        ));
    }
    ctx.state.rule(&key).ok_or_else(|| no_rule(&key.name))?;
    let mut ids = BTreeSet::new();
    let mut targets = Vec::new();
    for (index, target) in given.into_iter().enumerate() {
        let target = checked(&ctx, index, target)?;
        if !ids.insert(target.id.clone()) {
            return Err(invalid(format!("targets: the Id {} stands twice.", target.id)));
        }
        targets.push(target);
    }
    ctx.submit(PutTargets { key, targets }).await?;
    Ok(TargetsResponse { failed_entry_count: Some(0), failed_entries: Some(Vec::new()) })
}

/// A target that can be kept.
fn checked(ctx: &Ctx<'_>, index: usize, target: EventTarget) -> Result<RuleTarget, ApiError> {
    let member = |member: &str| format!("targets.{}.member.{member}", index + 1);
    let id = name(target.id.clone(), &member("id"))?;
    let arn = super::required(target.arn.clone(), &member("arn"))?;
    let wrong = |why: &str| invalid(format!("Target {id}: {why}"));
    let given = |value: &Option<serde_json::Value>| value.is_some();
    unsupported(&[
        ("DeadLetterConfig", target.dead_letter_config.as_ref().is_some_and(|config| config.arn.is_some())),
        ("KinesisParameters", given(&target.kinesis_parameters)),
        ("RunCommandParameters", given(&target.run_command_parameters)),
        ("BatchParameters", given(&target.batch_parameters)),
        ("SqsParameters", given(&target.sqs_parameters)),
        ("RedshiftDataParameters", given(&target.redshift_data_parameters)),
        ("SageMakerPipelineParameters", given(&target.sage_maker_pipeline_parameters)),
        ("AppSyncParameters", given(&target.app_sync_parameters)),
    ])?;
    short(target.role_arn.clone(), &member("roleArn"), 1600)?;
    let inputs = [target.input.is_some(), target.input_path.is_some(), target.input_transformer.is_some()];
    if inputs.iter().filter(|given| **given).count() > 1 {
        return Err(wrong("only one of Input, InputPath, or InputTransformer must be provided."));
    }
    if let Some(text) = &target.input {
        if text.len() > MAX_INPUT {
            return Err(wrong("Input may have 8192 bytes."));
        }
        serde_json::from_str::<serde_json::Value>(text).map_err(|_| wrong("Input is not valid JSON."))?;
    }
    if target.input_path.as_deref().is_some_and(|path| path.len() > 256 || !check_path(path)) {
        return Err(wrong("InputPath is not a path as $.detail.name."));
    }
    if let Some(transformer) = &target.input_transformer {
        check_template(transformer).map_err(|why| wrong(&format!("{why}.")))?;
    }
    if let Some(policy) = &target.retry_policy {
        if policy.maximum_retry_attempts.is_some_and(|attempts| !ATTEMPTS.contains(&attempts)) {
            return Err(wrong("RetryPolicy.MaximumRetryAttempts must be from 0 to 185."));
        }
        if policy.maximum_event_age_in_seconds.is_some_and(|age| !AGE_SECS.contains(&age)) {
            return Err(wrong("RetryPolicy.MaximumEventAgeInSeconds must be from 60 to 86400."));
        }
    }
    check_arn(ctx, &target, &arn, &wrong)?;
    let body = EventTarget { id: None, arn: None, delivery: None, ..target };
    Ok(RuleTarget { id: id.into(), arn, body })
}

/// Whether the ARN is that of something that events can go to, with the parameters that this needs.
fn check_arn(ctx: &Ctx<'_>, target: &EventTarget, arn: &str, wrong: &dyn Fn(&str) -> ApiError) -> Result<(), ApiError> {
    let (region, account) = (&ctx.caller.region, ctx.core.account());
    let is_task = arn.starts_with("arn:aws:ecs:");
    if target.ecs_parameters.is_some() != is_task {
        return Err(wrong("EcsParameters must be there for the ARN of a cluster, and for no other."));
    }
    if let Some(parameters) = &target.ecs_parameters {
        return match ctx.resource(arn).map_err(|error| wrong(&error.message))?.and_then(cluster_name) {
            Some(_) => check_ecs(ctx, target, parameters, wrong),
            None => Err(wrong("Arn must be that of a cluster of this account and of the request's region.")),
        };
    }
    if arn.starts_with(&format!("arn:aws:logs:{region}:{account}:log-group:")) {
        return match events::log_group(arn) {
            Some(name) if !name.is_empty() && name.len() <= 512 => Ok(()),
            Some(_) | None => Err(wrong("Arn has no name of a log group.")),
        };
    }
    if arn.starts_with(&format!("arn:aws:events:{region}:{account}:api-destination/")) {
        let name = events::destination(arn).unwrap_or_default();
        let key = HookKey { region: region.clone(), name: name.into() };
        let found = ctx.state.destination(&key).filter(|destination| destination.arn(account) == arn);
        found.ok_or_else(|| no_hook("An api-destination", name))?;
        return target.http_parameters.as_ref().map_or(Ok(()), |parameters| check_http(parameters, wrong));
    }
    Err(wrong(
        "Provided Arn is not in correct format: it must be that of a cluster, a log group or an API destination of \
         this account and of the request's region.",
    ))
}

fn check_ecs(
    ctx: &Ctx<'_>,
    target: &EventTarget,
    parameters: &EcsParameters,
    wrong: &dyn Fn(&str) -> ApiError,
) -> Result<(), ApiError> {
    let definition = parameters.task_definition_arn.as_deref().unwrap_or_default();
    if definition.is_empty() {
        return Err(wrong("EcsParameters.TaskDefinitionArn must not be empty."));
    }
    // A family without a revision stands for its latest, whatever that will be.
    let family = format!("arn:aws:ecs:{}:{}:task-definition/", ctx.caller.region, ctx.core.account());
    let name = definition.strip_prefix(&family).filter(|name| !name.contains(':')).unwrap_or(definition);
    ctx.definition_name(name).map_err(|error| wrong(&format!("EcsParameters.TaskDefinitionArn: {}", error.message)))?;
    if parameters.task_count.is_some_and(|count| !TASKS.contains(&count)) {
        return Err(wrong("EcsParameters.TaskCount must be from 1 to 10."));
    }
    if !matches!(parameters.launch_type.as_deref(), None | Some("EC2" | "EXTERNAL" | "FARGATE")) {
        return Err(wrong("EcsParameters.LaunchType must be EC2, FARGATE or EXTERNAL."));
    }
    if !matches!(parameters.propagate_tags.as_deref(), None | Some("TASK_DEFINITION")) {
        return Err(wrong("EcsParameters.PropagateTags must be TASK_DEFINITION."));
    }
    check::tags(parameters.tags.as_deref().map(tag_list)).map_err(|error| wrong(&error.message))?;
    if let Some(input) = &target.input {
        let read = serde_json::from_str::<TaskOverride>(input);
        read.map_err(|error| wrong(&format!("Input must be overrides of a task: {error}.")))?;
    }
    Ok(())
}

fn check_http(parameters: &HttpParameters, wrong: &dyn Fn(&str) -> ApiError) -> Result<(), ApiError> {
    for (name, value) in parameters.header_parameters.iter().flatten() {
        if !super::webhooks::is_header(name) || !super::webhooks::is_header_value(value) {
            return Err(wrong("HttpParameters.HeaderParameters has a name or a value that no header can have."));
        }
    }
    Ok(())
}

pub(super) async fn remove(ctx: Ctx<'_>, request: RemoveTargetsRequest) -> Result<TargetsResponse, ApiError> {
    let key = ctx.rule_key(request.rule, "rule", request.event_bus_name.as_deref())?;
    let ids = request.ids.unwrap_or_default();
    if !(1..=100).contains(&ids.len()) {
        return Err(invalid(
            "1 validation error detected: Value at 'ids' failed to satisfy constraint: Member must have 1 to 100 items",
        ));
    }
    let name = key.name.to_string();
    let missing = ctx.submit(RemoveTargets { key, ids }).await?;
    let failed = |id: String| FailedTarget {
        error_code: Some("ResourceNotFoundException".to_owned()),
        error_message: Some(format!("Rule {name} does not have a target with the Id {id}.")),
        target_id: Some(id),
    };
    let failed: Vec<_> = missing.into_iter().map(failed).collect();
    Ok(TargetsResponse { failed_entry_count: i32::try_from(failed.len()).ok(), failed_entries: Some(failed) })
}

pub(super) fn list(ctx: &Ctx<'_>, request: &ListTargetsRequest) -> Result<ListTargetsResponse, ApiError> {
    let key = ctx.rule_key(request.rule.clone(), "rule", request.event_bus_name.as_deref())?;
    let rule = &ctx.state.rule(&key).ok_or_else(|| no_rule(&key.name))?.record;
    let operation = EventsOperation::ListTargetsByRule;
    let pages = ctx.event_pages(operation, &key.name, request.limit, request.next_token.as_deref())?;
    let begin = pages.after.as_ref().and_then(|after| rule.targets.iter().position(|target| *target.id == **after));
    let targets = rule.targets.iter().skip(begin.map_or(0, |at| at + 1));
    let (page, next_token) = pages.page(targets, |target| target.id.to_string());
    let shown = |target: &RuleTarget| EventTarget {
        id: Some(target.id.to_string()),
        arn: Some(target.arn.clone()),
        delivery: delivery(ctx, &TargetKey { rule: key.clone(), id: target.id.clone() }),
        ..target.body.clone()
    };
    Ok(ListTargetsResponse { targets: Some(page.into_iter().map(shown).collect()), next_token })
}

/// How deliveries to a target fare. ECS's and EventBridge's clients leave out what they do not know.
fn delivery(ctx: &Ctx<'_>, key: &TargetKey) -> Option<TargetDelivery> {
    let queue = ctx.state.queue(key)?;
    let progress = &queue.progress;
    let time = |at: longshore_model::Timestamp| EpochSeconds::from_millis(at.millis());
    Some(TargetDelivery {
        waiting: i64::try_from(queue.waiting.len()).ok(),
        attempts: i32::try_from(progress.attempts).ok(),
        last_error: progress.last_error.clone(),
        next_attempt_at: progress.next_at.map(time),
        given_up: i64::try_from(progress.given_up).ok(),
        last_given_up: progress.last_given_up.as_ref().map(|given_up| DeadLetter {
            event_id: Some(given_up.event.to_string()),
            reason: Some(given_up.why.clone()),
            at: Some(time(given_up.at)),
        }),
    })
}

pub(super) fn rule_names(ctx: &Ctx<'_>, request: &ListRuleNamesRequest) -> Result<ListRuleNamesResponse, ApiError> {
    ctx.bus(request.event_bus_name.as_deref())?;
    let arn = super::required(request.target_arn.clone(), "targetArn")?;
    let operation = EventsOperation::ListRuleNamesByTarget;
    let pages = ctx.event_pages(operation, &arn, request.limit, request.next_token.as_deref())?;
    let after = pages.after.clone().unwrap_or_default();
    let rules = ctx.state.rules_of(&ctx.caller.region, &after).map(|rule| &rule.record);
    let rules = rules.filter(|rule| *rule.key.name != *after && rule.targets.iter().any(|target| target.arn == arn));
    let (page, next_token) = pages.page(rules, |rule| rule.key.name.to_string());
    let names = page.into_iter().map(|rule| rule.key.name.to_string()).collect();
    Ok(ListRuleNamesResponse { rule_names: Some(names), next_token })
}
