//! Secrets without their values.

use super::{find, secret_id, unsupported, versions};
use crate::ops::Ctx;
use crate::page::Listing;
use crate::records::{Secret, SecretKey};
use longshore_ecs_api::secrets::{
    DescribeSecretResponse, ListSecretsRequest, ListSecretsResponse, SecretFilter, SecretListEntry, SecretRequest,
    SecretTag,
};
use longshore_ecs_api::{ApiError, EpochSeconds, ErrorCode};
use longshore_model::Timestamp;
use std::collections::BTreeMap;

/// Secrets on a page.
const PAGE: usize = 100;

pub(crate) fn describe(ctx: &Ctx<'_>, request: &SecretRequest) -> Result<DescribeSecretResponse, ApiError> {
    let secret = find(ctx, &secret_id(request.secret_id.as_deref())?)?;
    let SecretListEntry {
        arn,
        name,
        description,
        created_date,
        last_changed_date,
        deleted_date,
        tags,
        secret_versions_to_stages,
    } = entry(ctx, secret);
    Ok(DescribeSecretResponse {
        arn,
        name,
        description,
        created_date,
        last_changed_date,
        deleted_date,
        tags,
        version_ids_to_stages: secret_versions_to_stages,
    })
}

pub(crate) fn list(ctx: &Ctx<'_>, request: ListSecretsRequest) -> Result<ListSecretsResponse, ApiError> {
    let filters = request.filters.unwrap_or_default();
    let all = request.include_planned_deletion.unwrap_or(false);
    unsupported(&[
        ("SortBy other than name", request.sort_by.is_some_and(|by| by != "name")),
        ("SortOrder other than asc", request.sort_order.is_some_and(|order| order != "asc")),
    ])?;
    for filter in &filters {
        let known = ["name", "description", "tag-key", "tag-value", "all"];
        if !filter.key.as_deref().is_some_and(|key| known.contains(&key)) {
            return Err(ApiError::invalid(format!("Filters: Key must be one of [{}].", known.join(", "))));
        }
        if filter.values.as_ref().is_none_or(Vec::is_empty) {
            return Err(ApiError::invalid("Filters: Values must have at least one value."));
        }
    }
    let what = format!("ListSecrets {} {all} {filters:?}", ctx.caller.region);
    let sizes = (request.max_results, PAGE, PAGE);
    let listing = Listing::new(ctx.core.inner().page_key(), what, sizes, request.next_token.as_deref());
    let listing = listing.map_err(|error| {
        if error.message.contains("nextToken") {
            ApiError::new(ErrorCode::InvalidNextToken, "Invalid NextToken.")
        } else {
            ApiError::invalid(format!("MaxResults must be between 1 and {PAGE}."))
        }
    })?;
    let now = ctx.core.inner().clock.now();
    let first = SecretKey { region: ctx.caller.region.clone(), name: listing.after.clone().unwrap_or_default() };
    let secrets = ctx
        .state
        .secrets_from(&first)
        .take_while(|secret| secret.key.region == first.region)
        .filter(|secret| listing.after.as_ref() != Some(&secret.key.name))
        .filter(|secret| secret.exists(now) && (all || secret.deletes_at.is_none()))
        .filter(|secret| filters.iter().all(|filter| matches(secret, filter)));
    let (page, next_token) = listing.page(secrets, |secret| secret.key.name.clone());
    let list = page.into_iter().map(|secret| entry(ctx, secret)).collect();
    Ok(ListSecretsResponse { secret_list: Some(list), next_token })
}

/// Secrets Manager's rule: a value is the beginning of what it is compared with, and `!` before it says that it is not.
fn matches(secret: &Secret, filter: &SecretFilter) -> bool {
    let keys = || secret.tags.keys().map(String::as_str);
    let values = || secret.tags.values().map(String::as_str);
    let name = || std::iter::once(secret.key.name.as_str());
    let description = || secret.description.as_deref().into_iter();
    let (texts, exact): (Vec<&str>, bool) = match filter.key.as_deref() {
        Some("name") => (name().collect(), true),
        Some("tag-key") => (keys().collect(), true),
        Some("tag-value") => (values().collect(), true),
        Some("description") => (description().collect(), false),
        _ => (name().chain(description()).chain(keys()).chain(values()).collect(), false),
    };
    let begins = |text: &str, with: &str| {
        if exact { text.starts_with(with) } else { text.to_lowercase().starts_with(&with.to_lowercase()) }
    };
    filter.values.iter().flatten().any(|value| match value.strip_prefix('!') {
        Some(value) => !texts.iter().any(|text| begins(text, value)),
        None => texts.iter().any(|text| begins(text, value)),
    })
}

fn entry(ctx: &Ctx<'_>, secret: &Secret) -> SecretListEntry {
    let time = |at: Timestamp| Some(EpochSeconds::from_millis(at.millis()));
    let tag = |(key, value): (&String, &String)| SecretTag { key: Some(key.clone()), value: Some(value.clone()) };
    let stages: BTreeMap<String, Vec<String>> =
        versions(secret).map(|(version, stage)| (version.id.clone(), vec![stage.to_owned()])).collect();
    SecretListEntry {
        arn: Some(secret.arn(ctx.core.account())),
        name: Some(secret.key.name.clone()),
        description: secret.description.clone(),
        created_date: time(secret.created_at),
        last_changed_date: time(secret.changed_at),
        deleted_date: secret.deletes_at.and_then(time),
        tags: Some(secret.tags.iter().map(tag).collect()),
        secret_versions_to_stages: Some(stages),
    }
}
