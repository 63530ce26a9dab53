//! What a definition asks of its host: volumes of the engine, files, pulls, and the attributes that follow.

use super::{accepted, app, refused, stored};
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
