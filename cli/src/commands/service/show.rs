//! Services for people.

use crate::names::tail;
use crate::output::{Facts, Out, or_dash, table};
use longshore_ecs_api::types::{Deployment, Service, TaskSet};

/// Events that `describe` shows.
const EVENTS: usize = 10;

/// A line per service.
pub(super) fn table_of(out: &Out, services: &[Service]) -> String {
    let row = |service: &Service| {
        let count = |n: Option<i32>| n.unwrap_or_default().to_string();
        vec![
            or_dash(service.service_name.as_deref()),
            or_dash(service.task_definition.as_deref().map(tail)),
            or_dash(service.status.as_deref()),
            format!("{}/{}", count(service.running_count), count(service.desired_count)),
            count(service.pending_count),
            deployment(service),
            out.age(service.created_at),
        ]
    };
    let header = ["SERVICE", "DEFINITION", "STATUS", "RUNNING", "PENDING", "DEPLOYMENT", "AGE"];
    table(&header, services.iter().map(row).collect())
}

/// How far the newest deployment is.
fn deployment(service: &Service) -> String {
    let newest = service.deployments.iter().flatten().next();
    or_dash(newest.and_then(|newest| newest.rollout_state.as_ref()).map(|state| state.as_str()))
}

/// Everything about a service.
pub(super) fn facts(out: &Out, service: &Service) -> Facts {
    let mut facts = Facts::default();
    facts.add(0, "Service", service.service_name.as_deref());
    facts.add(0, "ARN", service.service_arn.as_deref());
    facts.add(0, "Status", service.status.as_deref());
    facts.add(0, "Definition", service.task_definition.as_deref().map(tail));
    facts.add(0, "Scheduling", service.scheduling_strategy.as_ref().map(|s| s.as_str()));
    facts.add(0, "Desired", service.desired_count.map(|n| n.to_string()));
    facts.add(0, "Running", service.running_count.map(|n| n.to_string()));
    facts.add(0, "Pending", service.pending_count.map(|n| n.to_string()));
    let controller = service.deployment_controller.as_ref().and_then(|controller| controller.r#type.as_ref());
    facts.add(0, "Controller", controller.map(|controller| controller.as_str()));
    if let Some(configuration) = &service.deployment_configuration {
        let percent = |n: Option<i32>| n.map(|n| format!("{n} %"));
        facts.add(0, "Minimum healthy", percent(configuration.minimum_healthy_percent));
        facts.add(0, "Maximum", percent(configuration.maximum_percent));
        let breaker = configuration.deployment_circuit_breaker.as_ref();
        let breaker = breaker.map(|breaker| match (breaker.enable, breaker.rollback) {
            (Some(true), Some(true)) => "on, with rollback",
            (Some(true), Some(false) | None) => "on",
            (Some(false) | None, _) => "off",
        });
        facts.add(0, "Circuit breaker", breaker);
    }
    facts.add(
        0,
        "Health grace",
        service.health_check_grace_period_seconds.filter(|n| *n > 0).map(|n| format!("{n} s")),
    );
    for constraint in service.placement_constraints.iter().flatten() {
        let kind = constraint.r#type.as_ref().map(|kind| kind.as_str());
        facts.add(0, "Runs where", constraint.expression.as_deref().or(kind));
    }
    for strategy in service.placement_strategy.iter().flatten() {
        let kind = strategy.r#type.as_ref().map_or("?", |kind| kind.as_str());
        let field = strategy.field.as_ref().map(|field| format!(":{field}")).unwrap_or_default();
        facts.add(0, "Placed", Some(format!("{kind}{field}")));
    }
    facts.add(0, "Commands in containers", service.enable_execute_command.filter(|on| *on).map(|_| "yes"));
    facts.add(0, "Created", out.time(service.created_at));
    for deployment in service.deployments.iter().flatten() {
        deployment_facts(&mut facts, out, deployment);
    }
    for set in service.task_sets.iter().flatten() {
        set_facts(&mut facts, out, set);
    }
    let events: Vec<_> = service.events.iter().flatten().take(EVENTS).collect();
    if !events.is_empty() {
        facts.heading(0, "Events");
    }
    for event in events {
        facts.add(1, &format!("{} ago", out.age(event.created_at)), event.message.as_deref());
    }
    crate::commands::describe::tags(&mut facts, service.tags.as_deref());
    facts
}

fn deployment_facts(facts: &mut Facts, out: &Out, deployment: &Deployment) {
    facts.heading(0, &format!("Deployment {}", deployment.id.as_deref().unwrap_or("?")));
    facts.add(1, "Status", deployment.status.as_deref());
    facts.add(1, "Definition", deployment.task_definition.as_deref().map(tail));
    facts.add(1, "Tasks", Some(numbers(deployment)));
    facts.add(1, "State", deployment.rollout_state.as_ref().map(|state| state.as_str()));
    facts.add(1, "Because", deployment.rollout_state_reason.as_deref());
    facts.add(1, "Created", out.time(deployment.created_at));
}

/// The tasks of a deployment.
fn numbers(deployment: &Deployment) -> String {
    let count = |n: Option<i32>| n.unwrap_or_default();
    format!(
        "{} of {} running, {} pending, {} failed",
        count(deployment.running_count),
        count(deployment.desired_count),
        count(deployment.pending_count),
        count(deployment.failed_tasks)
    )
}

fn set_facts(facts: &mut Facts, out: &Out, set: &TaskSet) {
    facts.heading(0, &format!("Task set {}", set.id.as_deref().unwrap_or("?")));
    facts.add(1, "Status", set.status.as_deref());
    facts.add(1, "External id", set.external_id.as_deref());
    facts.add(1, "Definition", set.task_definition.as_deref().map(tail));
    facts.add(1, "Scale", set.scale.as_ref().and_then(|scale| scale.value).map(|value| format!("{value} %")));
    let count = |n: Option<i32>| n.unwrap_or_default();
    let tasks = format!(
        "{} of {} running, {} pending",
        count(set.running_count),
        count(set.computed_desired_count),
        count(set.pending_count)
    );
    facts.add(1, "Tasks", Some(tasks));
    facts.add(1, "Stability", set.stability_status.as_ref().map(|status| status.as_str()));
    facts.add(1, "Created", out.time(set.created_at));
}
