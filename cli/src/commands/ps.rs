//! `longshore ps`, and the table of tasks that other commands print too.

use super::Context;
use crate::args::PsArgs;
use crate::fault::Fault;
use crate::names::{self, HostNames, host_names, short_id, tail};
use crate::output::{Out, dash, or_dash, table};
use longshore_ecs_api::enums::DesiredStatus;
use longshore_ecs_api::requests::ListTasksRequest;
use longshore_ecs_api::responses::DescribeTasksResponse;
use longshore_ecs_api::types::{NetworkBinding, Task};

/// Carries out `ps`.
pub(super) fn execute(context: &Context, args: &PsArgs) -> Result<(), Fault> {
    let mut cluster = context.api.cluster().to_owned();
    let host = args.host.as_deref().map(|text| names::host(&context.api, text)).transpose()?;
    if let Some(host) = &host {
        cluster.clone_from(&host.cluster);
    }
    let filter = ListTasksRequest {
        cluster: Some(cluster.clone()),
        family: args.family.clone(),
        container_instance: host.map(|h| h.id),
        started_by: args.started_by.clone(),
        service_name: args.service.clone(),
        ..ListTasksRequest::default()
    };
    let all = [DesiredStatus::Running, DesiredStatus::Stopped];
    let statuses = if args.all { &all[..] } else { &all[..1] };
    let arns = context.api.task_arns(&filter, statuses)?;
    // A task that ended between the two calls is in `failures`, and rightly no longer listed.
    let (mut tasks, failures) = context.api.tasks(&cluster, &arns)?;
    tasks.sort_by_key(|t| std::cmp::Reverse(t.created_at.map(|at| at.millis())));
    let hosts = if context.out.is_json() {
        HostNames::new()
    } else {
        host_names(&context.api, &cluster, tasks.iter().filter_map(|t| t.container_instance_arn.as_deref()))?
    };
    let answer = DescribeTasksResponse { tasks: Some(tasks), failures: Some(failures) };
    Ok(context.out.print(&answer, |out| tasks_table(out, answer.tasks.as_deref().unwrap_or_default(), &hosts))?)
}

/// A line per task. The columns that only stopped tasks have are there if one is stopped.
pub(super) fn tasks_table(out: &Out, tasks: &[Task], hosts: &HostNames) -> String {
    let over = tasks.iter().any(|t| t.stopped_reason.is_some());
    let mut header = vec!["TASK", "DEFINITION", "STATUS", "HOST", "PORTS", "AGE"];
    if over {
        header.extend(["EXIT", "REASON"]);
    }
    let row = |task: &Task| {
        let arn = task.container_instance_arn.as_deref();
        let mut row = vec![
            or_dash(task.task_arn.as_deref().map(short_id)),
            or_dash(task.task_definition_arn.as_deref().map(tail)),
            status(task),
            arn.map_or_else(dash, |arn| hosts.get(arn).cloned().unwrap_or_else(|| short_id(arn).to_owned())),
            ports(task),
            out.age(task.created_at),
        ];
        if over {
            row.extend([exits(task), or_dash(task.stopped_reason.as_deref())]);
        }
        row
    };
    table(&header, tasks.iter().map(row).collect())
}

/// The last status, and where it is going if that is elsewhere.
pub(super) fn status(task: &Task) -> String {
    let last = or_dash(task.last_status.as_deref());
    let stopping = task.desired_status.as_deref() == Some("STOPPED") && last != "STOPPED";
    let away = task.connectivity.as_ref().is_some_and(|c| c.as_str() == "DISCONNECTED");
    match (stopping, away && last != "STOPPED") {
        (true, _) => format!("{last} (stopping)"),
        (false, true) => format!("{last} (host away)"),
        (false, false) => last,
    }
}

fn ports(task: &Task) -> String {
    let bindings = task.containers.iter().flatten().flat_map(|c| c.network_bindings.iter().flatten());
    let mut texts: Vec<String> = bindings.map(binding).collect();
    // IPv4 and IPv6 bindings of one port read the same.
    texts.dedup();
    if texts.is_empty() { dash() } else { texts.join(", ") }
}

/// `32768->80/tcp`, or `30000-30009->80-89/tcp`.
pub(super) fn binding(binding: &NetworkBinding) -> String {
    let port =
        |p: Option<i32>, range: Option<&String>| p.map(|p| p.to_string()).or(range.cloned()).unwrap_or_else(dash);
    let protocol = binding.protocol.as_ref().map_or("tcp", |p| p.as_str());
    let host = port(binding.host_port, binding.host_port_range.as_ref());
    format!("{host}->{}/{protocol}", port(binding.container_port, binding.container_port_range.as_ref()))
}

/// The exit codes; with several containers each with its name.
fn exits(task: &Task) -> String {
    let containers: Vec<_> = task.containers.iter().flatten().collect();
    match containers.as_slice() {
        [one] => one.exit_code.map_or_else(dash, |code| code.to_string()),
        many => {
            let exit = |c: &&longshore_ecs_api::types::Container| {
                Some(format!("{}:{}", c.name.as_deref().unwrap_or("?"), c.exit_code?))
            };
            let texts: Vec<String> = many.iter().filter_map(exit).collect();
            if texts.is_empty() { dash() } else { texts.join(" ") }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Output;
    use longshore_ecs_api::EpochSeconds;

    #[test]
    fn a_line_per_task() {
        let out = Out::new(Output::Table, jiff::Timestamp::from_second(1_000).expect("time"));
        let task = |json: serde_json::Value| -> Task { serde_json::from_value(json).expect("a task") };
        let running = task(serde_json::json!({
            "taskArn": "arn:aws:ecs:lab:1:task/c/0123456789abcdef0123456789abcdef", "lastStatus": "RUNNING",
            "taskDefinitionArn": "arn:aws:ecs:lab:1:task-definition/web:3", "desiredStatus": "STOPPED",
            "containerInstanceArn": "arn:i/1", "createdAt": 880,
            "containers": [{"name": "web", "networkBindings": [
                {"bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 32768, "protocol": "tcp"},
                {"bindIP": "::", "containerPort": 80, "hostPort": 32768, "protocol": "tcp"}]}]}));
        let stopped = task(serde_json::json!({
            "taskArn": "arn:aws:ecs:lab:1:task/c/ffff456789abcdef0123456789abcdef", "lastStatus": "STOPPED",
            "stoppedReason": "Essential container in task exited",
            "containers": [{"name": "a", "exitCode": 3}, {"name": "b"}]}));
        let hosts = HostNames::from([("arn:i/1".to_owned(), "rack1".to_owned())]);
        assert_eq!(
            tasks_table(&out, std::slice::from_ref(&running), &hosts),
            "TASK          DEFINITION  STATUS              HOST   PORTS          AGE\n\
             0123456789ab  web:3       RUNNING (stopping)  rack1  32768->80/tcp  2m"
        );
        let both = tasks_table(&out, &[running, stopped], &hosts);
        assert!(both.contains("EXIT") && both.contains("a:3") && both.contains("Essential container"), "{both}");
        assert_eq!(out.age(Some(EpochSeconds(999.5))), "0s");
    }
}
