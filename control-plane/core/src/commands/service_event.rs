//! The events of a service: which are kept, and what is not said again.

use crate::records::{Service, ServiceEvent};
use crate::services::words::{self, Said};
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
    said: Vec<Said>,
    ids: Vec<uuid::Uuid>,
    now: Timestamp,
) -> Vec<ServiceEvent> {
    let mut events: Vec<ServiceEvent> = Vec::new();
    for (Said { message, reason, concerns }, id) in said.into_iter().zip(ids) {
        if !is_news(state.events.iter().map(|event| &**event).chain(&events).rev(), &message, now) {
            continue;
        }
        let number = service.next_event;
        events.push(ServiceEvent { service: service.key.clone(), number, id, at: now, message, reason, concerns });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{Concerns, ServiceKey};
    use longshore_model::{ClusterKey, ClusterName, Region, TaskId};

    fn key() -> ServiceKey {
        let (region, name) = (Region::new("lab").expect("a region"), ClusterName::new("c").expect("a name"));
        ServiceKey { cluster: ClusterKey { region, name }, name: "web".into() }
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(0).after(Duration::from_secs(secs))
    }

    /// Whether a message says something new after these, each said at that second, the earliest first.
    fn is_new(before: &[(u64, &String)], message: &str, secs: u64) -> bool {
        let event = |(number, (secs, message)): (u64, &(u64, &String))| ServiceEvent {
            service: key(),
            number,
            id: uuid::Uuid::nil(),
            at: at(*secs),
            message: (*message).clone(),
            reason: None,
            concerns: Concerns::default(),
        };
        let events: Vec<ServiceEvent> = (0..).zip(before).map(event).collect();
        is_news(events.iter().rev(), message, at(secs))
    }

    #[test]
    fn what_goes_on_is_said_again_after_six_hours_or_once_something_moved() {
        let (failing, stuck, steady) = (words::failing(&key()), words::stuck(&key()), words::steady(&key()));
        assert!(is_new(&[], &failing, 100));
        for (secs, expected) in [(100, false), (100 + 6 * 3600 - 1, false), (100 + 6 * 3600, true)] {
            assert_eq!(is_new(&[(100, &failing)], &failing, secs), expected, "{secs}");
        }
        // Something else in between neither delays it nor brings it forward.
        assert!(is_new(&[(100, &failing)], &stuck, 101));
        assert!(!is_new(&[(100, &failing), (200, &stuck)], &failing, 6 * 3600));
        assert!(is_new(&[(100, &failing), (200, &stuck)], &failing, 100 + 6 * 3600));
        assert!(is_new(&[(100, &failing), (200, &steady)], &failing, 201));
    }

    #[test]
    fn a_steady_state_is_said_once_until_something_moves() {
        let day = 24 * 3600;
        let (steady, failing) = (words::steady(&key()), words::failing(&key()));
        let completed = words::deployment_completed(&key(), "ecs-svc/1");
        let started = words::started(&key(), &[TaskId::random()]).expect("there is one");
        assert!(is_new(&[], &steady, 1));
        for (after, expected) in [(&completed, false), (&failing, false), (&started, true)] {
            assert_eq!(is_new(&[(1, &steady), (2, after)], &steady, 3), expected, "{after}");
            assert_eq!(is_new(&[(1, &steady), (2, after)], &steady, day), expected, "{after}");
        }
        assert!(!is_new(&[(1, &steady)], &steady, day));
    }
}
