//! Task definitions.

use crate::bandwidth;
use crate::commands::{DeleteDefinitions, DeregisterDefinition, RegisterDefinition};
use crate::definition::validate;
use crate::ops::names::DefinitionName;
use crate::ops::{Ctx, check};
use crate::records::{Definition, DefinitionKey, DefinitionStatus, FamilyKey};
use crate::show;
use crate::state::Family;
use longshore_ecs_api::enums::{SortOrder, TaskDefinitionFamilyStatus, TaskDefinitionField, TaskDefinitionStatus};
use longshore_ecs_api::requests::{
    DeleteTaskDefinitionsRequest, DeregisterTaskDefinitionRequest, DescribeTaskDefinitionRequest,
    ListTaskDefinitionFamiliesRequest, ListTaskDefinitionsRequest, RegisterTaskDefinitionRequest,
};
use longshore_ecs_api::responses::{
    DeleteTaskDefinitionsResponse, DeregisterTaskDefinitionResponse, DescribeTaskDefinitionResponse,
    ListTaskDefinitionFamiliesResponse, ListTaskDefinitionsResponse, RegisterTaskDefinitionResponse,
};
use longshore_ecs_api::types::Failure;
use longshore_ecs_api::{ApiError, Operation};
use longshore_model::arn::Resource;
use std::sync::Arc;

pub(crate) async fn register(
    ctx: Ctx<'_>,
    request: RegisterTaskDefinitionRequest,
) -> Result<RegisterTaskDefinitionResponse, ApiError> {
    let validated = validate(request)?;
    let tags = check::tags(Some(validated.tags))?;
    bandwidth::of_tags(&tags, validated.definition.network_mode.as_ref())?;
    let family = validated.definition.family.as_deref().unwrap_or_default().into();
    let command = RegisterDefinition {
        family: FamilyKey { region: ctx.caller.region.clone(), family },
        body: validated.definition,
        registered_by: ctx.caller.principal_arn.clone(),
        tags,
    };
    let definition = ctx.submit(command).await?;
    Ok(RegisterTaskDefinitionResponse {
        task_definition: Some(show::definition(ctx.core.account(), &definition)),
        tags: Some(show::tags(&definition.tags)).filter(|tags| !tags.is_empty()),
    })
}

pub(crate) fn describe(
    ctx: &Ctx<'_>,
    request: DescribeTaskDefinitionRequest,
) -> Result<DescribeTaskDefinitionResponse, ApiError> {
    let name = ctx.definition_name(request.task_definition.as_deref().unwrap_or_default())?;
    let definition = ctx.definition(&name).ok_or_else(|| ApiError::client("Unable to describe task definition."))?;
    let with_tags = request.include.is_some_and(|include| include.contains(&TaskDefinitionField::Tags));
    Ok(DescribeTaskDefinitionResponse {
        task_definition: Some(show::definition(ctx.core.account(), definition)),
        tags: Some(if with_tags { show::tags(&definition.tags) } else { Vec::new() }),
    })
}

/// Definitions by family and number. `familyPrefix` is a whole family's name (ECS).
pub(crate) fn list(
    ctx: &Ctx<'_>,
    request: ListTaskDefinitionsRequest,
) -> Result<ListTaskDefinitionsResponse, ApiError> {
    let status = request.status.unwrap_or(TaskDefinitionStatus::Active);
    if let TaskDefinitionStatus::Other(other) = &status {
        return Err(ApiError::invalid(format!("status: `{other}` is none of ACTIVE, INACTIVE, DELETE_IN_PROGRESS.")));
    }
    let descending = match request.sort.as_ref() {
        None | Some(SortOrder::Asc) => false,
        Some(SortOrder::Desc) => true,
        Some(SortOrder::Other(other)) => {
            return Err(ApiError::invalid(format!("sort: `{other}` is none of ASC, DESC.")));
        }
    };
    let only = request.family_prefix.filter(|family| !family.is_empty());
    let filters = (&status, descending, &only);
    let token = request.next_token.as_deref();
    let listing = ctx.listing(Operation::ListTaskDefinitions, &filters, request.max_results, token)?;
    let after = match &listing.after {
        None => None,
        Some(cursor) => Some(position(cursor).ok_or_else(|| ApiError::invalid("Invalid nextToken."))?),
    };
    let region = &ctx.caller.region;
    let is_wanted = |definition: &Definition| shows_as(definition, &status);
    // A family, or the part of it that follows the last page.
    let revisions = |(key, family): (&FamilyKey, &Arc<Family>)| -> Vec<Arc<Definition>> {
        let follows = |revision: u32| match &after {
            Some((name, last)) if **name == *key.family && descending => revision < *last,
            Some((name, last)) if **name == *key.family => revision > *last,
            Some(_) | None => true,
        };
        let of_family = family.revisions.values().filter(|d| follows(d.key.revision) && is_wanted(d)).cloned();
        if descending { of_family.rev().collect() } else { of_family.collect() }
    };
    let first = only.as_deref().or(after.as_ref().map(|(name, _)| name.as_str())).unwrap_or("");
    let key = FamilyKey { region: region.clone(), family: first.into() };
    let matches = |key: &FamilyKey| key.region == *region && only.as_deref().is_none_or(|only| *only == *key.family);
    let definitions: Box<dyn Iterator<Item = Arc<Definition>>> = if descending {
        // Newest first within the listing: families run backwards too.
        let all: Vec<_> = ctx
            .state
            .families_from(&FamilyKey { region: region.clone(), family: only.as_deref().unwrap_or("").into() })
            .take_while(|(key, _)| key.region == *region)
            .filter(|(key, _)| matches(key) && after.as_ref().is_none_or(|(name, _)| *key.family <= **name))
            .collect();
        Box::new(all.into_iter().rev().flat_map(revisions))
    } else {
        Box::new(ctx.state.families_from(&key).take_while(|(key, _)| matches(key)).flat_map(revisions))
    };
    let (page, next_token) = listing.page(definitions, |d| d.key.to_string());
    let arn = |key: &DefinitionKey| ctx.arn(Resource::TaskDefinition(key.family.to_string(), key.revision));
    Ok(ListTaskDefinitionsResponse {
        task_definition_arns: Some(page.iter().map(|definition| arn(&definition.key)).collect()),
        next_token,
    })
}

fn position(cursor: &str) -> Option<(String, u32)> {
    let (family, revision) = cursor.rsplit_once(':')?;
    Some((family.to_owned(), revision.parse().ok()?))
}

fn shows_as(definition: &Definition, status: &TaskDefinitionStatus) -> bool {
    matches!(
        (definition.status, status),
        (DefinitionStatus::Active, TaskDefinitionStatus::Active)
            | (DefinitionStatus::Inactive { .. }, TaskDefinitionStatus::Inactive)
            | (DefinitionStatus::DeleteInProgress { .. }, TaskDefinitionStatus::DeleteInProgress)
    )
}

/// Families by name. `familyPrefix` is a true prefix here (ECS).
pub(crate) fn list_families(
    ctx: &Ctx<'_>,
    request: ListTaskDefinitionFamiliesRequest,
) -> Result<ListTaskDefinitionFamiliesResponse, ApiError> {
    let status = request.status.unwrap_or(TaskDefinitionFamilyStatus::All);
    if let TaskDefinitionFamilyStatus::Other(other) = &status {
        return Err(ApiError::invalid(format!("status: `{other}` is none of ACTIVE, INACTIVE, ALL.")));
    }
    let prefix = request.family_prefix.unwrap_or_default();
    let token = request.next_token.as_deref();
    let operation = Operation::ListTaskDefinitionFamilies;
    let listing = ctx.listing(operation, &(&status, &prefix), request.max_results, token)?;
    let region = &ctx.caller.region;
    let after = listing.after.as_deref();
    let first = FamilyKey { region: region.clone(), family: after.unwrap_or(&prefix).into() };
    let is_wanted = |family: &Family| {
        let active = family.revisions.values().any(|d| shows_as(d, &TaskDefinitionStatus::Active));
        match status {
            TaskDefinitionFamilyStatus::Active => active,
            TaskDefinitionFamilyStatus::Inactive => !active && !family.revisions.is_empty(),
            TaskDefinitionFamilyStatus::All | TaskDefinitionFamilyStatus::Other(_) => !family.revisions.is_empty(),
        }
    };
    let families = ctx
        .state
        .families_from(&first)
        .take_while(|(key, _)| key.region == *region && key.family.starts_with(&prefix))
        .filter(|(key, family)| after != Some(&*key.family) && is_wanted(family))
        .map(|(key, _)| key.family.to_string());
    let (families, next_token) = listing.page(families, Clone::clone);
    Ok(ListTaskDefinitionFamiliesResponse { families: Some(families), next_token })
}

pub(crate) async fn deregister(
    ctx: Ctx<'_>,
    request: DeregisterTaskDefinitionRequest,
) -> Result<DeregisterTaskDefinitionResponse, ApiError> {
    let key = match ctx.definition_name(request.task_definition.as_deref().unwrap_or_default())? {
        DefinitionName::Revision(key) => key,
        DefinitionName::Family(_) => return Err(ApiError::client("Revision is missing.")),
        DefinitionName::Elsewhere => return Err(ApiError::client("Unable to describe task definition.")),
    };
    let definition = ctx.submit(DeregisterDefinition { key }).await?;
    Ok(DeregisterTaskDefinitionResponse { task_definition: Some(show::definition(ctx.core.account(), &definition)) })
}

pub(crate) async fn delete(
    ctx: Ctx<'_>,
    request: DeleteTaskDefinitionsRequest,
) -> Result<DeleteTaskDefinitionsResponse, ApiError> {
    let names = check::some(request.task_definitions, "taskDefinitions", "Task definitions cannot be empty.", 10)?;
    let failure =
        |arn: &str, reason: &str| Failure { arn: Some(arn.to_owned()), reason: Some(reason.to_owned()), detail: None };
    let mut failures = Vec::new();
    let mut keys = Vec::new();
    for name in &names {
        match ctx.definition_name(name) {
            Ok(DefinitionName::Revision(key)) => keys.push((name, key)),
            Ok(DefinitionName::Family(_)) | Err(_) => failures.push(failure(
                name,
                "The specified task definition identifier is invalid. Specify a valid name or ARN and try again.",
            )),
            Ok(DefinitionName::Elsewhere) => failures.push(failure(
                name,
                "The specified task definition does not exist. Specify a valid account, family, revision and try \
                 again.",
            )),
        }
    }
    let (names, keys): (Vec<_>, Vec<_>) = keys.into_iter().unzip();
    let mut deleted = Vec::new();
    for (name, outcome) in names.iter().zip(ctx.submit(DeleteDefinitions { keys }).await?) {
        match outcome {
            Ok(definition) => deleted.push(show::definition(ctx.core.account(), &definition)),
            Err(reason) => failures.push(failure(name, reason)),
        }
    }
    Ok(DeleteTaskDefinitionsResponse { task_definitions: Some(deleted), failures: Some(failures) })
}
