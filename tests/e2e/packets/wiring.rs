//! What hosts look like to `ip`, against what the API and the agents say.

use std::net::Ipv4Addr;

use longshore_tests::lab::{Agent, Lab, Node, wait_until};
use serde_json::{Value, json};

use super::{Place, Wired, fabric, start_on, still, wired};
use crate::support::*;

/// The lab's cables take 1500 bytes, and a tunnel's headers are 50.
const MTU: u32 = 1450;

fn picked(list: &Value, keys: &[&str]) -> Vec<Value> {
    let pick =
        |item: &Value| Value::Object(keys.iter().filter_map(|k| Some(((*k).into(), item.get(k)?.clone()))).collect());
    list.as_array().unwrap_or_else(|| panic!("{list} is no list")).iter().map(pick).collect()
}

fn permanent(address: &str, mac: &str) -> Value {
    json!({"dst": address, "lladdr": mac, "protocol": "98", "state": ["PERMANENT"]})
}

/// A hardware address that is derived from an IPv4 address.
fn mac(first: [u8; 2], address: Ipv4Addr) -> String {
    let bytes: Vec<String> = first.into_iter().chain(address.octets()).map(|b| format!("{b:02x}")).collect();
    bytes.join(":")
}

/// A host's part of the task network, as its agent says: the tunnel's address and the leg's.
fn lease(node: &Node) -> (Ipv4Addr, Ipv4Addr) {
    let status = Agent::status(&node.host).unwrap();
    let leases = status["network"]["leases"].as_array().unwrap();
    assert_eq!(leases.len(), 1, "{leases:?}");
    let (address, length) = leases[0].as_str().unwrap().split_once('/').unwrap();
    assert_eq!(length, "24");
    let tunnel: Ipv4Addr = address.parse().unwrap();
    let [a, b, c, d] = tunnel.octets();
    assert_eq!(d, 0);
    (tunnel, Ipv4Addr::new(a, b, c, 1))
}

/// The sandbox's side.
fn check_inside(task: &Wired<'_>) {
    let (inside, address) = (task.place(), task.address);
    assert_eq!(task.mac, mac([0x02, 0x0a], address), "the hardware address is the address's");
    assert_eq!(
        picked(&inside.json("ip -json link"), &["ifname", "mtu", "address", "operstate"]),
        [
            json!({"ifname": "lo", "mtu": 65536, "address": "00:00:00:00:00:00", "operstate": "UNKNOWN"}),
            json!({"ifname": "eth0", "mtu": MTU, "address": task.mac, "operstate": "UP"}),
        ],
        "links of a sandbox"
    );
    let addresses = inside.json("ip -json addr show dev eth0");
    assert_eq!(
        picked(&addresses[0]["addr_info"], &["family", "local", "prefixlen"]),
        [json!({"family": "inet", "local": address, "prefixlen": 32})],
        "addresses of a sandbox"
    );
    assert_eq!(
        picked(&inside.json("ip -json route"), &["type", "dst", "gateway", "dev", "scope", "protocol"]),
        [
            json!({"dst": "default", "gateway": "169.254.170.1", "dev": "eth0", "protocol": "98"}),
            json!({"type": "unreachable", "dst": "169.254.169.254", "protocol": "98"}),
            json!({"dst": "169.254.170.1", "dev": "eth0", "scope": "link", "protocol": "98"}),
        ],
        "routes of a sandbox"
    );
    assert_eq!(
        picked(&inside.json("ip -json neigh"), &["dst", "lladdr", "protocol", "state"]),
        [permanent("169.254.170.1", "02:ee:00:00:00:ff")],
        "neighbours of a sandbox"
    );
}

/// The fabric's side of the same.
fn check_outside(task: &Wired<'_>) {
    let (link, outside) = (task.link(), task.fabric());
    let alias = format!("ls:{}:{}:{}", task.eni, task.address, id(&task.arn));
    assert_eq!(
        picked(&outside.json(&format!("ip -json -d link show dev {link}")), &["ifname", "mtu", "address", "ifalias"]),
        [json!({"ifname": link, "mtu": MTU, "address": "02:ee:00:00:00:ff", "ifalias": alias})],
        "the fabric's end of a task's link"
    );
    assert_eq!(
        picked(&outside.json(&format!("ip -json route show dev {link}")), &["dst", "scope", "protocol"]),
        [json!({"dst": task.address, "scope": "link", "protocol": "98"})],
        "the fabric's route to a task"
    );
    assert_eq!(
        picked(&outside.json(&format!("ip -json neigh show dev {link}")), &["dst", "lladdr", "protocol", "state"]),
        [permanent(&task.address.to_string(), &task.mac)],
        "the fabric's neighbour of a task"
    );
}

/// The tunnel, and what leads into it.
fn check_tunnel(lab: &Lab, node: &Node) {
    let (outside, (own, _)) = (fabric(node), lease(node));
    let link = outside.json("ip -json -d link show dev lsvx");
    assert_eq!(
        picked(&link, &["ifname", "mtu", "address"]),
        [json!({"ifname": "lsvx", "mtu": MTU, "address": mac([0x02, 0xcf], own)})],
        "the tunnel"
    );
    let data = &link[0]["linkinfo"]["info_data"];
    assert_eq!(link[0]["linkinfo"]["info_kind"], "vxlan");
    let underlay = json!(node.host.address());
    assert_eq!((&data["id"], &data["port"], &data["local"]), (&json!(7777), &json!(4789), &underlay), "{data}");
    assert_eq!(data["learning"], json!(false), "it learns nothing: {data}");

    let others: Vec<&Node> = lab.nodes().iter().filter(|other| other.host.name() != node.host.name()).collect();
    let listed = |line: &str, keys: &[&str]| {
        let mut found = picked(&outside.json(line), keys);
        found.sort_by_key(ToString::to_string);
        found
    };
    let expected = |make: &dyn Fn(&Node, Ipv4Addr) -> Value| {
        let mut made: Vec<Value> = others.iter().map(|other| make(other, lease(other).0)).collect();
        made.sort_by_key(ToString::to_string);
        made
    };
    assert_eq!(
        listed("ip -json route show dev lsvx", &["dst", "gateway", "protocol", "flags"]),
        expected(
            &|_, lease| json!({"dst": format!("{lease}/24"), "gateway": lease, "protocol": "98", "flags": ["onlink"]})
        ),
        "routes to other hosts"
    );
    assert_eq!(
        listed("ip -json neigh show dev lsvx", &["dst", "lladdr", "protocol", "state"]),
        expected(&|_, lease| permanent(&lease.to_string(), &mac([0x02, 0xcf], lease))),
        "neighbours on other hosts"
    );
    assert_eq!(
        listed("bridge -json fdb show dev lsvx", &["mac", "dst", "state"]),
        expected(&|other, lease| {
            json!({"mac": mac([0x02, 0xcf], lease), "dst": other.host.address(), "state": "permanent"})
        }),
        "where other hosts' tunnels are"
    );
}

/// The host's own view, and its leg.
fn check_leg(node: &Node) {
    let (own, outside, (_, leg)) = (Place::host(&node.host), fabric(node), lease(node));
    let link = own.json("ip -json link show dev lsl0");
    assert_eq!(picked(&link, &["ifname", "mtu"]), [json!({"ifname": "lsl0", "mtu": MTU})], "the leg");
    let addresses = own.json("ip -json -4 addr show dev lsl0");
    assert_eq!(
        picked(&addresses[0]["addr_info"], &["local", "prefixlen"]),
        [json!({"local": leg, "prefixlen": 32})],
        "the leg's address"
    );
    assert_eq!(
        picked(
            &own.json("ip -json -d route show dev lsl0"),
            &["dst", "gateway", "prefsrc", "scope", "protocol", "metrics"]
        ),
        [
            json!({
                "dst": "10.77.0.0/16", "gateway": "169.254.170.1", "prefsrc": leg, "scope": "global",
                "protocol": "98", "metrics": [{"mtu": MTU}],
            }),
            json!({"dst": "169.254.170.1", "scope": "link", "protocol": "98"}),
        ],
        "the host's routes to tasks"
    );
    assert_eq!(
        picked(&own.json("ip -json neigh show dev lsl0"), &["dst", "lladdr", "protocol", "state"]),
        [permanent("169.254.170.1", "02:ee:00:00:00:fe")],
        "the host's neighbour"
    );
    let [_, _, third, _] = leg.octets();
    assert_eq!(
        picked(&outside.json("ip -json neigh show dev up0"), &["dst", "lladdr", "protocol", "state"]),
        [permanent(&leg.to_string(), &format!("02:ce:0a:4d:{third:02x}:01"))],
        "the fabric's neighbour on the host"
    );
    let routes = outside.json("ip -json route");
    let routes: Vec<Value> = picked(&routes, &["type", "dst", "gateway", "dev"])
        .into_iter()
        .filter(|r| r["dev"] == "up0" || r["type"] == "unreachable")
        .collect();
    assert_eq!(
        routes,
        [
            json!({"dst": "default", "gateway": leg, "dev": "up0"}),
            json!({"type": "unreachable", "dst": "10.77.0.0/16"}),
            json!({"dst": leg, "dev": "up0"}),
        ],
        "the fabric's routes outwards"
    );
    for place in [own, outside] {
        assert_eq!(place.sh("sysctl -n net.ipv4.ip_forward").trim(), "1");
    }
    for (place, link) in [(own, "lsl0"), (outside, "up0"), (outside, "lsvx")] {
        assert_eq!(place.sh(&format!("sysctl -n net.ipv4.conf.{link}.rp_filter")).trim(), "0", "{link}");
    }
}

#[test]
fn hosts_are_wired_as_the_api_and_the_agents_say() {
    let lab = lab(3);
    let definition = still(&lab, "still", json!([]));
    let arns: Vec<String> = [0, 0, 1, 2].map(|host| start_on(&lab, host, &definition, &[])).into();
    let tasks = wired(&lab, &arns);
    for node in lab.nodes() {
        // The agents hear of each other when all are there.
        wait_until("two peers", DEADLINE, || {
            Ok(Agent::status(&node.host)?["network"]["peers"].as_array().is_some_and(|peers| peers.len() == 2))
        })
        .unwrap();
        check_leg(node);
        check_tunnel(&lab, node);
    }
    for task in &tasks {
        check_inside(task);
        check_outside(task);
        let status = Agent::status(&task.node.host).unwrap();
        let interfaces = status["network"]["interfaces"].as_array().unwrap();
        let own = interfaces.iter().find(|line| line["eni"] == json!(task.eni)).expect("the agent knows it");
        assert_eq!(
            (&own["address"], &own["stage"], own["task"].as_str()),
            (&json!(task.address), &json!("claimed"), Some(id(&task.arn))),
            "{own}"
        );
        let (tunnel, _) = lease(task.node);
        assert_eq!(task.address.octets()[..3], tunnel.octets()[..3], "an address of its host's lease");
    }
}
