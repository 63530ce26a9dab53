//! Checks that many fields share. Texts name the field; values appear only where they are names, never where they
//! could be secrets.

use longshore_ecs_api::ApiError;
use longshore_ecs_api::types::TaskDefinition;
use serde_json::Value;

/// What ECS answers to nearly every mistake in a definition.
pub(super) fn mistake(message: impl Into<String>) -> ApiError {
    ApiError::client(message)
}

/// The path of a field of a container, for messages of our own.
pub(super) fn at(container: usize, field: &str) -> String {
    format!("containerDefinitions[{container}].{field}")
}

pub(super) const MAX_NAME: usize = 255;

/// Letters, digits, hyphens and underscores, at most 255.
pub(super) fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Whether an optional text says something: absent and empty are the same to ECS in most places.
pub(super) fn given(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|t| !t.is_empty())
}

/// An absolute path in a Linux file system.
pub(super) fn absolute(path: Option<&String>, field: impl FnOnce() -> String) -> Result<&str, ApiError> {
    match given(path) {
        Some(path) if path.starts_with('/') => Ok(path),
        Some(path) => Err(mistake(format!("{}: '{path}' must be an absolute path.", field()))),
        None => Err(mistake(format!("{} should not be null or empty.", field()))),
    }
}

/// A path that the engine can be told of: in its notation a colon ends one.
pub(super) fn without_colon(path: Option<&String>, field: impl FnOnce() -> String) -> Result<(), ApiError> {
    match path.filter(|path| path.contains(':')) {
        Some(path) => Err(mistake(format!("{}: '{path}' has a colon, which the engine cannot mount.", field()))),
        None => Ok(()),
    }
}

/// A number within bounds, when there is one.
pub(super) fn range(
    value: Option<i32>,
    bounds: std::ops::RangeInclusive<i32>,
    field: impl FnOnce() -> String,
) -> Result<(), ApiError> {
    match value {
        Some(value) if !bounds.contains(&value) => {
            let field = field();
            if *bounds.end() == i32::MAX {
                return Err(mistake(format!("{field}: {value} must be at least {}.", bounds.start())));
            }
            Err(mistake(format!("{field}: {value} must be between {} and {}.", bounds.start(), bounds.end())))
        }
        _ => Ok(()),
    }
}

/// At most `max` of something.
pub(super) fn at_most<T>(list: Option<&Vec<T>>, max: usize, field: impl FnOnce() -> String) -> Result<(), ApiError> {
    match list {
        Some(list) if list.len() > max => {
            Err(mistake(format!("{}: {} are given, at most {max} are allowed.", field(), list.len())))
        }
        _ => Ok(()),
    }
}

/// The first item that an earlier one equals.
pub(super) fn duplicate<T: Ord>(items: impl IntoIterator<Item = T>) -> Option<T> {
    let mut seen = std::collections::BTreeSet::new();
    for item in items {
        if seen.contains(&item) {
            return Some(item);
        }
        seen.insert(item);
    }
    None
}

/// No text anywhere holds a NUL byte: the kernel ends every string there, so a container would run with something
/// else than what is stored.
pub(super) fn no_control_characters(definition: &TaskDefinition) -> Result<(), ApiError> {
    let value = serde_json::to_value(definition).expect("the API's types always serialise");
    match find_nul(&value, String::new()) {
        Some(path) => Err(mistake(format!("{path}: a text must not contain the character NUL."))),
        None => Ok(()),
    }
}

fn find_nul(value: &Value, path: String) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then_some(path),
        Value::Array(items) => items.iter().enumerate().find_map(|(i, item)| find_nul(item, format!("{path}[{i}]"))),
        Value::Object(members) => members.iter().find_map(|(name, item)| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if name.contains('\0') { Some(path.replace('\0', "?")) } else { find_nul(item, path) }
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}
