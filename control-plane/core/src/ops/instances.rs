//! Container instances.

use crate::commands::{DeregisterInstance, SetInstancesStatus};
use crate::ops::{Ctx, check};
use crate::show::{self, InstanceShow, arn_in};
use crate::state::HostState;
use longshore_ecs_api::enums::{ContainerInstanceField, ContainerInstanceStatus};
use longshore_ecs_api::requests::{
    DeregisterContainerInstanceRequest, DescribeContainerInstancesRequest, ListContainerInstancesRequest,
    UpdateContainerInstancesStateRequest,
};
use longshore_ecs_api::responses::{
    DeregisterContainerInstanceResponse, DescribeContainerInstancesResponse, ListContainerInstancesResponse,
    UpdateContainerInstancesStateResponse,
};
use longshore_ecs_api::types::{ContainerInstance, Failure};
use longshore_ecs_api::{ApiError, Operation};
use longshore_model::arn::Resource;
use longshore_model::{Arn, ClusterKey, InstanceId};
use longshore_sched::{Expression, HostStatus};

/// What asks DescribeContainerInstances for what hosts use. ECS has nothing like it; its clients pass any text on.
const USAGE: &str = "LONGSHORE_USAGE";

/// ECS's words for an empty list.
const EMPTY: &str = "Container Instances cannot be empty.";

pub(crate) fn describe(
    ctx: &Ctx<'_>,
    request: DescribeContainerInstancesRequest,
) -> Result<DescribeContainerInstancesResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?;
    let names = check::some(request.container_instances, "containerInstances", EMPTY, 100)?;
    let include = request.include.unwrap_or_default();
    let show = InstanceShow::new(&include);
    let usage = include.contains(&ContainerInstanceField::Other(USAGE.to_owned()));
    let (mut instances, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        let found = ctx.instance_id(&cluster.record.key, &name)?.and_then(|id| cluster.hosts.get(&id));
        match found {
            Some(host) => {
                let health = ctx.core.inner().health.of(host.id());
                let mut shown = show::instance(ctx.core.account(), &ctx.state, host, show, health.as_deref());
                let known = ctx.core.inner().usage.of(host.id()).filter(|_| usage);
                let of_host = known.map(|(at, usage)| show::host_usage(host.id(), at, &usage));
                shown.attachments.get_or_insert_default().extend(of_host);
                instances.push(shown);
            }
            None => failures.push(failure(ctx, &cluster.record.key, &name, "MISSING")),
        }
    }
    Ok(DescribeContainerInstancesResponse { container_instances: Some(instances), failures: Some(failures) })
}

/// Registered instances by id, those that the filter selects.
pub(crate) fn list(
    ctx: &Ctx<'_>,
    request: ListContainerInstancesRequest,
) -> Result<ListContainerInstancesResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?;
    let key = &cluster.record.key;
    let text = request.filter.as_deref().filter(|text| !text.is_empty());
    let filter = text.map(Expression::parse).transpose();
    let filter = filter.map_err(|error| ApiError::invalid(format!("filter: {error}")))?;
    let filters = (key, &request.filter, &request.status);
    let token = request.next_token.as_deref();
    let listing = ctx.listing(Operation::ListContainerInstances, &filters, request.max_results, token)?;
    let is_wanted = |host: &HostState| {
        let status = match (&request.status, host.view.status) {
            (None | Some(ContainerInstanceStatus::Active), HostStatus::Active) => true,
            (None | Some(ContainerInstanceStatus::Draining), HostStatus::Draining) => true,
            // Hosts are registered or not; there is nothing between.
            (Some(_), _) | (None, HostStatus::Inactive) => false,
        };
        status && filter.as_ref().is_none_or(|filter| filter.matches(&host.view))
    };
    let after: Option<InstanceId> = listing.after.as_ref().and_then(|cursor| cursor.parse().ok());
    let hosts = cluster.hosts.range(after.unwrap_or(InstanceId::from_bytes([0; 16]))..);
    let hosts = hosts.filter(|(id, host)| Some(**id) != after && is_wanted(host)).map(|(id, _)| *id);
    let (page, next_token) = listing.page(hosts, ToString::to_string);
    let arns = page.into_iter().map(|id| arn(ctx, key, id)).collect();
    Ok(ListContainerInstancesResponse { container_instance_arns: Some(arns), next_token })
}

pub(crate) async fn deregister(
    ctx: Ctx<'_>,
    request: DeregisterContainerInstanceRequest,
) -> Result<DeregisterContainerInstanceResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?.record.key.clone();
    let name = request.container_instance.unwrap_or_default();
    let not_found = || ApiError::invalid("The referenced container instance was not found.");
    let instance = ctx.instance_id(&cluster, &name)?.ok_or_else(not_found)?;
    let force = request.force.unwrap_or(false);
    ctx.submit(DeregisterInstance { cluster, instance, force }).await?;
    ctx.core.inner().health.forget(instance);
    Ok(DeregisterContainerInstanceResponse { container_instance: shown(&ctx, instance) })
}

pub(crate) async fn update_state(
    ctx: Ctx<'_>,
    request: UpdateContainerInstancesStateRequest,
) -> Result<UpdateContainerInstancesStateResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?.record.key.clone();
    let names = check::some(request.container_instances, "containerInstances", EMPTY, 10)?;
    let draining = match request.status.as_ref() {
        Some(ContainerInstanceStatus::Active) => false,
        Some(ContainerInstanceStatus::Draining) => true,
        Some(
            ContainerInstanceStatus::Registering
            | ContainerInstanceStatus::Deregistering
            | ContainerInstanceStatus::RegistrationFailed
            | ContainerInstanceStatus::Other(_),
        )
        | None => return Err(ApiError::invalid("Container instance status should be one of [ACTIVE,DRAINING].")),
    };
    let (mut failures, mut known) = (Vec::new(), Vec::new());
    for name in &names {
        match ctx.instance_id(&cluster, name)? {
            Some(id) => known.push((name, id)),
            None => failures.push(failure(&ctx, &cluster, name, "MISSING")),
        }
    }
    let instances = known.iter().map(|(_, id)| *id).collect();
    let command = SetInstancesStatus { cluster: cluster.clone(), instances, draining };
    let mut changed = Vec::new();
    for ((name, id), outcome) in known.iter().zip(ctx.submit(command).await?) {
        match outcome {
            Ok(_) => changed.extend(shown(&ctx, *id)),
            Err(reason) => failures.push(failure(&ctx, &cluster, name, reason)),
        }
    }
    Ok(UpdateContainerInstancesStateResponse { container_instances: Some(changed), failures: Some(failures) })
}

/// The instance as it is after a command.
fn shown(ctx: &Ctx<'_>, id: InstanceId) -> Option<ContainerInstance> {
    let ctx = ctx.refreshed();
    ctx.state.host(id).map(|host| show::instance(ctx.core.account(), &ctx.state, host, InstanceShow::CHANGED, None))
}

pub(crate) fn arn(ctx: &Ctx<'_>, cluster: &ClusterKey, id: InstanceId) -> String {
    arn_in(ctx.core.account(), cluster, Resource::ContainerInstance(cluster.name.clone(), id))
}

fn failure(ctx: &Ctx<'_>, cluster: &ClusterKey, name: &str, reason: &str) -> Failure {
    let full = match name.parse::<InstanceId>() {
        Ok(id) => arn(ctx, cluster, id),
        Err(_) if Arn::looks_like(name) => name.to_owned(),
        Err(_) => format!("{}/{name}", ctx.arn(Resource::Other(format!("container-instance/{}", cluster.name)))),
    };
    Failure { arn: Some(full), reason: Some(reason.to_owned()), detail: None }
}
