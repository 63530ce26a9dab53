//! What one task's address costs when every host has to hear of it: one large security group over many hosts.
//!
//! ```text
//! cargo run --release -p longshore-core --example network_updates -- [hosts] [members] [changes]
//! ```
//!
//! Hosts join and get their part of the network, tasks of the default group are placed on them and report an address
//! each. Then one task after another loses its address or gets it back. Measured of each change: the report until it is
//! durable, and the updates for all hosts, made from what each was told last; by views, and by whole states, which is
//! what a change costs where nothing is shared. The store is the one in memory.

// A measurement may end with a panic.
#![allow(clippy::unwrap_used)]

#[path = "support/calls.rs"]
mod calls;

use calls::{call, join_token};
use longshore_core::{Core, CoreConfig, FirstStart, NetworkView, SealingKey, SessionId};
use longshore_ecs_api::Operation;
use longshore_model::{
    Attribute, EniId, EniReport, HostFacts, InstanceId, Mac, NetworkHealth, NetworkState, NetworkStatus, Resources,
    TaskId, TaskReport, TaskStatus,
};
use longshore_store::MemoryStore;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A task, its host, and the address that it has there.
struct Member {
    host: usize,
    task: TaskId,
    address: Ipv4Addr,
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>().unwrap());
    let hosts = arguments.next().unwrap_or(300);
    let members = arguments.next().unwrap_or(10_000);
    let changes = arguments.next().unwrap_or(100);
    let mut config = CoreConfig::default();
    config.network.v4 = "10.64.0.0/12".parse().unwrap();
    let key = SealingKey::from_bytes(&[1; 32]);
    let store = Arc::new(MemoryStore::new());
    let (core, owner) = Core::open(config, store, key, FirstStart::default()).await.unwrap();
    tokio::spawn(owner.run(std::future::pending()));

    let sessions = join(&core, hosts).await;
    let members = place(&core, &sessions, members).await;
    println!("{hosts} hosts, one group with {} members", members.len());

    let mut told: Vec<NetworkView> = sessions.iter().map(|(id, _)| core.network_view(*id).unwrap()).collect();
    let mut held: Vec<NetworkState> = told.iter().map(NetworkView::state).collect();
    let (mut report, mut views, mut wholes) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..changes {
        let (member, attached) = (&members[n / 2 * 7 % members.len()], n % 2 == 1);
        let (instance, session) = sessions[member.host];
        let begin = Instant::now();
        core.agent_reports(instance, session, vec![running(member, 2 + n as u64, attached)]).await.unwrap();
        report.push(begin.elapsed());

        let begin = Instant::now();
        let mut updates = Vec::new();
        for ((id, _), told) in sessions.iter().zip(&mut told) {
            let now = core.network_view(*id).unwrap();
            updates.push(told.changes_to(&now));
            *told = now;
        }
        views.push(begin.elapsed());

        let begin = Instant::now();
        for ((told, held), update) in told.iter().zip(&mut held).zip(&updates) {
            let now = told.state();
            assert_eq!(held.changes_to(&now), *update);
            *held = now;
        }
        wholes.push(begin.elapsed());
        let moved = |update: &longshore_model::NetworkChanges| {
            update.members.values().map(|change| change.added.len() + change.removed.len()).sum::<usize>()
        };
        assert!(updates.iter().all(|update| moved(update) == 1), "each host hears of one address");
    }
    say("the report is durable", report);
    say("updates for all hosts, by views", views);
    say("updates for all hosts, by whole states", wholes);
}

fn say(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    println!("{what}: p50 {:.2?}, p99 {:.2?}", at(0.5), at(0.99));
}

async fn join(core: &Core, count: usize) -> Vec<(InstanceId, SessionId)> {
    call(core, Operation::CreateCluster, json!({})).await;
    let token = join_token(core).await;
    let mut sessions = Vec::new();
    for n in 0..count {
        sessions.push(calls::join(core, &token, || facts(n)).await);
    }
    for (instance, session) in &sessions {
        let applied = core.network_view(*instance).unwrap().generation;
        let status = NetworkStatus { health: NetworkHealth::Ready, applied, free_addresses: 200 };
        core.network_status(*instance, *session, status).await.unwrap();
    }
    sessions
}

/// Runs tasks spread over the hosts, and has each report its address.
async fn place(core: &Core, sessions: &[(InstanceId, SessionId)], count: usize) -> Vec<Member> {
    let app = json!({"name": "app", "image": "busybox", "cpu": 1, "memory": 8});
    let definition = json!({"family": "web", "networkMode": "awsvpc", "containerDefinitions": [app]});
    call(core, Operation::RegisterTaskDefinition, definition).await;
    let subnet = core.snapshot().network().unwrap().subnet.to_string();
    let request = json!({
        "taskDefinition": "web", "count": 10,
        "placementStrategy": [{"type": "spread", "field": "instanceId"}],
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": [subnet]}},
    });
    for _ in 0..count.div_ceil(10) {
        let answer = call(core, Operation::RunTask, request.clone()).await;
        assert_eq!(answer["failures"], json!([]), "{answer}");
    }
    let mut members = Vec::new();
    for (host, (instance, session)) in sessions.iter().enumerate() {
        let lease = core.network_view(*instance).unwrap().state().leases[0];
        let tasks = core.assignment(*instance).unwrap().1.into_keys().zip(lease.task_addresses());
        let placed: Vec<Member> = tasks.map(|(task, address)| Member { host, task, address }).collect();
        let reports = placed.iter().map(|member| running(member, 1, true)).collect();
        core.agent_reports(*instance, *session, reports).await.unwrap();
        members.extend(placed);
    }
    members
}

fn facts(n: usize) -> HostFacts {
    let api = (17..30).map(|n| format!("com.amazonaws.ecs.capability.docker-remote-api.1.{n}"));
    let names = api.chain(["ecs.capability.task-eni".to_owned()]);
    HostFacts {
        hostname: format!("host-{n}"),
        resources: Resources { cpu_units: 8192, memory_mib: 65_536, ..Resources::default() },
        attributes: names.map(|name| Attribute { name, value: None }).collect(),
        underlay: Some(IpAddr::V4(Ipv4Addr::from(0xc0a8_0000 + u32::try_from(n).unwrap()))),
        ..HostFacts::default()
    }
}

fn running(member: &Member, version: u64, attached: bool) -> TaskReport {
    let id: EniId = format!("eni-{}", &member.task.to_string()[..17]).parse().unwrap();
    let eni = EniReport { id, mac: Mac::of_task(member.address), ipv4: member.address, ipv6: None, attached };
    TaskReport { eni: Some(eni), ..TaskReport::new(member.task, version, TaskStatus::Running) }
}
