//! What a container asks of the kernel: limits, capabilities, devices, parameters.

use super::{accepted, app, refused};
use serde_json::json;

#[test]
fn limits_and_parameters_of_the_kernel() {
    accepted(&[
        app(json!({"ulimits": [{"name": "core", "softLimit": -1, "hardLimit": -1}]})),
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
    ]);
}
