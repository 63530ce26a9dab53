//! Interfaces of tasks.

use super::describe::own_zone;
use super::filter::Filters;
use super::params::{Params, id, shown};
use super::xml::Xml;
use super::{Ctx, Ec2Error, Ec2Operation};
use crate::records::{Network, Task};
use crate::show::arn_in;
use longshore_model::arn::Resource;
use longshore_model::{AwsvpcSpec, EniId, EniReport};
use std::collections::BTreeSet;

const FILTERS: &[&str] = &[
    "addresses.private-ip-address",
    "attachment.attachment-id",
    "attachment.instance-id",
    "attachment.status",
    "availability-zone",
    "description",
    "group-id",
    "group-name",
    "interface-type",
    "ipv6-addresses.ipv6-address",
    "mac-address",
    "network-interface-id",
    "owner-id",
    "private-dns-name",
    "private-ip-address",
    "status",
    "subnet-id",
    "tag-key",
    "tag:",
    "vpc-id",
];

/// An interface with the task that it is of.
struct Interface<'a> {
    task: &'a Task,
    spec: &'a AwsvpcSpec,
    eni: &'a EniReport,
    description: String,
}

pub(super) fn describe(ctx: &Ctx<'_>, params: &Params<'_>, xml: &mut Xml) -> Result<(), Ec2Error> {
    let network = ctx.network()?;
    let all = |first: EniId| {
        let interfaces = ctx.state.interfaces_from(first).filter(|(_, task)| task.cluster.region == ctx.caller.region);
        interfaces.filter_map(|(_, task)| Interface::of(ctx, task))
    };
    let mut wanted = BTreeSet::new();
    for text in params.texts("NetworkInterfaceId") {
        let unknown = || {
            let text = format!("The networkInterface ID '{}' does not exist", shown(text));
            Ec2Error::new("InvalidNetworkInterfaceID.NotFound", text)
        };
        let eni: EniId = id(text, EniId::PREFIX, "InvalidNetworkInterfaceId.Malformed", unknown)?;
        if all(eni).next().is_none_or(|interface| interface.eni.id != eni) {
            return Err(unknown());
        }
        wanted.insert(eni);
    }
    let filters = Filters::read(params, FILTERS)?;
    let what = serde_json::to_string(&(&wanted, &filters)).unwrap_or_default();
    let listing = ctx.listing(Ec2Operation::DescribeNetworkInterfaces, params, &what)?;
    params.ignore(&["IncludeManagedResources"]);
    params.all_known()?;
    let after: Option<EniId> = listing.after.as_ref().and_then(|cursor| cursor.parse().ok());
    let first = after.unwrap_or_else(|| format!("eni-{:017}", 0).parse().expect("the lowest id"));
    let interfaces = all(first).filter(|interface| {
        Some(interface.eni.id) != after
            && (wanted.is_empty() || wanted.contains(&interface.eni.id))
            && filters.want(Some(&interface.task.tags), |name| interface.values(ctx, network, name))
    });
    let (page, next) = listing.page(interfaces, |interface| interface.eni.id.to_string());
    xml.list("networkInterfaceSet", page, |xml, interface| interface.show(ctx, network, xml));
    xml.put_some("nextToken", next);
    Ok(())
}

impl<'a> Interface<'a> {
    fn of(ctx: &Ctx<'_>, task: &'a Task) -> Option<Self> {
        let (spec, eni) = (task.awsvpc.as_deref()?, task.eni.as_deref()?);
        let attachment = Resource::Other(format!("attachment/{}", spec.attachment_id));
        // As ECS describes its own.
        let description = arn_in(ctx.core.account(), &task.cluster, attachment);
        Some(Self { task, spec, eni, description })
    }

    fn groups(&self, ctx: &Ctx<'_>) -> Vec<(String, String)> {
        let name = |id| ctx.state.security_group(id).map(|group| group.name.clone()).unwrap_or_default();
        self.spec.groups.iter().map(|id| (id.to_string(), name(*id))).collect()
    }

    fn values(&self, ctx: &Ctx<'_>, network: &Network, name: &str) -> Vec<String> {
        let eni = self.eni;
        match name {
            "addresses.private-ip-address" | "private-ip-address" => vec![eni.ipv4.to_string()],
            "attachment.attachment-id" => vec![self.spec.attachment_id.clone()],
            "attachment.instance-id" => vec![self.task.instance.to_string()],
            "attachment.status" => vec!["attached".to_owned()],
            "availability-zone" => vec![own_zone(ctx)],
            "description" => vec![self.description.clone()],
            "group-id" => self.groups(ctx).into_iter().map(|(id, _)| id).collect(),
            "group-name" => self.groups(ctx).into_iter().map(|(_, name)| name).collect(),
            "interface-type" => vec!["interface".to_owned()],
            "ipv6-addresses.ipv6-address" => eni.ipv6.iter().map(ToString::to_string).collect(),
            "mac-address" => vec![eni.mac.to_string()],
            "network-interface-id" => vec![eni.id.to_string()],
            "owner-id" => vec![ctx.core.account().to_string()],
            "private-dns-name" => vec![eni.host_name()],
            "status" => vec!["in-use".to_owned()],
            "subnet-id" => vec![self.spec.subnet.to_string()],
            "vpc-id" => vec![network.vpc.to_string()],
            _ => Vec::new(),
        }
    }

    fn show(&self, ctx: &Ctx<'_>, network: &Network, xml: &mut Xml) {
        let (eni, account) = (self.eni, ctx.core.account());
        xml.put("networkInterfaceId", eni.id);
        xml.put("subnetId", self.spec.subnet);
        xml.put("vpcId", network.vpc);
        xml.put("availabilityZone", own_zone(ctx));
        xml.put("description", &self.description);
        xml.put("ownerId", account);
        xml.put("requesterManaged", true);
        xml.put("status", "in-use");
        xml.put("interfaceType", "interface");
        xml.put("macAddress", eni.mac);
        xml.put("privateIpAddress", eni.ipv4);
        xml.put("privateDnsName", eni.host_name());
        xml.put("sourceDestCheck", true);
        xml.list("groupSet", self.groups(ctx), |xml, (id, name)| {
            xml.put("groupId", id);
            xml.put("groupName", name);
        });
        xml.inside("attachment", |xml| {
            xml.put("attachmentId", &self.spec.attachment_id);
            xml.put("instanceId", self.task.instance);
            xml.put("instanceOwnerId", account);
            xml.put("deviceIndex", 0);
            xml.put("status", "attached");
            xml.put("deleteOnTermination", true);
        });
        xml.list("privateIpAddressesSet", [eni.ipv4], |xml, address| {
            xml.put("privateIpAddress", address);
            xml.put("privateDnsName", eni.host_name());
            xml.put("primary", true);
        });
        xml.list("ipv6AddressesSet", eni.ipv6, |xml, address| {
            xml.put("ipv6Address", address);
            xml.put("isPrimaryIpv6", true);
        });
        xml.put_some("ipv6Address", eni.ipv6);
        xml.tags(&self.task.tags);
    }
}
