//! A service with its events, and when it has to be looked at again.

use crate::records::{
    DefinitionKey, DeploymentRecord, DeploymentStatus, RolloutState, SchedulingStrategy, Service, ServiceEvent,
    ServiceKey, ServiceRevision, ServiceStatus, Task,
};
use crate::state::{Grave, State, Touched};
use imbl::{OrdMap, Vector};
use longshore_model::{ClusterKey, InstanceId};
use std::sync::Arc;

/// A service and what happened to it.
#[derive(Debug, Clone)]
pub struct ServiceState {
    /// The record.
    pub record: Arc<Service>,
    /// The latest, oldest first.
    pub events: Vector<Arc<ServiceEvent>>,
    /// The latest deployments as resources, oldest first. Only the last one may be under way.
    pub(crate) deployments: Vector<Arc<DeploymentRecord>>,
    /// Differs whenever anything that decisions about it rest on does, apart from the time. Of this process only.
    pub(crate) epoch: u64,
}

impl ServiceState {
    /// The deployment that is under way.
    pub(crate) fn under_way(&self) -> Option<&Arc<DeploymentRecord>> {
        self.deployments.last().filter(|record| !record.status.is_final())
    }

    /// A revision of it that is remembered.
    pub(crate) fn revision(&self, id: &str) -> Option<&ServiceRevision> {
        let current = self.record.deployments.iter().map(|deployment| &deployment.revision);
        let past = self.deployments.iter().rev().flat_map(|record| record.revisions());
        current.chain(&self.record.completed).chain(past).find(|revision| *revision.id == *id)
    }

    /// The revisions that ran as a whole once and are remembered: what can be gone back to. One may be there twice.
    pub(crate) fn proven(&self) -> impl Iterator<Item = &ServiceRevision> {
        let successful = self.deployments.iter().filter(|record| record.status == DeploymentStatus::Successful);
        successful.map(|record| &record.target).chain(&self.record.completed)
    }

    /// Whether the images of a revision have to stay known: it runs, or may run again.
    pub(crate) fn keeps(&self, id: &str) -> bool {
        let runs = self.record.revisions().any(|revision| *revision.id == *id);
        runs || !self.record.is_over() && self.proven().any(|revision| *revision.id == *id)
    }
}

impl State {
    /// A service, inactive ones included while they are remembered.
    #[must_use]
    pub fn service(&self, key: &ServiceKey) -> Option<&Arc<ServiceState>> {
        self.services.get(key)
    }

    /// All services, by cluster and name.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceKey, &Arc<ServiceState>)> {
        self.services.iter()
    }

    /// The services of a cluster from the name `first` on, by name.
    pub(crate) fn services_of(&self, cluster: &ClusterKey, first: &str) -> impl Iterator<Item = &Arc<ServiceState>> {
        let first = ServiceKey { cluster: cluster.clone(), name: first.into() };
        let of_cluster = self.services.range(first..);
        of_cluster.take_while(move |(key, _)| key.cluster == *cluster).map(|(_, service)| service)
    }

    /// The active DAEMON services of a cluster, by name.
    pub(crate) fn daemons_of(&self, cluster: &ClusterKey) -> impl Iterator<Item = &Arc<Service>> {
        let first = ServiceKey { cluster: cluster.clone(), name: "".into() };
        let of_cluster = self.daemons.range(first..).take_while(move |key| key.cluster == *cluster);
        of_cluster.filter_map(|key| Some(&self.service(key)?.record))
    }

    pub(super) fn put_service(&mut self, record: &Arc<Service>, touched: &mut Touched) {
        let old = self.services.get(&record.key).map(|service| Arc::clone(&service.record));
        if let Some(old) = &old {
            self.follow_service(old, false);
            // Others may have what was kept for it.
            let asks =
                |service: &'_ Service| (service.constraints.clone(), service.execute_command, service.at_most_one());
            let same = keeps_room(old) == keeps_room(record) && asks(old) == asks(record);
            if keeps_room(old).is_some() && !same {
                touched.rooms.insert(record.key.cluster.clone());
            }
        }
        self.follow_service(record, true);
        match self.services.get_mut(&record.key).map(Arc::make_mut) {
            Some(service) => {
                service.record = Arc::clone(record);
                service.epoch += 1;
            }
            None => {
                let new = ServiceState {
                    record: Arc::clone(record),
                    events: Vector::new(),
                    deployments: Vector::new(),
                    epoch: 0,
                };
                self.services.insert(record.key.clone(), Arc::new(new));
            }
        }
        touched.services.insert(record.key.clone());
    }

    pub(super) fn forget_service(&mut self, key: &ServiceKey) {
        if let Some(old) = self.services.remove(key) {
            self.follow_service(&old.record, false);
        }
    }

    /// Counts what a service refers to.
    fn follow_service(&mut self, record: &Service, there: bool) {
        for definition in record.definitions() {
            let users = self.definition_users.entry(definition.clone()).or_insert(0);
            *users = if there { *users + 1 } else { users.saturating_sub(1) };
            if *users == 0 {
                self.definition_users.remove(definition);
            }
        }
        if there && record.is_active() && record.scheduling == SchedulingStrategy::Daemon {
            self.daemons.insert(record.key.clone());
        } else {
            self.daemons.remove(&record.key);
        }
        match record.status {
            ServiceStatus::Active | ServiceStatus::Draining => {}
            ServiceStatus::Inactive { since } => {
                let grave = (since, Grave::Service(record.key.clone()));
                if there {
                    self.graves.insert(grave);
                } else {
                    self.graves.remove(&grave);
                }
            }
        }
    }

    pub(super) fn put_service_event(&mut self, event: &Arc<ServiceEvent>) {
        if let Some(service) = self.services.get_mut(&event.service).map(Arc::make_mut) {
            let at = service.events.iter().rposition(|old| old.number <= event.number).map_or(0, |at| at + 1);
            service.events.insert(at, Arc::clone(event));
        }
    }

    pub(super) fn forget_service_event(&mut self, key: &ServiceKey, number: u64) {
        if let Some(service) = self.services.get_mut(key).map(Arc::make_mut) {
            service.events.retain(|event| event.number != number);
        }
    }

    pub(super) fn put_service_deployment(&mut self, record: &Arc<DeploymentRecord>) {
        let Some(service) = self.services.get_mut(&record.service).map(Arc::make_mut) else { return };
        let deployments = &mut service.deployments;
        match deployments.iter().rposition(|old| old.number <= record.number) {
            Some(at) if deployments[at].number == record.number => {
                deployments.set(at, Arc::clone(record));
            }
            before => deployments.insert(before.map_or(0, |at| at + 1), Arc::clone(record)),
        }
    }

    pub(super) fn forget_service_deployment(&mut self, key: &ServiceKey, number: u64) {
        if let Some(service) = self.services.get_mut(key).map(Arc::make_mut) {
            service.deployments.retain(|record| record.number != number);
        }
    }

    /// Something changed that decisions about the service whose tasks have this group rest on.
    pub(super) fn stir_service(&mut self, cluster: &ClusterKey, group: &str, touched: &mut Touched) {
        let Some(key) = ServiceKey::of_group(cluster, group) else { return };
        if let Some(service) = self.services.get_mut(&key).map(Arc::make_mut) {
            service.epoch += 1;
            touched.services.insert(key);
        }
    }

    /// The same of the services with tasks on a host, after a change of the host itself.
    pub(super) fn stir_services_on(&mut self, id: InstanceId, touched: &mut Touched) {
        let Some(host) = self.host(id).map(Arc::clone) else { return };
        let groups: Vec<String> = host.view.usage.groups().map(|(group, _)| group.to_owned()).collect();
        for group in groups {
            self.stir_service(&host.record.cluster, &group, touched);
        }
        touched.rooms.insert(host.record.cluster.clone());
        touched.hosts.insert(host.record.cluster.clone());
    }

    /// A host takes what it did not take before: daemons first.
    pub(super) fn takes_more(&self, id: InstanceId, touched: &mut Touched) {
        if let Some(host) = self.host(id) {
            touched.rooms.insert(host.record.cluster.clone());
            touched.hosts.insert(host.record.cluster.clone());
        }
    }

    /// A service's tasks that are not stopped.
    #[must_use]
    pub fn service_tasks(&self, key: &ServiceKey) -> Vec<Arc<Task>> {
        let ids = self.service_tasks.get(key).into_iter().flatten();
        ids.filter_map(|id| self.task(*id)).cloned().collect()
    }

    /// Keeps the tasks of services that are not stopped together: those that are stopped may be many more.
    pub(super) fn follow_service_task(&mut self, task: &Task, live: bool) {
        let Some(key) = ServiceKey::of_group(&task.cluster, &task.group) else { return };
        if live {
            self.service_tasks.entry(key).or_default().insert(task.id);
        } else if let Some(ids) = self.service_tasks.get_mut(&key) {
            ids.remove(&task.id);
            if ids.is_empty() {
                self.service_tasks.remove(&key);
            }
        }
    }
}

/// The definition whose tasks hosts keep room for when they lack one: that of an active DAEMON service that still starts
/// tasks.
pub(crate) fn keeps_room(service: &Service) -> Option<&DefinitionKey> {
    let keeps = service.is_active() && service.scheduling == SchedulingStrategy::Daemon;
    let primary = service.deployments.first().filter(|primary| keeps && primary.state != RolloutState::Failed)?;
    Some(&primary.revision.definition)
}

/// The services of a state.
pub(super) type Services = OrdMap<ServiceKey, Arc<ServiceState>>;
