//! REST-JSON, as EventBridge Scheduler speaks it: the operation is in the method and the path, members are in the path,
//! the query and the body, and errors have statuses of their own.

use http::request::Parts;
use longshore_ecs_api::scheduler::SchedulerOperation;
use longshore_ecs_api::{ApiError, ErrorCode};
use serde_json::{Map, Value};

/// The first segments of paths that are requests of this kind.
const ROOTS: [&str; 3] = ["schedules", "schedule-groups", "tags"];

/// Whether a path is one of a REST service.
pub(super) fn is_path(path: &str) -> bool {
    let root = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    ROOTS.contains(&root)
}

/// The operation that a request is for.
pub(super) fn operation(parts: &Parts) -> Option<SchedulerOperation> {
    let of = |op: &SchedulerOperation| op.method() == parts.method.as_str() && matched(*op, parts.uri.path()).is_some();
    SchedulerOperation::ALL.iter().copied().find(of)
}

/// The member in the path with its value; `None` when it is not a path of that operation.
fn matched(operation: SchedulerOperation, path: &str) -> Option<Option<(&'static str, String)>> {
    let mut wanted = operation.path().split('/').skip(1);
    let mut sent = path.split('/').skip(1);
    if wanted.next() != sent.next() {
        return None;
    }
    match (wanted.next(), sent.next()) {
        (None, None) => Some(None),
        (Some(member), Some(first)) if !first.is_empty() => {
            // An ARN may come with slashes that are not encoded.
            let rest = sent.fold(first.to_owned(), |path, segment| format!("{path}/{segment}"));
            let member = member.trim_start_matches('{').trim_end_matches('}');
            Some(Some((member, decoded(&rest))))
        }
        _ => None,
    }
}

/// In a path a plus is a plus.
fn decoded(text: &str) -> String {
    let pairs = super::form::parse(text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D").as_bytes());
    pairs.into_iter().next().map(|(text, _)| text).unwrap_or_default()
}

/// All members of a request as one object. What is in the path counts before what a body says.
///
/// # Errors
/// `SerializationException` for a body that is no object, `ValidationException` for a number that is none.
pub(super) fn members(operation: SchedulerOperation, parts: &Parts, body: &[u8]) -> Result<Vec<u8>, ApiError> {
    let mut members: Map<String, Value> = match body.trim_ascii() {
        b"" => Map::new(),
        body => serde_json::from_slice(body)
            .map_err(|_| ApiError::new(ErrorCode::Serialization, "The request body must be a JSON object."))?,
    };
    let mut tag_keys = Vec::new();
    for (name, value) in super::form::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
        let (member, value) = match name.as_str() {
            "groupName" | "ScheduleGroup" => ("GroupName", Value::from(value)),
            "clientToken" => ("ClientToken", Value::from(value)),
            "NamePrefix" => ("NamePrefix", Value::from(value)),
            "State" => ("State", Value::from(value)),
            "NextToken" => ("NextToken", Value::from(value)),
            "MaxResults" => {
                let number: i32 = value
                    .parse()
                    .map_err(|_| ApiError::new(ErrorCode::Validation, "MaxResults must be a number from 1 to 100."))?;
                ("MaxResults", Value::from(number))
            }
            "TagKeys" => {
                tag_keys.push(Value::from(value));
                continue;
            }
            // As everywhere: what is not known is not heeded.
            _ => continue,
        };
        members.insert(member.to_owned(), value);
    }
    if !tag_keys.is_empty() {
        members.insert("TagKeys".to_owned(), Value::from(tag_keys));
    }
    if let Some(Some((member, value))) = matched(operation, parts.uri.path()) {
        members.insert(member.to_owned(), Value::from(value));
    }
    Ok(serde_json::to_vec(&members).expect("a map of JSON values always serialises"))
}

/// The HTTP status and the code of an error.
pub(super) fn error(error: &ApiError) -> (u16, &'static str) {
    match error.code {
        ErrorCode::Conflict => (409, error.code.as_str()),
        ErrorCode::ResourceNotFound | ErrorCode::UnknownOperation => (404, error.code.as_str()),
        ErrorCode::Throttling => (429, error.code.as_str()),
        ErrorCode::AccessDenied
        | ErrorCode::IncompleteSignature
        | ErrorCode::InvalidSignature
        | ErrorCode::MissingAuthenticationToken
        | ErrorCode::UnrecognizedClient => (403, error.code.as_str()),
        ErrorCode::Server | ErrorCode::InternalFailure => (500, "InternalServerException"),
        _ => (error.status(), error.code.as_str()),
    }
}

/// The body of an error: the message under the name that Scheduler's model has, and the code for those who look for it
/// there and not in the header.
pub(super) fn error_body(error: &ApiError, code: &str) -> Vec<u8> {
    let body = serde_json::json!({"__type": code, "Message": error.message});
    serde_json::to_vec(&body).expect("JSON always serialises")
}

#[cfg(test)]
mod tests {
    use super::*;
    use SchedulerOperation as Op;

    fn parts(method: &str, uri: &str) -> Parts {
        http::Request::builder().method(method).uri(uri).body(()).expect("a request").into_parts().0
    }

    #[test]
    fn paths_are_operations() {
        for (method, path, expected) in [
            ("POST", "/schedules/a", Some(Op::CreateSchedule)),
            ("PUT", "/schedules/a", Some(Op::UpdateSchedule)),
            ("GET", "/schedules/a", Some(Op::GetSchedule)),
            ("DELETE", "/schedules/a?groupName=g", Some(Op::DeleteSchedule)),
            ("GET", "/schedules", Some(Op::ListSchedules)),
            ("GET", "/schedule-groups", Some(Op::ListScheduleGroups)),
            ("DELETE", "/schedule-groups/g", Some(Op::DeleteScheduleGroup)),
            ("GET", "/tags/arn%3Aaws%3Ascheduler", Some(Op::ListTagsForResource)),
            ("PUT", "/schedule-groups/g", None),
            ("POST", "/schedules", None),
            ("POST", "/schedules/", None),
            ("GET", "/other/a", None),
        ] {
            assert_eq!(operation(&parts(method, path)), expected, "{method} {path}");
            assert_eq!(is_path(path), !path.starts_with("/other"), "{path}");
        }
        assert!(!is_path("/"));
    }

    #[test]
    fn members_come_from_everywhere() {
        let get = |op, method: &str, uri: &str, body: &str| {
            let bytes = members(op, &parts(method, uri), body.as_bytes())?;
            Ok::<Value, ApiError>(serde_json::from_slice(&bytes).expect("JSON"))
        };
        let create = get(Op::CreateSchedule, "POST", "/schedules/a%2Bb+c", r#"{"Name": "x", "State": "ENABLED"}"#);
        assert_eq!(create.expect("good"), serde_json::json!({"Name": "a+b+c", "State": "ENABLED"}));
        let list = get(Op::ListSchedules, "GET", "/schedules?ScheduleGroup=g&MaxResults=5&NextToken=a%3D&x=y", "");
        let expected = serde_json::json!({"GroupName": "g", "MaxResults": 5, "NextToken": "a="});
        assert_eq!(list.expect("good"), expected);
        let uri = "/tags/arn%3Aaws%3Ascheduler%3Alab%3A1%3Aschedule-group%2Fg?TagKeys=a&TagKeys=b";
        let expected =
            serde_json::json!({"ResourceArn": "arn:aws:scheduler:lab:1:schedule-group/g", "TagKeys": ["a", "b"]});
        assert_eq!(get(Op::UntagResource, "DELETE", uri, "").expect("good"), expected);
        let plain = "/tags/arn:aws:scheduler:lab:1:schedule-group/g";
        let expected = serde_json::json!({"ResourceArn": "arn:aws:scheduler:lab:1:schedule-group/g"});
        assert_eq!(get(Op::ListTagsForResource, "GET", plain, "").expect("good"), expected);
        assert!(get(Op::ListSchedules, "GET", "/schedules?MaxResults=x", "").is_err());
        assert!(get(Op::CreateSchedule, "POST", "/schedules/a", "[]").is_err());
    }
}
