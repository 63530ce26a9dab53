//! What others change: that it is announced, that nothing else is, and that it is put back.

use crate::world::{Host, Place, here, network, open_group, reaches, sh, sh_in, world};
use longshore_net::{Changes, Underlay};
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::time::timeout;

/// How long an announcement may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long there must be none.
const QUIET: Duration = Duration::from_millis(300);

async fn is_quiet(changes: &mut Changes, after: &str) {
    assert!(timeout(QUIET, changes.next()).await.is_err(), "something is announced after {after}");
}

/// Takes in what follows from the last change.
async fn settle(changes: &mut Changes) {
    while timeout(QUIET, changes.next()).await.is_ok() {}
}

/// A host whose underlay is a link of the world's own namespace.
async fn host() -> Host {
    sh("ip link add wan type veth peer name wan-far; ip link set wan up; ip link set wan-far up; \
        ip addr add 192.168.50.1/24 dev wan");
    let underlay = Underlay { address: Ipv4Addr::new(192, 168, 50, 1).into(), device: "wan".into() };
    Host::made(network(), 1, &Place::Here, |config| config.underlay = Some(underlay)).await
}

#[test]
fn what_others_change_is_announced_and_put_back() {
    world(async || {
        let host = host().await;
        let all = open_group(&host).await;
        let task = host.task(11, &[all]).await;
        task.listen(80).await;
        sh("iptables -w -N DOCKER-USER; iptables -w -A FORWARD -j DOCKER-USER; iptables -w -P FORWARD DROP");
        assert_eq!(host.fabric.repair().await.expect("repaired").len(), 1, "Docker is told");
        let mut changes = host.fabric.changes().expect("the kernel is heard");
        let in_host = [
            "nft flush ruleset",
            "nft delete table inet ls_host",
            "nft flush chain inet ls_host out_nat",
            "iptables -w -N DOCKER-USER",
            "iptables -w -F DOCKER-USER",
            "ip link del lsl0",
            "ip link set lsl0 down",
            "ip route del 10.77.0.0/16",
            "ip addr del 10.77.1.1/32 dev lsl0",
            "ip neigh del 169.254.170.1 dev lsl0",
        ];
        let in_fabric = [
            "nft flush ruleset",
            "nft insert rule inet ls_fab pin accept",
            "nft flush set inet ls_fab pin4",
            "ip link del lsvx",
            "ip link del up0",
            "ip route del default",
            "ip addr del 169.254.170.2/32 dev lo",
            "ip neigh del 10.77.1.1 dev up0",
        ];
        let fabric = host.fabric_netns();
        let lines = in_host.map(|line| (None, line)).into_iter().chain(in_fabric.map(|line| (Some(&fabric), line)));
        for (place, line) in lines {
            match place {
                Some(netns) => sh_in(netns, line),
                None => sh(line),
            };
            timeout(PATIENCE, changes.next()).await.unwrap_or_else(|_| panic!("{line}: not announced")).expect("heard");
            let done = host.fabric.repair().await.expect(line);
            assert!(!done.is_empty(), "{line}");
            reaches(&here(), task.ip(), 80).await;
            settle(&mut changes).await;
            assert_eq!(host.fabric.repair().await.expect(line), [], "{line}: the second time");
        }
    });
}

#[test]
fn our_own_changes_and_others_business_are_not_announced() {
    world(async || {
        let host = host().await;
        let all = open_group(&host).await;
        let mut changes = host.fabric.changes().expect("the kernel is heard");
        settle(&mut changes).await;
        let mut tasks = Vec::new();
        for last in 11..31 {
            tasks.push(host.task(last, &[all]).await);
        }
        is_quiet(&mut changes, "tasks that were let through").await;
        open_group(&host).await;
        is_quiet(&mut changes, "new groups").await;
        for task in &mut tasks {
            host.fabric.dismiss(&task.claim).await.expect("dismissed");
            task.end();
            host.fabric.unwire(task.eni()).await.expect("unwired");
        }
        is_quiet(&mut changes, "tasks that ended").await;
        host.fabric.repair().await.expect("repaired");
        is_quiet(&mut changes, "a repair").await;
        // What a container engine does all day.
        sh("ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up; \
            ip link add veth1 type veth peer name veth2; ip link set veth1 master docker0 up; ip link del veth1; \
            ip route add 172.18.0.0/16 dev docker0; iptables -w -t nat -N DOCKER; \
            iptables -w -t nat -A DOCKER -j RETURN; \
            nft add table ip other; nft 'add set ip other s { type ipv4_addr; }'");
        is_quiet(&mut changes, "others' business").await;
        // A route into the range, by whomever.
        sh("ip route add 10.77.5.0/24 dev docker0");
        timeout(PATIENCE, changes.next()).await.expect("announced").expect("heard");
        let said = host.fabric.repair().await.expect_err("it is in the way").to_string();
        for part in ["10.77.5.0/24", "10.77.0.0/16", "`docker0`", "task_network"] {
            assert!(said.contains(part), "{part} in: {said}");
        }
        sh("ip route del 10.77.5.0/24");
        timeout(PATIENCE, changes.next()).await.expect("announced").expect("heard");
        host.fabric.repair().await.expect("the cause is gone");
    });
}

#[test]
fn too_much_at_once_is_one_change() {
    world(async || {
        let host = host().await;
        let mut changes = host.fabric.changes().expect("the kernel is heard");
        settle(&mut changes).await;
        // Nothing of interest, and more than waits for anybody.
        sh("nft add table ip other; nft 'add set ip other s { type ipv4_addr; }'; \
            { echo 'add element ip other s {'; \
              awk 'BEGIN { for (i = 0; i < 60000; i++) printf \"10.1.%d.%d,\\n\", i / 250, i % 250 }'; \
              echo '}'; } | nft -f -");
        timeout(PATIENCE, changes.next()).await.expect("announced").expect("heard");
        settle(&mut changes).await;
        // And it goes on.
        sh("nft delete table inet ls_host");
        timeout(PATIENCE, changes.next()).await.expect("announced").expect("heard");
        assert_eq!(host.fabric.repair().await.expect("repaired").len(), 1);
    });
}

#[test]
fn the_underlay_may_go_and_come_back_under_another_name() {
    world(async || {
        let host = host().await;
        let all = open_group(&host).await;
        let (a, b) = (host.task(11, &[all]).await, host.task(12, &[all]).await);
        b.listen(80).await;
        let mut changes = host.fabric.changes().expect("the kernel is heard");
        let fault = async |line: &str, part: &str, changes: &mut Changes| {
            sh(line);
            timeout(PATIENCE, changes.next()).await.unwrap_or_else(|_| panic!("{line}: not announced")).expect("heard");
            let said = host.fabric.repair().await.expect_err(line).to_string();
            assert!(said.contains(part), "{line}: {said}");
            a.reaches(b.ip(), 80).await;
            settle(changes).await;
        };
        let mended = async |line: &str, changes: &mut Changes| {
            sh(line);
            timeout(PATIENCE, changes.next()).await.unwrap_or_else(|_| panic!("{line}: not announced")).expect("heard");
            host.fabric.repair().await.expect(line);
            assert!(host.fabric_sh("ip -d link show lsvx").contains("192.168.50.1"), "{line}: the tunnel is back");
            settle(changes).await;
            assert_eq!(host.fabric.repair().await.expect(line), [], "{line}: the second time");
        };
        fault("ip link set wan down", "`wan` (192.168.50.1) is down", &mut changes).await;
        mended("ip link set wan up", &mut changes).await;
        fault("ip addr del 192.168.50.1/24 dev wan", "address 192.168.50.1", &mut changes).await;
        mended("ip addr add 192.168.50.1/24 dev wan", &mut changes).await;
        fault("ip link del wan", "address 192.168.50.1", &mut changes).await;
        let again = "ip link add lan7 type veth peer name lan7-far; ip link set lan7 up; ip link set lan7-far up; \
                     ip addr add 192.168.50.1/24 dev lan7";
        mended(again, &mut changes).await;
    });
}

#[test]
fn a_fabric_is_taken_over_on_a_host_where_it_could_not_be_made() {
    world(async || {
        let host = host().await;
        let all = open_group(&host).await;
        let (a, b) = (host.task(11, &[all]).await, host.task(12, &[all]).await);
        b.listen(80).await;
        sh("ip addr del 192.168.50.1/24 dev wan; ip route add 10.77.5.0/24 dev wan");
        let again = longshore_net::Fabric::open(host.config.clone()).await.expect("it is there");
        a.reaches(b.ip(), 80).await;
        assert!(again.repair().await.expect_err("still").to_string().contains("10.77.5.0/24"));
        sh("ip route del 10.77.5.0/24");
        assert!(again.repair().await.expect_err("still").to_string().contains("192.168.50.1"));
        sh("ip addr add 192.168.50.1/24 dev wan");
        again.repair().await.expect("all is well");
    });
}

#[test]
fn members_that_somebody_removed_are_put_back() {
    world(async || {
        let host = host().await;
        let all = open_group(&host).await;
        let task = host.task(11, &[all]).await;
        let far: std::collections::BTreeSet<std::net::IpAddr> =
            (1..=200).map(|n| Ipv4Addr::new(10, 77, 2, n).into()).collect();
        host.fabric.set_members(&[(all, far)].into()).await.expect("members");
        let mut changes = host.fabric.changes().expect("the kernel is heard");
        let set = format!("m4_{}", all.digits());
        let count = || host.fabric_sh(&format!("nft list set inet ls_fab {set}")).matches("10.77.").count();
        assert_eq!(count(), 201);
        host.fabric_sh(&format!("nft flush set inet ls_fab {set}"));
        timeout(PATIENCE, changes.next()).await.expect("announced").expect("heard");
        assert_eq!(host.fabric.repair().await.expect("repaired").len(), 1);
        assert_eq!(count(), 201, "those of other hosts, and {}", task.ip());
        assert_eq!(host.fabric.repair().await.expect("repaired"), []);
    });
}
