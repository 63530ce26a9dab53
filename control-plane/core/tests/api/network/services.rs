//! Security groups of services.

use super::world_with;
use longshore_core::Ec2Operation;
use longshore_ecs_api::Operation as Op;
use serde_json::json;

#[tokio::test]
async fn a_group_that_a_service_names_stays_and_the_service_can_be_scaled() {
    let world = world_with("10.77.0.0/16").await;
    world.cluster("default").await;
    world.awsvpc_definition("web").await;
    let (old, new) = (world.group("old").await, world.group("new").await);
    let mut request = world.run_request(&[old]);
    let of_new = world.run_request(&[new])["networkConfiguration"].clone();
    request
        .as_object_mut()
        .unwrap()
        .extend(json!({"serviceName": "web", "desiredCount": 0}).as_object().unwrap().clone());
    let delete = async |group| world.ec2(Ec2Operation::DeleteSecurityGroup, &[("GroupId", &format!("{group}"))]).await;
    world.ok(Op::CreateService, request).await;
    // It has no task, and is to have one in the group whenever it is scaled.
    let refused = delete(old).await.unwrap_err();
    assert!(refused.starts_with("DependencyViolation") && refused.contains(&old.to_string()), "{refused}");
    for count in [2, 0] {
        world.ok(Op::UpdateService, json!({"service": "web", "desiredCount": count})).await;
    }
    // Another one: both count until the deployment is through.
    world.ok(Op::UpdateService, json!({"service": "web", "networkConfiguration": of_new})).await;
    assert!(delete(new).await.unwrap_err().starts_with("DependencyViolation"));
    world.ok(Op::DeleteService, json!({"service": "web", "force": true})).await;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    for group in [old, new] {
        while let Err(refused) = delete(group).await {
            assert!(refused.starts_with("DependencyViolation"), "{refused}");
            assert!(tokio::time::Instant::now() < deadline, "{group} is named by a service that is over: {refused}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}
