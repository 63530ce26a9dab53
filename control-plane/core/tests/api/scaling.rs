//! Application Auto Scaling: what is refused and shown, and that services follow their load and the clock.

use crate::fleet::{Fleet, config, healthy};
use crate::world::{FaultyStore, TestClock, World, caller, facts};
use longshore_core::{Autoscaler, CoreConfig};
use longshore_ecs_api::Operation as Op;
use longshore_ecs_api::autoscaling::ScalingOperation as Sc;
use longshore_model::{HostUsage, TaskUsage};
use longshore_store::MemoryStore;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// 2026-03-28T00:00:20Z.
const BEGIN: i64 = 1_774_656_020_000;
const PERIOD: Duration = Duration::from_secs(10);

impl World {
    async fn scaling(&self, op: Sc, request: Value) -> Result<Value, String> {
        let body = serde_json::to_vec(&request).unwrap().into();
        let answer = self.core.scaling(&caller("lab"), op, body).await;
        let answer = answer.map_err(|error| format!("{}: {}", error.code.as_str(), error.message))?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }
}

/// A request about the service `web`.
fn about(more: Value) -> Value {
    let mut request = json!({
        "ServiceNamespace": "ecs", "ResourceId": "service/default/web", "ScalableDimension": "ecs:service:DesiredCount",
    });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

fn tracking(metric: &str, target: f64, more: Value) -> Value {
    let mut configuration = json!({
        "TargetValue": target, "PredefinedMetricSpecification": {"PredefinedMetricType": metric},
        "ScaleOutCooldown": 20, "ScaleInCooldown": 20,
    });
    configuration.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    about(json!({
        "PolicyName": "p", "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": configuration,
    }))
}

fn core_config() -> CoreConfig {
    CoreConfig { scaling_period: PERIOD, ..config() }
}

/// A service of one task with bounds of 1 and 6, on two hosts, by a clock that goes with tokio's.
async fn fleet() -> Fleet {
    let world = World::with(FaultyStore::new(MemoryStore::new()), TestClock::running(BEGIN), core_config()).await;
    tokio::spawn(Autoscaler::new(world.core.clone()).run(std::future::pending()));
    world.cluster("default").await;
    let agents = vec![world.host("default", facts(2048, 2048)).await, world.host("default", facts(2048, 2048)).await];
    world.definition("web", json!({})).await;
    world.ok(Op::CreateService, json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1})).await;
    world.scaling(Sc::RegisterScalableTarget, about(json!({"MinCapacity": 1, "MaxCapacity": 6}))).await.unwrap();
    Fleet { world, agents, said: BTreeMap::new() }
}

impl Fleet {
    /// Lets time go on while tasks share a load of so many CPU units (each can have 128) and use so much memory each,
    /// until the service is to have `count` tasks. Gives every count that there was.
    async fn loaded(&mut self, cpu_units: u32, memory_mib: u64, count: u64) -> Vec<u64> {
        let mut counts = vec![self.service("web").await["desiredCount"].as_u64().unwrap()];
        for _ in 0..120 {
            self.feed(cpu_units, memory_mib).await;
            let now = self.service("web").await["desiredCount"].as_u64().unwrap();
            if counts.last() != Some(&now) {
                counts.push(now);
            }
            if now == count {
                return counts;
            }
        }
        panic!("the count is not {count}: {counts:?}");
    }

    /// The same with another process of the control plane.
    async fn reopened(self) -> Self {
        let Self { world, mut agents, said } = self;
        let world = world.reopen_with(core_config()).await;
        tokio::spawn(Autoscaler::new(world.core.clone()).run(std::future::pending()));
        for agent in &mut agents {
            agent.move_to(&world.core).await;
        }
        Self { world, agents, said }
    }

    /// Suspends, or lets go on, what is said. Gives what is suspended then.
    async fn suspend(&self, what: Value) -> Value {
        let request = about(json!({"SuspendedState": what}));
        self.world.scaling(Sc::RegisterScalableTarget, request).await.unwrap();
        let shown = self.world.scaling(Sc::DescribeScalableTargets, about(json!({}))).await.unwrap();
        shown["ScalableTargets"][0]["SuspendedState"].clone()
    }

    /// Two seconds.
    async fn feed(&mut self, cpu_units: u32, memory_mib: u64) {
        // What is started and stopped is reported before the next reading.
        for _ in 0..4 {
            self.pump(healthy).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let all = u32::try_from(self.tasks().len().max(1)).unwrap();
        for agent in &self.agents {
            let running = agent.assigned().into_iter().filter(|(id, _)| self.said.contains_key(id));
            let usage = |task| TaskUsage { task, cpu_units: (cpu_units / all).min(128), memory_kib: memory_mib * 1024 };
            let tasks = running.map(|(id, _)| usage(id)).collect();
            let usage = HostUsage { cpu_units: 300, memory_mib: 700, tasks };
            self.world.core.instance_usage(agent.instance, agent.session, usage);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_follows_its_load() {
    let mut fleet = fleet().await;
    let policy = tracking("ECSServiceAverageCPUUtilization", 50.0, json!({}));
    fleet.world.scaling(Sc::PutScalingPolicy, policy).await.unwrap();
    // 256 units are four tasks at half of their 128; before, each has all that it can.
    assert_eq!(fleet.loaded(256, 10, 4).await, [1, 2, 4]);
    for _ in 0..60 {
        fleet.feed(256, 10).await;
    }
    assert_eq!(fleet.service("web").await["desiredCount"], 4, "a steady load moves nothing");
    let revision = fleet.service("web").await["deployments"][0]["id"].clone();

    // What is remembered outlives the process, and figures come anew.
    let mut fleet = fleet.reopened().await;
    assert_eq!(fleet.loaded(4000, 10, 6).await, [4, 6], "the bounds hold");
    let lowered = fleet.loaded(0, 10, 1).await;
    assert!(lowered[0] == 6 && lowered.is_sorted_by(|a, b| a > b), "{lowered:?}");
    assert_eq!(fleet.service("web").await["deployments"][0]["id"], revision, "a count needs no deployment");

    let done = fleet.world.scaling(Sc::DescribeScalingActivities, json!({"ServiceNamespace": "ecs"})).await.unwrap();
    let done = done["ScalingActivities"].as_array().unwrap();
    let descriptions: Vec<&str> = done.iter().map(|did| did["Description"].as_str().unwrap()).collect();
    let counts = [2, 4, 6].into_iter().chain(lowered.into_iter().skip(1)).rev();
    let expected: Vec<String> = counts.map(|count| format!("Setting desired count to {count}.")).collect();
    assert_eq!(descriptions, expected, "the latest first");
    assert!(done.iter().all(|did| did["StatusCode"] == "Successful"));
    let causes: Vec<&str> = done.iter().map(|did| did["Cause"].as_str().unwrap()).collect();
    assert!(causes.contains(&"policy p: CPUUtilization was 100.0 %, above 50.0 %"), "{causes:?}");

    // What is used is told of those that ask.
    let tasks = fleet.tasks();
    let ask = json!({"tasks": [tasks[0].0.to_string()], "include": ["LONGSHORE_USAGE"]});
    let shown = fleet.world.ok(Op::DescribeTasks, ask).await;
    let attachment = &shown["tasks"][0]["attachments"][0];
    assert_eq!(attachment["type"], "longshore.usage", "{shown}");
    assert_eq!(attachment["details"][1], json!({"name": "memoryKib", "value": "10240"}));
    let ask = json!({"containerInstances": [fleet.agents[0].arn], "include": ["LONGSHORE_USAGE"]});
    let shown = fleet.world.ok(Op::DescribeContainerInstances, ask).await;
    let details = &shown["containerInstances"][0]["attachments"][0]["details"];
    assert_eq!(details[0], json!({"name": "cpuUnits", "value": "300"}));

    // With the service goes what scales it.
    fleet.world.ok(Op::DeleteService, json!({"service": "web", "force": true})).await;
    for _ in 0..20 {
        fleet.feed(0, 0).await;
    }
    let left = fleet.world.scaling(Sc::DescribeScalableTargets, json!({"ServiceNamespace": "ecs"})).await.unwrap();
    assert_eq!(left["ScalableTargets"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_follows_its_memory_does_not_heed_its_cpu() {
    let mut fleet = fleet().await;
    let policy = tracking("ECSServiceAverageMemoryUtilization", 60.0, json!({}));
    fleet.world.scaling(Sc::PutScalingPolicy, policy).await.unwrap();
    // A task has 64 MiB, and here all the CPU that it can.
    for _ in 0..30 {
        fleet.feed(4000, 10).await;
    }
    assert_eq!(fleet.service("web").await["desiredCount"], 1);
    // Each new one fills its own as well.
    assert_eq!(fleet.loaded(0, 64, 6).await, [1, 2, 4, 6]);
    let lowered = fleet.loaded(4000, 10, 1).await;
    assert!(lowered[0] == 6 && lowered.is_sorted_by(|a, b| a > b), "{lowered:?}");
    let done = fleet.world.scaling(Sc::DescribeScalingActivities, about(json!({}))).await.unwrap();
    let causes: Vec<&str> =
        done["ScalingActivities"].as_array().unwrap().iter().map(|did| did["Cause"].as_str().unwrap()).collect();
    assert!(causes.contains(&"policy p: MemoryUtilization was 100.0 %, above 60.0 %"), "{causes:?}");
    assert!(causes.iter().all(|cause| cause.starts_with("policy p: MemoryUtilization was ")), "{causes:?}");
}

#[tokio::test(start_paused = true)]
async fn cool_downs_are_as_long_as_they_are_given() {
    let mut fleet = fleet().await;
    let cooldowns = json!({"ScaleOutCooldown": 90, "ScaleInCooldown": 150});
    let policy = tracking("ECSServiceAverageCPUUtilization", 50.0, cooldowns);
    fleet.world.scaling(Sc::PutScalingPolicy, policy).await.unwrap();
    assert_eq!(fleet.loaded(256, 10, 4).await, [1, 2, 4]);
    // Two tasks have this at 45 percent, and none needs more than one.
    fleet.loaded(100, 10, 2).await;
    fleet.loaded(0, 10, 1).await;
    let done = fleet.world.scaling(Sc::DescribeScalingActivities, json!({"ServiceNamespace": "ecs"})).await.unwrap();
    let at = |count: u32| {
        let said = format!("Setting desired count to {count}.");
        let mut all = done["ScalingActivities"].as_array().unwrap().iter();
        // The latest first: of a count that there was twice, that of the way down.
        let found = all.find(|did| did["Description"] == said.as_str());
        found.unwrap_or_else(|| panic!("{done:#}"))["StartTime"].as_f64().unwrap()
    };
    let first = done["ScalingActivities"].as_array().unwrap().last().unwrap()["StartTime"].as_f64().unwrap();
    let (raised, lowered) = (at(4) - first, at(1) - at(2));
    assert!((90.0..120.0).contains(&raised) && (150.0..190.0).contains(&lowered), "{raised} {lowered}: {done:#}");
}

#[tokio::test(start_paused = true)]
async fn steps_follow_an_alarm_and_what_is_suspended_rests() {
    let mut fleet = fleet().await;
    let steps = |adjustment: i32, lower: Value, upper: Value| {
        json!({"AdjustmentType": "ChangeInCapacity", "Cooldown": 10, "StepAdjustments": [
            {"MetricIntervalLowerBound": lower, "MetricIntervalUpperBound": upper, "ScalingAdjustment": adjustment}]})
    };
    for (name, steps) in [("more", steps(2, json!(0), Value::Null)), ("less", steps(-1, Value::Null, json!(0)))] {
        let policy = json!({"PolicyName": name, "PolicyType": "StepScaling", "StepScalingPolicyConfiguration": steps});
        fleet.world.scaling(Sc::PutScalingPolicy, about(policy)).await.unwrap();
    }
    // Nothing says when.
    for _ in 0..20 {
        fleet.feed(4000, 60).await;
    }
    assert_eq!(fleet.service("web").await["desiredCount"], 1);
    let target = fleet.world.scaling(Sc::DescribeScalableTargets, json!({"ServiceNamespace": "ecs"})).await.unwrap();
    let arn = target["ScalableTargets"][0]["ScalableTargetARN"].clone();
    let tags = json!({
        "longshore:alarm:more": "MemoryUtilization above 80",
        "longshore:alarm:less": "MemoryUtilization below 30 for 2",
    });
    fleet.world.scaling(Sc::TagResource, json!({"ResourceARN": arn, "Tags": tags})).await.unwrap();
    let policies = fleet.world.scaling(Sc::DescribeScalingPolicies, about(json!({}))).await.unwrap();
    assert_eq!(policies["ScalingPolicies"][1]["Alarms"][0]["AlarmName"], "MemoryUtilization above 80", "{policies}");
    // A task has 64 MiB.
    assert_eq!(fleet.loaded(0, 60, 5).await, [1, 3, 5]);
    assert_eq!(fleet.loaded(0, 5, 3).await, [5, 4, 3]);
    let suspend = json!({"SuspendedState": {"DynamicScalingInSuspended": true}});
    fleet.world.scaling(Sc::RegisterScalableTarget, about(suspend)).await.unwrap();
    for _ in 0..30 {
        fleet.feed(0, 5).await;
    }
    assert_eq!(fleet.service("web").await["desiredCount"], 3);
}

#[tokio::test(start_paused = true)]
async fn within_a_cool_down_a_larger_step_adds_what_it_is_larger_by() {
    let mut fleet = fleet().await;
    let step = |lower: u32, upper: Value, more: u32| {
        json!({"MetricIntervalLowerBound": lower,
        "MetricIntervalUpperBound": upper, "ScalingAdjustment": more})
    };
    let policy = json!({"PolicyName": "more", "PolicyType": "StepScaling", "StepScalingPolicyConfiguration": {
        "AdjustmentType": "ChangeInCapacity", "Cooldown": 600,
        "StepAdjustments": [step(0, json!(10), 1), step(10, Value::Null, 3)]}});
    fleet.world.scaling(Sc::PutScalingPolicy, about(policy)).await.unwrap();
    let tags = json!({"Tags": {"longshore:alarm:more": "MemoryUtilization above 80"}});
    fleet.world.scaling(Sc::RegisterScalableTarget, about(tags)).await.unwrap();
    // Of 64 MiB.
    assert_eq!(fleet.loaded(0, 54, 2).await, [1, 2]);
    let mut fleet = fleet.reopened().await;
    assert_eq!(fleet.loaded(0, 62, 4).await, [2, 4], "three more than there were");
    for _ in 0..30 {
        fleet.feed(0, 62).await;
    }
    assert_eq!(fleet.service("web").await["desiredCount"], 4);
}

#[tokio::test(start_paused = true)]
async fn a_registration_brings_the_count_within_its_bounds() {
    let fleet = fleet().await;
    for (bounds, count) in [
        (json!({"MinCapacity": 3, "MaxCapacity": 6}), 3),
        (json!({"MinCapacity": 1, "MaxCapacity": 2}), 2),
        // Nothing is said of bounds, and they hold.
        (json!({}), 2),
    ] {
        fleet.world.scaling(Sc::RegisterScalableTarget, about(bounds)).await.unwrap();
        assert_eq!(fleet.service("web").await["desiredCount"], count);
    }
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "desiredCount": 5})).await;
    fleet.world.scaling(Sc::RegisterScalableTarget, about(json!({}))).await.unwrap();
    assert_eq!(fleet.service("web").await["desiredCount"], 2);
    let done = fleet.world.scaling(Sc::DescribeScalingActivities, about(json!({}))).await.unwrap();
    let mut causes: Vec<&str> =
        done["ScalingActivities"].as_array().unwrap().iter().map(|did| did["Cause"].as_str().unwrap()).collect();
    causes.sort_unstable();
    let maximum = "maximum capacity was set to 2";
    assert_eq!(causes, [maximum, maximum, "minimum capacity was set to 3"]);
}

#[tokio::test(start_paused = true)]
async fn an_action_that_is_put_again_has_no_end_unless_it_is_said_again() {
    let fleet = fleet().await;
    let put = async |more: Value| {
        let mut request = about(json!({"ScheduledActionName": "a", "Schedule": "rate(1 hour)",
            "ScalableTargetAction": {"MinCapacity": 2}}));
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fleet.world.scaling(Sc::PutScheduledAction, request).await.unwrap();
        let shown = fleet.world.scaling(Sc::DescribeScheduledActions, about(json!({}))).await.unwrap();
        shown["ScheduledActions"][0].clone()
    };
    let bounded = put(json!({"StartTime": 1_800_000_000, "EndTime": 1_900_000_000})).await;
    assert!(bounded["StartTime"].is_number() && bounded["EndTime"].is_number(), "{bounded}");
    let free = put(json!({})).await;
    assert_eq!(
        (&free["StartTime"], &free["EndTime"], &free["Schedule"]),
        (&Value::Null, &Value::Null, &json!("rate(1 hour)"))
    );
}

#[tokio::test(start_paused = true)]
async fn actions_set_bounds_by_the_clock_and_the_last_that_was_missed_counts() {
    let mut fleet = fleet().await;
    let action = |name: &str, schedule: &str, bounds: Value| {
        about(json!({"ScheduledActionName": name, "Schedule": schedule, "ScalableTargetAction": bounds}))
    };
    let put = Sc::PutScheduledAction;
    let soon = action("soon", "at(2026-03-28T00:01:00)", json!({"MinCapacity": 3}));
    fleet.world.scaling(put, soon).await.unwrap();
    assert_eq!(fleet.loaded(0, 0, 3).await, [1, 3]);
    let bounds = async |world: &World| {
        let shown = world.scaling(Sc::DescribeScalableTargets, json!({"ServiceNamespace": "ecs"})).await.unwrap();
        let target = shown["ScalableTargets"][0].clone();
        (target["MinCapacity"].as_u64().unwrap(), target["MaxCapacity"].as_u64().unwrap())
    };
    assert_eq!(bounds(&fleet.world).await, (3, 6));
    let done = fleet.world.scaling(Sc::DescribeScalingActivities, about(json!({}))).await.unwrap();
    let causes: Vec<&str> =
        done["ScalingActivities"].as_array().unwrap().iter().map(|did| did["Cause"].as_str().unwrap()).collect();
    assert!(causes.contains(&"minimum capacity was set to 3"), "{causes:?}");
    assert!(causes.contains(&"scheduled action name soon was triggered"), "{causes:?}");

    // Nobody is there for two days and a bit: of both actions the last firing counts, the later of the two last.
    for (name, schedule, bounds) in [
        ("morning", "cron(0 8 * * ? *)", json!({"MinCapacity": 5, "MaxCapacity": 9})),
        ("evening", "cron(0 20 * * ? *)", json!({"MinCapacity": 0, "MaxCapacity": 2})),
    ] {
        fleet.world.scaling(put, action(name, schedule, bounds)).await.unwrap();
    }
    fleet.world.halt();
    fleet.world.clock.advance(Duration::from_secs(57 * 3600));
    let world = fleet.world.reopen_with(core_config()).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while bounds(&world).await != (5, 9) {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", bounds(&world).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let service = world.ok(Op::DescribeServices, json!({"services": ["web"]})).await["services"][0].clone();
    assert_eq!(service["desiredCount"], 5, "09:00 is after 08:00, and 20:00 was the day before");
    let gone = about(json!({"ScheduledActionName": "morning"}));
    world.scaling(Sc::DeleteScheduledAction, gone.clone()).await.unwrap();
    let again = world.scaling(Sc::DeleteScheduledAction, gone).await.unwrap_err();
    assert!(again.starts_with("ObjectNotFoundException: No scheduled action found"), "{again}");
    let asked = about(json!({"ScheduledActionNames": ["evening"]}));
    let left = world.scaling(Sc::DescribeScheduledActions, asked).await.unwrap();
    assert_eq!(left["ScheduledActions"][0]["ScalableTargetAction"], json!({"MinCapacity": 0, "MaxCapacity": 2}));
    assert_eq!(left["ScheduledActions"].as_array().unwrap().len(), 1);
}

/// The midnight before [`BEGIN`], in seconds.
const MIDNIGHT: i64 = BEGIN / 1000 - 20;

/// How many minutes after that midnight an action has fired.
async fn fired(fleet: &Fleet, action: &str) -> Vec<i64> {
    let cause = format!("scheduled action name {action} was triggered");
    let done = fleet.world.scaling(Sc::DescribeScalingActivities, about(json!({}))).await.unwrap();
    // The latest come first.
    let done = done["ScalingActivities"].as_array().unwrap().iter().rev();
    let firings = done.filter(|did| did["Cause"] == cause.as_str());
    firings.map(|did| (did["StartTime"].as_f64().unwrap() as i64 - MIDNIGHT) / 60).collect()
}

#[tokio::test(start_paused = true)]
async fn an_action_goes_by_the_clocks_of_its_time_zone() {
    let fleet = fleet().await;
    // Those of Berlin are an hour ahead of UTC, and two from the next night on.
    for (name, zone) in [("there", json!("Europe/Berlin")), ("here", Value::Null)] {
        let action = json!({"ScheduledActionName": name, "Schedule": "cron(0 4 * * ? *)", "Timezone": zone,
            "ScalableTargetAction": {"MinCapacity": 2}});
        fleet.world.scaling(Sc::PutScheduledAction, about(action)).await.unwrap();
    }
    let shown = fleet.world.scaling(Sc::DescribeScheduledActions, about(json!({}))).await.unwrap();
    let zones: Vec<_> = shown["ScheduledActions"].as_array().unwrap().iter().map(|shown| &shown["Timezone"]).collect();
    assert_eq!(zones, ["UTC", "Europe/Berlin"], "by name: {shown}");
    // To 02:50 UTC, to 03:10, and to 04:10 of the next day.
    tokio::time::sleep(Duration::from_secs(170 * 60)).await;
    assert_eq!(fleet.service("web").await["desiredCount"], 1);
    tokio::time::sleep(Duration::from_secs(20 * 60)).await;
    assert_eq!(fleet.service("web").await["desiredCount"], 2);
    assert_eq!((fired(&fleet, "there").await, fired(&fleet, "here").await), (vec![3 * 60], vec![]));
    tokio::time::sleep(Duration::from_secs(25 * 3600)).await;
    assert_eq!(fired(&fleet, "there").await, [3 * 60, 26 * 60]);
    assert_eq!(fired(&fleet, "here").await, [4 * 60, 28 * 60]);
}

#[tokio::test(start_paused = true)]
async fn an_action_that_recurs_fires_between_its_start_and_its_end() {
    let fleet = fleet().await;
    let at = |minute: i64| json!(MIDNIGHT + minute * 60);
    let every_ten = "cron(0/10 * * * ? *)";
    let actions = [
        ("always", every_ten, Value::Null, Value::Null, vec![10_i64, 20, 30, 40, 50]),
        ("ends", every_ten, Value::Null, at(35), vec![10, 20, 30]),
        ("begins", every_ten, at(35), Value::Null, vec![40, 50]),
        // A rate counts from its start.
        ("within", "rate(10 minutes)", at(15), at(40), vec![15, 25, 35]),
    ];
    for (name, schedule, start, end, _) in &actions {
        let action = json!({"ScheduledActionName": name, "Schedule": schedule, "StartTime": start, "EndTime": end,
            "ScalableTargetAction": {"MinCapacity": 2}});
        fleet.world.scaling(Sc::PutScheduledAction, about(action)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(58 * 60)).await;
    for (name, .., expected) in &actions {
        assert_eq!(fired(&fleet, name).await, *expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn raising_and_lowering_are_suspended_each_by_itself() {
    let mut fleet = fleet().await;
    let policy = tracking("ECSServiceAverageCPUUtilization", 50.0, json!({}));
    fleet.world.scaling(Sc::PutScalingPolicy, policy).await.unwrap();
    fleet.suspend(json!({"DynamicScalingOutSuspended": true})).await;
    for _ in 0..30 {
        fleet.feed(256, 10).await;
    }
    assert_eq!(fleet.service("web").await["desiredCount"], 1);
    // What is not said of it stays, and so do the bounds.
    let suspended = fleet.suspend(json!({"ScheduledScalingSuspended": true})).await;
    let expected = json!({"DynamicScalingInSuspended": false, "DynamicScalingOutSuspended": true,
        "ScheduledScalingSuspended": true});
    assert_eq!(suspended, expected);
    fleet.suspend(json!({"DynamicScalingOutSuspended": false})).await;
    assert_eq!(fleet.loaded(256, 10, 4).await, [1, 2, 4]);

    fleet.suspend(json!({"DynamicScalingInSuspended": true})).await;
    let raised = fleet.loaded(4000, 10, 6).await;
    assert!(raised[0] == 4 && raised.is_sorted(), "{raised:?}");
    for _ in 0..60 {
        fleet.feed(0, 10).await;
    }
    assert_eq!(fleet.service("web").await["desiredCount"], 6);
    fleet.suspend(json!({"DynamicScalingInSuspended": false, "DynamicScalingOutSuspended": true})).await;
    let lowered = fleet.loaded(0, 10, 1).await;
    assert!(lowered[0] == 6 && lowered.is_sorted_by(|a, b| a > b), "{lowered:?}");
}

#[tokio::test(start_paused = true)]
async fn actions_that_are_due_while_they_are_suspended_do_nothing_then_or_later() {
    let mut fleet = fleet().await;
    let request = json!({"serviceName": "other", "taskDefinition": "web", "desiredCount": 1});
    fleet.world.ok(Op::CreateService, request).await;
    let other = json!({"ResourceId": "service/default/other", "MinCapacity": 1, "MaxCapacity": 6});
    fleet.world.scaling(Sc::RegisterScalableTarget, about(other)).await.unwrap();
    for (service, name, schedule, least) in [
        ("web", "once", "at(2026-03-28T00:01:00)", 5),
        ("web", "often", "cron(* * * * ? *)", 3),
        ("other", "once", "at(2026-03-28T00:01:00)", 2),
    ] {
        let action = about(json!({"ResourceId": format!("service/default/{service}"), "ScheduledActionName": name,
            "Schedule": schedule, "ScalableTargetAction": {"MinCapacity": least}}));
        fleet.world.scaling(Sc::PutScheduledAction, action).await.unwrap();
    }
    let suspended = fleet.suspend(json!({"ScheduledScalingSuspended": true})).await;
    let expected = json!({"DynamicScalingInSuspended": false, "DynamicScalingOutSuspended": false,
        "ScheduledScalingSuspended": true});
    assert_eq!(suspended, expected);

    // Those of the other service fire at the same time.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
    while fleet.service("other").await["desiredCount"] != 2 {
        assert!(tokio::time::Instant::now() < deadline, "nothing has fired");
        fleet.feed(0, 0).await;
    }
    fleet.feed(0, 0).await;
    assert_eq!(fleet.service("web").await["desiredCount"], 1);
    let shown = fleet.world.scaling(Sc::DescribeScalableTargets, about(json!({}))).await.unwrap();
    let target = &shown["ScalableTargets"][0];
    assert_eq!((&target["MinCapacity"], &target["MaxCapacity"]), (&json!(1), &json!(6)));
    let done = fleet.world.scaling(Sc::DescribeScalingActivities, about(json!({}))).await.unwrap();
    assert_eq!(done["ScalingActivities"], json!([]));
    let actions = fleet.world.scaling(Sc::DescribeScheduledActions, about(json!({}))).await.unwrap();
    assert_eq!(actions["ScheduledActions"].as_array().unwrap().len(), 2, "{actions}");

    // The one that recurs works from its next time on; the other one's time is over.
    fleet.suspend(json!({"ScheduledScalingSuspended": false})).await;
    assert_eq!(fleet.loaded(0, 0, 3).await, [1, 3]);
    for _ in 0..35 {
        fleet.feed(0, 0).await;
    }
    assert_eq!(fleet.service("web").await["desiredCount"], 3);
    let done = fleet.world.scaling(Sc::DescribeScalingActivities, about(json!({}))).await.unwrap();
    let causes: BTreeSet<&str> =
        done["ScalingActivities"].as_array().unwrap().iter().map(|did| did["Cause"].as_str().unwrap()).collect();
    assert_eq!(causes, ["minimum capacity was set to 3", "scheduled action name often was triggered"].into());
}

#[tokio::test]
async fn bad_input_is_refused_in_the_services_words_and_changes_nothing() {
    let world = World::new().await;
    world.cluster("default").await;
    world.definition("web", json!({})).await;
    let register = |more: Value| {
        let mut request = about(json!({"MinCapacity": 1, "MaxCapacity": 4}));
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let refused = async |op: Sc, request: Value, code: &str, part: &str| {
        let error = world.scaling(op, request.clone()).await.expect_err(&request.to_string());
        assert!(error.starts_with(&format!("{code}: ")) && error.contains(part), "{request}: {error}");
    };
    let invalid = "ValidationException";
    refused(Sc::RegisterScalableTarget, register(json!({})), invalid, "ECS service doesn't exist: service/default/web")
        .await;
    let daemon = json!({"serviceName": "each", "taskDefinition": "web", "schedulingStrategy": "DAEMON"});
    world.ok(Op::CreateService, daemon).await;
    world.ok(Op::CreateService, json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 2})).await;
    for (more, part) in [
        (json!({"ServiceNamespace": null}), "Value null at 'serviceNamespace'"),
        (json!({"ServiceNamespace": "moon"}), "Value 'moon' at 'serviceNamespace'"),
        (json!({"ServiceNamespace": "dynamodb"}), "Unsupported service namespace"),
        (json!({"ScalableDimension": "ec2:spot-fleet-request:TargetCapacity"}), "Unsupported service namespace"),
        (json!({"ResourceId": "web"}), "service/CLUSTER/NAME"),
        (json!({"ResourceId": "service/default/each"}), "doesn't have a desired count"),
        (json!({"MinCapacity": 5}), "Minimum capacity cannot be greater"),
        (json!({"MinCapacity": -1}), "minCapacity must be between 0"),
        (json!({"MaxCapacity": 5001}), "maxCapacity must be between 0"),
        (json!({"MaxCapacity": null}), "required for a new scalable target"),
        (json!({"Tags": {"longshore:alarm:x": "often"}}), "CPUUtilization above 70 for 2"),
        (json!({"Tags": {"aws:x": "y"}}), "reserved"),
    ] {
        refused(Sc::RegisterScalableTarget, register(more), invalid, part).await;
    }
    let none = "ObjectNotFoundException";
    let good = tracking("ECSServiceAverageCPUUtilization", 50.0, json!({}));
    refused(Sc::PutScalingPolicy, good.clone(), none, "No scalable target registered for service namespace: ecs").await;
    refused(Sc::DeregisterScalableTarget, about(json!({})), none, "No scalable target found").await;
    let shown = world.scaling(Sc::DescribeScalableTargets, json!({"ServiceNamespace": "ecs"})).await.unwrap();
    assert_eq!(shown, json!({"ScalableTargets": []}));

    let arn = world.scaling(Sc::RegisterScalableTarget, register(json!({}))).await.unwrap();
    assert!(arn["ScalableTargetARN"].as_str().unwrap().starts_with("arn:aws:application-autoscaling:lab:"), "{arn}");
    for (metric, target, more, part) in [
        ("ALBRequestCountPerTarget", 50.0, json!({}), "ALBRequestCountPerTarget"),
        ("ECSServiceAverageCPUUtilization", 0.0, json!({}), "TargetValue"),
        ("ECSServiceAverageCPUUtilization", 5.0, json!({"ScaleInCooldown": -1}), "ScaleInCooldown"),
        (
            "ECSServiceAverageCPUUtilization",
            5.0,
            json!({"CustomizedMetricSpecification": {}}),
            "CustomizedMetricSpecification",
        ),
    ] {
        refused(Sc::PutScalingPolicy, tracking(metric, target, more), invalid, part).await;
    }
    let step = |lower: Value, upper: Value| {
        json!({"MetricIntervalLowerBound": lower,
        "MetricIntervalUpperBound": upper, "ScalingAdjustment": 1})
    };
    for (steps, part) in [
        (json!({}), "adjustmentType"),
        (json!({"AdjustmentType": "Twice"}), "Member must satisfy enum value set"),
        (json!({"AdjustmentType": "ChangeInCapacity", "StepAdjustments": []}), "1 to 20 steps"),
        (
            json!({"AdjustmentType": "ChangeInCapacity", "StepAdjustments": [step(json!(5), json!(5))]}),
            "must be less than",
        ),
        (
            json!({"AdjustmentType": "ChangeInCapacity", "StepAdjustments":
            [step(json!(0), json!(5)), step(json!(4), Value::Null)]}),
            "overlap",
        ),
        (
            json!({"AdjustmentType": "ChangeInCapacity", "StepAdjustments":
            [step(json!(0), json!(5)), step(json!(6), Value::Null)]}),
            "no gap",
        ),
        (
            json!({"AdjustmentType": "ChangeInCapacity", "MetricAggregationType": "Maximum",
            "StepAdjustments": [step(json!(0), Value::Null)]}),
            "Average",
        ),
        (
            json!({"AdjustmentType": "ExactCapacity", "MinAdjustmentMagnitude": 2,
            "StepAdjustments": [step(json!(0), Value::Null)]}),
            "PercentChangeInCapacity",
        ),
    ] {
        let request = json!({"PolicyName": "s", "PolicyType": "StepScaling", "StepScalingPolicyConfiguration": steps});
        refused(Sc::PutScalingPolicy, about(request), invalid, part).await;
    }
    for (more, part) in [
        (
            json!({"Schedule": "rate(0 minutes)", "ScalableTargetAction": {"MinCapacity": 1}}),
            "Invalid Schedule Expression",
        ),
        (json!({"Schedule": "rate(1 hour)"}), "ScalableTargetAction"),
        (
            json!({"Schedule": "rate(1 hour)", "ScalableTargetAction": {"MinCapacity": 3, "MaxCapacity": 2}}),
            "Minimum capacity",
        ),
        (
            json!({"Schedule": "rate(1 hour)", "Timezone": "Mars/Olympus", "ScalableTargetAction": {"MinCapacity": 1}}),
            "Mars/Olympus",
        ),
        (json!({"ScalableTargetAction": {"MinCapacity": 1}}), "Schedule is required"),
        (
            json!({"Schedule": "rate(1 hour)", "StartTime": 200, "EndTime": 100,
                "ScalableTargetAction": {"MinCapacity": 1}}),
            "EndTime",
        ),
    ] {
        let mut request = about(json!({"ScheduledActionName": "a"}));
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        refused(Sc::PutScheduledAction, request, invalid, part).await;
    }
    let page = json!({"ServiceNamespace": "ecs", "NextToken": "x"});
    refused(Sc::DescribeScalingPolicies, page, "InvalidNextTokenException", "nextToken").await;
    let tag = json!({"ResourceARN": "arn:aws:application-autoscaling:lab:1:scalable-target/x"});
    refused(Sc::ListTagsForResource, tag, "ResourceNotFoundException", "doesn't exist").await;
    let shown = world.scaling(Sc::DescribeScalingPolicies, json!({"ServiceNamespace": "ecs"})).await.unwrap();
    assert_eq!(shown, json!({"ScalingPolicies": []}));
    let shown = world.scaling(Sc::DescribeScheduledActions, json!({"ServiceNamespace": "ecs"})).await.unwrap();
    assert_eq!(shown, json!({"ScheduledActions": []}));

    // Pages go on where they ended.
    for name in ["a", "b", "c"] {
        let mut request = good.clone();
        request["PolicyName"] = json!(name);
        world.scaling(Sc::PutScalingPolicy, request).await.unwrap();
    }
    let (mut token, mut names) = (Value::Null, Vec::new());
    loop {
        let ask = json!({"ServiceNamespace": "ecs", "MaxResults": 1, "NextToken": token});
        let page = world.scaling(Sc::DescribeScalingPolicies, ask).await.unwrap();
        names.push(page["ScalingPolicies"][0]["PolicyName"].as_str().unwrap().to_owned());
        token = page["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    names.sort();
    assert_eq!(names, ["a", "b", "c"]);
    world.scaling(Sc::DeregisterScalableTarget, about(json!({}))).await.unwrap();
    let shown = world.scaling(Sc::DescribeScalingPolicies, json!({"ServiceNamespace": "ecs"})).await.unwrap();
    assert_eq!(shown, json!({"ScalingPolicies": []}));
    assert_eq!(world.ok(Op::DescribeServices, json!({"services": ["web"]})).await["services"][0]["desiredCount"], 2);
}
