//! `longshore top`: what hosts and tasks use, the hungriest first.

use super::Context;
use crate::args::TopArgs;
use crate::fault::Fault;
use crate::names::{HostNames, host_name, short_id, tail};
use crate::output::{dash, or_dash, table};
use longshore_ecs_api::enums::DesiredStatus;
use longshore_ecs_api::requests::ListTasksRequest;
use longshore_ecs_api::types::{Attachment, ContainerInstance, Task};
use serde::Serialize;
use std::io::IsTerminal as _;
use std::time::Duration;

/// The type of the attachments with figures.
const USAGE: &str = "longshore.usage";
/// Puts the cursor into the corner and clears the screen from there.
const CLEAR: &str = "\x1b[H\x1b[J";

/// What is printed for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Looked {
    container_instances: Vec<ContainerInstance>,
    tasks: Vec<Task>,
}

/// The figures of an attachment.
struct Used {
    cpu_units: u64,
    memory_kib: u64,
}

/// Carries out `top`.
pub(super) fn execute(context: &Context, args: &TopArgs) -> Result<(), Fault> {
    if args.once || context.out.is_json() || !std::io::stdout().is_terminal() {
        let looked = look(context)?;
        return Ok(context.out.print(&looked, |_| text(&looked))?);
    }
    loop {
        let looked = look(context)?;
        context.out.text(&format!("{CLEAR}{}", text(&looked)))?;
        std::thread::sleep(Duration::from_secs(args.every));
    }
}

fn look(context: &Context) -> Result<Looked, Fault> {
    let cluster = context.api.cluster().to_owned();
    let hosts = context.api.host_arns(&cluster, None, None)?;
    let (container_instances, _) = context.api.hosts_with_usage(&cluster, &hosts)?;
    let filter = ListTasksRequest { cluster: Some(cluster.clone()), ..ListTasksRequest::default() };
    let arns = context.api.task_arns(&filter, &[DesiredStatus::Running])?;
    let (tasks, _) = context.api.tasks_with_usage(&cluster, &arns)?;
    Ok(Looked { container_instances, tasks })
}

/// Two tables: hosts, and tasks.
fn text(looked: &Looked) -> String {
    let mut hosts: Vec<(Option<Used>, Vec<String>)> = looked.container_instances.iter().map(host_row).collect();
    let mut names = HostNames::new();
    for host in &looked.container_instances {
        names.extend(host.container_instance_arn.clone().map(|arn| (arn, host_name(host))));
    }
    let mut tasks: Vec<_> = looked.tasks.iter().map(|task| task_row(task, &names)).collect();
    // Those without figures last.
    let order = |used: &Option<Used>| std::cmp::Reverse(used.as_ref().map(|used| (used.cpu_units, used.memory_kib)));
    hosts.sort_by_key(|(used, _)| order(used));
    tasks.sort_by_key(|(used, _)| order(used));
    let rows = |all: Vec<(Option<Used>, Vec<String>)>| all.into_iter().map(|(_, row)| row).collect();
    let hosts = table(&["HOST", "CPU", "CPU%", "MEMORY", "MEM%", "TASKS"], rows(hosts));
    let tasks = table(&["TASK", "DEFINITION", "GROUP", "HOST", "CPU", "MEMORY"], rows(tasks));
    format!("{hosts}\n\n{tasks}")
}

fn host_row(host: &ContainerInstance) -> (Option<Used>, Vec<String>) {
    let used = used(host.attachments.as_deref());
    let total = |name: &str| {
        let mut all = host.registered_resources.iter().flatten();
        let found = all.find(|resource| resource.name.as_deref() == Some(name));
        found.and_then(|resource| u64::try_from(resource.integer_value?).ok())
    };
    let percent = |used: Option<u64>, all: Option<u64>| {
        let share = used.zip(all.filter(|all| *all > 0)).map(|(used, all)| used * 100 / all);
        share.map_or_else(dash, |share| format!("{share}%"))
    };
    let row = vec![
        host_name(host),
        cpu(used.as_ref()),
        percent(used.as_ref().map(|used| used.cpu_units), total("CPU")),
        memory(used.as_ref()),
        percent(used.as_ref().map(|used| used.memory_kib / 1024), total("MEMORY")),
        host.running_tasks_count.map_or_else(dash, |count| count.to_string()),
    ];
    (used, row)
}

fn task_row(task: &Task, hosts: &HostNames) -> (Option<Used>, Vec<String>) {
    let used = used(task.attachments.as_deref());
    let host = task.container_instance_arn.as_deref();
    let row = vec![
        or_dash(task.task_arn.as_deref().map(short_id)),
        or_dash(task.task_definition_arn.as_deref().map(tail)),
        or_dash(task.group.as_deref()),
        host.map_or_else(dash, |arn| hosts.get(arn).cloned().unwrap_or_else(|| short_id(arn).to_owned())),
        cpu(used.as_ref()),
        memory(used.as_ref()),
    ];
    (used, row)
}

fn used(attachments: Option<&[Attachment]>) -> Option<Used> {
    let attachment = attachments?.iter().find(|attachment| attachment.r#type.as_deref() == Some(USAGE))?;
    let number = |name: &str| {
        let mut details = attachment.details.iter().flatten();
        details.find(|detail| detail.name.as_deref() == Some(name))?.value.as_deref()?.parse().ok()
    };
    Some(Used { cpu_units: number("cpuUnits")?, memory_kib: number("memoryKib")? })
}

fn cpu(used: Option<&Used>) -> String {
    used.map_or_else(dash, |used| used.cpu_units.to_string())
}

fn memory(used: Option<&Used>) -> String {
    used.map_or_else(dash, |used| format!("{:.1} MiB", used.memory_kib as f64 / 1024.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hungriest_come_first_and_those_without_figures_last() {
        let usage = |cpu: u32, kib: u32| {
            let detail = |name: &str, value: u32| serde_json::json!({"name": name, "value": value.to_string()});
            serde_json::json!({"type": USAGE, "details": [detail("cpuUnits", cpu), detail("memoryKib", kib)]})
        };
        let looked = Looked {
            container_instances: serde_json::from_value(serde_json::json!([{
                "containerInstanceArn": "arn:i/1", "ec2InstanceId": "rack1", "runningTasksCount": 3,
                "attachments": [usage(512, 512 * 1024)],
                "registeredResources": [{"name": "CPU", "integerValue": 2048},
                    {"name": "MEMORY", "integerValue": 1024}],
            }]))
            .expect("hosts"),
            tasks: serde_json::from_value(serde_json::json!([
                {"taskArn": "arn:t/a", "group": "service:web", "containerInstanceArn": "arn:i/1"},
                {"taskArn": "arn:t/b", "attachments": [usage(3, 9)]},
                {"taskArn": "arn:t/c", "attachments": [{"type": "eni"}, usage(30, 1536)]},
            ]))
            .expect("tasks"),
        };
        let text = text(&looked);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["rack1", "512", "25%", "512.0", "MiB", "50%", "3"]);
        let tasks: Vec<&str> = lines[4..].iter().map(|line| line[0]).collect();
        assert_eq!(tasks, ["c", "b", "a"], "{text}");
        assert_eq!(lines[4][4..], ["30", "1.5", "MiB"]);
        assert_eq!(lines[6][3..], ["rack1", "-", "-"]);
    }
}
