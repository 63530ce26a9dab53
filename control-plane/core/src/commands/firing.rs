//! Firings of schedules: that one happened, and the tasks that it starts.
//!
//! A firing is decided and remembered in one transaction: the schedule's next firing is a later one from then on. Its
//! tasks are made and the firing is forgotten in another one. Whatever is cut between the two goes on after a restart,
//! and nothing is done twice.

use crate::agent::Unavailable;
use crate::change::Change;
use crate::command::{Command, Tx};
use crate::commands::place::{Launch, Launched, PlaceError, PlaceTasks, Plan, plan};
use crate::events;
use crate::records::{
    FIRING_AGE, Firing, FiringKey, FiringOutcome, LastFiring, Rule, RuleKey, Schedule, ScheduleKey, Task,
};
use crate::schedules::{Verdict, after_failure, unplaced};
use longshore_model::planted::{Bug, is_planted};
use longshore_model::{TaskId, Timestamp};
use longshore_schedule::place_in_window;
use std::sync::Arc;

/// Decides over a schedule's next firing, if its time has come.
pub(crate) struct DecideFiring(pub(crate) ScheduleKey);

/// What was decided.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decided {
    /// It happened.
    Fired(FiringKey),
    /// It is too old.
    Missed(FiringKey),
    /// There is nothing to decide.
    Nothing,
}

impl Command for DecideFiring {
    const NAME: &'static str = "DecideFiring";
    type Reply = Decided;
    type Error = Unavailable;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Decided, Unavailable> {
        let Some(schedule) = tx.state().schedule(&self.0) else { return Ok(Decided::Nothing) };
        let Some(at) = schedule.next.filter(|at| *at <= tx.now) else { return Ok(Decided::Nothing) };
        let deleting = tx.state().schedule_group(&self.0.group_key()).is_none_or(|g| g.deleting_since.is_some());
        if deleting {
            return Ok(Decided::Nothing);
        }
        // Later than what was decided before, unless a clock far ahead decided that: from here on it is forgotten.
        let mut schedule = Schedule { decided: Some(at), ..(**schedule).clone() };
        let window = schedule.settings.window();
        let due = place_in_window(schedule.id.as_bytes(), at, window);
        let key = FiringKey { schedule: schedule.key.clone(), at };
        let oldest = before(tx.now, schedule.settings.max_age());
        if due < oldest {
            // Those that are as old are not looked at one by one.
            schedule.next = schedule.next_after(at.max(before(oldest, window).moved(-1)));
            schedule.last = Some(LastFiring { at, ended_at: tx.now, outcome: FiringOutcome::Missed });
            put_or_end(tx, schedule);
            return Ok(Decided::Missed(key));
        }
        let after = if is_planted(Bug::LateFiringsAreSkipped) { tx.now } else { at };
        schedule.next = schedule.next_after(after);
        tx.change(Change::Firing(Arc::new(Firing {
            key: key.clone(),
            id: schedule.id,
            due,
            next_try: due,
            tries: 0,
            started: 0,
            problem: None,
        })));
        tx.change(Change::Schedule(Arc::new(schedule)));
        Ok(Decided::Fired(key))
    }
}

fn before(at: Timestamp, by: std::time::Duration) -> Timestamp {
    at.moved(i64::try_from(by.as_millis()).map_or(i64::MIN, |by| -by))
}

/// Fires a rule's schedule, if its time has come: its targets get an event, and are brought it as any other.
pub(crate) struct FireRule(pub(crate) RuleKey);

impl Command for FireRule {
    const NAME: &'static str = "FireRule";
    /// The time that it fired for, or missed.
    type Reply = Option<(Timestamp, Fired)>;
    type Error = Unavailable;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Self::Reply, Unavailable> {
        let Some(rule) = tx.state().rule(&self.0).map(|rule| Arc::clone(&rule.record)) else { return Ok(None) };
        let Some(at) = rule.next.filter(|at| *at <= tx.now) else { return Ok(None) };
        // As a schedule's.
        let rule = Rule { decided: Some(at), ..(*rule).clone() };
        // What EventBridge gives targets that say nothing else.
        let oldest = before(tx.now, FIRING_AGE);
        if at < oldest {
            let next = rule.next_after(oldest.moved(-1));
            tx.change(Change::Rule(Arc::new(Rule { next, ..rule })));
            return Ok(Some((at, Fired::Missed)));
        }
        events::scheduled(tx, &rule, at);
        let next = rule.next_after(at);
        tx.change(Change::Rule(Arc::new(Rule { next, ..rule })));
        Ok(Some((at, Fired::Sent)))
    }
}

/// What became of a rule's firing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fired {
    /// Its targets are to get it.
    Sent,
    /// It is too old.
    Missed,
}

/// Makes the tasks of a firing where a plan puts them, or plans first when there is no plan.
pub(crate) struct StartFiring {
    /// As it was looked at.
    pub(crate) firing: Arc<Firing>,
    /// Its schedule as it was looked at.
    pub(crate) schedule: Arc<Schedule>,
    pub(crate) launch: Arc<Launch>,
    pub(crate) plan: Option<Plan>,
}

/// What became of a firing's try.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    /// All tasks are started.
    Done(Vec<TaskId>),
    /// Not all are; it is tried again then.
    Again(String, Timestamp),
    /// Not all are, and they will not be.
    GivenUp(String),
    /// It or its schedule is not what it was any more.
    Changed,
}

impl Command for StartFiring {
    const NAME: &'static str = "StartFiring";
    type Reply = Tried;
    type Error = PlaceError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Tried, PlaceError> {
        let Self { firing, schedule: seen, launch, plan: planned } = self;
        let Some(schedule) = current(tx, &firing).filter(|now| now.settings == seen.settings) else {
            return Ok(Tried::Changed);
        };
        let planned = match planned {
            Some(made_before) => made_before,
            None => match plan(tx.state(), &launch) {
                Ok(plan) => plan,
                // Hosts may come.
                Err(error) => return Ok(failed(tx, (*firing).clone(), &schedule, error.message, false)),
            },
        };
        let asked = launch.ids.len();
        let Launched { tasks, refusals, made: _ } = PlaceTasks { launch, plan: Some(planned) }.apply(tx)?;
        let what = format!("started by schedule {} for {}", firing.key.schedule, firing.key.at);
        for task in &tasks {
            let mut task = Task::clone(task);
            task.remember(tx.now, vec![(None, what.clone())]);
            tx.change(Change::Task(Arc::new(task)));
        }
        let started = firing.started.saturating_add(u32::try_from(tasks.len()).unwrap_or(u32::MAX));
        if started >= schedule.settings.tasks() {
            let tasks: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
            end(tx, &firing.key, &schedule, FiringOutcome::Started(tasks.clone()));
            return Ok(Tried::Done(tasks));
        }
        let problem = unplaced(asked - tasks.len(), &refusals);
        Ok(failed(tx, Firing { started, ..(*firing).clone() }, &schedule, problem, false))
    }
}

/// Ends a firing that has started as many tasks as its schedule asks for by now.
pub(crate) struct EndFiring(
    /// As it was looked at.
    pub(crate) Arc<Firing>,
);

impl Command for EndFiring {
    const NAME: &'static str = "EndFiring";
    type Reply = Tried;
    type Error = Unavailable;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Tried, Unavailable> {
        let Self(firing) = self;
        let Some(schedule) = current(tx, &firing).filter(|schedule| firing.started >= schedule.settings.tasks()) else {
            return Ok(Tried::Changed);
        };
        end(tx, &firing.key, &schedule, FiringOutcome::Started(Vec::new()));
        Ok(Tried::Done(Vec::new()))
    }
}

/// Remembers that a firing could not start its tasks.
pub(crate) struct FailFiring {
    /// As it was looked at.
    pub(crate) firing: Arc<Firing>,
    pub(crate) problem: String,
    /// Whether trying again cannot help.
    pub(crate) for_good: bool,
}

impl Command for FailFiring {
    const NAME: &'static str = "FailFiring";
    type Reply = Tried;
    type Error = Unavailable;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Tried, Unavailable> {
        let Self { firing, problem, for_good } = self;
        let Some(schedule) = current(tx, &firing) else { return Ok(Tried::Changed) };
        Ok(failed(tx, (*firing).clone(), &schedule, problem, for_good))
    }
}

/// Forgets a firing whose schedule is gone, is another one, or was disabled.
pub(crate) struct DropFiring(pub(crate) FiringKey);

impl Command for DropFiring {
    const NAME: &'static str = "DropFiring";
    type Reply = ();
    type Error = Unavailable;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), Unavailable> {
        let Some(firing) = tx.state().firing(&self.0).cloned() else { return Ok(()) };
        if current(tx, &firing).is_none() {
            tx.change(Change::ForgetFiring(self.0));
        }
        Ok(())
    }
}

/// The schedule that a firing is to be carried out for, if the firing is as it was looked at.
fn current(tx: &Tx<'_>, firing: &Arc<Firing>) -> Option<Arc<Schedule>> {
    let same = tx.state().firing(&firing.key).is_some_and(|now| now == firing);
    let schedule = tx.state().schedule(&firing.key.schedule).filter(|schedule| schedule.carries_out(firing));
    let open = tx.state().schedule_group(&firing.key.schedule.group_key()).is_some_and(|g| g.deleting_since.is_none());
    schedule.filter(|_| same && open).cloned()
}

/// The firing after a try that did not start all.
fn failed(tx: &mut Tx<'_>, firing: Firing, schedule: &Schedule, problem: String, for_good: bool) -> Tried {
    match after_failure(&firing, &schedule.settings, tx.now, for_good) {
        Verdict::Again(next_try) => {
            let tries = firing.tries.saturating_add(1);
            tx.change(Change::Firing(Arc::new(Firing { tries, next_try, problem: Some(problem.clone()), ..firing })));
            Tried::Again(problem, next_try)
        }
        Verdict::GiveUp => {
            end(tx, &firing.key, schedule, FiringOutcome::Failed(problem.clone()));
            Tried::GivenUp(problem)
        }
    }
}

/// A firing is over.
fn end(tx: &mut Tx<'_>, key: &FiringKey, schedule: &Schedule, outcome: FiringOutcome) {
    tx.change(Change::ForgetFiring(key.clone()));
    let last = LastFiring { at: key.at, ended_at: tx.now, outcome };
    put_or_end(tx, Schedule { last: Some(last), ..schedule.clone() });
}

/// Keeps a schedule, or deletes it when it was to be and nothing of it comes any more.
fn put_or_end(tx: &mut Tx<'_>, schedule: Schedule) {
    let over = schedule.next.is_none() && tx.state().firings_of(&schedule.key).next().is_none();
    if over && schedule.settings.delete_when_over {
        tx.change(Change::ForgetSchedule(schedule.key));
    } else {
        tx.change(Change::Schedule(Arc::new(schedule)));
    }
}
