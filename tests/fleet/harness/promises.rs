//! What clients were answered, and has to be true from then on: over every crash, until somebody asks for something
//! else.
//!
//! A request whose answer is awaited, or was lost, may have been done or not: until the next answer both hold.

use crate::control::Op;
use crate::firings;
use crate::world::World;
use longshore_core::State;
use longshore_core::records::Service;
use longshore_ecs_api::Operation;
use longshore_ecs_api::events::EventsOperation;
use longshore_ecs_api::scheduler::SchedulerOperation;
use longshore_model::{DesiredStatus, InstanceId, TaskId};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Something that is one way or another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fact {
    /// Whether there is a service that is not being deleted.
    Service(String),
    /// Its desired count.
    Desired(String),
    /// Its minimum and maximum percent.
    Percents(String),
    /// Its PRIMARY deployment.
    Primary(String),
    /// Whether a host takes tasks.
    Host(InstanceId),
    /// When a schedule fires.
    Schedule(String),
    /// When a rule fires.
    Rule(String),
    /// How many targets a rule has.
    Targets(String),
}

/// What there is not.
const NONE: &str = "gone";
/// What there is, however it is.
const THERE: &str = "there";
/// A deployment that nobody asked for: the circuit breaker brought back what ran before.
const ROLLBACK: &str = "a rollback";

impl Fact {
    /// How it is; `None` when nothing is to be said of it, since what it is of is gone.
    fn of(&self, state: &State) -> Option<String> {
        let service = |name: &str| {
            let found = state.services().find(|(key, _)| *key.name == *name).map(|(_, found)| &found.record);
            found.filter(|service| service.is_active())
        };
        match self {
            Self::Service(name) => Some(service(name).map_or(NONE, |_| THERE).to_owned()),
            Self::Desired(name) => service(name).map(|service| service.desired.to_string()),
            Self::Percents(name) => service(name).map(|service| percents(service)),
            Self::Primary(name) => {
                let primary = service(name)?.deployments.first()?;
                Some(if primary.is_rollback { ROLLBACK.to_owned() } else { primary.id.to_string() })
            }
            Self::Host(id) => {
                let host = state.host(*id).filter(|host| host.record.status.is_registered())?;
                Some(host.record.status.as_str().to_owned())
            }
            Self::Schedule(name) => {
                let found = firings::schedules(state).find(|schedule| schedule.key.name == **name);
                Some(found.map_or_else(|| NONE.to_owned(), |is| schedule(&is.settings.expression, is.settings.enabled)))
            }
            Self::Rule(name) => {
                let found = state.rule_records().find(|rule| *rule.key.name == **name);
                Some(found.map_or_else(|| NONE.to_owned(), |rule| rule.schedule.clone().unwrap_or_default()))
            }
            Self::Targets(name) => {
                let found = state.rule_records().find(|rule| *rule.key.name == **name)?;
                Some(found.targets.len().to_string())
            }
        }
    }
}

/// How [`Fact::Percents`] are told.
fn percents(service: &Service) -> String {
    let told = |percent: Option<i32>| percent.map_or_else(|| "-".to_owned(), |percent| percent.to_string());
    let configuration = &service.configuration;
    format!("{}/{}", told(configuration.minimum_healthy_percent), told(configuration.maximum_percent))
}

/// How [`Fact::Schedule`] is told.
fn schedule(expression: &str, enabled: bool) -> String {
    format!("{expression}{}", if enabled { "" } else { ", disabled" })
}

/// How things are once a request is done, and of which of them nobody knows beforehand how they will be.
#[derive(Default)]
pub(crate) struct Asked {
    so: Vec<(Fact, String)>,
    open: Vec<Fact>,
}

impl Asked {
    fn of(op: Op, request: &Value) -> Self {
        let text = |field: &str| request[field].as_str().unwrap_or_default().to_owned();
        match op {
            Op::Ecs(Operation::CreateService) => Self::service(&text("serviceName"), request, true),
            Op::Ecs(Operation::UpdateService) => Self::service(&text("service"), request, false),
            Op::Ecs(Operation::DeleteService) => {
                let name = text("service");
                let so = vec![(Fact::Service(name.clone()), NONE.to_owned())];
                Self { so, open: vec![Fact::Desired(name.clone()), Fact::Percents(name.clone()), Fact::Primary(name)] }
            }
            Op::Ecs(Operation::UpdateContainerInstancesState) => {
                let ids = request["containerInstances"].as_array().into_iter().flatten();
                let ids = ids.filter_map(|id| id.as_str()?.parse().ok());
                Self::so(ids.map(|id| (Fact::Host(id), text("status"))).collect())
            }
            Op::Scheduler(SchedulerOperation::CreateSchedule | SchedulerOperation::UpdateSchedule) => {
                let told = schedule(&text("ScheduleExpression"), text("State") == "ENABLED");
                Self::so(vec![(Fact::Schedule(text("Name")), told)])
            }
            Op::Scheduler(SchedulerOperation::DeleteSchedule) => {
                Self::so(vec![(Fact::Schedule(text("Name")), NONE.to_owned())])
            }
            Op::Events(EventsOperation::PutRule) => {
                Self::so(vec![(Fact::Rule(text("Name")), text("ScheduleExpression"))])
            }
            Op::Events(EventsOperation::DeleteRule) => Self::so(vec![(Fact::Rule(text("Name")), NONE.to_owned())]),
            Op::Events(EventsOperation::PutTargets) => Self::so(vec![(Fact::Targets(text("Rule")), "1".to_owned())]),
            Op::Events(EventsOperation::RemoveTargets) => Self::so(vec![(Fact::Targets(text("Rule")), "0".to_owned())]),
            Op::Ecs(_) | Op::Scheduler(_) | Op::Events(_) => Self::default(),
        }
    }

    fn so(so: Vec<(Fact, String)>) -> Self {
        Self { so, open: Vec::new() }
    }

    fn service(name: &str, request: &Value, new: bool) -> Self {
        let mut so = Vec::new();
        let mut open = vec![Fact::Primary(name.to_owned())];
        if new {
            so.push((Fact::Service(name.to_owned()), THERE.to_owned()));
            open.extend([Fact::Desired(name.to_owned()), Fact::Percents(name.to_owned())]);
        }
        if let Some(desired) = request["desiredCount"].as_u64() {
            so.push((Fact::Desired(name.to_owned()), desired.to_string()));
        }
        let configuration = &request["deploymentConfiguration"];
        if let (Some(least), Some(most)) =
            (configuration["minimumHealthyPercent"].as_u64(), configuration["maximumPercent"].as_u64())
        {
            so.push((Fact::Percents(name.to_owned()), format!("{least}/{most}")));
        }
        Self { so, open }
    }
}

/// What was answered.
#[derive(Default)]
pub(crate) struct Promised {
    /// Tasks that were started for clients.
    started: BTreeSet<TaskId>,
    /// Tasks whose stop they asked for.
    stopped: BTreeSet<TaskId>,
    /// Services that they made: they stay, if only as what was deleted.
    services: BTreeSet<String>,
    /// How things may be.
    facts: BTreeMap<Fact, BTreeSet<String>>,
}

impl Promised {
    /// Something is asked for: from now on it may be so, too.
    pub(crate) fn ask(&mut self, op: Op, request: &Value) -> Asked {
        let asked = Asked::of(op, request);
        let there = BTreeSet::from([THERE.to_owned()]);
        if let (Op::Ecs(Operation::CreateService), Some((fact, _))) = (op, asked.so.first())
            && self.facts.get(fact) == Some(&there)
        {
            // It is refused.
            return Asked::default();
        }
        asked.open.iter().for_each(|fact| drop(self.facts.remove(fact)));
        for (fact, value) in &asked.so {
            if let Some(may) = self.facts.get_mut(fact) {
                may.insert(value.clone());
            }
        }
        asked
    }

    /// It was done. Whatever else the answer is, it may have been done or not.
    pub(crate) fn done(&mut self, op: Op, request: &Value, asked: Asked, answer: &Value) {
        let fails = |field: &str| answer[field].as_array().is_some_and(|failures| !failures.is_empty());
        if fails("failures") || answer["FailedEntryCount"].as_u64().is_some_and(|count| count > 0) {
            return;
        }
        self.facts.extend(asked.so.into_iter().map(|(fact, value)| (fact, BTreeSet::from([value]))));
        let text = |value: &Value| value.as_str().map(str::to_owned);
        match op {
            Op::Ecs(Operation::CreateService | Operation::UpdateService) => {
                let service = &answer["service"];
                let Some(name) = text(&service["serviceName"]) else { return };
                if let Some(id) = text(&service["deployments"][0]["id"]) {
                    self.facts.insert(Fact::Primary(name.clone()), BTreeSet::from([id, ROLLBACK.to_owned()]));
                }
                self.services.insert(name);
            }
            Op::Ecs(Operation::RunTask) => {
                let arns = answer["tasks"].as_array().into_iter().flatten().filter_map(|task| task["taskArn"].as_str());
                self.started.extend(arns.filter_map(|arn| arn.rsplit('/').next()?.parse::<TaskId>().ok()));
            }
            Op::Ecs(Operation::StopTask) => {
                self.stopped.extend(request["task"].as_str().and_then(|task| task.parse::<TaskId>().ok()));
            }
            Op::Ecs(_) | Op::Scheduler(_) | Op::Events(_) => {}
        }
    }

    /// All of it is so.
    pub(crate) fn check(&self, world: &World, state: &State) {
        let wrong = |what: fmt::Arguments<'_>| world.trace.wrong(what);
        for id in self.started.iter().filter(|id| state.task(**id).is_none()) {
            wrong(format_args!("task {id} was answered to a client and is not there"));
        }
        for id in &self.stopped {
            if state.task(*id).is_none_or(|task| task.desired != DesiredStatus::Stopped) {
                wrong(format_args!("the stop of task {id} was answered to a client and is forgotten"));
            }
        }
        for name in &self.services {
            if !state.services().any(|(key, _)| *key.name == **name) {
                wrong(format_args!("service {name} was answered to a client and is not there"));
            }
        }
        for (fact, may) in &self.facts {
            if let Some(is) = fact.of(state).filter(|is| !may.contains(is)) {
                wrong(format_args!("{fact:?} was answered to a client as {may:?} and is {is}"));
            }
        }
    }
}
