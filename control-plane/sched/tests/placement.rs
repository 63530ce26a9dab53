//! Placement compared with a plain, slow telling of the rules, over random hosts and requests.
//!
//! The telling here keeps a list of tasks for each host and adds it up anew for every question, so it shares
//! neither the bookkeeping nor the search with what it checks.

use longshore_model::{Attribute, DiskStatus, InstanceId, Protocol, Timestamp};
use longshore_sched::{
    Attributes, Claim, Constraint, Disk, Expression, Held, Host, HostStatus, Kept, Offer, Outcome, Packed, PortHolder,
    Reason, Request, SpreadOver, Strategy as Preference, Usage, check_on, explain, fits, place, place_by_draw,
};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug, Clone)]
struct Task {
    claim: Claim,
    gpu_ids: Vec<String>,
    group: String,
}

/// A host and its tasks.
#[derive(Debug, Clone)]
struct Told {
    host: Host,
    tasks: Vec<Task>,
}

impl Told {
    fn free(&self, total: u32, of: impl Fn(&Claim) -> u32) -> u64 {
        let held: u64 = self.tasks.iter().map(|task| u64::from(of(&task.claim))).sum();
        u64::from(total).saturating_sub(held)
    }

    fn free_cpu(&self) -> u64 {
        self.free(self.host.offer.cpu_units, |claim| claim.cpu_units)
    }

    fn free_memory(&self) -> u64 {
        self.free(self.host.offer.memory_mib, |claim| claim.memory_mib)
    }

    fn in_group(&self, group: &str) -> u64 {
        self.tasks.iter().filter(|task| task.group == group).count() as u64
    }

    /// Those that are not about to go.
    fn stay(&self, request: &Request) -> u64 {
        self.in_group(&request.group) - u64::from(request.leaving.get(&self.host.id).copied().unwrap_or(0))
    }

    fn free_gpus(&self) -> usize {
        let held: BTreeSet<_> = self.tasks.iter().flat_map(|task| &task.gpu_ids).collect();
        self.host.offer.gpu_ids.iter().filter(|id| !held.contains(id)).count()
    }

    fn value(&self, name: &str) -> Option<Option<String>> {
        self.host.offer.attributes.iter().find(|a| a.name == name).map(|a| a.value.clone())
    }

    fn add(&mut self, request: &Request, gpu_ids: Vec<String>) {
        self.tasks.push(Task { claim: request.claim.clone(), gpu_ids, group: request.group.clone() });
    }

    /// The host with its usage, as a caller keeps it.
    fn kept(&self) -> Host {
        let mut host = self.host.clone();
        for task in &self.tasks {
            host.usage.take(Held { claim: &task.claim, gpu_ids: &task.gpu_ids, group: &task.group });
        }
        host
    }

    /// What stays free for others, of one resource.
    fn keeps(&self, request: &Request, of: impl Fn(&Claim) -> u32) -> u64 {
        let Offer { cpu_units, memory_mib, disk_mib, reserved_tcp, reserved_udp, gpu_ids, .. } = &*self.host.offer;
        let (there, lacking): (Vec<&Kept>, Vec<&Kept>) =
            request.kept.iter().partition(|kept| self.in_group(&kept.group) > 0);
        let is_kept = |kept: &Kept| {
            let has = |required: &Attribute| {
                let found = self.host.offer.attributes.iter().find(|a| a.name == required.name);
                found.is_some_and(|found| required.value.is_none() || required.value == found.value)
            };
            let holds = |constraint: &Constraint| match constraint {
                Constraint::MemberOf(expression) => expression.matches(&self.kept()),
                Constraint::DistinctInstance => true,
            };
            !kept.claim.tcp.iter().any(|port| reserved_tcp.contains(port))
                && !kept.claim.udp.iter().any(|port| reserved_udp.contains(port))
                && kept.required.iter().all(has)
                && kept.constraints.iter().all(holds)
        };
        let mut together = there.clone();
        for kept in lacking.into_iter().filter(|kept| is_kept(kept)) {
            let sum = |of: fn(&Claim) -> u32| together.iter().map(|k| of(&k.claim)).sum::<u32>() + of(&kept.claim);
            let shares = |ports: fn(&Claim) -> &[u16]| {
                let has = |other: &&Kept, port| ports(&other.claim).contains(port);
                ports(&kept.claim).iter().any(|port| together.iter().any(|other| has(other, port)))
            };
            let interfaces = sum(|claim| claim.interfaces);
            if sum(|claim| claim.cpu_units) <= *cpu_units
                && sum(|claim| claim.memory_mib) <= *memory_mib
                && sum(|claim| claim.disk_mib) <= *disk_mib
                && sum(|claim| claim.gpus) as usize <= gpu_ids.len()
                && (self.host.interfaces == 0 || interfaces <= self.host.interfaces)
                && !shares(|claim| &claim.tcp)
                && !shares(|claim| &claim.udp)
            {
                together.push(kept);
            }
        }
        together[there.len()..].iter().map(|kept| u64::from(of(&kept.claim))).sum()
    }

    /// Why the next task of `request` cannot go here, as the text of ECS.
    fn reason(&self, request: &Request) -> Option<&'static str> {
        let host = &self.host;
        let claim = &request.claim;
        if host.status != HostStatus::Active {
            return Some(host.status.as_str());
        }
        if !host.connected {
            return Some("AGENT");
        }
        for required in &request.required {
            match self.value(&required.name) {
                Some(value) if required.value.is_none() || value == required.value => {}
                Some(_) | None => return Some("ATTRIBUTE"),
            }
        }
        for constraint in &request.constraints {
            if let Constraint::MemberOf(expression) = constraint
                && !expression.matches(&self.kept())
            {
                return Some("MemberOf placement constraint unsatisfied.");
            }
        }
        if request.constraints.contains(&Constraint::DistinctInstance) && self.in_group(&request.group) > 0 {
            return Some("DistinctInstance placement constraint unsatisfied.");
        }
        let lacks =
            |free: u64, of: fn(&Claim) -> u32| of(claim) > 0 && free < u64::from(of(claim)) + self.keeps(request, of);
        if lacks(self.free_cpu(), |claim| claim.cpu_units) {
            return Some("RESOURCE:CPU");
        }
        if lacks(self.free_memory(), |claim| claim.memory_mib) {
            return Some("RESOURCE:MEMORY");
        }
        if self.free(host.offer.disk_mib, |claim| claim.disk_mib) < claim.disk_mib.into() {
            return Some("RESOURCE:DISK");
        }
        let taken = |port: &u16, ports: fn(&Claim) -> &Vec<u16>, reserved: &BTreeSet<u16>| {
            reserved.contains(port) || self.tasks.iter().any(|task| ports(&task.claim).contains(port))
        };
        if claim.tcp.iter().any(|port| taken(port, |claim| &claim.tcp, &host.offer.reserved_tcp))
            || claim.udp.iter().any(|port| taken(port, |claim| &claim.udp, &host.offer.reserved_udp))
        {
            return Some("RESOURCE:PORTS");
        }
        if self.free_gpus() < claim.gpus as usize {
            return Some("RESOURCE:GPU");
        }
        let free = self.free(host.interfaces, |claim| claim.interfaces);
        lacks(free, |claim| claim.interfaces).then_some("RESOURCE:ENI")
    }
}

/// The numbers by which the strategies compare host `index`.
fn numbers(all: &[Told], index: usize, request: &Request) -> Vec<u64> {
    let told = &all[index];
    let until = request.strategies.iter().position(|s| *s == Preference::Random).unwrap_or(request.strategies.len());
    let mut numbers: Vec<u64> = request.strategies[..until]
        .iter()
        .map(|strategy| match strategy {
            Preference::Random => 0,
            Preference::Spread(SpreadOver::Instance) => told.stay(request),
            Preference::Spread(SpreadOver::Attribute(name)) => {
                let value = told.value(name).flatten();
                all.iter().filter(|o| o.value(name).flatten() == value).map(|o| o.stay(request)).sum()
            }
            Preference::BinPack(Packed::Cpu) => told.free_cpu(),
            Preference::BinPack(Packed::Memory) => told.free_memory(),
        })
        .collect();
    if request.strategies[..until].iter().any(|strategy| matches!(strategy, Preference::BinPack(_))) {
        numbers.push(u64::from(told.tasks.is_empty()));
    }
    numbers
}

fn claims() -> impl Strategy<Value = Claim> {
    let ports = || proptest::collection::btree_set(prop_oneof![Just(80), Just(22), 8000..8004_u16], 0..3);
    let seldom = || prop_oneof![6 => Just(0), 1 => 1..3_u32];
    (0..5_u32, 0..5_u32, ports(), ports(), seldom(), seldom(), seldom()).prop_map(
        |(cpu, memory, tcp, udp, gpus, interfaces, disk)| Claim {
            cpu_units: cpu * 256,
            memory_mib: memory * 100,
            tcp: tcp.into_iter().collect(),
            udp: udp.into_iter().collect(),
            gpus,
            interfaces,
            disk_mib: disk * 1024,
        },
    )
}

fn small_claims() -> impl Strategy<Value = Claim> {
    (0..3_u32, 0..3_u32).prop_map(|(cpu, memory)| Claim {
        cpu_units: cpu * 128,
        memory_mib: memory * 64,
        ..Claim::default()
    })
}

fn groups() -> impl Strategy<Value = String> {
    prop_oneof![Just("service:a".to_owned()), Just("service:b".to_owned()), Just("family:c".to_owned())]
}

/// Status, connected, sizes, attributes, tasks with their groups.
type RawHost = (HostStatus, bool, (u32, u32, usize), (Option<&'static str>, Option<()>), Vec<(Claim, String)>);

fn hosts() -> impl Strategy<Value = Vec<Told>> {
    let status =
        prop_oneof![8 => Just(HostStatus::Active), 1 => Just(HostStatus::Draining), 1 => Just(HostStatus::Inactive)];
    let attributes = (
        proptest::option::weighted(0.9, prop_oneof![Just("z1"), Just("z2"), Just("z3")]),
        proptest::option::weighted(0.8, Just(())),
    );
    let task = (claims(), groups());
    let host = (
        status,
        proptest::bool::weighted(0.9),
        (1..9_u32, 1..9_u32, 0..3_usize),
        attributes,
        proptest::collection::vec(task, 0..5),
    );
    proptest::collection::vec(host, 0..14).prop_map(|hosts| {
        let one = |(n, raw): (usize, RawHost)| {
            let (status, connected, (cpu, memory, gpus), (zone, ssd), tasks) = raw;
            let mut attributes = Vec::new();
            attributes.extend(zone.map(|zone| Attribute { name: "zone".into(), value: Some(zone.to_owned()) }));
            attributes.extend(ssd.map(|()| Attribute { name: "ssd".into(), value: None }));
            let offer = Offer {
                cpu_units: cpu * 512,
                memory_mib: memory * 256,
                reserved_tcp: [22].into(),
                gpu_ids: (0..gpus).map(|gpu| format!("GPU-{gpu}")).collect(),
                attributes: attributes.into_iter().collect::<Attributes>().into(),
                registered_at: Timestamp::from_millis(0),
                disk_mib: 3000,
                ..Offer::default()
            };
            let host = Host {
                id: InstanceId::from_bytes([n as u8 + 1; 16]),
                status,
                connected,
                offer: Arc::new(offer),
                usage: Usage::default(),
                running_tasks: tasks.len() as u32,
                pending_tasks: 0,
                interfaces: n as u32 % 4,
                disk: None,
            };
            let mut told = Told { host, tasks: Vec::new() };
            // Some hosts hold more than they offer, as after registering anew with less.
            for (claim, group) in tasks {
                let gpu_ids = told.host.offer.gpu_ids.iter().take(claim.gpus as usize).cloned().collect();
                told.tasks.push(Task { claim, gpu_ids, group });
            }
            told
        };
        hosts.into_iter().enumerate().map(one).collect()
    })
}

fn requests() -> impl Strategy<Value = Request> {
    let member = prop_oneof![
        Just("attribute:zone in [z1, z2]"),
        Just("not (task:group == service:b)"),
        Just("task:group == service:a or runningTasksCount == 0"),
        Just("attribute:ssd exists and agentConnected == true"),
    ];
    let constraint = prop_oneof![
        Just(Constraint::DistinctInstance),
        member.prop_map(|text| Constraint::MemberOf(Expression::parse(text).expect("parses"))),
    ];
    let strategy = prop_oneof![
        Just(Preference::Random),
        Just(Preference::Spread(SpreadOver::Instance)),
        Just(Preference::Spread(SpreadOver::Attribute("zone".into()))),
        Just(Preference::BinPack(Packed::Cpu)),
        Just(Preference::BinPack(Packed::Memory)),
    ];
    let required = prop_oneof![
        Just(Attribute { name: "zone".into(), value: None }),
        Just(Attribute { name: "zone".into(), value: Some("z1".into()) }),
        Just(Attribute { name: "ssd".into(), value: None }),
    ];
    let required = || proptest::collection::vec(required.clone(), 0..2);
    let constraints = || proptest::collection::vec(constraint.clone(), 0..2);
    let kept = (groups(), prop_oneof![claims(), small_claims()], required(), constraints())
        .prop_map(|(group, claim, required, constraints)| Kept { group, claim, required, constraints });
    let kept = prop_oneof![1 => Just(Vec::new()), 1 => proptest::collection::vec(kept, 1..3)];
    (
        0..15_u32,
        prop_oneof![claims(), small_claims()],
        required(),
        constraints(),
        proptest::collection::vec(strategy, 0..4),
        groups(),
        kept,
        any::<u64>(),
    )
        .prop_map(|(count, claim, required, constraints, strategies, group, kept, seed)| Request {
            count,
            claim,
            required,
            constraints,
            strategies,
            group,
            leaving: BTreeMap::new(),
            kept: kept.into(),
            seed,
        })
}

/// Some of the group's tasks are about to go.
fn some_leave(all: &[Told], request: &mut Request) {
    let some = |told: &Told| (told.host.id, told.in_group(&request.group) as u32 / 2);
    let leaving = all.iter().map(some).filter(|(_, count)| *count > 0 && request.seed.is_multiple_of(2)).collect();
    request.leaving = leaving;
}

fn kept(all: &[Told]) -> Vec<Host> {
    all.iter().map(Told::kept).collect()
}

/// Checks an outcome step by step, and leaves `all` with the tasks that were placed.
fn follow(all: &mut [Told], request: &Request, outcome: &Outcome) {
    for (nth, placed) in outcome.placed.iter().enumerate() {
        let index = all.iter().position(|told| told.host.id == placed.instance).expect("a host that was given");
        assert_eq!(all[index].reason(request), None, "task {nth} on {index}");
        let chosen = numbers(all, index, request);
        for other in 0..all.len() {
            if all[other].reason(request).is_none() {
                let better = numbers(all, other, request);
                assert!(better >= chosen, "task {nth}: host {other} {better:?} is better than {index} {chosen:?}");
            }
        }
        let distinct: BTreeSet<_> = placed.gpu_ids.iter().collect();
        assert_eq!(distinct.len(), request.claim.gpus as usize, "task {nth}: GPUs given");
        for id in &placed.gpu_ids {
            assert!(all[index].host.offer.gpu_ids.contains(id), "task {nth}: {id} is of another host");
            assert!(!all[index].tasks.iter().any(|task| task.gpu_ids.contains(id)), "task {nth}: {id} given twice");
        }
        all[index].add(request, placed.gpu_ids.clone());
    }
}

#[test]
fn a_host_that_lacks_what_it_should_have_keeps_room_for_it() {
    let mut hosts = equal(1);
    let group = "service:daemon".to_owned();
    let claim = Claim { memory_mib: 100, ..Claim::default() };
    let mut request = request(3, 0);
    request.claim = Claim { memory_mib: 500, ..Claim::default() };
    let kept = |claim: &Claim, zone: &str| Kept {
        group: group.clone(),
        claim: claim.clone(),
        required: vec![Attribute { name: "zone".into(), value: Some(zone.to_owned()) }],
        constraints: Vec::new(),
    };
    assert_eq!(place(&hosts, &request).placed.len(), 2);
    request.kept = [kept(&claim, "z0")].into();
    let outcome = place(&hosts, &request);
    assert_eq!(outcome.placed.len(), 1);
    let text = "needs 500 MiB of memory, has 524 of 1024 free, of which 100 are kept for DAEMON services";
    assert_eq!(outcome.passed_over[0].reason.to_string(), text);
    // It belongs elsewhere, or is too large for the host anyway.
    let never = [
        Claim { memory_mib: 1025, ..Claim::default() },
        Claim { gpus: 1, ..claim.clone() },
        Claim { tcp: vec![22], ..claim.clone() },
        Claim { disk_mib: 1, ..claim.clone() },
    ];
    for other in never.iter().map(|never| kept(never, "z0")).chain([kept(&claim, "z1")]) {
        request.kept = [other].into();
        assert_eq!(place(&hosts, &request).placed.len(), 2);
    }
    // Beside another one it does not fit, so room for one is kept.
    let half = Claim { memory_mib: 513, ..Claim::default() };
    let other = Kept { group: "service:other".to_owned(), ..kept(&half, "z0") };
    request.kept = [kept(&half, "z0"), other].into();
    assert_eq!(place(&hosts, &request).placed.len(), 1);
    // Nor beside one that has its port already.
    let port = Claim { tcp: vec![9100], ..claim.clone() };
    let there = Kept { group: "service:there".to_owned(), ..kept(&port, "z0") };
    let mut beside = hosts.clone();
    beside[0].usage.take(Held { claim: &port, gpu_ids: &[], group: &there.group });
    request.kept = [there, kept(&port, "z0")].into();
    // 1024 - 100 - 500 leave 424.
    request.claim.memory_mib = 400;
    assert_eq!(place(&beside, &request).placed.len(), 2);
    request.claim.memory_mib = 500;
    // An interface that it cannot give yet is no reason to give its memory away.
    let wired = Claim { interfaces: 1, ..claim.clone() };
    request.kept = [kept(&wired, "z0")].into();
    assert_eq!(place(&hosts, &request).placed.len(), 1);
    // It is there.
    request.kept = [kept(&claim, "z0")].into();
    hosts[0].usage.take(Held { claim: &Claim::default(), gpu_ids: &[], group: &group });
    assert_eq!(place(&hosts, &request).placed.len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_choice_is_allowed_and_the_best(mut all in hosts(), mut request in requests()) {
        some_leave(&all, &mut request);
        let hosts = kept(&all);
        let outcome = place(&hosts, &request);
        prop_assert_eq!(&place(&hosts, &request), &outcome, "the same again");
        prop_assert_eq!(outcome.placed.len() as u32 + outcome.unplaced, request.count);
        follow(&mut all, &request, &outcome);
        // Whoever is left over was refused by every host, and each says why.
        if outcome.unplaced == 0 {
            prop_assert!(outcome.passed_over.is_empty());
        } else {
            let over = outcome.passed_over.iter();
            let given: Vec<_> = over.map(|over| (over.instance, Some(over.reason.text()))).collect();
            let wanted: Vec<_> = all.iter().map(|told| (told.host.id, told.reason(&request))).collect();
            prop_assert_eq!(given, wanted);
        }
    }

    #[test]
    fn what_is_drawn_is_what_a_look_at_all_draws(all in hosts(), request in requests()) {
        let hosts = kept(&all);
        let drawn = place_by_draw(hosts.len(), |nth| hosts.get(nth), &request);
        let prefers = request.strategies.first().is_some_and(|first| *first != Preference::Random);
        match drawn {
            // It draws until the first task for which none of a few hosts has room.
            Some(drawn) => {
                prop_assert!(!prefers);
                prop_assert_eq!(drawn, place(&hosts, &request).placed);
            }
            None => prop_assert!(prefers || request.count > 0),
        }
    }

    #[test]
    fn one_host_is_judged_as_in_a_crowd(all in hosts(), request in requests()) {
        let hosts = kept(&all);
        let over = explain(&hosts, &request).into_iter();
        let over: BTreeMap<_, _> = over.map(|over| (over.instance, over.reason)).collect();
        for (told, host) in all.iter().zip(&hosts) {
            let reason = told.reason(&request);
            let checked = check_on(host, &request);
            prop_assert_eq!(checked.as_ref().err(), over.get(&host.id));
            prop_assert_eq!(checked.as_ref().err().map(Reason::text), reason);
            match &checked {
                Ok(placed) => prop_assert_eq!(placed.gpu_ids.len(), request.claim.gpus as usize),
                // Room and constraints are apart: what has room may still be refused, never the other way round.
                Err(reason) => match reason {
                    Reason::Attribute { .. } | Reason::MemberOf { .. } | Reason::DistinctInstance { .. } => {}
                    Reason::Status(_)
                    | Reason::Disconnected
                    | Reason::Cpu(_)
                    | Reason::Memory(_)
                    | Reason::DiskShort(_)
                    | Reason::Disk(_)
                    | Reason::Port { .. }
                    | Reason::Gpu(_)
                    | Reason::Interface(_) => {
                        if request.kept.is_empty() {
                            prop_assert_eq!(fits(host, &request.claim).err(), checked.err());
                        }
                    }
                },
            }
        }
    }

    #[test]
    fn what_is_released_is_as_if_it_had_never_been_taken(all in hosts(), order in any::<u64>()) {
        for told in &all {
            let mut usage = told.kept().usage;
            let mut left = told.tasks.clone();
            let mut order = order;
            while !left.is_empty() {
                let task = left.remove((order % left.len() as u64) as usize);
                order /= 3;
                usage.release(Held { claim: &task.claim, gpu_ids: &task.gpu_ids, group: &task.group });
                let rest = Told { host: told.host.clone(), tasks: left.clone() };
                prop_assert_eq!(&usage, &rest.kept().usage);
            }
            prop_assert!(usage.is_empty());
        }
    }

    #[test]
    fn equal_hosts_are_filled_evenly_by_spread(hosts in 1..12_usize, count in 0..40_u32, seed in any::<u64>()) {
        let all = equal(hosts);
        let mut request = request(count, seed);
        request.strategies = vec![
            Preference::Spread(SpreadOver::Attribute("zone".into())),
            Preference::Spread(SpreadOver::Instance),
        ];
        let outcome = place(&all, &request);
        prop_assert_eq!(outcome.placed.len() as u32, count);
        let mut per_host = BTreeMap::new();
        let mut per_zone: BTreeMap<String, u32> = BTreeMap::new();
        for host in &all {
            let tasks = outcome.placed.iter().filter(|placed| placed.instance == host.id).count() as u32;
            let zone = host.offer.attributes.get("zone").and_then(|zone| zone.value.clone()).expect("a zone");
            *per_zone.entry(zone.clone()).or_default() += tasks;
            per_host.entry(zone).or_insert_with(Vec::new).push(tasks);
        }
        let even = |counts: Vec<u32>| counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0) <= 1;
        prop_assert!(even(per_zone.values().copied().collect()), "{:?}", per_zone);
        prop_assert!(per_host.values().all(|counts| even(counts.clone())), "{:?}", per_host);
    }

    /// Among equal hosts, binpack opens a new one only when the task fits on none in use.
    #[test]
    fn binpack_fills_a_host_before_it_opens_the_next(
        count in 0..40_u32,
        cpu in 0..4_u32,
        memory in 1..4_u32,
        packed in prop_oneof![Just(Packed::Cpu), Just(Packed::Memory)],
        seed in any::<u64>(),
    ) {
        let all = equal(20);
        let mut request = request(count, seed);
        request.claim = Claim { cpu_units: cpu * 300, memory_mib: memory * 300, ..Claim::default() };
        request.strategies = vec![Preference::BinPack(packed)];
        let outcome = place(&all, &request);
        let mut used: BTreeMap<InstanceId, u32> = BTreeMap::new();
        let most = (1024 / (memory * 300)).min(if cpu == 0 { u32::MAX } else { 2048 / (cpu * 300) });
        for placed in &outcome.placed {
            if !used.contains_key(&placed.instance) {
                prop_assert!(used.values().all(|tasks| *tasks == most), "{:?} of {}", used, most);
            }
            *used.entry(placed.instance).or_default() += 1;
        }
        prop_assert_eq!(outcome.placed.len() as u32, count.min(most * 20));
    }
}

/// Equal hosts in three zones.
fn equal(hosts: usize) -> Vec<Host> {
    (0..hosts)
        .map(|n| Host {
            id: InstanceId::from_bytes([n as u8 + 1; 16]),
            status: HostStatus::Active,
            connected: true,
            offer: Arc::new(Offer {
                cpu_units: 2048,
                memory_mib: 1024,
                reserved_tcp: [22].into(),
                attributes: [Attribute { name: "zone".into(), value: Some(format!("z{}", n % 3)) }]
                    .into_iter()
                    .collect::<Attributes>()
                    .into(),
                ..Offer::default()
            }),
            usage: Usage::default(),
            running_tasks: 0,
            pending_tasks: 0,
            interfaces: 0,
            disk: None,
        })
        .collect()
}

fn request(count: u32, seed: u64) -> Request {
    Request {
        count,
        claim: Claim::default(),
        required: Vec::new(),
        constraints: Vec::new(),
        strategies: Vec::new(),
        group: "family:web".to_owned(),
        leaving: BTreeMap::new(),
        kept: Arc::default(),
        seed,
    }
}

#[test]
fn two_tasks_with_one_fixed_port_take_two_hosts() {
    let all = equal(3);
    let mut request = request(5, 1);
    request.claim.udp = vec![53];
    let outcome = place(&all, &request);
    let hosts: BTreeSet<_> = outcome.placed.iter().map(|placed| placed.instance).collect();
    assert_eq!((hosts.len(), outcome.unplaced), (3, 2));
    for over in outcome.passed_over {
        assert_eq!(over.reason, Reason::Port { protocol: Protocol::Udp, port: 53, holder: PortHolder::Task });
    }
}

#[test]
fn what_is_about_to_go_does_not_weigh_on_a_spread() {
    let mut all = equal(2);
    for host in &mut all[..1] {
        for _ in 0..4 {
            host.usage.take(Held { claim: &Claim::default(), gpu_ids: &[], group: "family:web" });
        }
    }
    let old = all[0].id;
    let mut request = request(4, 1);
    request.strategies = vec![Preference::Spread(SpreadOver::Instance)];
    let on_old = |request: &Request| place(&all, request).placed.iter().filter(|p| p.instance == old).count();
    assert_eq!(on_old(&request), 0, "the other host has fewer");
    request.leaving = BTreeMap::from([(old, 4)]);
    assert_eq!(on_old(&request), 2, "those that stay are even");
    request.strategies = vec![Preference::Spread(SpreadOver::Attribute("ecs.availability-zone".to_owned()))];
    assert_eq!(place(&all, &request).placed.len(), 4);
    request.constraints = vec![Constraint::DistinctInstance];
    assert_eq!(on_old(&request), 0, "they are there until they are gone");
}

#[test]
fn a_random_choice_reaches_every_host_that_fits_alike() {
    let mut all = equal(8);
    all[3].connected = false;
    let mut chosen: BTreeMap<InstanceId, u32> = BTreeMap::new();
    for seed in 0..7000 {
        for placed in place(&all, &request(1, seed)).placed {
            *chosen.entry(placed.instance).or_default() += 1;
        }
    }
    assert_eq!(chosen.len(), 7);
    assert!(chosen.values().all(|times| (850..1150).contains(times)), "{chosen:?}");
}

#[test]
fn reasons_carry_the_numbers() {
    let mut host = equal(1).remove(0);
    let held = Claim { cpu_units: 1920, memory_mib: 1000, tcp: vec![80], ..Claim::default() };
    host.usage.take(Held { claim: &held, gpu_ids: &[], group: "service:x" });
    let said = |change: &dyn Fn(&mut Request), host: &Host| {
        let mut request = request(1, 0);
        change(&mut request);
        let reason = check_on(host, &request).expect_err("refused");
        format!("{} | {reason}", reason.text())
    };
    let member = || Constraint::parse("memberOf", Some("attribute:zone==z9")).expect("parses");
    let value = |value: &str| Some(value.to_owned());
    type Change<'a> = &'a dyn Fn(&mut Request);
    let cases: [(Change<'_>, &str); 11] = [
        (&|r| r.claim.cpu_units = 512, "RESOURCE:CPU | needs 512 CPU units, has 128 of 2048 free"),
        (&|r| r.claim.memory_mib = 25, "RESOURCE:MEMORY | needs 25 MiB of memory, has 24 of 1024 free"),
        (&|r| r.claim.disk_mib = 1024, "RESOURCE:DISK | needs 1024 MiB of disk, has 0 of 0 free"),
        (&|r| r.claim.tcp = vec![81, 80], "RESOURCE:PORTS | needs tcp host port 80, which another task holds"),
        (&|r| r.claim.gpus = 1, "RESOURCE:GPU | needs 1 GPUs, has 0 of 0 free"),
        (&|r| r.claim.interfaces = 1, "RESOURCE:ENI | needs 1 network interfaces, has 0 of 0 free"),
        (
            &|r| r.required = vec![Attribute { name: "ecs.capability.x".into(), value: None }],
            "ATTRIBUTE | needs attribute ecs.capability.x, has none of this name",
        ),
        (
            &|r| r.required = vec![Attribute { name: "zone".into(), value: value("z7") }],
            "ATTRIBUTE | needs attribute zone with value z7, has z0",
        ),
        (
            &|r| r.constraints = vec![member()],
            "MemberOf placement constraint unsatisfied. | not a member of (attribute:zone == z9)",
        ),
        (
            &|r| {
                r.constraints = vec![Constraint::DistinctInstance];
                r.group = "service:x".into();
            },
            "DistinctInstance placement constraint unsatisfied. | already has a task of group service:x",
        ),
        (
            &|r| {
                r.claim.cpu_units = 4096;
                r.required = vec![Attribute { name: "other".into(), value: value("v") }];
            },
            "ATTRIBUTE | needs attribute other with value v, has no value for it",
        ),
    ];
    for (change, wanted) in cases {
        assert_eq!(said(change, &host), wanted);
    }
    host.connected = false;
    assert_eq!(said(&|_| {}, &host), "AGENT | the agent is not connected");
    host.status = HostStatus::Draining;
    assert_eq!(said(&|_| {}, &host), "DRAINING | the container instance is DRAINING and takes no new tasks");
}

#[test]
fn constraints_and_strategies_are_read_as_ecs_writes_them() {
    let strategy = |kind, field| Preference::parse(kind, field).map_err(|error| error.to_string());
    assert_eq!(strategy("random", None), Ok(Preference::Random));
    assert_eq!(strategy("spread", Some("instanceId")), Ok(Preference::Spread(SpreadOver::Instance)));
    assert_eq!(strategy("spread", Some("HOST")), Ok(Preference::Spread(SpreadOver::Instance)));
    let zone = Preference::Spread(SpreadOver::Attribute("ecs.availability-zone".into()));
    assert_eq!(strategy("spread", Some("attribute:ecs.availability-zone")), Ok(zone));
    assert_eq!(strategy("binpack", Some("MEMORY")), Ok(Preference::BinPack(Packed::Memory)));
    assert_eq!(strategy("binpack", Some("cpu")), Ok(Preference::BinPack(Packed::Cpu)));
    for (kind, field, wanted) in [
        ("binpack", None, "field: `` is not a field for binpack; it takes `cpu` or `memory`"),
        (
            "spread",
            Some("attribute:"),
            "field: `attribute:` is not a field for spread; it takes `instanceId`, `host` or",
        ),
        ("pack", None, "type: `pack` is none of `random`, `spread`, `binpack`"),
    ] {
        assert!(strategy(kind, field).expect_err("refused").starts_with(wanted), "{kind} {field:?}");
    }
    let constraint = |kind, text| Constraint::parse(kind, text).map_err(|error| error.to_string());
    assert_eq!(constraint("distinctInstance", None), Ok(Constraint::DistinctInstance));
    assert_eq!(constraint("distinctInstance", Some("")), Ok(Constraint::DistinctInstance));
    assert!(constraint("memberOf", Some("attribute:a exists")).is_ok());
    for (kind, text, wanted) in [
        ("distinctInstance", Some("attribute:a exists"), "expression: distinctInstance takes none"),
        ("memberOf", None, "expression: memberOf needs one"),
        ("memberOf", Some("attribute:a"), "expression: at character 12: expected an operator"),
        ("notIn", None, "type: `notIn` is none of `distinctInstance`, `memberOf`"),
    ] {
        assert!(constraint(kind, text).expect_err("refused").starts_with(wanted), "{kind} {text:?}");
    }
}

#[test]
fn few_hosts_that_qualify_are_found_among_many() {
    for (constraint, strategy) in [
        ("attribute:rack == r7", Preference::Spread(SpreadOver::Attribute("zone".into()))),
        ("attribute:rack == r7 and not (task:group == family:web)", Preference::BinPack(Packed::Memory)),
        ("attribute:rack == r7", Preference::Random),
    ] {
        let mut all: Vec<Told> = equal(250).into_iter().map(|host| Told { host, tasks: Vec::new() }).collect();
        for (n, told) in all.iter_mut().enumerate() {
            let rack = Attribute { name: "rack".into(), value: Some(format!("r{}", n % 40)) };
            let mut offer = Offer::clone(&told.host.offer);
            offer.attributes = Arc::new(offer.attributes.iter().cloned().chain([rack]).collect());
            told.host.offer = Arc::new(offer);
        }
        let mut request = request(20, 5);
        request.claim.memory_mib = 400;
        request.constraints = vec![Constraint::MemberOf(Expression::parse(constraint).expect("parses"))];
        request.strategies = vec![strategy];
        let outcome = place(&kept(&all), &request);
        let most = if constraint.contains("not") { 7 } else { 14 };
        assert_eq!((outcome.placed.len(), outcome.unplaced), (most, 20 - most as u32), "{constraint}");
        follow(&mut all, &request, &outcome);
        assert_eq!(outcome.passed_over.len(), 250);
    }
}

#[test]
fn disk_is_given_once_and_never_more_than_is_free() {
    let mut host = equal(1).remove(0);
    host.offer = Arc::new(Offer { disk_mib: 10_000, ..Offer::clone(&host.offer) });
    let mut request = request(20, 1);
    request.claim.disk_mib = 1024;
    let places = |host: &Host| place([host], &request).placed.len();
    assert_eq!(places(&host), 9, "nothing was said of what is free");
    let said = |free_mib: u32, short: Option<&str>, host: &Host| {
        let status = DiskStatus { free_mib, short: short.map(str::to_owned) };
        Disk::new(Arc::new(status), host.usage.disk_mib())
    };
    host.disk = Some(said(3000, None, &host));
    assert_eq!((places(&host), host.free_disk_mib()), (2, 3000));
    // What was taken since it was said is not free either, and what it held then was not counted as free.
    host.usage.take(Held { claim: &request.claim, gpu_ids: &[], group: "family:x" });
    assert_eq!((places(&host), host.free_disk_mib()), (1, 1976));
    host.disk = Some(said(3000, None, &host));
    assert_eq!(places(&host), 2);
    host.usage.release(Held { claim: &request.claim, gpu_ids: &[], group: "family:x" });
    assert_eq!(host.free_disk_mib(), 3000);
    // A host that is short takes nothing, whether or not a task reserves anything.
    host.disk = Some(said(3000, Some("it is full"), &host));
    let reason = check_on(&host, &self::request(1, 0)).expect_err("refused");
    assert_eq!((reason.text(), reason.to_string().as_str()), ("RESOURCE:DISK", "it is full"));
}

#[test]
fn no_gpu_is_given_twice() {
    let mut all: Vec<Told> = equal(2).into_iter().map(|host| Told { host, tasks: Vec::new() }).collect();
    for told in &mut all {
        let mut offer = Offer::clone(&told.host.offer);
        offer.gpu_ids = (0..5).map(|n| format!("GPU-{n}")).collect();
        told.host.offer = Arc::new(offer);
    }
    // In the middle, so that the free ones are not simply the last.
    all[0].tasks.push(Task {
        claim: Claim { gpus: 1, ..Claim::default() },
        gpu_ids: vec!["GPU-1".to_owned()],
        group: "family:x".to_owned(),
    });
    let mut request = request(6, 3);
    request.claim.gpus = 2;
    let outcome = place(&kept(&all), &request);
    assert_eq!((outcome.placed.len(), outcome.unplaced), (4, 2));
    follow(&mut all, &request, &outcome);
    let reasons: Vec<_> = outcome.passed_over.iter().map(|over| over.reason.to_string()).collect();
    assert_eq!(reasons, ["needs 2 GPUs, has 0 of 5 free", "needs 2 GPUs, has 1 of 5 free"]);
}
