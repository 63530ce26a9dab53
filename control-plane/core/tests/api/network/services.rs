//! Security groups of services.

use super::world_with;
use crate::fleet::{Fleet, config, healthy, stable};
use longshore_core::Ec2Operation;
use longshore_ecs_api::Operation as Op;
use longshore_model::{DesiredStatus, GroupId, TaskId};
use serde_json::{Value, json};
use std::collections::BTreeSet;

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

/// The tasks that are to run, each with the groups that its host is told of.
fn with_groups(fleet: &Fleet) -> Vec<(TaskId, BTreeSet<GroupId>)> {
    let all = fleet.agents.iter().flat_map(|agent| agent.assigned());
    let wanted = all.filter(|(_, task)| task.desired == DesiredStatus::Running);
    wanted.map(|(id, task)| (id, task.spec.awsvpc.as_ref().unwrap().groups.clone())).collect()
}

#[tokio::test]
async fn a_service_that_is_given_another_group_deploys_anew_and_its_tasks_are_replaced_by_some_in_that_group() {
    let mut fleet = Fleet::with(0, config()).await;
    let host = fleet.world.ready_host(1).await;
    fleet.agents.push(host);
    fleet.world.awsvpc_definition("web").await;
    let (old, new) = (fleet.world.group("old").await, fleet.world.group("new").await);
    let mut request = fleet.world.run_request(&[old]);
    (request["serviceName"], request["desiredCount"]) = (json!("web"), json!(1));
    fleet.world.ok(Op::CreateService, request).await;
    let before = fleet.until("it is stable", healthy, stable(1)).await;
    let first = with_groups(&fleet);
    assert_eq!(first.iter().map(|(_, groups)| groups.clone()).collect::<Vec<_>>(), [BTreeSet::from([old])]);

    let network = fleet.world.run_request(&[new])["networkConfiguration"].clone();
    let update = json!({"service": "web", "networkConfiguration": network});
    let updated = fleet.world.ok(Op::UpdateService, update.clone()).await["service"].clone();
    let groups = |of: &Value| of["networkConfiguration"]["awsvpcConfiguration"]["securityGroups"].clone();
    let deployments = updated["deployments"].as_array().unwrap();
    let shown: Vec<Value> = deployments.iter().map(groups).collect();
    assert_eq!(shown, [json!([new.to_string()]), json!([old.to_string()])], "{updated:#}");
    assert_eq!(groups(&updated), json!([new.to_string()]));
    assert_eq!(deployments[1]["id"], before["deployments"][0]["id"]);
    assert_eq!(deployments[0]["taskDefinition"], deployments[1]["taskDefinition"]);

    let through = fleet.until("it is through", healthy, stable(1)).await;
    assert_eq!(through["deployments"][0]["id"], deployments[0]["id"]);
    let second = with_groups(&fleet);
    assert_eq!(second.iter().map(|(_, groups)| groups.clone()).collect::<Vec<_>>(), [BTreeSet::from([new])]);
    assert_ne!(first[0].0, second[0].0, "a task keeps the groups that it began with");

    // It has that group already.
    let same = fleet.world.ok(Op::UpdateService, update).await["service"].clone();
    assert_eq!(same["deployments"].as_array().unwrap().len(), 1, "{same:#}");
}
