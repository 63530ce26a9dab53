//! The operations of EventBridge Scheduler. Member names begin with a capital letter, but for those that Scheduler
//! hands to ECS as they are.
//!
//! On the wire some members are in the path or the query; here they stand beside those of the body.

use crate::EpochSeconds;
use crate::sibling::{service_operations, shapes};
use crate::target::EcsParameters;
use serde::{Deserialize, Serialize};

/// The service's name in a credential scope.
pub const SIGNING_NAME: &str = "scheduler";

service_operations! {
    /// An operation of EventBridge Scheduler.
    SchedulerOperation {
        /// Makes a schedule.
        CreateSchedule: "POST" "/schedules/{Name}",
        /// Makes a group of schedules.
        CreateScheduleGroup: "POST" "/schedule-groups/{Name}",
        /// Deletes a schedule.
        DeleteSchedule: "DELETE" "/schedules/{Name}",
        /// Deletes a group with its schedules.
        DeleteScheduleGroup: "DELETE" "/schedule-groups/{Name}",
        /// All of a schedule.
        GetSchedule: "GET" "/schedules/{Name}",
        /// All of a group but its schedules.
        GetScheduleGroup: "GET" "/schedule-groups/{Name}",
        /// Lists groups.
        ListScheduleGroups: "GET" "/schedule-groups",
        /// Lists schedules.
        ListSchedules: "GET" "/schedules",
        /// The tags of a group.
        ListTagsForResource: "GET" "/tags/{ResourceArn}",
        /// Gives a group tags.
        TagResource: "POST" "/tags/{ResourceArn}",
        /// Takes tags from a group.
        UntagResource: "DELETE" "/tags/{ResourceArn}",
        /// Makes a schedule all over, but for its name.
        UpdateSchedule: "PUT" "/schedules/{Name}",
    }
}

shapes! {
    rename_all = "PascalCase";
    /// Asks for a schedule, new or made over.
    ScheduleRequest {
        name: String, group_name: String, schedule_expression: String, schedule_expression_timezone: String,
        start_date: EpochSeconds, end_date: EpochSeconds, description: String, state: String,
        flexible_time_window: FlexibleTimeWindow, target: Target, action_after_completion: String,
        kms_key_arn: String, client_token: String,
    }
    /// Names a schedule that was made.
    ScheduleMade { schedule_arn: String, }
    /// When exactly a firing is carried out.
    FlexibleTimeWindow { mode: String, maximum_window_in_minutes: i64, }
    /// What a firing does.
    Target {
        arn: String, role_arn: String, input: String, ecs_parameters: EcsParameters, retry_policy: RetryPolicy,
        dead_letter_config: DeadLetterConfig, event_bridge_parameters: serde_json::Value,
        event_bridge_put_events_v2_parameters: serde_json::Value,
        event_bridge_put_raw_events_parameters: serde_json::Value, kinesis_parameters: serde_json::Value,
        sage_maker_pipeline_parameters: serde_json::Value, sqs_parameters: serde_json::Value,
    }
    /// How often, and for how long, a firing that fails is tried again.
    RetryPolicy { maximum_event_age_in_seconds: i64, maximum_retry_attempts: i64, }
    /// Where firings go that failed for good.
    DeadLetterConfig { arn: String, }
    /// Names a schedule.
    NamedSchedule { name: String, group_name: String, client_token: String, }
    /// All of a schedule.
    ScheduleShown {
        arn: String, group_name: String, name: String, schedule_expression: String,
        schedule_expression_timezone: String, start_date: EpochSeconds, end_date: EpochSeconds, description: String,
        state: String, creation_date: EpochSeconds, last_modification_date: EpochSeconds, target: Target,
        flexible_time_window: FlexibleTimeWindow, action_after_completion: String,
        longshore_invocations: Invocations,
    }
    /// Ours: what comes, what waits, and what was last.
    Invocations { next: EpochSeconds, waiting: Vec<WaitingInvocation>, last: LastInvocation, problem: String, }
    /// A firing that is not carried out yet.
    WaitingInvocation {
        scheduled_time: EpochSeconds, attempts: i64, next_attempt: EpochSeconds, tasks_started: i64, reason: String,
    }
    /// The firing that was over last: `STARTED`, `FAILED` or `MISSED`.
    LastInvocation {
        scheduled_time: EpochSeconds, outcome: String, ended_at: EpochSeconds, reason: String,
        task_arns: Vec<String>,
    }
    /// Asks for a page of schedules.
    ListSchedulesRequest {
        group_name: String, name_prefix: String, state: String, next_token: String, max_results: i32,
    }
    /// A page of schedules.
    ListSchedulesResponse { schedules: Vec<ScheduleSummary>, next_token: String, }
    /// A schedule in a list.
    ScheduleSummary {
        arn: String, name: String, group_name: String, state: String, creation_date: EpochSeconds,
        last_modification_date: EpochSeconds, target: TargetSummary,
    }
    /// Its target.
    TargetSummary { arn: String, }
    /// Asks for a group.
    GroupRequest { name: String, tags: Vec<GroupTag>, client_token: String, }
    /// A tag of a group.
    GroupTag { key: String, value: String, }
    /// Names a group that was made.
    GroupMade { schedule_group_arn: String, }
    /// All of a group but its schedules.
    GroupShown {
        arn: String, name: String, state: String, creation_date: EpochSeconds, last_modification_date: EpochSeconds,
    }
    /// Asks for a page of groups.
    ListGroupsRequest { name_prefix: String, next_token: String, max_results: i32, }
    /// A page of groups.
    ListGroupsResponse { schedule_groups: Vec<GroupShown>, next_token: String, }
    /// Names a group by its ARN, with tags to give or to take.
    TagRequest { resource_arn: String, tags: Vec<GroupTag>, tag_keys: Vec<String>, }
    /// Tags.
    TagsShown { tags: Vec<GroupTag>, }
    /// Nothing to say.
    Done {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_spelled_as_on_the_wire() {
        let text = r#"{"Name": "a", "ScheduleExpression": "rate(1 hour)", "StartDate": 1.5,
            "FlexibleTimeWindow": {"Mode": "OFF"}, "Target": {"Arn": "x", "RoleArn": "y", "EcsParameters": {
            "TaskDefinitionArn": "t", "NetworkConfiguration": {"awsvpcConfiguration": {"Subnets": ["s"]}},
            "EnableECSManagedTags": true, "PlacementStrategy": [{"field": "cpu", "type": "binpack"}],
            "Tags": [{"Key": "k"}]}, "RetryPolicy": {"MaximumEventAgeInSeconds": 60}}}"#;
        let request: ScheduleRequest = serde_json::from_str(text).expect("read");
        let again: serde_json::Value = serde_json::to_value(&request).expect("written");
        assert_eq!(again, serde_json::from_str::<serde_json::Value>(text).expect("JSON"));
        assert_eq!(SchedulerOperation::ALL.len(), 12);
    }
}
