//! What cannot be honoured yet.

use super::{app, efs, refused};
use serde_json::json;

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
        (json!({"requiresCompatibilities": ["MANAGED_INSTANCES"]}), "requiresCompatibilities MANAGED_INSTANCES"),
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
