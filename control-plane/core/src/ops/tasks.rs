//! Tasks that there are: stopping, describing, listing.

use crate::commands::{StopTask, service_not_found as not_found};
use crate::ops::{Ctx, check};
use crate::records::{Stop, Task};
use crate::show::{self, arn_in};
use crate::state::TaskSet;
use longshore_ecs_api::enums::{DesiredStatus as ApiDesired, LaunchType, TaskField};
use longshore_ecs_api::requests::{DescribeTasksRequest, ListTasksRequest, StopTaskRequest};
use longshore_ecs_api::responses::{DescribeTasksResponse, ListTasksResponse, StopTaskResponse};
use longshore_ecs_api::types::Failure;
use longshore_ecs_api::{ApiError, Operation};
use longshore_model::arn::Resource;
use longshore_model::{Arn, DesiredStatus, TaskId};

/// What asks DescribeTasks for what happened to tasks. ECS has nothing like it; its clients pass any text on.
const HISTORY: &str = "LONGSHORE_HISTORY";

/// The same for what they use.
const USAGE: &str = "LONGSHORE_USAGE";

/// The longest reason that StopTask takes (ECS).
const MAX_REASON: usize = 1024;

pub(crate) async fn stop(ctx: Ctx<'_>, request: StopTaskRequest) -> Result<StopTaskResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?.record.key.clone();
    let not_found = || ApiError::invalid("The referenced task was not found.");
    let task = ctx.task_id(&cluster, request.task.as_deref().unwrap_or_default())?.ok_or_else(not_found)?;
    if request.reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON) {
        return Err(ApiError::invalid(format!("reason must have at most {MAX_REASON} characters.")));
    }
    let task = ctx.submit(StopTask { cluster, task, stop: Stop::by_user(request.reason) }).await?;
    let ctx = ctx.refreshed();
    Ok(StopTaskResponse { task: Some(show::task(ctx.core.account(), &ctx.state, &task, show::With::TAGS)) })
}

pub(crate) fn describe(ctx: &Ctx<'_>, request: DescribeTasksRequest) -> Result<DescribeTasksResponse, ApiError> {
    let cluster = &ctx.cluster(request.cluster.as_deref())?.record.key;
    let names = check::some(request.tasks, "tasks", "Tasks cannot be empty.", 100)?;
    let include = request.include.unwrap_or_default();
    let with = show::With {
        tags: include.contains(&TaskField::Tags),
        history: include.contains(&TaskField::Other(HISTORY.to_owned())),
    };
    let usage = include.contains(&TaskField::Other(USAGE.to_owned()));
    let (mut tasks, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        let id = ctx.task_id(cluster, &name)?;
        let found = id.and_then(|id| ctx.state.task(id)).filter(|task| task.cluster == *cluster);
        match (found, id) {
            (Some(task), _) => {
                let mut shown = show::task(ctx.core.account(), &ctx.state, task, with);
                if usage {
                    let known = ctx.core.inner().usage.of(task.instance);
                    let of_task = known.and_then(|(at, host)| show::task_usage(task, at, &host));
                    shown.attachments.get_or_insert_default().extend(of_task);
                }
                tasks.push(shown);
            }
            (None, Some(id)) => {
                let arn = arn_in(ctx.core.account(), cluster, Resource::Task(cluster.name.clone(), id));
                failures.push(missing(arn));
            }
            (None, None) if Arn::looks_like(&name) => failures.push(missing(name)),
            (None, None) => failures.push(missing(ctx.arn(Resource::Other(format!("task/{}/{name}", cluster.name))))),
        }
    }
    Ok(DescribeTasksResponse { tasks: Some(tasks), failures: Some(failures) })
}

fn missing(arn: String) -> Failure {
    Failure { arn: Some(arn), reason: Some("MISSING".to_owned()), detail: None }
}

/// Tasks by id. Every filter has an index; the smallest set that applies is gone through.
pub(crate) fn list(ctx: &Ctx<'_>, request: ListTasksRequest) -> Result<ListTasksResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?.record.key.clone();
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (family, started_by) = (given(&request.family), given(&request.started_by));
    let (service, instance) = (given(&request.service_name), given(&request.container_instance));
    if started_by.is_some() && (family.is_some() || service.is_some() || instance.is_some()) {
        return Err(ApiError::invalid("startedBy cannot be combined with another filter."));
    }
    if given(&request.daemon_name).is_some() {
        return Err(ApiError::unsupported("daemonName is not supported by this version of Longshore."));
    }
    if let Some(LaunchType::Other(other)) = &request.launch_type {
        return Err(ApiError::invalid(format!("launch type should be one of [EC2,FARGATE,EXTERNAL], not {other}")));
    }
    let desired = match request.desired_status.as_ref() {
        None | Some(ApiDesired::Running) => Some(DesiredStatus::Running),
        Some(ApiDesired::Stopped) => Some(DesiredStatus::Stopped),
        // ECS takes this filter and never finds anything: no task is desired to be PENDING.
        Some(ApiDesired::Pending) => None,
        Some(ApiDesired::Other(other)) => {
            return Err(ApiError::invalid(format!("desiredStatus: `{other}` is none of RUNNING, PENDING, STOPPED.")));
        }
    };
    let filters =
        (&cluster, &family, &started_by, &service, &instance, desired.map(DesiredStatus::as_str), &request.launch_type);
    let token = request.next_token.as_deref();
    let listing = ctx.listing(Operation::ListTasks, &filters, request.max_results, token)?;

    let mut sets = vec![TaskSet::Cluster(cluster.clone())];
    sets.extend(family.map(|family| TaskSet::Family(cluster.clone(), family.into())));
    sets.extend(started_by.map(|by| TaskSet::StartedBy(cluster.clone(), by.into())));
    if let Some(name) = service {
        // As other lists: one of another cluster is none of this one's.
        let key = ctx.service_key(&cluster, &name)?.filter(|key| ctx.state.service(key).is_some());
        sets.push(TaskSet::Group(cluster.clone(), key.ok_or_else(not_found)?.group()));
    }
    if let Some(name) = instance {
        // An instance of another cluster has no tasks in this one.
        match ctx.instance_id(&cluster, &name)? {
            Some(id) => sets.push(TaskSet::Instance(id)),
            None => return Ok(ListTasksResponse { task_arns: Some(Vec::new()), next_token: None }),
        }
    }
    let found: Option<Vec<_>> =
        sets.iter().map(|set| desired.and_then(|desired| ctx.state.task_set(set, desired))).collect();
    let Some(smallest) = found.and_then(|found| found.into_iter().min_by_key(|ids| ids.len())) else {
        return Ok(ListTasksResponse { task_arns: Some(Vec::new()), next_token: None });
    };
    let after: Option<TaskId> = listing.after.as_ref().and_then(|cursor| cursor.parse().ok());
    let is_wanted = |task: &Task| {
        sets.iter().all(|set| set.contains(task))
            && request.launch_type.as_ref().is_none_or(|launch_type| task.launch_type == *launch_type)
    };
    let ids = smallest
        .range(after.unwrap_or(TaskId::from_bytes([0; 16]))..)
        .filter(|id| Some(**id) != after && ctx.state.task(**id).is_some_and(|task| is_wanted(task)))
        .copied();
    let (page, next_token) = listing.page(ids, ToString::to_string);
    let arn = |id| arn_in(ctx.core.account(), &cluster, Resource::Task(cluster.name.clone(), id));
    Ok(ListTasksResponse { task_arns: Some(page.into_iter().map(arn).collect()), next_token })
}
