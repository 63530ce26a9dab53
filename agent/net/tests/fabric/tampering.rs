//! Rules that somebody adds, removes or replaces by hand inside our tables.

use crate::world::{Host, group, here, open_group, pings, rule, sh_in, tcp_port, v4, world};
use longshore_model::network::GroupId;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// The numbers of a chain's rules.
fn handles(netns: &Path, table: &str, chain: &str) -> Vec<u64> {
    let listed = crate::world::json_in(netns, &format!("nft -j list chain inet {table} {chain}"));
    let rules = listed["nftables"].as_array().expect("a list").iter();
    rules.filter_map(|item| item["rule"]["handle"].as_u64()).collect()
}

/// The text of a chain, without counters.
fn text(netns: &Path, table: &str, chain: &str) -> String {
    sh_in(netns, &format!("nft -s list chain inet {table} {chain}"))
}

#[test]
fn rules_that_somebody_touched_are_as_they_were() {
    world(async || {
        let host = Host::here().await;
        let web = GroupId::random();
        let rules = group(&[rule(tcp_port(80), v4("0.0.0.0/0")), rule(tcp_port(81), v4("10.0.0.0/8"))]);
        host.fabric.set_groups(&BTreeMap::from([(web, rules)])).await.expect("groups");
        let task = host.task(11, &[web]).await;
        task.listen(80).await;
        task.listen(82).await;
        let fabric = host.fabric_netns();
        let digits = web.digits();
        let (of_group, out, profile) = (format!("in_{digits}"), format!("out_{digits}"), format!("pi_{digits}"));
        assert_eq!(host.fabric.repair().await.expect("repaired"), []);

        let places = [
            (&fabric, "ls_fab", of_group.as_str(), true),
            (&fabric, "ls_fab", out.as_str(), false),
            (&fabric, "ls_fab", profile.as_str(), true),
            (&fabric, "ls_fab", "ingress", true),
            (&fabric, "ls_fab", "local_in", false),
            (&host.netns, "ls_host", "guard", false),
        ];
        for (netns, table, chain, decides) in places {
            let before = text(netns, table, chain);
            let touched = [
                "delete rule % handle LAST",
                "insert rule % accept",
                "add rule % accept",
                "replace rule % handle LAST accept",
                "flush chain %",
            ];
            for line in touched {
                let last = *handles(netns, table, chain).last().expect("it has rules");
                let line = line.replace('%', &format!("inet {table} {chain}")).replace("LAST", &last.to_string());
                let line = format!("nft {line}");
                sh_in(netns, &line);
                assert_ne!(text(netns, table, chain), before, "{line}");
                if decides && line.contains("insert") {
                    crate::world::reaches(&here(), task.ip(), 82).await;
                }
                let done = host.fabric.repair().await.expect(&line);
                assert_eq!(done.len(), 1, "{line}: {done:?}");
                assert_eq!(text(netns, table, chain), before, "{line}");
                assert_eq!(host.fabric.repair().await.expect(&line), [], "{line}: the second time");
                crate::world::reaches(&here(), task.ip(), 80).await;
            }
        }
        crate::world::does_not_reach(&here(), task.ip(), 82).await;
    });
}

/// A group that nobody asked to be known here any more lets nothing through, whatever is put into its chains.
#[test]
fn a_closed_group_stays_closed() {
    world(async || {
        let host = Host::here().await;
        let all = open_group(&host).await;
        let task = host.task(11, &[all]).await;
        assert!(pings(&host.netns, "", task.ip(), 5));
        host.fabric.set_groups(&BTreeMap::new()).await.expect("groups");
        assert!(!pings(&host.netns, "", task.ip(), 1));
        let fabric = host.fabric_netns();
        sh_in(&fabric, &format!("nft add rule inet ls_fab in_{} accept", all.digits()));
        assert!(pings(&host.netns, "", task.ip(), 5));
        let done = host.fabric.repair().await.expect("repaired");
        assert_eq!(done.len(), 1, "{done:?}");
        assert!(!pings(&host.netns, "", task.ip(), 1));
        assert_eq!(host.fabric.repair().await.expect("repaired"), []);
    });
}

/// What a new agent finds was written by another, and may have been touched since.
#[test]
fn what_was_touched_while_nobody_looked_is_written_again() {
    world(async || {
        let host = Host::here().await;
        let before = text(&host.fabric_netns(), "ls_fab", "pin");
        let last = *handles(&host.fabric_netns(), "ls_fab", "pin").last().expect("it has rules");
        host.fabric_sh(&format!("nft replace rule inet ls_fab pin handle {last} accept"));
        let again = longshore_net::Fabric::open(host.config.clone()).await.expect("it is there");
        assert_eq!(text(&host.fabric_netns(), "ls_fab", "pin"), before);
        assert_eq!(again.repair().await.expect("repaired"), []);
    });
}

#[test]
fn looking_at_a_thousand_rules_is_cheap() {
    world(async || {
        let host = Host::here().await;
        let groups: BTreeMap<GroupId, _> = (0..20u8)
            .map(|n| {
                let rules: Vec<_> =
                    (0..50).map(|port| rule(tcp_port(1000 + port), v4(&format!("10.{n}.0.0/16")))).collect();
                (GroupId::random(), group(&rules))
            })
            .collect();
        host.fabric.set_groups(&groups).await.expect("groups");
        assert_eq!(host.fabric.repair().await.expect("repaired"), []);
        let began = Instant::now();
        for _ in 0..10 {
            assert_eq!(host.fabric.repair().await.expect("repaired"), []);
        }
        let each = began.elapsed() / 10;
        println!("a repair that finds nothing, 1,000 rules of groups: {each:?}");
        assert!(each.as_millis() < 500, "{each:?}");
        // It does look at them.
        let some = groups.keys().next().expect("there are some").digits();
        let last = *handles(&host.fabric_netns(), "ls_fab", &format!("in_{some}")).last().expect("it has rules");
        host.fabric_sh(&format!("nft delete rule inet ls_fab in_{some} handle {last}"));
        assert_eq!(host.fabric.repair().await.expect("repaired").len(), 1);
    });
}
