//! Bytes of a request to its type, with errors that name the member.

use crate::{ApiError, ErrorCode, Request};
use serde::de::DeserializeOwned;

/// Parses the body of a request. An empty body is an empty request, as some clients send it.
///
/// # Errors
/// `SerializationException` naming the member when the body is not JSON or a member has the wrong type;
/// `InvalidParameterException` naming the member when one that the model requires is absent.
pub fn parse<R: Request>(body: &[u8]) -> Result<R, ApiError> {
    let request: R = parse_json(body)?;
    match request.missing() {
        None => Ok(request),
        Some(member) => Err(ApiError::invalid(format!("{member} can not be blank."))),
    }
}

/// Parses JSON into any type. An empty body counts as `{}`.
///
/// # Errors
/// `SerializationException`, naming the member at fault.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let body = if body.trim_ascii().is_empty() { b"{}".as_slice() } else { body };
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(ApiError::new(ErrorCode::Serialization, "The request body must be a JSON object."));
    }
    serde_json::from_slice(body).map_err(|error| {
        let path = path_at(body, error.line(), error.column());
        let what = describe(&error);
        let message = if path.is_empty() { what } else { format!("{path}: {what}") };
        ApiError::new(ErrorCode::Serialization, message)
    })
}

/// serde_json's words without the position and without quoting the sender's values.
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(before, _)| before);
    match error.classify() {
        serde_json::error::Category::Data => {
            let expected = text.rsplit_once("expected ").map(|(_, expected)| expected);
            match (expected, text.split_once(": ")) {
                (Some(expected), Some((kind @ ("invalid type" | "invalid value"), rest))) => {
                    let found = rest.split([' ', ',']).next().unwrap_or("value");
                    format!("{kind}: found {found}, expected {expected}")
                }
                _ => text.to_owned(),
            }
        }
        serde_json::error::Category::Syntax | serde_json::error::Category::Eof | serde_json::error::Category::Io => {
            format!("not valid JSON: {text}")
        }
    }
}

/// The path of the value at a position, for example `containerDefinitions[0].cpu`.
///
/// serde_json says where an error is and not in what; walking the text up to there costs only those who err.
fn path_at(body: &[u8], line: usize, column: usize) -> String {
    let line_start = match line.checked_sub(2) {
        None => 0,
        Some(skip) => body.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(skip).map_or(0, |(at, _)| at + 1),
    };
    let end = line_start.saturating_add(column).min(body.len());
    let mut stack: Vec<Level> = Vec::new();
    let mut at = 0;
    while at < end {
        match body[at] {
            b'{' => stack.push(Level::Object { key: String::new(), value: false }),
            b'[' => stack.push(Level::List(0)),
            // A bracket that is the last thing before the error closes what the error is about.
            b'}' | b']' if at + 1 < end => {
                stack.pop();
            }
            b':' => {
                if let Some(Level::Object { value, .. }) = stack.last_mut() {
                    *value = true;
                }
            }
            b',' if at + 1 < end => match stack.last_mut() {
                Some(Level::List(index)) => *index += 1,
                Some(Level::Object { value, .. }) => *value = false,
                None => {}
            },
            b'"' => {
                let start = at + 1;
                at = start;
                while at < end && body[at] != b'"' {
                    at += if body[at] == b'\\' { 2 } else { 1 };
                }
                if let Some(Level::Object { key, value: false }) = stack.last_mut() {
                    *key = String::from_utf8_lossy(&body[start.min(end)..at.min(end)]).chars().take(64).collect();
                }
            }
            _ => {}
        }
        at += 1;
    }
    let mut path = String::new();
    for level in &stack {
        match level {
            Level::Object { key, .. } if key.is_empty() => {}
            Level::Object { key, .. } => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
            }
            Level::List(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path.chars().take(256).collect()
}

enum Level {
    Object { key: String, value: bool },
    List(usize),
}
