//! One case for each rule.

use super::{accepted, app, merge, refused, register, stored};
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

/// A patch with a volume of EFS.
fn efs(more: Value) -> Value {
    let mut efs = json!({"fileSystemId": "fs-1"});
    merge(&mut efs, &more);
    json!({"volumes": [{"name": "a", "efsVolumeConfiguration": efs}]})
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

/// A patch with one more option of the log driver awslogs.
fn awslogs(option: &str, value: &str) -> Value {
    let mut options = json!({"awslogs-region": "lab-1", "awslogs-group": "/ecs/app"});
    options[option] = value.into();
    app(json!({"logConfiguration": {"logDriver": "awslogs", "options": options}}))
}

#[test]
fn the_options_of_awslogs_are_kept_and_ask_for_a_host_that_ships_logs() {
    let options = json!({
        "awslogs-region": "lab-1", "awslogs-group": "/ecs/app", "awslogs-stream-prefix": "web",
        "awslogs-create-group": "true", "awslogs-multiline-pattern": "^\\d", "mode": "non-blocking",
        "max-buffer-size": "25m",
    });
    let asked = app(json!({"logConfiguration": {"logDriver": "awslogs", "options": options}}));
    let definition = stored(&asked);
    assert_eq!(definition["containerDefinitions"][0]["logConfiguration"]["options"], options);
    let attributes = definition["requiresAttributes"].as_array().expect("a list");
    let asks = |list: &[Value], wanted: &str| list.iter().any(|attribute| attribute["name"] == wanted);
    for wanted in ["com.amazonaws.ecs.capability.logging-driver.awslogs", "longshore.awslogs-multiline"] {
        assert!(asks(attributes, wanted), "{attributes:?}");
    }
    let plain = stored(&awslogs("awslogs-multiline-pattern", ""));
    let attributes = plain["requiresAttributes"].as_array().expect("a list");
    assert!(!asks(attributes, "longshore.awslogs-multiline"), "an option without a value is none: {attributes:?}");
}

/// Every member of `part` is in `whole` with the same value.
fn includes(whole: &Value, part: &Value, path: &str) {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            for (name, value) in part {
                let path = format!("{path}.{name}");
                includes(whole.get(name).unwrap_or_else(|| panic!("{path} is lost")), value, &path);
            }
        }
        (Value::Array(whole), Value::Array(part)) => {
            assert_eq!(whole.len(), part.len(), "{path}");
            for (i, value) in part.iter().enumerate() {
                includes(&whole[i], value, &format!("{path}[{i}]"));
            }
        }
        (whole, part) => assert_eq!(whole, part, "{path}"),
    }
}

#[test]
fn names_and_images() {
    accepted(&[
        json!({"family": "a".repeat(255)}),
        json!({"family": "A_b-9"}),
        app(json!({"image": "registry.example.net:5000/a/b_c.d:v1"})),
        app(json!({"image": format!("a@sha256:{}", "0".repeat(64))})),
    ]);
    refused(&[
        (json!({"family": null}), "Family should not be null or empty."),
        (json!({"family": ""}), "Family should not be null or empty."),
        (json!({"family": "a b"}), "Family contains invalid characters."),
        (json!({"family": "ä"}), "Family contains invalid characters."),
        (json!({"family": "a".repeat(256)}), "Family should not be longer than 255 characters."),
        (json!({"containerDefinitions": null}), "Container list cannot be empty."),
        (
            json!({"containerDefinitions": (0..11).map(|n| json!({"name": format!("c{n}")})).collect::<Vec<_>>()}),
            "containerDefinitions: 11 are given, at most 10 are allowed.",
        ),
        (
            json!({"ipcMode": "host", "containerDefinitions": [{"linuxParameters": {"sharedMemorySize": 128}}]}),
            "containerDefinitions[0].linuxParameters.sharedMemorySize cannot be set when ipcMode=host.",
        ),
        (
            app(json!({"dockerSecurityOptions": ["no-new-privileges:"]})),
            "containerDefinitions[0].dockerSecurityOptions[0] must be no-new-privileges, apparmor:PROFILE or \
             label:VALUE.",
        ),
        (
            json!({"volumes": [{"name": "v"}], "containerDefinitions": [
                {"mountPoints": [{"sourceVolume": "v", "containerPath": "/a:b"}]}]}),
            "containerDefinitions[0].mountPoints[0].containerPath: '/a:b' has a colon, which the engine cannot mount.",
        ),
        (app(json!({"name": null})), "Container.name should not be null or empty."),
        (app(json!({"name": "a b"})), "Container.name contains invalid characters."),
        (app(json!({"name": "a".repeat(256)})), "Container.name contains invalid characters."),
        (app(json!({"image": ""})), "Container.image should not be null or empty."),
        (app(json!({"image": "a b"})), "Container.image contains invalid characters."),
        (app(json!({"image": "a@sha256:00"})), "Container.image contains invalid characters."),
        (app(json!({"image": "a".repeat(256)})), "Container.image contains invalid characters."),
        (
            json!({"containerDefinitions": [{}, {"name": "app", "image": "b", "memory": 6}]}),
            "Container names must be unique within a Task Definition.",
        ),
        (app(json!({"essential": false})), "Invalid 'essential' setting. At least one container must be essential."),
        (
            app(json!({"command": ["a", "b\0c"]})),
            "containerDefinitions[0].command[1]: a text must not contain the character NUL.",
        ),
    ]);
    let error = register(&app(json!({"command": ["x".repeat(65536)]}))).expect_err("too large");
    assert!(error.message.ends_with("Max allowed length is '65536' bytes."), "{error}");
}

#[test]
fn cpu_and_memory() {
    accepted(&[
        json!({"memory": "512", "containerDefinitions": [{"memory": null}]}),
        app(json!({"memory": null, "memoryReservation": 6})),
        app(json!({"memory": 64, "memoryReservation": 64})),
        json!({"cpu": "256", "containerDefinitions": [{"cpu": 128},
            {"name": "b", "image": "b", "memory": 6, "cpu": 128}]}),
    ]);
    refused(&[
        (
            app(json!({"memory": null})),
            "Invalid setting for container 'app'. At least one of 'memory' or 'memoryReservation' must be specified.",
        ),
        (app(json!({"memory": 5})), "Invalid 'memory' setting for container 'app'. It must be at least 6 MiB."),
        (
            app(json!({"memoryReservation": 0})),
            "Invalid 'memoryReservation' setting for container 'app'. It must be at least 6 MiB.",
        ),
        (
            app(json!({"memory": 64, "memoryReservation": 65})),
            "Invalid setting for container 'app'. 'memory' must not be less than 'memoryReservation'.",
        ),
        (json!({"memory": "63"}), "The 'memory' setting for container 'app' is greater than for the task."),
        (
            json!({"memory": "100", "containerDefinitions": [{}, {"name": "b", "image": "b", "memory": 64}]}),
            "The sum of all container 'memoryReservation' or 'memory' values cannot be greater than the value of the \
             task 'memory'.",
        ),
        (
            json!({"cpu": "256", "containerDefinitions": [{"cpu": 257}]}),
            "The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'.",
        ),
        (app(json!({"cpu": -1})), "containerDefinitions[0].cpu: -1 must be between 0 and 196608."),
        (
            json!({"cpu": "many"}),
            "Invalid 'cpu' setting for task. It must be 128 to 196608 CPU units, or 0.125 to 192 vCPU, and is 'many'.",
        ),
        (
            json!({"memory": "1 TB"}),
            "Invalid 'memory' setting for task. It must be at least 6 MiB, written like '512' or '0.5 GB', and is '1 \
             TB'.",
        ),
    ]);
}

#[test]
fn ports() {
    let ports = |mode: &str, mappings: Value| {
        json!({"networkMode": mode,
        "containerDefinitions": [{"portMappings": mappings}]})
    };
    accepted(&[
        ports("bridge", json!([{"containerPort": 1}, {"containerPort": 1}])),
        ports(
            "bridge",
            json!([{"containerPort": 53, "hostPort": 53}, {"containerPort": 53, "hostPort": 53, "protocol": "udp"}]),
        ),
        ports("host", json!([{"containerPort": 65535, "hostPort": 65535}])),
        ports("none", json!([])),
    ]);
    refused(&[
        (ports("bridge", json!([{"hostPort": 1}])), "Invalid 'containerPort' setting for container 'app'."),
        (ports("bridge", json!([{"containerPort": 0}])), "Invalid 'containerPort' setting for container 'app'."),
        (ports("bridge", json!([{"containerPort": 65536}])), "Invalid 'containerPort' setting for container 'app'."),
        (
            ports("bridge", json!([{"containerPort": 1, "hostPort": 65536}])),
            "Invalid 'hostPort' setting for container 'app'.",
        ),
        (
            ports("bridge", json!([{"containerPort": 1, "hostPort": -1}])),
            "Invalid 'hostPort' setting for container 'app'.",
        ),
        (
            ports("bridge", json!([{"containerPort": 1, "protocol": "sctp"}])),
            "Invalid 'protocol' setting for container 'app'.",
        ),
        (
            ports("bridge", json!([{"containerPort": 1, "name": "UP"}])),
            "containerDefinitions[0].portMappings[0].name: up to 64 lower-case letters, digits, hyphens and \
             underscores are allowed, and a hyphen not as the first.",
        ),
        (
            ports("bridge", json!([{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}])),
            "The port mapping name 'a' is used more than once in container 'app'.",
        ),
        (
            ports("bridge", json!([{"containerPort": 1, "hostPort": 3000}, {"containerPort": 2, "hostPort": 3000}])),
            "TCP host port '3000' is mapped multiple times in task.",
        ),
        (
            json!({"containerDefinitions": [
                {"portMappings": [{"containerPort": 1, "hostPort": 9, "protocol": "udp"}]},
                {"name": "b", "image": "b", "memory": 6,
                    "portMappings": [{"containerPort": 1, "hostPort": 9, "protocol": "udp"}]},
            ]}),
            "UDP host port '9' is mapped multiple times in task.",
        ),
        (
            ports("none", json!([{"containerPort": 1}])),
            "Port mappings are not allowed when networkMode=none, and container 'app' has some.",
        ),
        (
            ports("host", json!([{"containerPort": 1, "hostPort": 2}])),
            "When networkMode=host, the host ports and container ports in port mappings must match.",
        ),
        (
            ports("awsvpc", json!([{"containerPort": 1, "hostPort": 2}])),
            "When networkMode=awsvpc, the host ports and container ports in port mappings must match.",
        ),
        (ports("token-ring", json!([])), "networkMode: it must be one of [bridge, host, awsvpc, none]."),
        (
            ports("bridge", json!([{"containerPortRange": "90-80"}])),
            "Invalid 'containerPortRange' setting for container 'app'.",
        ),
        (
            ports("bridge", json!([{"containerPortRange": "80-80"}])),
            "Invalid 'containerPortRange' setting for container 'app'.",
        ),
        (
            ports("host", json!([{"containerPortRange": "80-90"}])),
            "containerDefinitions[0].portMappings[0].containerPortRange is only supported when networkMode=bridge or \
             networkMode=awsvpc.",
        ),
        (
            ports("bridge", json!([{"containerPortRange": "80-90", "hostPort": 80}])),
            "containerDefinitions[0].portMappings[0].containerPortRange: containerPort and hostPort cannot be given \
             beside it.",
        ),
        (
            ports("bridge", json!([{"containerPort": 85}, {"containerPortRange": "80-90"}])),
            "The containerPortRange '80-90' of container 'app' overlaps another of its port mappings.",
        ),
        (
            app(json!({"disableNetworking": true, "portMappings": [{"containerPort": 1}]})),
            "Port mappings are not allowed for container 'app': disableNetworking is set.",
        ),
    ]);
}

#[test]
fn volumes_and_references() {
    let two = |a: Value, b: Value| {
        let mut b = b;
        super::merge(&mut b, &json!({"name": "b", "image": "b", "memory": 6}));
        json!({"containerDefinitions": [a, b]})
    };
    let ordered = two(
        json!({"dependsOn": [{"containerName": "b", "condition": "SUCCESS"}]}),
        json!({"essential": false, "startTimeout": 90}),
    );
    let kept = stored(&ordered);
    includes(&kept, &ordered, "");
    assert_eq!(kept["requiresAttributes"], json!([{"name": "ecs.capability.container-ordering"}]));
    refused(&[
        (app(json!({"mountPoints": [{"sourceVolume": "x", "containerPath": "/x"}]})), "Unknown volume 'x'."),
        (json!({"volumes": [{"host": {}}]}), "Volume.name should not be null or empty."),
        (json!({"volumes": [{"name": "a/b"}]}), "Volume.name 'a/b' contains invalid characters."),
        (json!({"volumes": [{"name": "a"}, {"name": "a"}]}), "The volume name 'a' is used more than once."),
        (json!({"volumes": [{"name": "a", "host": {"sourcePath": ""}}]}), "host.sourcePath should not be blank."),
        (
            json!({"volumes": [{"name": "a", "host": {"sourcePath": "srv"}}]}),
            "volumes[0].host.sourcePath: 'srv' must be an absolute path.",
        ),
        (
            json!({"volumes": [{"name": "a", "host": {}, "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]}),
            "volumes[0] has more than one of host, dockerVolumeConfiguration, efsVolumeConfiguration, \
             s3filesVolumeConfiguration, fsxWindowsFileServerVolumeConfiguration and configuredAtLaunch.",
        ),
        (
            json!({"volumes": [{"name": "a"}],
                "containerDefinitions": [{"mountPoints": [{"sourceVolume": "a", "containerPath": "x"}]}]}),
            "containerDefinitions[0].mountPoints[0].containerPath: 'x' must be an absolute path.",
        ),
        (
            json!({"volumes": [{"name": "a"}], "containerDefinitions": [{"mountPoints": [
                {"sourceVolume": "a", "containerPath": "/x"}, {"sourceVolume": "a", "containerPath": "/x"}]}]}),
            "containerDefinitions[0].mountPoints: '/x' is there more than once.",
        ),
        (
            app(json!({"volumesFrom": [{"sourceContainer": "b"}]})),
            "containerDefinitions[0].volumesFrom[0].sourceContainer: container 'b' does not exist.",
        ),
        (
            app(json!({"dependsOn": [{"containerName": "b", "condition": "START"}]})),
            "Cannot depend on container + 'b' because it does not exist",
        ),
        (
            two(json!({"dependsOn": [{"containerName": "b", "condition": "SUCCESS"}]}), json!({})),
            "A dependency container with SUCCESS or COMPLETE condition cannot be an essential container",
        ),
        (
            two(json!({"dependsOn": [{"containerName": "b", "condition": "HEALTHY"}]}), json!({})),
            "Container 'app' depends on container 'b' being HEALTHY, which has no healthCheck.",
        ),
        (
            two(
                json!({"dependsOn": [{"containerName": "b", "condition": "HEALTHY"}]}),
                json!({"healthCheck": {"command": ["NONE"]}}),
            ),
            "Container 'app' depends on container 'b' being HEALTHY, which has no healthCheck.",
        ),
        (
            two(
                json!({"dependsOn": [{"containerName": "b", "condition": "START"}]}),
                json!({"dependsOn": [{"containerName": "app", "condition": "START"}]}),
            ),
            "Container dependencies should not have a cycle",
        ),
        (
            app(json!({"dependsOn": [{"containerName": "app", "condition": "START"}]})),
            "Container dependencies should not have a cycle",
        ),
        (two(json!({"links": ["b:x"]}), json!({"links": ["app"]})), "Container links should not have a cycle"),
        (app(json!({"links": ["c"]})), "containerDefinitions[0].links: container 'c' does not exist."),
        (
            two(json!({"links": ["b:a b"]}), json!({})),
            "containerDefinitions[0].links: the alias 'a b' contains invalid characters.",
        ),
        (
            two(json!({"links": ["b:x", "b:x"]}), json!({})),
            "containerDefinitions[0].links: 'x' is there more than once.",
        ),
        (
            two(json!({"links": ["b"]}), json!({"disableNetworking": true})),
            "containerDefinitions[0].links: 'b' needs a network, and disableNetworking is set.",
        ),
        (
            two(json!({"volumesFrom": [{"sourceContainer": "b"}]}), json!({"links": ["app"]})),
            "Container dependencies, links and volumesFrom together should not have a cycle",
        ),
    ]);
}

#[test]
fn container_settings() {
    accepted(&[
        app(json!({"ulimits": [{"name": "core", "softLimit": -1, "hardLimit": -1}]})),
        app(json!({"stopTimeout": 0})),
        json!({"networkMode": "host",
            "containerDefinitions": [{"systemControls": [{"namespace": "kernel.sem", "value": "1"}]}]}),
    ]);
    refused(&[
        (
            app(json!({"ulimits": [{"name": "files", "softLimit": 1, "hardLimit": 1}]})),
            "containerDefinitions[0].ulimits[0].name must be one of [core, cpu, data, fsize, locks, memlock, msgqueue, \
             nice, nofile, nproc, rss, rtprio, rttime, sigpending, stack].",
        ),
        (
            app(json!({"ulimits": [{"name": "nofile", "softLimit": 2, "hardLimit": 1}]})),
            "containerDefinitions[0].ulimits[0].softLimit must not be greater than hardLimit.",
        ),
        (
            app(json!({"ulimits": [{"name": "nofile", "softLimit": -1, "hardLimit": 1}]})),
            "containerDefinitions[0].ulimits[0].softLimit must not be greater than hardLimit.",
        ),
        (
            app(json!({"ulimits": [{"name": "nofile", "softLimit": 1}]})),
            "containerDefinitions[0].ulimits[0].name: softLimit and hardLimit are both required.",
        ),
        (
            app(json!({"linuxParameters": {"capabilities": {"add": ["net_admin"]}}})),
            "containerDefinitions[0].linuxParameters.capabilities.add: 'net_admin' is not a capability; write it like \
             NET_ADMIN.",
        ),
        (
            app(json!({"linuxParameters": {"devices": [{"hostPath": "fuse"}]}})),
            "containerDefinitions[0].linuxParameters.devices[0].hostPath: 'fuse' must be an absolute path.",
        ),
        (
            app(json!({"linuxParameters": {"devices": [{"hostPath": "/dev/x", "permissions": ["execute"]}]}})),
            "containerDefinitions[0].linuxParameters.devices[0].permissions must be of read, write and mknod.",
        ),
        (
            app(json!({"linuxParameters": {"tmpfs": [{"containerPath": "/t", "size": 0}]}})),
            "containerDefinitions[0].linuxParameters.tmpfs[0].size: 0 must be at least 1.",
        ),
        (
            app(json!({"linuxParameters": {"tmpfs": [
                {"containerPath": "/t", "size": 1, "mountOptions": ["ro,exec"]}]}})),
            "containerDefinitions[0].linuxParameters.tmpfs[0].mountOptions: 'ro,exec' is not a mount option of a \
             tmpfs.",
        ),
        (
            app(json!({"linuxParameters": {"swappiness": 101}})),
            "containerDefinitions[0].linuxParameters.swappiness: 101 must be between 0 and 100.",
        ),
        (
            app(json!({"memory": null, "memoryReservation": 6, "linuxParameters": {"maxSwap": 1}})),
            "containerDefinitions[0].linuxParameters.maxSwap: the engine limits swap only together with memory, so the \
             container needs 'memory' too.",
        ),
        (
            app(json!({"systemControls": [{"namespace": "kernel.panic", "value": "1"}]})),
            "containerDefinitions[0].systemControls[0].namespace: 'kernel.panic' is not a kernel parameter that a \
             container may set.",
        ),
        (
            json!({"networkMode": "host",
                "containerDefinitions": [{"systemControls": [{"namespace": "net.ipv4.ip_forward", "value": "1"}]}]}),
            "containerDefinitions[0].systemControls[0].namespace: 'net.ipv4.ip_forward' cannot be set when \
             networkMode=host.",
        ),
        (
            app(json!({"workingDirectory": "srv"})),
            "containerDefinitions[0].workingDirectory: 'srv' must be an absolute path.",
        ),
        (
            json!({"networkMode": "awsvpc", "containerDefinitions": [{"hostname": "x"}]}),
            "containerDefinitions[0].hostname is not supported when networkMode=awsvpc.",
        ),
        (
            app(json!({"environment": [{"name": "A=B", "value": "secret"}]})),
            "containerDefinitions[0].environment[0].name must not contain an equals sign.",
        ),
        (
            app(json!({"environment": [{"value": "secret"}]})),
            "containerDefinitions[0].environment[0].name should not be null or empty.",
        ),
        (
            app(json!({"environment": [{"name": "A"}], "secrets": [{"name": "A", "valueFrom": "x"}]})),
            "The secret name must be unique and not shared with any new or existing environment variables set on the \
             container, such as 'A'.",
        ),
        (app(json!({"dnsServers": ["dns"]})), "containerDefinitions[0].dnsServers[0] must be an IP address."),
        (
            app(json!({"extraHosts": [{"hostname": "db", "ipAddress": "db2"}]})),
            "containerDefinitions[0].extraHosts[0].ipAddress must be an IP address or host-gateway.",
        ),
        (
            app(json!({"dockerLabels": {"longshore.runtime": "a b"}})),
            "containerDefinitions[0].dockerLabels.longshore.runtime must be the name of a runtime: 1 to 64 letters, \
             digits and '-', '_', '.'.",
        ),
        (
            app(json!({"dockerLabels": {"longshore.task": "x"}})),
            "containerDefinitions[0].dockerLabels: names that begin with 'longshore.' are the agent's own.",
        ),
        (
            app(json!({"dockerSecurityOptions": ["seccomp:unconfined"]})),
            "containerDefinitions[0].dockerSecurityOptions[0] must be no-new-privileges, apparmor:PROFILE or \
             label:VALUE.",
        ),
        (
            app(json!({"logConfiguration": {"logDriver": "paper"}})),
            "containerDefinitions[0].logConfiguration.logDriver must be one of [json-file, syslog, journald, gelf, \
             fluentd, awslogs, splunk, awsfirelens, none].",
        ),
        (
            app(json!({"logConfiguration": {"logDriver": "awslogs"}})),
            "Log driver awslogs requires options: awslogs-region, awslogs-group",
        ),
        (
            awslogs("awslogs-region", "Not A Region"),
            "containerDefinitions[0].logConfiguration.options.awslogs-region must be the name of a region, such as \
             eu-west-1.",
        ),
        (
            awslogs("awslogs-group", "a b"),
            "containerDefinitions[0].logConfiguration.options.awslogs-group must have at most 512 letters, digits and \
             the characters `.`, `_`, `-`, `/`, `#`.",
        ),
        (
            awslogs("awslogs-stream-prefix", "a:b"),
            "containerDefinitions[0].logConfiguration.options.awslogs-stream-prefix must have at most 200 characters, \
             none of them `:` or `*`.",
        ),
        (
            awslogs("awslogs-create-group", "yes"),
            "containerDefinitions[0].logConfiguration.options.awslogs-create-group must be true or false.",
        ),
        (
            awslogs("mode", "slow"),
            "containerDefinitions[0].logConfiguration.options.mode must be blocking or non-blocking.",
        ),
        (
            awslogs("max-buffer-size", "much"),
            "containerDefinitions[0].logConfiguration.options.max-buffer-size must be a number of bytes with an \
             optional k, m or g, such as 25m.",
        ),
        (
            app(json!({"environmentFiles": [{"type": "s3", "value": "https:///a.env"}]})),
            "containerDefinitions[0].environmentFiles[0].value must be a URL with a host, of printable ASCII and \
             without a fragment.",
        ),
        (
            app(json!({"environmentFiles": [{"type": "s3", "value": "https://a/b?x.env"}]})),
            "containerDefinitions[0].environmentFiles[0].value must end in .env.",
        ),
        (
            json!({"volumes": [{"name": "a", "efsVolumeConfiguration": {"fileSystemId": "fs-a.b"}}]}),
            "volumes[0].efsVolumeConfiguration.fileSystemId must be fs- and up to 40 letters or digits.",
        ),
        (
            efs(json!({"rootDirectory": "data"})),
            "volumes[0].efsVolumeConfiguration.rootDirectory: 'data' must be an absolute path.",
        ),
        (
            efs(json!({"rootDirectory": "/a/../b"})),
            "volumes[0].efsVolumeConfiguration.rootDirectory must not go up with '..'.",
        ),
        (
            awslogs("awslogs-multiline-pattern", "(a"),
            "containerDefinitions[0].logConfiguration.options.awslogs-multiline-pattern: not a regular expression: \
             unclosed group.",
        ),
        (
            awslogs("awslogs-datetime-format", "%Q"),
            "containerDefinitions[0].logConfiguration.options.awslogs-datetime-format: `%Q` is no part of a date that \
             is known.",
        ),
        (
            app(json!({"logConfiguration": {"logDriver": "awslogs", "options": {
                "awslogs-region": "r-1", "awslogs-group": "g", "awslogs-datetime-format": "%Y",
                "awslogs-multiline-pattern": "^x"}}})),
            "containerDefinitions[0].logConfiguration.options.awslogs-datetime-format and awslogs-multiline-pattern \
             cannot be given at the same time.",
        ),
        (
            app(json!({"healthCheck": {"command": ["curl", "x"]}})),
            "containerDefinitions[0].healthCheck.command must begin with CMD or CMD-SHELL and have a command.",
        ),
        (
            app(json!({"healthCheck": {"command": ["CMD", "x"], "interval": 4}})),
            "containerDefinitions[0].healthCheck.interval: 4 must be between 5 and 300.",
        ),
        (
            app(json!({"healthCheck": {"command": ["NONE", "x"]}})),
            "containerDefinitions[0].healthCheck.command must begin with CMD or CMD-SHELL and have a command.",
        ),
        (
            app(json!({"healthCheck": {"command": ["CMD", "x"], "timeout": 61}})),
            "containerDefinitions[0].healthCheck.timeout: 61 must be between 2 and 60.",
        ),
        (
            app(json!({"healthCheck": {"command": ["CMD", "x"], "retries": 0}})),
            "containerDefinitions[0].healthCheck.retries: 0 must be between 1 and 10.",
        ),
        (
            app(json!({"healthCheck": {"command": ["CMD", "x"], "startPeriod": 301}})),
            "containerDefinitions[0].healthCheck.startPeriod: 301 must be between 0 and 300.",
        ),
        (
            app(json!({"restartPolicy": {"enabled": true, "ignoredExitCodes": vec![0; 51]}})),
            "containerDefinitions[0].restartPolicy.ignoredExitCodes: 51 are given, at most 50 are allowed.",
        ),
        (app(json!({"restartPolicy": {}})), "containerDefinitions[0].restartPolicy.enabled should not be null."),
        (
            app(json!({"dockerLabels": {"longshore.health.http": "80"}})),
            "containerDefinitions[0].dockerLabels.longshore.health.http must be a port and a path, like 8080/healthz.",
        ),
        (
            app(json!({
                "dockerLabels": {"longshore.health.tcp": "80"}, "healthCheck": {"command": ["CMD-SHELL", "true"]},
            })),
            "containerDefinitions[0].healthCheck must not be there beside a probe by labels (longshore.health.http or \
             .tcp).",
        ),
        (
            app(json!({"dockerLabels": {"longshore.health.tcp": "80"}, "disableNetworking": true})),
            "containerDefinitions[0].dockerLabels: a container with disableNetworking cannot be probed \
             (longshore.health).",
        ),
        (
            app(json!({"restartPolicy": {"enabled": false}, "dockerLabels": {"longshore.restart.backoff": "1-9"}})),
            "containerDefinitions[0].dockerLabels.longshore.restart.backoff needs a restartPolicy that is enabled.",
        ),
        (
            app(json!({"restartPolicy": {"enabled": true}, "dockerLabels": {"longshore.restart.backoff": "9-1"}})),
            "containerDefinitions[0].dockerLabels.longshore.restart.backoff must be the first and the longest wait in \
             seconds, from 1 to 3600, like 1-300.",
        ),
        (
            app(json!({"restartPolicy": {"enabled": true}, "dockerLabels": {"longshore.restart.unhealthy": "yes"}})),
            "containerDefinitions[0].dockerLabels.longshore.restart.unhealthy must be true or false.",
        ),
        (
            app(json!({"restartPolicy": {"enabled": true, "restartAttemptPeriod": 59}})),
            "containerDefinitions[0].restartPolicy.restartAttemptPeriod: 59 must be between 60 and 1800.",
        ),
        (
            app(json!({"resourceRequirements": [{"type": "GPU", "value": "0"}]})),
            "containerDefinitions[0].resourceRequirements[0].value must be a number of GPUs, at least 1, or ALL.",
        ),
        (app(json!({"stopTimeout": -1})), "containerDefinitions[0].stopTimeout: -1 must be at least 0."),
    ]);
}

#[test]
fn placement_constraints() {
    let too_many: Vec<Value> = vec![json!({"type": "memberOf", "expression": "ec2InstanceId exists"}); 11];
    refused(&[
        (
            json!({"placementConstraints": [{"type": "distinctInstance"}]}),
            "placementConstraints[0].type: a task definition can only have memberOf.",
        ),
        (
            json!({"placementConstraints": [{"type": "memberOf"}]}),
            "placementConstraints[0].expression: memberOf needs one",
        ),
        (json!({"placementConstraints": too_many}), "placementConstraints: 11 are given, at most 10 are allowed."),
    ]);
    let error = register(&json!({"placementConstraints": [{"type": "memberOf", "expression": "attribute:a =="}]}))
        .expect_err("not an expression");
    assert!(error.message.starts_with("placementConstraints[0].expression: "), "{error}");
}

#[test]
fn fargate_is_checked_before_it_is_refused() {
    let fargate = |patch: Value| {
        let mut base = json!({"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc"});
        super::merge(&mut base, &patch);
        base
    };
    refused(&[
        (fargate(json!({"networkMode": "bridge"})), "Fargate only supports network mode 'awsvpc'."),
        (fargate(json!({})), "Fargate requires that 'cpu' be defined at the task level."),
        (fargate(json!({"cpu": "256"})), "Fargate requires that 'memory' be defined at the task level."),
        (fargate(json!({"cpu": "256", "memory": "4096"})), "No Fargate configuration exists for given values."),
        (
            fargate(json!({"cpu": "256", "memory": "512", "pidMode": "host"})),
            "Tasks using the Fargate launch type do not support pidMode 'host'. The supported value for pidMode is \
             'task'.",
        ),
    ]);
}

#[test]
fn ephemeral_storage_is_from_one_gib_on_and_as_in_ecs_for_fargate() {
    accepted(&[json!({"ephemeralStorage": {"sizeInGiB": 1}}), json!({"ephemeralStorage": {"sizeInGiB": 65_536}})]);
    let fargate = |size: i32| {
        json!({"requiresCompatibilities": ["FARGATE"], "ephemeralStorage": {"sizeInGiB": size},
        "cpu": "256", "memory": "512", "networkMode": "awsvpc"})
    };
    refused(&[
        (json!({"ephemeralStorage": {}}), "ephemeralStorage.sizeInGiB should not be null."),
        (json!({"ephemeralStorage": {"sizeInGiB": 0}}), "ephemeralStorage.sizeInGiB: 0 must be between 1 and 65536."),
        (fargate(20), "ephemeralStorage.sizeInGiB: 20 must be between 21 and 200."),
        (fargate(201), "ephemeralStorage.sizeInGiB: 201 must be between 21 and 200."),
    ]);
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
