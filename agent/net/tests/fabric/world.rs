//! Throwaway hosts, tasks and probes.
//!
//! A test runs on a thread with network and mount namespaces of its own, as do all threads and processes that it
//! starts: the kernel takes everything away when the last of them ends, however it ends.

use ipnet::Ipv4Net;
use longshore_model::id::InstanceId;
use longshore_model::network::{
    EniId, GroupId, GroupRules, Lease, Mac, NetworkConfig, Overlay, Peer, Rule, RulePeer, Traffic,
};
use longshore_net::{Claim, Fabric, FabricConfig, Names, Namespace, Underlay, Wire};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long something that has to happen may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long something that must not happen is watched.
pub(crate) const WATCH: Duration = Duration::from_millis(400);

/// Runs a test in a world of its own.
pub(crate) fn world<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    assert!(nix::unistd::geteuid().is_root(), "these tests make namespaces and need root");
    let inside = move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("own namespaces");
        let nothing: Option<&str> = None;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).expect("mounts of our own");
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), nothing).expect("a /run of our own");
        sh("ip link set lo up");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(test());
    };
    let thread = std::thread::Builder::new().name("world".into()).spawn(inside).expect("a thread");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a command line in the namespaces of the calling thread; it has to work.
pub(crate) fn sh(line: &str) -> String {
    let output = Command::new("sh").args(["-ec", line]).stdin(Stdio::null()).output().expect("sh");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{line}: {out}{}", String::from_utf8_lossy(&output.stderr));
    out
}

/// Runs one in a network namespace.
pub(crate) fn sh_in(netns: &Path, line: &str) -> String {
    let line = line.replace('\'', "'\\''");
    sh(&format!("exec nsenter --net={} sh -ec '{line}'", netns.display()))
}

/// What a command says in JSON, in a network namespace.
pub(crate) fn json_in(netns: &Path, line: &str) -> serde_json::Value {
    let out = sh_in(netns, line);
    serde_json::from_str(if out.trim().is_empty() { "[]" } else { &out }).expect(line)
}

/// Waits for a value.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn network() -> NetworkConfig {
    NetworkConfig {
        v4: "10.77.0.0/16".parse().expect("a network"),
        v6: None,
        overlay: Overlay::Vxlan { vni: 7777, port: 4789 },
        mtu: 1450,
        lease_length: 24,
    }
}

pub(crate) fn network6() -> NetworkConfig {
    NetworkConfig { v6: Some("fd77::/48".parse().expect("a network")), ..network() }
}

/// Tasks on the network of the hosts themselves.
pub(crate) fn lan_network() -> NetworkConfig {
    NetworkConfig {
        v4: "192.168.50.128/25".parse().expect("a network"),
        v6: None,
        overlay: Overlay::Lan,
        mtu: 1500,
        lease_length: 28,
    }
}

pub(crate) fn lease(network: &NetworkConfig, number: u8) -> Lease {
    if network.overlay == Overlay::Lan {
        let first = Ipv4Addr::new(192, 168, 50, 128 + 16 * number);
        return Lease { v4: Ipv4Net::new(first, network.lease_length).expect("a network"), v6: None };
    }
    let v6 = network.v6.map(|_| format!("fd77:0:0:{number}::/64").parse().expect("a network"));
    Lease { v4: Ipv4Net::new(Ipv4Addr::new(10, 77, number, 0), 24).expect("a network"), v6 }
}

/// Where hosts of a test are.
pub(crate) enum Place {
    /// In the world's own namespace, alone.
    Here,
    /// On a bridge in the world's namespace, each in a namespace of its own.
    Lan,
}

/// A host with a fabric.
pub(crate) struct Host {
    pub(crate) fabric: Fabric,
    pub(crate) lease: Lease,
    pub(crate) netns: std::path::PathBuf,
    pub(crate) underlay: Option<Ipv4Addr>,
    pub(crate) config: FabricConfig,
}

/// The namespace of the world.
pub(crate) fn here() -> Namespace {
    Namespace::open("/proc/thread-self/ns/net").expect("our own")
}

/// Makes the bridge that hosts are on.
pub(crate) fn make_lan() {
    sh("mkdir -p /run/netns; ip link add lan type bridge; ip link set lan up");
}

impl Host {
    /// A host in the namespace of the world.
    pub(crate) async fn here() -> Self {
        Self::made(network(), 1, &Place::Here, |_| {}).await
    }

    /// A host on the LAN; its number is in its addresses.
    pub(crate) async fn on_lan(network: NetworkConfig, number: u8) -> Self {
        Self::made(network, number, &Place::Lan, |_| {}).await
    }

    pub(crate) async fn made(
        network: NetworkConfig,
        number: u8,
        place: &Place,
        adapt: impl FnOnce(&mut FabricConfig),
    ) -> Self {
        let lease = lease(&network, number);
        let mut config = FabricConfig::new(network, vec![lease]);
        let (netns, underlay) = match place {
            Place::Here => ("/proc/thread-self/ns/net".into(), None),
            Place::Lan => {
                let name = format!("host{number}");
                sh(&format!(
                    "ip netns add {name}; ip link add {name} type veth peer name eth0 netns {name}; \
                     ip link set {name} master lan up; \
                     ip -n {name} addr add 192.168.50.{number}/24 dev eth0; ip -n {name} link set eth0 up; \
                     ip -n {name} link set lo up"
                ));
                let address = Ipv4Addr::new(192, 168, 50, number);
                config.underlay = Some(Underlay { address: address.into(), device: "eth0".into() });
                config.host = Some(format!("/run/netns/{name}").into());
                config.names = Names::new("ls", format!("/run/{name}")).expect("names");
                (std::path::PathBuf::from(format!("/run/netns/{name}")), Some(address))
            }
        };
        adapt(&mut config);
        let fabric = Fabric::open(config.clone()).await.expect("a fabric");
        Self { fabric, lease, netns, underlay, config }
    }

    /// As other hosts know it.
    pub(crate) fn peer(&self, number: u8) -> Peer {
        Peer {
            instance: InstanceId::from_bytes([number; 16]),
            underlay: self.underlay.expect("it is on the LAN").into(),
            leases: vec![self.lease],
            connected: true,
        }
    }

    pub(crate) fn sh(&self, line: &str) -> String {
        sh_in(&self.netns, line)
    }

    pub(crate) fn fabric_netns(&self) -> std::path::PathBuf {
        self.fabric.names().fabric_netns()
    }

    pub(crate) fn fabric_sh(&self, line: &str) -> String {
        sh_in(&self.fabric_netns(), line)
    }

    /// A task with the address that ends in `last`, wired and not admitted.
    pub(crate) async fn wired(&self, last: u8) -> Task {
        let task = Task::new(&self.lease, last);
        self.fabric.wire(&task.wire, &task.pause()).await.expect("wired");
        task
    }

    /// A task of these groups.
    pub(crate) async fn task(&self, last: u8, groups: &[GroupId]) -> Task {
        let mut task = self.wired(last).await;
        task.claim.groups = groups.iter().copied().collect();
        self.fabric.admit(&task.claim).await.expect("admitted");
        task
    }

    /// The packets that rules with a counter in a chain of the fabric dropped.
    pub(crate) fn counted(&self, chain: &str) -> u64 {
        let table = self.fabric.names().fabric_table();
        counted(&self.fabric_netns(), &table, chain)
    }

    /// The same in the host's table.
    pub(crate) fn host_counted(&self, chain: &str) -> u64 {
        counted(&self.netns, &self.fabric.names().host_table(), chain)
    }
}

/// The packets that rules with a counter in a chain of a namespace counted.
pub(crate) fn counted(netns: &Path, table: &str, chain: &str) -> u64 {
    let listed = json_in(netns, &format!("nft -j list chain inet {table} {chain}"));
    let rules =
        listed["nftables"].as_array().expect("a list").iter().filter_map(|item| item["rule"]["expr"].as_array());
    rules.flatten().filter_map(|expr| expr["counter"]["packets"].as_u64()).sum()
}

/// A sandbox: a process in a network namespace of its own.
pub(crate) struct Task {
    pub(crate) wire: Wire,
    pub(crate) claim: Claim,
    process: Child,
}

impl Drop for Task {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Task {
    pub(crate) fn new(lease: &Lease, last: u8) -> Self {
        let [a, b, c, _] = lease.v4.addr().octets();
        let ipv4 = Ipv4Addr::new(a, b, c, last);
        let (eni, mac, ipv6) = (EniId::random(), Mac::of_task(ipv4), lease.v6_of(ipv4));
        Self {
            wire: Wire { eni, ipv4, ipv6, mac, task: format!("task-{last}") },
            claim: Claim { eni, ipv4, ipv6, mac, groups: BTreeSet::new() },
            process: sandbox(),
        }
    }

    pub(crate) fn eni(&self) -> EniId {
        self.wire.eni
    }

    pub(crate) fn ip(&self) -> Ipv4Addr {
        self.wire.ipv4
    }

    pub(crate) fn ip6(&self) -> Ipv6Addr {
        self.wire.ipv6.expect("the network has a prefix")
    }

    /// Its namespace, as the agent finds it.
    pub(crate) fn pause(&self) -> Namespace {
        Namespace::of_process(self.process.id()).expect("it lives")
    }

    pub(crate) fn netns(&self) -> std::path::PathBuf {
        format!("/proc/{}/ns/net", self.process.id()).into()
    }

    pub(crate) fn sh(&self, line: &str) -> String {
        sh_in(&self.netns(), line)
    }

    /// Ends its process, and with it, once unwired, its namespace.
    pub(crate) fn end(&mut self) {
        self.process.kill().expect("it lives");
        self.process.wait().expect("it ends");
    }

    /// Answers on a TCP port.
    pub(crate) async fn listen(&self, port: u16) {
        listen(&self.pause(), port).await;
    }

    pub(crate) async fn reaches(&self, to: impl Into<IpAddr>, port: u16) {
        reaches(&self.pause(), to, port).await;
    }

    pub(crate) async fn does_not_reach(&self, to: impl Into<IpAddr>, port: u16) {
        does_not_reach(&self.pause(), to, port).await;
    }
}

/// A process in a network namespace of its own, that ends with us.
pub(crate) fn sandbox() -> Child {
    let mut child = Command::new("unshare")
        .args(["--net", "--", "sh", "-c", "echo ready; read -r _"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it speaks");
    assert_eq!(line, "ready\n");
    child
}

/// Answers on a TCP port of a namespace.
pub(crate) async fn listen(at: &Namespace, port: u16) {
    let listener = at.run(move || {
        TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
    });
    let listener = listener.await.expect("entered").expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|mut stream| stream.write_all(b"hello\n"));
        }
    });
}

/// Sends datagrams back on a UDP port of a namespace.
pub(crate) async fn echo(at: &Namespace, port: u16) {
    let socket = at.run(move || UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))).await.expect("entered").expect("bound");
    std::thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    });
}

/// One attempt to get an answer by TCP.
pub(crate) async fn tcp(from: &Namespace, to: SocketAddr, patience: Duration) -> std::io::Result<()> {
    let attempt = move || {
        let mut stream = TcpStream::connect_timeout(&to, patience)?;
        stream.set_read_timeout(Some(patience))?;
        let mut answer = [0; 6];
        stream.read_exact(&mut answer)
    };
    from.run(attempt).await.expect("entered")
}

pub(crate) async fn reaches(from: &Namespace, to: impl Into<IpAddr>, port: u16) {
    let to = SocketAddr::new(to.into(), port);
    tcp(from, to, PATIENCE).await.unwrap_or_else(|error| panic!("{to} does not answer: {error}"));
}

/// Whether one host is pinged from another namespace, once.
pub(crate) fn pings(from: &Path, options: &str, to: impl Into<IpAddr>, seconds: u32) -> bool {
    let to = to.into();
    let line = format!("if ping -c 1 -W {seconds} -q {options} {to} >/dev/null 2>&1; then echo yes; fi");
    sh_in(from, &line).contains("yes")
}

pub(crate) async fn does_not_reach(from: &Namespace, to: impl Into<IpAddr>, port: u16) {
    let to = SocketAddr::new(to.into(), port);
    assert!(tcp(from, to, WATCH).await.is_err(), "{to} answers");
}

/// The same by UDP.
pub(crate) async fn udp(from: &Namespace, to: SocketAddr, patience: Duration) -> std::io::Result<()> {
    let attempt = move || {
        let any = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { IpAddr::from(Ipv6Addr::UNSPECIFIED) };
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_read_timeout(Some(patience))?;
        socket.connect(to)?;
        socket.send(b"hello")?;
        socket.recv(&mut [0; 8]).map(drop)
    };
    from.run(attempt).await.expect("entered")
}

pub(crate) fn v4(net: &str) -> RulePeer {
    RulePeer::V4(net.parse().expect("a network"))
}

pub(crate) fn v6(net: &str) -> RulePeer {
    RulePeer::V6(net.parse().expect("a network"))
}

pub(crate) fn tcp_port(port: u16) -> Traffic {
    Traffic::Tcp { from: port, to: port }
}

pub(crate) fn rule(traffic: Traffic, peer: RulePeer) -> Rule {
    Rule { traffic, peer }
}

/// Rules, with everything let out.
pub(crate) fn group(ingress: &[Rule]) -> GroupRules {
    let all = [rule(Traffic::All, v4("0.0.0.0/0")), rule(Traffic::All, v6("::/0"))];
    GroupRules { ingress: ingress.iter().copied().collect(), egress: all.into() }
}

/// A group that lets everything through.
pub(crate) async fn open_group(host: &Host) -> GroupId {
    let id = GroupId::random();
    let all = [rule(Traffic::All, v4("0.0.0.0/0")), rule(Traffic::All, v6("::/0"))];
    host.fabric.set_groups(&BTreeMap::from([(id, group(&all))])).await.expect("groups");
    id
}
