//! Join tokens, by the operations of Systems Manager that ECS Anywhere uses for the same purpose.

use crate::commands::{CreateActivation, DeleteActivation};
use crate::ops::{Ctx, check};
use crate::page::Listing;
use crate::records::{Activation, ActivationKey, Tags};
use crate::token::JoinToken;
use longshore_ecs_api::ssm::{
    Activation as ApiActivation, CreateActivationRequest, CreateActivationResponse, DeleteActivationRequest,
    DeleteActivationResponse, DescribeActivationsRequest, DescribeActivationsResponse, SsmTag,
};
use longshore_ecs_api::types::Tag;
use longshore_ecs_api::{ApiError, EpochSeconds, ErrorCode};
use longshore_model::{ClusterName, Timestamp};
use std::time::Duration;

/// The tag that binds a token to a cluster.
const CLUSTER_TAG: &str = "longshore:cluster";
/// Systems Manager's limits.
const MAX_LIMIT: i32 = 1000;
const DEFAULT_LIFETIME: Duration = Duration::from_secs(24 * 3600);
const MAX_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
const MAX_TEXT: usize = 256;

pub(crate) async fn create(
    ctx: Ctx<'_>,
    request: CreateActivationRequest,
) -> Result<CreateActivationResponse, ApiError> {
    let limit = request.registration_limit.unwrap_or(1);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(invalid(format!("RegistrationLimit must be between 1 and {MAX_LIMIT}.")));
    }
    let now = ctx.core.inner().clock.now();
    let expires_at = match request.expiration_date {
        None => now.after(DEFAULT_LIFETIME),
        Some(date) => Timestamp::from_millis(date.millis()),
    };
    if expires_at <= now || expires_at > now.after(MAX_LIFETIME) {
        return Err(invalid("ExpirationDate must lie in the future, at most 30 days ahead.".to_owned()));
    }
    for (field, text) in [
        ("Description", &request.description),
        ("DefaultInstanceName", &request.default_instance_name),
        ("IamRole", &request.iam_role),
    ] {
        if text.as_ref().is_some_and(|text| text.chars().count() > MAX_TEXT) {
            return Err(invalid(format!("{field} must have at most {MAX_TEXT} characters.")));
        }
    }
    let tags = request.tags.unwrap_or_default().into_iter().map(|SsmTag { key, value }| Tag { key, value });
    let mut tags: Tags = check::tags(Some(tags.collect())).map_err(|error| invalid(error.message))?;
    let cluster = match tags.remove(CLUSTER_TAG) {
        None => None,
        Some(name) => {
            let name = ClusterName::new(name);
            Some(name.map_err(|error| invalid(format!("Tags: the value of `{CLUSTER_TAG}` {error}.")))?)
        }
    };
    let token = JoinToken::random(ctx.core.inner().config.ca_fingerprint);
    let activation = Activation {
        id: token.activation.clone(),
        region: ctx.caller.region.clone(),
        token_hash: token.hash(),
        cluster,
        limit: limit.unsigned_abs(),
        used: 0,
        expires_at,
        created_at: now,
        description: request.description,
        default_instance_name: request.default_instance_name,
        iam_role: request.iam_role,
        tags,
    };
    ctx.submit(CreateActivation(activation)).await?;
    Ok(CreateActivationResponse { activation_code: Some(token.reveal()), activation_id: Some(token.activation) })
}

pub(crate) fn describe(
    ctx: &Ctx<'_>,
    request: DescribeActivationsRequest,
) -> Result<DescribeActivationsResponse, ApiError> {
    let filters = request.filters.unwrap_or_default();
    let what = format!("DescribeActivations {} {filters:?}", ctx.caller.region);
    let sizes = (request.max_results, 50, 50);
    let listing = Listing::new(ctx.core.inner().page_key(), what, sizes, request.next_token.as_deref())
        .map_err(|error| invalid(error.message))?;
    for filter in &filters {
        match filter.filter_key.as_deref() {
            Some("ActivationIds" | "DefaultInstanceName" | "IamRole") => {}
            _ => {
                return Err(invalid(
                    "Filters: FilterKey must be ActivationIds, DefaultInstanceName or IamRole.".to_owned(),
                ));
            }
        }
    }
    let is_wanted = |activation: &Activation| {
        filters.iter().all(|filter| {
            let value = match filter.filter_key.as_deref() {
                Some("ActivationIds") => Some(&activation.id),
                Some("DefaultInstanceName") => activation.default_instance_name.as_ref(),
                _ => activation.iam_role.as_ref(),
            };
            value.is_some_and(|value| filter.filter_values.iter().flatten().any(|wanted| wanted == value))
        })
    };
    let now = ctx.core.inner().clock.now();
    let activations = ctx.state.activations().filter(|a| a.region == ctx.caller.region && is_wanted(a));
    let activations = activations.filter(|a| listing.after.as_ref().is_none_or(|after| a.id > *after));
    let (page, next_token) = listing.page(activations, |activation| activation.id.clone());
    let list = page.iter().map(|activation| shown(activation, now)).collect();
    Ok(DescribeActivationsResponse { activation_list: Some(list), next_token })
}

pub(crate) async fn delete(
    ctx: Ctx<'_>,
    request: DeleteActivationRequest,
) -> Result<DeleteActivationResponse, ApiError> {
    let id = request.activation_id.ok_or_else(|| invalid("ActivationId can not be blank.".to_owned()))?;
    ctx.submit(DeleteActivation(ActivationKey { region: ctx.caller.region.clone(), id })).await?;
    Ok(DeleteActivationResponse {})
}

fn shown(activation: &Activation, now: Timestamp) -> ApiActivation {
    let time = |at: Timestamp| Some(EpochSeconds::from_millis(at.millis()));
    let count = |n: u32| Some(i32::try_from(n).unwrap_or(i32::MAX));
    let tag = |key: &str, value: &str| SsmTag { key: Some(key.to_owned()), value: Some(value.to_owned()) };
    let cluster = activation.cluster.as_ref().map(|cluster| tag(CLUSTER_TAG, cluster.as_str()));
    let tags = activation.tags.iter().map(|(key, value)| tag(key, value)).chain(cluster);
    ApiActivation {
        activation_id: Some(activation.id.clone()),
        description: activation.description.clone(),
        default_instance_name: activation.default_instance_name.clone(),
        iam_role: activation.iam_role.clone(),
        registration_limit: count(activation.limit),
        registrations_count: count(activation.used),
        expiration_date: time(activation.expires_at),
        expired: Some(activation.expires_at <= now),
        created_date: time(activation.created_at),
        tags: Some(tags.collect()),
    }
}

fn invalid(text: String) -> ApiError {
    ApiError::new(ErrorCode::Validation, text)
}
