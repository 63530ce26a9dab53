//! Task sets of services with the EXTERNAL controller: making, scaling and deleting them, and carrying out what was
//! decided for them.

use crate::change::Change;
use crate::command::{Command, Tx};
use crate::commands::service::{NewDeployment, active, deployment, usable};
use crate::commands::service_step::{Moved, Moves, StepError, Stepped, conclude};
use crate::records::{
    DeploymentController, RolloutState, Service, ServiceKey, ServiceRevision, ServiceTaskSet, Tags, TaskSetStatus,
};
use crate::services::check;
use crate::services::words::Said;
use longshore_ecs_api::{ApiError, ErrorCode};
use longshore_model::planted::{Bug, is_planted};
use std::sync::Arc;

/// Task sets that a service may have at a time.
const MAX_SETS: usize = 20;

/// A task set to be made.
pub(crate) struct CreateTaskSet {
    pub(crate) key: ServiceKey,
    /// What it runs; its id and time are those of the command.
    pub(crate) revision: ServiceRevision,
    pub(crate) scale: f64,
    pub(crate) external_id: Option<String>,
    pub(crate) client_token: Option<String>,
    pub(crate) tags: Tags,
    pub(crate) new: NewDeployment,
}

impl Command for CreateTaskSet {
    const NAME: &'static str = "CreateTaskSet";
    /// The id of the set.
    type Reply = Arc<str>;
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<str>, ApiError> {
        let Self { key, revision, scale, external_id, client_token, tags, new } = self;
        let before = external(tx, &key)?;
        let made = client_token
            .as_ref()
            .and_then(|token| before.task_sets.iter().find(|set| set.client_token.as_ref() == Some(token)));
        if let Some(made) = made {
            return Ok(Arc::clone(&made.deployment.id));
        }
        if before.task_sets.len() >= MAX_SETS {
            return Err(ApiError::new(ErrorCode::LimitExceeded, format!("A service can have {MAX_SETS} task sets.")));
        }
        // A security group may be gone since it was looked at.
        check(tx.state(), &before, &revision)?;
        usable(tx, &revision)?;
        let deployment = deployment(&new, revision, false, tx.now);
        let id = Arc::clone(&deployment.id);
        let mut service = (*before).clone();
        service.task_sets.push(ServiceTaskSet {
            deployment,
            status: TaskSetStatus::Active,
            scale,
            stability_at: tx.now,
            external_id,
            client_token,
            tags,
        });
        conclude(tx, &before, service, Vec::new(), Vec::new());
        Ok(id)
    }
}

/// What is to become of a task set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum TaskSetEdit {
    /// Another share of the desired count, in percent.
    Scale(f64),
    /// The primary one.
    Primary,
    /// None: its tasks stop. `force`: even while it is scaled above 0.
    Delete { force: bool },
}

/// Changes a task set.
pub(crate) struct EditTaskSet {
    pub(crate) key: ServiceKey,
    pub(crate) id: String,
    pub(crate) edit: TaskSetEdit,
}

impl Command for EditTaskSet {
    const NAME: &'static str = "EditTaskSet";
    type Reply = ();
    type Error = ApiError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), ApiError> {
        let Self { key, id, edit } = self;
        let mut service = (*external(tx, &key)?).clone();
        let at = service.task_sets.iter().position(|set| *set.deployment.id == *id);
        let at = at.ok_or_else(no_task_set)?;
        if service.task_sets[at].status == TaskSetStatus::Draining {
            return match edit {
                TaskSetEdit::Delete { .. } => Ok(()),
                TaskSetEdit::Scale(_) | TaskSetEdit::Primary => {
                    Err(ApiError::invalid("The task set is DRAINING: it was deleted and its tasks are stopping."))
                }
            };
        }
        match edit {
            TaskSetEdit::Scale(scale) => service.task_sets[at].scale = scale,
            TaskSetEdit::Primary => {
                let others = service.task_sets.iter_mut().filter(|set| set.status == TaskSetStatus::Primary);
                others.for_each(|set| set.status = TaskSetStatus::Active);
                service.task_sets[at].status = TaskSetStatus::Primary;
            }
            TaskSetEdit::Delete { force } => {
                if !force && service.task_sets[at].scale > 0.0 {
                    return Err(ApiError::invalid(
                        "The task set cannot be deleted while it is scaled above 0. Scale it to 0 first, or use force.",
                    ));
                }
                service.task_sets[at].status = TaskSetStatus::Draining;
                if is_planted(Bug::DeletedSetsAreForgotten) {
                    service.task_sets.remove(at);
                    tx.change(Change::Service(Arc::new(service)));
                    return Ok(());
                }
            }
        }
        let set = &mut service.task_sets[at];
        set.deployment.updated_at = tx.now;
        match edit {
            TaskSetEdit::Scale(_) | TaskSetEdit::Delete { .. } => {
                set.deployment.state = RolloutState::InProgress;
                set.stability_at = tx.now;
            }
            TaskSetEdit::Primary => {}
        }
        tx.change(Change::Service(Arc::new(service)));
        Ok(())
    }
}

/// What was decided for a task set, to be carried out as it is.
pub(crate) struct StepTaskSet {
    pub(crate) moves: Moves,
    pub(crate) id: Arc<str>,
    /// Whether its tasks are as they should be.
    pub(crate) steady: bool,
    /// Whether it was deleted and has no task left.
    pub(crate) gone: bool,
    pub(crate) says: Vec<Said>,
    /// Ids for events.
    pub(crate) event_ids: Vec<uuid::Uuid>,
}

impl Command for StepTaskSet {
    const NAME: &'static str = "StepTaskSet";
    type Reply = Stepped;
    type Error = StepError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Stepped, StepError> {
        let key = self.moves.key.clone();
        let at = |service: &Service| service.task_sets.iter().position(|set| set.deployment.id == self.id);
        let moved = self.moves.carry_out(tx, |service| at(service).map(|at| &mut service.task_sets[at].deployment))?;
        let Moved { before, mut service, said, done } = moved;
        let at = at(&service).ok_or(StepError::Outdated)?;
        let mut said: Vec<Said> = said.into_iter().map(|said| said.of_task_set(&key, &self.id)).collect();
        // After what moved, so that the next step does not take it for news.
        said.extend(self.says);
        let set = &mut service.task_sets[at];
        let state = if self.steady { RolloutState::Completed } else { RolloutState::InProgress };
        if set.deployment.state != state {
            set.deployment.state = state;
            set.stability_at = tx.now;
        }
        if self.gone {
            service.task_sets.remove(at);
        }
        conclude(tx, &before, service, said, self.event_ids);
        Ok(done)
    }
}

/// ECS's words for a task set that is not there.
pub(crate) fn no_task_set() -> ApiError {
    ApiError::new(ErrorCode::TaskSetNotFound, "The specified task set was not found.")
}

/// A service that may have task sets.
///
/// # Errors
/// In ECS's words, when there is none of that name, or its controller is another one.
fn external(tx: &Tx<'_>, key: &ServiceKey) -> Result<Arc<Service>, ApiError> {
    let service = active(tx.state(), key)?;
    match service.controller {
        DeploymentController::External => Ok(service),
        DeploymentController::Ecs => Err(not_external()),
    }
}

/// What a service that deploys by itself is answered.
pub(crate) fn not_external() -> ApiError {
    ApiError::invalid("Task sets are of services with deploymentController EXTERNAL; this one's is ECS.")
}
