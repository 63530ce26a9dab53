//! The service model as the generator needs it: a small part of botocore's `service-2.json`, prose left out.

use anyhow::{Context, bail};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// A service model.
#[derive(Debug, Deserialize)]
pub(crate) struct Model {
    pub(crate) metadata: Metadata,
    pub(crate) operations: BTreeMap<String, Operation>,
    pub(crate) shapes: BTreeMap<String, Shape>,
}

/// What the service is called on the wire.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) api_version: String,
    pub(crate) protocol: String,
    pub(crate) json_version: String,
    pub(crate) target_prefix: String,
    pub(crate) signing_name: String,
}

/// One operation.
#[derive(Debug, Deserialize)]
pub(crate) struct Operation {
    pub(crate) input: Reference,
    pub(crate) output: Reference,
}

/// The use of a shape.
#[derive(Debug, Deserialize)]
pub(crate) struct Reference {
    pub(crate) shape: String,
}

/// A type of the model.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Shape {
    Structure {
        #[serde(default)]
        members: BTreeMap<String, Reference>,
        #[serde(default)]
        required: Vec<String>,
        #[serde(default)]
        exception: bool,
        #[serde(default)]
        fault: bool,
        #[serde(default)]
        document: bool,
        #[serde(default)]
        sensitive: bool,
    },
    List {
        member: Reference,
        #[serde(default)]
        sensitive: bool,
    },
    Map {
        key: Reference,
        value: Reference,
        #[serde(default)]
        sensitive: bool,
    },
    String {
        #[serde(default, rename = "enum")]
        values: Vec<String>,
        #[serde(default)]
        sensitive: bool,
    },
    Integer {},
    Long {},
    Double {},
    Boolean {},
    Timestamp {},
}

impl Model {
    /// Parses and checks what the generator relies on: JSON 1.1, and no reference to a shape that is absent.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let model: Self = serde_json::from_str(text).context("not a service model that this generator knows")?;
        if model.metadata.protocol != "json" || model.metadata.json_version != "1.1" {
            bail!("protocol {} {} is not JSON 1.1", model.metadata.protocol, model.metadata.json_version);
        }
        for (name, shape) in &model.shapes {
            for target in shape.references() {
                if !model.shapes.contains_key(target) {
                    bail!("shape `{name}` refers to `{target}`, which the model does not have");
                }
            }
        }
        for (name, operation) in &model.operations {
            for reference in [&operation.input, &operation.output] {
                if !matches!(model.shapes.get(&reference.shape), Some(Shape::Structure { .. })) {
                    bail!("operation `{name}` uses `{}`, which is no structure", reference.shape);
                }
            }
        }
        Ok(model)
    }

    /// The shape of that name; references were checked when parsing.
    pub(crate) fn shape(&self, name: &str) -> &Shape {
        self.shapes.get(name).expect("references were checked when parsing")
    }

    /// Every shape that an operation's input or output leads to.
    pub(crate) fn reachable(&self) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let mut todo: Vec<&str> =
            self.operations.values().flat_map(|o| [o.input.shape.as_str(), o.output.shape.as_str()]).collect();
        while let Some(name) = todo.pop() {
            if seen.insert(name) {
                todo.extend(self.shape(name).references());
            }
        }
        seen
    }

    /// Whether a value of this shape must not be shown: it, or what it is a list or map of, is marked so.
    pub(crate) fn sensitive(&self, name: &str) -> bool {
        match self.shape(name) {
            Shape::Structure { sensitive, .. } | Shape::String { sensitive, .. } => *sensitive,
            Shape::List { member, sensitive } => *sensitive || self.sensitive(&member.shape),
            Shape::Map { value, sensitive, .. } => *sensitive || self.sensitive(&value.shape),
            Shape::Integer {} | Shape::Long {} | Shape::Double {} | Shape::Boolean {} | Shape::Timestamp {} => false,
        }
    }

    /// Whether a structure contains itself without a list or map between.
    pub(crate) fn contains(&self, outer: &str, inner: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut todo = vec![outer];
        while let Some(name) = todo.pop() {
            if let Shape::Structure { members, .. } = self.shape(name) {
                for member in members.values() {
                    if member.shape == inner {
                        return true;
                    }
                    if seen.insert(member.shape.as_str()) {
                        todo.push(&member.shape);
                    }
                }
            }
        }
        false
    }
}

impl Shape {
    fn references(&self) -> Vec<&str> {
        match self {
            Self::Structure { members, .. } => members.values().map(|m| m.shape.as_str()).collect(),
            Self::List { member, .. } => vec![&member.shape],
            Self::Map { key, value, .. } => vec![&key.shape, &value.shape],
            Self::String { .. }
            | Self::Integer {}
            | Self::Long {}
            | Self::Double {}
            | Self::Boolean {}
            | Self::Timestamp {} => Vec::new(),
        }
    }
}
