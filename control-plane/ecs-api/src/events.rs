//! The operations of EventBridge that ECS users touch: rules, their targets, and webhooks (API destinations with their
//! connections). Member names begin with a capital letter, but in a target's placement and capacity providers, which
//! are ECS's own shapes.

use crate::EpochSeconds;
use crate::secrets::Sensitive;
use crate::sibling::{service_operations, shapes};
use crate::target::EcsParameters;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What `X-Amz-Target` begins with, up to the dot.
pub const TARGET_PREFIX: &str = "AWSEvents";

/// The service's name in a credential scope.
pub const SIGNING_NAME: &str = "events";

service_operations! {
    /// An operation of EventBridge that this control plane has.
    EventsOperation {
        /// Makes a webhook.
        CreateApiDestination,
        /// Makes what webhooks authenticate with.
        CreateConnection,
        /// Deletes a webhook.
        DeleteApiDestination,
        /// Deletes a connection with its secret.
        DeleteConnection,
        /// Deletes a rule without targets.
        DeleteRule,
        /// Shows a webhook.
        DescribeApiDestination,
        /// Shows a connection without its secrets.
        DescribeConnection,
        /// Shows a rule.
        DescribeRule,
        /// A rule matches and fires no more.
        DisableRule,
        /// A rule matches and fires again.
        EnableRule,
        /// Ours: events as they happen, for whoever asks again and again.
        FollowEvents,
        /// Lists webhooks.
        ListApiDestinations,
        /// Lists connections.
        ListConnections,
        /// Lists the rules with a target.
        ListRuleNamesByTarget,
        /// Lists rules.
        ListRules,
        /// The tags of a rule.
        ListTagsForResource,
        /// Lists a rule's targets.
        ListTargetsByRule,
        /// Takes events of users' own.
        PutEvents,
        /// Makes a rule, or replaces one.
        PutRule,
        /// Adds targets to a rule, or replaces them.
        PutTargets,
        /// Takes targets from a rule.
        RemoveTargets,
        /// Tags a rule.
        TagResource,
        /// Whether a pattern matches an event.
        TestEventPattern,
        /// Takes tags from a rule.
        UntagResource,
        /// Changes a webhook.
        UpdateApiDestination,
        /// Changes a connection.
        UpdateConnection,
    }
}

shapes! {
    rename_all = "PascalCase";
    /// A tag.
    EventTag { key: String, value: String, }
    /// Asks for a rule.
    PutRuleRequest {
        name: String, schedule_expression: String, event_pattern: String, state: String, description: String,
        role_arn: String, tags: Vec<EventTag>, event_bus_name: String,
    }
    /// Names the rule that was made.
    PutRuleResponse { rule_arn: String, }
    /// Names a rule.
    RuleRequest { name: String, event_bus_name: String, force: bool, }
    /// A rule.
    RuleResponse {
        name: String, arn: String, event_pattern: String, schedule_expression: String, state: String,
        description: String, role_arn: String, managed_by: String, event_bus_name: String, created_by: String,
    }
    /// Asks for a page of rules.
    ListRulesRequest { name_prefix: String, event_bus_name: String, next_token: String, limit: i32, }
    /// A page of rules.
    ListRulesResponse { rules: Vec<RuleResponse>, next_token: String, }
    /// Adds targets.
    PutTargetsRequest { rule: String, event_bus_name: String, targets: Vec<EventTarget>, }
    /// What became of them.
    TargetsResponse { failed_entry_count: i32, failed_entries: Vec<FailedTarget>, }
    /// A target that was not taken or not removed.
    FailedTarget { target_id: String, error_code: String, error_message: String, }
    /// Takes targets from a rule.
    RemoveTargetsRequest { rule: String, event_bus_name: String, ids: Vec<String>, force: bool, }
    /// Asks for a page of targets.
    ListTargetsRequest { rule: String, event_bus_name: String, next_token: String, limit: i32, }
    /// A page of targets.
    ListTargetsResponse { targets: Vec<EventTarget>, next_token: String, }
    /// Asks for the rules with a target.
    ListRuleNamesRequest { target_arn: String, event_bus_name: String, next_token: String, limit: i32, }
    /// A page of names.
    ListRuleNamesResponse { rule_names: Vec<String>, next_token: String, }
    /// Where a rule's events go. `Delivery` is ours and in answers only.
    EventTarget {
        id: String, arn: String, role_arn: String, input: String, input_path: String,
        input_transformer: InputTransformer, ecs_parameters: EcsParameters, http_parameters: HttpParameters,
        retry_policy: RetryPolicy, dead_letter_config: DeadLetterConfig, kinesis_parameters: serde_json::Value,
        run_command_parameters: serde_json::Value, batch_parameters: serde_json::Value,
        sqs_parameters: serde_json::Value, redshift_data_parameters: serde_json::Value,
        sage_maker_pipeline_parameters: serde_json::Value, app_sync_parameters: serde_json::Value,
        delivery: TargetDelivery,
    }
    /// Makes a target's input from an event.
    InputTransformer { input_paths_map: BTreeMap<String, String>, input_template: String, }
    /// What a request to a webhook has beside what its destination and connection say.
    HttpParameters {
        path_parameter_values: Vec<String>, header_parameters: BTreeMap<String, String>,
        query_string_parameters: BTreeMap<String, String>,
    }
    /// How long a delivery is tried again.
    RetryPolicy { maximum_retry_attempts: i32, maximum_event_age_in_seconds: i32, }
    /// Where events go that could not be delivered.
    DeadLetterConfig { arn: String, }
    /// Ours: how deliveries to a target fare.
    TargetDelivery {
        waiting: i64, attempts: i32, last_error: String, next_attempt_at: EpochSeconds, given_up: i64,
        last_given_up: DeadLetter,
    }
    /// Ours: an event that was given up.
    DeadLetter { event_id: String, reason: String, at: EpochSeconds, }
    /// Names a resource, with tags to set or keys to take.
    EventTagsRequest {
        #[serde(rename = "ResourceARN")] resource_arn: String, tags: Vec<EventTag>, tag_keys: Vec<String>,
    }
    /// Tags.
    EventTagsResponse { tags: Vec<EventTag>, }
    /// Asks whether a pattern matches an event.
    TestEventPatternRequest { event_pattern: String, event: String, }
    /// Whether it does.
    TestEventPatternResponse { result: bool, }
    /// Brings events.
    PutEventsRequest { entries: Vec<PutEventsEntry>, endpoint_id: String, }
    /// An event of a user's own. `Detail` is JSON in a string.
    PutEventsEntry {
        time: EpochSeconds, source: String, resources: Vec<String>, detail_type: String, detail: String,
        event_bus_name: String, trace_header: String,
    }
    /// What became of events.
    PutEventsResponse { failed_entry_count: i32, entries: Vec<PutEventsResult>, }
    /// What became of one.
    PutEventsResult { event_id: String, error_code: String, error_message: String, }
    /// Ours: asks for events from a cursor on, waiting up to `WaitSeconds` for the first. Without a cursor from now on.
    FollowEventsRequest { event_pattern: String, cursor: String, wait_seconds: i32, }
    /// Ours: events, each JSON in a string, and the cursor to ask with next. `Missed` when some were not kept.
    FollowEventsResponse { events: Vec<String>, cursor: String, missed: bool, }
    /// Asks for a connection, or for its change.
    ConnectionRequest {
        name: String, description: String, authorization_type: String, auth_parameters: AuthParameters,
        invocation_connectivity_parameters: serde_json::Value, kms_key_identifier: String,
    }
    /// What a connection authenticates with.
    AuthParameters {
        basic_auth_parameters: BasicAuth, api_key_auth_parameters: ApiKeyAuth,
        #[serde(rename = "OAuthParameters")] oauth_parameters: serde_json::Value,
        invocation_http_parameters: ConnectionHttp, connectivity_parameters: serde_json::Value,
    }
    /// A name and a password.
    BasicAuth { username: String, password: Sensitive, }
    /// A header and its secret value.
    ApiKeyAuth { api_key_name: String, api_key_value: Sensitive, }
    /// What every request of a connection has.
    ConnectionHttp {
        header_parameters: Vec<ConnectionParameter>, query_string_parameters: Vec<ConnectionParameter>,
        body_parameters: Vec<ConnectionParameter>,
    }
    /// One of it.
    ConnectionParameter { key: String, value: Sensitive, is_value_secret: bool, }
    /// Names a connection or a webhook.
    NamedRequest { name: String, }
    /// A connection without its secrets.
    ConnectionResponse {
        connection_arn: String, name: String, description: String, connection_state: String, state_reason: String,
        authorization_type: String, secret_arn: String, auth_parameters: AuthParameters,
        creation_time: EpochSeconds, last_modified_time: EpochSeconds, last_authorized_time: EpochSeconds,
    }
    /// Asks for a page of connections.
    ListConnectionsRequest { name_prefix: String, connection_state: String, next_token: String, limit: i32, }
    /// A page of connections.
    ListConnectionsResponse { connections: Vec<ConnectionResponse>, next_token: String, }
    /// Asks for a webhook, or for its change.
    ApiDestinationRequest {
        name: String, description: String, connection_arn: String, invocation_endpoint: String, http_method: String,
        invocation_rate_limit_per_second: i32,
    }
    /// A webhook.
    ApiDestinationResponse {
        api_destination_arn: String, name: String, description: String, api_destination_state: String,
        connection_arn: String, invocation_endpoint: String, http_method: String,
        invocation_rate_limit_per_second: i32, creation_time: EpochSeconds, last_modified_time: EpochSeconds,
    }
    /// Asks for a page of webhooks.
    ListApiDestinationsRequest { name_prefix: String, connection_arn: String, next_token: String, limit: i32, }
    /// A page of webhooks.
    ListApiDestinationsResponse { api_destinations: Vec<ApiDestinationResponse>, next_token: String, }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_spelled_as_on_the_wire_and_secrets_are_not_shown() {
        let text = r#"{"Rule": "r", "Targets": [{"Id": "1", "Arn": "a", "EcsParameters": {"TaskDefinitionArn": "t",
            "EnableECSManagedTags": true, "NetworkConfiguration": {"awsvpcConfiguration": {"Subnets": ["s"]}}}}]}"#;
        let request: PutTargetsRequest = serde_json::from_str(text).expect("read");
        let target = &request.targets.as_ref().expect("targets")[0];
        let ecs = target.ecs_parameters.as_ref().expect("parameters");
        assert_eq!((ecs.enable_ecs_managed_tags, ecs.task_count), (Some(true), None));
        let written = serde_json::to_value(&request).expect("written");
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(text).expect("JSON"));
        let text = r#"{"AuthParameters": {"BasicAuthParameters": {"Username": "u", "Password": "hush"}}}"#;
        let request: ConnectionRequest = serde_json::from_str(text).expect("read");
        assert!(!format!("{request:?}").contains("hush"));
        assert_eq!(EventsOperation::from_name("PutRule"), Some(EventsOperation::PutRule));
        assert_eq!(EventsOperation::from_name("CreateEventBus"), None);
    }
}
