//! What the way from task to task carries: on one host and across hosts, against host mode and Docker's bridge.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use longshore_tests::lab::{LabConfig, wait_until};
use serde_json::json;

use crate::figures::{Rates, rate_head, rate_row, scaled};
use crate::fleet::{DEADLINE, Fleet};
use crate::load::{Load, PORT, Path, Space, measure};
use crate::tasks::{Placed, group, permission, start};

/// How long each load lasts.
const SPAN: Duration = Duration::from_secs(1);

/// Where Docker publishes the port of its container, beside the host's own.
const PUBLISHED: u16 = PORT + 1;

/// What is compared: ours, and what it is held against.
const ROWS: [(&str, &str); 6] = [
    ("awsvpc, one host", "Docker's bridge, one host"),
    ("awsvpc, one host", "host mode, one host"),
    ("awsvpc across hosts, `vxlan`", "host mode across hosts"),
    ("awsvpc across hosts, `vxlan`", "Docker's bridge to a published port"),
    ("awsvpc across hosts, `routes`", "host mode across hosts"),
    ("awsvpc across hosts, `routes`", "Docker's bridge to a published port"),
];

pub(crate) fn run() -> Result<()> {
    let tunnels = hosts("vxlan")?;
    let routes = hosts("routes")?;
    let mut paths = of_tasks(&tunnels)?;
    let across = paths.remove("awsvpc across hosts").context("no path across hosts")?;
    paths.insert("awsvpc across hosts, `vxlan`", across);
    let routed = of_tasks(&routes)?.remove("awsvpc across hosts").context("no path across hosts")?;
    paths.insert("awsvpc across hosts, `routes`", routed);
    paths.extend(of_host_mode(&tunnels)?);
    paths.extend(of_docker(&tunnels)?);
    for (name, path) in &paths {
        // The other hosts hear of members and rules a moment later.
        wait_until(&format!("a connection over {name}"), DEADLINE, || {
            Ok(measure(path, Load::Connects, Duration::from_millis(10))? > 0.0)
        })?;
    }
    rate_head("What a path carries");
    for load in Load::ALL {
        let mut rates: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        // The first round is not counted.
        for round in 0..=scaled(7, 1) {
            for (name, path) in &paths {
                let rate = measure(path, load, SPAN).with_context(|| format!("{load:?} over {name}"))?;
                if round > 0 {
                    rates.entry(*name).or_default().push(rate);
                }
            }
        }
        let of = |name: &str| Rates::new(rates.get(name).cloned().unwrap_or_default());
        for (ours, other) in ROWS {
            rate_row(ours, load.unit(), &of(ours), other, &of(other));
        }
    }
    Ok(())
}

/// Two hosts whose tasks reach each other by `overlay`.
fn hosts(overlay: &str) -> Result<Fleet> {
    Fleet::of(LabConfig {
        hosts: 2,
        control: format!("task_network_overlay = \"{overlay}\""),
        agent: "log = \"warn\"\n".into(),
        ..LabConfig::default()
    })
}

/// Tasks that reach each other because a rule of their group says so: two on the first host, one on the second.
fn of_tasks(fleet: &Fleet) -> Result<BTreeMap<&'static str, Path>> {
    let lab = &fleet.lab;
    let group = group(lab, "load")?;
    let by_group = permission(PORT, &json!({"UserIdGroupPairs": [{"GroupId": group}]}));
    let args = json!({"GroupId": group, "IpPermissions": [by_group]});
    lab.call("ec2", "authorize_security_group_ingress", args)??;
    let mut placed = Vec::new();
    for host in [0, 0, 1] {
        placed.push(start(lab, host, "awsvpc", &group)?);
    }
    let [server, near, far] = placed.as_slice() else { unreachable!("three were started") };
    let path = |client: &Placed| -> Result<Path> {
        let to = SocketAddrV4::new(server.address.context("a task without an address")?, PORT);
        Ok(Path { server: server.space(lab)?, client: client.space(lab)?, to })
    };
    Ok(BTreeMap::from([("awsvpc, one host", path(near)?), ("awsvpc across hosts", path(far)?)]))
}

fn of_host_mode(fleet: &Fleet) -> Result<BTreeMap<&'static str, Path>> {
    let lab = &fleet.lab;
    let (server, far) = (start(lab, 0, "host", "")?, start(lab, 1, "host", "")?);
    let path = |client: &Placed| -> Result<Path> {
        let to = SocketAddrV4::new(lab.node(0).host.address(), PORT);
        Ok(Path { server: server.space(lab)?, client: client.space(lab)?, to })
    };
    Ok(BTreeMap::from([("host mode, one host", path(&server)?), ("host mode across hosts", path(&far)?)]))
}

fn of_docker(fleet: &Fleet) -> Result<BTreeMap<&'static str, Path>> {
    let publish = format!("{PUBLISHED}:{PORT}");
    for (host, name, more) in [(0, "server", &["-p", &publish][..]), (0, "near", &[][..]), (1, "far", &[][..])] {
        let node = fleet.lab.node(host);
        let docker = node.docker();
        let args = [&["-H", &docker, "run", "-d", "--name", name][..], more, &["probe", "sleep"]].concat();
        node.host.run("docker", &args)?;
    }
    let (first, second) = (fleet.lab.node(0), fleet.lab.node(1));
    let found = first.engine.inspect("server")?;
    let address = found["NetworkSettings"]["IPAddress"].as_str().context("a container without an address")?;
    let path = |client, to| -> Result<Path> { Ok(Path { server: Space::of_container(first, "server")?, client, to }) };
    let near = path(Space::of_container(first, "near")?, SocketAddrV4::new(address.parse()?, PORT))?;
    let far = path(Space::of_container(second, "far")?, SocketAddrV4::new(first.host.address(), PUBLISHED))?;
    ensure!(far.to.ip() != near.to.ip(), "the container has the host's address");
    Ok(BTreeMap::from([("Docker's bridge, one host", near), ("Docker's bridge to a published port", far)]))
}
