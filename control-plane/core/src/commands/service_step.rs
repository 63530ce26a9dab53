//! Carrying out what was decided for a service.

use crate::agent::Unavailable;
use crate::change::Change;
use crate::command::{Command, Tx};
use crate::commands::deployment::{Turn, turn};
use crate::commands::place::{Launch, PlaceError, Plan, plan, settle};
use crate::commands::service::{NewDeployment, hold, let_go, take_back};
use crate::commands::service_event::{MAX_EVENTS, new_events};
use crate::commands::service_failure::count_failure;
use crate::records::{
    RolloutState, Service, ServiceDeployment, ServiceKey, ServiceRevision, ServiceStatus, Stop, Task,
};
use crate::services::lost::is_lost_still;
use crate::services::words::{self, End, Said};
use crate::state::{Silent, State};
use longshore_model::{DesiredStatus, StopCode, TaskId, Timestamp};
use longshore_rollout::{Verdict, Why};
use std::sync::Arc;

/// What was decided for the tasks of a service's PRIMARY deployment or of a task set, to be carried out as it is.
pub(crate) struct Moves {
    pub(crate) key: ServiceKey,
    /// The [`ServiceState::epoch`] that it was decided at.
    pub(crate) epoch: u64,
    /// Tasks to start, and where; without a plan it is made when the step's turn comes, where nothing changes
    /// meanwhile.
    pub(crate) launch: Option<(Arc<Launch>, Option<Plan>)>,
    pub(crate) recovered: bool,
    pub(crate) forgiven: bool,
    pub(crate) stops: Vec<longshore_rollout::Stop>,
    /// The silent hosts of its cluster when it was decided, which stops of lost tasks rest on.
    pub(crate) silent: Silent,
}

/// What was moved, with the service before and after it, which is not kept yet.
pub(super) struct Moved {
    pub(super) before: Arc<Service>,
    pub(super) service: Service,
    /// What there is to say of it.
    pub(super) said: Vec<Said>,
    pub(super) done: Stepped,
}

impl Moves {
    /// Starts and stops the tasks. `own` is the deployment that does, if the service still has it.
    pub(super) fn carry_out(
        self,
        tx: &mut Tx<'_>,
        own: impl Fn(&mut Service) -> Option<&mut ServiceDeployment>,
    ) -> Result<Moved, StepError> {
        let Self { key, epoch, launch, recovered, forgiven, stops, silent } = self;
        let state = tx.state().service(&key).filter(|service| service.epoch == epoch);
        let before = Arc::clone(&state.ok_or(StepError::Outdated)?.record);
        let mut service = (*before).clone();
        let started = start_all(tx, launch)?;
        // What this step stops for its health is not forgiven by it.
        let by = own(&mut service).map(|own| {
            own.forgive(recovered, forgiven);
            Arc::clone(&own.id)
        });
        let stopped = stop_all(tx, &mut service, &stops, &silent, by.as_deref().unwrap_or_default())?;
        let said = words::started(&key, &started).into_iter().chain(words::stopped(&key, &stopped));
        let said = said.map(Said::from).collect();
        let done = Stepped { started: started.len(), stopped: stopped.len() };
        Ok(Moved { before, service, said, done })
    }
}

/// What was decided for a service, to be carried out as it is.
pub(crate) struct StepService {
    pub(crate) moves: Moves,
    pub(crate) verdict: Option<Verdict>,
    /// Deployments without tasks, as indexes.
    pub(crate) gone: Vec<usize>,
    /// Whether the service is over.
    pub(crate) over: bool,
    /// What is to be said beside what follows from all this.
    pub(crate) says: Vec<Said>,
    pub(crate) new: NewDeployment,
    /// Ids for events.
    pub(crate) event_ids: Vec<uuid::Uuid>,
}

/// What a step did.
#[derive(Debug, Default)]
pub(crate) struct Stepped {
    pub(crate) started: usize,
    pub(crate) stopped: usize,
}

/// Why a step was not done.
#[derive(Debug)]
pub(crate) enum StepError {
    /// The service or its hosts have changed since it was decided.
    Outdated,
    /// It cannot be made durable.
    Unavailable(Unavailable),
}

impl From<Unavailable> for StepError {
    fn from(why: Unavailable) -> Self {
        Self::Unavailable(why)
    }
}

impl Command for StepService {
    const NAME: &'static str = "StepService";
    type Reply = Stepped;
    type Error = StepError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Stepped, StepError> {
        let key = self.moves.key.clone();
        let moved = self.moves.carry_out(tx, |service| service.deployments.first_mut())?;
        let Moved { before, mut service, mut said, done } = moved;
        // After what moved, so that the next step does not take it for news.
        said.extend(self.says);
        for index in self.gone.iter().rev() {
            service.deployments.remove(*index);
        }
        match self.verdict {
            None => {}
            Some(Verdict::Completed) => {
                if let Some(primary) = service.deployments.first_mut() {
                    primary.state = RolloutState::Completed;
                    primary.reason = words::completed(&primary.id);
                    primary.updated_at = tx.now;
                    said.push(words::deployment_completed(&key, &primary.id).into());
                    service.completed = Some(primary.revision.clone());
                }
                turn(tx, &before, Turn::Completed);
            }
            Some(Verdict::Failed { roll_back }) => {
                if let Some(primary) = before.deployments.first() {
                    said.push(words::deployment_failed(&key, &primary.id).into());
                }
                let rollback = fail(tx.state(), &mut service, roll_back, &self.new, tx.now);
                if let Some((to, _)) = &rollback {
                    said.push(words::rolling_back(&key, to).into());
                }
                turn(tx, &before, Turn::Failed { rollback });
            }
        }
        if self.over {
            service.status = ServiceStatus::Inactive { since: tx.now };
            service.deployments.clear();
            service.task_sets.clear();
            service.completed = None;
        }
        conclude(tx, &before, service, said, self.event_ids);
        Ok(done)
    }
}

/// Starts the tasks of a step.
fn start_all(tx: &mut Tx<'_>, launch: Option<(Arc<Launch>, Option<Plan>)>) -> Result<Vec<TaskId>, StepError> {
    let Some((launch, planned)) = launch else { return Ok(Vec::new()) };
    let planned = match planned {
        Some(made_before) => Ok(made_before),
        None => plan(tx.state(), &launch).map_err(PlaceError::from),
    };
    let tasks = planned.and_then(|plan| settle(tx, &launch, &plan)).map_err(|error| match error {
        PlaceError::Outdated => StepError::Outdated,
        PlaceError::Api(error) => StepError::Unavailable(Unavailable(error.to_string())),
    })?;
    Ok(tasks.iter().map(|task| task.id).collect())
}

/// Stops tasks of a service, for the deployment or task set `by`.
fn stop_all(
    tx: &mut Tx<'_>,
    service: &mut Service,
    stops: &[longshore_rollout::Stop],
    silent: &Silent,
    by: &str,
) -> Result<Vec<TaskId>, StepError> {
    let mut stopped = Vec::new();
    for stop in stops {
        let task = tx.state().task(stop.task).filter(|task| task.desired == DesiredStatus::Running);
        let Some(task) = task.map(Arc::clone) else { return Err(StepError::Outdated) };
        // Others may have gone silent with its host since.
        if stop.why == Why::Lost && !is_lost_still(tx.state(), task.instance, silent) {
            return Err(StepError::Outdated);
        }
        if stop.why == Why::Ill {
            count_failure(service, task.started_by.as_deref(), tx.now);
        }
        let reason = words::stop_reason(stop.why, by);
        let code = match stop.why {
            Why::Lost => StopCode::InfrastructureHealth,
            Why::ScaleIn | Why::Superseded | Why::Draining | Why::Ill | Why::Misplaced | Why::Deleted => {
                StopCode::ServiceSchedulerInitiated
            }
        };
        stopped.push(task.id);
        tx.change(Change::Task(Arc::new(asked_to_stop(&task, Stop { code: Some(code), reason }, tx.now))));
    }
    Ok(stopped)
}

/// A task that its service stops.
fn asked_to_stop(before: &Task, stop: Stop, now: Timestamp) -> Task {
    let mut task = before.clone();
    task.desired = DesiredStatus::Stopped;
    task.stop.get_or_insert(stop);
    task.stopping_at.get_or_insert(now);
    task.version += 1;
    task.note(Some(before), now);
    task
}

/// Keeps a service as it is after `before`, and what there is to say.
pub(super) fn conclude(tx: &mut Tx<'_>, before: &Service, mut service: Service, said: Vec<Said>, ids: Vec<uuid::Uuid>) {
    // Images of a revision are those of its first task for as long as it runs or may be brought back.
    let is_of = |service: &Service, id: &str| service.revisions().any(|revision| *revision.id == *id);
    for new in service.revisions().filter(|revision| !is_of(before, &revision.id)) {
        hold(tx, new);
    }
    let Some(latest) = tx.state().service(&before.key).map(Arc::clone) else { return };
    let events = new_events(&latest, &mut service, said, ids, tx.now);
    if service != *before {
        tx.change(Change::Service(Arc::new(service)));
        let_go(tx, &before.key, before.revisions().chain(latest.proven()));
    }
    let over = (latest.events.len() + events.len()).saturating_sub(MAX_EVENTS);
    for old in latest.events.iter().take(over) {
        tx.change(Change::ForgetServiceEvent(before.key.clone(), old.number));
    }
    events.into_iter().for_each(|event| tx.change(Change::ServiceEvent(Arc::new(event))));
}

/// The breaker opened: the deployment starts nothing any more, and what ran before comes back if that is wanted.
/// Gives the deployment that brings it back, and what.
fn fail(
    state: &State,
    service: &mut Service,
    roll_back: bool,
    new: &NewDeployment,
    now: Timestamp,
) -> Option<(Arc<str>, ServiceRevision)> {
    if let Some(primary) = service.deployments.first_mut() {
        primary.state = RolloutState::Failed;
        primary.reason = words::failed(End::Breaker);
        primary.updated_at = now;
    }
    let revision = service.completed.clone().filter(|_| roll_back)?;
    Some((take_back(state, service, &revision, new, End::Breaker, now), revision))
}
