//! What a service says of itself in DescribeServices: whom it names, how often, and how much of it is kept.

use crate::fleet::{Fleet, config, healthy, messages, stable};
use longshore_ecs_api::Operation as Op;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const STEADY: &str = "(service web) has reached a steady state.";

#[tokio::test]
async fn tasks_that_start_at_once_are_named_in_one_event() {
    let mut fleet = Fleet::new(2).await;
    fleet.world.definition("one", json!({})).await;
    fleet.world.ok(Op::CreateService, json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 3})).await;
    let service = fleet.until("it is stable", healthy, stable(3)).await;
    let said = messages(&service);
    let started: Vec<&String> = said.iter().filter(|message| message.contains(" has started ")).collect();
    assert_eq!(started.len(), 1, "{said:#?}");
    let named = started[0].strip_prefix("(service web) has started 3 tasks: ").and_then(|rest| rest.strip_suffix('.'));
    let named = named.unwrap_or_else(|| panic!("{}", started[0]));
    let named: BTreeSet<String> = named.split_inclusive(')').map(|name| name.trim_start().to_owned()).collect();
    let tasks: BTreeSet<String> = fleet.tasks().iter().map(|(id, ..)| format!("(task {id})")).collect();
    assert_eq!(named, tasks);
}

#[tokio::test(start_paused = true)]
async fn what_still_has_no_place_is_said_again_after_six_hours_and_a_steady_state_is_not() {
    let mut fleet = Fleet::new(0).await;
    fleet.world.definition("one", json!({})).await;
    fleet.world.ok(Op::CreateService, json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 1})).await;
    let count = |service: &Value, end: &str| messages(service).iter().filter(|said| said.ends_with(end)).count();
    let no_place = "Reason: No Container Instances were found in your cluster. For more information, see the \
                    Troubleshooting section of the Amazon ECS Developer Guide.";
    fleet.until("it is said", healthy, |service| count(service, no_place) == 1).await;
    fleet.world.clock.advance(Duration::from_secs(6 * 3600 - 60));
    // Whoever looks at it meanwhile has done so.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(count(&fleet.service("web").await, no_place), 1);
    fleet.world.clock.advance(Duration::from_secs(60));
    fleet.until("it is said again", healthy, |service| count(service, no_place) == 2).await;

    fleet.world.ok(Op::UpdateService, json!({"service": "web", "desiredCount": 0})).await;
    fleet.until("it is stable", healthy, |service| count(service, STEADY) == 1).await;
    fleet.world.clock.advance(Duration::from_secs(7 * 3600));
    // A change that moves nothing has it looked at once more.
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "healthCheckGracePeriodSeconds": 1})).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(count(&fleet.service("web").await, STEADY), 1);
}

#[tokio::test]
async fn the_last_hundred_events_are_kept_also_over_a_restart() {
    let mut fleet = Fleet::new(1).await;
    fleet.world.definition("one", json!({})).await;
    fleet.world.ok(Op::CreateService, json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 0})).await;
    fleet.until("it is stable", healthy, stable(0)).await;
    // Each turn says that a task starts or stops, and then that the service is steady.
    for turn in 0..60 {
        let desired = (turn + 1) % 2;
        fleet.world.ok(Op::UpdateService, json!({"service": "web", "desiredCount": desired})).await;
        let rests = |service: &Value| service["runningCount"] == desired && messages(service)[0] == STEADY;
        fleet.until("it rests", healthy, rests).await;
    }
    let service = fleet.service("web").await;
    let events = service["events"].as_array().unwrap();
    let ids: BTreeSet<&str> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!((events.len(), ids.len()), (100, 100));
    // The newest first, and without what was said at first.
    for (nth, message) in messages(&service).iter().enumerate() {
        let expected = match nth % 4 {
            0 | 2 => STEADY,
            1 => "(service web) has stopped 1 running tasks: (task ",
            _ => "(service web) has started 1 tasks: (task ",
        };
        assert!(message.starts_with(expected), "{nth}: {message}");
    }
    fleet.world = fleet.world.reopen_with(config()).await;
    assert_eq!(fleet.service("web").await["events"], service["events"]);
}
