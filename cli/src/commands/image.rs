//! `longshore image`: images on hosts before any task needs them, by tasks that only pull.

use super::Context;
use crate::args::{ImageCommand, ImagePullArgs};
use crate::client::CallError;
use crate::fault::Fault;
use crate::names::{self, HostNames, failures_text, host_names, tail};
use crate::output::{or_dash, table};
use crate::wait;
use longshore_ecs_api::enums::{ContainerInstanceStatus, TaskStopCode};
use longshore_ecs_api::requests::{
    DeleteTaskDefinitionsRequest, DeregisterTaskDefinitionRequest, RegisterTaskDefinitionRequest, StartTaskRequest,
};
use longshore_ecs_api::responses::StartTaskResponse;
use longshore_ecs_api::types::{Container, ContainerDefinition, Failure, Tag, Task};
use std::collections::HashMap;

/// Hosts that StartTask takes at a time.
const START_LIMIT: usize = 10;

/// The tag that makes a task pull its images and run nothing.
const PULL_ONLY: &str = "longshore.pull-only";

/// The label that says when an image is pulled.
const PULL_BEHAVIOR: &str = "longshore.pull-behavior";

/// The family of definitions that are made for one pull, and the mark of the tasks.
const NAME: &str = "longshore-image-pull";

/// Carries out an `image` command.
pub(super) fn execute(context: &Context, command: ImageCommand) -> Result<(), Fault> {
    match command {
        ImageCommand::Pull(args) => pull(context, &args),
    }
}

fn pull(context: &Context, args: &ImagePullArgs) -> Result<(), Fault> {
    let (cluster, hosts) = hosts(context, &args.host)?;
    let own = args.image.as_ref().map(|image| register(context, image, args.if_missing)).transpose()?;
    let definition = own.as_deref().or(args.task_def.as_deref()).unwrap_or_default();
    let started = start(context, &cluster, definition, &hosts);
    if let Some(own) = &own {
        // Tasks that were started keep it for as long as they need it.
        forget(context, own);
    }
    let (tasks, failures) = started?;
    let arns: Vec<String> = tasks.iter().filter_map(|t| t.task_arn.clone()).collect();
    let refused = failures.iter().filter_map(|f| f.arn.as_deref()).filter(|arn| arn.contains(":container-instance/"));
    let pulling = tasks.iter().filter_map(|t| t.container_instance_arn.as_deref());
    let names = host_names(&context.api, &cluster, pulling.chain(refused))?;
    let tasks = if arns.is_empty() { tasks } else { wait(context, &cluster, &arns, &names)? };
    let answer = StartTaskResponse { tasks: Some(tasks), failures: Some(failures) };
    context.out.print(&answer, |_| {
        let tasks = answer.tasks.iter().flatten();
        let rows = tasks.flat_map(|t| t.containers.iter().flatten().map(|c| row(t, c, &names))).collect();
        table(&["HOST", "IMAGE", "STATUS", "DIGEST"], rows)
    })?;
    judge(&answer, &names)
}

/// The cluster and the hosts that were named; all active ones of the chosen cluster when none was.
fn hosts(context: &Context, named: &[String]) -> Result<(String, Vec<String>), Fault> {
    let chosen = context.api.cluster().to_owned();
    if named.is_empty() {
        let hosts = context.api.host_arns(&chosen, None, Some(ContainerInstanceStatus::Active))?;
        if hosts.is_empty() {
            return Err(Fault::Missing {
                kind: "host",
                name: "(any active one)".to_owned(),
                place: format!("cluster {chosen}"),
                hint: "`longshore host list` shows all; another cluster: --cluster.",
            });
        }
        return Ok((chosen, hosts));
    }
    let mut cluster = None;
    let mut hosts: Vec<String> = Vec::new();
    for text in named {
        let host = names::host(&context.api, text)?;
        let first = cluster.get_or_insert_with(|| host.cluster.clone());
        if *first != host.cluster {
            let why = format!("it is in cluster {}, and the hosts before it in {first}", host.cluster);
            return Err(Fault::Argument { argument: "--host", value: text.clone(), why });
        }
        if hosts.iter().all(|known| tail(known) != tail(&host.id)) {
            hosts.push(host.id);
        }
    }
    Ok((cluster.unwrap_or(chosen), hosts))
}

/// A definition of the image alone.
fn register(context: &Context, image: &str, if_missing: bool) -> Result<String, Fault> {
    let behavior = if if_missing { "prefer-cached" } else { "always" };
    let container = ContainerDefinition {
        name: Some("image".to_owned()),
        image: Some(image.to_owned()),
        // ECS wants one; nothing of it is taken.
        memory: Some(16),
        docker_labels: Some([(PULL_BEHAVIOR.to_owned(), behavior.to_owned())].into()),
        ..ContainerDefinition::default()
    };
    let request = RegisterTaskDefinitionRequest {
        family: Some(NAME.to_owned()),
        container_definitions: Some(vec![container]),
        ..RegisterTaskDefinitionRequest::default()
    };
    let answer = context.api.call(&request).map_err(|error| match error {
        CallError::Refused { code, message, .. } if code == "ClientException" => {
            Fault::Argument { argument: "the image", value: image.to_owned(), why: message }
        }
        error => error.into(),
    })?;
    Ok(answer.task_definition.and_then(|d| d.task_definition_arn).unwrap_or_default())
}

/// Takes the definition away again. What fails here is told and leaves no more than an unused definition.
fn forget(context: &Context, definition: &str) {
    let deregister = DeregisterTaskDefinitionRequest { task_definition: Some(definition.to_owned()) };
    let delete = DeleteTaskDefinitionsRequest { task_definitions: Some(vec![definition.to_owned()]) };
    let forgotten = context.api.call(&deregister).and_then(|_| context.api.call(&delete).map(drop));
    if let Err(error) = forgotten {
        eprintln!("task definition {} is left: {error}", tail(definition));
    }
}

fn start(
    context: &Context,
    cluster: &str,
    definition: &str,
    hosts: &[String],
) -> Result<(Vec<Task>, Vec<Failure>), Fault> {
    let (mut tasks, mut failures) = (Vec::new(), Vec::new());
    for some in hosts.chunks(START_LIMIT) {
        let answer = context.api.call(&StartTaskRequest {
            cluster: Some(cluster.to_owned()),
            task_definition: Some(definition.to_owned()),
            container_instances: Some(some.to_vec()),
            started_by: Some(NAME.to_owned()),
            tags: Some(vec![Tag { key: Some(PULL_ONLY.to_owned()), value: Some("true".to_owned()) }]),
            ..StartTaskRequest::default()
        });
        match answer {
            Ok(answer) => {
                tasks.extend(answer.tasks.unwrap_or_default());
                failures.extend(answer.failures.unwrap_or_default());
            }
            Err(error) if tasks.is_empty() => return Err(error.into()),
            // The hosts before pull: they are waited for, and the reason stands where the others do.
            Err(error) => {
                let reason = Some(error.to_string());
                let refuse = |arn: &String| Failure { arn: Some(arn.clone()), reason: reason.clone(), detail: None };
                failures.extend(some.iter().map(refuse));
            }
        }
    }
    Ok((tasks, failures))
}

/// Waits until every task is over, and tells what becomes of each on the way.
fn wait(context: &Context, cluster: &str, arns: &[String], names: &HostNames) -> Result<Vec<Task>, Fault> {
    let what = match arns {
        [_] => "the images on 1 host".to_owned(),
        many => format!("the images on {} hosts", many.len()),
    };
    let mut told: HashMap<String, String> = HashMap::new();
    wait::until_telling(context.wait, &what, |progress| {
        let (tasks, failures) = context.api.tasks(cluster, arns)?;
        names::all_there("DescribeTasks", &failures)?;
        for task in &tasks {
            let says = standing(task);
            let arn = task.task_arn.clone().unwrap_or_default();
            if told.get(&arn) != Some(&says) {
                progress.tell(&format!("{}: {says}", host(task, names)));
                told.insert(arn, says);
            }
        }
        let over = tasks.iter().filter(|t| t.last_status.as_deref() == Some("STOPPED")).count();
        if over == tasks.len() {
            return Ok(Ok(tasks));
        }
        Ok(Err(format!("{over} of {} over; {}", tasks.len(), wait::census(&tasks))))
    })
}

fn host(task: &Task, names: &HostNames) -> String {
    let arn = task.container_instance_arn.as_deref();
    or_dash(arn.map(|arn| names.get(arn).map_or_else(|| tail(arn), String::as_str)))
}

/// How far a host is, in one line.
fn standing(task: &Task) -> String {
    if task.last_status.as_deref() == Some("STOPPED") {
        return failed(task).unwrap_or_else(|| "pulled".to_owned());
    }
    let what = if task.pull_started_at.is_some() { "pulling" } else { "about to pull" };
    match task.containers.iter().flatten().find_map(|c| c.reason.as_deref()) {
        Some(reason) => format!("{what} ({reason})"),
        None => what.to_owned(),
    }
}

/// Why a task that is over did not get its images; `None` when it did.
fn failed(task: &Task) -> Option<String> {
    let pulled = task.containers.iter().flatten().all(|c| c.exit_code == Some(0));
    if pulled && task.stop_code == Some(TaskStopCode::EssentialContainerExited) {
        return None;
    }
    let reason = task.containers.iter().flatten().find_map(|c| c.reason.clone());
    Some(reason.or_else(|| task.stopped_reason.clone()).unwrap_or_else(|| "no reason was given".to_owned()))
}

fn row(task: &Task, container: &Container, names: &HostNames) -> Vec<String> {
    let status = if container.exit_code == Some(0) { "pulled" } else { "failed" };
    vec![
        host(task, names),
        or_dash(container.image.as_deref()),
        status.to_owned(),
        or_dash(container.image_digest.as_deref()),
    ]
}

/// Fails when a host failed or took no task.
fn judge(answer: &StartTaskResponse, names: &HostNames) -> Result<(), Fault> {
    let tasks = || answer.tasks.iter().flatten();
    let refused = answer.failures.as_deref().unwrap_or_default();
    let mut why: Vec<String> =
        tasks().filter_map(|task| Some(format!("{}: {}", host(task, names), failed(task)?))).collect();
    let all = tasks().count() + refused.len();
    let have = tasks().count() - why.len();
    if !refused.is_empty() {
        why.push(failures_text(refused, names));
    }
    if why.is_empty() {
        return Ok(());
    }
    Err(Fault::TaskFailed { text: format!("{have} of {all} hosts have the images; {}", why.join("; ")) })
}
