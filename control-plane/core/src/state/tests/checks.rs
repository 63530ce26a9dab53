//! What has to hold after each step, counted by hand from the records.

use super::deployment;
use super::lab::Lab;
use crate::change::Change;
use crate::records::{PinKey, Task};
use crate::state::{State, TaskSet, Touched};
use longshore_model::{ContainerName, DesiredStatus, TaskId, TaskStatus};
use longshore_sched::Usage;
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Lab {
    pub(super) fn check(&mut self) -> Result<(), TestCaseError> {
        if !self.has_moved() {
            return Ok(());
        }
        self.check_hosts()?;
        self.check_network()?;
        self.check_pins()?;
        self.check_services()?;
        self.check_nothing_is_undone()
    }

    /// That a start would find the same.
    pub(super) fn check_store(&self) -> Result<(), TestCaseError> {
        same(&self.state, &reload(&self.store))
    }

    /// Sums by hand, and that no host has more on it than it offers.
    pub(super) fn check_hosts(&self) -> Result<(), TestCaseError> {
        for cluster in self.state.clusters() {
            let of_cluster = |task: &&Arc<Task>| task.cluster == cluster.record.key && task.is_live();
            let live = self.state.tasks.values().filter(of_cluster).count();
            prop_assert_eq!(cluster.live_tasks() as usize, live);
            let registered = cluster.hosts.values().filter(|h| h.record.status.is_registered()).map(|h| h.id());
            let registered: Vec<_> = registered.collect();
            prop_assert_eq!(cluster.registered() as usize, registered.len());
            let members: Vec<_> = (0..registered.len()).filter_map(|n| cluster.member(n)).map(|h| h.id()).collect();
            prop_assert_eq!(members, registered);
            for host in cluster.hosts.values() {
                let tasks: Vec<_> =
                    self.state.tasks.values().filter(|t| t.instance == host.id() && t.is_live()).collect();
                prop_assert_eq!(&host.live, &tasks.iter().map(|t| t.id).collect::<BTreeSet<_>>());
                let mut usage = Usage::default();
                tasks.iter().for_each(|task| task.take(&mut usage));
                prop_assert_eq!(&host.view.usage, &usage);
                prop_assert!(usage.cpu_units() <= host.view.offer.cpu_units.into());
                prop_assert!(usage.memory_mib() <= host.view.offer.memory_mib.into());
                for ports in [usage.tcp(), usage.udp()] {
                    prop_assert!(ports.windows(2).all(|pair| pair[0] != pair[1]), "a port twice: {:?}", ports);
                }
                prop_assert!(usage.gpu_ids().windows(2).all(|pair| pair[0] != pair[1]), "a GPU twice");
                let running = tasks.iter().filter(|t| t.status >= TaskStatus::Running).count();
                prop_assert_eq!(host.view.running_tasks as usize, running);
                prop_assert_eq!((host.view.running_tasks + host.view.pending_tasks) as usize, tasks.len());
                prop_assert!(host.record.status.is_registered() || tasks.is_empty());
                prop_assert!(host.generation <= self.state.revision());
            }
        }
        for task in self.state.tasks.values() {
            prop_assert!(self.state.definition(&task.definition).is_some(), "its definition was deleted");
            prop_assert!(!task.is_live() || self.state.host(task.instance).is_some());
            prop_assert_eq!(task.is_live(), task.over_at.is_none());
            for set in TaskSet::of(task) {
                let listed = |desired| self.state.task_set(&set, desired).is_some_and(|ids| ids.contains(&task.id));
                prop_assert!(listed(task.desired));
                let other = match task.desired {
                    DesiredStatus::Running => DesiredStatus::Stopped,
                    DesiredStatus::Stopped => DesiredStatus::Running,
                };
                prop_assert!(!listed(other));
            }
        }
        Ok(())
    }

    /// A digest that became known stays as long as anything refers to it, and reaches who waits for it.
    pub(super) fn check_pins(&self) -> Result<(), TestCaseError> {
        let app = ContainerName::new("app").expect("a name");
        let digest = |state: &State, key: &PinKey| state.pins(key).and_then(|pins| pins.digests.get(&app).cloned());
        let live = |state: &State, key: &PinKey| state.tasks.values().any(|task| task.live_pins() == Some(key));
        let run = (0..=self.revision).map(|n| PinKey::new(format!("run/{n}")));
        for key in run.chain([deployment()]) {
            let Some(pins) = self.state.pins(&key) else { continue };
            prop_assert_eq!(self.state.are_idle(&key), !pins.held && !live(&self.state, &key), "{}", key);
        }
        let Some(before) = self.past.last() else { return Ok(()) };
        for task in self.state.tasks.values() {
            let Some(key) = &task.pins else { continue };
            let (was, is) = (digest(before, key), digest(&self.state, key));
            let used = live(before, key) && live(&self.state, key);
            prop_assert!(!used || was.is_none() || was == is, "{}: {:?}, then {:?}", key, was, is);
            let generation = |state: &State| state.host(task.instance).map(|host| host.generation);
            if task.awaits_image(&app) && was != is && is.is_some() && before.task(task.id).is_some() {
                prop_assert!(generation(&self.state) > generation(before), "{} is not told", task.id);
            }
        }
        Ok(())
    }

    pub(super) fn check_nothing_is_undone(&mut self) -> Result<(), TestCaseError> {
        for task in self.state.tasks.values() {
            if let Some((status, desired, version)) = self.seen.get(&task.id) {
                prop_assert!(task.status >= *status && task.desired >= *desired && task.version >= *version);
            }
            self.seen.insert(task.id, (task.status, task.desired, task.version));
        }
        if let Some(before) = self.past.last() {
            for host in before.clusters().flat_map(|c| c.hosts.values()) {
                let after = self.state.host(host.id());
                prop_assert!(after.is_none_or(|after| after.generation >= host.generation));
                // What the agent should run changes only under a higher number.
                if let Some(after) = after.filter(|after| after.generation == host.generation) {
                    prop_assert_eq!(wanted(before, &host.live), wanted(&self.state, &after.live));
                }
            }
        }
        Ok(())
    }
}

fn wanted(state: &State, live: &BTreeSet<TaskId>) -> Vec<(TaskId, DesiredStatus)> {
    live.iter().filter_map(|id| Some((*id, state.task(*id)?.desired))).collect()
}

/// As at start: every record, in the order of ranks.
fn reload(store: &BTreeMap<String, Vec<u8>>) -> State {
    let mut changes: Vec<Change> = store
        .iter()
        .filter_map(|(key, value)| Change::from_store(key.as_bytes(), value).expect("written by this version"))
        .collect();
    changes.sort_by_key(Change::rank);
    let mut state = State::default();
    changes.iter().for_each(|change| state.apply(change, &mut Touched::default()));
    state
}

/// Everything but revisions and epochs, which are not kept.
fn same(a: &State, b: &State) -> Result<(), TestCaseError> {
    prop_assert_eq!(&a.account, &b.account);
    prop_assert_eq!(&a.access_keys, &b.access_keys);
    prop_assert_eq!(&a.settings, &b.settings);
    prop_assert_eq!(&a.activations, &b.activations);
    prop_assert_eq!(&a.activation_regions, &b.activation_regions);
    prop_assert_eq!(&a.instance_clusters, &b.instance_clusters);
    prop_assert_eq!(&a.joins, &b.joins);
    prop_assert_eq!(&a.families, &b.families);
    prop_assert_eq!(&a.definition_users, &b.definition_users);
    prop_assert_eq!(&a.doomed_definitions, &b.doomed_definitions);
    prop_assert_eq!(&a.tasks, &b.tasks);
    prop_assert_eq!(&a.service_tasks, &b.service_tasks);
    prop_assert_eq!(&a.daemons, &b.daemons);
    prop_assert_eq!(a.services.len(), b.services.len());
    for ((key, a), (other, b)) in a.services.iter().zip(&b.services) {
        prop_assert_eq!((key, &a.record), (other, &b.record));
        prop_assert_eq!((&a.events, &a.deployments), (&b.events, &b.deployments));
    }
    prop_assert_eq!(&a.pins, &b.pins);
    prop_assert_eq!(&a.task_sets, &b.task_sets);
    prop_assert_eq!(&a.client_tokens, &b.client_tokens);
    prop_assert_eq!(&a.graves, &b.graves);
    prop_assert_eq!(&a.networking, &b.networking);
    prop_assert_eq!(a.clusters.len(), b.clusters.len());
    for ((key, a), (other, b)) in a.clusters.iter().zip(&b.clusters) {
        prop_assert_eq!((key, &a.record), (other, &b.record));
        prop_assert_eq!((a.registered(), a.running, a.pending), (b.registered(), b.running, b.pending));
        prop_assert_eq!(a.hosts.len(), b.hosts.len());
        for (a, b) in a.hosts.values().zip(b.hosts.values()) {
            prop_assert_eq!((&a.record, &a.live, &a.view.usage), (&b.record, &b.live, &b.view.usage));
            prop_assert_eq!((&a.leases, &a.groups), (&b.leases, &b.groups));
            prop_assert_eq!((a.view.status, a.view.connected), (b.view.status, b.view.connected));
            prop_assert_eq!(&a.view.offer, &b.view.offer);
            prop_assert_eq!((a.view.running_tasks, a.view.pending_tasks), (b.view.running_tasks, b.view.pending_tasks));
        }
    }
    Ok(())
}
