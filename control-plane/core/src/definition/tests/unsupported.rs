//! What cannot be honoured yet.

use super::{accepted, app, efs, refused, stored};
use crate::definition::unsupported;
use serde_json::{Value, json};

/// A patch that Fargate could run.
fn fargate(compatibilities: Value) -> Value {
    json!({"requiresCompatibilities": compatibilities, "networkMode": "awsvpc", "cpu": "256", "memory": "512"})
}

#[test]
fn what_hosts_do_not_take_may_be_required_beside_what_they_do() {
    for others in [json!(["EC2", "FARGATE"]), json!(["FARGATE", "EXTERNAL"])] {
        let definition = stored(&fargate(others.clone()));
        assert_eq!(definition["requiresCompatibilities"], others);
        assert_eq!(definition["compatibilities"], json!(["EXTERNAL", "EC2", "FARGATE"]));
    }
    accepted(&[json!({"requiresCompatibilities": ["MANAGED_INSTANCES", "EC2"]})]);
    // It still has to be what Fargate could run.
    let bridge = json!({"requiresCompatibilities": ["EC2", "FARGATE"]});
    refused(&[(bridge, "Fargate only supports network mode 'awsvpc'.")]);
}

/// Registrations, and the field that each is refused for.
fn cases() -> Vec<(Value, &'static str)> {
    vec![
        (
            json!({"networkMode": "awsvpc", "containerDefinitions": [{"dnsServers": ["10.0.0.2"]}]}),
            "dnsServers with networkMode awsvpc",
        ),
        (
            json!({"networkMode": "awsvpc", "containerDefinitions": [{"dnsSearchDomains": ["example.net"]}]}),
            "dnsSearchDomains with networkMode awsvpc",
        ),
        (fargate(json!(["FARGATE"])), "requiresCompatibilities FARGATE without EC2 or EXTERNAL"),
        (fargate(json!(["MANAGED_INSTANCES", "FARGATE"])), "requiresCompatibilities FARGATE without EC2 or EXTERNAL"),
        (
            json!({"requiresCompatibilities": ["MANAGED_INSTANCES"]}),
            "requiresCompatibilities MANAGED_INSTANCES without EC2 or EXTERNAL",
        ),
        (json!({"taskRoleArn": "r"}), "taskRoleArn"),
        (json!({"executionRoleArn": "r"}), "executionRoleArn"),
        (
            json!({"networkMode": "awsvpc", "proxyConfiguration": {"type": "APPMESH", "containerName": "app"}}),
            "proxyConfiguration",
        ),
        (
            json!({"runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}}),
            "runtimePlatform.operatingSystemFamily",
        ),
        (json!({"enableFaultInjection": true}), "enableFaultInjection"),
        (json!({"inferenceAccelerators": [{"deviceName": "a", "deviceType": "b"}]}), "inferenceAccelerators"),
        (json!({"trustedExecutionConfiguration": {"isolationMode": "SHARED"}}), "trustedExecutionConfiguration"),
        (efs(json!({"transitEncryption": "ENABLED"})), "volumes[0].efsVolumeConfiguration.transitEncryption ENABLED"),
        (efs(json!({"transitEncryptionPort": 2049})), "volumes[0].efsVolumeConfiguration.transitEncryptionPort"),
        (
            efs(json!({"authorizationConfig": {"iam": "ENABLED"}})),
            "volumes[0].efsVolumeConfiguration.authorizationConfig.iam ENABLED",
        ),
        (
            efs(json!({"authorizationConfig": {"accessPointId": "fsap-1"}, "transitEncryption": "ENABLED"})),
            "volumes[0].efsVolumeConfiguration.transitEncryption ENABLED",
        ),
        (json!({"volumes": [{"name": "a", "configuredAtLaunch": true}]}), "volumes[0].configuredAtLaunch"),
        (
            json!({"volumes": [{"name": "a", "s3filesVolumeConfiguration": {"fileSystemArn": "arn"}}]}),
            "volumes[0].s3filesVolumeConfiguration",
        ),
        (
            json!({"volumes": [{"name": "a", "fsxWindowsFileServerVolumeConfiguration": {"fileSystemId": "fs-1"}}]}),
            "volumes[0].fsxWindowsFileServerVolumeConfiguration",
        ),
        (app(json!({"secrets": [{"name": "A", "valueFrom": "x"}]})), "containerDefinitions[0].secrets"),
        (
            app(json!({"environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::bucket/a.env"}]})),
            "containerDefinitions[0].environmentFiles.value other than file:///, http:// and https://",
        ),
        (app(json!({"firelensConfiguration": {"type": "fluentbit"}})), "containerDefinitions[0].firelensConfiguration"),
        (
            app(json!({"logConfiguration": {"logDriver": "awsfirelens"}})),
            "containerDefinitions[0].logConfiguration.logDriver awsfirelens",
        ),
        (
            app(json!({"credentialSpecs": ["credentialspec:file://spec.json"]})),
            "containerDefinitions[0].credentialSpecs",
        ),
        (
            app(json!({"logConfiguration": {"logDriver": "awslogs", "options": {
                "awslogs-region": "r-1", "awslogs-group": "g", "awslogs-endpoint": "x"}}})),
            "containerDefinitions[0].logConfiguration.options.awslogs-endpoint",
        ),
        (
            app(json!({"logConfiguration": {"logDriver": "splunk",
                "secretOptions": [{"name": "a", "valueFrom": "b"}]}})),
            "containerDefinitions[0].logConfiguration.secretOptions",
        ),
        (
            app(json!({"resourceRequirements": [{"type": "GPU", "value": "ALL"}]})),
            "containerDefinitions[0].resourceRequirements.value ALL",
        ),
        (
            app(json!({"resourceRequirements": [{"type": "NeuronDevice", "value": "ALL"}]})),
            "containerDefinitions[0].resourceRequirements.type NeuronDevice",
        ),
        (
            app(json!({"resourceRequirements": [{"type": "GPU", "sharingStrategy": {"nvidiaMps": {}}}]})),
            "containerDefinitions[0].resourceRequirements.sharingStrategy",
        ),
    ]
}

/// What the rules of ECS let nobody ask for without a field that is refused before it, as parts of stored definitions.
/// A client sees these names only once that other field is honoured.
fn behind_others() -> Vec<(Value, &'static str)> {
    vec![
        // It demands `transitEncryption` ENABLED.
        (
            efs(json!({"authorizationConfig": {"accessPointId": "fsap-1"}})),
            "volumes[0].efsVolumeConfiguration.authorizationConfig.accessPointId",
        ),
        // It demands one of `inferenceAccelerators`.
        (
            app(json!({"resourceRequirements": [{"type": "InferenceAccelerator", "value": "a"}]})),
            "containerDefinitions[0].resourceRequirements.type InferenceAccelerator",
        ),
    ]
}

fn refusal(field: &str) -> String {
    format!("{field} is not supported yet by this version of Longshore; remove it to register the task definition.")
}

#[test]
fn what_cannot_be_honoured_yet_is_refused_by_name() {
    for (patch, field) in cases() {
        refused(&[(patch, &refusal(field))]);
    }
    // With what it demands, an accelerator is refused for that.
    let accelerator = json!({
        "inferenceAccelerators": [{"deviceName": "a", "deviceType": "b"}],
        "containerDefinitions": [{"resourceRequirements": [{"type": "InferenceAccelerator", "value": "a"}]}],
    });
    refused(&[(accelerator, &refusal("inferenceAccelerators"))]);
    for (part, field) in behind_others() {
        let definition = serde_json::from_value(part.clone()).expect("a part of a definition");
        let error = unsupported::check(&definition).expect_err(field);
        assert_eq!(error.message, refusal(field), "{part}");
    }
}

#[test]
fn each_line_of_the_tables_is_what_a_request_is_refused_for() {
    // The tables are all that comes before the first function, and a line begins with its field.
    let tables = include_str!("../unsupported.rs").split("\nfn ").next().unwrap_or_default();
    let field = |line: &'static str| line.trim_start().trim_start_matches('(').strip_prefix('"')?.split('"').next();
    let lines: Vec<&str> = tables.lines().filter_map(field).collect();
    assert!(lines.contains(&"taskRoleArn") && lines.contains(&"credentialSpecs"), "{lines:?}");
    let told: Vec<&str> = cases().into_iter().chain(behind_others()).map(|(_, field)| field).collect();
    let is_told = |line: &str| {
        let of = |path: &str| told.contains(&format!("{path}{line}").as_str());
        of("") || of("volumes[0].") || of("containerDefinitions[0].")
    };
    let missed: Vec<&str> = lines.into_iter().filter(|line| !is_told(line)).collect();
    assert!(missed.is_empty(), "no request is refused for {missed:?}");
}
