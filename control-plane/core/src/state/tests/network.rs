//! The task network's part of the random sequences: leases, groups, what agents say of theirs, and what has to hold
//! of all that.

use super::lab::Lab;
use super::things::{facts as plain_facts, pick, region};
use crate::change::Change;
use crate::command::{Command, Tx};
use crate::commands::{
    ChangeRules, CreateGroup, DeleteGroup, Interfaces, NewRule, RuleEdit, TakeNetworkStatus, unknown_group,
};
use crate::config::CoreConfig;
use crate::records::{Definition, Direction, Network, SecurityGroup, SecurityGroupRule, Tags, Task};
use crate::state::State;
use longshore_ecs_api::enums::NetworkMode;
use longshore_model::{
    Attribute, Bandwidth, EniId, EniReport, Generation, GroupId, HostFacts, InstanceId, Mac, NetworkChanges,
    NetworkConfig, NetworkHealth, NetworkState, NetworkStatus, Rule, RuleId, RulePeer, SubnetId, Traffic, VpcId,
};
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

#[derive(Debug, Clone)]
pub(super) enum NetworkStep {
    CreateGroup,
    DeleteGroup(u8),
    /// Lets a group into another.
    Authorize {
        group: u8,
        from: u8,
        port: u8,
    },
    Revoke {
        group: u8,
        rule: u8,
    },
    Status {
        host: u8,
        ready: bool,
        free: u32,
        current: bool,
    },
    /// Sessions of some hosts see how things are, and tell their agents what changed since they looked last.
    Look(u8),
}

pub(super) fn step() -> impl Strategy<Value = NetworkStep> {
    prop_oneof![
        1 => any::<bool>().prop_map(|_| NetworkStep::CreateGroup),
        1 => any::<u8>().prop_map(NetworkStep::DeleteGroup),
        3 => (any::<u8>(), any::<u8>(), 0..3u8)
            .prop_map(|(group, from, port)| NetworkStep::Authorize { group, from, port }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(group, rule)| NetworkStep::Revoke { group, rule }),
        6 => (any::<u8>(), 0..8u8, 0..64u32, any::<bool>()).prop_map(|(host, ready, free, current)| {
            NetworkStep::Status { host, ready: ready > 0, free, current }
        }),
        4 => any::<u8>().prop_map(NetworkStep::Look),
    ]
}

/// Facts of hosts of which some take part in the network, and some have the address of another.
pub(super) fn facts(facts: HostFacts, n: u32) -> HostFacts {
    let underlay =
        (!n.is_multiple_of(5)).then(|| IpAddr::V4(Ipv4Addr::new(192, 0, 2, u8::try_from(n / 3 % 8).expect("below 8"))));
    let attribute = Attribute { name: super::super::network::CAPABILITY.to_owned(), value: None };
    let attributes = if !n.is_multiple_of(7) { [attribute].into() } else { Default::default() };
    HostFacts { underlay, attributes, ..facts }
}

/// What a host has to know, from the records alone.
fn whole(state: &State, id: InstanceId) -> Option<NetworkState> {
    let host = state.host(id).filter(|host| host.leases.is_some() && host.record.facts.underlay.is_some())?;
    let live = || state.tasks.values().filter(|task| task.is_live());
    fn of(task: &Task) -> BTreeSet<GroupId> {
        task.awsvpc.as_ref().map(|spec| spec.groups.clone()).unwrap_or_default()
    }
    let ours: BTreeSet<GroupId> = live().filter(|task| task.instance == id).flat_map(|task| of(task)).collect();
    let groups: BTreeMap<_, _> =
        ours.iter().map(|id| (*id, state.security_group(*id).expect("tasks keep it").group_rules())).collect();
    let members = |group: GroupId| -> BTreeSet<IpAddr> {
        let tasks = live().filter(move |task| of(task).contains(&group)).filter_map(|task| task.eni.as_ref());
        tasks.filter(|eni| eni.attached).map(|eni| IpAddr::V4(eni.ipv4)).collect()
    };
    let references: BTreeSet<GroupId> = groups.values().flat_map(|rules| rules.references()).collect();
    let peers = state.clusters().flat_map(|cluster| cluster.hosts.values());
    let peers = peers.filter(|peer| peer.id() != id && peer.leases.is_some()).filter_map(|peer| state.peer(peer));
    Some(NetworkState {
        config: state.network()?.config,
        leases: state.leases(host),
        peers: peers.map(|peer| (peer.instance, peer)).collect(),
        members: references.into_iter().map(|id| (id, members(id))).collect(),
        groups,
    })
}

struct MakeNetwork(NetworkConfig);

impl Command for MakeNetwork {
    const NAME: &'static str = "MakeNetwork";
    type Reply = ();
    type Error = crate::agent::Unavailable;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), Self::Error> {
        let group = group("default", true);
        tx.change(Change::Network(Arc::new(Network {
            vpc: VpcId::random(),
            subnet: SubnetId::random(),
            default_group: group.id,
            config: self.0,
            created_at: tx.now,
            last_lease: None,
        })));
        tx.change(Change::SecurityGroup(Arc::new(group)));
        Ok(())
    }
}

fn group(name: &str, own: bool) -> SecurityGroup {
    let id = GroupId::random();
    let rule = Rule { traffic: Traffic::All, peer: RulePeer::Group(id) };
    let rule = SecurityGroupRule { direction: Direction::Ingress, rule, description: None, tags: Tags::new() };
    SecurityGroup {
        id,
        region: (!own).then(region),
        name: name.to_owned(),
        description: String::new(),
        rules: own.then(|| (RuleId::random(), rule)).into_iter().collect(),
        tags: Tags::new(),
        created_at: longshore_model::Timestamp::from_millis(0),
    }
}

impl Lab {
    pub(super) fn make_network(&mut self) {
        // Four leases: fewer than some sequences have hosts.
        let config = NetworkConfig { v4: "10.77.0.0/22".parse().expect("a network"), ..CoreConfig::default().network };
        self.run(MakeNetwork(config)).expect("nothing refuses it");
    }

    fn group_id(&self, n: u8) -> GroupId {
        let all: Vec<GroupId> = self.state.security_groups().map(|group| group.id).collect();
        pick(&all, n).expect("there is always the default group")
    }

    pub(super) fn interfaces(&self, definition: &Definition, how: u8) -> Option<Interfaces> {
        let subnet = self.state.network()?.subnet;
        let groups = [self.group_id(how), self.group_id(how / 2)].into();
        let asked = Interfaces { subnet, groups, bandwidth: Bandwidth::default() };
        (definition.body.network_mode == Some(NetworkMode::Awsvpc)).then_some(asked)
    }

    /// What a host may say of a task's interface, right or not.
    pub(super) fn eni(&self, task: &Task, n: u8) -> Option<EniReport> {
        let lease = *self.state.leases(self.state.host(task.instance)?).first()?;
        let address = match n % 16 {
            15 => Ipv4Addr::new(10, 9, 9, 9),
            n => lease.task_addresses().nth(n.into())?,
        };
        let digits = &task.id.to_string()[..17];
        let id = format!("eni-{digits}").parse::<EniId>().expect("hexadecimal digits");
        (!n.is_multiple_of(4)).then(|| EniReport {
            id,
            mac: Mac::of_task(address),
            ipv4: address,
            ipv6: None,
            attached: n % 8 < 6,
        })
    }

    pub(super) fn network_step(&mut self, step: NetworkStep) {
        match step {
            NetworkStep::CreateGroup => {
                let name = format!("g{}", self.state.security_groups().count());
                drop(self.run(CreateGroup(group(&name, false))));
            }
            NetworkStep::DeleteGroup(n) => drop(self.run(DeleteGroup { region: region(), id: self.group_id(n) })),
            NetworkStep::Authorize { group, from, port } => {
                let traffic = Traffic::Tcp { from: port.into(), to: port.into() };
                let rule = Rule { traffic, peer: RulePeer::Group(self.group_id(from)) };
                let direction = if port == 2 { Direction::Egress } else { Direction::Ingress };
                let rule = SecurityGroupRule { direction, rule, description: None, tags: Tags::new() };
                let edit = RuleEdit::Authorize(vec![NewRule { id: RuleId::random(), rule }]);
                drop(self.run(ChangeRules { region: region(), group: self.group_id(group), edit }));
            }
            NetworkStep::Revoke { group, rule } => {
                let id = self.group_id(group);
                let rules: Vec<_> =
                    self.state.security_group(id).into_iter().flat_map(|group| group.rules.clone()).collect();
                if let Some((rule, old)) = pick(&rules, rule) {
                    let edit = RuleEdit::RevokeById(old.direction, vec![rule]);
                    drop(self.run(ChangeRules { region: region(), group: id, edit }));
                }
            }
            NetworkStep::Look(which) => self.look(which),
            NetworkStep::Status { host, ready, free, current } => {
                if let Some(instance) = self.host(host)
                    && let Some(session) = self.sessions.get(&instance).copied()
                {
                    let reason = "no tunnel".to_owned();
                    let health = if ready { NetworkHealth::Ready } else { NetworkHealth::Degraded { reason } };
                    let applied = if current { self.state.revision() } else { Generation(0) };
                    let status = NetworkStatus { health, applied, free_addresses: free };
                    drop(self.run(TakeNetworkStatus { instance, session, status }));
                }
            }
        }
    }

    pub(super) fn check_network(&self) -> Result<(), TestCaseError> {
        self.check_leases()?;
        self.check_members()?;
        if let Some(before) = self.past.last() {
            for host in before.leased_hosts() {
                let after = self.state.network_view(host.id());
                let Some(before) = before.network_view(host.id()) else { continue };
                // What a host has to know changes only under a higher number.
                if let Some(after) = after {
                    prop_assert!(after.generation >= before.generation);
                    let same = before.changes_to(&after) == NetworkChanges::default();
                    prop_assert!(after.generation > before.generation || same, "{:?} became {:?}", before, after);
                }
            }
        }
        Ok(())
    }

    /// The sessions of the hosts in `which` look: what their agents knew and what changed add up to all that there is.
    fn look(&mut self, which: u8) {
        for (n, id) in self.hosts().into_iter().enumerate() {
            if which & (1 << (n % 8)) == 0 {
                continue;
            }
            let Some(now) = self.state.network_view(id) else {
                self.told.remove(&id);
                continue;
            };
            let whole = whole(&self.state, id).expect("who has a view has a part of the network");
            let held = match self.told.remove(&id) {
                None => now.state(),
                Some((seen, mut held)) => {
                    let changes = seen.changes_to(&now);
                    assert_eq!(changes, held.changes_to(&whole), "neither more nor less than what changed");
                    assert!(now.generation > seen.generation || changes == NetworkChanges::default());
                    held.apply(changes);
                    held
                }
            };
            assert_eq!(held, whole);
            self.told.insert(id, (now, held));
        }
    }

    /// No lease is given twice, and hosts that could use one wait only while they have to.
    fn check_leases(&self) -> Result<(), TestCaseError> {
        let state = &self.state;
        let hosts: Vec<_> = state.clusters().flat_map(|cluster| cluster.hosts.values()).collect();
        let mut given = BTreeMap::new();
        for host in &hosts {
            for index in host.leases.iter().flat_map(|leases| &leases.indexes) {
                prop_assert_eq!(given.insert(*index, host.id()), None, "lease {} twice", index);
                prop_assert!(host.record.status.is_registered());
            }
            let addresses = 253 * host.leases.as_ref().map_or(0, |leases| leases.indexes.len() as u64);
            prop_assert!(host.view.usage.interfaces() <= addresses);
            let ready = state.network_health(host) == Some(NetworkHealth::Ready);
            prop_assert_eq!(u64::from(host.view.interfaces), if ready { addresses } else { 0 });
        }
        let listed: BTreeSet<InstanceId> = state.leased_hosts().map(|host| host.id()).collect();
        prop_assert_eq!(&listed, &given.values().copied().collect::<BTreeSet<_>>());
        let leases = state.network().expect("there is one").leases();
        prop_assert!(given.keys().all(|index| u32::from(*index) < leases));
        for host in hosts {
            let wants = super::super::wants_lease(&host.record);
            let waits = wants && host.record.is_connected() && host.record.status.is_registered();
            if waits && host.leases.is_none() {
                prop_assert!(given.len() == leases as usize || state.underlay_holder(host).is_some());
            }
        }
        Ok(())
    }

    /// Members and groups of hosts, from the tasks.
    fn check_members(&self) -> Result<(), TestCaseError> {
        let state: &State = &self.state;
        let mut members: BTreeMap<GroupId, BTreeSet<IpAddr>> = BTreeMap::new();
        let mut groups: BTreeMap<InstanceId, BTreeMap<GroupId, u32>> = BTreeMap::new();
        for task in state.tasks.values().filter(|task| task.is_live()) {
            let Some(spec) = &task.awsvpc else { continue };
            prop_assert_eq!(unknown_group(state, &task.cluster, &spec.groups), None);
            for group in &spec.groups {
                *groups.entry(task.instance).or_default().entry(*group).or_default() += 1;
                if let Some(eni) = task.eni.as_ref().filter(|eni| eni.attached) {
                    members.entry(*group).or_default().insert(IpAddr::V4(eni.ipv4));
                    let host = state.host(task.instance).expect("live tasks have a host");
                    prop_assert!(state.leases(host).iter().any(|lease| lease.v4.contains(&eni.ipv4)));
                }
            }
        }
        for group in state.security_groups() {
            let expected = members.remove(&group.id).unwrap_or_default();
            prop_assert_eq!(state.members(group.id).collect::<BTreeSet<_>>(), expected);
            for rule in group.rules.values() {
                if let RulePeer::Group(id) = rule.rule.peer {
                    prop_assert!(state.security_group(id).is_some(), "a rule refers to a group that is gone");
                }
            }
        }
        prop_assert!(members.is_empty());
        for host in state.clusters().flat_map(|cluster| cluster.hosts.values()) {
            prop_assert_eq!(&host.groups, &groups.remove(&host.id()).unwrap_or_default());
        }
        Ok(())
    }
}

#[test]
fn random_steps_do_reach_the_network() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut second, mut members, mut conflicts, mut full, mut told) = (0, 0, 0, 0, 0);
    // The steps are the same every time; which hosts and groups they hit depends on ids, which are random.
    for _ in 0..400 {
        if second > 3 && members > 20 && conflicts > 3 && full > 3 && told > 20 {
            break;
        }
        let steps = proptest::collection::vec(super::step(), 120).new_tree(&mut runner).expect("steps").current();
        let mut lab = Lab::new();
        for step in steps {
            lab.step(step);
            members += lab.state.security_groups().map(|group| lab.state.members(group.id).count()).sum::<usize>();
            told += lab.told.values().flat_map(|(_, held)| held.members.values()).map(BTreeSet::len).sum::<usize>();
        }
        let leases: Vec<usize> = lab
            .state
            .leased_hosts()
            .filter_map(|host| host.leases.as_ref())
            .map(|leases| leases.indexes.len())
            .collect();
        second += leases.iter().filter(|leases| **leases > 1).count();
        full += usize::from(leases.iter().sum::<usize>() == 4);
        let hosts = lab.state.clusters().flat_map(|cluster| cluster.hosts.values());
        conflicts += hosts.filter(|host| lab.state.underlay_holder(host).is_some()).count();
    }
    assert!(second > 3 && members > 20 && conflicts > 3 && full > 3, "{second} {members} {conflicts} {full}");
    assert!(told > 20, "{told}");
    assert!(facts(plain_facts(1, 0), 1).underlay.is_some());
}
