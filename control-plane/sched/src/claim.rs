//! What a task takes of a host.

use serde::{Deserialize, Serialize};

/// What one task holds of its host, from placement until it is STOPPED.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Claim {
    /// CPU units: the task's, else the sum of its containers'.
    pub cpu_units: u32,
    /// MiB: the task's memory, else the sum of its containers' reservations (or limits).
    pub memory_mib: u32,
    /// Fixed TCP host ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tcp: Vec<u16>,
    /// Fixed UDP host ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub udp: Vec<u16>,
    /// Whole GPUs.
    #[serde(default)]
    pub gpus: u32,
    /// Interfaces of its own, each with an address of the host's share of the task network.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interfaces: u32,
    /// MiB of disk: what its containers may write; 0 without a limit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub disk_mib: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}
