//! The operations of EventBridge, thin. There is one event bus in each region, `default`.

mod follow;
mod publish;
mod rules;
mod targets;
mod webhooks;

use crate::caller::Caller;
use crate::handle::Core;
use crate::ops::{Ctx, answer, check};
use crate::page::Listing;
use crate::records::{RuleKey, Tags};
use bytes::Bytes;
use longshore_ecs_api::events::{EventTag, EventsOperation};
use longshore_ecs_api::types::Tag;
use longshore_ecs_api::{ApiError, ErrorCode, parse_json};
use serde::Serialize;

/// The only event bus.
const BUS: &str = "default";

/// An answer without members.
#[derive(Serialize)]
struct Nothing {}

/// Does an operation of EventBridge.
pub(crate) async fn call(core: &Core, caller: &Caller, op: EventsOperation, body: &[u8]) -> Result<Bytes, ApiError> {
    let ctx = Ctx { core, caller, state: core.snapshot() };
    match op {
        EventsOperation::PutRule => answer(&rules::put(ctx, parse_json(body)?).await?),
        EventsOperation::DescribeRule => answer(&rules::describe(&ctx, parse_json(body)?)?),
        EventsOperation::ListRules => answer(&rules::list(&ctx, &parse_json(body)?)?),
        EventsOperation::EnableRule => answer(&rules::set_state(ctx, parse_json(body)?, true).await?),
        EventsOperation::DisableRule => answer(&rules::set_state(ctx, parse_json(body)?, false).await?),
        EventsOperation::DeleteRule => answer(&rules::delete(ctx, parse_json(body)?).await?),
        EventsOperation::TagResource => answer(&rules::tag(ctx, parse_json(body)?).await?),
        EventsOperation::UntagResource => answer(&rules::untag(ctx, parse_json(body)?).await?),
        EventsOperation::ListTagsForResource => answer(&rules::list_tags(&ctx, parse_json(body)?)?),
        EventsOperation::TestEventPattern => answer(&rules::test_pattern(parse_json(body)?)?),
        EventsOperation::PutTargets => answer(&targets::put(ctx, parse_json(body)?).await?),
        EventsOperation::RemoveTargets => answer(&targets::remove(ctx, parse_json(body)?).await?),
        EventsOperation::ListTargetsByRule => answer(&targets::list(&ctx, &parse_json(body)?)?),
        EventsOperation::ListRuleNamesByTarget => answer(&targets::rule_names(&ctx, &parse_json(body)?)?),
        EventsOperation::PutEvents => answer(&publish::put(ctx, parse_json(body)?).await?),
        EventsOperation::FollowEvents => answer(&follow::follow(ctx, parse_json(body)?).await?),
        EventsOperation::CreateConnection => answer(&webhooks::put_connection(ctx, parse_json(body)?, true).await?),
        EventsOperation::UpdateConnection => answer(&webhooks::put_connection(ctx, parse_json(body)?, false).await?),
        EventsOperation::DescribeConnection => answer(&webhooks::describe_connection(&ctx, parse_json(body)?)?),
        EventsOperation::ListConnections => answer(&webhooks::list_connections(&ctx, &parse_json(body)?)?),
        EventsOperation::DeleteConnection => answer(&webhooks::delete_connection(ctx, parse_json(body)?).await?),
        EventsOperation::CreateApiDestination => {
            answer(&webhooks::put_destination(ctx, parse_json(body)?, true).await?)
        }
        EventsOperation::UpdateApiDestination => {
            answer(&webhooks::put_destination(ctx, parse_json(body)?, false).await?)
        }
        EventsOperation::DescribeApiDestination => answer(&webhooks::describe_destination(&ctx, parse_json(body)?)?),
        EventsOperation::ListApiDestinations => answer(&webhooks::list_destinations(&ctx, &parse_json(body)?)?),
        EventsOperation::DeleteApiDestination => answer(&webhooks::delete_destination(ctx, parse_json(body)?).await?),
    }
}

fn invalid(text: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::Validation, text)
}

/// A member that must be there.
fn required(value: Option<String>, member: &str) -> Result<String, ApiError> {
    value.ok_or_else(|| {
        invalid(format!(
            "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be \
             null"
        ))
    })
}

/// A name of a rule, a target, a connection or a webhook.
fn name(value: Option<String>, member: &str) -> Result<String, ApiError> {
    let name = required(value, member)?;
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
    if !(1..=64).contains(&name.len()) || !plain {
        return Err(invalid(format!(
            "1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must have 1 to 64 \
             characters and satisfy regular expression pattern: [\\.\\-_A-Za-z0-9]+"
        )));
    }
    Ok(name)
}

/// A text that may have so many characters.
fn short(value: Option<String>, member: &str, max: usize) -> Result<Option<String>, ApiError> {
    match value {
        Some(text) if text.chars().count() > max => Err(invalid(format!(
            "1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must have length \
             less than or equal to {max}"
        ))),
        other => Ok(other.filter(|text| !text.is_empty())),
    }
}

/// What a request says that cannot be honoured here.
fn unsupported(fields: &[(&str, bool)]) -> Result<(), ApiError> {
    match fields.iter().find(|(_, given)| *given) {
        Some((field, _)) => Err(invalid(format!("{field} is not supported by this version of Longshore."))),
        None => Ok(()),
    }
}

impl Ctx<'_> {
    /// The bus that a request names must be the one that there is.
    fn bus(&self, bus: Option<&str>) -> Result<(), ApiError> {
        let arn = format!("arn:aws:events:{}:{}:event-bus/{BUS}", self.caller.region, self.core.account());
        match bus {
            None | Some(BUS) => Ok(()),
            Some(bus) if bus == arn => Ok(()),
            Some(bus) => {
                let bus: String = bus.chars().take(256).collect();
                Err(ApiError::new(ErrorCode::ResourceNotFound, format!("Event bus {bus} does not exist.")))
            }
        }
    }

    fn rule_key(&self, value: Option<String>, member: &str, bus: Option<&str>) -> Result<RuleKey, ApiError> {
        let name = name(value, member)?;
        self.bus(bus)?;
        Ok(RuleKey { region: self.caller.region.clone(), name: name.into() })
    }

    fn event_pages(
        &self,
        operation: EventsOperation,
        filter: &str,
        limit: Option<i32>,
        token: Option<&str>,
    ) -> Result<Listing<'_>, ApiError> {
        let what = format!("events {} {} {filter}", operation.name(), self.caller.region);
        let listing = Listing::new(self.core.inner().page_key(), what, (limit, 100, 100), token);
        listing.map_err(|error| invalid(error.message.replace("maxResults", "limit")))
    }
}

fn tags(list: Option<Vec<EventTag>>) -> Result<Tags, ApiError> {
    let list = list.map(|list| list.into_iter().map(|EventTag { key, value }| Tag { key, value }).collect());
    check::tags(list).map_err(|error| invalid(error.message))
}
