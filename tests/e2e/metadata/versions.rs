//! What the versions of the endpoint say of a task: the same, but for what the earlier ones leave out and for tags.

use serde_json::{Value, json};

use super::{Inside, number};
use crate::support::*;

/// What versions 2 and 3 do not tell of a task and of a container.
const NOT_OF_TASKS: [&str; 3] = ["LaunchType", "ServiceName", "FaultInjectionEnabled"];
const NOT_OF_CONTAINERS: [&str; 3] = ["ContainerARN", "LogDriver", "LogOptions"];

fn without(document: &Value, names: &[&str]) -> Value {
    let mut document = document.clone();
    names.iter().for_each(|name| _ = document.as_object_mut().unwrap().remove(*name));
    document
}

/// A container as the earlier versions have it, made from what version 4 says.
fn earlier_container(told: &Value) -> Value {
    let mut told = without(told, &NOT_OF_CONTAINERS);
    for network in told["Networks"].as_array_mut().unwrap() {
        network.as_object_mut().unwrap().retain(|name, _| name == "NetworkMode" || name.ends_with("Addresses"));
    }
    told
}

/// The same of a task.
fn earlier_task(told: &Value) -> Value {
    let mut told = without(told, &NOT_OF_TASKS);
    for container in told["Containers"].as_array_mut().unwrap() {
        *container = earlier_container(container);
    }
    told
}

/// Docker's id of a container of a task.
fn docker_id(inside: &Inside<'_>, name: &str) -> String {
    inspect(inside.node, inside.arn(), name)["Id"].as_str().unwrap().to_owned()
}

/// Figures of a task by its containers: all that run, and each its own.
fn assert_figures(told: &Value, inside: &Inside<'_>) {
    let told = told.as_object().unwrap();
    assert_eq!(told.len(), 2, "{:?}", told.keys());
    for name in ["main", "side"] {
        assert_figures_of(&told[&docker_id(inside, name)], inside, name);
    }
}

fn assert_figures_of(told: &Value, inside: &Inside<'_>, name: &str) {
    assert_eq!(told["id"], json!(docker_id(inside, name)), "{told:#}");
    assert_eq!(told["name"], json!(format!("/ls-{}-{name}", id(inside.arn()))), "{told:#}");
    assert_eq!(number(told, "memory_stats/limit"), 16 << 20);
    assert!(number(told, "cpu_stats/cpu_usage/total_usage") > 0, "{told:#}");
}

/// Versions 3 and 4, to whoever has the id: in every network mode.
pub(super) fn by_id(inside: &Inside<'_>) {
    let get = |variable: &str, rest: &str| inside.get(&format!("${{{variable}}}{rest}"));
    let [v4, v3] = ["ECS_CONTAINER_METADATA_URI_V4", "ECS_CONTAINER_METADATA_URI"];
    let (container, task) = (get(v4, ""), get(v4, "/task"));
    assert!(container["ContainerARN"].is_string() && task["LaunchType"].is_string(), "{container:#} {task:#}");
    assert_eq!(task["Containers"][0], container);
    assert_eq!(get(v3, ""), earlier_container(&container));
    assert_eq!(get(v3, "/task"), earlier_task(&task));
    for (version, task) in [(v4, task.clone()), (v3, earlier_task(&task))] {
        assert_eq!(task["TaskTags"], Value::Null);
        let tagged = get(version, "/taskWithTags");
        assert_eq!(tagged["TaskTags"], json!({"team": "red"}), "{version}: {tagged:#}");
        assert_eq!(without(&tagged, &["TaskTags"]), task, "{version}");
        assert_figures_of(&get(version, "/stats"), inside, "main");
        assert_figures(&get(version, "/task/stats"), inside);
        assert_eq!(get(version, "/associations/elastic-inference"), json!({"Associations": []}), "{version}");
    }
}

/// Version 2, to a task with an interface of its own, which needs no id: of its own containers, and of nobody else's.
/// Tasks `without_interface` are not answered.
pub(super) fn by_address(vpc: &Inside<'_>, other: &Inside<'_>, without_interface: &[&Inside<'_>]) {
    let get = |path: &str| vpc.get(&format!("http://169.254.170.2/v2/{path}"));
    let whole = get("metadata");
    assert_eq!(whole, earlier_task(&vpc.get("${ECS_CONTAINER_METADATA_URI_V4}/task")));
    assert_eq!((&whole["TaskARN"], &whole["TaskTags"]), (&json!(vpc.arn()), &Value::Null));
    let tagged = get("metadataWithTags");
    assert_eq!(tagged["TaskTags"], json!({"team": "red"}), "{tagged:#}");
    assert_eq!(without(&tagged, &["TaskTags"]), whole);
    for (index, name) in ["main", "side"].into_iter().enumerate() {
        let id = docker_id(vpc, name);
        let one = get(&format!("metadata/{id}"));
        assert_eq!((&one["Name"], &one["DockerId"]), (&json!(name), &json!(id)));
        assert_eq!(one, whole["Containers"][index]);
        assert_figures_of(&get(&format!("stats/{id}")), vpc, name);
    }
    assert_figures(&get("stats"), vpc);

    let (own, others) = (docker_id(vpc, "main"), docker_id(other, "main"));
    for id in [others.as_str(), &own[..12], "none"] {
        for what in ["metadata", "stats"] {
            assert_eq!(vpc.raw("GET", &format!("/v2/{what}/{id}")).0, 404, "{what} of {id}");
        }
    }
    for asker in without_interface {
        let own = docker_id(asker, "main");
        for path in ["metadata", "metadataWithTags", "stats"] {
            assert_eq!(asker.raw("GET", &format!("/v2/{path}")).0, 404, "{path} to {}", asker.arn());
        }
        for what in ["metadata", "stats"] {
            assert_eq!(asker.raw("GET", &format!("/v2/{what}/{own}")).0, 404, "{what} to {}", asker.arn());
        }
    }
}
