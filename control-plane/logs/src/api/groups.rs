//! Groups: making, listing, retention, tags.

use super::{Ctx, Nothing, broken, limit, missing, no_group, refused, required};
use crate::group::{GroupMeta, lock};
use longshore_ecs_api::logs::{
    CreateLogGroupRequest, DescribeLogGroupsRequest, DescribeLogGroupsResponse, LogGroup, LogGroupRequest,
    PutRetentionPolicyRequest, TagsRequest, TagsResponse,
};
use longshore_ecs_api::{ApiError, ErrorCode};
use std::collections::BTreeMap;

/// The lengths that CloudWatch takes, in days.
const RETENTIONS: [i32; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];
const MAX_TAGS: usize = 50;

pub(super) fn create(ctx: &Ctx<'_>, request: CreateLogGroupRequest) -> Result<Nothing, ApiError> {
    let name = required(request.log_group_name, "logGroupName")?;
    if request.kms_key_id.is_some() {
        return Err(ApiError::invalid("kmsKeyId is not supported: log groups are not encrypted by keys of KMS here."));
    }
    if request.log_group_class.as_deref().is_some_and(|class| class != "STANDARD") {
        return Err(ApiError::invalid("logGroupClass must be STANDARD; there are no other classes here."));
    }
    let tags = request.tags.unwrap_or_default();
    check_tags(&tags)?;
    let meta = GroupMeta { region: ctx.region().to_owned(), name, created_ms: ctx.now_ms, retention_days: None, tags };
    match ctx.store.ensure_group(meta).map_err(|error| refused(&error))? {
        (_, true) => Ok(Nothing {}),
        (_, false) => Err(ApiError::new(ErrorCode::ResourceAlreadyExists, "The specified log group already exists")),
    }
}

pub(super) fn delete(ctx: &Ctx<'_>, request: LogGroupRequest) -> Result<Nothing, ApiError> {
    let name = required(request.log_group_name, "logGroupName")?;
    match ctx.store.remove_group(ctx.region(), &name).map_err(|error| refused(&error))? {
        true => Ok(Nothing {}),
        false => Err(no_group()),
    }
}

pub(super) fn describe(
    ctx: &Ctx<'_>,
    request: &DescribeLogGroupsRequest,
) -> Result<DescribeLogGroupsResponse, ApiError> {
    if request.log_group_name_prefix.is_some() && request.log_group_name_pattern.is_some() {
        return Err(ApiError::invalid("Give logGroupNamePrefix or logGroupNamePattern, not both."));
    }
    let limit = limit(request.limit, 50, 50)?;
    let prefix = request.log_group_name_prefix.as_deref().unwrap_or_default();
    let part = request.log_group_name_pattern.as_deref().unwrap_or_default().to_lowercase();
    let after = request.next_token.as_deref().unwrap_or_default();
    let groups = ctx.store.groups();
    let mut wanted = groups
        .iter()
        .filter(|((region, name), _)| {
            region == ctx.region()
                && name.starts_with(prefix)
                && name.to_lowercase().contains(&part)
                && name.as_str() > after
        })
        .map(|(_, group)| group)
        .peekable();
    let mut shown = Vec::new();
    while shown.len() < limit
        && let Some(group) = wanted.next()
    {
        let meta = group.meta();
        let mut bytes = 0;
        for (_, stream) in group.streams("").map_err(broken)? {
            let segments = lock(&stream).listed().map_err(broken)?;
            bytes += segments.iter().map(|segment| segment.summary.bytes).sum::<u64>();
        }
        let arn = ctx.group_arn(&meta.name);
        shown.push(LogGroup {
            arn: Some(format!("{arn}:*")),
            log_group_arn: Some(arn),
            creation_time: Some(meta.created_ms),
            retention_in_days: meta.retention_days,
            metric_filter_count: Some(0),
            stored_bytes: Some(i64::try_from(bytes).unwrap_or(i64::MAX)),
            log_group_class: Some("STANDARD".to_owned()),
            log_group_name: Some(meta.name),
        });
    }
    let last = shown.last().and_then(|group| group.log_group_name.clone());
    let next_token = last.filter(|_| wanted.peek().is_some());
    Ok(DescribeLogGroupsResponse { log_groups: Some(shown), next_token })
}

pub(super) fn put_retention(ctx: &Ctx<'_>, request: PutRetentionPolicyRequest) -> Result<Nothing, ApiError> {
    let days = request.retention_in_days.ok_or_else(|| missing("retentionInDays"))?;
    if !RETENTIONS.contains(&days) {
        let allowed: Vec<String> = RETENTIONS.iter().map(i32::to_string).collect();
        return Err(ApiError::invalid(format!("retentionInDays must be one of {}.", allowed.join(", "))));
    }
    let group = ctx.group(request.log_group_name.as_deref(), None)?;
    group.change(|meta| meta.retention_days = Some(days)).map_err(broken)?;
    Ok(Nothing {})
}

pub(super) fn delete_retention(ctx: &Ctx<'_>, request: LogGroupRequest) -> Result<Nothing, ApiError> {
    let group = ctx.group(request.log_group_name.as_deref(), None)?;
    group.change(|meta| meta.retention_days = None).map_err(broken)?;
    Ok(Nothing {})
}

fn tagged(ctx: &Ctx<'_>, request: &TagsRequest) -> Result<std::sync::Arc<crate::group::Group>, ApiError> {
    match &request.log_group_name {
        Some(name) => ctx.group(Some(name), None),
        None => ctx.group(None, Some(request.resource_arn.as_deref().ok_or_else(|| missing("resourceArn"))?)),
    }
}

pub(super) fn tag(ctx: &Ctx<'_>, request: TagsRequest) -> Result<Nothing, ApiError> {
    let group = tagged(ctx, &request)?;
    let tags = request.tags.ok_or_else(|| missing("tags"))?;
    // Looked at and changed at once: somebody else may tag it at the same time.
    let changed = group.change_if(|meta| {
        meta.tags.extend(tags);
        check_tags(&meta.tags)
    });
    changed.map_err(broken)??;
    Ok(Nothing {})
}

pub(super) fn untag(ctx: &Ctx<'_>, request: TagsRequest) -> Result<Nothing, ApiError> {
    let group = tagged(ctx, &request)?;
    let keys = request.tag_keys.ok_or_else(|| missing("tagKeys"))?;
    group.change(|meta| meta.tags.retain(|key, _| !keys.contains(key))).map_err(broken)?;
    Ok(Nothing {})
}

pub(super) fn list_tags(ctx: &Ctx<'_>, request: TagsRequest) -> Result<TagsResponse, ApiError> {
    Ok(TagsResponse { tags: Some(tagged(ctx, &request)?.meta().tags) })
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if tags.len() > MAX_TAGS {
        return Err(ApiError::invalid(format!("tags: a log group has at most {MAX_TAGS}.")));
    }
    for (key, value) in tags {
        if !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256 {
            return Err(ApiError::invalid("tags: a key has 1 to 128 characters and a value at most 256."));
        }
    }
    Ok(())
}
