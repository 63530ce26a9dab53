//! The task network: one VPC with one subnet, its security groups, and which host has which part of it.

use crate::records::Tags;
use longshore_model::{
    GroupId, GroupRules, InstanceId, Lease, NetworkConfig, Region, Rule, RuleId, SubnetId, Timestamp, VpcId,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// The one network of a control plane, shared by all its clusters and hosts, whatever their region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The VPC.
    pub vpc: VpcId,
    /// Its only subnet.
    pub subnet: SubnetId,
    /// The group of tasks that name none.
    pub default_group: GroupId,
    /// Addresses, and how hosts reach each other.
    pub config: NetworkConfig,
    /// The first start.
    pub created_at: Timestamp,
    /// The lease that was given last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_lease: Option<u16>,
}

impl Network {
    /// How many leases it has room for.
    #[must_use]
    pub fn leases(&self) -> u32 {
        1 << self.config.lease_length.saturating_sub(self.config.v4.prefix_len())
    }

    /// How many addresses a lease has, those included that no task may have.
    #[must_use]
    pub fn lease_size(&self) -> u32 {
        1 << (32 - u32::from(self.config.lease_length))
    }

    /// How many addresses a host has left when it should have more of them.
    #[must_use]
    pub fn few_addresses(&self) -> u32 {
        (self.lease_size() / 8).max(4)
    }

    /// The lease of that number: that part of the range, and of the prefix the /64.
    #[must_use]
    pub fn lease(&self, index: u16) -> Lease {
        let first = u32::from(self.config.v4.network()) + u32::from(index) * self.lease_size();
        let v4 = ipnet::Ipv4Net::new(Ipv4Addr::from(first), self.config.lease_length).expect("a length, checked");
        let v6 = self.config.v6.map(|prefix| {
            let first = u128::from(prefix.network()) | (u128::from(index) << 64);
            ipnet::Ipv6Net::new(first.into(), 64).expect("64 is a length of prefixes")
        });
        Lease { v4, v6 }
    }

    /// The numbers of leases in the order in which they are to be given next: around the range, from the one that was
    /// given last. What a host had that left is given as late as can be: other hosts take its addresses for members of
    /// its tasks' groups until they have heard that it left. The first part comes last: its first address is also that
    /// of the whole range, which some programs take for no address.
    pub fn lease_order(&self) -> impl Iterator<Item = u16> + use<> {
        let last = u16::try_from(self.leases() - 1).unwrap_or(u16::MAX);
        let after = self.last_lease.unwrap_or(0).min(last);
        (after..=last).skip(1).chain(0..=after)
    }
}

/// Which way a rule lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// Into members of the group.
    #[serde(rename = "ingress")]
    Ingress,
    /// Out of them.
    #[serde(rename = "egress")]
    Egress,
}

/// A rule of a group with what the API keeps of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroupRule {
    /// Which way.
    pub direction: Direction,
    /// What, and from or to whom.
    pub rule: Rule,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// A security group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// Its id.
    pub id: GroupId,
    /// The region of the request that made it; absent for the default group, which every region shows.
    pub region: Option<Region>,
    /// Its name, once in a region.
    pub name: String,
    /// For people; never changes.
    pub description: String,
    /// Its rules.
    pub rules: BTreeMap<RuleId, SecurityGroupRule>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// When it was made.
    pub created_at: Timestamp,
}

impl SecurityGroup {
    /// Whether requests of `region` see it.
    #[must_use]
    pub fn is_seen_from(&self, region: &Region) -> bool {
        self.region.as_ref().is_none_or(|own| own == region)
    }

    /// What hosts are told of it.
    #[must_use]
    pub fn group_rules(&self) -> GroupRules {
        let of = |direction| self.rules.values().filter(move |rule| rule.direction == direction).map(|rule| rule.rule);
        GroupRules { ingress: of(Direction::Ingress).collect(), egress: of(Direction::Egress).collect() }
    }
}

/// The parts of the network that a host has, from its first Hello that can use one until it is deregistered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLeases {
    /// The host.
    pub instance: InstanceId,
    /// Numbers of leases, the oldest first; see [`Network::lease`].
    pub indexes: Vec<u16>,
    /// When it got the first.
    pub since: Timestamp,
}
