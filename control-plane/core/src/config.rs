//! What a control plane's core is told when it opens. Owns nothing at run time.

use crate::exec::ExecConfig;
use longshore_model::{LEASE_LENGTH, NetworkConfig, Overlay};
use secrecy::SecretString;
use std::time::Duration;

/// Settings of the core. `main` checks them; the core takes them as they are.
#[derive(Debug, Clone)]
pub struct CoreConfig {
    /// How long a stopped task stays describable, and with it deleted clusters and deregistered instances.
    /// ECS promises at least an hour.
    pub stopped_task_retention: Duration,
    /// How long after a start of the control plane an agent that was connected before may take to return
    /// until it counts as disconnected.
    pub lease: Duration,
    /// How long agents that find nobody may take to return: after a start of the control plane, and once a part of many
    /// that were silent at once is back, the tasks of others are not replaced for so long. Agents wait up to 15 s
    /// between attempts, of which each may take 10 s.
    pub return_within: Duration,
    /// How long a service's task without health checks must run until it counts as healthy. 40 s in ECS.
    pub healthy_after: Duration,
    /// When the tasks of silent hosts are replaced.
    pub losses: Losses,
    /// Over how long figures of services are averaged; what scales services looks at the end of each such period.
    pub scaling_period: Duration,
    /// SHA-256 of the authority that agents must find behind the control plane's address; goes into join tokens.
    pub ca_fingerprint: [u8; 32],
    /// The task network. May only change while no host has a part of it.
    pub network: NetworkConfig,
    /// Commands in containers.
    pub exec: ExecConfig,
}

impl Default for CoreConfig {
    fn default() -> Self {
        Self {
            stopped_task_retention: Duration::from_secs(3600),
            lease: Duration::from_secs(5),
            return_within: Duration::from_secs(30),
            healthy_after: Duration::from_secs(40),
            losses: Losses::default(),
            scaling_period: Duration::from_secs(60),
            ca_fingerprint: [0; 32],
            network: NetworkConfig {
                v4: ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 77, 0, 0), 16),
                v6: None,
                overlay: Overlay::Vxlan { vni: 7777, port: 4789 },
                mtu: 1450,
                lease_length: LEASE_LENGTH,
            },
            exec: ExecConfig::default(),
        }
    }
}

/// When the tasks of silent hosts count as lost and services replace them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Losses {
    /// How long after its lease a host is waited for.
    pub hold: Duration,
    /// Nothing is replaced while more hosts than one, and more than this share of a cluster, went silent at once. At 33
    /// a third is enough.
    pub silent_share_percent: u32,
    /// How long a host that is cut off gives tasks that must not run twice to stop, before it kills them.
    pub fence_grace: Duration,
}

impl Default for Losses {
    fn default() -> Self {
        Self { hold: Duration::ZERO, silent_share_percent: 33, fence_grace: Duration::from_secs(10) }
    }
}

/// What the very first start may be given; every later start keeps what the store has.
#[derive(Debug, Default)]
pub struct FirstStart {
    /// The account's 12 digits; random when absent. A later start with another id is refused.
    pub account_id: Option<longshore_model::AccountId>,
    /// The root access key's id and secret; random when absent. Ignored at later starts.
    pub root_access_key: Option<(String, SecretString)>,
}
