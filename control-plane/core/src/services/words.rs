//! What services say, in ECS's words: events, reasons, states of rollouts.

use crate::capacity;
use crate::commands::{NO_INSTANCES, Refusal, TaskIds};
use crate::records::{Concerns, ServiceKey};
use longshore_ecs_api::ApiError;
use longshore_ecs_api::types::CapacityProviderStrategyItem;
use longshore_model::InstanceId;
use longshore_rollout::Why;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

/// Tasks that one event names at most.
const NAMED: usize = 10;
/// ECS's reason for a task without a place in a cluster without container instances.
const NO_HOSTS: &str = "EMPTY CAPACITY PROVIDER";
/// The end of what ECS says of tasks that do not start.
const MORE: &str = "For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.";

/// What a service says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) message: String,
    /// Of a task that found no place, the reason as `failures[].reason` of RunTask has it; of tasks that cannot be
    /// started anywhere, the error.
    pub(crate) reason: Option<String>,
    /// What else it is about.
    pub(crate) concerns: Concerns,
}

impl From<String> for Said {
    fn from(message: String) -> Self {
        Self { message, ..Self::default() }
    }
}

impl Said {
    /// The same, said of one of the service's task sets.
    pub(crate) fn of_task_set(self, key: &ServiceKey, id: &str) -> Self {
        let Self { message, reason, concerns } = self;
        let message = of_task_set(key, id, &message);
        Self { message, reason, concerns: Concerns { task_set: Some(id.into()), ..concerns } }
    }
}

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
    format!("{} is unable to consistently start tasks successfully. {MORE}", subject(key))
}

/// A task found no place, since no host took it. The host that lacks the least is named, with what it lacks: reasons
/// are in the order in which they are looked at, and the last are those of a host that is right in everything else.
/// `strategy` is the one of capacity providers that the task was to be placed by.
pub(crate) fn refused(key: &ServiceKey, strategy: &[CapacityProviderStrategyItem], refusals: &[Refusal]) -> Said {
    let closest = refusals.iter().max_by_key(|refusal| refusal.rank);
    let why = match closest {
        Some(best) => format!("The closest matching (container-instance {}) {}.", best.instance, best.sentence),
        None => "Reason: Every container instance took as many tasks as it can.".to_owned(),
    };
    let hosts = closest.map(|best| best.instance).into_iter().collect();
    let reason = closest.map(|best| best.reason.clone());
    Said { message: unplaced(key, &why), reason, concerns: Concerns { hosts, ..of_providers(strategy) } }
}

/// A task found no place, since none could be looked for: there is no host, or no host could run it.
pub(crate) fn unplaceable(key: &ServiceKey, strategy: &[CapacityProviderStrategyItem], error: &ApiError) -> Said {
    if error.message == NO_INSTANCES {
        return Said {
            message: unplaced(key, &format!("Reason: {NO_INSTANCES}")),
            reason: Some(NO_HOSTS.to_owned()),
            concerns: of_providers(strategy),
        };
    }
    let what = error.message.trim_end_matches('.');
    Said {
        message: format!("{} failed to launch a task with (error {what}).", subject(key)),
        reason: Some(error.message.clone()),
        concerns: Concerns::default(),
    }
}

fn unplaced(key: &ServiceKey, why: &str) -> String {
    format!(
        "{} was unable to place a task because no container instance met all of its requirements. {why} {MORE}",
        subject(key)
    )
}

fn of_providers(strategy: &[CapacityProviderStrategyItem]) -> Concerns {
    let providers = capacity::pools(strategy).into_iter().map(|pool| pool.name).collect();
    Concerns { providers, ..Concerns::default() }
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
pub(crate) struct Action {
    /// `INFO`, `WARN` or `ERROR`.
    pub(crate) kind: &'static str,
    pub(crate) name: &'static str,
}

/// The event that ECS sends of a message; `None` where it sends none.
pub(crate) fn action(message: &str) -> Option<Action> {
    let (kind, name) = if is_steady(message) && message.contains(", taskSet ") {
        ("INFO", "TASKSET_STEADY_STATE")
    } else if is_steady(message) {
        ("INFO", "SERVICE_STEADY_STATE")
    } else if message.contains(" is unable to consistently start tasks successfully.") {
        ("WARN", "SERVICE_TASK_START_IMPAIRED")
    } else if message.contains(" was unable to place a task because ") {
        ("ERROR", "SERVICE_TASK_PLACEMENT_FAILURE")
    } else if message.contains(" failed to launch a task with (error ") {
        ("ERROR", "SERVICE_TASK_CONFIGURATION_FAILURE")
    } else {
        return None;
    };
    Some(Action { kind, name })
}

/// `rolloutStateReason` of a deployment under way.
pub(crate) fn in_progress(deployment: &str) -> String {
    format!("ECS deployment {deployment} in progress.")
}

/// `rolloutStateReason` of a complete one.
pub(crate) fn completed(deployment: &str) -> String {
    format!("ECS deployment {deployment} completed.")
}

/// What ends a deployment before it is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Its circuit breaker opened.
    Breaker,
    /// StopServiceDeployment.
    Request,
}

/// `rolloutStateReason` of a deployment that has ended so.
pub(crate) fn failed(end: End) -> String {
    match end {
        End::Breaker => "ECS deployment circuit breaker: tasks failed to start.",
        End::Request => "ECS deployment stopped by request.",
    }
    .to_owned()
}

/// `rolloutStateReason` of the one that brings back what ran before a deployment that has ended so.
pub(crate) fn brings_back(end: End, deployment: &str) -> String {
    let ended = match end {
        End::Breaker => "ECS deployment circuit breaker",
        End::Request => "ECS deployment stopped by request",
    };
    format!("{ended}: rolling back to deploymentId {deployment}.")
}

/// `statusReason` of a service deployment whose circuit breaker opened, and that is rolled back.
pub(crate) const ROLLED_BACK: &str =
    "Service deployment rolled back because the circuit breaker threshold was exceeded.";
/// Of one whose circuit breaker opened, and that stays as it is.
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

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_model::{ClusterKey, ClusterName, Region, TaskId};

    fn key() -> ServiceKey {
        let (region, name) = (Region::new("lab").expect("a region"), ClusterName::new("c").expect("a name"));
        ServiceKey { cluster: ClusterKey { region, name }, name: "web".into() }
    }

    fn strategy() -> Vec<CapacityProviderStrategyItem> {
        let capacity_provider = Some("rack".to_owned());
        vec![CapacityProviderStrategyItem { capacity_provider, ..CapacityProviderStrategyItem::default() }]
    }

    #[test]
    fn tasks_that_start_or_stop_are_counted_and_ten_of_them_are_named() {
        let tasks: Vec<TaskId> = (0..12).map(|_| TaskId::random()).collect();
        let named = |count: usize| tasks.iter().take(count).map(|id| format!("(task {id})")).collect::<Vec<_>>();
        for (count, names) in [(1, 1), (2, 2), (10, 10), (12, 10)] {
            let names = named(names).join(" ");
            let expected = format!("(service web) has started {count} tasks: {names}.");
            assert_eq!(started(&key(), &tasks[..count]), Some(expected));
            let expected = format!("(service web) has stopped {count} running tasks: {names}.");
            assert_eq!(stopped(&key(), &tasks[..count]), Some(expected));
        }
        assert_eq!((started(&key(), &[]), stopped(&key(), &[])), (None, None));
    }

    #[test]
    fn a_task_without_a_place_has_a_reason_that_programs_can_read() {
        let refusal = |reason: &str, rank| Refusal {
            instance: InstanceId::random(),
            reason: reason.to_owned(),
            detail: None,
            rank,
            sentence: format!("says {reason}"),
        };
        let refusals = [refusal("AGENT", 1), refusal("RESOURCE:MEMORY", 6), refusal("ATTRIBUTE", 2)];
        let said = refused(&key(), &strategy(), &refusals);
        assert_eq!(said.reason.as_deref(), Some("RESOURCE:MEMORY"));
        let host = refusals[1].instance;
        let expected = format!(
            "(service web) was unable to place a task because no container instance met all of its requirements. The \
             closest matching (container-instance {host}) says RESOURCE:MEMORY. {MORE}"
        );
        assert_eq!(said.message, expected);
        let concerns = Concerns { hosts: vec![host], providers: vec!["rack".into()], task_set: None };
        assert_eq!(said.concerns, concerns);
        let of_set = said.of_task_set(&key(), "ecs-svc/1");
        assert_eq!(of_set.reason.as_deref(), Some("RESOURCE:MEMORY"));
        assert!(of_set.message.starts_with("(service web, taskSet ecs-svc/1) was unable"), "{}", of_set.message);
        assert_eq!(of_set.concerns, Concerns { task_set: Some("ecs-svc/1".into()), ..concerns });
        let said = unplaceable(&key(), &strategy(), &ApiError::invalid(NO_INSTANCES));
        assert_eq!(said.reason.as_deref(), Some(NO_HOSTS));
        assert!(said.message.ends_with(&format!("requirements. Reason: {NO_INSTANCES} {MORE}")), "{}", said.message);
        assert_eq!(said.concerns, Concerns { providers: vec!["rack".into()], ..Concerns::default() });
        for said in [said, of_set] {
            let action = action(&said.message).expect("an event");
            assert_eq!((action.kind, action.name), ("ERROR", "SERVICE_TASK_PLACEMENT_FAILURE"));
        }
    }

    #[test]
    fn what_no_host_could_run_is_no_matter_of_places() {
        for error in ["The security group 'sg-1' does not exist (ErrorCode: InvalidGroup.NotFound)", "It is gone."] {
            let said = unplaceable(&key(), &strategy(), &ApiError::invalid(error));
            let what = error.trim_end_matches('.');
            assert_eq!(said.message, format!("(service web) failed to launch a task with (error {what})."));
            assert_eq!((said.reason.as_deref(), &said.concerns), (Some(error), &Concerns::default()));
            let of_set = said.clone().of_task_set(&key(), "ecs-svc/1");
            for message in [&said.message, &of_set.message] {
                let action = action(message).expect("an event");
                assert_eq!((action.kind, action.name), ("ERROR", "SERVICE_TASK_CONFIGURATION_FAILURE"));
            }
        }
        // Those that earlier versions kept had no more than this.
        let earlier = format!("{} is unable to consistently start tasks successfully.", subject(&key()));
        for message in [earlier, failing(&key())] {
            let action = action(&message).expect("an event");
            assert_eq!((action.kind, action.name), ("WARN", "SERVICE_TASK_START_IMPAIRED"));
        }
    }
}
