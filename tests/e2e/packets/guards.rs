//! What nobody may do, and what nobody can cut.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use longshore_tests::lab::{wait_for, wait_until};
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::json;

use super::probe::{Kind, Servers, Want, settle};
use super::{Place, Wired, start_on, still, wired};
use crate::support::*;

/// What the kernel remembers of connections in a fabric, of an address.
fn remembered(fabric: &Place<'_>, address: Ipv4Addr) -> usize {
    // /proc shows the namespace of the thread that opened it first.
    let listed = fabric.sh("cat /proc/thread-self/net/nf_conntrack");
    listed.lines().filter(|line| line.split(' ').any(|word| word.ends_with(&format!("={address}")))).count()
}

/// A task that says it is another gets no answer, is counted, and leaves no trace.
fn check_spoofing(liar: &Wired<'_>, target: &Wired<'_>, other: &Wired<'_>) {
    let (inside, fabric) = (liar.place(), liar.fabric());
    let [a, b, c, _] = liar.address.octets();
    let of_nobody = [Ipv4Addr::new(192, 0, 2, 7), Ipv4Addr::new(a, b, c, 250), Ipv4Addr::new(a, b, 200, 7)];
    let others = [other.address, Ipv4Addr::new(a, b, c, 1)];
    for spoofed in of_nobody.into_iter().chain(others) {
        let (before, known) = (fabric.counted("ls_fab", "pin"), remembered(&fabric, spoofed));
        inside.sh(&format!("ip addr add {spoofed}/32 dev eth0"));
        let answered = inside.pings(&format!("-I {spoofed}"), target.address, 1);
        inside.sh(&format!("ip addr del {spoofed}/32 dev eth0"));
        assert!(!answered, "an answer to {spoofed}");
        assert!(fabric.counted("ls_fab", "pin") > before, "{spoofed} is counted");
        assert!(remembered(&fabric, spoofed) <= known, "{spoofed} leaves no trace");
        if of_nobody.contains(&spoofed) {
            assert_eq!(known, 0, "nobody has {spoofed}");
        }
    }
    let before = fabric.counted("ls_fab", "pin");
    inside.sh("ip link set dev eth0 address 02:0a:0a:4d:01:63");
    let answered = inside.pings("", target.address, 1);
    inside.sh(&format!("ip link set dev eth0 address {}", liar.mac));
    assert!(!answered, "an answer to another hardware address");
    assert!(fabric.counted("ls_fab", "pin") > before, "another hardware address is counted");
    wait_until("the task's way back", DEADLINE, || Ok(inside.pings("", target.address, 1))).unwrap();
    assert!(remembered(&fabric, liar.address) > 0, "the true ones are remembered");
}

#[test]
fn a_task_cannot_be_another() {
    let lab = lab(2);
    let definition = still(&lab, "still", json!([]));
    let arns: Vec<String> = [0, 0, 0, 1].map(|host| start_on(&lab, host, &definition, &[])).into();
    let tasks = wired(&lab, &arns);
    let [liar, beside, other, far] = &tasks[..] else { panic!("four tasks") };
    let _servers = Servers::start(&[beside.place(), far.place()]);
    for target in [beside, far] {
        let want = Want {
            from: liar.place(),
            to: target.address,
            kind: Kind::Tcp(80),
            open: true,
            name: "as itself".to_owned(),
        };
        settle("a task as itself", &[want]);
        check_spoofing(liar, target, other);
    }
}

/// Numbered datagrams and bytes from one task to another, until it is told to end.
struct Stream {
    name: &'static str,
    datagrams: (UdpSocket, UdpSocket),
    bytes: (TcpStream, TcpStream),
}

impl Stream {
    const PORT: u16 = 7100;
    const PACE: Duration = Duration::from_millis(4);

    fn open(name: &'static str, from: &Wired<'_>, to: &Wired<'_>) -> Self {
        let (listener, sink) = to
            .place()
            .inside(|| {
                let any = (Ipv4Addr::UNSPECIFIED, Self::PORT);
                Ok((TcpListener::bind(any)?, UdpSocket::bind(any)?))
            })
            .unwrap();
        let target = SocketAddr::from((to.address, Self::PORT));
        let open = || -> Result<_> {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect(target)?;
            Ok((socket, TcpStream::connect_timeout(&target, DEADLINE)?))
        };
        let (source, stream) = from.place().inside(open).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        // Beyond rmem_max: a reader that waits for a processor is no lost packet.
        setsockopt(&sink, sockopt::RcvBufForce, &(8 << 20)).unwrap();
        sink.set_read_timeout(Some(DEADLINE)).unwrap();
        accepted.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { name, datagrams: (source, sink), bytes: (stream, accepted) }
    }

    /// Sends until `end`, and gives how many of each were sent and arrived, in order.
    fn run(self, end: &AtomicBool) -> (&'static str, u32, u32, u32) {
        let Self { name, datagrams: (source, sink), bytes: (mut stream, mut accepted) } = self;
        std::thread::scope(|scope| {
            let sender = scope.spawn(move || {
                let mut sent: u32 = 0;
                while !end.load(Ordering::Relaxed) {
                    source.send(&sent.to_be_bytes()).unwrap();
                    stream.write_all(&sent.to_be_bytes()).unwrap();
                    sent += 1;
                    std::thread::sleep(Self::PACE);
                }
                // An empty one: that was all. The other stream ends with its socket.
                source.send(&[]).unwrap();
                sent
            });
            let numbers = scope.spawn(move || {
                let mut received = Vec::new();
                accepted.read_to_end(&mut received).unwrap();
                let expected = (0u32..).flat_map(u32::to_be_bytes).take(received.len());
                assert!(received.iter().copied().eq(expected), "{name}: bytes in another order");
                u32::try_from(received.len() / 4).unwrap()
            });
            let mut buffer = [0; 16];
            let mut datagrams: u32 = 0;
            loop {
                let length = sink.recv(&mut buffer).unwrap();
                if length == 0 {
                    break;
                }
                assert_eq!(buffer[..length], datagrams.to_be_bytes(), "{name}: a datagram was lost");
                datagrams += 1;
            }
            (name, sender.join().unwrap(), datagrams, numbers.join().unwrap())
        })
    }
}

/// Ends the streams also when an assertion fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The host's own rules come back by themselves; Docker's do not, so that this lab has no tasks of bridge mode.
#[test]
fn a_host_without_firewall_rules_loses_no_packet_between_tasks() {
    /// Every 10 s things are looked at; the rest is for a machine that does much else.
    const BACK: Duration = Duration::from_secs(13);
    let lab = lab(2);
    let definition = still(&lab, "still", json!([]));
    let arns: Vec<String> = [0, 0, 1].map(|host| start_on(&lab, host, &definition, &[])).into();
    let tasks = wired(&lab, &arns);
    let [a, beside, far] = &tasks[..] else { panic!("three tasks") };
    let servers = Servers::start(&[beside.place(), far.place()]);
    let open = |from: &Wired<'_>, to: &Wired<'_>| -> bool {
        let want = |kind| Want { from: from.place(), to: to.address, kind, open: true, name: String::new() };
        super::probe::wrong(&[want(Kind::Tcp(80)), want(Kind::Udp(53))]).unwrap().is_empty()
    };
    wait_until("tasks that reach each other", DEADLINE, || Ok(open(a, beside) && open(a, far))).unwrap();
    let host = Place::host(&a.node.host);
    let rules = || host.try_sh("nft -s list table inet ls_host 2>/dev/null || true");
    // Numbers that the kernel gives tell a table that is back from one that never went.
    let number = || host.sh("nft -a list table inet ls_host | head -n 1");
    let before = (rules().unwrap(), number());
    assert!(before.0.contains("chain out_nat"), "{before:?}");

    let end = AtomicBool::new(false);
    let streams = [
        Stream::open("on one host", a, beside),
        Stream::open("to another host", a, far),
        Stream::open("from another host", far, a),
    ];
    std::thread::scope(|scope| {
        let ends = Ends(&end);
        let end = &end;
        let running: Vec<_> = streams.into_iter().map(|stream| scope.spawn(move || stream.run(end))).collect();
        host.sh("nft flush ruleset");
        let begin = Instant::now();
        // New connections as well.
        let new = [open(a, beside), open(a, far)];
        let back = wait_for("the host's rules", BACK, || Ok((rules()? == before.0).then(|| begin.elapsed())));
        println!("the host's rules were back after {back:?}");
        back.unwrap();
        // Mostly they are back in less time than that.
        wait_until("a second of packets", BACK, || Ok(begin.elapsed() >= Duration::from_secs(1))).unwrap();
        assert_ne!(number(), before.1, "it is another table");
        drop(ends);
        assert_eq!(new, [true, true], "new connections while there are no rules: one host, two hosts");
        for stream in running {
            let (name, sent, datagrams, bytes) = stream.join().unwrap();
            println!("{name}: {sent} sent, {datagrams} datagrams and {bytes} numbers of a stream arrived");
            assert!(sent > 20, "{name}: only {sent} were sent");
            assert_eq!((datagrams, bytes), (sent, sent), "{name}: datagrams and bytes that arrived");
        }
    });
    drop(servers);
}
