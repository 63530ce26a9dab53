//! What is on the wire between hosts, how large it may be, and who may send it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use anyhow::Result;
use longshore_tests::lab::net::CONTROL;
use longshore_tests::lab::process::Process;
use longshore_tests::lab::{Lab, Node, wait_for};
use serde_json::json;

use super::probe::{Kind, Servers, Want, settle};
use super::{Place, Wired, start_on, still, wired};
use crate::support::*;

/// The Ethernet frames that pass a host's cable.
struct Capture<'a> {
    node: &'a Node,
    _tcpdump: Process,
}

impl<'a> Capture<'a> {
    fn start(node: &'a Node) -> Self {
        let file = Self::file(node);
        let tcpdump = node.host.start("tcpdump", "tcpdump".as_ref(), |command| {
            command.args(["-i", "eth0", "-n", "-U", "--immediate-mode", "-s", "0", "-Z", "root", "-w"]).arg(&file);
        });
        let tcpdump = tcpdump.unwrap();
        wait_for("tcpdump", DEADLINE, || Ok(node.host.log_tail("tcpdump").contains("listening on").then_some(())))
            .unwrap();
        Self { node, _tcpdump: tcpdump }
    }

    fn file(node: &Node) -> std::path::PathBuf {
        node.host.dir().join("eth0.pcap")
    }

    /// Every frame up to a datagram of ours, which is sent from now on.
    fn end(self) -> Vec<Vec<u8>> {
        const MARK: &[u8] = b"that was all that this capture is to see";
        let send = || -> Result<usize> {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            Ok(socket.send_to(MARK, (CONTROL, 9))?)
        };
        wait_for("the end of the capture", DEADLINE, || {
            // Again until it shows: a datagram may be lost, and so may a frame on its way to tcpdump.
            self.node.host.in_network(send)?;
            let frames = frames(&std::fs::read(Self::file(self.node))?);
            Ok(frames.iter().any(|f| f.ends_with(MARK)).then_some(frames))
        })
        .unwrap()
    }
}

/// The complete frames of a capture file as this machine's tcpdump writes it.
fn frames(mut file: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    file = file.get(24..).unwrap_or_default();
    while let Some(length) = file.get(8..12).and_then(|b| b.first_chunk()).map(|b| u32::from_ne_bytes(*b) as usize) {
        let Some(frame) = file.get(16..16 + length) else { break };
        frames.push(frame.to_vec());
        file = &file[16 + length..];
    }
    frames
}

/// An Ethernet frame, as far as it matters here.
struct Frame<'a> {
    to: &'a [u8],
    kind: u16,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    fn parse(bytes: &'a [u8]) -> Self {
        Self { to: &bytes[..6], kind: u16::from_be_bytes([bytes[12], bytes[13]]), payload: &bytes[14..] }
    }

    fn is_unicast(&self) -> bool {
        self.to[0] & 1 == 0
    }

    /// Source, destination, protocol and what is in it, of an IPv4 packet.
    fn ip(&self) -> Option<(Ipv4Addr, Ipv4Addr, u8, &'a [u8])> {
        if self.kind != 0x0800 {
            return None;
        }
        let address = |at: usize| Ipv4Addr::from_octets(*self.payload[at..].first_chunk().expect("a whole header"));
        let header = usize::from(self.payload[0] & 15) * 4;
        Some((address(12), address(16), self.payload[9], &self.payload[header..]))
    }

    /// The tunnel's addresses and the frame that it carries.
    fn tunnelled(&self) -> Option<(Ipv4Addr, Ipv4Addr, Frame<'a>)> {
        let (from, to, 17, udp) = self.ip()? else { return None };
        let [_, _, 0x12, 0xb5, _, _, _, _, flags, _, _, _, vni @ ..] = udp else { return None };
        assert_eq!((*flags, &vni[..3]), (8, &[0, 0x1e, 0x61][..]), "VNI 7777");
        Some((from, to, Frame::parse(&udp[16..])))
    }
}

/// A connection between tasks on two hosts, with `bytes` sent one way and counted at the other end.
fn transfer(from: &Wired<'_>, to: &Wired<'_>, bytes: usize) {
    let listener =
        to.place().inside(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 7000))?)).expect("the port is free");
    let sent: Vec<u8> = (0..bytes).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let address = SocketAddr::from((to.address, 7000));
    let mut stream = from.place().inside(|| Ok(TcpStream::connect_timeout(&address, DEADLINE)?)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    let (mut accepted, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip(), from.address, "it comes from the task's own address");
    accepted.set_read_timeout(Some(DEADLINE)).unwrap();
    let received = std::thread::scope(|scope| {
        let sent = &sent;
        scope.spawn(move || {
            stream.write_all(sent).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        accepted.read_to_end(&mut received).unwrap();
        received
    });
    assert!(received == sent, "{} of {bytes} bytes arrived, or they are others", received.len());
}

/// Only unicast tunnel packets between the two hosts carry it; nobody asks for anybody.
fn check_wire(a: &Wired<'_>, b: &Wired<'_>) {
    let capture = Capture::start(a.node);
    settle(
        "tasks on two hosts",
        &[
            Want { from: a.place(), to: b.address, kind: Kind::Tcp(80), open: true, name: "a to b".into() },
            Want { from: b.place(), to: a.address, kind: Kind::Tcp(80), open: true, name: "b to a".into() },
            Want { from: a.place(), to: b.address, kind: Kind::Udp(53), open: true, name: "a to b".into() },
            Want { from: a.place(), to: b.address, kind: Kind::Echo, open: true, name: "a to b".into() },
        ],
    );
    transfer(a, b, 100_000);
    let frames = capture.end();

    let hosts = [a.node.host.address(), b.node.host.address()];
    let tasks = [a.address, b.address];
    let mut seen = Vec::new();
    for bytes in &frames {
        let frame = Frame::parse(bytes);
        let Some((from, to, inner)) = frame.tunnelled() else {
            // What is outside of tunnels has nothing of the task network: no address, no name of a link.
            for address in tasks {
                let octets = address.octets();
                assert!(
                    !bytes.windows(4).any(|window| window == octets),
                    "{address} outside of a tunnel: {bytes:02x?}"
                );
            }
            continue;
        };
        assert!(frame.is_unicast(), "a tunnel packet to many: {bytes:02x?}");
        assert_ne!(inner.kind, 0x0806, "ARP in a tunnel: {bytes:02x?}");
        assert!(inner.is_unicast(), "to many in a tunnel: {bytes:02x?}");
        let Some((source, target, protocol, _)) = inner.ip() else { panic!("not IPv4 in a tunnel: {bytes:02x?}") };
        if tasks.contains(&source) || tasks.contains(&target) {
            let mut ends = [from, to];
            ends.sort();
            assert_eq!(ends, hosts, "the tunnel of these two hosts");
            let own = if source == a.address { hosts[0] } else { hosts[1] };
            assert_eq!(from, own, "{source} is on {own}");
            seen.push((source, target, protocol));
        }
    }
    for (way, (from, to)) in [("there", (a.address, b.address)), ("back", (b.address, a.address))] {
        for (name, protocol, least) in [("TCP", 6, 3), ("UDP", 17, 1), ("ICMP", 1, 1)] {
            let count = seen.iter().filter(|packet| **packet == (from, to, protocol)).count();
            assert!(count >= least, "{count} {name} packets {way} of {}", seen.len());
        }
    }
}

/// The largest packet passes whole, and a larger one is refused by the task's own kernel.
fn check_mtu(a: &Wired<'_>, b: &Wired<'_>, beside: &Wired<'_>) {
    let link = a.place().json("ip -json link show dev eth0");
    let mtu = link[0]["mtu"].as_u64().unwrap();
    // Headers of IPv4 and ICMP.
    let largest = mtu - 28;
    for (name, to) in [("on another host", b), ("on the same host", beside)] {
        assert!(a.place().pings(&format!("-M do -s {largest}"), to.address, 10), "{mtu} bytes to a task {name}");
        let line = format!("ping -M do -s {} -c 1 -W 5 {} 2>&1 || true", largest + 1, to.address);
        let said = a.place().sh(&line).to_lowercase();
        assert!(said.contains(&format!("message too long, mtu={mtu}")), "to a task {name}: {said}");
        assert!(a.place().pings("-s 8000", to.address, 10), "pieces pass as well, to a task {name}");
    }
}

/// A machine on the hosts' network that is no host sends what the tunnel of one would send.
fn check_forged(lab: &Lab, a: &Wired<'_>, b: &Wired<'_>) {
    let switch = Place::host(lab.switch());
    let net = |task: &Wired<'_>| Ipv4Addr::from_bits(task.address.to_bits() & !255);
    let mac = |address: Ipv4Addr| {
        let [a, b, c, d] = address.octets();
        format!("02:cf:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
    };
    let (ours, theirs, target) = (mac(net(a)), mac(net(b)), net(b));
    switch.sh(&format!(
        "ip netns add forger && ip link add f0 type veth peer name eth0 netns forger && \
         ip link set f0 master br0 up && ip -n forger link set lo up && ip -n forger link set eth0 up && \
         ip -n forger addr add 10.99.0.67/24 dev eth0 && \
         ip -n forger link add vx type vxlan id 7777 dstport 4789 local 10.99.0.67 dev eth0 nolearning && \
         ip -n forger link set vx address {ours} up && ip -n forger addr add {}/32 dev vx && \
         bridge -n forger fdb append {theirs} dev vx dst {} && \
         ip -n forger neigh add {target} lladdr {theirs} dev vx nud permanent && \
         ip -n forger route add {target}/24 via {target} dev vx onlink",
        a.address,
        b.node.host.address(),
    ));
    let forger = Place::named(lab.switch(), "forger");
    assert!(forger.pings("", b.node.host.address(), 10), "the forger reaches the host itself");
    let socket = b.place().inside(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 7001))?)).expect("the port is free");
    let host = Place::host(&b.node.host);
    let before = host.counted("ls_host", "underlay");
    let send = |text: &'static [u8]| {
        move || -> Result<usize> {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            Ok(socket.send_to(text, (b.address, 7001))?)
        }
    };
    for _ in 0..5 {
        forger.inside(send(b"forged")).unwrap();
    }
    assert!(!forger.pings(&format!("-I {}", a.address), b.address, 1), "nothing comes back");
    wait_for("the counter of forged packets", DEADLINE, || {
        Ok((host.counted("ls_host", "underlay") >= before + 6).then_some(()))
    })
    .unwrap();
    // What the real one sends then is the first thing that arrives.
    a.place().inside(send(b"real")).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut buffer = [0; 64];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from.ip()), (&b"real"[..], a.address.into()), "nothing forged arrived");
    switch.sh("ip netns del forger");
}

#[test]
fn tunnels_carry_packets_of_hosts_alone_and_whole() {
    let lab = lab(3);
    let definition = still(&lab, "still", json!([]));
    let arns: Vec<String> = [0, 1, 0].map(|host| start_on(&lab, host, &definition, &[])).into();
    let tasks = wired(&lab, &arns);
    let [a, b, beside] = &tasks[..] else { panic!("three tasks") };
    let places: Vec<Place<'_>> = tasks.iter().map(Wired::place).collect();
    let _servers = Servers::start(&places);
    // The hosts know each other's hardware addresses and rules from here on.
    settle(
        "tasks on two hosts",
        &[
            Want { from: a.place(), to: b.address, kind: Kind::Tcp(80), open: true, name: "a to b".into() },
            Want { from: b.place(), to: a.address, kind: Kind::Tcp(80), open: true, name: "b to a".into() },
        ],
    );
    check_wire(a, b);
    check_mtu(a, b, beside);
    for (from, to) in [(a, b), (b, a), (a, beside)] {
        transfer(from, to, 10 << 20);
    }
    check_forged(&lab, a, b);
}
