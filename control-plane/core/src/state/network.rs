//! The task network in the state: its groups and leases, and what follows from them and from tasks.
//!
//! A host's part of the network ([`State::network_view`]) has a generation of its own, the revision at which
//! anything of it changed last. So what nobody on a host refers to costs that host nothing.

use crate::records::{HostLeases, Instance, Network, SecurityGroup, Task};
use crate::state::view::{Members, NetworkView};
use crate::state::{HostState, State, Touched};
use imbl::{HashMap, OrdMap, OrdSet};
use longshore_model::planted::{Bug, is_planted};
use longshore_model::{
    EniId, Generation, GroupId, GroupRules, InstanceId, Lease, NetworkHealth, NetworkStatus, Peer, Region, RuleId,
    TaskId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

/// What hosts have that can give tasks an interface.
pub(crate) const CAPABILITY: &str = "ecs.capability.task-eni";

/// Records of the network, with indexes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Networking {
    pub(super) network: Option<Arc<Network>>,
    pub(super) groups: OrdMap<GroupId, Arc<SecurityGroup>>,
    /// What hosts are told of each group.
    told: HashMap<GroupId, Arc<GroupRules>>,
    /// The group of each rule.
    pub(super) rules: HashMap<RuleId, GroupId>,
    /// By region and name.
    names: HashMap<(Option<Region>, String), GroupId>,
    /// The groups whose rules refer to a group, itself included.
    referrers: HashMap<GroupId, OrdSet<GroupId>>,
    /// The hosts with live tasks in a group.
    hosts: HashMap<GroupId, OrdSet<InstanceId>>,
    /// The addresses of each group that has any.
    members: HashMap<GroupId, Members>,
    /// What other hosts are told of each host that can be reached.
    peers: OrdMap<InstanceId, Arc<Peer>>,
    /// Who has a lease.
    owners: OrdMap<u16, InstanceId>,
    /// The hosts that have any.
    leased: OrdSet<InstanceId>,
    /// Connected hosts that could use a lease and have none.
    waiting: OrdSet<InstanceId>,
    /// Registered hosts by where they say that tunnel packets reach them.
    underlays: HashMap<IpAddr, OrdSet<InstanceId>>,
    /// Interfaces of live tasks.
    pub(super) interfaces: OrdMap<EniId, TaskId>,
}

impl State {
    /// The task network, once there is one.
    #[must_use]
    pub const fn network(&self) -> Option<&Arc<Network>> {
        self.networking.network.as_ref()
    }

    /// A security group.
    #[must_use]
    pub fn security_group(&self, id: GroupId) -> Option<&Arc<SecurityGroup>> {
        self.networking.groups.get(&id)
    }

    /// The security groups from `first` on, by id.
    pub fn security_groups_from(&self, first: GroupId) -> impl Iterator<Item = &Arc<SecurityGroup>> {
        self.networking.groups.range(first..).map(|(_, group)| group)
    }

    /// All security groups, by id.
    pub fn security_groups(&self) -> impl Iterator<Item = &Arc<SecurityGroup>> {
        self.networking.groups.values()
    }

    /// The security group of that name in a region; the default group in every region.
    #[must_use]
    pub fn security_group_named(&self, region: &Region, name: &str) -> Option<&Arc<SecurityGroup>> {
        let found = |region| self.networking.names.get(&(region, name.to_owned()));
        self.security_group(*found(None).or_else(|| found(Some(region.clone())))?)
    }

    /// The security group that a rule is of.
    #[must_use]
    pub fn group_of_rule(&self, id: RuleId) -> Option<&Arc<SecurityGroup>> {
        self.security_group(*self.networking.rules.get(&id)?)
    }

    /// Whether a security group cannot be taken away: live tasks are in it, rules of others refer to it, or tasks of a
    /// service are to be in it, also while it has none.
    #[must_use]
    pub fn is_group_used(&self, id: GroupId) -> bool {
        let referred = self.networking.referrers.get(&id).is_some_and(|by| by.iter().any(|by| *by != id));
        let of_service = || self.services().any(|(_, service)| service.record.names_group(id));
        referred || self.networking.hosts.contains_key(&id) || of_service()
    }

    /// The addresses of the members of a group.
    pub fn members(&self, id: GroupId) -> impl Iterator<Item = IpAddr> {
        self.networking.members.get(&id).into_iter().flat_map(Members::keys).copied()
    }

    /// Interfaces of live tasks, from `first` on.
    pub fn interfaces_from(&self, first: EniId) -> impl Iterator<Item = (EniId, &Arc<Task>)> {
        self.networking.interfaces.range(first..).filter_map(|(eni, id)| Some((*eni, self.task(*id)?)))
    }

    /// How many interfaces of live tasks there are.
    #[must_use]
    pub fn interfaces_len(&self) -> usize {
        self.networking.interfaces.len()
    }

    /// Hosts that have a part of the network, by id.
    pub fn leased_hosts(&self) -> impl Iterator<Item = &Arc<HostState>> {
        self.networking.leased.iter().filter_map(|id| self.host(*id))
    }

    /// Fewer free addresses than these, and a host gets another lease.
    pub(crate) fn few_addresses(&self) -> u32 {
        self.network().map_or(0, |network| network.few_addresses())
    }

    /// The lease to give next, which nobody has.
    pub(crate) fn free_lease(&self) -> Option<u16> {
        let (network, owners) = (self.network()?, &self.networking.owners);
        let lost = |index: &u16| {
            is_planted(Bug::SilentHostsLoseTheirLeases)
                && owners.get(index).and_then(|owner| self.host(*owner)).is_some_and(|host| !host.record.is_connected())
        };
        let free = |index: &u16| !owners.contains_key(index);
        network.lease_order().find(lost).or_else(|| network.lease_order().find(free))
    }

    /// Connected hosts that could use a lease and have none.
    pub(crate) fn waiting_for_lease(&self) -> impl Iterator<Item = InstanceId> {
        self.networking.waiting.iter().copied()
    }

    /// A host's leases as hosts are told them.
    #[must_use]
    pub fn leases(&self, host: &HostState) -> Vec<Lease> {
        let indexes = host.leases.iter().flat_map(|leases| &leases.indexes);
        self.network().into_iter().flat_map(|network| indexes.clone().map(|index| network.lease(*index))).collect()
    }

    /// The host whose underlay address is the same and that came first, if there is one: tunnels can lead to only
    /// one of the two.
    #[must_use]
    pub fn underlay_holder(&self, host: &HostState) -> Option<InstanceId> {
        let sharing = self.networking.underlays.get(&host.record.facts.underlay?)?;
        let came = |host: &HostState| host.leases.as_ref().map(|leases| (leases.since, host.id()));
        let first = sharing.iter().filter_map(|id| came(self.host(*id)?)).min()?;
        (first.1 != host.id()).then_some(first.1)
    }

    /// How a host's part of the network is; `None` when it takes no part.
    #[must_use]
    pub fn network_health(&self, host: &HostState) -> Option<NetworkHealth> {
        let degraded = |reason: String| Some(NetworkHealth::Degraded { reason });
        let underlay = host.record.facts.underlay;
        let said = match host.network_status.as_deref() {
            Some(NetworkStatus { health: NetworkHealth::Degraded { reason }, .. }) => Some(reason.clone()),
            Some(NetworkStatus { health: NetworkHealth::Ready, .. }) | None => None,
        };
        if !wants_lease(&host.record) {
            // What it lacks, when it would take part; it knows better than we do.
            let unsaid = "its agent does not say any more where tunnels can reach it";
            let unsaid = host.leases.is_some().then(|| unsaid.to_owned());
            return said.or(unsaid).and_then(degraded);
        }
        if let (Some(other), Some(address)) = (self.underlay_holder(host), underlay) {
            return degraded(format!(
                "its underlay address {address} is that of container instance {other}, which has it first; deregister \
                 that one, or give this host another address"
            ));
        }
        let Some(_) = &host.leases else {
            let config = self.network().map(|network| network.config);
            let (length, range) = config.map(|config| (config.lease_length, config.v4.to_string())).unwrap_or_default();
            return degraded(if host.record.is_connected() {
                format!(
                    "no /{length} of {range} (task_network) is left for it; deregister container instances that are \
                     gone"
                )
            } else {
                "its agent has not been connected since it could have an address range".to_owned()
            });
        };
        match host.network_status.as_deref() {
            None => degraded("its agent has not said yet whether its part of the task network works".to_owned()),
            Some(NetworkStatus { health: NetworkHealth::Degraded { reason }, .. }) => degraded(reason.clone()),
            Some(NetworkStatus { health: NetworkHealth::Ready, free_addresses: 0, .. }) => {
                degraded("none of its addresses is free at the moment".to_owned())
            }
            Some(NetworkStatus { health: NetworkHealth::Ready, .. }) => Some(NetworkHealth::Ready),
        }
    }

    /// All that a host has to know of the network. `None` for a host that has no lease, or whose agent does not take
    /// part (any more).
    #[must_use]
    pub fn network_view(&self, id: InstanceId) -> Option<NetworkView> {
        let network = self.network()?;
        let host = self.host(id)?;
        host.leases.as_ref()?;
        host.record.facts.underlay?;
        let groups: BTreeMap<GroupId, Arc<GroupRules>> =
            host.groups.keys().filter_map(|id| Some((*id, Arc::clone(self.networking.told.get(id)?)))).collect();
        let references: BTreeSet<GroupId> = groups.values().flat_map(|rules| rules.references()).collect();
        let members = |id: GroupId| self.networking.members.get(&id).cloned().unwrap_or_default();
        Some(NetworkView {
            generation: self.network_generation(host),
            own: id,
            config: network.config,
            leases: self.leases(host),
            peers: self.networking.peers.clone(),
            groups,
            members: references.into_iter().map(|id| (id, members(id))).collect(),
        })
    }

    /// The revision at which what a host has to know of the network changed last.
    #[must_use]
    pub fn network_generation(&self, host: &HostState) -> Generation {
        let own = self.network_generations.get(&host.id()).copied().unwrap_or_default();
        own.max(self.networks_generation)
    }

    /// What changed of networks did so at `revision`.
    pub(super) fn commit_networks(&mut self, revision: Generation, touched: &Touched) {
        if touched.all_networks {
            self.networks_generation = revision;
        }
        for id in touched.networks.iter().filter(|id| self.instance_clusters.contains_key(*id)) {
            self.network_generations.insert(*id, revision);
        }
    }

    pub(super) fn peer(&self, host: &HostState) -> Option<Peer> {
        let underlay = host.record.facts.underlay.filter(|_| self.underlay_holder(host).is_none())?;
        let connected = host.record.is_connected();
        Some(Peer { instance: host.id(), underlay, leases: self.leases(host), connected })
    }

    pub(super) fn put_network(&mut self, network: &Arc<Network>) {
        let before = self.networking.network.replace(Arc::clone(network));
        if before.is_none_or(|before| before.config != network.config) {
            self.refresh_peers(self.networking.leased.clone());
        }
    }

    pub(super) fn put_security_group(&mut self, group: &Arc<SecurityGroup>, touched: &mut Touched) {
        if let Some(old) = self.networking.groups.insert(group.id, Arc::clone(group)) {
            self.unlist_group(&old);
        }
        self.networking.names.insert((group.region.clone(), group.name.clone()), group.id);
        for id in group.rules.keys() {
            self.networking.rules.insert(*id, group.id);
        }
        let rules = group.group_rules();
        for id in rules.references() {
            add(&mut self.networking.referrers, id, group.id);
        }
        if self.networking.told.get(&group.id).is_none_or(|told| **told != rules) {
            self.networking.told.insert(group.id, Arc::new(rules));
            touched.networks.extend(self.networking.hosts.get(&group.id).into_iter().flatten());
        }
    }

    pub(super) fn forget_security_group(&mut self, id: GroupId) {
        if let Some(old) = self.networking.groups.remove(&id) {
            self.unlist_group(&old);
            self.networking.told.remove(&id);
        }
    }

    fn unlist_group(&mut self, group: &SecurityGroup) {
        self.networking.names.remove(&(group.region.clone(), group.name.clone()));
        for id in group.rules.keys() {
            self.networking.rules.remove(id);
        }
        for id in group.group_rules().references() {
            take(&mut self.networking.referrers, &id, &group.id);
        }
    }

    pub(super) fn put_leases(&mut self, leases: &Arc<HostLeases>, touched: &mut Touched) {
        self.unlist_leases(leases.instance);
        for index in &leases.indexes {
            self.networking.owners.insert(*index, leases.instance);
        }
        self.networking.leased.insert(leases.instance);
        self.set_leases(leases.instance, Some(leases), touched);
    }

    pub(super) fn forget_leases(&mut self, id: InstanceId, touched: &mut Touched) {
        self.unlist_leases(id);
        self.networking.leased.remove(&id);
        self.set_leases(id, None, touched);
    }

    fn unlist_leases(&mut self, id: InstanceId) {
        let indexes: Vec<u16> =
            self.host(id).and_then(|host| host.leases.as_ref()).map_or_else(Vec::new, |old| old.indexes.clone());
        for index in indexes {
            self.networking.owners.remove(&index);
        }
    }

    fn set_leases(&mut self, id: InstanceId, leases: Option<&Arc<HostLeases>>, touched: &mut Touched) {
        let after = self.revision;
        if let Some(host) = self.host_mut(id) {
            host.leases = leases.map(Arc::clone);
            host.leased_after = after;
        }
        touched.all_networks = true;
        let record = self.host(id).map(|host| Arc::clone(&host.record));
        self.follow_instance(record.as_deref(), record.as_deref(), touched);
    }

    pub(super) fn put_network_status(&mut self, id: InstanceId, status: &Arc<NetworkStatus>, touched: &mut Touched) {
        let interfaces = |state: &Self| state.host(id).map_or(0, |host| host.view.interfaces);
        let before = interfaces(self);
        if let Some(host) = self.host_mut(id) {
            host.network_status = Some(Arc::clone(status));
        }
        self.refresh_interfaces([id]);
        if interfaces(self) > before {
            self.takes_more(id, touched);
        }
    }

    /// Follows the change of an instance's record, or of its leases.
    pub(super) fn follow_instance(&mut self, old: Option<&Instance>, new: Option<&Instance>, touched: &mut Touched) {
        let Some(id) = new.or(old).map(|record| record.id) else { return };
        let underlay = |record: Option<&Instance>| {
            record.filter(|record| record.status.is_registered()).and_then(|record| record.facts.underlay)
        };
        let (before, after) = (underlay(old), underlay(new));
        if let Some(address) = before {
            take(&mut self.networking.underlays, &address, &id);
        }
        if let Some(address) = after {
            add(&mut self.networking.underlays, address, id);
        }
        let leased = self.networking.leased.contains(&id);
        let waits = |record: &Instance| {
            record.status.is_registered() && record.is_connected() && wants_lease(record) && !leased
        };
        if new.is_some_and(waits) {
            self.networking.waiting.insert(id);
        } else {
            self.networking.waiting.remove(&id);
        }
        let connected = |record: Option<&Instance>| record.is_some_and(Instance::is_connected);
        if leased && (before != after || connected(old) != connected(new)) {
            touched.all_networks = true;
        }
        // Who shares an address with whom decides whether either can be used.
        let sharing =
            [before, after].into_iter().flatten().filter_map(|address| self.networking.underlays.get(&address));
        let affected: BTreeSet<InstanceId> = sharing.flatten().copied().chain([id]).collect();
        self.refresh_peers(affected.iter().copied());
        self.refresh_interfaces(affected);
        if new.is_none() {
            self.network_generations.remove(&id);
        }
    }

    fn refresh_peers(&mut self, ids: impl IntoIterator<Item = InstanceId>) {
        for id in ids {
            match self.host(id).filter(|host| host.leases.is_some()).and_then(|host| self.peer(host)) {
                Some(peer) if self.networking.peers.get(&id).is_some_and(|known| **known == peer) => {}
                Some(peer) => _ = self.networking.peers.insert(id, Arc::new(peer)),
                None => _ = self.networking.peers.remove(&id),
            }
        }
    }

    fn refresh_interfaces(&mut self, ids: impl IntoIterator<Item = InstanceId>) {
        for id in ids {
            let Some(host) = self.host(id) else { continue };
            let usable = match self.network_health(host) {
                Some(NetworkHealth::Ready) => {
                    let addresses: usize = self.leases(host).iter().map(|lease| lease.task_addresses().count()).sum();
                    u32::try_from(addresses).unwrap_or(u32::MAX)
                }
                Some(NetworkHealth::Degraded { .. }) | None => 0,
            };
            if host.view.interfaces != usable
                && let Some(host) = self.host_mut(id)
            {
                host.view.interfaces = usable;
                host.epoch += 1;
            }
        }
    }

    /// Follows the change of a task: the groups that its host needs, and the addresses of those groups.
    pub(super) fn follow_task(&mut self, old: Option<&Task>, new: Option<&Task>, touched: &mut Touched) {
        let Some(task) = new.or(old).filter(|task| task.awsvpc.is_some()) else { return };
        let (id, instance) = (task.id, task.instance);
        let groups =
            |task: Option<&Task>| -> BTreeSet<GroupId> { task.into_iter().flat_map(Task::live_groups).collect() };
        let (before, after) = (groups(old), groups(new));
        for group in before.difference(&after) {
            self.count_group(*group, instance, false, touched);
        }
        for group in after.difference(&before) {
            self.count_group(*group, instance, true, touched);
        }
        let addresses =
            |task: Option<&Task>| -> BTreeSet<IpAddr> { task.into_iter().flat_map(Task::member_addresses).collect() };
        let (was, is) = (addresses(old), addresses(new));
        if was != is {
            for group in before.union(&after) {
                was.difference(&is).for_each(|address| leave(&mut self.networking.members, group, address));
                is.difference(&was).for_each(|address| join(&mut self.networking.members, *group, *address));
                let referrers = self.networking.referrers.get(group).into_iter().flatten();
                let hosts = referrers.flat_map(|by| self.networking.hosts.get(by).into_iter().flatten());
                touched.networks.extend(hosts.copied());
            }
        }
        let interface = |task: Option<&Task>| {
            task.and_then(|t| t.eni.as_ref().filter(|eni| eni.attached && t.is_live()).map(|eni| eni.id))
        };
        let (had, has) = (interface(old), interface(new));
        if had != has {
            if let Some(eni) = had.filter(|eni| self.networking.interfaces.get(eni) == Some(&id)) {
                self.networking.interfaces.remove(&eni);
            }
            if let Some(eni) = has {
                self.networking.interfaces.insert(eni, id);
            }
        }
    }

    /// Counts a live task of a host in a group; the host has to know more or less when it is the first or the last.
    fn count_group(&mut self, group: GroupId, instance: InstanceId, more: bool, touched: &mut Touched) {
        let Some(host) = self.host_mut(instance) else { return };
        let count = host.groups.entry(group).or_default();
        let before = *count;
        *count = if more { before + 1 } else { before.saturating_sub(1) };
        match (before, *count) {
            (0, 1..) => add(&mut self.networking.hosts, group, instance),
            (1.., 0) => {
                host.groups.remove(&group);
                take(&mut self.networking.hosts, &group, &instance);
            }
            (0, 0) => {
                host.groups.remove(&group);
                return;
            }
            (1.., 1..) => return,
        }
        touched.networks.insert(instance);
    }
}

/// Whether an instance can give tasks interfaces, as far as its agent says.
pub(crate) fn wants_lease(record: &Instance) -> bool {
    record.facts.underlay.is_some() && record.facts.attributes.iter().any(|attribute| attribute.name == CAPABILITY)
}

fn add<K: Hash + Eq + Clone, V: Ord + Clone>(map: &mut HashMap<K, OrdSet<V>>, key: K, value: V) {
    map.entry(key).or_default().insert(value);
}

fn take<K: Hash + Eq + Clone, V: Ord + Clone>(map: &mut HashMap<K, OrdSet<V>>, key: &K, value: &V) {
    if let Some(set) = map.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            map.remove(key);
        }
    }
}

fn join(members: &mut HashMap<GroupId, Members>, group: GroupId, address: IpAddr) {
    *members.entry(group).or_default().entry(address).or_default() += 1;
}

fn leave(members: &mut HashMap<GroupId, Members>, group: &GroupId, address: &IpAddr) {
    let Some(addresses) = members.get_mut(group) else { return };
    match addresses.get_mut(address) {
        Some(tasks) if *tasks > 1 => *tasks -= 1,
        Some(_) | None => _ = addresses.remove(address),
    }
    if addresses.is_empty() {
        members.remove(group);
    }
}
