//! Service deployments and revisions: listing, describing, stopping.

use crate::commands::{NewDeployment, StopServiceDeployment, StopType, no_deployment, status_of};
use crate::ops::{Ctx, check};
use crate::records::DeploymentRecord;
use crate::show;
use longshore_ecs_api::enums::StopServiceDeploymentStopType;
use longshore_ecs_api::requests::{
    DescribeServiceDeploymentsRequest, DescribeServiceRevisionsRequest, ListServiceDeploymentsRequest,
    StopServiceDeploymentRequest,
};
use longshore_ecs_api::responses::{
    DescribeServiceDeploymentsResponse, DescribeServiceRevisionsResponse, ListServiceDeploymentsResponse,
    StopServiceDeploymentResponse,
};
use longshore_ecs_api::types::{CreatedAt, Failure};
use longshore_ecs_api::{ApiError, EpochSeconds, Operation};
use longshore_model::arn::ServicePart;

/// Things described at once at most (ECS).
const MAX_DESCRIBED: usize = 20;

/// The deployments of a service, the newest first.
pub(crate) fn list(
    ctx: &Ctx<'_>,
    request: ListServiceDeploymentsRequest,
) -> Result<ListServiceDeploymentsResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?.record.key.clone();
    let key = ctx.service_key(&cluster, request.service.as_deref().unwrap_or_default())?;
    let key = key.ok_or_else(crate::commands::service_not_found)?;
    let service = ctx.state.service(&key).ok_or_else(crate::commands::service_not_found)?;
    let statuses = request.status.unwrap_or_default();
    if let Some(other) =
        statuses.iter().find(|status| !longshore_ecs_api::enums::ServiceDeploymentStatus::ALL.contains(status))
    {
        return Err(ApiError::invalid(format!("status: `{other}` is no status of a service deployment.")));
    }
    let filters = (&key.cluster, &key.name, &statuses, &request.created_at);
    let sizes = (request.max_results, 100, 100);
    let listing = ctx.listing_of(Operation::ListServiceDeployments, &filters, sizes, request.next_token.as_deref())?;
    let before = listing.after.as_ref().and_then(|after| after.parse::<u64>().ok());
    let wanted = |record: &DeploymentRecord| {
        before.is_none_or(|before| record.number < before)
            && (statuses.is_empty() || statuses.contains(&status_of(record)))
            && is_between(record, request.created_at.as_ref())
    };
    let records = service.deployments.iter().rev().filter(|record| wanted(record));
    let (page, next_token) = listing.page(records, |record| record.number.to_string());
    let account = ctx.core.account();
    let page = page.into_iter().map(|record| show::deployment_brief(account, record)).collect();
    Ok(ListServiceDeploymentsResponse { service_deployments: Some(page), next_token })
}

fn is_between(record: &DeploymentRecord, range: Option<&CreatedAt>) -> bool {
    let at = EpochSeconds::from_millis(record.created_at.millis());
    range.is_none_or(|range| {
        range.after.is_none_or(|after| at.millis() > after.millis())
            && range.before.is_none_or(|before| at.millis() < before.millis())
    })
}

pub(crate) fn describe(
    ctx: &Ctx<'_>,
    request: DescribeServiceDeploymentsRequest,
) -> Result<DescribeServiceDeploymentsResponse, ApiError> {
    let empty = "Service deployments cannot be empty.";
    let arns = check::some(request.service_deployment_arns, "serviceDeploymentArns", empty, MAX_DESCRIBED)?;
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for arn in arns {
        let named = ctx.service_part("serviceDeploymentArns", &arn, ServicePart::Deployment)?;
        let shown = named.as_ref().and_then(|(key, id)| {
            let service = ctx.state.service(key)?;
            let record = service.deployments.iter().find(|record| *record.id == **id)?;
            Some(show::service_deployment(ctx.core.account(), &ctx.state, service, record))
        });
        match shown {
            Some(shown) => found.push(shown),
            None => failures.push(missing(arn)),
        }
    }
    Ok(DescribeServiceDeploymentsResponse { service_deployments: Some(found), failures: Some(failures) })
}

pub(crate) fn describe_revisions(
    ctx: &Ctx<'_>,
    request: DescribeServiceRevisionsRequest,
) -> Result<DescribeServiceRevisionsResponse, ApiError> {
    let empty = "Service revisions cannot be empty.";
    let arns = check::some(request.service_revision_arns, "serviceRevisionArns", empty, MAX_DESCRIBED)?;
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for arn in arns {
        let named = ctx.service_part("serviceRevisionArns", &arn, ServicePart::Revision)?;
        let shown = named
            .as_ref()
            .and_then(|(key, id)| show::service_revision(ctx.core.account(), &ctx.state, ctx.state.service(key)?, id));
        match shown {
            Some(shown) => found.push(shown),
            None => failures.push(missing(arn)),
        }
    }
    Ok(DescribeServiceRevisionsResponse { service_revisions: Some(found), failures: Some(failures) })
}

fn missing(arn: String) -> Failure {
    Failure { arn: Some(arn), reason: Some("MISSING".to_owned()), detail: None }
}

pub(crate) async fn stop(
    ctx: Ctx<'_>,
    request: StopServiceDeploymentRequest,
) -> Result<StopServiceDeploymentResponse, ApiError> {
    let arn = request.service_deployment_arn.unwrap_or_default();
    let how = match request.stop_type {
        None | Some(StopServiceDeploymentStopType::Rollback) => StopType::Rollback,
        Some(StopServiceDeploymentStopType::Abort) => StopType::Abort,
        Some(StopServiceDeploymentStopType::Other(other)) => {
            return Err(ApiError::invalid(format!("stopType: `{other}` is none of ROLLBACK, ABORT.")));
        }
    };
    let named = ctx.service_part("serviceDeploymentArn", &arn, ServicePart::Deployment)?;
    let (key, id) = named.ok_or_else(no_deployment)?;
    let new = NewDeployment::random();
    ctx.submit(StopServiceDeployment { key, id, how, new, event_id: uuid::Uuid::new_v4() }).await?;
    Ok(StopServiceDeploymentResponse { service_deployment_arn: Some(arn) })
}
