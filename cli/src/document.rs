//! Files that people hand over: task definitions and RunTask requests, in the forms that the AWS tools read
//! and print.
//!
//! A field that the API does not have is refused by its path instead of being dropped, as it is most likely a
//! slip. Sends nothing.

use crate::fault::Fault;
use longshore_ecs_api::parse_json;
use longshore_ecs_api::requests::{CreateServiceRequest, RegisterTaskDefinitionRequest, RunTaskRequest};
use longshore_ecs_api::responses::DescribeTaskDefinitionResponse;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::io::Read;

/// What `describe-task-definition` adds to what was registered.
const ADDED_BY_THE_SERVER: [&str; 9] = [
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "compatibilities",
    "registeredAt",
    "registeredBy",
    "deregisteredAt",
    "deleteRequestedAt",
];

/// What a file can be for `longshore run`.
#[derive(Debug, PartialEq)]
pub(crate) enum Runnable {
    /// A task definition, to be registered and run.
    Definition(Box<RegisterTaskDefinitionRequest>),
    /// A RunTask request that names its definition.
    Request(Box<RunTaskRequest>),
}

/// What a file can be for `longshore service create`.
#[derive(Debug, PartialEq)]
pub(crate) enum Servable {
    /// A task definition, to be registered.
    Definition(Box<RegisterTaskDefinitionRequest>),
    /// A CreateService request.
    Request(Box<CreateServiceRequest>),
}

/// Whether an argument means a file: `-`, or a name that ends in `.json`. No task definition has such a name.
pub(crate) fn is_file(argument: &str) -> bool {
    argument == "-" || argument.ends_with(".json")
}

/// Reads a task definition.
pub(crate) fn definition(path: &str) -> Result<RegisterTaskDefinitionRequest, Fault> {
    definition_of(path, read(path)?)
}

/// Reads what `longshore run` was given.
pub(crate) fn runnable(path: &str) -> Result<Runnable, Fault> {
    runnable_of(path, read(path)?)
}

/// Reads what `longshore service create` was given.
pub(crate) fn servable(path: &str) -> Result<Servable, Fault> {
    servable_of(path, read(path)?)
}

fn servable_of(path: &str, value: Value) -> Result<Servable, Fault> {
    let is_request = value.get("serviceName").is_some()
        || value.get("deploymentController").is_some()
        || value.get("taskDefinition").is_some_and(Value::is_string);
    if is_request {
        return Ok(Servable::Request(Box::new(strict(path, "a CreateService request", value)?)));
    }
    Ok(Servable::Definition(Box::new(definition_of(path, value)?)))
}

/// A definition that there is, to be registered once more.
pub(crate) fn anew(described: DescribeTaskDefinitionResponse) -> Result<RegisterTaskDefinitionRequest, Fault> {
    let path = "the definition that runs";
    let value = serde_json::to_value(&described).map_err(|source| Fault::Json { path: path.to_owned(), source })?;
    definition_of(path, value)
}

fn runnable_of(path: &str, value: Value) -> Result<Runnable, Fault> {
    match value.get("taskDefinition") {
        Some(Value::String(_)) => Ok(Runnable::Request(Box::new(strict(path, "a RunTask request", value)?))),
        Some(_) | None => Ok(Runnable::Definition(Box::new(definition_of(path, value)?))),
    }
}

fn definition_of(path: &str, value: Value) -> Result<RegisterTaskDefinitionRequest, Fault> {
    let value = match value {
        Value::Object(mut outer) if outer.get("taskDefinition").is_some_and(Value::is_object) => {
            let mut inner = outer.remove("taskDefinition").unwrap_or_default();
            if let (Some(inner), Some(tags)) = (inner.as_object_mut(), outer.remove("tags")) {
                inner.insert("tags".to_owned(), tags);
            }
            // What else stood beside it is judged like any other unknown field.
            if let Some(inner) = inner.as_object_mut() {
                ADDED_BY_THE_SERVER.iter().for_each(|key| drop(inner.remove(*key)));
                inner.extend(outer);
            }
            inner
        }
        other => other,
    };
    strict(path, "a task definition", value)
}

fn read(path: &str) -> Result<Value, Fault> {
    let text = if path == "-" {
        let mut text = Vec::new();
        std::io::stdin().read_to_end(&mut text).map(|_| text)
    } else {
        std::fs::read(path)
    };
    let text = text.map_err(|source| Fault::File { path: title(path).into(), source })?;
    serde_json::from_slice(&text).map_err(|source| Fault::Json { path: title(path), source })
}

fn title(path: &str) -> String {
    if path == "-" { "standard input".to_owned() } else { path.to_owned() }
}

/// The value as a `T` that keeps all of it.
fn strict<T: Serialize + DeserializeOwned>(path: &str, what: &'static str, value: Value) -> Result<T, Fault> {
    let fault = |fault: String| Fault::Field { path: title(path), what, fault };
    let text = serde_json::to_vec(&value).map_err(|e| fault(e.to_string()))?;
    let parsed: T = parse_json(&text).map_err(|e| fault(e.message))?;
    let kept = serde_json::to_value(&parsed).map_err(|e| fault(e.to_string()))?;
    let mut lost = Vec::new();
    compare(&value, &kept, &mut String::new(), &mut lost);
    if lost.is_empty() {
        return Ok(parsed);
    }
    let fields = lost.iter().map(|f| format!("`{f}`")).collect::<Vec<_>>().join(", ");
    Err(Fault::UnknownField { path: title(path), what, fields })
}

/// Collects the paths that `given` has and `kept` has not. An absent value and null are the same.
fn compare(given: &Value, kept: &Value, at: &mut String, lost: &mut Vec<String>) {
    let length = at.len();
    match (given, kept) {
        (Value::Object(given), _) => {
            let empty = Map::new();
            let kept = kept.as_object().unwrap_or(&empty);
            for (key, value) in given.iter().filter(|(_, v)| !v.is_null()) {
                if !at.is_empty() {
                    at.push('.');
                }
                at.push_str(key);
                match kept.get(key) {
                    Some(kept) => compare(value, kept, at, lost),
                    None => lost.push(at.clone()),
                }
                at.truncate(length);
            }
        }
        (Value::Array(given), Value::Array(kept)) => {
            for (i, (given, kept)) in given.iter().zip(kept).enumerate() {
                at.push_str(&format!("[{i}]"));
                compare(given, kept, at, lost);
                at.truncate(length);
            }
        }
        (_, _) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn definition() -> Value {
        json!({"family": "web", "containerDefinitions": [{"name": "c", "image": "i", "memory": 64,
            "dockerLabels": {"any.Label": "x"}, "healthCheck": null}]})
    }

    #[test]
    fn both_forms_are_one() {
        let plain = definition_of("f", definition()).expect("plain");
        let mut described = definition();
        for key in ADDED_BY_THE_SERVER {
            described[key] = json!("whatever");
        }
        let described = json!({"taskDefinition": described, "tags": [{"key": "a", "value": "b"}]});
        let mut wrapped = definition_of("f", described).expect("described");
        assert!(wrapped.tags.take().is_some());
        assert_eq!(wrapped, plain);
    }

    #[test]
    fn slips_are_named_by_their_path() {
        let mut value = definition();
        value["containerDefinitions"][0]["memroy"] = json!(64);
        value["Volumes"] = json!([]);
        let text = definition_of("f", value).expect_err("refused").to_string();
        assert!(text.contains("`containerDefinitions[0].memroy`") && text.contains("`Volumes`"), "{text}");

        let mut value = definition();
        value["containerDefinitions"][0]["memory"] = json!("64");
        let text = definition_of("f", value).expect_err("refused").to_string();
        assert!(text.contains("containerDefinitions[0].memory"), "{text}");

        assert!(definition_of("f", json!([])).is_err());
        assert!(definition_of("f", json!({"taskDefinition": {"family": "x"}, "extra": 1})).is_err());
    }

    #[test]
    fn a_services_request_is_told_from_a_definition() {
        let request = servable_of("f", json!({"taskDefinition": "web:1", "desiredCount": 2})).expect("request");
        assert!(matches!(request, Servable::Request(r) if r.desired_count == Some(2)));
        let external = json!({"serviceName": "web", "deploymentController": {"type": "EXTERNAL"}});
        assert!(matches!(servable_of("f", external), Ok(Servable::Request(_))));
        assert!(matches!(servable_of("f", definition()), Ok(Servable::Definition(_))));
        assert!(servable_of("f", json!({"taskDefinition": "web:1", "desiredCuont": 2})).is_err());
    }

    #[test]
    fn what_runs_can_be_registered_anew() {
        let mut described = definition();
        for key in ["taskDefinitionArn", "status", "registeredBy"] {
            described[key] = json!("whatever");
        }
        described["revision"] = json!(3);
        let answer = json!({"taskDefinition": described, "tags": [{"key": "a", "value": "b"}]});
        let anew = anew(serde_json::from_value(answer).expect("an answer")).expect("a definition");
        assert_eq!((anew.family.as_deref(), anew.tags.map(|tags| tags.len())), (Some("web"), Some(1)));
    }

    #[test]
    fn a_request_is_told_from_a_definition() {
        let request = runnable_of("f", json!({"taskDefinition": "web:1", "count": 2})).expect("request");
        assert!(matches!(request, Runnable::Request(r) if r.count == Some(2)));
        assert!(matches!(runnable_of("f", definition()), Ok(Runnable::Definition(_))));
        assert!(runnable_of("f", json!({"taskDefinition": "web:1", "cuont": 2})).is_err());
    }
}
