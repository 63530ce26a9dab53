//! Security groups as nftables text: a chain each way for a group, and the chains of a set of groups by name.

use crate::names::{chain_in, chain_out, members4, members6};
use longshore_model::network::{GroupId, GroupRules, Rule, RulePeer, Traffic};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The chains that a task with a certain set of groups is sent to. Named by the groups, so that all tasks with the same
/// set share them, and a person sees which they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Profile {
    /// What comes in.
    pub(crate) into: String,
    /// What goes out.
    pub(crate) out: String,
}

const PROFILE_IN: &str = "pi_";
const PROFILE_OUT: &str = "po_";

/// Names of chains can be 255 bytes long. The API allows five groups.
pub(crate) const MOST_GROUPS: usize = 12;

/// The chains for a set of groups.
pub(crate) fn profile(groups: &BTreeSet<GroupId>) -> Profile {
    let digits: Vec<&str> = groups.iter().map(GroupId::digits).collect();
    let name = if digits.is_empty() { "none".to_owned() } else { digits.join("_") };
    Profile { into: format!("{PROFILE_IN}{name}"), out: format!("{PROFILE_OUT}{name}") }
}

/// Whether it is the chain of a set of groups.
pub(crate) fn is_profile(chain: &str) -> bool {
    chain.starts_with(PROFILE_IN) || chain.starts_with(PROFILE_OUT)
}

/// Which way a rule looks.
#[derive(Clone, Copy)]
enum Way {
    In,
    Out,
}

/// The part of a rule about ports and protocols, with the families that it can apply to.
fn traffic(traffic: Traffic) -> (String, bool, bool) {
    let ports = |protocol: &str, from: u16, to: u16| match (from, to) {
        (0, u16::MAX) => format!("meta l4proto {protocol} "),
        (from, to) if from == to => format!("{protocol} dport {from} "),
        (from, to) => format!("{protocol} dport {from}-{to} "),
    };
    let icmp = |protocol: &str, kind: Option<u8>, code: Option<u8>| match (kind, code) {
        (None, _) => format!("meta l4proto {} ", if protocol == "icmp" { "icmp" } else { "ipv6-icmp" }),
        (Some(kind), None) => format!("{protocol} type {kind} "),
        (Some(kind), Some(code)) => format!("{protocol} type {kind} {protocol} code {code} "),
    };
    match traffic {
        Traffic::All => (String::new(), true, true),
        // From above to below matches no port.
        Traffic::Tcp { from, to } => (ports("tcp", from, to), from <= to, from <= to),
        Traffic::Udp { from, to } => (ports("udp", from, to), from <= to, from <= to),
        // ICMP is IPv4's alone, and ICMPv6 the other's: against an address of the other they match nothing.
        Traffic::Icmp { kind, code } => (icmp("icmp", kind, code), true, false),
        Traffic::Icmpv6 { kind, code } => (icmp("icmpv6", kind, code), false, true),
        Traffic::Protocol(number) => (format!("meta l4proto {number} "), true, true),
    }
}

/// A rule as lines: one for each family that it applies to.
fn lines(rule: &Rule, way: Way) -> Vec<String> {
    let field = match way {
        Way::In => "saddr",
        Way::Out => "daddr",
    };
    let (what, v4, v6) = traffic(rule.traffic);
    let mut lines = Vec::new();
    let mut line = |peer: String| lines.push(format!("{peer} {what}accept"));
    match rule.peer {
        RulePeer::V4(net) if v4 && net.prefix_len() == 0 => line("meta nfproto ipv4".into()),
        RulePeer::V4(net) if v4 => line(format!("ip {field} {}", net.trunc())),
        RulePeer::V6(net) if v6 && net.prefix_len() == 0 => line("meta nfproto ipv6".into()),
        RulePeer::V6(net) if v6 => line(format!("ip6 {field} {}", net.trunc())),
        RulePeer::V4(_) | RulePeer::V6(_) => {}
        RulePeer::Group(group) => {
            if v4 {
                line(format!("ip {field} @{}", members4(group)));
            }
            if v6 {
                line(format!("ip6 {field} @{}", members6(group)));
            }
        }
    }
    lines
}

/// The transaction that gives `changed` groups their rules and leaves the `closed` ones without any.
pub(crate) fn script(table: &str, changed: &BTreeMap<GroupId, &GroupRules>, closed: &BTreeSet<GroupId>) -> String {
    let mut script = String::new();
    let sets: BTreeSet<GroupId> = changed.iter().flat_map(|(id, rules)| rules.references().chain([*id])).collect();
    let _ = writeln!(script, "table inet {table} {{");
    for group in sets {
        let _ = writeln!(script, "\tset {} {{ type ipv4_addr; }}", members4(group));
        let _ = writeln!(script, "\tset {} {{ type ipv6_addr; }}", members6(group));
    }
    for group in changed.keys().chain(closed) {
        let _ = writeln!(script, "\tchain {} {{ }}\n\tchain {} {{ }}", chain_in(*group), chain_out(*group));
    }
    script.push_str("}\n");
    for group in changed.keys().chain(closed) {
        for chain in [chain_in(*group), chain_out(*group)] {
            let _ = writeln!(script, "flush chain inet {table} {chain}");
        }
    }
    let _ = writeln!(script, "table inet {table} {{");
    for (group, rules) in changed {
        for (chain, rules, way) in
            [(chain_in(*group), &rules.ingress, Way::In), (chain_out(*group), &rules.egress, Way::Out)]
        {
            let _ = writeln!(script, "\tchain {chain} {{");
            for line in rules.iter().flat_map(|rule| lines(rule, way)) {
                let _ = writeln!(script, "\t\t{line}");
            }
            script.push_str("\t}\n");
        }
    }
    script.push_str("}\n");
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(traffic: Traffic, peer: RulePeer, expected: &[&str]) {
        assert_eq!(lines(&Rule { traffic, peer }, Way::In), expected, "{traffic:?} {peer:?}");
    }

    #[test]
    fn rules_are_written_for_the_families_they_apply_to() {
        let all4 = RulePeer::V4("0.0.0.0/0".parse().unwrap());
        let some4 = RulePeer::V4("10.1.2.3/8".parse().unwrap());
        let all6 = RulePeer::V6("::/0".parse().unwrap());
        let some6 = RulePeer::V6("fd77::/48".parse().unwrap());
        let group = RulePeer::Group("sg-0123456789abcdef0".parse().unwrap());
        check(Traffic::All, all4, &["meta nfproto ipv4 accept"]);
        check(Traffic::All, some4, &["ip saddr 10.0.0.0/8 accept"]);
        check(Traffic::Tcp { from: 80, to: 80 }, some4, &["ip saddr 10.0.0.0/8 tcp dport 80 accept"]);
        check(Traffic::Udp { from: 1, to: 9 }, some6, &["ip6 saddr fd77::/48 udp dport 1-9 accept"]);
        check(Traffic::Tcp { from: 0, to: 65535 }, all6, &["meta nfproto ipv6 meta l4proto tcp accept"]);
        check(Traffic::Tcp { from: 9, to: 1 }, all4, &[]);
        check(
            Traffic::Protocol(47),
            group,
            &[
                "ip saddr @m4_0123456789abcdef0 meta l4proto 47 accept",
                "ip6 saddr @m6_0123456789abcdef0 meta l4proto 47 accept",
            ],
        );
        let ping = Traffic::Icmp { kind: Some(8), code: Some(0) };
        check(ping, some4, &["ip saddr 10.0.0.0/8 icmp type 8 icmp code 0 accept"]);
        check(ping, all6, &[]);
        check(ping, group, &["ip saddr @m4_0123456789abcdef0 icmp type 8 icmp code 0 accept"]);
        let ping6 = Traffic::Icmpv6 { kind: Some(128), code: None };
        check(ping6, all6, &["meta nfproto ipv6 icmpv6 type 128 accept"]);
        check(ping6, all4, &[]);
        check(
            Traffic::Icmpv6 { kind: None, code: None },
            some6,
            &["ip6 saddr fd77::/48 meta l4proto ipv6-icmp accept"],
        );
    }

    #[test]
    fn a_set_of_groups_has_one_name() {
        let (a, b) = (GroupId::random(), GroupId::random());
        assert_eq!(profile(&[a, b].into()), profile(&[b, a].into()));
        assert_ne!(profile(&[a].into()), profile(&[b].into()));
        assert_ne!(profile(&[a].into()), profile(&[a, b].into()));
        assert!(is_profile(&profile(&[a].into()).into) && !is_profile("pin"));
        let most: BTreeSet<GroupId> = std::iter::repeat_with(GroupId::random).take(MOST_GROUPS).collect();
        assert!(profile(&most).out.len() <= 255);
        assert_eq!(profile(&BTreeSet::new()).into, "pi_none");
    }
}
