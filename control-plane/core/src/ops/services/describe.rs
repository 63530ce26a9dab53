//! Services as they are: describing and listing them.

use crate::ops::{Ctx, check, run};
use crate::records::{SchedulingStrategy, Service};
use crate::services;
use crate::show;
use longshore_ecs_api::enums::{LaunchType, SchedulingStrategy as ApiScheduling, ServiceField};
use longshore_ecs_api::requests::{DescribeServicesRequest, ListServicesRequest};
use longshore_ecs_api::responses::{DescribeServicesResponse, ListServicesResponse};
use longshore_ecs_api::types::Failure;
use longshore_ecs_api::{ApiError, Operation};
use longshore_model::arn::Resource;
use longshore_model::{Arn, ClusterKey};

/// Services that one page has when nothing is said (ECS).
const PAGE: usize = 10;
/// What asks DescribeServices why a service has not the tasks that it should have. ECS has nothing like it; its clients
/// pass any text on.
const WHY: &str = "LONGSHORE_WHY";

pub(crate) fn describe(ctx: &Ctx<'_>, request: DescribeServicesRequest) -> Result<DescribeServicesResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?.record.key.clone();
    let names = check::some(request.services, "services", "Services cannot be empty.", 10)?;
    let include = request.include.unwrap_or_default();
    let with_tags = include.contains(&ServiceField::Tags);
    let with_why = include.contains(&ServiceField::Other(WHY.to_owned()));
    if with_why && names.len() > 1 {
        return Err(ApiError::invalid(format!("include: {WHY} is for one service at a time.")));
    }
    let (mut services, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        let found = ctx.service_key(&cluster, &name)?.and_then(|key| ctx.state.service(&key));
        match found {
            Some(service) => {
                services.push(show::service(ctx.core.account(), &ctx.state, service, with_tags));
                if with_why {
                    failures.extend(why(ctx, &cluster, &service.record));
                }
            }
            None => failures.push(missing(ctx, &cluster, name)),
        }
    }
    Ok(DescribeServicesResponse { services: Some(services), failures: Some(failures) })
}

/// Why a service is as it is: first the service itself with a sentence, then each host that takes none of its tasks, as
/// RunTask would answer.
fn why(ctx: &Ctx<'_>, cluster: &ClusterKey, service: &Service) -> Vec<Failure> {
    let inner = ctx.core.inner();
    let decider = inner.decider();
    let why = services::why(&ctx.state, service, decider.looking(false), decider.fencing(), inner.clock.now());
    let arn = ctx.arn(Resource::Service(cluster.name.clone(), service.key.name.to_string()));
    let sentence = Failure { arn: Some(arn), reason: Some(WHY.to_owned()), detail: Some(why.sentence) };
    std::iter::once(sentence).chain(why.hosts.into_iter().map(|refusal| run::failure(ctx, cluster, refusal))).collect()
}

fn missing(ctx: &Ctx<'_>, cluster: &ClusterKey, name: String) -> Failure {
    let arn = if Arn::looks_like(&name) { name } else { ctx.arn(Resource::Service(cluster.name.clone(), name)) };
    Failure { arn: Some(arn), reason: Some("MISSING".to_owned()), detail: None }
}

/// Services that are not over, by name.
pub(crate) fn list(ctx: &Ctx<'_>, request: ListServicesRequest) -> Result<ListServicesResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?.record.key.clone();
    if let Some(LaunchType::Other(other)) = &request.launch_type {
        return Err(ApiError::invalid(format!("launch type should be one of [EC2,FARGATE,EXTERNAL], not {other}")));
    }
    if let Some(ApiScheduling::Other(other)) = &request.scheduling_strategy {
        return Err(ApiError::invalid(format!("schedulingStrategy: `{other}` is none of REPLICA, DAEMON.")));
    }
    let sizes = (request.max_results, PAGE, 100);
    let filters = (&cluster, &request.launch_type, &request.scheduling_strategy);
    let listing = ctx.listing_of(Operation::ListServices, &filters, sizes, request.next_token.as_deref())?;
    let after = listing.after.clone().unwrap_or_default();
    let wanted = |service: &Service| {
        let scheduling = match service.scheduling {
            SchedulingStrategy::Replica => ApiScheduling::Replica,
            SchedulingStrategy::Daemon => ApiScheduling::Daemon,
        };
        // As it is shown: with capacity providers it has none.
        let launch_type =
            service.primary_revision().filter(|_| service.capacity.is_empty()).map(|revision| &revision.launch_type);
        // One that is being deleted is described and not listed (ECS).
        service.is_active()
            && request.scheduling_strategy.as_ref().is_none_or(|asked| *asked == scheduling)
            && request.launch_type.as_ref().is_none_or(|asked| Some(asked) == launch_type)
    };
    let services = ctx.state.services_of(&cluster, &after).map(|service| &service.record);
    let names = services.filter(|s| *s.key.name != *after && wanted(s)).map(|s| s.key.name.to_string());
    let (page, next_token) = listing.page(names, Clone::clone);
    let arn = |name| ctx.arn(Resource::Service(cluster.name.clone(), name));
    Ok(ListServicesResponse { service_arns: Some(page.into_iter().map(arn).collect()), next_token })
}
