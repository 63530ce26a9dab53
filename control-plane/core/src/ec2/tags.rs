//! Tags of security groups and of their rules.

use super::filter::Filters;
use super::groups::seen;
use super::params::{Params, shown};
use super::rules::rule_id;
use super::xml::Xml;
use super::{Ctx, Ec2Error, Ec2Operation};
use crate::commands::{ChangeNetworkTags, NetworkTagged, TagsOff};
use crate::ops::check;
use crate::records::Tags;
use longshore_ecs_api::types::Tag;
use longshore_model::{GroupId, RuleId};
use std::collections::BTreeSet;

/// The tags that a request gives what it makes.
pub(super) fn specified(params: &Params<'_>, kind: &str) -> Result<Tags, Ec2Error> {
    let mut tags = Vec::new();
    for specification in params.each("TagSpecification") {
        let given = specification.need("ResourceType")?;
        if given != kind {
            let text = format!("'{}' is not a valid taggable resource type for this operation.", shown(given));
            return Err(Ec2Error::new("InvalidParameterValue", text));
        }
        tags.extend(read(&specification));
    }
    checked(tags)
}

fn read(params: &Params<'_>) -> Vec<Tag> {
    let tags = params.each("Tag").into_iter();
    let text = |text: Option<&str>| text.map(str::to_owned);
    tags.map(|tag| Tag { key: text(tag.text("Key")), value: text(tag.text("Value")) }).collect()
}

/// As ECS checks them, and without what XML cannot carry.
fn checked(tags: Vec<Tag>) -> Result<Tags, Ec2Error> {
    let texts = || tags.iter().flat_map(|tag| [&tag.key, &tag.value]).flatten();
    if texts().any(|text| text.contains(char::is_control)) {
        return Err(Ec2Error::new("InvalidParameterValue", "Tags cannot contain control characters."));
    }
    Ok(check::tags(Some(tags))?)
}

pub(super) async fn create(ctx: &Ctx<'_>, params: &Params<'_>, xml: &mut Xml) -> Result<(), Ec2Error> {
    let resources = resources(ctx, params)?;
    let put = checked(read(params))?;
    params.all_known()?;
    if put.is_empty() {
        return Err(Ec2Error::missing("Tag"));
    }
    change(ctx, resources, put, TagsOff::None).await?;
    xml.put_true();
    Ok(())
}

/// Without tags all of them go, but EC2's own.
pub(super) async fn delete(ctx: &Ctx<'_>, params: &Params<'_>, xml: &mut Xml) -> Result<(), Ec2Error> {
    let resources = resources(ctx, params)?;
    let mut off = Vec::new();
    for tag in params.each("Tag") {
        off.push((tag.need("Key")?.to_owned(), tag.text("Value").map(str::to_owned)));
    }
    params.all_known()?;
    let off = if off.is_empty() { TagsOff::All } else { TagsOff::These(off) };
    change(ctx, resources, Tags::new(), off).await?;
    xml.put_true();
    Ok(())
}

async fn change(ctx: &Ctx<'_>, resources: BTreeSet<NetworkTagged>, put: Tags, off: TagsOff) -> Result<(), Ec2Error> {
    ctx.core.submit(ChangeNetworkTags { region: ctx.caller.region.clone(), resources, put, off }).await
}

fn resources(ctx: &Ctx<'_>, params: &Params<'_>) -> Result<BTreeSet<NetworkTagged>, Ec2Error> {
    let ids = params.texts("ResourceId");
    if ids.is_empty() {
        return Err(Ec2Error::missing("ResourceId"));
    }
    let resource = |id: &str| {
        if id.starts_with(GroupId::PREFIX) {
            seen(ctx, id).map(NetworkTagged::Group)
        } else if id.starts_with(RuleId::PREFIX) {
            rule_id(id).map(NetworkTagged::Rule)
        } else {
            let text =
                format!("The ID '{}' is not valid: only security groups and their rules have tags here", shown(id));
            Err(Ec2Error::new("InvalidID", text))
        }
    };
    ids.into_iter().map(resource).collect()
}

const FILTERS: &[&str] = &["key", "resource-id", "resource-type", "tag:", "value"];

pub(super) fn describe(ctx: &Ctx<'_>, params: &Params<'_>, xml: &mut Xml) -> Result<(), Ec2Error> {
    let filters = Filters::read(params, FILTERS)?;
    let what = serde_json::to_string(&filters).unwrap_or_default();
    let listing = ctx.listing(Ec2Operation::DescribeTags, params, &what)?;
    params.all_known()?;
    let groups = ctx.state.security_groups().filter(|group| group.is_seen_from(&ctx.caller.region));
    let all = groups.flat_map(|group| {
        let own = group.tags.iter().map(|tag| (group.id.to_string(), "security-group", tag));
        own.chain(
            group
                .rules
                .iter()
                .flat_map(|(id, rule)| rule.tags.iter().map(|tag| (id.to_string(), "security-group-rule", tag))),
        )
    });
    let mut tags: Vec<_> = all
        .filter(|(id, kind, (key, value))| {
            let tag = Tags::from([((*key).clone(), (*value).clone())]);
            filters.want(Some(&tag), |name| match name {
                "key" => vec![(*key).clone()],
                "value" => vec![(*value).clone()],
                "resource-id" => vec![id.clone()],
                "resource-type" => vec![(*kind).to_owned()],
                _ => Vec::new(),
            })
        })
        .collect();
    tags.sort();
    let cursor = |(id, _, (key, _)): &(String, &str, (&String, &String))| format!("{id} {key}");
    let after = listing.after.clone();
    let rest = tags.into_iter().filter(|tag| after.as_ref().is_none_or(|after| cursor(tag) > *after));
    let (page, next) = listing.page(rest, cursor);
    xml.list("tagSet", page, |xml, (id, kind, (key, value))| {
        xml.put("resourceId", id);
        xml.put("resourceType", kind);
        xml.put("key", key);
        xml.put("value", value);
    });
    xml.put_some("nextToken", next);
    Ok(())
}
