//! What of a definition reaches its agent.

use crate::world::{World, facts, task_id, with_attribute};
use longshore_ecs_api::Operation as Op;
use longshore_model::{
    Backoff, ContainerCondition, Dependency, Device, DockerVolume, HealthCheck, HostPort, IpcMode, Lifecycle, Link,
    LinuxParameters, MountPoint, NetworkMode, PidMode, PortMapping, Protocol, RestartPolicy, Tmpfs, Ulimit,
    VolumeScope, VolumeSource, VolumeSpec, VolumesFrom,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A lab whose host has every attribute that the definition asks for.
async fn placed(definition: Value) -> (World, longshore_model::TaskSpec) {
    let world = World::new().await;
    world.cluster("default").await;
    let answer = world.ok(Op::RegisterTaskDefinition, definition).await;
    let mut facts = facts(4096, 4096);
    facts.resources.gpu_ids = vec!["gpu-a".to_owned(), "gpu-b".to_owned(), "gpu-c".to_owned()];
    for required in answer["taskDefinition"]["requiresAttributes"].as_array().unwrap() {
        facts = with_attribute(facts, required["name"].as_str().unwrap(), required["value"].as_str());
    }
    let agent = world.host("default", facts).await;
    let task = world.run(json!({"taskDefinition": answer["taskDefinition"]["taskDefinitionArn"]})).await;
    let spec = (*agent.assigned()[&task_id(&task)].spec).clone();
    (world, spec)
}

#[tokio::test]
async fn every_field_that_agents_honour_arrives() {
    let app = json!({
        "name": "app", "image": "web:1", "cpu": 100, "memory": 200, "memoryReservation": 100,
        "entryPoint": ["/bin/sh"], "command": ["-c", "true"], "workingDirectory": "/app", "user": "1000:1000",
        "hostname": "web", "environment": [{"name": "A", "value": "1"}],
        "portMappings": [
            {"containerPort": 80, "hostPort": 8080},
            {"containerPort": 53, "protocol": "udp"},
            {"containerPortRange": "7000-7010"},
        ],
        "links": ["base", "base:helper"],
        "volumesFrom": [{"sourceContainer": "base", "readOnly": true}],
        "environmentFiles": [{"type": "s3", "value": "file:///etc/app/a.env"}],
        "mountPoints": [{"sourceVolume": "data", "containerPath": "/data", "readOnly": true}],
        "readonlyRootFilesystem": true, "privileged": true, "interactive": true, "pseudoTerminal": true,
        "ulimits": [{"name": "nofile", "softLimit": 10, "hardLimit": 20}],
        "linuxParameters": {
            "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
            "devices": [{"hostPath": "/dev/fuse", "permissions": ["read", "write"]}],
            "initProcessEnabled": true, "sharedMemorySize": 32, "maxSwap": 64, "swappiness": 10,
            "tmpfs": [{"containerPath": "/t", "size": 8, "mountOptions": ["noexec"]}],
        },
        "dockerLabels": {"a": "b"}, "dnsServers": ["10.0.0.1"], "dnsSearchDomains": ["lab"],
        "extraHosts": [{"hostname": "db", "ipAddress": "10.0.0.2"}],
        "systemControls": [{"namespace": "net.core.somaxconn", "value": "100"}],
        "logConfiguration": {"logDriver": "json-file", "options": {"max-size": "1m"}},
        "stopTimeout": 7,
        "healthCheck": {"command": ["CMD-SHELL", "true"], "timeout": 9, "startPeriod": 60},
        "resourceRequirements": [{"type": "GPU", "value": "2"}],
    });
    let (_world, spec) = placed(json!({
        "family": "web",
        "networkMode": "bridge",
        "cpu": "1 vCPU",
        "memory": "1 GB",
        "pidMode": "task",
        "ipcMode": "task",
        "volumes": [
            {"name": "data", "host": {"sourcePath": "/srv/data"}}, {"name": "scratch"},
            {"name": "made", "dockerVolumeConfiguration": {"driverOpts": {"type": "tmpfs"}, "labels": {"a": "b"}}},
            {"name": "kept", "dockerVolumeConfiguration": {
                "scope": "shared", "autoprovision": true, "driver": "local"}},
        ],
        "containerDefinitions": [
            app,
            {"name": "side", "image": "side:1", "essential": false, "startTimeout": 90,
             "restartPolicy": {"enabled": true, "ignoredExitCodes": [0]},
             "dockerLabels": {"longshore.restart.backoff": "1-60", "longshore.restart.unhealthy": "true"},
             "dependsOn": [{"containerName": "app", "condition": "HEALTHY"}], "cpu": 1,
             "resourceRequirements": [{"type": "GPU", "value": "1"}]},
            {"name": "base", "image": "base:1", "essential": false},
        ],
    }))
    .await;
    assert_eq!((spec.family.as_str(), spec.revision, spec.group.as_str()), ("web", 1, "family:web"));
    assert_eq!((spec.cpu_units, spec.memory_mib, spec.network_mode), (Some(1024), Some(1024), NetworkMode::Bridge));
    let volume = |name: &str, source| VolumeSpec { name: name.to_owned(), source };
    let data = VolumeSource::Host { path: "/srv/data".to_owned() };
    let map = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let made = DockerVolume {
        scope: VolumeScope::Task,
        driver: None,
        driver_opts: map("type", "tmpfs"),
        labels: map("a", "b"),
    };
    let kept = DockerVolume {
        scope: VolumeScope::Shared { autoprovision: true },
        driver: Some("local".to_owned()),
        driver_opts: BTreeMap::new(),
        labels: BTreeMap::new(),
    };
    let volumes = [
        volume("data", data),
        volume("scratch", VolumeSource::Task),
        volume("made", VolumeSource::Docker(made)),
        volume("kept", VolumeSource::Docker(kept)),
    ];
    assert_eq!(spec.volumes, volumes);
    assert_eq!((spec.pid_mode, spec.ipc_mode), (Some(PidMode::Task), Some(IpcMode::Task)));
    let [app, side, base] = spec.containers.as_slice() else { panic!("three containers") };
    assert_eq!((app.name.as_str(), app.image.as_str(), app.essential), ("app", "web:1", true));
    assert_eq!((app.cpu_units, app.memory_mib, app.memory_reservation_mib), (100, Some(200), Some(100)));
    let words = |list: &Option<Vec<String>>| list.as_ref().unwrap().join(" ");
    assert_eq!((words(&app.entry_point), words(&app.command)), ("/bin/sh".to_owned(), "-c true".to_owned()));
    assert_eq!((app.working_directory.as_deref(), app.user.as_deref()), (Some("/app"), Some("1000:1000")));
    assert_eq!(app.hostname.as_deref(), Some("web"));
    assert_eq!((app.environment[0].name.as_str(), app.environment[0].value.as_str()), ("A", "1"));
    let port = |container_port, host_port, protocol, count| PortMapping { container_port, host_port, protocol, count };
    let ports = [
        port(80, HostPort::Fixed(8080), Protocol::Tcp, 1),
        port(53, HostPort::Dynamic, Protocol::Udp, 1),
        port(7000, HostPort::Dynamic, Protocol::Tcp, 11),
    ];
    assert_eq!(app.port_mappings, ports);
    let mount = MountPoint { volume: "data".to_owned(), container_path: "/data".to_owned(), read_only: true };
    assert_eq!(app.mount_points, [mount]);
    assert_eq!(app.volumes_from, [VolumesFrom { container: base.name.clone(), read_only: true }]);
    let link = |alias: &str| Link { container: base.name.clone(), alias: alias.to_owned() };
    assert_eq!(app.links, [link("base"), link("helper")]);
    assert_eq!(app.environment_files, ["file:///etc/app/a.env"]);
    assert!(app.readonly_root && app.privileged && app.interactive && app.pseudo_terminal);
    assert_eq!(app.ulimits, [Ulimit { name: "nofile".to_owned(), soft: 10, hard: 20 }]);
    let linux = LinuxParameters {
        cap_add: vec!["NET_ADMIN".to_owned()],
        cap_drop: vec!["ALL".to_owned()],
        devices: vec![Device {
            host_path: "/dev/fuse".to_owned(),
            container_path: "/dev/fuse".to_owned(),
            permissions: "rw".to_owned(),
        }],
        tmpfs: vec![Tmpfs { container_path: "/t".to_owned(), size_mib: 8, mount_options: vec!["noexec".to_owned()] }],
        init: true,
        shared_memory_mib: Some(32),
        max_swap_mib: Some(64),
        swappiness: Some(10),
    };
    assert_eq!(app.linux, linux);
    assert_eq!(app.docker_labels, BTreeMap::from([("a".to_owned(), "b".to_owned())]));
    assert_eq!((app.dns_servers.join(""), app.dns_search.join("")), ("10.0.0.1".to_owned(), "lab".to_owned()));
    assert_eq!(app.extra_hosts, ["db:10.0.0.2"]);
    assert_eq!(app.sysctls, BTreeMap::from([("net.core.somaxconn".to_owned(), "100".to_owned())]));
    let log = app.log.as_ref().unwrap();
    assert_eq!((log.driver.as_str(), log.options["max-size"].as_str()), ("json-file", "1m"));
    assert_eq!(app.stop_timeout_secs, Some(7));
    let check = HealthCheck {
        command: vec!["CMD-SHELL".to_owned(), "true".to_owned()],
        interval_secs: 30,
        timeout_secs: 9,
        retries: 3,
        start_period_secs: 60,
    };
    assert_eq!(app.lifecycle, Lifecycle { health_check: Some(check), ..Lifecycle::default() });
    let depends_on = vec![Dependency { container: app.name.clone(), condition: ContainerCondition::Healthy }];
    let restart = RestartPolicy {
        ignored_exit_codes: vec![0],
        attempt_period_secs: 300,
        backoff: Some(Backoff { first_secs: 1, longest_secs: 60 }),
        when_unhealthy: true,
    };
    let restart = Some(restart);
    let expected = Lifecycle { depends_on, start_timeout_secs: Some(90), restart, ..Lifecycle::default() };
    assert_eq!(side.lifecycle, expected);
    assert_eq!((app.gpu_ids.len(), side.gpu_ids.len()), (2, 1));
    assert!(side.gpu_ids.iter().all(|id| !app.gpu_ids.contains(id)));
    assert!(!side.essential);
    assert_ne!(app.arn_id, side.arn_id);
}

#[tokio::test]
async fn timeouts_of_zero_are_absent() {
    let (_world, spec) = placed(json!({
        "family": "web",
        "containerDefinitions": [
            {"name": "app", "image": "web:1", "memory": 64, "stopTimeout": 0, "startTimeout": 0},
        ],
    }))
    .await;
    let app = &spec.containers[0];
    assert_eq!((app.stop_timeout_secs, app.lifecycle.start_timeout_secs), (None, None));
}

#[tokio::test]
async fn what_is_not_given_is_absent() {
    let (_world, spec) = placed(json!({
        "family": "web", "networkMode": "host",
        "containerDefinitions": [
            {"name": "app", "image": "web:1", "memory": 64, "portMappings": [{"containerPort": 80}]},
        ],
    }))
    .await;
    assert_eq!((spec.cpu_units, spec.memory_mib, spec.network_mode), (None, None, NetworkMode::Host));
    let app = &spec.containers[0];
    assert_eq!(app.port_mappings[0].host_port, HostPort::Fixed(80));
    assert_eq!((&app.entry_point, &app.command, &app.working_directory), (&None, &None, &None));
    assert_eq!((&app.user, &app.hostname, &app.log), (&None, &None, &None));
    assert_eq!((app.memory_mib, app.memory_reservation_mib, app.stop_timeout_secs), (Some(64), None, None));
    assert_eq!(app.linux, LinuxParameters::default());
    assert!(app.essential && !app.privileged);
}
