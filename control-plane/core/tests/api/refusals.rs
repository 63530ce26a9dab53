//! What is refused of services: by code and text, and nothing is written.

use crate::fleet::{Fleet, healthy, stable};
use crate::services::listed;
use longshore_ecs_api::Operation as Op;
use serde_json::{Value, json};

const CLIENT: &str = "ClientException";
const INVALID: &str = "InvalidParameterException";
const UNSUPPORTED: &str = "UnsupportedFeatureException";

/// The error that a request is answered with, as `Code: text`; nothing is written.
pub(crate) async fn refusal(fleet: &Fleet, op: Op, request: Value) -> String {
    let before = fleet.world.core.snapshot().revision();
    let answer = fleet.world.err(op, request.clone()).await;
    assert_eq!(fleet.world.core.snapshot().revision(), before, "{}: {request}: {answer}", op.name());
    answer
}

/// A request is answered with this code and a message that begins so, and nothing is written.
async fn refused(fleet: &Fleet, op: Op, request: Value, code: &str, text: &str) {
    let answer = refusal(fleet, op, request.clone()).await;
    assert!(answer.starts_with(&format!("{code}: {text}")), "{request}: {answer}");
}

#[tokio::test]
async fn bad_input_changes_nothing_and_names_the_field() {
    let fleet = Fleet::new(1).await;
    fleet.world.definition("one", json!({})).await;
    fleet.world.definition("open", json!({"portMappings": [{"containerPort": 80}]})).await;
    let base = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 1});
    let daemon = json!({"schedulingStrategy": "DAEMON", "desiredCount": null});
    let daemon_with = |field: &str, value: Value| {
        let mut request = daemon.clone();
        request[field] = value;
        request
    };
    let balancer = |balancer: Value| json!({"taskDefinition": "open", "loadBalancers": [balancer]});
    let threshold = |threshold: Value| {
        let breaker = json!({"enable": true, "rollback": true, "thresholdConfiguration": threshold});
        json!({"deploymentConfiguration": {"deploymentCircuitBreaker": breaker}})
    };
    let with = |changes: Value| {
        let mut request = base.clone();
        request.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        request
    };
    for (changes, code, text) in [
        (json!({"serviceName": ""}), INVALID, "The serviceName must not be empty."),
        (
            json!({"serviceName": "a b"}),
            INVALID,
            "The serviceName contains ` `; letters, digits, `-` and `_` are allowed.",
        ),
        (json!({"taskDefinition": "nothing"}), CLIENT, "TaskDefinition not found."),
        (json!({"taskDefinition": ""}), INVALID, "Task definition can not be blank."),
        (json!({"desiredCount": -1}), INVALID, "desiredCount must be between 0 and 5000."),
        (json!({"cluster": "nowhere"}), "ClusterNotFoundException", "Cluster not found."),
        (
            json!({"schedulingStrategy": "DAEMON"}),
            INVALID,
            "The daemon scheduling strategy does not support a desired count for services. Remove the desired count \
             value and try again",
        ),
        (
            daemon_with("placementStrategy", json!([{"type": "random"}])),
            INVALID,
            "The daemon scheduling strategy does not support placement strategies. Remove the placement strategy and \
             try again",
        ),
        (
            daemon_with("capacityProviderStrategy", json!([{"capacityProvider": "rack"}])),
            INVALID,
            "Specifying a capacity provider strategy is not supported when you create a service using the DAEMON \
             scheduling strategy.",
        ),
        (
            daemon_with("deploymentConfiguration", json!({"maximumPercent": 101})),
            INVALID,
            "The daemon scheduling strategy does not support values above 100 for maximumPercent on a deployment \
             configuration. Change the maximumPercent value to 100, and try again",
        ),
        (
            daemon_with("deploymentConfiguration", json!({"maximumPercent": 99})),
            INVALID,
            "The daemon scheduling strategy replaces tasks in place, so that maximumPercent must be 100.",
        ),
        (
            daemon_with("deploymentConfiguration", json!({"minimumHealthyPercent": 100, "maximumPercent": 100})),
            INVALID,
            "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments",
        ),
        (
            json!({"platformVersion": "LATEST"}),
            INVALID,
            "The platform version must be null when specifying an EC2 launch type.",
        ),
        (json!({"role": "ecsServiceRole"}), INVALID, "A role was passed, but no load balancers were present."),
        (
            json!({"deploymentConfiguration": {"minimumHealthyPercent": 101}}),
            INVALID,
            "minimumHealthyPercent must be between 0 and 100.",
        ),
        (
            json!({"deploymentConfiguration": {"maximumPercent": 201}}),
            INVALID,
            "maximumPercent must be between 1 and 200.",
        ),
        (
            json!({"deploymentConfiguration": {"minimumHealthyPercent": 90, "maximumPercent": 80}}),
            INVALID,
            "maximumPercent must not be less than minimumHealthyPercent.",
        ),
        (json!({"desiredCount": null}), INVALID, "desiredCount is required with the scheduling strategy REPLICA."),
        (
            json!({"deploymentConfiguration": {"minimumHealthyPercent": 50, "maximumPercent": 99}}),
            INVALID,
            "maximumPercent must be at least 100: with less the service could never have its desired count.",
        ),
        (
            threshold(json!({"type": "COUNT", "value": 0})),
            INVALID,
            "deploymentCircuitBreaker.thresholdConfiguration.value must be at least 1.",
        ),
        (
            threshold(json!({"value": 3})),
            INVALID,
            "deploymentCircuitBreaker.thresholdConfiguration.type is required: COUNT,",
        ),
        (
            threshold(json!({"type": "SOME", "value": 3})),
            INVALID,
            "deploymentCircuitBreaker.thresholdConfiguration.type: `SOME` is none of COUNT,",
        ),
        (
            json!({"deploymentConfiguration": {"strategy": "CANARY"}}),
            UNSUPPORTED,
            "deploymentConfiguration.strategy CANARY is not supported by this version of Longshore",
        ),
        (
            json!({"deploymentConfiguration": {"maximumPercent": 0}}),
            INVALID,
            "maximumPercent must be between 1 and 200.",
        ),
        (
            json!({"deploymentConfiguration": {"minimumHealthyPercent": -1}}),
            INVALID,
            "minimumHealthyPercent must be between 0 and 100.",
        ),
        (
            threshold(json!({"type": "BOUNDED_PERCENT", "value": 101})),
            INVALID,
            "deploymentCircuitBreaker.thresholdConfiguration.value must be at most 100 with BOUNDED_PERCENT.",
        ),
        (json!({"healthCheckGracePeriodSeconds": -5}), INVALID, "healthCheckGracePeriodSeconds must not be negative."),
        (
            json!({"placementStrategy": [{"type": "spread", "field": "mood"}]}),
            INVALID,
            "placementStrategy.field: `mood` is not a field for spread; it takes",
        ),
        (
            json!({"placementConstraints": [{"type": "memberOf", "expression": "(("}]}),
            INVALID,
            "placementConstraints.expression: at character 3: expected a subject (",
        ),
        (
            balancer(json!({"targetGroupArn": "arn:none", "containerPort": 80})),
            INVALID,
            "Container Name can not be blank.",
        ),
        (
            balancer(json!({"targetGroupArn": "arn:none", "containerName": "web", "containerPort": 80})),
            INVALID,
            "The container web does not exist in the task definition.",
        ),
        (
            balancer(json!({"targetGroupArn": "arn:none", "containerName": "app", "containerPort": 8080})),
            INVALID,
            "The container app did not have a container port 8080 defined.",
        ),
        (
            balancer(json!({"targetGroupArn": "arn:none", "containerName": "app"})),
            INVALID,
            "loadBalancers.containerPort must be given.",
        ),
        (
            balancer(json!({"targetGroupArn": "arn:none", "containerName": "app", "containerPort": 80})),
            INVALID,
            "The target group with targetGroupArn arn:none does not have an associated load balancer.",
        ),
        (
            balancer(json!({"loadBalancerName": "classic", "containerName": "app", "containerPort": 80})),
            INVALID,
            "The load balancer classic does not exist.",
        ),
        (
            balancer(json!({"containerName": "app", "containerPort": 80})),
            INVALID,
            "loadBalancers: targetGroupArn or loadBalancerName must be given.",
        ),
        (json!({"launchType": "FARGATE"}), INVALID, "Task definition does not support launch_type FARGATE."),
        (
            json!({"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}}),
            INVALID,
            "Network Configuration is not valid for the given networkMode of this task definition.",
        ),
        (json!({"propagateTags": "ALL"}), INVALID, "propagateTags: `ALL` is none of TASK_DEFINITION, SERVICE, NONE."),
        (
            json!({"tags": [{"key": "aws:x", "value": ""}]}),
            INVALID,
            "tags: the key `aws:x` begins with `aws:`, which is reserved.",
        ),
    ] {
        refused(&fleet, Op::CreateService, with(changes), code, text).await;
    }
    let listed = fleet.world.ok(Op::ListServices, json!({})).await;
    assert_eq!(listed["serviceArns"], json!([]));
    fleet.world.ok(Op::CreateService, with(daemon)).await;
    // By now the controller may write as well.
    let answer = fleet.world.err(Op::UpdateService, json!({"service": "web", "desiredCount": 2})).await;
    let text = "InvalidParameterException: The daemon scheduling strategy does not support a desired count for \
                services. Remove the desired count value and try again";
    assert_eq!(answer, text);
    for op in [Op::UpdateService, Op::DeleteService] {
        let answer = fleet.world.err(op, json!({"service": "nothing"})).await;
        assert_eq!(answer, "ServiceNotFoundException: Service not found.");
    }
    let described = fleet.world.ok(Op::DescribeServices, json!({"services": ["nothing"]})).await;
    assert_eq!(described["failures"][0]["reason"], "MISSING");
}

#[tokio::test]
async fn updates_that_are_refused_leave_a_service_as_it_is() {
    let mut fleet = Fleet::new(1).await;
    fleet.world.definition("one", json!({})).await;
    fleet.world.definition("open", json!({"portMappings": [{"containerPort": 80}]})).await;
    let gone = fleet.world.definition("gone", json!({})).await;
    fleet.world.ok(Op::DeregisterTaskDefinition, json!({"taskDefinition": gone})).await;
    let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 1,
        "deploymentConfiguration": {"minimumHealthyPercent": 50, "maximumPercent": 150}});
    fleet.world.ok(Op::CreateService, request.clone()).await;
    let before = fleet.until("it is stable", healthy, stable(1)).await;
    for (changes, code, text) in [
        (json!({"desiredCount": 5001}), INVALID, "desiredCount must be between 0 and 5000."),
        (json!({"taskDefinition": "nothing"}), CLIENT, "TaskDefinition not found."),
        (json!({"taskDefinition": gone}), CLIENT, "TaskDefinition is inactive"),
        // Each is right by itself; with what the service has they contradict each other.
        (
            json!({"deploymentConfiguration": {"maximumPercent": 40}}),
            INVALID,
            "maximumPercent must not be less than minimumHealthyPercent.",
        ),
        (
            json!({"deploymentConfiguration": {"strategy": "BLUE_GREEN"}}),
            UNSUPPORTED,
            "deploymentConfiguration.strategy BLUE_GREEN is not supported by this version of Longshore",
        ),
        (
            json!({"deploymentConfiguration": {"bakeTimeInMinutes": 5}}),
            UNSUPPORTED,
            "deploymentConfiguration.bakeTimeInMinutes is not supported by this version of Longshore.",
        ),
        (
            json!({"loadBalancers": [{"targetGroupArn": "arn:none", "containerName": "app", "containerPort": 80}]}),
            INVALID,
            "The container app did not have a container port 80 defined.",
        ),
        // It is looked at with the definition that the service is to have.
        (
            json!({"taskDefinition": "open",
                "loadBalancers": [{"targetGroupArn": "arn:none", "containerName": "app", "containerPort": 80}]}),
            INVALID,
            "The target group with targetGroupArn arn:none does not have an associated load balancer.",
        ),
        (
            json!({"platformVersion": "1.4.0"}),
            INVALID,
            "The platform version must be null when specifying an EC2 launch type.",
        ),
        (
            json!({"deploymentController": {"type": "EXTERNAL"}}),
            INVALID,
            "deploymentController of a service cannot be changed: it is ECS.",
        ),
        (
            json!({"placementStrategy": [{"type": "spread", "field": "mood"}]}),
            INVALID,
            "placementStrategy.field: `mood` is not a field for spread; it takes",
        ),
        (json!({"healthCheckGracePeriodSeconds": -1}), INVALID, "healthCheckGracePeriodSeconds must not be negative."),
        (json!({"propagateTags": "ALL"}), INVALID, "propagateTags: `ALL` is none of TASK_DEFINITION, SERVICE, NONE."),
    ] {
        let mut full = json!({"service": "web"});
        full.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        refused(&fleet, Op::UpdateService, full, code, text).await;
    }
    assert_eq!(fleet.service("web").await, before);
    // One that is draining is neither made anew nor changed, and drains on.
    fleet.world.ok(Op::DeleteService, json!({"service": "web", "force": true})).await;
    let refused = fleet.world.err(Op::CreateService, request.clone()).await;
    assert_eq!(refused, "InvalidParameterException: Unable to Start a service that is still Draining.");
    let refused = fleet.world.err(Op::UpdateService, json!({"service": "web", "forceNewDeployment": true})).await;
    assert_eq!(refused, "ServiceNotActiveException: Service was not ACTIVE.");
    assert_eq!(fleet.service("web").await["status"], "DRAINING");
    assert_eq!(listed(&fleet, json!({})).await, (Vec::new(), Value::Null));
    fleet.until("it is over", healthy, |service| service["status"] == "INACTIVE").await;
    let refused = fleet.world.err(Op::UpdateService, json!({"service": "web", "desiredCount": 2})).await;
    assert_eq!(refused, "ServiceNotActiveException: Service was not ACTIVE.");
    fleet.world.ok(Op::CreateService, request).await;
}

#[tokio::test]
async fn a_daemon_has_percents_of_its_own_and_updates_give_it_nothing_that_it_cannot_have() {
    let mut fleet = Fleet::new(1).await;
    fleet.world.definition("one", json!({})).await;
    let percents = |service: &Value| {
        let configuration = &service["deploymentConfiguration"];
        (configuration["minimumHealthyPercent"].clone(), configuration["maximumPercent"].clone())
    };
    let request = json!({"serviceName": "web", "taskDefinition": "one", "schedulingStrategy": "DAEMON"});
    let made = fleet.world.ok(Op::CreateService, request).await["service"].clone();
    assert_eq!(percents(&made), (json!(0), json!(100)));
    let before = fleet.until("it is stable", healthy, stable(1)).await;
    for (changes, text) in [
        (
            json!({"desiredCount": 2}),
            "The daemon scheduling strategy does not support a desired count for services. Remove the desired count \
             value and try again",
        ),
        (
            json!({"placementStrategy": [{"type": "random"}]}),
            "The daemon scheduling strategy does not support placement strategies. Remove the placement strategy and \
             try again",
        ),
        (
            json!({"capacityProviderStrategy": [{"capacityProvider": "rack"}]}),
            "Specifying a capacity provider strategy is not supported when you update a service using the DAEMON \
             scheduling strategy.",
        ),
        (
            json!({"deploymentConfiguration": {"maximumPercent": 101}}),
            "The daemon scheduling strategy does not support values above 100 for maximumPercent on a deployment \
             configuration. Change the maximumPercent value to 100, and try again",
        ),
        (
            json!({"deploymentConfiguration": {"maximumPercent": 99}}),
            "The daemon scheduling strategy replaces tasks in place, so that maximumPercent must be 100.",
        ),
        // With the maximum that it has.
        (
            json!({"deploymentConfiguration": {"minimumHealthyPercent": 100}}),
            "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments",
        ),
        (
            json!({"deploymentConfiguration": {"minimumHealthyPercent": 101}}),
            "minimumHealthyPercent must be between 0 and 100.",
        ),
        (
            json!({"availabilityZoneRebalancing": "ENABLED"}),
            "availabilityZoneRebalancing must be DISABLED: the scheduling strategy is DAEMON.",
        ),
    ] {
        let mut full = json!({"service": "web"});
        full.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        refused(&fleet, Op::UpdateService, full, INVALID, text).await;
    }
    assert_eq!(fleet.service("web").await, before);
    // Empty lists ask for nothing.
    let update = json!({"service": "web", "placementStrategy": [], "capacityProviderStrategy": [],
        "deploymentConfiguration": {"minimumHealthyPercent": 50}});
    let updated = fleet.world.ok(Op::UpdateService, update).await["service"].clone();
    assert_eq!(percents(&updated), (json!(50), json!(100)));
    assert_eq!(updated["deployments"].as_array().unwrap().len(), 1);
}
