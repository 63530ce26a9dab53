//! Waiting until tasks run or are over, or until hosts are empty: polls with a deadline.
//!
//! A control plane that is away for a moment is waited for as well, until the deadline. Judging how a task
//! ended lives here too, pure.

use crate::api::Api;
use crate::args::WaitFor;
use crate::fault::Fault;
use crate::names::tail;
use crate::progress::Progress;
use longshore_ecs_api::enums::TaskStopCode;
use longshore_ecs_api::types::{Task, TaskDefinition};
use std::time::{Duration, Instant};

/// The first wait between two looks; it grows by half up to [`SLOWEST`].
const FASTEST: Duration = Duration::from_millis(200);
/// The longest wait between two looks.
const SLOWEST: Duration = Duration::from_secs(2);

/// What exit codes of a container that was told to stop mean: SIGTERM or SIGKILL took it.
const TOLD_TO_STOP: [i32; 2] = [143, 137];

/// Looks again and again until `look` says it is done or `limit` has passed.
///
/// `look` answers with the result, or with a text that says what is still missing.
pub(crate) fn until<T>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<Result<T, String>, Fault>,
) -> Result<T, Fault> {
    until_telling(limit, what, |_| look())
}

/// The same with something to tell on the way.
pub(crate) fn until_telling<T>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut(&Progress) -> Result<Result<T, String>, Fault>,
) -> Result<T, Fault> {
    let started = Instant::now();
    let progress = Progress::start(format!("waiting for {what}"));
    let mut pause = FASTEST;
    loop {
        let missing = match look(&progress) {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(missing)) => missing,
            Err(Fault::Call(error)) if error.passing() && started.elapsed() < limit => {
                format!("{error}; trying again")
            }
            Err(fault) => return Err(fault),
        };
        let left = limit.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(Fault::TimedOut { what: format!("{what} ({missing})"), waited: started.elapsed() });
        }
        progress.say(missing);
        std::thread::sleep(pause.min(left));
        pause = (pause * 3 / 2).min(SLOWEST);
    }
}

/// Waits until each task is as far as `target` says. A stopped task is as far as it gets.
pub(crate) fn tasks(
    api: &Api,
    cluster: &str,
    arns: &[String],
    target: WaitFor,
    limit: Duration,
) -> Result<Vec<Task>, Fault> {
    let goal = match target {
        WaitFor::Running => "running",
        WaitFor::Stopped => "stopped",
    };
    let what = match arns {
        [one] => format!("task {} to be {goal}", crate::names::short_id(one)),
        many => format!("{} tasks to be {goal}", many.len()),
    };
    until(limit, &what, || {
        let (tasks, failures) = api.tasks(cluster, arns)?;
        crate::names::all_there("DescribeTasks", &failures)?;
        let there = tasks.iter().filter(|t| arrived(t, target)).count();
        if there == tasks.len() {
            return Ok(Ok(tasks));
        }
        Ok(Err(format!("{there} of {} tasks {goal}; {}", tasks.len(), census(&tasks))))
    })
}

/// How many tasks are in which state, as in `2 PENDING, 1 RUNNING`.
pub(crate) fn census(tasks: &[Task]) -> String {
    let mut counts: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for task in tasks {
        *counts.entry(task.last_status.as_deref().unwrap_or("UNKNOWN")).or_default() += 1;
    }
    counts.iter().map(|(status, n)| format!("{n} {status}")).collect::<Vec<_>>().join(", ")
}

fn arrived(task: &Task, target: WaitFor) -> bool {
    match (task.last_status.as_deref(), target) {
        (Some("STOPPED"), WaitFor::Running | WaitFor::Stopped) | (Some("RUNNING"), WaitFor::Running) => true,
        (_, WaitFor::Running | WaitFor::Stopped) => false,
    }
}

/// Why a task that is over did not do well; `None` when it did, or still runs.
///
/// Done well means: an essential container of `definition` ended by itself with 0, and every other essential
/// container ended with 0 or because it was then told to stop.
pub(crate) fn verdict(task: &Task, definition: &TaskDefinition) -> Option<String> {
    if task.last_status.as_deref() != Some("STOPPED") {
        return None;
    }
    let essential = |name: Option<&str>| {
        let containers = definition.container_definitions.iter().flatten();
        containers.filter(|c| c.name.as_deref() == name).all(|c| c.essential != Some(false))
    };
    let containers: Vec<_> = task.containers.iter().flatten().filter(|c| essential(c.name.as_deref())).collect();
    let ended_well = containers.iter().any(|c| c.exit_code == Some(0));
    let ended_badly =
        containers.iter().find(|c| c.exit_code.is_some_and(|code| code != 0 && !TOLD_TO_STOP.contains(&code)));
    if task.stop_code == Some(TaskStopCode::EssentialContainerExited) && ended_well && ended_badly.is_none() {
        return None;
    }
    let culprit = ended_badly.or_else(|| containers.iter().find(|c| c.exit_code.is_some_and(|code| code != 0)));
    let mut text = format!("task {} stopped", tail(task.task_arn.as_deref().unwrap_or("?")));
    if let Some(reason) = &task.stopped_reason {
        text.push_str(&format!(": {reason}"));
    }
    if let Some((container, code)) = culprit.and_then(|c| Some((c, c.exit_code?))) {
        text.push_str(&format!("; container `{}` exited with {code}", container.name.as_deref().unwrap_or("?")));
    }
    for container in task.containers.iter().flatten() {
        // The task's reason often quotes its container's.
        if let Some(reason) = container.reason.as_ref().filter(|reason| !text.contains(reason.as_str())) {
            text.push_str(&format!("; container `{}`: {reason}", container.name.as_deref().unwrap_or("?")));
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_ecs_api::types::{Container, ContainerDefinition};

    fn check(codes: &[(&str, bool, Option<i32>)], stop_code: TaskStopCode, expected: Option<&str>) {
        let definition = TaskDefinition {
            container_definitions: Some(
                codes
                    .iter()
                    .map(|(name, essential, _)| ContainerDefinition {
                        name: Some((*name).to_owned()),
                        essential: Some(*essential),
                        ..ContainerDefinition::default()
                    })
                    .collect(),
            ),
            ..TaskDefinition::default()
        };
        let task = Task {
            last_status: Some("STOPPED".to_owned()),
            stop_code: Some(stop_code),
            containers: Some(
                codes
                    .iter()
                    .map(|(name, _, exit_code)| Container {
                        name: Some((*name).to_owned()),
                        exit_code: *exit_code,
                        ..Container::default()
                    })
                    .collect(),
            ),
            ..Task::default()
        };
        let verdict = verdict(&task, &definition);
        match expected {
            None => assert_eq!(verdict, None, "{codes:?}"),
            Some(part) => assert!(verdict.as_deref().unwrap_or("").contains(part), "{codes:?}: {verdict:?}"),
        }
    }

    #[test]
    fn a_task_did_well_if_its_essential_containers_did() {
        use TaskStopCode::{EssentialContainerExited as Exited, TaskFailedToStart, UserInitiated};
        check(&[("job", true, Some(0))], Exited, None);
        check(&[("job", true, Some(3))], Exited, Some("`job` exited with 3"));
        check(&[("job", true, Some(137))], Exited, Some("`job` exited with 137"));
        check(&[("job", true, Some(0)), ("side", true, Some(143))], Exited, None);
        check(&[("job", true, Some(0)), ("side", false, Some(9))], Exited, None);
        check(&[("job", true, Some(143)), ("side", true, Some(1))], Exited, Some("`side` exited with 1"));
        check(&[("job", true, Some(0))], UserInitiated, Some("stopped"));
        check(&[("job", true, None)], TaskFailedToStart, Some("stopped"));
    }

    #[test]
    fn waiting_ends_at_the_deadline_and_says_what_was_missing() {
        let fault = until::<()>(Duration::ZERO, "rain", || Ok(Err("no clouds".to_owned()))).expect_err("too late");
        assert_eq!(fault.status(), 7);
        assert!(fault.to_string().contains("rain (no clouds)"), "{fault}");
    }
}
