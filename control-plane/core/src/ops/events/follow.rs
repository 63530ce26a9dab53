//! FollowEvents, ours: events as they happen, by asking again and again.
//!
//! A cursor names this run of the control plane and an event's number. One of another run tells that there may be a
//! gap.

use super::invalid;
use super::rules::read_pattern;
use crate::ops::Ctx;
use longshore_ecs_api::ApiError;
use longshore_ecs_api::events::{FollowEventsRequest, FollowEventsResponse};
use std::time::Duration;

/// The longest wait of one request: less than what the process waits for requests when it ends.
const MAX_WAIT_SECS: i32 = 5;

pub(super) async fn follow(ctx: Ctx<'_>, request: FollowEventsRequest) -> Result<FollowEventsResponse, ApiError> {
    let wait = request.wait_seconds.unwrap_or(MAX_WAIT_SECS);
    if !(0..=MAX_WAIT_SECS).contains(&wait) {
        return Err(invalid("WaitSeconds must be from 0 to 5."));
    }
    let pattern = request.event_pattern.filter(|text| !text.is_empty());
    let pattern = pattern.as_deref().map(read_pattern).transpose()?;
    let inner = ctx.core.inner();
    let (process, feed) = (inner.process, &inner.feed);
    let Some(cursor) = request.cursor.filter(|text| !text.is_empty()) else {
        let cursor = Some(format!("{process}/{}", feed.begin()));
        return Ok(FollowEventsResponse { events: Some(Vec::new()), cursor, missed: Some(false) });
    };
    let (run, number) = cursor.split_once('/').ok_or_else(|| invalid("Cursor is not one of FollowEvents."))?;
    let number: u64 = number.parse().map_err(|_| invalid("Cursor is not one of FollowEvents."))?;
    if run != process.to_string() {
        let cursor = Some(format!("{process}/{}", feed.begin()));
        return Ok(FollowEventsResponse { events: Some(Vec::new()), cursor, missed: Some(true) });
    }
    let wait = Duration::from_secs(wait.unsigned_abs().into());
    let page = feed.after(number, &ctx.caller.region, pattern.as_ref(), wait).await;
    Ok(FollowEventsResponse {
        events: Some(page.events.iter().map(|told| told.body.to_string()).collect()),
        cursor: Some(format!("{process}/{}", page.last)),
        missed: Some(page.missed),
    })
}
