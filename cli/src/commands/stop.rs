//! `longshore stop`.

use super::{Context, ps};
use crate::args::{StopArgs, WaitFor};
use crate::fault::Fault;
use crate::names::{self, HostNames, Named, host_names};
use longshore_ecs_api::requests::StopTaskRequest;
use longshore_ecs_api::responses::DescribeTasksResponse;
use longshore_ecs_api::types::Task;

/// Carries out `stop`. Names are all looked up before the first task is stopped, so that a slip stops nothing.
pub(super) fn execute(context: &Context, args: &StopArgs) -> Result<(), Fault> {
    let named: Vec<Named> = args.tasks.iter().map(|text| names::task(&context.api, text)).collect::<Result<_, _>>()?;
    let mut tasks = Vec::new();
    let mut result = Ok(());
    for task in &named {
        let answer = context.api.call(&StopTaskRequest {
            cluster: Some(task.cluster.clone()),
            task: Some(task.id.clone()),
            reason: args.reason.clone(),
        });
        match answer {
            Ok(answer) => tasks.extend(answer.task),
            Err(error) => {
                result = Err(error.into());
                break;
            }
        }
    }
    if args.wait && result.is_ok() {
        match wait(context, &named) {
            Ok(now) => tasks = now,
            Err(fault) => result = Err(fault),
        }
    }
    if !tasks.is_empty() {
        print(context, tasks)?;
    }
    result
}

fn wait(context: &Context, named: &[Named]) -> Result<Vec<Task>, Fault> {
    let mut tasks = Vec::new();
    for group in named.chunk_by(|a, b| a.cluster == b.cluster) {
        let ids: Vec<String> = group.iter().map(|t| t.id.clone()).collect();
        tasks.extend(crate::wait::tasks(&context.api, &group[0].cluster, &ids, WaitFor::Stopped, context.wait)?);
    }
    Ok(tasks)
}

fn print(context: &Context, tasks: Vec<Task>) -> Result<(), Fault> {
    let mut hosts = HostNames::new();
    if !context.out.is_json() {
        for group in tasks.chunk_by(|a, b| a.cluster_arn == b.cluster_arn) {
            let cluster = group[0].cluster_arn.as_deref().unwrap_or(context.api.cluster());
            let arns = group.iter().filter_map(|t| t.container_instance_arn.as_deref());
            hosts.extend(host_names(&context.api, cluster, arns)?);
        }
    }
    let answer = DescribeTasksResponse { tasks: Some(tasks), failures: None };
    Ok(context.out.print(&answer, |out| ps::tasks_table(out, answer.tasks.as_deref().unwrap_or_default(), &hosts))?)
}
