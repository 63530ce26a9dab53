//! Firings of schedules: those that are held up, by a clock that is set and by hosts that change; when they come and
//! are over; and the tasks that they start.

use crate::schedules::{BEGIN, HOUR, MINUTE, at, target, world};
use crate::world::{Agent, World, caller, facts, with_attribute};
use longshore_core::{Clock as _, Ec2Operation};
use longshore_ecs_api::Operation as Op;
use longshore_ecs_api::events::EventsOperation as Events;
use longshore_ecs_api::scheduler::SchedulerOperation as Sc;
use longshore_model::{HostFacts, NetworkHealth, NetworkStatus};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

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

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_repeats_no_firing_whatever_is_changed_then() {
    let world = world().await;
    let _agent = world.host_with_room_for(20).await;
    let expression = "rate(1 minute)";
    world.scheduled("often", expression, json!({})).await;
    tokio::time::sleep(3 * MINUTE / 2).await;
    assert_eq!(world.fired("often").await.len(), 2);
    let update = |state: &str, expression: &str| {
        let request = json!({
            "Name": "often", "ScheduleExpression": expression, "FlexibleTimeWindow": {"Mode": "OFF"}, "State": state,
            "Target": target(json!({})),
        });
        world.scheduler(Sc::UpdateSchedule, request)
    };
    update("DISABLED", expression).await.unwrap();
    world.clock.set_back(MINUTE);
    update("ENABLED", expression).await.unwrap();
    // The minute that it has fired for comes again, and two new ones.
    tokio::time::sleep(3 * MINUTE).await;
    let mut times = world.fired("often").await;
    assert_eq!(times.len(), 4, "{times:?}");
    world.clock.set_back(2 * MINUTE);
    update("ENABLED", "cron(* * * * ? *)").await.unwrap();
    tokio::time::sleep(4 * MINUTE).await;
    times = world.fired("often").await;
    assert!(times.len() > 4, "{times:?}");
    let count = times.len();
    times.dedup();
    assert_eq!(times.len(), count, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_a_year_ahead_silences_no_schedule_for_good() {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let world = world().await;
    let _agent = world.host_with_room_for(60).await;
    world.scheduled("hourly", "rate(1 hour)", json!({})).await;
    let rule = |state: &str| {
        let request = json!({"Name": "tick", "ScheduleExpression": "rate(1 hour)", "State": state});
        world.events(Events::PutRule, request)
    };
    rule("ENABLED").await.unwrap();
    world.clock.set_ahead(YEAR);
    // Those of a day are made up.
    world.until_shown("hourly", |shown| shown["LongshoreInvocations"]["Last"]["Outcome"] == "STARTED").await;
    tokio::time::sleep(5 * MINUTE).await;
    let wrong = world.fired("hourly").await.len();
    assert!(wrong >= 24, "{wrong}");
    world.clock.set_back(YEAR);
    tokio::time::sleep(3 * HOUR).await;
    assert_eq!(world.fired("hourly").await.len(), wrong, "it goes by its own next firing");
    let problem = world.shown("hourly").await["LongshoreInvocations"]["Problem"].to_string();
    assert!(problem.contains("while the clock of the control plane was ahead"), "{problem}");
    for state in ["DISABLED", "ENABLED"] {
        let request = json!({
            "Name": "hourly", "ScheduleExpression": "rate(1 hour)", "FlexibleTimeWindow": {"Mode": "OFF"},
            "State": state, "Target": target(json!({})),
        });
        world.scheduler(Sc::UpdateSchedule, request).await.unwrap();
        rule(state).await.unwrap();
    }
    assert_eq!(world.shown("hourly").await["LongshoreInvocations"]["Problem"], json!(null));
    let comes = || {
        let next = world.core.snapshot().rule_records().next().unwrap().next.unwrap();
        assert!(next <= world.clock.now().after(HOUR), "{next}");
    };
    comes();
    tokio::time::sleep(3 * HOUR).await;
    assert_eq!(world.fired("hourly").await.len(), wrong + 3);
    comes();
    // From then on it is as it was: what has fired does not again.
    world.clock.set_back(2 * HOUR);
    let request = json!({
        "Name": "hourly", "ScheduleExpression": "rate(60 minutes)", "FlexibleTimeWindow": {"Mode": "OFF"},
        "State": "ENABLED", "Target": target(json!({})),
    });
    world.scheduler(Sc::UpdateSchedule, request).await.unwrap();
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.fired("hourly").await.len(), wrong + 3);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_puts_no_first_try_off() {
    let world = world().await;
    let _agent = world.host_with_room_for(1).await;
    // Within the window there is time between that it has fired and that it is carried out.
    let window = json!({"FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 60}});
    world.scheduled("once", &format!("at({})", at(MINUTE)), window).await;
    let has_fired = |shown: &Value| shown["LongshoreInvocations"].get("Next").is_none();
    world.until_shown("once", has_fired).await;
    world.clock.set_back(24 * HOUR);
    tokio::time::sleep(2 * MINUTE).await;
    assert_eq!(world.fired("once").await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_firing_finds_its_turn_among_hosts_that_always_change() {
    let world = world().await;
    let agent = world.host_with_room_for(1).await;
    let spread = json!({"EcsParameters": {
        "TaskDefinitionArn": "arn:aws:ecs:lab:123456789012:task-definition/job",
        "PlacementStrategy": [{"type": "spread", "field": "instanceId"}],
    }});
    world.scheduled("once", &format!("at({})", at(Duration::from_secs(2))), json!({"Target": target(spread)})).await;
    let change = |n: usize| {
        let attribute = json!({"name": "n", "value": n.to_string(), "targetId": agent.arn});
        world.ok(Op::PutAttributes, json!({"attributes": [attribute]}))
    };
    // Each changes the host as soon as its last change is there. One is being written all the time, and the next one
    // waits behind it: whatever is planned over what is published is outdated at its turn.
    world.store.set_takes(Duration::from_millis(100));
    let deadline = tokio::time::Instant::now() + MINUTE;
    let changes = (0..2).map(|nth| {
        let (change, agent) = (&change, &agent);
        async move {
            let mut n = nth;
            while agent.assigned().is_empty() {
                change(n).await;
                n += 2;
                assert!(tokio::time::Instant::now() < deadline, "it never started");
            }
        }
    });
    futures::future::join_all(changes).await;
    assert_eq!(world.fired("once").await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_firing_that_is_to_start_fewer_than_it_has_starts_no_more() {
    let world = world().await;
    let first = world.host_with_room_for(2).await;
    let tasks = |count: u32| {
        let ecs = json!({"TaskDefinitionArn": "arn:aws:ecs:lab:123456789012:task-definition/job", "TaskCount": count});
        json!({"Target": target(json!({"EcsParameters": ecs}))})
    };
    let once = format!("at({})", at(MINUTE));
    world.scheduled("once", &once, tasks(3)).await;
    world.until_shown("once", |shown| shown["LongshoreInvocations"]["Waiting"][0]["TasksStarted"] == 2).await;
    let mut update = tasks(1);
    update["Name"] = json!("once");
    update["ScheduleExpression"] = json!(once);
    update["FlexibleTimeWindow"] = json!({"Mode": "OFF"});
    world.scheduler(Sc::UpdateSchedule, update).await.unwrap();
    let second = world.host_with_room_for(2).await;
    let ended = |shown: &Value| !shown["LongshoreInvocations"]["Last"].is_null();
    let shown = world.until_shown("once", ended).await;
    assert_eq!(shown["LongshoreInvocations"]["Last"]["Outcome"], "STARTED", "{shown:#}");
    assert!(shown["LongshoreInvocations"]["Waiting"].is_null(), "{shown:#}");
    tokio::time::sleep(HOUR).await;
    assert_eq!((first.assigned().len(), second.assigned().len()), (2, 0));
    assert_eq!(world.fired("once").await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_flexible_window_spreads_starts_over_its_width() {
    let world = world().await;
    let _agent = world.host_with_room_for(8).await;
    let window = json!({"FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 60}});
    for nth in 0..8 {
        world.scheduled(&format!("s{nth}"), &format!("at({})", at(MINUTE)), window.clone()).await;
    }
    tokio::time::sleep(62 * MINUTE).await;
    let listed = world.ok(Op::ListTasks, json!({})).await;
    let shown = world.ok(Op::DescribeTasks, json!({"tasks": listed["taskArns"]})).await;
    let begin = BEGIN as f64 / 1000.0 + 60.0;
    let started = shown["tasks"].as_array().unwrap().iter().map(|task| task["createdAt"].as_f64().unwrap() - begin);
    let mut started: Vec<f64> = started.collect();
    started.sort_by(f64::total_cmp);
    assert_eq!(started.len(), 8);
    assert!(started.iter().all(|after| (0.0..3605.0).contains(after)), "{started:?}");
    // Each is somewhere in the hour, by its schedule's id.
    assert!(started[7] - started[0] > 60.0, "{started:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_fires_before_its_start_date_or_after_its_end_date() {
    let world = world().await;
    let _agent = world.host_with_room_for(9).await;
    // 01:00 and 01:20.
    let (start, end) = (BEGIN / 1000 - 20 + 3600, BEGIN / 1000 - 20 + 4800);
    let dates = json!({"StartDate": start, "EndDate": end});
    for (name, expression) in [("rate", "rate(10 minutes)"), ("cron", "cron(0/10 * * * ? *)")] {
        world.scheduled(name, expression, dates.clone()).await;
    }
    tokio::time::sleep(3 * HOUR).await;
    let expected = ["2026-03-28T01:00:00Z", "2026-03-28T01:10:00Z", "2026-03-28T01:20:00Z"];
    for name in ["rate", "cron"] {
        assert_eq!(world.fired(name).await, expected, "{name}");
        assert!(world.shown(name).await["LongshoreInvocations"]["Next"].is_null(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_recurs_until_its_end_date_or_in_its_last_year_is_gone_after_its_last_firing_when_it_says_so() {
    let world = world().await;
    let _agent = world.host_with_room_for(9).await;
    // 01:00 and 01:25.
    let (start, end) = (BEGIN / 1000 - 20 + 3600, BEGIN / 1000 - 20 + 5100);
    let dates = json!({"StartDate": start, "EndDate": end, "ActionAfterCompletion": "DELETE"});
    // The last one has no end but that of the only year that it is for.
    let schedules = [
        ("rate", "rate(10 minutes)", dates.clone()),
        ("cron", "cron(0/10 * * * ? *)", dates),
        ("year", "cron(0,10,20 1 28 3 ? 2026)", json!({"ActionAfterCompletion": "DELETE"})),
    ];
    for (name, expression, more) in &schedules {
        world.scheduled(name, expression, more.clone()).await;
    }
    tokio::time::sleep(HOUR + 15 * MINUTE).await;
    for (name, ..) in &schedules {
        let shown = world.shown(name).await;
        assert_eq!(shown["LongshoreInvocations"]["Next"], (start + 1200) as f64, "{name}: one is to come");
    }
    tokio::time::sleep(6 * MINUTE).await;
    for (name, ..) in &schedules {
        let gone = world.scheduler(Sc::GetSchedule, json!({"Name": name})).await.unwrap_err();
        assert!(gone.starts_with(&format!("ResourceNotFoundException: Schedule {name} does not exist.")), "{gone}");
    }
    tokio::time::sleep(3 * HOUR).await;
    for (name, ..) in &schedules {
        let expected = ["2026-03-28T01:00:00Z", "2026-03-28T01:10:00Z", "2026-03-28T01:20:00Z"];
        assert_eq!(world.fired(name).await, expected, "{name}");
    }
}

/// When a firing that was not tried yet will be.
async fn first_try(world: &World, name: &str) -> Option<f64> {
    world.shown(name).await["LongshoreInvocations"]["Waiting"][0]["NextAttempt"].as_f64()
}

#[tokio::test(start_paused = true)]
async fn a_moment_in_a_flexible_window_stays_where_it_is_over_restarts() {
    let mut world = world().await;
    let mut agent = world.host_with_room_for(8).await;
    let window = json!({"FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 60}});
    let names: Vec<String> = (0..8).map(|nth| format!("s{nth}")).collect();
    for name in &names {
        world.scheduled(name, &format!("at({})", at(MINUTE)), window.clone()).await;
    }
    // All have fired and wait for their moments. Those are whole seconds, and no restart falls on one.
    tokio::time::sleep(MINUTE + Duration::from_millis(500)).await;
    let mut due: BTreeMap<String, f64> = BTreeMap::new();
    for name in &names {
        if let Some(moment) = first_try(&world, name).await {
            due.insert(name.clone(), moment);
        }
    }
    assert!(!due.is_empty(), "nothing waits for a moment in an hour");
    for _ in 0..6 {
        world = world.reopen().await;
        agent.move_to(&world.core).await;
        for name in &names {
            if let Some(moment) = first_try(&world, name).await {
                assert_eq!(Some(&moment), due.get(name), "{name}");
            }
        }
        tokio::time::sleep(10 * MINUTE).await;
    }
    for name in &names {
        assert_eq!(world.fired(name).await, [format!("{}Z", at(MINUTE))], "{name}");
    }
    for (name, moment) in due {
        let shown = world.shown(&name).await;
        let tasks = json!({"tasks": shown["LongshoreInvocations"]["Last"]["TaskArns"]});
        let task = world.ok(Op::DescribeTasks, tasks).await;
        let late = task["tasks"][0]["createdAt"].as_f64().unwrap() - moment;
        assert!((0.0..1.0).contains(&late), "{name} came {late} s late");
    }
}

/// A host whose part of the task network works, in a pool and a rack, that takes commands for containers or does not.
async fn networked(world: &World, number: u8, pool: &str, rack: &str, takes_commands: bool) -> Agent {
    let underlay = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)));
    let mut can = HostFacts { underlay, ..facts(2048, 2048) };
    can = with_attribute(can, "ecs.capability.task-eni", None);
    can = with_attribute(can, "longshore.capacity-provider", Some(pool));
    can = with_attribute(can, "rack", Some(rack));
    if takes_commands {
        can = with_attribute(can, "ecs.capability.execute-command", None);
    }
    let agent = world.host("default", can).await;
    let applied = world.core.network_view(agent.instance).unwrap().generation;
    let status = NetworkStatus { health: NetworkHealth::Ready, applied, free_addresses: 200 };
    world.core.network_status(agent.instance, agent.session, status).await.unwrap();
    agent
}

/// Parameters of a target that say where its task runs and what it has, and the only host where that can be: each of
/// the others lacks one thing.
pub(crate) async fn everything(world: &World) -> (Value, Agent) {
    let container = json!({"name": "app", "image": "busybox", "memory": 64, "portMappings": [{"containerPort": 80}]});
    let definition = json!({"family": "web", "networkMode": "awsvpc", "containerDefinitions": [container],
        "tags": [{"key": "team", "value": "data"}]});
    world.ok(Op::RegisterTaskDefinition, definition).await;
    for pool in ["old", "new"] {
        let request = json!({"name": pool, "autoScalingGroupProvider": {"autoScalingGroupArn": pool}});
        world.ok(Op::CreateCapacityProvider, request).await;
    }
    let put = json!({"cluster": "default", "capacityProviders": ["old", "new"], "defaultCapacityProviderStrategy": []});
    world.ok(Op::PutClusterCapacityProviders, put).await;
    let form = [("GroupName", "jobs"), ("GroupDescription", "x")];
    let form = form.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    world.core.ec2(&caller("lab"), Ec2Operation::CreateSecurityGroup, form, "id").await.unwrap();
    let state = world.core.snapshot();
    let group = state.security_groups().find(|group| group.name == "jobs").unwrap().id.to_string();
    let subnet = state.network().unwrap().subnet.to_string();
    networked(world, 1, "old", "b", true).await;
    networked(world, 2, "new", "a", true).await;
    networked(world, 3, "new", "b", false).await;
    let agent = networked(world, 4, "new", "b", true).await;
    let vpc = json!({"Subnets": [subnet], "SecurityGroups": [group], "AssignPublicIp": "DISABLED"});
    let parameters = json!({
        "TaskDefinitionArn": "arn:aws:ecs:lab:123456789012:task-definition/web",
        "NetworkConfiguration": {"awsvpcConfiguration": vpc},
        "CapacityProviderStrategy": [{"capacityProvider": "new", "weight": 1, "base": 0}],
        "PlacementConstraints": [{"type": "memberOf", "expression": "attribute:rack == b"}],
        "EnableExecuteCommand": true,
        "EnableECSManagedTags": true,
        "PropagateTags": "TASK_DEFINITION",
        "Tags": [{"Key": "from", "Value": "target"}],
    });
    (parameters, agent)
}

/// The only task that there is runs on `agent`, and is as [`everything`] says.
pub(crate) async fn has_everything(world: &World, parameters: &Value, agent: &Agent) {
    assert_eq!(world.core.snapshot().tasks_len(), 1);
    let assigned = agent.assigned();
    let (id, given) = assigned.first_key_value().unwrap();
    let vpc = &parameters["NetworkConfiguration"]["awsvpcConfiguration"];
    let spec = given.spec.awsvpc.as_ref().unwrap();
    let groups: Vec<String> = spec.groups.iter().map(ToString::to_string).collect();
    assert_eq!(json!([spec.subnet.to_string()]), vpc["Subnets"]);
    assert_eq!(json!(groups), vpc["SecurityGroups"]);
    let shown = world.ok(Op::DescribeTasks, json!({"tasks": [id.to_string()], "include": ["TAGS"]})).await;
    let task = &shown["tasks"][0];
    let attachment = &task["attachments"][0];
    assert_eq!((&attachment["type"], &attachment["status"]), (&json!("ElasticNetworkInterface"), &json!("PRECREATED")));
    assert_eq!(attachment["details"], json!([{"name": "subnetId", "value": vpc["Subnets"][0]}]));
    let tags = json!([
        {"key": "aws:ecs:clusterName", "value": "default"},
        {"key": "from", "value": "target"},
        {"key": "team", "value": "data"},
    ]);
    assert_eq!(task["tags"], tags);
    assert_eq!((&task["capacityProviderName"], &task["enableExecuteCommand"]), (&json!("new"), &json!(true)));
    assert_eq!(task["containerInstanceArn"], agent.arn);
}

#[tokio::test(start_paused = true)]
async fn a_task_has_all_that_its_schedule_says_of_it() {
    let world = world().await;
    let (parameters, agent) = everything(&world).await;
    let asks = json!({"Target": target(json!({"EcsParameters": parameters}))});
    world.scheduled("once", &format!("at({})", at(MINUTE)), asks).await;
    let shown = world.until_shown("once", |shown| !shown["LongshoreInvocations"]["Last"].is_null()).await;
    assert_eq!(shown["LongshoreInvocations"]["Last"]["Outcome"], "STARTED", "{shown:#}");
    assert_eq!(shown["Target"]["EcsParameters"], parameters);
    has_everything(&world, &parameters, &agent).await;
}
