//! Tasks that come and go on a host that has not room for all of them.
//!
//! Checked all the time: no more memory is given than the host has, no GPU and no port twice; what fits starts, unless
//! an older task has waited for long and needs the same. Checked at the end: everybody got a turn, however the others
//! came, within the time that those before it took.

use longshore_model::{Protocol, TaskId, Timestamp};
use longshore_plan::room::{Asking, Demand, Lack, Room};
use longshore_plan::{Policy, PortClaims, PortKey};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const OFFERED: u64 = 8;

#[derive(Debug, Clone)]
struct Job {
    /// Seconds after the one before it.
    after: i64,
    lasts: i64,
    demand: Demand,
}

fn job() -> impl Strategy<Value = Job> {
    let size = prop_oneof![6 => 0..=2u64, 1 => 3..=OFFERED];
    let gpus = proptest::collection::btree_set(0..3u8, 0..2);
    let ports = proptest::collection::btree_set(80..83u16, 0..2);
    (0..4i64, 1..20i64, size, gpus, ports).prop_map(|(after, lasts, memory_mib, gpus, ports)| Job {
        after,
        lasts,
        demand: Demand {
            memory_mib,
            gpus: gpus.into_iter().map(|n| format!("gpu{n}")).collect(),
            ports: ports.into_iter().map(|port| PortKey { protocol: Protocol::Tcp, port }).collect(),
        },
    })
}

fn id(n: usize) -> TaskId {
    TaskId::from_bytes(u128::try_from(n + 1).expect("few").to_be_bytes())
}

fn check_room(held: &BTreeMap<usize, (i64, Demand)>) {
    let (mut gpus, mut ports) = (BTreeSet::new(), BTreeSet::new());
    assert!(held.values().map(|(_, d)| d.memory_mib).sum::<u64>() <= OFFERED, "too much is given: {held:?}");
    for (_, demand) in held.values() {
        assert!(demand.gpus.iter().all(|gpu| gpus.insert(gpu.clone())), "a GPU is given twice: {held:?}");
        assert!(demand.ports.iter().all(|port| ports.insert(*port)), "a port is given twice: {held:?}");
    }
}

proptest! {
    #[test]
    fn nothing_is_given_twice_what_fits_starts_and_nobody_waits_for_ever(
        jobs in proptest::collection::vec(job(), 1..60),
    ) {
        let policy = Policy::default();
        let patience = i64::try_from(policy.patience.as_secs()).expect("short");
        let (claims, mut room) = (PortClaims::default(), Room::default());
        room.offer(Some(OFFERED));
        let mut arrivals = Vec::new();
        jobs.iter().fold(0, |now, job| { arrivals.push(now + job.after); now + job.after });
        let (mut held, mut waits): (BTreeMap<usize, (i64, Demand)>, BTreeMap<usize, i64>) = Default::default();
        let mut began: BTreeMap<usize, i64> = BTreeMap::new();
        let mut now = 0;
        while began.len() < jobs.len() {
            prop_assert!(now < 10_000, "somebody waits for ever: {waits:?} behind {held:?}");
            let over: Vec<usize> = held.iter().filter(|(_, (end, _))| *end <= now).map(|(n, _)| *n).collect();
            for n in over {
                held.remove(&n);
                room.leave(id(n));
            }
            let at = |secs: i64| Timestamp::from_millis(secs * 1000);
            for n in 0..jobs.len() {
                if arrivals[n] > now || began.contains_key(&n) {
                    continue;
                }
                let demand = &jobs[n].demand;
                let asking = Asking { task: id(n), accepted_at: at(arrivals[n]), demand };
                match room.ask(&asking, &claims, &policy, at(now)) {
                    Ok(()) => {
                        began.insert(n, now);
                        waits.remove(&n);
                        held.insert(n, (now + jobs[n].lasts, demand.clone()));
                        room.hold(id(n), demand.clone(), None);
                    }
                    Err(lack) => {
                        let since = *waits.entry(n).or_insert(now);
                        room.wait(&asking, at(since));
                        let used: u64 = held.values().map(|(_, d)| d.memory_mib).sum();
                        let fits = demand.memory_mib <= OFFERED - used
                            && held.values().all(|(_, d)| d.gpus.is_disjoint(&demand.gpus))
                            && held.values().all(|(_, d)| d.ports.is_disjoint(&demand.ports));
                        match lack {
                            Lack::Held { .. } => prop_assert!(!fits, "{n} fits and does not start"),
                            Lack::Behind { since, .. } => {
                                prop_assert!(fits && now - since.millis() / 1000 >= patience, "{n} is held up");
                            }
                            Lack::TooLarge { .. } | Lack::Unknown => prop_assert!(false, "{lack}"),
                        }
                    }
                }
                check_room(&held);
            }
            now += 1;
        }
        // From when it has a claim, a task waits only for those that had begun or were there before it.
        for (n, began_at) in &began {
            let earlier = (0..jobs.len()).filter(|m| arrivals[*m] <= arrivals[*n] + patience);
            let before: i64 = earlier.map(|m| jobs[m].lasts).sum();
            prop_assert!(began_at - arrivals[*n] <= patience + before + 1, "{n} waited for {} s",
                began_at - arrivals[*n]);
        }
    }
}
