//! Registrations of every shape: validation never panics, never blames the server, and never takes what it would not
//! take again. Runs for a moment by default; `LONGSHORE_FUZZ_CASES` makes it longer.

use longshore_core::definition::validate;
use longshore_ecs_api::parse_json;
use longshore_ecs_api::requests::RegisterTaskDefinitionRequest;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn config() -> ProptestConfig {
    let cases = std::env::var("LONGSHORE_FUZZ_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// A definition that uses nearly everything that there is. Fuzzing takes parts away and changes them.
fn rich() -> Value {
    let container = r#"{
        "name": "app", "image": "app:1", "cpu": 10, "memory": 64, "memoryReservation": 32, "essential": true,
        "portMappings": [{"containerPort": 80, "hostPort": 8080, "protocol": "tcp", "name": "web"},
                         {"containerPortRange": "90-99"}],
        "entryPoint": ["/e"], "command": ["c"], "environment": [{"name": "A", "value": "b"}], "links": ["db:alias"],
        "environmentFiles": [{"type": "s3", "value": "a.env"}], "secrets": [{"name": "S", "valueFrom": "x"}],
        "mountPoints": [{"sourceVolume": "data", "containerPath": "/data", "readOnly": true}],
        "volumesFrom": [{"sourceContainer": "db"}], "dependsOn": [{"containerName": "db", "condition": "HEALTHY"}],
        "startTimeout": 5, "stopTimeout": 5, "restartPolicy": {"enabled": true, "restartAttemptPeriod": 60},
        "healthCheck": {"command": ["CMD", "x"], "interval": 30}, "user": "1", "workingDirectory": "/w",
        "hostname": "h",
        "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "g", "awslogs-region": "r"}},
        "linuxParameters": {"capabilities": {"add": ["NET_ADMIN"]}, "devices": [{"hostPath": "/dev/x"}], "maxSwap": 1,
                            "tmpfs": [{"containerPath": "/t", "size": 1, "mountOptions": ["ro"]}], "swappiness": 1},
        "ulimits": [{"name": "nofile", "softLimit": 1, "hardLimit": 2}], "dockerLabels": {"a": "b"},
        "systemControls": [{"namespace": "net.core.somaxconn", "value": "1"}], "dnsServers": ["10.0.0.1"],
        "extraHosts": [{"hostname": "x", "ipAddress": "10.0.0.1"}], "dockerSecurityOptions": ["no-new-privileges"],
        "resourceRequirements": [{"type": "GPU", "value": "1"}], "firelensConfiguration": {"type": "fluentbit"},
        "repositoryCredentials": {"credentialsParameter": "x"}, "credentialSpecs": ["x"],
        "versionConsistency": "enabled"
    }"#;
    let container: Value = serde_json::from_str(container).expect("the test's JSON");
    json!({
        "family": "web", "cpu": "256", "memory": "1 GB", "networkMode": "bridge", "pidMode": "task", "ipcMode": "none",
        "requiresCompatibilities": ["EC2", "FARGATE"], "taskRoleArn": "r", "executionRoleArn": "r",
        "placementConstraints": [{"type": "memberOf", "expression": "attribute:a == b"}],
        "volumes": [{"name": "data", "host": {}}, {"name": "d", "dockerVolumeConfiguration": {"scope": "task"}},
                    {"name": "e", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}],
        "runtimePlatform": {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"},
        "ephemeralStorage": {"sizeInGiB": 30}, "tags": [{"key": "a", "value": "b"}],
        "containerDefinitions": [container, {"name": "db", "image": "db", "memory": 6,
            "healthCheck": {"command": ["CMD", "x"]}}],
    })
}

/// Keeps a random part of everything and changes some of what is left.
fn thin(value: &Value, keep: u8, dice: &mut impl FnMut() -> u8) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().filter_map(|(name, value)| {
                let always = matches!(name.as_str(), "family" | "name" | "image" | "containerDefinitions" | "memory");
                (always || dice() < keep).then(|| (name.clone(), thin(value, keep, dice)))
            });
            kept.collect::<Vec<_>>().into_iter().collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(|item| thin(item, keep, dice)).collect(),
        leaf => match (dice(), leaf) {
            (0, _) => Value::Null,
            (1, Value::String(text)) => format!("{text}\0").into(),
            (2, Value::String(_)) => "".into(),
            (3, Value::String(text)) => text.repeat(300).into(),
            (4, Value::String(text)) => text.to_uppercase().into(),
            (5, Value::String(_)) => "../ä".into(),
            (1, Value::Number(_)) => i32::MAX.into(),
            (2, Value::Number(_)) => i32::MIN.into(),
            (3, Value::Number(_)) => 0.into(),
            (4, Value::Number(_)) => (-1).into(),
            (_, leaf) => leaf.clone(),
        },
    }
}

fn check(request: RegisterTaskDefinitionRequest) -> bool {
    match validate(request) {
        Err(error) => {
            assert_eq!(error.status(), 400, "{error}");
            assert!(!error.message.is_empty() && error.message.chars().count() < 2000, "{error}");
            false
        }
        Ok(validated) => {
            let mut value = serde_json::to_value(&validated.definition).expect("serialises");
            let members = value.as_object_mut().expect("an object");
            members.remove("requiresAttributes");
            members.remove("compatibilities");
            members.insert("tags".into(), serde_json::to_value(&validated.tags).expect("serialises"));
            let again = validate(serde_json::from_value(value).expect("the API's types"));
            assert_eq!(again.as_ref(), Ok(&validated));
            true
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn definitions_with_parts_missing_and_changed(keep in 0u8..=255, dice in prop::collection::vec(any::<u8>(), 128)) {
        let mut dice = dice.into_iter().cycle();
        let value = thin(&rich(), keep, &mut || dice.next().unwrap_or(255));
        if let Ok(request) = parse_json(value.to_string().as_bytes()) {
            check(request);
        }
    }

    #[test]
    fn odd_texts_in_every_place(text in "\\PC{0,40}") {
        let request = rich().to_string().replace("app", &text.replace(['"', '\\'], "x"));
        if let Ok(request) = parse_json(request.as_bytes()) {
            check(request);
        }
    }
}

/// Of what is fuzzed, a part must get through, or the fuzzing would only ever see the first refusal.
#[test]
fn some_definitions_are_sound() {
    let mut state = 7u32;
    let mut dice = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let sound = (0..1000)
        .filter(|i| parse_json(thin(&rich(), (i % 64) as u8, &mut dice).to_string().as_bytes()).is_ok_and(check))
        .count();
    assert!(sound > 25, "only {sound} of 1000");
}
