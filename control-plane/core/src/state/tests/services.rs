//! The services' part of the random sequences: what users ask of them, what is decided over them and carried out, and
//! how their tasks fare; and what has to hold of all that.

use super::HEALTHY_AFTER;
use super::lab::Lab;
use super::things::{cluster, pick, report};
use crate::commands::{
    CreateService, CreateTaskSet, DeleteService, EditTaskSet, NewDeployment, NotProtected, ProtectTasks, Report,
    ServiceEdit, StepError, StopServiceDeployment, StopType, TaskSetEdit, UpdateService,
};
use crate::config::{CoreConfig, Losses};
use crate::records::{
    DeploymentController, DeploymentRecord, RolloutState, SchedulingStrategy, Service, ServiceEvent, ServiceKey,
    ServiceRevision, ServiceStatus, Tags, Task, TaskSetStatus,
};
use crate::services::lost::Silences;
use crate::services::{Decider, Hearing, Step, words};
use crate::state::{Grave, ServiceState, State};
use longshore_ecs_api::enums::LaunchType;
use longshore_ecs_api::types::{DeploymentCircuitBreaker, DeploymentConfiguration};
use longshore_model::{DesiredStatus, InstanceId, TaskId, TaskReport, TaskStatus, Timestamp};
use longshore_rollout::{Picture, Stop, Why};
use proptest::prelude::{Strategy, any, prop, prop_oneof};
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Clone)]
pub(super) enum ServiceStep {
    Create {
        cluster: u8,
        name: u8,
        definition: u8,
        kind: u8,
        desired: u32,
    },
    Update {
        service: u8,
        desired: Option<u32>,
        definition: Option<u8>,
        force: bool,
    },
    Delete {
        service: u8,
        force: bool,
    },
    /// Decides over a service and carries it out. `age`: decided on a state that is that many commands old.
    Look {
        service: u8,
        age: u8,
    },
    StopDeployment {
        service: u8,
        back: bool,
    },
    /// Back to something that ran before.
    GoBack {
        service: u8,
        revision: u8,
    },
    CreateSet {
        service: u8,
        definition: u8,
        scale: u8,
    },
    EditSet {
        service: u8,
        set: u8,
        edit: u8,
    },
    Protect {
        task: u8,
        secs: Option<u16>,
    },
    /// The agents of a service's tasks report this of all of them; beyond the last status that they run.
    Fare {
        service: u8,
        status: u8,
    },
}

pub(super) fn step() -> impl Strategy<Value = ServiceStep> {
    let optional = || prop::option::of(any::<u8>());
    prop_oneof![
        3 => (0..2u8, 0..3u8, any::<u8>(), 0..4u8, 0..6u32).prop_map(|(cluster, name, definition, kind, desired)| {
            ServiceStep::Create { cluster, name, definition, kind, desired }
        }),
        3 => (any::<u8>(), prop::option::of(0..6u32), optional(), any::<bool>())
            .prop_map(|(service, desired, definition, force)| {
                ServiceStep::Update { service, desired, definition, force }
            }),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(service, force)| ServiceStep::Delete { service, force }),
        20 => (any::<u8>(), 0..4u8).prop_map(|(service, age)| ServiceStep::Look { service, age }),
        1 => any::<u8>().prop_map(|service| ServiceStep::StopDeployment { service, back: false }),
        // Often, since there is seldom anything to go back to, and it costs nothing where there is not.
        8 => any::<u8>().prop_map(|service| ServiceStep::StopDeployment { service, back: true }),
        8 => (any::<u8>(), any::<u8>()).prop_map(|(service, revision)| ServiceStep::GoBack { service, revision }),
        2 => (any::<u8>(), any::<u8>(), 0..101u8)
            .prop_map(|(service, definition, scale)| ServiceStep::CreateSet { service, definition, scale }),
        2 => (any::<u8>(), any::<u8>(), 0..8u8)
            .prop_map(|(service, set, edit)| ServiceStep::EditSet { service, set, edit }),
        2 => (any::<u8>(), prop::option::of(any::<u16>())).prop_map(|(task, secs)| ServiceStep::Protect { task, secs }),
        8 => (any::<u8>(), 0..16u8).prop_map(|(service, status)| ServiceStep::Fare { service, status }),
    ]
}

/// What was reached, to see that random steps do reach it.
#[derive(Debug, Default)]
pub(super) struct Figures {
    started: usize,
    stopped: usize,
    outdated: usize,
    completed: usize,
    rolled_back: usize,
    over: usize,
    again: usize,
    sets: usize,
    spared: usize,
    back: usize,
}

impl Figures {
    fn is_enough(&self) -> bool {
        let Self { started, stopped, outdated, completed, rolled_back, over, again, sets, spared, back } = *self;
        let often = started >= 100 && stopped >= 50 && outdated >= 20 && sets >= 10 && spared >= 10;
        often && completed >= 5 && rolled_back >= 1 && over >= 5 && again >= 2 && back >= 2
    }
}

/// What decisions rest on beside the state.
#[derive(Debug)]
pub(super) struct Deciding {
    config: CoreConfig,
    silences: Silences,
    hearing: Hearing,
}

impl Default for Deciding {
    fn default() -> Self {
        let config =
            CoreConfig { return_within: Duration::ZERO, healthy_after: HEALTHY_AFTER, ..CoreConfig::default() };
        Self { config, silences: Silences::default(), hearing: Hearing::new(Duration::ZERO) }
    }
}

impl Deciding {
    fn at(&self, now: Timestamp) -> Decider<'_> {
        let ticks = now.since(Timestamp::from_millis(0));
        Decider { config: &self.config, silences: &self.silences, hearing: &self.hearing, ticks, boot: 1, now }
    }
}

impl Lab {
    fn service(&self, n: u8) -> Option<ServiceKey> {
        self.service_that(n, |_| true)
    }

    fn service_that(&self, n: u8, is: impl Fn(&ServiceState) -> bool) -> Option<ServiceKey> {
        let all: Vec<_> = self.state.services().filter(|(_, found)| is(found)).map(|(key, _)| key.clone()).collect();
        pick(&all, n)
    }

    fn revision(&self, definition: u8) -> Option<ServiceRevision> {
        Some(ServiceRevision {
            id: "".into(),
            definition: self.definition(definition)?,
            launch_type: LaunchType::Ec2,
            network: None,
            capacity: None,
            created_at: self.now,
        })
    }

    pub(super) fn service_step(&mut self, step: ServiceStep) {
        match step {
            ServiceStep::Create { cluster: n, name, definition, kind, desired } => {
                let new = ServiceKey { cluster: cluster(n), name: format!("s{name}").into() };
                // Names of services that are over are given again while they are remembered.
                let key = self.service_that(name, |found| found.record.is_over()).unwrap_or(new);
                let Some(revision) = self.revision(definition) else { return };
                let before = self.state.service(&key).map(Arc::clone);
                let service = service(key, kind, desired);
                let revision = (service.controller == DeploymentController::Ecs).then_some(revision);
                if self.run(CreateService { service, revision, new: NewDeployment::random() }).is_ok() {
                    self.figures.again += usize::from(before.is_some_and(|before| before.record.is_over()));
                }
            }
            ServiceStep::Update { service, desired, definition, force } => {
                let Some(key) = self.service(service) else { return };
                let daemon =
                    self.state.service(&key).is_some_and(|s| s.record.scheduling == SchedulingStrategy::Daemon);
                let definition = definition.and_then(|n| self.definition(n));
                let edit =
                    ServiceEdit { desired: desired.filter(|_| !daemon), definition, force, ..ServiceEdit::default() };
                drop(self.run(UpdateService { key, edit, new: NewDeployment::random() }));
            }
            ServiceStep::Delete { service, force } => {
                if let Some(key) = self.service(service) {
                    drop(self.run(DeleteService { key, force }));
                }
            }
            ServiceStep::Look { service, age } => {
                if let Some(key) = self.service(service) {
                    let _ = self.look_at(&key, age);
                }
            }
            ServiceStep::GoBack { service, revision } => {
                let ran = |found: &ServiceState| -> Vec<ServiceRevision> {
                    let runs = found.record.deployments.first().map(|primary| Arc::clone(&primary.revision.id));
                    found.proven().filter(|revision| Some(&revision.id) != runs.as_ref()).cloned().collect()
                };
                let can = |found: &ServiceState| found.record.is_active() && !ran(found).is_empty();
                let Some(key) = self.service_that(service, can) else { return };
                let all = self.state.service(&key).map(|found| ran(found)).unwrap_or_default();
                let Some(revision) = pick(&all, revision) else { return };
                let edit = ServiceEdit { revision: Some(revision.id.to_string()), ..ServiceEdit::default() };
                // Its definition may be gone.
                if let Ok(after) = self.run(UpdateService { key, edit, new: NewDeployment::random() }) {
                    assert_eq!(after.deployments[0].revision, revision, "as it was");
                    self.figures.back += 1;
                }
            }
            ServiceStep::StopDeployment { service, back } => {
                let runs = |found: &ServiceState| found.record.primary_revision().map(|revision| revision.id.clone());
                let earlier =
                    |found: &ServiceState| found.record.completed.as_ref().map(|revision| revision.id.clone());
                let can_go_back = |found: &ServiceState| earlier(found).is_some() && earlier(found) != runs(found);
                let is_one = |found: &ServiceState| found.under_way().is_some() && (!back || can_go_back(found));
                let Some(key) = self.service_that(service, is_one) else { return };
                let under_way = self.state.service(&key).and_then(|service| service.under_way());
                let Some(id) = under_way.map(|record| record.id.to_string()) else { return };
                let how = if back { StopType::Rollback } else { StopType::Abort };
                let (new, event_id) = (NewDeployment::random(), uuid::Uuid::new_v4());
                if self.run(StopServiceDeployment { key, id, how, new, event_id }).is_ok() && back {
                    self.figures.rolled_back += 1;
                }
            }
            ServiceStep::CreateSet { service, definition, scale } => {
                let external = |found: &ServiceState| found.record.controller == DeploymentController::External;
                let key = self.service_that(service, external);
                let (Some(key), Some(revision)) = (key, self.revision(definition)) else { return };
                let new = NewDeployment::random();
                let (external_id, client_token, tags) = (None, None, Tags::new());
                let set = CreateTaskSet { key, revision, scale: scale.into(), external_id, client_token, tags, new };
                self.figures.sets += usize::from(self.run(set).is_ok());
            }
            ServiceStep::EditSet { service, set, edit } => {
                let Some(key) = self.service_that(service, |found| !found.record.task_sets.is_empty()) else { return };
                let sets: Vec<_> = self.state.service(&key).map(|s| s.record.task_sets.clone()).unwrap_or_default();
                let Some(set) = pick(&sets, set) else { return };
                let edit = match edit {
                    0 | 1 => TaskSetEdit::Delete { force: edit == 1 },
                    2 => TaskSetEdit::Primary,
                    scale => TaskSetEdit::Scale(f64::from(scale - 3) * 25.0),
                };
                drop(self.run(EditTaskSet { key, id: set.deployment.id.to_string(), edit }));
            }
            ServiceStep::Protect { task, secs } => self.protect(task, secs),
            ServiceStep::Fare { service, status } => {
                if let Some(key) = self.service(service) {
                    let status = TaskStatus::ALL.get(usize::from(status)).copied().unwrap_or(TaskStatus::Running);
                    self.fare(&key, status);
                }
            }
        }
    }

    /// Only what a service wants to keep can be protected, and what is said is what is so.
    fn protect(&mut self, task: u8, secs: Option<u16>) {
        let Some(task) = self.task(task) else { return };
        let key = ServiceKey::of_group(&task.cluster, &task.group).filter(|key| self.state.service(key).is_some());
        let valid = key.is_some() && task.is_live() && task.desired == DesiredStatus::Running;
        let time = secs.map(|secs| Duration::from_secs(secs.into()));
        let command = ProtectTasks { cluster: task.cluster.clone(), tasks: vec![task.id], time };
        let Ok(mut answers) = self.run(command) else { return };
        let is = self.state.task(task.id).expect("nobody forgot it");
        match answers.pop().expect("one answer for one task") {
            Ok(answer) => {
                assert!(valid, "only a service's task is protected");
                assert_eq!((&answer, is.protected_until), (is, time.map(|time| self.now.after(time))));
            }
            Err(NotProtected::NotValid) => assert!(!valid && *is == task),
            Err(NotProtected::Blocked) => assert!(valid && time.is_some() && *is == task),
            Err(NotProtected::Missing) => panic!("it is there"),
        }
    }

    /// As its controller does. Gives how many tasks it started and stopped; `None` when there was nothing to do.
    fn look_at(&mut self, key: &ServiceKey, age: u8) -> Option<(usize, usize)> {
        let seen = match age {
            0 => self.state.clone(),
            _ => self.past[self.past.len().checked_sub(age.into())?].clone(),
        };
        let (step, _) = self.deciding.at(self.now).decided(&seen, key, false, self.now)?;
        let changed = seen.service(key).map(|service| service.epoch) != self.state.service(key).map(|s| s.epoch);
        let done = match step? {
            Step::Service(step) => {
                self.spares(&seen, &step.moves.stops);
                self.figures.completed += usize::from(step.verdict == Some(longshore_rollout::Verdict::Completed));
                self.figures.over += usize::from(step.over);
                self.run(*step)
            }
            Step::TaskSet(step) => {
                self.spares(&seen, &step.moves.stops);
                self.run(*step)
            }
        };
        match done {
            Ok(done) => {
                assert!(!changed, "what it was decided on has changed");
                self.figures.started += done.started;
                self.figures.stopped += done.stopped;
                Some((done.started, done.stopped))
            }
            Err(StepError::Outdated) => {
                assert!(age > 0, "a step that is decided on what there is holds");
                self.figures.outdated += 1;
                None
            }
            Err(StepError::Unavailable(why)) => panic!("{why}"),
        }
    }

    /// Nothing that is protected is stopped for less than a need.
    fn spares(&mut self, seen: &State, stops: &[Stop]) {
        let protected = |id: TaskId| seen.task(id).is_some_and(|task| task.is_protected(self.now));
        let spared = seen.tasks.keys().filter(|id| protected(**id)).count();
        for stop in stops {
            match stop.why {
                Why::ScaleIn | Why::Superseded => assert!(!protected(stop.task), "{:?} of a protected task", stop.why),
                Why::Draining | Why::Ill | Why::Lost | Why::Misplaced | Why::Deleted => {}
            }
        }
        self.figures.spared += spared;
    }

    fn fare(&mut self, key: &ServiceKey, status: TaskStatus) {
        let mut reports: BTreeMap<InstanceId, Vec<TaskReport>> = BTreeMap::new();
        for task in self.state.service_tasks(key) {
            let version = task.report_version + 1;
            let report = TaskReport { eni: self.eni(&task, 1), ..report(task.id, version, status) };
            reports.entry(task.instance).or_default().push(report);
        }
        for (instance, reports) in reports {
            if let Some(session) = self.sessions.get(&instance).copied() {
                drop(self.run(Report { instance, session, reports, first: false, healthy_after: HEALTHY_AFTER }));
            }
        }
    }

    pub(super) fn check_services(&self) -> Result<(), TestCaseError> {
        let state = &self.state;
        let mut tasks: HashMap<ServiceKey, BTreeSet<TaskId>> = HashMap::new();
        for task in state.tasks.values().filter(|task| task.is_live()) {
            if let Some(key) = ServiceKey::of_group(&task.cluster, &task.group) {
                tasks.entry(key).or_default().insert(task.id);
            }
        }
        let mut held = BTreeSet::new();
        for (key, service) in state.services() {
            let live = tasks.remove(key).unwrap_or_default();
            let listed: BTreeSet<_> = state.service_tasks(key).iter().map(|task| task.id).collect();
            prop_assert_eq!(&listed, &live);
            check_service(state, service, &live)?;
            check_events(service)?;
            check_deployments(service)?;
            held.extend(service.record.revisions().map(ServiceRevision::pins));
            let ran = service.proven().filter(|_| !service.record.is_over());
            held.extend(ran.map(ServiceRevision::pins));
        }
        prop_assert!(tasks.is_empty(), "tasks of no service: {:?}", tasks);
        prop_assert!(state.service_tasks.values().all(|ids| !ids.is_empty()));
        for key in &held {
            prop_assert!(state.pins(key).is_some_and(|pins| pins.held), "{} is needed and not held", key);
        }
        let before = self.past.last().into_iter().flat_map(State::services);
        let known = before.flat_map(|(_, service)| service.record.revisions().chain(service.proven()));
        for key in known.map(ServiceRevision::pins).filter(|key| !held.contains(key)) {
            prop_assert!(state.pins(&key).is_none_or(|pins| !pins.held), "{} is held for nothing", key);
        }
        self.check_users()?;
        self.check_service_moves()
    }

    /// How many refer to each definition, and what lies in which grave.
    fn check_users(&self) -> Result<(), TestCaseError> {
        let state = &self.state;
        let services = || state.services().map(|(_, service)| &service.record);
        let mut users: HashMap<_, u32> = HashMap::new();
        let of_tasks = state.tasks.values().map(|task| &task.definition);
        for definition in of_tasks.chain(services().flat_map(|service| service.definitions())) {
            *users.entry(definition.clone()).or_default() += 1;
            prop_assert!(state.definition(definition).is_some(), "its definition was deleted");
        }
        prop_assert_eq!(
            state.definition_users.iter().map(|(key, n)| (key.clone(), *n)).collect::<HashMap<_, _>>(),
            users
        );
        let graves: BTreeSet<_> =
            state.graves().filter(|(_, grave)| matches!(grave, Grave::Service(_))).cloned().collect();
        let over = services().filter_map(|service| match service.status {
            ServiceStatus::Inactive { since } => Some((since, Grave::Service(service.key.clone()))),
            ServiceStatus::Active | ServiceStatus::Draining => None,
        });
        prop_assert_eq!(graves, over.collect());
        Ok(())
    }

    /// What one command may make of a service.
    fn check_service_moves(&self) -> Result<(), TestCaseError> {
        let Some(before) = self.past.last() else { return Ok(()) };
        for (key, is) in self.state.services() {
            let Some(was) = before.service(key) else { continue };
            let moved = was.epoch != is.epoch;
            prop_assert!(is.epoch >= was.epoch);
            prop_assert!(!moved || self.touched.services.contains(key), "nobody looks at {}", key);
            prop_assert!(moved || *was.record == *is.record);
            prop_assert!(
                moved || basis(before, was, self.now) == basis(&self.state, is, self.now),
                "{} has changed",
                key
            );
            let begins_anew = match (was.record.status, is.record.status) {
                (ServiceStatus::Active, _)
                | (ServiceStatus::Draining, ServiceStatus::Draining | ServiceStatus::Inactive { .. }) => false,
                (ServiceStatus::Inactive { .. }, ServiceStatus::Active) => true,
                (was @ ServiceStatus::Inactive { .. }, is) => {
                    prop_assert_eq!(was, is);
                    false
                }
                (ServiceStatus::Draining, ServiceStatus::Active) => {
                    return Err(TestCaseError::fail(format!("{key} came back while it was being deleted")));
                }
            };
            prop_assert!(is.record.next_event >= was.record.next_event);
            let said = self.said.iter().filter(|event| event.service == *key);
            let numbers: Vec<u64> = said.map(|event| event.number).collect();
            let news: Vec<u64> = (was.record.next_event..is.record.next_event).collect();
            prop_assert_eq!(numbers, news, "each message is said once");
            if begins_anew {
                prop_assert!(
                    is.events.is_empty() && is.deployments.len() <= 1,
                    "nothing is left of the former {}",
                    key
                );
                continue;
            }
            for old in &was.record.deployments {
                let same = is.record.deployments.iter().find(|new| new.id == old.id);
                prop_assert!(
                    same.is_none_or(|new| new.failed_tasks >= old.failed_tasks && new.revision == old.revision)
                );
            }
            for old in was.deployments.iter().filter(|old| old.status.is_final()) {
                let same = is.deployments.iter().find(|new| new.number == old.number);
                prop_assert!(same.is_none_or(|new| new == old), "what is over stays as it was");
            }
        }
        Ok(())
    }
}

/// What decisions about a service rest on, apart from the time and from hosts whose loss is judged when a step is
/// carried out.
fn basis(state: &State, service: &ServiceState, now: Timestamp) -> Vec<Picture> {
    let patient = Losses { hold: Duration::MAX, ..Losses::default() };
    let config = CoreConfig { losses: patient, ..CoreConfig::default() };
    let deciding = Deciding { config, ..Deciding::default() };
    deciding.at(now).pictures(state, &service.record)
}

fn check_service(state: &State, service: &ServiceState, live: &BTreeSet<TaskId>) -> Result<(), TestCaseError> {
    let record = &service.record;
    let ids: Vec<_> = record.all_deployments().map(|deployment| Arc::clone(&deployment.id)).collect();
    prop_assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "a deployment twice");
    // A deployment goes once all that it has is on its way out.
    let stays = |task: &&Arc<Task>| task.desired == DesiredStatus::Running && task.status <= TaskStatus::Running;
    for task in live.iter().filter_map(|id| state.task(*id)).filter(stays) {
        prop_assert!(ids.iter().any(|id| Some(id) == task.started_by.as_ref()), "{} is of no deployment", task.id);
    }
    let primaries = record.task_sets.iter().filter(|set| set.status == TaskSetStatus::Primary).count();
    prop_assert!(primaries <= 1 && record.task_sets.len() <= 20);
    let is_there = state.cluster(&record.key.cluster).is_some_and(|cluster| cluster.record.is_active());
    match (record.status, record.controller) {
        (ServiceStatus::Inactive { .. }, _) => {
            prop_assert!(live.is_empty() && ids.is_empty() && record.completed.is_none());
            prop_assert!(service.under_way().is_none());
        }
        (ServiceStatus::Active | ServiceStatus::Draining, DeploymentController::Ecs) => {
            prop_assert!(is_there && !record.deployments.is_empty() && record.task_sets.is_empty());
        }
        (ServiceStatus::Active | ServiceStatus::Draining, DeploymentController::External) => {
            prop_assert!(is_there && record.deployments.is_empty());
        }
    }
    Ok(())
}

/// No message stands twice where the second says nothing new.
fn check_events(service: &ServiceState) -> Result<(), TestCaseError> {
    let events: Vec<&ServiceEvent> = service.events.iter().map(|event| &**event).collect();
    prop_assert!(events.len() <= 100, "{} events", events.len());
    prop_assert!(events.windows(2).all(|pair| pair[0].number < pair[1].number && pair[0].at <= pair[1].at));
    prop_assert!(events.last().is_none_or(|last| last.number < service.record.next_event));
    let mut moved: Option<&str> = None;
    let mut steady: Option<&str> = None;
    let mut since: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for event in events {
        if words::is_progress(&event.message) {
            prop_assert!(moved != Some(&event.message), "said again: {}", event.message);
            moved = Some(&event.message);
            if words::is_steady(&event.message) {
                prop_assert!(steady != Some(&event.message), "steady again: {}", event.message);
                steady = Some(&event.message);
            } else if !words::is_completion(&event.message) {
                steady = None;
            }
            since.clear();
        } else {
            let last = since.insert(&event.message, event.at);
            let again = Duration::from_secs(6 * 3600);
            prop_assert!(last.is_none_or(|last| event.at.since(last) >= again), "said again: {}", event.message);
        }
    }
    Ok(())
}

/// Service deployments as resources: a few, in order, and the last one alone is under way, carried by one that is
/// there.
fn check_deployments(service: &ServiceState) -> Result<(), TestCaseError> {
    let records: Vec<&DeploymentRecord> = service.deployments.iter().map(|record| &**record).collect();
    prop_assert!(records.len() <= 20 && records.windows(2).all(|pair| pair[0].number < pair[1].number));
    let under_way = records.iter().filter(|record| !record.status.is_final()).count();
    prop_assert_eq!(under_way, usize::from(service.under_way().is_some()));
    let Some(record) = service.under_way() else { return Ok(()) };
    let carried_by = record.rollback.as_ref().map_or(&record.carried_by, |rollback| &rollback.carried_by);
    let primary = service.record.deployments.first();
    let primary = primary.filter(|primary| primary.id == *carried_by && primary.state == RolloutState::InProgress);
    prop_assert!(service.record.is_active() && primary.is_some(), "{:?} is under way, and nothing carries it", record);
    Ok(())
}

/// A replica, one with a breaker that rolls back, a daemon, one with task sets.
fn service(key: ServiceKey, kind: u8, desired: u32) -> Service {
    let breaker =
        DeploymentCircuitBreaker { enable: Some(true), rollback: Some(true), ..DeploymentCircuitBreaker::default() };
    let breaker = (kind == 1).then_some(breaker);
    let daemon = kind == 2;
    Service {
        key,
        status: ServiceStatus::Active,
        scheduling: if daemon { SchedulingStrategy::Daemon } else { SchedulingStrategy::Replica },
        controller: if kind == 3 { DeploymentController::External } else { DeploymentController::Ecs },
        desired: if daemon { 0 } else { desired },
        configuration: DeploymentConfiguration {
            deployment_circuit_breaker: breaker,
            ..DeploymentConfiguration::default()
        },
        grace_secs: 0,
        constraints: Vec::new(),
        strategies: Vec::new(),
        capacity: Vec::new(),
        propagate_tags: None,
        managed_tags: false,
        execute_command: false,
        zone_rebalancing: None,
        tags: Tags::new(),
        created_by: String::new(),
        created_at: Timestamp::from_millis(0),
        request_hash: format!("{kind} {desired}"),
        deployments: Vec::new(),
        task_sets: Vec::new(),
        completed: None,
        next_event: 0,
    }
}

#[test]
fn random_steps_do_reach_services() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut sum = Figures::default();
    // The steps are the same every time; what they hit depends on ids, which are random.
    for _ in 0..200 {
        if sum.is_enough() {
            break;
        }
        let steps = prop::collection::vec(super::step(), 150).new_tree(&mut runner).expect("steps").current();
        let mut lab = Lab::new();
        lab.figures = sum;
        for step in steps {
            lab.step(step);
            if lab.has_moved() {
                lab.check_services().expect("holds");
            }
        }
        lab.check_store().expect("holds");
        // Where nothing happens any more, looking comes to an end.
        let keys: Vec<_> = lab.state.services().map(|(key, _)| key.clone()).collect();
        for key in keys {
            let moved = |done: Option<(usize, usize)>| done.is_some_and(|(started, stopped)| started + stopped > 0);
            let looks = (0..20).take_while(|_| moved(lab.look_at(&key, 0))).count();
            assert!(looks < 20, "{key} is never at rest");
        }
        sum = lab.figures;
    }
    assert!(sum.is_enough(), "{sum:?}");
}
