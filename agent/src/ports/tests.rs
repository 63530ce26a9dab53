use super::*;
use crate::engine::tests::fixtures::{port, spec};
use longshore_model::{AssignedTask, DesiredStatus, PortMapping, TaskSpec, Timestamp};
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;

/// A range of this test's own, so that tests may run side by side.
fn ports(first: u16) -> Ports {
    Ports::new(PortRange { first, last: first + 3 }, BTreeSet::new())
}

fn task(spec: TaskSpec) -> Task {
    let assigned = AssignedTask {
        spec: Arc::new(spec),
        desired: DesiredStatus::Running,
        may_start: true,
        stop_reason: String::new(),
    };
    Task::new(&assigned, Timestamp::default())
}

fn dynamic(protocol: Protocol) -> Task {
    task(spec(&[("c", &[port(80, HostPort::Dynamic, protocol)])]))
}

fn given(ports: &mut Ports, task: &mut Task) -> Vec<u16> {
    let given = ports.give(task).expect("there are free ports");
    for (name, all) in &given {
        let c = task.record.containers.iter_mut().find(|c| c.name == *name).expect("its container");
        c.ports.clone_from(all);
    }
    given.into_iter().flat_map(|(_, all)| all).map(|p| p.host_port).collect()
}

#[test]
fn a_port_is_never_given_twice_and_is_kept_from_others() {
    let mut ports = ports(21_000);
    let mut seen = BTreeSet::new();
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let mut task = dynamic(Protocol::Tcp);
        let port = given(&mut ports, &mut task)[0];
        assert!(seen.insert(port), "{port} was given twice");
        // Rust's listener sets SO_REUSEADDR, as Docker's proxy does: it gets in. Others do not.
        let plain = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        assert!(plain.bind(&address.into()).is_err(), "{port} is not held");
        assert!(TcpListener::bind(address).is_ok(), "{port} is kept even from Docker");
        tasks.push(task);
    }
    let failure = ports.give(&dynamic(Protocol::Tcp)).expect_err("the range is used up");
    assert!(failure.text().contains("21000-21003"), "{}", failure.text());
    assert!(ports.forget(tasks[1].record.id));
    let freed = given(&mut ports, &mut dynamic(Protocol::Tcp))[0];
    assert_eq!(tasks[1].record.containers[0].ports[0].host_port, freed);
}

#[test]
fn a_port_that_somebody_listens_on_is_passed_over() {
    let mut ports = ports(21_010);
    let foreign = TcpListener::bind((Ipv4Addr::LOCALHOST, 21_010)).expect("free");
    assert_eq!(given(&mut ports, &mut dynamic(Protocol::Tcp)), [21_011]);
    drop(foreign);
    let foreign = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 21_012)).expect("free");
    assert_eq!(given(&mut ports, &mut dynamic(Protocol::Udp)), [21_013]);
    drop(foreign);
}

#[test]
fn a_range_is_in_a_row_and_as_good_as_its_ports() {
    let mut ports = Ports::new(PortRange { first: 21_030, last: 21_039 }, BTreeSet::from([reserved(21_035)]));
    let foreign = TcpListener::bind((Ipv4Addr::LOCALHOST, 21_031)).expect("free");
    let row = |count| PortMapping { count, ..port(80, HostPort::Dynamic, Protocol::Tcp) };
    let mut three = task(spec(&[("c", &[row(3)])]));
    assert_eq!(given(&mut ports, &mut three), [21_032], "after one in use and before one that is reserved");
    let all = |task: &Task| task.held_ports().iter().map(|key| key.port).collect::<Vec<_>>();
    assert_eq!(all(&three), [21_032, 21_033, 21_034]);
    ports.sync(&three);
    let mut four = task(spec(&[("c", &[row(4)])]));
    assert_eq!(given(&mut ports, &mut four), [21_036]);
    let failure = ports.give(&task(spec(&[("c", &[row(2)])]))).expect_err("no two in a row are left");
    assert!(failure.text().contains("no 2 free tcp ports in a row in the range 21030-21039"), "{}", failure.text());
    // One alone still fits; a range that is given back is whole again, and does not go round the end.
    assert_eq!(given(&mut ports, &mut dynamic(Protocol::Tcp)), [21_030]);
    assert_eq!(ports.held(), 8);
    assert!(ports.forget(three.record.id));
    drop(foreign);
    assert_eq!(given(&mut ports, &mut task(spec(&[("c", &[row(4)])]))), [21_031]);
}

fn reserved(port: u16) -> PortKey {
    PortKey { protocol: Protocol::Tcp, port }
}

#[test]
fn a_udp_port_is_held_until_just_before_the_start() {
    let mut ports = ports(21_020);
    let mut task = dynamic(Protocol::Udp);
    let port = given(&mut ports, &mut task)[0];
    assert!(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_err());
    ports.about_to_start(&task.record.containers[0].ports);
    assert!(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok());
    assert_eq!(ports.held(), 0);
}

#[test]
fn ranges_that_overlap_are_told() {
    let range = PortRange { first: 30_000, last: 32_767 };
    assert!(!overlap("32768\t60999\n", range));
    assert!(overlap("32767 60999", range));
    assert!(overlap("1024 65535", range));
    assert!(!overlap("", range));
}

#[test]
fn reserved_and_fixed_ports_have_one_owner() {
    let key = PortKey { protocol: Protocol::Tcp, port: 21_030 };
    let mut ports = Ports::new(PortRange { first: 21_030, last: 21_031 }, BTreeSet::from([key]));
    assert_eq!(given(&mut ports, &mut dynamic(Protocol::Tcp)), [21_031]);
    let fixed = || task(spec(&[("c", &[port(80, HostPort::Fixed(8080), Protocol::Tcp)])]));
    let mut first = fixed();
    assert_eq!(given(&mut ports, &mut first), [8080]);
    let failure = ports.give(&fixed()).expect_err("it is the first one's");
    assert!(failure.text().contains("8080/tcp") && failure.text().contains(&first.record.id.to_string()));
}

#[test]
fn a_started_container_keeps_its_claim_and_loses_its_socket() {
    let mut ports = ports(21_040);
    let mut task = dynamic(Protocol::Tcp);
    given(&mut ports, &mut task);
    ports.started(&task.record.containers[0].ports);
    assert_eq!((ports.held(), ports.claims().len()), (0, 1));
    assert!(!ports.sync(&task), "nothing became free");
}
