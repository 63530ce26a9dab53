//! Security groups: making and deleting them, their rules, their tags.

use crate::change::Change;
use crate::command::{Command, Tx};
use crate::ec2::Ec2Error;
use crate::records::{Direction, SecurityGroup, SecurityGroupRule, Tags};
use crate::state::State;
use longshore_model::{GroupId, Region, Rule, RuleId, RulePeer, Traffic};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

/// EC2's default quotas: groups of a VPC in a region, rules of one direction of a group, tags of a resource.
const MAX_GROUPS: usize = 2500;
const MAX_RULES: usize = 60;
const MAX_TAGS: usize = 50;

/// Makes a group.
pub(crate) struct CreateGroup(pub(crate) SecurityGroup);

impl Command for CreateGroup {
    const NAME: &'static str = "CreateSecurityGroup";
    type Reply = Arc<SecurityGroup>;
    type Error = Ec2Error;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Arc<SecurityGroup>, Ec2Error> {
        let group = SecurityGroup { created_at: tx.now, ..self.0 };
        let region = group.region.as_ref().ok_or_else(|| Ec2Error::new("InternalError", "a group needs a region"))?;
        if tx.state().security_group_named(region, &group.name).is_some() {
            let vpc = tx.state().network().map(|network| network.vpc.to_string()).unwrap_or_default();
            let text = format!("The security group '{}' already exists for VPC '{vpc}'", group.name);
            return Err(Ec2Error::new("InvalidGroup.Duplicate", text));
        }
        let seen = tx.state().security_groups().filter(|other| other.is_seen_from(region)).count();
        if seen >= MAX_GROUPS {
            let text = "The maximum number of security groups has been reached.";
            return Err(Ec2Error::new("SecurityGroupLimitExceeded", text));
        }
        let group = Arc::new(group);
        tx.change(Change::SecurityGroup(Arc::clone(&group)));
        Ok(group)
    }
}

/// Deletes a group that nothing refers to.
pub(crate) struct DeleteGroup {
    pub(crate) region: Region,
    pub(crate) id: GroupId,
}

impl Command for DeleteGroup {
    const NAME: &'static str = "DeleteSecurityGroup";
    type Reply = ();
    type Error = Ec2Error;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), Ec2Error> {
        let group = seen(tx.state(), &self.region, self.id)?;
        if tx.state().network().is_some_and(|network| network.default_group == group.id) {
            let text =
                format!("the specified group: \"{}\" name: \"{}\" cannot be deleted by a user", group.id, group.name);
            return Err(Ec2Error::new("CannotDelete", text));
        }
        if tx.state().is_group_used(group.id) {
            return Err(Ec2Error::in_use(group.id));
        }
        tx.change(Change::ForgetSecurityGroup(self.id));
        Ok(())
    }
}

/// A rule that is to be added, under the id that it will have.
#[derive(Debug, Clone)]
pub(crate) struct NewRule {
    pub(crate) id: RuleId,
    pub(crate) rule: SecurityGroupRule,
}

/// What a rule is to be instead.
#[derive(Debug, Clone)]
pub(crate) struct RuleChange {
    pub(crate) id: RuleId,
    pub(crate) rule: Rule,
    /// Absent leaves it as it is.
    pub(crate) description: Option<String>,
}

/// What becomes of a group's rules.
#[derive(Debug, Clone)]
pub(crate) enum RuleEdit {
    /// They are added.
    Authorize(Vec<NewRule>),
    /// These of the direction are taken away.
    Revoke(Direction, Vec<Rule>),
    /// These of the direction are taken away.
    RevokeById(Direction, Vec<RuleId>),
    /// These change and keep their ids.
    Modify(Vec<RuleChange>),
}

/// Changes a group's rules, all of it or nothing. Answers the rules concerned: as they are now, or were.
pub(crate) struct ChangeRules {
    pub(crate) region: Region,
    pub(crate) group: GroupId,
    pub(crate) edit: RuleEdit,
}

impl Command for ChangeRules {
    const NAME: &'static str = "ChangeSecurityGroupRules";
    type Reply = Vec<(RuleId, SecurityGroupRule)>;
    type Error = Ec2Error;

    fn apply(self, tx: &mut Tx<'_>) -> Result<Self::Reply, Ec2Error> {
        let mut group = (**seen(tx.state(), &self.region, self.group)?).clone();
        let concerned = match self.edit {
            RuleEdit::Authorize(new) => {
                for NewRule { id, rule } in &new {
                    check_peer(tx.state(), &self.region, &rule.rule)?;
                    check_new(&group, None, rule.direction, &rule.rule)?;
                    group.rules.insert(*id, rule.clone());
                }
                new.into_iter().map(|new| (new.id, new.rule)).collect()
            }
            RuleEdit::Revoke(direction, rules) => {
                let found = |rule: &Rule| {
                    let same = |(_, of): &(&RuleId, &SecurityGroupRule)| of.direction == direction && of.rule == *rule;
                    group.rules.iter().find(same).map(|(id, _)| *id)
                };
                let none = || {
                    Ec2Error::new(
                        "InvalidPermission.NotFound",
                        "The specified rule does not exist in this security group.",
                    )
                };
                let ids = rules.iter().map(|rule| found(rule).ok_or_else(none)).collect::<Result<Vec<_>, _>>()?;
                take(&mut group, direction, ids)?
            }
            RuleEdit::RevokeById(direction, ids) => take(&mut group, direction, ids)?,
            RuleEdit::Modify(changes) => {
                let mut concerned = Vec::new();
                for RuleChange { id, rule, description } in changes {
                    check_peer(tx.state(), &self.region, &rule)?;
                    let old = group.rules.get(&id).cloned().ok_or_else(|| Ec2Error::no_rule(id))?;
                    check_new(&group, Some(id), old.direction, &rule)?;
                    let new = SecurityGroupRule { rule, description: description.or(old.description), ..old };
                    group.rules.insert(id, new.clone());
                    concerned.push((id, new));
                }
                concerned
            }
        };
        for direction in [Direction::Ingress, Direction::Egress] {
            let count = group.rules.values().filter(|rule| rule.direction == direction).count();
            if count > MAX_RULES {
                let text = "The maximum number of rules per security group has been reached.";
                return Err(Ec2Error::new("RulesPerSecurityGroupLimitExceeded", text));
            }
        }
        tx.change(Change::SecurityGroup(Arc::new(group)));
        Ok(concerned)
    }
}

fn take(
    group: &mut SecurityGroup,
    direction: Direction,
    ids: Vec<RuleId>,
) -> Result<Vec<(RuleId, SecurityGroupRule)>, Ec2Error> {
    let mut taken = Vec::new();
    for id in ids {
        match group.rules.remove(&id).filter(|rule| rule.direction == direction) {
            Some(rule) => taken.push((id, rule)),
            None => return Err(Ec2Error::no_rule(id)),
        }
    }
    Ok(taken)
}

fn seen<'a>(state: &'a State, region: &Region, id: GroupId) -> Result<&'a Arc<SecurityGroup>, Ec2Error> {
    state.security_group(id).filter(|group| group.is_seen_from(region)).ok_or_else(|| Ec2Error::no_group(id))
}

fn check_peer(state: &State, region: &Region, rule: &Rule) -> Result<(), Ec2Error> {
    match rule.peer {
        RulePeer::Group(id) => seen(state, region, id).map(|_| ()),
        RulePeer::V4(_) | RulePeer::V6(_) => Ok(()),
    }
}

/// That the group has no such rule but the one that changes.
fn check_new(
    group: &SecurityGroup,
    changing: Option<RuleId>,
    direction: Direction,
    rule: &Rule,
) -> Result<(), Ec2Error> {
    let same = |(id, of): (&RuleId, &SecurityGroupRule)| {
        Some(*id) != changing && of.direction == direction && of.rule == *rule
    };
    if group.rules.iter().any(same) {
        let text = format!("the specified rule \"{}\" already exists", described(rule));
        return Err(Ec2Error::new("InvalidPermission.Duplicate", text));
    }
    Ok(())
}

/// A rule as EC2's errors write it.
fn described(rule: &Rule) -> String {
    let mut text = match rule.peer {
        RulePeer::V4(net) => format!("peer: {net}, "),
        RulePeer::V6(net) => format!("peer: {net}, "),
        RulePeer::Group(id) => format!("peer: {id}, "),
    };
    let number = |n: Option<u8>| n.map_or(-1, i32::from);
    let written = match rule.traffic {
        Traffic::All => write!(text, "ALL, ALLOW"),
        Traffic::Tcp { from, to } => write!(text, "TCP, from port: {from}, to port: {to}, ALLOW"),
        Traffic::Udp { from, to } => write!(text, "UDP, from port: {from}, to port: {to}, ALLOW"),
        Traffic::Icmp { kind, code } => write!(text, "ICMP, type: {}, code: {}, ALLOW", number(kind), number(code)),
        Traffic::Icmpv6 { kind, code } => write!(text, "ICMPv6, type: {}, code: {}, ALLOW", number(kind), number(code)),
        Traffic::Protocol(number) => write!(text, "protocol: {number}, ALLOW"),
    };
    written.expect("writing to a text does not fail");
    text
}

/// A part of the network that has tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NetworkTagged {
    Group(GroupId),
    Rule(RuleId),
}

/// Which tags are taken away.
#[derive(Debug, Clone)]
pub(crate) enum TagsOff {
    None,
    All,
    /// By key, and by value where one is given.
    These(Vec<(String, Option<String>)>),
}

/// Adds tags to groups and rules and takes others away, all of it or nothing.
pub(crate) struct ChangeNetworkTags {
    pub(crate) region: Region,
    pub(crate) resources: BTreeSet<NetworkTagged>,
    pub(crate) put: Tags,
    pub(crate) off: TagsOff,
}

impl Command for ChangeNetworkTags {
    const NAME: &'static str = "ChangeNetworkTags";
    type Reply = ();
    type Error = Ec2Error;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), Ec2Error> {
        for resource in &self.resources {
            let mut group = match resource {
                NetworkTagged::Group(id) => (**seen(tx.state(), &self.region, *id)?).clone(),
                NetworkTagged::Rule(id) => {
                    let group = tx.state().group_of_rule(*id).filter(|group| group.is_seen_from(&self.region));
                    (**group.ok_or_else(|| Ec2Error::no_rule(*id))?).clone()
                }
            };
            let tags = match resource {
                NetworkTagged::Group(_) => &mut group.tags,
                NetworkTagged::Rule(id) => &mut group.rules.get_mut(id).ok_or_else(|| Ec2Error::no_rule(*id))?.tags,
            };
            let stays = |key: &String, value: &String| match &self.off {
                TagsOff::None => true,
                TagsOff::All => false,
                TagsOff::These(these) => !these.iter().any(|(k, v)| k == key && v.as_ref().is_none_or(|v| v == value)),
            };
            tags.retain(|key, value| stays(key, value));
            tags.extend(self.put.clone());
            if tags.len() > MAX_TAGS {
                let text = format!("A resource can have {MAX_TAGS} tags.");
                return Err(Ec2Error::new("TagLimitExceeded", text));
            }
            tx.change(Change::SecurityGroup(Arc::new(group)));
        }
        Ok(())
    }
}
