//! How containers are looked after: health checks.

use std::path::Path;

use longshore_tests::lab::{Lab, Node, image, wait_until};
use serde_json::{Value, json};

use super::support::*;

/// An image whose own health check is that the file `/tmp/ok` is there.
fn load_checked(node: &Node, scratch: &Path) {
    let check = "HEALTHCHECK --interval=1s --timeout=5s --retries=1 CMD test -e /tmp/ok";
    let tar = image::busybox(scratch).unwrap();
    node.engine.import("checked", &tar, &["CMD [\"/bin/sh\"]", check]).unwrap();
}

/// Runs a command in a container, which need not succeed.
fn exec(node: &Node, arn: &str, name: &str, command: &str) {
    let container = format!("ls-{}-{name}", id(arn));
    node.host.run("docker", &["-H", &node.docker(), "exec", &container, "sh", "-c", command]).unwrap();
}

/// Waits until the containers of a task, in this order, and then the task itself are of these healths.
fn wait_health(lab: &Lab, arn: &str, wanted: &[(&str, &str)], whole: &str) {
    wait_until(&format!("the health {wanted:?} {whole}"), DEADLINE, || {
        let now = task(lab, arn);
        assert_eq!(now["lastStatus"], "RUNNING", "health ends no task: {now:#}");
        let seen: Vec<&str> =
            wanted.iter().map(|(name, _)| container(&now, name)["healthStatus"].as_str().unwrap()).collect();
        anyhow::ensure!(wanted.iter().map(|(_, health)| *health).eq(seen.iter().copied()), "they are {seen:?}");
        anyhow::ensure!(now["healthStatus"] == whole, "the task is {}", now["healthStatus"]);
        Ok(true)
    })
    .unwrap();
}

#[test]
fn health_is_that_of_the_definitions_checks_and_of_the_images() {
    let lab = lab(1);
    let node = lab.node(0);
    load_checked(node, &lab.dir().join("checked"));

    let idle = "touch /tmp/ok; while true; do sleep 0.1; done";
    let own = json!({"command": ["CMD-SHELL", "test -e /tmp/ok"], "interval": 5, "retries": 1});
    let mut own_check = shell("own", idle);
    merge(&mut own_check, json!({"healthCheck": own}));
    let mut of_image = shell("image", idle);
    merge(&mut of_image, json!({"image": "checked"}));
    // Not essential, so its health is not the task's.
    let mut aside = shell("aside", "while true; do sleep 0.1; done");
    merge(&mut aside, json!({"image": "checked", "essential": false}));
    let mut off = shell("off", idle);
    merge(&mut off, json!({"image": "checked", "healthCheck": {"command": ["NONE"]}}));
    let plain = shell("plain", idle);
    let definition = register(&lab, "healthy", json!([own_check, of_image, aside, off, plain]), json!({}));
    let kept = lab.ecs("describe_task_definition", json!({"taskDefinition": definition})).unwrap();
    let kept = &kept["taskDefinition"];
    let filled = json!({"command": ["CMD-SHELL", "test -e /tmp/ok"], "interval": 5, "timeout": 5, "retries": 1});
    assert_eq!(kept["containerDefinitions"][0]["healthCheck"], filled);
    let needed: Vec<Value> = kept["requiresAttributes"].as_array().unwrap().clone();
    assert!(needed.contains(&json!({"name": "ecs.capability.container-health-check"})), "{needed:?}");

    let arn = run_one(&lab, &definition, json!({}));
    running(&lab, &arn);
    let of = |own, image, aside| {
        [("own", own), ("image", image), ("aside", aside), ("off", "UNKNOWN"), ("plain", "UNKNOWN")]
    };
    wait_health(&lab, &arn, &of("HEALTHY", "HEALTHY", "UNHEALTHY"), "HEALTHY");
    assert_eq!(inspect(node, &arn, "off")["State"].get("Health"), None);

    exec(node, &arn, "image", "rm /tmp/ok");
    wait_health(&lab, &arn, &of("HEALTHY", "UNHEALTHY", "UNHEALTHY"), "UNHEALTHY");

    // What changes while the agent is away is seen by its first listing.
    node.agent.kill().unwrap();
    exec(node, &arn, "image", "touch /tmp/ok");
    exec(node, &arn, "own", "rm /tmp/ok");
    let health = |name: &str| inspect(node, &arn, name)["State"]["Health"]["Status"].clone();
    wait_until("Docker's word", DEADLINE, || Ok(health("image") == "healthy" && health("own") == "unhealthy")).unwrap();
    node.launch_agent().unwrap();
    wait_health(&lab, &arn, &of("UNHEALTHY", "HEALTHY", "UNHEALTHY"), "UNHEALTHY");

    // Docker calls whatever has ended unhealthy.
    exec(node, &arn, "own", "touch /tmp/ok");
    wait_health(&lab, &arn, &of("HEALTHY", "HEALTHY", "UNHEALTHY"), "HEALTHY");
    lab.ecs("stop_task", json!({"task": arn})).unwrap();
    let ended = stopped(&lab, &arn);
    assert_eq!(
        (&ended["healthStatus"], &container(&ended, "own")["healthStatus"]),
        (&json!("HEALTHY"), &json!("HEALTHY"))
    );
    assert_no_leaks(&lab, &[]);
}
