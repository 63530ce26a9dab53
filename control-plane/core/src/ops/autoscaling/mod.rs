//! Application Auto Scaling, for the desired counts of services. What is said is judged in `check`.

mod check;
mod show;

use crate::commands::{EditScaling, NewDeployment, ScalingEdit, no_scaling_target};
use crate::ops::{Ctx, answer};
use crate::page::Listing;
use crate::records::{ScalingTarget, ServiceKey, Tags};
use bytes::Bytes;
use longshore_ecs_api::autoscaling::{
    Action, Actions, Activities, DescribeRequest, Done, Named, Policies, Policy, PolicyPut, RegisterRequest,
    Registered, ScalingOperation, TagRequest, TagsShown, Targets,
};
use longshore_ecs_api::{ApiError, ErrorCode, parse_json};
use std::sync::Arc;

/// Does an operation.
///
/// # Errors
/// In the service's own codes.
pub(super) async fn call(ctx: Ctx<'_>, operation: ScalingOperation, body: &[u8]) -> Result<Bytes, ApiError> {
    use ScalingOperation as Op;
    let done = match operation {
        Op::RegisterScalableTarget => register(ctx, body).await,
        Op::DeregisterScalableTarget => deregister(ctx, body).await,
        Op::DescribeScalableTargets => targets(&ctx, body),
        Op::PutScalingPolicy => put_policy(ctx, body).await,
        Op::DeleteScalingPolicy => delete_policy(ctx, body).await,
        Op::DescribeScalingPolicies => policies(&ctx, body),
        Op::PutScheduledAction => put_action(ctx, body).await,
        Op::DeleteScheduledAction => delete_action(ctx, body).await,
        Op::DescribeScheduledActions => actions(&ctx, body),
        Op::DescribeScalingActivities => activities(&ctx, body),
        Op::TagResource => tag(ctx, body).await,
        Op::UntagResource => untag(ctx, body).await,
        Op::ListTagsForResource => tags(&ctx, body),
    };
    done.map_err(in_its_words)
}

/// What other parts refuse, in codes that this service has.
fn in_its_words(error: ApiError) -> ApiError {
    match error.code {
        ErrorCode::InvalidParameter if error.message.contains("nextToken") => {
            ApiError { code: ErrorCode::InvalidNextToken, ..error }
        }
        ErrorCode::InvalidParameter | ErrorCode::Client | ErrorCode::ServiceNotActive | ErrorCode::ServiceNotFound => {
            ApiError { code: ErrorCode::Validation, ..error }
        }
        _ => error,
    }
}

async fn edit(ctx: &Ctx<'_>, key: ServiceKey, edit: ScalingEdit) -> Result<Arc<ScalingTarget>, ApiError> {
    ctx.submit(EditScaling { key, edit }).await
}

async fn register(ctx: Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: RegisterRequest = parse_json(body)?;
    let key = check::key(&ctx, &request.service_namespace, &request.resource_id, &request.scalable_dimension)?;
    let register = ScalingEdit::Register {
        id: uuid::Uuid::new_v4(),
        min: check::capacity(request.min_capacity, "minCapacity")?,
        max: check::capacity(request.max_capacity, "maxCapacity")?,
        suspended: request.suspended_state,
        role_arn: request.role_arn,
        tags: check::tags(request.tags.unwrap_or_default())?,
        activity: uuid::Uuid::new_v4(),
        new: NewDeployment::random(),
    };
    let target = edit(&ctx, key, register).await?;
    answer(&Registered { scalable_target_arn: Some(target.arn(ctx.core.account())) })
}

async fn deregister(ctx: Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: Named = parse_json(body)?;
    let key = named(&ctx, &request)?;
    if ctx.state.scaling_target(&key).is_none() {
        return Err(no_scaling_target("found", &key));
    }
    edit(&ctx, key, ScalingEdit::Deregister).await?;
    answer(&Done {})
}

async fn put_policy(ctx: Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: Policy = parse_json(body)?;
    let key = check::key(&ctx, &request.service_namespace, &request.resource_id, &request.scalable_dimension)?;
    let name = check::name(request.policy_name.as_deref(), "policyName")?;
    let current = ctx.state.scaling_target(&key).and_then(|target| target.policies.get(&name));
    let policy = check::policy(request, current)?;
    let target = edit(&ctx, key, ScalingEdit::PutPolicy(name.clone(), policy)).await?;
    let policy = target.policies.get(&name).ok_or_else(|| ApiError::server("The policy is gone."))?;
    let shown = show::policy(ctx.core.account(), &target, &name, policy);
    answer(&PolicyPut { policy_arn: shown.policy_arn, alarms: shown.alarms })
}

async fn delete_policy(ctx: Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: Named = parse_json(body)?;
    let key = named(&ctx, &request)?;
    let name = check::name(request.policy_name.as_deref(), "policyName")?;
    edit(&ctx, key, ScalingEdit::DeletePolicy(name)).await?;
    answer(&Done {})
}

async fn put_action(ctx: Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: Action = parse_json(body)?;
    let key = check::key(&ctx, &request.service_namespace, &request.resource_id, &request.scalable_dimension)?;
    let name = check::name(request.scheduled_action_name.as_deref(), "scheduledActionName")?;
    edit(&ctx, key, ScalingEdit::PutAction(name, Box::new(check::action(request)?))).await?;
    answer(&Done {})
}

async fn delete_action(ctx: Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: Named = parse_json(body)?;
    let key = named(&ctx, &request)?;
    let name = check::name(request.scheduled_action_name.as_deref(), "scheduledActionName")?;
    edit(&ctx, key, ScalingEdit::DeleteAction(name)).await?;
    answer(&Done {})
}

fn targets(ctx: &Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: DescribeRequest = parse_json(body)?;
    let shown = |target: &ScalingTarget| show::target(ctx.core.account(), target);
    let all = chosen(ctx, &request)?.into_iter().map(|target| (target.resource_id(), shown(target)));
    let (scalable_targets, next_token) = page(ctx, "DescribeScalableTargets", &request, all)?;
    answer(&Targets { scalable_targets: Some(scalable_targets), next_token })
}

fn policies(ctx: &Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: DescribeRequest = parse_json(body)?;
    let of = |target: &'_ Arc<ScalingTarget>| {
        let shown = |(name, policy): (&String, &_)| show::policy(ctx.core.account(), target, name, policy);
        target.policies.iter().map(shown).collect::<Vec<_>>()
    };
    let all = chosen(ctx, &request)?.into_iter().flat_map(of);
    let wanted = |policy: &Policy| is_asked(request.policy_names.as_deref(), policy.policy_name.as_deref());
    let all = all.filter(wanted).map(|policy| (policy.policy_arn.clone().unwrap_or_default(), policy));
    let (scaling_policies, next_token) = page(ctx, "DescribeScalingPolicies", &request, all)?;
    answer(&Policies { scaling_policies: Some(scaling_policies), next_token })
}

fn actions(ctx: &Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: DescribeRequest = parse_json(body)?;
    let of = |target: &'_ Arc<ScalingTarget>| {
        let shown = |(name, action): (&String, &_)| show::action(ctx.core.account(), target, name, action);
        target.actions.iter().map(shown).collect::<Vec<_>>()
    };
    let all = chosen(ctx, &request)?.into_iter().flat_map(of);
    let asked = request.scheduled_action_names.as_deref();
    let all = all.filter(|action| is_asked(asked, action.scheduled_action_name.as_deref()));
    let all = all.map(|action| (action.scheduled_action_arn.clone().unwrap_or_default(), action));
    let (scheduled_actions, next_token) = page(ctx, "DescribeScheduledActions", &request, all)?;
    answer(&Actions { scheduled_actions: Some(scheduled_actions), next_token })
}

/// The latest first.
fn activities(ctx: &Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: DescribeRequest = parse_json(body)?;
    let all = chosen(ctx, &request)?;
    let mut all: Vec<_> = all.iter().flat_map(|t| t.activities.iter().map(move |did| (did.at, *t, did))).collect();
    all.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
    let all = all.into_iter().map(|(_, target, did)| (did.id.to_string(), show::activity(target, did)));
    let (scaling_activities, next_token) = page(ctx, "DescribeScalingActivities", &request, all)?;
    answer(&Activities { scaling_activities: Some(scaling_activities), next_token })
}

async fn tag(ctx: Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: TagRequest = parse_json(body)?;
    let key = by_arn(&ctx, request.resource_arn.as_deref())?.key.clone();
    let put = check::tags(request.tags.unwrap_or_default())?;
    edit(&ctx, key, ScalingEdit::Tags { put, remove: Vec::new() }).await?;
    answer(&Done {})
}

async fn untag(ctx: Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: TagRequest = parse_json(body)?;
    let key = by_arn(&ctx, request.resource_arn.as_deref())?.key.clone();
    let remove = request.tag_keys.unwrap_or_default();
    edit(&ctx, key, ScalingEdit::Tags { put: Tags::new(), remove }).await?;
    answer(&Done {})
}

fn tags(ctx: &Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: TagRequest = parse_json(body)?;
    let target = by_arn(ctx, request.resource_arn.as_deref())?;
    answer(&TagsShown { tags: Some(target.tags.clone()) })
}

fn by_arn<'a>(ctx: &'a Ctx<'_>, arn: Option<&str>) -> Result<&'a Arc<ScalingTarget>, ApiError> {
    let arn = arn.ok_or_else(|| check::missing("resourceARN"))?;
    let account = ctx.core.account();
    let mut ours = ctx.state.scaling_targets().filter(|target| target.key.cluster.region == ctx.caller.region);
    let found = ours.find(|target| target.arn(account) == arn);
    found.ok_or_else(|| {
        let text = format!("The specified resource doesn't exist. Resource ARN: {arn}");
        ApiError::new(ErrorCode::ResourceNotFound, text)
    })
}

fn named(ctx: &Ctx<'_>, request: &Named) -> Result<ServiceKey, ApiError> {
    check::key(ctx, &request.service_namespace, &request.resource_id, &request.scalable_dimension)
}

/// The targets that a listing is about, by cluster and name.
fn chosen<'a>(ctx: &'a Ctx<'_>, request: &DescribeRequest) -> Result<Vec<&'a Arc<ScalingTarget>>, ApiError> {
    check::namespace(request.service_namespace.as_deref())?;
    if let Some(dimension) = request.scalable_dimension.as_deref() {
        check::dimension(dimension)?;
    }
    let mut keys = Vec::new();
    for id in request.resource_ids.iter().flatten().chain(&request.resource_id) {
        keys.push(check::resource(ctx, id)?);
    }
    let region = &ctx.caller.region;
    let ours = ctx.state.scaling_targets().filter(|target| target.key.cluster.region == *region);
    Ok(ours.filter(|target| keys.is_empty() || keys.contains(&target.key)).collect())
}

fn is_asked(names: Option<&[String]>, name: Option<&str>) -> bool {
    names.is_none_or(|names| names.is_empty() || names.iter().any(|asked| Some(asked.as_str()) == name))
}

/// A page of items, each with what names it.
fn page<T>(
    ctx: &Ctx<'_>,
    operation: &str,
    request: &DescribeRequest,
    all: impl Iterator<Item = (String, T)>,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let filters = DescribeRequest { max_results: None, next_token: None, ..request.clone() };
    let filters = serde_json::to_string(&filters).map_err(|error| ApiError::server(error.to_string()))?;
    let what = format!("autoscaling {operation} {} {filters}", ctx.caller.region);
    let sizes = (request.max_results, 50, 100);
    let listing = Listing::new(ctx.core.inner().page_key(), what, sizes, request.next_token.as_deref())?;
    let mut all = all.peekable();
    if let Some(after) = &listing.after {
        // Items keep their order; what named the end of the last page may be gone, and then nothing is left to show.
        while all.next_if(|(name, _)| name != after).is_some() {}
        all.next();
    }
    let (page, next_token) = listing.page(all, |(name, _)| name.clone());
    Ok((page.into_iter().map(|(_, item)| item).collect(), next_token))
}
