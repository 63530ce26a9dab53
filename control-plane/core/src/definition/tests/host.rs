//! What a definition asks of its host: volumes of the engine, files, pulls, and the attributes that follow.

use super::{accepted, app, efs, merge, refused, stored};
use serde_json::{Value, json};

#[test]
fn volumes_of_the_engine() {
    let volume = |name: &str, docker: Value| json!({"volumes": [{"name": name, "dockerVolumeConfiguration": docker}]});
    accepted(&[
        volume("a", json!({})),
        volume("data", json!({"scope": "shared", "autoprovision": true, "driver": "rexray/ebs:latest"})),
        volume("data", json!({"scope": "task", "driverOpts": {"type": "nfs"}, "labels": {"team": "x"}})),
    ]);
    let field = "volumes[0].dockerVolumeConfiguration";
    let naming = "that of a shared volume has at least two characters and begins with a letter or digit.";
    refused(&[
        (volume("data", json!({"scope": "global"})), &format!("{field}.scope must be task or shared.")),
        (
            volume("data", json!({"autoprovision": true})),
            &format!("{field}.autoprovision can only be set for the scope shared."),
        ),
        (volume("a", json!({"scope": "shared"})), &format!("Volume.name 'a': {naming}")),
        (volume("-a", json!({"scope": "shared"})), &format!("Volume.name '-a': {naming}")),
        (
            volume("data", json!({"driver": "a b"})),
            &format!(
                "{field}.driver must be the name of a volume driver: up to 64 letters, digits and '-', '_', '.', '/', \
                 ':'."
            ),
        ),
        (
            volume("data", json!({"labels": {"longshore.task": "x"}})),
            &format!("{field}.labels: 'longshore.task': names that begin with 'longshore.' are the agent's own."),
        ),
    ]);
}

#[test]
fn labels_that_say_when_to_pull_and_files_with_variables() {
    let label = |value: &str| app(json!({"dockerLabels": {"longshore.pull-behavior": value}}));
    accepted(&[label("always"), label("prefer-cached"), label("once"), label("default")]);
    let files = |value: &str| app(json!({"environmentFiles": [{"type": "s3", "value": value}]}));
    accepted(&[files("file:///etc/app/a.env")]);
    refused(&[
        (
            label("Always"),
            "containerDefinitions[0].dockerLabels.longshore.pull-behavior must be one of [default, always, once, \
             prefer-cached].",
        ),
        (
            files("file:///etc/app/../shadow.env"),
            "containerDefinitions[0].environmentFiles[0].value must not go up with '..'.",
        ),
    ]);
}

#[test]
fn what_needs_something_of_its_host_asks_for_an_attribute() {
    let needs = |patch: &Value| -> Vec<String> {
        let attributes = stored(patch)["requiresAttributes"].clone();
        let names = attributes.as_array().expect("a list").iter();
        names.map(|a| a["name"].as_str().expect("a name").to_owned()).filter(|n| !n.contains("docker-remote")).collect()
    };
    let volume = |docker: Value| json!({"volumes": [{"name": "data", "dockerVolumeConfiguration": docker}]});
    for (patch, attribute) in [
        (volume(json!({})), "ecs.capability.docker-plugin.local"),
        (volume(json!({"driver": "rexray/ebs:latest"})), "ecs.capability.docker-plugin.rexray/ebs.latest"),
        (json!({"pidMode": "host"}), "ecs.capability.pid-ipc-namespace-sharing"),
        (json!({"ipcMode": "none"}), "ecs.capability.pid-ipc-namespace-sharing"),
        (app(json!({"portMappings": [{"containerPortRange": "80-90"}]})), "ecs.capability.container-port-range"),
        (app(json!({"environmentFiles": [{"type": "s3", "value": "file:///a.env"}]})), "longshore.environment-files"),
        (app(json!({"privileged": true})), "com.amazonaws.ecs.capability.privileged-container"),
    ] {
        assert_eq!(needs(&patch), [attribute], "{patch}");
    }
}

#[test]
fn what_is_on_other_machines_asks_for_a_host_that_has_it() {
    let files = json!([
        {"type": "s3", "value": "https://me:pw@[fd00::1]:8443/dir/a.env?X-Amz-Signature=a/../b"},
        {"type": "s3", "value": "http://files.example/.env"},
    ]);
    let mut asked = app(json!({"environmentFiles": files}));
    merge(
        &mut asked,
        &efs(json!({"rootDirectory": "/data", "transitEncryption": "DISABLED",
                                  "authorizationConfig": {"iam": "DISABLED"}})),
    );
    let definition = stored(&asked);
    assert_eq!(definition["containerDefinitions"][0]["environmentFiles"], files);
    assert_eq!(definition["volumes"][0]["efsVolumeConfiguration"]["rootDirectory"], "/data");
    let attributes = definition["requiresAttributes"].as_array().expect("a list");
    let ours: Vec<&Value> =
        attributes.iter().map(|a| &a["name"]).filter(|n| n.to_string().contains("longshore")).collect();
    assert_eq!(ours, ["longshore.efs.fs-1", "longshore.environment-urls"]);
}

#[test]
fn the_credentials_of_a_registry_are_a_secret_by_name_or_arn() {
    let with = |parameter: Value| app(json!({"repositoryCredentials": {"credentialsParameter": parameter}}));
    for parameter in
        ["team/registry", "arn:aws:secretsmanager:eu-1:123456789012:secret:team/registry-AbCdEf"].map(Value::from)
    {
        let kept = stored(&with(parameter.clone()));
        let needed = json!([{"name": "ecs.capability.private-registry-authentication.secretsmanager"}]);
        assert_eq!(kept["requiresAttributes"], needed);
        let kept = &kept["containerDefinitions"][0]["repositoryCredentials"];
        assert_eq!(*kept, json!({"credentialsParameter": parameter}));
    }
    let field = "containerDefinitions[0].repositoryCredentials.credentialsParameter";
    let no_secret = format!(
        "{field} must be the name or the ARN of a secret of Secrets Manager \
         (arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME)."
    );
    let empty = format!("{field} should not be null or empty.");
    refused(&[
        (with(Value::Null), &empty),
        (with(json!("")), &empty),
        (with(json!("two words")), &no_secret),
        (with(json!("arn:aws:ssm:eu-1:123456789012:parameter/x")), &no_secret),
        (with(json!("arn:aws:secretsmanager:eu-1:123456789012:secret:x-AbCdEf:username::")), &no_secret),
    ]);
}
