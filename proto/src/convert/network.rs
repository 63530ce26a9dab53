//! Task networking: interfaces, and what a host knows of the network.

use super::{Fault, FieldError, Within, at_most, each, id, port, repeated, required};
use crate::v1;
use longshore_model::{
    AwsvpcSpec, Bandwidth, EniReport, Generation, GroupId, GroupRules, LEASE_LENGTH, LEASE_LENGTHS, Lease,
    MemberChanges, NetworkChanges, NetworkConfig, NetworkHealth, NetworkState, NetworkStatus, NetworkUpdate, Overlay,
    Peer, Rule, RulePeer, Traffic,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Security groups of one interface (EC2: 5, up to 16 by request).
const MAX_GROUPS: usize = 16;
/// Leases of one host.
const MAX_LEASES: usize = 64;
/// Rules of one direction of a group (EC2: 60, up to 1000 by request).
const MAX_RULES: usize = 1000;
/// Characters of a reason.
const MAX_REASON: usize = 1024;
/// The largest number of a VXLAN network.
const MAX_VNI: u32 = (1 << 24) - 1;

fn parse<T: std::str::FromStr>(field: &str, text: &str, rule: &'static str) -> Result<T, FieldError> {
    text.parse().map_err(|_| FieldError::new(field, Fault::Rule(rule)))
}

const ADDRESS: &str = "is not an address";
const CIDR: &str = "is not a CIDR";

impl From<AwsvpcSpec> for v1::AwsvpcSpec {
    fn from(spec: AwsvpcSpec) -> Self {
        Self {
            attachment_id: spec.attachment_id,
            subnet_id: spec.subnet.to_string(),
            group_ids: spec.groups.iter().map(ToString::to_string).collect(),
            ingress_bps: spec.bandwidth.ingress_bps,
            egress_bps: spec.bandwidth.egress_bps,
        }
    }
}

impl TryFrom<v1::AwsvpcSpec> for AwsvpcSpec {
    type Error = FieldError;

    fn try_from(spec: v1::AwsvpcSpec) -> Result<Self, FieldError> {
        at_most("attachment_id", spec.attachment_id.chars().count(), 64)?;
        at_most("group_ids", spec.group_ids.len(), MAX_GROUPS)?;
        if let Some(group) = repeated(spec.group_ids.iter()) {
            return Err(FieldError::new("group_ids", Fault::Repeated(group)));
        }
        let groups = spec.group_ids.iter().map(|text| id("group_ids", text.parse())).collect::<Result<_, _>>()?;
        Ok(Self {
            attachment_id: spec.attachment_id,
            subnet: id("subnet_id", spec.subnet_id.parse())?,
            groups,
            bandwidth: Bandwidth { ingress_bps: spec.ingress_bps, egress_bps: spec.egress_bps },
        })
    }
}

impl From<EniReport> for v1::Eni {
    fn from(eni: EniReport) -> Self {
        Self {
            id: eni.id.to_string(),
            mac: eni.mac.to_string(),
            ipv4: eni.ipv4.to_string(),
            ipv6: eni.ipv6.map(|address| address.to_string()),
            attached: eni.attached,
        }
    }
}

impl TryFrom<v1::Eni> for EniReport {
    type Error = FieldError;

    fn try_from(eni: v1::Eni) -> Result<Self, FieldError> {
        Ok(Self {
            id: id("id", eni.id.parse())?,
            mac: id("mac", eni.mac.parse())?,
            ipv4: parse("ipv4", &eni.ipv4, ADDRESS)?,
            ipv6: eni.ipv6.map(|text| parse("ipv6", &text, ADDRESS)).transpose()?,
            attached: eni.attached,
        })
    }
}

impl From<Lease> for v1::Lease {
    fn from(lease: Lease) -> Self {
        Self { v4: lease.v4.to_string(), v6: lease.v6.map(|net| net.to_string()) }
    }
}

impl TryFrom<v1::Lease> for Lease {
    type Error = FieldError;

    fn try_from(lease: v1::Lease) -> Result<Self, FieldError> {
        let v4: ipnet::Ipv4Net = parse("v4", &lease.v4, CIDR)?;
        if !LEASE_LENGTHS.contains(&v4.prefix_len()) || v4.addr() != v4.network() {
            return Err(FieldError::new("v4", Fault::Rule("must be a /24 to a /28 by its first address")));
        }
        let v6: Option<ipnet::Ipv6Net> = lease.v6.map(|text| parse("v6", &text, CIDR)).transpose()?;
        if v6.is_some_and(|net| net.prefix_len() != 64 || net.addr() != net.network()) {
            return Err(FieldError::new("v6", Fault::Rule("must be a /64 by its first address")));
        }
        Ok(Self { v4, v6 })
    }
}

impl From<NetworkConfig> for v1::NetworkConfig {
    fn from(config: NetworkConfig) -> Self {
        use v1::network_config::Overlay as Wire;
        Self {
            v4: config.v4.to_string(),
            v6: config.v6.map(|net| net.to_string()),
            overlay: Some(match config.overlay {
                Overlay::Vxlan { vni, port } => Wire::Vxlan(v1::Vxlan { vni, port: port.into() }),
                Overlay::Routes => Wire::Routes(v1::Routes {}),
                Overlay::Lan => Wire::Lan(v1::Lan {}),
            }),
            mtu: config.mtu.into(),
            lease_length: config.lease_length.into(),
        }
    }
}

impl TryFrom<v1::NetworkConfig> for NetworkConfig {
    type Error = FieldError;

    fn try_from(config: v1::NetworkConfig) -> Result<Self, FieldError> {
        use v1::network_config::Overlay as Wire;
        let range = |field: &str, value: u32, max: u32| {
            let fault = Fault::Range { value: value.into(), min: 1, max: max.into() };
            if (1..=max).contains(&value) { Ok(value) } else { Err(FieldError::new(field, fault)) }
        };
        let overlay = match required("overlay", config.overlay)? {
            Wire::Vxlan(vxlan) => Overlay::Vxlan {
                vni: range("overlay.vni", vxlan.vni, MAX_VNI)?,
                port: port("overlay.port", vxlan.port)?,
            },
            Wire::Routes(v1::Routes {}) => Overlay::Routes,
            Wire::Lan(v1::Lan {}) => Overlay::Lan,
        };
        let mtu = u16::try_from(config.mtu).ok().filter(|mtu| *mtu >= 576);
        let mtu_fault = Fault::Range { value: config.mtu.into(), min: 576, max: u16::MAX.into() };
        let lease_length = match config.lease_length {
            // A control plane that knows of one length only.
            0 => Some(LEASE_LENGTH),
            length => u8::try_from(length).ok().filter(|length| LEASE_LENGTHS.contains(length)),
        };
        let (min, max) = (i64::from(*LEASE_LENGTHS.start()), i64::from(*LEASE_LENGTHS.end()));
        let lease_fault = Fault::Range { value: config.lease_length.into(), min, max };
        Ok(Self {
            v4: parse("v4", &config.v4, CIDR)?,
            v6: config.v6.map(|text| parse("v6", &text, CIDR)).transpose()?,
            overlay,
            mtu: mtu.ok_or_else(|| FieldError::new("mtu", mtu_fault))?,
            lease_length: lease_length.ok_or_else(|| FieldError::new("lease_length", lease_fault))?,
        })
    }
}

impl From<Peer> for v1::Peer {
    fn from(peer: Peer) -> Self {
        Self {
            instance_id: peer.instance.to_string(),
            underlay: peer.underlay.to_string(),
            leases: peer.leases.into_iter().map(Into::into).collect(),
            connected: peer.connected,
        }
    }
}

impl TryFrom<v1::Peer> for Peer {
    type Error = FieldError;

    fn try_from(peer: v1::Peer) -> Result<Self, FieldError> {
        at_most("leases", peer.leases.len(), MAX_LEASES)?;
        Ok(Self {
            instance: id("instance_id", peer.instance_id.parse())?,
            underlay: parse("underlay", &peer.underlay, ADDRESS)?,
            leases: each("leases", peer.leases)?,
            connected: peer.connected,
        })
    }
}

impl From<Rule> for v1::Rule {
    fn from(rule: Rule) -> Self {
        use v1::rule::Peer as Wire;
        let (protocol, from, to): (Option<u32>, Option<u32>, Option<u32>) = match rule.traffic {
            Traffic::All => (None, None, None),
            Traffic::Tcp { from, to } => (Some(6), Some(from.into()), Some(to.into())),
            Traffic::Udp { from, to } => (Some(17), Some(from.into()), Some(to.into())),
            Traffic::Icmp { kind, code } => (Some(1), kind.map(Into::into), code.map(Into::into)),
            Traffic::Icmpv6 { kind, code } => (Some(58), kind.map(Into::into), code.map(Into::into)),
            Traffic::Protocol(number) => (Some(number.into()), None, None),
        };
        let peer = match rule.peer {
            RulePeer::V4(net) => Wire::V4(net.to_string()),
            RulePeer::V6(net) => Wire::V6(net.to_string()),
            RulePeer::Group(group) => Wire::GroupId(group.to_string()),
        };
        Self { protocol, from, to, peer: Some(peer) }
    }
}

impl TryFrom<v1::Rule> for Rule {
    type Error = FieldError;

    fn try_from(rule: v1::Rule) -> Result<Self, FieldError> {
        use v1::rule::Peer as Wire;
        let number = |field: &str, value: Option<u32>, max: u32| {
            let value = value.ok_or_else(|| FieldError::new(field, Fault::Missing))?;
            let fault = Fault::Range { value: value.into(), min: 0, max: max.into() };
            if value <= max { Ok(value) } else { Err(FieldError::new(field, fault)) }
        };
        let port = |field: &str, value| number(field, value, u16::MAX.into()).map(|n| u16::try_from(n).unwrap_or(0));
        let byte = |field: &str, value: Option<u32>| {
            let byte = |n| number(field, Some(n), u8::MAX.into()).map(|n| u8::try_from(n).unwrap_or(0));
            value.map(byte).transpose()
        };
        let ports = || {
            let (from, to) = (port("from", rule.from)?, port("to", rule.to)?);
            if from > to { Err(FieldError::new("to", Fault::Rule("must not be below from"))) } else { Ok((from, to)) }
        };
        let traffic = match rule.protocol {
            None => Traffic::All,
            Some(6) => ports().map(|(from, to)| Traffic::Tcp { from, to })?,
            Some(17) => ports().map(|(from, to)| Traffic::Udp { from, to })?,
            Some(1) => Traffic::Icmp { kind: byte("from", rule.from)?, code: byte("to", rule.to)? },
            Some(58) => Traffic::Icmpv6 { kind: byte("from", rule.from)?, code: byte("to", rule.to)? },
            other => Traffic::Protocol(byte("protocol", other)?.unwrap_or_default()),
        };
        let peer = match required("peer", rule.peer)? {
            Wire::V4(text) => RulePeer::V4(parse::<ipnet::Ipv4Net>("peer.v4", &text, CIDR)?.trunc()),
            Wire::V6(text) => RulePeer::V6(parse::<ipnet::Ipv6Net>("peer.v6", &text, CIDR)?.trunc()),
            Wire::GroupId(text) => RulePeer::Group(id("peer.group_id", text.parse())?),
        };
        Ok(Self { traffic, peer })
    }
}

fn group_out((id, rules): (GroupId, GroupRules)) -> v1::Group {
    let rules_out = |rules: BTreeSet<Rule>| rules.into_iter().map(Into::into).collect();
    v1::Group { id: id.to_string(), ingress: rules_out(rules.ingress), egress: rules_out(rules.egress) }
}

fn groups_in(groups: Vec<v1::Group>) -> Result<BTreeMap<GroupId, GroupRules>, FieldError> {
    let group = |group: v1::Group| -> Result<(GroupId, GroupRules), FieldError> {
        at_most("ingress", group.ingress.len(), MAX_RULES)?;
        at_most("egress", group.egress.len(), MAX_RULES)?;
        let rules = GroupRules {
            ingress: each::<_, Rule>("ingress", group.ingress)?.into_iter().collect(),
            egress: each::<_, Rule>("egress", group.egress)?.into_iter().collect(),
        };
        Ok((id("id", group.id.parse())?, rules))
    };
    groups.into_iter().enumerate().map(|(i, g)| group(g).within_item("groups", i)).collect()
}

fn members_in(members: Vec<v1::Members>) -> Result<BTreeMap<GroupId, MemberChanges>, FieldError> {
    let set = |field: &str, texts: Vec<String>| -> Result<BTreeSet<IpAddr>, FieldError> {
        texts.iter().map(|text| parse(field, text, ADDRESS)).collect()
    };
    let one = |m: v1::Members| -> Result<(GroupId, MemberChanges), FieldError> {
        let changes = MemberChanges { added: set("added", m.added)?, removed: set("removed", m.removed)? };
        Ok((id("group_id", m.group_id.parse())?, changes))
    };
    members.into_iter().enumerate().map(|(i, m)| one(m).within_item("members", i)).collect()
}

fn texts<T: ToString>(values: impl IntoIterator<Item = T>) -> Vec<String> {
    values.into_iter().map(|value| value.to_string()).collect()
}

impl From<NetworkUpdate> for v1::NetworkUpdate {
    fn from(update: NetworkUpdate) -> Self {
        let member = |(id, changes): (GroupId, MemberChanges)| v1::Members {
            group_id: id.to_string(),
            added: texts(changes.added),
            removed: texts(changes.removed),
        };
        match update {
            NetworkUpdate::Complete { generation, state } => {
                let members = state.members.into_iter();
                Self {
                    generation: generation.0,
                    complete: true,
                    config: Some(state.config.into()),
                    leases_changed: true,
                    leases: state.leases.into_iter().map(Into::into).collect(),
                    peers: state.peers.into_values().map(Into::into).collect(),
                    groups: state.groups.into_iter().map(group_out).collect(),
                    members: members
                        .map(|(id, added)| member((id, MemberChanges { added, removed: BTreeSet::new() })))
                        .collect(),
                    ..Self::default()
                }
            }
            NetworkUpdate::Delta { base, generation, changes } => Self {
                generation: generation.0,
                complete: false,
                base_generation: base.0,
                config: None,
                leases_changed: changes.leases.is_some(),
                leases: changes.leases.unwrap_or_default().into_iter().map(Into::into).collect(),
                peers: changes.peers.into_iter().map(Into::into).collect(),
                removed_peers: texts(changes.removed_peers),
                groups: changes.groups.into_iter().map(group_out).collect(),
                removed_groups: texts(changes.removed_groups),
                members: changes.members.into_iter().map(member).collect(),
                removed_members: texts(changes.removed_members),
            },
        }
    }
}

impl TryFrom<v1::NetworkUpdate> for NetworkUpdate {
    type Error = FieldError;

    fn try_from(message: v1::NetworkUpdate) -> Result<Self, FieldError> {
        let generation = Generation(message.generation);
        if !message.complete && message.generation <= message.base_generation {
            let rule = "must be above the changes' base_generation";
            return Err(FieldError::new("generation", Fault::Rule(rule)));
        }
        at_most("leases", message.leases.len(), MAX_LEASES)?;
        let leases: Vec<Lease> = each("leases", message.leases)?;
        let peers: Vec<Peer> = each("peers", message.peers)?;
        let groups = groups_in(message.groups)?;
        let members = members_in(message.members)?;
        if message.complete {
            let config = NetworkConfig::try_from(required("config", message.config)?).within("config")?;
            let state = NetworkState {
                config,
                leases,
                peers: peers.into_iter().map(|peer| (peer.instance, peer)).collect(),
                groups,
                members: members.into_iter().map(|(id, changes)| (id, changes.added)).collect(),
            };
            return Ok(Self::Complete { generation, state });
        }
        let ids = |field: &str, texts: &[String]| -> Result<Vec<GroupId>, FieldError> {
            texts.iter().map(|text| id(field, text.parse())).collect()
        };
        let removed_peers = message.removed_peers.iter().map(|text| id("removed_peers", text.parse()));
        let changes = NetworkChanges {
            leases: message.leases_changed.then_some(leases),
            peers,
            removed_peers: removed_peers.collect::<Result<_, _>>()?,
            groups,
            removed_groups: ids("removed_groups", &message.removed_groups)?,
            members,
            removed_members: ids("removed_members", &message.removed_members)?,
        };
        Ok(Self::Delta { base: Generation(message.base_generation), generation, changes })
    }
}

impl From<NetworkStatus> for v1::NetworkStatus {
    fn from(status: NetworkStatus) -> Self {
        let degraded = match status.health {
            NetworkHealth::Ready => None,
            NetworkHealth::Degraded { reason } => Some(reason.chars().take(MAX_REASON).collect()),
        };
        Self { degraded, applied_generation: status.applied.0, free_addresses: status.free_addresses }
    }
}

impl TryFrom<v1::NetworkStatus> for NetworkStatus {
    type Error = FieldError;

    fn try_from(status: v1::NetworkStatus) -> Result<Self, FieldError> {
        let health = match status.degraded {
            None => NetworkHealth::Ready,
            Some(reason) => {
                at_most("degraded", reason.chars().count(), MAX_REASON)?;
                NetworkHealth::Degraded { reason }
            }
        };
        Ok(Self { health, applied: Generation(status.applied_generation), free_addresses: status.free_addresses })
    }
}
