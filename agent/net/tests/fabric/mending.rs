//! What a wired task loses, in the fabric and in its sandbox, comes back.

use crate::world::{Host, Place, Task, here, network6, open_group, pings, reaches, sh_in, until, world};
use longshore_model::network::Bandwidth;
use longshore_net::{Fabric, Repair, Wire};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long an announcement may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// All that `ip` says of a namespace, without what changes by itself.
fn picture(netns: &Path) -> String {
    let lines = [
        "ip -o link | sed -e 's/^[0-9]*: //' -e 's/@if[0-9]*//'",
        "ip -o addr | sed -e 's/^[0-9]*: //' | grep -v 'inet6 fe80'",
        "ip -o route; ip -o -6 route | grep -v fe80::/64",
        "ip -o neigh show nud permanent | sort; ip -o -6 neigh show nud permanent | sort",
    ];
    lines.map(|line| sh_in(netns, line)).concat()
}

/// Waits until a namespace is as it was: the kernel takes its time to say that a link is in operation.
fn is_as(netns: &Path, before: &str, after: &str) {
    until(after, || (picture(netns) == before).then_some(()));
}

/// Both ends of a connection from one task to another.
async fn connection(from: &Task, to: &Task) -> (TcpStream, TcpStream) {
    let listener = to.pause().run(|| TcpListener::bind(("0.0.0.0", 90))).await.expect("entered").expect("bound");
    let address = (to.ip(), 90);
    let near = from.pause().run(move || TcpStream::connect(address)).await.expect("entered").expect("connected");
    let far = listener.accept().expect("accepted").0;
    far.set_read_timeout(Some(PATIENCE)).expect("set");
    (near, far)
}

/// A host with IPv6 and two tasks that see each other.
async fn pair() -> (Host, Task, Task) {
    let host = Host::made(network6(), 1, &Place::Here, |_| {}).await;
    let all = open_group(&host).await;
    let (a, b) = (host.task(11, &[all]).await, host.task(12, &[all]).await);
    b.listen(80).await;
    assert_eq!(host.fabric.repair().await.expect("repaired"), []);
    (host, a, b)
}

async fn all_is_well(host: &Host, a: &Task, b: &Task, after: &str) {
    a.reaches(b.ip(), 80).await;
    a.reaches(b.ip6(), 80).await;
    reaches(&here(), b.ip(), 80).await;
    assert_eq!(host.fabric.repair().await.expect(after), [], "{after}: the second time");
}

#[test]
fn what_a_task_loses_in_the_fabric_is_announced_and_put_back() {
    world(async || {
        let (host, a, b) = pair().await;
        let fabric = host.fabric_netns();
        let link = host.fabric.names().task_link(b.eni());
        let (ip, ip6) = (b.ip(), b.ip6());
        let before = picture(&fabric);
        let mut changes = host.fabric.changes().expect("the kernel is heard");
        let lines = [
            (format!("ip route del {ip}"), 1),
            (format!("ip -6 route del {ip6}"), 1),
            (format!("ip neigh del {ip} dev {link}"), 1),
            (format!("ip -6 neigh del {ip6} dev {link}"), 1),
            (format!("ip neigh replace {ip} lladdr 02:00:00:00:00:01 dev {link}"), 1),
            (format!("ip route replace {ip} dev up0"), 1),
            (format!("ip route flush dev {link}; ip -6 route flush {ip6}; ip neigh flush dev {link} nud permanent"), 4),
            (format!("ip link set {link} down"), 5),
            (format!("ip link set {link} mtu 1300"), 1),
            // The kernel forgets its neighbours.
            (format!("ip link set {link} address 02:00:00:00:00:02"), 3),
        ];
        for (line, repairs) in lines {
            sh_in(&fabric, &line);
            assert_ne!(picture(&fabric), before, "{line}");
            timeout(PATIENCE, changes.next()).await.unwrap_or_else(|_| panic!("{line}: not announced")).expect("heard");
            let done = host.fabric.repair().await.expect(&line);
            assert_eq!(done.len(), repairs, "{line}: {done:?}");
            is_as(&fabric, &before, &line);
            all_is_well(&host, &a, &b, &line).await;
            while timeout(Duration::from_millis(300), changes.next()).await.is_ok() {}
        }
        // What people read is put back as well, though nobody hears of it.
        sh_in(&fabric, &format!("ip link set {link} alias nothing"));
        assert_eq!(host.fabric.repair().await.expect("repaired"), [Repair::Link(link.clone())]);
        let shown = sh_in(&fabric, &format!("ip link show {link}"));
        assert!(shown.contains(&format!("alias ls:{}:{ip}:task-12", b.eni())), "{shown}");
    });
}

#[test]
fn what_a_sandbox_loses_is_put_back() {
    world(async || {
        let (host, a, b) = pair().await;
        let (ip, ip6) = (b.ip(), b.ip6());
        let before = picture(&b.netns());
        let lines = [
            // The last one of a link takes along what IPv4 has on it.
            (format!("ip addr del {ip}/32 dev eth0"), 4),
            (format!("ip addr del {ip6}/128 dev eth0"), 1),
            ("ip route del default".to_owned(), 1),
            ("ip route del unreachable 169.254.169.254".to_owned(), 1),
            ("ip route flush table main; ip -6 route del default".to_owned(), 4),
            ("ip neigh del 169.254.170.1 dev eth0; ip -6 neigh del fe80::1 dev eth0".to_owned(), 2),
            ("ip link set eth0 mtu 1300; ip link set lo down".to_owned(), 2),
        ];
        for (line, repairs) in lines {
            b.sh(&line);
            assert_ne!(picture(&b.netns()), before, "{line}");
            let done = host.fabric.repair().await.expect(&line);
            assert_eq!(done.len(), repairs, "{line}: {done:?}");
            is_as(&b.netns(), &before, &line);
            all_is_well(&host, &a, &b, &line).await;
        }
        // The other end tells that this one is down: no turn has to come.
        b.sh("ip link set eth0 down");
        let done = host.fabric.repair().await.expect("repaired");
        assert!(done.iter().all(|repair| repair.to_string().contains(&b.eni().to_string())), "{done:?}");
        is_as(&b.netns(), &before, "eth0 down");
        // Eight times in a minute it is given back what it lost, and no more.
        b.sh("ip route del default");
        assert_eq!(host.fabric.repair().await.expect("repaired"), []);
        // What a task may do on its own is its own affair.
        a.sh("ip route replace default dev lo; ip addr add 10.1.1.1/32 dev eth0; ip route add 10.2.0.0/16 dev eth0");
        assert_eq!(host.fabric.repair().await.expect("repaired"), []);
        assert!(a.sh("ip route show default").contains("dev lo"));
    });
}

#[test]
fn a_pair_that_is_gone_is_made_again_with_its_limits() {
    world(async || {
        let (host, a, b) = pair().await;
        let fabric = host.fabric_netns();
        let limits = Bandwidth { ingress_bps: Some(50_000_000), egress_bps: Some(20_000_000) };
        host.fabric.set_limits(b.eni(), limits).await.expect("limited");
        host.fabric.name_task(b.eni(), "0123").await.expect("named");
        let link = host.fabric.names().task_link(b.eni());
        let shaper = host.fabric.names().shaper(b.eni());
        let before = picture(&b.netns());
        let queues = || {
            let listed = sh_in(&fabric, &format!("tc qdisc show dev {link}; tc qdisc show dev {shaper}"));
            listed.replace("qdisc tbf 6:", "qdisc tbf 5:")
        };
        let (queued, links) = (queues(), sh_in(&fabric, "ip -o link | wc -l"));
        assert_eq!(host.fabric.repair().await.expect("repaired"), []);
        let mut changes = host.fabric.changes().expect("the kernel is heard");
        let mut open = connection(&a, &b).await;
        for (place, line) in [(&fabric, format!("ip link del {link}")), (&b.netns(), "ip link del eth0".to_owned())] {
            sh_in(place, &line);
            timeout(PATIENCE, changes.next()).await.unwrap_or_else(|_| panic!("{line}: not announced")).expect("heard");
            let done = host.fabric.repair().await.expect(&line);
            assert_eq!(done, [Repair::Interface(link.clone()), Repair::Limits(link.clone())], "{line}");
            is_as(&b.netns(), &before, &line);
            assert_eq!((queues(), sh_in(&fabric, "ip -o link | wc -l")), (queued.clone(), links.clone()), "{line}");
            assert!(sh_in(&fabric, &format!("ip link show {link}")).contains(":0123"), "{line}");
            open.0.write_all(b"on").expect("sent");
            let mut heard = [0; 2];
            open.1.read_exact(&mut heard).unwrap_or_else(|error| panic!("{line}: the connection: {error}"));
            assert_eq!(&heard, b"on");
            all_is_well(&host, &a, &b, &line).await;
            while timeout(Duration::from_millis(300), changes.next()).await.is_ok() {}
        }
        for line in [
            format!("tc qdisc del dev {link} root"),
            format!("tc qdisc del dev {link} ingress"),
            format!("tc qdisc del dev {shaper} root"),
            format!("ip link set {shaper} down"),
            format!("ip link del {shaper}"),
        ] {
            sh_in(&fabric, &line);
            assert_eq!(host.fabric.repair().await.expect(&line), [Repair::Limits(link.clone())], "{line}");
            assert_eq!(queues(), queued, "{line}");
            all_is_well(&host, &a, &b, &line).await;
        }
        assert!(host.fabric.lost().is_empty());
    });
}

#[test]
fn what_cannot_be_made_again_is_said() {
    world(async || {
        let (host, a, b) = pair().await;
        let link = host.fabric.names().task_link(b.eni());
        // The file of its namespace is gone as well: only its process leads there.
        host.fabric_sh(&format!("ip link del {link}"));
        crate::world::sh(&format!("ip netns del ls-{}", &link[1..]));
        assert_eq!(host.fabric.repair().await.expect("repaired"), []);
        let lost = host.fabric.lost();
        let why = lost.get(&b.eni()).unwrap_or_else(|| panic!("{lost:?}"));
        assert!(lost.len() == 1 && why.contains("is gone") && why.contains("/run/netns/ls-"), "{why}");
        host.fabric.wire(&b.wire, &b.pause()).await.expect("wired");
        assert!(host.fabric.lost().is_empty());
        all_is_well(&host, &a, &b, "wired from its process").await;

        // The task has another interface of that name.
        b.sh("ip link del eth0; ip link add eth0 type veth peer name x0");
        assert_eq!(host.fabric.repair().await.expect("repaired"), []);
        assert!(host.fabric.lost()[&b.eni()].contains("`eth0`"), "{:?}", host.fabric.lost());
        assert!(host.fabric.names().sandbox_netns(b.eni()).exists());
        // One that goes is not made again.
        host.fabric.unwire(b.eni()).await.expect("unwired");
        assert_eq!(host.fabric.repair().await.expect("repaired"), []);
        assert!(host.fabric.lost().is_empty() && !host.fabric_sh("ip -o link").contains(&link));
    });
}

#[test]
fn a_new_agent_looks_into_every_sandbox_once() {
    world(async || {
        let host = Host::here().await;
        let all = open_group(&host).await;
        let mut tasks = Vec::new();
        for last in 11..41 {
            tasks.push(host.task(last, &[all]).await);
        }
        let again = Fabric::open(host.config.clone()).await.expect("it is there");
        for task in &tasks {
            task.sh("ip route del default");
        }
        host.fabric_sh("ip route del 10.77.1.11");
        assert_eq!(again.repair().await.expect("repaired"), [], "it was told of nothing");
        again.adopt(tasks.iter().map(|task| Wire { task: String::new(), ..task.wire.clone() }).collect());
        let done = again.repair().await.expect("repaired");
        assert_eq!(done.len(), 31, "{done:?}");
        for task in &tasks {
            assert!(pings(&task.netns(), "", "10.77.1.1".parse::<std::net::Ipv4Addr>().expect("ours"), 5));
        }
        assert_eq!(again.repair().await.expect("repaired"), []);
        // Later each has its turn.
        let last = tasks.last().expect("some");
        last.sh("ip route del default");
        let mut looks = 0;
        while again.repair().await.expect("repaired").is_empty() {
            looks += 1;
            assert!(looks < 5, "thirty sandboxes, eight at a time");
        }
        assert!(pings(&last.netns(), "", "10.77.1.1".parse::<std::net::Ipv4Addr>().expect("ours"), 5));
    });
}

#[test]
fn interfaces_that_come_and_go_while_others_are_put_back_leave_nothing() {
    world(async || {
        let host = Host::here().await;
        let all = open_group(&host).await;
        let repairs = {
            let fabric = host.fabric.clone();
            tokio::spawn(async move {
                loop {
                    fabric.repair().await.expect("repaired");
                }
            })
        };
        for round in 0..20 {
            let mut task = host.task(11 + round, &[all]).await;
            let link = host.fabric.names().task_link(task.eni());
            if round % 2 == 0 {
                host.fabric_sh(&format!("ip link del {link}"));
            }
            host.fabric.dismiss(&task.claim).await.expect("dismissed");
            task.end();
            host.fabric.unwire(task.eni()).await.expect("unwired");
        }
        repairs.abort();
        let _ = repairs.await;
        until("nothing is left", || (!host.fabric_sh("ip -o link").contains(": t")).then_some(()));
        assert_eq!(host.fabric.observe().await.expect("observed"), longshore_net::Observed::default());
        assert_eq!(host.fabric.repair().await.expect("repaired"), []);
    });
}

#[test]
fn looking_at_the_interfaces_of_a_hundred_tasks_is_cheap() {
    world(async || {
        let host = Host::here().await;
        let all = open_group(&host).await;
        let cost = async || {
            host.fabric.repair().await.expect("repaired");
            let began = Instant::now();
            for _ in 0..10 {
                assert_eq!(host.fabric.repair().await.expect("repaired"), []);
            }
            began.elapsed() / 10
        };
        let without = cost().await;
        let mut tasks = Vec::new();
        for last in 11..111 {
            tasks.push(host.task(last, &[all]).await);
        }
        let with = cost().await;
        let began = Instant::now();
        for task in &tasks {
            host.fabric.name_task(task.eni(), &task.wire.task).await.expect("named");
        }
        let naming = began.elapsed() / 100;
        host.fabric.adopt(tasks.iter().map(|task| task.wire.clone()).collect());
        let began = Instant::now();
        assert_eq!(host.fabric.repair().await.expect("repaired"), []);
        let every = began.elapsed();
        println!(
            "a repair that finds nothing: {without:?}, with 100 tasks: {with:?}, into every sandbox: {every:?}; \
             the name of a task: {naming:?}"
        );
        assert!(every < Duration::from_secs(2), "{every:?}");
        assert!(with < Duration::from_millis(500), "{with:?}");
        assert!(naming < Duration::from_millis(5), "{naming:?}");
    });
}
