//! Services do not exist yet. Clients that look for them are told so, in the way that they expect.

use crate::ops::{Ctx, check};
use longshore_ecs_api::requests::{DescribeServicesRequest, ListServicesRequest};
use longshore_ecs_api::responses::{DescribeServicesResponse, ListServicesResponse};
use longshore_ecs_api::types::Failure;
use longshore_ecs_api::{ApiError, Operation};
use longshore_model::Arn;
use longshore_model::arn::Resource;

/// Services that one page has when nothing is said (ECS).
const PAGE: usize = 10;

pub(crate) fn describe(ctx: &Ctx<'_>, request: DescribeServicesRequest) -> Result<DescribeServicesResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?.record.key.name.clone();
    let names = check::some(request.services, "services", "Services cannot be empty.", 10)?;
    let missing = |name: String| Failure {
        arn: Some(if Arn::looks_like(&name) { name } else { ctx.arn(Resource::Service(cluster.clone(), name)) }),
        reason: Some("MISSING".to_owned()),
        detail: None,
    };
    let failures = names.into_iter().map(missing).collect();
    Ok(DescribeServicesResponse { services: Some(Vec::new()), failures: Some(failures) })
}

pub(crate) fn list(ctx: &Ctx<'_>, request: ListServicesRequest) -> Result<ListServicesResponse, ApiError> {
    ctx.cluster(request.cluster.as_deref())?;
    let sizes = (request.max_results, PAGE, 100);
    ctx.listing_of(Operation::ListServices, &(), sizes, request.next_token.as_deref())?;
    Ok(ListServicesResponse { service_arns: Some(Vec::new()), next_token: None })
}
