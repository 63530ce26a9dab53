//! ExecuteCommand: the answer is a token with which a client comes to the front, which joins it with the host's agent.

use crate::exec::{ExecError, ExecSession};
use crate::ops::Ctx;
use crate::records::Task;
use crate::show::arn_in;
use longshore_ecs_api::requests::ExecuteCommandRequest;
use longshore_ecs_api::responses::ExecuteCommandResponse;
use longshore_ecs_api::types::Session;
use longshore_ecs_api::{ApiError, ErrorCode};
use longshore_model::arn::Resource;
use longshore_model::{
    ContainerName, ContainerStatus, ExecId, ExecWhat, MAX_EXEC_BYTES, MAX_EXEC_WORDS, program_name, split_words,
};

/// What hosts need to be able to; ECS's name.
pub(crate) const CAPABILITY: &str = "ecs.capability.execute-command";

/// The command that means the container's own process instead of a new one. ECS has nothing like it.
const ATTACH: &str = "LONGSHORE_ATTACH";

/// ECS's words for a task that was run without, and for a container that does not run.
const NOT_ENABLED: &str = "The execute command failed because execute command was not enabled when the task was run or \
                           the execute command agent isn't running. Wait and try again or run a new task with execute \
                           command enabled and try again.";

pub(crate) async fn execute(ctx: Ctx<'_>, request: ExecuteCommandRequest) -> Result<ExecuteCommandResponse, ApiError> {
    let cluster = ctx.cluster(request.cluster.as_deref())?.record.key.clone();
    let name = request.task.as_deref().unwrap_or_default();
    let found = ctx.task_id(&cluster, name)?.and_then(|id| ctx.state.task(id));
    let task = found.filter(|task| task.cluster == cluster);
    let task = task.ok_or_else(|| ApiError::invalid("The referenced task was not found."))?;
    if request.interactive != Some(true) {
        return Err(ApiError::invalid("interactive must be true; whether there is a terminal, the client decides."));
    }
    let (what, label) = what(&ctx, request.command.as_deref().unwrap_or_default())?;
    let container = container(task, request.container.filter(|name| !name.is_empty()))?;
    let reported = task.reported.iter().find(|report| report.name == container);
    if !task.execute_command || reported.is_none_or(|report| report.status != ContainerStatus::Running) {
        return Err(ApiError::invalid(NOT_ENABLED));
    }
    let connected = ctx.state.host(task.instance).is_some_and(|host| host.record.is_connected());
    if !connected || !ctx.core.execs().reaches(task.instance) {
        let text = "The execute command failed: the host of the task is not connected. Try again later.";
        return Err(ApiError::new(ErrorCode::TargetNotConnected, text));
    }
    let session = ExecSession {
        id: ExecId::random(),
        cluster: cluster.clone(),
        task: task.id,
        container: container.clone(),
        instance: task.instance,
        what,
        label,
        caller: ctx.caller.clone(),
    };
    let (id, label) = (session.id, session.label.clone());
    let token = ctx.core.execs().ask(session).map_err(|error| match error {
        ExecError::Crowded | ExecError::Full => ApiError::client(format!("The execute command failed: {error}.")),
        ExecError::Token | ExecError::Away | ExecError::NoAnswer => ApiError::server(error.to_string()),
    })?;
    tracing::info!(
        exec = %id, task = %task.id, %container, command = label, principal = ctx.caller.principal_arn,
        access_key = ctx.caller.access_key_id, "a command may be executed"
    );
    let arn = |resource| Some(arn_in(ctx.core.account(), &cluster, resource));
    let position = task.reported.iter().position(|report| report.name == container).unwrap_or_default();
    let arn_id = task.containers.get(position).map(|given| given.arn_id.to_string()).unwrap_or_default();
    Ok(ExecuteCommandResponse {
        cluster_arn: arn(Resource::Cluster(cluster.name.clone())),
        task_arn: arn(Resource::Task(cluster.name.clone(), task.id)),
        container_arn: arn(Resource::Container(cluster.name.clone(), task.id, arn_id)),
        container_name: Some(container.to_string()),
        interactive: Some(true),
        session: Some(Session {
            session_id: Some(format!("ecs-execute-command-{id}")),
            stream_url: Some(format!("http://{}/exec/{id}", ctx.caller.endpoint)),
            token_value: Some(token),
        }),
    })
}

/// What a command asks for, and what logs call it.
fn what(ctx: &Ctx<'_>, command: &str) -> Result<(ExecWhat, String), ApiError> {
    if command == ATTACH {
        return Ok((ExecWhat::Attach, "attach".to_owned()));
    }
    if command.len() > MAX_EXEC_BYTES {
        return Err(ApiError::invalid(format!("command must have at most {MAX_EXEC_BYTES} bytes.")));
    }
    let argv = split_words(command)
        .ok_or_else(|| ApiError::invalid("command has a quote that is not closed, or ends in a backslash."))?;
    if argv.len() > MAX_EXEC_WORDS {
        return Err(ApiError::invalid(format!("command must have at most {MAX_EXEC_WORDS} words.")));
    }
    if argv.iter().any(|word| word.contains('\0')) {
        return Err(ApiError::invalid("command must not hold NUL."));
    }
    let Some((_, arguments)) = argv.split_first().filter(|(program, _)| !program.is_empty()) else {
        return Err(ApiError::invalid("command must name a program."));
    };
    let program = program_name(&argv);
    let label = match arguments.len() {
        _ if ctx.core.exec_config().log_arguments => format!("`{command}`"),
        0 => format!("`{program}`"),
        1 => format!("`{program}` with 1 argument"),
        n => format!("`{program}` with {n} arguments"),
    };
    // A line of a log, whatever somebody typed.
    let label = label.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Ok((ExecWhat::Command { argv, user: None }, label))
}

/// The container that is meant; it may be left out when there is one.
fn container(task: &Task, named: Option<String>) -> Result<ContainerName, ApiError> {
    let names: Vec<&ContainerName> = task.reported.iter().map(|report| &report.name).collect();
    match (named, &names[..]) {
        (Some(named), _) => match names.iter().find(|name| name.as_str() == named) {
            Some(name) => Ok((*name).clone()),
            None if names.is_empty() => Err(ApiError::invalid(NOT_ENABLED)),
            None => Err(ApiError::invalid(format!("The container {named} does not exist in the task."))),
        },
        (None, [only]) => Ok((*only).clone()),
        (None, []) => Err(ApiError::invalid(NOT_ENABLED)),
        (None, _) => {
            let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
            Err(ApiError::invalid(format!("container must be named, as the task has several: {}.", names.join(", "))))
        }
    }
}
