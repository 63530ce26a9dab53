//! Rules: how they are shown, what is refused, those that fire by the clock, and the tasks that they run.

use super::{Fake, dispatch};
use crate::firings::{everything, has_everything};
use crate::world::{FaultyStore, TestClock, World};
use longshore_core::CoreConfig;
use longshore_ecs_api::events::EventsOperation as Events;
use longshore_model::Timestamp;
use longshore_store::{KeyRange, MemoryStore, Store as _};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[tokio::test]
async fn rules_are_shown_as_they_were_given_and_changed_as_a_whole() {
    let world = World::new().await;
    let hook = world.webhook().await;
    let pattern = r#"{"source":["aws.ecs"]}"#;
    let request =
        json!({"Name": "r", "EventPattern": pattern, "Description": "d", "Tags": [{"Key": "a", "Value": "b"}]});
    let arn = world.events(Events::PutRule, request).await.unwrap()["RuleArn"].clone();
    assert_eq!(arn, "arn:aws:events:lab:123456789012:rule/r");
    let target = json!({"Id": "1", "Arn": hook, "HttpParameters": {"HeaderParameters": {"X-A": "b"}}});
    world.events(Events::PutTargets, json!({"Rule": "r", "Targets": [target]})).await.unwrap();
    let shown = world.events(Events::DescribeRule, json!({"Name": "r", "EventBusName": "default"})).await.unwrap();
    let expected = json!({"Name": "r", "Arn": arn, "EventPattern": pattern, "Description": "d", "State": "ENABLED",
        "EventBusName": "default", "CreatedBy": "123456789012"});
    assert_eq!(shown, expected);
    world.events(Events::DisableRule, json!({"Name": "r"})).await.unwrap();
    world.say(1).await;
    assert_eq!(
        world.events(Events::ListRules, json!({"NamePrefix": "r"})).await.unwrap()["Rules"][0]["State"],
        "DISABLED"
    );
    let names = world.events(Events::ListRuleNamesByTarget, json!({"TargetArn": hook})).await.unwrap();
    assert_eq!(names, json!({"RuleNames": ["r"]}));
    let tags = json!({"ResourceARN": arn, "Tags": [{"Key": "c", "Value": "d"}]});
    world.events(Events::TagResource, tags).await.unwrap();
    world.events(Events::UntagResource, json!({"ResourceARN": arn, "TagKeys": ["a"]})).await.unwrap();
    let world = world.reopen().await;
    let tags = world.events(Events::ListTagsForResource, json!({"ResourceARN": arn})).await.unwrap();
    assert_eq!(tags, json!({"Tags": [{"Key": "c", "Value": "d"}]}));
    let shown = world.events(Events::ListTargetsByRule, json!({"Rule": "r"})).await.unwrap();
    assert_eq!(shown["Targets"][0]["HttpParameters"], target["HttpParameters"]);
    let shown = world.events(Events::DescribeConnection, json!({"Name": "c"})).await.unwrap();
    assert_eq!(shown["AuthParameters"], json!({"BasicAuthParameters": {"Username": "u"}}));
    let answer = world.events(Events::DeleteConnection, json!({"Name": "c"})).await.unwrap_err();
    assert!(answer.contains("in use by"), "{answer}");
    let answer = world.events(Events::RemoveTargets, json!({"Rule": "r", "Ids": ["1", "2"]})).await.unwrap();
    assert_eq!((&answer["FailedEntryCount"], &answer["FailedEntries"][0]["TargetId"]), (&json!(1), &json!("2")));
    for (op, name) in
        [(Events::DeleteRule, "r"), (Events::DeleteApiDestination, "hook"), (Events::DeleteConnection, "c")]
    {
        world.events(op, json!({"Name": name})).await.unwrap();
    }
    let snapshot = world.store.store.snapshot().await.unwrap();
    for entry in snapshot.range(KeyRange::all(), 1000).await.unwrap().entries {
        assert!(!String::from_utf8_lossy(&entry.value).contains("hush-hush"));
        let key = String::from_utf8_lossy(&entry.key).into_owned();
        assert!(!["rule/", "delivery/", "connection/", "api-"].iter().any(|kind| key.starts_with(kind)), "{key}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_refused_and_changes_nothing() {
    let world = World::new().await;
    let hook = world.webhook().await;
    world.events(Events::PutRule, json!({"Name": "r", "EventPattern": "{\"a\": [1]}"})).await.unwrap();
    let cluster = "arn:aws:ecs:lab:123456789012:cluster/default";
    let target = |more: Value| {
        let mut target = json!({"Id": "1", "Arn": hook});
        target.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"Rule": "r", "Targets": [target]})
    };
    let ecs = |more: Value| {
        let mut parameters = json!({"TaskDefinitionArn": "job"});
        parameters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        target(json!({"Arn": cluster, "EcsParameters": parameters}))
    };
    let connection = |auth: Value| json!({"Name": "d", "AuthorizationType": "API_KEY", "AuthParameters": auth});
    let destination = |endpoint: &str| {
        json!({"Name": "h", "HttpMethod": "POST", "InvocationEndpoint": endpoint,
        "ConnectionArn": "arn:aws:events:lab:123456789012:connection/none/1"})
    };
    let validation = "ValidationException";
    let missing = "ResourceNotFoundException";
    for (op, request, code, part) in [
        (Events::PutRule, json!({"EventPattern": "{}"}), validation, "name"),
        (Events::PutRule, json!({"Name": "a b", "EventPattern": "{}"}), validation, "regular expression"),
        (Events::PutRule, json!({"Name": "x"}), validation, "EventPattern or ScheduleExpression must be"),
        (
            Events::PutRule,
            json!({"Name": "r", "EventPattern": "{}"}),
            "InvalidEventPatternException",
            "Event pattern is not valid. Reason:",
        ),
        (
            Events::PutRule,
            json!({"Name": "r", "EventPattern": "{\"a\": \"x\"}"}),
            "InvalidEventPatternException",
            "`a`",
        ),
        (Events::PutRule, json!({"Name": "r", "EventPattern": "{\"b\": [1]}", "State": "ON"}), validation, "'state'"),
        (
            Events::PutRule,
            json!({"Name": "r", "ScheduleExpression": "every day"}),
            validation,
            "Parameter ScheduleExpression is not valid.",
        ),
        (
            Events::PutRule,
            json!({"Name": "r", "EventPattern": "{\"b\": [1]}", "EventBusName": "mine"}),
            missing,
            "Event bus mine does not exist.",
        ),
        (Events::DescribeRule, json!({"Name": "none"}), missing, "Rule none does not exist on EventBus default."),
        (Events::EnableRule, json!({"Name": "none"}), missing, "Rule none"),
        (Events::ListTargetsByRule, json!({"Rule": "none"}), missing, "Rule none"),
        (Events::PutTargets, json!({"Rule": "none", "Targets": [{"Id": "1", "Arn": hook}]}), missing, "Rule none"),
        (Events::PutTargets, json!({"Rule": "r", "Targets": []}), validation, "'targets'"),
        (Events::PutTargets, target(json!({"Id": "a/b"})), validation, "targets.1.member.id"),
        (
            Events::PutTargets,
            target(json!({"Arn": "arn:aws:sqs:lab:123456789012:q"})),
            validation,
            "not in correct format",
        ),
        (
            Events::PutTargets,
            target(json!({"Arn": "arn:aws:logs:other:123456789012:log-group:g"})),
            validation,
            "correct format",
        ),
        (
            Events::PutTargets,
            target(json!({"Arn": hook.replace("/hook/", "/none/")})),
            missing,
            "'none' does not exist",
        ),
        (
            Events::PutTargets,
            target(json!({"DeadLetterConfig": {"Arn": "arn:aws:sqs:lab:123456789012:q"}})),
            validation,
            "DeadLetterConfig",
        ),
        (Events::PutTargets, target(json!({"Input": "{"})), validation, "Input is not valid JSON"),
        (Events::PutTargets, target(json!({"Input": "{}", "InputPath": "$"})), validation, "only one of"),
        (Events::PutTargets, target(json!({"InputPath": "detail"})), validation, "InputPath"),
        (
            Events::PutTargets,
            target(json!({"InputTransformer": {"InputTemplate": "<x>"}})),
            validation,
            "does not define",
        ),
        (
            Events::PutTargets,
            target(json!({"RetryPolicy": {"MaximumRetryAttempts": 186}})),
            validation,
            "MaximumRetryAttempts",
        ),
        (
            Events::PutTargets,
            target(json!({"RetryPolicy": {"MaximumEventAgeInSeconds": 59}})),
            validation,
            "MaximumEventAgeInSeconds",
        ),
        (
            Events::PutTargets,
            target(json!({"HttpParameters": {"HeaderParameters": {"a b": "c"}}})),
            validation,
            "HeaderParameters",
        ),
        (Events::PutTargets, target(json!({"Arn": cluster})), validation, "EcsParameters"),
        (Events::PutTargets, ecs(json!({"TaskDefinitionArn": "a:0"})), validation, "TaskDefinitionArn"),
        (Events::PutTargets, ecs(json!({"TaskCount": 11})), validation, "TaskCount"),
        (Events::PutTargets, ecs(json!({"LaunchType": "MOON"})), validation, "LaunchType"),
        (
            Events::TestEventPattern,
            json!({"EventPattern": "{\"a\": [1]}", "Event": "{}"}),
            validation,
            "Parameter Event",
        ),
        (Events::PutEvents, json!({"Entries": []}), validation, "'entries'"),
        (Events::TagResource, json!({"ResourceARN": "arn:aws:events:lab:1:rule/r", "Tags": []}), missing, "ARN"),
        (Events::CreateConnection, connection(json!({})), validation, "ApiKeyName"),
        (
            Events::CreateConnection,
            connection(json!({"ApiKeyAuthParameters": {"ApiKeyName": "Host", "ApiKeyValue": "v"}})),
            validation,
            "ApiKeyName",
        ),
        (
            Events::CreateConnection,
            connection(json!({"ApiKeyAuthParameters": {"ApiKeyName": "X", "ApiKeyValue": "a\nb"}})),
            validation,
            "ApiKeyValue",
        ),
        (
            Events::CreateConnection,
            json!({"Name": "d", "AuthorizationType": "OAUTH_CLIENT_CREDENTIALS", "AuthParameters": {}}),
            validation,
            "OAUTH",
        ),
        (Events::CreateApiDestination, destination("ftp://a"), missing, "Connection 'none'"),
        (Events::FollowEvents, json!({"Cursor": "x"}), validation, "Cursor"),
        (Events::FollowEvents, json!({"WaitSeconds": 60}), validation, "WaitSeconds"),
    ] {
        let before = world.core.snapshot().revision();
        let error = world.events(op, request.clone()).await.expect_err(&request.to_string());
        assert!(error.starts_with(code) && error.contains(part), "{} {request}: {error}", op.name());
        assert_eq!(world.core.snapshot().revision(), before, "{request}");
    }
    let connection =
        world.events(Events::DescribeConnection, json!({"Name": "c"})).await.unwrap()["ConnectionArn"].clone();
    for bad in ["ftp://a", "http://", "http://u@h/", "http://*/x", "https://a b/"] {
        let request =
            json!({"Name": "h", "HttpMethod": "POST", "InvocationEndpoint": bad, "ConnectionArn": connection});
        let error = world.events(Events::CreateApiDestination, request).await.expect_err(bad);
        assert!(error.starts_with("ValidationException: InvocationEndpoint"), "{bad}: {error}");
    }
    let entries = json!({"Entries": [
        {"Source": "aws.ecs", "DetailType": "x", "Detail": "{}"}, {"DetailType": "x", "Detail": "{}"},
        {"Source": "s", "DetailType": "x", "Detail": "[]"}, {"Source": "s", "DetailType": "x", "Detail": "{}"}]});
    let answer = world.events(Events::PutEvents, entries).await.unwrap();
    let codes: Vec<&str> =
        answer["Entries"].as_array().unwrap().iter().map(|e| e["ErrorCode"].as_str().unwrap_or("")).collect();
    assert_eq!(codes, ["NotAuthorizedForSourceException", "InvalidArgument", "MalformedDetail", ""]);
    let event = json!({"id": "1", "account": "1", "source": "s", "time": "t", "region": "r", "resources": [],
        "detail-type": "d"});
    let request = json!({"EventPattern": r#"{"source": ["s"]}"#, "Event": event.to_string()});
    assert_eq!(world.events(Events::TestEventPattern, request).await.unwrap(), json!({"Result": true}));
}

#[tokio::test(start_paused = true)]
async fn a_rule_fires_by_the_clock_and_nothing_of_it_is_lost_or_made_up() {
    const MINUTE: Duration = Duration::from_secs(60);
    // 2026-03-28T00:00:20Z.
    let clock = TestClock::running(1_774_656_020_000);
    let mut world = World::with(FaultyStore::new(MemoryStore::new()), clock, CoreConfig::default()).await;
    let fake = Fake::default();
    let mut dispatcher = dispatch(&world, &fake);
    let hook = world.webhook().await;
    let rule = |name: &str, expression: &str| json!({"Name": name, "ScheduleExpression": expression});
    for (name, expression) in [("cron", "cron(0/10 * * * ? *)"), ("rate", "rate(25 minutes)"), ("off", "rate(1 hour)")]
    {
        world.events(Events::PutRule, rule(name, expression)).await.unwrap();
        let targets = json!([{"Id": "1", "Arn": hook}]);
        world.events(Events::PutTargets, json!({"Rule": name, "Targets": targets})).await.unwrap();
    }
    for text in ["rate(1 minutes)", "cron(0 1 * * * *)", "at(2027-01-01T00:00:00)"] {
        let error = world.events(Events::PutRule, rule("cron", text)).await.unwrap_err();
        assert!(error.starts_with("ValidationException: Parameter ScheduleExpression is not valid."), "{error}");
    }
    world.events(Events::DisableRule, json!({"Name": "off"})).await.unwrap();
    // Killed just as it fires, each time at another place; and away for a while once.
    for steps in 0..12 {
        let millis = 600_000 - longshore_core::Clock::now(&*world.clock).millis().rem_euclid(600_000);
        tokio::time::sleep(Duration::from_millis(millis as u64)).await;
        for _ in 0..steps * 3 {
            tokio::task::yield_now().await;
        }
        dispatcher.abort();
        world.halt();
        if steps == 6 {
            tokio::time::sleep(MINUTE * 35).await;
        }
        // Who says the same once more moves nothing.
        world = world.reopen().await;
        dispatcher = dispatch(&world, &fake);
        world.events(Events::PutRule, rule("rate", "rate(25 minutes)")).await.unwrap();
    }
    tokio::time::sleep(MINUTE).await;
    let end = longshore_core::Clock::now(&*world.clock);
    let mut of_rule: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for event in fake.taken() {
        assert_eq!((&event["source"], &event["detail-type"]), (&json!("aws.events"), &json!("Scheduled Event")));
        assert_eq!((&event["version"], &event["detail"], &event["region"]), (&json!("0"), &json!({}), &json!("lab")));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let ids = of_rule.entry(text(&event["resources"][0])).or_default();
        let (time, id) = (text(&event["time"]), text(&event["id"]));
        assert!(ids.insert(time, id.clone()).is_none_or(|before| before == id), "one id for one firing");
    }
    let times = |name: &str| {
        let ids = &of_rule[&format!("arn:aws:events:lab:123456789012:rule/{name}")];
        assert_eq!(ids.values().collect::<BTreeSet<_>>().len(), ids.len());
        ids.keys().cloned().collect::<Vec<_>>()
    };
    let every = |first: i64, every: Duration| {
        let all = (0..).map(move |n| Timestamp::from_millis(first).after(every * n));
        all.take_while(|at| *at <= end).map(|at| at.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(times("cron"), every(1_774_656_600_000, MINUTE * 10));
    assert_eq!(times("rate"), every(1_774_656_020_000 + 25 * 60_000, MINUTE * 25));
    assert_eq!(of_rule.len(), 2, "{of_rule:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rule_fires_for_no_minute_twice_when_the_clock_is_set_back() {
    const MINUTE: Duration = Duration::from_secs(60);
    let clock = TestClock::running(1_774_656_020_000);
    let world = World::with(FaultyStore::new(MemoryStore::new()), clock, CoreConfig::default()).await;
    let fake = Fake::default();
    let _dispatcher = dispatch(&world, &fake);
    let hook = world.webhook().await;
    let rule = json!({"Name": "often", "ScheduleExpression": "cron(* * * * ? *)"});
    world.events(Events::PutRule, rule).await.unwrap();
    world.events(Events::PutTargets, json!({"Rule": "often", "Targets": [{"Id": "1", "Arn": hook}]})).await.unwrap();
    tokio::time::sleep(2 * MINUTE).await;
    world.events(Events::DisableRule, json!({"Name": "often"})).await.unwrap();
    world.clock.set_back(2 * MINUTE);
    world.events(Events::EnableRule, json!({"Name": "often"})).await.unwrap();
    tokio::time::sleep(4 * MINUTE).await;
    let times: Vec<String> = fake.taken().iter().map(|event| event["time"].as_str().unwrap().to_owned()).collect();
    let different: BTreeSet<&String> = times.iter().collect();
    assert_eq!((times.len(), different.len()), (4, 4), "two minutes before and two after: {times:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_rule_missed_is_made_up_for_a_day_and_as_long_as_its_target_takes_it() {
    const HOUR: Duration = Duration::from_secs(3600);
    // 2026-03-28T00:00:20Z.
    const BEGIN: i64 = 1_774_656_020_000;
    let clock = TestClock::running(BEGIN);
    let world = World::with(FaultyStore::new(MemoryStore::new()), clock, CoreConfig::default()).await;
    let fake = Fake::default();
    let dispatcher = dispatch(&world, &fake);
    let hook = world.webhook().await;
    for (name, policy) in [("any", json!({})), ("young", json!({"MaximumEventAgeInSeconds": 7200}))] {
        let rule = json!({"Name": name, "ScheduleExpression": "rate(1 hour)"});
        world.events(Events::PutRule, rule).await.unwrap();
        let target = json!({"Id": "1", "Arn": hook, "RetryPolicy": policy});
        world.events(Events::PutTargets, json!({"Rule": name, "Targets": [target]})).await.unwrap();
    }
    // The first comes in time. Then 30 hours of which nobody knows.
    tokio::time::sleep(3 * HOUR / 2).await;
    dispatcher.abort();
    world.halt();
    tokio::time::sleep(30 * HOUR).await;
    let world = world.reopen().await;
    let _dispatcher = dispatch(&world, &fake);
    tokio::time::sleep(HOUR).await;
    let taken = fake.taken();
    let times = |name: &str| {
        let arn = format!("arn:aws:events:lab:123456789012:rule/{name}");
        let of_rule = taken.iter().filter(|event| event["resources"][0] == arn);
        of_rule.map(|event| event["time"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let hours = |made_up: std::ops::RangeInclusive<u32>| {
        let all = std::iter::once(1).chain(made_up);
        all.map(|hour| Timestamp::from_millis(BEGIN).after(HOUR * hour).to_string()).collect::<Vec<_>>()
    };
    // It is back after 31 hours and a half: of what is not older than a day each comes once, and then it goes on.
    assert_eq!(times("any"), hours(8..=32));
    assert_eq!(times("young"), hours(30..=32));
    let shown = world.delivery("any").await;
    assert_eq!((&shown["Waiting"], &shown["GivenUp"]), (&json!(0), &json!(0)), "{shown}");
    let shown = world.delivery("young").await;
    assert_eq!((&shown["Waiting"], &shown["GivenUp"]), (&json!(0), &json!(22)), "{shown}");
    assert_eq!(shown["LastGivenUp"]["Reason"], "it is too old; it was not tried");
}

#[tokio::test(start_paused = true)]
async fn a_task_has_all_that_the_target_of_a_rule_says_of_it() {
    let world = crate::schedules::world().await;
    let (parameters, agent) = everything(&world).await;
    let target = json!({"Id": "1", "Arn": "arn:aws:ecs:lab:123456789012:cluster/default",
        "RoleArn": "arn:aws:iam::123456789012:role/events", "EcsParameters": parameters});
    world.rule("run", json!({"source": ["test"]}), target).await;
    let _dispatcher = dispatch(&world, &Fake::default());
    world.say(1).await;
    let shown = world.until_delivery("run", |shown| shown["Waiting"] == 0 || shown["Attempts"] != 0).await;
    assert_eq!((&shown["Waiting"], &shown["GivenUp"]), (&json!(0), &json!(0)), "{shown}");
    has_everything(&world, &parameters, &agent).await;
}
