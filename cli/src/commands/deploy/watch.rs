//! A deployment on its way, for people: what takes the place of what, what happens meanwhile, and how it ends.
//!
//! Everything goes to standard error: at a terminal one line that changes, elsewhere a line for each change. What the
//! service says (its events) is told as it comes. The result goes to standard output.

use super::super::Context;
use super::service;
use crate::api::DESCRIBE_LIMIT;
use crate::fault::Fault;
use crate::names::tail;
use crate::progress::Progress;
use crate::wait::until_telling;
use longshore_ecs_api::enums::{DesiredStatus, HealthStatus, ServiceDeploymentStatus};
use longshore_ecs_api::requests::{DescribeServiceDeploymentsRequest, ListTasksRequest};
use longshore_ecs_api::types::{Deployment, Service, ServiceDeployment, Task};
use std::collections::HashSet;
use std::io::IsTerminal as _;

/// Whether the newest deployment of a service is under way, as the service shows it.
pub(in crate::commands) fn is_under_way(service: &Service) -> bool {
    let newest = service.deployments.iter().flatten().next();
    let in_progress =
        newest.and_then(|d| d.rollout_state.as_ref()).is_some_and(|state| state.as_str() == "IN_PROGRESS");
    in_progress && service.current_service_deployment.is_some()
}

/// Watches the newest deployment of a service until it is over. Ends other than success are faults, but for those in
/// `wanted`.
///
/// # Errors
/// When the deployment failed, was stopped or was rolled back; when it takes too long.
pub(in crate::commands) fn to_the_end(
    context: &Context,
    started: &Service,
    wanted: &[ServiceDeploymentStatus],
) -> Result<(), Fault> {
    let name = started.service_arn.clone().or_else(|| started.service_name.clone()).unwrap_or_default();
    let Some(arn) = started.current_service_deployment.clone() else {
        // A server without service deployments as resources: it is as far as can be told.
        return service::print_one(context, &name);
    };
    let mut view = View::new(started);
    let what = format!("the deployment of service {}", tail(&name));
    let (service, deployment) = until_telling(context.wait, &what, |progress| {
        let service = service::find(context, &name)?;
        let deployment = described(context, &arn)?;
        let tasks = own_tasks(context, &service)?;
        let line = view.tell(progress, &service, &tasks);
        Ok(if is_over(&deployment) { Ok((service, deployment)) } else { Err(line) })
    })?;
    let status = deployment.status.clone();
    let well = status == Some(ServiceDeploymentStatus::Successful) || status.is_some_and(|s| wanted.contains(&s));
    service::print_one(context, &name)?;
    if well { Ok(()) } else { Err(Fault::DeploymentFailed { text: verdict(context, &service, &deployment) }) }
}

fn described(context: &Context, arn: &str) -> Result<ServiceDeployment, Fault> {
    let request = DescribeServiceDeploymentsRequest { service_deployment_arns: Some(vec![arn.to_owned()]) };
    let answer = context.api.call(&request)?;
    crate::names::all_there("DescribeServiceDeployments", answer.failures.as_deref().unwrap_or_default())?;
    Ok(answer.service_deployments.into_iter().flatten().next().unwrap_or_default())
}

fn is_over(deployment: &ServiceDeployment) -> bool {
    match &deployment.status {
        Some(
            ServiceDeploymentStatus::Successful
            | ServiceDeploymentStatus::Stopped
            | ServiceDeploymentStatus::RollbackSuccessful
            | ServiceDeploymentStatus::RollbackFailed,
        ) => true,
        Some(
            ServiceDeploymentStatus::Pending
            | ServiceDeploymentStatus::InProgress
            | ServiceDeploymentStatus::StopRequested
            | ServiceDeploymentStatus::RollbackRequested
            | ServiceDeploymentStatus::RollbackInProgress
            | ServiceDeploymentStatus::Other(_),
        )
        | None => false,
    }
}

/// The tasks of the newest deployment, as far as one call tells them.
fn own_tasks(context: &Context, service: &Service) -> Result<Vec<Task>, Fault> {
    let newest = service.deployments.iter().flatten().next().and_then(|d| d.id.clone());
    let filter = ListTasksRequest {
        cluster: Some(context.api.cluster().to_owned()),
        started_by: newest,
        ..ListTasksRequest::default()
    };
    if filter.started_by.is_none() {
        return Ok(Vec::new());
    }
    let mut arns = context.api.task_arns(&filter, &[DesiredStatus::Running])?;
    arns.truncate(DESCRIBE_LIMIT);
    Ok(context.api.tasks(context.api.cluster(), &arns)?.0)
}

/// What has been told.
struct View {
    /// Ids of events.
    known: HashSet<String>,
    last: String,
    is_terminal: bool,
}

impl View {
    /// Nothing that `started` knows is told again.
    fn new(started: &Service) -> Self {
        let known = started.events.iter().flatten().filter_map(|event| event.id.clone()).collect();
        Self { known, last: String::new(), is_terminal: std::io::stderr().is_terminal() }
    }

    /// Tells what is new and gives the line of how things are.
    fn tell(&mut self, progress: &Progress, service: &Service, tasks: &[Task]) -> String {
        let mut events: Vec<_> = service.events.iter().flatten().collect();
        events.reverse();
        for event in events {
            if event.id.as_ref().is_some_and(|id| self.known.insert(id.clone())) {
                progress.tell(&format!("  {}", event.message.as_deref().unwrap_or_default()));
            }
        }
        let line = line(service, tasks);
        if !self.is_terminal && line != self.last {
            eprintln!("{line}");
        }
        self.last.clone_from(&line);
        line
    }
}

/// New tasks and old ones in one line.
fn line(service: &Service, tasks: &[Task]) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (nth, deployment) in service.deployments.iter().flatten().enumerate() {
        parts.push(if nth == 0 { newest(deployment, tasks) } else { older(deployment) });
    }
    parts.join("; ")
}

fn newest(deployment: &Deployment, tasks: &[Task]) -> String {
    let count = |n: Option<i32>| n.unwrap_or_default();
    let definition = deployment.task_definition.as_deref().map_or("?", tail);
    let (running, desired) = (count(deployment.running_count), count(deployment.desired_count));
    let mut text = format!("{definition}: {running} of {desired} tasks run");
    let sick = tasks.iter().filter(|task| task.health_status == Some(HealthStatus::Unhealthy)).count();
    let well = tasks.iter().filter(|task| task.health_status == Some(HealthStatus::Healthy)).count();
    for (n, what) in [
        (usize::try_from(count(deployment.pending_count)).unwrap_or(0), "starting"),
        (usize::try_from(count(deployment.failed_tasks)).unwrap_or(0), "failed"),
        (well, "healthy"),
        (sick, "unhealthy"),
    ] {
        if n > 0 {
            text.push_str(&format!(", {n} {what}"));
        }
    }
    text
}

fn older(deployment: &Deployment) -> String {
    let definition = deployment.task_definition.as_deref().map_or("?", tail);
    let left = deployment.running_count.unwrap_or(0) + deployment.pending_count.unwrap_or(0);
    format!("{definition}: {left} left")
}

/// How a deployment ended that did not succeed, with what its tasks last ended for.
fn verdict(context: &Context, service: &Service, deployment: &ServiceDeployment) -> String {
    let status = deployment.status.as_ref().map_or("?", |status| status.as_str());
    let reason = deployment.status_reason.as_deref().unwrap_or("no reason was given");
    let name = service.service_name.as_deref().unwrap_or("?");
    let mut text = format!("the deployment of service {name} ended with {status}: {reason}");
    if let Some(why) = last_reason(context, service, deployment) {
        text.push_str(&format!(" The last task stopped because: {why}."));
    }
    let runs = service.task_definition.as_deref().map_or("?", tail);
    text.push_str(&format!(" It runs {runs} now: {} tasks.", service.running_count.unwrap_or(0)));
    text
}

/// Why the last task that ended by itself did; nothing when that cannot be had.
fn last_reason(context: &Context, service: &Service, deployment: &ServiceDeployment) -> Option<String> {
    let filter = ListTasksRequest {
        cluster: Some(context.api.cluster().to_owned()),
        service_name: service.service_name.clone(),
        ..ListTasksRequest::default()
    };
    let mut arns = context.api.task_arns(&filter, &[DesiredStatus::Stopped]).ok()?;
    arns.truncate(DESCRIBE_LIMIT);
    let (tasks, _) = context.api.tasks(context.api.cluster(), &arns).ok()?;
    let since = deployment.created_at?.millis();
    let own = tasks.into_iter().filter(|task| task.created_at.is_some_and(|at| at.millis() >= since));
    let by_itself = own.filter(|task| {
        task.stop_code
            .as_ref()
            .is_some_and(|code| ["TaskFailedToStart", "EssentialContainerExited"].contains(&code.as_str()))
    });
    by_itself.max_by_key(|task| task.stopped_at.map(|at| at.millis())).and_then(|task| task.stopped_reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_line_has_new_and_old_tasks() {
        let service: Service = serde_json::from_value(json!({"deployments": [
            {"taskDefinition": "arn:aws:ecs:lab:1:task-definition/web:4", "runningCount": 2, "desiredCount": 5,
             "pendingCount": 1, "failedTasks": 3},
            {"taskDefinition": "arn:aws:ecs:lab:1:task-definition/web:3", "runningCount": 4, "pendingCount": 0}]}))
        .expect("a service");
        let task = |health: &str| serde_json::from_value(json!({"healthStatus": health})).expect("a task");
        let tasks = [task("HEALTHY"), task("UNKNOWN"), task("UNHEALTHY")];
        assert_eq!(
            line(&service, &tasks),
            "web:4: 2 of 5 tasks run, 1 starting, 3 failed, 1 healthy, 1 unhealthy; web:3: 4 left"
        );
    }
}
