//! Secrets: their values and versions, how they end, and which instance is given one for its registry.

use crate::world::{World, facts, task_id, until};
use longshore_core::CredentialsError;
use longshore_ecs_api::Operation as Op;
use longshore_ecs_api::secrets::SecretsOperation::{
    CreateSecret, DeleteSecret, DescribeSecret, GetSecretValue, ListSecrets, PutSecretValue, RestoreSecret,
    UpdateSecret,
};
use longshore_model::{ContainerName, InstanceId, TaskStatus};
use longshore_store::{KeyRange, Store};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::time::Duration;

const TOKENS: [&str; 4] = [
    "aaaaaaaa-0000-4000-8000-000000000001",
    "aaaaaaaa-0000-4000-8000-000000000002",
    "aaaaaaaa-0000-4000-8000-000000000003",
    "aaaaaaaa-0000-4000-8000-000000000004",
];

async fn value(world: &World, request: Value) -> Result<String, String> {
    world.secrets(GetSecretValue, request).await.map(|got| got["SecretString"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_secret_has_a_current_and_a_previous_value_and_requests_may_come_twice() {
    let world = World::new().await;
    let create = json!({"Name": "team/registry", "ClientRequestToken": TOKENS[0], "SecretString": "one",
        "Description": "d", "Tags": [{"Key": "team", "Value": "a"}]});
    let made = world.secrets(CreateSecret, create.clone()).await.unwrap();
    let arn = made["ARN"].as_str().unwrap();
    let suffix = arn.strip_prefix("arn:aws:secretsmanager:lab:123456789012:secret:team/registry-").unwrap();
    assert!(suffix.len() == 6 && suffix.bytes().all(|b| b.is_ascii_alphanumeric()), "{arn}");
    assert_eq!((&made["Name"], &made["VersionId"]), (&json!("team/registry"), &json!(TOKENS[0])));
    assert_eq!(world.secrets(CreateSecret, create.clone()).await.unwrap(), made, "the same request once more");
    let mut other = create;
    other["SecretString"] = json!("other");
    let error = world.secrets(CreateSecret, other).await.unwrap_err();
    assert_eq!(error, "ResourceExistsException: The operation failed because the secret team/registry already exists.");

    let name = "team/registry";
    let put = |token: &str, value: &str| json!({"SecretId": name, "ClientRequestToken": token, "SecretString": value});
    let two = world.secrets(PutSecretValue, put(TOKENS[1], "two")).await.unwrap();
    assert_eq!(two["VersionStages"], json!(["AWSCURRENT"]));
    assert_eq!(value(&world, json!({"SecretId": "team/registry"})).await.unwrap(), "two");
    assert_eq!(value(&world, json!({"SecretId": arn, "VersionStage": "AWSPREVIOUS"})).await.unwrap(), "one");
    assert_eq!(value(&world, json!({"SecretId": &arn[..arn.len() - 7], "VersionId": TOKENS[0]})).await.unwrap(), "one");
    world
        .secrets(
            UpdateSecret,
            json!({"SecretId": arn, "ClientRequestToken": TOKENS[2], "SecretBinary": "AAEC", "Description": ""}),
        )
        .await
        .unwrap();
    let got = world.secrets(GetSecretValue, json!({"SecretId": arn})).await.unwrap();
    assert_eq!((&got["SecretBinary"], got.get("SecretString")), (&json!("AAEC"), None));
    assert_eq!(got["VersionStages"], json!(["AWSCURRENT"]));
    // A request that comes late once more is known, though its value is gone.
    world.secrets(PutSecretValue, put(TOKENS[0], "one")).await.unwrap();
    let error = world.secrets(PutSecretValue, put(TOKENS[0], "else")).await.unwrap_err();
    assert!(error.starts_with("ResourceExistsException: ") && !error.contains("else"), "{error}");
    let described = world.secrets(DescribeSecret, json!({"SecretId": arn})).await.unwrap();
    assert_eq!(
        described["VersionIdsToStages"],
        json!({TOKENS[2]: ["AWSCURRENT"], TOKENS[1]: ["AWSPREVIOUS"]}),
        "{described}"
    );
    assert_eq!((described.get("Description"), described.get("DeletedDate")), (None, None));
    assert_eq!(described["Tags"], json!([{"Key": "team", "Value": "a"}]));

    // All of it is there after a restart, and the store shows no value.
    let world = world.reopen().await;
    assert_eq!(value(&world, json!({"SecretId": arn, "VersionStage": "AWSPREVIOUS"})).await.unwrap(), "two");
    let snapshot = world.store.snapshot().await.unwrap();
    let page = snapshot.range(KeyRange::all(), 1000).await.unwrap();
    let shown = |entry: &&longshore_store::Entry| {
        let text = String::from_utf8_lossy(&entry.value).into_owned();
        ["\"two\"", "dHdv", "AAEC"].iter().any(|value| text.contains(value))
    };
    assert!(page.entries.iter().any(|entry| entry.key.starts_with(b"secret/lab/team/registry")));
    assert_eq!(page.entries.iter().find(shown), None);
}

#[tokio::test]
async fn a_deleted_secret_can_be_restored_until_its_time_is_over() {
    let world = World::new().await;
    let create = |name: &str| json!({"Name": name, "SecretString": "x"});
    for name in ["a", "b", "c"] {
        world.secrets(CreateSecret, create(name)).await.unwrap();
    }
    let deleted = world.secrets(DeleteSecret, json!({"SecretId": "a", "RecoveryWindowInDays": 7})).await.unwrap();
    assert_eq!(deleted["DeletionDate"], 1_700_000_000.0 + 7.0 * 86_400.0);
    let marked = "InvalidRequestException: You can't perform this operation on the secret because it was marked for \
                  deletion.";
    assert_eq!(value(&world, json!({"SecretId": "a"})).await.unwrap_err(), marked);
    let put = json!({"SecretId": "a", "SecretString": "y"});
    assert_eq!(world.secrets(PutSecretValue, put).await.unwrap_err(), marked);
    let error = world.secrets(CreateSecret, create("a")).await.unwrap_err();
    assert!(error.contains("already scheduled for deletion"), "{error}");
    let names = |listed: Value| -> Vec<String> {
        let list = listed["SecretList"].as_array().unwrap();
        list.iter().map(|s| s["Name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(world.secrets(ListSecrets, json!({})).await.unwrap()), ["b", "c"]);
    let all = json!({"IncludePlannedDeletion": true, "MaxResults": 2});
    let page = world.secrets(ListSecrets, all.clone()).await.unwrap();
    let mut next = all;
    next["NextToken"] = page["NextToken"].clone();
    assert_eq!(names(page), ["a", "b"]);
    assert_eq!(names(world.secrets(ListSecrets, next).await.unwrap()), ["c"]);
    let error = world.secrets(ListSecrets, json!({"NextToken": "x"})).await.unwrap_err();
    assert_eq!(error, "InvalidNextTokenException: Invalid NextToken.");
    let but = json!({"Filters": [{"Key": "name", "Values": ["!b"]}]});
    assert_eq!(names(world.secrets(ListSecrets, but).await.unwrap()), ["c"]);

    world.secrets(RestoreSecret, json!({"SecretId": "a"})).await.unwrap();
    assert_eq!(value(&world, json!({"SecretId": "a"})).await.unwrap(), "x");
    let old = world.secrets(DescribeSecret, json!({"SecretId": "a"})).await.unwrap()["ARN"].clone();
    world.secrets(DeleteSecret, json!({"SecretId": "a"})).await.unwrap();
    world.secrets(DeleteSecret, json!({"SecretId": "b", "ForceDeleteWithoutRecovery": true})).await.unwrap();
    let gone = "ResourceNotFoundException: Secrets Manager can't find the specified secret.";
    assert_eq!(value(&world, json!({"SecretId": "b"})).await.unwrap_err(), gone);
    world.secrets(DeleteSecret, json!({"SecretId": "b", "ForceDeleteWithoutRecovery": true})).await.unwrap();
    assert_eq!(world.secrets(DeleteSecret, json!({"SecretId": "b"})).await.unwrap_err(), gone);
    world.clock.advance(Duration::from_secs(30 * 86_400));
    assert_eq!(value(&world, json!({"SecretId": "a"})).await.unwrap_err(), gone);
    // Another one of the same name is not the one whose ARN somebody kept.
    world.secrets(CreateSecret, create("a")).await.unwrap();
    assert_eq!(value(&world, json!({"SecretId": "a"})).await.unwrap(), "x");
    assert_eq!(value(&world, json!({"SecretId": old})).await.unwrap_err(), gone);
}

#[tokio::test]
async fn mistakes_are_told_in_secrets_managers_words() {
    let world = World::new().await;
    world.secrets(CreateSecret, json!({"Name": "empty"})).await.unwrap();
    let large = "x".repeat((64 << 10) + 1);
    for (op, request, expected) in [
        (CreateSecret, json!({}), "ValidationException: Invalid name."),
        (CreateSecret, json!({"Name": "a b", "SecretString": "hush"}), "ValidationException: Invalid name."),
        (
            CreateSecret,
            json!({"Name": "a", "SecretString": "hush", "SecretBinary": "aHVzaA=="}),
            "You can't specify both",
        ),
        (CreateSecret, json!({"Name": "a", "SecretString": large}), "SecretString must have 1 to 65536 bytes"),
        (CreateSecret, json!({"Name": "a", "SecretString": ""}), "SecretString must have 1 to 65536 bytes"),
        (CreateSecret, json!({"Name": "a", "SecretBinary": "!"}), "SecretBinary must be base64"),
        (CreateSecret, json!({"Name": "a", "SecretString": ["hush"]}), "SerializationException: SecretString"),
        (CreateSecret, json!({"Name": "a", "ClientRequestToken": "x"}), "ClientRequestToken must be 32 to 64"),
        (CreateSecret, json!({"Name": "a", "KmsKeyId": "k"}), "KmsKeyId is not supported"),
        (GetSecretValue, json!({}), "InvalidParameterException: SecretId must be"),
        (
            GetSecretValue,
            json!({"SecretId": "none"}),
            "ResourceNotFoundException: Secrets Manager can't find the specified",
        ),
        (
            GetSecretValue,
            json!({"SecretId": "empty"}),
            "can't find the specified secret value for staging label: AWSCURRENT",
        ),
        (PutSecretValue, json!({"SecretId": "empty"}), "InvalidRequestException: You must provide either"),
        (
            PutSecretValue,
            json!({"SecretId": "empty", "SecretString": "hush", "VersionStages": ["MINE"]}),
            "VersionStages other than AWSCURRENT is not supported",
        ),
        (DeleteSecret, json!({"SecretId": "empty", "RecoveryWindowInDays": 6}), "must be between 7 and 30 days"),
        (
            DeleteSecret,
            json!({"SecretId": "empty", "RecoveryWindowInDays": 7, "ForceDeleteWithoutRecovery": true}),
            "in conjunction with RecoveryWindowInDays",
        ),
        (ListSecrets, json!({"MaxResults": 101}), "MaxResults must be between 1 and 100"),
        (ListSecrets, json!({"Filters": [{"Key": "x", "Values": ["y"]}]}), "Filters: Key must be one of"),
    ] {
        let error = world.secrets(op, request).await.expect_err(expected);
        assert!(error.contains(expected) && !error.contains("hush"), "expected {expected:?} in {error}");
    }
}

#[tokio::test]
async fn an_instance_is_given_the_credentials_of_the_tasks_that_it_is_to_run() {
    let world = World::new().await;
    let mut agent = world.host("default", facts(4096, 4096)).await;
    let credentials = json!({"repositoryCredentials": {"credentialsParameter": "team/registry"}});
    let definition = world.definition("private", credentials).await;
    let task = task_id(&world.run(json!({"taskDefinition": definition})).await);
    let plain = world.definition("plain", json!({})).await;
    let plain = task_id(&world.run(json!({"taskDefinition": plain})).await);
    let spec = agent.assigned()[&task].spec.clone();
    assert_eq!(spec.containers[0].repository_credentials.as_deref(), Some("team/registry"));

    let app = ContainerName::new("app").unwrap();
    let ask = |instance: InstanceId, task, container: &ContainerName| {
        world.core.registry_credentials(instance, task, container)
    };
    let unusable = |part: &str| match ask(agent.instance, task, &app) {
        Err(error @ CredentialsError::Unusable { .. }) => {
            let text = error.to_string();
            assert!(text.contains("repositoryCredentials.credentialsParameter `team/registry`: "), "{text}");
            assert!(text.contains(part) && !text.contains("hush"), "expected {part:?} in {text}");
        }
        other => panic!("{other:?}"),
    };
    unusable("can't find the specified secret");
    world.secrets(CreateSecret, json!({"Name": "team/registry"})).await.unwrap();
    unusable("the secret has no value yet");
    let put = async |value: &str| {
        let request = json!({"SecretId": "team/registry", "SecretString": value});
        world.secrets(PutSecretValue, request).await.unwrap();
    };
    for odd in [
        "hush",
        r#"{"username": "hush"}"#,
        r#"{"username": "u", "password": 7}"#,
        r#"{"username":"","password":"hush"}"#,
    ] {
        put(odd).await;
        unusable("the secret is not {\"username\": ");
    }
    put(r#"{"username": "u", "password": "hush", "more": 1}"#).await;
    let given = ask(agent.instance, task, &app).unwrap();
    assert_eq!((given.username.as_str(), given.password.expose_secret()), ("u", "hush"));
    assert!(!format!("{given:?}").contains("hush"));

    // Nobody else, and for nothing else.
    let other = world.host("default", facts(1024, 1024)).await;
    for (instance, task, container) in [
        (other.instance, task, "app"),
        (InstanceId::random(), task, "app"),
        (agent.instance, longshore_model::TaskId::random(), "app"),
        (agent.instance, task, "other"),
    ] {
        let refused = ask(instance, task, &ContainerName::new(container).unwrap());
        assert!(matches!(refused, Err(CredentialsError::NotAssigned { .. })), "{refused:?}");
    }
    assert!(matches!(ask(agent.instance, plain, &app), Err(CredentialsError::None(_))));
    world.secrets(DeleteSecret, json!({"SecretId": "team/registry"})).await.unwrap();
    unusable("the secret is marked for deletion");
    world.secrets(RestoreSecret, json!({"SecretId": "team/registry"})).await.unwrap();
    world.ok(Op::StopTask, json!({"task": task.to_string()})).await;
    assert!(matches!(ask(agent.instance, task, &app), Err(CredentialsError::NotAssigned { .. })), "it is to stop");
    agent.is(task, TaskStatus::Stopped).await;
    until("the stop is known", || agent.assigned().len() == 1).await;
    assert!(matches!(ask(agent.instance, task, &app), Err(CredentialsError::NotAssigned { .. })), "it is over");
}
