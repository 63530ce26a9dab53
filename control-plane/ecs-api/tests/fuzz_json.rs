//! Requests' JSON: anything may come, nothing panics, what is taken survives a round trip, and what is refused is
//! refused in few words. Runs for a moment by default; `LONGSHORE_FUZZ_CASES` makes it longer.

use longshore_ecs_api::requests::{
    CreateClusterRequest, CreateServiceRequest, PutAttributesRequest, RegisterTaskDefinitionRequest, RunTaskRequest,
};
use longshore_ecs_api::ssm::CreateActivationRequest;
use longshore_ecs_api::{ErrorCode, parse_json};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::fmt::Debug;

fn config() -> ProptestConfig {
    let cases = std::env::var("LONGSHORE_FUZZ_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(500);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn try_all(body: &[u8]) {
    try_one::<RegisterTaskDefinitionRequest>(body);
    try_one::<RunTaskRequest>(body);
    try_one::<CreateServiceRequest>(body);
    try_one::<CreateClusterRequest>(body);
    try_one::<PutAttributesRequest>(body);
    try_one::<CreateActivationRequest>(body);
}

fn try_one<T: DeserializeOwned + Serialize + PartialEq + Debug>(body: &[u8]) {
    match parse_json::<T>(body) {
        Ok(request) => {
            let written = serde_json::to_vec(&request).expect("what was parsed serialises");
            assert!(!has_null(&serde_json::from_slice(&written).expect("JSON")), "absent members are not written");
            let again: T = parse_json(&written).expect("what was written parses");
            assert_eq!(request, again);
        }
        Err(error) => {
            assert_eq!(error.code, ErrorCode::Serialization);
            assert!(error.message.len() < 1200, "{}", error.message);
            let _ = format!("{error} {:?}", error.to_json());
        }
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(vec![
            "family", "containerDefinitions", "name", "cpu", "memory", "portMappings", "hostPort", "volumes", "host",
            "tags", "key", "value", "count", "overrides", "containerOverrides", "environment", "settings", "cluster",
            "clusterName", "networkConfiguration", "awsvpcConfiguration", "placementConstraints", "linuxParameters",
            "Tags", "ExpirationDate", "deploymentConfiguration", "logConfiguration", "options",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,8}",
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        // Within what JSON numbers hold exactly: beyond, a time is read to the nearest that there is.
        (-(1i64 << 50)..1 << 50).prop_map(Value::from),
        (-10i64..70000).prop_map(Value::from),
        any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name(), inner), 0..5)
                .prop_map(|members| members.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

fn real() -> Vec<u8> {
    json!({
        "family": "web", "cpu": "256", "volumes": [{"name": "data", "host": {"sourcePath": "/srv"}}],
        "containerDefinitions": [{
            "name": "app", "image": "app:1", "memory": 64, "environment": [{"name": "A", "value": "ä \"quoted\" \\"}],
            "portMappings": [{"containerPort": 80, "hostPort": 0}], "dockerLabels": {"a": "b"},
        }],
    })
    .to_string()
    .into_bytes()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        try_all(&bytes);
        try_all(&[b"{", bytes.as_slice()].concat());
    }

    #[test]
    fn arbitrary_values(value in value()) {
        try_all(value.to_string().as_bytes());
    }

    #[test]
    fn damaged_requests(at in 0usize..400, cut in 0usize..6, with in prop::collection::vec(any::<u8>(), 0..4)) {
        let good = real();
        let at = at.min(good.len());
        let bad = [&good[..at], &with, &good[(at + cut).min(good.len())..]].concat();
        try_all(&bad);
    }
}
