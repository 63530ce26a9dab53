//! `longshore run`: RunTask, in as many calls as the count needs, and waiting for what it started.

use super::overrides::{self, Target};
use super::{Context, ps};
use crate::args::{RunArgs, WaitFor};
use crate::document::{self, Runnable};
use crate::fault::Fault;
use crate::names::{self, HostNames, failures_text, host_names};
use crate::progress::Progress;
use crate::wait;
use longshore_ecs_api::requests::RunTaskRequest;
use longshore_ecs_api::responses::RunTaskResponse;
use longshore_ecs_api::types::{Failure, Task, TaskDefinition};

/// Tasks that RunTask starts at a time.
const RUN_LIMIT: usize = 10;

/// Carries out `run`.
pub(super) fn execute(context: &Context, args: RunArgs) -> Result<(), Fault> {
    let target = args.wait;
    let request = request(context, args)?;
    let wanted = usize::try_from(request.count.unwrap_or(1)).unwrap_or(1);
    let cluster = request.cluster.clone().unwrap_or_else(|| context.api.cluster().to_owned());
    let (mut tasks, failures) = start(context, &request, wanted)?;
    let placed = tasks.len();
    let mut ended = Ok(());
    if let Some(target) = target.filter(|_| placed > 0) {
        let arns: Vec<String> = tasks.iter().filter_map(|t| t.task_arn.clone()).collect();
        match wait::tasks(&context.api, &cluster, &arns, target, context.wait) {
            Ok(now) => {
                ended = judge(context, &now, target);
                tasks = now;
            }
            // What was started is told all the same, as the caller has to deal with it.
            Err(fault) => ended = Err(fault),
        }
    }
    print(context, &cluster, tasks, failures.clone())?;
    if placed < wanted {
        return Err(Fault::NotPlaced { placed, wanted, reasons: reasons(context, &cluster, &failures) });
    }
    ended
}

/// Why tasks found no place, with the hosts' names if they can be had.
fn reasons(context: &Context, cluster: &str, failures: &[Failure]) -> String {
    let hosts = failures.iter().filter_map(|f| f.arn.as_deref()).filter(|arn| arn.contains(":container-instance/"));
    let names = host_names(&context.api, cluster, hosts).unwrap_or_default();
    if failures.is_empty() { "no reason was given".to_owned() } else { failures_text(failures, &names) }
}

fn print(context: &Context, cluster: &str, tasks: Vec<Task>, failures: Vec<Failure>) -> Result<(), Fault> {
    let hosts = if context.out.is_json() || tasks.is_empty() {
        HostNames::new()
    } else {
        host_names(&context.api, cluster, tasks.iter().filter_map(|t| t.container_instance_arn.as_deref()))?
    };
    let answer = RunTaskResponse { tasks: Some(tasks), failures: Some(failures) };
    let tasks = answer.tasks.as_deref().unwrap_or_default();
    if tasks.is_empty() && !context.out.is_json() {
        return Ok(());
    }
    Ok(context.out.print(&answer, |out| ps::tasks_table(out, tasks, &hosts))?)
}

/// Refuses tasks that did not do well, as far as was waited for.
fn judge(context: &Context, tasks: &[Task], target: WaitFor) -> Result<(), Fault> {
    let over = tasks.iter().find(|t| t.last_status.as_deref() == Some("STOPPED"));
    let Some(definition) = over.and_then(|t| t.task_definition_arn.as_deref()) else { return Ok(()) };
    let definition = super::task_def::find(context, definition)?.task_definition.unwrap_or_default();
    let bad: Vec<String> = tasks.iter().filter_map(|t| wait::verdict(t, &definition)).collect();
    match (bad.first(), target) {
        (None, WaitFor::Running | WaitFor::Stopped) => Ok(()),
        (Some(first), WaitFor::Running | WaitFor::Stopped) => {
            let more = if bad.len() > 1 { format!(" (and {} more)", bad.len() - 1) } else { String::new() };
            Err(Fault::TaskFailed { text: format!("{first}{more}") })
        }
    }
}

/// The whole request but for client tokens and the count of each call.
pub(super) fn request(context: &Context, args: RunArgs) -> Result<RunTaskRequest, Fault> {
    let mut request = base(context, &args.what)?;
    if context.api.chosen_cluster().is_some() || request.cluster.is_none() {
        request.cluster = Some(context.api.cluster().to_owned());
    }
    request.count = args.count.or(request.count);
    request.group = args.group.or(request.group);
    request.started_by = args.started_by.or(request.started_by);
    if args.exec {
        request.enable_execute_command = Some(true);
    }
    if !args.constraint.is_empty() {
        let constraints = args.constraint.iter().map(|text| overrides::constraint(text));
        request.placement_constraints.get_or_insert_default().extend(constraints);
    }
    if !args.strategy.is_empty() {
        let strategy = args.strategy.iter().map(|text| overrides::strategy(text));
        request.placement_strategy = Some(strategy.collect::<Result<_, _>>()?);
    }
    let command = match args.command {
        Some(text) => Some(overrides::words(&text)?),
        None => Some(args.args).filter(|words| !words.is_empty()),
    };
    let variables = args.env.iter().map(|text| overrides::variable(text, &context.env));
    let variables = variables.collect::<Result<Vec<_>, _>>()?;
    if command.is_some() || !variables.is_empty() {
        let definition = match args.container {
            Some(_) => TaskDefinition::default(),
            None => named_definition(context, request.task_definition.as_deref().unwrap_or_default())?,
        };
        let names = definition.container_definitions.iter().flatten().filter_map(|c| c.name.as_deref());
        let names: Vec<&str> = names.collect();
        let target = match (&args.container, names.as_slice()) {
            (Some(name), _) => Target::Named(name),
            (None, [only]) => Target::Named(only),
            (None, _) => Target::Unclear(names),
        };
        request.overrides = overrides::build(&target, command, variables, request.overrides)?;
    }
    Ok(request)
}

fn named_definition(context: &Context, name: &str) -> Result<TaskDefinition, Fault> {
    Ok(super::task_def::find(context, name)?.task_definition.unwrap_or_default())
}

/// What was named: a definition, or a file with one or with a request.
fn base(context: &Context, what: &str) -> Result<RunTaskRequest, Fault> {
    let of = |definition: String| RunTaskRequest { task_definition: Some(definition), ..RunTaskRequest::default() };
    if !document::is_file(what) {
        return Ok(of(what.to_owned()));
    }
    match document::runnable(what)? {
        Runnable::Request(request) => Ok(*request),
        Runnable::Definition(definition) => {
            let answer = context.api.call(&*definition)?;
            let arn = answer.task_definition.and_then(|d| d.task_definition_arn).unwrap_or_default();
            eprintln!("registered {}", names::tail(&arn));
            Ok(of(arn))
        }
    }
}

/// Starts tasks until there are enough or the API finds no more places.
fn start(context: &Context, request: &RunTaskRequest, wanted: usize) -> Result<(Vec<Task>, Vec<Failure>), Fault> {
    let progress = (wanted > RUN_LIMIT).then(|| Progress::start(format!("starting {wanted} tasks")));
    let (mut tasks, mut failures) = (Vec::new(), Vec::new());
    while tasks.len() < wanted && failures.is_empty() {
        let count = (wanted - tasks.len()).min(RUN_LIMIT);
        let call = RunTaskRequest {
            count: i32::try_from(count).ok(),
            // A file's own token is for its one call; several calls need one each.
            client_token: match (&request.client_token, wanted <= RUN_LIMIT) {
                (Some(token), true) => Some(token.clone()),
                (_, _) => Some(uuid::Uuid::new_v4().to_string()),
            },
            ..request.clone()
        };
        let answer = match context.api.call(&call) {
            Ok(answer) => answer,
            Err(error) if tasks.is_empty() => return Err(error.into()),
            Err(error) => {
                // The earlier calls' tasks run: they are told, and the reason stands where the others do.
                let reason = Some(error.to_string());
                failures.push(Failure { reason, ..Failure::default() });
                break;
            }
        };
        let started = answer.tasks.unwrap_or_default();
        failures.extend(answer.failures.unwrap_or_default());
        if started.is_empty() && failures.is_empty() {
            break;
        }
        tasks.extend(started);
        if let Some(progress) = &progress {
            progress.say(format!("started {} of {wanted} tasks", tasks.len()));
        }
    }
    Ok((tasks, failures))
}
