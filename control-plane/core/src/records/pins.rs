//! Image pins: which digests the tags of a definition stand for, for tasks that belong together.

use longshore_model::{ContainerName, ImageDigest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Names tasks that run the same images: those of one RunTask or StartTask call, or of one revision of a service.
/// Opaque but to whoever makes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PinKey(Arc<str>);

impl PinKey {
    /// A key; no two makers use the same text.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for PinKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What tags were resolved to. An entry is made once, by the first report that tells a digest, and stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagePins {
    /// Of which tasks.
    pub key: PinKey,
    /// By container of their definition. Containers whose `versionConsistency` is `disabled`, whose image has a digest
    /// anyway, or whose image no registry knows have none.
    pub digests: BTreeMap<ContainerName, ImageDigest>,
    /// Whether more tasks may come although there are none: a revision that runs or may be brought back. Without it the
    /// record is forgotten after the last task that it is about.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
}
