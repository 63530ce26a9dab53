//! EventBridge Scheduler: schedules that start tasks, and groups of them.
//!
//! Members come as one object, wherever they stood in the request. What is said of a schedule is judged in `check`.

mod check;
mod show;

use crate::commands::{
    CreateSchedule, CreateScheduleGroup, DeleteSchedule, DeleteScheduleGroup, TagScheduleGroup, UpdateSchedule,
    no_schedule, no_schedule_group,
};
use crate::ops::{Ctx, answer, check as common};
use crate::page::Listing;
use crate::records::{DEFAULT_GROUP, Schedule, ScheduleGroup, ScheduleGroupKey, ScheduleKey, Tags};
use bytes::Bytes;
use longshore_ecs_api::scheduler::{
    Done, GroupMade, GroupRequest, GroupTag, ListGroupsRequest, ListGroupsResponse, ListSchedulesRequest,
    ListSchedulesResponse, NamedSchedule, ScheduleMade, ScheduleRequest, TagRequest, TagsShown,
};
use longshore_ecs_api::types::Tag;
use longshore_ecs_api::{ApiError, ErrorCode, parse_json};
use longshore_model::{AccountId, Timestamp};
use serde::Serialize;

pub(super) async fn create(ctx: Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: ScheduleRequest = parse_json(body)?;
    let key = schedule_key(&ctx, request.name.as_deref(), request.group_name.as_deref())?;
    let token = check::token(request.client_token.clone())?;
    let settings = check::settings(&ctx, &key, request)?;
    let unset = Timestamp::default();
    let schedule = Schedule {
        key,
        id: uuid::Uuid::new_v4(),
        settings,
        token,
        created_at: unset,
        changed_at: unset,
        anchor: unset,
        decided: None,
        next: None,
        last: None,
    };
    let schedule = ctx.submit(CreateSchedule(schedule)).await?;
    made(&ctx, &schedule)
}

pub(super) async fn update(ctx: Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: ScheduleRequest = parse_json(body)?;
    let key = schedule_key(&ctx, request.name.as_deref(), request.group_name.as_deref())?;
    check::token(request.client_token.clone())?;
    let settings = check::settings(&ctx, &key, request)?;
    let schedule = ctx.submit(UpdateSchedule { key, settings }).await?;
    made(&ctx, &schedule)
}

fn made(ctx: &Ctx<'_>, schedule: &Schedule) -> Result<Bytes, ApiError> {
    answer(&ScheduleMade { schedule_arn: Some(schedule.arn(ctx.core.account())) })
}

pub(super) fn get(ctx: &Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: NamedSchedule = parse_json(body)?;
    let key = schedule_key(ctx, request.name.as_deref(), request.group_name.as_deref())?;
    group(ctx, &key.group_key())?;
    let schedule = ctx.state.schedule(&key).ok_or_else(|| no_schedule(&key.name))?;
    answer(&show::schedule(ctx.core.account(), &ctx.state, schedule, ctx.core.inner().clock.now()))
}

pub(super) async fn delete(ctx: Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: NamedSchedule = parse_json(body)?;
    check::token(request.client_token)?;
    let key = schedule_key(&ctx, request.name.as_deref(), request.group_name.as_deref())?;
    ctx.submit(DeleteSchedule(key)).await?;
    answer(&Done {})
}

pub(super) fn list(ctx: &Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: ListSchedulesRequest = parse_json(body)?;
    let prefix = request.name_prefix.map(|prefix| check::name(&prefix, "namePrefix")).transpose()?.unwrap_or_default();
    let enabled = request.state.as_deref().map(check::state).transpose()?;
    let of_group = request.group_name.as_deref().map(|name| group_key(ctx, Some(name), "groupName")).transpose()?;
    if let Some(key) = &of_group {
        group(ctx, key)?;
    }
    let filters = (of_group.as_ref().map(|key| &key.name), &prefix, enabled);
    let listing = listing(ctx, "ListSchedules", &filters, request.max_results, request.next_token.as_deref())?;
    let region = ctx.caller.region.clone();
    let after = listing.after.as_deref().and_then(|after| after.split_once('/'));
    let first = ScheduleKey {
        region: region.clone(),
        group: after
            .map(|(group, _)| group)
            .or(of_group.as_ref().map(|key| key.name.as_str()))
            .unwrap_or_default()
            .into(),
        name: after.map(|(_, name)| name).unwrap_or_default().into(),
    };
    let all = ctx.state.schedules_from(&first).take_while(|schedule| schedule.key.region == region);
    let all = all.filter(|schedule| after.is_none() || schedule.key != first);
    let all = all.take_while(|schedule| of_group.as_ref().is_none_or(|key| schedule.key.group == key.name));
    let all = all.filter(|schedule| schedule.key.name.starts_with(&prefix));
    let all = all.filter(|schedule| enabled.is_none_or(|enabled| schedule.settings.enabled == enabled));
    let (page, next_token) = listing.page(all, |schedule| schedule.key.to_string());
    let schedules = page.into_iter().map(|schedule| show::summary(ctx.core.account(), schedule)).collect();
    answer(&ListSchedulesResponse { schedules: Some(schedules), next_token })
}

pub(super) async fn create_group(ctx: Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: GroupRequest = parse_json(body)?;
    let key = group_key(&ctx, request.name.as_deref(), "name")?;
    let token = check::token(request.client_token)?;
    let arn = key.arn(ctx.core.account());
    let unset = Timestamp::default();
    let tags = tags_of(request.tags)?;
    let group = ScheduleGroup { key, tags, created_at: unset, changed_at: unset, deleting_since: None, token };
    ctx.submit(CreateScheduleGroup(group)).await?;
    answer(&GroupMade { schedule_group_arn: Some(arn) })
}

pub(super) fn get_group(ctx: &Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: GroupRequest = parse_json(body)?;
    let key = group_key(ctx, request.name.as_deref(), "name")?;
    answer(&show::group(ctx.core.account(), &*group(ctx, &key)?))
}

pub(super) async fn delete_group(ctx: Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: GroupRequest = parse_json(body)?;
    check::token(request.client_token)?;
    let key = group_key(&ctx, request.name.as_deref(), "name")?;
    ctx.submit(DeleteScheduleGroup(key)).await?;
    answer(&Done {})
}

pub(super) fn list_groups(ctx: &Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: ListGroupsRequest = parse_json(body)?;
    let prefix = request.name_prefix.map(|prefix| check::name(&prefix, "namePrefix")).transpose()?.unwrap_or_default();
    let token = request.next_token.as_deref();
    let listing = listing(ctx, "ListScheduleGroups", &prefix, request.max_results, token)?;
    let groups = ctx.state.schedule_groups(&ctx.caller.region).filter(|group| group.key.name.starts_with(&prefix));
    let groups = groups.filter(|group| listing.after.as_ref().is_none_or(|after| group.key.name > *after));
    let (page, next_token) = listing.page(groups, |group| group.key.name.clone());
    let schedule_groups = page.iter().map(|group| show::group(ctx.core.account(), group)).collect();
    answer(&ListGroupsResponse { schedule_groups: Some(schedule_groups), next_token })
}

pub(super) async fn tag(ctx: Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: TagRequest = parse_json(body)?;
    let key = tagged(&ctx, request.resource_arn.as_deref())?;
    let put = tags_of(request.tags)?;
    ctx.submit(TagScheduleGroup { key, put, remove: Vec::new() }).await?;
    answer(&Done {})
}

pub(super) async fn untag(ctx: Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: TagRequest = parse_json(body)?;
    let key = tagged(&ctx, request.resource_arn.as_deref())?;
    let remove = request.tag_keys.unwrap_or_default();
    if let Some(key) = remove.iter().find(|key| common::is_reserved(key)) {
        return Err(check::invalid(format!("TagKeys: the key `{key}` begins with `aws:`, which is reserved.")));
    }
    ctx.submit(TagScheduleGroup { key, put: Tags::new(), remove }).await?;
    answer(&Done {})
}

pub(super) fn tags(ctx: &Ctx<'_>, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: TagRequest = parse_json(body)?;
    let group = group(ctx, &tagged(ctx, request.resource_arn.as_deref())?)?;
    let tag = |(key, value): (&String, &String)| GroupTag { key: Some(key.clone()), value: Some(value.clone()) };
    answer(&TagsShown { tags: Some(group.tags.iter().map(tag).collect()) })
}

/// What parts shared with ECS say of parameters, under the code that clients of Scheduler know.
pub(super) fn in_its_words(error: ApiError) -> ApiError {
    match error.code {
        ErrorCode::InvalidParameter | ErrorCode::Client => ApiError { code: ErrorCode::Validation, ..error },
        _ => error,
    }
}

fn listing<'a, F: Serialize>(
    ctx: &Ctx<'a>,
    operation: &str,
    filters: &F,
    size: Option<i32>,
    token: Option<&str>,
) -> Result<Listing<'a>, ApiError> {
    let filters = serde_json::to_string(filters).map_err(|e| ApiError::server(e.to_string()))?;
    let what = format!("scheduler {operation} {} {filters}", ctx.caller.region);
    Listing::new(ctx.core.inner().page_key(), what, (size, 100, 100), token)
}

fn schedule_key(ctx: &Ctx<'_>, name: Option<&str>, group: Option<&str>) -> Result<ScheduleKey, ApiError> {
    let name = check::name(name.unwrap_or_default(), "name")?;
    let group = group.map_or_else(|| Ok(DEFAULT_GROUP.to_owned()), |group| check::name(group, "groupName"))?;
    Ok(ScheduleKey { region: ctx.caller.region.clone(), group, name })
}

fn group_key(ctx: &Ctx<'_>, name: Option<&str>, field: &str) -> Result<ScheduleGroupKey, ApiError> {
    let name = check::name(name.unwrap_or_default(), field)?;
    Ok(ScheduleGroupKey { region: ctx.caller.region.clone(), name })
}

fn group(ctx: &Ctx<'_>, key: &ScheduleGroupKey) -> Result<std::sync::Arc<ScheduleGroup>, ApiError> {
    ctx.state.schedule_group(key).ok_or_else(|| no_schedule_group(&key.name))
}

/// The group that an ARN names: nothing else of Scheduler has tags.
fn tagged(ctx: &Ctx<'_>, arn: Option<&str>) -> Result<ScheduleGroupKey, ApiError> {
    let arn = arn.unwrap_or_default();
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [_, _, "scheduler", region, account, resource] = parts.as_slice() else {
        return Err(check::invalid(format!("ResourceArn: `{arn}` is not the ARN of a schedule group.")));
    };
    let Some(name) = resource.strip_prefix("schedule-group/") else {
        return Err(check::invalid("ResourceArn: only schedule groups have tags."));
    };
    let key = group_key(ctx, Some(name), "ResourceArn")?;
    let ours = *region == key.region.as_str() && AccountId::new(*account).ok().as_ref() == Some(ctx.core.account());
    if !ours {
        return Err(no_schedule_group(name));
    }
    group(ctx, &key)?;
    Ok(key)
}

fn tags_of(tags: Option<Vec<GroupTag>>) -> Result<Tags, ApiError> {
    let tags = tags.unwrap_or_default().into_iter().map(|GroupTag { key, value }| Tag { key, value });
    common::tags(Some(tags.collect()))
}
