//! Task protection: a service's task that scale-in and deployments leave alone for a while.

use crate::agent::Unavailable;
use crate::change::Change;
use crate::command::{Command, Tx};
use crate::records::{RolloutState, ServiceKey, Task};
use crate::services::is_superseded;
use crate::show::task_numbers;
use crate::state::State;
use longshore_model::{ClusterKey, DesiredStatus, TaskId, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// Why a task's protection was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotProtected {
    /// There is no such task.
    Missing,
    /// It is no service's, or is on its way out.
    NotValid,
    /// It is of an older deployment, and the newest one waits for such protected tasks alone.
    Blocked,
}

impl NotProtected {
    /// ECS's reason.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Missing => "MISSING",
            Self::NotValid => "TASK_NOT_VALID",
            Self::Blocked => "DEPLOYMENT_BLOCKED",
        }
    }

    /// For people.
    pub(crate) const fn detail(self) -> &'static str {
        match self {
            Self::Missing => "There is no such task in the cluster.",
            Self::NotValid => "The task is not part of a service, or it is stopping.",
            Self::Blocked => {
                "The deployment of the service waits for protected tasks of an older deployment, and this is one of \
                 them. Take the protection away, or let it expire."
            }
        }
    }
}

/// Whether a task can be protected at all.
pub(crate) fn protectable<'a>(
    state: &'a State,
    cluster: &ClusterKey,
    id: TaskId,
) -> Result<&'a Arc<Task>, NotProtected> {
    let task = state.task(id).filter(|task| task.cluster == *cluster).ok_or(NotProtected::Missing)?;
    let of_service = ServiceKey::of_group(cluster, &task.group).is_some_and(|key| state.service(&key).is_some());
    let stays = task.is_live() && task.desired == DesiredStatus::Running;
    if of_service && stays { Ok(task) } else { Err(NotProtected::NotValid) }
}

/// Protects tasks for so long, or takes their protection away.
pub(crate) struct ProtectTasks {
    pub(crate) cluster: ClusterKey,
    pub(crate) tasks: Vec<TaskId>,
    /// How long; `None` takes the protection away.
    pub(crate) time: Option<Duration>,
}

impl Command for ProtectTasks {
    const NAME: &'static str = "ProtectTasks";
    type Reply = Vec<Result<Arc<Task>, NotProtected>>;
    type Error = Unavailable;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Self::Reply, Unavailable> {
        let Self { cluster, tasks, time } = self;
        let mut answers = Vec::new();
        for id in tasks {
            answers.push(protect(tx, &cluster, id, time));
        }
        Ok(answers)
    }
}

fn protect(
    tx: &mut Tx<'_>,
    cluster: &ClusterKey,
    id: TaskId,
    time: Option<Duration>,
) -> Result<Arc<Task>, NotProtected> {
    let before = Arc::clone(protectable(tx.state(), cluster, id)?);
    if time.is_some() && is_blocking(tx.state(), &before, tx.now) {
        return Err(NotProtected::Blocked);
    }
    let mut task = (*before).clone();
    task.protected_until = time.map(|time| tx.now.after(time));
    if task.protected_until != before.protected_until {
        task.version += 1;
    }
    let task = Arc::new(task);
    tx.change(Change::Task(Arc::clone(&task)));
    Ok(task)
}

/// Whether a deployment has all of its own tasks and waits for nothing but protected tasks of older ones, of which this
/// is one.
fn is_blocking(state: &State, task: &Task, now: Timestamp) -> bool {
    let key = ServiceKey::of_group(&task.cluster, &task.group);
    let Some(service) = key.and_then(|key| state.service(&key)).map(|service| &service.record) else { return false };
    let Some(primary) = service.deployments.first() else { return false };
    let own = |task: &Task| task.started_by.as_deref() == Some(&*primary.id) && !is_superseded(state, primary, task);
    if own(task) || primary.state != RolloutState::InProgress {
        return false;
    }
    let numbers = task_numbers(state, service, primary, true);
    let tasks = state.service_tasks(&service.key);
    let mut older = tasks.iter().filter(|task| task.desired == DesiredStatus::Running && !own(task));
    numbers.running >= numbers.requested && older.all(|task| task.is_protected(now))
}
