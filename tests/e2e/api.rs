//! The API without hosts: what is kept, what is refused, and that an answer outlives the control plane.

use std::collections::BTreeSet;

use longshore_tests::lab::Lab;
use serde_json::{Value, json};

use super::support::{api_lab, assert_error, register, sleeper, strings};

/// What this version does; every other operation of the model is `UnsupportedFeatureException`.
const IMPLEMENTED: &[&str] = &[
    "CreateCluster",
    "DescribeClusters",
    "ListClusters",
    "UpdateCluster",
    "UpdateClusterSettings",
    "DeleteCluster",
    "RegisterTaskDefinition",
    "DescribeTaskDefinition",
    "ListTaskDefinitions",
    "ListTaskDefinitionFamilies",
    "DeregisterTaskDefinition",
    "DeleteTaskDefinitions",
    "RunTask",
    "StartTask",
    "StopTask",
    "DescribeTasks",
    "ListTasks",
    "DescribeContainerInstances",
    "ListContainerInstances",
    "DeregisterContainerInstance",
    "UpdateContainerInstancesState",
    "PutAttributes",
    "DeleteAttributes",
    "ListAttributes",
    "TagResource",
    "UntagResource",
    "ListTagsForResource",
    "PutAccountSetting",
    "PutAccountSettingDefault",
    "DeleteAccountSetting",
    "ListAccountSettings",
    "ExecuteCommand",
    "CreateService",
    "UpdateService",
    "DeleteService",
    "DescribeServices",
    "ListServices",
    "CreateCapacityProvider",
    "DescribeCapacityProviders",
    "UpdateCapacityProvider",
    "DeleteCapacityProvider",
    "PutClusterCapacityProviders",
    "ListServiceDeployments",
    "DescribeServiceDeployments",
    "DescribeServiceRevisions",
    "StopServiceDeployment",
    "UpdateTaskProtection",
    "GetTaskProtection",
    "CreateTaskSet",
    "UpdateTaskSet",
    "DeleteTaskSet",
    "DescribeTaskSets",
    "UpdateServicePrimaryTaskSet",
];

fn raw(lab: &Lab, request: Value) -> Value {
    let mut full = json!({"kind": "raw"});
    super::support::merge(&mut full, request);
    lab.ask(&full).unwrap().unwrap()
}

fn error_kind(answer: &Value) -> String {
    let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap_or_default();
    body["__type"].as_str().unwrap_or_default().rsplit('#').next().unwrap_or_default().to_owned()
}

#[test]
fn every_operation_of_the_published_model_is_done_or_named_unsupported() {
    let lab = api_lab();
    let model = lab.ask(&json!({"kind": "model", "service": "ecs"})).unwrap().unwrap();
    let operations = model["operations"].as_object().unwrap();
    assert!(operations.len() >= 88, "the model has {} operations", operations.len());
    let known: BTreeSet<&str> = IMPLEMENTED.iter().copied().collect();
    assert!(known.iter().all(|op| operations.contains_key(*op)), "an operation that the model does not have");
    for (name, args) in operations {
        let target = format!("AmazonEC2ContainerServiceV20141113.{name}");
        let answer = raw(&lab, json!({"target": target, "body": args.to_string()}));
        let status = answer["status"].as_u64().unwrap();
        assert!(status == 200 || status == 400, "{name}: {answer}");
        let refused = error_kind(&answer) == "UnsupportedFeatureException";
        if IMPLEMENTED.contains(&name.as_str()) {
            let known = !["", "UnknownOperationException"].contains(&error_kind(&answer).as_str());
            assert!(status == 200 || known && !refused, "{name}: {answer}");
        } else {
            assert!(refused, "{name}: {answer}");
        }
    }
}

#[test]
fn bad_input_gets_the_error_that_clients_expect_and_changes_nothing() {
    let lab = api_lab();
    let create = "AmazonEC2ContainerServiceV20141113.CreateCluster";
    let cases = [
        (
            "JSON that ends early",
            json!({"target": create, "body": "{\"clusterName\": \"a\""}),
            "SerializationException",
        ),
        ("no JSON at all", json!({"target": create, "body": "hello"}), "SerializationException"),
        ("a list", json!({"target": create, "body": "[]"}), "SerializationException"),
        ("a number for a name", json!({"target": create, "body": "{\"clusterName\": 5}"}), "SerializationException"),
        (
            "a string for a list",
            json!({"target": create, "body": "{\"clusterName\": \"a\", \"tags\": \"x\"}"}),
            "SerializationException",
        ),
        (
            "an operation that does not exist",
            json!({"target": "AmazonEC2ContainerServiceV20141113.MakeCoffee"}),
            "UnknownOperationException",
        ),
        ("a service that does not exist", json!({"target": "Coffee_2020.Make"}), "UnknownOperationException"),
        ("no target", json!({}), "UnknownOperationException"),
        (
            "text that is not UTF-8",
            json!({"target": create, "body64": "eyJjbHVzdGVyTmFtZSI6ICL/In0="}),
            "SerializationException",
        ),
        (
            "nesting without end",
            json!({"target": create, "body": format!("{{\"tags\": {}", "[".repeat(100_000))}),
            "SerializationException",
        ),
    ];
    for (what, request, code) in cases {
        let answer = raw(&lab, request);
        assert_eq!(answer["status"], 400, "{what}: {answer}");
        assert_eq!(error_kind(&answer), code, "{what}: {answer}");
    }
    let huge = raw(&lab, json!({"target": create, "body": format!("{{\"x\": \"{}\"}}", "a".repeat(4 << 20))}));
    assert!(matches!(huge["status"].as_u64(), Some(400 | 413)), "{}", huge["status"]);
    let get = raw(&lab, json!({"target": create, "method": "GET"}));
    assert!(matches!(get["status"].as_u64(), Some(400..=499)), "{get}");
    assert_eq!(lab.ecs("list_clusters", json!({})).unwrap()["clusterArns"], json!([]), "something was changed");
    // Members that the server does not know, and null, are ignored, as AWS does.
    let body = "{\"clusterName\": \"fine\", \"newInOtherVersions\": {\"a\": 1}, \"settings\": null}";
    let answer =
        raw(&lab, json!({"target": create, "body": body, "content_type": "application/x-amz-json-1.1; charset=utf-8"}));
    assert_eq!(answer["status"], 200, "{answer}");
    assert!(!answer["body"].as_str().unwrap().contains("null"), "absent means absent: {answer}");
    assert_eq!(answer["headers"]["content-type"], "application/x-amz-json-1.1", "{answer}");
    assert!(answer["headers"]["x-amzn-requestid"].is_string(), "{answer}");
}

#[test]
fn impossible_definitions_and_unknown_things_are_refused_by_name() {
    let lab = api_lab();
    let with = |container: Value| json!({"family": "f", "containerDefinitions": [container]});
    let cases = [
        (with(json!({"image": "busybox", "memory": 8})), "Container.name should not be null or empty."),
        (with(json!({"name": "a", "memory": 8})), "Container.image should not be null or empty."),
        (with(json!({"name": "a b", "image": "busybox", "memory": 8})), "Container.name contains invalid characters."),
        (
            with(json!({"name": "a", "image": "busybox"})),
            "Invalid setting for container 'a'. At least one of 'memory' or 'memoryReservation' must be specified.",
        ),
        (
            with(json!({"name": "a", "image": "b", "memory": 8, "portMappings": [{"containerPort": 70000}]})),
            "Invalid 'containerPort' setting for container 'a'.",
        ),
        (with(json!({"name": "a", "image": "b", "memory": 8, "essential": false})), "essential"),
        (
            json!({"family": "f", "cpu": "128", "containerDefinitions": [
                {"name": "a", "image": "b", "memory": 8, "cpu": 100},
                {"name": "c", "image": "b", "memory": 8, "cpu": 100}]}),
            "The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'.",
        ),
        (
            with(json!({"name": "a", "image": "b", "memory": 8,
                    "mountPoints": [{"sourceVolume": "nothing-there", "containerPath": "/v"}]})),
            "nothing-there",
        ),
        // What this version's agent does not honour is named, never ignored.
        (
            with(json!({"name": "a", "image": "b", "memory": 8, "credentialSpecs": ["credentialspec:x"]})),
            "credentialSpecs",
        ),
    ];
    for (args, part) in cases {
        let error = lab.ecs_error("register_task_definition", args.clone()).unwrap();
        assert_eq!((error.code.as_str(), error.status), ("ClientException", 400), "{args}: {error}");
        assert!(error.message.contains(part), "expected {part:?}: {error}");
    }
    assert_eq!(lab.ecs("list_task_definitions", json!({})).unwrap()["taskDefinitionArns"], json!([]));

    let none = "arn:aws:ecs:eu-lab-1:111122223333:task/default/0123456789abcdef0123456789abcdef";
    assert_error(&lab.ecs_error("describe_tasks", json!({"tasks": [none]})).unwrap(), "ClusterNotFoundException", "");
    lab.ecs("create_cluster", json!({})).unwrap();
    let missing = lab.ecs("describe_tasks", json!({"tasks": [none]})).unwrap();
    assert_eq!(missing["failures"], json!([{"arn": none, "reason": "MISSING"}]));
    let error = lab.ecs_error("stop_task", json!({"task": none})).unwrap();
    assert_eq!(error.code, "InvalidParameterException", "{error}");
    let error = lab.ecs_error("run_task", json!({"taskDefinition": "nothing"})).unwrap();
    assert_eq!(error.status, 400, "{error}");
    let definition = register(&lab, "ok", json!([sleeper()]), json!({}));
    let error = lab.ecs_error("run_task", json!({"taskDefinition": definition})).unwrap();
    assert_error(&error, "InvalidParameterException", "No Container Instances were found in your cluster.");
    let error = lab.ecs_error("run_task", json!({"taskDefinition": definition, "cluster": "other"})).unwrap();
    assert_error(&error, "ClusterNotFoundException", "Cluster not found.");
    let error = lab.ecs_error("describe_task_definition", json!({"taskDefinition": "nothing"})).unwrap();
    assert_error(&error, "ClientException", "Unable to describe task definition.");
    let clusters = lab.ecs("describe_clusters", json!({"clusters": ["nowhere"]})).unwrap();
    assert_eq!(clusters["failures"][0]["reason"], "MISSING");
}

#[test]
fn clusters_definitions_tags_and_settings_live_as_in_ecs() {
    let lab = api_lab();
    // Clusters.
    let made =
        lab.ecs("create_cluster", json!({"clusterName": "prod", "tags": [{"key": "team", "value": "a"}]})).unwrap();
    assert_eq!(made["cluster"]["status"], "ACTIVE");
    assert_eq!(made["cluster"]["registeredContainerInstancesCount"], 0);
    let arn = made["cluster"]["clusterArn"].as_str().unwrap().to_owned();
    assert_eq!(arn, "arn:aws:ecs:eu-lab-1:111122223333:cluster/prod");
    let again = lab.ecs("create_cluster", json!({"clusterName": "prod"})).unwrap();
    assert_eq!(again["cluster"]["clusterArn"], arn, "creating is idempotent by name");
    let settings = json!([{"name": "containerInsights", "value": "enabled"}]);
    lab.ecs("update_cluster_settings", json!({"cluster": "prod", "settings": settings})).unwrap();
    let found = lab.ecs("describe_clusters", json!({"clusters": [arn], "include": ["SETTINGS", "TAGS"]})).unwrap();
    assert_eq!(found["clusters"][0]["settings"], settings);
    assert_eq!(found["clusters"][0]["tags"], json!([{"key": "team", "value": "a"}]));
    lab.ecs("tag_resource", json!({"resourceArn": arn, "tags": [{"key": "b", "value": ""}]})).unwrap();
    lab.ecs("untag_resource", json!({"resourceArn": arn, "tagKeys": ["team"]})).unwrap();
    let tags = lab.ecs("list_tags_for_resource", json!({"resourceArn": arn})).unwrap();
    assert_eq!(tags["tags"], json!([{"key": "b", "value": ""}]));
    let deleted = lab.ecs("delete_cluster", json!({"cluster": "prod"})).unwrap();
    assert_eq!(deleted["cluster"]["status"], "INACTIVE");
    assert_eq!(lab.ecs("list_clusters", json!({})).unwrap()["clusterArns"], json!([]));

    // Task definitions.
    let first = register(&lab, "web", json!([sleeper()]), json!({"tags": [{"key": "k", "value": "v"}]}));
    assert!(first.ends_with(":task-definition/web:1"), "{first}");
    let second = register(&lab, "web", json!([sleeper()]), json!({}));
    assert!(second.ends_with("web:2"));
    let latest = lab.ecs("describe_task_definition", json!({"taskDefinition": "web", "include": ["TAGS"]})).unwrap();
    let definition = &latest["taskDefinition"];
    assert_eq!(definition["revision"], 2);
    assert_eq!(definition["status"], "ACTIVE");
    assert_eq!(definition["containerDefinitions"][0]["essential"], true, "defaults are filled in");
    assert_eq!(definition["containerDefinitions"][0]["cpu"], 0);
    assert_eq!(definition["containerDefinitions"][0]["environment"], json!([]));
    assert!(definition["compatibilities"].as_array().unwrap().contains(&json!("EC2")));
    assert!(definition["registeredAt"].is_number());
    lab.ecs("deregister_task_definition", json!({"taskDefinition": "web:2"})).unwrap();
    let latest = lab.ecs("describe_task_definition", json!({"taskDefinition": "web"})).unwrap();
    assert_eq!(latest["taskDefinition"]["revision"], 1, "the latest ACTIVE one");
    assert!(register(&lab, "web", json!([sleeper()]), json!({})).ends_with("web:3"), "revisions never come again");
    let list = lab.ecs("list_task_definitions", json!({"familyPrefix": "web", "status": "INACTIVE"})).unwrap();
    assert_eq!(list["taskDefinitionArns"], json!([second]));
    let gone = lab.ecs("delete_task_definitions", json!({"taskDefinitions": ["web:2", "web:1"]})).unwrap();
    assert_eq!(gone["taskDefinitions"][0]["status"], "DELETE_IN_PROGRESS");
    assert_eq!(gone["failures"].as_array().unwrap().len(), 1, "an ACTIVE one is not deleted: {gone}");
    let families = lab.ecs("list_task_definition_families", json!({"familyPrefix": "w"})).unwrap();
    assert_eq!(families["families"], json!(["web"]));

    // Account settings.
    let set = lab.ecs("put_account_setting", json!({"name": "containerInsights", "value": "enabled"})).unwrap();
    assert_eq!(set["setting"]["value"], "enabled");
    let list =
        lab.ecs("list_account_settings", json!({"name": "containerInsights", "effectiveSettings": true})).unwrap();
    assert_eq!(list["settings"][0]["value"], "enabled");
    lab.ecs("delete_account_setting", json!({"name": "containerInsights"})).unwrap();
}

#[test]
fn paginators_of_boto3_see_everything_once() {
    let lab = api_lab();
    for n in 0..7 {
        lab.ecs("create_cluster", json!({"clusterName": format!("c{n}")})).unwrap();
        register(&lab, &format!("family{n}"), json!([sleeper()]), json!({}));
    }
    let pages = |op: &str, key: &str| -> Vec<String> {
        let request = json!({"kind": "paginate", "service": "ecs", "op": op, "args": {}, "page": 3});
        let pages = lab.ask(&request).unwrap().unwrap();
        let pages = pages.as_array().unwrap();
        assert!(pages.len() >= 3, "{op} gave {} pages", pages.len());
        assert!(pages.last().unwrap().get("nextToken").is_none_or(Value::is_null), "the last page ends it");
        pages.iter().flat_map(|p| p[key].as_array().unwrap().clone()).map(|v| v.as_str().unwrap().to_owned()).collect()
    };
    for (op, key) in [
        ("list_clusters", "clusterArns"),
        ("list_task_definitions", "taskDefinitionArns"),
        ("list_task_definition_families", "families"),
    ] {
        let all = pages(op, key);
        let unique: BTreeSet<&String> = all.iter().collect();
        assert_eq!((all.len(), unique.len()), (7, 7), "{op}: {all:?}");
    }
    let error = lab.ecs_error("list_clusters", json!({"nextToken": "made-up"})).unwrap();
    assert_eq!(error.code, "InvalidParameterException", "{error}");
}

#[test]
fn what_was_answered_outlives_a_kill_of_the_control_plane() {
    let lab = api_lab();
    let mut last = 0;
    for round in 0..3 {
        // Killed while requests are under way: a second client registers as fast as it can.
        let mut other = lab.boto().unwrap();
        let answered = std::thread::scope(|scope| {
            let writer = scope.spawn(move || {
                let mut answered = Vec::new();
                loop {
                    let args = json!({"family": "durable", "containerDefinitions": [sleeper()]});
                    match other.call("ecs", "register_task_definition", args).unwrap() {
                        Ok(made) => answered.push(made["taskDefinition"]["revision"].as_i64().unwrap()),
                        Err(_) => return answered,
                    }
                }
            });
            longshore_tests::lab::wait_until("some registrations", super::support::DEADLINE, || {
                let found = lab.ecs("list_task_definitions", json!({"familyPrefix": "durable"}))?;
                Ok(found["taskDefinitionArns"].as_array().unwrap().len() as i64 >= last + 10)
            })
            .unwrap();
            lab.control().kill().unwrap();
            writer.join().unwrap()
        });
        lab.restart_control().unwrap();
        let pages = lab
            .ask(&json!({"kind": "paginate", "service": "ecs", "op": "list_task_definitions", "args": {}, "page": 100}))
            .unwrap()
            .unwrap();
        let arns: Vec<String> = pages
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|p| p["taskDefinitionArns"].as_array().unwrap().clone())
            .map(|a| a.as_str().unwrap().to_owned())
            .collect();
        for revision in &answered {
            let end = format!("/durable:{revision}");
            assert!(
                arns.iter().any(|a| a.ends_with(&end)),
                "round {round}: revision {revision} was answered and is lost"
            );
        }
        last = i64::try_from(arns.len()).unwrap();
        assert!(
            last >= *answered.last().unwrap() && last <= answered.last().unwrap() + 1,
            "at most one was unanswered"
        );
        // The next revision goes on where it was.
        let next = register(&lab, "durable", json!([sleeper()]), json!({}));
        assert!(next.ends_with(&format!(":{}", last + 1)), "{next} after {last}");
        last += 1;
    }
    let made = lab.ecs("list_task_definitions", json!({"sort": "DESC", "maxResults": 1})).unwrap();
    assert!(strings(&json!([{"a": made["taskDefinitionArns"][0]}]), "a")[0].ends_with(&format!(":{last}")));
}

#[test]
fn garbage_on_either_port_harms_nobody() {
    use longshore_tests::lab::{net, product};
    use rand::{RngCore, SeedableRng};
    use std::io::Write;
    use std::net::SocketAddrV4;

    let lab = api_lab();
    lab.ecs("create_cluster", json!({"clusterName": "before"})).unwrap();
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    let mut held = Vec::new();
    let beginnings: [&[u8]; 6] = [
        b"",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff",
        b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03",
        b"GET /../../etc/passwd HTTP/1.1\r\nX-Amz-Target: \xff\xfe\r\nAuthorization: \x80\r\n\r\n",
    ];
    for port in [product::API_PORT, product::AGENT_PORT] {
        for round in 0..60 {
            let mut stream = lab.connect(SocketAddrV4::new(net::CONTROL, port)).unwrap();
            let mut noise = vec![0u8; 4096];
            random.fill_bytes(&mut noise);
            let _ = stream.write_all(beginnings[round % beginnings.len()]);
            let _ = stream.write_all(&noise);
            // Half of them stay open and silent.
            if round % 2 == 0 {
                held.push(stream);
            }
        }
    }
    let clusters = lab.ecs("list_clusters", json!({})).unwrap();
    assert_eq!(clusters["clusterArns"].as_array().map(Vec::len), Some(1), "{clusters}");
    assert!(lab.control().process(|p| Ok(p.lives())).unwrap());
    let log = lab.ctl().log("control");
    assert!(!log.contains("panicked"), "{log}");
}
