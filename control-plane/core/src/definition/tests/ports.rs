//! Ports, by network mode.

use super::{accepted, app, refused};
use serde_json::{Value, json};

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
