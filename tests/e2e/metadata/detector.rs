//! A program that nobody here wrote reads the endpoint.

use longshore_tests::lab::{Lab, boto, wait_until};
use serde_json::{Value, json};

use crate::logs::{GROUP, lines, stream_name, talker};
use crate::support::*;

/// What OpenTelemetry's detector for ECS makes of it, which nobody here wrote. It runs in a container that sees all of
/// its host, for Python.
pub(super) fn reads_it(lab: &Lab) {
    let python = std::fs::canonicalize(boto::venv().unwrap()).unwrap().join("bin/python");
    let program = "import json\n\
                   from opentelemetry.sdk.extension.aws.resource.ecs import AwsEcsResourceDetector\n\
                   found = AwsEcsResourceDetector(raise_on_error=True).detect()\n\
                   print(json.dumps(dict(found.attributes)))";
    let mut main = talker("main", "", json!({}));
    merge(
        &mut main,
        json!({
            "memory": 256, "command": ["chroot", "/machine", python, "-c", program],
            "mountPoints": [{"sourceVolume": "machine", "containerPath": "/machine", "readOnly": true}],
        }),
    );
    let volumes = json!({"volumes": [{"name": "machine", "host": {"sourcePath": "/"}}]});
    let definition = register(lab, "detector", json!([main]), volumes);
    let ended = stopped(lab, &run_one(lab, &definition, json!({})));
    let arn = ended["taskArn"].as_str().unwrap();
    let stream = stream_name(arn, "main");
    let mut said = String::new();
    wait_until("what the detector found", DEADLINE, || {
        said = lines(lab, &stream).join("\n");
        Ok(!said.is_empty())
    })
    .unwrap();
    let main = container(&ended, "main");
    assert_eq!(main["exitCode"], 0, "{said}");
    let found: Value =
        serde_json::from_str(said.lines().last().unwrap()).unwrap_or_else(|error| panic!("{error}: {said}"));
    for (name, wanted) in [
        ("cloud.provider", json!("aws")),
        ("cloud.platform", json!("aws_ecs")),
        ("aws.ecs.task.arn", json!(arn)),
        ("aws.ecs.task.family", json!("detector")),
        ("aws.ecs.task.revision", json!("1")),
        ("aws.ecs.launchtype", json!("ec2")),
        ("aws.ecs.container.arn", main["containerArn"].clone()),
        ("aws.ecs.cluster.arn", ended["clusterArn"].clone()),
        ("aws.log.group.names", json!([GROUP])),
        ("aws.log.stream.names", json!([stream])),
    ] {
        assert_eq!(found[name], wanted, "{name}: {found:#}");
    }
}
