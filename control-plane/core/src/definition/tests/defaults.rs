//! What is added to a definition, and that everything that is honoured is kept.

use super::{app, includes, stored};
use serde_json::{Value, json};

#[test]
fn defaults_are_added() {
    let definition = stored(&app(json!({"portMappings": [{"containerPort": 80}]})));
    assert_eq!(
        definition,
        json!({
            "family": "web",
            "volumes": [],
            "placementConstraints": [],
            "compatibilities": ["EXTERNAL", "EC2"],
            "requiresAttributes": [],
            "containerDefinitions": [{
                "name": "app", "image": "app:1", "memory": 64, "cpu": 0, "essential": true,
                "environment": [], "mountPoints": [], "volumesFrom": [], "systemControls": [],
                "portMappings": [{"containerPort": 80, "hostPort": 0, "protocol": "tcp"}],
            }],
        })
    );
}

#[test]
fn quantities_are_normalised_and_ports_written_out() {
    let definition = stored(&json!({"cpu": ".25 vCPU", "memory": "0.5 GB"}));
    assert_eq!((&definition["cpu"], &definition["memory"]), (&json!("256"), &json!("512")));
    let definition = stored(&json!({"networkMode": "host", "containerDefinitions": [
        {"portMappings": [{"containerPort": 80}, {"containerPort": 81, "hostPort": 0, "protocol": "udp"}]}]}));
    let mappings = &definition["containerDefinitions"][0]["portMappings"];
    assert_eq!(mappings[0], json!({"containerPort": 80, "hostPort": 80, "protocol": "tcp"}));
    assert_eq!(mappings[1], json!({"containerPort": 81, "hostPort": 81, "protocol": "udp"}));
}

#[test]
fn absent_empty_and_off_ask_for_nothing() {
    let definition = stored(&json!({
        "taskRoleArn": "", "executionRoleArn": "", "cpu": "", "memory": "", "requiresCompatibilities": [],
        "inferenceAccelerators": [], "enableFaultInjection": false,
        "containerDefinitions": [{
            "links": [], "dependsOn": [], "secrets": [], "environmentFiles": [], "volumesFrom": [],
            "resourceRequirements": [], "credentialSpecs": [], "restartPolicy": {"enabled": false},
            "versionConsistency": "enabled", "logConfiguration": {"logDriver": "json-file", "secretOptions": []},
            "healthCheck": null,
        }],
    }));
    assert_eq!(definition.get("taskRoleArn"), None);
    assert_eq!(definition.get("cpu"), None);
    assert_eq!(definition.get("requiresCompatibilities"), None);
    assert_eq!(definition["containerDefinitions"][0]["restartPolicy"], json!({"enabled": false}));
}

#[test]
fn health_checks_get_the_defaults_of_ecs() {
    let check =
        |given: Value| stored(&app(json!({"healthCheck": given})))["containerDefinitions"][0]["healthCheck"].clone();
    assert_eq!(
        check(json!({"command": ["CMD", "x"]})),
        json!({"command": ["CMD", "x"], "interval": 30, "timeout": 5, "retries": 3})
    );
    assert_eq!(
        check(json!({"command": ["NONE"], "interval": 5, "startPeriod": 0})),
        json!({"command": ["NONE"], "interval": 5, "timeout": 5, "retries": 3, "startPeriod": 0})
    );
}

#[test]
fn everything_that_is_honoured_is_accepted_and_kept() {
    let asked = r##"{
        "networkMode": "bridge", "cpu": "512", "memory": "1024",
        "requiresCompatibilities": ["EC2", "EXTERNAL"],
        "runtimePlatform": {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
        "placementConstraints": [{"type": "memberOf", "expression": "attribute:ecs.os-type == linux"}],
        "volumes": [{"name": "data", "host": {"sourcePath": "/srv/data"}}, {"name": "scratch", "host": {}},
            {"name": "bare"}],
        "containerDefinitions": [{
            "cpu": 128, "memory": 256, "memoryReservation": 128, "essential": true,
            "entryPoint": ["/entry"], "command": ["a", ""], "workingDirectory": "/", "user": "1000:1000",
            "hostname": "web", "environment": [{"name": "A", "value": "b=c"}, {"name": "B"}],
            "portMappings": [
                {"containerPort": 80, "hostPort": 8080, "protocol": "tcp", "name": "web", "appProtocol": "http"},
                {"containerPort": 80, "hostPort": 8080, "protocol": "udp"}
            ],
            "mountPoints": [
                {"sourceVolume": "data", "containerPath": "/data", "readOnly": true},
                {"sourceVolume": "scratch", "containerPath": "/scratch"}
            ],
            "readonlyRootFilesystem": true, "privileged": true, "interactive": true, "pseudoTerminal": true,
            "disableNetworking": false,
            "ulimits": [{"name": "nofile", "softLimit": 1024, "hardLimit": -1}],
            "linuxParameters": {
                "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
                "devices": [{"hostPath": "/dev/fuse", "containerPath": "/dev/fuse", "permissions": ["read", "write"]}],
                "initProcessEnabled": true, "sharedMemorySize": 64, "maxSwap": 0, "swappiness": 60,
                "tmpfs": [{"containerPath": "/tmp", "size": 16, "mountOptions": ["noexec", "mode=1777"]}]
            },
            "dockerLabels": {"team": "x", "longshore.runtime": "runsc", "longshore.restart.backoff": "1-300",
                             "longshore.restart.unhealthy": "true"},
            "dnsServers": ["10.0.0.2", "fd00::1"], "dnsSearchDomains": ["example.net"],
            "extraHosts": [{"hostname": "db", "ipAddress": "10.0.0.3"},
                {"hostname": "me", "ipAddress": "host-gateway"}],
            "dockerSecurityOptions": ["no-new-privileges", "apparmor:unconfined", "label:type:container_t"],
            "systemControls": [{"namespace": "net.core.somaxconn", "value": "1024"},
                {"namespace": "kernel.shmmax", "value": "1"}],
            "logConfiguration": {"logDriver": "json-file", "options": {"max-size": "1m"}},
            "healthCheck": {"command": ["CMD", "x"], "interval": 5, "timeout": 60, "retries": 10, "startPeriod": 300},
            "restartPolicy": {"enabled": true, "ignoredExitCodes": [0, 143], "restartAttemptPeriod": 1800},
            "stopTimeout": 5, "versionConsistency": "disabled",
            "resourceRequirements": [{"type": "GPU", "value": "2"}]
        }]
    }"##;
    let asked: Value = serde_json::from_str(asked).expect("the test's JSON");
    let definition = stored(&asked);
    includes(&definition, &asked, "");
    let names: Vec<&str> = definition["requiresAttributes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|attribute| attribute["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(
        names,
        [
            "com.amazonaws.ecs.capability.apparmor",
            "com.amazonaws.ecs.capability.docker-remote-api.1.18",
            "com.amazonaws.ecs.capability.docker-remote-api.1.21",
            "com.amazonaws.ecs.capability.docker-remote-api.1.22",
            "com.amazonaws.ecs.capability.docker-remote-api.1.24",
            "com.amazonaws.ecs.capability.docker-remote-api.1.25",
            "com.amazonaws.ecs.capability.logging-driver.json-file",
            "com.amazonaws.ecs.capability.privileged-container",
            "com.amazonaws.ecs.capability.selinux",
            "ecs.capability.container-health-check",
            "ecs.capability.container-restart-policy",
            "ecs.capability.task-cpu-mem-limit",
            "ecs.cpu-architecture",
            "ecs.os-type",
            "longshore.runtime.runsc",
            "longshore.swap-limit",
            "longshore.swappiness",
        ]
    );
}
