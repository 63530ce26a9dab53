//! What a target is given: the event, a part of it, a constant, or what a template makes of it.

use longshore_ecs_api::events::{EventTarget, InputTransformer};
use longshore_model::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;

/// Variables of a template (EventBridge).
const MAX_VARIABLES: usize = 100;

/// What a template may name beside its own variables.
pub(super) struct Known<'a> {
    pub(super) rule_arn: &'a str,
    pub(super) rule_name: &'a str,
    /// When the event came.
    pub(super) at: Timestamp,
}

/// Whether a target has something else than the event itself.
pub(super) const fn is_changed(target: &EventTarget) -> bool {
    target.input.is_some() || target.input_path.is_some() || target.input_transformer.is_some()
}

/// What the target is given of an event.
pub(super) fn input(target: &EventTarget, event: &Value, known: &Known<'_>) -> String {
    if let Some(constant) = &target.input {
        return constant.clone();
    }
    if let Some(path) = &target.input_path {
        return at(event, path).unwrap_or(&Value::Null).to_string();
    }
    match &target.input_transformer {
        Some(transformer) => transform(transformer, event, known),
        None => event.to_string(),
    }
}

/// Whether a text is a path that is understood here: `$`, names after dots, and indexes in brackets.
pub(crate) fn check_path(path: &str) -> bool {
    steps(path).is_some()
}

/// Whether a template is one, with variables that are all defined.
///
/// # Errors
/// What is wrong.
pub(crate) fn check_template(transformer: &InputTransformer) -> Result<(), String> {
    let paths = transformer.input_paths_map.clone().unwrap_or_default();
    if paths.len() > MAX_VARIABLES {
        return Err(format!("InputPathsMap can have {MAX_VARIABLES} variables"));
    }
    for (name, path) in &paths {
        let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        if !plain || name.starts_with("AWS") {
            return Err(
                "a variable of InputPathsMap must be of letters, digits, _ and -, and not begin with AWS".to_owned()
            );
        }
        if !check_path(path) {
            return Err(format!("the path of {name} in InputPathsMap is not a path as $.detail.name"));
        }
    }
    let template = transformer.input_template.as_deref().unwrap_or_default();
    if template.trim().is_empty() {
        return Err("InputTemplate must not be empty".to_owned());
    }
    for name in pieces(template).filter_map(Piece::variable) {
        if !paths.contains_key(name) && reserved(name).is_none() {
            return Err("InputTemplate has a variable that InputPathsMap does not define".to_owned());
        }
    }
    Ok(())
}

enum Step<'a> {
    Member(&'a str),
    Element(usize),
}

fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut left = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !left.is_empty() {
        if let Some(rest) = left.strip_prefix('[') {
            let (index, rest) = rest.split_once(']')?;
            let name = index.strip_prefix('\'').and_then(|name| name.strip_suffix('\''));
            steps.push(match name {
                Some(name) => Step::Member(name),
                None => Step::Element(index.parse().ok()?),
            });
            left = rest;
            continue;
        }
        let rest = left.strip_prefix('.')?;
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        if name.is_empty() || name.contains(['*', '@', '(', ')', '?', ']']) {
            return None;
        }
        steps.push(Step::Member(name));
        left = rest;
    }
    Some(steps)
}

fn at<'a>(event: &'a Value, path: &str) -> Option<&'a Value> {
    steps(path)?.into_iter().try_fold(event, |value, step| match step {
        Step::Member(name) => value.get(name),
        Step::Element(index) => value.get(index),
    })
}

/// A part of a template.
enum Piece<'a> {
    Text(&'a str),
    Variable(&'a str),
}

impl<'a> Piece<'a> {
    const fn variable(self) -> Option<&'a str> {
        match self {
            Self::Text(_) => None,
            Self::Variable(name) => Some(name),
        }
    }
}

/// Text and variables, `<name>`, in turn. What looks like no variable is text.
fn pieces(template: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut left = template;
    std::iter::from_fn(move || {
        if left.is_empty() {
            return None;
        }
        if let Some(name) = variable(left) {
            left = &left[name.len() + 2..];
            return Some(Piece::Variable(name));
        }
        let from = left.chars().next().map_or(0, char::len_utf8);
        let more = left[from..].match_indices('<').map(|(at, _)| from + at);
        let end = more.into_iter().find(|at| variable(&left[*at..]).is_some()).unwrap_or(left.len());
        let (text, rest) = left.split_at(end);
        left = rest;
        Some(Piece::Text(text))
    })
}

fn variable(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('<')?.split_once('>')?;
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (!name.is_empty() && name.chars().all(named)).then_some(name)
}

/// What EventBridge defines itself.
#[derive(Clone, Copy)]
enum Reserved {
    RuleArn,
    RuleName,
    Event,
    IngestionTime,
}

fn reserved(name: &str) -> Option<Reserved> {
    match name {
        "aws.events.rule-arn" => Some(Reserved::RuleArn),
        "aws.events.rule-name" => Some(Reserved::RuleName),
        "aws.events.event" | "aws.events.event.json" => Some(Reserved::Event),
        "aws.events.event.ingestion-time" => Some(Reserved::IngestionTime),
        _ => None,
    }
}

fn transform(transformer: &InputTransformer, event: &Value, known: &Known<'_>) -> String {
    let none = BTreeMap::new();
    let paths = transformer.input_paths_map.as_ref().unwrap_or(&none);
    let template = transformer.input_template.as_deref().unwrap_or_default();
    let mut out = String::with_capacity(template.len());
    // Within a string of the template a value is a part of it, elsewhere it is a value of its own.
    let mut in_string = false;
    for piece in pieces(template) {
        let name = match piece {
            Piece::Text(text) => {
                let mut escaped = false;
                for c in text.chars() {
                    in_string ^= c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                }
                out.push_str(text);
                continue;
            }
            Piece::Variable(name) => name,
        };
        let value = match (paths.get(name), reserved(name)) {
            (Some(path), _) => at(event, path).cloned().unwrap_or(Value::Null),
            (None, Some(Reserved::RuleArn)) => known.rule_arn.into(),
            (None, Some(Reserved::RuleName)) => known.rule_name.into(),
            (None, Some(Reserved::Event)) => event.clone(),
            (None, Some(Reserved::IngestionTime)) => super::seconds(known.at).into(),
            (None, None) => Value::Null,
        };
        out.push_str(&shown(&value, in_string));
    }
    out
}

fn shown(value: &Value, in_string: bool) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null if in_string => String::new(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    match (in_string, value) {
        (true, _) => {
            let quoted = Value::from(text).to_string();
            quoted[1..quoted.len() - 1].to_owned()
        }
        (false, Value::String(_)) => Value::from(text).to_string(),
        (false, _) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event() -> Value {
        json!({"id": "1", "resources": ["arn:a", "arn:b"], "detail": {"name": "web \"1\"", "count": 3, "gone": null,
            "containers": [{"name": "app"}]}})
    }

    #[track_caller]
    fn check(template: &str, expected: &str) {
        let paths = [
            ("name", "$.detail.name"),
            ("count", "$.detail.count"),
            ("none", "$.detail.none"),
            ("first", "$.resources[0]"),
            ("container", "$.detail.containers[0]"),
        ];
        let paths = paths.into_iter().map(|(name, path)| (name.to_owned(), path.to_owned())).collect();
        let transformer = InputTransformer { input_paths_map: Some(paths), input_template: Some(template.to_owned()) };
        check_template(&transformer).expect("a template");
        let known = Known { rule_arn: "arn:r", rule_name: "r", at: Timestamp::from_millis(0) };
        let target = EventTarget { input_transformer: Some(transformer), ..EventTarget::default() };
        assert_eq!(input(&target, &event(), &known), expected);
    }

    #[test]
    fn templates_put_values_where_their_variables_stand() {
        check("\"<name> has <count>\"", "\"web \\\"1\\\" has 3\"");
        check(r#"{"n": <name>, "c": <count>, "x": <none>}"#, r#"{"n": "web \"1\"", "c": 3, "x": null}"#);
        check(r#"{"n": "<none>|<first>", "c": <container>}"#, r#"{"n": "|arn:a", "c": {"name":"app"}}"#);
        check("<aws.events.rule-name> <aws.events.event.ingestion-time>", "\"r\" \"1970-01-01T00:00:00Z\"");
        check("a < b <count> ü < <name", "a < b 3 ü < <name");
        check(r#"["\"<count>\"", <count>]"#, r#"["\"3\"", 3]"#);
    }

    #[test]
    fn paths_and_constants() {
        let known = Known { rule_arn: "arn:r", rule_name: "r", at: Timestamp::from_millis(0) };
        let of = |target: EventTarget| input(&target, &event(), &known);
        let path = |path: &str| EventTarget { input_path: Some(path.to_owned()), ..EventTarget::default() };
        assert_eq!(of(path("$.detail.count")), "3");
        assert_eq!(of(path("$['detail'].containers[0].name")), "\"app\"");
        assert_eq!(of(path("$.detail.other")), "null");
        assert_eq!(of(EventTarget { input: Some("{}".to_owned()), ..EventTarget::default() }), "{}");
        assert_eq!(of(EventTarget::default()), event().to_string());
        for bad in ["", "detail", "$detail", "$.", "$..a", "$.a[x]", "$.a[0", "$.*", "$.a[?(@.b)]"] {
            assert!(!check_path(bad), "{bad}");
        }
        let undefined = InputTransformer { input_paths_map: None, input_template: Some("<who>".to_owned()) };
        assert!(check_template(&undefined).is_err());
    }
}
