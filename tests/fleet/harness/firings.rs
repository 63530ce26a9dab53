//! Firings of schedules and rules: each that is due happens, at its time, and its tasks are made once.
//!
//! When something is due is reckoned apart from the product, from the few kinds of expressions that clients use. Each
//! task says by its environment which firing it is of.

use crate::world::World;
use longshore_core::State;
use longshore_core::records::{FiringKey, FiringOutcome, Rule, Schedule, ScheduleKey, Task};
use longshore_model::{Region, TaskId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// The variable that tells a task's firing.
pub(crate) const VARIABLE: &str = "FIRED";

/// What was seen of firings.
#[derive(Default)]
pub(crate) struct Firings(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// By `startedBy` and the time that it is for.
    due: BTreeMap<(String, String), Tasks>,
    /// Of schedules: which, and for when.
    decided: BTreeSet<(uuid::Uuid, Timestamp)>,
    /// Those of them that are not over, with the `startedBy` of their tasks.
    pending: BTreeMap<(FiringKey, uuid::Uuid), String>,
}

/// What a firing's time made.
#[derive(Default)]
struct Tasks {
    /// Tasks that there must be.
    least: usize,
    /// Tasks that there may be: what was waiting when its schedule was taken away or disabled is not made any more.
    most: usize,
    made: BTreeSet<TaskId>,
}

/// A time as tasks are told it.
pub(crate) fn told(at: Timestamp) -> String {
    Timestamp::from_millis(at.millis().div_euclid(1000) * 1000).to_string()
}

impl Firings {
    fn known<T>(&self, with: impl FnOnce(&mut Known) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Between two states that clients saw one after the other.
    pub(crate) fn step(&self, world: &World, before: &State, now: &State) {
        if !world.plan.schedules {
            return;
        }
        self.known(|known| {
            for schedule in schedules(now) {
                known.schedule(world, before, now, schedule);
            }
            for rule in now.rule_records() {
                let was = before.rule_records().find(|was| was.key == rule.key);
                known.rule(world, was, rule);
            }
            // One commit may have a task and the end of its host.
            let new = now.tasks().filter(|task| before.task(task.id).is_none());
            for task in new {
                known.made(world, task);
            }
            known.ended(world, before, now);
            for rule in before.rule_records() {
                known.delivered(world, before, now, rule);
            }
        });
    }

    /// What is due and not done.
    pub(crate) fn open(&self, world: &World, state: &State) -> Vec<String> {
        let mut open = Vec::new();
        let time = world.wall.time();
        for schedule in schedules(state) {
            let key = &schedule.key;
            if let Some(at) = schedule.next.filter(|at| at.after(std::time::Duration::from_secs(5)) < time) {
                open.push(format!("schedule {key} has not fired for {at}"));
            }
            if let Some(firing) = state.firings_of(key).next() {
                open.push(format!("schedule {key} waits for {}: {:?}", firing.key.at, firing.problem));
            }
        }
        for rule in state.rule_records() {
            let name = &rule.key.name;
            if let Some(at) = rule.next.filter(|at| at.after(std::time::Duration::from_secs(5)) < time) {
                open.push(format!("rule {name} has not fired for {at}"));
            }
            for target in rule.target_keys() {
                if let Some((progress, waiting)) = state.delivery(&target).filter(|(_, waiting)| *waiting > 0) {
                    open.push(format!("{waiting} events of rule {name} wait: {:?}", progress.last_error));
                }
            }
        }
        self.known(|known| {
            let missing = known.due.iter().filter(|(_, tasks)| tasks.made.len() < tasks.least);
            open.extend(missing.map(|((by, at), tasks)| {
                format!("{by} fired for {at}, and {} of {} tasks were made", tasks.made.len(), tasks.least)
            }));
        });
        open
    }
}

impl Known {
    fn tasks(&mut self, by: &str, at: Timestamp) -> &mut Tasks {
        self.due.entry((by.to_owned(), told(at))).or_default()
    }

    fn schedule(&mut self, world: &World, before: &State, now: &State, is: &Schedule) {
        let key = &is.key;
        for firing in now.firings_of(key) {
            let old = before.firing(&firing.key).is_some_and(|old| old.id == firing.id);
            if old {
                continue;
            }
            if !self.decided.insert((firing.id, firing.key.at)) {
                world.trace.wrong(format_args!("schedule {key} fires twice for {}", firing.key.at));
            }
            world.trace.say(format_args!("control: schedule {key} fires for {}", firing.key.at));
            self.pending.insert((firing.key.clone(), firing.id), started_by(is));
            let count = is.settings.tasks() as usize;
            let tasks = self.tasks(&started_by(is), firing.key.at);
            (tasks.least, tasks.most) = (tasks.least + count, tasks.most + count);
        }
        let expression = &is.settings.expression;
        match before.schedule(key).filter(|was| was.id == is.id) {
            None if is.settings.enabled && !begins(expression, is.anchor, is.next) => {
                world.trace.wrong(format_args!("{expression} of {} begins at {:?}", is.anchor, is.next));
            }
            Some(was) if was.settings.fires_as(&is.settings) && was.anchor == is.anchor => {
                let (passed, next) = passed(expression, was.next, is.next);
                for at in passed {
                    if !self.decided.contains(&(is.id, at)) {
                        world.trace.wrong(format_args!("schedule {key} has left out its firing for {at}"));
                    }
                }
                if next != is.next {
                    world.trace.wrong(format_args!("schedule {key} fires next at {:?}, not at {next:?}", is.next));
                }
            }
            None | Some(_) => {}
        }
    }

    /// A firing that is not there any more has started its tasks, unless its schedule is not what it was.
    fn ended(&mut self, world: &World, before: &State, now: &State) {
        let is_pending = |(key, id): &(FiringKey, uuid::Uuid)| now.firing(key).is_some_and(|is| is.id == *id);
        let (pending, over) = std::mem::take(&mut self.pending).into_iter().partition(|(key, _)| is_pending(key));
        self.pending = pending;
        let over: BTreeMap<_, _> = over;
        for ((key, id), by) in over {
            let carried_out =
                |state: &State| state.schedule(&key.schedule).is_some_and(|is| is.id == id && is.settings.enabled);
            let is = now.schedule(&key.schedule).filter(|_| carried_out(before) && carried_out(now));
            // Those that ended at once are on no host any more.
            if let Some(FiringOutcome::Started(ids)) = is.and_then(|is| is.last.as_ref()).map(|last| &last.outcome) {
                ids.iter().filter_map(|id| now.task(*id)).for_each(|task| self.made(world, task));
            }
            // Tasks are told no fraction of a second: of two firings within one, the last that is over answers for both.
            let told_alike = |(other, _): &(FiringKey, uuid::Uuid)| told(other.at) == told(key.at);
            let answered_later = self.pending.iter().any(|(other, other_by)| *other_by == by && told_alike(other));
            let tasks = self.tasks(&by, key.at);
            if tasks.made.len() >= tasks.least {
                continue;
            }
            match is {
                Some(_) if answered_later => {}
                None => tasks.least = tasks.made.len(),
                Some(is) => world.trace.wrong(format_args!(
                    "schedule {} fired for {}, and {} of {} tasks were made: {:?}",
                    key.schedule,
                    key.at,
                    tasks.made.len(),
                    tasks.least,
                    is.last
                )),
            }
        }
    }

    fn rule(&mut self, world: &World, was: Option<&Arc<Rule>>, is: &Rule) {
        let (name, Some(expression)) = (&is.key.name, &is.schedule) else { return };
        let Some(was) = was.filter(|was| was.created_at == is.created_at) else { return };
        if (&was.schedule, was.anchor, was.enabled) != (&is.schedule, is.anchor, is.enabled) {
            // One commit may have what it fired for last before it was changed, and nobody sees which came first.
            let before = was.schedule.as_ref().map(|before| passed(before, was.next, Some(is.changed_at.moved(1))).0);
            for at in before.into_iter().flatten().filter(|_| !was.targets.is_empty()) {
                self.tasks(&started_by_rule(is), at).most = 1;
            }
            return;
        }
        let (passed, next) = passed(expression, was.next, is.next);
        for at in passed {
            world.trace.say(format_args!("control: rule {name} fires for {at}"));
            let tasks = self.tasks(&started_by_rule(is), at);
            match (was.targets.is_empty(), is.targets.is_empty()) {
                (true, true) => {}
                (false, false) => (tasks.least, tasks.most) = (1, 1),
                // One commit may have the target, too, and nobody sees which came first.
                (true, false) | (false, true) => tasks.most = 1,
            }
        }
        if next != is.next {
            world.trace.wrong(format_args!("rule {name} fires next at {:?}, not at {next:?}", is.next));
        }
    }

    /// What waited for a target is done only by its tasks, unless the target is gone.
    fn delivered(&mut self, world: &World, before: &State, now: &State, was: &Rule) {
        let Some(is) = now.rule_records().find(|is| is.key == was.key).filter(|is| !is.targets.is_empty()) else {
            for ((by, _), tasks) in &mut self.due {
                if *by == started_by_rule(was) {
                    tasks.least = tasks.least.min(tasks.made.len());
                }
            }
            return;
        };
        for target in is.target_keys() {
            let given_up = |state: &State| state.delivery(&target).map_or(0, |(progress, _)| progress.given_up);
            if given_up(now) > given_up(before) {
                let last = now.delivery(&target).and_then(|(progress, _)| progress.last_given_up.clone());
                world.trace.wrong(format_args!("an event of rule {} is given up: {last:?}", was.key.name));
            }
        }
    }

    fn made(&mut self, world: &World, task: &Task) {
        let Some(by) = task.started_by.as_deref() else { return };
        if !by.starts_with("chronos-schedule/") && !by.starts_with("events-rule/") {
            return;
        }
        let containers = task.overrides.iter().flat_map(|overrides| overrides.container_overrides.iter().flatten());
        let mut variables = containers.flat_map(|container| container.environment.iter().flatten());
        let at = variables.find(|variable| variable.name.as_deref() == Some(VARIABLE));
        let Some(at) = at.and_then(|variable| variable.value.clone()) else {
            return world.trace.wrong(format_args!("task {} of {by} does not know its firing", task.id));
        };
        let tasks = self.due.entry((by.to_owned(), at.clone())).or_default();
        tasks.made.insert(task.id);
        if tasks.made.len() > tasks.most {
            world.trace.wrong(format_args!(
                "{by} has {} tasks for {at}, where {} may be: {:?}",
                tasks.made.len(),
                tasks.most,
                tasks.made
            ));
        }
    }
}

fn started_by(schedule: &Schedule) -> String {
    format!("chronos-schedule/{}", schedule.key.name)
}

fn started_by_rule(rule: &Rule) -> String {
    format!("events-rule/{}", rule.key.name)
}

/// All schedules.
pub(crate) fn schedules(state: &State) -> impl Iterator<Item = &Arc<Schedule>> {
    let region = Region::new("lab").expect("it is a name");
    let first = ScheduleKey { region, group: String::new(), name: String::new() };
    state.schedules_from(&first).collect::<Vec<_>>().into_iter()
}

/// Milliseconds between two firings; `None` of what fires once.
fn period(expression: &str) -> Option<i64> {
    let minutes = |text: &str| text.split([' ', ')']).next()?.parse::<i64>().ok();
    let minutes = match expression {
        "cron(* * * * ? *)" => 1,
        _ => match (expression.strip_prefix("rate("), expression.strip_prefix("cron(*/")) {
            (Some(rest), _) | (_, Some(rest)) => minutes(rest)?,
            (None, None) => return None,
        },
    };
    Some(minutes * 60_000)
}

/// Whether a schedule that counts from `anchor` begins with `next`.
fn begins(expression: &str, anchor: Timestamp, next: Option<Timestamp>) -> bool {
    match (period(expression), next) {
        (Some(_), Some(next)) if expression.starts_with("rate(") => next == anchor,
        (Some(period), Some(next)) => {
            next >= anchor && next.millis() % period == 0 && next.millis() - anchor.millis() < period
        }
        (Some(_), None) => false,
        (None, Some(next)) => expression == format!("at({})", told(next).trim_end_matches('Z')) && next >= anchor,
        // What was over when it was made.
        (None, None) => *expression < *format!("at({})", told(anchor.moved(1000)).trim_end_matches('Z')),
    }
}

/// The firings from `was` on that are before `is`, and the one after them.
fn passed(expression: &str, was: Option<Timestamp>, is: Option<Timestamp>) -> (Vec<Timestamp>, Option<Timestamp>) {
    let (mut passed, mut next) = (Vec::new(), was);
    while let Some(at) = next.filter(|at| is.is_none_or(|is| *at < is)) {
        passed.push(at);
        next = period(expression).map(|period| at.moved(period));
        // More than this happen in no step.
        if passed.len() == 100 {
            break;
        }
    }
    (passed, next)
}
