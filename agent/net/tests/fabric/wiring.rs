//! What a wired sandbox and its fabric look like to `ip`.

use crate::world::{Host, Place, Task, json_in, network6, open_group, sh, world};
use longshore_net::{Fabric, FabricError, WireError};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn picked(list: &Value, keys: &[&str]) -> Vec<Value> {
    let pick =
        |item: &Value| Value::Object(keys.iter().filter_map(|k| Some(((*k).into(), item.get(k)?.clone()))).collect());
    list.as_array().expect("a list").iter().map(pick).collect()
}

#[test]
fn a_wired_sandbox_is_as_the_record_says() {
    world(async || {
        let host = Host::here().await;
        let task = host.wired(11).await;
        let netns = host.fabric.names().sandbox_netns(task.eni());

        let links = json_in(&netns, "ip -json -d link");
        assert_eq!(
            picked(&links, &["ifname", "mtu", "address"]),
            [
                json!({"ifname": "lo", "mtu": 65536, "address": "00:00:00:00:00:00"}),
                json!({"ifname": "eth0", "mtu": 1450, "address": "02:0a:0a:4d:01:0b"}),
            ]
        );
        let addresses = json_in(&netns, "ip -json addr show eth0");
        let infos = &addresses[0]["addr_info"];
        assert_eq!(picked(infos, &["local", "prefixlen"]), [json!({"local": "10.77.1.11", "prefixlen": 32})]);
        let routes = json_in(&netns, "ip -json route show");
        assert_eq!(
            picked(&routes, &["type", "dst", "gateway", "dev", "scope", "protocol"]),
            [
                json!({"dst": "default", "gateway": "169.254.170.1", "dev": "eth0", "protocol": "98"}),
                json!({"type": "unreachable", "dst": "169.254.169.254", "protocol": "98"}),
                json!({"dst": "169.254.170.1", "dev": "eth0", "scope": "link", "protocol": "98"}),
            ]
        );
        assert_eq!(json_in(&netns, "ip -json -6 addr show dev eth0"), json!([]));
        let neighbours = json_in(&netns, "ip -json neigh show");
        let mac = "02:ee:00:00:00:ff";
        let gateway = json!({
            "dst": "169.254.170.1", "dev": "eth0", "lladdr": mac, "protocol": "98", "state": ["PERMANENT"],
        });
        assert_eq!(neighbours, json!([gateway]));

        let link = host.fabric.names().task_link(task.eni());
        let fabric = host.fabric_netns();
        let outside = json_in(&fabric, &format!("ip -json -d link show {link}"));
        assert_eq!(
            picked(&outside, &["ifname", "mtu", "address", "ifalias"]),
            [json!({
                "ifname": link, "mtu": 1450, "address": "02:ee:00:00:00:ff",
                "ifalias": format!("ls:{}:10.77.1.11:task-11", task.eni()),
            })]
        );
        let routes = json_in(&fabric, &format!("ip -json route show dev {link}"));
        assert_eq!(
            picked(&routes, &["dst", "scope", "protocol"]),
            [json!({"dst": "10.77.1.11", "scope": "link", "protocol": "98"})]
        );
        let neighbours = json_in(&fabric, &format!("ip -json neigh show dev {link}"));
        assert_eq!(
            neighbours,
            json!([{"dst": "10.77.1.11", "lladdr": "02:0a:0a:4d:01:0b", "protocol": "98", "state": ["PERMANENT"]}])
        );

        // Again, and with another agent: nothing changes, nothing fails.
        let links = host.fabric_sh("ip -o link | cut -d: -f1,2");
        host.fabric.wire(&task.wire, &task.pause()).await.expect("wired again");
        let again = Fabric::open(host.config.clone()).await.expect("taken over");
        again.wire(&task.wire, &task.pause()).await.expect("wired by another agent");
        assert_eq!(again.repair().await.expect("repaired"), []);
        assert_eq!(host.fabric_sh("ip -o link | cut -d: -f1,2"), links);
    });
}

#[test]
fn the_base_is_as_the_design_says() {
    world(async || {
        let host = Host::here().await;
        let fabric = host.fabric_netns();
        let own = json_in(&host.netns, "ip -json -d link show lsl0");
        assert_eq!(picked(&own, &["ifname", "mtu"]), [json!({"ifname": "lsl0", "mtu": 1450})]);
        let routes = json_in(&host.netns, "ip -json -d route show dev lsl0");
        let keys = ["dst", "gateway", "prefsrc", "protocol", "metrics"];
        assert_eq!(
            picked(&routes, &keys),
            [
                json!({
                    "dst": "10.77.0.0/16", "gateway": "169.254.170.1", "prefsrc": "10.77.1.1", "protocol": "98",
                    "metrics": [{"mtu": 1450}],
                }),
                json!({"dst": "169.254.170.1", "protocol": "98"}),
            ]
        );
        let routes = json_in(&fabric, "ip -json route show");
        assert_eq!(
            picked(&routes, &["type", "dst", "gateway", "dev"]),
            [
                json!({"dst": "default", "gateway": "10.77.1.1", "dev": "up0"}),
                json!({"type": "unreachable", "dst": "10.77.0.0/16"}),
                json!({"dst": "10.77.1.1", "dev": "up0"}),
            ]
        );
        let services = json_in(&fabric, "ip -json addr show dev lo");
        let services: BTreeSet<&str> =
            services[0]["addr_info"].as_array().expect("a list").iter().filter_map(|i| i["local"].as_str()).collect();
        for service in ["169.254.170.1", "169.254.170.2", "169.254.170.3"] {
            assert!(services.contains(service), "{services:?}");
        }
        // The host and the fabric speak, and need no ARP for it.
        sh("ping -c 1 -W 5 -q 169.254.170.1");
        host.fabric_sh("ping -c 1 -W 5 -q 10.77.1.1");
        assert_eq!(sh("sysctl -n net.ipv4.ip_forward").trim(), "1");
    });
}

#[test]
fn a_sandbox_has_ipv6_when_the_network_has() {
    world(async || {
        let host = Host::made(network6(), 1, &Place::Here, |_| {}).await;
        let all = open_group(&host).await;
        let (a, b) = (host.task(11, &[all]).await, host.task(12, &[all]).await);
        let addresses = json_in(&a.netns(), "ip -json -6 addr show eth0");
        let infos = &addresses[0]["addr_info"];
        assert_eq!(picked(infos, &["local", "prefixlen"]), [json!({"local": "fd77::1:0:0:a4d:10b", "prefixlen": 128})]);
        let routes = json_in(&a.netns(), "ip -json -6 route show default");
        assert_eq!(
            picked(&routes, &["dst", "gateway", "dev"]),
            [json!({"dst": "default", "gateway": "fe80::1", "dev": "eth0"})]
        );
        b.listen(80).await;
        a.reaches(b.ip6(), 80).await;
        a.reaches(b.ip(), 80).await;
        // The host as well, by its leg.
        crate::world::reaches(&crate::world::here(), b.ip6(), 80).await;
        sh("ping -c 1 -W 5 -q fd77:0:0:1::a4d:10b");
        assert_eq!(host.fabric.repair().await.expect("repaired"), []);
    });
}

#[test]
fn unwiring_leaves_nothing_and_may_be_repeated() {
    world(async || {
        let host = Host::here().await;
        let mut task = host.wired(11).await;
        task.end();
        host.fabric.unwire(task.eni()).await.expect("unwired");
        let link = host.fabric.names().task_link(task.eni());
        assert!(!host.fabric_sh("ip -o link").contains(&link));
        assert!(!host.fabric_sh("ip route").contains("10.77.1.11"));
        assert!(!host.fabric.names().sandbox_netns(task.eni()).exists());
        host.fabric.unwire(task.eni()).await.expect("again");

        // Something else keeps the namespace: the link goes all the same.
        let task = host.wired(12).await;
        host.fabric.unwire(task.eni()).await.expect("unwired");
        assert!(!task.sh("ip -o link").contains("eth0"));
    });
}

#[test]
fn a_stale_link_is_replaced_and_a_foreign_one_is_not() {
    world(async || {
        let host = Host::here().await;
        // The pause container of an interface died and was made again: its link is in another namespace now.
        let task = host.wired(11).await;
        let mut other = Task::new(&host.lease, 11);
        other.wire = task.wire.clone();
        host.fabric.wire(&other.wire, &other.pause()).await.expect("wired anew");
        assert!(other.sh("ip -o addr").contains("10.77.1.11/32"));
        assert!(!task.sh("ip -o link").contains("eth0"));

        let occupied = Task::new(&host.lease, 12);
        occupied.sh("ip link add eth0 type veth peer name x0");
        let error = host.fabric.wire(&occupied.wire, &occupied.pause()).await.expect_err("occupied");
        assert!(matches!(error, WireError::Occupied { .. }), "{error:?}");
        assert!(occupied.sh("ip -o link").contains("eth0"));
        assert!(!host.fabric.names().sandbox_netns(occupied.eni()).exists(), "it is taken back");

        let error = host.fabric.wire(&occupied.wire, &crate::world::here()).await.expect_err("no sandbox");
        assert!(matches!(error, WireError::NotASandbox { .. }), "{error:?}");
    });
}

#[test]
fn what_is_in_the_way_is_said_before_anything_is_made() {
    world(async || {
        let open = async |adapt: &dyn Fn(&mut longshore_net::FabricConfig)| {
            let network = crate::world::network();
            let lease = crate::world::lease(&network, 1);
            let mut config = longshore_net::FabricConfig::new(network, vec![lease]);
            adapt(&mut config);
            Fabric::open(config).await.expect_err("it is in the way")
        };
        let underlay = |device: &str, last| {
            Some(longshore_net::Underlay {
                device: device.into(),
                address: std::net::Ipv4Addr::new(192, 168, 50, last).into(),
            })
        };
        sh("ip link add eth0 type veth peer name x0; ip link set eth0 up; ip addr add 192.168.50.1/24 dev eth0");

        let error = open(&|config| config.underlay = underlay("eth0", 9)).await;
        assert!(matches!(&error, FabricError::UnderlayAddress { .. }), "{error:?}");
        sh("ip link set eth0 down");
        // Whatever the link was said to be.
        let error = open(&|config| config.underlay = underlay("eth7", 1)).await;
        assert!(matches!(&error, FabricError::UnderlayDown { device, .. } if device == "eth0"), "{error:?}");
        sh("ip link set eth0 up");
        sh("ip link set eth0 mtu 1400");
        let error = open(&|config| config.underlay = underlay("eth0", 1)).await;
        assert!(matches!(&error, FabricError::UnderlayMtu { mtu: 1400, needed: 1500, .. }), "{error:?}");
        let error = open(&|config| config.leases.clear()).await;
        assert!(matches!(&error, FabricError::NoLease), "{error:?}");
        let error = open(&|config| config.leases[0].v4 = "10.78.1.0/24".parse().expect("a network")).await;
        assert!(matches!(&error, FabricError::Lease { .. }), "{error:?}");
        sh("ip link set eth0 mtu 1500; ip addr add 10.77.9.9/24 dev eth0");
        let error = open(&|_| {}).await;
        let said = error.to_string();
        assert!(said.contains("10.77.0.0/16") && said.contains("10.77.9.") && said.contains("`eth0`"), "{said}");
        assert!(!std::path::Path::new("/run/netns/ls-fab").exists());
        assert!(!sh("ip -o link").contains("lsl0"));

        // Somebody else's tunnel.
        sh("ip addr del 10.77.9.9/24 dev eth0; \
             ip link add other type vxlan id 7777 dstport 4789 local 192.168.50.1 dev eth0; ip link set other up");
        let error = open(&|config| config.underlay = underlay("eth0", 1)).await;
        assert!(matches!(&error, FabricError::TunnelTaken { vni: 7777, port: 4789 }), "{error:?}");
    });
}

#[test]
fn many_are_wired_at_once() {
    world(async || {
        let host = Host::here().await;
        let tasks: Vec<Task> = (0..64).map(|n| Task::new(&host.lease, 11 + n)).collect();
        let all = tasks.iter().map(|task| {
            let (fabric, wire, pause) = (host.fabric.clone(), task.wire.clone(), task.pause());
            tokio::spawn(async move { fabric.wire(&wire, &pause).await })
        });
        for wired in all.collect::<Vec<_>>() {
            wired.await.expect("it ends").expect("wired");
        }
        let observed = host.fabric.observe().await.expect("observed");
        assert_eq!((observed.sandboxes.len(), observed.links.len(), observed.elements.len()), (64, 64, 0));
        let mut enis: Vec<_> = tasks.iter().map(Task::eni).collect();
        drop(tasks);
        let all = enis.drain(..).map(|eni| {
            let fabric = host.fabric.clone();
            tokio::spawn(async move { fabric.unwire(eni).await })
        });
        for unwired in all.collect::<Vec<_>>() {
            unwired.await.expect("it ends").expect("unwired");
        }
        assert_eq!(host.fabric.observe().await.expect("observed"), longshore_net::Observed::default());
    });
}
