//! Who reaches whom, as a table.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use longshore_tests::lab::Lab;
use longshore_tests::lab::net::CONTROL;
use serde_json::json;

use super::probe::{Kind, Servers, Want, settle};
use super::{Place, Wired, change_rule, default_group, make_group, permission, start_on, still, wired};
use crate::support::*;

const ALL: [Kind; 6] = [Kind::Tcp(80), Kind::Tcp(443), Kind::Tcp(5432), Kind::Udp(53), Kind::Udp(443), Kind::Echo];

/// Rows of the table: `from` reaches `to` by the kinds in `open`, and by no other.
struct Table<'a>(Vec<Want<'a>>);

impl<'a> Table<'a> {
    fn row(&mut self, from: (&str, Place<'a>), to: (&str, Ipv4Addr), open: &[Kind]) {
        self.0.extend(ALL.into_iter().map(|kind| Want {
            from: from.1,
            to: to.1,
            kind,
            open: open.contains(&kind),
            name: format!("{} -> {}", from.0, to.0),
        }));
    }
}

/// A machine on the lab's switch that is no host, with routes to the task network by way of a host.
fn stranger(lab: &Lab) -> Place<'_> {
    let gateway = lab.node(0).host.address();
    let line = format!(
        "ip netns add stranger && ip link add s0 type veth peer name eth0 netns stranger && \
         ip link set s0 master br0 up && ip -n stranger link set lo up && ip -n stranger link set eth0 up && \
         ip -n stranger addr add 10.99.0.66/24 dev eth0 && ip -n stranger route add 10.77.0.0/16 via {gateway} && \
         ip -n stranger route add 169.254.170.0/24 via {gateway}"
    );
    Place::host(lab.switch()).sh(&line);
    Place::named(lab.switch(), "stranger")
}

/// The groups of the table; every group lets everything out unless it says otherwise.
struct Groups {
    /// TCP 80 from the whole network, and UDP 53 from one address.
    range: String,
    /// TCP 5432 from the members of `range`, and echoes from those of the default group.
    reference: String,
    /// Everything in, and only TCP 80 out, to the network.
    quiet: String,
}

fn make_groups(lab: &Lab) -> Groups {
    let groups = Groups {
        range: make_group(lab, "range"),
        reference: make_group(lab, "reference"),
        quiet: make_group(lab, "quiet"),
    };
    let authorize = |way, group: &str, rule| change_rule(lab, "authorize", way, group, &rule);
    authorize("ingress", &groups.range, permission("tcp", 80, 80, "10.77.0.0/16"));
    authorize("ingress", &groups.reference, permission("tcp", 5432, 5432, &groups.range));
    authorize("ingress", &groups.reference, permission("icmp", 8, -1, &default_group(lab)));
    authorize("ingress", &groups.quiet, permission("-1", 0, 0, "0.0.0.0/0"));
    change_rule(lab, "revoke", "egress", &groups.quiet, &permission("-1", 0, 0, "0.0.0.0/0"));
    authorize("egress", &groups.quiet, permission("tcp", 80, 80, "10.77.0.0/16"));
    groups
}

/// What the tasks of the table are, in its order: their groups, and where they are.
const NAMES: [&str; 6] = ["default", "default beside", "default elsewhere", "range", "reference", "quiet"];

/// What a group lets out of what others let in.
fn said(from: &str, open: &[Kind]) -> Vec<Kind> {
    open.iter().copied().filter(|kind| from != "quiet" || *kind == Kind::Tcp(80)).collect()
}

/// From every task to every other one, to hosts and to its gateway.
fn rows_of_tasks<'a>(table: &mut Table<'a>, lab: &Lab, tasks: &'a [Wired<'a>]) {
    for (name, from) in NAMES.into_iter().zip(tasks) {
        let default = name.starts_with("default");
        for (other, to) in NAMES.into_iter().zip(tasks).filter(|(other, _)| *other != name) {
            let open: &[Kind] = match other {
                "range" if name == "default elsewhere" => &[Kind::Tcp(80), Kind::Udp(53)],
                "range" => &[Kind::Tcp(80)],
                "reference" if name == "range" => &[Kind::Tcp(5432)],
                "reference" if default => &[Kind::Echo],
                "reference" => &[],
                "quiet" => &ALL,
                // The default group: its own members.
                _ if default => &ALL,
                _ => &[],
            };
            table.row((name, from.place()), (other, to.address), &said(name, open));
        }
        // Its gateway is there, for every group: it is no way to anybody.
        table.row((name, from.place()), ("its gateway", Ipv4Addr::new(169, 254, 170, 1)), &[Kind::Echo]);
        // A host answers echoes and nothing else to tasks, at its own address and at the legs'.
        let echo = said(name, &[Kind::Echo]);
        table.row((name, from.place()), ("its host", from.node.host.address()), &echo);
        let mut legs: Vec<Ipv4Addr> = tasks.iter().map(leg).collect();
        legs.sort();
        legs.dedup();
        assert_eq!(legs.len(), lab.nodes().len());
        for leg in legs {
            table.row((name, from.place()), ("a host's leg", leg), &echo);
        }
        // Another host is the world outside.
        let node = lab.nodes().iter().find(|n| n.host.name() != from.node.host.name()).unwrap();
        let open: &[Kind] = if name == "quiet" { &[] } else { &ALL };
        table.row((name, from.place()), ("another host", node.host.address()), open);
    }
}

/// The address of a task's host in the task network.
fn leg(task: &Wired<'_>) -> Ipv4Addr {
    let [a, b, c, _] = task.address.octets();
    Ipv4Addr::new(a, b, c, 1)
}

/// From hosts and from a machine that is none.
fn rows_of_others<'a>(table: &mut Table<'a>, hosts: &[Place<'a>], stranger: Place<'a>, tasks: &[Wired<'_>]) {
    for (other, to) in NAMES.into_iter().zip(tasks) {
        // A host's leg is an address of the network, and a member of nothing.
        let open: &[Kind] = match other {
            "range" => &[Kind::Tcp(80)],
            "quiet" => &ALL,
            _ => &[],
        };
        for host in hosts {
            table.row(("a host", *host), (other, to.address), open);
        }
        table.row(("a neighbour of the hosts", stranger), (other, to.address), &[]);
    }
    // The addresses at which a host answers to its tasks are nobody else's.
    table.row(("a neighbour of the hosts", stranger), ("the metadata", Ipv4Addr::new(169, 254, 170, 2)), &[]);
}

#[test]
fn who_reaches_whom_is_as_the_groups_say() {
    let lab = lab(3);
    let groups = make_groups(&lab);
    let definition = still(&lab, "still", json!([]));
    let start = |host: usize, groups: &[&String]| {
        let groups: Vec<&str> = groups.iter().map(|group| group.as_str()).collect();
        start_on(&lab, host, &definition, &groups)
    };
    let own: [(usize, &[&String]); 6] =
        [(0, &[]), (0, &[]), (1, &[]), (0, &[&groups.range]), (1, &[&groups.reference]), (2, &[&groups.quiet])];
    let arns = own.map(|(host, groups)| start(host, groups));
    let tasks = wired(&lab, &arns);
    let [a, _, far, range, reference, quiet] = &tasks[..] else { panic!("six tasks") };
    let from_far = permission("udp", 53, 53, &format!("{}/32", far.address));
    change_rule(&lab, "authorize", "ingress", &groups.range, &from_far);
    let stranger = stranger(&lab);
    let hosts: Vec<Place<'_>> = lab.nodes().iter().map(|node| Place::host(&node.host)).collect();
    let places: Vec<Place<'_>> = tasks.iter().map(Wired::place).chain(hosts.iter().copied()).collect();
    let servers = Servers::start(&places);

    let mut table = Table(Vec::new());
    rows_of_tasks(&mut table, &lab, &tasks);
    rows_of_others(&mut table, &hosts, stranger, &tasks);
    println!("{} rows", table.0.len());
    settle("the table of groups", &table.0);
    for task in &tasks {
        nobody_at_ec2s_metadata(&task.place());
    }

    // A task that has more groups has the sum of their rules.
    let both = wired(&lab, &[start(2, &[&groups.range, &groups.reference])]).remove(0);
    let more = Servers::start(&[both.place()]);
    let mut table = Table(Vec::new());
    table.row(("default", a.place()), ("both", both.address), &[Kind::Tcp(80), Kind::Echo]);
    table.row(("range", range.place()), ("both", both.address), &[Kind::Tcp(80), Kind::Tcp(5432)]);
    table.row(("both", both.place()), ("reference", reference.address), &[Kind::Tcp(5432)]);
    table.row(("both", both.place()), ("default", a.address), &[]);
    settle("the table of two groups", &table.0);
    drop((servers, more));
    outwards(&lab, a, quiet);
}

/// EC2's own address is refused by the task's own routes, at once.
fn nobody_at_ec2s_metadata(from: &Place<'_>) {
    let begin = Instant::now();
    let to = SocketAddr::from(([169, 254, 169, 254], 80));
    let error = from.inside(|| Ok(TcpStream::connect_timeout(&to, Duration::from_secs(20)).map(drop))).unwrap();
    let error = error.expect_err("there is nobody");
    assert_eq!(error.kind(), io::ErrorKind::HostUnreachable, "no route to host: {error}");
    assert!(begin.elapsed() < Duration::from_secs(2), "at once, and it took {:?}", begin.elapsed());
}

/// From a task to the world by its host's address, unless its group says otherwise.
fn outwards(lab: &Lab, open: &Wired<'_>, quiet: &Wired<'_>) {
    let listener = lab.ctl().in_network(|| Ok(std::net::TcpListener::bind((CONTROL, 8099))?)).unwrap();
    let to = SocketAddr::from((CONTROL, 8099));
    let connect =
        |task: &Wired<'_>, patience| task.place().inside(|| Ok(TcpStream::connect_timeout(&to, patience))).unwrap();
    let stream = connect(open, Duration::from_secs(10)).expect("everything may go out");
    let (_, from) = listener.accept().unwrap();
    assert_eq!(from.ip(), open.node.host.address(), "it comes from the host's address");
    assert_eq!(stream.local_addr().unwrap().ip(), open.address);
    connect(quiet, Duration::from_millis(1300)).expect_err("only to the network");
}
