//! Task protection.

use crate::commands::{NotProtected, ProtectTasks, protectable};
use crate::ops::{Ctx, check};
use crate::protection::{DEFAULT_MINUTES, minutes};
use crate::records::Task;
use crate::show::{self, arn_in};
use crate::state::TaskSet;
use longshore_ecs_api::ApiError;
use longshore_ecs_api::requests::{GetTaskProtectionRequest, UpdateTaskProtectionRequest};
use longshore_ecs_api::responses::{GetTaskProtectionResponse, UpdateTaskProtectionResponse};
use longshore_ecs_api::types::{Failure, ProtectedTask};
use longshore_model::arn::Resource;
use longshore_model::{Arn, ClusterKey, DesiredStatus, TaskId, Timestamp};

/// Tasks of one request (ECS).
const MAX_UPDATED: usize = 10;
const MAX_ASKED: usize = 100;

pub(crate) async fn update(
    ctx: Ctx<'_>,
    request: UpdateTaskProtectionRequest,
) -> Result<UpdateTaskProtectionResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?.record.key.clone();
    let names = check::some(request.tasks, "tasks", "Tasks cannot be empty.", MAX_UPDATED)?;
    let enabled = request.protection_enabled;
    let enabled = enabled.ok_or_else(|| ApiError::invalid("protectionEnabled should not be null."))?;
    let time = minutes(request.expires_in_minutes.unwrap_or(DEFAULT_MINUTES))?;
    let (mut tasks, mut failures) = (Vec::new(), Vec::new());
    for name in &names {
        match ctx.task_id(&cluster, name)? {
            Some(id) => tasks.push(id),
            None => failures.push(failure(ctx.name_arn(&cluster, name), NotProtected::Missing)),
        }
    }
    let ids = tasks.clone();
    let command = ProtectTasks { cluster: cluster.clone(), tasks, time: enabled.then_some(time) };
    let answers = ctx.submit(command).await?;
    let now = ctx.core.inner().clock.now();
    let mut protected = Vec::new();
    for (id, answer) in ids.into_iter().zip(answers) {
        match answer {
            Ok(task) => protected.push(shown(&ctx, &task, now)),
            Err(why) => failures.push(failure(task_arn(&ctx, &cluster, id), why)),
        }
    }
    Ok(UpdateTaskProtectionResponse { protected_tasks: Some(protected), failures: Some(failures) })
}

/// Of the tasks that are named, or of all that are protected when none is.
pub(crate) fn get(ctx: &Ctx<'_>, request: GetTaskProtectionRequest) -> Result<GetTaskProtectionResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?.record.key.clone();
    let now = ctx.core.inner().clock.now();
    let names = request.tasks.unwrap_or_default();
    if names.len() > MAX_ASKED {
        return Err(ApiError::invalid(format!("tasks can have at most {MAX_ASKED} items.")));
    }
    let (mut protected, mut failures) = (Vec::new(), Vec::new());
    for name in &names {
        let found = match ctx.task_id(&cluster, name)? {
            Some(id) => protectable(&ctx.state, &cluster, id),
            None => Err(NotProtected::Missing),
        };
        match found {
            Ok(task) => protected.push(shown(ctx, task, now)),
            Err(why) => failures.push(failure(ctx.name_arn(&cluster, name), why)),
        }
    }
    if names.is_empty() {
        let all = ctx.state.task_set(&TaskSet::Cluster(cluster), DesiredStatus::Running);
        let tasks = all.into_iter().flatten().filter_map(|id| ctx.state.task(*id));
        let tasks = tasks.filter(|task| task.is_live() && task.is_protected(now)).take(MAX_ASKED);
        protected.extend(tasks.map(|task| shown(ctx, task, now)));
    }
    Ok(GetTaskProtectionResponse { protected_tasks: Some(protected), failures: Some(failures) })
}

fn shown(ctx: &Ctx<'_>, task: &Task, now: Timestamp) -> ProtectedTask {
    let until = task.protected_until.filter(|until| now < *until);
    ProtectedTask {
        task_arn: Some(task_arn(ctx, &task.cluster, task.id)),
        protection_enabled: Some(until.is_some()),
        expiration_date: until.map(show::time),
    }
}

fn task_arn(ctx: &Ctx<'_>, cluster: &ClusterKey, id: TaskId) -> String {
    arn_in(ctx.core.account(), cluster, Resource::Task(cluster.name.clone(), id))
}

fn failure(arn: String, why: NotProtected) -> Failure {
    Failure { arn: Some(arn), reason: Some(why.reason().to_owned()), detail: Some(why.detail().to_owned()) }
}

impl Ctx<'_> {
    /// The ARN of the task that a request names, whether or not there is such a task.
    fn name_arn(&self, cluster: &ClusterKey, name: &str) -> String {
        if Arn::looks_like(name) {
            return name.to_owned();
        }
        self.arn(Resource::Other(format!("task/{}/{name}", cluster.name)))
    }
}
