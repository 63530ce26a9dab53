//! What a host offers: the facts an agent registers.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Attributes that a host may have: some 60 are built in, ECS allows 10 more, and there is room for both to grow.
pub const MAX_ATTRIBUTES: usize = 512;
/// Characters of an attribute's name, and of its value (ECS `Attribute`).
pub const MAX_ATTRIBUTE_CHARS: usize = 128;
/// Characters of a hostname, of a version, and of a GPU's id.
pub const MAX_HOST_TEXT_CHARS: usize = 255;

/// A named property of a host: `ecs.os-type=linux`, or a capability without a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attribute {
    /// 1 to [`MAX_ATTRIBUTE_CHARS`] letters, digits and `- _ . \ /`.
    pub name: String,
    /// At most [`MAX_ATTRIBUTE_CHARS`] characters. Absent for capabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// What tasks can be given on a host. Quantities are what may be scheduled, reserves already taken off.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Resources {
    /// CPU units: 1024 a core (ECS).
    pub cpu_units: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// TCP host ports that no task may have.
    pub reserved_tcp: BTreeSet<u16>,
    /// UDP host ports that no task may have.
    pub reserved_udp: BTreeSet<u16>,
    /// Ids of the GPUs, empty on most hosts.
    pub gpu_ids: Vec<String>,
    /// MiB of the file system that holds images and what containers write; 0 when the host did not say.
    #[serde(default)]
    pub disk_mib: u32,
}

/// What a host says of its disk, from time to time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DiskStatus {
    /// MiB that are free and that none of its tasks was promised.
    pub free_mib: u32,
    /// Why it should be given no task; absent while it can take some. For people, at most [`MAX_DISK_REASON_CHARS`].
    pub short: Option<String>,
}

/// Characters of [`DiskStatus::short`].
pub const MAX_DISK_REASON_CHARS: usize = 1024;

/// Versions of the software on a host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HostVersions {
    /// The agent's version.
    pub agent: String,
    /// The agent's source revision, or empty.
    pub agent_hash: String,
    /// The container engine's version, e.g. `20.10.24`.
    pub docker: String,
}

/// Everything a host says of itself at registration and on each connection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HostFacts {
    /// The host's own name.
    pub hostname: String,
    /// What it offers.
    pub resources: Resources,
    /// Built-in attributes, capabilities and those from the agent's configuration. Shared, since the hosts of a fleet
    /// are alike: whoever keeps many facts keeps each list once.
    pub attributes: Arc<[Attribute]>,
    /// Software versions.
    pub versions: HostVersions,
    /// Where tunnel packets of other hosts reach it, when it can take part in the task network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub underlay: Option<std::net::IpAddr>,
}
