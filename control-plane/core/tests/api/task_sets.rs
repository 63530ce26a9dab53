//! Task sets of services with the EXTERNAL controller.

use crate::fleet::{Fleet, config, healthy, messages};
use longshore_ecs_api::Operation as Op;
use longshore_model::TaskStatus;
use serde_json::{Value, json};

impl Fleet {
    async fn external(desired: usize) -> Self {
        let fleet = Self::new(2).await;
        for family in ["one", "two"] {
            fleet.world.definition(family, json!({})).await;
        }
        let request = json!({"serviceName": "web", "desiredCount": desired,
            "deploymentController": {"type": "EXTERNAL"}, "enableECSManagedTags": true});
        let breaker = json!({"deploymentCircuitBreaker": {"enable": true, "rollback": true}});
        let mut odd = request.clone();
        odd["deploymentConfiguration"] = breaker.clone();
        let expected = "InvalidParameterException: deploymentConfiguration.deploymentCircuitBreaker is for services";
        let refused = fleet.world.err(Op::CreateService, odd).await;
        assert!(refused.starts_with(expected), "{refused}");
        let made = fleet.world.ok(Op::CreateService, request).await["service"].clone();
        let odd = json!({"service": "web", "deploymentConfiguration": breaker});
        let refused = fleet.world.err(Op::UpdateService, odd).await;
        assert!(refused.starts_with(expected), "{refused}");
        assert_eq!((&made["taskSets"], &made["deployments"]), (&json!([]), &json!([])));
        assert_eq!(made["deploymentController"]["type"], "EXTERNAL");
        fleet
    }

    async fn set(&self, request: Value) -> Value {
        let mut full = json!({"cluster": "default", "service": "web"});
        full.as_object_mut().unwrap().extend(request.as_object().unwrap().clone());
        self.world.ok(Op::CreateTaskSet, full).await["taskSet"].clone()
    }
}

fn of(service: &Value, id: &Value) -> Value {
    let sets = service["taskSets"].as_array().unwrap();
    sets.iter().find(|set| set["id"] == *id).cloned().unwrap_or_default()
}

fn steady(id: &Value, running: usize) -> impl Fn(&Value) -> bool {
    let id = id.clone();
    move |service| {
        let set = of(service, &id);
        set["runningCount"] == running && set["stabilityStatus"] == "STEADY_STATE"
    }
}

#[tokio::test]
async fn an_external_controller_moves_a_service_from_one_set_to_another() {
    let mut fleet = Fleet::external(4).await;
    let request = json!({"taskDefinition": "one", "scale": {"value": 100, "unit": "PERCENT"}, "externalId": "blue",
        "clientToken": "first", "tags": [{"key": "team", "value": "a"}]});
    let blue = fleet.set(request.clone()).await;
    assert_eq!((&blue["status"], &blue["computedDesiredCount"]), (&json!("ACTIVE"), &json!(4)));
    assert_eq!(blue["externalId"], "blue");
    let (id, arn) = (blue["id"].clone(), blue["taskSetArn"].as_str().unwrap().to_owned());
    assert!(arn.ends_with(&format!(":task-set/default/web/{}", id.as_str().unwrap())), "{arn}");
    assert_eq!(fleet.set(request).await["id"], id, "the same token is the same set");
    fleet.until("blue is steady", healthy, steady(&id, 4)).await;
    let primary = json!({"cluster": "default", "service": "web", "primaryTaskSet": arn});
    let primary = fleet.world.ok(Op::UpdateServicePrimaryTaskSet, primary).await;
    assert_eq!(primary["taskSet"]["status"], "PRIMARY");
    let service = fleet.service("web").await;
    assert!(service["taskDefinition"].as_str().unwrap().ends_with("one:1"), "{service:#}");
    assert!(messages(&service).iter().any(|m| m.starts_with("(service web, taskSet ecs-svc/")), "{service:#}");
    let listed = fleet.world.ok(Op::ListTasks, json!({"serviceName": "web"})).await;
    let described = fleet.world.ok(Op::DescribeTasks, json!({"tasks": listed["taskArns"]})).await;
    assert!(described["tasks"].as_array().unwrap().iter().all(|task| task["startedBy"] == id));

    // A second one beside it, a third of the desired count, rounded up; and another process goes on with both.
    let green = fleet.set(json!({"taskDefinition": "two", "scale": {"value": 33.3}})).await;
    assert_eq!(green["computedDesiredCount"], 2);
    fleet.world = fleet.world.reopen_with(config()).await;
    for agent in &mut fleet.agents {
        agent.move_to(&fleet.world.core).await;
    }
    fleet.until("green is steady", healthy, steady(&green["id"], 2)).await;
    // A task that ends is replaced, in its set.
    let (lost, ..) = fleet.tasks().into_iter().find(|(_, family, _)| family == "two").unwrap();
    let agent = fleet.agents.iter_mut().find(|agent| agent.assigned().contains_key(&lost)).unwrap();
    agent.is(lost, TaskStatus::Stopped).await;
    fleet.said.insert(lost, TaskStatus::Stopped);
    let replaced = fleet.until("it is replaced", healthy, steady(&green["id"], 2)).await;
    assert_eq!(of(&replaced, &id)["runningCount"], 4, "the other set is left alone");
    assert!(fleet.tasks().iter().all(|(task, ..)| *task != lost));

    // The desired count moves all sets.
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "desiredCount": 6})).await;
    fleet.until("blue follows", healthy, steady(&id, 6)).await;
    fleet.until("green follows", healthy, steady(&green["id"], 2)).await;
    let scale = |set: &Value, value: f64| {
        json!({"cluster": "default", "service": "web", "taskSet": set,
        "scale": {"value": value, "unit": "PERCENT"}})
    };
    let scaled = fleet.world.ok(Op::UpdateTaskSet, scale(&green["id"], 100.0)).await;
    assert_eq!(scaled["taskSet"]["stabilityStatus"], "STABILIZING");
    fleet.until("green is whole", healthy, steady(&green["id"], 6)).await;
    let primary = json!({"cluster": "default", "service": "web", "primaryTaskSet": green["id"]});
    fleet.world.ok(Op::UpdateServicePrimaryTaskSet, primary).await;
    assert_eq!(of(&fleet.service("web").await, &id)["status"], "ACTIVE");
    let delete = |force: bool| json!({"cluster": "default", "service": "web", "taskSet": arn, "force": force});
    let refused = fleet.world.err(Op::DeleteTaskSet, delete(false)).await;
    assert!(refused.contains("scaled above 0"), "{refused}");
    let deleted = fleet.world.ok(Op::DeleteTaskSet, delete(true)).await;
    assert_eq!(deleted["taskSet"]["status"], "DRAINING");
    fleet.until("blue is gone", healthy, |service| of(service, &id) == Value::Null).await;
    assert!(fleet.tasks().iter().all(|(_, family, _)| family == "two"), "{:?}", fleet.tasks());

    let asked = json!({"cluster": "default", "service": "web", "taskSets": [arn, green["taskSetArn"]],
        "include": ["TAGS"]});
    let described = fleet.world.ok(Op::DescribeTaskSets, asked).await;
    assert_eq!(described["failures"][0]["reason"], "MISSING");
    assert_eq!(described["taskSets"][0]["id"], green["id"]);
    let tag = json!({"resourceArn": green["taskSetArn"], "tags": [{"key": "k", "value": "v"}]});
    fleet.world.ok(Op::TagResource, tag).await;
    let tags = fleet.world.ok(Op::ListTagsForResource, json!({"resourceArn": green["taskSetArn"]})).await;
    assert_eq!(tags["tags"], json!([{"key": "k", "value": "v"}]));

    fleet.world.ok(Op::DeleteService, json!({"service": "web", "force": true})).await;
    fleet.until("it is over", healthy, |service| service["status"] == "INACTIVE").await;
    assert_eq!(fleet.tasks(), []);
}

#[tokio::test]
async fn a_service_without_a_desired_count_has_none_until_it_is_said() {
    let mut fleet = Fleet::new(1).await;
    fleet.world.definition("one", json!({})).await;
    let request = json!({"serviceName": "web", "deploymentController": {"type": "EXTERNAL"}});
    let made = fleet.world.ok(Op::CreateService, request.clone()).await["service"].clone();
    assert_eq!(made["desiredCount"], 0);
    let set = fleet.set(json!({"taskDefinition": "one", "scale": {"value": 100}})).await;
    assert_eq!(set["computedDesiredCount"], 0);
    fleet.until("it is steady", healthy, steady(&set["id"], 0)).await;
    fleet.world.ok(Op::UpdateService, json!({"service": "web", "desiredCount": 2})).await;
    fleet.until("both run", healthy, steady(&set["id"], 2)).await;
    // The same request again is the same service, whatever its count is by now.
    let again = fleet.world.ok(Op::CreateService, request).await["service"].clone();
    assert_eq!((&again["serviceArn"], &again["desiredCount"]), (&made["serviceArn"], &json!(2)));
}

#[tokio::test]
async fn a_set_says_that_its_tasks_fail_and_which_host_it_waits_for() {
    let mut fleet = Fleet::external(2).await;
    let one = fleet.set(json!({"taskDefinition": "one", "scale": {"value": 100}})).await["id"].clone();
    fleet.until("it is steady", healthy, steady(&one, 2)).await;
    let two = fleet.set(json!({"taskDefinition": "two", "scale": {"value": 50}})).await["id"].clone();
    let of = |id: &Value| format!("(service web, taskSet {})", id.as_str().unwrap());
    let failing = format!(
        "{} is unable to consistently start tasks successfully. For more information, see the Troubleshooting section \
         of the Amazon ECS Developer Guide.",
        of(&two)
    );
    let clock = std::sync::Arc::clone(&fleet.world.clock);
    let says = |service: &Value| {
        // Pauses pass.
        clock.advance(std::time::Duration::from_secs(1));
        messages(service).contains(&failing)
    };
    fleet.until("it says that they fail", |family| family == "two", says).await;

    // A host that is lost says nothing of how its tasks end.
    let delete = |set: &Value| json!({"cluster": "default", "service": "web", "taskSet": set, "force": true});
    fleet.world.ok(Op::DeleteTaskSet, delete(&two)).await;
    fleet
        .until("it is gone", |family| family == "two", |service| service["taskSets"].as_array().unwrap().len() == 1)
        .await;
    let host = fleet.agents[0].instance;
    assert_eq!(fleet.agents[0].assigned().len(), 1, "one on each host");
    fleet.agents[0].disconnect().await;
    fleet.world.ok(Op::DeleteTaskSet, delete(&one)).await;
    let waits = format!(
        "{} waits for the end of its last tasks, of which 1 container instances say nothing: \
         (container-instance {host}).",
        of(&one)
    );
    let says = |service: &Value| messages(service).iter().any(|message| message.starts_with(&waits));
    fleet.until("it says what it waits for", healthy, says).await;
    let ask = json!({"services": ["web"], "include": ["LONGSHORE_WHY"]});
    let answer = fleet.world.ok(Op::DescribeServices, ask).await;
    let sentence = answer["failures"][0]["detail"].as_str().unwrap();
    assert!(sentence.starts_with(&waits) && answer["failures"].as_array().unwrap().len() == 1, "{answer:#}");
    let deregister = json!({"containerInstance": host.to_string(), "force": true});
    fleet.world.ok(Op::DeregisterContainerInstance, deregister).await;
    fleet.until("it is gone", healthy, |service| service["taskSets"] == json!([])).await;
}

#[tokio::test]
async fn wrong_task_set_input_changes_nothing_and_names_the_field() {
    let fleet = Fleet::external(2).await;
    let plain = json!({"serviceName": "plain", "taskDefinition": "one", "desiredCount": 0});
    fleet.world.ok(Op::CreateService, plain).await;
    let set = fleet.set(json!({"taskDefinition": "one"})).await;
    assert_eq!((&set["scale"]["value"], &set["computedDesiredCount"]), (&json!(0.0), &json!(0)));
    let before = fleet.service("web").await;
    let id = &set["id"];
    let create = |changes: Value| (Op::CreateTaskSet, merged(json!({"taskDefinition": "one"}), changes));
    let update = |changes: Value| (Op::UpdateTaskSet, merged(json!({"taskSet": id}), changes));
    for ((op, request), expected) in [
        (create(json!({"service": "nothing"})), "ServiceNotFoundException: Service not found."),
        (create(json!({"service": "plain"})), "InvalidParameterException: Task sets are of services with"),
        (create(json!({"cluster": "nowhere"})), "ClusterNotFoundException"),
        (create(json!({"taskDefinition": "nothing"})), "ClientException: TaskDefinition not found."),
        (create(json!({"taskDefinition": ""})), "InvalidParameterException: Task definition can not be blank."),
        (create(json!({"scale": {"value": 101}})), "InvalidParameterException: scale.value must be between 0 and 100."),
        (create(json!({"scale": {"value": -0.5}})), "InvalidParameterException: scale.value"),
        (create(json!({"scale": {"value": 1, "unit": "TASKS"}})), "InvalidParameterException: scale.unit: `TASKS`"),
        (
            create(json!({"launchType": "FARGATE"})),
            "InvalidParameterException: Task definition does not support launch_type FARGATE.",
        ),
        (
            create(json!({"loadBalancers": [{"containerPort": 1}]})),
            "InvalidParameterException: Container Name can not be blank.",
        ),
        (
            create(json!({"loadBalancers": [{"containerName": "web", "containerPort": 1}]})),
            "InvalidParameterException: The container web does not exist in the task definition.",
        ),
        (
            create(json!({"loadBalancers": [{"containerName": "app", "containerPort": 1}]})),
            "InvalidParameterException: The container app did not have a container port 1 defined.",
        ),
        (
            create(json!({"platformVersion": "LATEST"})),
            "InvalidParameterException: The platform version must be null when specifying an EC2 launch type.",
        ),
        (create(json!({"tags": [{"key": "aws:x", "value": ""}]})), "InvalidParameterException: tags"),
        (create(json!({"clientToken": "x".repeat(37)})), "InvalidParameterException: clientToken"),
        (update(json!({})), "InvalidParameterException: scale"),
        (update(json!({"scale": {"value": 200}})), "InvalidParameterException: scale.value"),
        (update(json!({"taskSet": "ecs-svc/1", "scale": {"value": 1}})), "TaskSetNotFoundException"),
        (
            update(json!({"taskSet": "arn:aws:ecs:lab:123456789012:cluster/x", "scale": {"value": 1}})),
            "InvalidParameterException: taskSet",
        ),
        (update(json!({"service": "plain", "scale": {"value": 1}})), "InvalidParameterException: Task sets are of"),
        ((Op::UpdateServicePrimaryTaskSet, json!({"primaryTaskSet": "ecs-svc/1"})), "TaskSetNotFoundException"),
        ((Op::DeleteTaskSet, json!({"taskSet": "ecs-svc/1"})), "TaskSetNotFoundException"),
        ((Op::DescribeTaskSets, json!({"service": "plain"})), "InvalidParameterException: Task sets are of"),
        (
            (Op::UpdateService, json!({"taskDefinition": "two"})),
            "InvalidParameterException: taskDefinition cannot be updated on a service with deploymentController \
             EXTERNAL",
        ),
        ((Op::UpdateService, json!({"forceNewDeployment": true})), "InvalidParameterException: forceNewDeployment"),
        ((Op::UpdateService, json!({"platformVersion": "1.4.0"})), "InvalidParameterException: platformVersion"),
        (
            (Op::UpdateService, json!({"loadBalancers": [{"containerName": "app"}]})),
            "InvalidParameterException: loadBalancers cannot be updated on a service with deploymentController",
        ),
        (
            (Op::UpdateService, json!({"deploymentController": {"type": "ECS"}})),
            "InvalidParameterException: deploymentController of a service cannot be changed",
        ),
        ((Op::DeleteService, json!({})), "InvalidParameterException: The service cannot be stopped while it is scaled"),
    ] {
        let request = merged(json!({"cluster": "default", "service": "web"}), request);
        let refused = fleet.world.err(op, request.clone()).await;
        assert!(refused.starts_with(expected), "{request}: {refused}");
    }
    for (changes, expected) in [
        (json!({"taskDefinition": "one"}), "taskDefinition cannot be specified"),
        (json!({"launchType": "EC2"}), "launchType cannot be specified"),
        (json!({"loadBalancers": [{"containerName": "app"}]}), "loadBalancers cannot be specified"),
        (json!({"platformVersion": "LATEST"}), "platformVersion cannot be specified"),
        (json!({"deploymentController": {"type": "CODE_DEPLOY"}}), "CODE_DEPLOY is not supported"),
        (json!({"deploymentController": {"type": "ME"}}), "deploymentController.type: `ME`"),
        (json!({"schedulingStrategy": "DAEMON"}), "does not support the EXTERNAL deployment controller"),
    ] {
        let base = json!({"serviceName": "new", "deploymentController": {"type": "EXTERNAL"}});
        let refused = fleet.world.err(Op::CreateService, merged(base, changes.clone())).await;
        assert!(refused.contains(expected), "{changes}: {refused}");
    }
    assert_eq!(fleet.service("web").await, before);
    let listed = fleet.world.ok(Op::ListServices, json!({})).await;
    assert_eq!(listed["serviceArns"].as_array().unwrap().len(), 2);
}

fn merged(mut base: Value, changes: Value) -> Value {
    base.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    base
}
