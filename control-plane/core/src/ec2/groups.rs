//! Security groups: making, deleting, describing.

use super::filter::Filters;
use super::params::{Params, id, shown};
use super::rules::{self, Kind};
use super::xml::Xml;
use super::{Ctx, Ec2Error, Ec2Operation, tags};
use crate::commands::{CreateGroup, DeleteGroup};
use crate::records::{Direction, SecurityGroup, SecurityGroupRule};
use longshore_model::{GroupId, Rule, RuleId, RulePeer, Traffic, VpcId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// EC2's limit for names and descriptions of groups and of rules.
const MAX_TEXT: usize = 255;

pub(super) async fn create(ctx: &Ctx<'_>, params: &Params<'_>, xml: &mut Xml) -> Result<(), Ec2Error> {
    let name = params.need("GroupName")?;
    let description = text(params.need("GroupDescription")?, "GroupDescription")?;
    text(name, "GroupName")?;
    if name.starts_with("sg-") {
        return Err(Ec2Error::value("GroupName", name, "Group names may not be in the format sg-*"));
    }
    if name == "default" {
        return Err(Ec2Error::new("InvalidGroup.Reserved", "Cannot use reserved security group name: default"));
    }
    check_vpc(ctx, params.text("VpcId"))?;
    let tags = tags::specified(params, "security-group")?;
    params.all_known()?;
    let rules = everywhere(ctx)?.into_iter().map(|peer| {
        let rule = Rule { traffic: Traffic::All, peer };
        (
            RuleId::random(),
            SecurityGroupRule { direction: Direction::Egress, rule, description: None, tags: BTreeMap::new() },
        )
    });
    let group = SecurityGroup {
        id: GroupId::random(),
        region: Some(ctx.caller.region.clone()),
        name: name.to_owned(),
        description: description.to_owned(),
        rules: rules.collect(),
        tags,
        created_at: ctx.core.inner().clock.now(),
    };
    let group = ctx.core.submit(CreateGroup(group)).await?;
    xml.put("groupId", group.id);
    xml.tags(&group.tags);
    xml.put("securityGroupArn", ctx.arn(&format!("security-group/{}", group.id)));
    Ok(())
}

/// Every address that there is in the network's families.
fn everywhere(ctx: &Ctx<'_>) -> Result<Vec<RulePeer>, Ec2Error> {
    let v4 = RulePeer::V4(ipnet::Ipv4Net::default());
    let v6 = ctx.network()?.config.v6.map(|_| RulePeer::V6(ipnet::Ipv6Net::default()));
    Ok([Some(v4), v6].into_iter().flatten().collect())
}

pub(super) async fn delete(ctx: &Ctx<'_>, params: &Params<'_>, xml: &mut Xml) -> Result<(), Ec2Error> {
    let id = named(ctx, params)?;
    params.all_known()?;
    ctx.core.submit(DeleteGroup { region: ctx.caller.region.clone(), id }).await?;
    xml.put_true();
    xml.put("groupId", id);
    Ok(())
}

const FILTERS: &[&str] = &[
    "description",
    "egress.ip-permission.cidr",
    "egress.ip-permission.group-id",
    "egress.ip-permission.ipv6-cidr",
    "egress.ip-permission.protocol",
    "group-id",
    "group-name",
    "ip-permission.cidr",
    "ip-permission.group-id",
    "ip-permission.ipv6-cidr",
    "ip-permission.protocol",
    "owner-id",
    "tag-key",
    "tag:",
    "vpc-id",
];

pub(super) fn describe(ctx: &Ctx<'_>, params: &Params<'_>, xml: &mut Xml) -> Result<(), Ec2Error> {
    let ids = params.texts("GroupId").into_iter().map(|id| seen(ctx, id)).collect::<Result<BTreeSet<_>, _>>()?;
    let names = params.texts("GroupName").into_iter().map(|name| by_name(ctx, name));
    let wanted: BTreeSet<GroupId> = names.collect::<Result<BTreeSet<_>, _>>()?.union(&ids).copied().collect();
    let filters = Filters::read(params, FILTERS)?;
    let what = serde_json::to_string(&(&wanted, &filters)).unwrap_or_default();
    let listing = ctx.listing(Ec2Operation::DescribeSecurityGroups, params, &what)?;
    params.all_known()?;
    let vpc = ctx.network()?.vpc;
    let after: Option<GroupId> = listing.after.as_ref().and_then(|cursor| cursor.parse().ok());
    let all: Box<dyn Iterator<Item = &Arc<SecurityGroup>>> = match after {
        Some(after) => Box::new(ctx.state.security_groups_from(after)),
        None => Box::new(ctx.state.security_groups()),
    };
    let groups = all.filter(|group| {
        Some(group.id) != after
            && group.is_seen_from(&ctx.caller.region)
            && (wanted.is_empty() || wanted.contains(&group.id))
            && filters.want(Some(&group.tags), |name| filter_values(ctx, group, vpc, name))
    });
    let (page, next) = listing.page(groups, |group| group.id.to_string());
    xml.list("securityGroupInfo", page, |xml, group| show(ctx, xml, group, vpc));
    xml.put_some("nextToken", next);
    Ok(())
}

fn filter_values(ctx: &Ctx<'_>, group: &SecurityGroup, vpc: VpcId, name: &str) -> Vec<String> {
    let (direction, of_rules) = match name.strip_prefix("egress.") {
        Some(rest) => (Direction::Egress, rest),
        None => (Direction::Ingress, name),
    };
    let rules = || group.rules.values().filter(move |rule| rule.direction == direction).map(|rule| rule.rule);
    match of_rules {
        "description" => vec![group.description.clone()],
        "group-id" => vec![group.id.to_string()],
        "group-name" => vec![group.name.clone()],
        "owner-id" => vec![ctx.core.account().to_string()],
        "vpc-id" => vec![vpc.to_string()],
        "ip-permission.protocol" => rules().map(|rule| rules::protocol(rule.traffic)).collect(),
        "ip-permission.cidr" => rules().filter_map(|rule| Kind::of(rule.peer).v4).collect(),
        "ip-permission.ipv6-cidr" => rules().filter_map(|rule| Kind::of(rule.peer).v6).collect(),
        "ip-permission.group-id" => rules().filter_map(|rule| Kind::of(rule.peer).group).collect(),
        _ => Vec::new(),
    }
}

fn show(ctx: &Ctx<'_>, xml: &mut Xml, group: &SecurityGroup, vpc: VpcId) {
    xml.put("ownerId", ctx.core.account());
    xml.put("groupId", group.id);
    xml.put("groupName", &group.name);
    xml.put("groupDescription", &group.description);
    xml.put("vpcId", vpc);
    xml.put("securityGroupArn", ctx.arn(&format!("security-group/{}", group.id)));
    permissions(ctx, xml, "ipPermissions", group, Direction::Ingress);
    permissions(ctx, xml, "ipPermissionsEgress", group, Direction::Egress);
    xml.tags(&group.tags);
}

/// Rules as EC2 shows them of a group: those for the same traffic together.
fn permissions(ctx: &Ctx<'_>, xml: &mut Xml, name: &str, group: &SecurityGroup, direction: Direction) {
    let mut by_traffic: BTreeMap<Traffic, Vec<&SecurityGroupRule>> = BTreeMap::new();
    for rule in group.rules.values().filter(|rule| rule.direction == direction) {
        by_traffic.entry(rule.rule.traffic).or_default().push(rule);
    }
    let account = ctx.core.account();
    xml.list(name, by_traffic, |xml, (traffic, rules)| {
        xml.put("ipProtocol", rules::protocol(traffic));
        if let Some((from, to)) = rules::ports(traffic) {
            xml.put("fromPort", from);
            xml.put("toPort", to);
        }
        let of = |kind: fn(Kind) -> Option<String>| {
            rules.iter().filter_map(move |rule| Some((kind(Kind::of(rule.rule.peer))?, rule.description.as_ref())))
        };
        xml.list("groups", of(|kind| kind.group), |xml, (id, description)| {
            xml.put("userId", account);
            xml.put("groupId", id);
            xml.put_some("description", description);
        });
        xml.list("ipRanges", of(|kind| kind.v4), |xml, (range, description)| {
            xml.put("cidrIp", range);
            xml.put_some("description", description);
        });
        xml.list("ipv6Ranges", of(|kind| kind.v6), |xml, (range, description)| {
            xml.put("cidrIpv6", range);
            xml.put_some("description", description);
        });
        xml.list("prefixListIds", [], |_, (): ()| {});
    });
}

/// The group that `GroupId` or `GroupName` means.
pub(super) fn named(ctx: &Ctx<'_>, params: &Params<'_>) -> Result<GroupId, Ec2Error> {
    match (params.text("GroupId"), params.text("GroupName")) {
        (Some(id), None) => seen(ctx, id),
        (None, Some(name)) => by_name(ctx, name),
        (Some(_), Some(_)) => Err(Ec2Error::new(
            "InvalidParameterCombination",
            "The parameter GroupName cannot be used with the parameter GroupId",
        )),
        (None, None) => Err(Ec2Error::missing(&params.at("GroupId"))),
    }
}

/// A group by its id.
pub(super) fn seen(ctx: &Ctx<'_>, text: &str) -> Result<GroupId, Ec2Error> {
    let unknown = || Ec2Error::no_group(shown(text));
    let id: GroupId = id(text, GroupId::PREFIX, "InvalidGroupId.Malformed", unknown)?;
    let group = ctx.state.security_group(id).filter(|group| group.is_seen_from(&ctx.caller.region));
    group.map(|group| group.id).ok_or_else(unknown)
}

pub(super) fn by_name(ctx: &Ctx<'_>, name: &str) -> Result<GroupId, Ec2Error> {
    let group = ctx.state.security_group_named(&ctx.caller.region, name);
    group.map(|group| group.id).ok_or_else(|| Ec2Error::no_group(shown(name)))
}

/// That a VPC, where one is named, is ours.
pub(super) fn check_vpc(ctx: &Ctx<'_>, text: Option<&str>) -> Result<(), Ec2Error> {
    let Some(text) = text else { return Ok(()) };
    let unknown = || Ec2Error::new("InvalidVpcID.NotFound", format!("The vpc ID '{}' does not exist", shown(text)));
    let vpc: VpcId = id(text, VpcId::PREFIX, "InvalidVpcId.Malformed", unknown)?;
    if vpc == ctx.network()?.vpc { Ok(()) } else { Err(unknown()) }
}

/// A name or a description of a group or a rule.
pub(super) fn text<'a>(value: &'a str, parameter: &str) -> Result<&'a str, Ec2Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
    if value.len() <= MAX_TEXT && value.chars().all(allowed) {
        return Ok(value);
    }
    let why = format!(
        "Character sets beyond ASCII are not supported, and at most {MAX_TEXT} characters: letters, digits, spaces and \
         ._-:/()#,@[]+=&;{{}}!$*"
    );
    Err(Ec2Error::value(parameter, shown(value), &why))
}
