//! The events of a service: which are kept, and what is not said again.

use crate::records::{Service, ServiceEvent};
use crate::services::words;
use crate::state::ServiceState;
use longshore_model::Timestamp;
use std::time::Duration;

/// Events of a service that are kept (ECS).
pub(super) const MAX_EVENTS: usize = 100;
/// How long an event that says nothing new is not said again (ECS).
const REPEAT_AFTER: Duration = Duration::from_secs(6 * 3600);

/// The events to add, without those that say nothing new.
pub(super) fn new_events(
    state: &ServiceState,
    service: &mut Service,
    said: Vec<String>,
    ids: Vec<uuid::Uuid>,
    now: Timestamp,
) -> Vec<ServiceEvent> {
    let mut events: Vec<ServiceEvent> = Vec::new();
    for (message, id) in said.into_iter().zip(ids) {
        if !is_news(state.events.iter().map(|event| &**event).chain(&events).rev(), &message, now) {
            continue;
        }
        events.push(ServiceEvent { service: service.key.clone(), number: service.next_event, id, at: now, message });
        service.next_event += 1;
    }
    events
}

/// Whether an event would say something new after others, of which the latest comes first: something that moved is not
/// said again before something else moved, and anything else not before that or six hours. That a deployment completed
/// moves nothing that is steady.
pub(crate) fn is_news<'a>(mut latest: impl Iterator<Item = &'a ServiceEvent>, message: &str, now: Timestamp) -> bool {
    let moved = |event: &&ServiceEvent| words::is_progress(&event.message);
    if words::is_progress(message) {
        let steady = words::is_steady(message);
        let same = |event: &&ServiceEvent| moved(event) && !(steady && words::is_completion(&event.message));
        return latest.find(same).is_none_or(|event| event.message != message);
    }
    let since = latest.take_while(|event| event.at.after(REPEAT_AFTER) > now && !moved(event));
    since.into_iter().all(|event| event.message != message)
}
