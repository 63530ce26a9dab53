//! Choosing hosts.
//!
//! What a call costs decides whether 10,000 hosts are fine, and it is nearly all waiting for memory. So nothing
//! of a host is copied unless a task was put on it in this call; a random choice probes single hosts before it
//! looks at all; a choice by preference looks at every host's numbers, but at attributes and constraints only of
//! those that are about to be chosen; and reasons are worked out only when they are asked for.

use crate::attributes::hash;
use crate::claim::Claim;
use crate::host::{GroupKey, Held, Host, HostStatus, Usage};
use crate::kept::{Keeps, KeptFor};
use crate::reason::{PortHolder, Reason, Shortage};
use crate::request::{Constraint, Packed, Request, SpreadOver, Strategy};
use longshore_model::{InstanceId, Protocol};
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;

/// A task's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The host.
    pub instance: InstanceId,
    /// The GPUs given to the task: as many as it claims, held by no other task.
    pub gpu_ids: Vec<String>,
}

/// A host and why a task could not go there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// The host.
    pub instance: InstanceId,
    /// Why.
    pub reason: Reason,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// One for each task that has a place, in the order in which they were chosen.
    pub placed: Vec<Placed>,
    /// How many tasks have none.
    pub unplaced: u32,
    /// When tasks have no place: every host, and why it cannot take one more (tasks are alike, so it is the
    /// same for all of them). Empty when all were placed.
    pub passed_over: Vec<PassedOver>,
}

/// Chooses a host for each task of `request`, each choice counting for the next.
pub fn place<'a>(hosts: impl IntoIterator<Item = &'a Host>, request: &'a Request) -> Outcome {
    let hosts: Vec<_> = hosts.into_iter().collect();
    let mut run = Run::new(hosts.len(), |number: usize| hosts.get(number).copied(), request);
    let mut outcome = Outcome::default();
    for nth in 0..request.count {
        match run.choose(nth) {
            Some((number, host)) => outcome.placed.push(run.take(number, host)),
            None => {
                outcome.unplaced = request.count - nth;
                outcome.passed_over = run.reasons();
                break;
            }
        }
    }
    outcome
}

/// Places all tasks of a request that prefers no host to another by drawing among `count` hosts, of which `host`
/// gives the nth, always the same, without looking at the others: as [`place`] does before it looks at all, but not
/// even a list of the hosts is needed. `None` when the request prefers hosts, or when no draw finds one with room:
/// that is for [`place`].
pub fn place_by_draw<'a>(
    count: usize,
    host: impl Fn(usize) -> Option<&'a Host>,
    request: &'a Request,
) -> Option<Vec<Placed>> {
    if !effective(&request.strategies).is_empty() {
        return None;
    }
    let mut run = Run::new(count, host, request);
    let mut all = Vec::new();
    for nth in 0..request.count {
        let (number, host) = run.draw(nth)?;
        all.push(run.take(number, host));
    }
    Some(all)
}

/// Whether one task of `request` can go to this host, and with which GPUs. `count` and `strategies` do not
/// matter here.
///
/// # Errors
/// The reason why it cannot.
pub fn check_on(host: &Host, request: &Request) -> Result<Placed, Reason> {
    let requirements = Requirements::new(request);
    requirements.check(host, &host.usage)?;
    Ok(Placed { instance: host.id, gpu_ids: free_gpus(host, &host.usage, request.claim.gpus) })
}

/// Whether the host takes tasks and has this much free now; constraints and attributes are not looked at.
///
/// # Errors
/// The reason why not.
pub fn fits(host: &Host, claim: &Claim) -> Result<(), Reason> {
    takes_tasks(host)?;
    has_room(host, &host.usage, claim, Keeps::default())
}

/// Every host that cannot take one task of `request`, and why.
pub fn explain<'a>(hosts: impl IntoIterator<Item = &'a Host>, request: &Request) -> Vec<PassedOver> {
    let requirements = Requirements::new(request);
    hosts
        .into_iter()
        .filter_map(|host| {
            let reason = requirements.check(host, &host.usage).err()?;
            Some(PassedOver { instance: host.id, reason })
        })
        .collect()
}

/// A request, prepared to be asked of many hosts.
struct Requirements<'a> {
    request: &'a Request,
    /// With the hashes of their names.
    required: Vec<(u64, &'a longshore_model::Attribute)>,
    distinct: bool,
    group: GroupKey,
    kept: Vec<KeptFor<'a>>,
}

impl<'a> Requirements<'a> {
    fn new(request: &'a Request) -> Self {
        Self {
            request,
            required: hashed(&request.required),
            distinct: request.constraints.iter().any(|constraint| match constraint {
                Constraint::DistinctInstance => true,
                Constraint::MemberOf(_) => false,
            }),
            group: GroupKey::new(&request.group),
            kept: request.kept.iter().map(KeptFor::new).collect(),
        }
    }

    /// What the host keeps for others.
    fn keeps(&self, host: &Host, usage: &Usage) -> Keeps {
        Keeps::of(&self.kept, host, usage)
    }

    /// Whether [`Requirements::check`] finds nothing.
    fn allow(&self, host: &Host, usage: &Usage) -> bool {
        self.allow_by_numbers(host, usage) && self.allow_by_names(host, usage)
    }

    /// The part of [`Requirements::allow`] that costs little.
    fn allow_by_numbers(&self, host: &Host, usage: &Usage) -> bool {
        takes_tasks(host).is_ok()
            && has_room(host, usage, &self.request.claim, Keeps::default()).is_ok()
            && !(self.distinct && self.in_group(usage) > 0)
    }

    /// The rest.
    fn allow_by_names(&self, host: &Host, usage: &Usage) -> bool {
        self.required.iter().all(|(hash, required)| meets(host, *hash, required))
            && members(&self.request.constraints).all(|expression| expression.matches_with(host, usage))
            && (self.kept.is_empty() || has_room(host, usage, &self.request.claim, self.keeps(host, usage)).is_ok())
    }

    /// Tasks of the request's group on a host.
    fn in_group(&self, usage: &Usage) -> u32 {
        usage.group_count_of(self.group)
    }

    /// As [`Self::in_group`], without those that are about to go.
    fn stay_in_group(&self, host: &Host, usage: &Usage) -> u32 {
        let leaving = self.request.leaving.get(&host.id).copied().unwrap_or(0);
        self.in_group(usage).saturating_sub(leaving)
    }

    /// The first reason against this host, in the order of [`Reason`].
    fn check(&self, host: &Host, usage: &Usage) -> Result<(), Reason> {
        takes_tasks(host)?;
        if let Some((_, required)) = self.required.iter().find(|(hash, required)| !meets(host, *hash, required)) {
            let found = host.offer.attributes.get(&required.name).and_then(|attribute| attribute.value.clone());
            return Err(Reason::Attribute { required: (*required).clone(), found });
        }
        let mut members = members(&self.request.constraints);
        if let Some(expression) = members.find(|expression| !expression.matches_with(host, usage)) {
            return Err(Reason::MemberOf { expression: expression.to_string().into() });
        }
        if self.distinct && self.in_group(usage) > 0 {
            return Err(Reason::DistinctInstance { group: self.request.group.as_str().into() });
        }
        has_room(host, usage, &self.request.claim, self.keeps(host, usage))
    }
}

pub(crate) fn members(constraints: &[Constraint]) -> impl Iterator<Item = &crate::query::Expression> {
    constraints.iter().filter_map(|constraint| match constraint {
        Constraint::MemberOf(expression) => Some(expression),
        Constraint::DistinctInstance => None,
    })
}

pub(crate) fn hashed(required: &[longshore_model::Attribute]) -> Vec<(u64, &longshore_model::Attribute)> {
    required.iter().map(|required| (hash(&required.name), required)).collect()
}

fn takes_tasks(host: &Host) -> Result<(), Reason> {
    match host.status {
        HostStatus::Active if host.connected => Ok(()),
        HostStatus::Active => Err(Reason::Disconnected),
        HostStatus::Draining | HostStatus::Inactive => Err(Reason::Status(host.status)),
    }
}

pub(crate) fn meets(host: &Host, hash: u64, required: &longshore_model::Attribute) -> bool {
    host.offer
        .attributes
        .get_hashed(hash, &required.name)
        .is_some_and(|found| required.value.is_none() || required.value == found.value)
}

fn has_room(host: &Host, usage: &Usage, claim: &Claim, keeps: Keeps) -> Result<(), Reason> {
    if let Some(shortage) = shortage(claim.cpu_units, host.offer.cpu_units, usage.cpu_units(), keeps.cpu_units) {
        return Err(Reason::Cpu(shortage));
    }
    if let Some(shortage) = shortage(claim.memory_mib, host.offer.memory_mib, usage.memory_mib(), keeps.memory_mib) {
        return Err(Reason::Memory(shortage));
    }
    disk_free(host, usage, claim)?;
    port_free(Protocol::Tcp, &claim.tcp, usage.tcp(), &host.offer.reserved_tcp)?;
    port_free(Protocol::Udp, &claim.udp, usage.udp(), &host.offer.reserved_udp)?;
    if claim.gpus > 0 {
        let total = host.offer.gpu_ids.len() as u64;
        let free = host.offer.gpu_ids.iter().filter(|id| usage.gpu_ids().binary_search(id).is_err()).count() as u64;
        if free < u64::from(claim.gpus) {
            return Err(Reason::Gpu(Shortage { needs: claim.gpus.into(), free, kept: 0, total }));
        }
    }
    if let Some(shortage) = shortage(claim.interfaces, host.interfaces, usage.interfaces(), keeps.interfaces) {
        return Err(Reason::Interface(shortage));
    }
    Ok(())
}

fn disk_free(host: &Host, usage: &Usage, claim: &Claim) -> Result<(), Reason> {
    if let Some(disk) = host.disk.as_ref().filter(|disk| disk.is_short()) {
        return Err(Reason::DiskShort(disk.status().clone()));
    }
    let (needs, free) = (u64::from(claim.disk_mib), host.free_disk_mib_with(usage));
    if needs > free {
        return Err(Reason::Disk(Shortage { needs, free, kept: 0, total: host.offer.disk_mib.into() }));
    }
    Ok(())
}

fn shortage(needs: u32, total: u32, held: u64, kept: u64) -> Option<Shortage> {
    let free = u64::from(total).saturating_sub(held);
    let left = free.saturating_sub(kept);
    (left < u64::from(needs)).then(|| Shortage { needs: needs.into(), free, kept, total: total.into() })
}

fn port_free(protocol: Protocol, ports: &[u16], held: &[u16], reserved: &BTreeSet<u16>) -> Result<(), Reason> {
    for &port in ports {
        if reserved.contains(&port) {
            return Err(Reason::Port { protocol, port, holder: PortHolder::Host });
        }
        if held.binary_search(&port).is_ok() {
            return Err(Reason::Port { protocol, port, holder: PortHolder::Task });
        }
    }
    Ok(())
}

fn free_gpus(host: &Host, usage: &Usage, count: u32) -> Vec<String> {
    let held = usage.gpu_ids();
    host.offer.gpu_ids.iter().filter(|id| held.binary_search(id).is_err()).take(count as usize).cloned().collect()
}

/// How often a random choice looks at a single host before it looks at all. If a quarter of the hosts fit, all
/// of them miss in one call of a hundred.
const PROBES: u64 = 16;

/// How many hosts may turn out to lack an attribute or to break a constraint, just when they are the best, before
/// all are asked for it at once: after that many the constraint is one that few hosts meet.
const MISSES: u32 = 32;

/// So many hosts are fetched from memory at once before they are looked at. All that is asked of one waits for its
/// memory; a look that only adds their numbers up waits for that of many together.
const BLOCK: usize = 32;

/// One call of [`place`] or [`place_by_draw`], among hosts that have the numbers below `count`.
struct Run<'a, H> {
    count: usize,
    /// The host of a number.
    host: H,
    requirements: Requirements<'a>,
    /// What tasks hold of the hosts that were given one in this call.
    changed: HashMap<usize, Usage>,
    /// Made when a choice first needs to look at every host.
    field: Option<Field>,
}

impl<'a, H: Fn(usize) -> Option<&'a Host>> Run<'a, H> {
    fn new(count: usize, host: H, request: &'a Request) -> Self {
        Self { count, host, requirements: Requirements::new(request), changed: HashMap::new(), field: None }
    }

    fn host(&self, number: usize) -> Option<&'a Host> {
        (self.host)(number)
    }

    fn hosts(&self) -> impl Iterator<Item = (usize, &'a Host)> {
        (0..self.count).filter_map(|number| Some((number, self.host(number)?)))
    }

    /// What tasks hold of a host now.
    fn usage<'b>(&'b self, number: usize, host: &'b Host) -> &'b Usage {
        self.changed.get(&number).unwrap_or(&host.usage)
    }

    fn allows(&self, number: usize, host: &Host) -> bool {
        self.requirements.allow(host, self.usage(number, host))
    }

    fn allows_by_names(&self, number: usize, host: &Host) -> bool {
        self.requirements.allow_by_names(host, self.usage(number, host))
    }

    fn randomness(&self, nth: u32) -> Draw {
        Draw { seed: self.requirements.request.seed, nth }
    }

    /// A host for the next task that one of a few draws hits, each looking at a single host.
    fn draw(&self, nth: u32) -> Option<(usize, &'a Host)> {
        let draw = self.randomness(nth);
        (0..PROBES).find_map(|probe| {
            let number = draw.below(probe, self.count)?;
            let host = self.host(number)?;
            self.allows(number, host).then_some((number, host))
        })
    }

    /// The best host for the next task.
    fn choose(&mut self, nth: u32) -> Option<(usize, &'a Host)> {
        let strategies = effective(&self.requirements.request.strategies);
        if strategies.is_empty() && self.field.is_none() {
            let drawn = self.draw(nth);
            if drawn.is_some() {
                return drawn;
            }
        }
        let mut field = match self.field.take() {
            Some(field) => field,
            None => Field::new(self, strategies),
        };
        let draw = self.randomness(nth);
        let best = loop {
            let Some(slot) = field.best(draw) else { break None };
            let number = field.hosts[slot];
            let host = self.host(number).filter(|host| field.named || self.allows_by_names(number, host));
            if let Some(host) = host {
                break Some((number, host));
            }
            field.remove(slot);
            field.misses += 1;
            if field.misses == MISSES {
                field.keep_named(self);
            }
        };
        self.field = Some(field);
        best
    }

    /// Puts a task on the host.
    fn take(&mut self, number: usize, host: &Host) -> Placed {
        let request = self.requirements.request;
        let gpu_ids = free_gpus(host, self.usage(number, host), request.claim.gpus);
        let held = Held { claim: &request.claim, gpu_ids: &gpu_ids, group: &request.group };
        self.changed.entry(number).or_insert_with(|| host.usage.clone()).take(held);
        if let Some(mut field) = self.field.take() {
            field.taken(self, number, host);
            self.field = Some(field);
        }
        Placed { instance: host.id, gpu_ids }
    }

    /// Why each host cannot take one more.
    fn reasons(&self) -> Vec<PassedOver> {
        self.hosts()
            .filter_map(|(number, host)| {
                let reason = self.requirements.check(host, self.usage(number, host)).err()?;
                Some(PassedOver { instance: host.id, reason })
            })
            .collect()
    }
}

/// The strategies that decide anything: those before the first `random`.
fn effective(strategies: &[Strategy]) -> &[Strategy] {
    let end = strategies.iter().position(|strategy| *strategy == Strategy::Random).unwrap_or(strategies.len());
    &strategies[..end]
}

/// The hosts that may take a task, each with the numbers by which strategies compare it: one a strategy, in
/// their order, the smallest first. They lie side by side, so that finding the best of 10,000 reads memory in
/// one sweep; a task placed changes one host's numbers, or adds one to those that share an attribute's value.
struct Field {
    strategies: Vec<Strategy>,
    /// How many numbers a host has: one a strategy, and one more to prefer hosts in use when packing.
    width: usize,
    /// Their numbers in the run.
    hosts: Vec<usize>,
    numbers: Vec<u64>,
    /// For strategies that spread over an attribute, which of its values the host has; otherwise 0.
    values: Vec<u32>,
    /// Whether all hosts here meet [`Requirements::allow_by_names`]; otherwise that is asked of the best one.
    named: bool,
    /// How many did not when they were asked.
    misses: u32,
}

impl Field {
    /// One sweep over all hosts: each is brought from memory once.
    fn new<'a>(run: &Run<'a, impl Fn(usize) -> Option<&'a Host>>, strategies: &[Strategy]) -> Self {
        let packs = strategies.iter().any(|strategy| matches!(strategy, Strategy::BinPack(_)));
        let width = strategies.len() + usize::from(packs);
        let mut field = Self {
            strategies: strategies.to_vec(),
            width,
            hosts: Vec::with_capacity(run.count),
            numbers: Vec::with_capacity(run.count * width),
            values: Vec::with_capacity(run.count * width),
            named: false,
            misses: 0,
        };
        let mut spreads: Vec<_> = strategies.iter().enumerate().filter_map(ValueCounts::new).collect();
        for from in (0..run.count).step_by(BLOCK) {
            let block = from..run.count.min(from + BLOCK);
            let hosts = || block.clone().filter_map(|number| Some((number, run.host(number)?)));
            black_box(hosts().fold(0, |sum, (_, host)| host.numbers().wrapping_add(sum)));
            hosts().for_each(|(number, host)| field.add(run, &mut spreads, number, host));
        }
        for spread in spreads {
            for at in (spread.column..field.values.len()).step_by(field.width) {
                field.numbers[at] = spread.counts[field.values[at] as usize];
            }
        }
        field
    }

    /// Adds a host if it has room; its tasks count for the others in any case.
    fn add<'a>(
        &mut self,
        run: &Run<'a, impl Fn(usize) -> Option<&'a Host>>,
        spreads: &mut [ValueCounts],
        number: usize,
        host: &Host,
    ) {
        let usage = run.usage(number, host);
        let first = self.values.len();
        let allowed = run.requirements.allow_by_numbers(host, usage);
        if allowed {
            self.hosts.push(number);
            self.numbers.resize(first + self.width, 0);
            self.values.resize(first + self.width, 0);
            self.measure(&run.requirements, self.hosts.len() - 1, host, usage);
        }
        if spreads.is_empty() {
            return;
        }
        let in_group = run.requirements.stay_in_group(host, usage);
        for spread in spreads {
            let value = spread.add(host, in_group);
            if allowed {
                self.values[first + spread.column] = value;
            }
        }
    }

    /// Sets the numbers that depend on this host alone.
    fn measure(&mut self, requirements: &Requirements<'_>, slot: usize, host: &Host, usage: &Usage) {
        let numbers = &mut self.numbers[slot * self.width..(slot + 1) * self.width];
        for (number, strategy) in numbers.iter_mut().zip(&self.strategies) {
            match strategy {
                Strategy::Spread(SpreadOver::Instance) => {
                    *number = requirements.stay_in_group(host, usage).into();
                }
                Strategy::Spread(SpreadOver::Attribute(_)) | Strategy::Random => {}
                Strategy::BinPack(Packed::Cpu) => {
                    *number = u64::from(host.offer.cpu_units).saturating_sub(usage.cpu_units());
                }
                Strategy::BinPack(Packed::Memory) => {
                    *number = u64::from(host.offer.memory_mib).saturating_sub(usage.memory_mib());
                }
            }
        }
        if self.width > self.strategies.len() {
            numbers[self.width - 1] = u64::from(usage.is_empty());
        }
    }

    /// The slot of the host with the smallest numbers; of equal ones a random one.
    fn best(&self, draw: Draw) -> Option<usize> {
        match self.width {
            0 => draw.below(PROBES + u64::from(self.misses), self.hosts.len()),
            1 => self.least(draw, self.numbers.iter()),
            2 => self.least(draw, self.numbers.as_chunks::<2>().0.iter()),
            3 => self.least(draw, self.numbers.as_chunks::<3>().0.iter()),
            width => self.least(draw, self.numbers.chunks_exact(width)),
        }
    }

    /// Of the hosts' numbers, in the order of their slots.
    fn least<N: Ord>(&self, draw: Draw, mut all: impl Iterator<Item = N>) -> Option<usize> {
        let rank = |slot: usize| draw.rank(self.hosts[slot]);
        let (mut least, mut best, mut best_rank) = (all.next()?, 0, None);
        for (before, numbers) in all.enumerate() {
            let slot = before + 1;
            match numbers.cmp(&least) {
                Ordering::Less => (least, best, best_rank) = (numbers, slot, None),
                Ordering::Equal => {
                    let (of_best, of_this) = (*best_rank.get_or_insert_with(|| rank(best)), rank(slot));
                    if of_this < of_best {
                        (best, best_rank) = (slot, Some(of_this));
                    }
                }
                Ordering::Greater => {}
            }
        }
        Some(best)
    }

    /// Brings the numbers up to date after a task was put on a host.
    fn taken<'a>(&mut self, run: &Run<'a, impl Fn(usize) -> Option<&'a Host>>, number: usize, host: &Host) {
        let Ok(slot) = self.hosts.binary_search(&number) else { return };
        for (column, strategy) in self.strategies.iter().enumerate() {
            match strategy {
                Strategy::Spread(SpreadOver::Attribute(_)) => {
                    let value = self.values[slot * self.width + column];
                    for other in (column..self.values.len()).step_by(self.width) {
                        self.numbers[other] += u64::from(self.values[other] == value);
                    }
                }
                Strategy::Spread(SpreadOver::Instance) | Strategy::BinPack(_) | Strategy::Random => {}
            }
        }
        // A task more changes nothing about the other hosts, and about this one no attribute.
        if run.allows(number, host) {
            self.measure(&run.requirements, slot, host, run.usage(number, host));
        } else {
            self.remove(slot);
        }
    }

    /// Leaves the others in order, which [`Field::taken`] searches by.
    fn remove(&mut self, slot: usize) {
        self.hosts.remove(slot);
        self.numbers.drain(slot * self.width..(slot + 1) * self.width);
        self.values.drain(slot * self.width..(slot + 1) * self.width);
    }

    /// Keeps the hosts that meet [`Requirements::allow_by_names`].
    fn keep_named<'a>(&mut self, run: &Run<'a, impl Fn(usize) -> Option<&'a Host>>) {
        let width = self.width;
        let mut kept = 0;
        for slot in 0..self.hosts.len() {
            let number = self.hosts[slot];
            if run.host(number).is_some_and(|host| run.allows_by_names(number, host)) {
                self.hosts[kept] = number;
                self.numbers.copy_within(slot * width..(slot + 1) * width, kept * width);
                self.values.copy_within(slot * width..(slot + 1) * width, kept * width);
                kept += 1;
            }
        }
        self.hosts.truncate(kept);
        self.numbers.truncate(kept * width);
        self.values.truncate(kept * width);
        self.named = true;
    }
}

/// The group's tasks by the value of an attribute: over all hosts, since a full host's tasks weigh on its zone
/// too.
struct ValueCounts {
    /// Of the strategy.
    column: usize,
    /// Of the attribute's name.
    hash: u64,
    /// Where the attribute stood among those of the host before; fleets are alike.
    guess: usize,
    known: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
    /// Of the hosts without a value.
    none: Option<u32>,
    counts: Vec<u64>,
}

impl ValueCounts {
    fn new((column, strategy): (usize, &Strategy)) -> Option<Self> {
        match strategy {
            Strategy::Spread(SpreadOver::Attribute(name)) => Some(Self {
                column,
                hash: hash(name),
                guess: 0,
                known: HashMap::default(),
                none: None,
                counts: Vec::new(),
            }),
            Strategy::Spread(SpreadOver::Instance) | Strategy::BinPack(_) | Strategy::Random => None,
        }
    }

    /// Counts a host's tasks; which of the values it has.
    fn add(&mut self, host: &Host, in_group: u32) -> u32 {
        let number = host.offer.attributes.value_number(self.hash, &mut self.guess);
        let next = || {
            self.counts.push(0);
            self.counts.len() as u32 - 1
        };
        let value = match number {
            Some(number) => *self.known.entry(number).or_insert_with(next),
            None => *self.none.get_or_insert_with(next),
        };
        self.counts[value as usize] += u64::from(in_group);
        value
    }
}

/// For keys that are hashes already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = mix(self.0 ^ u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// Random numbers for one choice, from the request's seed alone.
#[derive(Clone, Copy)]
struct Draw {
    seed: u64,
    nth: u32,
}

impl Draw {
    fn number(self, salt: u64) -> u64 {
        mix(mix(self.seed ^ u64::from(self.nth)) ^ salt)
    }

    /// A number below `end`; `None` when there is none.
    fn below(self, salt: u64, end: usize) -> Option<usize> {
        let scaled = (u128::from(self.number(salt)) * end as u128) >> 64;
        usize::try_from(scaled).ok().filter(|_| end > 0)
    }

    fn rank(self, host: usize) -> u64 {
        self.number(host as u64)
    }
}

/// The finisher of SplitMix64.
const fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
