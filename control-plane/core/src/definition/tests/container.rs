//! What a container is, and its settings beside those of the kernel and of its log.

use super::{accepted, app, refused, register};
use serde_json::json;

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
fn container_settings() {
    accepted(&[app(json!({"stopTimeout": 0}))]);
    refused(&[
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
            app(json!({"environmentFiles": [{"type": "s3", "value": "https:///a.env"}]})),
            "containerDefinitions[0].environmentFiles[0].value must be a URL with a host, of printable ASCII and \
             without a fragment.",
        ),
        (
            app(json!({"environmentFiles": [{"type": "s3", "value": "https://a/b?x.env"}]})),
            "containerDefinitions[0].environmentFiles[0].value must end in .env.",
        ),
        (
            app(json!({"resourceRequirements": [{"type": "GPU", "value": "0"}]})),
            "containerDefinitions[0].resourceRequirements[0].value must be a number of GPUs, at least 1, or ALL.",
        ),
        (app(json!({"stopTimeout": -1})), "containerDefinitions[0].stopTimeout: -1 must be at least 0."),
    ]);
}

#[test]
fn health_checks_and_restarts() {
    refused(&[
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
    ]);
}
