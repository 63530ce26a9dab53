//! Every member that the published model has for a task definition: it is kept as it was given, or refused by its name.
//! None is ignored.

use serde_json::{Value, json};

use super::support::api_lab;

/// Members that are refused, and what names them. All others are kept.
const REFUSED: &[(&str, &str)] = &[
    ("taskRoleArn", "taskRoleArn"),
    ("executionRoleArn", "executionRoleArn"),
    ("containerDefinitions.secrets", "containerDefinitions[0].secrets"),
    ("containerDefinitions.logConfiguration.secretOptions", "containerDefinitions[0].logConfiguration.secretOptions"),
    ("containerDefinitions.resourceRequirements.sharingStrategy", "containerDefinitions[0].resourceRequirements"),
    ("containerDefinitions.firelensConfiguration", "containerDefinitions[0].firelensConfiguration"),
    ("containerDefinitions.credentialSpecs", "containerDefinitions[0].credentialSpecs"),
    ("volumes.efsVolumeConfiguration.transitEncryptionPort", "volumes[0].efsVolumeConfiguration.transitEncryptionPort"),
    (
        "volumes.efsVolumeConfiguration.authorizationConfig.iam",
        "volumes[0].efsVolumeConfiguration.authorizationConfig.iam",
    ),
    // It needs encryption, which is refused.
    (
        "volumes.efsVolumeConfiguration.authorizationConfig.accessPointId",
        "volumes[0].efsVolumeConfiguration.transitEncryption must be ENABLED when an access point is given",
    ),
    ("volumes.s3filesVolumeConfiguration", "volumes[0].s3filesVolumeConfiguration"),
    ("volumes.fsxWindowsFileServerVolumeConfiguration", "volumes[0].fsxWindowsFileServerVolumeConfiguration"),
    ("volumes.configuredAtLaunch", "volumes[0].configuredAtLaunch"),
    ("proxyConfiguration", "proxyConfiguration"),
    ("inferenceAccelerators", "inferenceAccelerators"),
    ("enableFaultInjection", "enableFaultInjection"),
    ("trustedExecutionConfiguration", "trustedExecutionConfiguration"),
];

/// Values that mean something, where `x`, 1, true and the first of those that there are would not.
fn values() -> Value {
    json!({
        "cpu": "256",
        "memory": "512",
        "ephemeralStorage.sizeInGiB": 21,
        "placementConstraints.expression": "attribute:a == b",
        "runtimePlatform.operatingSystemFamily": "LINUX",
        "containerDefinitions.memory": 64,
        "containerDefinitions.memoryReservation": 32,
        "containerDefinitions.repositoryCredentials.credentialsParameter":
            "arn:aws:secretsmanager:eu-lab-1:111122223333:secret:x",
        "containerDefinitions.links": "other",
        "containerDefinitions.portMappings.containerPortRange": "80-81",
        "containerDefinitions.restartPolicy.restartAttemptPeriod": 60,
        "containerDefinitions.environmentFiles.value": "file:///etc/x.env",
        "containerDefinitions.mountPoints.sourceVolume": "own",
        "containerDefinitions.mountPoints.containerPath": "/p",
        "containerDefinitions.volumesFrom.sourceContainer": "other",
        "containerDefinitions.linuxParameters.capabilities.add": "NET_ADMIN",
        "containerDefinitions.linuxParameters.capabilities.drop": "NET_ADMIN",
        "containerDefinitions.linuxParameters.devices.hostPath": "/dev/null",
        "containerDefinitions.linuxParameters.devices.containerPath": "/dev/x",
        "containerDefinitions.linuxParameters.tmpfs.containerPath": "/t",
        "containerDefinitions.linuxParameters.tmpfs.mountOptions": "noexec",
        "containerDefinitions.dependsOn.containerName": "other",
        "containerDefinitions.workingDirectory": "/w",
        "containerDefinitions.dnsServers": "192.0.2.1",
        "containerDefinitions.extraHosts.ipAddress": "192.0.2.1",
        "containerDefinitions.dockerSecurityOptions": "no-new-privileges",
        "containerDefinitions.ulimits.hardLimit": 6,
        "containerDefinitions.healthCheck.command": "CMD-SHELL",
        "containerDefinitions.healthCheck.interval": 5,
        "containerDefinitions.healthCheck.timeout": 2,
        "containerDefinitions.systemControls.namespace": "net.core.somaxconn",
        "containerDefinitions.systemControls.value": "5",
        "containerDefinitions.resourceRequirements.value": "1",
        "volumes.host.sourcePath": "/s",
        "volumes.efsVolumeConfiguration.fileSystemId": "fs-1",
        "volumes.efsVolumeConfiguration.rootDirectory": "/r",
        "volumes.efsVolumeConfiguration.transitEncryption": "DISABLED",
        "proxyConfiguration.containerName": "main",
    })
}

/// What else a structure needs when a member of it is given.
fn needs() -> Value {
    json!({
        "volumes": {"name": "own"},
        "volumes.dockerVolumeConfiguration": {"scope": "shared"},
        "volumes.efsVolumeConfiguration": {"fileSystemId": "fs-1"},
        "tags": {"key": "x", "value": "x"},
        "placementConstraints": {"type": "memberOf", "expression": "attribute:a == b"},
        "proxyConfiguration": {"containerName": "main"},
        "containerDefinitions.dependsOn": {"containerName": "other", "condition": "START"},
        "containerDefinitions.mountPoints": {"sourceVolume": "own", "containerPath": "/p"},
        "containerDefinitions.portMappings": {"containerPort": 80},
        "containerDefinitions.environmentFiles": {"type": "s3", "value": "file:///etc/x.env"},
        "containerDefinitions.environment": {"name": "A", "value": "b"},
        "containerDefinitions.ulimits": {"name": "nofile", "softLimit": 5, "hardLimit": 6},
        "containerDefinitions.systemControls": {"namespace": "net.core.somaxconn", "value": "5"},
        "containerDefinitions.linuxParameters.devices": {"hostPath": "/dev/null"},
        "containerDefinitions.linuxParameters.tmpfs": {"containerPath": "/t", "size": 5},
        "containerDefinitions.extraHosts": {"hostname": "h", "ipAddress": "192.0.2.1"},
        "containerDefinitions.resourceRequirements": {"type": "GPU", "value": "1"},
        "containerDefinitions.volumesFrom": {"sourceContainer": "other"},
        "containerDefinitions.logConfiguration": {"logDriver": "json-file"},
        "containerDefinitions.healthCheck": {"command": ["CMD-SHELL", "true"]},
        "containerDefinitions.restartPolicy": {"enabled": true},
        "containerDefinitions.firelensConfiguration": {"type": "fluentd"},
    })
}

/// A path without the places in lists.
fn dotted(path: &[Value]) -> String {
    let names: Vec<&str> = path.iter().filter_map(Value::as_str).collect();
    names.join(".")
}

/// Puts a value into a request, with what the structures around it need.
fn put(at: &mut Value, path: &[Value], done: usize, value: &Value) {
    if done > 0
        && let Some(more) = needs()[dotted(&path[..done])].as_object()
        && path.get(done).is_some_and(Value::is_string)
    {
        for (name, value) in more {
            if at.get(name).is_none() {
                at[name] = value.clone();
            }
        }
    }
    match path.get(done) {
        None => *at = value.clone(),
        Some(Value::String(name)) => put(&mut at[name], path, done + 1, value),
        Some(_) => {
            if at.is_null() {
                *at = json!([null]);
            }
            put(&mut at[0], path, done + 1, value);
        }
    }
}

/// What an answer has at a path.
fn at<'a>(answer: &'a Value, path: &[Value]) -> &'a Value {
    path.iter().fold(answer, |at, step| step.as_str().map_or_else(|| &at[0], |name| &at[name]))
}

#[test]
fn every_member_of_a_task_definition_is_kept_or_refused_by_its_name() {
    let lab = api_lab();
    let asked = json!({"kind": "members", "service": "ecs", "op": "RegisterTaskDefinition"});
    let members = lab.ask(&asked).unwrap().unwrap();
    let (mut kept, mut refused) = (0, 0);
    for member in members.as_array().unwrap() {
        let path = member["path"].as_array().unwrap();
        let name = dotted(path);
        let value = values().get(&name).unwrap_or(&member["value"]).clone();
        let mut request = json!({
            "family": "members", "volumes": [{"name": "own"}], "containerDefinitions": [
                {"name": "main", "image": "i", "memory": 64}, {"name": "other", "image": "i", "memory": 64}],
        });
        put(&mut request, path, 0, &value);
        if name.ends_with(".containerPortRange") {
            // It stands in the port's place.
            let mapping = &mut request["containerDefinitions"][0]["portMappings"][0];
            mapping.as_object_mut().unwrap().remove("containerPort");
        }
        let is = |prefix: &str| name == prefix || name.starts_with(&format!("{prefix}."));
        // The model asks for members that a version may not know, so it is not asked before.
        let target = "AmazonEC2ContainerServiceV20141113.RegisterTaskDefinition";
        let answer = lab.ask(&json!({"kind": "raw", "target": target, "body": request.to_string()})).unwrap().unwrap();
        let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        if let Some((_, said)) = REFUSED.iter().find(|(prefix, _)| is(prefix)) {
            assert_eq!(answer["status"], 400, "{name}: {body}");
            let why = body["message"].as_str().unwrap_or_default();
            assert!(why.contains(said), "{name}: {why}");
            refused += 1;
        } else {
            assert_eq!(answer["status"], 200, "{name}: {body}");
            let arn = body["taskDefinition"]["taskDefinitionArn"].clone();
            let asked = json!({"taskDefinition": arn, "include": ["TAGS"]});
            let mut shown = lab.ecs("describe_task_definition", asked).unwrap();
            shown["taskDefinition"]["tags"] = shown["tags"].clone();
            assert_eq!(*at(&shown["taskDefinition"], path), value, "{name}: {shown:#}");
            kept += 1;
        }
    }
    println!("{kept} members are kept, {refused} refused");
    // A model that says less would ask for less.
    assert!(kept >= 95 && refused >= 25, "{kept} kept, {refused} refused");
}
