//! What has to hold after every step of the control plane.

use crate::bounds;
use crate::sets;
use crate::world::World;
use longshore_core::records::{SchedulingStrategy, Task};
use longshore_core::{HostState, State};
use longshore_model::{DesiredStatus, Protocol, TaskId, TaskStatus};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Of one state.
pub(crate) fn snapshot(world: &World, state: &State) {
    for host in state.clusters().flat_map(|cluster| cluster.hosts.values()) {
        room(world, state, host);
    }
    daemons(world, state);
    sets::snapshot(world, state);
    world.promised().check(world, state);
}

/// No host is given more than it has, and nothing twice.
fn room(world: &World, state: &State, host: &HostState) {
    let live: Vec<&Arc<Task>> = host.live.iter().filter_map(|id| state.task(*id)).collect();
    let offer = &host.record.facts.resources;
    let (cpu, memory) =
        live.iter().fold((0, 0), |(cpu, memory), t| (cpu + t.claim.cpu_units, memory + t.claim.memory_mib));
    if cpu > offer.cpu_units || memory > offer.memory_mib {
        world.trace.wrong(format_args!(
            "host {} has {} CPU units and {} MiB, and its tasks hold {cpu} and {memory}",
            host.id(),
            offer.cpu_units,
            offer.memory_mib
        ));
    }
    if (host.view.usage.cpu_units(), host.view.usage.memory_mib()) != (cpu.into(), memory.into()) {
        world.trace.wrong(format_args!("the sums of host {} are not those of its tasks", host.id()));
    }
    let mut fixed: BTreeMap<(Protocol, u16), TaskId> = BTreeMap::new();
    let mut published: BTreeMap<(Protocol, u16), TaskId> = BTreeMap::new();
    for task in live {
        let claimed = task.claim.tcp.iter().map(|p| (Protocol::Tcp, *p));
        for port in claimed.chain(task.claim.udp.iter().map(|p| (Protocol::Udp, *p))) {
            if let Some(other) = fixed.insert(port, task.id) {
                world.trace.wrong(format_args!("port {port:?} of host {} is {other}'s and {}'s", host.id(), task.id));
            }
        }
        if task.status != TaskStatus::Running {
            continue;
        }
        for binding in task.reported.iter().flat_map(|container| &container.bindings) {
            let port = (binding.protocol, binding.host_port);
            if let Some(other) = published.insert(port, task.id)
                && other != task.id
            {
                world.trace.wrong(format_args!("port {port:?} of host {} is {other}'s and {}'s", host.id(), task.id));
            }
        }
    }
}

/// A DAEMON service has one task on a host.
fn daemons(world: &World, state: &State) {
    for (key, service) in state.services() {
        if service.record.scheduling != SchedulingStrategy::Daemon {
            continue;
        }
        let mut hosts = BTreeSet::new();
        for task in state.service_tasks(key).iter().filter(|task| task.desired == DesiredStatus::Running) {
            if !hosts.insert(task.instance) {
                world.trace.wrong(format_args!("daemon {key} is to run twice on host {}", task.instance));
            }
        }
    }
}

/// Between two states that clients saw one after the other; `anew` when the control plane was started between them.
pub(crate) fn step(world: &World, before: &State, now: &State, anew: bool) {
    if now.revision() < before.revision() {
        world.trace.wrong(format_args!("revision {} was seen, and now it is {}", before.revision(), now.revision()));
    }
    for task in tasks(before) {
        let Some(is) = now.task(task.id) else {
            let gone = before.host(task.instance).is_none_or(|host| !host.record.status.is_registered());
            if !gone {
                world.trace.wrong(format_args!("task {} was seen and is gone", task.id));
            }
            continue;
        };
        let revived = task.desired == DesiredStatus::Stopped && is.desired == DesiredStatus::Running;
        if revived || is.status < task.status || is.instance != task.instance {
            world.trace.wrong(format_args!(
                "task {} went back from {:?}/{:?} on {} to {:?}/{:?} on {}",
                task.id, task.status, task.desired, task.instance, is.status, is.desired, is.instance
            ));
        }
        if (is.status, is.desired) != (task.status, task.desired) {
            world.trace.say(format_args!("control: task {} is {:?}, to be {:?}", task.id, is.status, is.desired));
        }
    }
    for task in tasks(now).filter(|task| before.task(task.id).is_none()) {
        world.trace.say(format_args!("control: task {} of {} on {}", task.id, task.group, task.instance));
    }
    sets::step(world, before, now);
    for (key, was) in before.services() {
        let Some(is) = now.service(key) else {
            world.trace.wrong(format_args!("service {key} was seen and is gone"));
            continue;
        };
        if is.record.next_event < was.record.next_event {
            world.trace.wrong(format_args!("service {key} forgot events that were seen"));
        }
        // Two processes may have made more than one change between the two.
        if !anew {
            bounds::step(world, before, now, key, (&was.record, &is.record));
        }
    }
    for (key, _) in now.services() {
        let events = |state: &State| state.service(key).map_or(0, |service| service.record.next_event);
        if let Some(service) = now.service(key).filter(|_| events(now) > events(before)) {
            let news = service.events.iter().filter(|event| event.number >= events(before));
            news.for_each(|event| world.trace.say(format_args!("control: {}", event.message)));
        }
    }
}

/// Every task of a live host.
pub(crate) fn tasks(state: &State) -> impl Iterator<Item = &Arc<Task>> {
    let hosts = state.clusters().flat_map(|cluster| cluster.hosts.values());
    hosts.flat_map(|host| &host.live).filter_map(|id| state.task(*id))
}
