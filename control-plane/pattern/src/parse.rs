//! From JSON to a pattern, with errors that name the field.

use crate::wildcard::Wildcard;
use crate::{Comparison, Fields, Node, PatternError, Test, TextTest};
use ipnet::IpNet;
use serde_json::{Map, Value};
use std::net::IpAddr;

/// EventBridge's bound of numbers in `numeric`.
const LARGEST: f64 = 5.0e9;

/// Where in the pattern something is.
#[derive(Clone, Copy)]
struct Path<'a> {
    up: Option<&'a Path<'a>>,
    name: &'a str,
}

impl Path<'_> {
    fn text(&self) -> String {
        match self.up {
            Some(up) if !up.text().is_empty() => format!("{}.{}", up.text(), self.name),
            Some(_) | None => self.name.to_owned(),
        }
    }

    fn error(&self, why: impl Into<String>) -> PatternError {
        PatternError::Part { path: self.text().chars().take(256).collect(), why: why.into() }
    }

    fn to<'a>(&'a self, name: &'a str) -> Path<'a> {
        Path { up: Some(self), name }
    }
}

pub(crate) fn root(value: &Value) -> Result<Fields, PatternError> {
    let path = Path { up: None, name: "" };
    match value {
        Value::Object(members) => fields(members, &path),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(path.error("it must be a JSON object"))
        }
    }
}

fn fields(members: &Map<String, Value>, path: &Path<'_>) -> Result<Fields, PatternError> {
    if members.is_empty() {
        return Err(path.error("empty objects are not allowed"));
    }
    let mut all = Fields::default();
    for (name, value) in members {
        let path = path.to(name);
        if name == "$or" {
            all.any_of.push(alternatives(value, &path)?);
            continue;
        }
        let node = match value {
            Value::Object(members) => Node::Fields(fields(members, &path)?),
            Value::Array(tests) if tests.is_empty() => return Err(path.error("empty arrays are not allowed")),
            Value::Array(tests) => Node::Tests(tests.iter().map(|value| test(value, &path)).collect::<Result<_, _>>()?),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                return Err(path.error("it must be an object or an array"));
            }
        };
        all.fields.push((name.clone(), node));
    }
    Ok(all)
}

fn alternatives(value: &Value, path: &Path<'_>) -> Result<Vec<Fields>, PatternError> {
    let list = value.as_array().filter(|list| list.len() >= 2);
    let list = list.ok_or_else(|| path.error("it must be an array of two or more objects"))?;
    let one = |value: &Value| match value {
        Value::Object(members) => fields(members, path),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(path.error("it must be an array of two or more objects"))
        }
    };
    list.iter().map(one).collect()
}

fn test(value: &Value, path: &Path<'_>) -> Result<Test, PatternError> {
    let members = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return Ok(Test::Exact(value.clone())),
        Value::Array(_) => return Err(path.error("an array must not stand in an array")),
        Value::Object(members) => members,
    };
    let (word, value) = only(members, path)?;
    match word {
        "exists" => match value {
            Value::Bool(wanted) => Ok(Test::Exists(*wanted)),
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                Err(path.error("exists must be true or false"))
            }
        },
        "numeric" => numeric(value, path).map(Test::Numeric),
        "cidr" => cidr(value, path).map(Test::Cidr),
        "anything-but" => anything_but(value, path),
        "prefix" | "suffix" | "equals-ignore-case" | "wildcard" => text_test(word, value, path).map(Test::Text),
        other => Err(path.error(format!("unrecognized match type {}", shown(other)))),
    }
}

/// The one member of a match expression.
fn only<'a>(members: &'a Map<String, Value>, path: &Path<'_>) -> Result<(&'a str, &'a Value), PatternError> {
    let mut all = members.iter();
    match (all.next(), all.next()) {
        (Some((word, value)), None) => Ok((word, value)),
        (None, _) => Err(path.error("a match expression must not be empty")),
        (Some(_), Some(_)) => Err(path.error("only one key is allowed in a match expression")),
    }
}

fn shown(word: &str) -> String {
    word.chars().take(40).collect()
}

fn text_test(word: &str, value: &Value, path: &Path<'_>) -> Result<TextTest, PatternError> {
    let text = |value: &Value| match value.as_str() {
        Some("") if word != "equals-ignore-case" => Err(path.error(format!("{word} must not be empty"))),
        Some(text) => Ok(text.to_owned()),
        None => Err(path.error(format!("{word} must be a string"))),
    };
    match (word, value) {
        ("prefix" | "suffix", Value::Object(members)) => {
            let (inner, value) = only(members, path)?;
            if inner != "equals-ignore-case" {
                return Err(path.error(format!("unsupported {word} pattern: {}", shown(inner))));
            }
            let wanted = text(value)?.to_lowercase();
            Ok(if word == "prefix" { TextTest::PrefixAnyCase(wanted) } else { TextTest::SuffixAnyCase(wanted) })
        }
        ("prefix", value) => text(value).map(TextTest::Prefix),
        ("suffix", value) => text(value).map(TextTest::Suffix),
        ("equals-ignore-case", value) => text(value).map(|text| TextTest::AnyCase(text.to_lowercase())),
        (_, value) => {
            Wildcard::parse(&text(value)?).map(TextTest::Wildcard).map_err(|why| path.error(format!("wildcard: {why}")))
        }
    }
}

fn anything_but(value: &Value, path: &Path<'_>) -> Result<Test, PatternError> {
    let plain = |value: &Value| match value {
        Value::Number(_) | Value::String(_) => Ok(value.clone()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err(path.error("anything-but must be a string, a number, or a list of them"))
        }
    };
    let empty = || path.error("anything-but must not be an empty list");
    match value {
        Value::Object(members) => {
            let (word, value) = only(members, path)?;
            if !["prefix", "suffix", "equals-ignore-case", "wildcard"].contains(&word) {
                return Err(path.error(format!("unsupported anything-but pattern: {}", shown(word))));
            }
            let tests: Vec<TextTest> = match value {
                Value::Array(list) if list.is_empty() => return Err(empty()),
                Value::Array(list) => {
                    list.iter().map(|value| text_test(word, value, path)).collect::<Result<_, _>>()?
                }
                value => vec![text_test(word, value, path)?],
            };
            Ok(Test::ButText(tests))
        }
        Value::Array(list) if list.is_empty() => Err(empty()),
        Value::Array(list) => Ok(Test::But(list.iter().map(plain).collect::<Result<_, _>>()?)),
        value => Ok(Test::But(vec![plain(value)?])),
    }
}

fn numeric(value: &Value, path: &Path<'_>) -> Result<Vec<(Comparison, f64)>, PatternError> {
    let wrong = || path.error("numeric must be a list as [\"=\", 5] or [\">\", 0, \"<=\", 5]");
    let list = value.as_array().ok_or_else(wrong)?;
    let pair = |pair: &[Value]| -> Result<(Comparison, f64), PatternError> {
        let [word, number] = pair else { return Err(wrong()) };
        let comparison = match word.as_str() {
            Some("=") => Comparison::Equal,
            Some("<") => Comparison::Less,
            Some("<=") => Comparison::LessOrEqual,
            Some(">") => Comparison::Greater,
            Some(">=") => Comparison::GreaterOrEqual,
            Some(_) | None => return Err(wrong()),
        };
        let number = number.as_f64().ok_or_else(wrong)?;
        if number.abs() > LARGEST {
            return Err(path.error("a number of numeric must be between -5.0E9 and 5.0E9"));
        }
        Ok((comparison, number))
    };
    let pairs: Vec<(Comparison, f64)> = list.chunks(2).map(pair).collect::<Result<_, _>>()?;
    match pairs.as_slice() {
        [_] => Ok(pairs),
        [
            (Comparison::Greater | Comparison::GreaterOrEqual, low),
            (Comparison::Less | Comparison::LessOrEqual, high),
        ] if low < high => Ok(pairs),
        [(Comparison::Greater | Comparison::GreaterOrEqual, _), (Comparison::Less | Comparison::LessOrEqual, _)] => {
            Err(path.error("the bottom of a numeric range must be less than its top"))
        }
        _ => Err(wrong()),
    }
}

fn cidr(value: &Value, path: &Path<'_>) -> Result<IpNet, PatternError> {
    let text = value.as_str().ok_or_else(|| path.error("cidr must be a string"))?;
    let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    net.ok_or_else(|| path.error("cidr must be a network as 10.0.0.0/24 or 2001:db8::/32"))
}
