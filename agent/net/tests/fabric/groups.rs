//! What security groups let through, tried.

use crate::world::{
    Host, PATIENCE, Place, Task, WATCH, does_not_reach, echo, group, here, json_in, listen, network6, open_group,
    pings, reaches, rule, tcp_port, udp, until, v4, v6, world,
};
use longshore_model::network::{GroupId, GroupRules, MemberChanges, RulePeer, Traffic};
use longshore_net::{AdmitError, Fabric, NftError};
use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

#[test]
fn tasks_reach_each_other_only_as_groups_say() {
    world(async || {
        let host = Host::here().await;
        let (web, db, shut) = (GroupId::random(), GroupId::random(), GroupId::random());
        let leg = format!("{}/32", host.lease.leg());
        let ping = Traffic::Icmp { kind: Some(8), code: None };
        let groups = BTreeMap::from([
            (web, group(&[rule(tcp_port(80), v4("0.0.0.0/0")), rule(ping, v4("0.0.0.0/0"))])),
            (db, group(&[rule(tcp_port(5432), RulePeer::Group(web)), rule(tcp_port(22), v4(&leg))])),
            (shut, GroupRules::default()),
        ]);
        host.fabric.set_groups(&groups).await.expect("groups");
        let a = host.task(11, &[web]).await;
        let b = host.task(12, &[db]).await;
        let c = host.task(13, &[shut]).await;
        let pooled = host.wired(14).await;
        for task in [&a, &b, &c, &pooled] {
            for port in [22, 80, 5432] {
                task.listen(port).await;
            }
        }
        listen(&here(), 8080).await;
        listen(host.fabric.namespace(), 80).await;

        let open = [
            (&a, b.ip(), 5432),
            (&b, a.ip(), 80),
            // Not to itself alone: through the fabric nothing of it goes.
            (&a, a.ip(), 22),
            // The metadata service, for tasks.
            (&a, Ipv4Addr::new(169, 254, 170, 2), 80),
            (&c, Ipv4Addr::new(169, 254, 170, 2), 80),
        ];
        for (from, to, port) in open {
            from.reaches(to, port).await;
        }
        let closed = [
            (&a, b.ip(), 22),
            (&a, b.ip(), 80),
            (&b, a.ip(), 22),
            (&b, a.ip(), 5432),
            (&c, a.ip(), 80),
            (&c, b.ip(), 5432),
            (&a, c.ip(), 80),
            (&a, pooled.ip(), 80),
            (&pooled, a.ip(), 80),
            (&pooled, Ipv4Addr::new(169, 254, 170, 2), 80),
            // The host, by its leg and by its own service address.
            (&a, host.lease.leg(), 8080),
            (&a, Ipv4Addr::new(169, 254, 170, 1), 80),
            // Nothing is there.
            (&a, Ipv4Addr::new(10, 77, 1, 99), 80),
            (&a, Ipv4Addr::new(169, 254, 169, 254), 80),
        ];
        let attempts = closed.map(|(from, to, port)| {
            let from = from.pause();
            tokio::spawn(async move { does_not_reach(&from, to, port).await })
        });
        for attempt in attempts {
            attempt.await.expect("closed");
        }
        // The host, from outside groups: by its leg's address only.
        reaches(&here(), a.ip(), 80).await;
        reaches(&here(), b.ip(), 22).await;
        does_not_reach(&here(), b.ip(), 5432).await;
        does_not_reach(&here(), c.ip(), 80).await;
        does_not_reach(&here(), pooled.ip(), 80).await;
        // The host does not get at what is for tasks.
        does_not_reach(&here(), Ipv4Addr::new(169, 254, 170, 1), 80).await;
        assert!(pings(&b.netns(), "", a.ip(), 5) && !pings(&a.netns(), "", b.ip(), 1));
        assert!(pings(&a.netns(), "", Ipv4Addr::new(169, 254, 170, 1), 5));
        assert!(pings(&a.netns(), "", host.lease.leg(), 5), "the host answers pings");

        // Dismissed: cut off both ways.
        host.fabric.dismiss(&a.claim).await.expect("dismissed");
        does_not_reach(&b.pause(), a.ip(), 80).await;
        does_not_reach(&a.pause(), b.ip(), 5432).await;
        host.fabric.dismiss(&a.claim).await.expect("dismissed again");
        // And back.
        host.fabric.admit(&a.claim).await.expect("admitted");
        host.fabric.admit(&a.claim).await.expect("admitted again");
        b.reaches(a.ip(), 80).await;
    });
}

#[test]
fn egress_is_checked() {
    world(async || {
        let host = Host::here().await;
        let (all, client, mute) = (open_group(&host).await, GroupId::random(), GroupId::random());
        let out = rule(Traffic::Tcp { from: 8000, to: 8080 }, RulePeer::Group(all));
        let dns = rule(Traffic::Udp { from: 53, to: 53 }, v4("10.77.1.12/32"));
        let everything = group(&[rule(Traffic::All, v4("0.0.0.0/0"))]);
        let groups = BTreeMap::from([
            (all, everything.clone()),
            (client, GroupRules { ingress: everything.ingress.clone(), egress: [out, dns].into() }),
            (mute, GroupRules { ingress: everything.ingress, egress: BTreeSet::new() }),
        ]);
        host.fabric.set_groups(&groups).await.expect("groups");
        let (a, b) = (host.task(11, &[client]).await, host.task(12, &[all]).await);
        let c = host.task(13, &[mute]).await;
        for port in [80, 8000, 8080, 8081] {
            b.listen(port).await;
        }
        c.listen(80).await;
        echo(&b.pause(), 53).await;
        echo(&b.pause(), 54).await;
        a.reaches(b.ip(), 8000).await;
        a.reaches(b.ip(), 8080).await;
        a.does_not_reach(b.ip(), 8081).await;
        a.does_not_reach(b.ip(), 80).await;
        a.does_not_reach(c.ip(), 80).await;
        c.does_not_reach(b.ip(), 80).await;
        // Answers need no rule.
        b.reaches(c.ip(), 80).await;
        let at = |port| SocketAddr::new(b.ip().into(), port);
        udp(&a.pause(), at(53), PATIENCE).await.expect("let out");
        udp(&a.pause(), at(54), WATCH).await.expect_err("not let out");
    });
}

#[test]
fn rules_and_members_change_under_a_running_task() {
    world(async || {
        let host = Host::here().await;
        let (web, db) = (GroupId::random(), GroupId::random());
        let ingress = |port| group(&[rule(tcp_port(port), RulePeer::Group(web))]);
        let closed = group(&[]);
        let set = async |rules: GroupRules| {
            let groups = BTreeMap::from([(db, rules), (web, closed.clone())]);
            host.fabric.set_groups(&groups).await.expect("groups");
        };
        set(ingress(80)).await;
        let b = host.task(12, &[db]).await;
        b.listen(80).await;
        b.listen(81).await;
        let a = host.task(11, &[web]).await;
        a.reaches(b.ip(), 80).await;
        a.does_not_reach(b.ip(), 81).await;
        set(ingress(81)).await;
        a.reaches(b.ip(), 81).await;
        a.does_not_reach(b.ip(), 80).await;

        // Somebody of another host: the host's own leg stands for it.
        let leg = IpAddr::V4(host.lease.leg());
        does_not_reach(&here(), b.ip(), 81).await;
        let change = |added: &[IpAddr], removed: &[IpAddr]| {
            let change =
                MemberChanges { added: added.iter().copied().collect(), removed: removed.iter().copied().collect() };
            BTreeMap::from([(web, change)])
        };
        host.fabric.change_members(&change(&[leg], &[])).await.expect("a member");
        reaches(&here(), b.ip(), 81).await;
        host.fabric.change_members(&change(&[], &[leg, "10.77.9.9".parse().expect("an address")])).await.expect("gone");
        does_not_reach(&here(), b.ip(), 81).await;
        // All at once; own tasks are members without being named.
        host.fabric.set_members(&BTreeMap::from([(web, BTreeSet::from([leg]))])).await.expect("members");
        reaches(&here(), b.ip(), 81).await;
        a.reaches(b.ip(), 81).await;
        host.fabric.set_members(&BTreeMap::new()).await.expect("members");
        does_not_reach(&here(), b.ip(), 81).await;
        a.reaches(b.ip(), 81).await;
        host.fabric.dismiss(&a.claim).await.expect("dismissed");
        let listed = host.fabric_sh(&format!("nft list set inet ls_fab m4_{}", web.digits()));
        assert!(!listed.contains("10.77.1.11"), "{listed}");

        // A group that is not named any more lets nothing in, and its chains go when no task needs them.
        host.fabric.admit(&a.claim).await.expect("admitted");
        host.fabric.set_groups(&BTreeMap::from([(web, closed.clone())])).await.expect("groups");
        a.does_not_reach(b.ip(), 81).await;
        let error = host.fabric.admit(&b.claim).await.expect_err("its group is not known");
        assert!(matches!(&error, AdmitError::UnknownGroups { groups, .. } if groups == &[db]), "{error:?}");
        host.fabric.dismiss(&b.claim).await.expect("dismissed");
        host.fabric.set_groups(&BTreeMap::from([(web, closed.clone())])).await.expect("groups");
        let table = host.fabric_sh("nft list table inet ls_fab");
        assert!(!table.contains(db.digits()) && table.contains(web.digits()), "{table}");
    });
}

#[test]
fn a_task_in_several_groups_has_what_each_lets_through() {
    world(async || {
        let host = Host::made(network6(), 1, &Place::Here, |_| {}).await;
        let (one, two, all) = (GroupId::random(), GroupId::random(), GroupId::random());
        let ping6 = Traffic::Icmpv6 { kind: Some(128), code: Some(0) };
        let groups = BTreeMap::from([
            (one, group(&[rule(tcp_port(80), v6("fd77::/48")), rule(ping6, v6("::/0"))])),
            (two, group(&[rule(tcp_port(81), RulePeer::Group(all))])),
            (all, group(&[])),
        ]);
        host.fabric.set_groups(&groups).await.expect("groups");
        let (a, b) = (host.task(11, &[all]).await, host.task(12, &[one, two]).await);
        b.listen(80).await;
        b.listen(81).await;
        a.reaches(b.ip6(), 80).await;
        a.reaches(b.ip6(), 81).await;
        a.reaches(b.ip(), 81).await;
        a.does_not_reach(b.ip(), 80).await;
        assert!(pings(&a.netns(), "", b.ip6(), 5) && !pings(&a.netns(), "", b.ip(), 1));
        let only = host.task(13, &[one]).await;
        only.listen(81).await;
        a.does_not_reach(only.ip6(), 81).await;
        // The last task of a set of groups takes its chains along.
        host.fabric.dismiss(&b.claim).await.expect("dismissed");
        let table = host.fabric_sh("nft list chains inet");
        assert_eq!(table.matches("chain pi_").count(), 2, "{table}");
    });
}

#[test]
fn members_may_be_said_before_rules() {
    world(async || {
        let host = Host::here().await;
        let (web, db) = (GroupId::random(), GroupId::random());
        let leg = IpAddr::V4(host.lease.leg());
        let change = MemberChanges { added: [leg].into(), removed: BTreeSet::new() };
        host.fabric.change_members(&BTreeMap::from([(web, change)])).await.expect("members");
        let listed = json_in(&host.fabric_netns(), &format!("nft -j list set inet ls_fab m4_{}", web.digits()));
        let set = &listed["nftables"][1]["set"];
        assert_eq!((&set["type"], &set["elem"]), (&"ipv4_addr".into(), &serde_json::json!(["10.77.1.1"])));
        let groups = BTreeMap::from([(db, group(&[rule(tcp_port(80), RulePeer::Group(web))]))]);
        host.fabric.set_groups(&groups).await.expect("groups");
        let b = host.task(12, &[db]).await;
        b.listen(80).await;
        reaches(&here(), b.ip(), 80).await;
        // Nobody refers to it any more.
        host.fabric.set_groups(&BTreeMap::from([(db, group(&[]))])).await.expect("groups");
        assert!(!host.fabric_sh("nft list sets inet").contains(web.digits()));
        does_not_reach(&here(), b.ip(), 80).await;
    });
}

#[test]
fn members_and_rules_by_the_hundred() {
    world(async || {
        let host = Host::here().await;
        let (web, db) = (GroupId::random(), GroupId::random());
        let many =
            |first: u16| group(&(0..1000).map(|n| rule(tcp_port(first + n), RulePeer::Group(web))).collect::<Vec<_>>());
        let set = async |rules| {
            host.fabric.set_groups(&BTreeMap::from([(db, rules), (web, group(&[]))])).await.expect("groups")
        };
        set(many(1000)).await;
        let members: BTreeSet<IpAddr> = (0..200).map(|n| Ipv4Addr::new(10, 77, 9, n).into()).collect();
        host.fabric.set_members(&BTreeMap::from([(web, members.clone())])).await.expect("members");
        let (a, b) = (host.task(11, &[web]).await, host.task(12, &[db]).await);
        b.listen(1999).await;
        b.listen(2500).await;
        a.reaches(b.ip(), 1999).await;
        a.does_not_reach(b.ip(), 2500).await;
        set(many(2000)).await;
        a.reaches(b.ip(), 2500).await;
        a.does_not_reach(b.ip(), 1999).await;
        let name = format!("m4_{}", web.digits());
        let listed = json_in(&host.fabric_netns(), &format!("nft -j list set inet ls_fab {name}"));
        assert_eq!(listed["nftables"][1]["set"]["elem"].as_array().map(Vec::len), Some(201));
        // Thousands, and all of them away again.
        let members: BTreeSet<IpAddr> = (0..20_000).map(|n| Ipv4Addr::from(0x0a4d_1000 + n).into()).collect();
        host.fabric.set_members(&BTreeMap::from([(web, members)])).await.expect("members");
        host.fabric.set_members(&BTreeMap::from([(web, BTreeSet::new())])).await.expect("members");
        let listed = json_in(&host.fabric_netns(), &format!("nft -j list set inet ls_fab {name}"));
        assert_eq!(listed["nftables"][1]["set"]["elem"], serde_json::json!(["10.77.1.11"]));
    });
}

/// Networks inside others, ranges of ports that overlap, both families, TCP and UDP: decided by one lookup each.
#[test]
fn many_networks_with_ports_are_one_lookup() {
    world(async || {
        let host = Host::made(network6(), 1, &Place::Here, |_| {}).await;
        let (all, db) = (GroupId::random(), GroupId::random());
        let tcp = |from, to| Traffic::Tcp { from, to };
        let dns = Traffic::Udp { from: 53, to: 53 };
        let mut rules = vec![
            rule(tcp(80, 82), v4("10.77.0.0/16")),
            rule(tcp(82, 85), v4("10.77.1.0/24")),
            rule(dns, v4("10.77.1.11/32")),
            rule(tcp(90, 90), v6("fd77::/48")),
            rule(Traffic::Udp { from: 1, to: 52 }, v6("fd77::/48")),
        ];
        for n in 0..250 {
            rules.push(rule(tcp_port(7000 + n), v4(&format!("10.78.{n}.0/24"))));
            rules.push(rule(tcp_port(7000 + n), v6(&format!("fd78:0:0:{n:x}::/64"))));
        }
        let open = group(&[rule(Traffic::All, v4("0.0.0.0/0")), rule(Traffic::All, v6("::/0"))]);
        let groups = BTreeMap::from([(all, open), (db, group(&rules))]);
        host.fabric.set_groups(&groups).await.expect("groups");
        let chain = host.fabric_sh(&format!("nft list chain inet ls_fab in_{}", db.digits()));
        assert_eq!(chain.matches("accept").count(), 2, "{chain}");
        let (a, b, c) = (host.task(11, &[all]).await, host.task(12, &[db]).await, host.task(13, &[all]).await);
        for port in [53, 79, 80, 82, 85, 86, 90, 7000] {
            b.listen(port).await;
        }
        for port in [52, 53, 80] {
            echo(&b.pause(), port).await;
        }
        for port in [80, 82, 85] {
            a.reaches(b.ip(), port).await;
            c.reaches(b.ip(), port).await;
        }
        a.reaches(b.ip6(), 90).await;
        for port in [53, 79, 86, 90, 7000] {
            a.does_not_reach(b.ip(), port).await;
        }
        for port in [53, 80, 7000] {
            a.does_not_reach(b.ip6(), port).await;
        }
        let at = |port| SocketAddr::new(b.ip().into(), port);
        udp(&a.pause(), at(53), PATIENCE).await.expect("let in");
        udp(&a.pause(), SocketAddr::new(b.ip6().into(), 52), PATIENCE).await.expect("let in");
        udp(&c.pause(), at(53), WATCH).await.expect_err("another address");
        udp(&a.pause(), at(80), WATCH).await.expect_err("another protocol");
        udp(&a.pause(), SocketAddr::new(b.ip6().into(), 53), WATCH).await.expect_err("another port");
        // The same rules again are no change, and what they became is known as ours.
        host.fabric.set_groups(&groups).await.expect("groups");
        assert_eq!(chain, host.fabric_sh(&format!("nft list chain inet ls_fab in_{}", db.digits())));
    });
}

/// A program that listens until it is dropped.
struct Monitor(std::process::Child);

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Of a large group, one member costs one element: what the kernel announces is all that it was told.
#[test]
fn one_member_of_thousands_is_one_element() {
    world(async || {
        let host = Host::here().await;
        let (web, db, mark) = (GroupId::random(), GroupId::random(), GroupId::random());
        let from = |group| rule(tcp_port(80), RulePeer::Group(group));
        let groups = BTreeMap::from([(db, group(&[from(web), from(mark)]))]);
        host.fabric.set_groups(&groups).await.expect("groups");
        let members: BTreeSet<IpAddr> = (0..10_000).map(|n| Ipv4Addr::from(0x0a4d_1000 + n).into()).collect();
        host.fabric.set_members(&BTreeMap::from([(web, members)])).await.expect("members");
        let change = async |group, added: &[IpAddr], removed: &[IpAddr]| {
            let set = |ips: &[IpAddr]| ips.iter().copied().collect();
            let change = MemberChanges { added: set(added), removed: set(removed) };
            host.fabric.change_members(&BTreeMap::from([(group, change)])).await.expect("changed");
        };
        let mut monitor = Monitor(
            std::process::Command::new("nsenter")
                .arg(format!("--net={}", host.fabric_netns().display()))
                .args(["stdbuf", "-oL", "nft", "monitor"])
                .stdout(std::process::Stdio::piped())
                .spawn()
                .expect("nft"),
        );
        let output = std::io::BufReader::new(monitor.0.stdout.take().expect("piped"));
        let (said, heard) = std::sync::mpsc::channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| said.send(line)));
        let signal = [IpAddr::V4(Ipv4Addr::new(10, 77, 8, 1))];
        // It listens once it tells anything. It begins with a listing of everything, and begins that again whenever
        // something changes meanwhile: each change leaves it twice the time.
        let deadline = std::time::Instant::now() + 3 * PATIENCE;
        let mut pause = std::time::Duration::from_millis(50);
        while heard.recv_timeout(pause).is_err() {
            pause *= 2;
            assert!(std::time::Instant::now() < deadline, "nft monitor says nothing");
            change(mark, &signal, &[]).await;
            change(mark, &[], &signal).await;
        }
        let end = "10.77.8.99";
        change(web, &["10.77.9.200".parse().expect("an address")], &["10.77.16.7".parse().expect("an address")]).await;
        change(mark, &[end.parse().expect("an address")], &[]).await;
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line: &String| !line.contains(end)) {
            lines.push(heard.recv_timeout(PATIENCE).expect("nft goes on"));
        }
        lines.retain(|line| line.contains(web.digits()));
        assert_eq!(lines.len(), 2, "{lines:#?}");
        assert!(lines.iter().any(|line| line.starts_with("add element") && line.contains("10.77.9.200")), "{lines:#?}");
        assert!(lines.iter().any(|line| line.starts_with("delete element") && line.contains("10.77.16.7")));
        // A group that nobody refers to any more goes at once, however many are in it.
        host.fabric.set_groups(&BTreeMap::from([(db, group(&[from(mark)]))])).await.expect("groups");
        change(web, &[], &["10.77.16.8".parse().expect("an address")]).await;
        assert!(!host.fabric_sh("nft list sets inet").contains(web.digits()));
    });
}

#[test]
fn tasks_come_and_go_while_rules_change() {
    world(async || {
        let host = Host::here().await;
        let all = open_group(&host).await;
        let other = GroupId::random();
        let editor = {
            let fabric = host.fabric.clone();
            tokio::spawn(async move {
                for port in 1..40 {
                    let open = group(&[rule(Traffic::All, v4("0.0.0.0/0"))]);
                    let groups =
                        BTreeMap::from([(all, open), (other, group(&[rule(tcp_port(port), v4("0.0.0.0/0"))]))]);
                    fabric.set_groups(&groups).await.expect("groups");
                }
            })
        };
        let mut claim = Task::new(&host.lease, 11).claim.clone();
        let mut times = 0;
        while !editor.is_finished() || times < 50 {
            claim.groups = [all].into();
            host.fabric.admit(&claim).await.expect("admitted");
            host.fabric.dismiss(&claim).await.expect("dismissed");
            times += 1;
        }
        editor.await.expect("all edits went through");
        let (a, b) = (host.task(12, &[all]).await, host.task(13, &[all]).await);
        b.listen(80).await;
        a.reaches(b.ip(), 80).await;
    });
}

#[test]
fn a_new_agent_takes_over_what_is_in_force() {
    world(async || {
        let host = Host::here().await;
        let all = open_group(&host).await;
        let (a, b) = (host.task(11, &[all]).await, host.task(12, &[all]).await);
        b.listen(80).await;
        let again = Fabric::open(host.config.clone()).await.expect("taken over");
        // It knows nothing yet, and nothing is cut.
        a.reaches(b.ip(), 80).await;
        let error = again.admit(&a.claim).await.expect_err("groups come first");
        assert!(matches!(error, AdmitError::UnknownGroups { .. }), "{error:?}");
        let known = BTreeSet::from([a.eni(), b.eni()]);
        assert_eq!(again.remove_strays(&known).await.expect("no strays"), []);
        let open = group(&[rule(Traffic::All, v4("0.0.0.0/0"))]);
        again.set_groups(&BTreeMap::from([(all, open)])).await.expect("groups");
        a.reaches(b.ip(), 80).await;
        again.admit(&a.claim).await.expect("admitted");
        again.admit(&b.claim).await.expect("admitted");
        a.reaches(b.ip(), 80).await;
        assert_eq!(again.repair().await.expect("repaired"), []);
    });
}

#[test]
fn a_firewall_that_was_taken_away_is_said_and_put_back() {
    world(async || {
        let host = Host::here().await;
        let all = open_group(&host).await;
        let (a, b) = (host.task(11, &[all]).await, host.task(12, &[all]).await);
        b.listen(80).await;
        let far: IpAddr = "10.77.9.9".parse().expect("an address");
        host.fabric.set_members(&BTreeMap::from([(all, BTreeSet::from([far]))])).await.expect("members");
        host.fabric_sh("nft flush ruleset");
        let error = host.fabric.admit(&a.claim).await.expect_err("no table");
        assert!(matches!(&error, AdmitError::Nft { source: NftError::Missing { .. }, .. }), "{error:?}");
        let done: Vec<String> = host.fabric.repair().await.expect("repaired").iter().map(ToString::to_string).collect();
        assert!(done.contains(&"firewall table ls_fab".to_owned()) && done.len() > 4, "{done:?}");
        a.reaches(b.ip(), 80).await;
        assert!(host.fabric_sh("nft list table inet ls_fab").contains("10.77.9.9"));
        assert_eq!(host.fabric.repair().await.expect("repaired"), []);

        // Some of it: a rule, an element, a chain of a set of groups.
        host.fabric_sh(
            "nft flush chain inet ls_fab ingress; nft flush set inet ls_fab pin4; nft flush map inet ls_fab eni_in",
        );
        a.does_not_reach(b.ip(), 80).await;
        assert!(!host.fabric.repair().await.expect("repaired").is_empty());
        a.reaches(b.ip(), 80).await;
        assert_eq!(host.fabric.repair().await.expect("repaired"), []);

        // A table of another make.
        host.fabric_sh(
            "nft delete table inet ls_fab; nft add table inet ls_fab; \
             nft 'add set inet ls_fab pin4 { type ipv4_addr; }'",
        );
        assert!(!host.fabric.repair().await.expect("repaired").is_empty());
        until("it works again", || pings(&a.netns(), "", b.ip(), 1).then_some(()));
    });
}
