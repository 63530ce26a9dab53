//! How a change becomes part of a state: the record, its indexes, and the sums it counts in, in one place.

use crate::change::Change;
use crate::records::{
    Cluster, ClusterStatus, Connection, Definition, DefinitionStatus, Instance, InstanceStatus, Secret, Task,
};
use crate::state::host::{attributes, is_pending};
use crate::state::{ClusterState, Family, Grave, HostState, JoinedBy, State, TaskSet, Touched};
use longshore_model::{ClusterKey, DesiredStatus, Generation, InstanceId, TaskId, Timestamp};
use longshore_sched::{Attributes, Disk, HostStatus};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl State {
    /// Makes `change` part of this state. Instances whose agents should hear of it are added to `touched`.
    pub(crate) fn apply(&mut self, change: &Change, touched: &mut Touched) {
        match change {
            Change::Account(account) => self.account = Some(Arc::clone(account)),
            Change::AccessKey(key) => {
                self.access_keys.insert(key.id.clone(), Arc::clone(key));
            }
            Change::Setting(setting) => {
                self.settings.insert(setting.key.clone(), Arc::clone(setting));
            }
            Change::ForgetSetting(key) => {
                self.settings.remove(key);
            }
            Change::Activation(activation) => {
                self.activation_regions.insert(activation.id.clone(), activation.key());
                self.activations.insert(activation.key(), Arc::clone(activation));
            }
            Change::ForgetActivation(key) => {
                self.activation_regions.remove(&key.id);
                self.activations.remove(key);
            }
            Change::Secret(secret) => {
                let old = self.secrets.insert(secret.key.clone(), Arc::clone(secret));
                self.bury_secret(old.as_deref(), false);
                self.bury_secret(Some(secret), true);
            }
            Change::ForgetSecret(key) => {
                let old = self.secrets.remove(key);
                self.bury_secret(old.as_deref(), false);
            }
            Change::CapacityProvider(provider) => {
                self.capacity_providers.insert(provider.key.clone(), Arc::clone(provider));
            }
            Change::ForgetCapacityProvider(key) => {
                self.capacity_providers.remove(key);
            }
            Change::Network(network) => self.put_network(network),
            Change::SecurityGroup(group) => self.put_security_group(group, touched),
            Change::ForgetSecurityGroup(id) => self.forget_security_group(*id),
            Change::Leases(leases) => self.put_leases(leases, touched),
            Change::ForgetLeases(id) => self.forget_leases(*id, touched),
            Change::NetworkStatus(id, status) => self.put_network_status(*id, status, touched),
            Change::DiskStatus(id, status) => {
                let was_short = self.host(*id).and_then(|host| host.view.disk.as_ref()).is_some_and(Disk::is_short);
                if let Some(host) = self.host_mut(*id) {
                    host.set_disk(Arc::clone(status));
                }
                if was_short && status.short.is_none() {
                    self.takes_more(*id, touched);
                }
            }
            Change::Cluster(cluster) => self.put_cluster(cluster),
            Change::ForgetCluster(key) => {
                if let Some(old) = self.clusters.remove(key) {
                    self.bury_cluster(&old.record, false);
                }
            }
            Change::Family(record) => {
                let family = self.families.entry(record.key.clone()).or_default();
                Arc::make_mut(family).last_revision = record.last_revision;
            }
            Change::Definition(definition) => self.put_definition(definition),
            Change::ForgetDefinition(key) => {
                self.doomed_definitions.remove(key);
                if let Some(family) = self.families.get_mut(&key.family_key()) {
                    Arc::make_mut(family).revisions.remove(&key.revision);
                }
            }
            Change::Instance(instance) => self.put_instance(instance, touched),
            Change::ForgetInstance(id) => self.forget_instance(*id, touched),
            Change::Pins(pins) => self.put_pins(pins, touched),
            Change::ForgetPins(key) => self.forget_pins(key),
            Change::Service(record) => self.put_service(record, touched),
            Change::ForgetService(key) => self.forget_service(key),
            Change::ServiceEvent(event) => self.put_service_event(event),
            Change::ForgetServiceEvent(key, number) => self.forget_service_event(key, *number),
            Change::ServiceDeployment(record) => self.put_service_deployment(record),
            Change::ForgetServiceDeployment(key, number) => self.forget_service_deployment(key, *number),
            Change::ScheduleGroup(group) => self.put_schedule_group(group, touched),
            Change::ForgetScheduleGroup(key) => self.forget_schedule_group(key, touched),
            Change::Schedule(schedule) => self.put_schedule(schedule, touched),
            Change::ForgetSchedule(key) => self.forget_schedule(key, touched),
            Change::Firing(firing) => self.put_firing(firing, touched),
            Change::ForgetFiring(key) => self.forget_firing(key, touched),
            Change::Scaling(target) => self.put_scaling(target, touched),
            Change::ForgetScaling(key) => self.forget_scaling(key, touched),
            Change::Task(task) => self.put_task(task, touched),
            Change::ForgetTask(id) => self.forget_task(*id, touched),
            Change::ClientToken(token) => {
                if let Some(old) = self.client_tokens.get(&token.key) {
                    self.graves.remove(&(old.expires_at, Grave::ClientToken(token.key.clone())));
                }
                self.graves.insert((token.expires_at, Grave::ClientToken(token.key.clone())));
                self.client_tokens.insert(token.key.clone(), Arc::clone(token));
            }
            Change::ForgetClientToken(key) => {
                if let Some(old) = self.client_tokens.remove(key) {
                    self.graves.remove(&(old.expires_at, Grave::ClientToken(key.clone())));
                }
            }
            Change::Connection(connection) => self.put_connection(connection),
            Change::ForgetConnection(key) => self.forget_connection(key),
            Change::Destination(destination) => self.put_destination(destination),
            Change::ForgetDestination(key) => self.forget_destination(key),
            Change::Rule(rule) => self.put_rule(rule, touched),
            Change::ForgetRule(key) => self.forget_rule(key, touched),
            Change::Progress(progress) => self.put_progress(progress, touched),
            Change::ForgetProgress(key) => self.forget_progress(key),
            Change::Outbox(outbox) => self.put_outbox(outbox, touched),
            Change::ForgetOutbox(first) => self.forget_outbox(*first),
        }
    }

    /// Makes this the state of `revision`. The agents of `touched` hear of it under that number.
    pub(crate) fn commit(&mut self, revision: Generation, touched: &Touched) {
        self.revision = revision;
        for id in &touched.assignments {
            if let Some(host) = self.host_mut(*id) {
                host.generation = revision;
            }
        }
        self.commit_networks(revision, touched);
    }

    /// Makes this the state of `revision`, for every agent: for a state that was just read from a store, which
    /// does not tell when each agent's part of it changed last.
    pub(crate) fn commit_all(&mut self, revision: Generation) {
        let all: BTreeSet<_> = self.instance_clusters.keys().copied().collect();
        self.commit(revision, &Touched { assignments: all.clone(), networks: all, ..Touched::default() });
    }

    fn cluster_mut(&mut self, key: &ClusterKey) -> Option<&mut ClusterState> {
        self.clusters.get_mut(key).map(Arc::make_mut)
    }

    pub(super) fn host_mut(&mut self, id: InstanceId) -> Option<&mut HostState> {
        let cluster = self.clusters.get_mut(self.instance_clusters.get(&id)?)?;
        Arc::make_mut(cluster).hosts.get_mut(&id).map(Arc::make_mut)
    }

    fn put_cluster(&mut self, record: &Arc<Cluster>) {
        match self.clusters.get(&record.key).map(|old| Arc::clone(&old.record)) {
            Some(old) => self.bury_cluster(&old, false),
            None => {
                self.clusters.insert(record.key.clone(), Arc::new(ClusterState::new(Arc::clone(record))));
            }
        }
        self.bury_cluster(record, true);
        if let Some(cluster) = self.cluster_mut(&record.key) {
            cluster.record = Arc::clone(record);
        }
    }

    fn bury_cluster(&mut self, record: &Cluster, bury: bool) {
        match record.status {
            ClusterStatus::Active => {}
            ClusterStatus::Inactive { since } => self.bury((since, Grave::Cluster(record.key.clone())), bury),
        }
    }

    fn bury_secret(&mut self, secret: Option<&Secret>, bury: bool) {
        if let Some((at, key)) = secret.and_then(|secret| Some((secret.deletes_at?, secret.key.clone()))) {
            self.bury((at, Grave::Secret(key)), bury);
        }
    }

    fn bury(&mut self, grave: (Timestamp, Grave), bury: bool) {
        if bury {
            self.graves.insert(grave);
        } else {
            self.graves.remove(&grave);
        }
    }

    fn put_definition(&mut self, definition: &Arc<Definition>) {
        let doomed = match definition.status {
            DefinitionStatus::Active | DefinitionStatus::Inactive { .. } => false,
            DefinitionStatus::DeleteInProgress { .. } => true,
        };
        if doomed {
            self.doomed_definitions.insert(definition.key.clone());
        }
        let family: &mut Arc<Family> = self.families.entry(definition.key.family_key()).or_default();
        let family = Arc::make_mut(family);
        family.last_revision = family.last_revision.max(definition.key.revision);
        family.revisions.insert(definition.key.revision, Arc::clone(definition));
    }

    fn put_instance(&mut self, record: &Arc<Instance>, touched: &mut Touched) {
        let old = self.host(record.id).map(|host| Arc::clone(&host.record));
        let was_registered = old.as_ref().is_some_and(|old| old.status.is_registered());
        let (record, attributes) = &self.share_attributes(record);
        match self.host_mut(record.id) {
            Some(host) => host.set_record(Arc::clone(record), Arc::clone(attributes)),
            None => {
                self.instance_clusters.insert(record.id, record.cluster.clone());
                // Loading reads clusters first and commands make the cluster before the instance.
                if let Some(cluster) = self.cluster_mut(&record.cluster) {
                    cluster
                        .hosts
                        .insert(record.id, Arc::new(HostState::new(Arc::clone(record), Arc::clone(attributes))));
                }
                // Its agent's first generation is the one that it joined at.
                touched.assignments.insert(record.id);
            }
        }
        let is_registered = record.status.is_registered();
        if let Some(cluster) = self.cluster_mut(&record.cluster) {
            cluster.set_member(record.id, is_registered);
            if let Some(since) = old.as_deref().and_then(silent) {
                cluster.silent.remove(&(since, record.id));
            }
            if let Some(since) = silent(record) {
                cluster.silent.insert((since, record.id));
            }
        }
        if was_registered && !is_registered {
            touched.assignments.insert(record.id);
        }
        self.follow_instance(old.as_deref(), Some(record), touched);
        if old.as_ref().is_none_or(|old| hosting(old) != hosting(record)) {
            self.stir_services_on(record.id, touched);
        }
        if let Some(by) = joined_by(record) {
            if is_registered {
                self.joins.insert(by, record.id);
            } else if self.joins.get(&by) == Some(&record.id) {
                self.joins.remove(&by);
            }
        }
        if let InstanceStatus::Inactive { since } = record.status {
            self.bury((since, Grave::Instance(record.id)), true);
        }
    }

    /// The record with the list of attributes that all records with the same have, and what placement looks up in its
    /// place. What the host had before is let go.
    fn share_attributes(&mut self, record: &Arc<Instance>) -> (Arc<Instance>, Arc<Attributes>) {
        let old = self.host(record.id).map(Arc::clone);
        let same = old.as_ref().filter(|old| {
            old.record.facts.attributes == record.facts.attributes
                && old.record.custom_attributes == record.custom_attributes
        });
        let attributes = match same {
            Some(old) => self.attributes.keep(&old.view.offer.attributes),
            None => self.attributes.keep(&Arc::new(attributes(record))),
        };
        let list = self.attribute_lists.keep(&record.facts.attributes);
        if let Some(old) = &old {
            self.release_attributes(old);
        }
        let record = if Arc::ptr_eq(&list, &record.facts.attributes) {
            Arc::clone(record)
        } else {
            let mut shared = Instance::clone(record);
            shared.facts.attributes = list;
            Arc::new(shared)
        };
        (record, attributes)
    }

    fn release_attributes(&mut self, host: &HostState) {
        self.attributes.release(&host.view.offer.attributes);
        self.attribute_lists.release(&host.record.facts.attributes);
    }

    fn forget_instance(&mut self, id: InstanceId, touched: &mut Touched) {
        if self.host(id).is_some_and(|host| host.leases.is_some()) {
            self.forget_leases(id, touched);
        }
        let Some(key) = self.instance_clusters.remove(&id) else { return };
        let Some(cluster) = self.cluster_mut(&key) else { return };
        let Some(host) = cluster.hosts.remove(&id) else { return };
        cluster.set_member(id, false);
        if let Some(since) = silent(&host.record) {
            cluster.silent.remove(&(since, id));
        }
        self.release_attributes(&host);
        if let Some(by) = joined_by(&host.record).filter(|by| self.joins.get(by) == Some(&id)) {
            self.joins.remove(&by);
        }
        if let InstanceStatus::Inactive { since } = host.record.status {
            self.bury((since, Grave::Instance(id)), false);
        }
        self.follow_instance(Some(&host.record), None, touched);
    }

    fn put_task(&mut self, task: &Arc<Task>, touched: &mut Touched) {
        let old = self.tasks.insert(task.id, Arc::clone(task));
        if assigned(old.as_deref()) != assigned(Some(task)) {
            touched.assignments.insert(task.instance);
        }
        // The sets follow what never changes about a task, and its desired status.
        if old.as_ref().map(|old| old.desired) != Some(task.desired) {
            if let Some(old) = &old {
                self.unlist(old);
            }
            for set in TaskSet::of(task) {
                self.task_sets.entry((set, task.desired)).or_default().insert(task.id);
            }
        }
        if old.is_none() {
            *self.definition_users.entry(task.definition.clone()).or_insert(0) += 1;
        }
        // What a task claims never changes; most reports change nothing that is summed.
        if old.as_deref().and_then(counted_as_pending) != counted_as_pending(task) {
            if let Some(old) = old.as_deref() {
                self.uncount(old);
            }
            self.count(task);
        }
        self.follow_task(old.as_deref(), Some(task), touched);
        self.follow_pins(old.as_deref(), Some(task));
        if old.as_deref().is_some_and(Task::is_live) != task.is_live() {
            self.follow_service_task(task, task.is_live());
        }
        let other = |task: &Task| self.has_another_image(task);
        if old.as_deref().is_none_or(|old| matters(old, task) || other(old) != other(task)) {
            self.stir_service(&task.cluster, &task.group, touched);
        }
        if old.is_some_and(|old| old.is_live()) && !task.is_live() {
            touched.rooms.insert(task.cluster.clone());
            // Its daemons may be the last there.
            if self.host(task.instance).is_some_and(|host| host.view.status == HostStatus::Draining) {
                self.stir_services_on(task.instance, touched);
            }
        }
        if let Some(over) = task.over_at {
            self.bury((over, Grave::Task(task.id)), true);
        }
    }

    fn forget_task(&mut self, id: TaskId, touched: &mut Touched) {
        let Some(task) = self.tasks.remove(&id) else { return };
        self.unlist(&task);
        self.uncount(&task);
        self.follow_service_task(&task, false);
        self.follow_task(Some(&task), None, touched);
        self.follow_pins(Some(&task), None);
        if let Some(users) = self.definition_users.get_mut(&task.definition) {
            *users -= 1;
            if *users == 0 {
                self.definition_users.remove(&task.definition);
            }
        }
        if let Some(over) = task.over_at {
            self.bury((over, Grave::Task(id)), false);
        }
    }

    /// Puts a task into its cluster's and its host's sums, if it is live.
    fn count(&mut self, task: &Task) {
        if !task.is_live() {
            return;
        }
        if let Some(cluster) = self.cluster_mut(&task.cluster) {
            cluster.count(task);
        }
        if let Some(host) = self.host_mut(task.instance) {
            host.add(task);
        }
    }

    /// Takes a task out of its cluster's and its host's sums, if it was in them.
    fn uncount(&mut self, task: &Task) {
        if !task.is_live() {
            return;
        }
        if let Some(cluster) = self.cluster_mut(&task.cluster) {
            cluster.uncount(task);
        }
        if let Some(host) = self.host_mut(task.instance) {
            host.remove(task);
        }
    }

    fn unlist(&mut self, task: &Task) {
        for set in TaskSet::of(task) {
            let key = (set, task.desired);
            if let Some(ids) = self.task_sets.get_mut(&key) {
                ids.remove(&task.id);
                if ids.is_empty() {
                    self.task_sets.remove(&key);
                }
            }
        }
    }
}

/// Since when a registered instance's agent is not there. One whose record never changed since it joined was never
/// there.
const fn silent(record: &Instance) -> Option<Timestamp> {
    match record.connection {
        Connection::Disconnected { since } if record.status.is_registered() && record.version > 1 => Some(since),
        Connection::Disconnected { .. } | Connection::Connected { .. } => None,
    }
}

/// Whether decisions about a task's service rest on what changed of it. What is only for people and for agents does not
/// count: agents report it all the time, and a step that was decided meanwhile is as good as before.
fn matters(old: &Task, new: &Task) -> bool {
    let health = |task: &Task| -> Vec<_> {
        task.reported.iter().map(|container| (container.health, container.has_check)).collect()
    };
    let alike = Task {
        version: old.version,
        report_version: old.report_version,
        waiting_for: old.waiting_for.clone(),
        reported: old.reported.clone(),
        eni: old.eni.clone(),
        connectivity_at: old.connectivity_at,
        pull_started_at: old.pull_started_at,
        pull_stopped_at: old.pull_stopped_at,
        history: old.history.clone(),
        ..new.clone()
    };
    *old != alike || health(old) != health(new)
}

/// What services want to know of a host.
fn hosting(
    record: &Instance,
) -> (InstanceStatus, bool, &longshore_model::HostFacts, &BTreeMap<String, Option<String>>) {
    (record.status, record.is_connected(), &record.facts, &record.custom_attributes)
}

/// How an instance joined, where that is known.
fn joined_by(record: &Instance) -> Option<JoinedBy> {
    Some((record.activation.clone(), record.join_key.clone()?, record.cluster.clone()))
}

/// What an agent is told of a task; `None` when the task is not part of its assignment.
///
/// Whether a start is still possible is told too, and does not count: it only changes after the agent itself
/// said something, and a complete assignment carries it to an agent that has forgotten. Digests of images are told with
/// the pins that they come from (`State::put_pins`).
fn assigned(task: Option<&Task>) -> Option<DesiredStatus> {
    task.filter(|task| task.is_live()).map(|task| task.desired)
}

/// How a task counts in its cluster's and its host's sums; `None` when it does not.
fn counted_as_pending(task: &Task) -> Option<bool> {
    task.is_live().then(|| is_pending(task.status))
}
