//! Schedules and groups as the API shows them.

use crate::records::{Firing, FiringOutcome, LastFiring, Schedule, ScheduleGroup};
use crate::state::State;
use longshore_ecs_api::EpochSeconds;
use longshore_ecs_api::scheduler::{
    FlexibleTimeWindow, GroupShown, Invocations, LastInvocation, ScheduleShown, ScheduleSummary, TargetSummary,
    WaitingInvocation,
};
use longshore_model::arn::Resource;
use longshore_model::{AccountId, Arn, Timestamp};

/// Waiting firings that are shown, the oldest first.
const SHOWN: usize = 10;

fn time(at: Timestamp) -> EpochSeconds {
    EpochSeconds::from_millis(at.millis())
}

fn state(enabled: bool) -> Option<String> {
    Some(if enabled { "ENABLED" } else { "DISABLED" }.to_owned())
}

pub(super) fn schedule(account: &AccountId, all: &State, schedule: &Schedule, now: Timestamp) -> ScheduleShown {
    let settings = &schedule.settings;
    let window = match settings.window_minutes {
        None => FlexibleTimeWindow { mode: Some("OFF".to_owned()), maximum_window_in_minutes: None },
        Some(minutes) => {
            FlexibleTimeWindow { mode: Some("FLEXIBLE".to_owned()), maximum_window_in_minutes: Some(minutes.into()) }
        }
    };
    let waiting = all.firings_of(&schedule.key).filter(|firing| schedule.carries_out(firing)).take(SHOWN);
    let waiting: Vec<_> = waiting.map(|firing| waiting_invocation(firing)).collect();
    ScheduleShown {
        arn: Some(schedule.arn(account)),
        group_name: Some(schedule.key.group.clone()),
        name: Some(schedule.key.name.clone()),
        schedule_expression: Some(settings.expression.clone()),
        schedule_expression_timezone: Some(settings.zone.clone()),
        start_date: settings.start.map(time),
        end_date: settings.end.map(time),
        description: settings.description.clone(),
        state: state(settings.enabled),
        creation_date: Some(time(schedule.created_at)),
        last_modification_date: Some(time(schedule.changed_at)),
        target: Some((*settings.target).clone()),
        flexible_time_window: Some(window),
        action_after_completion: Some(if settings.delete_when_over { "DELETE" } else { "NONE" }.to_owned()),
        longshore_invocations: Some(Invocations {
            next: schedule.next.map(time),
            waiting: Some(waiting).filter(|waiting| !waiting.is_empty()),
            last: schedule.last.as_ref().map(|last| last_invocation(account, all, schedule, last)),
            problem: silenced(schedule, now),
        }),
    }
}

/// Why a schedule does not fire for long, when that is because of a clock that was wrong.
fn silenced(schedule: &Schedule, now: Timestamp) -> Option<String> {
    let ahead = schedule.fired_ahead(now).filter(|_| schedule.settings.enabled)?;
    schedule.next.is_none_or(|next| next > ahead).then(|| {
        format!(
            "It fired for times up to {ahead} while the clock of the control plane was ahead, and does not fire before \
             that. Disable and enable it to have it fire from now on."
        )
    })
}

fn waiting_invocation(firing: &Firing) -> WaitingInvocation {
    WaitingInvocation {
        scheduled_time: Some(time(firing.key.at)),
        attempts: Some(firing.tries.into()),
        next_attempt: Some(time(firing.next_try)),
        tasks_started: Some(firing.started.into()),
        reason: firing.problem.clone(),
    }
}

fn last_invocation(account: &AccountId, all: &State, schedule: &Schedule, last: &LastFiring) -> LastInvocation {
    let (outcome, reason, tasks) = match &last.outcome {
        FiringOutcome::Started(tasks) => ("STARTED", None, tasks.as_slice()),
        FiringOutcome::Failed(why) => ("FAILED", Some(why.clone()), [].as_slice()),
        FiringOutcome::Missed => {
            ("MISSED", Some("It was older than MaximumEventAgeInSeconds.".to_owned()), [].as_slice())
        }
    };
    let arn = |id| {
        // A task that is forgotten was in the cluster that is the target, as far as anybody knows.
        let task = all.task(id)?;
        let resource = Resource::Task(task.cluster.name.clone(), id);
        Some(Arn { region: schedule.key.region.clone(), account: account.clone(), resource }.to_string())
    };
    let task_arns: Vec<String> = tasks.iter().copied().filter_map(arn).collect();
    LastInvocation {
        scheduled_time: Some(time(last.at)),
        outcome: Some(outcome.to_owned()),
        ended_at: Some(time(last.ended_at)),
        reason,
        task_arns: Some(task_arns).filter(|arns| !arns.is_empty()),
    }
}

pub(super) fn summary(account: &AccountId, schedule: &Schedule) -> ScheduleSummary {
    ScheduleSummary {
        arn: Some(schedule.arn(account)),
        name: Some(schedule.key.name.clone()),
        group_name: Some(schedule.key.group.clone()),
        state: state(schedule.settings.enabled),
        creation_date: Some(time(schedule.created_at)),
        last_modification_date: Some(time(schedule.changed_at)),
        target: Some(TargetSummary { arn: schedule.settings.target.arn.clone() }),
    }
}

pub(super) fn group(account: &AccountId, group: &ScheduleGroup) -> GroupShown {
    GroupShown {
        arn: Some(group.key.arn(account)),
        name: Some(group.key.name.clone()),
        state: Some(if group.deleting_since.is_some() { "DELETING" } else { "ACTIVE" }.to_owned()),
        creation_date: Some(time(group.created_at)),
        last_modification_date: Some(time(group.changed_at)),
    }
}
