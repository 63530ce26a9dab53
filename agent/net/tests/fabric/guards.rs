//! What nobody may do.

use crate::world::{Host, WATCH, open_group, pings, sh, sh_in, tcp, until, world};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// What the kernel remembers of connections in the fabric, of an address.
fn remembered(host: &Host, address: Ipv4Addr) -> usize {
    // /proc shows the namespace of the thread that opened it first.
    let listed = host.fabric_sh("cat /proc/thread-self/net/nf_conntrack");
    listed.lines().filter(|line| line.split(' ').any(|word| word.ends_with(&format!("={address}")))).count()
}

#[test]
fn spoofed_packets_get_no_answer_and_leave_no_trace() {
    world(async || {
        let host = Host::here().await;
        let all = open_group(&host).await;
        let (a, b) = (host.task(11, &[all]).await, host.task(12, &[all]).await);
        b.listen(80).await;
        a.reaches(b.ip(), 80).await;
        assert!(remembered(&host, a.ip()) > 0, "real ones do");

        // Another address: one of nobody, one of the network, one of another task, the host's.
        for spoofed in ["192.0.2.7", "10.77.2.7", "10.77.1.13", "10.77.1.1"] {
            let before = host.counted("pin");
            let address: Ipv4Addr = spoofed.parse().expect("an address");
            a.sh(&format!("ip addr add {spoofed}/32 dev eth0"));
            assert!(!pings(&a.netns(), &format!("-I {spoofed}"), b.ip(), 1), "{spoofed}");
            assert!(host.counted("pin") > before, "{spoofed} is counted");
            assert_eq!(remembered(&host, address), 0, "{spoofed} leaves no trace");
            a.sh(&format!("ip addr del {spoofed}/32 dev eth0"));
        }
        // Another hardware address, with the right address.
        let before = host.counted("pin");
        a.sh("ip link set eth0 address 02:0a:0a:4d:01:63");
        assert!(tcp(&a.pause(), SocketAddr::new(b.ip().into(), 80), WATCH).await.is_err());
        assert!(host.counted("pin") > before);
        a.sh("ip link set eth0 address 02:0a:0a:4d:01:0b");
        until("the task is back", || pings(&a.netns(), "", b.ip(), 1).then_some(()));
        // IPv6 that nobody gave it, though there were somebody in the fabric to answer.
        let (link, answers) = (host.fabric.names().task_link(a.eni()), Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1));
        host.fabric_sh(&format!(
            "sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.{link}.disable_ipv6=0; \
             ip addr add {answers}/64 dev {link} nodad"
        ));
        a.sh("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0; ip addr add fd77::7/64 dev eth0 nodad");
        assert!(!pings(&a.netns(), "", answers, 1));
        host.fabric_sh("nft delete table inet ls_fab");
        until("an answer where the fabric's rules are gone", || pings(&a.netns(), "", answers, 1).then_some(()));
    });
}

#[test]
fn a_dismissed_task_is_forgotten() {
    world(async || {
        let host = Host::here().await;
        let all = open_group(&host).await;
        let (a, b) = (host.task(11, &[all]).await, host.task(12, &[all]).await);
        let c = host.task(13, &[all]).await;
        b.listen(80).await;
        a.reaches(b.ip(), 80).await;
        c.reaches(b.ip(), 80).await;
        assert!(remembered(&host, a.ip()) > 0);
        host.fabric.dismiss(&a.claim).await.expect("dismissed");
        until("it is forgotten", || (remembered(&host, a.ip()) == 0).then_some(()));
        assert!(remembered(&host, c.ip()) > 0, "others are not");
    });
}

#[test]
fn the_hosts_firewall_is_not_between_tasks() {
    world(async || {
        let host = Host::here().await;
        let all = open_group(&host).await;
        let (a, b) = (host.task(11, &[all]).await, host.task(12, &[all]).await);
        b.listen(80).await;
        sh("nft flush ruleset");
        a.reaches(b.ip(), 80).await;
        // Nor what others put there, nor forwarding switched off.
        sh("nft add table inet other; \
             nft 'add chain inet other forward { type filter hook forward priority 0; policy drop; }'; \
            sysctl -qw net.ipv4.ip_forward=0");
        a.reaches(b.ip(), 80).await;

        let done: Vec<String> = host.fabric.repair().await.expect("repaired").iter().map(ToString::to_string).collect();
        assert_eq!(done, ["setting ipv4.ip_forward", "firewall table ls_host"]);
        assert!(sh("nft list ruleset").contains("table inet ls_host"));
        assert!(sh("nft list ruleset").contains("table inet other"), "others' tables are theirs");
        assert_eq!(host.fabric.repair().await.expect("repaired"), []);
    });
}

#[test]
fn what_was_deleted_is_put_back() {
    world(async || {
        let host = Host::here().await;
        let all = open_group(&host).await;
        let a = host.task(11, &[all]).await;
        a.listen(80).await;
        let breaks = [
            "ip link del lsl0",
            "ip route del 10.77.0.0/16",
            "ip route del 169.254.170.1",
            "ip addr del 10.77.1.1/32 dev lsl0",
            "ip neigh del 169.254.170.1 dev lsl0",
            "ip link set lsl0 down",
            "ip link set lsl0 address 02:00:00:00:00:01",
            "ip link set lsl0 mtu 1300",
            "ip addr add 10.77.1.3/32 dev lsl0",
            "nft delete table inet ls_host",
            "nft flush chain inet ls_host out_nat",
            "nft insert rule inet ls_host out_nat accept",
        ];
        let fabric_breaks = [
            "ip link del up0",
            "ip route del default",
            "ip route del unreachable 10.77.0.0/16",
            "ip addr del 169.254.170.2/32 dev lo",
            "ip neigh del 10.77.1.1 dev up0",
            "ip link set up0 down",
            "sysctl -qw net.ipv4.ip_forward=0",
            "sysctl -qw net.ipv4.conf.all.rp_filter=1",
            "nft delete table inet ls_fab",
            "nft flush chain inet ls_fab pin",
        ];
        let netns = host.fabric_netns();
        let both = breaks.iter().map(|b| (None, *b)).chain(fabric_breaks.iter().map(|b| (Some(&netns), *b)));
        for (place, line) in both {
            match place {
                Some(netns) => sh_in(netns, line),
                None => sh(line),
            };
            let done = host.fabric.repair().await.expect(line);
            assert!(!done.is_empty(), "{line}");
            crate::world::reaches(&crate::world::here(), a.ip(), 80).await;
            assert_eq!(host.fabric.repair().await.expect(line), [], "{line}: the second time");
        }
        // Somebody took the file away; the fabric lives on.
        sh("umount -l /run/netns/ls-fab; rm /run/netns/ls-fab");
        assert_eq!(host.fabric.repair().await.expect("repaired").len(), 1);
        host.fabric_sh("ip link show up0");
    });
}

#[test]
fn docker_is_told_to_let_tasks_through() {
    world(async || {
        let host = Host::here().await;
        assert!(!sh("iptables -w -S").contains("lsl0"), "without its chain there is nothing to tell");
        sh("iptables -w -N DOCKER-USER; iptables -w -A DOCKER-USER -j RETURN; \
             iptables -w -A FORWARD -j DOCKER-USER; iptables -w -P FORWARD DROP");
        assert_eq!(host.fabric.repair().await.expect("repaired").len(), 1);
        let rules = sh("iptables -w -S DOCKER-USER");
        let rules: Vec<&str> = rules.lines().skip(1).collect();
        assert_eq!(
            rules,
            [
                "-A DOCKER-USER -o lsl0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                "-A DOCKER-USER -i lsl0 -j ACCEPT",
                "-A DOCKER-USER -j RETURN",
            ]
        );
        assert_eq!(host.fabric.repair().await.expect("repaired"), []);
        sh("iptables -w -F DOCKER-USER");
        assert_eq!(host.fabric.repair().await.expect("repaired").len(), 1);
        assert_eq!(host.fabric.repair().await.expect("repaired"), []);
    });
}
