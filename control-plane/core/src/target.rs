//! The request of RunTask that the target of a rule or of a schedule makes. Pure.

use longshore_ecs_api::enums::{AssignPublicIp, LaunchType, PropagateTags};
use longshore_ecs_api::requests::RunTaskRequest;
use longshore_ecs_api::target::EcsParameters;
use longshore_ecs_api::types::{AwsVpcConfiguration, NetworkConfiguration, Tag, TaskOverride};
use std::collections::BTreeMap;

/// The request for `count` tasks (`None` for RunTask's default) in the cluster with this ARN, as `ecs` describes them.
/// Its [`EcsParameters::task_count`] is the caller's to read: a firing may have started a part of them.
pub(crate) fn run_task(
    cluster: Option<String>,
    ecs: EcsParameters,
    count: Option<i32>,
    overrides: Option<TaskOverride>,
) -> RunTaskRequest {
    let EcsParameters {
        task_definition_arn,
        task_count: _,
        launch_type,
        network_configuration,
        platform_version,
        group,
        capacity_provider_strategy,
        enable_ecs_managed_tags,
        enable_execute_command,
        placement_constraints,
        placement_strategy,
        propagate_tags,
        reference_id,
        tags,
    } = ecs;
    let vpc = network_configuration.and_then(|network| network.awsvpc_configuration);
    RunTaskRequest {
        cluster,
        task_definition: task_definition_arn.as_deref().map(|arn| definition_name(arn).to_owned()),
        count,
        launch_type: launch_type.as_deref().map(LaunchType::from),
        network_configuration: vpc.map(|vpc| NetworkConfiguration {
            awsvpc_configuration: Some(AwsVpcConfiguration {
                subnets: vpc.subnets,
                security_groups: vpc.security_groups,
                assign_public_ip: vpc.assign_public_ip.as_deref().map(AssignPublicIp::from),
            }),
        }),
        platform_version,
        group,
        capacity_provider_strategy,
        enable_ecs_managed_tags,
        enable_execute_command,
        placement_constraints,
        placement_strategy,
        propagate_tags: propagate_tags.as_deref().map(PropagateTags::from),
        reference_id,
        tags: tags.as_deref().map(tag_list),
        overrides,
        ..RunTaskRequest::default()
    }
}

/// A target's tags as ECS takes them: maps with a key and a value, each with or without a capital letter.
pub(crate) fn tag_list(maps: &[BTreeMap<String, String>]) -> Vec<Tag> {
    let tag = |pairs: &BTreeMap<String, String>| {
        let of = |names: [&str; 2]| names.into_iter().find_map(|name| pairs.get(name)).cloned();
        Tag { key: of(["Key", "key"]), value: of(["Value", "value"]) }
    };
    maps.iter().map(tag).collect()
}

/// Targets may name a family by an ARN without a revision, which RunTask only takes by its name.
fn definition_name(arn: &str) -> &str {
    match arn.split_once(":task-definition/") {
        Some((_, family)) if !family.contains(':') => family,
        _ => arn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_what_the_parameters_say() {
        let text = r#"{"TaskDefinitionArn": "arn:aws:ecs:lab:1:task-definition/job", "TaskCount": 7,
            "LaunchType": "EC2", "PlatformVersion": "p", "ReferenceId": "r",
            "NetworkConfiguration": {"awsvpcConfiguration": {"Subnets": ["s"], "SecurityGroups": ["sg"],
                "AssignPublicIp": "DISABLED"}},
            "CapacityProviderStrategy": [{"capacityProvider": "new", "weight": 1, "base": 2}],
            "PlacementConstraints": [{"type": "memberOf", "expression": "attribute:rack == b"}],
            "PlacementStrategy": [{"type": "spread", "field": "instanceId"}], "EnableExecuteCommand": true,
            "EnableECSManagedTags": true, "PropagateTags": "TASK_DEFINITION", "Group": "g",
            "Tags": [{"Key": "a", "Value": "1"}, {"key": "b", "value": "2"}]}"#;
        let ecs: EcsParameters = serde_json::from_str(text).expect("parameters");
        let request = run_task(Some("c".to_owned()), ecs.clone(), Some(2), None);
        let written = serde_json::to_value(&request).expect("written");
        let expected = serde_json::json!({"cluster": "c", "taskDefinition": "job", "count": 2, "launchType": "EC2",
            "platformVersion": "p", "referenceId": "r",
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["s"], "securityGroups": ["sg"],
                "assignPublicIp": "DISABLED"}},
            "capacityProviderStrategy": [{"capacityProvider": "new", "weight": 1, "base": 2}],
            "placementConstraints": [{"type": "memberOf", "expression": "attribute:rack == b"}],
            "placementStrategy": [{"type": "spread", "field": "instanceId"}], "enableExecuteCommand": true,
            "enableECSManagedTags": true, "propagateTags": "TASK_DEFINITION", "group": "g",
            "tags": [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]});
        assert_eq!(written, expected);
        for (arn, name) in [
            ("arn:aws:ecs:lab:1:task-definition/job:3", "arn:aws:ecs:lab:1:task-definition/job:3"),
            ("job:3", "job:3"),
            ("job", "job"),
        ] {
            let ecs = EcsParameters { task_definition_arn: Some(arn.to_owned()), ..ecs.clone() };
            assert_eq!(run_task(None, ecs, None, None).task_definition.as_deref(), Some(name));
        }
    }
}
