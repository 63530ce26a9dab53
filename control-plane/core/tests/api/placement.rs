//! Where a service's tasks go and why not: explanations, lost and silent hosts, zones, daemons first.

use crate::fleet::{Fleet, config, healthy, messages, stable};
use crate::world::{facts, with_attribute, without_attribute};
use longshore_core::{CoreConfig, Losses};
use longshore_ecs_api::Operation as Op;
use longshore_model::{DesiredStatus, Fence, HostFacts, TaskId};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

fn in_zone(zone: &str, memory_mib: u32) -> HostFacts {
    with_attribute(facts(2048, memory_mib), "ecs.availability-zone", Some(zone))
}

/// What DescribeServices says of the reasons: the sentence, and the hosts.
async fn why(fleet: &Fleet) -> (String, Vec<Value>) {
    let request = json!({"services": ["web"], "include": ["LONGSHORE_WHY"]});
    let answer = fleet.world.ok(Op::DescribeServices, request).await;
    let mut failures = answer["failures"].as_array().unwrap().clone();
    let first = failures.remove(0);
    assert_eq!(first["reason"], "LONGSHORE_WHY", "{first}");
    assert!(first["arn"].as_str().unwrap().ends_with(":service/default/web"), "{first}");
    (first["detail"].as_str().unwrap().to_owned(), failures)
}

/// The tasks that a host is to run.
fn runs_on(fleet: &Fleet, host: usize) -> BTreeSet<TaskId> {
    let assigned = fleet.agents[host].assigned().into_iter();
    assigned.filter(|(_, task)| task.desired == DesiredStatus::Running).map(|(id, _)| id).collect()
}

#[tokio::test]
async fn the_event_the_explanation_and_run_task_say_the_same() {
    let mut fleet = Fleet::with(2, config()).await;
    let small = fleet.world.host("default", facts(64, 2048)).await;
    fleet.agents.push(small);
    fleet.world.definition("big", json!({"memory": 1500})).await;
    fleet.world.ok(Op::CreateCluster, json!({"clusterName": "empty"})).await;
    let empty = json!({"cluster": "empty", "serviceName": "web", "taskDefinition": "big", "desiredCount": 1});
    fleet.world.ok(Op::CreateService, empty).await;

    let request = json!({"serviceName": "web", "taskDefinition": "big", "desiredCount": 3});
    fleet.world.ok(Op::CreateService, request).await;
    let service = fleet
        .until("two of three run", healthy, |service| {
            service["runningCount"] == 2 && messages(service).iter().any(|m| m.contains("unable to place"))
        })
        .await;
    let (sentence, hosts) = why(&fleet).await;
    let said = messages(&service).into_iter().find(|message| message.contains("unable to place")).unwrap();
    assert_eq!(said, sentence);
    assert!(sentence.contains("has insufficient memory available. It needs 1500 MiB"), "{sentence}");
    let run = fleet.world.ok(Op::RunTask, json!({"taskDefinition": "big"})).await;
    assert_eq!((&run["failures"], hosts.len()), (&json!(hosts), 3));
    let reasons: Vec<&str> = hosts.iter().map(|host| host["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons.iter().filter(|reason| **reason == "RESOURCE:MEMORY").count(), 2, "{reasons:?}");
    assert_eq!(reasons.iter().filter(|reason| **reason == "RESOURCE:CPU").count(), 1, "{reasons:?}");

    fleet.world.ok(Op::UpdateService, json!({"service": "web", "desiredCount": 2})).await;
    fleet.until("it is steady", healthy, stable(2)).await;
    assert_eq!(why(&fleet).await, ("(service web) has reached a steady state.".to_owned(), Vec::new()));
    fleet.world.ok(Op::DeleteService, json!({"service": "web", "force": true})).await;
    assert_eq!(why(&fleet).await, ("(service web) is being deleted: 2 tasks are left.".to_owned(), Vec::new()));
    fleet.agents[0].disconnect().await;
    let (sentence, _) = why(&fleet).await;
    let silent = "(service web) is being deleted: 2 tasks are left, 1 on container instances that went silent.";
    assert_eq!(sentence, silent);
    let both = json!({"services": ["web", "web"], "include": ["LONGSHORE_WHY"]});
    let refused = fleet.world.err(Op::DescribeServices, both).await;
    assert_eq!(refused, "InvalidParameterException: include: LONGSHORE_WHY is for one service at a time.");

    let request = json!({"cluster": "empty", "services": ["web"], "include": ["LONGSHORE_WHY"]});
    let answer = fleet.world.ok(Op::DescribeServices, request).await;
    let text = "No Container Instances were found in your cluster.";
    assert!(answer["failures"][0]["detail"].as_str().unwrap().contains(text), "{answer}");
    let refused = fleet.world.err(Op::RunTask, json!({"cluster": "empty", "taskDefinition": "big"})).await;
    assert!(refused.ends_with(text), "{refused}");
}

#[tokio::test]
async fn a_service_with_task_sets_is_explained_set_by_set() {
    let mut fleet = Fleet::with(2, config()).await;
    fleet.world.definition("big", json!({"memory": 1500})).await;
    fleet.world.definition("small", json!({"memory": 8})).await;
    let request = json!({"serviceName": "web", "desiredCount": 3, "deploymentController": {"type": "EXTERNAL"}});
    fleet.world.ok(Op::CreateService, request).await;
    let (sentence, hosts) = why(&fleet).await;
    assert!(sentence.starts_with("(service web) has no task set") && hosts.is_empty(), "{sentence}");
    let set = |definition: &str, scale: u32| {
        json!({"cluster": "default", "service": "web", "taskDefinition": definition,
            "scale": {"value": scale, "unit": "PERCENT"}})
    };
    let small = fleet.world.ok(Op::CreateTaskSet, set("small", 30)).await["taskSet"]["id"].clone();
    let steady = format!("(service web, taskSet {}) has reached a steady state.", small.as_str().unwrap());
    fleet.until("the small one is steady", healthy, |service| messages(service).contains(&steady)).await;
    let big = fleet.world.ok(Op::CreateTaskSet, set("big", 100)).await["taskSet"]["id"].clone();
    let big = big.as_str().unwrap();
    let service = fleet
        .until("all run that can", healthy, |service| {
            let said = messages(service);
            service["runningCount"] == 3 && said.iter().any(|message| message.contains("unable to place"))
        })
        .await;
    let (sentence, hosts) = why(&fleet).await;
    let said = messages(&service).into_iter().find(|message| message.contains("unable to place")).unwrap();
    assert!(said.starts_with(&format!("(service web, taskSet {big}) was unable to place")), "{said}");
    assert_eq!(sentence, format!("{steady}\n{said}"));
    let run = fleet.world.ok(Op::RunTask, json!({"taskDefinition": "big"})).await;
    assert_eq!((&run["failures"], hosts.len()), (&json!(hosts), 2));

    // Nobody reports the end of their tasks yet.
    let delete = json!({"cluster": "default", "service": "web", "taskSet": big, "force": true});
    fleet.world.ok(Op::DeleteTaskSet, delete).await;
    let going = format!("(service web, taskSet {big}) is being deleted: 2 tasks are left.");
    let (sentence, hosts) = why(&fleet).await;
    assert!(sentence.ends_with(&going) && hosts.is_empty(), "{sentence}");
    fleet.world.ok(Op::DeleteService, json!({"service": "web", "force": true})).await;
    let small = small.as_str().unwrap();
    let all = format!("(service web, taskSet {small}) is being deleted: 1 task is left.\n{going}");
    assert_eq!(why(&fleet).await, (all, Vec::new()));
    fleet.until("it is over", healthy, |service| service["status"] == "INACTIVE").await;
    assert_eq!(why(&fleet).await, ("The service was deleted.".to_owned(), Vec::new()));
}

fn holding(hold: Duration) -> CoreConfig {
    CoreConfig { losses: Losses { hold, ..Losses::default() }, ..config() }
}

#[tokio::test]
async fn a_lost_host_is_waited_for_as_long_as_is_said() {
    let mut fleet = Fleet::with(4, holding(Duration::from_secs(20))).await;
    fleet.world.definition("one", json!({})).await;
    fleet.world.ok(Op::CreateService, json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 4})).await;
    fleet.until("it is stable", healthy, stable(4)).await;
    let on_first = runs_on(&fleet, 0);
    assert_eq!(on_first.len(), 1);

    fleet.agents[0].disconnect().await;
    fleet.poke().await;
    let (sentence, _) = why(&fleet).await;
    assert!(sentence.contains("waits for container instances that went silent"), "{sentence}");
    fleet.world.clock.advance(Duration::from_secs(19));
    fleet.poke().await;
    assert_eq!(runs_on(&fleet, 0), on_first);
    // It comes back in time, and nothing moved.
    fleet.agents[0].connect(Vec::new()).await;
    fleet.world.clock.advance(Duration::from_secs(60));
    fleet.poke().await;
    assert_eq!((runs_on(&fleet, 0), fleet.tasks().len()), (on_first.clone(), 4));

    fleet.agents[0].disconnect().await;
    fleet.poke().await;
    why(&fleet).await;
    fleet.world.clock.advance(Duration::from_secs(20));
    fleet.poke().await;
    fleet.until("it is replaced", healthy, |_| true).await;
    crate::world::until("the lost one is to stop", || runs_on(&fleet, 0).is_empty()).await;
    let task = fleet.world.task(*on_first.first().unwrap()).await;
    assert_eq!((&task["desiredStatus"], &task["stopCode"]), (&json!("STOPPED"), &json!("InfrastructureHealth")));
    fleet.until("four run", healthy, |service| service["runningCount"] == 4).await;
}

#[tokio::test(start_paused = true)]
async fn when_many_are_silent_at_once_nothing_is_replaced() {
    let mut fleet = Fleet::with(4, config()).await;
    fleet.world.definition("one", json!({})).await;
    fleet.world.ok(Op::CreateService, json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 4})).await;
    fleet.until("it is stable", healthy, stable(4)).await;
    let hosts = |fleet: &Fleet| [0, 1, 2, 3].map(|host| runs_on(fleet, host));
    let before = hosts(&fleet);
    // Two are cut off at once: when one of them counts as silent, the other one is late.
    fleet.pass(Duration::from_secs(1), &[0, 1, 2, 3]).await;
    fleet.pass(Duration::from_secs(4), &[2, 3]).await;
    let (a, b) = (&fleet.agents[0], &fleet.agents[1]);
    futures::future::join(a.disconnect(), b.disconnect()).await;
    let text =
        "(service web) does not replace the tasks of silent hosts: 2 of 4 container instances went silent at once";
    let held = |service: &Value| messages(service).iter().any(|message| message.starts_with(text));
    fleet.until("it says so", healthy, held).await;
    // A single one would be given up at once. These are not, however long it lasts and whoever looks.
    for _ in 0..5 {
        assert!(why(&fleet).await.0.starts_with(text));
        assert_eq!(hosts(&fleet), before);
        fleet.poke().await;
        fleet.pass(Duration::from_secs(30), &[2, 3]).await;
    }
    assert_eq!(hosts(&fleet), before);
    let service = fleet.service("web").await;
    let said = messages(&service).into_iter().filter(|message| message.starts_with(text)).count();
    assert_eq!(said, 1, "{service:#}");
    fleet.agents[1].connect(Vec::new()).await;
    crate::world::until("the one that stays away is given up", || runs_on(&fleet, 0).is_empty()).await;
    fleet.until("it is whole again", healthy, stable(4)).await;
    let after = hosts(&fleet);
    assert!(before[1..].iter().zip(&after[1..]).all(|(before, after)| before.is_subset(after)), "{before:?} {after:?}");
}

#[tokio::test(start_paused = true)]
async fn what_must_not_run_twice_is_replaced_once_its_host_has_certainly_stopped_it() {
    let mut fleet = Fleet::with(3, config()).await;
    fleet.world.definition("one", json!({})).await;
    let tags = json!([{"key": "longshore:at-most-one", "value": "true"}]);
    let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 1, "tags": tags});
    let wrong = json!([{"key": "longshore:at-most-one", "value": "yes"}]);
    let refused = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 1, "tags": wrong.clone()});
    let refused = fleet.world.err(Op::CreateService, refused).await;
    assert!(refused.contains("tags: `longshore:at-most-one` must be `true` or `false`"), "{refused}");
    // An agent that does not know how to would let them run.
    let old = without_attribute(facts(2048, 2048), "longshore.fence");
    let old = fleet.world.host("default", old).await;
    fleet.agents.push(old);
    fleet.world.ok(Op::CreateService, request).await;
    let arn = fleet.service("web").await["serviceArn"].clone();
    let refused = fleet.world.err(Op::TagResource, json!({"resourceArn": arn, "tags": wrong})).await;
    assert!(refused.contains("tags: `longshore:at-most-one` must be `true` or `false`"), "{refused}");
    fleet.until("it is stable", healthy, stable(1)).await;
    let (id, ..) = fleet.tasks()[0];
    let host = (0..3).find(|host| runs_on(&fleet, *host).contains(&id)).expect("not on the old one");
    let spec = fleet.agents[host].assigned()[&id].spec.clone();
    assert_eq!(spec.fence, Some(Fence { after_millis: 5_000, grace_millis: 10_000 }));

    let others: Vec<usize> = (0..4).filter(|other| *other != host).collect();
    let (almost, rest) = (Duration::from_millis(14_900), Duration::from_millis(200));
    fleet.agents[host].disconnect().await;
    fleet.poke().await;
    why(&fleet).await;
    // Not before the lease, the stop and the margin; and no deployment or scaling starts another either.
    fleet.pass(almost, &others).await;
    fleet.poke().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((runs_on(&fleet, host), fleet.tasks().len()), (BTreeSet::from([id]), 1));
    let forced = json!({"service": "web", "forceNewDeployment": true, "availabilityZoneRebalancing": "DISABLED",
        "deploymentConfiguration": {"minimumHealthyPercent": 0, "maximumPercent": 100}});
    fleet.world.ok(Op::UpdateService, forced).await;
    fleet.until("the old one is asked to stop", healthy, |s| s["deployments"][1]["runningCount"] != 1).await;
    fleet.poke().await;
    // Whoever looks at it has done so.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(fleet.tasks(), [], "nothing starts while it may still run");
    // Whoever sets the wall clock, and a control plane that starts anew, do not shorten it.
    fleet.world = fleet.world.reopen_with(config()).await;
    for nth in &others {
        fleet.agents[*nth].move_to(&fleet.world.core).await;
    }
    fleet.world.clock.set_ahead(Duration::from_secs(3600));
    fleet.poke().await;
    why(&fleet).await;
    fleet.pass(almost, &others).await;
    fleet.poke().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(fleet.tasks(), []);
    fleet.pass(rest, &others).await;
    fleet.until("another runs", healthy, |service| service["runningCount"] == 1).await;
    let another = fleet.tasks();
    assert!(another.len() == 1 && another[0].0 != id, "{another:?}");
    fleet.pass(Duration::from_secs(60), &others).await;
    fleet.poke().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(fleet.tasks(), another);
    assert!(runs_on(&fleet, 3).is_empty());
}

#[tokio::test]
async fn zones_are_evened_out_when_hosts_come() {
    let mut fleet = Fleet::with(0, config()).await;
    let host = fleet.world.host("default", in_zone("a", 2048)).await;
    fleet.agents.push(host);
    fleet.world.definition("one", json!({})).await;
    let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 4});
    let made = fleet.world.ok(Op::CreateService, request).await;
    assert_eq!(made["service"]["availabilityZoneRebalancing"], "ENABLED");
    fleet.until("it is stable", healthy, stable(4)).await;
    let host = fleet.world.host("default", in_zone("b", 2048)).await;
    fleet.agents.push(host);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while runs_on(&fleet, 1).len() != 2 || runs_on(&fleet, 0).len() != 2 {
        let service = fleet.service("web").await;
        assert!(service["runningCount"].as_i64().unwrap() >= 4, "{service:#}");
        assert!(tokio::time::Instant::now() < deadline, "{service:#}");
        fleet.pump(healthy).await;
    }
    fleet.until("it is stable", healthy, stable(4)).await;

    let daemon = json!({"serviceName": "log", "taskDefinition": "one", "schedulingStrategy": "DAEMON"});
    let made = fleet.world.ok(Op::CreateService, daemon).await;
    assert_eq!(made["service"]["availabilityZoneRebalancing"], "DISABLED");
}

#[tokio::test]
async fn zones_are_evened_out_when_somebody_elses_task_makes_room() {
    let mut fleet = Fleet::with(0, config()).await;
    for zone in ["a", "b"] {
        let host = fleet.world.host("default", in_zone(zone, 2048)).await;
        fleet.agents.push(host);
    }
    fleet.world.definition("one", json!({})).await;
    fleet.world.definition("large", json!({"memory": 2000})).await;
    let on_b = json!({"taskDefinition": "large", "containerInstances": [fleet.agents[1].arn]});
    let large = fleet.world.ok(Op::StartTask, on_b).await["tasks"][0]["taskArn"].clone();
    let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 4});
    fleet.world.ok(Op::CreateService, request).await;
    fleet.until("it is stable", healthy, stable(4)).await;
    assert_eq!(runs_on(&fleet, 0).len(), 4);
    fleet.world.ok(Op::StopTask, json!({"task": large})).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while runs_on(&fleet, 1).len() != 2 || runs_on(&fleet, 0).len() != 2 {
        let service = fleet.service("web").await;
        assert!(tokio::time::Instant::now() < deadline, "{service:#}");
        fleet.pump(healthy).await;
    }
    fleet.until("it is stable", healthy, stable(4)).await;
}

#[tokio::test]
async fn a_service_is_evened_out_over_zones_only_where_it_can_be_whoever_says_so() {
    let fleet = Fleet::new(1).await;
    fleet.world.definition("one", json!({})).await;
    let with = |mut base: Value, changes: &Value| {
        base.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        base
    };
    let new = |name: &str| json!({"serviceName": name, "taskDefinition": "one", "desiredCount": 0});
    let percent = |maximum: i32| json!({"minimumHealthyPercent": 50, "maximumPercent": maximum});
    let packed = json!({"placementStrategy": [{"type": "binpack", "field": "cpu"}]});
    let tight = json!({"deploymentConfiguration": percent(100)});
    let refused = "InvalidParameterException: availabilityZoneRebalancing must be DISABLED: ";
    let (over, room) = ("placementStrategy does not begin with a spread", "maximumPercent is not above 100");

    // A new one that says nothing is what it can be.
    for (name, changes, expected) in
        [("web", json!({}), "ENABLED"), ("tight", tight.clone(), "DISABLED"), ("packed", packed.clone(), "DISABLED")]
    {
        let made = fleet.world.ok(Op::CreateService, with(new(name), &changes)).await;
        assert_eq!(made["service"]["availabilityZoneRebalancing"], expected, "{changes}");
    }
    let enabled = json!({"availabilityZoneRebalancing": "ENABLED"});
    for (changes, why) in [(&packed, over), (&tight, room)] {
        let answer = fleet.world.err(Op::CreateService, with(with(new("other"), changes), &enabled)).await;
        assert!(answer.starts_with(refused) && answer.contains(why), "{changes}: {answer}");
    }

    // Of an existing one it counts what it has, too.
    let settings = async |name: &str| {
        let service = fleet.service(name).await;
        let fields = ["availabilityZoneRebalancing", "deploymentConfiguration", "placementStrategy"];
        fields.map(|field| service[field].clone())
    };
    let update = async |name: &str, changes: &Value| {
        let request = with(json!({"service": name}), changes);
        let before = settings(name).await;
        match fleet.world.call(Op::UpdateService, request).await {
            Ok(answer) => answer["service"]["availabilityZoneRebalancing"].as_str().unwrap().to_owned(),
            Err((code, text)) => {
                assert_eq!(settings(name).await, before);
                format!("{code}: {text}")
            }
        }
    };
    for (name, changes, why) in [
        ("web", &packed, over),
        ("web", &tight, room),
        ("web", &with(tight.clone(), &enabled), room),
        ("tight", &enabled, room),
        ("packed", &enabled, over),
    ] {
        let answer = update(name, changes).await;
        assert!(answer.starts_with(refused) && answer.contains(why), "{name}, {changes}: {answer}");
    }
    let maybe = update("web", &json!({"availabilityZoneRebalancing": "MAYBE"})).await;
    assert!(maybe.contains("availabilityZoneRebalancing: `MAYBE` is none of ENABLED, DISABLED"), "{maybe}");
    let off = json!({"availabilityZoneRebalancing": "DISABLED"});
    for (name, changes, expected) in [
        ("web", json!({"desiredCount": 1}), "ENABLED"),
        ("web", with(tight.clone(), &off), "DISABLED"),
        // What says nothing of it leaves it, also where it could be ENABLED by now.
        ("web", json!({"deploymentConfiguration": percent(150)}), "DISABLED"),
        ("tight", json!({"deploymentConfiguration": percent(150)}), "DISABLED"),
        ("tight", enabled.clone(), "ENABLED"),
        ("packed", with(json!({"placementStrategy": []}), &enabled), "ENABLED"),
    ] {
        assert_eq!(update(name, &changes).await, expected, "{name}, {changes}");
    }
}

#[tokio::test]
async fn an_empty_list_takes_constraints_and_strategies_away_and_none_leaves_them() {
    let mut fleet = Fleet::new(0).await;
    for rack in ["a", "b"] {
        let host = fleet.world.host("default", with_attribute(facts(2048, 2048), "rack", Some(rack))).await;
        fleet.agents.push(host);
    }
    fleet.world.definition("one", json!({})).await;
    let constraints = json!([{"type": "memberOf", "expression": "attribute:rack == a"}]);
    let strategy = json!([{"type": "binpack", "field": "memory"}]);
    let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 1,
        "placementConstraints": constraints, "placementStrategy": strategy});
    fleet.world.ok(Op::CreateService, request).await;
    let deployment = fleet.until("it is stable", healthy, stable(1)).await["deployments"][0]["id"].clone();
    let none = json!([]);
    for (mut changes, shown, count, on) in [
        (json!({}), (&constraints, &strategy), 2, [2, 0]),
        (json!({"placementConstraints": null, "placementStrategy": null}), (&constraints, &strategy), 3, [3, 0]),
        (json!({"placementConstraints": []}), (&none, &strategy), 4, [4, 0]),
        // Without any they are spread over hosts.
        (json!({"placementStrategy": []}), (&none, &none), 6, [4, 2]),
    ] {
        (changes["service"], changes["desiredCount"]) = (json!("web"), json!(count));
        let updated = fleet.world.ok(Op::UpdateService, changes.clone()).await["service"].clone();
        assert_eq!((&updated["placementConstraints"], &updated["placementStrategy"]), shown, "{changes}");
        let service = fleet.until("it is stable", healthy, stable(count)).await;
        assert_eq!(service["deployments"][0]["id"], deployment, "it takes no deployment");
        assert_eq!([0, 1].map(|host| runs_on(&fleet, host).len()), on, "{changes}");
    }
}

#[tokio::test]
async fn a_daemon_is_the_first_on_a_new_host() {
    let mut fleet = Fleet::with(1, config()).await;
    fleet.world.definition("log", json!({"memory": 1000})).await;
    fleet.world.definition("one", json!({"memory": 1000})).await;
    let daemon = json!({"serviceName": "log", "taskDefinition": "log", "schedulingStrategy": "DAEMON"});
    fleet.world.ok(Op::CreateService, daemon).await;
    fleet.world.ok(Op::CreateService, json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 5})).await;
    fleet.until("the host is full", healthy, |service| service["runningCount"] == 1).await;
    // Several come, each with room for one task alone.
    for _ in 0..3 {
        let host = fleet.world.host("default", facts(2048, 1024)).await;
        fleet.agents.push(host);
    }
    let on = |fleet: &Fleet, host: usize| -> Vec<String> {
        fleet.agents[host].assigned().values().map(|task| task.spec.family.to_string()).collect()
    };
    crate::world::until("each has one", || (1..4).all(|host| on(&fleet, host).len() == 1)).await;
    for host in 1..4 {
        assert_eq!(on(&fleet, host), ["log"]);
    }
    let (sentence, hosts) = why(&fleet).await;
    assert!(sentence.contains("has insufficient memory"), "{sentence}");
    assert_eq!(hosts.len(), 4);
}

#[tokio::test]
async fn a_host_keeps_room_for_the_daemon_that_it_lacks() {
    let mut fleet = Fleet::with(1, config()).await;
    for (family, memory) in [("log", 1000), ("two", 1500), ("small", 300)] {
        fleet.world.definition(family, json!({"memory": memory})).await;
    }
    let web = json!({"serviceName": "web", "taskDefinition": "two", "desiredCount": 1});
    fleet.world.ok(Op::CreateService, web).await;
    fleet.until("it is there", healthy, stable(1)).await;
    let daemon = json!({"serviceName": "log", "taskDefinition": "log", "schedulingStrategy": "DAEMON"});
    fleet.world.ok(Op::CreateService, daemon).await;
    let waits = |service: &Value| messages(service).iter().any(|message| message.contains("unable to place"));
    until_unplaced(&fleet, "log").await;
    // What is free is the daemon's, and what becomes free as well, whoever else waits for it.
    let refused = fleet.world.ok(Op::RunTask, json!({"taskDefinition": "small"})).await;
    let detail = "needs 300 MiB of memory, has 548 of 2048 free, of which 548 are kept for DAEMON services";
    assert_eq!(
        (&refused["failures"][0]["reason"], &refused["failures"][0]["detail"]),
        (&json!("RESOURCE:MEMORY"), &json!(detail))
    );
    let task = *runs_on(&fleet, 0).first().unwrap();
    fleet.world.ok(Op::StopTask, json!({"task": task.to_string()})).await;
    let runs = |service: &Value| waits(service) && service["runningCount"] == 0 && service["pendingCount"] == 0;
    fleet.until("the daemon has its place", healthy, runs).await;
    let families = |fleet: &Fleet| fleet.tasks().into_iter().map(|(_, family, _)| family).collect::<Vec<_>>();
    assert_eq!(families(&fleet), ["log"]);
    let started = fleet.world.ok(Op::RunTask, json!({"taskDefinition": "small"})).await;
    assert_eq!(started["failures"], json!([]));
    // Nothing is kept for a daemon that is gone.
    fleet.world.ok(Op::DeleteService, json!({"service": "log", "force": true})).await;
    fleet.until("the other one runs again", healthy, stable(1)).await;
}

/// Waits until this service has found no place.
async fn until_unplaced(fleet: &Fleet, name: &str) {
    crate::world::until("it waits", || {
        let state = fleet.world.core.snapshot();
        let found = state.services().find(|(key, _)| *key.name == *name).map(|(_, service)| service);
        found.is_some_and(|service| service.events.iter().any(|event| event.message.contains("unable to place")))
    })
    .await;
}

#[tokio::test]
async fn an_update_gives_nothing_up_for_room_that_is_kept_for_a_daemon() {
    let mut fleet = Fleet::with(1, config()).await;
    for (family, memory) in [("log", 1400), ("web", 300)] {
        fleet.world.definition(family, json!({"memory": memory})).await;
    }
    let web = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 6,
        "deploymentConfiguration": {"minimumHealthyPercent": 50, "maximumPercent": 200}});
    fleet.world.ok(Op::CreateService, web).await;
    fleet.until("all run", healthy, stable(6)).await;
    let daemon = json!({"serviceName": "log", "taskDefinition": "log", "schedulingStrategy": "DAEMON"});
    fleet.world.ok(Op::CreateService, daemon).await;
    until_unplaced(&fleet, "log").await;
    let before = runs_on(&fleet, 0);
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "forceNewDeployment": true})).await;
    until_unplaced(&fleet, "web").await;
    // Looked at again, it still has nothing to gain.
    for _ in 0..5 {
        fleet.poke().await;
        fleet.pump(healthy).await;
    }
    assert_eq!(runs_on(&fleet, 0), before);
    // A daemon that no longer belongs there keeps nothing, and who waits hears of it.
    let elsewhere = json!([{"type": "memberOf", "expression": "attribute:rack == b"}]);
    fleet.world.ok(Op::UpdateService, json!({"service": "log", "placementConstraints": elsewhere})).await;
    fleet.until("the update is through", healthy, stable(6)).await;
    assert!(runs_on(&fleet, 0).is_disjoint(&before));
}

/// A service `web` of six tasks of 320 CPU units and 300 MiB each on a host that has no more room, and a daemon that
/// waits there; its percentages, and what the daemon takes.
async fn full_beside_a_waiting_daemon(percents: [u32; 2], daemon: Value) -> Fleet {
    let mut fleet = Fleet::with(1, config()).await;
    fleet.world.definition("web", json!({"memory": 300, "cpu": 320})).await;
    fleet.world.definition("log", daemon).await;
    let [minimum, maximum] = percents;
    let web = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 6,
        "deploymentConfiguration": {"minimumHealthyPercent": minimum, "maximumPercent": maximum}});
    fleet.world.ok(Op::CreateService, web).await;
    fleet.until("all run", healthy, stable(6)).await;
    let daemon = json!({"serviceName": "log", "taskDefinition": "log", "schedulingStrategy": "DAEMON"});
    fleet.world.ok(Op::CreateService, daemon).await;
    until_unplaced(&fleet, "log").await;
    fleet
}

#[tokio::test]
async fn an_update_that_may_have_no_task_more_gives_nothing_up_for_room_that_is_kept() {
    // Three may go at once, which frees less than the daemon takes; the second lacks CPU before memory.
    for daemon in [json!({"memory": 1400}), json!({"memory": 1400, "cpu": 64})] {
        for maximum in [100, 200] {
            let mut fleet = full_beside_a_waiting_daemon([50, maximum], daemon.clone()).await;
            let before = runs_on(&fleet, 0);
            fleet.world.ok(Op::UpdateService, json!({"service": "web", "forceNewDeployment": true})).await;
            for _ in 0..10 {
                fleet.poke().await;
                fleet.pump(healthy).await;
            }
            assert_eq!(runs_on(&fleet, 0), before, "{daemon} {maximum}");
            fleet.world.ok(Op::DeleteService, json!({"service": "log", "force": true})).await;
            fleet.until("the update is through", healthy, stable(6)).await;
            assert!(runs_on(&fleet, 0).is_disjoint(&before));
        }
    }
}

#[tokio::test]
async fn a_host_elsewhere_that_keeps_room_holds_no_update_up() {
    let mut fleet = Fleet::with(2, config()).await;
    for (family, memory) in [("log", 200), ("web", 300), ("large", 1900)] {
        fleet.world.definition(family, json!({"memory": memory})).await;
    }
    // The second host is full and lacks the daemon, which the first one has, beside as many others as it can.
    let large = json!({"taskDefinition": "large", "containerInstances": [fleet.agents[1].arn]});
    fleet.world.ok(Op::StartTask, large).await;
    let daemon = json!({"serviceName": "log", "taskDefinition": "log", "schedulingStrategy": "DAEMON"});
    fleet.world.ok(Op::CreateService, daemon).await;
    crate::world::until("the daemon is there", || runs_on(&fleet, 0).len() == 1).await;
    let web = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 6,
        "deploymentConfiguration": {"minimumHealthyPercent": 50, "maximumPercent": 200}});
    fleet.world.ok(Op::CreateService, web).await;
    fleet.until("all run", healthy, stable(6)).await;
    let before = runs_on(&fleet, 0);
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "forceNewDeployment": true})).await;
    fleet.until("the update is through", healthy, stable(6)).await;
    assert_eq!(runs_on(&fleet, 0).intersection(&before).count(), 1, "the daemon alone stays");
}

#[tokio::test]
async fn a_draining_host_loses_what_does_not_run_at_once_and_a_deregistered_one_everything() {
    let mut fleet = Fleet::with(2, config()).await;
    fleet.world.definition("one", json!({})).await;
    fleet.world.ok(Op::CreateService, json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 2})).await;
    crate::world::until("both hosts have one", || (0..2).all(|host| runs_on(&fleet, host).len() == 1)).await;
    // None of them runs yet.
    let pending = *runs_on(&fleet, 0).first().unwrap();
    let arn = fleet.agents[0].arn.clone();
    let drain = json!({"containerInstances": [arn], "status": "DRAINING"});
    fleet.world.ok(Op::UpdateContainerInstancesState, drain).await;
    crate::world::until("it is stopped", || runs_on(&fleet, 0).is_empty()).await;
    let task = fleet.world.task(pending).await;
    assert_eq!(task["stopCode"], "ServiceSchedulerInitiated", "{task}");
    fleet.until("both are on the other host", healthy, stable(2)).await;

    let arn = fleet.agents[1].arn.clone();
    let activate = json!({"containerInstances": [fleet.agents[0].arn], "status": "ACTIVE"});
    fleet.world.ok(Op::UpdateContainerInstancesState, activate).await;
    let refused = fleet.world.err(Op::DeregisterContainerInstance, json!({"containerInstance": arn})).await;
    assert_eq!(refused, "InvalidParameterException: Found running tasks on the instance.");
    let lost = *runs_on(&fleet, 1).first().unwrap();
    let forced = json!({"containerInstance": arn, "force": true});
    let answer = fleet.world.ok(Op::DeregisterContainerInstance, forced).await;
    assert_eq!(answer["containerInstance"]["status"], "INACTIVE");
    let task = fleet.world.task(lost).await;
    assert_eq!(task["lastStatus"], "STOPPED", "{task}");
    fleet.agents.remove(1);
    fleet.until("both are on the first host", healthy, stable(2)).await;
}

#[tokio::test]
async fn a_services_strategy_says_where_its_tasks_go() {
    // The first host has the less CPU, and the second one the less memory.
    for (strategy, expected) in [
        (json!([]), [2, 2]),
        (json!([{"type": "binpack", "field": "cpu"}]), [4, 0]),
        (json!([{"type": "binpack", "field": "memory"}]), [0, 4]),
    ] {
        let mut fleet = Fleet::new(0).await;
        for facts in [facts(1024, 2048), facts(2048, 1024)] {
            let host = fleet.world.host("default", facts).await;
            fleet.agents.push(host);
        }
        fleet.world.definition("one", json!({})).await;
        let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 4,
            "placementStrategy": strategy});
        fleet.world.ok(Op::CreateService, request).await;
        fleet.until("it is stable", healthy, stable(4)).await;
        assert_eq!([0, 1].map(|host| runs_on(&fleet, host).len()), expected, "{strategy}");
    }
    // At random they are neither packed nor even: of services like this one, one in 80 million is even by chance.
    let mut fleet = Fleet::new(16).await;
    fleet.world.definition("one", json!({"memory": 8, "cpu": 1})).await;
    let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 32,
        "placementStrategy": [{"type": "random"}]});
    fleet.world.ok(Op::CreateService, request).await;
    fleet.until("it is stable", healthy, stable(32)).await;
    let counts: Vec<usize> = (0..16).map(|host| runs_on(&fleet, host).len()).collect();
    assert!(counts.iter().any(|count| *count != 2) && counts.iter().all(|count| *count < 32), "{counts:?}");
}

#[tokio::test]
async fn tasks_that_are_to_be_on_distinct_hosts_wait_for_another_one() {
    let mut fleet = Fleet::new(2).await;
    fleet.world.definition("one", json!({})).await;
    let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 3,
        "placementConstraints": [{"type": "distinctInstance"}]});
    fleet.world.ok(Op::CreateService, request).await;
    let unplaced = |service: &Value| messages(service).into_iter().find(|message| message.contains("unable to place"));
    let waits = |service: &Value| service["runningCount"] == 2 && unplaced(service).is_some();
    let service = fleet.until("two of three run", healthy, waits).await;
    assert_eq!([0, 1].map(|host| runs_on(&fleet, host).len()), [1, 1]);
    let said = unplaced(&service).unwrap();
    let text = "encountered error \"DistinctInstance placement constraint unsatisfied.\". It already has a task of \
                group service:web. ";
    assert!(said.contains(text), "{said}");
    let (sentence, hosts) = why(&fleet).await;
    assert_eq!((sentence, hosts.len()), (said, 2), "{hosts:?}");
    let host = fleet.world.host("default", facts(2048, 2048)).await;
    fleet.agents.push(host);
    fleet.until("all run", healthy, stable(3)).await;
    let hosts = |fleet: &Fleet| [0, 1, 2].map(|host| runs_on(fleet, host));
    let before = hosts(&fleet);
    assert_eq!(before.each_ref().map(BTreeSet::len), [1, 1, 1]);

    // One goes, and another takes its place there: no host has two at any time.
    let (core, instances) = (fleet.world.core.clone(), [0, 1, 2].map(|host| fleet.agents[host].instance));
    let one_by_one = |service: &Value| {
        let most = instances.iter().map(|host| core.assignment(*host).unwrap().1.len()).max();
        assert!(most <= Some(1) && service["runningCount"].as_u64() >= Some(2), "{most:?} {service:#}");
        stable(3)(service)
    };
    let update = json!({"service": "web", "forceNewDeployment": true, "availabilityZoneRebalancing": "DISABLED",
        "deploymentConfiguration": {"minimumHealthyPercent": 50, "maximumPercent": 100}});
    fleet.world.ok(Op::UpdateService, update).await;
    fleet.until("the update is through", healthy, one_by_one).await;
    let after = hosts(&fleet);
    assert_eq!(after.each_ref().map(BTreeSet::len), [1, 1, 1]);
    assert!(before.iter().zip(&after).all(|(before, after)| before.is_disjoint(after)), "{before:?} {after:?}");
}

#[tokio::test]
async fn a_daemon_runs_on_the_hosts_that_its_constraints_select() {
    let mut fleet = Fleet::new(1).await;
    for rack in ["a", "a", "b"] {
        let host = fleet.world.host("default", with_attribute(facts(2048, 2048), "rack", Some(rack))).await;
        fleet.agents.push(host);
    }
    fleet.world.definition("log", json!({})).await;
    let request = json!({"serviceName": "web", "taskDefinition": "log", "schedulingStrategy": "DAEMON",
        "placementConstraints": [{"type": "memberOf", "expression": "attribute:rack == a"}]});
    fleet.world.ok(Op::CreateService, request).await;
    let service = fleet.until("it is where it belongs", healthy, stable(2)).await;
    let on = |fleet: &Fleet| [0, 1, 2, 3].map(|host| runs_on(fleet, host).len());
    assert_eq!(on(&fleet), [0, 1, 1, 0]);
    assert!(messages(&service).iter().all(|message| !message.contains("unable to place")), "{service:#}");
    // A host comes among them, and another one leaves them.
    for (host, rack) in [(0, "a"), (1, "b")] {
        let attribute = json!({"name": "rack", "value": rack, "targetId": fleet.agents[host].arn});
        fleet.world.ok(Op::PutAttributes, json!({"attributes": [attribute]})).await;
        let count = if host == 0 { 3 } else { 2 };
        fleet.until("it has followed", healthy, stable(count)).await;
    }
    assert_eq!(on(&fleet), [1, 0, 1, 0]);
}
