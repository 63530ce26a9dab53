//! The generated types as clients meet them: names, absence, unknown texts, times, secrets, errors.

use longshore_ecs_api::enums::{HealthStatus, LaunchType, NetworkMode, TaskStopCode};
use longshore_ecs_api::requests::{
    CreateClusterRequest, DescribeTasksRequest, ListTasksRequest, RegisterTaskDefinitionRequest, RunTaskRequest,
};
use longshore_ecs_api::types::{ContainerDefinition, KeyValuePair, LogConfiguration, NetworkBinding, Session, Task};
use longshore_ecs_api::{ApiError, EpochSeconds, ErrorCode, Operation, Request, parse, parse_json, ssm};
use serde_json::{Value, json};

#[test]
fn every_operation_of_the_model_is_there() {
    assert_eq!(Operation::ALL.len(), 88);
    for operation in Operation::ALL {
        assert_eq!(Operation::from_name(operation.name()), Some(*operation));
    }
    assert_eq!(Operation::from_name("runTask"), None);
    assert_eq!(RunTaskRequest::OPERATION, Operation::RunTask);
    assert_eq!(RunTaskRequest::REQUIRED, ["taskDefinition"]);
    assert_eq!(longshore_ecs_api::TARGET_PREFIX, "AmazonEC2ContainerServiceV20141113");
}

#[test]
fn generated_files_are_of_one_run() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/generated");
    let mut headers = Vec::new();
    for entry in std::fs::read_dir(directory).expect("the directory") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("text");
        headers.push(text.lines().next().expect("a header").to_owned());
    }
    assert_eq!(headers.len(), 7, "a file too many or too few: was one left over from an older generator?");
    assert!(headers.iter().all(|header| *header == headers[0] && header.starts_with("// Generated from botocore ")));
}

#[test]
fn absent_and_null_are_the_same_and_nothing_is_written() {
    let written = serde_json::to_value(Task::default()).expect("serialises");
    assert_eq!(written, json!({}));
    let request: RunTaskRequest =
        parse(br#"{"taskDefinition": "web", "count": null, "unheardOf": {"a": [1]}, "overrides": null}"#)
            .expect("parses");
    assert_eq!(request, RunTaskRequest { task_definition: Some("web".into()), ..RunTaskRequest::default() });
    let empty: ListTasksRequest = parse(b"").expect("an empty body is an empty request");
    assert_eq!(empty, ListTasksRequest::default());
}

#[test]
fn wire_names_survive() {
    let binding = json!({"bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 32768, "protocol": "tcp"});
    let parsed: NetworkBinding = serde_json::from_value(binding.clone()).expect("parses");
    assert_eq!(parsed.host_port, Some(32768));
    assert_eq!(serde_json::to_value(parsed).expect("serialises"), binding);
}

#[test]
fn enums_keep_what_they_do_not_know() {
    for (text, known) in [
        ("UNKNOWN", HealthStatus::Unknown),
        ("HEALTHY", HealthStatus::Healthy),
        ("odd", HealthStatus::Other("odd".into())),
    ] {
        let parsed: HealthStatus = serde_json::from_value(json!(text)).expect("any text");
        assert_eq!(parsed, known);
        assert_eq!(serde_json::to_value(&parsed).expect("serialises"), json!(text));
    }
    assert_eq!(NetworkMode::from("awsvpc"), NetworkMode::Awsvpc);
    assert_eq!(TaskStopCode::EssentialContainerExited.to_string(), "EssentialContainerExited");
    assert_eq!(LaunchType::ALL.iter().map(LaunchType::as_str).next(), Some("EC2"));
}

#[test]
fn times_are_numbers_and_keep_their_milliseconds() {
    for millis in [0, 1, 999, 1_466_801_808_595, 253_402_300_799_999, -1] {
        let text = serde_json::to_string(&EpochSeconds::from_millis(millis)).expect("serialises");
        let parsed: EpochSeconds = serde_json::from_str(&text).expect("parses");
        assert_eq!(parsed.millis(), millis, "{text}");
    }
    let integer: EpochSeconds = serde_json::from_str("1466801808").expect("an integer");
    assert_eq!(integer.millis(), 1_466_801_808_000);
    let request: ssm::CreateActivationRequest =
        parse_json(br#"{"IamRole": "r", "ExpirationDate": 1466801808.5}"#).expect("parses");
    assert_eq!(request.expiration_date.map(EpochSeconds::millis), Some(1_466_801_808_500));
}

#[test]
fn debug_hides_what_may_be_secret() {
    let secret = || Some("hunter2".to_owned());
    let container = ContainerDefinition {
        environment: Some(vec![KeyValuePair { name: Some("PASSWORD".into()), value: secret() }]),
        log_configuration: Some(LogConfiguration {
            options: Some([("splunk-token".to_owned(), "hunter2".to_owned())].into()),
            ..LogConfiguration::default()
        }),
        ..ContainerDefinition::default()
    };
    let session = Session { token_value: secret(), ..Session::default() };
    let activation = ssm::CreateActivationResponse { activation_code: secret(), activation_id: Some("id".into()) };
    let shown = format!("{container:?} {session:?} {activation:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(serde_json::to_string(&container).expect("serialises").contains("hunter2"));
}

#[test]
fn mistakes_are_told_with_the_member() {
    let check = |body: &str, message: &str| {
        let error = parse::<RegisterTaskDefinitionRequest>(body.as_bytes()).expect_err(body);
        assert_eq!(error.code, ErrorCode::Serialization, "{body}");
        assert_eq!(error.message, message, "{body}");
    };
    check(r#"{"family": 5}"#, "family: invalid type: found integer, expected a string");
    check(
        r#"{"family": "a", "containerDefinitions": [{}, {"name": "b", "cpu": "many"}], "cpu": "256"}"#,
        "containerDefinitions[1].cpu: invalid type: found string, expected i32",
    );
    check(
        r#"{"containerDefinitions": [{"environment": [{"name": "A", "value": {"x": "hunter2"}}]}]}"#,
        "containerDefinitions[0].environment[0].value: invalid type: found map, expected a string",
    );
    check(
        "{\n  \"family\": \"a\",\n  \"volumes\": [\n    {\"name\": true}\n  ]\n}",
        "volumes[0].name: invalid type: found boolean, expected a string",
    );
    check(
        r#"{"containerDefinitions": [{"memory": 99999999999}]}"#,
        "containerDefinitions[0].memory: invalid value: found integer, expected i32",
    );
    check(r#"{"volumes": {}}"#, "volumes: invalid type: found map, expected a sequence");
    check("[]", "The request body must be a JSON object.");
    check("null", "The request body must be a JSON object.");
    check(r#"{"family": "a"#, "family: not valid JSON: EOF while parsing a string");
    check(r#"{"family": "a"} x"#, "not valid JSON: trailing characters");
    check(r#"{"family" "a"}"#, "not valid JSON: expected `:`");
    let deep = format!("{{\"family\": {}", "[".repeat(100_000));
    let error = parse::<RegisterTaskDefinitionRequest>(deep.as_bytes()).expect_err("too deep");
    assert!(error.message.len() < 400, "{error}");
}

#[test]
fn required_members_are_asked_for() {
    let error = parse::<RunTaskRequest>(b"{}").expect_err("no definition");
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::InvalidParameter, "taskDefinition can not be blank."));
    assert!(parse::<CreateClusterRequest>(b"{}").is_ok());
    assert!(parse::<DescribeTasksRequest>(br#"{"tasks": []}"#).is_ok(), "empty lists are for the operation to judge");
}

#[test]
fn errors_have_the_shape_that_clients_read() {
    let error = ApiError::new(ErrorCode::Conflict, "taken").with("resourceIds", vec!["a".to_owned()]);
    let body: Value = serde_json::from_slice(&error.to_json()).expect("JSON");
    assert_eq!(body, json!({"__type": "ConflictException", "message": "taken", "resourceIds": ["a"]}));
    assert_eq!(error.status(), 400);
    for code in ErrorCode::ALL {
        assert_eq!(ErrorCode::from_name(code.as_str()), Some(*code));
        let expected = match code {
            ErrorCode::Server | ErrorCode::InternalFailure => 500,
            ErrorCode::RequestEntityTooLarge => 413,
            ErrorCode::RequestTimeout => 408,
            _ => 400,
        };
        assert_eq!(code.status(), expected, "{}", code.as_str());
    }
}
