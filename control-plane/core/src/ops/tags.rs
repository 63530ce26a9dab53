//! Tags of everything that can have some.

use crate::bandwidth;
use crate::commands::{ChangeTags, Tagged};
use crate::ops::services::at_most_one;
use crate::ops::{Ctx, capacity, check};
use crate::records::{CapacityProviderKey, DefinitionKey, ServiceKey, Tags};
use crate::show;
use longshore_ecs_api::ApiError;
use longshore_ecs_api::requests::{ListTagsForResourceRequest, TagResourceRequest, UntagResourceRequest};
use longshore_ecs_api::responses::{ListTagsForResourceResponse, TagResourceResponse, UntagResourceResponse};
use longshore_model::arn::{Resource, ServicePart};
use longshore_model::{ClusterKey, ClusterName};

pub(crate) async fn tag(ctx: Ctx<'_>, request: TagResourceRequest) -> Result<TagResourceResponse, ApiError> {
    let resource = resource(&ctx, request.resource_arn.as_deref())?;
    let put = check::tags(request.tags)?;
    if let Tagged::Definition(key) = &resource
        && let Some(definition) = ctx.state.definition(key)
    {
        bandwidth::of_tags(&put, definition.body.network_mode.as_ref())?;
    }
    let put = if let Tagged::Service(_) = &resource { at_most_one(put)? } else { put };
    ctx.submit(ChangeTags { resource, put, remove: Vec::new() }).await?;
    Ok(TagResourceResponse::default())
}

pub(crate) async fn untag(ctx: Ctx<'_>, request: UntagResourceRequest) -> Result<UntagResourceResponse, ApiError> {
    let resource = resource(&ctx, request.resource_arn.as_deref())?;
    let remove = request.tag_keys.unwrap_or_default();
    if let Some(key) = remove.iter().find(|key| check::is_reserved(key)) {
        return Err(ApiError::invalid(format!("tagKeys: the key `{key}` begins with `aws:`, which is reserved.")));
    }
    ctx.submit(ChangeTags { resource, put: Tags::new(), remove }).await?;
    Ok(UntagResourceResponse::default())
}

pub(crate) fn list(
    ctx: &Ctx<'_>,
    request: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, ApiError> {
    let tags = resource(ctx, request.resource_arn.as_deref())?.tags(&ctx.state)?;
    Ok(ListTagsForResourceResponse { tags: Some(show::tags(&tags)) })
}

fn resource(ctx: &Ctx<'_>, arn: Option<&str>) -> Result<Tagged, ApiError> {
    let not_found = || ApiError::invalid("The specified resource could not be found.");
    let region = || ctx.caller.region.clone();
    let cluster = |name: ClusterName| ClusterKey { region: region(), name };
    let resource = ctx.resource(arn.unwrap_or_default())?.ok_or_else(not_found)?;
    Ok(match resource {
        Resource::Cluster(name) => Tagged::Cluster(cluster(name)),
        Resource::ContainerInstance(name, id) => Tagged::Instance(cluster(name), id),
        Resource::Task(name, id) => Tagged::Task(cluster(name), id),
        Resource::TaskDefinition(family, revision) => {
            Tagged::Definition(DefinitionKey { region: region(), family: family.into(), revision })
        }
        Resource::Container(..) => return Err(ApiError::invalid("Containers cannot be tagged; their task can.")),
        Resource::Service(name, service) => {
            Tagged::Service(ServiceKey { cluster: cluster(name), name: service.into() })
        }
        Resource::OfService(name, service, ServicePart::TaskSet, id) => {
            Tagged::TaskSet(ServiceKey { cluster: cluster(name), name: service.into() }, id)
        }
        Resource::OfService(_, _, ServicePart::Deployment | ServicePart::Revision, _) => {
            return Err(ApiError::invalid("Service deployments and revisions cannot be tagged; their service can."));
        }
        other @ Resource::Other(_) => {
            let name = capacity::named_by(&other).ok_or_else(not_found)?;
            Tagged::CapacityProvider(CapacityProviderKey { region: region(), name })
        }
    })
}
