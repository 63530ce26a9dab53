//! Rules of security groups: adding, taking away, changing, describing.

use super::filter::Filters;
use super::groups::{by_name, named, seen, text};
use super::params::{Params, id, shown};
use super::xml::Xml;
use super::{Ctx, Ec2Error, Ec2Operation, tags};
use crate::commands::{ChangeRules, NewRule, RuleChange, RuleEdit};
use crate::records::{Direction, SecurityGroupRule};
use longshore_model::{GroupId, Rule, RuleId, RulePeer, Traffic};
use std::collections::BTreeSet;

/// The other side of a rule, as one of the three that EC2 has.
#[derive(Default)]
pub(super) struct Kind {
    pub(super) v4: Option<String>,
    pub(super) v6: Option<String>,
    pub(super) group: Option<String>,
}

impl Kind {
    pub(super) fn of(peer: RulePeer) -> Self {
        match peer {
            RulePeer::V4(net) => Self { v4: Some(net.to_string()), ..Self::default() },
            RulePeer::V6(net) => Self { v6: Some(net.to_string()), ..Self::default() },
            RulePeer::Group(id) => Self { group: Some(id.to_string()), ..Self::default() },
        }
    }
}

/// A protocol as EC2 writes it.
pub(super) fn protocol(traffic: Traffic) -> String {
    match traffic {
        Traffic::All => "-1".to_owned(),
        Traffic::Tcp { .. } => "tcp".to_owned(),
        Traffic::Udp { .. } => "udp".to_owned(),
        Traffic::Icmp { .. } => "icmp".to_owned(),
        Traffic::Icmpv6 { .. } => "icmpv6".to_owned(),
        Traffic::Protocol(number) => number.to_string(),
    }
}

/// Ports, or type and code with -1 for all of them; `None` where there are neither.
pub(super) fn ports(traffic: Traffic) -> Option<(i32, i32)> {
    let all = |number: Option<u8>| number.map_or(-1, i32::from);
    match traffic {
        Traffic::All | Traffic::Protocol(_) => None,
        Traffic::Tcp { from, to } | Traffic::Udp { from, to } => Some((from.into(), to.into())),
        Traffic::Icmp { kind, code } | Traffic::Icmpv6 { kind, code } => Some((all(kind), all(code))),
    }
}

pub(super) async fn authorize(
    ctx: &Ctx<'_>,
    op: Ec2Operation,
    params: &Params<'_>,
    xml: &mut Xml,
) -> Result<(), Ec2Error> {
    let group = named(ctx, params)?;
    let direction = direction(op);
    let tags = tags::specified(params, "security-group-rule")?;
    let asked = permissions(ctx, params)?;
    params.all_known()?;
    let new = asked.into_iter().map(|(rule, description)| NewRule {
        id: RuleId::random(),
        rule: SecurityGroupRule { direction, rule, description, tags: tags.clone() },
    });
    let edit = RuleEdit::Authorize(new.collect());
    let rules = ctx.core.submit(ChangeRules { region: ctx.caller.region.clone(), group, edit }).await?;
    xml.put_true();
    xml.list("securityGroupRuleSet", &rules, |xml, (id, rule)| show(ctx, xml, group, *id, rule));
    Ok(())
}

pub(super) async fn revoke(
    ctx: &Ctx<'_>,
    op: Ec2Operation,
    params: &Params<'_>,
    xml: &mut Xml,
) -> Result<(), Ec2Error> {
    let group = named(ctx, params)?;
    let direction = direction(op);
    let ids = params.texts("SecurityGroupRuleId").into_iter().map(rule_id).collect::<Result<Vec<_>, _>>()?;
    let edit = if ids.is_empty() {
        let asked = permissions(ctx, params)?;
        RuleEdit::Revoke(direction, asked.into_iter().map(|(rule, _)| rule).collect())
    } else {
        RuleEdit::RevokeById(direction, ids)
    };
    params.all_known()?;
    let rules = ctx.core.submit(ChangeRules { region: ctx.caller.region.clone(), group, edit }).await?;
    xml.put_true();
    xml.list("revokedSecurityGroupRuleSet", &rules, |xml, (id, rule)| {
        show_common(xml, group, *id, rule);
        xml.put_some("referencedGroupId", Kind::of(rule.rule.peer).group);
    });
    Ok(())
}

pub(super) async fn modify(ctx: &Ctx<'_>, params: &Params<'_>, xml: &mut Xml) -> Result<(), Ec2Error> {
    let group = named(ctx, params)?;
    let mut changes = Vec::new();
    let mut ids = BTreeSet::new();
    for update in params.each("SecurityGroupRule") {
        let id = rule_id(update.need("SecurityGroupRuleId")?)?;
        if !ids.insert(id) {
            let text = format!("The security group rule {id} must not appear multiple times");
            return Err(Ec2Error::new("InvalidParameterValue", text));
        }
        let rule = update.inside("SecurityGroupRule");
        let traffic = traffic(&rule)?;
        let peers = [
            rule.text("CidrIpv4").map(v4).transpose()?,
            rule.text("CidrIpv6").map(v6).transpose()?,
            rule.text("ReferencedGroupId").map(|text| seen(ctx, text).map(RulePeer::Group)).transpose()?,
        ];
        let mut peers = peers.into_iter().flatten();
        let (Some(peer), None) = (peers.next(), peers.next()) else {
            return Err(Ec2Error::new(
                "InvalidParameterCombination",
                format!("{} must have one of CidrIpv4, CidrIpv6 and ReferencedGroupId", update.at("SecurityGroupRule")),
            ));
        };
        changes.push(RuleChange { id, rule: Rule { traffic, peer }, description: description(&rule)? });
    }
    params.all_known()?;
    if changes.is_empty() {
        return Err(Ec2Error::missing("SecurityGroupRule"));
    }
    let edit = RuleEdit::Modify(changes);
    ctx.core.submit(ChangeRules { region: ctx.caller.region.clone(), group, edit }).await?;
    xml.put_true();
    Ok(())
}

const FILTERS: &[&str] = &["group-id", "security-group-rule-id", "tag-key", "tag:"];

pub(super) fn describe(ctx: &Ctx<'_>, params: &Params<'_>, xml: &mut Xml) -> Result<(), Ec2Error> {
    let seen = |id: RuleId| {
        let group = ctx.state.group_of_rule(id).filter(|group| group.is_seen_from(&ctx.caller.region));
        group.map(|_| id).ok_or_else(|| Ec2Error::no_rule(id))
    };
    let ids = params.texts("SecurityGroupRuleId").into_iter().map(|text| seen(rule_id(text)?));
    let ids = ids.collect::<Result<BTreeSet<_>, Ec2Error>>()?;
    let filters = Filters::read(params, FILTERS)?;
    let what = serde_json::to_string(&(&ids, &filters)).unwrap_or_default();
    let listing = ctx.listing(Ec2Operation::DescribeSecurityGroupRules, params, &what)?;
    params.all_known()?;
    let after: Option<RuleId> = listing.after.as_ref().and_then(|cursor| cursor.parse().ok());
    let groups = ctx.state.security_groups().filter(|group| group.is_seen_from(&ctx.caller.region));
    let all = groups.flat_map(|group| group.rules.iter().map(move |(id, rule)| (*id, group, rule)));
    let mut rules: Vec<_> = all
        .filter(|(id, group, rule)| {
            after.is_none_or(|after| *id > after)
                && (ids.is_empty() || ids.contains(id))
                && filters.want(Some(&rule.tags), |name| match name {
                    "group-id" => vec![group.id.to_string()],
                    "security-group-rule-id" => vec![id.to_string()],
                    _ => Vec::new(),
                })
        })
        .collect();
    rules.sort_by_key(|(id, ..)| *id);
    let (page, next) = listing.page(rules.into_iter(), |(id, ..)| id.to_string());
    xml.list("securityGroupRuleSet", page, |xml, (id, group, rule)| show(ctx, xml, group.id, id, rule));
    xml.put_some("nextToken", next);
    Ok(())
}

fn show(ctx: &Ctx<'_>, xml: &mut Xml, group: GroupId, id: RuleId, rule: &SecurityGroupRule) {
    show_common(xml, group, id, rule);
    xml.put("groupOwnerId", ctx.core.account());
    if let Some(referenced) = Kind::of(rule.rule.peer).group {
        xml.inside("referencedGroupInfo", |xml| {
            xml.put("groupId", referenced);
            xml.put("userId", ctx.core.account());
        });
    }
    xml.tags(&rule.tags);
    xml.put("securityGroupRuleArn", ctx.arn(&format!("security-group-rule/{id}")));
}

fn show_common(xml: &mut Xml, group: GroupId, id: RuleId, rule: &SecurityGroupRule) {
    let kind = Kind::of(rule.rule.peer);
    let (from, to) = ports(rule.rule.traffic).unwrap_or((-1, -1));
    xml.put("securityGroupRuleId", id);
    xml.put("groupId", group);
    xml.put("isEgress", rule.direction == Direction::Egress);
    xml.put("ipProtocol", protocol(rule.rule.traffic));
    xml.put("fromPort", from);
    xml.put("toPort", to);
    xml.put_some("cidrIpv4", kind.v4);
    xml.put_some("cidrIpv6", kind.v6);
    xml.put_some("description", rule.description.as_ref());
}

const fn direction(op: Ec2Operation) -> Direction {
    match op {
        Ec2Operation::AuthorizeSecurityGroupEgress | Ec2Operation::RevokeSecurityGroupEgress => Direction::Egress,
        Ec2Operation::AuthorizeSecurityGroupIngress
        | Ec2Operation::RevokeSecurityGroupIngress
        | Ec2Operation::CreateSecurityGroup
        | Ec2Operation::CreateTags
        | Ec2Operation::DeleteSecurityGroup
        | Ec2Operation::DeleteTags
        | Ec2Operation::DescribeAvailabilityZones
        | Ec2Operation::DescribeNetworkInterfaces
        | Ec2Operation::DescribeSecurityGroupRules
        | Ec2Operation::DescribeSecurityGroups
        | Ec2Operation::DescribeSubnets
        | Ec2Operation::DescribeTags
        | Ec2Operation::DescribeVpcs
        | Ec2Operation::ModifySecurityGroupRules => Direction::Ingress,
    }
}

pub(super) fn rule_id(text: &str) -> Result<RuleId, Ec2Error> {
    id(text, RuleId::PREFIX, "InvalidSecurityGroupRuleId.Malformed", || {
        let text = format!("The security group rule ID '{}' does not exist", shown(text));
        Ec2Error::new("InvalidSecurityGroupRuleId.NotFound", text)
    })
}

/// The rules that a request means, each once: `IpPermissions`, or the flat parameters of old.
fn permissions(ctx: &Ctx<'_>, params: &Params<'_>) -> Result<Vec<(Rule, Option<String>)>, Ec2Error> {
    let mut rules = Vec::new();
    let listed = params.each("IpPermissions");
    let flat = ["CidrIp", "IpProtocol", "FromPort", "ToPort", "SourceSecurityGroupName"];
    let is_flat = flat.iter().any(|name| params.text(name).is_some());
    match (listed.is_empty(), is_flat) {
        (true, true) => rules.push((flat_rule(ctx, params)?, None)),
        (true, false) => return Err(Ec2Error::missing("IpPermissions")),
        (false, true) => {
            let text = "The parameter IpPermissions cannot be used with the parameters of a single rule";
            return Err(Ec2Error::new("InvalidParameterCombination", text));
        }
        (false, false) => {
            for permission in &listed {
                let before = rules.len();
                listed_rules(ctx, permission, &mut rules)?;
                if rules.len() == before {
                    return Err(Ec2Error::missing(&permission.at("IpRanges")));
                }
            }
        }
    }
    let distinct: BTreeSet<Rule> = rules.iter().map(|(rule, _)| *rule).collect();
    if distinct.len() < rules.len() {
        return Err(Ec2Error::new("InvalidParameterValue", "The same permission must not appear multiple times"));
    }
    Ok(rules)
}

fn flat_rule(ctx: &Ctx<'_>, params: &Params<'_>) -> Result<Rule, Ec2Error> {
    if let Some(name) = params.text("SourceSecurityGroupName") {
        let others = ["CidrIp", "IpProtocol", "FromPort", "ToPort"];
        if let Some(other) = others.iter().find(|other| params.text(other).is_some()) {
            let text = format!("The parameter SourceSecurityGroupName cannot be used with the parameter {other}");
            return Err(Ec2Error::new("InvalidParameterCombination", text));
        }
        check_owner(ctx, params, "SourceSecurityGroupOwnerId")?;
        return Ok(Rule { traffic: Traffic::All, peer: RulePeer::Group(by_name(ctx, name)?) });
    }
    Ok(Rule { traffic: traffic(params)?, peer: v4(params.need("CidrIp")?)? })
}

fn listed_rules(
    ctx: &Ctx<'_>,
    permission: &Params<'_>,
    rules: &mut Vec<(Rule, Option<String>)>,
) -> Result<(), Ec2Error> {
    let traffic = traffic(permission)?;
    for range in permission.each("IpRanges") {
        rules.push((Rule { traffic, peer: v4(range.need("CidrIp")?)? }, description(&range)?));
    }
    for range in permission.each("Ipv6Ranges") {
        rules.push((Rule { traffic, peer: v6(range.need("CidrIpv6")?)? }, description(&range)?));
    }
    if !permission.each("PrefixListIds").is_empty() {
        let text = format!("{}: there are no prefix lists here", permission.at("PrefixListIds"));
        return Err(Ec2Error::new("UnsupportedOperation", text));
    }
    for pair in permission.each("Groups") {
        check_owner(ctx, &pair, "UserId")?;
        super::groups::check_vpc(ctx, pair.text("VpcId"))?;
        // Answers of an id's group name too, and clients send both back.
        let group = match (pair.text("GroupId"), pair.text("GroupName")) {
            (Some(id), _) => seen(ctx, id)?,
            (None, Some(name)) => by_name(ctx, name)?,
            (None, None) => return Err(Ec2Error::missing(&pair.at("GroupId"))),
        };
        rules.push((Rule { traffic, peer: RulePeer::Group(group) }, description(&pair)?));
    }
    Ok(())
}

/// That groups of other accounts are not meant: there are none.
fn check_owner(ctx: &Ctx<'_>, params: &Params<'_>, name: &str) -> Result<(), Ec2Error> {
    match params.text(name) {
        Some(owner) if owner != ctx.core.account().as_str() => Err(Ec2Error::new(
            "InvalidGroup.NotFound",
            format!("There are no security groups of account '{}'", shown(owner)),
        )),
        Some(_) | None => Ok(()),
    }
}

fn description(params: &Params<'_>) -> Result<Option<String>, Ec2Error> {
    params.text("Description").map(|value| text(value, "Description").map(str::to_owned)).transpose()
}

/// The traffic of `IpProtocol`, `FromPort` and `ToPort`.
fn traffic(params: &Params<'_>) -> Result<Traffic, Ec2Error> {
    let name = params.need("IpProtocol")?;
    let (from, to) = (params.number("FromPort")?, params.number("ToPort")?);
    let range = || {
        let wrong = |why: &str| Ec2Error::new("InvalidParameterValue", format!("Invalid value '{why}' for portRange."));
        let port = |port: i32| u16::try_from(port).map_err(|_| wrong(&port.to_string()));
        let (Some(from), Some(to)) = (from, to) else {
            return Err(wrong("Must specify both from and to ports with TCP/UDP."));
        };
        if from > to {
            return Err(wrong(&format!("The first port of {from}-{to} is above the last")));
        }
        Ok((port(from)?, port(to)?))
    };
    let icmp = || {
        let wrong = |what: &str, number: i32| {
            Ec2Error::new("InvalidParameterValue", format!("ICMP {what} ({number}) out of range"))
        };
        let number = |what: &str, number: Option<i32>| match number {
            None | Some(-1) => Ok(None),
            Some(number) => u8::try_from(number).map(Some).map_err(|_| wrong(what, number)),
        };
        let (kind, code) = (number("type", from)?, number("code", to)?);
        match (kind, code) {
            (None, Some(code)) => Err(wrong("code without a type", code.into())),
            (kind, code) => Ok((kind, code)),
        }
    };
    match name.to_ascii_lowercase().as_str() {
        "-1" | "all" => Ok(Traffic::All),
        "tcp" | "6" => range().map(|(from, to)| Traffic::Tcp { from, to }),
        "udp" | "17" => range().map(|(from, to)| Traffic::Udp { from, to }),
        "icmp" | "1" => icmp().map(|(kind, code)| Traffic::Icmp { kind, code }),
        "icmpv6" | "58" => icmp().map(|(kind, code)| Traffic::Icmpv6 { kind, code }),
        number => number.parse().map(Traffic::Protocol).map_err(|_| {
            Ec2Error::new(
                "InvalidParameterValue",
                format!("Invalid value '{}' for IP protocol. Unknown protocol.", shown(name)),
            )
        }),
    }
}

fn v4(text: &str) -> Result<RulePeer, Ec2Error> {
    text.parse::<ipnet::Ipv4Net>().map(|net| RulePeer::V4(net.trunc())).map_err(|_| malformed(text))
}

fn v6(text: &str) -> Result<RulePeer, Ec2Error> {
    text.parse::<ipnet::Ipv6Net>().map(|net| RulePeer::V6(net.trunc())).map_err(|_| malformed(text))
}

fn malformed(text: &str) -> Ec2Error {
    Ec2Error::new("InvalidParameterValue", format!("CIDR block {} is malformed", shown(text)))
}
