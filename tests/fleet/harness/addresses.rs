//! Who has which address, anywhere in the fleet: what kernels let through, what agents gave, and what clients see.

use crate::host::Host;
use crate::invariants;
use crate::world::World;
use longshore_agent::network::fabric::Admission;
use longshore_core::State;
use longshore_core::records::Task;
use longshore_model::{EniId, EniReport, GroupId, InstanceId, TaskId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long an address rests at least before another task of its host may have it.
const REST: Duration = Duration::from_secs(60);

/// Sandboxes that demand may keep warm: four times what is configured.
const SPARE: usize = 8;

/// What was seen of addresses.
#[derive(Default)]
pub(crate) struct Addresses(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// What tasks were given. An agent that dies before it wrote down what it gave may give another one.
    given: BTreeMap<TaskId, BTreeSet<(EniId, Ipv4Addr)>>,
    /// By host and address: which interface with it was cut off last, and when.
    cut_off: BTreeMap<(usize, Ipv4Addr), (EniId, Duration)>,
}

/// A host at work, as the container instance that it is.
pub(crate) struct Asked<'a> {
    pub(crate) world: &'a World,
    pub(crate) host: &'a Host,
    pub(crate) instance: InstanceId,
}

impl Asked<'_> {
    /// What the control plane knows, whether or not clients looked yet.
    fn state(&self) -> Option<Arc<State>> {
        self.world.control().map(|process| process.core.snapshot()).or_else(|| self.world.state())
    }
}

/// Whether an instance is one of the fleet's. What ran on a host that was deregistered by force is given up, and
/// whoever did that answers for it.
fn counts(state: &State, instance: InstanceId) -> bool {
    state.host(instance).is_some_and(|host| host.record.status.is_registered())
}

impl Addresses {
    fn known<T>(&self, with: impl FnOnce(&mut Known) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A kernel lets an interface through that it did not let through before: nobody else has its address, it has
    /// rested, and no other host takes it for a member of a group that it is not in.
    pub(crate) fn admitted(&self, asked: &Asked<'_>, admission: &Admission) {
        let Asked { world, host, instance } = asked;
        let (eni, address, now) = (admission.eni.id, admission.eni.ipv4, world.trace.at());
        let Some(state) = asked.state() else { return };
        if let Some((last, at)) = self.known(|known| known.cut_off.get(&(host.index, address)).copied())
            && last != eni
            && now < at + REST
        {
            let rested = (now - at).as_secs();
            world
                .trace
                .wrong(format_args!("{}: {address} is {eni}'s and has rested {rested} s after {last}", host.name));
        }
        for other in &world.hosts {
            let ours = other.index == host.index;
            let wires = other.net.wires();
            for (id, (has, by)) in &wires.admitted {
                let same = has.eni.ipv4 == address && *id != eni;
                if same && (ours || (counts(&state, *by) && counts(&state, *instance))) {
                    world
                        .trace
                        .wrong(format_args!("{address} is {eni}'s on {} and {id}'s on {}", host.name, other.name));
                }
            }
            // Who is away for long is not waited for.
            let waited_for =
                wires.told.and_then(|told| state.host(told)).is_some_and(|host| host.record.is_connected());
            if ours || !waited_for || !counts(&state, *instance) {
                continue;
            }
            let member = |members: &BTreeSet<IpAddr>| members.contains(&IpAddr::V4(address));
            let stale = wires.members.iter().find(|(group, all)| !admission.groups.contains(group) && member(all));
            if let Some((group, _)) = stale {
                world.trace.wrong(format_args!(
                    "{} takes {address} for a member of {group}, and on {} it is {eni}'s, which is not",
                    other.name, host.name
                ));
            }
        }
    }

    /// A kernel does not let an interface through any more, since that time of the run.
    pub(crate) fn dismissed(&self, host: usize, eni: &EniReport, at: Duration) {
        self.known(|known| known.cut_off.insert((host, eni.ipv4), (eni.id, at)));
    }

    /// An agent gave a task an interface, whose address is one of its host's.
    pub(crate) fn given(&self, asked: &Asked<'_>, task: TaskId, eni: &EniReport) {
        let Asked { world, host, instance } = asked;
        if self.known(|known| known.given.entry(task).or_default().insert((eni.id, eni.ipv4))) {
            world.trace.say(format_args!("{}: {task} has {} ({})", host.name, eni.ipv4, eni.id));
        }
        let Some(state) = asked.state() else { return };
        if counts(&state, *instance) && !is_of(&state, *instance, eni.ipv4) {
            world.trace.wrong(format_args!("{}: {task} is given {}, which is not its host's", host.name, eni.ipv4));
        }
    }

    /// Of what clients see: no two hosts have a part of the network, no two tasks an address; each task's is of its
    /// host's part, and is what its host gave it.
    pub(crate) fn snapshot(&self, world: &World, state: &State) {
        let mut leases = BTreeMap::new();
        for host in state.leased_hosts() {
            for lease in state.leases(host) {
                if let Some(other) = leases.insert(lease.v4.network(), host.id()) {
                    world.trace.wrong(format_args!("{} is the lease of {other} and of {}", lease.v4, host.id()));
                }
            }
        }
        let mut holders: BTreeMap<Ipv4Addr, TaskId> = BTreeMap::new();
        self.known(|known| {
            for (task, eni) in with_interfaces(state) {
                if !known.given.get(&task.id).is_some_and(|given| given.contains(&(eni.id, eni.ipv4))) {
                    world
                        .trace
                        .wrong(format_args!("task {} is shown with {}, which nobody gave it", task.id, eni.ipv4));
                }
                if !counts(state, task.instance) || !eni.attached {
                    continue;
                }
                if let Some(other) = holders.insert(eni.ipv4, task.id) {
                    world.trace.wrong(format_args!("{} is shown for {other} and {}", eni.ipv4, task.id));
                }
                if !is_of(state, task.instance, eni.ipv4) {
                    world.trace.wrong(format_args!("task {} is shown with {}, not its host's", task.id, eni.ipv4));
                }
            }
        });
    }

    /// Between two states that clients saw one after the other: a task keeps what it has.
    pub(crate) fn step(&self, world: &World, before: &State, now: &State) {
        for (task, had) in with_interfaces(before) {
            let has = now.task(task.id).and_then(|task| task.eni.as_deref());
            if has.is_some_and(|has| (has.id, has.ipv4) != (had.id, had.ipv4)) {
                world.trace.wrong(format_args!("task {} had {had:?}, and now {has:?}", task.id));
            }
        }
    }

    /// What a host at rest has that it should not, or lacks.
    pub(crate) fn open(
        &self,
        state: &State,
        host: &Host,
        wanted: &BTreeSet<TaskId>,
        sandboxes: &BTreeSet<EniId>,
    ) -> Option<String> {
        let tasks = wanted.iter().filter_map(|id| state.task(*id)).filter(|task| task.awsvpc.is_some());
        let shown: BTreeSet<Option<(EniId, Ipv4Addr)>> =
            tasks.map(|task| task.eni.as_ref().filter(|eni| eni.attached).map(|eni| (eni.id, eni.ipv4))).collect();
        let wires = host.net.wires();
        let has: BTreeSet<_> = wires.admitted.iter().map(|(eni, (has, _))| Some((*eni, has.eni.ipv4))).collect();
        if shown != has {
            return Some(format!("{}: {shown:?} are shown, and it lets {has:?} through", host.name));
        }
        let wired: BTreeSet<EniId> = wires.wired.keys().copied().collect();
        if *sandboxes != wired {
            return Some(format!("{}: there are sandboxes {sandboxes:?}, and links {wired:?}", host.name));
        }
        let spare = wired.len() - wires.admitted.len();
        if spare > SPARE {
            return Some(format!("{}: {spare} sandboxes are nobody's", host.name));
        }
        let told = state.network_view(host.instance()?)?.state().members;
        let groups: BTreeSet<&GroupId> = told.keys().chain(wires.members.keys()).collect();
        let none = BTreeSet::new();
        let other = groups.into_iter().find_map(|group| {
            let (is, has) = (told.get(group).unwrap_or(&none), wires.members.get(group).unwrap_or(&none));
            (is != has).then_some((group, is, has))
        });
        other.map(|(group, is, has)| format!("{}: {group} has {is:?}, and it knows {has:?}", host.name))
    }
}

fn with_interfaces(state: &State) -> impl Iterator<Item = (&Arc<Task>, &EniReport)> {
    invariants::tasks(state).filter_map(|task| Some((task, task.eni.as_deref()?)))
}

/// Whether an address is one that an instance may give to its tasks.
fn is_of(state: &State, instance: InstanceId, address: Ipv4Addr) -> bool {
    let leases = state.host(instance).map(|host| state.leases(host)).unwrap_or_default();
    leases.iter().any(|lease| lease.task_addresses().any(|own| own == address))
}
