//! The host's own address for tasks: who reaches it, by which way, and that it is put back.

use crate::world::{WATCH, sh, sh_in, until, world};
use longshore_net::{EndpointConfig, HostEndpoint, Names, Namespace, TaskSockets};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// A namespace with one link to the host: `name` on its side has `address`, and everything else is behind it.
fn neighbour(name: &str, host: &str, address: &str) -> PathBuf {
    sh(&format!(
        "ip netns add {name}; ip link add {name} type veth peer name eth0 netns {name}; \
         ip addr add {host}/24 dev {name}; ip link set {name} up; ip -n {name} addr add {address}/24 dev eth0; \
         ip -n {name} link set eth0 up; ip -n {name} route add default via {host}"
    ));
    Path::new("/run/netns").join(name)
}

/// Says its name to whoever connects.
fn answer(listener: TcpListener, name: &'static str) {
    listener.set_nonblocking(false).expect("set");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = (&stream).write_all(name.as_bytes());
        }
    });
}

/// Whoever answers at an address, seen from a namespace.
fn who(netns: &Path, at: &str) -> Option<String> {
    let namespace = Namespace::open(netns).expect("there");
    let address: SocketAddr = at.parse().expect("an address");
    let (send, receive) = std::sync::mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let asked = namespace.run(move || -> std::io::Result<String> {
                let mut stream = std::net::TcpStream::connect_timeout(&address, WATCH)?;
                stream.set_read_timeout(Some(WATCH))?;
                let mut text = String::new();
                stream.read_to_string(&mut text)?;
                Ok(text)
            });
            let _ = send.send(runtime.block_on(asked).expect("entered").ok());
        });
    });
    receive.recv().expect("asked")
}

fn of_docker() -> EndpointConfig {
    let bridges = vec!["docker0".to_owned()];
    EndpointConfig { port: 51679, bridges, names: Names::default(), host: None }
}

#[test]
fn containers_and_the_host_are_answered_and_neighbours_are_not() {
    world(async || {
        sh("mkdir -p /run/netns; sysctl -qw net.ipv4.ip_forward=1");
        let container = neighbour("docker0", "172.17.0.1", "172.17.0.2");
        let stranger = neighbour("lan0", "192.0.2.1", "192.0.2.2");
        // Somebody has port 80 of every address, and Docker leads it to a container.
        answer(TcpListener::bind("0.0.0.0:80").expect("free"), "web");
        sh("iptables -w -t nat -A OUTPUT -p tcp --dport 80 -m addrtype --dst-type LOCAL -j DNAT --to 172.17.0.2:9");
        let endpoint = HostEndpoint::open(of_docker()).await.expect("possible here");
        let group = Group::new();
        let tasks = TaskSockets::Below(group.0.clone());
        answer(endpoint.listen().await.expect("before the address is there"), "agent");
        let done: Vec<String> =
            endpoint.repair(tasks.clone()).await.expect("made").iter().map(ToString::to_string).collect();
        assert_eq!(done, ["firewall table ls_meta", "address 169.254.170.2/32 of lo"]);
        assert_eq!(endpoint.repair(tasks.clone()).await.expect("nothing to do"), []);

        let here = PathBuf::from("/proc/thread-self/ns/net");
        let check = |what: &str| {
            until(what, || (who(&container, "169.254.170.2:80").as_deref() == Some("agent")).then_some(()));
            assert_eq!(until(what, || who(&here, "169.254.170.2:80")), "agent", "{what}");
            for port in [80, 51679] {
                assert_eq!(who(&stranger, &format!("169.254.170.2:{port}")), None, "{what}: {port}");
            }
        };
        check("at first");
        assert_eq!(until("web", || who(&container, "172.17.0.1:80")), "web", "other addresses are whose they were");
        for line in [
            "nft delete table inet ls_meta",
            "nft flush chain inet ls_meta ask",
            "nft insert rule inet ls_meta guard accept",
            "nft flush ruleset",
            "ip addr del 169.254.170.2/32 dev lo",
        ] {
            sh(line);
            assert!(!endpoint.repair(tasks.clone()).await.expect(line).is_empty(), "{line}");
            assert_eq!(endpoint.repair(tasks.clone()).await.expect(line), [], "{line}: the second time");
            check(line);
        }

        // What clouds have at link-local addresses is the host's alone.
        sh_in(&stranger, "ip addr add 169.254.169.254/32 dev lo");
        sh("ip route add 169.254.169.254 via 192.0.2.2");
        let cloud = Namespace::open(&stranger).expect("there").run(|| TcpListener::bind("0.0.0.0:7")).await;
        answer(cloud.expect("entered").expect("free"), "cloud");
        until("the cloud", || (who(&here, "169.254.169.254:7").as_deref() == Some("cloud")).then_some(()));
        assert_eq!(who(&container, "169.254.169.254:7"), None);
        // Not of the tasks that share its network, also below another cgroup of the same name.
        for round in 0..2 {
            if round == 1 {
                group.make_anew();
                assert!(!endpoint.repair(tasks.clone()).await.expect("loaded").is_empty());
            }
            assert_eq!(group.asks("169.254.170.2 80"), "agent");
            let said = group.asks("169.254.169.254 7");
            assert!(said.contains("refused"), "{said}");
            assert_eq!(endpoint.refused(), None);
        }
        // Others are none, and those of a class would be told by that.
        assert!(!endpoint.repair(TaskSockets::Class(7)).await.expect("loaded").is_empty());
        assert_eq!(group.asks("169.254.169.254 7"), "cloud");
        let told = || sh("nft list chain inet ls_meta host_tasks").contains("meta cgroup 7 ip daddr 169.254.0.0/16");
        assert!(told());
        // An agent that starts does not know yet: the rules of the one before it stay, and come back only once it does.
        let anew = HostEndpoint::open(of_docker()).await.expect("possible here");
        assert_eq!(anew.repair(TaskSockets::Unknown).await.expect("nothing to do"), []);
        assert!(told());
        assert!(!anew.repair(TaskSockets::Untold).await.expect("loaded").is_empty());
        assert!(!told());
    });
}

/// A cgroup (v2) in which a task would be.
struct Group(String);

impl Group {
    fn new() -> Self {
        sh("mount -t cgroup2 none /sys/fs/cgroup");
        let group = Self(format!("ls-net-test-{}", std::process::id()));
        std::fs::create_dir(group.directory()).expect("made");
        group
    }

    fn directory(&self) -> PathBuf {
        Path::new("/sys/fs/cgroup").join(&self.0)
    }

    fn make_anew(&self) {
        let gone = || std::fs::remove_dir(self.directory()).ok();
        until("everybody left it", gone);
        std::fs::create_dir(self.directory()).expect("made");
    }

    /// What somebody in it hears at an address and port.
    fn asks(&self, at: &str) -> String {
        let procs = self.directory().join("cgroup.procs");
        sh(&format!("echo $$ >{}; busybox nc -w 3 {at} </dev/null 2>&1 || true", procs.display())).trim().to_owned()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(self.directory());
    }
}
