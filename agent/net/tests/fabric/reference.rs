//! Random groups against a model of what they mean.

use crate::world::{Host, Task, WATCH, tcp, udp, world};
use ipnet::Ipv4Net;
use longshore_model::network::{GroupId, GroupRules, Rule, RulePeer, Traffic};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const TASKS: u8 = 4;
const GROUPS: usize = 3;
const PORTS: [u16; 3] = [80, 81, 9000];
const CASES: u32 = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
}

type Rules = BTreeSet<(Traffic, Side)>;

/// Rules (in, out) with groups by number, and the groups of each task.
#[derive(Debug, Clone)]
struct Case {
    rules: Vec<(Rules, Rules)>,
    tasks: Vec<BTreeSet<usize>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Net(Ipv4Net),
    Group(usize),
}

fn address(task: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 1, 11 + u8::try_from(task).expect("few"))
}

fn traffic() -> impl Strategy<Value = Traffic> {
    let port = prop::sample::select(PORTS.to_vec());
    let range = (port.clone(), port).prop_map(|(a, b)| (a.min(b), a.max(b)));
    prop_oneof![
        1 => Just(Traffic::All),
        4 => range.clone().prop_map(|(from, to)| Traffic::Tcp { from, to }),
        4 => range.prop_map(|(from, to)| Traffic::Udp { from, to }),
        1 => Just(Traffic::Protocol(6)),
        1 => Just(Traffic::Icmp { kind: None, code: None }),
    ]
}

fn side() -> impl Strategy<Value = Side> {
    let net = (0..usize::from(TASKS), prop::sample::select(vec![0_u8, 16, 30, 31, 32]))
        .prop_map(|(task, bits)| Side::Net(Ipv4Net::new(address(task), bits).expect("bits").trunc()));
    prop_oneof![net, (0..GROUPS).prop_map(Side::Group)]
}

fn case() -> impl Strategy<Value = Case> {
    let rules = || prop::collection::btree_set((traffic(), side()), 0..4);
    let group = (rules(), rules());
    let groups = prop::collection::btree_set(0..GROUPS, 1..=2);
    (prop::collection::vec(group, GROUPS), prop::collection::vec(groups, usize::from(TASKS)))
        .prop_map(|(rules, tasks)| Case { rules, tasks })
}

impl Case {
    fn lets(&self, rules: &Rules, other: usize, protocol: Protocol, port: u16) -> bool {
        rules.iter().any(|(traffic, side)| {
            let traffic = match *traffic {
                Traffic::All => true,
                Traffic::Tcp { from, to } => protocol == Protocol::Tcp && (from..=to).contains(&port),
                Traffic::Udp { from, to } => protocol == Protocol::Udp && (from..=to).contains(&port),
                Traffic::Protocol(number) => protocol == Protocol::Tcp && number == 6,
                Traffic::Icmp { .. } | Traffic::Icmpv6 { .. } => false,
            };
            traffic
                && match *side {
                    Side::Net(net) => net.contains(&address(other)),
                    Side::Group(group) => self.tasks[other].contains(&group),
                }
        })
    }

    /// What groups mean: one of the sender's lets it out, and one of the receiver's lets it in.
    fn passes(&self, from: usize, to: usize, protocol: Protocol, port: u16) -> bool {
        self.tasks[from].iter().any(|group| self.lets(&self.rules[*group].1, to, protocol, port))
            && self.tasks[to].iter().any(|group| self.lets(&self.rules[*group].0, from, protocol, port))
    }

    fn rules(&self, ids: &[GroupId]) -> BTreeMap<GroupId, GroupRules> {
        let rule = |(traffic, side): &(Traffic, Side)| Rule {
            traffic: *traffic,
            peer: match *side {
                Side::Net(net) => RulePeer::V4(net),
                Side::Group(group) => RulePeer::Group(ids[group]),
            },
        };
        let rules = self.rules.iter().map(|(ingress, egress)| GroupRules {
            ingress: ingress.iter().map(rule).collect(),
            egress: egress.iter().map(rule).collect(),
        });
        ids.iter().copied().zip(rules).collect()
    }
}

#[test]
fn random_groups_mean_what_the_model_says() {
    world(async || {
        let host = Host::here().await;
        let mut tasks = Vec::new();
        for last in 11..11 + TASKS {
            let task: Task = host.wired(last).await;
            for port in PORTS {
                task.listen(port).await;
                crate::world::echo(&task.pause(), port).await;
            }
            tasks.push(task);
        }
        let config = Config { cases: CASES, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let (mut opened, mut closed) = (0, 0);
        for _ in 0..CASES {
            let case = case().new_tree(&mut runner).expect("a case").current();
            let ids: Vec<GroupId> = (0..GROUPS).map(|_| GroupId::random()).collect();
            // Claims of the last case go first: their groups are of no interest any more.
            for task in &tasks {
                host.fabric.dismiss(&task.claim).await.expect("dismissed");
            }
            host.fabric.set_groups(&case.rules(&ids)).await.expect("groups");
            for (task, groups) in tasks.iter_mut().zip(&case.tasks) {
                task.claim.groups = groups.iter().map(|group| ids[*group]).collect();
                host.fabric.admit(&task.claim).await.expect("admitted");
            }
            let mut probes = Vec::new();
            for from in 0..tasks.len() {
                for to in (0..tasks.len()).filter(|to| *to != from) {
                    for (protocol, port) in
                        [Protocol::Tcp, Protocol::Udp].into_iter().flat_map(|p| PORTS.map(|port| (p, port)))
                    {
                        let expected = case.passes(from, to, protocol, port);
                        let (pause, to) = (tasks[from].pause(), SocketAddr::new(IpAddr::V4(tasks[to].ip()), port));
                        let patience = if expected { Duration::from_secs(10) } else { WATCH };
                        probes.push(tokio::spawn(async move {
                            let result = match protocol {
                                Protocol::Tcp => tcp(&pause, to, patience).await,
                                Protocol::Udp => udp(&pause, to, patience).await,
                            };
                            (from, to, protocol, expected, result.is_ok())
                        }));
                    }
                }
            }
            for probe in probes {
                let (from, to, protocol, expected, passed) = probe.await.expect("probed");
                let from = address(from);
                assert_eq!(passed, expected, "{protocol:?} from {from} to {to} in {case:#?} with {ids:?}");
                if passed { opened += 1 } else { closed += 1 }
            }
        }
        assert!(opened > 20 && closed > 20, "the cases say something: {opened} open, {closed} closed");
    });
}
