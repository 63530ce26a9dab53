//! Asking an event.

use crate::{Comparison, Fields, Node, Test, TextTest};
use serde_json::Value;
use std::net::IpAddr;

/// What a member means that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    IsAbsent,
    /// Anything may be there.
    IsUnknown,
}

/// Whether all of `wanted` holds of `value`. Of a list one element must have all of it.
pub(crate) fn fields(wanted: &Fields, value: Option<&Value>, absent: Absent) -> bool {
    let member = |name: &str| match value {
        Some(Value::Object(members)) => members.get(name),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) | None => None,
    };
    match value {
        Some(Value::Array(list)) if !list.is_empty() => {
            return list.iter().any(|element| fields(wanted, Some(element), absent));
        }
        None if absent == Absent::IsUnknown => return true,
        Some(_) | None => {}
    }
    wanted.fields.iter().all(|(name, wanted)| node(wanted, member(name), absent))
        && wanted.any_of.iter().all(|any| any.iter().any(|one| fields(one, value, absent)))
}

fn node(wanted: &Node, value: Option<&Value>, absent: Absent) -> bool {
    match wanted {
        Node::Fields(wanted) => fields(wanted, value, absent),
        Node::Tests(tests) => match value {
            None if absent == Absent::IsUnknown => true,
            Some(Value::Array(list)) if !list.is_empty() => {
                list.iter().any(|element| tests.iter().any(|test| holds(test, Some(element))))
            }
            value => tests.iter().any(|test| holds(test, value)),
        },
    }
}

/// Whether a test holds of one value. What is no single value counts as absent: only leaves can be asked.
fn holds(test: &Test, value: Option<&Value>) -> bool {
    let value = value.filter(|value| !value.is_object() && !value.is_array());
    let text = value.and_then(Value::as_str);
    match test {
        Test::Exact(wanted) => value == Some(wanted),
        Test::Text(test) => text.is_some_and(|text| is(test, text)),
        Test::But(values) => value.is_some_and(|value| !values.contains(value)),
        Test::ButText(tests) => value.is_some() && text.is_none_or(|text| !tests.iter().any(|test| is(test, text))),
        Test::Numeric(bounds) => value
            .and_then(Value::as_f64)
            .is_some_and(|number| bounds.iter().all(|(comparison, bound)| compare(*comparison, number, *bound))),
        Test::Exists(wanted) => value.is_some() == *wanted,
        Test::Cidr(net) => {
            text.and_then(|text| text.parse::<IpAddr>().ok()).is_some_and(|address| net.contains(&address))
        }
    }
}

fn is(test: &TextTest, text: &str) -> bool {
    match test {
        TextTest::Prefix(wanted) => text.starts_with(wanted.as_str()),
        TextTest::PrefixAnyCase(wanted) => text.to_lowercase().starts_with(wanted.as_str()),
        TextTest::Suffix(wanted) => text.ends_with(wanted.as_str()),
        TextTest::SuffixAnyCase(wanted) => text.to_lowercase().ends_with(wanted.as_str()),
        TextTest::AnyCase(wanted) => text.to_lowercase() == *wanted,
        TextTest::Wildcard(wanted) => wanted.matches(text),
    }
}

fn compare(comparison: Comparison, number: f64, bound: f64) -> bool {
    match comparison {
        // Bounds and numbers are what was written, never computed.
        #[allow(clippy::float_cmp)]
        Comparison::Equal => number == bound,
        Comparison::Less => number < bound,
        Comparison::LessOrEqual => number <= bound,
        Comparison::Greater => number > bound,
        Comparison::GreaterOrEqual => number >= bound,
    }
}
