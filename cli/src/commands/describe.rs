//! `longshore describe`: finds out what a name means and prints everything about it.

use super::{Context, cluster, host, ps, service, task_def};
use crate::args::{DescribeArgs, Kind};
use crate::fault::Fault;
use crate::names::{self, Named, all_there, host_name, short_id};
use crate::output::{Facts, Out};
use longshore_ecs_api::responses::DescribeTasksResponse;
use longshore_ecs_api::types::{Container, ContainerInstance, Tag, Task};
use longshore_model::Arn;
use longshore_model::arn::Resource;

/// Carries out `describe`.
pub(super) fn execute(context: &Context, args: &DescribeArgs) -> Result<(), Fault> {
    let name = args.name.as_str();
    match args.kind.or_else(|| by_form(name)) {
        Some(Kind::Task) => describe_task(context, &names::task(&context.api, name)?),
        Some(Kind::Host) => host::describe(context, &[names::host(&context.api, name)?]),
        Some(Kind::Cluster) => describe_cluster(context, name),
        Some(Kind::Service) => service::describe_one(context, name),
        Some(Kind::TaskDef) => task_def::describe(context, name),
        None => by_looking(context, name),
    }
}

/// What the form alone gives away.
fn by_form(name: &str) -> Option<Kind> {
    match name.parse::<Arn>().ok().map(|arn| arn.resource) {
        Some(Resource::Task(..) | Resource::Container(..)) => Some(Kind::Task),
        Some(Resource::ContainerInstance(..)) => Some(Kind::Host),
        Some(Resource::Cluster(..)) => Some(Kind::Cluster),
        Some(Resource::TaskDefinition(..)) => Some(Kind::TaskDef),
        Some(Resource::Service(..)) => Some(Kind::Service),
        Some(Resource::OfService(..) | Resource::Other(_)) => None,
        None => name.contains(':').then_some(Kind::TaskDef),
    }
}

/// A task, a host, a service, a cluster, the latest of a family: the first that there is.
fn by_looking(context: &Context, name: &str) -> Result<(), Fault> {
    match names::task(&context.api, name) {
        Ok(task) => {
            let (found, _) = context.api.tasks_with_history(&task.cluster, std::slice::from_ref(&task.id))?;
            if !found.is_empty() {
                return print_tasks(context, &task.cluster, found);
            }
        }
        Err(Fault::Missing { .. }) => {}
        // The cluster that would be looked in does not exist; what is named may be one that does.
        Err(Fault::Call(error)) if error.code() == Some("ClusterNotFoundException") => {}
        Err(fault) => return Err(fault),
    }
    match names::find_host(&context.api, name) {
        Ok(Some(found)) if !context.api.hosts(&found.cluster, std::slice::from_ref(&found.id))?.0.is_empty() => {
            return host::describe(context, &[found]);
        }
        Ok(_) => {}
        Err(Fault::Call(error)) if error.code() == Some("ClusterNotFoundException") => {}
        Err(fault) => return Err(fault),
    }
    match service::find(context, name) {
        Ok(_) => return service::describe_one(context, name),
        Err(Fault::Missing { .. }) => {}
        Err(Fault::Call(error)) if error.code().is_some() => {}
        Err(fault) => return Err(fault),
    }
    let clusters = cluster::find(context, &[name.to_owned()])?;
    if clusters.clusters.iter().flatten().next().is_some() {
        return Ok(cluster::print_in_full(context, &clusters)?);
    }
    match task_def::describe(context, name) {
        Err(Fault::Call(error)) if error.code().is_some() => Err(Fault::Missing {
            kind: "task, host, service, cluster or task definition",
            name: name.to_owned(),
            place: format!("cluster {} of region {}", context.api.cluster(), context.api.region()),
            hint: "`longshore ps --all`, `host list`, `service list`, `cluster list` and `task-def list` show them.",
        }),
        other => other,
    }
}

fn describe_cluster(context: &Context, name: &str) -> Result<(), Fault> {
    let answer = cluster::find(context, &[name.to_owned()])?;
    all_there("DescribeClusters", answer.failures.as_deref().unwrap_or_default())?;
    Ok(cluster::print_in_full(context, &answer)?)
}

fn describe_task(context: &Context, task: &Named) -> Result<(), Fault> {
    let (tasks, failures) = context.api.tasks_with_history(&task.cluster, std::slice::from_ref(&task.id))?;
    all_there("DescribeTasks", &failures)?;
    print_tasks(context, &task.cluster, tasks)
}

fn print_tasks(context: &Context, cluster: &str, tasks: Vec<Task>) -> Result<(), Fault> {
    let mut arns: Vec<String> = tasks.iter().filter_map(|task| task.container_instance_arn.clone()).collect();
    arns.sort_unstable();
    arns.dedup();
    let hosts = match context.out.is_json() || arns.is_empty() {
        true => Vec::new(),
        false => context.api.hosts(cluster, &arns)?.0,
    };
    let answer = DescribeTasksResponse { tasks: Some(tasks), failures: None };
    Ok(context.out.print(&answer, |out| {
        let text = |task: &Task| {
            let host = hosts.iter().find(|host| host.container_instance_arn == task.container_instance_arn);
            facts(out, task, host).render()
        };
        answer.tasks.iter().flatten().map(text).collect::<Vec<_>>().join("\n\n")
    })?)
}

/// Why it is not known whether a task is as its status says.
fn doubt(out: &Out, task: &Task, host: &ContainerInstance) -> Option<String> {
    if task.last_status.as_deref() == Some("STOPPED") {
        return None;
    }
    let checks = host.health_status.as_ref().into_iter().flat_map(|health| health.details.iter().flatten());
    let impaired = checks
        .filter(|check| check.r#type.as_ref().is_some_and(|kind| kind.as_str() == "CONTAINER_RUNTIME"))
        .find(|check| check.status.as_ref().is_some_and(|status| status.as_str() == "IMPAIRED"));
    if host.agent_connected == Some(false) {
        return Some("unknown: nothing is heard of its host's agent; the status is what it said last".to_owned());
    }
    let since = out.time(impaired?.last_status_change).map(|at| format!(" since {at}")).unwrap_or_default();
    let why = impaired?.status_reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    Some(format!("unknown{since}{why}; the status is what the host's container engine said last"))
}

fn facts(out: &Out, task: &Task, host: Option<&ContainerInstance>) -> Facts {
    let named = || task.container_instance_arn.as_deref().map(|arn| short_id(arn).to_owned());
    let mut facts = Facts::default();
    facts.add(0, "Task", task.task_arn.as_deref());
    facts.add(0, "Definition", task.task_definition_arn.as_deref().map(names::tail));
    facts.add(0, "Status", Some(ps::status(task)));
    facts.add(0, "State", host.and_then(|host| doubt(out, task, host)));
    facts.add(0, "Host", host.map(host_name).or_else(named));
    facts.add(0, "Group", task.group.as_deref());
    facts.add(0, "Started by", task.started_by.as_deref());
    facts.add(0, "Launch type", task.launch_type.as_ref().map(|t| t.as_str()));
    facts.add(0, "CPU units", task.cpu.as_deref());
    facts.add(0, "Memory", task.memory.as_ref().map(|m| format!("{m} MiB")));
    facts.add(0, "Health", task.health_status.as_ref().map(|h| h.as_str()));
    facts.add(0, "Created", out.time(task.created_at));
    facts.add(0, "Pull began", out.time(task.pull_started_at));
    facts.add(0, "Pull ended", out.time(task.pull_stopped_at));
    facts.add(0, "Started", out.time(task.started_at));
    facts.add(0, "Stopping since", out.time(task.stopping_at));
    facts.add(0, "Stopped", out.time(task.stopped_at));
    facts.add(0, "Stop code", task.stop_code.as_ref().map(|c| c.as_str()));
    facts.add(0, "Stopped because", task.stopped_reason.as_deref());
    for container in task.containers.iter().flatten() {
        container_facts(&mut facts, container);
    }
    history(&mut facts, task);
    tags(&mut facts, task.tags.as_deref());
    facts
}

/// What happened to the task, each with the time since what came before it.
fn history(facts: &mut Facts, task: &Task) {
    let all = task.attachments.iter().flatten().filter(|a| a.r#type.as_deref() == Some("longshore.history"));
    let moments: Vec<(jiff::Timestamp, &str)> = all
        .flat_map(|a| a.details.iter().flatten())
        .filter_map(|pair| Some((pair.name.as_deref()?.parse().ok()?, pair.value.as_deref()?)))
        .collect();
    if moments.is_empty() {
        return;
    }
    facts.heading(0, "History");
    let mut last = None;
    for (at, what) in moments {
        let time = at.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S%.3f").to_string();
        let since = last.map_or(0, |last: jiff::Timestamp| at.as_millisecond().saturating_sub(last.as_millisecond()));
        let since = format!("+{}.{:03} s", since / 1000, since % 1000);
        facts.add(1, &time, Some(format!("{since:>11}  {what}")));
        last = Some(at);
    }
}

fn container_facts(facts: &mut Facts, container: &Container) {
    facts.heading(0, &format!("Container {}", container.name.as_deref().unwrap_or("?")));
    facts.add(1, "Image", container.image.as_deref());
    facts.add(1, "Digest", container.image_digest.as_deref());
    facts.add(1, "Docker id", container.runtime_id.as_deref());
    facts.add(1, "Status", container.last_status.as_deref());
    facts.add(1, "Exit code", container.exit_code.map(|code| code.to_string()));
    facts.add(1, "Reason", container.reason.as_deref());
    for binding in container.network_bindings.iter().flatten() {
        let ip = binding.bind_ip.as_deref().unwrap_or_default();
        facts.add(1, "Port", Some(format!("{ip} {}", ps::binding(binding)).trim().to_owned()));
    }
    for interface in container.network_interfaces.iter().flatten() {
        facts.add(1, "Address", interface.private_ipv4_address.as_deref());
        facts.add(1, "IPv6 address", interface.ipv6_address.as_deref());
    }
}

/// Adds the tags.
pub(super) fn tags(facts: &mut Facts, tags: Option<&[Tag]>) {
    let tags: Vec<&Tag> = tags.unwrap_or_default().iter().collect();
    if tags.is_empty() {
        return;
    }
    facts.heading(0, "Tags");
    for tag in tags {
        facts.add(1, tag.key.as_deref().unwrap_or("?"), Some(tag.value.as_deref().unwrap_or("(empty)")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_recognised() {
        let kind = |name: &str| by_form(name).map(|k| format!("{k:?}"));
        assert_eq!(kind("arn:aws:ecs:lab:123456789012:cluster/prod").as_deref(), Some("Cluster"));
        assert_eq!(kind("arn:aws:ecs:lab:123456789012:task-definition/web:1").as_deref(), Some("TaskDef"));
        assert_eq!(kind("arn:aws:ecs:lab:123456789012:service/prod/web").as_deref(), Some("Service"));
        assert_eq!(kind("web:1").as_deref(), Some("TaskDef"));
        assert_eq!(kind("web"), None);
    }
}
