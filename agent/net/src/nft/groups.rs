//! Security groups as nftables text: a chain each way for a group, and the chains of a set of groups by name.

use super::rules::{Way, lines};
use crate::names::{chain_in, chain_out, members4, members6};
use longshore_model::network::{GroupId, GroupRules};
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
            for line in lines(rules, way) {
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
