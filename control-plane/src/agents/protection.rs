//! Task protection, on its way between the core and the agent of the task that asks for it.

use super::Fleet;
use longshore_core::{ProtectionChange, ProtectionError};
use longshore_model::{InstanceId, TaskId};
use longshore_proto::v1;
use tonic::Status;

/// Asks for or changes the protection of a task.
///
/// # Errors
/// `INVALID_ARGUMENT` for what names no task and for a time that ECS does not take, `PERMISSION_DENIED` for a task that
/// is not on `instance`, `UNAVAILABLE` when it cannot be kept now. That a task cannot be protected is an answer.
pub(super) async fn protection<F: Fleet>(
    fleet: &F,
    instance: InstanceId,
    request: &v1::TaskProtectionRequest,
) -> Result<v1::TaskProtectionResponse, Status> {
    let task: Result<TaskId, _> = request.task.parse();
    let task = task.map_err(|error| Status::invalid_argument(format!("field `task` {error}")))?;
    let change = match request.protect {
        None => ProtectionChange::None,
        Some(true) => ProtectionChange::Protect(request.expires_in_minutes),
        Some(false) => ProtectionChange::Release,
    };
    match fleet.task_protection(instance, task, change).await {
        Ok(until) => {
            if change != ProtectionChange::None {
                tracing::info!(%instance, %task, until = ?until, "a task changed its protection");
            }
            let protected_until_millis = until.map_or(0, |until| until.millis());
            Ok(v1::TaskProtectionResponse { protected_until_millis, ..Default::default() })
        }
        Err(ProtectionError::Refused { reason, detail }) => Ok(v1::TaskProtectionResponse {
            protected_until_millis: 0,
            failure_reason: reason.to_owned(),
            failure_detail: detail.to_owned(),
        }),
        Err(error @ ProtectionError::NotAssigned(_)) => Err(Status::permission_denied(error.to_string())),
        Err(ProtectionError::Minutes(text)) => Err(Status::invalid_argument(text)),
        Err(ProtectionError::Unavailable(why)) => Err(Status::unavailable(why.to_string())),
    }
}
