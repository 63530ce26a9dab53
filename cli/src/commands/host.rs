//! `longshore host`: the container instances of a cluster, as hosts.

use super::Context;
use crate::args::{HostCommand, HostState};
use crate::fault::Fault;
use crate::names::{self, Named, all_there, host_name, short_id};
use crate::output::{Facts, Out, or_dash, table};
use longshore_ecs_api::enums::ContainerInstanceStatus;
use longshore_ecs_api::requests::{DeregisterContainerInstanceRequest, UpdateContainerInstancesStateRequest};
use longshore_ecs_api::responses::{DescribeContainerInstancesResponse, UpdateContainerInstancesStateResponse};
use longshore_ecs_api::types::{Attribute, ContainerInstance, Resource};
use serde::Serialize;
use std::collections::BTreeMap;

/// Container instances that UpdateContainerInstancesState takes at a time.
const UPDATE_LIMIT: usize = 10;

/// What ECS puts before the names of capabilities.
const CAPABILITY_PREFIXES: [&str; 2] = ["com.amazonaws.ecs.capability.", "ecs.capability."];

/// Carries out a `host` command.
pub(super) fn execute(context: &Context, command: HostCommand) -> Result<(), Fault> {
    match command {
        HostCommand::List { filter, status } => list(context, filter.as_deref(), status),
        HostCommand::Describe { hosts } => describe(context, &find(context, &hosts)?),
        HostCommand::Drain { hosts, wait } => {
            let hosts = find(context, &hosts)?;
            set(context, &hosts, ContainerInstanceStatus::Draining)?;
            if wait { empty(context, &hosts) } else { Ok(()) }
        }
        HostCommand::Activate { hosts } => set(context, &find(context, &hosts)?, ContainerInstanceStatus::Active),
        HostCommand::Deregister { hosts, force } => deregister(context, &find(context, &hosts)?, force),
        HostCommand::JoinToken(command) => super::join_token::execute(context, command),
    }
}

fn find(context: &Context, hosts: &[String]) -> Result<Vec<Named>, Fault> {
    hosts.iter().map(|text| names::host(&context.api, text)).collect()
}

fn list(context: &Context, filter: Option<&str>, status: Option<HostState>) -> Result<(), Fault> {
    let status = status.map(|s| match s {
        HostState::Active => ContainerInstanceStatus::Active,
        HostState::Draining => ContainerInstanceStatus::Draining,
    });
    let cluster = context.api.cluster();
    let arns = context.api.host_arns(cluster, filter, status)?;
    let (mut hosts, failures) = context.api.hosts(cluster, &arns)?;
    hosts.sort_by_cached_key(host_name);
    let answer = DescribeContainerInstancesResponse { container_instances: Some(hosts), failures: Some(failures) };
    Ok(context.out.print(&answer, |out| {
        let hosts = answer.container_instances.iter().flatten();
        let header = [
            "HOST",
            "ID",
            "STATUS",
            "AGENT",
            "HEALTH",
            "RUNNING",
            "PENDING",
            "CPU FREE",
            "MEMORY FREE",
            "DISK FREE",
            "AGE",
        ];
        table(&header, hosts.map(|h| row(out, h)).collect())
    })?)
}

fn row(out: &Out, host: &ContainerInstance) -> Vec<String> {
    let count = |n: Option<i32>| n.unwrap_or_default().to_string();
    let free = |name: &str, unit: &str| {
        let (free, all) = (amount(&host.remaining_resources, name), amount(&host.registered_resources, name));
        match (free, all) {
            (Some(free), Some(all)) => format!("{free}/{all}{unit}"),
            (_, _) => crate::output::dash(),
        }
    };
    vec![
        host_name(host),
        or_dash(host.container_instance_arn.as_deref().map(short_id)),
        or_dash(host.status.as_deref()),
        agent(host).to_owned(),
        or_dash(health(host)),
        count(host.running_tasks_count),
        count(host.pending_tasks_count),
        free("CPU", ""),
        free("MEMORY", " MiB"),
        free("DISK", " MiB"),
        out.age(host.registered_at),
    ]
}

fn agent(host: &ContainerInstance) -> &'static str {
    match host.agent_connected {
        Some(true) => "connected",
        Some(false) => "away",
        None => "-",
    }
}

/// The worst of its checks.
fn health(host: &ContainerInstance) -> Option<&str> {
    Some(host.health_status.as_ref()?.overall_status.as_ref()?.as_str())
}

/// Every check on a line, with why it is not well and since when.
fn checks(facts: &mut Facts, out: &Out, host: &ContainerInstance) {
    let Some(status) = &host.health_status else { return };
    facts.heading(0, &format!("Health {}", or_dash(health(host))));
    for check in status.details.iter().flatten() {
        let Some(name) = check.r#type.as_ref() else { continue };
        let found = or_dash(check.status.as_ref().map(|status| status.as_str()));
        let since = out.time(check.last_status_change).map(|at| format!(" since {at}")).unwrap_or_default();
        let why = check.status_reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        facts.add(1, name.as_str(), Some(format!("{found}{since}{why}")));
    }
}

fn resource<'a>(resources: &'a Option<Vec<Resource>>, name: &str) -> Option<&'a Resource> {
    resources.iter().flatten().find(|r| r.name.as_deref() == Some(name))
}

fn amount(resources: &Option<Vec<Resource>>, name: &str) -> Option<i32> {
    resource(resources, name).and_then(|r| r.integer_value)
}

/// Prints everything about the hosts.
pub(super) fn describe(context: &Context, hosts: &[Named]) -> Result<(), Fault> {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for host in hosts {
        let (hosts, missing) = context.api.hosts(&host.cluster, std::slice::from_ref(&host.id))?;
        found.extend(hosts);
        failures.extend(missing);
    }
    let answer = DescribeContainerInstancesResponse { container_instances: Some(found), failures: Some(failures) };
    context.out.print(&answer, |out| {
        let hosts = answer.container_instances.iter().flatten();
        hosts.map(|h| facts(out, h).render()).collect::<Vec<_>>().join("\n\n")
    })?;
    all_there("DescribeContainerInstances", answer.failures.as_deref().unwrap_or_default())
}

fn facts(out: &Out, host: &ContainerInstance) -> Facts {
    let mut facts = Facts::default();
    facts.add(0, "Host", Some(host_name(host)));
    facts.add(0, "ARN", host.container_instance_arn.as_deref());
    facts.add(0, "Status", host.status.as_deref());
    facts.add(0, "Status reason", host.status_reason.as_deref());
    facts.add(0, "Agent", Some(agent(host)));
    facts.add(0, "Registered", out.time(host.registered_at));
    facts.add(0, "Running tasks", host.running_tasks_count.map(|n| n.to_string()));
    facts.add(0, "Pending tasks", host.pending_tasks_count.map(|n| n.to_string()));
    if let Some(versions) = &host.version_info {
        facts.add(0, "Agent version", versions.agent_version.as_deref());
        // ECS's own prefix (`DockerVersion: 20.10.24`) says nothing here.
        let docker = versions.docker_version.as_deref().map(|v| v.trim_start_matches("DockerVersion: "));
        facts.add(0, "Docker version", docker);
    }
    checks(&mut facts, out, host);
    facts.heading(0, "Resources");
    for (title, name, unit) in [("CPU units", "CPU", ""), ("Memory", "MEMORY", " MiB"), ("Disk", "DISK", " MiB")] {
        let all = amount(&host.registered_resources, name);
        let free = amount(&host.remaining_resources, name);
        facts.add(1, title, free.zip(all).map(|(free, all)| format!("{free} of {all}{unit} free")));
    }
    for (title, name) in [("TCP ports in use", "PORTS"), ("UDP ports in use", "PORTS_UDP"), ("GPUs free", "GPU")] {
        let values = resource(&host.remaining_resources, name).and_then(|r| r.string_set_value.as_ref());
        facts.add(1, title, values.map(|v| v.join(" ")));
    }
    attributes(&mut facts, host.attributes.as_deref().unwrap_or_default());
    super::describe::tags(&mut facts, host.tags.as_deref());
    facts
}

/// Attributes with a value one by one; capabilities, which have none, by kind on a line each.
fn attributes(facts: &mut Facts, attributes: &[Attribute]) {
    let name = |a: &Attribute| a.name.clone().unwrap_or_default();
    facts.heading(0, "Attributes");
    let mut valued: Vec<&Attribute> = attributes.iter().filter(|a| a.value.is_some()).collect();
    valued.sort_by_key(|a| name(a));
    for attribute in valued {
        facts.add(1, &name(attribute), attribute.value.as_deref());
    }
    facts.heading(0, "Capabilities");
    let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in attributes.iter().filter(|a| a.value.is_none()).map(name) {
        let short = CAPABILITY_PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(&name);
        let (kind, one) = short.split_once('.').unwrap_or(("others", short));
        kinds.entry(kind.to_owned()).or_default().push(one.to_owned());
    }
    for (kind, mut all) in kinds {
        all.sort();
        facts.add(1, &kind, Some(all.join(" ")));
    }
}

fn set(context: &Context, hosts: &[Named], status: ContainerInstanceStatus) -> Result<(), Fault> {
    let (mut changed, mut failures) = (Vec::new(), Vec::new());
    for group in hosts.chunk_by(|a, b| a.cluster == b.cluster).flat_map(|g| g.chunks(UPDATE_LIMIT)) {
        let answer = context.api.call(&UpdateContainerInstancesStateRequest {
            cluster: group.first().map(|h| h.cluster.clone()),
            container_instances: Some(group.iter().map(|h| h.id.clone()).collect()),
            status: Some(status.clone()),
        })?;
        changed.extend(answer.container_instances.unwrap_or_default());
        failures.extend(answer.failures.unwrap_or_default());
    }
    let answer = UpdateContainerInstancesStateResponse { container_instances: Some(changed), failures: Some(failures) };
    context.out.print(&answer, |_| {
        let line = |h: &ContainerInstance| {
            let tasks = h.running_tasks_count.unwrap_or_default() + h.pending_tasks_count.unwrap_or_default();
            format!("host {} is {} with {tasks} tasks", host_name(h), or_dash(h.status.as_deref()))
        };
        answer.container_instances.iter().flatten().map(line).collect::<Vec<_>>().join("\n")
    })?;
    all_there("UpdateContainerInstancesState", answer.failures.as_deref().unwrap_or_default())
}

/// Waits until no task is left on the hosts.
fn empty(context: &Context, hosts: &[Named]) -> Result<(), Fault> {
    let what = format!("{} to be empty", if hosts.len() == 1 { "the host" } else { "the hosts" });
    crate::wait::until(context.wait, &what, || {
        let mut left = 0;
        for host in hosts {
            let (found, failures) = context.api.hosts(&host.cluster, std::slice::from_ref(&host.id))?;
            all_there("DescribeContainerInstances", &failures)?;
            let tasks = |h: &ContainerInstance| {
                h.running_tasks_count.unwrap_or_default() + h.pending_tasks_count.unwrap_or_default()
            };
            left += found.iter().map(tasks).sum::<i32>();
        }
        Ok(if left == 0 { Ok(()) } else { Err(format!("{left} tasks left; stop them, or wait for their end")) })
    })
}

/// What was taken out, for programs: DeregisterContainerInstance answers with one at a time.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Deregistered {
    container_instances: Vec<ContainerInstance>,
}

fn deregister(context: &Context, hosts: &[Named], force: bool) -> Result<(), Fault> {
    let mut gone = Vec::new();
    let mut result = Ok(());
    for host in hosts {
        let answer = context.api.call(&DeregisterContainerInstanceRequest {
            cluster: Some(host.cluster.clone()),
            container_instance: Some(host.id.clone()),
            force: Some(force),
        });
        match answer {
            Ok(answer) => gone.extend(answer.container_instance),
            Err(error) => {
                result = Err(error.into());
                break;
            }
        }
    }
    let answer = Deregistered { container_instances: gone };
    context.out.print(&answer, |_| {
        let line = |h: &ContainerInstance| format!("host {} is deregistered", host_name(h));
        answer.container_instances.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    result
}
