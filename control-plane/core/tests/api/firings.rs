//! Firings of schedules that are held up by a clock that is set.

use crate::schedules::{HOUR, MINUTE, at, world};
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_puts_no_try_off() {
    let world = world().await;
    world.scheduled("once", &format!("at({})", at(MINUTE)), json!({})).await;
    // There is no place for its task.
    world
        .until_shown("once", |shown| shown["LongshoreInvocations"]["Waiting"][0]["Attempts"].as_i64() >= Some(2))
        .await;
    world.clock.set_back(HOUR);
    let _agent = world.host_with_room_for(1).await;
    tokio::time::sleep(6 * MINUTE).await;
    assert_eq!(world.fired("once").await.len(), 1);
    assert_eq!(world.shown("once").await["LongshoreInvocations"]["Last"]["Outcome"], "STARTED");
}
