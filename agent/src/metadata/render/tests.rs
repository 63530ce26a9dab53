use super::*;
use crate::metadata::details::Mount;
use crate::metadata::tests::{address, seen, view};
use longshore_model::Overlay;
use longshore_plan::{ResolvedPort, Stopped};
use serde_json::{Value, json};
use std::sync::Arc;

fn network() -> NetworkConfig {
    NetworkConfig {
        v4: "10.77.0.0/16".parse().expect("a network"),
        v6: None,
        overlay: Overlay::Vxlan { vni: 7777, port: 4789 },
        mtu: 1450,
        lease_length: 24,
    }
}

fn context(version: Version) -> Context<'static> {
    Context { version, network: None, zone: Some("rack-1") }
}

fn whole(view: &TaskView, seen: &[Option<&Seen>], version: Version) -> Value {
    let network = network();
    let context = Context { network: Some(&network), ..context(version) };
    serde_json::to_value(task(view, seen, true, context)).expect("JSON")
}

#[test]
fn a_task_is_told_as_ecs_tells_it() {
    let mut view = view(NetworkMode::Awsvpc);
    let spec = view.spec.as_deref().expect("known").clone();
    view.spec =
        Some(std::sync::Arc::new(longshore_model::TaskSpec { cpu_units: Some(256), memory_mib: Some(512), ..spec }));
    let files = view.record.interface.as_ref().expect("it has one").files.clone();
    let mut known = seen(None);
    known.labels = [("tier", "front"), ("longshore.supervise", "{}"), ("longshore.log-group", "")]
        .map(|(k, v)| (k.into(), v.into()))
        .into();
    known.mounts = vec![
        Mount { name: "data".into(), source: "/var/lib/docker/volumes/data/_data".into(), destination: "/data".into() },
        Mount { name: String::new(), source: format!("{files}/hosts"), destination: "/etc/hosts".into() },
    ];
    let told = whole(&view, &[Some(&known)], Version::V4);
    let id = view.record.id;
    assert_eq!(
        told,
        json!({
            "Cluster": "default",
            "TaskARN": format!("arn:aws:ecs:lab:123456789012:task/default/{id}"),
            "Family": "web",
            "Revision": "1",
            "ServiceName": "shop",
            "DesiredStatus": "RUNNING",
            "KnownStatus": "NONE",
            "Limits": {"CPU": 0.25, "Memory": 512},
            "AvailabilityZone": "rack-1",
            "LaunchType": "EC2",
            "TaskTags": {"team": "red"},
            "FaultInjectionEnabled": false,
            "Containers": [
                {
                    "DockerId": "main-id",
                    "Name": "main",
                    "DockerName": format!("ls-{id}-main"),
                    "Image": "busybox",
                    "ImageID": "sha256:abc",
                    "Labels": {"tier": "front"},
                    "DesiredStatus": "RUNNING",
                    "KnownStatus": "RUNNING",
                    "Limits": {"CPU": 256, "Memory": 128},
                    "CreatedAt": "2023-11-14T22:13:20.25Z",
                    "StartedAt": "2023-11-14T22:13:21.5Z",
                    "Type": "NORMAL",
                    "Volumes": [{
                        "DockerName": "data",
                        "Source": "/var/lib/docker/volumes/data/_data",
                        "Destination": "/data"
                    }],
                    "LogDriver": "json-file",
                    "LogOptions": {"tag": "x"},
                    "ContainerARN": format!(
                        "arn:aws:ecs:lab:123456789012:container/default/{id}/0b7e6c1e-5a3f-4a57-9d0c-2f1f4f0c7a11"
                    ),
                    "Networks": [{
                        "NetworkMode": "awsvpc",
                        "IPv4Addresses": ["10.77.1.11"],
                        "AttachmentIndex": 0,
                        "MACAddress": "02:0a:0a:4d:01:0b",
                        "IPv4SubnetCIDRBlock": "10.77.0.0/16",
                        "PrivateDNSName": "ip-10-77-1-11",
                        "SubnetGatewayIpv4Address": "169.254.170.1/32"
                    }]
                },
                told["Containers"][1]
            ]
        })
    );
    let waiting = &told["Containers"][1];
    assert_eq!((&waiting["KnownStatus"], &waiting["Limits"]), (&json!("NONE"), &json!({"CPU": 2})));
    assert!(waiting.get("StartedAt").is_none() && waiting.get("ExitCode").is_none(), "{waiting}");
}

#[test]
fn health_and_restarts_are_told_where_there_is_a_check_or_a_policy() {
    let mut view = view(NetworkMode::Bridge);
    let told = whole(&view, &[None], Version::V4);
    assert!(told["Containers"][0].get("Health").is_none() && told["Containers"][0].get("RestartCount").is_none());
    let mut outline = (*view.outline).clone();
    outline.containers[0].restart = Some(longshore_model::RestartPolicy {
        ignored_exit_codes: vec![],
        attempt_period_secs: 60,
        backoff: None,
        when_unhealthy: false,
    });
    view.outline = std::sync::Arc::new(outline);
    let main = &mut view.record.containers[0];
    main.health = Some(longshore_model::HealthStatus::Unhealthy);
    main.restarts.count = 3;
    let told = whole(&view, &[None], Version::V3);
    assert_eq!(told["Containers"][0]["Health"], json!({"status": "UNHEALTHY"}));
    assert_eq!(told["Containers"][0]["RestartCount"], 3);
    assert!(told["Containers"][1].get("RestartCount").is_none());
}

#[test]
fn the_stream_of_awslogs_is_told_and_not_what_it_is_made_of() {
    let mut view = view(NetworkMode::Bridge);
    let id = view.record.id;
    let mut options = |more: &[(&str, &str)]| {
        let all = [("awslogs-group", "/shop"), ("awslogs-region", "lab")].iter().chain(more);
        let options = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let spec = Arc::make_mut(view.spec.as_mut().expect("one"));
        spec.containers[0].log = Some(LogConfig { driver: "awslogs".into(), options });
        whole(&view, &[Some(&seen(None))], Version::V4)["Containers"][0]["LogOptions"].clone()
    };
    let expected = |stream: &str| json!({"awslogs-group": "/shop", "awslogs-region": "lab", "awslogs-stream": stream});
    assert_eq!(options(&[("awslogs-stream-prefix", "app")]), expected(&format!("app/main/{id}")));
    assert_eq!(options(&[]), expected("main-id"));
}

#[test]
fn earlier_versions_tell_less() {
    let view = view(NetworkMode::Awsvpc);
    let told = whole(&view, &[Some(&seen(None))], Version::V3);
    for name in ["ServiceName", "LaunchType", "FaultInjectionEnabled"] {
        assert!(told.get(name).is_none(), "{name}");
    }
    let container = &told["Containers"][0];
    for name in ["ContainerARN", "LogDriver", "LogOptions"] {
        assert!(container.get(name).is_none(), "{name}");
    }
    assert_eq!(container["Networks"], json!([{"NetworkMode": "awsvpc", "IPv4Addresses": ["10.77.1.11"]}]));
}

#[test]
fn each_mode_has_its_network_and_ports() {
    let mut bridge = view(NetworkMode::Bridge);
    let protocol = longshore_model::Protocol::Tcp;
    bridge.record.containers[0].ports =
        vec![ResolvedPort { container_port: 80, host_port: 30_001, protocol, dynamic: true, count: 2 }];
    let told = whole(&bridge, &[Some(&seen(Some(address())))], Version::V4);
    let main = &told["Containers"][0];
    assert_eq!(main["Networks"], json!([{"NetworkMode": "bridge", "IPv4Addresses": ["10.77.1.11"]}]));
    let port = |n: u16| json!({"ContainerPort": 80 + n, "Protocol": "tcp", "HostPort": 30001 + n, "HostIp": "0.0.0.0"});
    assert_eq!(main["Ports"], json!([port(0), port(1)]));

    // The last port of all, and a range that ends with it.
    bridge.record.containers[0].ports =
        vec![ResolvedPort { container_port: 65_535, host_port: 65_535, protocol, dynamic: false, count: 1 }];
    let told = whole(&bridge, &[None], Version::V4);
    let last = json!({"ContainerPort": 65_535, "Protocol": "tcp", "HostPort": 65_535, "HostIp": "0.0.0.0"});
    assert_eq!(told["Containers"][0]["Ports"], json!([last]));
    let mut awsvpc = view(NetworkMode::Awsvpc);
    let mut spec = awsvpc.spec.as_deref().expect("known").clone();
    spec.containers[0].port_mappings = [(65_535, 1), (65_530, 6)]
        .map(|(container_port, count)| longshore_model::PortMapping {
            container_port,
            protocol,
            host_port: longshore_model::HostPort::Dynamic,
            count,
        })
        .into();
    awsvpc.spec = Some(std::sync::Arc::new(spec));
    let told = whole(&awsvpc, &[None], Version::V4);
    let ports = told["Containers"][0]["Ports"].as_array().expect("ports");
    assert_eq!((ports.len(), &ports[0]["ContainerPort"], &ports[6]["HostPort"]), (7, &json!(65_535), &json!(65_535)));

    let told = whole(&view(NetworkMode::Host), &[None], Version::V4);
    assert_eq!(told["Containers"][0]["Networks"], json!([{"NetworkMode": "host"}]));
    // Without the container engine the definition tells the labels.
    assert_eq!(told["Containers"][0]["Labels"]["tier"], "front");
    assert_eq!(told["Containers"][0]["Labels"]["com.amazonaws.ecs.container-name"], "main");
    assert_eq!(told["Containers"][0]["ImageID"], "");
}

#[test]
fn statuses_are_the_agents_words() {
    let mut view = view(NetworkMode::Bridge);
    let at = Timestamp::from_millis(1_700_000_009_000);
    assert_eq!(known(&view), "NONE", "a container waits");
    view.record.containers[1].phase = Phase::Created { id: "side-id".into() };
    assert_eq!((known(&view), desired(&view)), ("CREATED", "RUNNING"));
    view.record.reached = TaskStatus::Running;
    view.record.times.started_at = Some(at);
    assert_eq!(known(&view), "RUNNING");
    view.record.wish = Wish::Stop { reason: "asked".into() };
    view.record.reached = TaskStatus::Stopping;
    assert_eq!((known(&view), desired(&view)), ("RUNNING", "STOPPED"), "its containers still run");
    view.record.times.started_at = None;
    assert_eq!(known(&view), "CREATED", "it never ran");
    view.record.reached = TaskStatus::Stopped;
    assert_eq!(known(&view), "STOPPED");

    let stopped =
        Stopped { id: Some("main-id".into()), ran: true, exit_code: Some(137), reason: None, at, remains: true };
    view.record.containers[0].phase = Phase::Stopped(stopped);
    let told = serde_json::to_value(container(&view, 0, None, context(Version::V4))).expect("JSON");
    assert_eq!(told["ExitCode"], 137);
    assert_eq!(told["FinishedAt"], "2023-11-14T22:13:29Z");
    assert_eq!(told["KnownStatus"], "STOPPED");
    assert_eq!(vcpus(2048), Some(2.into()), "Go reads no 2.0 into an integer");
}

#[test]
fn a_task_found_by_its_labels_is_told_as_far_as_it_is_known() {
    let mut view = view(NetworkMode::Bridge);
    view.spec = None;
    let told = whole(&view, &[Some(&seen(Some(address())))], Version::V4);
    assert_eq!((&told["Family"], &told["Containers"][0]["DockerId"]), (&json!("web"), &json!("main-id")));
    assert_eq!(told["Containers"][0]["ImageID"], "sha256:abc");
    assert!(told.get("TaskTags").is_none() && told.get("LaunchType").is_none(), "{told}");
}

/// As Datadog's agent decodes the answers: into fixed types, so one member of another type loses it the whole task. Go
/// takes no notice of case in names, so these have ours where its own have another (`DockerID`, `HostIP`).
mod datadog {
    use super::{
        NetworkMode, Phase, ResolvedPort, Seen, Stopped, TaskView, Timestamp, Version, address, container, context,
        seen, view, whole,
    };
    use crate::metadata::details::Mount;
    use longshore_model::{HealthStatus, Protocol, RestartPolicy};
    use serde::Deserialize;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Task {
        cluster: String,
        #[serde(rename = "TaskARN")]
        task_arn: String,
        family: String,
        revision: String,
        desired_status: String,
        known_status: String,
        #[serde(default)]
        limits: BTreeMap<String, f64>,
        #[serde(default)]
        task_tags: BTreeMap<String, String>,
        availability_zone: Option<String>,
        pull_started_at: Option<String>,
        pull_stopped_at: Option<String>,
        execution_stopped_at: Option<String>,
        launch_type: Option<String>,
        service_name: Option<String>,
        containers: Vec<Container>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Container {
        docker_id: String,
        docker_name: String,
        name: String,
        r#type: String,
        image: String,
        #[serde(rename = "ImageID")]
        image_id: String,
        desired_status: String,
        known_status: String,
        #[serde(default)]
        limits: BTreeMap<String, u64>,
        #[serde(default)]
        labels: BTreeMap<String, String>,
        created_at: Option<String>,
        started_at: Option<String>,
        exit_code: Option<i64>,
        restart_count: Option<i64>,
        health: Option<Health>,
        #[serde(default)]
        networks: Vec<Network>,
        #[serde(default)]
        ports: Vec<Port>,
        #[serde(default)]
        volumes: Vec<Volume>,
        log_driver: Option<String>,
        #[serde(default)]
        log_options: BTreeMap<String, String>,
        #[serde(rename = "ContainerARN")]
        container_arn: Option<String>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Health {
        status: String,
        status_since: Option<String>,
        exit_code: Option<i64>,
        output: Option<String>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Network {
        network_mode: String,
        #[serde(rename = "IPv4Addresses", default)]
        ipv4: Vec<String>,
        #[serde(rename = "IPv6Addresses", default)]
        ipv6: Vec<String>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Port {
        container_port: u16,
        protocol: String,
        host_port: u16,
        host_ip: Option<String>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Volume {
        docker_name: Option<String>,
        source: String,
        destination: String,
    }

    fn decode<T: for<'de> Deserialize<'de>>(text: &str) -> T {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn read(view: &TaskView, seen: Option<&Seen>, version: Version) -> Task {
        decode(&whole(view, &[seen], version).to_string())
    }

    fn map<V, const N: usize>(pairs: [(&str, V); N]) -> BTreeMap<String, V> {
        pairs.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// A task with an interface, limits of its own and something mounted.
    fn known() -> (TaskView, Seen) {
        let mut view = view(NetworkMode::Awsvpc);
        let spec = Arc::make_mut(view.spec.as_mut().expect("known"));
        (spec.cpu_units, spec.memory_mib) = (Some(256), Some(512));
        view.record.times.pull_started_at = Some(Timestamp::from_millis(1_700_000_000_000));
        view.record.times.pull_stopped_at = Some(Timestamp::from_millis(1_700_000_001_000));
        let mut seen = seen(None);
        seen.labels = map([("tier", "front".to_owned())]);
        seen.mounts = vec![Mount { name: "data".into(), source: "/srv/data".into(), destination: "/data".into() }];
        (view, seen)
    }

    /// What version 4 tells of its first container.
    fn main_of(view: &TaskView) -> Container {
        let id = view.record.id;
        Container {
            docker_id: "main-id".into(),
            docker_name: format!("ls-{id}-main"),
            name: "main".into(),
            r#type: "NORMAL".into(),
            image: "busybox".into(),
            image_id: "sha256:abc".into(),
            desired_status: "RUNNING".into(),
            known_status: "RUNNING".into(),
            limits: map([("CPU", 256), ("Memory", 128)]),
            labels: map([("tier", "front".to_owned())]),
            created_at: Some("2023-11-14T22:13:20.25Z".into()),
            started_at: Some("2023-11-14T22:13:21.5Z".into()),
            exit_code: None,
            restart_count: None,
            health: None,
            networks: vec![Network { network_mode: "awsvpc".into(), ipv4: vec!["10.77.1.11".into()], ipv6: vec![] }],
            ports: vec![],
            volumes: vec![Volume {
                docker_name: Some("data".into()),
                source: "/srv/data".into(),
                destination: "/data".into(),
            }],
            log_driver: Some("json-file".into()),
            log_options: map([("tag", "x".to_owned())]),
            container_arn: Some(format!(
                "arn:aws:ecs:lab:123456789012:container/default/{id}/0b7e6c1e-5a3f-4a57-9d0c-2f1f4f0c7a11"
            )),
        }
    }

    /// What version 4 tells of the task beside its containers.
    fn task_of(view: &TaskView) -> Task {
        Task {
            cluster: "default".into(),
            task_arn: format!("arn:aws:ecs:lab:123456789012:task/default/{}", view.record.id),
            family: "web".into(),
            revision: "1".into(),
            desired_status: "RUNNING".into(),
            known_status: "NONE".into(),
            limits: map([("CPU", 0.25), ("Memory", 512.0)]),
            task_tags: map([("team", "red".to_owned())]),
            availability_zone: Some("rack-1".into()),
            pull_started_at: Some("2023-11-14T22:13:20Z".into()),
            pull_stopped_at: Some("2023-11-14T22:13:21Z".into()),
            execution_stopped_at: None,
            launch_type: Some("EC2".into()),
            service_name: Some("shop".into()),
            containers: vec![],
        }
    }

    #[test]
    fn version_4_is_what_it_reads() {
        let (view, seen) = known();
        let mut task = read(&view, Some(&seen), Version::V4);
        let containers = std::mem::take(&mut task.containers);
        assert_eq!(task, task_of(&view));
        assert_eq!((containers.len(), &containers[0]), (2, &main_of(&view)));
        let waits = &containers[1];
        assert_eq!((waits.docker_id.as_str(), waits.known_status.as_str()), ("", "NONE"));
        assert_eq!((&waits.limits, waits.started_at.as_deref()), (&map([("CPU", 2)]), None));
        // A container by itself.
        let alone = container(&view, 0, Some(&seen), context(Version::V4));
        let alone: Container = decode(&serde_json::to_string(&alone).expect("JSON"));
        assert_eq!(alone, main_of(&view));
    }

    #[test]
    fn version_2_is_what_it_reads() {
        let (mut view, seen) = known();
        let mut task = read(&view, Some(&seen), Version::V2);
        let containers = std::mem::take(&mut task.containers);
        assert_eq!(task, Task { launch_type: None, service_name: None, ..task_of(&view) });
        let less = Container { log_driver: None, log_options: map([]), container_arn: None, ..main_of(&view) };
        assert_eq!(containers[0], less);
        // Whole vCPUs, a task that is over, and one without limits.
        Arc::make_mut(view.spec.as_mut().expect("known")).cpu_units = Some(2048);
        view.record.times.execution_stopped_at = Some(Timestamp::from_millis(1_700_000_009_000));
        let task = read(&view, None, Version::V2);
        assert_eq!(task.limits, map([("CPU", 2.0), ("Memory", 512.0)]));
        assert_eq!(task.execution_stopped_at.as_deref(), Some("2023-11-14T22:13:29Z"));
        let bare = read(&super::view(NetworkMode::Host), None, Version::V2);
        assert!(bare.limits.is_empty(), "{bare:?}");
        let host = Network { network_mode: "host".into(), ipv4: vec![], ipv6: vec![] };
        assert_eq!(bare.containers[0].networks, [host]);
    }

    #[test]
    fn ports_ends_health_and_restarts_are_numbers_and_words_that_it_reads() {
        let mut view = view(NetworkMode::Bridge);
        Arc::make_mut(&mut view.outline).containers[0].restart = Some(RestartPolicy {
            ignored_exit_codes: vec![],
            attempt_period_secs: 60,
            backoff: None,
            when_unhealthy: false,
        });
        let main = &mut view.record.containers[0];
        main.ports = vec![ResolvedPort {
            container_port: 80,
            host_port: 65_534,
            protocol: Protocol::Udp,
            dynamic: true,
            count: 2,
        }];
        main.health = Some(HealthStatus::Unhealthy);
        main.restarts.count = 3;
        main.phase = Phase::Stopped(Stopped {
            id: Some("main-id".into()),
            ran: true,
            exit_code: Some(137),
            reason: None,
            at: Timestamp::from_millis(1_700_000_009_000),
            remains: true,
        });
        let port = |n: u16| Port {
            container_port: 80 + n,
            protocol: "udp".into(),
            host_port: 65_534 + n,
            host_ip: Some("0.0.0.0".into()),
        };
        let bridge = Network { network_mode: "bridge".into(), ipv4: vec!["10.77.1.11".into()], ipv6: vec![] };
        let ill = Health { status: "UNHEALTHY".into(), status_since: None, exit_code: None, output: None };
        let seen = seen(Some(address()));
        for version in [Version::V2, Version::V3, Version::V4] {
            let main = read(&view, Some(&seen), version).containers.remove(0);
            assert_eq!((main.docker_id.as_str(), main.known_status.as_str()), ("main-id", "STOPPED"));
            assert_eq!(main.ports, [port(0), port(1)]);
            assert_eq!(main.networks, std::slice::from_ref(&bridge));
            assert_eq!((main.exit_code, main.restart_count, main.health.as_ref()), (Some(137), Some(3), Some(&ill)));
        }
    }
}
