//! Everything that the control plane knows, with indexes for every question that is asked often.
//!
//! A state is a handful of persistent maps: cloning one copies a few pointers, and a clone never changes. Only
//! [`State::apply`] changes a state, one [`Change`] at a time; indexes and sums follow in the same place. Readers
//! get states from [`Core::snapshot`](crate::Core::snapshot).

mod apply;
mod cluster;
mod host;
mod network;
mod pins;
mod rules;
mod scaling;
mod schedule;
mod service;
mod sets;
mod shared;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use cluster::Silent;
pub use cluster::{ClusterState, TaskCounts};
pub use host::HostState;
pub(crate) use network::{CAPABILITY, Networking, wants_lease};
pub(crate) use rules::Queue;
pub(crate) use schedule::Due;
pub use service::ServiceState;
pub(crate) use service::keeps_room;
pub(crate) use sets::{Grave, TaskSet};
pub use view::NetworkView;

use crate::agent::JoinKey;
use crate::records::{
    AccessKey, Account, Activation, ActivationKey, CapacityProvider, CapacityProviderKey, ClientToken, ClientTokenKey,
    Definition, DefinitionKey, FamilyKey, Secret, SecretKey, ServiceKey, Setting, SettingKey, Task,
};
use imbl::{HashMap, OrdMap, OrdSet};
use longshore_model::{Attribute, ClusterKey, DesiredStatus, Generation, InstanceId, Region, TaskId, Timestamp};
use longshore_sched::Attributes;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A family of task definitions.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Family {
    /// The highest revision ever given; 0 before the first.
    pub last_revision: u32,
    /// The revisions that there are.
    pub revisions: OrdMap<u32, Arc<Definition>>,
}

/// What the control plane knows at one revision of its store.
#[derive(Debug, Clone, Default)]
pub struct State {
    revision: Generation,
    account: Option<Arc<Account>>,
    access_keys: HashMap<String, Arc<AccessKey>>,
    settings: OrdMap<SettingKey, Arc<Setting>>,
    activations: OrdMap<ActivationKey, Arc<Activation>>,
    activation_regions: HashMap<String, ActivationKey>,
    secrets: OrdMap<SecretKey, Arc<Secret>>,
    capacity_providers: OrdMap<CapacityProviderKey, Arc<CapacityProvider>>,
    clusters: OrdMap<ClusterKey, Arc<ClusterState>>,
    instance_clusters: HashMap<InstanceId, ClusterKey>,
    /// The lists of attributes in the records of instances, and what placement looks up in their place.
    attribute_lists: shared::Shared<[Attribute]>,
    attributes: shared::Shared<Attributes>,
    /// Registered instances by how they joined.
    joins: HashMap<JoinedBy, InstanceId>,
    families: OrdMap<FamilyKey, Arc<Family>>,
    definition_users: HashMap<DefinitionKey, u32>,
    doomed_definitions: OrdSet<DefinitionKey>,
    services: service::Services,
    /// Active DAEMON services.
    daemons: OrdSet<ServiceKey>,
    /// Tasks of services that are not stopped.
    service_tasks: HashMap<ServiceKey, OrdSet<TaskId>>,
    rules: rules::Rules,
    scaling: scaling::Targets,
    schedules: schedule::Schedules,
    tasks: HashMap<TaskId, Arc<Task>>,
    pins: pins::Pins,
    task_sets: HashMap<(TaskSet, DesiredStatus), OrdSet<TaskId>>,
    client_tokens: OrdMap<ClientTokenKey, Arc<ClientToken>>,
    graves: OrdSet<(Timestamp, Grave)>,
    networking: Networking,
    /// The revision at which what a host has to know of the network changed last, apart from what everybody has to.
    network_generations: HashMap<InstanceId, Generation>,
    /// The same of what everybody has to know.
    networks_generation: Generation,
}

/// The instances whose agents should hear of changes.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Those whose assignment changed, or who were deregistered.
    pub(crate) assignments: BTreeSet<InstanceId>,
    /// Those whose part of the network changed.
    pub(crate) networks: BTreeSet<InstanceId>,
    /// Everybody's part of the network changed.
    pub(crate) all_networks: bool,
    /// Services about which there may be something to decide.
    pub(crate) services: BTreeSet<ServiceKey>,
    /// Clusters in which hosts changed or resources became free: there may be a place now where there was none.
    pub(crate) rooms: BTreeSet<ClusterKey>,
    /// Those of them in which hosts came or changed.
    pub(crate) hosts: BTreeSet<ClusterKey>,
    /// There may be something to deliver.
    pub(crate) deliveries: bool,
    /// What is due next may be something else now.
    pub(crate) dues: bool,
}

impl<'a> FromIterator<&'a Self> for Touched {
    fn from_iter<I: IntoIterator<Item = &'a Self>>(all: I) -> Self {
        let mut sum = Self::default();
        for one in all {
            sum.assignments.extend(&one.assignments);
            sum.networks.extend(&one.networks);
            sum.all_networks |= one.all_networks;
            sum.services.extend(one.services.iter().cloned());
            sum.rooms.extend(one.rooms.iter().cloned());
            sum.hosts.extend(one.hosts.iter().cloned());
            sum.deliveries |= one.deliveries;
            sum.dues |= one.dues;
        }
        sum
    }
}

/// How an instance joined: its activation, its key and its cluster.
type JoinedBy = (String, JoinKey, ClusterKey);

impl State {
    /// The store's revision that this state is true at.
    #[must_use]
    pub const fn revision(&self) -> Generation {
        self.revision
    }

    /// The account, once there is one.
    #[must_use]
    pub const fn account(&self) -> Option<&Arc<Account>> {
        self.account.as_ref()
    }

    /// An access key.
    #[must_use]
    pub fn access_key(&self, id: &str) -> Option<&Arc<AccessKey>> {
        self.access_keys.get(id)
    }

    /// All access keys, in no order.
    pub fn access_keys(&self) -> impl Iterator<Item = &Arc<AccessKey>> {
        self.access_keys.values()
    }

    /// A setting.
    #[must_use]
    pub fn setting(&self, key: &SettingKey) -> Option<&Arc<Setting>> {
        self.settings.get(key)
    }

    /// All settings, by region, name and principal.
    pub fn settings(&self) -> impl Iterator<Item = &Arc<Setting>> {
        self.settings.values()
    }

    /// An activation, whatever its region.
    #[must_use]
    pub fn activation(&self, id: &str) -> Option<&Arc<Activation>> {
        self.activations.get(self.activation_regions.get(id)?)
    }

    /// All activations, by region and id.
    pub fn activations(&self) -> impl Iterator<Item = &Arc<Activation>> {
        self.activations.values()
    }

    /// A secret, whether or not its deletion was asked for; one whose time is over may still be here.
    #[must_use]
    pub fn secret(&self, key: &SecretKey) -> Option<&Arc<Secret>> {
        self.secrets.get(key)
    }

    /// All secrets from `first` on, by region and name.
    pub fn secrets_from(&self, first: &SecretKey) -> impl Iterator<Item = &Arc<Secret>> {
        self.secrets.range(first.clone()..).map(|(_, secret)| secret)
    }

    /// A capacity provider.
    pub(crate) fn capacity_provider(&self, key: &CapacityProviderKey) -> Option<&Arc<CapacityProvider>> {
        self.capacity_providers.get(key)
    }

    /// The capacity providers of a region, by name.
    pub(crate) fn capacity_providers(&self, region: &Region) -> impl Iterator<Item = &Arc<CapacityProvider>> {
        let first = CapacityProviderKey { region: region.clone(), name: String::new() };
        self.capacity_providers
            .range(first..)
            .map(|(_, provider)| provider)
            .take_while(move |provider| provider.key.region == *region)
    }

    /// A cluster with its instances, deleted ones included while they are remembered.
    #[must_use]
    pub fn cluster(&self, key: &ClusterKey) -> Option<&Arc<ClusterState>> {
        self.clusters.get(key)
    }

    /// All clusters from `first` on, by region and name.
    pub fn clusters_from(&self, first: &ClusterKey) -> impl Iterator<Item = &Arc<ClusterState>> {
        self.clusters.range(first.clone()..).map(|(_, cluster)| cluster)
    }

    /// All clusters, by region and name.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<ClusterState>> {
        self.clusters.values()
    }

    /// A container instance, deregistered ones included while they are remembered.
    #[must_use]
    pub fn host(&self, id: InstanceId) -> Option<&Arc<HostState>> {
        self.clusters.get(self.instance_clusters.get(&id)?)?.hosts.get(&id)
    }

    /// The registered instance that joined this cluster with this activation and key.
    pub(crate) fn joined(&self, activation: &str, key: &JoinKey, cluster: &ClusterKey) -> Option<InstanceId> {
        self.joins.get(&(activation.to_owned(), key.clone(), cluster.clone())).copied()
    }

    /// A family.
    #[must_use]
    pub fn family(&self, key: &FamilyKey) -> Option<&Arc<Family>> {
        self.families.get(key)
    }

    /// All families from `first` on, by region and name.
    pub fn families_from(&self, first: &FamilyKey) -> impl Iterator<Item = (&FamilyKey, &Arc<Family>)> {
        self.families.range(first.clone()..)
    }

    /// A task definition.
    #[must_use]
    pub fn definition(&self, key: &DefinitionKey) -> Option<&Arc<Definition>> {
        self.families.get(&key.family_key())?.revisions.get(&key.revision)
    }

    /// How many tasks refer to a definition, stopped ones included.
    #[must_use]
    pub fn definition_users(&self, key: &DefinitionKey) -> u32 {
        self.definition_users.get(key).copied().unwrap_or(0)
    }

    /// Definitions whose deletion was asked for.
    pub(crate) fn doomed_definitions(&self) -> impl Iterator<Item = &DefinitionKey> {
        self.doomed_definitions.iter()
    }

    /// A task, stopped ones included while they are remembered.
    #[must_use]
    pub fn task(&self, id: TaskId) -> Option<&Arc<Task>> {
        self.tasks.get(&id)
    }

    /// All tasks, stopped ones included while they are remembered.
    pub fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks.values()
    }

    /// How many tasks there are, stopped ones included.
    #[must_use]
    pub fn tasks_len(&self) -> usize {
        self.tasks.len()
    }

    /// The tasks of a set, by id.
    pub(crate) fn task_set(&self, set: &TaskSet, desired: DesiredStatus) -> Option<&OrdSet<TaskId>> {
        self.task_sets.get(&(set.clone(), desired))
    }

    /// What a client token was used for.
    #[must_use]
    pub fn client_token(&self, key: &ClientTokenKey) -> Option<&Arc<ClientToken>> {
        self.client_tokens.get(key)
    }

    /// What is over, the longest first.
    pub(crate) fn graves(&self) -> impl Iterator<Item = &(Timestamp, Grave)> {
        self.graves.iter()
    }

    /// Whether that is still over since then.
    pub(crate) fn is_grave(&self, at: Timestamp, grave: &Grave) -> bool {
        self.graves.contains(&(at, grave.clone()))
    }
}
