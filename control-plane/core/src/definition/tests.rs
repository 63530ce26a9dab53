//! Rules as tables of small changes to a sound definition, and what holds of every definition that is accepted.

mod container;
mod defaults;
mod host;
mod linux;
mod logging;
mod ports;
mod properties;
mod references;
mod task;
mod unsupported;

use super::{Validated, validate};
use longshore_ecs_api::requests::RegisterTaskDefinitionRequest;
use longshore_ecs_api::{ApiError, ErrorCode};
use serde_json::{Value, json};

/// A definition that nothing is wrong with.
fn sound() -> Value {
    json!({"family": "web", "containerDefinitions": [{"name": "app", "image": "app:1", "memory": 64}]})
}

/// `base` with `patch` laid over it; objects merge, anything else replaces. Lists merge item by item, so that a
/// patch can reach into the first container.
fn merge(base: &mut Value, patch: &Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => {
            for (name, value) in patch {
                merge(base.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(base), Value::Array(patch)) if !base.is_empty() => {
            for (i, value) in patch.iter().enumerate() {
                if i < base.len() {
                    merge(&mut base[i], value);
                } else {
                    base.push(value.clone());
                }
            }
        }
        (base, patch) => *base = patch.clone(),
    }
}

fn register(patch: &Value) -> Result<Validated, ApiError> {
    let mut request = sound();
    merge(&mut request, patch);
    validate(serde_json::from_value(request).expect("the test's request has the API's types"))
}

/// A patch to the first container.
fn app(patch: Value) -> Value {
    json!({"containerDefinitions": [patch]})
}

/// A patch with a volume of EFS.
fn efs(more: Value) -> Value {
    let mut efs = json!({"fileSystemId": "fs-1"});
    merge(&mut efs, &more);
    json!({"volumes": [{"name": "a", "efsVolumeConfiguration": efs}]})
}

/// The definition as JSON, as a client would see it.
fn stored(patch: &Value) -> Value {
    let validated = register(patch).unwrap_or_else(|error| panic!("{patch}: {error}"));
    serde_json::to_value(validated.definition).expect("serialises")
}

/// Every member of `part` is in `whole` with the same value.
fn includes(whole: &Value, part: &Value, path: &str) {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            for (name, value) in part {
                let path = format!("{path}.{name}");
                includes(whole.get(name).unwrap_or_else(|| panic!("{path} is lost")), value, &path);
            }
        }
        (Value::Array(whole), Value::Array(part)) => {
            assert_eq!(whole.len(), part.len(), "{path}");
            for (i, value) in part.iter().enumerate() {
                includes(&whole[i], value, &format!("{path}[{i}]"));
            }
        }
        (whole, part) => assert_eq!(whole, part, "{path}"),
    }
}

fn accepted(patches: &[Value]) {
    for patch in patches {
        if let Err(error) = register(patch) {
            panic!("{patch}\nis refused: {error}");
        }
    }
}

fn refused(cases: &[(Value, &str)]) {
    for (patch, message) in cases {
        match register(patch) {
            Ok(_) => panic!("{patch}\nis accepted, expected: {message}"),
            Err(error) => {
                assert_eq!(error.message, *message, "{patch}");
                let expected = if patch.get("placementConstraints").is_some() && !message.contains("at most") {
                    ErrorCode::InvalidParameter
                } else {
                    ErrorCode::Client
                };
                assert_eq!(error.code, expected, "{patch}");
            }
        }
    }
}

/// The request that a stored definition would be registered again with.
fn again(validated: &Validated) -> RegisterTaskDefinitionRequest {
    let mut value = serde_json::to_value(&validated.definition).expect("serialises");
    let members = value.as_object_mut().expect("an object");
    members.remove("requiresAttributes");
    members.remove("compatibilities");
    members.insert("tags".into(), serde_json::to_value(&validated.tags).expect("serialises"));
    serde_json::from_value(value).expect("a stored definition has the request's members")
}
