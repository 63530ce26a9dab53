//! The network's part of the status, for people and tests. It grows by new keys only.

use serde::Serialize;

/// The host's part of the task network.
#[derive(Debug, Clone, Serialize)]
pub struct NetworkLine {
    /// Whether tasks can be given interfaces.
    pub ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What is not as it should be and harms no task of this host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The generation that the control plane said last, and the one that is in force.
    pub generation: u64,
    /// See `generation`.
    pub applied: u64,
    /// The generation that all hosts have.
    pub settled: u64,
    /// The address that other hosts send to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub underlay: Option<String>,
    /// The host's leases.
    pub leases: Vec<String>,
    /// Addresses that tasks could be given at once.
    pub free: usize,
    /// Addresses that rest.
    pub resting: usize,
    /// Addresses of the leases that somebody else on the hosts' network has, and who: `ADDRESS (MAC)`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set_aside: Vec<String>,
    /// Sandboxes that wait for a task, and how many there should be.
    pub warm: usize,
    /// See `warm`.
    pub warm_target: usize,
    /// Tasks that wait for an interface.
    pub waiting: usize,
    /// Interfaces of tasks and others that are not warm.
    pub interfaces: Vec<InterfaceLine>,
    /// The other hosts.
    pub peers: Vec<PeerLine>,
}

/// An interface.
#[derive(Debug, Clone, Serialize)]
pub struct InterfaceLine {
    /// Its id.
    pub eni: String,
    /// Its address.
    pub address: String,
    /// `making`, `claiming`, `claimed`, `releasing` or `removing`.
    pub stage: &'static str,
    /// The task that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Another host.
#[derive(Debug, Clone, Serialize)]
pub struct PeerLine {
    /// Its container instance.
    pub instance: String,
    /// Where its tunnel ends.
    pub underlay: String,
    /// Its leases.
    pub leases: Vec<String>,
    /// Whether it was connected to the control plane.
    pub connected: bool,
    /// Why it is not reached; absent when it is, or when that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}
