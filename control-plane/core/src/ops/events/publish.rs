//! PutEvents: events of users' own.

use super::invalid;
use crate::commands::PublishEvents;
use crate::events::Event;
use crate::ops::Ctx;
use longshore_ecs_api::ApiError;
use longshore_ecs_api::events::{PutEventsEntry, PutEventsRequest, PutEventsResponse, PutEventsResult};
use longshore_model::Timestamp;
use serde_json::Value;

/// EventBridge's limits.
const MAX_ENTRIES: usize = 10;
const MAX_BYTES: usize = 256 << 10;

pub(super) async fn put(ctx: Ctx<'_>, request: PutEventsRequest) -> Result<PutEventsResponse, ApiError> {
    let entries = request.entries.unwrap_or_default();
    if !(1..=MAX_ENTRIES).contains(&entries.len()) {
        return Err(invalid(
            "1 validation error detected: Value at 'entries' failed to satisfy constraint: Member must have 1 to 10 \
             items",
        ));
    }
    super::unsupported(&[("EndpointId", request.endpoint_id.is_some())])?;
    let size = |entry: &PutEventsEntry| {
        let texts = [&entry.source, &entry.detail_type, &entry.detail];
        let resources = entry.resources.iter().flatten().map(String::len).sum::<usize>();
        14 + resources + texts.iter().filter_map(|text| text.as_ref()).map(String::len).sum::<usize>()
    };
    if entries.iter().map(size).sum::<usize>() > MAX_BYTES {
        return Err(invalid("Total size of the entries in the request is over the limit."));
    }
    let now = ctx.core.inner().clock.now();
    let mut events = Vec::new();
    let mut results = Vec::new();
    for entry in entries {
        results.push(match read(&ctx, entry, now) {
            Ok(event) => {
                let event_id = Some(event.id.to_string());
                events.push(event);
                PutEventsResult { event_id, ..PutEventsResult::default() }
            }
            Err((code, text)) => PutEventsResult {
                event_id: None,
                error_code: Some(code.to_owned()),
                error_message: Some(text.to_owned()),
            },
        });
    }
    let failed = results.len() - events.len();
    if !events.is_empty() {
        ctx.submit(PublishEvents { account: ctx.core.account().clone(), events }).await?;
    }
    Ok(PutEventsResponse { failed_entry_count: i32::try_from(failed).ok(), entries: Some(results) })
}

/// The event, or EventBridge's code and words for why it is none.
fn read(ctx: &Ctx<'_>, entry: PutEventsEntry, now: Timestamp) -> Result<Event, (&'static str, &'static str)> {
    if ctx.bus(entry.event_bus_name.as_deref()).is_err() {
        return Err(("ResourceNotFoundException", "Event bus does not exist."));
    }
    let source = entry.source.filter(|text| !text.is_empty());
    let source =
        source.ok_or(("InvalidArgument", "Parameter Source is not valid. Reason: Source is a required argument."))?;
    if source.starts_with("aws.") {
        return Err(("NotAuthorizedForSourceException", "Not authorized for the source."));
    }
    let missing = ("InvalidArgument", "Parameter DetailType is not valid. Reason: DetailType is a required argument.");
    let detail_type = entry.detail_type.filter(|text| !text.is_empty()).ok_or(missing)?;
    let missing = ("InvalidArgument", "Parameter Detail is not valid. Reason: Detail is a required argument.");
    let detail = entry.detail.filter(|text| !text.is_empty()).ok_or(missing)?;
    let detail: Value = serde_json::from_str(&detail).map_err(|_| ("MalformedDetail", "Detail is malformed."))?;
    if !detail.is_object() {
        return Err(("MalformedDetail", "Detail is malformed."));
    }
    Ok(Event {
        id: uuid::Uuid::new_v4(),
        at: entry.time.map_or(now, |time| Timestamp::from_millis(time.millis())),
        region: ctx.caller.region.clone(),
        source,
        detail_type,
        resources: entry.resources.unwrap_or_default(),
        detail,
    })
}
