//! Task protection, asked of the control plane for a task that asks at the metadata endpoint.
//!
//! One call, one answer: whoever asked is told when the control plane is away, and asks again itself.

use super::chain;
use crate::identity::{IdentityHandle, dial, standing};
use crate::metadata::{Protect, Said, Wanted};
use async_trait::async_trait;
use longshore_model::{TaskId, Timestamp};
use longshore_proto::v1;
use std::time::Duration;
use tokio::sync::watch;
use tonic::{Code, Status};

/// Longest wait for the answer, the connection included: ECS's agent gives up then.
const PATIENCE: Duration = Duration::from_secs(4);

/// The control plane, as protection is asked of it.
pub(crate) struct TaskProtection {
    /// Where to connect; where the host joined when absent.
    control: Option<String>,
    member: watch::Receiver<Option<IdentityHandle>>,
}

impl TaskProtection {
    /// Asks `control`.
    pub(crate) fn new(control: Option<String>, member: watch::Receiver<Option<IdentityHandle>>) -> Self {
        Self { control, member }
    }

    async fn call(&self, request: v1::TaskProtectionRequest) -> Said {
        let Some(member) = self.member.borrow().clone() else {
            return Said::Away("this host has not joined yet".to_owned());
        };
        let identity = member.current();
        let control = self.control.as_deref().unwrap_or(&identity.control);
        let mut client = match dial::connect(&identity, control, PATIENCE).await {
            Ok(client) => client,
            Err(error) => return Said::Away(chain(&error)),
        };
        match client.task_protection(request).await {
            Ok(answer) => read(answer.into_inner()),
            Err(status) => refused(&status),
        }
    }
}

fn read(answer: v1::TaskProtectionResponse) -> Said {
    let v1::TaskProtectionResponse { protected_until_millis: until, failure_reason, failure_detail } = answer;
    if !failure_reason.is_empty() {
        return Said::Failure { reason: failure_reason, detail: failure_detail };
    }
    Said::Until((until != 0).then(|| Timestamp::from_millis(until)))
}

fn refused(status: &Status) -> Said {
    match status.code() {
        Code::InvalidArgument => Said::Invalid(status.message().to_owned()),
        Code::PermissionDenied => Said::Denied(standing::describe(status)),
        Code::Unimplemented => {
            Said::Away("the control plane is older than this agent and protects no tasks".to_owned())
        }
        _ => Said::Away(standing::describe(status)),
    }
}

#[async_trait]
impl Protect for TaskProtection {
    async fn ask(&self, task: TaskId, wanted: Wanted) -> Said {
        let (protect, expires_in_minutes) = match wanted {
            Wanted::Nothing => (None, None),
            Wanted::Protection(minutes) => (Some(true), minutes),
            Wanted::Release => (Some(false), None),
        };
        let request = v1::TaskProtectionRequest { task: task.to_string(), protect, expires_in_minutes };
        tokio::time::timeout(PATIENCE, self.call(request)).await.unwrap_or(Said::TimedOut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_they_are_meant() {
        let none = v1::TaskProtectionResponse::default();
        assert_eq!(read(none.clone()), Said::Until(None));
        let until = v1::TaskProtectionResponse { protected_until_millis: 5, ..none.clone() };
        assert_eq!(read(until), Said::Until(Some(Timestamp::from_millis(5))));
        let failed = v1::TaskProtectionResponse { failure_reason: "TASK_NOT_VALID".to_owned(), ..none };
        assert_eq!(read(failed), Said::Failure { reason: "TASK_NOT_VALID".to_owned(), detail: String::new() });
        assert_eq!(refused(&Status::invalid_argument("too long")), Said::Invalid("too long".to_owned()));
        assert!(matches!(refused(&Status::unimplemented("")), Said::Away(text) if text.contains("older than")));
        assert!(matches!(refused(&Status::unavailable("disk")), Said::Away(text) if text.contains("disk")));
    }
}
