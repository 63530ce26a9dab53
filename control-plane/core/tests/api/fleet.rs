//! A core with hosts that do what they are told, for tests of what services do.

use crate::world::{Agent, FaultyStore, TestClock, World, facts};
use longshore_core::CoreConfig;
use longshore_ecs_api::Operation as Op;
use longshore_model::{DesiredStatus, StopCode, StopInfo, TaskStatus};
use longshore_store::MemoryStore;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What runs counts as healthy at once, and nobody is waited for: the clock of these tests stands still.
pub(crate) fn config() -> CoreConfig {
    CoreConfig { healthy_after: Duration::ZERO, return_within: Duration::ZERO, ..CoreConfig::default() }
}

/// A core with hosts whose tasks do what they are told.
pub(crate) struct Fleet {
    pub(crate) world: World,
    pub(crate) agents: Vec<Agent>,
    /// What each task was last reported as.
    pub(crate) said: BTreeMap<longshore_model::TaskId, TaskStatus>,
}

impl Fleet {
    pub(crate) async fn new(hosts: usize) -> Self {
        Self::with(hosts, config()).await
    }

    pub(crate) async fn with(hosts: usize, config: CoreConfig) -> Self {
        let store = FaultyStore::new(MemoryStore::new());
        let world = World::with(store, Arc::new(TestClock::default()), config).await;
        world.cluster("default").await;
        let mut agents = Vec::new();
        for _ in 0..hosts {
            agents.push(world.host("default", facts(2048, 2048)).await);
        }
        Self { world, agents, said: BTreeMap::new() }
    }

    /// Tasks start and stop as they are told, except that those of families for which `fails` holds never start.
    pub(crate) async fn pump(&mut self, fails: impl Fn(&str) -> bool) {
        let state = self.world.core.snapshot();
        let is_there = |agent: &&mut Agent| state.host(agent.instance).is_some_and(|host| host.record.is_connected());
        for agent in self.agents.iter_mut().filter(is_there) {
            for (id, task) in agent.assigned() {
                let now = match task.desired {
                    DesiredStatus::Running if fails(&task.spec.family) => TaskStatus::Stopped,
                    DesiredStatus::Running => TaskStatus::Running,
                    DesiredStatus::Stopped => TaskStatus::Stopped,
                };
                if self.said.get(&id) == Some(&now) {
                    continue;
                }
                let mut report = agent.report(id, now);
                if task.desired == DesiredStatus::Running && now == TaskStatus::Stopped {
                    (report.started_at, report.execution_stopped_at) = (None, None);
                    let code = Some(StopCode::TaskFailedToStart);
                    report.stop = Some(StopInfo { code, reason: "CannotPullContainerError: none".to_owned() });
                }
                agent.say(vec![report]).await;
                self.said.insert(id, now);
            }
        }
    }

    pub(crate) async fn service(&self, name: &str) -> Value {
        let answer = self.world.ok(Op::DescribeServices, json!({"services": [name]})).await;
        answer["services"][0].clone()
    }

    /// Pumps until the service satisfies `check`.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        fails: impl Fn(&str) -> bool,
        check: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            self.pump(&fails).await;
            let service = self.service("web").await;
            if check(&service) {
                return service;
            }
            assert!(tokio::time::Instant::now() < deadline, "timed out waiting until {what}: {service:#}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Those that are to run, with their families.
    pub(crate) fn tasks(&self) -> Vec<(longshore_model::TaskId, String, DesiredStatus)> {
        let of = |agent: &Agent| agent.assigned().into_iter().map(|(id, t)| (id, t.spec.family.to_string(), t.desired));
        self.agents.iter().flat_map(of).filter(|(.., desired)| *desired == DesiredStatus::Running).collect()
    }

    /// Has the controller look at the service `web` again: the clock of these tests does not wake it.
    pub(crate) async fn poke(&self) {
        let arn = self.service("web").await["serviceArn"].clone();
        let key = uuid::Uuid::new_v4().simple().to_string();
        for op in [Op::TagResource, Op::UntagResource] {
            let tags = json!([{"key": key, "value": "x"}]);
            self.world.ok(op, json!({"resourceArn": arn, "tags": tags, "tagKeys": [key]})).await;
        }
    }
}

pub(crate) fn healthy(_: &str) -> bool {
    false
}

/// The state in which waiters take a service for stable.
pub(crate) fn stable(count: usize) -> impl Fn(&Value) -> bool {
    move |service| {
        let deployments = service["deployments"].as_array().unwrap();
        deployments.len() == 1
            && service["runningCount"] == count
            && service["desiredCount"] == count
            && deployments[0]["rolloutState"] == "COMPLETED"
    }
}

pub(crate) fn messages(service: &Value) -> Vec<String> {
    let events = service["events"].as_array().unwrap();
    events.iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}
