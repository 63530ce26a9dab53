//! Services whose tasks have health checks: what becomes of ill tasks, and what counts as a failure.

use crate::fleet::{Fleet, config, healthy, messages, stable};
use crate::world::{facts, with_attribute};
use longshore_core::CoreConfig;
use longshore_ecs_api::Operation as Op;
use longshore_model::{HealthStatus, StopCode, StopInfo, TaskId, TaskStatus};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn checked() -> Value {
    json!({"memory": 8, "cpu": 8, "healthCheck": {"command": ["CMD", "true"]}})
}

/// A fleet whose agents can check health.
async fn fleet(hosts: usize, config: CoreConfig) -> Fleet {
    let mut fleet = Fleet::with(0, config).await;
    for _ in 0..hosts {
        let facts = with_attribute(facts(2048, 2048), "ecs.capability.container-health-check", None);
        let host = fleet.world.host("default", facts).await;
        fleet.agents.push(host);
    }
    fleet
}

/// What the health checks of tasks said last.
type Told = BTreeMap<TaskId, HealthStatus>;

impl Fleet {
    /// What the health checks of a task that runs say from now on.
    async fn tell(&mut self, task: TaskId, health: HealthStatus) {
        let agent = self.agents.iter_mut().find(|agent| agent.assigned().contains_key(&task)).unwrap();
        let mut report = agent.report(task, TaskStatus::Running);
        (report.containers[0].has_check, report.containers[0].health) = (true, health);
        agent.say(vec![report]).await;
    }

    /// Tasks start and stop as they are told, and what runs is as healthy as its family, until `check` holds.
    async fn tend(
        &mut self,
        what: &str,
        told: &mut Told,
        health: impl Fn(&str) -> HealthStatus,
        check: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = tokio::time::Instant::now() + 20 * SECOND;
        loop {
            self.pump(healthy).await;
            for (id, family, _) in self.tasks() {
                let now = health(&family);
                if told.get(&id) != Some(&now) {
                    self.tell(id, now).await;
                    told.insert(id, now);
                }
            }
            let service = self.service("web").await;
            if check(&service) {
                return service;
            }
            assert!(tokio::time::Instant::now() < deadline, "timed out waiting until {what}: {service:#}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn ill_tasks_are_replaced_and_count_as_failures_until_the_breaker_opens() {
    let mut fleet = fleet(2, config()).await;
    for family in ["good", "bad"] {
        fleet.world.definition(family, checked()).await;
    }
    let breaker = json!({"enable": true, "rollback": true, "thresholdConfiguration": {"type": "COUNT", "value": 2}});
    let request = json!({"serviceName": "web", "taskDefinition": "good", "desiredCount": 2,
        "deploymentConfiguration": {"deploymentCircuitBreaker": breaker}});
    fleet.world.ok(Op::CreateService, request).await;
    let mut told = Told::new();
    let health = |family: &str| if family == "bad" { HealthStatus::Unhealthy } else { HealthStatus::Healthy };
    fleet.tend("it is stable", &mut told, health, stable(2)).await;

    // One that was healthy.
    let (ill, ..) = fleet.tasks()[0];
    fleet.tell(ill, HealthStatus::Unhealthy).await;
    let once = |service: &Value| stable(2)(service) && service["deployments"][0]["failedTasks"] == 1;
    let service = fleet.tend("it is replaced", &mut told, health, once).await;
    assert!(fleet.tasks().iter().all(|(id, ..)| *id != ill), "{:?}", fleet.tasks());
    assert!(messages(&service).contains(&format!("(service web) has stopped 1 running tasks: (task {ill}).")));
    let ended = fleet.world.task(ill).await;
    assert_eq!(ended["stopCode"], "ServiceSchedulerInitiated");
    assert_eq!(ended["stoppedReason"], "Task failed container health checks");

    // A revision that never is.
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "taskDefinition": "bad"})).await;
    let failed = fleet.service("web").await["deployments"][0]["id"].clone();
    let back = |service: &Value| {
        stable(2)(service) && service["taskDefinition"].as_str().is_some_and(|name| name.ends_with("good:1"))
    };
    let service = fleet.tend("the good one is back", &mut told, health, back).await;
    let said =
        format!("(service web) (deployment {}) deployment failed: tasks failed to start.", failed.as_str().unwrap());
    assert!(messages(&service).contains(&said), "{service:#}");
    let listed = fleet.world.ok(Op::ListServiceDeployments, json!({"service": "web"})).await;
    assert_eq!(listed["serviceDeployments"][0]["status"], "ROLLBACK_SUCCESSFUL", "{listed:#}");
    assert!(fleet.tasks().iter().all(|(_, family, _)| family == "good"), "{:?}", fleet.tasks());
}

#[tokio::test(start_paused = true)]
async fn an_ill_task_is_kept_within_its_grace_period_and_replaced_after_it() {
    for controller in ["ECS", "EXTERNAL"] {
        let mut fleet = fleet(1, config()).await;
        fleet.world.definition("one", checked()).await;
        let mut request = json!({"serviceName": "web", "desiredCount": 1, "healthCheckGracePeriodSeconds": 60,
            "deploymentController": {"type": controller}});
        if controller == "ECS" {
            request["taskDefinition"] = json!("one");
        }
        fleet.world.ok(Op::CreateService, request).await;
        if controller == "EXTERNAL" {
            let set = json!({"cluster": "default", "service": "web", "taskDefinition": "one", "scale": {"value": 100}});
            fleet.world.ok(Op::CreateTaskSet, set).await;
        }
        fleet.until("it runs", healthy, |service| service["runningCount"] == 1).await;
        let (ill, ..) = fleet.tasks()[0];
        fleet.tell(ill, HealthStatus::Unhealthy).await;
        fleet.pass(50 * SECOND, &[0]).await;
        let kept: Vec<TaskId> = fleet.tasks().iter().map(|(id, ..)| *id).collect();
        assert_eq!(kept, [ill], "{controller}");
        fleet.pass(15 * SECOND, &[0]).await;
        // It goes once another one is healthy.
        let new = fleet.tasks().into_iter().map(|(id, ..)| id).find(|id| *id != ill);
        let new = new.unwrap_or_else(|| panic!("{controller}: nothing takes its place"));
        fleet.pump(healthy).await;
        fleet.tell(new, HealthStatus::Healthy).await;
        fleet.until("it is replaced", healthy, |service| service["runningCount"] == 1).await;
        let left: Vec<TaskId> = fleet.tasks().iter().map(|(id, ..)| *id).collect();
        assert_eq!(left, [new], "{controller}");
    }
}

#[tokio::test]
async fn a_task_with_health_checks_that_ends_before_it_was_healthy_has_failed_however_long_it_ran() {
    use HealthStatus::{Healthy, Unhealthy, Unknown};
    for (health, failures) in [(Some(Unknown), 1), (Some(Unhealthy), 1), (Some(Healthy), 0), (None, 0)] {
        let mut fleet = fleet(1, CoreConfig { healthy_after: 40 * SECOND, ..config() }).await;
        let definition = if health.is_some() { checked() } else { json!({}) };
        fleet.world.definition("one", definition).await;
        let breaker = json!({"enable": true, "rollback": false,
            "thresholdConfiguration": {"type": "COUNT", "value": 1}});
        let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 1,
            "healthCheckGracePeriodSeconds": 300,
            "deploymentConfiguration": {"deploymentCircuitBreaker": breaker}});
        fleet.world.ok(Op::CreateService, request).await;
        fleet.until("it runs", healthy, |service| service["runningCount"] == 1).await;
        let (first, ..) = fleet.tasks()[0];
        if let Some(health) = health {
            fleet.tell(first, health).await;
        }
        let agent = &mut fleet.agents[0];
        let mut ends = agent.report(first, TaskStatus::Stopped);
        ends.execution_stopped_at = ends.started_at.map(|at| at.after(50 * SECOND));
        let code = Some(StopCode::EssentialContainerExited);
        ends.stop = Some(StopInfo { code, reason: "Essential container in task exited".to_owned() });
        ends.containers[0].has_check = health.is_some();
        agent.say(vec![ends]).await;
        fleet.said.insert(first, TaskStatus::Stopped);
        let after = |service: &Value| match failures {
            0 => service["runningCount"] == 1,
            _ => service["deployments"][0]["rolloutState"] == "FAILED",
        };
        let service = fleet.until("it has gone on", healthy, after).await;
        assert_eq!(service["deployments"][0]["failedTasks"], failures, "{health:?}: {service:#}");
        assert_eq!(fleet.tasks().len(), 1 - failures, "{health:?}");
    }
}
