//! The operations of Application Auto Scaling that concern services. Member names begin with a capital letter.

use crate::EpochSeconds;
use crate::sibling::{service_operations, shapes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the header `X-Amz-Target` begins with.
pub const TARGET_PREFIX: &str = "AnyScaleFrontendService";
/// The service's name in a credential scope.
pub const SIGNING_NAME: &str = "application-autoscaling";

service_operations! {
    /// An operation of Application Auto Scaling that this control plane has.
    ScalingOperation {
        /// Deletes a policy.
        DeleteScalingPolicy,
        /// Deletes a scheduled action.
        DeleteScheduledAction,
        /// Takes a service's policies, actions and bounds away.
        DeregisterScalableTarget,
        /// Services with bounds.
        DescribeScalableTargets,
        /// What was done.
        DescribeScalingActivities,
        /// Policies.
        DescribeScalingPolicies,
        /// Scheduled actions.
        DescribeScheduledActions,
        /// The tags of a target.
        ListTagsForResource,
        /// Makes a policy, or changes it.
        PutScalingPolicy,
        /// Makes a scheduled action, or changes it.
        PutScheduledAction,
        /// Gives a service bounds, or changes them.
        RegisterScalableTarget,
        /// Gives a target tags.
        TagResource,
        /// Takes tags from a target.
        UntagResource,
    }
}

shapes! {
    rename_all = "PascalCase";
    /// Names a target, and what of it.
    Named {
        service_namespace: String, resource_id: String, scalable_dimension: String, policy_name: String,
        scheduled_action_name: String,
    }
    /// Asks for bounds.
    RegisterRequest {
        service_namespace: String, resource_id: String, scalable_dimension: String, min_capacity: i32,
        max_capacity: i32, #[serde(rename = "RoleARN")] role_arn: String, suspended_state: SuspendedState,
        tags: BTreeMap<String, String>,
    }
    /// What is not done.
    SuspendedState {
        dynamic_scaling_in_suspended: bool, dynamic_scaling_out_suspended: bool, scheduled_scaling_suspended: bool,
    }
    /// Names a target.
    Registered { #[serde(rename = "ScalableTargetARN")] scalable_target_arn: String, }
    /// Asks for a page of a listing.
    DescribeRequest {
        service_namespace: String, resource_id: String, resource_ids: Vec<String>, scalable_dimension: String,
        policy_names: Vec<String>, scheduled_action_names: Vec<String>, max_results: i32, next_token: String,
        include_not_scaled_activities: bool,
    }
    /// A service with bounds.
    ScalableTarget {
        service_namespace: String, resource_id: String, scalable_dimension: String, min_capacity: u32,
        max_capacity: u32, #[serde(rename = "RoleARN")] role_arn: String, creation_time: EpochSeconds,
        suspended_state: SuspendedState, #[serde(rename = "ScalableTargetARN")] scalable_target_arn: String,
    }
    /// A page of them.
    Targets { scalable_targets: Vec<ScalableTarget>, next_token: String, }
    /// A policy, as it is asked for and shown.
    Policy {
        #[serde(rename = "PolicyARN")] policy_arn: String, policy_name: String, service_namespace: String,
        resource_id: String, scalable_dimension: String, policy_type: String,
        target_tracking_scaling_policy_configuration: TargetTracking,
        step_scaling_policy_configuration: StepScaling,
        predictive_scaling_policy_configuration: serde_json::Value, alarms: Vec<Alarm>, creation_time: EpochSeconds,
    }
    /// Keeps a metric at a value.
    TargetTracking {
        target_value: f64, predefined_metric_specification: PredefinedMetric,
        customized_metric_specification: serde_json::Value, scale_in_cooldown: i32, scale_out_cooldown: i32,
        disable_scale_in: bool,
    }
    /// Which metric.
    PredefinedMetric { predefined_metric_type: String, resource_label: String, }
    /// Moves in steps.
    StepScaling {
        adjustment_type: String, step_adjustments: Vec<StepAdjustment>, min_adjustment_magnitude: i32, cooldown: i32,
        metric_aggregation_type: String,
    }
    /// A step.
    StepAdjustment {
        metric_interval_lower_bound: f64, metric_interval_upper_bound: f64, scaling_adjustment: i32,
    }
    /// What a step policy waits for.
    Alarm { alarm_name: String, #[serde(rename = "AlarmARN")] alarm_arn: String, }
    /// Names a policy that was put.
    PolicyPut { #[serde(rename = "PolicyARN")] policy_arn: String, alarms: Vec<Alarm>, }
    /// A page of policies.
    Policies { scaling_policies: Vec<Policy>, next_token: String, }
    /// A scheduled action, as it is asked for and shown.
    Action {
        scheduled_action_name: String, #[serde(rename = "ScheduledActionARN")] scheduled_action_arn: String,
        service_namespace: String, schedule: String, timezone: String, resource_id: String,
        scalable_dimension: String, start_time: EpochSeconds, end_time: EpochSeconds,
        scalable_target_action: TargetAction, creation_time: EpochSeconds,
    }
    /// The bounds that an action sets.
    TargetAction { min_capacity: i32, max_capacity: i32, }
    /// A page of actions.
    Actions { scheduled_actions: Vec<Action>, next_token: String, }
    /// Something that was done.
    Activity {
        activity_id: String, service_namespace: String, resource_id: String, scalable_dimension: String,
        description: String, cause: String, start_time: EpochSeconds, end_time: EpochSeconds, status_code: String,
        status_message: String,
    }
    /// A page of what was done.
    Activities { scaling_activities: Vec<Activity>, next_token: String, }
    /// Asks about the tags of a target.
    TagRequest {
        #[serde(rename = "ResourceARN")] resource_arn: String, tags: BTreeMap<String, String>, tag_keys: Vec<String>,
    }
    /// The tags of a target.
    TagsShown { tags: BTreeMap<String, String>, }
    /// An answer that says no more than that it was done.
    Done {}
}
