//! `longshore schedule`: tasks by the clock, which to the API are schedules of EventBridge Scheduler.

use super::{Context, run};
use crate::args::{RunArgs, ScheduleCommand, ScheduleCreateArgs};
use crate::fault::Fault;
use crate::names::tail;
use crate::output::{Facts, Out, dash, or_dash, table};
use longshore_ecs_api::EpochSeconds;
use longshore_ecs_api::requests::{DescribeClustersRequest, RunTaskRequest};
use longshore_ecs_api::scheduler::{
    Done, FlexibleTimeWindow, ListSchedulesResponse, RetryPolicy, ScheduleMade, ScheduleRequest, ScheduleShown,
    SchedulerOperation as Op, Target,
};
use longshore_ecs_api::target::{AwsVpcConfiguration, EcsParameters, NetworkConfiguration};
use serde::Serialize;
use std::collections::BTreeMap;

/// Scheduler requires a role; nothing here depends on it.
const ROLE: &str = "longshore-schedule";

/// A schedule as people name it: `NAME` or `GROUP/NAME`.
struct Named<'a> {
    group: Option<&'a str>,
    name: &'a str,
}

impl<'a> Named<'a> {
    fn of(text: &'a str) -> Self {
        match text.split_once('/') {
            Some((group, name)) => Self { group: Some(group), name },
            None => Self { group: None, name: text },
        }
    }

    fn query(&self) -> Vec<(&'static str, &'a str)> {
        self.group.map(|group| ("groupName", group)).into_iter().collect()
    }
}

/// Carries out a `schedule` command.
pub(super) fn execute(context: &Context, command: ScheduleCommand) -> Result<(), Fault> {
    match command {
        ScheduleCommand::Create(args) => create(context, *args),
        ScheduleCommand::List { group } => list(context, group.as_deref()),
        ScheduleCommand::Describe { names } => describe(context, &names),
        ScheduleCommand::Enable { names } => switch(context, &names, "ENABLED"),
        ScheduleCommand::Disable { names } => switch(context, &names, "DISABLED"),
        ScheduleCommand::Delete { names } => {
            for name in &names {
                let named = Named::of(name);
                let none: Option<&Done> = None;
                let _: Done = context.api.scheduler(Op::DeleteSchedule, Some(named.name), &named.query(), none)?;
            }
            changed(context, names, "is deleted")
        }
    }
}

fn get(context: &Context, named: &Named<'_>) -> Result<ScheduleShown, Fault> {
    let none: Option<&Done> = None;
    Ok(context.api.scheduler(Op::GetSchedule, Some(named.name), &named.query(), none)?)
}

fn create(context: &Context, args: ScheduleCreateArgs) -> Result<(), Fault> {
    let moment = |at: jiff::Timestamp| EpochSeconds::from_millis(at.as_millisecond());
    let newest = !args.what.contains(':') && !crate::document::is_file(&args.what);
    let run = run::request(
        context,
        RunArgs {
            what: args.what,
            count: args.count,
            container: args.container,
            command: None,
            env: args.env,
            exec: false,
            constraint: args.constraint,
            strategy: Vec::new(),
            group: args.group,
            started_by: None,
            wait: None,
            args: args.args,
        },
    )?;
    let policy = RetryPolicy {
        maximum_event_age_in_seconds: args.max_age.map(i64::from),
        maximum_retry_attempts: args.retries.map(i64::from),
    };
    let named = Named::of(&args.name);
    let request = ScheduleRequest {
        group_name: named.group.map(str::to_owned),
        schedule_expression: Some(args.when.clone()),
        schedule_expression_timezone: args.timezone,
        start_date: args.start.map(moment),
        end_date: args.end.map(moment),
        description: args.description,
        state: Some(if args.disabled { "DISABLED" } else { "ENABLED" }.to_owned()),
        flexible_time_window: Some(FlexibleTimeWindow {
            mode: Some(if args.window.is_some() { "FLEXIBLE" } else { "OFF" }.to_owned()),
            maximum_window_in_minutes: args.window.map(i64::from),
        }),
        target: Some(target(context, run, newest, policy)?),
        action_after_completion: args.delete_when_over.then(|| "DELETE".to_owned()),
        client_token: Some(uuid::Uuid::new_v4().to_string()),
        ..ScheduleRequest::default()
    };
    let made: ScheduleMade = context.api.scheduler(Op::CreateSchedule, Some(named.name), &[], Some(&request))?;
    let shown = get(context, &named)?;
    let next = shown.longshore_invocations.and_then(|invocations| invocations.next);
    Ok(context.out.print(&made, |out| {
        let next = out.time(next).map(|next| format!("; it fires next {next}")).unwrap_or_default();
        format!("schedule {} is there{next}", args.name)
    })?)
}

/// The target that starts what a request of RunTask would. With `newest` it is the family's newest revision each time.
fn target(context: &Context, run: RunTaskRequest, newest: bool, policy: RetryPolicy) -> Result<Target, Fault> {
    let cluster = cluster_arn(context, run.cluster.as_deref())?;
    let definition = super::task_def::find(context, run.task_definition.as_deref().unwrap_or_default())?;
    let definition = definition.task_definition.and_then(|d| d.task_definition_arn).unwrap_or_default();
    let definition = match definition.rsplit_once(':') {
        Some((family, _)) if newest => family.to_owned(),
        _ => definition,
    };
    let account = cluster.split(':').nth(4).unwrap_or_default();
    let role_arn = Some(format!("arn:aws:iam::{account}:role/{ROLE}"));
    let vpc = run.network_configuration.and_then(|network| network.awsvpc_configuration);
    let tag = |tag: longshore_ecs_api::types::Tag| {
        let pairs = [("Key", tag.key), ("Value", tag.value)];
        pairs.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?))).collect::<BTreeMap<_, _>>()
    };
    let input = run.overrides.map(|overrides| serde_json::to_string(&overrides)).transpose();
    let input = input.map_err(|source| Fault::Json { path: "overrides".to_owned(), source })?;
    Ok(Target {
        arn: Some(cluster),
        role_arn,
        input,
        retry_policy: Some(policy).filter(|policy| *policy != RetryPolicy::default()),
        ecs_parameters: Some(EcsParameters {
            task_definition_arn: Some(definition),
            task_count: run.count.map(i64::from),
            launch_type: run.launch_type.map(|kind| kind.to_string()),
            network_configuration: vpc.map(|vpc| NetworkConfiguration {
                awsvpc_configuration: Some(AwsVpcConfiguration {
                    subnets: vpc.subnets,
                    security_groups: vpc.security_groups,
                    assign_public_ip: vpc.assign_public_ip.map(|value| value.to_string()),
                }),
            }),
            platform_version: run.platform_version,
            group: run.group,
            capacity_provider_strategy: run.capacity_provider_strategy,
            enable_ecs_managed_tags: run.enable_ecs_managed_tags,
            enable_execute_command: run.enable_execute_command,
            placement_constraints: run.placement_constraints,
            placement_strategy: run.placement_strategy,
            propagate_tags: run.propagate_tags.map(|from| from.to_string()),
            reference_id: run.reference_id,
            tags: run.tags.map(|tags| tags.into_iter().map(tag).collect()),
        }),
        ..Target::default()
    })
}

fn cluster_arn(context: &Context, name: Option<&str>) -> Result<String, Fault> {
    let name = name.unwrap_or_else(|| context.api.cluster());
    let request =
        DescribeClustersRequest { clusters: Some(vec![name.to_owned()]), ..DescribeClustersRequest::default() };
    let answer = context.api.call(&request)?;
    let arn = answer.clusters.into_iter().flatten().find_map(|cluster| cluster.cluster_arn);
    arn.ok_or_else(|| Fault::Missing {
        kind: "cluster",
        name: name.to_owned(),
        place: format!("region {}", context.api.region()),
        hint: "`longshore cluster list` shows those that there are.",
    })
}

/// Says all of a schedule anew, with another state.
fn switch(context: &Context, names: &[String], state: &str) -> Result<(), Fault> {
    for name in names {
        let named = Named::of(name);
        let shown = get(context, &named)?;
        let request = ScheduleRequest {
            name: None,
            group_name: shown.group_name,
            schedule_expression: shown.schedule_expression,
            schedule_expression_timezone: shown.schedule_expression_timezone,
            start_date: shown.start_date,
            end_date: shown.end_date,
            description: shown.description,
            state: Some(state.to_owned()),
            flexible_time_window: shown.flexible_time_window,
            target: shown.target,
            action_after_completion: shown.action_after_completion,
            kms_key_arn: None,
            client_token: None,
        };
        let _: ScheduleMade = context.api.scheduler(Op::UpdateSchedule, Some(named.name), &[], Some(&request))?;
    }
    changed(context, names.to_vec(), if state == "ENABLED" { "is enabled" } else { "is disabled" })
}

/// What was changed, for programs.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Changed {
    schedules: Vec<String>,
}

fn changed(context: &Context, schedules: Vec<String>, what: &str) -> Result<(), Fault> {
    let answer = Changed { schedules };
    Ok(context.out.print(&answer, |_| {
        answer.schedules.iter().map(|name| format!("schedule {name} {what}")).collect::<Vec<_>>().join("\n")
    })?)
}

fn list(context: &Context, group: Option<&str>) -> Result<(), Fault> {
    let mut all = ListSchedulesResponse { schedules: Some(Vec::new()), next_token: None };
    let mut token: Option<String> = None;
    loop {
        let query: Vec<(&str, &str)> = group
            .map(|group| ("ScheduleGroup", group))
            .into_iter()
            .chain(token.as_deref().map(|t| ("NextToken", t)))
            .collect();
        let none: Option<&Done> = None;
        let page: ListSchedulesResponse = context.api.scheduler(Op::ListSchedules, None, &query, none)?;
        all.schedules.get_or_insert_default().extend(page.schedules.unwrap_or_default());
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    if context.out.is_json() {
        return Ok(context.out.print(&all, |_| String::new())?);
    }
    let mut rows = Vec::new();
    for summary in all.schedules.iter().flatten() {
        let named = Named { group: summary.group_name.as_deref(), name: summary.name.as_deref().unwrap_or_default() };
        match get(context, &named) {
            Ok(shown) => rows.push(row(&context.out, &shown)),
            // It was deleted since.
            Err(Fault::Call(error)) if error.code() == Some("ResourceNotFoundException") => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(context.out.text(&table(&["SCHEDULE", "STATE", "WHEN", "ZONE", "NEXT", "LAST", "WAITING"], rows))?)
}

fn full_name(shown: &ScheduleShown) -> String {
    let name = or_dash(shown.name.as_deref());
    match shown.group_name.as_deref() {
        None | Some("default") => name,
        Some(group) => format!("{group}/{name}"),
    }
}

fn row(out: &Out, shown: &ScheduleShown) -> Vec<String> {
    let invocations = shown.longshore_invocations.clone().unwrap_or_default();
    let last = invocations
        .last
        .map(|last| format!("{} {} ago", or_dash(last.outcome.as_deref()).to_lowercase(), out.age(last.ended_at)));
    vec![
        full_name(shown),
        or_dash(shown.state.as_deref()),
        or_dash(shown.schedule_expression.as_deref()),
        or_dash(shown.schedule_expression_timezone.as_deref()),
        out.time(invocations.next).unwrap_or_else(dash),
        last.unwrap_or_else(dash),
        invocations.waiting.map_or(0, |waiting| waiting.len()).to_string(),
    ]
}

fn describe(context: &Context, names: &[String]) -> Result<(), Fault> {
    let all = names.iter().map(|name| get(context, &Named::of(name))).collect::<Result<Vec<_>, _>>()?;
    if context.out.is_json() {
        return Ok(context.out.print(&all, |_| String::new())?);
    }
    let texts: Vec<String> = all.iter().map(|shown| facts(&context.out, shown).render()).collect();
    Ok(context.out.text(&texts.join("\n\n"))?)
}

fn facts(out: &Out, shown: &ScheduleShown) -> Facts {
    let mut facts = Facts::default();
    facts.add(0, "Schedule", Some(full_name(shown)));
    facts.add(0, "ARN", shown.arn.clone());
    facts.add(0, "State", shown.state.clone());
    facts.add(0, "When", shown.schedule_expression.clone());
    facts.add(0, "Zone", shown.schedule_expression_timezone.clone());
    let window = shown.flexible_time_window.as_ref().and_then(|window| window.maximum_window_in_minutes);
    facts.add(0, "Window", window.map(|minutes| format!("{minutes} min")));
    facts.add(0, "Not before", out.time(shown.start_date));
    facts.add(0, "Not after", out.time(shown.end_date));
    facts.add(0, "When over", shown.action_after_completion.clone().filter(|action| action != "NONE"));
    facts.add(0, "Description", shown.description.clone());
    facts.add(0, "Created", out.time(shown.creation_date));
    let target = shown.target.clone().unwrap_or_default();
    let ecs = target.ecs_parameters.unwrap_or_default();
    facts.add(0, "Cluster", target.arn.as_deref().map(tail));
    facts.add(0, "Runs", ecs.task_definition_arn.as_deref().map(tail));
    facts.add(0, "Tasks", ecs.task_count.map(|count| count.to_string()));
    facts.add(0, "Task group", ecs.group);
    facts.add(0, "Overrides", target.input);
    let policy = target.retry_policy.unwrap_or_default();
    facts.add(0, "Given up after", policy.maximum_event_age_in_seconds.map(|secs| format!("{secs} s")));
    facts.add(0, "Retries", policy.maximum_retry_attempts.map(|retries| retries.to_string()));
    let invocations = shown.longshore_invocations.clone().unwrap_or_default();
    facts.add(0, "Next", out.time(invocations.next));
    facts.add(0, "Problem", invocations.problem);
    if let Some(last) = invocations.last {
        facts.heading(0, "Last");
        facts.add(1, "For", out.time(last.scheduled_time));
        facts.add(1, "Outcome", last.outcome);
        facts.add(1, "Ended", out.time(last.ended_at));
        facts.add(1, "Reason", last.reason);
        let tasks: Vec<&str> = last.task_arns.iter().flatten().map(|arn| tail(arn)).collect();
        facts.add(1, "Started", Some(tasks.join(", ")));
    }
    for waiting in invocations.waiting.iter().flatten() {
        facts.heading(0, "Waiting");
        facts.add(1, "For", out.time(waiting.scheduled_time));
        facts.add(1, "Attempts", waiting.attempts.map(|count| count.to_string()));
        facts.add(1, "Next attempt", out.time(waiting.next_attempt));
        facts.add(1, "Reason", waiting.reason.clone());
    }
    facts
}
