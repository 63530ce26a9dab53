//! Task sets of services with the EXTERNAL controller.

use crate::commands::{
    CreateTaskSet, EditTaskSet, NewDeployment, TaskSetEdit, active_service, no_task_set, not_external,
    service_not_found as not_found,
};
use crate::ops::services::{no_balancers, no_platform, refuse, revision, some, usable_definition};
use crate::ops::{Ctx, check, run};
use crate::records::{DeploymentController, Service, ServiceKey, ServiceTaskSet};
use crate::{services, show};
use longshore_ecs_api::ApiError;
use longshore_ecs_api::enums::{LaunchType, ScaleUnit, TaskSetField};
use longshore_ecs_api::requests::{
    CreateTaskSetRequest, DeleteTaskSetRequest, DescribeTaskSetsRequest, UpdateServicePrimaryTaskSetRequest,
    UpdateTaskSetRequest,
};
use longshore_ecs_api::responses::{
    CreateTaskSetResponse, DeleteTaskSetResponse, DescribeTaskSetsResponse, UpdateServicePrimaryTaskSetResponse,
    UpdateTaskSetResponse,
};
use longshore_ecs_api::types::{Failure, Scale, TaskSet};
use longshore_model::Arn;
use longshore_model::arn::ServicePart;
use std::sync::Arc;

/// ECS's limits of a client token.
pub(super) const MAX_TOKEN: usize = 36;

pub(crate) async fn create(ctx: Ctx<'_>, request: CreateTaskSetRequest) -> Result<CreateTaskSetResponse, ApiError> {
    let (key, service) = service(&ctx, request.cluster.as_deref(), request.service.as_deref())?;
    refuse(&[
        ("capacityProviderStrategy", some(request.capacity_provider_strategy.as_ref())),
        ("serviceRegistries", some(request.service_registries.as_ref())),
    ])?;
    let scale = request.scale.as_ref().map_or(Ok(0.0), percent)?;
    let definition = usable_definition(&ctx, request.task_definition.as_deref())?;
    let launch_type = request.launch_type.unwrap_or(LaunchType::Ec2);
    run::check_launch_type(&launch_type, &definition)?;
    no_platform(request.platform_version.as_deref(), &launch_type)?;
    no_balancers(request.load_balancers.as_ref(), Some(&definition))?;
    let revision = revision(&definition, launch_type, request.network_configuration);
    services::check(&ctx.state, &service, &revision)?;
    let client_token = request.client_token.filter(|token| !token.is_empty());
    if client_token.as_ref().is_some_and(|token| token.chars().count() > MAX_TOKEN) {
        return Err(ApiError::invalid(format!("clientToken must have at most {MAX_TOKEN} characters.")));
    }
    let command = CreateTaskSet {
        key: key.clone(),
        revision,
        scale,
        external_id: request.external_id,
        client_token,
        tags: check::tags(request.tags)?,
        new: NewDeployment::random(),
    };
    let id = ctx.submit(command).await?;
    Ok(CreateTaskSetResponse { task_set: shown(&ctx, &key, &id) })
}

pub(crate) async fn update(ctx: Ctx<'_>, request: UpdateTaskSetRequest) -> Result<UpdateTaskSetResponse, ApiError> {
    let scale = request.scale.ok_or_else(|| ApiError::invalid("scale should not be null."))?;
    let edit = TaskSetEdit::Scale(percent(&scale)?);
    let task_set = edit_set(ctx, (request.cluster, request.service, request.task_set), "taskSet", edit).await?;
    Ok(UpdateTaskSetResponse { task_set })
}

pub(crate) async fn delete(ctx: Ctx<'_>, request: DeleteTaskSetRequest) -> Result<DeleteTaskSetResponse, ApiError> {
    let edit = TaskSetEdit::Delete { force: request.force.unwrap_or(false) };
    let task_set = edit_set(ctx, (request.cluster, request.service, request.task_set), "taskSet", edit).await?;
    Ok(DeleteTaskSetResponse { task_set })
}

pub(crate) async fn set_primary(
    ctx: Ctx<'_>,
    request: UpdateServicePrimaryTaskSetRequest,
) -> Result<UpdateServicePrimaryTaskSetResponse, ApiError> {
    let names = (request.cluster, request.service, request.primary_task_set);
    let task_set = edit_set(ctx, names, "primaryTaskSet", TaskSetEdit::Primary).await?;
    Ok(UpdateServicePrimaryTaskSetResponse { task_set })
}

async fn edit_set(
    ctx: Ctx<'_>,
    (cluster, of, name): (Option<String>, Option<String>, Option<String>),
    field: &str,
    edit: TaskSetEdit,
) -> Result<Option<TaskSet>, ApiError> {
    let (key, _) = service(&ctx, cluster.as_deref(), of.as_deref())?;
    let id = ctx.task_set_id(&key, field, name.as_deref().unwrap_or_default())?.ok_or_else(no_task_set)?;
    ctx.submit(EditTaskSet { key: key.clone(), id: id.clone(), edit }).await?;
    Ok(shown(&ctx, &key, &id))
}

/// Those that are named, or all of the service.
pub(crate) fn describe(ctx: &Ctx<'_>, request: DescribeTaskSetsRequest) -> Result<DescribeTaskSetsResponse, ApiError> {
    let (key, service) = service(ctx, request.cluster.as_deref(), request.service.as_deref())?;
    let with_tags = request.include.unwrap_or_default().contains(&TaskSetField::Tags);
    let show = |set: &ServiceTaskSet| show::task_set(ctx.core.account(), &ctx.state, &service, set, with_tags);
    let names = request.task_sets.unwrap_or_default();
    if names.is_empty() {
        let all = service.task_sets.iter().map(show).collect();
        return Ok(DescribeTaskSetsResponse { task_sets: Some(all), failures: Some(Vec::new()) });
    }
    let (mut sets, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        let found = ctx.task_set_id(&key, "taskSets", &name)?;
        match found.as_deref().and_then(|id| service.task_set(id)) {
            Some(set) => sets.push(show(set)),
            None => {
                let is_arn = Arn::looks_like(&name);
                let arn =
                    if is_arn { name } else { show::part_arn(ctx.core.account(), &key, ServicePart::TaskSet, &name) };
                failures.push(Failure { arn: Some(arn), reason: Some("MISSING".to_owned()), detail: None });
            }
        }
    }
    Ok(DescribeTaskSetsResponse { task_sets: Some(sets), failures: Some(failures) })
}

/// The service that a request names, if it can have task sets.
fn service(ctx: &Ctx<'_>, cluster: Option<&str>, name: Option<&str>) -> Result<(ServiceKey, Arc<Service>), ApiError> {
    let cluster = ctx.cluster(cluster)?.record.key.clone();
    let key = ctx.service_key(&cluster, name.unwrap_or_default())?.ok_or_else(not_found)?;
    let record = active_service(&ctx.state, &key)?;
    match record.controller {
        DeploymentController::External => Ok((key, record)),
        DeploymentController::Ecs => Err(not_external()),
    }
}

fn percent(scale: &Scale) -> Result<f64, ApiError> {
    match &scale.unit {
        None | Some(ScaleUnit::Percent) => {}
        Some(ScaleUnit::Other(other)) => {
            return Err(ApiError::invalid(format!("scale.unit: `{other}` is not PERCENT.")));
        }
    }
    let value = scale.value.unwrap_or(0.0);
    if !(0.0..=100.0).contains(&value) {
        return Err(ApiError::invalid("scale.value must be between 0 and 100."));
    }
    Ok(value)
}

fn shown(ctx: &Ctx<'_>, key: &ServiceKey, id: &str) -> Option<TaskSet> {
    let ctx = ctx.refreshed();
    let service = &ctx.state.service(key)?.record;
    let set = service.task_set(id)?;
    Some(show::task_set(ctx.core.account(), &ctx.state, service, set, true))
}

impl Ctx<'_> {
    /// The id of a task set that a request names by its id or ARN; `None` for an ARN of another service.
    ///
    /// # Errors
    /// `InvalidParameterException`, which names the field, for no name and for an ARN of something else.
    fn task_set_id(&self, service: &ServiceKey, field: &str, name: &str) -> Result<Option<String>, ApiError> {
        if name.is_empty() {
            return Err(ApiError::invalid(format!("{field} should not be null or empty.")));
        }
        if !Arn::looks_like(name) {
            return Ok(Some(name.to_owned()));
        }
        let named = self.service_part(field, name, ServicePart::TaskSet)?;
        Ok(named.filter(|(key, _)| key == service).map(|(_, id)| id))
    }
}
