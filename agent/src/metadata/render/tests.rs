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
