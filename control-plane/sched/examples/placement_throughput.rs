//! Placements a second over a large cluster: `cargo run --release -p longshore-sched --example placement_throughput`.
//!
//! Counted in the processor time of this process, so that other work on the machine does not show much.

use longshore_model::{Attribute, InstanceId, Timestamp};
use longshore_sched::{
    Attributes, Claim, Constraint, Expression, Held, Host, HostStatus, Offer, Packed, Request, SpreadOver, Strategy,
    Usage, place,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const HOSTS: u32 = 10_000;
const TASKS: u32 = 10;

fn main() {
    let hosts: Vec<Host> = (0..HOSTS).map(host).collect();
    let zone = || Strategy::Spread(SpreadOver::Attribute("ecs.availability-zone".into()));
    let spread = vec![zone(), Strategy::Spread(SpreadOver::Instance)];
    let pack = vec![zone(), Strategy::BinPack(Packed::Memory)];
    let member = "attribute:ecs.instance-type =~ m5.* and not (task:group == service:svc-3)";
    let member = || vec![Constraint::MemberOf(Expression::parse(member).expect("the expression above parses"))];
    println!("{HOSTS} hosts, {} tasks on them", HOSTS * TASKS);
    for count in [1, 10, 1000] {
        measure("random", &hosts, request(count, Vec::new(), Vec::new()));
        measure("spread(zone), spread(instance)", &hosts, request(count, spread.clone(), Vec::new()));
        measure("spread(zone), binpack(memory)", &hosts, request(count, pack.clone(), Vec::new()));
        measure("memberOf, spread, spread", &hosts, request(count, spread.clone(), member()));
    }
    let mut none = request(10, spread, Vec::new());
    none.claim.memory_mib = 1 << 20;
    measure("fits nowhere (10,000 reasons)", &hosts, none);
}

fn measure(name: &str, hosts: &[Host], mut request: Request) {
    let begun = Instant::now();
    let cpu = cpu_seconds();
    let (mut calls, mut placed) = (0_u32, 0);
    while begun.elapsed() < Duration::from_secs(1) {
        request.seed = calls.into();
        placed += place(hosts, &request).placed.len();
        calls += 1;
    }
    let seconds = cpu_seconds() - cpu;
    println!(
        "{name:<32} {:>5} a call: {:>9.0} placements/s, {:>8.1} us a call",
        request.count,
        placed as f64 / seconds,
        seconds * 1e6 / f64::from(calls)
    );
}

fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says how long a thread ran");
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok());
    nanos.expect("the first number is the time on a processor") / 1e9
}

fn host(n: u32) -> Host {
    let capabilities =
        (0..40).map(|c| Attribute { name: format!("com.amazonaws.ecs.capability.number-{c}"), value: None });
    let values = [
        ("ecs.availability-zone", format!("zone-{}", n % 3)),
        ("ecs.instance-type", if n.is_multiple_of(2) { "m5.large" } else { "t3.large" }.to_owned()),
        ("ecs.os-type", "linux".to_owned()),
        ("rack", format!("rack-{}", n / 40)),
    ];
    let values = values.map(|(name, value)| Attribute { name: name.to_owned(), value: Some(value) });
    let mut usage = Usage::default();
    let claim = Claim { cpu_units: 128, memory_mib: 512, ..Claim::default() };
    for task in 0..TASKS {
        usage.take(Held { claim: &claim, gpu_ids: &[], group: &format!("service:svc-{}", (n + task * 7) % 50) });
    }
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    Host {
        id: InstanceId::from_bytes(id),
        status: HostStatus::Active,
        connected: true,
        offer: Arc::new(Offer {
            cpu_units: 16_384,
            memory_mib: 65_536,
            attributes: capabilities.chain(values).collect::<Attributes>().into(),
            hostname: format!("host-{n}"),
            agent_version: "0.1.0".to_owned(),
            registered_at: Timestamp::from_millis(0),
            ..Offer::default()
        }),
        usage,
        running_tasks: TASKS,
        pending_tasks: 0,
        interfaces: 0,
        disk: None,
    }
}

fn request(count: u32, strategies: Vec<Strategy>, constraints: Vec<Constraint>) -> Request {
    let required =
        [0, 7, 23].map(|c| Attribute { name: format!("com.amazonaws.ecs.capability.number-{c}"), value: None });
    Request {
        count,
        claim: Claim { cpu_units: 256, memory_mib: 512, tcp: vec![8080], ..Claim::default() },
        required: required.into(),
        constraints,
        strategies,
        group: "service:svc-1".to_owned(),
        leaving: BTreeMap::new(),
        kept: Arc::default(),
        seed: 0,
    }
}
