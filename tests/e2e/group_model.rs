//! Random security groups, rules and tasks against a model of them: what the model says is open is open, the rest is
//! closed, on every host, and again after each of some random changes.
//!
//! One round in the ordinary run, `LONGSHORE_SOAK_ROUNDS` in `make soak`. The seed is printed; `LONGSHORE_SEED`
//! repeats it.

use std::fmt;
use std::net::Ipv4Addr;

use longshore_tests::lab::{Lab, wait_until};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::awsvpc::{assert_clean, ec2};
use super::campaign::number;
use super::packets::probe::{Kind, Servers, TCP_PORTS, UDP_PORTS, Want, settle};
use super::packets::{Wired, change_rule, make_group, permission, start_on, still, wired};
use super::support::*;

const HOSTS: usize = 3;
const CHANGES: usize = 5;
/// Ends of ranges of ports, around those that are tried.
const ENDS: [u16; 10] = [0, 1, 53, 54, 80, 100, 443, 444, 5432, 65_535];

/// What a rule lets through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Traffic {
    All,
    Tcp(u16, u16),
    Udp(u16, u16),
    Icmp(i32, i32),
}

impl Traffic {
    fn covers(self, kind: Kind) -> bool {
        match (self, kind) {
            (Self::All, _) => true,
            (Self::Tcp(from, to), Kind::Tcp(port)) | (Self::Udp(from, to), Kind::Udp(port)) => {
                (from..=to).contains(&port)
            }
            // An echo request is type 8, code 0.
            (Self::Icmp(kind, code), Kind::Echo) => [-1, 8].contains(&kind) && [-1, 0].contains(&code),
            _ => false,
        }
    }
}

/// Whom a rule is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Peer {
    Net(Ipv4Addr, u32),
    /// The group of this number.
    Group(usize),
}

/// A range that begins where its prefix does, as the API keeps it.
fn net(address: Ipv4Addr, length: u32) -> Peer {
    let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
    Peer::Net(Ipv4Addr::from_bits(address.to_bits() & mask), length)
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Rule {
    traffic: Traffic,
    peer: Peer,
}

/// Which way a rule looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

struct Group {
    id: String,
    ingress: Vec<Rule>,
    egress: Vec<Rule>,
}

impl Group {
    fn rules(&self, way: Way) -> &Vec<Rule> {
        match way {
            Way::In => &self.ingress,
            Way::Out => &self.egress,
        }
    }

    fn rules_mut(&mut self, way: Way) -> &mut Vec<Rule> {
        match way {
            Way::In => &mut self.ingress,
            Way::Out => &mut self.egress,
        }
    }
}

struct Member<'a> {
    task: Wired<'a>,
    groups: Vec<usize>,
    _servers: Servers,
}

/// The model, and what it is a model of.
struct World<'a> {
    lab: &'a Lab,
    definition: String,
    groups: Vec<Group>,
    members: Vec<Member<'a>>,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.traffic {
            Traffic::All => write!(f, "all "),
            Traffic::Tcp(from, to) => write!(f, "tcp {from}-{to} "),
            Traffic::Udp(from, to) => write!(f, "udp {from}-{to} "),
            Traffic::Icmp(kind, code) => write!(f, "icmp {kind}/{code} "),
        }?;
        match self.peer {
            Peer::Net(address, length) => write!(f, "{address}/{length}"),
            Peer::Group(number) => write!(f, "group {number}"),
        }
    }
}

impl fmt::Display for World<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |rules: &Vec<Rule>| rules.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        for (number, group) in self.groups.iter().enumerate() {
            writeln!(f, "  group {number} {}: in {}", group.id, words(&group.ingress))?;
            writeln!(f, "    out {}", words(&group.egress))?;
        }
        for member in &self.members {
            writeln!(f, "  {} on {} in {:?}", member.task.address, member.task.node.host.name(), member.groups)?;
        }
        Ok(())
    }
}

impl<'a> World<'a> {
    /// Whether `peer` is the address of that member, or a group that it is in.
    fn is(peer: Peer, member: &Member<'_>) -> bool {
        match peer {
            Peer::Net(address, length) => net(member.task.address, length) == Peer::Net(address, length),
            Peer::Group(number) => member.groups.contains(&number),
        }
    }

    /// The model: one group of the sender lets it out, and one group of the receiver lets it in.
    fn reaches(&self, from: &Member<'_>, to: &Member<'_>, kind: Kind) -> bool {
        let allows = |way: Way, own: &Member<'_>, other: &Member<'_>| {
            let mut rules = own.groups.iter().flat_map(|number| self.groups[*number].rules(way));
            rules.any(|rule| rule.traffic.covers(kind) && Self::is(rule.peer, other))
        };
        allows(Way::Out, from, to) && allows(Way::In, to, from)
    }

    /// Tries everything from everywhere.
    fn check(&self, what: &str) {
        let tcp = TCP_PORTS.into_iter().map(Kind::Tcp);
        let kinds: Vec<Kind> = tcp.chain(UDP_PORTS.into_iter().map(Kind::Udp)).chain([Kind::Echo]).collect();
        let mut wants = Vec::new();
        for (n, from) in self.members.iter().enumerate() {
            for (_, to) in self.members.iter().enumerate().filter(|(other, _)| *other != n) {
                wants.extend(kinds.iter().map(|kind| Want {
                    from: from.task.place(),
                    to: to.task.address,
                    kind: *kind,
                    open: self.reaches(from, to, *kind),
                    name: format!("{} {:?} -> {:?}", from.task.address, from.groups, to.groups),
                }));
            }
        }
        let open = wants.iter().filter(|want| want.open).count();
        println!("{what}: {open} of {} are to be open", wants.len());
        settle(what, &wants);
    }

    fn rule(&self, random: &mut StdRng) -> Rule {
        let mut ends = [*ENDS.choose(random).unwrap(), *ENDS.choose(random).unwrap()];
        ends.sort_unstable();
        let [from, to] = ends;
        let one = *[53, 80, 443, 5432].choose(random).unwrap();
        let traffic = match random.random_range(0..10) {
            0 => Traffic::All,
            1..=3 => Traffic::Tcp(one, one),
            4 | 5 => Traffic::Tcp(from, to),
            6 => Traffic::Udp(one, one),
            7 => Traffic::Udp(from, to),
            _ => *[(-1, -1), (8, -1), (8, 0), (0, -1)]
                .map(|(kind, code)| Traffic::Icmp(kind, code))
                .choose(random)
                .unwrap(),
        };
        let network = Ipv4Addr::new(10, 77, 0, 0);
        let somebody = self.members.choose(random).map_or(network, |member| member.task.address);
        let peer = match random.random_range(0..10) {
            0..=3 => Peer::Group(random.random_range(0..self.groups.len())),
            4 => net(Ipv4Addr::UNSPECIFIED, 0),
            5 => net(network, 16),
            6 => net(somebody, 24),
            7 => net(somebody, 30),
            8 => net(somebody, 32),
            _ => net(Ipv4Addr::new(192, 0, 2, 0), 24),
        };
        Rule { traffic, peer }
    }

    fn permission(&self, rule: Rule) -> Value {
        let peer = match rule.peer {
            Peer::Net(address, length) => format!("{address}/{length}"),
            Peer::Group(number) => self.groups[number].id.clone(),
        };
        match rule.traffic {
            Traffic::All => permission("-1", -1, -1, &peer),
            Traffic::Tcp(from, to) => permission("tcp", from.into(), to.into(), &peer),
            Traffic::Udp(from, to) => permission("udp", from.into(), to.into(), &peer),
            Traffic::Icmp(kind, code) => permission("icmp", kind, code, &peer),
        }
    }

    fn authorize(&mut self, number: usize, way: Way, rule: Rule) {
        if self.groups[number].rules(way).contains(&rule) {
            return;
        }
        change_rule(self.lab, "authorize", word(way), &self.groups[number].id, &self.permission(rule));
        self.groups[number].rules_mut(way).push(rule);
    }

    fn revoke(&mut self, number: usize, way: Way, at: usize) {
        let rule = self.groups[number].rules_mut(way).remove(at);
        change_rule(self.lab, "revoke", word(way), &self.groups[number].id, &self.permission(rule));
    }

    fn add_groups(&mut self, random: &mut StdRng, round: u64) {
        for number in 0..random.random_range(3..=6) {
            let id = make_group(self.lab, &format!("round-{round}-{number}"));
            let everything = Rule { traffic: Traffic::All, peer: net(Ipv4Addr::UNSPECIFIED, 0) };
            self.groups.push(Group { id, ingress: Vec::new(), egress: vec![everything] });
        }
        for number in 0..self.groups.len() {
            if random.random_bool(0.5) {
                self.revoke(number, Way::Out, 0);
            }
        }
    }

    fn add_rules(&mut self, random: &mut StdRng) {
        for number in 0..self.groups.len() {
            for _ in 0..random.random_range(0..=2) {
                self.authorize(number, Way::In, self.rule(random));
            }
            for _ in 0..random.random_range(0..=2) {
                self.authorize(number, Way::Out, self.rule(random));
            }
        }
    }

    fn add_members(&mut self, random: &mut StdRng, count: usize) {
        let mut chosen: Vec<(String, Vec<usize>)> = Vec::new();
        for _ in 0..count {
            let all: Vec<usize> = (0..self.groups.len()).collect();
            let amount = random.random_range(1..=3);
            let groups: Vec<usize> = all.choose_multiple(random, amount).copied().collect();
            let ids: Vec<&str> = groups.iter().map(|number| self.groups[*number].id.as_str()).collect();
            chosen.push((start_on(self.lab, random.random_range(0..HOSTS), &self.definition, &ids), groups));
        }
        let arns: Vec<String> = chosen.iter().map(|(arn, _)| arn.clone()).collect();
        for (task, (_, groups)) in wired(self.lab, &arns).into_iter().zip(chosen) {
            let servers = Servers::start(&[task.place()]);
            self.members.push(Member { task, groups, _servers: servers });
        }
    }

    fn remove_member(&mut self, at: usize) {
        let member = self.members.remove(at);
        let arn = member.task.arn.clone();
        drop(member);
        self.lab.ecs("stop_task", json!({"task": arn})).unwrap();
        stopped(self.lab, &arn);
    }

    /// Changes something while everything runs; what it was.
    fn change(&mut self, random: &mut StdRng) -> String {
        let number = random.random_range(0..self.groups.len());
        let way = if random.random_bool(0.6) { Way::In } else { Way::Out };
        let count = self.groups[number].rules(way).len();
        match random.random_range(0..8) {
            0..=2 if count > 0 => {
                let at = random.random_range(0..count);
                let rule = self.groups[number].rules(way)[at];
                self.revoke(number, way, at);
                format!("no {rule} {} group {number}", word(way))
            }
            3 => {
                let at = random.random_range(0..self.members.len());
                let gone = self.members[at].task.address;
                self.remove_member(at);
                self.add_members(random, 1);
                format!("another task instead of {gone}")
            }
            4 => {
                // An agent that was away hears of it when it is back.
                let node = self.lab.node(random.random_range(0..HOSTS));
                node.agent.kill().unwrap();
                self.add_rules(random);
                node.launch_agent().unwrap();
                self.lab.wait_connected(HOSTS, DEADLINE).unwrap();
                format!("more rules while the agent of {} was dead", node.host.name())
            }
            _ => {
                let rule = self.rule(random);
                self.authorize(number, way, rule);
                format!("{rule} {} group {number}", word(way))
            }
        }
    }

    /// Ends everything, and sees that nothing is left.
    fn end(mut self) {
        for number in 0..self.groups.len() {
            for way in [Way::In, Way::Out] {
                while !self.groups[number].rules(way).is_empty() {
                    self.revoke(number, way, 0);
                }
            }
        }
        let arns: Vec<String> = self.members.drain(..).map(|member| member.task.arn).collect();
        for arn in &arns {
            self.lab.ecs("stop_task", json!({"task": arn})).unwrap();
        }
        wait_tasks(self.lab, &arns, "STOPPED", DEADLINE);
        for group in &self.groups {
            ec2(self.lab, "delete_security_group", json!({"GroupId": group.id}));
        }
        self.lab.nodes().iter().for_each(assert_clean);
        // Of groups that no task is in, nothing is in the kernel.
        for node in self.lab.nodes() {
            wait_until("a firewall without these groups", DEADLINE, || {
                let listed = super::packets::fabric(node).try_sh("nft list table inet ls_fab")?;
                let left: Vec<&str> =
                    self.groups.iter().map(|g| &g.id["sg-".len()..]).filter(|id| listed.contains(id)).collect();
                anyhow::ensure!(left.is_empty(), "{left:?} in {listed}");
                Ok(true)
            })
            .unwrap();
        }
    }
}

fn word(way: Way) -> &'static str {
    match way {
        Way::In => "ingress",
        Way::Out => "egress",
    }
}

#[test]
fn random_groups_do_what_a_model_of_them_says() {
    let rounds = number("LONGSHORE_SOAK_ROUNDS").unwrap_or(1);
    let seed = number("LONGSHORE_SEED").unwrap_or_else(rand::random);
    println!("seed {seed}, {rounds} rounds; LONGSHORE_SEED={seed} repeats it");
    let mut random = StdRng::seed_from_u64(seed);
    let lab = lab(u8::try_from(HOSTS).unwrap());
    let definition = still(&lab, "still", json!([]));
    for round in 0..rounds {
        let mut world = World { lab: &lab, definition: definition.clone(), groups: Vec::new(), members: Vec::new() };
        world.add_groups(&mut random, round);
        world.add_rules(&mut random);
        let members = random.random_range(6..=12);
        world.add_members(&mut random, members);
        // Rules that name addresses come when there are some.
        world.add_rules(&mut random);
        println!("round {round}:\n{world}");
        world.check("at first");
        for n in 0..CHANGES {
            let change = world.change(&mut random);
            println!("round {round}, change {n}: {change}");
            world.check(&change);
        }
        world.end();
        assert_no_leaks(&lab, &[]);
    }
}
