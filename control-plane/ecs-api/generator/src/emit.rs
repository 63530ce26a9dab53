//! The text of the generated files.
//!
//! Few derives carry everything: enums and the `Request` table go through macros of `longshore-ecs-api`, so that the
//! committed text stays short enough to read and quick to compile.

use crate::model::{Model, Shape};
use crate::names;
use anyhow::bail;
use std::fmt::Write as _;

/// Error codes that every AWS JSON service gives and the model does not list, and those of CloudWatch Logs, Secrets
/// Manager and EventBridge that ECS does not have, with their HTTP status.
const GENERAL_ERRORS: &[(&str, u16)] = &[
    ("IncompleteSignatureException", 400),
    ("InternalFailure", 500),
    ("InvalidEventPatternException", 400),
    ("InvalidNextTokenException", 400),
    ("InvalidRequestException", 400),
    ("InvalidSignatureException", 400),
    ("MissingAuthenticationTokenException", 400),
    ("ObjectNotFoundException", 400),
    ("RequestEntityTooLargeException", 413),
    ("RequestTimeoutException", 408),
    ("ResourceAlreadyExistsException", 400),
    ("ResourceExistsException", 400),
    ("SerializationException", 400),
    ("ThrottlingException", 400),
    ("UnknownOperationException", 400),
    ("UnrecognizedClientException", 400),
    ("ValidationException", 400),
];

/// Members that may hold secrets although the model does not say so: log options (tokens of log services) and
/// options of volume drivers (passwords of file servers).
const ALSO_SENSITIVE: &[(&str, &str)] = &[
    ("LogConfiguration", "options"),
    ("FirelensConfiguration", "options"),
    ("DockerVolumeConfiguration", "driverOpts"),
];

/// File names and their unformatted text.
pub(crate) fn files(model: &Model, source: &str) -> anyhow::Result<Vec<(String, String)>> {
    let header = format!(
        "// Generated from {source}, service model ecs {}, by our generator. Do not edit; see NOTICE.\n\n",
        model.metadata.api_version
    );
    let mut requests = String::new();
    let mut responses = String::new();
    let mut types = String::new();
    let mut enums = String::from("use crate::wire::wire_enum;\n\n");
    for name in model.reachable() {
        match model.shape(name) {
            Shape::Structure { document: true, .. } => {}
            Shape::Structure { exception: true, .. } => bail!("exception `{name}` is used as a type"),
            Shape::Structure { .. } => {
                let out = if model.operations.values().any(|o| o.input.shape == name) {
                    &mut requests
                } else if model.operations.values().any(|o| o.output.shape == name) {
                    &mut responses
                } else {
                    &mut types
                };
                structure(model, name, out);
            }
            Shape::String { values, .. } if !values.is_empty() => enumeration(name, values, &mut enums),
            Shape::String { .. }
            | Shape::List { .. }
            | Shape::Map { .. }
            | Shape::Integer {}
            | Shape::Long {}
            | Shape::Double {}
            | Shape::Boolean {}
            | Shape::Timestamp {} => {}
        }
    }
    let used = "use serde::{Deserialize, Serialize};\n\n";
    let with = |uses: &str, text: &str| format!("{header}{uses}{text}");
    let imports = |text: &str, modules: &[&str]| {
        let mut out = String::new();
        for module in modules {
            let names: Vec<&str> = model
                .reachable()
                .into_iter()
                .filter(|n| home(model, n) == Some(*module) && mentions(text, n))
                .collect();
            if !names.is_empty() {
                let _ = writeln!(out, "use super::{module}::{{{}}};", names.join(", "));
            }
        }
        if text.contains("EpochSeconds") {
            out.push_str("use crate::EpochSeconds;\n");
        }
        if text.contains("Hidden(") {
            out.push_str("use crate::wire::Hidden;\n");
        }
        if text.contains("BTreeMap<") {
            out.push_str("use std::collections::BTreeMap;\n");
        }
        out.push_str(used);
        out
    };
    Ok(vec![
        ("mod.rs".into(), with("", &index())),
        ("operations.rs".into(), with("", &operations(model))),
        ("errors.rs".into(), with("", &errors(model)?)),
        ("enums.rs".into(), with("", &enums)),
        ("requests.rs".into(), with(&imports(&requests, &["enums", "types"]), &requests)),
        ("responses.rs".into(), with(&imports(&responses, &["enums", "types"]), &responses)),
        ("types.rs".into(), with(&imports(&types, &["enums"]), &types)),
    ])
}

fn index() -> String {
    "pub mod enums;\npub(crate) mod errors;\npub(crate) mod operations;\npub mod requests;\npub mod responses;\n\
     pub mod types;\n"
        .into()
}

/// The module that a shape's Rust type lives in, if it has one.
fn home(model: &Model, name: &str) -> Option<&'static str> {
    match model.shape(name) {
        Shape::Structure { document: true, .. } => None,
        Shape::Structure { .. } if model.operations.values().any(|o| o.input.shape == name) => Some("requests"),
        Shape::Structure { .. } if model.operations.values().any(|o| o.output.shape == name) => Some("responses"),
        Shape::Structure { .. } => Some("types"),
        Shape::String { values, .. } if !values.is_empty() => Some("enums"),
        _ => None,
    }
}

fn mentions(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        !text[..at].ends_with(word) && !text[at + name.len()..].starts_with(word)
    })
}

fn rust_type(model: &Model, name: &str) -> String {
    match model.shape(name) {
        Shape::Structure { document: true, .. } => "serde_json::Value".into(),
        Shape::Structure { .. } => name.into(),
        Shape::List { member, .. } => format!("Vec<{}>", rust_type(model, &member.shape)),
        Shape::Map { value, .. } => format!("BTreeMap<String, {}>", rust_type(model, &value.shape)),
        Shape::String { values, .. } if values.is_empty() => "String".into(),
        Shape::String { .. } => name.into(),
        Shape::Integer {} => "i32".into(),
        Shape::Long {} => "i64".into(),
        Shape::Double {} => "f64".into(),
        Shape::Boolean {} => "bool".into(),
        Shape::Timestamp {} => "EpochSeconds".into(),
    }
}

fn structure(model: &Model, name: &str, out: &mut String) {
    let Shape::Structure { members, sensitive, .. } = model.shape(name) else {
        return;
    };
    let hidden =
        |member: &str, shape: &str| *sensitive || model.sensitive(shape) || ALSO_SENSITIVE.contains(&(name, member));
    let manual_debug = members.iter().any(|(member, target)| hidden(member, &target.shape));
    let debug = if manual_debug { "" } else { "Debug, " };
    let _ = writeln!(out, "#[derive({debug}Clone, Default, PartialEq, Serialize, Deserialize)]");
    if members.is_empty() {
        let _ = writeln!(out, "pub struct {name} {{}}\n");
        return;
    }
    let _ = writeln!(out, "#[serde(rename_all = \"camelCase\")]\npub struct {name} {{");
    for (wire, target) in members {
        let field = names::field(wire);
        let rename = if names::serde_camel(&field) == *wire { String::new() } else { format!("rename = {wire:?}, ") };
        let mut kind = rust_type(model, &target.shape);
        if model.contains(&target.shape, name) || target.shape == name {
            kind = format!("Box<{kind}>");
        }
        let _ =
            writeln!(out, "#[serde({rename}skip_serializing_if = \"Option::is_none\")]\npub {field}: Option<{kind}>,");
    }
    out.push_str("}\n\n");
    if manual_debug {
        let _ = writeln!(
            out,
            "impl std::fmt::Debug for {name} {{\n\
             fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {{\n\
             f.debug_struct({name:?})"
        );
        for (wire, target) in members {
            let field = names::field(wire);
            let shown = field.trim_start_matches("r#");
            if hidden(wire, &target.shape) {
                let _ = writeln!(out, ".field({shown:?}, &Hidden(self.{field}.is_some()))");
            } else {
                let _ = writeln!(out, ".field({shown:?}, &self.{field})");
            }
        }
        out.push_str(".finish()\n}\n}\n\n");
    }
}

fn enumeration(name: &str, values: &[String], out: &mut String) {
    let _ = writeln!(out, "wire_enum!({name} {{");
    for (variant, value) in names::variants(values).iter().zip(values) {
        let _ = writeln!(out, "{variant} = {value:?},");
    }
    out.push_str("});\n\n");
}

fn operations(model: &Model) -> String {
    let mut out = String::from("use super::{requests, responses};\nuse crate::wire::operations;\n\n");
    let _ = writeln!(
        out,
        "/// What `X-Amz-Target` begins with, up to the dot.\npub const TARGET_PREFIX: &str = {:?};\n\n\
         /// The service's name in a credential scope.\npub const SIGNING_NAME: &str = {:?};\n",
        model.metadata.target_prefix, model.metadata.signing_name
    );
    out.push_str("operations! {\n");
    for (name, operation) in &model.operations {
        let Shape::Structure { required, .. } = model.shape(&operation.input.shape) else {
            continue;
        };
        let required: Vec<String> = required.iter().map(|wire| format!("{} = {wire:?}", names::field(wire))).collect();
        let _ = writeln!(
            out,
            "    {name}(requests::{}) -> responses::{} {{",
            operation.input.shape, operation.output.shape,
        );
        for member in required {
            let _ = writeln!(out, "        {member},");
        }
        out.push_str("    }\n");
    }
    out.push_str("}\n");
    out
}

fn errors(model: &Model) -> anyhow::Result<String> {
    let mut codes: Vec<(&str, u16)> = GENERAL_ERRORS.to_vec();
    for (name, shape) in &model.shapes {
        if let Shape::Structure { exception: true, fault, .. } = shape {
            if codes.iter().any(|(code, _)| code == name) {
                bail!("`{name}` is in the model now; remove it from the general errors");
            }
            codes.push((name, if *fault { 500 } else { 400 }));
        }
    }
    codes.sort_unstable();
    let mut out = String::from("use crate::wire::error_codes;\n\nerror_codes! {\n");
    for (name, status) in codes {
        let variant = name.strip_suffix("Exception").unwrap_or(name);
        let _ = writeln!(out, "    {variant} = {name:?}, {status};");
    }
    out.push_str("}\n");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = r#"{
        "metadata": {"apiVersion": "1", "protocol": "json", "jsonVersion": "1.1", "targetPrefix": "T",
            "signingName": "s"},
        "operations": {"Ask": {"input": {"shape": "AskRequest"}, "output": {"shape": "AskResponse"}}},
        "shapes": {
            "AskRequest": {"type": "structure", "required": ["type"], "members": {
                "type": {"shape": "Kind", "documentation": "prose"}, "node": {"shape": "Node"},
                "when": {"shape": "When"},
                "free": {"shape": "Free"}}},
            "AskResponse": {"type": "structure", "members": {}},
            "Node": {"type": "structure", "members": {
                "next": {"shape": "Node"}, "all": {"shape": "Nodes"}, "secret": {"shape": "Secret"},
                "bindIP": {"shape": "Text"},
                "map": {"shape": "Map"}}},
            "Nodes": {"type": "list", "member": {"shape": "Node"}},
            "Map": {"type": "map", "key": {"shape": "Text"}, "value": {"shape": "Number"}},
            "Kind": {"type": "string", "enum": ["json-file", "OTHER"]},
            "Secret": {"type": "string", "sensitive": true},
            "Text": {"type": "string"}, "Number": {"type": "integer"}, "When": {"type": "timestamp"},
            "Free": {"type": "structure", "members": {}, "document": true},
            "Unreached": {"type": "structure", "members": {}},
            "BadException": {"type": "structure", "members": {}, "exception": true},
            "OurException": {"type": "structure", "members": {}, "exception": true, "fault": true}
        }
    }"#;

    #[test]
    fn a_small_model() {
        let model = Model::parse(MODEL).expect("a model");
        let files: std::collections::BTreeMap<_, _> = files(&model, "test").expect("files").into_iter().collect();
        let all: String = files.values().map(String::as_str).collect();
        for (file, part) in [
            ("requests.rs", "pub r#type: Option<Kind>,"),
            ("requests.rs", "pub when: Option<EpochSeconds>,"),
            ("requests.rs", "pub free: Option<serde_json::Value>,"),
            ("requests.rs", "use super::enums::{Kind};"),
            ("requests.rs", "use super::types::{Node};"),
            ("responses.rs", "pub struct AskResponse {}"),
            ("types.rs", "pub next: Option<Box<Node>>,"),
            ("types.rs", "pub all: Option<Vec<Node>>,"),
            ("types.rs", "pub map: Option<BTreeMap<String, i32>>,"),
            ("types.rs", "rename = \"bindIP\", "),
            ("types.rs", ".field(\"secret\", &Hidden(self.secret.is_some()))"),
            ("enums.rs", "JsonFile = \"json-file\",\nOther_ = \"OTHER\","),
            ("operations.rs", "Ask(requests::AskRequest) -> responses::AskResponse {\n        r#type = \"type\","),
            ("errors.rs", "Bad = \"BadException\", 400;"),
            ("errors.rs", "Our = \"OurException\", 500;"),
        ] {
            assert!(files[file].contains(part), "{file} lacks {part}:\n{}", files[file]);
        }
        assert!(!all.contains("prose") && !all.contains("Unreached"));
    }

    #[test]
    fn models_that_are_not_understood_are_refused() {
        for (from, to) in [
            ("\"json\"", "\"query\""),
            ("\"1.1\"", "\"1.0\""),
            ("\"shape\": \"Kind\"", "\"shape\": \"Absent\""),
            ("\"type\": \"timestamp\"", "\"type\": \"blob\""),
            ("\"input\": {\"shape\": \"AskRequest\"}", "\"input\": {\"shape\": \"Text\"}"),
        ] {
            assert!(MODEL.contains(from));
            assert!(Model::parse(&MODEL.replacen(from, to, 1)).is_err(), "{to}");
        }
    }
}
