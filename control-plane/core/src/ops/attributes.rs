//! Attributes of container instances.

use crate::commands::{AttributeChange, ChangeAttributes};
use crate::ops::{Ctx, check};
use crate::show::{self, arn_in};
use longshore_ecs_api::enums::TargetType;
use longshore_ecs_api::requests::{DeleteAttributesRequest, ListAttributesRequest, PutAttributesRequest};
use longshore_ecs_api::responses::{DeleteAttributesResponse, ListAttributesResponse, PutAttributesResponse};
use longshore_ecs_api::types::Attribute;
use longshore_ecs_api::{ApiError, ErrorCode, Operation};
use longshore_model::arn::Resource;
use longshore_model::{ClusterKey, InstanceId, MAX_ATTRIBUTE_CHARS as MAX};

pub(crate) async fn put(ctx: Ctx<'_>, request: PutAttributesRequest) -> Result<PutAttributesResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?.record.key.clone();
    let (instances, attributes) = checked(&ctx, &cluster, request.attributes)?;
    let changes = instances.iter().zip(&attributes).map(|(instance, attribute)| AttributeChange::Put {
        instance: *instance,
        name: attribute.name.clone().unwrap_or_default(),
        value: attribute.value.clone(),
    });
    let changes = changes.collect();
    ctx.submit(ChangeAttributes { cluster: cluster.clone(), changes }).await?;
    Ok(PutAttributesResponse { attributes: Some(shown(&ctx, &cluster, &instances, attributes)) })
}

pub(crate) async fn delete(
    ctx: Ctx<'_>,
    request: DeleteAttributesRequest,
) -> Result<DeleteAttributesResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?.record.key.clone();
    let (instances, attributes) = checked(&ctx, &cluster, request.attributes)?;
    let changes = instances.iter().zip(&attributes).map(|(instance, attribute)| AttributeChange::Delete {
        instance: *instance,
        name: attribute.name.clone().unwrap_or_default(),
        value: attribute.value.clone(),
    });
    let changes = changes.collect();
    ctx.submit(ChangeAttributes { cluster: cluster.clone(), changes }).await?;
    Ok(DeleteAttributesResponse { attributes: Some(shown(&ctx, &cluster, &instances, attributes)) })
}

/// Attributes of all instances of a cluster, capabilities included.
pub(crate) fn list(ctx: &Ctx<'_>, request: ListAttributesRequest) -> Result<ListAttributesResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?;
    match request.target_type.as_ref() {
        Some(TargetType::ContainerInstance) => {}
        Some(TargetType::Other(_)) | None => {
            return Err(ApiError::invalid("targetType: the only one is container-instance."));
        }
    }
    let key = &cluster.record.key;
    let filters = (key, &request.attribute_name, &request.attribute_value);
    let token = request.next_token.as_deref();
    let listing = ctx.listing(Operation::ListAttributes, &filters, request.max_results, token)?;
    let is_wanted = |attribute: &Attribute| {
        request.attribute_name.as_ref().is_none_or(|name| attribute.name.as_ref() == Some(name))
            && request.attribute_value.as_ref().is_none_or(|value| attribute.value.as_ref() == Some(value))
    };
    let first = listing.after.as_ref().and_then(|cursor| cursor.split_once(' ')?.0.parse::<InstanceId>().ok());
    let hosts = cluster.hosts.range(first.unwrap_or(InstanceId::from_bytes([0; 16]))..);
    let hosts = hosts.filter(|(_, host)| host.record.status.is_registered());
    let all = hosts
        .flat_map(|(id, host)| show::attributes(host).into_iter().map(move |attribute| (*id, attribute)))
        .filter(|(_, attribute)| is_wanted(attribute));
    let cursor =
        |(id, attribute): &(InstanceId, Attribute)| format!("{id} {}", attribute.name.as_deref().unwrap_or_default());
    let all = all.filter(|item| listing.after.as_ref().is_none_or(|after| cursor(item) > *after));
    let (page, next_token) = listing.page(all, cursor);
    let target = |id| arn_in(ctx.core.account(), key, Resource::ContainerInstance(key.name.clone(), id));
    let attributes = page.into_iter().map(|(id, attribute)| Attribute { target_id: Some(target(id)), ..attribute });
    Ok(ListAttributesResponse { attributes: Some(attributes.collect()), next_token })
}

/// The attributes of a request, each with the instance that it is for.
fn checked(
    ctx: &Ctx<'_>,
    cluster: &ClusterKey,
    attributes: Option<Vec<Attribute>>,
) -> Result<(Vec<InstanceId>, Vec<Attribute>), ApiError> {
    let attributes = check::some(attributes, "attributes", "Attributes cannot be empty.", 10)?;
    let mut instances = Vec::new();
    for attribute in &attributes {
        let name = attribute.name.as_deref().unwrap_or_default();
        if name.is_empty() || name.len() > MAX || !name.chars().all(|c| is_name(c) || c == '\\') {
            return Err(ApiError::invalid(format!(
                "attributes: the name `{name}` must have 1 to {MAX} letters, digits or characters of - _ . / \\."
            )));
        }
        // What the host says of itself decides what it can run.
        if name.starts_with("ecs.") || name.starts_with("com.amazonaws.ecs.") {
            return Err(ApiError::invalid(format!("attributes: the name `{name}` is reserved for hosts themselves.")));
        }
        let value = attribute.value.as_deref().unwrap_or_default();
        let value_char = |c: char| is_name(c) || matches!(c, '@' | ':' | '\\' | ' ');
        if value.len() > MAX || !value.chars().all(value_char) || value.trim() != value {
            return Err(ApiError::invalid(format!(
                "attributes: the value of `{name}` must have at most {MAX} letters, digits, blanks inside it or \
                 characters of - _ . @ : / \\."
            )));
        }
        match attribute.target_type.as_ref() {
            None | Some(TargetType::ContainerInstance) => {}
            Some(TargetType::Other(other)) => {
                return Err(ApiError::invalid(format!("attributes: there is no target type `{other}`.")));
            }
        }
        let target = attribute.target_id.as_deref().unwrap_or_default();
        let missing = || ApiError::new(ErrorCode::TargetNotFound, format!("The target `{target}` was not found."));
        instances.push(ctx.instance_id(cluster, target)?.ok_or_else(missing)?);
    }
    Ok((instances, attributes))
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/')
}

fn shown(ctx: &Ctx<'_>, cluster: &ClusterKey, instances: &[InstanceId], attributes: Vec<Attribute>) -> Vec<Attribute> {
    let target = |id| arn_in(ctx.core.account(), cluster, Resource::ContainerInstance(cluster.name.clone(), id));
    let with_target = |(id, attribute): (&InstanceId, Attribute)| Attribute {
        target_id: Some(target(*id)),
        target_type: Some(TargetType::ContainerInstance),
        ..attribute
    };
    instances.iter().zip(attributes).map(with_target).collect()
}
