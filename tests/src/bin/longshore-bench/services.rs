//! Services against a Swarm's: what a silent host had runs elsewhere, and a rolling update.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use longshore_tests::lab::{Boto, LabConfig, wait_until};
use serde_json::{Value, json};

use crate::figures::{Figures, head, row, scaled};
use crate::fleet::{DEADLINE, Definition, Fleet, between, now};

/// Tasks of the service whose host falls silent; half of them are on each of two hosts.
const SPREAD: usize = 4;

/// Tasks that are updated.
const ROLLED: usize = 50;

/// The name of every service here, and of its definitions.
const NAME: &str = "bench";

/// Two hosts on each side, one of which is cut off in every round: frames from and to it vanish. It ends with the last
/// first instruction, on the other host, of what takes the place of the lost.
pub(crate) fn replace() -> Result<()> {
    let agent = "cleanup_wait = \"0s\"\nlog = \"warn\"\n".to_owned();
    let fleet = Fleet::of(LabConfig { hosts: 2, agent, ..LabConfig::default() })?;
    let swarm = Fleet::of(LabConfig { hosts: 2, product: false, live_restore: false, ..LabConfig::default() })?;
    join(&swarm)?;
    let mut boto = fleet.lab.boto()?;
    let definition = fleet.define(NAME, "bridge", false)?;
    create(&mut boto, &definition, SPREAD, &json!({}))?;
    create_swarm(&swarm, SPREAD, &[])?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..=scaled(10, 2) {
        if round > 0 {
            boto.call("ecs", "update_service", json!({"service": NAME, "forceNewDeployment": true}))??;
            swarm.docker_run(&["service", "update", "--detach", "--quiet", "--force", NAME])?;
        }
        wait_until("the service on both hosts", DEADLINE, || Ok(at_rest(&mut boto, SPREAD)? && spread(&fleet)?))?;
        wait_until("the Swarm's service on both hosts", DEADLINE, || Ok(updated(&swarm)? && spread(&swarm)?))?;
        let one = cut(&fleet)?;
        wait_until("the host back", DEADLINE, || Ok(connected(&mut boto)? == 2 && half_empty(&fleet)?))?;
        let two = cut(&swarm)?;
        wait_until("the Swarm's node back", DEADLINE, || {
            let nodes = swarm.docker_run(&["node", "ls", "--format", "{{.Status}}"])?;
            Ok(nodes.lines().filter(|s| *s == "Ready").count() == 2 && half_empty(&swarm)?)
        })?;
        if round > 0 {
            ours.push(one);
            theirs.push(two);
        }
    }
    head("A host falls silent: until what it had runs elsewhere");
    let (ours, theirs) = (Figures::new(ours), Figures::new(theirs));
    row(&format!("{} of {SPREAD} tasks lost", SPREAD / 2), &ours, "the same in a Swarm of two nodes", &theirs);
    println!("\nOurs at worst {} ms, the Swarm's {} ms.", ours.at(1.0).as_millis(), theirs.at(1.0).as_millis());
    Ok(())
}

/// How tasks are on the network, here and in a Swarm.
const NETWORKS: [(&str, &str, &[&str]); 3] = [
    ("bridge", "on the bridge", &[]),
    ("host", "--network host", &["--network", "host"]),
    ("awsvpc", "on the bridge", &[]),
];

/// From the update's call until exactly the new tasks run. The flags are the same: how many more than there are to be
/// may run, new ones first, none of them watched for longer than until it runs.
pub(crate) fn rolling() -> Result<()> {
    head("Rolling update: until exactly the new tasks run");
    for network in NETWORKS {
        roll(network)?;
    }
    Ok(())
}

fn roll((mode, theirs_is, flags): (&str, &str, &[&str])) -> Result<()> {
    // As a Swarm does, what ended is kept for a while: its removal is no part of an update.
    let agent = "cleanup_wait = \"1m\"\nlog = \"warn\"\n".to_owned();
    let control = "service_healthy_after_secs = 0\n".to_owned();
    let fleet = Fleet::of(LabConfig { agent, control, ..LabConfig::default() })?;
    let swarm = Fleet::docker()?;
    let address = swarm.node().host.address().to_string();
    swarm.docker_run(&["swarm", "init", "--advertise-addr", &address])?;
    let mut boto = fleet.lab.boto()?;
    let first = fleet.define(NAME, mode, false)?;
    let network = match first.network() {
        Value::Null => json!({}),
        network => json!({"networkConfiguration": network}),
    };
    create(&mut boto, &first, ROLLED, &network)?;
    create_swarm(&swarm, ROLLED, &[&["--update-order", "start-first", "--update-monitor", "1ms"], flags].concat())?;
    wait_until("the service", DEADLINE, || at_rest(&mut boto, ROLLED))?;
    wait_until("the Swarm's service", DEADLINE, || Ok(ids(&swarm)?.len() == ROLLED))?;
    let paces: &[(usize, u32)] = if mode == "bridge" { &[(ROLLED, 200), (ROLLED / 5, 120)] } else { &[(ROLLED, 200)] };
    for (at_once, maximum) in paces {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..=scaled(5, 1) {
            if mode == "awsvpc" {
                // Addresses rest for a minute.
                fleet.wait_addresses(ROLLED as u64)?;
            }
            let next = fleet.define(NAME, mode, false)?;
            let (old, begin) = (ids(&fleet)?, now());
            let configuration = json!({"minimumHealthyPercent": 100, "maximumPercent": maximum});
            let update = json!({"service": NAME, "taskDefinition": next.arn(),
                "deploymentConfiguration": configuration});
            boto.call("ecs", "update_service", update)??;
            let one = rolled(&fleet, &old, begin)?;
            wait_until("the deployment's end", DEADLINE, || at_rest(&mut boto, ROLLED))?;
            let (old, begin) = (ids(&swarm)?, now());
            let (parallelism, variable) = (at_once.to_string(), format!("ROUND={maximum}-{round}"));
            let args = ["service", "update", "--detach", "--quiet", "--update-parallelism", &parallelism, "--env-add"];
            swarm.docker_run(&[&args[..], &[&variable, NAME]].concat())?;
            let two = rolled(&swarm, &old, begin)?;
            wait_until("the end of the Swarm's update", DEADLINE, || updated(&swarm))?;
            if round > 0 {
                ours.push(one);
                theirs.push(two);
            }
        }
        row(
            &format!("{ROLLED} {mode} tasks, 100 to {maximum} %"),
            &Figures::new(ours),
            &format!("`docker service update`, start-first, {at_once} at once, {theirs_is}"),
            &Figures::new(theirs),
        );
    }
    Ok(())
}

fn create(boto: &mut Boto, definition: &Definition, count: usize, more: &Value) -> Result<()> {
    let mut request = json!({"serviceName": NAME, "taskDefinition": definition.arn(), "desiredCount": count});
    if let (Some(into), Some(more)) = (request.as_object_mut(), more.as_object()) {
        into.extend(more.clone());
    }
    boto.call("ecs", "create_service", request)??;
    Ok(())
}

fn create_swarm(swarm: &Fleet, count: usize, more: &[&str]) -> Result<()> {
    let replicas = count.to_string();
    let mount = format!("type=bind,source={},target=/stamps", swarm.stamps.display());
    let head = ["service", "create", "--detach", "--name", NAME, "--replicas", &replicas, "--endpoint-mode", "dnsrr"];
    let limits = ["--limit-memory", "8m", "--mount", &mount, "--no-resolve-image", "--stop-grace-period", "1s"];
    swarm.docker_run(&[&head[..], &limits, more, &["probe", "stamp", "/stamps"]].concat())?;
    Ok(())
}

/// Makes the lab's two hosts a Swarm whose manager is the first.
fn join(swarm: &Fleet) -> Result<()> {
    let address = swarm.node().host.address().to_string();
    swarm.docker_run(&["swarm", "init", "--advertise-addr", &address])?;
    let token = swarm.docker_run(&["swarm", "join-token", "--quiet", "worker"])?;
    let worker = swarm.lab.node(1);
    let own = worker.host.address().to_string();
    let manager = format!("{address}:2377");
    let args = ["-H", &worker.docker(), "swarm", "join", "--advertise-addr", &own, "--token", token.trim(), &manager];
    worker.host.run("docker", &args)?;
    Ok(())
}

/// Takes the second host's cable out of the switch's reach and waits for what replaces its half; then puts it back.
fn cut(fleet: &Fleet) -> Result<Duration> {
    let begin = begin(fleet)?;
    fleet.lab.partition(1)?;
    let end = fleet.last_stamp(SPREAD / 2);
    fleet.lab.heal(1)?;
    Ok(between(begin, end?))
}

/// Forgets all stamps; now.
fn begin(fleet: &Fleet) -> Result<u128> {
    fleet.clear()?;
    Ok(now())
}

/// The containers that run.
fn ids(fleet: &Fleet) -> Result<BTreeSet<String>> {
    Ok(fleet.containers()?.into_iter().filter(|c| c.state == "running").map(|c| c.id).collect())
}

/// Waits until as many new tasks run as there are to be, and none of the old ones.
fn rolled(fleet: &Fleet, old: &BTreeSet<String>, begin: u128) -> Result<Duration> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let running = ids(fleet)?;
        if running.len() == ROLLED && running.is_disjoint(old) {
            return Ok(between(begin, now()));
        }
        ensure!(Instant::now() < deadline, "{} containers run, not {ROLLED} new ones", running.len());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether the service's one deployment is complete and all its tasks run.
fn at_rest(boto: &mut Boto, count: usize) -> Result<bool> {
    let answer = boto.call("ecs", "describe_services", json!({"services": [NAME]}))??;
    let service = &answer["services"][0];
    let deployments = service["deployments"].as_array().context("no deployments")?;
    Ok(deployments.len() == 1
        && deployments[0]["rolloutState"] == "COMPLETED"
        && service["runningCount"] == count
        && service["pendingCount"] == 0)
}

/// Whether no update of the Swarm's service goes on.
fn updated(swarm: &Fleet) -> Result<bool> {
    let format = "{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}";
    let state = swarm.docker_run(&["service", "inspect", "--format", format, NAME])?;
    Ok(["", "completed"].contains(&state.trim()))
}

fn connected(boto: &mut Boto) -> Result<usize> {
    let arns = boto.call("ecs", "list_container_instances", json!({}))??["containerInstanceArns"].clone();
    let answer = boto.call("ecs", "describe_container_instances", json!({"containerInstances": arns}))??;
    let instances = answer["containerInstances"].as_array().context("no instances")?;
    Ok(instances.iter().filter(|i| i["agentConnected"] == true).count())
}

/// How many containers of the service run on each host.
fn running(fleet: &Fleet) -> Result<Vec<usize>> {
    let of = |node: &longshore_tests::lab::Node| -> Result<usize> {
        let sandbox = |name: &str| name.starts_with("ls-eni-");
        Ok(node.engine.containers()?.iter().filter(|c| c.state == "running" && !sandbox(&c.name)).count())
    };
    fleet.lab.nodes().iter().map(of).collect()
}

fn spread(fleet: &Fleet) -> Result<bool> {
    Ok(running(fleet)? == [SPREAD / 2, SPREAD / 2])
}

/// Whether the first host has everything and the second has ended what it had.
fn half_empty(fleet: &Fleet) -> Result<bool> {
    Ok(running(fleet)? == [SPREAD, 0])
}
