//! What clients were answered, and has to be true from then on: over every crash, until somebody asks for something
//! else.
//!
//! A request whose answer is awaited, or was lost, may have been done or not: until the next answer both hold.

use crate::control::Op;
use crate::firings;
use crate::world::World;
use longshore_core::State;
use longshore_core::records::{Service, TaskSetStatus};
use longshore_ecs_api::events::EventsOperation;
use longshore_ecs_api::scheduler::SchedulerOperation;
use longshore_ecs_api::{EpochSeconds, Operation};
use longshore_model::{DesiredStatus, InstanceId, TaskId, Timestamp};
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
    /// Whether a service has a task set that was not deleted.
    TaskSet(String, String),
    /// Its share of the desired count.
    Scale(String, String),
    /// Whether it is the primary one.
    IsPrimary(String, String),
    /// Until when a task is protected.
    Protected(TaskId),
    /// Whether a host takes tasks.
    Host(InstanceId),
    /// Whether a host is registered. Once it is not, it never is again.
    Registered(InstanceId),
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
/// A task set that is the primary one, and one that is not.
const PRIMARY: &str = "primary";
const BESIDE: &str = "beside it";
/// A task without protection.
const UNPROTECTED: &str = "not protected";

impl Fact {
    /// How it is; `None` when nothing is to be said of it, since what it is of is gone.
    fn of(&self, state: &State) -> Option<String> {
        let service = |name: &str| {
            let found = state.services().find(|(key, _)| *key.name == *name).map(|(_, found)| &found.record);
            found.filter(|service| service.is_active())
        };
        let set = |of: &str, id: &str| {
            let sets = &service(of)?.task_sets;
            sets.iter().find(|set| *set.deployment.id == *id && set.status != TaskSetStatus::Draining)
        };
        match self {
            Self::Service(name) => Some(service(name).map_or(NONE, |_| THERE).to_owned()),
            Self::Desired(name) => service(name).map(|service| service.desired.to_string()),
            Self::Percents(name) => service(name).map(|service| percents(service)),
            Self::Primary(name) => {
                let primary = service(name)?.deployments.first()?;
                Some(if primary.is_rollback { ROLLBACK.to_owned() } else { primary.id.to_string() })
            }
            Self::TaskSet(of, id) => Some(set(of, id).map_or(NONE, |_| THERE).to_owned()),
            Self::Scale(of, id) => set(of, id).map(|set| share(set.scale)),
            Self::IsPrimary(of, id) => {
                let is_primary = set(of, id)?.status == TaskSetStatus::Primary;
                Some(if is_primary { PRIMARY } else { BESIDE }.to_owned())
            }
            Self::Protected(id) => {
                let task = state.task(*id).filter(|task| task.is_live() && task.desired == DesiredStatus::Running)?;
                Some(task.protected_until.map_or_else(|| UNPROTECTED.to_owned(), |until| until.millis().to_string()))
            }
            Self::Registered(id) => {
                let host = state.host(*id).filter(|host| host.record.status.is_registered());
                Some(host.map_or(NONE, |_| THERE).to_owned())
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

    /// Whether what was answered holds no more by itself: a protection whose time has come.
    fn is_over(&self, may: &BTreeSet<String>, now: Timestamp) -> bool {
        let is_past = |until: &String| until.parse::<i64>().is_ok_and(|until| until <= now.millis());
        matches!(self, Self::Protected(_)) && may.iter().any(is_past)
    }
}

/// How [`Fact::Scale`] is told.
fn share(percent: f64) -> String {
    format!("{percent:.1} %")
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
            Op::Ecs(Operation::DeregisterContainerInstance) => {
                let id = request["containerInstance"].as_str().and_then(|id| id.parse::<InstanceId>().ok());
                Self::so(id.map(|id| (Fact::Registered(id), NONE.to_owned())).into_iter().collect())
            }
            Op::Ecs(Operation::UpdateTaskProtection) => {
                let ids = request["tasks"].as_array().into_iter().flatten();
                let ids = ids.filter_map(|id| id.as_str()?.parse::<TaskId>().ok());
                if request["protectionEnabled"] == true {
                    // Until when, the answer says.
                    Self { so: Vec::new(), open: ids.map(Fact::Protected).collect() }
                } else {
                    Self::so(ids.map(|id| (Fact::Protected(id), UNPROTECTED.to_owned())).collect())
                }
            }
            Op::Ecs(Operation::UpdateTaskSet) => {
                let scale = request["scale"]["value"].as_f64().unwrap_or_default();
                Self::so(vec![(Fact::Scale(text("service"), text("taskSet")), share(scale))])
            }
            Op::Ecs(Operation::DeleteTaskSet) => {
                Self::so(vec![(Fact::TaskSet(text("service"), text("taskSet")), NONE.to_owned())])
            }
            Op::Ecs(Operation::UpdateServicePrimaryTaskSet) => {
                let fact = Fact::IsPrimary(text("service"), text("primaryTaskSet"));
                Self::so(vec![(fact, PRIMARY.to_owned())])
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
        let mut asked = Asked::of(op, request);
        asked.so.extend(self.others(op, request));
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

    /// What a request does to task sets that it does not name: another one is the primary one then, or they go with
    /// their service.
    fn others(&self, op: Op, request: &Value) -> Vec<(Fact, String)> {
        let service = request["service"].as_str().unwrap_or_default();
        let primary = request["primaryTaskSet"].as_str().unwrap_or_default();
        let becomes = |fact: &Fact| match (op, fact) {
            (Op::Ecs(Operation::DeleteService), Fact::TaskSet(of, _)) if of == service => Some(NONE),
            (Op::Ecs(Operation::UpdateServicePrimaryTaskSet), Fact::IsPrimary(of, set))
                if of == service && set != primary =>
            {
                Some(BESIDE)
            }
            _ => None,
        };
        self.facts.keys().filter_map(|fact| Some((fact.clone(), becomes(fact)?.to_owned()))).collect()
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
            Op::Ecs(Operation::CreateTaskSet) => self.task_set(request, &answer["taskSet"]),
            Op::Ecs(Operation::UpdateTaskProtection) => {
                for task in answer["protectedTasks"].as_array().into_iter().flatten() {
                    let id = task["taskArn"].as_str().and_then(|arn| arn.rsplit('/').next()?.parse::<TaskId>().ok());
                    let until = task["expirationDate"].as_f64().map(|until| EpochSeconds(until).millis().to_string());
                    if let (Some(id), Some(until)) = (id, until) {
                        self.facts.insert(Fact::Protected(id), BTreeSet::from([until]));
                    }
                }
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

    /// A task set was made; or it was before, by a request with the same token, and may have changed since.
    fn task_set(&mut self, request: &Value, set: &Value) {
        let (Some(of), Some(id)) = (request["service"].as_str(), set["id"].as_str()) else { return };
        let mut is = |fact: fn(String, String) -> Fact, how: String| {
            self.facts.insert(fact(of.to_owned(), id.to_owned()), BTreeSet::from([how]));
        };
        let status = set["status"].as_str().unwrap_or_default();
        if status == "DRAINING" {
            return is(Fact::TaskSet, NONE.to_owned());
        }
        is(Fact::TaskSet, THERE.to_owned());
        is(Fact::IsPrimary, if status == "PRIMARY" { PRIMARY } else { BESIDE }.to_owned());
        if let Some(scale) = set["scale"]["value"].as_f64() {
            is(Fact::Scale, share(scale));
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
        let now = world.wall.time();
        for (fact, may) in self.facts.iter().filter(|(fact, may)| !fact.is_over(may, now)) {
            if let Some(is) = fact.of(state).filter(|is| !may.contains(is)) {
                wrong(format_args!("{fact:?} was answered to a client as {may:?} and is {is}"));
            }
        }
    }
}
