//! When images are pulled by the agent's own configuration, in each of its four ways, and what a container says of it.

use std::fs;

use longshore_tests::lab::{Agent, Node, host, wait_until};
use serde_json::json;

use super::digests::{IMAGE, Registry, push};
use super::fields::docker;
use super::images::app;
use super::registry::{fails, mark};
use super::support::*;

/// Another agent, whose environment says when it pulls, which stands above its file. What the last one remembered of
/// images that it saw is gone; what it pulled is in a file.
fn relaunch(node: &Node, behavior: &str) {
    let agent = host::program("longshore-agent").unwrap();
    node.agent.kill().unwrap();
    let variables = [("LONGSHORE_AGENT_PULL_BEHAVIOR", behavior)];
    node.agent.launch_as(&node.host, &node.docker(), &agent, &variables).unwrap();
    wait_until("an agent that is connected", DEADLINE, || {
        Ok(Agent::status(&node.host)?["session"]["state"] == "connected")
    })
    .unwrap();
}

/// Puts another image under the tag into the registry; this host has the tag as it was.
fn moves(node: &Node, mark: &str) {
    docker(node, &["tag", IMAGE, "kept"]);
    push(node, mark);
    docker(node, &["tag", "kept", IMAGE]);
}

#[test]
fn the_agents_own_way_to_pull_holds_where_a_container_says_nothing() {
    let lab = lab_with(1, "pull_behavior = \"once\"");
    let node = lab.node(0);
    let registry = Registry::start(&lab);
    let define = |family: &str, behavior: Option<&str>| register(&lab, family, json!([app(behavior)]), json!({}));
    let plain = define("app", None);
    let [always, default, cached] =
        ["always", "default", "prefer-cached"].map(|behavior| define(&format!("app-{behavior}"), Some(behavior)));
    let ran = |definition: &str| mark(&lab, node, definition);

    // By the agent's file: what somebody else has brought here was not pulled by an agent of this host.
    push(node, "one");
    docker(node, &["pull", IMAGE]);
    moves(node, "two");
    assert_eq!(ran(&cached), "one", "once: what the container says stands above it");
    assert_eq!(ran(&plain), "two", "once: no agent of this host has pulled it");
    moves(node, "three");
    let history = node.host.dir().join("agent/images.json");
    wait_until("the agent's memory of it", DEADLINE, || Ok(fs::read_to_string(&history)?.contains(IMAGE))).unwrap();
    relaunch(node, "once");
    assert_eq!(ran(&plain), "two", "once: the agent before this one has pulled it, wherever the tag is now");
    assert_eq!(ran(&always), "three", "once: what the container says stands above it");

    relaunch(node, "always");
    moves(node, "four");
    assert_eq!(ran(&plain), "four", "always");
    moves(node, "five");
    assert_eq!(ran(&cached), "four", "always: what the container says stands above it");
    assert_eq!(ran(&plain), "five", "always: also what was pulled a moment ago");
    registry.end();
    fails(&lab, &plain, &["CannotPullContainerError: ", "connection refused"]);
    assert_eq!(ran(&default), "five", "always: it is here, and good enough for a container that says so");

    let registry = Registry::start(&lab);
    moves(node, "six");
    relaunch(node, "default");
    assert_eq!(ran(&plain), "six", "default: it pulls while it can");
    registry.end();
    assert_eq!(ran(&plain), "six", "default: what is here is good enough without the registry");

    relaunch(node, "prefer-cached");
    assert_eq!(ran(&plain), "six", "prefer-cached: nobody asks the registry, which is away");
    let registry = Registry::start(&lab);
    moves(node, "seven");
    relaunch(node, "prefer-cached");
    assert_eq!(ran(&plain), "six", "prefer-cached: wherever the tag is now");
    assert_eq!(ran(&default), "seven", "prefer-cached: what the container says stands above it");
    registry.end();
    assert_no_leaks(&lab, &[]);
}
