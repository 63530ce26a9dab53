//! Credentials for registries: who gets them.

use super::peer::{Port, patient};
use longshore_model::{DesiredStatus, InstanceId, TaskId};
use longshore_proto::v1;
use std::time::Duration;
use tonic::Code;

const HOUR: Duration = Duration::from_secs(3600);

fn request(task: &str, container: &str) -> v1::RegistryCredentialsRequest {
    v1::RegistryCredentialsRequest { task: task.to_owned(), container: container.to_owned() }
}

#[tokio::test]
async fn only_the_instance_that_is_to_run_the_task_gets_them() {
    let port = Port::start(patient()).await;
    let task = TaskId::random();
    let (one, other) = (port.fleet.add_instance(), port.fleet.add_instance());
    port.fleet.assign(one, task, Some(DesiredStatus::Running));
    let wanted = request(&task.to_string(), "main");
    for (instance, code) in [
        (None, Code::Unauthenticated),
        (Some(InstanceId::from_bytes([9; 16])), Code::PermissionDenied),
        (Some(other), Code::PermissionDenied),
    ] {
        let mut client = port.dial(instance.map(|instance| port.credential(instance, HOUR))).await;
        let status = client.registry_credentials(wanted.clone()).await.expect_err("refused");
        assert_eq!(status.code(), code, "{status}");
    }
    let mut client = port.dial(Some(port.credential(one, HOUR))).await;
    let answer = client.registry_credentials(wanted.clone()).await.expect("answered").into_inner();
    assert!(answer.refused.contains("`team/registry`: there is no such secret"), "{answer:?}");
    assert_eq!((answer.username.as_str(), answer.password.as_str()), ("", ""));
    port.fleet.change(|state| state.registry_password = Some("hush".to_owned()));
    let answer = client.registry_credentials(wanted).await.expect("answered").into_inner();
    assert_eq!((answer.username.as_str(), answer.password.as_str(), answer.refused.as_str()), ("puller", "hush", ""));
    assert!(!format!("{answer:?}").contains("hush"), "{answer:?}");
    for odd in [request("x", "main"), request(&task.to_string(), "a b")] {
        let status = client.registry_credentials(odd).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
}
