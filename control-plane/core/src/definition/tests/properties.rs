//! What holds of every definition, sound or not. `PROPTEST_CASES` makes a longer run of it.

use super::{again, merge, validate};
use longshore_ecs_api::requests::RegisterTaskDefinitionRequest;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::{Value, json};

/// A text that is right in most places of its kind, now and then one that is not.
fn or_odd(right: &'static [&'static str]) -> impl Strategy<Value = String> {
    let odd = vec!["", "a b", "ä", "x=y", "\0", "longshore.x", "ALL", "sctp", "/", "web", "-1"];
    prop_oneof![20 => prop::sample::select(right), 1 => prop::sample::select(odd)].prop_map(str::to_owned)
}

fn number(right: std::ops::Range<i32>) -> impl Strategy<Value = i32> {
    prop_oneof![20 => right, 1 => any::<i32>(), 1 => prop::sample::select(vec![-1, 0, 65535, 65536, i32::MAX])]
}

/// One member of a container, as a patch to it.
fn member() -> impl Strategy<Value = Value> {
    let protocol = || prop::option::of(or_odd(&["tcp", "udp"]));
    prop_oneof![
        prop::collection::vec((number(1..999), prop::option::of(number(0..9999)), protocol()), 0..3).prop_map(|list| {
            let mapping =
                |(port, host, protocol)| json!({"containerPort": port, "hostPort": host, "protocol": protocol});
            json!({"portMappings": list.into_iter().map(mapping).collect::<Vec<_>>()})
        }),
        number(0..300).prop_map(|cpu| json!({"cpu": cpu})),
        number(64..300).prop_map(|memory| json!({"memory": memory})),
        number(6..64).prop_map(|soft| json!({"memoryReservation": soft})),
        prop::collection::vec((or_odd(&["A", "B", "PATH"]), "[ -~]{0,8}"), 0..3).prop_map(|list| {
            let pair = |(name, value)| json!({"name": name, "value": value});
            json!({"environment": list.into_iter().map(pair).collect::<Vec<_>>()})
        }),
        prop::collection::vec("[ -~]{0,8}", 0..3).prop_map(|list| json!({"command": list})),
        (or_odd(&["data", "scratch"]), or_odd(&["/a", "/b", "/c/d"]), any::<bool>()).prop_map(
            |(volume, path, read_only)| {
                json!({"mountPoints": [{"sourceVolume": volume, "containerPath": path, "readOnly": read_only}]})
            }
        ),
        (or_odd(&["nofile", "core"]), number(0..10), number(10..20))
            .prop_map(|(name, soft, hard)| json!({"ulimits": [{"name": name, "softLimit": soft, "hardLimit": hard}]})),
        (or_odd(&["team", "x.y"]), "[ -~]{0,8}").prop_map(|(key, value)| json!({"dockerLabels": {key: value}})),
        or_odd(&["json-file", "syslog"]).prop_map(|driver| json!({"logConfiguration": {"logDriver": driver}})),
        or_odd(&["/", "/srv"]).prop_map(|path| json!({"workingDirectory": path})),
        any::<bool>().prop_map(|on| json!({"privileged": on, "readonlyRootFilesystem": !on})),
        or_odd(&["NET_ADMIN", "SYS_TIME"])
            .prop_map(|name| json!({"linuxParameters": {"capabilities": {"add": [name]}}})),
        (or_odd(&["/t"]), number(1..64))
            .prop_map(|(path, size)| json!({"linuxParameters": {"tmpfs": [{"containerPath": path, "size": size}]}})),
        or_odd(&["net.core.somaxconn", "kernel.sem"])
            .prop_map(|name| json!({"systemControls": [{"namespace": name, "value": "1"}]})),
        Just(json!({"essential": false})),
        or_odd(&["one", "two"]).prop_map(|name| json!({"name": name})),
    ]
}

fn definition() -> impl Strategy<Value = Value> {
    let patches = || prop::collection::vec(member(), 0..5);
    let mode = prop::option::of(or_odd(&["bridge", "bridge", "host", "none"]));
    let cpu = prop::option::of(or_odd(&["1024", "1 vCPU", "2.5 vcpu"]));
    let memory = prop::option::of(or_odd(&["1024", "4GB", "1.5 gb"]));
    (prop::collection::vec(patches(), 1..3), cpu, memory, mode).prop_map(|(containers, cpu, memory, mode)| {
        let container = |(i, patches): (usize, Vec<Value>)| {
            let mut container = json!({"name": format!("c{i}"), "image": "app", "memory": 64});
            patches.iter().for_each(|patch| merge(&mut container, patch));
            container
        };
        json!({
            "family": "web", "cpu": cpu, "memory": memory, "networkMode": mode,
            "containerDefinitions": containers.into_iter().enumerate().map(container).collect::<Vec<_>>(),
            "volumes": [{"name": "data", "host": {"sourcePath": "/srv"}}, {"name": "scratch"}],
        })
    })
}

proptest! {
    /// A stored definition, registered again as a client would that had described it, is stored unchanged.
    #[test]
    fn validated_definitions_are_stable(value in definition()) {
        let request: RegisterTaskDefinitionRequest = serde_json::from_value(value).expect("the API's types");
        if let Ok(once) = validate(request) {
            let twice = validate(again(&once));
            prop_assert_eq!(twice.as_ref(), Ok(&once));
        }
    }

    /// Errors are for the client: a client's fault, one line, no longer than somebody reads.
    #[test]
    fn refusals_are_readable(value in definition()) {
        let request: RegisterTaskDefinitionRequest = serde_json::from_value(value).expect("the API's types");
        if let Err(error) = validate(request) {
            prop_assert_eq!(error.status(), 400);
            prop_assert!(error.message.len() < 600 && !error.message.contains('\n'), "{}", error);
        }
    }
}

/// The strategy above is of use only while enough of what it makes is accepted.
#[test]
fn enough_is_accepted() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut sound = 0;
    for _ in 0..2000 {
        let value = definition().new_tree(&mut runner).expect("a value").current();
        let request = serde_json::from_value(value).expect("the API's types");
        sound += usize::from(validate(request).is_ok());
    }
    assert!(sound > 400, "only {sound} of 2000 definitions are sound");
}
