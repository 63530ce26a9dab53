//! The endpoint's part of the status, for people and tests. It grows by new keys only.

use serde::Serialize;
use std::collections::BTreeMap;

/// One socket for tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DoorLine {
    /// Whether tasks are answered.
    pub ok: bool,
    /// Why not, or what is missing around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl DoorLine {
    pub(super) fn open() -> Self {
        Self { ok: true, why: None }
    }

    pub(super) fn closed(why: impl Into<String>) -> Self {
        Self { ok: false, why: Some(why.into()) }
    }
}

/// The endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MetadataLine {
    /// For tasks of modes `bridge` and `host`.
    pub host: DoorLine,
    /// For tasks of mode `awsvpc`.
    pub awsvpc: DoorLine,
    /// For the host's own programs: `introspection` and `metrics`, where they are on.
    #[serde(flatten)]
    pub local: BTreeMap<&'static str, DoorLine>,
}

impl Default for MetadataLine {
    fn default() -> Self {
        Self {
            host: DoorLine::closed("it is being opened"),
            awsvpc: DoorLine::closed("this host has no task network (yet)"),
            local: BTreeMap::new(),
        }
    }
}
