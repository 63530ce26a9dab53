//! What cannot be honoured yet.

use super::{accepted, app, efs, refused, stored};
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

#[test]
fn what_cannot_be_honoured_yet_is_refused_by_name() {
    for (patch, field) in [
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
            json!({"runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}}),
            "runtimePlatform.operatingSystemFamily",
        ),
        (json!({"enableFaultInjection": true}), "enableFaultInjection"),
        (json!({"inferenceAccelerators": [{"deviceName": "a", "deviceType": "b"}]}), "inferenceAccelerators"),
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
        (app(json!({"secrets": [{"name": "A", "valueFrom": "x"}]})), "containerDefinitions[0].secrets"),
        (
            app(json!({"environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::bucket/a.env"}]})),
            "containerDefinitions[0].environmentFiles.value other than file:///, http:// and https://",
        ),
        (app(json!({"firelensConfiguration": {"type": "fluentbit"}})), "containerDefinitions[0].firelensConfiguration"),
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
    ] {
        let message = format!(
            "{field} is not supported yet by this version of Longshore; remove it to register the task definition."
        );
        refused(&[(patch, &message)]);
    }
}
