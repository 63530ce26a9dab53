//! A group's rules as few lines of nftables.
//!
//! A group can have many rules, and a chain is walked line by line by every new connection. So rules that let through
//! the same for different networks share a line with a set of networks, those that differ in ports share one with a
//! set of ports, and where networks and ports both differ one lookup of network, protocol and port together decides.
//! What is left is a line for each group that is referred to and for each kind of traffic that has no ports.

use crate::names::{members4, members6};
use ipnet::IpNet;
use longshore_model::network::{GroupId, Rule, RulePeer, Traffic};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

/// Which way rules look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From whom.
    In,
    /// To whom.
    Out,
}

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Transport {
    Tcp,
    Udp,
}

impl Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// Ports, as ranges in order that neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Ports(Vec<(u16, u16)>);

impl Ports {
    fn add(&mut self, from: u16, to: u16) {
        // From above to below is no port.
        if from <= to {
            self.0.push((from, to));
            self.0.sort_unstable();
            let mut merged: Vec<(u16, u16)> = Vec::with_capacity(self.0.len());
            for &(from, to) in &self.0 {
                match merged.last_mut() {
                    Some((_, last)) if u32::from(from) <= u32::from(*last) + 1 => *last = to.max(*last),
                    _ => merged.push((from, to)),
                }
            }
            self.0 = merged;
        }
    }

    fn extend(&mut self, other: &Self) {
        for &(from, to) in &other.0 {
            self.add(from, to);
        }
    }

    /// Those that are not among `other`.
    fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        for &(from, to) in &self.0 {
            let mut next = u32::from(from);
            for &(taken_from, taken_to) in other.0.iter().filter(|(f, t)| *f <= to && *t >= from) {
                if next < u32::from(taken_from) {
                    left.push((next as u16, taken_from - 1));
                }
                next = u32::from(taken_to) + 1;
            }
            if next <= u32::from(to) {
                left.push((next as u16, to));
            }
        }
        Self(left)
    }
}

fn range((from, to): (u16, u16)) -> String {
    if from == to { from.to_string() } else { format!("{from}-{to}") }
}

/// One thing as it is, several as a set.
fn one_or_set(mut items: Vec<String>) -> String {
    if items.len() == 1 { items.remove(0) } else { format!("{{ {} }}", items.join(", ")) }
}

/// What a line lets through.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    All,
    Ports(Transport, Ports),
    /// Neither TCP nor UDP with ports.
    Other(Traffic),
}

impl Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All | Self::Other(Traffic::All) => Ok(()),
            Self::Ports(transport, ports) if ports.0 == [(0, u16::MAX)] => write!(f, "meta l4proto {transport} "),
            Self::Ports(transport, ports) => {
                write!(f, "{transport} dport {} ", one_or_set(ports.0.iter().copied().map(range).collect()))
            }
            Self::Other(Traffic::Icmp { kind, code }) => icmp(f, "icmp", "icmp", *kind, *code),
            Self::Other(Traffic::Icmpv6 { kind, code }) => icmp(f, "icmpv6", "ipv6-icmp", *kind, *code),
            Self::Other(Traffic::Protocol(number)) => write!(f, "meta l4proto {number} "),
            Self::Other(Traffic::Tcp { from, to }) => write!(f, "tcp dport {} ", range((*from, *to))),
            Self::Other(Traffic::Udp { from, to }) => write!(f, "udp dport {} ", range((*from, *to))),
        }
    }
}

fn icmp(f: &mut fmt::Formatter<'_>, name: &str, protocol: &str, kind: Option<u8>, code: Option<u8>) -> fmt::Result {
    match (kind, code) {
        (None, _) => write!(f, "meta l4proto {protocol} "),
        (Some(kind), None) => write!(f, "{name} type {kind} "),
        (Some(kind), Some(code)) => write!(f, "{name} type {kind} {name} code {code} "),
    }
}

/// A line of a chain; nets of a line are of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    /// These networks, none inside another.
    Nets(Vec<IpNet>, What),
    /// Network, protocol and ports together; no two overlap.
    Together(Vec<(IpNet, Transport, (u16, u16))>),
    /// The members of a group, of one family.
    Members { group: GroupId, v4: bool, what: What },
}

impl Line {
    fn text(&self, way: Way) -> String {
        let field = match way {
            Way::In => "saddr",
            Way::Out => "daddr",
        };
        let family = |v4: bool| if v4 { "ip" } else { "ip6" };
        match self {
            Self::Nets(nets, what) if nets.iter().any(|net| net.prefix_len() == 0) => {
                format!("meta nfproto {} {what}accept", if is_v4(nets) { "ipv4" } else { "ipv6" })
            }
            Self::Nets(nets, what) => {
                let set = one_or_set(nets.iter().map(ToString::to_string).collect());
                format!("{} {field} {set} {what}accept", family(is_v4(nets)))
            }
            Self::Together(elements) => {
                let v4 = elements.first().is_some_and(|(net, ..)| matches!(net, IpNet::V4(_)));
                let elements: Vec<String> = elements
                    .iter()
                    .map(|(net, transport, ports)| format!("{net} . {transport} . {}", range(*ports)))
                    .collect();
                format!("{} {field} . meta l4proto . th dport {{ {} }} accept", family(v4), elements.join(", "))
            }
            Self::Members { group, v4: true, what } => format!("ip {field} @{} {what}accept", members4(*group)),
            Self::Members { group, v4: false, what } => format!("ip6 {field} @{} {what}accept", members6(*group)),
        }
    }
}

fn is_v4(nets: &[IpNet]) -> bool {
    nets.first().is_some_and(|net| matches!(net, IpNet::V4(_)))
}

/// Up to so many networks and protocols have a line each, which a person reads more easily and which costs less than a
/// lookup of all three together.
const FEW: usize = 3;

/// What rules say of one network or group.
#[derive(Debug, Clone, Default)]
struct Said {
    all: bool,
    ports: BTreeMap<Transport, Ports>,
    other: BTreeSet<Traffic>,
}

impl Said {
    fn add(&mut self, traffic: Traffic) {
        match traffic {
            Traffic::All => self.all = true,
            Traffic::Tcp { from, to } => self.ports.entry(Transport::Tcp).or_default().add(from, to),
            Traffic::Udp { from, to } => self.ports.entry(Transport::Udp).or_default().add(from, to),
            Traffic::Icmp { .. } | Traffic::Icmpv6 { .. } | Traffic::Protocol(_) => {
                self.other.insert(traffic);
            }
        }
    }
}

/// Whether traffic of this kind has addresses of this family. ICMP is IPv4's alone, and ICMPv6 the other's: against an
/// address of the other they match nothing.
fn applies(traffic: Traffic, v4: bool) -> bool {
    match traffic {
        Traffic::Icmp { .. } => v4,
        Traffic::Icmpv6 { .. } => !v4,
        Traffic::All | Traffic::Tcp { .. } | Traffic::Udp { .. } | Traffic::Protocol(_) => true,
    }
}

/// Rules as lines: those about networks of IPv4, then of IPv6, then those about groups, again IPv4's first.
pub(super) fn lines(rules: &BTreeSet<Rule>, way: Way) -> Vec<String> {
    compiled(rules).iter().map(|line| line.text(way)).collect()
}

fn compiled(rules: &BTreeSet<Rule>) -> Vec<Line> {
    let mut nets: BTreeMap<IpNet, Said> = BTreeMap::new();
    let mut groups: BTreeMap<GroupId, Said> = BTreeMap::new();
    for rule in rules {
        match rule.peer {
            RulePeer::V4(net) => nets.entry(net.trunc().into()).or_default().add(rule.traffic),
            RulePeer::V6(net) => nets.entry(net.trunc().into()).or_default().add(rule.traffic),
            RulePeer::Group(group) => groups.entry(group).or_default().add(rule.traffic),
        }
    }
    // All of IPv4 come before all of IPv6, and a network before those inside it.
    let (v4, v6): (Vec<_>, Vec<_>) = nets.into_iter().partition(|(net, _)| matches!(net, IpNet::V4(_)));
    let mut lines = of_nets(&v4, true);
    lines.extend(of_nets(&v6, false));
    for v4 in [true, false] {
        lines.extend(groups.iter().flat_map(|(group, said)| of_group(*group, said, v4)));
    }
    lines
}

fn of_nets(nets: &[(IpNet, Said)], v4: bool) -> Vec<Line> {
    let mut lines = Vec::new();
    let open = outermost(nets.iter().filter(|(_, said)| said.all).map(|(net, _)| *net));
    // What a network may do anyway needs no second rule.
    let rest: Vec<&(IpNet, Said)> =
        nets.iter().filter(|(net, _)| !open.iter().any(|open| open.contains(net))).collect();
    if !open.is_empty() {
        lines.push(Line::Nets(open, What::All));
    }
    let mut elements = apart(&rest);
    if elements.iter().map(|(net, transport, _)| (net, *transport)).collect::<BTreeSet<_>>().len() <= FEW {
        let mut few: BTreeMap<(IpNet, Transport), Ports> = BTreeMap::new();
        for (net, transport, (from, to)) in elements.drain(..) {
            few.entry((net, transport)).or_default().add(from, to);
        }
        let line = |((net, transport), ports)| Line::Nets(vec![net], What::Ports(transport, ports));
        lines.extend(few.into_iter().map(line));
    } else {
        lines.push(Line::Together(elements));
    }
    let kinds: BTreeSet<Traffic> = rest.iter().flat_map(|(_, said)| said.other.iter().copied()).collect();
    for kind in kinds.into_iter().filter(|kind| applies(*kind, v4)) {
        let nets = outermost(rest.iter().filter(|(_, said)| said.other.contains(&kind)).map(|(net, _)| *net));
        lines.push(Line::Nets(nets, What::Other(kind)));
    }
    lines
}

/// Those networks, which come in order, that are not inside another.
fn outermost(nets: impl Iterator<Item = IpNet>) -> Vec<IpNet> {
    let mut kept: Vec<IpNet> = Vec::new();
    for net in nets {
        if !kept.last().is_some_and(|last| last.contains(&net)) {
            kept.push(net);
        }
    }
    kept
}

/// Networks, which come in order, with the ports that no network around them has: the kernel refuses elements that
/// overlap in all parts without being the same.
fn apart(nets: &[&(IpNet, Said)]) -> Vec<(IpNet, Transport, (u16, u16))> {
    let mut elements = Vec::new();
    for transport in [Transport::Tcp, Transport::Udp] {
        let mut around: Vec<(IpNet, Ports)> = Vec::new();
        for (net, said) in nets {
            let Some(own) = said.ports.get(&transport) else { continue };
            while around.last().is_some_and(|(outer, _)| !outer.contains(net)) {
                around.pop();
            }
            let mut all = around.last().map(|(_, ports)| ports.clone()).unwrap_or_default();
            elements.extend(own.without(&all).0.into_iter().map(|ports| (*net, transport, ports)));
            all.extend(own);
            around.push((*net, all));
        }
    }
    elements
}

fn of_group(group: GroupId, said: &Said, v4: bool) -> Vec<Line> {
    let line = |what| Line::Members { group, v4, what };
    if said.all {
        return vec![line(What::All)];
    }
    let ports = said.ports.iter().filter(|(_, ports)| !ports.0.is_empty());
    let ports = ports.map(|(transport, ports)| line(What::Ports(*transport, ports.clone())));
    let other = said.other.iter().filter(|kind| applies(**kind, v4)).map(|kind| line(What::Other(*kind)));
    ports.chain(other).collect()
}

#[cfg(test)]
mod tests;
