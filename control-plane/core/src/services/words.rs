//! What services say, in ECS's words: events, reasons, states of rollouts.

use crate::commands::{Refusal, TaskIds};
use crate::records::ServiceKey;
use longshore_model::InstanceId;
use longshore_rollout::Why;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

/// Tasks that one event names at most.
const NAMED: usize = 10;

/// `(service S)`.
fn subject(key: &ServiceKey) -> String {
    format!("(service {})", key.name)
}

fn named(tasks: &TaskIds) -> String {
    let mut text = String::new();
    for task in tasks.iter().take(NAMED) {
        let _ = write!(text, " (task {task})");
    }
    text.trim_start().to_owned()
}

/// Tasks were started.
pub(crate) fn started(key: &ServiceKey, tasks: &TaskIds) -> Option<String> {
    let count = tasks.len();
    (count > 0).then(|| format!("{} has started {count} tasks: {}.", subject(key), named(tasks)))
}

/// Tasks are being stopped.
pub(crate) fn stopped(key: &ServiceKey, tasks: &TaskIds) -> Option<String> {
    let count = tasks.len();
    (count > 0).then(|| format!("{} has stopped {count} running tasks: {}.", subject(key), named(tasks)))
}

/// Everything is as it should be.
pub(crate) fn steady(key: &ServiceKey) -> String {
    format!("{} has reached a steady state.", subject(key))
}

/// A deployment is complete.
pub(crate) fn deployment_completed(key: &ServiceKey, deployment: &str) -> String {
    format!("{} (deployment {deployment}) deployment completed.", subject(key))
}

/// A deployment's circuit breaker opened.
pub(crate) fn deployment_failed(key: &ServiceKey, deployment: &str) -> String {
    format!("{} (deployment {deployment}) deployment failed: tasks failed to start.", subject(key))
}

/// What ran before is brought back.
pub(crate) fn rolling_back(key: &ServiceKey, deployment: &str) -> String {
    format!("{} rolling back to deployment {deployment}.", subject(key))
}

/// The percentages leave no room.
pub(crate) fn stuck(key: &ServiceKey) -> String {
    format!(
        "{} was unable to stop or start tasks during a deployment because of the service deployment configuration. \
         Update the minimumHealthyPercent or maximumPercent value and try again.",
        subject(key)
    )
}

/// The deployment failed, and something waits for a start.
pub(crate) fn halted(key: &ServiceKey, deployment: &str) -> String {
    format!(
        "{} does not start or replace tasks, because (deployment {deployment}) has failed. Update the service, or \
         force a new deployment, to go on.",
        subject(key)
    )
}

/// A service, or a task set, is being deleted, and so many of its tasks have not ended, some of them on silent hosts.
pub(crate) fn deleting(key: &ServiceKey, tasks: usize, silent: usize) -> String {
    let left = match tasks {
        0 => "none of its tasks is left".to_owned(),
        1 => "1 task is left".to_owned(),
        tasks => format!("{tasks} tasks are left"),
    };
    let silent = match silent {
        0 => String::new(),
        silent => format!(", {silent} on container instances that went silent"),
    };
    format!("{} is being deleted: {left}{silent}.", subject(key))
}

/// A service that is being deleted waits for hosts that were given up.
pub(crate) fn waits_for_hosts(key: &ServiceKey, hosts: &BTreeSet<InstanceId>) -> String {
    let named: Vec<String> = hosts.iter().take(NAMED).map(|host| format!("(container-instance {host})")).collect();
    format!(
        "{} waits for the end of its last tasks, of which {} container instances say nothing: {}. Bring them back, or \
         deregister them with force.",
        subject(key),
        hosts.len(),
        named.join(" ")
    )
}

/// Tasks fail again and again.
pub(crate) fn failing(key: &ServiceKey) -> String {
    format!("{} is unable to consistently start tasks successfully.", subject(key))
}

/// A task found no place, and why.
pub(crate) fn unplaced(key: &ServiceKey, reason: &str) -> String {
    format!(
        "{} was unable to place a task because no container instance met all of its requirements. Reason: {reason}",
        subject(key)
    )
}

/// Why a service with the EXTERNAL controller has no tasks, when nobody made any.
pub(crate) fn no_task_set(key: &ServiceKey) -> String {
    format!(
        "{} has no task set: its deployment controller is EXTERNAL, so its tasks are those of task sets.",
        subject(key)
    )
}

/// What is said of a service, said of one of its task sets.
pub(crate) fn of_task_set(key: &ServiceKey, id: &str, message: &str) -> String {
    message.replacen(&subject(key), &format!("(service {}, taskSet {id})", key.name), 1)
}

/// The host that lacks the least, and what it lacks: reasons are in the order in which they are looked at, and the last
/// ones are those of a host that is right in everything else.
pub(crate) fn closest(refusals: &[Refusal]) -> String {
    match refusals.iter().max_by_key(|refusal| refusal.rank) {
        Some(best) => {
            format!("The closest matching (container-instance {}) {}.", best.instance, best.sentence)
        }
        None => "Every container instance took as many tasks as it can.".to_owned(),
    }
}

/// So many hosts went silent at once that their tasks are not replaced.
pub(crate) fn held(key: &ServiceKey, silent: usize, of: u32) -> String {
    format!(
        "{} does not replace the tasks of silent hosts: {silent} of {of} container instances went silent at once, so \
         the fault is rather in the network or the control plane. Bring them back, or deregister those that are gone.",
        subject(key)
    )
}

/// The hosts of some tasks are silent, and not given up yet.
pub(crate) fn waits_for_silent(key: &ServiceKey, left: Duration) -> String {
    format!(
        "{} waits for container instances that went silent: their tasks count as lost in {} s.",
        subject(key),
        left.as_secs_f64().ceil()
    )
}

/// Whether an event tells that everything is as it should be.
pub(crate) fn is_steady(message: &str) -> bool {
    message.ends_with(" has reached a steady state.")
}

/// Whether an event tells that a deployment is complete.
pub(crate) fn is_completion(message: &str) -> bool {
    message.ends_with(" deployment completed.")
}

/// Whether an event tells of something that moved, so that what was said before may be said again.
pub(crate) fn is_progress(message: &str) -> bool {
    [
        " has started ",
        " has stopped ",
        " has reached a steady state",
        " deployment completed",
        " deployment failed",
        " rolling back to deployment ",
    ]
    .iter()
    .any(|part| message.contains(part))
}

/// What ECS calls a message that it sends as an event of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Action<'a> {
    /// `INFO`, `WARN` or `ERROR`.
    pub(crate) kind: &'static str,
    pub(crate) name: &'static str,
    pub(crate) reason: Option<&'a str>,
}

/// The event that ECS sends of a message; `None` where it sends none.
pub(crate) fn action(message: &str) -> Option<Action<'_>> {
    let plain = |kind, name| Some(Action { kind, name, reason: None });
    if is_steady(message) && message.contains(", taskSet ") {
        plain("INFO", "TASKSET_STEADY_STATE")
    } else if is_steady(message) {
        plain("INFO", "SERVICE_STEADY_STATE")
    } else if message.ends_with(" is unable to consistently start tasks successfully.") {
        plain("WARN", "SERVICE_TASK_START_IMPAIRED")
    } else if message.contains(" was unable to place a task") {
        let reason = message.split_once("Reason: ").map(|(_, reason)| reason);
        Some(Action { kind: "ERROR", name: "SERVICE_TASK_PLACEMENT_FAILURE", reason })
    } else {
        None
    }
}

/// `rolloutStateReason` of a deployment under way.
pub(crate) fn in_progress(deployment: &str) -> String {
    format!("ECS deployment {deployment} in progress.")
}

/// `rolloutStateReason` of a complete one.
pub(crate) fn completed(deployment: &str) -> String {
    format!("ECS deployment {deployment} completed.")
}

/// `rolloutStateReason` of one whose circuit breaker opened.
pub(crate) fn breaker(roll_back: bool) -> String {
    let then = if roll_back { " Rolling back to the last completed deployment." } else { "" };
    format!("ECS deployment circuit breaker: tasks failed to start.{then}")
}

/// `rolloutStateReason` of one that somebody stopped.
pub(crate) fn stopped_by_request(roll_back: bool) -> String {
    let then = if roll_back { " Rolling back to the last completed deployment." } else { "" };
    format!("ECS deployment stopped by request.{then}")
}

/// `statusReason` of a service deployment whose circuit breaker opened.
pub(crate) const BREAKER: &str = "Service deployment circuit breaker: tasks failed to start.";
/// Of one that StopServiceDeployment ended.
pub(crate) const ASKED: &str = "Service deployment stopped by request.";
/// Of one that another one came after before it was through.
pub(crate) const SUPERSEDED: &str = "Service deployment superseded by a newer one.";
/// Of one whose service was deleted.
pub(crate) const DELETED: &str = "The service was deleted.";

/// The reason of a task that its service stops.
pub(crate) fn stop_reason(why: Why, deployment: &str) -> String {
    match why {
        Why::Ill => "Task failed container health checks".to_owned(),
        Why::Draining => format!("Container instance is draining: replaced by (deployment {deployment})"),
        Why::Lost => "The container instance was lost: its agent is not heard of any more".to_owned(),
        Why::ScaleIn | Why::Superseded | Why::Misplaced | Why::Deleted => {
            format!("Scaling activity initiated by (deployment {deployment})")
        }
    }
}
