//! Services: deployments, failures, daemons, how they are listed and what is said.

use crate::fleet::{Fleet, config, healthy, messages, stable};
use crate::world::facts;
use longshore_ecs_api::Operation as Op;
use longshore_model::TaskStatus;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

#[tokio::test]
async fn a_service_from_its_creation_to_its_end() {
    let mut fleet = Fleet::new(3).await;
    fleet.world.definition("one", json!({})).await;
    fleet.world.definition("two", json!({})).await;
    let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 3,
        "enableECSManagedTags": true, "propagateTags": "SERVICE", "tags": [{"key": "team", "value": "a"}]});
    let made = fleet.world.ok(Op::CreateService, request.clone()).await["service"].clone();
    assert_eq!((&made["status"], &made["desiredCount"]), (&json!("ACTIVE"), &json!(3)));
    assert_eq!(made["deploymentConfiguration"]["maximumPercent"], 200);
    let first = made["deployments"][0]["id"].as_str().unwrap().to_owned();
    assert!(first.starts_with("ecs-svc/") && first.len() == 27, "{first}");

    let service = fleet.until("it is stable", healthy, stable(3)).await;
    assert!(messages(&service).contains(&"(service web) has reached a steady state.".to_owned()), "{service:#}");
    assert!(messages(&service).contains(&format!("(service web) (deployment {first}) deployment completed.")));
    let on: BTreeSet<_> = fleet.agents.iter().filter(|agent| agent.assigned().len() == 1).map(|a| a.instance).collect();
    assert_eq!(on.len(), 3, "spread over hosts");
    let listed = fleet.world.ok(Op::ListTasks, json!({"serviceName": "web"})).await;
    let described = fleet.world.ok(Op::DescribeTasks, json!({"tasks": listed["taskArns"], "include": ["TAGS"]})).await;
    let task = &described["tasks"][0];
    assert_eq!((&task["group"], &task["startedBy"]), (&json!("service:web"), &json!(first)));
    let tags: BTreeSet<&str> = task["tags"].as_array().unwrap().iter().map(|t| t["key"].as_str().unwrap()).collect();
    assert_eq!(tags, ["aws:ecs:clusterName", "aws:ecs:serviceName", "team"].into());

    // The same again is the same; another one of the name is refused.
    let again = fleet.world.ok(Op::CreateService, request).await;
    assert_eq!(again["service"]["deployments"][0]["id"], json!(first));
    let other = json!({"serviceName": "web", "taskDefinition": "two", "desiredCount": 3});
    let refused = fleet.world.err(Op::CreateService, other).await;
    assert_eq!(refused, "InvalidParameterException: Creation of service was not idempotent.");

    // A task that ends is replaced.
    let (lost, ..) = fleet.tasks()[0];
    let agent = fleet.agents.iter_mut().find(|agent| agent.assigned().contains_key(&lost)).unwrap();
    agent.is(lost, TaskStatus::Stopped).await;
    fleet.said.insert(lost, TaskStatus::Stopped);
    let without = |service: &Value| stable(3)(service);
    fleet.until("it is whole again", healthy, without).await;
    assert!(fleet.tasks().iter().all(|(id, ..)| *id != lost));

    // A new definition takes over, and never are there fewer than three.
    let updated = fleet.world.ok(Op::UpdateService, json!({"service": "web", "taskDefinition": "two"})).await;
    assert_eq!(updated["service"]["deployments"].as_array().unwrap().len(), 2);
    let three = |service: &Value| {
        assert!(service["runningCount"].as_u64() >= Some(3), "{service}");
        stable(3)(service)
    };
    fleet.until("the update is through", healthy, three).await;
    assert!(fleet.tasks().iter().all(|(_, family, _)| family == "two"), "{:?}", fleet.tasks());
    // The same definition once more changes nothing, unless it is forced.
    let same = fleet.world.ok(Op::UpdateService, json!({"service": "web", "taskDefinition": "two"})).await;
    assert_eq!(same["service"]["deployments"].as_array().unwrap().len(), 1);
    let forced = fleet.world.ok(Op::UpdateService, json!({"service": "web", "forceNewDeployment": true})).await;
    assert_eq!(forced["service"]["deployments"].as_array().unwrap().len(), 2);
    fleet.until("the forced one is through", healthy, stable(3)).await;

    fleet.world.ok(Op::UpdateService, json!({"service": "web", "desiredCount": 1})).await;
    fleet.until("it is scaled in", healthy, stable(1)).await;

    let refused = fleet.world.err(Op::DeleteService, json!({"service": "web"})).await;
    assert!(refused.contains("The service cannot be stopped while it is scaled above 0."), "{refused}");
    let refused = fleet.world.err(Op::DeleteCluster, json!({"cluster": "default"})).await;
    assert!(refused.contains("Container Instances"), "{refused}");
    let deleted = fleet.world.ok(Op::DeleteService, json!({"service": "web", "force": true})).await;
    assert_eq!(deleted["service"]["status"], "DRAINING");
    let refused = fleet.world.err(Op::UpdateService, json!({"service": "web", "desiredCount": 2})).await;
    assert_eq!(refused, "ServiceNotActiveException: Service was not ACTIVE.");
    fleet.until("it is over", healthy, |service| service["status"] == "INACTIVE").await;
    assert_eq!(fleet.tasks(), []);
    let listed = fleet.world.ok(Op::ListServices, json!({})).await;
    assert_eq!(listed["serviceArns"], json!([]));
    // Its name is free again.
    let request = json!({"serviceName": "web", "taskDefinition": "two", "desiredCount": 1});
    fleet.world.ok(Op::CreateService, request).await;
    fleet.until("the new one is stable", healthy, stable(1)).await;
}

#[tokio::test(start_paused = true)]
async fn each_deployment_is_said_to_be_steady_once() {
    let mut fleet = Fleet::new(2).await;
    fleet.world.definition("one", json!({})).await;
    fleet.world.definition("two", json!({})).await;
    let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 2});
    fleet.world.ok(Op::CreateService, request).await;
    for (nth, update) in
        [(1, json!({"taskDefinition": "two"})), (2, json!({"forceNewDeployment": true})), (3, json!({}))]
    {
        fleet.until("it is stable", healthy, stable(2)).await;
        // Whoever looks at it once more has done so.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let said = messages(&fleet.service("web").await);
        let count = |end: &str| said.iter().filter(|message| message.ends_with(end)).count();
        let counts = (count(" has reached a steady state."), count(" deployment completed."));
        assert_eq!(counts, (nth, nth), "{said:#?}");
        let mut request = update;
        request["service"] = json!("web");
        fleet.world.ok(Op::UpdateService, request).await;
    }
    // One that is scaled is steady again, without a deployment.
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "desiredCount": 3})).await;
    fleet.until("it is stable", healthy, stable(3)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let said = messages(&fleet.service("web").await);
    assert_eq!(said.iter().filter(|message| message.ends_with(" has reached a steady state.")).count(), 4, "{said:#?}");
}

#[tokio::test]
async fn hosts_without_room_do_not_keep_a_daemon_from_the_others() {
    let mut fleet = Fleet::new(50).await;
    // Full are those that come first: more than one step looks at.
    fleet.agents.sort_by_key(|agent| agent.instance);
    fleet.world.definition("hog", json!({"memory": 2048})).await;
    fleet.world.definition("log", json!({})).await;
    let arns: Vec<String> = fleet.agents.iter().map(|agent| agent.arn.clone()).collect();
    let mut hogs = Vec::new();
    for hosts in arns[..40].chunks(10) {
        let answer = fleet.world.ok(Op::StartTask, json!({"taskDefinition": "hog", "containerInstances": hosts})).await;
        assert_eq!(answer["failures"], json!([]), "{answer}");
        hogs.extend(answer["tasks"].as_array().unwrap().iter().map(|task| task["taskArn"].clone()));
    }
    let request = json!({"serviceName": "web", "taskDefinition": "log", "schedulingStrategy": "DAEMON"});
    fleet.world.ok(Op::CreateService, request).await;
    let service = fleet.until("the free ones have it", healthy, |service| service["runningCount"] == 10).await;
    let said = messages(&service);
    assert!(said.iter().any(|message| message.contains("was unable to place a task")), "{said:?}");
    let why = json!({"services": ["web"], "include": ["LONGSHORE_WHY"]});
    let why = fleet.world.ok(Op::DescribeServices, why).await["failures"].clone();
    assert_eq!(why.as_array().unwrap().len(), 1 + 40, "{why}");
    for hog in hogs {
        fleet.world.ok(Op::StopTask, json!({"task": hog})).await;
    }
    fleet.until("all have it", healthy, |service| service["runningCount"] == 50).await;
}

#[tokio::test]
async fn a_deployment_that_fails_is_rolled_back_across_a_restart() {
    let mut fleet = Fleet::new(2).await;
    fleet.world.definition("good", json!({})).await;
    fleet.world.definition("bad", json!({})).await;
    let breaker = json!({"deploymentCircuitBreaker": {"enable": true, "rollback": true}});
    let request = json!({"serviceName": "web", "taskDefinition": "good", "desiredCount": 6,
        "deploymentConfiguration": breaker});
    fleet.world.ok(Op::CreateService, request).await;
    fleet.until("it is stable", healthy, stable(6)).await;
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "taskDefinition": "bad"})).await;
    // The store has everything: another process goes on where this one was.
    fleet.world = fleet.world.reopen_with(config()).await;
    for agent in &mut fleet.agents {
        agent.move_to(&fleet.world.core).await;
    }
    let failed = |service: &Value| {
        let deployments = service["deployments"].as_array().unwrap();
        deployments.iter().any(|d| d["rolloutState"] == "FAILED") || deployments.len() == 1 && stable(6)(service)
    };
    fleet.until("the breaker opens", |family| family == "bad", failed).await;
    let service = fleet.until("the good one is back", |family| family == "bad", stable(6)).await;
    assert!(service["taskDefinition"].as_str().unwrap().ends_with("good:1"), "{service:#}");
    assert!(messages(&service).iter().any(|said| said.contains("rolling back to deployment")), "{service:#}");
    assert!(fleet.tasks().iter().all(|(_, family, _)| family == "good"));
}

#[tokio::test(start_paused = true)]
async fn what_has_no_place_is_said_once_and_starts_when_there_is_one() {
    let mut fleet = Fleet::new(1).await;
    fleet.world.definition("big", json!({"memory": 1500})).await;
    let request = json!({"serviceName": "web", "taskDefinition": "big", "desiredCount": 2});
    fleet.world.ok(Op::CreateService, request).await;
    let service = fleet
        .until("one of two runs", healthy, |service| {
            service["runningCount"] == 1 && messages(service).iter().any(|m| m.contains("unable to place"))
        })
        .await;
    let host = fleet.agents[0].instance;
    let expected = format!(
        "(service web) was unable to place a task because no container instance met all of its requirements. The \
         closest matching (container-instance {host}) has insufficient memory available. It needs 1500 MiB of memory, \
         has 548 of 2048 free. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."
    );
    let said = |service: &Value| messages(service).into_iter().filter(|message| *message == expected).count();
    assert_eq!(said(&service), 1, "{service:#}");
    // Whoever looks at it again, after a change and after a while, says nothing more.
    for _ in 0..3 {
        fleet.poke().await;
        fleet.world.clock.advance(Duration::from_secs(60));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let service = fleet.service("web").await;
        assert_eq!(said(&service), 1, "{service:#}");
    }
    // That it is looked at all the while shows in what is said anew after six hours.
    fleet.world.clock.advance(Duration::from_secs(6 * 3600));
    fleet.until("it is said again", healthy, |service| said(service) == 2).await;
    let host = fleet.world.host("default", facts(2048, 2048)).await;
    fleet.agents.push(host);
    fleet.until("the other one runs on the new host", healthy, stable(2)).await;
}

#[tokio::test]
async fn a_daemon_runs_once_on_each_host_and_leaves_a_draining_one_last() {
    let mut fleet = Fleet::new(2).await;
    fleet.world.definition("log", json!({})).await;
    fleet.world.definition("job", json!({})).await;
    let request = json!({"serviceName": "web", "taskDefinition": "log", "schedulingStrategy": "DAEMON"});
    fleet.world.ok(Op::CreateService, request).await;
    fleet.until("it is everywhere", healthy, stable(2)).await;
    let host = fleet.world.host("default", facts(2048, 2048)).await;
    fleet.agents.push(host);
    fleet.until("it is on the new host", healthy, stable(3)).await;
    assert!(fleet.agents.iter().all(|agent| agent.assigned().len() == 1));

    let (arn, instance) = (fleet.agents[0].arn.clone(), fleet.agents[0].instance);
    let job = fleet.world.ok(Op::StartTask, json!({"taskDefinition": "job", "containerInstances": [arn]})).await;
    let job = job["tasks"][0]["taskArn"].as_str().unwrap().to_owned();
    fleet.pump(healthy).await;
    let drain = json!({"containerInstances": [arn], "status": "DRAINING"});
    fleet.world.ok(Op::UpdateContainerInstancesState, drain).await;
    fleet.until("it counts the draining host", healthy, |service| service["runningCount"] == 3).await;
    assert_eq!(fleet.agents[0].assigned().len(), 2, "the job and the daemon are still there");
    fleet.world.ok(Op::StopTask, json!({"task": job})).await;
    fleet.until("the daemon has left", healthy, stable(2)).await;
    assert!(fleet.tasks().len() == 2 && fleet.agents[0].instance == instance && fleet.agents[0].assigned().is_empty());
}

#[tokio::test]
async fn a_draining_host_is_emptied_without_a_gap() {
    let mut fleet = Fleet::new(2).await;
    fleet.world.definition("one", json!({})).await;
    let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 4});
    fleet.world.ok(Op::CreateService, request).await;
    fleet.until("it is stable", healthy, stable(4)).await;
    let drain = json!({"containerInstances": [fleet.agents[0].arn], "status": "DRAINING"});
    fleet.world.ok(Op::UpdateContainerInstancesState, drain).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !fleet.agents[0].assigned().is_empty() {
        assert!(fleet.service("web").await["runningCount"].as_i64().unwrap() >= 4);
        assert!(tokio::time::Instant::now() < deadline, "{:?}", fleet.tasks());
        fleet.pump(healthy).await;
    }
    fleet.until("all are on the other host", healthy, stable(4)).await;
    assert_eq!(fleet.agents[1].assigned().len(), 4);
}

/// The names of a page of the services that a request lists, and the token of the next page.
pub(crate) async fn listed(fleet: &Fleet, request: Value) -> (Vec<String>, Value) {
    let answer = fleet.world.ok(Op::ListServices, request).await;
    let name = |arn: &Value| arn.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    (answer["serviceArns"].as_array().unwrap().iter().map(name).collect(), answer["nextToken"].clone())
}

#[tokio::test]
async fn services_are_listed_by_name_page_by_page_and_by_what_they_are() {
    let mut fleet = Fleet::new(0).await;
    fleet.world.definition("one", json!({})).await;
    fleet.world.cluster("other").await;
    let daemon = json!({"desiredCount": null, "schedulingStrategy": "DAEMON"});
    let external = json!({"taskDefinition": null, "deploymentController": {"type": "EXTERNAL"}});
    // In another order than theirs.
    for nth in (0..14).rev() {
        let mut request = json!({"serviceName": format!("s{nth:02}"), "taskDefinition": "one", "desiredCount": 0});
        let changes = match nth {
            3 | 7 => daemon.clone(),
            5 => external.clone(),
            _ => json!({}),
        };
        request.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        fleet.world.ok(Op::CreateService, request).await;
    }
    let request = json!({"cluster": "other", "serviceName": "web", "taskDefinition": "one", "desiredCount": 0});
    fleet.world.ok(Op::CreateService, request).await;
    let all: Vec<String> = (0..14).map(|nth| format!("s{nth:02}")).collect();
    let without = |left_out: &[usize]| -> Vec<String> {
        let kept = (0..14).filter(|nth| !left_out.contains(nth));
        kept.map(|nth| format!("s{nth:02}")).collect()
    };

    let (default, token) = listed(&fleet, json!({})).await;
    assert_eq!(default, all[..10]);
    assert_eq!(listed(&fleet, json!({"nextToken": token})).await, (all[10..].to_vec(), Value::Null));
    for (filter, expected) in [
        (json!({}), all),
        (json!({"schedulingStrategy": "REPLICA"}), without(&[3, 7])),
        (json!({"schedulingStrategy": "DAEMON"}), vec!["s03".to_owned(), "s07".to_owned()]),
        // What an EXTERNAL one runs is said by its PRIMARY task set, and it has none.
        (json!({"launchType": "EC2"}), without(&[5])),
        (json!({"launchType": "EC2", "schedulingStrategy": "REPLICA"}), without(&[3, 5, 7])),
        (json!({"launchType": "FARGATE"}), Vec::new()),
        (json!({"launchType": "EXTERNAL", "schedulingStrategy": "DAEMON"}), Vec::new()),
        (json!({"cluster": "other"}), vec!["web".to_owned()]),
    ] {
        for size in [1, 4, 100] {
            let (mut found, mut token) = (Vec::new(), Value::Null);
            loop {
                let mut request = filter.clone();
                (request["maxResults"], request["nextToken"]) = (json!(size), token);
                let (page, next) = listed(&fleet, request).await;
                assert!(page.len() == size || next.is_null() && page.len() < size, "{filter} by {size}: {page:?}");
                found.extend(page);
                token = next;
                if token.is_null() {
                    break;
                }
            }
            assert_eq!(found, expected, "{filter} by {size}");
        }
    }
    let answer = fleet.world.ok(Op::ListServices, json!({"cluster": "other"})).await;
    assert_eq!(answer, json!({"serviceArns": ["arn:aws:ecs:lab:123456789012:service/other/web"]}));

    let (_, token) = listed(&fleet, json!({"maxResults": 2})).await;
    for (request, expected) in [
        (json!({"maxResults": 0}), "InvalidParameterException: maxResults must be between 1 and 100."),
        (json!({"maxResults": 101}), "InvalidParameterException: maxResults must be between 1 and 100."),
        (json!({"maxResults": -1}), "InvalidParameterException: maxResults must be between 1 and 100."),
        (json!({"nextToken": "nonsense"}), "InvalidParameterException: Invalid nextToken."),
        // It is that of another list.
        (json!({"nextToken": token, "launchType": "EC2"}), "InvalidParameterException: Invalid nextToken."),
        (json!({"nextToken": token, "schedulingStrategy": "REPLICA"}), "InvalidParameterException: Invalid nextToken."),
        (json!({"nextToken": token, "cluster": "other"}), "InvalidParameterException: Invalid nextToken."),
        (json!({"cluster": "nowhere"}), "ClusterNotFoundException: Cluster not found."),
        (
            json!({"launchType": "MOON"}),
            "InvalidParameterException: launch type should be one of [EC2,FARGATE,EXTERNAL], not MOON",
        ),
        (
            json!({"schedulingStrategy": "BOTH"}),
            "InvalidParameterException: schedulingStrategy: `BOTH` is none of REPLICA, DAEMON.",
        ),
    ] {
        let refused = fleet.world.err(Op::ListServices, request.clone()).await;
        assert_eq!(refused, expected, "{request}");
    }

    // The list goes on where it was, though what was there is gone and others have come.
    fleet.world.ok(Op::DeleteService, json!({"service": "s01"})).await;
    crate::world::until("it is over", || {
        let state = fleet.world.core.snapshot();
        state.services().any(|(key, found)| *key.name == *"s01" && found.record.is_over())
    })
    .await;
    for name in ["s00b", "s01b"] {
        let request = json!({"serviceName": name, "taskDefinition": "one", "desiredCount": 0});
        fleet.world.ok(Op::CreateService, request).await;
    }
    fleet.world = fleet.world.reopen_with(config()).await;
    let (page, _) = listed(&fleet, json!({"maxResults": 2, "nextToken": token})).await;
    assert_eq!(page, ["s01b", "s02"]);
}

#[tokio::test]
async fn services_are_described_by_name_or_arn_and_those_of_others_are_missing() {
    let fleet = Fleet::new(0).await;
    fleet.world.definition("one", json!({})).await;
    fleet.world.cluster("other").await;
    let tags = json!([{"key": "team", "value": "a"}]);
    for cluster in ["default", "other"] {
        let request = json!({"cluster": cluster, "serviceName": "web", "taskDefinition": "one", "desiredCount": 0,
            "tags": tags});
        fleet.world.ok(Op::CreateService, request).await;
    }
    let describe = async |request: Value| fleet.world.ok(Op::DescribeServices, request).await;
    let own = "arn:aws:ecs:lab:123456789012:service/default/web";
    let of_cluster = "arn:aws:ecs:lab:123456789012:service/other/web";
    let of_account = "arn:aws:ecs:lab:210987654321:service/default/web";
    let of_region = "arn:aws:ecs:den:123456789012:service/default/web";
    let of_kind = "arn:aws:ecs:lab:123456789012:cluster/default";
    let nothing = "arn:aws:ecs:lab:123456789012:service/default/nothing";
    let missing = |arn: &str| json!({"arn": arn, "reason": "MISSING"});

    let names = ["web", own, of_cluster, of_account, of_region, of_kind, "nothing", nothing];
    let answer = describe(json!({"services": names})).await;
    let services = answer["services"].as_array().unwrap();
    assert_eq!((services.len(), &services[0]["serviceArn"]), (2, &json!(own)), "{answer:#}");
    assert_eq!(services[0], services[1], "by its name and by its ARN");
    let others = [of_cluster, of_account, of_region, of_kind, nothing, nothing];
    assert_eq!(answer["failures"], json!(others.map(missing)));
    let answer = describe(json!({"cluster": "other", "services": [own, of_cluster]})).await;
    let arns: Vec<&Value> = answer["services"].as_array().unwrap().iter().map(|found| &found["serviceArn"]).collect();
    assert_eq!((arns, &answer["failures"]), (vec![&json!(of_cluster)], &json!([missing(own)])));

    let with = describe(json!({"services": ["web"], "include": ["TAGS"]})).await;
    assert_eq!(with["services"][0]["tags"], tags);
    for request in [json!({"services": ["web"]}), json!({"services": ["web"], "include": []})] {
        let without = describe(request).await;
        assert_eq!(without["services"][0].get("tags"), None, "{without:#}");
    }

    let many = |count: usize| (0..count).map(|nth| format!("s{nth}")).collect::<Vec<_>>();
    assert_eq!(describe(json!({"services": many(10)})).await["failures"].as_array().unwrap().len(), 10);
    for (request, expected) in [
        (json!({"services": many(11)}), "services can have at most 10 items."),
        (json!({"services": []}), "Services cannot be empty."),
        (json!({}), "services can not be blank."),
        (json!({"services": [""]}), "service should not be null or empty."),
    ] {
        let refused = fleet.world.err(Op::DescribeServices, request.clone()).await;
        assert_eq!(refused, format!("InvalidParameterException: {expected}"), "{request}");
    }
    let nowhere = fleet.world.err(Op::DescribeServices, json!({"cluster": "nowhere", "services": ["web"]})).await;
    assert_eq!(nowhere, "ClusterNotFoundException: Cluster not found.");
}

/// The tags of each task of a service, in no order.
async fn tags_of_tasks(fleet: &Fleet, service: &str) -> Vec<Value> {
    let listed = fleet.world.ok(Op::ListTasks, json!({"serviceName": service})).await;
    let described = fleet.world.ok(Op::DescribeTasks, json!({"tasks": listed["taskArns"], "include": ["TAGS"]})).await;
    described["tasks"].as_array().unwrap().iter().map(|task| task["tags"].clone()).collect()
}

#[tokio::test]
async fn tasks_have_the_tags_of_their_definition_or_of_their_service_or_none_as_the_service_says() {
    let fleet = Fleet::new(1).await;
    let arn = fleet.world.definition("one", json!({})).await;
    let tag = |key: &str, value: &str| json!({"key": key, "value": value});
    let (of_definition, of_service) =
        ([tag("of", "definition"), tag("tier", "1")], [tag("of", "service"), tag("team", "a")]);
    fleet.world.ok(Op::TagResource, json!({"resourceArn": arn, "tags": of_definition})).await;
    let agent = &fleet.agents[0];
    for (nth, (propagate, managed, expected)) in [
        (json!("TASK_DEFINITION"), false, of_definition.to_vec()),
        (json!("SERVICE"), false, of_service.to_vec()),
        (json!("NONE"), false, Vec::new()),
        (Value::Null, false, Vec::new()),
        (json!("TASK_DEFINITION"), true, of_definition.to_vec()),
        (json!("SERVICE"), true, of_service.to_vec()),
        (json!("NONE"), true, Vec::new()),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("s{nth}");
        let request = json!({"serviceName": name, "taskDefinition": "one", "desiredCount": 1, "tags": of_service,
            "propagateTags": propagate, "enableECSManagedTags": managed});
        let made = fleet.world.ok(Op::CreateService, request).await["service"].clone();
        let shown = if propagate.is_null() { json!("NONE") } else { propagate.clone() };
        assert_eq!((&made["propagateTags"], &made["enableECSManagedTags"]), (&shown, &json!(managed)));
        crate::world::until("it has its task", || agent.assigned().len() == nth + 1).await;
        let by_ecs = [tag("aws:ecs:clusterName", "default"), tag("aws:ecs:serviceName", &name)];
        let expected: Vec<Value> = by_ecs.into_iter().filter(|_| managed).chain(expected).collect();
        assert_eq!(tags_of_tasks(&fleet, &name).await, [json!(expected)], "{propagate} {managed}");
    }

    // What is said later holds for tasks that come later.
    let update = json!({"service": "s0", "desiredCount": 2, "propagateTags": "SERVICE", "enableECSManagedTags": true});
    let updated = fleet.world.ok(Op::UpdateService, update).await["service"].clone();
    assert_eq!(updated["propagateTags"], "SERVICE");
    assert_eq!(updated["deployments"].as_array().unwrap().len(), 1, "tags need no deployment");
    crate::world::until("it has its other task", || agent.assigned().len() == 8).await;
    let found = tags_of_tasks(&fleet, "s0").await;
    let later = [tag("aws:ecs:clusterName", "default"), tag("aws:ecs:serviceName", "s0")].into_iter().chain(of_service);
    let expected = [json!(of_definition), json!(later.collect::<Vec<_>>())];
    assert!(found.len() == 2 && expected.iter().all(|tags| found.contains(tags)), "{found:?}");
}
