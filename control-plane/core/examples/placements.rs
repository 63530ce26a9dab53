//! What a fleet costs the core: durable placements a second, latency, memory, and the time of a start.
//!
//! ```text
//! cargo run --release -p longshore-core --example placements -- [hosts] [tasks] [callers]
//! ```
//!
//! Hosts join and connect, callers run ten tasks a call until there are as many as asked for, agents report them
//! running, single decisions are timed over what there is then, and a new process opens the store again. The store is
//! the embedded one, in a temporary directory (`TMPDIR`). The last line is JSON, for `longshore-bench placements`.

// A measurement may end with a panic.
#![allow(clippy::unwrap_used)]

#[path = "support/calls.rs"]
mod calls;
#[path = "support/facts.rs"]
mod facts;

use calls::{call, join, join_token};
use facts::facts;
use longshore_core::{Core, CoreConfig, FirstStart, OwnerTask, SealingKey, SessionId};
use longshore_ecs_api::Operation;
use longshore_model::{InstanceId, TaskReport, TaskStatus};
use longshore_sched::{Claim, Request, SpreadOver, Strategy, place};
use longshore_store::EmbeddedStore;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[tokio::main]
async fn main() {
    if let Some(path) = std::env::args().nth(2).filter(|_| std::env::args().nth(1).as_deref() == Some("open")) {
        let begin = Instant::now();
        let (core, _owner) = open(path.as_ref()).await;
        let (found, took) = (core.snapshot().tasks_len(), begin.elapsed());
        println!("{} {found} {}", took.as_secs_f64(), memory_mib());
        return;
    }
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>().unwrap());
    let hosts = arguments.next().unwrap_or(5_000);
    let tasks = arguments.next().unwrap_or(100_000);
    let callers = arguments.next().unwrap_or(64);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    println!("{hosts} hosts, {tasks} tasks, {callers} callers; at start {} MiB", memory_mib());

    let (core, owner) = open(&path).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let owner = tokio::spawn(owner.run(async {
        drop(stopped.await);
    }));
    let cluster = json!({"clusterName": "default"});
    call(&core, Operation::CreateCluster, cluster).await;
    let app = json!({"name": "app", "image": "busybox", "cpu": 10, "memory": 16, "command": ["sleep", "1000"]});
    let definition = json!({"family": "web", "containerDefinitions": [app]});
    call(&core, Operation::RegisterTaskDefinition, definition).await;

    let begin = Instant::now();
    let joins = (0..hosts.div_ceil(1000)).map(|_| join_some(&core, hosts.min(1000)));
    let sessions: Vec<_> = futures::future::join_all(joins).await.into_iter().flatten().collect();
    println!("joined and connected {} hosts in {:.1?}, {} MiB", sessions.len(), begin.elapsed(), memory_mib());

    let (mut rates, mut calls) = (Vec::new(), Vec::new());
    for strategy in [json!([]), json!([{"type": "spread", "field": "instanceId"}])] {
        let begin = Instant::now();
        let latencies = run_tasks(&core, tasks / 2, callers, &strategy).await;
        let rate = (tasks / 2) as f64 / begin.elapsed().as_secs_f64();
        let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize];
        println!(
            "placed {} with strategy {strategy}: {rate:.0} tasks/s; a call of ten p50 {:.1?}, p99 {:.1?}; {} MiB",
            tasks / 2,
            at(0.5),
            at(0.99),
            memory_mib()
        );
        rates.push(rate);
        calls.push((at(0.5).as_secs_f64(), at(0.99).as_secs_f64()));
    }

    let begin = Instant::now();
    let reports = sessions.iter().map(|(instance, session)| {
        let tasks = core.assignment(*instance).unwrap().1.into_keys();
        let running = tasks.map(|task| TaskReport::new(task, 1, TaskStatus::Running)).collect();
        core.agent_reports(*instance, *session, running)
    });
    futures::future::join_all(reports).await.into_iter().for_each(|done| done.unwrap());
    println!("reported running in {:.1?}, {} MiB", begin.elapsed(), memory_mib());
    let memory = memory_mib();
    let decisions = decisions(&core);
    let at = |part: f64| decisions[((decisions.len() - 1) as f64 * part) as usize];
    println!("one decision over {hosts} hosts, spread over zones and hosts: p50 {:.1?}, p99 {:.1?}", at(0.5), at(0.99));
    let decision = (at(0.5).as_secs_f64(), at(0.99).as_secs_f64());

    drop(stop);
    owner.await.unwrap().unwrap();
    drop(core);
    let size = std::fs::metadata(&path).map_or(0, |data| data.len() >> 20);
    println!("the store has {size} MiB");
    let again = std::process::Command::new(std::env::current_exe().unwrap()).arg("open").arg(&path).output().unwrap();
    assert!(again.status.success(), "{again:?}");
    let again = String::from_utf8(again.stdout).unwrap();
    let mut again = again.split_whitespace();
    let mut next = || again.next().unwrap().parse::<f64>().unwrap();
    let (took, found, reopened_mib) = (next(), next(), next());
    println!("a new process opened it in {took:.2} s: {found} tasks, {reopened_mib} MiB");
    let result = json!({"hosts": hosts, "tasks": tasks, "random_per_second": rates[0], "spread_per_second": rates[1],
        "call_p50": calls[1].0, "call_p99": calls[1].1, "decision_p50": decision.0, "decision_p99": decision.1,
        "memory_mib": memory, "open_seconds": took, "opened_mib": reopened_mib});
    println!("{result}");
}

/// How long single decisions take over the hosts as they are, as a service's are made; in order.
fn decisions(core: &Core) -> Vec<Duration> {
    let state = core.snapshot();
    let hosts: Vec<_> = state.clusters().flat_map(|cluster| cluster.hosts.values()).collect();
    let zones = Strategy::Spread(SpreadOver::Attribute("ecs.availability-zone".to_owned()));
    let request = |seed| Request {
        count: 1,
        claim: Claim { cpu_units: 10, memory_mib: 16, ..Claim::default() },
        required: Vec::new(),
        constraints: Vec::new(),
        strategies: vec![zones.clone(), Strategy::Spread(SpreadOver::Instance)],
        group: "family:web".to_owned(),
        leaving: BTreeMap::new(),
        kept: Arc::default(),
        seed,
    };
    let decide = |seed| {
        let request = request(seed);
        let begin = Instant::now();
        let outcome = place(hosts.iter().map(|host| &host.view), &request);
        let took = begin.elapsed();
        assert_eq!(outcome.placed.len(), 1);
        took
    };
    let mut all: Vec<Duration> = (0..1000).map(decide).collect();
    all.sort();
    all
}

async fn open(path: &std::path::Path) -> (Core, OwnerTask) {
    // The store before may need a moment to let go of its file.
    let deadline = Instant::now() + Duration::from_secs(10);
    let store = loop {
        match EmbeddedStore::open(path).await {
            Ok(store) => break store,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let key = SealingKey::from_bytes(&[1; 32]);
    Core::open(CoreConfig::default(), Arc::new(store), key, FirstStart::default()).await.unwrap()
}

async fn join_some(core: &Core, count: usize) -> Vec<(InstanceId, SessionId)> {
    let token = &join_token(core).await;
    let joins = (0..count).map(|n| join(core, token, move || facts(n)));
    futures::future::join_all(joins).await
}

/// Latencies of the calls, in order.
async fn run_tasks(core: &Core, tasks: usize, callers: usize, strategy: &Value) -> Vec<Duration> {
    let left = Arc::new(AtomicUsize::new(tasks / 10));
    let request = json!({"taskDefinition": "web", "count": 10, "placementStrategy": strategy});
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let (core, left, request) = (core.clone(), Arc::clone(&left), request.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
                    let begin = Instant::now();
                    let answer = call(&core, Operation::RunTask, request.clone()).await;
                    assert_eq!(answer["failures"], json!([]), "{answer}");
                    latencies.push(begin.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut all: Vec<Duration> = Vec::new();
    for caller in callers {
        all.extend(caller.await.unwrap());
    }
    all.sort();
    all
}

/// Resident memory of this process.
fn memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
