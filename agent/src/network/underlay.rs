//! The way to other hosts.

use std::net::IpAddr;

/// Whether other hosts can reach this one, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Underlay {
    /// It was not found out yet.
    Unknown,
    /// They cannot.
    Absent {
        /// Why, for people.
        why: String,
    },
    /// They could, at this address, and this host lacks something that tasks' interfaces need. Tunnels that are there
    /// go on.
    Unable {
        /// The address.
        address: IpAddr,
        /// What it lacks, for people.
        why: String,
    },
    /// At this address.
    At(IpAddr),
}

impl Underlay {
    /// Why tasks cannot be given interfaces, as far as this tells.
    #[must_use]
    pub fn obstacle(&self) -> Option<&str> {
        match self {
            Self::Absent { why } | Self::Unable { why, .. } => Some(why),
            Self::Unknown | Self::At(_) => None,
        }
    }

    /// Where other hosts reach this one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::At(address) | Self::Unable { address, .. } => Some(*address),
            Self::Unknown | Self::Absent { .. } => None,
        }
    }
}
