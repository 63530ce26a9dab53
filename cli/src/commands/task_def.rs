//! `longshore task-def`.

use super::Context;
use crate::args::TaskDefCommand;
use crate::document;
use crate::fault::Fault;
use crate::names::tail;
use crate::output::{Facts, Out, or_dash, table};
use longshore_ecs_api::enums::{SortOrder, TaskDefinitionField, TaskDefinitionStatus};
use longshore_ecs_api::requests::{
    DeregisterTaskDefinitionRequest, DescribeTaskDefinitionRequest, ListTaskDefinitionsRequest,
};
use longshore_ecs_api::responses::{DescribeTaskDefinitionResponse, ListTaskDefinitionsResponse};
use longshore_ecs_api::types::{ContainerDefinition, KeyValuePair, PortMapping, TaskDefinition};
use serde::Serialize;

/// Carries out a `task-def` command.
pub(super) fn execute(context: &Context, command: TaskDefCommand) -> Result<(), Fault> {
    match command {
        TaskDefCommand::Register { file } => {
            let answer = context.api.call(&document::definition(&file)?)?;
            Ok(context.out.print(&answer, |_| format!("registered {}", name(answer.task_definition.as_ref())))?)
        }
        TaskDefCommand::List { family, inactive } => list(context, family, inactive),
        TaskDefCommand::Describe { name } => describe(context, &name),
        TaskDefCommand::Deregister { names } => deregister(context, names),
    }
}

/// `FAMILY:REVISION`.
fn name(definition: Option<&TaskDefinition>) -> String {
    or_dash(definition.and_then(|d| d.task_definition_arn.as_deref()).map(tail))
}

fn list(context: &Context, family: Option<String>, inactive: bool) -> Result<(), Fault> {
    let status = if inactive { TaskDefinitionStatus::Inactive } else { TaskDefinitionStatus::Active };
    let mut request = ListTaskDefinitionsRequest {
        family_prefix: family,
        status: Some(status),
        sort: Some(SortOrder::Asc),
        ..ListTaskDefinitionsRequest::default()
    };
    let mut arns = Vec::new();
    loop {
        let page = context.api.call(&request)?;
        arns.extend(page.task_definition_arns.unwrap_or_default());
        request.next_token = page.next_token;
        if request.next_token.is_none() {
            break;
        }
    }
    let answer = ListTaskDefinitionsResponse { task_definition_arns: Some(arns), next_token: None };
    Ok(context.out.print(&answer, |_| {
        let rows = answer.task_definition_arns.iter().flatten().map(|arn| vec![tail(arn).to_owned(), arn.clone()]);
        table(&["DEFINITION", "ARN"], rows.collect())
    })?)
}

/// Asks for a definition.
pub(super) fn find(context: &Context, name: &str) -> Result<DescribeTaskDefinitionResponse, Fault> {
    Ok(context.api.call(&DescribeTaskDefinitionRequest {
        task_definition: Some(name.to_owned()),
        include: Some(vec![TaskDefinitionField::Tags]),
    })?)
}

/// Prints everything about a definition.
pub(super) fn describe(context: &Context, name: &str) -> Result<(), Fault> {
    let answer = find(context, name)?;
    Ok(context.out.print(&answer, |out| facts(out, &answer).render())?)
}

fn facts(out: &Out, answer: &DescribeTaskDefinitionResponse) -> Facts {
    let mut facts = Facts::default();
    let definition = answer.task_definition.clone().unwrap_or_default();
    facts.add(0, "Task definition", Some(name(Some(&definition))));
    facts.add(0, "ARN", definition.task_definition_arn.as_deref());
    facts.add(0, "Status", definition.status.as_ref().map(|s| s.as_str()));
    facts.add(0, "Registered", out.time(definition.registered_at));
    facts.add(0, "Deregistered", out.time(definition.deregistered_at));
    facts.add(0, "Network mode", definition.network_mode.as_ref().map(|m| m.as_str()));
    facts.add(0, "CPU units", definition.cpu.as_deref());
    facts.add(0, "Memory", definition.memory.as_ref().map(|m| format!("{m} MiB")));
    for volume in definition.volumes.iter().flatten() {
        let source = volume.host.as_ref().and_then(|h| h.source_path.as_deref()).unwrap_or("(made for the task)");
        facts.add(0, &format!("Volume {}", volume.name.as_deref().unwrap_or("?")), Some(source));
    }
    for constraint in definition.placement_constraints.iter().flatten() {
        facts.add(0, "Runs where", constraint.expression.as_deref());
    }
    for container in definition.container_definitions.iter().flatten() {
        container_facts(&mut facts, container);
    }
    super::describe::tags(&mut facts, answer.tags.as_deref());
    facts
}

fn container_facts(facts: &mut Facts, container: &ContainerDefinition) {
    facts.heading(0, &format!("Container {}", container.name.as_deref().unwrap_or("?")));
    facts.add(1, "Image", container.image.as_deref());
    facts.add(1, "Essential", container.essential.map(|e| if e { "yes" } else { "no" }));
    facts.add(1, "CPU units", container.cpu.filter(|c| *c > 0).map(|c| c.to_string()));
    facts.add(1, "Memory limit", container.memory.map(|m| format!("{m} MiB")));
    facts.add(1, "Memory reservation", container.memory_reservation.map(|m| format!("{m} MiB")));
    facts.add(1, "Entry point", container.entry_point.as_ref().map(|w| w.join(" ")));
    facts.add(1, "Command", container.command.as_ref().map(|w| w.join(" ")));
    facts.add(1, "User", container.user.as_deref());
    let ports: Vec<String> = container.port_mappings.iter().flatten().map(port).collect();
    facts.add(1, "Ports", Some(ports.join(", ")));
    for mount in container.mount_points.iter().flatten() {
        let access = if mount.read_only == Some(true) { " (read-only)" } else { "" };
        let (volume, path) = (or_dash(mount.source_volume.as_deref()), or_dash(mount.container_path.as_deref()));
        facts.add(1, "Mount", Some(format!("{volume} at {path}{access}")));
    }
    // Names only: a value may be a secret, and this goes to screens. `--json` shows all.
    let names: Vec<&str> =
        container.environment.iter().flatten().filter_map(|v: &KeyValuePair| v.name.as_deref()).collect();
    facts.add(1, "Environment", Some(names.join(", ")));
}

fn port(mapping: &PortMapping) -> String {
    let protocol = mapping.protocol.as_ref().map_or("tcp", |p| p.as_str());
    let single = || mapping.container_port.unwrap_or_default().to_string();
    let container = mapping.container_port_range.clone().unwrap_or_else(single);
    match mapping.host_port.filter(|p| *p > 0) {
        Some(host) => format!("{host}->{container}/{protocol}"),
        None => format!("dynamic->{container}/{protocol}"),
    }
}

/// What was deregistered, for programs: DeregisterTaskDefinition answers with one at a time.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Deregistered {
    task_definitions: Vec<TaskDefinition>,
}

fn deregister(context: &Context, names: Vec<String>) -> Result<(), Fault> {
    let mut gone = Deregistered { task_definitions: Vec::new() };
    let mut result = Ok(());
    for name in names {
        match context.api.call(&DeregisterTaskDefinitionRequest { task_definition: Some(name) }) {
            Ok(answer) => gone.task_definitions.extend(answer.task_definition),
            Err(error) => {
                result = Err(error.into());
                break;
            }
        }
    }
    context.out.print(&gone, |_| {
        let line = |d: &TaskDefinition| format!("deregistered {}", name(Some(d)));
        gone.task_definitions.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    result
}
