//! Schedules: what is refused, what is shown, and that each firing happens once whatever is cut in between.

use crate::world::{Agent, FaultyStore, TestClock, World, facts};
use longshore_core::CoreConfig;
use longshore_ecs_api::Operation as Op;
use longshore_ecs_api::scheduler::SchedulerOperation as Sc;
use longshore_model::Timestamp;
use longshore_store::MemoryStore;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// 2026-03-28T00:00:20Z: clocks in Berlin go forward a day later.
pub(crate) const BEGIN: i64 = 1_774_656_020_000;
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) async fn world() -> World {
    let world =
        World::with(FaultyStore::new(MemoryStore::new()), TestClock::running(BEGIN), CoreConfig::default()).await;
    world.cluster("default").await;
    world.definition("job", json!({})).await;
    world
}

/// The target of a schedule: its task is told the time that it is for.
pub(crate) fn target(more: Value) -> Value {
    let input = json!({"containerOverrides": [{"name": "app", "command": ["<aws.scheduler.scheduled-time>"]}]});
    let mut target = json!({
        "Arn": "arn:aws:ecs:lab:123456789012:cluster/default",
        "RoleArn": "arn:aws:iam::123456789012:role/cron",
        "EcsParameters": {"TaskDefinitionArn": "arn:aws:ecs:lab:123456789012:task-definition/job"},
        "Input": input.to_string(),
    });
    target.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    target
}

fn schedule(name: &str, expression: &str, more: Value) -> Value {
    let mut request = json!({
        "Name": name, "ScheduleExpression": expression, "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": target(json!({})),
    });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

impl World {
    pub(crate) async fn scheduled(&self, name: &str, expression: &str, more: Value) -> Value {
        self.scheduler(Sc::CreateSchedule, schedule(name, expression, more)).await.unwrap()
    }

    pub(crate) async fn shown(&self, name: &str) -> Value {
        self.scheduler(Sc::GetSchedule, json!({"Name": name})).await.unwrap()
    }

    /// The times that the tasks of a schedule are for, in order, each as often as there is a task.
    pub(crate) async fn fired(&self, name: &str) -> Vec<String> {
        let mut times = Vec::new();
        for status in ["RUNNING", "STOPPED"] {
            let mut token = Value::Null;
            loop {
                let by = format!("chronos-schedule/{name}");
                let list = json!({"startedBy": by, "desiredStatus": status, "nextToken": token});
                let page = self.ok(Op::ListTasks, list).await;
                if page["taskArns"] != json!([]) {
                    let shown = self.ok(Op::DescribeTasks, json!({"tasks": page["taskArns"]})).await;
                    let time = |task: &Value| {
                        task["overrides"]["containerOverrides"][0]["command"][0].as_str().map(str::to_owned)
                    };
                    times.extend(shown["tasks"].as_array().unwrap().iter().map(|task| time(task).unwrap()));
                }
                token = page["nextToken"].clone();
                if token.is_null() {
                    break;
                }
            }
        }
        times.sort();
        times
    }

    /// Waits, as long as a schedule takes to be so.
    pub(crate) async fn until_shown(&self, name: &str, check: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + 3 * HOUR;
        loop {
            let shown = self.shown(name).await;
            if check(&shown) {
                return shown;
            }
            assert!(tokio::time::Instant::now() < deadline, "timed out: {shown:#}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    pub(crate) async fn host_with_room_for(&self, tasks: u32) -> Agent {
        self.host("default", facts(tasks * 128, tasks * 64)).await
    }
}

pub(crate) fn at(offset: Duration) -> String {
    Timestamp::from_millis(BEGIN / 1000 * 1000).after(offset).to_string().trim_end_matches('Z').to_owned()
}

#[tokio::test(start_paused = true)]
async fn wrong_requests_are_refused_and_change_nothing() {
    let world = world().await;
    world.scheduler(Sc::CreateScheduleGroup, json!({"Name": "g", "Tags": [{"Key": "a", "Value": "b"}]})).await.unwrap();
    world.scheduled("is", "rate(2 days)", json!({"Description": "kept"})).await;
    let before = (world.shown("is").await, world.core.snapshot().revision());
    let t = |more: Value| json!({"Target": target(more)});
    let ecs = |more: Value| {
        let mut ecs = json!({"TaskDefinitionArn": "arn:aws:ecs:lab:123456789012:task-definition/job:1"});
        ecs.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        t(json!({"EcsParameters": ecs}))
    };
    let constraint = "1 validation error detected: Value";
    let cases = [
        (json!({"ScheduleExpression": "rate(0 minutes)"}), "Invalid Schedule Expression rate(0 minutes)."),
        (json!({"ScheduleExpression": "cron(0 1 * * * *)"}), "Invalid Schedule Expression cron(0 1 * * * *)."),
        (json!({"ScheduleExpression": "at(2026-05-01)"}), "Invalid Schedule Expression at(2026-05-01)."),
        (json!({"ScheduleExpression": null}), constraint),
        (json!({"ScheduleExpressionTimezone": "Mars/Olympus"}), "Invalid Schedule Expression Timezone Mars/Olympus."),
        (json!({"FlexibleTimeWindow": null}), constraint),
        (json!({"FlexibleTimeWindow": {"Mode": "SOON"}}), constraint),
        (json!({"FlexibleTimeWindow": {"Mode": "FLEXIBLE"}}), "MaximumWindowInMinutes must be set"),
        (json!({"FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 1441}}), constraint),
        (
            json!({"FlexibleTimeWindow": {"Mode": "OFF", "MaximumWindowInMinutes": 1}}),
            "MaximumWindowInMinutes must not",
        ),
        (json!({"StartDate": 2000, "EndDate": 2000}), "The EndDate you specify must be later"),
        (json!({"StartDate": BEGIN / 1000 - 301}), "The StartDate you specify cannot be earlier than 5 minutes ago."),
        (json!({"State": "PAUSED"}), constraint),
        (json!({"ActionAfterCompletion": "KEEP"}), constraint),
        (json!({"Name": "a b"}), constraint),
        (json!({"Name": "x".repeat(65)}), constraint),
        (json!({"GroupName": "a/b"}), constraint),
        (json!({"ClientToken": "a b"}), constraint),
        (json!({"Description": "x".repeat(513)}), constraint),
        (json!({"KmsKeyArn": "arn:aws:kms:lab:123456789012:key/x"}), "KmsKeyArn is not supported"),
        (json!({"Target": null}), constraint),
        (t(json!({"Arn": null})), constraint),
        (t(json!({"Arn": "arn:aws:lambda:lab:123456789012:function:x"})), "Target.Arn: the only targets"),
        (t(json!({"Arn": "arn:aws:ecs:lab:123456789012:service/default/x"})), "Provided Arn is not in correct format."),
        (t(json!({"Arn": "arn:aws:ecs:other:123456789012:cluster/default"})), "Provided Arn is not in correct format."),
        (t(json!({"Arn": "default"})), "Provided Arn is not in correct format."),
        (t(json!({"RoleArn": null})), constraint),
        (t(json!({"RoleArn": "arn:aws:iam::123456789012:user/x"})), constraint),
        (t(json!({"EcsParameters": null})), "EcsParameters must be set"),
        (t(json!({"Input": "{"})), "Target.Input: it must be the JSON of RunTask's overrides"),
        (t(json!({"Input": "[1]"})), "Target.Input: it must be the JSON of RunTask's overrides"),
        (t(json!({"RetryPolicy": {"MaximumRetryAttempts": 186}})), constraint),
        (t(json!({"RetryPolicy": {"MaximumEventAgeInSeconds": 59}})), constraint),
        (t(json!({"DeadLetterConfig": {"Arn": "arn:aws:sqs:lab:1:x"}})), "Target.DeadLetterConfig is not supported"),
        (t(json!({"SqsParameters": {}})), "Target.SqsParameters is not supported"),
        (ecs(json!({"TaskCount": 11})), constraint),
        (ecs(json!({"TaskCount": 0})), constraint),
        (ecs(json!({"LaunchType": "MOON"})), constraint),
        (ecs(json!({"PropagateTags": "SERVICE"})), constraint),
        (ecs(json!({"TaskDefinitionArn": "job"})), "Target.EcsParameters.TaskDefinitionArn"),
        (
            ecs(json!({"TaskDefinitionArn": "arn:aws:ecs:lab:123456789012:task-definition/job:x"})),
            "Target.EcsParameters",
        ),
    ];
    for (wrong, text) in &cases {
        for op in [Sc::CreateSchedule, Sc::UpdateSchedule] {
            let name = if op == Sc::UpdateSchedule { "is" } else { "new" };
            let error = world.scheduler(op, schedule(name, "rate(1 day)", wrong.clone())).await.unwrap_err();
            let expected = format!("ValidationException: {text}");
            assert!(error.starts_with(&expected), "{wrong}: {error}");
        }
    }
    let group = json!({"GroupName": "no"});
    for (op, request, text) in [
        (
            Sc::CreateSchedule,
            schedule("is", "rate(2 days)", json!({})),
            "ConflictException: Schedule is already exists.",
        ),
        (
            Sc::CreateSchedule,
            schedule("x", "rate(2 days)", group.clone()),
            "ResourceNotFoundException: Schedule group no",
        ),
        (
            Sc::UpdateSchedule,
            schedule("x", "rate(2 days)", json!({})),
            "ResourceNotFoundException: Schedule x does not",
        ),
        (Sc::GetSchedule, json!({"Name": "x"}), "ResourceNotFoundException: Schedule x does not exist."),
        (Sc::DeleteSchedule, json!({"Name": "x"}), "ResourceNotFoundException: Schedule x does not exist."),
        (Sc::ListSchedules, group, "ResourceNotFoundException: Schedule group no does not exist."),
        (Sc::ListSchedules, json!({"MaxResults": 101}), "ValidationException"),
        (Sc::ListSchedules, json!({"NextToken": "x"}), "ValidationException"),
        (Sc::CreateScheduleGroup, json!({"Name": "g"}), "ConflictException: Schedule group g already exists."),
        (Sc::CreateScheduleGroup, json!({"Name": "default"}), "ConflictException"),
        (Sc::DeleteScheduleGroup, json!({"Name": "default"}), "ValidationException"),
        (Sc::GetScheduleGroup, json!({"Name": "no"}), "ResourceNotFoundException: Schedule group no does not exist."),
        (
            Sc::TagResource,
            json!({"ResourceArn": "arn:aws:scheduler:lab:123456789012:schedule/default/is"}),
            "Validation",
        ),
        (
            Sc::ListTagsForResource,
            json!({"ResourceArn": "arn:aws:scheduler:x:123456789012:schedule-group/g"}),
            "ResourceNot",
        ),
    ] {
        let error = world.scheduler(op, request.clone()).await.unwrap_err();
        assert!(error.starts_with(text), "{} {request}: {error}", op.name());
    }
    assert_eq!(before, (world.shown("is").await, world.core.snapshot().revision()));
}

#[tokio::test(start_paused = true)]
async fn schedules_and_groups_are_made_shown_changed_and_deleted() {
    let world = world().await;
    let start = BEGIN as f64 / 1000.0 + 1.5;
    let again = json!({"ClientToken": "once", "State": "DISABLED", "StartDate": start, "Target": target(json!({}))});
    for _ in 0..2 {
        let made = world.scheduled("a.1", "cron(0 3 * * ? *)", again.clone()).await;
        assert_eq!(made["ScheduleArn"], "arn:aws:scheduler:lab:123456789012:schedule/default/a.1");
    }
    let shown = world.shown("a.1").await;
    assert_eq!((&shown["State"], &shown["StartDate"]), (&json!("DISABLED"), &json!(start)));
    assert_eq!(
        (&shown["ScheduleExpressionTimezone"], &shown["ActionAfterCompletion"]),
        (&json!("UTC"), &json!("NONE"))
    );
    assert_eq!((&shown["Target"], &shown["FlexibleTimeWindow"]), (&target(json!({})), &json!({"Mode": "OFF"})));
    assert_eq!(shown["LongshoreInvocations"], json!({}), "it is not enabled");
    // An update says everything anew.
    let update = schedule("a.1", "cron(0 3 * * ? *)", json!({"ScheduleExpressionTimezone": "Europe/Berlin"}));
    world.scheduler(Sc::UpdateSchedule, update).await.unwrap();
    let shown = world.shown("a.1").await;
    assert_eq!((&shown["State"], &shown["StartDate"]), (&json!("ENABLED"), &Value::Null));
    assert_eq!(shown["LongshoreInvocations"]["Next"], 1_774_663_200.0, "{shown:#}");

    let tags = json!([{"Key": "team", "Value": "x"}]);
    world.scheduler(Sc::CreateScheduleGroup, json!({"Name": "g", "Tags": tags})).await.unwrap();
    for n in 0..70 {
        world.scheduled(&format!("n{n:02}"), "rate(9 days)", json!({"GroupName": "g", "State": "DISABLED"})).await;
    }
    let mut names = Vec::new();
    let mut token = Value::Null;
    loop {
        let list = json!({"NextToken": token, "MaxResults": 30});
        let page = world.scheduler(Sc::ListSchedules, list).await.unwrap();
        names.extend(page["Schedules"].as_array().unwrap().iter().map(|s| s["Name"].as_str().unwrap().to_owned()));
        token = page["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    let expected: Vec<String> = std::iter::once("a.1".to_owned()).chain((0..70).map(|n| format!("n{n:02}"))).collect();
    assert_eq!(names, expected);
    let count = async |request| {
        let page = world.scheduler(Sc::ListSchedules, request).await.unwrap();
        page["Schedules"].as_array().unwrap().len()
    };
    assert_eq!(count(json!({"GroupName": "g", "NamePrefix": "n1"})).await, 10);
    assert_eq!(count(json!({"State": "ENABLED"})).await, 1);
    assert_eq!(count(json!({"GroupName": "default"})).await, 1);

    let arn = "arn:aws:scheduler:lab:123456789012:schedule-group/g";
    let put = json!({"ResourceArn": arn, "Tags": [{"Key": "b", "Value": "2"}]});
    world.scheduler(Sc::TagResource, put).await.unwrap();
    world.scheduler(Sc::UntagResource, json!({"ResourceArn": arn, "TagKeys": ["team"]})).await.unwrap();
    let tags = world.scheduler(Sc::ListTagsForResource, json!({"ResourceArn": arn})).await.unwrap();
    assert_eq!(tags["Tags"], json!([{"Key": "b", "Value": "2"}]));
    let groups = world.scheduler(Sc::ListScheduleGroups, json!({})).await.unwrap();
    let names: Vec<_> = groups["ScheduleGroups"].as_array().unwrap().iter().map(|group| &group["Name"]).collect();
    assert_eq!(names, ["default", "g"]);

    // A group goes with its schedules, some at a time; a restart goes on with it.
    world.stop_schedules();
    world.scheduler(Sc::DeleteScheduleGroup, json!({"Name": "g"})).await.unwrap();
    let group = world.scheduler(Sc::GetScheduleGroup, json!({"Name": "g"})).await.unwrap();
    assert_eq!(group["State"], "DELETING");
    let refused = world.scheduler(Sc::CreateSchedule, schedule("z", "rate(1 day)", json!({"GroupName": "g"}))).await;
    assert!(refused.unwrap_err().starts_with("ConflictException"));
    let world = world.reopen().await;
    let deadline = tokio::time::Instant::now() + MINUTE;
    while world.scheduler(Sc::GetScheduleGroup, json!({"Name": "g"})).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "the group is still there");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let left = world.scheduler(Sc::ListSchedules, json!({})).await.unwrap();
    assert_eq!(left["Schedules"].as_array().unwrap().len(), 1);
    world.scheduler(Sc::DeleteSchedule, json!({"Name": "a.1"})).await.unwrap();
    assert_eq!(world.scheduler(Sc::ListSchedules, json!({})).await.unwrap()["Schedules"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_long_over_is_refused_unless_the_schedule_has_it() {
    let world = world().await;
    let past = |secs: i64| json!({"StartDate": BEGIN / 1000 - secs, "ClientToken": "once", "State": "DISABLED"});
    let refused = "ValidationException: The StartDate you specify cannot be earlier than 5 minutes ago.";
    for expression in ["rate(1 hour)", "cron(0 3 * * ? *)"] {
        let error = world.scheduler(Sc::CreateSchedule, schedule("s", expression, past(310))).await.unwrap_err();
        assert_eq!(error, refused, "{expression}");
    }
    world.scheduled("s", "rate(1 hour)", past(200)).await;
    // What fires once heeds no start.
    world.scheduled("once", &format!("at({})", at(HOUR)), past(100_000)).await;
    tokio::time::sleep(10 * MINUTE).await;
    // The same request once more, and another state with the rest as it is.
    world.scheduled("s", "rate(1 hour)", past(200)).await;
    let mut update = schedule("s", "rate(1 hour)", past(200));
    update["State"] = json!("ENABLED");
    world.scheduler(Sc::UpdateSchedule, update).await.unwrap();
    assert_eq!(world.shown("s").await["State"], "ENABLED");
    for secs in [199, 201] {
        let update = schedule("s", "rate(1 hour)", past(secs));
        assert_eq!(world.scheduler(Sc::UpdateSchedule, update).await.unwrap_err(), refused, "{secs}");
    }
    assert_eq!(world.shown("s").await["StartDate"], (BEGIN / 1000 - 200) as f64);
}

#[tokio::test(start_paused = true)]
async fn a_firing_waits_for_room_across_a_restart_and_starts_what_it_lacks() {
    let world = world().await;
    let ecs = json!({"TaskDefinitionArn": "arn:aws:ecs:lab:123456789012:task-definition/job:1", "TaskCount": 3,
        "Group": "batch"});
    let three = json!({"Target": target(json!({"EcsParameters": ecs})), "ActionAfterCompletion": "DELETE"});
    world.scheduled("once", &format!("at({})", at(MINUTE)), three).await;
    let waiting = |shown: &Value| shown["LongshoreInvocations"]["Waiting"][0].clone();
    let shown = world.until_shown("once", |shown| waiting(shown)["Attempts"].as_i64() >= Some(2)).await;
    let reason = waiting(&shown)["Reason"].clone();
    assert_eq!(reason, "No Container Instances were found in your cluster.");
    // Between the firing and its tasks the control plane is killed, and comes back.
    let world = world.reopen().await;
    let first = world.host_with_room_for(2).await;
    world.until_shown("once", |shown| waiting(shown)["TasksStarted"] == 2).await;
    assert_eq!(first.assigned().len(), 2);
    assert_eq!(world.fired("once").await, vec![format!("{}Z", at(MINUTE)); 2]);
    // The rest is started when there is room, and then the schedule is gone.
    let second = world.host_with_room_for(2).await;
    let deadline = tokio::time::Instant::now() + HOUR;
    while world.scheduler(Sc::GetSchedule, json!({"Name": "once"})).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "the schedule is still there");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(second.assigned().len(), 1);
    assert_eq!(world.fired("once").await.len(), 3);
    let groups =
        world.ok(Op::DescribeTasks, json!({"tasks": [first.assigned().first_key_value().unwrap().0.to_string()]}));
    assert_eq!(groups.await["tasks"][0]["group"], "batch");

    // What was started is told by the schedule, and by the task.
    world.scheduled("stays", "rate(1 day)", json!({})).await;
    let stays = world.until_shown("stays", |shown| !shown["LongshoreInvocations"]["Last"].is_null()).await;
    let (last, next) = (&stays["LongshoreInvocations"]["Last"], &stays["LongshoreInvocations"]["Next"]);
    let time = |value: &Value| Timestamp::from_millis((value.as_f64().unwrap() * 1000.0).round() as i64);
    assert_eq!(last["Outcome"], "STARTED");
    assert_eq!(time(next), time(&last["ScheduledTime"]).after(24 * HOUR));
    assert_eq!(last["ScheduledTime"], stays["CreationDate"], "a rate begins at once");
    let arn = last["TaskArns"][0].as_str().unwrap();
    let task = world.ok(Op::DescribeTasks, json!({"tasks": [arn], "include": ["LONGSHORE_HISTORY"]})).await;
    let told = format!("started by schedule default/stays for {}", time(&last["ScheduledTime"]));
    assert!(task.to_string().contains(&told), "{task:#}");
}

#[tokio::test(start_paused = true)]
async fn firings_end_by_their_policy_and_by_what_cannot_be() {
    let world = world().await;
    let once = format!("at({})", at(MINUTE));
    let policy = |retries: i64, age: i64| {
        json!({"RetryPolicy": {"MaximumRetryAttempts": retries,
        "MaximumEventAgeInSeconds": age}})
    };
    world.scheduled("few", &once, json!({"Target": target(policy(2, 3600))})).await;
    world.scheduled("short", &once, json!({"Target": target(policy(185, 60))})).await;
    let nowhere = json!({"Arn": "arn:aws:ecs:lab:123456789012:cluster/nowhere"});
    world.scheduled("nowhere", &once, json!({"Target": target(nowhere)})).await;
    let stranger = json!({"Input": json!({"containerOverrides": [{"name": "x"}]}).to_string()});
    world.scheduled("stranger", &once, json!({"Target": target(stranger)})).await;
    for name in ["disabled", "deleted"] {
        world.scheduled(name, &once, json!({})).await;
    }
    world.until_shown("disabled", |shown| !shown["LongshoreInvocations"]["Waiting"].is_null()).await;
    let update = schedule("disabled", &once, json!({"State": "DISABLED"}));
    world.scheduler(Sc::UpdateSchedule, update).await.unwrap();
    world.scheduler(Sc::DeleteSchedule, json!({"Name": "deleted"})).await.unwrap();
    // Three tries are over two seconds after the first one, and those of a minute not before half of it: each pause is
    // shortened by at most a half.
    for (name, why, lasts) in [
        ("few", "No Container Instances", 2.0..4.0),
        ("short", "No Container Instances", 30.0..60.0),
        ("nowhere", "Cluster not found.", 0.0..1.0),
        ("stranger", "Override for container named x", 0.0..1.0),
    ] {
        let shown = world.until_shown(name, |shown| !shown["LongshoreInvocations"]["Last"].is_null()).await;
        let last = &shown["LongshoreInvocations"]["Last"];
        assert_eq!(last["Outcome"], "FAILED", "{shown:#}");
        assert!(last["Reason"].as_str().unwrap().starts_with(why), "{shown:#}");
        let lasted = last["EndedAt"].as_f64().unwrap() - last["ScheduledTime"].as_f64().unwrap();
        assert!(lasts.contains(&lasted), "{name} ended after {lasted} s: {shown:#}");
        assert!(shown["LongshoreInvocations"]["Waiting"].is_null(), "{shown:#}");
    }
    // What was ended is not started later either.
    let host = world.host_with_room_for(9).await;
    tokio::time::sleep(HOUR).await;
    assert!(host.assigned().is_empty());
    assert_eq!(world.core.snapshot().tasks_len(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_made_up_for_as_long_as_it_is_young_enough() {
    let mut world = world().await;
    let young = json!({"RetryPolicy": {"MaximumEventAgeInSeconds": 1800}});
    world.scheduled("young", "cron(0/10 * * * ? *)", json!({"Target": target(young.clone())})).await;
    let once = format!("at({})", at(HOUR));
    world.scheduled("late", &once, json!({"Target": target(young), "ActionAfterCompletion": "DELETE"})).await;
    // Four hours of which nobody knows.
    world.stop_and_wait(4 * HOUR).await;
    let mut host = world.host_with_room_for(9).await;
    host.connect(Vec::new()).await;
    world.until_shown("young", |shown| shown["LongshoreInvocations"]["Last"]["Outcome"] == "STARTED").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let times = world.fired("young").await;
    assert_eq!(times, ["2026-03-28T03:40:00Z", "2026-03-28T03:50:00Z", "2026-03-28T04:00:00Z"]);
    // Too old, and over.
    let gone = world.scheduler(Sc::GetSchedule, json!({"Name": "late"})).await.unwrap_err();
    assert!(gone.starts_with("ResourceNotFoundException"), "{gone}");
}

impl World {
    /// The control plane is not there for a while.
    async fn stop_and_wait(&mut self, time: Duration) {
        self.halt();
        tokio::time::sleep(time).await;
        *self = Self::with(Arc::clone(&self.store), Arc::clone(&self.clock), CoreConfig::default()).await;
    }
}

/// Numbers without a pattern, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

#[tokio::test(start_paused = true)]
async fn every_firing_happens_once_over_two_days_and_many_restarts() {
    for seed in 0..2 {
        let mut dice = Dice(seed);
        let mut world = world().await;
        let mut host = world.host("default", facts(1_000_000, 1_000_000)).await;
        let flexible = json!({"FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 45}});
        let berlin = json!({"ScheduleExpressionTimezone": "Europe/Berlin"});
        world.scheduled("often", "cron(0/10 * * * ? *)", json!({})).await;
        world.scheduled("rate", "rate(35 minutes)", json!({})).await;
        world.scheduled("flexible", "cron(0/15 * * * ? *)", flexible).await;
        world.scheduled("berlin", "cron(30 1-4 * * ? *)", berlin).await;
        world.scheduled("once", &format!("at({})", at(9 * HOUR)), json!({"ActionAfterCompletion": "DELETE"})).await;
        let end = Timestamp::from_millis(BEGIN).after(48 * HOUR);
        let mut restarts = 0;
        loop {
            use longshore_core::Clock as _;
            let now = world.clock.now();
            if now >= end {
                break;
            }
            // At any time, and often in the very moment in which much fires.
            let to_the_hour = (3_600_000 - now.millis().rem_euclid(3_600_000)) as u64;
            let wait = if dice.below(3) > 0 { to_the_hour } else { dice.below(4 * 3_600_000) };
            tokio::time::sleep(Duration::from_millis(wait).min(end.since(now) + MINUTE)).await;
            for _ in 0..dice.below(60) {
                tokio::task::yield_now().await;
            }
            if dice.below(3) == 0 {
                world.stop_and_wait(Duration::from_millis(dice.below(2 * 3_600_000))).await;
            } else {
                world = world.reopen().await;
            }
            host.move_to(&world.core).await;
            restarts += 1;
        }
        assert!(restarts >= 10, "{restarts}");
        // Whatever is in its window yet.
        tokio::time::sleep(HOUR).await;
        let until = end.to_string();
        let expect = |first: i64, every: Duration| {
            let times = (0..).map(move |n| Timestamp::from_millis(first).after(every * n));
            let times = times.skip_while(|at| *at <= Timestamp::from_millis(BEGIN)).map(|at| at.to_string());
            times.take_while(|at| *at < until).collect::<Vec<_>>()
        };
        let midnight = BEGIN - 20_000;
        let mut expected = BTreeMap::from([
            ("often", expect(midnight, 10 * MINUTE)),
            ("flexible", expect(midnight, 15 * MINUTE)),
            ("once", vec![format!("{}Z", at(9 * HOUR))]),
        ]);
        // 02:30 of the 29th is not there.
        let berlin = ["28T00:30", "28T01:30", "28T02:30", "28T03:30", "29T00:30", "29T01:30", "29T02:30", "29T23:30"];
        expected.insert("berlin", berlin.map(|at| format!("2026-03-{at}:00Z")).to_vec());
        // It counts from when it was made, whatever comes between.
        let made = world.shown("rate").await["CreationDate"].as_f64().unwrap() as i64;
        let rate = (0..).map(|n| Timestamp::from_millis(made * 1000).after(35 * MINUTE * n).to_string());
        let rate: Vec<String> = rate.take_while(|at| *at < until).collect();
        assert_eq!(rate.len(), 48 * 60 / 35 + 1);
        expected.insert("rate", rate);
        for (name, expected) in expected {
            let mut fired = world.fired(name).await;
            fired.retain(|at| *at < until);
            assert_eq!(fired, expected, "{name}, seed {seed}");
        }
        assert!(world.scheduler(Sc::GetSchedule, json!({"Name": "once"})).await.is_err());
        world.halt();
    }
}
