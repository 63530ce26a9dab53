//! The one VPC, its one subnet, and zones.

use super::filter::Filters;
use super::params::{Params, id, shown};
use super::xml::Xml;
use super::{Ctx, Ec2Error, Ec2Operation};
use longshore_model::{NetworkConfig, SubnetId};
use std::collections::BTreeSet;

/// Where hosts say which zone they are in.
const ZONE: &str = "ecs.availability-zone";
/// Addresses of a lease that tasks may not have: the first two and the last.
const NOT_FOR_TASKS: u32 = 3;

/// The filter by the IPv6 prefix.
const V6_BLOCK: &str = "ipv6-cidr-block-association.ipv6-cidr-block";

const VPC_FILTERS: &[&str] = &[
    "cidr",
    "cidr-block-association.cidr-block",
    V6_BLOCK,
    "is-default",
    "isDefault",
    "owner-id",
    "state",
    "tag-key",
    "tag:",
    "vpc-id",
];

fn v6_block(config: &NetworkConfig) -> Vec<String> {
    config.v6.iter().map(ToString::to_string).collect()
}

pub(super) fn vpcs(ctx: &Ctx<'_>, params: &Params<'_>, xml: &mut Xml) -> Result<(), Ec2Error> {
    let network = ctx.network()?;
    for text in params.texts("VpcId") {
        super::groups::check_vpc(ctx, Some(text))?;
    }
    let filters = Filters::read(params, VPC_FILTERS)?;
    ctx.listing(Ec2Operation::DescribeVpcs, params, "")?;
    params.all_known()?;
    let v4 = network.config.v4.to_string();
    let wanted = filters.want(None, |name| match name {
        V6_BLOCK => v6_block(&network.config),
        "cidr" | "cidr-block-association.cidr-block" => vec![v4.clone()],
        "is-default" | "isDefault" => vec!["true".to_owned()],
        "owner-id" => vec![ctx.core.account().to_string()],
        "state" => vec!["available".to_owned()],
        "vpc-id" => vec![network.vpc.to_string()],
        _ => Vec::new(),
    });
    xml.list("vpcSet", wanted.then_some(()), |xml, ()| {
        xml.put("vpcId", network.vpc);
        xml.put("ownerId", ctx.core.account());
        xml.put("state", "available");
        xml.put("cidrBlock", &v4);
        xml.list("cidrBlockAssociationSet", [&v4], |xml, block| {
            xml.put("associationId", format!("vpc-cidr-assoc-{}", network.vpc.digits()));
            xml.put("cidrBlock", block);
            xml.inside("cidrBlockState", |xml| xml.put("state", "associated"));
        });
        xml.list("ipv6CidrBlockAssociationSet", network.config.v6, |xml, block| {
            xml.put("associationId", format!("vpc-cidr-assoc-{}", network.vpc.digits()));
            xml.put("ipv6CidrBlock", block);
            xml.inside("ipv6CidrBlockState", |xml| xml.put("state", "associated"));
        });
        xml.put("instanceTenancy", "default");
        xml.put("isDefault", true);
        xml.tags(&crate::records::Tags::new());
    });
    Ok(())
}

const SUBNET_FILTERS: &[&str] = &[
    "availability-zone",
    "availabilityZone",
    "cidr",
    "cidr-block",
    "cidrBlock",
    "default-for-az",
    "defaultForAz",
    V6_BLOCK,
    "owner-id",
    "state",
    "subnet-id",
    "tag-key",
    "tag:",
    "vpc-id",
];

pub(super) fn subnets(ctx: &Ctx<'_>, params: &Params<'_>, xml: &mut Xml) -> Result<(), Ec2Error> {
    let network = ctx.network()?;
    for text in params.texts("SubnetId") {
        let unknown =
            || Ec2Error::new("InvalidSubnetID.NotFound", format!("The subnet ID '{}' does not exist", shown(text)));
        let found: SubnetId = id(text, SubnetId::PREFIX, "InvalidSubnetId.Malformed", unknown)?;
        if found != network.subnet {
            return Err(unknown());
        }
    }
    let filters = Filters::read(params, SUBNET_FILTERS)?;
    ctx.listing(Ec2Operation::DescribeSubnets, params, "")?;
    params.all_known()?;
    let (v4, zone) = (network.config.v4.to_string(), own_zone(ctx));
    let wanted = filters.want(None, |name| match name {
        V6_BLOCK => v6_block(&network.config),
        "availability-zone" | "availabilityZone" => vec![zone.clone()],
        "cidr" | "cidr-block" | "cidrBlock" => vec![v4.clone()],
        "default-for-az" | "defaultForAz" => vec!["true".to_owned()],
        "owner-id" => vec![ctx.core.account().to_string()],
        "state" => vec!["available".to_owned()],
        "subnet-id" => vec![network.subnet.to_string()],
        "vpc-id" => vec![network.vpc.to_string()],
        _ => Vec::new(),
    });
    let held = u32::try_from(ctx.state.interfaces_len()).unwrap_or(u32::MAX);
    let addresses = network.leases().saturating_mul(network.lease_size() - NOT_FOR_TASKS);
    xml.list("subnetSet", wanted.then_some(()), |xml, ()| {
        xml.put("subnetId", network.subnet);
        xml.put("subnetArn", ctx.arn(&format!("subnet/{}", network.subnet)));
        xml.put("state", "available");
        xml.put("vpcId", network.vpc);
        xml.put("ownerId", ctx.core.account());
        xml.put("cidrBlock", &v4);
        xml.list("ipv6CidrBlockAssociationSet", network.config.v6, |xml, block| {
            xml.put("associationId", format!("subnet-cidr-assoc-{}", network.subnet.digits()));
            xml.put("ipv6CidrBlock", block);
            xml.inside("ipv6CidrBlockState", |xml| xml.put("state", "associated"));
        });
        xml.put("assignIpv6AddressOnCreation", network.config.v6.is_some());
        xml.put("availableIpAddressCount", addresses.saturating_sub(held));
        xml.put("availabilityZone", &zone);
        xml.put("availabilityZoneId", &zone);
        xml.put("defaultForAz", true);
        xml.put("mapPublicIpOnLaunch", false);
        xml.tags(&crate::records::Tags::new());
    });
    Ok(())
}

const ZONE_FILTERS: &[&str] = &["region-name", "state", "zone-id", "zone-name", "zone-type"];

pub(super) fn zones(ctx: &Ctx<'_>, params: &Params<'_>, xml: &mut Xml) -> Result<(), Ec2Error> {
    let region = &ctx.caller.region;
    let clusters = ctx.state.clusters().filter(|cluster| cluster.record.key.region == *region);
    let hosts = clusters.flat_map(|cluster| cluster.hosts.values());
    let zone = |name: &str| name.to_owned();
    let of_hosts = hosts.filter_map(|host| host.view.offer.attributes.get(ZONE)?.value.as_deref().map(zone));
    let all: BTreeSet<String> = of_hosts.chain([own_zone(ctx)]).collect();
    let named: BTreeSet<&str> = params.texts("ZoneName").into_iter().chain(params.texts("ZoneId")).collect();
    if let Some(unknown) = named.iter().find(|name| !all.contains(**name)) {
        return Err(Ec2Error::new("InvalidParameterValue", format!("Invalid availability zone: [{}]", shown(unknown))));
    }
    let filters = Filters::read(params, ZONE_FILTERS)?;
    params.ignore(&["AllAvailabilityZones"]);
    params.all_known()?;
    let wanted = all.iter().filter(|zone| {
        let by_name = named.is_empty() || named.contains(zone.as_str());
        by_name
            && filters.want(None, |name| match name {
                "region-name" => vec![region.to_string()],
                "state" => vec!["available".to_owned()],
                "zone-id" | "zone-name" => vec![(*zone).clone()],
                "zone-type" => vec!["availability-zone".to_owned()],
                _ => Vec::new(),
            })
    });
    xml.list("availabilityZoneInfo", wanted, |xml, zone| {
        xml.put("zoneName", zone);
        xml.put("zoneId", zone);
        xml.put("zoneState", "available");
        xml.put("zoneType", "availability-zone");
        xml.put("regionName", region);
        xml.put("groupName", region);
        xml.put("networkBorderGroup", region);
        xml.put("optInStatus", "opt-in-not-required");
        xml.list("messageSet", [], |_, (): ()| {});
    });
    Ok(())
}

/// The subnet spans all hosts, wherever they are; it says so as EC2 names a region's first zone.
pub(super) fn own_zone(ctx: &Ctx<'_>) -> String {
    format!("{}a", ctx.caller.region)
}
