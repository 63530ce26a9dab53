//! Task networking (`awsvpc`): interfaces, security groups, and what a host has to know of the network around it.
//!
//! One network for one control plane, as a VPC with one subnet: every host holds leases of its range (a /24 to a /28
//! each, all of one length) and hands their addresses to tasks by itself. What a host knows of others comes as a
//! numbered [`NetworkUpdate`], so that a host that was away is brought up to date by what it missed or by everything.

use crate::id::{Generation, IdError, InstanceId};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

macro_rules! vpc_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 17]);

        impl $name {
            /// What its text begins with.
            pub const PREFIX: &'static str = $prefix;

            /// A new random id (68 bits).
            #[must_use]
            pub fn random() -> Self {
                let text = uuid::Uuid::new_v4().simple().to_string();
                let mut digits = [0; 17];
                // The 13th digit of a UUID is its version, the 17th has its variant.
                let random = text.bytes().enumerate().filter(|(i, _)| *i != 12 && *i != 16).map(|(_, b)| b);
                digits.iter_mut().zip(random).for_each(|(to, from)| *to = from);
                Self(digits)
            }

            /// Its 17 lower-case hexadecimal digits, without the prefix.
            #[must_use]
            pub fn digits(&self) -> &str {
                std::str::from_utf8(&self.0).expect("hexadecimal digits, checked when made")
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, self.digits())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(s: &str) -> Result<Self, IdError> {
                let digits = s.strip_prefix($prefix).ok_or(IdError::NotVpcId { prefix: $prefix })?;
                let bytes = <[u8; 17]>::try_from(digits.as_bytes()).map_err(|_| IdError::NotVpcId { prefix: $prefix })?;
                if bytes.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b)) {
                    Ok(Self(bytes))
                } else {
                    Err(IdError::NotVpcId { prefix: $prefix })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(s: String) -> Result<Self, IdError> {
                s.parse()
            }
        }

        impl From<$name> for String {
            fn from(v: $name) -> String {
                v.to_string()
            }
        }
    };
}

vpc_id!(
    /// A task's network interface, `eni-` and 17 hexadecimal digits (EC2). Made by the agent that makes the interface.
    EniId,
    "eni-"
);
vpc_id!(
    /// A security group, `sg-` and 17 hexadecimal digits (EC2).
    GroupId,
    "sg-"
);
vpc_id!(
    /// A rule of a security group, `sgr-` and 17 hexadecimal digits (EC2).
    RuleId,
    "sgr-"
);
vpc_id!(
    /// A subnet, `subnet-` and 17 hexadecimal digits (EC2).
    SubnetId,
    "subnet-"
);
vpc_id!(
    /// A network, `vpc-` and 17 hexadecimal digits (EC2).
    VpcId,
    "vpc-"
);

/// A hardware address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The task's end of its interface: `02:0a:` and the IPv4 address, so that every peer can derive it.
    #[must_use]
    pub const fn of_task(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x0a, a, b, c, d])
    }

    /// A host's tunnel end: `02:cf:` and the first address of its lease.
    #[must_use]
    pub const fn of_tunnel(lease: Ipv4Addr) -> Self {
        let [a, b, c, d] = lease.octets();
        Self([0x02, 0xcf, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Mac {
    type Err = IdError;
    fn from_str(s: &str) -> Result<Self, IdError> {
        let mut bytes = [0; 6];
        let mut parts = s.split(':');
        for byte in &mut bytes {
            let part = parts
                .next()
                .filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()))
                .ok_or(IdError::NotMac)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| IdError::NotMac)?;
        }
        if parts.next().is_some() { Err(IdError::NotMac) } else { Ok(Self(bytes)) }
    }
}

impl TryFrom<String> for Mac {
    type Error = IdError;
    fn try_from(s: String) -> Result<Self, IdError> {
        s.parse()
    }
}

impl From<Mac> for String {
    fn from(v: Mac) -> String {
        v.to_string()
    }
}

/// Limits of a task's interface, in bits a second; absent for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bandwidth {
    /// Into the task.
    pub ingress_bps: Option<u64>,
    /// Out of it.
    pub egress_bps: Option<u64>,
}

/// What an `awsvpc` task asks of its interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwsvpcSpec {
    /// The attachment's id in the API, a UUID chosen by the control plane.
    pub attachment_id: String,
    /// The subnet.
    pub subnet: SubnetId,
    /// Its security groups: 1 to 5, each once, in no order that matters.
    pub groups: BTreeSet<GroupId>,
    /// Limits.
    pub bandwidth: Bandwidth,
}

/// An interface as a task has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EniReport {
    /// Which.
    pub id: EniId,
    /// Its hardware address.
    pub mac: Mac,
    /// Its address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address, when the network has a prefix.
    pub ipv6: Option<Ipv6Addr>,
    /// Whether it is still there: false once the task's traffic is cut for good.
    pub attached: bool,
}

impl EniReport {
    /// The name of a task in DNS, as EC2 makes it: `ip-10-77-1-11`.
    #[must_use]
    pub fn host_name(&self) -> String {
        host_name(self.ipv4)
    }
}

/// The host name that an address gives, as EC2 makes it: `ip-10-77-1-11`.
#[must_use]
pub fn host_name(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("ip-{a}-{b}-{c}-{d}")
}

/// A host's share of the network: its tunnel has the first address of `v4`, its leg the second, tasks the rest but the
/// last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// A /24 to a /28, as [`NetworkConfig::lease_length`] says.
    pub v4: Ipv4Net,
    /// A /64, when the network has an IPv6 prefix.
    pub v6: Option<Ipv6Net>,
}

impl Lease {
    /// The address of the host's tunnel end.
    #[must_use]
    pub fn tunnel(&self) -> Ipv4Addr {
        self.v4.network()
    }

    /// The address of the host's leg.
    #[must_use]
    pub fn leg(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.v4.network()) + 1)
    }

    /// The addresses that tasks may have.
    pub fn task_addresses(&self) -> impl DoubleEndedIterator<Item = Ipv4Addr> + use<> {
        let first = u32::from(self.v4.network());
        let last = u32::from(self.v4.broadcast());
        (first.saturating_add(2)..last).map(Ipv4Addr::from)
    }

    /// The IPv6 address beside a task's IPv4 address: the lease's prefix and the IPv4 address as the last 32 bits.
    #[must_use]
    pub fn v6_of(&self, address: Ipv4Addr) -> Option<Ipv6Addr> {
        let prefix = u128::from(self.v6?.network());
        Some(Ipv6Addr::from(prefix | u128::from(u32::from(address))))
    }
}

/// How frames reach tasks on other hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Overlay {
    /// A VXLAN tunnel between every two hosts.
    #[serde(rename = "vxlan")]
    Vxlan {
        /// The network's number.
        vni: u32,
        /// The UDP port.
        port: u16,
    },
    /// Host routes over a network that all hosts are on.
    #[serde(rename = "routes")]
    Routes,
    /// As `Routes`, and tasks' addresses are of the hosts' own network: everybody on it reaches tasks, and nothing is
    /// translated there.
    #[serde(rename = "lan")]
    Lan,
}

/// The lengths that leases may have.
pub const LEASE_LENGTHS: std::ops::RangeInclusive<u8> = 24..=28;

/// The length of leases unless something else is said.
pub const LEASE_LENGTH: u8 = 24;

const fn lease_length() -> u8 {
    LEASE_LENGTH
}

/// What is the same for every host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NetworkConfig {
    /// The whole range.
    pub v4: Ipv4Net,
    /// The IPv6 prefix, a /48, when there is one.
    pub v6: Option<Ipv6Net>,
    /// How hosts reach each other.
    pub overlay: Overlay,
    /// MTU of task interfaces, the same on all hosts.
    pub mtu: u16,
    /// The length of the prefix of every lease, of [`LEASE_LENGTHS`].
    #[serde(default = "lease_length")]
    pub lease_length: u8,
}

/// Another host of the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Which.
    pub instance: InstanceId,
    /// Where its tunnel packets come from and go to.
    pub underlay: IpAddr,
    /// Its leases, at least one.
    pub leases: Vec<Lease>,
    /// Whether it was connected to the control plane when this was said: only such are expected to answer.
    pub connected: bool,
}

/// What a rule lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Traffic {
    /// Everything (`-1`).
    All,
    /// TCP to these ports.
    Tcp {
        /// First port.
        from: u16,
        /// Last port.
        to: u16,
    },
    /// UDP to these ports.
    Udp {
        /// First port.
        from: u16,
        /// Last port.
        to: u16,
    },
    /// ICMP.
    Icmp {
        /// The type, absent for all.
        kind: Option<u8>,
        /// The code, absent for all.
        code: Option<u8>,
    },
    /// ICMPv6. As in a VPC, neighbour discovery needs no rule.
    Icmpv6 {
        /// The type, absent for all.
        kind: Option<u8>,
        /// The code, absent for all.
        code: Option<u8>,
    },
    /// Another protocol of IP, by its number.
    Protocol(u8),
}

/// The other side of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RulePeer {
    /// Addresses.
    V4(Ipv4Net),
    /// IPv6 addresses.
    V6(Ipv6Net),
    /// The members of a group.
    Group(GroupId),
}

/// What a rule lets through, and from whom or to whom. Rules only allow; what none allows is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// What.
    pub traffic: Traffic,
    /// From whom (ingress) or to whom (egress).
    pub peer: RulePeer,
}

/// A group's rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRules {
    /// Into its members.
    pub ingress: BTreeSet<Rule>,
    /// Out of them.
    pub egress: BTreeSet<Rule>,
}

impl GroupRules {
    /// The groups that its rules refer to.
    pub fn references(&self) -> impl Iterator<Item = GroupId> {
        self.ingress.iter().chain(&self.egress).filter_map(|rule| match rule.peer {
            RulePeer::Group(group) => Some(group),
            RulePeer::V4(_) | RulePeer::V6(_) => None,
        })
    }
}

/// All that a host has to know of the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkState {
    /// The same for all.
    pub config: NetworkConfig,
    /// The host's own leases, the oldest first.
    pub leases: Vec<Lease>,
    /// The other hosts.
    pub peers: BTreeMap<InstanceId, Peer>,
    /// The groups that its tasks are in, and their rules.
    pub groups: BTreeMap<GroupId, GroupRules>,
    /// The addresses of the members, on all hosts, of the groups that those rules refer to.
    pub members: BTreeMap<GroupId, BTreeSet<IpAddr>>,
}

/// A step of what a host knows of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkUpdate {
    /// Everything.
    Complete {
        /// The generation that it brings the host to.
        generation: Generation,
        /// What holds.
        state: NetworkState,
    },
    /// What changed since `base`; of no use to a host that is not there.
    Delta {
        /// The generation that it builds on.
        base: Generation,
        /// The generation that it brings the host to.
        generation: Generation,
        /// What changed.
        changes: NetworkChanges,
    },
}

impl NetworkUpdate {
    /// The generation that it brings the host to.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        match self {
            Self::Complete { generation, .. } | Self::Delta { generation, .. } => *generation,
        }
    }
}

/// What changed in a [`NetworkState`]. The configuration never does while a control plane runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkChanges {
    /// The host's leases, when they changed.
    pub leases: Option<Vec<Lease>>,
    /// New and changed hosts.
    pub peers: Vec<Peer>,
    /// Hosts that left.
    pub removed_peers: Vec<InstanceId>,
    /// New and changed groups.
    pub groups: BTreeMap<GroupId, GroupRules>,
    /// Groups that are of no interest any more.
    pub removed_groups: Vec<GroupId>,
    /// Members that came and went. A group that is named here is known from here on.
    pub members: BTreeMap<GroupId, MemberChanges>,
    /// Groups whose members are of no interest any more.
    pub removed_members: Vec<GroupId>,
}

/// Members of a group that came and went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberChanges {
    /// New ones.
    pub added: BTreeSet<IpAddr>,
    /// Ones that left.
    pub removed: BTreeSet<IpAddr>,
}

impl NetworkState {
    /// Takes changes in, at the cost of what changed. Taking the same in twice changes nothing.
    pub fn apply(&mut self, changes: NetworkChanges) {
        if let Some(leases) = changes.leases {
            self.leases = leases;
        }
        for id in changes.removed_peers {
            self.peers.remove(&id);
        }
        self.peers.extend(changes.peers.into_iter().map(|peer| (peer.instance, peer)));
        for id in changes.removed_groups {
            self.groups.remove(&id);
        }
        self.groups.extend(changes.groups);
        for id in changes.removed_members {
            self.members.remove(&id);
        }
        for (id, change) in changes.members {
            let members = self.members.entry(id).or_default();
            for address in &change.removed {
                members.remove(address);
            }
            members.extend(change.added);
        }
    }

    /// What leads from `self` to `to`, at the cost of both.
    #[must_use]
    pub fn changes_to(&self, to: &Self) -> NetworkChanges {
        let gone = |from: &BTreeMap<GroupId, _>, to: &BTreeMap<GroupId, _>| -> Vec<GroupId> {
            from.keys().filter(|id| !to.contains_key(id)).copied().collect()
        };
        let no_members = BTreeSet::new();
        let members = to.members.iter().filter_map(|(id, now)| {
            let before = self.members.get(id);
            let was = before.unwrap_or(&no_members);
            let change = MemberChanges {
                added: now.difference(was).copied().collect(),
                removed: was.difference(now).copied().collect(),
            };
            (before.is_none() || change != MemberChanges::default()).then_some((*id, change))
        });
        let groups = |groups: &BTreeMap<GroupId, GroupRules>| -> BTreeMap<GroupId, ()> {
            groups.keys().map(|id| (*id, ())).collect()
        };
        let sets = |sets: &BTreeMap<GroupId, BTreeSet<IpAddr>>| -> BTreeMap<GroupId, ()> {
            sets.keys().map(|id| (*id, ())).collect()
        };
        NetworkChanges {
            leases: (self.leases != to.leases).then(|| to.leases.clone()),
            peers: to.peers.values().filter(|peer| self.peers.get(&peer.instance) != Some(peer)).cloned().collect(),
            removed_peers: self.peers.keys().filter(|id| !to.peers.contains_key(id)).copied().collect(),
            groups: to
                .groups
                .iter()
                .filter(|(id, rules)| self.groups.get(id) != Some(rules))
                .map(|(id, rules)| (*id, rules.clone()))
                .collect(),
            removed_groups: gone(&groups(&self.groups), &groups(&to.groups)),
            members: members.collect(),
            removed_members: gone(&sets(&self.members), &sets(&to.members)),
        }
    }
}

/// How a host's part of the network is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkHealth {
    /// Tasks can be given interfaces.
    Ready,
    /// They cannot, and why, for people; running tasks are left alone.
    Degraded {
        /// What is wrong and what to do.
        reason: String,
    },
}

/// What a host says of its part of the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkStatus {
    /// Whether it works.
    pub health: NetworkHealth,
    /// The generation of the [`NetworkUpdate`] that is in force in the kernel; 0 for none.
    pub applied: Generation,
    /// Addresses that tasks could be given at once, warm sandboxes included.
    pub free_addresses: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_hardware_addresses_are_read_back() {
        let id = EniId::random();
        assert_eq!(id.to_string().len(), 21);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_ne!(EniId::random(), EniId::random());
        for bad in [
            "",
            "eni-",
            "sg-0123456789abcdef0",
            "eni-0123456789ABCDEF0",
            "eni-0123456789abcdef01",
            "eni-é123456789abcdef",
        ] {
            assert!(bad.parse::<EniId>().is_err(), "{bad}");
        }
        let mac = Mac::of_task(Ipv4Addr::new(10, 77, 1, 11));
        assert_eq!(mac.to_string(), "02:0a:0a:4d:01:0b");
        assert_eq!("02:0a:0a:4d:01:0b".parse(), Ok(mac));
        for bad in ["", "02:0a:0a:4d:01", "02:0a:0a:4d:01:0b:00", "2:0a:0a:4d:01:0b", "02:0a:0a:4d:01:+b"] {
            assert_eq!(bad.parse::<Mac>(), Err(IdError::NotMac), "{bad}");
        }
    }

    #[test]
    fn a_lease_has_a_tunnel_a_leg_and_tasks() {
        let lease = Lease {
            v4: "10.77.1.0/24".parse().expect("readable"),
            v6: Some("fd77:0:0:1::/64".parse().expect("readable")),
        };
        assert_eq!(lease.tunnel(), Ipv4Addr::new(10, 77, 1, 0));
        assert_eq!(lease.leg(), Ipv4Addr::new(10, 77, 1, 1));
        let tasks: Vec<_> = lease.task_addresses().collect();
        assert_eq!(
            (tasks.len(), tasks[0], tasks[252]),
            (253, Ipv4Addr::new(10, 77, 1, 2), Ipv4Addr::new(10, 77, 1, 254))
        );
        assert_eq!(lease.v6_of(tasks[9]).expect("readable").to_string(), "fd77::1:0:0:a4d:10b");
        assert_eq!(host_name(tasks[9]), "ip-10-77-1-11");
        let small = Lease { v4: "192.168.50.144/28".parse().expect("readable"), v6: None };
        let tasks: Vec<_> = small.task_addresses().collect();
        assert_eq!((small.tunnel(), small.leg()), ([192, 168, 50, 144].into(), [192, 168, 50, 145].into()));
        assert_eq!((tasks.len(), tasks[0], tasks[12]), (13, [192, 168, 50, 146].into(), [192, 168, 50, 158].into()));
    }

    #[test]
    fn a_network_that_says_no_length_of_leases_is_of_a_time_when_there_was_one() {
        let text = r#"{"v4":"10.77.0.0/16","v6":null,"overlay":"routes","mtu":1450}"#;
        let read: NetworkConfig = serde_json::from_str(text).expect("readable");
        assert_eq!((read.lease_length, read.overlay), (24, Overlay::Routes));
    }

    #[test]
    fn changes_lead_from_one_state_to_the_other_and_do_no_harm_twice() {
        let config = NetworkConfig {
            v4: "10.77.0.0/16".parse().expect("readable"),
            v6: None,
            overlay: Overlay::Vxlan { vni: 7777, port: 4789 },
            mtu: 1450,
            lease_length: LEASE_LENGTH,
        };
        let lease = |n: u8| Lease { v4: Ipv4Net::new(Ipv4Addr::new(10, 77, n, 0), 24).expect("readable"), v6: None };
        let peer = |n: u8| Peer {
            instance: InstanceId::from_bytes([n; 16]),
            underlay: IpAddr::V4(Ipv4Addr::new(192, 168, 50, n)),
            leases: vec![lease(n)],
            connected: true,
        };
        let rule = |port| Rule {
            traffic: Traffic::Tcp { from: port, to: port },
            peer: RulePeer::V4("0.0.0.0/0".parse().expect("readable")),
        };
        let (web, db, old) = (GroupId::random(), GroupId::random(), GroupId::random());
        let rules = |port| GroupRules { ingress: [rule(port)].into(), egress: BTreeSet::new() };
        let address = |n: u8| IpAddr::V4(Ipv4Addr::new(10, 77, 9, n));
        let before = NetworkState {
            config,
            leases: vec![lease(1)],
            peers: [peer(2), peer(3)].map(|p| (p.instance, p)).into(),
            groups: [(web, rules(80)), (old, rules(1))].into(),
            members: [(web, [address(1), address(2)].into()), (old, [address(9)].into())].into(),
        };
        let after = NetworkState {
            config,
            leases: vec![lease(1), lease(7)],
            peers: [Peer { connected: false, ..peer(3) }, peer(4)].map(|p| (p.instance, p)).into(),
            groups: [(web, rules(443)), (db, rules(5432))].into(),
            members: [(web, [address(2), address(3)].into()), (db, BTreeSet::new())].into(),
        };
        let mut state = before.clone();
        let changes = before.changes_to(&after);
        assert_eq!(changes.members[&web], MemberChanges { added: [address(3)].into(), removed: [address(1)].into() });
        state.apply(changes.clone());
        assert_eq!(state, after);
        state.apply(changes);
        assert_eq!(state, after);
        assert_eq!(after.changes_to(&after), NetworkChanges::default());
    }
}
