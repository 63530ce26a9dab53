//! What refers to something else in the definition: volumes, and containers to each other.

use super::{app, efs, includes, refused, stored};
use serde_json::{Value, json};

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
fn directories_of_efs() {
    refused(&[
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
    ]);
}
