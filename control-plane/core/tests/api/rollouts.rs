//! Services whose parts come at once, fail in part, or come back.

use crate::services::{Fleet, healthy, stable};
use longshore_ecs_api::Operation as Op;
use serde_json::{Value, json};

/// What the PRIMARY deployment runs.
fn primary(service: &Value) -> String {
    let definition = service["deployments"][0]["taskDefinition"].as_str().unwrap();
    definition.rsplit('/').next().unwrap().to_owned()
}

#[tokio::test]
async fn updates_at_the_same_time_all_hold() {
    for scaled_first in [false, true] {
        let mut fleet = Fleet::new(1).await;
        fleet.world.definition("one", json!({})).await;
        fleet.world.definition("two", json!({})).await;
        let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 1});
        fleet.world.ok(Op::CreateService, request).await;
        // Each of the two sees the service as it was before the other.
        let deploy = json!({"service": "web", "taskDefinition": "two", "desiredCount": 2,
            "deploymentConfiguration": {"maximumPercent": 150}});
        let scale = json!({"service": "web", "desiredCount": 5,
            "deploymentConfiguration": {"minimumHealthyPercent": 50}});
        let [first, second] = if scaled_first { [scale, deploy] } else { [deploy, scale] };
        let world = &fleet.world;
        tokio::join!(world.ok(Op::UpdateService, first), world.ok(Op::UpdateService, second));
        let service = fleet.service("web").await;
        assert_eq!(primary(&service), "two:1", "{service:#}");
        let desired = if scaled_first { 2 } else { 5 };
        assert_eq!(service["desiredCount"], desired);
        let configuration = &service["deploymentConfiguration"];
        let percents = (&configuration["minimumHealthyPercent"], &configuration["maximumPercent"]);
        assert_eq!(percents, (&json!(50), &json!(150)));
        fleet.until("it is stable", healthy, stable(desired)).await;
    }
}
