//! Task protection: a task that asks to be spared when its service shrinks or is deployed.
//!
//! Shapes, texts and statuses are those of ECS's agent. The task is known by the id in the request and the address that
//! the request comes from, and may ask for itself alone; it needs no role for that. The control plane decides.

use super::front::Answer;
use crate::engine::TaskView;
use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use longshore_model::{TaskId, Timestamp};
use serde::{Deserialize, Serialize};

/// What a task wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// To know whether it is protected.
    Nothing,
    /// To be protected for so many minutes; for ECS's default when absent.
    Protection(Option<i32>),
    /// Not to be protected.
    Release,
}

/// What the control plane says to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Until when the task is protected.
    Until(Option<Timestamp>),
    /// It cannot be: ECS's reason, and the same for people.
    Failure {
        /// `TASK_NOT_VALID` or `DEPLOYMENT_BLOCKED`.
        reason: String,
        /// For people.
        detail: String,
    },
    /// The request is not as it must be.
    Invalid(String),
    /// The control plane does not take the task for one of this host's.
    Denied(String),
    /// It did not answer in time.
    TimedOut,
    /// It could not be asked, or could not do it now.
    Away(String),
}

/// Whoever protects tasks.
#[async_trait]
pub trait Protect: Send + Sync {
    /// Asks for `task`. Answers within a few seconds, whatever happens.
    async fn ask(&self, task: TaskId, wanted: Wanted) -> Said;
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(rename = "ProtectionEnabled")]
    enabled: Option<bool>,
    #[serde(rename = "ExpiresInMinutes")]
    minutes: Option<i64>,
}

#[derive(Debug, Serialize)]
struct Error<'a> {
    #[serde(rename = "Arn", skip_serializing_if = "str::is_empty")]
    arn: &'a str,
    #[serde(rename = "Code")]
    code: &'static str,
    #[serde(rename = "Message")]
    message: &'a str,
}

fn refused(status: StatusCode, arn: &str, code: &'static str, message: &str) -> Answer {
    Answer::json(status, &serde_json::json!({"error": Error { arn, code, message }}))
}

/// The answer to a request of nobody that is known.
pub(super) fn of_nobody() -> Answer {
    let message = "Failed to find a task for the request";
    refused(StatusCode::NOT_FOUND, "", "ResourceNotFoundException", message)
}

/// Answers a task. `put` is the body of a request that wants something; `None` only asks.
pub(super) async fn answer(protector: &dyn Protect, view: &TaskView, put: Option<&Bytes>) -> Answer {
    let arn = &*view.outline.arn;
    let invalid = |message: &str| refused(StatusCode::BAD_REQUEST, arn, "InvalidParameterException", message);
    let wanted = match put {
        None => Wanted::Nothing,
        Some(body) => match serde_json::from_slice(body) {
            Err(_) => return invalid("UpdateTaskProtection: failed to decode request"),
            Ok(Body { enabled: None, .. }) => {
                return invalid("Invalid request: does not contain 'ProtectionEnabled' field");
            }
            Ok(Body { enabled: Some(false), .. }) => Wanted::Release,
            // What no integer of the protocol holds is out of range all the same.
            Ok(Body { enabled: Some(true), minutes }) => {
                Wanted::Protection(minutes.map(|minutes| i32::try_from(minutes).unwrap_or(-1)))
            }
        },
    };
    match protector.ask(view.record.id, wanted).await {
        Said::Until(until) => {
            let mut protection = serde_json::json!({"ProtectionEnabled": until.is_some(), "TaskArn": arn});
            if let Some(date) = until.and_then(|until| jiff::Timestamp::from_millisecond(until.millis()).ok()) {
                protection["ExpirationDate"] = date.to_string().into();
            }
            Answer::ok(&serde_json::json!({"protection": protection}))
        }
        Said::Failure { reason, detail } => {
            Answer::ok(&serde_json::json!({"failure": {"Arn": arn, "Reason": reason, "Detail": detail}}))
        }
        Said::Invalid(why) => invalid(&why),
        Said::Denied(why) => refused(StatusCode::BAD_REQUEST, arn, "AccessDeniedException", &why),
        Said::TimedOut => {
            let message = "Timed out calling ECS Task Protection API";
            refused(StatusCode::GATEWAY_TIMEOUT, arn, "RequestCanceled", message)
        }
        Said::Away(why) => refused(StatusCode::INTERNAL_SERVER_ERROR, arn, "ServerException", &why),
    }
}
