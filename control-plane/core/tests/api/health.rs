//! When tasks without health checks count as healthy, whatever is done to clocks.

use crate::fleet::{Fleet, config, healthy, stable};
use longshore_core::CoreConfig;
use longshore_ecs_api::Operation as Op;
use longshore_model::{HealthStatus, TaskStatus};
use serde_json::json;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn slow() -> CoreConfig {
    CoreConfig { healthy_after: 40 * SECOND, ..config() }
}

impl Fleet {
    /// Has the service `web` run another definition, until its new tasks run beside the old ones.
    async fn replace(&mut self, definition: &str) {
        let request = json!({"service": "web", "taskDefinition": definition});
        self.world.ok(Op::UpdateService, request).await;
        self.until("old and new ones run", healthy, |service| service["runningCount"] == 4).await;
    }

    /// Another process of the control plane goes on.
    async fn restart(mut self) -> Self {
        self.world = self.world.reopen_with(slow()).await;
        for agent in &mut self.agents {
            agent.move_to(&self.world.core).await;
        }
        self
    }
}

#[tokio::test(start_paused = true)]
async fn how_long_a_task_runs_is_told_by_no_clock_that_is_set() {
    let mut fleet = Fleet::with(2, slow()).await;
    let all = [0, 1];
    for family in ["one", "two"] {
        fleet.world.definition(family, json!({"memory": 8, "cpu": 8})).await;
    }
    let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 2});
    fleet.world.ok(Op::CreateService, request).await;
    fleet.until("both run", healthy, |service| service["runningCount"] == 2).await;
    fleet.pass(41 * SECOND, &all).await;
    fleet.until("it is stable", healthy, stable(2)).await;

    fleet.replace("two").await;
    fleet.world.clock.set_ahead(3600 * SECOND);
    fleet.pass(5 * SECOND, &all).await;
    assert_eq!(fleet.tasks().len(), 4, "nothing has run for an hour");
    fleet.world.clock.set_back(7200 * SECOND);
    fleet.pass(5 * SECOND, &all).await;
    assert_eq!(fleet.tasks().len(), 4, "what begins in the future has not run for long");
    // Another process counts on.
    fleet = fleet.restart().await;
    fleet.pass(25 * SECOND, &all).await;
    assert_eq!(fleet.tasks().len(), 4);
    fleet.pass(10 * SECOND, &all).await;
    fleet.until("the new ones took over", healthy, stable(2)).await;

    // After a boot nobody knows what was done to the clock, and it is counted anew.
    fleet.replace("one").await;
    fleet.pass(20 * SECOND, &all).await;
    fleet.world.clock.boot_again();
    fleet = fleet.restart().await;
    fleet.pass(35 * SECOND, &all).await;
    assert_eq!(fleet.tasks().len(), 4);
    fleet.pass(10 * SECOND, &all).await;
    fleet.until("the new ones took over again", healthy, stable(2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_boot_keeps_no_daemon_that_is_ill() {
    let mut fleet = Fleet::with(1, slow()).await;
    fleet.world.definition("one", json!({"memory": 8, "cpu": 8})).await;
    // Of one host the minimum is one task.
    let request = json!({"serviceName": "web", "taskDefinition": "one", "schedulingStrategy": "DAEMON",
        "deploymentConfiguration": {"minimumHealthyPercent": 50, "maximumPercent": 100}});
    fleet.world.ok(Op::CreateService, request).await;
    fleet.until("it runs", healthy, |service| service["runningCount"] == 1).await;
    let (first, ..) = fleet.tasks().remove(0);
    fleet.world.clock.boot_again();
    fleet = fleet.restart().await;
    let mut ill = fleet.agents[0].report(first, TaskStatus::Running);
    (ill.containers[0].has_check, ill.containers[0].health) = (true, HealthStatus::Unhealthy);
    fleet.agents[0].say(vec![ill]).await;
    fleet.pass(5 * SECOND, &[0]).await;
    let replaced = |service: &serde_json::Value| service["runningCount"] == 1 && service["pendingCount"] == 0;
    fleet.until("another one runs", healthy, replaced).await;
    let tasks = fleet.tasks();
    assert!(tasks.len() == 1 && tasks[0].0 != first, "{tasks:?}");
}
