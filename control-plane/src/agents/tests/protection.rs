//! Task protection: whose it is, and what goes over the wire.

use super::peer::{Port, patient};
use longshore_model::{DesiredStatus, InstanceId, TaskId, Timestamp};
use longshore_proto::v1;
use std::time::Duration;
use tonic::Code;

const HOUR: Duration = Duration::from_secs(3600);

fn request(task: TaskId, protect: Option<bool>, expires_in_minutes: Option<i32>) -> v1::TaskProtectionRequest {
    v1::TaskProtectionRequest { task: task.to_string(), protect, expires_in_minutes }
}

#[tokio::test]
async fn an_agent_protects_its_own_tasks_alone() {
    let port = Port::start(patient()).await;
    let task = TaskId::random();
    let (one, other) = (port.fleet.add_instance(), port.fleet.add_instance());
    port.fleet.assign(one, task, Some(DesiredStatus::Running));
    for (instance, code) in [
        (None, Code::Unauthenticated),
        (Some(InstanceId::from_bytes([9; 16])), Code::PermissionDenied),
        (Some(other), Code::PermissionDenied),
    ] {
        let mut client = port.dial(instance.map(|instance| port.credential(instance, HOUR))).await;
        let status = client.task_protection(request(task, None, None)).await.expect_err("refused");
        assert_eq!(status.code(), code, "{status}");
    }
    let mut client = port.dial(Some(port.credential(one, HOUR))).await;
    let refused = client.task_protection(request(task, Some(true), None)).await.expect("answered").into_inner();
    assert_eq!((refused.failure_reason.as_str(), refused.protected_until_millis), ("TASK_NOT_VALID", 0));
    port.fleet.change(|state| state.protected_until = Some(Timestamp::from_millis(1_234)));
    for (wanted, until) in [((None, None), 1_234), ((Some(true), Some(5)), 1_234), ((Some(false), None), 0)] {
        let answer = client.task_protection(request(task, wanted.0, wanted.1)).await.expect("answered").into_inner();
        assert_eq!((answer.protected_until_millis, answer.failure_reason.as_str()), (until, ""), "{wanted:?}");
    }
    let status = client.task_protection(request(task, Some(true), Some(0))).await.expect_err("refused");
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "not so few"));
    let odd = v1::TaskProtectionRequest { task: "x".to_owned(), ..Default::default() };
    assert_eq!(client.task_protection(odd).await.expect_err("refused").code(), Code::InvalidArgument);
    port.fleet.change(|state| state.unavailable = true);
    let status = client.task_protection(request(task, None, None)).await.expect_err("refused");
    assert_eq!(status.code(), Code::Unavailable);
}
