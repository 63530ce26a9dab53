//! What a task is as a whole: its size, its storage, its launch type, where it may go.

use super::{accepted, app, refused, register};
use serde_json::{Value, json};

#[test]
fn cpu_and_memory() {
    accepted(&[
        json!({"memory": "512", "containerDefinitions": [{"memory": null}]}),
        app(json!({"memory": null, "memoryReservation": 6})),
        app(json!({"memory": 64, "memoryReservation": 64})),
        json!({"cpu": "256", "containerDefinitions": [{"cpu": 128},
            {"name": "b", "image": "b", "memory": 6, "cpu": 128}]}),
    ]);
    refused(&[
        (
            app(json!({"memory": null})),
            "Invalid setting for container 'app'. At least one of 'memory' or 'memoryReservation' must be specified.",
        ),
        (app(json!({"memory": 5})), "Invalid 'memory' setting for container 'app'. It must be at least 6 MiB."),
        (
            app(json!({"memoryReservation": 0})),
            "Invalid 'memoryReservation' setting for container 'app'. It must be at least 6 MiB.",
        ),
        (
            app(json!({"memory": 64, "memoryReservation": 65})),
            "Invalid setting for container 'app'. 'memory' must not be less than 'memoryReservation'.",
        ),
        (json!({"memory": "63"}), "The 'memory' setting for container 'app' is greater than for the task."),
        (
            json!({"memory": "100", "containerDefinitions": [{}, {"name": "b", "image": "b", "memory": 64}]}),
            "The sum of all container 'memoryReservation' or 'memory' values cannot be greater than the value of the \
             task 'memory'.",
        ),
        (
            json!({"cpu": "256", "containerDefinitions": [{"cpu": 257}]}),
            "The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'.",
        ),
        (app(json!({"cpu": -1})), "containerDefinitions[0].cpu: -1 must be between 0 and 196608."),
        (
            json!({"cpu": "many"}),
            "Invalid 'cpu' setting for task. It must be 128 to 196608 CPU units, or 0.125 to 192 vCPU, and is 'many'.",
        ),
        (
            json!({"memory": "1 TB"}),
            "Invalid 'memory' setting for task. It must be at least 6 MiB, written like '512' or '0.5 GB', and is '1 \
             TB'.",
        ),
    ]);
}

#[test]
fn ephemeral_storage_is_from_one_gib_on_and_as_in_ecs_for_fargate() {
    accepted(&[json!({"ephemeralStorage": {"sizeInGiB": 1}}), json!({"ephemeralStorage": {"sizeInGiB": 65_536}})]);
    let fargate = |size: i32| {
        json!({"requiresCompatibilities": ["FARGATE"], "ephemeralStorage": {"sizeInGiB": size},
        "cpu": "256", "memory": "512", "networkMode": "awsvpc"})
    };
    refused(&[
        (json!({"ephemeralStorage": {}}), "ephemeralStorage.sizeInGiB should not be null."),
        (json!({"ephemeralStorage": {"sizeInGiB": 0}}), "ephemeralStorage.sizeInGiB: 0 must be between 1 and 65536."),
        (fargate(20), "ephemeralStorage.sizeInGiB: 20 must be between 21 and 200."),
        (fargate(201), "ephemeralStorage.sizeInGiB: 201 must be between 21 and 200."),
    ]);
}

#[test]
fn fargate_is_checked_before_it_is_refused() {
    let fargate = |patch: Value| {
        let mut base = json!({"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc"});
        super::merge(&mut base, &patch);
        base
    };
    refused(&[
        (fargate(json!({"networkMode": "bridge"})), "Fargate only supports network mode 'awsvpc'."),
        (fargate(json!({})), "Fargate requires that 'cpu' be defined at the task level."),
        (fargate(json!({"cpu": "256"})), "Fargate requires that 'memory' be defined at the task level."),
        (fargate(json!({"cpu": "256", "memory": "4096"})), "No Fargate configuration exists for given values."),
        (
            fargate(json!({"cpu": "256", "memory": "512", "pidMode": "host"})),
            "Tasks using the Fargate launch type do not support pidMode 'host'. The supported value for pidMode is \
             'task'.",
        ),
    ]);
}

#[test]
fn placement_constraints() {
    let too_many: Vec<Value> = vec![json!({"type": "memberOf", "expression": "ec2InstanceId exists"}); 11];
    refused(&[
        (
            json!({"placementConstraints": [{"type": "distinctInstance"}]}),
            "placementConstraints[0].type: a task definition can only have memberOf.",
        ),
        (
            json!({"placementConstraints": [{"type": "memberOf"}]}),
            "placementConstraints[0].expression: memberOf needs one",
        ),
        (json!({"placementConstraints": too_many}), "placementConstraints: 11 are given, at most 10 are allowed."),
    ]);
    let error = register(&json!({"placementConstraints": [{"type": "memberOf", "expression": "attribute:a =="}]}))
        .expect_err("not an expression");
    assert!(error.message.starts_with("placementConstraints[0].expression: "), "{error}");
}
