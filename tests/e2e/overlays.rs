//! Tasks of different hosts without tunnels: by routes of the hosts, and with addresses of the hosts' own LAN.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use longshore_tests::lab::{Agent, Host, Lab, LabConfig, Node, wait_for, wait_until};
use serde_json::{Value, json};

use super::awsvpc::{address, assert_clean, ec2, get, network, server, spread, status, wait_open};
use super::support::*;

const ROUTES: &str = "task_network_overlay = \"routes\"\ntask_network_mtu = 1500\n";

/// The lab's LAN is 10.99.0.0/24; hosts and the control plane are in its first half.
const LAN: &str = "task_network_overlay = \"lan\"\ntask_network = \"10.99.0.128/25\"\ntask_network_lease = 28\n\
                   task_network_mtu = 1500\n";

/// The control plane's machine: on the LAN, and no host of tasks.
const MACHINE: Ipv4Addr = longshore_tests::lab::net::CONTROL;

fn overlay_lab(hosts: u8, control: &str, join: bool) -> Lab {
    networked(overlay_config(hosts, control, join))
}

fn overlay_config(hosts: u8, control: &str, join: bool) -> LabConfig {
    let agent = "cleanup_wait = \"1s\"\nstop_timeout = \"2s\"\n".to_owned();
    LabConfig { hosts, join, agent, control: control.to_owned(), ..LabConfig::default() }
}

/// What `ip` says in JSON.
fn ip(host: &Host, args: &[&str]) -> Result<Vec<Value>> {
    let said = host.run("ip", &[&["-json"], args].concat())?;
    let said = if said.trim().is_empty() { "[]" } else { &said };
    serde_json::from_str(said).with_context(|| format!("`ip {}` said {said}", args.join(" ")))
}

fn mac(host: &Host) -> String {
    let links = ip(host, &["link", "show", "eth0"]).unwrap();
    links[0]["address"].as_str().unwrap().to_owned()
}

/// The addresses that a host answers for on the LAN.
fn answered(host: &Host) -> Result<BTreeSet<String>> {
    Ok(ip(host, &["neigh", "show", "proxy"])?.iter().filter_map(|n| n["dst"].as_str().map(str::to_owned)).collect())
}

/// Whether the machine on the LAN gets a task's page.
fn lan_reaches(lab: &Lab, to: &str) -> bool {
    http_get(lab, to.parse().unwrap(), 80, "/").is_ok_and(|page| page.contains("200 OK"))
}

fn wait_lan(lab: &Lab, to: &str, open: bool) {
    let what = format!("{to} being {} to the LAN", if open { "open" } else { "closed" });
    wait_until(&what, DEADLINE, || Ok(lan_reaches(lab, to) == open)).unwrap();
}

/// Everybody in the default group reaches everybody else, by the name that EC2 would give.
fn all_reach_all(lab: &Lab, tasks: &[Value]) {
    for from in tasks {
        let (node, arn) = (node_of(lab, from), from["taskArn"].as_str().unwrap());
        for to in tasks {
            wait_open(node, arn, &address(to), true);
            assert_eq!(get(node, arn, &address(to)), Some(format!("ip-{}", address(to).replace('.', "-"))));
        }
    }
}

fn stop_all(lab: &Lab, arns: &[String]) {
    for arn in arns {
        lab.ecs("stop_task", json!({"task": arn})).unwrap();
    }
    wait_tasks(lab, arns, "STOPPED", DEADLINE);
    lab.nodes().iter().for_each(assert_clean);
    assert_no_leaks(lab, &[]);
}

/// Waits until no host finds a fault with the way to any other.
fn wait_peers(lab: &Lab) {
    for node in lab.nodes() {
        wait_until(&format!("the way from {} to all others", node.host.name()), DEADLINE, || {
            let seen = status(node);
            let peers = seen["peers"].as_array().context("no peers")?;
            let fine = peers.iter().filter(|p| p["connected"] == true && p["fault"].is_null()).count();
            ensure!(seen["ok"] == true && fine == lab.nodes().len() - 1, "{seen:#}");
            Ok(true)
        })
        .unwrap();
    }
}

/// The routes of a host that are the product's, as `TO via GATEWAY`.
fn routes(node: &Node) -> BTreeSet<String> {
    let routes = ip(&node.host, &["route", "show", "proto", "98"]).unwrap();
    let text = |route: &Value| Some(format!("{} via {}", route["dst"].as_str()?, route["gateway"].as_str()?));
    routes.iter().filter_map(text).collect()
}

/// A group that lets nobody in, and the permission that lets in port 80 from `range`.
fn shut_group(lab: &Lab, range: &str) -> (String, Value) {
    let made = ec2(lab, "create_security_group", json!({"GroupName": "shut", "Description": "lets nobody in"}));
    let id = made["GroupId"].as_str().unwrap().to_owned();
    let by_range = json!({"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": range}]});
    let args = json!({"GroupId": id, "IpPermissions": [by_range]});
    (id, args)
}

#[test]
fn tasks_are_reached_by_routes_and_groups_decide() {
    let lab = overlay_lab(3, ROUTES, true);
    let web = server(&lab, "web");
    let arns = run(&lab, &web, 3, spread(&lab, &[]));
    let tasks = wait_tasks(&lab, &arns, "RUNNING", DEADLINE);
    all_reach_all(&lab, &tasks);
    wait_peers(&lab);
    for node in lab.nodes() {
        let links = ip(&node.host, &["-n", "ls-fab", "link"]).unwrap();
        assert!(links.iter().all(|link| link["ifname"] != "lsvx"), "there is no tunnel: {links:?}");
        let routes = routes(node);
        for other in lab.nodes().iter().filter(|other| other.host.name() != node.host.name()) {
            let via = format!(" via {}", other.host.address());
            assert!(routes.iter().any(|route| route.starts_with("10.77.") && route.ends_with(&via)), "{routes:?}");
        }
    }

    let (shut, permission) = shut_group(&lab, "10.77.0.0/16");
    let target = run_one(&lab, &web, network(&lab, &[&shut]));
    let to = address(&running(&lab, &target));
    let from: Vec<(&Node, &str)> = tasks.iter().map(|t| (node_of(&lab, t), t["taskArn"].as_str().unwrap())).collect();
    from.iter().for_each(|(node, arn)| assert_eq!(get(node, arn, &to), None, "nobody may"));
    ec2(&lab, "authorize_security_group_ingress", permission.clone());
    from.iter().for_each(|(node, arn)| wait_open(node, arn, &to, true));
    ec2(&lab, "revoke_security_group_ingress", permission);
    from.iter().for_each(|(node, arn)| wait_open(node, arn, &to, false));
    stop_all(&lab, &[arns, vec![target]].concat());
}

#[test]
fn a_host_that_forwards_nothing_is_found_out_without_tunnels() {
    let lab = overlay_lab(2, ROUTES, true);
    wait_peers(&lab);
    let cut = &lab.node(0).host;
    cut.run("nft", &["add table inet way; add chain inet way f { type filter hook forward priority 0; policy drop; }"])
        .unwrap();
    let long = Duration::from_secs(120);
    for node in lab.nodes() {
        wait_until("a fault that is said", long, || {
            let seen = status(node);
            ensure!(seen["why"].as_str().is_some_and(|why| why.contains("no packet passes")), "{seen:#}");
            Ok(true)
        })
        .unwrap();
    }
    let reason = |instance: &Value| instance["statusReason"].as_str().unwrap_or_default().to_owned();
    wait_until("both hosts being degraded", DEADLINE, || {
        let reasons: Vec<String> = lab.instances()?.iter().map(reason).collect();
        ensure!(reasons.iter().all(|r| r.contains("do both hosts forward")), "{reasons:?}");
        Ok(true)
    })
    .unwrap();
    cut.run("nft", &["delete table inet way"]).unwrap();
    wait_peers(&lab);
}

#[test]
fn tasks_are_machines_of_the_lan() {
    let lab = overlay_lab(3, LAN, true);
    let web = server(&lab, "web");
    let arns = run(&lab, &web, 3, spread(&lab, &[]));
    let tasks = wait_tasks(&lab, &arns, "RUNNING", DEADLINE);
    let range: BTreeSet<Ipv4Addr> = (128..=255).map(|last| Ipv4Addr::new(10, 99, 0, last)).collect();
    assert!(tasks.iter().all(|task| range.contains(&address(task).parse().unwrap())), "{tasks:#?}");
    all_reach_all(&lab, &tasks);
    wait_peers(&lab);

    // A machine that is no host: not in the group, then let in, then not.
    let (shut, permission) = shut_group(&lab, &format!("{MACHINE}/32"));
    let target = run_one(&lab, &web, network(&lab, &[&shut]));
    let shown = running(&lab, &target);
    let (node, to) = (node_of(&lab, &shown), address(&shown));
    assert!(!lan_reaches(&lab, &to), "nobody may");
    ec2(&lab, "authorize_security_group_ingress", permission.clone());
    wait_lan(&lab, &to, true);
    let from = tasks.iter().find(|task| node_of(&lab, task).host.name() != node.host.name()).unwrap();
    assert_eq!(get(node_of(&lab, from), from["taskArn"].as_str().unwrap(), &to), None, "tasks are not let in by that");
    // It sees the host that has the task, and only that.
    let known = ip(lab.ctl(), &["neigh", "show", &to, "dev", "eth0"]).unwrap();
    assert_eq!(known[0]["lladdr"], json!(mac(&node.host)), "{known:?}");
    for other in lab.nodes() {
        assert_eq!(answered(&other.host).unwrap().contains(&to), other.host.name() == node.host.name());
    }
    // And a task that comes to it is seen as itself.
    let listener = lab.ctl().in_network(|| Ok(TcpListener::bind((MACHINE, 8099))?)).unwrap();
    listener.set_nonblocking(true).unwrap();
    // The connection is closed at once: `nc` ends with it.
    let accept = move || wait_for("a task's connection", DEADLINE, || Ok(listener.accept().ok().map(|(_, from)| from)));
    let accepting = std::thread::spawn(accept);
    let name = format!("ls-{}-web", id(&target));
    let script = format!("nc -w 5 {MACHINE} 8099 </dev/null || true");
    node.host.run("docker", &["-H", &node.docker(), "exec", &name, "sh", "-c", &script]).unwrap();
    let from = accepting.join().unwrap().unwrap();
    assert_eq!(from.ip().to_string(), to);

    // Without the agent everything goes on, and so it does with the next.
    node.agent.kill().unwrap();
    lab.ctl().run("ip", &["neigh", "flush", "dev", "eth0"]).unwrap();
    wait_lan(&lab, &to, true);
    node.launch_agent().unwrap();
    wait_until("an agent that has its task again", DEADLINE, || {
        assert!(answered(&node.host)?.contains(&to), "it is answered for all the while");
        let seen = Agent::status(&node.host)?["network"].clone();
        let mut interfaces = seen["interfaces"].as_array().into_iter().flatten();
        Ok(seen["ok"] == true && interfaces.any(|i| i["address"] == json!(to) && i["stage"] == "claimed"))
    })
    .unwrap();
    lab.wait_connected(3, DEADLINE).unwrap();
    ec2(&lab, "revoke_security_group_ingress", permission);
    wait_lan(&lab, &to, false);

    stop_all(&lab, &[arns, vec![target]].concat());
    for node in lab.nodes() {
        assert_eq!(answered(&node.host).unwrap(), BTreeSet::new(), "on {}", node.host.name());
    }
    lab.ctl().run("ip", &["neigh", "flush", "dev", "eth0"]).unwrap();
    assert!(!lan_reaches(&lab, &to));
}

/// Joins the lab's hosts.
fn join(lab: &Lab) {
    let token = lab.join_token(json!({"RegistrationLimit": lab.nodes().len()})).unwrap();
    for node in lab.nodes() {
        Agent::write_token(&node.host, &token).unwrap();
        node.launch_agent().unwrap();
    }
    lab.wait_connected(lab.nodes().len(), DEADLINE).unwrap();
}

#[test]
fn an_address_that_a_machine_of_the_lan_has_is_given_to_no_task() {
    let lab = overlay_lab(1, LAN, false);
    // The first two that the first host would give.
    let taken = ["10.99.0.146", "10.99.0.147"];
    for address in taken {
        lab.ctl().run("ip", &["addr", "add", &format!("{address}/32"), "dev", "eth0"]).unwrap();
    }
    join(&lab);
    let node = lab.node(0);
    let holder = mac(lab.ctl());
    let expected: Vec<String> = taken.iter().map(|address| format!("{address} ({holder})")).collect();
    wait_until("addresses that are set aside", DEADLINE, || {
        let seen = status(node);
        ensure!(seen["set_aside"] == json!(expected) && seen["ok"] == true, "{seen:#}");
        Ok(true)
    })
    .unwrap();
    let warning = status(node)["warnings"][0].as_str().unwrap().to_owned();
    assert!(warning.contains(taken[0]) && warning.contains(&holder), "{warning}");
    assert!(node.host.log("agent").contains("somebody on the hosts' network has an address"));
    let web = server(&lab, "web");
    let arns = run(&lab, &web, 3, network(&lab, &[]));
    let tasks = wait_tasks(&lab, &arns, "RUNNING", DEADLINE);
    for task in &tasks {
        assert!(!taken.contains(&address(task).as_str()), "{task:#}");
    }
    all_reach_all(&lab, &tasks);
    stop_all(&lab, &arns);
}

#[test]
fn a_range_that_is_no_free_part_of_the_hosts_lan_keeps_tasks_away_and_says_so() {
    for (range, parts) in [
        ("10.98.0.128/25", ["10.98.0.128/25", "`eth0`, which has 10.99.0.11/24"]),
        ("10.99.0.0/25", ["10.99.0.0/25", "contains 10.99.0.11, an address of this host on `eth0`"]),
    ] {
        let lab = Lab::new(overlay_config(1, &LAN.replace("10.99.0.128/25", range), true)).unwrap();
        wait_until("a host that says why", DEADLINE, || {
            let reason = lab.instances()?[0]["statusReason"].as_str().unwrap_or_default().to_owned();
            ensure!(parts.iter().all(|part| reason.contains(part)), "{reason}");
            Ok(true)
        })
        .unwrap();
        let web = server(&lab, "web");
        let mut args = network(&lab, &[]);
        merge(&mut args, json!({"taskDefinition": web}));
        let answer = lab.ecs("run_task", args).unwrap();
        assert_eq!(answer["failures"][0]["reason"], "RESOURCE:ENI", "{answer:#}");
        let links = ip(&lab.node(0).host, &["link"]).unwrap();
        assert!(links.iter().all(|link| link["ifname"] != "lsl0"), "nothing was made: {links:?}");
    }
}
