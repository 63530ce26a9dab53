//! The operations of CloudWatch Logs that users of ECS's log driver `awslogs` touch. Times are milliseconds since the
//! epoch, members begin with a small letter.

use crate::sibling::{service_operations, shapes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What `X-Amz-Target` begins with, up to the dot.
pub const TARGET_PREFIX: &str = "Logs_20140328";

/// The service's name in a credential scope.
pub const SIGNING_NAME: &str = "logs";

service_operations! {
    /// An operation of CloudWatch Logs that this control plane has.
    LogsOperation {
        /// Makes a group.
        CreateLogGroup,
        /// Makes a stream.
        CreateLogStream,
        /// Deletes a group with its streams.
        DeleteLogGroup,
        /// Deletes a stream.
        DeleteLogStream,
        /// Keeps a group's events for ever.
        DeleteRetentionPolicy,
        /// Lists groups.
        DescribeLogGroups,
        /// Lists a group's streams.
        DescribeLogStreams,
        /// Events of some streams of a group, by time.
        FilterLogEvents,
        /// Events of one stream.
        GetLogEvents,
        /// The tags of a group.
        ListTagsForResource,
        /// The tags of a group, by its name.
        ListTagsLogGroup,
        /// Adds events to a stream.
        PutLogEvents,
        /// Says how long a group's events are kept.
        PutRetentionPolicy,
        /// Tags a group.
        TagResource,
        /// Takes tags from a group.
        UntagResource,
    }
}

shapes! {
    rename_all = "camelCase";
    /// Asks for a new group.
    CreateLogGroupRequest {
        log_group_name: String, log_group_class: String, kms_key_id: String, tags: BTreeMap<String, String>,
    }
    /// Names one group, for the operations that need no more.
    LogGroupRequest { log_group_name: String, }
    /// Names one stream, for the operations that need no more.
    LogStreamRequest { log_group_name: String, log_stream_name: String, }
    /// Says how long a group's events are kept.
    PutRetentionPolicyRequest { log_group_name: String, retention_in_days: i32, }
    /// Asks for a page of groups.
    DescribeLogGroupsRequest {
        log_group_name_prefix: String, log_group_name_pattern: String, next_token: String, limit: i32,
    }
    /// A page of groups.
    DescribeLogGroupsResponse { log_groups: Vec<LogGroup>, next_token: String, }
    /// A group.
    LogGroup {
        log_group_name: String, creation_time: i64, retention_in_days: i32, metric_filter_count: i32, arn: String,
        stored_bytes: i64, log_group_class: String, log_group_arn: String,
    }
    /// Asks for a page of a group's streams.
    DescribeLogStreamsRequest {
        log_group_name: String, log_group_identifier: String, log_stream_name_prefix: String, order_by: String,
        descending: bool, next_token: String, limit: i32,
    }
    /// A page of streams.
    DescribeLogStreamsResponse { log_streams: Vec<LogStream>, next_token: String, }
    /// A stream.
    LogStream {
        log_stream_name: String, creation_time: i64, first_event_timestamp: i64, last_event_timestamp: i64,
        last_ingestion_time: i64, upload_sequence_token: String, arn: String, stored_bytes: i64,
    }
    /// An event to add.
    InputLogEvent { timestamp: i64, message: String, }
    /// Adds events to a stream.
    PutLogEventsRequest {
        log_group_name: String, log_stream_name: String, log_events: Vec<InputLogEvent>, sequence_token: String,
    }
    /// What became of them.
    PutLogEventsResponse { next_sequence_token: String, rejected_log_events_info: RejectedLogEventsInfo, }
    /// Which events were not taken, by their position.
    RejectedLogEventsInfo {
        too_new_log_event_start_index: i32, too_old_log_event_end_index: i32, expired_log_event_end_index: i32,
    }
    /// Asks for events of one stream.
    GetLogEventsRequest {
        log_group_name: String, log_group_identifier: String, log_stream_name: String, start_time: i64, end_time: i64,
        next_token: String, limit: i32, start_from_head: bool,
    }
    /// Events of one stream. Tokens are always there; one that comes back unchanged says that there is no more.
    GetLogEventsResponse { events: Vec<OutputLogEvent>, next_forward_token: String, next_backward_token: String, }
    /// An event of a stream.
    OutputLogEvent { timestamp: i64, message: String, ingestion_time: i64, }
    /// Asks for events of some streams of a group.
    FilterLogEventsRequest {
        log_group_name: String, log_group_identifier: String, log_stream_names: Vec<String>,
        log_stream_name_prefix: String, start_time: i64, end_time: i64, filter_pattern: String, next_token: String,
        limit: i32, interleaved: bool,
    }
    /// Events of some streams of a group.
    FilterLogEventsResponse {
        events: Vec<FilteredLogEvent>, searched_log_streams: Vec<SearchedLogStream>, next_token: String,
    }
    /// An event and where it is from.
    FilteredLogEvent {
        log_stream_name: String, timestamp: i64, message: String, ingestion_time: i64, event_id: String,
    }
    /// A stream that was searched.
    SearchedLogStream { log_stream_name: String, searched_completely: bool, }
    /// Names a resource by its ARN, with the tags to add or the keys to take away.
    TagsRequest { resource_arn: String, log_group_name: String, tags: BTreeMap<String, String>, tag_keys: Vec<String>, }
    /// Tags.
    TagsResponse { tags: BTreeMap<String, String>, }
}
