//! The tasks that a target runs: EventBridge and EventBridge Scheduler spell them alike. Member names begin with a
//! capital letter, but for those that are ECS's own shapes.

use crate::sibling::shapes;
use crate::types::{CapacityProviderStrategyItem, PlacementConstraint, PlacementStrategy};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

shapes! {
    rename_all = "PascalCase";
    /// How a target's tasks are run. Each of `Tags` is a tag, with its key and its value under `Key` and `Value`; what
    /// Scheduler hands to ECS as it is may have them under `key` and `value`.
    EcsParameters {
        task_definition_arn: String, task_count: i64, launch_type: String,
        network_configuration: NetworkConfiguration, platform_version: String, group: String,
        capacity_provider_strategy: Vec<CapacityProviderStrategyItem>,
        #[serde(rename = "EnableECSManagedTags")] enable_ecs_managed_tags: bool, enable_execute_command: bool,
        placement_constraints: Vec<PlacementConstraint>, placement_strategy: Vec<PlacementStrategy>,
        propagate_tags: String, reference_id: String, tags: Vec<BTreeMap<String, String>>,
    }
    /// The network of tasks with interfaces of their own.
    NetworkConfiguration { #[serde(rename = "awsvpcConfiguration")] awsvpc_configuration: AwsVpcConfiguration, }
    /// Their subnets and groups.
    AwsVpcConfiguration { subnets: Vec<String>, security_groups: Vec<String>, assign_public_ip: String, }
}
