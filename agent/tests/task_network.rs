//! The owner of a host's task network with a real engine and a real kernel: tasks talk as their groups allow, a restart
//! changes nothing, and the end of a task leaves nothing.

#[path = "../docker/tests/support/mod.rs"]
mod support;

use longshore_agent::engine::drivers::{Interfaces, SystemClock};
use longshore_agent::network::fabric::{Kernel, Shape};
use longshore_agent::network::kernel::HostKernel;
use longshore_agent::network::sandboxes::DockerSandboxes;
use longshore_agent::network::status::NetworkLine;
use longshore_agent::network::{
    FileShelf, Files, Heard, Network, NetworkHandle, Owned, Parts, SessionLink, Settings, Underlay, link,
};
use longshore_docker::{ContainerInput, Docker, SandboxRef, container_config};
use longshore_model::{
    AwsvpcSpec, Bandwidth, Generation, GroupId, GroupRules, InstanceId, Lease, NetworkConfig, NetworkHealth,
    NetworkMode, NetworkState, NetworkUpdate, Overlay, Peer, Rule, RulePeer, SubnetId, TaskId, TaskSpec, Traffic,
};
use longshore_net::Names;
use longshore_plan::Interface;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use support::{Engine, connect, eventually, task};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// An agent's network part on a test engine's host.
struct Agent {
    network: NetworkHandle,
    link: SessionLink,
    owner: JoinHandle<()>,
}

impl Agent {
    fn start(engine: &Engine, docker: &Docker, owned: BTreeMap<TaskId, Owned>) -> Self {
        let dir = engine.directory().join("agent");
        std::fs::create_dir_all(&dir).expect("made");
        let (ends, network, link) = link();
        let (_, underlay) = watch::channel(Underlay::At(HERE));
        let names = Names::new("lsat", engine.directory().join("netns")).expect("a prefix");
        let owner = Network::new(Parts {
            settings: Settings { enabled: true, warm: 2, idle: 2 },
            ends,
            shelf: Arc::new(FileShelf::new(&dir)),
            files: Arc::new(Files::new(&dir)),
            sandboxes: Arc::new(DockerSandboxes::new(docker.clone())),
            kernel: Arc::new(HostKernel { names, host: Some(engine.netns()) }),
            clock: Arc::new(SystemClock),
            owned,
            underlay,
            events: Arc::new(Notify::new()),
        });
        Self { network, link, owner: tokio::spawn(owner.run(CancellationToken::new())) }
    }

    async fn hear(&self, generation: u64, state: NetworkState) {
        let update = NetworkUpdate::Complete { generation: Generation(generation), state };
        self.link.heard.send(Heard::Update(update)).await.expect("the owner runs");
    }

    async fn ready(&mut self, generation: u64) {
        let status = self.link.status.wait_for(|status| {
            status.as_ref().is_some_and(|s| s.applied == Generation(generation) && s.health == NetworkHealth::Ready)
        });
        let waited = tokio::time::timeout(Duration::from_secs(30), status).await.map(drop);
        if waited.is_err() {
            panic!("not ready: {:#?}", self.network.status().await);
        }
    }

    async fn until(&self, what: &str, holds: impl Fn(&NetworkLine) -> bool) {
        let look = || async { self.network.status().await.filter(&holds) };
        eventually(what, look).await;
    }

    async fn crash(self) {
        self.owner.abort();
        let _ = self.owner.await;
    }
}

fn awsvpc(group: GroupId, command: &str) -> TaskSpec {
    let mut spec = task(NetworkMode::Awsvpc, command);
    spec.awsvpc = Some(AwsvpcSpec {
        attachment_id: "a".into(),
        subnet: SubnetId::random(),
        groups: [group].into(),
        bandwidth: Bandwidth::default(),
    });
    spec
}

/// Creates and starts the task's container in its interface.
async fn run(docker: &Docker, spec: &TaskSpec, interface: &Interface) -> String {
    let config = container_config(&ContainerInput {
        task: spec,
        container: &spec.containers[0],
        bindings: &[],
        sandbox: Some(SandboxRef { id: &interface.sandbox, files: &interface.files }),
        cgroup_parent: None,
        supervise: "{}",
    })
    .expect("the engine can be told");
    docker.create(&config).await.expect("created");
    docker.start(config.name()).await.expect("started");
    config.name().to_owned()
}

fn names_in(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).expect("readable");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_talk_as_their_groups_allow_and_leave_nothing() {
    let engine = Engine::start(&[]);
    engine.inside(&["ip", "link", "add", "under0", "type", "veth", "peer", "name", "under1"]);
    engine.inside(&["ip", "addr", "add", "192.0.2.1/24", "dev", "under0"]);
    engine.inside(&["ip", "link", "set", "under0", "up"]);
    let docker = connect(&engine).await;
    let mut agent = Agent::start(&engine, &docker, BTreeMap::new());
    let (server, client) = (GroupId::random(), GroupId::random());
    let everywhere = Rule { traffic: Traffic::All, peer: RulePeer::V4("0.0.0.0/0".parse().expect("a net")) };
    let rules =
        |ingress: &[Rule]| GroupRules { ingress: ingress.iter().copied().collect(), egress: [everywhere].into() };
    let http = Rule { traffic: Traffic::Tcp { from: 80, to: 80 }, peer: RulePeer::Group(client) };
    let state = NetworkState {
        config: NetworkConfig {
            v4: "10.77.0.0/16".parse().expect("a range"),
            v6: None,
            overlay: Overlay::Vxlan { vni: 7177, port: 4789 },
            mtu: 1450,
            lease_length: 24,
        },
        leases: vec![Lease { v4: "10.77.1.0/24".parse().expect("a net"), v6: None }],
        peers: BTreeMap::new(),
        groups: [(server, rules(&[http])), (client, rules(&[]))].into(),
        members: BTreeMap::new(),
    };
    agent.hear(3, state).await;
    agent.ready(3).await;
    agent.until("the pool fills", |line| line.warm == 2).await;

    let web = awsvpc(server, "while true; do echo hello | nc -l -p 80; done");
    let interface = agent.network.ensure(&web).await.expect("an interface");
    let address = interface.eni.ipv4;
    let script = format!(
        "hostname; for port in 80 81; do nc -w 2 {address} $port </dev/null || echo closed $port; done; echo end"
    );
    let visitor = awsvpc(client, &script);
    let visiting = agent.network.ensure(&visitor).await.expect("an interface");
    let stranger = awsvpc(server, &script);
    let outside = agent.network.ensure(&stranger).await.expect("an interface");
    let web_name = run(&docker, &web, &interface).await;
    let printed = |name: String| {
        let engine = &engine;
        async move {
            eventually("it has printed everything", || async {
                Some(engine.docker(&["logs", &name])).filter(|text| text.contains("end"))
            })
            .await
        }
    };
    let heard = printed(run(&docker, &visitor, &visiting).await).await;
    let name = visiting.eni.host_name();
    assert_eq!(heard.lines().collect::<Vec<_>>(), [&name, "hello", "closed 81", "end"]);
    let heard = printed(run(&docker, &stranger, &outside).await).await;
    assert!(heard.contains("closed 80"), "it is not in the group that may: {heard}");

    // A restart: what tasks have stays, and goes on.
    agent.crash().await;
    let owned = [(web.id, &interface), (visitor.id, &visiting), (stranger.id, &outside)];
    let owned = owned.map(|(task, interface)| (task, Owned::Held(interface.clone()))).into();
    let mut agent = Agent::start(&engine, &docker, owned);
    agent.ready(3).await;
    assert_eq!(agent.network.ensure(&web).await.expect("the same"), interface);
    let again = awsvpc(client, &script);
    let interface_again = agent.network.ensure(&again).await.expect("an interface");
    let heard = printed(run(&docker, &again, &interface_again).await).await;
    assert!(heard.contains("hello"), "{heard}");

    // The end of a task is the end of its packets, and then of all the rest.
    for (spec, found) in [(&web, &interface), (&visitor, &visiting), (&stranger, &outside), (&again, &interface_again)]
    {
        let name = longshore_docker::container_name(spec.id, &spec.containers[0].name);
        docker.stop(&name, Duration::ZERO).await.expect("stopped");
        agent.network.release(spec.id).await.expect("released");
        docker.remove(&name).await.expect("removed");
        assert!(!agent.network.list().await.expect("listed").contains(&spec.id), "{}", found.eni.id);
    }
    assert!(!web_name.is_empty());
    agent.until("only warm ones are left", |line| line.interfaces.is_empty() && line.warm == 2).await;
    let sandboxes = docker.list_sandboxes().await.expect("listed");
    assert_eq!(sandboxes.len(), 2);
    let namespaces = names_in(&engine.directory().join("netns"));
    assert_eq!(namespaces.len(), 3, "the fabric's and those of warm sandboxes: {namespaces:?}");
    assert!(names_in(&engine.directory().join("agent/interfaces")).is_empty());
    agent.crash().await;

    // As an uninstall does it: nothing may keep the directory.
    for sandbox in sandboxes {
        docker.remove_sandbox(sandbox.eni).await.expect("removed");
    }
    for name in namespaces {
        let file = engine.directory().join("netns").join(name);
        nix::mount::umount2(&file, nix::mount::MntFlags::MNT_DETACH).expect("unmounted");
    }
    let at = engine.directory().join("netns");
    nix::mount::umount2(&at, nix::mount::MntFlags::MNT_DETACH).expect("unmounted");
}

/// A network namespace that lives as long as a process in it.
struct Wire {
    holders: Vec<std::process::Child>,
}

impl Wire {
    fn host(&mut self) -> u32 {
        let holder = std::process::Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "unshare",
                "--net",
                "--",
                "sh",
                "-c",
                "ip link set lo up; echo; exec sleep 600",
            ])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("unshare runs");
        let pid = holder.id();
        self.holders.push(holder);
        let said = self.holders.last_mut().and_then(|h| h.stdout.take()).expect("piped");
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(said), &mut line).expect("it is there");
        pid
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for holder in &mut self.holders {
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}

fn ip(pid: u32, args: &str) {
    let output = std::process::Command::new("nsenter")
        .arg(format!("--net=/proc/{pid}/ns/net"))
        .arg("ip")
        .args(args.split_whitespace())
        .output()
        .expect("nsenter runs");
    assert!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_find_out_whether_packets_pass_between_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut wire = Wire { holders: Vec::new() };
    let (a, b) = (wire.host(), wire.host());
    ip(a, &format!("link add u0 mtu 1500 type veth peer name u0 mtu 1500 netns {b}"));
    let peer = |n: u8| Peer {
        instance: InstanceId::from_bytes([n; 16]),
        underlay: IpAddr::V4(Ipv4Addr::new(192, 0, 2, n)),
        leases: vec![Lease { v4: format!("10.77.{n}.0/24").parse().expect("a net"), v6: None }],
        connected: true,
    };
    let open = async |n: u8, pid: u32, other: u8| {
        ip(pid, &format!("addr add 192.0.2.{n}/24 dev u0"));
        ip(pid, "link set u0 up");
        let names = Names::new("lsat", directory.path().join(format!("netns{n}"))).expect("a prefix");
        let kernel = HostKernel { names, host: Some(format!("/proc/{pid}/ns/net").into()) };
        let Peer { underlay, leases, .. } = peer(n);
        let network = NetworkConfig {
            v4: "10.77.0.0/16".parse().expect("a range"),
            v6: None,
            overlay: Overlay::Vxlan { vni: 7178, port: 4789 },
            mtu: 1450,
            lease_length: 24,
        };
        let fabric = kernel.open(&Shape { network, leases, underlay }).await.expect("a fabric");
        assert_eq!(fabric.set_peers(&[peer(other)]).await.expect("known"), []);
        fabric
    };
    let here = open(1, a, 2).await;
    let why = here.reach(&peer(2)).await.expect_err("there is nobody").why;
    assert!(why.contains("does not answer"), "{why}");
    let there = open(2, b, 1).await;
    here.reach(&peer(2)).await.expect("packets pass");
    there.reach(&peer(1)).await.expect("packets pass");
    // The other side takes only small ones.
    ip(b, "link set u0 mtu 1400");
    let why = here.reach(&peer(2)).await.expect_err("full ones do not pass").why;
    assert!(why.contains("packets of 1450 bytes do not reach"), "{why}");
    ip(a, "link set u0 down");
    let why = here.reach(&peer(2)).await.expect_err("nothing passes").why;
    assert!(why.contains("does not answer"), "{why}");
    drop((here, there));
    for n in 1..=2 {
        let at = directory.path().join(format!("netns{n}"));
        for name in names_in(&at) {
            nix::mount::umount2(&at.join(name), nix::mount::MntFlags::MNT_DETACH).expect("unmounted");
        }
        nix::mount::umount2(&at, nix::mount::MntFlags::MNT_DETACH).expect("unmounted");
    }
}
