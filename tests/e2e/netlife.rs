//! A host that is cut off while the network changes elsewhere, and returns: several times, of which the median counts.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use longshore_tests::lab::process::Process;
use longshore_tests::lab::{Agent, Lab, Node, wait_for, wait_until};
use serde_json::{Value, json};

use super::awsvpc::{address, detail, ec2, network, server};
use super::support::*;

/// How often the host is cut off.
const ROUNDS: usize = 3;

/// Seconds since 1970, which every program on the machine agrees on.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// A Python program in the network of a task. Its output is in the log `name` of the host.
pub(super) fn inside(node: &Node, task: &Value, name: &str, program: &str, args: &[&str]) -> Process {
    let namespace = format!("--net=/run/netns/ls-{}", &detail(task, "networkInterfaceId")["eni-".len()..][..14]);
    node.host
        .start(name, Path::new("nsenter"), |command| {
            command.args([&namespace, "python3", "-u", "-c", program]).args(args);
        })
        .unwrap()
}

pub(super) fn log(node: &Node, name: &str) -> String {
    fs::read_to_string(node.host.dir().join(format!("{name}.log"))).unwrap()
}

/// Starts a task on one host.
pub(super) fn start_on(lab: &Lab, definition: &str, instance: &str, groups: &[&str]) -> String {
    let mut args = json!({"taskDefinition": definition, "containerInstances": [instance]});
    merge(&mut args, network(lab, groups));
    let answer = lab.ecs("start_task", args).unwrap();
    assert_eq!(answer["failures"], json!([]), "{answer}");
    answer["tasks"][0]["taskArn"].as_str().unwrap().to_owned()
}

fn group(lab: &Lab, name: &str) -> String {
    let made = ec2(lab, "create_security_group", json!({"GroupName": name, "Description": "of a test"}));
    made["GroupId"].as_str().unwrap().to_owned()
}

fn web_from(peer: Value) -> Value {
    let mut permission = json!({"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80});
    merge(&mut permission, peer);
    json!([permission])
}

/// What a probe saw of an address, from `since` on.
fn sightings(node: &Node, probe: &str, address: &str, since: f64) -> Vec<(f64, bool)> {
    let read = |line: &str| {
        let mut words = line.split(' ');
        let at: f64 = words.next()?.parse().ok()?;
        (words.next()? == address && at >= since).then_some((at, words.next()? == "open"))
    };
    log(node, probe).lines().filter_map(read).collect()
}

/// When an address began to be as it should be and stayed so; `None` while it is not.
fn settled(node: &Node, probe: &str, address: &str, since: f64, open: bool) -> Option<f64> {
    let seen = sightings(node, probe, address, since);
    let wrong = seen.iter().rposition(|(_, was)| *was != open).map_or(0, |at| at + 1);
    seen.get(wrong).map(|(at, _)| *at)
}

/// How a host that was away looks to everybody, polled.
#[derive(Default)]
struct Returned {
    /// The agent says it is connected, and the API does.
    session: Option<f64>,
    described: Option<f64>,
    /// A member that left is in no set of the host's firewall.
    forgotten: Option<f64>,
}

/// A task of the group that the members' rule lets in, and what tries to reach one of them; its log has this name.
struct Client<'a> {
    node: &'a Node,
    arn: String,
    address: String,
    name: String,
    tries: Process,
}

#[test]
fn a_host_that_returns_enforces_within_a_second_what_changed_while_it_was_away() {
    let lab = lab(3);
    let web = server(&lab, "web");
    let [mut opens, mut closes, members, clients] =
        ["opens", "closes", "members", "clients"].map(|name| group(&lab, name));
    let anybody = web_from(json!({"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}));
    let permit = |op: &str, group: &str, permissions: &Value| {
        ec2(&lab, op, json!({"GroupId": group, "IpPermissions": permissions}));
    };
    permit("authorize_security_group_ingress", &closes, &anybody);
    let from_clients = web_from(json!({"UserIdGroupPairs": [{"GroupId": clients}]}));
    permit("authorize_security_group_ingress", &members, &from_clients);

    let instances = strings(&json!(lab.instances().unwrap()), "containerInstanceArn");
    let nodes: Vec<usize> = instances.iter().map(|arn| node_index(&lab, arn)).collect();
    let (away, near) = (lab.node(nodes[0]), lab.node(nodes[1]));
    let targets = [&opens, &closes, &members].map(|group| start_on(&lab, &web, &instances[0], &[group]));
    let client = start_on(&lab, &web, &instances[1], &[]);
    let targets = wait_tasks(&lab, &targets, "RUNNING", DEADLINE);
    let [mut to_open, mut to_close, to_members] = [0, 1, 2].map(|n| address(&targets[n]));
    let client = running(&lab, &client);
    let ports = |addresses: &[&String]| addresses.iter().map(|a| format!("{a}:80")).collect::<Vec<_>>();
    let args = ports(&[&to_open, &to_close]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let _probe = inside(near, &client, "reach", include_str!("reach.py"), &args);
    let only = format!("{to_members}:80");
    let to = [only.as_str()];
    let join = |index: usize, name: String| {
        let arn = start_on(&lab, &web, &instances[index], &[&clients]);
        let (node, task) = (lab.node(nodes[index]), running(&lab, &arn));
        let tries = inside(node, &task, &name, include_str!("reach.py"), &to);
        Client { node, arn, address: address(&task), name, tries }
    };
    let is = |node: &Node, probe: &str, address: &str, since: f64, open: bool| {
        wait_for(&format!("{address} open {open} for {probe}"), DEADLINE, || {
            Ok(settled(node, probe, address, since, open))
        })
        .unwrap()
    };
    let members_of =
        |node: &Node| node.host.run("nsenter", &["--net=/run/netns/ls-fab", "nft", "list", "table", "inet", "ls_fab"]);

    let kinds = ["a rule that was added", "a rule that was taken away", "a member that came", "a member that went"];
    let mut times: [Vec<f64>; 4] = Default::default();
    let mut member = join(2, "first".to_owned());
    for round in 0..ROUNDS {
        let begin = now();
        is(near, "reach", &to_open, begin, false);
        is(near, "reach", &to_close, begin, true);
        is(member.node, &member.name, &to_members, begin, true);
        let Client { arn: leaver, address: left, tries, .. } = member;
        assert!(members_of(away).unwrap().contains(&left), "the member is known while it lives");
        tries.kill().unwrap();

        lab.partition(nodes[0]).unwrap();
        wait_until("a disconnected host", DEADLINE, || {
            Ok(lab.instances()?.iter().filter(|i| i["agentConnected"] == false).count() == 1)
        })
        .unwrap();
        permit("authorize_security_group_ingress", &opens, &anybody);
        permit("revoke_security_group_ingress", &closes, &anybody);
        lab.ecs("stop_task", json!({"task": leaver})).unwrap();
        stopped(&lab, &leaver);
        // Never on the host that the last one was on, so that it has another address.
        let joiner = join(1 + round % 2, format!("joiner-{round}"));
        let begin = now();
        is(joiner.node, &joiner.name, &to_members, begin, false);
        assert!(members_of(away).unwrap().contains(&left), "the host knows nothing of it");

        lab.heal(nodes[0]).unwrap();
        let healed = now();
        let mut seen = Returned::default();
        wait_until("a host that is back and right", DEADLINE, || {
            let at = now();
            if seen.session.is_none() && Agent::status(&away.host)?["session"]["state"] == "connected" {
                seen.session = Some(at);
            }
            if seen.described.is_none() && lab.instances()?.iter().all(|i| i["agentConnected"] == true) {
                seen.described = Some(at);
            }
            if seen.forgotten.is_none() && !members_of(away)?.contains(&left) {
                seen.forgotten = Some(at);
            }
            Ok(seen.session.is_some() && seen.described.is_some() && seen.forgotten.is_some())
        })
        .unwrap();
        let back = seen.session.unwrap().min(seen.described.unwrap());
        let added = is(near, "reach", &to_open, healed, true);
        let came = is(joiner.node, &joiner.name, &to_members, healed, true);
        // Nothing passed while the network was away, which is no rule's doing: what counts is seen once packets pass.
        wait_until("tries that are refused", DEADLINE, || {
            let seen = sightings(near, "reach", &to_close, added);
            Ok(seen.len() >= 10 && seen[seen.len() - 10..].iter().all(|(_, open)| !open))
        })
        .unwrap();
        let taken = settled(near, "reach", &to_close, healed, false).unwrap();
        println!("connected {:.3} s after the network was back", back - healed);
        let seen = [added, taken, came, seen.forgotten.unwrap()];
        for ((what, times), at) in kinds.iter().zip(&mut times).zip(seen) {
            println!("{what}: in force {:.3} s after the host was connected", (at - back).max(0.0));
            times.push(at - back);
        }
        // The other way round next: what is open now is closed, and who came goes.
        std::mem::swap(&mut opens, &mut closes);
        std::mem::swap(&mut to_open, &mut to_close);
        member = joiner;
    }
    for (what, mut times) in kinds.into_iter().zip(times) {
        times.sort_by(f64::total_cmp);
        assert!(times[ROUNDS / 2] < 1.0, "{what}: {times:.3?} s");
    }
}
